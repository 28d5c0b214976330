package route_test

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

const envoyFuzzInputs = "../../testdata/envoy-fuzz/routes.txtar"

// fuzzInput is one input of Envoy's route fuzz test.
type fuzzInput struct {
	name   string
	config *routev3.RouteConfiguration
	req    *matcher.Request
}

// routeTestCase is test.common.router.RouteTestCase.
func routeTestCase(tb testing.TB) protoreflect.MessageDescriptor {
	tb.Helper()
	field := func(name string, number int32, label descriptorpb.FieldDescriptorProto_Label, typ descriptorpb.FieldDescriptorProto_Type, of string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Label: &label, Type: &typ}
		if of != "" {
			f.TypeName = &of
		}
		return f
	}
	const (
		one  = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
		many = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
		msg  = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
		text = descriptorpb.FieldDescriptorProto_TYPE_STRING
		num  = descriptorpb.FieldDescriptorProto_TYPE_UINT32
	)
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("route_fuzz.proto"), Package: proto.String("test"), Syntax: proto.String("proto3"),
		Dependency: []string{routev3.File_envoy_config_route_v3_route_proto.Path()},
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("Header"), Field: []*descriptorpb.FieldDescriptorProto{field("key", 1, one, text, ""), field("value", 2, one, text, "")}},
			{Name: proto.String("Headers"), Field: []*descriptorpb.FieldDescriptorProto{field("headers", 1, many, msg, ".test.Header")}},
			{Name: proto.String("RouteTestCase"), Field: []*descriptorpb.FieldDescriptorProto{
				field("config", 1, one, msg, ".envoy.config.route.v3.RouteConfiguration"),
				field("headers", 2, one, msg, ".test.Headers"), field("random_value", 3, one, num, ""),
			}},
		},
	}, protoregistry.GlobalFiles)
	if err != nil {
		tb.Fatal(err)
	}
	return file.Messages().ByName("RouteTestCase")
}

var (
	oldRegex = regexp.MustCompile(`match \{\s*regex: ("(?:[^"\\]|\\.)*")`)
	strange  = regexp.MustCompile(`\s[el]:\s+("[^"]*"|4)`) // fields that one input has beside those of its messages
	highByte = regexp.MustCompile(`\\[23][0-7][0-7]`)
)

// readFuzzInputs reads Envoy's inputs. Fields of the v2 API that only changed their name get the new one; bytes that
// are no UTF-8, which Go's text proto refuses, become the replacement character.
func readFuzzInputs(tb testing.TB) []fuzzInput {
	tb.Helper()
	ar, err := txtar.ParseFile(envoyFuzzInputs)
	if err != nil {
		tb.Fatal(err)
	}
	kind := routeTestCase(tb)
	var out []fuzzInput
	for _, f := range ar.Files {
		text := oldRegex.ReplaceAllString(string(f.Data), "match { safe_regex { regex: $1 }")
		text = strange.ReplaceAllString(text, "")
		text = strings.ReplaceAll(text, "host_rewrite: ", "host_rewrite_literal: ")
		m := dynamicpb.NewMessage(kind)
		opts := prototext.UnmarshalOptions{DiscardUnknown: true}
		err := opts.Unmarshal([]byte(text), m)
		if err != nil && strings.Contains(err.Error(), "UTF-8") {
			m = dynamicpb.NewMessage(kind)
			err = opts.Unmarshal([]byte(highByte.ReplaceAllString(text, `\357\277\275`)), m)
		}
		if err != nil {
			tb.Fatalf("%s: %v", f.Name, err)
		}
		in := fuzzInput{name: f.Name, config: &routev3.RouteConfiguration{}}
		get := func(m protoreflect.Message, name string) protoreflect.Value {
			return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
		}
		wire, err := proto.Marshal(get(m, "config").Message().Interface())
		if err != nil {
			tb.Fatalf("%s: %v", f.Name, err)
		}
		if err := proto.Unmarshal(wire, in.config); err != nil {
			tb.Fatalf("%s: %v", f.Name, err)
		}
		random := get(m, "random_value").Uint()
		in.req = &matcher.Request{
			Method: "GET", Scheme: "http",
			Env: matcher.Env{RuntimeComplete: true, MetadataComplete: true, FilterStateComplete: true, Random: &random, Regex: &matcher.Regexps{}},
		}
		list := get(get(m, "headers").Message(), "headers").List()
		for i := range list.Len() {
			h := list.Get(i).Message()
			key, value := get(h, "key").String(), get(h, "value").String()
			switch key {
			case ":authority":
				in.req.Authority = value
			case ":path":
				in.req.Path = value
			case ":method":
				in.req.Method = value
			case ":scheme":
				in.req.Scheme = value
			default:
				in.req.Headers = append(in.req.Headers, matcher.Header{Name: key, Value: value})
			}
		}
		out = append(out, in)
	}
	return out
}

// requests are the input's own request and one made up for each domain and path of its configuration.
func (in *fuzzInput) requests() []*matcher.Request {
	out := []*matcher.Request{in.req}
	add := func(host, path string) {
		r := *in.req
		r.Authority, r.Path = strings.ReplaceAll(host, "*", "made.up"), path
		r.Headers = append([]matcher.Header{{Name: "x-forwarded-proto", Value: "http"}, {Name: "content-type", Value: "application/grpc"}}, r.Headers...)
		out = append(out, &r)
		free := r
		free.Env.Random = nil
		out = append(out, &free)
	}
	for _, vh := range in.config.GetVirtualHosts() {
		for _, domain := range vh.GetDomains() {
			add(domain, "/")
			add(domain, ";a=b?x=1#y")
			for _, r := range vh.GetRoutes() {
				m := r.GetMatch()
				add(domain, m.GetPath()+m.GetPrefix()+"?id=12&debug&param=test")
				add(domain, m.GetSafeRegex().GetRegex())
			}
		}
	}
	return out
}

