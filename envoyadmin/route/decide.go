package route

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

const (
	detailNotFound = "route_not_found"
	detailDirect   = "direct_response"
	detailCluster  = "cluster_not_found"

	defaultNearMisses = 12
)

func (t *Table) choose(req *matcher.Request) HostChoice {
	if t.Hosts.onlyStar() {
		c := t.Hosts.choose("")
		c.Host = req.Authority
		c.Why = "the only domain is *"
		return c
	}
	host, name := req.Authority, "the authority"
	if h := t.Config.GetVhostHeader(); h != "" {
		name = "header " + h
		v := req.Values(h)
		host = ""
		if len(v) > 0 {
			host = v[0]
		}
	}
	if host == "" {
		return HostChoice{Index: -1, Why: name + ", by which virtual hosts are chosen, is absent"}
	}
	if t.Config.GetIgnorePortInHostMatching() {
		if i := portStart(host); i >= 0 {
			host = host[:i]
		}
	}
	return t.Hosts.choose(strings.ToLower(host))
}

// portStart is where ":port" begins in a host, -1 where it has none. A colon within brackets is part of an address.
func portStart(host string) int {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.LastIndexByte(host, ']') > i {
		return -1
	}
	return i
}

// odd says whether a message holds fields that are not known and may change where a request goes. A few old ones do not.
func odd(m proto.Message) bool {
	if !matcher.HasUnknown(m) {
		return false
	}
	names := decode.Unknown(m)
	return len(names) == 0 || slices.ContainsFunc(names, func(n string) bool {
		n, _, _ = strings.Cut(n, ":")
		switch strings.TrimPrefix(n, "hidden_envoy_deprecated_") {
		case "request_mirror_policy", "tracing", "decorator", "stat_prefix", "response_headers_to_remove":
			return false
		}
		return true
	})
}

// undecidedTable says why the table as a whole cannot be evaluated, empty where it can.
func (t *Table) undecidedTable(vh *routev3.VirtualHost) string {
	switch {
	case odd(t.Config):
		return "the route configuration " + t.Config.GetName() + " " + matcher.UnknownIn(t.Config)
	case len(t.Config.GetRouteSpecifiers()) > 0:
		return "the route configuration's route_specifiers may change the route: " + t.Config.GetRouteSpecifiers()[0].GetName()
	case vh != nil && odd(vh):
		return "the virtual host " + vh.GetName() + " " + matcher.UnknownIn(vh)
	case len(vh.GetRouteSpecifiers()) > 0:
		return "the virtual host's route_specifiers may change the route: " + vh.GetRouteSpecifiers()[0].GetName()
	default:
		return ""
	}
}

func (t *Table) decide(req *matcher.Request, choice HostChoice, vh *routev3.VirtualHost) Decision {
	if vh == nil {
		return t.noHost(choice)
	}
	d := Decision{}
	if choice.Domain == "*" && !t.Hosts.onlyStar() {
		d.NearMisses = t.Hosts.portMiss(choice.Host, vh.GetName())
	}
	if why := t.undecidedTable(vh); why != "" {
		d.Outcomes = []Outcome{{Probability: 1, RouteIndex: -1, VirtualHost: vh.GetName(), Why: why}}
		return d
	}
	v := newView(req, t.Config.GetIgnorePathParametersInPathMatching())
	if o, ok := t.requireTLS(v, vh); ok {
		d.Outcomes = []Outcome{o}
		return d
	}
	routes := vh.GetRoutes()
	if m := vh.GetMatcher(); m != nil {
		f := matcher.Eval(m, req, req.Env.Regex)
		switch f.Verdict {
		case matcher.Undecided:
			d.Outcomes = []Outcome{{Probability: 1, RouteIndex: -1, VirtualHost: vh.GetName(), Why: "the virtual host's matcher: " + f.Why}}
			return d
		case matcher.No:
			d.Outcomes = []Outcome{t.notFound(vh, "the virtual host's matcher matches nothing")}
			return d
		}
		var err error
		if routes, err = actionRoutes(f.Action.GetTypedConfig()); err != nil {
			d.Outcomes = []Outcome{{Probability: 1, RouteIndex: -1, VirtualHost: vh.GetName(), Why: "the virtual host's matcher: " + err.Error()}}
			return d
		}
		d.Notes = append(d.Notes, "matcher: "+strings.Join(f.Trail, ", "))
	}
	t.walk(&d, v, vh, routes)
	for i := range d.Outcomes {
		d.Outcomes[i].Host = vh
	}
	return d
}

