package trace_test

import (
	"slices"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// TestVariantsOfFaultsAreNamedToo: the same faults in other clothes, and healthy
// shapes of a cluster that look like faults.
func TestVariantsOfFaultsAreNamedToo(t *testing.T) {
	gatewayService := func(edit func(o map[string]any)) change { return item("services", "istio-ingressgateway", edit) }
	for _, c := range []struct {
		name    string
		world   string
		change  change
		ask     asked
		verdict trace.Verdict
		code    string // of the top finding, "" for none
		kinds   []trace.HopKind
	}{
		{
			"a load balancer known by its name only", ingressLB, all(
				gatewayService(func(o map[string]any) {
					in(o, "status", "loadBalancer")["ingress"] = []any{map[string]any{"hostname": "a1b2.elb.amazonaws.com"}}
				}),
				text("dns.json", `"answers"`, `"answers":[{"name":"exam.com.","type":"CNAME","ttl":60,"values":["a1b2.elb.amazonaws.com."]},{"name":"a1b2.elb.amazonaws.com.","type":"A","ttl":60,"values":["198.51.100.77"]}], "was"`),
			), getList, trace.Reachable, "", nil,
		},
		{
			"the same, a port it does not have", ingressLB, all(
				gatewayService(func(o map[string]any) {
					in(o, "status", "loadBalancer")["ingress"] = []any{map[string]any{"hostname": "a1b2.elb.amazonaws.com"}}
				}),
				text("dns.json", `"answers"`, `"answers":[{"name":"exam.com.","type":"CNAME","ttl":60,"values":["a1b2.elb.amazonaws.com."]},{"name":"a1b2.elb.amazonaws.com.","type":"A","ttl":60,"values":["198.51.100.77"]}], "was"`),
			), asked{url: "http://exam.com:8081/"}, trace.Unreachable, "HT1002", []trace.HopKind{trace.KindLoadBalancer, trace.KindService},
		},
		{
			"the Pod's list of sockets is empty", ingressHTTP, func(_ testing.TB, world files) {
				world["pods/simple/simple-fb6498fdb-rmdg2/ss.txt"] = []byte("State  Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess\n")
			}, nodePort, trace.Unreachable, "HT8001", []trace.HopKind{trace.KindApp},
		},
		{
			"the application listens on another port", ingressHTTP, text("pods/simple/simple-fb6498fdb-rmdg2/ss.txt", ":80 ", ":8888 "), nodePort, trace.Unreachable, "HT8001", []trace.HopKind{trace.KindApp},
		},
		{"a port of the node's own processes", ingressLB, nothing, asked{url: "10.0.1.21:10250"}, trace.Undetermined, "HT0002", nil},
		{
			"the NodePort typed into one of two servers", faultWorld("HT1003-nodeport-typed-in"), item("gateways.networking.istio.io", "simple", func(o map[string]any) {
				servers := in(o, "spec")["servers"].([]any)
				in(o, "spec")["servers"] = append([]any{map[string]any{"port": map[string]any{"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": []any{"x.example.com"}, "tls": map[string]any{"mode": "SIMPLE", "credentialName": "x"}}}, servers...)
			}), nodePort, trace.Unreachable, "HT1003", []trace.HopKind{trace.KindListener},
		},
		{
			"a selector that matches no Pod, the gateway's Service", faultWorld("HT1007-gateway-not-ready"), gatewayService(func(o map[string]any) {
				in(o, "spec")["selector"] = map[string]any{"istio": "ingress"}
			}), nodePort, trace.Unreachable, "HT1007", []trace.HopKind{trace.KindService, trace.KindLoadBalancer},
		},
		{
			"STRICT, and a client without a sidecar", bookinfo, nothing, asked{url: "http://10.244.1.22:9080/", from: "node:n1"}, trace.Unreachable, "HT6001", nil,
		},
		{"a Pod's address that no Pod has", bookinfo, nothing, asked{url: "http://10.244.1.199:9080/", from: "node:n1"}, trace.Unreachable, "HT1001", nil},
		{
			"a Sidecar that leaves the host out, REGISTRY_ONLY", bookinfo, all(
				text("proxies/bookinfo/productpage*/*.json", "reviews", "removed"),
				text("proxies/bookinfo/productpage*/config_dump.json", "10.100.1.12", "10.100.1.99"),
				text("proxies/bookinfo/productpage*/config_dump.json", `"cluster": "PassthroughCluster"`, `"cluster": "BlackHoleCluster"`),
				func(t testing.TB, world files) {
					world["cluster/sidecars.networking.istio.io.json"] = encode(t, map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{map[string]any{
						"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": map[string]any{"name": "default", "namespace": "bookinfo"},
						"spec": map[string]any{"egress": []any{map[string]any{"hosts": []any{"./details.bookinfo.svc.cluster.local", "istio-system/*"}}}},
					}}})
				},
			), asked{url: "http://reviews:9080/reviews/0", from: "pod:bookinfo/productpage-v1-6c8d9f7b54-p2wqd"}, "", "HT6005", nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			world := unpack(t, c.world)
			c.change(t, world)
			r := traceFiles(t, world, c.ask.target(t))
			code, hop := "", ""
			if len(r.Findings) > 0 {
				code, hop = r.Findings[0].Code, r.Findings[0].Hop
			}
			i := slices.IndexFunc(r.Hops, func(h trace.Hop) bool { return h.ID == hop })
			if c.verdict != "" && r.Verdict != c.verdict || code != c.code || c.kinds != nil && (i < 0 || !slices.Contains(c.kinds, r.Hops[i].Kind)) {
				t.Errorf("%s %s at %s\n%s", r.Verdict, code, hop, outline(r))
			}
		})
	}
}
