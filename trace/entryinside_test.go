package trace

import (
	"net/netip"
	"testing"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/hoptrail/hoptrail/k8s"
)

func TestAFilterChainNamesTheEntryOfItsVirtualService(t *testing.T) {
	vs := &k8s.VirtualService{Spec: &networking.VirtualService{}}
	vs.Spec.Tls = []*networking.TLSRoute{
		{Match: []*networking.TLSMatchAttributes{{SniHosts: []string{"a.test"}, Port: 443}}},
		{Match: []*networking.TLSMatchAttributes{{SniHosts: []string{"b.test"}}, {SniHosts: []string{"*.c.test"}}}},
	}
	vs.Spec.Tcp = []*networking.TCPRoute{
		{Match: []*networking.L4MatchAttributes{{Port: 3306}}},
		{Match: []*networking.L4MatchAttributes{{Port: 6379, DestinationSubnets: []string{"10.0.0.0/8"}}}},
		{Match: []*networking.L4MatchAttributes{{Port: 6379}}},
	}
	for _, c := range []struct{ name, sni, dst, want string }{
		{"a server name", "a.test", "1.1.1.1:443", "tls[0]"},
		{"a server name in the second match", "X.c.test", "1.1.1.1:443", "tls[1]"},
		{"a wildcard wants a letter", ".c.test", "1.1.1.1:3306", "tcp[0]"},
		{"a port", "", "1.1.1.1:3306", "tcp[0]"},
		{"a port and a destination", "", "10.1.1.1:6379", "tcp[1]"},
		{"a port and another destination", "", "11.1.1.1:6379", "tcp[2]"},
		{"a gateway's own port, which nothing asks for", "a.test", "1.1.1.1:8443", "tls[0]"},
		{"the same without a name", "", "1.1.1.1:8443", ""},
		{"another name", "z.test", "1.1.1.1:1", ""},
	} {
		if got := chainEntryOf(vs, c.sni, netip.MustParseAddrPort(c.dst)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	vs.Spec.Tcp = vs.Spec.Tcp[:1]
	if got := chainEntryOf(vs, "", netip.MustParseAddrPort("1.1.1.1:15306")); got != "tcp[0]" {
		t.Errorf("the only entry: %q", got)
	}
}