func actionRoutes(a *anypb.Any) ([]*routev3.Route, error) {
	switch name := typeName(a); name {
	case "envoy.config.route.v3.Route":
		r := &routev3.Route{}
		if err := proto.Unmarshal(a.GetValue(), r); err != nil {
			return nil, fmt.Errorf("action %s: %w", name, err)
		}
		return []*routev3.Route{r}, nil
	case "envoy.config.route.v3.RouteList":
		l := &routev3.RouteList{}
		if err := proto.Unmarshal(a.GetValue(), l); err != nil {
			return nil, fmt.Errorf("action %s: %w", name, err)
		}
		return l.GetRoutes(), nil
	default:
		return nil, fmt.Errorf("action %s is neither a route nor a list of routes", name)
	}
}

func (t *Table) noHost(choice HostChoice) Decision {
	d := Decision{NearMisses: t.Hosts.nearest(choice.Host, 5)}
	if why := t.undecidedTable(nil); why != "" {
		d.Outcomes = []Outcome{{Probability: 1, RouteIndex: -1, Why: why}}
		return d
	}
	d.Outcomes = []Outcome{{Kind: NoVirtualHost, Probability: 1, RouteIndex: -1, Why: choice.Why, Status: 404, Flags: "NR", Details: detailNotFound}}
	return d
}

func (t *Table) notFound(vh *routev3.VirtualHost, why string) Outcome {
	return Outcome{Kind: NoRoute, Probability: 1, RouteIndex: -1, VirtualHost: vh.GetName(), Why: why, Status: 404, Flags: "NR", Details: detailNotFound}
}

// requireTLS answers with a redirect where the virtual host wants TLS. It looks at x-forwarded-proto, not at :scheme.
func (t *Table) requireTLS(v *view, vh *routev3.VirtualHost) (Outcome, bool) {
	proto, ok := v.req.Get("x-forwarded-proto")
	if !ok && vh.GetRequireTls() != routev3.VirtualHost_NONE {
		return t.notFound(vh, "x-forwarded-proto is absent"), true
	}
	internal, _ := v.req.Get("x-envoy-internal")
	want := vh.GetRequireTls()
	if proto == "https" || want == routev3.VirtualHost_NONE || want == routev3.VirtualHost_EXTERNAL_ONLY && internal == "true" {
		return Outcome{}, false
	}
	if want != routev3.VirtualHost_ALL && want != routev3.VirtualHost_EXTERNAL_ONLY {
		return Outcome{Probability: 1, RouteIndex: -1, VirtualHost: vh.GetName(), Why: fmt.Sprintf("require_tls %d is not known", want)}, true
	}
	url := "https://" + v.req.Authority + v.req.Path
	return Outcome{
		Kind: TLSRedirect, Probability: 1, RouteIndex: -1, VirtualHost: vh.GetName(),
		Why:    "the virtual host requires TLS (" + want.String() + ") and x-forwarded-proto is " + matcher.Show(proto),
		Status: 301, Location: url, Details: detailDirect,
		Response: []matcher.Header{{Name: "location", Value: url}},
	}, true
}

// miss is a route that was passed over, small for there may be hundreds.
type miss struct {
	index, part int32
	cond        condition
}

// maybe is a route that cannot be decided, or is taken by chance.
type maybe struct {
	index int
	why   string
}

