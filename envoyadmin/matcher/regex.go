package matcher

import (
	"fmt"
	"regexp"
	"sync"
)

const (
	maxRegex   = 4096 // compiled expressions kept
	maxPattern = 64 << 10
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
