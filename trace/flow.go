package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// place is where a flow stands: outside, on a node, or in a Pod.
type place struct {
	area      Area // "" is outside; AreaNode, AreaPod
	namespace string
	name      string
}

func (p place) String() string {
	switch p.area {
	case AreaNode:
		return "node:" + p.name
	case AreaPod:
		return "pod:" + p.namespace + "/" + p.name
	}
	return "external"
}

// parsePlace reads a vantage as --from takes it.
func parsePlace(from string) (place, error) {
	switch kind, name, _ := strings.Cut(from, ":"); {
	case from == "" || from == "external":
		return place{}, nil
	case kind == "node" && name != "" && !strings.ContainsAny(name, "/: "):
		return place{area: AreaNode, name: name}, nil
	case kind == "pod":
		ns, pod, ok := strings.Cut(name, "/")
		if ok && ns != "" && pod != "" && !strings.ContainsAny(pod, "/: ") {
			return place{area: AreaPod, namespace: ns, name: pod}, nil
		}
	}
	return place{}, fmt.Errorf("vantage %q is none of external, node:NAME, pod:NAMESPACE/NAME", from)
}

// flow is the packet and the request as they stand at one point, typed. It is
// passed by value; headers and alpn are never changed in place.
type flow struct {
	at    place
	proto string // tcp, udp
	src   netip.AddrPort
	dst   netip.AddrPort
	mark  uint32

	tls  string // none, tls, mtls
	sni  string
	alpn []string
	// what the outermost TLS carries, where it is TLS again
	innerTLS, innerSNI string
	innerALPN          []string
	peer               string // spiffe identity a client certificate shows

	app       string // tcp, http, grpc
	version   string // HTTP version
	method    string
	scheme    string
	authority string
	path      string
	headers   []Header

	proxied bool           // left an Envoy in the Pod it stands in: owner rules see the proxy's user
	from    place          // the Pod or node whose process opened this connection, or the node that masqueraded it
	sender  place          // the same before any node masqueraded it: whose egress policies count
	assumed bool           // src is an assumption, not given
	client  netip.AddrPort // src before a node masqueraded it; as assumed as it was then
	guessed bool           // client is an assumption
	between string         // which node masqueraded it, where a NetworkPolicy may tell: ownNode, otherNode
	fanned  bool           // one of several nodes that a load balancer may have sent it to
}

// view is the flow as the report shows it.
func (f flow) view() *Flow {
	v := &Flow{
		Proto: f.proto, Dst: addrString(f.dst), At: f.at.String(), App: f.app, TLS: f.tls, SNI: f.sni, ALPN: f.alpn,
		HTTPVersion: f.version, Method: f.method, Scheme: f.scheme, Authority: f.authority, Path: f.path, Headers: redactHeaders(f.headers),
	}
	if f.src.IsValid() && !f.assumed {
		v.Src = addrString(f.src)
	}
	if f.mark != 0 {
		v.Mark = fmt.Sprintf("0x%x", f.mark)
	}
	return v
}

// key tells flows apart that could be treated differently further on.
func (f flow) key() string {
	var b strings.Builder
	src, from := f.src.Addr().String(), f.from.String()
	if f.assumed {
		src = "assumed"
	}
	if f.fanned && f.from.area == AreaNode {
		from = "some node"
	}
	fmt.Fprintf(&b, "%s|%s|%s|%s|%x|%s|%s|%q|%s|%s|%s|%q|%s", f.at, f.proto, src, f.dst, f.mark, f.tls, f.sni, f.alpn, f.peer, f.innerTLS, f.innerSNI, f.innerALPN, from)
	fmt.Fprintf(&b, "|%s|%s|%s|%s|%s|%s|%t", f.app, f.version, f.method, f.scheme, f.authority, f.path, f.proxied)
	for _, h := range f.headers {
		fmt.Fprintf(&b, "|%s:%s", h.Name, h.Value)
	}
	fmt.Fprintf(&b, "|%s|%s", f.sender, f.between)
	return b.String()
}

// masqueraded says whether a node put its own address in the place of the
// sender's.
func (f flow) masqueraded() bool { return f.from.area == AreaNode && f.sender != f.from }

// header returns the first value of a header.
func (f flow) header(name string) (string, bool) {
	i := slices.IndexFunc(f.headers, func(h Header) bool { return strings.EqualFold(h.Name, name) })
	if i < 0 {
		return "", false
	}
	return f.headers[i].Value, true
}

// addrString prints ip:port, or the ip alone where there is no port.
func addrString(a netip.AddrPort) string {
	switch {
	case !a.IsValid():
		return ""
	case a.Port() == 0:
		return a.Addr().String()
	}
	return a.String()
}

// sensitiveHeaders carry credentials: their values never enter a report.
var sensitiveHeaders = []string{"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-amz-security-token", "x-auth-token", "x-csrf-token"}

// redactHeaders replaces the values of headers that carry credentials.
func redactHeaders(in []Header) []Header {
	if in == nil {
		return nil
	}
	out := slices.Clone(in)
	for i, h := range out {
		if slices.Contains(sensitiveHeaders, strings.ToLower(h.Name)) {
			out[i].Value = "[redacted]"
		}
	}
	return out
}
