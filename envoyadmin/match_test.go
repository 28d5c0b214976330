package envoyadmin

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
)

// httpDump is a dump with one listener on port 80 of the given chains, the
// clusters a, b and a route table r.
func httpDump(listener, table string) string {
	return `{"configs":[{"@type":"x/envoy.admin.v3.BootstrapConfigDump","bootstrap":{"node":{"id":"gw"}}},
	{"@type":"x/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":{"name":"l","address":{"socket_address":{"address":"0.0.0.0","port_value":80}},` + listener + `}}]},
	{"@type":"x/envoy.admin.v3.RoutesConfigDump","dynamic_route_configs":[{"route_config":` + table + `}]},
	{"@type":"x/envoy.admin.v3.ClustersConfigDump","static_clusters":[
	 {"cluster":{"name":"a","type":"STATIC","load_assignment":{"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"1.1.1.1","port_value":80}}}}]}]}}},
	 {"cluster":{"name":"b","type":"STATIC","load_assignment":{"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"2.2.2.2","port_value":80}}}}]}]}}}]},
	{"@type":"x/envoy.admin.v3.SecretsConfigDump","dynamic_active_secrets":[{"name":"there"}],"dynamic_warming_secrets":[{"name":"missing"}]}]}`
}

func hcm(fields string) string {
	if fields != "" {
		fields = "," + fields
	}
	return `{"name":"envoy.filters.network.http_connection_manager","typed_config":{"@type":"x/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","http_filters":[{"name":"envoy.filters.http.router","typed_config":{"@type":"x/envoy.extensions.filters.http.router.v3.Router"}}],"rds":{"route_config_name":"r"}` + fields + `}}`
}

func tlsSocket(secret string, require bool) string {
	r := "false"
	if require {
		r = "true"
	}
	return `"transport_socket":{"name":"tls","typed_config":{"@type":"x/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext","require_client_certificate":` + r + `,"common_tls_context":{"tls_certificate_sds_secret_configs":[{"name":"` + secret + `"}]}}}`
}

const (
	tableR    = `{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"name":"first","match":{"prefix":"/"},"route":{"cluster":"a"}}]}]}`
	inspector = `"listener_filters":[{"name":"envoy.filters.listener.tls_inspector","typed_config":{"@type":"x/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}],`
)

var at80 = netip.MustParseAddrPort("10.0.0.1:80")

func TestTheHandshakeDecidesBeforeAnyFilter(t *testing.T) {
	chain := func(socket, filter string) string {
		if socket != "" {
			socket += ","
		}
		return `"filter_chains":[{` + socket + `"filters":[` + filter + `]}]`
	}
	tcp := `{"name":"envoy.filters.network.tcp_proxy","typed_config":{"@type":"x/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","cluster":"a"}}`
	for _, tc := range []struct {
		name, listener string
		call           Call
		verdict        Verdict
		error, details string
	}{
		{"plaintext to a chain that terminates TLS", chain(tlsSocket("there", false), hcm("")), Call{}, Reject, TLSRequired, ""},
		{"TLS to it", inspector + chain(tlsSocket("there", false), hcm("")), Call{TLS: TLS}, Forward, "", "via_upstream"},
		{"TLS without a certificate where one is required", chain(tlsSocket("there", true), hcm("")), Call{TLS: TLS}, Reject, TLSRequired, ""},
		{"with one", chain(tlsSocket("there", true), hcm("")), Call{TLS: MTLS}, Forward, "", ""},
		{"a certificate nobody asked for", chain(tlsSocket("there", false), hcm("")), Call{TLS: MTLS}, Forward, "", ""},
		{"a certificate SDS has not supplied", chain(tlsSocket("missing", false), hcm("")), Call{TLS: TLS}, Reject, "", ""},
		{"TLS to a plaintext connection manager", chain("", hcm("")), Call{TLS: TLS}, Reject, "", "http1.codec_error"},
		{"TLS through a TCP proxy", chain("", tcp), Call{TLS: TLS, Protocol: TCP}, Forward, "", ""},
		{"what is not HTTP to a connection manager", chain("", hcm("")), Call{Protocol: TCP}, Reject, "", "http1.codec_error"},
		{"HTTP/2 to one of HTTP/1", chain("", hcm(`"codec_type":"HTTP1"`)), Call{Protocol: HTTP2}, Reject, "", "http1.codec_error"},
		{"an unknown transport socket", chain(`"transport_socket":{"name":"acme","typed_config":{"@type":"x/acme.Socket"}}`, hcm("")), Call{}, Undetermined, "", ""},
		{"a chain without filters", `"filter_chains":[{}]`, Call{}, Reject, NoFilters, ""},
		{"an unknown network filter", chain("", `{"name":"acme","typed_config":{"@type":"x/acme.Filter"}},`+hcm("")), Call{}, Undetermined, "", ""},
		{"a network filter that asks elsewhere", chain("", `{"name":"envoy.filters.network.ext_authz","typed_config":{"@type":"x/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"}},`+tcp), Call{Protocol: TCP}, Undetermined, "", ""},
	} {
		tc.call.Address = at80
		o := read(t, httpDump(tc.listener, tableR)).Match(tc.call).Outcomes[0]
		if o.Verdict != tc.verdict || o.Error != tc.error || tc.details != "via_upstream" && o.Details != tc.details {
			t.Errorf("%s: %s %q %q %v, want %s %q %q\n%+v", tc.name, o.Verdict, o.Error, o.Details, o.Reasons, tc.verdict, tc.error, tc.details, o.Steps)
		}
	}
}

