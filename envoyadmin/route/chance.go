package route

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// chance is a set of values of Envoy's random number: those with number % mod in [lo, hi). Envoy uses one number for a
// whole request, so a fraction that decided a route and the weights of its clusters are not independent.
type chance struct {
	mod, lo, hi uint64 // mod 0: all numbers
	not         bool   // all but those
	note        string
}

func (c chance) always() bool { return c.mod == 0 || c.lo == 0 && c.hi >= c.mod }
func (c chance) never() bool  { return c.mod != 0 && c.hi <= c.lo }

func (c chance) holds(n uint64) bool {
	if c.mod == 0 {
		return true
	}
	r := n % c.mod
	return (c.lo <= r && r < c.hi) != c.not
}

func (c chance) negate() chance {
	c.not = !c.not
	return c
}

const maxPeriod = 1 << 21

// share is the probability that a random number meets all of cs: counted over their common period where that is small,
// otherwise their product. Of one set it is the same.
func share(cs []chance) float64 {
	period := uint64(1)
	for _, c := range cs {
		if c.mod == 0 {
			continue
		}
		period = lcm(period, c.mod)
		if period > maxPeriod {
			break
		}
	}
	if period == 1 {
		return 1
	}
	if period > maxPeriod || len(cs) == 1 {
		p := 1.0
		for _, c := range cs {
			if c.mod == 0 {
				continue
			}
			one := float64(min(c.hi, c.mod)-min(c.lo, c.mod)) / float64(c.mod)
			if c.not {
				one = 1 - one
			}
			p *= one
		}
		return p
	}
	hits := 0
	for n := range period {
		ok := true
		for _, c := range cs {
			if !c.holds(n) {
				ok = false
				break
			}
		}
		if ok {
			hits++
		}
	}
	return float64(hits) / float64(period)
}

func lcm(a, b uint64) uint64 {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	hi := a / x
	if hi > math.MaxUint64/b {
		return math.MaxUint64
	}
	return hi * b
}

func denominator(d typev3.FractionalPercent_DenominatorType) uint64 {
	switch d {
	case typev3.FractionalPercent_TEN_THOUSAND:
		return 10_000
	case typev3.FractionalPercent_MILLION:
		return 1_000_000
	default:
		return 100
	}
}

// fraction is the set of numbers for which a runtime fraction holds. A key that is not known is taken at its default,
// and the note says so.
func fraction(rf *corev3.RuntimeFractionalPercent, env *matcher.Env) chance {
	def := rf.GetDefaultValue()
	c := chance{mod: denominator(def.GetDenominator()), hi: uint64(def.GetNumerator())}
	key := rf.GetRuntimeKey()
	if key == "" {
		return c
	}
	s, ok := env.Runtime[key]
	if !ok {
		if !env.RuntimeComplete {
			c.note = fmt.Sprintf("runtime key %s is taken at its default of %s", key, percent(c))
		}
		return c
	}
	if n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64); err == nil {
		if n > 100 {
			return chance{}
		}
		return chance{mod: 100, hi: n}
	}
	var fp struct {
		Numerator   uint64 `json:"numerator"`
		Denominator string `json:"denominator"`
	}
	if err := json.Unmarshal([]byte(s), &fp); err == nil {
		d := typev3.FractionalPercent_DenominatorType(typev3.FractionalPercent_DenominatorType_value[fp.Denominator])
		return chance{mod: denominator(d), hi: fp.Numerator}
	}
	return c
}

func percent(c chance) string {
	if c.mod == 0 {
		return "100%"
	}
	return strconv.FormatFloat(100*float64(min(c.hi, c.mod))/float64(c.mod), 'g', 6, 64) + "%"
}

func describeFraction(rf *corev3.RuntimeFractionalPercent) string {
	d := rf.GetDefaultValue()
	p := percent(chance{mod: denominator(d.GetDenominator()), hi: uint64(d.GetNumerator())})
	if k := rf.GetRuntimeKey(); k != "" {
		return p + " of requests (runtime " + k + ")"
	}
	return p + " of requests"
}

// Fraction is the share of requests, 0 to 1, for which a runtime fraction holds; nil holds for none of them. The note
// says where a runtime key that is not known was taken at its default.
func Fraction(rf *corev3.RuntimeFractionalPercent, env *matcher.Env) (share float64, note string) {
	if rf == nil {
		return 0, ""
	}
	c := fraction(rf, env)
	if c.mod == 0 {
		return 1, c.note
	}
	return float64(min(c.hi, c.mod)) / float64(c.mod), c.note
}
