package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// addNamespace makes a network namespace; its name tells which lab it is of.
func (l *Lab) addNamespace(ctx context.Context, short string) (string, error) {
	name := l.prefix + short
	if err := run(ctx, "ip", "netns", "add", name); err != nil {
		return "", err
	}
	l.mu.Lock()
	l.namespaces = append(l.namespaces, name)
	l.mu.Unlock()
	return name, run(ctx, "ip", "-n", name, "link", "set", "lo", "up")
}

// batch runs lines of ip(8) in a namespace.
func batch(ctx context.Context, ns string, lines ...string) error {
	cmd := exec.CommandContext(ctx, "ip", "-n", ns, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("in namespace %s: %w: %s", ns, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func sysctl(ctx context.Context, ns string, settings ...string) error {
	return run(ctx, append([]string{"ip", "netns", "exec", ns, "sysctl", "-q", "-w"}, settings...)...)
}

// buildNetwork makes the namespaces and joins them.
func (l *Lab) buildNetwork(ctx context.Context) error {
	lan, err := l.addNamespace(ctx, "lan")
	if err != nil {
		return err
	}
	if err := batch(ctx, lan, "link add br0 type bridge", "link set br0 up"); err != nil {
		return err
	}
	l.client, err = l.addNamespace(ctx, "client")
	if err != nil {
		return err
	}
	lanNet := netip.PrefixFrom(l.nodes[0].addr, 24)
	l.clientAddr = freeAddr(lanNet.Masked(), l.nodes)
	if err := l.plug(ctx, l.client, lan, 0, l.clientAddr); err != nil {
		return err
	}
	for i, n := range l.nodes {
		if n.ns, err = l.addNamespace(ctx, "n"+strconv.Itoa(i)); err != nil {
			return err
		}
		if !lanNet.Contains(n.addr) {
			return fmt.Errorf("node %s: %s is not in %s; the lab puts all nodes on one network", n.name, n.addr, lanNet.Masked())
		}
		if err := l.plug(ctx, n.ns, lan, i+1, n.addr); err != nil {
			return err
		}
		gateway := n.podCIDR.Masked().Addr().Next()
		if err := batch(ctx, n.ns,
			"link add cni0 type bridge", "link set cni0 up",
			fmt.Sprintf("addr add %s/%d dev cni0", gateway, n.podCIDR.Bits()),
			// As flannel's: a world's nodes have it, and rules may name it.
			"link add flannel.1 type bridge", "link set flannel.1 up",
			fmt.Sprintf("addr add %s/32 dev flannel.1", n.podCIDR.Masked().Addr()),
			fmt.Sprintf("route add default via %s", l.clientAddr),
		); err != nil {
			return err
		}
		if err := sysctl(ctx, n.ns, "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"); err != nil {
			return err
		}
	}
	for _, n := range l.nodes {
		var routes []string
		for _, other := range l.nodes {
			if other != n {
				routes = append(routes, fmt.Sprintf("route add %s via %s", other.podCIDR.Masked(), other.addr))
			}
		}
		if len(routes) > 0 {
			if err := batch(ctx, n.ns, routes...); err != nil {
				return err
			}
		}
	}
	for i, p := range l.pods {
		n := l.nodeOf(p.node)
		if n == nil || !p.addr.IsValid() {
			continue
		}
		if p.host || p.addr == n.addr {
			p.ns = n.ns
			continue
		}
		if !n.podCIDR.Contains(p.addr) || p.name == "" {
			continue
		}
		if p.ns, err = l.addNamespace(ctx, "p"+strconv.Itoa(i)); err != nil {
			return err
		}
		port := "p" + strconv.Itoa(i)
		if err := batch(ctx, n.ns,
			fmt.Sprintf("link add %s type veth peer name eth0 netns %s", port, p.ns),
			fmt.Sprintf("link set %s master cni0 up", port)); err != nil {
			return err
		}
		if err := batch(ctx, p.ns, "link set eth0 up",
			fmt.Sprintf("addr add %s/%d dev eth0", p.addr, n.podCIDR.Bits()),
			fmt.Sprintf("route add default via %s", n.podCIDR.Masked().Addr().Next())); err != nil {
			return err
		}
		if rules := l.world["pods/"+p.key()+"/iptables-save.txt"]; rules != nil {
			if err := runInput(ctx, rules, "ip", "netns", "exec", p.ns, "iptables-restore"); err != nil {
				return fmt.Errorf("rules of Pod %s: %w", p.key(), err)
			}
		}
	}
	return nil
}

// plug joins a namespace to the nodes' network.
func (l *Lab) plug(ctx context.Context, ns, lan string, i int, addr netip.Addr) error {
	port := "port" + strconv.Itoa(i)
	if err := batch(ctx, lan,
		fmt.Sprintf("link add %s type veth peer name eth0 netns %s", port, ns),
		fmt.Sprintf("link set %s master br0 up", port)); err != nil {
		return err
	}
	return batch(ctx, ns, "link set eth0 up", fmt.Sprintf("addr add %s/24 dev eth0", addr))
}

func freeAddr(prefix netip.Prefix, taken []*node) netip.Addr {
	a := prefix.Addr().Next()
	for slices.ContainsFunc(taken, func(n *node) bool { return n.addr == a }) {
		a = a.Next()
	}
	return a
}

func (l *Lab) nodeOf(name string) *node {
	for _, n := range l.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// inNamespace calls f on a thread that is in the namespace. Sockets that f makes
// stay there.
func inNamespace(ns string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- fmt.Errorf("namespace %s: %w", ns, err)
			return
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("namespace %s: %w", ns, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// listenIn listens within a namespace.
func (l *Lab) listenIn(ns, addr string) (net.Listener, error) {
	var ln net.Listener
	network := "tcp"
	if ap, err := netip.ParseAddrPort(addr); err == nil && ap.Addr().Is4() {
		network = "tcp4" // Go takes 0.0.0.0 for both families otherwise
	}
	err := inNamespace(ns, func() (err error) {
		ln, err = net.Listen(network, addr)
		return err
	})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.closers = append(l.closers, ln)
	l.mu.Unlock()
	return ln, nil
}

// relay gives a namespace a way to an address of this machine: what it sends to
// 127.0.0.1:port arrives at target.
func (l *Lab) relay(ns string, port int, target string) error {
	ln, err := l.listenIn(ns, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go join(c, target)
		}
	}()
	return nil
}

func join(c net.Conn, target string) {
	defer c.Close()
	up, err := net.DialTimeout("tcp", target, patience)
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		io.Copy(up, c)
		up.Close()
	}()
	io.Copy(c, up)
}

// listenPods opens what the world's Pods listen on. Who connects is told which
// Pod it is.
func (l *Lab) listenPods() error {
	for _, p := range l.pods {
		if p.ns == "" || p.host {
			continue
		}
		for _, addr := range listening(string(l.world["pods/"+p.key()+"/ss.txt"])) {
			_, port, _ := net.SplitHostPort(addr)
			if port == strconv.Itoa(adminPort) || p.isDNS() && port == "53" {
				continue // served by the admin API's and the DNS's stand-in
			}
			ln, err := l.listenIn(p.ns, addr)
			if errors.Is(err, unix.EADDRINUSE) {
				continue // a line for each worker of the same socket
			}
			if err != nil {
				return fmt.Errorf("sockets of Pod %s: %w", p.key(), err)
			}
			go greet(ln, "pod "+p.key()+"\n")
		}
	}
	return nil
}

func greet(ln net.Listener, text string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			io.WriteString(c, text)
		}()
	}
}

// listening is what ss -tlnp printed, as addresses to listen on.
func listening(ss string) []string {
	var out []string
	for sc := bufio.NewScanner(strings.NewReader(ss)); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) < 5 || f[0] != "LISTEN" {
			continue
		}
		i := strings.LastIndexByte(f[3], ':')
		if i < 0 {
			continue
		}
		host, port := strings.Trim(f[3][:i], "[]"), f[3][i+1:]
		if host == "*" {
			host = ""
		}
		if addr := net.JoinHostPort(host, port); !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	return out
}

// Outcome is what became of a TCP connection that was really tried.
type Outcome struct {
	Result string // ok, refused, timeout, reset, or the error
	Pod    string // namespace/name of the Pod that answered
}

// Connect tries a TCP connection to addr from "client", "node:NAME" or
// "pod:NAMESPACE/NAME", for as long as ctx lasts: the result is timeout then.
// entered, if not empty, is the node that a packet for an address of the load
// balancer is given to.
func (l *Lab) Connect(ctx context.Context, from, addr, entered string) (Outcome, error) {
	ns, err := l.namespaceOf(from)
	if err != nil {
		return Outcome{}, err
	}
	if entered != "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return Outcome{}, err
		}
		if n := l.nodeOf(entered); n != nil {
			entered = n.addr.String()
		}
		if err := run(ctx, "ip", "-n", ns, "route", "replace", host+"/32", "via", entered); err != nil {
			return Outcome{}, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out Outcome
	err = inNamespace(ns, func() error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			out.Result = outcome(err)
			return nil
		}
		defer c.Close()
		defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })()
		line, err := bufio.NewReader(io.LimitReader(c, 512)).ReadString('\n')
		if err != nil && line == "" {
			out.Result = outcome(err)
			return nil
		}
		out.Result = "ok"
		out.Pod, _ = strings.CutPrefix(strings.TrimSpace(line), "pod ")
		return nil
	})
	return out, err
}

func outcome(err error) string {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return "refused"
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, io.EOF):
		return "reset"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return err.Error()
}

func (l *Lab) namespaceOf(from string) (string, error) {
	kind, name, _ := strings.Cut(from, ":")
	switch kind {
	case "client":
		return l.client, nil
	case "node":
		if n := l.nodeOf(name); n != nil {
			return n.ns, nil
		}
	case "pod":
		for _, p := range l.pods {
			if p.key() == name && p.ns != "" {
				return p.ns, nil
			}
		}
	}
	return "", fmt.Errorf("the lab has no %q", from)
}
