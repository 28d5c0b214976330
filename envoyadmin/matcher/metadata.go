package matcher

import (
	"fmt"
	"net/netip"
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

const maxDepth = 32

// Metadata decides a condition on metadata, looking in md; complete says that what md does not hold does not exist.
func Metadata(m *matcherv3.MetadataMatcher, md map[string]*structpb.Struct, complete bool, rx *Regexps) (Verdict, string) {
	if HasUnknown(m) {
		return Undecided, "metadata condition on " + m.GetFilter() + " " + UnknownIn(m)
	}
	s, ok := md[m.GetFilter()]
	if !ok && !complete {
		return Undecided, "dynamic metadata " + metadataName(m) + " is not known"
	}
	v := lookup(s, m.GetPath())
	res, why := value(m.GetValue(), v, rx, 0)
	if why != "" {
		why = "metadata " + metadataName(m) + ": " + why
	}
	if m.GetInvert() {
		res = res.Not()
	}
	return res, why
}

func metadataName(m *matcherv3.MetadataMatcher) string {
	var b strings.Builder
	b.WriteString(m.GetFilter())
	for _, p := range m.GetPath() {
		b.WriteByte('.')
		b.WriteString(p.GetKey())
	}
	return b.String()
}

// DescribeMetadata says in words what a metadata condition wants.
func DescribeMetadata(m *matcherv3.MetadataMatcher) string {
	not := ""
	if m.GetInvert() {
		not = "not "
	}
	return "metadata " + metadataName(m) + " " + not + describeValue(m.GetValue(), 0)
}

func lookup(s *structpb.Struct, path []*matcherv3.MetadataMatcher_PathSegment) *structpb.Value {
	if s == nil || len(path) == 0 {
		return nil
	}
	v := s.GetFields()[path[0].GetKey()]
	for _, p := range path[1:] {
		v = v.GetStructValue().GetFields()[p.GetKey()]
	}
	return v
}

func value(m *matcherv3.ValueMatcher, v *structpb.Value, rx *Regexps, depth int) (Verdict, string) {
	if depth > maxDepth {
		return Undecided, "the condition is nested too deeply"
	}
	if m == nil || HasUnknown(m) {
		return Undecided, "the condition " + UnknownIn(m)
	}
	set := v != nil && v.GetKind() != nil
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		_, is := v.GetKind().(*structpb.Value_NullValue)
		return Of(is), ""
	case *matcherv3.ValueMatcher_DoubleMatch:
		n, is := v.GetKind().(*structpb.Value_NumberValue)
		if !is {
			return No, ""
		}
		switch d := p.DoubleMatch.GetMatchPattern().(type) {
		case *matcherv3.DoubleMatcher_Exact:
			return Of(n.NumberValue == d.Exact), ""
		case *matcherv3.DoubleMatcher_Range:
			return Of(d.Range.GetStart() <= n.NumberValue && n.NumberValue < d.Range.GetEnd()), ""
		}
		return Undecided, "number matcher has no pattern"
	case *matcherv3.ValueMatcher_StringMatch:
		s, is := v.GetKind().(*structpb.Value_StringValue)
		if !is {
			return No, ""
		}
		return String(p.StringMatch, s.StringValue, rx)
	case *matcherv3.ValueMatcher_BoolMatch:
		b, is := v.GetKind().(*structpb.Value_BoolValue)
		return Of(is && b.BoolValue == p.BoolMatch), ""
	case *matcherv3.ValueMatcher_PresentMatch:
		return Of(p.PresentMatch && set), ""
	case *matcherv3.ValueMatcher_ListMatch:
		l, is := v.GetKind().(*structpb.Value_ListValue)
		if !is {
			return No, ""
		}
		return anyOf(l.ListValue.GetValues(), func(e *structpb.Value) (Verdict, string) {
			return value(p.ListMatch.GetOneOf(), e, rx, depth+1)
		})
	case *matcherv3.ValueMatcher_OrMatch:
		return anyOf(p.OrMatch.GetValueMatchers(), func(e *matcherv3.ValueMatcher) (Verdict, string) {
			return value(e, v, rx, depth+1)
		})
	default:
		return Undecided, fmt.Sprintf("value matcher %T is not known", p)
	}
}

