package tui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/hoptrail/hoptrail/trace"
)

// inDetail says whether movement means the right pane.
func (m *model) inDetail() bool { return m.detailShown() && (m.detailFocus || m.lay.path.empty()) }

// detailLen is the number of lines of the present tab.
func (m *model) detailLen() int {
	if m.tab == tabLogs {
		return m.log.len()
	}
	return len(m.rows)
}

func (m *model) moveBy(by int) tea.Cmd {
	if m.inDetail() {
		p := &m.tabs[m.tab]
		p.cur = max(0, min(p.cur+by, m.detailLen()-1))
		return nil
	}
	return m.goHop(m.list.cur + by)
}

func (m *model) moveTo(n int) tea.Cmd {
	if m.inDetail() {
		m.tabs[m.tab].cur = max(0, min(n, m.detailLen()-1))
		return nil
	}
	return m.goHop(n)
}

func (m *model) pageSize() int {
	if m.inDetail() {
		return max(1, m.lay.detail.h-1)
	}
	if m.lay.compact {
		return max(1, m.lay.path.h-1)
	}
	return max(1, m.lay.path.h/2-1)
}

func (m *model) scrollDetail(by int) {
	p := &m.tabs[m.tab]
	h := max(1, m.lay.detail.h)
	p.top = max(0, min(p.top+by, m.detailLen()-h))
	p.cur = max(p.top, min(p.cur, p.top+h-1))
}

// problem goes to the next match while searching, else to the next hop that is
// not OK.
func (m *model) problem(by int) tea.Cmd {
	if m.query != "" {
		if len(m.found) == 0 {
			m.say(trace.Warn, "%q is not here; esc ends the search", m.query)
			return nil
		}
		return m.goFound(by)
	}
	for n := 1; n <= len(m.path); n++ {
		k := ((m.list.cur+by*n)%len(m.path) + len(m.path)) % len(m.path)
		if problem(&m.view.r.Hops[m.path[k]]) {
			if k == m.list.cur {
				m.say(trace.Skipped, "the other hops of this path are OK")
			}
			return m.goHop(k)
		}
	}
	return nil
}

func (m *model) setTab(t tab) {
	m.tab = (t + tabCount) % tabCount
	m.pan = 0
	if !m.detailShown() || m.lay.path.empty() {
		m.detailFocus = true
	}
	if m.query != "" && !m.foundPath {
		m.foundLog = m.tab == tabLogs
		m.found = nil
		if m.foundLog {
			m.findGen++
		}
	}
}

func (m *model) sideways(by int) tea.Cmd {
	if !m.wrapOn && m.inDetail() && m.tab != tabLogs {
		m.pan = max(0, m.pan+8*by)
		return nil
	}
	m.setTab(m.tab + tab(by))
	return m.findAgain()
}

func (m *model) enter() tea.Cmd {
	if !m.detailFocus || !m.detailShown() {
		m.detailFocus = true
		return nil
	}
	p := m.tabs[m.tab]
	if m.tab == tabLogs {
		if n := m.log.len(); n > 0 {
			line := *m.log.at(min(p.cur, n-1))
			m.open(&page{title: "Access log line", build: func(m *model, _ int) []row { return m.logRows(&line, true) }})
		}
		return nil
	}
	if p.cur < len(m.rows) {
		r := m.rows[p.cur]
		switch {
		case r.branch != "":
			m.moved = true
			m.take(m.selected(), r.branch)
			m.say(trace.Skipped, "following %s", clean(r.branch))
			return m.selectLog()
		case r.jump != "":
			return m.goID(r.jump)
		}
	}
	if m.mode == modeDetail {
		m.mode = modeSplit
	} else if !m.lay.path.empty() {
		m.mode = modeDetail
	}
	return nil
}

func (m *model) back() {
	switch {
	case m.query != "":
		m.query, m.found = "", nil
	case m.mode != modeSplit:
		m.mode = modeSplit
	case m.detailFocus:
		m.detailFocus = false
	}
}

func (m *model) nextMode(by int) {
	m.mode = (m.mode + screenMode(by) + modeCount) % modeCount
	switch m.mode {
	case modeDetail:
		m.detailFocus = true
	case modePath:
		m.detailFocus = false
	case modeSplit, modeCount:
	}
}

