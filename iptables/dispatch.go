package iptables

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
)

// dispatchFrom is the number of rules from which a chain gets a [dispatch].
const dispatchFrom = 48

// dispatch finds the rules of a long chain that a packet can match at all: a rule
// that asks for one destination address, or else for one destination port, is
// found by it, any other is in rest. KUBE-SERVICES and KUBE-NODEPORTS of a large
// cluster hold one rule for each Service, of which a packet can match few.
//
// What is read here is read from the text as iptables-save writes it, without
// parsing the rule; where the text looks different the rule goes to rest.
type dispatch struct {
	v4   []key32 // sorted by key, then by rule
	v6   map[netip.Addr][]int32
	port []key32
	rest []int32
}

type key32 struct {
	key  uint32
	rule int32
}

func (rs *Ruleset) dispatchOf(lines []run) *dispatch {
	d := &dispatch{}
	for i, l := range lines {
		text := rs.text(l.span)
		n := int32(i)
		if ip, is6, ok := quickDst(text); ok {
			if !is6 {
				d.v4 = append(d.v4, key32{binary.BigEndian.Uint32(ip[:4]), n})
				continue
			}
			if d.v6 == nil {
				d.v6 = map[netip.Addr][]int32{}
			}
			a := netip.AddrFrom16(ip)
			d.v6[a] = append(d.v6[a], n)
			continue
		}
		if p, ok := quickPort(text); ok {
			d.port = append(d.port, key32{uint32(p), n})
			continue
		}
		d.rest = append(d.rest, n)
	}
	less := func(a, b key32) int {
		if a.key != b.key {
			if a.key < b.key {
				return -1
			}
			return 1
		}
		return int(a.rule - b.rule)
	}
	slices.SortFunc(d.v4, less)
	slices.SortFunc(d.port, less)
	return d
}

// quickDst reads the single destination address of a rule as iptables-save
// writes it: "-A CHAIN [[!] -s X] -d ADDRESS/32 ...".
func quickDst(text []byte) (ip [16]byte, is6, ok bool) {
	if len(text) > 0 && text[0] == '[' {
		i := bytes.IndexByte(text, ']')
		if i < 0 || i+2 > len(text) {
			return ip, false, false
		}
		text = text[i+2:]
	}
	if !bytes.HasPrefix(text, []byte("-A ")) {
		return ip, false, false
	}
	text = text[3:]
	i := bytes.IndexByte(text, ' ')
	if i < 0 {
		return ip, false, false
	}
	text = text[i+1:]
	if src := bytes.TrimPrefix(text, []byte("! ")); bytes.HasPrefix(src, []byte("-s ")) {
		src = src[3:]
		i := bytes.IndexByte(src, ' ')
		if i < 0 {
			return ip, false, false
		}
		text = src[i+1:]
	}
	if !bytes.HasPrefix(text, []byte("-d ")) {
		return ip, false, false
	}
	text = text[3:]
	i = bytes.IndexByte(text, '/')
	if i < 0 || i > 45 {
		return ip, false, false
	}
	bits := text[i+1:]
	if j := bytes.IndexByte(bits, ' '); j >= 0 {
		bits = bits[:j]
	}
	if string(bits) == "32" {
		v, ok := quickV4(text[:i])
		binary.BigEndian.PutUint32(ip[:4], v)
		return ip, false, ok
	}
	if string(bits) == "128" {
		a, err := netip.ParseAddr(string(text[:i]))
		if err != nil || !a.Is6() || a.Zone() != "" {
			return ip, false, false
		}
		return a.As16(), true, true
	}
	return ip, false, false
}

func quickV4(s []byte) (uint32, bool) {
	var v, n uint32
	digits, dots := 0, 0
	for _, c := range s {
		switch {
		case c >= '0' && c <= '9':
			n = n*10 + uint32(c-'0')
			if digits++; digits > 3 || n > 255 {
				return 0, false
			}
		case c == '.' && digits > 0:
			v, n, digits = v<<8|n, 0, 0
			dots++
		default:
			return 0, false
		}
	}
	return v<<8 | n, dots == 3 && digits > 0
}

// quickPort reads the single destination port of a rule. The option must stand
// after every quoted text, so that no comment can look like it.
func quickPort(text []byte) (uint16, bool) {
	const opt = " --dport "
	i := bytes.LastIndex(text, []byte(opt))
	if i < 0 || text[i-1] == '!' || bytes.IndexByte(text[i:], '"') >= 0 || bytes.HasSuffix(text[:i], []byte("--comment")) {
		return 0, false
	}
	num := text[i+len(opt):]
	if j := bytes.IndexByte(num, ' '); j >= 0 {
		num = num[:j]
	}
	if len(num) == 0 || len(num) > 5 || num[0] == '0' {
		return 0, false
	}
	p, err := strconv.ParseUint(string(num), 10, 16)
	return uint16(p), err == nil
}

// from returns the first candidate at or after rule i, or -1.
func (d *dispatch) from(i int32, dst netip.Addr, port uint16, hasPort bool) int32 {
	best := int32(-1)
	take := func(n int32) {
		if best < 0 || n < best {
			best = n
		}
	}
	if k, ok := slices.BinarySearch(d.rest, i); ok || k < len(d.rest) {
		take(d.rest[k])
	}
	keyed := func(list []key32, key uint32) {
		k, _ := slices.BinarySearchFunc(list, key32{key, i}, func(a, b key32) int {
			if a.key != b.key {
				if a.key < b.key {
					return -1
				}
				return 1
			}
			return int(a.rule - b.rule)
		})
		if k < len(list) && list[k].key == key {
			take(list[k].rule)
		}
	}
	if dst.Is4() {
		b := dst.As4()
		keyed(d.v4, binary.BigEndian.Uint32(b[:]))
	} else if list := d.v6[dst]; len(list) > 0 {
		if k, ok := slices.BinarySearch(list, i); ok || k < len(list) {
			take(list[k])
		}
	}
	if hasPort {
		keyed(d.port, uint32(port))
	}
	return best
}
