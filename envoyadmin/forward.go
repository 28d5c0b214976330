package envoyadmin

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	subsetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/subset/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
)

// noCluster ends a way whose cluster does not exist.
func (r *run) noCluster(w *way, name string, status int) {
	d := r.d
	why := "there is no cluster " + name
	if i, ok := d.notActive[name]; ok {
		why = "cluster " + name + " is warming: it has no hosts yet and serves nothing"
		w.note(why)
		w.step(Step{Kind: KindCluster, Name: name, Why: why, State: StateFail, Source: d.clusters[i].path()})
	} else if name == "" {
		w.step(Step{Kind: KindCluster, Why: "the route names no cluster: the header that should name it is absent", State: StateFail})
	} else {
		w.step(Step{Kind: KindCluster, Name: name, Why: why, State: StateFail})
		d.nearClusters(w, name)
	}
	if w.out.Terminal == "http_connection_manager" {
		w.settle(Reject, NoCluster, "NC", "cluster_not_found")
		w.respond(status, "", "")
		return
	}
	w.settle(Reject, NoCluster, "NC", "")
}

// forward sends the call to a cluster.
func (r *run) forward(w *way, name string, s sending) {
	defer w.end()
	d := r.d
	w.out.Cluster = name
	if !d.has.clusters {
		w.step(Step{Kind: KindCluster, Name: name, Why: "the dump holds no clusters", State: StateUnknown})
		w.doubt("the dump holds no clusters, so whether %s has a host is not known", name)
		return
	}
	c := d.cluster(name)
	if c == nil || c.state != active {
		r.noCluster(w, name, 503)
		return
	}
	step := Step{Kind: KindCluster, Name: name, State: StateOK, Source: c.entry.path(), Object: d.object(c.entry.from, c.entry.to)}
	if c.err != nil {
		step.State, step.Why = StateUnknown, c.err.Error()
		w.step(step)
		w.doubt("cluster %s does not decode: %v", name, c.err)
		return
	}
	w.strange("cluster "+name, c.config)
	step.Owner = d.clusterOwners(c)
	x := &w.out.Extra
	x.ClusterType, x.EDSServiceName, x.Cluster, x.UpstreamHTTP2 = c.kind, "", step.Object, c.http2
	if c.kind == "EDS" {
		x.EDSServiceName = c.service
	}
	if c.http.GetUseDownstreamProtocolConfig() != nil {
		x.UpstreamHTTP2 = s.protocol == "2"
	}
	x.CircuitBreakers = c.limits()
	step.Why = "type " + c.kind
	if bad := d.rejected(c.entry); bad != "" {
		step.State, step.Why = StateWarn, joinWords(step.Why, bad)
	}
	r.cluster(w, c, s, step)
}

// cluster finds the endpoints of a decoded cluster.
func (r *run) cluster(w *way, c *cluster, s sending, step Step) {
	d := r.d
	name := c.entry.name
	switch c.kind {
	case "ORIGINAL_DST":
		w.step(step)
		r.originalDst(w, c, s)
		return
	case "dynamic_forward_proxy":
		w.step(step)
		host := r.conn.sni
		if s.http {
			host = w.out.Request.Authority
		}
		addr := dialled(host, c.socket.tls)
		if addr == "" {
			w.doubt("cluster %s resolves the host of the request, and there is none", name)
			return
		}
		r.endpoints(w, c, s, []upstreamHost{{address: addr, hostname: host, health: "unknown", why: "resolved by DNS when used", weight: 1}}, []float64{1})
		return
	case "aggregate":
		r.aggregate(w, c, s, step)
		return
	case "EDS", "STATIC", "STRICT_DNS", "LOGICAL_DNS":
	default:
		if set := d.hosts(c); !set.known {
			step.State, step.Why = StateUnknown, "cluster type "+c.kind+" is not known here"
			w.step(step)
			w.doubt("cluster %s: type %s is not known here", name, c.kind)
			return
		}
	}
	set := d.hosts(c)
	for _, n := range set.notes {
		step.Why = joinWords(step.Why, n)
	}
	if set.why != "" {
		step.Why = joinWords(step.Why, "hosts "+set.why)
	}
	if !set.known {
		step.State = StateUnknown
		w.step(step)
		w.doubt("endpoints of %s: %s", name, set.why)
		return
	}
	r.overload(c, &set, &step)
	r.dropped(w, &set, &step)
	if c.lb.subset.GetMetadataFallbackPolicy() == subsetv3.Subset_FALLBACK_LIST && s.criteria["fallback_list"] != nil {
		step.State, step.Why = StateUnknown, joinWords(step.Why, "the subset is tried by metadata_fallback_policy FALLBACK_LIST, which is not evaluated here")
		w.step(step)
		w.doubt("cluster %s: metadata_fallback_policy FALLBACK_LIST is not evaluated here", name)
		return
	}
	if why := c.lb.subsetOpen(set.hosts, s.criteria); why != "" {
		step.State, step.Why = StateUnknown, joinWords(step.Why, why)
		w.step(step)
		r.list(w, c, s, set.hosts, make([]float64, len(set.hosts)))
		w.doubt("endpoints of %s: %s", name, why)
		return
	}
	in, why, ok := c.lb.subsetOf(set.hosts, s.criteria)
	step.Why = joinWords(step.Why, why)
	if len(set.hosts) == 0 {
		ok, in = true, nil
	}
	if !ok {
		step.State = StateFail
		w.step(step)
		r.noEndpoint(w, c, s, set.hosts, why)
		return
	}
	hosts := make([]upstreamHost, 0, len(in))
	for _, i := range in {
		hosts = append(hosts, set.hosts[i])
	}
	p := c.lb.choose(hosts, set.overprovisioning)
	for _, n := range p.notes {
		step.Why = joinWords(step.Why, n)
		step.State = StateWarn
	}
	if c.lb.unknown != "" {
		w.note(fmt.Sprintf("load balancing policy %s is not known here: which host gets the request is not determined", c.lb.unknown))
	}
	if p.reason != "" && sum(p.share) == 0 {
		w.step(step)
		r.noEndpoint(w, c, s, hosts, p.reason)
		return
	}
	w.step(step)
	r.endpoints(w, c, s, hosts, p.share)
	for i := range hosts {
		if p.share[i] == 0 && i < 20 {
			w.miss(KindEndpoint, hosts[i].address, joinWords(hosts[i].health, hosts[i].why))
		}
	}
	if len(in) < len(set.hosts) {
		n := 0
		for i, h := range set.hosts {
			if n < 10 && !slices.Contains(in, i) {
				n++
				w.miss(KindEndpoint, h.address, "not in the subset")
			}
		}
	}
}

