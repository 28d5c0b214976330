package trace

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/hoptrail/hoptrail/iptables"
)

// ht1008 names a targetPort that the Pods do not have: a name no container port
// carries.
func ht1008(q *inquiry) {
	q.kind(func(n *node) {
		s := n.facts.service
		if s == nil || s.port == nil || !refusedFor(n, iptables.NoEndpoints) {
			return
		}
		have := q.targetPortUnset(s)
		if have == "" {
			return
		}
		svc, name := s.service, s.port.TargetPort.StrVal
		f := q.report(q.serviceHopOf(n), fmt.Sprintf("port %s of Service %s/%s has the targetPort %q, and no container of its Pods names a port so (%s): the port has no endpoint", orElse(s.port.Name, fmt.Sprint(s.port.Port)), svc.Namespace, svc.Name, name, have),
			fmt.Sprintf("in Service %s/%s set targetPort of port %d to the name or number of one of them, or give the container port the name %q", svc.Namespace, svc.Name, s.port.Port, name),
			fmt.Sprintf("kubectl -n %s get pods -l %s -o jsonpath='{.items[*].spec.containers[*].ports}'", svc.Namespace, labels.Set(svc.Spec.Selector)))
		q.proof(f, Config, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: svc.Namespace, Name: svc.Name}}, printed(svc.Raw, member("port", s.port.Port), member("targetPort", name)), name)
		q.citeRules(f, n)
		q.quoteSlices(f, s)
	}, KindNode)
}

// targetPortUnset says which container ports there are where the port's
// targetPort is a name that none of them has; it is empty where the name is
// found, or the port is a number, or no Pod is selected at all.
func (q *inquiry) targetPortUnset(s *servicePort) string {
	if s.port.TargetPort.Type != intstr.String {
		return ""
	}
	pods, err := q.cluster.PodsSelected(q.ctx, s.service.Namespace, s.service.Spec.Selector)
	q.refused(err)
	if len(pods) == 0 {
		return ""
	}
	for _, p := range pods {
		if _, ok := p.PortNamed(s.port.TargetPort.StrVal, string(s.port.Protocol)); ok {
			return ""
		}
	}
	have := ""
	for _, c := range pods[0].Spec.Containers {
		for _, port := range c.Ports {
			have += fmt.Sprintf(" %s:%d", orElse(port.Name, "-"), port.ContainerPort)
		}
	}
	return "the Pods have" + orElse(have, " none declared")
}
