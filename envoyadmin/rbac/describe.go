package rbac

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

const maxWords = 4 // alternatives that are written out

func describeAll[T any](list []T, f func(T, int) string) string { return words(list, f, " or ", 0) }

func words[T any](list []T, f func(T, int) string, sep string, depth int) string {
	var parts []string
	for i, x := range list {
		if i == maxWords {
			parts = append(parts, fmt.Sprintf("%d more", len(list)-i))
			break
		}
		parts = append(parts, f(x, depth+1))
	}
	switch len(parts) {
	case 0:
		return "nothing"
	case 1:
		return parts[0]
	default:
		return "(" + strings.Join(parts, sep) + ")"
	}
}

func cidr(r *corev3.CidrRange) string {
	return fmt.Sprintf("%s/%d", r.GetAddressPrefix(), r.GetPrefixLen().GetValue())
}

func describePermission(p *rbacv3.Permission, depth int) string {
	if depth > maxDepth {
		return "..."
	}
	switch r := p.GetRule().(type) {
	case *rbacv3.Permission_Any:
		return "anything"
	case *rbacv3.Permission_AndRules:
		return words(r.AndRules.GetRules(), describePermission, " and ", depth)
	case *rbacv3.Permission_OrRules:
		return words(r.OrRules.GetRules(), describePermission, " or ", depth)
	case *rbacv3.Permission_NotRule:
		if r.NotRule.GetAny() {
			return "what no request meets (not any)"
		}
		return "not " + describePermission(r.NotRule, depth+1)
	case *rbacv3.Permission_Header:
		return matcher.DescribeHeader(r.Header)
	case *rbacv3.Permission_UrlPath:
		return "path " + matcher.DescribeString(r.UrlPath.GetPath())
	case *rbacv3.Permission_DestinationIp:
		return "destination " + cidr(r.DestinationIp)
	case *rbacv3.Permission_DestinationPort:
		return fmt.Sprintf("port %d", r.DestinationPort)
	case *rbacv3.Permission_DestinationPortRange:
		return fmt.Sprintf("port in [%d,%d)", r.DestinationPortRange.GetStart(), r.DestinationPortRange.GetEnd())
	case *rbacv3.Permission_Metadata:
		return matcher.DescribeMetadata(r.Metadata)
	case *rbacv3.Permission_SourcedMetadata:
		return matcher.DescribeMetadata(r.SourcedMetadata.GetMetadataMatcher())
	case *rbacv3.Permission_RequestedServerName:
		return "SNI " + matcher.DescribeString(r.RequestedServerName)
	default:
		return "an unknown permission"
	}
}

func describePrincipal(p *rbacv3.Principal, depth int) string {
	if depth > maxDepth {
		return "..."
	}
	switch r := p.GetIdentifier().(type) {
	case *rbacv3.Principal_Any:
		return "anyone"
	case *rbacv3.Principal_AndIds:
		return words(r.AndIds.GetIds(), describePrincipal, " and ", depth)
	case *rbacv3.Principal_OrIds:
		return words(r.OrIds.GetIds(), describePrincipal, " or ", depth)
	case *rbacv3.Principal_NotId:
		if r.NotId.GetAny() {
			return "what no client is (not any)"
		}
		return "not " + describePrincipal(r.NotId, depth+1)
	case *rbacv3.Principal_Authenticated_:
		if n := r.Authenticated.GetPrincipalName(); n != nil {
			return "certificate name " + matcher.DescribeString(n)
		}
		return "TLS"
	case *rbacv3.Principal_SourceIp: //nolint:staticcheck // old configurations have it
		return "source " + cidr(r.SourceIp)
	case *rbacv3.Principal_DirectRemoteIp:
		return "peer " + cidr(r.DirectRemoteIp)
	case *rbacv3.Principal_RemoteIp:
		return "remote address " + cidr(r.RemoteIp)
	case *rbacv3.Principal_Header:
		return matcher.DescribeHeader(r.Header)
	case *rbacv3.Principal_UrlPath:
		return "path " + matcher.DescribeString(r.UrlPath.GetPath())
	case *rbacv3.Principal_Metadata: //nolint:staticcheck // as above
		return matcher.DescribeMetadata(r.Metadata)
	case *rbacv3.Principal_SourcedMetadata:
		return matcher.DescribeMetadata(r.SourcedMetadata.GetMetadataMatcher())
	case *rbacv3.Principal_FilterState:
		return matcher.DescribeFilterState(r.FilterState)
	default:
		return "an unknown principal"
	}
}
