package trace

import "strings"

// ht0002 quotes the rule, filter or condition that cannot be evaluated and could
// change the verdict.
func ht0002(q *inquiry) {
	q.each(func(n *node) {
		if n.hop.State != Unknown || n.facts.notRead != nil || n.facts.dns != nil {
			return
		}
		detail := n.hop.Why
		var texts []string
		if r := n.facts.packets; r != nil {
			for _, o := range r.Outcomes {
				for _, s := range o.Unknown {
					texts = append(texts, s.Text)
				}
			}
		}
		if len(texts) > 0 {
			detail += ": " + strings.Join(texts, "; ")
		}
		fix := n.facts.fix
		if len(fix) == 0 {
			fix = []string{"look at what is quoted by hand: it decides, and cannot be decided from what was read"}
		}
		f := q.report(n, detail, fix...)
		if ns := n.facts.netns; ns != nil {
			for _, t := range texts {
				q.proof(f, Config, ns.query(saveV4), t, t)
			}
		}
	})
}
