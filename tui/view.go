package tui

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hoptrail/hoptrail/trace"
)

// View draws the screen.
func (m *model) View() tea.View {
	v := tea.NewView("")
	if m.quitting {
		return v
	}
	v.AltScreen = true
	if m.s.Options.Mouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	if m.w > 0 && m.h > 0 {
		v.Content = m.draw().String()
		v.WindowTitle = "hoptrail " + clean(m.shownTarget(m.target).Host)
	}
	return v
}

// draw puts everything on the canvas.
func (m *model) draw() *canvas {
	c := m.cv
	c.reset(m.w, m.h)
	banner := m.bannerRows()
	m.lay = arrange(layoutArgs{
		w: m.w, h: m.h, mode: m.mode, detail: m.detailFocus,
		hops: max(1, len(m.path)), banner: len(banner),
	})
	if m.lay.tooSmall {
		for i, s := range []string{fmt.Sprintf("terminal %dx%d, need %dx%d;", m.w, m.h, minWidth, minHeight), "run with -o text"} {
			c.text(0, i, m.w, s, 0)
		}
		return c
	}
	m.drawHeader()
	for i, r := range banner[:min(len(banner), m.lay.banner.h)] {
		c.spans(1, m.lay.banner.y+i, m.w-1, r, 0)
	}
	if r := m.lay.pathRule; !r.empty() {
		title := "Path"
		if n := len(m.path); n > 0 {
			title = "Path  " + counted(n, "hop")
		}
		if m.view != nil && len(m.view.r.Paths) > 1 {
			title += fmt.Sprintf(", one of %d ways", len(m.view.r.Paths))
		}
		c.rule(r.x, r.y, r.w, m.g.hrule, title, m.th.frame, m.focusStyle(!m.detailFocus || !m.detailShown()))
		if what := m.slow(); what != "" {
			if at := 2 + width(title) + 3; r.w-at > 12 {
				c.text(r.x+at, r.y, r.w-at-2, " "+what+" ", m.th.warn)
			}
		}
	}
	if !m.lay.path.empty() {
		m.drawPath(m.lay.path)
	}
	if r := m.lay.divider; !r.empty() {
		for y := r.y; y < r.y+r.h; y++ {
			c.put(r.x, y, 1, m.g.vrule, m.th.frame)
		}
	}
	if !m.lay.detail.empty() {
		m.drawDetail()
	}
	if !m.lay.peek.empty() {
		m.drawPeek()
	}
	if r := m.lay.footRule; !r.empty() {
		c.rule(r.x, r.y, r.w, m.g.hrule, "", m.th.frame, 0)
	}
	m.drawFooter()
	if o := m.top(); o != nil {
		screen := rect{0, 0, m.w, m.h - 1}
		if m.h >= 20 {
			screen.y, screen.h = 1, m.h-2
		}
		o.draw(m, screen)
	}
	return c
}

func (m *model) focusStyle(on bool) style {
	if on {
		return m.th.title
	}
	return m.th.dim
}

// drawHeader shows the question at the left and the state of the session at the
// right.
func (m *model) drawHeader() {
	var tags []span
	add := func(s string, st style) { tags = append(tags, span{s, st}) }
	switch {
	case m.tracing != nil && m.tracing.cancelling:
		add("CANCELLING", m.th.warn)
	case m.tracing != nil:
		add(m.g.spinner[m.frame%len(m.g.spinner)]+" "+elapsed(m.now().Sub(m.tracing.started)), m.th.warn)
	}
	if m.privacy {
		add("PRIVACY", m.th.title)
	}
	if m.following != nil {
		add("FOLLOW", m.th.title)
	}
	if m.live && !m.frozen {
		add("LIVE "+everyText(m.every), m.th.ok|bold)
	}
	switch {
	case m.frozen && len(m.runs) > 0 && m.shown < len(m.runs)-1:
		add(fmt.Sprintf("FROZEN %d newer", len(m.runs)-1-m.shown), m.th.warn|bold)
	case m.frozen:
		add("FROZEN", m.th.warn|bold)
	case m.shown >= 0 && m.shown < len(m.runs)-1:
		add(fmt.Sprintf("EARLIER %d newer", len(m.runs)-1-m.shown), m.th.warn|bold)
	}
	if r := m.current(); r != nil {
		add(fmt.Sprintf("#%d", r.n), m.th.dim)
		add(clock(r.at), m.th.dim)
	}
	w := 0
	for _, t := range tags {
		w += width(t.s) + 2
	}
	t := m.shownTarget(m.target)
	left := clean(t.Raw)
	if t.Method != "" && t.Method != "GET" {
		left = clean(t.Method) + " " + left
	}
	for len(tags) > 0 && w+min(width(left), 24)+2 > m.w {
		w -= width(tags[len(tags)-1].s) + 2
		tags = tags[:len(tags)-1]
	}
	room := m.w - w - 1
	n := m.cv.text(1, 0, room-1, left, m.th.title)
	rest := ""
	if m.s.Context != "" {
		name := m.s.Context
		if m.privacy {
			name = m.masker.Text(name)
		}
		rest += "  in " + clean(name)
	}
	if t.From != "" {
		rest += "  from " + clean(t.From)
	}
	if len(t.Headers) > 0 {
		rest += fmt.Sprintf("  +%d header", len(t.Headers))
		if len(t.Headers) > 1 {
			rest += "s"
		}
	}
	if room-1-n > 8 {
		m.cv.text(1+n, 0, room-1-n, rest, m.th.dim)
	}
	x := m.w - w
	for _, t := range tags {
		x += m.cv.put(x, 0, m.w-x, t.s, t.st) + 2
	}
}