func (m *model) nextTheme() {
	m.themeNo = (m.themeNo + 1) % len(themes)
	m.restyle()
	m.say(trace.Skipped, "theme: %s", m.th.name)
}

func (m *model) toggleASCII() {
	m.ascii = !m.ascii
	m.restyle()
}

func (m *model) startEdit(what editing, text string) {
	m.editing = what
	m.search = *newInput(text)
	if what == editSearch && m.page() == nil {
		m.foundPath = !m.inDetail()
		m.foundLog = !m.foundPath && m.tab == tabLogs
	}
}

func (m *model) toggleScope() tea.Cmd {
	m.logAll = !m.logAll
	m.tabs[tabLogs] = pane{}
	return m.selectLog()
}

func (m *model) toggleLive() tea.Cmd {
	m.live = !m.live
	m.liveGen++
	if !m.live {
		m.say(trace.Skipped, "live is off")
		return nil
	}
	cmd := m.latest()
	m.say(trace.OK, "tracing every %s", everyText(m.every))
	if m.tracing != nil || m.frozen {
		return cmd // it goes on when this one has ended
	}
	return tea.Batch(cmd, m.startTrace())
}

// again traces the question once more; its answer is what is to be seen.
func (m *model) again() tea.Cmd { return tea.Batch(m.latest(), m.startTrace()) }

// latest leaves the earlier run that is on the screen, unless that is frozen.
func (m *model) latest() tea.Cmd {
	if n := len(m.runs) - 1; !m.frozen && m.shown >= 0 && m.shown != n {
		m.shown = n
		return m.show()
	}
	return nil
}

func (m *model) toggleFreeze() tea.Cmd {
	m.frozen = !m.frozen
	if m.frozen {
		m.say(trace.Skipped, "frozen; space goes on")
		return nil
	}
	m.say(trace.Skipped, "going on")
	var cmds []tea.Cmd
	if n := len(m.runs) - 1; n >= 0 && m.shown != n {
		m.shown = n
		cmds = append(cmds, m.show())
	} else {
		cmds = append(cmds, m.rebuildLog())
	}
	if m.live && m.tracing == nil {
		cmds = append(cmds, m.startTrace())
	}
	return tea.Batch(cmds...)
}

func (m *model) step(by int) tea.Cmd {
	if m.shown < 0 {
		m.shown = len(m.runs)
	}
	return m.showRun(m.shown + by)
}

func (m *model) showRun(i int) tea.Cmd {
	m.shown = max(0, min(i, len(m.runs)-1))
	m.moved = true
	return m.show()
}

// ---- lists

func (m *model) moveTop(by int) {
	switch o := m.top().(type) {
	case *list:
		o.move(by)
	case *page:
		o.move(by)
	}
}

func (m *model) stateSpan(s trace.State) span {
	return span{m.g.state[s] + " " + pad(word(s), 8, m.g.ellipsis), m.th.state(s)}
}

func (m *model) openBranches() tea.Cmd {
	k := m.branching()
	i := m.path[k]
	h := &m.view.r.Hops[i]
	taken := m.view.taken(m.path, k, m.choice)
	l := &list{
		name: "branches", current: -1, extra: []keyContext{ctxWays},
		title: fmt.Sprintf("Branches at hop %d: %s %s", k+1, kindName(h.Kind), hopName(h)),
	}
	w := 0
	for _, b := range h.Branches {
		w = max(w, min(60, width(clean(b.Label))))
	}
	for n, b := range h.Branches {
		label := clean(b.Label)
		ss := []span{{fmt.Sprintf("%5s  ", percent(b.Probability)), 0}, m.stateSpan(b.State), {pad(label, w, m.g.ellipsis), m.th.accent}}
		if b.To == "" {
			ss = append(ss, span{"  ends here", m.th.dim})
		} else if j, ok := m.view.index[b.To]; ok && hopName(&m.view.r.Hops[j]) != label {
			to := &m.view.r.Hops[j]
			ss = append(ss, span{"  " + m.g.arrow + " " + kindName(to.Kind) + " " + hopName(to), m.th.dim})
		}
		if n == taken {
			ss = append(ss, span{"  shown", m.th.dim})
			l.pane.cur, l.current = n, n
		}
		l.items = append(l.items, item{spans: ss, id: n, find: label, copy: label, run: func(m *model) tea.Cmd {
			m.moved = true
			m.take(i, b.Label)
			return m.selectLog()
		}})
	}
	l.apply()
	m.open(l)
	return nil
}

