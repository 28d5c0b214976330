package iptables

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Conntrack is the connection tracking table of a namespace.
type Conntrack struct {
	Flows  []Flow
	byOrig map[tupleKey]int32
	byRepl map[tupleKey]int32
}

// Flow is one entry: the addresses of the first packet and those expected of the
// answer. Where NAT changed the flow, Reply is not the mirror of Orig.
type Flow struct {
	Proto       Proto
	State       string // ESTABLISHED, SYN_SENT ...; empty where the protocol has none
	Orig, Reply Tuple
	Mark        uint32
	Zone        int
	Unreplied   bool
	Assured     bool
	Text        string
	Line        int
}

// Tuple is one direction of a flow.
type Tuple struct{ Src, Dst netip.AddrPort }

type tupleKey struct {
	proto Proto
	Tuple
}

// maxFlows bounds the entries kept of one conntrack table.
const maxFlows = 2_000_000

// ParseConntrack reads the text of `conntrack -L`, with or without -o extended,
// or of /proc/net/nf_conntrack. Entries of protocols without ports are kept with
// port 0. The error is a [*ParseError] for a line that is no entry.
func ParseConntrack(name string, data []byte) (*Conntrack, error) {
	c := &Conntrack{byOrig: map[tupleKey]int32{}, byRepl: map[tupleKey]int32{}}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		text := strings.TrimSpace(line)
		if text == "" || strings.HasPrefix(text, "#") || strings.HasPrefix(text, "conntrack v") {
			continue
		}
		f, ok := parseFlow(text)
		if !ok {
			return nil, &ParseError{File: name, Line: n, Msg: "is not a line of conntrack -L: " + quoteShort(text)}
		}
		if len(c.Flows) >= maxFlows {
			return nil, &ParseError{File: name, Line: n, Msg: fmt.Sprintf("more than %d entries", maxFlows)}
		}
		f.Line = n
		c.byOrig[tupleKey{f.Proto, f.Orig}] = int32(len(c.Flows))
		c.byRepl[tupleKey{f.Proto, f.Reply}] = int32(len(c.Flows))
		c.Flows = append(c.Flows, f)
	}
	return c, nil
}

func parseFlow(text string) (Flow, bool) {
	f := Flow{Text: text}
	words := strings.Fields(text)
	if len(words) > 2 && (words[0] == "ipv4" || words[0] == "ipv6") {
		words = words[2:]
	}
	if len(words) < 4 {
		return f, false
	}
	num, err := strconv.ParseUint(words[1], 10, 8)
	if err != nil {
		return f, false
	}
	f.Proto = Proto(num)
	var addrs [4]netip.Addr
	var ports [4]uint16
	na, np := 0, 0
	for _, w := range words[2:] {
		k, v, eq := strings.Cut(w, "=")
		if !eq {
			switch {
			case w == "[UNREPLIED]":
				f.Unreplied = true
			case w == "[ASSURED]":
				f.Assured = true
			case na == 0 && !isDigits(w):
				f.State = w
			}
			continue
		}
		switch k {
		case "src", "dst":
			a, err := netip.ParseAddr(v)
			if err != nil || na == 4 {
				return f, false
			}
			addrs[na] = a.Unmap()
			na++
		case "sport", "dport":
			p, err := strconv.ParseUint(v, 10, 16)
			if err != nil || np == 4 {
				return f, false
			}
			ports[np] = uint16(p)
			np++
		case "mark":
			m, _ := strconv.ParseUint(v, 10, 32)
			f.Mark = uint32(m)
		case "zone":
			f.Zone, _ = strconv.Atoi(v)
		}
	}
	f.Orig = Tuple{netip.AddrPortFrom(addrs[0], ports[0]), netip.AddrPortFrom(addrs[1], ports[1])}
	f.Reply = Tuple{netip.AddrPortFrom(addrs[2], ports[2]), netip.AddrPortFrom(addrs[3], ports[3])}
	return f, na == 4
}

// Toward returns the flows that were opened to dst, in the order of the table.
// Those whose Reply.Src is another address were sent there by NAT.
func (c *Conntrack) Toward(proto Proto, dst netip.AddrPort) []Flow {
	var out []Flow
	if c != nil {
		for _, f := range c.Flows {
			if f.Proto == proto && f.Orig.Dst == dst {
				out = append(out, f)
			}
		}
	}
	return out
}

// entry is the flow a packet belongs to and the direction it goes in.
type entry struct {
	Flow
	reply bool
}

// find returns the entry a packet belongs to, or nil. A packet that opens a
// connection does not belong to one that is over.
func (c *Conntrack) find(f *flow) *entry {
	if c == nil || f.sport == 0 && f.proto != 1 && f.proto != 58 {
		return nil
	}
	t := Tuple{netip.AddrPortFrom(f.src, f.sport), netip.AddrPortFrom(f.dst, f.dport)}
	for _, m := range []struct {
		index map[tupleKey]int32
		reply bool
	}{{c.byOrig, false}, {c.byRepl, true}} {
		i, ok := m.index[tupleKey{Proto(f.proto), t}]
		if !ok {
			continue
		}
		e := c.Flows[i]
		if f.proto == 6 && f.flags&(flagSYN|flagACK) == flagSYN {
			switch e.State {
			case "TIME_WAIT", "CLOSE", "LAST_ACK", "CLOSE_WAIT", "FIN_WAIT":
				return nil
			}
		}
		return &entry{e, m.reply}
	}
	return nil
}

// applyEntry lets a packet belong to a flow that is known already: the nat
// chains do not see it, what was decided for the flow's first packet holds.
func (f *flow) applyEntry(w *walk, e *entry) {
	if e == nil {
		return
	}
	f.entry = e
	f.ctmark = e.Mark
	f.reply = e.reply
	if !e.Unreplied || e.reply {
		f.state = Established
	}
	f.dstNAT = e.Orig.Dst != e.Reply.Src
	f.srcNAT = e.Orig.Src != e.Reply.Dst
	f.orig = e.Orig
	w.assume("the packet belongs to a flow that conntrack knows: " + e.Text)
}

// hasEntryNAT says whether a known flow decides about the packet's addresses.
func (f *flow) hasEntryNAT() bool { return f.entry != nil }

// followEntry does at a nat hook what was decided for the flow.
func (f *flow) followEntry() {
	e := f.entry
	from, to := e.Reply.Dst, e.Reply.Src // what a packet of the first direction leaves with
	if e.reply {
		from, to = e.Orig.Dst, e.Orig.Src
	}
	if f.hook == "PREROUTING" || f.hook == "OUTPUT" {
		if f.natDst {
			return
		}
		if cur := netip.AddrPortFrom(f.dst, f.dport); cur != to {
			f.dst, f.dport = to.Addr(), to.Port()
			f.dnatted = !e.reply
			f.rerouted = true
		}
		f.natDst = true
		return
	}
	if f.natSrc {
		return
	}
	if cur := netip.AddrPortFrom(f.src, f.sport); cur != from {
		f.src, f.sport = from.Addr(), from.Port()
		f.snat, f.snatted = from, !e.reply
	}
	f.natSrc = true
}
