package trace

import (
	"fmt"
	"strings"

	"github.com/hoptrail/hoptrail/iptables"
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
		var stale, absent []string
		for _, d := range ns.host.Disagreements([]iptables.ServicePort{names}) {
			if d.Stale {
				stale = append(stale, d.Endpoint.String())
			} else {
				absent = append(absent, d.Endpoint.String())
			}
		}
		if len(stale) == 0 && len(absent) == 0 {
			return
		}
		var what []string
		if len(stale) > 0 {
			what = append(what, "send to "+strings.Join(stale, ", ")+", which the EndpointSlices do not hold")
		}
		if len(absent) > 0 {
			what = append(what, "do not send to "+strings.Join(absent, ", ")+", which the EndpointSlices hold")
		}
		f := q.report(n, fmt.Sprintf("the rules of node %s for Service %s %s: kube-proxy there is stopped or behind", n.hop.Subject.Name, s, strings.Join(what, ", and ")),
			fmt.Sprintf("kubectl -n kube-system get pods -o wide --field-selector spec.nodeName=%s -l k8s-app=kube-proxy, and its log", n.hop.Subject.Name),
			"restart it: kubectl -n kube-system delete pod <kube-proxy of that node>")
		for _, a := range stale {
			q.quote(f, Config, ns.query(saveV4), "--to-destination "+a)
		}
		q.quoteSlices(f, s)
		q.quoteOtherNodes(f, n, s)
	}, KindNode)
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