// TestEnvoysRouteFuzzInputsGetAnAnswerOrAReason runs inputs that Envoy's fuzzers kept because they broke it once, or
// reached something new: nothing panics, the outcomes add up, and what is undetermined says why.
func TestEnvoysRouteFuzzInputsGetAnAnswerOrAReason(t *testing.T) {
	kinds := map[route.Kind]int{}
	inputs := readFuzzInputs(t)
	for _, in := range inputs {
		t.Run(in.name, func(t *testing.T) {
			route.Rejected(in.config)
			table := route.NewTable(in.config)
			for _, req := range in.requests() {
				d := table.Route(req)
				sum := 0.0
				for i := range d.Outcomes {
					o := &d.Outcomes[i]
					kinds[o.Kind]++
					sum += o.Probability
					if o.Why == "" && o.ClusterWhy == "" {
						t.Errorf("%q %q: no reason: %+v", req.Authority, req.Path, o)
					}
				}
				if math.Abs(sum-1) > 1e-6 {
					t.Errorf("%q %q: the probabilities add up to %g", req.Authority, req.Path, sum)
				}
			}
		})
	}
	if len(inputs) < 45 || kinds[route.Forward] == 0 || kinds[route.Redirect] == 0 || kinds[route.NoVirtualHost] == 0 || kinds[route.Undetermined] == 0 || kinds[route.TLSRedirect] == 0 || kinds[route.DirectResponse] == 0 {
		t.Errorf("%d inputs, outcomes by kind: %v", len(inputs), kinds)
	}
	t.Logf("%d inputs, outcomes by kind: %v", len(inputs), kinds)
}

// TestEnvoysRouteFuzzInputsThatAreRightGetEnvoysAnswer holds the inputs made of Envoy's unit test to what that test
// expects of them.
func TestEnvoysRouteFuzzInputsThatAreRightGetEnvoysAnswer(t *testing.T) {
	want := map[string]string{
		"config_impl_test_0": "instant-server", "config_impl_test_10": "wildcard", "config_impl_test_90": "some_cluster",
		"config_impl_test_140": "500 Example text 2", "config_impl_test_150": "301 https://new.lyft.com/new_path", "config_impl_test_130": "www2",
		"config_impl_test_160": "cluster1", "config_impl_test_180": "cluster2", "config_impl_test_112": "www2", "config_impl_test_120": "404",
	}
	for _, in := range readFuzzInputs(t) {
		w, ok := want[in.name]
		if !ok {
			continue
		}
		delete(want, in.name)
		req := *in.req
		if _, ok := req.Get("x-forwarded-proto"); !ok {
			req.Headers = append(req.Headers, matcher.Header{Name: "x-forwarded-proto", Value: "http"})
		}
		o := route.NewTable(in.config).Route(&req).Outcomes[0]
		got := o.Cluster
		switch o.Kind {
		case route.Redirect:
			got = fmt.Sprint(o.Status, " ", o.Location)
		case route.DirectResponse:
			got = fmt.Sprint(o.Status, " ", o.Body)
		case route.NoVirtualHost, route.NoRoute:
			got = fmt.Sprint(o.Status)
		}
		if got != w {
			t.Errorf("%s: %s, want %s: %s", in.name, got, w, o.Why)
		}
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}
}

// addFuzzInputs gives Envoy's inputs to a fuzz target as it takes them.
func addFuzzInputs(f *testing.F) {
	for _, in := range readFuzzInputs(f) {
		js, err := protojson.Marshal(in.config)
		if err != nil {
			continue // an Any of a type that nobody knows
		}
		name, value := "x-a", "1"
		if len(in.req.Headers) > 0 {
			name, value = in.req.Headers[0].Name, in.req.Headers[0].Value
		}
		f.Add(js, in.req.Authority, in.req.Path, name, value, true)
	}
}

// TestRegexesThatBrokeEnvoyGetAnAnswerOrAReason has regexes of the kinds that Envoy's fuzzers kept: alternatives by the
// ten thousand, repeats of repeats, what RE2 refuses.
func TestRegexesThatBrokeEnvoyGetAnAnswerOrAReason(t *testing.T) {
	for name, tc := range map[string]struct {
		regex string
		want  route.Kind
	}{
		"thirty thousand alternatives":   {"\x01\x00" + strings.Repeat("\x7f", 400) + strings.Repeat("|", 30_000), route.NoRoute},
		"nine hundred groups":            {strings.Repeat("(", 900) + "/a" + strings.Repeat(")", 900), route.Forward},
		"a quotation without an end":     {`/\Qa`, route.Forward},
		"more groups than RE2 takes":     {strings.Repeat("(", 1001) + "/a" + strings.Repeat(")", 1001), route.Undetermined},
		"repeats of repeats":             {"((/a{1000}){1000}){1000}", route.Undetermined},
		"a look-ahead":                   {"/a(?!b).*", route.Undetermined},
		"a class that is not closed":     {"/[", route.Undetermined},
		"what is no UTF-8":               {"/a\xff", route.Undetermined},
		"repeats that never end (ReDoS)": {"/(a+)+", route.Forward},
	} {
		rc := &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: tc.regex}}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "c"}}},
		}}}}}
		req := &matcher.Request{Method: "GET", Path: "/a", Env: matcher.Env{Regex: &matcher.Regexps{}}}
		if o := route.NewTable(rc).Route(req).Outcomes[0]; o.Kind != tc.want || o.Why == "" {
			t.Errorf("%s: %q (%s), want %q", name, o.Kind, o.Why, tc.want)
		}
	}
}
