package trace

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// ht1006 names a load balancer that has given its Service no address yet.
func ht1006(q *inquiry) {
	q.kind(func(n *node) {
		s := n.facts.service
		if s == nil || s.service == nil || n.hop.State != Fail {
			return
		}
		svc := s.service
		if svc.Spec.Type != corev1.ServiceTypeLoadBalancer || len(svc.Status.LoadBalancer.Ingress) > 0 {
			return
		}
		fix := []string{
			fmt.Sprintf("kubectl -n %s describe svc %s   # the events say what the provider waits for", svc.Namespace, svc.Name),
			"without a cloud: install a load balancer implementation such as MetalLB, or give spec.externalIPs",
		}
		if s.port != nil && s.port.NodePort != 0 {
			fix = append(fix, fmt.Sprintf("until then the NodePort %d of any node works", s.port.NodePort))
		}
		f := q.report(n, fmt.Sprintf("Service %s/%s is of type LoadBalancer and has no address: status.loadBalancer is empty", svc.Namespace, svc.Name), fix...)
		q.proof(f, Config, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: svc.Namespace, Name: svc.Name}}, `"loadBalancer": {}`, "loadBalancer")
	}, KindLoadBalancer)
}
