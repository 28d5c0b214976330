package lab

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
	"testing"
	"time"
)

// terminal is a shell in a tmux of its own.
type terminal struct {
	t     *testing.T
	sock  string
	dir   string
	shell string // its process id
}

func newTerminal(t *testing.T, w, h int, env ...string) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if required() {
			t.Fatal("HOPTRAIL_REQUIRE names the lab, and this machine lacks tmux")
		}
		t.Skip("this machine lacks tmux")
	}
	run, err := os.MkdirTemp("", "htl") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, sock: filepath.Join(run, "s"), dir: t.TempDir()}
	t.Cleanup(func() {
		_ = exec.Command("tmux", "-S", x.sock, "kill-server").Run()
		// What ran there may still write into its folder.
		x.await("the end of what ran in the terminal", func() bool { return len(x.processes()) == 0 })
		os.RemoveAll(run)
		// With GOFLAGS=-race the program is built so, too.
		races, err := filepath.Glob(filepath.Join(x.dir, "race.*"))
		if err != nil {
			t.Error(err)
		}
		for _, name := range races {
			found, err := os.ReadFile(name)
			t.Errorf("a data race (%v):\n%s", err, found)
		}
	})
	cmd := exec.Command("tmux", "-S", x.sock, "-f", "/dev/null", "-u", "new-session", "-d", "-x", fmt.Sprint(w), "-y", fmt.Sprint(h), "-c", x.dir, "bash", "--norc", "--noprofile", "-i")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + x.dir, "HISTFILE=", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "PS1=ready> ", "TMPDIR=" + x.dir, "GORACE=log_path=" + filepath.Join(x.dir, "race")}, env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v\n%s", err, out)
	}
	x.shell = strings.TrimSpace(x.tmux("display-message", "-p", "#{pane_pid}"))
	x.wait("ready>")
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

