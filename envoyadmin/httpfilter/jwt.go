package httpfilter

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

// What Envoy answers, by what is wrong with a token.
const (
	jwtOK          = ""
	jwtMissing     = "Jwt is missing"
	jwtFormat      = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
	jwtHeader64    = "Jwt header is an invalid Base64url encoded"
	jwtHeaderJSON  = "Jwt header is an invalid JSON"
	jwtPayload64   = "Jwt payload is an invalid Base64url encoded"
	jwtPayloadJSON = "Jwt payload is an invalid JSON"
	jwtIssuer      = "Jwt issuer is not configured"
	jwtExpired     = "Jwt is expired"
	jwtEarly       = "Jwt not yet valid"
	jwtAudience    = "Audiences in Jwt are not allowed"
	jwtSignature   = "Jwt verification fails"
	jwtNoKey       = "Jwks doesn't have key to match kid or alg from Jwt"

	maxToken = 64 << 10
	maxRules = 64 // how deep requirements nest
)

// jwtResult is the verdict on a requirement: known is false where it cannot be decided, for the reason in why.
type jwtResult struct {
	known  bool
	status string // jwtOK or what is wrong
	why    string
	// passed are the tokens that were accepted, by provider.
	passed map[string]*token
}

func (j jwtResult) ok() bool { return j.known && j.status == jwtOK }

type token struct {
	raw     string
	header  map[string]any
	payload map[string]any
	signed  string // what the signature is over
	sig     []byte
	bad     string
}

