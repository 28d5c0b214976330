package trace

import (
	"fmt"
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

// showEntry says on a route's hop which entry of its VirtualService it is.
func (w *walker) showEntry(n *node, owner k8s.Ref) {
	o := n.facts.outcome
	if owner.Kind != "VirtualService" || n.hop.Kind != KindRoute || o == nil {
		return
	}
	vs, err := w.cluster.VirtualService(w.ctx, owner.Namespace, owner.Name)
	if w.refused(err) != nil || w.err != nil || vs == nil {
		return
	}
	if entry := entryOf(vs, o.Route, o.Extra.RouteMatch); entry != "" {
		n.hop.check("entry of "+owner.String(), OK, "spec."+entry)
	}
}
