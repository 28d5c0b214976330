package envoyadmin

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	clientwrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	lbcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	subsetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/subset/v3"
	wrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// cache keeps decoded clusters. It holds at most a few hundred.
type cache struct {
	mu       sync.Mutex
	clusters map[string]*cluster
}

const maxCached = 256

// cluster is a decoded cluster with the little that sending needs.
type cluster struct {
	entry   *entry
	state   resourceState
	config  *clusterv3.Cluster
	kind    string // EDS, STATIC, STRICT_DNS, LOGICAL_DNS, ORIGINAL_DST, aggregate, dynamic_forward_proxy or a type name
	service string // EDS service name
	http    *httpv3.HttpProtocolOptions
	http2   bool
	sockets []namedSocket
	socket  socket
	parts   []string // of an aggregate
	lb      balancing
	err     error

	once sync.Once
	set  hostSet
}

type namedSocket struct {
	name  string
	match *structpb.Struct
	socket
}

// cluster decodes a cluster by name; nil if the dump has none of that name. A
// warming one is returned only if there is no active one.
func (d *Dump) cluster(name string) *cluster {
	d.cache.mu.Lock()
	defer d.cache.mu.Unlock()
	if c, ok := d.cache.clusters[name]; ok {
		return c
	}
	i, ok := d.byCluster[name]
	if !ok {
		if i, ok = d.notActive[name]; !ok {
			return nil
		}
	}
	c := d.parseCluster(&d.clusters[i])
	if d.cache.clusters == nil || len(d.cache.clusters) >= maxCached {
		d.cache.clusters = map[string]*cluster{}
	}
	d.cache.clusters[name] = c
	return c
}

// hasCluster says whether a cluster of that name is active.
func (d *Dump) hasCluster(name string) bool {
	_, ok := d.byCluster[name]
	return ok
}

func (d *Dump) parseCluster(e *entry) *cluster {
	c := &cluster{entry: e, state: e.state, config: &clusterv3.Cluster{}}
	if c.err = decode.JSON(d.data[e.from:e.to], c.config); c.err != nil {
		return c
	}
	c.service = c.config.GetEdsClusterConfig().GetServiceName()
	if c.service == "" {
		c.service = e.name
	}
	switch t := c.config.GetClusterDiscoveryType().(type) {
	case *clusterv3.Cluster_ClusterType:
		c.customType(t.ClusterType)
	default:
		c.kind = c.config.GetType().String()
	}
	if o := c.config.GetTypedExtensionProtocolOptions()["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]; o != nil {
		m := &httpv3.HttpProtocolOptions{}
		if o.UnmarshalTo(m) == nil {
			c.http = m
		}
	}
	c.http2 = c.config.GetHttp2ProtocolOptions() != nil || //nolint:staticcheck // dumps of older Envoys hold nothing else
		c.http.GetExplicitHttpConfig().GetHttp2ProtocolOptions() != nil
	c.socket = readSocket(c.config.GetTransportSocket())
	for _, m := range c.config.GetTransportSocketMatches() {
		c.sockets = append(c.sockets, namedSocket{m.GetName(), m.GetMatch(), readSocket(m.GetTransportSocket())})
	}
	c.lb = readBalancing(c.config)
	for _, un := range decode.Unknown(c.config) {
		switch name, value, _ := strings.Cut(un, ": "); {
		case name == "type":
			c.kind = strings.Trim(value, `"`)
		case strings.HasPrefix(name, "lb_") || strings.HasPrefix(name, "load_balancing_policy"):
			c.lb.unknown = un
		}
	}
	for _, part := range []struct {
		name string
		of   proto.Message
	}{{"common_lb_config", c.config.GetCommonLbConfig()}, {"lb_subset_config", c.config.GetLbSubsetConfig()}} {
		if un := decode.Unknown(part.of); len(un) > 0 && c.lb.unknown == "" {
			c.lb.unknown = part.name + "." + un[0]
		}
	}
	return c
}

func (c *cluster) customType(t *clusterv3.Cluster_CustomClusterType) {
	var agg aggregatev3.ClusterConfig
	var dns dnsv3.DnsCluster
	switch name := typeOf(t.GetTypedConfig(), t.GetName()); {
	case unpack(t.GetTypedConfig(), &agg):
		c.kind, c.parts = "aggregate", agg.GetClusters()
	case unpack(t.GetTypedConfig(), &dns):
		c.kind = "STRICT_DNS"
		if dns.GetAllAddressesInSingleEndpoint() {
			c.kind = "LOGICAL_DNS"
		}
	case strings.Contains(name, "dynamic_forward_proxy"):
		c.kind = "dynamic_forward_proxy"
	case strings.Contains(name, "clusters.static") || name == "envoy.cluster.static":
		c.kind = "STATIC"
	case name == "envoy.cluster.eds":
		c.kind = "EDS"
	case name == "envoy.cluster.strict_dns":
		c.kind = "STRICT_DNS"
	case name == "envoy.cluster.logical_dns":
		c.kind = "LOGICAL_DNS"
	case strings.Contains(name, "original_dst"):
		c.kind = "ORIGINAL_DST"
	default:
		c.kind = t.GetName()
		if c.kind == "" {
			c.kind = name
		}
	}
}