func sum(in []float64) float64 {
	t := 0.0
	for _, v := range in {
		t += v
	}
	return t
}

// noEndpoint ends a way for which no host can be chosen; the hosts are shown.
func (r *run) noEndpoint(w *way, c *cluster, s sending, hosts []upstreamHost, why string) {
	r.list(w, c, s, hosts, make([]float64, len(hosts)))
	w.step(Step{Kind: KindEndpoint, Name: c.entry.name, Why: why, State: StateFail, Source: c.entry.path()})
	for i, h := range hosts {
		if i < 20 {
			w.miss(KindEndpoint, h.address, joinWords(h.health, h.why))
		}
	}
	if w.out.Terminal == "http_connection_manager" {
		w.settle(Reject, NoEndpoint, "UH", "no_healthy_upstream")
		w.respond(503, "", "no healthy upstream")
		return
	}
	w.settle(Reject, NoEndpoint, "UH", "")
}

// endpoints ends a way at the hosts chosen.
func (r *run) endpoints(w *way, c *cluster, s sending, hosts []upstreamHost, share []float64) {
	r.list(w, c, s, hosts, share)
	var names []string
	state := StateOK
	for i, e := range w.out.Endpoints {
		if share[i] == 0 {
			continue
		}
		text := e.Address
		if len(hosts) > 1 {
			text += fmt.Sprintf(" (%.4g)", math.Round(share[i]*1e4)/1e4)
		}
		if e.Health != "healthy" {
			text += " " + e.Health
			if e.Health == "unhealthy" {
				state = StateWarn
			}
		}
		names = append(names, text)
	}
	why := strings.Join(names, ", ")
	if len(names) > 8 {
		why = strings.Join(names[:8], ", ") + fmt.Sprintf(" and %d more", len(names)-8)
	}
	name := c.entry.name
	if len(w.out.Endpoints) == 1 {
		name = w.out.Endpoints[0].Address
	}
	w.step(Step{Kind: KindEndpoint, Name: name, Why: why, State: state, Source: r.d.endpointSource(c)})
	w.settle(Forward, "", "", "")
}

func (d *Dump) endpointSource(c *cluster) string {
	for _, n := range []string{c.service, c.entry.name} {
		if e, ok := d.endpoints[n]; ok {
			return e.path()
		}
	}
	return c.entry.path()
}

