// Package jsonscan finds its way in JSON text without decoding it.
//
// It knows where a value ends and which fields an object has, and skips what
// nobody asked for: only strings and brackets of a skipped value are looked at.
// It must not know what the JSON is about. Text is untrusted: nesting is not
// recursed into, and every index is checked.
package jsonscan

import (
	"fmt"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// Error says at which byte the text stops being JSON.
type Error struct {
	Offset int
	Msg    string
}

func (e *Error) Error() string { return fmt.Sprintf("%s at offset %d", e.Msg, e.Offset) }

func fail(at int, msg string) error { return &Error{at, msg} }

const eof = "unexpected end of JSON input"

// Space returns the index of the first byte from i on that is not white space.
func Space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// Value returns the index behind the value that starts at b[i], which must not
// be white space.
func Value(b []byte, i int) (int, error) {
	if i >= len(b) {
		return i, fail(len(b), eof)
	}
	switch b[i] {
	case '{', '[':
		return container(b, i)
	case '"':
		return String(b, i)
	}
	j := i
	for j < len(b) && scalar(b[j]) {
		j++
	}
	if j == i {
		return i, fail(i, fmt.Sprintf("unexpected %q where a value is expected", b[i]))
	}
	return j, checkScalar(b[i:j], i)
}

func scalar(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '+' || c == '.'
}

func checkScalar(s []byte, at int) error {
	switch string(s) {
	case "true", "false", "null":
		return nil
	}
	i := 0
	if s[i] == '-' {
		i++
	}
	digits := func() bool {
		from := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > from
	}
	lead := i
	ok := digits() && (s[lead] != '0' || i == lead+1)
	if ok && i < len(s) && s[i] == '.' {
		i++
		ok = digits()
	}
	if ok && i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		ok = digits()
	}
	if !ok || i != len(s) {
		return fail(at, fmt.Sprintf("%.20q is not a JSON value", s))
	}
	return nil
}

// String returns the index behind the string that starts at b[i], a quote.
func String(b []byte, i int) (int, error) {
	if i >= len(b) {
		return i, fail(len(b), eof)
	}
	if b[i] != '"' {
		return i, fail(i, fmt.Sprintf("unexpected %q where a string is expected", b[i]))
	}
	for j := i + 1; j < len(b); j++ {
		switch c := b[j]; {
		case c == '"':
			return j + 1, nil
		case c == '\\':
			j++
		case c < 0x20:
			return j, fail(j, fmt.Sprintf("control character %q in a string", c))
		}
	}
	return len(b), fail(len(b), eof)
}

// skipper walks the 64-byte blocks of text. depth counts open brackets; the
// other fields carry the state of the string machine between blocks.
type skipper struct {
	depth    int64
	inString uint64 // all ones inside a string
	escaped  uint64 // 1 if the first byte of the block is escaped
	open     uint64 // of the block it stopped at
	close    uint64
}

// container returns the index behind the object or array at b[i].
func container(b []byte, i int) (int, error) {
	s := skipper{depth: 1}
	at := i + 1
	for at+64 <= len(b) {
		n := s.blocks(b[at:])
		at += n * 64
		if at+64 > len(b) {
			break
		}
		// The block may hold the end: look at its brackets one by one.
		if end := s.find(); end >= 0 {
			return at + end + 1, nil
		}
		at += 64
	}
	var tail [64]byte
	n := copy(tail[:], b[at:])
	for k := n; k < 64; k++ {
		tail[k] = ' '
	}
	s.step(tail[:])
	if end := s.find(); end >= 0 {
		return at + end + 1, nil
	}
	return len(b), fail(len(b), eof)
}

// find applies the brackets of the block in order and returns the place where
// depth becomes zero, or -1.
func (s *skipper) find() int {
	open, shut := s.open, s.close
	for shut != 0 {
		c := bits.TrailingZeros64(shut)
		before := open & (uint64(1)<<c - 1)
		s.depth += int64(bits.OnesCount64(before))
		open &^= before
		s.depth--
		if s.depth == 0 {
			return c
		}
		shut &= shut - 1
	}
	s.depth += int64(bits.OnesCount64(open))
	return -1
}

// class tells the bytes that matter: 1 quote, 2 backslash, 4 opening, 8 closing.
var class = func() (t [256]byte) {
	t['"'], t['\\'], t['{'], t['['], t['}'], t[']'] = 1, 2, 4, 4, 8, 8
	return
}()

// step sets open and close from one block and advances the string machine.
func (s *skipper) step(b []byte) {
	var open, shut uint64
	_ = b[63]
	in := s.inString != 0
	esc := s.escaped != 0
	for k := range 64 {
		c := class[b[k]]
		switch {
		case c == 0:
			esc = false
		case c >= 4: // a backslash outside a string is no JSON and escapes nothing
			esc = false
			if !in && c == 4 {
				open |= 1 << k
			} else if !in {
				shut |= 1 << k
			}
		case esc:
			esc = false
		case c == 1:
			in = !in
		default:
			esc = true
		}
	}
	s.open, s.close = open, shut
	s.inString, s.escaped = 0, 0
	if in {
		s.inString = ^uint64(0)
	}
	if esc {
		s.escaped = 1
	}
}