// endOf is the hop a path ends at or fails at.
func (m *model) endOf(p trace.Path) *trace.Hop {
	var last *trace.Hop
	for _, id := range p.Hops {
		if i, ok := m.view.index[id]; ok {
			last = &m.view.r.Hops[i]
			if last.State == trace.Fail {
				return last
			}
		}
	}
	return last
}

func (m *model) openWays() tea.Cmd {
	r := m.view.r
	l := &list{name: "ways", current: -1, extra: []keyContext{ctxWays}, title: fmt.Sprintf("All ways  (%d)", len(r.Paths)), empty: "the report lists no paths"}
	share := map[trace.Verdict]float64{}
	for _, p := range r.Paths {
		share[p.Verdict] += p.Probability
	}
	var sum []span
	for _, v := range []trace.Verdict{trace.Reachable, trace.Degraded, trace.Unreachable, trace.Undetermined} {
		if share[v] > 0 {
			st := verdictState(v)
			sum = append(sum, span{m.g.state[st] + " " + verdictWord(v) + " " + percent(share[v]) + "   ", m.th.state(st)})
		}
	}
	l.head = []row{{spans: sum}, {}}
	current := make([]string, 0, len(m.path))
	for _, i := range m.path {
		current = append(current, r.Hops[i].ID)
	}
	for n, p := range r.Paths {
		st := verdictState(p.Verdict)
		ss := []span{{fmt.Sprintf("%5s  ", percent(p.Probability)), 0}, {m.g.state[st] + " " + pad(verdictWord(p.Verdict), 13, m.g.ellipsis), m.th.state(st)}}
		it := item{id: n}
		if len(p.Hops) == 0 {
			ss = append(ss, span{"the ways beyond the bound on their number", m.th.dim})
			it.off = "not listed one by one"
		} else {
			if h := m.endOf(p); h != nil {
				ss = append(ss, span{kindName(h.Kind) + " " + hopName(h), m.th.accent})
				it.copy = hopName(h)
			}
			it.under = []span{{m.choicesOf(p), m.th.dim}}
			it.run = func(m *model) tea.Cmd {
				m.moved = true
				m.takePath(n)
				return m.selectLog()
			}
		}
		if slices.Equal(p.Hops, current) {
			ss = append(ss, span{"  shown", m.th.dim})
			l.pane.cur, l.current = n, n
		}
		it.spans = ss
		l.items = append(l.items, it)
	}
	l.apply()
	m.open(l)
	return nil
}

// choicesOf names what a path takes wherever there is a choice.
func (m *model) choicesOf(p trace.Path) string {
	var out []string
	for k, id := range p.Hops {
		i, ok := m.view.index[id]
		if !ok {
			continue
		}
		h := &m.view.r.Hops[i]
		if len(h.Branches) < 2 {
			continue
		}
		to := ""
		if k+1 < len(p.Hops) {
			to = p.Hops[k+1]
		}
		for _, b := range h.Branches {
			if b.To == to {
				out = append(out, kindName(h.Kind)+": "+clean(b.Label))
				break
			}
		}
	}
	if len(out) == 0 {
		return "no choice on the way"
	}
	return strings.Join(out, m.g.sep)
}

func (m *model) markItem() {
	l, ok := m.top().(*list)
	if !ok || l.selected() == nil {
		return
	}
	id := l.selected().id
	if i := slices.Index(l.marked, id); i >= 0 {
		l.marked = slices.Delete(l.marked, i, i+1)
	} else {
		if l.marked = append(l.marked, id); len(l.marked) > 2 {
			l.marked = l.marked[1:]
		}
	}
	l.move(1)
}

