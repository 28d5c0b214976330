package iptables

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

var (
	kernelCases = flag.Int("kernel.cases", 400, "how many packets TestTheKernelAgreesOnGeneratedRules sends")
	kernelSeed  = flag.Uint64("kernel.seed", 1, "the seed TestTheKernelAgreesOnGeneratedRules begins with")
)

// generator makes rulesets and packets from the whole set of matches and targets
// that the evaluator answers, such that both backends load them.
type generator struct {
	*rand.Rand
	six    bool
	tproxy bool
	nested bool // the rule is not in a base chain
	sets   *Sets
	label  string // of the lists of the recent match
	n      int
}

func (g *generator) pick(s ...string) string { return s[g.IntN(len(s))] }

func (g *generator) one(in int) bool { return g.IntN(in) == 0 }

func (g *generator) not() string {
	if g.one(4) {
		return "! "
	}
	return ""
}

var (
	genLocal4 = []string{"192.168.99.2", "192.168.99.12", "10.10.0.1"}
	genLocal6 = []string{"2001:db8:99::2", "2001:db8:10::1"}
	genFar4   = []string{"10.10.1.4", "10.10.1.5", "10.96.0.1", "10.96.0.10", "203.0.113.9", "198.51.100.7"}
	genFar6   = []string{"2001:db8:10::4", "2001:db8:10::5", "2001:db8:96::1", "2001:db8:96::a", "2001:db8:ffff::9"}
	genPorts  = []string{"80", "443", "8080", "53", "30080", "15001"}
)

func (g *generator) local() string {
	if g.six {
		return g.pick(genLocal6...)
	}
	return g.pick(genLocal4...)
}

func (g *generator) far() string {
	if g.six {
		return g.pick(genFar6...)
	}
	return g.pick(genFar4...)
}

func (g *generator) addr() string {
	switch g.IntN(8) {
	case 0, 1, 2:
		return g.local()
	case 3:
		if g.six {
			return "::1"
		}
		return g.pick("127.0.0.1", "127.0.0.6")
	default:
		return g.far()
	}
}

func (g *generator) network() string {
	if g.six {
		return g.pick("2001:db8::/32", "2001:db8:10::/64", "::/0", "2001:db8:96::/112", g.addr()+"/128", g.addr()+"/128", "2001:db8::4/ffff:ffff::ff")
	}
	return g.pick("10.0.0.0/8", "10.10.0.0/16", "0.0.0.0/0", "192.168.99.0/24", "127.0.0.0/8", g.addr()+"/32", g.addr()+"/32", "10.0.0.4/255.0.0.255")
}

func (g *generator) mark() string {
	return g.pick("0x1", "0x4000/0x4000", "0x0/0x4000", "0x2/0xf", "0x539", "0x8000/0xc000")
}

func (g *generator) proto() string {
	return g.pick("tcp", "tcp", "tcp", "udp", "udp", "sctp", g.icmp())
}

func (g *generator) icmp() string {
	if g.six {
		return "ipv6-icmp"
	}
	return "icmp"
}

func (g *generator) ports() string {
	switch g.IntN(4) {
	case 0:
		return g.pick("1:1024", "30000:32767", "8000:", ":443") // 0:65535 is lost when saved
	default:
		return g.pick(genPorts...)
	}
}

