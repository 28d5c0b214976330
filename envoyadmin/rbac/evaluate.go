package rbac

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matchv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	mtlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/principals/mtls_authenticated/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

const maxDepth = 32

func evaluate(rules *rbacv3.RBAC, tree *xdsmatcher.Matcher, req *matcher.Request) Decision {
	switch {
	case tree != nil:
		return byTree(tree, req)
	case rules != nil:
		return byRules(rules, req)
	default:
		return Decision{Allowed: matcher.Yes, Why: "no rules"}
	}
}

// details are the response code details of a denial: blanks of the policy's name become "_".
func details(policy string) string {
	if policy == "" {
		policy = "none"
	}
	return "rbac_access_denied_matched_policy[" + strings.Map(func(r rune) rune {
		if r < 0x80 && unicode.IsSpace(r) {
			return '_'
		}
		return r
	}, policy) + "]"
}

func byTree(tree *xdsmatcher.Matcher, req *matcher.Request) Decision {
	f := matcher.Eval(tree, req, req.Env.Regex)
	switch f.Verdict {
	case matcher.Undecided:
		return Decision{Why: f.Why}
	case matcher.No:
		return Decision{Allowed: matcher.No, Action: rbacv3.RBAC_DENY, Why: "no entry of the matcher matches, which denies", Details: details("")}
	}
	a := &rbacv3.Action{}
	if err := matcher.Unpack(f.Action.GetTypedConfig(), a); err != nil {
		return Decision{Why: "the matcher's action: " + err.Error()}
	}
	d := Decision{Policy: a.GetName(), Matched: true, Action: a.GetAction(), Why: strings.Join(f.Trail, ", ")}
	switch a.GetAction() {
	case rbacv3.RBAC_ALLOW, rbacv3.RBAC_LOG:
		d.Allowed = matcher.Yes
	case rbacv3.RBAC_DENY:
		d.Allowed, d.Details = matcher.No, details(a.GetName())
	default:
		d.Why = fmt.Sprintf("action %d is not known", a.GetAction())
	}
	return d
}

// byRules tries the policies in the order of their names.
func byRules(rules *rbacv3.RBAC, req *matcher.Request) Decision {
	if matcher.HasUnknown(rules) {
		return Decision{Why: "the RBAC rules " + matcher.UnknownIn(rules)}
	}
	d := Decision{Action: rules.GetAction()}
	doubt, doubtful := "", ""
	var missed []string
	for _, name := range slices.Sorted(maps.Keys(rules.GetPolicies())) {
		v, why := policy(rules.GetPolicies()[name], req)
		if v == matcher.Undecided && doubtful == "" {
			doubtful, doubt = name, why
		}
		if v == matcher.No {
			missed = append(missed, name+": "+why)
		}
		if v == matcher.Yes {
			d.Policy, d.Matched = name, true
			break
		}
	}
	switch d.Action {
	case rbacv3.RBAC_ALLOW:
		switch {
		case d.Matched:
			d.Allowed, d.Why = matcher.Yes, "ALLOW policy "+d.Policy+" matches"
		case doubtful != "":
			d.Policy, d.Why = doubtful, "ALLOW policy "+doubtful+" cannot be decided: "+doubt
		default:
			d.Allowed, d.Details = matcher.No, details("")
			d.Why = "no ALLOW policy matches"
			if len(missed) > 0 {
				d.Why += " (" + strings.Join(missed[:min(3, len(missed))], "; ") + ")"
			} else {
				d.Why = "there is no ALLOW policy, which denies everything"
			}
		}
	case rbacv3.RBAC_DENY:
		switch {
		case d.Matched:
			d.Allowed, d.Details, d.Why = matcher.No, details(d.Policy), "DENY policy "+d.Policy+" matches"
			if doubtful != "" {
				d.Why += " (or " + doubtful + " does, which cannot be decided)"
			}
		case doubtful != "":
			d.Policy, d.Why = doubtful, "DENY policy "+doubtful+" cannot be decided: "+doubt
		default:
			d.Allowed, d.Why = matcher.Yes, "no DENY policy matches"
		}
	case rbacv3.RBAC_LOG:
		d.Allowed, d.Why = matcher.Yes, "LOG rules only log"
	default:
		d.Why = fmt.Sprintf("action %d is not known", d.Action)
	}
	return d
}

// policy decides one policy: a permission, a principal and the condition. A No carries the part that failed in words.
func policy(p *rbacv3.Policy, req *matcher.Request) (matcher.Verdict, string) {
	if matcher.HasUnknown(p) {
		return matcher.Undecided, "the policy " + matcher.UnknownIn(p)
	}
	und := ""
	v, why := anyOf(p.GetPermissions(), func(x *rbacv3.Permission) (matcher.Verdict, string) { return permission(x, req, 0) })
	switch v {
	case matcher.No:
		return matcher.No, "wants " + describeAll(p.GetPermissions(), describePermission)
	case matcher.Undecided:
		und = why
	}
	v, why = anyOf(p.GetPrincipals(), func(x *rbacv3.Principal) (matcher.Verdict, string) { return principal(x, req, 0) })
	switch v {
	case matcher.No:
		return matcher.No, "wants " + describeAll(p.GetPrincipals(), describePrincipal)
	case matcher.Undecided:
		if und == "" {
			und = why
		}
	}
	cond := p.GetCondition()
	if cond == nil {
		cond = p.GetCheckedCondition().GetExpr()
	}
	if cond != nil {
		switch v, why = req.CELExpr(cond); v {
		case matcher.No:
			return matcher.No, "its condition does not hold"
		case matcher.Undecided:
			if und == "" {
				und = why
			}
		}
	}
	if und != "" {
		return matcher.Undecided, und
	}
	return matcher.Yes, ""
}