// compareMarked shows two branches, or two whole ways, side by side.
func (m *model) compareMarked() tea.Cmd {
	l, ok := m.top().(*list)
	if !ok || l.selected() == nil {
		return nil
	}
	ids := slices.Clone(l.marked)
	for _, id := range []int{l.selected().id, l.current} {
		if len(ids) < 2 && id >= 0 && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) != 2 {
		m.say(trace.Skipped, "compare: this one is shown already; move to another, or mark two with space")
		return nil
	}
	slices.Sort(ids)
	var sides [2]side
	switch l.name {
	case "branches":
		k := m.branching()
		i := m.path[k]
		for n, id := range ids {
			b := m.view.r.Hops[i].Branches[id]
			choice := map[string]string{}
			for key, label := range m.choice {
				choice[key] = label
			}
			choice[m.view.keys[i]] = b.Label
			sides[n] = side{title: clean(b.Label) + " (" + percent(b.Probability) + ")", hops: m.view.follow(choice)}
		}
	case "ways":
		for n, id := range ids {
			p := m.view.r.Paths[id]
			var hops []int
			for _, h := range p.Hops {
				if i, ok := m.view.index[h]; ok {
					hops = append(hops, i)
				}
			}
			sides[n] = side{title: fmt.Sprintf("way %d (%s) %s", id+1, percent(p.Probability), verdictWord(p.Verdict)), hops: hops}
		}
	}
	view := m.view
	m.open(&page{title: "Compare", full: true, build: func(m *model, w int) []row { return compareRows(m, view, sides, w) }})
	return nil
}

// openFixes lists what to do, by finding.
func (m *model) openFixes() tea.Cmd {
	l := &list{name: "fixes", title: "Fixes: copied, never run", empty: "no finding says what to do"}
	for _, f := range m.view.r.Findings {
		st := severityState(f.Severity)
		at := ""
		for k, i := range m.path {
			if m.view.r.Hops[i].ID == f.Hop {
				at = fmt.Sprintf("  hop %d", k+1)
			}
		}
		head := item{
			spans: []span{{m.g.state[st] + " " + clean(f.Code), m.th.state(st)}, {"  " + clean(f.Title), m.th.title}, {at, m.th.dim}},
			copy:  clean(f.Code + " " + f.Title + ": " + f.Detail),
		}
		if id := f.Hop; id != "" {
			head.run = func(m *model) tea.Cmd { return m.goID(id) }
		}
		l.items = append(l.items, head)
		for _, fix := range f.Fix {
			text := clean(fix)
			lead := m.g.arrow
			if isCommand(fix) {
				lead = "$"
			}
			l.items = append(l.items, item{
				spans: []span{{"  " + lead + " ", m.th.dim}, {text, m.th.cmd}}, copy: text,
				run: func(m *model) tea.Cmd { return m.copyText("the fix", text) },
			})
		}
	}
	l.apply()
	m.open(l)
	return nil
}

func (m *model) openRead() tea.Cmd {
	col := m.view.r.Collected
	version := m.view.r.Tool.Version
	m.open(&page{title: "What was read", build: func(m *model, _ int) []row {
		d := &doc{g: m.g, th: m.th}
		if len(col.NotRead) > 0 {
			d.head(fmt.Sprintf("Not read  (%d): what depends on it is undetermined", len(col.NotRead)))
			for _, n := range col.NotRead {
				d.add(span{"  " + m.g.state[trace.Unknown] + " ", m.th.unk}, span{clean(n.What), m.th.accent}).copy = clean(n.What)
				d.add(span{"    " + clean(n.Why), 0}).indent = 4
				if n.Command != "" {
					d.command(n.Command)
				}
			}
		}
		d.head(fmt.Sprintf("Read  (%d)", len(col.Read)))
		for _, r := range col.Read {
			at := ""
			if r.At != "" {
				at = "  " + shortTime(clean(r.At))
			}
			d.add(span{"  " + clean(r.What), 0}, span{at, m.th.dim}).copy = clean(r.What)
		}
		if len(col.Read) == 0 {
			d.none("nothing")
		}
		d.blank()
		if col.Requests > 0 || col.Bytes > 0 {
			d.none(fmt.Sprintf("%d requests, %d bytes", col.Requests, col.Bytes))
		}
		d.none("hoptrail " + clean(version))
		return d.rows
	}})
	return nil
}

