package k8s

import (
	"slices"
	"strings"
)

// Nearest is the candidate that want was most likely meant to be, "" where none
// is near: the fewest letters to insert, delete, replace or swap, at most a third
// of the name's; of equal ones the first in order. A candidate that only puts the
// same first label into another namespace counts as near too.
func Nearest(want string, have []string) string {
	want = strings.ToLower(want)
	if want == "" || len(want) > 253 {
		return ""
	}
	best, bestCost := "", max(1, len(want)/3)+1
	for _, h := range slices.Sorted(slices.Values(have)) {
		low := strings.ToLower(h)
		if low == want || len(low) > 253 {
			continue
		}
		if cost := distance(want, low, bestCost); cost < bestCost {
			best, bestCost = h, cost
		}
	}
	if best != "" {
		return best
	}
	name, rest, ok := strings.Cut(want, ".")
	if !ok {
		return ""
	}
	for _, h := range slices.Sorted(slices.Values(have)) {
		n, r, ok := strings.Cut(strings.ToLower(h), ".")
		if ok && n == name && r != rest && strings.Count(r, ".") == strings.Count(rest, ".") {
			return h
		}
	}
	return ""
}

// distance counts the edits between a and b, a swap of neighbours being one
// (optimal string alignment); it gives up at limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			sub := prev[j-1]
			if a[i-1] != b[j-1] {
				sub++
			}
			c := min(sub, prev[j]+1, cur[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				c = min(c, before[j-2]+1)
			}
			cur[j] = c
			least = min(least, c)
		}
		if least >= limit {
			return limit
		}
		before, prev, cur = prev, cur, before
	}
	return min(prev[len(b)], limit)
}
