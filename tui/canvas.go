package tui

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// style is how a cell looks: a foreground of the sixteen ANSI colours and
// attributes. The zero value is the terminal's own.
type style uint16

const (
	colourMask style = 0x1f // 0 is the default colour, 1-8 are SGR 30-37, 9-16 SGR 90-97

	red     style = 2
	green   style = 3
	yellow  style = 4
	blue    style = 5
	magenta style = 6
	cyan    style = 7

	bold      style = 1 << 5
	faint     style = 1 << 6
	underline style = 1 << 7
	reverse   style = 1 << 8
)

func (s style) sgr(b *strings.Builder) {
	b.WriteString("\x1b[0")
	if s&bold != 0 {
		b.WriteString(";1")
	}
	if s&faint != 0 {
		b.WriteString(";2")
	}
	if s&underline != 0 {
		b.WriteString(";4")
	}
	if s&reverse != 0 {
		b.WriteString(";7")
	}
	if c := s & colourMask; c > 0 {
		n := 29 + int(c)
		if c > 8 {
			n = 81 + int(c)
		}
		b.WriteByte(';')
		b.WriteByte(byte('0' + n/10))
		b.WriteByte(byte('0' + n%10))
	}
	b.WriteByte('m')
}

// cell is one cell of the screen. A wide character is a cell of width 2 followed
// by one of width 0.
type cell struct {
	s  string
	st style
	w  int8
}

// canvas is a screen of cells. Whatever is drawn is cut to the rectangle it is
// drawn into, so no line of a canvas is ever wider or narrower than the screen.
// It is also the last guard of the terminal: a character that is not printable
// and reached it is drawn as "?".
type canvas struct {
	w, h     int
	cells    []cell
	ellipsis string
}

func newCanvas(w, h int, ellipsis string) *canvas {
	c := &canvas{ellipsis: ellipsis}
	c.reset(w, h)
	return c
}

var blank = cell{s: " ", w: 1}

func (c *canvas) reset(w, h int) {
	c.w, c.h = w, h
	if n := w * h; cap(c.cells) < n {
		c.cells = make([]cell, n)
	} else {
		c.cells = c.cells[:n]
	}
	for i := range c.cells {
		c.cells[i] = blank
	}
}

// set puts a character at x,y and repairs wide characters it cuts in half.
func (c *canvas) set(x, y int, s string, w int, st style) {
	row := c.cells[y*c.w : (y+1)*c.w]
	if row[x].w == 0 && x > 0 {
		row[x-1] = cell{s: " ", w: 1, st: row[x-1].st}
	}
	if end := x + w; end < c.w && row[end].w == 0 {
		row[end] = cell{s: " ", w: 1, st: row[end].st}
	}
	row[x] = cell{s: s, w: int8(w), st: st}
	if w == 2 {
		row[x+1] = cell{w: 0, st: st}
	}
}

// text draws s at x,y in at most w cells, with an ellipsis where it is cut, and
// returns the cells used.
func (c *canvas) text(x, y, w int, s string, st style) int {
	if y < 0 || y >= c.h || x >= c.w {
		return 0
	}
	w = min(w, c.w-x)
	if w <= 0 {
		return 0
	}
	if width(s) > w {
		tail := width(c.ellipsis)
		if tail > w {
			return c.put(x, y, w, s, st)
		}
		n := c.put(x, y, w-tail, s, st)
		return n + c.put(x+n, y, tail, c.ellipsis, st)
	}
	return c.put(x, y, w, s, st)
}

func (c *canvas) put(x, y, w int, s string, st style) int {
	at := 0
	for len(s) > 0 {
		g, rest, gw := next(s)
		s = rest
		if gw == 0 { // a mark without a letter
			continue
		}
		if at+gw > w {
			break
		}
		if x+at >= 0 {
			c.set(x+at, y, g, gw, st)
		}
		at += gw
	}
	return at
}

// fill sets the style of w cells from x,y on, keeping what is drawn there.
func (c *canvas) fill(x, y, w int, st style) {
	if y < 0 || y >= c.h {
		return
	}
	for i := max(x, 0); i < min(x+w, c.w); i++ {
		c.cells[y*c.w+i].st |= st
	}
}

// clear blanks a rectangle.
func (c *canvas) clear(r rect) {
	for y := max(r.y, 0); y < min(r.y+r.h, c.h); y++ {
		for x := max(r.x, 0); x < min(r.x+r.w, c.w); x++ {
			c.set(x, y, " ", 1, 0)
		}
	}
}

// rule draws a horizontal line with a title in it.
func (c *canvas) rule(x, y, w int, line, title string, lineStyle, titleStyle style) {
	for i := range w {
		c.put(x+i, y, 1, line, lineStyle)
	}
	if title != "" && w > 6 {
		n := c.text(x+2, y, w-4, " "+title+" ", titleStyle)
		_ = n
	}
}

// String is the screen as text with SGR sequences, one line for each row.
// Trailing blanks without a style are left out.
func (c *canvas) String() string {
	var b strings.Builder
	b.Grow(c.w*c.h + c.h*32)
	for y := range c.h {
		if y > 0 {
			b.WriteByte('\n')
		}
		row := c.cells[y*c.w : (y+1)*c.w]
		end := len(row)
		for end > 0 && row[end-1] == blank {
			end--
		}
		var st style
		for _, cl := range row[:end] {
			if cl.w == 0 {
				continue
			}
			if cl.st != st {
				cl.st.sgr(&b)
				st = cl.st
			}
			b.WriteString(cl.s)
		}
		if st != 0 {
			b.WriteString("\x1b[0m")
		}
	}
	return b.String()
}

