package envoyadmin

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	xdscore "github.com/cncf/xds/go/xds/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/local_ratelimit/v3"
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hoptrail/hoptrail/envoyadmin/httpfilter"
	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// Match says what this Envoy does with the call: every way it may take, with
// its probability, the decisions on it and what was passed over. The same call
// gives the same result.
//
//	listener ─ hand-off ─ listener filters ─ filter chain ─ TLS ─ network filters
//	   ┌───────────────────────────────────────────────────────────┘
//	   ├ tcp_proxy ───────────────────────────────────┐
//	   └ connection manager ─ route ─ HTTP filters ─ cluster ─ endpoint
func (d *Dump) Match(c Call) Result {
	r := &run{d: d, call: c.filled()}
	w := &way{run: r}
	w.out.Probability = 1
	r.listener(w)
	for i := range r.done {
		r.done[i].finish()
	}
	res := Result{Outcomes: make([]Outcome, 0, len(r.done))}
	total := 0.0
	for _, w := range r.done {
		total += w.out.Probability
	}
	for _, w := range r.done {
		if total > 0 {
			w.out.Probability /= total
		}
		res.Outcomes = append(res.Outcomes, w.out)
	}
	return res
}

// filled is the call with the documented defaults.
func (c Call) filled() Call {
	if c.TLS == "" {
		c.TLS = NoTLS
	}
	if c.Protocol == "" {
		c.Protocol = HTTP
	}
	if c.HTTPVersion == "" {
		c.HTTPVersion = "1.1"
		if c.Protocol == HTTP2 {
			c.HTTPVersion = "2"
		}
	}
	if c.HTTPVersion == "2" && c.Protocol == HTTP {
		c.Protocol = HTTP2
	}
	if c.Scheme == "" {
		c.Scheme = "http"
		if c.TLS != NoTLS {
			c.Scheme = "https"
		}
	}
	if c.Method == "" {
		c.Method = "GET"
	}
	if c.Path == "" && c.Method != "CONNECT" {
		c.Path = "/"
	}
	if !c.OriginalDst.IsValid() {
		c.OriginalDst = c.Address
	}
	if c.Authority == "" && !c.NoAuthority && c.Address.IsValid() {
		c.Authority = c.Address.String()
	}
	return c
}

// run is one evaluation; done are the ways that came to an end.
type run struct {
	d    *Dump
	call Call
	done []*way

	entry    *listenerEntry
	listen   *listener
	conn     connection
	unsure   []string          // what the listener filters leave open
	metadata bool              // something before the routes may have set metadata or filter state
	state    map[string]string // filter state that network filters set
	chain    *chain
}

// way is one outcome in the making. sealed says that a filter refused and the
// rest is only what would have come after.
type way struct {
	*run
	out    Outcome
	sealed bool

	reply   *hcmv3.LocalReplyConfig // of the connection manager the request came to
	seen    *matcher.Request        // as it came to the routes
	session *httpfilter.Session     // the host that a filter bound it to
}

// fork copies the way so far; the copy has the given share of its probability.
func (w *way) fork(share float64) *way {
	n := &way{run: w.run, out: w.out, sealed: w.sealed, reply: w.reply, seen: w.seen, session: w.session}
	n.out.Probability *= share
	n.out.Steps = slices.Clone(w.out.Steps)
	n.out.NearMisses = slices.Clone(w.out.NearMisses)
	n.out.Reasons = slices.Clone(w.out.Reasons)
	return n
}

func (w *way) end() { w.run.done = append(w.run.done, w) }

// settle gives the way its verdict unless it has one.
func (w *way) settle(v Verdict, code, flags, details string) {
	if w.sealed || w.out.Verdict != "" {
		return
	}
	w.out.Verdict, w.out.Error, w.out.Flags, w.out.Details = v, code, flags, details
}

// doubt makes the way undetermined for a reason. The step it arose at says so,
// unless that is in doubt or has failed already: who reads the steps alone must
// not take the way for open.
func (w *way) doubt(format string, args ...any) {
	reason := fmt.Sprintf(format, args...)
	w.note(reason)
	w.settle(Undetermined, "", "", "")
	if n := len(w.out.Steps); n > 0 {
		if s := &w.out.Steps[n-1]; s.State == StateOK || s.State == StateWarn {
			s.State = StateUnknown
			if !strings.Contains(s.Why, reason) {
				s.Why = joinWords(s.Why, reason)
			}
		}
	}
}

