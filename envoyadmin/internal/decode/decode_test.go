package decode

import (
	"errors"
	"slices"
	"strings"
	"testing"

	xdstype "github.com/cncf/xds/go/xds/type/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
)

func TestWhatProtojsonReadsIsReadTheSame(t *testing.T) {
	for _, tc := range []struct {
		m  proto.Message
		in string
	}{
		{&routev3.RouteConfiguration{}, `{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"require_tls":"ALL","routes":[{"match":{"prefix":"/a","case_sensitive":false,"headers":[{"name":"x","range_match":{"start":"-5","end":7}}]},"route":{"weighted_clusters":{"clusters":[{"name":"c","weight":1e1}]},"timeout":"1.500s","retry_policy":{"retry_back_off":{"base_interval":"0.025s"}}}}]}],"validate_clusters":true}`},
		{&clusterv3.Cluster{}, `{"name":"c","type":"EDS","connectTimeout":"10s","lbPolicy":"LEAST_REQUEST","circuit_breakers":{"thresholds":[{"max_connections":4294967295}]},"metadata":{"filter_metadata":{"istio":{"a":[1,"b",null,true,{"c":{}}]}}},"common_lb_config":{"healthy_panic_threshold":{}}}`},
		{&listenerv3.FilterChain{}, `{"filters":[{"name":"t","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"s","cluster":"c","idle_timeout":"0s"}}]}`},
		{&hcmv3.HttpConnectionManager{}, `{"stat_prefix":"ü\u00e4\ud83d\ude00","server_name":"a\"b\\c","stream_idle_timeout":"-1s","use_remote_address":null,"upgrade_configs":[{"upgrade_type":"websocket","enabled":true}]}`},
		{&tlsv3.DownstreamTlsContext{}, `{"common_tls_context":{"tls_certificates":[{"certificate_chain":{"inline_bytes":"aGVsbG8="}}],"alpn_protocols":["h2"]},"require_client_certificate":true}`},
	} {
		want := proto.Clone(tc.m)
		if err := protojson.Unmarshal([]byte(tc.in), want); err != nil {
			t.Fatal(tc.in, err)
		}
		if err := JSON([]byte(tc.in), tc.m); err != nil {
			t.Fatal(tc.in, err)
		}
		if !proto.Equal(tc.m, want) {
			t.Errorf("%s\n got %v\nwant %v", tc.in, tc.m, want)
		}
	}
}

func TestWhatIsNotKnownIsKeptByName(t *testing.T) {
	m := &routev3.RouteMatch{}
	in := `{"prefix":"/","brand_new":{"a":1},"headers":[{"name":"x","novel_match":"y"}],"case_sensitive":"maybe","grpc":7}`
	if err := JSON([]byte(in), m); err != nil {
		t.Fatal(err)
	}
	got := Unknown(m)
	slices.Sort(got)
	if want := []string{`brand_new: {"a":1}`, `case_sensitive: "maybe"`, `grpc: 7`}; !slices.Equal(got, want) {
		t.Errorf("unknown %q, want %q", got, want)
	}
	if got := Unknown(m.GetHeaders()[0]); len(got) != 1 || got[0] != `novel_match: "y"` {
		t.Errorf("unknown of the header matcher: %q", got)
	}
	if m.GetPrefix() != "/" || Unknown(&routev3.RouteMatch{}) != nil {
		t.Error("what is known was lost")
	}
	if again := proto.Clone(m); !slices.Equal(Unknown(again), Unknown(m)) {
		t.Error("a copy forgets what was unknown")
	}
}

func TestAnUnknownTypeStaysJSON(t *testing.T) {
	f := &listenerv3.Filter{}
	if err := JSON([]byte(`{"name":"x","typed_config":{"@type":"type.googleapis.com/acme.Filter","a":{"b":[1]}}}`), f); err != nil {
		t.Fatal(err)
	}
	ts := &xdstype.TypedStruct{}
	if err := f.GetTypedConfig().UnmarshalTo(ts); err != nil {
		t.Fatal(err)
	}
	if ts.GetTypeUrl() != "type.googleapis.com/acme.Filter" || ts.GetValue().GetFields()["a"].GetStructValue().GetFields()["b"].GetListValue().GetValues()[0].GetNumberValue() != 1 {
		t.Errorf("%v", ts)
	}
	if name, known := TypeOf(f.GetTypedConfig()); name != "acme.Filter" || known {
		t.Errorf("TypeOf = %s, %v", name, known)
	}
}

