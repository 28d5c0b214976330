package trace

import (
	"fmt"
	"slices"
	"strings"
)

// ht7004 names a ServiceEntry for an HTTP port whose addresses do not count:
// HTTP is told apart by its host, so asking for the address finds nothing.
func ht7004(q *inquiry) {
	q.each(func(n *node) {
		o := n.facts.outcome
		if o == nil || n.facts.pod == nil || n.hop.State != Fail {
			return
		}
		blocked := o.VirtualHost == "block_all" || n.hop.Detail.Name == "BlackHoleCluster" || o.VirtualHost == ""
		if !blocked || n.hop.Kind != KindRoute && n.hop.Kind != KindCluster {
			return
		}
		f := n.facts.flow
		entries, err := q.cluster.ServiceEntriesForAddr(q.ctx, f.dst.Addr())
		q.refused(err)
		for _, e := range entries {
			addresses := e.Spec.GetAddresses()
			for _, p := range e.Spec.GetPorts() {
				if p.GetNumber() != uint32(f.dst.Port()) || !slices.Contains([]string{"HTTP", "HTTP2", "GRPC"}, strings.ToUpper(p.GetProtocol())) {
					continue
				}
				host := ""
				if hosts := e.Spec.GetHosts(); len(hosts) > 0 {
					host = hosts[0]
				}
				if strings.EqualFold(hostOf(f), host) {
					continue
				}
				found := q.report(n, fmt.Sprintf("ServiceEntry %s/%s names the address %s, and its port %d has protocol %s: for HTTP the addresses are not looked at, only the host %s", e.Namespace, e.Name, strings.Join(addresses, ", "), p.GetNumber(), p.GetProtocol(), host),
					fmt.Sprintf("ask for the name: http://%s:%d", host, p.GetNumber()),
					fmt.Sprintf("or set ports[].protocol of ServiceEntry %s/%s to TCP", e.Namespace, e.Name))
				if n.hop.Kind == KindRoute {
					found.inside = q.listenerHop(n)
				}
				q.written(found, &e.Meta, "addresses", "addresses")
				q.written(found, &e.Meta, "ports", "protocol")
				return
			}
		}
	})
}
