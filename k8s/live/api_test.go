package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hoptrail/hoptrail/trace"
)

func names(t *testing.T, data []byte) string {
	t.Helper()
	var list struct {
		Kind  string
		Items []struct {
			APIVersion, Kind string
			Metadata         struct{ Namespace, Name string }
		}
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	if list.Kind != "List" {
		t.Errorf("kind %q", list.Kind)
	}
	var out []string
	for _, it := range list.Items {
		if it.Kind == "" || it.APIVersion == "" {
			t.Errorf("item %s/%s does not say what it is", it.Metadata.Namespace, it.Metadata.Name)
		}
		out = append(out, it.Metadata.Name)
	}
	return strings.Join(out, " ")
}

func TestAListIsReadInPagesAndJoined(t *testing.T) {
	f := newFake(t)
	f.mux.HandleFunc("/api/v1/services", func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("limit"); got != "500" {
			t.Errorf("limit %q", got)
		}
		switch r.URL.Query().Get("continue") {
		case "":
			io.WriteString(w, `{"kind":"ServiceList","apiVersion":"v1","metadata":{"continue":"p2"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}`)
		case "p2":
			io.WriteString(w, `{"kind":"ServiceList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"c"}}]}`)
		}
	})
	s := f.source(Options{})
	obs := mustAsk(t, s, clusterQuery("services", trace.Selector{}))
	if got := names(t, obs.Data); got != "a b c" {
		t.Errorf("items %q", got)
	}
	if n, b := s.Usage(); n != 2 || b < 100 {
		t.Errorf("usage %d requests, %d bytes", n, b)
	}
	if obs.At.IsZero() || obs.Took <= 0 || obs.Partial {
		t.Errorf("observation %+v", obs)
	}
}

func TestPagesThatExpiredAreReadOnceMoreInOnePiece(t *testing.T) {
	f := newFake(t)
	f.mux.HandleFunc("/api/v1/services", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case q.Get("continue") != "":
			status(w, 410, "Expired", "The provided continue parameter is too old", "")
		case q.Get("limit") != "":
			io.WriteString(w, `{"kind":"ServiceList","apiVersion":"v1","metadata":{"continue":"p2"},"items":[{"metadata":{"name":"a"}}]}`)
		default:
			io.WriteString(w, `{"kind":"ServiceList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}`)
		}
	})
	if got := names(t, mustAsk(t, f.source(Options{}), clusterQuery("services", trace.Selector{})).Data); got != "a b" {
		t.Errorf("items %q", got)
	}
}

func TestSelectorsBecomeTheAPIsOwnParameters(t *testing.T) {
	list := `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}`
	for _, c := range []struct {
		name string
		sel  trace.Selector
		path string
		want url.Values
	}{
		{"labels and fields in all namespaces", trace.Selector{Labels: "app=x", Fields: "status.podIP=1.2.3.4"}, "/api/v1/pods", url.Values{"labelSelector": {"app=x"}, "fieldSelector": {"status.podIP=1.2.3.4"}}},
		{"a namespace", trace.Selector{Namespace: "ns"}, "/api/v1/namespaces/ns/pods", url.Values{}},
		{"a name in any namespace", trace.Selector{Name: "x"}, "/api/v1/pods", url.Values{"fieldSelector": {"metadata.name=x"}}},
		{"a name and labels", trace.Selector{Namespace: "ns", Name: "x", Labels: "a=b"}, "/api/v1/namespaces/ns/pods", url.Values{"fieldSelector": {"metadata.name=x"}, "labelSelector": {"a=b"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			f.mux.HandleFunc(c.path, func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				q.Del("limit")
				if selected := len(c.want) > 0; selected != (q.Get("resourceVersion") == "0") {
					t.Errorf("resourceVersion %q", q.Get("resourceVersion"))
				}
				q.Del("resourceVersion")
				if q.Encode() != c.want.Encode() {
					t.Errorf("query %q, want %q", q.Encode(), c.want.Encode())
				}
				io.WriteString(w, list)
			})
			if obs := mustAsk(t, f.source(Options{}), clusterQuery("pods", c.sel)); !obs.Partial {
				t.Error("a selection does not say that it is one")
			}
			if f.count(c.path) != 1 {
				t.Errorf("asked %q", f.asked)
			}
		})
	}
}

