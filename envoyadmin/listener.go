package envoyadmin

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
)

// listenAddr is one address of a listener.
type listenAddr struct {
	netip.AddrPort
	ipv4Compat bool
	named      string // for what is no IP address: a pipe's path
	udp        bool
}

func (a listenAddr) String() string {
	if a.named != "" {
		return a.named
	}
	return a.AddrPort.String()
}

// address reads a core.v3.Address at b[at] without decoding it.
func (l *listenerEntry) address(b []byte, at int) {
	a := listenAddr{}
	if s := jsonscan.Path(b, at, "socket_address"); s >= 0 {
		host, port := "", -1
		_, err := jsonscan.Object(b, s, func(k []byte, at int) (int, error) {
			switch string(k) {
			case "address":
				host = jsonscan.Text(b, at)
			case "port_value", "portValue":
				end, err := jsonscan.Value(b, at)
				if err == nil {
					if n, err := strconv.ParseUint(strings.Trim(string(b[at:end]), `"`), 10, 16); err == nil {
						port = int(n)
					}
				}
				return end, err
			case "ipv4_compat", "ipv4Compat":
				a.ipv4Compat = b[at] == 't'
			case "protocol":
				a.udp = jsonscan.Text(b, at) == "UDP"
			}
			return 0, nil
		})
		ip, ipErr := netip.ParseAddr(host)
		if err == nil && ipErr == nil {
			a.AddrPort = netip.AddrPortFrom(ip, uint16(max(port, 0)))
		} else {
			a.named = host + ":" + strconv.Itoa(port)
		}
		l.addrs = append(l.addrs, a)
		return
	}
	if p := jsonscan.Path(b, at, "pipe", "path"); p >= 0 {
		a.named = jsonscan.Text(b, p)
		l.addrs = append(l.addrs, a)
		return
	}
	if n := jsonscan.Path(b, at, "envoy_internal_address", "server_listener_name"); n >= 0 {
		l.internal = jsonscan.Text(b, n)
		a.named = "envoy://" + l.internal + "/"
		l.addrs = append(l.addrs, a)
	}
}

// addr is the listener's first address in words.
func (l *listenerEntry) addr() string {
	if len(l.addrs) == 0 {
		if l.internal != "" {
			return "envoy://" + l.internal + "/"
		}
		return ""
	}
	return l.addrs[0].String()
}

// covers says how the listener is registered for a destination: 3 for exactly
// the address, 2 for the wildcard of its family, 1 for the IPv4 side of an IPv6
// wildcard, 0 for not at all. Source: ConnectionHandlerImpl::addListener and
// getBalancedHandlerByAddress in source/common/listener_manager/connection_handler_impl.cc.
func (l *listenerEntry) covers(dst netip.AddrPort) int {
	best := 0
	ip := dst.Addr().Unmap()
	for _, a := range l.addrs {
		if !a.IsValid() || a.Port() != dst.Port() || a.udp {
			continue
		}
		switch la := a.Addr(); {
		case la.Unmap() == ip && !la.IsUnspecified():
			return 3
		case la.Is4() && la.IsUnspecified() && ip.Is4(), la.Is6() && la.IsUnspecified() && ip.Is6():
			best = max(best, 2)
		case la.Is6() && la.IsUnspecified() && ip.Is4() && a.ipv4Compat:
			best = max(best, 1)
		}
	}
	return best
}

// serving is the address, in words, by which the listener is reached at dst.
func (l *listenerEntry) serving(dst netip.AddrPort) string {
	best, at := 0, l.addr()
	for i, a := range l.addrs {
		if r := (&listenerEntry{addrs: l.addrs[i : i+1]}).covers(dst); r > best {
			best, at = r, a.String()
			if i > 0 {
				at += ", one of its additional addresses"
			}
		}
	}
	return at
}

// byAddress returns the active listener registered for dst that suits, the most
// specific registration first, and of equals the last added.
func (d *Dump) byAddress(dst netip.AddrPort, suits func(*listenerEntry) bool) *listenerEntry {
	var best *listenerEntry
	rank := 0
	for _, l := range d.listeners {
		if l.state != active || !suits(l) {
			continue
		}
		if r := l.covers(dst); r > rank {
			best, rank = l, r
		}
	}
	return best
}

// accept finds the listener that the kernel gives the connection to.
func (d *Dump) accept(dst netip.AddrPort) *listenerEntry {
	if d.bare && len(d.listeners) == 1 && len(d.listeners[0].addrs) == 0 {
		return d.listeners[0] // a piece of configuration without an address
	}
	return d.byAddress(dst, func(l *listenerEntry) bool { return l.bound })
}

