package route

import (
	"cmp"
	"fmt"
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
// letters changed, then those of the same parent domain.
func (x *Index) nearest(host string, limit int) []NearMiss {
	if host == "" {
		return nil
	}
	type near struct {
		domain string
		index  int32
		score  int
		note   string
	}
	bare := host
	if i := portStart(host); i >= 0 {
		bare = host[:i]
	}
	label, parent, _ := strings.Cut(bare, ".")
	var list []near
	add := func(d string, i int32) {
		name := d
		if p := portStart(d); p >= 0 {
			name = d[:p]
		}
		first, rest, _ := strings.Cut(name, ".")
		switch {
		case name == bare:
			list = append(list, near{d, i, 0, ": only the port differs"})
		case strings.HasPrefix(d, "*.") && d[2:] == bare:
			list = append(list, near{d, i, 1, ": the wildcard needs one more label"})
		case first == label && label != "" && !strings.HasPrefix(d, "*"):
			list = append(list, near{d, i, 20 + distance(rest, parent, 40), ""})
		default:
			if n := distance(name, bare, 3); n <= 3 {
				list = append(list, near{d, i, 1 + n, ""})
			} else if parent != "" && rest == parent {
				list = append(list, near{d, i, 70, ""})
			} else if len(x.names) <= fewHosts {
				list = append(list, near{d, i, 90, ""})
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
	slices.SortFunc(list, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.domain, b.domain))
	})
	var out []NearMiss
	seen := map[int32]bool{}
	for _, n := range list {
		if seen[n.index] {
			continue
		}
		seen[n.index] = true
		if out = append(out, NearMiss{Kind: "virtual_host", Name: x.names[n.index], Why: fmt.Sprintf("domain is %s, the host is %s", matcher.Show(n.domain), matcher.Show(host)) + n.note}); len(out) == limit {
			break
		}
	}
	return out
}

// distance is the number of letters to change, at most limit+1.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit || len(a) > maxCompared || len(b) > maxCompared {
		return limit + 1
	}
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		best := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			best = min(best, cur[j])
		}
		if best > limit {
			return limit + 1
		}
		prev, cur = cur, prev
	}
	return min(prev[len(b)], limit+1)
}
