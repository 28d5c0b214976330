package iptables

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// effect is what a target does with the walk.
type effect uint8

const (
	goOn effect = iota // the next rule
	stop               // the walk's end is set in the flow
	jump               // into the chain named
	back               // to the caller
	over               // leave this table: the packet is accepted by it
	many               // the target gave several ways on, in walk.ways
)

// target is what a rule does with a packet that matches.
type target interface {
	name() string
	action() string // in words
	option(p *parser, name string, not bool) bool
	apply(w *walk, f *flow) effect
	print(w *writer)
}

func newTarget(name string, goTo bool) target {
	if !goTo {
		switch name {
		case "ACCEPT", "DROP", "RETURN":
			return &plainTarget{kind: name}
		case "REJECT":
			return &rejectTarget{}
		case "DNAT":
			return &natTarget{kind: name}
		case "SNAT":
			return &natTarget{kind: name}
		case "MASQUERADE":
			return &natTarget{kind: name}
		case "REDIRECT":
			return &natTarget{kind: name}
		case "NETMAP":
			return &netmapTarget{}
		case "TPROXY":
			return &tproxyTarget{}
		case "MARK":
			return &markTarget{}
		case "CONNMARK":
			return &connmarkTarget{nfmask: math.MaxUint32, ctmask: math.MaxUint32}
		case "CT", "NOTRACK":
			return &ctTarget{kind: name, notrack: name == "NOTRACK"}
		case "TTL", "HL":
			return &ttlTarget{kind: name}
		}
		if t, ok := passing[name]; ok {
			return &otherTarget{kind: name, does: t}
		}
	}
	return &chainTarget{chain: name}
}

// passing holds the targets that change nothing the walk looks at, and those
// whose effect a save cannot tell.
var passing = map[string]does{
	"LOG": continues, "NFLOG": continues, "ULOG": continues, "TCPMSS": continues, "TCPOPTSTRIP": continues, "DSCP": continues, "TOS": continues,
	"TRACE": continues, "CLASSIFY": continues, "AUDIT": continues, "TEE": continues, "CHECKSUM": continues, "SECMARK": continues,
	"CONNSECMARK": continues, "IDLETIMER": continues, "LED": continues, "RATEEST": continues, "ECN": continues, "SET": continues,
	"NFQUEUE": userspace, "QUEUE": userspace, "SYNPROXY": userspace, "CLUSTERIP": userspace, "HMARK": changes, "DNPT": changes, "SNPT": changes,
}

type does uint8

const (
	continues does = iota
	userspace
	changes
)

type plainTarget struct{ kind string }

func (t *plainTarget) name() string                      { return t.kind }
func (t *plainTarget) action() string                    { return strings.ToLower(t.kind) }
func (t *plainTarget) option(*parser, string, bool) bool { return false }
func (t *plainTarget) print(w *writer)                   { w.word("-j", t.kind) }
func (t *plainTarget) apply(w *walk, f *flow) effect {
	switch t.kind {
	case "ACCEPT":
		return over
	case "DROP":
		f.verdict = Drop
		return stop
	default:
		return back
	}
}

// chainTarget is a jump or goto to a chain, or a target of a name this version
// does not know: which it is, is seen in the table.
type chainTarget struct {
	chain string
}

func (t *chainTarget) name() string              { return t.chain }
func (t *chainTarget) action() string            { return "jump " + t.chain }
func (t *chainTarget) apply(*walk, *flow) effect { return jump }
func (t *chainTarget) print(w *writer) {
	w.word("-j", t.chain)
}

func (t *chainTarget) option(p *parser, name string, not bool) bool {
	return false
}

// otherTarget is a target whose options are kept as they stand.
type otherTarget struct {
	kind string
	does does
	opts []string
}

func (t *otherTarget) name() string { return t.kind }

func (t *otherTarget) action() string {
	return strings.TrimSpace(t.kind + " " + strings.Join(t.opts, " "))
}

func (t *otherTarget) apply(w *walk, f *flow) effect {
	switch t.does {
	case userspace:
		f.why = "the target " + t.kind + " hands the packet to a program, which decides"
		if t.kind == "SYNPROXY" {
			f.why = "the target SYNPROXY answers the handshake itself, and makes a connection of its own once that is done"
		}
		f.verdict = Undetermined
		return stop
	case changes:
		f.why = "what the target " + t.kind + " changes is not known to this version"
		f.verdict = Undetermined
		return stop
	}
	return goOn
}

