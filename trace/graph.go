package trace

import (
	"fmt"
	"math"
)

// node is a hop of the walk with the ways on from it. The walk builds a
// directed acyclic graph: the same sub-path is walked once and joined by every
// way that leads into it.
type node struct {
	hop  *Hop
	next []edge
	// what the rules that name faults look at, beyond the report
	facts facts
}

// edge is one way on: probability is the share of what arrives at the node that
// goes this way. Where the node itself failed, it is the share that would.
type edge struct {
	label       string
	probability float64
	to          *node
}

func (n *node) to(label string, probability float64, to *node) {
	if to != nil {
		n.next = append(n.next, edge{label, probability, to})
	}
}

// path is one whole way through the graph.
type path struct {
	probability float64
	nodes       []*node
}

// paths lists the ways from root, at most bound of them, most of the order in
// which the walk met them; what the bound cut off is summed up in rest.
// Ways with no probability are left out.
func paths(root *node, bound int) (all []path, rest float64) {
	var trail []*node
	var visit func(n *node, p float64)
	visit = func(n *node, p float64) {
		trail = append(trail, n)
		defer func() { trail = trail[:len(trail)-1] }()
		ways := 0
		for _, e := range n.next {
			if e.probability <= 0 {
				continue
			}
			ways++
			visit(e.to, p*e.probability)
		}
		if ways > 0 {
			return
		}
		if len(all) >= bound {
			rest += p
			return
		}
		all = append(all, path{p, append([]*node(nil), trail...)})
	}
	if root != nil {
		visit(root, 1)
	}
	return all, rest
}

// verdict of a way is decided by the first hop on it that is not passed: what
// comes after an obstacle is only what would come next. A node whose rules are
// not known may drop the packet or let it pass; where what lies behind fails, the
// request fails either way.
func (p path) verdict() Verdict {
	unknown := false
	for _, n := range p.nodes {
		switch n.hop.State {
		case Fail:
			return Unreachable
		case OK, Warn, Skipped:
		default:
			if n.hop.Kind != KindNode {
				return Undetermined
			}
			unknown = true
		}
	}
	if unknown {
		return Undetermined
	}
	return Reachable
}

// overall joins the verdicts of all ways: they agree, or they disagree
// (degraded), or at least one is not known and none contradicts another.
func overall(all []path) Verdict {
	var reach, unreach, unknown bool
	for _, p := range all {
		switch p.verdict() {
		case Reachable:
			reach = true
		case Unreachable:
			unreach = true
		default:
			unknown = true
		}
	}
	switch {
	case reach && unreach:
		return Degraded
	case unknown || !reach && !unreach:
		return Undetermined
	case unreach:
		return Unreachable
	}
	return Reachable
}

// worst state on the way on from n, n included, over the ways that carry
// traffic.
func (n *node) worst(memo map[*node]State) State {
	if s, ok := memo[n]; ok {
		return s
	}
	memo[n] = Unknown
	s := n.hop.State
	for _, e := range n.next {
		if e.probability > 0 {
			s = worse(s, e.to.worst(memo))
		}
	}
	memo[n] = s
	return s
}

var badness = map[State]int{Skipped: 0, OK: 1, Warn: 2, Unknown: 3, Fail: 4}

func worse(a, b State) State {
	if badness[b] > badness[a] {
		return b
	}
	return a
}

// each calls f for every node once, in the order the walk met them.
func each(root *node, f func(*node)) {
	seen := map[*node]bool{}
	var visit func(*node)
	visit = func(n *node) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		f(n)
		for _, e := range n.next {
			visit(e.to)
		}
	}
	visit(root)
}

// round keeps probabilities readable and the same on every machine.
func round(p float64) float64 { return math.Round(p*1e9) / 1e9 }

func percent(p float64) string {
	s := fmt.Sprintf("%.1f", p*100)
	if len(s) > 2 && s[len(s)-2:] == ".0" {
		s = s[:len(s)-2]
	}
	return s + "%"
}