func TestAnObjectKnownByNameIsAskedForByName(t *testing.T) {
	f := newFake(t)
	f.pod("ns", "p", "")
	s := f.source(Options{})
	if got := names(t, mustAsk(t, s, clusterQuery("pods", trace.Selector{Namespace: "ns", Name: "p"})).Data); got != "p" {
		t.Errorf("items %q", got)
	}
	f.mux.HandleFunc("/api/v1/namespaces/ns/pods/gone", func(w http.ResponseWriter, r *http.Request) {
		status(w, 404, "NotFound", `pods "gone" not found`, "gone")
	})
	if got := names(t, mustAsk(t, s, clusterQuery("pods", trace.Selector{Namespace: "ns", Name: "gone"})).Data); got != "" {
		t.Errorf("an object that is not there is an empty list, got %q", got)
	}
}

func TestAPodThatCameWithAListIsNotAskedForAgain(t *testing.T) {
	f := newFake(t)
	f.answer("/api/v1/pods", `{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"namespace":"ns","name":"p"},"status":{"podIP":"1.1.1.1"}}]}`)
	s := f.source(Options{})
	list := mustAsk(t, s, clusterQuery("pods", trace.Selector{Fields: "status.podIP=1.1.1.1"}))
	one := mustAsk(t, s, clusterQuery("pods", trace.Selector{Namespace: "ns", Name: "p"}))
	if string(one.Data) != string(list.Data) || f.count("GET") != 1 {
		t.Errorf("%s; asked %q", one.Data, f.asked)
	}
}

func TestAReadIsMadeOnceHoweverManyAsk(t *testing.T) {
	f := newFake(t)
	underWay := make(chan struct{}, 100)
	f.mux.HandleFunc("/api/v1/pods", func(w http.ResponseWriter, r *http.Request) {
		underWay <- struct{}{}
		time.Sleep(50 * time.Millisecond)
		io.WriteString(w, `{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"namespace":"ns","name":"p"},"status":{"podIP":"1.1.1.1"}}]}`)
	})
	s := f.source(Options{})
	var wg sync.WaitGroup
	for i := range 20 {
		sel := trace.Selector{}
		if i == 2 {
			<-underWay // the whole list is asked for
		}
		if i > 0 && i%2 == 0 {
			sel.Fields = "status.podIP=1.1.1.1"
		}
		wg.Go(func() { mustAsk(t, s, clusterQuery("pods", sel)) })
	}
	wg.Wait()
	if n := f.count("/api/v1/pods"); n != 1 {
		t.Errorf("%d requests for one list and selections from it: %q", n, f.asked)
	}
	s.Reset(t.Context())
	mustAsk(t, s, clusterQuery("pods", trace.Selector{}))
	if n := f.count("/api/v1/pods"); n != 2 {
		t.Errorf("after Reset the list is read anew; %d requests", n)
	}
}

func TestWhatAGivenUpTraceLeftUnderWayIsNotTheNextOnes(t *testing.T) {
	f := newFake(t)
	begun, ended := make(chan struct{}, 1), make(chan struct{})
	hangs := true
	f.mux.HandleFunc("/api/v1/pods", func(w http.ResponseWriter, r *http.Request) {
		if hangs {
			hangs = false
			begun <- struct{}{}
			<-r.Context().Done()
			close(ended)
			return
		}
		io.WriteString(w, `{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"namespace":"ns","name":"p"}}]}`)
	})
	s := f.source(Options{ReadTimeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := s.Observe(ctx, clusterQuery("pods", trace.Selector{}))
		gone <- err
	}()
	other := make(chan trace.Observation, 1) // asks as a follower of logs does, whatever becomes of the trace
	<-begun
	go func() { other <- mustAsk(t, s, clusterQuery("pods", trace.Selector{})) }()
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	s.Reset(t.Context())
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the server is still being asked")
	}
	if got := names(t, mustAsk(t, s, clusterQuery("pods", trace.Selector{})).Data); got != "p" {
		t.Errorf("items %q", got)
	}
	if got := names(t, (<-other).Data); got != "p" {
		t.Errorf("items %q", got)
	}
	if n, _ := s.Usage(); n != 1 {
		t.Errorf("%d requests, of which one is the new trace's: %q", n, f.asked)
	}
}

