package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/k8s"
)

// ht4008 names a VirtualService that binds to a Gateway which does not exist.
func ht4008(q *inquiry) {
	q.kind(func(n *node) {
		if !unrouted(n) {
			return
		}
		for _, r := range q.httpRoutesFor(hostOf(n.facts.flow)) {
			name, near := q.absentParent(r, n.facts.pod)
			if name == "" || hostKnown(n, r) {
				continue
			}
			fix := fmt.Sprintf("kubectl -n %s edit httproutes.gateway.networking.k8s.io %s", r.Namespace, r.Name)
			if near != "" {
				fix += fmt.Sprintf("   # is Gateway %s meant?", near)
			}
			f := q.report(n, fmt.Sprintf("HTTPRoute %s/%s has the host %s and names Gateway %s in parentRefs, which does not exist", r.Namespace, r.Name, hostOf(n.facts.flow), name), fix)
			f.title = "HTTPRoute binds to a Gateway that does not exist"
			q.written(f, &r.Meta, "parentRefs", name[strings.IndexByte(name, '/')+1:])
			return
		}
		gateways, err := q.cluster.Gateways(q.ctx)
		if q.refused(err) != nil || q.err != nil {
			return // what was not read may exist
		}
		var have []string
		for _, g := range gateways {
			have = append(have, g.Namespace+"/"+g.Name)
		}
		for _, vs := range q.virtualServicesFor(hostOf(n.facts.flow)) {
			if q.bindsTo(vs, n.facts.pod) {
				continue
			}
			for _, name := range gatewayNames(vs.Spec.GetGateways(), vs.Namespace) {
				if name == "mesh" || slices.Contains(have, name) {
					continue
				}
				near := q.likelyGateway(name, have, n.facts.pod)
				fix := fmt.Sprintf("in VirtualService %s/%s set spec.gateways to one that exists: %s", vs.Namespace, vs.Name, strings.Join(have, ", "))
				if near != "" {
					fix = fmt.Sprintf("in VirtualService %s/%s set spec.gateways to %q", vs.Namespace, vs.Name, near)
				}
				f := q.report(n, fmt.Sprintf("VirtualService %s/%s has the host %s and binds to Gateway %s, which does not exist", vs.Namespace, vs.Name, hostOf(n.facts.flow), name), fix)
				q.written(f, &vs.Meta, "gateways", name)
				return
			}
		}
	}, KindRoute)
}

// likelyGateway is the Gateway that was probably meant: the nearest name, or the
// same name in another namespace.
func (q *inquiry) likelyGateway(name string, have []string, p *pod) string {
	_, bare, _ := strings.Cut(name, "/")
	for _, g := range q.gatewaysOf(p) {
		if g.Name == bare {
			return g.Namespace + "/" + g.Name
		}
	}
	return k8s.Nearest(name, have)
}