func (w *way) note(reason string) {
	if reason != "" && !slices.Contains(w.out.Reasons, reason) {
		w.out.Reasons = append(w.out.Reasons, reason)
	}
}

// strange notes the fields of an object that are not known here; they are none
// of those a match is made of, which make it undetermined.
func (w *way) strange(what string, m proto.Message) {
	if un := decode.Unknown(m); len(un) > 0 {
		w.note(what + " has settings not known here: " + strings.Join(un, "; "))
	}
}

func (w *way) step(s Step) { w.out.Steps = append(w.out.Steps, s) }

func (w *way) miss(kind, name, why string) {
	if len(w.out.NearMisses) < 40 {
		w.out.NearMisses = append(w.out.NearMisses, NearMiss{kind, name, why})
	}
}

// finish makes the lists of the contract non-null and fills in the verdict.
func (w *way) finish() {
	o := &w.out
	if o.Verdict == "" {
		o.Verdict = Forward
		if len(o.Reasons) > 0 && o.Cluster == "" && o.Terminal == "" {
			o.Verdict = Undetermined
		}
	}
	if n := len(o.Steps); o.Verdict == Reject && n > 0 && !slices.ContainsFunc(o.Steps, func(s Step) bool { return s.State == StateFail }) {
		o.Steps[n-1].State = StateFail
	}
	if r := o.Response; r != nil && o.Verdict == Undetermined { // only one of the answers there may be
		text := "unless that changes it, Envoy answers with " + r.String()
		if r.Location != "" {
			text += " and location " + r.Location
		}
		w.note(text)
		o.Response = nil
	}
	w.localReply()
	w.grpcReply()
	if o.Endpoints == nil {
		o.Endpoints = []Endpoint{}
	}
	o.Owner = owners(o.Steps)
	if o.Steps == nil {
		o.Steps = []Step{}
	}
	if o.NearMisses == nil {
		o.NearMisses = []NearMiss{}
	}
}

// owners lists who wrote what decided, the most specific first: a policy that
// refuses or is in doubt, then the route, the cluster, the filter chain and the
// listener.
func owners(steps []Step) []string {
	out := []string{}
	for _, kind := range []string{KindFilter, KindRoute, KindCluster, KindFilterChain, KindListener} {
		for _, s := range steps {
			if s.Kind != kind || kind == KindFilter && s.State == StateOK {
				continue
			}
			for _, o := range s.Owner {
				if !slices.Contains(out, o) {
					out = append(out, o)
				}
			}
		}
	}
	return out
}

// waiting says of a listener that is not active what that means for dst.
func waiting(l *listenerEntry, dst netip.AddrPort) string {
	when := "yet"
	if l.state == draining {
		when = "any more"
	}
	return fmt.Sprintf("%s is %s only: no listener serves %s %s", l.name, l.state, dst, when)
}

