package route_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

type caseFile struct {
	Cases []struct {
		ID     string                     `json:"id"`
		Kind   string                     `json:"kind"`
		Config map[string]json.RawMessage `json:"config"`
		Reject string                     `json:"reject"`
		Checks []struct {
			Request json.RawMessage `json:"request"`
			Expect  json.RawMessage `json:"expect"`
		} `json:"checks"`
	} `json:"cases"`
}

func loadCases(t *testing.T) caseFile {
	t.Helper()
	data, err := os.ReadFile("../../testdata/envoy-cases/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var f caseFile
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

type caseRequest struct {
	Authority     string                     `json:"authority"`
	Path          *string                    `json:"path"`
	Method        string                     `json:"method"`
	Scheme        string                     `json:"scheme"`
	Proto         string                     `json:"x_forwarded_proto"`
	Headers       [][2]string                `json:"headers"`
	Internal      bool                       `json:"internal"`
	Random        uint64                     `json:"random"`
	Runtime       map[string]json.RawMessage `json:"runtime"`
	Metadata      map[string]map[string]any  `json:"dynamic_metadata"`
	FilterState   map[string]string          `json:"filter_state"`
	KnownClusters *[]string                  `json:"known_clusters"`
	Host          string                     `json:"host"`
}

func (c *caseRequest) request(t *testing.T) *matcher.Request {
	t.Helper()
	or := func(s, d string) string {
		if s == "" {
			return d
		}
		return s
	}
	r := &matcher.Request{
		Authority: c.Authority, Method: or(c.Method, "GET"), Scheme: or(c.Scheme, "http"),
		Env: matcher.Env{Random: &c.Random, RuntimeComplete: true, MetadataComplete: true, FilterStateComplete: true, FilterState: c.FilterState, Regex: &matcher.Regexps{}},
	}
	if c.Path != nil {
		r.Path = *c.Path
	}
	r.Headers = append(r.Headers, matcher.Header{Name: "x-forwarded-proto", Value: or(c.Proto, r.Scheme)})
	if c.Internal {
		r.Headers = append(r.Headers, matcher.Header{Name: "x-envoy-internal", Value: "true"})
	}
	for _, h := range c.Headers {
		r.Headers = append(r.Headers, matcher.Header{Name: h[0], Value: h[1]})
	}
	r.Env.Runtime = map[string]string{}
	for k, v := range c.Runtime {
		r.Env.Runtime[k] = string(v)
	}
	r.Env.Metadata = map[string]*structpb.Struct{}
	for k, v := range c.Metadata {
		s, err := structpb.NewStruct(v)
		if err != nil {
			t.Fatal(err)
		}
		r.Env.Metadata[k] = s
	}
	if c.KnownClusters != nil {
		r.Env.KnownCluster = func(n string) bool { return slices.Contains(*c.KnownClusters, n) }
	}
	return r
}

func joined(hs []matcher.Header, name string) string {
	v, _ := (&matcher.Request{Headers: hs}).Get(name)
	return v
}

func TestEnvoysRouteCasesEndAsInEnvoy(t *testing.T) {
	checks := 0
	for _, c := range loadCases(t).Cases {
		if c.Kind != "route" {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			rc := &routev3.RouteConfiguration{}
			if err := protojson.Unmarshal(c.Config["route_config"], rc); err != nil {
				t.Fatal(err)
			}
			table := route.NewTable(rc)
			if c.Reject != "" {
				checks++
				if why := route.Rejected(rc); !strings.Contains(strings.ToLower(why), strings.ToLower(c.Reject)) {
					t.Fatalf("rejected for %q, want %q", why, c.Reject)
				}
				return
			}
			if why := route.Rejected(rc); why != "" {
				t.Fatalf("rejected: %s", why)
			}
			for _, ch := range c.Checks {
				checks++
				var cr caseRequest
				if err := json.Unmarshal(ch.Request, &cr); err != nil {
					t.Fatal(err)
				}
				d := table.Route(cr.request(t))
				if len(d.Outcomes) != 1 {
					t.Fatalf("%s: %d outcomes", ch.Request, len(d.Outcomes))
				}
				checkOutcome(t, string(ch.Request), ch.Expect, d.Outcomes[0])
			}
		})
	}
	if checks < 150 {
		t.Errorf("only %d checks were made", checks)
	}
}

func checkOutcome(t *testing.T, req string, expect json.RawMessage, o route.Outcome) {
	t.Helper()
	var want map[string]any
	if err := json.Unmarshal(expect, &want); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]route.Kind{
		"forward": route.Forward, "redirect": route.Redirect, "tls_redirect": route.TLSRedirect, "direct_response": route.DirectResponse,
		"no_vhost": route.NoVirtualHost, "no_route": route.NoRoute, "cluster_not_found": route.ClusterNotFound,
	}
	for k, w := range want {
		var got any
		switch k {
		case "outcome":
			got, w = o.Kind, kinds[w.(string)]
		case "vhost":
			got = o.VirtualHost
		case "cluster":
			got = o.Cluster
		case "location":
			got = o.Location
		case "status":
			got = float64(o.Status)
		case "body":
			got = o.Body
		case "flags":
			got = o.Flags
		case "details":
			got = o.Details
		case "upstream_path":
			got = o.Upstream.Path
		case "upstream_host":
			got = o.Upstream.Authority
		case "upstream_headers":
			for n, v := range w.(map[string]any) {
				if got := joined(o.Upstream.Headers, n); got != v {
					t.Errorf("%s: header %s is %q, want %q", req, n, got, v)
				}
			}
			continue
		default:
			t.Fatalf("unknown expectation %s", k)
		}
		if got != w {
			t.Errorf("%s: %s is %v, want %v (%s)", req, k, got, w, o.Why)
		}
	}
}

