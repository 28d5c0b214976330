package tui

// rect is a rectangle of cells.
type rect struct{ x, y, w, h int }

func (r rect) empty() bool { return r.w <= 0 || r.h <= 0 }

func (r rect) contains(x, y int) bool {
	return x >= r.x && x < r.x+r.w && y >= r.y && y < r.y+r.h
}

// screenMode is how the two panes share the screen.
type screenMode int

const (
	modeSplit  screenMode = iota // both, as the size allows
	modeDetail                   // the selected hop alone
	modePath                     // the path alone
	modeCount
)

// Smallest screen that is drawn.
const (
	minWidth  = 40
	minHeight = 10
)

// layoutArgs is everything a layout depends on.
type layoutArgs struct {
	w, h   int
	mode   screenMode
	detail bool // the detail pane has the focus
	hops   int  // rows the path would like to have
	banner int  // rows the banner would like to have
}

// layout is where everything is. An empty rectangle is not drawn. Titles are the
// rules above the panes.
type layout struct {
	tooSmall  bool
	header    rect
	banner    rect
	pathRule  rect
	path      rect
	detailHdr rect // rule with the selected hop
	tabs      rect
	detail    rect
	divider   rect // between panes side by side
	peek      rect // the selected hop in a few lines, below a path shown alone
	peekRule  rect
	footRule  rect
	footer    rect
	compact   bool // one row for each hop
}

// arrange computes the layout: a pure function.
//
//	wide (from 96 x 18)            stacked (from 34 rows)     narrow
//	+-header------------------+    +-header--------+          +-header--------+
//	| banner                  |    | banner        |          | banner        |
//	+-path------+-detail------+    +-path----------+          | path or       |
//	|           | tabs        |    +-detail--------+          | detail        |
//	|           |             |    | tabs          |          +-peek----------+
//	+-footer----+-------------+    +-footer--------+          +-footer--------+
func arrange(a layoutArgs) layout {
	l := layout{}
	if a.w < minWidth || a.h < minHeight {
		l.tooSmall = true
		return l
	}
	top := 1
	l.header = rect{0, 0, a.w, 1}
	b := 1
	switch {
	case a.h >= 20:
		b = 4
	case a.h >= 15:
		b = 2
	}
	b = max(1, min(b, a.banner))
	l.banner = rect{0, top, a.w, b}
	top += b
	bottom := a.h - 1
	l.footer = rect{0, bottom, a.w, 1}
	if a.h >= 16 {
		bottom--
		l.footRule = rect{0, bottom, a.w, 1}
	}
	body := rect{0, top, a.w, bottom - top}

	detail := func(r rect) {
		l.detailHdr = rect{r.x, r.y, r.w, 1}
		l.tabs = rect{r.x, r.y + 1, r.w, 1}
		l.detail = rect{r.x, r.y + 2, r.w, r.h - 2}
	}
	path := func(r rect) {
		if a.h >= 16 {
			l.pathRule = rect{r.x, r.y, r.w, 1}
			r.y++
			r.h--
		}
		l.path = r
		l.compact = r.h < 2*min(a.hops, 6)-1
	}
	switch {
	case a.mode == modeDetail:
		detail(body)
	case a.mode == modePath:
		path(body)
	case a.w >= 96 && a.h >= 18:
		left := max(38, min(a.w*38/100, 64))
		path(rect{0, body.y, left, body.h})
		l.divider = rect{left, body.y, 1, body.h}
		detail(rect{left + 2, body.y, a.w - left - 2, body.h})
	case a.h >= 34:
		up := max(8, min(body.h*2/5, 2*a.hops+1))
		path(rect{0, body.y, a.w, up})
		detail(rect{0, body.y + up, a.w, body.h - up})
	case a.detail:
		detail(body)
	case a.h >= 20:
		r := body
		switch title := 1; {
		case body.h >= 2*a.hops+title+6: // two rows for each hop
			r.h = 2*a.hops + title
		case body.h >= a.hops+title+5: // one
			r.h = a.hops + title
		default:
			r.h = body.h - 5
		}
		peek := body.h - r.h
		path(r)
		l.peekRule = rect{0, r.y + r.h, a.w, 1}
		l.peek = rect{0, r.y + r.h + 1, a.w, peek - 1}
	default:
		path(body)
		l.compact = true
	}
	return l
}
