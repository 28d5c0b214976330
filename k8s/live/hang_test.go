package live

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/hoptrail/hoptrail/trace"
)

// A login plugin that never ends holds up neither a login whose context ended
// nor, with one, a Reset.
func TestAPluginThatHangsHoldsUpNobody(t *testing.T) {
	f := newFake(t)
	end := t.TempDir() + "/end"
	kubeconfig, _ := f.plugin("printf 'Password: ' >&2; while [ ! -e " + end + " ]; do sleep .1; done")
	told := make(chan string, 10)
	s, err := New(Options{Kubeconfig: kubeconfig, Screen: true, Tell: func(line string) { told <- line }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if got := <-told; got != "Password:" {
			t.Errorf("told %q", got)
		}
		cancel() // the plugin waits by now
	}()
	s.Login(ctx)
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Observe(ctx, clusterQuery("nodes", trace.Selector{})); err == nil {
		t.Error("read")
	}
	if err := s.Reset(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reset(t.Context()); err != nil {
		t.Error(err)
	}
	f.answer("/api/v1/nodes", `{"kind":"NodeList","apiVersion":"v1","items":[]}`)
	mustAsk(t, s, clusterQuery("nodes", trace.Selector{}))
}
