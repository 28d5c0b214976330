package route

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// Rejected says why Envoy refuses a route configuration, empty where it takes it or where that is not known here. A
// proxy never runs with such a configuration; one in a dump is an error_state.
func Rejected(rc *routev3.RouteConfiguration) string {
	x := NewIndex(len(rc.GetVirtualHosts()))
	for _, vh := range rc.GetVirtualHosts() {
		x.Add(vh.GetName(), vh.GetDomains()...)
		if len(vh.GetRoutes()) > 0 && vh.GetMatcher() != nil {
			return "cannot set both matcher and routes on virtual host"
		}
		for _, r := range vh.GetRoutes() {
			if why := rejectedRoute(r); why != "" {
				return why
			}
		}
	}
	switch d := x.Duplicate(); d {
	case "":
		return ""
	case "*":
		return "Only a single wildcard domain is permitted in route " + rc.GetName()
	default:
		return fmt.Sprintf("Only unique values for domains are permitted. Duplicate entry of domain %s in route %s", d, rc.GetName())
	}
}

func rejectedRoute(r *routev3.Route) string {
	if p, ok := r.GetMatch().GetPathSpecifier().(*routev3.RouteMatch_PathSeparatedPrefix); ok {
		s := p.PathSeparatedPrefix
		if len(s) < 2 || strings.ContainsAny(s, "?#") || strings.HasSuffix(s, "/") {
			return fmt.Sprintf("RouteMatch.PathSeparatedPrefix: %q does not match ^[^?#]+[^?#/]$", s)
		}
	}
	a := r.GetRoute()
	if w := a.GetWeightedClusters(); w != nil {
		var sum uint64
		for _, c := range w.GetClusters() {
			sum += uint64(c.GetWeight().GetValue())
		}
		if sum == 0 {
			return "Sum of weights in the weighted_cluster must be greater than 0."
		}
	}
	n := 0
	for _, set := range []bool{a.GetPrefixRewrite() != "", a.GetRegexRewrite() != nil, a.GetPathRewritePolicy() != nil} {
		if set {
			n++
		}
	}
	if n > 1 {
		return "Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy"
	}
	return ""
}
