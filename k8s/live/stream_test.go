package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/hoptrail/hoptrail/trace"
)

func proxyQuery(file string) trace.Query {
	return trace.Query{Area: trace.AreaProxy, Namespace: "ns", Name: "p", File: file}
}

func TestTheAdminAPIIsReadThroughOnePortForward(t *testing.T) {
	f := newFake(t)
	f.pod("ns", "p", "")
	f.admin("ns", "p", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"path":%q}`, r.URL.RequestURI())
	}))
	s := f.source(Options{})
	var wg sync.WaitGroup
	for file, want := range map[string]string{
		"config_dump.json": "/config_dump?include_eds", "clusters.json": "/clusters?format=json",
		"listeners.json": "/listeners?format=json", "certs.json": "/certs", "server_info.json": "/server_info",
	} {
		wg.Go(func() {
			if got := string(mustAsk(t, s, proxyQuery(file)).Data); got != fmt.Sprintf(`{"path":%q}`, want) {
				t.Errorf("%s: %s", file, got)
			}
		})
	}
	wg.Wait()
	if got := string(mustAsk(t, s, proxyQuery("stats.txt")).Data); !strings.Contains(got, "usedonly&filter=") {
		t.Errorf("statistics are asked for as a whole: %s", got)
	}
	// One web socket that is refused, one SPDY connection.
	if n := f.count("/portforward"); n != 2 {
		t.Errorf("%d upgrades: %q", n, f.asked)
	}
}

func TestWhyCountersWereNotReadCanBeRead(t *testing.T) {
	f := newFake(t)
	f.pod("ns", "p", "")
	f.admin("ns", "p", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stats" && len(r.URL.Query().Get("filter")) < 100 {
			t.Errorf("all counters are asked for: %s", r.URL)
		}
		http.Error(w, "not now", http.StatusServiceUnavailable)
	}))
	nr := notRead(t, f.source(Options{}), proxyQuery("stats.txt"))
	if want := "GET /stats?usedonly&filter=... of port 15000 in ns/p: 503 Service Unavailable: not now"; nr.Why != want {
		t.Errorf("why %q", nr.Why)
	}
	argv := "pilot-agent request GET " + strings.TrimPrefix(adminPaths["stats.txt"], "/") + " --debug-port 15999"
	if got := readable(argv); got != "pilot-agent request GET stats?usedonly&filter=... --debug-port 15999" {
		t.Errorf("%q", got)
	}
}

func TestHalfAnAnswerOfAProxyIsNoAnswer(t *testing.T) {
	t.Parallel() // one of them waits for the time of a read
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
		opts Options
		why  string
	}{
		{"the connection is cut", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"configs":[{"a":1},`)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, Options{}, "the connection ended after 20 bytes"},
		{"it ends in good order", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"configs":[{"a":1},`)
		}, Options{}, "the answer ends in the middle, after 20 bytes"},
		// The whole test waits for this time: it is what the beginning of the
		// answer may take on a machine that stands still for a while.
		{"it never goes on", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"configs":[{"a":1},`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, Options{ReadTimeout: 2 * time.Second}, "deadline of 6s exceeded in the middle of the answer, after 20 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.pod("ns", "p", "")
			f.admin("ns", "p", c.h)
			f.exec("ns", "p", func(string, []string) (string, int) { return "", 127 })
			nr := notRead(t, f.source(c.opts), proxyQuery("config_dump.json"))
			if !strings.Contains(nr.Why, c.why) {
				t.Errorf("why %q", nr.Why)
			}
		})
	}
}

func TestWithoutPortForwardTheAdminAPIIsAskedByAProgramInTheContainer(t *testing.T) {
	f := newFake(t)
	f.pod("ns", "p", "")
	f.mux.HandleFunc("/api/v1/namespaces/ns/pods/p/portforward", func(w http.ResponseWriter, r *http.Request) {
		status(w, 403, "Forbidden", "pods \"p\" is forbidden", "p")
	})
	var ran [][]string
	f.exec("ns", "p", func(container string, argv []string) (string, int) {
		ran = append(ran, append([]string{container}, argv...))
		if argv[0] == "pilot-agent" {
			return "", -1
		}
		return `{"ok":true}`, 0
	})
	obs := mustAsk(t, f.source(Options{}), proxyQuery("config_dump.json"))
	want := "[[istio-proxy pilot-agent request GET config_dump?include_eds] [istio-proxy curl -sS --fail --max-time 30 http://127.0.0.1:15000/config_dump?include_eds]]"
	if string(obs.Data) != `{"ok":true}` || fmt.Sprint(ran) != want {
		t.Errorf("data %s, ran %v", obs.Data, ran)
	}
}

// TestTheProgramInANativeSidecarIsAskedForThePodsOwnPort: by the name of the
// container, which is an init container that goes on running.
func TestTheProgramInANativeSidecarIsAskedForThePodsOwnPort(t *testing.T) {
	f := newFake(t)
	f.pod("ns", "p", `"spec":{"containers":[{"name":"app"}],"initContainers":[{"name":"istio-validation"},{"name":"istio-proxy","restartPolicy":"Always","args":["proxy","sidecar","--proxyAdminPort","15999"]}]},"status":{"phase":"Running"}`)
	f.mux.HandleFunc("/api/v1/namespaces/ns/pods/p/portforward", func(w http.ResponseWriter, r *http.Request) {
		status(w, 403, "Forbidden", "pods \"p\" is forbidden", "p")
	})
	var ran string
	f.exec("ns", "p", func(container string, argv []string) (string, int) {
		ran = container + " " + strings.Join(argv, " ")
		return `{"ok":true}`, 0
	})
	mustAsk(t, f.source(Options{}), proxyQuery("clusters.json"))
	if ran != "istio-proxy pilot-agent request GET clusters?format=json --debug-port 15999" {
		t.Errorf("ran %q", ran)
	}
}