// walk takes the first route that matches. A route taken by chance splits the way; one that cannot be decided makes
// the rest undetermined, unless every way on ends alike.
func (t *Table) walk(d *Decision, v *view, vh *routev3.VirtualHost, routes []*routev3.Route) {
	var (
		misses []miss
		past   []chance // what the random number must be, to come this far
		open   []maybe
		final  = -1
	)
	for i, r := range routes {
		res := v.match(r.GetMatch())
		if res.note != "" && !slices.Contains(d.Notes, res.note) {
			d.Notes = append(d.Notes, res.note)
		}
		switch {
		case res.v == matcher.No:
			misses = append(misses, miss{int32(i), int32(res.index), res.cond})
		case res.v == matcher.Undecided:
			open = append(open, maybe{i, res.why})
		case res.chance.mod != 0:
			if len(open) > 0 {
				open = append(open, maybe{i, res.chance.note})
				break
			}
			d.Outcomes = append(d.Outcomes, t.outcomes(v, vh, r, i, append(slices.Clone(past), res.chance), d)...)
			past = append(past, res.chance.negate())
		default:
			final = i
		}
		if final >= 0 {
			break
		}
	}
	d.NearMisses = append(d.NearMisses, v.nearMisses(routes, misses, t.maxMisses())...)

	if share(past) == 0 {
		return
	}
	var last []Outcome
	if final >= 0 {
		last = t.outcomes(v, vh, routes[final], final, past, d)
	} else {
		o := t.notFound(vh, fmt.Sprintf("none of %d routes matches", len(routes)))
		if len(routes) == 0 {
			o.Why = "the virtual host has no routes"
		}
		o.Probability = share(past)
		last = []Outcome{o}
	}
	if len(open) == 0 {
		d.Outcomes = append(d.Outcomes, last...)
		return
	}
	alike := true
	o := Outcome{Probability: share(past), RouteIndex: -1, VirtualHost: vh.GetName()}
	for _, m := range open {
		ways := t.outcomes(v, vh, routes[m.index], m.index, past, d)
		alike = alike && sameEffect(ways, last)
		for _, w := range ways {
			o.Possible = append(o.Possible, "if route "+nameOf(routes[m.index])+" matches: "+w.brief())
		}
	}
	if alike {
		for i := range last {
			last[i].Why += "; it does not matter that " + open[0].why
		}
		d.Outcomes = append(d.Outcomes, last...)
		return
	}
	for _, w := range last {
		o.Possible = append(o.Possible, "otherwise: "+w.brief())
	}
	m := open[0]
	o.Route, o.RouteIndex, o.Match = routes[m.index], m.index, Describe(routes[m.index].GetMatch())
	o.Why = m.why
	d.Outcomes = append(d.Outcomes, o)
}

func nameOf(r *routev3.Route) string {
	if r.GetName() != "" {
		return matcher.Show(r.GetName())
	}
	return "(" + Describe(r.GetMatch()) + ")"
}

func (t *Table) maxMisses() int {
	if t.MaxNearMisses > 0 {
		return t.MaxNearMisses
	}
	return defaultNearMisses
}

// brief says an outcome in a few words.
func (o *Outcome) brief() string {
	switch o.Kind {
	case Forward:
		return "forward to " + o.Cluster
	case Redirect, TLSRedirect:
		return fmt.Sprintf("redirect %d to %s", o.Status, o.Location)
	case DirectResponse:
		return "answer " + strconv.Itoa(o.Status)
	case NoRoute, NoVirtualHost:
		return "404, no route"
	case ClusterNotFound:
		return fmt.Sprintf("%d, no cluster %s", o.Status, matcher.Show(o.Cluster))
	case NonForwarding:
		return "no forwarding"
	default:
		return "undetermined: " + o.Why
	}
}

// sameEffect says whether two sets of outcomes do the same to the request.
func sameEffect(a, b []Outcome) bool {
	return slices.EqualFunc(a, b, func(x, y Outcome) bool {
		return x.Kind != Undetermined && x.Kind == y.Kind && x.Cluster == y.Cluster && x.Status == y.Status && x.Location == y.Location && x.Body == y.Body &&
			x.Upstream.Path == y.Upstream.Path && x.Upstream.Authority == y.Upstream.Authority &&
			slices.Equal(x.Upstream.Headers, y.Upstream.Headers) && x.Policy.Timeout == y.Policy.Timeout &&
			proto.Equal(x.Policy.MetadataMatch, y.Policy.MetadataMatch) &&
			slices.EqualFunc(x.PerFilter, y.PerFilter, func(p, q map[string]*anypb.Any) bool {
				return maps.EqualFunc(p, q, func(s, u *anypb.Any) bool { return proto.Equal(s, u) })
			})
	})
}

