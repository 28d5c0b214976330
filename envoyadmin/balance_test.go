package envoyadmin

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// oneCluster is a dump whose only listener proxies TCP to a cluster.
func oneCluster(cluster, endpoints string) string {
	dump := `{"configs":[{"@type":"x/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":{"name":"l","address":{"socket_address":{"address":"0.0.0.0","port_value":80}},
	"filter_chains":[{"filters":[{"name":"envoy.filters.network.tcp_proxy","typed_config":{"@type":"x/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","cluster":"c","metadata_match":{"filter_metadata":{"envoy.lb":{"version":"v1"}}}}}]}]}}]},
	{"@type":"x/envoy.admin.v3.ClustersConfigDump","static_clusters":[` + cluster + `]}`
	if endpoints != "" {
		dump += `,{"@type":"x/envoy.admin.v3.EndpointsConfigDump","dynamic_endpoint_configs":[{"endpoint_config":{"cluster_name":"c","endpoints":[` + endpoints + `]}}]}`
	}
	return dump + `]}`
}

func lbHost(ip, health string, weight int, meta string) string {
	return fmt.Sprintf(`{"endpoint":{"address":{"socket_address":{"address":%q,"port_value":80}}},"health_status":%q,"load_balancing_weight":%d,"metadata":{"filter_metadata":{"envoy.lb":{%s}}}}`, ip, health, weight, meta)
}

func shares(o Outcome) string {
	var out []string
	for _, e := range o.Endpoints {
		out = append(out, fmt.Sprintf("%s %.3g", strings.TrimSuffix(e.Address, ":80"), e.Probability))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func TestHostsShareTheLoadAsEnvoySpreadsIt(t *testing.T) {
	group := func(priority int, locality string, weight int, hosts ...string) string {
		return fmt.Sprintf(`{"locality":{"region":%q},"priority":%d,"load_balancing_weight":%d,"lb_endpoints":[%s]}`, locality, priority, weight, strings.Join(hosts, ","))
	}
	ok, bad := "HEALTHY", "UNHEALTHY"
	for _, tc := range []struct {
		name, cluster, endpoints string
		want                     string
		error                    string
	}{
		{"by weight", `"lb_policy":"ROUND_ROBIN"`, group(0, "", 0, lbHost("1", ok, 1, ""), lbHost("2", ok, 3, "")), "1 0.25, 2 0.75", ""},
		{"healthy ones only", ``, group(0, "", 0, lbHost("1", ok, 1, ""), lbHost("2", bad, 1, ""), lbHost("3", ok, 1, "")), "1 0.5, 2 0, 3 0.5", ""},
		{"all of them in panic", ``, group(0, "", 0, lbHost("1", ok, 1, ""), lbHost("2", bad, 1, ""), lbHost("3", bad, 1, "")), "1 0.333, 2 0.333, 3 0.333", ""},
		{"the healthy one where panic is off", `"common_lb_config":{"healthy_panic_threshold":{}}`, group(0, "", 0, lbHost("1", ok, 1, ""), lbHost("2", bad, 1, ""), lbHost("3", bad, 1, "")), "1 1, 2 0, 3 0", ""},
		{"none where panic is off and all are out", `"common_lb_config":{"healthy_panic_threshold":{"value":0}}`, group(0, "", 0, lbHost("1", bad, 1, "")), "1 0", NoEndpoint},
		{"draining ones leave the count", `"common_lb_config":{"healthy_panic_threshold":{}}`, group(0, "", 0, lbHost("1", ok, 1, ""), lbHost("2", "DRAINING", 1, "")), "1 1, 2 0", ""},
		{"the next priority when the first is short", ``, group(0, "", 0, lbHost("1", ok, 1, ""), lbHost("2", bad, 1, "")) + "," + group(1, "", 0, lbHost("3", ok, 1, "")), "1 0.7, 2 0, 3 0.3", ""},
		{"degraded ones get the rest", ``, group(0, "", 0, lbHost("1", ok, 1, ""), lbHost("2", "DEGRADED", 1, "")), "1 0.7, 2 0.3", ""},
		{"by locality", `"common_lb_config":{"locality_weighted_lb_config":{}}`, group(0, "a", 3, lbHost("1", ok, 1, ""), lbHost("2", ok, 1, "")) + "," + group(0, "b", 1, lbHost("3", ok, 1, "")), "1 0.375, 2 0.375, 3 0.25", ""},
		{"by locality, as far as its hosts are up", `"common_lb_config":{"locality_weighted_lb_config":{}}`, group(0, "a", 1, lbHost("1", ok, 1, ""), lbHost("2", bad, 1, "")) + "," + group(0, "b", 1, lbHost("3", ok, 1, "")), "1 0.412, 2 0, 3 0.588", ""},
		{"by locality, without more hosts than needed", `"common_lb_config":{"locality_weighted_lb_config":{}}`, overprovisioned(100, group(0, "a", 1, lbHost("1", ok, 1, ""), lbHost("2", bad, 1, ""))+","+group(0, "b", 1, lbHost("3", ok, 1, ""))), "1 0.333, 2 0, 3 0.667", ""},
		{"the next priority, without more hosts than needed", ``, overprovisioned(100, group(0, "", 0, lbHost("1", ok, 1, ""), lbHost("2", bad, 1, ""))+","+group(1, "", 0, lbHost("3", ok, 1, ""))), "1 0.5, 2 0, 3 0.5", ""},
		{"a priority by the weight of its hosts", ``, byWeight(group(0, "", 0, lbHost("1", ok, 1, ""), lbHost("2", bad, 6, "")) + "," + group(1, "", 0, lbHost("3", ok, 1, ""))), "1 0.2, 2 0, 3 0.8", ""},
		{"no host at all", ``, "", "", NoEndpoint},
		{"the subset of the criteria", `"lb_subset_config":{"subset_selectors":[{"keys":["version"]}]}`, group(0, "", 0, lbHost("1", ok, 1, `"version":"v1"`), lbHost("2", ok, 1, `"version":"v2"`)), "1 1", ""},
		{"no fallback from an empty subset", `"lb_subset_config":{"subset_selectors":[{"keys":["version"]}]}`, group(0, "", 0, lbHost("2", ok, 1, `"version":"v2"`)), "2 0", NoEndpoint},
		{"any endpoint as the fallback", `"lb_subset_config":{"fallback_policy":"ANY_ENDPOINT","subset_selectors":[{"keys":["version"]}]}`, group(0, "", 0, lbHost("2", ok, 1, `"version":"v2"`)), "2 1", ""},
		{"the default subset as the fallback", `"lb_subset_config":{"fallback_policy":"DEFAULT_SUBSET","default_subset":{"version":"v2"},"subset_selectors":[{"keys":["stage","version"]}]}`, group(0, "", 0, lbHost("2", ok, 1, `"version":"v2"`), lbHost("3", ok, 1, `"version":"v3"`)), "2 1", ""},
		{"the selector's own fallback", `"lb_subset_config":{"fallback_policy":"ANY_ENDPOINT","subset_selectors":[{"keys":["version"],"fallback_policy":"NO_FALLBACK"}]}`, group(0, "", 0, lbHost("2", ok, 1, `"version":"v2"`)), "2 0", NoEndpoint},
	} {
		cluster := `{"cluster":{"name":"c","type":"EDS"` + prefixed(tc.cluster) + `}}`
		endpoints := tc.endpoints
		policy := ""
		if before, after, ok := strings.Cut(endpoints, "\x00"); ok {
			policy, endpoints = before, after
		}
		dump := strings.Replace(oneCluster(cluster, endpoints), `"cluster_name":"c",`, `"cluster_name":"c",`+policy, 1)
		if endpoints == "" {
			dump = oneCluster(`{"cluster":{"name":"c","type":"STATIC"}}`, "")
		}
		o := read(t, dump).Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}).Outcomes[0]
		if got := shares(o); got != tc.want || o.Error != tc.error {
			t.Errorf("%s: %s (%s), want %s (%s)\n%+v", tc.name, got, o.Error, tc.want, tc.error, o.Steps)
		}
		if tc.error == NoEndpoint && o.Flags != "UH" {
			t.Errorf("%s: flags %s", tc.name, o.Flags)
		}
	}
}

