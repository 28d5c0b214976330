package tui

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hoptrail/hoptrail/internal/privacy"
	"github.com/hoptrail/hoptrail/internal/sanitize"
	"github.com/hoptrail/hoptrail/trace"
)

// defaultEvery is how often live mode traces when no interval was asked for.
const defaultEvery = 5 * time.Second

// bigLog is the number of lines from which searching and filtering leave the
// UI's goroutine.
const bigLog = 4096

// active is a trace under way.
type active struct {
	gen        int
	target     trace.Target
	started    time.Time
	cancel     context.CancelFunc
	events     chan Event
	reading    string
	cancelling bool
	told       bool       // all its events have come
	result     *tracedMsg // came before the last of them
}

// pane is a scrolled list: the row at its top and the one under the cursor.
type pane struct{ top, cur int }

// clamp keeps the cursor inside n rows and on a screen of h rows.
func (p *pane) clamp(n, h int) {
	p.cur = max(0, min(p.cur, n-1))
	if h < 1 {
		h = 1
	}
	p.top = min(p.top, p.cur)
	if p.cur >= p.top+h {
		p.top = p.cur - h + 1
	}
	p.top = max(0, min(p.top, n-h))
}

// model is the state of the UI. All of it is changed in Update only.
type model struct {
	s     Session
	ctx   context.Context
	env   environment
	now   func() time.Time
	after func(d time.Duration, msg tea.Msg) tea.Cmd // a message after some time
	table []binding
	keys  map[keyContext]map[string]*binding

	w, h    int
	g       *glyphs
	ascii   bool
	asciiOf string // why ASCII is on by itself
	themeNo int
	noColor bool
	th      *theme
	cv      *canvas
	lay     layout

	masker  *privacy.Masker
	privacy bool
	live    bool
	liveGen int
	every   time.Duration
	frozen  bool

	target  trace.Target // the question
	runs    []*run
	seq     int // runs so far
	shown   int // place in runs; -1 before the first
	tracing *active
	gen     int // of traces
	frame   int // of the spinner
	partial *prepared
	view    *prepared // what is drawn: runs[shown].view or partial; nil while preparing
	changed map[string]change
	gone    []string
	since   string
	stale   *run // what is drawn when the current run has nothing to draw

	choice  map[string]string // hop key to label of the branch taken
	choices int               // changes of choice so far
	tabAt   [tabCount]rect    // where the tabs were drawn
	path    []int
	list    pane   // the path
	curKey  string // the selected hop, whatever run
	moved   bool   // the user chose the hop

	detailFocus bool
	mode        screenMode
	tab         tab
	tabs        [tabCount]pane
	pan         int // columns the detail is moved left, without wrapping
	wrapOn      bool
	asJSON      bool
	rows        []row // of the tab, wrapped
	rowsFor     rowsKey

	log       logList
	logAll    bool // the whole path, not the hop
	stick     bool // the cursor stays at the newest line
	filter    string
	logGen    int
	following context.CancelFunc
	followCtx context.Context
	followGen int
	tails     map[string]bool // Pods whose logs are followed
	followers int             // calls of Session.Follow under way
	waiting   bool            // for the next trace: a log ended by itself
	followed  []logRow
	dropped   int
	reported  map[lineID]bool // the lines of the report, while lines are followed

	search     input
	query      string
	found      []int // rows
	foundLog   bool  // found are rows of the log
	foundPath  bool  // found are places in the path
	findGen    int
	editing    editing
	overlays   []overlay
	note       string
	noteState  trace.State
	quitting   bool
	interrupt  bool
	fullReport bool
}

// editing is what the line at the bottom is for.
type editing int

const (
	editNothing editing = iota
	editSearch
	editFilter
)

// rowsKey is everything the rows of the detail pane depend on.
type rowsKey struct {
	p       *prepared
	hop     int
	tab     tab
	w       int
	wrap    bool
	json    bool
	ascii   bool
	theme   int
	place   int
	choices int
	since   string
}

type (
	eventsMsg struct {
		gen    int
		events []Event
		closed bool
	}
	tracedMsg struct {
		gen  int
		r    *trace.Report
		p    *prepared
		err  error
		took time.Duration
	}
	preparedMsg struct {
		n int
		p *prepared
	}
	tickMsg   struct{ gen int }
	liveMsg   struct{ gen int }
	followMsg struct {
		gen    int
		lines  []FollowLine
		rows   []logRow
		masked bool
		more   chan FollowLine // nil for lines masked again
		end    chan error
	}
	followEndMsg struct {
		gen int
		err error
	}
	remaskedMsg struct {
		gen    int
		rows   []logRow
		masked bool
	}
	selectedMsg struct {
		gen   int
		shown []int32
	}
	foundMsg struct {
		gen   int
		found []int
	}
	copiedMsg struct {
		what string
		n    int
		copied
	}
	exportedMsg struct {
		kind, path string
		err        error
	}
	openMsg struct{ open func(m *model) } // what a command prepared to show
)