func TestACustomResourceIsFoundInAnOlderVersion(t *testing.T) {
	f := newFake(t)
	f.answer("/apis/networking.istio.io/v1beta1/gateways", `{"kind":"GatewayList","apiVersion":"networking.istio.io/v1beta1","items":[{"apiVersion":"networking.istio.io/v1beta1","kind":"Gateway","metadata":{"name":"g"}}]}`)
	s := f.source(Options{})
	if got := names(t, mustAsk(t, s, clusterQuery("gateways.networking.istio.io", trace.Selector{})).Data); got != "g" {
		t.Errorf("items %q", got)
	}
}

func TestAResourceTheClusterDoesNotHaveIsAnEmptyList(t *testing.T) {
	f := newFake(t)
	s := f.source(Options{})
	for _, file := range []string{"gateways.networking.istio.io", "ciliumnetworkpolicies.cilium.io", "a.b.example", "b.b.example"} {
		if got := names(t, mustAsk(t, s, clusterQuery(file, trace.Selector{})).Data); got != "" {
			t.Errorf("%s: %q", file, got)
		}
	}
	if f.count("/apis/cilium.io") != 0 || f.count("GET /apis") != 4 { // three versions of Istio's, one list of groups
		t.Errorf("asked %q", f.asked)
	}
}

func TestAResourceOfAnotherGroupIsReadInTheVersionTheServerPrefers(t *testing.T) {
	f := newFake(t)
	f.answer("/apis/policy.example/v2/rules", `{"kind":"RuleList","apiVersion":"policy.example/v2","items":[{"apiVersion":"policy.example/v2","kind":"Rule","metadata":{"name":"r"}}]}`)
	if got := names(t, mustAsk(t, f.source(Options{}), clusterQuery("rules.policy.example", trace.Selector{})).Data); got != "r" {
		t.Errorf("items %q", got)
	}
}

func TestAFieldSelectorTheServerDoesNotKnowIsLeftOut(t *testing.T) {
	f := newFake(t)
	f.mux.HandleFunc("/api/v1/pods", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("fieldSelector") {
			status(w, 400, "BadRequest", "field label not supported: spec.hostNetwork", "")
			return
		}
		io.WriteString(w, `{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}`)
	})
	if got := names(t, mustAsk(t, f.source(Options{}), clusterQuery("pods", trace.Selector{Fields: "spec.hostNetwork=true"})).Data); got != "a b" {
		t.Errorf("items %q", got)
	}
}

