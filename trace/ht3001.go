package trace

import (
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/k8s"
)

// ht3001 names a Gateway for the port and the host that selects no Pod, so that
// nothing listens.
func ht3001(q *inquiry) {
	q.kind(func(n *node) {
		s := q.missingListener(n)
		if s == nil || s.port == nil {
			return
		}
		p := n.facts.pod
		if slices.ContainsFunc(q.gatewaysOf(p), func(g *k8s.Gateway) bool { return serverOn(g, s.port.Port) != nil }) {
			return // one does select the Pod: it is not for a selector that the listener is missing
		}
		for _, g := range q.allGateways() {
			for _, server := range g.Spec.GetServers() {
				if host := askedHost(n.facts.flow); int32(server.GetPort().GetNumber()) != s.port.Port || host != "" && !takes(server, host) {
					continue
				}
				pods, err := q.cluster.PodsOfGateway(q.ctx, g)
				if q.refused(err) != nil || len(pods) > 0 {
					continue
				}
				want := labels.Set(g.Spec.GetSelector()).String()
				f := q.report(n, fmt.Sprintf("nothing listens on port %d of %s: Gateway %s/%s, which has a server on port %d, selects %s, and no Pod has those labels (%s has %s)", n.facts.flow.dst.Port(), p.ref, g.Namespace, g.Name, s.port.Port, want, p.ref, relevantLabels(p.obj.Labels, g.Spec.GetSelector())),
					fmt.Sprintf("kubectl -n %s patch gateways.networking.istio.io %s --type=merge -p '{\"spec\":{\"selector\":%s}}'   # the labels of the gateway's Pods", g.Namespace, g.Name, selectorJSON(p.obj.Labels, g.Spec.GetSelector())),
					fmt.Sprintf("kubectl get pods -A -l %s   # shows none", want))
				q.written(f, &g.Meta, "selector", want)
				q.proof(f, Config, Query{Area: AreaCluster, File: "pods", Select: Selector{Namespace: p.ref.namespace, Name: p.ref.name}}, jsonLabels(p.obj.Labels), "")
				return
			}
		}
	}, KindListener)
}

// missingListener is the Service through which the request came to a proxy that
// has no listener for it; nil where the listener is not what is missing.
func (q *inquiry) missingListener(n *node) *servicePort {
	o := n.facts.outcome
	if o == nil || o.Error != envoyadmin.NoListener || n.hop.State != Fail || n.facts.pod == nil || n.facts.flow.proto == "udp" {
		return nil
	}
	if s := q.serviceBefore(n); s != nil && s.port != nil {
		return s
	}
	for _, m := range q.before(n) {
		if s := q.serviceOfCluster(m); s != nil && s.port != nil {
			return s
		}
	}
	return &servicePort{}
}

// relevantLabels are those of have that the selector names, or all of them.
func relevantLabels(have, selector map[string]string) string {
	out := labels.Set{}
	for k := range selector {
		if v, ok := have[k]; ok {
			out[k] = v
		}
	}
	if len(out) == 0 {
		return labels.Set(have).String()
	}
	return out.String()
}

// jsonLabels prints labels as kubectl's JSON does.
func jsonLabels(l map[string]string) string {
	keys := sortedKeys(l)
	out := `"labels": {` + "\n"
	for _, k := range keys {
		out += fmt.Sprintf("    %q: %q,\n", k, l[k])
	}
	return out + "}"
}

// selectorJSON is a selector by the keys of one that matches nothing, with the
// values the Pod has; keys that it does not have are taken out.
func selectorJSON(have, selector map[string]string) string {
	out := map[string]any{}
	kept := false
	for k := range selector {
		out[k] = nil
		if v, ok := have[k]; ok {
			out[k], kept = v, true
		}
	}
	if !kept {
		for _, k := range []string{"istio", "app.kubernetes.io/name", "app"} {
			if v := have[k]; v != "" {
				out[k] = v
				break
			}
		}
	}
	text, err := json.Marshal(out)
	if err != nil {
		return "{}"
	}
	return string(text)
}