// jwt decides what a request without a token can be told of, and with one whatever can be known: the issuer, the
// audience, the times, and the signature where the keys are in the configuration.
func (r *runner) jwt(f *filter) Step {
	c := &jwtv3.JwtAuthentication{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	if c.GetBypassCorsPreflight() && r.req.Method == "OPTIONS" {
		_, origin := r.req.Get("origin")
		_, method := r.req.Get("access-control-request-method")
		if origin && method {
			return Step{Effect: Continue, Why: "a CORS preflight needs no token"}
		}
	}
	req, why, done := r.requirement(c, f)
	if done != nil {
		return *done
	}
	if req == nil {
		return Step{Effect: Silent}
	}
	v := jwtVerifier{r: r, c: c}
	res := v.require(req, 0)
	calls := v.calls
	switch {
	case !res.known:
		r.req.Env.MetadataComplete = false
		return Step{Effect: MayRefuse, Why: why + ": " + res.why, Calls: calls}
	case res.status != jwtOK:
		status := 401
		if res.status == jwtAudience {
			status = 403
		}
		resp := &Response{Status: status, Body: res.status, Details: "jwt_authn_access_denied{" + strings.ReplaceAll(res.status, " ", "_") + "}"}
		if c.GetStripFailureResponse() {
			resp.Body = ""
		}
		return Step{Effect: Refuse, Probability: 1, Why: why + ": " + res.status, Response: resp}
	}
	s := Step{Effect: Continue, Why: why + ": satisfied"}
	for _, name := range slices.Sorted(maps.Keys(res.passed)) {
		if r.accept(f, c.GetProviders()[name], res.passed[name]) {
			s.Effect = Changes
		}
	}
	return s
}

// requirement is the requirement for the request: of the route, else of the first rule whose match holds.
func (r *runner) requirement(c *jwtv3.JwtAuthentication, f *filter) (req *jwtv3.JwtRequirement, why string, done *Step) {
	byName := func(name string) (*jwtv3.JwtRequirement, string, *Step) {
		q, ok := c.GetRequirementMap()[name]
		if !ok {
			return nil, "", &Step{Effect: Refuse, Probability: 1, Why: "requirement " + name + " does not exist", Response: &Response{Status: 403, Details: "jwt_authn_access_denied{Wrong_requirement_name:_" + name + "}"}}
		}
		return q, "requirement " + name, nil
	}
	if f.over != nil {
		o := &jwtv3.PerRouteConfig{}
		if err := matcher.Unpack(f.over, o); err != nil {
			s := undecidable(err)
			return nil, "", &s
		}
		if o.GetDisabled() {
			return nil, "", &Step{Effect: Disabled, Why: "turned off", From: f.from}
		}
		return byName(o.GetRequirementName())
	}
	for _, rule := range c.GetRules() {
		v, w := route.Matches(rule.GetMatch(), r.req)
		if v == matcher.Undecided {
			return nil, "", &Step{Effect: MayRefuse, Why: "whether the rule " + route.Describe(rule.GetMatch()) + " applies: " + w}
		}
		if v == matcher.No {
			continue
		}
		if n := rule.GetRequirementName(); n != "" {
			return byName(n)
		}
		return rule.GetRequires(), "rule " + route.Describe(rule.GetMatch()), nil
	}
	if fs := c.GetFilterStateRules(); fs != nil {
		key, ok := r.req.Env.FilterState[fs.GetName()]
		if !ok && !r.req.Env.FilterStateComplete {
			return nil, "", &Step{Effect: MayRefuse, Why: "filter state " + fs.GetName() + ", which names the requirement, is not known"}
		}
		return fs.GetRequires()[key], "requirement of filter state " + fs.GetName(), nil
	}
	return nil, "", nil
}

// accept does what follows an accepted token: metadata, headers, and the removal of the token.
func (r *runner) accept(f *filter, p *jwtv3.JwtProvider, t *token) bool {
	changed := false
	if key := p.GetPayloadInMetadata(); key != "" {
		payload := maps.Clone(t.payload)
		for _, n := range p.GetNormalizePayloadInMetadata().GetSpaceDelimitedClaims() {
			if s, ok := payload[n].(string); ok {
				var l []any
				for _, w := range strings.Fields(s) {
					l = append(l, w)
				}
				payload[n] = l
			}
		}
		if s, err := structpb.NewValue(payload); err == nil {
			r.setMetadata("envoy.filters.http.jwt_authn", key, s)
			changed = true
		}
	}
	if key := p.GetHeaderInMetadata(); key != "" {
		if s, err := structpb.NewValue(t.header); err == nil {
			r.setMetadata("envoy.filters.http.jwt_authn", key, s)
			changed = true
		}
	}
	for _, h := range p.GetClaimToHeaders() {
		var v any = t.payload
		for part := range strings.SplitSeq(h.GetClaimName(), ".") {
			m, _ := v.(map[string]any)
			v = m[part]
		}
		switch x := v.(type) {
		case string:
			r.req.Headers = append(r.req.Headers, matcher.Header{Name: h.GetHeaderName(), Value: x})
			changed = true
		case bool, float64:
			r.req.Headers = append(r.req.Headers, matcher.Header{Name: h.GetHeaderName(), Value: fmt.Sprint(x)})
			changed = true
		}
	}
	if h := p.GetForwardPayloadHeader(); h != "" {
		if parts := strings.Split(t.raw, "."); len(parts) == 3 {
			r.removeHeader(h)
			r.req.Headers = append(r.req.Headers, matcher.Header{Name: h, Value: parts[1]})
			changed = true
		}
	}
	if !p.GetForward() {
		for _, h := range headerSources(p) {
			r.removeHeader(h.GetName())
		}
		changed = true
	}
	if p.GetClearRouteCache() && changed && r.res.RouteCleared == "" {
		r.res.RouteCleared = f.name
	}
	return changed
}

type jwtVerifier struct {
	r     *runner
	c     *jwtv3.JwtAuthentication
	calls []string
}

func (v *jwtVerifier) require(q *jwtv3.JwtRequirement, depth int) jwtResult {
	if depth > maxRules {
		return jwtResult{why: "the requirements nest too deeply"}
	}
	if q == nil {
		return jwtResult{known: true}
	}
	if matcher.HasUnknown(q) {
		return jwtResult{why: "the requirement " + matcher.UnknownIn(q)}
	}
	switch k := q.GetRequiresType().(type) {
	case nil:
		return jwtResult{known: true}
	case *jwtv3.JwtRequirement_ProviderName:
		return v.provider(k.ProviderName, nil)
	case *jwtv3.JwtRequirement_ProviderAndAudiences:
		return v.provider(k.ProviderAndAudiences.GetProviderName(), k.ProviderAndAudiences.GetAudiences())
	case *jwtv3.JwtRequirement_RequiresAll:
		out := jwtResult{known: true, passed: map[string]*token{}}
		for _, sub := range k.RequiresAll.GetRequirements() {
			res := v.require(sub, depth+1)
			if res.known && res.status != jwtOK {
				return res
			}
			if !res.known && out.known {
				out = res
			}
			maps.Copy(out.tokens(), res.passed)
		}
		return out
	case *jwtv3.JwtRequirement_RequiresAny:
		return v.anyOf(k.RequiresAny.GetRequirements(), depth)
	case *jwtv3.JwtRequirement_AllowMissing:
		if res := v.providers(); res.known && res.status == jwtMissing {
			return jwtResult{known: true}
		} else {
			return res
		}
	case *jwtv3.JwtRequirement_AllowMissingOrFailed:
		res := v.providers()
		if !res.known {
			return jwtResult{known: true}
		}
		res.status = jwtOK
		return res
	case *jwtv3.JwtRequirement_ExtractOnlyWithoutValidation:
		return jwtResult{known: true}
	default:
		return jwtResult{why: fmt.Sprintf("requirement %T is not known", k)}
	}
}

func (j *jwtResult) tokens() map[string]*token {
	if j.passed == nil {
		j.passed = map[string]*token{}
	}
	return j.passed
}

// anyOf passes with one that passes. Otherwise a missing token and a foreign issuer count less than a real failure, and
// allow_missing forgives them.
func (v *jwtVerifier) anyOf(list []*jwtv3.JwtRequirement, depth int) jwtResult {
	final := jwtResult{known: true, status: jwtMissing}
	var doubt *jwtResult
	missing, failed := false, false
	for _, q := range list {
		if q.GetAllowMissingOrFailed() != nil {
			failed = true
			continue
		}
		if q.GetAllowMissing() != nil {
			missing = true
			continue
		}
		res := v.require(q, depth+1)
		switch {
		case res.ok():
			return res
		case !res.known:
			if doubt == nil {
				doubt = &res
			}
		case res.status != jwtMissing && res.status != jwtIssuer:
			final = res
		}
	}
	switch {
	case failed:
		return jwtResult{known: true}
	case doubt != nil:
		return *doubt
	case missing && final.status == jwtMissing:
		return jwtResult{known: true}
	default:
		return final
	}
}

// providers tries the tokens of all providers, as allow_missing does.
func (v *jwtVerifier) providers() jwtResult {
	out := jwtResult{known: true, status: jwtMissing, passed: map[string]*token{}}
	for _, name := range slices.Sorted(maps.Keys(v.c.GetProviders())) {
		res := v.provider(name, nil)
		switch {
		case !res.known:
			return res
		case res.status == jwtOK:
			maps.Copy(out.passed, res.passed)
			out.status = jwtOK
		case res.status != jwtMissing && res.status != jwtIssuer:
			return res
		case res.status == jwtIssuer && out.status == jwtMissing && len(out.passed) == 0:
			out.status = jwtIssuer
		}
	}
	return out
}

func headerSources(p *jwtv3.JwtProvider) []*jwtv3.JwtHeader {
	if len(p.GetFromHeaders()) == 0 && len(p.GetFromParams()) == 0 && len(p.GetFromCookies()) == 0 {
		return []*jwtv3.JwtHeader{{Name: "authorization", ValuePrefix: "Bearer "}}
	}
	return p.GetFromHeaders()
}

// extract finds a provider's tokens in the request.
func (v *jwtVerifier) extract(p *jwtv3.JwtProvider) []string {
	var out []string
	for _, h := range headerSources(p) {
		for _, val := range v.r.req.Values(h.GetName()) {
			prefix := h.GetValuePrefix()
			i := strings.Index(val, prefix)
			if prefix != "" && i < 0 {
				continue
			}
			val = strings.TrimSpace(val[i+len(prefix):])
			if j := strings.IndexAny(val, " ,;\t"); j >= 0 {
				val = val[:j]
			}
			out = append(out, val)
		}
	}
	params := p.GetFromParams()
	if len(p.GetFromHeaders()) == 0 && len(params) == 0 && len(p.GetFromCookies()) == 0 {
		params = []string{"access_token"}
	}
	for _, n := range params {
		if val, ok := matcher.QueryParam(v.r.req.Path, n); ok {
			out = append(out, val)
		}
	}
	for _, n := range p.GetFromCookies() {
		if val, ok := cookie(v.r.req, n); ok {
			out = append(out, val)
		}
	}
	return out
}

// provider decides the tokens of one provider; all must be good.
func (v *jwtVerifier) provider(name string, audiences []string) jwtResult {
	p, ok := v.c.GetProviders()[name]
	if !ok {
		return jwtResult{why: "provider " + name + " does not exist"}
	}
	if matcher.HasUnknown(p) {
		return jwtResult{why: "provider " + name + " " + matcher.UnknownIn(p)}
	}
	tokens := v.extract(p)
	if len(tokens) == 0 {
		return jwtResult{known: true, status: jwtMissing}
	}
	if len(audiences) == 0 {
		audiences = p.GetAudiences()
	}
	out := jwtResult{known: true, passed: map[string]*token{}}
	for _, raw := range tokens {
		t := parseToken(raw)
		res := v.check(p, name, audiences, t)
		if !res.known || res.status != jwtOK {
			return res
		}
		out.passed[name] = t
	}
	return out
}

func (v *jwtVerifier) check(p *jwtv3.JwtProvider, name string, audiences []string, t *token) jwtResult {
	fail := func(s string) jwtResult { return jwtResult{known: true, status: s} }
	if t.bad != "" {
		return fail(t.bad)
	}
	iss, _ := t.payload["iss"].(string)
	if p.GetIssuer() != "" && iss != p.GetIssuer() {
		return fail(jwtIssuer)
	}
	if s := p.GetSubjects(); s != nil {
		sub, _ := t.payload["sub"].(string)
		switch ok, why := matcher.String(s, sub, v.r.req.Env.Regex); ok {
		case matcher.No:
			return fail("Jwt subject is not allowed")
		case matcher.Undecided:
			return jwtResult{why: why}
		}
	}
	doubt := ""
	skew := 60 * time.Second
	if p.GetClockSkewSeconds() != 0 {
		skew = time.Duration(p.GetClockSkewSeconds()) * time.Second
	}
	now, known := v.r.now()
	nbf, hasNbf := t.payload["nbf"].(float64)
	exp, hasExp := t.payload["exp"].(float64)
	switch {
	case !hasExp && p.GetRequireExpiration():
		return fail("Jwt is missing expiration")
	case !known && (hasNbf || hasExp):
		doubt = "whether the token's time is right, for the time of the request is not known"
	case hasNbf && float64(now.Add(skew).Unix()) < nbf:
		return fail(jwtEarly)
	case hasExp && float64(now.Add(-skew).Unix()) > exp:
		return fail(jwtExpired)
	}
	if p.GetMaxLifetime() != nil && doubt == "" {
		doubt = "the token's lifetime is limited, which is not evaluated"
	}
	if len(audiences) > 0 && !audienceAllowed(audiences, t.payload["aud"]) {
		return fail(jwtAudience)
	}
	switch ok, status, why := v.signature(p, name, t); {
	case !ok:
		return jwtResult{why: why}
	case status != jwtOK:
		return fail(status)
	}
	if doubt != "" {
		return jwtResult{why: doubt}
	}
	return jwtResult{known: true, passed: map[string]*token{name: t}}
}

// signature verifies with keys that are in the configuration; others are fetched by the proxy and not known here.
func (v *jwtVerifier) signature(p *jwtv3.JwtProvider, name string, t *token) (known bool, status, why string) {
	local := p.GetLocalJwks()
	if local == nil {
		call, _ := httpCall(p.GetRemoteJwks().GetHttpUri())
		if call != "" {
			v.calls = append(v.calls, call)
		}
		return false, "", "the keys of provider " + name + " are fetched by the proxy, so the signature cannot be checked here"
	}
	var keys string
	switch d := local.GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		keys = d.InlineString
	case *corev3.DataSource_InlineBytes:
		keys = string(d.InlineBytes)
	}
	if keys == "" || keys == "[redacted]" {
		return false, "", "the keys of provider " + name + " are not in the dump"
	}
	return verifyJWKS(keys, t)
}