func (m *model) openRuns() tea.Cmd {
	l := &list{name: "runs", title: fmt.Sprintf("Runs  (%d kept)", len(m.runs))}
	for i := len(m.runs) - 1; i >= 0; i-- {
		r := m.runs[i]
		st, text := trace.Unknown, "cancelled"
		switch {
		case r.err != nil:
			text = clean(strings.SplitN(m.runError(r.err), "\n", 2)[0])
			st = trace.Fail
		case r.raw != nil:
			st = verdictState(r.raw.Verdict)
			text = verdictWord(r.raw.Verdict)
			if i > 0 && sameQuestion(m.runs[i-1].target, r.target) {
				if ch, gone := changes(m.runs[i-1].view, r.view); len(ch)+len(gone) > 0 {
					text += fmt.Sprintf("  %s %d changed", m.g.changed, len(ch)+len(gone))
				}
			}
		}
		ss := []span{
			{fmt.Sprintf("#%-4d %s  ", r.n, clock(r.at)), 0},
			{m.g.state[st] + " ", m.th.state(st)},
			{text, 0},
			{"  " + elapsed(r.took), m.th.dim},
		}
		if i == m.shown {
			ss = append(ss, span{"  shown", m.th.dim})
			l.pane.cur = len(l.items)
		}
		l.items = append(l.items, item{
			spans: ss, under: []span{{clean(m.shownTarget(r.target).Raw), m.th.dim}}, find: text,
			run: func(m *model) tea.Cmd { return m.showRun(slices.Index(m.runs, r)) },
		})
	}
	l.apply()
	m.open(l)
	return nil
}

// ---- copying and exporting

// copyText gives text to the clipboard, off the UI's goroutine.
func (m *model) copyText(what, text string) tea.Cmd {
	ctx, copyTo, env := m.ctx, m.s.Copy, m.env
	return func() tea.Msg {
		msg := copiedMsg{what: what, n: len(text)}
		if copyTo != nil {
			msg.how, msg.err = copyTo(ctx, text)
			return msg
		}
		msg.copied = clipboard{env: env}.copy(ctx, text)
		return msg
	}
}

func (m *model) copyItem() tea.Cmd {
	text := ""
	switch o := m.top().(type) {
	case *list:
		if it := o.selected(); it != nil {
			text = it.copy
		}
	case *page:
		if r, ok := o.selected(); ok {
			if text = r.copy; text == "" {
				text = strings.TrimSpace(r.text())
			}
		}
	}
	if text == "" {
		m.say(trace.Skipped, "copy: nothing here to copy")
		return nil
	}
	return m.copyText("it", text)
}

func (m *model) openCopy() tea.Cmd {
	l := &list{name: "copy", title: "Copy"}
	add := func(what, about, text string) {
		if strings.TrimSpace(text) == "" {
			return
		}
		l.items = append(l.items, item{
			spans: []span{{pad(what, 24, m.g.ellipsis) + "  ", 0}, {clean(about), m.th.dim}}, copy: text,
			run: func(m *model) tea.Cmd { return m.copyText(what, text) },
		})
	}
	h := m.hop()
	if m.inDetail() && m.tab == tabLogs && m.log.len() > 0 {
		raw := m.log.at(min(m.tabs[tabLogs].cur, m.log.len()-1)).line.Raw
		add("access log line", raw, raw)
	} else if m.inDetail() && m.tab != tabLogs && m.tabs[m.tab].cur < len(m.rows) {
		r := m.rows[m.tabs[m.tab].cur]
		text := r.copy
		if text == "" {
			text = strings.TrimSpace(r.text())
		}
		add("this line", text, text)
	}
	if h != nil {
		add("name", hopName(h), hopName(h))
		if h.Out != nil {
			add("destination", h.Out.Dst, h.Out.Dst)
		}
		add("what it decided", h.Summary, h.Summary)
		for _, e := range h.Evidence {
			add("command", e.Command, e.Command)
		}
		for _, i := range m.view.findings[h.ID] {
			for _, fix := range m.view.r.Findings[i].Fix {
				add("fix", fix, fix)
			}
		}
		for _, e := range h.Evidence {
			add("evidence "+clean(e.ID), e.Source+", "+counted(strings.Count(e.Excerpt, "\n")+1, "line"), e.Excerpt)
		}
		for _, c := range h.Config {
			add("configuration", c.Kind+" "+c.Name, strings.Join(yamlLines(c.Object, maxConfigLines), "\n"))
		}
	}
	if curl := curlCommand(m.shownTarget(m.target)); curl != "" {
		add("request as curl", curl, curl)
	}
	if render, view := m.s.Render, m.view; render != nil && noReport(m) == "" {
		ctx := m.ctx
		for _, f := range []struct{ what, format string }{{"summary in Markdown", "markdown"}, {"report as text", "text"}} {
			l.items = append(l.items, item{
				spans: []span{{f.what, 0}}, find: f.what,
				run: func(m *model) tea.Cmd {
					copyTo, env := m.s.Copy, m.env
					return func() tea.Msg {
						text := render(view.r, f.format)
						msg := copiedMsg{what: f.what, n: len(text)}
						if copyTo != nil {
							msg.how, msg.err = copyTo(ctx, text)
						} else {
							msg.copied = clipboard{env: env}.copy(ctx, text)
						}
						return msg
					}
				},
			})
		}
	}
	l.apply()
	m.open(l)
	return nil
}

