package matcher

import (
	"net/netip"
	"strconv"
	"strings"

	xdscore "github.com/cncf/xds/go/xds/core/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

func text(name, s string) Value { return Value{Present: Yes, Text: s, Name: name} }

func absent(name string) Value { return Value{Present: No, Name: name} }

func unknown(name, why string) Value { return Value{Name: name, Why: why} }

func addrText(name string, a netip.Addr) Value {
	if !a.IsValid() {
		return unknown(name, "the "+name+" is not known")
	}
	return text(name, a.Unmap().String())
}

func portText(name string, ap netip.AddrPort) Value {
	if !ap.IsValid() || ap.Port() == 0 {
		return unknown(name, "the "+name+" is not known")
	}
	return text(name, strconv.Itoa(int(ap.Port())))
}

// Input returns a data input's value for the request: Envoy's HTTP, network and TLS inputs.
func (r *Request) Input(cfg *xdscore.TypedExtensionConfig) Value {
	any := cfg.GetTypedConfig()
	switch name := extensionName(cfg); name {
	case "envoy.type.matcher.v3.HttpRequestHeaderMatchInput":
		m := &matcherv3.HttpRequestHeaderMatchInput{}
		if err := unpack(any, m); err != nil {
			return unknown(name, err.Error())
		}
		n := "header " + m.GetHeaderName()
		v, ok := r.Get(m.GetHeaderName())
		if !ok {
			return absent(n)
		}
		return text(n, v)
	case "envoy.type.matcher.v3.HttpRequestQueryParamMatchInput":
		m := &matcherv3.HttpRequestQueryParamMatchInput{}
		if err := unpack(any, m); err != nil {
			return unknown(name, err.Error())
		}
		n := "query parameter " + m.GetQueryParam()
		v, ok := QueryParam(r.Path, m.GetQueryParam())
		if !ok {
			return absent(n)
		}
		return text(n, v)
	case "envoy.extensions.matching.common_inputs.network.v3.DestinationIPInput":
		return addrText("destination address", r.Conn.Destination.Addr())
	case "envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput":
		return portText("destination port", r.Conn.Destination)
	case "envoy.extensions.matching.common_inputs.network.v3.SourceIPInput":
		return addrText("source address", r.RemoteAddr())
	case "envoy.extensions.matching.common_inputs.network.v3.SourcePortInput":
		if r.Conn.Remote.IsValid() {
			return portText("source port", r.Conn.Remote)
		}
		return portText("source port", r.Conn.DirectRemote)
	case "envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput":
		return addrText("direct source address", r.Conn.DirectRemote.Addr())
	case "envoy.extensions.matching.common_inputs.network.v3.SourceTypeInput":
		src, dst := r.RemoteAddr(), r.Conn.Destination.Addr().Unmap()
		switch {
		case !src.IsValid():
			return unknown("source type", "the source address is not known")
		case src.IsLoopback() || src == dst:
			return text("source type", "local")
		default:
			return absent("source type")
		}
	case "envoy.extensions.matching.common_inputs.network.v3.ServerNameInput":
		if r.Conn.SNI == "" {
			return absent("server name")
		}
		return text("server name", r.Conn.SNI)
	case "envoy.extensions.matching.common_inputs.network.v3.TransportProtocolInput":
		if r.Conn.Transport == "" {
			return absent("transport protocol")
		}
		return text("transport protocol", r.Conn.Transport)
	case "envoy.extensions.matching.common_inputs.network.v3.ApplicationProtocolInput":
		if len(r.Conn.ALPN) == 0 {
			return absent("application protocols")
		}
		return text("application protocols", "'"+strings.Join(r.Conn.ALPN, "','")+"'")
	case "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput":
		m := &networkv3.FilterStateInput{}
		if err := unpack(any, m); err != nil {
			return unknown(name, err.Error())
		}
		n := "filter state " + m.GetKey()
		v, ok := r.Env.FilterState[m.GetKey()]
		switch {
		case m.GetField() != "":
			return unknown(n, n+": its field "+m.GetField()+" is not known")
		case ok:
			return text(n, v)
		case r.Env.FilterStateComplete:
			return absent(n)
		default:
			return unknown(n, n+" is not known")
		}
	case "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput":
		m := &networkv3.DynamicMetadataInput{}
		if err := unpack(any, m); err != nil {
			return unknown(name, err.Error())
		}
		return r.metadataInput(m)
	case "envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput":
		return r.peerInput("URI SAN of the client certificate", func(p *Peer) string { return strings.Join(p.URISANs, ",") })
	case "envoy.extensions.matching.common_inputs.ssl.v3.DnsSanInput":
		return r.peerInput("DNS SAN of the client certificate", func(p *Peer) string { return strings.Join(p.DNSSANs, ",") })
	case "envoy.extensions.matching.common_inputs.ssl.v3.SubjectInput":
		return r.peerInput("subject of the client certificate", func(p *Peer) string { return p.Subject })
	default:
		return unknown(name, "matcher input "+name+" cannot be evaluated")
	}
}

func (r *Request) metadataInput(m *networkv3.DynamicMetadataInput) Value {
	n := "metadata " + m.GetFilter()
	for _, p := range m.GetPath() {
		n += "." + p.GetKey()
	}
	s, ok := r.Env.Metadata[m.GetFilter()]
	if !ok && !r.Env.MetadataComplete {
		return unknown(n, "dynamic "+n+" is not known")
	}
	if s == nil || len(m.GetPath()) == 0 {
		return absent(n)
	}
	v := s.GetFields()[m.GetPath()[0].GetKey()]
	for _, p := range m.GetPath()[1:] {
		v = v.GetStructValue().GetFields()[p.GetKey()]
	}
	if v == nil {
		return absent(n)
	}
	return Value{Present: Yes, Text: v.GetStringValue(), Data: v, Name: n}
}

func (r *Request) peerInput(name string, f func(*Peer) string) Value {
	switch t := r.Conn.TLS; {
	case t == nil || t.Peer == nil:
		return absent(name)
	case !t.Peer.Known:
		return unknown(name, "the "+name+" is not known")
	default:
		if s := f(t.Peer); s != "" {
			return text(name, s)
		}
		return absent(name)
	}
}

// QueryParam returns the first value of a query parameter of a path, as it stands there: names and values are not
// decoded. A parameter without "=" has the empty value.
func QueryParam(path, name string) (string, bool) {
	_, query, ok := strings.Cut(path, "?")
	if !ok {
		return "", false
	}
	for part := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(part, "=")
		if k == name {
			return v, true
		}
	}
	return "", false
}
