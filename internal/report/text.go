package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/hoptrail/hoptrail/internal/sanitize"
	"github.com/hoptrail/hoptrail/trace"
)

// Bounds of the text format; wide shows all.
const (
	excerptLines = 8   // of one piece of evidence, around what matters
	excerptCells = 600 // of one of its lines
	jumpsShown   = 40  // rules of one hop
	missesShown  = 6   // near misses of one hop
	treeLines    = 200 // of the tree of branches
)

type textWriter struct {
	bytes.Buffer
	r        *trace.Report
	wide     bool
	color    bool
	hops     map[string]*trace.Hop
	evidence map[string]*trace.Evidence

	flow  *trace.Flow       // shown last
	pod   string            // shown last
	brief bool              // the last hop was but named
	said  map[string]string // what was said of a hop, without its flows, to its id
}

func writeText(r *trace.Report, wide bool, o Options) []byte {
	w := &textWriter{r: r, wide: wide, color: o.Color, hops: hopsByID(r), evidence: evidenceByID(r)}
	w.head()
	w.table()
	w.tree()
	w.findings()
	for i := range r.Hops {
		w.hop(&r.Hops[i])
	}
	w.collected()
	return w.Bytes()
}

// SGR parameters; each of the sixteen colours every terminal has.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// paint colours clean text.
func (w *textWriter) paint(sgr, s string) string {
	if !w.color || sgr == "" || s == "" {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

func stateColor(s trace.State) string {
	switch s {
	case trace.OK:
		return green
	case trace.Warn:
		return yellow
	case trace.Fail:
		return red
	case trace.Skipped:
		return dim
	case trace.Unknown:
		return cyan
	default:
		return cyan
	}
}

func verdictColor(v trace.Verdict) string {
	switch v {
	case trace.Reachable:
		return green
	case trace.Unreachable:
		return red
	case trace.Degraded:
		return yellow
	case trace.Undetermined:
		return cyan
	default:
		return cyan
	}
}

// pad fills s to n cells. A width is counted in cells: a Chinese character
// takes two.
func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-ansi.StringWidth(s)))
}

func (w *textWriter) line(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	w.WriteString(strings.TrimRight(s, " "))
	w.WriteByte('\n')
}

func (w *textWriter) title(s string) {
	w.WriteByte('\n')
	w.line("%s", w.paint(bold, s))
}

func (w *textWriter) head() {
	t := &w.r.Target
	w.line("TARGET   %s", sanitize.Line(t.Raw))
	for _, f := range asked(t) {
		w.line("%s%s", pad(f.name, 9), f.value)
	}
	w.line("VERDICT  %s", w.verdict())
	f := answer(w.r)
	if f == nil {
		return
	}
	if f.Detail != "" {
		w.line("WHY      %s", sanitize.Line(f.Detail))
	}
	for i, fix := range f.Fix {
		name := "FIX"
		if i > 0 {
			name = ""
		}
		w.line("%s%s", pad(name, 9), sanitize.Line(fix))
	}
}

func (w *textWriter) verdict() string {
	v := w.paint(bold+";"+verdictColor(w.r.Verdict), verdictWord(w.r.Verdict))
	if s := summary(w.r); s != "" {
		v += ": " + s
	}
	return v
}

func (w *textWriter) table() {
	rows := [][]string{{"HOP", "KIND", "STATE", "SUBJECT", "OUT"}}
	for i := range w.r.Hops {
		h := &w.r.Hops[i]
		rows = append(rows, []string{shortID(h.ID), sanitize.Line(string(h.Kind)), word(h.State), subject(h), outcome(h)})
	}
	if len(rows) == 1 {
		return
	}
	w.WriteByte('\n')
	widths := make([]int, len(rows[0])-1)
	for _, row := range rows {
		for i := range widths {
			widths[i] = max(widths[i], ansi.StringWidth(row[i]))
		}
	}
	for n, row := range rows {
		var cells []string
		for i, c := range row {
			if i < len(widths) {
				c = pad(c, widths[i])
			}
			switch {
			case n == 0:
				c = w.paint(dim, c)
			case i == 2:
				c = w.paint(stateColor(w.r.Hops[n-1].State), c)
			}
			cells = append(cells, c)
		}
		w.line("%s", strings.Join(cells, "  "))
	}
}

