package trace_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/k8s"
	"github.com/hoptrail/hoptrail/trace"
)

const hostPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"kube-system","name":"kube-proxy-x"},"spec":{"nodeName":"baihl-master","hostNetwork":true,"containers":[{"name":"kube-proxy"}]},"status":{"phase":"Running","podIP":"192.168.170.137","podIPs":[{"ip":"192.168.170.137"}]}},`

// TestANodeThatMayNotBeReadIsInferred: without the right to read nodes a NodePort
// is followed as far as the other objects tell, and what is inferred is marked.
func TestANodeThatMayNotBeReadIsInferred(t *testing.T) {
	noNodes := remove("cluster/nodes.json")
	for _, c := range []struct {
		name    string
		change  change
		state   trace.State // of the hop of the address
		says    string      // in its summary
		basis   string      // the excerpt of its inferred evidence
		pods    int         // gateway and application on the way
		verdict trace.Verdict
	}{
		{"nodes are read", func(testing.TB, files) {}, trace.OK, "NodePort 31373 is istio-system/istio-ingressgateway:http2", "", 2, trace.Reachable},
		{
			"a Pod in the node's network has the address", all(noNodes, text("cluster/pods.json", `"items": [`, `"items": [`+hostPod)), trace.OK,
			"NodePort 31373 is istio-system/istio-ingressgateway:http2", "192.168.170.137 is the address of a Pod with hostNetwork on node baihl-master", 2, trace.Reachable,
		},
		{
			"nothing tells that the address is a node's", noNodes, trace.Unknown,
			"NodePort 31373 is istio-system/istio-ingressgateway:http2, if 192.168.170.137 is a node (inferred)", "that 192.168.170.137 is one was not read", 2, trace.Undetermined,
		},
		{"and no Service has the port", all(noNodes, text("cluster/services.json", "31373", "31999")), trace.Unknown, "whose address it is could not be found out", "", 0, trace.Undetermined},
	} {
		t.Run(c.name, func(t *testing.T) {
			world := unpack(t, ingressHTTP)
			c.change(t, world)
			r := traceFiles(t, world, nodePort.target(t))
			h := r.Hops[0]
			if h.State != c.state || h.Summary != c.says || r.Verdict != c.verdict {
				t.Errorf("%s: %s %q\n%s", r.Verdict, h.State, h.Summary, outline(r))
			}
			i := slices.IndexFunc(h.Evidence, func(e trace.Evidence) bool { return e.Basis == trace.Inferred })
			if (c.basis == "") != (i < 0) || i >= 0 && !strings.Contains(h.Evidence[i].Excerpt, c.basis) {
				t.Errorf("inferred evidence %+v", h.Evidence)
			}
			pods := 0
			for _, h := range r.Hops {
				if h.Kind == trace.KindPod {
					pods++
				}
			}
			if pods != c.pods {
				t.Errorf("%d Pods on the way, want %d\n%s", pods, c.pods, outline(r))
			}
			named := slices.ContainsFunc(r.Findings, func(f trace.Finding) bool {
				return f.Code == "HT0001" && f.Hop == h.ID && strings.Contains(f.Detail, "cluster/nodes.json")
			})
			if named != (c.state == trace.Unknown) {
				t.Errorf("HT0001 names the nodes: %v", named)
			}
		})
	}
}

// TestALogReadInPartSaysSo: that no line of the request was found in a log that
// was cut off means nothing, and what is missing stands among what was not read.
func TestALogReadInPartSaysSo(t *testing.T) {
	const log = "proxies/istio-system/istio-ingressgateway-576c469c96-spndl/access.log"
	const cut = `{"path":"` + log + `","span":"the last 1h0m0s","cut":"it did not end within 5s"}`
	for _, c := range []struct {
		name   string
		change change
		state  trace.State
		says   string
		part   bool
	}{
		{"a whole log with a line", func(testing.TB, files) {}, trace.OK, "of this request's lines", false},
		{"a log without end, with a line", text("snapshot.json", `"format"`, `"observations":[`+cut+`],"format"`), trace.OK, "; the log was read in part: it did not end within 5s", true},
		{
			"a log without end, without a line", all(text("snapshot.json", `"format"`, `"observations":[`+cut+`],"format"`), text(log, "/simple/httpserver", "/elsewhere")), trace.Unknown,
			"no line of this request in the last 1h0m0s; the log was read in part: it did not end within 5s", true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			world := unpack(t, ingressHTTP)
			c.change(t, world)
			r := traceFiles(t, world, nodePort.target(t))
			var found trace.Check
			for _, h := range r.Hops {
				if h.Kind == trace.KindListener && h.Subject.Namespace == "istio-system" {
					for _, check := range h.Checks {
						if check.Name == "access log" {
							found = check
						}
					}
				}
			}
			if found.State != c.state || !strings.Contains(found.Value, c.says) {
				t.Errorf("%+v", found)
			}
			part := slices.ContainsFunc(r.Collected.NotRead, func(n trace.NotRead) bool {
				return n.What == log && n.Why == "read in part: it did not end within 5s"
			})
			if part != c.part {
				t.Errorf("not read: %+v", r.Collected.NotRead)
			}
		})
	}
}

// TestAnswersThatTheVantageMayNotGetAreMarkedSo: an answer of another resolver
// than the vantage's is inferred, and the hop says why.
func TestAnswersThatTheVantageMayNotGetAreMarkedSo(t *testing.T) {
	const why = "asked of this machine's resolver; the one of node n1 may answer otherwise"
	for _, c := range []struct {
		name   string
		change change
		basis  trace.Basis
	}{
		{"its own resolver", func(testing.TB, files) {}, trace.Observed},
		{"another one", text("dns.json", `"ttl"`, `"assumed":"`+why+`","ttl"`), trace.Inferred},
	} {
		t.Run(c.name, func(t *testing.T) {
			world := unpack(t, "../testdata/worlds/seed/bookinfo.tar.gz")
			c.change(t, world)
			target, err := trace.ParseTarget("http://bookinfo.example.com/productpage")
			if err != nil {
				t.Fatal(err)
			}
			h := traceFiles(t, world, target).Hops[0]
			if h.Kind != trace.KindDNS || len(h.Evidence) == 0 || h.Evidence[0].Basis != c.basis {
				t.Errorf("%s: %+v", h.Kind, h.Evidence)
			}
			n := 0
			for _, check := range h.Checks {
				if check.Name == "assumed" && check.Value == why {
					n++
				}
			}
			if want := map[trace.Basis]int{trace.Inferred: 1}[c.basis]; n != want {
				t.Errorf("said %d times, want %d", n, want)
			}
		})
	}
}

// TestTheLogOfAProxyThatMayNotBeReadIsShown: the right to read logs is worth
// something without the right to read configurations.
func TestTheLogOfAProxyThatMayNotBeReadIsShown(t *testing.T) {
	world := unpack(t, ingressHTTP)
	remove("proxies/istio-system/*/config_dump.json")(t, world)
	r := traceFiles(t, world, nodePort.target(t))
	i := slices.IndexFunc(r.Hops, func(h trace.Hop) bool { return h.Kind == trace.KindListener })
	if i < 0 || r.Hops[i].State != trace.Unknown || len(r.Hops[i].Logs) == 0 || !strings.Contains(r.Hops[i].Logs[0].Raw, "/simple/httpserver") {
		t.Errorf("no line of the gateway's log\n%s", outline(r))
	}
	if r.Verdict != trace.Undetermined {
		t.Errorf("verdict %s", r.Verdict)
	}
}

// ofNamespaces is a source for one who may read some namespaces only: what is of
// the cluster as a whole, and nodes, is refused.
type ofNamespaces struct {
	trace.Source
	namespaces []string
	inside     bool // their Pods and proxies may be read too
}

func (s ofNamespaces) Observe(ctx context.Context, q trace.Query) (trace.Observation, error) {
	switch {
	case q.Area == trace.AreaCluster && slices.Contains(s.namespaces, q.Select.Namespace):
	case s.inside && (q.Area == trace.AreaPod || q.Area == trace.AreaProxy) && slices.Contains(s.namespaces, q.Namespace):
	default:
		return trace.Observation{}, &trace.NotReadError{Query: q, Why: "forbidden"}
	}
	obs, err := s.Source.Observe(ctx, q)
	if err != nil || q.Area != trace.AreaCluster {
		return obs, err
	}
	items, err := k8s.Items(obs.Data)
	if err != nil {
		return obs, err
	}
	var own [][]byte
	for _, it := range items {
		if it.Namespace == q.Select.Namespace {
			own = append(own, it.Raw)
		}
	}
	obs.Data = slices.Concat([]byte(`{"apiVersion":"v1","kind":"List","items":[`), bytes.Join(own, []byte(",")), []byte("]}"))
	return obs, nil
}

// TestOneWhoMayReadANamespaceOnlyIsToldWhatIsInItAndNoLies: Services and Pods are
// looked for in the namespaces that are known where those of all may not be
// listed; and a Service's address is none outside of the cluster because it was
// not found there.
func TestOneWhoMayReadANamespaceOnlyIsToldWhatIsInItAndNoLies(t *testing.T) {
	const bookinfo = "../testdata/worlds/seed/bookinfo.tar.gz"
	const simple, ratings = "pod:simple/simple-fb6498fdb-rmdg2", "pod:bookinfo/ratings-v1-9b8c7d6f5-kd8ws"
	for _, c := range []struct {
		name, world, namespaces string
		inside                  bool
		home                    string // kubectl's namespace
		url, from               string
		says                    string
		pods                    []string // besides the vantage
	}{
		{"by a name", ingressHTTP, "simple", false, "", "http://simple.simple/hello", simple, "inferred from the Service and its EndpointSlices", nil},
		{"by the address of a Service in the vantage's namespace", ingressHTTP, "simple", false, "", "http://10.96.34.201/hello", simple, "ClusterIP 10.96.34.201:80 is simple/simple:http", nil},
		{"by the address of a Service elsewhere", ingressHTTP, "simple", false, "simple", "http://10.96.190.18/hello", simple, "whose address it is could not be found out", nil},
		{
			"by a NodePort of a Service in kubectl's namespace", ingressHTTP, "istio-system", false, "istio-system", nodePort.url, "",
			"NodePort 31373 is istio-system/istio-ingressgateway:http2, if 192.168.170.137 is a node (inferred)",
			[]string{"istio-system/istio-ingressgateway-576c469c96-spndl"},
		},
		{"by a NodePort, and kubectl's namespace is another", ingressHTTP, "istio-system", false, "default", nodePort.url, "", "whose address it is could not be found out", nil},
		{
			"through a sidecar to Pods of the namespace of its cluster", bookinfo, "bookinfo", true, "", "http://productpage:9080/productpage", ratings,
			"10.244.1.20:9080 is healthy",
			[]string{"bookinfo/productpage-v1-6c8d9f7b54-p2wqd", "bookinfo/productpage-v1-6c8d9f7b54-z8kxm"},
		},
		{
			"from a gateway in one namespace to Pods in another", bookinfo, "istio-system bookinfo", true, "istio-system", "http://198.51.100.20/productpage", "",
			"10.244.1.20:9080 is healthy",
			[]string{"istio-system/istio-ingressgateway-6d8b7c9f5-8c4vn", "bookinfo/productpage-v1-6c8d9f7b54-p2wqd"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, err := snapshot.Open(c.world)
			if err != nil {
				t.Fatal(err)
			}
			tracer := trace.Tracer{Source: ofNamespaces{src, strings.Fields(c.namespaces), c.inside}, Namespace: c.home}
			question := asked{url: c.url, from: c.from}
			if c.world == bookinfo && c.from == "" {
				question.headers = []string{"Host: bookinfo.example.com"}
			}
			r, err := tracer.Trace(t.Context(), question.target(t))
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != trace.Undetermined || !slices.ContainsFunc(r.Hops, func(h trace.Hop) bool { return strings.Contains(h.Summary, c.says) }) {
				t.Errorf("%s, and no hop says %q\n%s", r.Verdict, c.says, outline(r))
			}
			for _, pod := range c.pods {
				if !slices.ContainsFunc(r.Hops, func(h trace.Hop) bool { return h.Kind == trace.KindPod && h.Detail.Pod == pod }) {
					t.Errorf("%s is not on the way\n%s", pod, outline(r))
				}
			}
			for _, h := range r.Hops {
				if h.Kind == trace.KindExternal && h.State != trace.Unknown {
					t.Errorf("%s is %s: %s", h.ID, h.State, h.Summary)
				}
			}
		})
	}
}

// TestASharedAddressIsNotJudgedByTheServiceThatMayBeRead: another Service, of a
// namespace that may not be read, may have the port.
func TestASharedAddressIsNotJudgedByTheServiceThatMayBeRead(t *testing.T) {
	world := unpack(t, bookinfo)
	another("services", "reviews", func(o map[string]any) {
		in(o, "metadata")["name"] = "mine"
		spec := in(o, "spec")
		spec["clusterIP"], spec["clusterIPs"], spec["externalIPs"] = "10.96.1.77", []any{"10.96.1.77"}, []any{"198.51.100.20"}
		spec["ports"] = []any{map[string]any{"name": "x", "port": 8443, "protocol": "TCP", "targetPort": 8443}}
	})(t, world)
	src, err := snapshot.Read("world.tar.gz", pack(t, world))
	if err != nil {
		t.Fatal(err)
	}
	question := asked{url: "http://198.51.100.20/productpage", from: "pod:bookinfo/ratings-v1-9b8c7d6f5-kd8ws"}
	for _, c := range []struct {
		namespaces string
		wanted     string
	}{
		{"bookinfo", "HT0001 warning"},
		{"bookinfo istio-system", ""},
	} {
		tracer := trace.Tracer{Source: ofNamespaces{src, strings.Fields(c.namespaces), true}, Namespace: "bookinfo"}
		if strings.Contains(c.namespaces, "istio-system") {
			question.from = "pod:istio-system/istio-ingressgateway-6d8b7c9f5-8c4vn"
		}
		r, err := tracer.Trace(t.Context(), question.target(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Findings {
			if f.Code == "HT1002" {
				t.Errorf("who may read %s is told %s\n%s", c.namespaces, f.Detail, outline(r))
			}
		}
		if c.wanted != "" && !slices.ContainsFunc(r.Findings, func(f trace.Finding) bool { return f.Code+" "+string(f.Severity) == c.wanted }) {
			t.Errorf("who may read %s: no %s\n%s", c.namespaces, c.wanted, outline(r))
		}
	}
}

// TestWhatAResolverSaysOfANameIsKeptApart: a type that was not answered for takes
// nothing from the other, and CNAMEs in a circle end.
func TestWhatAResolverSaysOfANameIsKeptApart(t *testing.T) {
	const circle = `{"name":"a.test.","type":"CNAME","values":["b.test."]},{"name":"b.test.","type":"CNAME","values":["a.test."]}`
	for _, c := range []struct {
		name, answers string
		state         trace.State
		check         trace.Check
		chain         string
	}{
		{"an A record, and SERVFAIL for AAAA", `{"name":"a.test.","type":"A","values":["192.168.170.137"]},{"name":"a.test.","type":"AAAA","values":[],"error":"SERVFAIL"}`, trace.OK, trace.Check{Name: "answer", State: trace.Warn, Value: "AAAA records: SERVFAIL"}, "192.168.170.137"},
		{"no such name", `{"name":"a.test.","type":"A","values":[],"error":"NXDOMAIN"}`, trace.Fail, trace.Check{Name: "answer", State: trace.Fail, Value: "NXDOMAIN"}, ""},
		{"a circle", circle + `,{"name":"a.test.","type":"A","values":[],"error":"the CNAMEs go in a circle"}`, trace.Fail, trace.Check{Name: "answer", State: trace.Fail, Value: "the CNAMEs go in a circle"}, "a.test. b.test. a.test."},
		{"a circle in a snapshot", circle, trace.Fail, trace.Check{}, "a.test. b.test. a.test."},
	} {
		t.Run(c.name, func(t *testing.T) {
			world := unpack(t, ingressHTTP)
			world["dns.json"] = []byte(`{"answers":[` + c.answers + `]}`)
			h := traceFiles(t, world, asked{url: "http://a.test:31373/simple/httpserver"}.target(t)).Hops[0]
			if h.Kind != trace.KindDNS || h.State != c.state || strings.Join(h.Detail.Answers, " ") != c.chain {
				t.Errorf("%s %s, %q", h.Kind, h.State, h.Detail.Answers)
			}
			if c.check != (trace.Check{}) && !slices.Contains(h.Checks, c.check) {
				t.Errorf("checks %+v", h.Checks)
			}
		})
	}
}

// TestANameThatCouldNotBeResolvedIsNoFaultAndSaysWhereToGo: in a bug-report there
// are no answers of a resolver. No Service is blamed, and the addresses of those
// that serve the host are offered; the one offered is traced.
func TestANameThatCouldNotBeResolvedIsNoFaultAndSaysWhereToGo(t *testing.T) {
	const say = "say what it resolves to, as curl does: --resolve "
	for _, c := range []struct {
		name, world, url, fix string
		resolve               string
	}{
		{
			"a NodePort of a gateway that has the host", ingressHTTP, "http://simple.baihl.io:31373/simple/httpserver",
			say + "simple.baihl.io:31373:192.168.170.137   # NodePort of Service istio-system/istio-ingressgateway, whose Gateway has the host", "simple.baihl.io:31373:192.168.170.137",
		},
		{"a load balancer without address", ingressHTTP, "http://simple.baihl.io/simple/httpserver", say + "simple.baihl.io:80:ADDRESS", ""},
		{
			"a load balancer with an address", "../testdata/worlds/seed/bookinfo.tar.gz", product.url,
			say + "bookinfo.example.com:80:198.51.100.20   # address of Service istio-system/istio-ingressgateway, whose Gateway has the host", "bookinfo.example.com:80:198.51.100.20",
		},
		{"a host that no Gateway has", ingressHTTP, "http://other.example/", say + "other.example:80:ADDRESS", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			world := unpack(t, c.world)
			remove("dns.json")(t, world)
			r := traceFiles(t, world, asked{url: c.url}.target(t))
			if r.Verdict != trace.Undetermined || len(r.Hops) != 1 || len(r.Findings) != 1 {
				t.Fatalf("more is claimed than that it is not known\n%s", outline(r))
			}
			if f := r.Findings[0]; f.Code != "HT0001" || !slices.Contains(f.Fix, c.fix) {
				t.Errorf("%s: %q", f.Code, f.Fix)
			}
			if c.resolve == "" {
				return
			}
			target := asked{url: c.url}.target(t)
			key, to, err := trace.ParseResolve(c.resolve)
			if err != nil {
				t.Fatal(err)
			}
			target.Resolve = map[string]string{key: to}
			if r := traceFiles(t, world, target); r.Verdict != trace.Reachable {
				t.Errorf("what is offered is %s\n%s", r.Verdict, outline(r))
			}
		})
	}
}
