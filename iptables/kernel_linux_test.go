package iptables

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The kernel as judge: rules are loaded into the netfilter of a fresh network
// namespace, one real packet is sent, and the kernel's own trace says which rules
// it met and how it left. Needs root and the Debian packages in needed.

var needed = map[string]string{
	"ip": "iproute2", "nft": "nftables", "ipset": "ipset",
	"iptables-nft-restore": "iptables", "iptables-legacy-restore": "iptables", "ip6tables-nft-restore": "iptables", "ip6tables-legacy-restore": "iptables",
}

// needKernel skips a test that the machine cannot run, or fails it where
// HOPTRAIL_REQUIRE says that it must run.
func needKernel(t *testing.T) {
	t.Helper()
	var why []string
	if os.Geteuid() != 0 {
		why = append(why, "not root")
	}
	for prog, pkg := range needed {
		if _, err := exec.LookPath(prog); err != nil {
			why = append(why, prog+" is missing (package "+pkg+")")
		}
	}
	if len(why) == 0 {
		return
	}
	slices.Sort(why)
	msg := "the kernel cannot be asked: " + strings.Join(why, ", ")
	if strings.Contains(os.Getenv("HOPTRAIL_REQUIRE"), "kernel") {
		t.Fatal(msg)
	}
	t.Skip(msg)
}

// judge is a network namespace of the test's own, with interfaces whose other
// ends are in a second namespace.
//
//	outside ── eth0 ─┐
//	pods ───── pod0 ─┤ judge
//	default ── ext0 ─┘
//
// What the kernel did with a packet is known when nothing more comes of it, and
// no time is long enough to wait for nothing. So behind each packet goes a fence:
// one that the first chain of all traces and drops. A device's packets wait in
// the queue of the CPU that sent them, and are taken from it in order, while the
// trace is written as each rule is met. Where one CPU sent both, the fence's own
// trace is therefore the last.
type judge struct {
	t      *testing.T
	calls  chan func()
	trace  int // netlink: nft's trace events
	log    int // netlink: the legacy trace
	inject map[string]int
	mac    map[string][]byte
	host   Host      // addresses and routes, as `ip -j` prints them
	loaded [2]string // ruleset by family, to know where it is
	chains map[string][]uint64
	names  map[int]string // interface names by index
	open   []int
	counts map[string]int // rules of each chain
}

const judgeNames = "eth0 pod0 ext0"

// hang is how long anything may take that the kernel or a program must do; to
// wait longer is to wait for ever.
const hang = 2 * time.Minute

func newJudge(t *testing.T) *judge {
	t.Helper()
	needKernel(t)
	j := &judge{t: t, calls: make(chan func()), inject: map[string]int{}, mac: map[string][]byte{}, names: map[int]string{}}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never given back: the thread ends with its namespace
		ready <- j.setUp()
		for f := range j.calls {
			f()
		}
	}()
	if err := <-ready; err != nil {
		close(j.calls)
		t.Fatalf("setting up the namespaces: %v", err)
	}
	t.Cleanup(func() {
		j.do(func() error {
			unix.Close(j.trace)
			unix.Close(j.log)
			for _, fd := range j.inject {
				unix.Close(fd)
			}
			for _, fd := range j.open {
				unix.Close(fd)
			}
			return nil
		})
		close(j.calls)
	})
	return j
}

// do runs f on the thread that is in the namespace.
func (j *judge) do(f func() error) {
	j.t.Helper()
	done := make(chan error)
	j.calls <- func() { done <- f() }
	if err := <-done; err != nil {
		j.t.Fatal(err)
	}
}

