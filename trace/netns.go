package trace

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/hoptrail/hoptrail/iptables"
)

const (
	saveV4   = "iptables-save.txt"
	saveV6   = "ip6tables-save.txt"
	legacyV4 = "iptables-legacy-save.txt"
	legacyV6 = "ip6tables-legacy-save.txt"
	ipAddr   = "ip-addr.json"
)

// netns is one network namespace, a node's or a Pod's, as it was read.
type netns struct {
	area            Area
	namespace, name string
	host            iptables.Host
	notRead         *NotReadError // of the rules
	conntrack       []byte
}

func (n *netns) query(file string) Query {
	return Query{Area: n.area, Namespace: n.namespace, Name: n.name, File: file}
}

// nodeNet reads what is known of a node's network once.
func (w *walker) nodeNet(name string, six bool) *netns {
	key := name
	if six {
		key += "|6"
	}
	if n, ok := w.nodes[key]; ok {
		return n
	}
	n := &netns{area: AreaNode, name: name}
	n.host.Node = true
	w.nodes[key] = n
	w.readRules(n, six, false)
	if w.err != nil || n.notRead != nil {
		return n
	}
	w.parse(n, ipAddr, true, func(q string, data []byte) (err error) {
		n.host.Addrs, err = iptables.ParseIPAddr(q, data)
		return err
	})
	w.parse(n, "ip-route.json", true, func(q string, data []byte) (err error) {
		n.host.Routes, err = iptables.ParseIPRoute(q, data)
		return err
	})
	w.parse(n, "conntrack.txt", true, func(q string, data []byte) (err error) {
		n.conntrack = data
		n.host.Conntrack, err = iptables.ParseConntrack(q, data)
		return err
	})
	node, err := w.cluster.Node(w.ctx, name)
	w.refused(err)
	if node != nil {
		for _, a := range node.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil {
				n.host.LocalAddresses = append(n.host.LocalAddresses, ip.Unmap())
			}
		}
	}
	return n
}

// podNet reads a Pod's own rules once.
func (w *walker) podNet(p *pod, six, optional bool) *netns {
	ref := p.ref
	if six {
		ref.name += "|6"
	}
	if n, ok := w.podNets[ref]; ok {
		return n
	}
	n := &netns{area: AreaPod, namespace: p.ref.namespace, name: p.ref.name}
	w.podNets[ref] = n
	w.readRules(n, six, optional)
	n.host.LocalAddresses = p.obj.Addrs()
	if len(n.host.Addrs) == 0 {
		for _, a := range n.host.LocalAddresses {
			n.host.Addrs = append(n.host.Addrs, iptables.InterfaceAddr{Interface: "eth0", Prefix: netip.PrefixFrom(a, a.BitLen())})
		}
	}
	return n
}

// readRules reads the rules of one family from both backends, and what they
// refer to.
func (w *walker) readRules(n *netns, six, optional bool) {
	save, legacy := saveV4, legacyV4
	into, intoLegacy := &n.host.V4, &n.host.V4Legacy
	if six {
		save, legacy = saveV6, legacyV6
		into, intoLegacy = &n.host.V6, &n.host.V6Legacy
	}
	var all [][]byte
	for _, f := range []struct {
		file     string
		into     **iptables.Ruleset
		optional bool
	}{{save, into, optional}, {legacy, intoLegacy, true}} {
		q := n.query(f.file)
		obs, notRead := w.observeIf(q, f.optional)
		if w.err != nil {
			return
		}
		if notRead != nil {
			if f.file == save {
				n.notRead = notRead
			}
			continue
		}
		rules, err := iptables.Parse(q.Path(), obs.Data)
		if err != nil {
			w.broken(q, err)
			n.notRead = &NotReadError{Query: q, Why: err.Error(), Command: q.Command()}
			continue
		}
		*f.into = rules
		all = append(all, obs.Data)
	}
	has := func(text string) bool {
		return slices.ContainsFunc(all, func(d []byte) bool { return bytes.Contains(d, []byte(text)) })
	}
	if has("--match-set") {
		w.parse(n, "ipset-save.txt", false, func(q string, data []byte) (err error) {
			n.host.Sets, err = iptables.ParseIPSet(q, data)
			return err
		})
	}
	if n.area == AreaNode && n.notRead == nil && !has("KUBE-SERVICES") {
		w.parse(n, "nft-ruleset.json", true, func(q string, data []byte) (err error) {
			n.host.NFT, err = iptables.ParseNFT(q, data)
			return err
		})
		w.parse(n, "ipvsadm-save.txt", true, func(q string, data []byte) (err error) {
			n.host.IPVS, err = iptables.ParseIPVS(q, data)
			return err
		})
	}
}

// parse reads one further file of the namespace where it is there.
func (w *walker) parse(n *netns, file string, optional bool, into func(string, []byte) error) {
	if w.err != nil {
		return
	}
	q := n.query(file)
	obs, notRead := w.observeIf(q, optional)
	if notRead != nil || w.err != nil {
		return
	}
	if err := into(q.Path(), obs.Data); err != nil {
		w.broken(q, err)
	}
}

// interfaceOf names the interface whose network holds the address; empty where
// none does.
func (n *netns) interfaceOf(addr netip.Addr) string {
	best, bits := "", -1
	for _, a := range n.host.Addrs {
		if a.Prefix.Addr() == addr {
			return a.Interface
		}
		if p := a.Prefix.Masked(); p.Bits() < addr.BitLen() && p.Contains(addr) && p.Bits() > bits {
			best, bits = a.Interface, p.Bits()
		}
	}
	return best
}

// evaluate walks the flow's packet through the namespace.
func (n *netns) evaluate(f flow, hook iptables.Hook, in string, uid, gid *uint32) iptables.Result {
	p := iptables.Packet{Hook: hook, In: in, Src: f.src, Dst: f.dst, Mark: f.mark, UID: uid, GID: gid}
	if f.proto == "udp" {
		p.Proto = iptables.UDP
	}
	return n.host.Evaluate(p)
}

// ruleSteps converts a path of rules for the report.
func ruleSteps(in []iptables.Step) []RuleStep {
	out := make([]RuleStep, len(in))
	for i, s := range in {
		out[i] = RuleStep{Hook: s.Hook, Table: s.Table, Chain: s.Chain, Rule: s.Rule, Text: s.Text, Action: s.Action, Note: s.Note}
	}
	return out
}
