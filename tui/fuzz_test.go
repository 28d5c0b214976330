package tui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/hoptrail/hoptrail/trace"
)

// hostileReport has s in every field a cluster has a say in.
func hostileReport(s string) *trace.Report {
	r := &trace.Report{}
	fillStrings(r, s)
	// What hoptrail itself writes.
	r.Schema, r.Verdict = trace.Schema, trace.Unreachable
	for i := range r.Hops {
		h := &r.Hops[i]
		h.ID, h.Kind, h.State = fmt.Sprintf("h%d", i+1), trace.KindRoute, trace.Fail
		for j := range h.Branches {
			h.Branches[j].To = fmt.Sprintf("h%d", i+2)
		}
	}
	for i := range r.Paths {
		r.Paths[i] = trace.Path{Probability: 0.5, Verdict: trace.Unreachable, Hops: []string{"h1", "h2"}[:i+1]}
	}
	for i := range r.Findings {
		r.Findings[i].Hop, r.Findings[i].Severity = "h1", trace.SeverityError
	}
	return r
}

// FuzzEveryFieldOfAReport puts a text into every field of a report, looks at
// every view of it, and finds nothing but printable characters there.
func FuzzEveryFieldOfAReport(f *testing.F) {
	for _, s := range []string{
		"", "plain", "\x1b[2J\x1b]0;owned\x07", "\x9b31m", "a\u202eb\u2066c", "\xff\xfe\xc3", "\u200b\ufeff\u00ad", "\r\n\t\v\f\b\x00\x7f",
		"購物車👩‍👩‍👧🇩🇪", "e" + strings.Repeat("\u0301", 40), "\x1bP$q\x1b\\", "\u2028\u2029\U000e0041", strings.Repeat("x", 1000), "\x1b]52;c;ZXZpbA==\x07", "{\"a\":1}",
		"\ue000\U0010ffff\ufffe\u0378", "10.0.0.1:80 a.example.com Bearer abcdefgh", "{", "[1]: x\n- y",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// go test takes an input for hung after ten seconds. Of longer texts it is
		// TestHostileBytesNeverReachTheTerminal.
		if len(s) > 1<<10 {
			return
		}
		r := hostileReport(s)
		if _, err := json.Marshal(r); err != nil { // a raw message that is none
			return
		}
		for _, private := range []bool{false, true} {
			sess := session(r)
			sess.Options.Privacy = private
			sess.Context, sess.NoFollow = s, s
			ask := sess.Trace
			fail := false
			sess.Trace = func(ctx context.Context, q trace.Target, progress func(Event)) (*trace.Report, error) {
				progress(Event{Reading: s})
				if fail {
					return nil, errors.New(s)
				}
				return ask(ctx, q, progress)
			}
			sess.Copy = func(context.Context, string) (string, error) { return "", errors.New(s) }
			sess.Export = func(context.Context, string, *trace.Report) (string, error) { return s, nil }
			d := newDriver(t, sess, 90, 40, utf8Env)
			look := func(where string) {
				v := d.m.View()
				printable(t, where, v.Content)
				printable(t, where+" title", v.WindowTitle)
				if strings.ContainsAny(v.WindowTitle, "\x1b\x07\n") {
					t.Fatalf("the title is %q", v.WindowTitle)
				}
			}
			for _, keys := range [][]string{
				nil,
				{"2"},
				{"3"},
				{"y"},
				{"4"},
				{"a"},
				{"tab", "enter"},
				{"esc", "5"},
				{"b"},
				{"esc", "B"},
				{"space", "j", "="},
				{"esc", "esc", "f"},
				{"esc", "i"},
				{"esc", "E"},
				{"ctrl+n"},
				{"esc", "H"},
				{"esc", "c"},
				{"c"},
				{"esc", "e", "1"},
				{"/", "a"},
				{"esc", ":", "a"},
				{"esc", "+"},
				{"+"},
				{"+", "w", "l"},
			} {
				d.press(keys...)
				look(strings.Join(keys, " "))
			}
			fail = true
			d.press("esc", "esc", "r")
			look("error")
		}
	})
}

// printable fails when a screen, but for the styles of the program's own, holds
// anything a terminal would act upon.
func printable(t *testing.T, where, screen string) {
	t.Helper()
	if !utf8.ValidString(screen) {
		t.Fatalf("%s: invalid UTF-8 in %q", where, screen)
	}
	for rest := screen; ; {
		i := strings.IndexByte(rest, 0x1b)
		if i < 0 {
			break
		}
		rest = rest[i+1:]
		// SGR alone: ESC [ digits and semicolons m.
		n := strings.IndexFunc(rest, func(r rune) bool { return r != '[' && r != ';' && (r < '0' || r > '9') })
		if n < 1 || rest[0] != '[' || rest[n] != 'm' {
			t.Fatalf("%s: a sequence that sets no style: %q", where, rest[:min(len(rest), 20)])
		}
	}
	for _, r := range ansi.Strip(screen) {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Fatalf("%s: %q (%U) is on the screen", where, r, r)
		}
	}
}
