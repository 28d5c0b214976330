package iptables

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// answer is what a condition says about a packet. unknown and chance leave what
// they are about in the walk's fact and chance.
type answer uint8

const (
	no answer = iota
	yes
	unknown
	chance
)

func is(b bool) answer {
	if b {
		return yes
	}
	return no
}

// negated turns an answer around where not is set. A fact that is not known
// stays so.
func (w *walk) negated(a answer, not bool) answer {
	if !not {
		return a
	}
	switch a {
	case yes:
		return no
	case no:
		return yes
	case chance:
		w.chance = 1 - w.chance
	case unknown:
		w.fact.not = !w.fact.not
	}
	return a
}

// match is one -m module of a rule with its options.
type match interface {
	module() string
	// option reads one option of the module; the parser stands behind its name.
	// It returns false for an option that is not the module's or not understood.
	option(p *parser, name string, not bool) bool
	eval(w *walk, f *flow) answer
	print(w *writer)
}

func newMatch(name string, r *rule) match {
	switch name {
	case "comment":
		return &commentMatch{}
	case "tcp", "udp", "sctp", "dccp", "udplite":
		return &portMatch{name: name}
	case "icmp", "icmp6", "icmpv6":
		if name == "icmpv6" {
			name = "icmp6"
		}
		return &icmpMatch{name: name}
	case "mark", "connmark":
		return &markMatch{name: name}
	case "conntrack", "state":
		return &conntrackMatch{name: name}
	case "addrtype":
		return &addrtypeMatch{}
	case "statistic":
		return &statisticMatch{}
	case "recent":
		return &recentMatch{name: "DEFAULT", seconds: -1, hits: -1}
	case "nfacct":
		return &nfacctMatch{}
	case "multiport":
		return &multiportMatch{}
	case "set":
		return &setMatch{}
	case "owner":
		return &ownerMatch{}
	case "physdev":
		return &physdevMatch{}
	case "socket":
		return &socketMatch{}
	case "rpfilter":
		return &rpfilterMatch{}
	case "limit":
		return &limitMatch{rate: "3/hour", burst: "5"}
	case "iprange":
		return &iprangeMatch{}
	case "pkttype":
		return &pkttypeMatch{}
	case "length", "ttl", "hl":
		return &numberMatch{name: name}
	default:
		why, known := undecidable[name]
		if !known {
			why = "the match " + strconv.Quote(name) + " is not known here"
		}
		return &opaque{name: name, why: why}
	}
}

// undecidable has the matches whose answer neither a save nor a packet's
// addresses tell, with what would have to be known.
var undecidable = map[string]string{
	"bpf":       "what its program makes of the packet's bytes is not known",
	"cgroup":    "the control group of the sending process is not known",
	"cluster":   "which node of the cluster the packet is for is not known",
	"connbytes": "how much the connection has transferred is not known",
	"connlabel": "the labels of the connection are not known",
	"connlimit": "how many connections of the client are open at this rule is not known",
	"cpu":       "which CPU handles the packet is not known",
	"devgroup":  "the groups of the interfaces are not known",
	"dscp":      "the DSCP of the packet is not known",
	"ecn":       "the ECN bits of the packet are not known",
	"geoip":     "the country of the address is not known",
	"hashlimit": "how many packets came before this one is not known",
	"helper":    "the helper of the connection is not known",
	"ipvs":      "what IPVS does with the packet is not known",
	"mac":       "the hardware address of the sender is not known",
	"policy":    "whether IPsec protects the packet is not known",
	"quota":     "how much of the quota is used up is not known",
	"rateest":   "the rate measured is not known",
	"realm":     "the realm of the route is not known",
	"string":    "what the packet carries is not known",
	"tcpmss":    "the MSS of the packet is not known",
	"time":      "when the packet comes is not known",
	"tos":       "the TOS of the packet is not known",
	"u32":       "the bytes of the packet are not known",
}

// opaque is a match that is kept as it stands and never evaluated, or an option
// that no module knows.
type opaque struct {
	name  string // empty: only an option
	words []string
	not   bool
	why   string
}

func (m *opaque) module() string { return m.name }

func (m *opaque) option(p *parser, name string, not bool) bool {
	if m.name == "" {
		return false
	}
	if not {
		m.words = append(m.words, "!")
	}
	m.words = append(m.words, "--"+name)
	for p.i < len(p.words) && !p.isOption(p.i) {
		w := p.words[p.i]
		switch {
		case name == "u32":
			w = forceQuote(u32Text(w))
		case p.quoted[p.i] || name == "string" || strings.HasPrefix(w, "#"):
			w = forceQuote(w)
		}
		m.words = append(m.words, w)
		p.i++
	}
	return true
}

// u32Text writes the numbers of a u32 expression as iptables-save does.
func u32Text(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		j := i
		for j < len(s) && (s[j] >= '0' && s[j] <= '9' || s[j] >= 'a' && s[j] <= 'f' || s[j] >= 'A' && s[j] <= 'F' || s[j] == 'x' || s[j] == 'X') {
			j++
		}
		if j == i {
			b.WriteByte(s[i])
			i++
			continue
		}
		if n, ok := number(s[i:j], 32); ok {
			b.WriteString(hex(uint32(n)))
		} else {
			b.WriteString(s[i:j])
		}
		i = j
	}
	return b.String()
}

func (m *opaque) eval(w *walk, f *flow) answer {
	key := m.name + " " + strings.Join(m.words, " ")
	return w.negated(w.unsure(f, key, m.why), m.not && m.name == "")
}

func (m *opaque) print(w *writer) {
	if m.name == "" {
		w.not(m.not)
		w.raw(m.words...)
		return
	}
	w.word("-m", m.name)
	words := m.words
	switch m.name {
	case "connlimit":
		if !slices.Contains(words, "--connlimit-saddr") && !slices.Contains(words, "--connlimit-daddr") {
			words = append(slices.Clone(words), "--connlimit-saddr")
		}
	case "hashlimit":
		words = hashlimitWords(words)
	case "time":
		words = timeWords(words)
	}
	w.raw(words...)
}