// outcomes says what a route that was taken makes of the request; past is what the random number must be for it.
func (t *Table) outcomes(v *view, vh *routev3.VirtualHost, r *routev3.Route, index int, past []chance, d *Decision) []Outcome {
	base := Outcome{
		Probability: share(past), VirtualHost: vh.GetName(), Route: r, RouteIndex: index, Match: Describe(r.GetMatch()),
		PerFilter: perFilter(r.GetTypedPerFilterConfig(), vh.GetTypedPerFilterConfig(), t.Config.GetTypedPerFilterConfig()),
	}
	base.Why = "first route that matches: " + base.Match
	if odd(r) || len(r.GetRouteSpecifiers()) > 0 {
		base.Why = "the route " + nameOf(r) + " " + matcher.UnknownIn(r)
		if !odd(r) {
			base.Why = "the route_specifiers of route " + nameOf(r) + " may change it: " + r.GetRouteSpecifiers()[0].GetName()
		}
		return []Outcome{base}
	}
	switch a := r.GetAction().(type) {
	case *routev3.Route_Route:
		if odd(a.Route) {
			base.Why = "the action of route " + nameOf(r) + " " + matcher.UnknownIn(a.Route)
			return []Outcome{base}
		}
		return t.forward(v, vh, r, base, past, d)
	case *routev3.Route_Redirect:
		url, doubt := v.location(r)
		if odd(a.Redirect) {
			doubt = "the redirect " + matcher.UnknownIn(a.Redirect)
		}
		if doubt != "" {
			base.Why = doubt
			return []Outcome{base}
		}
		base.Kind, base.Status, base.Location, base.Details = Redirect, redirectStatus(a.Redirect), url, detailDirect
		base.Response = t.respond(v, vh, r, base.Status, "", url)
		base.moved(d)
		return []Outcome{base}
	case *routev3.Route_DirectResponse:
		base.Kind, base.Status, base.Details = DirectResponse, int(a.DirectResponse.GetStatus()), detailDirect
		var known bool
		if base.Body, known = body(a.DirectResponse.GetBody()); !known {
			d.Notes = append(d.Notes, "the body of the direct response is in a file or the environment of the proxy")
		}
		if a.DirectResponse.GetBodyFormat() != nil {
			d.Notes = append(d.Notes, "the body of the direct response is formatted by body_format")
		}
		url := ""
		if base.Status == 201 || base.Status/100 == 3 {
			url = v.req.Scheme + "://" + redirectHost(v.req, v.req.Scheme, "") + v.req.Path
		}
		base.Location = url
		base.Response = t.respond(v, vh, r, base.Status, base.Body, url)
		return []Outcome{base}
	case *routev3.Route_NonForwardingAction, *routev3.Route_FilterAction:
		base.Kind = NonForwarding
		base.Why += "; its action forwards nothing, a filter must answer"
		return []Outcome{base}
	default:
		base.Why = "the action of route " + nameOf(r) + " is not known"
		return []Outcome{base}
	}
}

// respond gives the headers of an answer Envoy makes itself, after the levels' response header changes.
func (t *Table) respond(v *view, vh *routev3.VirtualHost, r *routev3.Route, status int, text, location string) []matcher.Header {
	var h []matcher.Header
	if text != "" {
		h = append(h, matcher.Header{Name: "content-length", Value: strconv.Itoa(len(text))}, matcher.Header{Name: "content-type", Value: "text/plain"})
	}
	if location != "" && (status == 201 || status/100 == 3) {
		h = append(h, matcher.Header{Name: "location", Value: location})
	}
	for _, m := range t.levels(vh, r, nil, true) {
		cur := h
		h, _, _ = m.apply(slices.Clone(h), func(s string) (string, bool) { return format(s, v.req, append([]matcher.Header{}, cur...)) })
	}
	return h
}

