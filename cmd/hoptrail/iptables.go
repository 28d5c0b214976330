package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hoptrail/hoptrail/internal/sanitize"
	"github.com/hoptrail/hoptrail/iptables"
	"github.com/hoptrail/hoptrail/iptables/live"
)

func newIptablesCmd(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "iptables",
		Short: "Evaluate packets against iptables-save files",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	cmd.AddCommand(newIptablesEvalCmd(s))
	return cmd
}

// packetFlags is one packet as the command line gives it.
type packetFlags struct {
	src, dst, proto, in, out, hook, state, flags string
	mark, ctmark                                 string
	sport, dport                                 uint16
	uid, gid                                     int64
	icmpType, icmpCode                           int
	ttl, length                                  int
}

// evalOptions is what `iptables eval` was asked.
type evalOptions struct {
	packet packetFlags

	rules, legacy, ipset, addr, route, conntrack, nft, ipvs string
	packets, netns, output                                  string
	local, recent                                           []string
	live                                                    bool
}

func newIptablesEvalCmd(s *streams) *cobra.Command {
	o := &evalOptions{}
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "Walk one packet through a ruleset, rule by rule",
		Long: `eval walks one packet through the rules of iptables-save or ip6tables-save as
the kernel does, and prints every rule it matches and what becomes of it. Where
the rules leave a choice, every way is printed with its probability. What a save
does not hold (sets, connections, addresses, routes) can be given; without it the
answer says what was assumed, or that it is undetermined and by which rule.
docs/evaluate.md describes the JSON, in and out.

Exit status: 0 accepted, 1 dropped or rejected on some way, 2 bad input,
3 undetermined on some way.`,
		Example: `  # a client outside asks for a NodePort
  hoptrail iptables eval --rules iptables-save.txt --ip-addr ip-addr.json \
    --src 192.168.170.1:40000 --dst 192.168.170.137:31373 --in-interface eth0

  # a process of the node asks for a Service
  hoptrail iptables eval --rules iptables-save.txt --hook OUTPUT --uid 0 \
    --src 192.168.170.137 --dst 10.96.0.1:443 -o json

  # many packets, one JSON object a line
  hoptrail iptables eval --rules iptables-save.txt --packets packets.jsonl

  # the rules of this machine, in the network namespace of a process
  sudo hoptrail iptables eval --live --netns 4711 --src 10.10.1.4 --dst 10.96.0.1:443 --hook OUTPUT`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runIptablesEval(cmd, s, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.rules, "rules", "", "iptables-save or ip6tables-save `FILE`, gzip or not (- for stdin)")
	f.StringVar(&o.legacy, "legacy-rules", "", "iptables-legacy-save `FILE`, where both backends hold rules")
	f.StringVar(&o.ipset, "ipset", "", "ipset save `FILE`")
	f.StringVar(&o.addr, "ip-addr", "", "`FILE` of ip -j addr")
	f.StringVar(&o.route, "ip-route", "", "`FILE` of ip -j route")
	f.StringVar(&o.conntrack, "conntrack", "", "`FILE` of conntrack -L")
	f.StringVar(&o.nft, "nft-ruleset", "", "`FILE` of nft -j list ruleset, to recognise kube-proxy's nftables mode")
	f.StringVar(&o.ipvs, "ipvsadm", "", "`FILE` of ipvsadm-save -n, to recognise kube-proxy's ipvs mode")
	f.StringArrayVar(&o.local, "local-address", nil, "`IP` that belongs to this node or Pod (repeatable)")
	f.StringArrayVar(&o.recent, "recent", nil, "`NAME=IP,IP` of a list of the recent match (repeatable)")
	f.StringVar(&o.packets, "packets", "", "`FILE` of packets, one JSON object a line (- for stdin); prints one JSON object a line")
	f.BoolVar(&o.live, "live", false, "read the rules of this machine")
	f.StringVar(&o.netns, "netns", "", "with --live, the network namespace: `NAME|PID|PATH`")
	f.StringVarP(&o.output, "output", "o", "text", "`text|json`")

	p := &o.packet
	f.StringVar(&p.src, "src", "", "source `IP[:PORT]`")
	f.StringVar(&p.dst, "dst", "", "destination `IP:PORT`")
	f.Uint16Var(&p.sport, "sport", 0, "source `PORT`")
	f.Uint16Var(&p.dport, "dport", 0, "destination `PORT`")
	f.StringVar(&p.proto, "proto", "tcp", "`tcp|udp|sctp|icmp`")
	f.StringVarP(&p.in, "in-interface", "i", "", "`INTERFACE` the packet arrives on")
	f.StringVar(&p.out, "out-interface", "", "`INTERFACE` the packet would leave by; without, from the routes")
	f.StringVar(&p.hook, "hook", "PREROUTING", "`PREROUTING|OUTPUT`: it arrives, or a process here sends it")
	f.Int64Var(&p.uid, "uid", -1, "user `ID` of the sending process")
	f.Int64Var(&p.gid, "gid", -1, "group `ID` of the sending process")
	f.StringVar(&p.mark, "mark", "", "packet `MARK` it arrives with")
	f.StringVar(&p.ctmark, "ctmark", "", "connection `MARK`")
	f.StringVar(&p.state, "state", "NEW", "conntrack state: `NEW|ESTABLISHED|RELATED|INVALID|UNTRACKED`")
	f.StringVar(&p.flags, "tcp-flags", "", "TCP `FLAGS` set, such as SYN,ACK; without, SYN where the state is NEW")
	f.IntVar(&p.icmpType, "icmp-type", -1, "ICMP `TYPE`; without, an echo request")
	f.IntVar(&p.icmpCode, "icmp-code", 0, "ICMP `CODE`")
	f.IntVar(&p.ttl, "ttl", 0, "TTL or hop limit, `1-255`")
	f.IntVar(&p.length, "length", 0, "length of the IP packet in `BYTES`")
	return cmd
}

