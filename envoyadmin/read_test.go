package envoyadmin

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, dump string) *Dump {
	t.Helper()
	d, err := Read("dump.json", []byte(dump))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestInputThatIsNoDumpIsAnErrorWithItsPlace(t *testing.T) {
	whole := `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","static_clusters":[{"cluster":{"name":"a"}}]}]}`
	for _, tc := range []struct {
		in           string
		line, column int
		msg          string
	}{
		{"", 1, 1, "not a config_dump"},
		{"[]", 1, 1, "not a config_dump"},
		{`{"cluster_statuses":[]}`, 1, 1, "not a config_dump"},
		{whole[:60], 1, 61, "unexpected end"},
		{whole[:len(whole)-1], 1, len(whole), "unexpected end"},
		{"{\n \"configs\": [\n  {]\n", 3, 4, "unexpected"},
		{whole + "x", 1, len(whole) + 1, "more behind"},
		{"Python {'configs': []}", 1, 1, "not a config_dump"},
		{"{\n  'configs': []}", 2, 3, "unexpected"},
	} {
		_, err := Read("f.json", []byte(tc.in))
		var e *SyntaxError
		if !errors.As(err, &e) {
			t.Errorf("%q: %v", tc.in, err)
			continue
		}
		if e.Line != tc.line || e.Column != tc.column || !strings.Contains(e.Msg, tc.msg) || e.File != "f.json" {
			t.Errorf("%q: %v, want %d:%d %s", tc.in, err, tc.line, tc.column, tc.msg)
		}
	}
}

func TestALargeTruncatedDumpIsAnErrorAtItsEnd(t *testing.T) {
	data := unzipped(t, corpus+"/scale/gateway-1000.config_dump.json.gz")
	for _, cut := range []int{len(data) - 2, len(data) / 2, len(data) / 3} {
		_, err := Read("big", data[:cut])
		var e *SyntaxError
		if !errors.As(err, &e) || e.Offset != int64(cut) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	broken := slices.Clone(data)
	at := bytes.Index(broken[len(broken)/2:], []byte(`": "`)) + len(broken)/2
	broken[at+1] = '}'
	_, err := Read("big", broken)
	var e *SyntaxError
	if !errors.As(err, &e) || e.Offset < int64(at) || e.Offset > int64(at)+400 {
		t.Errorf("broken at %d: %v", at, err)
	}
}

func TestADumpMayBeGzipped(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(`{"configs":[{"@type":"x/envoy.admin.v3.ClustersConfigDump","static_clusters":[{"cluster":{"name":"a"}}]}]}`))
	_ = z.Close()
	d, err := Read("x.gz", b.Bytes())
	if err != nil || !slices.Equal(d.ClusterNames(), []string{"a"}) {
		t.Fatal(err)
	}
	if _, err := Read("x.gz", b.Bytes()[:b.Len()-6]); err == nil {
		t.Error("a truncated gzip was read")
	}
}

func TestOnlyTheActiveVersionOfAListenerServes(t *testing.T) {
	l := func(name string, port string) string {
		return `{"name":"` + name + `","address":{"socket_address":{"address":"0.0.0.0","port_value":` + port + `}},"filter_chains":[{"filters":[{"name":"envoy.filters.network.echo"}]}]}`
	}
	d := read(t, `{"configs":[{"dynamic_listeners":[
		{"name":"a","active_state":{"version_info":"1","listener":`+l("a", "80")+`},"warming_state":{"listener":`+l("a", "80")+`},"error_state":{"details":"bad regex","last_update_attempt":"2026-01-01T00:00:00Z"}},
		{"name":"b","warming_state":{"listener":`+l("b", "81")+`}},
		{"name":"c","error_state":{"failed_configuration":`+l("c", "82")+`,"details":"no such thing"}},
		{"name":"d","draining_state":{"listener":`+l("d", "83")+`}}
	],"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump"}]}`)
	match := func(port uint16) Outcome {
		return d.Match(Call{Address: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port)}).Outcomes[0]
	}
	if o := match(80); o.Listener != "a" || o.Steps[0].State != StateWarn || len(o.Extra.Problems) != 2 || o.Steps[0].Source != "configs[0].dynamic_listeners[0].active_state.listener" {
		t.Errorf("active with a rejected update: %+v", o)
	}
	for port, name := range map[uint16]string{81: "b", 83: "d"} {
		if o := match(port); o.Error != NoListener || !slices.ContainsFunc(o.NearMisses, func(m NearMiss) bool { return m.Name == name }) {
			t.Errorf("port %d: %+v", port, o)
		}
	}
	if o := match(82); o.Error != NoListener || !slices.ContainsFunc(o.NearMisses, func(m NearMiss) bool {
		return m.Name == "c" && strings.Contains(m.Why, "no such thing")
	}) {
		t.Errorf("rejected: %+v", o)
	}
	var states []string
	for _, l := range d.Listeners() {
		states = append(states, l.Name+" "+l.State)
	}
	if want := []string{"a active", "a warming", "b warming", "d draining", "c rejected"}; !slices.Equal(states, want) {
		t.Errorf("%v, want %v", states, want)
	}
	if f := d.UpdateFailures(); len(f) != 2 || f[0].Details != "bad regex" {
		t.Errorf("%+v", f)
	}
}