// condition is one match module with its options, valid in the hook. ported is a
// protocol that the rule asks for already.
func (g *generator) condition(table, hook, proto string) string {
	in := hook == "PREROUTING" || hook == "INPUT" || hook == "FORWARD"
	out := hook == "OUTPUT" || hook == "FORWARD" || hook == "POSTROUTING"
	for {
		switch g.IntN(21) {
		case 0:
			return "-m mark " + g.not() + "--mark " + g.mark()
		case 1:
			return "-m connmark " + g.not() + "--mark " + g.mark()
		case 2:
			states := []string{"NEW", "INVALID", "RELATED", "ESTABLISHED", "UNTRACKED", "DNAT", "SNAT"}
			g.Shuffle(len(states), func(i, j int) { states[i], states[j] = states[j], states[i] })
			return "-m conntrack " + g.not() + "--ctstate " + strings.Join(states[:1+g.IntN(3)], ",")
		case 3:
			if table == "raw" {
				continue
			}
			return "-m conntrack " + g.pick("--ctdir ORIGINAL", "--ctdir REPLY", g.not()+"--ctorigdst "+g.network(), g.not()+"--ctorigsrc "+g.network(), g.not()+"--ctproto "+g.pick("tcp", "udp"),
				g.not()+"--ctorigdstport "+g.pick(genPorts...), "--ctstatus "+g.pick("SEEN_REPLY", "CONFIRMED", "SEEN_REPLY,CONFIRMED"), g.not()+"--ctrepldst "+g.network())
		case 4:
			return "-m state " + g.not() + "--state " + g.pick("NEW", "INVALID", "NEW,RELATED", "ESTABLISHED,RELATED", "UNTRACKED")
		case 5:
			s := "-m addrtype"
			if g.one(2) {
				s += " " + g.not() + "--src-type " + g.pick("LOCAL", "UNICAST")
			} else {
				s += " " + g.not() + "--dst-type " + g.pick("LOCAL", "UNICAST", "MULTICAST")
			}
			if in && g.one(4) {
				s += " --limit-iface-in"
			} else if out && g.one(4) {
				s += " --limit-iface-out"
			}
			return s
		case 6:
			return "-m statistic --mode random " + g.not() + "--probability " + g.pick("0.5", "0.33333333349", "0.25", "1.0")
		case 7:
			every := 1 + g.IntN(4)
			return fmt.Sprintf("-m statistic --mode nth %s--every %d --packet %d", g.not(), every, g.IntN(every))
		case 8:
			if proto != "tcp" && proto != "udp" && proto != "sctp" {
				continue
			}
			return "-m multiport " + g.not() + g.pick("--dports", "--sports", "--ports") + " " + g.pick("80,443", "1:1024,8080", "53", "30000:32767,15001,80", "20000:65535")
		case 9:
			set := g.pick("jip src", "jip dst", "jnet src", "jnet dst", "jport dst,dst", "jport src,dst", "jipi dst,dst,src", "jnn src,dst", "jbits dst", "jnetport dst,dst", "jlist dst")
			if g.six {
				set = g.pick("j6net src", "j6net dst", "j6port dst,dst", "j6port src,dst", "j6ip dst", "jlist6 src")
			}
			name, _, _ := strings.Cut(set, " ")
			if !g.sets.Has(name) {
				continue // a type that this kernel does not have
			}
			return "-m set " + g.not() + "--match-set " + set
		case 10:
			if hook != "OUTPUT" && hook != "POSTROUTING" {
				continue
			}
			return "-m owner " + g.pick(g.not()+"--uid-owner "+g.pick("0", "1337", "1000-2000"), g.not()+"--gid-owner "+g.pick("0", "1337"), "--socket-exists", "! --socket-exists", g.not()+"--uid-owner 1337 "+g.not()+"--gid-owner 1337")
		case 11:
			lo, hi := "10.0.0.0", "10.20.0.0"
			if g.six {
				lo, hi = "2001:db8:10::", "2001:db8:10::ffff"
			}
			return "-m iprange " + g.not() + g.pick("--src-range ", "--dst-range ") + lo + "-" + hi
		case 12:
			return "-m length " + g.not() + "--length " + g.pick("0:60", "40", "60:1500", "28:48", "100:")
		case 13:
			return "-m pkttype " + g.not() + "--pkt-type " + g.pick("unicast", "broadcast", "multicast")
		case 14:
			if g.six {
				return "-m hl " + g.pick("--hl-eq 64", "! --hl-eq 64", "--hl-lt 64", "--hl-gt 30")
			}
			return "-m ttl " + g.pick("--ttl-eq 64", "! --ttl-eq 64", "--ttl-lt 64", "--ttl-gt 30")
		case 15:
			return "-m comment --comment " + g.pick(`"a \"quoted\" word"`, "plain", `"back\\slash"`, `"it's -j DROP"`)
		case 16:
			return "-m limit --limit 1000/sec --limit-burst 1000"
		case 17:
			g.n++
			return fmt.Sprintf("-m recent --set --name j%s --rsource", g.label+strconv.Itoa(g.n))
		case 18:
			if hook != "PREROUTING" || table == "nat" || g.nested {
				continue
			}
			return "-m rpfilter" + g.pick("", " --invert", " --loose", " --accept-local", " --loose --invert")
		case 19:
			switch proto {
			case "tcp":
				return "-m tcp " + g.not() + g.pick("--dport "+g.ports(), "--sport "+g.ports(), "--tcp-flags SYN,RST,ACK SYN", "--tcp-flags FIN,SYN,RST,ACK SYN", "--tcp-flags SYN,ACK SYN,ACK", "--dport "+g.ports())
			case "udp", "sctp":
				return "-m " + proto + " " + g.not() + g.pick("--dport ", "--sport ") + g.ports()
			case "icmp":
				return "-m icmp " + g.not() + "--icmp-type " + g.pick("8", "0", "8/0", "3/1", "any")
			case "ipv6-icmp":
				return "-m icmp6 " + g.not() + "--icmpv6-type " + g.pick("128", "129", "128/0")
			}
		case 20:
			if proto == "tcp" {
				return "-m tcp " + g.not() + "--dport " + g.ports()
			}
		}
	}
}

