package tui

import (
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/hoptrail/hoptrail/trace"
)

// overlay is a box on top of the screen that takes the keys.
type overlay interface {
	press(m *model, key, text string) tea.Cmd
	paste(m *model, s string)
	draw(m *model, screen rect)
	contexts() []keyContext // whose bindings the footer and the help show
}

func (m *model) open(o overlay) { m.overlays = append(m.overlays, o) }

func (m *model) close() {
	if n := len(m.overlays); n > 0 {
		m.overlays = m.overlays[:n-1]
	}
}

func (m *model) top() overlay {
	if n := len(m.overlays); n > 0 {
		return m.overlays[n-1]
	}
	return nil
}

// box draws an empty frame in the middle of screen, of a size that holds w x h
// cells of content, and returns the inside.
func (m *model) box(screen rect, w, h int, title string) rect {
	return m.openBox(screen, w, h, 0, title)
}

// openBox is a box of h rows that may grow by more of them without moving.
func (m *model) openBox(screen rect, w, h, more int, title string) rect {
	w = min(max(w, width(title)+4)+4, screen.w)
	y := screen.y + (screen.h-min(h+more+2, screen.h))/2
	h = min(h+2, screen.y+screen.h-y)
	r := rect{screen.x + (screen.w-w)/2, y, w, h}
	c, g := m.cv, m.g
	c.clear(r)
	for y := r.y + 1; y < r.y+r.h-1; y++ {
		c.put(r.x, y, 1, g.vrule, m.th.frame)
		c.put(r.x+r.w-1, y, 1, g.vrule, m.th.frame)
	}
	for _, y := range []int{r.y, r.y + r.h - 1} {
		for x := r.x; x < r.x+r.w; x++ {
			c.put(x, y, 1, g.hrule, m.th.frame)
		}
	}
	c.put(r.x, r.y, 1, g.boxTL, m.th.frame)
	c.put(r.x+r.w-1, r.y, 1, g.boxTR, m.th.frame)
	c.put(r.x, r.y+r.h-1, 1, g.boxBL, m.th.frame)
	c.put(r.x+r.w-1, r.y+r.h-1, 1, g.boxBR, m.th.frame)
	c.text(r.x+2, r.y, r.w-4, " "+title+" ", m.th.title)
	return rect{r.x + 2, r.y + 1, r.w - 4, r.h - 2}
}

// scrollHint tells, in the frame below the inside in, which rows are seen.
func (m *model) scrollHint(in rect, top, seen, n int) {
	if n <= seen {
		return
	}
	s := fmt.Sprintf(" %d-%d of %d ", top+1, min(top+seen, n), n)
	if w := width(s); w < in.w {
		m.cv.text(in.x+in.w-w, in.y+in.h, w, s, m.th.dim)
	}
}

// ---- lists

// item is one choice of a list.
type item struct {
	spans []span
	under []span // a second line, dim
	find  string // what typing filters by
	off   string // why it cannot be chosen
	id    int
	copy  string
	run   func(m *model) tea.Cmd
}

// list is an overlay to choose from.
type list struct {
	name    string
	title   string
	head    []row
	items   []item
	shown   []int // places in items, after filtering
	pane    pane
	filter  *input // typing filters; nil for lists with keys of their own
	marked  []int  // ids
	current int    // id of the one on the screen, -1 for none
	typed   int    // the number being typed, of a list of ten and more
	extra   []keyContext
	empty   string
}

func (l *list) contexts() []keyContext {
	if l.filter != nil {
		return []keyContext{ctxPalette}
	}
	return append(slices.Clone(l.extra), ctxList)
}

func (l *list) apply() {
	l.shown = l.shown[:0]
	q := ""
	if l.filter != nil {
		q = strings.ToLower(strings.TrimSpace(l.filter.text))
	}
	var inside, loose []int
	for i, it := range l.items {
		switch low := strings.ToLower(it.find); {
		case strings.HasPrefix(low, q):
			l.shown = append(l.shown, i)
		case strings.Contains(low, q):
			inside = append(inside, i)
		case fuzzy(low, q):
			loose = append(loose, i)
		}
	}
	l.shown = append(append(l.shown, inside...), loose...)
}

