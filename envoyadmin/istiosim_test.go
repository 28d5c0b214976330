package envoyadmin

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const corpus = "../testdata"

type simCall struct {
	Address    string              `json:"address"`
	Port       int                 `json:"port"`
	Path       string              `json:"path"`
	Protocol   string              `json:"protocol"`
	TLS        string              `json:"tls"`
	ALPN       string              `json:"alpn"`
	SNI        string              `json:"sni"`
	HostHeader string              `json:"host_header"`
	Headers    map[string][]string `json:"headers"`
	CallMode   string              `json:"call_mode"`
}

type simResult struct {
	Error       string `json:"error"`
	Listener    string `json:"listener_matched"`
	FilterChain string `json:"filter_chain_matched"`
	RouteConfig string `json:"route_config_matched"`
	VirtualHost string `json:"virtual_host_matched"`
	Route       string `json:"route_matched"`
	Cluster     string `json:"cluster_matched"`
}

type simSetup struct {
	ID    string `json:"id"`
	Proxy struct {
		Type string `json:"type"`
	} `json:"proxy"`
	ConfigDump string `json:"config_dump"`
	Cases      []struct {
		ID        string    `json:"id"`
		Effective simCall   `json:"call_effective"`
		Got       simResult `json:"got"`
	} `json:"cases"`
}

// call is the simulator's call as Envoy sees it. source stands in for the
// client, which the simulator has none of.
func (s simCall) call(proxy string) Call {
	addr, _ := netip.ParseAddr(s.Address)
	c := Call{Address: netip.AddrPortFrom(addr, uint16(s.Port)), Path: s.Path, Authority: s.HostHeader, SNI: s.SNI, Source: netip.MustParseAddrPort("10.99.99.99:40000")}
	switch {
	case proxy == "gateway" || s.CallMode == "gateway":
		c.Direction = Gateway
	case s.CallMode == "inbound":
		c.Direction = Inbound
	default:
		c.Direction = Outbound
	}
	switch s.Protocol {
	case "http":
		c.Protocol = HTTP
	case "http2":
		c.Protocol = HTTP2
	default:
		c.Protocol = TCP
	}
	switch s.TLS {
	case "tls":
		c.TLS = TLS
	case "mtls":
		c.TLS = MTLS
	}
	if s.ALPN != "" {
		c.ALPN = strings.Split(s.ALPN, ",")
	}
	for k, vs := range s.Headers {
		for _, v := range vs {
			if !strings.EqualFold(k, "host") {
				c.Headers = append(c.Headers, Header{k, v})
			}
		}
	}
	return c
}

var simErrors = map[string]string{
	"": "", "ErrNoListener": NoListener, "ErrNoFilterChain": NoFilterChain, "ErrNoRoute": NoRoute, "ErrNoVirtualHost": NoVirtualHost, "ErrTLSRedirect": TLSRequired, "ErrMTLSError": TLSRequired,
}

// simOverrides are the calls for which the simulator is not Envoy, with what
// Envoy does and why. Besides these, the simulator never looks at clusters: it
// reports those that do not exist or have no endpoint, which Envoy refuses with
// NC and UH (the cluster named is then the same).
var simOverrides = map[string]struct {
	why     string
	verdict Verdict
	want    simResult
}{
	"TestGatewayConflicts__duplicate_tls_gateway#0": {
		"two filter chains with the same match: Envoy rejects such a listener, so it cannot be active, and nothing can be said of it",
		Undetermined,
		simResult{Listener: "0.0.0.0_443"},
	},
	"TestInboundSidecarTLSModes__sidecar_http_over_TLS_simple_mode_with_peer_auth_on_port_disabled#2": {
		"the chain terminates TLS without requiring a client certificate: Envoy does not mind that one is presented, and ALPN without overlap is ignored",
		Forward,
		simResult{Listener: "virtualInbound", FilterChain: "1.1.1.1_9080", VirtualHost: "inbound|http|9080", Route: "default", Cluster: "inbound|9080||"},
	},
	"TestServiceEntry__overlapping_CIDR_with_SNI__overlapping_CIDR_with_SNI#1": {
		"the call is plaintext: no server name can be seen, whatever the simulator was given as one",
		Forward,
		simResult{Listener: "0.0.0.0_9999", FilterChain: "PassthroughFilterChain", Cluster: "PassthroughCluster"},
	},
}

func TestIstiosSimulatedCallsEndAsEnvoyEndsThem(t *testing.T) {
	files, err := filepath.Glob(corpus + "/istio-sim/setups/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no setups", err)
	}
	n, overridden := 0, 0
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var s simSetup
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(f, err)
		}
		path := filepath.Join(corpus, "istio-sim", s.ConfigDump)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Read(path, data)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range s.Cases {
			n++
			t.Run(c.ID, func(t *testing.T) {
				res := d.Match(c.Effective.call(s.Proxy.Type))
				for i := range res.Outcomes {
					if why := unsaid(&res.Outcomes[i]); why != "" {
						t.Errorf("%s: %+v", why, res.Outcomes[i])
					}
				}
				if len(res.Outcomes) == 0 {
					t.Fatal("no outcome")
				}
				o := res.Outcomes[0]
				got := simResult{Error: o.Error, Listener: o.Listener, FilterChain: o.FilterChain, RouteConfig: o.RouteConfig, VirtualHost: o.VirtualHost, Route: o.Route, Cluster: o.Cluster}
				want := c.Got
				want.Error = simErrors[want.Error]
				if want.Error == "" && (o.Error == NoEndpoint || o.Error == NoCluster) && o.Cluster != "" {
					got.Error = "" // the simulator looks at no cluster
				}
				if over, ok := simOverrides[c.ID]; ok {
					overridden++
					if got != over.want || o.Verdict != over.verdict {
						t.Errorf("verdict %s (%v)\n got %+v\nwant %+v: %s", o.Verdict, o.Reasons, got, over.want, over.why)
					}
					return
				}
				refused := c.Got.Error != "" && c.Got.Error != "ErrTLSRedirect" || o.Error == NoEndpoint || o.Error == NoCluster
				if got != want || o.Verdict == Undetermined || refused != (o.Verdict == Reject) {
					t.Errorf("verdict %s (%v)\n got %+v\nwant %+v (%s)\ncall %+v", o.Verdict, o.Reasons, got, want, c.Got.Error, c.Effective)
				}
			})
		}
	}
	if n != 273 || overridden != len(simOverrides) {
		t.Errorf("%d calls and %d overrides, want 273 and %d", n, overridden, len(simOverrides))
	}
}
