package trace_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

const (
	productPod   = "pod:bookinfo/productpage-v1-6c8d9f7b54-p2wqd"
	backendPod   = "pod:default/my-backend-6c5d7f8b9d-t9p2m"
	sleepPod     = "pod:default/sleep-7c7db887d8-9dnd7"
	bookGateways = "proxies/istio-system/istio-ingressgateway-6d8b7c9f5-*/"
)

// TestMistakesAsPeopleMakeThem has one object of a world edited as a real mistake
// would, with what it makes of the proxies and the nodes: the findings are all
// that there are, with their severities, and the words are what a person is told
// to do. A mistake that is none has no finding.
func TestMistakesAsPeopleMakeThem(t *testing.T) {
	details := asked{url: "http://details:9080/details/0", from: productPod}
	reviews := asked{url: "http://reviews:9080/reviews/0", from: productPod}
	secure := asked{url: "https://bookinfo.example.com/productpage"}
	noPage := asked{url: "http://bookinfo.example.com/nonexistent"}
	shop := asked{url: "http://bookinfo.example.com/", headers: []string{"Host: shop.example.com"}}
	notAllowed := map[string]any{"type": "Accepted", "status": "False", "reason": "NotAllowedByListeners", "message": "not allowed"}
	taken := map[string]any{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "ok"}
	nginxSays := func(s map[string]any) { s["controllerName"] = "gateway.nginx.org/nginx-gateway-controller" }
	serviceSays := func(s map[string]any) { in(s, "parentRef")["group"], in(s, "parentRef")["kind"] = "", "Service" }
	for _, c := range []struct {
		name     string
		world    string
		change   change
		ask      asked
		verdict  trace.Verdict
		findings []string // code and severity of every one
		says     []string // in what the first one tells and advises
	}{
		// names and paths
		{"a capital in the path", ingressHTTP, nothing, asked{url: "http://192.168.170.137:31373/Simple/httpserver?a=b", headers: nodePort.headers}, trace.Unreachable, []string{"HT4002 error"}, []string{"ask for /simple/httpserver?a=b, if that was meant"}},
		{"a slash at the end of the path", ingressHTTP, nothing, asked{url: "http://192.168.170.137:31373/simple/httpserver/", headers: nodePort.headers}, trace.Unreachable, []string{"HT4002 error"}, []string{"ask for /simple/httpserver, if that was meant"}},
		{"a letter of the path missing", ingressHTTP, nothing, asked{url: "http://192.168.170.137:31373/simple/htpserver", headers: nodePort.headers}, trace.Unreachable, []string{"HT4002 error"}, []string{"ask for /simple/httpserver, if that was meant"}},
		{"a path that is like none", ingressHTTP, nothing, asked{url: "http://192.168.170.137:31373/other", headers: nodePort.headers}, trace.Unreachable, []string{"HT4002 error"}, []string{"add a match for this request to VirtualService simple/simple"}},
		{"a Service's name slipped, and the resolver says so", bookinfo, text("dns.json", `"answers": [`, `"answers": [{"name": "review.", "type": "A", "values": []},`), asked{url: "http://review:9080/reviews/0", from: productPod}, trace.Unreachable, []string{"HT1001 error"}, []string{"there is no Service review in namespace bookinfo; ask for reviews.bookinfo", "exec productpage-v1-6c8d9f7b54-p2wqd -- nslookup review"}},
		{"a namespace's name slipped, and nobody asked a resolver", ingressLB, nothing, asked{url: "http://my-backend-service.defualt:8080/", from: backendPod}, trace.Undetermined, []string{"HT0001 warning"}, []string{"there is no Service my-backend-service in namespace defualt; ask for my-backend-service.default"}},
		{"a host that a second Gateway takes and nobody routes", bookinfo, another("gateways.networking.istio.io", "bookinfo-gateway", func(o map[string]any) {
			in(o, "metadata")["name"], in(o, "metadata")["namespace"] = "second", "default"
			in(o, "spec")["servers"] = []any{map[string]any{"hosts": []any{"other.example.com"}, "port": map[string]any{"name": "http", "number": 80, "protocol": "HTTP"}}}
		}), asked{url: "http://bookinfo.example.com/", headers: []string{"Host: other.example.com"}}, trace.Unreachable, []string{"HT4001 error"}, []string{"write a VirtualService with spec.hosts [other.example.com] and spec.gateways [default/second]"}},

		// ports
		{"a port that the Service lacks, from a Pod", bookinfo, nothing, asked{url: "http://reviews:9081/reviews/0", from: productPod}, trace.Unreachable, []string{"HT1002 error"}, []string{"use one of its ports: 9080 (http)"}},
		{"the Service's port of a headless Service", ingressLB, item("services", "my-backend-service", func(o map[string]any) {
			in(o, "spec")["clusterIP"], in(o, "spec")["clusterIPs"] = "None", []any{"None"}
		}), asked{url: "http://my-backend-service:80/", from: backendPod}, trace.Unreachable, []string{"HT8001 error"}, []string{"Service default/my-backend-service is headless"}},
		{"the port beside that of the ServiceEntry", egress, nothing, asked{url: "192.168.0.78:1235", from: sleepPod}, trace.Unreachable, []string{"HT7001 error"}, []string{"ask for port 1234, if that was meant: ServiceEntry default/my-server-se has 192.168.0.78 there"}},

		// TLS
		{"https to a port for plain HTTP", ingressHTTP, nothing, asked{url: "https://simple.baihl.io:31373/simple/httpserver"}, trace.Unreachable, []string{"HT3006 error"}, []string{"ask for http://simple.baihl.io:31373/simple/httpserver"}},
		{"http to the port for TLS of two replicas", bookinfo, nothing, asked{url: "http://bookinfo.example.com:443/productpage"}, trace.Unreachable, []string{"HT3006 error"}, []string{"ask for https://bookinfo.example.com/productpage"}},
		{"https by the address, so without SNI", bookinfo, nothing, asked{url: "https://198.51.100.20/productpage", headers: []string{"Host: bookinfo.example.com"}}, trace.Unreachable, []string{"HT3003 error"}, nil},
		{"https to a port of the mesh, from a Pod with a sidecar", bookinfo, nothing, asked{url: "https://reviews:9080/reviews/0", from: productPod}, trace.Unreachable, []string{"HT3006 error"}, []string{"ask for http://reviews:9080/reviews/0: the sidecars speak mutual TLS between them"}},
		{"a certificate for another host", bookinfo, certificate(`"www.example.org"`, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"), secure, trace.Unreachable, []string{"HT3005 error"}, []string{"is for www.example.org and not for bookinfo.example.com", "create secret tls bookinfo-credential"}},
		{"a certificate for the host by a wildcard", bookinfo, certificate(`"*.example.com"`, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"), secure, trace.Reachable, nil, nil},
		{"a wildcard that stands for one label only", bookinfo, certificate(`"*.com"`, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"), secure, trace.Unreachable, []string{"HT3005 error"}, []string{"is for *.com and not for bookinfo.example.com"}},
		{"a certificate of which the names were not read", bookinfo, certificate("", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"), secure, trace.Reachable, nil, nil},
		{"a certificate that is not valid yet, at both replicas", bookinfo, certificate(`"bookinfo.example.com"`, "2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"), secure, trace.Unreachable, []string{"HT3005 error"}, []string{"is not valid before 2027-01-01T00:00:00Z"}},
		{"a secret whose name begins as the Gateway's, for the host", bookinfo, all(certificate(`"www.example.org"`, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"), secondCertificate("kubernetes://bookinfo-credential-admin", "2027-01-01T00:00:00Z")), secure, trace.Unreachable, []string{"HT3005 error"}, []string{"is for www.example.org and not for bookinfo.example.com"}},
		{"a secret whose name begins as the Gateway's, expired", bookinfo, all(certificate(`"bookinfo.example.com"`, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"), secondCertificate("kubernetes://bookinfo-credential-admin", "2025-01-02T00:00:00Z")), secure, trace.Reachable, nil, nil},
		{"a Gateway that wants a certificate of the client", bookinfo, mutualGateway, secure, trace.Unreachable, []string{"HT6001 error"}, []string{"Gateway bookinfo/bookinfo-gateway, server https on port 443", "--client-cert", "edit gateways.networking.istio.io bookinfo-gateway"}},
		{"the same, and the client has one", bookinfo, mutualGateway, asked{url: secure.url, cert: true}, trace.Reachable, nil, nil},

		// mutual TLS within the mesh
		{"DISABLE for a Pod whose clients speak mutual TLS", bookinfo, plainDetails, details, trace.Unreachable, []string{"HT6001 error"}, []string{"takes plain text only (PeerAuthentication bookinfo/details", "tls.mode: DISABLE makes its clients speak plain text"}},
		{"the same by a DestinationRule", bookinfo, all(plainDetails, tlsRule("ISTIO_MUTUAL")), details, trace.Unreachable, []string{"HT6001 error"}, []string{"DestinationRule bookinfo/details says so with trafficPolicy.tls.mode ISTIO_MUTUAL", "edit destinationrules.networking.istio.io details"}},
		{"a DestinationRule that switches mutual TLS off, before STRICT", bookinfo, all(tlsRule("DISABLE"), plainClient), details, trace.Unreachable, []string{"HT6001 error"}, []string{"DestinationRule bookinfo/details says so with trafficPolicy.tls.mode DISABLE", "PERMISSIVE in PeerAuthentication istio-system/default"}},
		{"the same for the port alone, against the rule's general settings", bookinfo, all(tlsRule("ISTIO_MUTUAL"), tlsOfPort(9080, "DISABLE"), plainClient), details, trace.Unreachable, []string{"HT6001 error"}, []string{"DestinationRule bookinfo/details says so with trafficPolicy.portLevelSettings[9080].tls.mode DISABLE", "take trafficPolicy.portLevelSettings[9080].tls out of DestinationRule bookinfo/details"}},
		{"general settings that switch it off, and another port's that do not", bookinfo, all(tlsRule("DISABLE"), tlsOfPort(9081, "ISTIO_MUTUAL"), plainClient), details, trace.Unreachable, []string{"HT6001 error"}, []string{"DestinationRule bookinfo/details says so with trafficPolicy.tls.mode DISABLE"}},
		{"a DestinationRule that the client's sidecar does not follow", bookinfo, all(tlsRule("ISTIO_MUTUAL"), plainClient), details, trace.Unreachable, []string{"HT6001 error"}, []string{"though DestinationRule bookinfo/details has trafficPolicy.tls.mode ISTIO_MUTUAL", "istioctl proxy-status productpage-v1-6c8d9f7b54-p2wqd.bookinfo"}},

		// Pods that come and go
		{"a rollout: the old Pod drains", ingressLB, all(
			item("pods", "my-backend-6c5d7f8b9d-t9p2m", func(o map[string]any) { in(o, "metadata")["deletionTimestamp"] = "2026-11-20T18:30:00Z" }),
			healthOf("10.244.2.32", map[string]any{"eds_health_status": "DRAINING"}),
		), getList, trace.Reachable, nil, nil},
		{"a rollout: the new Pod is not ready yet", ingressLB, all(unready("my-backend-6c5d7f8b9d-t9p2m"), healthOf("10.244.2.32", outByEDS)), getList, trace.Reachable, []string{"HT8002 warning"}, nil},
		{"a rollout: the new Pod's image is not there", ingressLB, all(waiting("my-backend-6c5d7f8b9d-t9p2m", "ImagePullBackOff", `Back-off pulling image "x:y"`), healthOf("10.244.2.32", outByEDS)), getList, trace.Reachable, []string{"HT8002 warning"}, []string{`0 restarts: Back-off pulling image "x:y"`, "describe pod"}},
		{"both Pods are not ready", ingressLB, all(unready("my-backend-6c5d7f8b9d-t9p2m"), unready("my-backend-6c5d7f8b9d-kk4xw"), healthOf("10.244.2.32", outByEDS), healthOf("10.244.1.31", outByEDS)), getList, trace.Unreachable, []string{"HT8002 error"}, nil},
		{"both Pods drain, and none comes after them", ingressLB, all(
			item("pods", "my-backend-6c5d7f8b9d-t9p2m", func(o map[string]any) { in(o, "metadata")["deletionTimestamp"] = "2026-11-20T18:30:00Z" }),
			item("pods", "my-backend-6c5d7f8b9d-kk4xw", func(o map[string]any) { in(o, "metadata")["deletionTimestamp"] = "2026-11-20T18:30:00Z" }),
			healthOf("10.244.2.32", map[string]any{"eds_health_status": "DRAINING"}), healthOf("10.244.1.31", map[string]any{"eds_health_status": "DRAINING"}),
		), getList, trace.Unreachable, []string{"HT5003 error"}, nil},
		{"the application is scaled to 0, and the log knows better days", ingressLB, all(
			scaleToZero("my-backend"), emptyCluster(lbGateway, "outbound|8080||my-backend-service.default.svc.cluster.local"),
		), getList, trace.Unreachable, []string{"HT5002 error"}, []string{"Deployment default/my-backend, which makes such Pods, is scaled to 0", "scale deployment my-backend --replicas=1"}},
		{"one of two is scaled away, and the log's last line names it", ingressLB, all(
			without("pods", "my-backend-6c5d7f8b9d-t9p2m"), withoutEndpoint("10.244.2.32"),
		), getList, trace.Reachable, []string{"HT9001 warning"}, []string{"no Pod has that address now: where it was scaled down or replaced since, the line is only old"}},
		{"the gateway is scaled to 0, and a node has not noticed", ingressLB, scaleToZero("istio-ingressgateway"), getList, trace.Unreachable, []string{"HT1007 error", "HT2006 error", "HT2006 error"}, []string{"Deployment istio-system/istio-ingressgateway, which makes such Pods, is scaled to 0"}},
		{"a node that sends to an address which another's Pod has by now", faultWorld("HT2006-stale-kube-proxy"), another("pods", "my-backend-6c5d7f8b9d-kk4xw", func(o map[string]any) {
			in(o, "metadata")["name"], in(o, "metadata")["labels"] = "other-1", map[string]any{"app": "other"}
			in(o, "status")["podIP"], in(o, "status")["podIPs"] = "10.244.1.9", []any{map[string]any{"ip": "10.244.1.9"}}
		}), asked{url: "http://10.0.1.22:31080/getList", headers: []string{"Host: exam.com"}}, trace.Undetermined, []string{"HT2006 error", "HT0001 warning"}, []string{"send to 10.244.1.9:8080, which the EndpointSlices do not hold"}},
		{"the one gateway crashes, and the nodes have not noticed", ingressLB, all(waiting("istio-ingressgateway-7d4f9c6b8c-zq5rt", "CrashLoopBackOff", "back-off 5m0s"), unreadyEndpoint("10.244.1.9")), getList, trace.Degraded, []string{"HT1007 error", "HT2006 error", "HT2006 error"}, []string{"container istio-proxy is waiting (CrashLoopBackOff)", "describe pod -l"}},
		{"nodes that refuse as if the Service had no endpoint still", ingressLB, staleRefusal, getList, trace.Unreachable, []string{"HT2006 error", "HT2006 error"}, []string{"do not send to 10.244.1.9:8080, which the EndpointSlices hold"}},
		{"a node that does not send to a new Pod yet", ingressLB, moreEndpoints, getList, trace.Reachable, []string{"HT2006 warning", "HT2006 warning"}, nil},

		// subsets, faults
		{"a subset taken out of its DestinationRule", bookinfo, all(
			item("destinationrules.networking.istio.io", "reviews", func(o map[string]any) {
				in(o, "spec")["subsets"] = in(o, "spec")["subsets"].([]any)[:2]
			}), withoutCluster("proxies/bookinfo/productpage-v1-6c8d9f7b54-p2wqd/", "outbound|9080|v3|reviews.bookinfo.svc.cluster.local"),
		), reviews, trace.Degraded, []string{"HT5001 error"}, []string{"DestinationRule bookinfo/reviews defines the subsets v1, v2, and no v3", "define subset v3 in DestinationRule bookinfo/reviews"}},
		{"a subset's label that no Pod has", bookinfo, all(
			text("cluster/destinationrules.networking.istio.io.json", `"version": "v3"`, `"version": "v4"`),
			emptyCluster("proxies/bookinfo/productpage-v1-6c8d9f7b54-p2wqd/", "outbound|9080|v3|reviews.bookinfo.svc.cluster.local"),
		), reviews, trace.Degraded, []string{"HT5002 error"}, []string{"they carry version=v1, version=v2, version=v3", "in DestinationRule bookinfo/reviews set subsets[v3].labels"}},
		{"a fault left over from a test", bookinfo, leftOverFault, product, trace.Degraded, []string{"HT4009 error"}, []string{"take the fault or the limit out of VirtualService bookinfo/bookinfo: kubectl -n bookinfo edit"}},

		// the Gateway API
		{"an HTTPRoute for a Gateway that does not exist", bookinfo, httpRoute("shopp", nil), asked{url: "http://bookinfo.example.com/", headers: []string{"Host: shop.example.com"}}, trace.Unreachable, []string{"HT4008 error"}, []string{"names Gateway bookinfo/shopp in parentRefs, which does not exist", "is Gateway bookinfo/shop meant?"}},
		{"an HTTPRoute that its Gateway does not take", bookinfo, httpRoute("shop", map[string]any{"type": "Accepted", "status": "False", "reason": "NotAllowedByListeners", "message": "hostnames matched parent hostname, but namespace not allowed by the parent"}), asked{url: "http://bookinfo.example.com/", headers: []string{"Host: shop.example.com"}}, trace.Unreachable, []string{"HT4007 error"}, []string{"Gateway bookinfo/shop does not take it: hostnames matched parent hostname, but namespace not allowed by the parent (NotAllowedByListeners)", "listeners[].allowedRoutes"}},
		{"an HTTPRoute that is taken, and another host asked", bookinfo, httpRoute("shopp", nil), asked{url: "http://bookinfo.example.com/", headers: []string{"Host: other.example.com"}}, trace.Unreachable, []string{"HT4001 error"}, nil},
		{"an HTTPRoute that a Gateway of another controller does not take, and a path that is none", bookinfo, all(httpRoute("shop", notAllowed), routeOf("bookinfo.example.com", "", nginxSays)), noPage, trace.Unreachable, []string{"HT4002 error"}, nil},
		{"an HTTPRoute of the host that its Gateway does not take, and a path that is none", bookinfo, all(httpRoute("shop", notAllowed), routeOf("bookinfo.example.com", "")), noPage, trace.Unreachable, []string{"HT4002 error"}, nil},
		{"an HTTPRoute that is taken, with a parent left over, and a path that is none", bookinfo, all(httpRoute("shop", taken), routeOf("bookinfo.example.com", "old")), noPage, trace.Unreachable, []string{"HT4002 error"}, nil},
		{"an HTTPRoute that a Gateway of another controller does not take, and its host", bookinfo, all(httpRoute("shop", notAllowed), routeOf("shop.example.com", "", nginxSays)), shop, trace.Unreachable, []string{"HT4001 error"}, nil},
		{"an HTTPRoute of a Service, which is refused", bookinfo, all(httpRoute("shop", notAllowed), routeOf("shop.example.com", "", serviceSays)), shop, trace.Unreachable, []string{"HT4001 error"}, nil},
		{"an HTTPRoute that the Gateway of other proxies does not take", bookinfo, all(httpRoute("shop", notAllowed), proxiesOf("front")), shop, trace.Unreachable, []string{"HT4001 error"}, nil},
		{"an HTTPRoute that the Gateway of these proxies does not take", bookinfo, all(httpRoute("shop", notAllowed), proxiesOf("shop"), gatewayBeside, routeOf("shop.example.com", "", func(s map[string]any) { in(s, "parentRef")["namespace"] = "istio-system" })), shop, trace.Unreachable, []string{"HT4007 error"}, []string{"Gateway istio-system/shop does not take it"}},
		{"an HTTPRoute with a parent left over, at proxies of a Gateway", bookinfo, all(httpRoute("shop", nil), proxiesOf("front"), routeOf("shop.example.com", "old")), shop, trace.Unreachable, []string{"HT4001 error"}, nil},
		{"an HTTPRoute whose parent lacks the namespace, at the proxies of the Gateway that was meant", bookinfo, all(httpRoute("shop", nil), proxiesOf("shop"), gatewayBeside), shop, trace.Unreachable, []string{"HT4008 error"}, []string{"names Gateway bookinfo/shop in parentRefs", "is Gateway istio-system/shop meant?"}},
		{"a backend in a namespace without a ReferenceGrant", bookinfo, all(
			httpRoute("shop", map[string]any{"type": "ResolvedRefs", "status": "False", "reason": "RefNotPermitted", "message": "backendRef cart/default not accessible to a HTTPRoute in namespace \"bookinfo\" (missing a ReferenceGrant?)"}),
			answeredByTheRoute, without("virtualservices.networking.istio.io", "bookinfo"),
		), product, trace.Unreachable, []string{"HT4009 error"}, []string{"HTTPRoute bookinfo/shop says ResolvedRefs False: backendRef cart/default not accessible", "add a ReferenceGrant to namespace default with spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: bookinfo}]"}},
		{"a healthy HTTPRoute beside", bookinfo, httpRoute("shop", map[string]any{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "ok"}), product, trace.Reachable, nil, nil},

		// who may ask
		{"a DENY policy that means the path", bookinfo, guardDetails("DENY", "/details/"), details, trace.Unreachable, []string{"HT6002 error"}, []string{"take the request out of spec.rules[0] of AuthorizationPolicy bookinfo/guard, which denies it: kubectl -n bookinfo edit authorizationpolicies.security.istio.io guard"}},
		{"a DENY policy that means another path", bookinfo, guardDetails("DENY", "/detail/"), details, trace.Reachable, nil, nil},
		{"an ALLOW policy whose path has slipped", bookinfo, guardDetails("ALLOW", "/detail/"), details, trace.Unreachable, []string{"HT6002 error"}, []string{"wants path prefix /detail/", `paths: ["/details/0"]`}},
		{"an ALLOW policy that means the path", bookinfo, guardDetails("ALLOW", "/details/"), details, trace.Reachable, nil, nil},

		// policies of a masqueraded client
		{"a policy for other ports, and the CNI may see the client or the node", ingressLB, gatewayPolicy(map[string]any{"ports": []any{map[string]any{"port": 8443}}}), asked{url: "http://10.0.1.21:31080/getList", headers: []string{"Host: exam.com"}}, trace.Undetermined, []string{"HT0002 warning"}, []string{"which of the two the CNI plugin sees, Kubernetes leaves open"}},
		{"the same, masqueraded at another node", ingressLB, gatewayPolicy(map[string]any{"ports": []any{map[string]any{"port": 8443}}}), asked{url: "http://10.0.1.22:31080/getList", headers: []string{"Host: exam.com"}}, trace.Unreachable, []string{"HT6003 error"}, []string{"ingress: [{ports: [{port: 8080, protocol: TCP}]}]"}},
		{"a policy for the port of the Pod", ingressLB, gatewayPolicy(map[string]any{"ports": []any{map[string]any{"port": 8080}}}), getList, trace.Reachable, nil, nil},
		{"a policy for the Service's port, which the Pod never sees", ingressLB, gatewayPolicy(map[string]any{"ports": []any{map[string]any{"port": 80}}}), asked{url: "http://10.0.1.22:31080/getList", headers: []string{"Host: exam.com"}}, trace.Unreachable, []string{"HT6003 error"}, nil},
		{"a policy for the client's range, on the Pod's own node", ingressLB, gatewayPolicy(map[string]any{"from": []any{map[string]any{"ipBlock": map[string]any{"cidr": "198.51.100.0/24"}}}}), asked{url: "http://10.0.1.21:31080/getList", headers: []string{"Host: exam.com"}, source: "198.51.100.7"}, trace.Reachable, nil, nil},
		{"the same, from another range", ingressLB, gatewayPolicy(map[string]any{"from": []any{map[string]any{"ipBlock": map[string]any{"cidr": "198.51.100.0/24"}}}}), asked{url: "http://10.0.1.21:31080/getList", headers: []string{"Host: exam.com"}, source: "192.0.2.7"}, trace.Undetermined, []string{"HT0002 warning"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			world := unpack(t, c.world)
			c.change(t, world)
			r := traceFiles(t, world, c.ask.target(t))
			var got []string
			for _, f := range r.Findings {
				got = append(got, f.Code+" "+string(f.Severity))
			}
			for _, n := range r.Collected.NotRead {
				if strings.Contains(n.What, "gateway.networking") || strings.Contains(n.What, "deployments") {
					t.Errorf("%s is reported as not read", n.What)
				}
			}
			if r.Verdict != c.verdict || !slices.Equal(got, c.findings) {
				t.Errorf("%s %v\n%s", r.Verdict, got, outline(r))
				return
			}
			if len(r.Findings) == 0 {
				return
			}
			told := r.Findings[0].Detail + "\n" + strings.Join(r.Findings[0].Fix, "\n")
			for _, s := range c.says {
				if !strings.Contains(told, s) {
					t.Errorf("%q is not said:\n%s", s, told)
				}
			}
		})
	}
}

// outByEDS is the health that Istio gives a Pod that is not ready.
var outByEDS = map[string]any{"failed_eds_health": true, "eds_health_status": "UNHEALTHY"}

// healthOf gives a host of the gateway's clusters its health, in ingress-lb.
func healthOf(address string, health map[string]any) change {
	return func(t testing.TB, world files) {
		t.Helper()
		hit := false
		editDump(t, world, lbGateway+"clusters.json", func(o map[string]any) {
			if _, ok := o["health_status"]; ok && in(o, "address", "socket_address")["address"] == address {
				o["health_status"], hit = health, true
			}
		})
		if !hit {
			t.Fatalf("no host %s", address)
		}
	}
}

// waiting makes a Pod's first container wait for a reason, as one that never ran.
func waiting(pod, reason, message string) change {
	return all(unready(pod), item("pods", pod, func(o map[string]any) {
		s := in(o, "status")["containerStatuses"].([]any)[0].(map[string]any)
		s["ready"], s["restartCount"] = false, 0
		s["state"] = map[string]any{"waiting": map[string]any{"reason": reason, "message": message}}
	}))
}

// without takes an object out of its list.
func without(resource, name string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		file := "cluster/" + resource + ".json"
		var list map[string]any
		if err := json.Unmarshal(world[file], &list); err != nil {
			t.Fatal(err)
		}
		all := list["items"].([]any)
		list["items"] = slices.DeleteFunc(slices.Clone(all), func(o any) bool { return in(o.(map[string]any), "metadata")["name"] == name })
		if len(list["items"].([]any)) == len(all) {
			t.Fatalf("%s has no %s", file, name)
		}
		world[file] = encode(t, list)
	}
}

// withoutEndpoint takes an address out of the EndpointSlices and out of what the
// gateway of ingress-lb knows.
func withoutEndpoint(address string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		editDump(t, world, "cluster/endpointslices.discovery.k8s.io.json", func(o map[string]any) {
			if all, ok := o["endpoints"].([]any); ok {
				o["endpoints"] = slices.DeleteFunc(all, func(e any) bool { return slices.Contains(e.(map[string]any)["addresses"].([]any), any(address)) })
			}
		})
		editDump(t, world, lbGateway+"clusters.json", func(o map[string]any) {
			if all, ok := o["host_statuses"].([]any); ok {
				o["host_statuses"] = slices.DeleteFunc(all, func(h any) bool {
					return in(h.(map[string]any), "address", "socket_address")["address"] == address
				})
			}
		})
		editDump(t, world, lbGateway+"config_dump.json", func(o map[string]any) {
			if all, ok := o["lb_endpoints"].([]any); ok {
				o["lb_endpoints"] = slices.DeleteFunc(all, func(h any) bool {
					return in(h.(map[string]any), "endpoint", "address", "socket_address")["address"] == address
				})
			}
		})
	}
}

// unreadyEndpoint makes an endpoint one that its EndpointSlice holds as not ready.
func unreadyEndpoint(address string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		editDump(t, world, "cluster/endpointslices.discovery.k8s.io.json", func(o map[string]any) {
			if all, ok := o["addresses"].([]any); ok && slices.Contains(all, any(address)) {
				o["conditions"] = map[string]any{"ready": false, "serving": false, "terminating": false}
			}
		})
	}
}

// staleRefusal gives the nodes the rules that kube-proxy made while the gateway of
// ingress-lb had no endpoint.
func staleRefusal(t testing.TB, world files) {
	t.Helper()
	hit := 0
	for _, node := range []string{"k8s-worker-1", "k8s-worker-2"} {
		name := "nodes/" + node + "/iptables-save.txt"
		var lines []string
		for line := range strings.Lines(string(world[name])) {
			if strings.Contains(line, "istio-ingressgateway:http2") {
				hit++
				continue
			}
			lines = append(lines, line)
		}
		save := strings.Join(lines, "")
		filter := strings.Index(save, "*filter")
		end := filter + strings.Index(save[filter:], "COMMIT")
		world[name] = []byte(save[:end] + `-A KUBE-EXTERNAL-SERVICES -d 203.0.113.10/32 -p tcp -m comment --comment "istio-system/istio-ingressgateway:http2 has no endpoints" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable` + "\n" + save[end:])
	}
	if hit < 2 {
		t.Fatal("the nodes have no rules of the gateway")
	}
}

// withoutCluster takes a cluster out of a proxy.
func withoutCluster(proxy, name string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		hit := false
		editDump(t, world, proxy+"config_dump.json", func(o map[string]any) {
			if all, ok := o["dynamic_active_clusters"].([]any); ok {
				kept := slices.DeleteFunc(slices.Clone(all), func(c any) bool { return in(c.(map[string]any), "cluster")["name"] == name })
				o["dynamic_active_clusters"], hit = kept, hit || len(kept) < len(all)
			}
		})
		editDump(t, world, proxy+"clusters.json", func(o map[string]any) {
			if all, ok := o["cluster_statuses"].([]any); ok {
				o["cluster_statuses"] = slices.DeleteFunc(all, func(c any) bool { return c.(map[string]any)["name"] == name })
			}
		})
		if !hit {
			t.Fatalf("%s has no cluster %s", proxy, name)
		}
	}
}

// moreEndpoints adds an endpoint to the gateway's EndpointSlice in ingress-lb.
func moreEndpoints(t testing.TB, world files) {
	t.Helper()
	hit := false
	editDump(t, world, "cluster/endpointslices.discovery.k8s.io.json", func(o map[string]any) {
		if o["kind"] == "EndpointSlice" && in(o, "metadata", "labels")["kubernetes.io/service-name"] == "istio-ingressgateway" {
			o["endpoints"] = append(o["endpoints"].([]any), map[string]any{"addresses": []any{"10.244.2.77"}, "conditions": map[string]any{"ready": true, "serving": true, "terminating": false}})
			hit = true
		}
	})
	if !hit {
		t.Fatal("no EndpointSlice of the gateway")
	}
}

// scaleToZero takes the Pods of a Deployment away, and their endpoints.
func scaleToZero(deployment string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		item("deployments.apps", deployment, func(o map[string]any) {
			in(o, "spec")["replicas"], o["status"] = 0, map[string]any{}
		})(t, world)
		gone := func(name string) bool { return strings.HasPrefix(name, deployment+"-") }
		editDump(t, world, "cluster/pods.json", func(o map[string]any) {
			if all, ok := o["items"].([]any); ok {
				o["items"] = slices.DeleteFunc(all, func(p any) bool {
					name, _ := in(p.(map[string]any), "metadata")["name"].(string)
					return gone(name)
				})
			}
		})
		editDump(t, world, "cluster/endpointslices.discovery.k8s.io.json", func(o map[string]any) {
			if all, ok := o["endpoints"].([]any); ok {
				o["endpoints"] = slices.DeleteFunc(all, func(e any) bool {
					name, _ := in(e.(map[string]any), "targetRef")["name"].(string)
					return gone(name)
				})
			}
		})
	}
}

// certificate gives both gateways of bookinfo a /certs with one certificate for
// the Gateway's credential.
func certificate(dns, from, to string) change {
	name := ""
	if dns != "" {
		name = `{"dns": ` + dns + `}`
	}
	certs := `{"certificates": [{"cert_chain": [{"path": "kubernetes://bookinfo-credential", "serial_number": "1", "subject_alt_names": [` + name + `], "valid_from": "` + from + `", "expiration_time": "` + to + `"}]}]}`
	return func(_ testing.TB, world files) {
		for _, pod := range []string{"8c4vn", "j6lzq"} {
			world[strings.Replace(bookGateways, "*", pod, 1)+"certs.json"] = []byte(certs)
		}
	}
}

// secondCertificate adds one of another secret to what certificate gave.
func secondCertificate(path, to string) change {
	return text(bookGateways+"certs.json", `{"certificates": [`, `{"certificates": [{"cert_chain": [{"path": "`+path+`", "serial_number": "2", "subject_alt_names": [{"dns": "bookinfo.example.com"}], "valid_from": "2025-01-01T00:00:00Z", "expiration_time": "`+to+`"}]}, `)
}

// mutualGateway makes the TLS server of bookinfo's Gateway want a certificate of
// the client.
func mutualGateway(t testing.TB, world files) {
	t.Helper()
	item("gateways.networking.istio.io", "bookinfo-gateway", func(o map[string]any) {
		in(in(o, "spec")["servers"].([]any)[1].(map[string]any), "tls")["mode"] = "MUTUAL"
	})(t, world)
	hit := 0
	for _, pod := range []string{"8c4vn", "j6lzq"} {
		editDump(t, world, strings.Replace(bookGateways, "*", pod, 1)+"config_dump.json", func(o map[string]any) {
			if kind, _ := o["@type"].(string); strings.HasSuffix(kind, "DownstreamTlsContext") && strings.Contains(string(encode(t, o)), "bookinfo-credential") {
				o["require_client_certificate"] = true
				hit++
			}
		})
	}
	if hit != 2 {
		t.Fatalf("%d chains with the credential", hit)
	}
}

// plainDetails makes the sidecars of details take plain text only.
func plainDetails(t testing.TB, world files) {
	t.Helper()
	another("peerauthentications.security.istio.io", "default", func(o map[string]any) {
		in(o, "metadata")["name"], in(o, "metadata")["namespace"] = "details", "bookinfo"
		o["spec"] = map[string]any{"selector": map[string]any{"matchLabels": map[string]any{"app": "details"}}, "mtls": map[string]any{"mode": "DISABLE"}}
	})(t, world)
	for name := range world {
		if !strings.HasPrefix(name, "proxies/bookinfo/details-") || !strings.HasSuffix(name, "/config_dump.json") {
			continue
		}
		editDump(t, world, name, func(o map[string]any) {
			all, ok := o["filter_chains"].([]any)
			if !ok || o["name"] != "virtualInbound" {
				return
			}
			var seen []string
			o["filter_chains"] = slices.DeleteFunc(all, func(c any) bool {
				chain := c.(map[string]any)
				delete(in(chain, "filter_chain_match"), "transport_protocol")
				delete(in(chain, "filter_chain_match"), "application_protocols")
				delete(chain, "transport_socket")
				match := string(encode(t, chain["filter_chain_match"]))
				again := slices.Contains(seen, match)
				seen = append(seen, match)
				return again
			})
		})
	}
}

// tlsRule adds a DestinationRule that says how clients of details speak.
func tlsRule(mode string) change {
	return another("destinationrules.networking.istio.io", "reviews", func(o map[string]any) {
		in(o, "metadata")["name"] = "details"
		o["spec"] = map[string]any{"host": "details", "trafficPolicy": map[string]any{"tls": map[string]any{"mode": mode}}}
	})
}

// tlsOfPort adds settings of a port to the DestinationRule of tlsRule.
func tlsOfPort(port int, mode string) change {
	return item("destinationrules.networking.istio.io", "details", func(o map[string]any) {
		in(o, "spec", "trafficPolicy")["portLevelSettings"] = []any{map[string]any{"port": map[string]any{"number": port}, "tls": map[string]any{"mode": mode}}}
	})
}

// plainClient makes productpage's sidecar speak plain text to details.
func plainClient(t testing.TB, world files) {
	t.Helper()
	hit := false
	editDump(t, world, "proxies/bookinfo/productpage-v1-6c8d9f7b54-p2wqd/config_dump.json", func(o map[string]any) {
		if o["name"] == "outbound|9080||details.bookinfo.svc.cluster.local" && o["transport_socket_matches"] != nil {
			delete(o, "transport_socket_matches")
			hit = true
		}
	})
	if !hit {
		t.Fatal("the cluster of details chooses no transport socket")
	}
}

// leftOverFault makes the gateways of bookinfo abort half of the requests, as a
// VirtualService's fault does.
func leftOverFault(t testing.TB, world files) {
	t.Helper()
	hit := 0
	for _, pod := range []string{"8c4vn", "j6lzq"} {
		editDump(t, world, strings.Replace(bookGateways, "*", pod, 1)+"config_dump.json", func(o map[string]any) {
			if o["name"] == "app" && o["match"] != nil && o["route"] != nil {
				o["typed_per_filter_config"] = map[string]any{"envoy.filters.http.fault": map[string]any{
					"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
					"abort": map[string]any{"http_status": 503, "percentage": map[string]any{"numerator": 500000, "denominator": "MILLION"}},
				}}
				hit++
			}
		})
	}
	if hit == 0 {
		t.Fatal("no route app")
	}
}

// httpRoute adds a Gateway of the Gateway API, and an HTTPRoute for shop.example.com
// that names a parent, with a condition in its status.
func httpRoute(parent string, condition map[string]any) change {
	return func(t testing.TB, world files) {
		list := func(o map[string]any) []byte {
			return encode(t, map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{}, "items": []any{o}})
		}
		world["cluster/gateways.gateway.networking.k8s.io.json"] = list(map[string]any{
			"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": map[string]any{"name": "shop", "namespace": "bookinfo"},
			"spec": map[string]any{"gatewayClassName": "istio", "listeners": []any{map[string]any{"name": "http", "port": 80, "protocol": "HTTP"}}},
		})
		route := map[string]any{
			"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": map[string]any{"name": "shop", "namespace": "bookinfo"},
			"spec": map[string]any{
				"parentRefs": []any{map[string]any{"name": parent}}, "hostnames": []any{"shop.example.com"},
				"rules": []any{map[string]any{"backendRefs": []any{map[string]any{"name": "cart", "namespace": "default", "port": 80}}}},
			},
		}
		if condition != nil {
			route["status"] = map[string]any{"parents": []any{map[string]any{
				"controllerName": "istio.io/gateway-controller", "parentRef": map[string]any{"name": parent}, "conditions": []any{condition},
			}}}
		}
		world["cluster/httproutes.gateway.networking.k8s.io.json"] = list(route)
	}
}

// routeOf gives the HTTPRoute of httpRoute another host, a parent more that does not
// exist, and edits what its status says of the first one.
func routeOf(host, leftOver string, edits ...func(status map[string]any)) change {
	return item("httproutes.gateway.networking.k8s.io", "shop", func(o map[string]any) {
		spec := in(o, "spec")
		spec["hostnames"] = []any{host}
		if leftOver != "" {
			spec["parentRefs"] = append(spec["parentRefs"].([]any), map[string]any{"name": leftOver})
		}
		for _, edit := range edits {
			status := in(o, "status")["parents"].([]any)[0].(map[string]any)
			edit(status)
			spec["parentRefs"].([]any)[0] = status["parentRef"]
		}
	})
}

// proxiesOf labels the gateways of bookinfo as the proxies that Istio made for a
// Gateway of the Gateway API.
func proxiesOf(gateway string) change {
	var changes []change
	for _, pod := range []string{"8c4vn", "j6lzq"} {
		changes = append(changes, item("pods", "istio-ingressgateway-6d8b7c9f5-"+pod, func(o map[string]any) {
			in(o, "metadata", "labels")["gateway.networking.k8s.io/gateway-name"] = gateway
		}))
	}
	return all(changes...)
}

// gatewayBeside moves the Gateway of httpRoute to where the proxies are.
var gatewayBeside = item("gateways.gateway.networking.k8s.io", "shop", func(o map[string]any) { in(o, "metadata")["namespace"] = "istio-system" })

// answeredByTheRoute makes the route of bookinfo's gateways what Istio makes of an
// HTTPRoute whose backend it may not use: an answer of 500.
func answeredByTheRoute(t testing.TB, world files) {
	t.Helper()
	hit := 0
	for _, pod := range []string{"8c4vn", "j6lzq"} {
		editDump(t, world, strings.Replace(bookGateways, "*", pod, 1)+"config_dump.json", func(o map[string]any) {
			if o["name"] == "app" && o["match"] != nil && o["route"] != nil {
				delete(o, "route")
				o["direct_response"] = map[string]any{"status": 500}
				in(o, "metadata", "filter_metadata", "istio")["config"] = "/apis/networking.istio.io/v1/namespaces/bookinfo/virtual-service/shop-0-istio-autogenerated-k8s-gateway"
				hit++
			}
		})
	}
	if hit == 0 {
		t.Fatal("no route app")
	}
}

// guardDetails gives the Pods of details an AuthorizationPolicy for a prefix of
// paths, and their sidecars the filter that Istio makes of it.
func guardDetails(action, prefix string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		world["cluster/authorizationpolicies.security.istio.io.json"] = encode(t, map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{map[string]any{
			"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": map[string]any{"name": "guard", "namespace": "bookinfo"},
			"spec": map[string]any{
				"selector": map[string]any{"matchLabels": map[string]any{"app": "details"}}, "action": action,
				"rules": []any{map[string]any{"to": []any{map[string]any{"operation": map[string]any{"paths": []any{prefix + "*"}}}}}},
			},
		}}})
		rules := map[string]any{"policies": map[string]any{"ns[bookinfo]-policy[guard]-rule[0]": map[string]any{
			"permissions": []any{map[string]any{"url_path": map[string]any{"path": map[string]any{"prefix": prefix}}}},
			"principals":  []any{map[string]any{"any": true}},
		}}}
		if action != "ALLOW" {
			rules["action"] = action
		}
		hit := 0
		for name := range world {
			if !strings.HasPrefix(name, "proxies/bookinfo/details-") || !strings.HasSuffix(name, "/config_dump.json") {
				continue
			}
			editDump(t, world, name, func(o map[string]any) {
				filters, ok := o["http_filters"].([]any)
				if prefix, _ := o["stat_prefix"].(string); !ok || !strings.HasPrefix(prefix, "inbound") {
					return
				}
				router := slices.IndexFunc(filters, func(f any) bool { return f.(map[string]any)["name"] == "envoy.filters.http.router" })
				o["http_filters"] = slices.Insert(slices.Clone(filters), router, any(map[string]any{
					"name":         "envoy.filters.http.rbac",
					"typed_config": map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC", "rules": rules},
				}))
				hit++
			})
		}
		if hit == 0 {
			t.Fatal("no filters of details")
		}
	}
}

// gatewayPolicy adds a NetworkPolicy for the gateway of ingress-lb with one rule.
func gatewayPolicy(rule map[string]any) change {
	return networkPolicy("istio-system", map[string]any{
		"podSelector": map[string]any{"matchLabels": map[string]any{"istio": "ingressgateway"}}, "policyTypes": []any{"Ingress"}, "ingress": []any{rule},
	})
}