func TestTheAdminPortIsThePodsOwn(t *testing.T) {
	for _, c := range []struct {
		meta string
		want int
	}{
		{`{}`, 15000},
		{`{},"spec":{"containers":[{"name":"istio-proxy"}]}`, 15000},
		{`{"annotations":{"proxy.istio.io/config":"proxyAdminPort: 15999\n"}},"spec":{"containers":[{"name":"istio-proxy"}]}`, 15999},
		{`{"annotations":{"proxy.istio.io/config":"proxyAdminPort: 15999\n"}},"spec":{"containers":[{"name":"app"}],"initContainers":[{"name":"istio-proxy","restartPolicy":"Always"}]}`, 15999},
		{`{"annotations":{"proxy.istio.io/config":"proxyAdminPort: 99999\n"}},"spec":{"containers":[{"name":"istio-proxy"}]}`, 15000},
		{`{},"spec":{"containers":[{"name":"istio-proxy","env":[{"name":"PROXY_CONFIG","value":"{\"proxyAdminPort\":15001}"}]}]}`, 15001},
		{`{},"spec":{"containers":[{"name":"app"},{"name":"kuma-sidecar"}]}`, 9901},
		{`{},"spec":{"containers":[{"name":"app"},{"name":"consul-dataplane"}]}`, 19000},
		{`{"labels":{"gateway.envoyproxy.io/owning-gateway-name":"eg"}}`, 19000},
	} {
		p, err := parsePod([]byte(`{"metadata":` + c.meta + `}`))
		if err != nil {
			t.Errorf("%s: %v", c.meta, err)
		} else if got := adminPort(p); got != c.want {
			t.Errorf("%s: %d, want %d", c.meta, got, c.want)
		}
	}
}

func TestALogIsReadFromTheProxysContainerAndBounded(t *testing.T) {
	f := newFake(t)
	f.pod("ns", "p", `"spec":{"containers":[{"name":"app"}],"initContainers":[{"name":"istio-init"},{"name":"istio-proxy","restartPolicy":"Always"}]},"status":{"phase":"Running"}`)
	f.mux.HandleFunc("/api/v1/namespaces/ns/pods/p/log", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("container") != "istio-proxy" || q.Get("sinceSeconds") != "600" || q.Get("tailLines") != "50" || q.Get("limitBytes") == "" || q.Has("follow") {
			t.Errorf("query %v", q)
		}
		io.WriteString(w, "one\ntwo\n")
	})
	obs := mustAsk(t, f.source(Options{LogSince: 10 * time.Minute, LogTail: 50}), proxyQuery("access.log"))
	if string(obs.Data) != "one\ntwo\n" || obs.Span != "the last 10m0s" || obs.Cut != "" {
		t.Errorf("%q, span %q, cut %q", obs.Data, obs.Span, obs.Cut)
	}
}

func TestWhatIsMissingOfALogIsSaid(t *testing.T) {
	line := strings.Repeat("x", 99) + "\n"
	for _, c := range []struct {
		name, body string
		opts       Options
		cut        string
		kept       int
	}{
		{"as many lines as were asked for", line + line, Options{LogTail: 2}, "the latest 2 lines, and there may be more before them (--log-tail)", 200},
		{"fewer lines than were asked for", line, Options{LogTail: 2}, "", 100},
		{"more bytes than are taken", line + line + line, Options{MaxBytes: 250}, "it is larger than 250 bytes, and its latest lines are not among those (--log-since, --log-tail ask for less)", 200},
		{"just the bytes that are taken", line + line + line[:50], Options{MaxBytes: 250}, "it is larger than 250 bytes, and its latest lines are not among those (--log-since, --log-tail ask for less)", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			f.pod("ns", "p", "")
			f.answer("/api/v1/namespaces/ns/pods/p/log", c.body)
			s := f.source(Options{LogTail: c.opts.LogTail})
			pod, err := s.pod(t.Context(), "ns", "p")
			if err != nil || pod == nil {
				t.Fatal(err)
			}
			if c.opts.MaxBytes > 0 {
				s.opts.MaxBytes = c.opts.MaxBytes // of the log; the Pod is larger
			}
			obs := mustAsk(t, s, proxyQuery("access.log"))
			if obs.Cut != c.cut || len(obs.Data) != c.kept {
				t.Errorf("%d bytes, cut %q", len(obs.Data), obs.Cut)
			}
		})
	}
}

func TestALogThatNeverEndsIsCutAfterAWholeLine(t *testing.T) {
	t.Parallel() // it waits for half the time of a read
	f := newFake(t)
	f.pod("ns", "p", "")
	f.mux.HandleFunc("/api/v1/namespaces/ns/pods/p/log", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "one\ntwo\nthr")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	obs := mustAsk(t, f.source(Options{ReadTimeout: 4 * time.Second}), proxyQuery("access.log"))
	if string(obs.Data) != "one\ntwo\n" || !strings.HasPrefix(obs.Cut, "it did not end within ") {
		t.Errorf("%q, cut %q", obs.Data, obs.Cut)
	}
}

