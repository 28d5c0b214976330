package tui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"
	"github.com/clipperhouse/displaywidth"

	"github.com/hoptrail/hoptrail/trace"
)

// sizes are those every view must look right at.
var sizes = [][2]int{{120, 40}, {80, 24}, {60, 20}, {40, 10}}

// wide counts cells as a terminal does in which the ambiguous characters take
// two.
var wide = displaywidth.Options{EastAsianWidth: true}

// screen is the screen as text; every line is checked to fit. With ASCII it must
// fit, too, where the ambiguous characters take two cells.
func (d *driver) screen() string {
	d.t.Helper()
	content := d.m.View().Content
	lines := strings.Split(content, "\n")
	if len(lines) > d.m.h {
		d.t.Errorf("%d lines on a screen of %d", len(lines), d.m.h)
	}
	var out []string
	for i, l := range lines {
		plain := ansi.Strip(l)
		widths := map[string]int{"wcwidth": ansi.WcWidth.StringWidth(plain), "graphemes": ansi.GraphemeWidth.StringWidth(plain)}
		if d.m.ascii {
			widths["graphemes, the ambiguous ones wide"] = wide.String(plain)
		}
		for name, w := range widths {
			if w > d.m.w {
				d.t.Errorf("line %d is %d cells wide by %s on a screen of %d: %q", i+1, w, name, d.m.w, plain)
			}
		}
		out = append(out, strings.TrimRight(plain, " "))
	}
	return strings.Join(out, "\n")
}

