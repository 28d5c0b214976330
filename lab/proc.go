package lab

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// starter starts child processes from one thread that lives as long as the lab:
// the kernel sends a child its parent-death signal when the thread that made it
// ends, not when the process does.
type starter struct {
	work chan func()
	once sync.Once
}

func newStarter() *starter {
	s := &starter{work: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range s.work {
			f()
		}
	}()
	return s
}

func (s *starter) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	done := make(chan error, 1)
	s.work <- func() { done <- cmd.Start() }
	return <-done
}

func (s *starter) close() { s.once.Do(func() { close(s.work) }) }

// process is one program of the lab, its output in a file.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error
}

// spawn starts a program with its output in NAME.log.
func (l *Lab) spawn(name string, env []string, argv ...string) (*process, error) {
	logFile := filepath.Join(l.dir, name+".log")
	f, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.Dir = l.dir
	if env != nil {
		cmd.Env = env
	}
	p := &process{name: name, cmd: cmd, log: logFile, done: make(chan struct{})}
	if err := l.starter.start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	l.mu.Lock()
	l.procs = append(l.procs, p)
	l.mu.Unlock()
	return p, nil
}

// stop ends the process and what it started, gently first.
func (p *process) stop() {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		select {
		case <-p.done:
			return
		default:
		}
		// The group: kwok runs the programs of its containers.
		syscall.Kill(-p.cmd.Process.Pid, sig)
		select {
		case <-p.done:
		case <-time.After(2 * time.Second):
		}
	}
	<-p.done
}

// tail is the end of the process's log, for an error message.
func (p *process) tail() string {
	data, _ := os.ReadFile(p.log)
	data = bytes.TrimSpace(data)
	if len(data) > 1500 {
		data = data[len(data)-1500:]
	}
	return string(data)
}

// patience is how long the lab waits for anything of its own. It only ends what
// would hang for ever: a program that fails is seen to end, and a machine may be
// as slow as it likes.
const patience = 5 * time.Minute

// waitFor calls ready until it returns true, the process ends or patience does.
func (p *process) waitFor(ctx context.Context, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !ready() {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %v\n%s", p.name, p.err, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready: %w\n%s", p.name, ctx.Err(), p.tail())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// run runs a program to its end.
func run(ctx context.Context, argv ...string) error {
	return runInput(ctx, nil, argv...)
}

func runInput(ctx context.Context, stdin []byte, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// reservePorts returns n ports of 127.0.0.1 that nobody has and nobody is given
// until release: each has a socket bound to it that never listens. The kernel
// keeps the port from whoever asks for any, and gives it to a program that asks
// for this one and sets SO_REUSEADDR, as every listener of Go's does (socket(7)).
func reservePorts(n int) (ports []int, release func() error, err error) {
	var fds []int
	release = func() error {
		var errs []error
		for _, fd := range fds {
			errs = append(errs, unix.Close(fd))
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			release()
			err = fmt.Errorf("reserve a port: %w", err)
		}
	}()
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, nil, err
		}
		fds = append(fds, fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return nil, nil, err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return nil, nil, err
		}
		addr, err := unix.Getsockname(fd)
		if err != nil {
			return nil, nil, err
		}
		ports = append(ports, addr.(*unix.SockaddrInet4).Port)
	}
	return ports, release, nil
}

// ports are reserved until the lab is closed.
func (l *Lab) ports(n int) ([]int, error) {
	ports, release, err := reservePorts(n)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.closers = append(l.closers, closerFunc(release))
	l.mu.Unlock()
	return ports, nil
}

// programs are the running programs of the lab that keeps its files in dir.
func programs(dir string) (running []string) {
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return nil // the pattern is a good one
	}
	for _, link := range links {
		if cwd, err := os.Readlink(link); err != nil || cwd != dir {
			continue
		}
		exe, err := os.Readlink(filepath.Join(filepath.Dir(link), "exe"))
		if name := filepath.Base(exe); err == nil && slices.Contains(components, name) {
			running = append(running, name+" (pid "+filepath.Base(filepath.Dir(link))+")")
		}
	}
	return running
}

// writeKeys makes the key of the service accounts and a certificate for kwok.
func (l *Lab) writeKeys() error {
	sa, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	pub, err := x509.MarshalPKIXPublicKey(&sa.PublicKey)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kwok"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	var errs []error
	for name, block := range map[string]*pem.Block{
		"sa.key":   {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(sa)},
		"sa.pub":   {Type: "PUBLIC KEY", Bytes: pub},
		"kwok.crt": {Type: "CERTIFICATE", Bytes: cert},
		"kwok.key": {Type: "EC PRIVATE KEY", Bytes: der},
	} {
		errs = append(errs, os.WriteFile(filepath.Join(l.dir, name), pem.EncodeToMemory(block), 0o600))
	}
	return errors.Join(errs...)
}
