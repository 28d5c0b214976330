package route

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// Matches decides one route match on its own, as filters that have matches of their own (JWT rules) do. A fraction of
// requests is undecided, unless the request's random number is set.
func Matches(m *routev3.RouteMatch, req *matcher.Request) (matcher.Verdict, string) {
	res := newView(req, false).match(m)
	if res.v == matcher.Yes && res.chance.mod != 0 {
		return matcher.Undecided, describeFraction(m.GetRuntimeFraction())
	}
	return res.v, res.why
}

// condition names the part of a match that decided against a route, for the words of a near miss.
type condition uint8

const (
	condNone condition = iota
	condPath
	condNoPath  // the request has no path
	condConnect // not a CONNECT
	condRuntime
	condGRPC
	condHeader
	condQuery
	condCookie
	condTLS
	condMetadata
	condFilterState
)

// matched is the verdict on one route.
type matched struct {
	v      matcher.Verdict
	cond   condition
	index  int    // which header, query parameter ... failed
	why    string // where undecided
	chance chance // where v is Yes only by chance
	note   string
}

// view is a request prepared for matching many routes.
type view struct {
	req    *matcher.Request
	path   string // as the matchers see it: query, fragment and, where ignored, parameters cut
	bare   string // query and fragment cut only
	rx     *matcher.Regexps
	params bool // path parameters are ignored
}

func newView(req *matcher.Request, ignoreParams bool) *view {
	v := &view{req: req, bare: cutQuery(req.Path), rx: req.Env.Regex, params: ignoreParams}
	v.path = v.bare
	if ignoreParams {
		if i := strings.IndexByte(v.path, ';'); i >= 0 {
			v.path = v.path[:i]
		}
	}
	return v
}

func cutQuery(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}

func isConnect(req *matcher.Request) bool {
	if req.Method == "CONNECT" {
		return true
	}
	up, ok := req.Get("upgrade")
	return ok && strings.EqualFold(up, "connect-udp")
}

func caseSensitive(m *routev3.RouteMatch) bool {
	return m.GetCaseSensitive() == nil || m.GetCaseSensitive().GetValue()
}

// match decides one route. The path is asked first, for it is what people mean by "the route"; all conditions must
// hold, so the order does not change the answer.
func (v *view) match(m *routev3.RouteMatch) matched {
	res := v.matchPath(m)
	if res.v == matcher.No {
		return res
	}
	und := matched{}
	doubt := func(w string) {
		if und.why == "" {
			und.why = w
		}
	}
	if res.v == matcher.Undecided {
		doubt(res.why)
	}
	if matcher.HasUnknown(m) {
		doubt("the route's match " + matcher.UnknownIn(m))
	}
	var ch chance
	var note string
	if rf := m.GetRuntimeFraction(); rf != nil {
		f := fraction(rf, &v.req.Env)
		note = f.note
		switch {
		case f.never():
			return matched{v: matcher.No, cond: condRuntime}
		case f.always():
		case v.req.Env.Random != nil:
			if !f.holds(*v.req.Env.Random) {
				return matched{v: matcher.No, cond: condRuntime}
			}
		default:
			ch = f
		}
	}
	if m.GetGrpc() != nil && !isGRPC(v.req) {
		return matched{v: matcher.No, cond: condGRPC}
	}
	for i, h := range m.GetHeaders() {
		switch w, why := matcher.HeaderMatch(h, v.req); w {
		case matcher.No:
			return matched{v: matcher.No, cond: condHeader, index: i}
		case matcher.Undecided:
			doubt(why)
		}
	}
	for i, q := range m.GetQueryParameters() {
		switch w, why := v.matchQuery(q); w {
		case matcher.No:
			return matched{v: matcher.No, cond: condQuery, index: i}
		case matcher.Undecided:
			doubt(why)
		}
	}
	for i, c := range m.GetCookies() {
		switch w, why := v.matchCookie(c); w {
		case matcher.No:
			return matched{v: matcher.No, cond: condCookie, index: i}
		case matcher.Undecided:
			doubt(why)
		}
	}
	if t := m.GetTlsContext(); t != nil {
		switch w, why := v.matchTLS(t); w {
		case matcher.No:
			return matched{v: matcher.No, cond: condTLS}
		case matcher.Undecided:
			doubt(why)
		}
	}
	for i, d := range m.GetDynamicMetadata() {
		switch w, why := matcher.Metadata(d, v.req.Env.Metadata, v.req.Env.MetadataComplete, v.rx); w {
		case matcher.No:
			return matched{v: matcher.No, cond: condMetadata, index: i}
		case matcher.Undecided:
			doubt(why)
		}
	}
	for i, f := range m.GetFilterState() {
		switch w, why := matcher.FilterState(f, &v.req.Env); w {
		case matcher.No:
			return matched{v: matcher.No, cond: condFilterState, index: i}
		case matcher.Undecided:
			doubt(why)
		}
	}
	if und.why != "" {
		und.note = note
		return und
	}
	return matched{v: matcher.Yes, chance: ch, note: note}
}

