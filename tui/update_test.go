package tui

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hoptrail/hoptrail/trace"
)

func TestTheCursorStartsOnTheFirstFailingHop(t *testing.T) {
	for name, want := range map[string]int{"fault": 5, "ingress": 0, "unknown": 3, "branches": 5, "hostile": 2} {
		d := newDriver(t, session(sample(t, name)), 120, 40, utf8Env)
		if d.m.list.cur != want {
			t.Errorf("%s: the cursor is on hop %d, want %d", name, d.m.list.cur+1, want+1)
		}
	}
}

func TestHopsAppearAsTheyComplete(t *testing.T) {
	r := sample(t, "ingress")
	step, stepped := make(chan bool), make(chan bool)
	s := session(r)
	s.Trace = func(ctx context.Context, q trace.Target, progress func(Event)) (*trace.Report, error) {
		for i := range r.Hops {
			<-step
			progress(Event{Hop: &r.Hops[i]})
			progress(Event{Reading: "proxies/gw/config_dump.json"})
			stepped <- true
		}
		<-step
		return r, nil
	}
	// The commands are run here by hand: this trace is stopped half way.
	m := newModel(t.Context(), s, utf8Env)
	m.after = func(time.Duration, tea.Msg) tea.Cmd { return nil }
	msgs := make(chan tea.Msg, 64)
	var start func(cmd tea.Cmd)
	start = func(cmd tea.Cmd) {
		if cmd != nil {
			go func() {
				msg := cmd()
				if batch, ok := msg.(tea.BatchMsg); ok {
					for _, c := range batch {
						start(c)
					}
				} else if msg != nil {
					msgs <- msg
				}
			}()
		}
	}
	d := &driver{t: t, m: m}
	m.Update(resize(120, 40))
	start(m.Init())
	until := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			select {
			case msg := <-msgs:
				_, cmd := m.Update(msg)
				start(cmd)
			case <-time.After(patience):
				t.Fatalf("waited in vain for: %s\n%s", what, d.screen())
			}
		}
	}
	d.has("tracing", "starting")
	for n := 1; n <= 3; n++ {
		step <- true
		<-stepped
		until(fmt.Sprintf("hop %d", n), func() bool { return len(m.path) == n && m.tracing.reading != "" })
		d.has("Path  "+counted(n, "hop"), "reading proxies/gw/config_dump.json")
		if m.list.cur != n-1 {
			t.Errorf("with %d hops the cursor is on %d", n, m.list.cur+1)
		}
	}
	m.Update(key("g")) // from now on the selection is the user's
	key0 := m.curKey
	for n := 4; n <= len(r.Hops); n++ {
		step <- true
		<-stepped
	}
	step <- true
	until("the report", func() bool { return m.tracing == nil })
	d.has("REACHABLE")
	if m.curKey != key0 {
		t.Errorf("the selection moved from %s to %s", key0, m.curKey)
	}
}

func TestCtrlCCancelsTheTraceFirstAndLeavesThen(t *testing.T) {
	s := session(sample(t, "fault"))
	started := make(chan bool, 8)
	s.Trace = func(ctx context.Context, _ trace.Target, progress func(Event)) (*trace.Report, error) {
		progress(Event{Hop: &sample(t, "fault").Hops[0]})
		started <- true
		<-ctx.Done()
		return nil, fmt.Errorf("observe: %w", ctx.Err())
	}
	m := newModel(t.Context(), s, utf8Env)
	m.after = func(time.Duration, tea.Msg) tea.Cmd { return nil }
	m.Update(resize(100, 30))
	d := &driver{t: t, m: m}
	batch := m.Init()().(tea.BatchMsg)
	done := make(chan tea.Msg, 1)
	go func() { done <- batch[0]() }()
	<-started
	_, more := m.Update(batch[1]())
	if _, cmd := m.Update(key("ctrl+c")); cmd != nil {
		t.Fatal("the first ctrl-c already leaves")
	}
	d.has("CANCELLING", "ctrl-c again leaves")
	m.Update(<-done)
	m.Update(more())
	d.has("CANCELLED", "r traces again", "simple.baihl.io is 192.168.170.137")
	if m.tracing != nil {
		t.Fatal("the trace is still under way")
	}
	_, cmd := m.Update(key("ctrl+c"))
	if cmd == nil || !m.interrupt {
		t.Fatal("ctrl-c without a trace does not leave")
	}
	if _, ok := cmd().(tea.QuitMsg); !ok {
		t.Fatal("ctrl-c without a trace does not quit")
	}

	// A session that does not heed its context does not hold the user.
	m = newModel(t.Context(), s, utf8Env)
	m.Update(resize(100, 30))
	m.Init()
	m.Update(key("ctrl+c"))
	if _, cmd := m.Update(key("ctrl+c")); cmd == nil {
		t.Error("the second ctrl-c does not leave a trace that hangs")
	}
}

