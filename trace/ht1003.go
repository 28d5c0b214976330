package trace

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

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
		gateways := q.gatewaysOf(n.facts.pod)
		if s.service.Spec.Ports == nil || slices.ContainsFunc(gateways, func(g *k8s.Gateway) bool { return serverOn(g, s.port.Port) != nil }) {
			return
		}
		for _, g := range gateways {
			for _, server := range g.Spec.GetServers() {
				port := int32(server.GetPort().GetNumber())
				if q.servicePortNumbered(s.service, port) || !intended(server, s.port, n.facts.flow) {
					continue
				}
				detail := fmt.Sprintf("Gateway %s/%s has a server for %s on port %d, which is no port of Service %s/%s (%s)", g.Namespace, g.Name, strings.Join(server.GetHosts(), ", "), port, s.service.Namespace, s.service.Name, portList(s.service))
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
					fmt.Sprintf("kubectl -n %s patch svc %s --type=json -p '[{\"op\":\"add\",\"path\":\"/spec/ports/-\",\"value\":{\"name\":\"%s\",\"port\":%d,\"targetPort\":%d}}]'", svc.Namespace, svc.Name, portName(server), n.facts.wantedPort, n.facts.wantedPort))
				q.written(f, &g.Meta, "servers", fmt.Sprint(n.facts.wantedPort))
				q.citeBefore(f, n)
				return
			}
		}
	}, KindService)
}

// portName is a name for the Service's port of a Gateway's server: Istio reads the
// protocol from its beginning.
func portName(server *networking.Server) string {
	return fmt.Sprintf("%s-%d", strings.ToLower(orElse(server.GetPort().GetProtocol(), "TCP")), server.GetPort().GetNumber())
}

// serverOn is the Gateway's server on the port; nil where it has none.
func serverOn(g *k8s.Gateway, port int32) *networking.Server {
	for _, s := range g.Spec.GetServers() {
		if int32(s.GetPort().GetNumber()) == port {
			return s
		}
	}
	return nil
}

// intended says whether a Gateway's server is the one that was to serve what was
// asked for: its hosts take the request's, or, where a bare connection names no
// host, its port is the Service port's NodePort or target.
func intended(server *networking.Server, port *corev1.ServicePort, f flow) bool {
	if host := askedHost(f); host != "" {
		return takes(server, host)
	}
	number := int32(server.GetPort().GetNumber())
	return number == port.NodePort || number == port.TargetPort.IntVal
}

// askedHost is the host by which a Gateway's server is chosen; empty where a bare
// connection names none.
func askedHost(f flow) string {
	if f.app != "tcp" {
		return hostOf(f)
	}
	return f.sni
}

// takes says whether a Gateway's server is for the host.
func takes(server *networking.Server, host string) bool {
	return slices.ContainsFunc(server.GetHosts(), func(h string) bool {
		_, h = k8s.SplitHost(h)
		return k8s.HostMatches(h, host)
	})
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