func TestAClientAndAChainMayAgreeOnNoProtocol(t *testing.T) {
	socket := strings.Replace(tlsSocket("there", false), `"common_tls_context":{`, `"common_tls_context":{"alpn_protocols":["h2","http/1.1"],`, 1)
	d := read(t, httpDump(`"filter_chains":[{`+socket+`,"filters":[`+hcm("")+`]}]`, tableR))
	for alpn, want := range map[string]bool{"h2": false, "http/1.1": false, "istio-h2": false, "acme": true, "istio": true, "": false} {
		c := Call{Address: at80, TLS: TLS}
		if alpn != "" {
			c.ALPN = []string{alpn}
		}
		o := d.Match(c).Outcomes[0]
		i := slices.IndexFunc(o.Steps, func(s Step) bool { return s.Kind == KindFilterChain })
		if o.Verdict != Forward || strings.Contains(o.Steps[i].Why, "no application protocol") != want || !slices.Equal(o.Extra.ListenerALPN, []string{"h2", "http/1.1"}) {
			t.Errorf("%s: %s %s", alpn, o.Verdict, o.Steps[i].Why)
		}
	}
}

func TestTheInspectorsSetWhatTheChainsMatch(t *testing.T) {
	chains := `"filter_chains":[{"name":"tls","filter_chain_match":{"transport_protocol":"tls","server_names":["a.test"]},"filters":[` + hcm("") + `]},{"name":"h1","filter_chain_match":{"application_protocols":["http/1.1"]},"filters":[` + hcm("") + `]},{"name":"h2","filter_chain_match":{"application_protocols":["h2c"]},"filters":[` + hcm("") + `]}],"default_filter_chain":{"name":"rest","filters":[` + hcm("") + `]}`
	both := `"listener_filters":[{"name":"envoy.filters.listener.tls_inspector"},{"name":"envoy.filters.listener.http_inspector"}],`
	off := `"listener_filters":[{"name":"envoy.filters.listener.tls_inspector","filter_disabled":{"destination_port_range":{"start":80,"end":81}}},{"name":"envoy.filters.listener.http_inspector","filter_disabled":{"any_match":true}}],`
	for _, tc := range []struct {
		name, filters string
		call          Call
		want          string
	}{
		{"TLS with its server name", both, Call{TLS: TLS, SNI: "A.Test"}, "tls"},
		{"HTTP/1.1 in the clear", both, Call{}, "h1"},
		{"HTTP/2 in the clear", both, Call{Protocol: HTTP2}, "h2"},
		{"HTTP/1.0", both, Call{HTTPVersion: "1.0"}, "rest"},
		{"not HTTP", both, Call{Protocol: TCP}, "rest"},
		{"TLS without an inspector has no name", "", Call{TLS: TLS, SNI: "a.test"}, "rest"},
		{"an inspector that is off for the port", off, Call{TLS: TLS, SNI: "a.test"}, "rest"},
		{"HTTP with its inspector off", off, Call{}, "rest"},
		{"behind a PROXY header", `"listener_filters":[{"name":"envoy.filters.listener.proxy_protocol"},{"name":"envoy.filters.listener.http_inspector"}],`, Call{ProxyHeader: true}, "h1"},
	} {
		tc.call.Address = at80
		o := read(t, httpDump(tc.filters+chains, tableR)).Match(tc.call).Outcomes[0]
		if o.FilterChain != tc.want {
			t.Errorf("%s: chain %q, want %q", tc.name, o.FilterChain, tc.want)
		}
	}
}