// hashlimitWords orders the options of hashlimit as iptables-save does.
func hashlimitWords(words []string) []string {
	opts := optionGroups(words)
	if _, ok := opts["--hashlimit-burst"]; !ok {
		opts["--hashlimit-burst"] = []string{"--hashlimit-burst", "5"}
	}
	var out []string
	for _, k := range []string{
		"--hashlimit-upto", "--hashlimit", "--hashlimit-above", "--hashlimit-burst", "--hashlimit-mode", "--hashlimit-name",
		"--hashlimit-htable-size", "--hashlimit-htable-max", "--hashlimit-htable-gcinterval", "--hashlimit-htable-expire", "--hashlimit-srcmask",
		"--hashlimit-dstmask", "--hashlimit-rate-match", "--hashlimit-rate-interval",
	} {
		out = append(out, opts[k]...)
	}
	return out
}

// timeWords completes the options of time as iptables-save does.
func timeWords(words []string) []string {
	opts := optionGroups(words)
	var out []string
	for _, k := range []string{"--timestart", "--timestop"} {
		if g := opts[k]; len(g) == 2 && len(g[1]) == 5 {
			g[1] += ":00"
		}
		out = append(out, opts[k]...)
	}
	for _, k := range []string{"--contiguous", "--weekdays", "--monthdays", "--datestart"} {
		out = append(out, opts[k]...)
	}
	if g, ok := opts["--datestop"]; ok {
		out = append(out, g...)
	} else {
		out = append(out, "--datestop", "2038-01-19T03:14:07")
	}
	return append(out, opts["--kerneltz"]...)
}

// optionGroups breaks words into options with what stands before ("!") and after.
func optionGroups(words []string) map[string][]string {
	out := map[string][]string{}
	for i := 0; i < len(words); {
		j := i + 1
		if words[i] == "!" {
			j++
		}
		name := words[min(j, len(words))-1]
		for j < len(words) && !strings.HasPrefix(words[j], "--") && words[j] != "!" {
			j++
		}
		out[name] = slices.Clone(words[i:min(j, len(words))])
		i = j
	}
	return out
}

type commentMatch struct{ text string }

func (m *commentMatch) module() string           { return "comment" }
func (m *commentMatch) eval(*walk, *flow) answer { return yes }
func (m *commentMatch) print(w *writer)          { w.word("-m", "comment", "--comment"); w.text(m.text) }

func (m *commentMatch) option(p *parser, name string, not bool) (ok bool) {
	if name == "comment" && !not {
		m.text, ok = p.value()
	}
	return ok
}

type nfacctMatch struct{ name string }

func (m *nfacctMatch) module() string           { return "nfacct" }
func (m *nfacctMatch) eval(*walk, *flow) answer { return yes }
func (m *nfacctMatch) print(w *writer) {
	w.word("-m", "nfacct", "--nfacct-name")
	w.raw("")
	w.word(m.name)
}

func (m *nfacctMatch) option(p *parser, name string, not bool) (ok bool) {
	if name == "nfacct-name" && !not {
		m.name, ok = p.value()
	}
	return ok
}

// portRange is one port or a range of them, or any numbers that read so.
type portRange struct {
	lo, hi uint32
	not    bool
}

func (r *portRange) has(n uint32) bool { return (n >= r.lo && n <= r.hi) != r.not }

func parseRange(s, sep string, highest uint32, named bool) (portRange, bool) {
	lo, hi, two := strings.Cut(s, sep)
	if !two {
		hi = lo
	}
	one := func(s string, def uint32) (uint32, bool) {
		if s == "" && two {
			return def, true
		}
		if n, ok := number(s, 32); ok && n <= uint64(highest) {
			return uint32(n), true
		}
		if n, ok := servicePorts[s]; ok && named {
			return n, true
		}
		return 0, false
	}
	a, ok1 := one(lo, 0)
	b, ok2 := one(hi, highest)
	return portRange{lo: a, hi: b}, ok1 && ok2
}

// servicePorts are the names people use in rules; iptables-save writes numbers.
var servicePorts = map[string]uint32{"ssh": 22, "domain": 53, "http": 80, "https": 443, "bootps": 67, "bootpc": 68, "ntp": 123, "snmp": 161, "bgp": 179}

func (r *portRange) text(sep string) string {
	if r.lo == r.hi {
		return strconv.Itoa(int(r.lo))
	}
	return strconv.Itoa(int(r.lo)) + sep + strconv.Itoa(int(r.hi))
}

// portMatch is the tcp, udp and sctp modules.
type portMatch struct {
	name       string
	sport, dpt *portRange
	mask, set  uint8
	hasFlags   bool
	notFlags   bool
}

func (m *portMatch) module() string { return m.name }

func (m *portMatch) option(p *parser, name string, not bool) bool {
	switch name {
	case "sport", "source-port", "dport", "destination-port":
		not = not != p.skipNot()
		v, has := p.value()
		r, ok := parseRange(v, ":", 65535, true)
		if !has || !ok {
			return false
		}
		r.not = not
		if name[0] == 's' {
			m.sport = &r
		} else {
			m.dpt = &r
		}
		return true
	case "tcp-flags":
		if m.name != "tcp" {
			return false
		}
		a, _ := p.value()
		b, has := p.value()
		mask, ok1 := parseFlags(a)
		set, ok2 := parseFlags(b)
		if !has || !ok1 || !ok2 {
			return false
		}
		m.mask, m.set, m.hasFlags, m.notFlags = mask, set, true, not
		return true
	case "syn":
		if m.name != "tcp" {
			return false
		}
		m.mask, m.set, m.hasFlags, m.notFlags = flagFIN|flagSYN|flagRST|flagACK, flagSYN, true, not
		return true
	}
	return false
}

const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
	flagURG
)

var flagNames = []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"}

func parseFlags(s string) (uint8, bool) {
	switch s {
	case "ALL":
		return 0x3f, true
	case "NONE":
		return 0, true
	case "":
		return 0, false
	}
	var out uint8
	for name := range strings.SplitSeq(s, ",") {
		i := slices.Index(flagNames, name)
		if i < 0 {
			return 0, false
		}
		out |= 1 << i
	}
	return out, true
}

func flagsText(n uint8) string {
	if n == 0 {
		return "NONE"
	}
	var out []string
	for i, name := range flagNames {
		if n>>i&1 == 1 {
			out = append(out, name)
		}
	}
	return strings.Join(out, ",")
}

