package accesslog

import "strings"

// shape is what the values of an operator look like. Shapes are what makes a
// line with unescaped values readable: the reading in which every value has its
// shape is the right one.
type shape uint8

const (
	shapeFree     shape = iota // anything: a header a client chose
	shapeToken                 // no blank, no quote: a name, an id, a method
	shapeNumber                // digits
	shapeMillis                // digits, though an application may send anything
	shapeFlags                 // response flags, short or long, comma-joined
	shapeProtocol              // HTTP/1.1, HTTP/2
	shapeTime                  // 2025-01-30T12:10:13.279Z
	shapeClock                 // a time in a form of its own
	shapeAddress               // ip:port, [v6]:port, envoy://..., /a/pipe, @abstract
	shapePath                  // a request path
	shapeDetails               // RESPONSE_CODE_DETAILS: a word, then perhaps {...}, [...], (...)
	shapeReason                // words without quotes
)

// tier is how strictly shapes are demanded. The tiers are tried in order over
// the whole line.
type tier uint8

const (
	strict tier = iota // no value holds a quote; everything has its shape
	quoted             // free values and paths may hold quotes, all others are strict
	loose              // masked or edited values: only numbers and flags are strict
	tiers
)

// fits says whether v has the shape, and if not (or if the rest of the line
// contradicts it) whether a longer value may. unset is what stands for a value
// that is not set.
func (s shape) fits(v string, t tier, unset string) (ok, longer bool) {
	if v == unset || v == "-" {
		return true, true
	}
	if v == "" {
		return false, true
	}
	switch s {
	case shapeFree, shapeClock:
		if t == strict {
			ok = !strings.Contains(v, `"`)
			return ok, ok
		}
		return true, true
	case shapeReason:
		if t != loose {
			ok = !strings.Contains(v, `"`)
			return ok, ok
		}
		return true, true
	case shapeNumber:
		return whole(v, digit)
	case shapeMillis:
		if t != loose {
			return whole(v, digit)
		}
		return whole(v, tokenByte)
	case shapeFlags:
		if !letter(v[0]) {
			return false, false
		}
		return whole(v, flagByte)
	case shapeProtocol:
		if ok, longer = whole(v, tokenByte); !ok || t == loose {
			return ok, longer
		}
		return strings.HasPrefix(v, "HTTP/"), strings.HasPrefix("HTTP/", v)
	case shapeTime:
		if t == loose {
			return whole(v, tokenByte)
		}
		return isTime(v), len(v) < len("2025-01-30T12:10:13.279000000+00:00")
	case shapeAddress:
		if ok, longer = whole(v, tokenByte); !ok || t == loose {
			return ok, longer
		}
		return strings.ContainsAny(v, ":/@"), true
	case shapePath:
		switch t {
		case strict:
			return whole(v, tokenByte)
		case quoted:
			ok = !strings.ContainsAny(v, " \t")
			return ok, ok
		default:
			return true, true
		}
	case shapeDetails:
		if t == loose {
			ok = !strings.Contains(v, `"`)
			return ok, ok
		}
		return fitsDetails(v)
	default:
		return whole(v, tokenByte)
	}
}

// whole says whether every byte of v is allowed; a longer value cannot be
// if one is not.
func whole(v string, allowed func(byte) bool) (ok, longer bool) {
	for i := range len(v) {
		if !allowed(v[i]) {
			return false, false
		}
	}
	return true, true
}

func digit(b byte) bool     { return b-'0' < 10 }
func letter(b byte) bool    { return b|0x20-'a' < 26 }
func flagByte(b byte) bool  { return letter(b) || digit(b) || b == ',' || b == '_' }
func tokenByte(b byte) bool { return b > ' ' && b != '"' }

// fitsDetails accepts a word that may be followed by bracketed text; blanks are
// allowed in brackets only (Envoy printed them there before it turned blanks into
// underscores).
func fitsDetails(v string) (ok, longer bool) {
	if !letter(v[0]) {
		return false, false
	}
	depth := 0
	for i := range len(v) {
		switch b := v[i]; b {
		case '{', '[', '(':
			depth++
		case '}', ']', ')':
			depth--
			if depth < 0 {
				return false, false
			}
		case ' ', '\t':
			if depth == 0 {
				return false, false
			}
		case '"':
			return false, false
		}
	}
	return depth == 0, true
}

// isTime recognises Envoy's default START_TIME, with any number of fraction
// digits, with and without a zone.
func isTime(v string) bool {
	const form = "dddd-dd-ddTdd:dd:dd"
	if len(v) < len(form) || len(v) > len("2025-01-30T12:10:13.279000000+00:00") {
		return false
	}
	for i := range len(form) {
		switch {
		case form[i] == 'd':
			if !digit(v[i]) {
				return false
			}
		case form[i] == 'T' && v[i] == ' ':
		case form[i] != v[i]:
			return false
		}
	}
	rest := v[len(form):]
	if rest != "" && rest[0] == '.' {
		rest = rest[1:]
		for rest != "" && digit(rest[0]) {
			rest = rest[1:]
		}
	}
	switch {
	case rest == "", rest == "Z":
		return true
	case rest[0] != '+' && rest[0] != '-':
		return false
	}
	ok, _ := whole(rest[1:], func(b byte) bool { return digit(b) || b == ':' })
	return ok
}