// overprovisioned and byWeight put a policy in front of endpoints.
func overprovisioned(percent int, endpoints string) string {
	return fmt.Sprintf(`"policy":{"overprovisioning_factor":%d},`, percent) + "\x00" + endpoints
}

func byWeight(endpoints string) string {
	return `"policy":{"weighted_priority_health":true},` + "\x00" + endpoints
}

// staticCluster is a cluster with hosts of its own, in the order of their priorities.
func staticCluster(name, more string, priorities ...string) string {
	var groups []string
	for i, hosts := range priorities {
		groups = append(groups, fmt.Sprintf(`{"priority":%d,"lb_endpoints":[%s]}`, i, hosts))
	}
	return fmt.Sprintf(`{"cluster":{"name":%q,"type":"STATIC","load_assignment":{"endpoints":[%s]}%s}}`, name, strings.Join(groups, ","), prefixed(more))
}

func TestAnAggregateSpreadsOverTheClustersAndEachChoosesItself(t *testing.T) {
	const subsets = `"lb_subset_config":{"subset_selectors":[{"keys":["version"]}]}`
	ok := func(ip, version string) string { return lbHost(ip, "HEALTHY", 1, `"version":"`+version+`"`) }
	bad := func(ip, version string) string { return lbHost(ip, "UNHEALTHY", 1, `"version":"`+version+`"`) }
	for _, tc := range []struct {
		name, parts string
		want        []string // of each way: verdict, flags, probability, shares
	}{
		{"the first alone where it is up", staticCluster("a", "", ok("1", "v1")) + "," + staticCluster("b", "", ok("2", "v1")), []string{"forward  1: 1 1, 2 0"}},
		{"the second for what the first lacks", staticCluster("a", "", ok("1", "v1")+","+bad("2", "v1")) + "," + staticCluster("b", "", ok("3", "v1")), []string{"forward  1: 1 0.7, 2 0, 3 0.3"}},
		{"the subset of each", staticCluster("a", subsets, ok("1", "v1")+","+ok("2", "v2")) + "," + staticCluster("b", "", ok("3", "v1")), []string{"forward  1: 1 1, 3 0"}},
		{"no host of the subset where the load goes", staticCluster("a", subsets, ok("2", "v2")) + "," + staticCluster("b", subsets, ok("3", "v1")), []string{"reject UH 1: 2 0, 3 0"}},
		{"a part of the load without a subset", staticCluster("a", subsets, ok("1", "v2")+","+bad("2", "v2")) + "," + staticCluster("b", subsets, ok("3", "v1")), []string{"reject UH 0.7: 1 0, 2 0, 3 0", "forward  0.3: 1 0, 2 0, 3 1"}},
		{"priorities without hosts are left out", staticCluster("a", "", "", ok("1", "v1")) + "," + staticCluster("b", "", ok("2", "v1")), []string{"forward  1: 1 1, 2 0"}},
		{"a part whose circuit breaker lets nothing pass", staticCluster("a", `"circuit_breakers":{"thresholds":[{"max_pending_requests":0}]}`, ok("1", "v1")+","+bad("2", "v1")) + "," + staticCluster("b", "", ok("3", "v1")), []string{"reject URX 0.7: 1 0, 2 0, 3 0", "forward  0.3: 1 0, 2 0, 3 1"}},
		{"all in panic: each cluster's own hosts that are up", staticCluster("a", `"common_lb_config":{"healthy_panic_threshold":{}}`, bad("1", "v1")) + "," + staticCluster("b", "", bad("2", "v1")), []string{"reject UH 0.5: 1 0, 2 0", "forward  0.5: 1 0, 2 1"}},
		{"none has a host", staticCluster("a", "") + "," + staticCluster("b", ""), []string{"reject UH 1: "}},
		{"a part that is an aggregate itself", `{"cluster":{"name":"a","cluster_type":{"name":"envoy.clusters.aggregate","typed_config":{"@type":"x/envoy.extensions.clusters.aggregate.v3.ClusterConfig","clusters":["d"]}}}},` + staticCluster("b", "", ok("2", "v1")) + "," + staticCluster("d", "", ok("4", "v1")), []string{"forward  1: 2 1"}},
		{"a part of a type nobody knows", strings.Replace(staticCluster("a", "", ok("1", "v1")), "STATIC", "ACME", 1) + "," + staticCluster("b", "", ok("2", "v1")), []string{"undetermined  1: "}},
		{"a part whose hosts only /clusters tells", `{"cluster":{"name":"a","type":"ORIGINAL_DST","lb_policy":"CLUSTER_PROVIDED"}},` + staticCluster("b", "", ok("2", "v1")), []string{"undetermined  1: "}},
	} {
		aggregate := `{"cluster":{"name":"c","cluster_type":{"name":"envoy.clusters.aggregate","typed_config":{"@type":"x/envoy.extensions.clusters.aggregate.v3.ClusterConfig","clusters":["a","b"]}},"lb_policy":"CLUSTER_PROVIDED"}},`
		res := read(t, oneCluster(aggregate+tc.parts, "")).Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP})
		var got []string
		for _, o := range res.Outcomes {
			var list []string
			for _, e := range o.Endpoints {
				list = append(list, fmt.Sprintf("%s %.3g", strings.TrimSuffix(e.Address, ":80"), e.Probability))
			}
			got = append(got, fmt.Sprintf("%s %s %.3g: %s", o.Verdict, o.Flags, o.Probability, strings.Join(list, ", ")))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n got %q\nwant %q\n%+v", tc.name, got, tc.want, res.Outcomes[0].Steps)
		}
	}
}

