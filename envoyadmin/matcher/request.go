package matcher

import (
	"net/netip"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
)

// Header is one header of a request or a response, in the order it is sent. Names are compared without case.
type Header struct {
	Name, Value string
}

// Request is what Envoy sees of one request: the connection it came on, the request itself and the surroundings. A
// connection without HTTP has only Conn and Env. Nothing in it is changed by this package.
type Request struct {
	Conn Conn
	Env  Env

	// Network is true where a network filter or a filter chain asks: headers and path are then invisible.
	Network bool

	Method    string   // ":method"; empty is absent
	Scheme    string   // ":scheme", http or https
	Authority string   // ":authority", which is Host in HTTP/1; empty is absent
	Path      string   // ":path" with the query; empty is absent, as for a CONNECT of HTTP/1
	Headers   []Header // the others, in order, repeats included
	// StrippedPort is the port the connection manager cut from a CONNECT's authority; the router puts it back.
	StrippedPort string
	Protocol     string // HTTP/1.0, HTTP/1.1, HTTP/2, HTTP/3; empty is not known
}

// Conn is the downstream connection, as the listener filters left it.
type Conn struct {
	Destination  netip.AddrPort // local address: the original destination where the listener restored it
	DirectRemote netip.AddrPort // the TCP peer
	Remote       netip.AddrPort // after x-forwarded-for or PROXY protocol, as Envoy's remote address; zero: DirectRemote
	ConnRemote   netip.AddrPort // the connection's remote address (after PROXY protocol); zero: DirectRemote
	Transport    string         // tls or raw_buffer; empty: nothing detected it
	SNI          string
	ALPN         []string // in the client's order
	TLS          *TLS     // nil: plaintext
}

// TLS is the downstream TLS session.
type TLS struct {
	Version string
	// Peer is the client's certificate; nil when none was presented.
	Peer *Peer
}

// Peer is a client certificate. Its names matter only when Known: a client that presents some certificate whose
// content nobody told has Known false, and what asks for its names is undecided.
type Peer struct {
	Known     bool
	Validated Verdict // whether the chain was verified against a trusted authority
	URISANs   []string
	DNSSANs   []string
	Subject   string
	Issuer    string
	SHA256    string
	Serial    string
}

// Env is what surrounds a request and is not in it. Each map comes with a flag that says whether it is complete: in a
// complete one an absent entry is absent, otherwise it is not known.
type Env struct {
	// Random fixes Envoy's random number for the request; nil means all branches are wanted.
	Random *uint64

	// Runtime values by key, as the admin's /runtime prints them (final value).
	Runtime         map[string]string
	RuntimeComplete bool

	// Metadata is the dynamic metadata by filter namespace.
	Metadata         map[string]*structpb.Struct
	MetadataComplete bool

	// FilterState values by key, as their string form.
	FilterState         map[string]string
	FilterStateComplete bool

	// RouteMetadata is the metadata of the route, where an expression may ask for it.
	RouteMetadata map[string]*structpb.Struct

	// KnownCluster says whether the proxy has a cluster of that name now. nil: every cluster exists.
	KnownCluster func(name string) bool

	// Now is the time of the request, for tokens and expressions; zero is not known.
	Now time.Time

	// NodeID, NodeCluster, NodeZone are the proxy's own, where known.
	NodeID, NodeCluster, NodeZone string

	// Regex caches compiled expressions; nil compiles each time.
	Regex *Regexps
}

// pseudo maps the names Envoy has own slots for.
func (r *Request) pseudo(name string) (value string, special bool) {
	switch name {
	case ":method":
		return r.Method, true
	case ":scheme":
		return r.Scheme, true
	case ":authority", "host":
		return r.Authority, true
	case ":path":
		return r.Path, true
	case ":protocol":
		return "", false
	}
	return "", false
}

// Get returns a header's value as Envoy's matchers see it, repeats joined with "," and no blank. ok is false when it
// is absent. name is lower case, or a pseudo header; "host" is ":authority".
func (r *Request) Get(name string) (value string, ok bool) {
	if r.Network {
		return "", false
	}
	name = lower(name)
	if v, special := r.pseudo(name); special {
		return v, v != ""
	}
	n := 0
	var joined strings.Builder
	for i := range r.Headers {
		if !strings.EqualFold(r.Headers[i].Name, name) {
			continue
		}
		switch n {
		case 0:
			value = r.Headers[i].Value
		case 1:
			joined.WriteString(value)
			fallthrough
		default:
			joined.WriteByte(',')
			joined.WriteString(r.Headers[i].Value)
		}
		n++
	}
	if n > 1 {
		value = joined.String()
	}
	return value, n > 0
}

// Values returns every value of a header in order.
func (r *Request) Values(name string) []string {
	if r.Network {
		return nil
	}
	if v, special := r.pseudo(lower(name)); special {
		if v == "" {
			return nil
		}
		return []string{v}
	}
	var out []string
	for i := range r.Headers {
		if strings.EqualFold(r.Headers[i].Name, name) {
			out = append(out, r.Headers[i].Value)
		}
	}
	return out
}

// RemoteAddr is Envoy's downstream remote address: after x-forwarded-for where the connection manager used it.
func (r *Request) RemoteAddr() netip.Addr {
	if r.Conn.Remote.IsValid() {
		return r.Conn.Remote.Addr().Unmap()
	}
	return r.Conn.DirectRemote.Addr().Unmap()
}

// ConnRemoteAddr is the connection's remote address, which RBAC's source_ip means.
func (r *Request) ConnRemoteAddr() netip.Addr {
	if r.Conn.ConnRemote.IsValid() {
		return r.Conn.ConnRemote.Addr().Unmap()
	}
	return r.Conn.DirectRemote.Addr().Unmap()
}

func lower(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			return strings.ToLower(s)
		}
	}
	return s
}
