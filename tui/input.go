package tui

import (
	"strings"
	"unicode/utf8"

	"github.com/hoptrail/hoptrail/internal/sanitize"
)

// maxInput bounds what can be typed or pasted into one line.
const maxInput = 8192

// input is a line being edited.
type input struct {
	text string
	pos  int // byte offset, between characters
}

func newInput(s string) *input { return &input{text: s, pos: len(s)} }

// insert puts typed or pasted text at the cursor, as one safe line.
func (in *input) insert(s string) {
	s = sanitize.Line(strings.TrimRight(strings.ReplaceAll(s, "\r\n", "\n"), "\n"))
	if len(in.text)+len(s) > maxInput {
		return
	}
	in.text = in.text[:in.pos] + s + in.text[in.pos:]
	in.pos += len(s)
}

func (in *input) left() {
	if in.pos > 0 {
		_, n := utf8.DecodeLastRuneInString(in.text[:in.pos])
		in.pos -= n
	}
}

func (in *input) right() {
	if in.pos < len(in.text) {
		_, n := utf8.DecodeRuneInString(in.text[in.pos:])
		in.pos += n
	}
}

func (in *input) backspace() {
	end := in.pos
	in.left()
	in.text = in.text[:in.pos] + in.text[end:]
}

func (in *input) del() {
	at := in.pos
	in.right()
	in.text = in.text[:at] + in.text[in.pos:]
	in.pos = at
}

// key edits the line and says whether the key meant anything. text is what a
// printable key types.
func (in *input) key(name, text string) bool {
	switch name {
	case "left", "ctrl+b":
		in.left()
	case "right", "ctrl+f":
		in.right()
	case "home", "ctrl+a":
		in.pos = 0
	case "end", "ctrl+e":
		in.pos = len(in.text)
	case "backspace", "ctrl+h":
		in.backspace()
	case "delete", "ctrl+d":
		in.del()
	case "ctrl+u":
		in.text, in.pos = in.text[in.pos:], 0
	case "ctrl+k":
		in.text = in.text[:in.pos]
	case "ctrl+w", "alt+backspace":
		head := strings.TrimRight(in.text[:in.pos], " /.")
		i := strings.LastIndexAny(head, " /.") + 1
		in.text, in.pos = in.text[:i]+in.text[in.pos:], i
	default:
		if text == "" {
			return false
		}
		in.insert(text)
	}
	return true
}

// draw shows the line in w cells, scrolled so that the cursor is seen, and
// returns the column of the cursor.
func (in *input) draw(c *canvas, x, y, w int, st style, active bool) int {
	if w < 2 {
		return x
	}
	before := width(in.text[:in.pos])
	skip := max(0, before-(w-2))
	_, rest := cut(in.text, skip)
	for i := range w {
		c.put(x+i, y, 1, " ", st)
	}
	c.text(x, y, w, rest, st)
	if active {
		c.fill(x+before-skip, y, 1, reverse)
	}
	return x + before - skip
}