func command(stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

func (j *judge) setUp() error {
	client, err := netns.New()
	if err != nil {
		return err
	}
	defer client.Close()
	own, err := netns.New()
	if err != nil {
		return err
	}
	defer own.Close()
	for _, name := range strings.Fields(judgeNames) {
		v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "p" + name, PeerNamespace: netlink.NsFd(client)}
		if err := netlink.LinkAdd(v); err != nil {
			return fmt.Errorf("veth %s: %w", name, err)
		}
	}
	for _, s := range []struct{ file, value string }{
		{"ipv4/ip_forward", "1"},
		{"ipv6/conf/all/forwarding", "1"},
		{"ipv4/conf/all/rp_filter", "0"},
		{"ipv4/conf/default/rp_filter", "0"},
		{"ipv4/conf/all/accept_local", "1"},
		{"ipv4/conf/all/route_localnet", "1"},
		{"ipv6/conf/all/accept_dad", "0"},
		{"ipv6/conf/default/accept_dad", "0"},
		{"netfilter/nf_log/2", "nfnetlink_log"},
		{"netfilter/nf_log/10", "nfnetlink_log"},
		{"ipv4/conf/lo/rp_filter", "0"},
	} {
		if err := os.WriteFile("/proc/sys/net/"+s.file, []byte(s.value), 0o644); err != nil {
			return err
		}
	}
	batch := "link set lo up\n"
	for _, name := range strings.Fields(judgeNames) {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/rp_filter", []byte("0"), 0o644); err != nil {
			return err
		}
		batch += "link set " + name + " arp off up\n"
	}
	batch += `addr add 192.168.99.2/24 dev eth0
addr add 192.168.99.12/24 dev eth0
addr add 10.10.0.1/16 dev pod0
addr add 172.31.0.1/24 dev ext0
route add default dev ext0
rule add fwmark 0x100000/0x100000 lookup 133
route add local 0.0.0.0/0 dev lo table 133
`
	six := `addr add 2001:db8:99::2/64 dev eth0 nodad
addr add 2001:db8:10::1/64 dev pod0 nodad
addr add 2001:db8:31::1/64 dev ext0 nodad
route add default dev ext0
rule add fwmark 0x100000/0x100000 lookup 133
route add local ::/0 dev lo table 133
`
	for _, b := range []struct{ family, text string }{{"-4", batch}, {"-6", six}} {
		if _, err := command(b.text, "ip", b.family, "-batch", "-"); err != nil {
			return err
		}
	}
	// The bit that no kernel sets, and a flow label from the half that none chooses:
	// an answer to the packet is not taken for the packet.
	for _, f := range []struct{ family, is string }{{"ip", "ip frag-off & 0x8000 != 0"}, {"ip6", "ip6 flowlabel 0x4242"}} {
		script := fmt.Sprintf(`table %[1]s judge {
	chain pre { type filter hook prerouting priority -450; %[2]s meta nftrace set 1; }
	chain out { type filter hook output priority -450; %[2]s meta nftrace set 1; }
	chain in { type filter hook input priority 350; %[2]s counter; }
	chain post { type filter hook postrouting priority 350; %[2]s counter; }
}`, f.family, f.is)
		if _, err := command(script, "nft", "-f", "-"); err != nil {
			return err
		}
	}
	script := fmt.Sprintf("table ip judge { chain fence { type filter hook prerouting priority -460; ip id %d meta nftrace set 1 drop; }; }", fenceID)
	if _, err := command(script, "nft", "-f", "-"); err != nil {
		return err
	}
	if j.trace, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
		return err
	}
	if err := unix.Bind(j.trace, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(j.trace, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, 9); err != nil { // NFNLGRP_NFTRACE
		return err
	}
	_ = unix.SetsockoptInt(j.trace, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	if err := j.openLog(); err != nil {
		return err
	}
	if err := j.readState(); err != nil {
		return err
	}
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		j.mac[l.Attrs().Name] = l.Attrs().HardwareAddr
		j.names[l.Attrs().Index] = l.Attrs().Name
	}
	if err := j.openInject("lo", "lo"); err != nil {
		return err
	}
	if err := netns.Set(client); err != nil {
		return err
	}
	for _, name := range strings.Fields(judgeNames) {
		if err := j.openInject(name, "p"+name); err != nil {
			return err
		}
	}
	return netns.Set(own)
}

// openInject opens a socket whose frames come in by the interface in: they are
// sent by the one called by, in the thread's namespace.
func (j *judge) openInject(in, by string) error {
	l, err := netlink.LinkByName(by)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	j.inject[in] = fd
	return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index})
}

// readState learns addresses and routes as a user would give them.
func (j *judge) readState() error {
	out, err := command("", "ip", "-j", "addr")
	if err != nil {
		return err
	}
	if j.host.Addrs, err = ParseIPAddr("ip-addr.json", []byte(out)); err != nil {
		return err
	}
	j.host.Routes = nil
	for _, family := range []string{"-4", "-6"} {
		if out, err = command("", "ip", "-j", family, "route"); err != nil {
			return err
		}
		r, err := ParseIPRoute("ip-route.json", []byte(out))
		if err != nil {
			return err
		}
		j.host.Routes = append(j.host.Routes, r...)
	}
	return j.settled()
}

