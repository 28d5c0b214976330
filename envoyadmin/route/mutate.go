package route

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

const fromWeighted = "weighted cluster"

// mutation is one level's header changes.
type mutation struct {
	from   string // weighted cluster, route, virtual host, route configuration
	remove []string
	add    []*corev3.HeaderValueOption
}

// levels returns the header changes in the order Envoy makes them: the weighted cluster's entry, then from the most
// specific to the least, so that the least specific wins; the other way round where the table says so.
func (t *Table) levels(vh *routev3.VirtualHost, r *routev3.Route, wc *routev3.WeightedCluster_ClusterWeight, response bool) []mutation {
	pick := func(from string, reqRm, respRm []string, req, resp []*corev3.HeaderValueOption) mutation {
		if response {
			return mutation{from, respRm, resp}
		}
		return mutation{from, reqRm, req}
	}
	c := t.Config
	ls := []mutation{
		pick("route", r.GetRequestHeadersToRemove(), r.GetResponseHeadersToRemove(), r.GetRequestHeadersToAdd(), r.GetResponseHeadersToAdd()),
		pick("virtual host", vh.GetRequestHeadersToRemove(), vh.GetResponseHeadersToRemove(), vh.GetRequestHeadersToAdd(), vh.GetResponseHeadersToAdd()),
		pick("route configuration", c.GetRequestHeadersToRemove(), c.GetResponseHeadersToRemove(), c.GetRequestHeadersToAdd(), c.GetResponseHeadersToAdd()),
	}
	if c.GetMostSpecificHeaderMutationsWins() {
		slices.Reverse(ls)
	}
	if wc != nil {
		ls = slices.Insert(ls, 0, pick(fromWeighted, wc.GetRequestHeadersToRemove(), wc.GetResponseHeadersToRemove(), wc.GetRequestHeadersToAdd(), wc.GetResponseHeadersToAdd()))
	}
	return slices.DeleteFunc(ls, func(m mutation) bool { return len(m.remove) == 0 && len(m.add) == 0 })
}

// apply makes one level's changes: removals, then values computed from what is left, then overwriting, then adding.
// What was done is returned in words, and the names of headers whose new value cannot be known.
func (m mutation) apply(h []matcher.Header, value func(string) (string, bool)) (out []matcher.Header, log, unknown []string) {
	for _, name := range m.remove {
		n := len(h)
		h = slices.DeleteFunc(h, func(x matcher.Header) bool { return strings.EqualFold(x.Name, name) })
		if len(h) != n {
			log = append(log, m.from+" removes header "+name)
		}
	}
	has := func(name string) bool {
		return slices.ContainsFunc(h, func(x matcher.Header) bool { return strings.EqualFold(x.Name, name) })
	}
	type change struct {
		name, value string
	}
	var overwrite, add []change
	for _, o := range m.add {
		name := strings.ToLower(o.GetHeader().GetKey())
		raw := o.GetHeader().GetValue()
		if raw == "" && len(o.GetHeader().GetRawValue()) > 0 {
			raw = string(o.GetHeader().GetRawValue())
		}
		val, known := value(raw)
		if val == "" && !o.GetKeepEmptyValue() {
			continue
		}
		action := o.GetAppendAction()
		if a := o.GetAppend(); a != nil { //nolint:staticcheck // old configurations have it
			action = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
			if !a.GetValue() {
				action = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
			}
		}
		shown := matcher.Show(val)
		if matcher.Sensitive(name) {
			shown = "(not shown)"
		} else if !known {
			shown += " (not expanded)"
			unknown = append(unknown, name)
		}
		switch action {
		case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
			add = append(add, change{name, val})
			log = append(log, m.from+" adds header "+name+": "+shown)
		case corev3.HeaderValueOption_ADD_IF_ABSENT:
			if !has(name) {
				add = append(add, change{name, val})
				log = append(log, m.from+" adds header "+name+": "+shown)
			}
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
			if has(name) {
				overwrite = append(overwrite, change{name, val})
				log = append(log, m.from+" sets header "+name+": "+shown)
			}
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
			overwrite = append(overwrite, change{name, val})
			log = append(log, m.from+" sets header "+name+": "+shown)
		}
	}
	for _, c := range overwrite {
		h = setHeader(h, c.name, c.value)
	}
	for _, c := range add {
		h = append(h, matcher.Header{Name: c.name, Value: c.value})
	}
	return h, log, unknown
}

