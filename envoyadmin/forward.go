package envoyadmin

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
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
	if s.session != nil && slices.Contains([]string{"ORIGINAL_DST", "dynamic_forward_proxy", "aggregate"}, c.kind) {
		step.State, step.Why = StateUnknown, joinWords(step.Why, "what "+s.session.From+" makes of a cluster of this type is not evaluated here")
		w.step(step)
		w.doubt("%s binds the request to %s, and what that makes of cluster %s, of type %s, is not evaluated here", s.session.From, s.session.Host, name, c.kind)
		return
	}
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
		// What a type nobody here knows makes of its load_assignment is its own.
		if set := d.hosts(c); !set.known || set.fromConfig {
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
	r.overload(c, s, &set, &step)
	r.dropped(w, &set, &step)
	if s.session != nil && r.sticky(w, c, s, &set, &step) {
		return
	}
	if why := c.lb.subsetOpen(set.hosts, s.criteria); why != "" {
		step.State, step.Why = StateUnknown, joinWords(step.Why, why)
		w.step(step)
		r.list(w, c, s, set.hosts, make([]float64, len(set.hosts)))
		w.doubt("endpoints of %s: %s", name, why)
		return
	}
	candidates, why := c.lb.candidates(set.hosts, s.criteria)
	if len(set.hosts) > 0 && len(candidates) == 0 {
		step.State, step.Why = StateFail, joinWords(step.Why, why)
		w.step(step)
		r.noEndpoint(w, c, s, set.hosts, why)
		return
	}
	hosts, in, p := c.lb.among(set.hosts, r.d.settings(c, &set), candidates)
	if len(set.hosts) == 0 {
		p = c.lb.choose(nil, settings{})
	}
	for _, n := range p.notes {
		step.Why = joinWords(step.Why, n)
	}
	if p.panic {
		step.State = StateWarn
	}
	if c.lb.hashed {
		step.Why = joinWords(step.Why, "picked by a hash ("+c.lb.policy+"): a client keeps its host where the route's hash policy tells clients apart")
	}
	if c.lb.unknown != "" {
		p.open = fmt.Sprintf("load balancing policy %s is not known here: which host gets the request is not determined", c.lb.unknown)
	}
	w.note(p.open)
	if total := sum(p.share); total < 1e-9 {
		w.step(step)
		r.noEndpoint(w, c, s, hosts, p.reason)
		return
	} else if total < 1-1e-9 {
		n := w.fork(1 - total)
		n.step(step)
		r.noEndpoint(n, c, s, hosts, p.reason)
		n.end()
		w.out.Probability *= total
		for i := range p.share {
			p.share[i] /= total
		}
	}
	w.step(step)
	r.endpoints(w, c, s, hosts, p.share)
	w.uncertain(p.open, p.share)
	for i := range hosts {
		if p.share[i] == 0 && i < 20 {
			w.miss(KindEndpoint, hosts[i].address, c.lb.passedOver(&hosts[i]))
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

// sticky sends a request to the host that its session names, if that is a host
// of the cluster and fit for it, whatever priorities, subsets and weights say. It
// returns false where the load balancer chooses as ever. Source: chooseHost of
// ClusterEntry in source/common/upstream/cluster_manager_impl.cc.
func (r *run) sticky(w *way, c *cluster, s sending, set *hostSet, step *Step) bool {
	bound := s.session
	open := func(why string) bool {
		step.State, step.Why = StateUnknown, joinWords(step.Why, why)
		w.step(*step)
		r.list(w, c, s, set.hosts, make([]float64, len(set.hosts)))
		w.doubt("%s", why)
		return true
	}
	i := slices.IndexFunc(set.hosts, func(h upstreamHost) bool { return h.address == bound.Host })
	fit, why := matcher.No, fmt.Sprintf("%s names %s, which is no host of the cluster", bound.From, bound.Host)
	if i >= 0 {
		h := &set.hosts[i]
		fit, why = c.overrides(h), fmt.Sprintf("%s names %s, which is %s", bound.From, bound.Host, h.health)
	} else if set.fromConfig && (c.kind == "STRICT_DNS" || c.kind == "LOGICAL_DNS") {
		fit, why = matcher.Undecided, fmt.Sprintf("%s names %s, and what the cluster's names resolve to is not known", bound.From, bound.Host)
	}
	if fit != matcher.No && bound.Unless != "" {
		fit, why = matcher.Undecided, joinWords(why, bound.Unless)
	}
	switch {
	case fit == matcher.Yes:
		step.Why = joinWords(step.Why, fmt.Sprintf("%s binds the request to %s", bound.From, bound.Host))
		w.step(*step)
		share := make([]float64, len(set.hosts))
		share[i] = 1
		r.endpoints(w, c, s, set.hosts, share)
		return true
	case fit == matcher.Undecided:
		return open("whether the request goes to the host of its session is not known: " + why)
	case bound.Strict > 0:
		if bound.Unless != "" {
			return open("whether the request is refused is not known: " + joinWords(why, bound.Unless))
		}
		why += ", and only that one may serve (strict)"
		step.State, step.Why = StateFail, joinWords(step.Why, why)
		w.step(*step)
		r.noEndpoint(w, c, s, set.hosts, why)
		w.respond(bound.Strict, "", "no healthy upstream")
		return true
	}
	step.Why = joinWords(step.Why, why+": another is chosen")
	return false
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
	if no := c.refuses(w.out.Terminal, s); no != nil && no.beforeHosts {
		r.refused(w, no)
		return
	}
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
	if no := c.refuses(w.out.Terminal, s); no != nil {
		r.refused(w, no)
		return
	}
	r.told(w, c, hosts, share)
	w.settle(Forward, "", "", "")
}

// uncertain says of the step that names the hosts chosen that their shares are
// only how many they are and what they weigh.
func (w *way) uncertain(open string, share []float64) {
	last := &w.out.Steps[len(w.out.Steps)-1]
	several := 0
	for _, s := range share {
		if s > 0 {
			several++
		}
	}
	if open == "" || several < 2 || last.Kind != KindEndpoint {
		return
	}
	last.Why = joinWords(last.Why, "the shares are by weight alone: "+open)
	if last.State == StateOK {
		last.State = StateWarn
	}
}

// passedOver says why a host gets nothing.
func (b *balancing) passedOver(h *upstreamHost) string {
	why := joinWords(h.health, h.why)
	switch {
	case !h.fit():
	case h.weight == 0:
		why = joinWords(why, "its weight is 0")
	case b.localityWeighted && h.localityWeight == 0:
		why = joinWords(why, "the weight of its locality is 0")
	case h.priority > 0:
		why = joinWords(why, fmt.Sprintf("priority %d, and those before it take everything", h.priority))
	}
	return why
}

// told adds the step that names the hosts chosen.
func (r *run) told(w *way, c *cluster, hosts []upstreamHost, share []float64) {
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
	if s.autoHost && w.out.Request != nil {
		var names []string
		for i := range hosts {
			if n := orNone(hosts[i].hostname); share[i] > 0 && !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
		switch {
		case len(names) == 1 && names[0] != orNone(""):
			w.out.Request.Authority = names[0]
		case len(names) > 1:
			w.note("the authority becomes the name of the host that is chosen (auto_host_rewrite), and those differ: " + few(names))
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

// aggregate puts the priorities of its clusters one behind the other, as far as
// they have hosts, and spreads the load over them; within one, that cluster's own
// load balancer chooses, subsets included. A subset that is empty there is not
// made up for elsewhere. Source: source/extensions/clusters/aggregate/cluster.cc.
func (r *run) aggregate(w *way, c *cluster, s sending, step Step) {
	d := r.d
	type part struct {
		of       *cluster
		set      hostSet
		from     []candidate
		hosts    []upstreamHost // those of the candidate taken
		share    pick
		none     string // why there is no candidate
		settings settings
	}
	type level struct {
		part     *part
		priority int
	}
	var parts []*part
	var levels []level
	var state []priorityState
	for _, name := range c.parts {
		of := d.cluster(name)
		switch {
		case of == nil:
			step.Why = joinWords(step.Why, name+" does not exist")
			continue
		case of.state != active:
			step.Why = joinWords(step.Why, name+" is "+string(of.state)+" and gets nothing")
			continue
		case of.err != nil:
			step.State, step.Why = StateUnknown, joinWords(step.Why, name+": "+of.err.Error())
			w.step(step)
			w.doubt("cluster %s, a part of %s, does not decode: %v", name, c.entry.name, of.err)
			return
		case of.kind == "aggregate":
			// Only what hosts a part itself has is linearized, and an aggregate has none.
			step.State, step.Why = StateWarn, joinWords(step.Why, name+" is itself an aggregate cluster, which has no hosts of its own, and gets nothing: Envoy does not look into it")
			continue
		}
		set := d.hosts(of)
		why := of.lb.subsetOpen(set.hosts, s.criteria)
		if !set.known {
			why = set.why
		}
		if set.fromConfig && !slices.Contains([]string{"EDS", "STATIC", "STRICT_DNS", "LOGICAL_DNS"}, of.kind) {
			why = "cluster type " + of.kind + " is not known here"
		}
		if why != "" {
			step.State, step.Why = StateUnknown, joinWords(step.Why, name+": "+why)
			w.step(step)
			w.doubt("endpoints of %s: %s", name, why)
			return
		}
		r.overload(of, s, &set, &step)
		p := &part{of: of, set: set, settings: d.settings(of, &set)}
		p.from, p.none = of.lb.candidates(set.hosts, s.criteria)
		if len(p.from) > 0 {
			p.none = ""
		}
		parts = append(parts, p)
		if len(set.hosts) == 0 {
			continue
		}
		for i, st := range priorities(set.hosts, p.settings) {
			if st.hosts > 0 {
				levels, state = append(levels, level{p, i}), append(state, st)
			}
		}
	}
	step.Why = joinWords(step.Why, "of "+strings.Join(c.parts, ", "))
	load := spread(state, c.lb.panicThreshold)
	for _, p := range parts {
		asked := 0.0
		for i, l := range levels {
			if l.part == p {
				asked += float64(load.healthy[i]+load.degraded[i]) / 100
			}
		}
		if p.none != "" && asked > 0 {
			step.Why = joinWords(step.Why, fmt.Sprintf("%.4g %% go to %s: %s", 100*asked, p.of.entry.name, p.none))
		}
		for n, c := range p.from {
			p.hosts = nil
			for _, i := range c.in {
				p.hosts = append(p.hosts, p.set.hosts[i])
			}
			p.share = pick{share: make([]float64, len(p.hosts))}
			if n > 0 {
				step.Why = joinWords(step.Why, p.of.entry.name+": "+c.why)
			}
			if c.one {
				p.share = p.of.lb.single(p.hosts)
				for i := range p.share.share {
					p.share.share[i] *= asked
				}
				break
			}
			panics := spread(priorities(p.hosts, p.settings), p.of.lb.panicThreshold).panic
			for i, l := range levels {
				if l.part == p && l.priority < len(panics) {
					p.of.lb.at(&p.share, p.hosts, p.settings, l.priority, panics[l.priority], float64(load.healthy[i])/100, float64(load.degraded[i])/100)
				}
			}
			if asked == 0 || sum(p.share.share) > 0 {
				break
			}
		}
	}
	reason := "none of its clusters has a host"
	total, stopped := 0.0, 0.0
	var hosts []upstreamHost
	var owner []*part
	var share []float64
	var no *refusal
	for _, p := range parts {
		for _, n := range p.share.notes {
			step.Why = joinWords(step.Why, p.of.entry.name+": "+n)
		}
		w.note(p.share.open)
		part := sum(p.share.share)
		total += part
		if x := p.of.refuses(w.out.Terminal, s); x != nil && !x.beforeHosts && part > 0 {
			no, stopped = x, stopped+part
			clear(p.share.share)
		}
		shown := p.hosts
		if p.none != "" {
			shown = p.set.hosts
		}
		for i := range shown {
			of := 0.0
			if p.none == "" {
				of = p.share.share[i]
			}
			hosts, owner, share = append(hosts, shown[i]), append(owner, p), append(share, of)
		}
	}
	if len(hosts) > 0 {
		reason = fmt.Sprintf("none of %d hosts can be chosen", len(hosts))
	}
	list := func(w *way, share []float64) {
		w.out.Endpoints = nil
		r.list(w, c, s, hosts, share)
		for i := range w.out.Endpoints {
			one := &way{run: r}
			one.out.Request = w.out.Request
			to := s
			to.autoHost = false // all hosts together decide
			r.list(one, owner[i].of, to, hosts[i:i+1], share[i:i+1])
			e := one.out.Endpoints[0]
			e.Why = joinWords(e.Why, "of cluster "+owner[i].of.entry.name)
			if owner[i].none != "" {
				e.Why = joinWords(e.Why, "not in the subset")
			}
			w.out.Endpoints[i] = e
		}
	}
	whole := w.out.Probability
	ending := func(part float64, end func(w *way)) {
		if part < 1e-9 {
			return
		}
		n := w
		if part < 1-1e-9 {
			n = w.fork(1)
			n.out.Probability = whole * part
			w.out.Probability -= n.out.Probability
			defer n.end()
		}
		n.step(step)
		end(n)
	}
	nothing := make([]float64, len(hosts))
	ending(1-total, func(n *way) { r.noEndpoint(n, c, s, hosts, reason); list(n, nothing) })
	ending(stopped, func(n *way) { list(n, nothing); r.refused(n, no) })
	if rest := total - stopped; rest > 1e-9 {
		for i := range share {
			share[i] /= rest
		}
		w.step(step)
		list(w, share)
		if no := c.refuses(w.out.Terminal, s); no != nil && no.beforeHosts {
			r.refused(w, no)
			return
		}
		r.told(w, c, hosts, share)
		for _, p := range parts {
			w.uncertain(p.share.open, share)
		}
		w.settle(Forward, "", "", "")
		for _, p := range parts {
			if p.none == "" && len(p.hosts) < len(p.set.hosts) {
				w.miss(KindEndpoint, p.of.entry.name, fmt.Sprintf("%d of its %d hosts are not in the subset", len(p.set.hosts)-len(p.hosts), len(p.set.hosts)))
			}
		}
	}
}

// dropped splits off the requests that the load assignment has dropped. The router
// drops them (source/common/router/router.cc); that a TCP proxy does is not known.
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
	if w.out.Terminal != "http_connection_manager" {
		why := fmt.Sprintf("the load assignment drops %.4g %% of the requests, and whether of connections too cannot be known from here", 100*(1-pass))
		s.State, s.Why = StateUnknown, joinWords(s.Why, why)
		n.step(s)
		n.doubt("%s", why)
		n.end()
		w.out.Probability *= pass
		step.State = StateWarn
		step.Why = joinWords(step.Why, why)
		return
	}
	s.State, s.Why = StateFail, joinWords(s.Why, fmt.Sprintf("%.4g %% of the requests are dropped by the load assignment", 100*(1-pass)))
	n.step(s)
	flags, details := "DO", "drop_overload"
	if pass == 0 {
		flags, details = "UDO", "unconditional_drop_overload"
	}
	n.settle(Reject, "", flags, details)
	n.respond(503, "", strings.ReplaceAll(details, "_", " "))
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
