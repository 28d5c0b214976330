package trace

import (
	"fmt"
	"slices"
	"strings"
)

// ht7001 names traffic that the mesh drops because it knows no such destination
// (outboundTrafficPolicy REGISTRY_ONLY).
func ht7001(q *inquiry) {
	q.each(func(n *node) {
		o := n.facts.outcome
		if o == nil || n.facts.pod == nil || n.facts.endpoint != nil {
			return
		}
		blackHole := n.hop.Kind == KindCluster && n.hop.Detail.Name == "BlackHoleCluster"
		blockAll := n.hop.Kind == KindRoute && o.VirtualHost == "block_all"
		if !blackHole && !blockAll {
			return
		}
		f := n.facts.flow
		what := f.dst.String()
		if blockAll {
			what = f.authority
		}
		n.hop.settle(Fail, "the sidecar knows no destination "+what+" and the mesh allows only registered ones")
		var fix []string
		if other := q.registeredAt(f); other != "" && blackHole {
			fix = append(fix, other)
		}
		found := q.report(n, "the sidecar of "+n.facts.pod.ref.String()+" has no Service or ServiceEntry for "+what+"; outboundTrafficPolicy REGISTRY_ONLY drops what is not registered", append(fix,
			q.serviceEntryFor(f, n.facts.pod.ref.namespace),
			"kubectl -n istio-system get cm istio -o jsonpath='{.data.mesh}' | grep -A2 outboundTrafficPolicy")...)
		if blockAll { // Istio's answer for all of the port: the sidecar's, not a route's
			found.inside = q.listenerHop(n)
		}
	})
}

// registeredAt says at which other ports a ServiceEntry has the address that was
// asked for; "" where none has it.
func (q *inquiry) registeredAt(f flow) string {
	all, err := q.cluster.ServiceEntries(q.ctx)
	q.refused(err)
	for _, e := range all {
		has := slices.ContainsFunc(e.Spec.GetAddresses(), func(a string) bool { return inSubnet(a, f.dst.Addr()) })
		for _, ep := range e.Spec.GetEndpoints() {
			has = has || ep.GetAddress() == f.dst.Addr().String()
		}
		var ports []string
		for _, p := range e.Spec.GetPorts() {
			ports = append(ports, fmt.Sprint(p.GetNumber()))
		}
		if has && len(ports) > 0 {
			return fmt.Sprintf("ask for port %s, if that was meant: %s has %s there", strings.Join(ports, " or "), e.Ref(), f.dst.Addr())
		}
	}
	return ""
}

// serviceEntryFor is the ServiceEntry that would register what is asked for.
func (q *inquiry) serviceEntryFor(f flow, namespace string) string {
	host, protocol, spec := hostOf(f), "HTTP", "resolution: DNS"
	switch {
	case f.app == "tcp" && f.sni != "":
		host, protocol = f.sni, "TLS"
	case f.tls != "none" && f.app != "tcp":
		protocol = "HTTPS"
	case f.app == "tcp":
		host, protocol, spec = "NAME", "TCP", fmt.Sprintf("addresses: [%s], resolution: STATIC, endpoints: [{address: %s}]", f.dst.Addr(), f.dst.Addr())
	}
	return fmt.Sprintf("add a ServiceEntry to namespace %s with spec: {hosts: [%s], location: MESH_EXTERNAL, %s, ports: [{number: %d, name: %s, protocol: %s}]}", namespace, host, spec, f.dst.Port(), strings.ToLower(protocol), protocol)
}
