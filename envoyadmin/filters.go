package envoyadmin

import (
	"fmt"
	"slices"
	"strings"

	xdstype "github.com/cncf/xds/go/xds/type/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	connlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	modulev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/dynamic_modules/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_proc/v3"
	localratev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/local_ratelimit/v3"
	mongov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/mongo_proxy/v3"
	ratev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ratelimit/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/wasm/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/rbac"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

const network = "envoy.extensions.filters.network."

// passing are parts of the names of network filters that let every connection
// pass unchanged: they observe, or set what only others read.
var passing = []string{
	"metadataexchange", "metadata_exchange", "stats.PluginConfig", "istio.stats", "peer_metadata", "forward_downstream_sni",
	"istio.tcp_mixer", "envoy.filters.network.tcp_cluster_rewrite",
	"mysql_proxy", "MySQLProxy", "kafka_broker", "KafkaBroker",
}

// refusing are network filters of which only the name is known to tell what
// they do: parts of the configuration's type or the filter's name.
var refusing = []struct{ part, why string }{
	{"client_ssl_auth", "a certificate service decides"},
	{"istio_authn", "Istio's authentication filter decides"},
	{"istio.authn", "Istio's authentication filter decides"},
	{"network.authn", "Istio's authentication filter decides"},
	{"dynamic_modules", "a dynamic module decides"},
	{"network.golang", "a Go plugin decides"},
}

// otherTerminals are parts of the names of network filters that end a chain,
// besides the connection manager and the TCP proxy.
var otherTerminals = []string{
	"network.echo", "envoy.echo", "network.direct_response", "redis_proxy", "thrift_proxy", "dubbo_proxy", "generic_proxy", "meta_protocol_proxy",
	"rocketmq_proxy", "sip_proxy", "kafka_mesh", "reverse_tunnel",
}

// ends says whether a network filter ends a chain.
func (d *Dump) ends(f *listenerv3.Filter) bool {
	kind := filterType(f)
	switch kind {
	case network + "http_connection_manager.v3.HttpConnectionManager", network + "tcp_proxy.v3.TcpProxy":
		return true
	case network + "dynamic_modules.v3.DynamicModuleNetworkFilter":
		c := &modulev3.DynamicModuleNetworkFilter{}
		return unpack(f.GetTypedConfig(), c) && c.GetTerminalFilter()
	}
	return contains(otherTerminals, kind, f.GetName())
}

// networkFilters passes the chain's filters in order.
func (r *run) networkFilters(w *way, b *chainBody) {
	filters := b.config.GetFilters()
	for i, f := range filters {
		if r.d.ends(f) && i < len(filters)-1 {
			w.doubt("Envoy rejects such a listener: terminal filter %s must be the last one and is followed by %s", f.GetName(), filters[i+1].GetName())
		}
	}
	tcpCluster := "" // filter state envoy.tcp_proxy.cluster
	for i, f := range filters {
		kind := filterType(f)
		step := Step{Kind: KindFilter, Name: f.GetName(), Source: fmt.Sprintf("%s.filters[%d]", r.chain.path(), i), State: StateUnknown}
		switch {
		case kind == network+"http_connection_manager.v3.HttpConnectionManager":
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
		case kind == network+"tcp_proxy.v3.TcpProxy":
			if b.tcp == nil {
				w.doubt("TCP proxy %s does not decode", f.GetName())
				w.end()
				return
			}
			w.out.Terminal = "tcp_proxy"
			w.out.Extra.StatPrefix, w.out.Extra.AccessLogs = b.tcp.GetStatPrefix(), b.tcp.GetAccessLog()
			r.tcp(w, b.tcp, tcpCluster, step)
			return
		case r.d.ends(f):
			r.otherTerminal(w, f, kind, step)
			return
		case kind == network+"rbac.v3.RBAC":
			if !r.networkRBAC(w, f, step) {
				return
			}
		case kind == network+"sni_cluster.v3.SniCluster" || f.GetName() == "envoy.filters.network.sni_cluster":
			tcpCluster = r.conn.sni
			step.State, step.Why = StateOK, "the cluster is the server name, "+orNone(tcpCluster)
			w.step(step)
		case kind == network+"sni_dynamic_forward_proxy.v3.FilterConfig":
			tcpCluster = ""
			step.State, step.Why = StateOK, fmt.Sprintf("the host is the server name, %s, resolved by DNS when used", orNone(r.conn.sni))
			w.step(step)
		case kind == network+"set_filter_state.v3.Config":
			if name := r.setFilterState(w, f, step); name != "" {
				tcpCluster = name
			}
		default:
			if !r.otherFilter(w, f, kind, step) {
				return
			}
		}
	}
	if len(filters) > 0 {
		w.doubt("Envoy rejects such a listener: the last filter, %s, is not known to be a terminal one", filters[len(filters)-1].GetName())
		w.end()
		return
	}
	s := &w.out.Steps[len(w.out.Steps)-1]
	s.Why, s.State = joinWords(s.Why, "the filter chain has no filters: the connection is closed"), StateFail
	w.settle(Reject, NoFilters, "", "")
	w.end()
}

func contains(list []string, names ...string) bool {
	return slices.ContainsFunc(list, func(s string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, s) })
	})
}