func TestAListenerFilterThatMayRefuseLeavesItOpen(t *testing.T) {
	chain := `"filter_chains":[{"filters":[` + hcm("") + `]}]`
	for filter, want := range map[string]Verdict{
		`{"name":"envoy.filters.listener.proxy_protocol"}`: Undetermined,
		`{"name":"envoy.filters.listener.proxy_protocol","typed_config":{"@type":"x/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol","allow_requests_without_proxy_protocol":true}}`: Forward,
		`{"name":"acme","typed_config":{"@type":"x/acme.ListenerFilter"}}`: Undetermined,
		`{"name":"envoy.filters.listener.original_src"}`:                   Forward,
	} {
		o := read(t, httpDump(`"listener_filters":[`+filter+`],`+chain, tableR)).Match(Call{Address: at80}).Outcomes[0]
		if o.Verdict != want || o.Cluster != "a" || (want == Undetermined) != (len(o.Reasons) > 0) {
			t.Errorf("%s: %s %v, want %s", filter, o.Verdict, o.Reasons, want)
		}
	}
}

func TestAListenersRateLimitIsSaid(t *testing.T) {
	limit := `{"name":"rate","typed_config":{"@type":"x/envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit","token_bucket":{"max_tokens":3,"tokens_per_fill":2,"fill_interval":"5s"}}}`
	o := read(t, httpDump(`"listener_filters":[`+limit+`],"filter_chains":[{"filters":[`+hcm("")+`]}]`, tableR)).Match(Call{Address: at80}).Outcomes[0]
	if s := o.Steps[0]; o.Verdict != Forward || s.State != StateWarn || !strings.Contains(s.Why, "rate closes what goes beyond 3 connections at once, 2 more every 5s") {
		t.Errorf("%s %+v", o.Verdict, s)
	}
}

func TestSettingsNotKnownHereAreNamed(t *testing.T) {
	o := read(t, httpDump(`"brand_new":1,"filter_chains":[{"filters":[`+hcm(`"novel":{"a":2}`)+`]}]`, tableR)).Match(Call{Address: at80}).Outcomes[0]
	if o.Verdict != Forward || len(o.Reasons) != 2 || !strings.Contains(o.Reasons[0], "brand_new: 1") || !strings.Contains(o.Reasons[1], `novel: {"a":2}`) {
		t.Errorf("%s %q", o.Verdict, o.Reasons)
	}
	o = read(t, httpDump(`"filter_chains":[{"filter_chain_match":{"phase_of_moon":"new"},"filters":[`+hcm("")+`]}]`, tableR)).Match(Call{Address: at80}).Outcomes[0]
	if o.Verdict != Undetermined || !strings.Contains(o.Reasons[0], "phase_of_moon") {
		t.Errorf("%s %q", o.Verdict, o.Reasons)
	}
}

func TestAConnectionEndsWhereARequestWouldBegin(t *testing.T) {
	d := read(t, httpDump(`"filter_chains":[{"filters":[`+hcm("")+`]}]`, tableR))
	o := d.Match(Call{Address: at80, ConnectOnly: true}).Outcomes[0]
	if o.Verdict != Forward || o.Terminal != "http_connection_manager" || o.RouteConfig != "r" || len(o.Hosts) != 1 || !strings.HasPrefix(o.Hosts[0], "*: prefix /") {
		t.Errorf("%+v", o)
	}
	d = read(t, httpDump(inspector+`"filter_chains":[{"filter_chain_match":{"server_names":["a.test"]},`+tlsSocket("there", false)+`,"filters":[`+hcm("")+`]}]`, tableR))
	o = d.Match(Call{Address: at80, ConnectOnly: true}).Outcomes[0]
	if o.Verdict != Forward || o.Terminal != "tls" || !slices.Equal(o.Hosts, []string{"a.test"}) {
		t.Errorf("%+v", o)
	}
}

