package iptables

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// NFTables is what `nft -j list ruleset` tells about kube-proxy's nftables mode.
// Its rules are recognised, not evaluated.
type NFTables struct {
	// KubeProxy says that a table of kube-proxy is loaded, of either family.
	KubeProxy bool
	// Services maps each address, port and protocol that kube-proxy handles to
	// the chain it goes to (service-HASH-ns/name/proto/port).
	Services  map[ServiceAddr]string
	NodePorts map[ServiceAddr]string // with an unset address
}

// ServiceAddr is an address, port and protocol that a Service is reached by.
type ServiceAddr struct {
	Proto Proto
	Addr  netip.AddrPort
}

// ParseNFT reads the text of `nft -j list ruleset`. The error is a [*ParseError].
func ParseNFT(name string, data []byte) (*NFTables, error) {
	var doc struct {
		NFTables []struct {
			Table *struct {
				Family string `json:"family"`
				Name   string `json:"name"`
			} `json:"table"`
			Map *struct {
				Table string            `json:"table"`
				Name  string            `json:"name"`
				Elem  []json.RawMessage `json:"elem"`
			} `json:"map"`
		} `json:"nftables"`
	}
	if err := decode(name, data, &doc, "nft -j list ruleset"); err != nil {
		return nil, err
	}
	n := &NFTables{Services: map[ServiceAddr]string{}, NodePorts: map[ServiceAddr]string{}}
	for _, o := range doc.NFTables {
		if o.Table != nil && o.Table.Name == "kube-proxy" {
			n.KubeProxy = true
		}
		if o.Map == nil || o.Map.Table != "kube-proxy" {
			continue
		}
		n.KubeProxy = true
		for _, raw := range o.Map.Elem {
			n.element(raw)
		}
	}
	return n, nil
}

// element reads one member of a verdict map: [{"concat":[ADDRESS,PROTO,PORT]},{"goto":{"target":CHAIN}}].
func (n *NFTables) element(raw json.RawMessage) {
	var pair []json.RawMessage
	if json.Unmarshal(raw, &pair) != nil || len(pair) != 2 {
		return
	}
	var key struct {
		Concat []any `json:"concat"`
		Elem   struct {
			Val struct {
				Concat []any `json:"concat"`
			} `json:"val"`
		} `json:"elem"`
	}
	if json.Unmarshal(pair[0], &key) != nil {
		return
	}
	parts := key.Concat
	if parts == nil {
		parts = key.Elem.Val.Concat
	}
	var verdict map[string]*struct {
		Target string `json:"target"`
	}
	_ = json.Unmarshal(pair[1], &verdict) // "drop" and "reject" have no target
	chain := ""
	for _, v := range verdict {
		if v != nil {
			chain = v.Target
		}
	}
	if len(parts) < 2 || len(parts) > 3 {
		return
	}
	var a netip.Addr
	if len(parts) == 3 {
		s, _ := parts[0].(string)
		var err error
		if a, err = netip.ParseAddr(s); err != nil {
			return
		}
		parts = parts[1:]
	}
	proto, err := ParseProto(fmt.Sprint(parts[0]))
	port, err2 := strconv.ParseUint(fmt.Sprint(parts[1]), 10, 16)
	if err != nil || err2 != nil {
		return
	}
	if a.IsValid() {
		n.Services[ServiceAddr{proto, netip.AddrPortFrom(a, uint16(port))}] = chain
	} else {
		n.NodePorts[ServiceAddr{proto, netip.AddrPortFrom(netip.Addr{}, uint16(port))}] = chain
	}
}

// IPVS is the virtual servers of the kernel.
type IPVS struct{ Servers []VirtualServer }

// VirtualServer is one virtual service and its real servers.
type VirtualServer struct {
	Proto Proto
	Addr  netip.AddrPort
	FWM   uint32 // a service by firewall mark; Addr is then unset
	Real  []netip.AddrPort
}

// ParseIPVS reads the text of `ipvsadm-save -n`. The error is a [*ParseError].
func ParseIPVS(name string, data []byte) (*IPVS, error) {
	v := &IPVS{}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		w := strings.Fields(line)
		if len(w) == 0 || strings.HasPrefix(w[0], "#") {
			continue
		}
		var s VirtualServer
		var real netip.AddrPort
		ok := w[0] == "-A" || w[0] == "-a"
		for i := 1; i+1 < len(w) && ok; i++ {
			var err error
			switch w[i] {
			case "-t", "-u", "--sctp-service":
				s.Proto = map[string]Proto{"-t": TCP, "-u": UDP, "--sctp-service": SCTP}[w[i]]
				s.Addr, err = netip.ParseAddrPort(w[i+1])
			case "-f":
				m, e := strconv.ParseUint(w[i+1], 10, 32)
				s.FWM, err = uint32(m), e
			case "-r":
				real, err = netip.ParseAddrPort(w[i+1])
			default:
				continue
			}
			ok = err == nil
			i++
		}
		if !ok {
			return nil, &ParseError{File: name, Line: n, Msg: "is not a line of ipvsadm-save -n: " + quoteShort(strings.TrimSpace(line))}
		}
		if w[0] == "-A" {
			v.Servers = append(v.Servers, s)
			continue
		}
		i := slices.IndexFunc(v.Servers, func(o VirtualServer) bool { return o.Proto == s.Proto && o.Addr == s.Addr && o.FWM == s.FWM })
		if i < 0 {
			return nil, &ParseError{File: name, Line: n, Msg: "adds a real server to a virtual one that is not there"}
		}
		v.Servers[i].Real = append(v.Servers[i].Real, real)
	}
	return v, nil
}