// balancing is how a cluster picks a host.
type balancing struct {
	policy           string
	panicThreshold   int // percent
	failOnPanic      bool
	localityWeighted bool
	subset           *subsetv3.Subset
	hashed           bool
	zone             zoneAware
	unknown          string // a policy nobody here knows
}

func readBalancing(c *clusterv3.Cluster) balancing {
	b := balancing{policy: c.GetLbPolicy().String(), panicThreshold: 50, zone: zoneDefaults()}
	common := c.GetCommonLbConfig()
	if t := common.GetHealthyPanicThreshold(); t != nil {
		b.panicThreshold = min(100, int(math.Round(t.GetValue())))
	}
	b.localityWeighted = common.GetLocalityWeightedLbConfig() != nil
	if z := common.GetZoneAwareLbConfig(); z != nil {
		b.failOnPanic = z.GetFailTrafficOnPanic()
		b.zone.read(&lbcommonv3.LocalityLbConfig_ZoneAwareLbConfig{RoutingEnabled: z.GetRoutingEnabled(), MinClusterSize: z.GetMinClusterSize()})
	}
	if s := c.GetLbSubsetConfig(); len(s.GetSubsetSelectors()) > 0 {
		b.subset = &subsetv3.Subset{
			FallbackPolicy: subsetv3.Subset_LbSubsetFallbackPolicy(s.GetFallbackPolicy()), DefaultSubset: s.GetDefaultSubset(),
			PanicModeAny: s.GetPanicModeAny(), ListAsAny: s.GetListAsAny(), LocalityWeightAware: s.GetLocalityWeightAware(),
			MetadataFallbackPolicy: subsetv3.Subset_LbSubsetMetadataFallbackPolicy(s.GetMetadataFallbackPolicy()),
			ScaleLocalityWeight:    s.GetScaleLocalityWeight(),
		}
		for _, x := range s.GetSubsetSelectors() {
			b.subset.SubsetSelectors = append(b.subset.SubsetSelectors, &subsetv3.Subset_LbSubsetSelector{
				Keys: x.GetKeys(), FallbackPolicy: subsetv3.Subset_LbSubsetSelector_LbSubsetSelectorFallbackPolicy(x.GetFallbackPolicy()),
				FallbackKeysSubset: x.GetFallbackKeysSubset(), SingleHostPerSubset: x.GetSingleHostPerSubset(),
			})
		}
	}
	if p := c.GetLoadBalancingPolicy(); p != nil {
		b.typed(p, 0)
	}
	switch b.policy {
	case "ROUND_ROBIN", "LEAST_REQUEST", "RANDOM":
	case "RING_HASH", "MAGLEV":
		b.hashed, b.zone.off = true, true
	default:
		b.zone.off = true
	}
	return b
}

// typed reads load_balancing_policy: the first policy is taken, as Envoy does where it supports it.
func (b *balancing) typed(p *clusterv3.LoadBalancingPolicy, depth int) {
	if depth > 4 {
		return
	}
	locality := func(l *lbcommonv3.LocalityLbConfig) {
		b.localityWeighted = b.localityWeighted || l.GetLocalityWeightedLbConfig() != nil
		b.failOnPanic = b.failOnPanic || l.GetZoneAwareLbConfig().GetFailTrafficOnPanic()
		b.zone.read(l.GetZoneAwareLbConfig())
	}
	if policies := p.GetPolicies(); len(policies) > 0 {
		x := policies[0]
		a := x.GetTypedExtensionConfig().GetTypedConfig()
		var rr roundv3.RoundRobin
		var lr leastv3.LeastRequest
		var rnd randomv3.Random
		var ring ringv3.RingHash
		var mag maglevv3.Maglev
		var sub subsetv3.Subset
		var wrr wrrv3.WrrLocality
		var cw clientwrrv3.ClientSideWeightedRoundRobin
		switch {
		case unpack(a, &rr):
			b.policy = "ROUND_ROBIN"
			locality(rr.GetLocalityLbConfig())
		case unpack(a, &lr):
			b.policy = "LEAST_REQUEST"
			locality(lr.GetLocalityLbConfig())
		case unpack(a, &rnd):
			b.policy = "RANDOM"
			locality(rnd.GetLocalityLbConfig())
		case unpack(a, &ring):
			b.policy = "RING_HASH"
			b.localityWeighted = b.localityWeighted || ring.GetLocalityWeightedLbConfig() != nil
		case unpack(a, &mag):
			b.policy = "MAGLEV"
			b.localityWeighted = b.localityWeighted || mag.GetLocalityWeightedLbConfig() != nil
		case unpack(a, &sub):
			b.subset = proto.Clone(&sub).(*subsetv3.Subset)
			b.typed(sub.GetSubsetLbPolicy(), depth+1)
		case unpack(a, &wrr):
			b.localityWeighted = true
			b.typed(wrr.GetEndpointPickingPolicy(), depth+1)
		case unpack(a, &cw):
			b.policy = "client_side_weighted_round_robin"
		default:
			t, _ := decode.TypeOf(a)
			switch {
			case strings.HasSuffix(t, "cluster_provided.v3.ClusterProvided"):
				b.policy = "CLUSTER_PROVIDED"
			case strings.HasSuffix(t, "pick_first.v3.PickFirst"):
				b.policy = "PICK_FIRST"
			default:
				b.policy, b.unknown = x.GetTypedExtensionConfig().GetName(), t
			}
		}
	}
}