func TestARetraceMarksWhatChangedAndKeepsTheSelection(t *testing.T) {
	d := newDriver(t, changedRuns(t), 120, 40, utf8Env)
	d.has("REACHABLE", "#1").press("j", "j", "j", "j")
	sel := d.m.curKey
	d.press("r")
	d.has("UNREACHABLE", "#2", "~ FAIL", "1 hop changed since 14:02:31Z (#1)", "gone: endpoint 10.10.1.13:80")
	if d.m.curKey != sel {
		t.Errorf("the selection went from %q to %q", sel, d.m.curKey)
	}
	d.press("n").has("was OK at 14:02:31Z (#1)")
	d.press("[").has("EARLIER 1 newer", "REACHABLE", "#1").lacks("changed since")
	d.press("[").has("this is the first run kept")
	d.press("]").has("UNREACHABLE", "#2").lacks("EARLIER")
	d.press("]").has("this is the last run")
	d.press("H").has("Runs  (2 kept)", "#2    14:02:36Z", "#1    14:02:31Z").press("j", "enter").has("EARLIER")
}

func TestARunThatEarlierWasLookedAtStaysWhileNewOnesCome(t *testing.T) {
	d := newDriver(t, changedRuns(t), 120, 40, utf8Env)
	d.press("L").has("#2", "LIVE 5s").press("[").has("EARLIER 1 newer", "#1")
	d.fire(liveMsg{})
	d.has("EARLIER 2 newer", "LIVE 5s", "#1").press("L", "space", "r").has("FROZEN 3 newer", "#1")
	d.press("space").has("#4").lacks("EARLIER")
}

func TestWhoTracesAgainWantsToSeeIt(t *testing.T) {
	d := newDriver(t, changedRuns(t), 120, 40, utf8Env)
	d.press("r", "[").has("EARLIER 1 newer", "#1").press("r").has("#3").lacks("EARLIER")
	d.press("[", "L").has("#4", "LIVE 5s").lacks("EARLIER")
}

func TestTheRingOfRunsIsBounded(t *testing.T) {
	d := newDriver(t, session(sample(t, "egress")), 80, 24, utf8Env)
	for range maxRuns + 5 {
		d.press("r")
	}
	if len(d.m.runs) != maxRuns || d.m.current().n != maxRuns+6 {
		t.Errorf("%d runs kept, the last is #%d", len(d.m.runs), d.m.current().n)
	}
}

func TestLiveNeverOverlapsAndFreezeHoldsTheScreen(t *testing.T) {
	running, most, runs := 0, 0, 0
	r := sample(t, "ingress")
	s := session(r)
	s.Trace = func(context.Context, trace.Target, func(Event)) (*trace.Report, error) {
		running++
		most = max(most, running)
		runs++
		defer func() { running-- }()
		return r, nil
	}
	d := newDriver(t, s, 120, 40, utf8Env)
	d.press("L").has("LIVE 5s", "tracing every 5s", "#2")
	d.fire(liveMsg{})
	d.has("#3")
	d.press("space").has("FROZEN")
	d.timersOf(liveMsg{}, 1)
	d.fire(liveMsg{})
	d.has("FROZEN", "#3")
	d.timersOf(liveMsg{}, 0)
	d.press("space").has("LIVE", "#4")
	d.press("L").has("live is off").lacks("LIVE")
	if d.timersOf(liveMsg{}, -1) > 0 {
		d.fire(liveMsg{}) // left over: must not trace
	}
	if runs != 4 || most != 1 {
		t.Errorf("%d runs, up to %d at once", runs, most)
	}

	s.Live = false
	d = newDriver(t, s, 120, 40, utf8Env)
	d.press("L").has("live: a snapshot does not change")
}

// timersOf checks how many timers of a type are set; -1 only counts.
func (d *driver) timersOf(like tea.Msg, want int) int {
	d.t.Helper()
	n := 0
	for _, msg := range d.timers {
		if fmt.Sprintf("%T", msg) == fmt.Sprintf("%T", like) {
			n++
		}
	}
	if want >= 0 && n != want {
		d.t.Errorf("%d timers of %T are set, want %d", n, like, want)
	}
	return n
}

func TestAFrozenScreenKeepsWhatComes(t *testing.T) {
	d := newDriver(t, changedRuns(t), 120, 40, utf8Env)
	d.press("space", "r").has("FROZEN 1 newer", "#1").lacks("UNREACHABLE")
	d.press("space").has("UNREACHABLE", "#2")
}

func TestAFailedRetraceKeepsTheLastPathBelowItsError(t *testing.T) {
	r := sample(t, "fault")
	s := session(r)
	n := 0
	s.Trace = func(context.Context, trace.Target, func(Event)) (*trace.Report, error) {
		if n++; n == 2 {
			return nil, errors.New("observe: connection refused\x1b[2J")
		}
		return r, nil
	}
	d := newDriver(t, s, 120, 40, utf8Env)
	d.press("r").has("NO ANSWER", `connection refused\x1b[2J`, "below is #1 of 14:02:31Z", "Path  6 hops")
	d.press("r").has("UNREACHABLE", "#3")
}

func TestAPanicOfTheSessionIsAnError(t *testing.T) {
	s := session(sample(t, "fault"))
	s.Trace = func(context.Context, trace.Target, func(Event)) (*trace.Report, error) { panic("index out of range") }
	newDriver(t, s, 120, 40, utf8Env).has("NO ANSWER", "internal error: index out of range")
}

