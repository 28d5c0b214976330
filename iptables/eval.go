package iptables

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"sync"
)

// Bounds on one evaluation. Beyond them what remains is undetermined and says so.
const (
	maxSteps    = 8_000_000 // rules looked at
	maxForks    = 512       // conditions that are not known
	maxOutcomes = 1024      // listed one by one; the rest is summed up by verdict
	maxLeaves   = 4096      // ways kept while walking
	maxDepth    = 512       // chains within chains
)

// flow is a packet on its way: what it is now, where in the rules it stands and
// what it met. It is copied where the way forks.
type flow struct {
	src, dst           netip.Addr
	sport, dport       uint16
	proto              uint8
	flags              uint8
	icmpType, icmpCode uint8
	mark, ctmark       uint32
	state              State
	reply              bool
	hasCT              bool // conntrack has seen it
	zone               uint16
	template           bool // a CT rule gave it a template before that
	orig               Tuple
	ttl, length        int

	hook    string
	in, out string
	wayOut  string // the interface of the route as it is now, while hooks of OUTPUT still see out
	made    bool   // by a process of this namespace
	socket  bool   // its socket is still attached
	local   bool   // the route delivers it here
	looped  bool   // it came back over lo
	step    int    // in the program of the hooks
	layer   int    // which backend's chain
	natDst  bool   // a table decided about the destination
	natSrc  bool
	dstNAT  bool // conntrack's status bits
	srcNAT  bool
	dnatted bool
	snatted bool
	masq    bool
	snat    netip.AddrPort
	tproxy  netip.AddrPort

	beforeMasq netip.AddrPort

	redirect   uint16
	rerouted   bool
	verdict    Verdict
	done       bool
	rejectWith string
	why        string
	policy     *body
	decider    *body // the chain and rule that ended the walk
	deciding   int

	entry *entry // the flow it belongs to, where conntrack knows it

	prob    float64
	path    *pathNode
	facts   *factNode
	unknown *pathNode // rules that decide and are not known
	minor   *pathNode // rules that are not known and change only the source or mark

	cur   *body
	at    int
	ret   *frame
	depth int
}

type pathNode struct {
	prev *pathNode
	hook string
	body *body
	rule int
	why  string
	diff string // what the rule changed of the packet
}

type frame struct {
	body *body
	at   int
	prev *frame
}

// factNode is an answer that was supposed on this way, where it was not known.
type factNode struct {
	key  string
	val  bool
	prev *factNode
}

// tracked says whether the packet has a connection. Before conntrack, in raw, it
// has none yet.
func (f *flow) tracked() bool {
	return f.template && !f.hasCT || f.hasCT && f.state != Untracked && f.state != Invalid
}

// stateNow is the state as xt_conntrack sees it: INVALID where there is no
// connection and the packet was not taken out of tracking.
func (f *flow) stateNow() State {
	switch {
	case f.hasCT || f.state == Untracked:
		return f.state
	case f.template:
		return New
	default:
		return Invalid
	}
}

// fact is something a condition asked that is not known.
type fact struct {
	key, why string
	not      bool // the rule matches where the answer is no
	recent   bool
	dev      string // an interface name the answer yes would settle
	devOut   bool
}

// leaf is the end of one way.
type leaf struct {
	flow
	other []leaf // where it is undetermined: how it would end otherwise
}

// walk is one evaluation.
type walk struct {
	h        *Host
	p        Packet
	uid, gid *uint32
	layers   []*Ruleset
	names    []string // of the layers
	locals   map[netip.Addr]bool
	anyLocal bool

	chance float64
	fact   fact
	ways   []flow

	leaves  []leaf
	rest    [4]summed // by verdict
	steps   int
	forks   int
	forking int

	assumed []string

	paths  slab[pathNode]
	frames slab[frame]
}

// summed is what of many ways is kept.
type summed struct {
	prob float64
	n    int
}

type slab[T any] struct {
	blocks [][]T
	block  int
	used   int
}

func (s *slab[T]) get() *T {
	const size = 256
	for {
		if s.block >= len(s.blocks) {
			s.blocks = append(s.blocks, make([]T, size))
		}
		if s.used < size {
			p := &s.blocks[s.block][s.used]
			s.used++
			return p
		}
		s.block++
		s.used = 0
	}
}

