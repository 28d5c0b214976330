package route_test

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

func parse[M proto.Message](t testing.TB, js string, m M) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(js), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// table has one virtual host for all hosts with the routes given.
func table(t testing.TB, routes string) *route.Table {
	t.Helper()
	return route.NewTable(parse(t, `{"name":"rc","virtual_hosts":[{"name":"v","domains":["*"],"routes":`+routes+`}]}`, &routev3.RouteConfiguration{}))
}

func get(path string, headers ...string) *matcher.Request {
	r := &matcher.Request{
		Method: "GET", Scheme: "http", Authority: "a.test", Path: path,
		Headers: []matcher.Header{{Name: "x-forwarded-proto", Value: "http"}},
		Env:     matcher.Env{RuntimeComplete: true, MetadataComplete: true, FilterStateComplete: true},
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Headers = append(r.Headers, matcher.Header{Name: headers[i], Value: headers[i+1]})
	}
	return r
}

// ways writes outcomes as "0.3 a, 0.7 b".
func ways(d route.Decision) string {
	var out []string
	for _, o := range d.Outcomes {
		what := o.Cluster
		if o.Kind != route.Forward {
			what = string(o.Kind)
		}
		if o.Kind == route.Undetermined {
			what = "undetermined"
		}
		out = append(out, fmt.Sprintf("%.4g %s", o.Probability, what))
	}
	return strings.Join(out, ", ")
}

func TestChanceSplitsTheWay(t *testing.T) {
	weighted := `{"weighted_clusters":{"clusters":[{"name":"a","weight":30},{"name":"b","weight":70}]}}`
	for _, c := range []struct{ name, routes, want string }{
		{"weights", `[{"match":{"prefix":"/"},"route":` + weighted + `}]`, "0.3 a, 0.7 b"},
		{"a fraction", `[{"match":{"prefix":"/","runtime_fraction":{"default_value":{"numerator":30}}},"route":{"cluster":"a"}},{"match":{"prefix":"/"},"route":{"cluster":"b"}}]`, "0.3 a, 0.7 b"},
		{
			"a fraction and weights share one random number", `[{"match":{"prefix":"/","runtime_fraction":{"default_value":{"numerator":30}}},"route":` + weighted + `},{"match":{"prefix":"/"},"route":{"cluster":"c"}}]`,
			"0.3 a, 0.7 c",
		},
		{
			"two fractions do so too: the second gets what lies above the first", `[{"match":{"prefix":"/","runtime_fraction":{"default_value":{"numerator":30}}},"route":{"cluster":"a"}},
			{"match":{"prefix":"/","runtime_fraction":{"default_value":{"numerator":50}}},"route":{"cluster":"b"}},{"match":{"prefix":"/"},"route":{"cluster":"c"}}]`,
			"0.3 a, 0.2 b, 0.5 c",
		},
		{"a fraction without a route behind it", `[{"match":{"prefix":"/","runtime_fraction":{"default_value":{"numerator":25}}},"route":{"cluster":"a"}}]`, "0.25 a, 0.75 no_route"},
		{"a fraction of nothing", `[{"match":{"prefix":"/","runtime_fraction":{"default_value":{"numerator":0}}},"route":{"cluster":"a"}},{"match":{"prefix":"/"},"route":{"cluster":"b"}}]`, "1 b"},
		{"a fraction of all", `[{"match":{"prefix":"/","runtime_fraction":{"default_value":{"numerator":100}}},"route":{"cluster":"a"}},{"match":{"prefix":"/"},"route":{"cluster":"b"}}]`, "1 a"},
		{"a fraction in a million", `[{"match":{"prefix":"/","runtime_fraction":{"default_value":{"numerator":500000,"denominator":"MILLION"}}},"route":` + weighted + `},{"match":{"prefix":"/"},"route":{"cluster":"c"}}]`, "0.15 a, 0.35 b, 0.5 c"},
		{"a redirect for a part", `[{"match":{"prefix":"/","runtime_fraction":{"default_value":{"numerator":10}}},"redirect":{"host_redirect":"n"}},{"match":{"prefix":"/"},"route":{"cluster":"b"}}]`, "0.1 redirect, 0.9 b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := table(t, c.routes).Route(get("/"))
			if got := ways(d); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			sum := 0.0
			for _, o := range d.Outcomes {
				sum += o.Probability
			}
			if math.Abs(sum-1) > 1e-9 {
				t.Errorf("the probabilities add up to %g", sum)
			}
		})
	}
}