func anyOf[T any](list []T, f func(T) (matcher.Verdict, string)) (matcher.Verdict, string) {
	res, why := matcher.No, ""
	for _, x := range list {
		switch v, y := f(x); v {
		case matcher.Yes:
			return matcher.Yes, ""
		case matcher.Undecided:
			if why == "" {
				why = y
			}
			res = matcher.Undecided
		}
	}
	return res, why
}

func allOf[T any](list []T, f func(T) (matcher.Verdict, string)) (matcher.Verdict, string) {
	v, why := anyOf(list, func(x T) (matcher.Verdict, string) {
		v, why := f(x)
		return v.Not(), why
	})
	return v.Not(), why
}

func permission(p *rbacv3.Permission, req *matcher.Request, depth int) (matcher.Verdict, string) {
	if p == nil || depth > maxDepth {
		return matcher.Undecided, "a permission is nested too deeply"
	}
	if matcher.HasUnknown(p) {
		return matcher.Undecided, "a permission " + matcher.UnknownIn(p)
	}
	below := func(x *rbacv3.Permission) (matcher.Verdict, string) { return permission(x, req, depth+1) }
	switch r := p.GetRule().(type) {
	case *rbacv3.Permission_Any:
		return matcher.Yes, ""
	case *rbacv3.Permission_AndRules:
		return allOf(r.AndRules.GetRules(), below)
	case *rbacv3.Permission_OrRules:
		return anyOf(r.OrRules.GetRules(), below)
	case *rbacv3.Permission_NotRule:
		v, why := below(r.NotRule)
		return v.Not(), why
	case *rbacv3.Permission_Header:
		return matcher.HeaderMatch(r.Header, req)
	case *rbacv3.Permission_UrlPath:
		return urlPath(r.UrlPath, req)
	case *rbacv3.Permission_DestinationIp:
		return addr(matcher.CIDR(r.DestinationIp, req.Conn.Destination.Addr()))("destination address")
	case *rbacv3.Permission_DestinationPort:
		return port(req, func(n uint32) bool { return n == r.DestinationPort })
	case *rbacv3.Permission_DestinationPortRange:
		return port(req, func(n uint32) bool {
			return int64(n) >= int64(r.DestinationPortRange.GetStart()) && int64(n) < int64(r.DestinationPortRange.GetEnd())
		})
	case *rbacv3.Permission_Metadata:
		return matcher.Metadata(r.Metadata, req.Env.Metadata, req.Env.MetadataComplete, req.Env.Regex)
	case *rbacv3.Permission_SourcedMetadata:
		return sourced(r.SourcedMetadata, req)
	case *rbacv3.Permission_RequestedServerName:
		return matcher.String(r.RequestedServerName, req.Conn.SNI, req.Env.Regex)
	case *rbacv3.Permission_UriTemplate:
		m := &matchv3.UriTemplateMatchConfig{}
		if err := matcher.Unpack(r.UriTemplate.GetTypedConfig(), m); err != nil {
			return matcher.Undecided, "path template: " + err.Error()
		}
		re, err := matcher.URITemplate(m.GetPathTemplate())
		if err != nil {
			return matcher.Undecided, err.Error()
		}
		if req.Network || req.Path == "" {
			return matcher.No, ""
		}
		return req.Env.Regex.FullMatch(re, bare(req.Path))
	case *rbacv3.Permission_Matcher:
		return matcher.Undecided, "the permission " + matcher.TypeName(r.Matcher.GetTypedConfig()) + " cannot be evaluated"
	default:
		return matcher.Undecided, fmt.Sprintf("permission %T is not known", r)
	}
}

