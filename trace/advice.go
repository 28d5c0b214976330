package trace

import (
	"fmt"
	"slices"
	"strings"
)

// What several rules say to do.

// ruleFor is the DestinationRule in force for the hop's cluster, or the one that
// would have to be written.
func (q *inquiry) ruleFor(n *node) string {
	name := n.hop.Detail.Name
	if o := n.facts.outcome; o != nil && o.Cluster != "" {
		name = o.Cluster
	}
	c, ok := parseIstioCluster(name)
	if !ok || n.facts.pod == nil {
		return "a DestinationRule for the host"
	}
	if rule, err := q.destinationRule(n.facts.pod.ref.namespace, c.host); q.refused(err) == nil && rule != nil {
		return rule.Ref().String()
	}
	return "a DestinationRule for " + c.host
}

// edit is the command that opens the first of the resources, behind a colon;
// empty where none is known by its kind and name.
func edit(owners []string) string {
	if len(owners) == 0 {
		return ""
	}
	kind, name, _ := strings.Cut(owners[0], " ")
	ns, name, ok := strings.Cut(name, "/")
	if resources[kind] == "" || !ok {
		return ""
	}
	name, _, _ = strings.Cut(name, " ") // an entry of it may follow
	return ": kubectl -n " + Quote(ns) + " edit " + resources[kind] + " " + Quote(name)
}

// redirecting names the Gateways of the hop's Pod that redirect to https.
func (q *inquiry) redirecting(n *node) string {
	var names []string
	if n.facts.pod != nil {
		for _, g := range q.gatewaysOf(n.facts.pod) {
			for _, server := range g.Spec.GetServers() {
				if name := g.Ref().String(); server.GetTls().GetHttpsRedirect() && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	if len(names) == 0 {
		return "the Gateway's server"
	}
	return "the servers of " + strings.Join(names, " and ")
}

// virtualServicesNamed are the VirtualServices that have the request's host and
// bind to a Gateway of the hop's Pod.
func (q *inquiry) virtualServicesNamed(n *node, virtualHost string) string {
	var names []string
	for _, vs := range q.virtualServicesFor(hostOf(n.facts.flow)) {
		if n.facts.pod != nil && q.bindsTo(vs, n.facts.pod) {
			names = append(names, vs.Ref().String())
		}
	}
	if len(names) == 0 {
		return "the VirtualService of " + virtualHost
	}
	return strings.Join(names, " or ")
}

// hostWanted says where a host that no virtual host takes has to be written: in a
// VirtualService, and in a Gateway unless one takes it already.
func (q *inquiry) hostWanted(n *node, nearest string) string {
	host := hostOf(n.facts.flow)
	var served, bound []string
	if n.facts.pod != nil {
		for _, g := range q.gatewaysOf(n.facts.pod) {
			for _, server := range g.Spec.GetServers() {
				if takes(server, host) && !slices.Contains(served, g.Ref().String()) {
					served = append(served, g.Ref().String())
				}
			}
		}
		for _, vs := range q.virtualServicesFor(nearest) {
			if nearest == "" || !q.bindsTo(vs, n.facts.pod) {
				continue
			}
			names := gatewayNames(vs.Spec.GetGateways(), vs.Namespace)
			if len(served) == 0 || slices.ContainsFunc(served, func(g string) bool { return slices.Contains(names, strings.TrimPrefix(g, "Gateway ")) }) {
				bound = append(bound, vs.Ref().String())
			}
		}
	}
	if len(served) > 0 && len(bound) == 0 {
		return fmt.Sprintf("write a VirtualService with spec.hosts [%s] and spec.gateways [%s]: that Gateway takes the host, and no VirtualService routes it", host, strings.TrimPrefix(served[0], "Gateway "))
	}
	to := "the VirtualService that should serve it"
	if len(bound) > 0 {
		to = strings.Join(bound, " or ")
	}
	if len(served) > 0 {
		return fmt.Sprintf("add %s to spec.hosts of %s (%s takes it already)", host, to, strings.Join(served, ", "))
	}
	return fmt.Sprintf("add %s to spec.hosts of %s, and to servers[].hosts of its Gateway", host, to)
}

// bare is a virtual host's name, as Istio makes it, without its port.
func bare(virtualHost string) string {
	return hostOf(flow{authority: virtualHost})
}
