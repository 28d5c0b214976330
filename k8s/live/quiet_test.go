package live

import (
	"context"
	"errors"
	"os"
	osexec "os/exec"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
)

// A line of client-go's on stderr would stand in the middle of the terminal UI.
// The test looks at a process of its own: klog's settings and the standard error
// are everyone's in this one.
func TestClientGoIsQuiet(t *testing.T) {
	if os.Getenv("HOPTRAIL_TEST_QUIET") != "" {
		quiet()
		ctx := klog.NewContext(context.Background(), klog.Background())
		runtime.HandleErrorWithContext(ctx, errors.New("use of closed network connection"), "Websocket Ping failed")
		klog.ErrorS(errors.New("broken"), "an error")
		klog.Warning("a warning")
		klog.Info("an information")
		klog.Flush()
		os.Stderr.WriteString("the end")
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.CommandContext(t.Context(), self, "-test.run=^TestClientGoIsQuiet$")
	cmd.Env = append(os.Environ(), "HOPTRAIL_TEST_QUIET=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil || stderr.String() != "the end" {
		t.Errorf("client-go says %q, %v", stderr.String(), err)
	}
}
