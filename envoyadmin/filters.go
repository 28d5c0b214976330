package envoyadmin

import (
	"fmt"
	"slices"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/rbac"
)

// harmless are network filters that let every connection pass unchanged. Names
// are matched against the configuration's type and the filter's name.
var harmless = []string{
	"metadataexchange", "metadata_exchange", "stats.PluginConfig", "istio.stats", "peer_metadata", "forward_downstream_sni", "mongo_proxy", "MongoProxy",
	"mysql_proxy", "MySQLProxy", "postgres_proxy", "PostgresProxy", "zookeeper_proxy", "ZooKeeperProxy", "kafka_broker", "KafkaBroker",
	"istio.tcp_mixer", "envoy.filters.network.tcp_cluster_rewrite", "geoip", "tcp_bandwidth_limit", "TcpBandwidthLimit",
}

// refusing are network filters whose answer is decided elsewhere, by a part of
// the configuration's type or the filter's name.
var refusing = []struct{ part, why string }{
	{"network.ext_authz", "an external authorization service decides"},
	{"network.ext_proc", "an external processor decides"},
	{"network.ratelimit", "a rate limit service decides"},
	{"network.local_ratelimit", "a local rate limit may be reached"},
	{"network.connection_limit", "the connection limit may be reached"},
	{"client_ssl_auth", "a certificate service decides"},
	{"network.wasm", "a Wasm plugin decides"},
	{"istio_authn", "Istio's authentication filter decides"},
	{"istio.authn", "Istio's authentication filter decides"},
	{"network.authn", "Istio's authentication filter decides"},
	{"dynamic_modules", "a dynamic module decides"},
	{"network.golang", "a Go plugin decides"},
}

// terminals are network filters that end a chain, besides the connection
// manager and the TCP proxy.
var terminals = []string{"echo", "direct_response", "redis_proxy", "thrift_proxy", "dubbo_proxy", "generic_proxy", "meta_protocol_proxy", "rocketmq_proxy", "sip_proxy", "kafka_mesh", "sni_dynamic_forward_proxy_terminal", "reverse_tunnel"}

// networkFilters passes the chain's filters in order.
func (r *run) networkFilters(w *way, b *chainBody) {
	filters := b.config.GetFilters()
	source := func(i int) string { return fmt.Sprintf("%s.filters[%d]", r.chain.path(), i) }
	tcpCluster := "" // filter state envoy.tcp_proxy.cluster
	for i, f := range filters {
		kind := filterType(f)
		short := strings.TrimPrefix(kind, "envoy.extensions.filters.")
		step := Step{Kind: KindFilter, Name: f.GetName(), Source: source(i), State: StateUnknown}
		switch {
		case short == "network.http_connection_manager.v3.HttpConnectionManager":
			if b.hcm == nil {
				step.Why = "its configuration does not decode"
				w.step(step)
				w.doubt("connection manager %s does not decode", f.GetName())
				w.end()
				return
			}
			w.out.Terminal = "http_connection_manager"
			w.out.Extra.StatPrefix, w.out.Extra.AccessLogs = b.hcm.GetStatPrefix(), b.hcm.GetAccessLog()
			r.http(w, b)
			return
		case short == "network.tcp_proxy.v3.TcpProxy":
			if b.tcp == nil {
				w.doubt("TCP proxy %s does not decode", f.GetName())
				w.end()
				return
			}
			w.out.Terminal = "tcp_proxy"
			w.out.Extra.StatPrefix, w.out.Extra.AccessLogs = b.tcp.GetStatPrefix(), b.tcp.GetAccessLog()
			r.tcp(w, b.tcp, tcpCluster, step)
			return
		case strings.HasPrefix(short, "network.rbac."):
			if !r.networkRBAC(w, f, step) {
				return
			}
		case strings.HasPrefix(short, "network.sni_cluster") || f.GetName() == "envoy.filters.network.sni_cluster":
			tcpCluster = r.conn.sni
			step.State, step.Why = StateOK, "the cluster is the server name, "+orNone(tcpCluster)
			w.step(step)
		case strings.HasPrefix(short, "network.sni_dynamic_forward_proxy"):
			tcpCluster = ""
			step.State, step.Why = StateOK, fmt.Sprintf("the host is the server name, %s, resolved by DNS when used", orNone(r.conn.sni))
			w.step(step)
		case strings.HasPrefix(short, "network.set_filter_state"):
			r.metadata = true
			if b := f.GetTypedConfig().GetValue(); strings.Contains(string(b), "envoy.tcp_proxy.cluster") {
				step.Why = "sets envoy.tcp_proxy.cluster, which overrides the cluster"
				w.step(step)
				w.doubt("filter %s sets envoy.tcp_proxy.cluster in a way that is not evaluated here", f.GetName())
			}
		case contains(harmless, kind, f.GetName()):
			if strings.Contains(strings.ToLower(kind+f.GetName()), "metadata") {
				r.metadata = true
			}
		case contains(terminals, kind, f.GetName()):
			r.otherTerminal(w, f, kind, step)
			return
		default:
			reason, ok := "", false
			for _, known := range refusing {
				if !ok && (strings.Contains(kind, known.part) || strings.Contains(f.GetName(), known.part)) {
					reason, ok = known.why, true
				}
			}
			r.metadata = true
			if !ok {
				reason = "network filter of type " + kind + " is not known here"
			}
			step.Why = reason + ": it may refuse the connection, which cannot be known from here"
			w.step(step)
			w.doubt("filter %s: %s", f.GetName(), reason)
		}
	}
	why := "the filter chain has no filters"
	if len(filters) > 0 {
		why = "the filter chain has no terminal filter"
	}
	s := &w.out.Steps[len(w.out.Steps)-1]
	s.Why, s.State = joinWords(s.Why, why+": the connection is closed"), StateFail
	w.settle(Reject, "", "", "")
	w.end()
}