// curlCommand is the curl command that sends the request, "" where curl cannot.
func curlCommand(t trace.Target) string {
	if t.Scheme != "http" && t.Scheme != "https" {
		return ""
	}
	args := []string{"curl", "-v"}
	if t.Method != "" && t.Method != "GET" {
		args = append(args, "-X", t.Method)
	}
	for _, k := range sortedKeys(t.Resolve) {
		args = append(args, "--resolve", k+":"+t.Resolve[k])
	}
	switch t.HTTPVersion {
	case "1.0":
		args = append(args, "--http1.0")
	case "1.1":
		args = append(args, "--http1.1")
	case "2":
		args = append(args, "--http2")
	}
	for _, h := range t.Headers {
		args = append(args, "-H", h.Name+": "+h.Value)
	}
	args = append(args, t.Raw)
	for i, a := range args {
		args[i] = shellQuote(a)
	}
	return strings.Join(args, " ")
}

func (m *model) openExport() tea.Cmd {
	l := &list{name: "export", title: "Export"}
	if m.privacy {
		l.head = []row{{spans: []span{{"privacy is on: addresses, hosts, nodes and header values are masked", m.th.title}}}, {}}
	}
	view, ctx, export := m.view, m.ctx, m.s.Export
	for _, k := range []struct{ kind, about string }{
		{"json", "the report, as -o json"},
		{"markdown", "the report for a ticket"},
		{"snapshot", "everything the trace read, to trace again elsewhere"},
	} {
		it := item{
			spans: []span{{pad(k.kind, 10, m.g.ellipsis), m.th.title}, {k.about, m.th.dim}},
			run: func(m *model) tea.Cmd {
				m.say(trace.Skipped, "writing %s", k.kind)
				return func() tea.Msg {
					path, err := export(ctx, k.kind, view.r)
					return exportedMsg{k.kind, path, err}
				}
			},
		}
		if k.kind == "snapshot" && m.privacy {
			it.off = "a snapshot holds raw data; p ends privacy"
		}
		l.items = append(l.items, it)
	}
	l.apply()
	m.open(l)
	return nil
}

// ---- the form

func (m *model) openForm() {
	var r *trace.Report
	if run := m.current(); run != nil {
		r = run.raw // its own names: a vantage is asked from, not looked at
	}
	m.open(newForm(m.target, r))
}

func (m *model) submitForm() tea.Cmd {
	f := m.top().(*form)
	t, err := f.target()
	if err != nil {
		f.err = clean(err.Error())
		return nil
	}
	if m.tracing != nil {
		m.tracing.cancel()
		m.tracing = nil // what it still tells is ignored
	}
	m.close()
	m.target = t
	m.frozen = false
	m.choice = map[string]string{}
	m.choices++
	return m.startTrace()
}

// ---- help and palette

