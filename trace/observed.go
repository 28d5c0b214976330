package trace

import (
	"slices"

	"github.com/hoptrail/hoptrail/envoyadmin/accesslog"
)

// What the rules about observations ask for.

// proxiesInOrder are the Envoys on the path in the order of the walk.
func (q *inquiry) proxiesInOrder() []*proxy {
	var out []*proxy
	q.each(func(n *node) {
		if p := n.facts.proxy; p != nil && !slices.Contains(out, p) {
			out = append(out, p)
		}
	})
	return out
}

// flagged are the lines with one of the response flags, by proxy.
func (q *inquiry) flagged(f func(p *proxy, n *node, lines []accesslog.Entry, all int), flags ...string) {
	for _, p := range q.proxiesInOrder() {
		var lines []accesslog.Entry
		var at *node
		for _, l := range p.lines {
			if slices.ContainsFunc(l.entry.Flags(), func(s string) bool { return slices.Contains(flags, s) }) {
				lines = append(lines, l.entry)
				at = l.node
			}
		}
		if len(lines) > 0 {
			f(p, at, lines, len(p.lines))
		}
	}
}

// proofLines quotes log lines, the latest few.
func (q *inquiry) proofLines(f *finding, p *proxy, lines []accesslog.Entry, match string) {
	if len(lines) > 5 {
		lines = lines[len(lines)-5:]
	}
	for _, e := range lines {
		q.proof(f, Observed, p.pod.query(AreaProxy, accessLog), e.Raw, match)
	}
}

// behindHop is the first hop of a kind after n, n included; nil where there is
// none.
func behindHop(n *node, kind HopKind) *node {
	var found *node
	each(n, func(m *node) {
		if found == nil && m.hop.Kind == kind {
			found = m
		}
	})
	return found
}
