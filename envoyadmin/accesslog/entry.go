package accesslog

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Entry is one access line, or a line that is none. All getters return the zero
// value where the line does not say: the format lacks the operator, or Envoy
// printed "-" or null.
type Entry struct {
	// Raw is the line as read, without the newline; the lines of a record that
	// was wrapped or split are joined by newlines. Of a line beyond the bound it
	// is the beginning.
	Raw string
	// Line is the number of its (first) line from 1; 0 from Parse.
	Line int
	// Prefix is what a log collector put before the line.
	Prefix string
	// Extra is what follows the last field the format knows.
	Extra string
	// Format is what the line was read with; nil when Why is set.
	Format *Format
	// Why says why this is not an access line; "" when it is one.
	Why string

	values []string // by operator of Format
	tier   tier     // how strictly the shapes were kept
}

// OK says whether the line is an access line.
func (e Entry) OK() bool { return e.Why == "" }

// Value returns what was printed for an operator, "REQ(:METHOD)" or
// "UPSTREAM_HOST", and whether the line has it. What was not set is "-".
// Spellings are as for [Format.Has].
func (e Entry) Value(operator string) (string, bool) {
	if e.Format == nil {
		return "", false
	}
	i := e.Format.position(operator)
	if i < 0 {
		return "", false
	}
	return e.values[i], true
}

// Fields returns every operator of the line, as [Operator.Key] names it, with
// what was printed for it; "-" is what was not set. A key of a JSON line that
// no operator is known for stands under its own name.
func (e Entry) Fields() map[string]string {
	if e.Format == nil {
		return nil
	}
	fields := make(map[string]string, len(e.values))
	for key, i := range e.Format.index {
		fields[key] = e.values[i]
	}
	return fields
}

// field is what a getter asks for; several operators may tell it.
type field int

const (
	fieldStart field = iota
	fieldMethod
	fieldPath
	fieldProtocol
	fieldStatus
	fieldFlags
	fieldDetails
	fieldTermination
	fieldTransport
	fieldReceived
	fieldSent
	fieldDuration
	fieldServiceTime
	fieldForwardedFor
	fieldUserAgent
	fieldRequestID
	fieldAuthority
	fieldUpstreamHost
	fieldUpstreamCluster
	fieldUpstreamLocal
	fieldDownstreamLocal
	fieldDownstreamRemote
	fieldServerName
	fieldRoute
	fieldCount
)

