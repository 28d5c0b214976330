package tui

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/hoptrail/hoptrail/trace"
)

// keyContext is what a key is pressed in.
type keyContext string

const (
	ctxMain    keyContext = "screen"
	ctxList    keyContext = "list"
	ctxWays    keyContext = "ways" // lists of branches and paths, before ctxList
	ctxPage    keyContext = "page"
	ctxForm    keyContext = "form"
	ctxPalette keyContext = "palette"
	ctxLine    keyContext = "line" // the line at the bottom
)

var contextTitles = []struct {
	ctx   keyContext
	title string
	about string
}{
	{ctxMain, "On the screen", ""},
	{ctxWays, "Choosing a way", "In the lists of branches and of all ways, besides the keys of a list."},
	{ctxList, "In a list", "Every entry has a number. A digit chooses that entry; of ten and more, the digits go there and Enter chooses."},
	{ctxPage, "On a page", "Help, an access log line, a comparison, what was read."},
	{ctxForm, "Editing the question", ""},
	{ctxPalette, "In the palette", "Typing narrows the choice; a number goes to that hop, a code to its finding."},
	{ctxLine, "Typing a search or a filter", ""},
}

// binding is one entry of the key table, the only source of what keys do, the
// help, the footer, the palette and docs/keys.md.
type binding struct {
	ctx   keyContext
	group string
	keys  []string // as Bubble Tea names them; the first is shown
	name  string   // in the palette
	short string   // in the footer; empty keeps it out
	label string   // the keys in the footer, where it is not the first
	help  string
	run   func(m *model) tea.Cmd
	off   func(m *model) string // why it does nothing now; "" when it does
}

// keyNames are the keys whose own name is not what stands on them.
var keyNames = strings.NewReplacer("pgdown", "PgDn", "pgup", "PgUp", "left", "Left", "right", "Right", "up", "Up", "down", "Down",
	"home", "Home", "end", "End", "enter", "Enter", "esc", "Esc", "tab", "Tab", "space", "Space", "ctrl+", "Ctrl-", "shift+", "Shift-",
	"backspace", "Backspace")

func keyName(k string) string {
	if len(k) == 1 {
		return k
	}
	return keyNames.Replace(k)
}

// show is how the footer and the help name the keys.
func (b *binding) show() string {
	if b.label != "" {
		return b.label
	}
	return keyName(b.keys[0])
}

func (b *binding) all() string {
	var out []string
	for _, k := range b.keys {
		out = append(out, keyName(k))
	}
	return strings.Join(out, " ")
}

func indexKeys(table []binding) map[keyContext]map[string]*binding {
	out := map[keyContext]map[string]*binding{}
	for i := range table {
		b := &table[i]
		if out[b.ctx] == nil {
			out[b.ctx] = map[string]*binding{}
		}
		for _, k := range b.keys {
			out[b.ctx][k] = b
		}
	}
	return out
}

// do wraps an action that needs no command.
func do(f func(m *model)) func(m *model) tea.Cmd {
	return func(m *model) tea.Cmd { f(m); return nil }
}

func noPath(m *model) string {
	if len(m.path) == 0 {
		return "there is no hop yet"
	}
	return ""
}

func noProblem(m *model) string {
	if why := noPath(m); why != "" || m.query != "" {
		return why
	}
	for _, i := range m.path {
		if problem(&m.view.r.Hops[i]) {
			return ""
		}
	}
	return "every hop of this path is OK"
}

func noReport(m *model) string {
	if r := m.current(); r == nil || r.raw == nil || m.view == nil {
		return "there is no finished trace on the screen"
	}
	return ""
}

func notLogs(m *model) string {
	if m.tab != tabLogs {
		return "only in the Logs tab (4)"
	}
	return ""
}

