package trace

import (
	"fmt"
	"regexp"
	"strings"

	security "istio.io/api/security/v1beta1"

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
			q.allowing(n, policies, who),
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

// matchedPolicy is Istio's name of a policy in Envoy's RBAC filter, which the
// detail of a refusal repeats (pilot/pkg/security/authz/builder).
var matchedPolicy = regexp.MustCompile(`ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[(\d+)\]`)

// allowing says what to change so that the policies allow the request: in the DENY
// policy whose rule matched it, else in the ALLOW policies that leave it out.
func (q *inquiry) allowing(n *node, policies []*k8s.AuthorizationPolicy, who string) string {
	f := n.facts.flow
	if m := matchedPolicy.FindStringSubmatch(n.facts.outcome.Details); m != nil {
		return fmt.Sprintf("take the request out of spec.rules[%s] of AuthorizationPolicy %s/%s, which denies it: kubectl -n %s edit authorizationpolicies.security.istio.io %s", m[3], m[1], m[2], m[1], m[2])
	}
	var names, principals []string
	for _, p := range policies {
		if p.Spec.GetAction() != security.AuthorizationPolicy_ALLOW {
			continue
		}
		names = append(names, p.Ref().String())
		for _, r := range p.Spec.GetRules() {
			for _, from := range r.GetFrom() {
				principals = append(principals, from.GetSource().GetPrincipals()...)
			}
		}
	}
	to := "an AuthorizationPolicy of namespace " + n.facts.pod.ref.namespace
	if len(names) > 0 {
		to = strings.Join(names, " or ")
	}
	if near := k8s.Nearest(who, principals); near != "" && f.peer != "" {
		return fmt.Sprintf("in %s the principal %q is near: if this client was meant, write %q", to, near, who)
	}
	source := fmt.Sprintf("from: [{source: {principals: [%q]}}], ", who)
	if f.peer == "" {
		source = ""
	}
	operation := fmt.Sprintf("{ports: [\"%d\"]}", f.dst.Port())
	if f.app != "tcp" {
		operation = fmt.Sprintf("{methods: [%q], paths: [%q]}", f.method, pathOnly(f.path))
	}
	return fmt.Sprintf("allow it in %s: add to spec.rules {%sto: [{operation: %s}]}", to, source, operation)
}
