package trace

import (
	"fmt"

	"github.com/hoptrail/hoptrail/envoyadmin"
)

// ht7005 names TLS that is begun twice, or not at all, on the way out.
func ht7005(q *inquiry) {
	q.kind(func(n *node) {
		o, e := n.facts.outcome, n.facts.endpoint
		if o == nil || e == nil || n.facts.direction == envoyadmin.Inbound || behindHop(n, KindExternal) == nil {
			return
		}
		f := n.facts.flow
		c, ok := parseIstioCluster(o.Cluster)
		if !ok {
			return
		}
		at := q.clusterHop(n)
		port := behindHop(n, KindExternal).facts.flow.dst.Port()
		switch {
		case f.app == "http" && f.tls == "none" && !e.TLS && port == 443:
			at.hop.settle(Fail, "plain HTTP goes to a TLS port")
			found := q.report(at, fmt.Sprintf("%s sends plain HTTP to %s: the port is TLS's, and nothing originates TLS for %s", n.facts.proxy.pod, e.Address, c.host),
				fmt.Sprintf("add a DestinationRule for %s with trafficPolicy.portLevelSettings[{port: {number: %d}, tls: {mode: SIMPLE}}]", c.host, c.port),
				"or let the client speak https itself to a port of protocol HTTPS or TLS")
			q.entryPorts(found, c.host)
		case f.tls != "none" && e.TLS && o.Terminal == "tcp_proxy" && !o.Extra.DownstreamTLS && (e.MTLS == nil || !*e.MTLS):
			at.hop.settle(Fail, "TLS inside of TLS")
			found := q.report(at, fmt.Sprintf("the client speaks TLS and %s wraps it in TLS once more on the way to %s", n.facts.proxy.pod, e.Address),
				fmt.Sprintf("take tls.mode SIMPLE out of the DestinationRule for %s, or let the client speak plain HTTP", c.host))
			if rule, err := q.destinationRule(n.facts.pod.ref.namespace, c.host); q.refused(err) == nil && rule != nil {
				q.written(found, &rule.Meta, "trafficPolicy", "tls")
			}
			q.entryPorts(found, c.host)
		}
	}, KindEndpoint)
}

// entryPorts quotes the ports of the ServiceEntries for a host.
func (q *inquiry) entryPorts(f *finding, host string) {
	entries, err := q.cluster.ServiceEntriesForHost(q.ctx, host)
	q.refused(err)
	for _, e := range entries {
		q.written(f, &e.Meta, "ports", "targetPort")
	}
}
