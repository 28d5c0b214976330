package trace

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/k8s"
)

// What the Gateway API's controller wrote into the status of a route is the word of
// who decided: the rules quote it, and do not decide anew.

// httpRoutesFor are the HTTPRoutes that have the host. Most clusters have none, and
// that they were not read is no loss.
func (q *inquiry) httpRoutesFor(host string) []*k8s.HTTPRoute {
	all := q.httpRoutes()
	return slices.DeleteFunc(slices.Clone(all), func(r *k8s.HTTPRoute) bool {
		for _, h := range r.Spec.Hostnames {
			if k8s.HostMatches(string(h), host) {
				return false
			}
		}
		return true
	})
}

// httpRoutes are all HTTPRoutes that were read.
func (q *inquiry) httpRoutes() []*k8s.HTTPRoute {
	if !q.has("httproutes.gateway.networking.k8s.io") {
		return nil
	}
	all, err := q.cluster.HTTPRoutes(q.ctx)
	if q.refused(err) != nil || q.err != nil {
		return nil
	}
	return all
}

// has says whether a list that most clusters do not have can be read, so that its
// absence is not reported.
func (q *inquiry) has(resource string) bool {
	_, notRead := q.observeIf(Query{Area: AreaCluster, File: resource}, true)
	return notRead == nil && q.err == nil
}

// hostKnown says whether the proxy has the request's host by as much as the route
// asks for, so that a route that did not get there is not what the host lacks: the
// virtual host that took the request has the host by its name, or by the very
// wildcard of the route.
func hostKnown(n *node, r *k8s.HTTPRoute) bool {
	o := n.facts.outcome
	if o.Error != envoyadmin.NoRoute {
		return false
	}
	domains := []string{o.VirtualHost} // Istio names one by its host and port
	for _, t := range n.facts.proxy.dump.Routes() {
		if t.Name != o.RouteConfig {
			continue
		}
		all, err := t.VirtualHosts()
		if err != nil {
			break // the name tells, as where the table is not listed
		}
		if i := slices.IndexFunc(all, func(v envoyadmin.VirtualHost) bool { return v.Name == o.VirtualHost }); i >= 0 {
			domains = all[i].Domains
		}
	}
	host := hostOf(n.facts.flow)
	return slices.ContainsFunc(domains, func(d string) bool {
		d = withoutPort(d)
		asked := func(h gatewayv1.Hostname) bool { return strings.EqualFold(string(h), d) }
		return k8s.HostMatches(d, host) && (!strings.HasPrefix(d, "*") || slices.ContainsFunc(r.Spec.Hostnames, asked))
	})
}

// ownGateway is the Gateway of the Gateway API that the Pod was made for, as
// namespace/name, by the labels that Istio's automated deployments and Envoy
// Gateway give; "" where the Pod does not tell.
func ownGateway(p *pod) string {
	labels := p.obj.Labels
	if name := labels["gateway.envoyproxy.io/owning-gateway-name"]; name != "" {
		return orElse(labels["gateway.envoyproxy.io/owning-gateway-namespace"], p.ref.namespace) + "/" + name
	}
	if name := cmp.Or(labels["gateway.networking.k8s.io/gateway-name"], labels["istio.io/gateway-name"]); name != "" {
		return p.ref.namespace + "/" + name
	}
	return ""
}

// parentGateway is the Gateway that a route of the namespace names as parent, as
// namespace/name; "" where the parent is of another kind.
func parentGateway(ref gatewayv1.ParentReference, namespace string) string {
	if ref.Kind != nil && *ref.Kind != "Gateway" {
		return ""
	}
	if ref.Namespace != nil {
		namespace = string(*ref.Namespace)
	}
	return namespace + "/" + string(ref.Name)
}

