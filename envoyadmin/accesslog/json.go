package accesslog

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// jsonKind is the kind of a JSON value.
type jsonKind uint8

const (
	jsonString jsonKind = iota
	jsonNumber
	jsonBool
	jsonNull
	jsonObject // an object or list taken as one value
)

// jsonError says where text is not JSON.
type jsonError struct {
	offset int
	msg    string
}

func (e *jsonError) Error() string { return fmt.Sprintf("broken JSON at byte %d: %s", e.offset, e.msg) }

// jsonScanner walks one JSON value without building it: a log line is read
// once, and nearly all of its strings need no unescaping.
type jsonScanner struct {
	s    string
	i    int
	path []byte
	buf  [64]byte // what path begins in
	emit func(path []byte, kind jsonKind, value string) bool
	// taken says whether an object or list at path is one value; nil for never.
	taken func(path []byte) bool
	stop  bool
}

// scanJSON calls emit for every string, number, boolean and null in the object
// s, with its path (keys and indexes joined by "."); emit returns false to end
// the scan. The path is valid during the call. An object or list that taken
// (which may be nil) accepts is one value, as it stands. Nesting deeper than 32
// levels is an error.
func scanJSON(s string, taken func(path []byte) bool, emit func(path []byte, kind jsonKind, value string) bool) error {
	sc := jsonScanner{s: s, emit: emit, taken: taken}
	sc.path = sc.buf[:0]
	sc.blanks()
	if !sc.at('{') {
		return &jsonError{sc.i, "no object"}
	}
	if err := sc.value(0); err != nil {
		return err
	}
	if sc.stop {
		return nil
	}
	sc.blanks()
	if sc.i != len(s) {
		return &jsonError{sc.i, "more text after the object"}
	}
	return nil
}

func (sc *jsonScanner) blanks() {
	for sc.i < len(sc.s) {
		switch sc.s[sc.i] {
		case ' ', '\t', '\n', '\r':
			sc.i++
		default:
			return
		}
	}
}

func (sc *jsonScanner) at(b byte) bool { return sc.i < len(sc.s) && sc.s[sc.i] == b }

func (sc *jsonScanner) fail(msg string) error { return &jsonError{sc.i, msg} }

func (sc *jsonScanner) value(depth int) error {
	if depth > maxDepth {
		return sc.fail("nested more than 32 levels deep")
	}
	if sc.i >= len(sc.s) {
		return sc.fail("it ends early")
	}
	c := sc.s[sc.i]
	if (c == '{' || c == '[') && depth > 0 && sc.taken != nil && sc.taken(sc.path) {
		start, emit, taken := sc.i, sc.emit, sc.taken
		sc.emit = func([]byte, jsonKind, string) bool { return true }
		sc.taken = nil
		err := sc.value(depth)
		sc.emit, sc.taken = emit, taken
		if err != nil {
			return err
		}
		sc.leaf(jsonObject, sc.s[start:sc.i])
		return nil
	}
	switch {
	case c == '{':
		return sc.list(depth, '}', true)
	case c == '[':
		return sc.list(depth, ']', false)
	case c == '"':
		v, err := sc.str()
		if err != nil {
			return err
		}
		sc.leaf(jsonString, v)
		return nil
	case strings.HasPrefix(sc.s[sc.i:], "null"):
		return sc.word("null", jsonNull)
	case strings.HasPrefix(sc.s[sc.i:], "true"):
		return sc.word("true", jsonBool)
	case strings.HasPrefix(sc.s[sc.i:], "false"):
		return sc.word("false", jsonBool)
	case c == '-' || digit(c):
		j := sc.i
		for j < len(sc.s) && (digit(sc.s[j]) || strings.IndexByte("+-.eE", sc.s[j]) >= 0) {
			j++
		}
		v := sc.s[sc.i:j]
		sc.i = j
		sc.leaf(jsonNumber, v)
		return nil
	default:
		return sc.fail(fmt.Sprintf("%q begins no value", c))
	}
}

func (sc *jsonScanner) word(w string, kind jsonKind) error {
	sc.i += len(w)
	sc.leaf(kind, w)
	return nil
}

func (sc *jsonScanner) leaf(kind jsonKind, v string) {
	if !sc.stop && !sc.emit(sc.path, kind, v) {
		sc.stop = true
	}
}

func (sc *jsonScanner) list(depth int, closing byte, keyed bool) error {
	sc.i++
	mark := len(sc.path)
	defer func() { sc.path = sc.path[:mark] }()
	for n := 0; ; n++ {
		sc.blanks()
		if n == 0 && sc.at(closing) {
			sc.i++
			return nil
		}
		sc.path = sc.path[:mark]
		if mark > 0 {
			sc.path = append(sc.path, '.')
		}
		if keyed {
			if !sc.at('"') {
				return sc.fail("a key is missing")
			}
			key, err := sc.str()
			if err != nil {
				return err
			}
			sc.path = append(sc.path, key...)
			sc.blanks()
			if !sc.at(':') {
				return sc.fail("a colon is missing")
			}
			sc.i++
			sc.blanks()
		} else {
			sc.path = strconv.AppendInt(sc.path, int64(n), 10)
		}
		if err := sc.value(depth + 1); err != nil || sc.stop {
			return err
		}
		sc.blanks()
		switch {
		case sc.at(','):
			sc.i++
		case sc.at(closing):
			sc.i++
			return nil
		default:
			return sc.fail("a comma or a closing bracket is missing")
		}
	}
}

// str reads the string at i. Control characters are let through: Envoy escapes
// them, hand-made formats do not.
func (sc *jsonScanner) str() (string, error) {
	start := sc.i + 1
	escaped := false
	for j := start; j < len(sc.s); j++ {
		switch sc.s[j] {
		case '\\':
			escaped = true
			j++
		case '"':
			raw := sc.s[start:j]
			if !escaped {
				sc.i = j + 1
				return raw, nil
			}
			var v string
			if err := json.Unmarshal([]byte(sc.s[start-1:j+1]), &v); err != nil {
				return "", sc.fail("a string with a bad escape")
			}
			sc.i = j + 1
			return v, nil
		}
	}
	return "", sc.fail("a string is not closed")
}

// matchJSON reads an object in a JSON format. The values are in the order of
// the operators; why is set when it is no line of the format.
func (f *Format) matchJSON(m *matcher, s string) (values []string, why string) {
	values = make([]string, len(f.ops))
	for i := range values {
		values[i] = "-"
	}
	found, foreign := 0, 0
	taken := func(path []byte) bool {
		l, ok := f.leaves[string(path)]
		return ok && l.op >= 0
	}
	err := scanJSON(s, taken, func(path []byte, kind jsonKind, v string) bool {
		l, ok := f.leaves[string(path)]
		if !ok {
			foreign++
			return true
		}
		found++
		if kind == jsonNull {
			return true
		}
		if l.op >= 0 {
			values[l.op] = v
			return true
		}
		for t := range tiers {
			if m.match(l.sub, v, t, false) {
				for i := range l.sub.ops {
					values[l.from+i] = v[m.begin[i]:m.end[i]]
				}
				return true
			}
		}
		return true
	})
	switch {
	case err != nil:
		return nil, err.Error()
	case found == 0, found*2 < len(f.leaves) && foreign > found:
		return nil, fmt.Sprintf("JSON with %d of the %d keys of the log format", found, len(f.leaves))
	}
	return values, ""
}
