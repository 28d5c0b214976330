package envoyadmin

import (
	"fmt"
	"math"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// limits tells the circuit breakers that are not Envoy's defaults or without
// bound.
func (c *cluster) limits() string {
	var out []string
	for _, t := range c.config.GetCircuitBreakers().GetThresholds() {
		add := func(name string, v interface{ GetValue() uint32 }, set bool) {
			if set && v.GetValue() != math.MaxUint32 {
				out = append(out, fmt.Sprintf("%s %s %d", strings.ToLower(t.GetPriority().String()), name, v.GetValue()))
			}
		}
		add("max_connections", t.GetMaxConnections(), t.GetMaxConnections() != nil)
		add("max_pending_requests", t.GetMaxPendingRequests(), t.GetMaxPendingRequests() != nil)
		add("max_requests", t.GetMaxRequests(), t.GetMaxRequests() != nil)
		add("max_retries", t.GetMaxRetries(), t.GetMaxRetries() != nil)
		add("max_connection_pools", t.GetMaxConnectionPools(), t.GetMaxConnectionPools() != nil)
	}
	return strings.Join(out, ", ")
}

// thresholds are the limits of a priority: the first entry of it, nil where
// there is none and Envoy's defaults hold.
func (c *cluster) thresholds(priority corev3.RoutingPriority) *clusterv3.CircuitBreakers_Thresholds {
	for _, t := range c.config.GetCircuitBreakers().GetThresholds() {
		if t.GetPriority() == priority {
			return t
		}
	}
	return nil
}

// refusal is what a limit of 0 makes of every request.
type refusal struct {
	flags, details, why, body string
	status                    int
	beforeHosts               bool // decided before a host is looked for
}

// refuses says whether a circuit breaker of 0 refuses everything that is sent to
// the cluster, whatever is under way:
//
//	           max_connections  max_pending_requests  max_requests  max_connection_pools
//	HTTP       -                UO                    UO            UH
//	TCP proxy  UO               URX                   -             -
//
// An HTTP pool without a connection always opens one, so a limit of 0
// connections stops nothing there; a TCP pool does not count requests, except
// where it tunnels through HTTP. Source: canCreate in resource_manager_impl.h,
// newStreamImpl, attachStreamToClient and tryCreateNewConnection in
// source/common/conn_pool/conn_pool_base.cc, PriorityConnPoolMap::getPool,
// establishUpstreamConnection in source/common/tcp_proxy/tcp_proxy.cc.
func (c *cluster) refuses(terminal string, s sending) *refusal {
	t := c.thresholds(s.priority)
	zero := func(v *wrapperspb.UInt32Value) bool { return v != nil && v.GetValue() == 0 }
	why := func(name string) string {
		return fmt.Sprintf("circuit breaker %s.%s is 0: nothing is sent (runtime key circuit_breakers.%s.%[1]s.%[2]s would override it)", strings.ToLower(s.priority.String()), name, c.entry.name)
	}
	// Connections made ahead of requests have no pending request.
	ahead := c.config.GetPreconnectPolicy().GetPredictivePreconnectRatio().GetValue() > 0
	overflow := func(name string) *refusal {
		return &refusal{
			flags: "UO", details: "upstream_reset_before_response_started{overflow}", why: why(name), status: 503,
			body: "upstream connect error or disconnect/reset before headers. reset reason: overflow",
		}
	}
	switch {
	case t == nil:
	case terminal == "http_connection_manager":
		switch {
		case zero(t.GetMaxConnectionPools()):
			return &refusal{flags: "UH", details: "no_healthy_upstream", why: why("max_connection_pools"), status: 503, body: "no healthy upstream"}
		case zero(t.GetMaxPendingRequests()) && !ahead:
			return overflow("max_pending_requests")
		case zero(t.GetMaxRequests()):
			return overflow("max_requests")
		}
	case terminal == "tcp_proxy":
		switch {
		case zero(t.GetMaxConnections()):
			return &refusal{flags: "UO", why: why("max_connections"), beforeHosts: true}
		case zero(t.GetMaxPendingRequests()) && !ahead:
			return &refusal{flags: "URX", why: why("max_pending_requests")}
		case s.tunnel != "" && zero(t.GetMaxRequests()):
			return &refusal{flags: "URX", why: why("max_requests")}
		}
	}
	return nil
}

// refused ends a way at a circuit breaker that lets nothing pass: the hosts are
// shown, none gets anything.
func (r *run) refused(w *way, no *refusal) {
	for i := range w.out.Endpoints {
		w.out.Endpoints[i].Probability = 0
	}
	for i := len(w.out.Steps) - 1; i >= 0; i-- {
		if s := &w.out.Steps[i]; s.Kind == KindCluster {
			s.State, s.Why = StateFail, joinWords(s.Why, no.why)
			break
		}
	}
	w.settle(Reject, "", no.flags, no.details)
	w.respond(no.status, "", no.body)
}

// overload says where a circuit breaker is or was open: what /clusters and
// /stats showed when they were read. Figures of /clusters are not by priority.
func (r *run) overload(c *cluster, s sending, set *hostSet, step *Step) {
	warn := func(format string, args ...any) {
		step.State = StateWarn
		step.Why = joinWords(step.Why, fmt.Sprintf(format, args...))
	}
	if t := c.thresholds(s.priority); t != nil && set.fromStatus {
		var active, connections uint64
		for _, h := range set.hosts {
			active += h.stats["rq_active"]
			connections += h.stats["cx_active"]
		}
		if m := t.GetMaxRequests(); m != nil && active > 0 && active >= uint64(m.GetValue()) {
			warn("%d requests are active and the circuit breaker allows %d: more get UO", active, m.GetValue())
		}
		if m := t.GetMaxConnections(); m != nil && connections > 0 && connections >= uint64(m.GetValue()) {
			warn("%d connections are open and the circuit breaker allows %d", connections, m.GetValue())
		}
	}
	name := c.config.GetAltStatName()
	if name == "" {
		name = strings.ReplaceAll(c.entry.name, ":", "_")
	}
	priority := strings.ToLower(s.priority.String())
	for _, what := range []string{"cx_open", "cx_pool_open", "rq_pending_open", "rq_open", "rq_retry_open"} {
		if v, ok := r.d.clusterStat(c, name, "circuit_breakers."+priority+"."+what); ok && v > 0 {
			warn("circuit breaker %s.%s is open", priority, what)
		}
	}
	for _, what := range []string{"upstream_rq_pending_overflow", "upstream_cx_overflow"} {
		if v, ok := r.d.clusterStat(c, name, what); ok && v > 0 {
			warn("%s was %d: the circuit breaker refused requests (UO)", what, v)
		}
	}
}

// clusterStat finds a statistic under the names a cluster may have in /stats.
func (d *Dump) clusterStat(c *cluster, alt, what string) (uint64, bool) {
	for _, n := range []string{alt, strings.TrimSuffix(alt, ";"), c.entry.name, strings.ReplaceAll(c.entry.name, ":", "_")} {
		if v, ok := d.stats["cluster."+n+"."+what]; ok {
			return v, true
		}
	}
	return 0, false
}
