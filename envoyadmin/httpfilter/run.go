package httpfilter

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

const maxFilters = 512

// runner walks the filters; req is the request as the filters so far left it.
type runner struct {
	req     *matcher.Request
	outcome *route.Outcome
	ecds    func(string) *anypb.Any
	res     *Result
}

// filter is one filter with the configuration that applies to it.
type filter struct {
	name string
	typ  string     // message name of its configuration
	cfg  *anypb.Any // of the connection manager
	over *anypb.Any // of the most specific level that has one, nil where none
	from string     // that level
}

// Walk goes through the filters for a request whose route is o; nil, or an outcome without a route, where there is none.
// ecds returns the configuration of a filter that is discovered (config_discovery) by name, nil where it is not known;
// it may be nil itself. The walk goes on behind a filter that refuses, so that all is seen; Refused tells the first. It stops
// behind one that makes Envoy choose the route again, see Result.Rest.
func Walk(filters []*hcmv3.HttpFilter, o *route.Outcome, req *matcher.Request, ecds func(name string) *anypb.Any) Result {
	if o == nil {
		o = &route.Outcome{}
	}
	work := *req
	work.Headers = slices.Clone(req.Headers)
	work.Env.Metadata = maps.Clone(req.Env.Metadata)
	work.Env.FilterState = maps.Clone(req.Env.FilterState)
	if o.Route != nil {
		work.Env.RouteMetadata = o.Route.GetMetadata().GetFilterMetadata()
	}
	res := Result{}
	r := runner{req: &work, outcome: o, ecds: ecds, res: &res}
	for i, f := range filters {
		if i == maxFilters {
			res.Steps = append(res.Steps, Step{Name: f.GetName(), Why: fmt.Sprintf("only the first %d filters are evaluated", maxFilters)})
			break
		}
		for _, s := range r.one(f) {
			s.Name = f.GetName()
			res.Steps = append(res.Steps, s)
		}
		if res.RouteCleared != "" {
			res.Rest = filters[i+1:]
			break
		}
	}
	res.Request = r.req
	return res
}

// SuppressEnvoyHeaders says whether the router filter is told not to set x-envoy-* headers on the request.
func SuppressEnvoyHeaders(filters []*hcmv3.HttpFilter) bool {
	for _, f := range filters {
		if c := (&routerv3.Router{}); matcher.TypeName(f.GetTypedConfig()) == typeRouter && proto.Unmarshal(f.GetTypedConfig().GetValue(), c) == nil {
			return c.GetSuppressEnvoyHeaders()
		}
	}
	return false
}

// FetchesOnDemand says whether a filter pauses requests without a route until their virtual host or route table was
// fetched. ecds is as in [Walk].
func FetchesOnDemand(filters []*hcmv3.HttpFilter, ecds func(name string) *anypb.Any) bool {
	return slices.ContainsFunc(filters, func(f *hcmv3.HttpFilter) bool {
		t := matcher.TypeName(configOf(f, ecds))
		return !f.GetDisabled() && (t == typeOnDemand || t == "" && f.GetName() == onDemandName)
	})
}

// configOf is a filter's configuration: its own, that of ECDS or that which stands in until ECDS delivers; nil for none.
func configOf(f *hcmv3.HttpFilter, ecds func(name string) *anypb.Any) *anypb.Any {
	d := f.GetConfigDiscovery()
	if d == nil {
		return f.GetTypedConfig()
	}
	if ecds != nil {
		if cfg := ecds(f.GetName()); cfg != nil {
			return cfg
		}
	}
	return d.GetDefaultConfig()
}

// one evaluates one filter: a step, or several where it runs others.
func (r *runner) one(f *hcmv3.HttpFilter) []Step {
	if matcher.HasUnknown(f) {
		return []Step{{Why: "the filter's entry " + matcher.UnknownIn(f)}}
	}
	cfg := configOf(f, r.ecds)
	if cfg == nil && f.GetConfigDiscovery() != nil {
		return []Step{{Why: "its configuration is discovered (ECDS) and not in the dump"}}
	}
	disabled := f.GetDisabled()
	over, from, set := r.override(f.GetName())
	if set != nil {
		disabled = *set
	}
	fl := filter{name: f.GetName(), typ: matcher.TypeName(cfg), cfg: cfg, over: over, from: from}
	switch {
	case disabled && from != "":
		return []Step{{Type: fl.typ, Effect: Disabled, Why: "turned off", From: from}}
	case disabled:
		return []Step{{Type: fl.typ, Effect: Disabled, Why: "turned off, and no route turns it on"}}
	}
	steps := r.run(&fl)
	for i := range steps {
		s := &steps[i]
		s.Type = fl.typ
		if over != nil && s.From == "" && s.Effect != Silent {
			s.From = from
		}
	}
	return steps
}