func TestALogIsFollowedUntilTheReaderLeaves(t *testing.T) {
	f := newFake(t)
	f.pod("ns", "p", "")
	f.mux.HandleFunc("/api/v1/namespaces/ns/pods/p/log", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("follow") != "true" || r.URL.Query().Get("tailLines") != "0" {
			t.Errorf("query %v", r.URL.Query())
		}
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(w, "line %d\r\n%s\n", i, strings.Repeat("x", 100<<10)); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	var lines []string
	err := f.source(Options{}).FollowLog(ctx, "ns", "p", time.Time{}, func(line []byte) {
		if lines = append(lines, string(line[:min(len(line), 6)])); len(lines) == 4 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || !slices.Equal(lines[:4], []string{"line 0", "xxxxxx", "line 1", "xxxxxx"}) {
		t.Errorf("%q, %v", lines, err)
	}
}

func nodeQuery(file string) trace.Query {
	return trace.Query{Area: trace.AreaNode, Name: "n1", File: file}
}

const hostPod = `{"metadata":{"namespace":%q,"name":%q},"spec":{"nodeName":"n1","hostNetwork":true,"containers":[{"name":"c"}]},"status":{"phase":%q}}`

func podList(pods ...string) string {
	return `{"kind":"PodList","apiVersion":"v1","items":[` + strings.Join(pods, ",") + `]}`
}

func TestANodesRulesAreReadInAPodThatHasTheToolsAndTheNetwork(t *testing.T) {
	f := newFake(t)
	f.mux.HandleFunc("/api/v1/pods", func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("fieldSelector"); got != "spec.nodeName=n1,spec.hostNetwork=true" {
			t.Errorf("selector %q", got)
		}
		io.WriteString(w, podList(
			fmt.Sprintf(hostPod, "mon", "node-exporter", "Running"), fmt.Sprintf(hostPod, "kube-system", "calico-node-1", "Running"),
			fmt.Sprintf(hostPod, "kube-system", "kube-proxy-0", "Failed"), fmt.Sprintf(hostPod, "kube-system", "kube-proxy-1", "Running"),
			`{"metadata":{"namespace":"x","name":"kube-proxy-2"},"spec":{"nodeName":"n1","containers":[{"name":"c"}]},"status":{"phase":"Running"}}`))
	})
	f.answer("/api/v1/nodes/n1", `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},"status":{"nodeInfo":{"bootID":"another"}}}`)
	var mu sync.Mutex
	var ran []string
	has := func(pod string, tools ...string) {
		f.exec("kube-system", pod, func(_ string, argv []string) (string, int) {
			mu.Lock()
			if argv[0] == "sh" {
				argv = argv[:1]
			}
			ran = append(ran, pod+": "+strings.Join(argv, " "))
			mu.Unlock()
			if !slices.Contains(tools, argv[0]) {
				return "", -1
			}
			return "from " + pod, 0
		})
	}
	has("kube-proxy-1", "iptables-save", "conntrack")
	has("calico-node-1", "iptables-save", "ip")
	s := f.source(Options{})
	for _, c := range []struct{ file, want string }{
		{"iptables-save.txt", "from kube-proxy-1"}, {"conntrack.txt", "from kube-proxy-1"}, {"ip-addr.json", "from calico-node-1"}, {"ip-route.json", "from calico-node-1"},
	} {
		if got := string(mustAsk(t, s, nodeQuery(c.file)).Data); got != c.want {
			t.Errorf("%s: %q", c.file, got)
		}
	}
	want := []string{"kube-proxy-1: sh", "kube-proxy-1: iptables-save -c", "kube-proxy-1: conntrack -L", "kube-proxy-1: ip -j addr", "calico-node-1: ip -j addr", "calico-node-1: ip -j route"}
	if !slices.Equal(ran, want) {
		t.Errorf("ran %q", ran)
	}
	if f.count("GET /api/v1/pods?") != 1 {
		t.Errorf("the Pods of a node are listed once: %q", f.asked)
	}
}

func TestWhereThereIsAShellOneExecBringsAllFilesOfANode(t *testing.T) {
	if _, err := osexec.LookPath("sh"); err != nil {
		t.Skip("no sh on this machine")
	}
	tools := t.TempDir()
	for name, script := range map[string]string{
		"iptables-save": "echo '*nat'; echo COMMIT", "conntrack": "printf 'no newline'", "ip": "echo \"$2\" >&2; exit 1",
	} {
		if err := os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f := newFake(t)
	f.answer("/api/v1/pods", podList(fmt.Sprintf(hostPod, "kube-system", "kube-proxy-1", "Running")))
	f.answer("/api/v1/nodes/n1", `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}`)
	var ran []string
	f.exec("kube-system", "kube-proxy-1", func(_ string, argv []string) (string, int) {
		ran = append(ran, argv[0])
		cmd := osexec.Command("/bin/sh", argv[1:]...)
		cmd.Env = []string{"PATH=" + tools}
		if argv[0] != "sh" {
			return "", 1
		}
		out, err := cmd.Output()
		if err != nil {
			t.Error(err)
		}
		return string(out), 0
	})
	s := f.source(Options{})
	for file, want := range map[string]string{"iptables-save.txt": "*nat\nCOMMIT\n", "conntrack.txt": "no newline"} {
		if got := string(mustAsk(t, s, nodeQuery(file)).Data); got != want {
			t.Errorf("%s: %q", file, got)
		}
	}
	if len(ran) != 1 {
		t.Errorf("ran %q", ran)
	}
	if nr := notRead(t, s, nodeQuery("iptables-legacy-save.txt")); nr.Why != "no Pod with the network of node n1 has iptables-legacy-save" {
		t.Errorf("why %q", nr.Why)
	}
	if nr := notRead(t, s, nodeQuery("ip-addr.json")); !strings.Contains(nr.Why, "ended with status 1") {
		t.Errorf("why %q", nr.Why)
	}
	if len(ran) != 2 || ran[1] != "ip" {
		t.Errorf("ran %q: what was missing is not tried again, what failed is", ran)
	}
}

func FuzzSplitBatch(f *testing.F) {
	f.Add([]byte("M iptables-save.txt\n*nat\n\nM 0\nM iptables-legacy-save.txt\n\nM 127\n"))
	f.Add([]byte("M iptables-save.txt\nM 0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, missing := splitBatch(data, "M")
		if len(files)+len(missing) > len(batchFiles) {
			t.Fatalf("%d files, %d missing", len(files), len(missing))
		}
	})
}

func TestANodeWithoutSuchAPodIsNotReadAndNothingIsCreated(t *testing.T) {
	f := newFake(t)
	f.answer("/api/v1/pods", podList())
	f.answer("/api/v1/nodes/n1", `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}`)
	nr := notRead(t, f.source(Options{}), nodeQuery("iptables-save.txt"))
	if nr.Why != "no running Pod on node n1 has the host's network" || !strings.HasSuffix(nr.Command, "--node-debug") {
		t.Errorf("why %q, command %q", nr.Why, nr.Command)
	}
	if f.count("POST") != 0 {
		t.Errorf("something was written: %q", f.asked)
	}
}

// TestANodeWhosePodsMayNotBeListedNamesThatRight: which Pods could print the
// rules is what has to be known first.
func TestANodeWhosePodsMayNotBeListedNamesThatRight(t *testing.T) {
	f := newFake(t)
	f.mux.HandleFunc("/api/v1/pods", func(w http.ResponseWriter, r *http.Request) {
		status(w, 403, "Forbidden", `pods is forbidden: User "alice" cannot list resource "pods" in API group "" at the cluster scope`, "")
	})
	nr := notRead(t, f.source(Options{}), nodeQuery("iptables-save.txt"))
	if nr.Verb != "list" || nr.Resource != "pods" || nr.Namespace != "" || !strings.HasPrefix(nr.Why, "the Pods of node n1: ") || !strings.HasPrefix(nr.Command, "iptables-save -c") {
		t.Errorf("%+v", nr)
	}
}

// debugNode serves a node with an image that holds the tools, and reviews that
// allow everything but what denied names, "verb resource".
func (f *fakeAPI) debugNode(denied string) {
	f.answer("/api/v1/pods", podList())
	f.answer("/api/v1/nodes/n1", `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},"status":{"images":[{"names":["example.com/app:1"]},{"names":["example.com/kube-proxy:v1"]}]}}`)
	f.mux.HandleFunc("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			Spec struct {
				ResourceAttributes struct{ Namespace, Verb, Resource, Subresource string }
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			f.t.Error(err)
		}
		a := review.Spec.ResourceAttributes
		if a.Namespace != "default" {
			f.t.Errorf("the review is of namespace %q", a.Namespace)
		}
		w.WriteHeader(201)
		fmt.Fprintf(w, `{"status":{"allowed":%v}}`, a.Verb+" "+strings.TrimSuffix(a.Resource+"/"+a.Subresource, "/") != denied)
	})
}

// createdPod is the name in the body of a request that creates a Pod.
func createdPod(t *testing.T, r *http.Request) (name, body string) {
	data, _ := io.ReadAll(r.Body)
	var pod struct{ Metadata struct{ Name string } }
	if err := json.Unmarshal(data, &pod); err != nil || !strings.HasPrefix(pod.Metadata.Name, "hoptrail-node-") {
		t.Errorf("the Pod is named %q, %v", pod.Metadata.Name, err)
	}
	return pod.Metadata.Name, string(data)
}

func TestNodeDebugCreatesAPodSaysSoAndRemovesIt(t *testing.T) {
	f := newFake(t)
	f.debugNode("")
	var mu sync.Mutex
	var made, removed []string
	f.mux.HandleFunc("POST /api/v1/namespaces/default/pods", func(w http.ResponseWriter, r *http.Request) {
		name, body := createdPod(t, r)
		for _, want := range []string{`"nodeName":"n1"`, `"hostNetwork":true`, `"image":"example.com/kube-proxy:v1"`, `"activeDeadlineSeconds":120`, `"command":["iptables-save","-c"]`} {
			if !strings.Contains(body, want) {
				t.Errorf("the Pod lacks %s: %s", want, body)
			}
		}
		if strings.Contains(body, "privileged") {
			t.Errorf("the Pod is privileged: %s", body)
		}
		mu.Lock()
		defer mu.Unlock()
		made = append(made, name)
		w.WriteHeader(201)
		io.WriteString(w, body)
	})
	polls := 0
	f.mux.HandleFunc("GET /api/v1/namespaces/default/pods/{name}", func(w http.ResponseWriter, r *http.Request) {
		state := `"waiting":{"reason":"ContainerCreating"}`
		if polls++; polls > 1 {
			state = `"terminated":{"exitCode":0}`
		}
		fmt.Fprintf(w, `{"metadata":{"name":%q},"status":{"phase":"Running","containerStatuses":[{"name":"iptables-save","state":{%s}},{"name":"conntrack","state":{"waiting":{"reason":"RunContainerError","message":"no conntrack"}}}]}}`, r.PathValue("name"), state)
	})
	f.mux.HandleFunc("GET /api/v1/namespaces/default/pods/{name}/log", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("container") != "iptables-save" {
			t.Errorf("query %v", r.URL.Query())
		}
		io.WriteString(w, "*nat\nCOMMIT\n")
	})
	f.mux.HandleFunc("DELETE /api/v1/namespaces/default/pods/{name}", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		removed = append(removed, r.PathValue("name"))
		io.WriteString(w, `{}`)
	})
	var told []string
	s := f.source(Options{NodeDebug: true, Tell: func(l string) { told = append(told, l) }})
	if got := string(mustAsk(t, s, nodeQuery("iptables-save.txt")).Data); got != "*nat\nCOMMIT\n" {
		t.Errorf("rules %q", got)
	}
	if nr := notRead(t, s, nodeQuery("conntrack.txt")); !strings.Contains(nr.Why, "conntrack cannot start: RunContainerError: no conntrack") {
		t.Errorf("why %q", nr.Why)
	}
	// What it printed is of that trace: the next one makes its own.
	s.Reset(t.Context())
	if len(made) != 1 || !slices.Equal(made, removed) {
		t.Errorf("after the first trace %q were made, %q removed", made, removed)
	}
	mustAsk(t, s, nodeQuery("iptables-save.txt"))
	if err := s.Close(); err != nil || len(made) != 2 || made[0] == made[1] || !slices.Equal(made, removed) {
		t.Errorf("close: %v; %q were made, %q removed", err, made, removed)
	}
	var want []string
	for _, name := range made {
		want = append(want, "created Pod default/"+name+" on node n1 (image example.com/kube-proxy:v1) to read the node's rules", "removed Pod default/"+name)
	}
	if !slices.Equal(told, want) {
		t.Errorf("told %q", told)
	}
}

