// Package live reads this machine's netfilter state, read only, in any network
// namespace: the rules of both backends and both families, sets, connections,
// addresses and routes, each as the program that owns it prints it.
//
// It knows how to enter a namespace and which program prints what. It must not
// know what the rules mean: that is package iptables, to which it hands the text.
// It changes nothing, not even by accident: a legacy table is listed only where
// the kernel holds it already, because listing it would load it.
package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	goiptables "github.com/coreos/go-iptables/iptables"
	"github.com/vishvananda/netns"

	"github.com/hoptrail/hoptrail/iptables"
)

// maxOutput bounds what is read of one program's output.
const maxOutput = 512 << 20

// Reader reads the state of one network namespace. The zero Reader reads the
// namespace the program runs in.
type Reader struct {
	// Netns names the namespace: a name of `ip netns`, a process id, or a path.
	// Empty is the program's own.
	Netns string
	// Run runs a program and returns its standard output. nil runs it for real.
	Run func(ctx context.Context, name string, args ...string) ([]byte, error)
}

// State is what was read: files as a snapshot names them, and why others were
// not.
type State struct {
	Files   map[string][]byte
	NotRead map[string]error
}

// The files of a [State].
const (
	RulesV4       = "iptables-save.txt"
	RulesV6       = "ip6tables-save.txt"
	RulesLegacyV4 = "iptables-legacy-save.txt"
	RulesLegacyV6 = "ip6tables-legacy-save.txt"
	Sets          = "ipset-save.txt"
	Flows         = "conntrack.txt"
	Addresses     = "ip-addr.json"
	RoutesV4      = "ip-route.json"
	RoutesV6      = "ip-route6.json"
	NFT           = "nft-ruleset.json"
	IPVS          = "ipvsadm-save.txt"
)

// PrivilegeError says which right is missing to read.
type PrivilegeError struct {
	Doing string // what was tried
	Needs string // the capability
	Err   error
}

func (e *PrivilegeError) Error() string {
	return fmt.Sprintf("%s needs %s (run as root): %v", e.Doing, e.Needs, e.Err)
}

func (e *PrivilegeError) Unwrap() error { return e.Err }

// Read reads the namespace. The error says that the rules could not be read at
// all: a [*PrivilegeError] where a right is missing. What else could not be read
// is in NotRead.
func (r *Reader) Read(ctx context.Context) (*State, error) {
	s := &State{Files: map[string][]byte{}, NotRead: map[string]error{}}
	err := r.inside(func() error { return r.read(ctx, s) })
	if err != nil {
		return nil, err
	}
	return s, nil
}

