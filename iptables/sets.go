package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Sets is the content of `ipset save`.
type Sets struct {
	sets map[string]*ipset
}

type ipset struct {
	name    string
	kind    string   // hash:ip,port
	parts   []string // ip, net, port, mac, iface, mark, set
	six     bool
	any     bool // a type without family
	byNet   map[netip.Prefix][]element
	lengths []int // of the prefixes in byNet, longest first
	rest    []element
	members []string // of list:set
	unclear string   // why its members are not evaluated
}

// element is one member: its parts beyond the first address, in order.
type element struct {
	nets    []netip.Prefix
	port    portRange
	proto   uint8
	iface   *ifName
	mark    uint32
	nomatch bool
}

const (
	maxSets     = 100_000
	maxElements = 5_000_000
)

// ParseIPSet reads the text of `ipset save`. The error is a [*ParseError] for a
// text that is none. A member that is not understood makes its set unknown.
func ParseIPSet(name string, data []byte) (*Sets, error) {
	s := &Sets{sets: map[string]*ipset{}}
	n, elements := 0, 0
	for line := range strings.Lines(string(data)) {
		n++
		w := strings.Fields(line)
		if len(w) == 0 || strings.HasPrefix(w[0], "#") {
			continue
		}
		switch {
		case w[0] == "create" && len(w) >= 3:
			if len(s.sets) >= maxSets {
				return nil, &ParseError{File: name, Line: n, Msg: fmt.Sprintf("more than %d sets", maxSets)}
			}
			s.sets[w[1]] = newSet(w[1], w[2], w[3:])
		case w[0] == "add" && len(w) >= 3:
			set := s.sets[w[1]]
			if set == nil {
				return nil, &ParseError{File: name, Line: n, Msg: "adds to set " + strconv.Quote(w[1]) + ", which is not created before"}
			}
			if elements++; elements > maxElements {
				return nil, &ParseError{File: name, Line: n, Msg: fmt.Sprintf("more than %d members", maxElements)}
			}
			if !set.add(w[2], w[3:]) && set.unclear == "" {
				set.unclear = "its member " + quoteShort(w[2]) + " is not understood"
			}
		default:
			return nil, &ParseError{File: name, Line: n, Msg: "is not a line of ipset save: " + quoteShort(strings.TrimSpace(line))}
		}
	}
	for _, set := range s.sets {
		slices.SortFunc(set.lengths, func(a, b int) int { return b - a })
	}
	return s, nil
}

func newSet(name, kind string, opts []string) *ipset {
	s := &ipset{name: name, kind: kind, byNet: map[netip.Prefix][]element{}}
	_, parts, _ := strings.Cut(kind, ":")
	s.parts = strings.Split(parts, ",")
	for _, p := range s.parts {
		switch p {
		case "ip", "net", "port", "iface", "mark", "set":
		default:
			s.unclear = "sets of type " + kind + " are not evaluated"
		}
	}
	s.any = kind == "bitmap:port" || kind == "list:set"
	for i, o := range opts {
		if o == "family" && i+1 < len(opts) {
			s.six = opts[i+1] == "inet6"
		}
		if o == "markmask" || o == "netmask" || o == "bitmask" {
			s.unclear = "sets with " + o + " are not evaluated"
		}
	}
	return s
}

func (s *ipset) add(text string, opts []string) bool {
	if s.kind == "list:set" {
		s.members = append(s.members, text)
		return true
	}
	var e element
	e.nomatch = slices.Contains(opts, "nomatch")
	fields := strings.Split(text, ",")
	if len(fields) != len(s.parts) {
		return false
	}
	ranges := [][]netip.Prefix{}
	for i, p := range s.parts {
		v := fields[i]
		switch p {
		case "ip", "net":
			nets, ok := prefixes(v)
			if !ok {
				return false
			}
			ranges = append(ranges, nets)
		case "port":
			e.proto = 6
			if s.kind == "bitmap:port" {
				e.proto = 0
			}
			if proto, port, ok := strings.Cut(v, ":"); ok {
				n, known := protoNumber(proto)
				if !known {
					return false
				}
				e.proto, v = n, port
			}
			names := icmpTypes
			if e.proto == 58 {
				names = icmp6Types
			}
			if tc, ok := names[v]; ok && (e.proto == 1 || e.proto == 58) {
				v = strconv.Itoa(tc[0]<<8 | max(tc[1], 0))
			} else if t, c, ok := strings.Cut(v, "/"); ok { // icmp type/code
				a, ok1 := number(t, 8)
				b, ok2 := number(c, 8)
				if !ok1 || !ok2 {
					return false
				}
				v = strconv.Itoa(int(a<<8 | b))
			}
			r, ok := parseRange(v, "-", 65535, true)
			if !ok {
				return false
			}
			e.port = r
		case "iface":
			v = strings.TrimPrefix(v, "physdev:")
			if v != fields[i] {
				return false
			}
			n := &ifName{name: v}
			if slices.Contains(opts, "wildcard") {
				n.wild = true
			}
			e.iface = n
		case "mark":
			m, ok := number(v, 32)
			if !ok {
				return false
			}
			e.mark = uint32(m)
		default:
			return false
		}
	}
	// Every combination of the ranges' prefixes is a member.
	combos := [][]netip.Prefix{nil}
	for _, r := range ranges {
		var next [][]netip.Prefix
		for _, c := range combos {
			for _, p := range r {
				next = append(next, append(slices.Clone(c), p))
			}
		}
		if combos = next; len(combos) > 4096 {
			return false
		}
	}
	for _, c := range combos {
		e := e
		if len(c) == 0 {
			s.rest = append(s.rest, e)
			continue
		}
		e.nets = c[1:]
		if _, ok := s.byNet[c[0]]; !ok && !slices.Contains(s.lengths, c[0].Bits()) {
			s.lengths = append(s.lengths, c[0].Bits())
		}
		s.byNet[c[0]] = append(s.byNet[c[0]], e)
	}
	return true
}

