package trace

import (
	"fmt"
	"slices"
	"strings"
)

// ht2002 names connections that the node still sends to a Pod that is gone: NAT
// is decided once a connection, and an unanswered entry outlives the Pod.
func ht2002(q *inquiry) {
	q.kind(func(n *node) {
		ns := n.facts.netns
		if ns == nil || ns.area != AreaNode || ns.host.Conntrack == nil {
			return
		}
		f := n.facts.flow
		var lines []string
		gone := ""
		for _, c := range ns.host.Conntrack.Flows {
			if c.Orig.Dst != f.dst || c.Proto.String() != f.proto || !c.Unreplied || c.Reply.Src == c.Orig.Dst {
				continue
			}
			if src := f.src; src.IsValid() && !f.assumed && c.Orig.Src.Addr() != src.Addr() {
				continue
			}
			target := c.Reply.Src.Addr()
			if slices.Contains(n.hop.Detail.DNAT, c.Reply.Src.String()) || q.podByIP(target, c.Reply.Src.Port()) != nil {
				continue // where the rules still send to, an entry is not what is stale
			}
			if owner, err := q.cluster.NodeByAddress(q.ctx, target); q.refused(err) != nil || owner != nil {
				continue
			}
			gone = c.Reply.Src.String()
			lines = append(lines, c.Text)
		}
		if len(lines) == 0 {
			return
		}
		found := q.report(n, fmt.Sprintf("node %s has %d unanswered conntrack entries for %s that lead to %s, which no Pod has any more: packets of those connections go nowhere until the entries end", n.hop.Subject.Name, len(lines), f.dst, gone),
			fmt.Sprintf("on node %s: conntrack -D -p %s --dst-nat %s", n.hop.Subject.Name, f.proto, strings.Trim(gone[:strings.LastIndex(gone, ":")], "[]")))
		found.effect = Degraded
		q.proof(found, Observed, ns.query("conntrack.txt"), strings.Join(lines, "\n"), gone)
	}, KindNode)
}