func (s *slab[T]) mark() [2]int { return [2]int{s.block, s.used} }

func (s *slab[T]) rewind(m [2]int) { s.block, s.used = m[0], m[1] }

func (s *slab[T]) reset() {
	for i := range s.blocks {
		if i > s.block {
			break
		}
		clear(s.blocks[i])
	}
	if len(s.blocks) > 16 {
		s.blocks = s.blocks[:16]
	}
	s.block, s.used = 0, 0
}

var walks = sync.Pool{New: func() any { return new(walk) }}

func (w *walk) assume(s string) {
	if !slices.Contains(w.assumed, s) && len(w.assumed) < 64 {
		w.assumed = append(w.assumed, s)
	}
}

// unsure is the answer to something that is not known: what was supposed on this
// way before, or unknown.
func (w *walk) unsure(f *flow, key, why string) answer {
	for n := f.facts; n != nil; n = n.prev {
		if n.key == key {
			return is(n.val)
		}
	}
	w.fact = fact{key: key, why: why}
	return unknown
}

// and joins answers to conditions that must all hold.
func (w *walk) and(a, b answer) answer {
	switch {
	case a == no || b == no:
		return no
	case a == unknown || b == unknown:
		return unknown
	case a == chance || b == chance:
		return chance
	}
	return yes
}

// stage is one chain the kernel calls.
type stage struct {
	hook, table string
	then        byte // what follows: 0 the next stage, or one of the routing steps
}

// The program of the hooks. Entries of step follow each other; routing steps
// choose where to go on.
var program = []stage{
	0:  {"PREROUTING", "raw", 't'},
	1:  {"PREROUTING", "mangle", 0},
	2:  {"PREROUTING", "nat", 'r'},
	3:  {"INPUT", "mangle", 0},
	4:  {"INPUT", "filter", 0},
	5:  {"INPUT", "security", 0},
	6:  {"INPUT", "nat", 'e'},
	7:  {"FORWARD", "mangle", 0},
	8:  {"FORWARD", "filter", 0},
	9:  {"FORWARD", "security", 'p'},
	10: {"OUTPUT", "raw", 't'},
	11: {"OUTPUT", "mangle", 'm'},
	12: {"OUTPUT", "nat", 'm'},
	13: {"OUTPUT", "filter", 0},
	14: {"OUTPUT", "security", 'o'},
	15: {"POSTROUTING", "mangle", 0},
	16: {"POSTROUTING", "nat", 'x'},
}

const (
	atPrerouting  = 0
	atInput       = 3
	atForward     = 7
	atOutput      = 10
	atPostrouting = 15
)

