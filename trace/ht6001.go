package trace

import (
	"fmt"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

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

	q.kind(func(n *node) { // the server's sidecar takes one, and the client speaks the other
		o := n.facts.outcome
		if o == nil || n.facts.direction != envoyadmin.Inbound || n.hop.State != Fail {
			return
		}
		f := n.facts.flow
		unread := f.tls == "mtls" && o.Flags == "DPE" && !o.Extra.DownstreamTLS
		if o.Error != envoyadmin.NoFilterChain && o.Error != envoyadmin.TLSRequired && !unread || q.ownTLS(n) != nil {
			return
		}
		mode, err := q.cluster.MTLSFor(q.ctx, n.facts.pod.obj, f.dst.Port())
		if q.refused(err) != nil {
			return
		}
		takes := "mutual TLS"
		if f.tls == "mtls" {
			takes = "plain text"
		}
		asked := f.tls == "mtls" && mode.Mode == "DISABLE" || f.tls != "mtls" && mode.Mode == "STRICT"
		if !asked && !unread {
			return
		}
		var from []string
		because := "as its sidecar's configuration has it; the PeerAuthentications that were read say " + mode.Mode
		if asked {
			for _, r := range mode.From {
				from = append(from, r.String())
			}
			because = orElse(strings.Join(from, ", "), "by default")
		}
		client := map[string]string{"none": "plain text", "mtls": "mutual TLS"}[f.tls]
		found := q.report(n, fmt.Sprintf("Pod %s takes %s only (%s), and the client speaks %s", n.facts.pod.ref, takes, because, orElse(client, f.tls)))
		q.agreeOnTLS(found, n, from)
		found.same = q.workload(n) + mode.Mode
		for _, r := range mode.From {
			if meta := q.object(r); meta != nil {
				q.written(found, meta, "mtls", mode.Mode)
			}
		}
	}, KindListener, KindFilterChain)

	q.kind(func(n *node) { // a gateway wants a certificate of the client
		o := n.facts.outcome
		if o == nil || n.facts.direction == envoyadmin.Inbound || n.hop.State != Fail || o.Error != envoyadmin.TLSRequired || !o.Extra.RequireClientCert || n.facts.flow.tls != "tls" {
			return
		}
		where := "its configuration"
		var written *k8s.Gateway
		for _, g := range q.gatewaysOf(n.facts.pod) {
			for _, server := range g.Spec.GetServers() {
				if mode := server.GetTls().GetMode(); (mode == networking.ServerTLSSettings_MUTUAL || mode == networking.ServerTLSSettings_OPTIONAL_MUTUAL) && takes(server, orElse(n.facts.flow.sni, q.target.Host)) {
					written, where = g, fmt.Sprintf("%s, server %s on port %d", g.Ref(), orElse(server.GetPort().GetName(), "without a name"), server.GetPort().GetNumber())
				}
			}
		}
		f := q.report(n, fmt.Sprintf("%s wants a certificate of the client (tls.mode MUTUAL: %s), and the client presents none", n.facts.proxy.pod, where),
			"let the client present one: curl --cert client.crt --key client.key; and hoptrail: --client-cert")
		f.same = where
		if written != nil {
			f.fix = append(f.fix, fmt.Sprintf("or set tls.mode: SIMPLE there, if clients need none: kubectl -n %s edit gateways.networking.istio.io %s", written.Namespace, written.Name))
			q.written(f, &written.Meta, "servers", "MUTUAL")
		}
	}, KindFilterChain)
}

// ownTLS is the hop of the client's sidecar that passed TLS of the client's own on
// as it was, to a server's sidecar that refuses it; nil where it was otherwise.
func (q *inquiry) ownTLS(n *node) *node {
	if n.facts.direction != envoyadmin.Inbound || n.facts.flow.tls != "tls" || !q.target.TLS() {
		return nil
	}
	for _, m := range q.before(n) {
		if m.hop.Kind == KindCluster && m.hop.Detail.Name == "PassthroughCluster" && m.facts.flow.sender.area == AreaPod {
			return m
		}
	}
	return nil
}

