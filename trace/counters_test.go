package trace_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

const (
	httpGateway = "proxies/istio-system/istio-ingressgateway-576c469c96-spndl/"
	sleepProxy  = "proxies/default/sleep-7c7db887d8-9dnd7/"
	backend     = "outbound|8080||my-backend-service.default.svc.cluster.local"
	simpleHost  = "outbound|80||simple.simple.svc.cluster.local"
)

// statistics adds lines of /stats to a proxy.
func statistics(proxy string, lines ...string) change {
	return add(proxy+"stats.txt", strings.Join(lines, "\n")+"\n")
}

// hostCount sets counters of one host in a proxy's /clusters.
func hostCount(proxy, cluster, address string, counters map[string]int) change {
	return func(t testing.TB, world files) {
		t.Helper()
		hit := false
		editDump(t, world, proxy+"clusters.json", func(o map[string]any) {
			if o["name"] != cluster || o["host_statuses"] == nil {
				return
			}
			for _, h := range o["host_statuses"].([]any) {
				h := h.(map[string]any)
				socket := in(h, "address", "socket_address")
				if fmt.Sprintf("%v:%v", socket["address"], socket["port_value"]) != address {
					continue
				}
				for _, s := range h["stats"].([]any) {
					s := s.(map[string]any)
					if n, ok := counters[s["name"].(string)]; ok {
						s["value"] = fmt.Sprint(n)
						hit = true
					}
				}
			}
		})
		if !hit {
			t.Fatalf("%s has no counters of %s in %s", proxy, address, cluster)
		}
	}
}