// list shows hosts with how each would be reached.
func (r *run) list(w *way, c *cluster, s sending, hosts []upstreamHost, share []float64) {
	x := &w.out.Extra
	allTLS, mtls, open := len(hosts) > 0, 0, false
	for i := range hosts {
		h := &hosts[i]
		name, sock := c.socketFor(h)
		e := Endpoint{
			Address: h.address, Health: h.health, Weight: h.weight, Probability: share[i], Priority: h.priority, Locality: h.locality,
			Hostname: h.hostname, TransportSocket: name, Why: h.why, TLS: sock.tls, Counters: h.stats,
		}
		if sock.unknown == "" && c.config.GetTransportSocketMatcher() == nil {
			m := sock.tls && sock.clientCert
			e.MTLS = &m
			if m {
				mtls++
			}
		} else {
			if !open {
				w.note("how " + h.address + " is reached: " + orText(sock.unknown, "transport_socket_matcher is not evaluated here"))
			}
			open = true
		}
		if sock.tls {
			e.SNI = sock.sni
			if e.SNI == "" && s.http && c.http.GetUpstreamHttpProtocolOptions().GetAutoSni() {
				e.SNI = hostOnly(w.out.Request.Authority)
			}
			x.UpstreamSNI = e.SNI
			x.UpstreamALPN = sock.alpn
			if len(s.alpn) > 0 {
				x.UpstreamALPN = s.alpn
			}
		}
		allTLS = allTLS && sock.tls
		if h.lb != nil {
			e.Labels = map[string]string{}
			for k, v := range h.lb.GetFields() {
				e.Labels[k] = valueText(v)
			}
		}
		w.out.Endpoints = append(w.out.Endpoints, e)
	}
	x.UpstreamTLS = allTLS
	switch {
	case len(hosts) == 0:
		m := c.socket.tls && c.socket.clientCert
		if len(c.sockets) == 0 {
			x.UpstreamMTLS = &m
		}
	case open:
	case mtls == len(hosts) || mtls == 0:
		m := mtls > 0
		x.UpstreamMTLS = &m
	}
	if s.autoHost && len(hosts) > 0 && w.out.Request != nil {
		if h := hosts[0].hostname; h != "" {
			w.out.Request.Authority = h
		}
	}
}

func orText(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func hostOnly(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i > 0 && !strings.Contains(authority[i:], "]") {
		return strings.Trim(authority[:i], "[]")
	}
	return strings.Trim(authority, "[]")
}

// originalDst finds the host of an ORIGINAL_DST cluster: filter state, metadata
// and header may name it, else the original destination. Source:
// source/extensions/clusters/original_dst/original_dst_cluster.cc.
func (r *run) originalDst(w *way, c *cluster, s sending) {
	cfg := c.config.GetOriginalDstLbConfig()
	dst, why := netip.AddrPort{}, ""
	if r.conn.restored {
		dst, why = r.conn.dst, "the original destination"
	}
	if cfg.GetMetadataKey() != nil {
		w.doubt("cluster %s takes its host from dynamic metadata, which is not known", c.entry.name)
	}
	if cfg.GetUseHttpHeader() && s.http {
		name := cfg.GetHttpHeaderName()
		if name == "" {
			name = "x-envoy-original-dst-host"
		}
		for _, h := range w.out.Extra.RequestHeaders {
			if !strings.EqualFold(h.Name, name) {
				continue
			}
			if ap, err := netip.ParseAddrPort(strings.TrimSpace(h.Value)); err == nil {
				dst, why = ap, "header "+name
			}
			break
		}
	}
	if !dst.IsValid() {
		r.noEndpoint(w, c, s, nil, "there is no original destination: nothing on listener "+r.entry.name+" restores it")
		return
	}
	if p := cfg.GetUpstreamPortOverride(); p != nil {
		dst = netip.AddrPortFrom(dst.Addr(), uint16(p.GetValue()))
		why += " with port " + strconv.Itoa(int(p.GetValue()))
	}
	h := upstreamHost{address: dst.String(), addr: dst, health: "unknown", why: why, weight: 1}
	if st := r.d.statusOf(c.entry.name); st != nil {
		for _, s := range st.hosts {
			if s.address == h.address {
				h.judge(s.eds, s.flags)
				h.why = joinWords(why, h.why)
			}
		}
	}
	r.endpoints(w, c, s, []upstreamHost{h}, []float64{1})
}

// aggregate puts the priorities of its clusters one behind the other. Source:
// source/extensions/clusters/aggregate/cluster.cc.
func (r *run) aggregate(w *way, c *cluster, s sending, step Step) {
	d := r.d
	var hosts []upstreamHost
	var owner []*cluster
	base := uint32(0)
	over := 0
	for _, name := range c.parts {
		part := d.cluster(name)
		if part == nil || part.state != active || part.err != nil {
			step.Why = joinWords(step.Why, name+" does not exist")
			continue
		}
		set := d.hosts(part)
		if !set.known {
			step.State, step.Why = StateUnknown, joinWords(step.Why, name+": "+set.why)
			w.step(step)
			w.doubt("endpoints of %s: %s", name, set.why)
			return
		}
		top := uint32(0)
		for _, h := range set.hosts {
			top = max(top, h.priority)
			h.priority += base
			hosts = append(hosts, h)
			owner = append(owner, part)
		}
		base += top + 1
		over = max(over, set.overprovisioning)
	}
	step.Why = joinWords(step.Why, "of "+strings.Join(c.parts, ", "))
	w.step(step)
	p := c.lb.choose(hosts, over)
	if sum(p.share) == 0 {
		r.noEndpoint(w, c, s, hosts, p.reason)
		return
	}
	r.endpoints(w, c, s, hosts, p.share)
	for i := range w.out.Endpoints {
		one := &way{run: r}
		one.out.Request = w.out.Request
		r.list(one, owner[i], s, hosts[i:i+1], p.share[i:i+1])
		w.out.Endpoints[i] = one.out.Endpoints[0]
		w.out.Endpoints[i].Why = joinWords(w.out.Endpoints[i].Why, "of cluster "+owner[i].entry.name)
	}
}

// dropped splits off the requests that the load assignment has dropped.
func (r *run) dropped(w *way, set *hostSet, step *Step) {
	pass := 1.0
	for _, d := range set.drops {
		pass *= 1 - fraction(d.GetDropPercentage())
	}
	if pass >= 1 {
		return
	}
	n := w.fork(1 - pass)
	s := *step
	s.State, s.Why = StateFail, joinWords(s.Why, fmt.Sprintf("%.4g %% of the requests are dropped by the load assignment", 100*(1-pass)))
	n.step(s)
	flags, details := "DO", "drop_overload"
	if pass == 0 {
		flags, details = "UDO", "unconditional_drop_overload"
	}
	n.settle(Reject, "", flags, details)
	n.respond(503, "", "")
	n.end()
	w.out.Probability *= pass
	step.State = StateWarn
	step.Why = joinWords(step.Why, fmt.Sprintf("%.4g %% of the requests are dropped", 100*(1-pass)))
}

func fraction(p *typev3.FractionalPercent) float64 {
	switch p.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		return math.Min(1, float64(p.GetNumerator())/1e4)
	case typev3.FractionalPercent_MILLION:
		return math.Min(1, float64(p.GetNumerator())/1e6)
	default:
		return math.Min(1, float64(p.GetNumerator())/100)
	}
}

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
	}
	return strings.Join(out, ", ")
}