func TestWhatCannotBeDecidedIsUndetermined(t *testing.T) {
	gold := `"dynamic_metadata":[{"filter":"f","path":[{"key":"tier"}],"value":{"string_match":{"exact":"gold"}}}]`
	for _, c := range []struct{ name, routes, want, why string }{
		{"metadata nobody told", `[{"match":{"prefix":"/",` + gold + `},"route":{"cluster":"a"}},{"match":{"prefix":"/"},"route":{"cluster":"b"}}]`, "1 undetermined", "dynamic metadata f.tier is not known"},
		{"a doubt that changes nothing", `[{"match":{"prefix":"/",` + gold + `},"route":{"cluster":"a"}},{"match":{"prefix":"/"},"route":{"cluster":"a"}}]`, "1 a", "does not matter"},
		{"a doubt on another path", `[{"match":{"prefix":"/x",` + gold + `},"route":{"cluster":"a"}},{"match":{"prefix":"/"},"route":{"cluster":"b"}}]`, "1 b", ""},
		{"a doubt behind the route that matches", `[{"match":{"prefix":"/"},"route":{"cluster":"b"}},{"match":{"prefix":"/",` + gold + `},"route":{"cluster":"a"}}]`, "1 b", ""},
		{"a doubt about a part of the requests", `[{"match":{"prefix":"/","runtime_fraction":{"default_value":{"numerator":20}}},"route":{"cluster":"c"}},{"match":{"prefix":"/",` + gold + `},"route":{"cluster":"a"}},{"match":{"prefix":"/"},"route":{"cluster":"b"}}]`, "0.2 c, 0.8 undetermined", ""},
		{"filter state nobody told", `[{"match":{"prefix":"/","filter_state":[{"key":"k","string_match":{"exact":"1"}}]},"route":{"cluster":"a"}},{"match":{"prefix":"/"},"route":{"cluster":"b"}}]`, "1 undetermined", "filter state k"},
		{"a cluster plugin", `[{"match":{"prefix":"/"},"route":{"cluster_specifier_plugin":"p"}}]`, "1 undetermined", "plugin p"},
		{"a regex that does not compile", `[{"match":{"safe_regex":{"regex":"("}},"route":{"cluster":"a"}},{"match":{"prefix":"/"},"route":{"cluster":"b"}}]`, "1 undetermined", "regex"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := get("/")
			req.Env.MetadataComplete, req.Env.FilterStateComplete = false, false
			d := table(t, c.routes).Route(req)
			if got := ways(d); got != c.want {
				t.Fatalf("%s, want %s", got, c.want)
			}
			if o := d.Outcomes[len(d.Outcomes)-1]; !strings.Contains(o.Why, c.why) {
				t.Errorf("why %q, want %q", o.Why, c.why)
			}
		})
	}
}