func isGRPC(req *matcher.Request) bool {
	ct, ok := req.Get("content-type")
	return ok && (ct == "application/grpc" || strings.HasPrefix(ct, "application/grpc+"))
}

func (v *view) matchPath(m *routev3.RouteMatch) matched {
	no := matched{v: matcher.No, cond: condPath}
	yes := matched{v: matcher.Yes}
	spec := m.GetPathSpecifier()
	if _, ok := spec.(*routev3.RouteMatch_ConnectMatcher_); ok {
		if isConnect(v.req) {
			return yes
		}
		return matched{v: matcher.No, cond: condConnect}
	}
	if v.req.Path == "" {
		return matched{v: matcher.No, cond: condNoPath}
	}
	fold := !caseSensitive(m)
	switch p := spec.(type) {
	case *routev3.RouteMatch_Prefix:
		if matcher.HasPrefix(v.path, p.Prefix, fold) {
			return yes
		}
		return no
	case *routev3.RouteMatch_Path:
		if matcher.Equal(v.path, p.Path, fold) {
			return yes
		}
		return no
	case *routev3.RouteMatch_PathSeparatedPrefix:
		n := len(p.PathSeparatedPrefix)
		if matcher.HasPrefix(v.path, p.PathSeparatedPrefix, fold) && (len(v.path) == n || v.path[n] == '/') {
			return yes
		}
		return no
	case *routev3.RouteMatch_SafeRegex:
		w, why := v.rx.FullMatch(p.SafeRegex.GetRegex(), v.path)
		return matched{v: w, cond: condPath, why: why}
	case *routev3.RouteMatch_PathMatchPolicy:
		pattern, err := uriTemplate(p.PathMatchPolicy)
		if err != nil {
			return matched{why: err.Error()}
		}
		w, why := v.rx.FullMatch(pattern, v.bare)
		return matched{v: w, cond: condPath, why: why}
	case nil:
		return matched{why: "the route's match has no path condition that this version of the API knows"}
	default:
		return matched{why: fmt.Sprintf("the path condition %T is not known", p)}
	}
}

func (v *view) matchQuery(q *routev3.QueryParameterMatcher) (matcher.Verdict, string) {
	if matcher.HasUnknown(q) {
		return matcher.Undecided, "query parameter " + q.GetName() + ": the condition " + matcher.UnknownIn(q)
	}
	value, ok := matcher.QueryParam(v.req.Path, q.GetName())
	switch s := q.GetQueryParameterMatchSpecifier().(type) {
	case nil:
		return matcher.Of(ok), ""
	case *routev3.QueryParameterMatcher_PresentMatch:
		return matcher.Of(ok == s.PresentMatch), ""
	case *routev3.QueryParameterMatcher_StringMatch:
		if !ok {
			return matcher.No, ""
		}
		return matcher.String(s.StringMatch, value, v.rx)
	default:
		return matcher.Undecided, fmt.Sprintf("query parameter %s: condition %T is not known", q.GetName(), s)
	}
}

