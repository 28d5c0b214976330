package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/k8s"
)

// unrouted says whether the proxy knows no route for the request's host.
func unrouted(n *node) bool {
	o := n.facts.outcome
	return o != nil && n.hop.State == Fail && n.facts.pod != nil &&
		(o.Error == envoyadmin.NoVirtualHost || o.Error == envoyadmin.NoRoute || o.Error == envoyadmin.NoRouteConfig)
}

// bindsTo says whether a Gateway that the VirtualService names selects the Pod.
func (q *inquiry) bindsTo(vs *k8s.VirtualService, p *pod) bool {
	names := gatewayNames(vs.Spec.GetGateways(), vs.Namespace)
	return slices.ContainsFunc(q.gatewaysOf(p), func(g *k8s.Gateway) bool { return slices.Contains(names, g.Namespace+"/"+g.Name) })
}

// ht4007 names a Gateway whose hosts leave out the host of a VirtualService that
// binds to it.
func ht4007(q *inquiry) {
	q.kind(func(n *node) {
		if !unrouted(n) {
			return
		}
		host := hostOf(n.facts.flow)
		for _, r := range q.httpRoutesFor(host) {
			parent, c := refusedGateway(r, n.facts.pod)
			if c.Type == "" || hostKnown(n, r) {
				continue
			}
			f := q.report(n, fmt.Sprintf("HTTPRoute %s/%s has the host %s, and Gateway %s does not take it: %s (%s)", r.Namespace, r.Name, host, parent, c.Message, c.Reason),
				fmt.Sprintf("in Gateway %s widen listeners[].hostname or listeners[].allowedRoutes, or in the route mend parentRefs: kubectl -n %s edit httproutes.gateway.networking.k8s.io %s", parent, r.Namespace, r.Name))
			f.title = "Gateway does not take the HTTPRoute"
			q.written(f, &r.Meta, "parentRefs", "parentRefs")
			return
		}
		for _, vs := range q.virtualServicesFor(host) {
			names := gatewayNames(vs.Spec.GetGateways(), vs.Namespace)
			for _, g := range q.gatewaysOf(n.facts.pod) {
				if !slices.Contains(names, g.Namespace+"/"+g.Name) {
					continue
				}
				var hosts []string
				taken := false
				for _, server := range g.Spec.GetServers() {
					for _, h := range server.GetHosts() {
						ns, h := k8s.SplitHost(h)
						hosts = append(hosts, h)
						taken = taken || k8s.HostMatches(h, host) && namespaceAdmits(ns, vs.Namespace, g.Namespace)
					}
				}
				if taken {
					continue
				}
				f := q.report(n, fmt.Sprintf("VirtualService %s/%s has the host %s and binds to Gateway %s/%s, whose servers take %s only", vs.Namespace, vs.Name, host, g.Namespace, g.Name, strings.Join(hosts, ", ")),
					fmt.Sprintf("in Gateway %s/%s add %q to servers[].hosts%s", g.Namespace, g.Name, host, nearestHint(host, hosts)))
				q.written(f, &g.Meta, "servers", host)
				q.written(f, &vs.Meta, "hosts", host)
				return
			}
		}
	}, KindRoute)
}

// namespaceAdmits says whether the namespace part of a Gateway's host, "" or *
// for any, . for its own, takes a VirtualService of the namespace.
func namespaceAdmits(want, namespace, own string) bool {
	switch want {
	case "", "*":
		return true
	case ".":
		return namespace == own
	}
	return want == namespace
}

func nearestHint(want string, have []string) string {
	if near := k8s.Nearest(want, have); near != "" {
		return " (is " + near + " a slip of the pen?)"
	}
	return ""
}

// hostOf is the request's host without a port.
func hostOf(f flow) string { return withoutPort(f.authority) }

// withoutPort is a host, or a domain of a virtual host, without a port.
func withoutPort(s string) string {
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		return s[:i]
	}
	return s
}
