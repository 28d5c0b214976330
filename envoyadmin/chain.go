package envoyadmin

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

// connection is what the choice of a filter chain looks at, as the listener
// filters left it.
type connection struct {
	dst       netip.AddrPort // local address
	restored  bool           // a listener filter set dst to the original destination
	src       netip.AddrPort // remote address; invalid: not known
	direct    netip.Addr     // the TCP peer; as src without PROXY protocol; invalid: not known
	transport string         // tls, raw_buffer
	sni       string
	alpn      []string
}

// local is what source_type SAME_IP_OR_LOOPBACK means.
func (c connection) local() bool {
	return c.src.Addr().IsLoopback() || c.src.Addr().Unmap() == c.dst.Addr().Unmap()
}

// chainTree is the choice of a filter chain, level by level:
//
//	destination port   this port, else any
//	destination IP     the longest prefix, else any
//	server name        exact, else the longest *.suffix, else none
//	transport protocol this one, else none
//	ALPN               the client's first that a chain lists, else none
//	direct source IP   the longest prefix, else any
//	source type        local or external, else any
//	source IP          the longest prefix, else any
//	source port        this port, else any
//
// A level that was left is not come back to: what matches at one level and not
// at a later one has no filter chain but the default one. Source:
// FilterChainManagerImpl::findFilterChain in
// source/common/listener_manager/filter_chain_manager_impl.cc.
type chainTree struct {
	root   *level
	reject string // why Envoy would refuse the listener
}

// level is a node: the branches that leave it, in words of its own dimension.
// Prefix levels use keys of netip.Prefix, which are tried longest first.
type level struct {
	byText   map[string]*level
	byPort   map[uint32]*level
	prefixes []prefixBranch
	chains   []*chain // at the leaves
}

type prefixBranch struct {
	netip.Prefix
	to *level
}

const levels = 9

func newChainTree(chains []*chain) *chainTree {
	t := &chainTree{root: &level{}}
	for _, c := range chains {
		m := c.match
		for _, n := range m.GetServerNames() {
			if strings.Contains(n, "*") && (!strings.HasPrefix(n, "*.") || strings.Contains(n[1:], "*")) {
				t.reject = fmt.Sprintf("%s: partial wildcards are not supported in server_names (%s)", c.title(), n)
			}
		}
		t.insert(t.root, c, 0)
	}
	var walk func(l *level)
	walk = func(l *level) {
		if len(l.chains) > 1 && t.reject == "" {
			t.reject = fmt.Sprintf("%s and %s have the same matching rules", l.chains[0].title(), l.chains[1].title())
		}
		slices.SortStableFunc(l.prefixes, func(a, b prefixBranch) int { return cmp.Compare(b.Bits(), a.Bits()) })
		for _, n := range l.byText {
			walk(n)
		}
		for _, n := range l.byPort {
			walk(n)
		}
		for _, p := range l.prefixes {
			walk(p.to)
		}
	}
	walk(t.root)
	return t
}

// insert puts c under every combination of what its match lists.
func (t *chainTree) insert(l *level, c *chain, depth int) {
	if depth == levels {
		l.chains = append(l.chains, c)
		return
	}
	m := c.match
	next := func(n *level) { t.insert(n, c, depth+1) }
	switch depth {
	case 0:
		next(l.port(m.GetDestinationPort().GetValue()))
	case 1:
		t.insertPrefixes(l, m.GetPrefixRanges(), c, next)
	case 2:
		if len(m.GetServerNames()) == 0 {
			next(l.text(""))
		}
		for _, n := range unique(m.GetServerNames()) {
			next(l.text(strings.TrimPrefix(strings.ToLower(n), "*")))
		}
	case 3:
		next(l.text(m.GetTransportProtocol()))
	case 4:
		if len(m.GetApplicationProtocols()) == 0 {
			next(l.text(""))
		}
		for _, p := range unique(m.GetApplicationProtocols()) {
			next(l.text(p))
		}
	case 5:
		t.insertPrefixes(l, m.GetDirectSourcePrefixRanges(), c, next)
	case 6:
		next(l.text(m.GetSourceType().String()))
	case 7:
		t.insertPrefixes(l, m.GetSourcePrefixRanges(), c, next)
	case 8:
		if len(m.GetSourcePorts()) == 0 {
			next(l.port(0))
		}
		for _, p := range unique(m.GetSourcePorts()) {
			next(l.port(p))
		}
	}
}