func elapsed(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", max(0, d.Seconds()))
	}
	return d.Round(time.Second).String()
}

// everyText is an interval without its zero parts.
func everyText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// mainFinding is the finding the banner tells: the first error that is no
// symptom of another, else the first.
func (m *model) mainFinding() *trace.Finding {
	if m.view == nil || len(m.view.r.Findings) == 0 {
		return nil
	}
	fs := m.view.r.Findings
	symptom := map[string]bool{}
	for _, f := range fs {
		for _, c := range f.CauseOf {
			symptom[c] = true
		}
	}
	for _, sev := range []trace.Severity{trace.SeverityError, trace.SeverityWarning} {
		for i := range fs {
			if fs[i].Severity == sev && !symptom[fs[i].Code] {
				return &fs[i]
			}
		}
	}
	return &fs[0]
}

// bannerRows are the verdict, why, and what to do: one line each.
func (m *model) bannerRows() [][]span {
	th, g := m.th, m.g
	run := m.current()
	switch {
	case run != nil && run.err != nil && !m.growing():
		text := strings.Split(m.runError(run.err), "\n")
		rows := [][]span{{{g.state[trace.Fail] + " NO ANSWER", th.fail}, {"  " + clean(text[0]), 0}}}
		return append(rows, []span{{"  r traces again" + g.sep + "E edits the question" + m.staleText(), th.dim}})
	case run != nil && run.cancelled && !m.growing():
		return [][]span{{{g.state[trace.Unknown] + " CANCELLED", th.unk}, {"  the trace was not finished; r traces again" + m.staleText(), 0}}}
	case m.view == nil && m.tracing == nil:
		return [][]span{{{"preparing " + g.ellipsis, th.dim}}}
	case m.view == nil || m.growing():
		what := m.doing()
		return [][]span{{{"tracing", th.title}, {g.sep + what, th.dim}}}
	}
	r := m.view.r
	st := verdictState(r.Verdict)
	f := m.mainFinding()
	text, titled := headline(r, f)
	rows := [][]span{{{g.state[st] + " " + verdictWord(r.Verdict), th.state(st)}}}
	where := ""
	if f != nil {
		where = clean(f.Code)
		if i, ok := m.view.index[f.Hop]; ok {
			if k := slices.Index(m.path, i); k >= 0 {
				where += fmt.Sprintf(" hop %d", k+1)
			}
		}
		if r.Verdict != trace.Reachable {
			rows[0] = append(rows[0], span{" " + where, th.title})
		}
	}
	rows[0] = append(rows[0], span{"  " + text, 0})
	if len(m.changed)+len(m.gone) > 0 {
		text := fmt.Sprintf("  %s %s changed since %s", g.changed, counted(len(m.changed), "hop"), m.since)
		if len(m.gone) > 0 {
			text += "; gone: " + strings.Join(m.gone, ", ")
		}
		rows = append(rows, []span{{text, th.warn}})
	}
	unread := ""
	if n := len(r.Collected.NotRead); n > 0 {
		unread = fmt.Sprintf("i not read (%d)  ", n)
	}
	if f == nil {
		notes := "  "
		if r.Verdict == trace.Reachable {
			notes = "  no finding  "
		}
		if notes += unread; strings.TrimSpace(notes) != "" {
			rows = append(rows, []span{{notes, th.dim}})
		}
		return rows
	}
	lead, why := "  Why  ", clean(f.Title)
	if titled && f.Detail != "" {
		why = ""
	}
	if r.Verdict == trace.Reachable {
		lead, why = "  Note ", where+" "+clean(f.Title)
	}
	if f.Detail != "" {
		if why != "" {
			why += ": "
		}
		why += strings.Join(lines(f.Detail, 8), " ")
	}
	body := wrap([]span{{why, 0}}, max(20, m.w-9), 0)
	for i := range min(2, len(body)) {
		line := body[i]
		if i == 1 {
			lead = "       "
			for _, more := range body[2:] {
				line = append(line, span{" ", 0})
				line = append(line, more...)
			}
		}
		rows = append(rows, append([]span{{lead, th.dim}}, line...))
		if m.h < 20 || len(rows) > 2 {
			break
		}
	}
	n := 0
	for _, f := range r.Findings {
		n += len(f.Fix)
	}
	more := unread
	if n > 1 {
		more = fmt.Sprintf("f fixes (%d)  ", n) + unread
	}
	switch {
	case len(f.Fix) > 0:
		room := max(10, m.w-9-width(more)-2)
		text := pad(clean(f.Fix[0]), min(room, width(clean(f.Fix[0]))), g.ellipsis)
		rows = append(rows, []span{{"  Fix  ", th.dim}, {text, th.cmd}, {"  " + more, th.dim}})
	case more != "":
		rows = append(rows, []span{{"       " + more, th.dim}})
	}
	return rows
}