func TestAFieldOfANewerAPIIsNeverIgnored(t *testing.T) {
	rc := &routev3.RouteConfiguration{}
	js := `{"virtual_hosts":[{"name":"v","domains":["*"],"routes":[
	 {"match":{"prefix":"/","moon_phase":"full"},"route":{"cluster":"a"}},
	 {"match":{"prefix":"/"},"route":{"cluster":"b"}}]}]}`
	if err := decode.JSON([]byte(js), rc); err != nil {
		t.Fatal(err)
	}
	d := route.NewTable(rc).Route(get("/"))
	if got := ways(d); got != "1 undetermined" || !strings.Contains(d.Outcomes[0].Why, "moon_phase") {
		t.Errorf("%s: %s", got, d.Outcomes[0].Why)
	}
	if p := strings.Join(d.Outcomes[0].Possible, "; "); !strings.Contains(p, "forward to a") || !strings.Contains(p, "forward to b") {
		t.Errorf("possible: %s", p)
	}
}

func TestWhyNotIsSaidInWords(t *testing.T) {
	tab := table(t, `[
	 {"name":"x","match":{"path":"/simple/x"},"route":{"cluster":"a"}},
	 {"match":{"prefix":"/simple","headers":[{"name":"end-user","string_match":{"exact":"jason"}}]},"route":{"cluster":"b"}},
	 {"name":"q","match":{"prefix":"/simple","query_parameters":[{"name":"v","string_match":{"exact":"2"}}]},"route":{"cluster":"c"}},
	 {"name":"re","match":{"safe_regex":{"regex":"/items/[0-9]+"}},"route":{"cluster":"d"}},
	 {"name":"g","match":{"prefix":"/simple","grpc":{}},"route":{"cluster":"e"}},
	 {"name":"auth","match":{"prefix":"/simple","headers":[{"name":"authorization","string_match":{"prefix":"Bearer x"}}]},"route":{"cluster":"f"}},
	 {"name":"ok","match":{"prefix":"/simple/nginx"},"route":{"cluster":"z"}}]`)
	d := tab.Route(get("/simple/nginx?v=1", "end-user", "bob", "authorization", "Bearer secret"))
	want := []route.NearMiss{
		{Kind: "route", Name: "x", Why: "path is not /simple/x"},
		{Kind: "route", Name: "prefix /simple, header end-user == jason", Why: "header end-user is bob, wants exact jason"},
		{Kind: "route", Name: "q", Why: "query parameter v is 1, wants exact 2"},
		{Kind: "route", Name: "re", Why: "path is not regex /items/[0-9]+"},
		{Kind: "route", Name: "g", Why: "not gRPC: header content-type is absent"},
		{Kind: "route", Name: "auth", Why: "header authorization does not match, wants prefix \"Bearer x\""},
	}
	for i, w := range want {
		if i >= len(d.NearMisses) || d.NearMisses[i] != w {
			t.Fatalf("near misses %+v, want %+v at %d", d.NearMisses, w, i)
		}
	}
	if d.Outcomes[0].Match != "prefix /simple/nginx" {
		t.Errorf("match %q", d.Outcomes[0].Match)
	}
	d = tab.Route(get("/simple/x2"))
	if d.NearMisses[1].Why != "header end-user is absent, wants exact jason" {
		t.Errorf("near miss %+v", d.NearMisses[1])
	}
}

func TestNearMissesAreBounded(t *testing.T) {
	var routes []string
	for i := range 400 {
		routes = append(routes, fmt.Sprintf(`{"name":"r%d","match":{"path":"/p/%d"},"route":{"cluster":"c"}}`, i, i))
	}
	d := table(t, "["+strings.Join(routes, ",")+"]").Route(get("/p/399x"))
	if len(d.NearMisses) != 12 {
		t.Fatalf("%d near misses", len(d.NearMisses))
	}
	if last := d.NearMisses[len(d.NearMisses)-1]; last.Name != "r399" {
		t.Errorf("the nearest is %+v", last)
	}
}

