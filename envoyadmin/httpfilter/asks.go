package httpfilter

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	transcoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	h2mv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"
	quotav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rate_limit_quota/v3"
	ratev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	fsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	smv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_metadata/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

const unknowable = "may refuse, cannot be known from here"

func statusOr(s int32, otherwise int) int {
	if s != 0 {
		return int(s)
	}
	return otherwise
}

func (r *runner) extAuthz(f *filter) Step {
	c := &authzv3.ExtAuthz{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	grpc, http := c.GetGrpcService(), c.GetHttpService()
	if f.over != nil {
		o := &authzv3.ExtAuthzPerRoute{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
		if o.GetDisabled() {
			return Step{Effect: Disabled, Why: "turned off", From: f.from}
		}
		cs := o.GetCheckSettings()
		if g := cs.GetGrpcService(); g != nil {
			grpc, http = g, nil
		}
		if h := cs.GetHttpService(); h != nil {
			grpc, http = nil, h
		}
	}
	call, cluster := grpcCall(grpc)
	if http != nil {
		call, cluster = httpCall(http.GetServerUri())
	}
	s := Step{Effect: MayRefuse, Calls: list(call), Why: "an authorization service decides: " + unknowable}
	switch p := r.enabled(c.GetFilterEnabled(), 1); {
	case p == 0:
		return Step{Effect: Silent}
	case p < 1:
		s.Why += " (asked for " + percent(p) + " of requests)"
	}
	asked := matcher.Yes
	if m := c.GetFilterEnabledMetadata(); m != nil {
		var why string
		switch asked, why = matcher.Metadata(m, r.req.Env.Metadata, r.req.Env.MetadataComplete, r.req.Env.Regex); asked {
		case matcher.No:
			return Step{Effect: Continue, Why: "not asked: " + matcher.DescribeMetadata(m) + " does not hold"}
		case matcher.Undecided:
			s.Why = "an authorization service may be asked, which cannot be known (" + why + ")"
		}
	}
	if c.GetShadowMode() {
		s.Effect, s.Why = Continue, "an authorization service is asked in shadow mode, which refuses nothing"
		return s
	}
	if r.missing(cluster) && r.enabled(c.GetFilterEnabled(), 1) == 1 && asked == matcher.Yes {
		if c.GetFailureModeAllow() {
			s.Effect, s.Why = Continue, "the authorization service's cluster "+cluster+" does not exist; failure_mode_allow lets the request pass"
			return s
		}
		s.Effect, s.Probability = Refuse, 1
		s.Why = "the authorization service's cluster " + cluster + " does not exist, which refuses every request"
		s.Response = &Response{Status: statusOr(int32(c.GetStatusOnError().GetCode()), 403), Flags: "UAEX", Details: "ext_authz_error"}
		return s
	}
	if c.GetFailureModeAllow() {
		s.Why += "; where it cannot be reached the request passes (failure_mode_allow)"
	}
	r.req.Env.MetadataComplete = false
	if c.GetClearRouteCache() {
		r.res.MayReroute = or(r.res.MayReroute, "filter "+f.name+" may change headers and let the route be chosen again")
	}
	return s
}

func (r *runner) extProc(f *filter) Step {
	c := &procv3.ExternalProcessor{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	grpc, mode := c.GetGrpcService(), c.GetProcessingMode()
	if f.over != nil {
		o := &procv3.ExtProcPerRoute{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
		if o.GetDisabled() {
			return Step{Effect: Disabled, Why: "turned off", From: f.from}
		}
		if g := o.GetOverrides().GetGrpcService(); g != nil {
			grpc = g
		}
		if m := o.GetOverrides().GetProcessingMode(); m != nil {
			mode = m
		}
	}
	call, cluster := grpcCall(grpc)
	if u := c.GetHttpService().GetHttpService().GetHttpUri(); u != nil {
		call, cluster = httpCall(u)
	}
	if mode.GetRequestHeaderMode() == procv3.ProcessingMode_SKIP && mode.GetRequestBodyMode() == procv3.ProcessingMode_NONE {
		return Step{Effect: Continue, Why: "an external processor sees the response only", Calls: list(call)}
	}
	if c.GetObservabilityMode() {
		return Step{Effect: Continue, Why: "an external processor observes the request", Calls: list(call)}
	}
	if r.missing(cluster) {
		if c.GetFailureModeAllow() {
			return Step{Effect: Continue, Why: "the external processor's cluster " + cluster + " does not exist; failure_mode_allow lets the request pass", Calls: list(call)}
		}
		return Step{
			Effect: Refuse, Probability: 1, Calls: list(call), Why: "the external processor's cluster " + cluster + " does not exist, which fails every request",
			Response: &Response{Status: statusOr(int32(c.GetStatusOnError().GetCode()), 500), Details: "ext_proc_error"},
		}
	}
	r.req.Env.MetadataComplete = false
	if !c.GetDisableClearRouteCache() && c.GetRouteCacheAction() != procv3.ExternalProcessor_RETAIN { //nolint:staticcheck // still honoured
		r.res.MayReroute = or(r.res.MayReroute, "filter "+f.name+" may change the request and let the route be chosen again")
	}
	return Step{Effect: MayRefuse, Why: "an external processor may change or answer the request: " + unknowable, Calls: list(call)}
}

func (r *runner) localRateLimit(f *filter) Step {
	c := &localv3.LocalRateLimit{}
	cfg := f.cfg
	if f.over != nil {
		cfg = f.over
	}
	if err := load(cfg, c); err != nil {
		return undecidable(err)
	}
	on, enforced := r.enabled(c.GetFilterEnabled(), 0), r.enabled(c.GetFilterEnforced(), 0)
	b := c.GetTokenBucket()
	if on == 0 || b == nil && len(c.GetDescriptors()) == 0 {
		return Step{Effect: Silent}
	}
	limit := "the rates of its descriptors"
	if b != nil {
		fill := uint32(1)
		if b.GetTokensPerFill() != nil {
			fill = b.GetTokensPerFill().GetValue()
		}
		limit = fmt.Sprintf("%d requests at once, %d more every %s", b.GetMaxTokens(), fill, b.GetFillInterval().AsDuration())
		if len(c.GetDescriptors()) > 0 {
			limit += ", or the rates of its descriptors"
		}
	}
	if enforced == 0 {
		return Step{Effect: Continue, Why: "counts what goes beyond " + limit + " and refuses nothing"}
	}
	if p := on * enforced; p < 1 {
		limit += " for " + percent(p) + " of requests"
	}
	return Step{
		Effect: MayRefuse, Why: "refuses what goes beyond " + limit, Limit: limit,
		Response: &Response{Status: statusOr(int32(c.GetStatus().GetCode()), 429), Body: "local_rate_limited", Flags: "RL", Details: "local_rate_limited"},
	}
}

// descriptor says whether a rate limit's actions can all give a value: one that cannot makes no descriptor.
func (r *runner) descriptor(l *routev3.RateLimit) bool {
	for _, a := range l.GetActions() {
		switch k := a.GetActionSpecifier().(type) {
		case *routev3.RateLimit_Action_RequestHeaders_:
			if _, ok := r.req.Get(k.RequestHeaders.GetHeaderName()); !ok && !k.RequestHeaders.GetSkipIfAbsent() {
				return false
			}
		case *routev3.RateLimit_Action_HeaderValueMatch_:
			want := k.HeaderValueMatch.GetExpectMatch() == nil || k.HeaderValueMatch.GetExpectMatch().GetValue()
			v, _ := matcher.Headers(k.HeaderValueMatch.GetHeaders(), r.req)
			if v == matcher.Of(!want) {
				return false
			}
		}
	}
	return true
}

func (r *runner) rateLimit(f *filter) Step {
	c := &ratev3.RateLimit{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	limits := c.GetRateLimits()
	vhost := r.outcome.Host.GetRateLimits()
	own := r.outcome.Route.GetRoute().GetRateLimits()
	include := len(own) == 0 || r.outcome.Route.GetRoute().GetIncludeVhRateLimits().GetValue() //nolint:staticcheck // still honoured
	if f.over != nil {
		o := &ratev3.RateLimitPerRoute{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
		switch o.GetVhRateLimits() {
		case ratev3.RateLimitPerRoute_INCLUDE:
			include = true
		case ratev3.RateLimitPerRoute_IGNORE:
			include = false
		}
		if len(o.GetRateLimits()) > 0 {
			limits = o.GetRateLimits()
		}
	}
	if len(limits) == 0 {
		limits = append(limits, own...)
		if include {
			limits = append(limits, vhost...)
		}
	}
	asked := false
	for _, l := range limits {
		asked = asked || l.GetStage().GetValue() == c.GetStage() && r.descriptor(l)
	}
	if !asked || r.enabled(c.GetFilterEnabled(), 1) == 0 {
		return Step{Effect: Silent}
	}
	call, cluster := grpcCall(c.GetRateLimitService().GetGrpcService())
	if r.enabled(c.GetFilterEnforced(), 1) == 0 {
		return Step{Effect: Continue, Why: "a rate limit service is asked and nothing is refused", Calls: list(call)}
	}
	s := Step{
		Effect: MayRefuse, Calls: list(call), Why: "a rate limit service decides (domain " + c.GetDomain() + "): " + unknowable,
		Limit:    "the rates of domain " + c.GetDomain(),
		Response: &Response{Status: statusOr(int32(c.GetRateLimitedStatus().GetCode()), 429), Flags: "RL", Details: "request_rate_limited"},
	}
	if r.missing(cluster) {
		s.Response, s.Limit = nil, ""
		if !c.GetFailureModeDeny() {
			s.Effect, s.Why = Continue, "the rate limit service's cluster "+cluster+" does not exist; the request passes"
			return s
		}
		s.Effect, s.Probability = Refuse, 1
		s.Why = "the rate limit service's cluster " + cluster + " does not exist and failure_mode_deny is set"
		s.Response = &Response{Status: statusOr(int32(c.GetStatusOnError().GetCode()), 500), Flags: "RLSE", Details: "rate_limiter_error"}
	}
	return s
}

func (r *runner) rateLimitQuota(f *filter) Step {
	c := &quotav3.RateLimitQuotaFilterConfig{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	call, _ := grpcCall(c.GetRlqsServer())
	return Step{Effect: MayRefuse, Calls: list(call), Limit: "the quota of domain " + c.GetDomain(), Why: "a quota service decides (domain " + c.GetDomain() + "): " + unknowable, Response: &Response{Status: 429, Flags: "RL", Details: "rate_limit_quota"}}
}

// lua looks whether the script has anything to say of a request at all.
func (r *runner) lua(f *filter) Step {
	c := &luav3.Lua{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	code, where := c.GetInlineCode(), "its script" //nolint:staticcheck // old configurations have it
	source := c.GetDefaultSourceCode()
	if f.over != nil {
		o := &luav3.LuaPerRoute{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
		switch {
		case o.GetDisabled():
			return Step{Effect: Disabled, Why: "turned off", From: f.from}
		case o.GetSourceCode() != nil:
			code, source = "", o.GetSourceCode()
		case o.GetName() != "":
			code, source, where = "", c.GetSourceCodes()[o.GetName()], "its script "+o.GetName()
		}
	}
	if source != nil {
		switch d := source.GetSpecifier().(type) {
		case *corev3.DataSource_InlineString:
			code = d.InlineString
		case *corev3.DataSource_InlineBytes:
			code = string(d.InlineBytes)
		default:
			return Step{Effect: MayRefuse, Why: where + " is in a file of the proxy: " + unknowable}
		}
	}
	if !strings.Contains(code, "envoy_on_request") {
		return Step{Effect: Silent}
	}
	touches := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(code, w) {
				return true
			}
		}
		return false
	}
	if touches("ynamicMetadata") {
		r.req.Env.MetadataComplete = false
	}
	clears := c.GetClearRouteCache() == nil || c.GetClearRouteCache().GetValue()
	changes := touches(":add(", ":replace(", ":remove(", "setBytes", ":set(")
	if changes && clears || touches("clearRouteCache") {
		r.res.MayReroute = or(r.res.MayReroute, "filter "+f.name+": "+where+" may change the request and let the route be chosen again")
	}
	switch {
	case touches(":respond("):
		return Step{Effect: MayRefuse, Why: where + " may answer the request: " + unknowable, Response: &Response{Details: "lua_response"}}
	case changes, touches("httpCall"):
		return Step{Effect: Changes, Why: where + " may change the request"}
	default:
		return Step{Effect: Continue, Why: where + " looks at the request"}
	}
}

func (r *runner) wasm(f *filter) Step {
	c := &wasmv3.Wasm{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	code := c.GetConfig().GetVmConfig().GetCode()
	if istioPlugin(code.GetLocal().GetInlineString()) {
		return Step{Effect: Silent}
	}
	r.req.Env.MetadataComplete = false
	r.res.MayReroute = or(r.res.MayReroute, "filter "+f.name+" may change the request and let the route be chosen again")
	name := or(c.GetConfig().GetName(), f.name)
	return Step{Effect: MayRefuse, Why: "the Wasm plugin " + name + " may change or answer the request: " + unknowable, Calls: list(or(code.GetRemote().GetHttpUri().GetUri(), code.GetLocal().GetFilename()))}
}

// onDemand pauses a request until what it lacks was fetched: a virtual host (VHDS) or a cluster (ODCDS). Source:
// source/extensions/filters/http/on_demand/on_demand_update.cc.
func (r *runner) onDemand(f *filter) Step {
	c := &ondemandv3.OnDemand{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	odcds := c.GetOdcds() != nil
	if f.over != nil {
		o := &ondemandv3.PerRouteConfig{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
		odcds = o.GetOdcds() != nil
	}
	if r.outcome.OnDemand != "" {
		return Step{Why: "virtual host " + matcher.Show(r.outcome.OnDemand) + " is not in the route table and is fetched on demand (VHDS): what it holds is not in the dump"}
	}
	if odcds && r.outcome.Kind == route.ClusterNotFound {
		return Step{Why: "cluster " + matcher.Show(r.outcome.Cluster) + " may be fetched on demand (ODCDS)"}
	}
	return Step{Effect: Silent}
}

// transcoder turns JSON into gRPC by the annotations of its descriptors, which are not read here. Without services it is
// off, unless it refuses what it does not know. Source: source/extensions/filters/http/grpc_json_transcoder/json_transcoder_filter.cc.
func (r *runner) transcoder(f *filter) Step {
	c := &transcoderv3.GrpcJsonTranscoder{}
	cfg := f.cfg
	if f.over != nil {
		cfg = f.over
	}
	if err := load(cfg, c); err != nil {
		return undecidable(err)
	}
	if len(c.GetServices()) == 0 && !c.GetRequestValidationOptions().GetRejectUnknownMethod() {
		return Step{Effect: Disabled, Why: "turned off: it names no services"}
	}
	if ct, _ := r.req.Get("content-type"); strings.HasPrefix(ct, "application/grpc") {
		return Step{Effect: Silent}
	}
	if !c.GetMatchIncomingRequestRoute() {
		r.res.MayReroute = or(r.res.MayReroute, "filter "+f.name+" may turn the request into a gRPC call, for which the route is chosen again")
	}
	why := "turns JSON into a call of " + strings.Join(c.GetServices(), ", ") + " where its descriptors have the path, which is not evaluated"
	if o := c.GetRequestValidationOptions(); o.GetRejectUnknownMethod() || o.GetRejectUnknownQueryParameters() {
		return Step{Effect: MayRefuse, Why: why + ", and refuses what they do not have: " + unknowable}
	}
	return Step{Effect: Changes, Why: why}
}

// headerToMetadata copies headers and cookies to the dynamic metadata.
func (r *runner) headerToMetadata(f *filter) Step {
	c := &h2mv3.Config{}
	cfg := f.cfg
	if f.over != nil {
		cfg = f.over
	}
	if err := load(cfg, c); err != nil {
		return undecidable(err)
	}
	if len(c.GetRequestRules()) == 0 {
		return Step{Effect: Silent}
	}
	var set []string
	for _, rule := range c.GetRequestRules() {
		var v string
		var ok bool
		if h := rule.GetHeader(); h != "" {
			v, ok = r.req.Get(h)
		} else {
			v, ok = cookie(r.req, rule.GetCookie())
		}
		kv := rule.GetOnHeaderMissing()
		if ok && v != "" {
			kv = rule.GetOnHeaderPresent()
		}
		if kv != nil {
			if kv.GetValue() != "" || kv == rule.GetOnHeaderMissing() {
				v = kv.GetValue()
			}
			if re := kv.GetRegexValueRewrite(); re != nil {
				s, err := r.req.Env.Regex.ReplaceAll(re.GetPattern().GetRegex(), v, re.GetSubstitution())
				if err != nil {
					return undecidable(err)
				}
				v = s
			}
			if kv.GetEncode() == h2mv3.Config_BASE64 {
				b, err := base64.StdEncoding.DecodeString(v)
				if err != nil {
					continue
				}
				v = string(b)
			}
			if v != "" {
				var val *structpb.Value
				switch kv.GetType() {
				case h2mv3.Config_STRING:
					val = structpb.NewStringValue(v)
				case h2mv3.Config_NUMBER:
					n, err := strconv.ParseFloat(v, 64)
					if err != nil {
						continue
					}
					val = structpb.NewNumberValue(n)
				default:
					r.req.Env.MetadataComplete = false
					continue
				}
				ns := or(kv.GetMetadataNamespace(), "envoy.filters.http.header_to_metadata")
				r.setMetadata(ns, kv.GetKey(), val)
				set = append(set, ns+"."+kv.GetKey())
			}
		}
		if rule.GetRemove() && rule.GetHeader() != "" && ok {
			r.removeHeader(rule.GetHeader())
		}
	}
	if len(set) == 0 {
		return Step{Effect: Silent}
	}
	return Step{Effect: Changes, Why: "sets metadata " + strings.Join(set, ", ")}
}

func (r *runner) removeHeader(name string) {
	var out []matcher.Header
	for _, h := range r.req.Headers {
		if !strings.EqualFold(h.Name, name) {
			out = append(out, h)
		}
	}
	r.req.Headers = out
}

func cookie(req *matcher.Request, name string) (string, bool) {
	all, _ := req.Get("cookie")
	for part := range strings.SplitSeq(all, ";") {
		if k, v, ok := strings.Cut(strings.TrimSpace(part), "="); ok && k == name {
			return strings.Trim(v, `"`), true
		}
	}
	return "", false
}

func (r *runner) setMetadataFilter(f *filter) Step {
	c := &smv3.Config{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	var set []string
	put := func(ns string, s *structpb.Struct, overwrite bool) {
		old := r.req.Env.Metadata[ns]
		for _, k := range sorted(s.GetFields()) {
			if _, is := old.GetFields()[k]; is && !overwrite {
				continue
			}
			r.setMetadata(ns, k, s.GetFields()[k])
			set = append(set, ns+"."+k)
		}
	}
	if c.GetValue() != nil { //nolint:staticcheck // old configurations have it
		put(c.GetMetadataNamespace(), c.GetValue(), true) //nolint:staticcheck // as above
	}
	for _, m := range c.GetMetadata() {
		put(m.GetMetadataNamespace(), m.GetValue(), m.GetAllowOverwrite())
	}
	if len(set) == 0 {
		return Step{Effect: Silent}
	}
	return Step{Effect: Changes, Why: "sets metadata " + strings.Join(set, ", ")}
}

func (r *runner) setFilterState(f *filter) Step {
	c := &fsv3.Config{}
	cfg := f.cfg
	if f.over != nil {
		cfg = f.over
	}
	if err := load(cfg, c); err != nil {
		return undecidable(err)
	}
	if r.req.Env.FilterState == nil {
		r.req.Env.FilterState = map[string]string{}
	}
	var set []string
	for _, v := range c.GetOnRequestHeaders() {
		key := v.GetObjectKey()
		text := v.GetFormatString().GetTextFormatSource().GetInlineString()
		if text == "" {
			text = v.GetFormatString().GetTextFormat() //nolint:staticcheck // old configurations have it
		}
		s, known := route.Format(text, r.req)
		if !known || text == "" {
			delete(r.req.Env.FilterState, key)
			r.req.Env.FilterStateComplete = false
			set = append(set, key)
			continue
		}
		if s == "" && v.GetSkipIfEmpty() {
			continue
		}
		r.req.Env.FilterState[key] = s
		set = append(set, key)
	}
	if c.GetClearRouteCache() && r.res.RouteCleared == "" {
		r.res.RouteCleared = f.name
	}
	if len(set) == 0 {
		return Step{Effect: Silent}
	}
	return Step{Effect: Changes, Why: "sets filter state " + strings.Join(set, ", ")}
}

// headerMutation changes headers: the filter's own mutations, then those of each level, the least specific first.
func (r *runner) headerMutation(f *filter) Step {
	c := &mutationv3.HeaderMutation{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	all := []*mutationv3.Mutations{c.GetMutations()}
	var routes []*mutationv3.Mutations
	for _, m := range r.outcome.PerFilter {
		o := &mutationv3.HeaderMutationPerRoute{}
		if a, ok := m[f.name]; ok && matcher.Unpack(a, o) == nil {
			routes = append(routes, o.GetMutations())
		}
	}
	// Envoy applies the most specific first, so that the least specific wins, unless told otherwise.
	if c.GetMostSpecificHeaderMutationsWins() {
		for i := len(routes) - 1; i >= 0; i-- {
			all = append(all, routes[i])
		}
	} else {
		all = append(all, routes...)
	}
	n := 0
	for _, m := range all {
		n += len(m.GetRequestMutations())
		if why := route.Mutate(r.req, m.GetRequestMutations()); why != "" {
			return Step{Effect: Changes, Why: "changes headers; " + why}
		}
	}
	if n == 0 {
		return Step{Effect: Silent}
	}
	return Step{Effect: Changes, Why: fmt.Sprintf("makes %d header changes", n)}
}

// istioALPN reads what is offered to the upstream by its protocol.
func (r *runner) istioALPN(f *filter) Step {
	s := typedStruct(f.cfg)
	out := map[string][]string{}
	for _, o := range s.GetFields()["alpn_override"].GetListValue().GetValues() {
		fields := o.GetStructValue().GetFields()
		proto := "http/1.0"
		switch fields["upstream_protocol"].GetStringValue() {
		case "HTTP11":
			proto = "http/1.1"
		case "HTTP2":
			proto = "h2"
		}
		for _, v := range fields["alpn_override"].GetListValue().GetValues() {
			out[proto] = append(out[proto], v.GetStringValue())
		}
	}
	if len(out) == 0 {
		return Step{Effect: Silent}
	}
	r.res.ALPNByProtocol = out
	switch r.req.Protocol {
	case "HTTP/1.0":
		r.res.UpstreamALPN = out["http/1.0"]
	case "HTTP/2", "HTTP/3":
		r.res.UpstreamALPN = out["h2"]
	default:
		r.res.UpstreamALPN = out["http/1.1"]
	}
	return Step{Effect: Silent}
}

func sorted(m map[string]*structpb.Value) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// now is the time of the request, false where it is not known.
func (r *runner) now() (time.Time, bool) { return r.req.Env.Now, !r.req.Env.Now.IsZero() }
