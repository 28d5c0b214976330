package trace

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/hoptrail/hoptrail/envoyadmin"
)

// ht4003 names a route of another VirtualService that takes the request before
// the one that asks for it more narrowly.
func ht4003(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		f := n.facts.flow
		if o == nil || o.Error == envoyadmin.NoVirtualHost || len(n.hop.Detail.Owner) == 0 || n.facts.direction != envoyadmin.Gateway {
			return
		}
		owner := n.hop.Detail.Owner[0]
		host, _, _ := strings.Cut(f.authority, ":")
		chosen := ""
		for _, vs := range q.virtualServicesFor(host) {
			if vs.Ref().String() == owner {
				chosen = bestMatch(vs.Spec, f.path)
			}
		}
		for _, vs := range q.virtualServicesFor(host) {
			if vs.Ref().String() == owner || !q.bindsTo(vs, n.facts.pod) {
				continue
			}
			wanted := bestMatch(vs.Spec, f.path)
			if len(wanted) <= len(chosen) {
				continue
			}
			found := q.report(n, fmt.Sprintf("the route of %s takes %s%s before %s, whose match %s is narrower: Istio joins the VirtualServices of one host oldest first", owner, f.authority, f.path, vs.Ref(), wanted),
				fmt.Sprintf("put the routes of %s and %s into one VirtualService, the narrower match first", owner, vs.Ref()))
			q.written(found, &vs.Meta, "http", wanted)
		}
	}, KindRoute)
}

// bestMatch is the narrowest URI match of the VirtualService that takes the
// path, "" where none does.
func bestMatch(vs *networking.VirtualService, path string) string {
	best := ""
	for _, route := range vs.GetHttp() {
		for _, m := range route.GetMatch() {
			for _, s := range []string{exactOf(m.GetUri(), pathOnly(path)), prefixOf(m.GetUri(), pathOnly(path))} {
				if len(s) > len(best) {
					best = s
				}
			}
		}
	}
	return best
}

func exactOf(m *networking.StringMatch, path string) string {
	if m.GetExact() != "" && m.GetExact() == path {
		return m.GetExact()
	}
	return ""
}

func prefixOf(m *networking.StringMatch, path string) string {
	if m.GetPrefix() != "" && strings.HasPrefix(path, m.GetPrefix()) {
		return m.GetPrefix()
	}
	return ""
}

// gatewayNames are the Gateways a VirtualService names, as namespace/name; mesh
// stands for the sidecars.
func gatewayNames(gateways []string, namespace string) []string {
	if len(gateways) == 0 {
		return []string{"mesh"}
	}
	out := slices.Clone(gateways)
	for i, g := range out {
		if g != "mesh" && !strings.Contains(g, "/") {
			out[i] = namespace + "/" + g
		}
	}
	return out
}