// keyTable is the one table of keys. The order within a context is that of the
// footer.
func keyTable() []binding {
	const (
		move = "Moving"
		look = "Looking"
		ask  = "Asking"
		away = "Taking it away"
		scr  = "The screen"
	)
	t := []binding{
		{
			ctx: ctxMain, group: move, keys: []string{"j", "down"}, name: "down", short: "move", label: "j/k",
			help: "next hop; in the right pane the next line", run: func(m *model) tea.Cmd { return m.moveBy(1) },
		},
		{
			ctx: ctxMain, group: move, keys: []string{"k", "up"}, name: "up",
			help: "previous hop or line", run: func(m *model) tea.Cmd { return m.moveBy(-1) },
		},
		{
			ctx: ctxMain, group: move, keys: []string{"tab", "shift+tab"}, name: "other pane", short: "pane",
			help: "go to the other pane", run: do(func(m *model) { m.detailFocus = !m.detailFocus }), off: noPath,
		},
		{
			ctx: ctxMain, group: move, keys: []string{"enter"}, name: "open", short: "open",
			help: "open the hop, the log line, or follow the branch under the cursor", run: (*model).enter, off: noPath,
		},
		{
			ctx: ctxMain, group: move, keys: []string{"esc", "ctrl+g"}, name: "back",
			help: "end the search, leave the right pane, leave full screen", run: do((*model).back),
		},
		{
			ctx: ctxMain, group: move, keys: []string{"g", "home"}, name: "first",
			help: "first hop or line", run: func(m *model) tea.Cmd { return m.moveTo(0) },
		},
		{
			ctx: ctxMain, group: move, keys: []string{"G", "end"}, name: "last",
			help: "last hop or line", run: func(m *model) tea.Cmd { return m.moveTo(1 << 30) },
		},
		{
			ctx: ctxMain, group: move, keys: []string{"ctrl+d", "pgdown", "ctrl+f"}, name: "page down",
			help: "a page down", run: func(m *model) tea.Cmd { return m.moveBy(m.pageSize()) },
		},
		{
			ctx: ctxMain, group: move, keys: []string{"ctrl+u", "pgup", "ctrl+b"}, name: "page up",
			help: "a page up", run: func(m *model) tea.Cmd { return m.moveBy(-m.pageSize()) },
		},
		{
			ctx: ctxMain, group: move, keys: []string{"J"}, name: "scroll detail down",
			help: "scroll the right pane down, from either pane", run: do(func(m *model) { m.scrollDetail(1) }), off: noPath,
		},
		{
			ctx: ctxMain, group: move, keys: []string{"K"}, name: "scroll detail up",
			help: "scroll the right pane up, from either pane", run: do(func(m *model) { m.scrollDetail(-1) }), off: noPath,
		},
		{
			ctx: ctxMain, group: move, keys: []string{"n"}, name: "next problem", short: "problem",
			help: "next match while searching, else the next hop that is not OK", run: func(m *model) tea.Cmd { return m.problem(1) }, off: noProblem,
		},
		{
			ctx: ctxMain, group: move, keys: []string{"N"}, name: "previous problem",
			help: "previous match or problem", run: func(m *model) tea.Cmd { return m.problem(-1) }, off: noProblem,
		},

		{
			ctx: ctxMain, group: look, keys: []string{"1"}, name: "tab summary", short: "tabs", label: "1-5",
			help: "what the hop decided, its checks, findings and flow", run: toTab(tabSummary), off: noPath,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"2"}, name: "tab evidence",
			help: "the raw lines it rests on, the matching part marked, and the command that prints them again", run: toTab(tabEvidence), off: noPath,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"3"}, name: "tab config",
			help: "the decoded objects and the resources a person wrote", run: toTab(tabConfig), off: noPath,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"4"}, name: "tab logs",
			help: "the access log lines of the hop or of the path", run: toTab(tabLogs), off: noPath,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"5"}, name: "tab alternatives",
			help: "the other branches, endpoints and near misses", run: toTab(tabAlternatives), off: noPath,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"l", "right"}, name: "next tab",
			help: "next tab; without wrapping, Right moves the lines left", run: func(m *model) tea.Cmd { return m.sideways(1) }, off: noPath,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"h", "left"}, name: "previous tab",
			help: "previous tab", run: func(m *model) tea.Cmd { return m.sideways(-1) }, off: noPath,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"/"}, name: "find", short: "find",
			help: "find text in the pane that has the focus", run: do(func(m *model) { m.startEdit(editSearch, "") }), off: noPath,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"b"}, name: "branches", short: "branches",
			help: "choose among the branches of this hop, or the nearest that has some", run: (*model).openBranches, off: noBranch,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"B"}, name: "all ways",
			help: "every way the request can take, with its share and where it ends", run: (*model).openWays, off: noWays,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"."}, name: "next branch",
			help: "take the next branch at that hop", run: func(m *model) tea.Cmd { return m.cycleBranch(1) }, off: noBranch,
		},
		{
			ctx: ctxMain, group: look, keys: []string{","}, name: "previous branch",
			help: "take the previous branch", run: func(m *model) tea.Cmd { return m.cycleBranch(-1) }, off: noBranch,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"f"}, name: "fixes", short: "fixes",
			help: "what to do, for every finding; commands are copied, never run", run: (*model).openFixes, off: noFixes,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"i"}, name: "what was read",
			help: "what the trace read, and what it could not read and why", run: (*model).openRead, off: noReport,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"a"}, name: "logs of all hops",
			help: "access log lines of the whole path or of this hop", run: (*model).toggleScope, off: notLogs,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"&"}, name: "filter lines",
			help: "only the access log lines that hold a text; empty shows all", run: do(func(m *model) { m.startEdit(editFilter, m.filter) }), off: notLogs,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"F"}, name: "follow logs",
			help: "follow the access logs of the whole path, merged by time", run: (*model).toggleFollow, off: noFollowing,
		},
		{
			ctx: ctxMain, group: look, keys: []string{"w"}, name: "wrap",
			help: "wrap long lines, or move them with Left and Right", run: do(func(m *model) {
				m.wrapOn = !m.wrapOn
				m.pan = 0
				m.say(trace.Skipped, "wrapping is %s", onOff(m.wrapOn))
			}),
		},
		{
			ctx: ctxMain, group: look, keys: []string{"y"}, name: "YAML or JSON",
			help: "configuration as YAML or as JSON", off: noPath, run: func(m *model) tea.Cmd {
				m.asJSON = !m.asJSON
				m.setTab(tabConfig)
				m.say(trace.Skipped, "configuration as %s", map[bool]string{false: "YAML", true: "JSON"}[m.asJSON])
				return m.findAgain()
			},
		},

		{
			ctx: ctxMain, group: ask, keys: []string{"r"}, name: "trace again", short: "retrace",
			help: "trace again now", run: (*model).again, off: busy,
		},
		{
			ctx: ctxMain, group: ask, keys: []string{"E"}, name: "edit the question", short: "edit",
			help: "edit URL, method, vantage, SNI, headers, and trace that", run: do((*model).openForm),
		},
		{
			ctx: ctxMain, group: ask, keys: []string{"L"}, name: "live", short: "live",
			help: "trace again and again; the next begins after the last has ended", run: (*model).toggleLive, off: notLive,
		},
		{
			ctx: ctxMain, group: ask, keys: []string{"space"}, name: "freeze", short: "freeze",
			help: "freeze the screen; what comes meanwhile is kept", run: (*model).toggleFreeze,
		},
		{
			ctx: ctxMain, group: ask, keys: []string{"["}, name: "earlier run",
			help: "step to the run before", run: func(m *model) tea.Cmd { return m.step(-1) }, off: noEarlier,
		},
		{
			ctx: ctxMain, group: ask, keys: []string{"]"}, name: "later run",
			help: "step to the run after", run: func(m *model) tea.Cmd { return m.step(1) }, off: noLater,
		},
		{
			ctx: ctxMain, group: ask, keys: []string{"H"}, name: "runs",
			help: "all runs kept, with what they found", run: (*model).openRuns, off: noRuns,
		},

		{
			ctx: ctxMain, group: away, keys: []string{"c"}, name: "copy", short: "copy",
			help: "copy the line, a command, the configuration, a summary in Markdown", run: (*model).openCopy, off: noPath,
		},
		{
			ctx: ctxMain, group: away, keys: []string{"e"}, name: "export", short: "export",
			help: "write the report as JSON or Markdown, or a snapshot", run: (*model).openExport, off: noExport,
		},
		{
			ctx: ctxMain, group: away, keys: []string{"p"}, name: "privacy",
			help: "mask addresses, hosts, nodes and header values, here and in what is taken away", run: func(m *model) tea.Cmd {
				cmd := m.togglePrivacy()
				m.say(trace.Skipped, "privacy is %s", onOff(m.privacy))
				return cmd
			},
		},
		{
			ctx: ctxMain, group: scr, keys: []string{"+"}, name: "larger pane",
			help: "both panes, the right one alone, the path alone", run: do(func(m *model) { m.nextMode(1) }),
		},
		{
			ctx: ctxMain, group: scr, keys: []string{"_", "-"}, name: "smaller pane",
			help: "the same, backwards", run: do(func(m *model) { m.nextMode(-1) }),
		},
		{
			ctx: ctxMain, group: scr, keys: []string{"t"}, name: "theme",
			help: "colour, colour-blind, mono", run: do((*model).nextTheme), off: func(m *model) string {
				if m.noColor {
					return "NO_COLOR is set"
				}
				return ""
			},
		},
		{
			ctx: ctxMain, group: scr, keys: []string{"u"}, name: "ASCII",
			help: "only ASCII characters, or shapes and lines", run: do((*model).toggleASCII), off: func(m *model) string {
				if m.asciiOf != "" {
					return m.asciiOf
				}
				return ""
			},
		},
		{
			ctx: ctxMain, group: scr, keys: []string{"ctrl+l"}, name: "redraw",
			help: "draw the screen anew", run: func(*model) tea.Cmd { return tea.ClearScreen },
		},
		{
			ctx: ctxMain, group: scr, keys: []string{":"}, name: "palette",
			help: "any of these by name; a hop by number, a finding by code", run: (*model).openPalette,
		},
		{
			ctx: ctxMain, group: scr, keys: []string{"?"}, name: "help", short: "help",
			help: "all keys", run: (*model).openHelp,
		},
		{
			ctx: ctxMain, group: scr, keys: []string{"ctrl+z"}, name: "suspend",
			help: "back to the shell; fg returns", run: func(*model) tea.Cmd { return tea.Suspend },
		},
		{
			ctx: ctxMain, group: scr, keys: []string{"ctrl+c"}, name: "interrupt",
			help: "cancel the trace under way; with none, leave", run: (*model).stop,
		},
		{
			ctx: ctxMain, group: scr, keys: []string{"Q"}, name: "quit with report",
			help: "leave, and print the whole report", run: func(m *model) tea.Cmd { m.fullReport = true; return m.quit() },
		},
		{
			ctx: ctxMain, group: scr, keys: []string{"q"}, name: "quit", short: "quit",
			help: "leave; the verdict stays on the normal screen", run: (*model).quit,
		},

		{
			ctx: ctxWays, keys: []string{"space"}, name: "mark", short: "mark",
			help: "mark for comparing", run: do((*model).markItem),
		},
		{
			ctx: ctxWays, keys: []string{"=", "d"}, name: "compare", short: "compare",
			help: "the two marked side by side; else the one under the cursor with the marked or the shown one", run: (*model).compareMarked,
		},
		{
			ctx: ctxWays, keys: []string{"B", "A"}, name: "all ways", short: "all ways",
			help: "every way the request can take", run: (*model).openWays, off: noWays,
		},

		{
			ctx: ctxList, keys: []string{"j", "down"}, name: "down", short: "move", label: "j/k",
			help: "next entry", run: do(func(m *model) { m.moveTop(1) }),
		},
		{
			ctx: ctxList, keys: []string{"k", "up"}, name: "up",
			help: "previous entry", run: do(func(m *model) { m.moveTop(-1) }),
		},
		{
			ctx: ctxList, keys: []string{"g", "home"}, name: "first",
			help: "first entry", run: do(func(m *model) { m.moveTop(-1 << 30) }),
		},
		{
			ctx: ctxList, keys: []string{"G", "end"}, name: "last",
			help: "last entry", run: do(func(m *model) { m.moveTop(1 << 30) }),
		},
		{
			ctx: ctxList, keys: []string{"pgdown", "ctrl+d", "ctrl+f"}, name: "page down",
			help: "a page down", run: do(func(m *model) { m.moveTop(max(1, m.h-6)) }),
		},
		{
			ctx: ctxList, keys: []string{"pgup", "ctrl+u", "ctrl+b"}, name: "page up",
			help: "a page up", run: do(func(m *model) { m.moveTop(-max(1, m.h-6)) }),
		},
		{
			ctx: ctxList, keys: []string{"enter"}, name: "choose", short: "choose",
			help: "choose the entry", run: func(m *model) tea.Cmd {
				if l, ok := m.top().(*list); ok {
					return l.choose(m)
				}
				return nil
			},
		},
		{
			ctx: ctxList, keys: []string{"c"}, name: "copy", short: "copy",
			help: "copy the entry", run: (*model).copyItem,
		},
		{
			ctx: ctxList, keys: []string{"esc", "q", "ctrl+g"}, name: "close", short: "close",
			help: "back", run: do((*model).close),
		},

		{
			ctx: ctxPage, keys: []string{"j", "down"}, name: "down", short: "move", label: "j/k",
			help: "next line", run: do(func(m *model) { m.moveTop(1) }),
		},
		{
			ctx: ctxPage, keys: []string{"k", "up"}, name: "up",
			help: "previous line", run: do(func(m *model) { m.moveTop(-1) }),
		},
		{
			ctx: ctxPage, keys: []string{"g", "home"}, name: "first",
			help: "first line", run: do(func(m *model) { m.moveTop(-1 << 30) }),
		},
		{
			ctx: ctxPage, keys: []string{"G", "end"}, name: "last",
			help: "last line", run: do(func(m *model) { m.moveTop(1 << 30) }),
		},
		{
			ctx: ctxPage, keys: []string{"pgdown", "ctrl+d", "ctrl+f", "space"}, name: "page down",
			help: "a page down", run: do(func(m *model) { m.moveTop(max(1, m.h-6)) }),
		},
		{
			ctx: ctxPage, keys: []string{"pgup", "ctrl+u", "ctrl+b"}, name: "page up",
			help: "a page up", run: do(func(m *model) { m.moveTop(-max(1, m.h-6)) }),
		},
		{
			ctx: ctxPage, keys: []string{"/"}, name: "find", short: "find",
			help: "find text on the page", run: do(func(m *model) { m.startEdit(editSearch, "") }),
		},
		{
			ctx: ctxPage, keys: []string{"n"}, name: "next match",
			help: "next match", run: do(func(m *model) { m.page().goFound(m, 1) }), off: noPageSearch,
		},
		{
			ctx: ctxPage, keys: []string{"N"}, name: "previous match",
			help: "previous match", run: do(func(m *model) { m.page().goFound(m, -1) }), off: noPageSearch,
		},
		{
			ctx: ctxPage, keys: []string{"c"}, name: "copy", short: "copy",
			help: "copy the line", run: (*model).copyItem,
		},
		{
			ctx: ctxPage, keys: []string{"esc", "q", "enter", "?", "ctrl+g"}, name: "close", short: "close",
			help: "back", run: do((*model).close),
		},

		{
			ctx: ctxForm, keys: []string{"tab", "down"}, name: "next field", short: "field",
			help: "next field", run: do(func(m *model) { m.top().(*form).move(1) }),
		},
		{
			ctx: ctxForm, keys: []string{"shift+tab", "up"}, name: "previous field",
			help: "previous field", run: do(func(m *model) { m.top().(*form).move(-1) }),
		},
		{
			ctx: ctxForm, keys: []string{"ctrl+n"}, name: "next known value", short: "known",
			help: "the next known value: vantages of the path, methods, versions", run: do(func(m *model) { m.top().(*form).offer(1) }),
		},
		{
			ctx: ctxForm, keys: []string{"ctrl+p"}, name: "previous known value",
			help: "the previous known value", run: do(func(m *model) { m.top().(*form).offer(-1) }),
		},
		{
			ctx: ctxForm, keys: []string{"enter"}, name: "ask", short: "trace",
			help: "trace this question", run: (*model).submitForm,
		},
		{
			ctx: ctxForm, keys: []string{"esc", "ctrl+g"}, name: "close", short: "close",
			help: "back without change", run: do((*model).close),
		},

		{
			ctx: ctxPalette, keys: []string{"down", "ctrl+n"}, name: "down", short: "next",
			help: "next entry", run: do(func(m *model) { m.moveTop(1) }),
		},
		{
			ctx: ctxPalette, keys: []string{"up", "ctrl+p"}, name: "up",
			help: "previous entry", run: do(func(m *model) { m.moveTop(-1) }),
		},
		{
			ctx: ctxPalette, keys: []string{"enter"}, name: "choose", short: "choose",
			help: "do it", run: (*model).runPalette,
		},
		{
			ctx: ctxPalette, keys: []string{"esc", "ctrl+g"}, name: "close", short: "close",
			help: "back", run: do((*model).close),
		},

		{
			ctx: ctxLine, keys: []string{"enter"}, name: "done", short: "done",
			help: "keep the search (with nothing typed the one before), or set the filter",
		},
		{ctx: ctxLine, keys: []string{"down"}, name: "next match", help: "next match"},
		{ctx: ctxLine, keys: []string{"up"}, name: "previous match", help: "previous match"},
		{ctx: ctxLine, keys: []string{"esc", "ctrl+g"}, name: "cancel", short: "cancel", help: "end the search, or leave the filter as it was"},
	}
	return t
}

