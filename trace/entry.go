package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/hoptrail/hoptrail/k8s"
)

// entryOf is the path within a VirtualService of the entry that a route of Envoy
// was made from: by the name Istio gives the route, which is the entry's and that
// of its match, else by the one entry with the route's condition. It is "" where
// that does not tell one entry from another.
func entryOf(vs *k8s.VirtualService, route, match string) string {
	found := ""
	take := func(entry string) bool {
		if found != "" && found != entry {
			found = ""
			return false
		}
		found = entry
		return true
	}
	for i, http := range vs.Spec.GetHttp() {
		entry := fmt.Sprintf("http[%d]", i)
		named := http.GetName() != "" && (route == http.GetName() || strings.HasPrefix(route, http.GetName()+"."))
		switch {
		case named:
			return entry
		case route != "" && http.GetName() != "" || match == "":
			continue
		case len(http.GetMatch()) == 0 && match == "prefix /" && !take(entry):
			return ""
		}
		for _, m := range http.GetMatch() {
			if uri := uriCondition(m.GetUri()); uri != "" && (match == uri || strings.HasPrefix(match, uri+",")) && !take(entry) {
				return ""
			}
		}
	}
	return found
}

// uriCondition says a match's URI as a route's condition is said.
func uriCondition(m *networking.StringMatch) string {
	switch {
	case m.GetExact() != "":
		return "path == " + m.GetExact()
	case m.GetPrefix() != "":
		return "prefix " + m.GetPrefix()
	case m.GetRegex() != "":
		return "regex " + m.GetRegex()
	}
	return ""
}

// chainEntryOf is the path within a VirtualService of the entry that a filter
// chain was made from: the first whose server name, port and destination a
// connection has, as Istio goes through them. A gateway listens on another port
// than its Gateway names, so a port that nothing asks for does not decide; then
// only one entry may be left.
func chainEntryOf(vs *k8s.VirtualService, sni string, dst netip.AddrPort) string {
	for _, ports := range []bool{true, false} {
		var found []string
		take := func(entry string, ok bool) {
			if ok && !slices.Contains(found, entry) {
				found = append(found, entry)
			}
		}
		reaches := func(port uint32, subnets []string) bool {
			if ports && port != 0 && port != uint32(dst.Port()) {
				return false
			}
			return len(subnets) == 0 || slices.ContainsFunc(subnets, func(s string) bool { return inSubnet(s, dst.Addr()) })
		}
		for i, tls := range vs.Spec.GetTls() {
			for _, m := range tls.GetMatch() {
				names := slices.ContainsFunc(m.GetSniHosts(), func(h string) bool { return hostFits(h, sni) })
				take(fmt.Sprintf("tls[%d]", i), sni != "" && names && reaches(m.GetPort(), m.GetDestinationSubnets()))
			}
		}
		if len(found) > 0 {
			return found[0] // a name says more than a port
		}
		for i, tcp := range vs.Spec.GetTcp() {
			take(fmt.Sprintf("tcp[%d]", i), len(tcp.GetMatch()) == 0)
			for _, m := range tcp.GetMatch() {
				take(fmt.Sprintf("tcp[%d]", i), reaches(m.GetPort(), m.GetDestinationSubnets()))
			}
		}
		if len(found) == 1 || ports && len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

// hostFits says whether a server name is one that sniHosts names: itself, or a
// wildcard of it.
func hostFits(pattern, name string) bool {
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(name) > len(suffix) && strings.HasSuffix(strings.ToLower(name), strings.ToLower(suffix))
	}
	return strings.EqualFold(pattern, name)
}

// showEntry says on the hop of a route, or of a filter chain, which entry of its
// VirtualService it is.
func (w *walker) showEntry(n *node, owner k8s.Ref) {
	o := n.facts.outcome
	if owner.Kind != "VirtualService" || n.hop.Kind != KindRoute && n.hop.Kind != KindFilterChain || o == nil {
		return
	}
	vs, err := w.cluster.VirtualService(w.ctx, owner.Namespace, owner.Name)
	if w.refused(err) != nil || w.err != nil || vs == nil {
		return
	}
	entry := ""
	if n.hop.Kind == KindRoute {
		entry = entryOf(vs, o.Route, o.Extra.RouteMatch)
	} else {
		entry = chainEntryOf(vs, n.facts.flow.sni, n.facts.flow.dst)
	}
	if entry != "" {
		n.hop.check("entry of "+owner.String(), OK, "spec."+entry)
	}
}
