package iptables

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
)

var nfacct = regexp.MustCompile(` -m nfacct --nfacct-name +\S+`)

// TestTheKernelAgreesOnTheCorpora sends the packets of both corpora through this
// machine's kernel, once with each backend.
func TestTheKernelAgreesOnTheCorpora(t *testing.T) {
	type packet struct {
		Ruleset, Name, Src, Dst, Proto, From string
		PodIP                                netip.Addr   `json:"pod_ip"`
		NodeIPs                              []netip.Addr `json:"node_ips"`
		UID, GID                             *uint32
		DPort                                uint16
		KernelPaths                          []struct{ From string } `json:"kernel_paths"`
	}
	for _, corpus := range []string{"kube-proxy", "istio"} {
		for _, backend := range []string{"nft", "legacy"} {
			t.Run(corpus+"/"+backend, func(t *testing.T) {
				j := newJudge(t)
				if corpus == "istio" {
					j.do(func() error {
						for _, family := range []string{"-4", "-6"} {
							if _, err := command("", "ip", family, "rule", "add", "fwmark", "0x539", "lookup", "133"); err != nil {
								return err
							}
						}
						_, err := command("create istio-inpod-probes-v4 hash:ip\ncreate istio-inpod-probes-v6 hash:ip family inet6\n", "ipset", "restore")
						return err
					})
					j.listen(15006)
				}
				own := map[netip.Addr]bool{}
				addAddr := func(a netip.Addr) {
					if !own[a] && !a.IsLoopback() {
						own[a] = true
						j.do(func() error {
							if _, err := command("", "ip", "addr", "add", netip.PrefixFrom(a, a.BitLen()).String(), "dev", "eth0"); err != nil {
								return err
							}
							return j.readState()
						})
					}
				}
				rules := map[string]*Ruleset{}
				last := ""
				packets := readJSONL[packet](t, corpus+"/packets.jsonl.gz")
				for i, p := range packets {
					if corpus == "istio" && testing.Short() && i%8 != 0 {
						continue
					}
					six := strings.Contains(p.Ruleset, ".ipv6.")
					for _, a := range p.NodeIPs {
						if a.Is6() == six {
							addAddr(a)
						}
					}
					if p.PodIP.IsValid() {
						addAddr(p.PodIP)
					}
					if p.Ruleset != last {
						text, err := os.ReadFile(data + corpus + "/" + p.Ruleset)
						if err != nil {
							t.Fatal(err)
						}
						if err := j.load(backend, six, nfacct.ReplaceAllString(string(text), "")); err != nil {
							t.Fatalf("%s: %v", p.Ruleset, err)
						}
						last = p.Ruleset
						saved := j.saved(backend, six)
						if rules[last], err = Parse(last, []byte(saved)); err != nil {
							t.Fatal(err)
						}
					}
					h := j.host
					h.Sets, _ = ParseIPSet("ipset", []byte("create istio-inpod-probes-v4 hash:ip family inet\n"))
					if six {
						h.V6 = rules[last]
					} else {
						h.V4 = rules[last]
					}
					proto, _ := ParseProto(p.Proto)
					k := Packet{Hook: Output, Proto: proto, UID: p.UID, GID: p.GID, Src: netip.AddrPortFrom(netip.MustParseAddr(p.Src), uint16(33000+i)), Dst: netip.AddrPortFrom(netip.MustParseAddr(p.Dst), p.DPort)}
					fromHere := strings.HasPrefix(p.From, "process")
					for _, kp := range p.KernelPaths {
						fromHere = strings.HasPrefix(kp.From, "node")
					}
					if !fromHere {
						k.Hook, k.In, k.UID, k.GID = Prerouting, "eth0", nil, nil
					} else if k.UID == nil {
						zero := uint32(0)
						k.UID, k.GID = &zero, &zero
					}
					if k.Src.Addr().IsLoopback() && !fromHere {
						continue // the kernel drops it as a martian before any rule
					}
					if strings.HasPrefix(p.Src, "::") && p.Src != "::1" {
						continue
					}
					r := h.Evaluate(k)
					got, err := j.send(backend, k, 0)
					if err != nil {
						t.Fatalf("%s %+v: %v", p.Name, k, err)
					}
					if c, decided := agree(got, r, k); c != "" || !decided {
						t.Errorf("%s %s %v -> %v: %s\nkernel: %v\nours:\n%s", p.Ruleset, p.Name, k.Src, k.Dst, c, got, describe(r))
					}
				}
			})
		}
	}
}
