package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin/accesslog"
)

// ht9001 names log lines of requests like the traced one that took another way
// than the configuration read predicts. Only the latest line of a proxy counts:
// older ones may be from before a change.
func ht9001(q *inquiry) {
	for _, p := range q.proxiesInOrder() {
		var latest *accesslog.Entry
		for i := range p.lines {
			l := &p.lines[i]
			if l.first && l.entry.Method() != "" && (latest == nil || !l.entry.Start().Before(latest.Start())) {
				latest = &l.entry
			}
		}
		if latest == nil {
			continue
		}
		var clusters, hosts, routes []string
		var at *node
		open := false
		for _, n := range p.hops {
			o := n.facts.outcome
			if o == nil || !entered(n, *latest) {
				continue
			}
			switch n.hop.Kind {
			case KindRoute:
				at = n
				routes = append(routes, o.Route)
			case KindCluster:
				at = n
				clusters = append(clusters, n.hop.Detail.Name)
			}
			for _, e := range o.Endpoints {
				hosts = append(hosts, e.Address)
			}
			// A route that asks for a header, a cookie or a query parameter may have
			// taken a request that the log line does not show in full.
			for _, m := range o.NearMisses {
				open = open || m.Kind == "route" && !strings.HasPrefix(m.Why, "path") && !strings.HasPrefix(m.Why, "prefix")
			}
		}
		if at == nil || open {
			continue
		}
		differs := func(seen string, predicted []string) bool {
			return seen != "" && len(predicted) > 0 && !slices.Contains(predicted, seen)
		}
		what, seen, predicted := "", "", ""
		switch {
		case differs(latest.UpstreamCluster(), clusters):
			what, seen, predicted = "cluster", latest.UpstreamCluster(), strings.Join(clusters, " or ")
		case differs(latest.Route(), slices.DeleteFunc(slices.Clone(routes), func(s string) bool { return s == "" })):
			what, seen, predicted = "route", latest.Route(), strings.Join(routes, " or ")
		case differs(latest.UpstreamHost(), hosts):
			what, seen, predicted = "endpoint", latest.UpstreamHost(), strings.Join(hosts, " or ")
		default:
			continue
		}
		f := q.report(at, fmt.Sprintf("the latest request like this one went to %s %s at %s, and the configuration read predicts %s", what, seen, p.pod, predicted),
			"read the proxy's configuration again: it may have changed since the line was written, or since it was read",
			"compare the replicas: istioctl proxy-status")
		q.proof(f, Observed, p.pod.query(AreaProxy, accessLog), latest.Raw, seen)
	}
}

// entered says whether the hop was reached through the address the line names.
func entered(n *node, e accesslog.Entry) bool {
	l := e.DownstreamLocal()
	return l == "" || l == n.facts.flow.dst.String()
}