func TestWeightsMakeWaysThatAddUp(t *testing.T) {
	d := read(t, httpDump(`"filter_chains":[{"filters":[`+hcm("")+`]}]`, `{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"weighted_clusters":{"clusters":[{"name":"a","weight":90},{"name":"b","weight":9},{"name":"gone","weight":1}]}}}]}]}`))
	res := d.Match(Call{Address: at80})
	got := map[string]float64{}
	for _, o := range res.Outcomes {
		got[o.Cluster] = o.Probability
		if len(o.Weighted) != 3 {
			t.Errorf("weighted: %+v", o.Weighted)
		}
		if o.Cluster == "gone" && (o.Error != NoCluster || o.Flags != "NC" || o.Response.Status != 503 || o.Details != "cluster_not_found") {
			t.Errorf("gone: %+v", o)
		}
	}
	if math.Abs(got["a"]-0.9) > 1e-9 || math.Abs(got["b"]-0.09) > 1e-9 || math.Abs(got["gone"]-0.01) > 1e-9 {
		t.Errorf("%v", got)
	}
}

func TestPastARefusalTheRestIsShown(t *testing.T) {
	deny := `"http_filters":[{"name":"envoy.filters.http.rbac","typed_config":{"@type":"x/envoy.extensions.filters.http.rbac.v3.RBAC","rules":{"action":"ALLOW","policies":{"ns[foo]-policy[only-x]-rule[0]":{"permissions":[{"any":true}],"principals":[{"header":{"name":"x","exact_match":"1"}}]}}}}},{"name":"envoy.filters.http.router","typed_config":{"@type":"x/envoy.extensions.filters.http.router.v3.Router"}}]`
	manager := strings.Replace(hcm(""), `"http_filters":[{"name":"envoy.filters.http.router","typed_config":{"@type":"x/envoy.extensions.filters.http.router.v3.Router"}}]`, deny, 1)
	d := read(t, httpDump(`"filter_chains":[{"filters":[`+manager+`]}]`, tableR))
	o := d.Match(Call{Address: at80}).Outcomes[0]
	if o.Error != Denied || o.Response.Status != 403 || o.Cluster != "" || o.VirtualHost != "v" || o.Details != "rbac_access_denied_matched_policy[none]" {
		t.Errorf("%+v", o)
	}
	if !slices.Contains(o.Owner, "AuthorizationPolicy foo/only-x") {
		t.Errorf("owner %v", o.Owner)
	}
	if s := o.Steps[len(o.Steps)-1]; s.State != StateFail || s.Source != "configs[1].static_listeners[0].listener.filter_chains[0].filters[0].typed_config.http_filters[0]" || len(s.Object) == 0 {
		t.Errorf("%+v", s)
	}
	o = d.Match(Call{Address: at80, PastRefusals: true}).Outcomes[0]
	if o.Verdict != Reject || o.Error != Denied || o.Response.Status != 403 || o.Cluster != "a" || len(o.Endpoints) != 1 || o.Steps[len(o.Steps)-1].Kind != KindEndpoint {
		t.Errorf("%+v", o)
	}
	o = d.Match(Call{Address: at80, Headers: []Header{{"X", "1"}}}).Outcomes[0]
	if o.Verdict != Forward || o.Cluster != "a" {
		t.Errorf("allowed: %+v", o)
	}
}