// fuzzy says whether the letters of q are in s in their order.
func fuzzy(s, q string) bool {
	for _, r := range q {
		if r == ' ' {
			continue
		}
		i := strings.IndexRune(s, r)
		if i < 0 {
			return false
		}
		s = s[i+len(string(r)):]
	}
	return true
}

func (l *list) selected() *item {
	if l.pane.cur < 0 || l.pane.cur >= len(l.shown) {
		return nil
	}
	return &l.items[l.shown[l.pane.cur]]
}

func (l *list) move(by int) {
	l.pane.cur = max(0, min(l.pane.cur+by, len(l.shown)-1))
}

func (l *list) choose(m *model) tea.Cmd {
	it := l.selected()
	if it == nil {
		return nil
	}
	if it.off != "" {
		m.say(trace.Skipped, "%s", it.off)
		return nil
	}
	if it.run == nil {
		return nil
	}
	m.close()
	return it.run(m)
}

func (l *list) press(m *model, key, text string) tea.Cmd {
	if l.filter != nil {
		if b, ok := m.keys[ctxPalette][key]; ok {
			return m.run(b)
		}
		if l.filter.key(key, text) {
			l.pane = pane{}
			l.apply()
		}
		return nil
	}
	if len(key) == 1 && key[0] >= '0' && key[0] <= '9' {
		return l.digit(m, int(key[0]-'0'))
	}
	l.typed = 0
	return m.dispatch(key, l.contexts()...)
}

// digit chooses the entry of that number; among ten and more, where the number
// may not be complete, it goes there.
func (l *list) digit(m *model, n int) tea.Cmd {
	if len(l.shown) < 10 {
		if n < 1 || n > len(l.shown) {
			m.say(trace.Skipped, "there is no entry %d", n)
			return nil
		}
		l.pane.cur = n - 1
		return l.choose(m)
	}
	if l.typed = l.typed*10 + n; l.typed > len(l.shown) {
		l.typed = n
	}
	if l.typed == 0 {
		return nil
	}
	l.pane.cur = l.typed - 1
	m.say(trace.Skipped, "entry %d; Enter chooses it", l.typed)
	return nil
}

func (l *list) paste(_ *model, s string) {
	if l.filter != nil {
		l.filter.insert(s)
		l.pane = pane{}
		l.apply()
	}
}

func (l *list) draw(m *model, screen rect) {
	w := width(l.title) + 4
	itemH := 1
	lead := 4 // cursor, mark
	if l.filter == nil {
		lead += len(fmt.Sprint(len(l.items))) - 1
	}
	for i, it := range l.items {
		if i > 500 {
			break
		}
		w = max(w, lead+2+spansWidth(it.line(m)))
		if len(it.under) > 0 {
			itemH = 2
			w = max(w, min(lead+4+spansWidth(it.under), 90))
		}
	}
	w = min(w, screen.w-4)
	head := wrapRows(l.head, w, true)
	for _, r := range head {
		w = max(w, min(width(r.text()), screen.w-4))
	}
	extra := len(head)
	if l.filter != nil {
		extra++
	}
	w = max(w, min(44, screen.w-4))
	h := extra + max(1, len(l.shown)*itemH)
	more := 0 // what the entry that needs most takes when it is shown whole, and a rule
	if n := l.full(m, w, lead, screen.h-2-extra-min(3, len(l.shown))*itemH); n > 0 {
		more = n + 1
		h = min(h, screen.h-2-more)
	}
	whole := min(more, 1+len(l.whole(m, w, lead)))
	if whole < 2 {
		whole = 0
	}
	in := m.openBox(screen, w, h+whole, more-whole, l.title)
	if whole > 0 {
		in.h -= whole
		m.drawWhole(rect{in.x, in.y + in.h, in.w, whole}, l.whole(m, w, lead))
	}
	y := in.y
	if l.filter != nil {
		m.cv.put(in.x, y, 2, ": ", m.th.key)
		l.filter.draw(m.cv, in.x+2, y, in.w-2, 0, true)
		y++
	}
	for _, r := range head {
		if y >= in.y+in.h-1 {
			break
		}
		m.cv.spans(in.x, y, in.w, r.spans, 0)
		y++
	}
	room := (in.y + in.h - y) / itemH
	l.pane.clamp(len(l.shown), room)
	if len(l.shown) == 0 {
		m.cv.text(in.x, y, in.w, l.empty, m.th.dim)
		return
	}
	for k := l.pane.top; k < len(l.shown) && k < l.pane.top+room; k++ {
		it := &l.items[l.shown[k]]
		mark := "  "
		if k == l.pane.cur {
			mark = m.g.cursor + " "
		}
		m.cv.put(in.x, y, 2, mark, m.th.title)
		x := in.x + 2
		if slices.Contains(l.marked, it.id) {
			m.cv.put(x, y, 2, "* ", m.th.warn)
		}
		x = in.x + lead + 2
		if l.filter == nil {
			n := fmt.Sprint(l.shown[k] + 1)
			m.cv.put(x-1-len(n), y, len(n), n, m.th.key)
		}
		m.cv.spans(x, y, in.x+in.w-x, it.line(m), 0)
		if k == l.pane.cur {
			m.cv.fill(in.x, y, in.w, reverse)
		}
		y++
		if itemH == 2 {
			m.cv.spans(x+2, y, in.x+in.w-x-2, it.under, 0)
			y++
		}
	}
	in.h += whole
	m.scrollHint(in, l.pane.top, room, len(l.shown))
}