// processes are those of the terminal's session.
func (x *terminal) processes() (ids []string) {
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
// do.
func (x *terminal) busy() bool {
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

func (x *terminal) tmux(args ...string) string {
	x.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.sock}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// screen is what a person sees.
func (x *terminal) screen() string {
	x.t.Helper()
	return strings.TrimRight(x.tmux("capture-pane", "-p"), "\n")
}

func (x *terminal) press(keys ...string) {
	x.t.Helper()
	for _, k := range keys {
		if len(k) == 1 {
			x.tmux("send-keys", "-l", k)
		} else {
			x.tmux("send-keys", k)
		}
	}
}

// sh types a command line into the shell.
func (x *terminal) sh(line string) {
	x.t.Helper()
	x.tmux("send-keys", "-l", line)
	x.tmux("send-keys", "Enter")
}

// wait waits until the screen shows all of the texts, and none of those with a !
// before them.
func (x *terminal) wait(texts ...string) string {
	x.t.Helper()
	return x.until(fmt.Sprintf("%q", texts), func(s string) bool {
		for _, text := range texts {
			want, not := strings.CutPrefix(text, "!")
			if strings.Contains(s, want) == not {
				return false
			}
		}
		return true
	})
}

func (x *terminal) until(what string, ok func(screen string) bool) string {
	x.t.Helper()
	var s string
	if !soon(func() bool { s = x.screen(); return ok(s) }) {
		x.t.Fatalf("waited in vain for %s:\n%s", what, s)
	}
	return s
}

// await waits for what no screen shows.
func (x *terminal) await(what string, ok func() bool) {
	x.t.Helper()
	if !soon(ok) {
		x.t.Errorf("waited in vain for %s", what)
	}
}

// soon asks again and again until ok says yes, and says whether it ever did.
func soon(ok func() bool) bool {
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// settle is the screen when every key pressed before is handled and what came of
// it is drawn: when the program has nothing to do, not even after the timers it
// draws and ends an escape by have run out (17 and 50 ms), and several looks are
// alike, with each of which tmux takes more of what was written.
func (x *terminal) settle() string {
	x.t.Helper()
	x.await("the program to rest", func() bool { return !x.busy() })
	time.Sleep(80 * time.Millisecond)
	x.await("the program to rest", func() bool { return !x.busy() })
	last, alike := "", 0
	return x.until("the screen to settle", func(now string) bool {
		if now != last {
			last, alike = now, 0
		}
		alike++
		return alike == 3
	})
}

// state is what a program may have left behind in the terminal.
func (x *terminal) state() string {
	x.t.Helper()
	return strings.TrimSpace(x.tmux("display-message", "-p", "alternate=#{alternate_on} cursor=#{cursor_flag} mouse=#{mouse_any_flag} keypad=#{keypad_flag} keys=#{keypad_cursor_flag} insert=#{insert_flag} origin=#{origin_flag}"))
}

var runNumber = regexp.MustCompile(` #(\d+)  \d\d:\d\d:\d\dZ`)

// runOn is the number of the run on the screen, 0 for none.
func runOn(screen string) (n int) {
	if m := runNumber.FindStringSubmatch(screen); m != nil {
		fmt.Sscan(m[1], &n)
	}
	return n
}

var newerRuns = regexp.MustCompile(`FROZEN (\d+) newer`)

// newer is how many runs a frozen screen holds back.
func newer(screen string) (n int) {
	if m := newerRuns.FindStringSubmatch(screen); m != nil {
		fmt.Sscan(m[1], &n)
	}
	return n
}

var elapsed = regexp.MustCompile(`\d\.\ds|\dm\d+s|CANCELLING`)

// underWay says whether the header shows a trace under way.
func underWay(screen string) bool {
	header, _, _ := strings.Cut(screen, "\n")
	return elapsed.MatchString(header)
}

// lineWith is the first line of a screen that holds text, "" for none.
func lineWith(screen, text string) string {
	for line := range strings.Lines(screen) {
		if strings.Contains(line, text) {
			return strings.TrimRight(line, "\n")
		}
	}
	return ""
}

// TestTheScreenFollowsAClusterThatBreaks drives the real program in a terminal
// against a running cluster: live mode, a fault that comes and goes, frozen and
// stepped through, access logs that grow, a cancelled trace.
func TestTheScreenFollowsAClusterThatBreaks(t *testing.T) {
	const (
		target  = "http://simple.baihl.io:31373/simple/httpserver"
		gateway = "istio-system/istio-ingressgateway-576c469c96-spndl"
	)
	l := start(t, Config{World: world(t, "seed/ingress-http")})

	// The endpoints behind the gateway's Service, to be taken away and given back.
	var slice object
	data, err := l.Do(t.Context(), "GET", "/apis/discovery.k8s.io/v1/namespaces/istio-system/endpointslices", nil)
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Items []object }
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	for _, s := range list.Items {
		if str(s, "metadata", "labels", "kubernetes.io/service-name") == "istio-ingressgateway" {
			slice = s
		}
	}
	if slice == nil {
		t.Fatal("the world has no EndpointSlice of the gateway")
	}
	delete(slice["metadata"].(object), "resourceVersion")
	put := func(endpoints any) {
		t.Helper()
		o := clone(slice)
		o["endpoints"] = endpoints
		if _, err := l.Do(t.Context(), "PUT", "/apis/discovery.k8s.io/v1/namespaces/istio-system/endpointslices/"+str(slice, "metadata", "name"), o); err != nil {
			t.Fatal(err)
		}
	}

	x := newTerminal(t, 140, 40)
	x.sh("clear; stty -g > before; echo above the program")
	x.wait("above the program\nready>")
	before := x.state()
	// What hangs must not end by itself.
	x.sh(strings.Join(command(t, l, "", target, "--request-timeout", "10m"), " ") + `; echo "status $?"; stty -g > after`)
	x.wait("✓ REACHABLE", " #1 ", "q quit")
	if st := x.state(); !strings.Contains(st, "alternate=1") {
		t.Errorf("not on the alternate screen: %s", st)
	}
	if s := x.settle(); !strings.Contains(lineWith(s, "node "), "OK") {
		t.Errorf("the node hop is not OK:\n%s", s)
	}

	// still freezes the screen and waits until no run is under way: from then on
	// there are no more.
	still := func() string {
		t.Helper()
		x.press("Space")
		x.until("a frozen screen and no trace under way", func(s string) bool { return strings.Contains(s, "FROZEN") && !underWay(s) })
		return x.settle()
	}
	// back steps from run to run of a frozen screen to the latest that is looked for.
	back := func(what string, ok func(screen string) bool) string {
		t.Helper()
		for s := x.settle(); ; s = x.settle() {
			if ok(s) {
				return s
			}
			n := runOn(s)
			if n <= 1 {
				t.Fatalf("no run is %s:\n%s", what, s)
			}
			x.press("[")
			x.wait(fmt.Sprintf(" #%d ", n-1))
		}
	}

	// Live: runs come by themselves, one after the other, the selection stays.
	x.press("j", "j")
	x.wait("▸ ✓  3 node ")
	x.press("L")
	x.wait("LIVE 5s")
	last := 1
	x.until("run 3", func(s string) bool {
		if n := runOn(s); n > 0 {
			if n < last {
				t.Errorf("run %d came after run %d", n, last)
			}
			last = n
		}
		return last >= 3
	})
	x.wait("▸ ✓  3 node ")

	// It breaks: the kernel's rules change, and the screen says what was before. No
	// run sees a half of that.
	x.press("L")
	x.until("live mode and its last run to end", func(s string) bool {
		return !strings.Contains(s, "LIVE") && strings.Contains(s, "live is off") && !underWay(s)
	})
	put([]object{})
	if err := l.WaitRules(t.Context(), "baihl-master", "istio-system/istio-ingressgateway:http2 has no endpoints"); err != nil {
		t.Fatal(err)
	}
	x.press("L")
	x.wait("LIVE 5s")
	x.wait("✗ UNREACHABLE")
	s := still() // the next run differs from this one in nothing
	newest := runOn(s) + newer(s)
	s = back("the one that found the node failing", func(s string) bool {
		return strings.Contains(s, "✗ UNREACHABLE") && strings.Contains(s, "changed since") && strings.Contains(lineWith(s, "▸ ✗ 3 node "), "~ FAIL")
	})
	broken := regexp.MustCompile(`was OK at \d\d:\d\d:\d\dZ \(#\d+\)`)
	if !broken.MatchString(s) {
		t.Errorf("no hop says what it was before:\n%s", s)
	}

	// Frozen: nothing moves, though the cluster is mended; history can be stepped.
	frozen := runOn(s)
	put(slice["endpoints"])
	if err := l.WaitRules(t.Context(), "baihl-master", "!istio-system/istio-ingressgateway:http2 has no endpoints"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(6 * time.Second) // longer than the interval of live mode
	if s = x.settle(); runOn(s) != frozen || frozen+newer(s) != newest || !strings.Contains(s, "UNREACHABLE") {
		t.Errorf("a frozen screen moved from run %d of %d:\n%s", frozen, newest, s)
	}
	x.press("[")
	x.wait(fmt.Sprintf(" #%d ", frozen-1))
	x.press("]")
	x.wait(fmt.Sprintf(" #%d ", frozen), "UNREACHABLE")
	for range frozen {
		x.press("[")
	}
	x.wait(" #1 ", "✓ REACHABLE", "this is the first run kept")
	x.press("H")
	x.wait("Runs", "REACHABLE", "UNREACHABLE")
	x.press("C-g")
	x.press("Space")
	x.until("a run of the mended cluster", func(s string) bool {
		return runOn(s) > newest && strings.Contains(s, "LIVE 5s") && strings.Contains(s, "✓ REACHABLE")
	})
	still()
	s = back(fmt.Sprintf("the one after %d", newest), func(s string) bool { return runOn(s) == newest+1 })
	if !strings.Contains(s, "✓ REACHABLE") || !strings.Contains(s, "was FAIL at") {
		t.Errorf("the first run of the mended cluster:\n%s", s)
	}
	x.press("Space", "L")
	x.until("the end of live mode and of its last run", func(s string) bool {
		return !strings.Contains(s, "LIVE") && !strings.Contains(s, "FROZEN") && strings.Contains(s, "live is off") && !underWay(s)
	})

	// The access logs grow; of two lines one is of the traced request.
	x.press("F")
	x.wait("FOLLOW", "[4 Logs")
	var wrote time.Time
	var stamps []string
	x.until("two followed lines, the traced one of them marked", func(s string) bool {
		// Following begins when the log is open; what is written before is read, too.
		if time.Since(wrote) > time.Second {
			wrote = time.Now()
			stamp := wrote.UTC().Format("2006-01-02T15:04:05.000Z")
			stamps = append(stamps, stamp[11:23])
			for _, line := range []string{
				`[` + stamp + `] "GET /simple/httpserver HTTP/1.1" 200 - via_upstream - "-" 0 312 4 3 "10.10.0.0" "curl/7.79.1" "11111111-3cba-98d6-b51f-4b0ea5311294" "simple.baihl.io" "10.10.1.13:80" outbound|80||simple.simple.svc.cluster.local 10.10.1.4:55000 10.10.1.4:8080 10.10.0.0:47110 - -`,
				`[` + stamp + `] "GET /nobody-asked HTTP/1.1" 404 NR route_not_found - "-" 0 0 0 - "10.10.0.0" "curl/7.79.1" "22222222-3cba-98d6-b51f-4b0ea5311294" "other.example" "-" - - 10.10.1.4:8080 10.10.0.0:47111 - -`,
			} {
				if err := l.AppendLog(gateway, line); err != nil {
					t.Fatal(err)
				}
			}
		}
		other := lineWith(s, "/nobody-asked")
		return other != "" && !strings.Contains(other, "* ") && slices.ContainsFunc(stamps, func(stamp string) bool {
			return strings.Contains(lineWith(s, "* "+stamp), "/simple/httpserver")
		})
	})

	// A trace on demand while the logs are followed.
	n := runOn(x.screen())
	x.press("r")
	x.wait(fmt.Sprintf(" #%d ", n+1), "FOLLOW", "/nobody-asked")
	x.press("F")
	x.wait("!FOLLOW", "lines kept")

	// ctrl-c cancels what hangs, and the screen stays.
	l.HangKubelets(true)
	x.press("r")
	x.wait("reading ")
	x.press("C-c")
	x.wait("CANCELLED", "r traces again")
	l.HangKubelets(false)
	x.press("r")
	x.wait("✓ REACHABLE", "!CANCELLED")

	// And out: the verdict stays, the terminal is as it was.
	x.press("q")
	x.wait("above the program", "REACHABLE", "status 0\nready>")
	if after := x.state(); after != before {
		t.Errorf("the terminal was left as %s, was %s", after, before)
	}
	a, err1 := os.ReadFile(filepath.Join(x.dir, "before"))
	b, err2 := os.ReadFile(filepath.Join(x.dir, "after"))
	if err1 != nil || err2 != nil || string(a) != string(b) {
		t.Errorf("the line discipline was left as %s, was %s (%v, %v)", b, a, err1, err2)
	}
}