func TestTheClientsAddressIsTakenFromXFFAsFarAsTrusted(t *testing.T) {
	for _, tc := range []struct {
		name, fields, xff, want string
	}{
		{"the connection's where it is used", `"use_remote_address":true`, "1.1.1.1", "10.9.9.9"},
		{"the last of the header where it is not", ``, "1.1.1.1, 2.2.2.2", "2.2.2.2"},
		{"the one before a trusted hop", `"xff_num_trusted_hops":1`, "1.1.1.1, 2.2.2.2", "1.1.1.1"},
		{"of one trusted hop in front", `"use_remote_address":true,"xff_num_trusted_hops":1`, "1.1.1.1, 2.2.2.2", "2.2.2.2"},
		{"the connection's without the header", ``, "", "10.9.9.9"},
		{"the connection's where the header is no address", ``, "nonsense", "10.9.9.9"},
	} {
		d := read(t, httpDump(`"filter_chains":[{"filters":[`+hcm(tc.fields)+`]}]`, tableR))
		r := &run{d: d, call: Call{Address: at80, Source: netip.MustParseAddrPort("10.9.9.9:1")}.filled()}
		r.entry = d.listeners[0]
		r.listen = d.parse(r.entry)
		r.conn = connection{dst: at80, src: r.call.Source}
		r.chain = r.listen.chains[0]
		if tc.xff != "" {
			r.call.Headers = []Header{{"X-Forwarded-For", tc.xff}}
		}
		req := r.request()
		r.remote(&way{run: r}, d.body(r.chain).hcm, req)
		if got := req.RemoteAddr().String(); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestTheScopeOfARequestChoosesItsTable(t *testing.T) {
	scoped := `{"name":"envoy.filters.network.http_connection_manager","typed_config":{"@type":"x/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","http_filters":[{"name":"envoy.filters.http.router"}],"scoped_routes":{"name":"s","scope_key_builder":{"fragments":[{"header_value_extractor":{"name":"X-Where","element_separator":";","element":{"separator":"=","key":"zone"}}}]},"scoped_route_configurations_list":{"scoped_route_configurations":[{"name":"one","route_configuration_name":"r","key":{"fragments":[{"string_key":"eu"}]}}]}}}}`
	d := read(t, httpDump(`"filter_chains":[{"filters":[`+scoped+`]}]`, tableR))
	o := d.Match(Call{Address: at80, Headers: []Header{{"x-where", "a=b;zone=eu"}}}).Outcomes[0]
	if o.Verdict != Forward || o.RouteConfig != "r" || o.Cluster != "a" {
		t.Errorf("%+v", o)
	}
	o = d.Match(Call{Address: at80, Headers: []Header{{"x-where", "zone=us"}}}).Outcomes[0]
	if o.Error != NoRouteConfig || o.Response.Status != 404 {
		t.Errorf("%+v", o)
	}
}

func TestAFilterChainMatcherIgnoresFilterChainMatches(t *testing.T) {
	m := `"filter_chain_matcher":{"matcher_tree":{"input":{"name":"port","typed_config":{"@type":"x/envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput"}},"exact_match_map":{"map":{"80":{"action":{"name":"one","typed_config":{"@type":"x/google.protobuf.StringValue","value":"one"}}}}}}},`
	chains := `"filter_chains":[{"name":"two","filters":[` + hcm("") + `]},{"name":"one","filter_chain_match":{"destination_port":9999},"filters":[` + hcm("") + `]}]`
	o := read(t, httpDump(m+chains, tableR)).Match(Call{Address: at80}).Outcomes[0]
	if o.FilterChain != "one" || o.Verdict != Forward {
		t.Errorf("%+v", o)
	}
	o = read(t, httpDump(strings.Replace(m, `"80"`, `"81"`, 1)+chains, tableR)).Match(Call{Address: at80}).Outcomes[0]
	if o.Error != NoFilterChain || o.Flags != "NR" {
		t.Errorf("%+v", o)
	}
}

func TestNearMissesNameTheOneReason(t *testing.T) {
	d := read(t, httpDump(inspector+`"filter_chains":[{"name":"x","filter_chain_match":{"server_names":["a.test"]},`+tlsSocket("there", false)+`,"filters":[`+hcm("")+`]}]`, tableR))
	o := d.Match(Call{Address: at80, TLS: TLS, SNI: "b.test"}).Outcomes[0]
	if o.Error != NoFilterChain || len(o.NearMisses) != 1 || o.NearMisses[0].Why != "server name is b.test, not a.test" {
		t.Errorf("%+v", o)
	}
	o = d.Match(Call{Address: netip.MustParseAddrPort("10.0.0.1:81")}).Outcomes[0]
	if o.Error != NoListener || len(o.NearMisses) == 0 || !strings.Contains(o.NearMisses[0].Why, "0.0.0.0:80") {
		t.Errorf("%+v", o)
	}
	d = read(t, strings.Replace(oneCluster(`{"cluster":{"name":"outbound|80|v2|x.y.svc"}},{"cluster":{"name":"outbound|81||x.y.svc"}}`, ""), `"cluster":"c"`, `"cluster":"outbound|80|v1|x.y.svc"`, 1))
	o = d.Match(Call{Address: at80, Protocol: TCP}).Outcomes[0]
	if o.Error != NoCluster || len(o.NearMisses) != 2 || o.NearMisses[0].Why != "has subset v2, not v1" {
		t.Errorf("%+v", o.NearMisses)
	}
}

func TestCallsMayBeEvaluatedAtOnce(t *testing.T) {
	inline := strings.Replace(hcm(""), `"rds":{"route_config_name":"r"}`, `"route_config":`+tableR, 1)
	d := read(t, httpDump(inspector+`"filter_chains":[{"filters":[`+inline+`]}]`, tableR))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, c := range []Call{{}, {Path: "/x", Protocol: HTTP2}, {ConnectOnly: true}} {
				c.Address = at80
				if o := d.Match(c).Outcomes[0]; o.Verdict != Forward || !c.ConnectOnly && !strings.HasSuffix(o.Steps[2].Source, "filters[0].typed_config.route_config.virtual_hosts[0].routes[0]") {
					t.Errorf("%+v", o)
				}
			}
		})
	}
	wg.Wait()
}

