package trace

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// Schema names the form of a [Report] in JSON.
const Schema = "hoptrail.report/v1"

// State is what became of a flow at one hop.
type State string

// The states of a hop. The zero value reads as unknown.
const (
	Unknown State = "unknown"
	OK      State = "ok"
	Warn    State = "warn"
	Fail    State = "fail"
	Skipped State = "skipped"
)

// Verdict is the answer for a path or for the whole trace.
type Verdict string

// The verdicts. Degraded means that branches disagree.
const (
	Undetermined Verdict = "undetermined"
	Reachable    Verdict = "reachable"
	Unreachable  Verdict = "unreachable"
	Degraded     Verdict = "degraded"
)

// HopKind says what kind of place a hop is.
type HopKind string

// The kinds of hop.
const (
	KindDNS          HopKind = "dns"
	KindLoadBalancer HopKind = "loadbalancer"
	KindService      HopKind = "service"
	KindNode         HopKind = "node"
	KindPod          HopKind = "pod"
	KindListener     HopKind = "listener"
	KindFilterChain  HopKind = "filter_chain"
	KindFilter       HopKind = "filter"
	KindRoute        HopKind = "route"
	KindCluster      HopKind = "cluster"
	KindEndpoint     HopKind = "endpoint"
	KindApp          HopKind = "app"
	KindExternal     HopKind = "external"
)

// Report is a whole trace as plain data: what was asked, every way the request
// can take, every hop, the faults found and what was and was not read. Its JSON
// form is the contract of `-o json`; the same observations give the same bytes.
type Report struct {
	Schema    string    `json:"schema"`
	Target    Target    `json:"target"`
	Verdict   Verdict   `json:"verdict"`
	Summary   string    `json:"summary"`
	Paths     []Path    `json:"paths"`
	Hops      []Hop     `json:"hops"`
	Findings  []Finding `json:"findings"`
	Collected Collected `json:"collected"`
	Tool      Tool      `json:"tool"`
}

// Path is one whole way of the request: the ids of its hops in order and the
// probability that the request takes it. Probabilities of all paths add up to 1;
// a path without hops sums up those beyond the bound on their number.
type Path struct {
	Probability float64  `json:"probability"`
	Verdict     Verdict  `json:"verdict"`
	Hops        []string `json:"hops"`
}

// Hop is one place on the path that decided something.
type Hop struct {
	ID       string         `json:"id"`
	Kind     HopKind        `json:"kind"`
	State    State          `json:"state"`
	Subject  Subject        `json:"subject"`
	Summary  string         `json:"summary"` // what it decided, in one line
	Why      string         `json:"why,omitempty"`
	In       *Flow          `json:"in,omitempty"`
	Out      *Flow          `json:"out,omitempty"`
	Detail   Detail         `json:"detail"`
	Checks   []Check        `json:"checks"`
	Evidence []Evidence     `json:"evidence"`
	Config   []ConfigObject `json:"config,omitempty"`
	Logs     []LogLine      `json:"logs,omitempty"`
	Branches []Branch       `json:"branches"`
	TookMS   float64        `json:"took_ms"`
}

// promised are the fields of [Detail] that a hop of the kind has even where
// nothing was found: the contract says so. What is true or false is absent where
// it is not known.
var promised = map[HopKind][]string{
	KindDNS: {"answers[]"}, KindService: {"service"}, KindLoadBalancer: {"service"}, KindNode: {"service", "dnat[]", "path[]"}, KindPod: {"pod", "role"},
	KindListener: {"name", "address"}, KindFilterChain: {"name"}, KindRoute: {"route_config", "virtual_host", "route", "rewrite", "owner[]"},
	KindCluster: {"name", "type", "owner[]"}, KindEndpoint: {"address", "health", "pod"}, KindExternal: {"address"},
}

// MarshalJSON writes the hop as the contract has it: the fields of its detail
// that its kind promises are there, empty where nothing was found.
func (h Hop) MarshalJSON() ([]byte, error) {
	detail, err := compact(h.Detail)
	if err != nil {
		return nil, err
	}
	var has map[string]json.RawMessage
	if err := json.Unmarshal(detail, &has); err != nil {
		return nil, err
	}
	for _, field := range promised[h.Kind] {
		name, list := strings.CutSuffix(field, "[]")
		if _, ok := has[name]; ok {
			continue
		}
		empty := `""`
		if list {
			empty = "[]"
		}
		comma := ","
		if len(detail) == len("{}") {
			comma = ""
		}
		detail = append(detail[:len(detail)-1], comma+`"`+name+`":`+empty+"}"...)
	}
	type hop Hop // without this method
	plain := hop(h)
	plain.Detail = Detail{}
	text, err := compact(plain)
	// Within a string the quotes would be escaped: this is the field.
	return bytes.Replace(text, []byte(`"detail":{}`), append([]byte(`"detail":`), detail...), 1), err
}