// to is the target of a rule.
func (g *generator) to(table, hook, proto string, chains []string) string {
	ported := proto == "tcp" || proto == "udp" || proto == "sctp"
	for {
		switch g.IntN(16) {
		case 0:
			return "-j ACCEPT"
		case 1:
			return "-j RETURN"
		case 2:
			return ""
		case 3, 4:
			if len(chains) > 0 {
				return g.pick("-j ", "-j ", "-j ", "-g ") + g.pick(chains...)
			}
		case 5:
			if g.tproxy && table == "nat" && hook == "PREROUTING" {
				continue
			}
			return "-j MARK " + g.pick("--set-xmark 0x4000/0x4000", "--set-mark 0x2", "--or-mark 0x8000", "--and-mark 0xffffbfff", "--xor-mark 0x1", "--set-xmark 0x5/0xff")
		case 6:
			if table == "raw" {
				continue
			}
			return "-j CONNMARK " + g.pick("--set-xmark 0x1/0xff", "--save-mark --nfmask 0xffff --ctmask 0xffff", "--restore-mark --nfmask 0xf --ctmask 0xf", "--set-mark 0x4000", "--save-mark", "--set-xmark 0x2/0x0")
		case 7:
			return g.pick("-j LOG --log-prefix \"a b: \"", "-j NFLOG --nflog-group 7 --nflog-prefix x")
		case 8:
			if table == "nat" || g.one(2) {
				continue
			}
			return "-j DROP"
		case 9, 10:
			switch table {
			case "filter":
				if hook == "POSTROUTING" {
					continue
				}
				if proto == "tcp" && g.one(2) {
					return "-j REJECT --reject-with tcp-reset"
				}
				if g.six {
					return "-j REJECT"
				}
				return "-j REJECT --reject-with " + g.pick("icmp-port-unreachable", "icmp-admin-prohibited")
			case "raw":
				return g.pick("-j CT --notrack", "-j NOTRACK", "-j CT --zone 7")
			case "mangle":
				if g.six {
					return g.pick("-j HL --hl-set 33", "-j HL --hl-dec 1", "-j DSCP --set-dscp 46")
				}
				return g.pick("-j TTL --ttl-set 33", "-j TTL --ttl-inc 1", "-j DSCP --set-dscp 46")
			}
		case 11, 12, 13, 14:
			if table == "mangle" && hook == "PREROUTING" && g.tproxy && (proto == "tcp" || proto == "udp") {
				return "-j TPROXY --on-port 15006 --tproxy-mark 0x100000/0x100000"
			}
			if table != "nat" {
				continue
			}
			port := ""
			if ported && g.one(2) {
				port = ":" + g.pick(genPorts...)
				if g.one(8) {
					port = g.pick(":8000-8003", ":9000-9100", ":9000-9100/400")
				}
			}
			at := func(a string) string {
				if port != "" && g.six {
					return "[" + a + "]" + port
				}
				return a + port
			}
			switch hook {
			case "PREROUTING", "OUTPUT":
				switch g.IntN(7) {
				case 0:
					if !ported {
						return "-j REDIRECT"
					}
					return "-j REDIRECT --to-ports " + g.pick(genPorts...)
				case 1:
					if g.six {
						return "-j NETMAP --to 2001:db8:10::/64"
					}
					return "-j NETMAP --to 10.10.1.0/24"
				case 2:
					return "-j DNAT --to-destination " + at(g.local()) + g.pick("", "", " --random", " --persistent")
				case 3:
					lo, hi := "10.10.1.4", "10.10.1.40"
					if g.six {
						lo, hi = "2001:db8:10::4", "2001:db8:10::1:4"
					}
					if port != "" && g.six {
						lo, hi = "["+lo, hi+"]"
						return "-j DNAT --to-destination " + lo + "-" + hi + port
					}
					return "-j DNAT --to-destination " + lo + "-" + hi + port + g.pick("", " --persistent")
				default:
					return "-j DNAT --to-destination " + at(g.far())
				}
			case "INPUT":
				return "-j SNAT --to-source " + g.far()
			default:
				return g.pick("-j MASQUERADE", "-j MASQUERADE --random-fully", "-j SNAT --to-source "+g.local(), g.snatRange())
			}
		}
	}
}