// headline is the summary of a report without what stands beside it in the
// banner: the question, the verdict, the code of the finding and where its hop
// is. titled says that it holds the finding's title.
func headline(r *trace.Report, f *trace.Finding) (text string, titled bool) {
	text = clean(r.Summary)
	if rest, ok := strings.CutPrefix(text, clean(r.Target.Raw)+" is "+clean(string(r.Verdict))); ok {
		text = strings.TrimLeft(rest, ": ")
	}
	if f == nil {
		return text, false
	}
	code, title := clean(f.Code), clean(f.Title)
	if i := strings.Index(text, code+" "+title); i >= 0 {
		return text[:i] + title, true
	}
	text = strings.Replace(text, " ("+code+")", "", 1)
	return text, strings.Contains(text, title)
}

// growing says whether what is drawn is a path not yet at its end.
func (m *model) growing() bool { return m.view != nil && m.view == m.partial }

// doing says what the trace under way does.
func (m *model) doing() string {
	switch {
	case m.tracing != nil && m.tracing.reading != "":
		return "reading " + m.tracing.reading
	case len(m.path) > 0:
		return "working out the next hop"
	}
	return "starting"
}

// slow is what a trace under way is at, when it takes its time and the path on
// the screen is that of the run before.
func (m *model) slow() string {
	if m.tracing == nil || m.growing() || m.view == nil || m.now().Sub(m.tracing.started) < time.Second {
		return ""
	}
	return m.g.spinner[m.frame%len(m.g.spinner)] + " " + m.doing()
}

// staleText says that what is drawn is of an earlier run.
func (m *model) staleText() string {
	if m.stale == nil {
		return ""
	}
	return fmt.Sprintf("%sbelow is #%d of %s", m.g.sep, m.stale.n, clock(m.stale.at))
}