func (m *portMatch) eval(w *walk, f *flow) answer {
	if protoName(f.proto) != m.name {
		return no
	}
	a := yes
	if m.dpt != nil && !m.dpt.has(uint32(f.dport)) {
		return no
	}
	if m.sport != nil {
		if a = w.sport(f, func(p uint16) bool { return m.sport.has(uint32(p)) }, m.sport.text(":"), m.sport.not); a == no {
			return no
		}
	}
	if m.hasFlags && (f.flags&m.mask == m.set) == m.notFlags {
		return no
	}
	return a
}

func (m *portMatch) print(w *writer) {
	w.word("-m", m.name)
	for _, o := range []struct {
		opt string
		r   *portRange
	}{{"--sport", m.sport}, {"--dport", m.dpt}} {
		if o.r != nil {
			w.not(o.r.not)
			w.word(o.opt, o.r.text(":"))
		}
	}
	if m.hasFlags {
		w.not(m.notFlags)
		w.word("--tcp-flags", flagsText(m.mask), flagsText(m.set))
	}
}

// multiportMatch is the multiport module: up to 15 ports, of either end.
type multiportMatch struct {
	opt    string // dports, sports, ports
	ranges []portRange
	not    bool
}

func (m *multiportMatch) module() string { return "multiport" }

func (m *multiportMatch) option(p *parser, name string, not bool) bool {
	switch name {
	case "dports", "destination-ports":
		m.opt = "dports"
	case "sports", "source-ports":
		m.opt = "sports"
	case "ports":
		m.opt = "ports"
	default:
		return false
	}
	m.not = not != p.skipNot()
	v, has := p.value()
	for s := range strings.SplitSeq(v, ",") {
		r, ok := parseRange(s, ":", 65535, true)
		if !ok {
			return false
		}
		m.ranges = append(m.ranges, r)
	}
	return has
}

func (m *multiportMatch) has(p uint16) bool {
	for i := range m.ranges {
		if m.ranges[i].has(uint32(p)) {
			return true
		}
	}
	return false
}

func (m *multiportMatch) eval(w *walk, f *flow) answer {
	switch f.proto {
	case 6, 17, 33, 132, 136:
	default:
		return no
	}
	if m.opt == "dports" || m.opt == "ports" && m.has(f.dport) {
		return is(m.has(f.dport) != m.not)
	}
	return w.sport(f, func(p uint16) bool { return m.has(p) != m.not }, m.list(), m.not)
}

func (m *multiportMatch) list() string {
	var out []string
	for i := range m.ranges {
		out = append(out, m.ranges[i].text(":"))
	}
	return strings.Join(out, ",")
}

func (m *multiportMatch) print(w *writer) {
	w.word("-m", "multiport")
	if m.opt != "" {
		w.not(m.not)
		w.word("--"+m.opt, m.list())
	}
}

// sport answers a question about the source port, which may not be known. What
// is not known is taken for one of the ports the kernel gives to clients where
// all of those answer alike.
func (w *walk) sport(f *flow, has func(uint16) bool, text string, not bool) answer {
	if f.sport != 0 {
		return is(has(f.sport))
	}
	first := has(32768)
	same := true
	for p := 32768; p <= 60999; p++ {
		if has(uint16(p)) != first {
			same = false
			break
		}
	}
	if same {
		w.assume("the source port is not given: taken for one of 32768-60999, as Linux chooses them")
		return is(first)
	}
	return w.negated(w.unsure(f, "sport "+text, "the source port is not given"), not)
}

type icmpMatch struct {
	name   string
	typ    uint8
	lo, hi uint8
	any    bool
	set    bool
	not    bool
}

var icmpTypes = map[string][2]int{
	"any": {255, -1}, "echo-reply": {0, -1}, "pong": {0, -1}, "destination-unreachable": {3, -1}, "network-unreachable": {3, 0}, "host-unreachable": {3, 1},
	"protocol-unreachable": {3, 2}, "port-unreachable": {3, 3}, "fragmentation-needed": {3, 4}, "source-quench": {4, -1}, "redirect": {5, -1},
	"echo-request": {8, -1}, "ping": {8, -1}, "router-advertisement": {9, -1}, "router-solicitation": {10, -1}, "time-exceeded": {11, -1},
	"ttl-exceeded": {11, -1}, "ttl-zero-during-transit": {11, 0}, "parameter-problem": {12, -1}, "timestamp-request": {13, -1}, "timestamp-reply": {14, -1},
	"address-mask-request": {17, -1}, "address-mask-reply": {18, -1},
}

var icmp6Types = map[string][2]int{
	"destination-unreachable": {1, -1}, "no-route": {1, 0}, "communication-prohibited": {1, 1}, "address-unreachable": {1, 3}, "port-unreachable": {1, 4},
	"packet-too-big": {2, -1}, "time-exceeded": {3, -1}, "ttl-exceeded": {3, -1}, "parameter-problem": {4, -1}, "echo-request": {128, -1}, "ping": {128, -1},
	"echo-reply": {129, -1}, "pong": {129, -1}, "router-solicitation": {133, -1}, "router-advertisement": {134, -1}, "neighbour-solicitation": {135, -1},
	"neighbor-solicitation": {135, -1}, "neighbour-advertisement": {136, -1}, "neighbor-advertisement": {136, -1}, "redirect": {137, -1},
}

func (m *icmpMatch) module() string { return m.name }

func (m *icmpMatch) option(p *parser, name string, not bool) bool {
	if name != "icmp-type" && name != "icmpv6-type" {
		return false
	}
	not = not != p.skipNot()
	v, has := p.value()
	if !has {
		return false
	}
	m.not, m.set = not, true
	names := icmpTypes
	if m.name == "icmp6" {
		names = icmp6Types
	}
	if tc, ok := names[v]; ok {
		m.typ, m.lo, m.hi = uint8(tc[0]), 0, 255
		if tc[1] >= 0 {
			m.lo, m.hi = uint8(tc[1]), uint8(tc[1])
		}
		m.any = v == "any"
		return true
	}
	t, code, hasCode := strings.Cut(v, "/")
	n, ok := number(t, 8)
	if !ok {
		return false
	}
	m.typ, m.lo, m.hi = uint8(n), 0, 255
	m.any = m.name == "icmp" && n == 255
	if hasCode {
		c, ok := number(code, 8)
		if !ok {
			return false
		}
		m.lo, m.hi = uint8(c), uint8(c)
	}
	return true
}

