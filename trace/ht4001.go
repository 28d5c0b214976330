package trace

import "github.com/hoptrail/hoptrail/envoyadmin"

// ht4001 names a host that the route table does not know.
func ht4001(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || o.Error != envoyadmin.NoVirtualHost || n.hop.State != Fail {
			return
		}
		detail := "no virtual host of " + o.RouteConfig + " takes the host " + n.facts.flow.authority
		nearest := ""
		for _, m := range n.hop.Detail.NearMisses {
			if m.Kind == "virtual_host" {
				detail += "; the nearest is " + m.Name
				nearest = bare(m.Name)
				break
			}
		}
		fix := []string{q.hostWanted(n, nearest)}
		if nearest != "" {
			fix = append(fix, "or ask for "+nearest)
		}
		q.report(n, detail, fix...)
	}, KindRoute)
}