func (t *otherTarget) option(p *parser, name string, not bool) bool {
	if not {
		t.opts = append(t.opts, "!")
	}
	t.opts = append(t.opts, "--"+name)
	for p.i < len(p.words) && (p.quoted[p.i] || !p.isOption(p.i)) {
		v := p.words[p.i]
		switch {
		case name == "log-prefix" || name == "nflog-prefix" || p.quoted[p.i]:
			v = quote(v)
			if name == "log-prefix" {
				v = forceQuote(p.words[p.i])
			}
		case name == "set-dscp":
			if n, ok := number(v, 8); ok {
				v = "0x" + leftPad(strconv.FormatUint(n, 16), 2)
			}
		}
		t.opts = append(t.opts, v)
		p.i++
	}
	return true
}

func leftPad(s string, n int) string {
	for len(s) < n {
		s = "0" + s
	}
	return s
}

func (t *otherTarget) print(w *writer) {
	w.word("-j", t.kind)
	if t.kind != "NFLOG" {
		w.raw(t.opts...)
		return
	}
	g := optionGroups(t.opts)
	for _, k := range []string{"--nflog-prefix", "--nflog-group", "--nflog-size", "--nflog-range", "--nflog-threshold"} {
		w.raw(g[k]...)
	}
}

type rejectTarget struct{ with string }

func (t *rejectTarget) name() string { return "REJECT" }

func (t *rejectTarget) action() string {
	return strings.TrimSpace("reject " + t.with)
}

func (t *rejectTarget) option(p *parser, name string, not bool) bool {
	if name != "reject-with" {
		return false
	}
	v, has := p.value()
	if full, ok := map[string]string{
		"tcp-rst": "tcp-reset", "port-unreach": "icmp-port-unreachable", "host-unreach": "icmp-host-unreachable", "net-unreach": "icmp-net-unreachable",
		"proto-unreach": "icmp-proto-unreachable", "net-prohib": "icmp-net-prohibited", "host-prohib": "icmp-host-prohibited", "admin-prohib": "icmp-admin-prohibited",
	}[v]; ok {
		v = full
	}
	t.with = v
	return has
}

func (t *rejectTarget) apply(w *walk, f *flow) effect {
	f.verdict = Reject
	f.rejectWith = t.with
	if t.with == "" {
		f.rejectWith = "icmp-port-unreachable"
		if f.dst.Is6() {
			f.rejectWith = "icmp6-port-unreachable"
		}
	}
	return stop
}

func (t *rejectTarget) print(w *writer) {
	with := t.with
	if with == "" {
		with = "icmp-port-unreachable"
	}
	w.word("-j", "REJECT", "--reject-with", with)
}

// natTarget is DNAT, SNAT, MASQUERADE and REDIRECT.
type natTarget struct {
	kind        string
	lo, hi      netip.Addr // invalid: the address stays or is chosen by the target
	minP, maxP  uint16
	basePort    uint16
	hasPort     bool
	to          string
	random      bool
	randomFully bool
	persistent  bool
}

func (t *natTarget) name() string { return t.kind }

func (t *natTarget) action() string {
	switch {
	case t.kind == "MASQUERADE" && t.to == "":
		return "masquerade"
	case t.kind == "MASQUERADE":
		return "masquerade to ports " + t.to
	case t.kind == "REDIRECT" && t.to == "":
		return "redirect"
	case t.kind == "REDIRECT":
		return "redirect to port " + t.to
	default:
		return t.kind + " to " + t.to
	}
}

func (t *natTarget) option(p *parser, name string, not bool) bool {
	if not {
		return false
	}
	switch name {
	case "random":
		t.random = true
		return true
	case "random-fully":
		t.randomFully = true
		return t.kind != "DNAT" && t.kind != "REDIRECT"
	case "persistent":
		t.persistent = true
		return t.kind == "DNAT" || t.kind == "SNAT"
	}
	v, has := p.value()
	if !has || t.to != "" {
		return false
	}
	switch {
	case (name == "to-ports" || name == "to-port") && (t.kind == "MASQUERADE" || t.kind == "REDIRECT"):
		t.to = v
		return t.ports(v)
	case name == "to-destination" && t.kind == "DNAT", name == "to-source" && t.kind == "SNAT":
		t.to = v
		return t.dest(v)
	}
	return false
}