// moved makes the location of a redirect what the changes of response headers
// left of it: they come after the redirect.
func (o *Outcome) moved(d *Decision) {
	var at []string
	for _, h := range o.Response {
		if strings.EqualFold(h.Name, "location") {
			at = append(at, h.Value)
		}
	}
	switch {
	case len(at) == 0:
		o.Location = ""
		o.Why += "; the changes of response headers remove location"
	case len(at) > 1:
		d.Notes = append(d.Notes, "the changes of response headers add another location: "+strings.Join(at[1:], ", "))
	case at[0] != o.Location:
		o.Why += "; the changes of response headers set location, which was " + o.Location
		o.Location = at[0]
	}
}

func perFilter(ms ...map[string]*anypb.Any) []map[string]*anypb.Any {
	return slices.DeleteFunc(ms, func(m map[string]*anypb.Any) bool { return len(m) == 0 })
}

// forward resolves the cluster of a forwarding route: one outcome for each cluster it may choose.
func (t *Table) forward(v *view, vh *routev3.VirtualHost, r *routev3.Route, base Outcome, past []chance, d *Decision) []Outcome {
	a := r.GetRoute()
	var out []Outcome
	switch s := a.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		out = []Outcome{t.toCluster(v, vh, r, nil, base, s.Cluster, "")}
	case *routev3.RouteAction_ClusterHeader:
		name := ""
		if vs := v.req.Values(s.ClusterHeader); len(vs) > 0 {
			name = vs[0]
		}
		out = []Outcome{t.toCluster(v, vh, r, nil, base, name, "header "+s.ClusterHeader)}
	case *routev3.RouteAction_WeightedClusters:
		out = t.weighted(v, vh, r, s.WeightedClusters, base, past, d)
	case *routev3.RouteAction_ClusterSpecifierPlugin:
		base.Why = "the cluster is chosen by the plugin " + s.ClusterSpecifierPlugin + t.plugin(s.ClusterSpecifierPlugin)
		out = []Outcome{base}
	case *routev3.RouteAction_InlineClusterSpecifierPlugin:
		e := s.InlineClusterSpecifierPlugin.GetExtension()
		base.Why = "the cluster is chosen by the plugin " + e.GetName() + " (" + typeName(e.GetTypedConfig()) + ")"
		out = []Outcome{base}
	default:
		base.Why = "the route's cluster specifier is not known"
		out = []Outcome{base}
	}
	return out
}

func (t *Table) plugin(name string) string {
	for _, p := range t.Config.GetClusterSpecifierPlugins() {
		if p.GetExtension().GetName() == name {
			return " (" + typeName(p.GetExtension().GetTypedConfig()) + ")"
		}
	}
	return ""
}

