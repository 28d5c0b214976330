package trace_test

import (
	"encoding/json"
	"slices"
	"strings"
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
			"a load balancer all of whose nodes are kept out", ingressLB, everyNode(func(o map[string]any) {
				o["metadata"].(map[string]any)["labels"] = map[string]any{"node.kubernetes.io/exclude-from-external-load-balancers": ""}
			}), getList, trace.Unreachable, "HT1005", []trace.HopKind{trace.KindLoadBalancer},
		},
		{
			"a load balancer all of whose nodes are not ready sends to them all the same", ingressLB, everyNode(func(o map[string]any) {
				for _, c := range in(o, "status")["conditions"].([]any) {
					if c := c.(map[string]any); c["type"] == "Ready" {
						c["status"] = "False"
					}
				}
			}), getList, trace.Reachable, "", nil,
		},
		{
			"endpoints that are out, and nothing tells why", faultWorld("HT5003-all-ejected"), remove(lbGateway + "clusters.json"),
			getList, trace.Unreachable, "HT5003",
			[]trace.HopKind{trace.KindEndpoint},
		},
		{
			"the NodePort of another node, from a Pod", ingressHTTP, nothing,
			asked{url: nodePort.url, headers: nodePort.headers, from: "pod:simple/simple-fb6498fdb-rmdg2"},
			trace.Reachable, "", nil,
		},
		{
			"the NodePort of another node, from a node", ingressHTTP, nothing,
			asked{url: nodePort.url, headers: nodePort.headers, from: "node:baihl-node"},
			trace.Reachable, "", nil,
		},
		{
			"a node whose object was not read sends from an interface of its", ingressHTTP, func(_ testing.TB, world files) {
				delete(world, "cluster/nodes.json")
			}, asked{url: "http://10.96.34.201/hello", from: "node:baihl-node"}, trace.Reachable, "", nil,
		},
		{
			"a node of which neither object nor interfaces were read", ingressHTTP, func(_ testing.TB, world files) {
				delete(world, "cluster/nodes.json")
				delete(world, "nodes/baihl-node/ip-addr.json")
			}, asked{url: "http://10.96.34.201/hello", from: "node:baihl-node"}, trace.Undetermined, "HT0001", []trace.HopKind{trace.KindNode},
		},
		{"TLS, and no request yet, to a port for plain HTTP", ingressHTTP, nothing, asked{url: "tls://simple.baihl.io:31373"}, trace.Unreachable, "HT3006", []trace.HopKind{trace.KindListener}},
		{
			"the Pod's list of sockets is empty", ingressHTTP, func(_ testing.TB, world files) {
				world["pods/simple/simple-fb6498fdb-rmdg2/ss.txt"] = []byte("State  Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess\n")
			}, nodePort, trace.Unreachable, "HT8001", []trace.HopKind{trace.KindApp},
		},
		{
			"Cilium in kube-proxy's place, a NodePort", ingressHTTP, nodesHold(cilium), nodePort, trace.Undetermined, "HT0002", []trace.HopKind{trace.KindNode},
		},
		{
			"Cilium in kube-proxy's place, a ClusterIP", ingressHTTP, nodesHold(cilium),
			asked{url: "http://10.96.34.201/hello", from: "pod:simple/simple-fb6498fdb-rmdg2"},
			trace.Undetermined, "HT0002",
			[]trace.HopKind{trace.KindNode},
		},
		{
			"kube-proxy in nftables mode", ingressHTTP, all(nodesHold(""), func(_ testing.TB, world files) {
				world["nodes/baihl-master/nft-ruleset.json"] = []byte(`{"nftables":[{"table":{"family":"ip","name":"kube-proxy"}},{"map":{"family":"ip","name":"service-nodeports","table":"kube-proxy","elem":[[{"concat":["tcp",31373]},{"goto":{"target":"external-X"}}]]}}]}`)
			}), nodePort, trace.Undetermined, "HT0002", []trace.HopKind{trace.KindNode},
		},
		{
			"kube-proxy in IPVS mode, and no Pod where it sends to", ingressHTTP, all(nodesHold(""), item("pods", "simple-fb6498fdb-rmdg2", func(o map[string]any) {
				in(o, "status")["podIP"], in(o, "status")["podIPs"] = "10.10.1.99", []any{map[string]any{"ip": "10.10.1.99"}}
			}), func(_ testing.TB, world files) {
				world["nodes/baihl-node/ipvsadm-save.txt"] = []byte("-A -t 10.96.34.201:80 -s rr\n-a -t 10.96.34.201:80 -r 10.10.1.13:80 -m -w 1\n")
			}), asked{url: "http://10.96.34.201/hello", from: "node:baihl-node"}, trace.Unreachable, "HT2006", nil,
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
		{
			"a circuit breaker of 0 refuses the first request, and no log tells it yet", faultWorld("HT5005-overflow"), all(
				text(lbGateway+"config_dump.json", `"max_pending_requests": 1,`, `"max_pending_requests": 0,`),
				remove(lbGateway+"access.log"),
			), getList, trace.Unreachable, "HT5005", []trace.HopKind{trace.KindCluster},
		},
		{"a Pod's address that no Pod has", bookinfo, nothing, asked{url: "http://10.244.1.199:9080/", from: "node:n1"}, trace.Unreachable, "HT1001", nil},
		{
			"a Sidecar that leaves the host out, REGISTRY_ONLY", bookinfo, all(
				text("proxies/bookinfo/productpage*/*.json", "reviews", "removed"),
				text("proxies/bookinfo/productpage*/config_dump.json", "10.100.1.12", "10.100.1.99"),
				text("proxies/bookinfo/productpage*/config_dump.json", `"cluster": "PassthroughCluster"`, `"cluster": "BlackHoleCluster"`),
				sidecarFor("bookinfo", "./details.bookinfo.svc.cluster.local", "istio-system/*"),
			), asked{url: "http://reviews:9080/reviews/0", from: "pod:bookinfo/productpage-v1-6c8d9f7b54-p2wqd"}, "", "HT6005", nil,
		},
		{
			"the egress gateway's match is for another port", faultWorld("HT7003-wrong-subnet"), all(
				text("cluster/virtualservices.networking.istio.io.json", "192.168.0.79/32", "192.168.0.78/32"),
				text("cluster/virtualservices.networking.istio.io.json", `"port": 1234`, `"port": 4321`),
			), sleeping, trace.Degraded, "HT7003", nil,
		},
		{
			"two Gateways claim one host on the port for HTTP", ingressLB, all(
				text(lbGateway+"config_dump.json", `"exam.com`, `"gone.com`),
				another("gateways.networking.istio.io", "my-gateway", func(o map[string]any) {
					in(o, "metadata")["name"], in(o, "metadata")["creationTimestamp"] = "older", "2020-01-01T00:00:00Z"
				}),
			), getList, trace.Unreachable, "HT3004", []trace.HopKind{trace.KindListener},
		},
		{
			"a subset whose labels no Pod carries", bookinfo, all(
				emptyCluster("proxies/bookinfo/productpage-v1-6c8d9f7b54-p2wqd/", "outbound|9080|v1|reviews.bookinfo.svc.cluster.local"),
				emptyCluster("proxies/bookinfo/productpage-v1-6c8d9f7b54-p2wqd/", "outbound|9080|v3|reviews.bookinfo.svc.cluster.local"),
				text("cluster/destinationrules.networking.istio.io.json", `"version": "v1"`, `"version": "v9"`),
			), asked{url: "http://reviews:9080/reviews/0", from: "pod:bookinfo/productpage-v1-6c8d9f7b54-p2wqd"}, trace.Unreachable, "HT5002", []trace.HopKind{trace.KindEndpoint, trace.KindCluster},
		},
		{
			"STRICT, and a client Pod without a sidecar", bookinfo, item("pods", "ratings-v1-9b8c7d6f5-kd8ws", func(o map[string]any) {
				spec := in(o, "spec")
				for _, k := range []string{"containers", "initContainers"} {
					var kept []any
					for _, c := range spec[k].([]any) {
						if n, _ := c.(map[string]any)["name"].(string); !strings.HasPrefix(n, "istio-") {
							kept = append(kept, c)
						}
					}
					spec[k] = kept
				}
				delete(in(o, "metadata"), "annotations")
			}), asked{url: "http://reviews:9080/reviews/0", from: "pod:bookinfo/ratings-v1-9b8c7d6f5-kd8ws"}, trace.Unreachable, "HT6001", nil,
		},
		{
			"ALLOW_ANY, a Sidecar leaves the host out: it passes, and STRICT refuses it", bookinfo, all(
				text("proxies/bookinfo/productpage*/*.json", "reviews", "removed"),
				text("proxies/bookinfo/productpage*/config_dump.json", "10.100.1.12", "10.100.1.99"),
				sidecarFor("bookinfo", "./details.bookinfo.svc.cluster.local", "istio-system/*"),
			), asked{url: "http://reviews:9080/reviews/0", from: "pod:bookinfo/productpage-v1-6c8d9f7b54-p2wqd"}, trace.Unreachable, "HT6005", []trace.HopKind{trace.KindCluster},
		},
		{
			"rules of kube-proxy flushed on the node", ingressHTTP, func(t testing.TB, world files) {
				world["nodes/baihl-node/iptables-save.txt"] = []byte("*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n")
			}, asked{url: "http://10.96.34.201/", from: "node:baihl-node"}, trace.Unreachable, "HT2006", []trace.HopKind{trace.KindNode},
		},
		{
			"a Service of another name: ExternalName", ingressLB, item("services", "my-backend-service", func(o map[string]any) {
				spec := in(o, "spec")
				spec["type"], spec["externalName"] = "ExternalName", "db.example.com"
				delete(spec, "clusterIP")
				delete(spec, "clusterIPs")
			}), asked{url: "http://my-backend-service:8080/", from: "pod:default/my-backend-6c5d7f8b9d-t9p2m"}, trace.Undetermined, "HT0001", nil,
		},
		{
			"a Pod that is being deleted still serves", ingressHTTP, item("pods", "simple-fb6498fdb-rmdg2", func(o map[string]any) {
				in(o, "metadata")["deletionTimestamp"] = "2026-11-20T12:00:00Z"
			}), nodePort, trace.Reachable, "", nil,
		},
		{
			"an endpoint of another cluster of the mesh", ingressLB, all(
				text(lbGateway+"*.json", `"10.244.2.32"`, `"172.31.7.9"`),
				text(lbGateway+"access.log", "10.244.2.32", "172.31.7.9"),
				item("endpointslices.discovery.k8s.io", sliceName(t, ingressLB, "my-backend-service"), func(o map[string]any) { o["endpoints"] = o["endpoints"].([]any)[:1] }),
			), getList, trace.Reachable, "HT5004", []trace.HopKind{trace.KindEndpoint},
		},
		{
			"endpoints of both families", ingressLB, all(
				sixth("istio-ingressgateway"), sixth("my-backend-service"),
			), getList, trace.Reachable, "", nil,
		},
		{
			"rules for a NodePort that no Service has any more", ingressHTTP, item("services", "istio-ingressgateway", func(o map[string]any) {
				delete(in(o, "spec"), "ports")
			}), nodePort, trace.Reachable, "", nil,
		},
		{
			"an external IP of a node's own without a rule", ingressHTTP, item("services", "istio-ingressgateway", func(o map[string]any) {
				in(o, "spec")["externalIPs"] = []any{"192.168.170.137"}
			}), asked{url: "http://192.168.170.137/simple/httpserver"}, trace.Unreachable, "HT2006", []trace.HopKind{trace.KindNode},
		},
		{
			"a request from a Pod that is not scheduled", bookinfo, item("pods", "ratings-v1-9b8c7d6f5-kd8ws", func(o map[string]any) {
				o["status"] = map[string]any{"phase": "Pending"}
				delete(in(o, "spec"), "nodeName")
			}), asked{url: "http://reviews:9080/", from: "pod:bookinfo/ratings-v1-9b8c7d6f5-kd8ws"}, trace.Unreachable, "HT8002", []trace.HopKind{trace.KindPod},
		},
		{
			"a port named for TCP whose HTTP routes a VirtualService has", bookinfo, opaqueReviews,
			asked{url: "http://reviews:9080/reviews/0", from: "pod:bookinfo/productpage-v1-6c8d9f7b54-p2wqd"},
			trace.Reachable, "HT6004",
			[]trace.HopKind{trace.KindListener},
		},
		{
			"a certificate that /certs says has expired", faultWorld(httpsWorld), add(lbGateway+"certs.json", `{
 "certificates": [
  {
   "cert_chain": [
    {
     "path": "kubernetes://exam-credential",
     "serial_number": "1",
     "subject_alt_names": [
      {
       "dns": "exam.com"
      }
     ],
     "valid_from": "2025-01-01T00:00:00Z",
     "expiration_time": "2026-02-01T00:00:00Z"
    }
   ]
  }
 ]
}
`), asked{url: "https://exam.com/getList"}, "", "HT3005", []trace.HopKind{trace.KindFilterChain},
		},
		{
			"a gateway in the host's network", ingressHTTP, item("pods", "istio-ingressgateway-576c469c96-spndl", func(o map[string]any) {
				spec, status := in(o, "spec"), in(o, "status")
				spec["hostNetwork"], spec["nodeName"] = true, "baihl-master"
				status["podIP"], status["podIPs"] = "192.168.170.137", []any{map[string]any{"ip": "192.168.170.137"}}
				spec["containers"].([]any)[0].(map[string]any)["ports"] = []any{map[string]any{"containerPort": 8080, "hostPort": 8080}}
			}), asked{url: "http://192.168.170.137:8080/simple/httpserver", headers: []string{"Host: simple.baihl.io"}}, trace.Reachable, "", nil,
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

// opaqueReviews names the port of reviews for TCP, and gives the sidecar of
// productpage the listener of its own that Istio makes of it.
func opaqueReviews(t testing.TB, world files) {
	t.Helper()
	const dump = "proxies/bookinfo/productpage-v1-6c8d9f7b54-p2wqd/config_dump.json"
	item("services", "reviews", func(o map[string]any) {
		in(o, "spec")["ports"].([]any)[0].(map[string]any)["name"] = "tcp-reviews"
	})(t, world)
	editDump(t, world, "cluster/endpointslices.discovery.k8s.io.json", func(o map[string]any) {
		if o["kind"] == "EndpointSlice" && in(o, "metadata", "labels")["kubernetes.io/service-name"] == "reviews" {
			o["ports"].([]any)[0].(map[string]any)["name"] = "tcp-reviews"
		}
	})
	hit := false
	editDump(t, world, dump, func(o map[string]any) {
		all, ok := o["dynamic_listeners"].([]any)
		if !ok || hit {
			return
		}
		for _, l := range all {
			if l.(map[string]any)["name"] != "10.96.0.10_53" {
				continue
			}
			text := strings.NewReplacer("10.96.0.10_53", "10.100.1.12_9080", `"10.96.0.10"`, `"10.100.1.12"`, `"port_value": 53`, `"port_value": 9080`,
				"outbound|53||kube-dns.kube-system.svc.cluster.local", "outbound|9080||reviews.bookinfo.svc.cluster.local").Replace(string(encode(t, l)))
			var own any
			if err := json.Unmarshal([]byte(text), &own); err != nil {
				t.Fatal(err)
			}
			o["dynamic_listeners"], hit = append(all, own), true
			return
		}
	})
	if !hit {
		t.Fatal("the sidecar has no listener to make it from")
	}
}

// emptyCluster takes the hosts of a cluster out of a proxy's dump and its
// /clusters.
// everyNode changes each of the cluster's nodes.
func everyNode(edit func(o map[string]any)) change {
	return all(item("nodes", "k8s-worker-1", edit), item("nodes", "k8s-worker-2", edit))
}

func emptyCluster(proxy, cluster string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		hit := false
		var walk func(v any)
		walk = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				if v["cluster_name"] == cluster && v["endpoints"] != nil {
					delete(v, "endpoints")
					hit = true
				}
				if v["name"] == cluster && v["host_statuses"] != nil {
					delete(v, "host_statuses")
					hit = true
				}
				for _, x := range v {
					walk(x)
				}
			case []any:
				for _, x := range v {
					walk(x)
				}
			}
		}
		for _, name := range []string{"config_dump.json", "clusters.json"} {
			var doc any
			if err := json.Unmarshal(world[proxy+name], &doc); err != nil {
				t.Fatal(err)
			}
			hit = false
			if walk(doc); !hit {
				t.Fatalf("%s%s has no hosts of %s", proxy, name, cluster)
			}
			world[proxy+name] = encode(t, doc)
		}
	}
}

