package iptables

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// rule is one rule as the evaluator and the printer see it.
type rule struct {
	text    string // the line as saved, without counters
	line    int    // its number in the text
	chain   string
	base    base
	matches []match
	target  target // nil: none, the rule matches and the walk goes on
	goTo    bool
	action  string // the target in words, for a step
	broken  string // why the line is no rule at all; it is then unknown as a whole
	negM    bool
	late    int // matches from here on stand behind the target
}

// base holds the conditions every rule can have without a match module.
type base struct {
	src, dst       *netAddr
	in, out        *ifName
	proto          uint8
	hasProto       bool
	notProto       bool
	frag, notFrag  bool
	family         uint8    // 4 or 6, of -4 and -6; 0 for both
	manySrc, manyD []string // several addresses in one option, as a person writes it
}

// netAddr is an address with a mask, which need not be contiguous.
type netAddr struct {
	addr, mask netip.Addr
	not        bool
}

type ifName struct {
	name string // without the +
	wild bool
	not  bool
}

func (n *ifName) matches(dev string) bool {
	if n.wild {
		return strings.HasPrefix(dev, n.name) != n.not
	}
	return (dev == n.name) != n.not
}

func (n *netAddr) matches(a netip.Addr) bool {
	if a.Is4() != n.addr.Is4() {
		return false
	}
	return maskAddr(a, n.mask) == n.addr != n.not
}

func maskAddr(a, mask netip.Addr) netip.Addr {
	if a.Is4() {
		x, m := a.As4(), mask.As4()
		for i := range x {
			x[i] &= m[i]
		}
		return netip.AddrFrom4(x)
	}
	x, m := a.As16(), mask.As16()
	for i := range x {
		x[i] &= m[i]
	}
	return netip.AddrFrom16(x)
}

func maskBits(bits int, v4 bool) netip.Addr {
	full := [16]byte{}
	for i := range full {
		full[i] = 0xff
	}
	var p netip.Prefix
	if v4 {
		p = netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), bits)
	} else {
		p = netip.PrefixFrom(netip.AddrFrom16(full), bits)
	}
	return p.Masked().Addr()
}

// contiguous returns the prefix length of a mask, or false.
func contiguous(mask netip.Addr) (int, bool) {
	bits := 0
	rest := false
	for _, b := range mask.AsSlice() {
		for i := 7; i >= 0; i-- {
			if b>>i&1 == 1 {
				if rest {
					return 0, false
				}
				bits++
			} else {
				rest = true
			}
		}
	}
	return bits, true
}

func parseNetAddr(s string) (*netAddr, bool) {
	host, bits, hasBits := strings.Cut(s, "/")
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" {
		return nil, false
	}
	n := &netAddr{addr: a, mask: maskBits(a.BitLen(), a.Is4())}
	if hasBits {
		if b, err := strconv.Atoi(bits); err == nil {
			if b < 0 || b > a.BitLen() {
				return nil, false
			}
			n.mask = maskBits(b, a.Is4())
		} else if m, err := netip.ParseAddr(bits); err == nil && m.Is4() == a.Is4() && m.Zone() == "" {
			n.mask = m
		} else {
			return nil, false
		}
	}
	n.addr = maskAddr(n.addr, n.mask)
	return n, true
}

func (n *netAddr) String() string {
	if b, ok := contiguous(n.mask); ok {
		return n.addr.String() + "/" + strconv.Itoa(b)
	}
	return n.addr.String() + "/" + n.mask.String()
}