// settled waits until every IPv6 address takes packets: the kernel lists an
// address at once and adds its local route later, without duplicate address
// detection too.
func (j *judge) settled() error {
	for end := time.Now().Add(hang); ; time.Sleep(time.Millisecond) {
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("local routes: %w", err)
		}
		local := map[netip.Addr]bool{}
		for _, r := range routes {
			if a, ok := netip.AddrFromSlice(r.Dst.IP); ok {
				local[a] = true
			}
		}
		i := slices.IndexFunc(j.host.Addrs, func(i InterfaceAddr) bool { return i.Prefix.Addr().Is6() && !local[i.Prefix.Addr()] })
		if i < 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%v has no local route", j.host.Addrs[i].Prefix)
		}
	}
}

// attr appends a netlink attribute.
func attr(b []byte, typ uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// openLog binds to NFLOG group 0, where the trace of legacy tables goes when
// nfnetlink_log is the logger of a family.
func (j *judge) openLog() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	j.log = fd
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	send := func(attrs []byte) error {
		msg := make([]byte, 16, 64)
		binary.NativeEndian.PutUint16(msg[4:], 4<<8|1) // NFNL_SUBSYS_ULOG, NFULNL_MSG_CONFIG
		binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
		msg = append(msg, unix.AF_UNSPEC, 0, 0, 0)
		msg = append(msg, attrs...)
		binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
		if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
		answered, answer := false, error(nil)
		err := messages(fd, func() bool { return answered }, func(typ uint16, payload []byte) {
			if typ != unix.NLMSG_ERROR || len(payload) < 4 {
				return
			}
			answered = true
			if e := int32(binary.NativeEndian.Uint32(payload)); e != 0 {
				answer = unix.Errno(-e)
			}
		})
		if err := errors.Join(err, answer); err != nil {
			return fmt.Errorf("nflog: %w", err)
		}
		return nil
	}
	if err := send(attr(nil, 1, []byte{1})); err != nil { // NFULA_CFG_CMD: bind
		return err
	}
	mode := attr(nil, 2, []byte{0, 0, 0, 0, 1, 0}) // NFULA_CFG_MODE: copy metadata
	mode = attr(mode, 5, []byte{0, 0, 0, 1})       // NFULA_CFG_QTHRESH
	return send(mode)
}

// messages hands over netlink messages until done, waiting for them; where done
// is nil, those that are there.
func messages(fd int, done func() bool, each func(typ uint16, payload []byte)) error {
	buf := make([]byte, 1<<16)
	for done == nil || !done() {
		k, _, err := unix.Recvfrom(fd, buf, 0)
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			if done == nil {
				return nil
			}
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(hang.Milliseconds()))
			if err != nil && err != unix.EINTR {
				return fmt.Errorf("poll: %w", err)
			}
			if err == nil && n == 0 {
				return fmt.Errorf("no message for %v", hang)
			}
			continue
		default: // ENOBUFS, too: what is lost may be what matters
			return fmt.Errorf("netlink: %w", err)
		}
		for b := buf[:k]; len(b) >= 16; {
			l := int(binary.NativeEndian.Uint32(b))
			if l < 16 || l > len(b) {
				break
			}
			each(binary.NativeEndian.Uint16(b[4:]), b[16:l])
			b = b[min(len(b), (l+3)&^3):]
		}
	}
	return nil
}

func attrs(b []byte) map[uint16][]byte {
	out := map[uint16][]byte{}
	for len(b) >= 4 {
		l := int(binary.NativeEndian.Uint16(b))
		if l < 4 || l > len(b) {
			break
		}
		out[binary.NativeEndian.Uint16(b[2:])&0x3fff] = b[4:l]
		b = b[min(len(b), (l+3)&^3):]
	}
	return out
}

// seen is what the kernel did with a packet.
type seen struct {
	path    []ref
	met     bool // it came to the first hook
	arrived bool // it came to the end of INPUT or POSTROUTING
	local   bool
	src     netip.AddrPort
	dst     netip.AddrPort
	mark    uint32
	out     string
}

