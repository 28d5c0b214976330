package trace

import (
	"fmt"
	"slices"
	"strings"
)

// summarise says the verdict in one sentence.
func summarise(t Target, r *Report, all []path) string {
	what := t.Raw
	var top *Finding
	for i := range r.Findings {
		if r.Findings[i].Severity == SeverityError || r.Verdict != Reachable {
			top = &r.Findings[i]
			break
		}
	}
	because := ""
	if top != nil {
		because = ": " + top.Code + " " + top.Title
		for i := range r.Hops {
			if h := &r.Hops[i]; h.ID == top.Hop {
				because += " (" + string(h.Kind) + " " + h.Subject.Name + ")"
				if r.Verdict == Undetermined && h.State == Unknown && h.Why != "" {
					because += ": " + h.Why // that something is not known tells little: what it is
				}
			}
		}
		because += nextObstacle(r, top, all)
	}
	switch r.Verdict {
	case Reachable:
		var ends []string
		for _, p := range all {
			if len(p.nodes) == 0 {
				continue
			}
			if s := endName(p.nodes[len(p.nodes)-1]); !slices.Contains(ends, s) {
				ends = append(ends, s)
			}
		}
		if len(ends) > 3 {
			ends = append(ends[:3], fmt.Sprintf("%d more", len(ends)-3))
		}
		return what + " is reachable: it ends at " + strings.Join(ends, ", ") + because
	case Unreachable:
		if because == "" {
			because = ": " + firstObstacle(all)
		}
		return what + " is unreachable" + because
	case Degraded:
		if slices.ContainsFunc(all, func(p path) bool { return p.verdict() != Reachable }) {
			return what + " is degraded: some ways work and some do not" + because
		}
		return what + " is degraded: the way is open, but requests fail on it or go astray" + because
	}
	if because == "" {
		because = ": " + firstObstacle(all)
	}
	return what + " is undetermined" + because
}

// nextObstacle says which fault the request would meet next on one of the ways of
// the first, once that is mended, else which one it meets on other ways; empty where
// there is none.
func nextObstacle(r *Report, top *Finding, all []path) string {
	if top.Severity != SeverityError {
		return ""
	}
	meets := func(p path, hop string) bool {
		return slices.ContainsFunc(p.nodes, func(n *node) bool { return n.hop.ID == hop })
	}
	aside := ""
	for _, f := range r.Findings {
		if f.Severity != SeverityError || f.Code == top.Code {
			continue
		}
		for _, p := range all {
			if !meets(p, f.Hop) {
				continue
			}
			i := slices.IndexFunc(p.nodes, func(n *node) bool { return n.hop.ID == f.Hop })
			what := f.Code + " " + f.Title + " (" + string(p.nodes[i].hop.Kind) + " " + p.nodes[i].hop.Subject.Name + ")"
			if meets(p, top.Hop) {
				return "; fix this first: after it the next obstacle is " + what
			}
			aside = orElse(aside, "; other ways meet "+what)
		}
	}
	return aside
}

func endName(n *node) string {
	h := n.hop
	switch h.Kind {
	case KindApp, KindPod:
		return "Pod " + h.Detail.Pod + " " + h.Detail.Address
	case KindExternal:
		return h.Detail.Address + " outside of the cluster"
	case KindListener, KindFilterChain:
		listener := h.Detail.Name
		if o := n.facts.outcome; o != nil {
			listener = o.Listener
			if o.Terminal == "http_connection_manager" {
				return "listener " + listener + " of Pod " + h.Detail.Pod + ", which takes HTTP: a URL would be walked on" + servedHosts(o.Hosts)
			}
		}
		return "listener " + listener + " of Pod " + h.Detail.Pod
	}
	return string(h.Kind) + " " + h.Subject.Name
}

func firstObstacle(all []path) string {
	for _, p := range all {
		for _, n := range p.nodes {
			if n.hop.State == Fail || n.hop.State == Unknown {
				return string(n.hop.Kind) + " " + n.hop.Subject.Name + ": " + n.hop.Why
			}
		}
	}
	return "nothing was walked"
}

// servedHosts names some of what is served where a bare connection ends.
func servedHosts(hosts []string) string {
	const most = 3
	switch {
	case len(hosts) == 0:
		return ""
	case len(hosts) > most:
		return fmt.Sprintf(" (%s, and %d more)", strings.Join(hosts[:most], ", "), len(hosts)-most)
	}
	return " (" + strings.Join(hosts, ", ") + ")"
}