func unique[T comparable](in []T) []T {
	var out []T
	for _, v := range in {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func (l *level) text(s string) *level {
	if l.byText == nil {
		l.byText = map[string]*level{}
	}
	if l.byText[s] == nil {
		l.byText[s] = &level{}
	}
	return l.byText[s]
}

func (l *level) port(p uint32) *level {
	if l.byPort == nil {
		l.byPort = map[uint32]*level{}
	}
	if l.byPort[p] == nil {
		l.byPort[p] = &level{}
	}
	return l.byPort[p]
}

func (t *chainTree) insertPrefixes(l *level, ranges []*corev3.CidrRange, c *chain, next func(*level)) {
	branch := func(p netip.Prefix) {
		for _, b := range l.prefixes {
			if b.Prefix == p {
				next(b.to)
				return
			}
		}
		b := prefixBranch{p, &level{}}
		l.prefixes = append(l.prefixes, b)
		next(b.to)
	}
	if len(ranges) == 0 {
		next(l.text("any"))
		return
	}
	var seen []netip.Prefix
	for _, r := range ranges {
		p, err := cidr(r)
		if err != nil {
			t.reject = fmt.Sprintf("%s: %v", c.title(), err)
			continue
		}
		if !slices.Contains(seen, p) {
			seen = append(seen, p)
			branch(p)
		}
	}
}

func cidr(r *corev3.CidrRange) (netip.Prefix, error) {
	ip, err := netip.ParseAddr(r.GetAddressPrefix())
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no IP address", r.GetAddressPrefix())
	}
	ip = ip.Unmap().WithZone("")
	return ip.Prefix(min(int(r.GetPrefixLen().GetValue()), ip.BitLen()))
}

// find walks the tree. why tells each level at which something had to be
// matched, and where it failed. open are the chains it may be, nil among them
// for none, where the client's address is not known and decides.
func (t *chainTree) find(c connection) (found *chain, why []string, open []*chain) {
	l := t.root
	step := func(n *level, is string) bool {
		if n != nil {
			l = n
			if is != "" {
				why = append(why, is)
			}
		}
		return n != nil
	}
	miss := func(format string, args ...any) (*chain, []string, []*chain) {
		return nil, append(why, fmt.Sprintf(format, args...)), nil
	}
	if len(t.root.byPort) == 0 {
		return miss("there are no filter chains")
	}
	port := uint32(c.dst.Port())
	if !(port != 0 && step(l.byPort[port], fmt.Sprintf("destination port %d", port))) && !step(l.byPort[0], "") {
		return miss("no filter chain for destination port %d", port)
	}
	if !l.stepIP(c.dst.Addr(), "destination", step) {
		return miss("no filter chain for destination address %s", c.dst.Addr())
	}
	if !l.stepName(c.sni, step) {
		return miss("no filter chain for server name %s", orNone(c.sni))
	}
	if !step(nonEmpty(l.byText, c.transport), "transport protocol "+c.transport) && !step(l.byText[""], "") {
		return miss("no filter chain for transport protocol %s", c.transport)
	}
	ok := false
	for _, p := range c.alpn {
		if ok = step(nonEmpty(l.byText, p), "application protocol "+p); ok {
			break
		}
	}
	if !ok && !step(l.byText[""], "") {
		return miss("no filter chain for application protocols %s", orNone(strings.Join(c.alpn, ",")))
	}
	if !c.direct.IsValid() || !c.src.IsValid() || c.src.Port() == 0 {
		switch may := unique(l.reach(c, 4)); {
		case len(may) > 1:
			return nil, why, may
		case may[0] != nil:
			return may[0], append(why, may[0].clients()...), nil
		}
	}
	if !l.stepIP(c.direct, "directly connected source", step) {
		return miss("no filter chain for the directly connected source %s", c.direct)
	}
	kind := listenerv3.FilterChainMatch_EXTERNAL.String()
	if c.local() {
		kind = listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK.String()
	}
	if !step(l.byText[kind], "source type "+kind) && !step(l.byText[listenerv3.FilterChainMatch_ANY.String()], "") {
		return miss("no filter chain for source type %s", kind)
	}
	if !l.stepIP(c.src.Addr(), "source", step) {
		return miss("no filter chain for source address %s", c.src.Addr())
	}
	port = uint32(c.src.Port())
	if !(port != 0 && step(l.byPort[port], fmt.Sprintf("source port %d", port))) && !step(l.byPort[0], "") {
		return miss("no filter chain for source port %d", port)
	}
	if len(l.chains) == 0 {
		return miss("no filter chain")
	}
	return l.chains[0], why, nil
}

// reach lists what the levels about the client lead to, from l with so many of
// them to go, nil for no chain: one branch where the connection tells, all of
// them where it does not.
func (l *level) reach(c connection, left int) []*chain {
	if left == 0 {
		if len(l.chains) == 0 {
			return []*chain{nil}
		}
		return l.chains[:1]
	}
	var next []*level
	one := func(n *level, _ string) bool {
		if n != nil {
			next = append(next, n)
		}
		return n != nil
	}
	all, missed := false, false // every branch may be taken; none may
	switch ip := c.src.Addr(); left {
	case 4, 2:
		if left == 4 {
			ip = c.direct
		}
		if ip.IsValid() {
			missed = !l.stepIP(ip, "", one)
			break
		}
		for _, p := range l.prefixes {
			next = append(next, p.to)
		}
		all, missed = true, !one(l.byText["any"], "") && !l.everyIP(c.dst.Addr())
	case 3:
		kinds := []string{listenerv3.FilterChainMatch_EXTERNAL.String(), listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK.String()}
		if ip.IsValid() {
			kinds = kinds[:1]
			if c.local() {
				kinds[0] = listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK.String()
			}
		}
		for _, k := range kinds {
			missed = !one(l.byText[k], "") && !one(l.byText[listenerv3.FilterChainMatch_ANY.String()], "") || missed
		}
	default:
		if p := uint32(c.src.Port()); p != 0 {
			missed = !one(l.byPort[p], "") && !one(l.byPort[0], "")
			break
		}
		for _, p := range slices.Sorted(maps.Keys(l.byPort)) {
			next = append(next, l.byPort[p])
		}
		all, missed = true, l.byPort[0] == nil
	}
	var out []*chain
	for _, n := range next {
		out = append(out, n.reach(c, left-1)...)
	}
	if missed || all && len(next) == 0 {
		out = append(out, nil)
	}
	return out
}

// everyIP says whether a prefix takes every address of the family of ip.
func (l *level) everyIP(ip netip.Addr) bool {
	return slices.ContainsFunc(l.prefixes, func(p prefixBranch) bool { return p.Bits() == 0 && p.Addr().Is4() == ip.Unmap().Is4() })
}

func nonEmpty(m map[string]*level, key string) *level {
	if key == "" {
		return nil
	}
	return m[key]
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

func (l *level) stepIP(ip netip.Addr, what string, step func(*level, string) bool) bool {
	ip = ip.Unmap().WithZone("")
	for _, p := range l.prefixes {
		if p.Contains(ip) {
			return step(p.to, fmt.Sprintf("%s address in %s", what, p.Prefix))
		}
	}
	return step(l.byText["any"], "")
}

// stepName looks a server name up: itself, then each parent as *.parent, then
// the chains without names.
func (l *level) stepName(sni string, step func(*level, string) bool) bool {
	if sni != "" {
		name := strings.ToLower(sni)
		if step(l.byText[name], "server name "+name) {
			return true
		}
		for {
			dot := strings.IndexByte(name[1:], '.')
			if dot < 0 {
				break
			}
			if name = name[1+dot:]; len(name) < 2 {
				break
			}
			if step(l.byText[name], "server name *"+name) {
				return true
			}
		}
	}
	return step(l.byText[""], "")
}

// clients tells what a chain asks of the client's address.
func (ch *chain) clients() []string {
	m := ch.match
	var out []string
	for _, side := range []struct {
		what   string
		ranges []*corev3.CidrRange
	}{{"directly connected source address in ", m.GetDirectSourcePrefixRanges()}, {"source address in ", m.GetSourcePrefixRanges()}} {
		var in []string
		for _, r := range side.ranges {
			if p, err := cidr(r); err == nil {
				in = append(in, p.String())
			}
		}
		if len(in) > 0 {
			out = append(out, side.what+few(in))
		}
	}
	if t := m.GetSourceType(); t != listenerv3.FilterChainMatch_ANY {
		out = append(out, "source type "+t.String())
	}
	return out
}

// explain says the first level at which a chain's own match fails for c, empty
// if it would match by itself.
func (ch *chain) explain(c connection) string {
	m := ch.match
	in := func(rs []*corev3.CidrRange, ip netip.Addr) bool {
		if len(rs) == 0 {
			return true
		}
		for _, r := range rs {
			if p, err := cidr(r); err == nil && p.Contains(ip.Unmap().WithZone("")) {
				return true
			}
		}
		return false
	}
	words := func(rs []*corev3.CidrRange) string {
		var out []string
		for _, r := range rs {
			if p, err := cidr(r); err == nil {
				out = append(out, p.String())
			}
		}
		return few(out)
	}
	if p := m.GetDestinationPort(); p != nil && p.GetValue() != uint32(c.dst.Port()) {
		return fmt.Sprintf("destination port is %d, not %d", c.dst.Port(), p.GetValue())
	}
	if !in(m.GetPrefixRanges(), c.dst.Addr()) {
		return fmt.Sprintf("destination address %s is not in %s", c.dst.Addr(), words(m.GetPrefixRanges()))
	}
	if names := m.GetServerNames(); len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return nameMatches(n, c.sni) }) {
		return fmt.Sprintf("server name is %s, not %s", orNone(c.sni), few(names))
	}
	if t := m.GetTransportProtocol(); t != "" && t != c.transport {
		return fmt.Sprintf("transport protocol is %s, not %s", c.transport, t)
	}
	if ps := m.GetApplicationProtocols(); len(ps) > 0 && !slices.ContainsFunc(c.alpn, func(p string) bool { return slices.Contains(ps, p) }) {
		return fmt.Sprintf("application protocol is %s, not %s", orNone(strings.Join(c.alpn, ",")), few(ps))
	}
	if !in(m.GetDirectSourcePrefixRanges(), c.direct) {
		return fmt.Sprintf("directly connected source %s is not in %s", c.direct, words(m.GetDirectSourcePrefixRanges()))
	}
	if t := m.GetSourceType(); t == listenerv3.FilterChainMatch_EXTERNAL && c.local() || t == listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK && !c.local() {
		return fmt.Sprintf("source %s is not of type %s", c.src.Addr(), t)
	}
	if !in(m.GetSourcePrefixRanges(), c.src.Addr()) {
		return fmt.Sprintf("source address %s is not in %s", c.src.Addr(), words(m.GetSourcePrefixRanges()))
	}
	if ps := m.GetSourcePorts(); len(ps) > 0 && !slices.Contains(ps, uint32(c.src.Port())) {
		return fmt.Sprintf("source port is %d, not %v", c.src.Port(), ps)
	}
	return ""
}

func nameMatches(pattern, sni string) bool {
	pattern, sni = strings.ToLower(pattern), strings.ToLower(sni)
	if rest, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(sni) > len(rest) && strings.HasSuffix(sni, rest)
	}
	return pattern == sni
}

// few joins names, the first three of many.
func few(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s or %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, " or ")
}
