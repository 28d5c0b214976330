package matcher

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	xdscore "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	ipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/metadata/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Value is what an input of a matcher tree gives.
type Value struct {
	Present Verdict // Yes: Text or Data holds it; No: the input has no value; Undecided: not known, for the reason in Why
	Text    string
	Data    *structpb.Value // of an input that gives metadata, not text
	Why     string
	Name    string // the input in words: "header :path"
}

// Inputs gives the values a matcher tree asks for. [Request] is one.
type Inputs interface {
	// Input returns the value of one data input.
	Input(cfg *xdscore.TypedExtensionConfig) Value
	// CEL decides a CEL matcher.
	CEL(m *xdsmatcher.CelMatcher) (Verdict, string)
}

// Found is what a matcher tree says.
type Found struct {
	Verdict Verdict // Yes: Action was reached; No: nothing matched; Undecided: Why
	Action  *xdscore.TypedExtensionConfig
	Trail   []string // the conditions on the way that held, in words
	Why     string
}

// Eval walks a matcher tree to the action Envoy would take.
//
//	list         first entry whose predicate holds; a nested tree without an action is a miss and the list goes on
//	exact map    the entry, else on_no_match; so does a nested miss
//	prefix map   the longest prefix; a nested miss tries shorter ones (Envoy 1.35), then on_no_match
//	no value     a predicate is false, a map goes to on_no_match
//
// Trees nested deeper than 32 are undecided.
func Eval(m *xdsmatcher.Matcher, in Inputs, rx *Regexps) Found {
	e := evaluator{in: in, rx: rx}
	f := e.tree(m, 0)
	if f.Verdict == Yes {
		f.Trail = e.trail
	}
	return f
}

type evaluator struct {
	in    Inputs
	rx    *Regexps
	trail []string
}

func undecided(why string) Found { return Found{Why: why} }

func (e *evaluator) tree(m *xdsmatcher.Matcher, depth int) Found {
	if depth > maxDepth {
		return undecided("the matcher is nested too deeply")
	}
	if m == nil {
		return Found{Verdict: No}
	}
	if HasUnknown(m) {
		return undecided("the matcher " + UnknownIn(m))
	}
	var f Found
	switch t := m.GetMatcherType().(type) {
	case *xdsmatcher.Matcher_MatcherList_:
		f = e.list(t.MatcherList, depth)
	case *xdsmatcher.Matcher_MatcherTree_:
		f = e.lookup(t.MatcherTree, depth)
	case nil:
		f = Found{Verdict: No}
	default:
		return undecided(fmt.Sprintf("matcher %T is not known", t))
	}
	if f.Verdict != No || m.GetOnNoMatch() == nil {
		return f
	}
	return e.onMatch(m.GetOnNoMatch(), "otherwise", depth)
}

// onMatch follows an entry. A nested tree that reaches no action is a miss.
func (e *evaluator) onMatch(o *xdsmatcher.Matcher_OnMatch, what string, depth int) Found {
	if HasUnknown(o) {
		return undecided("the matcher's entry " + UnknownIn(o))
	}
	mark := len(e.trail)
	e.trail = append(e.trail, what)
	var f Found
	switch t := o.GetOnMatch().(type) {
	case *xdsmatcher.Matcher_OnMatch_Matcher:
		f = e.tree(t.Matcher, depth+1)
	case *xdsmatcher.Matcher_OnMatch_Action:
		f = Found{Verdict: Yes, Action: t.Action}
	default:
		f = undecided("the matcher's entry has neither action nor matcher")
	}
	if o.GetKeepMatching() && f.Verdict == Yes {
		f = Found{Verdict: No}
	}
	if f.Verdict == No {
		e.trail = e.trail[:mark]
	}
	return f
}

func (e *evaluator) list(l *xdsmatcher.Matcher_MatcherList, depth int) Found {
	for _, fm := range l.GetMatchers() {
		if HasUnknown(fm) {
			return undecided("the matcher's entry " + UnknownIn(fm))
		}
		v, why := e.predicate(fm.GetPredicate(), depth)
		switch v {
		case Undecided:
			return undecided(why)
		case Yes:
			if f := e.onMatch(fm.GetOnMatch(), describePredicate(fm.GetPredicate(), e.in, 0), depth); f.Verdict != No {
				return f
			}
		}
	}
	return Found{Verdict: No}
}

