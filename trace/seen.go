package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/iptables"
)

// maxSeen bounds the conntrack entries that a hop quotes.
const maxSeen = 5

// seenFlows are the entries of the node's connection table for the address asked
// for at the hop, and from its client where that is known, that were translated:
// by the address they really went to.
func seenFlows(n *node) (to []string, by map[string][]iptables.Flow) {
	ns := n.facts.netns
	if n.hop.Kind != KindNode || ns == nil || ns.area != AreaNode || ns.host.Conntrack == nil || n.facts.packets == nil {
		return nil, nil
	}
	f := n.facts.flow
	by = map[string][]iptables.Flow{}
	for _, c := range ns.host.Conntrack.Flows {
		if c.Orig.Dst != f.dst || c.Proto.String() != f.proto || c.Reply.Src == c.Orig.Dst {
			continue
		}
		if f.src.IsValid() && !f.assumed && c.Orig.Src.Addr() != f.src.Addr() {
			continue
		}
		target := c.Reply.Src.String()
		if by[target] == nil {
			to = append(to, target)
		}
		by[target] = append(by[target], c)
	}
	slices.Sort(to)
	return to, by
}

// answered counts the entries that have seen packets both ways.
func answered(flows []iptables.Flow) int {
	n := 0
	for _, c := range flows {
		if !c.Unreplied {
			n++
		}
	}
	return n
}

// joinConntrack puts on each node's hop where connections like the traced one
// really went, and whether they were answered.
func (w *walker) joinConntrack(root *node) {
	each(root, func(n *node) {
		to, by := seenFlows(n)
		if len(to) == 0 {
			return
		}
		state := OK
		var words, lines []string
		for _, target := range to {
			flows := by[target]
			yes := answered(flows)
			words = append(words, fmt.Sprintf("%d to %s, %d of them answered", len(flows), target, yes))
			if yes < len(flows) {
				state = Warn
			}
			for _, c := range flows {
				if len(lines) < maxSeen {
					lines = append(lines, c.Text)
				}
			}
		}
		n.hop.check("connections seen", state, strings.Join(words, "; "))
		w.cite(n.hop, Observed, n.facts.netns.query("conntrack.txt"), strings.Join(lines, "\n"), "")
	})
}
