package trace

import (
	"fmt"

	"github.com/hoptrail/hoptrail/iptables"
)

// ht2005 names a Pod that asks its own cluster's load balancer address under
// externalTrafficPolicy Local: without kube-proxy's short cut for Pods the
// packet is treated as one from outside.
func ht2005(q *inquiry) {
	q.kind(func(n *node) {
		s := n.facts.service
		if s == nil || s.service == nil || n.facts.flow.from.area != AreaPod || !refusedFor(n, iptables.NoLocalEndpoints) {
			return
		}
		for _, o := range s.service.Status.LoadBalancer.Ingress {
			if o.IP != n.facts.flow.dst.Addr().String() {
				continue
			}
			q.report(n, fmt.Sprintf("a Pod asks for %s, the load balancer's address of Service %s with externalTrafficPolicy Local, and its node has no endpoint: the packet is dropped as if it came from outside", o.IP, s),
				"use the Service's name or ClusterIP from inside of the cluster: "+s.service.Host(),
				"or give kube-proxy its clusterCIDR (or detectLocalMode), so that it sends Pods straight to the endpoints")
		}
	}, KindNode)
}