func (t *natTarget) ports(s string) bool {
	r, base, hasBase := strings.Cut(s, "/")
	pr, ok := parseRange(r, "-", 65535, false)
	if !ok || pr.lo > pr.hi {
		return false
	}
	t.minP, t.maxP, t.hasPort = uint16(pr.lo), uint16(pr.hi), true
	if hasBase {
		n, ok := number(base, 16)
		if !ok {
			return false
		}
		t.basePort = uint16(n)
	}
	return true
}

// dest reads [ADDRESS[-ADDRESS]][:PORT[-PORT[/BASE]]], IPv6 in brackets where a
// port follows.
func (t *natTarget) dest(s string) bool {
	addr, port := s, ""
	if strings.HasPrefix(s, "[") {
		i := strings.LastIndexByte(s, ']')
		if i < 0 {
			return false
		}
		addr = strings.NewReplacer("[", "", "]", "").Replace(s[:i+1])
		port = s[i+1:]
		if port != "" && port[0] != ':' {
			return false
		}
	} else if strings.Count(s, ":") == 1 {
		i := strings.IndexByte(s, ':')
		addr, port = s[:i], s[i:]
	}
	if addr != "" {
		r, ok := parseAddrRange(addr)
		if !ok {
			return false
		}
		t.lo, t.hi = r.lo, r.hi
	}
	if port != "" {
		return t.ports(port[1:])
	}
	return addr != ""
}

func (t *natTarget) print(w *writer) {
	w.word("-j", t.kind)
	opt := map[string]string{"DNAT": "--to-destination", "SNAT": "--to-source"}[t.kind]
	if opt == "" {
		opt = "--to-ports"
	}
	if t.to != "" {
		w.word(opt, t.to)
	}
	for _, o := range []struct {
		on  bool
		opt string
	}{{t.random, "--random"}, {t.randomFully, "--random-fully"}, {t.persistent, "--persistent"}} {
		if o.on {
			w.word(o.opt)
		}
	}
}

// maxChoices bounds the ways one random port range gives; beyond, the port is not
// known.
const maxChoices = 16

func (t *natTarget) apply(w *walk, f *flow) effect {
	switch t.kind {
	case "MASQUERADE":
		f.masq, f.natSrc, f.srcNAT = true, true, true
		f.beforeMasq = netip.AddrPortFrom(f.src, f.sport)
		f.snat = netip.AddrPortFrom(w.masqueradeAs(f), 0)
		if f.local {
			// Only what comes in again over the loopback meets rules with its new source.
			if to := f.snat.Addr(); to.IsValid() {
				// nf_nat_setup_info: what looks as before is not translated.
				f.srcNAT = to != f.src || t.random || t.randomFully || t.hasPort && (f.sport < t.minP || f.sport > t.maxP)
				f.src = to
			} else {
				w.assume("the source that MASQUERADE gives to a packet that stays here is not known: rules behind it see the old one")
			}
		}
		return over
	case "SNAT":
		f.natSrc = true
		port := f.sport
		if t.hasPort {
			port = 0
			if t.minP == t.maxP {
				port = t.minP
			}
		}
		addr := f.src
		if t.lo.IsValid() {
			addr = t.lo
			if t.lo != t.hi {
				addr = natChoice(t.lo, t.hi, f.src, f.dst, t.persistent, f.zone, false)
				w.assume("SNAT to a range of addresses: the client has no other flow that already took one")
			}
		}
		f.srcNAT = addr != f.src || port != f.sport
		f.snat = netip.AddrPortFrom(addr, port)
		f.snatted = true
		f.src, f.sport = addr, port
		return over
	}
	addr := f.dst
	switch {
	case t.kind == "REDIRECT":
		addr = w.redirectTo(f)
	case !t.lo.IsValid():
	case t.lo == t.hi:
		addr = t.lo
	default:
		addr = natChoice(t.lo, t.hi, f.src, f.dst, t.persistent, f.zone, true)
	}
	ports := []uint16{f.dport}
	if t.hasPort {
		span := int(t.maxP) - int(t.minP) + 1
		switch {
		case span == 1:
			ports[0] = t.minP
		case t.basePort != 0 && !t.random:
			ports[0] = t.minP + (f.dport-t.basePort)%uint16(span)
		case f.dport >= t.minP && f.dport <= t.maxP && !t.random:
			// The port is in the range: it stays.
		case !t.random:
			ports[0] = t.minP // nf_nat_l4proto_unique_tuple tries the first first
		default:
			ports = ports[:0]
			for p := int(t.minP); p <= int(t.maxP) && len(ports) <= maxChoices; p++ {
				ports = append(ports, uint16(p))
			}
		}
	}
	if len(ports) > maxChoices {
		f.verdict = Undetermined
		f.why = "the kernel takes a random port of " + t.to
		return stop
	}
	set := func(f *flow, a netip.Addr, p uint16) {
		f.natDst = true
		if a != f.dst || p != f.dport {
			f.dstNAT = true
		}
		f.dnatted = true
		if t.kind == "REDIRECT" {
			f.redirect = p
		}
		f.dst, f.dport = a, p
		f.rerouted = true
	}
	if len(ports) == 1 {
		set(f, addr, ports[0])
		return over
	}
	w.ways = w.ways[:0]
	for _, p := range ports {
		c := *f
		set(&c, addr, p)
		c.prob /= float64(len(ports))
		w.ways = append(w.ways, c)
	}
	return many
}