func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

// Subject is the object a hop is about. Namespace is empty for what has none.
type Subject struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String returns kind/namespace/name, without the empty parts.
func (s Subject) String() string {
	out := s.Kind
	if s.Namespace != "" {
		out += "/" + s.Namespace
	}
	if s.Name != "" {
		out += "/" + s.Name
	}
	return out
}

// Flow is the packet and the request as they stand at one point of the path.
type Flow struct {
	Proto       string   `json:"proto,omitempty"`  // tcp, udp, sctp
	Src         string   `json:"src,omitempty"`    // ip or ip:port
	Dst         string   `json:"dst,omitempty"`    // ip:port
	Mark        string   `json:"mark,omitempty"`   // 0x4000
	At          string   `json:"at,omitempty"`     // external, node:NAME, pod:NS/NAME
	App         string   `json:"app,omitempty"`    // tcp, http, grpc
	TLS         string   `json:"tls,omitempty"`    // none, tls, mtls
	SNI         string   `json:"sni,omitempty"`    //
	ALPN        []string `json:"alpn,omitempty"`   //
	HTTPVersion string   `json:"http,omitempty"`   // 1.0, 1.1, 2
	Method      string   `json:"method,omitempty"` //
	Scheme      string   `json:"scheme,omitempty"` //
	Authority   string   `json:"authority,omitempty"`
	Path        string   `json:"path,omitempty"` // with the query
	Headers     []Header `json:"headers,omitempty"`
}

// Header is one request header, in the order it was given.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Detail holds what a hop of its kind found, as named values for scripts.
// Fields that do not belong to the kind are absent; those that every hop of the
// kind has are empty where nothing was found.
type Detail struct {
	// dns
	Answers []string `json:"answers,omitempty"` // the CNAME chain, then the addresses
	// service, loadbalancer, node
	Service string `json:"service,omitempty"` // ns/name:port
	// node, and a Pod's own rules
	DNAT       []string   `json:"dnat,omitempty"`
	SNAT       string     `json:"snat,omitempty"`
	Masquerade *bool      `json:"masquerade,omitempty"`
	Rules      []RuleStep `json:"path,omitempty"`
	Redirect   string     `json:"redirect,omitempty"` // port the Pod's rules redirect to
	// pod
	Pod  string `json:"pod,omitempty"`  // ns/name
	Role string `json:"role,omitempty"` // gateway, sidecar, plain
	// listener, filter_chain, filter, cluster
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"` // listener, endpoint, external
	// route
	RouteConfig string            `json:"route_config,omitempty"`
	VirtualHost string            `json:"virtual_host,omitempty"`
	Route       string            `json:"route,omitempty"`
	Match       string            `json:"match,omitempty"`
	Rewrite     string            `json:"rewrite,omitempty"` // the upstream path, when it differs
	Authority   string            `json:"authority,omitempty"`
	Weighted    []WeightedCluster `json:"weighted,omitempty"`
	Hosts       []string          `json:"hosts,omitempty"` // hosts and paths served, where a bare connection ends
	Response    *Response         `json:"response,omitempty"`
	// cluster
	Cluster   string     `json:"cluster,omitempty"`
	Type      string     `json:"type,omitempty"`
	MTLS      *bool      `json:"mtls,omitempty"`
	Endpoints []Endpoint `json:"endpoints,omitempty"`
	// endpoint
	Health string `json:"health,omitempty"`
	// all of Envoy's
	Owner      []string   `json:"owner,omitempty"` // "VirtualService ns/name"
	Flags      string     `json:"flags,omitempty"`
	Code       string     `json:"response_code_details,omitempty"`
	NearMisses []NearMiss `json:"near_misses,omitempty"`
	Sockets    []string   `json:"sockets,omitempty"` // app: what listens
}