// TestCountersConfirmWhatTheConfigurationSays: where a proxy or a rule counted
// the very failure, the finding says so and quotes it as observed.
func TestCountersConfirmWhatTheConfigurationSays(t *testing.T) {
	for _, c := range []struct {
		world, name string // of the case; "" for the first
		change      change
		quotes      string
	}{
		{"HT1004-source-ranges", "", nothing, "[1:60] -A KUBE-PROXY-FIREWALL"},
		{"HT1007-gateway-not-ready", "", nothing, "has no endpoints"},
		{"HT1008-named-targetport", "", nothing, "has no endpoints"},
		{"HT2001-no-local-endpoint", "", nothing, "[1:60] -A KUBE-EXTERNAL-SERVICES"},
		{"HT2005-own-lb-address", "", nothing, "[1:60] -A KUBE-EXTERNAL-SERVICES"},
		{"HT2007-host-firewall", "", nothing, "[3:180] -A CORP-BASELINE"},
		{"HT3003-wrong-sni", "", all(statistics("proxies/istio-system/istio-ingressgateway-6d8b7c9f5-8c4vn/", "listener.0.0.0.0_8443.no_filter_chain_match: 4"), statistics("proxies/istio-system/istio-ingressgateway-6d8b7c9f5-j6lzq/", "listener.0.0.0.0_8443.no_filter_chain_match: 4")), "no_filter_chain_match: 4"},
		{"HT3005-secret-wrong-namespace", "", statistics(lbGateway, "listener.0.0.0.0_8443.server_ssl_socket_factory.downstream_context_secrets_not_ready: 3"), "secrets_not_ready: 3"},
		{"HT3006-scheme-mismatch", "plaintext-to-443", statistics(lbGateway, "listener.0.0.0.0_8443.no_filter_chain_match: 2"), "no_filter_chain_match: 2"},
		{"HT3008-listener-rejected", "", statistics(lbGateway, "listener_manager.lds.update_rejected: 5"), "lds.update_rejected: 5"},
		{"HT4001-host-unknown", "", statistics(httpGateway, "http.outbound_0.0.0.0_8080;.no_route: 7"), "no_route: 7"},
		{"HT4002-header-missing", "", statistics(lbGateway, "http.outbound_0.0.0.0_8080;.no_route: 7"), "no_route: 7"},
		{"HT4007-article-typo", "", statistics(lbGateway, "http.outbound_0.0.0.0_8080;.no_route: 7"), "no_route: 7"},
		{"HT4005-redirect-loop", "", statistics(lbGateway, "http.outbound_0.0.0.0_8080;.rq_redirect: 40"), "rq_redirect: 40"},
		{"HT4009-direct-response", "", statistics(httpGateway, "http.outbound_0.0.0.0_8080;.rq_direct_response: 9"), "rq_direct_response: 9"},
		{"HT5001-host-typo", "", statistics(httpGateway, "http.outbound_0.0.0.0_8080;.no_cluster: 6"), "no_cluster: 6"},
		{"HT5002-selector", "", statistics(httpGateway, "cluster."+simpleHost+";.upstream_cx_none_healthy: 8"), "none_healthy: 8"},
		{"HT5003-all-ejected", "", statistics(lbGateway, "cluster."+backend+".outlier_detection.ejections_active: 2"), "ejections_active: 2"},
		{"HT5004-stale-endpoints", "", hostCount(lbGateway, backend, "10.244.1.31:8080", map[string]int{"cx_connect_fail": 12, "cx_total": 12}), `"value": "12"`},
		{"HT5005-overflow", "", statistics(lbGateway, "cluster."+backend+";.upstream_rq_pending_overflow: 11"), "pending_overflow: 11"},
		{"HT5006-timeout", "", statistics(lbGateway, "cluster."+backend+";.upstream_rq_timeout: 3"), "upstream_rq_timeout: 3"},
		{"HT5007-idle-keepalive", "", statistics(lbGateway, "cluster."+backend+";.upstream_cx_destroy_remote_with_active_rq: 2"), "with_active_rq: 2"},
		{"HT6001-mutual-without-sidecar", "", statistics(httpGateway, "cluster."+simpleHost+";.ssl.connection_error: 10"), "ssl.connection_error: 10"},
		{"HT6002-wrong-principal", "", statistics("proxies/bookinfo/productpage-v1-6c8d9f7b54-p2wqd/", "http.inbound_0.0.0.0_9080;.rbac.denied: 13"), "rbac.denied: 13"},
		{"HT6003-default-deny", "", hostCount(httpGateway, simpleHost, "10.10.1.13:80", map[string]int{"cx_connect_fail": 4, "cx_total": 4}), `"value": "4"`},
		{"HT6004-http-named-mysql", "", statistics(sleepProxy, "listener.0.0.0.0_3306.downstream_pre_cx_timeout: 2"), "pre_cx_timeout: 2"},
		{"HT6006-jwt", "malformed-token", statistics(lbGateway, "http.outbound_0.0.0.0_8080;.jwt_authn.denied: 5"), "jwt_authn.denied: 5"},
		{"HT7001-http-block-all", "", statistics(sleepProxy, "http.outbound_0.0.0.0_80;.rq_direct_response: 4"), "rq_direct_response: 4"},
		{"HT7005-not-originated", "", statistics(sleepProxy, "cluster.outbound|80||api.partner.example;.ssl.connection_error: 1"), "ssl.connection_error: 1"},
		{"HT8001-app-on-localhost", "", hostCount(httpGateway, simpleHost, "10.10.1.13:80", map[string]int{"cx_connect_fail": 6, "cx_total": 9}), `"value": "6"`},
		{"HT8002-crashloop", "", statistics(httpGateway, "cluster."+simpleHost+";.upstream_cx_none_healthy: 8"), "none_healthy: 8"},
	} {
		t.Run(c.world, func(t *testing.T) {
			t.Parallel()
			code, _, _ := strings.Cut(c.world, "-")
			cases := worlds(t, "faults")["../testdata/worlds/faults/"+c.world+".tar.gz"]
			i := slices.IndexFunc(cases, func(k worldCase) bool {
				return k.Expect.Code == code && (c.name == "" || c.name == k.Name)
			})
			world := unpack(t, faultWorld(c.world))
			c.change(t, world)
			r := traceFiles(t, world, cases[i].target(t))
			if len(r.Findings) == 0 || r.Findings[0].Code != code || !strings.Contains(r.Findings[0].Detail, "counted: ") {
				t.Fatalf("the top finding is not %s with what was counted\n%s", code, outline(r))
			}
			if !slices.ContainsFunc(evidenceOf(r, r.Findings[0]), func(e trace.Evidence) bool {
				return e.Basis == trace.Observed && strings.Contains(e.Excerpt, c.quotes)
			}) {
				t.Errorf("nothing observed quotes %q\n%s", c.quotes, outline(r))
			}
		})
	}
}