// blocksGo skips the blocks in which depth cannot become zero and returns how
// many. If it stops at a block, open and close are of that block and the string
// machine is behind it; depth is as before it.
func (s *skipper) blocksGo(b []byte) int {
	n := 0
	for ; len(b) >= 64; b = b[64:] {
		s.step(b)
		if int64(bits.OnesCount64(s.close)) >= s.depth {
			break
		}
		s.depth += int64(bits.OnesCount64(s.open)) - int64(bits.OnesCount64(s.close))
		n++
	}
	return n
}

// Object calls field for every field of the object at b[i] with the key and the
// index of its value. field returns the index behind the value if it went
// there, or 0 to have it skipped; an error ends the walk. Object returns the
// index behind the object.
func Object(b []byte, i int, field func(key []byte, at int) (int, error)) (int, error) {
	if i >= len(b) {
		return i, fail(len(b), eof)
	}
	if b[i] != '{' {
		return i, fail(i, fmt.Sprintf("unexpected %q where an object is expected", b[i]))
	}
	i = Space(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for {
		end, err := String(b, i)
		if err != nil {
			return end, err
		}
		key := b[i+1 : end-1]
		for _, c := range key {
			if c == '\\' {
				s, err := Unquote(b[i:end], i)
				if err != nil {
					return i, err
				}
				key = []byte(s)
				break
			}
		}
		i = Space(b, end)
		if i >= len(b) {
			return i, fail(len(b), eof)
		}
		if b[i] != ':' {
			return i, fail(i, fmt.Sprintf("unexpected %q where a colon is expected", b[i]))
		}
		i = Space(b, i+1)
		if end, err = field(key, i); err != nil {
			return end, err
		}
		if end == 0 {
			if end, err = Value(b, i); err != nil {
				return end, err
			}
		}
		i = Space(b, end)
		if i >= len(b) {
			return i, fail(len(b), eof)
		}
		switch b[i] {
		case '}':
			return i + 1, nil
		case ',':
			i = Space(b, i+1)
		default:
			return i, fail(i, fmt.Sprintf("unexpected %q where a comma or a closing brace is expected", b[i]))
		}
	}
}

// Array calls element for every element of the array at b[i]; see [Object].
func Array(b []byte, i int, element func(n, at int) (int, error)) (int, error) {
	if i >= len(b) {
		return i, fail(len(b), eof)
	}
	if b[i] != '[' {
		return i, fail(i, fmt.Sprintf("unexpected %q where an array is expected", b[i]))
	}
	i = Space(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1, nil
	}
	for n := 0; ; n++ {
		end, err := element(n, i)
		if err != nil {
			return end, err
		}
		if end == 0 {
			if end, err = Value(b, i); err != nil {
				return end, err
			}
		}
		i = Space(b, end)
		if i >= len(b) {
			return i, fail(len(b), eof)
		}
		switch b[i] {
		case ']':
			return i + 1, nil
		case ',':
			i = Space(b, i+1)
		default:
			return i, fail(i, fmt.Sprintf("unexpected %q where a comma or a closing bracket is expected", b[i]))
		}
	}
}

// Unquote returns what the JSON string s stands for. at is its offset, for
// errors. Invalid UTF-8 and lone surrogates become U+FFFD.
func Unquote(s []byte, at int) (string, error) {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return "", fail(at, "not a string")
	}
	s = s[1 : len(s)-1]
	plain := true
	for _, c := range s {
		if c == '\\' || c >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if plain {
		return string(s), nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		c := s[i]
		if c != '\\' {
			if c < utf8.RuneSelf {
				out = append(out, c)
				i++
				continue
			}
			r, n := utf8.DecodeRune(s[i:])
			out = utf8.AppendRune(out, r)
			i += n
			continue
		}
		if i+1 >= len(s) {
			return "", fail(at+i, "unfinished escape in a string")
		}
		i += 2
		switch s[i-1] {
		case '"', '\\', '/':
			out = append(out, s[i-1])
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(s, i)
			if !ok {
				return "", fail(at+i, "bad \\u escape in a string")
			}
			i += 4
			if utf16.IsSurrogate(r) {
				if i+1 < len(s) && s[i] == '\\' && s[i+1] == 'u' {
					if low, ok := hex4(s, i+2); ok {
						if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
							out = utf8.AppendRune(out, full)
							i += 6
							continue
						}
					}
				}
				r = utf8.RuneError
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", fail(at+i-1, fmt.Sprintf("bad escape %q in a string", s[i-1]))
		}
	}
	return string(out), nil
}

func hex4(s []byte, i int) (rune, bool) {
	if i+4 > len(s) {
		return 0, false
	}
	var r rune
	for _, c := range s[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