// captured is a sidecar's dump: virtualOutbound hands off to the listener of
// port 80, which is not bound.
func captured(outbound, inner string) string {
	return strings.Replace(httpDump(inner, tableR), `{"listener":{"name":"l","address"`,
		`{"listener":{"name":"virtualOutbound","traffic_direction":"OUTBOUND","use_original_dst":true,"address":{"socket_address":{"address":"0.0.0.0","port_value":15001}},`+outbound+`"filter_chains":[]}},{"listener":{"name":"l","bind_to_port":false,"address"`, 1)
}

func TestAHandedOffConnectionKeepsWhatTheFirstListenerFoundOut(t *testing.T) {
	byAddress := `"filter_chains":[{"name":"vip","filter_chain_match":{"prefix_ranges":[{"address_prefix":"10.96.0.1","prefix_len":32}]},"filters":[` + hcm("") + `]}]`
	call := Call{Address: at80, OriginalDst: netip.MustParseAddrPort("10.96.0.1:80"), Direction: Outbound, Source: netip.MustParseAddrPort("10.0.0.9:999")}
	if o := read(t, captured("", byAddress)).Match(call).Outcomes[0]; o.Listener != "l" || o.FilterChain != "vip" {
		t.Errorf("the original destination: listener %s, chain %q, %s", o.Listener, o.FilterChain, o.Error)
	}
	bySNI := `"filter_chains":[{"name":"sni","filter_chain_match":{"server_names":["a.example"]},"filters":[` + hcm("") + `]}]`
	call.TLS, call.SNI = TLS, "a.example"
	if o := read(t, captured(inspector, bySNI)).Match(call).Outcomes[0]; o.Listener != "l" || o.FilterChain != "sni" {
		t.Errorf("the server name: listener %s, chain %q, %s", o.Listener, o.FilterChain, o.Error)
	}
}

func TestAnUnknownClientLeavesChainsThatAskForItOpen(t *testing.T) {
	chain := func(name, match string) string {
		return `{"name":"` + name + `","filter_chain_match":{` + match + `},"filters":[` + hcm("") + `]}`
	}
	for _, tc := range []struct {
		name, chains, source, want string
		verdict                    Verdict
	}{
		{"a source range decides", chain("near", `"source_prefix_ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}]`) + "," + chain("any", ""), "", "", Undetermined},
		{"a source range decides between a chain and none", chain("near", `"source_prefix_ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}]`), "", "", Undetermined},
		{"the source type decides", chain("here", `"source_type":"SAME_IP_OR_LOOPBACK"`) + "," + chain("out", `"source_type":"EXTERNAL"`), "", "", Undetermined},
		{"the source port decides", chain("port", `"source_ports":[7]`) + "," + chain("any", ""), "10.0.0.9:0", "", Undetermined},
		{"every source is in the range", chain("all", `"source_prefix_ranges":[{"address_prefix":"0.0.0.0","prefix_len":0}]`), "", "all", Forward},
		{"another destination asks for it", chain("far", `"destination_port":81,"source_ports":[7]`) + "," + chain("any", ""), "", "any", Forward},
		{"it is given", chain("near", `"source_prefix_ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}]`) + "," + chain("any", ""), "10.0.0.9:999", "near", Forward},
	} {
		c := Call{Address: at80}
		if tc.source != "" {
			c.Source = netip.MustParseAddrPort(tc.source)
		}
		o := read(t, httpDump(`"filter_chains":[`+tc.chains+`]`, tableR)).Match(c).Outcomes[0]
		if o.Verdict != tc.verdict || o.FilterChain != tc.want {
			t.Errorf("%s: %s %q, want %s %q (%v)", tc.name, o.Verdict, o.FilterChain, tc.verdict, tc.want, o.Reasons)
		}
		if tc.verdict == Undetermined && (len(o.Reasons) == 0 || !strings.Contains(o.Reasons[0], "client's address")) {
			t.Errorf("%s: %v", tc.name, o.Reasons)
		}
	}
}

