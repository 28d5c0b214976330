package iptables

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// natChoice is the address the kernel takes of a NAT range: nf_nat_core.c,
// find_best_ips_proto. It hashes the source, and the destination unless
// persistent, without a secret, so that the same client always gets the same
// address. Numbers are read as a little-endian machine does.
func natChoice(lo, hi, src, dst netip.Addr, persistent bool, zone uint16, toDst bool) netip.Addr {
	words := func(a netip.Addr) (w [4]uint32) {
		b := a.AsSlice()
		for i := 0; i < len(b); i += 4 {
			w[i/4] = binary.LittleEndian.Uint32(b[i:])
		}
		return w
	}
	s, d := words(src), words(dst)
	last := 0
	if lo.Is6() {
		last = 3
	}
	seed := d[last] ^ uint32(zone)
	if persistent {
		seed = 0
	}
	j := jhash2(s, seed)
	min, max := lo.AsSlice(), hi.AsSlice()
	out := make([]byte, len(min))
	full := false
	for i := 0; i <= last; i++ {
		from, dist := uint32(0), ^uint32(0)
		top := binary.BigEndian.Uint32(max[4*i:])
		if !full {
			from = binary.BigEndian.Uint32(min[4*i:])
			dist = top - from + 1
		}
		v := from + uint32(uint64(j)*uint64(dist)>>32)
		binary.BigEndian.PutUint32(out[4*i:], v)
		full = full || v != top
		if toDst {
			d[i] = binary.LittleEndian.Uint32(out[4*i:]) // the kernel writes over what it hashes
		}
		if !persistent {
			j ^= d[i]
		}
	}
	a, _ := netip.AddrFromSlice(out)
	return a
}

// jhash2 is include/linux/jhash.h for four words.
func jhash2(k [4]uint32, seed uint32) uint32 {
	a := 0xdeadbeef + uint32(len(k))<<2 + seed
	b, c := a, a
	rol := bits.RotateLeft32
	a += k[0]
	b += k[1]
	c += k[2]
	a -= c
	a ^= rol(c, 4)
	c += b
	b -= a
	b ^= rol(a, 6)
	a += c
	c -= b
	c ^= rol(b, 8)
	b += a
	a -= c
	a ^= rol(c, 16)
	c += b
	b -= a
	b ^= rol(a, 19)
	a += c
	c -= b
	c ^= rol(b, 4)
	b += a
	a += k[3]
	c ^= b
	c -= rol(b, 14)
	a ^= c
	a -= rol(c, 11)
	b ^= a
	b -= rol(a, 25)
	c ^= b
	c -= rol(b, 16)
	a ^= c
	a -= rol(c, 4)
	b ^= a
	b -= rol(a, 14)
	c ^= b
	c -= rol(b, 24)
	return c
}