// split breaks a line into words as iptables-restore does: blanks separate,
// double quotes hold together, a backslash inside them escapes. quoted tells for
// each word whether it was quoted. The error is about a quote that never ends.
func split(line string) (words []string, quoted []bool, err error) {
	for i := 0; i < len(line); {
		for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
			i++
		}
		if i == len(line) {
			break
		}
		start := i
		for i < len(line) && line[i] != ' ' && line[i] != '\t' && line[i] != '"' {
			i++
		}
		if i == len(line) || line[i] != '"' {
			words, quoted = append(words, line[start:i]), append(quoted, false)
			continue
		}
		var b strings.Builder
		b.WriteString(line[start:i])
		in := false
		for ; i < len(line); i++ {
			c := line[i]
			switch {
			case in && c == '\\' && i+1 < len(line):
				i++
				b.WriteByte(line[i])
				continue
			case c == '"':
				in = !in
				continue
			case !in && (c == ' ' || c == '\t'):
			default:
				b.WriteByte(c)
				continue
			}
			break
		}
		if in {
			return words, quoted, fmt.Errorf("a quote does not end")
		}
		words, quoted = append(words, b.String()), append(quoted, true)
	}
	return words, quoted, nil
}

// parser reads one rule's words.
type parser struct {
	words  []string
	quoted []bool
	i      int
	r      *rule
}

// isOption says whether the word at i begins an option rather than being a value.
func (p *parser) isOption(i int) bool {
	if i >= len(p.words) || p.quoted[i] {
		return i >= len(p.words)
	}
	w := p.words[i]
	return w == "!" || len(w) > 1 && w[0] == '-' && (w[1] < '0' || w[1] > '9')
}

// value takes the next word as the value of an option, whatever it looks like,
// as getopt does. ok is false where there is none.
func (p *parser) value() (string, bool) {
	if p.i >= len(p.words) {
		return "", false
	}
	p.i++
	return p.words[p.i-1], true
}

// skipNot says whether the next word is "!" and takes it: the old way to negate.
func (p *parser) skipNot() bool {
	if p.i < len(p.words) && p.words[p.i] == "!" && !p.quoted[p.i] {
		p.i++
		return true
	}
	return false
}

// parseRule reads a line "-A CHAIN ...", "-I CHAIN [N] ..." or a rule without
// its chain. It never fails: what it does not understand becomes a condition or
// target that is unknown.
func parseRule(text string) *rule {
	r := &rule{text: text}
	words, quoted, err := split(text)
	if err != nil {
		r.broken = err.Error()
		return r
	}
	if n := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "#") }); n > 0 && !quoted[n] && !strings.HasPrefix(words[n-1], "--") {
		words, quoted = words[:n], quoted[:n] // a remark a person added
	}
	p := &parser{words: words, quoted: quoted, r: r}
	if len(words) > 0 && (words[0] == "-A" || words[0] == "-I") {
		if len(words) < 2 {
			r.broken = "no chain is named"
			return r
		}
		r.chain, p.i = words[1], 2
		if words[0] == "-I" && p.i < len(words) && isDigits(words[p.i]) {
			p.i++
		}
	}
	p.run()
	r.finish()
	return r
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func (p *parser) run() {
	r := p.r
	not := false
	bad := func(from int) {
		// Keep the words of what is not understood, so that it can be quoted.
		p.i = max(p.i, from+1)
		for p.i < len(p.words) && !p.isOption(p.i) {
			p.i++
		}
		o := &opaque{name: "", not: not, words: p.words[from:p.i], why: "the option " + p.words[from] + " is not known here"}
		r.matches = append(r.matches, o)
	}
	for p.i < len(p.words) {
		from := p.i
		w := p.words[p.i]
		p.i++
		if p.quoted[from] {
			bad(from)
			continue
		}
		if w == "!" {
			not = !not
			if p.i < len(p.words) {
				continue
			}
			bad(from)
			break
		}
		ok := true
		switch w {
		case "-s", "--source", "--src", "-d", "--destination", "--dst":
			not = not != p.skipNot()
			v, has := p.value()
			isSrc := w == "-s" || w == "--source" || w == "--src"
			ok = has && p.address(isSrc, v, not)
		case "-i", "--in-interface", "-o", "--out-interface":
			not = not != p.skipNot()
			v, has := p.value()
			if ok = has && v != ""; ok {
				n := &ifName{name: v, not: not}
				if strings.HasSuffix(v, "+") {
					n.name, n.wild = strings.TrimSuffix(v, "+"), true
				}
				if w == "-i" || w == "--in-interface" {
					r.base.in = n
				} else {
					r.base.out = n
				}
			}
		case "-p", "--protocol", "--proto":
			not = not != p.skipNot()
			v, has := p.value()
			n, known := protoNumber(strings.ToLower(v))
			if ok = has && known; ok {
				r.base.proto, r.base.hasProto, r.base.notProto = n, n != 0, not
			}
		case "-f", "--fragment":
			r.base.frag, r.base.notFrag = true, not
		case "-4", "--ipv4":
			r.base.family = 4
		case "-6", "--ipv6":
			r.base.family = 6
		case "-c", "--set-counters":
			_, a := p.value()
			_, b := p.value()
			ok = a && b
		case "-m", "--match":
			v, has := p.value()
			if ok = has; ok {
				r.negM = r.negM || not
				r.matches = append(r.matches, newMatch(v, r))
			}
		case "-j", "--jump", "-g", "--goto":
			v, has := p.value()
			if ok = has && r.target == nil; ok {
				r.goTo = w == "-g" || w == "--goto"
				r.target = newTarget(v, r.goTo)
				r.late = len(r.matches)
			}
		default:
			ok = strings.HasPrefix(w, "--") && p.option(w[2:], not)
		}
		if !ok {
			bad(from)
		}
		not = false
	}
}

