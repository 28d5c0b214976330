package envoyadmin

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
)

// chainBody is what a filter chain holds, decoded when the chain is chosen.
type chainBody struct {
	once   sync.Once
	config *listenerv3.FilterChain
	socket socket
	hcm    *hcmv3.HttpConnectionManager // of the terminal filter, if it is one
	tcp    *tcpv3.TcpProxy
	inline *routeEntry // the route table within the connection manager
	err    error
}

// body decodes the chain once. The virtual hosts of an inline route table are
// left out, for they may be many.
func (d *Dump) body(c *chain) *chainBody {
	c.body.once.Do(func() { d.decodeBody(c) })
	return &c.body
}

func (d *Dump) decodeBody(c *chain) {
	b := &c.body
	b.config = &listenerv3.FilterChain{}
	raw := d.data[c.from:c.to]
	if b.err = decode.JSON(raw, b.config); b.err != nil {
		return
	}
	b.socket = readSocket(b.config.GetTransportSocket())
	for i, f := range b.config.GetFilters() {
		switch filterType(f) {
		case "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager":
			m := &hcmv3.HttpConnectionManager{}
			if b.err = f.GetTypedConfig().UnmarshalTo(m); b.err != nil {
				return
			}
			b.hcm = m
			if m.GetRouteConfig() != nil {
				b.inline = d.inlineRoutes(c, i)
			}
		case "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy":
			m := &tcpv3.TcpProxy{}
			if b.err = f.GetTypedConfig().UnmarshalTo(m); b.err != nil {
				return
			}
			b.tcp = m
		default:
			continue
		}
		break
	}
}

// inlineRoutes finds the JSON of the route_config of filter i.
func (d *Dump) inlineRoutes(c *chain, i int) *routeEntry {
	at := jsonscan.Path(d.data, c.from, "filters")
	if at < 0 || d.data[at] != '[' {
		return nil
	}
	var r *routeEntry
	_, _ = jsonscan.Array(d.data, at, func(n, at int) (int, error) {
		if n != i {
			return 0, nil
		}
		for _, path := range [][]string{{"typed_config", "route_config"}, {"typed_config", "value", "route_config"}, {"config", "route_config"}} {
			if rc := jsonscan.Path(d.data, at, path...); rc >= 0 && d.data[rc] == '{' {
				r = &routeEntry{inline: true}
				r.section, r.item, r.outer, r.state, r.static = -1, -1, -1, active, true
				end, err := jsonscan.Value(d.data, rc)
				place := fmt.Sprintf("%s.filters[%d].%s", c.path(), i, strings.Join(path, "."))
				if err != nil || d.named(&r.entry, rc, end, place, "name", "name") != nil {
					r = nil
				}
				break
			}
		}
		return 0, nil
	})
	return r
}

// filterType is the full name of a network filter's configuration type, or that
// which its name implies.
func filterType(f *listenerv3.Filter) string {
	return typeOf(f.GetTypedConfig(), f.GetName())
}

func typeOf(a *anypb.Any, name string) string {
	if a != nil {
		if t, _ := decode.TypeOf(a); t != "" {
			return t
		}
	}
	if t := decode.TypeByName(name); t != "" {
		return t
	}
	return name
}

// socket is a transport socket as far as a caller can tell from outside.
type socket struct {
	name        string
	tls         bool
	clientCert  bool // a client certificate is presented, or wanted
	required    bool // downstream: without one the handshake fails
	optional    bool // starttls and its like: may be either
	sni         string
	alpn        []string
	secrets     []string // SDS names of certificates
	validation  string   // SDS name of the trust bundle
	chains      [][]byte // certificates given inline
	sans        []string // upstream: names the server must have
	proxyProto  bool
	unknown     string // why it cannot be known
	insecureAny bool   // upstream: the server's certificate is not verified
}

// readSocket unwraps a transport socket.
func readSocket(ts *corev3.TransportSocket) socket {
	s := socket{name: ts.GetName()}
	if ts == nil {
		return s
	}
	a := ts.GetTypedConfig()
	for range 4 {
		switch t := typeOf(a, ts.GetName()); t {
		case "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", "envoy.transport_sockets.raw_buffer", "raw_buffer":
			return s
		case "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext":
			var c tlsv3.UpstreamTlsContext
			if a.UnmarshalTo(&c) != nil {
				s.unknown = "TLS context does not decode"
				return s
			}
			s.tls, s.sni = true, c.GetSni()
			s.common(c.GetCommonTlsContext())
			return s
		case "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext":
			var c tlsv3.DownstreamTlsContext
			if a.UnmarshalTo(&c) != nil {
				s.unknown = "TLS context does not decode"
				return s
			}
			s.tls, s.required = true, c.GetRequireClientCertificate().GetValue()
			s.common(c.GetCommonTlsContext())
			s.clientCert = s.required
			return s
		case "":
			return s
		default:
			inner := innerSocket(a)
			if strings.Contains(t, "proxy_protocol") {
				s.proxyProto = true
			}
			if strings.Contains(t, "starttls") {
				s.optional = true
			}
			if inner == nil {
				s.unknown = "transport socket " + t + " is not known here"
				return s
			}
			if inner.GetName() != "" {
				s.name = ts.GetName()
			}
			ts, a = inner, inner.GetTypedConfig()
		}
	}
	s.unknown = "transport sockets nest too deeply"
	return s
}

