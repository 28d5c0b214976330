//go:build !amd64

package jsonscan

func (s *skipper) blocks(b []byte) int { return s.blocksGo(b) }