func TestATypedStructOfAKnownTypeIsUnpacked(t *testing.T) {
	f := &listenerv3.Filter{}
	in := `{"name":"x","typed_config":{"@type":"type.googleapis.com/udpa.type.v1.TypedStruct","type_url":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","value":{"cluster":"c"}}}`
	if err := JSON([]byte(in), f); err != nil {
		t.Fatal(err)
	}
	tcp := &tcpv3.TcpProxy{}
	if err := f.GetTypedConfig().UnmarshalTo(tcp); err != nil || tcp.GetCluster() != "c" {
		t.Errorf("%v %v", tcp, err)
	}
}

func TestOldShapesComeOutAsV3(t *testing.T) {
	fc := &listenerv3.FilterChain{}
	in := `{"filter_chain_match":{"sni_domains":["a"]},"tls_context":{"require_client_certificate":true},"filters":[{"config":{"cluster":"c"},"name":"envoy.tcp_proxy"}]}`
	if err := JSON([]byte(in), fc); err != nil {
		t.Fatal(err)
	}
	tls, tcp := &tlsv3.DownstreamTlsContext{}, &tcpv3.TcpProxy{}
	if err := errors.Join(fc.GetTransportSocket().GetTypedConfig().UnmarshalTo(tls), fc.GetFilters()[0].GetTypedConfig().UnmarshalTo(tcp)); err != nil {
		t.Fatal(err)
	}
	if !tls.GetRequireClientCertificate().GetValue() || tcp.GetCluster() != "c" || fc.GetFilterChainMatch().GetServerNames()[0] != "a" {
		t.Errorf("%v", fc)
	}
	c := &clusterv3.Cluster{}
	if err := JSON([]byte(`{"name":"c","hosts":[{"socket_address":{"address":"1.2.3.4","port_value":80}}],"tls_context":{"sni":"s"}}`), c); err != nil {
		t.Fatal(err)
	}
	up := &tlsv3.UpstreamTlsContext{}
	if err := c.GetTransportSocket().GetTypedConfig().UnmarshalTo(up); err != nil || up.GetSni() != "s" {
		t.Errorf("%v %v", up, err)
	}
	if a := c.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress().GetSocketAddress(); a.GetAddress() != "1.2.3.4" || a.GetPortValue() != 80 {
		t.Errorf("%v", c.GetLoadAssignment())
	}
	r := &routev3.RouteMatch{}
	if err := JSON([]byte(`{"regex":"/a.*","headers":[{"name":"x","regex_match":"b"}]}`), r); err != nil {
		t.Fatal(err)
	}
	if r.GetSafeRegex().GetRegex() != "/a.*" || r.GetHeaders()[0].GetSafeRegexMatch().GetRegex() != "b" { //nolint:staticcheck // the v2 form
		t.Errorf("%v", r)
	}
	if got := V3("envoy.config.filter.http.lua.v2.Lua"); got != "envoy.extensions.filters.http.lua.v3.Lua" {
		t.Error(got)
	}
}

func TestWhatIsNotJSONIsAnErrorWithItsOffset(t *testing.T) {
	for in, offset := range map[string]int{``: 0, `{`: 1, `{"name":`: 8, `{"name":"a"} x`: 13, `[]`: 0, `{"name" "a"}`: 8} {
		err := JSON([]byte(in), &routev3.RouteConfiguration{})
		var e *jsonscan.Error
		if !errors.As(err, &e) || e.Offset != offset {
			t.Errorf("%q: %v, want an error at %d", in, err, offset)
		}
	}
	deep := strings.Repeat(`{"and_match":{"rules":[`, 300) + strings.Repeat(`]}}`, 300)
	if err := JSON([]byte(deep), &listenerv3.ListenerFilterChainMatchPredicate{}); err == nil {
		t.Error("no bound on nesting")
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"c"}}]}]}`))
	f.Add([]byte(`{"filters":[{"name":"x","typed_config":{"@type":"t/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"}}],"config":{},"tls_context":{}}`))
	f.Add([]byte(`{"typed_per_filter_config":{"a":{"@type":"x","value":[1,{"b":null}]}},"per_filter_config":{"b":{}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range []proto.Message{&routev3.RouteConfiguration{}, &listenerv3.FilterChain{}, &clusterv3.Cluster{}, &routev3.Route{}} {
			if JSON(b, m) == nil {
				if _, err := proto.Marshal(m); err != nil {
					t.Fatalf("what was read does not marshal: %v", err)
				}
			}
		}
	})
}