// listener finds the listener that serves the call.
func (r *run) listener(w *way) {
	d, c := r.d, &r.call
	dir := c.Direction
	why := ""
	if dir == Auto {
		dir, why = d.direction(c)
	}
	fail := func(step Step) {
		step.Kind, step.State = KindListener, StateFail
		w.step(step)
		d.nearListeners(w, c.Address)
		if len(d.blank) > 0 { // one of them may be the one
			w.out.Steps[len(w.out.Steps)-1].State = StateUnknown
			w.doubt("the dump names listeners without their configuration: %s", few(d.blank))
		}
		w.settle(Reject, NoListener, "", "")
		w.end()
	}
	if !d.has.listeners {
		if d.bare && len(d.routes) == 1 {
			r.bareRoutes(w)
			return
		}
		w.step(Step{Kind: KindListener, Why: "the dump holds no listeners", State: StateUnknown})
		w.doubt("the dump holds no listeners")
		w.end()
		return
	}
	dst := c.Address
	var from *listenerEntry
	switch dir {
	case Gateway:
		from = d.accept(dst)
		if from == nil {
			if from = d.tunnelled(); from != nil {
				why = joinWords(why, "nothing is bound to the address; a waypoint gets it inside a tunnel, which ends at the internal listener "+from.name)
				break
			}
			if l := d.byAddress(dst, func(*listenerEntry) bool { return true }); l != nil && c.Direction == Auto {
				from = l
				why = joinWords(why, "not bound: only captured connections reach it, and the listener that takes those is not in the dump")
				break
			}
			if n := d.updating(dst); n != nil {
				fail(Step{Name: n.name, Why: waiting(n, dst), Source: n.path(), Object: d.listenerObject(n)})
				return
			}
			fail(Step{Name: dst.String(), Why: fmt.Sprintf("no listener is bound to %s", dst)})
			return
		}
		switch {
		case from.internal != "":
		case from.addr() == "":
			why = joinWords(why, "the only listener of the file, which gives it no address")
		case from.bound:
			why = joinWords(why, "bound to "+from.serving(dst))
		}
	default:
		from = d.capture(dir)
		if from == nil {
			// No capture in this proxy, or a trimmed dump: the address itself must be
			// a listener's.
			if from = d.byAddress(dst, func(*listenerEntry) bool { return true }); from == nil {
				fail(Step{Name: dst.String(), Why: fmt.Sprintf("no listener takes captured %s connections, and none is registered for %s", dir, dst)})
				return
			}
			why = joinWords(why, fmt.Sprintf("no listener here takes captured %s connections; the one of %s serves", dir, from.addr()))
			break
		}
		dst = c.OriginalDst
		why = joinWords(why, fmt.Sprintf("%s takes captured %s connections", from.name, dir))
	}
	to, handOff := d.handOff(from, c.OriginalDst)
	if from.originalDst || to != from {
		why = joinWords(why, handOff)
	}
	r.entry = to
	w.out.Listener = to.name
	w.out.Extra.ListenerAddress = to.addr()
	w.out.Extra.Problems = d.problems(to)
	state := StateOK
	if to.errorState >= 0 {
		state = StateWarn
		words := "its last update was rejected"
		if details, _ := d.failure(to.errorState); details != "" {
			words += ": " + details
		}
		why = joinWords(why, words+"; the version before serves")
	}
	for _, o := range d.beside(to) {
		why = joinWords(why, o)
	}
	name := to.name
	if name == "" {
		name = to.addr()
	}
	w.step(Step{Kind: KindListener, Name: name, Why: why, State: state, Owner: d.listenerOwners(to), Source: to.path(), Object: d.listenerObject(to)})
	w.out.Extra.Listener = w.out.Steps[len(w.out.Steps)-1].Object
	r.listen = d.parse(to)
	if r.listen.err != nil {
		w.doubt("listener %s does not decode: %v", to.name, r.listen.err)
		w.end()
		return
	}
	w.out.Extra.ListenerAccessLogs = r.listen.config.GetAccessLog()
	r.inspect(w, from, dst)
	for _, u := range r.unsure {
		w.doubt("%s", u)
	}
	w.strange("listener "+name, r.listen.config)
	r.filterChain(w)
}

func joinWords(a, b string) string {
	if a == "" {
		return b
	}
	if b == "" {
		return a
	}
	return a + "; " + b
}

// tunnelled is the internal listener at which connections arrive in a waypoint:
// connect_terminate unpacks the HBONE tunnel and hands them to main_internal.
func (d *Dump) tunnelled() *listenerEntry {
	if !strings.HasPrefix(d.NodeID(), "waypoint~") {
		return nil
	}
	for _, l := range d.listeners {
		if l.state == active && l.internal != "" && l.name == "main_internal" {
			return l
		}
	}
	return nil
}

// direction tells how a call would come to this proxy. A sidecar captures what
// goes to its own addresses as inbound and everything else as outbound, except
// the ports that are its own.
func (d *Dump) direction(c *Call) (Direction, string) {
	out, in := d.capture(Outbound), d.capture(Inbound)
	if out == nil || in == nil {
		return Gateway, ""
	}
	if slices.Contains(d.ownIPs(), c.OriginalDst.Addr().Unmap()) {
		if l := d.accept(c.OriginalDst); l != nil && l != out && l != in && (l.static || l.hasPort(15021) || l.hasPort(15090) || l.hasPort(15020)) {
			return Gateway, "a port of the proxy's own, which is not captured"
		}
		return Inbound, "a sidecar, and the address is its own"
	}
	return Outbound, "a sidecar, and the address is not its own"
}