// Evaluate walks p through the namespace and returns every way it can go. It
// always ends: loops, deep jumps and too many ways are cut off and reported as
// undetermined.
func (h *Host) Evaluate(p Packet) Result {
	if !p.Src.Addr().IsValid() || !p.Dst.Addr().IsValid() || p.Src.Addr().Unmap().Is4() != p.Dst.Addr().Unmap().Is4() {
		return undetermined(p, "the packet needs a source and a destination address of one family")
	}
	p.Src = netip.AddrPortFrom(p.Src.Addr().Unmap(), p.Src.Port())
	p.Dst = netip.AddrPortFrom(p.Dst.Addr().Unmap(), p.Dst.Port())
	if p.Proto == 0 {
		p.Proto = TCP
	}
	if p.Hook == "" {
		p.Hook = Prerouting
	}
	if p.State == "" {
		p.State = New
	}
	if p.Proto == ICMP && p.Dst.Addr().Is6() {
		p.Proto = ICMPv6
	}
	main, legacy := h.V4, h.V4Legacy
	if p.Dst.Addr().Is6() {
		main, legacy = h.V6, h.V6Legacy
	}
	if main == nil && legacy == nil {
		family := "IPv4 (iptables-save)"
		if p.Dst.Addr().Is6() {
			family = "IPv6 (ip6tables-save)"
		}
		r := undetermined(p, "the rules for "+family+" were not given")
		return r
	}
	if reason := h.otherMode(p); reason != "" {
		r := undetermined(p, reason)
		r.Outcomes[0].Elsewhere = true
		return r
	}
	if main == nil || legacy.Empty() || main.Empty() {
		one, name := main, "nft"
		if main == nil || main.Empty() && !legacy.Empty() {
			one, name = legacy, "legacy"
		}
		return h.evaluate(p, []*Ruleset{one}, []string{name})
	}
	// Both backends hold rules. Which of them the kernel calls first is the order
	// in which they were loaded, which no save tells.
	a := h.evaluate(p, []*Ruleset{main, legacy}, []string{"nft", "legacy"})
	b := h.evaluate(p, []*Ruleset{legacy, main}, []string{"legacy", "nft"})
	out := a
	note := "both the nft and the legacy backend hold rules; which of them the kernel calls first is not in a save"
	if sameEnds(a.Outcomes, b.Outcomes) {
		out.Assumptions = append(out.Assumptions, note+", and makes no difference to this packet")
		return out
	}
	out.Assumptions = append(out.Assumptions, note+": each order is counted as half")
	for _, s := range b.Assumptions {
		if !slices.Contains(out.Assumptions, s) {
			out.Assumptions = append(out.Assumptions, s)
		}
	}
	var all []Outcome
	for _, r := range []struct {
		res  Result
		name string
	}{{a, "nft first"}, {b, "legacy first"}} {
		for _, o := range r.res.Outcomes {
			o.Probability /= 2
			o.Backend = r.name
			all = append(all, o)
		}
	}
	sortOutcomes(all)
	out.Outcomes = all
	return out
}

func sortOutcomes(o []Outcome) {
	slices.SortStableFunc(o, func(a, b Outcome) int {
		if d := cmp.Compare(b.Probability, a.Probability); math.Abs(a.Probability-b.Probability) > 1e-9 {
			return d
		}
		return 0
	})
}

// sameEnds says whether two lists of outcomes end alike, whatever their paths.
func sameEnds(a, b []Outcome) bool {
	sum := map[string]float64{}
	for _, o := range a {
		sum[o.effect()] += o.Probability
	}
	for _, o := range b {
		sum[o.effect()] -= o.Probability
	}
	for _, p := range sum {
		if math.Abs(p) > 1e-6 {
			return false
		}
	}
	return true
}

func (o *Outcome) effect() string {
	return fmt.Sprint(o.Verdict, o.Dst, o.Src, o.DNAT, o.Masquerade, o.Mark, o.Redirect, o.TProxy, o.RejectWith, o.Local)
}

func undetermined(p Packet, reason string) Result {
	return Result{Outcomes: []Outcome{{Probability: 1, Verdict: Undetermined, Dst: p.Dst, Src: p.Src, Mark: Mark(p.Mark), Reason: reason, Path: []Step{}}}}
}

func (h *Host) evaluate(p Packet, layers []*Ruleset, names []string) Result {
	w := walks.Get().(*walk)
	w.h, w.p, w.layers, w.names = h, p, layers, names
	w.uid, w.gid = p.UID, p.GID
	w.learnLocals()
	f := w.begin()
	w.run(&f)
	r := w.result()
	if src := p.Src.Addr(); src.Is4() && src.IsLoopback() && slices.ContainsFunc(r.Outcomes, func(o Outcome) bool {
		return o.Verdict == Accept && o.DNAT && !o.Local && !o.Dst.Addr().IsLoopback()
	}) {
		// ip-sysctl: a martian otherwise, after nat OUTPUT and before POSTROUTING.
		r.Assumptions = append(r.Assumptions, "net.ipv4.conf.all.route_localnet is taken to be 1, as kube-proxy sets it: without, the kernel drops what leaves with a loopback source")
	}
	w.paths.reset()
	w.frames.reset()
	leaves := w.leaves
	clear(leaves)
	if cap(leaves) > 4096 {
		leaves = nil
	}
	*w = walk{paths: w.paths, frames: w.frames, leaves: leaves[:0], ways: w.ways[:0], locals: w.locals}
	clear(w.locals)
	walks.Put(w)
	return r
}