// otherMode says whether kube-proxy's nftables or IPVS mode handles the packet,
// which this package recognises and does not evaluate.
func (h *Host) otherMode(p Packet) string {
	if n := h.NFT; n != nil && n.KubeProxy {
		chain, ok := n.Services[ServiceAddr{p.Proto, p.Dst}]
		if !ok {
			if c, np := n.NodePorts[ServiceAddr{p.Proto, netip.AddrPortFrom(netip.Addr{}, p.Dst.Port())}]; np && h.couldBeLocal(p.Dst.Addr()) {
				chain, ok = c, true
			}
		}
		if ok {
			s := "kube-proxy runs in nftables mode here and handles " + p.Dst.String() + "/" + p.Proto.String()
			if chain != "" {
				s += " in chain " + strconv.Quote(chain)
			}
			return s + ": its nftables rules are not evaluated"
		}
	}
	if v := h.IPVS; v != nil {
		for _, s := range v.Servers {
			if s.Proto == p.Proto && s.Addr == p.Dst {
				var to []string
				for _, r := range s.Real {
					to = append(to, r.String())
				}
				where := "no real server"
				if len(to) > 0 {
					where = "the real servers " + strings.Join(to, ", ")
				}
				return "IPVS (kube-proxy's ipvs mode) handles " + p.Dst.String() + "/" + p.Proto.String() + " and sends it to " + where + ": its choice is not evaluated"
			}
		}
	}
	return ""
}

// couldBeLocal says whether an address is, or is not known not to be, local.
func (h *Host) couldBeLocal(a netip.Addr) bool {
	if a.IsLoopback() || len(h.Addrs) == 0 && len(h.LocalAddresses) == 0 {
		return true
	}
	return slices.Contains(h.LocalAddresses, a) || slices.ContainsFunc(h.Addrs, func(i InterfaceAddr) bool { return i.Prefix.Addr() == a })
}

// ipvsSets are the sets by which kube-proxy's ipvs mode recognises Services.
var ipvsSets = []string{"KUBE-CLUSTER-IP", "KUBE-LOAD-BALANCER", "KUBE-EXTERNAL-IP", "KUBE-EXTERNAL-IP-LOCAL", "KUBE-NODE-PORT-TCP", "KUBE-NODE-PORT-UDP", "KUBE-NODE-PORT-SCTP-HASH"}

// notProxied says why a packet that no rule translated cannot be called
// accepted: a Service's address that something other than these rules handles.
func (h *Host) notProxied(w *walk, l *leaf) string {
	for n := l.path; n != nil; n = n.prev {
		if !strings.HasPrefix(n.body.name, "KUBE-") {
			continue
		}
		for _, m := range n.body.rule(n.rule).matches {
			if s, ok := m.(*setMatch); ok && !s.not && slices.Contains(ipvsSets, s.set) {
				return "kube-proxy runs in IPVS mode here (set " + s.set + "): which real server gets the packet is in ipvsadm-save, not in these rules"
			}
		}
	}
	if !h.Node || h.Names == nil {
		return ""
	}
	svc := h.Names.at(w.p.Proto, w.p.Dst)
	if svc == "" && h.couldBeLocal(w.p.Dst.Addr()) {
		svc = h.Names.at(w.p.Proto, netip.AddrPortFrom(netip.Addr{}, w.p.Dst.Port())) // a NodePort
	}
	if svc == "" {
		return ""
	}
	for _, rs := range w.layers {
		if rs.HasChain("nat", "KUBE-SERVICES") {
			return ""
		}
	}
	return w.p.Dst.String() + " is Service " + svc + "'s, and this node holds no rules of kube-proxy's iptables mode: something else translates it (nftables or IPVS mode, eBPF as with Cilium; not evaluated), or kube-proxy has not run there"
}

// Backend is one of the two rule stores of a kernel, for one family.
type Backend struct {
	Name      string // nft or legacy
	Family    int    // 4 or 6
	KubeProxy bool   // holds KUBE-SVC chains
	Rules     int
}

// Backends lists the backends that hold rules. Two of one family that both hold
// kube-proxy's chains are fault HT2003.
func (h *Host) Backends() []Backend {
	var out []Backend
	for _, b := range []struct {
		rs     *Ruleset
		name   string
		family int
	}{{h.V4, "nft", 4}, {h.V4Legacy, "legacy", 4}, {h.V6, "nft", 6}, {h.V6Legacy, "legacy", 6}} {
		if b.rs.Empty() {
			continue
		}
		_, _, rules := b.rs.Counts()
		out = append(out, Backend{Name: b.name, Family: b.family, KubeProxy: b.rs.holdsPrefix("nat", "KUBE-SVC-"), Rules: rules})
	}
	return out
}

func (rs *Ruleset) holdsPrefix(table, prefix string) bool {
	t := rs.table(table)
	if t == nil {
		return false
	}
	for i := range t.chains {
		if strings.HasPrefix(string(rs.text(t.chains[i].name)), prefix) {
			return true
		}
	}
	return false
}