// line is the first line of an entry, with why it cannot be chosen.
func (it *item) line(m *model) []span {
	if it.off == "" {
		return it.spans
	}
	return append(slices.Clone(it.spans), span{"  (" + it.off + ")", m.th.dim})
}

// whole is all of an entry in w cells, nil where its lines show it: lead cells of
// w are before them.
func (it *item) whole(m *model, w, lead int) []row {
	first := it.line(m)
	if spansWidth(first) <= w-lead-2 && spansWidth(it.under) <= w-lead-4 {
		return nil
	}
	rows := []row{{spans: first, indent: 2}}
	if len(it.under) > 0 {
		rows = append(rows, row{spans: it.under, indent: 2})
	}
	return wrapRows(rows, w, true)
}

// whole is all of the entry under the cursor, nil where its lines show it.
func (l *list) whole(m *model, w, lead int) []row {
	if it := l.selected(); it != nil && l.filter == nil {
		return it.whole(m, w, lead)
	}
	return nil
}

// full is how many lines the entry that needs most of them takes when it is shown
// whole, 0 where all are seen in their place or there is no room for more.
func (l *list) full(m *model, w, lead, room int) int {
	n := 0
	if l.filter == nil {
		for _, k := range l.shown[:min(len(l.shown), 500)] {
			n = max(n, len(l.items[k].whole(m, w, lead)))
		}
	}
	return max(0, min(n, 6, room-1))
}

// drawWhole shows an entry whole, below a rule.
func (m *model) drawWhole(r rect, rows []row) {
	m.cv.rule(r.x, r.y, r.w, m.g.hrule, "", m.th.frame, 0)
	for i := range min(len(rows), r.h-1) {
		m.cv.spans(r.x, r.y+1+i, r.w, rows[i].spans, 0)
	}
}

func spansWidth(ss []span) int {
	n := 0
	for _, s := range ss {
		n += width(s.s)
	}
	return n
}

// ---- documents

// page is an overlay to read.
type page struct {
	title string
	build func(m *model, w int) []row
	rows  []row
	forW  int
	pane  pane
	full  bool // takes the whole screen
	query string
	found []int // rows
}

func (p *page) contexts() []keyContext { return []keyContext{ctxPage} }
func (p *page) paste(*model, string)   {}
func (p *page) move(by int)            { p.pane.cur = max(0, min(p.pane.cur+by, len(p.rows)-1)) }
func (p *page) selected() (row, bool) {
	if p.pane.cur < 0 || p.pane.cur >= len(p.rows) {
		return row{}, false
	}
	return p.rows[p.pane.cur], true
}

// find computes the rows that hold what is looked for.
func (p *page) find() { p.found = findRows(p.rows, p.query) }