// overload says where a circuit breaker is or was open: what /clusters and
// /stats showed when they were read.
func (r *run) overload(c *cluster, set *hostSet, step *Step) {
	warn := func(format string, args ...any) {
		step.State = StateWarn
		step.Why = joinWords(step.Why, fmt.Sprintf(format, args...))
	}
	for _, t := range c.config.GetCircuitBreakers().GetThresholds() {
		if t.GetPriority().String() != "DEFAULT" {
			continue
		}
		var active, connections uint64
		for _, h := range set.hosts {
			active += h.stats["rq_active"]
			connections += h.stats["cx_active"]
		}
		if m := t.GetMaxRequests(); m != nil && set.fromStatus && active >= uint64(m.GetValue()) {
			warn("%d requests are active and the circuit breaker allows %d: more get UO", active, m.GetValue())
		}
		if m := t.GetMaxConnections(); m != nil && set.fromStatus && connections >= uint64(m.GetValue()) {
			warn("%d connections are open and the circuit breaker allows %d", connections, m.GetValue())
		}
	}
	name := c.config.GetAltStatName()
	if name == "" {
		name = strings.ReplaceAll(c.entry.name, ":", "_")
	}
	for _, priority := range []string{"default", "high"} {
		for _, what := range []string{"cx_open", "cx_pool_open", "rq_pending_open", "rq_open", "rq_retry_open"} {
			if v, ok := r.d.clusterStat(c, name, "circuit_breakers."+priority+"."+what); ok && v > 0 {
				warn("circuit breaker %s.%s is open", priority, what)
			}
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

// clustersIn lists the values of fields named cluster in raw JSON.
func clustersIn(raw []byte) []string {
	var out []string
	var value func(at, depth int) (int, error)
	value = func(at, depth int) (int, error) {
		if at >= len(raw) || depth > 64 {
			return 0, nil
		}
		switch raw[at] {
		case '{':
			return jsonscan.Object(raw, at, func(k []byte, at int) (int, error) {
				if s := string(k); s == "cluster" || s == "cluster_name" {
					if t := jsonscan.Text(raw, at); t != "" && !slices.Contains(out, t) {
						out = append(out, t)
					}
				}
				return value(at, depth+1)
			})
		case '[':
			return jsonscan.Array(raw, at, func(_, at int) (int, error) { return value(at, depth+1) })
		}
		return 0, nil
	}
	_, _ = value(0, 0)
	return out
}
