package route

import (
	"encoding/binary"
	"math/bits"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// hash combines a route's hash policies as Envoy does: each that yields a value is XORed with what came before rotated
// left by one; a terminal one ends it once there is a value. ok is false where there is none (from empty), or where one
// cannot be computed from the request (from names it).
func hash(ps []*routev3.RouteAction_HashPolicy, v *view) (sum uint64, ok bool, from string) {
	var names []string
	for _, p := range ps {
		s, name, has, unknown := hashInput(p, v)
		if unknown {
			return 0, false, name
		}
		if has {
			sum = bits.RotateLeft64(sum, 1) ^ xxhash64(s)
			ok = true
			names = append(names, name)
		}
		if p.GetTerminal() && ok {
			break
		}
	}
	return sum, ok, strings.Join(names, ", ")
}

func hashInput(p *routev3.RouteAction_HashPolicy, v *view) (s, name string, has, unknown bool) {
	if matcher.HasUnknown(p) {
		return "", "a hash policy of a newer API", false, true
	}
	switch h := p.GetPolicySpecifier().(type) {
	case *routev3.RouteAction_HashPolicy_Header_:
		name = "header " + h.Header.GetHeaderName()
		vals := v.req.Values(h.Header.GetHeaderName())
		if len(vals) == 0 {
			return "", name, false, false
		}
		if len(vals) > 1 {
			return "", name, false, true
		}
		s = vals[0]
		if re := h.Header.GetRegexRewrite(); re != nil {
			r, err := v.rx.ReplaceAll(re.GetPattern().GetRegex(), s, re.GetSubstitution())
			if err != nil {
				return "", name, false, true
			}
			s = r
		}
		return s, name, true, false
	case *routev3.RouteAction_HashPolicy_Cookie_:
		name = "cookie " + h.Cookie.GetName()
		c, ok := cookie(v.req, h.Cookie.GetName())
		return c, name, ok, !ok && h.Cookie.GetTtl() != nil
	case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
		name = "the client address"
		if !h.ConnectionProperties.GetSourceIp() {
			return "", name, false, false
		}
		a := v.req.RemoteAddr()
		return a.String(), name, a.IsValid(), !a.IsValid()
	case *routev3.RouteAction_HashPolicy_QueryParameter_:
		name = "query parameter " + h.QueryParameter.GetName()
		q, ok := matcher.QueryParam(v.req.Path, h.QueryParameter.GetName())
		return q, name, ok, false
	case *routev3.RouteAction_HashPolicy_FilterState_:
		return "", "filter state " + h.FilterState.GetKey(), false, true
	default:
		return "", "a hash policy that is not known", false, true
	}
}

const (
	prime1 uint64 = 0x9E3779B185EBCA87
	prime2 uint64 = 0xC2B2AE3D27D4EB4F
	prime3 uint64 = 0x165667B19E3779F9
	prime4 uint64 = 0x85EBCA77C2B2AE63
	prime5 uint64 = 0x27D4EB2F165667C5
)

// xxhash64 is XXH64 with seed 0.
func xxhash64(s string) uint64 {
	b := []byte(s)
	n := uint64(len(b))
	round := func(acc, in uint64) uint64 { return bits.RotateLeft64(acc+in*prime2, 31) * prime1 }
	var h uint64
	if len(b) >= 32 {
		v1, v2, v3, v4 := prime1, prime2, uint64(0), uint64(0)
		v1 += prime2
		v4 -= prime1
		for len(b) >= 32 {
			v1 = round(v1, binary.LittleEndian.Uint64(b))
			v2 = round(v2, binary.LittleEndian.Uint64(b[8:]))
			v3 = round(v3, binary.LittleEndian.Uint64(b[16:]))
			v4 = round(v4, binary.LittleEndian.Uint64(b[24:]))
			b = b[32:]
		}
		h = bits.RotateLeft64(v1, 1) + bits.RotateLeft64(v2, 7) + bits.RotateLeft64(v3, 12) + bits.RotateLeft64(v4, 18)
		for _, v := range []uint64{v1, v2, v3, v4} {
			h = (h^round(0, v))*prime1 + prime4
		}
	} else {
		h = prime5
	}
	h += n
	for ; len(b) >= 8; b = b[8:] {
		h = bits.RotateLeft64(h^round(0, binary.LittleEndian.Uint64(b)), 27)*prime1 + prime4
	}
	if len(b) >= 4 {
		h = bits.RotateLeft64(h^uint64(binary.LittleEndian.Uint32(b))*prime1, 23)*prime2 + prime3
		b = b[4:]
	}
	for _, c := range b {
		h = bits.RotateLeft64(h^uint64(c)*prime5, 11) * prime1
	}
	h = (h ^ h>>33) * prime2
	h = (h ^ h>>29) * prime3
	return h ^ h>>32
}
