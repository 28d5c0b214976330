package matcher

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	xdscore "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
)

// HasUnknown says whether a message itself holds fields this API version does not know. Its sub-messages are asked on
// their own.
func HasUnknown(m proto.Message) bool {
	r := m.ProtoReflect()
	return r.IsValid() && len(r.GetUnknown()) > 0
}

// UnknownIn quotes the fields of a message that this API version does not know: "has a field ... (name: value)".
func UnknownIn(m proto.Message) string {
	s := "has a field this version of the API does not know"
	if names := decode.Unknown(m); len(names) > 0 {
		s += " (" + strings.Join(names[:min(3, len(names))], ", ") + ")"
	}
	return s
}

// String decides a string matcher.
func String(m *matcherv3.StringMatcher, s string, rx *Regexps) (Verdict, string) {
	if m == nil {
		return Undecided, "string matcher is not set"
	}
	if HasUnknown(m) {
		return Undecided, "string matcher " + UnknownIn(m)
	}
	fold := m.GetIgnoreCase()
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return Of(equal(s, p.Exact, fold)), ""
	case *matcherv3.StringMatcher_Prefix:
		return Of(hasPrefix(s, p.Prefix, fold)), ""
	case *matcherv3.StringMatcher_Suffix:
		return Of(hasSuffix(s, p.Suffix, fold)), ""
	case *matcherv3.StringMatcher_Contains:
		return Of(contains(s, p.Contains, fold)), ""
	case *matcherv3.StringMatcher_SafeRegex:
		return rx.FullMatch(p.SafeRegex.GetRegex(), s)
	case *matcherv3.StringMatcher_Custom:
		return Undecided, "string matcher extension " + typeName(p.Custom.GetTypedConfig().GetTypeUrl())
	default:
		return Undecided, "string matcher has no pattern"
	}
}

// xdsString decides the xDS twin of String.
func xdsString(m *xdsmatcher.StringMatcher, s string, rx *Regexps) (Verdict, string) {
	if m == nil {
		return Undecided, "string matcher is not set"
	}
	if HasUnknown(m) {
		return Undecided, "string matcher " + UnknownIn(m)
	}
	fold := m.GetIgnoreCase()
	switch p := m.GetMatchPattern().(type) {
	case *xdsmatcher.StringMatcher_Exact:
		return Of(equal(s, p.Exact, fold)), ""
	case *xdsmatcher.StringMatcher_Prefix:
		return Of(hasPrefix(s, p.Prefix, fold)), ""
	case *xdsmatcher.StringMatcher_Suffix:
		return Of(hasSuffix(s, p.Suffix, fold)), ""
	case *xdsmatcher.StringMatcher_Contains:
		return Of(contains(s, p.Contains, fold)), ""
	case *xdsmatcher.StringMatcher_SafeRegex:
		return rx.FullMatch(p.SafeRegex.GetRegex(), s)
	case *xdsmatcher.StringMatcher_Custom:
		return Undecided, "string matcher extension " + typeName(p.Custom.GetTypedConfig().GetTypeUrl())
	default:
		return Undecided, "string matcher has no pattern"
	}
}

// DescribeString says in words what a string matcher wants: "== jason", "regex ^a.*".
func DescribeString(m *matcherv3.StringMatcher) string {
	fold := ""
	if m.GetIgnoreCase() {
		fold = " (any case)"
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return "== " + show(p.Exact) + fold
	case *matcherv3.StringMatcher_Prefix:
		return "prefix " + show(p.Prefix) + fold
	case *matcherv3.StringMatcher_Suffix:
		return "suffix " + show(p.Suffix) + fold
	case *matcherv3.StringMatcher_Contains:
		return "containing " + show(p.Contains) + fold
	case *matcherv3.StringMatcher_SafeRegex:
		return "regex " + show(p.SafeRegex.GetRegex())
	case *matcherv3.StringMatcher_Custom:
		return "extension " + typeName(p.Custom.GetTypedConfig().GetTypeUrl())
	default:
		return "nothing set"
	}
}