// TestADebugPodThatCouldNotBeRemovedIsNotMade: who may create and not delete
// would leave it behind.
func TestADebugPodThatCouldNotBeRemovedIsNotMade(t *testing.T) {
	for _, right := range []string{"delete pods", "get pods", "get pods/log"} {
		t.Run(right, func(t *testing.T) {
			f := newFake(t)
			f.debugNode(right)
			s := f.source(Options{NodeDebug: true})
			nr := notRead(t, s, nodeQuery("iptables-save.txt"))
			verb, resource, _ := strings.Cut(right, " ")
			if nr.Verb != verb || nr.Resource != resource || nr.Namespace != "default" || !strings.Contains(nr.Why, "no Pod was created: the right to "+right+" in namespace default is missing") ||
				!strings.Contains(nr.Command, "--verb="+verb+" --resource="+resource) {
				t.Errorf("%+v", nr)
			}
			if err := s.Close(); err != nil || f.count("POST /api/v1/namespaces/default/pods") != 0 || f.count("DELETE") != 0 {
				t.Errorf("close: %v; asked %q", err, f.asked)
			}
		})
	}
	t.Run("whether it could be removed is not known", func(t *testing.T) {
		f := newFake(t)
		f.answer("/api/v1/pods", podList())
		f.answer("/api/v1/nodes/n1", `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},"status":{"images":[{"names":["x/kube-proxy:v1"]}]}}`)
		nr := notRead(t, f.source(Options{NodeDebug: true}), nodeQuery("iptables-save.txt"))
		if !strings.Contains(nr.Why, "no Pod was created: whether it could be removed again was not found out") || f.count("POST /api/v1/namespaces/default/pods") != 0 {
			t.Errorf("%q; asked %q", nr.Why, f.asked)
		}
	})
}

