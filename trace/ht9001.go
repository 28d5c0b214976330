package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/envoyadmin/accesslog"
	"github.com/hoptrail/hoptrail/iptables"
)

// ht9001 names what was observed and contradicts what was predicted: log lines of
// requests like the traced one that took another way than the configuration read
// predicts, connections that a node really sent elsewhere, an endpoint that no
// connection ever came about to. Of a log only the latest line of a proxy counts,
// and only where it is not older than the configuration.
func ht9001(q *inquiry) {
	q.kind(q.sentElsewhere, KindNode)
	q.neverConnected()
	for _, p := range q.proxiesInOrder() {
		var latest *accesslog.Entry
		for i := range p.lines {
			l := &p.lines[i]
			if l.first && l.entry.Method() != "" && p.sameName(l) && (latest == nil || !l.entry.Start().Before(latest.Start())) {
				latest = &l.entry
			}
		}
		if latest == nil || p.changedSince(latest.Start()) || !p.readable(*latest) {
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
		case differs(latest.UpstreamHost(), hosts) && !q.startedSince(hosts, latest.Start()):
			what, seen, predicted = "endpoint", latest.UpstreamHost(), anyOf(hosts)+q.goneSince(latest.UpstreamHost(), hosts)
		default:
			continue
		}
		f := q.report(at, fmt.Sprintf("the latest request like this one%s went to %s %s at %s, and the configuration read predicts %s", began(latest), what, seen, p.pod, predicted),
			"read the proxy's configuration again: it may have changed since the line was written, or since it was read",
			"compare the replicas: istioctl proxy-status")
		q.proof(f, Observed, p.pod.query(AreaProxy, accessLog), latest.Raw, seen)
	}
}

// sameName says whether the line is of a connection for the TLS name that is asked
// for, as far as the line tells: another chain may have taken any other, and a
// connection with a name is none without.
func (p *proxy) sameName(l *observedLine) bool {
	sni := l.entry.ServerName()
	return sni == "" || slices.ContainsFunc(p.heads(), func(n *node) bool { return strings.EqualFold(n.facts.flow.sni, sni) })
}

// readable says whether the line, of an HTTP request that the proxy read, can be of
// one like the traced: not where the proxy could never read that one, because it is
// sealed in TLS of the client's own, or speaks TLS or none where the other is
// wanted, or lacks a certificate. Where the configuration has no chain for the name
// that it asks for, and the line has that name, the line tells of another
// configuration.
func (p *proxy) readable(e accesslog.Entry) bool {
	return slices.ContainsFunc(p.hops, func(n *node) bool {
		o := n.facts.outcome
		switch {
		case o == nil:
			return false
		case o.Error == envoyadmin.NoListener:
			return true
		case o.Error == envoyadmin.NoFilterChain:
			return e.ServerName() != ""
		case o.Error == envoyadmin.TLSRequired:
			return false
		}
		return o.Terminal == "http_connection_manager" && (n.facts.flow.tls == "none" || o.Extra.DownstreamTLS)
	})
}

// goneSince says of an endpoint that a line names, where those there are now are
// Pods, that none has its address any more: it may have been scaled down, or
// replaced, and the line be only old. Nothing that was read tells when.
func (q *inquiry) goneSince(seen string, hosts []string) string {
	pod := func(host string) bool {
		at, err := netip.ParseAddrPort(host)
		return err == nil && q.podByIP(at.Addr(), at.Port()) != nil
	}
	if pod(seen) || !slices.ContainsFunc(hosts, pod) {
		return ""
	}
	return "; no Pod has that address now: where it was scaled down or replaced since, the line is only old"
}

// changedSince says whether the listener or the route table by which the request
// goes was updated after the time: a line from before tells of another
// configuration.
func (p *proxy) changedSince(t time.Time) bool {
	newer := func(updated string) bool {
		at, err := time.Parse(time.RFC3339, updated)
		return err == nil && at.After(t)
	}
	for _, n := range p.hops {
		o := n.facts.outcome
		if o == nil {
			continue
		}
		if slices.ContainsFunc(p.dump.Listeners(), func(l envoyadmin.ListenerInfo) bool { return l.Name == o.Listener && newer(l.LastUpdated) }) ||
			slices.ContainsFunc(p.dump.Routes(), func(r envoyadmin.RouteTable) bool { return r.Name == o.RouteConfig && newer(r.LastUpdated) }) {
			return true
		}
	}
	return false
}

// insider says whether a connection came from within the cluster: rules ask for
// that (KUBE-EXT sends Pods and nodes past externalTrafficPolicy Local), and it
// tells nothing of a client outside.
func (q *inquiry) insider(from netip.AddrPort) bool {
	if q.podByIP(from.Addr(), from.Port()) != nil {
		return true
	}
	owner, err := q.cluster.NodeByAddress(q.ctx, from.Addr())
	return q.refused(err) != nil || owner != nil
}