// prefixes turns ADDRESS, ADDRESS/BITS or ADDRESS-ADDRESS into prefixes.
func prefixes(v string) ([]netip.Prefix, bool) {
	if lo, hi, ok := strings.Cut(v, "-"); ok {
		r, ok := parseAddrRange(lo + "-" + hi)
		if !ok {
			return nil, false
		}
		var out []netip.Prefix
		for a := r.lo; ; {
			bits := a.BitLen()
			for bits > 0 {
				p := netip.PrefixFrom(a, bits-1)
				if p.Masked().Addr() != a || r.hi.Less(lastAddr(p)) {
					break
				}
				bits--
			}
			p := netip.PrefixFrom(a, bits)
			out = append(out, p)
			last := lastAddr(p)
			if !last.Less(r.hi) || len(out) > 256 {
				return out, !last.Less(r.hi)
			}
			a = last.Next()
		}
	}
	if p, err := netip.ParsePrefix(v); err == nil {
		return []netip.Prefix{p.Masked()}, true
	}
	a, err := netip.ParseAddr(v)
	if err != nil {
		return nil, false
	}
	return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, true
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// test answers -m set: whether the packet's parts named by dirs are a member.
func (s *Sets) test(w *walk, f *flow, name string, dirs []string) answer {
	key := "set " + name + " " + strings.Join(dirs, ",") + " " + f.src.String() + " " + f.dst.String()
	if s == nil {
		return w.unsure(f, key, "the members of set "+strconv.Quote(name)+" are not in a save (ipset save, --ipset)")
	}
	return s.member(w, f, key, name, dirs, 0)
}

func (s *Sets) member(w *walk, f *flow, key, name string, dirs []string, depth int) answer {
	set := s.sets[name]
	if set == nil {
		return w.unsure(f, key, "set "+strconv.Quote(name)+" is not in the ipset save given")
	}
	if set.kind == "list:set" {
		if depth > 1 {
			return no // a list cannot hold lists
		}
		out := no
		for _, m := range set.members {
			switch s.member(w, f, key, m, dirs, depth+1) {
			case yes:
				return yes
			case unknown:
				out = unknown
			}
		}
		return out
	}
	if !set.any && set.six != f.dst.Is6() || len(dirs) < len(set.parts) {
		return no
	}
	if set.unclear != "" {
		return w.unsure(f, key, "set "+strconv.Quote(name)+": "+set.unclear)
	}
	addr := func(i int) netip.Addr {
		if dirs[i] == "src" {
			return f.src
		}
		return f.dst
	}
	first := slices.IndexFunc(set.parts, func(p string) bool { return p == "ip" || p == "net" })
	if first < 0 {
		for i := range set.rest {
			if a := set.rest[i].rest(w, f, set, dirs, 0); a != no {
				return w.negated(a, set.rest[i].nomatch)
			}
		}
		return no
	}
	a := addr(first)
	for _, bits := range set.lengths {
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		for i := range set.byNet[p] {
			e := &set.byNet[p][i]
			if got := e.rest(w, f, set, dirs, first+1); got != no {
				if got == yes && e.nomatch {
					return no
				}
				return got
			}
		}
	}
	return no
}

// rest compares the parts of an element from part on.
func (e *element) rest(w *walk, f *flow, set *ipset, dirs []string, from int) answer {
	net := 0
	out := yes
	for i := from; i < len(set.parts); i++ {
		src := dirs[i] == "src"
		switch set.parts[i] {
		case "ip", "net":
			a := f.dst
			if src {
				a = f.src
			}
			if !e.nets[net].Contains(a) {
				return no
			}
			net++
		case "port":
			if e.proto != 0 && e.proto != f.proto {
				return no
			}
			if set.kind == "bitmap:port" && f.proto != 6 && f.proto != 17 {
				return no // ip_set_get_ip_port knows those two
			}
			switch f.proto {
			case 1, 58:
				if !e.port.has(uint32(f.icmpType)<<8 | uint32(f.icmpCode)) {
					return no
				}
			case 6, 17, 132, 136:
				if !src {
					if !e.port.has(uint32(f.dport)) {
						return no
					}
					continue
				}
				out = w.and(out, w.sport(f, func(p uint16) bool { return e.port.has(uint32(p)) }, "set "+set.name+" "+e.port.text("-"), false))
				if out == no {
					return no
				}
			default:
				return no
			}
		case "iface":
			dev := f.out
			if src {
				dev = f.in
			}
			if a := w.device(f, e.iface, dev, !src); a != yes {
				out = w.and(out, a)
			}
			if out == no {
				return no
			}
		case "mark":
			if f.mark != e.mark {
				return no
			}
		}
	}
	return out
}

// Has says whether the save holds a set of that name.
func (s *Sets) Has(name string) bool {
	return s != nil && s.sets[name] != nil
}