// upstreamHost is one host of a cluster.
type upstreamHost struct {
	address        string
	addr           netip.AddrPort
	hostname       string
	health         string // healthy, degraded, unhealthy, unknown
	why            string
	excluded       bool
	weight         uint32
	priority       uint32
	locality       string
	localityWeight uint32
	lb             *structpb.Struct
	match          *structpb.Struct
	localityMatch  *structpb.Struct
	stats          map[string]uint64
	bare           bool // its metadata is not known: only /clusters names it
}

// hostSet is what is known of a cluster's hosts.
type hostSet struct {
	hosts            []upstreamHost
	known            bool   // false: nothing read says which hosts there are
	why              string // where they come from, or why they are not known
	source           string
	overprovisioning int
	byWeight         bool // weighted_priority_health
	drops            []*endpointv3.ClusterLoadAssignment_Policy_DropOverload
	notes            []string
	fromConfig       bool // the cluster's own load_assignment
	fromStatus       bool
}

// hosts lists the hosts of a cluster: from /clusters where it was read, with the
// metadata of the endpoints section; else from that section, which shows health
// only coarsely; else from the cluster's own load_assignment.
func (d *Dump) hosts(c *cluster) hostSet {
	c.once.Do(func() { c.set = d.readHosts(c) })
	return c.set
}

func (d *Dump) readHosts(c *cluster) hostSet {
	var set hostSet
	var la *endpointv3.ClusterLoadAssignment
	e, ok := d.endpoints[c.service]
	if !ok {
		e, ok = d.endpoints[c.entry.name]
	}
	if ok {
		la = &endpointv3.ClusterLoadAssignment{}
		if err := decode.JSON(d.data[e.from:e.to], la); err != nil {
			la = nil
			set.notes = append(set.notes, err.Error())
		} else {
			set.known, set.source, set.why = true, e.path(), "from the endpoints section"
		}
	}
	if la == nil && c.config.GetLoadAssignment() != nil {
		la, set.fromConfig = c.config.GetLoadAssignment(), true
		set.known, set.source, set.why = true, join(c.entry.path(), "load_assignment"), "from the cluster's load_assignment"
	}
	if la == nil && (c.kind == "STATIC" || c.kind == "STRICT_DNS" || c.kind == "LOGICAL_DNS") {
		set.known, set.source, set.why = true, c.entry.path(), "the cluster has no load_assignment"
	}
	if la != nil {
		set.overprovisioning = int(la.GetPolicy().GetOverprovisioningFactor().GetValue())
		set.byWeight = la.GetPolicy().GetWeightedPriorityHealth()
		set.drops = la.GetPolicy().GetDropOverloads()
		set.hosts = assignment(la, c, set.fromConfig)
		if leds := slices.ContainsFunc(la.GetEndpoints(), func(g *endpointv3.LocalityLbEndpoints) bool {
			return g.GetLedsClusterLocalityConfig() != nil || g.GetLoadBalancerEndpoints() != nil
		}); leds && len(set.hosts) == 0 {
			set.known, set.why = false, "its hosts are discovered one by one (LEDS) and are not in the dump"
		}
	}
	if d.status == nil {
		if !set.known {
			set.why = "the dump holds no endpoints (take it with ?include_eds) and /clusters was not read"
			switch {
			case c.kind == "ORIGINAL_DST" || c.kind == "dynamic_forward_proxy":
				set.why = "its hosts are those that were asked for so far, and /clusters, which tells them, was not read"
			case d.has.endpoints:
				set.why = "the endpoints section does not list " + c.service + " and /clusters was not read"
			}
		}
		return set
	}
	st := d.statusOf(c.entry.name)
	if st == nil {
		set.notes = append(set.notes, "/clusters does not list the cluster: it was warming or came later")
		if !set.known {
			set.why = "neither the endpoints section nor /clusters lists the cluster"
		}
		return set
	}
	byAddr := map[string]*upstreamHost{}
	for i := range set.hosts {
		byAddr[set.hosts[i].address] = &set.hosts[i]
	}
	if c.kind == "LOGICAL_DNS" || c.kind == "STRICT_DNS" {
		byAddr = map[string]*upstreamHost{} // addresses are what the names resolved to
		if len(set.hosts) == 1 {
			for _, h := range st.hosts {
				byAddr[h.address] = &set.hosts[0]
			}
		}
	}
	tagged := slices.ContainsFunc(set.hosts, func(h upstreamHost) bool { return h.lb != nil || h.match != nil || h.localityMatch != nil })
	merged := make([]upstreamHost, 0, len(st.hosts))
	for _, s := range st.hosts {
		h := upstreamHost{address: s.address, hostname: s.hostname, weight: s.weight, priority: s.priority, locality: s.locality, stats: s.stats}
		if known := byAddr[s.address]; known != nil {
			h.lb, h.match, h.localityMatch, h.localityWeight = known.lb, known.match, known.localityMatch, known.localityWeight
			if h.hostname == "" {
				h.hostname = known.hostname
			}
		} else {
			h.bare = c.kind == "EDS" || tagged
		}
		h.addr, _ = netip.ParseAddrPort(h.address)
		h.judge(s.eds, s.flags)
		merged = append(merged, h)
	}
	set.hosts, set.known, set.fromConfig, set.fromStatus = merged, true, false, true
	set.why = "from /clusters"
	return set
}

