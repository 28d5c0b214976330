package trace

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
)

// ht6006 names a request without the token, or with a bad one, that a JWT rule
// or an external authorizer wants.
func ht6006(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || n.hop.State != Fail || n.facts.pod == nil {
			return
		}
		jwt := strings.HasPrefix(o.Details, "jwt_authn")
		ext := strings.HasPrefix(o.Details, "ext_authz")
		denied := strings.HasPrefix(o.Details, "rbac_access_denied") && n.hop.Kind == KindFilter
		var issuers []string
		requests, err := q.cluster.RequestAuthenticationsFor(q.ctx, n.facts.pod.obj)
		q.refused(err)
		for _, r := range requests {
			for _, rule := range r.Spec.GetJwtRules() {
				issuers = append(issuers, rule.GetIssuer())
			}
		}
		if !jwt && !ext && !(denied && len(requests) > 0) {
			return
		}
		var wants []string
		policies := q.authorizationPolicies(n.facts.pod)
		for _, p := range policies {
			if raw, err := protojson.Marshal(p.Spec); err == nil && strings.Contains(string(raw), "requestPrincipals") {
				wants = append(wants, p.Namespace+"/"+p.Name)
			}
		}
		if denied && len(wants) == 0 {
			return
		}
		_, token := n.facts.flow.header("authorization")
		var detail, fix string
		switch {
		case ext:
			detail, fix = "the external authorizer refuses the request: "+n.hop.Why, "look at the authorizer's own log"
		case jwt:
			detail = "the token is refused: " + n.hop.Why
			fix = "get a token of " + strings.Join(issuers, ", ") + "; what it says (iss, aud, exp) is its second part: printf %s \"$TOKEN\" | cut -d. -f2 | base64 -d"
		case token:
			detail = "the token gives no principal that AuthorizationPolicy " + strings.Join(wants, ", ") + " allows"
			fix = "look at the token's iss and sub against requestPrincipals"
		default:
			detail = fmt.Sprintf("the request carries no token, and AuthorizationPolicy %s allows only requests with one (requestPrincipals)", strings.Join(wants, ", "))
			fix = "send a token of " + strings.Join(issuers, ", ") + " as a bearer token in the header authorization"
		}
		f := q.report(n, detail, fix)
		f.same = q.workload(n) + o.Details
		for _, r := range requests {
			q.written(f, &r.Meta, "jwtRules", "issuer")
		}
		for _, p := range policies {
			q.written(f, &p.Meta, "spec", "requestPrincipals")
		}
	}, KindFilter)
}
