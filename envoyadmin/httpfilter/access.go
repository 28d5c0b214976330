package httpfilter

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	apikeyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"
	basicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/basic_auth/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	csrfv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/csrf/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	oauthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/oauth2/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/rbac"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

// load decodes a filter's own configuration; one that has none is empty.
func load(a *anypb.Any, m proto.Message) error {
	if a.GetTypeUrl() == "" {
		return nil
	}
	return matcher.Unpack(a, m)
}

func (r *runner) rbac(f *filter) Step {
	c := &rbacv3.RBAC{}
	if f.over != nil {
		o := &rbacv3.RBACPerRoute{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
		if o.GetRbac() == nil {
			return Step{Effect: Disabled, Why: "turned off", From: f.from}
		}
		c = o.GetRbac()
	} else if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	if matcher.HasUnknown(c) {
		return Step{Why: "its configuration " + matcher.UnknownIn(c)}
	}
	s := Step{}
	if c.GetShadowRules() != nil || c.GetShadowMatcher() != nil {
		d := rbac.Evaluate(c.GetShadowRules(), c.GetShadowMatcher(), r.req)
		switch d.Allowed {
		case matcher.Yes:
			s.Shadow = "would allow: " + d.Why
		case matcher.No:
			s.Shadow = "would deny: " + d.Why
		default:
			s.Shadow = "cannot be decided: " + d.Why
		}
		r.rbacMetadata(c.GetShadowRulesStatPrefix()+"shadow_", &d)
	}
	if c.GetRules() == nil && c.GetMatcher() == nil {
		s.Effect = Silent
		if s.Shadow != "" {
			s.Effect = Continue
		}
		return s
	}
	d := rbac.Evaluate(c.GetRules(), c.GetMatcher(), r.req)
	r.rbacMetadata(c.GetRulesStatPrefix()+"enforced_", &d)
	s.Why = d.Why
	switch d.Allowed {
	case matcher.Yes:
		s.Effect = Continue
	case matcher.No:
		s.Effect, s.Probability = Refuse, 1
		s.Response = &Response{Status: rbac.Status, Body: rbac.Body, Details: d.Details}
	default:
		s.Effect = MayRefuse
	}
	return s
}

// rbacMetadata leaves the result where later filters find it: Istio's external authorization is asked only where the
// shadow rules before it name a policy.
func (r *runner) rbacMetadata(prefix string, d *rbac.Decision) {
	const ns = "envoy.filters.http.rbac"
	if d.Allowed == matcher.Undecided {
		r.req.Env.MetadataComplete = false
		delete(r.req.Env.Metadata, ns)
		return
	}
	result := "allowed"
	if d.Allowed == matcher.No {
		result = "denied"
	}
	r.setMetadata(ns, prefix+"engine_result", structpb.NewStringValue(result))
	if d.Matched {
		r.setMetadata(ns, prefix+"effective_policy_id", structpb.NewStringValue(d.Policy))
	}
}

func share(p *typev3.FractionalPercent) float64 {
	d := 100.0
	switch p.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		d = 10_000
	case typev3.FractionalPercent_MILLION:
		d = 1_000_000
	}
	return min(1, float64(p.GetNumerator())/d)
}

func percent(x float64) string { return strconv.FormatFloat(100*x, 'g', 6, 64) + "%" }