// goFound moves to a match: the next, the one before, or the nearest.
func (p *page) goFound(m *model, by int) {
	if at := nextFound(p.found, p.pane.cur, by); at >= 0 {
		p.pane.cur = p.found[at]
		m.say(trace.Skipped, "match %d of %d for %q", at+1, len(p.found), p.query)
		return
	}
	m.say(trace.Skipped, "%q is not here", p.query)
}

func (p *page) press(m *model, key, _ string) tea.Cmd { return m.dispatch(key, ctxPage) }

func (p *page) draw(m *model, screen rect) {
	w := screen.w - 4
	if !p.full {
		w = min(w, 100)
	}
	inner := w - 2 // the cursor
	if p.forW != inner {
		p.forW = inner
		p.rows = wrapRows(p.build(m, inner), inner, true)
		p.find()
	}
	h := len(p.rows)
	if p.full {
		h = screen.h
	}
	in := m.box(screen, w, h, p.title)
	p.pane.clamp(len(p.rows), in.h)
	for k := 0; k < in.h && p.pane.top+k < len(p.rows); k++ {
		i := p.pane.top + k
		if i == p.pane.cur {
			m.cv.put(in.x, in.y+k, 2, m.g.cursor+" ", m.th.title)
		}
		m.cv.spans(in.x+2, in.y+k, in.w-2, p.rows[i].spans, 0)
		m.markFound(in.x+2, in.y+k, in.w-2, p.query)
	}
	m.scrollHint(in, p.pane.top, in.h, len(p.rows))
}

// ---- the form

func (f *form) contexts() []keyContext { return []keyContext{ctxForm} }

func (f *form) press(m *model, key, text string) tea.Cmd {
	if b, ok := m.keys[ctxForm][key]; ok {
		return m.run(b)
	}
	if _, hidden := f.shown(m, f.cur); hidden && text == "" && !slices.Contains([]string{"backspace", "delete", "ctrl+u", "ctrl+k", "ctrl+w"}, key) {
		return nil // there is no place to go to
	}
	before := f.fields[f.cur].in.text
	if text != "" {
		f.reveal(m)
	}
	if f.fields[f.cur].in.key(key, text) {
		if f.fields[f.cur].in.text != before {
			f.reveal(m)
		}
		f.err = ""
		f.grow()
	}
	return nil
}

func (f *form) paste(m *model, s string) {
	f.reveal(m)
	f.fields[f.cur].in.insert(s)
	f.grow()
}

func (f *form) draw(m *model, screen rect) {
	in := m.box(screen, min(96, screen.w-4), len(f.fields)+2, "Edit the question")
	room := in.h - 2
	if f.cur < f.top {
		f.top = f.cur
	}
	if f.cur >= f.top+room {
		f.top = f.cur - room + 1
	}
	for k := 0; k < room && f.top+k < len(f.fields); k++ {
		i := f.top + k
		fd := &f.fields[i]
		y := in.y + k
		mark, st := "  ", m.th.dim
		if i == f.cur {
			mark, st = m.g.cursor+" ", m.th.title
		}
		m.cv.put(in.x, y, 2, mark, m.th.title)
		m.cv.text(in.x+2, y, 10, fd.name, st)
		x, w := in.x+12, in.w-12
		text, hidden := f.shown(m, i)
		switch {
		case text == "" && i != f.cur:
			m.cv.text(x, y, w, fd.hint, m.th.dim)
		case hidden:
			newInput(text).draw(m.cv, x, y, w, m.th.dim, i == f.cur)
		default:
			fd.in.draw(m.cv, x, y, w, 0, i == f.cur)
		}
	}
	y := in.y + in.h - 1
	switch {
	case f.err != "":
		m.cv.text(in.x, y, in.w, m.g.state[trace.Fail]+" "+f.err, m.th.fail)
	default:
		hint := f.fields[f.cur].hint
		if _, hidden := f.shown(m, f.cur); hidden {
			hint = "masked; what is typed replaces it"
		}
		if len(f.fields[f.cur].offer) > 1 {
			hint += "   (ctrl+n, ctrl+p: known ones)"
		}
		m.cv.text(in.x, y, in.w, hint, m.th.dim)
	}
}
