// Package report renders a trace's report: as text for a terminal or a ticket,
// as Markdown, as JSON and YAML for programs, and as plain names.
//
// It knows the report of package trace and how wide a character is. It must not
// know how a report came about: no cluster, no snapshot, no engine. Every string
// of a report is taken to be hostile and passes internal/sanitize on its way to
// a person; what is written for programs carries it escaped, byte for byte.
//
//	trace.Report ─┬─ view ──┬─ text, wide      ASCII markers, cells counted
//	              │         └─ markdown        fences that their content cannot close
//	              ├─ json ──── yaml            the contract: docs/report.v1.schema.json
//	              └─ name
//
// Output depends on the report and the options alone.
package report

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/internal/sanitize"
	"github.com/hoptrail/hoptrail/trace"
)

// Format is a form a report can be written in.
type Format string

// The formats, as -o names them.
const (
	Text     Format = "text"     // what goes into a ticket
	Wide     Format = "wide"     // text with every rule, check and piece of evidence in full
	JSON     Format = "json"     // the contract hoptrail.report/v1
	YAML     Format = "yaml"     // the same as YAML
	Markdown Format = "markdown" // for an issue or a chat
	Name     Format = "name"     // one kind/name per hop
)

// Formats lists all formats.
func Formats() []Format { return []Format{Text, Wide, JSON, YAML, Markdown, Name} }

// Options are how a person wants to see a report. Programs' formats ignore them.
type Options struct {
	// Color adds SGR colours (the sixteen of every terminal) to text and wide.
	// They only repeat what words say.
	Color bool
}

// Write renders r to w. The error is w's, or names a format that is none.
func Write(w io.Writer, r *trace.Report, f Format, o Options) error {
	var out []byte
	var err error
	switch f {
	case Text, Wide:
		out = writeText(r, f == Wide, o)
	case JSON:
		out, err = marshalJSON(r)
	case YAML:
		out, err = marshalYAML(r)
	case Markdown:
		out = writeMarkdown(r)
	case Name:
		out = writeNames(r)
	default:
		err = fmt.Errorf("report: %q is not a format", string(f))
	}
	if err != nil {
		return err
	}
	_, err = w.Write(out)
	return err
}

// String renders r without colour, for callers that show it themselves. It
// returns "" for a format that is none.
func String(r *trace.Report, f Format) string {
	var b bytes.Buffer
	if err := Write(&b, r, f, Options{}); err != nil {
		return ""
	}
	return b.String()
}

// Verdict is the head of the text format: what was asked and the answer in one
// sentence.
func Verdict(r *trace.Report, o Options) string {
	w := &textWriter{r: r, color: o.Color}
	w.head()
	return w.String()
}

// writeNames lists the hops as kind/name, the name with its namespace.
func writeNames(r *trace.Report) []byte {
	var b bytes.Buffer
	for _, h := range r.Hops {
		name := h.Subject.Name
		if h.Subject.Namespace != "" {
			name = h.Subject.Namespace + "/" + name
		}
		fmt.Fprintf(&b, "%s/%s\n", sanitize.Line(string(h.Kind)), sanitize.Line(name))
	}
	return b.Bytes()
}

// shortID is a hop's id as people say it: hop 6 for h6.
func shortID(id string) string {
	if n, ok := strings.CutPrefix(id, "h"); ok && n != "" && strings.Trim(n, "0123456789") == "" {
		return n
	}
	return sanitize.Line(id)
}

// percent renders a probability for people: 50%, 33.3%, 0.05%, <0.01%.
func percent(p float64) string {
	x := p * 100
	switch {
	case x != x || x < 0:
		return "?"
	case x == 0:
		return "0%"
	case x < 0.01:
		return "<0.01%"
	case x < 1:
		return trimZeros(fmt.Sprintf("%.2f", x)) + "%"
	default:
		return trimZeros(fmt.Sprintf("%.1f", x)) + "%"
	}
}

func trimZeros(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// hopsByID indexes the hops; the first of an id counts.
func hopsByID(r *trace.Report) map[string]*trace.Hop {
	m := make(map[string]*trace.Hop, len(r.Hops))
	for i := range r.Hops {
		if _, ok := m[r.Hops[i].ID]; !ok {
			m[r.Hops[i].ID] = &r.Hops[i]
		}
	}
	return m
}

// evidenceByID indexes all evidence of all hops.
func evidenceByID(r *trace.Report) map[string]*trace.Evidence {
	m := map[string]*trace.Evidence{}
	for i := range r.Hops {
		for j := range r.Hops[i].Evidence {
			e := &r.Hops[i].Evidence[j]
			if _, ok := m[e.ID]; !ok {
				m[e.ID] = e
			}
		}
	}
	return m
}

// nestedFinding is a finding with the symptoms that hang below it.
type nestedFinding struct {
	*trace.Finding
	depth int
}

// nest orders findings so that each follows its cause, one level deeper. Every
// finding appears once, also when causes form a ring.
func nest(fs []trace.Finding) []nestedFinding {
	symptom := map[string]bool{}
	for _, f := range fs {
		for _, c := range f.CauseOf {
			if c != f.Code {
				symptom[c] = true
			}
		}
	}
	var out []nestedFinding
	done := make([]bool, len(fs))
	var put func(i, depth int)
	put = func(i, depth int) {
		if done[i] {
			return
		}
		done[i] = true
		out = append(out, nestedFinding{&fs[i], depth})
		for j := range fs {
			if slices.Contains(fs[i].CauseOf, fs[j].Code) {
				put(j, depth+1)
			}
		}
	}
	for i := range fs {
		if !symptom[fs[i].Code] {
			put(i, 0)
		}
	}
	for i := range fs {
		put(i, 0)
	}
	return out
}