// sidecarFor adds a Sidecar for a namespace that imports the hosts.
func sidecarFor(namespace string, hosts ...any) change {
	return func(t testing.TB, world files) {
		world["cluster/sidecars.networking.istio.io.json"] = encode(t, map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{map[string]any{
			"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": map[string]any{"name": "default", "namespace": namespace},
			"spec": map[string]any{"egress": []any{map[string]any{"hosts": hosts}}},
		}}})
	}
}

// sixth gives a Service's endpoints addresses of IPv6 too, as a cluster of both
// families does.
func sixth(service string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		const file = "cluster/endpointslices.discovery.k8s.io.json"
		var list struct {
			APIVersion string           `json:"apiVersion"`
			Kind       string           `json:"kind"`
			Items      []map[string]any `json:"items"`
		}
		if err := json.Unmarshal(world[file], &list); err != nil {
			t.Fatal(err)
		}
		n := len(list.Items)
		for _, o := range list.Items[:n] {
			if in(o, "metadata", "labels")["kubernetes.io/service-name"] != service {
				continue
			}
			var six map[string]any
			if err := json.Unmarshal(encode(t, o), &six); err != nil {
				t.Fatal(err)
			}
			in(six, "metadata")["name"], six["addressType"] = service+"-v6", "IPv6"
			for i, e := range six["endpoints"].([]any) {
				e.(map[string]any)["addresses"] = []any{"fd00::1" + string(rune('a'+i))}
			}
			list.Items = append(list.Items, six)
		}
		if len(list.Items) == n {
			t.Fatalf("no EndpointSlice of %s", service)
		}
		world[file] = encode(t, list)
	}
}