func TestBranchesChangeTheRestOfThePath(t *testing.T) {
	d := newDriver(t, session(sample(t, "branches")), 120, 40, utf8Env)
	d.has("Path  6 hops", "2/2")
	d.press(",").has("Path  7 hops", "hop 5: outbound|9080|v1|reviews.bookinfo.svc.cluster.local (90%) OK")
	d.press("n").has("every hop of this path is OK")
	d.press("G", "k", ".").has("10.244.2.20:9080", "! WARN")
	d.press("g", "b").has("Branches at hop 2", "node-1", "node-2")
	d.press("2").has("node-2")
	d.press("b", "esc").lacks("Branches at hop")
	// Choices outlive a retrace.
	d.press("r").has("10.244.2.20:9080", "node-2")
	// Following a branch from the Alternatives tab.
	d.press("g", "j", "5", "tab")
	for d.m.rows[d.m.tabs[tabAlternatives].cur].branch != "node-1" {
		d.press("j")
	}
	d.press("enter").has("following node-1")
}

func TestAllWaysAndComparing(t *testing.T) {
	d := newDriver(t, session(sample(t, "branches")), 120, 40, utf8Env)
	d.press("B").has("All ways  (6)", "REACHABLE 90%", "UNREACHABLE 10%", "22.5%")
	d.press("g", "enter").has("Path  7 hops")
	d.press("B", "g", "space", "j", "space", "=").has("Compare", "5 hops are the same", "≠ ✓ 7 endpoint")
	d.press("esc", "esc", "B", "=").has("compare: this one is shown already")
	d.press("esc", "b", "B").has("All ways")
}

func TestComparingSaysHowHopsThatReadAlikeDiffer(t *testing.T) {
	hop := func(id string, kind trace.HopKind, name, src string) trace.Hop {
		return trace.Hop{ID: id, Kind: kind, State: trace.OK, Subject: trace.Subject{Name: name}, Summary: name + " takes it", In: &trace.Flow{Src: src}}
	}
	r := &trace.Report{
		Schema: "hoptrail.report/v1", Verdict: trace.Reachable,
		Hops: []trace.Hop{
			hop("h1", trace.KindDNS, "shop", ""),
			hop("h2", trace.KindNode, "gw", "10.0.0.1"), hop("h3", trace.KindPod, "envoy", "10.0.0.1"), hop("h4", trace.KindApp, "web", "10.0.0.9"),
			hop("h5", trace.KindNode, "gw", "10.0.0.2"), hop("h6", trace.KindPod, "envoy", "10.0.0.2"), hop("h7", trace.KindApp, "web", "10.0.0.9"),
		},
		Paths: []trace.Path{
			{Probability: 0.5, Verdict: trace.Reachable, Hops: []string{"h1", "h2", "h3", "h4"}},
			{Probability: 0.5, Verdict: trace.Reachable, Hops: []string{"h1", "h5", "h6", "h7"}},
		},
	}
	r.Hops[0].Branches = []trace.Branch{{Label: "a", Probability: 0.5, To: "h2", State: trace.OK}, {Label: "b", Probability: 0.5, To: "h5", State: trace.OK}}
	for _, w := range []int{100, 50} {
		d := newDriver(t, session(r), w, 40, utf8Env)
		d.press("B", "space", "space", "=").has("Compare", "≠ ✓ 2 node gw", "≠ ✓ 3 pod envoy", "from 10.0.0.1", "from 10.0.0.2", "2 hops are the same")
		d.lacks("≠ ✓ 4 app web", "gw takes it")
		if n := strings.Count(d.screen(), "from 10.0.0.1"); n != 1 {
			t.Errorf("what differs is said %d times", n)
		}
	}
}

func TestLiveModeThatAFlagBeganOnASnapshotCanBeEnded(t *testing.T) {
	s := session(sample(t, "fault"))
	s.Live, s.Options.Every = false, time.Second
	d := newDriver(t, s, 120, 40, utf8Env)
	d.has("LIVE 1s").press("L").has("live is off").lacks("LIVE 1s")
	d.press("L").has("live: a snapshot does not change")
}

func TestPathsBeyondTheBoundAreNamed(t *testing.T) {
	r := sample(t, "branches")
	r.Paths = append(r.Paths[:2:2], trace.Path{Probability: 0.55, Verdict: trace.Undetermined})
	d := newDriver(t, session(r), 120, 40, utf8Env)
	d.press("B").has("the ways beyond the bound on their number", "not listed one by one")
	d.press("G", "enter").has("not listed one by one")
	// A branch that no listed path takes is followed by its ids.
	d.press("esc", "b", "G", "enter").has("Path  ")
}

