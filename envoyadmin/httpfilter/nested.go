package httpfilter

import (
	"strings"

	xdsmatch "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	chainv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/filter_chain/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

const (
	matcherType   = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
	compositeType = extensions + "composite.v3.Composite"
	chainType     = extensions + "filter_chain.v3.FilterChainConfig"
)

// run evaluates a filter, or those that it runs in its place.
func (r *runner) run(f *filter) []Step {
	switch f.typ {
	case matcherType:
		return r.behindMatcher(f)
	case compositeType:
		return r.composite(f)
	case chainType:
		return r.filterChain(f)
	}
	return []Step{r.evaluate(f)}
}

// behindMatcher is a filter in an ExtensionWithMatcher: skipped where the matcher says so, or a composite one that runs
// what the matcher names. Source: source/common/http/match_delegate/config.cc.
func (r *runner) behindMatcher(f *filter) []Step {
	m := &matchingv3.ExtensionWithMatcher{}
	if err := matcher.Unpack(f.cfg, m); err != nil {
		return []Step{undecidable(err)}
	}
	tree := m.GetXdsMatcher()
	if f.over != nil {
		o := &matchingv3.ExtensionWithMatcherPerRoute{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return []Step{undecidable(err)}
		}
		tree = o.GetXdsMatcher()
	}
	if tree == nil {
		return []Step{{Why: "its matcher is of an old kind that is not evaluated"}}
	}
	inner := m.GetExtensionConfig()
	if matcher.TypeName(inner.GetTypedConfig()) == compositeType {
		c := &compositev3.Composite{}
		if err := load(inner.GetTypedConfig(), c); err != nil {
			return []Step{undecidable(err)}
		}
		return r.chosen(f, tree, c)
	}
	switch found := matcher.Eval(tree, r.req, r.req.Env.Regex); found.Verdict {
	case matcher.Undecided:
		return []Step{{Why: "its matcher: " + found.Why}}
	case matcher.Yes:
		if n := matcher.TypeName(found.Action.GetTypedConfig()); n != "envoy.extensions.filters.common.matcher.action.v3.SkipFilter" {
			return []Step{{Why: "its matcher's action " + n + " is not known"}}
		}
		return []Step{{Effect: Disabled, Why: "skipped by its matcher: " + strings.Join(found.Trail, ", ")}}
	}
	return r.run(&filter{name: f.name, typ: matcher.TypeName(inner.GetTypedConfig()), cfg: inner.GetTypedConfig()})
}

// composite runs the filters its own matcher names. Source: source/extensions/filters/http/composite.
func (r *runner) composite(f *filter) []Step {
	c := &compositev3.Composite{}
	if err := load(f.cfg, c); err != nil {
		return []Step{undecidable(err)}
	}
	tree := c.GetMatcher()
	if f.over != nil {
		o := &compositev3.CompositePerRoute{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return []Step{undecidable(err)}
		}
		tree = o.GetMatcher()
	}
	if tree == nil {
		return []Step{{Effect: Silent}} // does nothing without a matcher in or around it
	}
	return r.chosen(f, tree, c)
}

// chosen runs the filters that a composite filter's matcher names.
func (r *runner) chosen(f *filter, tree *xdsmatch.Matcher, c *compositev3.Composite) []Step {
	found := matcher.Eval(tree, r.req, r.req.Env.Regex)
	switch found.Verdict {
	case matcher.Undecided:
		return []Step{{Why: "which filter it runs: " + found.Why}}
	case matcher.No:
		return []Step{{Effect: Silent}}
	}
	name := matcher.TypeName(found.Action.GetTypedConfig())
	if name == "envoy.extensions.filters.common.matcher.action.v3.SkipFilter" {
		return []Step{{Effect: Disabled, Why: "skipped by its matcher: " + strings.Join(found.Trail, ", ")}}
	}
	a := &compositev3.ExecuteFilterAction{}
	if !found.Action.GetTypedConfig().MessageIs(a) {
		return []Step{{Why: "its matcher's action " + name + " is not known"}}
	}
	if err := matcher.Unpack(found.Action.GetTypedConfig(), a); err != nil {
		return []Step{undecidable(err)}
	}
	if a.GetSamplePercent() != nil {
		switch p, _ := route.Fraction(a.GetSamplePercent(), &r.req.Env); {
		case p == 0:
			return []Step{{Effect: Silent}}
		case p < 1:
			return []Step{{Why: "runs another filter for " + percent(p) + " of requests, which is not evaluated"}}
		}
	}
	var list []*corev3.TypedExtensionConfig
	switch {
	case a.GetTypedConfig() != nil:
		list = append(list, a.GetTypedConfig())
	case a.GetDynamicConfig() != nil:
		return []Step{{Why: "runs filter " + a.GetDynamicConfig().GetName() + ", whose configuration is discovered (ECDS) and not evaluated"}}
	case a.GetFilterChain() != nil:
		list = a.GetFilterChain().GetTypedConfig()
	default:
		list = c.GetNamedFilterChains()[a.GetFilterChainName()].GetTypedConfig()
	}
	return r.inner(f, list)
}

// filterChain runs a list of filters, that of the route or its own.
func (r *runner) filterChain(f *filter) []Step {
	c := &chainv3.FilterChainConfig{}
	if err := load(f.cfg, c); err != nil {
		return []Step{undecidable(err)}
	}
	list := c.GetDefaultFilterChain().GetFilters()
	if f.over != nil {
		o := &chainv3.FilterChainConfigPerRoute{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return []Step{undecidable(err)}
		}
		list = o.GetFilterChain().GetFilters()
	}
	return r.inner(f, list)
}

// inner evaluates the filters that f runs, in order. Filters that run others do not nest; see the warning at FilterChain
// in filter_chain.proto.
func (r *runner) inner(f *filter, list []*corev3.TypedExtensionConfig) []Step {
	var out []Step
	for i, e := range list {
		if i == maxFilters {
			break
		}
		in := filter{name: f.name, typ: matcher.TypeName(e.GetTypedConfig()), cfg: e.GetTypedConfig()}
		var s Step
		switch in.typ {
		case compositeType, chainType, matcherType:
			s = Step{Why: "filters that run others are not evaluated inside one another"}
		default:
			s = r.evaluate(&in)
		}
		if s.Why != "" {
			s.Why = "runs " + e.GetName() + ": " + s.Why
		}
		out = append(out, s)
		if r.res.RouteCleared != "" && i+1 < len(list) {
			out = append(out, Step{Why: "the route is chosen again before the last of the filters it runs, which is not evaluated"})
			break
		}
	}
	if len(out) == 0 {
		out = append(out, Step{Effect: Silent})
	}
	return out
}
