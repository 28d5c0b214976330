package trace

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/hoptrail/hoptrail/k8s"
)

// ht3004 names two Gateways that claim one host and port on the same Pods: Istio
// keeps the server of the older one, and what binds to the younger is not
// served.
func ht3004(q *inquiry) {
	q.kind(func(n *node) {
		if !unrouted(n) {
			return
		}
		s := q.serviceBefore(n)
		if s == nil || s.port == nil {
			return
		}
		host := hostOf(n.facts.flow)
		var claim []*k8s.Gateway
		for _, g := range q.gatewaysOf(n.facts.pod) {
			if slices.ContainsFunc(g.Spec.GetServers(), func(v *networking.Server) bool {
				return int32(v.GetPort().GetNumber()) == s.port.Port && takes(v, host)
			}) {
				claim = append(claim, g)
			}
		}
		if len(claim) < 2 || !slices.ContainsFunc(q.virtualServicesFor(host), func(vs *k8s.VirtualService) bool { return q.bindsTo(vs, n.facts.pod) }) {
			return
		}
		slices.SortStableFunc(claim, func(a, b *k8s.Gateway) int { return a.Created.Compare(b.Created) })
		at := q.listenerHop(n)
		older, younger := claim[0], claim[len(claim)-1]
		f := q.report(at, fmt.Sprintf("Gateways %s/%s and %s/%s both have a server for %s on port %d; Istio keeps the older one's (%s/%s), whose route table %s has no route of the VirtualService that binds to the other", older.Namespace, older.Name, younger.Namespace, younger.Name, host, s.port.Port, older.Namespace, older.Name, n.facts.outcome.RouteConfig),
			fmt.Sprintf("take %s out of one of the two, or bind %s to %s/%s too (spec.gateways)", host, q.virtualServicesNamed(n, host), older.Namespace, older.Name))
		for _, g := range claim {
			q.written(f, &g.Meta, "servers", host)
		}
		for _, e := range n.hop.Evidence {
			f.evidence = append(f.evidence, e.ID)
		}
	}, KindRoute)
}
