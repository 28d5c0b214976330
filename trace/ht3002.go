package trace

import (
	"fmt"
	"slices"

	"github.com/hoptrail/hoptrail/k8s"
)

// ht3002 names a targetPort that the gateway does not listen on because it is
// privileged: Istio gives a server no listener below 1024 where the Pod may not
// bind it.
func ht3002(q *inquiry) {
	q.kind(func(n *node) {
		s := q.missingListener(n)
		if s == nil || n.facts.flow.dst.Port() >= 1024 {
			return
		}
		served := slices.ContainsFunc(q.gatewaysOf(n.facts.pod), func(g *k8s.Gateway) bool {
			for _, server := range g.Spec.GetServers() {
				if int32(server.GetPort().GetNumber()) == s.port.Port {
					return true
				}
			}
			return false
		})
		if !served {
			return
		}
		svc := s.service
		f := q.report(n, fmt.Sprintf("port %d of Service %s/%s has the targetPort %s: the gateway gets no listener on a port below 1024, and nothing listens there", s.port.Port, svc.Namespace, svc.Name, s.port.TargetPort.String()),
			fmt.Sprintf("in Service %s/%s set targetPort of port %d to %d", svc.Namespace, svc.Name, s.port.Port, 8000+int(s.port.Port)%1000),
			"or let the Pod bind privileged ports (NET_BIND_SERVICE, or sysctl net.ipv4.ip_unprivileged_port_start=0)")
		q.proof(f, Config, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: svc.Namespace, Name: svc.Name}}, fmt.Sprintf(`"port": %d, "targetPort": %s`, s.port.Port, s.port.TargetPort.String()), "targetPort")
	}, KindListener)
}
