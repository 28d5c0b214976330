package trace

import (
	"fmt"
	"slices"

	"github.com/hoptrail/hoptrail/k8s"
)

// ht3002 names a port of the gateway that nothing listens on: no Gateway asks for
// it, its listener never came, or it is privileged - Istio gives a server no
// listener below 1024 where the Pod may not bind it.
func ht3002(q *inquiry) {
	q.kind(func(n *node) {
		s := q.missingListener(n)
		if s == nil {
			return
		}
		if s.port == nil {
			q.report(n, fmt.Sprintf("nothing in %s listens on port %d", n.facts.pod.ref, n.facts.flow.dst.Port()),
				fmt.Sprintf("istioctl pc listeners %s.%s   # the ports that have a listener", n.facts.pod.ref.name, n.facts.pod.ref.namespace))
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
		svc, p := s.service, n.facts.pod
		if !served {
			q.report(n, fmt.Sprintf("nothing in %s listens on port %d: no Gateway that selects it has a server on port %d of Service %s/%s", p.ref, n.facts.flow.dst.Port(), s.port.Port, svc.Namespace, svc.Name),
				fmt.Sprintf("add a server on port %d to a Gateway that selects %s, or ask for a port that has one", s.port.Port, p.ref),
				fmt.Sprintf("istioctl pc listeners %s.%s", p.ref.name, p.ref.namespace))
			return
		}
		if n.facts.flow.dst.Port() >= 1024 {
			q.report(n, fmt.Sprintf("a Gateway has a server on port %d, and %s has no listener on port %d: the configuration was rejected, or has not arrived", s.port.Port, p.ref, n.facts.flow.dst.Port()),
				fmt.Sprintf("istioctl proxy-status %s.%s", p.ref.name, p.ref.namespace), "kubectl -n istio-system logs deploy/istiod | grep -i 'ACK ERROR'")
			return
		}
		f := q.report(n, fmt.Sprintf("port %d of Service %s/%s has the targetPort %s: the gateway gets no listener on a port below 1024, and nothing listens there", s.port.Port, svc.Namespace, svc.Name, s.port.TargetPort.String()),
			fmt.Sprintf("kubectl -n %s patch svc %s -p '{\"spec\":{\"ports\":[{\"port\":%d,\"targetPort\":%d}]}}'", svc.Namespace, svc.Name, s.port.Port, 8000+int(s.port.Port)%1000),
			"or let the Pod bind privileged ports (NET_BIND_SERVICE, or sysctl net.ipv4.ip_unprivileged_port_start=0)")
		q.proof(f, Config, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: svc.Namespace, Name: svc.Name}}, printed(svc.Raw, member("port", s.port.Port), member("targetPort", s.port.TargetPort)), "targetPort")
	}, KindListener)
}
