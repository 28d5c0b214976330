// Package httpfilter walks the HTTP filters of a connection manager in their order for one request, and says which
// answer it, which may refuse it, what they change, and what they call.
//
// A filter is evaluated where its configuration decides (RBAC, a fault of 100 %, a CORS preflight, a missing token).
// Where something outside decides (an authorization service, a rate limit, a script) the step says "may refuse, cannot
// be known from here" and names what is called. Filters known to be harmless (statistics, metadata exchange) are silent.
// A filter that is not known at all makes the answer undetermined.
//
// It knows the filters' protos, rbac and matcher. It must not know how a route was found nor what the clusters it names
// hold.
package httpfilter

import (
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// Effect says what a filter does to the request.
type Effect string

// The effects. Unknown is the zero value.
const (
	Unknown   Effect = ""           // not known here: the answer is undetermined from here on
	Silent    Effect = "silent"     // harmless
	Continue  Effect = "continue"   // evaluated, lets the request pass
	Changes   Effect = "changes"    // passes, with headers, metadata or the route changed
	MayRefuse Effect = "may_refuse" // cannot be known from here
	Refuse    Effect = "refuse"     // answers the request itself
	Disabled  Effect = "disabled"   // configured, but off for this request
)

// Step is one filter's part.
type Step struct {
	Name   string // of the filter in the configuration
	Type   string // type of its configuration
	Effect Effect
	Why    string
	Calls  []string // clusters and URIs it asks, as "cluster outbound|9191||auth.svc"
	// Probability that it refuses, where chance decides (a fault, a runtime fraction); 1 for Refuse.
	Probability float64
	Response    *Response
	Delay       string // a delay it injects, as "5s"
	// Limit says that it refuses only what goes beyond a limit (of rate, size or load), in words; empty for one that
	// judges the request itself.
	Limit  string
	Shadow string // what shadow rules would have said
	// From says whose configuration was used, where not the filter's own: weighted cluster, route, virtual host.
	From string
}

// Session binds a request to one host of its cluster (stateful_session).
type Session struct {
	Host   string // the address that the request names: 10.0.0.1:80
	From   string // where it names it: cookie sid
	Strict int    // the status of the answer where that host cannot serve; 0: another one serves then
	Unless string // why the session may be void, empty where it holds
}

// Response is the answer of a filter that refuses or answers.
type Response struct {
	Status  int
	Body    string
	Flags   string
	Details string
	Headers []matcher.Header
}

// Result is what the filters make of a request.
type Result struct {
	Steps []Step
	// Request is the request as it leaves the last filter.
	Request *matcher.Request
	// RouteCleared names a filter that makes Envoy choose the route again with Request; empty where none surely does. The
	// walk stopped behind it: the caller routes Request and walks Rest.
	RouteCleared string
	Rest         []*hcmv3.HttpFilter
	// MayReroute says why the route may be chosen again in a way that cannot be known; empty where not.
	MayReroute string
	// Terminal is the last filter's name: the router, as a rule.
	Terminal string
	// UpstreamALPN is set by istio.alpn: what is offered to the upstream where it speaks the same protocol as the client.
	UpstreamALPN []string
	// Session is the host that the request is bound to, nil where it is bound to none.
	Session *Session
	// ALPNByProtocol is the same for each upstream protocol: http/1.0, http/1.1, h2.
	ALPNByProtocol map[string][]string
}

// Refused returns the step that surely answers the request, nil where none does.
func (r *Result) Refused() *Step {
	for i := range r.Steps {
		if r.Steps[i].Effect == Refuse {
			return &r.Steps[i]
		}
	}
	return nil
}

// Doubts returns the steps that leave it open whether the request passes.
func (r *Result) Doubts() []*Step {
	var out []*Step
	for i := range r.Steps {
		if e := r.Steps[i].Effect; e == MayRefuse || e == Unknown {
			out = append(out, &r.Steps[i])
		}
	}
	return out
}
