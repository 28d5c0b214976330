package envoyadmin

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
)

// Verdict is what Envoy does with a call.
type Verdict string

// The verdicts. The zero value reads as Undetermined.
const (
	Undetermined   Verdict = "undetermined"
	Forward        Verdict = "forward"
	Redirect       Verdict = "redirect"
	DirectResponse Verdict = "direct_response"
	Reject         Verdict = "reject"
)

// The error codes of an outcome that is not a forward.
const (
	NoListener    = "no_listener"
	NoFilterChain = "no_filter_chain"
	NoFilters     = "no_filters" // of the filter chain: Envoy accepts and closes (newActiveConnection)
	NoRouteConfig = "no_route_config"
	NoVirtualHost = "no_virtual_host"
	NoRoute       = "no_route"
	NoCluster     = "no_cluster"
	NoEndpoint    = "no_endpoint"
	TLSRequired   = "tls_required"
	Denied        = "denied"
)

// Result is every way Envoy may take with a call. The probabilities add up to 1.
type Result struct {
	Outcomes []Outcome `json:"outcomes"` // at least one
}

// Outcome is one way a call may take through one Envoy.
type Outcome struct {
	Probability float64          `json:"probability"`        // of this way; those of all outcomes add up to 1
	Verdict     Verdict          `json:"verdict"`            // what becomes of the call
	Error       string           `json:"error"`              // why it is not forwarded, as a code; empty where it is, and for what has no code
	Listener    string           `json:"listener"`           // name of the listener that serves, empty where none does or it has none
	FilterChain string           `json:"filter_chain"`       // name of its filter chain; often empty
	RouteConfig string           `json:"route_config"`       // name of the route table, empty for an inline one and without HTTP
	VirtualHost string           `json:"virtual_host"`       // name of the virtual host
	Route       string           `json:"route"`              // name of the route; empty too where it has none
	Cluster     string           `json:"cluster"`            // the cluster chosen, there or not
	Endpoints   []Endpoint       `json:"endpoints"`          // its hosts, also those that get nothing now; those of the subset chosen
	Request     *UpstreamRequest `json:"request,omitempty"`  // as it leaves; absent where nothing is forwarded, and for TCP
	Response    *Response        `json:"response,omitempty"` // the answer Envoy gives itself; absent where it gives none or the outcome is undetermined
	Flags       string           `json:"flags"`              // as %RESPONSE_FLAGS% prints them
	Details     string           `json:"details"`            // as %RESPONSE_CODE_DETAILS% prints it
	Owner       []string         `json:"owner"`              // who wrote what decided: "VirtualService ns/name", most specific first
	Steps       []Step           `json:"steps"`              // the decisions on the way, in order
	NearMisses  []NearMiss       `json:"near_misses"`        // what was nearly chosen

	Routing *Routing `json:"routing,omitempty"` // how the router treats what it forwards; absent for TCP and what is not forwarded

	Terminal string            `json:"terminal,omitempty"` // the terminal network filter's kind: http_connection_manager, tcp_proxy ...; tls where a bare connection waits for a TLS hello
	Weighted []WeightedCluster `json:"weighted,omitempty"` // the candidates the cluster was chosen from
	Hosts    []string          `json:"hosts,omitempty"`    // hosts and paths served, where a bare connection ends
	Reasons  []string          `json:"reasons,omitempty"`  // why the verdict is undetermined, or what may still refuse or change the request

	Extra Extra `json:"-"`
}

// Endpoint is one host a request may go to.
type Endpoint struct {
	Address         string  `json:"address"`                    // IP:PORT, a name with its port before it is resolved, a pipe's path, or envoy://LISTENER/ID
	Health          string  `json:"health"`                     // healthy, degraded, unhealthy, or unknown; see Why
	Weight          uint32  `json:"weight"`                     // among the hosts of its priority and locality
	Probability     float64 `json:"probability"`                // within the outcome; 0: it gets nothing now
	Priority        uint32  `json:"priority,omitempty"`         // 0 is served first
	Locality        string  `json:"locality,omitempty"`         // region/zone/sub_zone
	Hostname        string  `json:"hostname,omitempty"`         // the name it was resolved from or goes by
	TransportSocket string  `json:"transport_socket,omitempty"` // the match's name, "default", or empty without matches
	MTLS            *bool   `json:"mtls,omitempty"`             // a client certificate is presented to it; absent: not known
	TLS             bool    `json:"tls,omitempty"`              // it is reached with TLS
	SNI             string  `json:"sni,omitempty"`              // sent to it
	Why             string  `json:"why,omitempty"`              // why it is out: failed_outlier_check ...

	Labels map[string]string `json:"-"` // the endpoint's envoy.lb metadata
	// Counters are what /clusters counted of it since the proxy knows it: cx_total,
	// cx_connect_fail, rq_error ... A zero may be absent; nil where it was not read.
	Counters map[string]uint64 `json:"-"`
}

