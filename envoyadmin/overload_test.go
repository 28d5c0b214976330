package envoyadmin

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// limited is a dump whose cluster c has these circuit breakers, reached through
// HTTP (routes /high and /) and through a TCP proxy on port 81.
func limited(breakers, more string) string {
	host := `{"endpoint":{"address":{"socket_address":{"address":"1.2.3.4","port_value":80}}}}`
	return `{"configs":[{"@type":"x/envoy.admin.v3.ListenersConfigDump","static_listeners":[
	{"listener":{"name":"h","address":{"socket_address":{"address":"0.0.0.0","port_value":80}},"filter_chains":[{"filters":[` +
		hcm(`"route_config":{"virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/high"},"route":{"cluster":"c","priority":"HIGH"}},{"match":{"prefix":"/none"},"route":{"cluster":"empty"}},{"match":{"prefix":"/"},"route":{"cluster":"c"}}]}]}`) + `]}]}},
	{"listener":{"name":"t","address":{"socket_address":{"address":"0.0.0.0","port_value":81}},"filter_chains":[{"filters":[{"name":"envoy.filters.network.tcp_proxy","typed_config":{"@type":"x/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","cluster":"c"}}]}]}},
	{"listener":{"name":"e","address":{"socket_address":{"address":"0.0.0.0","port_value":82}},"filter_chains":[{"filters":[{"name":"envoy.filters.network.tcp_proxy","typed_config":{"@type":"x/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","cluster":"empty"}}]}]}},
	{"listener":{"name":"u","address":{"socket_address":{"address":"0.0.0.0","port_value":83}},"filter_chains":[{"filters":[{"name":"envoy.filters.network.tcp_proxy","typed_config":{"@type":"x/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","cluster":"c","tunneling_config":{"hostname":"t:1"}}}]}]}}]},
	{"@type":"x/envoy.admin.v3.ClustersConfigDump","static_clusters":[
	{"cluster":{"name":"c","type":"STATIC","circuit_breakers":{"thresholds":[` + breakers + `]}` + prefixed(more) + `,"load_assignment":{"endpoints":[{"lb_endpoints":[` + host + `]}]}}},
	{"cluster":{"name":"empty","type":"STATIC","circuit_breakers":{"thresholds":[` + breakers + `]}}}]}]}`
}

func TestACircuitBreakerOfZeroRefusesWhereEnvoyWould(t *testing.T) {
	for _, tc := range []struct {
		name, breakers, more string
		port                 uint16
		path                 string
		flags, details       string
	}{
		{"no limits", ``, "", 80, "/", "", "via_upstream"},
		{"Envoy's defaults", `{}`, "", 80, "/", "", "via_upstream"},
		{"no requests", `{"max_requests":0}`, "", 80, "/", "UO", "upstream_reset_before_response_started{overflow}"},
		{"no pending requests", `{"max_pending_requests":0}`, "", 80, "/", "UO", "upstream_reset_before_response_started{overflow}"},
		{"no connections: one is opened all the same", `{"max_connections":0}`, "", 80, "/", "", "via_upstream"},
		{"no retries", `{"max_retries":0}`, "", 80, "/", "", "via_upstream"},
		{"no connection pools", `{"max_connection_pools":0}`, "", 80, "/", "UH", "no_healthy_upstream"},
		{"no pending requests, with connections made ahead", `{"max_pending_requests":0}`, `"preconnect_policy":{"predictive_preconnect_ratio":2}`, 80, "/", "", "via_upstream"},
		{"of another priority", `{"priority":"HIGH","max_requests":0}`, "", 80, "/", "", "via_upstream"},
		{"of the route's priority", `{"priority":"HIGH","max_requests":0}`, "", 80, "/high", "UO", "upstream_reset_before_response_started{overflow}"},
		{"of the default priority, for a route of high", `{"max_requests":0}`, "", 80, "/high", "", "via_upstream"},
		{"the first of two for one priority", `{"max_requests":5},{"max_requests":0}`, "", 80, "/", "", "via_upstream"},
		{"without a host, no host comes first", `{"max_requests":0}`, "", 80, "/none", "UH", "no_healthy_upstream"},
		{"per host", ``, `"circuit_breakers":{"per_host_thresholds":[{"max_connections":0}]}`, 80, "/", "", "via_upstream"},
		{"TCP without connections", `{"max_connections":0}`, "", 81, "", "UO", ""},
		{"TCP without connections nor a host", `{"max_connections":0}`, "", 82, "", "UO", ""},
		{"TCP without pending requests", `{"max_pending_requests":0}`, "", 81, "", "URX", ""},
		{"TCP without requests: they are not counted", `{"max_requests":0}`, "", 81, "", "", ""},
		{"TCP through an HTTP tunnel without requests", `{"max_requests":0}`, "", 83, "", "URX", ""},
	} {
		d := read(t, limited(tc.breakers, tc.more))
		call := Call{Address: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), tc.port), Path: tc.path}
		if tc.port != 80 {
			call.Protocol = TCP
		}
		res := d.Match(call)
		o := res.Outcomes[0]
		verdict := Reject
		if tc.flags == "" {
			verdict = Forward
			if o.Details == "" {
				o.Details = tc.details // of a forward, Envoy's detail is the upstream's matter
			}
		}
		if len(res.Outcomes) != 1 || o.Verdict != verdict || o.Flags != tc.flags || o.Details != tc.details {
			t.Errorf("%s: %s flags %q details %q, want %s %q %q: %+v", tc.name, o.Verdict, o.Flags, o.Details, verdict, tc.flags, tc.details, o.Steps)
		}
		if verdict == Reject && tc.port == 80 && (o.Response == nil || o.Response.Status != 503) {
			t.Errorf("%s: response %+v", tc.name, o.Response)
		}
		if tc.flags == "UO" && len(o.Endpoints) == 1 && o.Endpoints[0].Probability != 0 {
			t.Errorf("%s: an endpoint gets %g", tc.name, o.Endpoints[0].Probability)
		}
	}
}

