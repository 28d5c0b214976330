package trace

import (
	"fmt"

	"github.com/hoptrail/hoptrail/envoyadmin/accesslog"
)

// ht5006 names requests that ended because the upstream took longer than the
// route allows.
func ht5006(q *inquiry) {
	q.flagged(func(p *proxy, n *node, lines []accesslog.Entry, all int) {
		timeout := "the route's timeout"
		if o := n.facts.outcome; o != nil && o.Extra.TimeoutSet && o.Extra.Timeout > 0 {
			timeout = "the route's timeout of " + o.Extra.Timeout.String()
		}
		f := q.report(n, fmt.Sprintf("%d of %d requests of this path ended at %s with UT: the upstream took longer than %s (the latest: %s)", len(lines), all, p.pod, timeout, lines[len(lines)-1].Duration()),
			"set http[].timeout in "+routeOwner(n, "the VirtualService")+" to what the application needs, or find out why it is slow")
		f.effect = Degraded
		if len(lines) == all {
			f.effect = Unreachable
		}
		q.proofLines(f, p, lines, "UT")
	}, "UT")
}