func runIptablesEval(cmd *cobra.Command, s *streams, o *evalOptions) error {
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("--output %s: it is text or json", o.output)
	}
	switch {
	case o.live && o.rules != "":
		return errors.New("--live and --rules exclude each other")
	case !o.live && o.rules == "" && o.legacy == "":
		return errors.New("no rules: give --rules FILE (iptables-save) or --live")
	case o.netns != "" && !o.live:
		return errors.New("--netns needs --live")
	}
	var one iptables.Packet
	if o.packets == "" {
		var err error
		if one, err = o.packet.packet(); err != nil {
			return err
		}
	} else if cmd.Flags().Changed("src") || cmd.Flags().Changed("dst") {
		return errors.New("--packets and --src, --dst exclude each other")
	}
	if o.packets == "" {
		// One packet leaves little garbage; collecting it would take longer than the
		// rest. The limit still holds the heap down on an enormous ruleset.
		debug.SetGCPercent(-1)
		debug.SetMemoryLimit(56 << 20)
	}
	h, err := o.host(cmd, s, one.Dst.Addr())
	if err != nil {
		return err
	}
	if o.packets != "" {
		return o.many(s, h)
	}
	r := h.Evaluate(one)
	out := bufio.NewWriter(s.out)
	if o.output == "json" {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(r); err != nil {
			return err
		}
	} else {
		writeWalk(out, one, r)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return verdictExit(r)
}

// verdictExit is the exit status of a result.
func verdictExit(r iptables.Result) error {
	code := exitReachable
	for _, o := range r.Outcomes {
		switch o.Verdict {
		case iptables.Accept:
		case iptables.Drop, iptables.Reject:
			code = max(code, exitUnreachable)
		default:
			code = exitUndetermined
		}
	}
	if code == exitReachable {
		return nil
	}
	return &exitError{code: code}
}