// judge sets the health of a host from its flags. Source: envoy/upstream/upstream.h.
func (h *upstreamHost) judge(eds string, flags []string) {
	var bad, degraded []string
	for _, f := range flags {
		switch f {
		case "failed_active_hc", "failed_outlier_check":
			bad = append(bad, f)
		case "degraded_active_hc", "degraded_outlier_detection":
			degraded = append(degraded, f)
		case "pending_active_hc", "excluded_via_immediate_hc_fail":
			h.excluded = true
		}
	}
	switch eds {
	case "UNHEALTHY", "TIMEOUT":
		bad = append(bad, "failed_eds_health")
	case "DRAINING":
		bad = append(bad, "eds_status_draining")
		h.excluded = true
	case "DEGRADED":
		degraded = append(degraded, "degraded_eds_health")
	}
	switch {
	case len(bad) > 0:
		h.health, h.why = "unhealthy", strings.Join(bad, ", ")
	case len(degraded) > 0:
		h.health, h.why = "degraded", strings.Join(degraded, ", ")
	default:
		h.health = "healthy"
	}
}

// overrides says whether a host that a session or a filter asks for may be
// chosen: whether its status is one of override_host_status. Source:
// HostUtility::selectOverrideHost in source/common/upstream/host_utility.cc,
// healthStatus in source/common/upstream/upstream_impl.h.
func (c *cluster) overrides(h *upstreamHost) matcher.Verdict {
	var is []corev3.HealthStatus
	switch {
	case h.health == "unknown":
		return matcher.Undecided
	case strings.Contains(h.why, "failed_active_hc") || strings.Contains(h.why, "failed_outlier_check"):
		is = []corev3.HealthStatus{corev3.HealthStatus_UNHEALTHY}
	case strings.Contains(h.why, "eds_status_draining"):
		is = []corev3.HealthStatus{corev3.HealthStatus_DRAINING}
	case h.health == "unhealthy":
		is = []corev3.HealthStatus{corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_TIMEOUT, corev3.HealthStatus_DRAINING}
	case h.health == "degraded":
		is = []corev3.HealthStatus{corev3.HealthStatus_DEGRADED}
	default:
		is = []corev3.HealthStatus{corev3.HealthStatus_HEALTHY, corev3.HealthStatus_UNKNOWN}
	}
	allowed := []corev3.HealthStatus{corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY, corev3.HealthStatus_DEGRADED}
	if o := c.config.GetCommonLbConfig().GetOverrideHostStatus(); o != nil {
		allowed = o.GetStatuses()
	}
	in := 0
	for _, s := range is {
		if slices.Contains(allowed, s) {
			in++
		}
	}
	switch in {
	case len(is):
		return matcher.Yes
	case 0:
		return matcher.No
	}
	return matcher.Undecided
}

// coarseUnhealthy is why an endpoint is unhealthy where only the config_dump's
// endpoints section says so: it does not tell a host that was ejected or fails its
// health checks from one that EDS calls unhealthy; /clusters does.
const coarseUnhealthy = "UNHEALTHY in the config_dump; /clusters, which was not read, tells why"

