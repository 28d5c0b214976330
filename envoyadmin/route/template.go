package route

import (
	"fmt"
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matchv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	rewritev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"
	"google.golang.org/protobuf/proto"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// The characters Envoy lets a template's wildcard stand for (path/uri_template_lib).
const templateChars = `a-zA-Z0-9\-._~%!$&'()+,;:@=`

const maxTemplateVars = 5

func typeName(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// templateOf returns the path template of a path_match_policy.
func templateOf(cfg *corev3.TypedExtensionConfig) (string, error) {
	name := typeName(cfg.GetTypedConfig().GetTypeUrl())
	if name != "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig" {
		return "", fmt.Errorf("path match extension %s (%s) cannot be evaluated", cfg.GetName(), name)
	}
	m := &matchv3.UriTemplateMatchConfig{}
	if err := proto.Unmarshal(cfg.GetTypedConfig().GetValue(), m); err != nil || matcher.HasUnknown(m) {
		return "", fmt.Errorf("path match extension %s cannot be decoded", name)
	}
	return m.GetPathTemplate(), nil
}

// uriTemplate turns the template of a path_match_policy into the regular expression Envoy makes of it.
func uriTemplate(cfg *corev3.TypedExtensionConfig) (string, error) {
	t, err := templateOf(cfg)
	if err != nil {
		return "", err
	}
	return templateRegex(t)
}

// templateRegex: "*" is one segment, "**" the rest, {name} or {name=pattern} captures.
func templateRegex(t string) (string, error) {
	if !strings.HasPrefix(t, "/") {
		return "", fmt.Errorf("path template %q does not begin with /", t)
	}
	var b strings.Builder
	vars := 0
	for i := 0; i < len(t); {
		switch {
		case t[i] == '{':
			end := strings.IndexByte(t[i:], '}')
			if end < 0 {
				return "", fmt.Errorf("path template %q: { is not closed", t)
			}
			name, pattern, has := strings.Cut(t[i+1:i+end], "=")
			if !has {
				pattern = "*"
			}
			if vars++; vars > maxTemplateVars {
				return "", fmt.Errorf("path template %q has more than %d variables", t, maxTemplateVars)
			}
			if !validVar(name) {
				return "", fmt.Errorf("path template %q: bad variable name %q", t, name)
			}
			b.WriteString("(?P<" + name + ">" + globs(pattern) + ")")
			i += end + 1
		default:
			end := strings.IndexByte(t[i:], '{')
			if end < 0 {
				end = len(t) - i
			}
			b.WriteString(globs(t[i : i+end]))
			i += end
		}
	}
	return b.String(), nil
}

func validVar(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return true
}

func globs(s string) string {
	var b strings.Builder
	for s != "" {
		switch {
		case strings.HasPrefix(s, "**"):
			b.WriteString("[" + templateChars + "/]*")
			s = s[2:]
		case s[0] == '*':
			b.WriteString("[" + templateChars + "]+")
			s = s[1:]
		default:
			n := strings.IndexByte(s, '*')
			if n < 0 {
				n = len(s)
			}
			b.WriteString(regexp.QuoteMeta(s[:n]))
			s = s[n:]
		}
	}
	return b.String()
}

// rewriteTemplate fills the variables of path, matched by the match template, into the rewrite template.
func rewriteTemplate(match, rewrite *corev3.TypedExtensionConfig, path string) (string, error) {
	name := typeName(rewrite.GetTypedConfig().GetTypeUrl())
	if name != "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig" {
		return "", fmt.Errorf("path rewrite extension %s (%s) cannot be evaluated", rewrite.GetName(), name)
	}
	m := &rewritev3.UriTemplateRewriteConfig{}
	if err := proto.Unmarshal(rewrite.GetTypedConfig().GetValue(), m); err != nil || matcher.HasUnknown(m) {
		return "", fmt.Errorf("path rewrite extension %s cannot be decoded", name)
	}
	pattern, err := uriTemplate(match)
	if err != nil {
		return "", err
	}
	re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	if err != nil {
		return "", err
	}
	groups := re.FindStringSubmatch(path)
	if groups == nil {
		return path, nil
	}
	out := m.GetPathTemplateRewrite()
	for i, v := range re.SubexpNames() {
		if v != "" {
			out = strings.ReplaceAll(out, "{"+v+"}", groups[i])
		}
	}
	return out, nil
}
