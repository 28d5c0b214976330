package trace

import (
	"encoding/json"
	"slices"

	"github.com/hoptrail/hoptrail/k8s"
)

// What several rules ask for.

// before are the hops on the ways to n, nearest first.
func (q *inquiry) before(n *node) []*node {
	var out []*node
	q.each(func(m *node) {
		if m != n && leads(m, n) {
			out = append(out, m)
		}
	})
	slices.Reverse(out)
	return out
}

// serviceBefore is the Service through which the request came to n.
func (q *inquiry) serviceBefore(n *node) *servicePort {
	for _, m := range q.before(n) {
		if m.facts.service != nil && m.facts.service.service != nil {
			return m.facts.service
		}
	}
	return nil
}

// citeBefore adds the evidence of the hop just before n to the finding.
func (q *inquiry) citeBefore(f *finding, n *node) {
	q.each(func(m *node) {
		for _, e := range m.next {
			if e.to == n {
				for _, ev := range m.hop.Evidence {
					if !slices.Contains(f.evidence, ev.ID) {
						f.evidence = append(f.evidence, ev.ID)
					}
				}
			}
		}
	})
}

// allGateways are the Istio Gateways there are.
func (q *inquiry) allGateways() []*k8s.Gateway {
	all, err := q.cluster.Gateways(q.ctx)
	q.refused(err)
	return all
}

// gatewaysOf are the Istio Gateways that select the Pod.
func (q *inquiry) gatewaysOf(p *pod) []*k8s.Gateway {
	all, err := q.cluster.GatewaysOf(q.ctx, p.obj)
	q.refused(err)
	return all
}

// gatewayServedBy says whether the Service selects Pods of the Gateway.
func (q *inquiry) gatewayServedBy(g *k8s.Gateway, svc *k8s.Service) bool {
	pods, err := q.cluster.PodsOfGateway(q.ctx, g)
	q.refused(err)
	return slices.ContainsFunc(pods, func(p *k8s.Pod) bool { return svc.Selects(p.Namespace, p.Labels) })
}

// virtualServicesFor are the VirtualServices that have the host.
func (q *inquiry) virtualServicesFor(host string) []*k8s.VirtualService {
	all, err := q.cluster.VirtualServicesForHost(q.ctx, host, "")
	q.refused(err)
	return all
}

// object cites a resource a person wrote: field of its spec, as kubectl prints
// it, and shows the whole on the hop.
func (q *inquiry) object(f *finding, m *k8s.Meta, field, match string) {
	query := Query{Area: AreaCluster, File: resourceOf(m.APIVersion, m.Kind), Select: Selector{Namespace: m.Namespace, Name: m.Name}}
	q.proof(f, Config, query, excerptOf(m.Raw, field), match)
	f.node.hop.config(m.Kind, m.Namespace+"/"+m.Name, query.File, m.Raw)
}

// excerptOf is one field of an object's spec, or of the object itself, as
// kubectl prints JSON.
func excerptOf(raw json.RawMessage, field string) string {
	var doc map[string]json.RawMessage
	if json.Unmarshal(raw, &doc) != nil {
		return ""
	}
	var meta struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	}
	_ = json.Unmarshal(doc["metadata"], &meta) // an object without a name is cited without it
	inner := doc
	if spec, ok := doc["spec"]; ok {
		var s map[string]json.RawMessage
		if json.Unmarshal(spec, &s) == nil && (s[field] != nil || field == "spec") {
			inner = s
			if field == "spec" {
				inner = map[string]json.RawMessage{"spec": spec}
			}
		}
	}
	if inner[field] == nil {
		return ""
	}
	out, err := json.MarshalIndent(map[string]any{"metadata": meta, field: inner[field]}, "", "    ")
	if err != nil {
		return ""
	}
	return string(out)
}

// destinationRule is the rule in force for a host as seen from a namespace.
func (q *inquiry) destinationRule(client, host string) (*k8s.DestinationRule, error) {
	svc, err := q.cluster.ServiceByHost(q.ctx, host, client)
	if err != nil {
		return nil, err
	}
	namespace := client
	if svc != nil {
		namespace = svc.Namespace
	}
	return q.cluster.DestinationRuleFor(q.ctx, client, namespace, host)
}