// netmapTarget maps a whole network onto another, address by address.
type netmapTarget struct{ to *netAddr }

func (t *netmapTarget) name() string   { return "NETMAP" }
func (t *netmapTarget) action() string { return "NETMAP to " + t.text() }

func (t *netmapTarget) text() string {
	if t.to == nil {
		return ""
	}
	if b, ok := contiguous(t.to.mask); ok && b == t.to.addr.BitLen() {
		return t.to.addr.String()
	}
	return t.to.String()
}

func (t *netmapTarget) option(p *parser, name string, not bool) bool {
	if name != "to" || not {
		return false
	}
	v, _ := p.value()
	n, ok := parseNetAddr(v)
	t.to = n
	return ok
}

func (t *netmapTarget) print(w *writer) { w.word("-j", "NETMAP", "--to", t.text()) }

func (t *netmapTarget) apply(w *walk, f *flow) effect {
	if t.to == nil || t.to.addr.Is4() != f.dst.Is4() {
		f.why = "NETMAP without --to"
		f.verdict = Undetermined
		return stop
	}
	mapped := func(a netip.Addr) netip.Addr {
		from, to, mask := a.AsSlice(), t.to.addr.AsSlice(), t.to.mask.AsSlice()
		for i := range from {
			from[i] = to[i]&mask[i] | from[i]&^mask[i]
		}
		out, _ := netip.AddrFromSlice(from)
		return out
	}
	if f.hook == "POSTROUTING" || f.hook == "INPUT" {
		a := mapped(f.src)
		f.natSrc, f.srcNAT = true, a != f.src
		f.snat, f.snatted = netip.AddrPortFrom(a, f.sport), true
		f.src = a
		return over
	}
	a := mapped(f.dst)
	f.natDst, f.dnatted, f.rerouted = true, true, true
	f.dstNAT = f.dstNAT || a != f.dst
	f.dst = a
	return over
}

// tproxyTarget hands the packet to a local socket; the destination stays.
type tproxyTarget struct {
	port        uint16
	ip          netip.Addr
	value, mask uint32
	marked      bool
}

func (t *tproxyTarget) name() string { return "TPROXY" }

func (t *tproxyTarget) action() string {
	s := "tproxy to port " + strconv.Itoa(int(t.port))
	if t.ip.IsValid() && !t.ip.IsUnspecified() {
		s = "tproxy to " + netip.AddrPortFrom(t.ip, t.port).String()
	}
	if t.marked {
		s += ", mark " + markText(t.value, t.mask)
	}
	return s
}