func assignment(la *endpointv3.ClusterLoadAssignment, c *cluster, fromConfig bool) []upstreamHost {
	var out []upstreamHost
	for _, g := range la.GetEndpoints() {
		loc := locality(g.GetLocality().GetRegion(), g.GetLocality().GetZone(), g.GetLocality().GetSubZone())
		for _, e := range g.GetLbEndpoints() {
			h := upstreamHost{
				hostname: e.GetEndpoint().GetHostname(), weight: 1, priority: g.GetPriority(), locality: loc,
				localityWeight: g.GetLoadBalancingWeight().GetValue(),
				lb:             e.GetMetadata().GetFilterMetadata()["envoy.lb"],
				match:          e.GetMetadata().GetFilterMetadata()["envoy.transport_socket_match"],
				localityMatch:  g.GetMetadata().GetFilterMetadata()["envoy.transport_socket_match"],
			}
			if w := e.GetLoadBalancingWeight(); w != nil {
				h.weight = w.GetValue()
			}
			h.address, h.addr = addressText(e.GetEndpoint().GetAddress())
			h.judge(e.GetHealthStatus().String(), nil)
			if !fromConfig && h.health == "unhealthy" && !h.excluded {
				// The endpoints section tells the coarse health of a host, whatever
				// made it so (server/admin/config_dump_handler.cc, addLbEndpoint).
				h.why = coarseUnhealthy
			}
			if fromConfig && h.health == "healthy" {
				switch {
				case c.kind == "STRICT_DNS" || c.kind == "LOGICAL_DNS":
					h.health, h.why = "unknown", "resolved by DNS when used; /clusters was not read"
				case len(c.config.GetHealthChecks()) > 0 || c.config.GetOutlierDetection() != nil:
					h.health, h.why = "unknown", "checked while serving; /clusters was not read"
				}
			}
			out = append(out, h)
		}
	}
	return out
}

func addressText(a *corev3.Address) (string, netip.AddrPort) {
	switch x := a.GetAddress().(type) {
	case *corev3.Address_SocketAddress:
		s := hostPort(x.SocketAddress.GetAddress(), fmt.Sprint(x.SocketAddress.GetPortValue()))
		ap, _ := netip.ParseAddrPort(s)
		return s, ap
	case *corev3.Address_Pipe:
		return x.Pipe.GetPath(), netip.AddrPort{}
	case *corev3.Address_EnvoyInternalAddress:
		return "envoy://" + x.EnvoyInternalAddress.GetServerListenerName() + "/" + x.EnvoyInternalAddress.GetEndpointId(), netip.AddrPort{}
	}
	return "", netip.AddrPort{}
}

// pick is the answer of a load balancer: the share of each host. Shares that
// add up to less than 1 leave requests for which no host is found.
type pick struct {
	share  []float64
	panic  bool
	reason string // why no host can be chosen
	open   string // why the shares are not certain
	notes  []string
}

// settings is what choosing needs to know beside the hosts.
type settings struct {
	overprovisioning int  // percent; 0 is Envoy's 140
	byWeight         bool // priorities count the weights of their hosts
	home             *home
	whole            []upstreamHost // all hosts of the cluster, where a subset scales the weights of localities
}

func (d *Dump) settings(c *cluster, set *hostSet) settings {
	s := settings{overprovisioning: set.overprovisioning, byWeight: set.byWeight}
	if h := d.home(); h != nil && h.cluster != c.entry.name {
		s.home = h
	}
	if c.lb.subset.GetScaleLocalityWeight() {
		s.whole = set.hosts
	}
	return s
}

// maxPriority is Envoy's own bound.
const maxPriority = 128

// priorities counts the hosts of each priority.
func priorities(hosts []upstreamHost, s settings) []priorityState {
	top := uint32(0)
	for i := range hosts {
		top = max(top, hosts[i].level())
	}
	state := make([]priorityState, top+1)
	for i := range state {
		state[i].overprovisioning = s.overprovisioning
		if s.byWeight {
			state[i].weights = &priorityWeights{}
		}
	}
	for i := range hosts {
		h := &hosts[i]
		p, w := &state[h.level()], &priorityWeights{}
		if p.weights != nil {
			w = p.weights
		}
		p.hosts++
		if h.excluded {
			p.excluded++
		} else {
			w.total += int(h.weight)
		}
		switch {
		case h.fit():
			p.healthy++
			w.healthy += int(h.weight)
		case h.health == "degraded":
			p.degraded++
			w.degraded += int(h.weight)
		}
	}
	return state
}

func (h *upstreamHost) level() uint32 { return min(h.priority, maxPriority) }

// choose spreads one request over hosts by priority, health, locality and
// weight.
func (b *balancing) choose(hosts []upstreamHost, s settings) pick {
	p := pick{share: make([]float64, len(hosts))}
	if len(hosts) == 0 {
		p.reason = "the cluster has no hosts"
		return p
	}
	state := priorities(hosts, s)
	load := spread(state, b.panicThreshold)
	for i := range state {
		b.at(&p, hosts, s, i, load.panic[i], float64(load.healthy[i])/100, float64(load.degraded[i])/100)
	}
	b.conclude(&p, len(hosts))
	return p
}

