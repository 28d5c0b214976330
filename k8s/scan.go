package k8s

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds how deep a JSON value may nest.
const maxDepth = 500

// scanError is broken JSON at an offset.
type scanError struct {
	off int
	msg string
}

func (e *scanError) Error() string { return e.msg }

// cursor reads JSON without building values: it finds where values end and
// gives those that are asked for. Strings are not checked for control
// characters; whoever decodes the value does that.
type cursor struct {
	b []byte
	i int
}

func (c *cursor) fail(format string, args ...any) error {
	return &scanError{c.i, fmt.Sprintf(format, args...)}
}

func (c *cursor) space() {
	for c.i < len(c.b) {
		switch c.b[c.i] {
		case ' ', '\t', '\n', '\r':
			c.i++
		default:
			return
		}
	}
}

// peek returns the first byte of the next value, 0 at the end.
func (c *cursor) peek() byte {
	c.space()
	if c.i >= len(c.b) {
		return 0
	}
	return c.b[c.i]
}

func (c *cursor) want(what string) error {
	if c.i >= len(c.b) {
		return c.fail("cut off in the middle: %s expected", what)
	}
	r, _ := utf8.DecodeRune(c.b[c.i:])
	return c.fail("%s expected, not %q", what, r)
}

// str skips a string and returns what is between its quotes, escapes and all.
func (c *cursor) str() ([]byte, error) {
	if c.peek() != '"' {
		return nil, c.want("a string")
	}
	start := c.i + 1
	for i := start; ; {
		n := bytes.IndexByte(c.b[i:], '"')
		if n < 0 {
			c.i = len(c.b)
			return nil, c.fail("cut off in the middle of a string")
		}
		end := i + n
		// The quote is escaped when an odd number of backslashes stands before it.
		k := end
		for k > start && c.b[k-1] == '\\' {
			k--
		}
		i = end + 1
		if (end-k)%2 == 0 {
			c.i = i
			return c.b[start:end], nil
		}
	}
}

// text is a string value, decoded; "" for anything else, which is skipped.
func (c *cursor) text() (string, error) {
	if c.peek() != '"' {
		return "", c.skip(0)
	}
	s, err := c.str()
	if err != nil {
		return "", err
	}
	return unquote(s), nil
}

func unquote(s []byte) string {
	if bytes.IndexByte(s, '\\') < 0 {
		return string(s)
	}
	var out string
	if json.Unmarshal([]byte(`"`+string(s)+`"`), &out) != nil {
		return string(s)
	}
	return out
}

// integer is a number value; 0 for anything else, which is skipped.
func (c *cursor) integer() (int64, error) {
	c.space()
	start := c.i
	if err := c.skip(0); err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(c.b[start:c.i]), 10, 64)
	if err != nil {
		if f, err := strconv.ParseFloat(string(c.b[start:c.i]), 64); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f), nil
		}
		return 0, nil
	}
	return n, nil
}

// skip moves behind the next value.
func (c *cursor) skip(depth int) error {
	if depth > maxDepth {
		return c.fail("nested more than %d deep", maxDepth)
	}
	switch b := c.peek(); b {
	case '{':
		return c.object(depth, func([]byte) error { return c.skip(depth + 1) })
	case '[':
		return c.array(depth, func() error { return c.skip(depth + 1) })
	case '"':
		_, err := c.str()
		return err
	case 't':
		return c.word("true")
	case 'f':
		return c.word("false")
	case 'n':
		return c.word("null")
	default:
		if b == '-' || b >= '0' && b <= '9' {
			c.i++
			for c.i < len(c.b) {
				switch d := c.b[c.i]; {
				case d >= '0' && d <= '9', d == '.', d == 'e', d == 'E', d == '+', d == '-':
					c.i++
					continue
				}
				break
			}
			return nil
		}
		return c.want("a value")
	}
}

func (c *cursor) word(w string) error {
	if !bytes.HasPrefix(c.b[c.i:], []byte(w)) {
		return c.want("a value")
	}
	c.i += len(w)
	return nil
}

// object calls member for every member of the next value, with the cursor
// before the member's value, which it must consume. What is no object is
// skipped.
func (c *cursor) object(depth int, member func(key []byte) error) error {
	if c.peek() != '{' {
		return c.skip(depth + 1)
	}
	c.i++
	if c.peek() == '}' {
		c.i++
		return nil
	}
	for {
		key, err := c.str()
		if err != nil {
			return err
		}
		if c.peek() != ':' {
			return c.want("a colon")
		}
		c.i++
		if err := member(key); err != nil {
			return err
		}
		switch c.peek() {
		case ',':
			c.i++
		case '}':
			c.i++
			return nil
		default:
			return c.want("a comma or the end of the object")
		}
	}
}

