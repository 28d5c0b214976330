package tui

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hoptrail/hoptrail/internal/report"
	"github.com/hoptrail/hoptrail/trace"
)

var update = flag.Bool("update", false, "write the goldens and docs/keys.md anew")

// sample is a report of internal/report's samples.
func sample(t testing.TB, name string) *trace.Report {
	t.Helper()
	data, err := os.ReadFile("../internal/report/testdata/samples/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	r := &trace.Report{}
	if err := json.Unmarshal(data, r); err != nil {
		t.Fatal(err)
	}
	return r
}

// driver runs a model without a terminal: commands are run to their end, timers
// are kept back until a test fires them.
type driver struct {
	t       testing.TB
	m       *model
	timers  []tea.Msg
	quit    bool
	raw     []string // sequences meant for the terminal
	updates atomic.Bool
}

// utf8Env is an environment in which nothing switches to ASCII by itself.
var utf8Env = environment{"LANG": "C.UTF-8", "TERM": "xterm-256color"}

func newDriver(t testing.TB, s Session, w, h int, env environment) *driver {
	t.Helper()
	d := &driver{t: t}
	var runs atomic.Int64
	if s.Now == nil {
		at := time.Date(2026, 11, 20, 14, 2, 31, 0, time.UTC)
		s.Now = func() time.Time { return at.Add(time.Duration(runs.Load()) * 5 * time.Second) }
	}
	guard := func() {
		if d.updates.Load() {
			t.Error("the session was called inside Update")
		}
	}
	ask := s.Trace
	s.Trace = func(ctx context.Context, q trace.Target, progress func(Event)) (*trace.Report, error) {
		guard()
		defer runs.Add(1)
		return ask(ctx, q, progress)
	}
	if export := s.Export; export != nil {
		s.Export = func(ctx context.Context, kind string, r *trace.Report) (string, error) {
			guard()
			return export(ctx, kind, r)
		}
	}
	d.m = newModel(t.Context(), s, env)
	d.m.after = func(_ time.Duration, msg tea.Msg) tea.Cmd {
		d.timers = append(d.timers, msg)
		return nil
	}
	d.run(d.m.Init(), tea.WindowSizeMsg{Width: w, Height: h})
	return d
}

// run handles messages and the commands that follow from them until none is
// left.
func (d *driver) run(first tea.Cmd, msgs ...tea.Msg) {
	d.t.Helper()
	done := make(chan tea.Msg)
	pending := 0
	start := func(cmd tea.Cmd) {
		if cmd == nil {
			return
		}
		pending++
		go func() { done <- cmd() }()
	}
	handle := func(msg tea.Msg) {
		switch msg := msg.(type) {
		case nil:
		case tea.BatchMsg:
			for _, c := range msg {
				start(c)
			}
		case tea.QuitMsg:
			d.quit = true
		case tea.RawMsg:
			d.raw = append(d.raw, fmt.Sprint(msg.Msg))
		default:
			d.updates.Store(true)
			_, cmd := d.m.Update(msg)
			d.updates.Store(false)
			if d.m.w > 0 {
				d.m.View() // as the program does after each message
			}
			start(cmd)
		}
	}
	start(first)
	for _, m := range msgs {
		handle(m)
	}
	limit := time.After(patience)
	for pending > 0 {
		select {
		case msg := <-done:
			pending--
			handle(msg)
		case <-limit:
			d.t.Fatal("a command did not end")
		}
	}
}

// key is the message of a key by its name.
func key(name string) tea.KeyPressMsg {
	mods := map[string]tea.KeyMod{"ctrl": tea.ModCtrl, "shift": tea.ModShift, "alt": tea.ModAlt}
	codes := map[string]rune{
		"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "space": tea.KeySpace, "up": tea.KeyUp, "down": tea.KeyDown,
		"left": tea.KeyLeft, "right": tea.KeyRight, "home": tea.KeyHome, "end": tea.KeyEnd, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown,
		"backspace": tea.KeyBackspace, "delete": tea.KeyDelete,
	}
	var k tea.Key
	rest := name
	for {
		mod, tail, ok := strings.Cut(rest, "+")
		if !ok || mods[mod] == 0 || tail == "" {
			break
		}
		k.Mod |= mods[mod]
		rest = tail
	}
	if c, ok := codes[rest]; ok {
		k.Code = c
		if rest == "space" && k.Mod == 0 {
			k.Text = " "
		}
	} else {
		r := []rune(rest)
		k.Code = r[0]
		if k.Mod == 0 {
			k.Text = rest
		}
	}
	return tea.KeyPressMsg(k)
}

func (d *driver) press(names ...string) *driver {
	d.t.Helper()
	for _, n := range names {
		k := key(n)
		if got := k.String(); got != n {
			d.t.Fatalf("key %q is named %q", n, got)
		}
		d.run(nil, k)
	}
	return d
}

func (d *driver) typed(text string) *driver {
	d.t.Helper()
	for _, r := range text {
		if r == ' ' {
			d.press("space")
			continue
		}
		d.press(string(r))
	}
	return d
}

// fire lets the kept timers of the type of like run out.
func (d *driver) fire(like tea.Msg) {
	d.t.Helper()
	old := d.timers
	d.timers = nil
	n := 0
	for _, msg := range old {
		if reflect.TypeOf(msg) == reflect.TypeOf(like) {
			d.run(nil, msg)
			n++
		}
	}
	if n == 0 {
		d.t.Fatalf("no timer for %T is set", like)
	}
}

func (d *driver) has(texts ...string) *driver {
	d.t.Helper()
	s := d.screen()
	for _, text := range texts {
		if !strings.Contains(s, text) {
			d.t.Errorf("the screen does not show %q:\n%s", text, s)
		}
	}
	return d
}

func (d *driver) lacks(texts ...string) *driver {
	d.t.Helper()
	s := d.screen()
	for _, text := range texts {
		if strings.Contains(s, text) {
			d.t.Errorf("the screen shows %q:\n%s", text, s)
		}
	}
	return d
}

// session answers every question with the reports in turn, the last one for ever.
func session(rs ...*trace.Report) Session {
	n := 0
	return Session{
		Target: rs[0].Target, Live: true, Context: "prod-eu",
		Trace: func(_ context.Context, t trace.Target, progress func(Event)) (*trace.Report, error) {
			r := *rs[min(n, len(rs)-1)]
			n++
			r.Target = t
			for i := range r.Hops {
				progress(Event{Reading: "nodes/" + r.Hops[i].ID})
				progress(Event{Hop: &r.Hops[i]})
			}
			return &r, nil
		},
		Export:   func(_ context.Context, kind string, _ *trace.Report) (string, error) { return "trace." + kind, nil },
		Render:   func(r *trace.Report, format string) string { return report.String(r, report.Format(format)) },
		Copy:     func(context.Context, string) (string, error) { return "test", nil },
		NoFollow: "a snapshot has no log that grows",
	}
}

// golden compares got with a file of testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) == got {
		return
	}
	w, g := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			t.Fatalf("%s:%d\n want %q\n got  %q\n(-update writes it anew)", path, i+1, a, b)
		}
	}
}