// at gives the hosts of one priority their part of the load.
func (b *balancing) at(p *pick, hosts []upstreamHost, s settings, priority int, panics bool, healthy, degraded float64) {
	if healthy+degraded == 0 {
		return
	}
	in := func(want func(*upstreamHost) bool) []int {
		var out []int
		for j := range hosts {
			if int(hosts[j].level()) == priority && want(&hosts[j]) {
				out = append(out, j)
			}
		}
		return out
	}
	if panics {
		p.panic = true
		if b.failOnPanic {
			p.reason = fmt.Sprintf("priority %d is in panic and fail_traffic_on_panic is set", priority)
			return
		}
		b.share(p, hosts, in(func(*upstreamHost) bool { return true }), healthy+degraded)
		return
	}
	spread := b.share
	if b.localityWeighted {
		spread = func(p *pick, hosts []upstreamHost, at []int, part float64) {
			if b.subset != nil && !b.subset.GetLocalityWeightAware() {
				b.share(p, hosts, at, part)
				return
			}
			b.byLocality(p, hosts, at, part, s)
		}
	} else if priority == 0 {
		if share, zoned, why, open := b.zones(hosts, s.home); open != "" {
			p.open = open
		} else if share != nil {
			p.notes = append(p.notes, why)
			spread = func(p *pick, hosts []upstreamHost, at []int, part float64) {
				b.share(p, hosts, at, part*(1-zoned))
				found := 0.0
				for l, of := range share {
					members := slices.DeleteFunc(slices.Clone(at), func(i int) bool { return hosts[i].locality != l })
					b.share(p, hosts, members, part*zoned*of)
					if len(members) > 0 {
						found += of
					}
				}
				if found < 1-1e-9 {
					p.reason = why + ": for the rest no host is found"
				}
			}
		}
	}
	spread(p, hosts, in((*upstreamHost).fit), healthy)
	spread(p, hosts, in(func(h *upstreamHost) bool { return h.health == "degraded" }), degraded)
}

// conclude says why nothing, or everything, was chosen.
func (b *balancing) conclude(p *pick, hosts int) {
	if sum(p.share) == 0 && p.reason == "" {
		p.reason = fmt.Sprintf("none of %d hosts is healthy and the panic threshold is 0", hosts)
		if b.panicThreshold > 0 {
			p.reason = fmt.Sprintf("no host has a weight above 0 among %d", hosts)
		}
	}
	if p.panic && p.reason == "" {
		p.notes = append(p.notes, fmt.Sprintf("fewer than %d %% of the hosts are healthy: panic, all of them get traffic", b.panicThreshold))
	}
}

// share divides part among the hosts at the indexes by their weight.
func (b *balancing) share(p *pick, hosts []upstreamHost, at []int, part float64) {
	if len(at) == 0 || part == 0 {
		return
	}
	if b.policy == "PICK_FIRST" {
		p.share[at[0]] += part
		return
	}
	total := 0.0
	for _, i := range at {
		total += float64(hosts[i].weight)
	}
	if total == 0 {
		return
	}
	for _, i := range at {
		p.share[i] += part * float64(hosts[i].weight) / total
	}
}

// byLocality divides part among the localities by their weight, as far as
// their hosts are up, and in each among its hosts.
//
//	weight × min(1, overprovisioning × hosts at the indexes / (hosts − excluded))
//
// In a subset with scale_locality_weight a weight is first scaled by how many of
// the locality's hosts are in the subset. Sources: effectiveLocalityWeight in
// source/common/upstream/upstream_impl.cc, determineLocalityWeights in subset_lb.cc.
func (b *balancing) byLocality(p *pick, hosts []upstreamHost, at []int, part float64, s settings) {
	if len(at) == 0 || part == 0 {
		return
	}
	count := func(hosts []upstreamHost, like *upstreamHost) float64 {
		n := 0
		for i := range hosts {
			if h := &hosts[i]; h.locality == like.locality && h.level() == like.level() {
				n++
			}
		}
		return float64(n)
	}
	overprovisioning := s.overprovisioning
	if overprovisioning == 0 {
		overprovisioning = 140
	}
	groups := map[string][]int{}
	for _, i := range at {
		groups[hosts[i].locality] = append(groups[hosts[i].locality], i)
	}
	weights, sum := map[string]float64{}, 0.0
	for _, l := range slices.Sorted(maps.Keys(groups)) {
		first := &hosts[groups[l][0]]
		all := 0
		for i := range hosts {
			if h := &hosts[i]; h.locality == l && h.level() == first.level() && !h.excluded {
				all++
			}
		}
		weight := float64(first.localityWeight)
		if n := count(s.whole, first); n > 0 {
			weight = math.Max(1, math.Round(weight*count(hosts, first)/n))
		}
		if all > 0 {
			weights[l] = weight * math.Min(1, float64(overprovisioning)/100*float64(len(groups[l]))/float64(all))
		}
		sum += weights[l]
	}
	if sum == 0 { // no locality has a weight: Envoy does not look at localities
		b.share(p, hosts, at, part)
		return
	}
	for l, members := range groups {
		b.share(p, hosts, members, part*weights[l]/sum)
	}
}

// candidate is a set of hosts that the subset load balancer chooses from.
type candidate struct {
	in  []int // indexes of the hosts
	why string
	one bool // single_host_per_subset
}

