package route

import (
	"fmt"
	"slices"
	"strings"
)

// Index finds the virtual host of a host name among names and domains alone, so that thousands of virtual hosts need
// not be decoded to choose one. Add them in the order of the configuration.
//
// The order of precedence is Envoy's: exact, the longest suffix wildcard ("*.a.com"), the longest prefix wildcard
// ("shop.*"), then "*". A wildcard's fixed part must be shorter than the host.
type Index struct {
	names  []string
	exact  map[string]int32
	suffix map[int]map[string]int32 // by length of the fixed part
	prefix map[int]map[string]int32
	sufLen []int // descending
	preLen []int
	star   int32 // -1: none
	dup    string
}

// NewIndex returns an empty index with room for n domains.
func NewIndex(n int) *Index {
	return &Index{exact: make(map[string]int32, n), suffix: map[int]map[string]int32{}, prefix: map[int]map[string]int32{}, star: -1}
}

// Add appends one virtual host. Its number is the count of those added before. A domain seen before keeps its first
// owner and is reported by Duplicate, for Envoy rejects such a configuration.
func (x *Index) Add(name string, domains ...string) {
	i := int32(len(x.names))
	x.names = append(x.names, name)
	for _, d := range domains {
		d = strings.ToLower(d)
		switch {
		case d == "*":
			if x.star >= 0 {
				x.duplicate(d)
				continue
			}
			x.star = i
		case strings.HasPrefix(d, "*"):
			x.sufLen = x.wildcard(x.suffix, x.sufLen, d[1:], d, i)
		case strings.HasSuffix(d, "*"):
			x.preLen = x.wildcard(x.prefix, x.preLen, d[:len(d)-1], d, i)
		default:
			if _, ok := x.exact[d]; ok {
				x.duplicate(d)
				continue
			}
			x.exact[d] = i
		}
	}
}

func (x *Index) duplicate(d string) {
	if x.dup == "" {
		x.dup = d
	}
}

func (x *Index) wildcard(m map[int]map[string]int32, lens []int, fixed, domain string, i int32) []int {
	byLen := m[len(fixed)]
	if byLen == nil {
		byLen = map[string]int32{}
		m[len(fixed)] = byLen
		at, _ := slices.BinarySearchFunc(lens, len(fixed), func(a, b int) int { return b - a })
		lens = slices.Insert(lens, at, len(fixed))
	}
	if _, ok := byLen[fixed]; ok {
		x.duplicate(domain)
		return lens
	}
	byLen[fixed] = i
	return lens
}

// Len is the number of virtual hosts.
func (x *Index) Len() int { return len(x.names) }

// Name is the name of virtual host i.
func (x *Index) Name(i int) string { return x.names[i] }

// Duplicate is the first domain that occurs twice, for which Envoy rejects the whole configuration; empty where none.
func (x *Index) Duplicate() string { return x.dup }

// HostChoice is the virtual host for a host name.
type HostChoice struct {
	Index  int    // -1: none
	Name   string // of the virtual host
	Domain string // the domain that matched
	Host   string // the name that was looked up, after ports were cut
	Why    string
}

// choose looks host up; it is lower case and without a port where ports are ignored.
func (x *Index) choose(host string) HostChoice {
	if i, ok := x.exact[host]; ok {
		return HostChoice{Index: int(i), Name: x.names[i], Domain: host, Host: host, Why: "domain is exactly the host"}
	}
	for _, n := range x.sufLen {
		if n >= len(host) {
			continue
		}
		if i, ok := x.suffix[n][host[len(host)-n:]]; ok {
			d := "*" + host[len(host)-n:]
			return HostChoice{Index: int(i), Name: x.names[i], Domain: d, Host: host, Why: "longest suffix wildcard"}
		}
	}
	for _, n := range x.preLen {
		if n >= len(host) {
			continue
		}
		if i, ok := x.prefix[n][host[:n]]; ok {
			return HostChoice{Index: int(i), Name: x.names[i], Domain: host[:n] + "*", Host: host, Why: "longest prefix wildcard"}
		}
	}
	if x.star >= 0 {
		return HostChoice{Index: int(x.star), Name: x.names[x.star], Domain: "*", Host: host, Why: "no other domain matches"}
	}
	of := "the one virtual host"
	if n := len(x.names); n != 1 {
		of = fmt.Sprintf("%d virtual hosts", n)
	}
	return HostChoice{Index: -1, Host: host, Why: "no domain of " + of + " matches " + host}
}
