package envoyadmin

import (
	"net/netip"
	"time"
)

// Direction says how a connection comes to the proxy.
type Direction string

// The directions. Auto lets the dump tell: a proxy with the listeners
// virtualOutbound and virtualInbound is a sidecar, anything else is not captured.
const (
	Auto     Direction = ""
	Gateway  Direction = "gateway"  // nothing captured: the address must be a listener's
	Outbound Direction = "outbound" // captured on its way out of the Pod
	Inbound  Direction = "inbound"  // captured on its way into the Pod
)

// Protocol is what the client speaks above TCP (and TLS).
type Protocol string

// The protocols.
const (
	HTTP  Protocol = "http"  // HTTP/1.0 or 1.1
	HTTP2 Protocol = "http2" // HTTP/2, with prior knowledge where there is no TLS
	TCP   Protocol = "tcp"   // anything else
)

// TLSMode says what the client does about TLS.
type TLSMode string

// The modes. The zero value reads as NoTLS. MTLS presents a certificate.
const (
	NoTLS TLSMode = "none"
	TLS   TLSMode = "tls"
	MTLS  TLSMode = "mtls"
)

// Header is one request header. Names compare without case; repeated names are
// kept in order.
type Header struct {
	Name  string
	Value string
}

// Peer is the identity in the client's certificate, for [MTLS] calls. What is
// empty was not given; a rule that asks for it is then undetermined.
type Peer struct {
	URISANs []string // spiffe://cluster.local/ns/x/sa/y
	DNSSANs []string
	Subject string // RFC 2253
}

// Call is one connection and, unless it is TCP, one request on it, as the
// client sends them.
type Call struct {
	Address     netip.AddrPort // what the client asked for
	OriginalDst netip.AddrPort // what SO_ORIGINAL_DST would say; invalid: Address
	Direction   Direction
	Source      netip.AddrPort // client; invalid: not known. A port of 0 is not known
	Protocol    Protocol       // empty: HTTP
	HTTPVersion string         // 1.0, 1.1, 2; empty: 1.1, or 2 for HTTP2
	Scheme      string         // http, https; empty: by TLS
	Method      string         // empty: GET
	Authority   string         // Host; empty: Address
	NoAuthority bool           // no Host is sent at all
	Path        string         // with the query; empty: /
	Headers     []Header
	TLS         TLSMode
	SNI         string   // empty: none sent
	ALPN        []string // in the client's order
	ConnectOnly bool     // a bare connection: stop at the terminal network filter
	Peer        Peer
	ProxyHeader bool // a PROXY protocol header goes before everything else; Source is what it says

	// PastRefusals goes on past a filter or handshake that refuses: the outcome
	// keeps the refusal's verdict and shows what would have come after it.
	PastRefusals bool
	// Random fixes Envoy's random number; nil: all branches, with probabilities.
	Random *uint64
	// Now is the time of the call, for tokens; zero: not known.
	Now time.Time
}
