package trace

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// ht0002 quotes the rule, filter or condition that cannot be evaluated and could
// change the verdict.
func ht0002(q *inquiry) {
	q.each(func(n *node) {
		if n.hop.State != Unknown || n.facts.notRead != nil || n.facts.dns != nil || q.portNobodyHas(n) {
			return
		}
		detail := n.hop.Why
		var texts []string
		fix := slices.Clone(n.facts.fix)
		if r := n.facts.packets; r != nil {
			for _, o := range r.Outcomes {
				for _, s := range o.Unknown {
					texts = append(texts, s.Text)
				}
			}
		}
		for _, t := range texts {
			if !strings.Contains(detail, t) {
				detail += ": " + t
			}
			fix = append(fix, lookAtRule(n, t)...)
		}
		if len(n.facts.fix) == 0 {
			fix = append(fix, "look at what is quoted by hand: it decides, and cannot be decided from what was read")
		}
		f := q.report(n, detail, fix...)
		if ns := n.facts.netns; ns != nil {
			for _, t := range texts {
				q.proof(f, Config, ns.query(saveV4), t, t)
			}
		}
	})
}

var (
	recentList = regexp.MustCompile(`-m recent .*--name (\S+)`)
	setName    = regexp.MustCompile(`--match-set (\S+)`)
)

// lookAtRule are the commands that show the state of the kernel which a rule asks
// for.
func lookAtRule(n *node, text string) []string {
	var out []string
	if m := recentList.FindStringSubmatch(text); m != nil {
		out = append(out, fmt.Sprintf("on node %s: cat /proc/net/xt_recent/%s   # is the client's address in it?", n.hop.Subject.Name, Quote(m[1])))
	}
	if m := setName.FindStringSubmatch(text); m != nil {
		out = append(out, fmt.Sprintf("on node %s: ipset list %s", n.hop.Subject.Name, Quote(m[1])))
	}
	return out
}

// portNobodyHas says whether the hop is the sockets of a node that a request came
// to by a port of no Service: the port is what is said of it.
func (q *inquiry) portNobodyHas(n *node) bool {
	if n.hop.Kind != KindApp || n.facts.pod != nil {
		return false
	}
	for _, m := range q.before(n) {
		if (m.hop.Kind == KindService || m.hop.Kind == KindLoadBalancer) && m.hop.State == Fail {
			return true
		}
	}
	return false
}