func TestEnvoysNormalisationCasesEndAsInEnvoy(t *testing.T) {
	checks := 0
	for _, c := range loadCases(t).Cases {
		if c.Kind != "path_normalize" && c.Kind != "host_normalize" {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			hcm := &hcmv3.HttpConnectionManager{}
			if err := protojson.Unmarshal(c.Config["http_connection_manager"], hcm); err != nil {
				t.Fatal(err)
			}
			var port uint32
			if p, ok := c.Config["listener_port"]; ok {
				if err := json.Unmarshal(p, &port); err != nil {
					t.Fatal(err)
				}
			}
			for _, ch := range c.Checks {
				checks++
				var cr caseRequest
				if err := json.Unmarshal(ch.Request, &cr); err != nil {
					t.Fatal(err)
				}
				req := cr.request(t)
				var want struct {
					Action, Path, Details string
					Status                int
					Host                  *string
				}
				if err := json.Unmarshal(ch.Expect, &want); err != nil {
					t.Fatal(err)
				}
				if c.Kind == "host_normalize" {
					req.Path, req.Authority = "/", cr.Host
					if got := route.NormalizeHost(hcm, port, cr.Host); got != *want.Host {
						t.Errorf("%s: host %q, want %q", cr.Host, got, *want.Host)
					}
					continue
				}
				req.Authority = "a.test"
				n := route.Normalize(hcm, port, req)
				action := "continue"
				switch {
				case n.Refusal.Location != "":
					action = "redirect"
				case n.Refusal.Status != 0:
					action = "reject"
				}
				if action != want.Action {
					t.Errorf("%s: %s, want %s", *cr.Path, action, want.Action)
				}
				if want.Path != "" && n.Request.Path != want.Path {
					t.Errorf("%s: path %q, want %q", *cr.Path, n.Request.Path, want.Path)
				}
				if want.Status != 0 && (n.Refusal.Status != want.Status || n.Refusal.Details != want.Details) {
					t.Errorf("%s: %d %s, want %d %s", *cr.Path, n.Refusal.Status, n.Refusal.Details, want.Status, want.Details)
				}
			}
		})
	}
	if checks < 28 {
		t.Errorf("only %d checks were made", checks)
	}
}