// innerSocket returns the transport socket that another wraps (proxy_protocol,
// internal_upstream, tap, tcp_stats, http_11_proxy, starttls).
func innerSocket(a *anypb.Any) *corev3.TransportSocket {
	m, err := a.UnmarshalNew()
	if err != nil {
		return nil
	}
	for _, name := range []protoreflect.Name{"transport_socket", "tls_socket_config", "cleartext_socket_config"} {
		f := m.ProtoReflect().Descriptor().Fields().ByName(name)
		if f == nil || f.Message() == nil || f.Message().FullName() != "envoy.config.core.v3.TransportSocket" || !m.ProtoReflect().Has(f) {
			continue
		}
		if ts, ok := m.ProtoReflect().Get(f).Message().Interface().(*corev3.TransportSocket); ok {
			return ts
		}
	}
	return nil
}

// asks says whether a server asks the client for a certificate: it must have
// one, or there is something to verify it against. Source:
// DefaultCertValidator::initializeSslContexts in
// source/common/tls/cert_validator/default_validator.cc.
func (s *socket) asks() bool { return s.required || !s.insecureAny }

func (s *socket) common(c *tlsv3.CommonTlsContext) {
	s.alpn = c.GetAlpnProtocols()
	for _, x := range c.GetTlsCertificateSdsSecretConfigs() {
		s.secrets = append(s.secrets, x.GetName())
	}
	for _, x := range c.GetTlsCertificates() {
		if b := x.GetCertificateChain().GetInlineBytes(); len(b) > 0 {
			s.chains = append(s.chains, b)
		} else if t := x.GetCertificateChain().GetInlineString(); t != "" {
			s.chains = append(s.chains, []byte(t))
		}
	}
	s.clientCert = len(c.GetTlsCertificates())+len(c.GetTlsCertificateSdsSecretConfigs()) > 0 ||
		c.GetTlsCertificateProviderInstance() != nil || c.GetCustomTlsCertificateSelector() != nil
	v := c.GetValidationContext()
	switch {
	case c.GetValidationContextSdsSecretConfig() != nil:
		s.validation = c.GetValidationContextSdsSecretConfig().GetName()
	case c.GetCombinedValidationContext() != nil:
		s.validation = c.GetCombinedValidationContext().GetValidationContextSdsSecretConfig().GetName()
		v = c.GetCombinedValidationContext().GetDefaultValidationContext()
	case v == nil:
		s.insecureAny = true
	}
	for _, m := range v.GetMatchTypedSubjectAltNames() {
		s.sans = append(s.sans, sanText(m.GetMatcher()))
	}
	for _, m := range v.GetMatchSubjectAltNames() { //nolint:staticcheck // dumps of older Envoys hold nothing else
		s.sans = append(s.sans, sanText(m))
	}
}

func sanText(m interface {
	GetExact() string
	GetPrefix() string
	GetSuffix() string
},
) string {
	switch {
	case m.GetExact() != "":
		return m.GetExact()
	case m.GetPrefix() != "":
		return m.GetPrefix() + "*"
	default:
		return "*" + m.GetSuffix()
	}
}

// object is the JSON at an entry, without secrets.
func (d *Dump) object(from, to int) json.RawMessage {
	if from < 0 || to <= from || to > len(d.data) {
		return nil
	}
	return redact(d.data[from:to])
}

// secretFields hold what must not leave the proxy. Envoy redacts most itself.
var secretFields = []string{
	"private_key", "privateKey", "private_key_provider", "privateKeyProvider", "password", "session_ticket_keys", "sessionTicketKeys",
	"pkcs12", "token_secret", "tokenSecret", "hmac_secret", "hmacSecret", "generic_secret", "genericSecret", "client_secret", "clientSecret",
	"local_jwks", "localJwks", "access_key_id", "secret_access_key", "session_token", "auth_password", "authPassword", "users", "credentials", "inline_password",
}

var secretHeaders = []string{"authorization", "cookie", "set-cookie", "proxy-authorization", "x-api-key", "x-auth-token", "api-key"}

// maxObject bounds the JSON kept with a step.
const maxObject = 64 << 10

// redact copies JSON without the values of secret fields; objects beyond
// maxObject are left out altogether, for their place in the dump is known.
func redact(raw []byte) json.RawMessage {
	if len(raw) > maxObject {
		return nil
	}
	var out []byte
	var value func(at int) (int, error)
	last := 0
	cut := func(at int) (int, error) {
		end, err := jsonscan.Value(raw, at)
		if err != nil {
			return end, err
		}
		out = append(out, raw[last:at]...)
		out = append(out, `"[redacted]"`...)
		last = end
		return end, nil
	}
	depth := 0
	value = func(at int) (int, error) {
		if depth++; depth > 200 {
			return cut(at)
		}
		defer func() { depth-- }()
		switch raw[at] {
		case '{':
			key := strings.ToLower(jsonscan.Text(raw, jsonscan.Path(raw, at, "key")))
			return jsonscan.Object(raw, at, func(k []byte, at int) (int, error) {
				name := string(k)
				if slices.Contains(secretFields, name) {
					return cut(at)
				}
				if (name == "value" || name == "raw_value") && slices.Contains(secretHeaders, key) {
					return cut(at)
				}
				if at >= len(raw) {
					return 0, nil
				}
				return value(at)
			})
		case '[':
			return jsonscan.Array(raw, at, func(_, at int) (int, error) {
				if at >= len(raw) {
					return 0, nil
				}
				return value(at)
			})
		}
		return 0, nil
	}
	wrap := func(at int) (int, error) {
		end, err := value(at)
		if err == nil && end == 0 {
			return jsonscan.Value(raw, at)
		}
		return end, err
	}
	if len(raw) == 0 {
		return nil
	}
	if _, err := wrap(0); err != nil {
		return nil
	}
	return append(out, raw[last:]...)
}

// unpack returns what an Any holds if it is an M.
func unpack[M proto.Message](a *anypb.Any, m M) bool {
	return a != nil && a.MessageIs(m) && a.UnmarshalTo(m) == nil
}