func TestAListenerWhoseUpdateWasRejectedAndThatStillServesIsNotCalledInactive(t *testing.T) {
	d := read(t, `{"configs":[{"@type":"x/envoy.admin.v3.ListenersConfigDump","dynamic_listeners":[
		{"name":"a","active_state":{"listener":{"name":"a","address":{"socket_address":{"address":"0.0.0.0","port_value":80}}}},"error_state":{"details":"bad regex"}},
		{"name":"b","error_state":{}}]}]}`)
	o := d.Match(Call{Address: netip.MustParseAddrPort("10.0.0.1:99")}).Outcomes[0]
	want := []NearMiss{
		{KindListener, "a", "its last update was rejected and the version before serves: bad regex"},
		{KindListener, "b", "its update was rejected and it is not active"},
	}
	if o.Verdict != Reject || !slices.Equal(o.NearMisses, want) {
		t.Errorf("%s %q, want %q", o.Verdict, o.NearMisses, want)
	}
}

func TestAListenerThatIsNamedAndNotShownMayBeTheOneAskedFor(t *testing.T) {
	for _, section := range []string{
		`"dynamic_listeners":[{"name":"x","active_state":{"listener":null}}]`,
		`"dynamic_listeners":[{"name":"x"}]`,
		`"static_listeners":[{"listener":null}]`,
	} {
		d := read(t, `{"configs":[{"@type":"x/envoy.admin.v3.ListenersConfigDump",`+section+`}]}`)
		o := d.Match(Call{Address: at80}).Outcomes[0]
		if o.Verdict != Undetermined || o.Error != "" || !strings.Contains(reasons(&o), "without their configuration") || strings.Contains(fmt.Sprint(o.NearMisses), "rejected") || len(d.UpdateFailures()) > 0 {
			t.Errorf("%s: %s %s %q %q", section, o.Verdict, o.Error, o.Reasons, o.NearMisses)
		}
	}
}

func TestAnObjectOfNoSectionsIsNoDump(t *testing.T) {
	var e *SyntaxError
	if _, err := Read("d", []byte(`{"configs":{}}`)); !errors.As(err, &e) || e.Msg != notADump {
		t.Errorf("%v", err)
	}
}