func describeValue(m *matcherv3.ValueMatcher, depth int) string {
	if depth > maxDepth {
		return "..."
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		return "null"
	case *matcherv3.ValueMatcher_DoubleMatch:
		if r := p.DoubleMatch.GetRange(); r != nil {
			return fmt.Sprintf("in [%g,%g)", r.GetStart(), r.GetEnd())
		}
		return fmt.Sprintf("== %g", p.DoubleMatch.GetExact())
	case *matcherv3.ValueMatcher_StringMatch:
		return DescribeString(p.StringMatch)
	case *matcherv3.ValueMatcher_BoolMatch:
		return fmt.Sprintf("== %t", p.BoolMatch)
	case *matcherv3.ValueMatcher_PresentMatch:
		return "present"
	case *matcherv3.ValueMatcher_ListMatch:
		return "holding one " + describeValue(p.ListMatch.GetOneOf(), depth+1)
	case *matcherv3.ValueMatcher_OrMatch:
		var ors []string
		for _, e := range p.OrMatch.GetValueMatchers() {
			ors = append(ors, describeValue(e, depth+1))
		}
		return strings.Join(ors, " or ")
	default:
		return "an unknown condition"
	}
}

func anyOf[T any](list []T, f func(T) (Verdict, string)) (Verdict, string) {
	res, why := No, ""
	for _, e := range list {
		switch v, y := f(e); v {
		case Yes:
			return Yes, ""
		case Undecided:
			res, why = Undecided, y
		}
	}
	return res, why
}

// FilterState decides a condition on filter state. A missing object never matches.
func FilterState(m *matcherv3.FilterStateMatcher, env *Env) (Verdict, string) {
	if HasUnknown(m) {
		return Undecided, "filter state condition on " + m.GetKey() + " " + UnknownIn(m)
	}
	s, ok := env.FilterState[m.GetKey()]
	if !ok {
		if env.FilterStateComplete {
			return No, ""
		}
		return Undecided, "filter state " + m.GetKey() + " is not known"
	}
	switch p := m.GetMatcher().(type) {
	case *matcherv3.FilterStateMatcher_StringMatch:
		return String(p.StringMatch, s, env.Regex)
	case *matcherv3.FilterStateMatcher_AddressMatch:
		addr, err := netip.ParseAddr(s)
		if err != nil {
			ap, err := netip.ParseAddrPort(s)
			if err != nil {
				return No, ""
			}
			addr = ap.Addr()
		}
		return addressMatch(p.AddressMatch, addr)
	default:
		return Undecided, fmt.Sprintf("filter state matcher %T is not known", p)
	}
}

func addressMatch(m *matcherv3.AddressMatcher, addr netip.Addr) (Verdict, string) {
	if HasUnknown(m) {
		return Undecided, "address matcher " + UnknownIn(m)
	}
	res, why := No, ""
	for _, r := range m.GetRanges() {
		switch v, y := cidr(r.GetAddressPrefix(), r.GetPrefixLen().GetValue(), addr); v {
		case Yes:
			res, why = Yes, ""
			if m.GetInvertMatch() {
				return No, ""
			}
			return Yes, ""
		case Undecided:
			res, why = Undecided, y
		}
	}
	if m.GetInvertMatch() {
		res = res.Not()
	}
	return res, why
}

// DescribeFilterState says in words what a filter state condition wants.
func DescribeFilterState(m *matcherv3.FilterStateMatcher) string {
	switch p := m.GetMatcher().(type) {
	case *matcherv3.FilterStateMatcher_StringMatch:
		return "filter state " + m.GetKey() + " " + DescribeString(p.StringMatch)
	case *matcherv3.FilterStateMatcher_AddressMatch:
		var rs []string
		for _, r := range p.AddressMatch.GetRanges() {
			rs = append(rs, fmt.Sprintf("%s/%d", r.GetAddressPrefix(), r.GetPrefixLen().GetValue()))
		}
		return "filter state " + m.GetKey() + " in " + strings.Join(rs, ", ")
	default:
		return "filter state " + m.GetKey() + " an unknown condition"
	}
}