func (m *icmpMatch) eval(w *walk, f *flow) answer {
	if m.name == "icmp" && f.proto != 1 || m.name == "icmp6" && f.proto != 58 {
		return no
	}
	if !m.set || m.any {
		return is(!m.not || !m.set)
	}
	return is((f.icmpType == m.typ && f.icmpCode >= m.lo && f.icmpCode <= m.hi) != m.not)
}

func (m *icmpMatch) print(w *writer) {
	w.word("-m", m.name)
	if !m.set {
		return
	}
	w.not(m.not)
	opt, v := "--icmp-type", strconv.Itoa(int(m.typ))
	if m.name == "icmp6" {
		opt = "--icmpv6-type"
	}
	if m.any {
		v = "any"
	} else if m.lo == m.hi {
		v += "/" + strconv.Itoa(int(m.lo))
	}
	w.word(opt, v)
}

// markMatch is the mark and connmark modules.
type markMatch struct {
	name        string
	value, mask uint32
	set, not    bool
}

func (m *markMatch) module() string { return m.name }

func (m *markMatch) option(p *parser, name string, not bool) bool {
	if name != "mark" {
		return false
	}
	not = not != p.skipNot()
	v, _ := p.value()
	val, mask, ok := parseMark(v)
	m.value, m.mask, m.set, m.not = val, mask, true, not
	return ok
}

// parseMark reads value[/mask].
func parseMark(s string) (value, mask uint32, ok bool) {
	v, m, has := strings.Cut(s, "/")
	n, ok := number(v, 32)
	if !ok {
		return 0, 0, false
	}
	mask = math.MaxUint32
	if has {
		k, ok := number(m, 32)
		if !ok {
			return 0, 0, false
		}
		mask = uint32(k)
	}
	return uint32(n), mask, true
}

func (m *markMatch) eval(w *walk, f *flow) answer {
	if m.name == "connmark" {
		if !f.tracked() {
			return no // there is no connection to have a mark
		}
		return is((f.ctmark&m.mask == m.value) != m.not)
	}
	return is((f.mark&m.mask == m.value) != m.not)
}

func (m *markMatch) print(w *writer) {
	w.word("-m", m.name)
	if m.set {
		w.not(m.not)
		w.word("--mark", markText(m.value, m.mask))
	}
}

func markText(value, mask uint32) string {
	if mask == math.MaxUint32 {
		return hex(value)
	}
	return hex(value) + "/" + hex(mask)
}

// conntrackMatch is the conntrack and state modules.
type conntrackMatch struct {
	name      string
	states    []string
	hasState  bool
	notState  bool
	dir       string
	notDir    bool
	status    []string
	notStatus bool
	opts      []ctOption // addresses, ports and protocol, in the order given
}

type ctOption struct {
	name string
	not  bool
	addr *netAddr
	port portRange
	num  uint8
	text string
}

var ctStates = []string{"INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT"}

func (m *conntrackMatch) module() string { return m.name }

func (m *conntrackMatch) option(p *parser, name string, not bool) bool {
	not = not != p.skipNot()
	v, has := p.value()
	if !has {
		return false
	}
	switch {
	case name == "ctstate" && m.name == "conntrack", name == "state" && m.name == "state":
		for s := range strings.SplitSeq(v, ",") {
			if !slices.Contains(ctStates, s) {
				return false
			}
			m.states = append(m.states, s)
		}
		m.hasState, m.notState = true, not
		return true
	case m.name == "state":
		return false
	case name == "ctdir":
		if v != "ORIGINAL" && v != "REPLY" || not {
			return false
		}
		m.dir, m.notDir = v, not
		return true
	case name == "ctstatus":
		m.status, m.notStatus = strings.Split(v, ","), not
		for _, s := range m.status {
			if !slices.Contains([]string{"NONE", "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED"}, s) {
				return false
			}
		}
		return true
	case name == "ctproto":
		n, ok := protoNumber(strings.ToLower(v))
		m.opts = append(m.opts, ctOption{name: name, not: not, num: n, text: strconv.Itoa(int(n))})
		return ok
	case name == "ctorigsrc", name == "ctorigdst", name == "ctreplsrc", name == "ctrepldst":
		a, ok := parseNetAddr(v)
		if !ok {
			return false
		}
		t := a.String()
		if b, ok := contiguous(a.mask); ok && b == a.addr.BitLen() {
			t = a.addr.String()
		}
		m.opts = append(m.opts, ctOption{name: name, not: not, addr: a, text: t})
		return true
	case name == "ctorigsrcport", name == "ctorigdstport", name == "ctreplsrcport", name == "ctrepldstport":
		r, ok := parseRange(v, ":", 65535, true)
		m.opts = append(m.opts, ctOption{name: name, not: not, port: r, text: r.text(":")})
		return ok
	}
	return false
}

func (m *conntrackMatch) eval(w *walk, f *flow) answer {
	if m.hasState {
		// xt_conntrack.c: one bit for the state, and the two NAT bits where they are set.
		hit := false
		for _, s := range m.states {
			switch s {
			case "SNAT":
				hit = hit || f.srcNAT && f.tracked()
			case "DNAT":
				hit = hit || f.dstNAT && f.tracked()
			default:
				hit = hit || string(f.stateNow()) == s
			}
		}
		if hit == m.notState {
			return no
		}
	}
	if !f.tracked() {
		return is(m.hasState)
	}
	if m.dir != "" && (m.dir == "REPLY") != f.reply {
		return no
	}
	out := yes
	if m.status != nil {
		out = w.and(out, w.negated(m.statusOf(w, f), m.notStatus))
	}
	for i := range m.opts {
		o := &m.opts[i]
		a := o.eval(w, f)
		if a = w.negated(a, o.not); a == no {
			return no
		}
		out = w.and(out, a)
	}
	return out
}