func TestAPriorityThatFailsInPanicTakesItsPartAlong(t *testing.T) {
	cluster := `{"cluster":{"name":"c","type":"EDS","common_lb_config":{"zone_aware_lb_config":{"fail_traffic_on_panic":true}}}}`
	hosts := func(priority, up, all int) string {
		var list []string
		for i := range all {
			health := "HEALTHY"
			if i >= up {
				health = "UNHEALTHY"
			}
			list = append(list, lbHost(fmt.Sprintf("%d%d", priority, i), health, 1, ""))
		}
		return fmt.Sprintf(`{"priority":%d,"lb_endpoints":[%s]}`, priority, strings.Join(list, ","))
	}
	// availability 28 and 56 of 84: 34 % goes to a priority below its threshold
	res := read(t, oneCluster(cluster, hosts(0, 1, 5)+","+hosts(1, 2, 5))).Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP})
	if len(res.Outcomes) != 1 || res.Outcomes[0].Flags != "UH" {
		t.Errorf("both below: %+v", res.Outcomes)
	}
	res = read(t, oneCluster(cluster, hosts(0, 1, 10)+","+hosts(1, 5, 10))).Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP})
	if len(res.Outcomes) != 2 || res.Outcomes[0].Flags != "UH" || math.Abs(res.Outcomes[0].Probability-0.17) > 1e-9 || res.Outcomes[1].Verdict != Forward || math.Abs(res.Outcomes[1].Endpoints[10].Probability-0.2) > 1e-9 {
		t.Errorf("one below: %+v", res.Outcomes)
	}
}

func prefixed(s string) string {
	if s == "" {
		return ""
	}
	return "," + s
}