func (s seen) String() string {
	end := "it never left"
	if s.arrived {
		end = fmt.Sprintf("it left %v -> %v mark %#x local %v out %s", s.src, s.dst, s.mark, s.local, s.out)
	}
	return fmt.Sprintf("%v; %s", s.path, end)
}

var tracePrefix = regexp.MustCompile(`^TRACE: (\S+?):(.+):(rule|return|policy):(\d+) ?$`)

// watch gathers the trace of the packet just sent, up to that of the fence.
func (j *judge) watch(backend string, six bool) (seen, error) {
	var s seen
	fenced := false
	cstr := func(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }
	err := messages(j.trace, func() bool { return fenced }, func(typ uint16, payload []byte) {
		if typ != 10<<8|17 || len(payload) < 4 { // NFNL_SUBSYS_NFTABLES, NFT_MSG_TRACE
			return
		}
		a := attrs(payload[4:])
		table, chain := cstr(a[1]), cstr(a[2])
		if len(a[3]) != 8 {
			return // the end of a chain
		}
		kind := uint32(0)
		if t := a[4]; len(t) == 4 {
			kind = binary.BigEndian.Uint32(t)
		}
		if kind != 3 { // NFT_TRACETYPE_RULE
			return
		}
		if table == "judge" {
			switch chain {
			case "fence":
				fenced = true
			case "pre", "out":
				s.met = true
			default:
				s.finish(a, chain == "in", six, j.names)
			}
			return
		}
		if backend != "nft" {
			return
		}
		n := slices.Index(j.chains[table+" "+chain], binary.BigEndian.Uint64(a[3]))
		s.path = append(s.path, ref{table, chain, n + 1})
	})
	if err == nil && backend == "legacy" {
		err = messages(j.log, nil, func(typ uint16, payload []byte) {
			if typ != 4<<8 || len(payload) < 4 {
				return
			}
			m := tracePrefix.FindStringSubmatch(cstr(attrs(payload[4:])[10]))
			if m == nil {
				return
			}
			// The legacy tracer calls an unconditional ACCEPT, DROP or RETURN "policy"
			// or "return", as it does the end of a chain behind the last rule.
			n, _ := strconv.Atoi(m[4])
			if m[3] != "rule" && n > j.counts[m[1]+" "+m[2]] {
				return
			}
			s.path = append(s.path, ref{m[1], m[2], n})
		})
	}
	if err == nil && !s.met {
		err = errors.New("the packet did not come to the first hook")
	}
	return s, err
}

// finish reads how the packet looked at the end of a hook.
func (s *seen) finish(a map[uint16][]byte, local, six bool, names map[int]string) {
	nh, th := a[8], a[9] // NETWORK_HEADER, TRANSPORT_HEADER
	out := ""
	if o := a[12]; len(o) == 4 {
		out = names[int(binary.BigEndian.Uint32(o))]
	}
	if out == "lo" {
		return // it comes in again
	}
	s.arrived, s.local, s.out = true, local, out
	var src, dst netip.Addr
	switch {
	case six && len(nh) >= 40:
		src, _ = netip.AddrFromSlice(nh[8:24])
		dst, _ = netip.AddrFromSlice(nh[24:40])
	case !six && len(nh) >= 20:
		src, _ = netip.AddrFromSlice(nh[12:16])
		dst, _ = netip.AddrFromSlice(nh[16:20])
	}
	var sp, dp uint16
	if len(th) >= 4 {
		sp, dp = binary.BigEndian.Uint16(th), binary.BigEndian.Uint16(th[2:])
	}
	s.src, s.dst = netip.AddrPortFrom(src, sp), netip.AddrPortFrom(dst, dp)
	s.mark = 0
	if m := a[14]; len(m) == 4 {
		s.mark = binary.BigEndian.Uint32(m)
	}
}

// noRules empties every table and resets the policies, which stay otherwise.
const noRules = `*raw
:PREROUTING ACCEPT
:OUTPUT ACCEPT
COMMIT
*mangle
:PREROUTING ACCEPT
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT
:INPUT ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
COMMIT
*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
COMMIT
`

