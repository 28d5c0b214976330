package route

import (
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// location is the URL a redirect answers with; doubt says why it cannot be known.
func (v *view) location(r *routev3.Route) (url, doubt string) {
	d := r.GetRedirect()
	path := v.req.Path
	just := cutQuery(path)
	switch p := d.GetPathRewriteSpecifier().(type) {
	case *routev3.RedirectAction_PrefixRewrite:
		if p.PrefixRewrite != "" {
			path = p.PrefixRewrite + path[v.matchedLen(r.GetMatch(), path):]
		}
	case *routev3.RedirectAction_RegexRewrite:
		s, err := v.rx.ReplaceAll(p.RegexRewrite.GetPattern().GetRegex(), just, p.RegexRewrite.GetSubstitution())
		if err != nil {
			return "", "redirect regex_rewrite: " + err.Error()
		}
		// An empty result is no rewrite at all.
		if s != "" {
			path = s + path[len(just):]
		}
	case *routev3.RedirectAction_PathRewrite:
		s, known := format(p.PathRewrite, v.req, nil)
		if !known {
			return "", "redirect path_rewrite " + p.PathRewrite + " holds a value that cannot be known"
		}
		if s != "" {
			path = s + path[len(just):]
		}
	}
	scheme := v.req.Scheme
	if d.GetSchemeRedirect() != "" {
		scheme = d.GetSchemeRedirect()
	} else if d.GetHttpsRedirect() {
		scheme = "https"
	}
	port := ""
	if d.GetPortRedirect() != 0 {
		port = ":" + strconv.Itoa(int(d.GetPortRedirect()))
	}
	host := d.GetHostRedirect()
	if host == "" {
		host = redirectHost(v.req, scheme, port)
	}
	ownQuery := false
	if p := d.GetPathRedirect(); p != "" {
		ownQuery = strings.Contains(p, "?")
		if i := strings.IndexByte(path, '?'); i >= 0 && !ownQuery {
			p += path[i:]
		}
		path = p
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if d.GetStripQuery() && !ownQuery {
		path, _, _ = strings.Cut(path, "?")
	}
	return scheme + "://" + host + port + path, ""
}

// redirectHost is the request's host with its port kept, except where a port is given or the port is the old scheme's
// default and the scheme changes. The old scheme is x-forwarded-proto.
func redirectHost(req *matcher.Request, scheme, port string) string {
	host := req.Authority
	if host == "" {
		return host
	}
	end := strings.LastIndexByte(host, ':')
	if host[0] == '[' {
		if end = strings.LastIndex(host, "]:"); end >= 0 {
			end++
		}
	}
	if end < 0 {
		return host
	}
	proto, _ := req.Get("x-forwarded-proto")
	cut := port != ""
	if scheme != proto {
		cut = cut || proto == "https" && host[end:] == ":443" || proto == "http" && host[end:] == ":80"
	}
	if cut {
		return host[:end]
	}
	return host
}

func redirectStatus(d *routev3.RedirectAction) int {
	switch d.GetResponseCode() {
	case routev3.RedirectAction_FOUND:
		return 302
	case routev3.RedirectAction_SEE_OTHER:
		return 303
	case routev3.RedirectAction_TEMPORARY_REDIRECT:
		return 307
	case routev3.RedirectAction_PERMANENT_REDIRECT:
		return 308
	default:
		return 301
	}
}

// body is the text of a data source; known is false where it lies in a file or the environment.
func body(s *corev3.DataSource) (text string, known bool) {
	switch d := s.GetSpecifier().(type) {
	case nil:
		return "", true
	case *corev3.DataSource_InlineString:
		return d.InlineString, true
	case *corev3.DataSource_InlineBytes:
		return string(d.InlineBytes), true
	default:
		return "", false
	}
}
