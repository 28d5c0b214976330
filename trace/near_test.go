package trace_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// asked is a target with what goes with it.
type asked struct {
	url, from, sni, source, version string
	headers                         []string // "name: value"
	resolve                         map[string]string
	cert                            bool // the client has a certificate
}

func (a asked) target(t testing.TB) trace.Target {
	t.Helper()
	target, err := trace.ParseTarget(a.url)
	if err != nil {
		t.Fatal(err)
	}
	if a.from != "" {
		target.From = a.from
	}
	target.SNI, target.SourceIP, target.HTTPVersion, target.Resolve, target.ClientCert = a.sni, a.source, a.version, a.resolve, a.cert
	for _, h := range a.headers {
		name, value, _ := strings.Cut(h, ": ")
		target.Headers = append(target.Headers, trace.Header{Name: name, Value: value})
	}
	return target
}

func faultWorld(name string) string { return "../testdata/worlds/faults/" + name + ".tar.gz" }

var (
	getList  = asked{url: "http://exam.com/getList"}
	nodePort = asked{url: "http://192.168.170.137:31373/simple/httpserver", headers: []string{"Host: simple.baihl.io"}}
	product  = asked{url: "http://bookinfo.example.com/productpage"}
	sleeping = asked{url: "192.168.0.78:1234", from: "pod:default/sleep-7c7db887d8-9dnd7"}
)

// unready makes a Pod's Ready condition false.
func unready(name string) change {
	return item("pods", name, func(o map[string]any) {
		for _, c := range in(o, "status")["conditions"].([]any) {
			if c := c.(map[string]any); c["type"] == "Ready" {
				c["status"] = "False"
			}
		}
	})
}