func (w *textWriter) tree() {
	if len(w.r.Paths) < 2 {
		return
	}
	w.title(fmt.Sprintf("PATHS (%s)", counted(w.r.Paths)))
	lines := treeOf(w.r)
	limit := treeLines
	if w.wide {
		limit = len(lines)
	}
	for i, l := range lines {
		if i == limit {
			w.line("  ... %d more lines with -o wide", len(lines)-limit)
			break
		}
		w.line("  %s%s", l.text, w.paint(stateColor(l.state), l.word))
	}
}

// counted says how many paths there are and how many requests take each verdict.
func counted(paths []trace.Path) string {
	n, rest := 0, 0.0
	sums := map[trace.Verdict]float64{}
	for _, p := range paths {
		if len(p.Hops) == 0 {
			rest += p.Probability
			continue
		}
		n++
		sums[p.Verdict] += p.Probability
	}
	s := []string{fmt.Sprintf("%d", n)}
	for _, v := range []trace.Verdict{trace.Reachable, trace.Unreachable, trace.Undetermined, trace.Degraded} {
		if sums[v] > 0 {
			s = append(s, percent(sums[v])+" "+string(v))
		}
	}
	if rest > 0 {
		s = append(s, percent(rest)+" not listed")
	}
	return strings.Join(s, ", ")
}

func (w *textWriter) findings() {
	if len(w.r.Findings) == 0 {
		return
	}
	w.title("FINDINGS")
	for _, f := range nest(w.r.Findings) {
		in := strings.Repeat("    ", f.depth)
		head := sanitize.Line(f.Code)
		color := map[trace.Severity]string{trace.SeverityError: red, trace.SeverityWarning: yellow}[f.Severity]
		if s := sanitize.Line(string(f.Severity)); s != "" {
			head += " " + strings.ToUpper(s)
		}
		at := ""
		if f.Hop != "" {
			at = " at hop " + shortID(f.Hop)
			if h := w.hops[f.Hop]; h != nil {
				at += " (" + sanitize.Line(string(h.Kind)) + ")"
			}
		}
		if f.depth > 0 {
			in += "follows: "
		}
		w.line("%s%s%s: %s", in, w.paint(color, head), at, sanitize.Line(f.Title))
		in = strings.Repeat("    ", f.depth) + "    "
		for _, l := range textLines(f.Detail) {
			w.line("%s%s", in, l)
		}
		for _, e := range w.proof(f.Finding) {
			w.excerpt(in, e)
		}
		for _, fix := range f.Fix {
			w.line("%s-> %s", in, sanitize.Line(fix))
		}
	}
}

// proof is the evidence of a finding: what was observed first, then what has a
// part that matters, then the rest, each as it came.
func (w *textWriter) proof(f *trace.Finding) []*trace.Evidence {
	var es []*trace.Evidence
	for _, id := range f.Evidence {
		if e := w.evidence[id]; e != nil {
			es = append(es, e)
		}
	}
	rank := func(e *trace.Evidence) int {
		switch {
		case e.Basis == trace.Observed:
			return 0
		case e.Match != "":
			return 1
		}
		return 2
	}
	slices.SortStableFunc(es, func(a, b *trace.Evidence) int { return rank(a) - rank(b) })
	return es
}