func TestEditTheQuestion(t *testing.T) {
	var asked []trace.Target
	s := session(sample(t, "fault"))
	ask := s.Trace
	s.Trace = func(ctx context.Context, q trace.Target, p func(Event)) (*trace.Report, error) {
		asked = append(asked, q)
		return ask(ctx, q, p)
	}
	d := newDriver(t, s, 120, 40, utf8Env)
	d.press("E", "ctrl+u").typed("nonsense").press("enter").has("is neither a URL")
	d.press("ctrl+u").typed("https://shop.example.com:8443/api?q=1")
	d.press("tab", "ctrl+n").has("POST")
	d.press("down", "ctrl+n").has("node:baihl-master")
	d.press("tab").typed("sni.example.com")
	d.press("tab").typed("203.0.113.9:4000").press("tab").typed("2").press("tab").typed("shop.example.com:8443:10.0.0.9")
	d.press("tab").typed("x-user: 7").press("tab").typed("broken").press("enter").has(`header "broken" is not name: value`)
	d.press("ctrl+u").typed("cookie: a=1").press("enter")
	want := trace.Target{
		Raw: "https://shop.example.com:8443/api?q=1", Scheme: "https", Host: "shop.example.com", Port: 8443, Path: "/api?q=1", Method: "POST",
		From: "node:baihl-master", SNI: "sni.example.com", SourceIP: "203.0.113.9:4000", HTTPVersion: "2",
		Resolve: map[string]string{"shop.example.com:8443": "10.0.0.9"},
		Headers: []trace.Header{{Name: "x-user", Value: "7"}, {Name: "cookie", Value: "a=1"}},
	}
	if len(asked) != 2 {
		t.Fatalf("asked %d times", len(asked))
	}
	if got := fmt.Sprintf("%+v", asked[1]); got != fmt.Sprintf("%+v", want) {
		t.Errorf("asked\n%s\nwant\n%+v", got, want)
	}
	d.has("POST https://shop.example.com:8443/api?q=1", "from node:baihl-master", "+2 headers", "#2")
	// The form shows what was asked; leaving it asks nothing.
	d.press("E").has("x-user: 7", "shop.example.com:8443:10.0.0.9").press("esc").lacks("Edit the question")
	if len(asked) != 2 {
		t.Errorf("asked %d times", len(asked))
	}
	// The history holds both questions; runs of different ones are not compared.
	d.press("H").has("http://simple.baihl.io:31373/simple/httpserver", "https://shop.example.com:8443")
	d.press("esc").lacks("changed since")
}

func TestEveryFieldOfTheFormIsChecked(t *testing.T) {
	base := sample(t, "fault").Target
	for _, tt := range []struct {
		field int
		text  string
		want  string
	}{
		{fieldURL, "http://", "no host"},
		{fieldMethod, "GE T", "is not a word"},
		{fieldFrom, "pod:x", "is not pod:NAMESPACE/NAME"},
		{fieldFrom, "moon", "is none of external"},
		{fieldSource, "10.0.0", "is neither IP nor IP:port"},
		{fieldHTTP, "3", "is none of 1.0, 1.1, 2"},
		{fieldResolve, "a:b", "is not HOST:PORT:ADDR"},
		{fieldHeaders, ": x", "is not name: value"},
		{fieldHeaders, "a b: x", "is not name: value"},
	} {
		f := newForm(base, nil)
		f.fields[tt.field].in = newInput(tt.text)
		_, err := f.target()
		if err == nil || !strings.Contains(err.Error(), tt.want) || f.cur != tt.field {
			t.Errorf("%s %q: error %v in field %d, want %q", f.fields[tt.field].name, tt.text, err, f.cur, tt.want)
		}
	}
	f := newForm(base, nil)
	got, err := f.target()
	if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", base) {
		t.Errorf("an untouched form gives %+v, %v", got, err)
	}
}

func TestAnAccessLogThatWasReadIsNotSaidToBeUnread(t *testing.T) {
	r := sample(t, "fault")
	for i := range r.Hops {
		r.Hops[i].Logs = nil
	}
	r.Collected.Read = nil
	newDriver(t, session(r), 120, 40, utf8Env).press("4").has("no access log was read")
	r.Collected.Read = []trace.Read{{What: "proxies/istio-system/gw/access.log"}}
	newDriver(t, session(r), 120, 40, utf8Env).press("4").has("no line of this request in proxies/istio-system/gw/access.log").lacks("no access log was read")
}

func TestWhatTheFormMasksIsKeptUntilTypedAnew(t *testing.T) {
	var asked []trace.Target
	s := session(sample(t, "fault"))
	s.Target = trace.Target{
		Raw: "http://shop.example.com/x", Scheme: "http", Host: "shop.example.com", Port: 80, Path: "/x", Method: "GET", From: "external",
		Headers: []trace.Header{{Name: "Authorization", Value: "Bearer abcdef123456"}, {Name: "x-tenant", Value: "blue-7"}},
	}
	ask := s.Trace
	s.Trace = func(ctx context.Context, q trace.Target, progress func(Event)) (*trace.Report, error) {
		asked = append(asked, q)
		return ask(ctx, q, progress)
	}
	d := newDriver(t, s, 120, 40, utf8Env)
	// A credential is never shown; the rest is, without privacy.
	d.press("E").has("Authorization: ***", "x-tenant: blue-7", "http://shop.example.com/x").lacks("abcdef").press("esc")
	// With privacy nothing is, wherever the cursor is.
	d.press("p", "E")
	for range 10 {
		d.lacks("abcdef", "shop.example.com", "blue-7").press("tab")
	}
	d.press("esc", "E").has("masked; what is typed replaces it").press("left", "home").lacks("shop.example.com")
	// What is not touched stays as it was.
	d.press("enter")
	if got := asked[len(asked)-1]; fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", s.Target) {
		t.Errorf("untouched, it asks for %+v, not %+v", got, s.Target)
	}
	// A known vantage is asked for by its own name, and shown by another.
	d.press("E", "tab", "tab", "ctrl+n").has("node:machine-").lacks("baihl-master").press("enter")
	if got := asked[len(asked)-1].From; got != "node:baihl-master" {
		t.Errorf("it asks from %q", got)
	}
	// What is typed replaces it, and is seen.
	d.press("E").typed("http://a.example/").has("http://a.example/").lacks("host-1http").press("enter")
	if got := asked[len(asked)-1].Raw; got != "http://a.example/" {
		t.Errorf("it asks for %q", got)
	}
}