func (g *generator) snatRange() string {
	if g.six {
		return "-j SNAT --to-source 2001:db8:77::1-2001:db8:77::ff"
	}
	return "-j SNAT --to-source 192.0.2.1-192.0.2.99"
}

func (g *generator) rule(table, hook string, chains []string) string {
	var parts []string
	add := func(s ...string) { parts = append(parts, strings.Join(s, "")) }
	proto := ""
	for _, opt := range []string{"-s ", "-d "} {
		if g.one(4) {
			net, not := g.network(), g.not()
			if strings.HasSuffix(net, "/0") {
				not = "" // nft refuses to load it
			}
			add(not, opt, net)
		}
	}
	in := hook == "PREROUTING" || hook == "INPUT" || hook == "FORWARD"
	out := hook == "OUTPUT" || hook == "FORWARD" || hook == "POSTROUTING"
	dev := func() string { return g.pick("eth0", "pod0", "lo", "ext0", "e+", "pod+", "veth9") }
	if in && g.one(6) {
		add(g.not(), "-i ", dev())
	}
	if out && g.one(6) {
		add(g.not(), "-o ", dev())
	}
	if g.one(2) {
		not := g.not()
		proto = g.proto()
		add(not, "-p ", proto)
		if not != "" {
			proto = ""
		}
	}
	used := map[string]bool{}
	for range g.IntN(3) {
		c := g.condition(table, hook, proto)
		// iptables makes one of two tcp modules, and loses the first.
		if module := strings.Fields(c)[1]; module != proto || !used[module] {
			add(c)
			used[module] = true
		}
	}
	if t := g.to(table, hook, proto, chains); t != "" {
		add(t)
	}
	return strings.Join(parts, " ")
}

var genHooks = []struct{ table, hooks string }{
	{"raw", "PREROUTING OUTPUT"}, {"mangle", "PREROUTING INPUT FORWARD OUTPUT POSTROUTING"}, {"nat", "PREROUTING INPUT OUTPUT POSTROUTING"}, {"filter", "INPUT FORWARD OUTPUT"},
}