// cilium is what iptables-save prints where Cilium has replaced kube-proxy.
const cilium = `*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:CILIUM_FORWARD - [0:0]
-A FORWARD -m comment --comment "cilium-feeder: CILIUM_FORWARD" -j CILIUM_FORWARD
-A CILIUM_FORWARD -o cilium_host -m comment --comment "cilium: any->cluster on cilium_host forward accept" -j ACCEPT
COMMIT
`

// nodesHold gives every node those rules.
func nodesHold(save string) change {
	return func(_ testing.TB, world files) {
		for name := range world {
			if strings.HasPrefix(name, "nodes/") && strings.HasSuffix(name, "/iptables-save.txt") {
				world[name] = []byte(save)
			}
		}
	}
}

// TestWhatAMisnamedPortDoesDependsOnWhoSpeaksFirst: before a server that greets
// both sides wait; what another client says would be refused, should it not be HTTP.
func TestWhatAMisnamedPortDoesDependsOnWhoSpeaksFirst(t *testing.T) {
	for _, c := range []struct {
		port     string
		verdict  trace.Verdict
		severity trace.Severity
		says     string
	}{
		{"3306", trace.Unreachable, trace.SeverityError, "is named http-mysql, so the sidecar speaks HTTP there; MySQL is not HTTP, and its server speaks first: both sides wait"},
		{"6379", trace.Reachable, trace.SeverityWarning, "is named http-mysql, so the sidecar speaks HTTP there; Redis is not HTTP, and the proxy would take what such a client says for a broken request"},
	} {
		world := unpack(t, faultWorld("HT6004-http-named-mysql"))
		for name, data := range world {
			world[name] = []byte(strings.ReplaceAll(string(data), "3306", c.port))
		}
		r := traceFiles(t, world, asked{url: "10.96.77.9:" + c.port, from: "pod:default/sleep-7c7db887d8-9dnd7"}.target(t))
		if len(r.Findings) == 0 || r.Findings[0].Code != "HT6004" || r.Verdict != c.verdict || r.Findings[0].Severity != c.severity || !strings.HasSuffix(r.Findings[0].Detail, c.says) {
			t.Errorf("port %s\n%s", c.port, outline(r))
		}
	}
}