// drawPath draws the hops of the path.
func (m *model) drawPath(r rect) {
	c, g, th := m.cv, m.g, m.th
	per := 2
	if m.lay.compact {
		per = 1
	}
	h := r.h
	reading := m.tracing != nil && (m.growing() || m.view == nil)
	if reading {
		h-- // what is being read
	}
	room := max(1, h/per)
	m.list.clamp(len(m.path), room)
	focused := !m.detailFocus || !m.detailShown()
	timed := false // a snapshot does not tell how long reading took
	for _, i := range m.path {
		timed = timed || m.view.r.Hops[i].TookMS > 0
	}
	y := r.y
	for k := m.list.top; k < len(m.path) && k < m.list.top+room; k++ {
		hop := &m.view.r.Hops[m.path[k]]
		ch, isChanged := m.changed[m.view.keys[m.path[k]]]
		x := r.x
		if k == m.list.cur {
			c.put(x, y, 1, g.cursor, th.title)
		}
		st := th.state(hop.State)
		c.put(x+2, y, 1, g.state[hop.State], st)
		num := fmt.Sprintf("%d", k+1)
		nw := len(fmt.Sprint(len(m.path)))
		c.put(x+4+nw-len(num), y, nw, num, th.dim)
		at := x + 4 + nw + 1
		kw := 9
		if r.w < 44 {
			kw = 8
		}
		c.text(at, y, kw, kindName(hop.Kind), th.title)
		at += kw + 1
		// At the right: what changed, the branch, the state, the time.
		tail := word(hop.State)
		if t := tookText(hop.TookMS); timed && r.w >= 50 {
			tail += fmt.Sprintf(" %6s", t)
		}
		if isChanged {
			tail = g.changed + " " + tail
		}
		if n := len(hop.Branches); n > 1 {
			b := m.view.taken(m.path, k, m.choice)
			tail = fmt.Sprintf("%s%d/%d %s", g.branch, b+1, n, tail)
		}
		end := x + r.w - 1
		tw := width(tail)
		c.text(end-tw, y, tw, tail, st)
		nameW := end - tw - 1 - at
		name := fitName(hopName(hop), nameW)
		if m.lay.compact && width(name) < nameW-12 && hop.Summary != "" {
			n := c.text(at, y, nameW, name, th.accent)
			c.text(at+n+2, y, nameW-n-2, clean(hop.Summary), th.dim)
		} else {
			c.text(at, y, nameW, name, th.accent)
		}
		if m.query != "" && m.foundPath {
			m.markFound(x, y, r.w, m.query)
		}
		if k == m.list.cur && focused {
			c.fill(x, y, r.w, reverse)
		}
		y++
		if per == 2 {
			if k < len(m.path)-1 || reading {
				c.put(x+2, y, 1, g.pipe, th.frame)
			}
			text := clean(hop.Summary)
			if isChanged && !ch.fresh {
				text = "was " + word(ch.state) + " at " + m.since + "; " + text
			} else if isChanged {
				text = "new since " + m.since + "; " + text
			}
			c.text(x+4+nw+1, y, r.w-6-nw, text, th.dim)
			y++
		}
	}
	switch {
	case reading:
		what := m.doing()
		c.put(r.x+2, y, 1, g.spinner[m.frame%len(g.spinner)], th.warn)
		c.text(r.x+4, y, r.w-5, what+"  "+elapsed(m.now().Sub(m.tracing.started)), th.dim)
	case len(m.path) == 0:
		m.emptyText(r)
	}
	if n := len(m.path); n > room && !m.lay.pathRule.empty() {
		s := fmt.Sprintf(" %d-%d of %d ", m.list.top+1, min(m.list.top+room, n), n)
		rr := m.lay.pathRule
		if width(s) < rr.w-30 {
			c.text(rr.x+rr.w-width(s)-1, rr.y, width(s), s, th.dim)
		}
	}
}

// emptyText says why there is no path.
func (m *model) emptyText(r rect) {
	run := m.current()
	var text []string
	switch {
	case run != nil && run.err != nil:
		text = strings.Split(m.runError(run.err), "\n")
	case run != nil && run.cancelled:
		text = []string{"cancelled before the first hop"}
	case m.view == nil:
		text = []string{"preparing " + m.g.ellipsis}
	default:
		text = []string{"the trace has no hop"}
		for _, n := range m.view.r.Collected.NotRead {
			text = append(text, "not read: "+n.What+": "+n.Why)
		}
	}
	y := r.y
	for _, t := range text {
		for _, line := range wrap([]span{{clean(t), 0}}, r.w-3, 2) {
			if y >= r.y+r.h {
				return
			}
			m.cv.spans(r.x+2, y, r.w-3, line, 0)
			y++
		}
	}
}

// drawDetail draws the selected hop: its rule, the tabs, the tab.
func (m *model) drawDetail() {
	c, g, th := m.cv, m.g, m.th
	r := m.lay.detailHdr
	title := "no hop"
	hop := m.hop()
	if hop != nil {
		title = fmt.Sprintf("%d %s  %s", m.list.cur+1, kindName(hop.Kind), hopName(hop))
	}
	c.rule(r.x, r.y, r.w, g.hrule, pad(title, min(width(title), r.w-6), g.ellipsis), th.frame, m.focusStyle(m.detailFocus))
	m.drawTabs(m.lay.tabs, hop)
	body := m.lay.detail
	if hop == nil {
		if m.lay.path.empty() {
			m.emptyText(body)
		}
		return
	}
	if m.tab == tabLogs {
		m.drawLogs(body)
		return
	}
	m.buildRows(body.w - 2)
	m.drawRows(body, m.rows, &m.tabs[m.tab], m.detailFocus)
}

