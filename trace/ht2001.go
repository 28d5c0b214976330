package trace

import (
	"fmt"

	"github.com/hoptrail/hoptrail/iptables"
)

// ht2001 names externalTrafficPolicy Local on a node that has no endpoint: its
// rules drop what comes from outside.
func ht2001(q *inquiry) {
	q.kind(func(n *node) {
		s := n.facts.service
		if s == nil || s.port == nil || !refusedFor(n, iptables.NoLocalEndpoints) {
			return
		}
		where := ""
		for _, e := range s.ready() {
			where += " " + e.Node
		}
		q.report(n, fmt.Sprintf("externalTrafficPolicy of Service %s is Local and node %s has no ready endpoint: what arrives there from outside is dropped (endpoints are on%s)", s, n.hop.Subject.Name, orElse(where, " no node")),
			"run a Pod of the gateway on every node the load balancer or the client uses (a DaemonSet, or spread them), or",
			fmt.Sprintf("let the load balancer check port %d of the nodes (healthCheckNodePort), which answers only where an endpoint is, or", s.service.Spec.HealthCheckNodePort),
			fmt.Sprintf("kubectl -n %s patch svc %s -p '{\"spec\":{\"externalTrafficPolicy\":\"Cluster\"}}'   # the client's address is then masqueraded", s.service.Namespace, s.service.Name))
	}, KindNode)
}
