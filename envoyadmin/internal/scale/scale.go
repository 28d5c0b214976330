// Package scale makes large config_dumps of smaller ones, for benchmarks: what
// stands there once for each of a thousand Services stands there once for each
// of five thousand, with names and hosts of its own.
//
// The package knows how the generated dumps of testdata/scale number their
// Services. It must not know what Envoy makes of a dump.
package scale

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
)

// Step is how many Services a dump of testdata/scale has: svc-00000 to svc-00999.
const Step = 1000

// number is the next number of a Service in b at or behind i, as in svc-00490 and
// secure-00490: a letter, a dash, five digits and no more. -1 for none.
func number(b []byte, i int) int {
	for {
		dash := bytes.IndexByte(b[i:], '-')
		if dash < 0 || i+dash+6 > len(b) {
			return -1
		}
		i += dash + 1
		if i < 2 || b[i-2] < 'a' || b[i-2] > 'z' || len(b) > i+5 && word(b[i+5]) {
			continue
		}
		if !slices.ContainsFunc(b[i:i+5], func(c byte) bool { return c < '0' || c > '9' }) {
			return i
		}
	}
}

func word(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

// Grow returns a dump (JSON) in which every element of a list that belongs to one
// numbered Service stands times times, the number raised by [Step] each time,
// behind all elements of the list. Everything else is as in dump. Addresses stay as
// they are, so endpoints repeat.
func Grow(dump []byte, times int) ([]byte, error) {
	if times < 1 || times*Step > 99_999 {
		return nil, fmt.Errorf("grow: %d times: want 1 to %d", times, 99_999/Step)
	}
	g := grower{in: dump, times: times}
	g.out.Grow(len(dump) * times)
	if _, err := g.value(jsonscan.Space(dump, 0)); err != nil {
		return nil, fmt.Errorf("grow: %w", err)
	}
	g.out.Write(dump[g.done:])
	return g.out.Bytes(), nil
}

type grower struct {
	in    []byte
	out   bytes.Buffer
	done  int // what is written already
	times int
}

// service is the number of the one Service that b belongs to; several says that
// there is more than one.
func service(b []byte) (id string, several bool) {
	for i := 0; ; i += 5 {
		if i = number(b, i); i < 0 {
			return id, false
		}
		got := b[i : i+5]
		if id != "" && id != string(got) {
			return id, true
		}
		id = string(got)
	}
}

// value grows the lists within the value at i and returns the index behind it.
func (g *grower) value(i int) (int, error) {
	if i >= len(g.in) {
		return jsonscan.Value(g.in, i)
	}
	switch g.in[i] {
	case '{':
		return jsonscan.Object(g.in, i, func(_ []byte, at int) (int, error) { return g.value(at) })
	case '[':
		return g.list(i)
	default:
		return jsonscan.Value(g.in, i)
	}
}

func (g *grower) list(i int) (int, error) {
	type span struct{ from, to int }
	var own []span
	last := i + 1
	end, err := jsonscan.Array(g.in, i, func(_, at int) (int, error) {
		to, err := jsonscan.Value(g.in, at)
		if err != nil {
			return to, err
		}
		switch id, several := service(g.in[at:to]); {
		case several:
			if to, err = g.value(at); err != nil {
				return to, err
			}
		case id != "":
			own = append(own, span{at, to})
		}
		last = to
		return to, nil
	})
	if err != nil || len(own) == 0 {
		return end, err
	}
	g.out.Write(g.in[g.done:last])
	g.done = last
	for n := 1; n < g.times; n++ {
		for _, s := range own {
			id, _ := service(g.in[s.from:s.to])
			first, err := strconv.Atoi(id)
			if err != nil {
				return end, err
			}
			g.out.WriteByte(',')
			g.out.Write(renumbered(g.in[s.from:s.to], id, fmt.Sprintf("%05d", first+n*Step)))
		}
	}
	return end, nil
}

// renumbered puts another number into every name.
func renumbered(b []byte, from, to string) []byte {
	out := slices.Clone(b)
	for i := number(b, 0); i >= 0; i = number(b, i+5) {
		if string(b[i:i+5]) == from {
			copy(out[i:], to)
		}
	}
	return out
}
