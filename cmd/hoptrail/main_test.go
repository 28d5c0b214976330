package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hoptrail/hoptrail/internal/report"
	"github.com/hoptrail/hoptrail/trace"
)

var update = flag.Bool("update", false, "write docs/cli.md, the screens of the README and the scripts' goldens anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hoptrail": main, "kubectl-hoptrail": main})
}

// The scripts run the program as a shell does.
//
//	exits N program args...   the program ends with status N
//	complains                 its last run said one line on stderr, "hoptrail: ...", and nothing on stdout
//	cut FILE N                keep the first N bytes of a file
func TestScripts(t *testing.T) {
	worlds, err := filepath.Abs("../../testdata/worlds")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("WORLDS", worlds)
			env.Setenv("KUBECONFIG", filepath.Join(env.WorkDir, "no-kubeconfig"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) < 2 {
					ts.Fatalf("usage: exits N program args...")
				}
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				got := 0
				if err := ts.Exec(args[1], args[2:]...); err != nil {
					var exit *exec.ExitError
					if !errors.As(err, &exit) {
						ts.Fatalf("%v", err)
					}
					got = exit.ExitCode()
				}
				if got != want {
					ts.Fatalf("exit status %d, want %d", got, want)
				}
			},
			"complains": func(ts *testscript.TestScript, _ bool, _ []string) {
				said := ts.ReadFile("stderr")
				if out := ts.ReadFile("stdout"); out != "" {
					ts.Fatalf("something on stdout:\n%s", out)
				}
				if !strings.HasPrefix(said, "hoptrail: ") || strings.Count(said, "\n") != 1 || !strings.HasSuffix(said, "\n") {
					ts.Fatalf("not one line of complaint:\n%s", said)
				}
				for _, trace := range []string{"goroutine ", "panic", ".go:", "Usage:"} {
					if strings.Contains(said, trace) {
						ts.Fatalf("%q in:\n%s", trace, said)
					}
				}
			},
			"pack": func(ts *testscript.TestScript, _ bool, args []string) {
				var b bytes.Buffer
				z := gzip.NewWriter(&b)
				_, err := z.Write([]byte(ts.ReadFile(args[0])))
				ts.Check(err)
				ts.Check(z.Close())
				ts.Check(os.WriteFile(ts.MkAbs(args[0]+".gz"), b.Bytes(), 0o600))
			},
			"cut": func(ts *testscript.TestScript, _ bool, args []string) {
				n, err := strconv.ParseInt(args[1], 10, 64)
				ts.Check(err)
				ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
			},
		},
	})
}

// result is what a run of the program in this process left.
type result struct {
	status   int
	out, err string
}

func runHere(ctx context.Context, s streams, args ...string) result {
	var out, errs bytes.Buffer
	s.out, s.err = &out, &errs
	if s.in == nil {
		s.in = strings.NewReader("")
	}
	status := runContext(ctx, append([]string{"hoptrail"}, args...), &s)
	return result{status, out.String(), errs.String()}
}

