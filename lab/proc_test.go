package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAReservedPortIsGivenToNobodyButWhoAsksForIt: between the moment in which a
// port is chosen and that in which etcd listens there, others ask for any port.
func TestAReservedPortIsGivenToNobodyButWhoAsksForIt(t *testing.T) {
	if missing := Missing(binDir()); len(missing) > 0 {
		if required() {
			t.Fatalf("HOPTRAIL_REQUIRE names the lab, and this machine lacks %s", strings.Join(missing, ", "))
		}
		t.Skipf("this machine lacks %s", strings.Join(missing, ", "))
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // ends with the goroutine, and the namespace with it
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			// Four ports are all there are here.
			if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40003"), 0); err != nil {
				return err
			}
			ports, release, err := reservePorts(2)
			if err != nil {
				return err
			}
			for range 2 {
				other, err := net.Listen("tcp4", "127.0.0.1:0")
				if err != nil {
					return err
				}
				defer other.Close()
				if got := other.Addr().(*net.TCPAddr).Port; slices.Contains(ports, got) {
					return fmt.Errorf("port %d was reserved and given away", got)
				}
			}
			if other, err := net.Listen("tcp4", "127.0.0.1:0"); !errors.Is(err, syscall.EADDRINUSE) {
				return fmt.Errorf("one port too many: %v, %v", other, err)
			}
			for _, port := range ports {
				own, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
				if err != nil {
					return fmt.Errorf("who asks for the reserved port: %w", err)
				}
				own.Close()
			}
			return release()
		}()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWhatPassesIsAskedAgain(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{&statusError{409, "exists"}, false},
		{&statusError{500, "no such thing"}, false},
		{&statusError{500, "etcdserver: request timed out"}, true},
		{&statusError{429, "too many requests"}, true},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, false},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, true},
	} {
		if got := passing(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
