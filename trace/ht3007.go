package trace

import (
	"bytes"
	"fmt"
)

// ht3007 names the PROXY protocol on one side only: spoken by the load balancer
// and not expected by the listener, or the reverse.
func ht3007(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		s := q.serviceBefore(n)
		if o == nil || s == nil || s.service == nil || n.facts.proxy == nil || n.facts.pod == nil || !cameBy(q, n, KindLoadBalancer) {
			return
		}
		const annotation = "service.beta.kubernetes.io/aws-load-balancer-proxy-protocol"
		value := s.service.Annotations[annotation]
		listens := bytes.Contains(o.Extra.Listener, []byte("envoy.filters.listener.proxy_protocol")) || bytes.Contains(o.Extra.Listener, []byte("envoy.listener.proxy_protocol"))
		var detail, fix string
		switch {
		case value != "" && !listens && len(o.Extra.Listener) > 0:
			detail = fmt.Sprintf("the load balancer of Service %s speaks the PROXY protocol (annotation %s), and listener %s does not expect it: its header is taken for the request", s, annotation, o.Listener)
			fix = fmt.Sprintf("let the gateway expect it: the Pod annotation proxy.istio.io/config: '{\"gatewayTopology\": {\"proxyProtocol\": {}}}'; or let the load balancer stop: kubectl -n %s annotate svc %s %s-", s.service.Namespace, s.service.Name, annotation)
		case value == "" && listens:
			detail = fmt.Sprintf("listener %s expects the PROXY protocol, and nothing says that the load balancer of Service %s speaks it", o.Listener, s)
			fix = fmt.Sprintf("let the load balancer speak it (on AWS: kubectl -n %s annotate svc %s '%s=*'), or take gatewayTopology.proxyProtocol out of the gateway's proxy.istio.io/config", s.service.Namespace, s.service.Name, annotation)
		default:
			return
		}
		n.hop.settle(Fail, detail)
		f := q.report(n, detail, fix)
		if value != "" {
			q.proof(f, Config, Query{Area: AreaCluster, File: "services"}, fmt.Sprintf("%q: %q", annotation, value), annotation)
		}
	}, KindListener)
}

// cameBy says whether a hop of the kind lies on the way to n.
func cameBy(q *inquiry, n *node, kind HopKind) bool {
	for _, m := range q.before(n) {
		if m.hop.Kind == kind {
			return true
		}
	}
	return false
}