func newModel(ctx context.Context, s Session, env environment) *model {
	m := &model{
		s: s, ctx: ctx, env: env, now: s.Now, shown: -1, wrapOn: true, stick: true,
		masker: &privacy.Masker{}, privacy: s.Options.Privacy, target: s.Target,
		every: s.Options.Every, live: s.Options.Every > 0, choice: map[string]string{},
	}
	if m.now == nil {
		m.now = time.Now
	}
	m.after = func(d time.Duration, msg tea.Msg) tea.Cmd {
		return tea.Tick(d, func(time.Time) tea.Msg { return msg })
	}
	if m.every <= 0 {
		m.every = defaultEvery
	}
	why, auto := env.needsASCII()
	m.ascii, m.asciiOf = s.Options.ASCII || auto, why
	m.noColor = s.Options.NoColor || env.noColor()
	if m.noColor {
		m.themeNo = len(themes) - 1
	}
	m.restyle()
	m.cv = newCanvas(0, 0, m.g.ellipsis)
	m.table = keyTable()
	m.keys = indexKeys(m.table)
	return m
}

func (m *model) restyle() {
	m.g = &unicodeGlyphs
	if m.ascii {
		m.g = &asciiGlyphs
	}
	m.th = &themes[m.themeNo]
	if m.cv != nil {
		m.cv.ellipsis = m.g.ellipsis
	}
}

// Init starts the first trace.
func (m *model) Init() tea.Cmd { return m.startTrace() }

// Update takes one message. It does no input or output: whatever takes time is
// in the commands it returns.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.w, m.h = msg.Width, msg.Height
	case tea.KeyPressMsg:
		m.note = ""
		return m, m.press(msg.String(), msg.Text)
	case tea.PasteMsg:
		return m, m.paste(msg.Content)
	case tea.MouseMsg:
		return m, m.mouse(msg)
	case eventsMsg:
		return m, m.progress(msg)
	case tracedMsg:
		return m, m.traced(msg)
	case preparedMsg:
		for _, r := range m.runs {
			if r.n == msg.n {
				r.view = msg.p
			}
		}
		return m, m.show()
	case tickMsg:
		if m.tracing != nil && m.tracing.gen == msg.gen {
			m.frame++
			return m, m.tick()
		}
	case liveMsg:
		if msg.gen == m.liveGen && m.live && !m.frozen && m.tracing == nil {
			return m, m.startTrace()
		}
	case followMsg:
		return m, m.followLines(msg)
	case followEndMsg:
		if msg.gen == m.followGen && m.following != nil {
			m.followEnded(msg.err)
		}
	case remaskedMsg:
		if msg.gen == m.followGen && msg.masked == m.privacy {
			m.followed = mergeByTime(msg.rows, m.followed)
			return m, m.rebuildLog()
		}
	case selectedMsg:
		if msg.gen == m.logGen {
			m.log.shown, m.log.all = msg.shown, false
			// Lines that came meanwhile are behind those that were searched.
			return m, m.findAgain()
		}
	case foundMsg:
		if msg.gen == m.findGen {
			m.found = msg.found
			m.goFound(0)
		}
	case copiedMsg:
		if msg.err != nil {
			m.say(trace.Fail, "copy failed: %s", strings.TrimPrefix(msg.err.Error(), "copy: "))
			break
		}
		m.say(trace.OK, "copied %s (%d bytes) to %s", msg.what, msg.n, msg.how)
		if msg.osc != "" {
			return m, tea.Raw(msg.osc)
		}
	case exportedMsg:
		if msg.err != nil {
			m.say(trace.Fail, "export of %s failed: %s", msg.kind, strings.TrimPrefix(msg.err.Error(), "export: "))
		} else {
			m.say(trace.OK, "wrote %s to %s", msg.kind, msg.path)
		}
	case openMsg:
		msg.open(m)
	}
	return m, nil
}

// say puts a line at the bottom until the next key.
func (m *model) say(s trace.State, format string, args ...any) {
	m.noteState = s
	m.note = clean(fmt.Sprintf(format, args...))
	if m.privacy {
		m.note = m.masker.Text(m.note)
	}
}

// press handles one key: the line being edited first, then what lies on top,
// then the screen.
func (m *model) press(key, text string) tea.Cmd {
	if key == "ctrl+c" {
		return m.stop()
	}
	if m.editing != editNothing {
		return m.edit(key, text)
	}
	if len(m.overlays) > 0 {
		return m.overlays[len(m.overlays)-1].press(m, key, text)
	}
	if m.w < minWidth || m.h < minHeight {
		if key == "q" {
			return m.quit()
		}
		return nil
	}
	return m.dispatch(key, ctxMain)
}

