package envoyadmin

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDumpsOfOtherControlPlanesAreRead asks the dumps in testdata/config_dump,
// written small after what each control plane calls its objects and where it
// puts them.
func TestDumpsOfOtherControlPlanesAreRead(t *testing.T) {
	pod := Peer{URISANs: []string{"spiffe://default/redis_kuma-demo_svc_6379"}}
	client := Peer{URISANs: []string{"spiffe://bc3815c2.consul/ns/default/dc/dc1/svc/client"}}
	asked := map[string]bool{}
	for _, tc := range []struct {
		file, name string
		to         string
		call       Call
		verdict    Verdict
		code       string
		listener   string
		table      string
		cluster    string
		endpoints  string
		extra      func(o *Outcome) bool
	}{
		{"kuma", "into the Pod", "10.244.0.7:5000", Call{TLS: MTLS, Peer: pod, Direction: Inbound}, Forward, "", "inbound:10.244.0.7:5000", "", "localhost:5000", "127.0.0.1:5000", nil},
		{"kuma", "into the Pod, by another service", "10.244.0.7:5000", Call{TLS: MTLS, Peer: Peer{URISANs: []string{"spiffe://default/web"}}, Direction: Inbound}, Reject, Denied, "inbound:10.244.0.7:5000", "", "", "", nil},
		{"kuma", "into the Pod, plaintext", "10.244.0.7:5000", Call{Direction: Inbound}, Reject, NoFilterChain, "inbound:10.244.0.7:5000", "", "", "", nil},
		{"kuma", "into another port of the Pod", "10.244.0.7:9999", Call{Direction: Inbound, Protocol: TCP}, Forward, "", "inbound:passthrough:ipv4", "", "inbound:passthrough:ipv4", "10.244.0.7:9999", nil},
		{"kuma", "out to a VIP among the additional addresses", "10.96.8.8:6379", Call{Direction: Outbound, Protocol: TCP}, Forward, "", "outbound:10.96.8.8:6379", "", "redis_kuma-demo_svc_6379", "10.244.0.9:6379", func(o *Outcome) bool {
			return o.Endpoints[0].MTLS != nil && *o.Endpoints[0].MTLS && o.Endpoints[0].SNI == "redis_kuma-demo_svc_6379{mesh=default}"
		}},
		{"kuma", "out to what the mesh does not know", "1.1.1.1:443", Call{Direction: Outbound, Protocol: TCP}, Forward, "", "outbound:passthrough:ipv4", "", "outbound:passthrough:ipv4", "1.1.1.1:443", nil},

		{"gloo", "a route", "10.0.0.1:8080", Call{Authority: "petstore.test", Path: "/all-pets"}, Forward, "", "listener-::-8080", "listener-::-8080-routes", "default-petstore-8080_gloo-system", "10.0.1.5:8080", func(o *Outcome) bool {
			return o.Request.Path == "/api/pets" && o.Route == "gloo-system_petstore_route-0"
		}},
		{"gloo", "a route whose transformation is Gloo's own", "10.0.0.1:8080", Call{Authority: "petstore.test", Path: "/changed"}, Undetermined, "", "listener-::-8080", "listener-::-8080-routes", "default-petstore-8080_gloo-system", "10.0.1.5:8080", func(o *Outcome) bool { return strings.Contains(reasons(o), "io.solo.transformation") }},
		{"gloo", "no such host", "10.0.0.1:8080", Call{Authority: "x.test"}, Reject, NoVirtualHost, "listener-::-8080", "listener-::-8080-routes", "", "", nil},

		{"contour", "plain HTTP", "10.0.0.1:8080", Call{Authority: "kuard.test:8080", Path: "/api"}, Redirect, "", "ingress_http", "ingress_http", "", "", func(o *Outcome) bool { return o.Response.Location == "https://kuard.test/api" }},
		{"contour", "HTTPS", "10.0.0.1:8443", Call{TLS: TLS, SNI: "kuard.test", Authority: "kuard.test", Path: "/api/x"}, Forward, "", "ingress_https", "https/kuard.test", "default/kuard/80/da39a3ee5e", "10.0.2.5:8080 10.0.2.6:8080", nil},
		{"contour", "HTTPS to another host name", "10.0.0.1:8443", Call{TLS: TLS, SNI: "other.test", Authority: "other.test"}, Reject, NoFilterChain, "ingress_https", "", "", "", nil},
		{"contour", "a path no route has", "10.0.0.1:8443", Call{TLS: TLS, SNI: "kuard.test", Authority: "kuard.test", Path: "/apiary"}, Reject, NoRoute, "ingress_https", "https/kuard.test", "", "", nil},

		{"consul", "in, by a service with an intention", "192.168.69.179:20000", Call{TLS: MTLS, Peer: client, Direction: Gateway}, Forward, "", "public_listener:192.168.69.179:20000", "", "local_app", "127.0.0.1:8080", nil},
		{"consul", "in, by one without", "192.168.69.179:20000", Call{TLS: MTLS, Peer: Peer{URISANs: []string{"spiffe://bc3815c2.consul/ns/default/dc/dc1/svc/web"}}, Direction: Gateway}, Reject, Denied, "public_listener:192.168.69.179:20000", "", "", "", nil},
		{"consul", "in, without a certificate", "192.168.69.179:20000", Call{TLS: TLS, Direction: Gateway}, Reject, TLSRequired, "public_listener:192.168.69.179:20000", "", "", "", nil},
		{"consul", "out to a virtual address", "240.0.0.4:80", Call{Direction: Outbound}, Forward, "", "outbound_listener:127.0.0.1:15001", "", "server.default.dc1.internal.bc3815c2.consul", "192.168.69.180:20000", func(o *Outcome) bool { return o.Endpoints[0].TLS }},
		{"consul", "out to what the mesh does not know", "1.1.1.1:80", Call{Direction: Outbound}, Forward, "", "outbound_listener:127.0.0.1:15001", "", "original-destination", "1.1.1.1:80", nil},

		{"envoy-gateway", "a route", "10.0.0.1:10080", Call{Authority: "www.example.com:80", Path: "/v1/x"}, Forward, "", "default/eg/http", "default/eg/http", "httproute/default/backend/rule/0", "10.244.0.11:3000", func(o *Outcome) bool { return slices.Contains(o.Owner, "HTTPRoute default/backend") }},
		{"envoy-gateway", "no route, which its local reply makes a 410", "10.0.0.1:10080", Call{Authority: "www.example.com", Path: "/v2"}, Reject, NoRoute, "default/eg/http", "default/eg/http", "", "", func(o *Outcome) bool { return o.Response.Status == 410 }},

		{"envoy-1.14", "a regex, and a host rewritten", "10.0.0.1:443", Call{TLS: TLS, SNI: "api.test", Authority: "api.test", Path: "/v2/x"}, Forward, "", "https", "", "api", "10.0.3.5:80", func(o *Outcome) bool {
			return o.Request.Authority == "api.internal" && o.Endpoints[0].TLS && o.Endpoints[0].SNI == "api.internal"
		}},
		{"envoy-1.14", "denied by RBAC", "10.0.0.1:443", Call{TLS: TLS, SNI: "api.test", Authority: "api.test", Path: "/v1/admin"}, Reject, Denied, "https", "", "", "", nil},
		{"envoy-1.14", "a header by regex, redirected", "10.0.0.1:443", Call{TLS: TLS, SNI: "api.test", Authority: "api.test", Path: "/old/x", Headers: []Header{{"x-age", "12"}}}, Redirect, "", "https", "", "", "", func(o *Outcome) bool { return o.Response.Location == "https://api.test/new/x" }},
		{"envoy-1.14", "Redis", "10.0.0.1:6379", Call{Protocol: TCP}, Forward, "", "redis", "", "cache", "10.0.3.6:6379", nil},
	} {
		data, err := os.ReadFile(corpus + "/config_dump/" + tc.file + ".json")
		if err != nil {
			t.Fatal(err)
		}
		d, err := Read(tc.file, data)
		if err != nil {
			t.Fatal(err)
		}
		asked[tc.file] = true
		tc.call.Address = netip.MustParseAddrPort(tc.to)
		tc.call.Source = netip.MustParseAddrPort("10.9.9.9:40000")
		o := d.Match(tc.call).Outcomes[0]
		var eps []string
		for _, e := range o.Endpoints {
			eps = append(eps, e.Address)
		}
		if o.Verdict != tc.verdict || o.Error != tc.code || o.Listener != tc.listener || o.RouteConfig != tc.table || o.Cluster != tc.cluster || strings.Join(eps, " ") != tc.endpoints || tc.extra != nil && !tc.extra(&o) {
			t.Errorf("%s, %s: %s %q listener %s table %s cluster %s endpoints %v owner %v response %+v request %+v\n%q\n%+v", tc.file, tc.name, o.Verdict, o.Error, o.Listener, o.RouteConfig, o.Cluster, eps, o.Owner, o.Response, o.Request, o.Reasons, o.Endpoints)
		}
	}
	files, err := filepath.Glob(corpus + "/config_dump/*")
	if err != nil || len(files) != len(asked) {
		t.Errorf("%d dumps are asked of %d: %v", len(asked), len(files), err)
	}
}
