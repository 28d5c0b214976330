package trace

import (
	"fmt"
	"math"
	"slices"
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

// paths lists the ways from root, at most bound of them, in the order in which
// the walk met them; what the bound cut off is summed up in rest and not walked.
// Ways with no probability are left out.
func paths(root *node, bound int) (all []path, rest float64) {
	var trail []*node
	var visit func(n *node, p float64)
	visit = func(n *node, p float64) {
		if len(all) >= bound {
			rest += p
			return
		}
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
		if ways == 0 {
			all = append(all, path{p, append([]*node(nil), trail...)})
		}
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

// verdicts are those that some way comes to.
type verdicts struct{ reach, unreach, unknown bool }

func (v *verdicts) join(o verdicts) {
	v.reach, v.unreach, v.unknown = v.reach || o.reach, v.unreach || o.unreach, v.unknown || o.unknown
}

// overall joins the verdicts of all ways from root, those that no list has room
// for included: they agree, or they disagree (degraded), or at least one is not
// known and none contradicts another. A way's verdict is that of [path.verdict];
// the graph is walked once.
func overall(root *node) Verdict {
	memo := map[*node]verdicts{}
	var of func(n *node) verdicts
	of = func(n *node) (v verdicts) {
		if known, ok := memo[n]; ok {
			return known
		}
		switch n.hop.State {
		case Fail:
			v.unreach = true
		case OK, Warn, Skipped:
			v = onward(n, of)
		default:
			if n.hop.Kind != KindNode {
				v.unknown = true
				break
			}
			if v = onward(n, of); v.reach {
				v.reach, v.unknown = false, true
			}
		}
		memo[n] = v
		return v
	}
	if root == nil {
		return Undetermined
	}
	switch v := of(root); {
	case v.reach && v.unreach:
		return Degraded
	case v.unknown || !v.reach && !v.unreach:
		return Undetermined
	case v.unreach:
		return Unreachable
	}
	return Reachable
}

// onward joins the verdicts of the ways on from n; a way that ends there is
// passed.
func onward(n *node, of func(*node) verdicts) verdicts {
	v, ways := verdicts{}, 0
	for _, e := range n.next {
		if e.probability > 0 {
			ways++
			v.join(of(e.to))
		}
	}
	if ways == 0 {
		v.reach = true
	}
	return v
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

// graph is a finished walk as the rules ask about it.
type graph struct {
	root    *node
	order   map[*node]int     // the place of each hop in the walk
	parents map[*node][]*node // the hops that lead straight to one
	known   map[*node]map[*node]bool
}

func newGraph(root *node) *graph {
	g := &graph{root: root, order: map[*node]int{}, parents: map[*node][]*node{}, known: map[*node]map[*node]bool{}}
	each(root, func(n *node) {
		g.order[n] = len(g.order)
		for _, e := range n.next {
			g.parents[e.to] = append(g.parents[e.to], n)
		}
	})
	return g
}

// above are all hops on the ways to n.
func (g *graph) above(n *node) map[*node]bool {
	if known, ok := g.known[n]; ok {
		return known
	}
	out := map[*node]bool{}
	stack := slices.Clone(g.parents[n])
	for len(stack) > 0 {
		m := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !out[m] {
			out[m] = true
			stack = append(stack, g.parents[m]...)
		}
	}
	g.known[n] = out
	return out
}

// related says whether one hop lies on a way from the other. A finding without a
// hop is about the whole.
func (g *graph) related(a, b *node) bool {
	return a == nil || b == nil || a == b || g.above(a)[b] || g.above(b)[a]
}

// round keeps probabilities readable and the same on every machine. What they add
// up to stays what it was: the largest takes what rounding leaves over.
func round(ps []float64) []float64 {
	const nano = 1e9
	total, left, largest := 0.0, 0.0, 0
	out := make([]float64, len(ps))
	for i, p := range ps {
		total += p
		out[i] = math.Round(p * nano)
		left -= out[i]
		if p > ps[largest] {
			largest = i
		}
	}
	if left += math.Round(total * nano); len(out) > 0 {
		out[largest] += left
	}
	for i := range out {
		out[i] /= nano
	}
	return out
}

func percent(p float64) string {
	s := fmt.Sprintf("%.1f", p*100)
	if len(s) > 2 && s[len(s)-2:] == ".0" {
		s = s[:len(s)-2]
	}
	return s + "%"
}