func (w *walk) begin() flow {
	p := w.p
	f := flow{
		src: p.Src.Addr(), dst: p.Dst.Addr(), sport: p.Src.Port(), dport: p.Dst.Port(), proto: uint8(p.Proto), mark: p.Mark, ctmark: p.CTMark,
		state: p.State, in: p.In, ttl: p.TTL, length: p.Length, prob: 1, orig: Tuple{p.Src, p.Dst}, icmpCode: p.ICMPCode,
	}
	if p.ICMPType != nil {
		f.icmpType = *p.ICMPType
	} else if p.Proto == ICMP {
		f.icmpType = 8
	} else if p.Proto == ICMPv6 {
		f.icmpType = 128
	}
	if p.TCPFlags != "" {
		f.flags, _ = parseFlags(p.TCPFlags)
	} else if p.State == New || p.State == Untracked {
		f.flags = flagSYN
	} else {
		f.flags = flagACK
	}
	if p.Hook == Output {
		f.step, f.made, f.socket = atOutput, true, true
		f.in = ""
		w.route(&f)
		f.out = f.wayOut
		if f.ttl == 0 {
			f.ttl = 64
		}
	} else {
		f.step = atPrerouting
		if f.in == "" {
			if dev, ok := w.h.routeTo(f.src); ok && w.isLocal(&f, f.src) != yes {
				f.in = dev
				w.assume("the packet arrives on " + dev + ", the interface towards its source")
			}
		}
	}
	w.enter(&f)
	return f
}

// route decides whether the packet as it is now is delivered here, and by which
// interface it leaves otherwise.
func (w *walk) route(f *flow) {
	f.rerouted = false
	if f.tproxy.IsValid() {
		f.local = true
		return
	}
	switch w.isLocal(f, f.dst) {
	case yes:
		f.local, f.wayOut = true, "lo"
		return
	case unknown:
		w.assume("the addresses of this namespace were not given: none but the loopback is taken for its own")
	}
	f.local, f.wayOut = false, ""
	if w.p.Out != "" {
		f.wayOut = w.p.Out
		return
	}
	if dev, ok := w.h.routeTo(f.dst); ok {
		f.wayOut = dev
	}
}

// enter sets the flow before the first rule of the stage it stands at.
func (w *walk) enter(f *flow) {
	f.layer = -1
	f.cur = nil
}

// next moves the flow to the next chain the kernel calls. It returns false at
// the end of the way.
func (w *walk) next(f *flow) bool {
	for {
		f.layer++
		if f.layer >= len(w.layers) {
			if !w.leave(f) {
				return false
			}
			continue
		}
		s := &program[f.step]
		f.hook = s.hook
		if s.table == "nat" && !w.meetsNAT(f) {
			f.layer = len(w.layers)
			if f.entry != nil {
				f.followEntry()
			}
			continue
		}
		rs := w.layers[f.layer]
		t := rs.table(s.table)
		if t == nil {
			continue
		}
		if t.again > 0 || len(t.strange) > 0 {
			if w.tableUnclear(f, rs, t) {
				return false
			}
		}
		c := t.find(rs, s.hook)
		if c == nil {
			continue
		}
		f.cur, f.at, f.ret, f.depth = rs.body(t, c), 0, nil, 0
		return true
	}
}

// tableUnclear ends the way where a table cannot be told apart from another, or
// holds lines that are no rules.
func (w *walk) tableUnclear(f *flow, rs *Ruleset, t *table) bool {
	if t.again > 0 {
		f.why = fmt.Sprintf("%s holds table %s twice, from line %d and from line %d: give each save its own file", rs.name, t.name, t.line, t.again)
	} else {
		s := t.strange[0]
		f.why = fmt.Sprintf("%s:%d: not understood, in table %s: %s", rs.name, rs.lineNumber(s), t.name, quoteShort(string(rs.text(s))))
	}
	f.verdict = Undetermined
	w.end(f)
	return true
}