// cookie returns the value of a request cookie: the first of its name, quotes cut.
func cookie(req *matcher.Request, name string) (string, bool) {
	for _, line := range req.Values("cookie") {
		for part := range strings.SplitSeq(line, ";") {
			k, val, ok := strings.Cut(strings.TrimLeft(part, " "), "=")
			if !ok || k != name {
				continue
			}
			if len(val) >= 2 && val[0] == '"' && val[len(val)-1] == '"' {
				val = val[1 : len(val)-1]
			}
			return val, true
		}
	}
	return "", false
}

func (v *view) matchCookie(c *routev3.CookieMatcher) (matcher.Verdict, string) {
	if matcher.HasUnknown(c) || c.GetStringMatch() == nil {
		return matcher.Undecided, "cookie " + c.GetName() + ": the condition " + matcher.UnknownIn(c)
	}
	val, ok := cookie(v.req, c.GetName())
	w, why := matcher.No, ""
	if ok {
		w, why = matcher.String(c.GetStringMatch(), val, v.rx)
	}
	if c.GetInvertMatch() {
		w = w.Not()
	}
	return w, why
}

func (v *view) matchTLS(t *routev3.RouteMatch_TlsContextMatchOptions) (matcher.Verdict, string) {
	if matcher.HasUnknown(t) {
		return matcher.Undecided, "tls_context " + matcher.UnknownIn(t)
	}
	var peer *matcher.Peer
	if v.req.Conn.TLS != nil {
		peer = v.req.Conn.TLS.Peer
	}
	if p := t.GetPresented(); p != nil && p.GetValue() != (peer != nil) {
		return matcher.No, ""
	}
	if w := t.GetValidated(); w != nil {
		validated := matcher.No
		if peer != nil {
			validated = peer.Validated
		}
		if validated == matcher.Undecided {
			return matcher.Undecided, "whether the client certificate was validated is not known"
		}
		if w.GetValue() != (validated == matcher.Yes) {
			return matcher.No, ""
		}
	}
	return matcher.Yes, ""
}

// Describe says a route's match in words: "path == /productpage", "prefix /simple/nginx", "regex ...", then headers,
// query parameters and the rest.
func Describe(m *routev3.RouteMatch) string {
	parts := []string{describePath(m)}
	if m.GetGrpc() != nil {
		parts = append(parts, "gRPC")
	}
	for _, h := range m.GetHeaders() {
		parts = append(parts, matcher.DescribeHeader(h))
	}
	for _, q := range m.GetQueryParameters() {
		parts = append(parts, "query "+q.GetName()+" "+describeQuery(q))
	}
	for _, c := range m.GetCookies() {
		parts = append(parts, "cookie "+c.GetName()+" "+describeCookie(c))
	}
	if t := m.GetTlsContext(); t != nil {
		parts = append(parts, describeTLS(t))
	}
	for _, d := range m.GetDynamicMetadata() {
		parts = append(parts, matcher.DescribeMetadata(d))
	}
	for _, f := range m.GetFilterState() {
		parts = append(parts, matcher.DescribeFilterState(f))
	}
	if rf := m.GetRuntimeFraction(); rf != nil {
		parts = append(parts, describeFraction(rf))
	}
	if matcher.HasUnknown(m) {
		parts = append(parts, "a condition of a newer API")
	}
	return strings.Join(parts, ", ")
}

func describePath(m *routev3.RouteMatch) string {
	fold := ""
	if !caseSensitive(m) {
		fold = " (any case)"
	}
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return "prefix " + matcher.Show(p.Prefix) + fold
	case *routev3.RouteMatch_Path:
		return "path == " + matcher.Show(p.Path) + fold
	case *routev3.RouteMatch_PathSeparatedPrefix:
		return "path " + matcher.Show(p.PathSeparatedPrefix) + " or below it" + fold
	case *routev3.RouteMatch_SafeRegex:
		return "regex " + matcher.Show(p.SafeRegex.GetRegex())
	case *routev3.RouteMatch_ConnectMatcher_:
		return "CONNECT"
	case *routev3.RouteMatch_PathMatchPolicy:
		if t, err := templateOf(p.PathMatchPolicy); err == nil {
			return "path template " + matcher.Show(t)
		}
		return "path extension " + p.PathMatchPolicy.GetName()
	default:
		return "an unknown path condition"
	}
}

