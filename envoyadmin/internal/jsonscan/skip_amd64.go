package jsonscan

import "golang.org/x/sys/cpu"

var fast = cpu.X86.HasAVX2 && cpu.X86.HasPCLMULQDQ && cpu.X86.HasPOPCNT

// skipBlocks does what blocksGo does on n blocks at p, n > 0, with AVX2.
//
//go:noescape
func skipBlocks(s *skipper, p *byte, n int) int

func (s *skipper) blocks(b []byte) int {
	n := len(b) / 64
	if !fast {
		return s.blocksGo(b)
	}
	if n == 0 {
		return 0
	}
	return skipBlocks(s, &b[0], n)
}
