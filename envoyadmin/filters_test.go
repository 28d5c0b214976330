package envoyadmin

import (
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/dynamic_modules/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/local_ratelimit/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_src/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/set_filter_state/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/direct_response/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/echo/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/geoip/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/reverse_tunnel/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_bandwidth_limit/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/zookeeper_proxy/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
)

// everyNetworkFilter lists the configuration type of each of Envoy's network
// filters and what becomes of a connection that passes an empty one of it on its
// way to a TCP proxy, or ends there.
var everyNetworkFilter = map[string]Verdict{
	"connection_limit.v3.ConnectionLimit":              Forward,
	"direct_response.v3.Config":                        DirectResponse,
	"dubbo_proxy.v3.DubboProxy":                        Undetermined,
	"dynamic_modules.v3.DynamicModuleNetworkFilter":    Undetermined,
	"echo.v3.Echo":                                     DirectResponse,
	"ext_authz.v3.ExtAuthz":                            Undetermined,
	"ext_proc.v3.NetworkExternalProcessor":             Undetermined,
	"generic_proxy.v3.GenericProxy":                    Undetermined,
	"geoip.v3.Geoip":                                   Forward,
	"http_connection_manager.v3.HttpConnectionManager": Reject, // what is not HTTP
	"local_ratelimit.v3.LocalRateLimit":                Forward,
	"mongo_proxy.v3.MongoProxy":                        Forward,
	"ratelimit.v3.RateLimit":                           Forward,
	"rbac.v3.RBAC":                                     Forward,
	"redis_proxy.v3.RedisProxy":                        Undetermined,
	"reverse_tunnel.v3.ReverseTunnel":                  Undetermined,
	"set_filter_state.v3.Config":                       Forward,
	"sni_cluster.v3.SniCluster":                        Forward,
	"sni_dynamic_forward_proxy.v3.FilterConfig":        Forward,
	"tcp_bandwidth_limit.v3.TcpBandwidthLimit":         Forward,
	"tcp_proxy.v3.TcpProxy":                            Undetermined, // names no cluster
	"thrift_proxy.v3.ThriftProxy":                      Undetermined,
	"wasm.v3.Wasm":                                     Undetermined,
	"zookeeper_proxy.v3.ZooKeeperProxy":                Forward,
}

// everyListenerFilter is the same of listener filters: whether the connection
// surely passes.
var everyListenerFilter = map[string]Verdict{
	"dynamic_modules.v3.DynamicModuleListenerFilter": Undetermined,
	"http_inspector.v3.HttpInspector":                Forward,
	"local_ratelimit.v3.LocalRateLimit":              Forward,
	"original_dst.v3.OriginalDst":                    Forward,
	"original_src.v3.OriginalSrc":                    Forward,
	"proxy_protocol.v3.ProxyProtocol":                Undetermined,
	"set_filter_state.v3.Config":                     Forward,
	"tls_inspector.v3.TlsInspector":                  Forward,
}

// known checks a list against the packages of go-control-plane.
func known(t *testing.T, kind string, list map[string]Verdict) {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/envoyproxy/go-control-plane/envoy").Output()
	if err != nil {
		t.Fatal("go list: ", err)
	}
	dirs, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "extensions", "filters", kind, "*", "v3"))
	if err != nil || len(dirs) == 0 {
		t.Fatal(kind, err)
	}
	var listed, have []string
	for _, dir := range dirs {
		listed = append(listed, filepath.Base(filepath.Dir(dir)))
	}
	for _, name := range slices.Sorted(maps.Keys(list)) {
		pkg, _, _ := strings.Cut(name, ".")
		have = append(have, pkg)
		if _, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("envoy.extensions.filters." + kind + "." + name)); err != nil {
			t.Error(name, err)
		}
	}
	slices.Sort(listed)
	if !slices.Equal(listed, have) {
		t.Errorf("%s filters of go-control-plane:\n%v, here:\n%v", kind, listed, have)
	}
}

const tcpProxy = `{"name":"tcp","typed_config":{"@type":"x/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","cluster":"a"}}`

func netFilter(kind, fields string) string {
	return `{"name":"f","typed_config":{"@type":"x/envoy.extensions.filters.network.` + kind + `"` + fields + `}}`
}

func decoded(t *testing.T, filter string) *listenerv3.Filter {
	t.Helper()
	f := &listenerv3.Filter{}
	if err := decode.JSON([]byte(filter), f); err != nil {
		t.Fatal(err)
	}
	return f
}

func tcpOutcome(t *testing.T, listener string) Outcome {
	t.Helper()
	return read(t, httpDump(listener, tableR)).Match(Call{Address: at80, Protocol: TCP}).Outcomes[0]
}

