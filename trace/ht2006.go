package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/iptables"
	"github.com/hoptrail/hoptrail/k8s"
)

// ht2006 names a node whose rules send a Service elsewhere than its
// EndpointSlices say: kube-proxy there is stopped or behind.
func ht2006(q *inquiry) {
	q.kind(func(n *node) {
		s, ns := n.facts.service, n.facts.netns
		if s == nil || s.port == nil || ns == nil || ns.area != AreaNode || ns.notRead != nil || s.notRead != nil {
			return
		}
		names := servicePortNames(s)
		names.Endpoints = nil
		ready := s.ready()
		for _, e := range ready {
			names.Endpoints = append(names.Endpoints, e.Addr)
		}
		var stale, gone, unready, absent []string
		for _, d := range ns.host.Disagreements([]iptables.ServicePort{names}) {
			switch {
			case d.Stale && slices.ContainsFunc(s.endpoints, func(e k8s.Endpoint) bool { return e.Addr == d.Endpoint && e.Serving }):
				// On its way out and still serving: what externalTrafficPolicy Local
				// falls back to on its node (KEP-1669).
			case d.Stale && slices.ContainsFunc(s.endpoints, func(e k8s.Endpoint) bool { return e.Addr == d.Endpoint }):
				unready = append(unready, d.Endpoint.String())
			case d.Stale:
				gone = append(gone, d.Endpoint.String())
			case !nearFirst(s.service):
				absent = append(absent, d.Endpoint.String())
			}
		}
		if stale = append(gone, unready...); len(stale) == 0 && len(absent) == 0 {
			return
		}
		var what []string
		if len(gone) > 0 {
			what = append(what, "send to "+strings.Join(gone, ", ")+", which the EndpointSlices do not hold")
		}
		if len(unready) > 0 {
			what = append(what, "send to "+strings.Join(unready, ", ")+", which the EndpointSlices hold as not ready")
		}
		if len(absent) > 0 {
			what = append(what, "do not send to "+strings.Join(absent, ", ")+", which the EndpointSlices hold")
		}
		f := q.report(n, fmt.Sprintf("the rules of node %s for Service %s %s: kube-proxy there is stopped or behind", n.hop.Subject.Name, s, strings.Join(what, ", and ")),
			kubeProxy(n.hop.Subject.Name)...)
		switch {
		case slices.ContainsFunc(n.next, func(e edge) bool { return slices.Contains(stale, e.to.facts.flow.dst.String()) && !q.arrives(e.to, s) }):
			f.effect = Degraded
		case n.hop.State != Fail:
			f.severity = SeverityWarning // nothing is sent where nobody is
		}
		for _, a := range stale {
			q.quote(f, Config, ns.query(saveV4), "--to-destination "+a)
		}
		q.quoteSlices(f, s)
		q.quoteOtherNodes(f, n, s)
	}, KindNode)
	q.kind(func(n *node) { // no rule at all for the Service
		if n.hop.State != Fail || n.facts.wantedPort != 0 || n.hop.Kind == KindApp && n.facts.pod != nil {
			return
		}
		for _, m := range q.graph.parents[n] {
			s := m.facts.service
			if s == nil {
				s = n.facts.service
			}
			if s == nil || s.port == nil || m.facts.netns == nil || m.facts.netns.area != AreaNode || slices.ContainsFunc(*q.all, func(f *finding) bool { return f.rule == q.rule && f.node == m }) {
				continue
			}
			f := q.report(m, fmt.Sprintf("the rules of node %s translate %s to none of the endpoints of Service %s: kube-proxy there is stopped, behind, or its rules were taken out", m.hop.Subject.Name, n.facts.flow.dst, s),
				append(kubeProxy(m.hop.Subject.Name), fmt.Sprintf("on node %s: iptables-save -t nat | grep -F %s", m.hop.Subject.Name, Quote(s.String())))...)
			q.quoteOtherNodes(f, m, s)
		}
	}, KindService, KindApp)
	q.kind(func(n *node) { // rules and slices agree on a Pod that is gone
		if n.facts.netns == nil || n.facts.netns.area != AreaNode || slices.ContainsFunc(*q.all, func(f *finding) bool { return f.rule == q.rule && f.node == n }) {
			return
		}
		for _, e := range n.next {
			if to := e.to; to.hop.Kind == KindPod && to.facts.pod == nil && to.hop.State == Fail && slices.Contains(n.hop.Detail.DNAT, to.facts.flow.dst.String()) {
				who := "the rules of node " + n.hop.Subject.Name + " send"
				if r := n.facts.packets; r == nil || r.Elsewhere() {
					who = "the EndpointSlices of Service " + n.facts.service.String() + " send"
				}
				f := q.report(n, fmt.Sprintf("%s to %s, which no Pod has", who, to.facts.flow.dst),
					fmt.Sprintf("kubectl get pods -A -o wide | grep -F %s   # is it really gone?", Quote(to.facts.flow.dst.Addr().String())),
					kubeProxy(n.hop.Subject.Name)[0], "kubectl -n kube-system logs -l component=kube-controller-manager --tail=200 | grep -i endpointslice   # who keeps the endpoint?")
				q.quote(f, Config, n.facts.netns.query(saveV4), "--to-destination "+to.facts.flow.dst.String())
			}
		}
	}, KindNode)
}

// arrives says whether what is sent to the hop comes to a Pod of the Service that
// may serve it.
func (q *inquiry) arrives(n *node, s *servicePort) bool {
	p := behindHop(n, KindPod)
	if p == nil || p.facts.pod == nil {
		return false
	}
	pod := p.facts.pod.obj
	if ready, _ := pod.Ready(); !ready && !s.service.Spec.PublishNotReadyAddresses {
		return false
	}
	return len(s.service.Spec.Selector) == 0 || s.service.Selects(pod.Namespace, pod.Labels)
}

// kubeProxy are the commands that show and restart the kube-proxy of a node.
func kubeProxy(node string) []string {
	which := "-l k8s-app=kube-proxy --field-selector spec.nodeName=" + Quote(node)
	return []string{
		"kubectl -n kube-system logs --tail=50 $(kubectl -n kube-system get pods " + which + " -o name)",
		"kubectl -n kube-system delete pods " + which + "   # starts it anew",
	}
}

// nearFirst says whether the Service asks for endpoints near the client, so that
// a node rightly leaves out others (KEP-2433, KEP-4444).
func nearFirst(svc *k8s.Service) bool {
	mode := svc.Annotations["service.kubernetes.io/topology-mode"] + svc.Annotations["service.kubernetes.io/topology-aware-hints"]
	return svc.Spec.TrafficDistribution != nil || mode != "" && !strings.EqualFold(mode, "disabled")
}

// maxOtherNodes bounds how many other nodes are asked for comparison.
const maxOtherNodes = 2

// quoteOtherNodes quotes the rules of nodes whose rules do hold the endpoints.
func (q *inquiry) quoteOtherNodes(f *finding, n *node, s *servicePort) {
	nodes, err := q.cluster.Nodes(q.ctx)
	q.refused(err)
	asked := 0
	for _, k := range nodes {
		if k.Name == n.hop.Subject.Name || asked == maxOtherNodes {
			continue
		}
		asked++
		other := q.nodeNet(k.Name, n.facts.flow.dst.Addr().Is6())
		if q.err != nil || other.notRead != nil {
			continue
		}
		for _, e := range s.ready() {
			if q.quote(f, Config, other.query(saveV4), "--to-destination "+e.Addr.String()) {
				return
			}
		}
	}
}