// option gives --name to the module that knows it: the last one loaded first, as
// iptables does, and the module of the protocol where none was named.
func (p *parser) option(name string, not bool) bool {
	r := p.r
	for i := len(r.matches) - 1; i >= r.late; i-- {
		if p.try(r.matches[i], name, not) {
			return true
		}
	}
	if r.target != nil && p.try(r.target, name, not) {
		return true
	}
	for i := min(r.late, len(r.matches)) - 1; i >= 0; i-- {
		if p.try(r.matches[i], name, not) {
			return true
		}
	}
	if r.base.hasProto && !r.base.notProto {
		implicit := map[uint8]string{6: "tcp", 17: "udp", 132: "sctp", 1: "icmp", 58: "icmp6", 33: "dccp", 136: "udplite", 50: "esp", 51: "ah", 135: "mh"}[r.base.proto]
		loaded := slices.ContainsFunc(r.matches, func(m match) bool { return m.module() == implicit })
		if implicit != "" && !loaded {
			m := newMatch(implicit, r)
			if p.try(m, name, not) {
				r.matches = append(r.matches, m)
				return true
			}
		}
	}
	return false
}

// try gives an option to one module. A module that refuses it is as it was
// before, and the parser stands where it stood.
func (p *parser) try(m interface {
	option(p *parser, name string, not bool) bool
}, name string, not bool,
) bool {
	start := p.i
	v := reflect.ValueOf(m).Elem()
	was := reflect.New(v.Type()).Elem()
	was.Set(v)
	if m.option(p, name, not) {
		return true
	}
	v.Set(was)
	p.i = start
	return false
}

func (p *parser) address(isSrc bool, v string, not bool) bool {
	b := &p.r.base
	if strings.Contains(v, ",") {
		// iptables makes one rule of each; restore input may hold it so.
		for one := range strings.SplitSeq(v, ",") {
			if _, ok := parseNetAddr(one); !ok {
				return false
			}
		}
		if not {
			return false
		}
		if isSrc {
			b.manySrc = strings.Split(v, ",")
		} else {
			b.manyD = strings.Split(v, ",")
		}
		return true
	}
	n, ok := parseNetAddr(v)
	if !ok {
		return false
	}
	n.not = not
	if isSrc {
		b.src = n
	} else {
		b.dst = n
	}
	return true
}

// finish completes what depends on the whole rule.
func (r *rule) finish() {
	switch {
	case r.target == nil:
		r.action = "continue"
	case r.goTo:
		r.action = "goto " + r.target.name()
	default:
		r.action = r.target.action()
	}
}

// understood says whether every word of the rule was.
func (r *rule) understood() bool {
	return r.broken == "" && !r.negM && !slices.ContainsFunc(r.matches, func(m match) bool {
		o, ok := m.(*opaque)
		return ok && o.name == ""
	})
}