func TestCopyOffersValuesCommandsAndSummaries(t *testing.T) {
	var got []string
	s := session(sample(t, "fault"))
	s.Copy = func(_ context.Context, text string) (string, error) {
		got = append(got, text)
		return "test clipboard", nil
	}
	d := newDriver(t, s, 120, 40, utf8Env)
	d.press("c").has("Copy", "request as curl", "summary in Markdown", "command", "evidence e7", "fix").press("enter").has("copied name (", "to test clipboard")
	if want := "outbound|80||simple.simple.svc.cluster.local"; got[0] != want {
		t.Errorf("copied %q, want %q", got[0], want)
	}
	choose := func(label string) string {
		d.press("c")
		l := d.m.top().(*list)
		for i, it := range l.items {
			if strings.Contains(row{spans: it.spans}.text(), label) {
				l.pane.cur = i
				d.press("enter")
				return got[len(got)-1]
			}
		}
		t.Fatalf("nothing named %s to copy", label)
		return ""
	}
	if md := choose("summary in Markdown"); !strings.Contains(md, "HT5002") || !strings.Contains(md, "#") {
		t.Errorf("the Markdown is %q", md)
	}
	if curl := choose("request as curl"); curl != "curl -v http://simple.baihl.io:31373/simple/httpserver" {
		t.Errorf("the curl command is %q", curl)
	}
	d.press("f", "j").has("Fixes: copied, never run").press("enter")
	if fix := got[len(got)-1]; fix != "kubectl -n simple get pods --show-labels" {
		t.Errorf("the fix copied is %q", fix)
	}
	d.press("tab", "2", "j", "c", "enter")
	if line := got[len(got)-1]; line != "kubectl -n simple get service simple -o json" {
		t.Errorf("the line copied is %q", line)
	}
	s.Copy = func(context.Context, string) (string, error) { return "", errors.New("no display\x1b[m") }
	newDriver(t, s, 120, 40, utf8Env).press("c", "enter").has(`copy failed: no display\x1b[m`)
}

func TestCopyByOSC52GoesToTheTerminalAsItIs(t *testing.T) {
	s := session(sample(t, "fault"))
	s.Copy = nil
	env := environment{"LANG": "C.UTF-8", "TERM": "xterm", "SSH_CONNECTION": "x"}
	d := newDriver(t, s, 120, 40, env)
	d.press("c", "enter").has("OSC 52")
	if len(d.raw) != 1 || !strings.HasPrefix(d.raw[0], "\x1b]52;c;") {
		t.Errorf("the terminal was sent %q", d.raw)
	}
}

func TestExport(t *testing.T) {
	var kinds []string
	s := session(sample(t, "fault"))
	s.Export = func(_ context.Context, kind string, r *trace.Report) (string, error) {
		kinds = append(kinds, kind+" "+r.Target.Host)
		if kind == "markdown" {
			return "", os.ErrPermission
		}
		return "/tmp/trace." + kind, nil
	}
	d := newDriver(t, s, 120, 40, utf8Env)
	d.press("e").has("json", "markdown", "snapshot").press("1").has("wrote json to /tmp/trace.json")
	d.press("e", "j", "enter").has("export of markdown failed: permission denied")
	d.press("e", "3").has("wrote snapshot")
	d.press("p", "e").has("a snapshot holds raw data").press("3").has("a snapshot holds raw data").press("1")
	want := []string{"json simple.baihl.io", "markdown simple.baihl.io", "snapshot simple.baihl.io", "json host-1"}
	if !slices.Equal(kinds, want) {
		t.Errorf("exported %q, want %q", kinds, want)
	}
	s.Export = nil
	newDriver(t, s, 120, 40, utf8Env).press("e").has("export: this session cannot write files")
}

func TestPrivacyLeavesNothingOnAnyScreen(t *testing.T) {
	r := sample(t, "fault")
	r.Target.Headers = []trace.Header{{Name: "x-user", Value: "jane-the-admin"}}
	s := session(r)
	s.Options.Privacy = true
	var copied []string
	s.Copy = func(_ context.Context, text string) (string, error) {
		copied = append(copied, text)
		return "test", nil
	}
	d := newDriver(t, s, 200, 60, utf8Env)
	secret := []string{"baihl.io", "10.10.1.", "192.168.170.137", "10.96.34.201", "jane-the-admin", "curl/7.79.1", "2b92f22d"}
	d.has("PRIVACY", "host-1")
	for k := range 6 {
		d.press("g")
		for range k {
			d.press("j")
		}
		for _, tab := range []string{"1", "2", "3", "4", "5"} {
			d.press(tab).lacks(secret...)
		}
	}
	for _, keys := range [][]string{{"c"}, {"b"}, {"B"}, {"f"}, {"i"}, {"H"}, {"4", "tab", "enter"}} {
		d.press(keys...).lacks(secret...)
		d.press("esc", "esc")
	}
	d.press("c")
	for i := range d.m.top().(*list).items {
		d.m.top().(*list).pane.cur = i
		d.press("enter", "c")
	}
	for _, text := range copied {
		for _, w := range secret {
			if strings.Contains(text, w) {
				t.Errorf("%q was copied: %s", w, text)
			}
		}
	}
	if len(copied) < 6 {
		t.Errorf("only %d things were copied", len(copied))
	}
	d.press("esc")
	if got := d.m.report(); got.Target.Host != "host-1" {
		t.Errorf("the report left behind names %s", got.Target.Host)
	}
	d.press("p", "1").has("simple.baihl.io").lacks("PRIVACY")
	d.press("p").lacks(secret...)
	d.press("r").lacks(secret...)
}

