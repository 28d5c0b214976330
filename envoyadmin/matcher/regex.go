package matcher

import (
	"fmt"
	"regexp"
	"sync"
)

const (
	maxRegex   = 4096 // compiled expressions kept
	maxPattern = 64 << 10

	maxReplaced = 1 << 20
)

// Regexps keeps compiled regular expressions, at most a few thousand. It is safe for concurrent use; the zero value is
// ready. Envoy's engine is RE2 and its matches are of the whole subject; Go's syntax differs only in \C, which is an
// error here.
type Regexps struct {
	mu sync.Mutex
	m  map[string]entry
}

type entry struct {
	full, part *regexp.Regexp
	err        error
}

// get compiles pattern: full matches whole subjects, part finds it anywhere. A nil receiver does not keep it.
func (x *Regexps) get(pattern string) entry {
	if x == nil {
		return compile(pattern)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, ok := x.m[pattern]; ok {
		return e
	}
	e := compile(pattern)
	if x.m == nil || len(x.m) >= maxRegex {
		x.m = map[string]entry{}
	}
	x.m[pattern] = e
	return e
}

func compile(pattern string) entry {
	if len(pattern) > maxPattern {
		return entry{err: fmt.Errorf("regex: longer than %d bytes", maxPattern)}
	}
	part, err := regexp.Compile(pattern)
	if err != nil {
		return entry{err: err}
	}
	full, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	if err != nil { // a \Q that is not closed quotes what follows it
		full, err = regexp.Compile(`\A(?:` + pattern + `\E)\z`)
	}
	if err != nil {
		return entry{err: err}
	}
	return entry{full: full, part: part}
}

// FullMatch says whether the whole of s matches; Undecided with a reason where the pattern does not compile.
func (x *Regexps) FullMatch(pattern, s string) (Verdict, string) {
	e := x.get(pattern)
	if e.err != nil {
		return Undecided, fmt.Sprintf("regex %q: %v", pattern, e.err)
	}
	return Of(e.full.MatchString(s)), ""
}

// ReplaceAll replaces every match of pattern in s as RE2 does: in the substitution \0 is the whole match, \1 to \9
// are groups and \\ is a backslash.
func (x *Regexps) ReplaceAll(pattern, s, substitution string) (string, error) {
	e := x.get(pattern)
	if e.err != nil {
		return s, fmt.Errorf("regex %q: %w", pattern, e.err)
	}
	ms := e.part.FindAllStringSubmatchIndex(s, -1)
	if ms == nil {
		return s, nil
	}
	var out []byte
	at := 0
	for _, m := range ms {
		out = append(out, s[at:m[0]]...)
		at = m[1]
		for i := 0; i < len(substitution); i++ {
			c := substitution[i]
			if c != '\\' || i+1 == len(substitution) {
				out = append(out, c)
				continue
			}
			i++
			switch c = substitution[i]; {
			case '0' <= c && c <= '9':
				if g := 2 * int(c-'0'); g+1 < len(m) && m[g] >= 0 {
					out = append(out, s[m[g]:m[g+1]]...)
				}
			case c == '\\':
				out = append(out, c)
			default:
				return s, fmt.Errorf("substitution %q: bad escape \\%c", substitution, c)
			}
			if len(out) > maxReplaced {
				return s, fmt.Errorf("substitution %q: the result is longer than %d bytes", substitution, maxReplaced)
			}
		}
	}
	return string(append(out, s[at:]...)), nil
}
