package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin/accesslog"
)

// ht5005 names requests refused because a circuit breaker is open: more
// connections or pending requests than the cluster may have. The log tells it,
// else the proxy's own statistics: a breaker that is open now, or requests that
// one refused since the proxy started; or a limit is 0 and refuses them all.
func ht5005(q *inquiry) {
	q.flagged(func(p *proxy, n *node, lines []accesslog.Entry, all int) {
		limits := ""
		if o := n.facts.outcome; o != nil {
			limits = o.Extra.CircuitBreakers
		}
		f := q.report(n, fmt.Sprintf("%d of %d requests of this path were refused at %s with UO (overflow): a circuit breaker of the cluster was open%s", len(lines), all, p.pod, prefixed("; its limits are ", limits)),
			overflowFix(n)...)
		f.effect = Degraded
		q.proofLines(f, p, lines, "overflow")
		q.limits(f, p)
	}, "UO")
	q.kind(func(n *node) {
		if slices.ContainsFunc(*q.all, func(f *finding) bool { return f.rule == q.rule && f.node == n }) {
			return
		}
		var open, refused []string
		for _, c := range n.facts.counted {
			switch c.name {
			case "cx_open", "rq_pending_open", "rq_open":
				open = append(open, c.means)
			case "upstream_rq_pending_overflow", "upstream_cx_overflow":
				refused = append(refused, fmt.Sprintf("%s: %d", c.means, c.value))
			}
		}
		limits := prefixed("; its limits are ", n.facts.outcomeText())
		switch o := n.facts.outcome; {
		case o != nil && n.hop.State == Fail && (o.Flags == "UO" || o.Flags == "URX"):
			f := q.report(n, fmt.Sprintf("every request to %s is refused with %s: a circuit breaker is 0%s", n.hop.Detail.Name, o.Flags, limits), overflowFix(n)[:1]...)
			if n.facts.proxy != nil {
				q.limits(f, n.facts.proxy)
			}
		case len(open) > 0:
			f := q.report(n, fmt.Sprintf("a circuit breaker of %s is open at %s: %s, and what comes more gets 503 UO%s", n.hop.Detail.Name, n.facts.proxy.pod, strings.Join(open, ", "), limits), overflowFix(n)...)
			f.effect = Degraded
			q.limits(f, n.facts.proxy)
		case len(refused) > 0:
			f := q.report(n, fmt.Sprintf("a circuit breaker of %s was open at %s since it started: %s; none is open now%s", n.hop.Detail.Name, n.facts.proxy.pod, strings.Join(refused, ", "), limits), overflowFix(n)...)
			f.severity = SeverityWarning
			q.limits(f, n.facts.proxy)
		}
	}, KindCluster)
}

// outcomeText are the limits of the circuit breakers of the hop's cluster.
func (f facts) outcomeText() string {
	if f.outcome == nil {
		return ""
	}
	return f.outcome.Extra.CircuitBreakers
}

func overflowFix(n *node) []string {
	rule := "a DestinationRule for the host"
	for _, owner := range n.hop.Detail.Owner {
		if strings.HasPrefix(owner, "DestinationRule ") {
			rule = owner
		}
	}
	return []string{
		"in " + rule + " raise the limit that was met under trafficPolicy.connectionPool: tcp.maxConnections, http.http1MaxPendingRequests, http.http2MaxRequests; or add endpoints",
		"look for a slow application behind it: the limit counts what is under way",
	}
}

// limits quotes the circuit breakers of the finding's cluster, and the
// DestinationRule that set them.
func (q *inquiry) limits(f *finding, p *proxy) {
	if o := f.node.facts.outcome; o != nil {
		q.proof(f, Config, p.pod.query(AreaProxy, configDump), pick(o.Extra.Cluster, "name", "circuit_breakers"), "max_")
	}
	c, ok := parseIstioCluster(f.node.hop.Detail.Name)
	if !ok {
		return
	}
	rule, err := q.destinationRule(p.pod.namespace, c.host)
	if q.refused(err) == nil && rule != nil {
		q.written(f, &rule.Meta, "trafficPolicy", "connectionPool")
	}
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