// candidates narrows hosts to the subset the criteria choose. They are tried in
// order, the next one where the one before gives no host; with none no host is
// found, and why says what was looked for. Source: chooseHost and
// chooseHostIteration in source/extensions/load_balancing_policies/subset/subset_lb.cc.
func (b *balancing) candidates(hosts []upstreamHost, criteria map[string]*structpb.Value) (out []candidate, why string) {
	s := b.subset
	if s == nil || len(s.GetSubsetSelectors()) == 0 && s.GetFallbackPolicy() == subsetv3.Subset_NO_FALLBACK && len(criteria) == 0 {
		return []candidate{{in: everyHost(hosts)}}, ""
	}
	list, ok := criteria[fallbackList]
	if !ok || s.GetMetadataFallbackPolicy() != subsetv3.Subset_FALLBACK_LIST {
		return b.subsetFor(hosts, criteria)
	}
	criteria = maps.Clone(criteria)
	delete(criteria, fallbackList)
	tries := list.GetListValue().GetValues()
	if len(tries) == 0 {
		return b.subsetFor(hosts, criteria)
	}
	for _, t := range tries {
		found, missed := b.subsetFor(hosts, merge(criteria, t.GetStructValue().GetFields()))
		if len(found) > 0 && why != "" {
			found[0].why = joinWords(why, found[0].why)
			why = ""
		}
		out, why = append(out, found...), joinWords(why, missed)
	}
	return out, why
}

// fallbackList is the key of the criteria to try one after the other.
const fallbackList = "fallback_list"

func everyHost(hosts []upstreamHost) []int {
	out := make([]int, len(hosts))
	for i := range out {
		out[i] = i
	}
	return out
}

// subsetFor finds the candidates for one set of criteria.
func (b *balancing) subsetFor(hosts []upstreamHost, criteria map[string]*structpb.Value) ([]candidate, string) {
	s, why := b.subset, "the route asks for no subset"
	matching := func(want map[string]*structpb.Value) []int {
		var out []int
		for i, h := range hosts {
			fits := true
			for k, v := range want {
				have, ok := h.lb.GetFields()[k]
				if s.GetListAsAny() && have.GetListValue() != nil {
					fits = fits && listHas(have, v)
				} else {
					fits = fits && ok && proto.Equal(have, v)
				}
			}
			if fits {
				out = append(out, i)
			}
		}
		return out
	}
	byDefault := func() []candidate {
		defaults := s.GetDefaultSubset().GetFields()
		if in := matching(defaults); len(in) > 0 {
			return []candidate{{in: in, why: why + ": the default subset " + describe(defaults) + " serves"}}
		}
		why += ", nor in the default subset " + describe(defaults)
		return nil
	}
	anyHost := func(words string) candidate { return candidate{in: everyHost(hosts), why: words} }
	for len(criteria) > 0 {
		keys := slices.Sorted(maps.Keys(criteria))
		sel := b.selector(keys)
		if sel == nil {
			why = fmt.Sprintf("no subset selector has the keys %s", strings.Join(keys, ", "))
			break
		}
		if len(sel.GetKeys()) < len(keys) {
			criteria = only(criteria, sel.GetKeys())
		}
		if in := matching(criteria); len(in) > 0 {
			return []candidate{{in: in, why: "subset " + describe(criteria), one: sel.GetSingleHostPerSubset()}}, ""
		}
		why = "no host is in subset " + describe(criteria)
		switch sel.GetFallbackPolicy() {
		case subsetv3.Subset_LbSubsetSelector_KEYS_SUBSET:
			if fewer := only(criteria, sel.GetFallbackKeysSubset()); len(fewer) < len(criteria) {
				criteria = fewer
				continue
			}
			return nil, why // no configuration Envoy takes
		case subsetv3.Subset_LbSubsetSelector_NO_FALLBACK:
			return nil, why
		case subsetv3.Subset_LbSubsetSelector_ANY_ENDPOINT:
			return []candidate{anyHost(why + ": any endpoint serves")}, ""
		case subsetv3.Subset_LbSubsetSelector_DEFAULT_SUBSET:
			out := byDefault()
			return out, why
		}
		break
	}
	// panic_mode_any is looked at only where there is a fallback that fails.
	switch s.GetFallbackPolicy() {
	case subsetv3.Subset_ANY_ENDPOINT:
		return []candidate{anyHost(why + ": any endpoint serves")}, ""
	case subsetv3.Subset_DEFAULT_SUBSET:
		out := byDefault()
		if s.GetPanicModeAny() {
			words := "panic_mode_any lets any endpoint serve"
			if len(out) == 0 {
				words = why + ": " + words
			}
			out = append(out, anyHost(words))
		}
		return out, why
	}
	return nil, why
}

func only(criteria map[string]*structpb.Value, keys []string) map[string]*structpb.Value {
	out := maps.Clone(criteria)
	maps.DeleteFunc(out, func(k string, _ *structpb.Value) bool { return !slices.Contains(keys, k) })
	return out
}