func toTab(t tab) func(m *model) tea.Cmd {
	return func(m *model) tea.Cmd { m.setTab(t); return m.findAgain() }
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func busy(m *model) string {
	if m.tracing != nil {
		return "a trace is under way; ctrl-c cancels it"
	}
	return ""
}

func notLive(m *model) string {
	if !m.s.Live && !m.live { // what --every began can be ended
		return "a snapshot does not change"
	}
	return ""
}

func noPageSearch(m *model) string {
	if p := m.page(); p == nil || p.query == "" {
		return "nothing is looked for; / finds"
	}
	return ""
}

func noBranch(m *model) string {
	if m.branching() < 0 {
		return "no hop of this path has more than one way on"
	}
	return ""
}

func noWays(m *model) string {
	if why := noReport(m); why != "" {
		return why
	}
	if len(m.view.r.Paths) == 0 {
		return "the report lists no paths"
	}
	return ""
}

func noFixes(m *model) string {
	if m.view == nil || len(m.view.r.Findings) == 0 {
		return "there is no finding"
	}
	return ""
}

func noFollowing(m *model) string {
	if m.s.Follow == nil {
		return m.noFollow()
	}
	if m.following != nil {
		return ""
	}
	return noReport(m)
}

func noEarlier(m *model) string {
	if len(m.runs) == 0 {
		return "there is no run yet"
	}
	if m.shown <= 0 {
		return "this is the first run kept"
	}
	return ""
}

func noLater(m *model) string {
	if m.shown >= len(m.runs)-1 {
		return "this is the last run"
	}
	return ""
}

func noRuns(m *model) string {
	if len(m.runs) == 0 {
		return "there is no run yet"
	}
	return ""
}

func noExport(m *model) string {
	if m.s.Export == nil {
		return "this session cannot write files"
	}
	return noReport(m)
}

// KeysMarkdown is docs/keys.md: every key, from the table the program uses.
func KeysMarkdown() string {
	var b strings.Builder
	b.WriteString("# Keys\n\nThis page is written from the key table of the program (`go test ./tui -run TestKeys -update`); do not edit it.\n" +
		"In the program `?` shows the same list, with the reason where a key does nothing at the moment.\n")
	table := keyTable()
	cell := func(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
	for _, c := range contextTitles {
		fmt.Fprintf(&b, "\n## %s\n", c.title)
		if c.about != "" {
			b.WriteString("\n" + c.about + "\n")
		}
		group := "-"
		for _, k := range table {
			if k.ctx != c.ctx {
				continue
			}
			if k.group != group {
				group = k.group
				if group != "" {
					fmt.Fprintf(&b, "\n### %s\n", group)
				}
				b.WriteString("\n| key | does |\n|---|---|\n")
			}
			var keys []string
			for _, name := range k.keys {
				keys = append(keys, "`"+cell(keyName(name))+"`")
			}
			fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(keys, " "), cell(k.help))
		}
	}
	b.WriteString("\nWith `--mouse` a click selects a hop, a tab or a line, and the wheel scrolls; the terminal's own selection of text then needs Shift.\n")
	return b.String()
}