func TestARejectedUpdateOfAnyKindHasItsName(t *testing.T) {
	bad := func(field, name string) string {
		return `"error_state":{"failed_configuration":{"@type":"x/y","` + field + `":"` + name + `"},"details":"why ` + name + `"}`
	}
	d := read(t, `{"configs":[
	{"@type":"x/envoy.admin.v3.ListenersConfigDump","dynamic_listeners":[{"name":"l","active_state":{"listener":{"name":"l","address":{"socket_address":{"address":"0.0.0.0","port_value":80}},"filter_chains":[{"filters":[`+strings.Replace(hcm(""), `"route_config_name":"r"`, `"route_config_name":"r2"`, 1)+`]}]}}}]},
	{"@type":"x/envoy.admin.v3.ClustersConfigDump","dynamic_active_clusters":[{"cluster":{"name":"c1"},`+bad("name", "other")+`},{`+bad("name", "c2")+`}]},
	{"@type":"x/envoy.admin.v3.RoutesConfigDump","dynamic_route_configs":[{"route_config":{"name":"r1"},`+bad("name", "other")+`},{`+bad("name", "r2")+`}]},
	{"@type":"x/envoy.admin.v3.EndpointsConfigDump","dynamic_endpoint_configs":[{"endpoint_config":{"cluster_name":"e1"},`+bad("cluster_name", "other")+`},{`+bad("cluster_name", "e2")+`}]},
	{"@type":"x/envoy.admin.v3.ScopedRoutesConfigDump","dynamic_scoped_route_configs":[{"name":"s1",`+bad("name", "other")+`}]},
	{"@type":"x/envoy.admin.v3.EcdsConfigDump","ecds_filters":[{`+bad("name", "x1")+`}]}]}`)
	var got []string
	for _, f := range d.UpdateFailures() {
		if f.Details == "" || !strings.HasPrefix(f.Source, "configs[") {
			t.Errorf("%+v", f)
		}
		got = append(got, f.Kind+" "+f.Name)
	}
	if want := []string{"cluster c1", "cluster c2", "route_config r1", "route_config r2", "endpoints e1", "endpoints e2", "scoped_routes s1", "extension x1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	o := d.Match(Call{Address: at80}).Outcomes[0]
	if s := o.Steps[len(o.Steps)-1]; o.Error != NoRouteConfig || s.Source != "configs[2].dynamic_route_configs[1]" || !strings.Contains(s.Why, "why r2") {
		t.Errorf("%s: %+v", o.Error, s)
	}
}

func TestOldAndOddShapesOfADumpAreRead(t *testing.T) {
	for name, in := range map[string]string{
		"Envoy up to 1.12": `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v2alpha.ListenersConfigDump","dynamic_active_listeners":[{"listener":{"name":"l","address":{"socket_address":{"address":"0.0.0.0","port_value":80}},"filter_chains":[{"filters":[{"name":"envoy.echo"}]}]}}]}]}`,
		"camel case":       `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","dynamicListeners":[{"activeState":{"listener":{"name":"l","address":{"socketAddress":{"address":"0.0.0.0","portValue":80}},"filterChains":[{"filters":[{"name":"envoy.echo"}]}]}}}]}]}`,
		"?resource=":       `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener","name":"l","active_state":{"listener":{"address":{"socket_address":{"address":"0.0.0.0","port_value":80}},"filter_chains":[{"filters":[{"name":"envoy.echo"}]}]}}}]}`,
		"CRLF and a BOM":   "\xef\xbb\xbf{\r\n\"configs\":[\r\n{\"@type\":\"x/envoy.admin.v3.ListenersConfigDump\",\"static_listeners\":[{\"listener\":{\"name\":\"l\",\"address\":{\"socket_address\":{\"address\":\"0.0.0.0\",\"port_value\":80}},\"filter_chains\":[{\"filters\":[{\"name\":\"envoy.echo\"}]}]}}]}]}\r\n",
		"a bootstrap":      `{"static_resources":{"listeners":[{"name":"l","address":{"socket_address":{"address":"0.0.0.0","port_value":80}},"filter_chains":[{"filters":[{"name":"envoy.echo"}]}]}]}}`,
		"sections foreign": `{"configs":[{"@type":"type.googleapis.com/cilium.NetworkPoliciesConfigDump","x":[]},{"@type":"type.googleapis.com/aeraki.RoutesConfigDump","static_route_configs":[1]},{"@type":"x/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":{"name":"l","address":{"socket_address":{"address":"0.0.0.0","port_value":80}},"filter_chains":[{"filters":[{"name":"envoy.echo"}]}]}}]}]}`,
	} {
		d, err := Read(name, []byte(in))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if o := d.Match(Call{Address: netip.MustParseAddrPort("10.0.0.1:80")}).Outcomes[0]; o.Listener != "l" || o.Verdict != DirectResponse {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestTheFormsOfClusterStatusAgree(t *testing.T) {
	asJSON := `{"cluster_statuses":[{"name":"a|b","eds_service_name":"e","host_statuses":[
	 {"address":{"socket_address":{"address":"10.0.0.1","port_value":80}},"weight":3,"locality":{"region":"r","zone":"z"},"stats":[{"name":"cx_active","value":"7"}],"health_status":{"failed_outlier_check":true,"eds_health_status":"HEALTHY"}},
	 {"address":{"socket_address":{"address":"fd00::1","port_value":80}},"priority":1,"weight":1,"health_status":{"eds_health_status":"DRAINING"}},
	 {"address":{"envoy_internal_address":{"server_listener_name":"connect_originate","endpoint_id":"10.0.0.9:80"}},"weight":1,"health_status":{"eds_health_status":"HEALTHY"}}]}]}`
	asText := "a|b::observability_name::a|b;\r\na|b::default_priority::max_connections::1024\na|b::eds_service_name::e\n" +
		"a|b::10.0.0.1:80::cx_active::7\na|b::10.0.0.1:80::health_flags::/failed_outlier_check\na|b::10.0.0.1:80::weight::3\na|b::10.0.0.1:80::region::r\na|b::10.0.0.1:80::zone::z\na|b::10.0.0.1:80::sub_zone::\n" +
		"a|b::[fd00::1]:80::health_flags::/eds_status_draining\na|b::[fd00::1]:80::priority::1\na|b::[fd00::1]:80::weight::1\n" +
		"a|b::envoy://connect_originate/10.0.0.9:80::health_flags::healthy\na|b::envoy://connect_originate/10.0.0.9:80::weight::1\n"
	var seen []string
	for _, in := range []string{asJSON, asText} {
		d := read(t, `{"configs":[{"@type":"x/envoy.admin.v3.ClustersConfigDump","static_clusters":[{"cluster":{"name":"a|b","type":"EDS"}}]}]}`)
		if err := d.AddClusters("clusters", []byte(in)); err != nil {
			t.Fatal(err)
		}
		hosts, known, _ := d.EndpointsOf("a|b")
		if !known || len(hosts) != 3 {
			t.Fatalf("%+v", hosts)
		}
		b, _ := json.Marshal(hosts)
		seen = append(seen, string(b))
		if hosts[0].Health != "unhealthy" || hosts[0].Why != "failed_outlier_check" || hosts[0].Locality != "r/z" || hosts[1].Health != "unhealthy" || hosts[1].Priority != 1 || hosts[2].Address != "envoy://connect_originate/10.0.0.9:80" {
			t.Errorf("%s", b)
		}
		if st := d.statusOf("a|b"); st.edsName != "e" || st.hosts[0].stats["cx_active"] != 7 {
			t.Errorf("%+v", st)
		}
	}
	if seen[0] != seen[1] {
		t.Errorf("JSON %s\ntext %s", seen[0], seen[1])
	}
}

func TestAnAdminPageThatIsTruncatedOrNoneIsAnErrorWithItsOffset(t *testing.T) {
	d := read(t, `{"configs":[]}`)
	zipped := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(s))
		_ = z.Close()
		return b.String()
	}
	pages := []struct {
		name string
		add  func(string, []byte) error
		json string   // the page whole
		text string   // the same as text, empty where it has no such form
		bad  []string // text that is none
	}{
		{"config_dump", func(n string, b []byte) error { _, err := Read(n, b); return err }, `{"configs":[{"@type":"x/envoy.admin.v3.ClustersConfigDump","static_clusters":[{"cluster":{"name":"a"}}]}]}`, "", nil},
		{"clusters", d.AddClusters, `{"cluster_statuses":[{"name":"a","host_statuses":[{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}}}]}]}`, "a::10.0.0.1:80::weight::1\n", []string{"a::10.0.0.1:80\n", "no such format\n"}},
		{"listeners", d.AddListeners, `{"listener_statuses":[{"name":"l","local_address":{"socket_address":{"address":"0.0.0.0","port_value":80}}}]}`, "l::0.0.0.0:80\n", []string{"l\n", "upstream connect error\n"}},
		{"certs", d.AddCerts, `{"certificates":[{"cert_chain":[{"path":"p"}]}]}`, "", nil},
		{"server_info", d.AddServerInfo, `{"version":"abc/1.30.0","state":"LIVE"}`, "", nil},
		{"stats", d.AddStats, `{"stats":[{"name":"a.b","value":3}]}`, "a.b: 3\nh: P0(nan,1) P25(nan,1)\n", []string{"a.b 3\n", "<html>\n"}},
	}
	for _, p := range pages {
		at := func(what, in string, offset int) {
			t.Helper()
			var e *SyntaxError
			if err := p.add(p.name, []byte(in)); !errors.As(err, &e) || e.Offset != int64(offset) || e.File != p.name {
				t.Errorf("%s, %s: %v, want an error at offset %d", p.name, what, err, offset)
			}
		}
		for what, in := range map[string]string{"whole": p.json, "gzip": zipped(p.json), "text": p.text, "behind a byte order mark": "\xef\xbb\xbf" + p.json} {
			if err := p.add(p.name, []byte(in)); err != nil && in != "" {
				t.Errorf("%s, %s: %v", p.name, what, err)
			}
		}
		for n := 1; n < len(p.json); n++ {
			at(fmt.Sprintf("cut at %d", n), p.json[:n], n)
		}
		at("more behind", p.json+" x", len(p.json)+1)
		at("an object of another kind", " {\"kind\":\"Status\",\"code\":403}", 1)
		at("a list", "[1]", 0)
		z := zipped(p.json)
		at("truncated gzip", z[:len(z)-9], len(z)-9)
		at("gzip of half the page", zipped(p.json[:20]), 20)
		for _, bad := range p.bad {
			at("no such text", p.text+bad, len(p.text))
		}
		if p.text == "" {
			at("text", "error: no such page", 0)
		}
	}
	for _, in := range []string{`{"stats":[{"name":7}]}`, `{"stats":true}`} {
		var e *SyntaxError
		if err := d.AddStats("s", []byte(in)); !errors.As(err, &e) || e.Offset == 0 {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestTheOtherAdminPagesAreRead(t *testing.T) {
	d := read(t, `{"configs":[{"@type":"x/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":{"name":"l","address":{"socket_address":{"address":"0.0.0.0","port_value":80}}}}]}]}`)
	for _, in := range []string{"l::0.0.0.0:80\n", `{"listener_statuses":[{"name":"l","local_address":{"socket_address":{"address":"0.0.0.0","port_value":80}}}]}`} {
		d.open = nil
		if err := d.AddListeners("l", []byte(in)); err != nil || !d.Listeners()[0].Open {
			t.Error(err, d.Listeners())
		}
	}
	for _, in := range []string{"a.b: 3\nh: P0(1,2)\n", `{"stats":[{"name":"a.b","value":3},{"histograms":{}}]}`} {
		if err := d.AddStats("s", []byte(in)); err != nil {
			t.Error(err)
		}
		if v, ok := d.Stat("a.b"); v != 3 || !ok {
			t.Error("stat", v, ok)
		}
	}
	if err := d.AddCerts("c", []byte(`{"certificates":[{"cert_chain":[{"path":"<inline>","serial_number":"1","subject_alt_names":[{"uri":"spiffe://x"}],"valid_from":"2026-01-01T00:00:00Z","expiration_time":"2026-02-01T00:00:00Z"}],"ca_cert":[{"path":"p"}]}]}`)); err != nil {
		t.Error(err)
	}
	if c := d.Certificates(); len(c) != 2 || c[0].SANs[0] != "spiffe://x" || c[0].NotAfter != "2026-02-01T00:00:00Z" || !c[1].CA {
		t.Errorf("%+v", c)
	}
	if err := d.AddServerInfo("i", []byte(`{"version":"abc/1.30.0","state":"LIVE"}`)); err != nil {
		t.Error(err)
	}
	if i, ok := d.ServerInfo(); !ok || i.State != "LIVE" || d.Version() != "abc/1.30.0" {
		t.Error(i, ok)
	}
	var e *SyntaxError
	if err := d.AddCerts("c", []byte("{\n\"certificates\": x}")); !errors.As(err, &e) || e.Line != 2 {
		t.Error(err)
	}
}

func TestObjectsLeaveWithoutSecrets(t *testing.T) {
	in := `{"private_key":{"inline_string":"KEY"},"a":[{"header":{"value":"Bearer TOKEN","key":"Authorization"}},{"header":{"key":"x-ok","value":"fine"}}],"token_secret":"T","local_jwks":{"inline_string":"JWKS"}}`
	got := string(redact([]byte(in)))
	for _, secret := range []string{"KEY", "TOKEN", "JWKS", `"T"`} {
		if strings.Contains(got, secret) {
			t.Errorf("%s is in %s", secret, got)
		}
	}
	if !strings.Contains(got, "fine") || !json.Valid([]byte(got)) {
		t.Error(got)
	}
}

// FuzzRead reads anything and, where it is a dump, evaluates calls against it:
// no panic, probabilities that add up, and a reason wherever nothing is known.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"configs":[{"@type":"x/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":{"name":"l","use_original_dst":true,"address":{"socket_address":{"address":"0.0.0.0","port_value":80}},"filter_chains":[{"filter_chain_match":{"server_names":["*.a"],"prefix_ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}]},"filters":[{"name":"envoy.filters.network.tcp_proxy","typed_config":{"@type":"x/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","cluster":"c"}}]}]}}]},{"@type":"x/envoy.admin.v3.ClustersConfigDump","static_clusters":[{"cluster":{"name":"c","type":"STATIC","lb_subset_config":{"subset_selectors":[{"keys":["v"]}]},"load_assignment":{"endpoints":[{"priority":3,"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"1.1.1.1","port_value":1}}}}]}]}}}]}]}`), "10.0.0.1:80", "a.a", "/x")
	f.Add([]byte(`{"configs":[{"@type":"x/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":{"address":{"socket_address":{"address":"::","port_value":"80","ipv4_compat":true}},"default_filter_chain":{"filters":[{"name":"envoy.filters.network.http_connection_manager","typed_config":{"@type":"x/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","route_config":{"virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"},"direct_response":{"status":200}}]}]}}}]}}}]}]}`), "10.0.0.1:80", "", "")
	f.Add([]byte(httpDump(`"filter_chains":[{"filters":[`+netFilter("redis_proxy.v3.RedisProxy", `,"prefix_routes":{"routes":[{"prefix":"a","cluster":"a"}],"catch_all_route":{"cluster":"b"}}`)+`]}]`, tableR)), "10.0.0.1:80", "", "")
	f.Add([]byte(httpDump(`"filter_chains":[{"filters":[`+hcm(`"local_reply_config":{"mappers":[{"filter":{"status_code_filter":{"comparison":{"value":{"default_value":404}}}},"status_code":418}]}`)+`]}]`, tableR)), "10.0.0.1:80", "", "/none")
	forms, err := filepath.Glob(corpus + "/config_dump/*")
	if err != nil || len(forms) == 0 {
		f.Fatal("no forms", err)
	}
	for _, name := range forms {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "10.0.0.1:8080", "kuard.test", "/api")
	}
	f.Fuzz(func(t *testing.T, data []byte, addr, host, path string) {
		pages := &Dump{}
		for _, add := range []func(string, []byte) error{pages.AddClusters, pages.AddListeners, pages.AddCerts, pages.AddServerInfo, pages.AddStats} {
			_ = add("fuzz", data)
		}
		d, err := Read("fuzz", data)
		if err != nil {
			return
		}
		_ = d.AddClusters("fuzz", data)
		ap, _ := netip.ParseAddrPort(addr)
		for _, c := range []Call{
			{Address: ap, Authority: host, Path: path},
			{Address: ap, Authority: host, Path: path, TLS: MTLS, SNI: host, Direction: Inbound, Protocol: TCP},
			{Address: ap, Direction: Outbound, Protocol: HTTP2, Source: ap, PastRefusals: true},
			{Address: ap, ConnectOnly: true},
		} {
			total := 0.0
			for _, o := range d.Match(c).Outcomes {
				if why := unsaid(&o); why != "" {
					t.Errorf("%s: %+v", why, o)
				}
				total += o.Probability
				if o.Verdict == Undetermined && len(o.Reasons) == 0 {
					t.Fatalf("undetermined without a reason: %+v", o)
				}
			}
			if total < 0.999 || total > 1.001 {
				t.Fatalf("probabilities add up to %g", total)
			}
		}
		d.Listeners()
		d.Certificates()
		d.UpdateFailures()
		for _, r := range d.Routes() {
			_, _ = r.VirtualHosts()
		}
	})
}

func TestAnUnknownTypeMattersOnlyWhereItCouldChangeTheVerdict(t *testing.T) {
	acme := func(kind string) string {
		return `{"name":"` + kind + `","typed_config":{"@type":"type.googleapis.com/acme.` + kind + `","a":[{"b":1}]}}`
	}
	route := func(fields string) string {
		return `{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"` + fields + `}]}]}`
	}
	plain := route(`},"route":{"cluster":"a"}`)
	for _, tc := range []struct {
		name, listener, table string
		want                  string // a reason; empty: forwarded without one
	}{
		{"an access log", `"access_log":[` + acme("Log") + `],"filter_chains":[{"filters":[` + hcm(`"access_log":[`+acme("Log")+`]`) + `]}]`, plain, ""},
		{"a tracer", `"filter_chains":[{"filters":[` + hcm(`"tracing":{"provider":`+acme("Tracer")+`}`) + `]}]`, plain, ""},
		{"a request id", `"filter_chains":[{"filters":[` + hcm(`"request_id_extension":{"typed_config":{"@type":"x/acme.Id"}}`) + `]}]`, plain, ""},
		{"metadata of a route", `"filter_chains":[{"filters":[` + hcm("") + `]}]`, route(`},"route":{"cluster":"a"},"metadata":{"typed_filter_metadata":{"x":{"@type":"x/acme.Data"}}}`), ""},
		{"what a route says of a filter that is not there", `"filter_chains":[{"filters":[` + hcm("") + `]}]`, route(`},"route":{"cluster":"a"},"typed_per_filter_config":{"acme":{"@type":"x/acme.PerRoute"}}`), ""},
		{"a retry predicate", `"filter_chains":[{"filters":[` + hcm("") + `]}]`, route(`},"route":{"cluster":"a","retry_policy":{"retry_on":"5xx","retry_host_predicate":[` + acme("Predicate") + `]}}`), ""},
		{"a chain that is not chosen", `"filter_chains":[{"filter_chain_match":{"destination_port":81},"filters":[` + acme("Filter") + `]},{"filters":[` + hcm("") + `]}]`, plain, ""},
		{"a transport socket of a chain that is not chosen", `"filter_chains":[{"filter_chain_match":{"destination_port":81},"transport_socket":` + acme("Socket") + `,"filters":[` + hcm("") + `]},{"filters":[` + hcm("") + `]}]`, plain, ""},
		{"a listener filter", `"listener_filters":[` + acme("Filter") + `],"filter_chains":[{"filters":[` + hcm("") + `]}]`, plain, "acme.Filter"},
		{"a transport socket", `"filter_chains":[{"transport_socket":` + acme("Socket") + `,"filters":[` + hcm("") + `]}]`, plain, "acme.Socket"},
		{"a network filter", `"filter_chains":[{"filters":[` + acme("Filter") + `,` + hcm("") + `]}]`, plain, "acme.Filter"},
		{"an HTTP filter", `"filter_chains":[{"filters":[` + hcmWith(acme("Filter")+","+routerFilter, "") + `]}]`, plain, "acme.Filter"},
		{"what a route says of a filter that is there", `"filter_chains":[{"filters":[` + hcmWith(httpFilter("fault.v3.HTTPFault", "")+","+routerFilter, "") + `]}]`, route(`},"route":{"cluster":"a"},"typed_per_filter_config":{"fault.v3.HTTPFault":{"@type":"x/acme.PerRoute"}}`), "acme.PerRoute"},
		{"a matcher of a chain", `"filter_chain_matcher":{"matcher_tree":{"input":` + acme("Input") + `,"exact_match_map":{"map":{}}}},"filter_chains":[{"filters":[` + hcm("") + `]}]`, plain, "acme.Input"},
		{"a matcher of a path", `"filter_chains":[{"filters":[` + hcm("") + `]}]`, strings.Replace(route(`},"route":{"cluster":"a"}`), `"prefix":"/"`, `"path_match_policy":`+acme("Policy"), 1), "acme.Policy"},
		{"what chooses the cluster", `"filter_chains":[{"filters":[` + hcm("") + `]}]`, route(`},"route":{"inline_cluster_specifier_plugin":{"extension":` + acme("Plugin") + `}}`), "acme.Plugin"},
	} {
		o := read(t, httpDump(tc.listener, tc.table)).Match(Call{Address: at80}).Outcomes[0]
		if why := unsaid(&o); why != "" {
			t.Errorf("%s: %s", tc.name, why)
		}
		if tc.want == "" && (o.Verdict != Forward || o.Cluster != "a" || len(o.Reasons) > 0) || tc.want != "" && (o.Verdict != Undetermined || !strings.Contains(reasons(&o), tc.want)) {
			t.Errorf("%s: %s to %q: %q, want %q", tc.name, o.Verdict, o.Cluster, o.Reasons, tc.want)
		}
	}
}

func TestOnlyWhatACallTouchesIsDecoded(t *testing.T) {
	other := `{"name":"y","domains":["y.test"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"b"}}]},`
	dump := httpDump(`"filter_chains":[{"filter_chain_match":{"destination_port":81},"filters":[`+hcm("")+`]},{"filters":[`+hcm("")+`]}]`,
		`{"name":"r","virtual_hosts":[`+other+`{"name":"x","domains":["x.test"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"a"}}]}]}`)
	dump = strings.Replace(dump, `"static_listeners":[`, `"static_listeners":[{"listener":{"name":"far","address":{"socket_address":{"address":"0.0.0.0","port_value":90}},"filter_chains":[{"filters":[`+hcm("")+`]}]}},`, 1)
	d := read(t, dump)
	if o := d.Match(Call{Address: at80, Authority: "x.test"}).Outcomes[0]; o.Cluster != "a" {
		t.Fatalf("%+v", o)
	}
	var got []string
	for _, l := range d.listeners {
		if l.parsed == nil {
			continue
		}
		got = append(got, "listener "+l.name)
		for _, c := range l.parsed.chains {
			if c.body.config != nil {
				got = append(got, c.title())
			}
		}
	}
	for _, r := range d.routes {
		for _, h := range r.hosts {
			if h.decoded != nil {
				got = append(got, "host "+h.decoded.GetName())
			}
		}
	}
	for name := range d.cache.clusters {
		got = append(got, "cluster "+name)
	}
	if want := []string{"listener l", "filter chain 1", "host x", "cluster a"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
