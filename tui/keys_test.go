package tui

import (
	"os"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

func TestKeysAreUniqueWithinTheirContext(t *testing.T) {
	seen := map[keyContext]map[string]string{}
	titles := map[keyContext]bool{}
	for _, c := range contextTitles {
		titles[c.ctx] = true
	}
	for _, b := range keyTable() {
		if seen[b.ctx] == nil {
			seen[b.ctx] = map[string]string{}
		}
		if !titles[b.ctx] {
			t.Errorf("context %s has no title in the help", b.ctx)
		}
		if b.help == "" || b.name == "" || len(b.keys) == 0 {
			t.Errorf("%s %q lacks a name, a key or a help", b.ctx, b.name)
		}
		if b.run == nil && b.ctx != ctxLine {
			t.Errorf("%s %q does nothing", b.ctx, b.name)
		}
		for _, k := range b.keys {
			if other, taken := seen[b.ctx][k]; taken {
				t.Errorf("%s: %s is both %q and %q", b.ctx, k, other, b.name)
			}
			seen[b.ctx][k] = b.name
			if got := key(k).String(); got != k {
				t.Errorf("%s %q: Bubble Tea calls the key %q", b.ctx, k, got)
			}
		}
	}
	// A list of ways has the keys of a list, too.
	for k, name := range seen[ctxWays] {
		if other, taken := seen[ctxList][k]; taken {
			t.Errorf("%s is %q in a list of ways and %q in a list", k, name, other)
		}
	}
}

func TestKeysAreInDocs(t *testing.T) {
	const path = "../docs/keys.md"
	want := KeysMarkdown()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the key table says; run go test ./tui -run TestKeys -update", path)
	}
}

// rich is a report in which every key has something to do.
func rich(t testing.TB) *trace.Report {
	t.Helper()
	r, other := sample(t, "branches"), sample(t, "ingress")
	h := &r.Hops[4]
	h.Detail.Rules = other.Hops[1].Detail.Rules
	h.Evidence, h.Config, h.Logs = other.Hops[1].Evidence, other.Hops[4].Config, other.Hops[4].Logs
	r.Hops[3].Detail.Rules = h.Detail.Rules
	return r
}

// TestEveryKeyDoesSomething presses every key of the table where it belongs: the
// screen changes, or it says why not.
func TestEveryKeyDoesSomething(t *testing.T) {
	open := map[keyContext][]string{
		ctxMain: nil, ctxWays: {"b", "j"}, ctxList: {"c", "j", "j"}, ctxPage: {"?", "j", "j"}, ctxForm: {"E", "tab", "tab"}, ctxPalette: {":", "down"}, ctxLine: {"/", "s"},
	}
	// What cannot be seen at once, and how it shows.
	unseen := map[string]bool{"ctrl+l": true, "ctrl+z": true, "enter line": true, "down line": true, "up line": true}
	for _, b := range keyTable() {
		for _, k := range b.keys {
			t.Run(string(b.ctx)+" "+k, func(t *testing.T) {
				d := newDriver(t, session(rich(t)), 100, 24, utf8Env)
				// In the middle of everything: of the path, of the runs, of a long page.
				d.press("r", "r", "[", "g", "j", "j", "j")
				if k == "a" || k == "&" {
					d.press("4")
				} else if k == "1" || k == "y" {
					d.press("3")
				}
				d.press("J", "J")
				d.press(open[b.ctx]...)
				if b.ctx == ctxMain && (k == "esc" || k == "ctrl+g") {
					d.press("tab")
				}
				before := d.screen() + d.m.View().Content
				_, cmd := d.m.Update(key(k))
				d.run(cmd)
				if unseen[k] || unseen[k+" "+string(b.ctx)] || d.quit || d.m.interrupt {
					return
				}
				if d.m.search.text != "" && b.ctx == ctxLine {
					return
				}
				if after := d.screen() + d.m.View().Content; after == before {
					t.Errorf("pressing %s changes nothing and says nothing:\n%s", k, d.screen())
				}
			})
		}
	}
}

func TestADisabledKeySaysWhy(t *testing.T) {
	s := session(sample(t, "ingress"))
	s.Live, s.Export = false, nil
	d := newDriver(t, s, 120, 160, utf8Env)
	for k, why := range map[string]string{
		"b": "more than one way on", "L": "a snapshot does not change", "f": "there is no finding", "[": "this is the first run kept",
		"]": "this is the last run", "e": "cannot write files", "F": "a snapshot has no log that grows", "a": "only in the Logs tab", "&": "only in the Logs tab",
	} {
		d.press(k).has(why)
	}
	d.press("?").has("now off: a snapshot does not change", "now off: there is no finding")
	d.press("esc", ":").typed("live").has("a snapshot does not change")
}

func TestTheFooterHoldsOnlyBindingsOfTheTable(t *testing.T) {
	d := newDriver(t, session(sample(t, "fault")), 200, 40, utf8Env)
	footer := d.screen()[strings.LastIndex(d.screen(), "\n")+1:]
	for _, want := range []string{"j/k move", "1-5 tabs", "/ find", "c copy", "e export", "? help", "q quit"} {
		if !strings.Contains(footer, want) {
			t.Errorf("the footer %q lacks %q", footer, want)
		}
	}
	if strings.Contains(footer, "branches") {
		t.Error("the footer shows a key that is off")
	}
}