// UpstreamRequest is the request as it leaves for the upstream.
type UpstreamRequest struct {
	Authority string `json:"authority"` // Host or :authority, after rewrites
	Path      string `json:"path"`      // with its query, after rewrites
}

// Routing is how the router treats a request it forwards. Durations are as Go
// prints them, defaults filled in; "none" is no limit.
type Routing struct {
	Timeout           string            `json:"timeout"`                       // of the whole answer
	IdleTimeout       string            `json:"idle_timeout,omitempty"`        // empty: the connection manager's
	MaxStreamDuration string            `json:"max_stream_duration,omitempty"` // empty: no limit of its own
	Retries           uint32            `json:"retries,omitempty"`             // at most
	RetryOn           string            `json:"retry_on,omitempty"`            // the conditions, as retry_on has them; empty: no retries
	PerTryTimeout     string            `json:"per_try_timeout,omitempty"`     // empty: the timeout alone
	Mirrors           []MirroredTo      `json:"mirrors,omitempty"`             // who gets copies
	InternalRedirects *InternalRedirect `json:"internal_redirects,omitempty"`  // followed by Envoy itself
	Priority          string            `json:"priority,omitempty"`            // of the circuit breakers, where it is not default
	Connect           bool              `json:"connect,omitempty"`             // a CONNECT ends here, and raw bytes go on
	RequestHeaders    []string          `json:"request_headers,omitempty"`     // the changes made, in words, in order
	ResponseHeaders   []string          `json:"response_headers,omitempty"`    // those that will be made to the answer

	custom bool // the timeout is not Envoy's default
}

// MirroredTo is a cluster that gets a copy of some percent of the requests.
type MirroredTo struct {
	Cluster string  `json:"cluster"` // its name
	Percent float64 `json:"percent"` // of the requests, 0 to 100
}

// InternalRedirect is how often, and of which status, Envoy follows redirects of
// the upstream itself.
type InternalRedirect struct {
	Max    uint32   `json:"max"`    // how many in a row
	Status []uint32 `json:"status"` // of the answers that are followed
}

// Words tells what is not Envoy's default, one sentence a line.
func (r *Routing) Words() []string {
	if r == nil {
		return nil
	}
	var out []string
	var limits []string
	if r.custom {
		limits = append(limits, "timeout "+r.Timeout)
	}
	for _, l := range []struct{ name, value string }{{"idle timeout", r.IdleTimeout}, {"stream at most", r.MaxStreamDuration}} {
		if l.value != "" {
			limits = append(limits, l.name+" "+l.value)
		}
	}
	if r.RetryOn != "" {
		text := fmt.Sprintf("%d retries on %s", r.Retries, r.RetryOn)
		if r.Retries == 1 {
			text = "1 retry on " + r.RetryOn
		}
		if r.PerTryTimeout != "" {
			text += ", each try " + r.PerTryTimeout
		}
		limits = append(limits, text)
	}
	if r.Priority != "" {
		limits = append(limits, "priority "+r.Priority)
	}
	if len(limits) > 0 {
		out = append(out, strings.Join(limits, "; "))
	}
	for _, m := range r.Mirrors {
		out = append(out, fmt.Sprintf("%.4g %% mirrored to %s", m.Percent, m.Cluster))
	}
	if i := r.InternalRedirects; i != nil {
		out = append(out, fmt.Sprintf("up to %d redirects of the upstream are followed (%s)", i.Max, strings.Trim(fmt.Sprint(i.Status), "[]")))
	}
	if r.Connect {
		out = append(out, "the CONNECT ends here: raw bytes go on")
	}
	out = append(out, r.RequestHeaders...)
	for _, h := range r.ResponseHeaders {
		out = append(out, "in the answer, "+h)
	}
	return out
}