func TestWhatIsForbiddenNamesTheRightThatIsMissing(t *testing.T) {
	f := newFake(t)
	refuse := func(path, message string) {
		f.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { status(w, 403, "Forbidden", message, "") })
	}
	refuse("/apis/discovery.k8s.io/v1/endpointslices", `endpointslices.discovery.k8s.io is forbidden: User "alice" cannot list resource "endpointslices" in API group "discovery.k8s.io" at the cluster scope`)
	refuse("/api/v1/namespaces/ns/pods/p/log", `pods "p" is forbidden: User "alice" cannot get resource "pods/log" in API group "" in the namespace "ns"`)
	refuse("/api/v1/namespaces/ns/pods/p/exec", `pods "p" is forbidden: User "alice" cannot create resource "pods/exec" in API group "" in the namespace "ns"`)
	refuse("/api/v1/namespaces/ns/pods/p/portforward", `pods "p" is forbidden: User "alice" cannot create resource "pods/portforward" in API group "" in the namespace "ns"`)
	f.pod("ns", "p", "")
	s := f.source(Options{})
	for _, c := range []struct {
		q                  trace.Query
		verb, resource, in string
		command, why       string
	}{
		{
			clusterQuery("endpointslices.discovery.k8s.io", trace.Selector{}), "list", "endpointslices", "",
			"kubectl create clusterrole hoptrail-endpointslices --verb=list --resource=endpointslices.discovery.k8s.io && kubectl create clusterrolebinding hoptrail-endpointslices --clusterrole=hoptrail-endpointslices --user=alice", "at the cluster scope",
		},
		{
			trace.Query{Area: trace.AreaProxy, Namespace: "ns", Name: "p", File: "access.log"},
			"get", "pods/log", "ns",
			"kubectl create -n ns role hoptrail-pods-log --verb=get --resource=pods/log && kubectl create -n ns rolebinding hoptrail-pods-log --role=hoptrail-pods-log --user=alice", "pods/log",
		},
		{
			trace.Query{Area: trace.AreaProxy, Namespace: "ns", Name: "p", File: "config_dump.json"},
			"create", "pods/portforward", "ns",
			"kubectl create -n ns role hoptrail-pods-portforward --verb=create --resource=pods/portforward && kubectl create -n ns rolebinding hoptrail-pods-portforward --role=hoptrail-pods-portforward --user=alice", "pods/portforward",
		},
		{
			trace.Query{Area: trace.AreaPod, Namespace: "ns", Name: "p", File: "ss.txt"},
			"create", "pods/exec", "ns",
			"kubectl create -n ns role hoptrail-pods-exec --verb=create --resource=pods/exec && kubectl create -n ns rolebinding hoptrail-pods-exec --role=hoptrail-pods-exec --user=alice", "pods/exec",
		},
	} {
		nr := notRead(t, s, c.q)
		if nr.Verb != c.verb || nr.Resource != c.resource || nr.Namespace != c.in {
			t.Errorf("%s: verb %q resource %q namespace %q", c.q.Path(), nr.Verb, nr.Resource, nr.Namespace)
		}
		if !strings.HasPrefix(nr.Why, "forbidden: ") || !strings.Contains(nr.Why, c.why) {
			t.Errorf("%s: why %q", c.q.Path(), nr.Why)
		}
		if nr.Command != c.command {
			t.Errorf("%s: command\n%s, want\n%s", c.q.Path(), nr.Command, c.command)
		}
	}
	if err := s.Refused(); err != nil {
		t.Errorf("something was read, but: %v", err)
	}
}

func TestAUserWithoutAnyRightGetsOneSentence(t *testing.T) {
	f := newFake(t)
	f.mux.HandleFunc("/api/v1/", func(w http.ResponseWriter, r *http.Request) {
		status(w, 403, "Forbidden", "forbidden", "")
	})
	s := f.source(Options{})
	if err := s.Refused(); err != nil {
		t.Errorf("before anything was asked: %v", err)
	}
	notRead(t, s, clusterQuery("services", trace.Selector{}))
	notRead(t, s, clusterQuery("nodes", trace.Selector{}))
	err := s.Refused()
	if err == nil || !strings.Contains(err.Error(), `user "alice" of context "test" may read nothing of what was asked for: refused were list services, list nodes`) {
		t.Errorf("error %v", err)
	}
}

func TestAClusterThatIsNotThereEndsTheTrace(t *testing.T) {
	f := newFake(t)
	f.srv.Close()
	_, err := ask(t, f.source(Options{}), clusterQuery("services", trace.Selector{}))
	var nr *trace.NotReadError
	if err == nil || errors.As(err, &nr) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %v", err)
	}
}

func TestCredentialsThatAreNotAcceptedEndTheTrace(t *testing.T) {
	f := newFake(t)
	f.mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) { status(w, 401, "Unauthorized", "Unauthorized", "") })
	s := f.source(Options{})
	_, err := ask(t, s, clusterQuery("services", trace.Selector{}))
	var nr *trace.NotReadError
	if err == nil || errors.As(err, &nr) || !strings.Contains(err.Error(), `credentials of user "alice" were not accepted`) {
		t.Errorf("error %v", err)
	}
}