func audienceAllowed(want []string, aud any) bool {
	trim := func(s string) string {
		s = strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")
		return strings.TrimSuffix(s, "/")
	}
	var have []string
	switch a := aud.(type) {
	case string:
		have = []string{a}
	case []any:
		for _, x := range a {
			if s, ok := x.(string); ok {
				have = append(have, s)
			}
		}
	}
	for _, h := range have {
		for _, w := range want {
			if trim(h) == trim(w) {
				return true
			}
		}
	}
	return false
}

func parseToken(raw string) *token {
	t := &token{raw: raw}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || len(raw) > maxToken {
		t.bad = jwtFormat
		return t
	}
	enc := base64.RawURLEncoding
	h, err := enc.DecodeString(strings.TrimRight(parts[0], "="))
	if err != nil {
		t.bad = jwtHeader64
		return t
	}
	if json.Unmarshal(h, &t.header) != nil {
		t.bad = jwtHeaderJSON
		return t
	}
	pl, err := enc.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		t.bad = jwtPayload64
		return t
	}
	if json.Unmarshal(pl, &t.payload) != nil {
		t.bad = jwtPayloadJSON
		return t
	}
	if t.sig, err = enc.DecodeString(strings.TrimRight(parts[2], "=")); err != nil {
		t.bad = "Jwt signature is an invalid Base64url encoded"
		return t
	}
	t.signed = parts[0] + "." + parts[1]
	return t
}