// textLines splits clean multi-line text.
func textLines(s string) []string {
	s = strings.Trim(sanitize.Text(s), "\n")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

func (w *textWriter) excerpt(indent string, e *trace.Evidence) {
	at := ""
	if e.At != "" {
		at = " at " + sanitize.Line(e.At)
	}
	w.line("%s%s %s%s", indent, sanitize.Line(string(e.Basis)), sanitize.Line(e.Source), at)
	lines := textLines(e.Excerpt)
	hit := matching(lines, e.Match)
	from, to := 0, len(lines)
	if !w.wide {
		size := excerptLines
		if len(hit) == 0 {
			size /= 2 // nothing in it stands out
		}
		from, to = window(len(lines), hit, size)
	}
	for i := from; i < to; i++ {
		if !w.wide && i > from && lines[i] == lines[i-1] {
			continue
		}
		l := lines[i]
		if !w.wide {
			l = ansi.Truncate(l, excerptCells, " ...")
		}
		if slices.Contains(hit, i) {
			w.line("%s  > %s", indent, w.paint(bold, l))
		} else {
			w.line("%s  | %s", indent, l)
		}
	}
	switch cut := len(lines) - (to - from); cut {
	case 0:
	case 1:
		w.line("%s  (1 more line)", indent)
	default:
		w.line("%s  (%d more lines)", indent, cut)
	}
}

// matching returns the lines that hold a line of match.
func matching(lines []string, match string) []int {
	var hit []int
	for _, m := range textLines(match) {
		m = strings.TrimSpace(m)
		if m == "" {
			continue
		}
		for i, l := range lines {
			if strings.Contains(l, m) && !slices.Contains(hit, i) {
				hit = append(hit, i)
			}
		}
	}
	return hit
}

// window chooses at most size of n lines, so that the first line hit is seen.
func window(n int, hit []int, size int) (from, to int) {
	if n <= size+1 { // "1 more line" takes a line too
		return 0, n
	}
	if len(hit) > 0 {
		from = min(max(0, slices.Min(hit)-size/2), n-size)
	}
	return from, from + size
}

func (w *textWriter) hop(h *trace.Hop) {
	head := w.paint(bold, fmt.Sprintf("HOP %s  %s  %s", shortID(h.ID), sanitize.Line(string(h.Kind)), subject(h))) + "  " + w.paint(stateColor(h.State), word(h.State))
	first := w.saidBefore(h)
	if first == "" || !w.brief {
		w.WriteByte('\n')
	}
	if w.brief = first != ""; w.brief {
		w.line("%s  as hop %s", head, first)
		return
	}
	w.line("%s", head)
	const in = "    "
	if s := sanitize.Line(h.Summary); s != "" {
		w.line("%s%s", in, s)
	}
	w.facts(in, w.told(h))
	w.rules(in, h.Detail.Rules)
	w.misses(in, h)
	for _, c := range h.Checks {
		if !w.wide && (c.State == trace.OK || c.State == trace.Skipped) {
			continue
		}
		v := ""
		if c.Value != "" {
			v = ": " + sanitize.Line(c.Value)
		}
		w.line("%s%s %s%s", in, w.paint(stateColor(c.State), pad(word(c.State), 7)), sanitize.Line(c.Name), v)
	}
	for _, b := range h.Branches {
		if len(h.Branches) == 1 {
			break
		}
		to := "ends here"
		if b.To != "" {
			to = "hop " + shortID(b.To)
		}
		w.line("%s%s  %s -> %s  %s", in, pad(percent(b.Probability), 6), sanitize.Line(b.Label), to, w.paint(stateColor(b.State), word(b.State)))
	}
	w.logs(in, h)
	if w.wide {
		for i := range h.Evidence {
			w.excerpt(in, &h.Evidence[i])
		}
	}
	for _, c := range commands(h) {
		w.line("%s%s", in, w.paint(dim, "$ "+c))
	}
}

// saidBefore returns the hop of which text has said the same: branches often meet
// the same places again, from another address. Flows are in the JSON.
func (w *textWriter) saidBefore(h *trace.Hop) string {
	if w.wide {
		return ""
	}
	bare := *h
	bare.ID, bare.In, bare.Out, bare.Branches = "", nil, nil, nil
	one := &textWriter{r: w.r, wide: true}
	one.hop(&bare)
	body := one.String()
	if first, ok := w.said[body]; ok {
		return first
	}
	if w.said == nil {
		w.said = map[string]string{}
	}
	w.said[body] = shortID(h.ID)
	return ""
}

// told lists a hop's facts with why and flows. Text leaves out what was said at
// the hop before: a flow that has not changed, the Pod whose proxy still decides.
func (w *textWriter) told(h *trace.Hop) []fact {
	fs := facts(h)
	if !w.wide {
		fs = slices.DeleteFunc(fs, func(f fact) bool {
			return f.name == "pod" && f.value == w.pod && h.Kind != trace.KindPod
		})
		w.pod = sanitize.Line(h.Detail.Pod)
	}
	if h.In != nil && (w.wide || !samePlace(h.In, w.flow)) {
		fs = append([]fact{{"in", flowLine(h.In)}}, fs...)
		w.flow = h.In
	}
	if h.Out != nil && (w.wide || !samePlace(h.Out, w.flow)) {
		fs = append(fs, fact{"out", flowLine(h.Out)})
		w.flow = h.Out
	}
	if why := sanitize.Line(h.Why); why != "" && why != sanitize.Line(h.Summary) {
		fs = append([]fact{{"why", why}}, fs...)
	}
	return fs
}

func (w *textWriter) facts(indent string, fs []fact) {
	width := 0
	for _, f := range fs {
		width = max(width, ansi.StringWidth(f.name))
	}
	for _, f := range fs {
		w.line("%s%s  %s", indent, w.paint(dim, pad(f.name, width)), f.value)
	}
}

// rules lists the netfilter rules met: where each stands, then what it did. The
// one that decided is quoted in full; wide quotes all.
func (w *textWriter) rules(indent string, rules []trace.RuleStep) {
	if len(rules) == 0 {
		return
	}
	shown := rules
	if !w.wide && len(shown) > jumpsShown {
		shown = shown[len(shown)-jumpsShown:]
		w.line("%s(%d rules before these with -o wide)", indent, len(rules)-jumpsShown)
	}
	rows, width := make([]string, len(shown)), 0
	for i, s := range shown {
		number := fmt.Sprint(s.Rule)
		if s.Rule == 0 {
			number = "policy"
		}
		rows[i] = sanitize.Line(s.Table + " " + s.Chain + " " + number)
		width = max(width, ansi.StringWidth(rows[i]))
	}
	hook := ""
	for i, s := range shown {
		if s.Hook != hook {
			hook = s.Hook
			w.line("%s%s", indent, w.paint(dim, sanitize.Line(hook)+":"))
		}
		note := ""
		if s.Note != "" {
			note = "  # " + sanitize.Line(s.Note)
		}
		w.line("%s  %s  %s%s", indent, pad(rows[i], width), sanitize.Line(s.Action), w.paint(dim, note))
		if w.wide || decisive(s.Action) {
			w.line("%s      %s", indent, sanitize.Line(s.Text))
		}
	}
}

// decisive says whether a rule's action changes or ends the packet's way rather
// than passing it on or marking it.
func decisive(action string) bool {
	verb, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(action)), " ")
	switch verb {
	case "jump", "goto", "return", "mark", "continue", "policy", "":
		return false
	}
	return true
}