func TestAnAPIServerThatDiesMidwayIsNotReadFromThenOn(t *testing.T) {
	f := newFake(t)
	f.answer("/api/v1/services", `{"kind":"ServiceList","apiVersion":"v1","items":[]}`)
	s := f.source(Options{})
	mustAsk(t, s, clusterQuery("services", trace.Selector{}))
	f.srv.CloseClientConnections()
	f.srv.Close()
	if nr := notRead(t, s, clusterQuery("pods", trace.Selector{})); !strings.Contains(nr.Why, "connection refused") || nr.Command == "" {
		t.Errorf("why %q, command %q", nr.Why, nr.Command)
	}
}

func TestAServerThatHangsIsGivenUpInTime(t *testing.T) {
	f := newFake(t)
	f.answer("/api/v1/services", `{"kind":"ServiceList","apiVersion":"v1","items":[]}`)
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	f.mux.HandleFunc("/api/v1/pods", hang)
	f.pod("ns", "p", "")
	f.mux.HandleFunc("/api/v1/namespaces/ns/pods/p/exec", hang)
	f.mux.HandleFunc("/api/v1/namespaces/ns/pods/p/portforward", hang)
	f.mux.HandleFunc("/api/v1/namespaces/ns/pods/p/log", hang)
	s := f.source(Options{})
	// What answers has all the time it wants; only what hangs is cut off.
	mustAsk(t, s, clusterQuery("services", trace.Selector{}))
	mustAsk(t, s, clusterQuery("pods", trace.Selector{Namespace: "ns", Name: "p"}))
	s.opts.ReadTimeout = 60 * time.Millisecond
	for _, q := range []trace.Query{
		clusterQuery("pods", trace.Selector{}),
		{Area: trace.AreaProxy, Namespace: "ns", Name: "p", File: "config_dump.json"},
		{Area: trace.AreaProxy, Namespace: "ns", Name: "p", File: "access.log"},
		{Area: trace.AreaPod, Namespace: "ns", Name: "p", File: "ss.txt"},
	} {
		want := "deadline of 180ms exceeded"
		if q.Area == trace.AreaCluster {
			want = "deadline of 60ms exceeded"
		}
		if nr := notRead(t, s, q); nr.Why != want {
			t.Errorf("%s: why %q", q.Path(), nr.Why)
		}
	}
}

