package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/k8s"
)

// ht5004 names a proxy whose endpoints for a Service are not those of its
// EndpointSlices: it was not told, or did not take, the newest ones.
func ht5004(q *inquiry) {
	seen := map[string]bool{}
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || n.facts.proxy == nil {
			return
		}
		c, ok := parseIstioCluster(o.Cluster)
		key := n.facts.proxy.pod.String() + " " + o.Cluster
		if !ok || c.direction != "outbound" || c.subset != "" || seen[key] {
			return
		}
		seen[key] = true
		svc, err := q.cluster.ServiceByHost(q.ctx, c.host, n.facts.pod.ref.namespace)
		if q.refused(err) != nil || svc == nil || svc.Spec.ClusterIP == "None" {
			return
		}
		s := q.behind(svc, svc.PortFor(uint16(c.port), "tcp"))
		if s.port == nil || s.notRead != nil {
			return
		}
		// Istio may send unready endpoints too, as unhealthy: any address of the
		// slices is known to it.
		var known, ready, have, stale, absent []string
		for _, e := range s.endpoints {
			known = append(known, e.Addr.String())
			if e.Ready {
				ready = append(ready, e.Addr.String())
			}
		}
		for _, e := range o.Endpoints {
			if _, err := netip.ParseAddrPort(e.Address); err != nil {
				return // not addresses: names, or internal listeners
			}
			have = append(have, e.Address)
			if !slices.Contains(known, e.Address) {
				stale = append(stale, e.Address)
			}
		}
		for _, a := range ready {
			// Of a Pod of two families a proxy may be told one address only.
			family := slices.ContainsFunc(have, func(h string) bool { return isSix(h) == isSix(a) })
			if family && !slices.Contains(have, a) {
				absent = append(absent, a)
			}
		}
		if len(stale) == 0 && len(absent) == 0 || len(have) == 0 {
			return
		}
		f := q.report(n, fmt.Sprintf("the Envoy of %s sends %s to %s; the EndpointSlices of Service %s hold %s", n.facts.proxy.pod, o.Cluster, strings.Join(have, ", "), s, strings.Join(known, ", ")),
			"istioctl proxy-status   # is this proxy's EDS SYNCED?",
			fmt.Sprintf("kubectl -n %s logs deploy/istiod | grep %s", "istio-system", n.facts.proxy.pod.name),
			fmt.Sprintf("restart the proxy if it stays behind: kubectl -n %s delete pod %s", n.facts.proxy.pod.namespace, n.facts.proxy.pod.name))
		if len(stale) < len(have) {
			f.effect = Degraded
		}
		if len(stale) > 0 && len(absent) == 0 && q.elsewhere(stale) {
			f.severity, f.effect = SeverityWarning, ""
			f.detail += "; " + strings.Join(stale, ", ") + " is outside of this cluster's ranges for Pods: another cluster of the mesh, or a WorkloadEntry, may have it"
		}
		if len(stale) == 0 {
			f.severity, f.effect = SeverityWarning, ""
		}
		q.quoteSlices(f, s)
		q.quote(f, Config, n.facts.proxy.pod.query(AreaProxy, configDump), quotedHosts(append(stale, have...))...)
	}, KindEndpoint)
	q.kind(func(n *node) { // both name a Pod that is gone
		e := n.facts.endpoint
		if e == nil || n.hop.State == Fail || seen["at "+e.Address] || slices.ContainsFunc(*q.all, func(f *finding) bool {
			return f.rule == q.rule && f.node.facts.proxy == n.facts.proxy && f.node.facts.outcome.Cluster == n.facts.outcome.Cluster
		}) {
			return
		}
		to := behindHop(n, KindPod)
		if to == nil || to.facts.pod != nil || to.hop.State != Fail || to.facts.flow.dst.String() != e.Address {
			return
		}
		seen["at "+e.Address] = true
		q.report(n, fmt.Sprintf("the Envoy of %s sends %s to %s, which no Pod has", n.facts.proxy.pod, n.facts.outcome.Cluster, e.Address),
			fmt.Sprintf("kubectl get pods -A -o wide | grep -F %s   # is it really gone?", Quote(e.Address[:strings.LastIndexByte(e.Address, ':')])),
			fmt.Sprintf("istioctl pc endpoints %s.%s --address %s", n.facts.proxy.pod.name, n.facts.proxy.pod.namespace, Quote(e.Address[:strings.LastIndexByte(e.Address, ':')])))
	}, KindEndpoint)
}

func isSix(addr string) bool { return strings.HasPrefix(addr, "[") }

// elsewhere says whether the addresses lie outside of every range that this
// cluster's nodes give to Pods, as those of another cluster of one mesh do.
func (q *inquiry) elsewhere(addrs []string) bool {
	nodes, err := q.cluster.Nodes(q.ctx)
	if q.refused(err) != nil || q.err != nil || !slices.ContainsFunc(nodes, func(n *k8s.Node) bool { return len(n.PodCIDRs()) > 0 }) {
		return false
	}
	for _, a := range addrs {
		if ap, err := netip.ParseAddrPort(a); err != nil || q.podRange(ap.Addr()) {
			return false
		}
	}
	return true
}

// quotedHosts are the hosts of addresses as JSON quotes them.
func quotedHosts(addrs []string) []string {
	out := make([]string, 0, len(addrs))
	for _, a := range addrs {
		if ap, err := netip.ParseAddrPort(a); err == nil {
			out = append(out, `"`+ap.Addr().String()+`"`)
		}
	}
	return out
}