// fault is delay and abort by configuration or by the headers x-envoy-fault-*, which the configuration must permit.
func (r *runner) fault(f *filter) Step {
	c := &faultv3.HTTPFault{}
	cfg := f.cfg
	if f.over != nil {
		cfg = f.over
	}
	if err := load(cfg, c); err != nil {
		return undecidable(err)
	}
	if c.GetDelay() == nil && c.GetAbort() == nil {
		return Step{Effect: Silent}
	}
	if u := c.GetUpstreamCluster(); u != "" && u != r.outcome.Cluster {
		return Step{Effect: Continue, Why: "for cluster " + u + " only"}
	}
	if len(c.GetDownstreamNodes()) > 0 {
		node, ok := r.req.Get("x-envoy-downstream-service-node")
		found := false
		for _, n := range c.GetDownstreamNodes() {
			found = found || ok && n == node
		}
		if !found {
			return Step{Effect: Continue, Why: "for other downstream nodes only"}
		}
	}
	for _, h := range c.GetHeaders() {
		switch v, why := matcher.HeaderMatch(h, r.req); v {
		case matcher.No:
			return Step{Effect: Continue, Why: matcher.ExplainHeader(h, r.req)}
		case matcher.Undecided:
			return Step{Why: why}
		}
	}
	if m := c.GetMaxActiveFaults(); m != nil && m.GetValue() == 0 {
		return Step{Effect: Continue, Why: "max_active_faults is 0"}
	}
	s := Step{Effect: Continue}
	var words []string
	if d := c.GetDelay(); d != nil {
		p := share(d.GetPercentage())
		if n, ok := r.runtimePercent(or(c.GetDelayPercentRuntime(), "fault.http.delay.fixed_delay_percent")); ok {
			p = n
		}
		var wait time.Duration
		switch k := d.GetFaultDelaySecifier().(type) {
		case *commonfaultv3.FaultDelay_FixedDelay:
			wait = k.FixedDelay.AsDuration()
		case *commonfaultv3.FaultDelay_HeaderDelay_:
			if v, ok := r.req.Get("x-envoy-fault-delay-request"); ok {
				if ms, err := strconv.ParseUint(v, 10, 31); err == nil {
					wait = time.Duration(ms) * time.Millisecond
				}
			}
			p = r.headerShare(p, "x-envoy-fault-delay-request-percentage")
		}
		switch {
		case wait <= 0 || p <= 0:
		case p >= 1:
			s.Delay = wait.String()
			words = append(words, "delays every request by "+s.Delay)
		default:
			words = append(words, fmt.Sprintf("delays %s of requests by %s", percent(p), wait))
		}
	}
	if a := c.GetAbort(); a != nil {
		p := share(a.GetPercentage())
		if n, ok := r.runtimePercent(or(c.GetAbortPercentRuntime(), "fault.http.abort.abort_percent")); ok {
			p = n
		}
		status := 0
		switch k := a.GetErrorType().(type) {
		case *faultv3.FaultAbort_HttpStatus:
			status = int(k.HttpStatus)
		case *faultv3.FaultAbort_GrpcStatus:
			status = grpcHTTP(k.GrpcStatus)
			words = append(words, fmt.Sprintf("aborts with gRPC status %d", k.GrpcStatus))
		case *faultv3.FaultAbort_HeaderAbort_:
			if v, ok := r.req.Get("x-envoy-fault-abort-request"); ok {
				if n, err := strconv.Atoi(v); err == nil && n >= 200 && n < 600 {
					status = n
				}
			}
			p = r.headerShare(p, "x-envoy-fault-abort-request-percentage")
		}
		if status != 0 && p > 0 {
			s.Probability = p
			s.Response = &Response{Status: status, Body: or(a.GetResponseBody(), "fault filter abort"), Flags: "FI", Details: "fault_filter_abort"}
			if p >= 1 {
				s.Effect = Refuse
				words = append(words, fmt.Sprintf("aborts every request with %d", status))
			} else {
				s.Effect = MayRefuse
				words = append(words, fmt.Sprintf("aborts %s of requests with %d", percent(p), status))
			}
		}
	}
	s.Why = strings.Join(words, ", ")
	if s.Why == "" {
		return Step{Effect: Silent}
	}
	return s
}

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// runtimePercent reads a runtime key that holds a whole percentage.
func (r *runner) runtimePercent(key string) (float64, bool) {
	s, ok := r.req.Env.Runtime[key]
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	return min(1, float64(n)/100), err == nil
}

// headerShare lowers a share to that of a request header, which may not raise it.
func (r *runner) headerShare(p float64, header string) float64 {
	v, ok := r.req.Get(header)
	if !ok {
		return p
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return p
	}
	return min(p, float64(n)/100)
}

// grpcHTTP is the HTTP status Envoy gives a gRPC status.
func grpcHTTP(s uint32) int {
	switch s {
	case 0:
		return 200
	case 1:
		return 499
	case 3, 9, 11:
		return 400
	case 4:
		return 504
	case 5:
		return 404
	case 6, 10:
		return 409
	case 7:
		return 403
	case 8:
		return 429
	case 12:
		return 501
	case 14:
		return 503
	case 16:
		return 401
	default:
		return 500
	}
}

// enabled is the share for which a filter is on; one that is not configured is full.
func (r *runner) enabled(rf *corev3.RuntimeFractionalPercent, unset float64) float64 {
	if rf == nil {
		return unset
	}
	p, _ := route.Fraction(rf, &r.req.Env)
	return p
}