func TestEveryNetworkFilterOfEnvoyIsKnown(t *testing.T) {
	known(t, "network", everyNetworkFilter)
	d := &Dump{}
	for name, want := range everyNetworkFilter {
		filters := netFilter(name, "")
		if !d.ends(decoded(t, filters)) {
			filters += "," + tcpProxy
		}
		o := tcpOutcome(t, `"filter_chains":[{"filters":[`+filters+`]}]`)
		if o.Verdict != want || strings.Contains(reasons(&o), "is not known here: it may refuse") {
			t.Errorf("%s: %s %q, want %s", name, o.Verdict, o.Reasons, want)
		}
	}
}

func TestEveryListenerFilterOfEnvoyIsKnown(t *testing.T) {
	known(t, "listener", everyListenerFilter)
	for name, want := range everyListenerFilter {
		o := tcpOutcome(t, `"listener_filters":[{"name":"f","typed_config":{"@type":"x/envoy.extensions.filters.listener.`+name+`"}}],"filter_chains":[{"filters":[`+tcpProxy+`]}]`)
		if o.Verdict != want || strings.Contains(reasons(&o), "is not known here") {
			t.Errorf("%s: %s %q, want %s", name, o.Verdict, o.Reasons, want)
		}
	}
}

func TestNetworkFiltersSayWhatTheyMayRefuse(t *testing.T) {
	grpc := func(cluster string) string {
		return `"grpc_service":{"envoy_grpc":{"cluster_name":"` + cluster + `"}}`
	}
	anyone := `"policies":{"p":{"permissions":[{"any":true}],"principals":[{"any":true}]}}`
	for _, tc := range []struct {
		name, filters string
		verdict       Verdict
		state         State // of the filter's step; empty: it says nothing
		why           string
	}{
		{"ext_authz names whom it asks", netFilter("ext_authz.v3.ExtAuthz", ","+grpc("b")), Undetermined, StateUnknown, "cluster b"},
		{"ext_authz whose cluster does not exist", netFilter("ext_authz.v3.ExtAuthz", ","+grpc("gone")), Reject, StateFail, "gone, does not exist"},
		{"ext_authz whose cluster does not exist and which lets pass then", netFilter("ext_authz.v3.ExtAuthz", `,"failure_mode_allow":true,`+grpc("gone")), Forward, StateOK, "gone does not exist"},
		{"ext_authz in shadow mode", netFilter("ext_authz.v3.ExtAuthz", `,"shadow_mode":true,`+grpc("b")), Forward, StateOK, "refuses nothing"},
		{"ext_proc names whom it asks", netFilter("ext_proc.v3.NetworkExternalProcessor", ","+grpc("b")), Undetermined, StateUnknown, "cluster b"},
		{"ext_proc that is sent nothing", netFilter("ext_proc.v3.NetworkExternalProcessor", `,"processing_mode":{"process_read":"SKIP","process_write":"SKIP"},`+grpc("b")), Forward, "", ""},
		{"a rate limit", netFilter("ratelimit.v3.RateLimit", `,"domain":"d","rate_limit_service":{`+grpc("b")+`}`), Forward, StateWarn, "domain d"},
		{"a rate limit that cannot be asked and denies", netFilter("ratelimit.v3.RateLimit", `,"failure_mode_deny":true,"rate_limit_service":{`+grpc("gone")+`}`), Reject, StateFail, "gone"},
		{"a local rate limit", netFilter("local_ratelimit.v3.LocalRateLimit", `,"token_bucket":{"max_tokens":7,"fill_interval":"1s"}`), Forward, StateWarn, "7 connections at once, 1 more every 1s"},
		{"a local rate limit that is off", netFilter("local_ratelimit.v3.LocalRateLimit", `,"runtime_enabled":{"default_value":false,"runtime_key":"k"}`), Forward, "", ""},
		{"a connection limit", netFilter("connection_limit.v3.ConnectionLimit", `,"max_connections":"9"`), Forward, StateWarn, "9 connections"},
		{"MongoDB with a delay", netFilter("mongo_proxy.v3.MongoProxy", `,"delay":{"fixed_delay":"2s","percentage":{"numerator":10}}`), Forward, StateWarn, "2s"},
		{"MySQL by its old name", `{"name":"envoy.filters.network.mysql_proxy"}`, Forward, "", ""},
		{"MySQL of the contrib image", netFilter("mysql_proxy.v3.MySQLProxy", ""), Forward, "", ""},
		{"PostgreSQL", netFilter("postgres_proxy.v3alpha.PostgresProxy", ""), Forward, "", ""},
		{"PostgreSQL that wants TLS", netFilter("postgres_proxy.v3alpha.PostgresProxy", `,"downstream_ssl":"REQUIRE"`), Undetermined, StateUnknown, "TLS as PostgreSQL does"},
		{"Kafka", netFilter("kafka_broker.v3.KafkaBroker", ""), Forward, "", ""},
		{"Kafka that denies some requests", netFilter("kafka_broker.v3.KafkaBroker", `,"api_keys_denied":[1]`), Undetermined, StateUnknown, "api_keys"},
		{"Istio's statistics", `{"name":"istio.stats","typed_config":{"@type":"x/stats.PluginConfig"}}`, Forward, "", ""},
		{"Istio's metadata exchange", `{"name":"istio.metadata_exchange","typed_config":{"@type":"x/envoy.tcp.metadataexchange.config.MetadataExchange"}}`, Forward, "", ""},
		{"Istio's own Wasm plugins", netFilter("wasm.v3.Wasm", `,"config":{"vm_config":{"code":{"local":{"inline_string":"envoy.wasm.stats"}}}}`), Forward, "", ""},
		{"another Wasm plugin", netFilter("wasm.v3.Wasm", `,"config":{"name":"waf"}`), Undetermined, StateUnknown, "waf"},
		{"a filter nobody knows", `{"name":"acme","typed_config":{"@type":"x/acme.Filter"}}`, Undetermined, StateUnknown, "acme.Filter is not known here"},
		{"RBAC that denies", netFilter("rbac.v3.RBAC", `,"rules":{"action":"DENY",`+anyone+`}`), Reject, StateFail, "DENY policy p"},
		{"RBAC whose shadow rules would deny", netFilter("rbac.v3.RBAC", `,"shadow_rules":{"action":"DENY",`+anyone+`}`), Forward, StateOK, "shadow rules: would deny"},
		{"a cluster chosen by filter state", netFilter("set_filter_state.v3.Config", `,"on_new_connection":[{"object_key":"envoy.tcp_proxy.cluster","format_string":{"text_format_source":{"inline_string":"b"}}}]`), Forward, StateOK, "to b"},
		{"a cluster chosen by filter state that is not known", netFilter("set_filter_state.v3.Config", `,"on_new_connection":[{"object_key":"envoy.tcp_proxy.cluster","format_string":{"text_format_source":{"inline_string":"%CONNECTION_ID%"}}}]`), Undetermined, StateUnknown, "CONNECTION_ID"},
		{"a terminal filter that is not last", netFilter("echo.v3.Echo", ""), Undetermined, StateOK, "echoes"},
	} {
		o := tcpOutcome(t, `"filter_chains":[{"filters":[`+tc.filters+`,`+tcpProxy+`]}]`)
		i := slices.IndexFunc(o.Steps, func(s Step) bool { return s.Kind == KindFilter })
		if o.Verdict != tc.verdict || (i >= 0) != (tc.state != "") || i >= 0 && (o.Steps[i].State != tc.state || !strings.Contains(o.Steps[i].Why, tc.why)) {
			t.Errorf("%s: %s %q\n%+v", tc.name, o.Verdict, o.Reasons, o.Steps)
		}
		if want := map[bool]string{true: "b", false: "a"}[strings.Contains(tc.filters, `"inline_string":"b"`)]; o.Verdict == Forward && o.Cluster != want {
			t.Errorf("%s: cluster %s, want %s", tc.name, o.Cluster, want)
		}
	}
}

