package tui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hoptrail/hoptrail/trace"
)

// The tests in this file drive real programs in a real terminal: tmux. They are
// skipped where there is no tmux, unless HOPTRAIL_REQUIRE holds "tmux".

// patience is how long is waited for what must come. It guards against waiting
// for ever and says nothing of how fast a machine is.
const patience = 3 * time.Minute

// programsDir is where programs are, "" before they are built.
var programsDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if programsDir != "" {
		os.RemoveAll(programsDir)
	}
	os.Exit(code)
}

// programs are built once for all tests, without -trimpath: of their packages
// most are then built already.
var programs = sync.OnceValues(func() (map[string]string, error) {
	var err error
	if programsDir, err = os.MkdirTemp("", "hoptrail-e2e-*"); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, pkg := range map[string]string{"hoptrail": "../cmd/hoptrail", "replay": "./e2e/replay"} {
		out[name] = filepath.Join(programsDir, name)
		args := []string{"build", "-o", out[name]}
		if raceEnabled {
			args = append(args, "-race")
		}
		if b, err := exec.Command("go", append(args, pkg)...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build %s: %w\n%s", pkg, err, b)
		}
	}
	return out, nil
})

// term is one terminal: a shell in a tmux of its own.
type term struct {
	t     *testing.T
	sock  string
	dir   string // the shell's
	shell string // its process id
	runs  int
}

func needTmux(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if strings.Contains(os.Getenv("HOPTRAIL_REQUIRE"), "tmux") {
			t.Fatal("tmux is required and not installed")
		}
		t.Skip("tmux is not installed")
	}
	if testing.Short() {
		t.Skip("drives programs in tmux: not in short mode")
	}
}

// newTerm starts a shell in a terminal of w x h cells. The programs are
// $HOPTRAIL and $REPLAY, the sample reports in $SAMPLES.
func newTerm(t *testing.T, w, h int) *term {
	t.Helper()
	needTmux(t)
	t.Parallel()
	bins, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	samples, err := filepath.Abs("../internal/report/testdata/samples")
	if err != nil {
		t.Fatal(err)
	}
	// A socket's path must be short.
	run, err := os.MkdirTemp("", "ht")
	if err != nil {
		t.Fatal(err)
	}
	x := &term{t: t, sock: filepath.Join(run, "s"), dir: t.TempDir()}
	t.Cleanup(func() {
		_ = exec.Command("tmux", "-S", x.sock, "kill-server").Run()
		// What ran there may still write into its folder.
		x.await("the end of what ran in the terminal", func() bool { return len(x.processes()) == 0 })
		os.RemoveAll(run)
		// With go test -race the programs are built so, too.
		races, err := filepath.Glob(filepath.Join(x.dir, "race.*"))
		if err != nil {
			t.Error(err)
		}
		for _, name := range races {
			found, err := os.ReadFile(name)
			t.Errorf("a data race (%v):\n%s", err, found)
		}
	})
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + x.dir, "HISTFILE=", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "PS1=ready> ", "HOPTRAIL=" + bins["hoptrail"],
		"REPLAY=" + bins["replay"], "SAMPLES=" + samples, "TMPDIR=" + x.dir,
		"GORACE=log_path=" + filepath.Join(x.dir, "race"),
	}
	cmd := exec.Command("tmux", "-S", x.sock, "-f", "/dev/null", "-u", "new-session", "-d", "-x", fmt.Sprint(w), "-y", fmt.Sprint(h), "-c", x.dir, "bash", "--norc", "--noprofile", "-i")
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v\n%s", err, out)
	}
	x.shell = strings.TrimSpace(x.tmux("display-message", "-p", "#{pane_pid}"))
	x.tmux("set-option", "-s", "set-clipboard", "on")
	x.tmux("set-option", "-s", "escape-time", "20")
	x.prompt()
	return x
}

// statFields are the fields of a stat file of /proc from the state on, nil where
// there is none (any more).
func statFields(name string) []string {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	return strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
}

// processes are those of the terminal's session, where there is a /proc.
func (x *term) processes() (ids []string) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		x.t.Error(err)
	}
	for _, name := range stats {
		if f := statFields(name); len(f) > 3 && f[3] == x.shell && f[0] != "Z" {
			ids = append(ids, filepath.Base(filepath.Dir(name)))
		}
	}
	return ids
}

