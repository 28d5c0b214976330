package explain

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// Kind says what kind of word an item explains.
type Kind string

// The kinds of words.
const (
	Flag      Kind = "response flag"
	Detail    Kind = "response code detail"
	Reset     Kind = "reset reason"
	Transport Kind = "transport failure"
	Term      Kind = "term"
	Operator  Kind = "log operator"
)

// Item is one entry of the dictionary.
type Item struct {
	// Word is the word as it is printed, or the form of such words.
	Word string `json:"word"`
	Kind Kind   `json:"kind"`
	// Name is the long name of a flag.
	Name string `json:"name,omitempty"`
	// Meaning says what is known for certain when the word is seen.
	Meaning string `json:"meaning"`
	// Causes are the usual ones, the likeliest first.
	Causes []string `json:"causes,omitempty"`
	// Look says what to look at next, with commands.
	Look []string `json:"look,omitempty"`
	// Codes are finding codes (docs/findings) that name the fault behind it.
	Codes []string `json:"codes,omitempty"`
	// Parts explain what the word carries in braces or between bars.
	Parts []Item `json:"parts,omitempty"`
}

// maxWord bounds a word that is looked up; what is longer is not one.
const maxWord = 8 << 10

type index struct {
	byWord map[string]*Item // lower case
	words  []string         // as printed, sorted
}

var dictionary = sync.OnceValue(func() index {
	ix := index{byWord: map[string]*Item{}}
	for _, list := range [][]Item{flags, details, resets, transports, terms, operators} {
		for i := range list {
			it := &list[i]
			ix.byWord[strings.ToLower(it.Word)] = it
			ix.words = append(ix.words, it.Word)
			if it.Name != "" {
				ix.byWord[strings.ToLower(it.Name)] = it
			}
		}
	}
	for alias, word := range aliases {
		if it := ix.byWord[strings.ToLower(word)]; it != nil {
			ix.byWord[strings.ToLower(alias)] = it
			ix.words = append(ix.words, alias)
		}
	}
	slices.Sort(ix.words)
	ix.words = slices.Compact(ix.words)
	return ix
})

// Words returns every word of the dictionary, sorted.
func Words() []string { return slices.Clone(dictionary().words) }

// All returns every item, in the order flags, details, reset reasons, transport
// failures, terms, operators. Items must not be changed.
func All() []Item {
	return slices.Concat(flags, details, resets, transports, terms, operators)
}

// Lookup explains a word: a response flag, short or long; a response code
// detail with or without its braces; a reset reason; a transport failure
// reason; a term; or a name made after a known form, as a cluster, a chain of
// kube-proxy or a SPIFFE identity. Case does not matter.
func Lookup(word string) (Item, bool) {
	word = strings.TrimSpace(word)
	if word == "" || len(word) > maxWord {
		return Item{}, false
	}
	ix := dictionary()
	if it, ok := ix.byWord[strings.ToLower(word)]; ok {
		return *it, true
	}
	if it, ok := lookupForm(word); ok {
		return it, true
	}
	if it, ok := lookupDetail(word); ok {
		return it, true
	}
	return LookupTransport(word)
}

// LookupFlag explains a response flag in its short form, and nothing else.
func LookupFlag(short string) (Item, bool) {
	for _, it := range flags {
		if it.Word == short {
			return it, true
		}
	}
	return Item{}, false
}

// LookupDetail explains response code details as a log prints them.
func LookupDetail(detail string) (Item, bool) {
	if it, ok := dictionary().byWord[strings.ToLower(detail)]; ok && it.Kind == Detail {
		return *it, true
	}
	return lookupDetail(detail)
}