// Response is the answer Envoy gives itself. An undetermined outcome has none:
// what is likely stands in its reasons.
type Response struct {
	Status   int    `json:"status"`             // of HTTP
	Location string `json:"location,omitempty"` // where a redirect leads
	Body     string `json:"body,omitempty"`     // empty too where a format makes it
	// GRPCStatus is the grpc-status of an answer to a gRPC request: Status is then
	// 200 and the body goes as grpc-message. nil for what is no gRPC, and for an
	// answer whose grpc-status is not known.
	GRPCStatus *int `json:"grpc_status,omitempty"`
}

// String is the status in words: "404", "200 (grpc-status 12)".
func (r *Response) String() string {
	if r.GRPCStatus == nil {
		return strconv.Itoa(r.Status)
	}
	return fmt.Sprintf("%d (grpc-status %d)", r.Status, *r.GRPCStatus)
}

// WeightedCluster is one entry of a weighted choice.
type WeightedCluster struct {
	Name   string `json:"name"`   // of the cluster, or "header x" where a request header names it
	Weight uint32 `json:"weight"` // its part of the sum of all
}

// State is what a step did to the call.
type State string

// The states of a step. The zero value reads as unknown.
const (
	StateUnknown State = "unknown"
	StateOK      State = "ok"
	StateWarn    State = "warn"
	StateFail    State = "fail"
)

// The kinds of step.
const (
	KindListener    = "listener"
	KindFilterChain = "filter_chain"
	KindFilter      = "filter"
	KindRoute       = "route"
	KindCluster     = "cluster"
	KindEndpoint    = "endpoint"
)

// Step is one decision on the way, in order.
type Step struct {
	Kind   string   `json:"kind"`             // what decided
	Name   string   `json:"name"`             // of the object, or a condition of it where it has none
	Why    string   `json:"why"`              // in words, several joined by "; "
	State  State    `json:"state"`            // warn: it passes, with something to look at; unknown: it cannot be told from here
	Owner  []string `json:"owner,omitempty"`  // who wrote it: "Gateway ns/name"
	Source string   `json:"source,omitempty"` // path inside the dump: configs[3].dynamic_listeners[2].active_state.listener

	Object json.RawMessage `json:"-"` // the configuration object, without secrets
}

// NearMiss is something that was not chosen and the one reason why.
type NearMiss struct {
	Kind string `json:"kind"` // as a step's, and virtual_host, route_config
	Name string `json:"name"` // empty where it is said of all of that kind
	Why  string `json:"why"`  // why it was not chosen
}

// Extra holds what a walk across several proxies needs of an outcome and a
// script does not.
type Extra struct {
	ListenerAddress string          // address of the listener that serves the call
	Listener        json.RawMessage // without secrets
	Problems        []string        // error_state, warming versions and other oddities met

	DownstreamTLS     bool // the chosen chain terminates TLS
	RequireClientCert bool
	CertificateNames  []string // SDS secret names of the chain
	SecretsWarming    []string // those of them that SDS has not supplied
	Certificates      []Certificate
	ListenerALPN      []string

	RouteMatch     string // the route's condition in words
	Timeout        time.Duration
	TimeoutSet     bool // false: Envoy's default of 15 s
	Retries        uint32
	RetryOn        string
	Mirrors        []string
	RequestHeaders []Header // as they leave, pseudo headers excluded

	ClusterType     string // EDS, STATIC, STRICT_DNS, LOGICAL_DNS, ORIGINAL_DST, aggregate ...
	EDSServiceName  string
	UpstreamTLS     bool // every endpoint is reached with TLS
	UpstreamMTLS    *bool
	UpstreamSNI     string
	UpstreamALPN    []string
	UpstreamHTTP2   bool
	Cluster         json.RawMessage
	TunnelTo        string // tcp_proxy tunneling_config.hostname
	CircuitBreakers string

	StatPrefix         string                   // of the connection manager or TCP proxy that serves the call
	AccessLogs         []*accesslogv3.AccessLog // of the same
	ListenerAccessLogs []*accesslogv3.AccessLog
}