func TestAnUnknownHostIsToldTheNearestDomain(t *testing.T) {
	rc := parse(t, `{"name":"rc","virtual_hosts":[
	 {"name":"port","domains":["shop.a.test:8080"]},{"name":"typo","domains":["shup.a.test"]},
	 {"name":"sub","domains":["*.shop.a.test"]},{"name":"far","domains":["x.y.z"]}]}`, &routev3.RouteConfiguration{})
	req := get("/")
	req.Authority = "shop.a.test"
	d := route.NewTable(rc).Route(req)
	if d.Outcomes[0].Kind != route.NoVirtualHost {
		t.Fatalf("%+v", d.Outcomes[0])
	}
	var got []string
	for _, n := range d.NearMisses {
		got = append(got, n.Name)
	}
	if s := strings.Join(got, ","); s != "port,sub,typo,far" {
		t.Errorf("near misses %s", s)
	}
	if !strings.Contains(d.NearMisses[0].Why, "only the port differs") {
		t.Errorf("why %q", d.NearMisses[0].Why)
	}
}

func TestAPortThatIsPartOfTheNameIsToldWhereStarCatches(t *testing.T) {
	rc := parse(t, `{"virtual_hosts":[{"name":"a","domains":["a.com"]},{"name":"all","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"c"}}]}]}`, &routev3.RouteConfiguration{})
	req := get("/")
	req.Authority = "a.com:8080"
	d := route.NewTable(rc).Route(req)
	if d.Outcomes[0].Cluster != "c" || len(d.NearMisses) == 0 || d.NearMisses[0].Name != "a" {
		t.Errorf("%+v", d)
	}
}

func TestATableOfStarAloneTakesARequestWithoutHost(t *testing.T) {
	req := get("/")
	req.Authority = ""
	if got := ways(table(t, `[{"match":{"prefix":"/"},"route":{"cluster":"c"}}]`).Route(req)); got != "1 c" {
		t.Errorf("%s", got)
	}
}

func TestAVirtualHostThatVHDSMayBringIsNamed(t *testing.T) {
	host := func(domain, prefix string) string {
		return `{"name":"v","domains":["` + domain + `"],"routes":[{"match":{"prefix":"` + prefix + `"},"route":{"cluster":"c"}}]}`
	}
	for _, c := range []struct{ name, table, authority, want, onDemand string }{
		{"a host that is there", `"vhds":{"config_source":{"ads":{}}},"virtual_hosts":[` + host("a.com", "/") + `]`, "a.com", "1 c", ""},
		{"a host that is not", `"vhds":{"config_source":{"ads":{}}},"virtual_hosts":[` + host("a.com", "/") + `]`, "B.com:80", "1 no_virtual_host", "rc/b.com:80"},
		{"a host that * takes", `"vhds":{"config_source":{"ads":{}}},"virtual_hosts":[` + host("*", "/") + `]`, "b.com", "1 c", ""},
		{"a host without a route", `"vhds":{"config_source":{"ads":{}}},"virtual_hosts":[` + host("a.com", "/x") + `]`, "a.com", "1 no_route", "rc/a.com"},
		{"a table without VHDS", `"virtual_hosts":[` + host("a.com", "/") + `]`, "b.com", "1 no_virtual_host", ""},
	} {
		req := get("/")
		req.Authority = c.authority
		d := route.NewTable(parse(t, `{"name":"rc",`+c.table+`}`, &routev3.RouteConfiguration{})).Route(req)
		if got := ways(d); got != c.want || d.Outcomes[0].OnDemand != c.onDemand {
			t.Errorf("%s: %s on demand %q, want %s %q", c.name, got, d.Outcomes[0].OnDemand, c.want, c.onDemand)
		}
	}
}