// lookupDetail explains a detail that carries something in braces.
func lookupDetail(word string) (Item, bool) {
	base, inner := word, ""
	if i := strings.IndexAny(word, "{[("); i > 0 {
		base, inner = word[:i], word[i+1:]
		if last := len(inner) - 1; last >= 0 && strings.IndexByte("}])", inner[last]) >= 0 {
			inner = inner[:last]
		}
	}
	it, ok := dictionary().byWord[strings.ToLower(base)]
	if !ok {
		// ext_proc_error_<detail>, http1.<something new>
		for _, prefix := range [...]string{"ext_proc_error", "http1.", "http2.", "http3."} {
			if rest, cut := strings.CutPrefix(strings.ToLower(base), prefix); cut && rest != "" && !strings.ContainsAny(rest, " |") {
				it, ok = dictionary().byWord[prefix]
				break
			}
		}
	}
	if !ok || it.Kind != Detail {
		return Item{}, false
	}
	out := *it
	out.Word = word
	if inner == "" {
		return out, true
	}
	switch {
	case strings.HasPrefix(base, "upstream_reset"):
		reason, transport, _ := strings.Cut(inner, "|")
		if transport == "" { // older Envoys: {connection failure,TLS error: ...}
			reason, transport, _ = strings.Cut(inner, ",")
		}
		if part, ok := lookupReset(reason); ok {
			out.Parts = append(out.Parts, part)
		}
		if part, ok := LookupTransport(transport); ok {
			out.Parts = append(out.Parts, part)
		}
	case strings.HasPrefix(base, "rbac_access_denied"):
		out.Parts = append(out.Parts, rbacPolicy(inner))
	default:
		if part, ok := lookupReset(inner); ok {
			out.Parts = append(out.Parts, part)
		} else if part, ok := dictionary().byWord[strings.ToLower(inner)]; ok {
			out.Parts = append(out.Parts, *part)
		}
	}
	return out, true
}

// rbacPolicy explains the policy name RBAC logs.
func rbacPolicy(name string) Item {
	it := Item{Word: name, Kind: Term}
	if name == "none" {
		it.Meaning = "No ALLOW policy matched. Where at least one ALLOW policy selects a workload, everything that none of them allows is denied."
		it.Look = []string{"list the ALLOW policies that select the workload: kubectl get authorizationpolicy -A, those of the namespace and of the root namespace included", "compare the source principal, namespace and IP of the request with the rules' from"}
		return it
	}
	it.Meaning = "The policy whose DENY rule matched, or whose ALLOW rules decided."
	// istio: ns[NAMESPACE]-policy[NAME]-rule[N]
	ns, rest, ok := strings.Cut(strings.TrimPrefix(name, "ns["), "]-policy[")
	if ok && strings.HasPrefix(name, "ns[") {
		policy, rule, _ := strings.Cut(rest, "]-rule[")
		rule = strings.TrimRight(rule, "]")
		policy = strings.TrimRight(policy, "]")
		it.Meaning = "Rule " + rule + " (counted from 0) of AuthorizationPolicy " + policy + " in namespace " + ns + "."
		it.Look = []string{"kubectl get authorizationpolicy " + policy + " -n " + ns + " -o yaml"}
	}
	return it
}

// lookupReset explains a reset reason, with blanks or underscores.
func lookupReset(s string) (Item, bool) {
	s = strings.ToLower(strings.ReplaceAll(strings.TrimSpace(s), "_", " "))
	for _, it := range resets {
		if strings.ToLower(it.Word) == s {
			return it, true
		}
	}
	if s == "connection failure" { // before Envoy told local from remote
		return lookupReset("remote connection failure")
	}
	return Item{}, false
}

// LookupTransport explains a transport failure reason by what is in it.
func LookupTransport(s string) (Item, bool) {
	if len(s) > maxWord {
		return Item{}, false
	}
	norm := strings.ToLower(strings.ReplaceAll(s, " ", "_"))
	for _, it := range transports {
		for sign := range strings.SplitSeq(signs[it.Word], "\n") {
			if sign != "" && strings.Contains(norm, sign) {
				return it, true
			}
		}
	}
	return Item{}, false
}

// Nearest returns at most limit words of the dictionary and of extra that are
// most like word, best first; none that has little in common with it.
func Nearest(word string, limit int, extra ...string) []string {
	word = strings.ToLower(strings.TrimSpace(word))
	if word == "" || len(word) > 128 {
		return nil
	}
	type near struct {
		word     string
		distance int
	}
	var found []near
	for _, w := range slices.Concat(dictionary().words, extra) {
		l := strings.ToLower(w)
		d := distance(word, l)
		if strings.Contains(l, word) && len(word) > 2 || strings.HasPrefix(l, word) {
			d = min(d, 1+(len(l)-len(word))/8)
		}
		if d <= max(1, min(len(word), len(l))/3) {
			found = append(found, near{w, d})
		}
	}
	slices.SortStableFunc(found, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.word, b.word))
	})
	var words []string
	for _, n := range found {
		if !slices.Contains(words, n.word) && len(words) < limit {
			words = append(words, n.word)
		}
	}
	return words
}

// distance counts the insertions, deletions, substitutions and swaps of
// neighbours between a and b.
func distance(a, b string) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
