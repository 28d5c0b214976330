package trace

import (
	"fmt"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/k8s"
)

// ht1003 names a Gateway server whose port is no port of the gateway's Service:
// the NodePort typed in, or a port nobody added to the Service.
func ht1003(q *inquiry) {
	q.kind(func(n *node) { // the listener that should be there is not
		o := n.facts.outcome
		if o == nil || o.Error != envoyadmin.NoListener || n.hop.State != Fail || n.facts.pod == nil {
			return
		}
		s := q.serviceBefore(n)
		if s == nil || s.port == nil {
			return
		}
		for _, g := range q.gatewaysOf(n.facts.pod) {
			for _, server := range g.Spec.GetServers() {
				port := int32(server.GetPort().GetNumber())
				if port == s.port.Port {
					return
				}
				if s.service.Spec.Ports == nil || q.servicePortNumbered(s.service, port) {
					continue
				}
				detail := fmt.Sprintf("Gateway %s/%s has a server on port %d, which is no port of Service %s/%s (%s)", g.Namespace, g.Name, port, s.service.Namespace, s.service.Name, portList(s.service))
				for _, p := range s.service.Spec.Ports {
					if p.NodePort == port {
						detail += fmt.Sprintf("; it is the NodePort of its port %d", p.Port)
					}
				}
				f := q.report(n, detail,
					fmt.Sprintf("in Gateway %s/%s set servers[].port.number to %d", g.Namespace, g.Name, s.port.Port),
					fmt.Sprintf("kubectl -n %s edit gateways.networking.istio.io %s", g.Namespace, g.Name))
				q.written(f, &g.Meta, "servers", fmt.Sprint(port))
				return
			}
		}
	}, KindListener)

	q.kind(func(n *node) { // a cluster for a port that the Service does not have
		if n.facts.wantedPort == 0 || n.hop.State != Fail {
			return
		}
		svc := n.facts.service.service
		for _, g := range q.allGateways() {
			for _, server := range g.Spec.GetServers() {
				if int(server.GetPort().GetNumber()) != n.facts.wantedPort || !q.gatewayServedBy(g, svc) {
					continue
				}
				f := q.report(n, fmt.Sprintf("Gateway %s/%s has a server on port %d of the Pods behind Service %s/%s, and the Service does not expose it (%s)", g.Namespace, g.Name, n.facts.wantedPort, svc.Namespace, svc.Name, portList(svc)),
					fmt.Sprintf("add port %d to Service %s/%s", n.facts.wantedPort, svc.Namespace, svc.Name),
					fmt.Sprintf("kubectl -n %s patch svc %s --type=json -p '[{\"op\":\"add\",\"path\":\"/spec/ports/-\",\"value\":{\"name\":\"%s\",\"port\":%d,\"targetPort\":%d}}]'", svc.Namespace, svc.Name, server.GetPort().GetName(), n.facts.wantedPort, n.facts.wantedPort))
				q.written(f, &g.Meta, "servers", fmt.Sprint(n.facts.wantedPort))
				q.citeBefore(f, n)
				return
			}
		}
	}, KindService)
}

// servicePortNumbered says whether the Service has the port.
func (q *inquiry) servicePortNumbered(svc *k8s.Service, port int32) bool {
	for _, p := range svc.Spec.Ports {
		if p.Port == port {
			return true
		}
	}
	return false
}
