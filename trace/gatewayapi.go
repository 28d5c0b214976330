package trace

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// refusal is a condition of a route's status that is False, "" of type where there
// is none, and the parent it is about.
func refusal(r *k8s.HTTPRoute, kind string) (parent string, c metav1.Condition) {
	for _, p := range r.Status.Parents {
		for _, c := range p.Conditions {
			if c.Type == kind && c.Status == metav1.ConditionFalse {
				ns := r.Namespace
				if p.ParentRef.Namespace != nil {
					ns = string(*p.ParentRef.Namespace)
				}
				return ns + "/" + string(p.ParentRef.Name), c
			}
		}
	}
	return "", metav1.Condition{}
}

// absentParent is a Gateway that the route names and that does not exist, and the
// one it was probably meant for.
func (q *inquiry) absentParent(r *k8s.HTTPRoute) (name, near string) {
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
	for _, p := range r.Spec.ParentRefs {
		if p.Kind != nil && *p.Kind != "Gateway" {
			continue
		}
		ns := r.Namespace
		if p.Namespace != nil {
			ns = string(*p.Namespace)
		}
		if name := ns + "/" + string(p.Name); !slices.Contains(have, name) {
			same := slices.IndexFunc(have, func(h string) bool { return strings.HasSuffix(h, "/"+string(p.Name)) })
			if same >= 0 {
				return name, have[same]
			}
			return name, k8s.Nearest(name, have)
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
		_, c := refusal(r, "ResolvedRefs")
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