// words says what a level changes, values as they are configured.
func (m mutation) words() []string {
	var out []string
	for _, name := range m.remove {
		out = append(out, m.from+" removes header "+strings.ToLower(name))
	}
	for _, o := range m.add {
		name, value := strings.ToLower(o.GetHeader().GetKey()), o.GetHeader().GetValue()
		shown, verb := matcher.Show(value), " adds header "
		if matcher.Sensitive(name) {
			shown = "(not shown)"
		}
		switch o.GetAppendAction() {
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
			verb = " sets header "
		}
		if a := o.GetAppend(); a != nil && !a.GetValue() { //nolint:staticcheck // old configurations have it
			verb = " sets header "
		}
		out = append(out, m.from+verb+name+": "+shown)
	}
	return out
}

// setHeader puts one value in place of all of a name.
func setHeader(h []matcher.Header, name, value string) []matcher.Header {
	i := slices.IndexFunc(h, func(x matcher.Header) bool { return strings.EqualFold(x.Name, name) })
	if i < 0 {
		return append(h, matcher.Header{Name: name, Value: value})
	}
	h[i].Value = value
	rest := slices.DeleteFunc(h[i+1:], func(x matcher.Header) bool { return strings.EqualFold(x.Name, name) })
	return h[:i+1+len(rest)]
}

// upstream is the request as the router sends it on. doubt names a rewrite that cannot be computed.
func (t *Table) upstream(v *view, vh *routev3.VirtualHost, r *routev3.Route, wc *routev3.WeightedCluster_ClusterWeight) (up Upstream, doubt string) {
	req := *v.req
	req.Headers = slices.Clone(v.req.Headers)
	a := r.GetRoute()
	var unexpanded []string
	rewriteEntry := func() {
		if h := wc.GetHostRewriteLiteral(); h != "" {
			req.Authority = h
		}
	}
	levels := t.levels(vh, r, wc, false)
	if len(levels) == 0 || levels[0].from != fromWeighted {
		rewriteEntry()
	}
	for _, m := range levels {
		cur := req
		var log, unknown []string
		req.Headers, log, unknown = m.apply(slices.Clone(req.Headers), func(s string) (string, bool) { return format(s, &cur, nil) })
		up.Mutations = append(up.Mutations, log...)
		unexpanded = append(unexpanded, unknown...)
		if m.from == fromWeighted {
			rewriteEntry()
		}
	}

	for _, m := range t.levels(vh, r, wc, true) {
		up.Response = append(up.Response, m.words()...)
	}
	if req.StrippedPort != "" && portStart(req.Authority) < 0 {
		req.Authority += ":" + req.StrippedPort
	}
	host := ""
	switch h := a.GetHostRewriteSpecifier().(type) {
	case *routev3.RouteAction_HostRewriteLiteral:
		host = h.HostRewriteLiteral
	case *routev3.RouteAction_HostRewriteHeader:
		if vs := req.Values(h.HostRewriteHeader); len(vs) > 0 {
			host = vs[0]
			if slices.Contains(unexpanded, strings.ToLower(h.HostRewriteHeader)) {
				doubt = "host_rewrite_header " + h.HostRewriteHeader + " holds a value that cannot be known"
			}
		}
	case *routev3.RouteAction_HostRewritePathRegex:
		s, err := v.rx.ReplaceAll(h.HostRewritePathRegex.GetPattern().GetRegex(), v.bare, h.HostRewritePathRegex.GetSubstitution())
		if err != nil {
			doubt = "host_rewrite_path_regex: " + err.Error()
		}
		host = s
	case *routev3.RouteAction_AutoHostRewrite:
		up.AutoHost = h.AutoHostRewrite.GetValue()
	case *routev3.RouteAction_HostRewrite:
		s, known := format(h.HostRewrite, &req, nil)
		if !known {
			doubt = "host_rewrite " + h.HostRewrite + " holds a value that cannot be known"
		}
		host = s
	}
	if host != "" {
		if a.GetAppendXForwardedHost() && req.Authority != "" {
			old, ok := req.Get("x-forwarded-host")
			last := strings.TrimSpace(old[strings.LastIndexByte(old, ',')+1:])
			switch {
			case !ok:
				req.Headers = setHeader(req.Headers, "x-forwarded-host", req.Authority)
			case last != req.Authority:
				req.Headers = setHeader(req.Headers, "x-forwarded-host", old+","+req.Authority)
			}
		}
		if !t.SuppressEnvoyHeaders {
			req.Headers = setHeader(req.Headers, "x-envoy-original-host", req.Authority)
		}
		req.Authority = host
	}
	if req.Authority != v.req.Authority {
		up.Rewrite = append(up.Rewrite, "host "+matcher.Show(v.req.Authority)+" -> "+matcher.Show(req.Authority))
	}

	path, how, why := v.rewritePath(r, &req)
	if why != "" {
		doubt = why
	}
	if how != "" {
		if !t.SuppressEnvoyHeaders {
			req.Headers = setHeader(req.Headers, "x-envoy-original-path", req.Path)
		}
		req.Path = path
		up.Rewrite = append(up.Rewrite, how)
	}
	if vh.GetIncludeRequestAttemptCount() {
		req.Headers = setHeader(req.Headers, "x-envoy-attempt-count", "1")
	}
	up.Method, up.Path, up.Authority, up.Headers = req.Method, req.Path, req.Authority, req.Headers
	return up, doubt
}

