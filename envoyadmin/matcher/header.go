package matcher

import (
	"fmt"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// HeaderMatch decides one header condition for the request. A missing header never matches, not even inverted, unless
// it is to be treated as empty; only present_match turns absence round.
func HeaderMatch(m *routev3.HeaderMatcher, r *Request) (Verdict, string) {
	if HasUnknown(m) {
		return Undecided, "header " + m.GetName() + ": the condition " + UnknownIn(m)
	}
	value, ok := r.Get(m.GetName())
	if !ok {
		if missing, done := missingHeader(m); done {
			return missing, ""
		}
	}
	v, why := headerValue(m, value, r.Env.Regex)
	if why != "" {
		why = "header " + m.GetName() + ": " + why
	}
	if m.GetInvertMatch() {
		v = v.Not()
	}
	return v, why
}

func missingHeader(m *routev3.HeaderMatcher) (Verdict, bool) {
	present, is := wantsPresent(m)
	switch {
	case is:
		return Of(present == m.GetInvertMatch()), true
	case m.GetTreatMissingHeaderAsEmpty():
		return Undecided, false
	default:
		return No, true
	}
}

// wantsPresent says whether the condition is one on presence alone: no specifier at all is one too.
func wantsPresent(m *routev3.HeaderMatcher) (present, is bool) {
	switch p := m.GetHeaderMatchSpecifier().(type) {
	case nil:
		return true, true
	case *routev3.HeaderMatcher_PresentMatch:
		return p.PresentMatch, true
	default:
		return false, false
	}
}

func headerValue(m *routev3.HeaderMatcher, value string, rx *Regexps) (Verdict, string) {
	switch p := m.GetHeaderMatchSpecifier().(type) {
	case nil:
		return Yes, ""
	case *routev3.HeaderMatcher_PresentMatch:
		return Of(p.PresentMatch), ""
	case *routev3.HeaderMatcher_StringMatch:
		return String(p.StringMatch, value, rx)
	case *routev3.HeaderMatcher_ExactMatch: //nolint:staticcheck // old configurations have it
		return Of(p.ExactMatch == "" || value == p.ExactMatch), ""
	case *routev3.HeaderMatcher_PrefixMatch: //nolint:staticcheck // as above
		return Of(strings.HasPrefix(value, p.PrefixMatch)), ""
	case *routev3.HeaderMatcher_SuffixMatch: //nolint:staticcheck // as above
		return Of(strings.HasSuffix(value, p.SuffixMatch)), ""
	case *routev3.HeaderMatcher_ContainsMatch: //nolint:staticcheck // as above
		return Of(strings.Contains(value, p.ContainsMatch)), ""
	case *routev3.HeaderMatcher_SafeRegexMatch: //nolint:staticcheck // as above
		return rx.FullMatch(p.SafeRegexMatch.GetRegex(), value)
	case *routev3.HeaderMatcher_RangeMatch:
		n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		return Of(err == nil && n >= p.RangeMatch.GetStart() && n < p.RangeMatch.GetEnd()), ""
	default:
		return Undecided, fmt.Sprintf("condition %T is not known", p)
	}
}

// DescribeHeader says in words what a header condition wants: "header end-user == jason".
func DescribeHeader(m *routev3.HeaderMatcher) string {
	return "header " + m.GetName() + " " + describeHeaderWant(m)
}

func describeHeaderWant(m *routev3.HeaderMatcher) string {
	not := ""
	if m.GetInvertMatch() {
		not = "not "
	}
	switch p := m.GetHeaderMatchSpecifier().(type) {
	case nil:
		return not + "present"
	case *routev3.HeaderMatcher_PresentMatch:
		if p.PresentMatch == m.GetInvertMatch() {
			return "absent"
		}
		return "present"
	case *routev3.HeaderMatcher_StringMatch:
		return not + DescribeString(p.StringMatch)
	case *routev3.HeaderMatcher_ExactMatch: //nolint:staticcheck // old configurations have it
		if p.ExactMatch == "" {
			return not + "present"
		}
		return not + "== " + show(p.ExactMatch)
	case *routev3.HeaderMatcher_PrefixMatch: //nolint:staticcheck // as above
		return not + "prefix " + show(p.PrefixMatch)
	case *routev3.HeaderMatcher_SuffixMatch: //nolint:staticcheck // as above
		return not + "suffix " + show(p.SuffixMatch)
	case *routev3.HeaderMatcher_ContainsMatch: //nolint:staticcheck // as above
		return not + "containing " + show(p.ContainsMatch)
	case *routev3.HeaderMatcher_SafeRegexMatch: //nolint:staticcheck // as above
		return not + "regex " + show(p.SafeRegexMatch.GetRegex())
	case *routev3.HeaderMatcher_RangeMatch:
		return fmt.Sprintf("%sin [%d,%d)", not, p.RangeMatch.GetStart(), p.RangeMatch.GetEnd())
	default:
		return "an unknown condition"
	}
}

// Want turns the words of a condition, "== jason", into those of a wish, "exact jason".
func Want(words string) string {
	if rest, ok := strings.CutPrefix(words, "not "); ok {
		return "not " + Want(rest)
	}
	if rest, ok := strings.CutPrefix(words, "== "); ok {
		return "exact " + rest
	}
	return words
}

// ExplainHeader says why a header condition did not hold: "header end-user is absent, wants exact jason". A value that
// may be a credential is not shown.
func ExplainHeader(m *routev3.HeaderMatcher, r *Request) string {
	want := Want(describeHeaderWant(m))
	name := m.GetName()
	value, ok := r.Get(name)
	switch {
	case !ok && want == "present":
		return "header " + name + " is absent"
	case !ok:
		return "header " + name + " is absent, wants " + want
	case want == "absent":
		return "header " + name + " is present, wants it absent"
	case Sensitive(name):
		return "header " + name + " does not match, wants " + want
	default:
		return "header " + name + " is " + show(value) + ", wants " + want
	}
}

// Sensitive says whether a header's value may be a credential, which is never shown.
func Sensitive(name string) bool {
	switch lower(name) {
	case "authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-forwarded-client-cert", "x-auth-token":
		return true
	}
	return false
}

// Headers decides that all conditions hold.
func Headers(ms []*routev3.HeaderMatcher, r *Request) (v Verdict, why string) {
	v = Yes
	for _, m := range ms {
		w, y := HeaderMatch(m, r)
		switch w {
		case No:
			return No, ""
		case Undecided:
			v, why = Undecided, y
		}
	}
	return v, why
}