// dispatch runs the binding of a key in the first of the contexts that has one.
func (m *model) dispatch(key string, contexts ...keyContext) tea.Cmd {
	for _, c := range contexts {
		if b, ok := m.keys[c][key]; ok {
			return m.run(b)
		}
	}
	return nil
}

// run does what a binding says, or says why it cannot.
func (m *model) run(b *binding) tea.Cmd {
	if b.off != nil {
		if why := b.off(m); why != "" {
			m.say(trace.Skipped, "%s: %s", b.name, why)
			return nil
		}
	}
	return b.run(m)
}

// stop is ctrl-c: it cancels the trace under way; with none, or a second time,
// it leaves.
func (m *model) stop() tea.Cmd {
	if t := m.tracing; t != nil && !t.cancelling {
		t.cancelling = true
		t.cancel()
		if m.live {
			m.live = false
			m.liveGen++
		}
		m.say(trace.Skipped, "cancelling the trace; ctrl-c again leaves")
		return nil
	}
	m.interrupt = true
	return m.quit()
}

func (m *model) quit() tea.Cmd {
	m.quitting = true
	if m.tracing != nil {
		m.tracing.cancel()
	}
	if m.following != nil {
		m.following()
	}
	return tea.Quit
}

// ---- tracing

// startTrace begins a trace of the target, unless one is under way.
func (m *model) startTrace() tea.Cmd {
	if m.tracing != nil {
		return nil
	}
	m.gen++
	ctx, cancel := context.WithCancel(m.ctx)
	t := &active{gen: m.gen, target: m.target, started: m.now(), cancel: cancel, events: make(chan Event, 256)}
	m.tracing = t
	if len(m.runs) == 0 || !sameQuestion(m.runs[len(m.runs)-1].target, m.target) {
		// A new question: its path is shown while it grows.
		m.partial = growing(m.shownTarget(m.target))
		m.moved = false
		if !m.frozen {
			m.shown = -1
			m.setView(m.partial)
		}
	}
	mask := m.mask()
	session := m.s
	work := func() tea.Msg {
		begin := time.Now()
		r, err := safely(func() (*trace.Report, error) {
			return session.Trace(ctx, t.target, func(e Event) {
				select {
				case t.events <- e:
				case <-ctx.Done():
				}
			})
		})
		close(t.events)
		cancel()
		msg := tracedMsg{gen: t.gen, r: r, err: err, took: time.Since(begin)}
		if r != nil {
			msg.p = prepare(r, mask)
		}
		return msg
	}
	return tea.Batch(work, waitEvents(t, mask), m.tick())
}