func TestAnInterruptEndsWhatReadsStandardInput(t *testing.T) {
	for _, args := range [][]string{
		{"logs", "parse"},
		{"iptables", "eval", "--rules", "-", "--src", "1.1.1.1", "--dst", "2.2.2.2:80"},
		{"envoy", "match", "--config-dump", "-", "--address", "1.1.1.1:80"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		in, w := io.Pipe() // nobody writes, nobody closes
		go func() {
			_, _ = w.Write([]byte("\n")) // read: the command is at it
			cancel()
		}()
		if got := runHere(ctx, streams{in: in}, args...); got.status != exitInterrupted || got.err != "hoptrail: interrupted\n" {
			t.Errorf("%v: %+v", args, got)
		}
		w.Close()
	}
}

func TestAnInterruptEndsWith130(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := runHere(ctx, streams{}, "demo", "ingress-http")
	if got.status != exitInterrupted || got.err != "hoptrail: interrupted\n" || strings.Contains(got.out, "VERDICT") {
		t.Errorf("got %+v", got)
	}
}

func TestATimeLimitIsAFailureOfTheTool(t *testing.T) {
	got := runHere(t.Context(), streams{}, "demo", "ingress-http", "--timeout", "1ns")
	if got.status != exitUsage || !strings.Contains(got.err, "--timeout") {
		t.Errorf("got %+v", got)
	}
}

func TestTheTargetIsPutTogetherFromTheFlags(t *testing.T) {
	for _, tt := range []struct {
		name string
		raw  string
		opts traceOptions
		want trace.Target
		err  string
	}{
		{
			name: "a URL alone", raw: "http://a.example/x", opts: traceOptions{from: "external"},
			want: trace.Target{Raw: "http://a.example/x", Scheme: "http", Host: "a.example", Port: 80, Path: "/x", From: "external", Method: "GET"},
		},
		{
			name: "all flags", raw: "https://a.example/x",
			opts: traceOptions{
				from: "pod:ns/p", headers: []string{"X-A:  b:c ", "Host: h"}, method: "post", sni: "s",
				sourceIP: "10.0.0.1:5", resolve: []string{"a.example:443:10.0.0.2", "b:80:[::1]:81", "C:80:[::2]"}, httpVersion: "2",
			},
			want: trace.Target{
				Raw: "https://a.example/x", Scheme: "https", Host: "a.example", Port: 443, Path: "/x", From: "pod:ns/p", Method: "POST",
				Headers: []trace.Header{{Name: "X-A", Value: "b:c"}, {Name: "Host", Value: "h"}}, SNI: "s", SourceIP: "10.0.0.1:5",
				Resolve: map[string]string{"a.example:443": "10.0.0.2", "b:80": "[::1]:81", "c:80": "::2"}, HTTPVersion: "2",
			},
		},
		{name: "a word", raw: "simple", opts: traceOptions{from: "external"}, err: "neither a URL"},
		{name: "a vantage that is none", raw: "http://a/", opts: traceOptions{from: "moon"}, err: "--from"},
		{
			name: "a Pod in the namespace of -n", raw: "1.2.3.4:5", opts: traceOptions{from: "pod:p", snapshot: "x", cluster: clusterOptions{namespace: "ns"}},
			want: trace.Target{Raw: "1.2.3.4:5", Scheme: "tcp", Host: "1.2.3.4", Port: 5, From: "pod:ns/p"},
		},
		{name: "a Pod of no namespace in a snapshot", raw: "http://a/", opts: traceOptions{from: "pod:p", snapshot: "x"}, err: "--from"},
		{name: "a Pod with a slash too many", raw: "http://a/", opts: traceOptions{from: "pod:a/b/c"}, err: "--from"},
		{name: "a vantage without a name", raw: "http://a/", opts: traceOptions{from: "node:"}, err: "--from"},
		{name: "a header without a colon", raw: "http://a/", opts: traceOptions{from: "external", headers: []string{"X"}}, err: "-H"},
		{name: "a header name with a blank", raw: "http://a/", opts: traceOptions{from: "external", headers: []string{"X Y: z"}}, err: "-H"},
		{name: "a header value with a line break", raw: "http://a/", opts: traceOptions{from: "external", headers: []string{"X: a\r\nY: b"}}, err: "-H"},
		{name: "a method for a connection", raw: "1.2.3.4:5", opts: traceOptions{from: "external", method: "GET"}, err: "-X"},
		{name: "a method that is none", raw: "http://a/", opts: traceOptions{from: "external", method: "GET /"}, err: "-X"},
		{name: "a source that is no address", raw: "http://a/", opts: traceOptions{from: "external", sourceIP: "me"}, err: "--source-ip"},
		{name: "resolve without an address", raw: "http://a/", opts: traceOptions{from: "external", resolve: []string{"a:80"}}, err: "--resolve"},
		{name: "resolve with port 0", raw: "http://a/", opts: traceOptions{from: "external", resolve: []string{"a:0:1.2.3.4"}}, err: "--resolve"},
		{name: "resolve to a name", raw: "http://a/", opts: traceOptions{from: "external", resolve: []string{"a:80:b"}}, err: "--resolve"},
		{name: "HTTP/3", raw: "http://a/", opts: traceOptions{from: "external", httpVersion: "3"}, err: "--http-version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.opts.target(tt.raw)
			switch {
			case tt.err != "":
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one about %s", err, tt.err)
				}
			case err != nil:
				t.Error(err)
			default:
				if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", tt.want); a != b {
					t.Errorf("got  %s\nwant %s", a, b)
				}
			}
		})
	}
}

