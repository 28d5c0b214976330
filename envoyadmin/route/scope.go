package route

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// ScopeKey builds the key of a request's route scope: one string for each fragment of the builder. ok is false where a
// fragment yields none, in which case Envoy finds no route configuration; why says which, or, with undecided, what is
// not known.
func ScopeKey(s *hcmv3.ScopedRoutes, req *matcher.Request) (key []string, ok matcher.Verdict, why string) {
	b := s.GetScopeKeyBuilder()
	if matcher.HasUnknown(b) {
		return nil, matcher.Undecided, "the scope key builder " + matcher.UnknownIn(b)
	}
	for i, f := range b.GetFragments() {
		h := f.GetHeaderValueExtractor()
		if h == nil || matcher.HasUnknown(f) || matcher.HasUnknown(h) {
			return nil, matcher.Undecided, fmt.Sprintf("fragment %d of the scope key is of a kind that is not known", i)
		}
		v, found := req.Values(h.GetName()), false
		if len(v) > 0 {
			var part string
			if part, found = extract(h, v[0]); found {
				key = append(key, part)
			}
		}
		if !found {
			return nil, matcher.No, fmt.Sprintf("header %s gives no scope (fragment %d)", h.GetName(), i)
		}
	}
	return key, matcher.Yes, ""
}

// extract takes a part of a header: the n-th element, or the value of a key among elements.
func extract(h *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor, value string) (string, bool) {
	elements := []string{value}
	if sep := h.GetElementSeparator(); sep != "" {
		elements = strings.Split(value, sep)
	}
	switch e := h.GetExtractType().(type) {
	case *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index:
		if uint64(e.Index) < uint64(len(elements)) {
			return elements[e.Index], true
		}
	case *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Element:
		for _, el := range elements {
			k, v, _ := strings.Cut(el, e.Element.GetSeparator())
			if k == e.Element.GetKey() {
				return v, true
			}
		}
	}
	return "", false
}

// Scope finds the scope with that key; nil where there is none. Its route_configuration_name or route_configuration is
// the table.
func Scope(scopes []*routev3.ScopedRouteConfiguration, key []string) *routev3.ScopedRouteConfiguration {
	for _, s := range scopes {
		fs := s.GetKey().GetFragments()
		if len(fs) != len(key) {
			continue
		}
		same := true
		for i, f := range fs {
			same = same && f.GetStringKey() == key[i]
		}
		if same {
			return s
		}
	}
	return nil
}
