package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/k8s"
)

const exportTo = "networking.istio.io/exportTo"

// ht6005 names a destination that exists and that this proxy is not told of:
// exportTo of the Service or ServiceEntry, or the Sidecar's egress hosts.
func ht6005(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || o.Error != envoyadmin.NoCluster || n.hop.State != Fail || n.facts.pod == nil {
			return
		}
		c, ok := parseIstioCluster(n.hop.Detail.Name)
		if !ok {
			return
		}
		ns := n.facts.pod.ref.namespace
		svc, err := q.cluster.ServiceByHost(q.ctx, c.host, ns)
		if q.refused(err) != nil {
			return
		}
		if svc != nil && svc.PortFor(uint16(c.port), "tcp") != nil {
			if value, set := svc.Annotations[exportTo]; set && !k8s.Visible(strings.Split(value, ","), svc.Namespace, ns) {
				f := q.report(n, fmt.Sprintf("Service %s/%s exists, and its annotation %s %q hides it from proxies in namespace %s: the route's cluster %s is not there", svc.Namespace, svc.Name, exportTo, value, ns, n.hop.Detail.Name),
					fmt.Sprintf("kubectl -n %s annotate svc %s --overwrite %s='.,%s'", svc.Namespace, svc.Name, exportTo, ns))
				q.proof(f, Config, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: svc.Namespace, Name: svc.Name}}, fmt.Sprintf("%q: %q", exportTo, value), exportTo)
				return
			}
			q.hiddenBySidecar(n, svc.Namespace, c.host)
			return
		}
		entries, err := q.cluster.ServiceEntriesForHost(q.ctx, c.host)
		q.refused(err)
		for _, e := range entries {
			if to := e.Spec.GetExportTo(); !k8s.Visible(to, e.Namespace, ns) {
				f := q.report(n, fmt.Sprintf("ServiceEntry %s/%s for %s is exported to %s only and hidden from namespace %s", e.Namespace, e.Name, c.host, strings.Join(to, ", "), ns),
					fmt.Sprintf("add %q to spec.exportTo of ServiceEntry %s/%s", ns, e.Namespace, e.Name))
				q.written(f, &e.Meta, "exportTo", ns)
				return
			}
			q.hiddenBySidecar(n, e.Namespace, c.host)
		}
	}, KindCluster)
	q.kind(q.unknownToSidecar, KindRoute, KindCluster)
}

// unknownToSidecar names a destination of the mesh that a sidecar treats as none
// of it - dropped or passed through - because it is not told of it.
func (q *inquiry) unknownToSidecar(n *node) {
	o, f := n.facts.outcome, n.facts.flow
	if o == nil || n.facts.pod == nil || n.facts.direction != envoyadmin.Outbound || n.hop.Kind == KindRoute && o.VirtualHost != "block_all" ||
		n.hop.Kind == KindCluster && n.hop.Detail.Name != "BlackHoleCluster" && n.hop.Detail.Name != "PassthroughCluster" {
		return
	}
	ns := n.facts.pod.ref.namespace
	var found *finding
	if s := q.serviceAt(f); s != nil && s.port != nil {
		if value, set := s.service.Annotations[exportTo]; set && !k8s.Visible(strings.Split(value, ","), s.service.Namespace, ns) {
			found = q.report(n, fmt.Sprintf("%s is Service %s, and its annotation %s %q hides it from proxies in namespace %s", f.dst, s, exportTo, value, ns),
				fmt.Sprintf("kubectl -n %s annotate svc %s --overwrite %s='.,%s'", s.service.Namespace, s.service.Name, exportTo, ns))
			q.proof(found, Config, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: s.service.Namespace, Name: s.service.Name}}, fmt.Sprintf("%q: %q", exportTo, value), exportTo)
		} else {
			found = q.hiddenBySidecar(n, s.service.Namespace, s.service.Host())
		}
	} else {
		entries, err := q.cluster.ServiceEntriesForAddr(q.ctx, f.dst.Addr())
		q.refused(err)
		if f.authority != "" {
			byHost, err := q.cluster.ServiceEntriesForHost(q.ctx, hostOf(f))
			q.refused(err)
			entries = append(slices.Clone(entries), byHost...)
		}
		for _, e := range entries {
			if to := e.Spec.GetExportTo(); !k8s.Visible(to, e.Namespace, ns) {
				found = q.report(n, fmt.Sprintf("ServiceEntry %s/%s for %s is exported to %s only and hidden from namespace %s", e.Namespace, e.Name, strings.Join(e.Spec.GetHosts(), ", "), strings.Join(to, ", "), ns),
					fmt.Sprintf("add %q to spec.exportTo of ServiceEntry %s/%s", ns, e.Namespace, e.Name))
				q.written(found, &e.Meta, "exportTo", ns)
			} else if hosts := e.Spec.GetHosts(); len(hosts) > 0 {
				found = q.hiddenBySidecar(n, e.Namespace, hosts[0])
			}
			if found != nil {
				break
			}
		}
	}
	if found == nil {
		return
	}
	if n.hop.Detail.Name == "PassthroughCluster" {
		if n.worst(map[*node]State{}) != Fail {
			found.severity = SeverityWarning // it works, unpoliced
		}
		found.detail += "; its traffic passes straight through, without routes, mutual TLS or policies"
		return
	}
	n.hop.settle(Fail, "the sidecar is not told of this destination and drops it")
}

// hiddenBySidecar names the Sidecar whose egress hosts leave the host out.
func (q *inquiry) hiddenBySidecar(n *node, namespace, host string) *finding {
	s, err := q.cluster.SidecarFor(q.ctx, n.facts.pod.obj)
	if q.refused(err) != nil || s == nil || s.Sees(n.facts.pod.ref.namespace, namespace, host) {
		return nil
	}
	f := q.report(n, fmt.Sprintf("Sidecar %s/%s does not import %s/%s, so this proxy has no cluster for it", s.Namespace, s.Name, namespace, host),
		fmt.Sprintf("add %q to spec.egress[].hosts of Sidecar %s/%s", namespace+"/"+host, s.Namespace, s.Name))
	q.written(f, &s.Meta, "egress", host)
	return f
}