// inCJK is a report of a platform whose names are not in Latin letters.
func inCJK(t testing.TB, r *trace.Report) *trace.Report {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(
		"simple.baihl.io", "商店.例え.jp", "bookinfo.example.com", "書店.例え.jp", "baihl-master", "节点-北京-一", "no endpoint", "没有可用的端点",
		"istio-system", "网格系统", "Service", "サービス", "carries that label", "라벨이없음", "gateway", "게이트웨이",
		"reviews", "書評", "nothing could be read", "何も読めませんでした", "not in the snapshot", "スナップショットにありません",
	).Replace(string(data))
	out := &trace.Report{}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func cjk(t testing.TB) *trace.Report { return inCJK(t, sample(t, "fault")) }

// failing is a session that finds nothing out about the question of r.
func failing(r *trace.Report, err error) Session {
	s := session(r)
	s.Trace = func(context.Context, trace.Target, func(Event)) (*trace.Report, error) { return nil, err }
	return s
}

// changedRuns is a platform that breaks between two runs.
func changedRuns(t testing.TB) Session { return session(sample(t, "ingress"), sample(t, "fault")) }

// stoppingAt is a session in which run n ends with err after four hops.
func stoppingAt(n int, err error, r *trace.Report) Session {
	s := session(r)
	ask, runs := s.Trace, 0
	s.Trace = func(ctx context.Context, q trace.Target, progress func(Event)) (*trace.Report, error) {
		if runs++; runs != n {
			return ask(ctx, q, progress)
		}
		for i := range r.Hops[:4] {
			progress(Event{Hop: &r.Hops[i]})
		}
		return nil, err
	}
	return s
}

// half is a trace that has come to its fourth hop and reads on.
func half(d *driver) {
	r, err := d.m.s.Trace(d.t.Context(), d.m.target, func(Event) {})
	if err != nil {
		d.t.Fatal(err)
	}
	d.m.runs, d.m.shown = nil, -1
	d.m.startTrace() // its commands are not run: it does not end
	at := d.m.now()
	d.m.now = func() time.Time { return at.Add(1700 * time.Millisecond) }
	for i := range r.Hops[:4] {
		d.m.Update(eventsMsg{gen: d.m.gen, events: []Event{{Hop: &r.Hops[i]}}})
	}
	d.m.Update(eventsMsg{gen: d.m.gen, events: []Event{{Reading: "proxies/" + r.Hops[2].Subject.Name + "/config_dump.json"}}})
	d.m.Update(tickMsg{d.m.gen})
}

// again is a trace that takes its time while the path of the run before is shown.
func again(d *driver) {
	d.m.startTrace() // its commands are not run
	at := d.m.now()
	d.m.now = func() time.Time { return at.Add(12300 * time.Millisecond) }
	d.m.Update(eventsMsg{gen: d.m.gen, events: []Event{{Reading: "nodes/baihl-master/iptables-save.txt"}}})
}

// view is a state of the screen that has a golden.
type view struct {
	name string
	// s makes the session from the samples that report gives; nil is that of the
	// sample "fault".
	s     func(report func(name string) *trace.Report) Session
	keys  []string
	setup func(d *driver) // instead of keys
}

func views() []view {
	of := func(names ...string) func(report func(string) *trace.Report) Session {
		return func(report func(string) *trace.Report) Session {
			var rs []*trace.Report
			for _, n := range names {
				rs = append(rs, report(n))
			}
			return session(rs...)
		}
	}
	timeout := errors.New("observe: nodes/node-b/iptables-save.txt: dial tcp 203.0.113.9:443: i/o timeout")
	return []view{
		{name: "summary"},
		{name: "evidence", keys: []string{"2"}},
		{name: "config", keys: []string{"k", "3"}},
		{name: "config-json", keys: []string{"k", "y"}},
		{name: "logs", keys: []string{"k", "4"}},
		{name: "logs-all", keys: []string{"k", "4", "a"}},
		{name: "logs-none", keys: []string{"4"}},
		{name: "logs-filter", keys: []string{"k", "4", "&", "n", "o", "w", "h", "e", "r", "e", "enter"}},
		{name: "alternatives", keys: []string{"k", "5"}},
		{name: "rules", keys: []string{"g", "j", "tab"}},
		{name: "path-only", keys: []string{"+", "+"}},
		{name: "detail-only", keys: []string{"+"}},
		{name: "banner-ok", s: of("ingress")},
		{name: "banner-note", s: func(report func(string) *trace.Report) Session {
			r := report("ingress")
			r.Findings = append(r.Findings, trace.Finding{
				Code: "HT9001", Severity: trace.SeverityWarning, Title: "the log shows another way than the configuration predicts", Hop: r.Hops[3].ID,
				Detail: "the latest request like this one went to cluster outbound|80||nginx.simple.svc.cluster.local",
			})
			return session(r)
		}},
		{name: "banner-degraded", s: of("branches")},
		{name: "banner-unknown", s: of("unknown")},
		{name: "banner-not-read", s: func(report func(string) *trace.Report) Session {
			r := report("fault")
			r.Collected.NotRead = append(r.Collected.NotRead,
				trace.NotRead{What: "nodes/node-b/iptables-save.txt", Why: "pods/exec is forbidden: User \"oncall\" cannot create resource \"pods/exec\"", Command: "iptables-save -c   # on node-b"},
				trace.NotRead{What: "proxies/istio-system/gateway/access.log", Why: "deadline of 10s exceeded"})
			return session(r)
		}},
		{name: "branches", s: of("branches"), keys: []string{"b"}},
		{name: "ways", s: of("branches"), keys: []string{"B"}},
		{name: "compare", s: of("branches"), keys: []string{"b", "k", "="}},
		{name: "branch-taken", s: of("branches"), keys: []string{"."}},
		{name: "help", keys: []string{"?"}},
		{name: "palette", keys: []string{":", "b", "r"}},
		{name: "copy", keys: []string{"c"}},
		{name: "export", keys: []string{"e"}},
		{name: "fixes", keys: []string{"f"}},
		{name: "edit", keys: []string{"E"}},
		{name: "read", s: of("unknown"), keys: []string{"i"}},
		{name: "runs", s: of("ingress", "fault"), keys: []string{"r", "H"}},
		{name: "changed", s: of("ingress", "fault"), keys: []string{"r"}},
		{name: "earlier", s: of("ingress", "fault"), keys: []string{"r", "["}},
		{name: "line", keys: []string{"k", "4", "tab", "enter"}},
		{name: "search", keys: []string{"tab", "/", "s", "i", "m", "p", "l", "e"}},
		{name: "privacy", keys: []string{"p"}},
		{name: "hostile", s: of("hostile")},
		{name: "tracing", setup: half},
		{name: "tracing-again", setup: again},
		{name: "cancelled", s: func(report func(string) *trace.Report) Session {
			return stoppingAt(1, context.Canceled, report("fault"))
		}},
		{name: "error", s: func(report func(string) *trace.Report) Session { return failing(report("fault"), timeout) }},
		{name: "error-later", s: func(report func(string) *trace.Report) Session { return stoppingAt(2, timeout, report("fault")) }, keys: []string{"r"}},
		{name: "empty", s: func(report func(string) *trace.Report) Session {
			r := report("fault")
			return session(&trace.Report{
				Schema: trace.Schema, Target: r.Target, Verdict: trace.Undetermined, Summary: "nothing could be read",
				Collected: trace.Collected{NotRead: []trace.NotRead{{What: "dns.json", Why: "not in the snapshot"}}},
			})
		}},
	}
}

// drive brings a screen of w x h cells into the state of v. change is applied to
// every sample.
func (v view) drive(t testing.TB, w, h int, ascii bool, change func(*trace.Report) *trace.Report) *driver {
	t.Helper()
	report := func(name string) *trace.Report { return change(sample(t, name)) }
	s := session(report("fault"))
	if v.s != nil {
		s = v.s(report)
		if v.name == "empty" { // its words are in no sample
			s = session(change(lastReport(t, s)))
		}
	}
	s.Options.ASCII = ascii
	d := newDriver(t, s, w, h, utf8Env)
	if v.setup != nil {
		v.setup(d)
	}
	return d.press(v.keys...)
}

func lastReport(t testing.TB, s Session) *trace.Report {
	t.Helper()
	r, err := s.Trace(t.Context(), s.Target, func(Event) {})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// inASCII is the ASCII screen that belongs to one with shapes and lines, but for
// what takes more cells.
var inASCII = func() *strings.Replacer {
	u, a := unicodeGlyphs, asciiGlyphs
	pairs := []string{
		u.cursor, a.cursor, u.hrule, a.hrule, u.vrule, a.vrule, u.branch, a.branch, u.match, a.match, u.sep, a.sep,
		u.differs, a.differs, u.bullet, a.bullet, u.boxTL, a.boxTL, u.boxTR, a.boxTR, u.boxBL, a.boxBL, u.boxBR, a.boxBR,
	}
	for st, g := range u.state {
		pairs = append(pairs, g, a.state[st])
	}
	return strings.NewReplacer(pairs...)
}()

// TestGoldens compares every view at every size: with shapes and lines, of a
// platform with CJK names, and in ASCII. Of the ASCII screens a golden holds the
// lines that are not those of the first with other shapes.
func TestGoldens(t *testing.T) {
	same := func(r *trace.Report) *trace.Report { return r }
	east := func(r *trace.Report) *trace.Report { return inCJK(t, r) }
	seen := map[string]bool{}
	for _, v := range views() {
		if seen[v.name] {
			t.Fatalf("two views are named %s", v.name)
		}
		seen[v.name] = true
		t.Run(v.name, func(t *testing.T) {
			var b strings.Builder
			for _, size := range sizes {
				w, h := size[0], size[1]
				text := v.drive(t, w, h, false, same).screen()
				fmt.Fprintf(&b, "-- unicode %dx%d --\n%s\n", w, h, text)

				names := v.drive(t, w, h, false, east).screen()
				fmt.Fprintf(&b, "-- cjk %dx%d --\n%s\n", w, h, names)
				v.drive(t, w, h, true, east).screen() // for the widths
				if w >= 80 && !strings.ContainsFunc(names, func(r rune) bool {
					return unicode.In(r, unicode.Han, unicode.Hangul, unicode.Katakana, unicode.Hiragana)
				}) {
					t.Errorf("%dx%d: nothing on the CJK screen is wide:\n%s", w, h, names)
				}

				plain := v.drive(t, w, h, true, same).screen()
				if v.name != "hostile" { // its data are not
					for _, r := range plain {
						if r > 0x7e {
							t.Errorf("%dx%d: %q is on an ASCII screen", w, h, r)
						}
					}
				}
				fmt.Fprintf(&b, "-- ascii %dx%d --\n", w, h)
				from, to := strings.Split(text, "\n"), strings.Split(plain, "\n")
				if len(from) != len(to) {
					t.Errorf("%dx%d: %d lines in ASCII, %d without", w, h, len(to), len(from))
				}
				for i := range to {
					if i >= len(from) || inASCII.Replace(from[i]) != to[i] {
						fmt.Fprintf(&b, "%d %s\n", i+1, to[i])
					}
				}
			}
			golden(t, v.name, b.String())
		})
	}
	files, err := filepath.Glob("testdata/golden/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[strings.TrimSuffix(filepath.Base(f), ".txt")] {
			t.Errorf("%s is of no view", f)
		}
	}
}

// TestWidthsWhereTheAmbiguousCharactersAreWide draws everything in a process in
// which they are: RUNEWIDTH_EASTASIAN is read when a program starts.
func TestWidthsWhereTheAmbiguousCharactersAreWide(t *testing.T) {
	if os.Getenv("RUNEWIDTH_EASTASIAN") != "" {
		t.Skip("this is that process")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^(TestEverySizeHoldsEveryView|FuzzCanvas)$", "-test.v")
	cmd.Env = append(os.Environ(), "RUNEWIDTH_EASTASIAN=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestEverySizeHoldsEveryView") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTheScreenBelowTheSmallestSizeSaysSo(t *testing.T) {
	d := newDriver(t, session(sample(t, "fault")), 39, 10, utf8Env)
	if got, want := strings.TrimSpace(d.screen()), "terminal 39x10, need 40x10;\nrun with -o text"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	d.press("j", "?", "2")
	cur := d.m.list.cur
	d.run(nil, resize(40, 10))
	d.has("UNREACHABLE")
	if d.m.list.cur != cur || len(d.m.overlays) != 0 || d.m.tab != tabSummary {
		t.Error("keys were taken while nothing was shown")
	}
	for w := 1; w < 45; w++ {
		for h := 1; h < 14; h++ {
			d.run(nil, resize(w, h))
			d.screen()
		}
	}
}

// TestEverySizeHoldsEveryView draws all views at many sizes; screen checks the
// widths.
func TestEverySizeHoldsEveryView(t *testing.T) {
	env := environment{"LANG": "C.UTF-8", "TERM": "xterm-256color", "RUNEWIDTH_EASTASIAN": os.Getenv("RUNEWIDTH_EASTASIAN")}
	for _, r := range []*trace.Report{sample(t, "branches"), cjk(t), sample(t, "hostile"), sample(t, "ingress")} {
		for _, ascii := range []bool{false, true} {
			s := session(r)
			s.Options.ASCII = ascii
			d := newDriver(t, s, 120, 40, env)
			for _, keys := range [][]string{nil, {"2"}, {"3"}, {"4"}, {"5"}, {"?"}, {"c"}, {"E"}, {":"}, {"+"}, {"+"}, {"i"}, {"w", "l", "l"}, {"/", "a"}} {
				d.press(keys...)
				for _, s := range [][2]int{{200, 60}, {133, 33}, {96, 18}, {95, 34}, {80, 50}, {72, 16}, {61, 15}, {47, 12}, {40, 10}} {
					d.run(nil, resize(s[0], s[1]))
					d.screen()
				}
				d.press("esc")
			}
		}
	}
}