// inspect runs the listener filters: those of the listener that accepted, then,
// after a hand-off, those of the listener that serves. What the first found out
// stays with the socket.
func (r *run) inspect(w *way, from *listenerEntry, original netip.AddrPort) {
	c := &r.call
	r.conn = connection{dst: c.Address, src: c.Source, direct: c.Source.Addr()}
	if !r.conn.src.IsValid() {
		r.conn.src = netip.AddrPort{}
	}
	if from != r.entry {
		if l := r.d.parse(from); l.err != nil {
			r.unsure = append(r.unsure, fmt.Sprintf("listener %s, which accepts the connection, does not decode: %v", from.name, l.err))
		} else {
			r.listenerFilters(w, l, original)
		}
	}
	r.listenerFilters(w, r.listen, original)
	if r.conn.transport == "" {
		r.conn.transport = "raw_buffer"
	}
}

// listenerFilters runs the filters of one listener: they restore the
// destination and detect transport protocol, server name and ALPN. Sources:
// source/extensions/filters/listener/*, active_tcp_socket.cc.
func (r *run) listenerFilters(w *way, l *listener, original netip.AddrPort) {
	c, conn := &r.call, &r.conn
	if l.entry.originalDst {
		conn.dst, conn.restored = original, true
	}
	if l.entry.internal != "" { // what made the internal connection gave it its destination
		conn.restored = true
	}
	for _, f := range l.config.GetListenerFilters() {
		kind := typeOf(f.GetTypedConfig(), f.GetName())
		if kind == f.GetName() && f.GetConfigDiscovery() != nil {
			kind = "config discovery"
		}
		short := lastPart(kind)
		if disabled(f.GetFilterDisabled(), uint32(conn.dst.Port())) {
			w.out.Steps[len(w.out.Steps)-1].Why += fmt.Sprintf("; %s is off for port %d", f.GetName(), conn.dst.Port())
			continue
		}
		switch short {
		case "OriginalDst", "original_dst":
			conn.dst, conn.restored = original, true
		case "TlsInspector", "tls_inspector":
			if c.TLS != NoTLS && conn.transport == "" {
				conn.transport, conn.sni, conn.alpn = "tls", strings.ToLower(c.SNI), c.ALPN
			}
		case "HttpInspector", "http_inspector":
			if (conn.transport == "" || conn.transport == "raw_buffer") && c.TLS == NoTLS && !c.ConnectOnly {
				switch c.Protocol {
				case HTTP2:
					conn.alpn = []string{"h2c"}
				case HTTP:
					conn.alpn = []string{"http/" + c.HTTPVersion}
				}
			}
		case "ProxyProtocol", "proxy_protocol":
			cfg := &proxyv3.ProxyProtocol{}
			if known := unpack(f.GetTypedConfig(), cfg); !c.ProxyHeader && !(known && cfg.GetAllowRequestsWithoutProxyProtocol()) {
				r.unsure = append(r.unsure, "listener filter "+f.GetName()+" wants a PROXY protocol header before anything else; whether one is sent is not known")
			}
			if c.ProxyHeader {
				// The header names both ends; the peer itself is whoever sent it.
				conn.restored, conn.direct = true, netip.Addr{}
			}
		case "OriginalSrc", "original_src", "SetFilterStateConfig", "connect_handler", "HboneInspector":
		case "LocalRateLimit", "local_ratelimit":
			cfg := &localv3.LocalRateLimit{}
			if unpack(f.GetTypedConfig(), cfg); cfg.GetRuntimeEnabled() == nil || cfg.GetRuntimeEnabled().GetDefaultValue().GetValue() {
				s := &w.out.Steps[len(w.out.Steps)-1]
				s.State, s.Why = StateWarn, joinWords(s.Why, fmt.Sprintf("%s closes what goes beyond %s", f.GetName(), bucket(cfg.GetTokenBucket())))
			}
		case "DynamicModuleListenerFilter":
			conn.restored, r.metadata = true, true // it may do either
			r.unsure = append(r.unsure, "listener filter "+f.GetName()+", a dynamic module, may change or refuse the connection")
		case "Config":
			if strings.Contains(kind, "set_filter_state") {
				r.metadata = true
				continue
			}
			fallthrough
		default:
			if strings.Contains(kind, "set_internal_dst_address") || strings.Contains(f.GetName(), "original_dst") {
				conn.restored = true
				continue
			}
			conn.restored = true // it may have been
			r.unsure = append(r.unsure, fmt.Sprintf("listener filter %s (%s) is not known here and may change the connection", f.GetName(), kind))
		}
	}
}

