package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
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
		if slices.ContainsFunc(p.hops, func(n *node) bool { return entered(n, *latest) && conditional(n) }) || q.outcomeDiffers(p, *latest) {
			continue
		}
		var clusters, hosts, routes []string
		var at *node
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
		}
		if at == nil {
			continue
		}
		differs := func(seen string, predicted []string) bool {
			return seen != "" && len(predicted) > 0 && !slices.Contains(predicted, seen)
		}
		what, seen, predicted := "", "", ""
		switch {
		case differs(latest.UpstreamCluster(), clusters):
			what, seen, predicted = "cluster", latest.UpstreamCluster(), anyOf(clusters)
		case differs(latest.Route(), slices.DeleteFunc(slices.Clone(routes), func(s string) bool { return s == "" })):
			what, seen, predicted = "route", latest.Route(), anyOf(routes)
		case differs(latest.UpstreamHost(), hosts):
			what, seen, predicted = "endpoint", latest.UpstreamHost(), anyOf(hosts)
		default:
			continue
		}
		f := q.report(at, fmt.Sprintf("the latest request like this one went to %s %s at %s, and the configuration read predicts %s", what, seen, p.pod, predicted),
			"read the proxy's configuration again: it may have changed since the line was written, or since it was read",
			"compare the replicas: istioctl proxy-status")
		q.proof(f, Observed, p.pod.query(AreaProxy, accessLog), latest.Raw, seen)
	}
}

// conditional says whether a route asks for more than the path: a header, a
// cookie, a query parameter. It may or may not have taken a request that a log
// line does not show in full.
func conditional(n *node) bool {
	o := n.facts.outcome
	if o == nil || n.hop.Kind != KindRoute {
		return false
	}
	for _, word := range []string{"header ", "query ", "cookie "} {
		if strings.Contains(o.Extra.RouteMatch, word) {
			return true
		}
	}
	return slices.ContainsFunc(o.NearMisses, func(m envoyadmin.NearMiss) bool {
		return m.Kind == "route" && !strings.HasPrefix(m.Why, "path") && !strings.HasPrefix(m.Why, "prefix")
	})
}

// entered says whether the hop was reached through the address the line names.
func entered(n *node, e accesslog.Entry) bool {
	l := e.DownstreamLocal()
	return l == "" || l == n.facts.flow.dst.String()
}

// outcomeDiffers names a latest request that was answered although the
// configuration refuses it, or failed although nothing in the configuration says
// why.
func (q *inquiry) outcomeDiffers(p *proxy, latest accesslog.Entry) bool {
	var refusing, passing *node
	for _, n := range p.hops {
		o := n.facts.outcome
		if o == nil || !entered(n, latest) {
			continue
		}
		switch {
		case n.hop.State == Fail && o.Verdict == envoyadmin.Reject && n.facts.endpoint == nil:
			refusing = n
		case n.hop.Kind == KindCluster && o.Verdict == envoyadmin.Forward:
			passing = n
		}
	}
	quoted := func(n *node, detail string, effect Verdict) {
		f := q.report(n, detail, "read the proxy's configuration again: it may have changed since the line was written", "compare the replicas: istioctl proxy-status")
		f.effect = effect
		q.proof(f, Observed, p.pod.query(AreaProxy, accessLog), latest.Raw, latest.Details())
	}
	flags := strings.Join(latest.Flags(), ",")
	switch {
	case refusing != nil && passing == nil && latest.Details() == "via_upstream" && latest.Status() < 400:
		quoted(refusing, fmt.Sprintf("the latest request like this one was answered with %d by the application, and the configuration read refuses it at %s: %s", latest.Status(), p.pod, refusing.hop.Why), "")
		return true
	case passing != nil && refusing == nil && slices.ContainsFunc(latest.Flags(), func(s string) bool { return slices.Contains(unexplained, s) }) && !q.explained():
		quoted(passing, fmt.Sprintf("the latest request like this one failed at %s with %d %s (%s), and nothing in the configuration read says why", p.pod, latest.Status(), flags, orElse(latest.TransportFailure(), latest.Details())), Degraded)
		return true
	}
	return false
}

// unexplained are the response flags of failures that a configuration predicts
// when it is the one that was in force.
var unexplained = []string{"NR", "NC", "UH", "UF", "NFCF", "DF"}

// explained says whether a fault was found already that makes requests fail.
func (q *inquiry) explained() bool {
	return slices.ContainsFunc(*q.all, func(f *finding) bool { return f.severity == SeverityError })
}

// anyOf lists what was predicted, each once, as far as a reader wants to know.
func anyOf(all []string) string {
	const most = 5
	var out []string
	for _, s := range all {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if len(out) > most {
		out = append(out[:most], fmt.Sprintf("%d others", len(out)-most))
	}
	return strings.Join(out, " or ")
}