// fieldKeys are the operators that tell a field, the best first.
var fieldKeys = [fieldCount][]string{
	fieldStart:            {"START_TIME", "START_TIME_LOCAL"},
	fieldMethod:           {"REQ(:METHOD)"},
	fieldPath:             {"REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "REQ(X-ORIGINAL-PATH?:PATH)", "REQ(X-ENVOY-ORIGINAL-PATH)", "REQ(:PATH)"},
	fieldProtocol:         {"PROTOCOL"},
	fieldStatus:           {"RESPONSE_CODE", "RESP(:STATUS)"},
	fieldFlags:            {"RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG"},
	fieldDetails:          {"RESPONSE_CODE_DETAILS"},
	fieldTermination:      {"CONNECTION_TERMINATION_DETAILS"},
	fieldTransport:        {"UPSTREAM_TRANSPORT_FAILURE_REASON"},
	fieldReceived:         {"BYTES_RECEIVED"},
	fieldSent:             {"BYTES_SENT"},
	fieldDuration:         {"DURATION"},
	fieldServiceTime:      {"RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)"},
	fieldForwardedFor:     {"REQ(X-FORWARDED-FOR)"},
	fieldUserAgent:        {"REQ(USER-AGENT)"},
	fieldRequestID:        {"REQ(X-REQUEST-ID)", "STREAM_ID"},
	fieldAuthority:        {"REQ(:AUTHORITY)", "REQ(X-ENVOY-ORIGINAL-HOST?:AUTHORITY)", "REQ(HOST)"},
	fieldUpstreamHost:     {"UPSTREAM_HOST", "UPSTREAM_REMOTE_ADDRESS"},
	fieldUpstreamCluster:  {"UPSTREAM_CLUSTER_RAW", "UPSTREAM_CLUSTER"},
	fieldUpstreamLocal:    {"UPSTREAM_LOCAL_ADDRESS"},
	fieldDownstreamLocal:  {"DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_DIRECT_LOCAL_ADDRESS"},
	fieldDownstreamRemote: {"DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS"},
	fieldServerName:       {"REQUESTED_SERVER_NAME"},
	fieldRoute:            {"ROUTE_NAME"},
}

// needed are the fields without which a line cannot be joined to a path or its
// failure not be told.
var needed = []field{
	fieldStart, fieldMethod, fieldPath, fieldStatus, fieldFlags, fieldDetails, fieldTransport, fieldRequestID,
	fieldAuthority, fieldUpstreamHost, fieldUpstreamCluster, fieldDownstreamLocal, fieldDownstreamRemote, fieldServerName, fieldRoute,
}

// printed is what was printed for the field, "" where nothing was.
func (e Entry) printed(f field) string {
	if e.Format == nil {
		return ""
	}
	i := e.Format.slots[f]
	if i < 0 || e.values[i] == "-" {
		return ""
	}
	return e.values[i]
}

func (e Entry) number(f field) int64 {
	v := e.printed(f)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err == nil {
		return n
	}
	// Numbers of JSON lines may have passed through a log pipeline: 12.0, 1e3.
	if x, err := strconv.ParseFloat(v, 64); err == nil && math.Abs(x) < 1<<53 {
		return int64(x)
	}
	return 0
}

// Start is when the request or connection began (START_TIME). A time printed
// without a zone is UTC, as Envoy's is.
func (e Entry) Start() time.Time {
	v := e.printed(fieldStart)
	if v == "" {
		return time.Time{}
	}
	op := e.Format.ops[e.Format.slots[fieldStart]]
	return parseTime(op, v)
}

// Method is the request's method.
func (e Entry) Method() string { return e.printed(fieldMethod) }

// Path is the path with the query as the client sent it, before rewrites where
// the format asks for that.
func (e Entry) Path() string { return e.printed(fieldPath) }

// Protocol is HTTP/1.0, HTTP/1.1, HTTP/2 or HTTP/3; "" for TCP.
func (e Entry) Protocol() string { return e.printed(fieldProtocol) }

// Status is the status sent to the client; 0 for TCP and where no response was
// sent.
func (e Entry) Status() int { return int(e.number(fieldStatus)) }

// Flags are the response flags in their short form, in the order printed.
func (e Entry) Flags() []string {
	v := e.printed(fieldFlags)
	if v == "" {
		return nil
	}
	flags := strings.Split(v, ",")
	for i, flag := range flags {
		if short, ok := shortFlags[flag]; ok {
			flags[i] = short
		}
	}
	return flags
}

// Details are the response code details, a word and perhaps {...}.
func (e Entry) Details() string { return e.printed(fieldDetails) }

// TerminationDetails say why Envoy closed the downstream connection on L4.
func (e Entry) TerminationDetails() string { return e.printed(fieldTermination) }

// TransportFailure is the upstream transport failure reason.
func (e Entry) TransportFailure() string { return e.printed(fieldTransport) }

// BytesReceived counts the bytes of the request's body, or of the connection.
func (e Entry) BytesReceived() int64 { return e.number(fieldReceived) }

// BytesSent counts the bytes of the response's body, or of the connection.
func (e Entry) BytesSent() int64 { return e.number(fieldSent) }

// Duration is the time from the first byte of the request to the last of the
// response.
func (e Entry) Duration() time.Duration { return e.millis(fieldDuration) }

// ServiceTime is what x-envoy-upstream-service-time says: the upstream's part.
func (e Entry) ServiceTime() time.Duration { return e.millis(fieldServiceTime) }

func (e Entry) millis(f field) time.Duration {
	n := e.number(f)
	if n > math.MaxInt64/int64(time.Millisecond) || n < 0 {
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

// ForwardedFor is the x-forwarded-for header.
func (e Entry) ForwardedFor() string { return e.printed(fieldForwardedFor) }

// UserAgent is the user-agent header.
func (e Entry) UserAgent() string { return e.printed(fieldUserAgent) }

// RequestID is the x-request-id header. Envoys on one path log the same;
// retries of a client-side Envoy do so too.
func (e Entry) RequestID() string { return e.printed(fieldRequestID) }

// Authority is the :authority or Host header.
func (e Entry) Authority() string { return e.printed(fieldAuthority) }

// UpstreamHost is the endpoint: ip:port, [v6]:port, or an internal listener as
// envoy://connect_originate/ip:port.
func (e Entry) UpstreamHost() string { return e.printed(fieldUpstreamHost) }

// UpstreamCluster is the cluster's name, or its alternative statistics name
// where the format has only UPSTREAM_CLUSTER.
func (e Entry) UpstreamCluster() string { return e.printed(fieldUpstreamCluster) }

// UpstreamLocal is this Envoy's end of the connection to the upstream; it is
// the next Envoy's DownstreamRemote where nothing rewrites addresses between.
func (e Entry) UpstreamLocal() string { return e.printed(fieldUpstreamLocal) }

// DownstreamLocal is the address the client connected to.
func (e Entry) DownstreamLocal() string { return e.printed(fieldDownstreamLocal) }

// DownstreamRemote is the client's address.
func (e Entry) DownstreamRemote() string { return e.printed(fieldDownstreamRemote) }

// ServerName is the SNI the client asked for.
func (e Entry) ServerName() string { return e.printed(fieldServerName) }

// Route is the name of the route that was taken.
func (e Entry) Route() string { return e.printed(fieldRoute) }

// shortFlags are the short forms of what RESPONSE_FLAGS_LONG prints
// (source/common/stream_info/utility.h).
var shortFlags = map[string]string{
	"FailedLocalHealthCheck":           "LH",
	"NoHealthyUpstream":                "UH",
	"UpstreamRequestTimeout":           "UT",
	"LocalReset":                       "LR",
	"UpstreamRemoteReset":              "UR",
	"UpstreamConnectionFailure":        "UF",
	"UpstreamConnectionTermination":    "UC",
	"UpstreamOverflow":                 "UO",
	"NoRouteFound":                     "NR",
	"DelayInjected":                    "DI",
	"FaultInjected":                    "FI",
	"RateLimited":                      "RL",
	"UnauthorizedExternalService":      "UAEX",
	"RateLimitServiceError":            "RLSE",
	"DownstreamConnectionTermination":  "DC",
	"UpstreamRetryLimitExceeded":       "URX",
	"StreamIdleTimeout":                "SI",
	"InvalidEnvoyRequestHeaders":       "IH",
	"DownstreamProtocolError":          "DPE",
	"UpstreamMaxStreamDurationReached": "UMSDR",
	"ResponseFromCacheFilter":          "RFCF",
	"NoFilterConfigFound":              "NFCF",
	"DurationTimeout":                  "DT",
	"UpstreamProtocolError":            "UPE",
	"NoClusterFound":                   "NC",
	"OverloadManagerTerminated":        "OM",
	"DnsResolutionFailed":              "DF",
	"DropOverload":                     "DO",
	"DownstreamRemoteReset":            "DR",
	"UnconditionalDropOverload":        "UDO",
}
