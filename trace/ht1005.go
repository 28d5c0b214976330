package trace

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/hoptrail/hoptrail/k8s"
)

// healthPortAnnotations tell a cloud's load balancer which port of the nodes to
// check.
var healthPortAnnotations = []string{
	"service.beta.kubernetes.io/aws-load-balancer-healthcheck-port",
	"service.beta.kubernetes.io/alibaba-cloud-loadbalancer-health-check-connect-port",
	"service.beta.kubernetes.io/do-loadbalancer-healthcheck-port",
	"service.beta.kubernetes.io/oci-load-balancer-health-check-port",
	"load-balancer.hetzner.cloud/health-check-port",
}

// statusPort is where Istio's gateways answer health checks.
const statusPort = 15021

// ht1005 names a load balancer that checks a port of the nodes that the Service
// does not have, or that has no node to send to.
func ht1005(q *inquiry) {
	q.kind(func(n *node) {
		s := n.facts.service
		if s == nil || s.service == nil || s.service.Spec.Type != corev1.ServiceTypeLoadBalancer {
			return
		}
		svc := s.service
		if n.hop.State == Fail && len(n.next) == 0 {
			q.withoutNodes(n)
		}
		for _, a := range healthPortAnnotations {
			value := svc.Annotations[a]
			port, err := strconv.Atoi(value)
			if err != nil || int32(port) == svc.Spec.HealthCheckNodePort {
				continue // "traffic-port" and the like follow the Service
			}
			var ports []string
			known := false
			for _, p := range svc.Spec.Ports {
				known = known || p.NodePort == int32(port)
				if p.NodePort != 0 {
					ports = append(ports, fmt.Sprintf("%d (%s)", p.NodePort, p.Name))
				}
			}
			if known {
				continue
			}
			fix := []string{fmt.Sprintf("kubectl -n %s annotate svc %s --overwrite %s=%d", svc.Namespace, svc.Name, a, healthNodePort(svc))}
			if statusNodePort(svc) == 0 && port >= 30000 && port <= 32767 && strings.Contains(printed(svc.Raw, "healthcheck-path", "health-check-path"), "healthz/ready") {
				// What is asked for is the gateway's own health, which the other ports do not tell.
				fix = []string{
					fmt.Sprintf("kubectl -n %s patch svc %s --type=json -p '[{\"op\":\"add\",\"path\":\"/spec/ports/-\",\"value\":{\"name\":\"status-port\",\"port\":%d,\"targetPort\":%d,\"nodePort\":%d}}]'   # gives the Service the port that is checked", svc.Namespace, svc.Name, statusPort, statusPort, port),
					fix[0] + "   # or check a port that it has, by TCP",
				}
			}
			f := q.report(n, fmt.Sprintf("the load balancer checks port %d of the nodes (annotation %s), which is no NodePort of Service %s/%s (%s): it finds every node down", port, a, svc.Namespace, svc.Name, strings.Join(ports, ", ")), fix...)
			q.proof(f, Config, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: svc.Namespace, Name: svc.Name}}, fmt.Sprintf("%q: %q", a, value), value)
		}
	}, KindLoadBalancer)
}

// withoutNodes names a load balancer of which every node is kept out by its label.
func (q *inquiry) withoutNodes(n *node) {
	nodes, err := q.cluster.Nodes(q.ctx)
	if q.refused(err) != nil || len(nodes) == 0 {
		return
	}
	for _, m := range nodes {
		if _, out := m.Labels[noBalancer]; !out {
			return
		}
	}
	f := q.report(n, "every node carries the label "+noBalancer+": the load balancer of "+n.facts.service.String()+" has no node to send to",
		"kubectl label node "+nodes[0].Name+" "+noBalancer+"-   # and so on the other nodes that may take traffic from outside")
	f.title, f.severity = "load balancer has no node to send to", SeverityError
	q.proof(f, Config, Query{Area: AreaCluster, File: "nodes", Select: Selector{Name: nodes[0].Name}}, printed(nodes[0].Raw, noBalancer), noBalancer)
}

// healthNodePort is the NodePort a health check should use: that of the gateway's
// status port, else the first.
func healthNodePort(svc *k8s.Service) int32 {
	if port := statusNodePort(svc); port != 0 {
		return port
	}
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 {
			return p.NodePort
		}
	}
	return svc.Spec.HealthCheckNodePort
}

// statusNodePort is the NodePort of the gateway's status port; 0 where the Service
// does not have it.
func statusNodePort(svc *k8s.Service) int32 {
	for _, p := range svc.Spec.Ports {
		if p.Port == statusPort || p.Name == "status-port" {
			return p.NodePort
		}
	}
	return 0
}
