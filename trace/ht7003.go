package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/k8s"
)

// ht7003 names traffic that leaves the mesh from the sidecar although a
// VirtualService sends that host through an egress gateway: the rule is not seen
// there, or its match leaves this connection out.
func ht7003(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || n.facts.direction != envoyadmin.Outbound || n.facts.pod == nil || behindHop(n, KindExternal) == nil || throughGateway(n) {
			return
		}
		f := n.facts.flow
		hosts := q.externalHosts(n, f)
		all, err := q.cluster.VirtualServices(q.ctx)
		q.refused(err)
		for _, vs := range all {
			if !slices.ContainsFunc(vs.Spec.GetHosts(), func(h string) bool {
				return slices.ContainsFunc(hosts, func(host string) bool { return k8s.HostMatches(h, host) })
			}) || !slices.Contains(gatewayNames(vs.Spec.GetGateways(), vs.Namespace), "mesh") {
				continue
			}
			wanted, why := q.egressRoute(vs, n, f)
			if wanted == "" {
				continue
			}
			if to := vs.Spec.GetExportTo(); !k8s.Visible(to, vs.Namespace, n.facts.pod.ref.namespace) {
				why = fmt.Sprintf("it is exported to %s only and lies in namespace %s, so the sidecar in %s does not see it", strings.Join(to, ", "), vs.Namespace, n.facts.pod.ref.namespace)
			}
			if why == "" {
				why = "the sidecar did not take it: its configuration may be behind"
			}
			found := q.report(n, fmt.Sprintf("VirtualService %s/%s sends %s through the egress gateway (cluster %s), and the sidecar of %s goes straight out by %s: %s", vs.Namespace, vs.Name, strings.Join(vs.Spec.GetHosts(), ", "), wanted, n.facts.pod.ref, o.Cluster, why),
				mendMatch(vs, why, f, n.facts.pod.ref.namespace),
				"istioctl proxy-status   # is the sidecar's LDS SYNCED?")
			found.effect = Degraded
			q.written(found, &vs.Meta, "tcp", "destinationSubnets")
			q.written(found, &vs.Meta, "exportTo", "exportTo")
			q.written(found, &vs.Meta, "http", wanted)
			return
		}
	}, KindCluster)
}

// mendMatch says what to change in the VirtualService so that it takes the flow.
func mendMatch(vs *k8s.VirtualService, why string, f flow, namespace string) string {
	switch {
	case strings.HasPrefix(why, "it is exported"):
		return fmt.Sprintf("add %q to spec.exportTo of %s, or move it to namespace %s", namespace, vs.Ref(), namespace)
	case strings.Contains(why, "destinationSubnets"):
		return fmt.Sprintf("in %s set tcp[].match[].destinationSubnets of the match for mesh to %q", vs.Ref(), netip.PrefixFrom(f.dst.Addr(), f.dst.Addr().BitLen()))
	case strings.Contains(why, "match is for port"):
		return fmt.Sprintf("in %s set tcp[].match[].port of the match for mesh to %d", vs.Ref(), f.dst.Port())
	}
	return "look at why the sidecar did not take " + vs.Ref().String() + ": istioctl analyze -n " + Quote(vs.Namespace)
}

// throughGateway says whether the way on from n passes a gateway's Pod.
func throughGateway(n *node) bool {
	found := false
	each(n, func(m *node) {
		found = found || m != n && m.hop.Kind == KindPod && m.hop.Detail.Role == string(k8s.RoleGateway)
	})
	return found
}

// externalHosts are the mesh's names for where the connection goes: by the
// cluster, by the request, by the ServiceEntries of the address.
func (q *inquiry) externalHosts(n *node, f flow) []string {
	var hosts []string
	if c, ok := parseIstioCluster(n.facts.outcome.Cluster); ok {
		hosts = append(hosts, c.host)
	}
	if f.authority != "" {
		hosts = append(hosts, hostOf(f))
	}
	entries, err := q.cluster.ServiceEntriesForAddr(q.ctx, f.dst.Addr())
	q.refused(err)
	for _, e := range entries {
		hosts = append(hosts, e.Spec.GetHosts()...)
	}
	return hosts
}

// egressRoute is the cluster of the route by which the VirtualService sends mesh
// traffic to an egress gateway, and why that route does not take the flow; ""
// for the reason where it would.
func (q *inquiry) egressRoute(vs *k8s.VirtualService, n *node, f flow) (cluster, why string) {
	for _, r := range vs.Spec.GetTcp() {
		for _, d := range r.GetRoute() {
			if cluster = q.gatewayCluster(d.GetDestination(), vs.Namespace); cluster != "" {
				return cluster, l4Mismatch(r.GetMatch(), f)
			}
		}
	}
	for _, r := range vs.Spec.GetTls() {
		for _, d := range r.GetRoute() {
			if cluster = q.gatewayCluster(d.GetDestination(), vs.Namespace); cluster != "" {
				return cluster, ""
			}
		}
	}
	for _, r := range vs.Spec.GetHttp() {
		for _, d := range r.GetRoute() {
			if cluster = q.gatewayCluster(d.GetDestination(), vs.Namespace); cluster != "" {
				return cluster, ""
			}
		}
	}
	return "", ""
}

// gatewayCluster is the cluster of a destination that is a Service of a gateway.
func (q *inquiry) gatewayCluster(d *networking.Destination, namespace string) string {
	svc, err := q.cluster.ServiceByHost(q.ctx, d.GetHost(), namespace)
	if q.refused(err) != nil || svc == nil {
		return ""
	}
	pods, err := q.cluster.PodsSelected(q.ctx, svc.Namespace, svc.Spec.Selector)
	q.refused(err)
	if len(pods) == 0 || pods[0].Proxy().Role != k8s.RoleGateway {
		return ""
	}
	port := int(d.GetPort().GetNumber())
	if port == 0 && len(svc.Spec.Ports) == 1 {
		port = int(svc.Spec.Ports[0].Port)
	}
	return fmt.Sprintf("outbound|%d|%s|%s", port, d.GetSubset(), svc.Host())
}

// l4Mismatch says why none of the matches that mesh traffic can meet takes the
// flow.
func l4Mismatch(matches []*networking.L4MatchAttributes, f flow) string {
	why := ""
	for _, m := range matches {
		if g := m.GetGateways(); len(g) > 0 && !slices.Contains(g, "mesh") {
			continue
		}
		if m.GetPort() != 0 && m.GetPort() != uint32(f.dst.Port()) {
			why = fmt.Sprintf("its match is for port %d, and the connection goes to port %d", m.GetPort(), f.dst.Port())
			continue
		}
		if subnets := m.GetDestinationSubnets(); len(subnets) > 0 && !slices.ContainsFunc(subnets, func(s string) bool { return inSubnet(s, f.dst.Addr()) }) {
			why = fmt.Sprintf("its match is for destinationSubnets %s, and the connection goes to %s", strings.Join(subnets, ", "), f.dst.Addr())
			continue
		}
		return ""
	}
	return why
}

func inSubnet(s string, a netip.Addr) bool {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Contains(a)
	}
	own, err := netip.ParseAddr(s)
	return err == nil && own == a
}