// RuleStep is one netfilter rule that a packet met and that matched.
type RuleStep struct {
	Hook   string `json:"hook,omitempty"`
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	Rule   int    `json:"rule"` // from 1; 0 is the chain's policy
	Text   string `json:"text"`
	Action string `json:"action"`
	Note   string `json:"note,omitempty"` // the chain in words: which Service, port, endpoint
}

// WeightedCluster is one entry of a route's weighted clusters.
type WeightedCluster struct {
	Name   string `json:"name"`
	Weight uint32 `json:"weight"`
}

// Endpoint is one host of a cluster, as the proxy sees it.
type Endpoint struct {
	Address string `json:"address"`
	Health  string `json:"health"`
	Weight  uint32 `json:"weight"`
	Pod     string `json:"pod,omitempty"`
}

// Response is an answer that something on the way gives instead of the
// application.
type Response struct {
	Status   int    `json:"status"`
	Location string `json:"location,omitempty"`
	Body     string `json:"body,omitempty"`
	// GRPCStatus is the grpc-status of an answer to a gRPC request, whose Status is
	// then 200. nil for any other.
	GRPCStatus *int `json:"grpc_status,omitempty"`
}

// NearMiss is something that was not chosen, and the one reason why.
type NearMiss struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Check is one question asked at a hop and its answer.
type Check struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Value string `json:"value,omitempty"`
}

// Basis says what kind of evidence something rests on.
type Basis string

// The bases. What was observed outranks what the configuration says, which
// outranks what was inferred.
const (
	Observed Basis = "observed"
	Config   Basis = "config"
	Inferred Basis = "inferred"
)

// Evidence is raw data a hop rests on.
type Evidence struct {
	ID      string `json:"id"`
	Basis   Basis  `json:"basis"`
	Source  string `json:"source"`            // the observation, as a snapshot names it
	Command string `json:"command,omitempty"` // what prints it again
	At      string `json:"at,omitempty"`      // RFC 3339, empty where not known
	Excerpt string `json:"excerpt"`
	Match   string `json:"match,omitempty"` // the part of the excerpt that matters
}

// ConfigObject is a decoded configuration object a hop used: an Envoy object or
// the resource a person wrote.
type ConfigObject struct {
	Kind   string          `json:"kind"` // listener, route, VirtualService ...
	Name   string          `json:"name"`
	Source string          `json:"source,omitempty"` // observation and path within it
	Object json.RawMessage `json:"object"`
}

// LogLine is one access log line of a proxy on the path.
type LogLine struct {
	Raw     string            `json:"raw"`
	Fields  map[string]string `json:"fields,omitempty"`
	Flags   []string          `json:"flags,omitempty"` // each with its meaning
	Traced  bool              `json:"traced"`          // belongs to the traced request's path
	Because string            `json:"because,omitempty"`
	At      string            `json:"at,omitempty"`
}

// Branch is one of several ways on from a hop.
type Branch struct {
	Label       string  `json:"label"`
	Probability float64 `json:"probability"`
	To          string  `json:"to,omitempty"` // id of the next hop; empty where the way ends here
	State       State   `json:"state"`        // the worst state on the way on
}

// Severity of a finding.
type Severity string

// The severities. Only an error can make a verdict other than reachable.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityInfo    Severity = "info"
)

// Finding is a named fault: its stable code, the hop that is guilty, what
// proves it and what to do.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Title    string   `json:"title"`
	Detail   string   `json:"detail"`
	Hop      string   `json:"hop,omitempty"`
	Evidence []string `json:"evidence"`
	CauseOf  []string `json:"cause_of"` // codes of the symptoms that hang below
	Fix      []string `json:"fix"`
}

// Collected says what the trace read and what it could not read.
type Collected struct {
	Read     []Read    `json:"read"`
	NotRead  []NotRead `json:"not_read"`
	Requests int       `json:"requests,omitempty"`
	Bytes    int64     `json:"bytes,omitempty"`
}

// Read is one observation the trace used.
type Read struct {
	What string `json:"what"`
	At   string `json:"at,omitempty"`
}

// NotRead is something the trace wanted and did not get.
type NotRead struct {
	What    string `json:"what"`
	Why     string `json:"why"`
	Command string `json:"command,omitempty"` // what would give it
}

// Tool says which program wrote the report.
type Tool struct {
	Version string `json:"version"`
}

// timestamp renders t as the report does, and an unknown time as "".
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
