package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// terminal is a shell in a tmux of its own.
type terminal struct {
	t    *testing.T
	sock string
	dir  string
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
	x.wait("ready>")
	return x
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
	deadline := time.Now().Add(60 * time.Second)
	for {
		s := x.screen()
		if ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("waited in vain for %s:\n%s", what, s)
		}
		time.Sleep(50 * time.Millisecond)
	}
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
	var slices struct{ Items []object }
	if err := json.Unmarshal(data, &slices); err != nil {
		t.Fatal(err)
	}
	for _, s := range slices.Items {
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
	x.sh(strings.Join(command(t, l, "", target), " ") + `; echo "status $?"; stty -g > after`)
	s := x.wait("✓ REACHABLE", " #1 ", "q quit")
	if st := x.state(); !strings.Contains(st, "alternate=1") {
		t.Errorf("not on the alternate screen: %s", st)
	}
	if !strings.Contains(lineWith(s, "node "), "OK") {
		t.Errorf("the node hop is not OK:\n%s", s)
	}

	// Live: runs come by themselves, one after the other, the selection stays.
	x.press("j", "j")
	x.wait("▸ ✓  3 node ")
	x.press("L")
	x.wait("LIVE 5s")
	last := 1
	x.until("run 3", func(s string) bool {
		n := runOn(s)
		if n > last+1 {
			t.Errorf("run %d came after run %d", n, last)
		}
		last = max(last, n)
		return n >= 3
	})
	x.wait("▸ ✓  3 node ")

	// It breaks: the kernel's rules change, and the screen says what was before.
	put([]object{})
	if err := l.WaitRules(t.Context(), "baihl-master", "istio-system/istio-ingressgateway:http2 has no endpoints"); err != nil {
		t.Fatal(err)
	}
	s = x.wait("✗ UNREACHABLE", "changed since")
	broken := regexp.MustCompile(`was OK at \d\d:\d\d:\d\dZ \(#\d+\)`)
	if !broken.MatchString(s) {
		t.Errorf("no hop says what it was before:\n%s", s)
	}
	if m := lineWith(s, "▸ ✗ 3 node "); !strings.Contains(m, "~ FAIL") {
		t.Errorf("the failing hop is not selected and marked as changed: %q\n%s", m, s)
	}

	// Frozen: nothing moves, though the cluster is mended; history can be stepped.
	x.press("Space")
	s = x.wait("FROZEN")
	frozen := runOn(s)
	put(slice["endpoints"])
	if err := l.WaitRules(t.Context(), "baihl-master", "!istio-system/istio-ingressgateway:http2 has no endpoints"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(6 * time.Second)
	if s = x.screen(); runOn(s) != frozen || !strings.Contains(s, "UNREACHABLE") {
		t.Errorf("a frozen screen moved from run %d:\n%s", frozen, s)
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
	s = x.wait("LIVE 5s", "✓ REACHABLE", "was FAIL at")
	if n := runOn(s); n != frozen+1 {
		t.Errorf("run %d follows the frozen %d", n, frozen)
	}
	x.press("L")
	x.wait("!LIVE")

	// The access logs grow; of two lines one is of the traced request.
	x.press("F")
	x.wait("FOLLOW", "[4 Logs")
	for deadline := time.Now().Add(30 * time.Second); ; {
		// Following begins when the log is open; what is written before is read, too.
		stamp := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
		for _, line := range []string{
			`[` + stamp + `] "GET /simple/httpserver HTTP/1.1" 200 - via_upstream - "-" 0 312 4 3 "10.10.0.0" "curl/7.79.1" "11111111-3cba-98d6-b51f-4b0ea5311294" "simple.baihl.io" "10.10.1.13:80" outbound|80||simple.simple.svc.cluster.local 10.10.1.4:55000 10.10.1.4:8080 10.10.0.0:47110 - -`,
			`[` + stamp + `] "GET /nobody-asked HTTP/1.1" 404 NR route_not_found - "-" 0 0 0 - "10.10.0.0" "curl/7.79.1" "22222222-3cba-98d6-b51f-4b0ea5311294" "other.example" "-" - - 10.10.1.4:8080 10.10.0.0:47111 - -`,
		} {
			if err := l.AppendLog(gateway, line); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		s = x.screen()
		other := lineWith(s, "/nobody-asked")
		traced := lineWith(s, "* "+stamp[11:23])
		if traced != "" && other != "" {
			if !strings.Contains(traced, "/simple/httpserver") || strings.Contains(other, "* ") {
				t.Errorf("the wrong line is marked:\n%s", s)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no followed line is on the screen:\n%s", s)
		}
	}

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