// TestANearCaseDoesNotFire has, for each code, the case that looks most like the
// fault and is none.
func TestANearCaseDoesNotFire(t *testing.T) {
	covered := map[string]bool{}
	gateway := func(edit func(server map[string]any)) change {
		return item("gateways.networking.istio.io", "my-gateway", func(o map[string]any) {
			edit(in(o, "spec")["servers"].([]any)[0].(map[string]any))
		})
	}
	for _, c := range []struct {
		code, name, world string
		change            change
		ask               asked
	}{
		{"HT0001", "a file that only adds certainty is absent", ingressLB, remove("nodes/*/ip-addr.json"), getList},
		{"HT0002", "a rule that cannot be evaluated, for another port", ingressHTTP, atEnd("nodes/*/iptables-save.txt", "mangle", "[0:0] -A PREROUTING -p tcp -m tcp --dport 31374 -m recent --rcheck --name x --rsource -j DROP\n"), nodePort},
		{"HT1001", "a CNAME that leads on to an address", bookinfo, nothing, product},
		{"HT1002", "a port that the Service has", ingressLB, nothing, asked{url: "http://exam.com:80/getList"}},
		{"HT1003", "another Gateway on another port", ingressHTTP, another("gateways.networking.istio.io", "simple", func(o map[string]any) {
			in(o, "metadata")["name"] = "other"
			in(in(o, "spec")["servers"].([]any)[0].(map[string]any), "port")["number"] = 31373
		}), nodePort},
		{"HT1003", "a server of another host on a port the Service lacks", faultWorld("HT3001-gateway-selector"), another("gateways.networking.istio.io", "simple", func(o map[string]any) {
			server := in(o, "spec")["servers"].([]any)[0].(map[string]any)
			in(o, "metadata")["name"], in(o, "spec")["selector"] = "other", map[string]any{"istio": "ingressgateway"}
			server["hosts"], in(server, "port")["number"] = []any{"other.example.com"}, 9999
		}), nodePort},
		{"HT1003", "the same, a bare connection", faultWorld("HT3001-gateway-selector"), another("gateways.networking.istio.io", "simple", func(o map[string]any) {
			in(o, "metadata")["name"], in(o, "spec")["selector"] = "other", map[string]any{"istio": "ingressgateway"}
			in(in(o, "spec")["servers"].([]any)[0].(map[string]any), "port")["number"] = 9999
		}), asked{url: "192.168.170.137:31373"}},
		{"HT1004", "a client inside of the ranges", faultWorld("HT1004-source-ranges"), nothing, asked{url: "http://exam.com/getList", source: "198.51.100.77"}},
		{"HT1005", "the annotation names a NodePort the Service has", ingressLB, annotate("service.beta.kubernetes.io/aws-load-balancer-healthcheck-port", "31080"), getList},
		{"HT1005", "the annotation follows the traffic port", ingressLB, annotate("service.beta.kubernetes.io/aws-load-balancer-healthcheck-port", "traffic-port"), getList},
		{"HT1006", "a pending load balancer, asked by its NodePort", faultWorld("HT1006-lb-pending"), nothing, asked{url: "http://10.0.1.21:31080/getList", headers: []string{"Host: exam.com"}}},
		{"HT1007", "another Service's Pod is unready", ingressHTTP, unready("nginx-deployment-85b98978db-9rhvd"), nodePort},
		{"HT1007", "one of the Service's two Pods is unready", "../testdata/worlds/seed/ingress-tcp-mysql.tar.gz", unready("istio-ingressgateway-6f7c8d5b9d-4tqzn"), asked{url: "172.16.10.11:30306"}},
		{"HT1008", "a targetPort by a name that the Pods have", ingressLB, all(
			item("services", "istio-ingressgateway", func(o map[string]any) {
				for _, p := range in(o, "spec")["ports"].([]any) {
					if p := p.(map[string]any); p["name"] == "http2" {
						p["targetPort"] = "http2"
					}
				}
			}),
			item("pods", "istio-ingressgateway-7d4f9c6b8c-zq5rt", func(o map[string]any) {
				for _, p := range in(o, "spec")["containers"].([]any)[0].(map[string]any)["ports"].([]any) {
					if p := p.(map[string]any); p["containerPort"] == float64(8080) {
						p["name"] = "http2"
					}
				}
			})), getList},
		{"HT2001", "policy Local on the node that has the endpoint", faultWorld("HT2001-no-local-endpoint"), nothing, asked{url: "http://10.0.1.21:31080/getList", headers: []string{"Host: exam.com"}}},
		{"HT2002", "an unanswered entry to a Pod that exists", ingressHTTP, add("nodes/baihl-master/conntrack.txt", "tcp      6 116 SYN_SENT src=192.168.170.1 dst=192.168.170.137 sport=40031 dport=31373 [UNREPLIED] src=10.10.1.4 dst=10.10.0.0 sport=8080 dport=60117 mark=0 use=1\n"), nodePort},
		{"HT2002", "an unanswered entry to an endpoint that is no Pod, and that the rules send to", ingressHTTP, all(
			text("nodes/*/iptables-save.txt", "10.10.1.4", "172.20.0.4"),
			add("nodes/baihl-master/conntrack.txt", "tcp      6 116 SYN_SENT src=192.168.170.1 dst=192.168.170.137 sport=40031 dport=31373 [UNREPLIED] src=172.20.0.4 dst=10.10.0.0 sport=8080 dport=60117 mark=0 use=1\n"),
		), nodePort},
		{"HT2003", "a legacy backend without kube-proxy's chains", ingressHTTP, add("nodes/baihl-master/iptables-legacy-save.txt", "# Generated by iptables-save v1.8.9\n*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"), nodePort},
		{"HT2004", "insertions that failed, none dropped", ingressLB, add("nodes/k8s-worker-1/conntrack-stats.txt", "cpu=0   \tfound=11 invalid=2 insert=0 insert_failed=7 drop=0 early_drop=0 error=0\n"), getList},
		{"HT2005", "the same Pod by the ClusterIP", faultWorld("HT2005-own-lb-address"), nothing, asked{url: "http://10.97.12.34/getList", headers: []string{"Host: exam.com"}, from: "pod:default/my-backend-6c5d7f8b9d-t9p2m"}},
		{"HT2006", "rules and slices agree, another Service's differ", faultWorld("HT2006-stale-kube-proxy"), nothing, asked{url: "http://10.0.1.21:31080/getList", headers: []string{"Host: exam.com"}}},
		{"HT2007", "a drop of another owner for another port", ingressLB, atEnd("nodes/*/iptables-save.txt", "mangle", "[0:0] -A PREROUTING -p tcp -m tcp --dport 81 -j DROP\n"), getList},
		{"HT3001", "another Gateway selects nothing", ingressHTTP, another("gateways.networking.istio.io", "simple", func(o map[string]any) {
			in(o, "metadata")["name"] = "other"
			in(o, "spec")["selector"] = map[string]any{"istio": "none"}
		}), nodePort},
		{"HT3001", "a Gateway of another host selects nothing, and no Gateway has the port", faultWorld("HT3001-gateway-selector"), item("gateways.networking.istio.io", "simple", func(o map[string]any) {
			in(o, "spec")["servers"].([]any)[0].(map[string]any)["hosts"] = []any{"other.example.org"}
		}), nodePort},
		{"HT3001", "a Gateway selects nothing, and another one for the port selects the Pod", faultWorld("HT3002-privileged-port"), another("gateways.networking.istio.io", "my-gateway", func(o map[string]any) {
			in(o, "metadata")["name"], in(o, "spec")["selector"] = "a-gateway", map[string]any{"istio": "nobody"}
		}), getList},
		{"HT3002", "a Service port below 1024 with a targetPort above", ingressLB, nothing, getList},
		{"HT3003", "an SNI that a chain wants", bookinfo, nothing, asked{url: "https://bookinfo.example.com/productpage"}},
		{"HT3004", "two Gateways with one host on two ports", faultWorld("HT3004-duplicate-host"), nothing, getList},
		{"HT3005", "an expired certificate, asked in plain text", faultWorld("HT3005-certificate-expired"), nothing, getList},
		{"HT3005", "another certificate has expired", faultWorld(httpsWorld), add(lbGateway+"certs.json", `{"certificates": [{"cert_chain": [{"path": "kubernetes://other-credential", "valid_from": "2025-01-01T00:00:00Z", "expiration_time": "2026-02-01T00:00:00Z"}]}]}`), asked{url: "https://exam.com/getList"}},
		{"HT3006", "TLS to the TLS port", faultWorld("HT3006-scheme-mismatch"), nothing, asked{url: "https://exam.com/getList"}},
		{"HT3007", "the annotation, asked by the NodePort", faultWorld("HT3007-proxy-protocol"), nothing, asked{url: "http://10.0.1.21:31080/getList", headers: []string{"Host: exam.com"}}},
		{"HT3008", "a listener rejected, another one asked", faultWorld("HT3008-listener-rejected"), nothing, getList},
		{"HT3009", "UDP to a Pod that is no gateway", ingressHTTP, nothing, asked{url: "udp://10.10.1.13:53", from: "node:baihl-node"}},
		{"HT4001", "the host in other letters", ingressHTTP, nothing, asked{url: "http://192.168.170.137:31373/simple/httpserver", headers: []string{"Host: SIMPLE.baihl.io"}}},
		{"HT4002", "the header with its value", faultWorld("HT4002-header-missing"), nothing, asked{url: "http://exam.com/getList", headers: []string{"x-tenant: blue"}}},
		{"HT4003", "the request that only the older route wants", faultWorld("HT4003-shadowed-route"), nothing, getList},
		{"HT4004", "a port in the Host header that the table ignores", ingressHTTP, nothing, asked{url: "http://simple.baihl.io:31373/simple/httpserver"}},
		{"HT4005", "a redirect to https of a request for http", faultWorld("HT4005-redirect-loop"), nothing, asked{url: "http://exam.com/getList"}},
		{"HT4006", "SNI and host are one", bookinfo, nothing, asked{url: "https://bookinfo.example.com/nothing"}},
		{"HT4007", "a Gateway host with a wildcard that takes the host", ingressLB, gateway(func(s map[string]any) { s["hosts"] = []any{"*.com"} }), getList},
		{"HT4008", "a VirtualService of another host binds to nothing", ingressLB, another("virtualservices.networking.istio.io", "example-virtualservice", func(o map[string]any) {
			in(o, "metadata")["name"] = "other"
			in(o, "spec")["hosts"], in(o, "spec")["gateways"] = []any{"other.com"}, []any{"none"}
		}), asked{url: "http://exam.com/"}},
		{"HT4009", "a direct response on another path", faultWorld("HT4009-direct-response"), all(
			text("cluster/virtualservices.networking.istio.io.json", `"prefix": "/simple"`, `"prefix": "/maintenance"`),
			text(httpGateway+"config_dump.json", `"prefix": "/simple"`, `"prefix": "/maintenance"`),
			remove(httpGateway+"access.log"),
		), nodePort},
		{"HT5001", "a dead cluster in the table that the request does not reach", faultWorld("HT5001-host-typo"), nothing, asked{url: "http://192.168.170.137:31373/simple/nginx", headers: []string{"Host: simple.baihl.io"}}},
		{"HT5002", "a subset with one endpoint left", bookinfo, all(
			withoutHost("proxies/bookinfo/productpage-v1-6c8d9f7b54-p2wqd/", "outbound|9080|v1|reviews.bookinfo.svc.cluster.local", "10.244.2.22"),
			unready("reviews-v1-5d6f8c9b7-nm2cw"),
		), asked{url: "http://reviews:9080/reviews/0", from: "pod:bookinfo/productpage-v1-6c8d9f7b54-p2wqd"}},
		{"HT5003", "one endpoint of two is ejected", ingressLB, ejected("10.244.1.31"), getList},
		{"HT5004", "an endpoint that is on its way out, still in the slices", ingressLB, item("endpointslices.discovery.k8s.io", sliceName(t, ingressLB, "my-backend-service"), func(o map[string]any) {
			c := in(o["endpoints"].([]any)[0].(map[string]any), "conditions")
			c["ready"], c["serving"], c["terminating"] = false, true, true
		}), getList},
		{"HT5005", "an overflow of another host's request", ingressLB, add(lbGateway+"access.log", "[2026-11-20T17:45:03.000Z] \"GET /getList HTTP/1.1\" 503 UO upstream_reset_before_response_started{overflow} - \"-\" 0 24 0 - \"10.244.1.1\" \"curl/8.5.0\" \"0b6c7f0e-91b8-4b5e-8f0c-3c6d9f0a7a12\" \"other.com\" \"-\" outbound|80||other.default.svc.cluster.local - 10.244.1.9:8080 10.244.1.1:36999 - -\n"), getList},
		{"HT5006", "a timeout set, and no request that met it", ingressLB, text(lbGateway+"config_dump.json", `"timeout": "0s"`, `"timeout": "1s"`), getList},
		{"HT5007", "a reset after a long time", ingressLB, add(lbGateway+"access.log", "[2026-11-20T17:45:03.000Z] \"GET /getList HTTP/1.1\" 503 UC upstream_reset_before_response_started{connection_termination} - \"-\" 0 95 4100 - \"10.244.1.1\" \"curl/8.5.0\" \"0b6c7f0e-91b8-4b5e-8f0c-3c6d9f0a7a13\" \"exam.com\" \"10.244.1.31:8080\" outbound|8080||my-backend-service.default.svc.cluster.local 10.244.1.9:44310 10.244.1.9:8080 10.244.1.1:33411 - -\n"), getList},
		{"HT6001", "mutual TLS to a Pod with a sidecar", bookinfo, nothing, product},
		{"HT6002", "a policy that allows the gateway", faultWorld("HT6002-wrong-principal"), nothing, asked{url: "http://details:9080/details/0", from: "pod:bookinfo/productpage-v1-6c8d9f7b54-p2wqd"}},
		{"HT6003", "a policy for other Pods", ingressLB, all(denyDefault, text("cluster/networkpolicies.networking.k8s.io.json", `"podSelector": {}`, `"podSelector": {"matchLabels": {"app": "other"}}`)), getList},
		{"HT6004", "a port named http that carries HTTP", bookinfo, nothing, asked{url: "10.100.1.11:9080", from: "pod:bookinfo/productpage-v1-6c8d9f7b54-p2wqd"}},
		{"HT6004", "a port named for TCP that carries HTTP, without HTTP routes", bookinfo, all(opaqueReviews, text("cluster/virtualservices.networking.istio.io.json", `"reviews"
                ]`, `"other"
                ]`)), asked{url: "http://reviews:9080/reviews/0", from: "pod:bookinfo/productpage-v1-6c8d9f7b54-p2wqd"}},
		{"HT6004", "HTTP routes on a port named http", bookinfo, nothing, asked{url: "http://reviews:9080/reviews/0", from: "pod:bookinfo/productpage-v1-6c8d9f7b54-p2wqd"}},
		{"HT6005", "exportTo that names the gateway's namespace", ingressHTTP, item("services", "simple", func(o map[string]any) {
			in(o, "metadata", "annotations")["networking.istio.io/exportTo"] = ".,istio-system"
		}), nodePort},
		{"HT6006", "a token is checked where there is one, and none is demanded", faultWorld("HT6006-jwt"), all(
			took(ingressLB, "cluster/authorizationpolicies.security.istio.io.json"),
			withoutFilter(lbGateway+"config_dump.json", "envoy.filters.http.rbac"),
			remove(lbGateway+"access.log"),
		), getList},
		{"HT7001", "a registered host under REGISTRY_ONLY", "../testdata/worlds/seed/egress-direct.tar.gz", nothing, sleeping},
		{"HT7002", "a ServiceEntry describes the address", "../testdata/worlds/seed/egress-direct.tar.gz", nothing, sleeping},
		{"HT7003", "no VirtualService asks for the egress gateway", "../testdata/worlds/seed/egress-direct.tar.gz", nothing, sleeping},
		{"HT7003", "the egress gateway is used", egress, nothing, sleeping},
		{"HT7004", "the same ServiceEntry by its name", faultWorld("HT7004-http-with-addresses"), nothing, asked{url: "http://my.server.com:1234/", from: "pod:default/sleep-7c7db887d8-9dnd7", resolve: map[string]string{"my.server.com:1234": "192.168.0.78:1234"}}},
		{"HT7005", "HTTP to port 443 where the sidecar begins TLS", faultWorld("HT7005-not-originated"), originateTLS, asked{url: "http://api.partner.example/v1/rates", from: "pod:default/sleep-7c7db887d8-9dnd7"}},
		{"HT7005", "plain TCP to a port that is not TLS's", "../testdata/worlds/seed/egress-direct.tar.gz", nothing, sleeping},
		{"HT8001", "the application listens on its own address", ingressLB, text("pods/default/my-backend-6c5d7f8b9d-kk4xw/ss.txt", "*:8080", "10.244.1.31:8080"), getList},
		{"HT8002", "a restart long ago, ready now", ingressHTTP, item("pods", "simple-fb6498fdb-rmdg2", func(o map[string]any) {
			in(o, "status")["containerStatuses"].([]any)[0].(map[string]any)["restartCount"] = 17
		}), nodePort},
		{"HT8003", "an HTTP/1.1 client", faultWorld("HT8003-http10"), nothing, asked{url: "http://exam.com/getList", version: "1.1"}},
		{"HT9001", "an older line shows another cluster, the latest does not", ingressHTTP, prepend("proxies/istio-system/istio-ingressgateway-576c469c96-spndl/access.log", "[2026-11-20T11:32:14.412Z] \"GET /simple/httpserver HTTP/1.1\" 200 - via_upstream - \"-\" 0 312 4 3 \"10.10.0.0\" \"curl/7.79.1\" \"2b92f22d-3cba-98d6-b51f-4b0ea5311295\" \"simple.baihl.io\" \"10.10.1.14:80\" outbound|80||nginx.simple.svc.cluster.local 10.10.1.4:40112 10.10.1.4:8080 10.10.0.0:44178 - -\n"), nodePort},
		{"HT9001", "an older request failed, the latest did not", ingressHTTP, prepend("proxies/istio-system/istio-ingressgateway-576c469c96-spndl/access.log", "[2026-11-20T11:32:14.412Z] \"GET /simple/httpserver HTTP/1.1\" 404 NR route_not_found - \"-\" 0 0 0 - \"10.10.0.0\" \"curl/7.79.1\" \"2b92f22d-3cba-98d6-b51f-4b0ea5311296\" \"simple.baihl.io\" \"-\" - - 10.10.1.4:8080 10.10.0.0:44178 - -\n"), nodePort},
		{"HT9002", "a log without a line of the request", ingressLB, nothing, asked{url: "http://exam.com/getList?page=77"}},
	} {
		covered[c.code] = true
		t.Run(c.code+" "+c.name, func(t *testing.T) {
			t.Parallel()
			world := unpack(t, c.world)
			c.change(t, world)
			r := traceFiles(t, world, c.ask.target(t))
			for _, f := range r.Findings {
				if f.Code == c.code && f.Severity == trace.SeverityError || f.Code == c.code && !strings.HasPrefix(c.code, "HT5003") || slices.Contains(f.CauseOf, c.code) {
					t.Errorf("%s fires: %s\n%s", c.code, f.Detail, outline(r))
				}
			}
		})
	}
	for _, f := range trace.Faults() {
		if !f.Retired && !covered[f.Code] {
			t.Errorf("%s has no near case", f.Code)
		}
	}
}