// packet reads the flags.
func (p *packetFlags) packet() (iptables.Packet, error) {
	k := iptables.Packet{Hook: iptables.Hook(strings.ToUpper(p.hook)), In: p.in, Out: p.out, State: iptables.State(strings.ToUpper(p.state)), TCPFlags: strings.ToUpper(p.flags), TTL: p.ttl, Length: p.length}
	if p.dst == "" {
		return k, errors.New("no --dst IP:PORT")
	}
	if p.src == "" {
		return k, errors.New("no --src IP[:PORT]")
	}
	var err error
	if k.Proto, err = iptables.ParseProto(strings.ToLower(p.proto)); err != nil {
		return k, fmt.Errorf("--proto: %w", err)
	}
	if k.Dst, err = addrPort("--dst", p.dst, p.dport); err != nil {
		return k, err
	}
	if k.Src, err = addrPort("--src", p.src, p.sport); err != nil {
		return k, err
	}
	if k.Src.Addr().Is4() != k.Dst.Addr().Is4() {
		return k, fmt.Errorf("--src %s and --dst %s are not of one address family", p.src, p.dst)
	}
	if k.Proto == iptables.ICMP && k.Dst.Addr().Is6() {
		k.Proto = iptables.ICMPv6
	}
	switch k.Proto {
	case iptables.TCP, iptables.UDP, iptables.SCTP:
		if k.Dst.Port() == 0 {
			return k, fmt.Errorf("--dst %s: a %s packet needs a port (IP:PORT)", p.dst, k.Proto)
		}
	}
	switch k.Hook {
	case iptables.Prerouting, iptables.Output:
	default:
		return k, fmt.Errorf("--hook %s: it is PREROUTING or OUTPUT", p.hook)
	}
	switch k.State {
	case iptables.New, iptables.Established, iptables.Related, iptables.Invalid, iptables.Untracked:
	default:
		return k, fmt.Errorf("--state %s: it is NEW, ESTABLISHED, RELATED, INVALID or UNTRACKED", p.state)
	}
	for _, m := range []struct {
		flag, text string
		into       *uint32
	}{{"--mark", p.mark, &k.Mark}, {"--ctmark", p.ctmark, &k.CTMark}} {
		if m.text == "" {
			continue
		}
		n, err := strconv.ParseUint(m.text, 0, 32)
		if err != nil {
			return k, fmt.Errorf("%s %s: it is a number of 32 bits, such as 0x4000", m.flag, m.text)
		}
		*m.into = uint32(n)
	}
	for _, m := range []struct {
		flag string
		n    int64
		into **uint32
	}{{"--uid", p.uid, &k.UID}, {"--gid", p.gid, &k.GID}} {
		if m.n == -1 {
			continue
		}
		if m.n < 0 || m.n > 1<<32-1 {
			return k, fmt.Errorf("%s %d is not in 0-4294967295", m.flag, m.n)
		}
		n := uint32(m.n)
		*m.into = &n
	}
	if p.icmpType != -1 {
		if p.icmpType < 0 || p.icmpType > 255 || p.icmpCode < 0 || p.icmpCode > 255 {
			return k, errors.New("--icmp-type and --icmp-code are in 0-255")
		}
		t := uint8(p.icmpType)
		k.ICMPType, k.ICMPCode = &t, uint8(p.icmpCode)
	}
	if p.ttl < 0 || p.ttl > 255 || p.length < 0 || p.length > 65535 {
		return k, errors.New("--ttl is in 1-255, --length in 1-65535")
	}
	return k, nil
}

func addrPort(flag, text string, port uint16) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		if port != 0 && ap.Port() != port {
			return ap, fmt.Errorf("%s %s: another port is given beside it", flag, text)
		}
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), nil
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s %s: it is IP:PORT, or [IPv6]:PORT", flag, text)
	}
	return netip.AddrPortFrom(a.Unmap().WithZone(""), port), nil
}

