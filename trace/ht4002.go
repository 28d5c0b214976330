package trace

import "github.com/hoptrail/hoptrail/envoyadmin"

// ht4002 names a request that its host's virtual host has no route for.
func ht4002(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || o.Error != envoyadmin.NoRoute || n.hop.State != Fail {
			return
		}
		detail := "virtual host " + o.VirtualHost + " has no route for " + n.facts.flow.method + " " + n.facts.flow.path
		var fix []string
		for i, m := range n.hop.Detail.NearMisses {
			if i == 3 {
				break
			}
			detail += "; " + m.Name + ": " + m.Why
		}
		for _, owner := range n.hop.Detail.Owner {
			fix = append(fix, "add a match for this request to "+owner)
		}
		if len(fix) == 0 {
			fix = append(fix, "add a match for this request to "+q.virtualServicesNamed(n, o.VirtualHost))
		}
		f := q.report(n, detail, fix...)
		for _, vs := range q.virtualServicesFor(hostOf(n.facts.flow)) {
			if n.facts.pod != nil && q.bindsTo(vs, n.facts.pod) {
				q.written(f, &vs.Meta, "http", "match")
			}
		}
	}, KindRoute)
}