func TestADebugPodIsRemovedHoweverItsCreationEnds(t *testing.T) {
	for _, c := range []struct {
		name    string
		create  func(w http.ResponseWriter)
		removed int
	}{
		{"interrupted while it is made", nil, 1},
		{"the answer never comes", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 1},
		{"the server fails in the middle", func(w http.ResponseWriter) { status(w, 500, "InternalError", "etcd is gone", "") }, 1},
		{"it is refused", func(w http.ResponseWriter) { status(w, 403, "Forbidden", "pods is forbidden", "") }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			f.debugNode("")
			var mu sync.Mutex
			var made, removed string
			creating, closing := make(chan struct{}), make(chan struct{})
			f.mux.HandleFunc("POST /api/v1/namespaces/default/pods", func(w http.ResponseWriter, r *http.Request) {
				name, body := createdPod(t, r)
				mu.Lock()
				made = name
				mu.Unlock()
				close(creating)
				if c.create != nil {
					c.create(w)
					return
				}
				<-closing
				io.WriteString(w, body)
			})
			f.mux.HandleFunc("DELETE /api/v1/namespaces/default/pods/{name}", func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				removed = r.PathValue("name")
				mu.Unlock()
				status(w, 404, "NotFound", "pods not found", r.PathValue("name"))
			})
			s := f.source(Options{NodeDebug: true})
			if c.create == nil {
				go s.Observe(t.Context(), nodeQuery("iptables-save.txt"))
				<-creating
				close(closing)
			} else {
				notRead(t, s, nodeQuery("iptables-save.txt"))
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if f.count("DELETE") != c.removed || c.removed > 0 && removed != made {
				t.Errorf("made was %q, removed %q; asked %q", made, removed, f.asked)
			}
		})
	}
}

