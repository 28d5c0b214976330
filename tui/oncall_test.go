package tui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// refused is a path of three hops whose last fails and has nothing of its own: the
// finding rests on the hop before, one file was not read.
func refused() *trace.Report {
	return &trace.Report{
		Schema: "hoptrail.report/v1", Verdict: trace.Unreachable, Target: trace.Target{Raw: "http://shop/", Host: "shop", Scheme: "http"},
		Hops: []trace.Hop{
			{ID: "h1", Kind: trace.KindPod, State: trace.OK, Detail: trace.Detail{Pod: "shop/gw", Role: "gateway"}, Summary: "a gateway"},
			{
				ID: "h2", Kind: trace.KindRoute, State: trace.OK, Subject: trace.Subject{Kind: "Route", Namespace: "shop", Name: "all"}, Summary: "the first route",
				Evidence: []trace.Evidence{{ID: "e1", Basis: trace.Config, Source: "proxies/shop/gw/config_dump.json", Command: "cat the-dump", Excerpt: "prefix: /\ncluster: nowhere", Match: "nowhere"}},
				Config:   []trace.ConfigObject{{Kind: "VirtualService", Name: "shop/cart", Source: "cluster/virtualservices.json", Object: json.RawMessage(`{"spec":{"hosts":["shop"]}}`)}},
			},
			{ID: "h3", Kind: trace.KindCluster, State: trace.Fail, Detail: trace.Detail{Name: "nowhere"}, Summary: "there is no cluster nowhere"},
			{ID: "h4", Kind: trace.KindApp, State: trace.Unknown, Subject: trace.Subject{Name: "cart"}, Summary: "pods/shop/cart/ss.txt was not read"},
		},
		Paths:    []trace.Path{{Probability: 1, Verdict: trace.Unreachable, Hops: []string{"h1", "h2", "h3", "h4"}}},
		Findings: []trace.Finding{{Code: "HT5001", Severity: trace.SeverityError, Title: "no such cluster", Detail: "the route names nowhere", Hop: "h3", Evidence: []string{"e1"}}},
		Collected: trace.Collected{
			NotRead: []trace.NotRead{{What: "pods/shop/cart/ss.txt", Why: "forbidden", Command: "kubectl -n shop exec cart -- ss -ltn"}},
		},
	}
}

func TestEvidenceOfAFindingThatAnotherHopShowsIsShownHereToo(t *testing.T) {
	d := newDriver(t, session(refused()), 120, 40, utf8Env)
	d.has("▸ ✗ 3 cluster").press("2").has("2 Evidence (1)", "The finding also rests on what another hop shows", "e1 config", "hop 2", "route all", "cat the-dump", "cluster: nowhere")
	d.press("tab", "j", "enter").has("▸ ✓ 2 route", "[2 Evidence (1)]").lacks("another hop shows")
	d.press("g", "tab", "g").has("▸ ✓ 1 pod", "no evidence of its own: this hop follows from the hops before it")
}

func TestAHopWithoutConfigurationNamesTheNearestThatHasSome(t *testing.T) {
	d := newDriver(t, session(refused()), 120, 40, utf8Env)
	d.press("3").has("no configuration object is this hop's own", "nearest: hop 2 route", "VirtualService shop/cart")
	d.press("tab", "G", "enter").has("▸ ✓ 2 route", "hosts:")
	d.press("tab", "g").has("▸ ✓ 1 pod", "nearest: hop 2 route") // behind it, where none is before
}

func TestWhatWasNotReadForAHopStandsInItsTabs(t *testing.T) {
	d := newDriver(t, session(refused()), 120, 40, utf8Env)
	d.press("G")
	for _, tab := range []string{"2", "3"} {
		d.press(tab).has("not read: pods/shop/cart/ss.txt", "forbidden", "$ kubectl -n shop exec cart -- ss -ltn")
	}
}