var levels = [...]string{"weighted cluster", "route", "virtual host", "route configuration"}

// override finds what the route says of a filter: its configuration at the most specific level that has one, and
// whether the most specific level that names it turns it off.
func (r *runner) override(name string) (cfg *anypb.Any, from string, disabled *bool) {
	for _, m := range r.outcome.PerFilter {
		a, ok := m[name]
		if !ok {
			continue
		}
		off := false
		inner := a
		if matcher.TypeName(a) == "envoy.config.route.v3.FilterConfig" {
			fc := &routev3.FilterConfig{}
			if proto.Unmarshal(a.GetValue(), fc) == nil {
				inner, off = fc.GetConfig(), fc.GetDisabled()
			}
		}
		if disabled == nil {
			disabled = &off
			from = r.levelOf(m)
		}
		if off || inner.GetTypeUrl() == "" {
			continue
		}
		if !*disabled {
			from = r.levelOf(m)
		}
		return inner, from, disabled
	}
	return nil, from, disabled
}

// levelOf names the level a typed_per_filter_config belongs to.
func (r *runner) levelOf(m map[string]*anypb.Any) string {
	same := func(n map[string]*anypb.Any) bool {
		return len(n) == len(m) && len(n) > 0 && maps.EqualFunc(n, m, func(a, b *anypb.Any) bool { return a == b })
	}
	switch {
	case same(r.outcome.Route.GetTypedPerFilterConfig()):
		return levels[1]
	case same(r.outcome.Host.GetTypedPerFilterConfig()):
		return levels[2]
	case r.outcome.Route == nil:
		return "route"
	}
	for _, c := range r.outcome.Route.GetRoute().GetWeightedClusters().GetClusters() {
		if same(c.GetTypedPerFilterConfig()) {
			return levels[0]
		}
	}
	return levels[3]
}

// undecidable is the step of a filter whose configuration cannot be read.
func undecidable(err error) Step {
	return Step{Why: "its configuration cannot be evaluated: " + err.Error()}
}

// calls names what a filter asks.
func grpcCall(g *corev3.GrpcService) (call, cluster string) {
	if e := g.GetEnvoyGrpc(); e != nil {
		return "cluster " + e.GetClusterName(), e.GetClusterName()
	}
	if u := g.GetGoogleGrpc().GetTargetUri(); u != "" {
		return u, ""
	}
	return "", ""
}

func httpCall(u *corev3.HttpUri) (call, cluster string) {
	if c := u.GetCluster(); c != "" {
		return "cluster " + c + " (" + u.GetUri() + ")", c
	}
	return u.GetUri(), ""
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// missing says that the proxy has no such cluster.
func (r *runner) missing(cluster string) bool {
	return cluster != "" && r.req.Env.KnownCluster != nil && !r.req.Env.KnownCluster(cluster)
}

// setMetadata stores a value in the dynamic metadata.
func (r *runner) setMetadata(ns, key string, v *structpb.Value) {
	if r.req.Env.Metadata == nil {
		r.req.Env.Metadata = map[string]*structpb.Struct{}
	}
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	if old := r.req.Env.Metadata[ns]; old != nil {
		maps.Copy(s.Fields, old.GetFields())
	}
	s.Fields[key] = v
	r.req.Env.Metadata[ns] = s
}

// typedStruct is the JSON of a configuration whose type is not linked, nil where there is none.
func typedStruct(a *anypb.Any) *structpb.Struct {
	t := &xdsv3.TypedStruct{}
	if strings.HasSuffix(a.GetTypeUrl(), ".TypedStruct") && proto.Unmarshal(a.GetValue(), t) == nil {
		return t.GetValue()
	}
	return nil
}