func TestTheMatchingPortIsThatOfTheConnection(t *testing.T) {
	d := read(t, strings.NewReplacer(`"port_value":80}},"filter_chains"`, `"port_value":15006}},"use_original_dst":true,"filter_chains"`, `"name":"l"`, `"name":"virtualInbound"`).Replace(
		httpDump(`"filter_chains":[{"filters":[`+hcm(`"strip_matching_host_port":true`)+`]}]`, tableR)))
	o := d.Match(Call{Address: netip.MustParseAddrPort("10.0.0.1:8080"), Direction: Inbound, Authority: "a.example:8080"}).Outcomes[0]
	if o.Request == nil || o.Request.Authority != "a.example" {
		t.Errorf("listener %s: %+v", o.Listener, o.Request)
	}
}

func TestTheOriginalDestinationTellsTheDirection(t *testing.T) {
	sidecar := strings.Replace(captured("", `"filter_chains":[{"name":"in","filters":[`+hcm("")+`]}]`), `{"listener":{"name":"l"`,
		`{"listener":{"name":"virtualInbound","use_original_dst":true,"address":{"socket_address":{"address":"0.0.0.0","port_value":15006}},"filter_chains":[{"name":"in","filters":[`+hcm("")+`]}]}},{"listener":{"name":"l"`, 1)
	d := read(t, strings.Replace(sidecar, `"id":"gw"`, `"id":"sidecar~10.0.0.1~app.ns~ns.svc.cluster.local"`, 1))
	for _, tc := range []struct{ name, address, original, want string }{
		{"the sidecar's own address", "10.0.0.1:8080", "", "virtualInbound"},
		{"captured on its way in, as the kernel shows it", "127.0.0.1:15006", "10.0.0.1:8080", "virtualInbound"},
		{"another address", "10.96.0.1:80", "", "l"},
		{"captured on its way out, as the kernel shows it", "10.0.0.1:15001", "10.96.0.1:80", "l"},
	} {
		c := Call{Address: netip.MustParseAddrPort(tc.address)}
		if tc.original != "" {
			c.OriginalDst = netip.MustParseAddrPort(tc.original)
		}
		if o := d.Match(c).Outcomes[0]; o.Listener != tc.want {
			t.Errorf("%s: listener %q, want %q (%+v)", tc.name, o.Listener, tc.want, o.Steps[0])
		}
	}
}

func TestAClusterHeaderThatIsAbsentNamesNoCluster(t *testing.T) {
	o := read(t, httpDump(`"filter_chains":[{"filters":[`+hcm("")+`]}]`, strings.Replace(tableR, `"cluster":"a"`, `"cluster_header":"x-c"`, 1))).Match(Call{Address: at80}).Outcomes[0]
	if o.Error != NoCluster || o.Flags != "NC" || len(o.NearMisses) != 0 {
		t.Errorf("%s %s: %+v", o.Error, o.Flags, o.NearMisses)
	}
}

func TestARejectedUpdateIsTold(t *testing.T) {
	bad := func(what string) string { return `"error_state":{"details":"` + what + ` is bad"}` }
	dump := httpDump(`"filter_chains":[{"filters":[`+hcm("")+`]}]`, tableR)
	dump = strings.NewReplacer(
		`"static_listeners":[{"listener":`, `"dynamic_listeners":[{"name":"l","warming_state":{"listener":{"name":"l"}},`+bad("listener")+`,"active_state":{"listener":`,
		`}}]},
	{"@type":"x/envoy.admin.v3.Routes`, `}}}]},
	{"@type":"x/envoy.admin.v3.Routes`,
		`[{"route_config":`, `[{`+bad("table")+`,"route_config":`,
		`{"cluster":{"name":"a"`, `{`+bad("cluster")+`,"cluster":{"name":"a"`).Replace(dump)
	o := read(t, dump).Match(Call{Address: at80}).Outcomes[0]
	if o.Verdict != Forward {
		t.Fatalf("%+v", o)
	}
	for kind, what := range map[string]string{KindListener: "listener", KindRoute: "table", KindCluster: "cluster"} {
		i := slices.IndexFunc(o.Steps, func(s Step) bool { return s.Kind == kind })
		if s := o.Steps[i]; s.State != StateWarn || !strings.Contains(s.Why, what+" is bad; the version before serves") {
			t.Errorf("%s: %s %s", kind, s.State, s.Why)
		}
	}
	if !strings.Contains(o.Steps[0].Why, "a warming version") {
		t.Errorf("%s", o.Steps[0].Why)
	}
}