// meetsNAT says whether the nat chains of this hook see the packet: only the
// first of a tracked flow, once for each direction of change.
func (w *walk) meetsNAT(f *flow) bool {
	if f.entry != nil || f.state != New && f.state != Related || f.state == Related && (f.proto == 1 || f.proto == 58) {
		return false
	}
	if f.hook == "PREROUTING" || f.hook == "OUTPUT" {
		return !f.natDst
	}
	return !f.natSrc
}

// leave goes from one stage to the next, routing where the kernel does.
func (w *walk) leave(f *flow) bool {
	s := program[f.step]
	f.layer = -1
	if s.table == "nat" {
		// What no rule decided is decided too: it stays as it is.
		if s.hook == "PREROUTING" || s.hook == "OUTPUT" {
			f.natDst = true
		} else {
			f.natSrc = true
		}
	}
	switch s.then {
	case 't':
		w.track(f)
		f.step++
	case 'r':
		w.route(f)
		if f.local {
			f.step = atInput
		} else {
			f.step = atForward
			f.out = f.wayOut
			if f.ttl > 0 {
				f.ttl--
			}
		}
	case 'm':
		if f.rerouted {
			w.route(f)
		}
		f.step++
	case 'p', 'o':
		f.out = f.wayOut
		if s.then == 'p' {
			f.socket = false
		} else {
			f.in = ""
		}
		f.step = atPostrouting
	case 'x':
		if !f.local {
			f.verdict = Accept
			w.end(f)
			return false
		}
		// Over the loopback it comes in again.
		f.looped, f.in, f.out, f.socket = true, "lo", "", false
		f.step = atPrerouting
	case 'e':
		f.verdict = Accept
		w.end(f)
		return false
	default:
		f.step++
	}
	if f.step == atInput {
		f.out = ""
	}
	return true
}

// track is conntrack: it finds the flow a packet belongs to.
func (w *walk) track(f *flow) {
	if f.hasCT {
		return
	}
	f.hasCT = true
	if f.state != New {
		if f.state == Established {
			f.applyEntry(w, w.h.Conntrack.find(f))
		}
		return
	}
	if e := w.h.Conntrack.find(f); e != nil {
		f.applyEntry(w, e)
	}
}

// end closes a way.
func (w *walk) end(f *flow) {
	f.done = true
	if len(w.leaves) < maxLeaves {
		w.leaves = append(w.leaves, leaf{flow: *f})
		return
	}
	// What cannot be kept is summed up; below a fork nothing is certain of it.
	v := f.verdict
	if w.forking > 0 {
		v = Undetermined
	}
	w.rest[v].prob += f.prob
	w.rest[v].n++
}

func (w *walk) giveUp(f *flow, why string) {
	f.verdict, f.why = Undetermined, why
	w.end(f)
}

// run walks until every way on from f has ended.
func (w *walk) run(f *flow) {
	for !f.done {
		if f.cur == nil {
			if !w.next(f) {
				return
			}
		}
		b := f.cur
		i := w.candidate(f, b)
		if i < 0 {
			w.chainEnd(f)
			continue
		}
		f.at = i
		if w.steps++; w.steps > maxSteps {
			w.giveUp(f, fmt.Sprintf("gave up after looking at %d rules", maxSteps))
			return
		}
		r := b.rule(i)
		switch w.matches(f, r) {
		case no:
			f.at++
		case yes:
			w.hit(f, b, r)
		case chance:
			p := w.chance
			c := *f
			c.prob *= p
			paths, frames, kept := w.paths.mark(), w.frames.mark(), len(w.leaves)
			w.hit(&c, b, r)
			w.run(&c)
			if len(w.leaves) == kept {
				w.paths.rewind(paths)
				w.frames.rewind(frames)
			}
			f.prob *= 1 - p
			f.at++
		case unknown:
			w.fork(f, b, i)
			return
		}
	}
}

// candidate returns the next rule of the chain that the packet can match, or -1.
func (w *walk) candidate(f *flow, b *body) int {
	if d := b.dispatch; d != nil {
		return int(d.from(int32(f.at), f.dst, f.dport, f.proto == 6 || f.proto == 17 || f.proto == 132 || f.proto == 33 || f.proto == 136))
	}
	if f.at < len(b.rules) {
		return f.at
	}
	return -1
}

