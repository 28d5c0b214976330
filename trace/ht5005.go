package trace

import (
	"fmt"

	"github.com/hoptrail/hoptrail/envoyadmin/accesslog"
)

// ht5005 names requests refused because a circuit breaker is open: more
// connections or pending requests than the cluster may have.
func ht5005(q *inquiry) {
	q.flagged(func(p *proxy, n *node, lines []accesslog.Entry, all int) {
		limits := ""
		if o := n.facts.outcome; o != nil {
			limits = o.Extra.CircuitBreakers
		}
		f := q.report(n, fmt.Sprintf("%d of %d requests of this path were refused at %s with UO (overflow): a circuit breaker of the cluster was open%s", len(lines), all, p.pod, prefixed("; its limits are ", limits)),
			"raise trafficPolicy.connectionPool (tcp.maxConnections, http.http1MaxPendingRequests, http2MaxRequests) in the DestinationRule, or add endpoints",
			"look for a slow application behind it: the limit counts what is under way")
		f.effect = Degraded
		q.proofLines(f, p, lines, "UO")
		if !q.quote(f, Config, p.pod.query(AreaProxy, configDump), `"max_pending_requests": 1`, `"max_connections": 1`) && n.hop.Kind == KindCluster {
			q.quote(f, Config, p.pod.query(AreaProxy, configDump), `"max_pending_requests"`)
		}
		if c, ok := parseIstioCluster(n.hop.Detail.Name); ok {
			rule, err := q.destinationRule(p.pod.namespace, c.host)
			if q.refused(err) == nil && rule != nil {
				q.written(f, &rule.Meta, "trafficPolicy", "connectionPool")
			}
		}
	}, "UO")
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