func (t *tproxyTarget) option(p *parser, name string, not bool) bool {
	if not {
		return false
	}
	v, _ := p.value()
	switch name {
	case "on-port":
		n, ok := number(v, 16)
		t.port = uint16(n)
		return ok
	case "on-ip":
		a, err := netip.ParseAddr(v)
		t.ip = a
		return err == nil
	case "tproxy-mark":
		val, mask, ok := parseMark(v)
		t.value, t.mask, t.marked = val, mask, true
		return ok
	}
	return false
}

func (t *tproxyTarget) print(w *writer) {
	ip := t.ip
	if !ip.IsValid() {
		ip = netip.IPv4Unspecified()
	}
	w.word("-j", "TPROXY", "--on-port", strconv.Itoa(int(t.port)), "--on-ip", ip.String())
	mask := t.mask
	if !t.marked {
		mask = 0
	}
	w.word("--tproxy-mark", hex(t.value)+"/"+hex(mask))
}

func (t *tproxyTarget) apply(w *walk, f *flow) effect {
	if f.proto != 6 && f.proto != 17 {
		f.verdict = Drop
		f.why = "TPROXY handles tcp and udp only"
		return stop
	}
	ip := t.ip
	if !ip.IsValid() || ip.IsUnspecified() {
		ip = w.interfaceAddr(f.in, f.dst)
		if !ip.IsValid() {
			ip = f.dst
		}
	}
	port := t.port
	if port == 0 {
		port = f.dport
	}
	f.tproxy = netip.AddrPortFrom(ip, port)
	f.mark = f.mark&^t.mask ^ t.value
	w.assume("a transparent socket listens on port " + strconv.Itoa(int(port)) + " and a routing rule delivers mark " + hex(f.mark) + " locally: TPROXY drops the packet otherwise")
	return over
}

// markTarget is MARK; every form becomes value and mask of --set-xmark.
type markTarget struct{ value, mask uint32 }

func (t *markTarget) name() string   { return "MARK" }
func (t *markTarget) action() string { return "mark " + hex(t.value) + "/" + hex(t.mask) }

func (t *markTarget) option(p *parser, name string, not bool) bool {
	if not {
		return false
	}
	v, _ := p.value()
	value, mask, ok := xmark(name, v)
	if ok {
		t.value, t.mask = value, mask
	}
	return ok
}

// xmark turns an option of MARK or CONNMARK into value and mask of --set-xmark:
// the mark becomes (mark & ~mask) ^ value.
func xmark(name, v string) (value, mask uint32, ok bool) {
	value, mask, ok = parseMark(v)
	switch name {
	case "set-xmark":
	case "set-mark":
		mask |= value
	case "or-mark":
		mask = value
	case "xor-mark":
		mask = 0
	case "and-mark":
		value, mask = 0, ^value
	default:
		return 0, 0, false
	}
	if (name == "or-mark" || name == "xor-mark" || name == "and-mark") && strings.Contains(v, "/") {
		return 0, 0, false
	}
	return value, mask, ok
}

func (t *markTarget) apply(w *walk, f *flow) effect {
	was := f.mark
	f.mark = f.mark&^t.mask ^ t.value
	if f.mark != was {
		f.rerouted = true
	}
	return goOn
}

func (t *markTarget) print(w *writer) {
	w.word("-j", "MARK", "--set-xmark", hex(t.value)+"/"+hex(t.mask))
}

// connmarkTarget is CONNMARK.
type connmarkTarget struct {
	op             string // set, save, restore
	value, mask    uint32
	nfmask, ctmask uint32
}

func (t *connmarkTarget) name() string { return "CONNMARK" }

func (t *connmarkTarget) action() string {
	switch t.op {
	case "set":
		return "connection mark " + hex(t.value) + "/" + hex(t.mask)
	case "save":
		return "connection mark from packet mark"
	case "restore":
		return "packet mark from connection mark"
	}
	return "CONNMARK"
}