func TestACertificateThatIsNotAskedForIsNotPresented(t *testing.T) {
	rbac := `"http_filters":[{"name":"rbac","typed_config":{"@type":"x/envoy.extensions.filters.http.rbac.v3.RBAC","rules":{"policies":{"p":{"permissions":[{"any":true}],"principals":[{"authenticated":{"principal_name":{"exact":"spiffe://a"}}}]}}}}},{"name":"router","typed_config":{"@type":"x/envoy.extensions.filters.http.router.v3.Router"}}]`
	filter := strings.Replace(hcm(""), `"http_filters":[{"name":"envoy.filters.http.router","typed_config":{"@type":"x/envoy.extensions.filters.http.router.v3.Router"}}]`, rbac, 1)
	for _, tc := range []struct {
		name, socket string
		want         Verdict
	}{
		{"required", tlsSocket("there", true), Forward},
		{"verified where there is one", strings.Replace(tlsSocket("there", false), `"common_tls_context":{`, `"common_tls_context":{"validation_context":{"trusted_ca":{"filename":"/ca"}},`, 1), Forward},
		{"not asked for", tlsSocket("there", false), Reject},
	} {
		d := read(t, httpDump(inspector+`"filter_chains":[{`+tc.socket+`,"filters":[`+filter+`]}]`, tableR))
		o := d.Match(Call{Address: at80, TLS: MTLS, SNI: "a", Peer: Peer{URISANs: []string{"spiffe://a"}}}).Outcomes[0]
		if o.Verdict != tc.want {
			t.Errorf("%s: %s %s %v\n%+v", tc.name, o.Verdict, o.Error, o.Reasons, o.Steps)
		}
	}
}

func TestAChainChosenByTheClientSaysSo(t *testing.T) {
	chain := func(name, match string) string {
		return `{"name":"` + name + `","filter_chain_match":{` + match + `},"filters":[` + hcm("") + `]}`
	}
	for match, want := range map[string]string{
		`"source_prefix_ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}]`:        "source address in 10.0.0.0/8",
		`"direct_source_prefix_ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}]`: "directly connected source address in 10.0.0.0/8",
		`"source_type":"EXTERNAL"`: "source type EXTERNAL",
	} {
		d := read(t, httpDump(`"filter_chains":[`+chain("some", match)+`,`+chain("any", "")+`]`, tableR))
		for _, from := range []string{"10.1.1.1:0", "10.1.1.1:4711"} { // without and with a port
			o := d.Match(Call{Address: at80, Source: netip.MustParseAddrPort(from)}).Outcomes[0]
			if o.FilterChain != "some" || !slices.ContainsFunc(o.Steps, func(s Step) bool { return s.Kind == KindFilterChain && strings.Contains(s.Why, want) }) {
				t.Errorf("%s from %s: %q %+v", match, from, o.FilterChain, o.Steps)
			}
		}
	}
}

func TestAListenerSaysHowItIsReached(t *testing.T) {
	l := httpDump(`"additional_addresses":[{"address":{"socket_address":{"address":"0.0.0.0","port_value":81}}}],"filter_chains":[{"filters":[`+hcm("")+`]}]`, tableR)
	for at, want := range map[string]string{"9.9.9.9:80": "bound to 0.0.0.0:80", "9.9.9.9:81": "bound to 0.0.0.0:81, one of its additional addresses"} {
		if o := read(t, l).Match(Call{Address: netip.MustParseAddrPort(at)}).Outcomes[0]; o.Steps[0].Why != want {
			t.Errorf("%s: %q, want %q", at, o.Steps[0].Why, want)
		}
	}
	for state, want := range map[string]string{"warming_state": "l is warming only: no listener serves 9.9.9.9:80 yet", "draining_state": "l is draining only: no listener serves 9.9.9.9:80 any more"} {
		d := read(t, `{"configs":[{"@type":"x/envoy.admin.v3.ListenersConfigDump","dynamic_listeners":[{"name":"l","`+state+`":{"listener":{"name":"l","address":{"socket_address":{"address":"0.0.0.0","port_value":80}},"filter_chains":[]}}}]}]}`)
		if o := d.Match(Call{Address: netip.MustParseAddrPort("9.9.9.9:80")}).Outcomes[0]; o.Error != NoListener || o.Steps[0].Why != want {
			t.Errorf("%s: %s %q, want %q", state, o.Error, o.Steps[0].Why, want)
		}
	}
}