func TestNoDebugPodIsMadeAfterTheSourceIsClosed(t *testing.T) {
	f := newFake(t)
	s := f.source(Options{NodeDebug: true, NodeDebugImage: "x/kube-proxy:v1"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// As a read does that saw its time run on just before.
	if _, err := s.debugFile(t.Context(), nodeQuery("iptables-save.txt")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if f.count("POST") != 0 {
		t.Errorf("asked %q", f.asked)
	}
}

func TestADebugPodThatCouldNotBeMadeIsTriedByTheNextTrace(t *testing.T) {
	f := newFake(t)
	f.debugNode("")
	refuse := true
	f.mux.HandleFunc("POST /api/v1/namespaces/default/pods", func(w http.ResponseWriter, r *http.Request) {
		if refuse {
			refuse = false
			status(w, 500, "InternalError", "not now", "")
			return
		}
		_, body := createdPod(t, r)
		io.WriteString(w, body)
	})
	f.answer("GET /api/v1/namespaces/default/pods/{name}", `{"metadata":{"name":"hoptrail-node-x"},"status":{"containerStatuses":[{"name":"iptables-save","state":{"terminated":{"exitCode":0}}}]}}`)
	f.answer("GET /api/v1/namespaces/default/pods/{name}/log", "*nat\nCOMMIT\n")
	f.answer("DELETE /api/v1/namespaces/default/pods/{name}", `{}`)
	s := f.source(Options{NodeDebug: true})
	if nr := notRead(t, s, nodeQuery("iptables-save.txt")); !strings.Contains(nr.Why, "not now") {
		t.Errorf("why %q", nr.Why)
	}
	s.Reset(t.Context())
	if got := string(mustAsk(t, s, nodeQuery("iptables-save.txt")).Data); got != "*nat\nCOMMIT\n" {
		t.Errorf("rules %q", got)
	}
}

func TestAPodsSocketsAreReadFromProcWhereThereIsNoSS(t *testing.T) {
	f := newFake(t)
	f.pod("ns", "p", `"spec":{"containers":[{"name":"app"}]},"status":{"phase":"Running"}`)
	f.exec("ns", "p", func(_ string, argv []string) (string, int) {
		if argv[0] != "cat" {
			return "", 127
		}
		return `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 0E010A0A:0050 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0
  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000
   1: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 00000000:00000000
`, 0
	})
	got := strings.Join(strings.Fields(string(mustAsk(t, f.source(Options{}), trace.Query{Area: trace.AreaPod, Namespace: "ns", Name: "p", File: "ss.txt"}).Data)), " ")
	want := "State Recv-Q Send-Q Local Address:Port Peer Address:PortProcess LISTEN 0 0 127.0.0.1:8080 0.0.0.0:* LISTEN 0 0 *:80 *:* LISTEN 0 0 [::1]:81 [::]:*"
	if got != want {
		t.Errorf("got %s", got)
	}
}

func TestAProgramWithoutTheRightsSaysSo(t *testing.T) {
	f := newFake(t)
	f.pod("ns", "p", "")
	f.exec("ns", "p", func(string, []string) (string, int) { return "", 4 })
	nr := notRead(t, f.source(Options{}), trace.Query{Area: trace.AreaPod, Namespace: "ns", Name: "p", File: "iptables-save.txt"})
	if nr.Why != "iptables-save -c in ns/p (istio-proxy) ended with status 4" {
		t.Errorf("why %q", nr.Why)
	}
}

func TestNothingIsRunInAPodThatDoesNotRun(t *testing.T) {
	f := newFake(t)
	f.pod("ns", "p", `"spec":{"containers":[{"name":"app"}]},"status":{"phase":"Pending"}`)
	if nr := notRead(t, f.source(Options{}), trace.Query{Area: trace.AreaPod, Namespace: "ns", Name: "p", File: "ss.txt"}); nr.Why != "the Pod ns/p is Pending: nothing can be run in it" {
		t.Errorf("why %q", nr.Why)
	}
}

// nameServer answers over UDP and TCP from records in zone file form.
func nameServer(t *testing.T, records ...string) string {
	t.Helper()
	zone := map[string][]dns.RR{}
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		zone[rr.Header().Name] = append(zone[rr.Header().Name], rr)
	}
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		name := strings.ToLower(q.Question[0].Name)
		if name == "broken.test." {
			m.Rcode = dns.RcodeServerFailure
		} else if zone[name] == nil {
			m.Rcode = dns.RcodeNameError
		}
		for name != "" {
			next := ""
			for _, rr := range zone[name] {
				if c, ok := rr.(*dns.CNAME); ok {
					m.Answer = append(m.Answer, rr)
					next = c.Target
				} else if rr.Header().Rrtype == q.Question[0].Qtype {
					m.Answer = append(m.Answer, rr)
				}
			}
			name = next
		}
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp && len(m.Answer) > 20 {
			m.Truncated, m.Answer = true, nil
		}
		w.WriteMsg(m)
	})
	pc, ln := samePort(t)
	udp, tcp := &dns.Server{PacketConn: pc, Handler: h}, &dns.Server{Listener: ln, Handler: h}
	go udp.ActivateAndServe()
	go tcp.ActivateAndServe()
	t.Cleanup(func() { udp.Shutdown(); tcp.Shutdown() })
	return pc.LocalAddr().String()
}

