package matcher_test

import (
	"net/netip"
	"strings"
	"testing"

	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

func parse[M proto.Message](t testing.TB, js string, m M) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(js), m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestStringsMatchAsInEnvoy(t *testing.T) {
	for _, c := range []struct {
		m, s string
		want matcher.Verdict
	}{
		{`{"exact":"a"}`, "a", matcher.Yes},
		{`{"exact":"a"}`, "A", matcher.No},
		{`{"exact":"a","ignore_case":true}`, "A", matcher.Yes},
		{`{"prefix":"ab"}`, "abc", matcher.Yes},
		{`{"suffix":"BC","ignore_case":true}`, "abc", matcher.Yes},
		{`{"contains":"b"}`, "abc", matcher.Yes},
		{`{"contains":"B","ignore_case":true}`, "abc", matcher.Yes},
		{`{"exact":"é","ignore_case":true}`, "É", matcher.No}, // only ASCII is folded
		{`{"safe_regex":{"regex":"a|ab"}}`, "ab", matcher.Yes},
		{`{"safe_regex":{"regex":"b"}}`, "abc", matcher.No},
		{`{"safe_regex":{"regex":".*"}}`, "a\nb", matcher.No},
		{`{"safe_regex":{"regex":"(?i)ABC"}}`, "abc", matcher.Yes},
		{`{"safe_regex":{"regex":"a$"}}`, "a\n", matcher.No},
		{`{"safe_regex":{"regex":"["}}`, "a", matcher.Undecided},
		{`{"safe_regex":{"regex":"a)(b"}}`, "ab", matcher.Undecided},
		{`{}`, "a", matcher.Undecided},
	} {
		got, why := matcher.String(parse(t, c.m, &matcherv3.StringMatcher{}), c.s, nil)
		if got != c.want || (got == matcher.Undecided) != (why != "") {
			t.Errorf("%s on %q: %v (%s), want %v", c.m, c.s, got, why, c.want)
		}
	}
}

func TestHeadersMatchAsInEnvoy(t *testing.T) {
	for _, c := range []struct {
		name, m string
		headers []string
		want    matcher.Verdict
	}{
		{"a range is half open", `{"name":"n","range_match":{"start":"1","end":"5"}}`, []string{"n", "5"}, matcher.No},
		{"a range", `{"name":"n","range_match":{"start":"-3","end":"5"}}`, []string{"n", "-3"}, matcher.Yes},
		{"a range of what is no number", `{"name":"n","range_match":{"start":"1","end":"5"}}`, []string{"n", "x"}, matcher.No},
		{"the old prefix", `{"name":"n","prefix_match":"a"}`, []string{"N", "ab"}, matcher.Yes},
		{"the old suffix", `{"name":"n","suffix_match":"b"}`, []string{"n", "ab"}, matcher.Yes},
		{"the old contains", `{"name":"n","contains_match":"x"}`, []string{"n", "ab"}, matcher.No},
		{"the old regex is of the whole", `{"name":"n","safe_regex_match":{"regex":"a"}}`, []string{"n", "ab"}, matcher.No},
		{"absent, taken as empty", `{"name":"n","string_match":{"exact":""},"treat_missing_header_as_empty":true}`, nil, matcher.Yes},
		{"absent, inverted", `{"name":"n","string_match":{"exact":"a"},"invert_match":true}`, nil, matcher.No},
		{"repeats are joined without a blank", `{"name":"n","string_match":{"exact":"a,b"}}`, []string{"n", "a", "n", "b"}, matcher.Yes},
		{"an inverted doubt stays one", `{"name":"n","string_match":{"safe_regex":{"regex":"["}},"invert_match":true}`, []string{"n", "a"}, matcher.Undecided},
	} {
		r := &matcher.Request{}
		for i := 0; i+1 < len(c.headers); i += 2 {
			r.Headers = append(r.Headers, matcher.Header{Name: c.headers[i], Value: c.headers[i+1]})
		}
		if got, why := matcher.HeaderMatch(parse(t, c.m, &routev3.HeaderMatcher{}), r); got != c.want {
			t.Errorf("%s: %v (%s), want %v", c.name, got, why, c.want)
		}
	}
}

func TestCredentialsAreNotShown(t *testing.T) {
	r := &matcher.Request{Headers: []matcher.Header{{Name: "Authorization", Value: "Bearer sesame"}}}
	m := parse(t, `{"name":"authorization","string_match":{"prefix":"Basic"}}`, &routev3.HeaderMatcher{})
	if s := matcher.ExplainHeader(m, r); strings.Contains(s, "sesame") {
		t.Error(s)
	}
}

func TestAddressesMatchByRange(t *testing.T) {
	for _, c := range []struct {
		prefix string
		length uint32
		addr   string
		want   matcher.Verdict
	}{
		{"10.0.0.0", 8, "10.1.2.3", matcher.Yes},
		{"10.0.0.0", 8, "11.1.2.3", matcher.No},
		{"10.1.2.3", 0, "99.9.9.9", matcher.Yes},
		{"10.0.0.0", 99, "10.0.0.0", matcher.Yes}, // cut to the whole address
		{"10.0.0.0", 8, "::ffff:10.1.1.1", matcher.Yes},
		{"10.0.0.0", 8, "fd00::1", matcher.No},
		{"fd00::", 8, "fd12::1", matcher.Yes},
		{"nonsense", 8, "10.1.1.1", matcher.Undecided},
	} {
		got, _ := matcher.CIDR(&corev3.CidrRange{AddressPrefix: c.prefix, PrefixLen: wrapperspb.UInt32(c.length)}, netip.MustParseAddr(c.addr))
		if got != c.want {
			t.Errorf("%s/%d on %s: %v, want %v", c.prefix, c.length, c.addr, got, c.want)
		}
	}
	if got, why := matcher.CIDR(&corev3.CidrRange{AddressPrefix: "10.0.0.0"}, netip.Addr{}); got != matcher.Undecided || why == "" {
		t.Errorf("no address: %v %s", got, why)
	}
}

func TestReplacementsAreRE2s(t *testing.T) {
	for _, c := range []struct{ pattern, in, sub, want string }{
		{"e", "tee", "X", "tXX"},
		{"^/a/(.*)$", "/a/b", `/\1/\1`, "/b/b"},
		{"(a)(b)?", "ac", `[\2\1\0]`, "[aa]c"},
		{"x", "axb", `\\`, `a\b`},
		{"x", "axb", "$1", "a$1b"},
		{"", "ab", "-", "-a-b-"},
	} {
		got, err := (*matcher.Regexps)(nil).ReplaceAll(c.pattern, c.in, c.sub)
		if err != nil || got != c.want {
			t.Errorf("%s on %s with %s: %q %v, want %q", c.pattern, c.in, c.sub, got, err, c.want)
		}
	}
	if _, err := (*matcher.Regexps)(nil).ReplaceAll("a", "a", `\x`); err == nil {
		t.Error("a bad escape was taken")
	}
}

const (
	inHeader = `"input":{"name":"i","typed_config":{"@type":"type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput","header_name":"x"}}`
	inSource = `"input":{"name":"i","typed_config":{"@type":"type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.SourceIPInput"}}`
	inSNI    = `"input":{"name":"i","typed_config":{"@type":"type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.ServerNameInput"}}`
	inALPN   = `"input":{"name":"i","typed_config":{"@type":"type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.ApplicationProtocolInput"}}`
	inMeta   = `"input":{"name":"i","typed_config":{"@type":"type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput","filter":"f","path":[{"key":"k"}]}}`
)

func act(name string) string { return `{"action":{"name":"` + name + `"}}` }

func TestMatcherTreesReachTheirAction(t *testing.T) {
	ip := func(ranges string) string {
		return `{"matcher_tree":{` + inSource + `,"custom_match":{"name":"ip","typed_config":{"@type":"type.googleapis.com/xds.type.matcher.v3.IPMatcher","range_matchers":[` + ranges + `]}}}}`
	}
	rng := func(prefix string, n, action string) string {
		return `{"ranges":[{"address_prefix":"` + prefix + `","prefix_len":` + n + `}],"on_match":` + action + `}`
	}
	never := `{"matcher":{"matcher_list":{"matchers":[{"predicate":{"single_predicate":{` + inHeader + `,"value_match":{"exact":"never"}}},"on_match":` + act("never") + `}]}}}`
	names := `{"matcher_tree":{` + inSNI + `,"custom_match":{"name":"sni","typed_config":{"@type":"type.googleapis.com/xds.type.matcher.v3.ServerNameMatcher","domain_matchers":[
	 {"domains":["a.test"],"on_match":` + act("exact") + `},{"domains":["*.a.test"],"on_match":` + act("wild") + `},{"domains":["*"],"on_match":` + act("star") + `}]}}}}`
	pred := func(p string) string {
		return `{"matcher_list":{"matchers":[{"predicate":` + p + `,"on_match":` + act("yes") + `}]},"on_no_match":` + act("no") + `}`
	}
	x := func(v string) string {
		return `{"single_predicate":{` + inHeader + `,"value_match":{"exact":"` + v + `"}}}`
	}
	custom := func(in, typ, fields string) string {
		return `{"single_predicate":{` + in + `,"custom_match":{"name":"c","typed_config":{"@type":"type.googleapis.com/` + typ + `"` + fields + `}}}}`
	}
	for _, c := range []struct {
		name, tree string
		change     func(*matcher.Request)
		want       string
	}{
		{"the longest range wins", ip(rng("10.0.0.0", "8", act("eight")) + "," + rng("10.1.0.0", "16", act("sixteen"))), nil, "sixteen"},
		{"a range that leads nowhere gives way to a wider one", ip(rng("10.0.0.0", "8", act("eight")) + "," + rng("10.1.0.0", "16", never)), nil, "eight"},
		{"but not an exclusive one", ip(rng("10.0.0.0", "8", act("eight")) + "," + strings.Replace(rng("10.1.0.0", "16", never), `"on_match"`, `"exclusive":true,"on_match"`, 1)), nil, "no match"},
		{"no range", ip(rng("11.0.0.0", "8", act("eleven"))), nil, "no match"},
		{"the address is not known", ip(rng("11.0.0.0", "8", act("eleven"))), func(r *matcher.Request) { r.Conn = matcher.Conn{} }, "undecided"},
		{"an exact server name", names, func(r *matcher.Request) { r.Conn.SNI = "a.test" }, "exact"},
		{"a wildcard of any depth", names, func(r *matcher.Request) { r.Conn.SNI = "x.y.a.test" }, "wild"},
		{"any other server name", names, func(r *matcher.Request) { r.Conn.SNI = "b.test" }, "star"},
		{"no server name", names, nil, "no match"},
		{"and", pred(`{"and_matcher":{"predicate":[` + x("1") + `,` + x("1") + `]}}`), nil, "yes"},
		{"or", pred(`{"or_matcher":{"predicate":[` + x("2") + `,` + x("1") + `]}}`), nil, "yes"},
		{"not", pred(`{"not_matcher":` + x("1") + `}`), nil, "no"},
		{"a missing header is false, so its negation is true", pred(`{"not_matcher":` + x("1") + `}`), func(r *matcher.Request) { r.Headers = nil }, "yes"},
		{"application protocols are one text", `{"matcher_tree":{` + inALPN + `,"exact_match_map":{"map":{"'h2','http/1.1'":` + act("both") + `}}}}`, func(r *matcher.Request) { r.Conn.ALPN = []string{"h2", "http/1.1"} }, "both"},
		{"an address predicate", pred(custom(inSource, "envoy.extensions.matching.input_matchers.ip.v3.Ip", `,"cidr_ranges":[{"address_prefix":"10.0.0.0","prefix_len":8}],"stat_prefix":"s"`)), nil, "yes"},
		{"a metadata predicate", pred(custom(inMeta, "envoy.extensions.matching.input_matchers.metadata.v3.Metadata", `,"value":{"string_match":{"exact":"v"}}`)), nil, "yes"},
		{"a metadata predicate on what is not known", pred(custom(inMeta, "envoy.extensions.matching.input_matchers.metadata.v3.Metadata", `,"value":{"string_match":{"exact":"v"}}`)), func(r *matcher.Request) { r.Env = matcher.Env{} }, "undecided"},
		{"a CEL predicate", pred(custom(inHeader, "xds.type.matcher.v3.CelMatcher", `,"expr_match":{"cel_expr_string":"request.headers['x'] == '1' && source.port == 7"}`)), nil, "yes"},
		{"a CEL predicate on a header that is absent", pred(custom(inHeader, "xds.type.matcher.v3.CelMatcher", `,"expr_match":{"cel_expr_string":"request.headers['y'] == '1'"}`)), nil, "no"},
		{"a CEL predicate that a known part decides", pred(custom(inHeader, "xds.type.matcher.v3.CelMatcher", `,"expr_match":{"cel_expr_string":"request.method == 'POST' && upstream.port == 1"}`)), nil, "no"},
		{"a CEL predicate on what is not known", pred(custom(inHeader, "xds.type.matcher.v3.CelMatcher", `,"expr_match":{"cel_expr_string":"upstream.port == 1"}`)), nil, "undecided"},
		{"an input nobody knows", pred(`{"single_predicate":{"input":{"name":"i","typed_config":{"@type":"type.googleapis.com/xds.type.v3.TypedStruct","type_url":"type.googleapis.com/acme.Input","value":{}}},"value_match":{"exact":"1"}}}`), nil, "undecided"},
		{"keep_matching goes on", `{"matcher_list":{"matchers":[{"predicate":` + x("1") + `,"on_match":{"action":{"name":"first"},"keep_matching":true}},{"predicate":` + x("1") + `,"on_match":` + act("second") + `}]}}`, nil, "second"},
	} {
		t.Run(c.name, func(t *testing.T) {
			md, err := structpb.NewStruct(map[string]any{"k": "v"})
			if err != nil {
				t.Fatal(err)
			}
			r := &matcher.Request{
				Method: "GET", Headers: []matcher.Header{{Name: "x", Value: "1"}},
				Conn: matcher.Conn{DirectRemote: netip.MustParseAddrPort("10.1.2.3:7")},
				Env:  matcher.Env{MetadataComplete: true, FilterStateComplete: true, Metadata: map[string]*structpb.Struct{"f": md}},
			}
			if c.change != nil {
				c.change(r)
			}
			f := matcher.Eval(parse(t, c.tree, &xdsmatcher.Matcher{}), r, nil)
			got := f.Action.GetName()
			switch f.Verdict {
			case matcher.No:
				got = "no match"
			case matcher.Undecided:
				got = "undecided"
				if f.Why == "" {
					t.Error("no reason is given")
				}
			}
			if got != c.want {
				t.Errorf("%s (%s), want %s", got, f.Why, c.want)
			}
			if f.Verdict == matcher.Yes && len(f.Trail) == 0 {
				t.Error("no trail is given")
			}
		})
	}
}

func TestTreesNestedWithoutEndAreUndecided(t *testing.T) {
	m := &xdsmatcher.Matcher{}
	for range 2000 {
		m = &xdsmatcher.Matcher{OnNoMatch: &xdsmatcher.Matcher_OnMatch{OnMatch: &xdsmatcher.Matcher_OnMatch_Matcher{Matcher: m}}}
	}
	if f := matcher.Eval(m, &matcher.Request{}, nil); f.Verdict != matcher.Undecided {
		t.Errorf("%v", f.Verdict)
	}
}

func TestTheNetworkSeesNoHeaders(t *testing.T) {
	r := &matcher.Request{Network: true, Path: "/x", Headers: []matcher.Header{{Name: "x", Value: "1"}}}
	if _, ok := r.Get("x"); ok {
		t.Error("a header is seen")
	}
	if _, ok := r.Get(":path"); ok {
		t.Error("the path is seen")
	}
}

func BenchmarkHeaderRegex(b *testing.B) {
	m := parse(b, `{"name":"x","string_match":{"safe_regex":{"regex":"^v[0-9]+-.*"}}}`, &routev3.HeaderMatcher{})
	r := &matcher.Request{Headers: []matcher.Header{{Name: "x", Value: "v12-abc"}}, Env: matcher.Env{Regex: &matcher.Regexps{}}}
	b.ReportAllocs()
	for b.Loop() {
		if v, _ := matcher.HeaderMatch(m, r); v != matcher.Yes {
			b.Fatal(v)
		}
	}
}
