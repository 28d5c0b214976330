package trace

import (
	"cmp"
	"slices"
	"strings"
)

// rule names one fault. A rule looks at the hops of a finished walk and at the
// objects they rest on; it reads nothing that the walk could not have read.
type rule struct {
	code     string
	title    string
	severity Severity
	// reads says what the rule looks at, for the pages and the people.
	reads string
	// suppresses are the codes of faults that are only symptoms where this one is
	// found at or before them on the path.
	suppresses []string
	find       func(*inquiry)
}

// inquiry is one rule at work.
type inquiry struct {
	*walker
	rule *rule
	root *node
	all  *[]*finding
	// the hops as the walk left them: rules add to hops, never to the graph
	graph *graph
}

// finding is a fault found, before the report is written.
type finding struct {
	rule     *rule
	severity Severity
	title    string
	detail   string
	node     *node
	evidence []string
	fix      []string
	effect   Verdict // what it makes of a path that is otherwise passed; "" for nothing
	causeOf  []string
	below    *finding // the cause that this one is a symptom of
	// same tells one fault seen at several hops from several faults: findings of
	// one rule with the same text are one.
	same string
	also []*node // the other hops of it
	// inside is the hop that is named instead of the node, where the node's own
	// is a part of what a reader takes for one thing.
	inside *node
	// what was counted that speaks for it, in words
	counted []string
}

// report files a fault at a hop. The detail says what is wrong in this case.
func (q *inquiry) report(n *node, detail string, fix ...string) *finding {
	f := &finding{rule: q.rule, severity: q.rule.severity, title: q.rule.title, detail: detail, node: n, fix: fix}
	if n != nil {
		for _, e := range n.hop.Evidence {
			f.evidence = append(f.evidence, e.ID)
		}
	}
	*q.all = append(*q.all, f)
	return f
}

// proof adds a piece of raw data to the guilty hop and to the finding.
func (q *inquiry) proof(f *finding, basis Basis, query Query, excerpt, match string) {
	if f.node == nil || excerpt == "" {
		return
	}
	id := q.cite(f.node.hop, basis, query, excerpt, match)
	if !slices.Contains(f.evidence, id) {
		f.evidence = append(f.evidence, id)
	}
}

// quote adds the lines of an observation that hold any of the texts, where it
// was read or can be.
func (q *inquiry) quote(f *finding, basis Basis, query Query, texts ...string) bool {
	obs, notRead := q.observeIf(query, true)
	if notRead != nil || q.err != nil {
		return false
	}
	lines := linesWith(obs.Data, 8, texts...)
	if len(lines) == 0 {
		return false
	}
	q.proof(f, basis, query, strings.Join(lines, "\n"), texts[0])
	return true
}

// each calls f for every hop of the walk, in its order.
func (q *inquiry) each(f func(*node)) { each(q.root, f) }

// kind calls f for every hop of the kinds.
func (q *inquiry) kind(f func(*node), kinds ...HopKind) {
	q.each(func(n *node) {
		if slices.Contains(kinds, n.hop.Kind) {
			f(n)
		}
	})
}

// findings runs every rule over the walk.
func (w *walker) findings(root *node) []*finding {
	var all []*finding
	g := newGraph(root)
	for i := range rules {
		if w.err != nil {
			return nil
		}
		(&rules[i]).run(w, g, &all)
	}
	(&inquiry{walker: w, root: g.root, all: &all, graph: g}).confirm(all)
	order := g.order
	suppress(all, g)
	rank := map[Severity]int{SeverityError: 0, SeverityWarning: 1, SeverityInfo: 2}
	slices.SortStableFunc(all, func(a, b *finding) int {
		return cmp.Or(cmp.Compare(rank[a.severity], rank[b.severity]), cmp.Compare(order[a.node], order[b.node]), cmp.Compare(a.rule.code, b.rule.code))
	})
	return all
}

func (r *rule) run(w *walker, g *graph, all *[]*finding) {
	if r.find != nil {
		r.find(&inquiry{walker: w, rule: r, root: g.root, all: all, graph: g})
	}
}

// suppress hangs symptoms below their causes: a fault is a symptom where a rule
// that suppresses its code found its own at the same hop or on a way that leads
// to or from it. The same fault found at several hops is one finding, at the
// first.
func suppress(all []*finding, g *graph) {
	order := g.order
	for i, cause := range all {
		for j, f := range all {
			if i == j || f.below != nil {
				continue
			}
			first := order[cause.node] < order[f.node] || cause.node == f.node && i < j
			same := first && f.rule == cause.rule && (f.detail == cause.detail || f.same != "" && f.same == cause.same)
			symptom := slices.Contains(cause.rule.suppresses, f.rule.code) && g.related(cause.node, f.node)
			if (same || symptom) && !cause.isBelow(f) {
				f.below = cause
				if same && f.node != cause.node {
					cause.also = append(cause.also, f.node)
				}
			}
		}
	}
	for _, f := range all {
		if f.below == nil {
			continue
		}
		top := f.below
		for range all {
			if top.below == nil {
				break
			}
			top = top.below
		}
		if top.rule != f.rule && !slices.Contains(top.causeOf, f.rule.code) {
			top.causeOf = append(top.causeOf, f.rule.code)
			for _, id := range f.evidence {
				if top.node == f.node && !slices.Contains(top.evidence, id) {
					top.evidence = append(top.evidence, id)
				}
			}
		}
	}
}

func (f *finding) isBelow(other *finding) bool {
	for f.below != nil {
		if f.below == other {
			return true
		}
		f = f.below
	}
	return false
}

// listed are the findings as the report has them: causes only, their symptoms
// named below them.
func (w *walker) listed(all []*finding) []Finding {
	out := []Finding{}
	for _, f := range all {
		if f.below != nil {
			continue
		}
		r := Finding{Code: f.rule.code, Severity: f.severity, Title: f.title, Detail: f.detail, Fix: f.fix, CauseOf: f.causeOf}
		if f.node != nil {
			r.Hop = cmp.Or(f.inside, f.node).hop.ID
		}
		var also []string
		for _, n := range f.also {
			s := string(n.hop.Kind) + " " + n.hop.Subject.Name
			if n.hop.Subject == f.node.hop.Subject {
				if n.hop.Detail.Pod == f.node.hop.Detail.Pod {
					continue // the same place on another way
				}
				s = "Pod " + n.hop.Detail.Pod
			}
			if !slices.Contains(also, s) {
				also = append(also, s)
			}
		}
		if len(also) > 0 {
			r.Detail += " (and so at " + strings.Join(also, ", ") + ")"
		}
		if len(f.counted) > 0 {
			r.Detail += "; counted: " + strings.Join(f.counted, ", ")
		}
		for _, id := range f.evidence {
			if renamed, ok := w.renamed[id]; ok {
				id = renamed
			}
			if !slices.Contains(r.Evidence, id) {
				r.Evidence = append(r.Evidence, id)
			}
		}
		out = append(out, r)
	}
	return out
}

// effect is what the faults found make of the verdict: a request that passes
// every hop can still fail now and then, or be refused by the client itself.
func effect(v Verdict, all []*finding) Verdict {
	rank := map[Verdict]int{Reachable: 0, Degraded: 1, Undetermined: 2, Unreachable: 3}
	for _, f := range all {
		if f.below == nil && f.effect != "" && rank[f.effect] > rank[v] {
			v = f.effect
		}
	}
	return v
}