func (m *model) drawTabs(r rect, hop *trace.Hop) {
	c, th := m.cv, m.th
	counts := [tabCount]int{}
	if hop != nil {
		counts = [tabCount]int{
			0, len(hop.Evidence) + len(m.view.elsewhere(m.selected())), len(hop.Config), m.log.len(),
			max(len(hop.Branches), 0) + len(hop.Detail.NearMisses),
		}
	}
	// The widest form that fits: names and counts, names, short names and counts,
	// short names, numbers.
	for form := range 5 {
		var labels []string
		total := 0
		for t := range tabCount {
			label := fmt.Sprintf("%d %s", t+1, tabNames[t])
			switch form {
			case 2, 3:
				label = fmt.Sprintf("%d %s", t+1, tabNames[t][:min(3, len(tabNames[t]))])
			case 4:
				if label = fmt.Sprint(int(t) + 1); t == m.tab {
					label += " " + tabNames[t]
				}
			}
			if (form == 0 || form == 2) && counts[t] > 0 {
				label += fmt.Sprintf(" (%d)", counts[t])
			}
			labels = append(labels, label)
			total += len(label) + 3
		}
		if total > r.w && form < 4 {
			continue
		}
		x := r.x
		m.tabAt = [tabCount]rect{}
		for t, label := range labels {
			st := th.dim
			if tab(t) == m.tab {
				label, st = "["+label+"]", th.title
			} else {
				label = " " + label + " "
			}
			n := c.text(x, r.y, r.x+r.w-x, label, st)
			m.tabAt[t] = rect{x, r.y, n, 1}
			x += n + 1
		}
		break
	}
}

// buildRows makes the rows of the present tab, if they are not there already.
func (m *model) buildRows(w int) {
	i := m.selected()
	key := rowsKey{
		p: m.view, hop: i, tab: m.tab, w: w, wrap: m.wrapOn, json: m.asJSON, ascii: m.ascii, theme: m.themeNo,
		place: m.list.cur, choices: m.choices, since: m.since,
	}
	if key == m.rowsFor && m.view != m.partial {
		return
	}
	m.rowsFor = key
	a := docArgs{
		p: m.view, hop: i, choice: m.choice, path: m.path, place: m.list.cur,
		change: m.changeOf(i), since: m.since, json: m.asJSON, g: m.g, th: m.th,
	}
	m.rows = wrapRows(build(m.tab, a), w, m.wrapOn)
	if m.query != "" && !m.foundPath && !m.foundLog {
		m.findSync()
	}
}

// drawRows draws a document with its cursor.
func (m *model) drawRows(r rect, rows []row, p *pane, focused bool) {
	c := m.cv
	p.clamp(len(rows), r.h)
	for k := 0; k < r.h && p.top+k < len(rows); k++ {
		i := p.top + k
		y := r.y + k
		if i == p.cur && focused {
			c.put(r.x, y, 1, m.g.cursor, m.th.title)
		}
		c.spans(r.x+2, y, r.w-2, rows[i].spans, m.pan)
		if m.query != "" && !m.foundPath && !m.foundLog && focused {
			m.markFound(r.x+2, y, r.w-2, m.query)
		}
	}
	if len(rows) > r.h {
		s := fmt.Sprintf(" %d-%d of %d ", p.top+1, min(p.top+r.h, len(rows)), len(rows))
		hdr := m.lay.detailHdr
		if width(s) < hdr.w/3 {
			c.text(hdr.x+hdr.w-width(s)-1, hdr.y, width(s), s, m.th.dim)
		}
	}
}

// markFound marks query wherever it stands in w cells of the screen.
func (m *model) markFound(x, y, w int, query string) {
	if query == "" {
		return
	}
	c := m.cv
	var b strings.Builder
	at := make([]int, 0, w) // cell of each byte
	for i := x; i < min(x+w, c.w); i++ {
		cl := c.cells[y*c.w+i]
		for range len(cl.s) {
			at = append(at, i)
		}
		b.WriteString(cl.s)
	}
	s, low := b.String(), strings.ToLower(query)
	for off := 0; off < len(s); {
		i := indexFold(s[off:], low)
		if i < 0 {
			return
		}
		i += off
		for j := i; j < min(i+len(query), len(at)); j++ {
			c.cells[y*c.w+at[j]].st = m.th.match
		}
		off = i + max(1, len(low))
	}
}