// evidenceOf is what a finding rests on.
func evidenceOf(r *trace.Report, f trace.Finding) []trace.Evidence {
	var out []trace.Evidence
	for _, h := range r.Hops {
		for _, e := range h.Evidence {
			if slices.Contains(f.Evidence, e.ID) {
				out = append(out, e)
			}
		}
	}
	return out
}

// TestACounterAloneIsToldAndIsNoFault: what was counted on a way that all else
// says is well stands on its hop; another listener's, route table's, cluster's or
// host's numbers are not told there.
func TestACounterAloneIsToldAndIsNoFault(t *testing.T) {
	asText := func(t testing.TB, world files) {
		world[lbGateway+"clusters.json"] = []byte(backend + "::10.244.1.31:8080::cx_connect_fail::3\n" + backend + "::10.244.1.31:8080::cx_total::12\n" + backend + "::10.244.1.31:8080::rq_success::70\n" +
			backend + "::10.244.1.31:8080::health_flags::healthy\n" + backend + "::10.244.2.32:8080::health_flags::healthy\n" + backend + "::10.244.2.32:8080::cx_connect_fail::0\n")
	}
	for _, c := range []struct {
		name   string
		change change
		kind   trace.HopKind
		says   string // of the check; "" where none is wanted
	}{
		{"some connections failed", hostCount(lbGateway, backend, "10.244.1.31:8080", map[string]int{"cx_connect_fail": 3, "cx_total": 12, "rq_success": 70}), trace.KindEndpoint, "connections to 10.244.1.31:8080 that failed: 3 of 12 (cx_connect_fail)"},
		{"some connections failed, /clusters as text", asText, trace.KindEndpoint, "connections to 10.244.1.31:8080 that failed: 3 of 12 (cx_connect_fail)"},
		{"all is zero", statistics(lbGateway, "cluster."+backend+";.upstream_cx_connect_fail: 0"), trace.KindCluster, ""},
		{"a cluster's connections failed", statistics(lbGateway, "cluster."+backend+";.upstream_cx_connect_fail: 2"), trace.KindCluster, "connections that failed: 2 (upstream_cx_connect_fail)"},
		{"the same as JSON", add(lbGateway+"stats.txt", `{"stats":[{"name":"cluster.`+backend+`;.upstream_cx_connect_fail","value":2}]}`), trace.KindCluster, "connections that failed: 2 (upstream_cx_connect_fail)"},
		{"another cluster's", statistics(lbGateway, "cluster.outbound|80||other.default.svc.cluster.local;.upstream_cx_connect_fail: 2"), trace.KindCluster, ""},
		{"the listener's", statistics(lbGateway, "listener.0.0.0.0_8080.no_filter_chain_match: 2"), trace.KindListener, "connections that no filter chain took: 2 (no_filter_chain_match)"},
		{"another listener's", statistics(lbGateway, "listener.0.0.0.0_8443.no_filter_chain_match: 2"), trace.KindListener, ""},
		{"the table's", statistics(lbGateway, "http.outbound_0.0.0.0_8080;.no_route: 2"), trace.KindRoute, "requests without a route: 2 (no_route)"},
		{"another table's", statistics(lbGateway, "http.outbound_0.0.0.0_8443;.no_route: 2"), trace.KindRoute, ""},
		{"a TLS handshake failed once", statistics(lbGateway, "cluster."+backend+";.ssl.fail_verify_san: 1"), trace.KindCluster, "certificates of the wrong name: 1 (ssl.fail_verify_san)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			world := unpack(t, ingressLB)
			c.change(t, world)
			r := traceFiles(t, world, getList.target(t))
			if r.Verdict != trace.Reachable || len(r.Findings) > 0 {
				t.Errorf("%s\n%s", r.Verdict, outline(r))
			}
			said := ""
			for _, h := range r.Hops {
				for _, k := range h.Checks {
					if k.Name == "counted" && h.Kind == c.kind {
						said = k.Value
						if !slices.ContainsFunc(h.Evidence, func(e trace.Evidence) bool { return e.Basis == trace.Observed && e.Command != "" }) {
							t.Errorf("nothing observed is quoted at %s", h.ID)
						}
					}
				}
			}
			if said != c.says {
				t.Errorf("the hop says %q, not %q", said, c.says)
			}
		})
	}
}

