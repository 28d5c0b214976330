package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
)

// ht5003 names endpoints that the proxy keeps out: ejected by outlier detection,
// or failing its health checks.
func ht5003(q *inquiry) {
	byCluster := map[string][]*node{}
	var order []string
	q.kind(func(n *node) {
		e := n.facts.endpoint
		if e == nil || e.Health != "unhealthy" {
			return
		}
		seen := strings.Contains(e.Why, "failed_outlier_check") || strings.Contains(e.Why, "failed_active_hc") || strings.Contains(e.Why, "failed_active_health_check")
		if !seen && (!leadsToReadyPod(n) || leavesToOthers(n)) {
			return // a Pod that is not ready, or on its way out, explains it
		}
		key := n.facts.proxy.pod.String() + " " + n.facts.outcome.Cluster
		if byCluster[key] == nil {
			order = append(order, key)
		}
		byCluster[key] = append(byCluster[key], n)
	}, KindEndpoint)
	for _, key := range order {
		nodes := byCluster[key]
		n := nodes[0]
		var addrs []string
		for _, m := range nodes {
			addrs = append(addrs, m.facts.endpoint.Address+" ("+m.facts.endpoint.Why+")")
		}
		total := len(n.facts.outcome.Endpoints)
		f := q.report(n, fmt.Sprintf("%d of %d endpoints of %s are out: %s", len(nodes), total, n.facts.outcome.Cluster, strings.Join(addrs, ", ")),
			q.whatItAnswered(nodes)...)
		f.fix = append(f.fix, "an ejection ends by itself after outlierDetection.baseEjectionTime times the number of ejections")
		if len(nodes) < total {
			f.severity = SeverityWarning
		}
		for _, m := range nodes[1:] {
			for _, e := range m.hop.Evidence {
				f.evidence = append(f.evidence, e.ID)
			}
		}
		if c, ok := parseIstioCluster(n.facts.outcome.Cluster); ok {
			rule, err := q.destinationRule(n.facts.pod.ref.namespace, c.host)
			if q.refused(err) == nil && rule != nil {
				q.written(f, &rule.Meta, "trafficPolicy", "outlierDetection")
			}
		}
	}
}

// leavesToOthers says whether the endpoint's Pod is being deleted, as in every
// rollout, and the cluster has others.
func leavesToOthers(n *node) bool {
	return slices.ContainsFunc(n.next, func(e edge) bool {
		return e.to.facts.pod != nil && e.to.facts.pod.obj.DeletionTimestamp != nil
	}) && slices.ContainsFunc(n.facts.outcome.Endpoints, func(e envoyadmin.Endpoint) bool { return e.Health != "unhealthy" })
}

// leadsToReadyPod says whether the endpoint is that of a Pod that is ready.
func leadsToReadyPod(n *node) bool {
	return slices.ContainsFunc(n.next, func(e edge) bool {
		p := e.to.facts.pod
		if p == nil || e.to.hop.Kind != KindPod {
			return false
		}
		ready, _ := p.obj.Ready()
		return ready
	})
}

// whatItAnswered are the commands that show what the Pods behind the endpoints
// answered before.
func (q *inquiry) whatItAnswered(nodes []*node) []string {
	const most = 3
	var out []string
	for _, n := range nodes {
		if p := q.podAt(n.facts.endpoint.Address); p != nil && len(out) < most {
			out = append(out, fmt.Sprintf("kubectl -n %s logs %s --since=15m   # what it answered before it was taken out", p.ref.namespace, p.ref.name))
		}
	}
	p := nodes[0].facts.proxy.pod
	return append(out, fmt.Sprintf("kubectl -n %s logs %s -c %s --since=15m | grep -F %s   # the lines with 5xx", p.namespace, p.name, nodes[0].facts.pod.proxy.Container, Quote(nodes[0].facts.endpoint.Address)))
}