func TestATCPProxyMayFetchItsClusterOnDemand(t *testing.T) {
	for fields, want := range map[string]Verdict{`"cluster":"gone"`: Reject, `"cluster":"gone","on_demand":{"odcds_config":{"ads":{}}}`: Undetermined, `"cluster":"a","on_demand":{"odcds_config":{"ads":{}}}`: Forward} {
		o := tcpOutcome(t, `"filter_chains":[{"filters":[`+netFilter("tcp_proxy.v3.TcpProxy", ","+fields)+`]}]`)
		if o.Verdict != want || want == Undetermined && !strings.Contains(reasons(&o), "ODCDS") {
			t.Errorf("%s: %s %q", fields, o.Verdict, o.Reasons)
		}
	}
}

func TestAChainThatEndsInNoTerminalFilterForwardsNothing(t *testing.T) {
	if o := tcpOutcome(t, `"filter_chains":[{"filters":[`+netFilter("geoip.v3.Geoip", "")+`]}]`); o.Verdict != Undetermined || !strings.Contains(reasons(&o), "rejects such a listener") {
		t.Errorf("%s %q", o.Verdict, o.Reasons)
	}
	if o := tcpOutcome(t, `"filter_chains":[{"filters":[]}]`); o.Verdict != Reject {
		t.Errorf("%s %q", o.Verdict, o.Reasons)
	}
}

