package trace

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/k8s"
)

// What several rules ask for.

// before are the hops on the ways to n, nearest first.
func (q *inquiry) before(n *node) []*node {
	above := q.graph.above(n)
	out := make([]*node, 0, len(above))
	for m := range above {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *node) int { return cmp.Compare(q.graph.order[b], q.graph.order[a]) })
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

// written cites a resource a person wrote: field of its spec, as kubectl prints
// it, and shows the whole on the hop.
func (q *inquiry) written(f *finding, m *k8s.Meta, field, match string) {
	query := Query{Area: AreaCluster, File: resourceOf(m.APIVersion, m.Kind), Select: Selector{Namespace: m.Namespace, Name: m.Name}}
	q.proof(f, Config, query, excerptOf(m.Raw, field), match)
	f.node.hop.config(m.Kind, m.Namespace+"/"+m.Name, query.File, m.Raw)
}

// excerptOf is one field of an object's spec, with the object's name, as kubectl
// prints JSON; "spec" is the whole of it.
func excerptOf(raw json.RawMessage, field string) string {
	if field != "spec" {
		field = "spec." + field
	}
	if pick(raw, field) == "" {
		return ""
	}
	return pick(raw, "kind", "metadata.name", "metadata.namespace", "metadata.creationTimestamp", field)
}

// printed are the lines that hold any of the texts, of an object as kubectl prints
// it.
func printed(raw json.RawMessage, texts ...string) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "    ") != nil {
		return ""
	}
	return strings.Join(linesWith(b.Bytes(), 40, texts...), "\n")
}

// member is a member of an object as kubectl prints it.
func member(name string, value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return `"` + name + `": ` + string(text)
}

// pick returns the fields of a JSON object at the dotted paths, as kubectl
// prints them; "" where none of them is there.
func pick(raw json.RawMessage, paths ...string) string {
	var doc map[string]any
	if json.Unmarshal(raw, &doc) != nil {
		return ""
	}
	out := map[string]any{}
	for _, path := range paths {
		from, to := doc, out
		parts := strings.Split(path, ".")
		for i, part := range parts {
			value, ok := from[part]
			if !ok {
				break
			}
			if i == len(parts)-1 {
				to[part] = value
				break
			}
			inner, ok := value.(map[string]any)
			if !ok {
				break
			}
			if _, deep := inner[parts[i+1]]; !deep {
				break
			}
			next, ok := to[part].(map[string]any)
			if !ok {
				next = map[string]any{}
				to[part] = next
			}
			from, to = inner, next
		}
	}
	if len(out) == 0 {
		return ""
	}
	text, err := json.MarshalIndent(out, "", "    ")
	if err != nil {
		return ""
	}
	return string(text)
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

// listenerHop is the hop of the listener by which the request came to the proxy
// of n.
func (q *inquiry) listenerHop(n *node) *node {
	for _, m := range append([]*node{n}, q.before(n)...) {
		if m.hop.Kind == KindListener && m.facts.proxy == n.facts.proxy {
			return m
		}
	}
	return n
}

// workload names what the Pods of one Deployment, StatefulSet or DaemonSet have
// in common: their controller, else their own name.
func (q *inquiry) workload(n *node) string {
	p := n.facts.pod
	for _, o := range p.obj.OwnerReferences {
		if o.Controller != nil && *o.Controller {
			return o.Kind + " " + p.ref.namespace + "/" + o.Name + " "
		}
	}
	return "Pod " + p.ref.String() + " "
}