func (m *conntrackMatch) statusOf(w *walk, f *flow) answer {
	for _, s := range m.status {
		switch s {
		case "SEEN_REPLY":
			if f.state == Established {
				return yes
			}
		case "CONFIRMED":
			if f.state == Established || f.looped {
				return yes // a new one is confirmed at the end of POSTROUTING
			}
		case "ASSURED", "EXPECTED":
			if f.state != New {
				return w.unsure(f, "ctstatus "+s, "the flow's conntrack status is not given")
			}
		case "NONE":
			return w.unsure(f, "ctstatus "+s, "the flow's conntrack status is not given")
		}
	}
	return no
}

func (o *ctOption) eval(w *walk, f *flow) answer {
	addr := func(a netip.Addr) answer {
		if a.Is4() != o.addr.addr.Is4() {
			return no
		}
		return is(maskAddr(a, o.addr.mask) == o.addr.addr)
	}
	switch o.name {
	case "ctproto":
		return is(f.proto == o.num)
	case "ctorigsrc":
		return addr(f.orig.Src.Addr())
	case "ctorigdst":
		return addr(f.orig.Dst.Addr())
	case "ctreplsrc":
		return addr(f.dst)
	case "ctrepldst":
		return addr(f.src)
	case "ctorigdstport":
		return is(o.port.has(uint32(f.orig.Dst.Port())))
	case "ctreplsrcport":
		return is(o.port.has(uint32(f.dport)))
	default: // the client's port, at either end
		return w.sport(f, func(p uint16) bool { return o.port.has(uint32(p)) }, o.text, false)
	}
}

func (m *conntrackMatch) print(w *writer) {
	w.word("-m", m.name)
	if m.hasState {
		w.not(m.notState)
		opt := "--ctstate"
		if m.name == "state" {
			opt = "--state"
		}
		var out []string
		for _, s := range ctStates {
			if slices.Contains(m.states, s) {
				out = append(out, s)
			}
		}
		if m.name == "conntrack" || m.name == "state" {
			out = sortStates(out)
		}
		w.word(opt, strings.Join(out, ","))
	}
	for _, o := range m.opts {
		w.not(o.not)
		w.word("--"+o.name, o.text)
	}
	if m.status != nil {
		w.not(m.notStatus)
		w.word("--ctstatus", strings.Join(m.status, ","))
	}
	if m.dir != "" {
		w.word("--ctdir", m.dir)
	}
}