// TestObservationsThatContradictThePredictionAreHT9001: counters and the
// connection table as well as the log, and none of them without need.
func TestObservationsThatContradictThePredictionAreHT9001(t *testing.T) {
	dead := hostCount(lbGateway, backend, "10.244.1.31:8080", map[string]int{"cx_connect_fail": 12, "cx_total": 12})
	flow := func(reply, unreplied string) change {
		return add("nodes/k8s-worker-1/conntrack.txt", "tcp      6 431999 ESTABLISHED src=192.0.2.7 dst=203.0.113.10 sport=40031 dport=80 "+unreplied+"src="+reply+" dst=10.244.1.1 sport=8080 dport=60117 [ASSURED] mark=0 use=1\n")
	}
	for _, c := range []struct {
		name    string
		change  change
		ask     asked
		verdict trace.Verdict
		says    string // of HT9001; "" for none
		basis   string // a file it quotes
	}{
		{"no connection to an endpoint ever came about", dead, getList, trace.Degraded, "all of the 12 connections to 10.244.1.31:8080", lbGateway + "clusters.json"},
		{"one did", hostCount(lbGateway, backend, "10.244.1.31:8080", map[string]int{"cx_connect_fail": 12, "cx_total": 13}), getList, trace.Reachable, "", ""},
		{"one is open now", hostCount(lbGateway, backend, "10.244.1.31:8080", map[string]int{"cx_connect_fail": 12, "cx_total": 12, "cx_active": 1}), getList, trace.Reachable, "", ""},
		{"its log shows an answer", all(hostCount(lbGateway, backend, "10.244.1.31:8080", map[string]int{"cx_connect_fail": 12, "cx_total": 12}), text(lbGateway+"access.log", "10.244.2.32:8080", "10.244.1.31:8080")), getList, trace.Reachable, "", ""},
		{"a fault says why", all(dead, loopbackOnly.change), getList, trace.Unreachable, "", ""},
		{"answered connections go to another Pod", flow("10.244.1.31", ""), getList, trace.Reachable, "answered connections to 203.0.113.10:80 that go to 10.244.1.31:8080", "nodes/k8s-worker-1/conntrack.txt"},
		{"answered connections go where the rules send", flow("10.244.1.9", ""), getList, trace.Reachable, "", ""},
		{"unanswered connections to another Pod", flow("10.244.1.31", "[UNREPLIED] "), getList, trace.Reachable, "", ""},
		{"the only one that was tried failed", hostCount(lbGateway, backend, "10.244.1.31:8080", map[string]int{"cx_connect_fail": 1, "cx_total": 1}), getList, trace.Reachable, "", ""},
		{"it is not known how many were tried", hostCount(lbGateway, backend, "10.244.1.31:8080", map[string]int{"cx_connect_fail": 12, "cx_total": 0}), getList, trace.Reachable, "", ""},
		{"numbers that are none", all(dead, text(lbGateway+"clusters.json", `"value": "12"`, `"value": "1e30"`)), getList, trace.Reachable, "", ""},
		{"connections to another Pod that have ended", all(flow("10.244.1.31", ""), text("nodes/k8s-worker-1/conntrack.txt", "ESTABLISHED src=192.0.2.7", "TIME_WAIT src=192.0.2.7")), getList, trace.Reachable, "", ""},
		{"a Pod's own connections, which other rules send on", all(flow("10.244.1.31", ""), text("nodes/k8s-worker-1/conntrack.txt", "src=192.0.2.7", "src=10.244.2.32")), getList, trace.Reachable, "", ""},
		{"a node's own connections", all(flow("10.244.1.31", ""), text("nodes/k8s-worker-1/conntrack.txt", "src=192.0.2.7", "src=10.0.1.22")), getList, trace.Reachable, "", ""},
		{"a log line from before the Pods that are there began", all(
			text(lbGateway+"access.log", "10.244.2.32:8080", "10.244.9.9:8080"),
			item("pods", "my-backend-6c5d7f8b9d-kk4xw", func(o map[string]any) {
				in(o, "status")["startTime"] = "2026-11-20T17:50:00Z"
			}),
		), getList, trace.Reachable, "", ""},
		{"another client's connections", flow("10.244.1.31", ""), asked{url: "http://exam.com/getList", source: "192.0.2.8"}, trace.Reachable, "", ""},
		{"a log line from before the configuration changed", all(
			text(lbGateway+"access.log", "10.244.2.32:8080", "10.244.9.9:8080"),
			text(lbGateway+"access.log", "[2026-11-20T17:", "[2026-11-20T09:"),
		), getList, trace.Reachable, "", ""},
		{"the same line after it", text(lbGateway+"access.log", "10.244.2.32:8080", "10.244.9.9:8080"), getList, trace.Reachable, "endpoint 10.244.9.9:8080", lbGateway + "access.log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			world := unpack(t, ingressLB)
			c.change(t, world)
			r := traceFiles(t, world, c.ask.target(t))
			said, sources := "", []string{}
			for _, f := range r.Findings {
				if f.Code == "HT9001" {
					said = f.Detail
					if f.Severity != trace.SeverityWarning {
						t.Errorf("it is of severity %s", f.Severity)
					}
					for _, e := range evidenceOf(r, f) {
						if e.Basis == trace.Observed {
							sources = append(sources, e.Source)
						}
					}
				}
			}
			if r.Verdict != c.verdict || !strings.Contains(said, c.says) || (said == "") != (c.says == "") {
				t.Errorf("%s, HT9001 %q\n%s", r.Verdict, said, outline(r))
			}
			if c.basis != "" && !slices.Contains(sources, c.basis) {
				t.Errorf("it rests on %v", sources)
			}
		})
	}
}