func describeXDS(m *xdsmatcher.StringMatcher) string {
	switch p := m.GetMatchPattern().(type) {
	case *xdsmatcher.StringMatcher_Exact:
		return "== " + show(p.Exact)
	case *xdsmatcher.StringMatcher_Prefix:
		return "prefix " + show(p.Prefix)
	case *xdsmatcher.StringMatcher_Suffix:
		return "suffix " + show(p.Suffix)
	case *xdsmatcher.StringMatcher_Contains:
		return "containing " + show(p.Contains)
	case *xdsmatcher.StringMatcher_SafeRegex:
		return "regex " + show(p.SafeRegex.GetRegex())
	default:
		return "unknown string matcher"
	}
}

// show prints a value of a configuration or a request: as it is where it is a plain word, quoted where not.
func show(s string) string {
	if s == "" {
		return `""`
	}
	for _, r := range s {
		if r <= ' ' || r == 0x7f || r == '"' || r == '\ufffd' {
			return strconv.Quote(s)
		}
	}
	return s
}

// Show prints a value of a configuration or a request in a sentence: plain words as they are, others quoted.
func Show(s string) string { return show(s) }

func typeName(url string) string {
	if i := strings.LastIndexByte(url, '/'); i >= 0 {
		return url[i+1:]
	}
	return url
}

func extensionName(e *xdscore.TypedExtensionConfig) string {
	if t := TypeName(e.GetTypedConfig()); t != "" {
		return t
	}
	return e.GetName()
}

// Envoy folds ASCII only.
func equal(s, t string, fold bool) bool {
	if !fold {
		return s == t
	}
	return len(s) == len(t) && foldEqual(s, t)
}

func foldEqual(s, t string) bool {
	for i := range len(s) {
		if lowerByte(s[i]) != lowerByte(t[i]) {
			return false
		}
	}
	return true
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// HasPrefix is a prefix test, without regard to ASCII case where fold is set.
func HasPrefix(s, prefix string, fold bool) bool { return hasPrefix(s, prefix, fold) }

// Equal is equality, without regard to ASCII case where fold is set.
func Equal(s, t string, fold bool) bool { return equal(s, t, fold) }

func hasPrefix(s, p string, fold bool) bool {
	return len(s) >= len(p) && equal(s[:len(p)], p, fold)
}

func hasSuffix(s, p string, fold bool) bool {
	return len(s) >= len(p) && equal(s[len(s)-len(p):], p, fold)
}

func contains(s, p string, fold bool) bool {
	if !fold {
		return strings.Contains(s, p)
	}
	return strings.Contains(asciiLower(s), asciiLower(p))
}

func asciiLower(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for j := range b {
				b[j] = lowerByte(b[j])
			}
			return string(b)
		}
	}
	return s
}

// CIDR says whether addr is in the range; Undecided where the address is not known or the range is not one.
func CIDR(r *corev3.CidrRange, addr netip.Addr) (Verdict, string) {
	return cidr(r.GetAddressPrefix(), r.GetPrefixLen().GetValue(), addr)
}

func cidr(prefix string, length uint32, addr netip.Addr) (Verdict, string) {
	base, err := netip.ParseAddr(prefix)
	if err != nil {
		return Undecided, fmt.Sprintf("address range %s/%d is not an address", prefix, length)
	}
	if !addr.IsValid() {
		return Undecided, "the address is not known"
	}
	base, addr = base.Unmap().WithZone(""), addr.Unmap().WithZone("")
	if base.Is4() != addr.Is4() {
		return No, ""
	}
	// Envoy cuts a length that is too long to the whole address.
	p, err := base.Prefix(int(min(length, uint32(base.BitLen()))))
	if err != nil {
		return Undecided, err.Error()
	}
	return Of(p.Contains(addr)), ""
}
