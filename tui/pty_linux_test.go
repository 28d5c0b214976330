package tui

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openPTY returns both ends of a new pseudo-terminal of w x h cells.
func openPTY(tb testing.TB, w, h int) (master, slave *os.File) {
	tb.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		tb.Skipf("no pseudo-terminal: %v", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		tb.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(h), Col: uint16(w)}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { master.Close(); slave.Close() })
	return master, slave
}

// TestASignalAtAnyMomentEndsTheProgram sends signals while the first trace is
// under way, when the program and the UI both heed them.
func TestASignalAtAnyMomentEndsTheProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the program many times: not in short mode")
	}
	bins, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	signals := []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}
	races := filepath.Join(t.TempDir(), "race")
	for i := range 18 {
		master, slave := openPTY(t, 100, 30)
		cmd := exec.Command(bins["hoptrail"], "demo", "HT5002")
		cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LANG=C.UTF-8", "TMUX=", "GORACE=log_path="+races)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stuck := func(what string) *time.Timer {
			return time.AfterFunc(patience, func() {
				t.Errorf("%s did not %s", signals[i%3], what)
				cmd.Process.Kill()
			})
		}
		shown := make(chan bool)
		go func() {
			defer master.Close()
			var seen []byte
			buf := make([]byte, 1<<16)
			for drawn := false; ; {
				n, err := master.Read(buf) // an error at the latest when both the program and this test have let the other end go
				if seen = append(seen, buf[:n]...); !drawn && (err != nil || bytes.Contains(seen, []byte("quit"))) {
					close(shown)
					drawn = true
				}
				if err != nil {
					return
				}
			}
		}()
		slave.Close() // the program has it
		limit := stuck("come to be sent: nothing was drawn")
		<-shown
		limit.Stop()
		time.Sleep(time.Duration(i*7%60) * time.Millisecond) // any moment of the trace
		if err := cmd.Process.Signal(signals[i%3]); err != nil {
			t.Fatal(err)
		}
		limit = stuck("end the program")
		cmd.Wait()
		limit.Stop()
		if status := cmd.ProcessState.ExitCode(); status != 130 {
			t.Errorf("%s ended the program with %v", signals[i%3], cmd.ProcessState)
		}
	}
	found, err := filepath.Glob(races + ".*")
	if err != nil || len(found) > 0 {
		t.Errorf("data races: %q, %v", found, err)
	}
	for _, name := range found {
		text, err := os.ReadFile(name)
		t.Logf("%s, %v", text, err)
	}
}

// BenchmarkFirstFrameOfTheProgram is the time from starting the whole program
// on a demo world to the first frame, and to the verdict on the screen.
func BenchmarkFirstFrameOfTheProgram(b *testing.B) {
	bin := filepath.Join(b.TempDir(), "hoptrail")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", bin, "../cmd/hoptrail").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	var frame, verdict, cpu time.Duration
	best := time.Hour // what the machine takes when it does nothing else
	for b.Loop() {
		master, slave := openPTY(b, 120, 40)
		cmd := exec.Command(bin, "demo", "ingress-http")
		cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LANG=C.UTF-8", "TMUX=")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		start := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		var seen []byte
		buf := make([]byte, 1<<16)
		first := true
		for !bytes.Contains(seen, []byte("REACHABLE")) {
			n, err := master.Read(buf)
			if err != nil {
				b.Fatalf("%v after %q", err, seen)
			}
			seen = append(seen, buf[:n]...)
			if first && bytes.Contains(seen, []byte("simple.baihl.io")) {
				first = false
				frame += time.Since(start)
				best = min(best, time.Since(start))
			}
		}
		verdict += time.Since(start)
		if _, err := master.WriteString("q"); err != nil {
			b.Fatal(err)
		}
		go func() { // what it still prints must not block it
			for {
				if _, err := master.Read(buf); err != nil {
					return
				}
			}
		}()
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		master.Close()
		slave.Close()
	}
	b.ReportMetric(float64(best.Milliseconds()), "ms-to-frame-best")
	b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms")
	b.ReportMetric(float64(frame.Milliseconds())/float64(b.N), "ms-to-frame")
	b.ReportMetric(float64(verdict.Milliseconds())/float64(b.N), "ms-to-verdict")
}