func describeQuery(q *routev3.QueryParameterMatcher) string {
	switch s := q.GetQueryParameterMatchSpecifier().(type) {
	case *routev3.QueryParameterMatcher_StringMatch:
		return matcher.DescribeString(s.StringMatch)
	case *routev3.QueryParameterMatcher_PresentMatch:
		if !s.PresentMatch {
			return "absent"
		}
	}
	return "present"
}

func describeCookie(c *routev3.CookieMatcher) string {
	not := ""
	if c.GetInvertMatch() {
		not = "not "
	}
	return not + matcher.DescribeString(c.GetStringMatch())
}

func describeTLS(t *routev3.RouteMatch_TlsContextMatchOptions) string {
	var parts []string
	if p := t.GetPresented(); p != nil {
		parts = append(parts, word(p.GetValue(), "client certificate", "no client certificate"))
	}
	if p := t.GetValidated(); p != nil {
		parts = append(parts, word(p.GetValue(), "validated client certificate", "client certificate not validated"))
	}
	return strings.Join(parts, ", ")
}

func word(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// explain says why a route was not taken.
func (v *view) explain(m *routev3.RouteMatch, cond condition, part int) string {
	switch cond {
	case condPath:
		return "path is not " + wantPath(m)
	case condNoPath:
		return "the request has no path, wants " + describePath(m)
	case condConnect:
		return "method is not CONNECT"
	case condRuntime:
		return describeFraction(m.GetRuntimeFraction()) + " does not hold"
	case condGRPC:
		ct, ok := v.req.Get("content-type")
		if !ok {
			return "not gRPC: header content-type is absent"
		}
		return "not gRPC: header content-type is " + matcher.Show(ct)
	case condHeader:
		return matcher.ExplainHeader(m.GetHeaders()[part], v.req)
	case condQuery:
		q := m.GetQueryParameters()[part]
		val, ok := matcher.QueryParam(v.req.Path, q.GetName())
		want := matcher.Want(describeQuery(q))
		switch {
		case !ok && want == "present":
			return "query parameter " + q.GetName() + " is absent"
		case !ok:
			return "query parameter " + q.GetName() + " is absent, wants " + want
		default:
			return "query parameter " + q.GetName() + " is " + matcher.Show(val) + ", wants " + want
		}
	case condCookie:
		c := m.GetCookies()[part]
		if _, ok := cookie(v.req, c.GetName()); !ok {
			return "cookie " + c.GetName() + " is absent, wants " + matcher.Want(describeCookie(c))
		}
		return "cookie " + c.GetName() + " does not match, wants " + matcher.Want(describeCookie(c))
	case condTLS:
		if v.req.Conn.TLS == nil {
			return "the connection is plaintext, wants " + describeTLS(m.GetTlsContext())
		}
		return "wants " + describeTLS(m.GetTlsContext())
	case condMetadata:
		return "wants " + matcher.DescribeMetadata(m.GetDynamicMetadata()[part])
	case condFilterState:
		return "wants " + matcher.DescribeFilterState(m.GetFilterState()[part])
	default:
		return "its conditions do not hold"
	}
}

// wantPath names the path a route wants as people write it: "/simple/x", "/api/*", "regex ...".
func wantPath(m *routev3.RouteMatch) string {
	fold := ""
	if !caseSensitive(m) {
		fold = " (any case)"
	}
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return matcher.Show(p.Prefix+"*") + fold
	case *routev3.RouteMatch_Path:
		return matcher.Show(p.Path) + fold
	case *routev3.RouteMatch_PathSeparatedPrefix:
		return matcher.Show(p.PathSeparatedPrefix) + " or below it" + fold
	default:
		return describePath(m)
	}
}
