package iptables

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tableOf writes one table of a save: chains that are named by rules are declared.
func tableOf(name string, rules ...string) string {
	var b strings.Builder
	b.WriteString("*" + name + "\n")
	declared := map[string]bool{}
	for _, c := range strings.Fields("PREROUTING INPUT FORWARD OUTPUT POSTROUTING") {
		if isBase(name, c) {
			declared[c] = true
			b.WriteString(":" + c + " ACCEPT [0:0]\n")
		}
	}
	for _, r := range rules {
		if f := strings.Fields(r); len(f) > 1 && f[0] == "-A" && !declared[f[1]] {
			declared[f[1]] = true
			b.WriteString(":" + f[1] + " - [0:0]\n")
		}
	}
	for _, r := range rules {
		b.WriteString(r + "\n")
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

func hostWith(t testing.TB, text string) *Host {
	t.Helper()
	rs, err := Parse("rules", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return &Host{V4: rs, V6: rs, LocalAddresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}}
}

func packet(src, dst string) Packet {
	return Packet{In: "eth0", Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}

// ends lists the outcomes as "0.5 accept dst" with the rules met.
func ends(r Result) string {
	var out []string
	for _, o := range r.Outcomes {
		var path []string
		for _, s := range o.Path {
			path = append(path, fmt.Sprintf("%s/%d", s.Chain, s.Rule))
		}
		p := ""
		if o.Probability != 1 {
			p = fmt.Sprintf("%.3g ", o.Probability)
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s%v %s %s", p, o.Verdict, formatAddrPort(o.Dst), strings.Join(path, " "))))
	}
	return strings.Join(out, "; ")
}

func TestAPacketWalksAsTheKernelSays(t *testing.T) {
	fromFar := packet("203.0.113.9:40000", "10.1.0.5:80")
	toNode := packet("203.0.113.9:40000", "10.0.0.1:80")
	for _, tt := range []struct {
		name  string
		rules string
		p     Packet
		want  string
	}{
		{"no rule at all", "", fromFar, "accept 10.1.0.5:80"},
		{"a rule without a target goes on", tableOf("filter", "-A FORWARD -p tcp", "-A FORWARD -j DROP"), fromFar, "drop 10.1.0.5:80 FORWARD/1 FORWARD/2"},
		{"the policy of the base chain", "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", fromFar, "drop 10.1.0.5:80"},
		{"RETURN in a base chain is the policy", "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -j RETURN\n-A FORWARD -j ACCEPT\nCOMMIT\n", fromFar, "drop 10.1.0.5:80 FORWARD/1"},
		{"goto skips the caller on return", tableOf("filter", "-A FORWARD -j A", "-A FORWARD -j DROP", "-A A -g B", "-A A -j DROP", "-A B -j RETURN"), fromFar, "drop 10.1.0.5:80 FORWARD/1 A/1 B/1 FORWARD/2"},
		{"goto from a base chain ends at the policy", tableOf("filter", "-A FORWARD -g A", "-A FORWARD -j DROP", "-A A -p udp -j DROP"), fromFar, "accept 10.1.0.5:80 FORWARD/1"},
		{"a packet to the node meets INPUT", tableOf("filter", "-A INPUT -j ACCEPT", "-A FORWARD -j DROP"), toNode, "accept 10.0.0.1:80 INPUT/1"},
		{"DNAT decides the way", tableOf("nat", "-A PREROUTING -d 10.0.0.1/32 -p tcp -j DNAT --to-destination 10.1.0.9:8080") + tableOf("filter", "-A INPUT -j DROP", "-A FORWARD -d 10.1.0.9/32 -m conntrack --ctstate DNAT -j ACCEPT"), toNode, "accept 10.1.0.9:8080 PREROUTING/1 FORWARD/1"},
		{"DNAT without a port keeps the port", tableOf("nat", "-A PREROUTING -j DNAT --to-destination 10.1.0.9"), toNode, "accept 10.1.0.9:80 PREROUTING/1"},
		{"the first DNAT wins", tableOf("nat", "-A PREROUTING -j DNAT --to-destination 10.1.0.9", "-A PREROUTING -j DNAT --to-destination 10.1.0.8"), toNode, "accept 10.1.0.9:80 PREROUTING/1"},
		{"an untracked packet skips nat", tableOf("raw", "-A PREROUTING -j CT --notrack") + tableOf("nat", "-A PREROUTING -j DNAT --to-destination 10.1.0.9"), toNode, "accept 10.0.0.1:80 PREROUTING/1"},
		{"an established packet skips nat", tableOf("nat", "-A PREROUTING -j DNAT --to-destination 10.1.0.9"), Packet{State: Established, Src: toNode.Src, Dst: toNode.Dst}, "accept 10.0.0.1:80"},
		{"statistic gives every way", tableOf("nat", "-A PREROUTING -m statistic --mode random --probability 0.25 -j DNAT --to-destination 10.1.0.7", "-A PREROUTING -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.1.0.8"), toNode, "0.375 accept 10.1.0.8:80 PREROUTING/2; 0.375 accept 10.0.0.1:80; 0.25 accept 10.1.0.7:80 PREROUTING/1"},
		{"a small random range of ports gives every way", tableOf("nat", "-A PREROUTING -p tcp -j DNAT --to-destination 10.1.0.7:90-91 --random"), toNode, "0.5 accept 10.1.0.7:90 PREROUTING/1; 0.5 accept 10.1.0.7:91 PREROUTING/1"},
		{"of a range of ports the first is taken", tableOf("nat", "-A PREROUTING -p tcp -j DNAT --to-destination 10.1.0.7:90-91"), toNode, "accept 10.1.0.7:90 PREROUTING/1"},
		{"a port of the range stays", tableOf("nat", "-A PREROUTING -p tcp -j DNAT --to-destination 10.1.0.7:80-90"), toNode, "accept 10.1.0.7:80 PREROUTING/1"},
		{"a large random range is not a guess", tableOf("nat", "-A PREROUTING -p tcp -j DNAT --to-destination 10.1.0.7:1000-9000 --random"), toNode, "undetermined 10.0.0.1:80 PREROUTING/1"},
		{"a shifted port", tableOf("nat", "-A PREROUTING -p tcp -j DNAT --to-destination 10.1.0.7:9000-9100/70"), toNode, "accept 10.1.0.7:9010 PREROUTING/1"},
		{"REDIRECT keeps the packet here", tableOf("nat", "-A PREROUTING -p tcp -j REDIRECT --to-ports 15006") + tableOf("filter", "-A INPUT -p tcp -m tcp --dport 15006 -j ACCEPT"), fromFar, "accept 10.0.0.1:15006 PREROUTING/1 INPUT/1"},
		{"REDIRECT in OUTPUT goes to the loopback", tableOf("nat", "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001"), Packet{Hook: Output, Src: toNode.Dst, Dst: fromFar.Dst}, "accept 127.0.0.1:15001 OUTPUT/1"},
		{"a local packet comes in again over lo without nat", tableOf("raw", "-A PREROUTING -i lo") + tableOf("nat", "-A OUTPUT -o lo", "-A PREROUTING -j DNAT --to-destination 10.1.0.9"), Packet{Hook: Output, Src: toNode.Dst, Dst: toNode.Dst}, "accept 10.0.0.1:80 OUTPUT/1 PREROUTING/1"},
		{"marks are set and asked", tableOf("mangle", "-A PREROUTING -j MARK --set-xmark 0x4000/0x4000", "-A PREROUTING -m mark --mark 0x4000/0xc000 -j DROP"), fromFar, "drop 10.1.0.5:80 PREROUTING/1 PREROUTING/2"},
		{"a jump into a chain that is not there", tableOf("filter", "-A FORWARD -j NOWHERE"), fromFar, "undetermined 10.1.0.5:80 FORWARD/1"},
		{"chains that call each other", tableOf("filter", "-A FORWARD -j A", "-A A -j B", "-A B -j A"), fromFar, "undetermined"},
		{"an unknown target that the packet does not meet", tableOf("filter", "-A FORWARD -p udp -j WHAT --ever 1"), fromFar, "accept 10.1.0.5:80"},
		{"a line that is cut in two is unknown where it matters", tableOf("filter", `-A FORWARD -m comment --comment "never ends`), fromFar, "accept 10.1.0.5:80"},
		{"an unknown match before DROP", tableOf("filter", "-A FORWARD -m u32 --u32 \"0x0=0x1\" -j DROP"), fromFar, "undetermined 10.1.0.5:80"},
		{"an unknown match that cannot matter", tableOf("filter", "-A FORWARD -m u32 --u32 \"0x0=0x1\" -j ACCEPT"), fromFar, "accept 10.1.0.5:80"},
		{"an unknown match on another protocol", tableOf("filter", "-A FORWARD -p udp -m u32 --u32 \"0x0=0x1\" -j DROP"), fromFar, "accept 10.1.0.5:80"},
		{"an unknown option of a known match", tableOf("filter", "-A FORWARD -p tcp -m tcp --tcp-option 5 -j DROP"), fromFar, "undetermined 10.1.0.5:80"},
		{"only a part is unknown", tableOf("nat", "-A PREROUTING -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.1.0.7") + tableOf("filter", "-A FORWARD -d 10.1.0.7/32 -m u32 --u32 \"0x0=0x1\" -j DROP"), fromFar, "0.5 undetermined 10.1.0.7:80 PREROUTING/1; 0.5 accept 10.1.0.5:80"},
		{"an unknown that only masquerades", tableOf("nat", "-A POSTROUTING -m set --match-set X dst -j MASQUERADE"), fromFar, "accept 10.1.0.5:80"},
		{"session affinity of a new client", tableOf("nat", "-A PREROUTING -m recent --rcheck --seconds 10800 --reap --name A --mask 255.255.255.255 --rsource -j A", "-A PREROUTING -j A", "-A A -m recent --set --name A --mask 255.255.255.255 --rsource -p tcp -j DNAT --to-destination 10.1.0.7:8080"), toNode, "accept 10.1.0.7:8080 PREROUTING/2 A/1"},
		{"the same question has the same answer", tableOf("filter", "-A FORWARD -m set --match-set X src -j A", "-A A -m set ! --match-set X src -j DROP"), fromFar, "accept 10.1.0.5:80"},
		{"NFQUEUE is a program's decision", tableOf("filter", "-A FORWARD -j NFQUEUE --queue-num 1"), fromFar, "undetermined 10.1.0.5:80 FORWARD/1"},
		{"NETMAP", tableOf("nat", "-A PREROUTING -j NETMAP --to 10.9.0.0/16"), fromFar, "accept 10.9.0.5:80 PREROUTING/1"},
		{"-I stands before", "* filter\n-N A\n-A FORWARD -j DROP\n-I FORWARD 1 -j A\n-I FORWARD 1 -p udp -j DROP\n-A A -j ACCEPT\nCOMMIT\n", fromFar, "accept 10.1.0.5:80 FORWARD/2 A/1"},
		{"rules of a chain that stand apart", tableOf("filter", "-A FORWARD -p udp -j DROP", "-A A -j DROP", "-A FORWARD -j A"), fromFar, "drop 10.1.0.5:80 FORWARD/2 A/1"},
		{"counters, CRLF and indents", "  *filter\r\n  :FORWARD ACCEPT [1:2]\r\n  [3:4] -A FORWARD -j DROP  \r\n  COMMIT\r\n", fromFar, "drop 10.1.0.5:80 FORWARD/1"},
		{"a table that is there twice", tableOf("filter") + tableOf("filter", "-A FORWARD -j DROP"), fromFar, "undetermined 10.1.0.5:80"},
		{"the same table twice", tableOf("filter") + tableOf("filter"), fromFar, "accept 10.1.0.5:80"},
		{"a line that is no rule", tableOf("filter", "what is this"), fromFar, "undetermined 10.1.0.5:80"},
		{"an unknown interface", tableOf("filter", "-A FORWARD -i eth7 -j DROP"), Packet{Src: fromFar.Src, Dst: fromFar.Dst}, "undetermined 10.1.0.5:80"},
		{"interfaces that exclude each other", tableOf("filter", "-A FORWARD -i eth7 -j A", "-A FORWARD -i eth8 -j ACCEPT", "-A A -i eth8 -j DROP"), Packet{Src: fromFar.Src, Dst: fromFar.Dst}, "accept 10.1.0.5:80"},
		{"TPROXY is no DNAT", tableOf("mangle", "-A PREROUTING -p tcp -j TPROXY --on-port 15006 --on-ip 0.0.0.0 --tproxy-mark 0x539/0xffffffff") + tableOf("filter", "-A INPUT -m mark --mark 0x539"), fromFar, "accept 10.1.0.5:80 PREROUTING/1 INPUT/1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := hostWith(t, tt.rules)
			r := h.Evaluate(tt.p)
			got := ends(r)
			if tt.want == "undetermined" {
				if r.Verdict() != Undetermined {
					t.Errorf("got %s", got)
				}
				return
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s\n%s", got, tt.want, describe(r))
			}
			addProbabilities(t, r)
			for _, o := range r.Outcomes {
				if o.Reason == "" || o.Verdict == Undetermined && !strings.Contains(o.Reason, "undetermined") {
					t.Errorf("reason %q", o.Reason)
				}
			}
		})
	}
}

func TestAnUndeterminedOutcomeQuotesTheRuleAndSaysHowItWouldEndOtherwise(t *testing.T) {
	h := hostWith(t, tableOf("raw", `-A PREROUTING -m u32 --u32 "0x0=0x1" -j DROP`))
	o := h.Evaluate(packet("203.0.113.9:40000", "10.1.0.5:80")).Outcomes[0]
	if len(o.Unknown) != 1 || o.Unknown[0].Table != "raw" || !strings.Contains(o.Reason, `--u32 "0x0=0x1"`) || len(o.Otherwise) != 1 || o.Otherwise[0].Verdict != Drop {
		t.Errorf("%+v", o)
	}
}

func TestWhatCannotBeKnownIsNamed(t *testing.T) {
	for rule, why := range map[string]string{
		`-m connlimit --connlimit-above 5`:                 "how many connections of the client are open at this rule is not known",
		`-m string --string "x" --algo bm`:                 "what the packet carries is not known",
		`-m time --timestart 09:00:00`:                     "when the packet comes is not known",
		`-m hashlimit --hashlimit-above 1/sec`:             "how many packets came before this one is not known",
		`-m bpf --bytecode "1,6 0 0 0"`:                    "what its program makes of the packet's bytes is not known",
		`-m acme --x 1`:                                    `the match "acme" is not known here`,
		`-m conntrack --acme 1`:                            "the option --acme is not known here",
		`-p tcp -m tcp --dport 80 -m tcp --tcp-option 254`: "the option --tcp-option is not known here",
	} {
		o := hostWith(t, tableOf("mangle", "-A PREROUTING "+rule+" -j DROP")).Evaluate(packet("203.0.113.9:40000", "10.1.0.5:80")).Outcomes[0]
		if o.Verdict != Undetermined || len(o.Unknown) != 1 || o.Unknown[0].Action != "not known: "+why || !strings.Contains(o.Reason, why) {
			t.Errorf("%s: %s %s %+v", rule, o.Verdict, o.Reason, o.Unknown)
		}
	}
}

func TestWhatIsNotGivenIsSaid(t *testing.T) {
	text := tableOf("nat", "-A PREROUTING -m addrtype --dst-type LOCAL -j A", "-A A -p tcp -m tcp --dport 30080 -j DNAT --to-destination 10.1.0.9:80")
	rs, err := Parse("rules", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p := packet("203.0.113.9:40000", "10.0.0.1:30080")
	r := (&Host{V4: rs}).Evaluate(p)
	if r.Verdict() != Undetermined || !strings.Contains(r.Outcomes[0].Reason, "--local-address") || r.Outcomes[0].Otherwise[0].Dst.String() != "10.1.0.9:80" {
		t.Errorf("%s", describe(r))
	}
	addrs, err := ParseIPAddr("ip-addr.json", []byte(`[{"ifname":"eth0","addr_info":[{"local":"10.0.0.1","prefixlen":24,"broadcast":"10.0.0.255"}]}]`))
	if err != nil {
		t.Fatal(err)
	}
	if r = (&Host{V4: rs, Addrs: addrs}).Evaluate(p); r.Verdict() != Accept || !r.Outcomes[0].DNAT {
		t.Errorf("%s", describe(r))
	}
	if r = (&Host{V4: rs}).Evaluate(packet("[2001:db8::9]:1", "[2001:db8::1]:2")); r.Verdict() != Undetermined || !strings.Contains(r.Outcomes[0].Reason, "ip6tables-save") {
		t.Errorf("%s", describe(r))
	}
	uid := tableOf("nat", "-A OUTPUT -p tcp -m owner ! --uid-owner 1337 -j REDIRECT --to-ports 15001")
	p = Packet{Hook: Output, Src: p.Dst, Dst: p.Src}
	if r = hostWith(t, uid).Evaluate(p); r.Verdict() != Undetermined || !strings.Contains(r.Outcomes[0].Reason, "user id") {
		t.Errorf("%s", describe(r))
	}
}

func TestAGroupThatIsNotGivenIsTakenToBeTheUser(t *testing.T) {
	h := hostWith(t, tableOf("nat", "-A OUTPUT -m owner --gid-owner 1337 -j RETURN", "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001"))
	for uid, want := range map[uint32]string{1337: "accept 203.0.113.9:80 OUTPUT/1", 1000: "accept 127.0.0.1:15001 OUTPUT/2"} {
		r := h.Evaluate(Packet{Hook: Output, UID: &uid, Src: netip.MustParseAddrPort("10.0.0.1:40000"), Dst: netip.MustParseAddrPort("203.0.113.9:80")})
		if ends(r) != want || len(r.Assumptions) != 1 {
			t.Errorf("uid %d: %s", uid, describe(r))
		}
	}
}

func TestBothBackendsAreWalkedInBothOrders(t *testing.T) {
	nat := func(to string) *Ruleset {
		rs, err := Parse(to, []byte(tableOf("nat", "-A PREROUTING -p tcp -j DNAT --to-destination "+to)))
		if err != nil {
			t.Fatal(err)
		}
		return rs
	}
	p := packet("203.0.113.9:40000", "10.0.0.1:80")
	h := &Host{V4: nat("10.1.0.7:80"), V4Legacy: nat("10.1.0.8:80")}
	r := h.Evaluate(p)
	if got := ends(r); got != "0.5 accept 10.1.0.7:80 PREROUTING/1; 0.5 accept 10.1.0.8:80 PREROUTING/1" || r.Outcomes[1].Backend != "legacy first" {
		t.Errorf("got %s", got)
	}
	h.V4Legacy = nat("10.1.0.7:80")
	if r = h.Evaluate(p); ends(r) != "accept 10.1.0.7:80 PREROUTING/1" || !strings.Contains(strings.Join(r.Assumptions, " "), "makes no difference") {
		t.Errorf("%s", describe(r))
	}
	drop, err := Parse("drop", []byte(tableOf("filter", "-A FORWARD -j DROP")))
	if err != nil {
		t.Fatal(err)
	}
	h.V4Legacy = drop
	if r = h.Evaluate(p); r.Verdict() != Drop {
		t.Errorf("a drop of either backend is final:\n%s", describe(r))
	}
	if b := h.Backends(); len(b) != 2 || b[0].Name != "nft" || b[1].Rules != 1 {
		t.Errorf("%+v", b)
	}
}

func TestAKnownFlowFollowsItsEntry(t *testing.T) {
	ct, err := ParseConntrack("conntrack.txt", []byte(`udp      17 29 src=203.0.113.9 dst=10.0.0.1 sport=40000 dport=53 [UNREPLIED] src=10.1.0.99 dst=10.0.0.1 sport=5353 dport=40000 mark=7 use=1
tcp      6 86399 ESTABLISHED src=203.0.113.9 dst=10.0.0.1 sport=40001 dport=80 src=10.1.0.5 dst=203.0.113.9 sport=8080 dport=40001 [ASSURED] mark=0 use=1
ipv4     2 tcp      6 10 TIME_WAIT src=203.0.113.9 dst=10.0.0.1 sport=40002 dport=80 src=10.1.0.5 dst=203.0.113.9 sport=8080 dport=40002 [ASSURED] mark=0 use=1
unknown  2 598 src=10.10.0.1 dst=224.0.0.22 [UNREPLIED] src=224.0.0.22 dst=10.10.0.1 mark=0 use=1
conntrack v1.4.7 (conntrack-tools): 4 flow entries have been shown.
`))
	if err != nil {
		t.Fatal(err)
	}
	h := hostWith(t, tableOf("nat", "-A PREROUTING -j DNAT --to-destination 10.1.0.7")+tableOf("filter", "-A FORWARD -m conntrack --ctstate ESTABLISHED"))
	h.Conntrack = ct
	udp := packet("203.0.113.9:40000", "10.0.0.1:53")
	udp.Proto = UDP
	r := h.Evaluate(udp)
	if o := r.Outcomes[0]; ends(r) != "accept 10.1.0.99:5353" || o.CTMark != 7 || o.SNAT == nil || o.SNAT.Addr().String() != "10.0.0.1" {
		t.Errorf("%s", describe(r))
	}
	ack := packet("203.0.113.9:40001", "10.0.0.1:80")
	ack.TCPFlags = "ACK"
	if r = h.Evaluate(ack); ends(r) != "accept 10.1.0.5:8080 FORWARD/1" {
		t.Errorf("%s", describe(r))
	}
	reply := packet("10.1.0.5:8080", "203.0.113.9:40001")
	reply.TCPFlags = "SYN,ACK"
	if r = h.Evaluate(reply); ends(r) != "accept 203.0.113.9:40001 FORWARD/1" || r.Outcomes[0].Src.String() != "10.0.0.1:80" {
		t.Errorf("%s %v", describe(r), r.Outcomes[0].Src)
	}
	if r = h.Evaluate(packet("203.0.113.9:40002", "10.0.0.1:80")); ends(r) != "accept 10.1.0.7:80 PREROUTING/1" {
		t.Errorf("a new connection after TIME_WAIT: %s", describe(r))
	}
	if f := ct.Toward(UDP, udp.Dst); len(f) != 1 || f[0].Reply.Src.String() != "10.1.0.99:5353" || !f[0].Unreplied {
		t.Errorf("%+v", f)
	}
	if _, err := ParseConntrack("x", []byte("what\n")); err == nil {
		t.Error("a line that is none was taken")
	}
}

func TestSets(t *testing.T) {
	sets, err := ParseIPSet("ipset-save.txt", []byte(`create C hash:ip,port family inet hashsize 1024 maxelem 65536
add C 10.96.0.1,tcp:80
create N hash:net family inet
add N 10.1.0.0/16 timeout 0
add N 10.1.2.0/24 nomatch
create I hash:net,iface family inet
add I 10.1.0.0/16,eth0
create P bitmap:port range 0-1024
add P 80
create M hash:mac
add M 01:02:03:04:05:06
create L list:set size 8
add L N
add L M
create R hash:ip family inet
add R 10.1.0.4-10.1.0.9
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		match, dst, want string
	}{
		{"C dst,dst", "10.96.0.1:80", "drop"},
		{"C dst,dst", "10.96.0.1:81", "accept"},
		{"C dst", "10.96.0.1:80", "accept"},
		{"N dst", "10.1.3.1:80", "drop"},
		{"N dst", "10.1.2.1:80", "accept"},
		{"N src", "10.1.3.1:80", "accept"},
		{"I dst,src", "10.1.3.1:80", "drop"},
		{"P dst", "10.1.3.1:80", "drop"},
		{"P dst", "10.1.3.1:81", "accept"},
		{"M src", "10.1.3.1:80", "undetermined"},
		{"L dst", "10.1.3.1:80", "drop"},
		{"L dst", "10.3.3.1:80", "undetermined"},
		{"R dst", "10.1.0.7:80", "drop"},
		{"R dst", "10.1.0.10:80", "accept"},
		{"ABSENT dst", "10.1.0.10:80", "undetermined"},
	} {
		h := hostWith(t, tableOf("filter", "-A FORWARD -m set --match-set "+tt.match+" -j DROP"))
		h.Sets = sets
		if got := h.Evaluate(packet("203.0.113.9:40000", tt.dst)).Verdict().String(); got != tt.want {
			t.Errorf("%s to %s: %s, want %s", tt.match, tt.dst, got, tt.want)
		}
	}
	for _, bad := range []string{"add X 1.2.3.4\n", "destroy X\n"} {
		if _, err := ParseIPSet("x", []byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestOtherModesOfKubeProxyAreNamedAndNeverPass(t *testing.T) {
	nft, err := ParseNFT("nft-ruleset.json", []byte(`{"nftables":[{"metainfo":{"version":"1.0.6"}},{"table":{"family":"ip","name":"kube-proxy","handle":1}},
{"map":{"family":"ip","name":"service-ips","table":"kube-proxy","type":["ipv4_addr","inet_proto","inet_service"],"map":"verdict","elem":[
 [{"concat":["10.96.0.1","tcp",80]},{"goto":{"target":"service-ULMVA6XW-ns1/svc1/tcp/p80"}}],
 [{"elem":{"val":{"concat":["10.96.0.2","udp",53]}}},{"drop":null}]]}},
{"map":{"family":"ip","name":"service-nodeports","table":"kube-proxy","elem":[[{"concat":["tcp",30080]},{"goto":{"target":"external-X"}}]]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	ipvs, err := ParseIPVS("ipvsadm-save.txt", []byte("-A -t 10.96.0.3:80 -s rr\n-a -t 10.96.0.3:80 -r 10.1.0.5:8080 -m -w 1\n-A -f 7 -s rr\n"))
	if err != nil {
		t.Fatal(err)
	}
	h := hostWith(t, tableOf("nat"))
	h.NFT, h.IPVS, h.Node = nft, ipvs, true
	h.Names = NewNames([]ServicePort{{Namespace: "a", Name: "b", Proto: TCP, Number: 80, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.4")}}})
	for _, tt := range []struct {
		dst, says string
		proto     Proto
	}{
		{"10.96.0.1:80", "ns1/svc1/tcp/p80", TCP},
		{"10.96.0.2:53", "nftables mode", UDP},
		{"10.0.0.1:30080", "external-X", TCP},
		{"10.96.0.3:80", "10.1.0.5:8080", TCP},
		{"10.96.0.4:80", "Service a/b", TCP},
		{"10.96.0.5:80", "", TCP},
		{"10.7.0.1:30080", "", TCP},
	} {
		p := packet("203.0.113.9:40000", tt.dst)
		p.Proto = tt.proto
		r := h.Evaluate(p)
		if (r.Verdict() == Undetermined) != (tt.says != "") || !strings.Contains(r.Outcomes[0].Reason, tt.says) {
			t.Errorf("%s: %s", tt.dst, describe(r))
		}
	}
	sets, err := ParseIPSet("s", []byte("create KUBE-CLUSTER-IP hash:ip,port family inet\nadd KUBE-CLUSTER-IP 10.96.0.9,tcp:80\n"))
	if err != nil {
		t.Fatal(err)
	}
	h = hostWith(t, tableOf("nat", "-A PREROUTING -j KUBE-SERVICES", "-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT"))
	h.Sets = sets
	if r := h.Evaluate(packet("203.0.113.9:40000", "10.96.0.9:80")); r.Verdict() != Undetermined || !strings.Contains(r.Outcomes[0].Reason, "IPVS") {
		t.Errorf("%s", describe(r))
	}
}

func TestALoopbackSourceThatLeavesTheNodeIsAnAssumption(t *testing.T) {
	h := hostWith(t, tableOf("nat", "-A OUTPUT -p tcp -m tcp --dport 30080 -j DNAT --to-destination 10.1.0.5:8080", "-A OUTPUT -p tcp -m tcp --dport 30081 -j DNAT --to-destination 127.0.0.1:8081"))
	for _, tt := range []struct {
		src, dst string
		want     bool
	}{
		{"127.0.0.1:40000", "127.0.0.1:30080", true},
		{"127.0.0.1:40000", "127.0.0.1:30081", false},
		{"10.0.0.1:40000", "10.0.0.1:30080", false},
	} {
		p := packet(tt.src, tt.dst)
		p.Hook = Output
		r := h.Evaluate(p)
		if got := strings.Contains(strings.Join(r.Assumptions, "\n"), "route_localnet"); got != tt.want || r.Verdict() != Accept {
			t.Errorf("%s to %s: %s %q", tt.src, tt.dst, r.Verdict(), r.Assumptions)
		}
	}
}

func TestTextsThatAreNoSaveAreRefusedWithTheirPlace(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"something else", "hello\nworld\n", "x:1:1: this is no iptables-save"},
		{"JSON", "{}\n", "x:1:1: this is no iptables-save"},
		{"no COMMIT", "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j RET", "x:3: the text ends inside table nat"},
		{"a table inside a table", "*nat\n*filter\nCOMMIT\n", "x:2:1: table nat has no COMMIT"},
		{"the head is missing", ":FORWARD ACCEPT [0:0]\n-A FORWARD -j X\nCOMMIT\n", "x:1:1: "},
		{"a rule before any table", "-A FORWARD -j X\n*nat\nCOMMIT\n", "x:1:1: "},
		{"bytes", "*nat\n-A X\x00Y\nCOMMIT\n", "x:2:5: "},
	} {
		_, err := Parse("x", []byte(tt.text))
		var pe *ParseError
		if !errors.As(err, &pe) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	for _, ok := range []string{"", "# nothing\n", "iptables-save\nip6tables-save\n*nat\nCOMMIT\n", "*nat\nCOMMIT"} {
		if _, err := Parse("x", []byte(ok)); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
}

func TestChainsAreNamedByTheirHash(t *testing.T) {
	// The names in the article that began it all.
	p := ServicePort{Namespace: "istio-system", Name: "istio-ingressgateway", Port: "http2", Proto: TCP, Number: 80, NodePort: 31373, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.190.18")}, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("10.10.1.4:8080")}}
	if got := ChainHash(p.String(), TCP, ""); got != "G6D3V5KS3PXPUEDS" {
		t.Errorf("KUBE-SVC-%s", got)
	}
	n := NewNames([]ServicePort{p})
	for chain, want := range map[string]string{
		"KUBE-SVC-G6D3V5KS3PXPUEDS": "endpoints of Service istio-system/istio-ingressgateway:http2",
		"KUBE-EXT-G6D3V5KS3PXPUEDS": "traffic from outside to Service istio-system/istio-ingressgateway:http2",
		"KUBE-SEP-LAV34IONK7IOT5SV": "endpoint 10.10.1.4:8080 of Service istio-system/istio-ingressgateway:http2",
		"KUBE-SEP-UNKNOWN":          "", "KUBE-SVC-UNKNOWN": "", "cali-fw-cali12": "Calico, from Pod interface cali12", "ISTIO_OUTPUT": "outbound capture", "WHAT": "",
	} {
		if got := n.Explain(chain); got != want {
			t.Errorf("%s: %q, want %q", chain, got, want)
		}
	}
	var none *Names
	if none.Explain("KUBE-NODEPORTS") != "NodePorts" || none.Explain("KUBE-SVC-G6D3V5KS3PXPUEDS") != "" {
		t.Error("without names")
	}
}

func TestRulesAndEndpointsAreCompared(t *testing.T) {
	p := scalePort(3, 3)
	h := &Host{}
	var err error
	if h.V4, err = Parse("x", kubeProxySave(5, 3)); err != nil {
		t.Fatal(err)
	}
	if d := h.Disagreements([]ServicePort{p}); d != nil {
		t.Errorf("%+v", d)
	}
	moved := netip.MustParseAddrPort("10.77.0.1:8080")
	stale := p.Endpoints[1]
	p.Endpoints[1] = moved
	d := h.Disagreements([]ServicePort{p})
	if len(d) != 2 || !d[0].Stale || d[0].Endpoint != stale || d[0].Rule == nil || d[1].Stale || d[1].Endpoint != moved {
		t.Errorf("%+v", d)
	}
}

func TestRefusalsAreToldApart(t *testing.T) {
	for _, tt := range []struct {
		rules string
		cause Cause
		owner string
	}{
		{tableOf("filter", "-A FORWARD -j KUBE-SERVICES", `-A KUBE-SERVICES -d 10.1.0.5/32 -j REJECT --reject-with icmp-port-unreachable`), NoEndpoints, "kube-proxy"},
		{tableOf("filter", "-A FORWARD -j KUBE-EXTERNAL-SERVICES", "-A KUBE-EXTERNAL-SERVICES -d 10.1.0.5/32 -j DROP"), NoLocalEndpoints, "kube-proxy"},
		{tableOf("filter", "-A FORWARD -j KUBE-PROXY-FIREWALL", "-A KUBE-PROXY-FIREWALL -d 10.1.0.5/32 -j DROP"), SourceRanges, "kube-proxy"},
		{tableOf("filter", "-A FORWARD -j cali-tw-x", "-A cali-tw-x -j DROP"), OtherOwner, "Calico"},
		{tableOf("filter", "-A FORWARD -j DROP"), OtherOwner, ""},
		{"*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", OtherOwner, ""},
	} {
		o := hostWith(t, tt.rules).Evaluate(packet("203.0.113.9:40000", "10.1.0.5:80")).Outcomes[0]
		if o.Cause != tt.cause || o.Owner != tt.owner {
			t.Errorf("%s: %q by %q", tt.rules, o.Cause, o.Owner)
		}
	}
}

func TestAVeryWideChoiceIsSummedUp(t *testing.T) {
	rs, err := Parse("wide", wideSave(100_000))
	if err != nil {
		t.Fatal(err)
	}
	r := (&Host{V4: rs}).Evaluate(toCluster)
	addProbabilities(t, r)
	last := r.Outcomes[len(r.Outcomes)-1]
	if len(r.Outcomes) > maxOutcomes+4 || last.More < 90_000 || last.Verdict != Accept || math.Abs(last.Probability-float64(last.More)/100_000) > 1e-6 {
		t.Errorf("%d outcomes, the last %+v", len(r.Outcomes), last)
	}
	if r.Verdict() != Accept {
		t.Errorf("%v", r.Verdict())
	}
}

func TestManyUnknownsEnd(t *testing.T) {
	var rules []string
	for i := range 2000 {
		rules = append(rules, fmt.Sprintf(`-A FORWARD -m u32 --u32 "%d=1" -m statistic --mode random --probability 0.5 -j MARK --set-xmark %d/0xffff`, i, i))
	}
	r := hostWith(t, tableOf("filter", rules...)).Evaluate(packet("203.0.113.9:40000", "10.1.0.5:80"))
	addProbabilities(t, r)
}

func TestOneHostServesManyAtOnce(t *testing.T) {
	rs, err := Parse("x", kubeProxySave(200, 3))
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{V4: rs, Names: NewNames([]ServicePort{scalePort(1, 3)})}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				p := toCluster
				p.Dst = scaleDst((i*7 + g) % 200)
				if r := h.Evaluate(p); len(r.Outcomes) != 3 {
					t.Errorf("%s", describe(r))
				}
			}
		})
	}
	wg.Wait()
}

// TestEveryWorldsRulesAreUnderstood reads all rules of the worlds the program
// carries.
func TestEveryWorldsRulesAreUnderstood(t *testing.T) {
	files, err := filepath.Glob("../testdata/worlds/*/*.tar.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no worlds: %v", err)
	}
	saves := 0
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(z); ; {
			head, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			base := filepath.Base(head.Name)
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			switch base {
			case "ip-addr.json":
				_, err = ParseIPAddr(head.Name, text)
			case "conntrack.txt":
				_, err = ParseConntrack(head.Name, text)
			case "iptables-save.txt", "iptables-legacy-save.txt":
				saves++
				var rs *Ruleset
				if rs, err = Parse(head.Name, text); err == nil {
					understood(t, rs)
				}
			}
			if err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		f.Close()
	}
	if saves < 100 {
		t.Errorf("only %d saves", saves)
	}
}

func understood(t *testing.T, rs *Ruleset) {
	t.Helper()
	for _, table := range rs.tables() {
		if len(table.strange) > 0 {
			t.Errorf("%s: table %s: %q", rs.name, table.name, rs.text(table.strange[0]))
		}
		for i := range table.chains {
			b := rs.body(table, &table.chains[i])
			for k := range b.rules {
				r := b.rule(k)
				if !r.understood() {
					t.Errorf("%s:%d: not understood: %s", rs.name, r.line, r.text)
				}
			}
		}
	}
}