func TestTheScreenIsForTerminalsOnly(t *testing.T) {
	env := func(kv ...string) func(string) string {
		return func(k string) string {
			for i := 0; i < len(kv); i += 2 {
				if kv[i] == k {
					return kv[i+1]
				}
			}
			return ""
		}
	}
	for _, tt := range []struct {
		name   string
		s      streams
		output string
		want   report.Format
		err    bool
	}{
		{"a terminal", streams{inTTY: true, outTTY: true, getenv: env("TERM", "xterm")}, "", "", false},
		{"a pipe behind", streams{inTTY: true, getenv: env("TERM", "xterm")}, "", report.Text, false},
		{"a pipe before", streams{outTTY: true, getenv: env("TERM", "xterm")}, "", report.Text, false},
		{"a dumb terminal", streams{inTTY: true, outTTY: true, getenv: env("TERM", "dumb")}, "", report.Text, false},
		{"asked for without a terminal", streams{}, "tui", "", true},
		{"json on a terminal", streams{inTTY: true, outTTY: true, getenv: env("TERM", "xterm")}, "json", report.JSON, false},
		{"a format that is none", streams{}, "xml", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := outputOptions{output: tt.output, color: "auto"}
			got, err := o.format(&tt.s)
			if (err != nil) != tt.err || err == nil && got != tt.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	for _, tt := range []struct {
		name string
		s    streams
		when string
		want bool
	}{
		{"a terminal has colour", streams{outTTY: true, getenv: env("TERM", "xterm")}, "auto", true},
		{"a pipe has none", streams{}, "auto", false},
		{"any NO_COLOR turns it off", streams{outTTY: true, getenv: env("TERM", "xterm", "NO_COLOR", "yes")}, "auto", false},
		{"an empty NO_COLOR does not", streams{outTTY: true, getenv: env("TERM", "xterm", "NO_COLOR", "")}, "auto", true},
		{"always is always", streams{getenv: env("NO_COLOR", "1")}, "always", true},
		{"never is never", streams{outTTY: true}, "never", false},
	} {
		if got := tt.s.color(tt.when); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestEveryFormatIsAnOutput(t *testing.T) {
	want := []string{"tui"}
	for _, f := range report.Formats() {
		want = append(want, string(f))
	}
	if !slices.Equal(outputs, want) {
		t.Errorf("-o takes %v, there are %v", outputs, want)
	}
}

func TestTheExitStatusIsTheVerdicts(t *testing.T) {
	for v, want := range map[trace.Verdict]int{
		trace.Reachable: exitReachable, trace.Unreachable: exitUnreachable, trace.Degraded: exitUnreachable,
		trace.Undetermined: exitUndetermined, "": exitUndetermined,
	} {
		got := 0
		var exit *exitError
		if errors.As(verdictStatus(&trace.Report{Verdict: v}), &exit) {
			got = exit.code
		}
		if got != want {
			t.Errorf("%q: %d, want %d", v, got, want)
		}
	}
}

// TestProgressSaysForHowLongAReadHangs: a read that began at once and never ends
// brings no event after the first.
func TestProgressSaysForHowLongAReadHangs(t *testing.T) {
	var b bytes.Buffer
	p := &progress{w: &b, on: true, since: time.Now().Add(time.Hour)}
	p.event(trace.Event{Reading: "cluster/services.json"})
	began := p.at
	p.since = began
	for _, c := range []struct {
		after time.Duration
		shown string
	}{
		{100 * time.Millisecond, ""},
		{400 * time.Millisecond, "\r\x1b[K0 hops, reading cluster/services.json"},
		{700 * time.Millisecond, ""},
		{2500 * time.Millisecond, "\r\x1b[K0 hops, reading cluster/services.json (2s)"},
		{2800 * time.Millisecond, ""},
		{75 * time.Second, "\r\x1b[K0 hops, reading cluster/services.json (1m15s)"},
	} {
		b.Reset()
		if p.draw(began.Add(c.after)); b.String() != c.shown {
			t.Errorf("after %s: %q, want %q", c.after, b.String(), c.shown)
		}
	}
}

// TestProgressIsDrawnWithoutEvents: whoever waits sees it, until the end.
func TestProgressIsDrawnWithoutEvents(t *testing.T) {
	drawn := make(chan string, 100)
	p := newProgress(&streams{err: chanWriter(drawn), errTTY: true})
	p.event(trace.Event{Reading: "cluster/services.json"})
	select {
	case got := <-drawn:
		if !strings.Contains(got, "reading cluster/services.json") {
			t.Errorf("drawn is %q", got)
		}
	case <-time.After(time.Minute):
		t.Error("nothing is drawn")
	}
	p.clear()
	p.clear()
}

// chanWriter sends what is written.
type chanWriter chan string

func (w chanWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

func TestProgressGoesAway(t *testing.T) {
	var b bytes.Buffer
	p := &progress{w: &b, on: true, since: time.Now().Add(-time.Minute)}
	p.event(trace.Event{Hop: &trace.Hop{}})
	p.event(trace.Event{Reading: "proxies/a\x1b[2J/" + strings.Repeat("x", 200)})
	p.clear()
	got := b.String()
	if !strings.Contains(got, "1 hop, reading proxies/a\\x1b[2J/") || !strings.HasSuffix(got, "\r\x1b[K") || len(got) > 120 {
		t.Errorf("got %q", got)
	}
	b.Reset()
	p.event(trace.Event{Reading: "y"})
	p.draw(time.Now().Add(time.Hour))
	if b.Len() != 0 {
		t.Errorf("after its end %q is shown", b.String())
	}
	p = &progress{w: &b, on: false, since: time.Now().Add(-time.Minute)}
	p.event(trace.Event{Reading: "x"})
	p.clear()
	if b.Len() != 0 {
		t.Errorf("a pipe got %q", b.String())
	}
}

func TestEveryDemoHasAQuestionAndALine(t *testing.T) {
	worlds, err := demoWorlds()
	if err != nil {
		t.Fatal(err)
	}
	if len(worlds) < 50 {
		t.Errorf("only %d worlds", len(worlds))
	}
	notes, err := demoNotes()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range worlds {
		if notes[w.name] == "" {
			t.Errorf("the list says nothing of %s", w.name)
		}
		for _, c := range w.cases {
			if _, err := c.target(); err != nil {
				t.Errorf("%s/%s: %v", w.name, c.Name, err)
			}
		}
	}
}

// flagUsages renders the flags of a command as help does.
func flagUsages(fs *pflag.FlagSet) string { return strings.TrimRight(fs.FlagUsagesWrapped(100), "\n") }

// reference renders docs/cli.md from the command tree.
func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Command line\n\nWritten from the program's own help by `make golden`.\n\n")
	b.WriteString("Exit status: 0 reachable; 1 unreachable or degraded; 2 bad usage, bad input or a failure of the tool; 3 undetermined; 130 interrupted.\n")
	b.WriteString("Reports go to standard output, progress and errors to standard error.\n")
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n", c.CommandPath())
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		fmt.Fprintf(&b, "%s\n\n```\n%s\n```\n", strings.TrimSpace(text), c.UseLine())
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```\n%s\n```\n", strings.TrimRight(c.Example, "\n"))
		}
		c.InitDefaultHelpFlag()
		if fs := c.NonInheritedFlags(); fs.HasAvailableFlags() {
			fmt.Fprintf(&b, "\n```\n%s\n```\n", flagUsages(fs))
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return b.String()
}

func TestTheCommandLineIsDocumentedAsItIs(t *testing.T) {
	root := newRootCmd(&streams{})
	root.Version = "" // its flag's text names the version
	root.InitDefaultCompletionCmd()
	compare(t, "../../docs/cli.md", []byte(reference(root)))
}

// compare holds a file against what it should be, or writes it with -update.
func compare(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not up to date: make golden", path)
	}
}

// A screen of the README is a comment that names a command and, below it, a
// fence with what the command prints, its first lines, or what it shows on a
// terminal of the size given.
var screen = regexp.MustCompile("(?s)<!-- screen: hoptrail ([^|\n]*?)(?: \\| head -n (\\d+)| \\| (\\d+x\\d+))? -->\n```text\n(.*?)```\n")

func TestScreensInTheReadme(t *testing.T) {
	const path = "../../README.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	want := screen.ReplaceAllStringFunc(string(text), func(block string) string {
		n++
		m := screen.FindStringSubmatch(block)
		args := strings.Fields(m[1])
		var lines []string
		if size := m[3]; size != "" {
			_, is, _ := strings.Cut(block, "```text\n")
			lines = onTerminal(t, size, args, strings.Split(strings.TrimSuffix(is, "\n```\n"), "\n"))
			if lines == nil { // no tmux here: leave it as it is
				return block
			}
		} else {
			got := runHere(t.Context(), streams{}, args...)
			if got.err != "" {
				t.Errorf("%s: %s", m[1], got.err)
			}
			lines = strings.Split(strings.TrimRight(got.out, "\n"), "\n")
			if head, err := strconv.Atoi(m[2]); err == nil && head < len(lines) {
				lines = lines[:head]
			}
		}
		shown := versionLine.ReplaceAllString(strings.TrimRight(strings.Join(lines, "\n"), "\n"), "hoptrail, ")
		return block[:strings.Index(block, "```text\n")] + "```text\n" + shown + "\n```\n"
	})
	if n == 0 {
		t.Errorf("%s has no screen", path)
	}
	compare(t, path, []byte(want))
}

// onTerminal runs the program in a terminal of a size such as 120x36 and returns
// what is on it with the clock at noon: want as soon as that is there, otherwise
// what no longer changes. It returns nil where there is no tmux.
func onTerminal(t *testing.T, size string, args, want []string) []string {
	t.Helper()
	tmux, err := exec.LookPath("tmux")
	if err != nil {
		t.Log("tmux is not installed: the terminal UI's screen is not compared")
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "hoptrail") // the name that makes it the program
	if err := os.Symlink(self, bin); err != nil {
		t.Fatal(err)
	}
	columns, rows, _ := strings.Cut(size, "x")
	socket := "hoptrail-test-" + strconv.Itoa(os.Getpid())
	run := func(args ...string) (string, error) {
		cmd := exec.Command(tmux, append([]string{"-u", "-L", socket, "-f", os.DevNull}, args...)...)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color", "NO_COLOR=1", "TMUX=", "RUNEWIDTH_EASTASIAN=")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(append([]string{"new-session", "-d", "-x", columns, "-y", rows, bin}, args...)...); err != nil {
		t.Fatalf("tmux: %v: %s", err, out)
	}
	defer run("kill-server")
	var last []string
	same := 0
	for range 1200 {
		out, err := run("capture-pane", "-p")
		if err != nil {
			t.Fatalf("tmux: %v: %s", err, out)
		}
		lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
		for i, l := range lines {
			lines[i] = strings.TrimRight(clock.ReplaceAllString(l, "12:00:00Z"), " ")
		}
		if slices.Equal(lines, want) {
			return lines
		}
		if same++; !slices.Equal(lines, last) {
			same = 0
		}
		if same == 100 && strings.Contains(out, "REACHABLE") && strings.Contains(out, "q quit") {
			return lines
		}
		last = lines
		time.Sleep(100 * time.Millisecond) // tmux cannot tell of a change
	}
	t.Fatalf("no trace on the terminal:\n%s", strings.Join(last, "\n"))
	return nil
}

var clock = regexp.MustCompile(`\d\d:\d\d:\d\dZ$`)

// The last line of a report names the version it was made with.
var versionLine = regexp.MustCompile(`(?m)^hoptrail \S+, `)

func TestAClientWithACertificateSendsTheHostAsServerName(t *testing.T) {
	for _, tc := range []struct{ tls, url, sni, want string }{
		{"tls", "https://a.example/x", "", "a.example"},
		{"mtls", "https://a.example:8443/x", "", "a.example"},
		{"mtls", "https://a.example/x", "b.example", "b.example"},
		{"mtls", "https://10.0.0.1/x", "", ""},
		{"mtls", "/x", "", ""},
	} {
		f := callFlags{Address: "10.0.0.1:443", URL: tc.url, TLS: tc.tls, SNI: tc.sni, sniGiven: tc.sni != ""}
		if c, err := f.call(); err != nil || c.SNI != tc.want {
			t.Errorf("%+v: server name %q, %v", tc, c.SNI, err)
		}
	}
}
