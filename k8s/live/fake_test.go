package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/hoptrail/hoptrail/trace"
)

// patience only ends what would hang for ever; nothing is expected within it.
const patience = 2 * time.Minute

// fakeAPI is an API server that answers with the bytes a test gives it. Exec and
// port-forward speak SPDY only, so that the fallback from web sockets is used.
type fakeAPI struct {
	t   *testing.T
	mux *http.ServeMux
	srv *httptest.Server

	mu    sync.Mutex
	asked []string // METHOD PATH?QUERY
}

func newFake(t *testing.T) *fakeAPI {
	f := &fakeAPI{t: t, mux: http.NewServeMux()}
	f.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.asked = append(f.asked, r.Method+" "+r.URL.RequestURI())
		f.mu.Unlock()
		f.mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		f.srv.CloseClientConnections()
		f.srv.Close()
	})
	f.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		status(w, 404, "NotFound", "the server could not find the requested resource", "")
	})
	f.answer("GET /apis", `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"policy.example","preferredVersion":{"groupVersion":"policy.example/v2","version":"v2"}}]}`)
	return f
}

func status(w http.ResponseWriter, code int, reason, message, name string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code, "details": map[string]any{"name": name}})
}

func (f *fakeAPI) answer(path, body string) {
	f.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) })
}

func (f *fakeAPI) source(opts Options) *Source {
	f.t.Helper()
	s, err := newSource(opts, &rest.Config{Host: f.srv.URL})
	if err != nil {
		f.t.Fatal(err)
	}
	s.context, s.user = "test", "alice"
	f.t.Cleanup(func() { s.Close() })
	return s
}

func (f *fakeAPI) count(part string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, a := range f.asked {
		if strings.Contains(a, part) {
			n++
		}
	}
	return n
}

// pod serves one Pod by its name and in lists.
func (f *fakeAPI) pod(ns, name, extra string) {
	if extra == "" {
		extra = `"spec":{"containers":[{"name":"istio-proxy"}]},"status":{"phase":"Running"}`
	}
	f.answer("/api/v1/namespaces/"+ns+"/pods/"+name,
		fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":%q,"name":%q},%s}`, ns, name, extra))
}

// exec serves exec in a Pod: run gets the command and says what it prints and
// its exit status; -1 is a kubelet that cannot start it.
func (f *fakeAPI) exec(ns, pod string, run func(container string, argv []string) (stdout string, code int)) {
	f.mux.HandleFunc("/api/v1/namespaces/"+ns+"/pods/"+pod+"/exec", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			status(w, 400, "BadRequest", "this server speaks SPDY only", "")
			return
		}
		q := r.URL.Query()
		streams := make(chan httpstream.Stream, 8)
		if _, err := httpstream.Handshake(r, w, []string{"v4.channel.k8s.io"}); err != nil {
			return
		}
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
			streams <- s
			return nil
		})
		if conn == nil {
			return
		}
		defer conn.Close()
		byType := map[string]httpstream.Stream{}
		for len(byType) < 3 {
			select {
			case s := <-streams:
				byType[s.Headers().Get("streamType")] = s
			case <-time.After(patience):
				return
			}
		}
		out, code := run(q.Get("container"), q["command"])
		io.WriteString(byType["stdout"], out)
		byType["stdout"].Close()
		byType["stderr"].Close()
		answer := `{"kind":"Status","apiVersion":"v1","status":"Success"}`
		switch {
		case code > 0:
			answer = fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NonZeroExitCode","message":"command terminated with exit code %d","details":{"causes":[{"reason":"ExitCode","message":"%d"}]}}`, code, code)
		case code < 0:
			answer = `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"OCI runtime exec failed: exec: \"x\": executable file not found in $PATH"}`
		}
		io.WriteString(byType["error"], answer)
		byType["error"].Close()
		<-conn.CloseChan()
	})
}

// forward serves port-forwards to a Pod: every connection to a port goes to dial.
func (f *fakeAPI) forward(ns, pod string, dial func(port string) (net.Conn, error)) {
	f.mux.HandleFunc("/api/v1/namespaces/"+ns+"/pods/"+pod+"/portforward", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			status(w, 400, "BadRequest", "this server speaks SPDY only", "")
			return
		}
		if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
			return
		}
		var mu sync.Mutex
		errStreams := map[string]httpstream.Stream{}
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, replied <-chan struct{}) error {
			h := s.Headers()
			mu.Lock()
			defer mu.Unlock()
			if h.Get("streamType") == "error" {
				errStreams[h.Get("requestID")] = s
				return nil
			}
			errs := errStreams[h.Get("requestID")]
			go func() {
				<-replied
				defer s.Close()
				defer errs.Close()
				c, err := dial(h.Get("port"))
				if err != nil {
					io.WriteString(errs, err.Error())
					return
				}
				defer c.Close()
				go io.Copy(c, s)
				io.Copy(s, c)
			}()
			return nil
		})
		if conn != nil {
			<-conn.CloseChan()
		}
	})
}

// admin serves an Envoy's admin API behind a Pod's port 15000.
func (f *fakeAPI) admin(ns, pod string, h http.Handler) {
	srv := httptest.NewServer(h)
	f.t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	f.forward(ns, pod, func(port string) (net.Conn, error) {
		if port != "15000" {
			return nil, errors.New("connection refused")
		}
		return net.Dial("tcp", srv.Listener.Addr().String())
	})
}

func ask(t *testing.T, s *Source, q trace.Query) (trace.Observation, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return s.Observe(ctx, q)
}

func mustAsk(t *testing.T, s *Source, q trace.Query) trace.Observation {
	t.Helper()
	obs, err := ask(t, s, q)
	if err != nil {
		t.Fatalf("%s: %v", q.Path(), err)
	}
	return obs
}

// notRead asks what must not be had, and returns why.
func notRead(t *testing.T, s *Source, q trace.Query) *trace.NotReadError {
	t.Helper()
	obs, err := ask(t, s, q)
	var nr *trace.NotReadError
	if !errors.As(err, &nr) {
		t.Fatalf("%s: got %q, %v; want a NotReadError", q.Path(), obs.Data, err)
	}
	if nr.Query != q {
		t.Errorf("the error is about %+v, not about what was asked, %+v", nr.Query, q)
	}
	return nr
}

func clusterQuery(file string, sel trace.Selector) trace.Query {
	return trace.Query{Area: trace.AreaCluster, File: file, Select: sel}
}