func TestCredentialsAreMaskedWithoutPrivacyToo(t *testing.T) {
	r := sample(t, "fault")
	r.Target.Headers = []trace.Header{{Name: "Authorization", Value: "Bearer abcdef0123456789"}}
	r.Hops[5].Evidence[0].Excerpt = "authorization: Bearer abcdef0123456789"
	d := newDriver(t, session(r), 120, 40, utf8Env)
	d.press("2").lacks("abcdef0123456789").has("authorization: ***")
	d.press("c").has("-H 'Authorization: ***'").lacks("abcdef0123456789")
}

func TestSearchInEveryPane(t *testing.T) {
	d := newDriver(t, session(sample(t, "ingress")), 120, 40, utf8Env)
	d.press("/").typed("POD").has("2 found").press("enter").has("match 1 of 2")
	at := d.m.list.cur
	d.press("n").has("match 2 of 2")
	if d.m.list.cur == at {
		t.Error("n did not move")
	}
	d.press("N").has("match 1 of 2")
	d.press("/").typed("zzz").press("enter").has(`"zzz" is not here`)
	d.press("esc").press("n").has("every hop of this path is OK")
	// In the detail pane, over wrapped lines.
	d.press("g", "j", "tab", "/").typed("kube-nodeports").press("enter").has("match 1 of")
	cur := d.m.tabs[tabSummary].cur
	d.press("n")
	if d.m.tabs[tabSummary].cur <= cur {
		t.Error("n did not move down the document")
	}
	d.press("esc", "g", "j", "j", "j")
	// In the log.
	d.press("esc", "esc", "g", "j", "j", "j", "j", "4", "tab", "/").typed("nginx").press("enter").has("match 1 of 1")
	if d.m.tabs[tabLogs].cur != 1 {
		t.Errorf("the cursor is on line %d", d.m.tabs[tabLogs].cur)
	}
	// While typing, esc ends the search, arrows walk through the matches.
	d.press("/").typed("x").press("up", "down", "backspace", "esc").lacks("found")
}

func TestSearchAndFilterOverALongLogLeaveTheUI(t *testing.T) {
	d := newDriver(t, session(big(5, 20_000)), 120, 40, utf8Env)
	d.press("4", "a", "tab", "g", "/").typed("cart/19999").press("enter").has("match 1 of 1")
	if d.m.tabs[tabLogs].cur != 19_999 {
		t.Errorf("the cursor is on line %d", d.m.tabs[tabLogs].cur)
	}
	d.press("esc", "&").typed("id-1234").press("enter").has("filter id-1234", "11 lines")
	d.press("/").typed("id-12345").press("enter").has("match 1 of 1")
	d.press("esc", "&", "ctrl+u", "enter").has("20000 lines").lacks("filter id")
	d.press("a").has("this hop", "4000 lines")
	d.press("&").typed("no such thing").press("enter").has("no line holds no such thing")
	d.press("&").typed("x").press("esc").has("filter no such thing")
}

func TestFollowingMergesTheLogsOfThePathByTime(t *testing.T) {
	lines := []FollowLine{
		{Proxy: "simple/b", Hop: "h6", Line: trace.LogLine{Raw: "third", At: "2026-11-20T18:00:03Z"}},
		{Proxy: "simple/a", Hop: "h5", Line: trace.LogLine{Raw: "first\x1b[31m", At: "2026-11-20T18:00:01Z", Traced: true, Because: "its id is the request's"}},
		{Proxy: "simple/b", Hop: "h6", Line: trace.LogLine{Raw: "second 10.0.0.7", At: "2026-11-20T18:00:02Z"}},
	}
	s := session(sample(t, "fault"))
	s.Follow = func(_ context.Context, r *trace.Report, sink func(FollowLine)) error {
		if r == nil || r.Verdict != trace.Unreachable {
			t.Errorf("following without the report")
		}
		for _, l := range lines {
			sink(l)
		}
		return errors.New("stream: reset")
	}
	d := newDriver(t, s, 120, 40, utf8Env)
	d.press("F").has("all hops", "5 lines", "following stopped: stream: reset")
	text := d.screen()
	a, b, c := strings.Index(text, `first\x1b[31m`), strings.Index(text, "second 10.0.0.7"), strings.Index(text, "third")
	if a < 0 || a > b || b > c {
		t.Errorf("not in order of time: %d %d %d\n%s", a, b, c, text)
	}
	// The lines stay when the report changes, and are masked with everything else.
	d.press("r").has("5 lines", "second 10.0.0.7")
	d.press("p").has("second ip-").lacks("10.0.0.7")
	d.press("p").has("second 10.0.0.7")
	d.press("tab", "G", "k", "enter").has("by simple/b")
	d.press("esc", "k", "enter").has("its id is the request's")

	newDriver(t, session(sample(t, "fault")), 120, 40, utf8Env).press("F").has("follow logs: a snapshot has no log that grows")
}

