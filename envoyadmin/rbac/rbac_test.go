package rbac_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/rbac"
)

type caseFile struct {
	Cases []struct {
		ID     string                     `json:"id"`
		Kind   string                     `json:"kind"`
		Config map[string]json.RawMessage `json:"config"`
		Checks []struct {
			Request struct {
				Authority  string                    `json:"authority"`
				Path       string                    `json:"path"`
				Method     string                    `json:"method"`
				Headers    [][2]string               `json:"headers"`
				DstIP      string                    `json:"dst_ip"`
				DstPort    uint16                    `json:"dst_port"`
				ConnRemote string                    `json:"connection_remote_ip"`
				Direct     string                    `json:"direct_remote_ip"`
				Remote     string                    `json:"remote_ip"`
				SNI        string                    `json:"sni"`
				Metadata   map[string]map[string]any `json:"dynamic_metadata"`
				TLS        *struct {
					URI     []string `json:"uri_sans"`
					DNS     []string `json:"dns_sans"`
					Subject string   `json:"subject"`
				} `json:"tls"`
			} `json:"request"`
			Expect map[string]any `json:"expect"`
		} `json:"checks"`
	} `json:"cases"`
}

func TestEnvoysRBACCasesEndAsInEnvoy(t *testing.T) {
	data, err := os.ReadFile("../../testdata/envoy-cases/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var f caseFile
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	checks := 0
	for _, c := range f.Cases {
		if c.Kind != "rbac_http" && c.Kind != "rbac_network" {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			rules := &rbacv3.RBAC{}
			if err := protojson.Unmarshal(c.Config["rules"], rules); err != nil {
				t.Fatal(err)
			}
			for _, ch := range c.Checks {
				checks++
				r := ch.Request
				ap := func(s string, p uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(s), p) }
				req := &matcher.Request{
					Network: c.Kind == "rbac_network", Authority: r.Authority, Path: r.Path, Method: r.Method,
					Conn: matcher.Conn{Destination: ap(r.DstIP, r.DstPort), ConnRemote: ap(r.ConnRemote, 1), DirectRemote: ap(r.Direct, 1), Remote: ap(r.Remote, 1), SNI: r.SNI},
					Env:  matcher.Env{MetadataComplete: true, FilterStateComplete: true, Metadata: map[string]*structpb.Struct{}},
				}
				for _, h := range r.Headers {
					req.Headers = append(req.Headers, matcher.Header{Name: h[0], Value: h[1]})
				}
				for k, v := range r.Metadata {
					s, err := structpb.NewStruct(v)
					if err != nil {
						t.Fatal(err)
					}
					req.Env.Metadata[k] = s
				}
				if r.TLS != nil {
					req.Conn.TLS = &matcher.TLS{Peer: &matcher.Peer{Known: true, Validated: matcher.Yes, URISANs: r.TLS.URI, DNSSANs: r.TLS.DNS, Subject: r.TLS.Subject}}
				}
				d := rbac.Evaluate(rules, nil, req)
				for k, want := range ch.Expect {
					var got any
					switch k {
					case "allowed":
						if got = d.Allowed == matcher.Yes; d.Allowed == matcher.Undecided {
							got = d.Why
						}
					case "policy":
						if got = d.Policy; d.Policy == "" {
							got = nil
						}
					case "details", "connection_termination_details":
						got = d.Details
					case "status":
						got = float64(rbac.Status)
					case "body":
						got = rbac.Body
					case "closes_connection":
						got = d.Allowed == matcher.No
					default:
						t.Fatalf("unknown expectation %s", k)
					}
					if got != want {
						t.Errorf("%s %s: %s is %v, want %v (%s)", r.Method, r.Path, k, got, want, d.Why)
					}
				}
			}
		})
	}
	if checks < 17 {
		t.Errorf("only %d checks were made", checks)
	}
}