// String prints the rule as iptables-save does, without its chain. A rule that is
// not understood is printed as it stands.
func (r *rule) String() string {
	if !r.understood() {
		text := r.text
		if rest, ok := strings.CutPrefix(text, "-A "); ok {
			_, text, _ = strings.Cut(strings.TrimLeft(rest, " \t"), " ")
		}
		return strings.TrimSpace(text)
	}
	var w writer
	b := &r.base
	if b.src != nil {
		w.not(b.src.not)
		w.word("-s", b.src.String())
	} else if b.manySrc != nil {
		w.word("-s", strings.Join(b.manySrc, ","))
	}
	if b.dst != nil {
		w.not(b.dst.not)
		w.word("-d", b.dst.String())
	} else if b.manyD != nil {
		w.word("-d", strings.Join(b.manyD, ","))
	}
	for _, i := range []struct {
		opt string
		n   *ifName
	}{{"-i", b.in}, {"-o", b.out}} {
		if i.n != nil {
			w.not(i.n.not)
			name := i.n.name
			if i.n.wild {
				name += "+"
			}
			w.word(i.opt)
			w.word(name)
		}
	}
	if b.hasProto {
		w.not(b.notProto)
		w.word("-p", protoName(b.proto))
	}
	if b.frag {
		w.not(b.notFrag)
		w.word("-f")
	}
	for _, m := range r.matches {
		m.print(&w)
	}
	if r.target != nil {
		if r.goTo {
			w.word("-g", r.target.name())
		} else {
			r.target.print(&w)
		}
	}
	return w.b.String()
}

// writer prints words as iptables-save does.
type writer struct{ b strings.Builder }

// word prints words that need no quotes, or only where they are strange.
func (w *writer) word(words ...string) {
	for _, s := range words {
		if s == "" || s == "!" || s[0] == '#' || strings.ContainsAny(s, " \t\"") {
			s = forceQuote(s)
		}
		w.raw(s)
	}
}

// raw prints words that are quoted already where they need it.
func (w *writer) raw(words ...string) {
	for _, s := range words {
		if w.b.Len() > 0 {
			w.b.WriteByte(' ')
		}
		w.b.WriteString(s)
	}
}

func (w *writer) not(not bool) {
	if not {
		w.raw("!")
	}
}

// text prints a value that may need quotes.
func (w *writer) text(s string) { w.raw(quote(s)) }

func quote(s string) string {
	safe := s != ""
	for i := range len(s) {
		c := s[i]
		if !(c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			safe = false
			break
		}
	}
	if safe {
		return s
	}
	return forceQuote(s)
}

func forceQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' || c == '\'' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

var protoNames = map[uint8]string{
	1: "icmp", 2: "igmp", 4: "ipencap", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 43: "ipv6-route", 44: "ipv6-frag", 47: "gre", 50: "esp", 51: "ah",
	58: "ipv6-icmp", 59: "ipv6-nonxt", 60: "ipv6-opts", 89: "ospf", 94: "ipip", 103: "pim", 108: "ipcomp", 112: "vrrp", 115: "l2tp", 132: "sctp", 135: "mobility-header", 136: "udplite",
}

// protoNumber reads a protocol as /etc/protocols and iptables name it. 0 is all.
func protoNumber(s string) (uint8, bool) {
	switch s {
	case "icmpv6", "icmp6":
		return 58, true
	case "all", "ip":
		return 0, true
	case "ipv4":
		return 4, true
	}
	for n, name := range protoNames {
		if name == s {
			return n, true
		}
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil
}

func protoName(n uint8) string {
	if s, ok := protoNames[n]; ok {
		return s
	}
	return strconv.Itoa(int(n))
}

// number reads a number as strtoul does: 0x for hexadecimal, a leading 0 octal.
func number(s string, bits int) (uint64, bool) {
	if strings.ContainsAny(s, "_oObB") && !strings.HasPrefix(s, "0x") && !strings.HasPrefix(s, "0X") || strings.Contains(s, "_") {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 0, bits)
	return n, err == nil
}

func hex(n uint32) string { return "0x" + strconv.FormatUint(uint64(n), 16) }
