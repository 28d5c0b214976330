package trace

import "fmt"

// ht2003 names a node whose kernel holds kube-proxy's rules twice, in the legacy
// and in the nft backend.
func ht2003(q *inquiry) {
	q.kind(func(n *node) {
		ns := n.facts.netns
		if ns == nil || ns.area != AreaNode {
			return
		}
		live := 0
		for _, b := range ns.host.Backends() {
			if b.KubeProxy {
				live++
			}
		}
		if live < 2 {
			return
		}
		f := q.report(n, fmt.Sprintf("node %s holds KUBE- chains in both backends, nft and legacy: which DNAT wins depends on the order the kernel registered them in, which the rules do not tell", n.hop.Subject.Name),
			fmt.Sprintf("on node %s: find which one kube-proxy writes (iptables --version in its Pod), then flush the other's KUBE- chains: iptables-legacy-save | grep -v KUBE- | iptables-legacy-restore", n.hop.Subject.Name),
			"restart kube-proxy afterwards")
		f.effect = Degraded
		for _, file := range []string{saveV4, legacyV4} {
			q.quote(f, Config, ns.query(file), dnatTexts(n)...)
		}
	}, KindNode)
}

// dnatTexts are the targets that a node's rules send the packet to.
func dnatTexts(n *node) []string {
	var out []string
	for _, d := range n.hop.Detail.DNAT {
		out = append(out, "--to-destination "+d)
	}
	return append(out, "-j DNAT")
}
