package trace

import (
	"fmt"
	"strings"

	"github.com/hoptrail/hoptrail/k8s"
)

// ht6002 names an authorization policy that refuses the request.
func ht6002(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || n.hop.State != Fail || !strings.HasPrefix(o.Details, "rbac_access_denied") || n.facts.pod == nil {
			return
		}
		who := "a client without a certificate"
		if n.facts.flow.peer != "" {
			who = strings.TrimPrefix(n.facts.flow.peer, "spiffe://")
		}
		policies := q.authorizationPolicies(n.facts.pod)
		f := q.report(n, fmt.Sprintf("%s refuses %s %s from %s: %s (%s)", n.facts.pod.ref, n.facts.flow.method, n.facts.flow.path, who, n.hop.Why, o.Details),
			fmt.Sprintf("allow it in the policy: a rule with from.source.principals [%q] and to.operation methods [%q], paths [%q]", who, n.facts.flow.method, pathOnly(n.facts.flow.path)),
			fmt.Sprintf("istioctl x authz check %s.%s", n.facts.pod.ref.name, n.facts.pod.ref.namespace))
		f.same = q.workload(n) + o.Details
		for _, p := range policies {
			q.written(f, &p.Meta, "spec", p.Name)
		}
		if q.quote(f, Config, n.facts.proxy.pod.query(AreaProxy, configDump), "envoy.filters.http.rbac") {
			return
		}
		q.quote(f, Config, n.facts.proxy.pod.query(AreaProxy, configDump), "envoy.filters.network.rbac")
	}, KindFilter, KindFilterChain)
}

// authorizationPolicies are those in force for the Pod.
func (q *inquiry) authorizationPolicies(p *pod) []*k8s.AuthorizationPolicy {
	all, err := q.cluster.AuthorizationPoliciesFor(q.ctx, p.obj)
	q.refused(err)
	return all
}
