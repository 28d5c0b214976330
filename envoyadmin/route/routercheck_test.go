package route_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

const routerCheck = "../../../shared/corpus/router_check"

type checkTest struct {
	Name  string `json:"test_name"`
	Input struct {
		Authority string `json:"authority"`
		Path      string `json:"path"`
		Method    string `json:"method"`
		SSL       bool   `json:"ssl"`
		Internal  bool   `json:"internal"`
		Random    uint64 `json:"random_value"`
		Runtime   string `json:"runtime"`
		Headers   []struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		} `json:"additional_request_headers"`
	} `json:"input"`
	Validate map[string]json.RawMessage `json:"validate"`
}

// TestEnvoysRouteTableChecksPass runs Envoy's own check files. The checker compares cluster, host and path only of what
// is forwarded; a redirect's URL is also told for a direct response.
func TestEnvoysRouteTableChecksPass(t *testing.T) {
	goldens, err := filepath.Glob(routerCheck + "/*.golden.proto.json")
	if err != nil || len(goldens) == 0 {
		t.Skip("Envoy's route table check files are not there: " + routerCheck)
	}
	tests := 0
	for _, golden := range goldens {
		name := filepath.Base(golden[:len(golden)-len(".golden.proto.json")])
		t.Run(name, func(t *testing.T) {
			rc := &routev3.RouteConfiguration{}
			js, err := yaml.YAMLToJSON(read(t, filepath.Join(routerCheck, name+".yaml")))
			if err != nil {
				t.Fatal(err)
			}
			// protojson wants a duration as "30s".
			js = regexp.MustCompile(`"timeout":\{"(seconds|nanos)":(\d+)\}`).ReplaceAll(js, []byte(`"timeout":"${2}s"`))
			if err := protojson.Unmarshal(js, rc); err != nil {
				t.Fatal(err)
			}
			// A golden has a trailing comma, which JSON does not allow and YAML does.
			js, err = yaml.YAMLToJSON(read(t, golden))
			if err != nil {
				t.Fatal(err)
			}
			var file struct {
				Tests []checkTest `json:"tests"`
			}
			if err := json.Unmarshal(js, &file); err != nil {
				t.Fatal(err)
			}
			table := route.NewTable(rc)
			for _, ct := range file.Tests {
				tests++
				t.Run(ct.Name, func(t *testing.T) { ct.run(t, table) })
			}
		})
	}
	if tests < 63 {
		t.Errorf("only %d tests were found", tests)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (ct *checkTest) run(t *testing.T, table *route.Table) {
	in := ct.Input
	scheme := "http"
	if in.SSL {
		scheme = "https"
	}
	req := &matcher.Request{
		Authority: in.Authority, Path: in.Path, Method: in.Method, Scheme: scheme,
		Headers: []matcher.Header{{Name: "x-forwarded-proto", Value: scheme}},
		Conn:    matcher.Conn{DirectRemote: netip.MustParseAddrPort("127.0.0.1:0")},
		Env:     matcher.Env{Random: &in.Random, RuntimeComplete: true, MetadataComplete: true, FilterStateComplete: true},
	}
	if in.Internal {
		req.Headers = append(req.Headers, matcher.Header{Name: "x-envoy-internal", Value: "true"})
	}
	for _, h := range in.Headers {
		req.Headers = append(req.Headers, matcher.Header{Name: h.Key, Value: h.Value})
	}
	d := table.Route(req)
	if len(d.Outcomes) != 1 {
		t.Fatalf("%d outcomes", len(d.Outcomes))
	}
	o := d.Outcomes[0]
	sent := o.Kind == route.Forward || o.Kind == route.ClusterNotFound
	ifSent := func(s string) string {
		if sent {
			return s
		}
		return ""
	}
	for k, raw := range ct.Validate {
		switch k {
		case "request_header_matches", "response_header_matches":
			view := &matcher.Request{Method: o.Upstream.Method, Path: o.Upstream.Path, Authority: o.Upstream.Authority, Scheme: scheme, Headers: o.Upstream.Headers}
			if k == "response_header_matches" {
				view = &matcher.Request{Headers: o.Response}
			}
			var ms []json.RawMessage
			if err := json.Unmarshal(raw, &ms); err != nil {
				t.Fatal(err)
			}
			for _, m := range ms {
				hm := &routev3.HeaderMatcher{}
				if err := protojson.Unmarshal(m, hm); err != nil {
					t.Fatal(err)
				}
				if v, _ := matcher.HeaderMatch(hm, view); v != matcher.Yes {
					t.Errorf("%s: %s", k, matcher.ExplainHeader(hm, view))
				}
			}
			continue
		case "code_redirect":
			var want int
			if err := json.Unmarshal(raw, &want); err != nil || want != o.Status {
				t.Errorf("status %d, want %s", o.Status, raw)
			}
			continue
		}
		var want string
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		var got string
		switch k {
		case "cluster_name":
			got = ifSent(o.Cluster)
		case "virtual_cluster_name":
			got = ifSent(o.Policy.VirtualCluster)
		case "virtual_host_name":
			got = ifSent(o.VirtualHost)
		case "path_rewrite":
			got = ifSent(o.Upstream.Path)
		case "host_rewrite":
			got = ifSent(o.Upstream.Authority)
		case "path_redirect":
			got = o.Location
			if o.Kind == route.DirectResponse {
				got = scheme + "://" + in.Authority + in.Path
			}
		default:
			t.Fatalf("unknown check %s", k)
		}
		if got != want {
			t.Errorf("%s is %q, want %q (%s)", k, got, want, o.Why)
		}
	}
	if i := slices.IndexFunc(d.Outcomes, func(o route.Outcome) bool { return o.Kind == route.Undetermined }); i >= 0 {
		t.Errorf("undetermined: %s", d.Outcomes[i].Why)
	}
}