func contains(list []string, names ...string) bool {
	return slices.ContainsFunc(list, func(s string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, s) })
	})
}

// networkRBAC evaluates a network RBAC filter. It returns false where the way
// ended.
func (r *run) networkRBAC(w *way, f *listenerv3.Filter, step Step) bool {
	cfg := &netrbacv3.RBAC{}
	if !unpack(f.GetTypedConfig(), cfg) {
		step.Why = "its configuration does not decode"
		w.step(step)
		w.doubt("filter %s: RBAC does not decode", f.GetName())
		return true
	}
	if un := decode.Unknown(cfg); len(un) > 0 {
		step.Why = "holds what is not known here: " + strings.Join(un, "; ")
		w.step(step)
		w.doubt("filter %s: %s", f.GetName(), step.Why)
		return true
	}
	if cfg.GetRules() == nil && cfg.GetMatcher() == nil {
		return true
	}
	req := r.request()
	req.Network = true
	v := rbac.Evaluate(cfg.GetRules(), cfg.GetMatcher(), req)
	step.Why = v.Why
	if step.Owner = policyOwner(v.Policy); len(step.Owner) == 0 {
		step.Owner = policyOwner(v.Why)
	}
	switch v.Allowed {
	case matcher.Yes:
		step.State = StateOK
		w.step(step)
		return true
	case matcher.No:
		step.State = StateFail
		w.step(step)
		// The denial is the connection's: the log shows it as the termination details.
		w.settle(Reject, Denied, "", v.Details)
		if r.call.PastRefusals {
			w.sealed = true
			return true
		}
		w.end()
		return false
	default:
		w.step(step)
		w.doubt("filter %s: %s", f.GetName(), v.Why)
		return true
	}
}

// otherTerminal ends the way at a filter whose protocol is not followed.
func (r *run) otherTerminal(w *way, f *listenerv3.Filter, kind string, step Step) {
	name := strings.TrimPrefix(f.GetName(), "envoy.filters.network.")
	w.out.Terminal = name
	switch {
	case strings.Contains(kind, "direct_response"):
		step.State, step.Why = StateOK, "answers every connection with a fixed text and closes it"
		w.step(step)
		w.settle(DirectResponse, "", "", "")
	case strings.Contains(kind, "echo"):
		step.State, step.Why = StateOK, "echoes what it receives"
		w.step(step)
		w.settle(DirectResponse, "", "", "")
	default:
		clusters := clustersIn(r.d.data[r.chain.from:r.chain.to])
		step.Why = "routes by the content of its own protocol, which is not evaluated"
		if len(clusters) > 0 {
			step.Why += "; it may use " + few(clusters)
		}
		w.step(step)
		if len(clusters) == 1 && !r.call.ConnectOnly {
			r.forward(w, clusters[0], sending{})
			return
		}
		if r.call.ConnectOnly {
			w.settle(Forward, "", "", "")
			w.end()
			return
		}
		w.doubt("%s", step.Why)
	}
	w.end()
}

// tcp passes the TCP proxy: one way per cluster.
func (r *run) tcp(w *way, p *tcpv3.TcpProxy, fromState string, step Step) {
	w.strange("the TCP proxy", p)
	var criteria map[string]*structpb.Value
	if m := p.GetMetadataMatch(); m != nil {
		criteria = m.GetFilterMetadata()["envoy.lb"].GetFields()
	}
	send := sending{criteria: criteria, tunnel: p.GetTunnelingConfig().GetHostname()}
	w.out.Extra.TunnelTo = send.tunnel
	if fromState != "" {
		r.forward(w, fromState, send)
		return
	}
	if wc := p.GetWeightedClusters(); wc != nil && len(wc.GetClusters()) > 0 {
		total := uint64(0)
		for _, c := range wc.GetClusters() {
			total += uint64(c.GetWeight())
			w.out.Weighted = append(w.out.Weighted, WeightedCluster{c.GetName(), c.GetWeight()})
		}
		if total == 0 {
			w.doubt("TCP proxy: the weights of its clusters add up to 0")
			w.end()
			return
		}
		for _, c := range wc.GetClusters() {
			if c.GetWeight() == 0 {
				continue
			}
			n := w.fork(float64(c.GetWeight()) / float64(total))
			s := send
			if m := c.GetMetadataMatch().GetFilterMetadata()["envoy.lb"].GetFields(); len(m) > 0 {
				s.criteria = merge(criteria, m)
			}
			r.forward(n, c.GetName(), s)
		}
		return
	}
	if p.GetCluster() == "" {
		step.Why = "names no cluster: one must come from filter state"
		w.step(step)
		w.doubt("TCP proxy names no cluster")
		w.end()
		return
	}
	r.forward(w, p.GetCluster(), send)
}

func merge(a, b map[string]*structpb.Value) map[string]*structpb.Value {
	out := map[string]*structpb.Value{}
	for k, v := range a {
		out[k] = v
	}
	for k, v := range b {
		out[k] = v
	}
	return out
}