// drawLogs draws the access log as columns, with the line under the cursor in
// full below.
func (m *model) drawLogs(r rect) {
	c, th := m.cv, m.th
	n := m.log.len()
	scope := "this hop"
	if m.logAll {
		scope = "all hops"
	}
	info := scope + m.g.sep + counted(n, "line")
	if m.filter != "" {
		info += m.g.sep + "filter " + clean(m.filter)
	}
	if m.dropped > 0 {
		info += fmt.Sprintf("%s%d oldest dropped", m.g.sep, m.dropped)
	}
	if m.following != nil {
		info += m.g.sep + "following"
	}
	c.text(r.x+2, r.y, r.w-2, info, th.dim)
	r.y++
	r.h--
	if n == 0 {
		m.drawRows(r, wrapRows(m.noLogs(), r.w-2, true), &pane{}, false)
		return
	}
	under := 0
	if r.h >= 12 {
		under = min(7, r.h/3)
	}
	body := r
	body.h -= under
	m.logHeads(body)
	body.y++
	body.h--
	p := &m.tabs[tabLogs]
	p.clamp(n, body.h)
	for k := 0; k < body.h && p.top+k < n; k++ {
		i := p.top + k
		y := body.y + k
		m.logLine(body.x, y, body.w, m.log.at(i))
		if i == p.cur && m.detailFocus {
			c.put(body.x, y, 1, m.g.cursor, th.title)
		}
		if m.query != "" && m.foundLog {
			m.markFound(body.x+2, y, body.w-2, m.query)
		}
		if i == p.cur {
			c.fill(body.x, y, body.w, underlineOrReverse(m.detailFocus))
		}
	}
	if n > body.h {
		s := fmt.Sprintf(" %d-%d of %d ", p.top+1, min(p.top+body.h, n), n)
		hdr := m.lay.detailHdr
		c.text(hdr.x+hdr.w-width(s)-1, hdr.y, width(s), s, th.dim)
	}
	if under > 0 {
		row := m.log.at(min(p.cur, n-1))
		c.rule(r.x, r.y+r.h-under, r.w, m.g.hrule, "", th.frame, 0)
		rows := wrapRows(m.logRows(row, false), r.w-2, true)
		for k := 0; k < under-1 && k < len(rows); k++ {
			c.spans(r.x+2, r.y+r.h-under+1+k, r.w-2, rows[k].spans, 0)
		}
	}
}

func underlineOrReverse(focused bool) style {
	if focused {
		return reverse
	}
	return 0
}

// noLogs says why there is no access log line, and how to get one.
func (m *model) noLogs() []row {
	d := &doc{g: m.g, th: m.th}
	switch {
	case m.filter != "":
		d.none("no line holds " + clean(m.filter) + "; & changes the filter")
	case !m.logAll && len(m.log.rows) > 0:
		d.none(fmt.Sprintf("no line belongs to this hop; a shows the %s of all hops", counted(len(m.log.rows), "line")))
	default:
		read := 0
		if m.view != nil {
			for _, r := range m.view.r.Collected.Read {
				if strings.HasSuffix(r.What, "access.log") {
					d.none("no line of this request in " + clean(r.What))
					read++
				}
			}
		}
		if read == 0 {
			d.none("no access log was read")
		}
	}
	if m.view != nil {
		for _, n := range m.view.r.Collected.NotRead {
			if strings.Contains(n.What, "access.log") || strings.Contains(n.What, "access log") {
				d.add(span{"  not read: " + clean(n.What), 0})
				d.add(span{"    " + clean(n.Why), m.th.dim})
				if n.Command != "" {
					d.command(n.Command)
				}
			}
		}
	}
	if m.s.Follow == nil {
		d.none("following: " + m.noFollow())
	} else if m.following == nil {
		d.none("F follows the logs of the path")
	}
	return d.rows
}

func (m *model) noFollow() string {
	if m.s.NoFollow != "" {
		return clean(m.s.NoFollow)
	}
	return "a snapshot does not grow"
}

// logWidths are the columns that fit w cells: time, hop, code, flags, method,
// authority, upstream, duration; the path takes the rest.
type logWidths struct{ time, hop, code, flags, method, path, auth, up, took int }

