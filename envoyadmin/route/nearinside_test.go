package route

import (
	"math/rand/v2"
	"testing"
)

// TestTheDistanceIsThatOfTheWholeTable compares the narrow computation with the
// plain one.
func TestTheDistanceIsThatOfTheWholeTable(t *testing.T) {
	plain := func(a, b string) int {
		d := make([][]int, len(a)+1)
		for i := range d {
			d[i] = make([]int, len(b)+1)
			for j := range d[i] {
				switch {
				case i == 0 || j == 0:
					d[i][j] = i + j
				case a[i-1] == b[j-1]:
					d[i][j] = d[i-1][j-1]
				default:
					d[i][j] = 1 + min(d[i-1][j], d[i][j-1], d[i-1][j-1])
				}
			}
		}
		return d[len(a)][len(b)]
	}
	rng := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		b := make([]byte, rng.IntN(12))
		for i := range b {
			b[i] = "abc."[rng.IntN(4)]
		}
		return string(b)
	}
	for range 20_000 {
		a, b, limit := text(), text(), rng.IntN(8)
		if got, want := distance(a, b, limit), min(plain(a, b), limit+1); got != want {
			t.Fatalf("distance(%q, %q, %d) is %d, want %d", a, b, limit, got, want)
		}
	}
	if d := distance(string(make([]byte, maxCompared+1)), string(make([]byte, maxCompared+1)), 3); d != 4 {
		t.Errorf("names too long to compare: %d", d)
	}
}

func TestOfNearDomainsTheBestOfEachVirtualHostIsKept(t *testing.T) {
	var l nearList
	for _, n := range []near{{"f", 1, 9, ""}, {"e", 2, 3, ""}, {"d", 1, 2, ""}, {"c", 3, 3, ""}, {"b", 2, 1, ""}, {"a", 4, 5, ""}, {"z", 1, 7, ""}} {
		l.add(n, 3)
	}
	got := ""
	for _, n := range l {
		got += n.domain
	}
	if got != "bdc" {
		t.Errorf("kept %q", got)
	}
}