func (m *model) openHelp() tea.Cmd {
	m.open(&page{title: "Keys", build: func(m *model, w int) []row {
		d := &doc{g: m.g, th: m.th}
		kw := 16
		if w < 50 {
			kw = 10
		}
		for _, c := range contextTitles {
			group := "-"
			for i := range m.table {
				b := &m.table[i]
				if b.ctx != c.ctx {
					continue
				}
				if b.group != group {
					group = b.group
					title := c.title
					if group != "" {
						title = group
					}
					d.head(title)
					if c.about != "" {
						d.none(c.about)
					}
				}
				r := d.add(span{"  " + pad(b.all(), kw, m.g.ellipsis) + " ", m.th.key}, span{b.help, 0})
				r.indent = kw + 3
				if b.ctx == ctxMain && b.off != nil {
					if why := b.off(m); why != "" {
						d.add(span{strings.Repeat(" ", kw+3) + "now off: " + why, m.th.dim}).indent = kw + 3
					}
				}
			}
		}
		return d.rows
	}})
	return nil
}

func (m *model) openPalette() tea.Cmd {
	l := &list{name: "palette", title: "Do", filter: newInput(""), empty: "nothing of that name"}
	for i := range m.table {
		b := &m.table[i]
		if b.ctx != ctxMain || b.name == "palette" {
			continue
		}
		why := ""
		if b.off != nil {
			why = b.off(m)
		}
		about := b.help
		if why != "" {
			about = "(" + why + ")"
		}
		l.items = append(l.items, item{
			spans: []span{{pad(b.name, 20, m.g.ellipsis), 0}, {pad(keyName(b.keys[0]), 8, m.g.ellipsis), m.th.key}, {about, m.th.dim}},
			find:  b.name + " " + b.help, run: func(m *model) tea.Cmd { return m.run(b) },
		})
	}
	l.apply()
	m.open(l)
	return nil
}

// runPalette does the entry under the cursor; a number is a hop, a code a
// finding.
func (m *model) runPalette() tea.Cmd {
	l := m.top().(*list)
	text := strings.TrimSpace(l.filter.text)
	if n, err := strconv.Atoi(text); err == nil {
		m.close()
		if n < 1 || n > len(m.path) {
			m.say(trace.Warn, "there is no hop %d", n)
			return nil
		}
		return m.goHop(n - 1)
	}
	if m.view != nil {
		for _, f := range m.view.r.Findings {
			if strings.EqualFold(f.Code, text) {
				m.close()
				return m.goID(f.Hop)
			}
		}
	}
	return l.choose(m)
}

// ---- the mouse

func (m *model) mouse(msg tea.MouseMsg) tea.Cmd {
	at := msg.Mouse()
	switch msg.(type) {
	case tea.MouseWheelMsg:
		by := 3
		if at.Button == tea.MouseWheelUp {
			by = -3
		}
		switch {
		case len(m.overlays) > 0:
			m.moveTop(by)
		case m.lay.detail.contains(at.X, at.Y):
			m.scrollDetail(by)
		case m.lay.path.contains(at.X, at.Y):
			return m.goHop(m.list.cur + by/3)
		}
	case tea.MouseClickMsg:
		if at.Button != tea.MouseLeft || len(m.overlays) > 0 {
			return nil
		}
		for t, r := range m.tabAt {
			if m.detailShown() && r.contains(at.X, at.Y) {
				m.setTab(tab(t))
				return m.findAgain()
			}
		}
		switch {
		case m.lay.path.contains(at.X, at.Y):
			m.detailFocus = false
			n := at.Y - m.lay.path.y
			if !m.lay.compact {
				n /= 2
			}
			if n += m.list.top; n < len(m.path) {
				return m.goHop(n)
			}
		case m.lay.detail.contains(at.X, at.Y):
			m.detailFocus = true
			p := &m.tabs[m.tab]
			n := at.Y - m.lay.detail.y
			if m.tab == tabLogs {
				n -= 2 // what is shown, and the names of the columns
			}
			if n += p.top; n >= 0 && n < m.detailLen() {
				p.cur = n
			}
		}
	}
	return nil
}

// report is what is left when the session ends: the last complete report as it
// may be shown.
func (m *model) report() *trace.Report {
	for i := len(m.runs) - 1; i >= 0; i-- {
		r := m.runs[i]
		if r.raw == nil {
			continue
		}
		if r.view != nil && r.view.masked == m.privacy {
			return r.view.r
		}
		return prepare(r.raw, m.mask()).r
	}
	return nil
}
