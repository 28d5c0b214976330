package live

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hoptrail/hoptrail/trace"
)

// plugin writes a login plugin, a shell script that counts how often it ran in
// $RUNS and prints a token of that number, and a kubeconfig that names it.
func (f *fakeAPI) plugin(script string) (kubeconfig, runs string) {
	f.t.Helper()
	// Over plain HTTP no kubeconfig's user is used.
	srv := httptest.NewTLSServer(f.srv.Config.Handler)
	f.t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	dir := f.t.TempDir()
	runs = filepath.Join(dir, "runs")
	login := filepath.Join(dir, "login")
	script = "#!/bin/sh\necho x >>\"$RUNS\"\nn=$(wc -l <\"$RUNS\" | tr -d ' ')\n" + script + `
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t'$n'"}}'
`
	config := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],"clusters":[{"name":"c","cluster":{"server":%q,"insecure-skip-tls-verify":true}}],
		"users":[{"name":"u","user":{"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":%q,"interactiveMode":"IfAvailable","env":[{"name":"RUNS","value":%q}]}}}]}`, srv.URL, login, runs)
	kubeconfig = filepath.Join(dir, "config")
	if err := os.WriteFile(login, []byte(script), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(kubeconfig, []byte(config), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return kubeconfig, runs
}

// TestALoginPluginRunsBeforeAnythingIsRead: once, with a request of its own, and
// what it says does not go across the screen.
func TestALoginPluginRunsBeforeAnythingIsRead(t *testing.T) {
	f := newFake(t)
	f.answer("/version", `{}`)
	var tokens []string
	f.mux.HandleFunc("/api/v1/nodes", func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, r.Header.Get("Authorization"))
		io.WriteString(w, `{"kind":"NodeList","apiVersion":"v1","items":[]}`)
	})
	kubeconfig, runs := f.plugin("echo 'open https://login.example and type ABCD' >&2")
	told := make(chan string, 10)
	stderr := os.Stderr
	s, err := New(Options{Kubeconfig: kubeconfig, Screen: true, Tell: func(line string) { told <- line }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if os.Stderr != stderr {
		t.Error("standard error is another one")
	}
	s.Login(t.Context())
	select {
	case got := <-told:
		if got != "open https://login.example and type ABCD" {
			t.Errorf("told %q", got)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("what the plugin said was not told")
	}
	mustAsk(t, s, clusterQuery("nodes", trace.Selector{}))
	ran, err := os.ReadFile(runs)
	if err != nil || string(ran) != "x\n" || f.count("/version") != 1 || !slices.Equal(tokens, []string{"Bearer t1"}) {
		t.Errorf("the plugin ran %q, %v; asked %q with %q", ran, err, f.asked, tokens)
	}
}

// TestAPluginThatFailsIsAskedOnTheTerminalAndThenSaysWhy: and nothing is read.
func TestAPluginThatFailsIsAskedOnTheTerminalAndThenSaysWhy(t *testing.T) {
	f := newFake(t)
	kubeconfig, runs := f.plugin("exit 3")
	s, err := New(Options{Kubeconfig: kubeconfig, Screen: true, Tell: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Login(t.Context())
	if ran, err := os.ReadFile(runs); err != nil || string(ran) != "x\nx\n" {
		t.Errorf("the plugin ran %q, %v; want once without the terminal and once with it", ran, err)
	}
	if _, err := ask(t, s, clusterQuery("nodes", trace.Selector{})); err == nil || !strings.Contains(err.Error(), `cluster of context "c": getting credentials: exec: `) {
		t.Errorf("error %v", err)
	}
	if len(f.asked) != 0 {
		t.Errorf("asked %q", f.asked)
	}
}

func TestWithoutAPluginNobodyIsLoggedIn(t *testing.T) {
	f := newFake(t)
	f.source(Options{Screen: true}).Login(t.Context())
	if len(f.asked) != 0 {
		t.Errorf("asked %q", f.asked)
	}
}

// TestATokenThatRunsOutInTheMiddleIsRenewed: a read that the old one was refused
// for is made again, once.
func TestATokenThatRunsOutInTheMiddleIsRenewed(t *testing.T) {
	f := newFake(t)
	f.answer("/version", `{}`)
	var mu sync.Mutex
	valid, always := "Bearer t1", false
	serve := func(kind string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			ok := r.Header.Get("Authorization") == valid && !always
			mu.Unlock()
			if !ok {
				status(w, 401, "Unauthorized", "Unauthorized", "")
				return
			}
			json.NewEncoder(w).Encode(map[string]any{"kind": kind, "apiVersion": "v1", "items": []any{}})
		}
	}
	f.mux.Handle("/api/v1/nodes", serve("NodeList"))
	f.mux.Handle("/api/v1/services", serve("ServiceList"))
	f.mux.Handle("/api/v1/namespaces", serve("NamespaceList"))
	kubeconfig, _ := f.plugin("")
	s, err := New(Options{Kubeconfig: kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Login(context.Background())
	mustAsk(t, s, clusterQuery("nodes", trace.Selector{}))
	mu.Lock()
	valid = "Bearer t2"
	mu.Unlock()
	mustAsk(t, s, clusterQuery("services", trace.Selector{}))
	mu.Lock()
	always = true
	mu.Unlock()
	if nr := notRead(t, s, clusterQuery("namespaces", trace.Selector{})); nr.Why != "Unauthorized" || f.count("GET /api/v1/namespaces") != 2 {
		t.Errorf("why %q; asked %q", nr.Why, f.asked)
	}
}