// sortStates puts states in the order iptables-save writes them.
func sortStates(s []string) []string {
	order := []string{"INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT"}
	slices.SortStableFunc(s, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
	return s
}

// statisticMatch is the statistic module.
type statisticMatch struct {
	mode          string
	prob          uint32 // of 1<<31
	every, packet uint64
	hasPacket     bool
	not           bool
}

func (m *statisticMatch) module() string { return "statistic" }

func (m *statisticMatch) option(p *parser, name string, not bool) bool {
	v, has := p.value()
	if !has {
		return false
	}
	var ok bool
	switch name {
	case "mode":
		m.mode = v
		return v == "random" || v == "nth"
	case "probability":
		n, err := strconv.ParseFloat(v, 64)
		if err != nil || !(n >= 0 && n <= 1) {
			return false
		}
		m.prob, m.not = uint32(math.RoundToEven(n*(1<<31))), not
		return true
	case "every":
		m.every, ok = number(v, 32)
		m.not = not
		return ok && m.every > 0
	case "packet":
		m.packet, ok = number(v, 32)
		m.hasPacket = true
		return ok
	}
	return false
}

func (m *statisticMatch) eval(w *walk, f *flow) answer {
	p := float64(m.prob) / (1 << 31)
	switch m.mode {
	case "random":
	case "nth":
		if m.every == 0 {
			return w.unsure(f, "statistic", "--every is missing")
		}
		if m.every > 1 {
			w.assume("the counter of a statistic --mode nth rule is not known: each count taken as equally likely")
		}
		p = 1 / float64(m.every)
	default:
		return w.unsure(f, "statistic", "the mode of statistic is not known")
	}
	if m.not {
		p = 1 - p
	}
	switch {
	case p <= 0:
		return no
	case p >= 1:
		return yes
	}
	w.chance = p
	return chance
}

func (m *statisticMatch) print(w *writer) {
	w.word("-m", "statistic")
	if m.mode != "" {
		w.word("--mode", m.mode)
	}
	if m.mode == "random" || m.mode == "" && m.prob > 0 {
		w.not(m.not)
		w.word("--probability", strconv.FormatFloat(float64(m.prob)/(1<<31), 'f', 11, 64))
	}
	if m.mode != "random" && m.every > 0 {
		w.not(m.not)
		w.word("--every", strconv.FormatUint(m.every, 10))
	}
	if m.mode == "nth" || m.hasPacket {
		w.word("--packet", strconv.FormatUint(m.packet, 10))
	}
}

// recentMatch is the recent module. Its lists are not in a save.
type recentMatch struct {
	action  string // set, rcheck, update, remove
	not     bool
	seconds int64
	hits    int64
	reap    bool
	ttl     bool
	name    string
	mask    string
	dest    bool
}

func (m *recentMatch) module() string { return "recent" }

func (m *recentMatch) option(p *parser, name string, not bool) bool {
	switch name {
	case "set", "rcheck", "update", "remove":
		m.action, m.not = name, not
		return true
	case "reap":
		m.reap = true
		return true
	case "rttl":
		m.ttl = true
		return true
	case "rsource":
		m.dest = false
		return true
	case "rdest":
		m.dest = true
		return true
	}
	v, has := p.value()
	if !has {
		return false
	}
	n, err := strconv.ParseInt(v, 0, 64)
	switch name {
	case "seconds":
		m.seconds = n
		return err == nil
	case "hitcount":
		m.hits = n
		return err == nil
	case "name":
		m.name = v
		return true
	case "mask":
		m.mask = v
		_, err := netip.ParseAddr(v)
		return err == nil
	}
	return false
}

func (m *recentMatch) eval(w *walk, f *flow) answer {
	if m.action == "set" {
		return is(!m.not)
	}
	addr := f.src
	if m.dest {
		addr = f.dst
	}
	list, known := w.h.Recent[m.name]
	if known && (m.hits <= 1 && m.seconds < 0 || !slices.Contains(list, addr)) {
		return is(slices.Contains(list, addr) != m.not)
	}
	a := w.unsure(f, "recent "+m.action+" "+m.name+" "+addr.String(), "whether "+addr.String()+" is in the list "+strconv.Quote(m.name)+" of the recent match is kernel state that no save holds")
	if a == unknown {
		w.fact.recent = true
	}
	return w.negated(a, m.not)
}

func (m *recentMatch) print(w *writer) {
	w.word("-m", "recent")
	if m.action != "" {
		w.not(m.not)
		w.word("--" + m.action)
	}
	if m.seconds >= 0 {
		w.word("--seconds", strconv.FormatInt(m.seconds, 10))
	}
	if m.reap {
		w.word("--reap")
	}
	if m.hits >= 0 {
		w.word("--hitcount", strconv.FormatInt(m.hits, 10))
	}
	if m.ttl {
		w.word("--rttl")
	}
	w.word("--name", m.name)
	mask := m.mask
	if mask == "" {
		mask = "255.255.255.255"
	}
	w.word("--mask", mask)
	if m.dest {
		w.word("--rdest")
	} else {
		w.word("--rsource")
	}
}

// setMatch is the set module: membership in an ipset.
type setMatch struct {
	set   string
	dirs  []string
	not   bool
	extra []string // counters and the like, which make it unknown
}

func (m *setMatch) module() string { return "set" }

func (m *setMatch) option(p *parser, name string, not bool) bool {
	switch name {
	case "match-set":
		a, _ := p.value()
		b, has := p.value()
		if !has || m.set != "" {
			return false
		}
		m.set, m.dirs, m.not = a, strings.Split(b, ","), not
		for _, d := range m.dirs {
			if d != "src" && d != "dst" {
				return false
			}
		}
		return len(m.dirs) <= 6
	case "return-nomatch":
		m.extra = append(m.extra, "--"+name)
		return true
	case "update-counters", "update-subcounters":
		if not {
			m.extra = append(m.extra, "!")
		}
		m.extra = append(m.extra, "--"+name)
		return true
	case "packets-eq", "packets-lt", "packets-gt", "bytes-eq", "bytes-lt", "bytes-gt":
		v, has := p.value()
		if not {
			m.extra = append(m.extra, "!")
		}
		m.extra = append(m.extra, "--"+name, v)
		return has
	}
	return false
}

func (m *setMatch) eval(w *walk, f *flow) answer {
	a := w.h.Sets.test(w, f, m.set, m.dirs)
	if a == yes && slices.ContainsFunc(m.extra, func(s string) bool {
		return strings.HasPrefix(s, "--packets") || strings.HasPrefix(s, "--bytes") || s == "--return-nomatch"
	}) {
		a = w.unsure(f, "set "+m.set+strings.Join(m.extra, " "), "the counters of set "+m.set+" are not evaluated")
	}
	return w.negated(a, m.not)
}

func (m *setMatch) print(w *writer) {
	w.word("-m", "set")
	if m.set != "" {
		w.not(m.not)
		w.word("--match-set", m.set, strings.Join(m.dirs, ","))
	}
	w.raw(m.extra...)
}

// ownerMatch is the owner module: who sends, in OUTPUT and POSTROUTING.
type ownerMatch struct {
	uid, gid       *portRange
	uidText        string
	gidText        string
	suppl          bool
	exists         bool
	notExists      bool
	badUID, badGID bool // a name that only the node can resolve
}

func (m *ownerMatch) module() string { return "owner" }

func (m *ownerMatch) option(p *parser, name string, not bool) bool {
	switch name {
	case "uid-owner", "gid-owner":
		not = not != p.skipNot()
		v, has := p.value()
		if !has {
			return false
		}
		r, ok := parseRange(v, "-", math.MaxUint32, false)
		if v == "root" {
			r, ok = portRange{}, true
		}
		r.not = not
		text := v
		if ok {
			text = r.text("-")
		}
		if name[0] == 'u' {
			m.uid, m.uidText, m.badUID = &r, text, !ok
		} else {
			m.gid, m.gidText, m.badGID = &r, text, !ok
		}
		return true
	case "socket-exists":
		m.exists, m.notExists = true, not
		return true
	case "suppl-groups":
		m.suppl = true
		return true
	}
	return false
}

func (m *ownerMatch) eval(w *walk, f *flow) answer {
	// xt_owner.c: without a socket only a rule whose every condition is negated matches.
	if !f.socket {
		return is((m.uid == nil || m.uid.not) && (m.gid == nil || m.gid.not) && (!m.exists || m.notExists))
	}
	if m.exists && m.notExists {
		return no
	}
	out := yes
	one := func(r *portRange, bad bool, have *uint32, what, text string) {
		if r == nil || out == no {
			return
		}
		if have != nil && !bad {
			if !r.has(*have) {
				out = no
			}
			return
		}
		why := "the " + what + " of the sending process is not given"
		if have != nil {
			why = "the " + what + " of " + strconv.Quote(text) + " is not known here"
		}
		out = w.and(out, w.negated(w.unsure(f, what+" "+text, why), r.not))
	}
	one(m.uid, m.badUID, w.uid, "user id", m.uidText)
	if m.suppl && m.gid != nil {
		out = w.and(out, w.negated(w.unsure(f, "groups "+m.gidText, "the groups of the sending process are not given"), m.gid.not))
	} else {
		gid := w.gid
		if gid == nil && m.gid != nil && w.uid != nil {
			w.assume("the group id of the sending process is not given: taken to be its user id")
			gid = w.uid
		}
		one(m.gid, m.badGID, gid, "group id", m.gidText)
	}
	return out
}

func (m *ownerMatch) print(w *writer) {
	w.word("-m", "owner")
	if m.exists {
		w.not(m.notExists)
		w.word("--socket-exists")
	}
	if m.uid != nil {
		w.not(m.uid.not)
		w.word("--uid-owner", m.uidText)
	}
	if m.gid != nil {
		w.not(m.gid.not)
		w.word("--gid-owner", m.gidText)
	}
	if m.suppl {
		w.word("--suppl-groups")
	}
}

// physdevMatch is the physdev module, about ports of a bridge.
type physdevMatch struct {
	opts []physdevOption
}

type physdevOption struct {
	name, dev string
	not       bool
}

func (m *physdevMatch) module() string { return "physdev" }

func (m *physdevMatch) option(p *parser, name string, not bool) bool {
	o := physdevOption{name: name, not: not}
	switch name {
	case "physdev-in", "physdev-out":
		not = not != p.skipNot()
		v, has := p.value()
		o.dev, o.not = v, not
		if !has {
			return false
		}
	case "physdev-is-in", "physdev-is-out", "physdev-is-bridged":
	default:
		return false
	}
	m.opts = append(m.opts, o)
	return true
}

func (m *physdevMatch) eval(w *walk, f *flow) answer {
	if f.made || f.in == "lo" {
		// Made here, it came over no bridge port: only negated conditions match.
		return is(!slices.ContainsFunc(m.opts, func(o physdevOption) bool { return !o.not }))
	}
	out := yes
	for _, o := range m.opts {
		key := o.name + " " + o.dev
		why := "whether the packet crosses a bridge port is not in a save"
		out = w.and(out, w.negated(w.unsure(f, key, why), o.not))
	}
	return out
}

func (m *physdevMatch) print(w *writer) {
	w.word("-m", "physdev")
	for _, o := range m.opts {
		w.not(o.not)
		w.word("--" + o.name)
		if o.dev != "" {
			w.word(o.dev)
		}
	}
}

// socketMatch is the socket module.
type socketMatch struct {
	transparent, noWildcard bool
	restore                 bool
}

func (m *socketMatch) module() string { return "socket" }

func (m *socketMatch) option(p *parser, name string, not bool) bool {
	if not {
		return false
	}
	switch name {
	case "transparent":
		m.transparent = true
	case "nowildcard":
		m.noWildcard = true
	case "restore-skmark":
		m.restore = true
	default:
		return false
	}
	return true
}

func (m *socketMatch) eval(w *walk, f *flow) answer {
	if f.state == New && m.transparent && !m.noWildcard && f.proto == 6 {
		// Only an established flow, or a listener bound to this very address, has one.
		w.assume("no transparent socket is bound to " + f.dst.String() + " itself: -m socket --transparent does not match the first packet of a flow")
		return no
	}
	return w.unsure(f, "socket "+strconv.FormatBool(m.transparent)+strconv.FormatBool(m.noWildcard), "which sockets exist is not in a save")
}

func (m *socketMatch) print(w *writer) {
	w.word("-m", "socket")
	if m.transparent {
		w.word("--transparent")
	}
	if m.noWildcard {
		w.word("--nowildcard")
	}
	if m.restore {
		w.word("--restore-skmark")
	}
}

// rpfilterMatch is the rpfilter module: would an answer leave where this came in.
type rpfilterMatch struct{ loose, validMark, acceptLocal, invert bool }

func (m *rpfilterMatch) module() string { return "rpfilter" }

func (m *rpfilterMatch) option(p *parser, name string, not bool) bool {
	if not {
		return false
	}
	switch name {
	case "loose":
		m.loose = true
	case "validmark":
		m.validMark = true
	case "accept-local":
		m.acceptLocal = true
	case "invert":
		m.invert = true
	default:
		return false
	}
	return true
}

func (m *rpfilterMatch) eval(w *walk, f *flow) answer {
	if f.in == "lo" {
		return is(!m.invert)
	}
	if w.isLocal(f, f.src) == yes {
		return is(m.acceptLocal != m.invert)
	}
	if dev, ok := w.h.routeTo(f.src); ok && f.in != "" && len(w.h.Routes) > 0 && !m.validMark {
		return is((m.loose || dev == f.in) != m.invert)
	}
	w.assume("the way back to the source is taken to lead through the interface the packet came from: -m rpfilter lets it pass")
	return is(!m.invert)
}

func (m *rpfilterMatch) print(w *writer) {
	w.word("-m", "rpfilter")
	for _, o := range []struct {
		on  bool
		opt string
	}{{m.loose, "--loose"}, {m.validMark, "--validmark"}, {m.acceptLocal, "--accept-local"}, {m.invert, "--invert"}} {
		if o.on {
			w.word(o.opt)
		}
	}
}

// limitMatch is the limit module. One packet is taken to be under the limit.
type limitMatch struct{ rate, burst string }

func (m *limitMatch) module() string { return "limit" }

func (m *limitMatch) option(p *parser, name string, not bool) bool {
	v, has := p.value()
	if !has || not {
		return false
	}
	switch name {
	case "limit":
		n, unit, _ := strings.Cut(v, "/")
		if !isDigits(n) {
			return false
		}
		switch {
		case unit == "" || strings.HasPrefix("second", unit):
			unit = "sec"
		case strings.HasPrefix("minute", unit):
			unit = "min"
		case strings.HasPrefix("hour", unit):
			unit = "hour"
		case strings.HasPrefix("day", unit):
			unit = "day"
		default:
			return false
		}
		m.rate = n + "/" + unit
	case "limit-burst":
		m.burst = v
		return isDigits(v)
	default:
		return false
	}
	return true
}

func (m *limitMatch) eval(w *walk, f *flow) answer {
	w.assume("the packet is under the limit of -m limit --limit " + m.rate)
	return yes
}

func (m *limitMatch) print(w *writer) {
	w.word("-m", "limit", "--limit", m.rate)
	if m.burst != "5" {
		w.word("--limit-burst", m.burst)
	}
}

type iprangeMatch struct{ src, dst *addrRange }

type addrRange struct {
	lo, hi netip.Addr
	not    bool
}

func parseAddrRange(s string) (*addrRange, bool) {
	a, b, two := strings.Cut(s, "-")
	if !two {
		b = a
	}
	lo, err1 := netip.ParseAddr(a)
	hi, err2 := netip.ParseAddr(b)
	return &addrRange{lo: lo, hi: hi}, err1 == nil && err2 == nil && lo.Is4() == hi.Is4() && !hi.Less(lo)
}

func (r *addrRange) has(a netip.Addr) bool {
	return (a.Is4() == r.lo.Is4() && !a.Less(r.lo) && !r.hi.Less(a)) != r.not
}

func (m *iprangeMatch) module() string { return "iprange" }

func (m *iprangeMatch) option(p *parser, name string, not bool) bool {
	if name != "src-range" && name != "dst-range" {
		return false
	}
	not = not != p.skipNot()
	v, has := p.value()
	r, ok := parseAddrRange(v)
	if !has || !ok {
		return false
	}
	r.not = not
	if name == "src-range" {
		m.src = r
	} else {
		m.dst = r
	}
	return true
}

func (m *iprangeMatch) eval(w *walk, f *flow) answer {
	return is((m.src == nil || m.src.has(f.src)) && (m.dst == nil || m.dst.has(f.dst)))
}

func (m *iprangeMatch) print(w *writer) {
	w.word("-m", "iprange")
	for _, o := range []struct {
		opt string
		r   *addrRange
	}{{"--src-range", m.src}, {"--dst-range", m.dst}} {
		if o.r != nil {
			w.not(o.r.not)
			w.word(o.opt, o.r.lo.String()+"-"+o.r.hi.String())
		}
	}
}

type pkttypeMatch struct {
	typ string
	not bool
}

func (m *pkttypeMatch) module() string { return "pkttype" }

func (m *pkttypeMatch) option(p *parser, name string, not bool) bool {
	if name != "pkt-type" {
		return false
	}
	m.not = not != p.skipNot()
	v, _ := p.value()
	m.typ = map[string]string{"unicast": "unicast", "host": "unicast", "broadcast": "broadcast", "multicast": "multicast", "bcast": "broadcast", "mcast": "multicast"}[v]
	return m.typ != ""
}

func (m *pkttypeMatch) eval(w *walk, f *flow) answer {
	typ := "unicast"
	switch {
	case f.dst.IsMulticast():
		typ = "multicast"
	case w.isBroadcast(f.dst):
		typ = "broadcast"
	}
	if f.made && f.in == "" && typ != "multicast" {
		typ = "unicast" // PACKET_HOST until a device has it
	}
	return is((typ == m.typ) != m.not)
}

func (m *pkttypeMatch) print(w *writer) {
	w.word("-m", "pkttype")
	w.not(m.not)
	w.word("--pkt-type", m.typ)
}

// numberMatch is the length, ttl and hl modules: a number of the packet.
type numberMatch struct {
	name string
	opt  string
	r    portRange
	n    uint32
}

func (m *numberMatch) module() string { return m.name }

func (m *numberMatch) option(p *parser, name string, not bool) bool {
	if name != m.name && !(m.name != "length" && (name == m.name+"-eq" || name == m.name+"-lt" || name == m.name+"-gt")) {
		return false
	}
	not = not != p.skipNot()
	v, has := p.value()
	if !has {
		return false
	}
	m.opt = name
	if m.name == "length" {
		r, ok := parseRange(v, ":", 65535, false)
		r.not = not
		m.r = r
		return ok
	}
	n, ok := number(v, 8)
	m.n, m.r.not = uint32(n), not
	if name == m.name {
		m.opt = m.name + "-eq"
	}
	return ok
}

func (m *numberMatch) eval(w *walk, f *flow) answer {
	have := f.ttl
	what := "ttl"
	if m.name == "length" {
		have, what = f.length, "length"
	}
	if have == 0 {
		return w.negated(w.unsure(f, m.name+" "+m.opt+m.r.text(":")+strconv.Itoa(int(m.n)), "the "+what+" of the packet is not given"), m.r.not)
	}
	n := uint32(have)
	switch m.opt {
	case "ttl-lt", "hl-lt":
		return is(n < m.n)
	case "ttl-gt", "hl-gt":
		return is(n > m.n)
	case "ttl-eq", "hl-eq":
		return is((n == m.n) != m.r.not)
	case "length":
		return is(m.r.has(n))
	default:
		return w.unsure(f, m.name, "its option is missing")
	}
}

func (m *numberMatch) print(w *writer) {
	w.word("-m", m.name)
	if m.opt == "" {
		return
	}
	w.not(m.r.not)
	if m.name == "length" {
		w.word("--length", m.r.text(":"))
	} else {
		w.word("--"+m.opt, strconv.Itoa(int(m.n)))
	}
}

// addrtypeMatch is the addrtype module.
type addrtypeMatch struct {
	src, dst          []string
	notSrc, notDst    bool
	limitIn, limitOut bool
}

var addrTypes = []string{"UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE"}

func (m *addrtypeMatch) module() string { return "addrtype" }

func (m *addrtypeMatch) option(p *parser, name string, not bool) bool {
	switch name {
	case "limit-iface-in":
		m.limitIn = true
		return !not
	case "limit-iface-out":
		m.limitOut = true
		return !not
	case "src-type", "dst-type":
	default:
		return false
	}
	not = not != p.skipNot()
	v, has := p.value()
	types := strings.Split(v, ",")
	for _, t := range types {
		if !slices.Contains(addrTypes, t) {
			return false
		}
	}
	if name == "src-type" {
		if m.src != nil {
			return false
		}
		m.src, m.notSrc = types, not
	} else {
		if m.dst != nil {
			return false
		}
		m.dst, m.notDst = types, not
	}
	return has
}

func (m *addrtypeMatch) eval(w *walk, f *flow) answer {
	out := yes
	dev, limited := "", m.limitIn || m.limitOut
	if m.limitIn {
		dev = f.in
	} else if m.limitOut {
		dev = f.out
	}
	one := func(types []string, a netip.Addr, not bool) {
		if types != nil && out != no {
			out = w.and(out, w.negated(w.addrType(f, a, types, dev, limited), not))
		}
	}
	one(m.src, f.src, m.notSrc)
	one(m.dst, f.dst, m.notDst)
	return out
}

func (m *addrtypeMatch) print(w *writer) {
	w.word("-m", "addrtype")
	for _, o := range []struct {
		opt   string
		types []string
		not   bool
	}{{"--src-type", m.src, m.notSrc}, {"--dst-type", m.dst, m.notDst}} {
		if o.types != nil {
			w.not(o.not)
			var out []string
			for _, t := range addrTypes {
				if slices.Contains(o.types, t) {
					out = append(out, t)
				}
			}
			w.word(o.opt, strings.Join(out, ","))
		}
	}
	if m.limitIn {
		w.word("--limit-iface-in")
	}
	if m.limitOut {
		w.word("--limit-iface-out")
	}
}
