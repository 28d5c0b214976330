package trace

import "strings"

// ht0001 names what could not be read and left a hop unknown.
func ht0001(q *inquiry) {
	q.each(func(n *node) {
		e := n.facts.notRead
		answered := n.hop.State == OK
		if e == nil || n.hop.State != Unknown && !answered {
			return
		}
		fix := []string{}
		if e.Verb != "" {
			where := ""
			if e.Namespace != "" {
				where = " in namespace " + e.Namespace
			}
			fix = append(fix, "grant the verb "+e.Verb+" on "+e.Resource+where+" (docs/rbac.yaml has the smallest roles)")
		}
		if c := orElse(e.Command, e.Query.Command()); c != "" {
			fix = append(fix, "this gives it: "+c)
		}
		if len(fix) == 0 {
			fix = append(fix, "look at why: "+e.Why)
		}
		detail := e.Query.Path() + " was not read (" + strings.TrimSuffix(e.Why, ".") + "), so this hop is unknown"
		if answered {
			detail = e.Query.Path() + " was not read (" + strings.TrimSuffix(e.Why, ".") + "); that the request passes here is taken from a proxy's log"
		}
		if f := q.report(n, detail, fix...); answered {
			f.severity = SeverityInfo
		}
	})
}