// host reads everything that was given about the namespace. dst tells the family
// of the rules; unset, they serve both.
func (o *evalOptions) host(cmd *cobra.Command, s *streams, dst netip.Addr) (*iptables.Host, error) {
	h := &iptables.Host{}
	if o.live {
		st, err := (&live.Reader{Netns: o.netns}).Read(cmd.Context())
		if err != nil {
			return nil, fmt.Errorf("--live: %w", err)
		}
		if h, err = st.Host(); err != nil {
			return nil, err
		}
	}
	for _, f := range []struct {
		file   string
		v4, v6 **iptables.Ruleset
	}{{o.rules, &h.V4, &h.V6}, {o.legacy, &h.V4Legacy, &h.V6Legacy}} {
		if f.file == "" {
			continue
		}
		data, err := readRules(s, f.file)
		if err != nil {
			return nil, err
		}
		rs, err := iptables.Parse(f.file, data)
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(data)) == 0 {
			return nil, fmt.Errorf("%s is empty: expected the output of iptables-save", f.file)
		}
		family := rs.Family()
		if dst.IsValid() && (family == 6 && dst.Is4() || family == 4 && dst.Is6()) {
			return nil, fmt.Errorf("%s holds IPv%d rules, the packet is not IPv%d", f.file, family, family)
		}
		if family != 6 {
			*f.v4 = rs
		}
		if family != 4 {
			*f.v6 = rs
		}
	}
	if err := readWith(o.ipset, iptables.ParseIPSet, &h.Sets); err != nil {
		return nil, err
	}
	if err := readWith(o.addr, iptables.ParseIPAddr, &h.Addrs); err != nil {
		return nil, err
	}
	if err := readWith(o.route, iptables.ParseIPRoute, &h.Routes); err != nil {
		return nil, err
	}
	if err := readWith(o.conntrack, iptables.ParseConntrack, &h.Conntrack); err != nil {
		return nil, err
	}
	if err := readWith(o.nft, iptables.ParseNFT, &h.NFT); err != nil {
		return nil, err
	}
	if err := readWith(o.ipvs, iptables.ParseIPVS, &h.IPVS); err != nil {
		return nil, err
	}
	for _, text := range o.local {
		for one := range strings.SplitSeq(text, ",") {
			a, err := netip.ParseAddr(strings.TrimSpace(one))
			if err != nil {
				return nil, fmt.Errorf("--local-address %s: it is an IP address", one)
			}
			h.LocalAddresses = append(h.LocalAddresses, a.Unmap().WithZone(""))
		}
	}
	for _, text := range o.recent {
		name, list, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--recent %s: it is NAME=IP,IP", text)
		}
		if h.Recent == nil {
			h.Recent = map[string][]netip.Addr{}
		}
		h.Recent[name] = []netip.Addr{}
		for one := range strings.SplitSeq(list, ",") {
			if one == "" {
				continue
			}
			a, err := netip.ParseAddr(one)
			if err != nil {
				return nil, fmt.Errorf("--recent %s: %s is no IP address", text, one)
			}
			h.Recent[name] = append(h.Recent[name], a)
		}
	}
	return h, nil
}

func readWith[T any](file string, parse func(string, []byte) (T, error), into *T) error {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if data, err = unpacked(file, data); err != nil {
		return err
	}
	v, err := parse(file, data)
	if err != nil {
		return err
	}
	*into = v
	return nil
}

// maxSave bounds a ruleset, unpacked.
const maxSave = 1 << 30

// readRules returns the text of a ruleset, gzip or not. Large files are mapped,
// not copied.
func readRules(s *streams, file string) (data []byte, err error) {
	if file == "-" {
		data, err = io.ReadAll(io.LimitReader(s.stdin(), maxSave))
	} else {
		data, err = mapFile(file)
	}
	if err != nil {
		return nil, err
	}
	return unpacked(file, data)
}

// unpacked is data, or what it holds where it is gzip.
func unpacked(file string, data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	r, err := gunzip(bytes.NewReader(data))
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(r, maxSave+1))
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", file, err)
	case len(data) > maxSave:
		return nil, fmt.Errorf("%s: larger than %d bytes unpacked", file, maxSave)
	}
	return data, nil
}

// packetLine is one line of --packets.
type packetLine struct {
	Src   string  `json:"src"`
	Dst   string  `json:"dst"`
	SPort uint16  `json:"sport"`
	DPort uint16  `json:"dport"`
	Proto string  `json:"proto"`
	In    string  `json:"in_interface"`
	Out   string  `json:"out_interface"`
	Hook  string  `json:"hook"`
	State string  `json:"state"`
	Flags string  `json:"tcp_flags"`
	Mark  any     `json:"mark"`
	CT    any     `json:"ctmark"`
	UID   *uint32 `json:"uid"`
	GID   *uint32 `json:"gid"`
	Type  *uint8  `json:"icmp_type"`
	Code  uint8   `json:"icmp_code"`
	TTL   int     `json:"ttl"`
	Len   int     `json:"length"`
}

