package trace

import (
	"fmt"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/k8s"
)

// ht6001 names a client and a server that disagree about mutual TLS.
func ht6001(q *inquiry) {
	q.kind(func(n *node) { // the client speaks mTLS to what has no sidecar
		e := n.facts.endpoint
		if e == nil || e.MTLS == nil || !*e.MTLS || n.facts.direction == envoyadmin.Inbound {
			return
		}
		p := q.podAt(e.Address)
		if p == nil || p.proxy.Role != k8s.RolePlain {
			return
		}
		c, _ := parseIstioCluster(n.facts.outcome.Cluster)
		at := q.clusterHop(n)
		at.hop.settle(Fail, "mutual TLS to a Pod without a sidecar: the handshake fails")
		f := q.report(at, fmt.Sprintf("%s speaks mutual TLS to %s, and Pod %s has no sidecar that would answer it", n.facts.proxy.pod, e.Address, p.ref),
			fmt.Sprintf("inject a sidecar into %s, or set trafficPolicy.tls.mode: DISABLE in %s (without tls there Istio finds out by itself)", p.ref, q.ruleFor(n)))
		if rule, err := q.destinationRule(n.facts.pod.ref.namespace, c.host); q.refused(err) == nil && rule != nil {
			q.written(f, &rule.Meta, "trafficPolicy", "ISTIO_MUTUAL")
		}
		q.confirmTLS(f, n.facts.proxy)
	}, KindEndpoint)

	q.kind(func(n *node) { // the server wants mTLS and the client speaks plain text
		o := n.facts.outcome
		if o == nil || n.facts.direction != envoyadmin.Inbound || n.hop.State != Fail || o.Error != envoyadmin.NoFilterChain && o.Error != envoyadmin.TLSRequired {
			return
		}
		mode, err := q.cluster.MTLSFor(q.ctx, n.facts.pod.obj, n.facts.flow.dst.Port())
		if q.refused(err) != nil {
			return
		}
		if n.facts.flow.tls == "mtls" && mode.Mode != "DISABLE" || n.facts.flow.tls != "mtls" && mode.Mode != "STRICT" {
			return
		}
		var from []string
		for _, r := range mode.From {
			from = append(from, r.String())
		}
		client := "plain text"
		if n.facts.flow.tls != "none" {
			client = n.facts.flow.tls
		}
		f := q.report(n, fmt.Sprintf("Pod %s takes %s only (%s), and the client speaks %s", n.facts.pod.ref, mtlsWord(mode.Mode), orElse(strings.Join(from, ", "), "by default"), client),
			"give the client a sidecar, or set PeerAuthentication mtls.mode: PERMISSIVE for this workload while it moves",
			"a DestinationRule for the host with tls.mode DISABLE makes a client with a sidecar speak plain text: take it out")
		f.same = q.workload(n) + mode.Mode
		for _, r := range mode.From {
			if meta := q.object(r); meta != nil {
				q.written(f, meta, "mtls", mode.Mode)
			}
		}
	}, KindListener, KindFilterChain)
}

func mtlsWord(mode string) string {
	if mode == "STRICT" {
		return "mutual TLS"
	}
	return "plain text"
}

// clusterHop is the cluster's hop that leads to an endpoint.
func (q *inquiry) clusterHop(n *node) *node {
	for _, m := range q.before(n) {
		if m.hop.Kind == KindCluster && m.facts.proxy == n.facts.proxy {
			return m
		}
	}
	return n
}

// confirmTLS quotes log lines that failed in the TLS handshake with the upstream.
func (q *inquiry) confirmTLS(f *finding, p *proxy) {
	for _, l := range p.lines {
		if strings.Contains(l.entry.TransportFailure(), "TLS_error") || strings.Contains(l.entry.Details(), "TLS_error") {
			q.proof(f, Observed, p.pod.query(AreaProxy, accessLog), l.entry.Raw, "TLS_error")
		}
	}
}