// rewritePath returns the path after a route action's rewrite; how is empty where it has none. The query stays.
func (v *view) rewritePath(r *routev3.Route, req *matcher.Request) (path, how, why string) {
	a := r.GetRoute()
	just := cutQuery(req.Path)
	rest := req.Path[len(just):]
	switch {
	case a.GetPathRewrite() != "":
		s, known := format(a.GetPathRewrite(), req, nil)
		if !known {
			return req.Path, "", "path_rewrite " + a.GetPathRewrite() + " holds a value that cannot be known"
		}
		if s == "" {
			return req.Path, "", ""
		}
		return s + rest, "path -> " + matcher.Show(s), ""
	case a.GetPrefixRewrite() != "":
		n := v.matchedLen(r.GetMatch(), req.Path)
		return a.GetPrefixRewrite() + req.Path[n:], "prefix " + matcher.Show(req.Path[:n]) + " -> " + matcher.Show(a.GetPrefixRewrite()), ""
	case a.GetRegexRewrite() != nil:
		re := a.GetRegexRewrite()
		s, err := v.rx.ReplaceAll(re.GetPattern().GetRegex(), just, re.GetSubstitution())
		if err != nil {
			return req.Path, "", "regex_rewrite: " + err.Error()
		}
		return s + rest, "regex " + matcher.Show(re.GetPattern().GetRegex()) + " -> " + matcher.Show(re.GetSubstitution()), ""
	case a.GetPathRewritePolicy() != nil:
		s, err := rewriteTemplate(r.GetMatch().GetPathMatchPolicy(), a.GetPathRewritePolicy(), just)
		if err != nil {
			return req.Path, "", err.Error()
		}
		return s + rest, "template -> " + matcher.Show(s), ""
	default:
		return req.Path, "", ""
	}
}

// matchedLen is the length of the part of path that the match matched and a prefix rewrite replaces.
func (v *view) matchedLen(m *routev3.RouteMatch, path string) int {
	n := len(cutQuery(path))
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		n = len(p.Prefix)
	case *routev3.RouteMatch_Path:
		n = len(p.Path)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		n = len(p.PathSeparatedPrefix)
	}
	return min(n, len(path))
}