func TestWhatTheDumpDoesNotTellOfEndpointsIsUndetermined(t *testing.T) {
	call := Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}
	o := read(t, oneCluster(`{"cluster":{"name":"c","type":"EDS"}}`, "")).Match(call).Outcomes[0]
	if o.Verdict != Undetermined || o.Cluster != "c" || !strings.Contains(o.Reasons[0], "include_eds") {
		t.Errorf("without endpoints: %+v", o)
	}
	o = read(t, oneCluster(`{"cluster":{"name":"other","type":"EDS"}}`, "")).Match(call).Outcomes[0]
	if o.Error != NoCluster || o.Cluster != "c" || o.Flags != "NC" {
		t.Errorf("without the cluster: %+v", o)
	}
	o = read(t, oneCluster(`{"cluster":{"name":"c","cluster_type":{"name":"acme.cluster"}}}`, "")).Match(call).Outcomes[0]
	if o.Verdict != Undetermined || !strings.Contains(o.Reasons[0], "acme.cluster") {
		t.Errorf("unknown type: %+v", o)
	}
	o = read(t, oneCluster(strings.Replace(staticCluster("c", "", lbHost("1", "HEALTHY", 1, "")), "STATIC", "ACME", 1), "")).Match(call).Outcomes[0]
	if o.Verdict != Undetermined || !strings.Contains(reasons(&o), "type ACME is not known here") {
		t.Errorf("unknown type with hosts: %s %q", o.Verdict, o.Reasons)
	}
	o = read(t, oneCluster(staticCluster("c", `"lb_policy":"ACME"`, lbHost("1", "HEALTHY", 1, "")+","+lbHost("2", "HEALTHY", 1, "")), "")).Match(call).Outcomes[0]
	if o.Verdict != Forward || !strings.Contains(reasons(&o), `load balancing policy lb_policy: "ACME" is not known here: which host gets the request is not determined`) {
		t.Errorf("unknown policy: %s %q", o.Verdict, o.Reasons)
	}
}

func TestClustersOfOtherTypesFindTheirHosts(t *testing.T) {
	call := Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}
	for name, tc := range map[string]struct{ cluster, want string }{
		"original destination": {`{"cluster":{"name":"c","type":"ORIGINAL_DST"}}`, "9.9.9.9 1"},
		"with another port":    {`{"cluster":{"name":"c","type":"ORIGINAL_DST","original_dst_lb_config":{"upstream_port_override":8443}}}`, "9.9.9.9:8443 1"},
		"DNS":                  {`{"cluster":{"name":"c","type":"STRICT_DNS","load_assignment":{"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"db.example","port_value":80}}}}]}]}}}`, "db.example 1"},
		"aggregate":            {`{"cluster":{"name":"c","cluster_type":{"name":"envoy.clusters.aggregate","typed_config":{"@type":"x/envoy.extensions.clusters.aggregate.v3.ClusterConfig","clusters":["a","b"]}},"lb_policy":"CLUSTER_PROVIDED"}},{"cluster":{"name":"a","type":"STATIC","load_assignment":{"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"1","port_value":80}}},"health_status":"UNHEALTHY"}]}]}}},{"cluster":{"name":"b","type":"STATIC","load_assignment":{"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"2","port_value":80}}}}]}]}}}`, "1 0, 2 1"},
	} {
		dump := strings.Replace(oneCluster(tc.cluster, ""), `"filter_chains"`, `"use_original_dst":true,"filter_chains"`, 1)
		o := read(t, dump).Match(call).Outcomes[0]
		if got := shares(o); got != tc.want || o.Verdict != Forward {
			t.Errorf("%s: %s %s, want %s: %+v", name, o.Verdict, got, tc.want, o.Reasons)
		}
	}
}

func TestAListenerThatRestoresNoDestinationHasNoHostForOriginalDst(t *testing.T) {
	o := read(t, oneCluster(`{"cluster":{"name":"c","type":"ORIGINAL_DST"}}`, "")).Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}).Outcomes[0]
	if o.Verdict != Reject || o.Error != NoEndpoint || o.Flags != "UH" || len(o.Endpoints) != 0 {
		t.Errorf("%s %s %s: %+v", o.Verdict, o.Error, o.Flags, o.Endpoints)
	}
}

func TestWhetherConnectionsAreDroppedAsRequestsAreIsOpen(t *testing.T) {
	d := read(t, strings.Replace(oneCluster(`{"cluster":{"name":"c","type":"EDS"}}`, `{"lb_endpoints":[`+lbHost("1", "HEALTHY", 1, "")+`]}`), `"cluster_name":"c",`, `"cluster_name":"c","policy":{"drop_overloads":[{"category":"x","drop_percentage":{"numerator":25}}]},`, 1))
	res := d.Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP})
	if len(res.Outcomes) != 2 || res.Outcomes[0].Verdict != Undetermined || res.Outcomes[0].Flags != "" || math.Abs(res.Outcomes[0].Probability-0.25) > 1e-9 || res.Outcomes[1].Verdict != Forward || res.Outcomes[0].Response != nil {
		t.Errorf("%+v", res.Outcomes)
	}
}

func TestHostsThatOnlyClustersNamesHaveNoKnownMetadata(t *testing.T) {
	const sockets = `"transport_socket_matches":[{"name":"tlsMode-istio","match":{"tlsMode":"istio"},"transport_socket":{"name":"tls","typed_config":{"@type":"x/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}}},{"name":"tlsMode-disabled","match":{}}]`
	const status = `{"cluster_statuses":[{"name":"c","host_statuses":[{"address":{"socket_address":{"address":"1.2.3.4","port_value":80}},"health_status":{"eds_health_status":"HEALTHY"},"weight":1}]}]}`
	for _, tc := range []struct {
		name, cluster, endpoints string
		verdict                  Verdict
		known                    bool
	}{
		{"the transport socket", `"type":"EDS",` + sockets, "", Forward, false},
		{"the transport socket, with the endpoints", `"type":"EDS",` + sockets, `{"lb_endpoints":[` + lbHost("1.2.3.4", "HEALTHY", 1, "") + `]}`, Forward, true},
		{"the subset", `"type":"EDS","lb_subset_config":{"subset_selectors":[{"keys":["version"]}]}`, "", Undetermined, true},
		{"the subset, with the endpoints", `"type":"EDS","lb_subset_config":{"subset_selectors":[{"keys":["version"]}]}`, `{"lb_endpoints":[` + lbHost("1.2.3.4", "HEALTHY", 1, `"version":"v1"`) + `]}`, Forward, true},
		{"no subsets and no sockets", `"type":"EDS"`, "", Forward, true},
	} {
		d := read(t, oneCluster(`{"cluster":{"name":"c",`+tc.cluster+`}}`, tc.endpoints))
		if err := d.AddClusters("clusters", []byte(status)); err != nil {
			t.Fatal(err)
		}
		o := d.Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}).Outcomes[0]
		if o.Verdict != tc.verdict || len(o.Endpoints) != 1 || (o.Endpoints[0].MTLS != nil) != tc.known || (o.Extra.UpstreamMTLS != nil) != tc.known {
			t.Errorf("%s: %s %+v %v", tc.name, o.Verdict, o.Endpoints, o.Reasons)
		}
		if (!tc.known || tc.verdict == Undetermined) && (len(o.Reasons) == 0 || !strings.Contains(o.Reasons[0], "include_eds")) {
			t.Errorf("%s: %v", tc.name, o.Reasons)
		}
	}
}