func TestAnOpenCircuitBreakerIsAFaultAndOneThatWasOpenAWarning(t *testing.T) {
	for _, c := range []struct {
		name     string
		line     string
		verdict  trace.Verdict
		severity trace.Severity // "" for no HT5005
	}{
		{"open now", "circuit_breakers.default.rq_pending_open: 1", trace.Degraded, trace.SeverityError},
		{"was open", "upstream_rq_pending_overflow: 4", trace.Reachable, trace.SeverityWarning},
		{"never met", "circuit_breakers.default.rq_pending_open: 0", trace.Reachable, ""},
		{"retries only", "upstream_rq_retry_overflow: 4", trace.Reachable, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			world := unpack(t, ingressLB)
			statistics(lbGateway, "cluster."+backend+";."+c.line)(t, world)
			r := traceFiles(t, world, getList.target(t))
			var severity trace.Severity
			for _, f := range r.Findings {
				if f.Code == "HT5005" {
					severity = f.Severity
				}
			}
			if r.Verdict != c.verdict || severity != c.severity {
				t.Errorf("%s, HT5005 %q\n%s", r.Verdict, severity, outline(r))
			}
		})
	}
}

// TestWhereConnectionsReallyWentStandsOnTheNode: the connection table beside
// what the rules say.
func TestWhereConnectionsReallyWentStandsOnTheNode(t *testing.T) {
	r := traceWorld(t, faultWorld("HT2002-stale-conntrack"), asked{url: "http://192.168.170.137:31373/simple/httpserver", headers: []string{"Host: simple.baihl.io"}, source: "192.168.170.1"}.target(t))
	for _, h := range r.Hops {
		for _, k := range h.Checks {
			if h.Kind == trace.KindNode && k.Name == "connections seen" {
				if k.State != trace.Warn || k.Value != "1 to 10.10.1.4:8080, 1 of them answered; 2 to 10.10.1.99:8080, 0 of them answered" {
					data, _ := json.Marshal(k)
					t.Errorf("%s", data)
				}
				return
			}
		}
	}
	t.Errorf("no node says so\n%s", outline(r))
}