// bucket is how many connections a token bucket lets pass, in words.
func bucket(b *typev3.TokenBucket) string {
	fill := uint32(1)
	if b.GetTokensPerFill() != nil {
		fill = b.GetTokensPerFill().GetValue()
	}
	return fmt.Sprintf("%d connections at once, %d more every %s", b.GetMaxTokens(), fill, b.GetFillInterval().AsDuration())
}

func lastPart(s string) string { return s[strings.LastIndexByte(s, '.')+1:] }

// disabled evaluates a listener filter's predicate on the destination port.
// Source: source/common/network/filter_matcher.cc.
func disabled(p *listenerv3.ListenerFilterChainMatchPredicate, port uint32) bool {
	switch m := p.GetRule().(type) {
	case *listenerv3.ListenerFilterChainMatchPredicate_AnyMatch:
		return m.AnyMatch
	case *listenerv3.ListenerFilterChainMatchPredicate_NotMatch:
		return !disabled(m.NotMatch, port)
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		for _, r := range m.OrMatch.GetRules() {
			if disabled(r, port) {
				return true
			}
		}
	case *listenerv3.ListenerFilterChainMatchPredicate_AndMatch:
		for _, r := range m.AndMatch.GetRules() {
			if !disabled(r, port) {
				return false
			}
		}
		return true
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		return port >= uint32(max(m.DestinationPortRange.GetStart(), 0)) && port < uint32(max(m.DestinationPortRange.GetEnd(), 0))
	}
	return false
}

// filterChain chooses the filter chain and goes on through it.
func (r *run) filterChain(w *way) {
	l := r.listen
	conn := r.conn
	if l.tree.reject != "" && l.config.GetFilterChainMatcher() == nil {
		w.step(Step{Kind: KindFilterChain, Why: "Envoy rejects such a listener: " + l.tree.reject, State: StateUnknown, Source: join(r.entry.path(), "filter_chains")})
		w.doubt("Envoy rejects such a listener: %s", l.tree.reject)
		w.end()
		return
	}
	var found *chain
	var why []string
	if m := l.config.GetFilterChainMatcher(); m != nil {
		req := r.request()
		req.Network = true
		f := matcher.Eval(m, req, nil)
		switch f.Verdict {
		case matcher.Yes:
			name := actionName(f.Action)
			for _, c := range l.chains {
				if c.name == name {
					found = c
				}
			}
			why = append(append(why, f.Trail...), "filter_chain_matcher names "+name)
			if found == nil {
				why = append(why, "which is not a filter chain of the listener")
			}
		case matcher.No:
			why = append(why, "filter_chain_matcher names none")
		default:
			w.step(Step{Kind: KindFilterChain, Why: "filter_chain_matcher: " + f.Why, State: StateUnknown, Source: join(r.entry.path(), "filter_chain_matcher")})
			w.doubt("filter_chain_matcher: %s", f.Why)
			w.end()
			return
		}
	} else {
		for _, c := range l.chains {
			if len(c.unknown) > 0 {
				w.step(Step{Kind: KindFilterChain, Name: c.name, Why: "its match holds what is not known here: " + strings.Join(c.unknown, "; "), State: StateUnknown, Source: c.path()})
				w.doubt("filter chain %s: match holds what is not known here: %s", c.title(), strings.Join(c.unknown, "; "))
				w.end()
				return
			}
		}
		var open []*chain
		if found, why, open = l.tree.find(conn); len(open) > 0 {
			w.step(Step{Kind: KindFilterChain, Why: strings.Join(append(why, "the client's address decides, and it is not known"), "; "), State: StateUnknown, Source: join(r.entry.path(), "filter_chains")})
			w.doubt("which filter chain serves depends on the client's address, which is not known: %s", strings.Join(l.titles(open), " or "))
			w.end()
			return
		}
	}
	if found == nil && l.fallback != nil {
		found = l.fallback
		why = append(why, "the default filter chain takes what no other does")
	}
	r.nearChains(w, found)
	if found == nil {
		if l.config.GetFcdsConfig() != nil {
			w.step(Step{Kind: KindFilterChain, Why: "filter chains are discovered (fcds_config) and not in the dump", State: StateUnknown, Source: join(r.entry.path(), "fcds_config")})
			w.doubt("filter chains of %s are discovered and not in the dump", r.entry.name)
			w.end()
			return
		}
		if r.call.ConnectOnly && r.call.TLS == NoTLS && r.tlsChains() != nil {
			r.waitsForHello(w)
			return
		}
		w.step(Step{Kind: KindFilterChain, Why: strings.Join(why, "; ") + ": the connection is closed", State: StateFail, Source: join(r.entry.path(), "filter_chains")})
		w.settle(Reject, NoFilterChain, "NR", "filter_chain_not_found")
		w.end()
		return
	}
	if len(why) == 0 {
		why = append(why, "it has no conditions, every connection fits")
	}
	r.chain = found
	w.out.FilterChain = found.name
	w.step(Step{Kind: KindFilterChain, Name: found.name, Why: found.title() + ": " + strings.Join(why, "; "), State: StateOK, Owner: r.d.chainOwners(r.entry, found), Source: found.path(), Object: r.d.object(found.from, found.to)})
	b := r.d.body(found)
	if b.err != nil {
		w.doubt("filter chain %s does not decode: %v", found.title(), b.err)
		w.end()
		return
	}
	if !r.handshake(w, b) {
		w.end()
		return
	}
	r.networkFilters(w, b)
}