func TestTheTimeLimitOfTheWholeTraceCountsForEveryRead(t *testing.T) {
	f := newFake(t)
	f.answer("/api/v1/services", `{"kind":"ServiceList","apiVersion":"v1","items":[]}`)
	f.mux.HandleFunc("/api/v1/pods", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := f.source(Options{Timeout: time.Hour})
	if !s.deadline.IsZero() {
		t.Errorf("the time runs before anything was asked, until %s", s.deadline)
	}
	before := time.Now()
	mustAsk(t, s, clusterQuery("services", trace.Selector{}))
	if after := time.Now(); s.deadline.Before(before.Add(time.Hour)) || s.deadline.After(after.Add(time.Hour)) {
		t.Errorf("asked between %s and %s, and the time is over at %s", before, after, s.deadline)
	}
	// Almost over: the read hangs, and its own limit of 10s is not what ends it.
	s.deadline = time.Now().Add(80 * time.Millisecond)
	if nr := notRead(t, s, clusterQuery("pods", trace.Selector{})); nr.Why != "the time limit of 1h0m0s for the whole trace was over" {
		t.Errorf("why %q", nr.Why)
	}
	if nr := notRead(t, s, clusterQuery("nodes", trace.Selector{})); nr.Why != "the time limit of 1h0m0s for the whole trace was over" {
		t.Errorf("afterwards: why %q", nr.Why)
	}
}

func TestAnInterruptIsNotAnObservation(t *testing.T) {
	f := newFake(t)
	f.mux.HandleFunc("/api/v1/pods", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(30*time.Millisecond, cancel)
	_, err := f.source(Options{}).Observe(ctx, clusterQuery("pods", trace.Selector{}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestABusyServerIsAskedAgain(t *testing.T) {
	f := newFake(t)
	n := 0
	f.mux.HandleFunc("/api/v1/services", func(w http.ResponseWriter, r *http.Request) {
		if n++; n < 3 {
			w.Header().Set("Retry-After", "0")
			status(w, 429, "TooManyRequests", "too many requests", "")
			return
		}
		io.WriteString(w, `{"kind":"ServiceList","apiVersion":"v1","items":[]}`)
	})
	mustAsk(t, f.source(Options{}), clusterQuery("services", trace.Selector{}))
	if n != 3 {
		t.Errorf("asked %d times", n)
	}
}

func TestAnAnswerThatIsNoListIsNotRead(t *testing.T) {
	for name, body := range map[string]string{
		"a page of a proxy": "<html>", "half a list": `{"kind":"ServiceList","apiVersion":"v1","items":[{"metadata":`,
		"another kind": `{"kind":"Service","apiVersion":"v1"}`, "nothing": "",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.answer("/api/v1/namespaces", `{"kind":"NamespaceList","apiVersion":"v1","items":[]}`)
			f.answer("/api/v1/services", body)
			s := f.source(Options{})
			mustAsk(t, s, clusterQuery("namespaces", trace.Selector{}))
			if nr := notRead(t, s, clusterQuery("services", trace.Selector{})); !strings.Contains(nr.Why, "is not a list") {
				t.Errorf("why %q", nr.Why)
			}
		})
	}
}

func TestAnAnswerBeyondTheLimitIsNotRead(t *testing.T) {
	f := newFake(t)
	f.answer("/api/v1/namespaces", `{"kind":"NamespaceList","apiVersion":"v1","items":[]}`)
	f.answer("/api/v1/services", `{"kind":"ServiceList","apiVersion":"v1","items":[{"metadata":{"name":"`+strings.Repeat("x", 5000)+`"}}]}`)
	s := f.source(Options{MaxBytes: 1000})
	mustAsk(t, s, clusterQuery("namespaces", trace.Selector{}))
	if nr := notRead(t, s, clusterQuery("services", trace.Selector{})); !strings.Contains(nr.Why, "larger than the limit of 1000 bytes") {
		t.Errorf("why %q", nr.Why)
	}
}

func TestTheKubeconfigIsReadByKubectlsRules(t *testing.T) {
	f := newFake(t)
	tls := httptest.NewTLSServer(f.mux) // credentials are sent over TLS only
	defer tls.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	config := fmt.Sprintf(`
apiVersion: v1
kind: Config
current-context: one
clusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: alice, user: {token: t1}}, {name: bob, user: {token: t2}}]
contexts:
- {name: one, context: {cluster: c, user: alice, namespace: shop}}
- {name: two, context: {cluster: c, user: bob}}
`, tls.URL)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
	var got http.Header
	f.mux.HandleFunc("/api/v1/namespaces", func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		io.WriteString(w, `{"kind":"NamespaceList","apiVersion":"v1","items":[]}`)
	})
	for _, c := range []struct {
		opts           Options
		context, ns    string
		token, as, grp string
	}{
		{Options{}, "one", "shop", "Bearer t1", "", ""},
		{Options{Context: "two", Namespace: "x"}, "two", "x", "Bearer t2", "", ""},
		{Options{Context: "two", As: "carol", AsGroups: []string{"dev"}}, "two", "default", "Bearer t2", "carol", "dev"},
	} {
		s, err := New(c.opts)
		if err != nil {
			t.Fatal(err)
		}
		mustAsk(t, s, clusterQuery("namespaces", trace.Selector{}))
		if s.Context() != c.context || s.Namespace() != c.ns {
			t.Errorf("%+v: context %q namespace %q", c.opts, s.Context(), s.Namespace())
		}
		if got.Get("Authorization") != c.token || got.Get("Impersonate-User") != c.as || got.Get("Impersonate-Group") != c.grp {
			t.Errorf("%+v: headers %v", c.opts, got)
		}
		if got.Get("User-Agent") != "hoptrail" {
			t.Errorf("user agent %q", got.Get("User-Agent"))
		}
		s.Close()
	}
	if _, err := New(Options{Context: "three"}); err == nil || !strings.Contains(err.Error(), `context "three" does not exist`) {
		t.Errorf("error %v", err)
	}
}