// busy says whether a thread of the program in the foreground has something to
// do, where there is a /proc.
func (x *term) busy() bool {
	shell := statFields("/proc/" + x.shell + "/stat")
	if len(shell) < 6 {
		return false
	}
	threads, err := filepath.Glob("/proc/" + shell[5] + "/task/*/stat")
	if err != nil {
		x.t.Error(err)
	}
	return slices.ContainsFunc(threads, func(name string) bool {
		f := statFields(name)
		return len(f) > 0 && (f[0] == "R" || f[0] == "D") // D is waiting for a disk
	})
}

func (x *term) tmux(args ...string) string {
	x.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.sock}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// screen is what a person sees; args are more of capture-pane's.
func (x *term) screen(args ...string) string {
	x.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.sock, "capture-pane", "-p"}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux capture-pane: %v\n%s", err, out)
	}
	return strings.TrimRight(string(out), "\n")
}

// wait waits until the screen shows all of the texts.
func (x *term) wait(texts ...string) string {
	x.t.Helper()
	return x.until(fmt.Sprintf("%q", texts), func(s string) bool {
		for _, text := range texts {
			if !strings.Contains(s, text) {
				return false
			}
		}
		return true
	})
}

// gone waits until the screen does not show text.
func (x *term) gone(text string) string {
	x.t.Helper()
	return x.until("no "+text, func(s string) bool { return !strings.Contains(s, text) })
}

func (x *term) until(what string, ok func(screen string) bool) string {
	x.t.Helper()
	var s string
	if !soon(func() bool { s = x.screen(); return ok(s) }) {
		x.t.Fatalf("waited in vain for %s:\n%s", what, s)
	}
	return s
}

// await waits for what no screen shows.
func (x *term) await(what string, ok func() bool) {
	x.t.Helper()
	if !soon(ok) {
		x.t.Errorf("waited in vain for %s", what)
	}
}