func TestAnOpenCircuitBreakerIsToldFromFigures(t *testing.T) {
	for _, tc := range []struct{ name, breakers, clusters, stats, path, want string }{
		{"all requests in use", `{"max_requests":2}`, `"rq_active","value":"2"`, "", "/", "2 requests are active and the circuit breaker allows 2"},
		{"all connections in use", `{"max_connections":1}`, `"cx_active","value":"1"`, "", "/", "1 connections are open and the circuit breaker allows 1"},
		{"of another priority", `{"max_requests":2}`, `"rq_active","value":"2"`, "", "/high", ""},
		{"fewer", `{"max_requests":3}`, `"rq_active","value":"2"`, "", "/", ""},
		{"the gauge", ``, "", "cluster.c.circuit_breakers.default.rq_pending_open: 1", "/", "default.rq_pending_open is open"},
		{"the gauge of another priority", ``, "", "cluster.c.circuit_breakers.high.rq_open: 1", "/", ""},
		{"the gauge of the route's priority", ``, "", "cluster.c.circuit_breakers.high.rq_open: 1", "/high", "high.rq_open is open"},
		{"what was refused", ``, "", "cluster.c.upstream_rq_pending_overflow: 7", "/", "upstream_rq_pending_overflow was 7"},
	} {
		d := read(t, limited(tc.breakers, ""))
		if tc.clusters != "" {
			status := `{"cluster_statuses":[{"name":"c","host_statuses":[{"address":{"socket_address":{"address":"1.2.3.4","port_value":80}},"stats":[{"name":` + tc.clusters + `}],"health_status":{"eds_health_status":"HEALTHY"}}]}]}`
			if err := d.AddClusters("clusters", []byte(status)); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.AddStats("stats", []byte(tc.stats+"\n")); tc.stats != "" && err != nil {
			t.Fatal(err)
		}
		o := d.Match(Call{Address: netip.MustParseAddrPort("10.0.0.1:80"), Path: tc.path}).Outcomes[0]
		for _, s := range o.Steps {
			if s.Kind != KindCluster {
				continue
			}
			if warned := s.State == StateWarn; warned != (tc.want != "") || !strings.Contains(s.Why, tc.want) {
				t.Errorf("%s: %s %s", tc.name, s.State, s.Why)
			}
		}
		if o.Verdict != Forward {
			t.Errorf("%s: %s", tc.name, o.Verdict)
		}
	}
}

// zoned is a dump of a proxy in zone a whose cluster c has hosts in zones, as
// "zone healthy/all", and whose own cluster has proxies in zones.
func zoned(cluster, upstream, local string) string {
	group := func(spec string) string {
		var out []string
		n := 0
		for f := range strings.SplitSeq(spec, ",") {
			var zone string
			var up, all, priority int
			if _, err := fmt.Sscanf(strings.ReplaceAll(f, "/", " "), "%s %d %d %d", &zone, &up, &all, &priority); err != nil && all == 0 {
				panic(f)
			}
			var hosts []string
			for i := range all {
				n++
				health := "HEALTHY"
				if i >= up {
					health = "UNHEALTHY"
				}
				hosts = append(hosts, lbHost(fmt.Sprintf("%s%d", zone, i), health, 1+i, `"version":"v1"`))
			}
			out = append(out, fmt.Sprintf(`{"locality":{"region":"r","zone":%q},"priority":%d,"load_balancing_weight":1,"lb_endpoints":[%s]}`, zone, priority, strings.Join(hosts, ",")))
		}
		return strings.Join(out, ",")
	}
	dump := oneCluster(`{"cluster":{"name":"c","type":"EDS"`+prefixed(cluster)+`}},{"cluster":{"name":"me","type":"EDS"}}`, group(upstream))
	boot := `{"configs":[{"@type":"x/envoy.admin.v3.BootstrapConfigDump","bootstrap":{"node":{"locality":{"region":"r","zone":"a"}},"cluster_manager":{"local_cluster_name":"me"}}},`
	dump = strings.Replace(dump, `{"configs":[`, boot, 1)
	if local != "" {
		dump = strings.Replace(dump, `"dynamic_endpoint_configs":[`, `"dynamic_endpoint_configs":[{"endpoint_config":{"cluster_name":"me","endpoints":[`+group(local)+`]}},`, 1)
	}
	return dump
}

func TestHostsOfTheProxysOwnZoneArePreferredAsEnvoyDoes(t *testing.T) {
	typed := func(policy, config string) string {
		return fmt.Sprintf(`"load_balancing_policy":{"policies":[{"typed_extension_config":{"name":"x","typed_config":{"@type":"x/envoy.extensions.load_balancing_policies.%s"%s}}}]}`, policy, prefixed(config))
	}
	for _, tc := range []struct {
		name, cluster, upstream, local string
		want                           map[string]float64 // by zone
		said                           string
	}{
		{"as many hosts as proxies: all stays", ``, "a 3/3,b 3/3", "a 1/1,b 1/1", map[string]float64{"a": 1}, "all of it stays"},
		{"more hosts than proxies: all stays", ``, "a 4/4,b 2/2", "a 1/1,b 1/1", map[string]float64{"a": 1}, "all of it stays"},
		{"fewer hosts than proxies: half of it goes where there are more", ``, "a 2/2,b 6/6", "a 1/1,b 1/1", map[string]float64{"a": 0.5, "b": 0.5}, "50 % stays"},
		{"to those zones alone that have room", ``, "a 2/2,b 6/6,d 2/2", "a 2/2,b 2/2,d 1/1", map[string]float64{"a": 0.5, "b": 0.5}, "50 % stays"},
		{"no hosts in the own zone: to those with room", ``, "b 3/3,d 3/3", "a 1/1,b 1/1", map[string]float64{"d": 1}, "0 % stays"},
		{"the sick do not count", ``, "a 3/6,b 6/6", "a 1/1,b 1/1", map[string]float64{"a": 0.6666, "b": 0.3334}, "66.66 % stays"},
		{"a small cluster", ``, "a 2/2,b 3/3", "a 1/1,b 1/1", map[string]float64{"a": 0.3333, "b": 0.6667}, ""},
		{"a smaller one that is not too small", `"common_lb_config":{"zone_aware_lb_config":{"min_cluster_size":5}}`, "a 2/2,b 2/2,d 1/1", "a 1/1,b 1/1", map[string]float64{"a": 0.8, "d": 0.2}, "80 % stays"},
		{"half of the requests", `"common_lb_config":{"zone_aware_lb_config":{"routing_enabled":{"value":50}}}`, "a 3/3,b 3/3", "a 1/1,b 1/1", map[string]float64{"a": 0.75, "b": 0.25}, "all of it stays"},
		{"switched off", `"common_lb_config":{"zone_aware_lb_config":{"routing_enabled":{"value":0}}}`, "a 3/3,b 3/3", "a 1/1,b 1/1", map[string]float64{"a": 0.5, "b": 0.5}, ""},
		{"one zone", ``, "a 6/6", "a 1/1,b 1/1", map[string]float64{"a": 1}, ""},
		{"proxies in one zone", ``, "a 3/3,b 3/3", "a 2/2", map[string]float64{"a": 0.5, "b": 0.5}, ""},
		{"no proxy in the own zone", ``, "a 3/3,b 3/3", "d 1/1,b 1/1", map[string]float64{"a": 0.5, "b": 0.5}, ""},
		{"proxies in panic", ``, "a 3/3,b 3/3", "a 1/3,b 1/3", map[string]float64{"a": 0.5, "b": 0.5}, ""},
		{"the cluster in panic", ``, "a 0/3,b 2/9", "a 1/1,b 1/1", map[string]float64{"a": 6. / 51, "b": 45. / 51}, "panic"},
		{"weights of localities go first", `"common_lb_config":{"locality_weighted_lb_config":{}}`, "a 4/4,b 8/8", "a 1/1,b 1/1", map[string]float64{"a": 0.5, "b": 0.5}, ""},
		{"a ring does not look at zones", `"lb_policy":"RING_HASH"`, "a 3/3,b 3/3", "a 1/1,b 1/1", map[string]float64{"a": 0.5, "b": 0.5}, "RING_HASH"},
		{"a typed policy", typed("round_robin.v3.RoundRobin", ""), "a 3/3,b 3/3", "a 1/1,b 1/1", map[string]float64{"a": 1}, "all of it stays"},
		{"forced", typed("least_request.v3.LeastRequest", `"locality_lb_config":{"zone_aware_lb_config":{"force_local_zone":{"min_size":2}}}`), "a 2/2,b 6/6", "a 2/2", map[string]float64{"a": 1}, "all of it stays"},
		{"forced, with too few", typed("least_request.v3.LeastRequest", `"locality_lb_config":{"zone_aware_lb_config":{"force_local_zone":{"min_size":3}}}`), "a 2/2,b 6/6", "a 1/1,b 1/1", map[string]float64{"a": 0.5, "b": 0.5}, "50 % stays"},
		{"by the weight of the hosts", typed("random.v3.Random", `"locality_lb_config":{"zone_aware_lb_config":{"locality_basis":"HEALTHY_HOSTS_WEIGHT"}}`), "a 3/3,b 4/4", "a 1/1,b 1/1", map[string]float64{"a": 0.75, "b": 0.25}, "75 % stays"},
		{"wrr_locality", typed("wrr_locality.v3.WrrLocality", `"endpoint_picking_policy":{"policies":[{"typed_extension_config":{"name":"y","typed_config":{"@type":"x/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"}}}]}`), "a 2/2,b 6/6", "a 1/1,b 1/1", map[string]float64{"a": 0.5, "b": 0.5}, ""},
		{"in a subset", `"lb_subset_config":{"subset_selectors":[{"keys":["version"]}]}`, "a 3/3,b 3/3", "a 1/1,b 1/1", map[string]float64{"a": 1}, "all of it stays"},
	} {
		o := read(t, zoned(tc.cluster, tc.upstream, tc.local)).Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}).Outcomes[0]
		got := map[string]float64{}
		for _, e := range o.Endpoints {
			got[strings.TrimPrefix(e.Locality, "r/")] += e.Probability
		}
		same := o.Verdict == Forward
		for zone, p := range got {
			same = same && p-tc.want[zone] < 1e-3 && tc.want[zone]-p < 1e-3
		}
		if !same {
			t.Errorf("%s: %s %v, want %v: %v", tc.name, o.Verdict, got, tc.want, o.Reasons)
		}
		if why := o.Steps[len(o.Steps)-2].Why; !strings.Contains(why, tc.said) || tc.said == "" && strings.Contains(why, "zone-aware") {
			t.Errorf("%s: %s, want %q", tc.name, why, tc.said)
		}
	}
	o := read(t, zoned("", "a 3/3,b 3/3", "")).Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}).Outcomes[0]
	if o.Verdict != Forward || len(o.Reasons) != 1 || !strings.Contains(o.Reasons[0], "zone-aware routing may prefer hosts of the proxy's own locality r/a") {
		t.Errorf("hosts of the local cluster not known: %s %v", o.Verdict, o.Reasons)
	}
}