// corsPolicies lists the policies that apply, the most specific first.
func (r *runner) corsPolicies(name string) []*corsv3.CorsPolicy {
	var out []*corsv3.CorsPolicy
	for _, m := range r.outcome.PerFilter {
		p := &corsv3.CorsPolicy{}
		if a, ok := m[name]; ok && matcher.Unpack(a, p) == nil {
			out = append(out, p)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, old := range []*routev3.CorsPolicy{r.outcome.Route.GetRoute().GetCors(), r.outcome.Host.GetCors()} { //nolint:staticcheck // old configurations have it
		if old == nil {
			continue
		}
		out = append(out, &corsv3.CorsPolicy{
			AllowOriginStringMatch: old.GetAllowOriginStringMatch(), AllowMethods: old.GetAllowMethods(), AllowHeaders: old.GetAllowHeaders(),
			ExposeHeaders: old.GetExposeHeaders(), MaxAge: old.GetMaxAge(), AllowCredentials: old.GetAllowCredentials(), FilterEnabled: old.GetFilterEnabled(),
			ForwardNotMatchingPreflights: old.GetForwardNotMatchingPreflights(),
		})
	}
	return out
}

// cors answers a preflight whose origin is allowed.
func (r *runner) cors(f *filter) Step {
	origin, ok := r.req.Get("origin")
	if !ok || origin == "" {
		return Step{Effect: Silent}
	}
	ps := r.corsPolicies(f.name)
	if len(ps) == 0 {
		return Step{Effect: Silent}
	}
	if p := r.enabled(ps[0].GetFilterEnabled(), 1); p < 1 {
		if p == 0 {
			return Step{Effect: Silent}
		}
		return Step{Effect: MayRefuse, Why: "CORS is on for " + percent(p) + " of requests"}
	}
	preflight, ok := r.req.Get("access-control-request-method")
	if r.req.Method != "OPTIONS" || !ok || preflight == "" {
		return Step{Effect: Silent}
	}
	allowed, why := matcher.No, ""
	var origins []*matcherv3.StringMatcher
	for _, p := range ps {
		if origins = p.GetAllowOriginStringMatch(); len(origins) > 0 {
			break
		}
	}
	for _, m := range origins {
		v, y := matcher.String(m, origin, r.req.Env.Regex)
		if m.GetExact() == "*" {
			v = matcher.Yes
		}
		if v == matcher.Yes {
			allowed = v
			break
		}
		if v == matcher.Undecided {
			allowed, why = v, y
		}
	}
	first := func(get func(*corsv3.CorsPolicy) string) string {
		for _, p := range ps {
			if v := get(p); v != "" {
				return v
			}
		}
		return ""
	}
	switch allowed {
	case matcher.Undecided:
		return Step{Effect: MayRefuse, Why: "a CORS preflight: " + why}
	case matcher.No:
		forward := true
		for _, p := range ps {
			if p.GetForwardNotMatchingPreflights() != nil {
				forward = p.GetForwardNotMatchingPreflights().GetValue()
				break
			}
		}
		if forward {
			return Step{Effect: Continue, Why: "the CORS preflight's origin " + matcher.Show(origin) + " is not allowed: passed on to the application"}
		}
		return Step{Effect: Refuse, Probability: 1, Why: "answers the CORS preflight of an origin that is not allowed", Response: &Response{Status: 200, Details: "cors_response"}}
	}
	resp := &Response{Status: 200, Details: "cors_response", Headers: []matcher.Header{{Name: "access-control-allow-origin", Value: origin}}}
	for _, h := range []struct {
		name string
		get  func(*corsv3.CorsPolicy) string
	}{
		{"access-control-allow-methods", (*corsv3.CorsPolicy).GetAllowMethods},
		{"access-control-allow-headers", (*corsv3.CorsPolicy).GetAllowHeaders},
		{"access-control-max-age", (*corsv3.CorsPolicy).GetMaxAge},
	} {
		if v := first(h.get); v != "" {
			resp.Headers = append(resp.Headers, matcher.Header{Name: h.name, Value: v})
		}
	}
	return Step{Effect: Refuse, Probability: 1, Why: "answers the CORS preflight of " + matcher.Show(origin), Response: resp}
}

func hostPort(origin string) string {
	if _, rest, ok := strings.Cut(origin, "://"); ok {
		rest, _, _ = strings.Cut(rest, "/")
		return rest
	}
	return origin
}

// csrf compares the origin of a request that changes something with its host.
func (r *runner) csrf(f *filter) Step {
	c := &csrfv3.CsrfPolicy{}
	cfg := f.cfg
	if f.over != nil {
		cfg = f.over
	}
	if err := load(cfg, c); err != nil {
		return undecidable(err)
	}
	switch r.req.Method {
	case "POST", "PUT", "DELETE", "PATCH":
	default:
		return Step{Effect: Silent}
	}
	p := r.enabled(c.GetFilterEnabled(), 1)
	if p == 0 {
		return Step{Effect: Silent}
	}
	source, _ := r.req.Get("origin")
	if source == "" || source == "null" {
		source, _ = r.req.Get("referer")
	}
	source = hostPort(source)
	refuse := Step{Effect: Refuse, Probability: p, Response: &Response{Status: 403, Body: "Invalid origin", Details: "csrf_origin_mismatch"}}
	if p < 1 {
		refuse.Effect = MayRefuse
	}
	if source == "" {
		refuse.Why = "a " + r.req.Method + " without origin or referer"
		return refuse
	}
	if source == r.req.Authority {
		return Step{Effect: Continue, Why: "origin is the host"}
	}
	for _, m := range c.GetAdditionalOrigins() {
		switch v, why := matcher.String(m, source, r.req.Env.Regex); v {
		case matcher.Yes:
			return Step{Effect: Continue, Why: "origin " + matcher.DescribeString(m)}
		case matcher.Undecided:
			return Step{Effect: MayRefuse, Why: why}
		}
	}
	refuse.Why = "origin " + matcher.Show(source) + " is not the host " + matcher.Show(r.req.Authority)
	return refuse
}

// buffer refuses a body that is too long.
func (r *runner) buffer(f *filter) Step {
	c := &bufferv3.Buffer{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	if f.over != nil {
		o := &bufferv3.BufferPerRoute{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
		if o.GetDisabled() {
			return Step{Effect: Disabled, Why: "turned off", From: f.from}
		}
		if o.GetBuffer() != nil {
			c = o.GetBuffer()
		}
	}
	return r.sized(uint64(c.GetMaxRequestBytes().GetValue()), "Payload Too Large")
}

// sized compares the announced length of the body with a limit.
func (r *runner) sized(limit uint64, body string) Step {
	too := &Response{Status: 413, Body: body, Details: "request_payload_too_large"}
	if n, ok := r.req.Get("content-length"); ok {
		if size, err := strconv.ParseUint(n, 10, 64); err == nil {
			if size > limit {
				return Step{Effect: Refuse, Probability: 1, Why: fmt.Sprintf("the body of %d bytes is over the limit of %d", size, limit), Response: too}
			}
			return Step{Effect: Continue, Why: fmt.Sprintf("the body of %d bytes is within the limit of %d", size, limit)}
		}
	}
	if bodiless(r.req.Method) {
		return Step{Effect: Silent}
	}
	return Step{Effect: MayRefuse, Why: fmt.Sprintf("refuses with 413 a body of more than %d bytes", limit), Limit: fmt.Sprintf("a body of %d bytes", limit), Response: too}
}

// healthCheck answers health checks of a load balancer.
func (r *runner) healthCheck(f *filter) Step {
	c := &healthv3.HealthCheck{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	switch v, why := matcher.Headers(c.GetHeaders(), r.req); v {
	case matcher.No:
		return Step{Effect: Silent}
	case matcher.Undecided:
		return Step{Effect: MayRefuse, Why: why}
	}
	if c.GetPassThroughMode().GetValue() {
		if c.GetCacheTime() != nil {
			return Step{Effect: MayRefuse, Why: "a health check; may be answered from what the application said last"}
		}
		return Step{Effect: Continue, Why: "a health check, passed to the application"}
	}
	if len(c.GetClusterMinHealthyPercentages()) > 0 {
		return Step{Effect: Refuse, Probability: 1, Why: "a health check, answered by the health of clusters: 200 or 503", Response: &Response{Details: "health_check"}}
	}
	return Step{Effect: Refuse, Probability: 1, Why: "a health check, answered by the proxy (503 while it drains)", Response: &Response{Status: 200, Details: "health_check_ok"}}
}

// oauth2 sends who is not logged in to the authorization server.
func (r *runner) oauth2(f *filter) Step {
	o := &oauthv3.OAuth2{}
	if err := load(f.cfg, o); err != nil {
		return undecidable(err)
	}
	c := o.GetConfig()
	if f.over != nil {
		p := &oauthv3.OAuth2PerRoute{}
		if err := matcher.Unpack(f.over, p); err != nil {
			return undecidable(err)
		}
		c = p.GetConfig()
	}
	if c == nil {
		return Step{Effect: Silent}
	}
	call, _ := httpCall(c.GetTokenEndpoint())
	for _, h := range c.GetPassThroughMatcher() {
		switch v, why := matcher.HeaderMatch(h, r.req); v {
		case matcher.Yes:
			return Step{Effect: Continue, Why: "passed by " + matcher.DescribeHeader(h)}
		case matcher.Undecided:
			return Step{Effect: MayRefuse, Why: why, Calls: list(call)}
		}
	}
	path := r.req.Path
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	for _, m := range []*matcherv3.PathMatcher{c.GetRedirectPathMatcher(), c.GetSignoutPath()} {
		if m == nil {
			continue
		}
		if v, _ := matcher.String(m.GetPath(), path, r.req.Env.Regex); v != matcher.No {
			return Step{Effect: MayRefuse, Why: "the path is the OAuth callback or sign-out: the filter answers itself", Calls: list(call)}
		}
	}
	name := or(c.GetCredentials().GetCookieNames().GetOauthHmac(), "OauthHMAC")
	if cookies, _ := r.req.Get("cookie"); strings.Contains(cookies, name+"=") {
		return Step{Effect: MayRefuse, Why: "whether the session's cookies are valid cannot be known from here", Calls: list(call)}
	}
	for _, h := range c.GetAllowFailedMatcher() {
		if v, _ := matcher.HeaderMatch(h, r.req); v != matcher.No {
			return Step{Effect: Continue, Why: "not logged in, let through by " + matcher.DescribeHeader(h)}
		}
	}
	for _, h := range c.GetDenyRedirectMatcher() {
		if v, _ := matcher.HeaderMatch(h, r.req); v == matcher.Yes {
			return Step{Effect: Refuse, Probability: 1, Why: "not logged in, and not redirected for " + matcher.DescribeHeader(h), Response: &Response{Status: 401, Body: "OAuth flow failed.", Details: "oauth.invalid_credentials"}}
		}
	}
	return Step{
		Effect: Refuse, Probability: 1, Why: "not logged in (no cookie " + name + "): redirected to " + c.GetAuthorizationEndpoint(), Calls: list(call),
		Response: &Response{Status: 302, Details: "oauth.missing_credentials", Headers: []matcher.Header{{Name: "location", Value: c.GetAuthorizationEndpoint()}}},
	}
}

func (r *runner) basicAuth(f *filter) Step {
	c := &basicv3.BasicAuth{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	header := or(c.GetAuthenticationHeader(), "authorization")
	v, ok := r.req.Get(header)
	refuse := func(why, details, body string) Step {
		return Step{Effect: Refuse, Probability: 1, Why: why, Response: &Response{Status: 401, Body: body, Details: details}}
	}
	switch {
	case !ok && c.GetAllowMissing():
		return Step{Effect: Continue, Why: "no credential, which is allowed"}
	case !ok:
		return refuse("header "+header+" is absent, wants a user name and password", "no_credential_found_for_basic_auth", "User authentication failed. Missing username and password.")
	case len(v) < 6 || !strings.EqualFold(v[:6], "basic "):
		return refuse("header "+header+" is not Basic", "invalid_scheme_for_basic_auth", "User authentication failed. Expected 'Basic' authentication scheme.")
	default:
		return Step{Effect: MayRefuse, Why: "whether the user name and password are right is not checked here"}
	}
}

func (r *runner) apiKeyAuth(f *filter) Step {
	c := &apikeyv3.ApiKeyAuth{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	sources := c.GetKeySources()
	if f.over != nil {
		o := &apikeyv3.ApiKeyAuthPerRoute{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
		if len(o.GetKeySources()) > 0 {
			sources = o.GetKeySources()
		}
	}
	for _, s := range sources {
		_, inHeader := r.req.Get(or(s.GetHeader(), "\x00"))
		_, inQuery := matcher.QueryParam(r.req.Path, s.GetQuery())
		cookies, _ := r.req.Get("cookie")
		if s.GetHeader() != "" && inHeader || s.GetQuery() != "" && inQuery || s.GetCookie() != "" && strings.Contains(cookies, s.GetCookie()+"=") {
			return Step{Effect: MayRefuse, Why: "whether the API key is known is not checked here"}
		}
	}
	return Step{Effect: Refuse, Probability: 1, Why: "the request has no API key", Response: &Response{Status: 401, Body: "Client authentication failed.", Details: "missing_api_key"}}
}