// weighted lists the entries of weighted clusters with their probability, or the one that Envoy's random number, a
// header or a hash picks.
func (t *Table) weighted(v *view, vh *routev3.VirtualHost, r *routev3.Route, w *routev3.WeightedCluster, base Outcome, past []chance, d *Decision) []Outcome {
	if odd(w) {
		base.Why = "the choice of clusters of route " + nameOf(r) + " " + matcher.UnknownIn(w)
		return []Outcome{base}
	}
	env := &v.req.Env
	weights := make([]uint64, len(w.GetClusters()))
	var sum uint64
	for i, c := range w.GetClusters() {
		weights[i] = uint64(c.GetWeight().GetValue())
		if p := w.GetRuntimeKeyPrefix(); p != "" {
			key := p + "." + c.GetName()
			s, ok := env.Runtime[key]
			if n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 32); ok && err == nil {
				weights[i] = n
			} else if !env.RuntimeComplete {
				note := "runtime keys " + p + ".* are taken at the weights of the configuration"
				if !slices.Contains(d.Notes, note) {
					d.Notes = append(d.Notes, note)
				}
			}
		}
		sum += weights[i]
	}
	if sum == 0 {
		base.Why = "the sum of the weights of route " + nameOf(r) + " is 0, which Envoy refuses"
		return []Outcome{base}
	}
	fixed := env.Random
	how := ""
	if h := w.GetHeaderName(); h != "" {
		vals := v.req.Values(h)
		if len(vals) == 1 {
			if n, err := strconv.ParseUint(strings.TrimSpace(vals[0]), 10, 64); err == nil {
				fixed, how = &n, ", by header "+h
			}
		}
	}
	hashed := w.GetUseHashPolicy().GetValue() && len(r.GetRoute().GetHashPolicy()) > 0
	if hashed && how == "" {
		switch n, ok, from := hash(r.GetRoute().GetHashPolicy(), v); {
		case ok:
			fixed, how = &n, ", by the hash of "+from
		case from != "":
			fixed = nil
			d.Notes = append(d.Notes, "the cluster is picked by a hash of "+from+": the same for every request that shares it")
		default:
			hashed = false
		}
	}
	var out []Outcome
	var begin uint64
	for i, c := range w.GetClusters() {
		in := chance{mod: sum, lo: begin, hi: begin + weights[i]}
		begin = in.hi
		if weights[i] == 0 {
			continue
		}
		o := base
		switch {
		case fixed != nil:
			if !in.holds(*fixed) {
				continue
			}
		case hashed:
			o.Probability = base.Probability * float64(weights[i]) / float64(sum)
		default:
			o.Probability = share(append(slices.Clone(past), in))
		}
		if o.Probability == 0 {
			continue
		}
		name, why := c.GetName(), fmt.Sprintf("weight %d of %d%s", weights[i], sum, how)
		if name == "" && c.GetClusterHeader() != "" {
			if vs := v.req.Values(c.GetClusterHeader()); len(vs) > 0 {
				name = vs[0]
			}
			why += ", header " + c.GetClusterHeader()
		}
		o.PerFilter = append(perFilter(c.GetTypedPerFilterConfig()), base.PerFilter...)
		if odd(c) {
			o.Why = "the weighted cluster " + name + " " + matcher.UnknownIn(c)
			out = append(out, o)
			continue
		}
		out = append(out, t.toCluster(v, vh, r, c, o, name, why))
	}
	return out
}

// toCluster is the outcome of forwarding to one cluster.
func (t *Table) toCluster(v *view, vh *routev3.VirtualHost, r *routev3.Route, wc *routev3.WeightedCluster_ClusterWeight, o Outcome, name, why string) Outcome {
	o.Kind, o.Cluster, o.ClusterWhy, o.Entry, o.Host = Forward, name, why, wc, vh
	known := v.req.Env.KnownCluster
	if name == "" || known != nil && !known(name) {
		o.Kind, o.Status, o.Flags, o.Details = ClusterNotFound, 503, "NC", detailCluster
		switch r.GetRoute().GetClusterNotFoundResponseCode() {
		case routev3.RouteAction_NOT_FOUND:
			o.Status = 404
		case routev3.RouteAction_INTERNAL_SERVER_ERROR:
			o.Status = 500
		}
		o.Why += "; the proxy has no cluster " + matcher.Show(name)
	}
	var doubt string
	o.Upstream, doubt = t.upstream(v, vh, r, wc)
	o.Policy = t.policy(v, vh, r, wc)
	if doubt != "" && o.Kind == Forward {
		o.Kind, o.Why = Undetermined, doubt
		o.Possible = []string{"forward to " + name}
	}
	return o
}

