package route

import "strings"

// unescapeSlashes turns %2F and %5C of a path, without its query, into / and \, and says whether there were any.
func unescapeSlashes(path string) (string, bool) {
	just, query := splitQuery(path)
	if !strings.Contains(just, "%") {
		return path, false
	}
	out := strings.NewReplacer("%2F", "/", "%2f", "/", "%5C", `\`, "%5c", `\`).Replace(just)
	return out + query, out != just
}

func splitQuery(path string) (just, query string) {
	if i := strings.IndexByte(path, '?'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// mergeSlashes makes one slash of several, outside the query.
func mergeSlashes(path string) string {
	just, query := splitQuery(path)
	if !strings.Contains(just, "//") {
		return path
	}
	var b strings.Builder
	for i := range len(just) {
		if just[i] == '/' && i > 0 && just[i-1] == '/' {
			continue
		}
		b.WriteByte(just[i])
	}
	return b.String() + query
}

// canonicalPath is the URL canonicalisation Envoy's normalize_path does: dot segments (also as %2e) are resolved, \ becomes
// /, escapes of letters, digits and -_~ are undone, and characters that must not stand in a path are escaped. Other
// escapes stay as they are. A path with %00 or a NUL is refused.
func canonicalPath(path string) (string, bool) {
	in, query := splitQuery(path)
	out := make([]byte, 0, len(in)+1)
	if in == "" || !isSlash(in[0]) {
		out = append(out, '/')
	}
	for i := 0; i < len(in); i++ {
		c := in[i]
		if n := dotAt(in, i); n > 0 {
			if len(out) > 0 && out[len(out)-1] == '/' {
				switch kind, consumed := afterDot(in, i+n); kind {
				case dirCurrent:
					i += n + consumed - 1
					continue
				case dirUp:
					out = backUp(out)
					i += n + consumed - 1
					continue
				}
			}
			out = append(out, '.')
			i += n - 1
			continue
		}
		switch {
		case c == '\\':
			out = append(out, '/')
		case c == '%':
			v, ok := unhex(in, i)
			switch {
			case !ok:
				out = append(out, '%')
			case v == 0:
				return path, false
			case unreserved(v):
				out = append(out, v)
				i += 2
			default:
				out = append(out, in[i:i+3]...)
				i += 2
			}
		case c == 0:
			return path, false
		case mustEscape(c):
			const hex = "0123456789ABCDEF"
			out = append(out, '%', hex[c>>4], hex[c&15])
		default:
			out = append(out, c)
		}
	}
	return string(out) + query, true
}

func isSlash(c byte) bool { return c == '/' || c == '\\' }

// dotAt is the length of a dot at i, plain or escaped; 0 where there is none.
func dotAt(s string, i int) int {
	switch {
	case i < len(s) && s[i] == '.':
		return 1
	case i+2 < len(s) && s[i] == '%' && s[i+1] == '2' && (s[i+2] == 'e' || s[i+2] == 'E'):
		return 3
	default:
		return 0
	}
}

type dirKind uint8

const (
	notADir dirKind = iota
	dirCurrent
	dirUp
)

func afterDot(s string, i int) (dirKind, int) {
	if i >= len(s) {
		return dirCurrent, 0
	}
	if isSlash(s[i]) {
		return dirCurrent, 1
	}
	n := dotAt(s, i)
	switch {
	case n == 0:
		return notADir, 0
	case i+n >= len(s):
		return dirUp, n
	case isSlash(s[i+n]):
		return dirUp, n + 1
	default:
		return notADir, 0
	}
}

// backUp drops the last segment of out, which ends in a slash.
func backUp(out []byte) []byte {
	i := len(out) - 1
	if i <= 0 {
		return out
	}
	for i--; i > 0 && out[i] != '/'; {
		i--
	}
	return out[:i+1]
}

func unhex(s string, i int) (byte, bool) {
	if i+2 >= len(s) {
		return 0, false
	}
	hi, ok1 := hexDigit(s[i+1])
	lo, ok2 := hexDigit(s[i+2])
	return hi<<4 | lo, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	default:
		return 0, false
	}
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '~'
}

func mustEscape(c byte) bool {
	return c <= ' ' || c >= 0x7f || strings.IndexByte("\"#<>?^`{|}", c) >= 0
}