// samePort listens on a port that is free for UDP and for TCP. Which ports are
// free for the one says nothing about the other: connections of other tests,
// also those that are over, hold many of TCP's.
func samePort(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		if err == nil {
			return pc, ln
		}
		// Until the test is over, so that the next try is another port.
		t.Cleanup(func() { ln.Close() })
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

func TestANameIsResolvedWithItsWholeChain(t *testing.T) {
	records := []string{"shop.test. 300 IN CNAME lb.cloud.test.", "lb.cloud.test. 60 IN A 203.0.113.10", "lb.cloud.test. 60 IN A 203.0.113.11", "v6.test. 5 IN AAAA 2001:db8::1"}
	for i := range 30 {
		records = append(records, fmt.Sprintf("many.test. 5 IN A 10.0.0.%d", i+1))
	}
	server := nameServer(t, records...)
	s := newFake(t).source(Options{Resolver: server})
	for _, c := range []struct{ name, want string }{
		{"shop.test", `{"answers":[{"name":"shop.test.","type":"CNAME","ttl":300,"values":["lb.cloud.test."],"server":"S"},{"name":"lb.cloud.test.","type":"A","ttl":60,"values":["203.0.113.10","203.0.113.11"],"server":"S"}]}`},
		{"v6.test", `{"answers":[{"name":"v6.test.","type":"AAAA","ttl":5,"values":["2001:db8::1"],"server":"S"}]}`},
		{"none.test", `{"answers":[{"name":"none.test.","type":"A","ttl":0,"values":[],"server":"S","error":"NXDOMAIN"}]}`},
	} {
		got := strings.ReplaceAll(string(mustAsk(t, s, trace.Query{Area: trace.AreaDNS, Name: c.name}).Data), server, "S")
		if got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.name, got, c.want)
		}
	}
	if got := strings.Count(string(mustAsk(t, s, trace.Query{Area: trace.AreaDNS, Name: "many.test"}).Data), "10.0.0."); got != 30 {
		t.Errorf("%d of 30 addresses of an answer that needs TCP", got)
	}
	if nr := notRead(t, s, trace.Query{Area: trace.AreaDNS, Name: "broken.test"}); !strings.Contains(nr.Why, "answered SERVFAIL") {
		t.Errorf("why %q", nr.Why)
	}
	if nr := notRead(t, newFake(t).source(Options{Resolver: "not an address"}), trace.Query{Area: trace.AreaDNS, Name: "a.test"}); !strings.Contains(nr.Why, "--resolver") {
		t.Errorf("why %q", nr.Why)
	}
}

func TestAServerWhoseAnswerIsLostIsAskedOnceMore(t *testing.T) {
	late := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	var asked []string
	server := func(name string, answers ...error) asker {
		return asker{name, func(_ context.Context, m *dns.Msg) (*dns.Msg, error) {
			asked = append(asked, name)
			err := answers[0]
			answers = answers[1:]
			return new(dns.Msg).SetReply(m), err
		}}
	}
	for _, c := range []struct {
		name    string
		servers []asker
		asked   string
		found   string
		err     string
	}{
		{"the first is late once", []asker{server("a", late, nil)}, "a a", "a", ""},
		{"the second answers at once", []asker{server("a", late), server("b", nil)}, "a b", "b", ""},
		{"the one refuses and the other is late", []asker{server("a", syscall.ECONNREFUSED), server("b", late, nil)}, "a b b", "b", ""},
		{"nobody answers", []asker{server("a", late, late), server("b", syscall.ECONNREFUSED)}, "a b a", "", "name server b: connection refused\nname server a: read: i/o timeout"},
	} {
		asked = nil
		_, found, err := askAny(t.Context(), c.servers, new(dns.Msg).SetQuestion("x.test.", dns.TypeA))
		if got := strings.Join(asked, " "); got != c.asked || found != c.found || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: asked %s; %q, %v", c.name, got, found, err)
		}
	}
}