func TestADynamicForwardProxyDialsTheHostOfTheRequest(t *testing.T) {
	const dfp = `"cluster_type":{"name":"envoy.clusters.dynamic_forward_proxy","typed_config":{"@type":"x/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"}},"lb_policy":"CLUSTER_PROVIDED"`
	const tls = `,"transport_socket":{"name":"tls","typed_config":{"@type":"x/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}}`
	for _, tc := range []struct{ name, cluster, authority, want string }{
		{"its port is 80 without TLS", dfp, "a.test", "a.test:80"},
		{"and 443 with it", dfp + tls, "a.test", "a.test:443"},
		{"or the request's", dfp, "a.test:8081", "a.test:8081"},
		{"an address", dfp, "10.1.2.3", "10.1.2.3:80"},
		{"an IPv6 address", dfp, "[fd00::1]:81", "[fd00::1]:81"},
	} {
		dump := strings.Replace(httpDump(`"filter_chains":[{"filters":[`+hcm("")+`]}]`, `{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"d"}}]}]}`),
			`"static_clusters":[`, `"static_clusters":[{"cluster":{"name":"d",`+tc.cluster+`}},`, 1)
		o := read(t, dump).Match(Call{Address: at80, Authority: tc.authority}).Outcomes[0]
		if o.Verdict != Forward || len(o.Endpoints) != 1 || o.Endpoints[0].Address != tc.want || o.Endpoints[0].Health != "unknown" {
			t.Errorf("%s: %s %+v %v, want %s", tc.name, o.Verdict, o.Endpoints, o.Reasons, tc.want)
		}
	}
}

func TestNamesAreShownAsClustersResolvedThem(t *testing.T) {
	for _, kind := range []string{"LOGICAL_DNS", "STRICT_DNS"} {
		d := read(t, oneCluster(`{"cluster":{"name":"c","type":"`+kind+`","load_assignment":{"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"db.example","port_value":80}}}}]}]}}}`, ""))
		call := Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}
		if o := d.Match(call).Outcomes[0]; shares(o) != "db.example 1" || o.Endpoints[0].Health != "unknown" {
			t.Errorf("%s: %s %+v", kind, shares(o), o.Endpoints)
		}
		d = read(t, oneCluster(`{"cluster":{"name":"c","type":"`+kind+`","load_assignment":{"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"db.example","port_value":80}}}}]}]}}}`, ""))
		if err := d.AddClusters("clusters", []byte(`{"cluster_statuses":[{"name":"c","host_statuses":[{"address":{"socket_address":{"address":"192.0.2.7","port_value":80}},"hostname":"db.example","health_status":{"eds_health_status":"HEALTHY"},"weight":1}]}]}`)); err != nil {
			t.Fatal(err)
		}
		if o := d.Match(call).Outcomes[0]; shares(o) != "192.0.2.7 1" || o.Endpoints[0].Health != "healthy" || o.Endpoints[0].Hostname != "db.example" {
			t.Errorf("%s with /clusters: %s %+v", kind, shares(o), o.Endpoints)
		}
	}
}

// TestWhyAHostIsOutIsSaidByItsFlags has each reason /clusters gives.
func TestWhyAHostIsOutIsSaidByItsFlags(t *testing.T) {
	for flags, want := range map[string]string{
		`"eds_health_status":"HEALTHY","failed_active_health_check":true`:                          "unhealthy failed_active_hc",
		`"eds_health_status":"HEALTHY","failed_outlier_check":true`:                                "unhealthy failed_outlier_check",
		`"eds_health_status":"UNHEALTHY"`:                                                          "unhealthy failed_eds_health",
		`"eds_health_status":"TIMEOUT"`:                                                            "unhealthy failed_eds_health",
		`"eds_health_status":"DRAINING"`:                                                           "unhealthy eds_status_draining",
		`"eds_health_status":"DEGRADED"`:                                                           "degraded degraded_eds_health",
		`"eds_health_status":"HEALTHY","failed_active_degraded_check":true`:                        "degraded degraded_active_hc",
		`"eds_health_status":"HEALTHY","failed_active_health_check":true,"pending_active_hc":true`: "unhealthy failed_active_hc",
		`"eds_health_status":"HEALTHY"`:                                                            "healthy ",
	} {
		d := read(t, oneCluster(`{"cluster":{"name":"c","type":"EDS","common_lb_config":{"healthy_panic_threshold":{}}}}`, ""))
		status := `{"cluster_statuses":[{"name":"c","host_statuses":[{"address":{"socket_address":{"address":"1.2.3.4","port_value":80}},"weight":1,"health_status":{` + flags + `}}]}]}`
		if err := d.AddClusters("clusters", []byte(status)); err != nil {
			t.Fatal(err)
		}
		o := d.Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}).Outcomes[0]
		if len(o.Endpoints) != 1 || o.Endpoints[0].Health+" "+o.Endpoints[0].Why != want {
			t.Errorf("%s: %+v, want %s", flags, o.Endpoints, want)
			continue
		}
		health, why, _ := strings.Cut(want, " ")
		missed := slices.ContainsFunc(o.NearMisses, func(m NearMiss) bool { return m.Kind == KindEndpoint && strings.Contains(m.Why, why) })
		if health == "unhealthy" && (o.Flags != "UH" || !missed) || health != "unhealthy" && o.Verdict != Forward {
			t.Errorf("%s: %s %s, near misses %v", flags, o.Verdict, o.Flags, o.NearMisses)
		}
	}
}

