package trace

import (
	"fmt"
	"strings"
)

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
			fix = append(fix, "grant the verb "+e.Verb+" on "+e.Resource+rbacRule(e)+" (docs/rbac.yaml has the smallest roles)")
		}
		if c := orElse(e.Command, e.Query.Command()); c != "" {
			fix = append(fix, "this gives it: "+c)
		}
		if at := n.facts.flow.at; n.hop.Kind == KindDNS && at.area == AreaPod {
			if hint := q.meantService(q.target.Host, at.namespace); hint != "" {
				fix = append(fix, hint)
			}
		}
		if n.facts.dns != nil {
			fix = append(fix, n.facts.fix...)
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

// rbacRule is the rule of a Role or ClusterRole that gives the right that was
// missing.
func rbacRule(e *NotReadError) string {
	where, kind, group := "", "ClusterRole", ""
	if e.Namespace != "" {
		where, kind = " in namespace "+e.Namespace, "Role"
	}
	plural, _, _ := strings.Cut(e.Resource, "/")
	if name, g, ok := strings.Cut(e.Query.File, "."); ok && e.Query.Area == AreaCluster && name == plural {
		group = g
	}
	return fmt.Sprintf("%s: the rule {apiGroups: [%q], resources: [%q], verbs: [%q]} of a %s", where, group, e.Resource, e.Verb, kind)
}