// ruleset writes what iptables-restore reads. Chains call only later chains, so
// that no loop arises.
func (g *generator) ruleset() string {
	var b strings.Builder
	for _, t := range genHooks {
		fmt.Fprintf(&b, "*%s\n", t.table)
		var rules []string
		for hook := range strings.FieldsSeq(t.hooks) {
			pol := "ACCEPT"
			if t.table == "filter" && g.one(8) {
				pol = "DROP"
			}
			fmt.Fprintf(&b, ":%s %s [0:0]\n", hook, pol)
			var chains []string
			for i := range g.IntN(4) {
				chains = append(chains, fmt.Sprintf("J-%s-%d", hook, i))
				fmt.Fprintf(&b, ":%s - [0:0]\n", chains[i])
			}
			g.nested = false
			for range g.IntN(5) {
				rules = append(rules, "-A "+hook+" "+g.rule(t.table, hook, chains))
			}
			g.nested = true
			for i, c := range chains {
				for range g.IntN(4) {
					rules = append(rules, "-A "+c+" "+g.rule(t.table, hook, chains[i+1:]))
				}
			}
		}
		for _, r := range rules {
			b.WriteString(r + "\n")
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

func (g *generator) packet(port uint16) (Packet, int) {
	addr := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	proto, _ := ParseProto(g.proto())
	p := Packet{Proto: proto, State: New, TTL: []int{64, 33, 30, 128}[g.IntN(4)]}
	src := netip.AddrPortFrom(addr(g.far()), port)
	dport := uint16(0)
	if proto != ICMP && proto != ICMPv6 {
		fmt.Sscan(g.pick(genPorts...), &dport)
	}
	payload := []int{0, 0, 20, 500}[g.IntN(4)]
	if proto == SCTP {
		payload = 0
	}
	dst := addr(g.far())
	if g.one(3) {
		dst = addr(g.local())
	}
	if g.one(2) {
		p.Hook = Output
		src = netip.AddrPortFrom(addr(g.local()), port)
		if g.one(4) {
			dst = addr(g.addr())
			if dst.IsLoopback() {
				src = netip.AddrPortFrom(dst, port)
			}
		}
		uid, gid := uint32([]int{0, 1337, 1500}[g.IntN(3)]), uint32([]int{0, 1337}[g.IntN(2)])
		p.UID, p.GID = &uid, &gid
		if g.one(4) {
			p.Mark = []uint32{1, 0x4000, 0x539}[g.IntN(3)]
		}
	} else {
		p.Hook, p.In = Prerouting, g.pick("eth0", "pod0", "ext0")
	}
	if proto == TCP && g.one(8) {
		p.TCPFlags, p.State = "SYN,ACK", Invalid
	}
	p.Src, p.Dst = src, netip.AddrPortFrom(dst, dport)
	l4 := map[Proto]int{TCP: 20, UDP: 8, SCTP: 32, ICMP: 8, ICMPv6: 8}[proto] + payload
	p.Length = l4 + 20
	if g.six {
		p.Length = l4 + 40
	}
	return p, payload
}

const genSets = `create jip hash:ip family inet
add jip 10.10.1.4
add jip 203.0.113.9
create jnet hash:net family inet
add jnet 10.0.0.0/8
add jnet 10.10.1.5 nomatch
create jport hash:ip,port family inet
add jport 10.96.0.1,tcp:80
add jport 10.96.0.1,udp:53
add jport 192.168.99.2,tcp:8080
add jport 10.10.1.4,icmp:8/0
create jipi hash:ip,port,ip family inet
add jipi 10.96.0.1,tcp:80,203.0.113.9
create jnn hash:net,net family inet
add jnn 10.10.0.0/16,10.96.0.0/16
create jnetport hash:net,port family inet
add jnetport 10.96.0.0/16,tcp:80
add jnetport 10.10.0.0/16,udp:53
create jbits bitmap:port range 0-65535
add jbits 80
add jbits 443
create jlist list:set size 8
add jlist jip
add jlist jnet
create j6net hash:net family inet6
add j6net 2001:db8:10::/64
create j6ip hash:ip family inet6
add j6ip 2001:db8:96::1
create j6port hash:ip,port family inet6
add j6port 2001:db8:96::1,tcp:80
create jlist6 list:set size 8
add jlist6 j6net
add jlist6 jip
`

// TestTheKernelAgreesOnGeneratedRules is the test that the evaluator is exact:
// random rulesets of everything it supports, random packets, and the kernel's
// own trace.
//
//	go test ./iptables -run GeneratedRules -kernel.cases 5000 -kernel.seed 42
func TestTheKernelAgreesOnGeneratedRules(t *testing.T) {
	j := newJudge(t)
	j.listen(15006)
	var sets string
	j.do(func() (err error) {
		for one := range strings.SplitSeq(genSets, "create ") {
			if _, err := command("create "+one, "ipset", "restore"); err != nil && one != "" && !strings.Contains(err.Error(), "not supported") {
				return err
			}
		}
		sets, err = command("", "ipset", "save")
		return err
	})
	var err error
	if j.host.Sets, err = ParseIPSet("ipset save", []byte(sets)); err != nil {
		t.Fatal(err)
	}
	sent, open, refused, chance := 0, 0, 0, 0
	const perRuleset = 8
	for seed := *kernelSeed; sent < *kernelCases; seed++ {
		if refused > 5 && refused*perRuleset > sent {
			t.Fatalf("%d rulesets were refused", refused)
		}
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), six: seed%4 == 3, tproxy: seed%5 == 0, sets: j.host.Sets, label: fmt.Sprintf("%d-", seed)}
		backend := []string{"nft", "legacy"}[seed%2]
		if seed%8 > 3 {
			backend = []string{"legacy", "nft"}[seed%2]
		}
		text := g.ruleset()
		if err := j.load(backend, g.six, text); err != nil {
			t.Logf("seed %d: %s does not load: %v", seed, backend, err)
			refused++
			continue
		}
		saved := j.saved(backend, g.six)
		rs, err := Parse("saved", []byte(saved))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		checkPrinted(t, saved)
		h := j.host
		if g.six {
			h.V6 = rs
		} else {
			h.V4 = rs
		}
		for i := range perRuleset {
			p, payload := g.packet(uint16(33000 + i*17 + int(seed%1000)*20))
			r := h.Evaluate(p)
			sent++
			if len(r.Outcomes) > 1 {
				chance++
			}
			got, err := j.send(backend, p, payload)
			if err != nil {
				t.Fatalf("seed %d: sending %+v: %v", seed, p, err)
			}
			complaint, decided := agree(got, r, p)
			if complaint == "" {
				if !decided {
					open++
				}
				continue
			}
			t.Errorf("seed %d, %s, packet %d: %s %s %v -> %v %s ttl %d len %d mark %#x%s: %s\nkernel: %v\nours:\n%s%s", seed, backend, i, p.Hook, p.In, p.Src, p.Dst, p.Proto, p.TTL, p.Length, p.Mark, owners(p), complaint, got, describe(r), texts(rs, got.path, refs(r.Outcomes[0].Path)))
			if testing.Verbose() {
				t.Log(text, saved)
			}
		}
	}
	t.Logf("%d packets, %d with several ways, %d left undetermined, %d rulesets refused", sent, chance, open, refused)
	if open*20 > sent {
		t.Errorf("%d of %d packets are undetermined: more than one in twenty", open, sent)
	}
}

func owners(p Packet) string {
	if p.UID == nil {
		return ""
	}
	return fmt.Sprintf(" uid %d gid %d", *p.UID, *p.GID)
}

// checkPrinted compares every rule of a save with what the printer makes of it.
func checkPrinted(t *testing.T, saved string) {
	t.Helper()
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		rest, ok := strings.CutPrefix(line, "-A ")
		if !ok {
			continue
		}
		_, rest, _ = strings.Cut(rest, " ")
		if got := parseRule(line).String(); got != strings.TrimSpace(rest) {
			t.Errorf("printed\n  %s\nsaved\n  %s", got, rest)
		}
	}
}