func TestFollowedLinesAreBounded(t *testing.T) {
	d := newDriver(t, session(sample(t, "fault")), 120, 40, utf8Env)
	d.press("4", "a")
	at := time.Date(2026, 11, 20, 18, 0, 0, 0, time.UTC)
	for n := range 60 {
		var lines []FollowLine
		for i := range 2000 {
			lines = append(lines, FollowLine{Line: trace.LogLine{Raw: fmt.Sprint(n*2000 + i), At: at.Add(time.Duration(n*2000+i) * time.Millisecond).Format(time.RFC3339Nano)}})
		}
		d.run(nil, followMsg{gen: d.m.followGen, lines: lines, rows: lineRows(lines, nil)})
	}
	if n := len(d.m.followed); n > maxFollowed+maxFollowed/10 || n < maxFollowed {
		t.Errorf("%d lines are kept", n)
	}
	d.has("oldest dropped")
	last := d.m.log.at(d.m.log.len() - 1)
	if last.line.Raw != "119999" {
		t.Errorf("the newest line is %q", last.line.Raw)
	}
}

func TestHostileBytesNeverReachTheTerminal(t *testing.T) {
	evil := "\x1b[2J\x1b]0;x\x07\u202egpj\u2066\x00\x7f\x9b31m\u200b\xff\xfe\rOK" + strings.Repeat("\u0301", 50) + "👩‍👩‍👧⚠️🇩🇪"
	r := &trace.Report{}
	fillStrings(r, evil)
	r.Paths = []trace.Path{{Probability: 1, Verdict: "un\x1b[mknown", Hops: []string{r.Hops[0].ID}}}
	r.Hops[0].Logs[0].Raw += strings.Repeat("A long line. ", 90_000)
	r.Hops[0].Evidence[0].Excerpt = evil + "\n" + strings.Repeat("x", 1<<20)
	r.Hops[0].Config[0].Object = []byte(`{"a":"\u001b[2J\u202e","b":["` + strings.Repeat("y", 1<<20) + `"]}`)
	r.Target.Raw, r.Target.From = evil, evil
	s := session(r)
	s.Context = evil
	s.NoFollow = evil
	d := newDriver(t, s, 120, 40, utf8Env)
	for _, keys := range [][]string{nil, {"2"}, {"3"}, {"y"}, {"4"}, {"a"}, {"5"}, {"c"}, {"esc"}, {"f"}, {"esc"}, {"i"}, {"esc"}, {"E"}, {"esc"}, {"H"}, {"esc"}, {"B"}, {"="}, {"esc"}, {"F"}, {"4", "tab", "enter"}, {"esc"}, {"p"}, {"w"}, {"l"}} {
		d.press(keys...)
		content := d.m.View().Content
		for i := 0; i < len(content); i++ {
			if c := content[i]; c == 0x1b {
				// Only colours and attributes of our own.
				j := i + 1
				if j >= len(content) || content[j] != '[' {
					t.Fatalf("after %q: an escape that is no CSI: %q", keys, content[i:min(i+20, len(content))])
				}
				for j++; j < len(content) && (content[j] == ';' || content[j] >= '0' && content[j] <= '9'); j++ {
				}
				if content[j] != 'm' {
					t.Fatalf("after %q: %q is no style", keys, content[i:j+1])
				}
			} else if c < 0x20 && c != '\n' || c == 0x7f {
				t.Fatalf("after %q: control character %#x", keys, c)
			}
		}
		for _, bad := range []string{"\u202e", "\u2066", "\u200b", "\u009b", "\ufeff", "\ufe0f", "\u200d"} {
			if strings.Contains(content, bad) {
				t.Fatalf("after %q: %q is on the screen", keys, bad)
			}
		}
		if !strings.Contains(d.m.View().WindowTitle, `\x1b`) && strings.ContainsAny(d.m.View().WindowTitle, "\x1b\x07") {
			t.Fatal("the window's title is not clean")
		}
		d.screen() // checks the widths
	}
}

func TestKeysInsideTextAreText(t *testing.T) {
	d := newDriver(t, session(sample(t, "fault")), 120, 40, utf8Env)
	d.press("/").typed("q r").has("/q r")
	d.press("esc", ":").typed("quit with").press("enter")
	if !d.quit || !d.m.fullReport {
		t.Error("the palette did not quit with the report")
	}
}

func TestPasteGoesWhereOneTypes(t *testing.T) {
	d := newDriver(t, session(sample(t, "fault")), 120, 40, utf8Env)
	d.press("/")
	d.run(nil, tea.PasteMsg{Content: "sim\x1b[31mple\nx"})
	d.has(`/sim\x1b[31mple\nx`)
	d.press("esc", "E", "ctrl+u")
	d.run(nil, tea.PasteMsg{Content: "http://pasted.example.com/\r\n"})
	d.press("enter").has("http://pasted.example.com/")
	d.press(":")
	d.run(nil, tea.PasteMsg{Content: "retrace"})
	d.press("esc")
	d.run(nil, tea.PasteMsg{Content: "q"}) // on the screen a paste is no key
	if d.quit {
		t.Error("a paste quit")
	}
}