func (e *evaluator) predicate(p *xdsmatcher.Matcher_MatcherList_Predicate, depth int) (Verdict, string) {
	if depth > maxDepth {
		return Undecided, "the predicate is nested too deeply"
	}
	if p == nil || HasUnknown(p) {
		return Undecided, "a predicate " + UnknownIn(p)
	}
	switch t := p.GetMatchType().(type) {
	case *xdsmatcher.Matcher_MatcherList_Predicate_SinglePredicate_:
		return e.single(t.SinglePredicate)
	case *xdsmatcher.Matcher_MatcherList_Predicate_OrMatcher:
		return anyOf(t.OrMatcher.GetPredicate(), func(p *xdsmatcher.Matcher_MatcherList_Predicate) (Verdict, string) {
			return e.predicate(p, depth+1)
		})
	case *xdsmatcher.Matcher_MatcherList_Predicate_AndMatcher:
		v, why := anyOf(t.AndMatcher.GetPredicate(), func(p *xdsmatcher.Matcher_MatcherList_Predicate) (Verdict, string) {
			v, why := e.predicate(p, depth+1)
			return v.Not(), why
		})
		return v.Not(), why
	case *xdsmatcher.Matcher_MatcherList_Predicate_NotMatcher:
		v, why := e.predicate(t.NotMatcher, depth+1)
		return v.Not(), why
	default:
		return Undecided, fmt.Sprintf("predicate %T is not known", t)
	}
}

func (e *evaluator) single(p *xdsmatcher.Matcher_MatcherList_Predicate_SinglePredicate) (Verdict, string) {
	if HasUnknown(p) {
		return Undecided, "a predicate " + UnknownIn(p)
	}
	switch t := p.GetMatcher().(type) {
	case *xdsmatcher.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch:
		v := e.in.Input(p.GetInput())
		switch v.Present {
		case No:
			return No, ""
		case Undecided:
			return Undecided, v.Why
		}
		return xdsString(t.ValueMatch, v.Text, e.rx)
	case *xdsmatcher.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch:
		return e.custom(t.CustomMatch, p.GetInput())
	default:
		return Undecided, fmt.Sprintf("predicate %T is not known", t)
	}
}

// custom decides the input matchers that are extensions.
func (e *evaluator) custom(cfg, input *xdscore.TypedExtensionConfig) (Verdict, string) {
	any := cfg.GetTypedConfig()
	switch extensionName(cfg) {
	case "xds.type.matcher.v3.CelMatcher":
		m := &xdsmatcher.CelMatcher{}
		if err := unpack(any, m); err != nil {
			return Undecided, err.Error()
		}
		return e.in.CEL(m)
	case "envoy.extensions.matching.input_matchers.ip.v3.Ip":
		m := &ipv3.Ip{}
		if err := unpack(any, m); err != nil {
			return Undecided, err.Error()
		}
		v := e.in.Input(input)
		if v.Present != Yes {
			return v.Present, v.Why
		}
		addr, err := netip.ParseAddr(v.Text)
		if err != nil {
			return No, ""
		}
		for _, r := range m.GetCidrRanges() {
			if in, why := CIDR(r, addr); in != No {
				return in, why
			}
		}
		return No, ""
	case "envoy.extensions.matching.input_matchers.metadata.v3.Metadata":
		m := &metadatav3.Metadata{}
		if err := unpack(any, m); err != nil {
			return Undecided, err.Error()
		}
		v := e.in.Input(input)
		if v.Present == Undecided {
			return Undecided, v.Why
		}
		res, why := value(m.GetValue(), v.Data, e.rx, 0)
		if m.GetInvert() {
			res = res.Not()
		}
		return res, why
	default:
		return Undecided, "matcher extension " + extensionName(cfg) + " is not known"
	}
}

// unpack decodes an extension's configuration.
func unpack(a *anypb.Any, m proto.Message) error {
	if want := string(m.ProtoReflect().Descriptor().FullName()); typeName(a.GetTypeUrl()) != want {
		return fmt.Errorf("%s is not %s", TypeName(a), want)
	}
	if err := proto.Unmarshal(a.GetValue(), m); err != nil {
		return fmt.Errorf("%s: %w", typeName(a.GetTypeUrl()), err)
	}
	if HasUnknown(m) {
		return fmt.Errorf("%s %s", typeName(a.GetTypeUrl()), UnknownIn(m))
	}
	return nil
}

func (e *evaluator) lookup(t *xdsmatcher.Matcher_MatcherTree, depth int) Found {
	if HasUnknown(t) {
		return undecided("the matcher " + UnknownIn(t))
	}
	v := e.in.Input(t.GetInput())
	switch v.Present {
	case No:
		return Found{Verdict: No}
	case Undecided:
		return undecided(v.Why)
	}
	switch k := t.GetTreeType().(type) {
	case *xdsmatcher.Matcher_MatcherTree_ExactMatchMap:
		o, ok := k.ExactMatchMap.GetMap()[v.Text]
		if !ok {
			return Found{Verdict: No}
		}
		return e.onMatch(o, v.Name+" == "+show(v.Text), depth)
	case *xdsmatcher.Matcher_MatcherTree_PrefixMatchMap:
		m := k.PrefixMatchMap.GetMap()
		for n := len(v.Text); n >= 0; n-- {
			o, ok := m[v.Text[:n]]
			if !ok {
				continue
			}
			if f := e.onMatch(o, v.Name+" prefix "+show(v.Text[:n]), depth); f.Verdict != No {
				return f
			}
		}
		return Found{Verdict: No}
	case *xdsmatcher.Matcher_MatcherTree_CustomMatch:
		return e.customTree(k.CustomMatch, v, depth)
	default:
		return undecided(fmt.Sprintf("matcher tree %T is not known", k))
	}
}

