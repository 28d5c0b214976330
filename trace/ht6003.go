package trace

import (
	"fmt"
	"strings"

	"github.com/hoptrail/hoptrail/k8s"
)

// ht6003 names a NetworkPolicy that does not let the packet pass.
func ht6003(q *inquiry) {
	q.kind(func(n *node) {
		for _, v := range n.facts.policies {
			if v.State != k8s.PolicyDenied {
				continue
			}
			var names []string
			for _, r := range v.Policies {
				names = append(names, r.String())
			}
			side := "ingress of Pod " + n.facts.pod.ref.String()
			if v.Egress {
				side = "egress of the Pod that sends"
			}
			f := q.report(n, fmt.Sprintf("%s does not let %s reach port %d (%s): %s", strings.Join(names, ", "), n.facts.flow.from, n.facts.flow.dst.Port(), side, v.Reason),
				fmt.Sprintf("allow port %d from %s in a NetworkPolicy of namespace %s", n.facts.flow.dst.Port(), n.facts.flow.from, n.facts.pod.ref.namespace),
				"whether it is enforced depends on the CNI: flannel alone enforces none")
			f.same = strings.Join(names, ", ")
			for _, r := range v.Policies {
				if meta := q.object(r); meta != nil {
					q.written(f, meta, "spec", r.Name)
				}
			}
			for _, p := range q.proxiesInOrder() {
				for _, l := range p.lines {
					if l.entry.UpstreamHost() == n.facts.flow.dst.String() && strings.Contains(l.entry.Details(), "connection_timeout") {
						q.proof(f, Observed, p.pod.query(AreaProxy, accessLog), l.entry.Raw, "connection_timeout")
					}
				}
			}
		}
	}, KindPod)
}