func TestProxiesOfOtherProtocolsForwardWhereTheirRoutesLeaveOneWay(t *testing.T) {
	redis := func(fields string) string { return netFilter("redis_proxy.v3.RedisProxy", fields) }
	thrift := func(routes string) string {
		return netFilter("thrift_proxy.v3.ThriftProxy", `,"route_config":{"routes":[`+routes+`]}`)
	}
	dubbo := func(tables string) string {
		return netFilter("dubbo_proxy.v3.DubboProxy", `,"multiple_route_config":{"route_config":[`+tables+`]}`)
	}
	generic := func(fields string) string { return netFilter("generic_proxy.v3.GenericProxy", fields) }
	action := func(cluster string) string {
		return `{"action":{"name":"x","typed_config":{"@type":"x/envoy.extensions.filters.network.generic_proxy.action.v3.RouteAction","cluster":"` + cluster + `"}}}`
	}
	for _, tc := range []struct{ name, filter, clusters, reason string }{
		{"Redis with a catch-all alone", redis(`,"prefix_routes":{"catch_all_route":{"cluster":"a"}}`), "a", ""},
		{"Redis with a cluster, as up to Envoy 1.12", redis(`,"cluster":"a"`), "a", ""},
		{"Redis with a catch-all cluster, as up to Envoy 1.12", redis(`,"prefix_routes":{"catch_all_cluster":"a"}`), "a", ""},
		{"Redis by prefixes that lead to one cluster", redis(`,"prefix_routes":{"routes":[{"prefix":"u:","cluster":"a"}],"catch_all_route":{"cluster":"a"}}`), "a", ""},
		{"Redis by prefixes", redis(`,"prefix_routes":{"routes":[{"prefix":"u:","cluster":"b"}],"catch_all_route":{"cluster":"a"}}`), "", `keys that begin with "u:" to b or a`},
		{"Redis by a prefix alone", redis(`,"prefix_routes":{"routes":[{"prefix":"u:","cluster":"b"}]}`), "", "nowhere"},
		{"Redis that reads elsewhere", redis(`,"prefix_routes":{"catch_all_route":{"cluster":"a","read_command_policy":{"cluster":"b"}}}`), "", "a command that reads to b"},
		{"Redis with a password", redis(`,"downstream_auth_passwords":[{"inline_string":"x"}],"prefix_routes":{"catch_all_route":{"cluster":"a"}}`), "a?", "wants a password"},
		{"Redis that asks who it is", redis(`,"external_auth_provider":{"grpc_service":{"envoy_grpc":{"cluster_name":"b"}}},"prefix_routes":{"catch_all_route":{"cluster":"a"}}`), "a?", "cluster b"},
		{"Redis with faults", redis(`,"faults":[{"fault_type":"ERROR"}],"prefix_routes":{"catch_all_route":{"cluster":"a"}}`), "a?", "fault"},
		{"Redis without routes", redis(``), "", "its routes are not known"},
		{"Thrift with one route for all", thrift(`{"match":{"method_name":""},"route":{"cluster":"a"}}`), "a", ""},
		{"Thrift with weights", thrift(`{"match":{"method_name":""},"route":{"weighted_clusters":{"clusters":[{"name":"a","weight":3},{"name":"b","weight":1}]}}}`), "a b", ""},
		{"Thrift by method", thrift(`{"match":{"method_name":"get"},"route":{"cluster":"b"}},{"match":{"method_name":""},"route":{"cluster":"a"}}`), "", "method get to b or a"},
		{"Thrift by method, all to one cluster", thrift(`{"match":{"method_name":"get"},"route":{"cluster":"a"}},{"match":{"method_name":""},"route":{"cluster":"a"}}`), "a", ""},
		{"Thrift by what is not a method", thrift(`{"match":{"method_name":"get","invert":true},"route":{"cluster":"a"}}`), "", "what is not method get to a"},
		{"Thrift with routes behind the one for all", thrift(`{"match":{"method_name":""},"route":{"cluster":"a"}},{"match":{"method_name":"get"},"route":{"cluster":"b"}}`), "a", ""},
		{"Thrift by a header's cluster", thrift(`{"match":{"method_name":""},"route":{"cluster_header":"x-c"}}`), "", "header x-c"},
		{"Thrift whose routes are discovered", netFilter("thrift_proxy.v3.ThriftProxy", `,"trds":{"route_config_name":"t"}`), "", "TRDS"},
		{"Thrift with a filter nobody knows", netFilter("thrift_proxy.v3.ThriftProxy", `,"route_config":{"routes":[{"match":{"method_name":""},"route":{"cluster":"a"}}]},"thrift_filters":[{"name":"acme"}]`), "a?", "Thrift filter acme"},
		{"Dubbo for every interface", dubbo(`{"interface":"*","routes":[{"match":{},"route":{"cluster":"a"}}]}`), "a", ""},
		{"Dubbo by interface", dubbo(`{"interface":"org.Demo","group":"g","routes":[{"match":{"method":{"name":{"exact":"say"}}},"route":{"cluster":"a"}}]}`), "", "interface org.Demo, group g, method say to a"},
		{"Dubbo in the old list", netFilter("dubbo_proxy.v3.DubboProxy", `,"route_config":[{"interface":"*","routes":[{"match":{},"route":{"cluster":"a"}}]}]`), "a", ""},
		{"Dubbo whose routes are discovered", netFilter("dubbo_proxy.v3.DubboProxy", `,"drds":{"route_config_name":"t"}`), "", "DRDS"},
		{"a generic proxy with one action", generic(`,"route_config":{"routes":{"on_no_match":` + action("a") + `}}`), "a", ""},
		{"a generic proxy with one virtual host", generic(`,"route_config":{"virtual_hosts":[{"name":"v","hosts":["*"],"routes":{"on_no_match":` + action("a") + `}}]}`), "a", ""},
		{"a generic proxy with virtual hosts", generic(`,"route_config":{"virtual_hosts":[{"name":"v","hosts":["x"],"routes":{"on_no_match":` + action("a") + `}}],"routes":{"on_no_match":` + action("b") + `}}`), "", "some requests to a or some requests to b"},
		{"a generic proxy whose routes are discovered", generic(`,"generic_rds":{"route_config_name":"t"}`), "", "discovered"},
		{"RocketMQ, which has only its clusters' names", netFilter("rocketmq_proxy.v3.RocketmqProxy", `,"route_config":{"routes":[{"route":{"cluster":"a"}}]}`), "", "some requests to a"},
		{"another proxy of its own protocol", netFilter("kafka_mesh.v3alpha.KafkaMesh", ""), "", "where KafkaMesh sends what it reads is not known here"},
	} {
		d := read(t, httpDump(`"filter_chains":[{"filters":[`+tc.filter+`]}]`, tableR))
		var got []string
		reason := ""
		for _, o := range d.Match(Call{Address: at80, Protocol: TCP}).Outcomes {
			if o.Cluster != "" {
				got = append(got, o.Cluster+map[Verdict]string{Undetermined: "?"}[o.Verdict])
			} else if o.Verdict != Undetermined {
				t.Errorf("%s: %s without a cluster", tc.name, o.Verdict)
			}
			reason += reasons(&o)
		}
		if strings.Join(got, " ") != tc.clusters || !strings.Contains(reason, tc.reason) || (tc.reason == "") != (reason == "") {
			t.Errorf("%s: %q %q, want %q %q", tc.name, got, reason, tc.clusters, tc.reason)
		}
	}
	d := read(t, httpDump(`"filter_chains":[{"filters":[`+redis(`,"prefix_routes":{"catch_all_route":{"cluster":"a"}}`)+`]}]`, tableR))
	if o := d.Match(Call{Address: at80}).Outcomes[0]; o.Verdict != Undetermined || !strings.Contains(reasons(&o), "speaks HTTP") {
		t.Errorf("HTTP to Redis: %s %q", o.Verdict, o.Reasons)
	}
	if o := d.Match(Call{Address: at80, ConnectOnly: true}).Outcomes[0]; o.Verdict != Forward || o.Terminal != "f" || !slices.Equal(o.Hosts, []string{"a"}) {
		t.Errorf("a connection to Redis: %+v", o)
	}
}

func TestAConnectionThatCannotBeAuthorizedIsFlagged(t *testing.T) {
	ask := netFilter("ext_authz.v3.ExtAuthz", `,"grpc_service":{"envoy_grpc":{"cluster_name":"gone"}}`)
	o := read(t, httpDump(`"filter_chains":[{"filters":[`+ask+`,`+hcm("")+`]}]`, tableR)).Match(Call{Address: at80}).Outcomes[0]
	if o.Verdict != Reject || o.Flags != "UAEX" || o.Details != "ext_authz_error" {
		t.Errorf("%s %s %s", o.Verdict, o.Flags, o.Details)
	}
}
