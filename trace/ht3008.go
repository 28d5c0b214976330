package trace

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
)

// ht3008 names configuration that a proxy on the path rejected, or that its
// replicas do not agree on: what is served is not what was last sent.
func ht3008(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || n.facts.proxy == nil || n.facts.proxy.dump == nil {
			return
		}
		for _, u := range n.facts.proxy.dump.UpdateFailures() {
			if u.Kind != "listener" || u.Name != o.Listener && u.Name != n.hop.Detail.Name {
				continue
			}
			f := q.report(n, fmt.Sprintf("%s rejected the newest configuration of listener %s and serves the one before: %s", n.facts.proxy.pod, u.Name, u.Details),
				"mend the resource the message names (often an EnvoyFilter, or two servers with the same match)",
				fmt.Sprintf("istioctl proxy-status %s.%s", n.facts.proxy.pod.name, n.facts.proxy.pod.namespace),
				"kubectl -n istio-system logs deploy/istiod | grep -i 'ACK ERROR'")
			f.effect = Degraded
			query := n.facts.proxy.pod.query(AreaProxy, configDump)
			q.quote(f, Config, query, `"error_state"`, u.Details)
		}
	}, KindListener)

	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || n.facts.proxy == nil || n.facts.proxy.dump == nil {
			return
		}
		for _, u := range n.facts.proxy.dump.UpdateFailures() {
			if u.Kind != string(n.hop.Kind) || u.Name != o.RouteConfig && u.Name != o.Cluster {
				continue
			}
			f := q.report(n, fmt.Sprintf("%s rejected the newest configuration of %s %s and serves the one before: %s", n.facts.proxy.pod, u.Kind, u.Name, u.Details),
				fmt.Sprintf("istioctl proxy-status %s.%s", n.facts.proxy.pod.name, n.facts.proxy.pod.namespace))
			f.effect = Degraded
			q.quote(f, Config, n.facts.proxy.pod.query(AreaProxy, configDump), `"error_state"`, u.Details)
		}
	}, KindRoute, KindCluster)

	q.replicas()
}

// replicas compares what the Pods of one gateway answer.
func (q *inquiry) replicas() {
	type answer struct {
		node *node
		o    *envoyadmin.Outcome
	}
	byService := map[string][]answer{}
	var order []string
	q.kind(func(n *node) {
		s := q.serviceBefore(n)
		if n.facts.direction != envoyadmin.Gateway || n.facts.outcome == nil || s == nil {
			return
		}
		key := s.String()
		if byService[key] == nil {
			order = append(order, key)
		}
		if !slices.ContainsFunc(byService[key], func(a answer) bool { return a.node.facts.proxy == n.facts.proxy }) {
			byService[key] = append(byService[key], answer{n, n.facts.outcome})
		}
	}, KindListener)
	for _, key := range order {
		all := byService[key]
		for _, a := range all[1:] {
			if sameOutcome(all[0].o, a.o) {
				q.versions(all[0].node, all[0].o, a.node, a.o)
				continue
			}
			f := q.report(a.node, fmt.Sprintf("replicas of the gateway do not agree: %s answers %s, %s answers %s", all[0].node.facts.proxy.pod, answerOf(all[0].o), a.node.facts.proxy.pod, answerOf(a.o)),
				"istioctl proxy-status   # which of them is STALE?",
				fmt.Sprintf("restart the one behind: kubectl -n %s delete pod %s", a.node.facts.pod.ref.namespace, a.node.facts.pod.ref.name))
			f.effect = Degraded
		}
	}
}

// versions compares the versions of the listener and of the route table that two
// replicas used where they decide the request alike. That versions differ proves
// nothing by itself, for two istiods count each for themselves; that the objects
// differ as well is a finding.
func (q *inquiry) versions(a *node, oa *envoyadmin.Outcome, b *node, ob *envoyadmin.Outcome) {
	for _, v := range []struct {
		kind HopKind
		what string
		of   func(*envoyadmin.Dump, *envoyadmin.Outcome) string
	}{
		{KindListener, "listener " + oa.Listener, func(d *envoyadmin.Dump, o *envoyadmin.Outcome) string {
			for _, l := range d.Listeners() {
				if l.Name == o.Listener && l.State == "active" {
					return l.Version
				}
			}
			return ""
		}},
		{KindRoute, "route table " + oa.RouteConfig, func(d *envoyadmin.Dump, o *envoyadmin.Outcome) string {
			for _, t := range d.Routes() {
				if t.Name == o.RouteConfig {
					return t.Version
				}
			}
			return ""
		}},
	} {
		va, vb := v.of(a.facts.proxy.dump, oa), v.of(b.facts.proxy.dump, ob)
		if va == "" || vb == "" || va == vb {
			continue
		}
		pa, pb := a.facts.proxy.pod, b.facts.proxy.pod
		b.hop.check("version of "+v.what, OK, fmt.Sprintf("%s; %s has %s", vb, pa, va))
		if bytes.Equal(objectUsed(a, v.kind), objectUsed(b, v.kind)) {
			continue
		}
		f := q.report(b, fmt.Sprintf("replicas of the gateway hold different versions of %s: %s has %s, %s has %s; they decide this request alike", v.what, pa, va, pb, vb),
			"istioctl proxy-status   # which of them is STALE?")
		f.severity = SeverityInfo
		q.quote(f, Config, pa.query(AreaProxy, configDump), va)
		q.quote(f, Config, pb.query(AreaProxy, configDump), vb)
	}
}

// objectUsed is the object of Envoy that the first hop of a kind behind n, in the
// same proxy, was decided by.
func objectUsed(n *node, kind HopKind) []byte {
	m := behindHop(n, kind)
	if m == nil || m.facts.proxy != n.facts.proxy || len(m.hop.Config) == 0 {
		return nil
	}
	return m.hop.Config[0].Object
}

// answerOf says an outcome in a few words.
func answerOf(o *envoyadmin.Outcome) string {
	parts := []string{string(o.Verdict)}
	for _, s := range []string{o.Error, o.Route, o.Cluster} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " ")
}