// next splits the first character off s: what is drawn for it, the rest, and its
// width in cells. Where terminals disagree about the width of a cluster of code
// points (some count the cluster, some each code point), its first code point
// stands for it.
func next(s string) (g, rest string, w int) {
	if c := s[0]; c < utf8.RuneSelf && (len(s) == 1 || s[1] < utf8.RuneSelf) {
		if c < 0x20 || c == 0x7f {
			return "?", s[1:], 1
		}
		return s[:1], s[1:], 1
	}
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n == 1 || !unicode.IsPrint(r) {
		return "?", s[n:], 1
	}
	g, w = ansi.FirstGraphemeCluster(s, ansi.GraphemeWidth)
	if len(g) < n || !plain(g) || w > 2 || ansi.WcWidth.StringWidth(g) != w {
		rest = s[n:]
		if len(g) > n && utf8.ValidString(g) {
			rest = s[len(g):]
		}
		g = s[:n]
		w = ansi.GraphemeWidth.StringWidth(g)
		if !plain(g) || w > 2 || ansi.WcWidth.StringWidth(g) != w {
			return "?", rest, 1
		}
		return g, rest, w
	}
	return g, s[len(g):], w
}

// plain says whether a cluster is text and nothing else.
func plain(g string) bool {
	if !utf8.ValidString(g) {
		return false
	}
	for _, r := range g {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// width is the number of cells s takes on a canvas.
func width(s string) int {
	n := 0
	ascii := true
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if ascii {
		return len(s)
	}
	for len(s) > 0 {
		_, rest, w := next(s)
		n += w
		s = rest
	}
	return n
}

// cut returns the part of s that fits w cells, and the rest.
func cut(s string, w int) (head, tail string) {
	left := s
	for len(left) > 0 {
		_, rest, gw := next(left)
		if gw > w {
			break
		}
		w -= gw
		left = rest
	}
	return s[:len(s)-len(left)], left
}

// pad returns s in exactly w cells, cut or with blanks behind it.
func pad(s string, w int, ellipsis string) string {
	n := width(s)
	if n > w {
		head, _ := cut(s, max(0, w-width(ellipsis)))
		s = head + ellipsis
		if n = width(s); n > w {
			s, _ = cut(s, w)
			n = width(s)
		}
	}
	if n < w {
		s += strings.Repeat(" ", w-n)
	}
	return s
}

// span is text in one style.
type span struct {
	s  string
	st style
}

// spans draws several texts one after another in at most w cells, skipping the
// first skip cells.
func (c *canvas) spans(x, y, w int, ss []span, skip int) int {
	at := 0
	for i, s := range ss {
		text := s.s
		if skip > 0 {
			head, tail := cut(text, skip)
			skip -= width(head)
			if tail == "" {
				continue
			}
			text, skip = tail, 0
		}
		if i < len(ss)-1 && at+width(text) == w && restEmpty(ss[i+1:]) {
			return at + c.put(x+at, y, w-at, text, s.st)
		}
		if at+width(text) >= w && !restEmpty(ss[i+1:]) {
			text += "  " // forces the ellipsis: something follows
		}
		at += c.text(x+at, y, w-at, text, s.st)
		if at >= w {
			break
		}
	}
	return at
}

func restEmpty(ss []span) bool {
	for _, s := range ss {
		if strings.TrimSpace(s.s) != "" {
			return false
		}
	}
	return true
}

// wrap breaks a line of spans into lines of at most w cells, at blanks where
// there are any, else between the parts of a name; continuation lines are
// indented.
func wrap(ss []span, w, indent int) [][]span {
	if w < 4 {
		w = 4
	}
	if indent > w/2 {
		indent = w / 2
	}
	total := 0
	for _, s := range ss {
		total += width(s.s)
	}
	if total <= w {
		return [][]span{ss}
	}
	var out [][]span
	var line []span
	room := w
	for _, s := range ss {
		text := s.s
		for text != "" {
			head, tail := cut(text, room)
			if tail == "" {
				line = append(line, span{head, s.st})
				room -= width(head)
				break
			}
			// Break at the last blank, unless that leaves most of the line empty.
			if i := strings.LastIndexByte(head, ' '); i > len(head)/4 || i >= 0 && room < w/2 {
				tail = head[i+1:] + tail
				head = head[:i]
			} else if i < 0 && room < w-indent && room < w/3 && width(strings.SplitN(text, " ", 2)[0]) <= w-indent {
				head, tail = "", text // the word fits the next line whole
			} else if i = strings.LastIndexAny(head, "/|,;:&?=-_."); i >= len(head)/2 && i < len(head)-1 {
				head, tail = head[:i+1], head[i+1:]+tail // a name breaks between its parts
			}
			line = append(line, span{head, s.st})
			out = append(out, line)
			line = []span{{strings.Repeat(" ", indent), 0}}
			room = w - indent
			text = strings.TrimPrefix(tail, " ")
		}
	}
	return append(out, line)
}
