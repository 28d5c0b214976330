package tui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"github.com/hoptrail/hoptrail/trace"
)

// sizes are those every view must look right at.
var sizes = [][2]int{{120, 40}, {80, 24}, {60, 20}, {40, 10}}

// screen is the screen as text; every line is checked to fit.
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
		for method, name := range map[ansi.Method]string{ansi.WcWidth: "wcwidth", ansi.GraphemeWidth: "graphemes"} {
			if w := method.StringWidth(plain); w > d.m.w {
				d.t.Errorf("line %d is %d cells wide by %s on a screen of %d: %q", i+1, w, name, d.m.w, plain)
			}
		}
		out = append(out, strings.TrimRight(plain, " "))
	}
	return strings.Join(out, "\n")
}

// cjk is the fault sample of a platform whose names are not in Latin letters.
func cjk(t testing.TB) *trace.Report {
	t.Helper()
	r := sample(t, "fault")
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(
		"simple.baihl.io", "商店.例え.jp", "baihl-master", "节点-北京-一", "no endpoint", "没有可用的端点",
		"istio-system", "网格系统", "Service", "サービス", "carries that label", "라벨이없음", "gateway", "게이트웨이",
	).Replace(string(data))
	out := &trace.Report{}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

// failing is a session that finds nothing out.
func failing(t testing.TB, err error) Session {
	s := session(sample(t, "fault"))
	s.Trace = func(context.Context, trace.Target, func(Event)) (*trace.Report, error) { return nil, err }
	return s
}

// changedRuns is a platform that breaks between two runs.
func changedRuns(t testing.TB) Session {
	return session(sample(t, "ingress"), sample(t, "fault"))
}

func TestGoldens(t *testing.T) {
	views := []struct {
		name string
		s    func(t testing.TB) Session
		keys []string
		data string // a reason to show CJK data, too
	}{
		{name: "summary", keys: nil, data: "cjk"},
		{name: "evidence", keys: []string{"2"}, data: "cjk"},
		{name: "config", keys: []string{"k", "3"}},
		{name: "config-json", keys: []string{"k", "y"}},
		{name: "logs", keys: []string{"k", "4"}, data: "cjk"},
		{name: "logs-none", keys: []string{"4"}},
		{name: "alternatives", keys: []string{"k", "5"}},
		{name: "rules", keys: []string{"g", "j", "tab"}},
		{name: "path-only", keys: []string{"+", "+"}, data: "cjk"},
		{name: "detail-only", keys: []string{"+"}},
		{name: "banner-ok", s: func(t testing.TB) Session { return session(sample(t, "ingress")) }},
		{name: "banner-unknown", s: func(t testing.TB) Session { return session(sample(t, "unknown")) }},
		{name: "branches", s: func(t testing.TB) Session { return session(sample(t, "branches")) }, keys: []string{"b"}},
		{name: "ways", s: func(t testing.TB) Session { return session(sample(t, "branches")) }, keys: []string{"B"}},
		{name: "compare", s: func(t testing.TB) Session { return session(sample(t, "branches")) }, keys: []string{"b", "k", "="}},
		{name: "branch-taken", s: func(t testing.TB) Session { return session(sample(t, "branches")) }, keys: []string{"."}},
		{name: "help", keys: []string{"?"}},
		{name: "palette", keys: []string{":", "b", "r"}},
		{name: "copy", keys: []string{"c"}, data: "cjk"},
		{name: "export", keys: []string{"e"}},
		{name: "fixes", keys: []string{"f"}},
		{name: "edit", keys: []string{"E"}, data: "cjk"},
		{name: "read", s: func(t testing.TB) Session { return session(sample(t, "unknown")) }, keys: []string{"i"}},
		{name: "runs", s: changedRuns, keys: []string{"r", "H"}},
		{name: "changed", s: changedRuns, keys: []string{"r"}},
		{name: "earlier", s: changedRuns, keys: []string{"r", "["}},
		{name: "line", keys: []string{"k", "4", "tab", "enter"}},
		{name: "search", keys: []string{"tab", "/", "s", "i", "m", "p", "l", "e"}},
		{name: "privacy", keys: []string{"p"}},
		{name: "hostile", s: func(t testing.TB) Session { return session(sample(t, "hostile")) }},
		{name: "error", s: func(t testing.TB) Session {
			return failing(t, errors.New("observe: nodes/node-b/iptables-save.txt: dial tcp 203.0.113.9:443: i/o timeout"))
		}},
		{name: "empty", s: func(t testing.TB) Session {
			r := &trace.Report{
				Schema: trace.Schema, Target: sample(t, "fault").Target, Verdict: trace.Undetermined, Summary: "nothing could be read",
				Collected: trace.Collected{NotRead: []trace.NotRead{{What: "dns.json", Why: "not in the snapshot"}}},
			}
			return session(r)
		}},
	}
	seen := map[string]bool{}
	for _, v := range views {
		if seen[v.name] {
			t.Fatalf("two views are named %s", v.name)
		}
		seen[v.name] = true
		t.Run(v.name, func(t *testing.T) {
			make1 := v.s
			if make1 == nil {
				make1 = func(t testing.TB) Session { return session(sample(t, "fault")) }
			}
			var b strings.Builder
			section := func(title string, s Session, w, h int) {
				d := newDriver(t, s, w, h, utf8Env)
				d.press(v.keys...)
				fmt.Fprintf(&b, "=== %s %dx%d ===\n%s\n", title, w, h, d.screen())
			}
			for _, size := range sizes {
				section("unicode", make1(t), size[0], size[1])
				s := make1(t)
				s.Options.ASCII = true
				d := newDriver(t, s, size[0], size[1], utf8Env)
				d.press(v.keys...)
				text := d.screen()
				if v.name != "hostile" {
					for _, r := range text {
						if r > 0x7e {
							t.Errorf("%dx%d: %q is on an ASCII screen", size[0], size[1], r)
						}
					}
				}
				if size[0] == 80 || size[0] == 40 {
					fmt.Fprintf(&b, "=== ascii %dx%d ===\n%s\n", size[0], size[1], text)
				}
			}
			if v.data == "cjk" {
				for _, size := range sizes {
					section("cjk", session(cjk(t)), size[0], size[1])
				}
			}
			golden(t, v.name, b.String())
		})
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
	for _, r := range []*trace.Report{sample(t, "branches"), cjk(t), sample(t, "hostile"), sample(t, "ingress")} {
		d := newDriver(t, session(r), 120, 40, utf8Env)
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