// chainEnd is the end of a chain: back to the caller, or the policy.
func (w *walk) chainEnd(f *flow) {
	if f.ret != nil {
		f.cur, f.at, f.ret = f.ret.body, f.ret.at, f.ret.prev
		f.depth--
		return
	}
	// The base chain whose policy counts is the one of the stage: a goto may have left it.
	rs := w.layers[f.layer]
	s := program[f.step]
	t := rs.table(s.table)
	b := rs.body(t, t.find(rs, s.hook))
	f.cur = nil
	switch b.policy {
	case policyDrop:
		f.verdict, f.policy = Drop, b
		w.end(f)
	case policyOther:
		w.giveUp(f, "the policy of "+s.table+" "+s.hook+" is not known")
	}
}

// matches asks every condition of a rule.
func (w *walk) matches(f *flow, r *rule) answer {
	if r.broken != "" {
		return w.unsure(f, "line "+r.text, "the line is not understood: "+r.broken)
	}
	b := &r.base
	if b.src != nil && !b.src.matches(f.src) || b.dst != nil && !b.dst.matches(f.dst) {
		return no
	}
	if b.hasProto && (f.proto == b.proto) == b.notProto {
		return no
	}
	if b.frag && !b.notFrag {
		return no // conntrack puts fragments together before any table sees them
	}
	if b.family != 0 && (b.family == 4) != f.dst.Is4() {
		return no
	}
	out := yes
	p := 1.0
	if b.manySrc != nil && !anyAddr(b.manySrc, f.src) || b.manyD != nil && !anyAddr(b.manyD, f.dst) {
		return no
	}
	if b.in != nil {
		if out = w.device(f, b.in, f.in, false); out == no {
			return no
		}
	}
	if b.out != nil {
		a := w.device(f, b.out, f.out, true)
		if a == no {
			return no
		}
		out = w.and(out, a)
	}
	var first fact
	if out == unknown {
		first = w.fact
	}
	for _, m := range r.matches {
		a := m.eval(w, f)
		switch a {
		case no:
			return no
		case chance:
			p *= w.chance
		case unknown:
			if out != unknown {
				first = w.fact
			}
		}
		out = w.and(out, a)
	}
	if r.negM && out != no {
		out = w.unsure(f, "line "+r.text, "a negated match module is not understood")
		first = w.fact
	}
	w.fact, w.chance = first, p
	return out
}

func anyAddr(list []string, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(s string) bool {
		n, ok := parseNetAddr(s)
		return ok && n.matches(a)
	})
}

// device answers -i and -o. An interface the packet does not have at this hook
// matches as an empty name does.
func (w *walk) device(f *flow, n *ifName, dev string, isOut bool) answer {
	known := dev != ""
	if isOut {
		known = known || f.hook == "PREROUTING" || f.hook == "INPUT"
	} else {
		known = known || f.hook == "OUTPUT" || f.hook == "POSTROUTING"
	}
	if known {
		return is(n.matches(dev))
	}
	if n.wild && n.name == "" {
		return is(!n.not)
	}
	if !isOut && n.name == "lo" && !n.wild && !f.looped {
		return is(n.not) // a packet from outside does not come over the loopback
	}
	if isOut && n.name == "lo" && !n.wild && !f.local {
		return is(n.not)
	}
	dir, flagName := "in", "--in-interface"
	if isOut {
		dir, flagName = "out", "--out-interface"
	}
	key := dir + "-interface " + n.name
	if n.wild {
		key += "+"
	}
	a := w.unsure(f, key, "the interface the packet comes in by is not given ("+flagName+")")
	if a == unknown {
		if isOut {
			w.fact.why = "the interface the packet leaves by is not known"
		}
		if !n.wild {
			w.fact.dev, w.fact.devOut = n.name, isOut
		}
	}
	return w.negated(a, n.not)
}

