package report

import (
	"fmt"

	"github.com/hoptrail/hoptrail/internal/sanitize"
	"github.com/hoptrail/hoptrail/trace"
)

// treeLine is one line of the tree of branches; its state is coloured apart.
type treeLine struct {
	text  string
	word  string
	state trace.State
}

// treeOf draws every way of the request as a tree. A run of hops with one way on
// stays in one column; what several ways share is drawn once:
//
//	1 dns example.com  OK
//	2 loadbalancer istio-ingressgateway  OK
//	|- 50% node-1
//	|  3 node node-1  OK
//	|  4 pod gateway  OK
//	`- 50% node-2
//	   5 node node-2  OK
//	   then as from hop 4
func treeOf(r *trace.Report) []treeLine {
	if len(r.Hops) == 0 {
		return nil
	}
	t := &tree{hops: hopsByID(r), next: waysOn(r), drawn: map[string]bool{}}
	roots := startsOf(r)
	if len(roots) == 1 {
		t.draw(roots[0].To, "")
	} else {
		t.fork(roots, "")
	}
	return t.lines
}

// startsOf returns where the paths begin, with their shares.
func startsOf(r *trace.Report) []trace.Branch {
	var starts []trace.Branch
	at := map[string]int{}
	for _, p := range r.Paths {
		if len(p.Hops) == 0 {
			continue
		}
		i, ok := at[p.Hops[0]]
		if !ok {
			i = len(starts)
			at[p.Hops[0]] = i
			starts = append(starts, trace.Branch{To: p.Hops[0]})
		}
		starts[i].Probability += p.Probability
	}
	if len(starts) == 0 {
		starts = []trace.Branch{{To: r.Hops[0].ID, Probability: 1}}
	}
	return starts
}

// waysOn returns the branches of every hop: its own where it has some, else what
// follows it on the paths.
func waysOn(r *trace.Report) map[string][]trace.Branch {
	on := map[string][]trace.Branch{}
	for _, h := range r.Hops {
		if len(h.Branches) > 0 && on[h.ID] == nil {
			on[h.ID] = h.Branches
		}
	}
	type step struct{ from, to string }
	seen := map[step]bool{}
	followed := map[string][]trace.Branch{}
	for _, p := range r.Paths {
		for i := range len(p.Hops) - 1 {
			s := step{p.Hops[i], p.Hops[i+1]}
			if on[s.from] == nil && !seen[s] {
				seen[s] = true
				followed[s.from] = append(followed[s.from], trace.Branch{To: s.to})
			}
		}
	}
	for id, bs := range followed {
		on[id] = bs
	}
	return on
}

type tree struct {
	hops  map[string]*trace.Hop
	next  map[string][]trace.Branch
	drawn map[string]bool
	lines []treeLine
}

// draw draws the hop and what follows it, every line after indent.
func (t *tree) draw(id, indent string) {
	for id != "" {
		h := t.hops[id]
		if h == nil {
			return
		}
		if t.drawn[id] {
			t.lines = append(t.lines, treeLine{text: fmt.Sprintf("%sthen as from hop %s", indent, shortID(id))})
			return
		}
		t.drawn[id] = true
		t.lines = append(t.lines, treeLine{
			text:  fmt.Sprintf("%s%s %s %s  ", indent, shortID(id), sanitize.Line(string(h.Kind)), treeName(h)),
			word:  word(h.State),
			state: h.State,
		})
		ways := t.next[id]
		if len(ways) > 1 {
			t.fork(ways, indent)
			return
		}
		id = ""
		if len(ways) == 1 {
			id = ways[0].To
		}
	}
}

func (t *tree) fork(ways []trace.Branch, indent string) {
	for i, b := range ways {
		branch, below := "|- ", "|  "
		if i == len(ways)-1 {
			branch, below = "`- ", "   "
		}
		label := sanitize.Line(b.Label)
		if b.Probability > 0 {
			label = percent(b.Probability) + " " + label
		}
		line := treeLine{text: indent + branch + label}
		if b.To == "" {
			line.text += "  "
			line.word, line.state = word(b.State), b.State
		}
		t.lines = append(t.lines, line)
		t.draw(b.To, indent+below)
	}
}

// treeName is the shortest name that tells a hop from its neighbours.
func treeName(h *trace.Hop) string {
	d := &h.Detail
	name := ""
	switch h.Kind {
	case trace.KindListener, trace.KindFilterChain, trace.KindFilter, trace.KindCluster:
		name = d.Name
	case trace.KindRoute:
		name = d.Route
	case trace.KindEndpoint, trace.KindExternal:
		name = d.Address
	case trace.KindDNS, trace.KindLoadBalancer, trace.KindService, trace.KindNode, trace.KindPod, trace.KindApp:
	}
	if name == "" {
		name = h.Subject.Name
	}
	return sanitize.Line(name)
}