// agreeOnTLS says what brings the client and the server's sidecar together: the
// DestinationRule that says how a client with a sidecar speaks, else the sidecar
// that the client lacks.
func (q *inquiry) agreeOnTLS(f *finding, n *node, policies []string) {
	policy := "the PeerAuthentication"
	if len(policies) > 0 {
		policy = policies[0] // the nearest decides
	}
	for _, m := range q.before(n) {
		if m.hop.Kind != KindCluster || m.facts.direction == envoyadmin.Inbound || m.facts.pod == nil {
			continue
		}
		c, ok := parseIstioCluster(m.hop.Detail.Name)
		if !ok {
			break
		}
		rule, err := q.destinationRule(m.facts.pod.ref.namespace, c.host)
		var tls *networking.ClientTLSSettings
		var place string
		if q.refused(err) == nil && rule != nil {
			tls, place = tlsInForce(rule.Spec, c)
		}
		field, _, _ := strings.Cut(place, "[") // where it begins in the rule's spec
		field, _, _ = strings.Cut(field, ".")
		switch mode := tls.GetMode(); {
		case tls != nil && speaks(mode, n.facts.flow.tls):
			f.detail += fmt.Sprintf(": %s says so with %s.mode %s", rule.Ref(), place, mode)
			f.fix = append(f.fix, fmt.Sprintf("take %s out of %s, and Istio finds out by itself: kubectl -n %s edit destinationrules.networking.istio.io %s", place, rule.Ref(), rule.Namespace, rule.Name))
			q.written(f, &rule.Meta, field, mode.String())
		case tls != nil:
			f.detail += fmt.Sprintf(", though %s has %s.mode %s", rule.Ref(), place, mode)
			f.fix = append(f.fix, fmt.Sprintf("istioctl proxy-status %s.%s   # does the client's sidecar have what %s says?", m.facts.pod.ref.name, m.facts.pod.ref.namespace, rule.Ref()))
			q.written(f, &rule.Meta, field, mode.String())
		case n.facts.flow.tls == "mtls":
			f.fix = append(f.fix, fmt.Sprintf("a DestinationRule for %s with trafficPolicy.tls.mode: DISABLE makes its clients speak plain text", c.host))
		default:
			f.fix = append(f.fix, fmt.Sprintf("a DestinationRule for %s with trafficPolicy.tls.mode: ISTIO_MUTUAL makes its clients speak mutual TLS", c.host))
		}
		f.fix = append(f.fix, "or set mtls.mode: PERMISSIVE in "+policy+" while it moves")
		return
	}
	f.fix = append(f.fix, "give the client a sidecar, or set PeerAuthentication mtls.mode: PERMISSIVE for this workload while it moves",
		"a DestinationRule for the host with tls.mode DISABLE makes a client with a sidecar speak plain text: take it out")
}

// tlsInForce is how a DestinationRule has clients speak to a cluster, and where in
// its spec that stands; nil where it does not say. A subset's policy goes before the
// rule's, and within either the settings of the port take the place of the general
// ones, also where they leave tls out (Istio's MergeSubsetTrafficPolicy,
// pilot/pkg/networking/util).
func tlsInForce(rule *networking.DestinationRule, c istioCluster) (tls *networking.ClientTLSSettings, place string) {
	merge := func(p *networking.TrafficPolicy, at string) {
		if p.GetTls() != nil {
			tls, place = p.GetTls(), at+".tls"
		}
		for _, s := range p.GetPortLevelSettings() {
			if s.GetPort() != nil && int(s.GetPort().GetNumber()) == c.port {
				tls, place = s.GetTls(), fmt.Sprintf("%s.portLevelSettings[%d].tls", at, c.port)
				return
			}
		}
	}
	merge(rule.GetTrafficPolicy(), "trafficPolicy")
	for _, s := range rule.GetSubsets() {
		if c.subset != "" && s.GetName() == c.subset {
			merge(s.GetTrafficPolicy(), fmt.Sprintf("subsets[%s].trafficPolicy", c.subset))
			break
		}
	}
	return tls, place
}

// speaks says whether a client with the mode speaks what a flow's tls has. With
// certificates of its own (MUTUAL) it may be mutual TLS of the mesh or other TLS.
func speaks(mode networking.ClientTLSSettings_TLSmode, tls string) bool {
	switch mode {
	case networking.ClientTLSSettings_DISABLE:
		return tls == "none"
	case networking.ClientTLSSettings_SIMPLE:
		return tls == "tls"
	case networking.ClientTLSSettings_MUTUAL:
		return tls == "mtls" || tls == "tls"
	case networking.ClientTLSSettings_ISTIO_MUTUAL:
		return tls == "mtls"
	}
	return false
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