// otherFilter passes a network filter that does not end the chain: it says
// nothing, or what it may refuse and whom it asks. It returns false where the
// way ended.
func (r *run) otherFilter(w *way, f *listenerv3.Filter, kind string, step Step) bool {
	a := f.GetTypedConfig()
	warn := func(why string) {
		step.State, step.Why = StateWarn, why
		w.step(step)
	}
	open := func(why string) {
		r.metadata = true
		step.Why = why
		w.step(step)
		w.doubt("filter %s: %s", f.GetName(), why)
	}
	read := func(m proto.Message) bool {
		if a == nil || unpack(a, m) {
			return true
		}
		open("its configuration does not decode")
		return false
	}
	flags, details := "", "" // of one that cannot be asked
	asks := func(what, cluster string, passes bool) bool {
		switch {
		case cluster != "" && r.d.has.clusters && !r.d.hasCluster(cluster) && passes:
			step.State, step.Why = StateOK, fmt.Sprintf("%s is not asked, for its cluster %s does not exist; the connection passes", what, cluster)
			w.step(step)
		case cluster != "" && r.d.has.clusters && !r.d.hasCluster(cluster):
			step.State, step.Why = StateFail, fmt.Sprintf("the cluster of %s, %s, does not exist: every connection is closed", what, cluster)
			w.step(step)
			w.settle(Reject, Denied, flags, details)
			if !r.call.PastRefusals {
				w.end()
				return false
			}
			w.sealed = true
		default:
			open(what + asked(cluster) + " decides: it may refuse the connection, which cannot be known from here")
		}
		return true
	}
	on := func(flag *corev3.RuntimeFeatureFlag) bool { return flag == nil || flag.GetDefaultValue().GetValue() }
	switch kind {
	case network + "zookeeper_proxy.v3.ZooKeeperProxy", network + "geoip.v3.Geoip", network + "tcp_bandwidth_limit.v3.TcpBandwidthLimit":
	case network + "mongo_proxy.v3.MongoProxy":
		c := &mongov3.MongoProxy{}
		if read(c) && c.GetDelay() != nil {
			warn("delays some operations by " + c.GetDelay().GetFixedDelay().AsDuration().String())
		}
	case network + "connection_limit.v3.ConnectionLimit":
		c := &connlimitv3.ConnectionLimit{}
		if read(c) && on(c.GetRuntimeEnabled()) {
			warn(fmt.Sprintf("closes what goes beyond %d connections at once", c.GetMaxConnections().GetValue()))
		}
	case network + "local_ratelimit.v3.LocalRateLimit":
		c := &localratev3.LocalRateLimit{}
		if read(c) && on(c.GetRuntimeEnabled()) {
			warn("closes what goes beyond " + bucket(c.GetTokenBucket()))
		}
	case network + "ratelimit.v3.RateLimit":
		c := &ratev3.RateLimit{}
		if !read(c) {
			return true
		}
		cluster := c.GetRateLimitService().GetGrpcService().GetEnvoyGrpc().GetClusterName()
		if cluster != "" && r.d.has.clusters && !r.d.hasCluster(cluster) {
			return asks("the rate limit service", cluster, !c.GetFailureModeDeny())
		}
		warn("closes what goes beyond the rates of domain " + c.GetDomain() + ", asking a rate limit service" + asked(cluster))
	case network + "ext_authz.v3.ExtAuthz":
		c := &authzv3.ExtAuthz{}
		if !read(c) {
			return true
		}
		cluster := c.GetGrpcService().GetEnvoyGrpc().GetClusterName()
		if c.GetShadowMode() {
			step.State, step.Why = StateOK, "the external authorization service"+asked(cluster)+" is asked in shadow mode, which refuses nothing"
			w.step(step)
			return true
		}
		flags, details = "UAEX", "ext_authz_error"
		return asks("the external authorization service", cluster, c.GetFailureModeAllow())
	case network + "ext_proc.v3.NetworkExternalProcessor":
		c := &procv3.NetworkExternalProcessor{}
		if !read(c) {
			return true
		}
		if c.GetProcessingMode().GetProcessRead() == procv3.ProcessingMode_SKIP && c.GetProcessingMode().GetProcessWrite() == procv3.ProcessingMode_SKIP {
			return true
		}
		return asks("the external processor", c.GetGrpcService().GetEnvoyGrpc().GetClusterName(), c.GetFailureModeAllow())
	case network + "wasm.v3.Wasm":
		c := &wasmv3.Wasm{}
		if !read(c) {
			return true
		}
		if strings.HasPrefix(c.GetConfig().GetVmConfig().GetCode().GetLocal().GetInlineString(), "envoy.wasm.") { // Istio's own, which observe
			r.metadata = true
			return true
		}
		open("the Wasm plugin " + c.GetConfig().GetName() + " may refuse the connection, which cannot be known from here")
	default:
		if strings.Contains(kind, "postgres_proxy") || strings.Contains(f.GetName(), "postgres_proxy") {
			if s := rawStruct(a); s["downstream_ssl"].GetStringValue() == "REQUIRE" {
				open("closes a connection on which the client does not ask for TLS as PostgreSQL does, which cannot be known from here")
			}
			return true
		}
		if s := rawStruct(a); s["api_keys_allowed"] != nil || s["api_keys_denied"] != nil {
			open("refuses some Kafka requests (api_keys_allowed, api_keys_denied), which cannot be known from here")
			return true
		}
		if contains(passing, kind, f.GetName()) {
			if strings.Contains(strings.ToLower(kind+f.GetName()), "metadata") {
				r.metadata = true
			}
			return true
		}
		for _, known := range refusing {
			if strings.Contains(kind, known.part) || strings.Contains(f.GetName(), known.part) {
				open(known.why + ": it may refuse the connection, which cannot be known from here")
				return true
			}
		}
		open("network filter of type " + kind + " is not known here: it may refuse the connection, which cannot be known from here")
	}
	return true
}

