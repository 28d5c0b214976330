// Package rbac evaluates Envoy's role based access control for one request or connection: rules or a matcher tree,
// CEL conditions, and the shadow rules, which only log.
//
// It knows the RBAC protos and matcher.Request. It must not know which filter asks or where the rules came from. A
// condition on an attribute that was not given is undecided, and so is the answer where it matters.
//
// The rules are those of source/extensions/filters/common/rbac/ and filters/{http,network}/rbac/.
package rbac

import (
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// What the HTTP filter answers when it denies. It sets no response flag.
const (
	Status = 403
	Body   = "RBAC: access denied"
)

// Decision is the answer of one set of rules.
type Decision struct {
	Allowed matcher.Verdict
	Policy  string // the policy or action that decided; empty where none matched
	Matched bool
	Action  rbacv3.RBAC_Action
	Why     string // in words; where Allowed is Undecided, what is not known
	Details string // response code details, connection termination details; empty where allowed
}

// Evaluate decides rules, or tree where it is set, which overrides them. Both nil allows everything.
func Evaluate(rules *rbacv3.RBAC, tree *xdsmatcher.Matcher, req *matcher.Request) Decision {
	return evaluate(rules, tree, req)
}
