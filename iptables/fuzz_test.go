package iptables

import (
	"net/netip"
	"strings"
	"testing"
)

func addSaves(f *testing.F) {
	f.Add([]byte("*nat\n:PREROUTING ACCEPT [0:0]\n:A - [0:0]\n-A PREROUTING -d 10.0.0.1/32 -p tcp -m tcp --dport 80 -j A\n-A A -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.1.0.1:80-90\n-A A -g A\nCOMMIT\n"))
	f.Add([]byte("*filter\n:FORWARD DROP [1:2]\n[1:2] -A FORWARD -m comment --comment \"a \\\"b\\\"\" -m u32 --u32 \"0=1\" -j REJECT --reject-with tcp-reset\nwhat\nCOMMIT\n*filter\nCOMMIT\n"))
	f.Add([]byte("* mangle\r\n-N A\r\n-P FORWARD DROP\r\n-I FORWARD 1 -j A\r\n-A A -m set ! --match-set X src,dst -j TPROXY --on-port 1\r\nCOMMIT\r\n"))
	f.Add([]byte(kubeProxySave(2, 2)))
	for _, dir := range []string{"kube-proxy/rulesets/0a39cceb84d7.ipv4.save-legacy.txt", "istio/rulesets/sidecar-tproxy.ipv4.save-legacy.txt"} {
		rs := parseFile(f, data+dir)
		f.Add(rs.data)
	}
}

// FuzzParseSave: any text is an error with a place or a ruleset whose rules print
// as something that reads the same.
func FuzzParseSave(f *testing.F) {
	addSaves(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<16 {
			return
		}
		rs, err := Parse("fuzz", text)
		if err != nil {
			return
		}
		for _, tb := range rs.tables() {
			for i := range tb.chains {
				b := rs.body(tb, &tb.chains[i])
				for k := range b.rules {
					stable(t, b.rule(k))
				}
			}
		}
	})
}

// FuzzRule: print after parse is stable.
func FuzzRule(f *testing.F) {
	for _, s := range []string{
		"! -s 10.0.0.0/8 -d 172.30.0.41/32 -p tcp -m comment --comment \"ns1/svc1:p80 cluster IP\" -m tcp --dport 80 -j RETURN",
		"-m recent --rcheck --seconds 10800 --reap --name X --mask 255.255.255.255 --rsource -j X",
		"-m multiport ! --dports 53,15008 -m owner ! --uid-owner 1337 -j SNAT --to-source [2001:db8::1]:80 --random-fully",
		"-m conntrack ! --ctstate NEW,DNAT --ctorigdst 1.2.3.4 -j CONNMARK --set-xmark 0x1/0xff",
		"-j NFLOG --nflog-prefix \"DRE|default\" --nflog-group 1 -m limit --limit 10/min", "-m hashlimit --hashlimit-above 10/sec --hashlimit-name a -m time --timestart 08:00",
		"-p 4 -f ! -i lo+ -m set ! --match-set A dst,dst,src -m addrtype ! --src-type LOCAL,UNICAST --limit-iface-in -g X", "-m u32 --u32 \"0>>22&0x3C@12>>8=0x1000\" -j TTL --ttl-set 3",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 4096 || strings.ContainsAny(s, "\n\r\x00") {
			return
		}
		stable(t, parseRule("-A X "+s))
	})
}

func stable(t *testing.T, r *rule) {
	t.Helper()
	if !r.understood() {
		return // printed as it stands
	}
	once := r.String()
	again := parseRule("-A X " + once)
	if !again.understood() {
		t.Fatalf("%q\nprints as %q\nwhich is not understood: %s", r.text, once, again.broken)
	}
	if twice := again.String(); twice != once {
		t.Fatalf("%q\nprints as %q\nthen as   %q", r.text, once, twice)
	}
}

// FuzzEvaluate: every walk ends, its probabilities add up to 1, and an
// undetermined outcome has a reason.
func FuzzEvaluate(f *testing.F) {
	for _, b := range [][]byte{
		[]byte("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j A\n-A A -m u32 --u32 \"0=1\" -j B\n-A B -m statistic --mode nth --every 3 --packet 0 -j A\nCOMMIT\n"),
		kubeProxySave(2, 3),
		[]byte("*nat\n-A PREROUTING -p tcp -j DNAT --to-destination 10.1.0.1-10.1.0.9:1-9 --random\n-A OUTPUT -j REDIRECT --to-ports 1\nCOMMIT\n*raw\n-A PREROUTING -j CT --notrack\nCOMMIT\n"),
	} {
		f.Add(b, []byte{10, 0, 0, 1, 10, 128, 0, 1}, uint16(80), uint8(6), true)
		f.Add(b, []byte{192, 168, 0, 2, 192, 168, 0, 2}, uint16(20000), uint8(17), false)
	}
	f.Fuzz(func(t *testing.T, text, addrs []byte, port uint16, proto uint8, out bool) {
		if len(text) > 1<<14 || len(addrs) != 8 && len(addrs) != 32 {
			return
		}
		rs, err := Parse("fuzz", text)
		if err != nil {
			return
		}
		src, _ := netip.AddrFromSlice(addrs[:len(addrs)/2])
		dst, _ := netip.AddrFromSlice(addrs[len(addrs)/2:])
		p := Packet{Src: netip.AddrPortFrom(src, 0), Dst: netip.AddrPortFrom(dst, port), Proto: Proto(proto)}
		if out {
			p.Hook = Output
		}
		h := &Host{V4: rs, V6: rs}
		if port%2 == 0 {
			h.LocalAddresses = []netip.Addr{dst}
		}
		if port%3 == 0 {
			h.V4Legacy = rs
		}
		r := h.Evaluate(p)
		addProbabilities(t, r)
		for _, o := range r.Outcomes {
			if o.Reason == "" {
				t.Fatalf("no reason: %+v", o)
			}
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add([]byte("create A hash:ip,port family inet\nadd A 10.0.0.1-10.0.0.9,tcp:80\n"))
	f.Add([]byte("udp 17 29 src=1.2.3.4 dst=5.6.7.8 sport=1 dport=2 [UNREPLIED] src=5.6.7.8 dst=1.2.3.4 sport=2 dport=1 mark=0 use=1\n"))
	f.Add([]byte("-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m\n"))
	f.Add([]byte(`[{"ifname":"lo","addr_info":[{"local":"127.0.0.1","prefixlen":8}]},{"dst":"default","gateway":"10.0.0.1","dev":"eth0"}]`))
	f.Add([]byte(`{"nftables":[{"map":{"table":"kube-proxy","elem":[[{"concat":["10.0.0.1","tcp",80]},{"goto":{"target":"x"}}]]}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		sets, _ := ParseIPSet("x", text)
		ct, _ := ParseConntrack("x", text)
		addrs, _ := ParseIPAddr("x", text)
		routes, _ := ParseIPRoute("x", text)
		nft, _ := ParseNFT("x", text)
		ipvs, _ := ParseIPVS("x", text)
		rs, err := Parse("x", []byte("*filter\n-A FORWARD -m set --match-set A src,dst,src -j DROP\nCOMMIT\n"))
		if err != nil {
			t.Fatal(err)
		}
		h := &Host{V4: rs, V6: rs, Sets: sets, Conntrack: ct, Addrs: addrs, Routes: routes, NFT: nft, IPVS: ipvs}
		addProbabilities(t, h.Evaluate(packet("1.2.3.4:1", "5.6.7.8:2")))
	})
}
