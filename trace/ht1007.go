package trace

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/hoptrail/hoptrail/iptables"
	"github.com/hoptrail/hoptrail/k8s"
)

// ht1007 names a Service that selects no Pod or has no ready endpoint, so that
// kube-proxy refuses what is sent to it.
func ht1007(q *inquiry) {
	q.kind(func(n *node) {
		s := n.facts.service
		if s == nil || s.port == nil || !refusedFor(n, iptables.NoEndpoints) && !sentToNobody(n) || q.targetPortUnset(s) != "" {
			return
		}
		if s.notRead == nil && len(s.sentTo(n.facts.flow.dst.Addr())) > 0 {
			return // there are: the node's rules are behind
		}
		guilty := q.serviceHopOf(n)
		svc := s.service
		pods, err := q.cluster.PodsSelected(q.ctx, svc.Namespace, svc.Spec.Selector)
		q.refused(err)
		var why []string
		for _, p := range pods {
			if ready, reason := p.Ready(); !ready {
				why = append(why, p.Namespace+"/"+p.Name+": "+reason)
			}
		}
		selector := labels.Set(svc.Spec.Selector).String()
		detail := fmt.Sprintf("Service %s has no ready endpoint: ", s)
		var fix []string
		var idle *scaled
		switch {
		case len(svc.Spec.Selector) == 0:
			detail += "it has no selector, and nothing else gave it one"
			fix = append(fix, fmt.Sprintf("kubectl -n %s get endpointslices -l kubernetes.io/service-name=%s   # whoever keeps them has to add a ready endpoint", svc.Namespace, svc.Name))
		case len(pods) == 0:
			detail += "its selector " + selector + " matches no Pod"
			if idle = q.scaledToZero(svc.Namespace, svc.Spec.Selector); idle != nil {
				detail += idle.says
				fix = append(fix, idle.fix...)
				break
			}
			fix = append(fix, fmt.Sprintf("kubectl -n %s get pods --show-labels   # against the selector %s", svc.Namespace, selector))
		case len(why) > 0:
			detail += strings.Join(why, "; ")
			fix = append(fix, fmt.Sprintf("kubectl -n %s describe pod -l %s", svc.Namespace, selector))
		default:
			detail += fmt.Sprintf("the %d Pods it selects are ready, its EndpointSlices hold none of them", len(pods))
			fix = append(fix, fmt.Sprintf("kubectl -n %s get endpointslices -l kubernetes.io/service-name=%s -o yaml", svc.Namespace, svc.Name))
		}
		f := q.report(guilty, detail, fix...)
		q.citeRules(f, n)
		if idle != nil {
			q.proof(f, Config, idle.query, idle.excerpt, "replicas")
		}
		for _, p := range pods {
			if ready, reason := p.Ready(); !ready {
				pod := Query{Area: AreaCluster, File: "pods", Select: Selector{Namespace: p.Namespace, Name: p.Name}}
				if !q.quoteConditions(f, pod, p) {
					q.proof(f, Config, pod, reason, "")
				}
			}
		}
		q.quoteSlices(f, s)
	}, KindNode)
}

// sentToNobody says whether the node's rules still send to a Pod that is gone or
// not ready, where the Service has no endpoint left either.
func sentToNobody(n *node) bool {
	s := n.facts.service
	left := slices.ContainsFunc(s.endpoints, func(e k8s.Endpoint) bool { return e.Ready || e.Serving })
	return s.notRead == nil && !left && slices.ContainsFunc(n.next, func(e edge) bool {
		p := behindHop(e.to, KindPod)
		if p == nil {
			return false
		}
		if p.facts.pod == nil {
			return p.hop.State == Fail
		}
		ready, _ := p.facts.pod.obj.Ready()
		return !ready
	})
}

// refusedFor says whether the node's rules refused the packet for the reason.
func refusedFor(n *node, cause iptables.Cause) bool {
	if n.facts.packets == nil {
		return false
	}
	for _, o := range n.facts.packets.Outcomes {
		if o.Cause == cause && (o.Verdict == iptables.Drop || o.Verdict == iptables.Reject) {
			return true
		}
	}
	return false
}

// serviceHopOf is the Service's own hop on the way to the node, else the node's.
func (q *inquiry) serviceHopOf(n *node) *node {
	for _, m := range q.before(n) {
		if m.hop.Kind == KindService || m.hop.Kind == KindLoadBalancer {
			return m
		}
	}
	return n
}

// citeRules adds the rules that a node's hop quotes to a finding elsewhere.
func (q *inquiry) citeRules(f *finding, n *node) {
	for _, e := range n.hop.Evidence {
		f.evidence = append(f.evidence, e.ID)
	}
}

// quoteConditions quotes why a Pod is not ready, in its own words.
func (q *inquiry) quoteConditions(f *finding, query Query, p *k8s.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" && c.Status != "True" {
			q.proof(f, Config, query, printed(p.Raw, `"type": "Ready"`, member("reason", c.Reason), member("message", c.Message), `"status": "False"`), c.Message)
			return true
		}
	}
	return false
}

// quoteSlices quotes the endpoints that a Service's EndpointSlices hold.
func (q *inquiry) quoteSlices(f *finding, s *servicePort) {
	query := Query{Area: AreaCluster, File: "endpointslices.discovery.k8s.io", Select: Selector{Namespace: s.service.Namespace, Labels: "kubernetes.io/service-name=" + s.service.Name}}
	all, err := q.cluster.EndpointSlices(q.ctx, s.service.Namespace, s.service.Name)
	if q.refused(err) != nil || q.err != nil {
		return
	}
	for _, slice := range all {
		texts := []string{member("name", slice.Name), `"ready":`, `"endpoints":`}
		for _, e := range slice.EndpointSlice.Endpoints {
			for _, a := range e.Addresses {
				texts = append(texts, strconv.Quote(a))
			}
		}
		q.proof(f, Config, query, printed(slice.Raw, texts...), "")
	}
}