// policy gathers how the router treats the request.
func (t *Table) policy(v *view, vh *routev3.VirtualHost, r *routev3.Route, wc *routev3.WeightedCluster_ClusterWeight) Policy {
	a := r.GetRoute()
	p := Policy{
		Timeout: defaultTimeout, IdleTimeout: -1, MaxStreamDuration: -1, BufferLimit: -1,
		Hedge: a.GetHedgePolicy(), InternalRedirect: internalRedirect(a), HashPolicy: a.GetHashPolicy(),
		Priority: a.GetPriority(), MetadataMatch: mergeMetadata(a.GetMetadataMatch(), wc.GetMetadataMatch()),
		RateLimits: a.GetRateLimits(), VHostRateLimits: vh.GetRateLimits(),
		AttemptCount: vh.GetIncludeRequestAttemptCount(), VirtualCluster: v.virtualCluster(vh),
	}
	if len(p.RateLimits) > 0 && !a.GetIncludeVhRateLimits().GetValue() { //nolint:staticcheck // still honoured
		p.VHostRateLimits = nil
	}
	t.timeouts(&p, v, a)
	if p.Retry, p.RetryFrom = a.GetRetryPolicy(), "route"; p.Retry == nil {
		if p.Retry, p.RetryFrom = vh.GetRetryPolicy(), "virtual host"; p.Retry == nil {
			p.RetryFrom = ""
		}
	}
	if p.Retry != nil {
		p.Retries = 1
		if n := p.Retry.GetNumRetries(); n != nil {
			p.Retries = n.GetValue()
		}
	}
	if p.Hedge == nil {
		p.Hedge = vh.GetHedgePolicy()
	}
	mirrors := a.GetRequestMirrorPolicies()
	if len(mirrors) == 0 {
		mirrors = vh.GetRequestMirrorPolicies()
	}
	if len(mirrors) == 0 {
		mirrors = t.Config.GetRequestMirrorPolicies()
	}
	if v.req.Method != "CONNECT" {
		for _, m := range mirrors {
			p.Mirrors = append(p.Mirrors, v.mirror(m))
		}
	}
	for _, lim := range []interface{ GetValue() uint32 }{vh.GetPerRequestBufferLimitBytes(), r.GetPerRequestBufferLimitBytes()} { //nolint:staticcheck // old configurations have it
		if n := lim.GetValue(); n != 0 {
			p.BufferLimit = int64(n)
		}
	}
	for _, lim := range []interface{ GetValue() uint64 }{vh.GetRequestBodyBufferLimit(), r.GetRequestBodyBufferLimit()} {
		if n := lim.GetValue(); n != 0 {
			p.BufferLimit = int64(min(n, 1<<62))
		}
	}
	for _, u := range a.GetUpgradeConfigs() {
		if u.GetConnectConfig() != nil && v.req.Method == "CONNECT" {
			p.ConnectTerminated = true
		}
	}
	p.InternalOnlyRemove = t.Config.GetInternalOnlyHeaders()
	return p
}

func internalRedirect(a *routev3.RouteAction) *routev3.InternalRedirectPolicy {
	if p := a.GetInternalRedirectPolicy(); p != nil {
		return p
	}
	if a.GetInternalRedirectAction() == routev3.RouteAction_HANDLE_INTERNAL_REDIRECT { //nolint:staticcheck // old configurations have it
		return &routev3.InternalRedirectPolicy{MaxInternalRedirects: a.GetMaxInternalRedirects()} //nolint:staticcheck // as above
	}
	return nil
}

// virtualCluster is the first whose headers match; "other" where none does and there are some.
func (v *view) virtualCluster(vh *routev3.VirtualHost) string {
	for _, c := range vh.GetVirtualClusters() {
		if w, _ := matcher.Headers(c.GetHeaders(), v.req); w == matcher.Yes {
			return c.GetName()
		}
	}
	if len(vh.GetVirtualClusters()) > 0 {
		return "other"
	}
	return ""
}

func (v *view) mirror(m *routev3.RouteAction_RequestMirrorPolicy) Mirror {
	out := Mirror{Cluster: m.GetCluster(), Percent: 100, HostSufx: !m.GetDisableShadowHostSuffixAppend()}
	if h := m.GetClusterHeader(); h != "" {
		if vs := v.req.Values(h); len(vs) > 0 {
			out.Cluster = vs[0]
		}
	}
	if rf := m.GetRuntimeFraction(); rf != nil {
		c := fraction(rf, &v.req.Env)
		if c.mod != 0 {
			out.Percent = 100 * float64(min(c.hi, c.mod)) / float64(c.mod)
		}
	}
	return out
}

// mergeMetadata adds the weighted entry's "envoy.lb" keys to the route's, which it overrides key by key.
func mergeMetadata(route, entry *corev3.Metadata) *corev3.Metadata {
	lb := entry.GetFilterMetadata()["envoy.lb"]
	if lb == nil {
		return route
	}
	if route.GetFilterMetadata()["envoy.lb"] == nil {
		return entry
	}
	out := proto.Clone(route).(*corev3.Metadata)
	own := out.FilterMetadata["envoy.lb"]
	if own.Fields == nil {
		own.Fields = map[string]*structpb.Value{}
	}
	maps.Copy(own.Fields, lb.GetFields())
	return out
}