func TestSharesThatAreNotKnownAreNotShownAsFacts(t *testing.T) {
	two := `"load_assignment":{"endpoints":[{"lb_endpoints":[` + lbHost("1.1.1.1", "HEALTHY", 1, "") + `,` + lbHost("1.1.1.2", "HEALTHY", 1, "") + `]}]}`
	for policy, want := range map[string]State{"acme.Policy": StateWarn, "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin": StateOK} {
		o := read(t, oneCluster(`{"cluster":{"name":"c","type":"STATIC","load_balancing_policy":{"policies":[{"typed_extension_config":{"name":"x","typed_config":{"@type":"x/`+policy+`"}}}]},`+two+`}}`, "")).Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}).Outcomes[0]
		last := o.Steps[len(o.Steps)-1]
		if last.Kind != KindEndpoint || last.State != want || (want == StateWarn) != strings.Contains(last.Why, policy) {
			t.Errorf("%s: %s %s %q", policy, last.Kind, last.State, last.Why)
		}
	}
}

func TestAHostThatGetsNothingSaysWhy(t *testing.T) {
	locality := func(zone, more, ip string) string {
		return `{"locality":{"zone":"` + zone + `"},"lb_endpoints":[` + lbHost(ip, "HEALTHY", 1, "") + `]` + more + `}`
	}
	for want, groups := range map[string]string{
		"healthy; the weight of its locality is 0":                 locality("a", `,"load_balancing_weight":1`, "1.1.1.1") + "," + locality("b", "", "1.1.1.2"),
		"healthy; priority 1, and those before it take everything": locality("a", `,"load_balancing_weight":1`, "1.1.1.1") + "," + locality("b", `,"load_balancing_weight":1,"priority":1`, "1.1.1.2"),
	} {
		o := read(t, oneCluster(`{"cluster":{"name":"c","type":"STATIC","common_lb_config":{"locality_weighted_lb_config":{}},"load_assignment":{"endpoints":[`+groups+`]}}}`, "")).Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}).Outcomes[0]
		if !slices.ContainsFunc(o.NearMisses, func(m NearMiss) bool { return m.Kind == KindEndpoint && m.Why == want }) {
			t.Errorf("%v, want %q", o.NearMisses, want)
		}
	}
}

func TestTheHostChosenGivesItsNameToTheRequest(t *testing.T) {
	host := func(ip, name string) string {
		return `{"endpoint":{"hostname":"` + name + `","address":{"socket_address":{"address":"` + ip + `","port_value":80}}}}`
	}
	for _, tc := range []struct{ name, hosts, want, reason string }{
		{"one host", host("1.1.1.1", "one.test"), "one.test", ""},
		{"one name", host("1.1.1.1", "one.test") + "," + host("1.1.1.2", "one.test"), "one.test", ""},
		{"two names", host("1.1.1.1", "one.test") + "," + host("1.1.1.2", "two.test"), "a.test", "one.test or two.test"},
		{"no name", host("1.1.1.1", ""), "a.test", ""},
	} {
		dump := strings.Replace(httpDump(`"filter_chains":[{"filters":[`+hcm("")+`]}]`, `{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"d","auto_host_rewrite":true}}]}]}`),
			`"static_clusters":[`, `"static_clusters":[{"cluster":{"name":"d","type":"STATIC","load_assignment":{"endpoints":[{"lb_endpoints":[`+tc.hosts+`]}]}}},`, 1)
		o := read(t, dump).Match(Call{Address: at80, Authority: "a.test"}).Outcomes[0]
		if o.Request == nil || o.Request.Authority != tc.want || !strings.Contains(reasons(&o), tc.reason) || (tc.reason == "") != (len(o.Reasons) == 0) {
			t.Errorf("%s: %+v %q", tc.name, o.Request, o.Reasons)
		}
	}
}

