package trace

import (
	"fmt"

	"github.com/hoptrail/hoptrail/k8s"
)

// ht3009 names UDP sent to a gateway: Istio's gateways have no UDP listeners.
func ht3009(q *inquiry) {
	q.kind(func(n *node) {
		if n.facts.flow.proto != "udp" || n.hop.State != Fail || n.facts.pod == nil || n.facts.pod.proxy.Role != k8s.RoleGateway {
			return
		}
		f := q.report(n, fmt.Sprintf("%s is UDP, and the gateway %s has no UDP listener: Istio's gateways do not carry UDP", n.facts.flow.dst, n.facts.pod.ref),
			"expose the application by a Service of its own (type LoadBalancer or NodePort, protocol UDP) beside the gateway")
		for _, m := range q.before(n) {
			if m.hop.Kind == KindNode {
				q.citeRules(f, m)
			}
		}
	}, KindListener)
}
