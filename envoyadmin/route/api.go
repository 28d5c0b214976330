package route

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// Kind says what becomes of a request.
type Kind string

// The kinds of outcome. Undetermined is the zero value.
const (
	Undetermined    Kind = ""
	Forward         Kind = "forward"
	Redirect        Kind = "redirect"
	TLSRedirect     Kind = "tls_redirect" // require_tls of the virtual host
	DirectResponse  Kind = "direct_response"
	NoVirtualHost   Kind = "no_virtual_host"
	NoRoute         Kind = "no_route"
	ClusterNotFound Kind = "cluster_not_found"
	NonForwarding   Kind = "non_forwarding" // non_forwarding_action or filter_action: only a filter can answer
)

// Decision is everything Envoy's route table can say of one request: each outcome with its probability, and why not
// the routes that were passed over.
type Decision struct {
	Outcomes   []Outcome
	NearMisses []NearMiss
	Notes      []string // what was assumed, such as a runtime key at its default
}

// NearMiss is a route, virtual host or domain that was not chosen, and the first condition that failed, in words.
type NearMiss struct {
	Kind string // route, virtual_host
	Name string // name of the route or virtual host, or the match where it has no name
	Why  string // "path is not /simple/x"
}

// Outcome is one way the request may go.
type Outcome struct {
	Kind        Kind
	Probability float64
	Why         string   // how it came about: the match that held, or the reason it is undetermined
	Possible    []string // where undetermined: what it may be, in words, in the order Envoy would try

	VirtualHost string
	Host        *routev3.VirtualHost
	Route       *routev3.Route // nil where none was chosen
	RouteIndex  int            // in the virtual host's list, or -1
	Match       string         // the match in words: "prefix /simple/nginx"

	Entry      *routev3.WeightedCluster_ClusterWeight // of the weighted clusters; nil where there are none
	Cluster    string
	ClusterWhy string // "weight 30 of 100", "header x-dst"

	Status   int    // of a response Envoy gives itself
	Location string // of a redirect
	Body     string
	Flags    string // response flags: NR, NC
	// OnDemand names the virtual host, as table/host, that an on_demand filter asks for where the table has no route for
	// the request and gets its virtual hosts by VHDS; empty where it asks for none.
	OnDemand string
	Details  string // response code details: route_not_found
	Response []matcher.Header

	Upstream Upstream
	Policy   Policy

	// PerFilter lists the typed_per_filter_config maps that apply, the most specific first: weighted cluster entry,
	// route, virtual host, route configuration.
	PerFilter []map[string]*anypb.Any
}

// Upstream is the request as it leaves for the cluster.
type Upstream struct {
	Method    string
	Path      string
	Authority string
	Headers   []matcher.Header
	// Rewrite says in words what was rewritten: "prefix /simple/nginx -> /"; empty where nothing was.
	Rewrite []string
	// AutoHost is true where Envoy puts the chosen endpoint's own host name in place of Authority.
	AutoHost bool
	// Mutations lists the header changes in the order they are made.
	Mutations []string
	// Response lists the changes that will be made to the headers of the answer, in that order; values as configured.
	Response []string
}

// Mirror is a cluster that gets a copy of the request.
type Mirror struct {
	Cluster  string
	Percent  float64
	HostSufx bool // "-shadow" is added to the host
}

// Policy is how the router treats a forwarded request. Durations are as Envoy applies them, defaults filled in; a
// negative one means none.
type Policy struct {
	Timeout            time.Duration
	IdleTimeout        time.Duration // -1: the connection manager's
	MaxStreamDuration  time.Duration
	Retry              *routev3.RetryPolicy // nil: none; of the route, else of the virtual host
	RetryFrom          string               // route or virtual host
	Retries            uint32
	Hedge              *routev3.HedgePolicy
	InternalRedirect   *routev3.InternalRedirectPolicy
	Mirrors            []Mirror
	HashPolicy         []*routev3.RouteAction_HashPolicy
	Priority           corev3.RoutingPriority
	MetadataMatch      *corev3.Metadata // merged with the weighted entry's
	RateLimits         []*routev3.RateLimit
	VHostRateLimits    []*routev3.RateLimit
	VirtualCluster     string
	AttemptCount       bool
	ConnectTerminated  bool  // connect_config: Envoy ends the CONNECT and sends raw bytes on
	BufferLimit        int64 // -1: default
	InternalOnlyRemove []string
}