// titles names chains in words, each once; nil is the default chain or none.
func (l *listener) titles(chains []*chain) []string {
	var out []string
	for _, c := range chains {
		name := "none"
		switch {
		case c != nil:
			name = c.title()
		case l.fallback != nil:
			name = l.fallback.title()
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// tlsChains lists the server names of chains that want TLS.
func (r *run) tlsChains() []string {
	var out []string
	for _, c := range r.listen.chains {
		if c.match.GetTransportProtocol() == "tls" || len(c.match.GetServerNames()) > 0 {
			if len(c.match.GetServerNames()) == 0 {
				out = append(out, "*")
			}
			out = append(out, c.match.GetServerNames()...)
		}
	}
	return unique(out)
}

// waitsForHello ends a bare connection at a listener that looks at the TLS
// hello before it chooses.
func (r *run) waitsForHello(w *way) {
	w.step(Step{Kind: KindFilterChain, Why: "the connection is accepted; which filter chain serves it is chosen by the TLS hello", State: StateOK, Source: join(r.entry.path(), "filter_chains")})
	w.out.Terminal = "tls"
	w.out.Hosts = r.tlsChains()
	w.settle(Forward, "", "", "")
	w.end()
}

// handshake passes the downstream transport socket. It returns false where the
// call ends there.
func (r *run) handshake(w *way, b *chainBody) bool {
	c := &r.call
	s := &b.socket
	x := &w.out.Extra
	x.DownstreamTLS, x.RequireClientCert, x.CertificateNames, x.ListenerALPN = s.tls, s.required, s.secrets, s.alpn
	chainStep := &w.out.Steps[len(w.out.Steps)-1]
	end := func(state State, why string) {
		chainStep.State, chainStep.Why = state, joinWords(chainStep.Why, why)
	}
	if s.unknown != "" {
		end(StateUnknown, s.unknown)
		w.doubt("%s", s.unknown)
		return false
	}
	if !s.tls {
		return true
	}
	x.Certificates, x.SecretsWarming = r.d.chainCertificates(r.chain, s)
	if c.TLS == NoTLS && !s.optional {
		if c.ConnectOnly {
			end(StateOK, "the connection is accepted; a TLS handshake is expected next")
			w.out.Terminal = "tls"
			w.out.Hosts = r.chain.match.GetServerNames()
			if len(w.out.Hosts) == 0 {
				w.out.Hosts = []string{"*"}
			}
			w.settle(Forward, "", "", "")
			return false
		}
		end(StateFail, "it terminates TLS and the client speaks plaintext: the handshake fails")
		w.settle(Reject, TLSRequired, "", "")
		w.sealed = c.PastRefusals
		return c.PastRefusals
	}
	if len(x.SecretsWarming) > 0 {
		end(StateFail, fmt.Sprintf("its certificate %s is not supplied by SDS: no handshake can be made", strings.Join(x.SecretsWarming, ", ")))
		w.settle(Reject, "", "", "")
		w.note("secret " + strings.Join(x.SecretsWarming, ", ") + " is not supplied by SDS")
		w.sealed = c.PastRefusals
		return c.PastRefusals
	}
	if s.required && c.TLS == TLS {
		end(StateFail, "it requires a client certificate and the client presents none: the handshake fails")
		w.settle(Reject, TLSRequired, "", "")
		w.sealed = c.PastRefusals
		return c.PastRefusals
	}
	end(StateOK, "terminates TLS")
	// Who offers istio-http/1.1, as Istio's proxies do, offers http/1.1 behind it.
	if len(c.ALPN) > 0 && len(s.alpn) > 0 && !slices.ContainsFunc(c.ALPN, func(p string) bool {
		return slices.Contains(s.alpn, p) || slices.Contains(s.alpn, strings.TrimPrefix(p, "istio-"))
	}) {
		// ServerContextImpl's alpnSelectCallback then answers SSL_TLSEXT_ERR_NOACK.
		end(StateOK, fmt.Sprintf("agrees on no application protocol: the client offers %s, the chain %s; a client that insists on one gives up", strings.Join(c.ALPN, ", "), strings.Join(s.alpn, ", ")))
	}
	switch {
	case c.TLS == MTLS && s.required:
		end(StateOK, "verifies the client's certificate")
	case c.TLS == MTLS && !s.asks():
		end(StateOK, "asks the client for no certificate, so none is presented")
	}
	return true
}

// request is the call as matchers see it.
func (r *run) request() *matcher.Request {
	c := &r.call
	req := &matcher.Request{
		Method: c.Method, Scheme: c.Scheme, Authority: c.Authority, Path: c.Path,
		Conn: matcher.Conn{Destination: r.conn.dst, DirectRemote: r.conn.src, Transport: r.conn.transport, SNI: r.conn.sni, ALPN: r.conn.alpn},
		Env: matcher.Env{
			MetadataComplete: !r.metadata, FilterStateComplete: !r.metadata, FilterState: maps.Clone(r.state), NodeID: r.d.NodeID(), Now: c.Now, Random: c.Random, Regex: r.d.regexps(),
		},
	}
	if !r.conn.direct.IsValid() && r.conn.src.IsValid() { // PROXY protocol: the peer is not the client
		req.Conn.DirectRemote, req.Conn.Remote, req.Conn.ConnRemote = netip.AddrPort{}, r.conn.src, r.conn.src
	}
	for _, h := range c.Headers {
		req.Headers = append(req.Headers, matcher.Header{Name: h.Name, Value: h.Value})
	}
	switch c.HTTPVersion {
	case "1.0":
		req.Protocol = "HTTP/1.0"
	case "2":
		req.Protocol = "HTTP/2"
	case "3":
		req.Protocol = "HTTP/3"
	default:
		req.Protocol = "HTTP/1.1"
	}
	if r.d.has.clusters {
		req.Env.KnownCluster = r.d.hasCluster
	}
	if r.chain != nil {
		if s := r.d.body(r.chain).socket; s.tls && c.TLS != NoTLS {
			t := &matcher.TLS{}
			if c.TLS == MTLS && s.asks() {
				t.Peer = &matcher.Peer{
					Known: len(c.Peer.URISANs)+len(c.Peer.DNSSANs) > 0 || c.Peer.Subject != "", Validated: matcher.Of(!s.insecureAny),
					URISANs: c.Peer.URISANs, DNSSANs: c.Peer.DNSSANs, Subject: c.Peer.Subject,
				}
			}
			req.Conn.TLS = t
			if req.Conn.SNI == "" {
				req.Conn.SNI = strings.ToLower(c.SNI)
			}
			if len(req.Conn.ALPN) == 0 {
				req.Conn.ALPN = c.ALPN
			}
		}
	}
	return req
}

// actionName is the filter chain a matcher's action names: a StringValue, or
// the action's own name.
func actionName(a *xdscore.TypedExtensionConfig) string {
	var s wrapperspb.StringValue
	if unpack(a.GetTypedConfig(), &s) {
		return s.GetValue()
	}
	return a.GetName()
}