func TestEntriesBeyondNineHaveANumberToo(t *testing.T) {
	r := refused()
	for i := range 12 {
		r.Findings[0].Fix = append(r.Findings[0].Fix, fmt.Sprintf("fix the thing %d", i))
	}
	d := newDriver(t, session(r), 80, 24, utf8Env)
	var got string
	d.m.s.Copy = func(_ context.Context, text string) (string, error) { got = text; return "test", nil }
	d.press("f").has(" 1 ✗ HT5001", "13   → fix the thing 11")
	d.press("1").has("▸    1 ✗ HT5001", "entry 1; Enter chooses it").press("2").has("▸   12   → fix the thing 10")
	d.press("3").has("▸    3   → fix the thing 1").press("j", "1", "3", "enter").has("copied the fix")
	if got != "fix the thing 11" {
		t.Errorf("copied %q", got)
	}
	// Of nine and fewer a digit chooses at once.
	d.press("e", "2").has("wrote markdown to trace.markdown").press("e", "9").has("there is no entry 9")
}

func TestAnEntryThatIsCutIsShownWholeBelowTheList(t *testing.T) {
	r := refused()
	long := "kubectl -n shop patch virtualservices.networking.istio.io cart --type=merge -p '{\"spec\":{\"http\":[{\"route\":[{\"destination\":{\"host\":\"cart\"}}]}]}}'   # the end of it"
	r.Findings[0].Fix = []string{long, "short"}
	for _, size := range [][2]int{{120, 40}, {80, 24}, {60, 20}} {
		d := newDriver(t, session(r), size[0], size[1], utf8Env)
		d.press("g", "f").lacks("the end of it").press("j").has("the end of it").press("j").lacks("the end of it").has("short")
	}
}

func TestAPageIsSearched(t *testing.T) {
	d := newDriver(t, session(refused()), 100, 20, utf8Env)
	d.press("?").press("n").has("next match: nothing is looked for; / finds")
	d.press("/").typed("mask addresses").has("1 found").press("enter").has("match 1 of 1", "▸   p ")
	d.press("g", "/").typed("trace").press("enter", "n").has("match 2 of").press("N").has("match 1 of")
	d.press("/").press("esc").press("n").has("nothing is looked for")
	d.press("/").typed("zebra").press("enter").has(`"zebra" is not here`)
	d.press("esc").lacks("─ Keys")
	if d.m.query != "" {
		t.Errorf("the panes below are searched for %q", d.m.query)
	}
	d.press("i", "/").typed("ss.txt").press("enter").has("match 1 of 1", "▸   ? pods/shop/cart/ss.txt")
}

func TestLogLinesOfOtherWaysSayWhichHopWroteThem(t *testing.T) {
	r := sample(t, "branches")
	other := ""
	for _, p := range r.Paths {
		for k, id := range p.Hops {
			for i := range r.Hops {
				if h := &r.Hops[i]; h.ID == id && h.Kind == trace.KindEndpoint && other == "" {
					h.Logs = []trace.LogLine{{Raw: "a line of another way", At: "2026-11-20T17:32:14.412Z", Fields: map[string]string{"RESPONSE_CODE": "200", "REQ(:METHOD)": "GET", "REQ(:PATH)": "/other"}}}
					other = fmt.Sprint(k + 1)
				}
			}
		}
	}
	if other == "" {
		t.Fatal("the sample has no endpoint")
	}
	d := newDriver(t, session(r), 120, 40, utf8Env)
	d.press("4", "a").has("▾"+other+"  200", "hop "+other+" of another way (B)")
}

func TestALogThatEndsLeavesTheOthersAndIsTold(t *testing.T) {
	s := session(refused())
	at := func(n int) string { return fmt.Sprintf("2026-11-20T14:00:0%dZ", n) }
	s.Follow = func(_ context.Context, _ *trace.Report, sink func(FollowLine)) error {
		sink(FollowLine{Proxy: "shop/gw", Line: trace.LogLine{At: at(1), Raw: "the first"}})
		sink(FollowLine{Proxy: "shop/other", Line: trace.LogLine{At: at(2)}, Ended: true, Err: errors.New("follow the log: connection reset\x1b[2J")})
		sink(FollowLine{Proxy: "shop/gw", Line: trace.LogLine{At: at(3), Raw: "and it goes on"}})
		return nil
	}
	d := newDriver(t, s, 120, 40, utf8Env)
	d.press("F").has("the first", "the log of shop/other ended: follow the log: connection", "and it goes on", "following ended").lacks("FOLLOW")
	d.press("tab", "k").has(`connection reset\x1b[2J`)
}