func TestThePaletteFindsHopsFindingsAndKeys(t *testing.T) {
	d := newDriver(t, session(sample(t, "fault")), 120, 40, utf8Env)
	d.press(":").typed("2").press("enter")
	if d.m.list.cur != 1 {
		t.Errorf("the cursor is on hop %d", d.m.list.cur+1)
	}
	d.press(":").typed("ht5002").press("enter")
	if d.m.list.cur != 5 {
		t.Errorf("the cursor is on hop %d", d.m.list.cur+1)
	}
	d.press(":").typed("99").press("enter").has("there is no hop 99")
	d.press(":").typed("tab evid").press("enter").has("[2 Evidence")
	d.press(":").typed("branches").has("no hop of this path has more than one way on").press("enter").has("no hop of this path")
	d.press("esc", ":").typed("xyzzy").has("nothing of that name").press("enter", "esc")
}

func TestMouse(t *testing.T) {
	s := session(sample(t, "fault"))
	s.Options.Mouse = true
	d := newDriver(t, s, 120, 40, utf8Env)
	if d.m.View().MouseMode == tea.MouseModeNone {
		t.Error("the mouse is not asked for")
	}
	lay := d.m.lay
	d.run(nil, tea.MouseClickMsg{X: lay.path.x + 5, Y: lay.path.y + 2, Button: tea.MouseLeft})
	if d.m.list.cur != 1 {
		t.Errorf("a click selects hop %d", d.m.list.cur+1)
	}
	d.run(nil, tea.MouseClickMsg{X: d.m.tabAt[1].x + 2, Y: d.m.tabAt[1].y, Button: tea.MouseLeft})
	d.has("[2 Evidence")
	d.run(nil, tea.MouseClickMsg{X: lay.detail.x + 2, Y: lay.detail.y + 1, Button: tea.MouseLeft})
	if !d.m.detailFocus || d.m.tabs[tabEvidence].cur != 1 {
		t.Error("a click does not select a line")
	}
	d.run(nil, tea.MouseWheelMsg{X: lay.path.x, Y: lay.path.y, Button: tea.MouseWheelDown})
	if d.m.list.cur != 2 {
		t.Error("the wheel does not move the path")
	}
	d.run(nil, tea.MouseClickMsg{X: 500, Y: 500, Button: tea.MouseLeft}, tea.MouseWheelMsg{X: 0, Y: 0})
	s.Options.Mouse = false
	if newDriver(t, s, 120, 40, utf8Env).m.View().MouseMode != tea.MouseModeNone {
		t.Error("the mouse is taken without being asked for")
	}
}

func TestCharactersAndColoursFitTheTerminal(t *testing.T) {
	for _, tt := range []struct {
		name         string
		env          environment
		ascii, plain bool
	}{
		{"a modern one", environment{"LANG": "de_DE.UTF-8", "TERM": "xterm-256color"}, false, false},
		{"LC_ALL beats LANG", environment{"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, true, false},
		{"no locale at all", environment{"TERM": "xterm"}, true, false},
		{"utf8 without a dash", environment{"LC_CTYPE": "zh_CN.utf8"}, false, false},
		{"ambiguous characters are wide", environment{"LANG": "zh_CN.UTF-8", "RUNEWIDTH_EASTASIAN": "1"}, true, false},
		{"the Linux console", environment{"LANG": "C.UTF-8", "TERM": "linux"}, true, false},
		{"NO_COLOR with any value", environment{"LANG": "C.UTF-8", "NO_COLOR": "yes"}, false, true},
		{"NO_COLOR empty", environment{"LANG": "C.UTF-8", "NO_COLOR": ""}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDriver(t, session(sample(t, "fault")), 120, 40, tt.env)
			if d.m.ascii != tt.ascii {
				t.Errorf("ASCII is %v", d.m.ascii)
			}
			content := d.m.View().Content
			coloured := strings.Contains(content, "\x1b[0;3") || strings.Contains(content, ";3")
			if coloured == tt.plain {
				t.Errorf("colours are on the screen: %v", coloured)
			}
			if tt.ascii {
				d.press("u").has("ASCII: ")
			} else {
				d.press("u").has("x UNREACHABLE").press("u").has("✗ UNREACHABLE")
			}
			if tt.plain {
				d.press("t").has("NO_COLOR is set")
			} else {
				d.press("t").has("theme: colour-blind").press("t").has("theme: mono").press("t").has("theme: colour")
			}
		})
	}
}

func TestNothingDependsOnColour(t *testing.T) {
	// The same screen in every theme has the same text.
	var first string
	for n := range themes {
		d := newDriver(t, changedRuns(t), 120, 40, utf8Env)
		d.press("r", "tab", "2")
		d.m.themeNo = n
		d.m.restyle()
		if text := d.screen(); first == "" {
			first = text
		} else if text != first {
			t.Errorf("theme %s draws another text", themes[n].name)
		}
	}
}

func TestQuitLeavesTheReport(t *testing.T) {
	d := newDriver(t, session(sample(t, "fault")), 120, 40, utf8Env)
	d.press("q")
	if r := d.m.report(); !d.quit || r == nil || r.Verdict != trace.Unreachable {
		t.Error("no report is left")
	}
	if v := d.m.View(); v.AltScreen || v.Content != "" {
		t.Error("something is drawn after quitting")
	}
	if r := newDriver(t, failing(sample(t, "fault"), errors.New("x")), 80, 24, utf8Env).m.report(); r != nil {
		t.Error("a report without an answer")
	}
}