// startedSince says whether a Pod of the endpoints began after the time: a rollout
// took the place of the endpoint that a line from before it names.
func (q *inquiry) startedSince(hosts []string, t time.Time) bool {
	return slices.ContainsFunc(hosts, func(host string) bool {
		at, err := netip.ParseAddrPort(host)
		if err != nil {
			return false
		}
		p := q.podByIP(at.Addr(), at.Port())
		return p != nil && p.obj.Status.StartTime != nil && p.obj.Status.StartTime.After(t)
	})
}

// sentElsewhere names answered connections like the traced one, open ones, that a
// node sends to an address which its rules do not send to now.
func (q *inquiry) sentElsewhere(n *node) {
	to, by := seenFlows(n)
	for target, flows := range by {
		by[target] = slices.DeleteFunc(flows, func(c iptables.Flow) bool {
			return c.State != "" && c.State != "ESTABLISHED" || n.facts.flow.assumed && q.insider(c.Orig.Src)
		})
	}
	if len(to) == 0 || len(n.hop.Detail.DNAT) == 0 || slices.ContainsFunc(n.facts.packets.Outcomes, func(o iptables.Outcome) bool { return len(o.Unknown) > 0 }) {
		return
	}
	var others, lines []string
	for _, target := range to {
		if slices.Contains(n.hop.Detail.DNAT, target) || answered(by[target]) == 0 {
			continue
		}
		others = append(others, target)
		for _, c := range by[target] {
			if !c.Unreplied && len(lines) < maxSeen {
				lines = append(lines, c.Text)
			}
		}
	}
	if len(others) == 0 {
		return
	}
	f := q.report(n, fmt.Sprintf("node %s has answered connections to %s that go to %s, and its rules send new ones to %s", n.hop.Subject.Name, n.facts.flow.dst, strings.Join(others, ", "), strings.Join(n.hop.Detail.DNAT, ", ")),
		"a connection keeps the address it was given when it began: clients that hold one open (keep-alive, pools) still reach the old one; let them connect again, or",
		fmt.Sprintf("on node %s: conntrack -L -p %s --orig-dst %s   # are they old, or new?", n.hop.Subject.Name, n.facts.flow.proto, n.facts.flow.dst.Addr()))
	q.proof(f, Observed, n.facts.netns.query("conntrack.txt"), strings.Join(lines, "\n"), others[0][:strings.LastIndexByte(others[0], ':')])
}

// neverConnected names endpoints that all is predicted to be well with, and that
// no connection of their proxy ever came about to.
func (q *inquiry) neverConnected() {
	if q.explained() {
		return // the counter confirms what was found
	}
	reached := reachedBy(q.root)
	q.kind(func(n *node) {
		e := n.facts.endpoint
		if e == nil || !reached[n] || n.hop.State != OK && n.hop.State != Warn || e.Probability == 0 {
			return
		}
		words := failingHost(e)
		if words == "" || slices.ContainsFunc(n.facts.proxy.lines, func(l observedLine) bool {
			return l.entry.UpstreamHost() == e.Address && l.entry.Status() != 0 && len(l.entry.Flags()) == 0
		}) {
			return
		}
		p := n.facts.proxy.pod
		f := q.report(n, fmt.Sprintf("%s: %s, and nothing in the configuration read says why", p, words),
			fmt.Sprintf("kubectl -n %s exec %s -c %s -- pilot-agent request GET clusters | grep -F %s   # does cx_connect_fail still rise?", p.namespace, p.name, n.facts.pod.proxy.Container, Quote(e.Address)),
			"look at what stands between that was not read: the CNI's own policies, a firewall of the node or the network, the application's own limits")
		f.effect = Degraded
	}, KindEndpoint)
}

// began says when a line's request began, for people; nothing where the line does
// not tell.
func began(e *accesslog.Entry) string {
	if e.Start().IsZero() {
		return ""
	}
	return ", at " + e.Start().UTC().Format(time.RFC3339) + ","
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
		case o.Error == envoyadmin.NoEndpoint:
			// Endpoints come and go, and leave no time of it behind: there were some.
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
		quoted(refusing, fmt.Sprintf("the latest request like this one%s was answered with %d by the application, and the configuration read refuses it at %s: %s", began(&latest), latest.Status(), p.pod, refusing.hop.Why), "")
		return true
	case passing != nil && refusing == nil && slices.ContainsFunc(latest.Flags(), func(s string) bool { return slices.Contains(unexplained, s) }) && !q.explained():
		quoted(passing, fmt.Sprintf("the latest request like this one%s failed at %s with %d %s (%s), and nothing in the configuration read says why", began(&latest), p.pod, latest.Status(), flags, orElse(latest.TransportFailure(), latest.Details())), Degraded)
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
