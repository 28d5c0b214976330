package tui

import (
	"fmt"
	"strings"

	"github.com/hoptrail/hoptrail/trace"
)

// side is one of two paths being compared.
type side struct {
	title string
	hops  []int
}

// pair is one line of a comparison: places in the two paths, -1 for nothing.
type pair struct{ a, b int }

// align pairs the hops of two paths: those they share with themselves, those
// between two shared ones in their order.
func align(a, b []int) []pair {
	// Longest common subsequence; paths are bounded by the hop budget.
	n, k := len(a), len(b)
	best := make([][]int32, n+1)
	for i := range best {
		best[i] = make([]int32, k+1)
	}
	for i := n - 1; i >= 0; i-- {
		for j := k - 1; j >= 0; j-- {
			if a[i] == b[j] {
				best[i][j] = best[i+1][j+1] + 1
			} else {
				best[i][j] = max(best[i+1][j], best[i][j+1])
			}
		}
	}
	var out []pair
	var onlyA, onlyB []int
	flush := func() {
		for i := range max(len(onlyA), len(onlyB)) {
			p := pair{-1, -1}
			if i < len(onlyA) {
				p.a = onlyA[i]
			}
			if i < len(onlyB) {
				p.b = onlyB[i]
			}
			out = append(out, p)
		}
		onlyA, onlyB = nil, nil
	}
	i, j := 0, 0
	for i < n || j < k {
		switch {
		case i < n && j < k && a[i] == b[j]:
			flush()
			out = append(out, pair{i, j})
			i, j = i+1, j+1
		case j >= k || i < n && best[i+1][j] >= best[i][j+1]:
			onlyA = append(onlyA, i)
			i++
		default:
			onlyB = append(onlyB, j)
			j++
		}
	}
	flush()
	return out
}

// compareRows draws two paths side by side in w cells, or one under the other
// where there is no room. What differs has a mark.
func compareRows(m *model, p *prepared, sides [2]side, w int) []row {
	d := &doc{g: m.g, th: m.th}
	pairs := align(sides[0].hops, sides[1].hops)
	cell := func(s side, k int) (string, string, trace.State) {
		if k < 0 {
			return "", "", trace.Skipped
		}
		h := &p.r.Hops[s.hops[k]]
		return fmt.Sprintf("%s %d %s %s", m.g.state[h.State], k+1, kindName(h.Kind), hopName(h)), clean(h.Summary), h.State
	}
	// What is said below the two names of a pair: how the hops differ.
	alike := make([]bool, len(pairs))
	differ := make([][2]string, len(pairs))
	var said [2]string // not once more at each hop of a proxy
	same := 0
	for n, x := range pairs {
		_, differ[n][0], _ = cell(sides[0], x.a)
		_, differ[n][1], _ = cell(sides[1], x.b)
		if x.a < 0 || x.b < 0 {
			continue
		}
		a, b := &p.r.Hops[sides[0].hops[x.a]], &p.r.Hops[sides[1].hops[x.b]]
		if a == b {
			alike[n] = true
		} else if sameWords(a, b) {
			left, right := flowDifference(a.In, b.In)
			differ[n], alike[n] = [2]string{left, right}, left == right
			if differ[n] == said {
				differ[n] = [2]string{}
			} else {
				said = differ[n]
			}
		}
		if alike[n] {
			same++
		}
	}
	flat := func(spans ...span) { d.add(spans...).nowrap = true }
	if w < 60 {
		for n, s := range sides {
			d.head(fmt.Sprintf("%d: %s", n+1, s.title))
			for i, x := range pairs {
				k := x.a
				if n == 1 {
					k = x.b
				}
				if k < 0 {
					continue
				}
				text, _, st := cell(s, k)
				if alike[i] {
					flat(span{"  " + pad(text, w-2, m.g.ellipsis), m.th.dim})
					continue
				}
				flat(span{m.g.differs + " ", m.th.warn}, span{pad(text, w-2, m.g.ellipsis), m.th.state(st)})
				if differ[i][n] != "" {
					d.add(span{"    " + differ[i][n], 0}).indent = 4
				}
			}
		}
		d.blank()
		d.none(sameHops(same))
		return d.rows
	}
	half := (w - 7) / 2
	bar := span{" " + m.g.vrule + " ", m.th.frame}
	flat(span{"    " + pad(sides[0].title, half, m.g.ellipsis), m.th.title}, bar, span{pad(sides[1].title, half, m.g.ellipsis), m.th.title})
	d.rows = append(d.rows, row{})
	for n, x := range pairs {
		ta, _, stA := cell(sides[0], x.a)
		tb, _, stB := cell(sides[1], x.b)
		if alike[n] {
			flat(span{"    " + pad(ta, half, m.g.ellipsis), m.th.dim}, bar, span{pad(tb, half, m.g.ellipsis), m.th.dim})
			continue
		}
		flat(span{"  " + m.g.differs + " ", m.th.warn}, span{pad(ta, half, m.g.ellipsis), m.th.state(stA)}, bar,
			span{pad(tb, half, m.g.ellipsis), m.th.state(stB)})
		left := wrap([]span{{differ[n][0], 0}}, half-4, 0)
		right := wrap([]span{{differ[n][1], 0}}, half-4, 0)
		for i := range max(len(left), len(right)) {
			var l, r string
			if i < len(left) {
				l = joined(left[i])
			}
			if i < len(right) {
				r = joined(right[i])
			}
			if l == "" && r == "" {
				continue
			}
			flat(span{"    " + pad("    "+l, half, m.g.ellipsis), 0}, bar, span{pad("    "+r, half, m.g.ellipsis), 0})
		}
	}
	d.rows = append(d.rows, row{})
	d.none(sameHops(same))
	return d.rows
}

func sameHops(n int) string {
	if n == 1 {
		return "1 hop is the same"
	}
	return counted(n, "hop") + " are the same"
}

// sameWords says whether two hops would be shown alike.
func sameWords(a, b *trace.Hop) bool {
	return a.Kind == b.Kind && a.State == b.State && hopName(a) == hopName(b) && a.Summary == b.Summary && a.Why == b.Why
}

// flowDifference says what arrives at one hop and not at the other, "" twice
// where the same arrives at both.
func flowDifference(a, b *trace.Flow) (left, right string) {
	var l, r []string
	for _, f := range flowFields(a, b) {
		if f.in != f.out {
			l = append(l, f.name+" "+orUnset(f.in))
			r = append(r, f.name+" "+orUnset(f.out))
		}
	}
	return strings.Join(l, ", "), strings.Join(r, ", ")
}

func orUnset(s string) string {
	if s == "" {
		return "<unset>"
	}
	return s
}

func joined(ss []span) string { return row{spans: ss}.text() }