// rawStruct returns the fields of a configuration whose type is not linked.
func rawStruct(a *anypb.Any) map[string]*structpb.Value {
	ts := &xdstype.TypedStruct{}
	if !unpack(a, ts) {
		return nil
	}
	return ts.GetValue().GetFields()
}

// setFilterState evaluates what a set_filter_state filter sets when a connection
// begins. It returns the cluster the TCP proxy is told to use, empty for none.
func (r *run) setFilterState(w *way, f *listenerv3.Filter, step Step) string {
	c := &statev3.Config{}
	if f.GetTypedConfig() != nil && !unpack(f.GetTypedConfig(), c) {
		step.Why = "its configuration does not decode"
		w.step(step)
		w.doubt("filter %s does not decode", f.GetName())
		return ""
	}
	const override = "envoy.tcp_proxy.cluster"
	cluster := ""
	values := append(append(slices.Clone(c.GetOnNewConnection()), c.GetOnDownstreamTlsHandshake()...), c.GetOnDownstreamData()...)
	for _, v := range values {
		text := v.GetFormatString().GetTextFormatSource().GetInlineString()
		if text == "" {
			text = v.GetFormatString().GetTextFormat() //nolint:staticcheck // old configurations have it
		}
		req := r.request()
		req.Network = true
		s, known := route.Format(text, req)
		if !known || text == "" {
			r.metadata = true
			if v.GetObjectKey() == override {
				step.Why = "sets " + override + ", which overrides the cluster, to " + text + ", which is not known here"
				w.step(step)
				w.doubt("filter %s sets %s to %s, which is not known here", f.GetName(), override, text)
				return ""
			}
			continue
		}
		if s == "" && v.GetSkipIfEmpty() {
			continue
		}
		if r.state == nil {
			r.state = map[string]string{}
		}
		r.state[v.GetObjectKey()] = s
		if v.GetObjectKey() == override {
			cluster = s
		}
	}
	if cluster != "" {
		step.State, step.Why = StateOK, "sets "+override+", which overrides the cluster, to "+cluster
		w.step(step)
	}
	return cluster
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
	req := r.request()
	req.Network = true
	shadow := ""
	if cfg.GetShadowRules() != nil || cfg.GetShadowMatcher() != nil {
		switch v := rbac.Evaluate(cfg.GetShadowRules(), cfg.GetShadowMatcher(), req); v.Allowed {
		case matcher.Yes:
			shadow = "shadow rules: would allow: " + v.Why
		case matcher.No:
			shadow = "shadow rules: would deny: " + v.Why
		default:
			shadow = "shadow rules: cannot be decided: " + v.Why
		}
	}
	if cfg.GetRules() == nil && cfg.GetMatcher() == nil {
		if shadow != "" {
			step.State, step.Why = StateOK, shadow
			w.step(step)
		}
		return true
	}
	v := rbac.Evaluate(cfg.GetRules(), cfg.GetMatcher(), req)
	step.Why = joinWords(v.Why, shadow)
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

// tcp passes the TCP proxy: one way per cluster.
func (r *run) tcp(w *way, p *tcpv3.TcpProxy, fromState string, step Step) {
	w.strange("the TCP proxy", p)
	var criteria map[string]*structpb.Value
	if m := p.GetMetadataMatch(); m != nil {
		criteria = m.GetFilterMetadata()["envoy.lb"].GetFields()
	}
	send := sending{criteria: criteria, tunnel: p.GetTunnelingConfig().GetHostname()}
	w.out.Extra.TunnelTo = send.tunnel
	to := func(w *way, name string, s sending) {
		if p.GetOnDemand() == nil || !r.d.has.clusters || r.d.hasCluster(name) {
			r.forward(w, name, s)
			return
		}
		w.out.Cluster = name
		w.step(Step{Kind: KindCluster, Name: name, Why: "there is no cluster " + name + ": it is fetched on demand (ODCDS)", State: StateUnknown})
		w.doubt("cluster %s is not in the dump and is fetched on demand (ODCDS) by the TCP proxy", name)
		w.end()
	}
	if fromState != "" {
		to(w, fromState, send)
		return
	}
	if wc := p.GetWeightedClusters(); wc != nil && len(wc.GetClusters()) > 0 {
		list := make([]WeightedCluster, len(wc.GetClusters()))
		for i, c := range wc.GetClusters() {
			list[i] = WeightedCluster{c.GetName(), c.GetWeight()}
		}
		r.weighted(w, list, func(n *way, i int) {
			s := send
			if m := wc.GetClusters()[i].GetMetadataMatch().GetFilterMetadata()["envoy.lb"].GetFields(); len(m) > 0 {
				s.criteria = merge(criteria, m)
			}
			to(n, list[i].Name, s)
		})
		return
	}
	if p.GetCluster() == "" {
		step.Why = "names no cluster: one must come from filter state"
		w.step(step)
		w.doubt("TCP proxy names no cluster")
		w.end()
		return
	}
	to(w, p.GetCluster(), send)
}

// weighted goes on with each cluster of a weighted choice, as a way of its own.
func (r *run) weighted(w *way, list []WeightedCluster, then func(n *way, i int)) {
	total := uint64(0)
	for _, c := range list {
		total += uint64(c.Weight)
	}
	w.out.Weighted = append(w.out.Weighted, list...)
	if total == 0 {
		w.doubt("the weights of the clusters add up to 0")
		w.end()
		return
	}
	for i, c := range list {
		if c.Weight > 0 {
			then(w.fork(float64(c.Weight)/float64(total)), i)
		}
	}
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
