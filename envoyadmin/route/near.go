package route

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// nearMisses puts the passed-over routes in words, at most limit: first those whose path matched, then by how much of
// the path they share; then in the order of the list.
func (v *view) nearMisses(routes []*routev3.Route, misses []miss, limit int) []NearMiss {
	if len(misses) > limit {
		scores := make([]int, len(misses))
		order := make([]int, len(misses))
		for i, m := range misses {
			order[i] = i
			scores[i] = common(v.path, pathText(routes[m.index].GetMatch()))
			if m.cond != condPath && m.cond != condNoPath && m.cond != condConnect {
				scores[i] += 1 << 20
			}
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
		order = order[:limit]
		slices.Sort(order)
		kept := make([]miss, len(order))
		for i, o := range order {
			kept[i] = misses[o]
		}
		misses = kept
	}
	out := make([]NearMiss, 0, len(misses))
	for _, m := range misses {
		r := routes[m.index]
		name := r.GetName()
		if name == "" {
			name = Describe(r.GetMatch())
		}
		out = append(out, NearMiss{Kind: "route", Name: name, Why: v.explain(r.GetMatch(), m.cond, int(m.part))})
	}
	return out
}

func pathText(m *routev3.RouteMatch) string {
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return p.Prefix
	case *routev3.RouteMatch_Path:
		return p.Path
	case *routev3.RouteMatch_PathSeparatedPrefix:
		return p.PathSeparatedPrefix
	case *routev3.RouteMatch_SafeRegex:
		return strings.TrimPrefix(p.SafeRegex.GetRegex(), "^")
	default:
		return ""
	}
}

func common(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func (x *Index) onlyStar() bool { return x.star >= 0 && len(x.exact)+len(x.sufLen)+len(x.preLen) == 0 }

// portMiss tells that a host fell to "*" only for its port: "a.com:8080" where "a.com" is a domain.
func (x *Index) portMiss(host, chosen string) []NearMiss {
	i := portStart(host)
	if i < 0 {
		return nil
	}
	n, ok := x.exact[host[:i]]
	if !ok || x.names[n] == chosen {
		return nil
	}
	return []NearMiss{{Kind: "virtual_host", Name: x.names[n], Why: fmt.Sprintf("domain is %s, the host is %s: the port is part of the name here", host[:i], host)}}
}

const (
	maxCompared = 96 // longest names whose letters are compared
	fewHosts    = 4  // virtual hosts that are all told of
)

// nearest are the domains most like host, the best first: those that differ by a port, then those with the fewest
// letters changed, then those of the same parent domain; the best one of each virtual host.
func (x *Index) nearest(host string, limit int) []NearMiss {
	if host == "" {
		return nil
	}
	bare := host
	if i := portStart(host); i >= 0 {
		bare = host[:i]
	}
	label, parent, _ := strings.Cut(bare, ".")
	best := make(nearList, 0, limit+1)
	add := func(d string, i int32) {
		name := d
		if p := portStart(d); p >= 0 {
			name = d[:p]
		}
		first, rest, _ := strings.Cut(name, ".")
		switch {
		case name == bare:
			best.add(near{d, i, 0, ": only the port differs"}, limit)
		case strings.HasPrefix(d, "*.") && d[2:] == bare:
			best.add(near{d, i, 1, ": the wildcard needs one more label"}, limit)
		case first == label && label != "" && !strings.HasPrefix(d, "*"):
			best.add(near{d, i, 20 + distance(rest, parent, 40), ""}, limit)
		default:
			if n := distance(name, bare, 3); n <= 3 {
				best.add(near{d, i, 1 + n, ""}, limit)
			} else if parent != "" && rest == parent {
				best.add(near{d, i, 70, ""}, limit)
			} else if len(x.names) <= fewHosts {
				best.add(near{d, i, 90, ""}, limit)
			}
		}
	}
	for d, i := range x.exact {
		add(d, i)
	}
	for _, n := range x.sufLen {
		for d, i := range x.suffix[n] {
			add("*"+d, i)
		}
	}
	for _, n := range x.preLen {
		for d, i := range x.prefix[n] {
			add(d+"*", i)
		}
	}
	var out []NearMiss
	for _, n := range best {
		out = append(out, NearMiss{Kind: "virtual_host", Name: x.names[n.index], Why: fmt.Sprintf("domain is %s, the host is %s", matcher.Show(n.domain), matcher.Show(host)) + n.note})
	}
	return out
}

// near is a domain of the virtual host at index; the lower its score the nearer.
type near struct {
	domain string
	index  int32
	score  int
	note   string
}

func (a near) compare(b near) int {
	return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.domain, b.domain))
}

// nearList holds the best, in order, one of each virtual host.
type nearList []near

func (l *nearList) add(n near, limit int) {
	if len(*l) == limit && n.compare((*l)[limit-1]) >= 0 {
		return
	}
	if i := slices.IndexFunc(*l, func(m near) bool { return m.index == n.index }); i >= 0 {
		if n.compare((*l)[i]) >= 0 {
			return
		}
		*l = slices.Delete(*l, i, i+1)
	}
	at, _ := slices.BinarySearchFunc(*l, n, near.compare)
	*l = slices.Insert(*l, at, n)
	if len(*l) > limit {
		*l = (*l)[:limit]
	}
}

// distance is the number of letters to change, at most limit+1. What both begin and end with is alike in the cheapest
// change; of the rest only what lies within limit of the diagonal is looked at.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit || len(a) > maxCompared || len(b) > maxCompared {
		return limit + 1
	}
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	// Each letter that only one of them has is a change.
	if in, of := letters(a), letters(b); bits.OnesCount64(in&^of) > limit || bits.OnesCount64(of&^in) > limit {
		return limit + 1
	}
	var rows [2][maxCompared + 1]uint8
	prev, cur := &rows[0], &rows[1]
	for j := range len(b) + 1 {
		prev[j] = uint8(j)
	}
	over := uint8(limit + 1)
	for i := 1; i <= len(a); i++ {
		from, to := max(1, i-limit), min(len(b), i+limit)
		cur[0] = uint8(i)
		if from > 1 {
			cur[from-1] = over
		}
		if to < len(b) {
			cur[to+1] = over // read by the next row
		}
		best := over
		if from == 1 {
			best = uint8(i)
		}
		for j := from; j <= to; j++ {
			cost := uint8(1)
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			best = min(best, cur[j])
		}
		if best >= over {
			return limit + 1
		}
		prev, cur = cur, prev
	}
	return min(int(prev[len(b)]), limit+1)
}

// letters is the set of the letters of s; some letters share a place.
func letters(s string) uint64 {
	set := uint64(0)
	for i := range len(s) {
		set |= 1 << (s[i] & 63)
	}
	return set
}