// selector finds the subset selector with exactly the sorted keys; with
// allow_redundant_keys the longest whose keys are among them.
func (b *balancing) selector(keys []string) *subsetv3.Subset_LbSubsetSelector {
	var best *subsetv3.Subset_LbSubsetSelector
	for _, sel := range b.subset.GetSubsetSelectors() {
		sk := slices.Clone(sel.GetKeys())
		slices.Sort(sk)
		if slices.Equal(slices.Compact(sk), keys) {
			return sel
		}
		if b.subset.GetAllowRedundantKeys() && !slices.ContainsFunc(sk, func(k string) bool { return !slices.Contains(keys, k) }) &&
			(best == nil || len(sk) > len(best.GetKeys())) {
			best = sel
		}
	}
	return best
}

// among spreads one request over the candidates. shown are those of the hosts
// that are in one that was tried, at their indexes; the shares are theirs.
func (b *balancing) among(hosts []upstreamHost, s settings, candidates []candidate) (shown []upstreamHost, at []int, p pick) {
	left, place := 1.0, map[int]int{} // where in at a host is
	for _, c := range candidates {
		members := make([]upstreamHost, len(c.in))
		for i, j := range c.in {
			members[i] = hosts[j]
		}
		q := b.single(members)
		if !c.one {
			q = b.choose(members, s)
		}
		p.panic, p.reason, p.open = p.panic || q.panic, q.reason, joinWords(p.open, q.open)
		p.notes = append(append(p.notes, c.why), q.notes...)
		for i, j := range c.in {
			n, ok := place[j]
			if !ok {
				n = len(at)
				place[j] = n
				at, shown, p.share = append(at, j), append(shown, members[i]), append(p.share, 0)
			}
			p.share[n] += left * q.share[i]
		}
		if left *= 1 - sum(q.share); left < 1e-9 {
			break
		}
	}
	return shown, at, p
}

// single gives everything to the one host that a subset of
// single_host_per_subset keeps, whatever its health: the first that Envoy has of
// the lowest priority. Source: SingleHostLbSubset in subset_lb.h.
func (b *balancing) single(hosts []upstreamHost) pick {
	p := pick{share: make([]float64, len(hosts))}
	if len(hosts) == 0 {
		return p
	}
	first, rivals := 0, 0
	for i := range hosts {
		switch {
		case hosts[i].level() < hosts[first].level():
			first, rivals = i, 0
		case hosts[i].level() == hosts[first].level() && i != first:
			rivals++
		}
	}
	p.share[first] = 1
	if rivals > 0 {
		p.open = fmt.Sprintf("the subset keeps one of its %d hosts (single_host_per_subset), whichever Envoy lists first", rivals+1)
	}
	return p
}

// subsetOpen says why the subset of the criteria cannot be told: what /clusters
// prints of a host does not say which subsets it is in.
func (b *balancing) subsetOpen(hosts []upstreamHost, criteria map[string]*structpb.Value) string {
	if b.subset == nil || len(criteria) == 0 && b.subset.GetFallbackPolicy() != subsetv3.Subset_DEFAULT_SUBSET {
		return ""
	}
	for _, h := range hosts {
		if h.bare {
			return "whether " + h.address + " is in subset " + describe(criteria) + " is not known: its metadata is not in the dump (take it with ?include_eds)"
		}
	}
	return ""
}

func listHas(list, v *structpb.Value) bool {
	for _, x := range list.GetListValue().GetValues() {
		if proto.Equal(x, v) {
			return true
		}
	}
	return false
}

func describe(m map[string]*structpb.Value) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+valueText(m[k]))
	}
	return "{" + strings.Join(out, ", ") + "}"
}

func valueText(v *structpb.Value) string {
	if s, ok := v.GetKind().(*structpb.Value_StringValue); ok {
		return s.StringValue
	}
	return strings.TrimSpace(fmt.Sprint(v.AsInterface()))
}

// socketFor is the transport socket a host is reached with: the first match all
// of whose values are in the host's metadata, then the same over the
// locality's, else the cluster's own. Source:
// source/common/upstream/transport_socket_match_impl.cc.
func (c *cluster) socketFor(h *upstreamHost) (string, *socket) {
	if h.bare && slices.ContainsFunc(c.sockets, func(s namedSocket) bool { return len(s.match.GetFields()) > 0 }) {
		return "", &socket{unknown: "its metadata, by which the transport socket is chosen, is not in the dump (take it with ?include_eds)"}
	}
	if len(c.sockets) == 0 {
		return "", &c.socket
	}
	for _, meta := range []*structpb.Struct{h.match, h.localityMatch} {
		for i := range c.sockets {
			s := &c.sockets[i]
			fits := true
			for k, v := range s.match.GetFields() {
				have, ok := meta.GetFields()[k]
				fits = fits && ok && proto.Equal(have, v)
			}
			if fits {
				return s.name, &s.socket
			}
		}
	}
	return "default", &c.socket
}