func (t *connmarkTarget) option(p *parser, name string, not bool) bool {
	if not {
		return false
	}
	switch name {
	case "save-mark", "restore-mark":
		t.op = strings.TrimSuffix(name, "-mark")
		return true
	case "mask", "nfmask", "ctmask":
		v, _ := p.value()
		n, ok := number(v, 32)
		if name != "ctmask" {
			t.nfmask = uint32(n)
		}
		if name != "nfmask" {
			t.ctmask = uint32(n)
		}
		return ok
	}
	v, _ := p.value()
	value, mask, ok := xmark(name, v)
	if ok {
		t.op, t.value, t.mask = "set", value, mask
	}
	return ok
}

func (t *connmarkTarget) apply(w *walk, f *flow) effect {
	if !f.tracked() {
		return goOn
	}
	switch t.op {
	case "set":
		f.ctmark = f.ctmark&^t.mask ^ t.value
	case "save":
		f.ctmark = f.ctmark&^t.ctmask ^ f.mark&t.nfmask
	case "restore":
		was := f.mark
		f.mark = f.mark&^t.nfmask ^ f.ctmark&t.ctmask
		if f.mark != was {
			f.rerouted = true
		}
	default:
		f.why = "CONNMARK without an operation"
		f.verdict = Undetermined
		return stop
	}
	return goOn
}

func (t *connmarkTarget) print(w *writer) {
	w.word("-j", "CONNMARK")
	switch t.op {
	case "set":
		w.word("--set-xmark", hex(t.value)+"/"+hex(t.mask))
	case "save", "restore":
		w.word("--"+t.op+"-mark", "--nfmask", hex(t.nfmask), "--ctmask", hex(t.ctmask))
	}
}

// ctTarget is CT and NOTRACK.
type ctTarget struct {
	kind    string
	notrack bool
	zone    uint16
	opts    []string
}

func (t *ctTarget) name() string { return t.kind }

func (t *ctTarget) action() string {
	if t.notrack {
		return "not tracked"
	}
	return strings.TrimSpace("CT " + strings.Join(t.opts, " "))
}

func (t *ctTarget) option(p *parser, name string, not bool) bool {
	if not || t.kind == "NOTRACK" {
		return false
	}
	switch name {
	case "notrack":
		t.notrack = true
		t.opts = append(t.opts, "--notrack")
		return true
	case "helper", "timeout", "ctevents", "expevents", "zone", "zone-orig", "zone-reply":
		v, has := p.value()
		if name == "zone" {
			if n, ok := number(v, 16); ok {
				v = strconv.FormatUint(n, 10)
				t.zone = uint16(n)
			}
		}
		t.opts = append(t.opts, "--"+name, v)
		return has
	}
	return false
}

func (t *ctTarget) apply(w *walk, f *flow) effect {
	// xt_CT.c: what has a connection, a template or none for good is left alone.
	switch {
	case f.hasCT || f.template || f.state == Untracked:
	case t.notrack:
		f.state = Untracked
	default:
		f.template = true
		f.zone = t.zone
	}
	return goOn
}

func (t *ctTarget) print(w *writer) {
	w.word("-j", t.kind)
	w.word(t.opts...)
}

// ttlTarget is TTL and HL.
type ttlTarget struct {
	kind string
	op   string
	n    uint64
}

func (t *ttlTarget) name() string { return t.kind }
func (t *ttlTarget) action() string {
	return strings.TrimSpace(t.kind + " " + t.op + " " + strconv.Itoa(int(t.n)))
}

func (t *ttlTarget) option(p *parser, name string, not bool) bool {
	op, ok := strings.CutPrefix(name, strings.ToLower(t.kind)+"-")
	if !ok || not || op != "set" && op != "inc" && op != "dec" {
		return false
	}
	v, _ := p.value()
	t.op = op
	t.n, ok = number(v, 8)
	return ok
}

func (t *ttlTarget) apply(w *walk, f *flow) effect {
	switch {
	case t.op == "set":
		f.ttl = int(t.n)
	case f.ttl == 0:
	case t.op == "inc":
		f.ttl = min(255, f.ttl+int(t.n))
	case t.op == "dec":
		f.ttl = max(1, f.ttl-int(t.n))
	}
	return goOn
}

func (t *ttlTarget) print(w *writer) {
	w.word("-j", t.kind)
	if t.op != "" {
		w.word("--"+strings.ToLower(t.kind)+"-"+t.op, strconv.FormatUint(t.n, 10))
	}
}
