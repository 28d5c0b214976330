package report

import (
	"bytes"
	"fmt"
	"html"
	"strings"

	"github.com/hoptrail/hoptrail/internal/sanitize"
	"github.com/hoptrail/hoptrail/trace"
)

// writeMarkdown renders r for an issue: verdict, hops and findings in the open,
// everything that is long behind details. What came from a cluster stands in
// code spans and fences that it cannot end, or is escaped.
func writeMarkdown(r *trace.Report) []byte {
	m := &markdown{}
	m.p("### hoptrail: %s", mdText(verdictWord(r.Verdict)))
	if s := summary(r); s != "" {
		m.p("%s", mdText(s))
	}
	if f := answer(r); f != nil && f.Detail != "" {
		m.p("%s", mdText(f.Detail))
	}
	m.line("| | |")
	m.line("|---|---|")
	m.line("| target | %s |", mdCell(r.Target.Raw))
	for _, f := range asked(&r.Target) {
		m.line("| %s | %s |", strings.ToLower(f.name), mdCell(f.value))
	}
	m.line("")
	m.table(r)
	w := &textWriter{r: r, hops: hopsByID(r), evidence: evidenceByID(r)}
	if len(r.Paths) > 1 {
		w.tree()
		m.details(fmt.Sprintf("Paths (%s)", counted(r.Paths)), strings.TrimLeft(dropFirstLine(take(&w.Buffer)), "\n"))
	}
	m.findings(r, w)
	if len(r.Hops) > 0 {
		for i := range r.Hops {
			w.hop(&r.Hops[i])
		}
		m.details("What each hop decided, and what prints it again", take(&w.Buffer))
	}
	if n := len(r.Collected.NotRead); n > 0 {
		c := r.Collected
		m.p("Not read:")
		for _, nr := range c.NotRead {
			m.line("- %s: %s", mdCode(nr.What), mdText(nr.Why))
			if nr.Command != "" {
				m.line("  - %s", mdCode(nr.Command))
			}
		}
		m.line("")
	}
	m.line("hoptrail %s, %s read", mdText(r.Tool.Version), observations(len(r.Collected.Read)))
	return m.Bytes()
}

// take empties a buffer.
func take(b *bytes.Buffer) string {
	s := strings.Trim(b.String(), "\n")
	b.Reset()
	return s
}

func dropFirstLine(s string) string {
	_, rest, _ := strings.Cut(s, "\n")
	return rest
}

type markdown struct{ bytes.Buffer }

func (m *markdown) line(format string, args ...any) { fmt.Fprintf(m, format+"\n", args...) }
func (m *markdown) p(format string, args ...any)    { m.line(format+"\n", args...) }

func (m *markdown) table(r *trace.Report) {
	if len(r.Hops) == 0 {
		return
	}
	m.line("| hop | kind | state | subject | out |")
	m.line("|---|---|---|---|---|")
	for i := range r.Hops {
		h := &r.Hops[i]
		state := word(h.State)
		if h.State != trace.OK {
			state = "**" + state + "**"
		}
		m.line("| %s | %s | %s | %s | %s |", mdText(shortID(h.ID)), mdText(string(h.Kind)), state, mdCell(subject(h)), mdCell(outcome(h)))
	}
	m.line("")
}

func (m *markdown) findings(r *trace.Report, w *textWriter) {
	for _, f := range nest(r.Findings) {
		at := ""
		if f.Hop != "" {
			at = " at hop " + mdText(shortID(f.Hop))
		}
		lead := ""
		if f.depth > 0 {
			lead = "follows from it: "
		}
		m.p("**%s%s %s%s: %s**", lead, mdText(f.Code), mdText(strings.ToUpper(string(f.Severity))), at, mdText(f.Title))
		if f.Detail != "" {
			m.p("%s", mdText(f.Detail))
		}
		for _, fix := range f.Fix {
			m.line("- %s", mdCode(fix))
		}
		if len(f.Fix) > 0 {
			m.line("")
		}
		for _, e := range w.proof(f.Finding) {
			w.excerpt("", e)
		}
		if w.Len() > 0 {
			m.details("Evidence for "+f.Code, take(&w.Buffer))
		}
	}
}

// details puts clean text into a fence behind a summary.
func (m *markdown) details(summary, text string) {
	fence := strings.Repeat("`", max(3, longestRun(text, '`')+1))
	m.line("<details><summary>%s</summary>\n", html.EscapeString(sanitize.Line(summary)))
	m.line("%stext\n%s\n%s", fence, text, fence)
	m.p("\n</details>")
}

// longestRun is the length of the longest run of c in s.
func longestRun(s string, c byte) int {
	longest, run := 0, 0
	for i := range len(s) {
		if s[i] != c {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// mdCode makes a code span of hostile text.
func mdCode(s string) string {
	s = strings.TrimSpace(sanitize.Line(s))
	if s == "" {
		return none[1 : len(none)-1]
	}
	ticks := strings.Repeat("`", longestRun(s, '`')+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return ticks + s + ticks
}

// mdCell is mdCode inside a table, where a bar ends a cell even in code.
func mdCell(s string) string { return strings.ReplaceAll(mdCode(s), "|", `\|`) }

var mdEscaper = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", `*`, `\*`, `_`, `\_`, `[`, `\[`, `]`, `\]`, `<`, `&lt;`, `>`, `&gt;`,
	`&`, `&amp;`, `|`, `\|`, `~`, `\~`, `#`, `\#`, `!`, `\!`, `$`, `\$`,
)

// mdText escapes hostile text for use between Markdown.
func mdText(s string) string { return mdEscaper.Replace(sanitize.Line(s)) }
