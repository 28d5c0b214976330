package matcher

import (
	"fmt"
	"regexp"
	"strings"
)

// The characters Envoy lets a template's wildcard stand for (path/uri_template_lib).
const templateChars = `a-zA-Z0-9\-._~%!$&'()+,;:@=`

const maxTemplateVars = 5

// URITemplate turns a path template into the regular expression Envoy makes of it: "*" is one segment, "**" the rest, {name} or {name=pattern} captures.
func URITemplate(t string) (string, error) {
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