func TestAReplacedPodIsFollowedWithoutAsking(t *testing.T) {
	before, after := refused(), refused()
	after.Hops[0].Detail.Pod = "shop/gw-2"
	s := session(before, after)
	var asked []string
	s.Follow = func(_ context.Context, r *trace.Report, sink func(FollowLine)) error {
		pod := r.Hops[0].Detail.Pod
		asked = append(asked, pod)
		sink(FollowLine{Proxy: pod, Line: trace.LogLine{At: "2026-11-20T14:00:01Z", Raw: "a line of " + pod}})
		if len(asked) < 2 {
			sink(FollowLine{Proxy: pod, Line: trace.LogLine{At: "2026-11-20T14:00:02Z"}, Ended: true}) // it went
		}
		return nil
	}
	d := newDriver(t, s, 120, 40, utf8Env)
	d.press("F").has("a line of shop/gw", "the log of shop/gw ended", "the next trace that finds it", "FOLLOW")
	d.press("r").has("#2", "a line of shop/gw-2")
	if got := strings.Join(asked, " "); got != "shop/gw shop/gw-2" {
		t.Errorf("followed: %s", got)
	}
}

func TestAContainerThatRestartedIsFollowedAgain(t *testing.T) {
	s := session(refused())
	n := 0
	s.Follow = func(_ context.Context, _ *trace.Report, sink func(FollowLine)) error {
		n++
		sink(FollowLine{Proxy: "shop/gw", Line: trace.LogLine{At: fmt.Sprintf("2026-11-20T14:00:0%dZ", n)}, Ended: true})
		return nil
	}
	d := newDriver(t, s, 120, 40, utf8Env)
	d.press("F").has("FOLLOW").press("r", "r").has("FOLLOW", "14:00:03 the log of shop/gw ended")
	if n != 3 {
		t.Errorf("followed %d times, not at each trace", n)
	}
	d.press("F").has("following stopped").lacks("FOLLOW").press("r")
	if n != 3 {
		t.Error("followed although it was stopped")
	}
}

func TestAFailedExportOrCopySaysItOnce(t *testing.T) {
	s := session(refused())
	s.Export = func(context.Context, string, *trace.Report) (string, error) {
		return "", errors.New("export: open x.json: permission denied")
	}
	s.Copy = func(context.Context, string) (string, error) { return "", errors.New("copy: no space left") }
	d := newDriver(t, s, 120, 40, utf8Env)
	d.press("e", "1").has("export of json failed: open x.json: permission denied")
	d.press("c", "1").has("copy failed: no space left").lacks("copy: no space")
}

// TestTmuxASnapshotFolderIsReadAnew: who mends the files of a snapshot, or gets
// more of them, sees it with the next trace.
func TestTmuxASnapshotFolderIsReadAnew(t *testing.T) {
	x := newTerm(t, 120, 40)
	archive, err := filepath.Abs("../testdata/worlds/seed/ingress-http.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	x.sh("mkdir world && tar xzf " + archive + " -C world && echo unpacked $?")
	x.wait("unpacked 0")
	x.run("$HOPTRAIL http://192.168.170.137:31373/simple/httpserver -H 'Host: simple.baihl.io' --snapshot world", 3, func() {
		x.wait(" REACHABLE", "#1")
		folders, err := filepath.Glob(filepath.Join(x.dir, "world", "nodes"))
		if err != nil || len(folders) != 1 {
			t.Fatalf("no nodes in the world: %v", err)
		}
		if err := os.Rename(folders[0], filepath.Join(x.dir, "elsewhere")); err != nil {
			t.Fatal(err)
		}
		x.press("r")
		x.wait("UNDETERMINED", "#2", "changed since")
		x.press("L")
		x.wait("LIVE 5s")
		x.gone("#2 ")
		x.press("L", "q")
	})
}