// handOff finds the listener that serves a connection which from accepted: with
// use_original_dst the one registered for the original destination, bound or
// not; else from itself.
func (d *Dump) handOff(from *listenerEntry, dst netip.AddrPort) (*listenerEntry, string) {
	if !from.originalDst {
		return from, "it does not hand connections off (use_original_dst is not set)"
	}
	if !dst.IsValid() {
		return from, "no original destination"
	}
	to := d.byAddress(dst, func(l *listenerEntry) bool { return true })
	switch {
	case to == nil || to == from:
		return from, fmt.Sprintf("no listener is registered for the original destination %s, so %s keeps it", dst, from.name)
	case to.covers(dst) == 3:
		return to, fmt.Sprintf("%s hands off to the listener of exactly %s", from.name, dst)
	default:
		return to, fmt.Sprintf("%s hands off to the listener of %s, the wildcard for port %d", from.name, to.addr(), dst.Port())
	}
}

// capture returns the listener a sidecar's capture leads to in a direction, nil
// if this proxy has none.
func (d *Dump) capture(dir Direction) *listenerEntry {
	names, port := []string{"virtualOutbound", "virtual", "outbound-listener", "outbound_listener"}, uint16(15001)
	if dir == Inbound {
		names, port = []string{"virtualInbound", "inbound-listener", "inbound_listener"}, 15006
	}
	var found *listenerEntry
	rank := 0
	for _, l := range d.listeners {
		if l.state != active {
			continue
		}
		r := 0
		switch {
		case slices.Contains(names, l.name) || slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(l.name, n+":") }):
			r = 4
		case l.direction == "OUTBOUND" && dir == Inbound || l.direction == "INBOUND" && dir == Outbound:
		case l.originalDst && l.bound && l.hasPort(port):
			r = 3
		case l.originalDst && l.bound && (l.direction == "OUTBOUND" || dir == Inbound && l.direction == "INBOUND"):
			r = 2
		}
		if r > rank {
			found, rank = l, r
		}
	}
	return found
}

func (l *listenerEntry) hasPort(p uint16) bool {
	return slices.ContainsFunc(l.addrs, func(a listenAddr) bool { return a.Port() == p })
}

// listener is a decoded listener; its chains are decoded when chosen.
type listener struct {
	entry    *listenerEntry
	config   *listenerv3.Listener // without filter chains
	chains   []*chain
	fallback *chain // default_filter_chain
	tree     *chainTree
	err      error
}

// chain is one filter chain: its match decoded, the rest as it stands.
type chain struct {
	name     string
	index    int // in filter_chains, -1 for the default
	match    *listenerv3.FilterChainMatch
	unknown  []string
	from, to int
	of       *listenerEntry

	body chainBody
}

// path is the chain's place in the dump.
func (c *chain) path() string {
	if c.index < 0 {
		return join(c.of.path(), "default_filter_chain")
	}
	return join(c.of.path(), fmt.Sprintf("filter_chains[%d]", c.index))
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "." + b
}

// title names a chain in words.
func (c *chain) title() string {
	switch {
	case c.name != "":
		return c.name
	case c.index < 0:
		return "default filter chain"
	default:
		return fmt.Sprintf("filter chain %d", c.index)
	}
}

// parse decodes a listener once.
func (d *Dump) parse(e *listenerEntry) *listener {
	e.once.Do(func() { e.parsed = d.parseListener(e) })
	return e.parsed
}

func (d *Dump) parseListener(e *listenerEntry) *listener {
	l := &listener{entry: e, config: &listenerv3.Listener{}}
	b := d.data
	l.err = decode.Fields(b[e.from:e.to], l.config, func(key string) bool {
		switch key {
		case "filter_chains", "filterChains", "default_filter_chain", "defaultFilterChain", "@type":
			return true
		}
		return false
	})
	if l.err != nil {
		return l
	}
	_, l.err = jsonscan.Object(b, e.from, func(k []byte, at int) (int, error) {
		switch string(k) {
		case "filter_chains", "filterChains":
			if b[at] != '[' {
				return 0, nil
			}
			return jsonscan.Array(b, at, func(n, at int) (int, error) {
				c, err := d.chain(e, at, n)
				if err == nil {
					l.chains = append(l.chains, c)
				}
				return 0, err
			})
		case "default_filter_chain", "defaultFilterChain":
			if b[at] != '{' {
				return 0, nil
			}
			c, err := d.chain(e, at, -1)
			l.fallback = c
			return 0, err
		}
		return 0, nil
	})
	if l.err == nil {
		l.tree = newChainTree(l.chains)
	}
	return l
}

func (d *Dump) chain(of *listenerEntry, at, n int) (*chain, error) {
	c := &chain{of: of, index: n, from: at, match: &listenerv3.FilterChainMatch{}}
	b := d.data
	var err error
	c.to, err = jsonscan.Object(b, at, func(k []byte, at int) (int, error) {
		switch string(k) {
		case "name":
			c.name = jsonscan.Text(b, at)
		case "filter_chain_match", "filterChainMatch":
			if b[at] != '{' {
				return 0, nil
			}
			end, err := jsonscan.Value(b, at)
			if err == nil {
				err = decode.JSON(b[at:end], c.match)
			}
			return end, err
		}
		return 0, nil
	})
	c.unknown = decode.Unknown(c.match)
	return c, err
}