// load puts a ruleset in place; every table it does not name is emptied.
func (j *judge) load(backend string, six bool, text string) error {
	for part := range strings.SplitAfterSeq(noRules, "COMMIT\n") {
		if name, _, _ := strings.Cut(part, "\n"); !strings.Contains(text, name+"\n") {
			text += part
		}
	}
	var failed error
	j.do(func() error {
		prog := "iptables"
		family := "ip"
		if six {
			prog, family = "ip6tables", "ip6"
		}
		for _, b := range []string{"nft", "legacy"} {
			if b != backend && j.loaded[b2i(six)] == b {
				if _, err := command(noRules, prog+"-"+b+"-restore"); err != nil {
					return err
				}
			}
		}
		j.loaded[b2i(six)] = backend
		if _, err := command(text, prog+"-"+backend+"-restore"); err != nil {
			failed = err
			return nil
		}
		if backend == "nft" {
			return j.readHandles(family)
		}
		return nil
	})
	j.counts = map[string]int{}
	if failed == nil {
		rs, err := Parse("loaded", []byte(text))
		if err != nil {
			j.t.Fatal(err)
		}
		for _, t := range rs.tables() {
			for i := range t.chains {
				j.counts[t.name+" "+string(rs.text(t.chains[i].name))] = int(t.chains[i].count)
			}
		}
	}
	return failed
}

// texts quotes the rules of paths.
func texts(rs *Ruleset, paths ...[]ref) string {
	var b strings.Builder
	seen := map[ref]bool{}
	for _, p := range paths {
		for _, r := range p {
			t := rs.table(r.table)
			if seen[r] || t == nil {
				continue
			}
			seen[r] = true
			if c := t.find(rs, r.chain); c != nil && r.rule > 0 && r.rule <= int(c.count) {
				fmt.Fprintf(&b, "  %s %s %d: %s\n", r.table, r.chain, r.rule, rs.body(t, c).rule(r.rule-1).text)
			}
		}
	}
	return b.String()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

var handleLine = regexp.MustCompile(`# handle (\d+)$`)

// readHandles learns which number each rule of a chain has.
func (j *judge) readHandles(family string) error {
	j.chains = map[string][]uint64{}
	for _, t := range []string{"raw", "mangle", "nat", "filter"} {
		out, err := command("", "nft", "-n", "-a", "list", "table", family, t)
		if err != nil {
			if strings.Contains(err.Error(), "No such file") {
				continue
			}
			return err
		}
		chain := ""
		for line := range strings.Lines(out) {
			line = strings.TrimSpace(line)
			m := handleLine.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			if rest, ok := strings.CutPrefix(line, "chain "); ok {
				chain, _, _ = strings.Cut(rest, " {")
				continue
			}
			if strings.HasPrefix(line, "table ") || strings.HasPrefix(line, "type ") {
				continue
			}
			h, _ := strconv.ParseUint(m[1], 10, 64)
			j.chains[t+" "+chain] = append(j.chains[t+" "+chain], h)
		}
	}
	return nil
}

// saved is the ruleset as the backend's own save program prints it.
func (j *judge) saved(backend string, six bool) string {
	var text string
	j.do(func() (err error) {
		prog := "iptables"
		if six {
			prog = "ip6tables"
		}
		text, err = command("", prog+"-"+backend+"-save")
		return err
	})
	return text
}

// send sends one packet and returns what the kernel did with it.
func (j *judge) send(backend string, p Packet, payload int) (seen, error) {
	six := p.Dst.Addr().Is6()
	raw := craft(p, payload)
	var s seen
	var failed error
	j.do(func() error {
		for _, fd := range []int{j.trace, j.log} {
			if err := messages(fd, nil, func(uint16, []byte) {}); err != nil {
				return err
			}
		}
		if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
			return fmt.Errorf("conntrack flush: %w", err)
		}
		letGo, err := stay()
		if err != nil {
			return err
		}
		by := "lo" // where a packet of this machine's own may come in once more
		if p.Hook == Output {
			failed = sendLocal(p, raw)
		} else {
			by = p.In
			failed = j.put(by, six, raw)
		}
		if failed == nil {
			failed = j.put(by, false, fence)
		}
		if err := letGo(); err != nil || failed != nil {
			return err
		}
		s, failed = j.watch(backend, six)
		return nil
	})
	return s, failed
}

// put lets a packet come in by an interface.
func (j *judge) put(in string, six bool, raw []byte) error {
	frame := append(make([]byte, 6, 14+len(raw)), 0x02, 0, 0, 0, 0, 9)
	copy(frame, j.mac[in])
	if six {
		frame = append(frame, 0x86, 0xdd)
	} else {
		frame = append(frame, 0x08, 0x00)
	}
	_, err := unix.Write(j.inject[in], append(frame, raw...))
	return err
}