// hit applies a rule that matched.
func (w *walk) hit(f *flow, b *body, r *rule) {
	node := w.paths.get()
	*node = pathNode{prev: f.path, hook: f.hook, body: b, rule: f.at}
	f.path = node
	at := f.at
	f.at++
	if r.target == nil {
		return
	}
	f.decider, f.deciding = b, at
	mark, ctmark, state, dst, masq, src := f.mark, f.ctmark, f.state, netip.AddrPortFrom(f.dst, f.dport), f.masq, netip.AddrPortFrom(f.src, f.sport)
	effect := r.target.apply(w, f)
	if f.mark != mark || f.ctmark != ctmark || f.state != state || f.dst != dst.Addr() || f.dport != dst.Port() || f.masq != masq || f.src != src.Addr() || f.sport != src.Port() {
		node.diff = f.changes(mark, ctmark, state, dst, masq, src)
	}
	switch effect {
	case goOn:
	case stop:
		w.end(f)
	case over:
		f.cur, f.ret, f.depth = nil, nil, 0
	case back:
		if f.ret == nil {
			f.at = len(b.rules)
		}
		w.chainEnd(f)
	case jump:
		w.jump(f, b, r)
	case many:
		ways := slices.Clone(w.ways)
		for i := range ways {
			c := &ways[i]
			c.cur, c.ret, c.depth = nil, nil, 0
			n := w.paths.get()
			*n = *node
			n.diff = c.changes(mark, ctmark, state, dst, masq, src)
			c.path = n
			w.run(c)
		}
		f.done = true
	}
}

// changes says what a rule changed of the packet.
func (f *flow) changes(mark, ctmark uint32, state State, dst netip.AddrPort, masq bool, src netip.AddrPort) string {
	var buf [160]byte
	b := buf[:0]
	sep := func(what string) {
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = append(b, what...)
	}
	addr := func(a netip.AddrPort) {
		if a.Port() == 0 {
			b = a.Addr().AppendTo(b)
		} else {
			b = a.AppendTo(b)
		}
	}
	if to := netip.AddrPortFrom(f.dst, f.dport); to != dst {
		sep("dst ")
		addr(dst)
		b = append(b, " -> "...)
		addr(to)
	}
	if to := netip.AddrPortFrom(f.src, f.sport); to != src {
		sep("src ")
		addr(src)
		b = append(b, " -> "...)
		addr(to)
	} else if f.masq != masq {
		sep("src ")
		addr(src)
		b = append(b, " -> "...)
		if f.snat.Addr().IsValid() {
			addr(f.snat)
		} else {
			b = append(b, "an address of the outgoing interface"...)
		}
	}
	for _, m := range []struct {
		what     string
		old, new uint32
	}{{"mark 0x", mark, f.mark}, {"connection mark 0x", ctmark, f.ctmark}} {
		if m.old != m.new {
			sep(m.what)
			b = strconv.AppendUint(b, uint64(m.old), 16)
			b = append(b, " -> 0x"...)
			b = strconv.AppendUint(b, uint64(m.new), 16)
		}
	}
	if f.state != state {
		sep("not tracked")
	}
	return string(b)
}

func (w *walk) jump(f *flow, b *body, r *rule) {
	rs := b.rs
	t := rs.table(b.table)
	name := r.target.name()
	c := t.find(rs, name)
	if c == nil || isBase(b.table, name) {
		w.giveUp(f, "the target "+strconv.Quote(name)+" is neither a chain of table "+b.table+" nor known to this version")
		return
	}
	if f.depth >= maxDepth {
		w.giveUp(f, fmt.Sprintf("chains call each other more than %d deep", maxDepth))
		return
	}
	if !r.goTo {
		fr := w.frames.get()
		*fr = frame{body: b, at: f.at, prev: f.ret}
		f.ret = fr
		f.depth++
	}
	f.cur, f.at = rs.body(t, c), 0
}

// fork follows both answers to a condition that is not known. Where both lead to
// the same end it does not matter; elsewhere the outcome is undetermined.
func (w *walk) fork(f *flow, b *body, i int) {
	if w.forks++; w.forks > maxForks {
		w.giveUp(f, fmt.Sprintf("more than %d conditions on the way are not known", maxForks))
		return
	}
	fc := w.fact
	start := len(w.leaves)
	with := *f
	with.facts = &factNode{fc.key, true, f.facts}
	if fc.dev != "" {
		if fc.devOut {
			with.out, with.wayOut = fc.dev, fc.dev
		} else {
			with.in = fc.dev
		}
	}
	w.forking++
	w.run(&with)
	middle := len(w.leaves)
	without := *f
	without.facts = &factNode{fc.key, false, f.facts}
	w.run(&without)
	w.forking--
	w.join(start, middle, f, b, i, fc)
}

