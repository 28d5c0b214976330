package iptables

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// InterfaceAddr is one address of an interface.
type InterfaceAddr struct {
	Interface string
	Prefix    netip.Prefix // the address with its prefix length
	Broadcast netip.Addr   // invalid where it has none
	Secondary bool
}

// Route is one route of the main table.
type Route struct {
	Dst       netip.Prefix
	Via       netip.Addr // invalid where directly connected
	Interface string
	Metric    int
	Type      string // unicast, blackhole, unreachable, prohibit ...
}

// ParseIPAddr reads the text of `ip -j addr`. The error is a [*ParseError].
func ParseIPAddr(name string, data []byte) ([]InterfaceAddr, error) {
	var links []struct {
		Name string `json:"ifname"`
		Addr []struct {
			Local     string `json:"local"`
			Prefix    int    `json:"prefixlen"`
			Broadcast string `json:"broadcast"`
			Secondary bool   `json:"secondary"`
		} `json:"addr_info"`
	}
	if err := decode(name, data, &links, "ip -j addr"); err != nil {
		return nil, err
	}
	var out []InterfaceAddr
	for _, l := range links {
		for _, a := range l.Addr {
			ip, err := netip.ParseAddr(a.Local)
			if err != nil {
				if a.Local == "" {
					continue
				}
				return nil, &ParseError{File: name, Msg: fmt.Sprintf("interface %q: address %q is none", l.Name, a.Local)}
			}
			p := netip.PrefixFrom(ip.WithZone(""), a.Prefix)
			if !p.IsValid() {
				return nil, &ParseError{File: name, Msg: fmt.Sprintf("interface %q: prefix length %d of %s", l.Name, a.Prefix, a.Local)}
			}
			b, _ := netip.ParseAddr(a.Broadcast)
			out = append(out, InterfaceAddr{Interface: l.Name, Prefix: p, Broadcast: b, Secondary: a.Secondary})
		}
	}
	return out, nil
}

// ParseIPRoute reads the text of `ip -j route` or `ip -j -6 route`. The error is
// a [*ParseError].
func ParseIPRoute(name string, data []byte) ([]Route, error) {
	var routes []struct {
		Type    string   `json:"type"`
		Dst     string   `json:"dst"`
		Gateway string   `json:"gateway"`
		Dev     string   `json:"dev"`
		Metric  int      `json:"metric"`
		Flags   []string `json:"flags"`
		Hops    []struct {
			Gateway string `json:"gateway"`
			Dev     string `json:"dev"`
		} `json:"nexthops"`
	}
	if err := decode(name, data, &routes, "ip -j route"); err != nil {
		return nil, err
	}
	six := false // one text holds one family; a default route may not tell which
	for _, r := range routes {
		six = six || strings.Contains(r.Dst, ":") || strings.Contains(r.Gateway, ":")
	}
	var out []Route
	for _, r := range routes {
		via, _ := netip.ParseAddr(r.Gateway)
		dev := r.Dev
		if dev == "" && len(r.Hops) > 0 {
			dev = r.Hops[0].Dev
			via, _ = netip.ParseAddr(r.Hops[0].Gateway)
		}
		var dst netip.Prefix
		switch {
		case r.Dst == "default":
			dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			if six {
				dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			}
		default:
			p, err := netip.ParsePrefix(r.Dst)
			if err != nil {
				a, err := netip.ParseAddr(r.Dst)
				if err != nil {
					return nil, &ParseError{File: name, Msg: fmt.Sprintf("route to %q", r.Dst)}
				}
				p = netip.PrefixFrom(a, a.BitLen())
			}
			dst = p.Masked()
		}
		typ := r.Type
		if typ == "" {
			typ = "unicast"
		}
		out = append(out, Route{Dst: dst, Via: via, Interface: dev, Metric: r.Metric, Type: typ})
	}
	return out, nil
}

func decode(name string, data []byte, v any, what string) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return &ParseError{File: name, Msg: "is empty: expected the output of " + what}
	}
	if err := json.Unmarshal(data, v); err != nil {
		line := 0
		if se, ok := err.(*json.SyntaxError); ok {
			line = bytes.Count(data[:min(int(se.Offset), len(data))], []byte{'\n'}) + 1
		}
		return &ParseError{File: name, Line: line, Msg: "is not the output of " + what + ": " + err.Error()}
	}
	return nil
}

// learnLocals gathers the addresses that are surely the namespace's own.
func (w *walk) learnLocals() {
	w.anyLocal = len(w.h.Addrs) > 0 || len(w.h.LocalAddresses) > 0
	if w.locals == nil {
		w.locals = map[netip.Addr]bool{}
	}
	for _, a := range w.h.LocalAddresses {
		w.locals[a.Unmap()] = true
	}
	if w.p.Hook == Output {
		w.locals[w.p.Src.Addr()] = true
	}
}

// isLocal says whether an address is the namespace's own. Where no addresses were
// given it is unknown of all but the loopback.
func (w *walk) isLocal(f *flow, a netip.Addr) answer {
	if a.IsLoopback() || w.locals[a] || w.isBroadcast(a) {
		return yes
	}
	for i := range w.h.Addrs {
		if w.h.Addrs[i].Prefix.Addr() == a {
			return yes
		}
	}
	if w.anyLocal || a.IsMulticast() {
		return no
	}
	return w.unsure(f, "local "+a.String(), "whether "+a.String()+" is an address of this namespace is not known (--ip-addr, --local-address)")
}

func (w *walk) isBroadcast(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	if a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true
	}
	return slices.ContainsFunc(w.h.Addrs, func(i InterfaceAddr) bool { return i.Broadcast == a })
}