// stay keeps the thread on the CPU it is on, until it is let go.
func stay() (letGo func() error, err error) {
	var may, here unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return nil, fmt.Errorf("CPUs: %w", err)
	}
	var cpu uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); errno != 0 {
		return nil, fmt.Errorf("CPU: %w", errno)
	}
	here.Set(int(cpu))
	if err := unix.SchedSetaffinity(0, &here); err != nil {
		return nil, fmt.Errorf("staying on CPU %d: %w", cpu, err)
	}
	return func() error { return unix.SchedSetaffinity(0, &may) }, nil
}

// sendLocal sends a whole IP packet as a process with the packet's user and
// group. A packet that the rules drop is refused with EPERM, which is no failure.
func sendLocal(p Packet, raw []byte) error {
	setfs := func(nr uintptr, id *uint32) {
		if id != nil {
			_, _, _ = unix.RawSyscall(nr, uintptr(*id), 0, 0)
		}
	}
	zero := uint32(0)
	domain := unix.AF_INET
	if p.Dst.Addr().Is6() {
		domain = unix.AF_INET6
	}
	setfs(unix.SYS_SETFSGID, p.GID)
	setfs(unix.SYS_SETFSUID, p.UID)
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	setfs(unix.SYS_SETFSUID, &zero)
	setfs(unix.SYS_SETFSGID, &zero)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if p.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark)); err != nil {
			return err
		}
	}
	if domain == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, 36, 1); err != nil { // IPV6_HDRINCL
			return err
		}
		err = unix.Sendto(fd, raw, 0, &unix.SockaddrInet6{Addr: p.Dst.Addr().As16()})
	} else {
		err = unix.Sendto(fd, raw, 0, &unix.SockaddrInet4{Addr: p.Dst.Addr().As4()})
	}
	if err == unix.EPERM || err == unix.ECONNREFUSED || err == unix.EHOSTUNREACH {
		return nil
	}
	return err
}

// fenceID is the IP id of the fence.
const fenceID = 0x4243

// fence is the packet behind a packet. It is not marked as one.
var fence = func() []byte {
	at := netip.MustParseAddrPort("192.0.2.1:9")
	raw := craft(Packet{Proto: UDP, Src: at, Dst: at}, 0)
	binary.BigEndian.PutUint16(raw[4:], fenceID)
	raw[6], raw[10], raw[11] = 0, 0, 0
	binary.BigEndian.PutUint16(raw[10:], checksum(raw[:20], 0))
	return raw
}()

// craft builds the packet, marked for the trace by the reserved flag or the flow
// label.
func craft(p Packet, payload int) []byte {
	src, dst := p.Src.Addr().AsSlice(), p.Dst.Addr().AsSlice()
	var l4 []byte
	pseudo := uint32(0)
	for _, a := range [][]byte{src, dst} {
		for i := 0; i < len(a); i += 2 {
			pseudo += uint32(binary.BigEndian.Uint16(a[i:]))
		}
	}
	ports := func(n int) []byte {
		b := make([]byte, n, n+payload)
		binary.BigEndian.PutUint16(b, p.Src.Port())
		binary.BigEndian.PutUint16(b[2:], p.Dst.Port())
		return b
	}
	sumAt, proto := -1, uint8(p.Proto)
	switch p.Proto {
	case TCP:
		l4 = ports(20)
		l4[12] = 5 << 4
		l4[13] = flagSYN
		if p.TCPFlags != "" {
			l4[13], _ = parseFlags(p.TCPFlags)
		}
		binary.BigEndian.PutUint32(l4[4:], 1000)
		binary.BigEndian.PutUint16(l4[14:], 64240)
		sumAt = 16
	case UDP:
		l4 = ports(8)
		binary.BigEndian.PutUint16(l4[4:], uint16(8+payload))
		sumAt = 6
	case SCTP:
		l4 = ports(12)
		l4 = append(l4, 1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 9) // INIT
	default:
		l4 = []byte{8, p.ICMPCode, 0, 0, 0x12, byte(p.Src.Port()), 0, 1}
		if p.Proto == ICMPv6 {
			l4[0] = 128
		}
		if p.ICMPType != nil {
			l4[0] = *p.ICMPType
		}
		sumAt = 2
	}
	if p.Proto != SCTP {
		l4 = append(l4, make([]byte, payload)...)
	} else {
		binary.LittleEndian.PutUint32(l4[8:], crc32.Checksum(l4, crc32.MakeTable(crc32.Castagnoli)))
	}
	if sumAt >= 0 {
		sum := uint32(0)
		if p.Proto != ICMP {
			sum = pseudo + uint32(proto) + uint32(len(l4))
		}
		binary.BigEndian.PutUint16(l4[sumAt:], checksum(l4, sum))
	}
	ttl := p.TTL
	if ttl == 0 {
		ttl = 64
	}
	if p.Dst.Addr().Is6() {
		h := make([]byte, 8, 40+len(l4))
		binary.BigEndian.PutUint32(h, 6<<28|0x4242)
		binary.BigEndian.PutUint16(h[4:], uint16(len(l4)))
		h[6], h[7] = proto, byte(ttl)
		return slices.Concat(h, src, dst, l4)
	}
	h := make([]byte, 12, 20+len(l4))
	h[0], h[8], h[9] = 0x45, byte(ttl), proto
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(l4)))
	binary.BigEndian.PutUint16(h[4:], 0x4242)
	h[6] = 0x80
	h = slices.Concat(h, src, dst)
	binary.BigEndian.PutUint16(h[10:], checksum(h, 0))
	return append(h, l4...)
}