// TestASubsetAndItsFallbacks has what a host and a route must say of themselves.
func TestASubsetAndItsFallbacks(t *testing.T) {
	const asked = `,"metadata_match":{"filter_metadata":{"envoy.lb":{"version":"v1"}}}`
	for _, tc := range []struct {
		name, config, meta string
		unasked            bool // the route has no metadata_match
		verdict            Verdict
		why                string
	}{
		{"in the subset", `"fallback_policy":"NO_FALLBACK"`, `"version":"v1"`, false, Forward, "subset {version=v1}"},
		{"not in it", `"fallback_policy":"NO_FALLBACK"`, `"version":"v2"`, false, Reject, "no host is in subset {version=v1}"},
		{"not in it, any endpoint", `"fallback_policy":"ANY_ENDPOINT"`, `"version":"v2"`, false, Forward, "any endpoint serves"},
		{"a route that asks for none", `"fallback_policy":"NO_FALLBACK"`, `"version":"v1"`, true, Reject, "the route asks for no subset"},
		{"a route that asks for none, any endpoint", `"fallback_policy":"ANY_ENDPOINT"`, `"version":"v1"`, true, Forward, "any endpoint serves"},
		{"a route that asks for none, a default", `"fallback_policy":"DEFAULT_SUBSET","default_subset":{"stage":"prod"}`, `"stage":"prod"`, true, Forward, "default subset {stage=prod} serves"},
		{"not in the default either", `"fallback_policy":"DEFAULT_SUBSET","default_subset":{"stage":"prod"}`, `"stage":"dev"`, false, Reject, "nor in the default subset"},
		{"panic_mode_any without a fallback that fails", `"fallback_policy":"NO_FALLBACK","panic_mode_any":true`, `"version":"v2"`, false, Reject, "no host is in subset {version=v1}"},
		{"panic_mode_any", `"fallback_policy":"DEFAULT_SUBSET","default_subset":{"stage":"prod"},"panic_mode_any":true`, `"version":"v2"`, false, Forward, "nor in the default subset {stage=prod}: panic_mode_any"},
		{"a list is one value", `"fallback_policy":"NO_FALLBACK"`, `"version":["v1","v2"]`, false, Reject, "no host is in subset"},
		{"list_as_any", `"fallback_policy":"NO_FALLBACK","list_as_any":true`, `"version":["v1","v2"]`, false, Forward, "subset {version=v1}"},
		{"list_as_any, another", `"fallback_policy":"NO_FALLBACK","list_as_any":true`, `"version":["v2","v3"]`, false, Reject, "no host is in subset"},
	} {
		dump := oneCluster(`{"cluster":{"name":"c","type":"STATIC","lb_subset_config":{`+tc.config+`,"subset_selectors":[{"keys":["version"]}]},"load_assignment":{"endpoints":[{"lb_endpoints":[`+lbHost("1.1.1.1", "HEALTHY", 1, tc.meta)+`]}]}}}`, "")
		if tc.unasked {
			dump = strings.Replace(dump, asked, "", 1)
		}
		o := read(t, dump).Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}).Outcomes[0]
		if o.Verdict != tc.verdict || (o.Flags == "UH") != (tc.verdict == Reject) || !slices.ContainsFunc(o.Steps, func(s Step) bool { return strings.Contains(s.Why, tc.why) }) {
			t.Errorf("%s: %s %s %+v", tc.name, o.Verdict, o.Flags, o.Steps)
		}
	}
}

