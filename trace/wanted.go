package trace

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/hoptrail/hoptrail/k8s"
)

// istioCluster is what Istio's name of a cluster says:
// direction|port|subset|host (pilot/pkg/model, BuildSubsetKey).
type istioCluster struct {
	direction string
	port      int
	subset    string
	host      string
}

func parseIstioCluster(name string) (istioCluster, bool) {
	parts := strings.Split(name, "|")
	if len(parts) != 4 {
		return istioCluster{}, false
	}
	port, err := strconv.Atoi(parts[1])
	if err != nil || parts[0] != "outbound" && parts[0] != "inbound" {
		return istioCluster{}, false
	}
	return istioCluster{parts[0], port, parts[2], parts[3]}, true
}

// wanted is the Service that a cluster which does not exist was meant for: what
// a person has to look at next. It is nil where the name does not tell.
func (w *walker) wanted(cluster, namespace string, f flow) *node {
	c, ok := parseIstioCluster(cluster)
	if !ok || c.direction != "outbound" || w.err != nil {
		return nil
	}
	svc, err := w.cluster.ServiceByHost(w.ctx, c.host, namespace)
	if w.refused(err) != nil || w.err != nil {
		return nil
	}
	if svc == nil {
		return nil
	}
	n := w.hop(KindService, Subject{Kind: "Service", Namespace: svc.Namespace, Name: svc.Name}, f)
	s := &servicePort{service: svc, port: svc.PortFor(uint16(c.port), "tcp")}
	n.facts.wantedPort = c.port
	w.showService(n, s)
	if s.port == nil {
		n.hop.Summary = fmt.Sprintf("no port %d on %s", c.port, s)
		n.hop.settle(Fail, fmt.Sprintf("the cluster asks for port %d of %s, which has the ports %s", c.port, s, portList(svc)))
	} else {
		n.hop.Summary = s.String() + " exists, but this proxy has no cluster for it"
		n.hop.settle(OK, "")
	}
	return w.done(n)
}

// pending is the Service that should have had the address of a name without
// one: the load balancer of a gateway that serves the host, and that has no
// address yet. It is nil where there is none such.
func (w *walker) pending(f flow) *node {
	if w.err != nil || f.at.area == AreaPod {
		return nil
	}
	host := w.target.Host
	services, err := w.cluster.Services(w.ctx, "")
	if w.refused(err) != nil || w.err != nil {
		return nil
	}
	for _, svc := range services {
		if svc.Spec.Type != corev1.ServiceTypeLoadBalancer || len(svc.Status.LoadBalancer.Ingress) > 0 || !w.serves(svc, host) {
			continue
		}
		port := svc.PortFor(uint16(w.target.Port), "tcp")
		n := w.hop(KindLoadBalancer, Subject{Kind: "Service", Namespace: svc.Namespace, Name: svc.Name}, f)
		s := w.behind(svc, port)
		w.showService(n, s)
		n.hop.Summary = "the load balancer of " + s.String() + " has no address yet"
		n.hop.settle(Fail, "status.loadBalancer of Service "+svc.Namespace+"/"+svc.Name+" is empty")
		return w.done(n)
	}
	return nil
}

// serves says whether the Service is meant for the host: by external-dns'
// annotation, or because a Gateway of the Pods it selects has the host.
func (w *walker) serves(svc *k8s.Service, host string) bool {
	for name := range strings.SplitSeq(svc.Annotations["external-dns.alpha.kubernetes.io/hostname"], ",") {
		if k8s.HostMatches(strings.TrimSpace(name), host) {
			return true
		}
	}
	gateways, err := w.cluster.Gateways(w.ctx)
	if w.refused(err) != nil || w.err != nil {
		return false
	}
	for _, g := range gateways {
		for _, server := range g.Spec.GetServers() {
			if !takes(server, host) {
				continue
			}
			pods, err := w.cluster.PodsOfGateway(w.ctx, g)
			w.refused(err)
			for _, p := range pods {
				if svc.Selects(p.Namespace, p.Labels) {
					return true
				}
			}
		}
	}
	return false
}