func checksum(b []byte, sum uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// listen opens the sockets that TPROXY hands packets to.
func (j *judge) listen(port int) {
	j.do(func() error {
		for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			for _, domain := range []int{unix.AF_INET, unix.AF_INET6} {
				fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					return err
				}
				var addr unix.Sockaddr = &unix.SockaddrInet4{Port: port}
				level, opt := unix.SOL_IP, unix.IP_TRANSPARENT
				if domain == unix.AF_INET6 {
					addr, level, opt = &unix.SockaddrInet6{Port: port}, unix.SOL_IPV6, unix.IPV6_TRANSPARENT
					if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
						return err
					}
				}
				if err := unix.SetsockoptInt(fd, level, opt, 1); err != nil {
					return err
				}
				if err := unix.Bind(fd, addr); err != nil {
					return err
				}
				if typ == unix.SOCK_STREAM {
					if err := unix.Listen(fd, 16); err != nil {
						return err
					}
				}
				j.open = append(j.open, fd)
			}
		}
		return nil
	})
}

// agree says what the kernel and the evaluator disagree about, or "". decided is
// false where the evaluator leaves open what the kernel did.
func agree(s seen, r Result, p Packet) (complaint string, decided bool) {
	for _, o := range r.Outcomes {
		if !slices.Equal(refs(o.Path), s.path) {
			continue
		}
		if o.Verdict == Undetermined {
			return "", false
		}
		switch {
		case s.arrived != (o.Verdict == Accept):
			return fmt.Sprintf("verdict %v: %s", o.Verdict, o.Reason), true
		case !s.arrived:
			return "", true
		case s.local != o.Local:
			return fmt.Sprintf("delivered locally: %v", o.Local), true
		}
		dst, src := s.dst, s.src
		if p.Proto == ICMP || p.Proto == ICMPv6 {
			dst, src = netip.AddrPortFrom(dst.Addr(), o.Dst.Port()), netip.AddrPortFrom(src.Addr(), o.Src.Port())
		}
		if o.Dst != dst {
			// Another port of a range is another outcome of the same path.
			continue
		}
		switch {
		case uint32(o.Mark) != s.mark:
			return fmt.Sprintf("mark %v", o.Mark), true
		case !o.Masquerade && o.SNAT == nil && o.Src != src:
			return fmt.Sprintf("source %v", o.Src), true
		case o.SNAT != nil && o.SNAT.Addr() != src.Addr():
			return fmt.Sprintf("SNAT to %v", o.SNAT), true
		case o.Masquerade && o.SNAT == nil && !o.Local:
			return "masqueraded to an address that is not known", true
		case !o.Local && o.Out != s.out && s.out != "":
			return fmt.Sprintf("leaves by %q", o.Out), true
		}
		return "", true
	}
	for _, o := range r.Outcomes {
		if o.Verdict == Undetermined {
			return "", false
		}
	}
	return "no outcome has the kernel's path and destination", true
}