func TestSubsetsAreTriedInTheOrderOfTheFallbacks(t *testing.T) {
	const panicOff = `"common_lb_config":{"healthy_panic_threshold":{}},`
	host := func(ip, health, meta string) string { return lbHost(ip, health, 1, meta) }
	v1 := host("1", "HEALTHY", `"version":"v1"`)
	v2 := host("2", "HEALTHY", `"version":"v2"`)
	v2Bad := host("2", "UNHEALTHY", `"version":"v2"`)
	prod := host("3", "HEALTHY", `"version":"v3","stage":"prod"`)
	keys := `"subset_selectors":[{"keys":["version"]},{"keys":["stage","version"]}]`
	list := func(config string) string { return `"metadata_fallback_policy":"FALLBACK_LIST",` + config + keys }
	for _, tc := range []struct {
		name, cluster, criteria, hosts string
		want, why                      string
	}{
		{"the first of a list", list(""), `"fallback_list":[{"version":"v1"},{"version":"v2"}]`, v1 + "," + v2, "1 1", "subset {version=v1}"},
		{"the second of it", list(""), `"fallback_list":[{"version":"v9"},{"version":"v2"}]`, v1 + "," + v2, "2 1", "no host is in subset {version=v9}; subset {version=v2}"},
		{"none of it", list(""), `"fallback_list":[{"version":"v8"},{"version":"v9"}]`, v1, "1 0 UH", "no host is in subset {version=v8}; no host is in subset {version=v9}"},
		{"the second where the first is down", list(""), `"fallback_list":[{"version":"v2"},{"version":"v1"}]`, v1 + "," + v2Bad, "1 1, 2 0", "subset {version=v2}; subset {version=v1}"},
		{"what is not in the list holds as well", list(""), `"stage":"prod","fallback_list":[{"version":"v1"},{"version":"v3"}]`, v1 + "," + prod, "3 1", "subset {stage=prod, version=v3}"},
		{"an empty list", list(""), `"version":"v1","fallback_list":[]`, v1 + "," + v2, "1 1", "subset {version=v1}"},
		{"a list where the policy is another", keys, `"fallback_list":[{"version":"v1"}]`, v1, "1 0 UH", "no subset selector has the keys fallback_list"},
		{"the fallback of an entry before the next", list(`"fallback_policy":"ANY_ENDPOINT",`), `"fallback_list":[{"version":"v9"},{"version":"v1"}]`, v1 + "," + v2, "1 0.5, 2 0.5", "no host is in subset {version=v9}: any endpoint serves"},
		{"a default subset that is down, panic_mode_any", `"fallback_policy":"DEFAULT_SUBSET","default_subset":{"version":"v2"},"panic_mode_any":true,` + keys, `"version":"v9"`, v1 + "," + v2Bad, "1 1, 2 0", "panic_mode_any"},
		{"the selector's default subset, whose panic is nothing", `"panic_mode_any":true,"default_subset":{"version":"v8"},"fallback_policy":"DEFAULT_SUBSET","subset_selectors":[{"keys":["version"],"fallback_policy":"DEFAULT_SUBSET"}]`, `"version":"v9"`, v1, "1 0 UH", "nor in the default subset {version=v8}"},
		{"fewer keys", `"subset_selectors":[{"keys":["version"]},{"keys":["stage","version"],"fallback_policy":"KEYS_SUBSET","fallback_keys_subset":["version"]}]`, `"version":"v1","stage":"prod"`, v1 + "," + v2, "1 1", "subset {version=v1}"},
		{"the one host of a subset, which is down", `"subset_selectors":[{"keys":["version"],"single_host_per_subset":true}]`, `"version":"v2"`, v1 + "," + v2Bad, "2 1", "subset {version=v2}"},
		{"one host of several", `"subset_selectors":[{"keys":["version"],"single_host_per_subset":true}]`, `"version":"v2"`, v2 + "," + host("4", "HEALTHY", `"version":"v2"`), "2 1, 4 0", "whichever Envoy lists first"},
	} {
		dump := oneCluster(`{"cluster":{"name":"c","type":"EDS",`+panicOff+`"lb_subset_config":{`+tc.cluster+`}}}`, `{"lb_endpoints":[`+tc.hosts+`]}`)
		dump = strings.Replace(dump, `"envoy.lb":{"version":"v1"}}}}}]`, `"envoy.lb":{`+tc.criteria+`}}}}}]`, 1)
		aggregate := strings.Replace(dump, `{"cluster":{"name":"c"`, `{"cluster":{"name":"c","cluster_type":{"name":"envoy.clusters.aggregate","typed_config":{"@type":"x/envoy.extensions.clusters.aggregate.v3.ClusterConfig","clusters":["part"]}}}},{"cluster":{"name":"part","eds_cluster_config":{"service_name":"c"}`, 1)
		for kind, dump := range map[string]string{"": dump, ", in an aggregate": aggregate} {
			outcomes := read(t, dump).Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}).Outcomes
			o := outcomes[0]
			got, want := strings.TrimSpace(shares(o)+" "+o.Flags), tc.want
			if kind != "" { // hosts of the subset alone are shown there, too, unless none is found
				got, want = strings.ReplaceAll(got, ", 2 0", ""), strings.ReplaceAll(want, ", 2 0", "")
			}
			said := fmt.Sprint(o.Reasons)
			for _, s := range o.Steps {
				said += s.Why
			}
			if got != want || len(outcomes) != 1 || kind == "" && !strings.Contains(said, tc.why) {
				t.Errorf("%s%s: %s, want %s (%s)\n%s", tc.name, kind, got, want, tc.why, said)
			}
		}
	}
}

func TestASubsetForgetsTheWeightsOfLocalities(t *testing.T) {
	group := func(locality string, weight int, hosts ...string) string {
		return fmt.Sprintf(`{"locality":{"region":%q},"load_balancing_weight":%d,"lb_endpoints":[%s]}`, locality, weight, strings.Join(hosts, ","))
	}
	host := func(ip, version string) string { return lbHost(ip, "HEALTHY", 1, `"version":"`+version+`"`) }
	endpoints := group("a", 30, host("1", "v1"), host("2", "v2"), host("3", "v2")) + "," + group("b", 10, host("4", "v1"))
	for config, want := range map[string]string{
		``:                              "1 0.5, 4 0.5",
		`,"locality_weight_aware":true`: "1 0.75, 4 0.25",
		`,"locality_weight_aware":true,"scale_locality_weight":true`: "1 0.5, 4 0.5", // a third of 30
	} {
		cluster := `{"cluster":{"name":"c","type":"EDS","common_lb_config":{"locality_weighted_lb_config":{}},"lb_subset_config":{"subset_selectors":[{"keys":["version"]}]` + config + `}}}`
		o := read(t, oneCluster(cluster, endpoints)).Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80"), Protocol: TCP}).Outcomes[0]
		if got := shares(o); got != want {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
	}
}

func TestADroppedRequestIsAnsweredByTheRouter(t *testing.T) {
	for percent, want := range map[string]string{"25": "DO drop_overload drop overload", "100": "UDO unconditional_drop_overload unconditional drop overload"} {
		dump := strings.Replace(httpDump(`"filter_chains":[{"filters":[`+hcm("")+`]}]`, tableR), `"load_assignment":{`, `"load_assignment":{"policy":{"drop_overloads":[{"category":"x","drop_percentage":{"numerator":`+percent+`}}]},`, 1)
		o := read(t, dump).Match(Call{Address: at80}).Outcomes[0]
		if share := map[string]float64{"25": 0.25, "100": 1}[percent]; o.Verdict != Reject || math.Abs(o.Probability-share) > 1e-9 {
			t.Errorf("%s %%: %s with %v", percent, o.Verdict, o.Probability)
		}
		if o.Response == nil || o.Response.Status != 503 || o.Flags+" "+o.Details+" "+o.Response.Body != want {
			t.Errorf("%s %%: %s %s %+v, want 503 %s", percent, o.Flags, o.Details, o.Response, want)
		}
	}
}