// soon asks again and again until ok says yes, and says whether it ever did.
func soon(ok func() bool) bool {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// prompt waits until the shell takes the next line.
func (x *term) prompt() {
	x.t.Helper()
	x.until("the prompt", func(s string) bool { return strings.HasSuffix(s, "ready>") })
}

// settle is the screen when every key pressed before is handled and what came of
// it is drawn: when the program has nothing to do, not even after the timers it
// draws and ends an escape by have run out (17 and 50 ms), and several looks are
// alike, with each of which tmux takes more of what was written. args are more
// of capture-pane's.
func (x *term) settle(args ...string) string {
	x.t.Helper()
	x.await("the program to rest", func() bool { return !x.busy() })
	time.Sleep(80 * time.Millisecond)
	x.await("the program to rest", func() bool { return !x.busy() })
	last, alike := "", 0
	x.until("the screen to settle", func(string) bool {
		now := x.screen(args...)
		if now != last {
			last, alike = now, 0
		}
		alike++
		return alike == 3
	})
	return last
}

// sh types a command line into the shell.
func (x *term) sh(line string) {
	x.t.Helper()
	x.tmux("send-keys", "-l", line)
	x.tmux("send-keys", "Enter")
}

var tmuxKeys = strings.NewReplacer("shift+tab", "BTab", "ctrl+", "C-", "pgdown", "NPage", "pgup", "PPage", "esc", "Escape", "enter", "Enter",
	"space", "Space", "tab", "Tab", "backspace", "BSpace", "delete", "DC", "home", "Home", "end", "End", "up", "Up", "down", "Down", "left", "Left", "right", "Right")

// press presses keys, each by itself.
func (x *term) press(keys ...string) *term {
	x.t.Helper()
	for _, k := range keys {
		if len(k) == 1 {
			x.tmux("send-keys", "-l", k)
		} else {
			x.tmux("send-keys", tmuxKeys.Replace(k))
		}
	}
	return x
}

// calm closes what is open on the screen and ends a search. It does so with
// ctrl-g: an escape directly before another key would begin a sequence.
func (x *term) calm() {
	x.t.Helper()
	x.press("ctrl+g", "ctrl+g")
	x.until("nothing open", func(s string) bool {
		if !strings.Contains(s, "╭") {
			return true
		}
		x.press("ctrl+g")
		return false
	})
}

// state is what a program may have left behind in the terminal.
func (x *term) state() string {
	return strings.TrimSpace(x.tmux("display-message", "-p", "alternate=#{alternate_on} cursor=#{cursor_flag} mouse=#{mouse_any_flag} keypad=#{keypad_flag} keys=#{keypad_cursor_flag} insert=#{insert_flag} origin=#{origin_flag}"))
}

var exitStatus = regexp.MustCompile(`(?m)^status (\d+)$`)

// run runs a command line in the shell, calls drive when it has the terminal, and
// checks after its end that the terminal is as before and the exit status.
func (x *term) run(line string, status int, drive func()) {
	x.t.Helper()
	x.runs++
	above := fmt.Sprintf("above program %d", x.runs)
	x.sh("clear; stty -g > before; echo above program $((" + fmt.Sprint(x.runs) + "))")
	x.wait(above + "\nready>")
	before := x.state()
	x.sh(line + `; echo "status $?"; stty -g > after`)
	drive()
	s := x.until("the exit status", exitStatus.MatchString)
	if got := exitStatus.FindStringSubmatch(s)[1]; got != fmt.Sprint(status) {
		x.t.Errorf("%s: the exit status is %s, not %d:\n%s", line, got, status, s)
	}
	if !strings.Contains(x.tmux("capture-pane", "-p", "-S", "-500"), above) {
		x.t.Errorf("%s: what was on the screen before is gone:\n%s", line, s)
	}
	x.prompt()
	if after := x.state(); after != before {
		x.t.Errorf("%s: the terminal was left as %s, was %s", line, after, before)
	}
	a, err1 := os.ReadFile(filepath.Join(x.dir, "before"))
	b, err2 := os.ReadFile(filepath.Join(x.dir, "after"))
	if err1 != nil || err2 != nil || string(a) != string(b) {
		x.t.Errorf("%s: the line discipline was left as %s, was %s (%v, %v)", line, b, a, err1, err2)
	}
}

func TestTmuxDemoWorldsOpenAndLeaveTheirVerdict(t *testing.T) {
	x := newTerm(t, 120, 40)
	for _, tt := range []struct {
		world   string
		verdict string
		status  int
	}{
		{"ingress-http", "REACHABLE", 0},
		{"bookinfo", "REACHABLE", 0},
		{"HT5002-selector", "UNREACHABLE", 1},
		{"HT0001-no-gateway-dump", "UNDETERMINED", 3},
	} {
		x.run("$HOPTRAIL demo "+tt.world, tt.status, func() {
			x.wait(tt.verdict, "Path ", "q quit")
			if s := x.state(); !strings.Contains(s, "alternate=1") {
				t.Errorf("%s: not on the alternate screen: %s", tt.world, s)
			}
			x.press("q")
			x.until("the verdict on the normal screen", func(s string) bool {
				return exitStatus.MatchString(s) && strings.Contains(s, tt.verdict)
			})
		})
	}
}

// TestTmuxEveryKeyIsPressed presses every key of the table where it means
// something, and sees the screen change.
func TestTmuxEveryKeyIsPressed(t *testing.T) {
	x := newTerm(t, 100, 24)
	pressed := map[keyContext]map[string]bool{}
	mark := func(c keyContext, k string) {
		if pressed[c] == nil {
			pressed[c] = map[string]bool{}
		}
		pressed[c][k] = true
	}
	// Where a key is pressed, and what brings one there: nothing open and the first
	// run is where all begin. The names are those of the bindings.
	opened := map[keyContext][]string{
		ctxWays: {"B"}, ctxList: {"c"}, ctxPage: {"?"}, ctxForm: {"E"}, ctxPalette: {":"}, ctxLine: {"/", "e"},
	}
	before := map[string][]string{
		"Moving/back": {"tab"}, "Moving/scroll detail down": {"G"}, "Moving/scroll detail up": {"G", "J", "J"},
		"Looking/tab summary": {"2"}, "Looking/logs of all hops": {"4"}, "Looking/filter lines": {"4"}, "Asking/earlier run": {"]"},
		"ways/all ways": {"ctrl+g", "b"}, "ways/compare": {"j"},
		"list/up": {"j"}, "list/first": {"j"}, "list/page up": {"G"},
		"page/next match": {"/", "h", "enter"}, "page/previous match": {"/", "h", "enter"}, "page/up": {"j"}, "page/first": {"j"}, "page/page up": {"G"},
		"form/previous field": {"tab"}, "form/next known value": {"tab"}, "form/previous known value": {"tab"},
		"palette/up": {"down"},
	}
	names := map[keyContext]string{ctxWays: "ways", ctxList: "list", ctxPage: "page", ctxForm: "form", ctxPalette: "palette", ctxLine: "line"}
	// What the screen must show after a key; of the others that it changes.
	signs := map[string][]string{
		"Looking/tab evidence": {"[2 "}, "Looking/tab config": {"[3 "}, "Looking/tab logs": {"[4 "}, "Looking/tab alternatives": {"[5 "}, "Looking/tab summary": {"[1 "},
		"Looking/branches": {"Branches at hop"}, "Looking/all ways": {"All ways"}, "Looking/fixes": {"─ Fixes"}, "Looking/what was read": {"What was read"},
		"Looking/follow logs": {"FOLLOW", "/line/"}, "Looking/wrap": {"wrapping is"}, "Looking/find": {" /"}, "Looking/filter lines": {" &"},
		"Asking/edit the question": {"Edit the question"}, "Asking/live": {"LIVE 5s"}, "Asking/freeze": {"FROZEN"}, "Asking/runs": {"─ Runs"},
		"Taking it away/copy": {"─ Copy"}, "Taking it away/export": {"─ Export"}, "Taking it away/privacy": {"PRIVACY", "ip-"},
		"The screen/palette": {"─ Do "}, "The screen/help": {"─ Keys"}, "The screen/theme": {"theme"},
		"ways/compare": {"─ Compare"}, "ways/all ways": {"All ways"}, "list/choose": {"copied "}, "list/copy": {"copied "}, "page/copy": {"copied "},
		"page/find": {" /"}, "page/next match": {"match 2 of"}, "page/previous match": {"match "},
		"form/ask": {"Path ", "[1 "},
	}
	// What is to be pressed once more to undo it.
	undo := map[string]bool{"follow logs": true, "wrap": true, "YAML or JSON": true, "live": true, "freeze": true, "privacy": true, "ASCII": true}

	start := func() {
		x.calm()
		for range 50 {
			if strings.Contains(x.screen(), " #1 ") {
				break
			}
			x.press("[")
			x.settle()
		}
		x.press("1", "g", "j", "j", "?")
		x.wait("─ Keys") // all before it has been handled
		x.press("ctrl+g")
		x.gone("─ Keys")
	}
	step := func(k string) {
		x.t.Helper()
		was := x.settle()
		x.press(k)
		x.until("what "+k+" does", func(s string) bool { return s != was })
	}
	x.run("$REPLAY -follow 5ms -dir . $SAMPLES/branches.json $SAMPLES/ingress.json", 0, func() {
		x.wait("DEGRADED")
		x.press("r")
		x.wait("REACHABLE", "#2")
		for _, b := range keyTable() {
			where := names[b.ctx]
			if b.ctx == ctxMain {
				where = b.group
			}
			where += "/" + b.name
			for _, k := range b.keys {
				switch b.name {
				case "quit", "quit with report", "interrupt", "suspend": // these leave: below
					continue
				}
				start()
				for _, k := range slices.Concat(opened[b.ctx], before[where]) {
					step(k)
				}
				was := x.settle()
				if b.name == "redraw" { // something else has written to the terminal
					x.tmux("run-shell", `printf '\033[12;5Ha line of another program' > #{pane_tty}`)
					x.wait("a line of another program")
					x.press(k)
					x.gone("a line of another program")
					mark(b.ctx, k)
					continue
				}
				x.press(k) // nothing after it before it has done something: an escape would begin a sequence
				x.until(fmt.Sprintf("what %s (%s) does %s: %q", keyName(k), b.name, where, signs[where]), func(s string) bool {
					for _, sign := range signs[where] {
						if !strings.Contains(s, sign) {
							return false
						}
					}
					return s != was
				})
				mark(b.ctx, k)
				if b.ctx == ctxMain && undo[b.name] {
					x.press(k) // what comes then does not begin before it is handled
				}
			}
		}
		x.calm()
		x.press("q")
		x.wait("VERDICT degraded")
		mark(ctxMain, "q")
	})
	x.sh("clear; $REPLAY $SAMPLES/fault.json")
	x.wait("UNREACHABLE")
	x.press("ctrl+z")
	x.wait("Stopped")
	x.prompt()
	mark(ctxMain, "ctrl+z")
	x.sh("fg")
	x.wait("UNREACHABLE", "q quit")
	x.press("Q")
	x.wait("HOP 6  cluster", "VERDICT unreachable")
	x.prompt()
	mark(ctxMain, "Q")
	x.run("$REPLAY $SAMPLES/fault.json", 130, func() {
		x.wait("UNREACHABLE")
		x.press("ctrl+c")
		mark(ctxMain, "ctrl+c")
	})
	for _, b := range keyTable() {
		for _, k := range b.keys {
			if !pressed[b.ctx][k] {
				t.Errorf("%s was not pressed, which is to %s", keyName(k), b.help)
			}
		}
	}
}

func TestTmuxSuspendAndResume(t *testing.T) {
	x := newTerm(t, 100, 30)
	before := x.state()
	x.sh("$REPLAY $SAMPLES/fault.json")
	x.wait("UNREACHABLE")
	x.press("ctrl+z")
	x.wait("Stopped")
	x.prompt()
	if s := x.state(); s != before {
		t.Errorf("while suspended the terminal is %s, was %s", s, before)
	}
	x.sh("fg")
	x.wait("UNREACHABLE", "q quit")
	x.press("2")
	x.wait("[2 Evi")
	x.press("q")
	x.wait("VERDICT unreachable")
	x.prompt()
	if s := x.state(); s != before {
		t.Errorf("the terminal was left as %s, was %s", s, before)
	}
}

// A trace that is under way when the program is suspended goes on when it is
// resumed, on a screen that has another size by then, as often as one likes.
func TestTmuxSuspendedWhileTracing(t *testing.T) {
	x := newTerm(t, 100, 30)
	before := x.state()
	x.sh("$REPLAY -delay 300ms $SAMPLES/fault.json")
	x.wait("Path  ", "q quit")
	for i, size := range [][2]int{{80, 24}, {120, 40}, {60, 20}, {100, 30}} {
		x.press("ctrl+z")
		x.until("the shell", func(s string) bool { return strings.Contains(s, "Stopped") && strings.HasSuffix(s, "ready>") })
		if s := x.state(); s != before {
			t.Errorf("while suspended the terminal is %s, was %s", s, before)
		}
		x.tmux("resize-window", "-x", fmt.Sprint(size[0]), "-y", fmt.Sprint(size[1]))
		x.sh("clear; fg")
		x.wait("UNREACHABLE", fmt.Sprintf(" #%d ", i+1))
		x.press("r")
	}
	x.press("q")
	x.wait("VERDICT unreachable")
	x.prompt()
	if s := x.state(); s != before {
		t.Errorf("the terminal was left as %s, was %s", s, before)
	}
}

func TestTmuxResizeAtAnyTime(t *testing.T) {
	x := newTerm(t, 120, 40)
	x.run("$REPLAY $SAMPLES/branches.json", 0, func() {
		x.wait("DEGRADED")
		for _, s := range [][2]int{{80, 24}, {60, 20}, {40, 10}, {200, 50}, {100, 12}, {43, 40}} {
			x.tmux("resize-window", "-x", fmt.Sprint(s[0]), "-y", fmt.Sprint(s[1]))
			x.wait("DEGRADED")
			x.press("B")
			x.wait("All ways")
			x.press("ctrl+g")
			x.gone("All ways")
		}
		x.tmux("resize-window", "-x", "39", "-y", "9")
		x.wait("terminal 39x9, need 40x10;", "run with -o text")
		x.tmux("resize-window", "-x", "120", "-y", "40")
		x.wait("DEGRADED", "[1 Summary]")
		x.press("q")
	})
}

// TestTmuxCopyPassesThroughScreen copies in a GNU screen, short and long: the
// terminal outside of it, here tmux, gets all of it and the picture stays whole.
func TestTmuxCopyPassesThroughScreen(t *testing.T) {
	needTmux(t)
	if _, err := exec.LookPath("screen"); err != nil {
		t.Skip("screen is not installed")
	}
	x := newTerm(t, 120, 40)
	x.sh("mkdir -m 700 screens; echo startup_message off > rc; env -u TMUX SCREENDIR=$PWD/screens screen -U -c rc bash --norc --noprofile")
	x.until("the shell within screen", func(s string) bool { return strings.TrimSpace(s) == "ready>" })
	x.sh("$REPLAY $SAMPLES/fault.json")
	x.wait("UNREACHABLE", "q quit")
	x.press("c", "G", "k", "enter")
	x.wait("copied summary in Markdown", "OSC 52")
	was := x.settle()
	if got := x.tmux("show-buffer"); len(got) < 2000 || !strings.Contains(got, "HT5002") {
		t.Errorf("the clipboard holds %d bytes: %.200s", len(got), got)
	}
	x.press("ctrl+l")
	if now := x.gone("copied summary"); strings.Count(now, "\n") != strings.Count(was, "\n") {
		t.Errorf("copying wrote on the screen:\n%s", was)
	}
	now := strings.Split(x.settle(), "\n")
	for i, line := range strings.Split(was, "\n")[:len(now)-1] {
		if line != now[i] {
			t.Errorf("copying wrote on the screen: %q, is %q", line, now[i])
		}
	}
	x.press("q")
	x.wait("VERDICT unreachable")
	x.sh("exit")
}

func TestTmuxCopyReachesTheClipboard(t *testing.T) {
	x := newTerm(t, 120, 40)
	copies := func() {
		x.wait("UNREACHABLE")
		x.press("f")
		x.wait("Fixes")
		x.press("j", "enter")
		x.wait("copied the fix")
		// Saying so and giving it to the terminal are two things drawn.
		x.await("the fix in the clipboard", func() bool {
			got, err := exec.Command("tmux", "-S", x.sock, "show-buffer").Output()
			return err == nil && string(got) == "kubectl -n simple get pods --show-labels"
		})
		x.tmux("delete-buffer")
		x.press("q")
	}
	x.run("$REPLAY $SAMPLES/fault.json", 0, copies)
	// As over ssh from within nothing: only the terminal can take it.
	x.run("env -u TMUX SSH_CONNECTION=x TERM=xterm-256color $REPLAY $SAMPLES/fault.json", 0, copies)
	// The name of the file fits the screen, wherever temporary folders are.
	x.run("env -u TMUX TERM=linux TMPDIR=. $REPLAY $SAMPLES/fault.json", 0, func() {
		x.wait("UNREACHABLE")
		x.press("c", "1", "enter")
		s := x.wait("copied name", "to file ")
		path := regexp.MustCompile(`file (\S+\.txt)`).FindStringSubmatch(s)
		if path == nil {
			t.Fatalf("no file is named:\n%s", s)
		}
		if data, err := os.ReadFile(filepath.Join(x.dir, path[1])); err != nil || string(data) != "outbound|80||simple.simple.svc.cluster.local" {
			t.Errorf("the file holds %q, %v", data, err)
		}
		x.press("q")
	})
}

func TestTmuxExportsOfTheRealProgram(t *testing.T) {
	x := newTerm(t, 100, 30)
	x.run("$HOPTRAIL demo HT5002-selector", 1, func() {
		x.wait("UNREACHABLE")
		for n, ext := range []string{"json", "md", "tar.gz"} {
			x.press("e")
			x.wait("─ Export")
			x.press(fmt.Sprint(n + 1))
			x.wait("wrote ", ext)
			files, err := filepath.Glob(filepath.Join(x.dir, "*."+ext))
			if err != nil || len(files) != 1 {
				t.Fatalf("files of %s: %v, %v", ext, files, err)
			}
			if ext == "json" {
				data, err := os.ReadFile(files[0])
				r := trace.Report{}
				if err == nil {
					err = json.Unmarshal(data, &r)
				}
				if err != nil || r.Verdict != trace.Unreachable {
					t.Errorf("the exported report: %v, verdict %q", err, r.Verdict)
				}
			}
			x.press("ctrl+g")
		}
		x.press("q")
	})
	x.run("$HOPTRAIL trace http://192.168.170.137:31373/simple/httpserver -H 'host: simple.baihl.io' --snapshot *.tar.gz", 1, func() {
		x.wait("UNREACHABLE", "HT5002")
		x.press("q")
	})
}

func TestTmuxCtrlC(t *testing.T) {
	x := newTerm(t, 100, 30)
	x.run("$REPLAY -hang $SAMPLES/fault.json", 130, func() {
		x.wait("Path  6 hops", "tracing")
		x.press("ctrl+c")
		x.wait("CANCELLED", "Path  6 hops")
		x.press("ctrl+c")
	})
	x.run("$REPLAY $SAMPLES/fault.json", 130, func() {
		x.wait("UNREACHABLE")
		x.press("?")
		x.wait("─ Keys")
		x.press("ctrl+c")
	})
}

func TestTmuxAPanicLeavesTheTerminalUsable(t *testing.T) {
	x := newTerm(t, 120, 50)
	x.run("$REPLAY -crash draw -every 50ms $SAMPLES/fault.json 2>crash.log", 2, func() {})
	if log, err := os.ReadFile(filepath.Join(x.dir, "crash.log")); err != nil || !strings.Contains(string(log), "drawing broke") {
		t.Errorf("the panic is not told: %q, %v", log, err)
	}
	x.run("$REPLAY -crash trace $SAMPLES/fault.json", 0, func() {
		x.wait("NO ANSWER", "internal error: the trace broke")
		x.press("q")
	})
	x.run("$REPLAY -crash follow -follow 1ms $SAMPLES/fault.json", 0, func() {
		x.wait("UNREACHABLE")
		x.press("F")
		x.wait("following stopped: internal error: following broke")
		x.press("q")
	})
}

func TestTmuxASignalLeavesTheTerminalUsable(t *testing.T) {
	x := newTerm(t, 100, 30)
	for _, program := range []string{"$REPLAY -hang $SAMPLES/fault.json", "$REPLAY -every 50ms $SAMPLES/fault.json", "$HOPTRAIL demo HT5002"} {
		for _, signal := range []string{"TERM", "HUP", "INT"} {
			x.run("bash -c 'echo $$ > pid; exec "+program+"'", 130, func() {
				x.wait("Path  ", "q quit")
				pid, err := os.ReadFile(filepath.Join(x.dir, "pid"))
				if err != nil {
					t.Fatal(err)
				}
				if out, err := exec.Command("kill", "-"+signal, strings.TrimSpace(string(pid))).CombinedOutput(); err != nil {
					t.Fatalf("kill: %v: %s", err, out)
				}
			})
		}
	}
}

func TestTmuxLive(t *testing.T) {
	x := newTerm(t, 120, 40)
	x.run("$REPLAY -every 1s $SAMPLES/ingress.json $SAMPLES/fault.json", 0, func() {
		x.wait("REACHABLE", "LIVE 1s")
		x.wait("UNREACHABLE", "changed since", "gone: ") // every run differs from the one before
		x.press("space")
		x.wait("FROZEN")
		x.press("space", "L")
		x.gone("LIVE")
		x.press("[")
		x.wait("EARLIER")
		x.press("q")
	})
}

func TestTmuxHostileBytesStayText(t *testing.T) {
	x := newTerm(t, 120, 40)
	title := x.tmux("display-message", "-p", "#{pane_title}")
	x.run("$REPLAY $SAMPLES/hostile.json", 0, func() {
		x.wait(`\x1b[7m`, "購物車")
		for _, k := range []string{"2", "3", "4", "5"} {
			x.press(k)
		}
		x.press("1", "q")
	})
	if now := x.tmux("display-message", "-p", "#{pane_title}"); strings.Contains(now, "owned") || len(now) > len(title)+60 {
		t.Errorf("the title is %q, was %q", now, title)
	}
}

func TestTmuxColoursAndCharacters(t *testing.T) {
	x := newTerm(t, 100, 30)
	colour := regexp.MustCompile("\x1b\\[([0-9;]*;)?[34][0-7]")
	styled := func() string { return x.tmux("capture-pane", "-p", "-e") }
	x.run("$REPLAY $SAMPLES/fault.json", 0, func() {
		x.wait("✗ UNREACHABLE")
		if !colour.MatchString(styled()) {
			t.Error("there is no colour")
		}
		x.press("q")
	})
	x.run("NO_COLOR=yes $REPLAY $SAMPLES/fault.json", 0, func() {
		x.wait("✗ UNREACHABLE")
		if s := styled(); colour.MatchString(s) {
			t.Errorf("there is colour: %q", colour.FindString(s))
		}
		x.press("q")
	})
	x.run("RUNEWIDTH_EASTASIAN=1 $REPLAY $SAMPLES/fault.json", 0, func() {
		s := x.wait("x UNREACHABLE")
		for _, r := range s {
			if r > 0x7e {
				t.Errorf("%q is on an ASCII screen", r)
			}
		}
		x.press("q")
	})
	x.run("$HOPTRAIL demo ingress-http | head -5", 0, func() { x.wait("VERDICT  REACHABLE") })
}