func principal(p *rbacv3.Principal, req *matcher.Request, depth int) (matcher.Verdict, string) {
	if p == nil || depth > maxDepth {
		return matcher.Undecided, "a principal is nested too deeply"
	}
	if matcher.HasUnknown(p) {
		return matcher.Undecided, "a principal " + matcher.UnknownIn(p)
	}
	below := func(x *rbacv3.Principal) (matcher.Verdict, string) { return principal(x, req, depth+1) }
	switch r := p.GetIdentifier().(type) {
	case *rbacv3.Principal_Any:
		return matcher.Yes, ""
	case *rbacv3.Principal_AndIds:
		return allOf(r.AndIds.GetIds(), below)
	case *rbacv3.Principal_OrIds:
		return anyOf(r.OrIds.GetIds(), below)
	case *rbacv3.Principal_NotId:
		v, why := below(r.NotId)
		return v.Not(), why
	case *rbacv3.Principal_Authenticated_:
		return authenticated(r.Authenticated.GetPrincipalName(), req)
	case *rbacv3.Principal_SourceIp: //nolint:staticcheck // old configurations have it
		return addr(matcher.CIDR(r.SourceIp, req.ConnRemoteAddr()))("source address")
	case *rbacv3.Principal_DirectRemoteIp:
		return addr(matcher.CIDR(r.DirectRemoteIp, req.Conn.DirectRemote.Addr()))("address of the peer")
	case *rbacv3.Principal_RemoteIp:
		return addr(matcher.CIDR(r.RemoteIp, req.RemoteAddr()))("remote address")
	case *rbacv3.Principal_Header:
		return matcher.HeaderMatch(r.Header, req)
	case *rbacv3.Principal_UrlPath:
		return urlPath(r.UrlPath, req)
	case *rbacv3.Principal_Metadata: //nolint:staticcheck // as above
		return matcher.Metadata(r.Metadata, req.Env.Metadata, req.Env.MetadataComplete, req.Env.Regex)
	case *rbacv3.Principal_SourcedMetadata:
		return sourced(r.SourcedMetadata, req)
	case *rbacv3.Principal_FilterState:
		return matcher.FilterState(r.FilterState, &req.Env)
	case *rbacv3.Principal_Custom:
		m := &mtlsv3.Config{}
		if err := matcher.Unpack(r.Custom.GetTypedConfig(), m); err != nil {
			return matcher.Undecided, "the principal: " + err.Error()
		}
		return mtls(m, req)
	default:
		return matcher.Undecided, fmt.Sprintf("principal %T is not known", r)
	}
}

// addr names the address that was missing.
func addr(v matcher.Verdict, why string) func(string) (matcher.Verdict, string) {
	return func(what string) (matcher.Verdict, string) {
		if why != "" {
			why = what + ": " + why
		}
		return v, why
	}
}

func port(req *matcher.Request, in func(uint32) bool) (matcher.Verdict, string) {
	if req.Conn.Destination == (netip.AddrPort{}) {
		return matcher.Undecided, "the destination port is not known"
	}
	return matcher.Of(in(uint32(req.Conn.Destination.Port()))), ""
}

func bare(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}

func urlPath(m *matcherv3.PathMatcher, req *matcher.Request) (matcher.Verdict, string) {
	if req.Network || req.Path == "" {
		return matcher.No, ""
	}
	if matcher.HasUnknown(m) {
		return matcher.Undecided, "url_path " + matcher.UnknownIn(m)
	}
	return matcher.String(m.GetPath(), bare(req.Path), req.Env.Regex)
}

func sourced(m *rbacv3.SourcedMetadata, req *matcher.Request) (matcher.Verdict, string) {
	if m.GetMetadataSource() == rbacv3.MetadataSource_ROUTE {
		return matcher.Metadata(m.GetMetadataMatcher(), req.Env.RouteMetadata, true, req.Env.Regex)
	}
	return matcher.Metadata(m.GetMetadataMatcher(), req.Env.Metadata, req.Env.MetadataComplete, req.Env.Regex)
}

// authenticated: any URI SAN, then any DNS SAN, then the subject must match; without a name any TLS does.
func authenticated(m *matcherv3.StringMatcher, req *matcher.Request) (matcher.Verdict, string) {
	t := req.Conn.TLS
	if t == nil {
		return matcher.No, ""
	}
	if m == nil {
		return matcher.Yes, ""
	}
	names := []string{""}
	if p := t.Peer; p != nil {
		if !p.Known {
			return matcher.Undecided, "the name in the client certificate is not known, wants " + matcher.DescribeString(m)
		}
		names = append(append(slices.Clone(p.URISANs), p.DNSSANs...), p.Subject)
	}
	return anyOf(names, func(n string) (matcher.Verdict, string) { return matcher.String(m, n, req.Env.Regex) })
}

// mtls is the principal extension that asks for a validated client certificate.
func mtls(m *mtlsv3.Config, req *matcher.Request) (matcher.Verdict, string) {
	t := req.Conn.TLS
	if t == nil || t.Peer == nil || t.Peer.Validated == matcher.No {
		return matcher.No, ""
	}
	if t.Peer.Validated == matcher.Undecided {
		return matcher.Undecided, "whether the client certificate was validated is not known"
	}
	if m.GetSanMatcher() == nil {
		return matcher.Of(m.GetAnyValidatedClientCertificate()), ""
	}
	if !t.Peer.Known {
		return matcher.Undecided, "the names in the client certificate are not known"
	}
	var names []string
	switch m.GetSanMatcher().GetSanType().String() {
	case "URI":
		names = t.Peer.URISANs
	case "DNS":
		names = t.Peer.DNSSANs
	default:
		return matcher.Undecided, "a certificate name of type " + m.GetSanMatcher().GetSanType().String() + " is not known"
	}
	return anyOf(names, func(n string) (matcher.Verdict, string) {
		return matcher.String(m.GetSanMatcher().GetMatcher(), n, req.Env.Regex)
	})
}
