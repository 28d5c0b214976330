package trace

import "strings"

// ht0001 names what could not be read and left a hop unknown.
func ht0001(q *inquiry) {
	q.each(func(n *node) {
		e := n.facts.notRead
		if e == nil || n.hop.State != Unknown {
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
		q.report(n, e.Query.Path()+" was not read ("+strings.TrimSuffix(e.Why, ".")+"), so this hop is unknown", fix...)
	})
}
