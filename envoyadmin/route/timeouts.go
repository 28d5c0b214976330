package route

import (
	"strconv"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

const defaultTimeout = 15 * time.Second

// timeouts fills the route's time limits: 15 s unless configured, 0 meaning none (-1 here); for gRPC the client's
// grpc-timeout where the route accepts it; x-envoy-upstream-rq-timeout-ms over all, which only internal clients keep.
func (t *Table) timeouts(p *Policy, v *view, a *routev3.RouteAction) {
	none := func(d time.Duration) time.Duration {
		if d <= 0 {
			return -1
		}
		return d
	}
	if a.GetTimeout() != nil {
		p.Timeout = none(a.GetTimeout().AsDuration())
	}
	if a.GetIdleTimeout() != nil {
		p.IdleTimeout = a.GetIdleTimeout().AsDuration()
	}
	grpcTimeout := time.Duration(-1)
	if isGRPC(v.req) {
		if s, ok := v.req.Get("grpc-timeout"); ok {
			grpcTimeout = parseGRPCTimeout(s)
		}
	}
	if m := a.GetMaxStreamDuration(); m != nil {
		if m.GetMaxStreamDuration() != nil {
			p.MaxStreamDuration = none(m.GetMaxStreamDuration().AsDuration())
		}
		if m.GetGrpcTimeoutHeaderMax() != nil && grpcTimeout >= 0 {
			p.MaxStreamDuration = capped(grpcTimeout, m.GetGrpcTimeoutHeaderMax().AsDuration(), m.GetGrpcTimeoutHeaderOffset().AsDuration())
		}
	} else if a.GetMaxGrpcTimeout() != nil && isGRPC(v.req) { //nolint:staticcheck // old configurations have it
		d := max(grpcTimeout, 0)
		p.Timeout = none(capped(d, a.GetMaxGrpcTimeout().AsDuration(), a.GetGrpcTimeoutOffset().AsDuration())) //nolint:staticcheck // as above
	}
	if s, ok := v.req.Get("x-envoy-upstream-rq-timeout-ms"); ok {
		if ms, err := strconv.ParseUint(s, 10, 32); err == nil {
			p.Timeout = none(time.Duration(ms) * time.Millisecond)
		}
	}
}

// capped lowers d by offset, if that leaves anything, and to limit where limit is not 0; d 0 is no limit of its own.
func capped(d, limit, offset time.Duration) time.Duration {
	if offset > 0 && d > offset {
		d -= offset
	}
	if limit != 0 && (d > limit || d == 0) {
		d = limit
	}
	return d
}

// parseGRPCTimeout reads "10S": at most eight digits and a unit. -1 where it is not one.
func parseGRPCTimeout(s string) time.Duration {
	units := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond}
	if len(s) < 2 || len(s) > 9 {
		return -1
	}
	u, ok := units[s[len(s)-1]]
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if !ok || err != nil {
		return -1
	}
	return time.Duration(n) * u
}