// inside calls f on a thread that is in the namespace. Programs started there
// start in it. The thread is given back only if it could return to its own
// namespace; otherwise it ends with its goroutine.
func (r *Reader) inside(f func() error) error {
	if r.Netns == "" {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- fmt.Errorf("netns: %w", err)
			return // the thread ends, locked
		}
		defer home.Close()
		target, err := open(r.Netns)
		if err != nil {
			runtime.UnlockOSThread() // nothing changed
			done <- err
			return
		}
		defer target.Close()
		if err := netns.Set(target); err != nil {
			runtime.UnlockOSThread()
			done <- privilege("entering network namespace "+r.Netns, "CAP_SYS_ADMIN", err)
			return
		}
		err = f()
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// open finds a namespace by name, process id or path.
func open(name string) (netns.NsHandle, error) {
	var h netns.NsHandle
	var err error
	switch pid, atoi := strconv.Atoi(name); {
	case strings.ContainsRune(name, '/'):
		h, err = netns.GetFromPath(name)
	case atoi == nil:
		h, err = netns.GetFromPid(pid)
	default:
		h, err = netns.GetFromName(name)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return h, fmt.Errorf("network namespace %q: no such name, process or path", name)
	case err != nil:
		return h, privilege("opening network namespace "+name, "CAP_SYS_PTRACE for another user's process, or CAP_SYS_ADMIN", err)
	}
	return h, nil
}

func privilege(doing, needs string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return &PrivilegeError{Doing: doing, Needs: needs, Err: err}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// read runs on a thread inside the namespace.
func (r *Reader) read(ctx context.Context, s *State) error {
	for _, b := range []struct {
		file  string
		proto goiptables.Protocol
		mode  string
		names []string // programs, in the order they are tried
		proc  string   // where the kernel lists the legacy tables it holds
	}{
		{RulesV4, goiptables.ProtocolIPv4, "nft", []string{"iptables-nft", "iptables"}, ""},
		{RulesV6, goiptables.ProtocolIPv6, "nft", []string{"ip6tables-nft", "ip6tables"}, ""},
		{RulesLegacyV4, goiptables.ProtocolIPv4, "legacy", []string{"iptables-legacy", "iptables"}, "ip_tables_names"},
		{RulesLegacyV6, goiptables.ProtocolIPv6, "legacy", []string{"ip6tables-legacy", "ip6tables"}, "ip6_tables_names"},
	} {
		var held []string
		if b.proc != "" {
			// Without this list nothing legacy is loaded, and nothing is run.
			text, err := os.ReadFile("/proc/thread-self/net/" + b.proc)
			held = strings.Fields(string(text))
			if errors.Is(err, fs.ErrPermission) {
				s.NotRead[b.file] = privilege("reading /proc/net/"+b.proc, "CAP_NET_ADMIN", err)
				continue
			}
			if len(held) == 0 {
				continue
			}
		}
		text, err := r.rules(ctx, b.names, b.mode, b.proto, held)
		var pe *PrivilegeError
		switch {
		case errors.As(err, &pe):
			return err
		case err != nil:
			s.NotRead[b.file] = err
		default:
			s.Files[b.file] = text
		}
	}
	if len(s.Files) == 0 {
		errs := []error{errors.New("the rules could not be read")}
		for _, f := range []string{RulesV4, RulesLegacyV4, RulesV6, RulesLegacyV6} {
			if err := s.NotRead[f]; err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", f, err))
				break
			}
		}
		return errors.Join(errs...)
	}
	for _, o := range []struct {
		file string
		cmd  []string
	}{
		{Sets, []string{"ipset", "save"}},
		{Flows, []string{"conntrack", "-L"}},
		{Addresses, []string{"ip", "-j", "addr"}},
		{RoutesV4, []string{"ip", "-j", "-4", "route"}},
		{RoutesV6, []string{"ip", "-j", "-6", "route"}},
		{IPVS, []string{"ipvsadm-save", "-n"}},
	} {
		text, err := r.run(ctx, o.cmd[0], o.cmd[1:]...)
		if err != nil {
			s.NotRead[o.file] = err
			continue
		}
		s.Files[o.file] = text
	}
	r.kubeProxyTables(ctx, s)
	return nil
}

// kubeProxyTables reads the nftables of kube-proxy's own mode, and no others:
// the rules of iptables-nft would come a second time.
func (r *Reader) kubeProxyTables(ctx context.Context, s *State) {
	for _, family := range []string{"ip", "ip6"} {
		text, err := r.run(ctx, "nft", "-j", "list", "table", family, "kube-proxy")
		if err == nil && s.Files[NFT] == nil {
			s.Files[NFT] = text
		}
	}
}

// rules returns the rules of one backend and family in the form of
// iptables-save: from that program, or where it is missing from `iptables -S`.
func (r *Reader) rules(ctx context.Context, names []string, mode string, proto goiptables.Protocol, held []string) ([]byte, error) {
	var last error
	for _, name := range names {
		text, err := r.run(ctx, name+"-save", "-c")
		if err == nil {
			if !ofMode(text, mode) {
				continue
			}
			return text, nil
		}
		var pe *PrivilegeError
		if errors.As(err, &pe) {
			return nil, err
		}
		last = err
		if r.Run != nil || !errors.Is(err, exec.ErrNotFound) {
			continue
		}
		path, err := find(name)
		if err != nil {
			continue
		}
		if text, err := list(path, mode, proto, held); err == nil {
			return text, nil
		} else if last = err; errors.As(err, &pe) {
			return nil, err
		}
	}
	if last == nil {
		last = fmt.Errorf("no %s backend on this machine", mode)
	}
	return nil, last
}

// ofMode says whether a save may be of that backend. Neither writes which it is;
// a plain iptables-save is asked only where the named one is missing.
func ofMode(text []byte, mode string) bool {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if mode == "legacy" {
		return !bytes.Contains(first, []byte("nf_tables"))
	}
	return !bytes.Contains(first, []byte("legacy"))
}

// list gathers a backend's rules chain by chain through go-iptables.
func list(path, mode string, proto goiptables.Protocol, held []string) ([]byte, error) {
	ipt, err := goiptables.New(goiptables.IPFamily(proto), goiptables.Path(path), goiptables.Timeout(5))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	tables := []string{"raw", "mangle", "nat", "filter", "security"}
	if mode == "legacy" {
		tables = slices.DeleteFunc(tables, func(t string) bool { return !slices.Contains(held, t) })
	}
	var out bytes.Buffer
	for _, t := range tables {
		chains, err := ipt.ListChains(t)
		if err != nil {
			if strings.Contains(err.Error(), "Permission denied") {
				return nil, &PrivilegeError{Doing: "reading netfilter rules", Needs: "CAP_NET_ADMIN", Err: err}
			}
			continue // the table is not there
		}
		fmt.Fprintf(&out, "*%s\n", t)
		var rules bytes.Buffer
		for _, c := range chains {
			lines, err := ipt.List(t, c)
			if err != nil {
				return nil, fmt.Errorf("%s -t %s -S %s: %w", path, t, c, err)
			}
			policy := "-"
			for _, l := range lines {
				switch {
				case strings.HasPrefix(l, "-P "):
					policy = l[strings.LastIndexByte(l, ' ')+1:]
				case strings.HasPrefix(l, "-A "):
					rules.WriteString(l + "\n")
				}
			}
			fmt.Fprintf(&out, ":%s %s [0:0]\n", c, policy)
		}
		out.Write(rules.Bytes())
		out.WriteString("COMMIT\n")
	}
	return out.Bytes(), nil
}

// find looks a program up in the path and where such programs live.
func find(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		p := filepath.Join(dir, name)
		if i, err := os.Stat(p); err == nil && !i.IsDir() && i.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

func (r *Reader) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	if r.Run != nil {
		return r.Run(ctx, name, args...)
	}
	path, err := find(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = 2 * time.Second
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, errs := &bounded{left: maxOutput}, &bounded{left: 64 << 10}
	cmd.Stdout, cmd.Stderr = out, errs
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: %w", name, ctx.Err())
	case out.over:
		return nil, fmt.Errorf("%s: printed more than %d bytes", name, maxOutput)
	case err != nil:
		line, _, _ := strings.Cut(strings.TrimSpace(errs.buf.String()), "\n")
		if strings.Contains(line, "ermission denied") || strings.Contains(line, "must be root") || strings.Contains(line, "not permitted") {
			return nil, &PrivilegeError{Doing: "running " + name, Needs: "CAP_NET_ADMIN", Err: errors.New(line)}
		}
		if line != "" {
			return nil, fmt.Errorf("%s: %s: %w", name, line, err)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out.buf.Bytes(), nil
}

// bounded keeps what is written up to a bound.
type bounded struct {
	buf  bytes.Buffer
	left int
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(p) > b.left {
		b.buf.Write(p[:b.left])
		b.left, b.over = 0, true
		return len(p), nil
	}
	b.left -= len(p)
	return b.buf.Write(p)
}

// Host parses what was read. Rules that cannot be parsed are an error; anything
// else that cannot is left out and stands in NotRead.
func (s *State) Host() (*iptables.Host, error) {
	h := &iptables.Host{}
	for _, f := range []struct {
		name string
		into **iptables.Ruleset
	}{{RulesV4, &h.V4}, {RulesV6, &h.V6}, {RulesLegacyV4, &h.V4Legacy}, {RulesLegacyV6, &h.V6Legacy}} {
		text, ok := s.Files[f.name]
		if !ok {
			continue
		}
		rs, err := iptables.Parse(f.name, text)
		if err != nil {
			return nil, fmt.Errorf("live: %w", err)
		}
		*f.into = rs
	}
	optional(s, Sets, &h.Sets, iptables.ParseIPSet)
	optional(s, Flows, &h.Conntrack, iptables.ParseConntrack)
	optional(s, NFT, &h.NFT, iptables.ParseNFT)
	optional(s, IPVS, &h.IPVS, iptables.ParseIPVS)
	optional(s, Addresses, &h.Addrs, iptables.ParseIPAddr)
	optional(s, RoutesV4, &h.Routes, iptables.ParseIPRoute)
	var v6 []iptables.Route
	optional(s, RoutesV6, &v6, iptables.ParseIPRoute)
	h.Routes = append(h.Routes, v6...)
	return h, nil
}

func optional[T any](s *State, file string, into *T, parse func(string, []byte) (T, error)) {
	text, ok := s.Files[file]
	if !ok {
		return
	}
	v, err := parse(file, text)
	if err != nil {
		s.NotRead[file] = err
		return
	}
	*into = v
}
