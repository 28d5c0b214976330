package trace_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// object adds an object to a list of the cluster, and makes the list where there
// is none.
func object(resource, apiVersion, kind, namespace, name string, body map[string]any) change {
	return func(t testing.TB, world files) {
		t.Helper()
		file := "cluster/" + resource + ".json"
		list := map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{}}
		if data := world[file]; len(data) > 0 {
			if err := json.Unmarshal(data, &list); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
		o := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z", "uid": "u-" + namespace + "-" + name}}
		maps.Copy(o, body)
		items, _ := list["items"].([]any)
		list["items"] = append(items, o)
		world[file] = encode(t, list)
	}
}

type dict = map[string]any

const (
	istioNet = "networking.istio.io/v1"
	istioSec = "security.istio.io/v1"
)

// besides are changes that no request of the worlds meets.
var besides = []struct {
	name   string
	change change
}{
	{"Services that are broken", all(
		object("services", "v1", "Service", "elsewhere", "pending", dict{"spec": dict{"type": "LoadBalancer", "clusterIP": "10.111.1.1", "ports": []any{dict{"name": "http", "port": 80, "targetPort": 80, "nodePort": 32701}}, "selector": dict{"app": "nobody"}}, "status": dict{"loadBalancer": dict{}}}),
		object("services", "v1", "Service", "elsewhere", "named", dict{"spec": dict{"type": "ClusterIP", "clusterIP": "10.111.1.2", "ports": []any{dict{"name": "http", "port": 80, "targetPort": "nothing"}}, "selector": dict{"app": "nobody"}}}),
		object("services", "v1", "Service", "elsewhere", "outside", dict{"spec": dict{"type": "ExternalName", "externalName": "does.not.exist.example"}}),
		object("services", "v1", "Service", "elsewhere", "istio-ingressgateway", dict{"spec": dict{"type": "LoadBalancer", "clusterIP": "10.111.1.3", "loadBalancerSourceRanges": []any{"192.0.2.250/32"}, "ports": []any{dict{"name": "http2", "port": 80, "targetPort": 8080, "nodePort": 32702}}, "selector": dict{"istio": "ingressgateway"}}, "status": dict{"loadBalancer": dict{}}}),
	)},
	{"Gateways that are broken", all(
		object("gateways.networking.istio.io", istioNet, "Gateway", "elsewhere", "nobody", dict{"spec": dict{"selector": dict{"istio": "nobody"}, "servers": []any{dict{"port": dict{"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": []any{"*"}}}}}),
		object("gateways.networking.istio.io", istioNet, "Gateway", "elsewhere", "no-secret", dict{"spec": dict{"selector": dict{"istio": "ingressgateway"}, "servers": []any{dict{"port": dict{"number": 8999, "name": "https", "protocol": "HTTPS"}, "tls": dict{"mode": "SIMPLE", "credentialName": "missing"}, "hosts": []any{"other.example.org"}}}}}),
		object("gateways.networking.istio.io", istioNet, "Gateway", "elsewhere", "typed-in", dict{"spec": dict{"selector": dict{"istio": "ingressgateway"}, "servers": []any{dict{"port": dict{"number": 31373, "name": "http", "protocol": "HTTP"}, "hosts": []any{"other.example.org"}}}}}),
		object("gateways.networking.istio.io", istioNet, "Gateway", "elsewhere", "empty", dict{"spec": dict{}}),
	)},
	{"VirtualServices that are broken", all(
		object("virtualservices.networking.istio.io", istioNet, "VirtualService", "elsewhere", "no-gateway", dict{"spec": dict{"hosts": []any{"other.example.org"}, "gateways": []any{"missing"}, "http": []any{dict{"route": []any{dict{"destination": dict{"host": "nothing.elsewhere.svc.cluster.local", "subset": "none"}}}}}}}),
		object("virtualservices.networking.istio.io", istioNet, "VirtualService", "elsewhere", "no-subset", dict{"spec": dict{"hosts": []any{"other"}, "http": []any{dict{"fault": dict{"abort": dict{"httpStatus": 500, "percentage": dict{"value": 100}}}, "route": []any{dict{"destination": dict{"host": "other", "subset": "none"}}}}}}}),
		object("virtualservices.networking.istio.io", istioNet, "VirtualService", "elsewhere", "empty", dict{"spec": dict{}}),
	)},
	{"policies of other namespaces", all(
		object("networkpolicies.networking.k8s.io", "networking.k8s.io/v1", "NetworkPolicy", "elsewhere", "deny", dict{"spec": dict{"podSelector": dict{}, "policyTypes": []any{"Ingress", "Egress"}}}),
		object("authorizationpolicies.security.istio.io", istioSec, "AuthorizationPolicy", "elsewhere", "deny", dict{"spec": dict{}}),
		object("peerauthentications.security.istio.io", istioSec, "PeerAuthentication", "elsewhere", "strict", dict{"spec": dict{"mtls": dict{"mode": "STRICT"}}}),
		object("requestauthentications.security.istio.io", istioSec, "RequestAuthentication", "elsewhere", "jwt", dict{"spec": dict{"jwtRules": []any{dict{"issuer": "x"}}}}),
		object("sidecars.networking.istio.io", istioNet, "Sidecar", "elsewhere", "default", dict{"spec": dict{"egress": []any{dict{"hosts": []any{"./*"}}}, "outboundTrafficPolicy": dict{"mode": "REGISTRY_ONLY"}}}),
		object("envoyfilters.networking.istio.io", "networking.istio.io/v1alpha3", "EnvoyFilter", "elsewhere", "lua", dict{"spec": dict{"configPatches": []any{}}}),
	)},
	{"DestinationRules and ServiceEntries of other namespaces", all(
		object("destinationrules.networking.istio.io", istioNet, "DestinationRule", "elsewhere", "off", dict{"spec": dict{"host": "other.elsewhere.svc.cluster.local", "exportTo": []any{"."}, "trafficPolicy": dict{"tls": dict{"mode": "DISABLE"}, "connectionPool": dict{"tcp": dict{"maxConnections": 1}}}}}),
		object("serviceentries.networking.istio.io", istioNet, "ServiceEntry", "elsewhere", "other", dict{"spec": dict{"hosts": []any{"other.example.org"}, "exportTo": []any{"."}, "addresses": []any{"198.18.0.1"}, "ports": []any{dict{"number": 80, "name": "http", "protocol": "HTTP"}}, "resolution": "DNS"}}),
	)},
	{"a Pod that crashes", object("pods", "v1", "Pod", "elsewhere", "crash", dict{"metadata": dict{"name": "crash", "namespace": "elsewhere", "labels": dict{"app": "nobody-else"}}, "spec": dict{"nodeName": "n9", "containers": []any{dict{"name": "c", "image": "c"}}}, "status": dict{"phase": "Pending", "conditions": []any{dict{"type": "Ready", "status": "False"}}}})},
	{"counters of others, and lines that are none", eachProxy("stats.txt", strings.Join([]string{
		"cluster.outbound|1||nothing.elsewhere.svc.cluster.local;.upstream_cx_connect_fail: 18446744073709551615",
		"cluster.outbound|1||nothing.elsewhere.svc.cluster.local;.circuit_breakers.default.cx_open: 1",
		"cluster.outbound|1||nothing.elsewhere.svc.cluster.local;.outlier_detection.ejections_active: 7",
		"listener.0.0.0.0_1.no_filter_chain_match: 99", "http.outbound_0.0.0.0_1;.no_route: 5",
		"listener_manager.lds.update_success: 7", "cluster_manager.cds.update_attempt: 12", "listener_manager.lds.update_failure: 3",
		"cluster.xds-grpc.upstream_cx_connect_fail: 4", "cluster.BlackHoleCluster.upstream_cx_none_healthy: 4", "server.live: 1",
		"histogram: P0(nan,1) P25(nan,1.025)", "",
	}, "\n"))},
	{"log lines of other requests, that failed, and lines that are none", eachProxy("access.log", strings.Join([]string{
		`[2026-11-20T23:41:48.511Z] "GET /other/thing HTTP/1.1" 503 UF upstream_reset_before_response_started{connection_failure} - "-" 0 91 12 - "192.0.2.77" "curl/8.5.0" "6f553efe-4351-9180-b556-2e61cc88f2e0" "other.example.org" "10.9.9.9:80" outbound|80||nothing.elsewhere.svc.cluster.local - 10.9.9.1:8080 192.0.2.77:36975 - -`,
		`[2026-11-20T23:41:49.511Z] "- - -" 0 NR filter_chain_not_found - "-" 0 0 0 - "-" "-" "-" "-" "-" - - 10.9.9.1:8443 192.0.2.77:36976 other.example.org -`,
		`2026-11-20T23:41:50.000000Z	warning	envoy config	gRPC config for type.googleapis.com/envoy.config.listener.v3.Listener rejected`,
		"\x1b[2J", "", "{", "",
	}, "\n"))},
	{"an old request that failed the same way", eachProxyPrepend("access.log", `[2026-11-20T01:00:00.000Z] "GET /getList HTTP/1.1" 503 UC upstream_reset_before_response_started{connection_termination} - "-" 0 95 4100 - "10.244.1.1" "curl/8.5.0" "0b6c7f0e-91b8-4b5e-8f0c-3c6d9f0a7a13" "exam.com" "10.244.1.31:8080" outbound|8080||gone.default.svc.cluster.local 10.244.1.9:44310 10.244.1.9:8080 10.244.1.1:33411 - -`+"\n")},
	{"connections of others in the nodes' tables", eachNode("conntrack.txt", strings.Join([]string{
		"tcp      6 116 SYN_SENT src=192.0.2.99 dst=198.18.7.7 sport=40031 dport=80 [UNREPLIED] src=10.244.9.250 dst=10.244.1.1 sport=8080 dport=60117 mark=0 use=1",
		"tcp      6 431999 ESTABLISHED src=192.0.2.99 dst=198.18.7.7 sport=40032 dport=80 src=10.244.9.251 dst=10.244.1.1 sport=8080 dport=60118 [ASSURED] mark=0 use=1",
		"",
	}, "\n"))},
}

func eachProxy(file, content string) change { return eachUnder("proxies", file, content, false) }

func eachProxyPrepend(file, content string) change { return eachUnder("proxies", file, content, true) }

func eachNode(file, content string) change { return eachUnder("nodes", file, content, false) }

// eachUnder adds lines to a file of every proxy or node of the world.
func eachUnder(area, file, content string, first bool) change {
	return func(_ testing.TB, world files) {
		var dirs []string
		for name := range world {
			if dir := path.Dir(name); strings.HasPrefix(name, area+"/") && !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
		for _, dir := range dirs {
			name := dir + "/" + file
			if first {
				world[name] = append([]byte(content), world[name]...)
			} else {
				world[name] = append(slices.Clone(world[name]), content...)
			}
		}
	}
}

// TestWhatLiesBesideTheWayMovesNothing: all cases of all worlds keep their verdict and
// the codes they had while everything around them is broken.
func TestWhatLiesBesideTheWayMovesNothing(t *testing.T) {
	codes := func(r *trace.Report) string {
		var out []string
		for _, f := range r.Findings {
			out = append(out, fmt.Sprint(f.Code, " ", f.Severity))
		}
		return fmt.Sprint(r.Verdict, out)
	}
	for _, folder := range []string{"seed", "faults"} {
		for archive, cases := range worlds(t, folder) {
			t.Run(filepath.Base(archive), func(t *testing.T) {
				t.Parallel()
				world := unpack(t, archive)
				for _, b := range besides {
					b.change(t, world)
				}
				for _, c := range cases {
					was, is := codes(traceWorld(t, archive, c.target(t))), codes(traceFiles(t, world, c.target(t)))
					if was == is {
						continue
					}
					t.Errorf("%s: was %s, is %s", c.Name, was, is)
					for _, b := range besides { // which of them did it
						world := unpack(t, archive)
						b.change(t, world)
						if r := traceFiles(t, world, c.target(t)); codes(r) != was {
							t.Errorf("%s: %s\n%s", b.name, codes(r), outline(r))
						}
					}
				}
			})
		}
	}
}
