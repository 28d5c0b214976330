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
	Outcomes []Outcome `json:"outcomes"`
}

// Outcome is one way a call may take through one Envoy.
type Outcome struct {
	Probability float64          `json:"probability"`
	Verdict     Verdict          `json:"verdict"`
	Error       string           `json:"error"` // an error code, empty for none
	Listener    string           `json:"listener"`
	FilterChain string           `json:"filter_chain"`
	RouteConfig string           `json:"route_config"`
	VirtualHost string           `json:"virtual_host"`
	Route       string           `json:"route"`
	Cluster     string           `json:"cluster"`
	Endpoints   []Endpoint       `json:"endpoints"`
	Request     *UpstreamRequest `json:"request,omitempty"`
	Response    *Response        `json:"response,omitempty"`
	Flags       string           `json:"flags"`   // as %RESPONSE_FLAGS% prints them
	Details     string           `json:"details"` // as %RESPONSE_CODE_DETAILS% prints it
	Owner       []string         `json:"owner"`   // "VirtualService ns/name", most specific first
	Steps       []Step           `json:"steps"`
	NearMisses  []NearMiss       `json:"near_misses"`

	Routing *Routing `json:"routing,omitempty"` // how the router treats what it forwards

	Terminal string            `json:"terminal,omitempty"` // the terminal network filter's kind: http_connection_manager, tcp_proxy ...
	Weighted []WeightedCluster `json:"weighted,omitempty"` // the candidates Cluster was chosen from
	Hosts    []string          `json:"hosts,omitempty"`    // hosts and paths served, where a bare connection ends
	Reasons  []string          `json:"reasons,omitempty"`  // why the verdict is undetermined, or what may still refuse

	Extra Extra `json:"-"`
}

// Endpoint is one host a request may go to.
type Endpoint struct {
	Address         string  `json:"address"`
	Health          string  `json:"health"` // healthy, degraded, unhealthy, or unknown; see Why
	Weight          uint32  `json:"weight"`
	Probability     float64 `json:"probability"` // within the outcome; 0: gets nothing now
	Priority        uint32  `json:"priority,omitempty"`
	Locality        string  `json:"locality,omitempty"` // region/zone/sub_zone
	Hostname        string  `json:"hostname,omitempty"`
	TransportSocket string  `json:"transport_socket,omitempty"` // the match's name, "default", or empty without matches
	MTLS            *bool   `json:"mtls,omitempty"`             // a client certificate is presented to it; null: not known
	TLS             bool    `json:"tls,omitempty"`
	SNI             string  `json:"sni,omitempty"` // sent to it
	Why             string  `json:"why,omitempty"` // why it is out: failed_outlier_check ...

	Labels map[string]string `json:"-"` // the endpoint's envoy.lb metadata
	// Counters are what /clusters counted of it since the proxy knows it: cx_total,
	// cx_connect_fail, rq_error ... A zero may be absent; nil where it was not read.
	Counters map[string]uint64 `json:"-"`
}

// UpstreamRequest is the request as it leaves for the upstream.
type UpstreamRequest struct {
	Authority string `json:"authority"`
	Path      string `json:"path"`
}

// Routing is how the router treats a request it forwards. Durations are as Go
// prints them, defaults filled in; "none" is no limit.
type Routing struct {
	Timeout           string            `json:"timeout"`
	IdleTimeout       string            `json:"idle_timeout,omitempty"` // empty: the connection manager's
	MaxStreamDuration string            `json:"max_stream_duration,omitempty"`
	Retries           uint32            `json:"retries,omitempty"` // at most
	RetryOn           string            `json:"retry_on,omitempty"`
	PerTryTimeout     string            `json:"per_try_timeout,omitempty"`
	Mirrors           []MirroredTo      `json:"mirrors,omitempty"`
	InternalRedirects *InternalRedirect `json:"internal_redirects,omitempty"` // followed by Envoy itself
	Priority          string            `json:"priority,omitempty"`           // of the circuit breakers, where it is not default
	Connect           bool              `json:"connect,omitempty"`            // a CONNECT ends here, and raw bytes go on
	RequestHeaders    []string          `json:"request_headers,omitempty"`    // the changes made, in words, in order
	ResponseHeaders   []string          `json:"response_headers,omitempty"`   // those that will be made to the answer

	custom bool // the timeout is not Envoy's default
}

// MirroredTo is a cluster that gets a copy of some percent of the requests.
type MirroredTo struct {
	Cluster string  `json:"cluster"`
	Percent float64 `json:"percent"`
}

// InternalRedirect is how often, and of which status, Envoy follows redirects of
// the upstream itself.
type InternalRedirect struct {
	Max    uint32   `json:"max"`
	Status []uint32 `json:"status"`
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
	Status   int    `json:"status"`
	Location string `json:"location,omitempty"`
	Body     string `json:"body,omitempty"`
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
	Name   string `json:"name"`
	Weight uint32 `json:"weight"`
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
	Kind   string   `json:"kind"`
	Name   string   `json:"name"`
	Why    string   `json:"why"`
	State  State    `json:"state"`
	Owner  []string `json:"owner,omitempty"`
	Source string   `json:"source,omitempty"` // path inside the dump: configs[3].dynamic_listeners[2].active_state.listener

	Object json.RawMessage `json:"-"` // the configuration object, without secrets
}

// NearMiss is something that was not chosen and the one reason why.
type NearMiss struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Why  string `json:"why"`
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