func logLayout(w int) logWidths {
	l := logWidths{time: 12, hop: 3, code: 3, flags: 6, method: 6}
	switch {
	case w < 44:
		l = logWidths{time: 8, code: 3, flags: 4}
	case w < 60:
		l.time, l.method = 8, 0
	}
	used := l.time + l.hop + l.code + l.flags + l.method + 8
	if w-used > 34 {
		l.took = 7
		used += 8
	}
	if w-used > 40 {
		l.up = 21
		used += 22
	}
	if w-used > 44 {
		l.auth = min(30, (w-used)/2)
		used += l.auth + 1
	}
	l.path = max(4, w-used)
	return l
}

func (m *model) logCells(x, y, w int, st style, vals [9]string, styles [9]style) {
	l := logLayout(w - 4)
	at := x + 4
	for i, cw := range []int{l.time, l.hop, l.code, l.flags, l.method, l.path, l.auth, l.up, l.took} {
		if cw == 0 {
			continue
		}
		s := styles[i]
		if st != 0 {
			s = st
		}
		v := vals[i]
		if width(v) > cw && (i == 0) {
			v, _ = cut(v, cw)
		}
		m.cv.text(at, y, min(cw, x+w-at), v, s)
		at += cw + 1
	}
}

func (m *model) logHeads(r rect) {
	m.logCells(r.x, r.y, r.w, m.th.dim, [9]string{"time", "hop", "st", "flags", "method", "path", "authority", "upstream", "took"}, [9]style{})
}

func (m *model) logLine(x, y, w int, row *logRow) {
	th := m.th
	l := row.line
	col := columns(l)
	if l.Traced {
		m.cv.put(x+2, y, 1, "*", th.warn|bold)
	}
	if len(l.Fields) == 0 {
		if col.time != "" {
			n := m.cv.text(x+4, y, 12, clean(col.time), th.dim)
			x, w = x+n+1, w-n-1
		}
		st := style(0)
		if row.ended {
			st = th.warn
		}
		m.cv.text(x+4, y, w-4, clean(l.Raw), st)
		return
	}
	hop, _ := m.hopNumber(row.hop)
	codeStyle := th.ok
	switch {
	case col.code == "" || col.code == "0":
		codeStyle = th.dim
	case col.code[0] == '5':
		codeStyle = th.fail
	case col.code[0] == '4':
		codeStyle = th.warn
	}
	path := col.path
	if path == "" {
		path = field(l, "UPSTREAM_CLUSTER", "upstream_cluster", "UPSTREAM_CLUSTER_RAW")
	}
	m.logCells(x, y, w, 0, [9]string{
		clean(col.time), hop, clean(col.code), clean(col.flags), clean(col.method), clean(path),
		clean(col.authority), clean(col.upstream), clean(col.took),
	}, [9]style{th.dim, th.dim, codeStyle, th.warn, 0, th.accent, 0, th.dim, th.dim})
}

// hopNumber is the number of hop i of the report on the path that is shown; with a
// mark, and other, on the first of the other ways that has it. It is empty where
// the hop is not known.
func (m *model) hopNumber(i int) (number string, other bool) {
	if m.view == nil || i < 0 || i >= len(m.view.r.Hops) {
		return "", false
	}
	if k := slices.Index(m.path, i); k >= 0 {
		return strconv.Itoa(k + 1), false
	}
	if n := m.view.number[i]; n > 0 {
		return m.g.branch + strconv.Itoa(n), true
	}
	return "", false
}

// logRows is one line in full: its flags explained, why it counts as the traced
// request's, the raw line; with all its fields if asked.
func (m *model) logRows(row *logRow, fields bool) []row {
	d := &doc{g: m.g, th: m.th}
	l := row.line
	for _, f := range l.Flags {
		d.add(span{clean(f), m.th.warn})
	}
	if l.Traced {
		text := "* the traced request"
		if l.Because != "" {
			text += ": " + clean(l.Because)
		}
		d.add(span{text, m.th.title})
	}
	if row.proxy != "" && (fields || m.logAll) {
		by := "by " + clean(row.proxy)
		if n, other := m.hopNumber(row.hop); other {
			by += fmt.Sprintf(", hop %s of another way (B)", strings.TrimPrefix(n, m.g.branch))
		} else if n != "" {
			by += ", hop " + n
		}
		d.add(span{by, m.th.dim})
	}
	r := d.add(span{clean(l.Raw), 0})
	r.copy = clean(l.Raw)
	if fields {
		d.head("Fields")
		w := 0
		for k := range l.Fields {
			w = max(w, min(40, width(clean(k))))
		}
		for _, k := range sortedKeys(l.Fields) {
			v := clean(l.Fields[k])
			r := d.add(span{"  " + pad(clean(k), w, m.g.ellipsis) + "  ", m.th.dim}, span{v, 0})
			r.copy, r.indent = v, w+4
		}
		if len(l.Fields) == 0 && !row.ended {
			d.none("the line is of no known format")
		}
	}
	return d.rows
}