// withoutHost takes one host of a cluster out of a proxy's dump and its
// /clusters.
func withoutHost(proxy, cluster, address string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		for _, name := range []string{"config_dump.json", "clusters.json"} {
			hit := false
			drop := func(o map[string]any, key string) {
				hosts, _ := o[key].([]any)
				o[key] = slices.DeleteFunc(hosts, func(h any) bool {
					gone := strings.Contains(string(encode(t, h)), `"`+address+`"`)
					hit = hit || gone
					return gone
				})
			}
			editDump(t, world, proxy+name, func(o map[string]any) {
				switch {
				case o["cluster_name"] == cluster && o["endpoints"] != nil:
					for _, l := range o["endpoints"].([]any) {
						drop(l.(map[string]any), "lb_endpoints")
					}
				case o["name"] == cluster && o["host_statuses"] != nil:
					drop(o, "host_statuses")
				}
			})
			if !hit {
				t.Fatalf("%s%s has no %s in %s", proxy, name, address, cluster)
			}
		}
	}
}

// ejected marks a host of the gateway as ejected by outlier detection.
func ejected(address string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		hit := false
		editDump(t, world, lbGateway+"clusters.json", func(o map[string]any) {
			if o["health_status"] != nil && strings.Contains(string(encode(t, o["address"])), `"`+address+`"`) {
				in(o, "health_status")["failed_outlier_check"] = true
				hit = true
			}
		})
		if !hit {
			t.Fatalf("no host %s", address)
		}
	}
}

// withoutFilter takes an HTTP filter out of a dump.
func withoutFilter(dump, filter string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		hit := false
		editDump(t, world, dump, func(o map[string]any) {
			all, ok := o["http_filters"].([]any)
			if !ok {
				return
			}
			o["http_filters"] = slices.DeleteFunc(all, func(f any) bool {
				gone := f.(map[string]any)["name"] == filter
				hit = hit || gone
				return gone
			})
		})
		if !hit {
			t.Fatalf("%s has no %s", dump, filter)
		}
	}
}

func prepend(name, content string) change {
	return func(_ testing.TB, world files) { world[name] = append([]byte(content), world[name]...) }
}

// sliceName is the name of the EndpointSlice of a Service.
func sliceName(t testing.TB, archive, service string) string {
	t.Helper()
	for line := range strings.Lines(string(unpack(t, archive)["cluster/endpointslices.discovery.k8s.io.json"])) {
		if _, name, ok := strings.Cut(line, `"name": "`+service+"-"); ok {
			return service + "-" + strings.TrimRight(name, "\",\n")
		}
	}
	t.Fatal("no EndpointSlice of " + service)
	return ""
}