// refusedGateway is the Gateway of the Pod that does not take the route, by the
// route's status, and the condition that says so; "" of type where there is none.
// What a Gateway of other proxies, one of another controller or a Service says of the
// route is no word about this Pod.
func refusedGateway(r *k8s.HTTPRoute, p *pod) (gateway string, c metav1.Condition) {
	own := ownGateway(p)
	parent, c := refusal(r, "Accepted", func(s gatewayv1.RouteParentStatus) bool {
		name := parentGateway(s.ParentRef, r.Namespace)
		if own == "" { // Istio's other gateways; the name is a setting of istiod with this default
			return name != "" && strings.HasPrefix(string(s.ControllerName), "istio.io/")
		}
		return name == own
	})
	return parentGateway(parent, r.Namespace), c
}

// refusal is a condition of a route's status that is False, "" of type where there
// is none, and the parent it is about: one that counts.
func refusal(r *k8s.HTTPRoute, kind string, counts func(gatewayv1.RouteParentStatus) bool) (gatewayv1.ParentReference, metav1.Condition) {
	for _, p := range r.Status.Parents {
		if !counts(p) {
			continue
		}
		for _, c := range p.Conditions {
			if c.Type == kind && c.Status == metav1.ConditionFalse {
				return p.ParentRef, c
			}
		}
	}
	return gatewayv1.ParentReference{}, metav1.Condition{}
}

// absentParent is a Gateway that the route names and that does not exist, and the
// one it was probably meant for. Where the Pod tells its Gateway, only that one is
// looked for: by its name, or as the one that was meant by a route that does not
// name it.
func (q *inquiry) absentParent(r *k8s.HTTPRoute, p *pod) (name, near string) {
	if !q.has("gateways.gateway.networking.k8s.io") {
		return "", "" // what was not read may exist
	}
	gateways, err := q.cluster.APIGateways(q.ctx)
	if q.refused(err) != nil || q.err != nil {
		return "", ""
	}
	var have []string
	for _, g := range gateways {
		have = append(have, g.Namespace+"/"+g.Name)
	}
	own := ownGateway(p)
	bound := slices.ContainsFunc(r.Spec.ParentRefs, func(ref gatewayv1.ParentReference) bool { return parentGateway(ref, r.Namespace) == own })
	for _, ref := range r.Spec.ParentRefs {
		name := parentGateway(ref, r.Namespace)
		if name == "" || slices.Contains(have, name) {
			continue
		}
		near := k8s.Nearest(name, have)
		same := slices.DeleteFunc(slices.Clone(have), func(h string) bool { return !strings.HasSuffix(h, "/"+string(ref.Name)) })
		switch {
		case slices.Contains(same, own):
			near = own
		case len(same) > 0:
			near = same[0]
		}
		if own == "" || name == own || near == own && !bound {
			return name, near
		}
	}
	return "", ""
}

// unresolved says of the HTTPRoute that a route was made from why its backend was
// not found, and what to do; empty where its status does not tell.
func (q *inquiry) unresolved(owners []string) (route *k8s.HTTPRoute, why, fix string) {
	for _, r := range q.httpRoutes() {
		ref := k8s.Ref{Kind: "HTTPRoute", Namespace: r.Namespace, Name: r.Name}.String()
		if !slices.ContainsFunc(owners, func(o string) bool { return o == ref || strings.HasPrefix(o, ref+" ") }) {
			continue
		}
		_, c := refusal(r, "ResolvedRefs", func(gatewayv1.RouteParentStatus) bool { return true })
		if c.Type == "" {
			return nil, "", ""
		}
		fix = fmt.Sprintf("mend spec.rules[].backendRefs of %s: kubectl -n %s edit httproutes.gateway.networking.k8s.io %s", ref, r.Namespace, r.Name)
		if c.Reason == "RefNotPermitted" {
			for _, rule := range r.Spec.Rules {
				for _, b := range rule.BackendRefs {
					if b.Namespace != nil && string(*b.Namespace) != r.Namespace {
						fix = fmt.Sprintf("add a ReferenceGrant to namespace %s with spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: %s}], to: [{group: \"\", kind: Service, name: %s}]}", *b.Namespace, r.Namespace, b.Name)
					}
				}
			}
		}
		return r, fmt.Sprintf("%s says ResolvedRefs False: %s (%s)", ref, c.Message, c.Reason), fix
	}
	return nil, "", ""
}