// drawPeek shows the beginning of the selected hop's summary below the path.
func (m *model) drawPeek() {
	r := m.lay.peekRule
	title := "no hop"
	hop := m.hop()
	if hop != nil {
		title = fmt.Sprintf("%d %s  %s", m.list.cur+1, kindName(hop.Kind), hopName(hop))
	}
	m.cv.rule(r.x, r.y, r.w, m.g.hrule, pad(title, min(width(title), r.w-6), m.g.ellipsis), m.th.frame, m.th.dim)
	if hop == nil {
		return
	}
	rows := build(tabSummary, docArgs{
		p: m.view, hop: m.selected(), choice: m.choice, path: m.path, place: m.list.cur,
		change: m.changeOf(m.selected()), since: m.since, g: m.g, th: m.th,
	})
	rows = wrapRows(rows, m.lay.peek.w-3, true)
	for k := 0; k < m.lay.peek.h && k < len(rows); k++ {
		m.cv.spans(2, m.lay.peek.y+k, m.w-3, rows[k].spans, 0)
	}
	if len(rows) > m.lay.peek.h {
		s := " enter: more "
		m.cv.text(m.w-width(s)-1, r.y, width(s), s, m.th.dim)
	}
}

// drawFooter shows the line being edited, else what was said last, else the
// keys.
func (m *model) drawFooter() {
	c, r := m.cv, m.lay.footer
	switch {
	case m.editing != editNothing:
		prompt := "/"
		if m.editing == editFilter {
			prompt = "&"
		}
		c.put(r.x+1, r.y, 1, prompt, m.th.key)
		w := r.w - 4
		count := ""
		if m.editing == editSearch && m.search.text != "" {
			count = fmt.Sprintf("%d found", len(m.found))
			if p := m.page(); p != nil {
				count = fmt.Sprintf("%d found", len(p.found))
			}
			w -= width(count) + 2
			c.text(r.w-width(count)-1, r.y, width(count), count, m.th.dim)
		}
		m.search.draw(c, r.x+2, r.y, w, 0, true)
	case m.note != "":
		c.put(r.x+1, r.y, 1, m.g.state[m.noteState], m.th.state(m.noteState))
		c.text(r.x+3, r.y, r.w-4, m.note, 0)
	default:
		contexts := []keyContext{ctxMain}
		if o := m.top(); o != nil {
			contexts = o.contexts()
		}
		m.drawKeys(r, contexts)
	}
}

// drawKeys shows the bindings with a short name, as many as fit. The way out is
// always among them.
func (m *model) drawKeys(r rect, contexts []keyContext) {
	x := r.x + 1
	end := r.x + r.w - 1
	out := []string{"close", "cancel"}
	if contexts[0] == ctxMain {
		out = []string{"help", "quit"}
	}
	reserve := -2
	for _, ctx := range contexts {
		for i := range m.table {
			if b := &m.table[i]; b.ctx == ctx && slices.Contains(out, b.short) {
				reserve += width(b.show()) + 1 + width(b.short) + 2
			}
		}
	}
	draw := func(b *binding) bool {
		short := b.short
		key := b.show()
		n := width(key) + 1 + width(short) + 2
		if x+n-2 > end {
			return false
		}
		x += m.cv.put(x, r.y, end-x, key, m.th.key)
		x += 1
		x += m.cv.put(x, r.y, end-x, short, m.th.dim) + 2
		return true
	}
	var last []*binding
	full := false
	for _, ctx := range contexts {
		for i := range m.table {
			b := &m.table[i]
			if b.ctx != ctx || b.short == "" {
				continue
			}
			if slices.Contains(out, b.short) {
				last = append(last, b)
				continue
			}
			if full || b.off != nil && b.off(m) != "" {
				continue
			}
			if x+width(b.show())+1+width(b.short)+2+reserve > end {
				full = true
				continue
			}
			draw(b)
		}
	}
	for _, b := range last {
		draw(b)
	}
}