// many evaluates a file of packets: one line out for each line in, in order. A
// line that is no packet is answered {"error": ...} and ends in status 2.
func (o *evalOptions) many(s *streams, h *iptables.Host) error {
	var in io.Reader
	if o.packets == "-" {
		in = s.stdin()
	} else {
		f, err := os.Open(o.packets)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	in, err := gunzip(in)
	if err != nil {
		return fmt.Errorf("%s: %w", o.packets, err)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	out := bufio.NewWriter(s.out)
	defer out.Flush()
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	var bad error
	var code exitError
	for n := 1; lines.Scan(); n++ {
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		k, err := o.line(text)
		if err != nil {
			err = fmt.Errorf("%s:%d: %w", o.packets, n, err)
			if bad == nil {
				bad = err
			}
			if err := enc.Encode(map[string]string{"error": err.Error()}); err != nil {
				return err
			}
			continue
		}
		r := h.Evaluate(k)
		if err := enc.Encode(r); err != nil {
			return err
		}
		var exit *exitError
		if err := verdictExit(r); errors.As(err, &exit) {
			code.code = max(code.code, exit.code)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", o.packets, err)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if bad != nil {
		return bad
	}
	if code.code != 0 {
		return &code
	}
	return nil
}

// line reads one packet. What it leaves out is as the flags say.
func (o *evalOptions) line(text []byte) (iptables.Packet, error) {
	p := o.packet
	var l packetLine
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return iptables.Packet{}, fmt.Errorf("is no packet: %w", err)
	}
	set := func(into *string, v string) {
		if v != "" {
			*into = v
		}
	}
	set(&p.src, l.Src)
	set(&p.dst, l.Dst)
	set(&p.proto, l.Proto)
	set(&p.in, l.In)
	set(&p.out, l.Out)
	set(&p.hook, l.Hook)
	set(&p.state, l.State)
	set(&p.flags, l.Flags)
	if l.SPort != 0 {
		p.sport = l.SPort
	}
	if l.DPort != 0 {
		p.dport = l.DPort
	}
	if l.Mark != nil {
		p.mark = fmt.Sprint(l.Mark)
	}
	if l.CT != nil {
		p.ctmark = fmt.Sprint(l.CT)
	}
	if l.UID != nil {
		p.uid = int64(*l.UID)
	}
	if l.GID != nil {
		p.gid = int64(*l.GID)
	}
	if l.Type != nil {
		p.icmpType, p.icmpCode = int(*l.Type), int(l.Code)
	}
	if l.TTL != 0 {
		p.ttl = l.TTL
	}
	if l.Len != 0 {
		p.length = l.Len
	}
	return p.packet()
}

// writeWalk prints the packet walking: hook, table, chain, rule and what it
// changed. Everything that came from a file is made safe for a terminal.
func writeWalk(w io.Writer, p iptables.Packet, r iptables.Result) {
	where := "arrives"
	if p.In != "" {
		where += " on " + p.In
	}
	if p.Hook == iptables.Output {
		where = "is sent by a process here"
		if p.UID != nil {
			where += fmt.Sprintf(", uid %d", *p.UID)
		}
	}
	fmt.Fprintln(w, sanitize.Line(fmt.Sprintf("%s %s -> %s %s", p.Proto, plainAddr(p.Src), plainAddr(p.Dst), where)))
	for i, o := range r.Outcomes {
		fmt.Fprintln(w)
		head := o.Verdict.String()
		if len(r.Outcomes) > 1 {
			head = fmt.Sprintf("way %d of %d, probability %s: %s", i+1, len(r.Outcomes), strconv.FormatFloat(o.Probability, 'g', 4, 64), head)
		}
		if o.Backend != "" {
			head += " (" + o.Backend + ")"
		}
		fmt.Fprintln(w, head)
		writeSteps(w, o.Path)
		for _, u := range o.Unknown {
			fmt.Fprintln(w, sanitize.Line(fmt.Sprintf("  ? %s %s rule %d: %s", u.Table, u.Chain, u.Rule, u.Text)))
			fmt.Fprintln(w, sanitize.Line("      "+u.Action))
		}
		fmt.Fprintln(w, sanitize.Line("  = "+o.Reason))
		if o.Service != "" {
			fmt.Fprintln(w, sanitize.Line("    Service "+o.Service))
		}
	}
	for i, a := range r.Assumptions {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, sanitize.Line("assumed: "+a))
	}
}

func writeSteps(w io.Writer, path []iptables.Step) {
	hook := ""
	for _, s := range path {
		if s.Hook != hook {
			hook = s.Hook
			fmt.Fprintln(w, sanitize.Line("  "+hook))
		}
		fmt.Fprintln(w, sanitize.Line(fmt.Sprintf("    %s %s rule %d: %s", s.Table, s.Chain, s.Rule, s.Text)))
		line := "      " + s.Action
		if s.Changed != "" {
			line += "; " + s.Changed
		}
		if s.Note != "" {
			line += " (" + s.Note + ")"
		}
		fmt.Fprintln(w, sanitize.Line(line))
	}
}

func plainAddr(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}
