package trace

import (
	"fmt"
	"slices"

	"github.com/hoptrail/hoptrail/iptables"
	"github.com/hoptrail/hoptrail/k8s"
)

// ht2007 names a packet that a rule of another owner than kube-proxy drops or
// rejects: a CNI's policy, a host's firewall.
func ht2007(q *inquiry) {
	q.kind(func(n *node) {
		if n.facts.packets == nil || slices.ContainsFunc(n.next, func(e edge) bool { return denied(e.to) }) {
			return // a CNI's rule that carries out a NetworkPolicy is named by the policy
		}
		for _, o := range n.facts.packets.Outcomes {
			if o.Verdict != iptables.Drop && o.Verdict != iptables.Reject || o.Cause != iptables.OtherOwner {
				continue
			}
			rule := "the policy of a chain"
			if len(o.Path) > 0 {
				rule = o.Path[len(o.Path)-1].Text
			}
			if o.Policy != nil {
				rule = fmt.Sprintf("the policy of chain %s of table %s", o.Policy.Chain, o.Policy.Table)
			}
			owner := orElse(o.Owner, "another owner")
			f := q.report(n, fmt.Sprintf("node %s drops the packet by a rule of %s: %s", n.hop.Subject.Name, owner, rule),
				"ask who wrote the rule ("+owner+") to allow "+o.Dst.String()+", or change the policy it comes from",
				fmt.Sprintf("on node %s: iptables-save -c | grep -F -- '%s'   # its counter rises with every packet dropped", n.hop.Subject.Name, lastChain(o)))
			f.same = rule
		}
	}, KindNode)
}

// denied says whether a NetworkPolicy keeps the packet from the hop's Pod.
func denied(n *node) bool {
	return slices.ContainsFunc(n.facts.policies, func(v k8s.PolicyVerdict) bool { return v.State == k8s.PolicyDenied })
}

func lastChain(o iptables.Outcome) string {
	if o.Policy != nil {
		return ":" + o.Policy.Chain
	}
	if len(o.Path) == 0 {
		return "DROP"
	}
	return "-A " + o.Path[len(o.Path)-1].Chain
}