func (e *evaluator) customTree(cfg *xdscore.TypedExtensionConfig, v Value, depth int) Found {
	switch extensionName(cfg) {
	case "xds.type.matcher.v3.IPMatcher":
		m := &xdsmatcher.IPMatcher{}
		if err := unpack(cfg.GetTypedConfig(), m); err != nil {
			return undecided(err.Error())
		}
		return e.ipTree(m, v, depth)
	case "xds.type.matcher.v3.ServerNameMatcher":
		m := &xdsmatcher.ServerNameMatcher{}
		if err := unpack(cfg.GetTypedConfig(), m); err != nil {
			return undecided(err.Error())
		}
		return e.serverNames(m, v, depth)
	default:
		return undecided("matcher extension " + extensionName(cfg) + " is not known")
	}
}

// ipTree takes the longest range first; an entry that is exclusive ends the search.
func (e *evaluator) ipTree(m *xdsmatcher.IPMatcher, v Value, depth int) Found {
	addr, err := netip.ParseAddr(v.Text)
	if err != nil {
		return Found{Verdict: No}
	}
	type hit struct {
		bits, index int
		m           *xdsmatcher.IPMatcher_IPRangeMatcher
		text        string
	}
	var hits []hit
	for i, rm := range m.GetRangeMatchers() {
		for _, r := range rm.GetRanges() {
			in, why := cidr(r.GetAddressPrefix(), r.GetPrefixLen().GetValue(), addr)
			switch in {
			case Undecided:
				return undecided(why)
			case Yes:
				hits = append(hits, hit{int(r.GetPrefixLen().GetValue()), i, rm, fmt.Sprintf("%s in %s/%d", v.Name, r.GetAddressPrefix(), r.GetPrefixLen().GetValue())})
			}
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int {
		if a.bits != b.bits {
			return b.bits - a.bits
		}
		return a.index - b.index
	})
	for _, h := range hits {
		if f := e.onMatch(h.m.GetOnMatch(), h.text, depth); f.Verdict != No || h.m.GetExclusive() {
			return f
		}
	}
	return Found{Verdict: No}
}

// serverNames tries the exact name, then wildcards from the longest, then "*".
func (e *evaluator) serverNames(m *xdsmatcher.ServerNameMatcher, v Value, depth int) Found {
	entries := map[string]*xdsmatcher.Matcher_OnMatch{}
	for _, dm := range m.GetDomainMatchers() {
		for _, d := range dm.GetDomains() {
			if _, ok := entries[d]; !ok {
				entries[d] = dm.GetOnMatch()
			}
		}
	}
	host := strings.ToLower(v.Text)
	try := []string{host}
	for rest := host; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			break
		}
		try = append(try, "*"+rest[i:])
		rest = rest[i+1:]
	}
	for _, name := range append(try, "*") {
		o, ok := entries[name]
		if !ok {
			continue
		}
		if f := e.onMatch(o, v.Name+" matches "+name, depth); f.Verdict != No {
			return f
		}
	}
	return Found{Verdict: No}
}

// describePredicate says a predicate in words.
func describePredicate(p *xdsmatcher.Matcher_MatcherList_Predicate, in Inputs, depth int) string {
	if depth > 4 {
		return "..."
	}
	join := func(l *xdsmatcher.Matcher_MatcherList_Predicate_PredicateList, word string) string {
		var parts []string
		for _, q := range l.GetPredicate() {
			parts = append(parts, describePredicate(q, in, depth+1))
		}
		return "(" + strings.Join(parts, word) + ")"
	}
	switch t := p.GetMatchType().(type) {
	case *xdsmatcher.Matcher_MatcherList_Predicate_SinglePredicate_:
		name := in.Input(t.SinglePredicate.GetInput()).Name
		if name == "" {
			name = extensionName(t.SinglePredicate.GetInput())
		}
		if m := t.SinglePredicate.GetValueMatch(); m != nil {
			return name + " " + describeXDS(m)
		}
		return name + " " + extensionName(t.SinglePredicate.GetCustomMatch())
	case *xdsmatcher.Matcher_MatcherList_Predicate_OrMatcher:
		return join(t.OrMatcher, " or ")
	case *xdsmatcher.Matcher_MatcherList_Predicate_AndMatcher:
		return join(t.AndMatcher, " and ")
	case *xdsmatcher.Matcher_MatcherList_Predicate_NotMatcher:
		return "not " + describePredicate(t.NotMatcher, in, depth+1)
	default:
		return "an unknown predicate"
	}
}