func parse(t *testing.T, s string) *rbacv3.RBAC {
	t.Helper()
	r := &rbacv3.RBAC{}
	if err := protojson.Unmarshal([]byte(s), r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatIsNotKnownIsNeverAPass(t *testing.T) {
	tls := &matcher.TLS{Peer: &matcher.Peer{}}
	for _, c := range []struct {
		name, rules string
		req         matcher.Request
		want        matcher.Verdict
		why         string
	}{
		{
			"ALLOW by a certificate name nobody told", `{"policies":{"a":{"permissions":[{"any":true}],"principals":[{"authenticated":{"principal_name":{"exact":"spiffe://x"}}}]}}}`,
			matcher.Request{Conn: matcher.Conn{TLS: tls}},
			matcher.Undecided, "client certificate",
		},
		{
			"ALLOW by a certificate name, but plaintext", `{"policies":{"a":{"permissions":[{"any":true}],"principals":[{"authenticated":{"principal_name":{"exact":"spiffe://x"}}}]}}}`,
			matcher.Request{},
			matcher.No, "wants certificate name",
		},
		{
			"another ALLOW policy that matches settles a doubt", `{"policies":{"a":{"permissions":[{"any":true}],"principals":[{"authenticated":{"principal_name":{"exact":"x"}}}]},"b":{"permissions":[{"any":true}],"principals":[{"any":true}]}}}`,
			matcher.Request{Conn: matcher.Conn{TLS: tls}},
			matcher.Yes, "b matches",
		},
		{
			"DENY by a doubt", `{"action":"DENY","policies":{"a":{"permissions":[{"any":true}],"principals":[{"metadata":{"filter":"jwt","path":[{"key":"p"}],"value":{"present_match":true}}}]}}}`,
			matcher.Request{},
			matcher.Undecided, "dynamic metadata jwt.p is not known",
		},
		{
			"a CEL condition on a header that is there", `{"policies":{"a":{"permissions":[{"any":true}],"principals":[{"any":true}],"condition":` + celHeaderIs + `}}}`,
			matcher.Request{Headers: []matcher.Header{{Name: "X-A", Value: "1"}}},
			matcher.Yes, "",
		},
		{
			"a CEL condition on a header that is absent is false", `{"policies":{"a":{"permissions":[{"any":true}],"principals":[{"any":true}],"condition":` + celHeaderIs + `}}}`,
			matcher.Request{},
			matcher.No, "condition does not hold",
		},
		{
			"a CEL condition on an attribute that is not known", `{"policies":{"a":{"permissions":[{"any":true}],"principals":[{"any":true}],"condition":` + celUpstream + `}}}`,
			matcher.Request{},
			matcher.Undecided, "attribute",
		},
		{
			"LOG never denies", `{"action":"LOG","policies":{"a":{"permissions":[{"any":true}],"principals":[{"any":true}]}}}`,
			matcher.Request{},
			matcher.Yes, "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := rbac.Evaluate(parse(t, c.rules), nil, &c.req)
			if d.Allowed != c.want || !strings.Contains(d.Why, c.why) {
				t.Errorf("allowed %v (%s), want %v with %q", d.Allowed, d.Why, c.want, c.why)
			}
		})
	}
}

const (
	// request.headers["x-a"] == "1"
	celHeaderIs = `{"id":1,"call_expr":{"function":"_==_","args":[{"id":2,"call_expr":{"function":"_[_]","args":[{"id":3,"select_expr":{"operand":{"id":4,"ident_expr":{"name":"request"}},"field":"headers"}},{"id":5,"const_expr":{"string_value":"x-a"}}]}},{"id":6,"const_expr":{"string_value":"1"}}]}}`
	// upstream.port == 80
	celUpstream = `{"id":1,"call_expr":{"function":"_==_","args":[{"id":2,"select_expr":{"operand":{"id":3,"ident_expr":{"name":"upstream"}},"field":"port"}},{"id":4,"const_expr":{"int64_value":"80"}}]}}`
)

func TestNestingWithoutEndEnds(t *testing.T) {
	p := &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}
	for range 5000 {
		p = &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: p}}
	}
	rules := &rbacv3.RBAC{Policies: map[string]*rbacv3.Policy{"a": {Permissions: []*rbacv3.Permission{p}, Principals: []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}}}}}
	if d := rbac.Evaluate(rules, nil, &matcher.Request{}); d.Allowed != matcher.Undecided {
		t.Errorf("allowed %v, want undecided", d.Allowed)
	}
}