func TestTLSContextLooksAtTheClientsCertificate(t *testing.T) {
	tab := table(t, `[{"match":{"prefix":"/","tls_context":{"presented":true,"validated":true}},"route":{"cluster":"mtls"}},{"match":{"prefix":"/"},"route":{"cluster":"rest"}}]`)
	for _, c := range []struct {
		name string
		tls  *matcher.TLS
		want string
	}{
		{"plaintext", nil, "1 rest"},
		{"no certificate", &matcher.TLS{}, "1 rest"},
		{"a validated one", &matcher.TLS{Peer: &matcher.Peer{Validated: matcher.Yes}}, "1 mtls"},
		{"one not validated", &matcher.TLS{Peer: &matcher.Peer{Validated: matcher.No}}, "1 rest"},
		{"one of which nothing is known", &matcher.TLS{Peer: &matcher.Peer{}}, "1 undetermined"},
	} {
		req := get("/")
		req.Conn.TLS = c.tls
		if got := ways(tab.Route(req)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestPathTemplatesMatchAndRewrite(t *testing.T) {
	match := func(s string) string {
		return `"path_match_policy":{"name":"m","typed_config":{"@type":"type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","path_template":"` + s + `"}}`
	}
	rewrite := func(s string) string {
		return `"path_rewrite_policy":{"name":"r","typed_config":{"@type":"type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig","path_template_rewrite":"` + s + `"}}`
	}
	for _, c := range []struct{ template, rewrite, path, want string }{
		{"/api/{user}/v/{rest=**}", "/u/{user}/{rest}", "/api/bob/v/a/b?q=1", "/u/bob/a/b?q=1"},
		{"/api/*/x", "/y", "/api/1/x", "/y"},
		{"/api/*/x", "/y", "/api/1/2/x", ""},
		{"/a/{n=x/*}", "/{n}", "/a/x/9", "/x/9"},
		{"/**", "/z", "/any/thing", "/z"},
	} {
		d := table(t, `[{"match":{`+match(c.template)+`},"route":{"cluster":"c",`+rewrite(c.rewrite)+`}}]`).Route(get(c.path))
		o := d.Outcomes[0]
		if c.want == "" {
			if o.Kind != route.NoRoute {
				t.Errorf("%s on %s: %s %s", c.template, c.path, o.Kind, o.Why)
			}
			continue
		}
		if o.Kind != route.Forward || o.Upstream.Path != c.want {
			t.Errorf("%s on %s: %s %q (%s), want %q", c.template, c.path, o.Kind, o.Upstream.Path, o.Why, c.want)
		}
	}
}

func TestTheConnectionManagerRefusesBeforeRoutes(t *testing.T) {
	for _, c := range []struct {
		name, hcm string
		change    func(*matcher.Request)
		status    int
		details   string
	}{
		{"no host", `{}`, func(r *matcher.Request) { r.Authority = "" }, 400, "missing_host_header"},
		{"no path", `{}`, func(r *matcher.Request) { r.Path = "" }, 404, "missing_path_rejected"},
		{"a CONNECT needs none", `{}`, func(r *matcher.Request) { r.Path, r.Method = "", "CONNECT" }, 0, ""},
		{"a path without a slash", `{}`, func(r *matcher.Request) { r.Path = "x" }, 404, "absolute_path_rejected"},
		{"HTTP/1.0", `{}`, func(r *matcher.Request) { r.Protocol = "HTTP/1.0" }, 426, "low_version"},
		{"HTTP/1.0 accepted", `{"http_protocol_options":{"accept_http_10":true}}`, func(r *matcher.Request) { r.Protocol = "HTTP/1.0" }, 0, ""},
		{"HTTP/1.0 without host but a default", `{"http_protocol_options":{"accept_http_10":true,"default_host_for_http_10":"d"}}`, func(r *matcher.Request) { r.Protocol, r.Authority = "HTTP/1.0", "" }, 0, ""},
		{"a host with a blank", `{}`, func(r *matcher.Request) { r.Authority = "a b" }, 400, "http.invalid_authority"},
		{"a method nobody knows", `{}`, func(r *matcher.Request) { r.Method = "FOO" }, 400, "http1.codec_error"},
		{"a header with an underscore", `{"common_http_protocol_options":{"headers_with_underscores_action":"REJECT_REQUEST"}}`, func(r *matcher.Request) { r.Headers = append(r.Headers, matcher.Header{Name: "a_b"}) }, 400, "http1.unexpected_underscore"},
		{"an escaped slash redirected", `{"path_with_escaped_slashes_action":"UNESCAPE_AND_REDIRECT"}`, func(r *matcher.Request) { r.Path = "/a%2Fb" }, 307, "path_normalization_failed"},
		{"an escaped slash of gRPC", `{"path_with_escaped_slashes_action":"UNESCAPE_AND_REDIRECT"}`, func(r *matcher.Request) {
			r.Path = "/a%2Fb"
			r.Headers = append(r.Headers, matcher.Header{Name: "content-type", Value: "application/grpc"})
		}, 400, "path_normalization_failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := get("/")
			req.Protocol = "HTTP/1.1"
			c.change(req)
			n := route.Normalize(parse(t, c.hcm, &hcmv3.HttpConnectionManager{}), 80, req)
			if n.Refusal.Status != c.status || n.Refusal.Details != c.details {
				t.Errorf("%+v, want %d %s", n.Refusal, c.status, c.details)
			}
		})
	}
}

func TestTheRequestIsMadeAsTheConnectionManagerMakesIt(t *testing.T) {
	req := get("http://b.test:81/p?q")
	req.Protocol = "HTTP/1.1"
	req.Headers = []matcher.Header{{Name: "X-Forwarded-Proto", Value: "https"}, {Name: "x-envoy-internal", Value: "true"}, {Name: "x-envoy-retry-on", Value: "5xx"}}
	req.Conn.DirectRemote = netip.MustParseAddrPort("10.0.0.9:1")
	edge := parse(t, `{"use_remote_address":true}`, &hcmv3.HttpConnectionManager{})
	n := route.Normalize(edge, 80, req)
	if n.Refusal.Status != 0 || n.Request.Authority != "b.test:81" || n.Request.Path != "/p?q" {
		t.Fatalf("absolute form: %+v %s %s", n.Refusal, n.Request.Authority, n.Request.Path)
	}
	for name, want := range map[string]string{"x-forwarded-proto": "http", "x-envoy-internal": "", "x-envoy-retry-on": "", "x-forwarded-for": "10.0.0.9"} {
		if got, _ := n.Request.Get(name); got != want {
			t.Errorf("at the edge %s is %q, want %q", name, got, want)
		}
	}
	inner := parse(t, `{"use_remote_address":false}`, &hcmv3.HttpConnectionManager{})
	req.Headers = append(req.Headers, matcher.Header{Name: "x-forwarded-for", Value: "1.2.3.4, 5.6.7.8"})
	n = route.Normalize(inner, 80, req)
	if got, _ := n.Request.Get("x-forwarded-proto"); got != "https" {
		t.Errorf("behind a proxy x-forwarded-proto is %q", got)
	}
	if got := n.Request.RemoteAddr().String(); got != "5.6.7.8" {
		t.Errorf("remote address %s", got)
	}
	if len(req.Headers) != 4 {
		t.Errorf("the request given was changed: %v", req.Headers)
	}
}

func TestUpgradesAreGrantedByRouteBeforeConnectionManager(t *testing.T) {
	ws := []string{"connection", "keep-alive, Upgrade", "upgrade", "websocket"}
	for _, c := range []struct {
		name, hcm, route string
		headers          []string
		status           int
		kind             string
	}{
		{"nothing allows it", `{}`, `{}`, ws, 403, "websocket"},
		{"the connection manager allows it", `{"upgrade_configs":[{"upgrade_type":"WebSocket"}]}`, `{}`, ws, 0, "websocket"},
		{"the route turns it off", `{"upgrade_configs":[{"upgrade_type":"websocket"}]}`, `{"route":{"upgrade_configs":[{"upgrade_type":"websocket","enabled":false}]}}`, ws, 403, "websocket"},
		{"the route turns it on", `{"upgrade_configs":[{"upgrade_type":"websocket","enabled":false}]}`, `{"route":{"upgrade_configs":[{"upgrade_type":"websocket"}]}}`, ws, 0, "websocket"},
		{"no upgrade is asked for", `{}`, `{}`, nil, 0, ""},
		{"h2c is ignored", `{}`, `{}`, []string{"connection", "upgrade", "upgrade", "h2c"}, 0, ""},
	} {
		a := route.Upgrade(parse(t, c.hcm, &hcmv3.HttpConnectionManager{}), parse(t, c.route, &routev3.Route{}), get("/", c.headers...))
		if a.Refusal.Status != c.status || a.Type != c.kind {
			t.Errorf("%s: %+v, want %d %s", c.name, a, c.status, c.kind)
		}
	}
}

func TestPoliciesComeWithTheirDefaults(t *testing.T) {
	rc := parse(t, `{"request_mirror_policies":[{"cluster":"m-table"}],"virtual_hosts":[{"name":"v","domains":["*"],"retry_policy":{"retry_on":"5xx"},"include_request_attempt_count":true,
	 "routes":[
	  {"match":{"path":"/default"},"route":{"cluster":"c"}},
	  {"match":{"path":"/own"},"route":{"cluster":"c","timeout":"0s","retry_policy":{"num_retries":3},"request_mirror_policies":[{"cluster":"m","runtime_fraction":{"default_value":{"numerator":25}}}]}},
	  {"match":{"path":"/grpc"},"route":{"cluster":"c","max_stream_duration":{"grpc_timeout_header_max":"5s"}}}]}]}`, &routev3.RouteConfiguration{})
	tab := route.NewTable(rc)
	o := tab.Route(get("/default")).Outcomes[0]
	if p := o.Policy; p.Timeout.String() != "15s" || p.Retries != 1 || p.RetryFrom != "virtual host" || len(p.Mirrors) != 1 || p.Mirrors[0].Cluster != "m-table" || p.Mirrors[0].Percent != 100 {
		t.Errorf("%+v", p)
	}
	if got := joined(o.Upstream.Headers, "x-envoy-attempt-count"); got != "1" {
		t.Errorf("x-envoy-attempt-count %q", got)
	}
	if p := tab.Route(get("/own")).Outcomes[0].Policy; p.Timeout >= 0 || p.Retries != 3 || p.RetryFrom != "route" || p.Mirrors[0].Percent != 25 {
		t.Errorf("%+v", p)
	}
	if p := tab.Route(get("/grpc", "content-type", "application/grpc", "grpc-timeout", "9S")).Outcomes[0].Policy; p.MaxStreamDuration.String() != "5s" {
		t.Errorf("%+v", p)
	}
}

func TestAHashPolicyPicksTheSameClusterForTheSameHeader(t *testing.T) {
	tab := table(t, `[{"match":{"prefix":"/"},"route":{"hash_policy":[{"header":{"header_name":"x-user"}}],"weighted_clusters":{"use_hash_policy":true,"clusters":[{"name":"a","weight":50},{"name":"b","weight":50}]}}}]`)
	// XXH64("abc") is 0x44bc2cf5ad770999, XXH64("a") 0xd24ec4f1a98c6e5b.
	for user, want := range map[string]string{
		"abc": map[bool]string{true: "1 a", false: "1 b"}[uint64(0x44bc2cf5ad770999)%100 < 50],
		"a":   map[bool]string{true: "1 a", false: "1 b"}[uint64(0xd24ec4f1a98c6e5b)%100 < 50],
	} {
		if got := ways(tab.Route(get("/", "x-user", user))); got != want {
			t.Errorf("%s: %s, want %s", user, got, want)
		}
	}
	if got := ways(tab.Route(get("/"))); got != "0.5 a, 0.5 b" {
		t.Errorf("without the header: %s", got)
	}
}

func TestWhatFiltersChangedIsSent(t *testing.T) {
	tab := table(t, `[{"match":{"prefix":"/a"},"route":{"cluster":"c","prefix_rewrite":"/b","host_rewrite_header":"x-up"}}]`)
	o := tab.Route(get("/a")).Outcomes[0]
	tab.Send(&o, get("/a?x", "x-up", "u.test"))
	if o.Upstream.Authority != "u.test" || o.Upstream.Path != "/b?x" {
		t.Errorf("%+v", o.Upstream)
	}
}

func TestTheFormerPathAndHostAreKept(t *testing.T) {
	tab := table(t, `[{"match":{"prefix":"/a"},"route":{"cluster":"c","prefix_rewrite":"/b","host_rewrite_literal":"h"}}]`)
	up := tab.Route(get("/a/1?x=2")).Outcomes[0].Upstream
	if up.Path != "/b/1?x=2" || joined(up.Headers, "x-envoy-original-path") != "/a/1?x=2" || joined(up.Headers, "x-envoy-original-host") != "a.test" || up.Authority != "h" {
		t.Errorf("%+v", up)
	}
	tab.SuppressEnvoyHeaders = true
	up = tab.Route(get("/a/1")).Outcomes[0].Upstream
	if joined(up.Headers, "x-envoy-original-path") != "" || joined(up.Headers, "x-envoy-original-host") != "" {
		t.Errorf("%+v", up)
	}
}

func BenchmarkChooseAmong5000VirtualHosts(b *testing.B) {
	x := route.NewIndex(20000)
	for i := range 5000 {
		n := fmt.Sprintf("svc-%d.ns-%d.svc.cluster.local", i, i%50)
		x.Add(n+":80", n, n+":80", fmt.Sprintf("svc-%d.ns-%d", i, i%50), fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	x.Add("wild", "*.example.com")
	tab := &route.Table{Config: &routev3.RouteConfiguration{}, Hosts: x}
	req := get("/")
	req.Authority = "svc-4999.ns-49.svc.cluster.local"
	b.ReportAllocs()
	for b.Loop() {
		if c := tab.Choose(req); c.Index != 4999 {
			b.Fatal(c)
		}
	}
}

func BenchmarkIndex5000VirtualHosts(b *testing.B) {
	var names [][]string
	for i := range 5000 {
		n := fmt.Sprintf("svc-%d.ns-%d.svc.cluster.local", i, i%50)
		names = append(names, []string{n, n + ":80", fmt.Sprintf("svc-%d.ns-%d", i, i%50), fmt.Sprintf("10.0.%d.%d", i/250, i%250)})
	}
	b.ReportAllocs()
	for b.Loop() {
		x := route.NewIndex(20000)
		for _, d := range names {
			x.Add(d[0], d...)
		}
	}
}

func BenchmarkMatchAmong500Routes(b *testing.B) {
	var routes []string
	for i := range 500 {
		m := fmt.Sprintf(`"prefix":"/svc-%d/"`, i)
		switch i % 3 {
		case 1:
			m = fmt.Sprintf(`"path":"/exact/%d","headers":[{"name":"x-user","string_match":{"exact":"u"}}]`, i)
		case 2:
			m = fmt.Sprintf(`"safe_regex":{"regex":"/re-%d/[0-9]+"}`, i)
		}
		routes = append(routes, `{"match":{`+m+`},"route":{"cluster":"c"}}`)
	}
	routes = append(routes, `{"match":{"prefix":"/"},"route":{"cluster":"last"}}`)
	tab := table(b, "["+strings.Join(routes, ",")+"]")
	req := get("/none")
	req.Env.Regex = &matcher.Regexps{}
	b.ReportAllocs()
	for b.Loop() {
		if d := tab.Route(req); d.Outcomes[0].Cluster != "last" {
			b.Fatal(d.Outcomes)
		}
	}
}
