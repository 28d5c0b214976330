package route

import (
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// Refusal is an answer of the connection manager before any route is looked at. A zero Status means none.
type Refusal struct {
	Status   int
	Details  string
	Flags    string
	Location string // of a redirect to the unescaped path
	Why      string
}

// Normalized is a request as the connection manager hands it to the router.
type Normalized struct {
	Request *matcher.Request
	Refusal Refusal
	Notes   []string // what was changed: "path /a/../b normalised to /b"
	// Undecided says why the outcome cannot be known, empty where it can.
	Undecided string
}

// Normalize does what the HTTP connection manager does before routing: it refuses what it must (no host, no path, a
// fragment, HTTP/1.0 where not accepted, an upgrade that is not configured later), makes an absolute-form path
// relative, normalises path and host, and sets x-forwarded-proto and :scheme. listenerPort is the
// connection's local port (strip_matching_host_port): of a captured connection the original destination's. The request given is not changed.
func Normalize(hcm *hcmv3.HttpConnectionManager, listenerPort uint32, req *matcher.Request) Normalized {
	return normalize(hcm, listenerPort, req)
}