func (w *textWriter) misses(indent string, h *trace.Hop) {
	ms := h.Detail.NearMisses
	if len(ms) == 0 || !w.wide && (h.State == trace.OK || h.State == trace.Skipped) {
		return
	}
	for i, m := range ms {
		if !w.wide && i == missesShown {
			w.line("%s(%d more with -o wide)", indent, len(ms)-i)
			break
		}
		name := strings.TrimSpace(sanitize.Line(m.Kind) + " " + sanitize.Line(m.Name))
		w.line("%snot %s: %s", indent, name, sanitize.Line(m.Why))
	}
}

func (w *textWriter) logs(indent string, h *trace.Hop) {
	others := 0
	for _, l := range h.Logs {
		if !l.Traced && !w.wide {
			others++
			continue
		}
		mark := "log"
		if !l.Traced {
			mark = "log (another request's)"
		}
		because := ""
		if l.Because != "" {
			because = w.paint(dim, "  ("+sanitize.Line(l.Because)+")")
		}
		w.line("%s%s%s", indent, mark, because)
		w.line("%s  > %s", indent, sanitize.Line(l.Raw))
		for _, f := range l.Flags {
			w.line("%s    %s", indent, sanitize.Line(f))
		}
	}
	if others > 0 {
		w.line("%s(%d log lines of other requests with -o wide)", indent, others)
	}
}

func (w *textWriter) collected() {
	c := &w.r.Collected
	if len(c.NotRead) > 0 {
		w.title("NOT READ")
		for _, n := range c.NotRead {
			w.line("    %s: %s", sanitize.Line(n.What), sanitize.Line(n.Why))
			if n.Command != "" {
				w.line("    -> %s", sanitize.Line(n.Command))
			}
		}
	}
	if w.wide && len(c.Read) > 0 {
		w.title("READ")
		for _, r := range c.Read {
			at := ""
			if r.At != "" {
				at = " at " + sanitize.Line(r.At)
			}
			w.line("    %s%s", sanitize.Line(r.What), at)
		}
	}
	first, last := span(c.Read)
	w.WriteByte('\n')
	s := fmt.Sprintf("hoptrail %s, %s read", sanitize.Line(w.r.Tool.Version), observations(len(c.Read)))
	if w.wide && c.Requests > 0 {
		s += fmt.Sprintf(" in %d requests and %d bytes", c.Requests, c.Bytes)
	}
	switch {
	case first == "":
	case first == last:
		s += ", as of " + first
	default:
		s += ", as of " + first + " to " + last
	}
	w.line("%s", w.paint(dim, s))
}

// span returns the earliest and the latest time of what was read. RFC 3339 in
// UTC sorts as text, up to fractions of a second.
func span(read []trace.Read) (first, last string) {
	for _, r := range read {
		at := sanitize.Line(r.At)
		if at == "" {
			continue
		}
		if first == "" || at < first {
			first = at
		}
		last = max(last, at)
	}
	return first, last
}