func TestAPodsNameIsAskedOfTheClustersDNSThroughAPortForward(t *testing.T) {
	server := nameServer(t, "simple.shop.svc.cluster.local. 5 IN A 10.96.0.7", "simple.shop.svc.corp.test. 5 IN A 10.96.0.8", "simple.node.test. 5 IN A 10.96.0.9")
	const corefile = ".:53 {\n  kubernetes in-addr.arpa Corp.test. ip6.arpa {\n  }\n}\n"
	for _, c := range []struct {
		name                 string
		resolvConf, corefile string
		found, value, says   string
		dnsConfig            string
	}{
		{name: "as its resolv.conf says", resolvConf: "search none.test node.test\nnameserver 10.96.0.10\noptions ndots:5\n", found: "simple.node.test.", value: "10.96.0.9"},
		{name: "in the domain of the Corefile", corefile: corefile, found: "simple.shop.svc.corp.test.", value: "10.96.0.8", says: "the cluster domain corp.test, from the Corefile"},
		{name: "in the usual domain", found: "simple.shop.svc.cluster.local.", value: "10.96.0.7", says: "cluster.local, which is assumed"},
		{name: "and in one that the Pod adds", dnsConfig: `,"dnsConfig":{"searches":["node.test"]}`, corefile: strings.Replace(corefile, "Corp", "other", 1), found: "simple.node.test.", value: "10.96.0.9", says: "the cluster domain other.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			f.pod("shop", "p", `"spec":{"dnsPolicy":"ClusterFirst","containers":[{"name":"app"}]`+c.dnsConfig+`},"status":{"phase":"Running"}`)
			f.answer("/api/v1/namespaces/kube-system/pods", podList(`{"metadata":{"namespace":"kube-system","name":"coredns-1","labels":{"k8s-app":"kube-dns"}},"status":{"phase":"Running"}}`))
			f.exec("shop", "p", func(_ string, argv []string) (string, int) {
				if c.resolvConf == "" || fmt.Sprint(argv) != "[cat /etc/resolv.conf]" {
					return "", 127
				}
				return c.resolvConf, 0
			})
			if c.corefile != "" {
				cm, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]string{"namespace": "kube-system", "name": "coredns"}, "data": map[string]string{"Corefile": c.corefile}})
				if err != nil {
					t.Fatal(err)
				}
				f.answer("/api/v1/namespaces/kube-system/configmaps/coredns", string(cm))
			}
			f.forward("kube-system", "coredns-1", func(port string) (net.Conn, error) {
				if port != "53" {
					return nil, errors.New("connection refused")
				}
				return net.Dial("tcp", server)
			})
			s := f.source(Options{})
			var got struct{ Answers []answer }
			if err := json.Unmarshal(mustAsk(t, s, trace.Query{Area: trace.AreaDNS, Name: "simple", From: "pod:shop/p"}).Data, &got); err != nil {
				t.Fatal(err)
			}
			if len(got.Answers) != 2 || got.Answers[0].Server != "the resolver's search path" || got.Answers[0].Values[0] != c.found ||
				got.Answers[1].Server != "kube-system/coredns-1" || got.Answers[1].Values[0] != c.value {
				t.Errorf("got %+v", got)
			}
			for _, a := range got.Answers {
				if (c.says == "") != (a.Assumed == "") || !strings.Contains(a.Assumed, c.says) {
					t.Errorf("assumed %q", a.Assumed)
				}
			}
		})
	}
	f := newFake(t)
	f.pod("shop", "host", `"spec":{"dnsPolicy":"Default","containers":[{"name":"app"}]},"status":{"phase":"Running"}`)
	if nr := notRead(t, f.source(Options{}), trace.Query{Area: trace.AreaDNS, Name: "simple", From: "pod:shop/host"}); !strings.Contains(nr.Why, "does not use the cluster's DNS") {
		t.Errorf("why %q", nr.Why)
	}
}

func TestTheClustersDomainIsInTheCorefile(t *testing.T) {
	for corefile, want := range map[string]string{
		".:53 {\n    kubernetes cluster.local in-addr.arpa ip6.arpa {\n       pods insecure\n    }\n}": "cluster.local",
		"kubernetes in-addr.arpa A.b. {\n": "a.b",
		"kubernetes {\n}\n":                "",
		"kubernetes # x.y\n":               "",
		"# kubernetes x.y\nforward . x\n":  "",
		"":                                 "",
	} {
		if got := clusterDomain(corefile); got != want {
			t.Errorf("%q: %q, want %q", corefile, got, want)
		}
	}
}

func TestANodesNamesAreAskedOfAnotherResolverAndThatIsSaid(t *testing.T) {
	s := newFake(t).source(Options{})
	data, err := s.resolve(t.Context(), trace.Query{Area: trace.AreaDNS, Name: "localhost", From: "node:n1"})
	if err != nil || !strings.Contains(string(data), "asked of this machine's resolver; the one of node n1 may answer otherwise") {
		t.Errorf("%s, %v", data, err)
	}
	data, err = s.resolve(t.Context(), trace.Query{Area: trace.AreaDNS, Name: "localhost", From: "external"})
	if err != nil || strings.Contains(string(data), "assumed") {
		t.Errorf("%s, %v", data, err)
	}
}

func TestSearchPath(t *testing.T) {
	for _, c := range []struct {
		name   string
		search []string
		ndots  int
		want   string
	}{
		{"a", []string{"x.y", "z."}, 1, "a.x.y. a.z. a."},
		{"a.b", []string{"x"}, 1, "a.b. a.b.x."},
		{"a.b", []string{"x"}, 5, "a.b.x. a.b."},
		{"a.b.", []string{"x"}, 5, "a.b."},
		{"a", nil, 1, "a."},
	} {
		if got := strings.Join(searchPath(c.name, c.search, c.ndots), " "); got != c.want {
			t.Errorf("%s in %q with ndots %d: %s", c.name, c.search, c.ndots, got)
		}
	}
}

func TestAHostsFileGoesBeforeDNS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte("127.0.0.1 localhost\n# 1.1.1.1 shop.test\n10.0.0.1\tShop.test other # shop2.test\n::1 shop.test\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(hostsFile(file, "shop.test."))
	want := fmt.Sprintf("[{shop.test. A 0 [10.0.0.1] %s  } {shop.test. AAAA 0 [::1] %s  }]", file, file)
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := hostsFile(file, "shop2.test"); got != nil {
		t.Errorf("a comment counts: %v", got)
	}
}