// join replaces the ends of both answers by what is certain of them.
func (w *walk) join(start, middle int, f *flow, b *body, i int, fc fact) {
	yesses, noes := w.leaves[start:middle], w.leaves[middle:]
	if len(yesses) == 0 || len(noes) == 0 {
		// There were too many ways to keep. What is left of them is no answer.
		for k := start; k < len(w.leaves); k++ {
			w.leaves[k].verdict, w.leaves[k].why = Undetermined, "too many ways to follow"
		}
		return
	}
	// The answer that counts as the usual one is that the rule does not match.
	usual, other := noes, yesses
	if fc.not {
		usual, other = yesses, noes
	}
	left := make(map[effectKey]float64, len(other))
	for k := range other {
		left[other[k].key()] += other[k].prob
	}
	same, within := true, true
	have := make(map[effectKey]float64, len(usual))
	for k := range usual {
		have[usual[k].key()] += usual[k].prob
	}
	for k, p := range left {
		if math.Abs(have[k]-p) > 1e-9 {
			same = false
		}
		if _, ok := have[k]; !ok {
			within = false
		}
	}
	same = same && len(have) == len(left)
	if !same && fc.recent && within {
		w.assume(fc.why + ": the client is taken to be new to it")
		same = true
	}
	kept := slices.Clone(usual)
	if !same && sameWhere(usual, other) {
		// Where it goes is certain; only its source or mark is not.
		w.assume(fmt.Sprintf("%s %s rule %d is taken not to match (%s): it would change only the packet's source or mark", b.table, b.name, i+1, fc.why))
		for k := range kept {
			n := w.paths.get()
			*n = pathNode{prev: kept[k].minor, hook: f.hook, body: b, rule: i, why: fc.why}
			kept[k].minor = n
		}
		same = true
	}
	if !same {
		node := pathNode{hook: f.hook, body: b, rule: i, why: fc.why}
		for k := range kept {
			l := &kept[k]
			if key := l.key(); l.verdict != Undetermined && left[key] >= l.prob-1e-9 {
				left[key] -= l.prob
				continue // certain either way
			}
			n := w.paths.get()
			*n = node
			n.prev = l.unknown
			l.unknown = n
			if room := 8 - len(l.other); room > 0 {
				l.other = append(slices.Clone(l.other), other[:min(len(other), room)]...)
			}
		}
	}
	w.leaves = append(w.leaves[:start], kept...)
}

// sameWhere says whether two sets of ends differ at most in the source and marks
// of the packet.
func sameWhere(a, b []leaf) bool {
	sum := make(map[effectKey]float64, len(a))
	weak := func(l *leaf) effectKey {
		k := l.key()
		k.src, k.sport, k.mark, k.masq, k.snat = netip.Addr{}, 0, 0, false, netip.AddrPort{}
		return k
	}
	for i := range a {
		sum[weak(&a[i])] += a[i].prob
	}
	for i := range b {
		sum[weak(&b[i])] -= b[i].prob
	}
	for k, p := range sum {
		if math.Abs(p) > 1e-9 || k.unclear {
			return false
		}
	}
	return true
}

// effectKey is how a way ends, whatever way it took.
type effectKey struct {
	src, dst     netip.Addr
	sport, dport uint16
	verdict      Verdict
	mark         uint32
	masq, local  bool
	snat, tproxy netip.AddrPort
	rejectWith   string
	unclear      bool
}

func (l *leaf) key() effectKey {
	v := l.verdict
	if l.unknown != nil {
		v = Undetermined
	}
	return effectKey{l.src, l.dst, l.sport, l.dport, v, l.mark, l.masq, l.local, l.snat, l.tproxy, l.rejectWith, l.unknown != nil}
}
