package iptables

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const data = "../testdata/iptables/"

func readJSONL[T any](t testing.TB, file string) []T {
	t.Helper()
	f, err := os.Open(data + file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []T
	s := bufio.NewScanner(z)
	s.Buffer(nil, 1<<22)
	for s.Scan() {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func parseFile(t testing.TB, file string) *Ruleset {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := Parse(filepath.Base(file), b)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// ref is [table, chain, rule] as the corpora write it.
type ref struct {
	table, chain string
	rule         int
}

func (r *ref) UnmarshalJSON(b []byte) error {
	var a []any
	if err := json.Unmarshal(b, &a); err != nil {
		return err
	}
	r.table, r.chain, r.rule = a[0].(string), a[1].(string), int(a[2].(float64))
	return nil
}

func refs(path []Step) []ref {
	out := []ref{}
	for _, s := range path {
		out = append(out, ref{s.Table, s.Chain, s.Rule})
	}
	return out
}

func describe(r Result) string {
	var b strings.Builder
	for _, o := range r.Outcomes {
		fmt.Fprintf(&b, "  %.4f %s %v\n", o.Probability, o.Reason, refs(o.Path))
	}
	for _, a := range r.Assumptions {
		fmt.Fprintf(&b, "  assumed: %s\n", a)
	}
	return b.String()
}

func hostOf(t testing.TB, cache map[string]*Ruleset, file, family string) *Host {
	rs := cache[file]
	if rs == nil {
		rs = parseFile(t, data+file)
		cache[file] = rs
	}
	if family == "ipv6" {
		return &Host{V6: rs}
	}
	return &Host{V4: rs}
}

func addProbabilities(t *testing.T, r Result) {
	t.Helper()
	sum := 0.0
	for _, o := range r.Outcomes {
		sum += o.Probability
	}
	if sum < 1-1e-9 || sum > 1+1e-9 {
		t.Errorf("the probabilities add up to %v", sum)
	}
}

// TestKubeProxyPacketsAgreeWithTheKernel replays the packets of kube-proxy's own
// tests. Every path the kernel took is one of ours, and ours are no more.
func TestKubeProxyPacketsAgreeWithTheKernel(t *testing.T) {
	type packet struct {
		Case, Name, Ruleset, Family, Src, Dst, Proto string
		NodeIPs                                      []netip.Addr `json:"node_ips"`
		DPort                                        uint16
		Want                                         struct {
			Endpoints []string
			Verdict   string
			Masq      bool
		}
		KernelPaths []struct {
			Endpoint, Verdict, From, In, Out string
			Masq                             bool
			Path                             []ref
		} `json:"kernel_paths"`
	}
	cache := map[string]*Ruleset{}
	packets := readJSONL[packet](t, "kube-proxy/packets.jsonl.gz")
	if len(packets) != 135 {
		t.Fatalf("%d packets", len(packets))
	}
	paths := 0
	for _, p := range packets {
		t.Run(p.Case+"/"+p.Name, func(t *testing.T) {
			h := hostOf(t, cache, "kube-proxy/"+p.Ruleset, p.Family)
			h.LocalAddresses = p.NodeIPs
			proto, err := ParseProto(p.Proto)
			if err != nil {
				t.Fatal(err)
			}
			type start struct{ hook, in string }
			met := map[start]Result{}
			for _, k := range p.KernelPaths {
				s := start{"PREROUTING", k.In}
				if strings.HasPrefix(k.From, "node") {
					s = start{"OUTPUT", ""}
				}
				r, ok := met[s]
				if !ok {
					r = h.Evaluate(Packet{
						Hook: Hook(s.hook), In: s.in, Proto: proto,
						Src: netip.AddrPortFrom(netip.MustParseAddr(p.Src), 40000), Dst: netip.AddrPortFrom(netip.MustParseAddr(p.Dst), p.DPort),
					})
					met[s] = r
					addProbabilities(t, r)
				}
				paths++
				i := slices.IndexFunc(r.Outcomes, func(o Outcome) bool { return slices.Equal(refs(o.Path), k.Path) })
				if i < 0 {
					t.Errorf("the kernel's path from %s (%s) is none of ours:\n  %v\n%s", k.From, k.In, k.Path, describe(r))
					continue
				}
				o := r.Outcomes[i]
				verdict := map[string]Verdict{"": Accept, "ACCEPT": Accept, "DROP": Drop, "REJECT": Reject}[k.Verdict]
				if o.Verdict != verdict || o.Masquerade != k.Masq || k.Endpoint != "" && (o.Dst.String() != k.Endpoint || !o.DNAT) {
					t.Errorf("got %v %v dnat %v masq %v, the kernel %+v", o.Verdict, o.Dst, o.DNAT, o.Masquerade, k)
				}
			}
			for s, r := range met {
				if n := len(slices.DeleteFunc(slices.Clone(p.KernelPaths), func(k struct {
					Endpoint, Verdict, From, In, Out string
					Masq                             bool
					Path                             []ref
				},
				) bool {
					return strings.HasPrefix(k.From, "node") != (s.hook == "OUTPUT") || s.hook == "PREROUTING" && k.In != s.in
				})); n != len(r.Outcomes) {
					t.Errorf("from %v: %d outcomes, the kernel took %d paths\n%s", s, len(r.Outcomes), n, describe(r))
				}
				var ends []string
				for _, o := range r.Outcomes {
					if o.DNAT {
						ends = append(ends, o.Dst.String())
					}
					if o.Masquerade != p.Want.Masq && len(p.Want.Endpoints) > 0 {
						t.Errorf("masquerade %v", o.Masquerade)
					}
				}
				slices.Sort(ends)
				if want := slices.Sorted(slices.Values(p.Want.Endpoints)); !slices.Equal(ends, want) {
					t.Errorf("endpoints %v, Kubernetes expects %v", ends, want)
				}
			}
		})
	}
	if paths != 223 {
		t.Errorf("compared %d paths", paths)
	}
}

// TestIstioPacketsAgreeWithTheKernel replays packets through what istio-iptables
// writes for sidecars and ambient Pods.
func TestIstioPacketsAgreeWithTheKernel(t *testing.T) {
	type packet struct {
		Ruleset, Name, From, Src, Dst, Proto string
		PodIP                                netip.Addr `json:"pod_ip"`
		UID, GID                             *uint32
		DPort                                uint16
		Kernel                               struct {
			Path         []ref
			Target       string
			RedirectedTo string `json:"redirected_to"`
			Verdict      string
		}
	}
	cache := map[string]*Ruleset{}
	packets := readJSONL[packet](t, "istio/packets.jsonl.gz")
	if len(packets) != 992 {
		t.Fatalf("%d packets", len(packets))
	}
	for _, p := range packets {
		t.Run(fmt.Sprintf("%s/%s/%s:%d", filepath.Base(p.Ruleset), p.Name, p.Dst, p.DPort), func(t *testing.T) {
			family := "ipv4"
			if strings.Contains(p.Ruleset, ".ipv6.save") {
				family = "ipv6"
			}
			h := hostOf(t, cache, "istio/"+p.Ruleset, family)
			h.LocalAddresses = []netip.Addr{p.PodIP}
			proto, _ := ParseProto(p.Proto)
			pk := Packet{Hook: Output, Proto: proto, UID: p.UID, GID: p.GID, Src: netip.AddrPortFrom(netip.MustParseAddr(p.Src), 40000), Dst: netip.AddrPortFrom(netip.MustParseAddr(p.Dst), p.DPort)}
			if strings.HasPrefix(p.From, "outside") {
				pk.Hook, pk.In = Prerouting, "eth0"
			} else {
				pk.Out = "eth0"
			}
			r := h.Evaluate(pk)
			if len(r.Outcomes) != 1 {
				t.Fatalf("%d outcomes\n%s", len(r.Outcomes), describe(r))
			}
			o := r.Outcomes[0]
			if !slices.Equal(refs(o.Path), p.Kernel.Path) {
				t.Errorf("kernel %v\n%s", p.Kernel.Path, describe(r))
			}
			switch p.Kernel.Target {
			case "REDIRECT":
				if o.Dst.String() != p.Kernel.RedirectedTo || o.Redirect != o.Dst.Port() {
					t.Errorf("redirected to %v, the kernel to %s", o.Dst, p.Kernel.RedirectedTo)
				}
			case "TPROXY":
				if o.TProxy == nil || o.TProxy.Port() != 15006 || o.Dst != pk.Dst {
					t.Errorf("tproxy %v", o.TProxy)
				}
			default:
				if o.DNAT || o.TProxy != nil {
					t.Errorf("changed to %v", o.Dst)
				}
			}
			if o.Verdict != Accept {
				t.Errorf("%v: %s", o.Verdict, o.Reason)
			}
		})
	}
}