// addrType answers addrtype as xt_addrtype.c and the local routing table do.
func (w *walk) addrType(f *flow, a netip.Addr, types []string, dev string, limited bool) answer {
	asks := func(t string) bool { return slices.Contains(types, t) }
	if a.Is6() {
		if asks("MULTICAST") && !a.IsMulticast() || asks("UNICAST") && (a.IsMulticast() || a.IsUnspecified()) || asks("UNSPEC") && !a.IsUnspecified() {
			return no
		}
		if asks("LOCAL") {
			return w.localOn(f, a, dev, limited)
		}
		if asks("ANYCAST") || asks("UNREACHABLE") {
			return w.unsure(f, "addrtype "+strings.Join(types, ",")+" "+a.String(), "the routing table is not given")
		}
		return yes
	}
	typ := "UNICAST"
	b := a.As4()
	switch {
	case b[0] == 0 || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		typ = "BROADCAST"
	case a.IsMulticast():
		typ = "MULTICAST"
	case w.isBroadcast(a):
		typ = "BROADCAST"
	default:
		if asks("LOCAL") == asks("UNICAST") {
			return is(asks("LOCAL"))
		}
		l := w.localOn(f, a, dev, limited)
		return w.negated(l, asks("UNICAST"))
	}
	return is(asks(typ))
}

// localOn says whether an address is the namespace's own and, where limited,
// stands on that interface.
func (w *walk) localOn(f *flow, a netip.Addr, dev string, limited bool) answer {
	l := w.isLocal(f, a)
	if !limited || l == no {
		return l
	}
	if l == unknown {
		return l
	}
	if dev == "" {
		return w.unsure(f, "local "+a.String()+" on the interface", "the interface of the packet is not given")
	}
	if a.IsLoopback() {
		return is(dev == "lo")
	}
	for i := range w.h.Addrs {
		if w.h.Addrs[i].Prefix.Addr() == a {
			return is(w.h.Addrs[i].Interface == dev)
		}
	}
	return w.unsure(f, "local "+a.String()+" on "+dev, "which interface has the address "+a.String()+" is not given (--ip-addr)")
}

// routeTo returns the interface towards an address, from the routes or, where
// none were given, from the networks of the interfaces.
func (h *Host) routeTo(a netip.Addr) (string, bool) {
	r, ok := h.lookup(a)
	return r.Interface, ok && r.Interface != ""
}

func (h *Host) lookup(a netip.Addr) (Route, bool) {
	var best Route
	found := false
	for _, r := range h.Routes {
		if r.Dst.Contains(a) && (!found || r.Dst.Bits() > best.Dst.Bits() || r.Dst.Bits() == best.Dst.Bits() && r.Metric < best.Metric) {
			best, found = r, true
		}
	}
	if found {
		return best, best.Type == "unicast"
	}
	for _, i := range h.Addrs {
		p := i.Prefix.Masked()
		if p.Contains(a) && p.Bits() < a.BitLen() && !a.IsLoopback() && (!found || p.Bits() > best.Dst.Bits()) {
			best, found = Route{Dst: p, Interface: i.Interface}, true
		}
	}
	return best, found
}

// interfaceAddr returns the primary address of an interface, of the family and
// scope of like.
func (w *walk) interfaceAddr(dev string, like netip.Addr) netip.Addr {
	for _, i := range w.h.Addrs {
		a := i.Prefix.Addr()
		if i.Interface == dev && a.Is4() == like.Is4() && !i.Secondary && (a.Is4() || a.IsLinkLocalUnicast() == like.IsLinkLocalUnicast()) {
			return a
		}
	}
	return netip.Addr{}
}

// redirectTo is the address REDIRECT sends to: the loopback in OUTPUT, the
// incoming interface's own in PREROUTING.
func (w *walk) redirectTo(f *flow) netip.Addr {
	if f.hook == "OUTPUT" {
		if f.dst.Is4() {
			return netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		return netip.IPv6Loopback()
	}
	if a := w.interfaceAddr(f.in, f.dst); a.IsValid() {
		return a
	}
	if w.isLocal(f, f.dst) == yes {
		w.assume("the incoming interface's first address is taken to be " + f.dst.String() + ", to which the packet came")
		return f.dst
	}
	var own []netip.Addr
	for _, a := range w.h.LocalAddresses {
		if a.Unmap().Is4() == f.dst.Is4() && !a.IsLoopback() {
			own = append(own, a.Unmap())
		}
	}
	if len(own) == 1 {
		w.assume("the incoming interface's first address is taken to be " + own[0].String())
		return own[0]
	}
	w.locals[f.dst] = true
	w.assume("the address of the incoming interface is not known: REDIRECT is shown to the address the packet came to")
	return f.dst
}

// masqueradeAs is the source a masqueraded packet gets, where it is known.
func (w *walk) masqueradeAs(f *flow) netip.Addr {
	if f.out == "lo" {
		// inet_select_addr, ipv6_dev_get_saddr: the loopback's own does not do.
		if f.dst.Is6() {
			return f.dst
		}
		for _, i := range w.h.Addrs {
			if a := i.Prefix.Addr(); a.Is4() && !a.IsLoopback() && !i.Secondary {
				return a
			}
		}
		return netip.Addr{}
	}
	if f.out == "" {
		return netip.Addr{}
	}
	next := f.dst
	if r, ok := w.h.lookup(f.dst); ok && r.Via.IsValid() {
		next = r.Via
	}
	for _, i := range w.h.Addrs {
		if i.Interface == f.out && !i.Secondary && i.Prefix.Masked().Contains(next) {
			return i.Prefix.Addr()
		}
	}
	return w.interfaceAddr(f.out, f.dst)
}