// safely turns a panic of the session into an error: the terminal and what is
// already known survive it.
func safely(f func() (*trace.Report, error)) (r *trace.Report, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, fmt.Errorf("internal error: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// mask is the masker to prepare with now, nil without privacy.
func (m *model) mask() *privacy.Masker {
	if m.privacy {
		return m.masker
	}
	return nil
}

// waitEvents waits for progress and takes what has gathered in one message.
func waitEvents(t *active, mask *privacy.Masker) tea.Cmd {
	return func() tea.Msg {
		msg := eventsMsg{gen: t.gen}
		e, ok := <-t.events
		for ok {
			if e.Hop != nil {
				h := *e.Hop
				if mask != nil {
					h = mask.Hop(h)
				} else {
					h = privacy.SecretsHop(h)
				}
				e.Hop = &h
			} else if mask != nil {
				e.Reading = mask.Text(e.Reading)
			}
			msg.events = append(msg.events, e)
			if len(msg.events) >= 256 {
				return msg
			}
			select {
			case e, ok = <-t.events:
			default:
				return msg
			}
		}
		msg.closed = true
		return msg
	}
}

func (m *model) tick() tea.Cmd {
	return m.after(100*time.Millisecond, tickMsg{m.gen})
}

func (m *model) progress(msg eventsMsg) tea.Cmd {
	t := m.tracing
	if t == nil || t.gen != msg.gen {
		return nil
	}
	grown := false
	for _, e := range msg.events {
		if t.reading = clean(e.Reading); e.Hop != nil {
			t.reading = ""
		}
		if e.Hop != nil && m.partial != nil {
			m.partial.grow(*e.Hop)
			grown = true
		}
	}
	if grown && m.view == m.partial {
		m.setView(m.partial)
		if !m.moved {
			m.list.cur = max(0, len(m.path)-1)
			m.curKey = m.selectedKey()
		}
	}
	if msg.closed {
		if t.told = true; t.result != nil {
			return m.traced(*t.result)
		}
		return nil
	}
	return waitEvents(t, m.mask())
}

func (m *model) traced(msg tracedMsg) tea.Cmd {
	t := m.tracing
	if t == nil || t.gen != msg.gen {
		return nil
	}
	if !t.told { // commands run side by side: what the trace told of comes yet
		t.result = &msg
		return nil
	}
	m.tracing = nil
	m.seq++
	r := &run{n: m.seq, at: t.started, took: msg.took, target: t.target, raw: msg.r, view: msg.p}
	if msg.err != nil {
		if t.cancelling || errors.Is(msg.err, context.Canceled) {
			r.cancelled = true
			m.say(trace.Skipped, "trace cancelled; r traces again")
		} else {
			r.err = msg.err
		}
	}
	if r.raw == nil && m.partial != nil && len(m.partial.r.Hops) > 0 {
		// What was seen before it ended stays on the screen.
		r.view = m.partial
		r.view.masked = m.privacy
	}
	atEnd := m.shown == len(m.runs)-1 || m.shown < 0
	m.runs = append(m.runs, r)
	if len(m.runs) > maxRuns {
		m.runs = m.runs[1:]
		m.shown = max(0, m.shown-1)
	}
	m.partial = nil
	var cmds []tea.Cmd
	if atEnd && !m.frozen {
		m.shown = len(m.runs) - 1
		cmds = append(cmds, m.show())
	}
	cmds = append(cmds, m.followNew(r.raw))
	if m.live && !m.frozen {
		cmds = append(cmds, m.schedule())
	}
	return tea.Batch(cmds...)
}

func (m *model) schedule() tea.Cmd {
	m.liveGen++
	return m.after(m.every, liveMsg{m.liveGen})
}

// current is the run on the screen, nil before the first.
func (m *model) current() *run {
	if m.shown < 0 || m.shown >= len(m.runs) {
		return nil
	}
	return m.runs[m.shown]
}

// show puts the current run on the screen. A run that is not prepared for the
// present privacy is prepared first; meanwhile nothing of it is shown.
func (m *model) show() tea.Cmd {
	r := m.current()
	if r == nil {
		m.setView(m.partial)
		return m.rebuildLog()
	}
	if r.raw != nil && (r.view == nil || r.view.masked != m.privacy) {
		m.setView(nil)
		mask, raw, n := m.mask(), r.raw, r.n
		return func() tea.Msg { return preparedMsg{n, prepare(raw, mask)} }
	}
	m.changed, m.gone, m.since, m.stale = nil, nil, "", nil
	if i := m.shown - 1; i >= 0 && r.view == nil {
		// Nothing came of this run: the one before stays below its error.
		for ; i >= 0; i-- {
			if b := m.runs[i]; b.view != nil && b.view.masked == m.privacy && sameQuestion(b.target, r.target) {
				m.stale = b
				m.setView(b.view)
				return m.rebuildLog()
			}
		}
	}
	if i := m.shown - 1; i >= 0 && r.view != nil {
		if before := m.runs[i]; before.view != nil && before.view.masked == r.view.masked && before.raw != nil && r.raw != nil && sameQuestion(before.target, r.target) {
			m.changed, m.gone = changes(before.view, r.view)
			m.since = fmt.Sprintf("%s (#%d)", clock(before.at), before.n)
		}
	}
	m.setView(r.view)
	return m.rebuildLog()
}

// setView draws p from now on. The selection stays on the same hop where p has
// it; else it goes to the first problem.
func (m *model) setView(p *prepared) {
	m.view = p
	m.rowsFor = rowsKey{}
	if p == nil {
		m.path = nil
		return
	}
	m.path = p.follow(m.choice)
	at := -1
	if m.moved || p == m.partial {
		at = m.placeOf(m.curKey)
	}
	if at < 0 {
		if at = p.first(m.path); p.r.Verdict == "" && len(p.r.Paths) == 0 {
			at = max(0, len(m.path)-1)
		}
	}
	m.list.cur = at
	m.curKey = m.selectedKey()
	m.findSync()
}

// placeOf is where in the path the hop of that key is, -1 for nowhere.
func (m *model) placeOf(key string) int {
	for k, i := range m.path {
		if m.view.keys[i] == key {
			return k
		}
	}
	return -1
}

func (m *model) selectedKey() string {
	if m.view == nil || m.list.cur < 0 || m.list.cur >= len(m.path) {
		return ""
	}
	return m.view.keys[m.path[m.list.cur]]
}

// selected is the place in the report of the hop under the cursor, -1 for none.
func (m *model) selected() int {
	if m.view == nil || m.list.cur < 0 || m.list.cur >= len(m.path) {
		return -1
	}
	return m.path[m.list.cur]
}

func (m *model) hop() *trace.Hop {
	if i := m.selected(); i >= 0 {
		return &m.view.r.Hops[i]
	}
	return nil
}

// goHop selects a place in the path.
func (m *model) goHop(k int) tea.Cmd {
	if len(m.path) == 0 {
		return nil
	}
	k = max(0, min(k, len(m.path)-1))
	m.moved = true
	if k == m.list.cur {
		return nil
	}
	m.list.cur = k
	m.curKey = m.selectedKey()
	m.resetDetail()
	return m.selectLog()
}

func (m *model) resetDetail() {
	m.tabs = [tabCount]pane{}
	m.pan = 0
	m.rowsFor = rowsKey{}
	if m.following != nil {
		m.tabs[tabLogs].cur = m.log.len() - 1
	}
}

// goID selects the hop of that id, changing branches where it is not on the
// path.
func (m *model) goID(id string) tea.Cmd {
	if m.view == nil {
		return nil
	}
	i, ok := m.view.index[id]
	if !ok {
		return nil
	}
	for k, j := range m.path {
		if j == i {
			return m.goHop(k)
		}
	}
	for n, p := range m.view.r.Paths {
		for _, h := range p.Hops {
			if h == id {
				m.takePath(n)
				return m.goHop(m.placeOf(m.view.keys[i]))
			}
		}
	}
	return nil
}

// takePath chooses, at every hop, the branch that path n of the report takes.
func (m *model) takePath(n int) {
	hops := m.view.r.Paths[n].Hops
	for k, id := range hops {
		i, ok := m.view.index[id]
		if !ok {
			return
		}
		to := ""
		if k+1 < len(hops) {
			to = hops[k+1]
		}
		for _, b := range m.view.r.Hops[i].Branches {
			if b.To == to {
				m.choice[m.view.keys[i]] = b.Label
				break
			}
		}
	}
	m.repath()
}

// take chooses a branch of hop i of the report.
func (m *model) take(i int, label string) {
	m.choice[m.view.keys[i]] = label
	m.repath()
}

// repath follows the choices anew and keeps the selection.
func (m *model) repath() {
	m.choices++
	key := m.curKey
	m.path = m.view.follow(m.choice)
	m.rowsFor = rowsKey{}
	if at := m.placeOf(key); at >= 0 {
		m.list.cur = at
	} else {
		m.list.cur = m.view.first(m.path)
		m.resetDetail()
	}
	m.curKey = m.selectedKey()
	m.findSync()
}

// branching is the hop whose branches the branch keys mean: the selected one,
// else the nearest above it, else the nearest below. -1 for none.
func (m *model) branching() int {
	if m.view == nil || len(m.path) == 0 {
		return -1
	}
	many := func(k int) bool { return len(m.view.r.Hops[m.path[k]].Branches) > 1 }
	for k := min(m.list.cur, len(m.path)-1); k >= 0; k-- {
		if many(k) {
			return k
		}
	}
	for k := m.list.cur + 1; k < len(m.path); k++ {
		if many(k) {
			return k
		}
	}
	return -1
}

func (m *model) cycleBranch(by int) tea.Cmd {
	k := m.branching()
	i := m.path[k]
	h := &m.view.r.Hops[i]
	n := len(h.Branches)
	at := m.view.taken(m.path, k, m.choice)
	b := h.Branches[(max(at, 0)+by+n)%n]
	m.moved = true
	m.take(i, b.Label)
	m.say(b.State, "hop %d: %s (%s) %s", k+1, clean(b.Label), percent(b.Probability), word(b.State))
	return m.selectLog()
}

// shownTarget is t as it may be shown.
func (m *model) shownTarget(t trace.Target) trace.Target {
	if m.privacy {
		return m.masker.Target(t)
	}
	return privacy.SecretsTarget(t)
}

// changeOf is how the selected hop differs from the run before.
func (m *model) changeOf(i int) *change {
	if c, ok := m.changed[m.view.keys[i]]; ok {
		return &c
	}
	return nil
}

// ---- access logs

// rebuildLog merges the lines of the report with those followed.
func (m *model) rebuildLog() tea.Cmd {
	if len(m.followed) > 0 {
		m.followed = slices.Clone(m.followed) // a search may still read the old ones
		for i := range m.followed {
			m.place(&m.followed[i])
		}
	}
	m.mergeLog()
	return m.selectLog()
}

func (m *model) mergeLog() {
	var base []logRow
	if m.view != nil {
		base = m.view.logs
	}
	// What was followed may be in the report of a later trace, too.
	m.reported = nil
	followed := m.followed
	if len(followed) > 0 || m.following != nil {
		m.reported = make(map[lineID]bool, len(base))
		for i := range base {
			m.reported[base[i].id()] = true
		}
		followed = m.unreported(followed)
	}
	rows := mergeByTime(base, followed)
	m.log.rows = rows[:len(rows):len(rows)] // what is appended to it is its own
}

// unreported are the rows that the report on the screen does not have.
func (m *model) unreported(rows []logRow) []logRow {
	has := func(r logRow) bool { return m.reported[r.id()] }
	if !slices.ContainsFunc(rows, has) {
		return rows
	}
	return slices.DeleteFunc(slices.Clone(rows), has)
}

// place finds the hop of a followed line in the report on the screen.
func (m *model) place(r *logRow) {
	r.hop = -1
	if m.view == nil {
		return
	}
	i, ok := m.view.byKey[r.hopKey]
	if !ok && r.hopKey == "" {
		i, ok = m.view.index[r.hopID]
	}
	if !ok {
		i, ok = m.view.byProxy[r.proxy]
	}
	if ok {
		r.hop = i
		if r.hopKey == "" && r.hopID != "" {
			r.hopKey = m.view.keys[i]
		}
	}
}

// selectLog picks the lines of the hop, or of the path, that pass the filter.
// With a filter over many lines this happens off the UI's goroutine.
func (m *model) selectLog() tea.Cmd {
	m.logGen++
	hop := -1
	if !m.logAll {
		if hop = m.selected(); hop < 0 {
			hop = len(m.log.rows) // no hop: no line
		}
	}
	rows := m.log.rows
	if m.filter != "" && len(rows) > bigLog {
		gen, filter := m.logGen, strings.ToLower(m.filter)
		m.log.hop, m.log.filter = hop, filter
		m.log.shown, m.log.all = nil, false
		return func() tea.Msg { return selectedMsg{gen, selectRows(rows, 0, hop, filter)} }
	}
	m.log.build(rows, hop, m.filter)
	return m.findAgain()
}

// followLines takes new lines of the logs being followed.
func (m *model) followLines(msg followMsg) tea.Cmd {
	if msg.gen != m.followGen {
		return nil
	}
	var cmds []tea.Cmd
	if msg.more != nil {
		for i := range msg.lines {
			if msg.lines[i].Ended {
				m.tailEnded(&msg.lines[i])
			}
		}
		cmds = append(cmds, waitLines(msg.gen, msg.more, msg.end, m.mask()))
	}
	if msg.masked != m.privacy {
		mask, lines, gen := m.mask(), msg.lines, msg.gen
		return tea.Batch(append(cmds, func() tea.Msg {
			return followMsg{gen: gen, lines: lines, rows: lineRows(lines, mask), masked: mask != nil}
		})...)
	}
	for i := range msg.rows {
		m.place(&msg.rows[i])
	}
	m.followed = insertByTime(m.followed, msg.rows)
	if n := len(m.followed) - maxFollowed; n > maxFollowed/10 {
		m.dropped += n
		m.followed = slices.Clone(m.followed[n:])
		return tea.Batch(append(cmds, m.rebuildLog())...)
	}
	if m.frozen {
		return tea.Batch(cmds...)
	}
	before := m.log.len()
	tail := m.tabs[tabLogs].cur >= before-1
	m.log.rows = insertByTime(m.log.rows, m.unreported(msg.rows))
	cmds = append(cmds, m.selectLog())
	if m.stick && tail {
		m.tabs[tabLogs].cur = max(0, m.log.len()-1)
	}
	return tea.Batch(cmds...)
}

// waitLines waits for followed lines and takes what has gathered; behind the last
// of them it tells how following ended.
func waitLines(gen int, ch chan FollowLine, end chan error, mask *privacy.Masker) tea.Cmd {
	return func() tea.Msg {
		l, ok := <-ch
		if !ok {
			return followEndMsg{gen, <-end}
		}
		batch := []FollowLine{l}
		for len(batch) < 2048 {
			select {
			case l, ok = <-ch:
				if ok {
					batch = append(batch, l)
					continue
				}
			default:
			}
			break
		}
		return followMsg{gen: gen, lines: batch, rows: lineRows(batch, mask), masked: mask != nil, more: ch, end: end}
	}
}

// lineRows makes followed lines ready for drawing.
func lineRows(lines []FollowLine, mask *privacy.Masker) []logRow {
	rows := make([]logRow, len(lines))
	for i := range lines {
		rows[i] = followedRow(&lines[i], mask)
	}
	return rows
}

func followedRow(f *FollowLine, mask *privacy.Masker) logRow {
	line := f.Line
	if f.Ended {
		line = trace.LogLine{At: f.Line.At, Raw: "the log of " + f.Proxy + " ended"}
		if f.Err != nil {
			line.Raw += ": " + f.Err.Error()
		}
	}
	l := privacy.SecretsLine(line)
	if mask != nil {
		l = mask.Line(line)
	}
	proxy := f.Proxy
	if mask != nil {
		proxy = mask.Text(proxy)
	}
	row := newLogRow(&l, -1, proxy)
	row.followed, row.ended, row.hopID, row.raw = true, f.Ended, f.Hop, f
	return row
}

// toggleFollow starts or stops following the access logs of the path.
func (m *model) toggleFollow() tea.Cmd {
	if m.following != nil {
		m.following()
		m.following = nil
		m.followGen++
		m.say(trace.Skipped, "following stopped; %s kept", counted(len(m.followed), "line"))
		return nil
	}
	m.followCtx, m.following = context.WithCancel(m.ctx)
	m.followGen++
	m.followers, m.tails, m.waiting = 0, map[string]bool{}, false
	m.tab, m.logAll, m.stick = tabLogs, true, true
	if m.lay.detail.empty() {
		m.detailFocus = true
	}
	follow := m.follow(m.current().raw)
	cmd := m.rebuildLog()
	m.tabs[tabLogs].cur = max(0, m.log.len()-1)
	return tea.Batch(cmd, follow)
}

// follow reads the logs of the proxies on the path of r.
func (m *model) follow(r *trace.Report) tea.Cmd {
	for _, pod := range proxiesOf(r) {
		m.tails[pod] = true
	}
	m.followers++
	m.waiting = false
	ctx, gen, follow := m.followCtx, m.followGen, m.s.Follow
	ch, end := make(chan FollowLine, 4096), make(chan error, 1)
	work := func() tea.Msg {
		_, err := safely(func() (*trace.Report, error) {
			return nil, follow(ctx, r, func(l FollowLine) {
				select {
				case ch <- l:
				case <-ctx.Done():
				}
			})
		})
		end <- err
		close(ch)
		return nil
	}
	return tea.Batch(work, waitLines(gen, ch, end, m.mask()))
}

// followNew reads the logs of Pods that came with r, too.
func (m *model) followNew(r *trace.Report) tea.Cmd {
	if m.following == nil || r == nil || !slices.ContainsFunc(proxiesOf(r), func(pod string) bool { return !m.tails[pod] }) {
		return nil
	}
	return m.follow(r)
}

// proxiesOf are the Pods of r that write access logs.
func proxiesOf(r *trace.Report) []string {
	var out []string
	for i := range r.Hops {
		if h := &r.Hops[i]; h.Kind == trace.KindPod && h.Detail.Pod != "" && h.Detail.Role != "" && h.Detail.Role != "plain" {
			out = append(out, h.Detail.Pod)
		}
	}
	return out
}

// tailEnded takes note of the end of one log. Where it ended by itself the next
// trace that finds the Pod follows it again.
func (m *model) tailEnded(f *FollowLine) {
	if f.Err == nil {
		delete(m.tails, f.Proxy)
		m.waiting = true
		m.say(trace.Warn, "the log of %s ended; the next trace that finds it, or its successor, follows that", f.Proxy)
		return
	}
	m.say(trace.Warn, "the log of %s ended: %v", f.Proxy, f.Err)
}

// followEnded takes note of the end of one call of Session.Follow; with the last
// of them following ends.
func (m *model) followEnded(err error) {
	if m.followers--; m.followers > 0 || err == nil && m.waiting {
		return
	}
	m.following()
	m.following = nil
	if err != nil && !errors.Is(err, context.Canceled) {
		m.say(trace.Fail, "following stopped: %v", err)
	} else {
		m.say(trace.Skipped, "following ended")
	}
}

// togglePrivacy masks, or unmasks, everything at once.
func (m *model) togglePrivacy() tea.Cmd {
	m.privacy = !m.privacy
	m.overlays = nil // they hold texts of before
	m.query, m.found = "", nil
	if m.partial != nil {
		// The hops so far were told in the other mode; the report brings them again.
		shown := m.view == m.partial
		m.partial = growing(m.shownTarget(m.target))
		if shown {
			m.setView(m.partial)
		}
	}
	if len(m.followed) > 0 {
		old := m.followed
		m.followed = nil
		mask, gen := m.mask(), m.followGen
		remask := func() tea.Msg {
			rows := make([]logRow, len(old))
			for i := range old {
				rows[i] = followedRow(old[i].raw, mask)
			}
			return remaskedMsg{gen, rows, mask != nil}
		}
		return tea.Batch(m.show(), remask)
	}
	return m.show()
}

// ---- searching

// edit handles a key while a line is typed at the bottom.
func (m *model) edit(key, text string) tea.Cmd {
	switch key {
	case "esc", "ctrl+g":
		if p := m.page(); p != nil {
			p.query, p.found = "", nil
		} else if m.editing == editSearch {
			m.query, m.found = "", nil
			m.findGen++
		}
		m.editing = editNothing
		return nil
	case "enter":
		was := m.editing
		m.editing = editNothing
		if was == editFilter {
			m.filter = strings.TrimSpace(m.search.text)
			m.tabs[tabLogs] = pane{}
			if m.following != nil {
				m.tabs[tabLogs].cur = 1 << 30
			}
			return m.selectLog()
		}
		if p := m.page(); p != nil {
			if p.query != "" {
				p.goFound(m, 0)
			}
			return nil
		}
		if m.query != "" && len(m.found) == 0 {
			m.say(trace.Warn, "%q is not here", m.query)
			return nil
		}
		return m.goFound(0)
	case "up", "down":
		by := 1
		if key == "up" {
			by = -1
		}
		if p := m.page(); p != nil {
			p.goFound(m, by)
		} else if m.editing == editSearch {
			m.goFound(by)
		}
		return nil
	}
	if m.search.key(key, text) && m.editing == editSearch {
		return m.searched()
	}
	return nil
}

// searched looks for what is typed now.
func (m *model) searched() tea.Cmd {
	if p := m.page(); p != nil {
		if p.query = m.search.text; p.query != "" {
			p.find()
			p.goFound(m, 0)
		} else {
			p.found = nil
		}
		return nil
	}
	m.query = m.search.text
	return m.find()
}

// page is the page on top of the screen, nil where there is none.
func (m *model) page() *page {
	p, _ := m.top().(*page)
	return p
}

func (m *model) paste(s string) tea.Cmd {
	switch {
	case m.editing != editNothing:
		m.search.insert(s)
		if m.editing == editSearch {
			return m.searched()
		}
	case len(m.overlays) > 0:
		m.overlays[len(m.overlays)-1].paste(m, s)
	}
	return nil
}

// find looks for the query in the pane that has the focus and goes to the next
// match.
func (m *model) find() tea.Cmd {
	m.foundPath = !m.detailShown() || !m.detailFocus
	m.foundLog = !m.foundPath && m.tab == tabLogs
	cmd := m.findAgain()
	if cmd == nil {
		m.goFound(0)
	}
	return cmd
}

// findAgain computes the matches again after what is searched has changed.
func (m *model) findAgain() tea.Cmd {
	if m.query == "" || !m.foundLog {
		if m.foundLog {
			m.found = nil
		} else {
			m.findSync()
		}
		return nil
	}
	m.findGen++
	if m.log.len() <= bigLog {
		m.found = findLog(m.log, strings.ToLower(m.query))
		return nil
	}
	gen, l, q := m.findGen, m.log, strings.ToLower(m.query)
	return func() tea.Msg { return foundMsg{gen, findLog(l, q)} }
}

func findLog(l logList, low string) []int {
	var out []int
	for i := range l.len() {
		if containsFold(l.at(i).line.Raw, low) {
			out = append(out, i)
		}
	}
	return out
}

// findSync computes the matches in the path or in the document of a tab.
func (m *model) findSync() {
	if m.foundLog {
		return
	}
	m.found = nil
	if m.query == "" {
		return
	}
	low := strings.ToLower(m.query)
	if m.foundPath {
		for k, i := range m.path {
			h := &m.view.r.Hops[i]
			if containsFold(kindName(h.Kind)+" "+hopName(h)+" "+clean(h.Summary)+" "+word(h.State), low) {
				m.found = append(m.found, k)
			}
		}
		return
	}
	m.found = findRows(m.rows, m.query)
}

// findRows returns the rows at which the lines begin that hold query: a line that
// was wrapped is one.
func findRows(rows []row, query string) []int {
	if query == "" {
		return nil
	}
	low := strings.ToLower(query)
	var found []int
	last := -1
	var line strings.Builder
	flush := func(first int) {
		if containsFold(line.String(), low) {
			found = append(found, first)
		}
		line.Reset()
	}
	first := 0
	for i, r := range rows {
		if r.src != last {
			if last >= 0 {
				flush(first)
			}
			last, first = r.src, i
		} else {
			line.WriteByte(' ')
		}
		line.WriteString(strings.TrimSpace(r.text()))
	}
	if last >= 0 {
		flush(first)
	}
	return found
}

// goFound moves to a match: the next (1), the one before (-1), or the nearest
// from the cursor on (0).
func (m *model) goFound(by int) tea.Cmd {
	if len(m.found) == 0 {
		return nil
	}
	cur := m.tabs[m.tab].cur
	if m.foundPath {
		cur = m.list.cur
	}
	at := nextFound(m.found, cur, by)
	m.say(trace.Skipped, "match %d of %d for %q", at+1, len(m.found), m.query)
	if m.foundPath {
		return m.goHop(m.found[at])
	}
	m.tabs[m.tab].cur = m.found[at]
	return nil
}

// nextFound is the place in found of the next match after cur (1), the one before
// (-1), or the nearest from cur on (0); after the last comes the first. -1 where
// there is none.
func nextFound(found []int, cur, by int) int {
	if by < 0 {
		for i, f := range slices.Backward(found) {
			if f < cur {
				return i
			}
		}
		return len(found) - 1
	}
	for i, f := range found {
		if f > cur || by == 0 && f == cur {
			return i
		}
	}
	return min(0, len(found)-1)
}

// detailShown says whether the selected hop's pane is on the screen.
func (m *model) detailShown() bool { return !m.lay.detail.empty() }

// runError is the error of a run as it may be shown.
func (m *model) runError(err error) string {
	text := err.Error()
	if m.privacy {
		return m.masker.Text(text)
	}
	return privacy.SecretText(sanitize.Cut(text, 16<<10))
}
