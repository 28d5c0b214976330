package live

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// connectProxy is an HTTP proxy that only connects, and counts how often.
func connectProxy(t *testing.T) (address string, connected *atomic.Int32) {
	t.Helper()
	connected = new(atomic.Int32)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "connect only", http.StatusMethodNotAllowed)
			return
		}
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer up.Close()
		down, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer down.Close()
		connected.Add(1)
		io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() {
			io.Copy(up, buffered)
			up.Close()
		}()
		io.Copy(down, up)
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL, connected
}

// TestTheAPIServerIsReachedAsTheKubeconfigSays: over IPv6, through a proxy, and
// where several files make up the kubeconfig; streams go the same way.
func TestTheAPIServerIsReachedAsTheKubeconfigSays(t *testing.T) {
	for _, c := range []struct {
		name, listen string
		proxied      bool
	}{
		{"over IPv4", "127.0.0.1:0", false},
		{"over IPv6", "[::1]:0", false},
		{"through a proxy", "127.0.0.1:0", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", c.listen)
			if err != nil {
				t.Skipf("this machine has no such address: %v", err)
			}
			f := newFake(t)
			f.pod("ns", "p", "")
			f.admin("ns", "p", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"configs":[]}`) }))
			f.exec("ns", "p", func(string, []string) (string, int) { return "nameserver 10.96.0.10\n", 0 })
			srv := httptest.NewUnstartedServer(f.srv.Config.Handler)
			srv.Listener.Close()
			srv.Listener = ln
			srv.StartTLS()
			t.Cleanup(func() {
				srv.CloseClientConnections()
				srv.Close()
			})
			proxy, connected := connectProxy(t)
			via := ""
			if c.proxied {
				via = fmt.Sprintf(`,"proxy-url":%q`, proxy)
			}
			dir := t.TempDir()
			files := []string{filepath.Join(dir, "contexts"), filepath.Join(dir, "absent"), filepath.Join(dir, "clusters")}
			for name, text := range map[string]string{
				files[0]: `{"apiVersion":"v1","kind":"Config","current-context":"x","contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}]}`,
				files[2]: fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"y","clusters":[{"name":"c","cluster":{"server":%q,"insecure-skip-tls-verify":true%s}}],"users":[{"name":"u","user":{"token":"t"}}]}`, srv.URL, via),
			} {
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("KUBECONFIG", files[0]+string(filepath.ListSeparator)+files[1]+string(filepath.ListSeparator)+files[2])
			s, err := New(Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for _, q := range []trace.Query{
				clusterQuery("pods", trace.Selector{Namespace: "ns", Name: "p"}), proxyQuery("config_dump.json"),
				{Area: trace.AreaPod, Namespace: "ns", Name: "p", File: "resolv.conf"},
			} {
				mustAsk(t, s, q)
			}
			if got := connected.Load(); c.proxied != (got > 0) {
				t.Errorf("%d connections through the proxy", got)
			}
		})
	}
}
