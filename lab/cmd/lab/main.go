// Command lab runs a real cluster on this machine from a recorded world, to try
// hoptrail on and to test it with. See package lab.
//
//	lab install          build and fetch what is missing
//	lab up WORLD         start; returns when the cluster can be used
//	lab status           say what runs and how to reach it
//	lab down             stop, and remove what is left
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hoptrail/hoptrail/lab"
)

func main() {
	if err := main2(); err != nil {
		fmt.Fprintln(os.Stderr, "lab: "+err.Error())
		os.Exit(1)
	}
}

const usage = `usage: lab [flags] install | up WORLD | status | down

WORLD is a snapshot, a folder or .tar.gz, or the name of one in testdata/worlds.
`

type options struct {
	dir, bin, source, proxyMode string
}

func main2() error {
	var o options
	flag.StringVar(&o.source, "source", "lab", "`folder` of the lab's module")
	flag.StringVar(&o.bin, "bin", "", "`folder` of the programs (default SOURCE/bin)")
	flag.StringVar(&o.dir, "dir", "", "`folder` of this lab's files (default SOURCE/run)")
	flag.StringVar(&o.proxyMode, "proxy-mode", "iptables", "kube-proxy's `mode`: iptables, nftables or ipvs")
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if o.bin == "" {
		o.bin = filepath.Join(o.source, "bin")
	}
	if o.dir == "" {
		o.dir = filepath.Join(o.source, "run")
	}
	for _, p := range []*string{&o.dir, &o.bin, &o.source} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case flag.Arg(0) == "install" && flag.NArg() == 1:
		return lab.Install(ctx, o.source, o.bin, say)
	case flag.Arg(0) == "up" && flag.NArg() == 2:
		return up(ctx, o, flag.Arg(1))
	case flag.Arg(0) == "serve" && flag.NArg() == 2: // what up starts
		return serve(ctx, o, flag.Arg(1))
	case flag.Arg(0) == "status" && flag.NArg() == 1:
		return status(o)
	case flag.Arg(0) == "down" && flag.NArg() == 1:
		return down(o)
	}
	flag.Usage()
	os.Exit(2)
	return nil
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// find takes a world by its path or by its name in testdata.
func find(o options, world string) (string, error) {
	if _, err := os.Stat(world); err == nil {
		return filepath.Abs(world)
	}
	found, _ := filepath.Glob(filepath.Join(filepath.Dir(o.source), "testdata", "worlds", "*", world+".tar.gz"))
	if len(found) == 1 {
		return found[0], nil
	}
	all, _ := filepath.Glob(filepath.Join(filepath.Dir(o.source), "testdata", "worlds", "seed", "*.tar.gz"))
	for i := range all {
		all[i] = strings.TrimSuffix(filepath.Base(all[i]), ".tar.gz")
	}
	slices.Sort(all)
	return "", fmt.Errorf("no world %q; there are %s, and those of testdata/worlds/faults", world, strings.Join(all, ", "))
}

// up starts the lab in a process of its own and waits until it can be used.
func up(ctx context.Context, o options, world string) error {
	world, err := find(o, world)
	if err != nil {
		return err
	}
	if s, err := lab.ReadState(o.dir); err == nil {
		if alive(s.PID) {
			return fmt.Errorf("a lab runs already (pid %d); `lab down` ends it", s.PID)
		}
		say("removing what an earlier lab left")
		if err := lab.Clean(o.dir); err != nil {
			return err
		}
	}
	if missing := lab.Missing(o.bin); len(missing) > 0 {
		if err := lab.Install(ctx, o.source, o.bin, say); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(o.dir), 0o755); err != nil {
		return err
	}
	logName := o.dir + ".log"
	logFile, err := os.Create(logName)
	if err != nil {
		return err
	}
	defer logFile.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "-source", o.source, "-bin", o.bin, "-dir", o.dir, "-proxy-mode", o.proxyMode, "serve", world)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case <-ended:
			text, _ := os.ReadFile(logName)
			return fmt.Errorf("the lab did not start:\n%s", text)
		case <-ctx.Done():
			cmd.Process.Signal(syscall.SIGTERM)
			<-ended
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
		if s, err := lab.ReadState(o.dir); err == nil && s.Ready {
			return status(o)
		}
	}
}

// serve is the lab: it ends with a signal.
func serve(ctx context.Context, o options, world string) error {
	w, err := lab.ReadWorld(world)
	if err != nil {
		return err
	}
	l, err := lab.Start(ctx, lab.Config{World: w, Bin: o.bin, Dir: o.dir, ProxyMode: o.proxyMode, Log: say})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return l.Close()
}

func alive(pid int) bool { return pid > 0 && syscall.Kill(pid, 0) == nil }

func status(o options) error {
	s, err := lab.ReadState(o.dir)
	if errors.Is(err, os.ErrNotExist) {
		fmt.Println("no lab")
		return nil
	}
	if err != nil {
		return err
	}
	if !alive(s.PID) {
		fmt.Printf("a lab left its files in %s; `lab down` removes them\n", o.dir)
		return nil
	}
	if !s.Ready {
		fmt.Printf("a lab is starting (pid %d)\n", s.PID)
		return nil
	}
	fmt.Printf("the lab runs (pid %d). Try:\n\n  export KUBECONFIG=%s\n  kubectl get pods -A -o wide\n", s.PID, s.Kubeconfig)
	fmt.Printf("  hoptrail --resolver %s TARGET\n\n", s.Resolver)
	for _, name := range slices.Sorted(keys(s.Nodes)) {
		fmt.Printf("node %s is network namespace %s: ip netns exec %s iptables-save\n", name, s.Nodes[name], s.Nodes[name])
	}
	fmt.Printf("the outside is %s\n", s.Client)
	return nil
}

func keys(m map[string]string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// down ends the lab and removes what it made.
func down(o options) error {
	s, err := lab.ReadState(o.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if alive(s.PID) {
		syscall.Kill(s.PID, syscall.SIGTERM)
		for range 150 {
			if !alive(s.PID) {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if alive(s.PID) {
			syscall.Kill(s.PID, syscall.SIGKILL)
			time.Sleep(200 * time.Millisecond)
		}
	}
	if _, err := os.Stat(filepath.Join(o.dir, "state.json")); err == nil {
		if err := lab.Clean(o.dir); err != nil {
			return err
		}
	}
	return os.Remove(o.dir + ".log")
}