// array calls elem for every element of the next value, with the cursor before
// it. What is no array is skipped.
func (c *cursor) array(depth int, elem func() error) error {
	if c.peek() != '[' {
		return c.skip(depth + 1)
	}
	c.i++
	if c.peek() == ']' {
		c.i++
		return nil
	}
	for {
		if err := elem(); err != nil {
			return err
		}
		switch c.peek() {
		case ',':
			c.i++
		case ']':
			c.i++
			return nil
		default:
			return c.want("a comma or the end of the array")
		}
	}
}

// value skips the next value and returns its bytes.
func (c *cursor) value(depth int) ([]byte, error) {
	c.space()
	start := c.i
	if err := c.skip(depth); err != nil {
		return nil, err
	}
	return c.b[start:c.i], nil
}

// RawItem is one object of a list, as it stands there.
type RawItem struct {
	APIVersion string
	Kind       string
	Namespace  string
	Name       string
	UID        string
	Raw        []byte // JSON
	Offset     int    // of Raw in the data; -1 where the data is YAML
	Line       int    // where the item begins, from 1; 0 in JSON
}

// Items splits a list as kubectl prints it into its objects: a List or a typed
// list, a single object, or a bare array; JSON or YAML (several documents too).
// Items of a typed list get its kind. The error is a [*DecodeError] without a
// resource.
func Items(data []byte) ([]RawItem, error) {
	var out []RawItem
	err := scan(data, func(it *item) error {
		out = append(out, RawItem{it.apiVersion, it.kind, it.ns, it.name, it.uid, it.raw, it.off, it.line})
		return nil
	})
	return out, err
}

// scan calls f for every object of the list. The item is the callee's to keep.
func scan(data []byte, f func(*item) error) error {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return &DecodeError{Line: 1, Column: 1, Msg: "empty, not a list of objects"}
	case string(bytes.TrimSpace(trimmed)) == "null":
		return &DecodeError{Line: 1, Column: 1, Msg: "null, not a list of objects"}
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return &DecodeError{Line: 1, Column: 1, Msg: "UTF-16 text; save it as UTF-8 (in PowerShell: | Out-File -Encoding utf8)"}
	case trimmed[0] == '{' || trimmed[0] == '[':
		return located(data, scanJSON(data, f))
	}
	return scanYAML(data, f)
}

func located(data []byte, err error) error {
	if se, ok := err.(*scanError); ok {
		line, col := position(data, se.off)
		return &DecodeError{Line: line, Column: col, Offset: int64(se.off), Msg: "broken JSON: " + se.msg}
	}
	return err
}

func position(data []byte, off int) (line, col int) {
	off = max(0, min(off, len(data)))
	head := data[:off]
	return 1 + bytes.Count(head, []byte("\n")), off - bytes.LastIndexByte(head, '\n')
}

func scanJSON(data []byte, f func(*item) error) error {
	c := &cursor{b: data}
	var items []*item
	one := func() error {
		if c.peek() != '{' {
			return c.want("an object")
		}
		it, err := readItem(c)
		if err != nil {
			return err
		}
		items = append(items, it)
		return nil
	}
	var listKind, listVersion string
	isList := false
	if c.peek() == '[' {
		isList = true
		if err := c.array(0, one); err != nil {
			return err
		}
	} else {
		err := c.object(0, func(key []byte) (err error) {
			switch string(key) {
			case "items":
				isList = true
				items = nil
				if c.peek() == 'n' {
					return c.skip(1)
				}
				if c.peek() != '[' {
					return c.want("an array of items")
				}
				return c.array(1, one)
			case "kind":
				listKind, err = c.text()
			case "apiVersion":
				listVersion, err = c.text()
			default:
				err = c.skip(1)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if c.peek() != 0 {
		return c.want("the end")
	}
	if !isList {
		if listKind == "" {
			c.i = 0
			return c.fail("neither a list nor an object: it has no items and no kind")
		}
		if listKind == "Status" {
			c.i = 0
			return c.fail("an error answer of the API server (kind Status), not a list")
		}
		if len(listKind) > 4 && listKind[len(listKind)-4:] == "List" || listKind == "List" {
			return nil // without items: nothing there
		}
		c.i = 0
		it, err := readItem(c)
		if err != nil {
			return err
		}
		return f(it)
	}
	for _, it := range items {
		if it.kind == "" && len(listKind) > 4 && listKind[len(listKind)-4:] == "List" {
			it.kind, it.apiVersion = listKind[:len(listKind)-4], listVersion
		}
		if err := f(it); err != nil {
			return err
		}
	}
	return nil
}
