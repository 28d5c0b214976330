package trace

import "fmt"

// ht1002 names an address of the cluster asked at a port that nothing exposes.
func ht1002(q *inquiry) {
	q.kind(func(n *node) {
		if n.hop.State != Fail || n.facts.wantedPort != 0 || n.facts.service != nil && n.facts.service.port != nil {
			return
		}
		if !n.facts.flow.dst.IsValid() {
			return // no address was asked at all, as with a load balancer that has none
		}
		port := n.facts.flow.dst.Port()
		if s := n.facts.service; s != nil {
			f := q.report(n, n.hop.Why, fmt.Sprintf("add port %d to Service %s, or use one of its ports: %s", port, s, portList(s.service)),
				fmt.Sprintf("kubectl -n %s get svc %s -o wide", s.service.Namespace, s.service.Name))
			f.same = fmt.Sprintf("%s/%s port %d", s.service.Namespace, s.service.Name, port)
			return
		}
		fix := []string{"kubectl get svc -A | grep -E 'NodePort|LoadBalancer'   # the node ports there are"}
		services, err := q.cluster.Services(q.ctx, "")
		q.refused(err)
		for _, svc := range services {
			for _, p := range svc.Spec.Ports {
				if p.NodePort != 0 && (uint16(p.Port) == port || p.TargetPort.IntVal == int32(port)) {
					fix = append(fix, fmt.Sprintf("%s/%s port %d is NodePort %d: ask for %s:%d", svc.Namespace, svc.Name, p.Port, p.NodePort, n.facts.flow.dst.Addr(), p.NodePort))
				}
			}
		}
		q.report(n, n.hop.Why, fix...)
	}, KindService, KindLoadBalancer)
}
