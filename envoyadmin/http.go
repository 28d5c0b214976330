package envoyadmin

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/hoptrail/hoptrail/envoyadmin/httpfilter"
	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

// sending is what the route says of how a request is sent to a cluster.
type sending struct {
	criteria map[string]*structpb.Value // of the subset
	tunnel   string
	autoHost bool
	alpn     []string
	http     bool
	protocol string // downstream HTTP version
	priority corev3.RoutingPriority
	session  *httpfilter.Session // the host that the request is bound to, nil for none
}

// http passes the connection manager.
func (r *run) http(w *way, b *chainBody) {
	c := &r.call
	hcm := b.hcm
	w.strange("the connection manager", hcm)
	req := r.request()
	w.reply, w.seen = hcm.GetLocalReplyConfig(), req
	r.remote(w, hcm, req)
	if !r.codec(w, hcm, b) {
		w.end()
		return
	}
	table, ok := r.routeTable(w, b, req)
	if c.ConnectOnly {
		if table != nil {
			w.out.Hosts = r.d.served(table)
		}
		w.settle(Forward, "", "", "")
		w.end()
		return
	}
	if !ok {
		w.end()
		return
	}
	// ActiveStream::localPort is the connection's, which a captured connection had restored.
	n := route.Normalize(hcm, uint32(r.conn.dst.Port()), req)
	for _, note := range n.Notes {
		r.amend(w, note)
	}
	if n.Undecided != "" {
		w.doubt("%s", n.Undecided)
	}
	if n.Refusal.Status != 0 {
		s := &w.out.Steps[len(w.out.Steps)-1]
		s.State, s.Why = StateFail, joinWords(s.Why, n.Refusal.Why)
		verdict := Reject
		if n.Refusal.Location != "" {
			verdict = Redirect
		}
		w.settle(verdict, "", n.Refusal.Flags, n.Refusal.Details)
		w.respond(n.Refusal.Status, n.Refusal.Location, "")
		w.end()
		return
	}
	if n.Request != nil {
		req = n.Request
	}
	w.seen = req
	req = route.DropInternalOnly(table.table.Config, req)
	r.routes(w, b, table, req, b.hcm.GetHttpFilters(), nil)
}

// remote finds the address Envoy takes for the client's: of the connection, or
// of x-forwarded-for as far as that is trusted. Source:
// ConnectionManagerUtility::mutateRequestHeaders in source/common/http/conn_manager_utility.cc.
func (r *run) remote(w *way, hcm *hcmv3.HttpConnectionManager, req *matcher.Request) {
	hops := hcm.GetXffNumTrustedHops()
	skip := int(hops)
	if hcm.GetUseRemoteAddress().GetValue() {
		if hops == 0 {
			return
		}
		skip--
	}
	for _, e := range hcm.GetOriginalIpDetectionExtensions() {
		if !hcm.GetUseRemoteAddress().GetValue() {
			w.note("the client's address is detected by " + e.GetName() + ", which is not evaluated; that of the connection is taken")
			return
		}
	}
	header, ok := req.Get("x-forwarded-for")
	if !ok {
		return
	}
	list := strings.Split(header, ",")
	if skip >= len(list) {
		return
	}
	ip, err := netip.ParseAddr(strings.TrimSpace(list[len(list)-1-skip]))
	if err != nil {
		return
	}
	req.Conn.Remote = netip.AddrPortFrom(ip, 0)
}

// amend adds to what the last step says.
func (r *run) amend(w *way, words string) {
	s := &w.out.Steps[len(w.out.Steps)-1]
	s.Why = joinWords(s.Why, words)
}

func (w *way) respond(status int, location, body string) {
	if w.sealed && w.out.Response != nil || status == 0 {
		return
	}
	w.out.Response = &Response{Status: status, Location: location, Body: body}
}

// codec says whether the connection manager can read what the client speaks.
func (r *run) codec(w *way, hcm *hcmv3.HttpConnectionManager, b *chainBody) bool {
	c := &r.call
	fail := func(details, why string) bool {
		s := &w.out.Steps[len(w.out.Steps)-1]
		s.State, s.Why = StateFail, joinWords(s.Why, why)
		w.settle(Reject, "", "DPE", details)
		w.respond(400, "", "")
		return false
	}
	switch {
	case c.TLS != NoTLS && !b.socket.tls:
		fail("http1.codec_error", "the client speaks TLS and the chain does not terminate it: the connection manager cannot read it")
		if c.ConnectOnly || c.Protocol == TCP {
			return false
		}
		w.sealed = c.PastRefusals
		return c.PastRefusals
	case c.ConnectOnly:
		return true
	case c.Protocol == TCP:
		return fail("http1.codec_error", "what the client speaks is not HTTP, and the connection manager wants HTTP")
	case hcm.GetCodecType() == hcmv3.HttpConnectionManager_HTTP1 && c.Protocol == HTTP2:
		return fail("http1.codec_error", "the connection manager speaks HTTP/1 only and the client HTTP/2")
	case hcm.GetCodecType() == hcmv3.HttpConnectionManager_HTTP2 && c.Protocol != HTTP2:
		s := &w.out.Steps[len(w.out.Steps)-1]
		s.State, s.Why = StateFail, joinWords(s.Why, "the connection manager speaks HTTP/2 only and the client HTTP/1: the connection is closed")
		w.settle(Reject, "", "DPE", "")
		return false
	}
	if details, why := tooLarge(hcm, c); why != "" {
		s := &w.out.Steps[len(w.out.Steps)-1]
		s.State, s.Why = StateFail, joinWords(s.Why, why)
		w.settle(Reject, "", "DPE", details)
		if c.Protocol != HTTP2 { // HTTP/2 resets the stream
			w.respond(431, "", "")
		}
		return false
	}
	return true
}

// routeTable finds the route table of the connection manager.
func (r *run) routeTable(w *way, b *chainBody, req *matcher.Request) (*routeEntry, bool) {
	d := r.d
	missing := func(name, why string) (*routeEntry, bool) {
		if !d.has.routes {
			w.step(Step{Kind: KindRoute, Name: name, Why: "route table " + name + " is not in the dump, which holds none", State: StateUnknown})
			w.doubt("route table %s is not in the dump", name)
			return nil, false
		}
		source := ""
		for _, f := range d.errors {
			if f.kind == "route_config" && f.name == name {
				why, source = why+": its update was rejected", f.e.path()
				if details, _ := d.failure(f.at); details != "" {
					why += ": " + details
				}
			}
		}
		w.step(Step{Kind: KindRoute, Name: name, Why: why, State: StateFail, Source: source})
		for _, e := range d.routes {
			if e.name != "" && near(e.name, name) {
				w.miss("route_config", e.name, "is not named "+name)
			}
		}
		w.settle(Reject, NoRouteConfig, "NR", "route_configuration_not_found")
		w.respond(404, "", "")
		return nil, false
	}
	var e *routeEntry
	switch s := b.hcm.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_RouteConfig:
		if e = b.inline; e == nil {
			w.doubt("the inline route table was not found in the dump")
			return nil, false
		}
	case *hcmv3.HttpConnectionManager_Rds:
		name := s.Rds.GetRouteConfigName()
		w.out.RouteConfig = name
		if e = d.byRoute[name]; e == nil {
			return missing(name, fmt.Sprintf("route table %s was not received", name))
		}
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		name, why, known := d.scope(s.ScopedRoutes, req, httpfilter.FetchesOnDemand(b.hcm.GetHttpFilters(), d.discovered))
		switch {
		case !known:
			w.step(Step{Kind: KindRoute, Name: s.ScopedRoutes.GetName(), Why: why, State: StateUnknown})
			w.doubt("%s", why)
			return nil, false
		case name == "":
			w.step(Step{Kind: KindRoute, Name: s.ScopedRoutes.GetName(), Why: why, State: StateFail})
			w.settle(Reject, NoRouteConfig, "NR", "route_not_found")
			w.respond(404, "", "")
			return nil, false
		}
		w.out.RouteConfig = name
		if e = d.byRoute[name]; e == nil {
			return missing(name, "route table "+name+", of the scope, was not received")
		}
		r.amend(w, why)
	default:
		w.doubt("the connection manager names no route table")
		return nil, false
	}
	if err := d.load(e); err != nil {
		w.step(Step{Kind: KindRoute, Name: e.name, Why: err.Error(), State: StateUnknown, Source: e.path()})
		w.doubt("route table %s does not decode: %v", e.name, err)
		return nil, false
	}
	return e, true
}

// routes chooses virtual host and route, and goes on with each outcome through
// the filters. before is the route that a filter made Envoy give up, nil at
// first.
func (r *run) routes(w *way, b *chainBody, e *routeEntry, req *matcher.Request, filters []*hcmv3.HttpFilter, before *routev3.Route) {
	table := *e.table
	table.SuppressEnvoyHeaders = httpfilter.SuppressEnvoyHeaders(b.hcm.GetHttpFilters())
	choice := table.Choose(req)
	var vh *routev3.VirtualHost
	if choice.Index >= 0 {
		var err error
		if vh, err = r.d.virtualHost(e, choice.Index); err != nil {
			w.out.VirtualHost = choice.Name
			w.doubt("virtual host %s does not decode: %v", choice.Name, err)
			w.end()
			return
		}
	}
	dec := table.Decide(req, choice, vh)
	total := 0.0
	for i := range dec.Outcomes {
		total += dec.Outcomes[i].Probability
	}
	for i := range dec.Outcomes {
		o := &dec.Outcomes[i]
		p := o.Probability
		if total > 0 {
			p /= total
		} else {
			p = 1 / float64(len(dec.Outcomes))
		}
		n := w.fork(p)
		for _, m := range dec.NearMisses {
			n.miss(m.Kind, m.Name, m.Why)
		}
		for _, note := range dec.Notes {
			n.note(note)
		}
		r.routed(n, b, e, choice, o, req, filters, before)
	}
	if len(dec.Outcomes) == 0 {
		w.doubt("the route table gave no answer")
		w.end()
	}
}

// routed goes on with one outcome of the route table.
func (r *run) routed(w *way, b *chainBody, e *routeEntry, choice route.HostChoice, o *route.Outcome, req *matcher.Request, filters []*hcmv3.HttpFilter, before *routev3.Route) {
	d := r.d
	w.out.VirtualHost = o.VirtualHost
	if w.out.VirtualHost == "" && choice.Index >= 0 {
		w.out.VirtualHost = choice.Name
	}
	step := Step{Kind: KindRoute, Name: e.name, Why: o.Why, State: StateOK, Source: e.path()}
	if choice.Index >= 0 {
		h := &e.hosts[choice.Index]
		step.Source = fmt.Sprintf("%s.virtual_hosts[%d]", e.path(), choice.Index)
		step.Name = choice.Name
		step.Why = fmt.Sprintf("virtual host %s: %s", choice.Name, choice.Why)
		if o.Why != "" {
			step.Why += "; " + o.Why
		}
		if o.Route != nil {
			if o.RouteIndex >= 0 {
				step.Source += fmt.Sprintf(".routes[%d]", o.RouteIndex)
				step.Object = d.routeObject(h, o.RouteIndex)
			}
			w.out.Route = o.Route.GetName()
			step.Name = o.Route.GetName()
			if step.Name == "" {
				step.Name = o.Match
			}
			step.Owner = routeOwners(o.Route, w.out.RouteConfig)
			w.out.Extra.RouteMatch = o.Match
		} else {
			step.Object = d.object(h.from, h.to) // what it has instead
		}
	} else {
		step.Object = d.object(e.from, e.to)
		if choice.Why != "" {
			step.Why = joinWords(choice.Why, "")
		}
	}
	if bad := d.rejected(&e.entry); bad != "" {
		step.State, step.Why = StateWarn, joinWords(step.Why, bad)
	}
	paused := o.OnDemand != "" && httpfilter.FetchesOnDemand(filters, d.discovered)
	switch o.Kind {
	case route.NoVirtualHost, route.NoRoute:
		step.State = StateFail
		if paused {
			step.State = StateUnknown
		}
	case route.Undetermined:
		step.State = StateUnknown
	}
	p := o.Policy
	x := &w.out.Extra
	if o.Kind == route.Forward || o.Kind == route.ClusterNotFound {
		x.Timeout, x.TimeoutSet, x.Retries = p.Timeout, o.Route.GetRoute().GetTimeout() != nil, p.Retries
		if p.Retry != nil {
			x.RetryOn = p.Retry.GetRetryOn()
		}
		x.Mirrors = nil
		for _, m := range p.Mirrors {
			x.Mirrors = append(x.Mirrors, m.Cluster)
		}
		w.out.Weighted = weightedOf(o.Route)
	}
	if before == nil || before != o.Route {
		w.step(step)
	}
	if before == nil {
		up := route.Upgrade(b.hcm, o.Route, req)
		if up.Refusal.Status != 0 {
			w.settle(Reject, "", up.Refusal.Flags, up.Refusal.Details)
			if s := r.amendRoute(w, up.Refusal.Why); s != nil {
				s.State = StateFail
			}
			w.respond(up.Refusal.Status, "", "")
			w.end()
			return
		}
		if up.Filters != nil {
			filters = up.Filters
		}
		if why := httpfilter.Misplaced(filters, d.discovered); why != "" {
			r.amendRoute(w, why)
			w.doubt("%s", why)
		}
	}
	res := httpfilter.Walk(filters, o, req, d.discovered)
	for i := range res.Steps {
		if !r.httpStep(w, &res.Steps[i]) {
			w.end()
			return
		}
	}
	if res.Session != nil {
		w.session = res.Session
	}
	if res.RouteCleared != "" {
		w.note("filter " + res.RouteCleared + " makes Envoy choose the route again")
		r.routes(w, b, e, res.Request, res.Rest, o.Route)
		return
	}
	if res.MayReroute != "" {
		w.doubt("%s", res.MayReroute)
	}
	if res.Terminal == "" {
		w.doubt("no HTTP filter that sends requests on, as the router does, is known to be in the connection manager")
	}
	if paused { // the filter's step says what for
		w.end()
		return
	}
	if res.Request != nil {
		e.table.Send(o, res.Request)
	}
	r.act(w, o, &res)
}

// act does what the router filter does with the route.
func (r *run) act(w *way, o *route.Outcome, res *httpfilter.Result) {
	switch o.Kind {
	case route.NoVirtualHost:
		w.settle(Reject, NoVirtualHost, "NR", "route_not_found")
		w.respond(or(o.Status, 404), "", "")
	case route.NoRoute:
		w.settle(Reject, NoRoute, "NR", "route_not_found")
		w.respond(or(o.Status, 404), "", "")
	case route.Redirect, route.TLSRedirect:
		code := ""
		if o.Kind == route.TLSRedirect {
			code = TLSRequired
		}
		w.settle(Redirect, code, o.Flags, o.Details)
		w.respond(or(o.Status, 301), o.Location, "")
	case route.DirectResponse:
		w.settle(DirectResponse, "", o.Flags, o.Details)
		w.respond(o.Status, "", o.Body)
	case route.NonForwarding:
		w.doubt("the route forwards nothing: a filter must answer, and none is known to")
	case route.ClusterNotFound:
		w.out.Cluster = o.Cluster
		r.noCluster(w, o.Cluster, or(o.Status, 503))
	case route.Forward:
		w.out.Request = &UpstreamRequest{Authority: o.Upstream.Authority, Path: o.Upstream.Path}
		w.out.Routing = routing(o)
		for _, h := range o.Upstream.Headers {
			w.out.Extra.RequestHeaders = append(w.out.Extra.RequestHeaders, Header{h.Name, h.Value})
		}
		for _, words := range o.Upstream.Rewrite {
			r.amendRoute(w, words)
		}
		var criteria map[string]*structpb.Value
		if m := o.Policy.MetadataMatch; m != nil {
			criteria = m.GetFilterMetadata()["envoy.lb"].GetFields()
		}
		if o.ClusterWhy != "" {
			r.amendRoute(w, o.ClusterWhy)
		}
		r.forward(w, o.Cluster, sending{criteria: criteria, autoHost: o.Upstream.AutoHost, alpn: res.UpstreamALPN, http: true, protocol: r.call.HTTPVersion, priority: o.Policy.Priority, session: w.session})
		return
	default:
		why := o.Why
		if len(o.Possible) > 0 {
			why = joinWords(why, "possible: "+strings.Join(o.Possible, "; "))
		}
		w.doubt("%s", why)
		w.out.Cluster = o.Cluster
	}
	w.end()
}

// routing tells how the router treats what an outcome forwards. Defaults: a
// timeout of 15 s, one retry where there is a policy, one internal redirect of 302.
func routing(o *route.Outcome) *Routing {
	p := &o.Policy
	span := func(d time.Duration) string {
		if d <= 0 {
			return "none"
		}
		return d.String()
	}
	out := &Routing{
		Timeout: span(p.Timeout), custom: o.Route.GetRoute().GetTimeout() != nil || p.Timeout != 15*time.Second,
		Connect: p.ConnectTerminated, RequestHeaders: o.Upstream.Mutations, ResponseHeaders: o.Upstream.Response,
	}
	if p.IdleTimeout >= 0 {
		out.IdleTimeout = span(p.IdleTimeout)
	}
	if p.MaxStreamDuration >= 0 {
		out.MaxStreamDuration = span(p.MaxStreamDuration)
	}
	if r := p.Retry; r != nil {
		out.Retries, out.RetryOn = p.Retries, r.GetRetryOn()
		if t := r.GetPerTryTimeout(); t.AsDuration() > 0 {
			out.PerTryTimeout = span(t.AsDuration())
		}
	}
	for _, m := range p.Mirrors {
		out.Mirrors = append(out.Mirrors, MirroredTo{m.Cluster, m.Percent})
	}
	if i := p.InternalRedirect; i != nil {
		out.InternalRedirects = &InternalRedirect{Max: 1, Status: []uint32{302}}
		if i.GetMaxInternalRedirects() != nil {
			out.InternalRedirects.Max = i.GetMaxInternalRedirects().GetValue()
		}
		if len(i.GetRedirectResponseCodes()) > 0 {
			out.InternalRedirects.Status = i.GetRedirectResponseCodes()
		}
	}
	if p.Priority != corev3.RoutingPriority_DEFAULT {
		out.Priority = strings.ToLower(p.Priority.String())
	}
	return out
}

// amendRoute adds to what the route's step says, and returns the step; nil where
// there is none.
func (r *run) amendRoute(w *way, words string) *Step {
	for i := len(w.out.Steps) - 1; i >= 0; i-- {
		if s := &w.out.Steps[i]; s.Kind == KindRoute {
			s.Why = joinWords(s.Why, words)
			return s
		}
	}
	return nil
}

func or(status, otherwise int) int {
	if status == 0 {
		return otherwise
	}
	return status
}

// httpStep takes in one HTTP filter. It returns false where the way ends; where
// chance decides, the refusing part becomes a way of its own.
func (r *run) httpStep(w *way, s *httpfilter.Step) bool {
	step := Step{Kind: KindFilter, Name: s.Name, Why: s.Why, State: StateOK}
	if len(s.Calls) > 0 {
		step.Why = joinWords(step.Why, "asks "+strings.Join(s.Calls, ", "))
	}
	if s.From != "" {
		step.Why = joinWords(step.Why, "configured by the "+s.From)
	}
	if s.Delay != "" {
		step.Why = joinWords(step.Why, "delays by "+s.Delay)
	}
	if s.Shadow != "" {
		step.Why = joinWords(step.Why, "shadow rules: "+s.Shadow)
	}
	if s.Response != nil {
		step.Owner = policyOwner(s.Response.Details)
	}
	if len(step.Owner) == 0 {
		step.Owner = policyOwner(s.Why)
	}
	if len(step.Owner) == 0 {
		step.Owner = filterOwner(s.Name)
	}
	step.Source, step.Object = r.filterSource(s)
	switch s.Effect {
	case httpfilter.Silent, httpfilter.Disabled:
		if s.Delay == "" {
			return true
		}
		step.State = StateWarn
	case httpfilter.Continue, httpfilter.Changes:
	case httpfilter.MayRefuse, httpfilter.Unknown:
		if s.Probability > 0 && s.Probability < 1 && s.Response != nil {
			n := w.fork(s.Probability)
			refuse(n, step, s)
			n.end()
			w.out.Probability *= 1 - s.Probability
			step.State = StateWarn
			break
		}
		if s.Limit != "" {
			step.State = StateWarn // refuses only what goes beyond a limit
			break
		}
		step.State = StateUnknown
		w.step(step)
		w.doubt("filter %s: %s", s.Name, s.Why)
		return true
	case httpfilter.Refuse:
		refuse(w, step, s)
		if r.call.PastRefusals {
			w.sealed = true
			return true
		}
		return false
	}
	w.step(step)
	return true
}

// filterSource finds an HTTP filter in the dump; its JSON is wanted only where
// it refuses or is in doubt.
func (r *run) filterSource(s *httpfilter.Step) (string, []byte) {
	if r.chain == nil || s.Effect == httpfilter.Silent || s.Effect == httpfilter.Disabled {
		return "", nil
	}
	d := r.d
	source, raw := "", []byte(nil)
	filters := jsonscan.Path(d.data, r.chain.from, "filters")
	if filters < 0 || d.data[filters] != '[' {
		return "", nil
	}
	_, _ = jsonscan.Array(d.data, filters, func(i, at int) (int, error) {
		for _, config := range []string{"typed_config", "config"} {
			list := jsonscan.Path(d.data, at, config, "http_filters")
			if list < 0 || d.data[list] != '[' {
				continue
			}
			_, _ = jsonscan.Array(d.data, list, func(j, at int) (int, error) {
				if jsonscan.Text(d.data, jsonscan.Path(d.data, at, "name")) != s.Name {
					return 0, nil
				}
				source = fmt.Sprintf("%s.filters[%d].%s.http_filters[%d]", r.chain.path(), i, config, j)
				end, err := jsonscan.Value(d.data, at)
				if err == nil && s.Effect != httpfilter.Continue && s.Effect != httpfilter.Changes {
					raw = d.object(at, end)
				}
				return end, errEnough
			})
		}
		return 0, nil
	})
	return source, raw
}

func refuse(w *way, step Step, s *httpfilter.Step) {
	step.State = StateFail
	w.step(step)
	status, body, flags, details := 0, "", "", ""
	verdict, code := Reject, Denied
	if s.Response != nil {
		status, body, flags, details = s.Response.Status, s.Response.Body, s.Response.Flags, s.Response.Details
		if status > 0 && status < 400 { // a preflight or a health check answered by the filter
			verdict, code = DirectResponse, ""
		}
	}
	w.settle(verdict, code, flags, details)
	w.respond(status, "", body)
}

// discovered returns the configuration of a filter that ECDS delivered.
func (d *Dump) discovered(name string) *anypb.Any {
	e, ok := d.ecds[name]
	if !ok {
		return nil
	}
	at := jsonscan.Path(d.data, e.from, "typed_config")
	if at < 0 {
		return nil
	}
	end, err := jsonscan.Value(d.data, at)
	if err != nil {
		return nil
	}
	a := &anypb.Any{}
	if decode.Any(d.data[at:end], a) != nil {
		return nil
	}
	return a
}

// weightedOf lists the clusters a route chooses from.
func weightedOf(rt *routev3.Route) []WeightedCluster {
	var out []WeightedCluster
	for _, c := range rt.GetRoute().GetWeightedClusters().GetClusters() {
		name := c.GetName()
		if name == "" && c.GetClusterHeader() != "" {
			name = "header " + c.GetClusterHeader()
		}
		out = append(out, WeightedCluster{name, c.GetWeight().GetValue()})
	}
	return out
}

// routeObject is the JSON of the i-th route of a virtual host.
func (d *Dump) routeObject(h *host, i int) []byte {
	at := jsonscan.Path(d.data, h.from, "routes")
	if at < 0 || d.data[at] != '[' {
		return nil
	}
	var out []byte
	_, _ = jsonscan.Array(d.data, at, func(n, at int) (int, error) {
		if n != i {
			return 0, nil
		}
		end, err := jsonscan.Value(d.data, at)
		if err == nil {
			out = d.object(at, end)
		}
		return end, errEnough
	})
	return out
}

// maxServed bounds how many virtual hosts a bare connection lists.
const maxServed = 100

// served lists what a route table serves: "host: match, match".
func (d *Dump) served(e *routeEntry) []string {
	var out []string
	for i := range e.hosts {
		if i == maxServed {
			out = append(out, fmt.Sprintf("and %d more virtual hosts", len(e.hosts)-maxServed))
			break
		}
		vh, err := d.virtualHost(e, i)
		if err != nil {
			continue
		}
		line := few(vh.GetDomains())
		var matches []string
		for j, rt := range vh.GetRoutes() {
			if j == 8 {
				matches = append(matches, fmt.Sprintf("and %d more", len(vh.GetRoutes())-j))
				break
			}
			matches = append(matches, route.Describe(rt.GetMatch()))
		}
		if len(matches) > 0 {
			line += ": " + strings.Join(matches, ", ")
		}
		out = append(out, line)
	}
	return out
}

// scope chooses the route table of a scoped routes connection manager. onDemand
// says that a table not loaded yet is waited for. Sources:
// source/common/router/scoped_config_impl.cc, RdsRouteConfigUpdateRequester in
// source/common/http/conn_manager_impl.cc.
func (d *Dump) scope(s *hcmv3.ScopedRoutes, req *matcher.Request, onDemand bool) (table, why string, known bool) {
	var key []string
	for _, f := range s.GetScopeKeyBuilder().GetFragments() {
		x := f.GetHeaderValueExtractor()
		if x == nil {
			return "", "the scope key is built in a way that is not known here", false
		}
		v, ok := req.Get(strings.ToLower(x.GetName()))
		if vs := req.Values(strings.ToLower(x.GetName())); len(vs) > 0 {
			v = vs[0]
		}
		if !ok {
			return "", fmt.Sprintf("header %s, part of the scope key, is absent", x.GetName()), true
		}
		elements := []string{v}
		if x.GetElementSeparator() != "" {
			elements = strings.Split(v, x.GetElementSeparator())
		}
		got := ""
		switch t := x.GetExtractType().(type) {
		case *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index:
			if int(t.Index) >= len(elements) {
				return "", fmt.Sprintf("header %s has no element %d", x.GetName(), t.Index), true
			}
			got = elements[t.Index]
		case *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Element:
			found := false
			for _, el := range elements {
				k, v, ok := strings.Cut(el, t.Element.GetSeparator())
				if ok && k == t.Element.GetKey() {
					got, found = v, true
					break
				}
			}
			if !found {
				return "", fmt.Sprintf("header %s has no element %s", x.GetName(), t.Element.GetKey()), true
			}
		default:
			got = v
		}
		key = append(key, got)
	}
	var scopes []*routev3.ScopedRouteConfiguration
	if list := s.GetScopedRouteConfigurationsList(); list != nil {
		scopes = list.GetScopedRouteConfigurations()
	} else {
		for _, e := range d.scoped {
			if e.name != s.GetName() && s.GetName() != "" && e.name != "" {
				continue
			}
			at := jsonscan.Path(d.data, e.from, "scoped_route_configs")
			if at < 0 || d.data[at] != '[' {
				continue
			}
			_, err := jsonscan.Array(d.data, at, func(_, at int) (int, error) {
				end, err := jsonscan.Value(d.data, at)
				if err != nil {
					return end, err
				}
				sc := &routev3.ScopedRouteConfiguration{}
				if err := decode.JSON(d.data[at:end], sc); err != nil {
					return end, err
				}
				scopes = append(scopes, sc)
				return end, nil
			})
			if err != nil {
				return "", err.Error(), false
			}
		}
		if !d.has.scoped && len(scopes) == 0 {
			return "", "the dump holds no scoped routes", false
		}
	}
	for _, sc := range scopes {
		var have []string
		for _, f := range sc.GetKey().GetFragments() {
			have = append(have, f.GetStringKey())
		}
		if slices.Equal(have, key) {
			if sc.GetOnDemand() && d.byRoute[sc.GetRouteConfigurationName()] == nil {
				why := "scope " + sc.GetName() + " is loaded on demand and was not yet"
				if !onDemand {
					return "", why + "; no on_demand filter waits for it", true
				}
				return "", why, false
			}
			return sc.GetRouteConfigurationName(), "scope " + sc.GetName() + " has the key " + strings.Join(key, ", "), true
		}
	}
	return "", "no scope has the key " + strings.Join(key, ", "), true
}

// bareRoutes evaluates a route table that came without a listener.
func (r *run) bareRoutes(w *way) {
	e := r.d.routes[0]
	w.step(Step{Kind: KindListener, Why: "the file holds a route table and no listener; the table is taken for the one that serves the call", State: StateUnknown})
	w.out.RouteConfig = e.name
	r.entry = &listenerEntry{}
	r.conn = connection{dst: r.call.Address, src: r.call.Source, transport: "raw_buffer"}
	if err := r.d.load(e); err != nil {
		w.doubt("route table does not decode: %v", err)
		w.end()
		return
	}
	b := &chainBody{hcm: &hcmv3.HttpConnectionManager{HttpFilters: []*hcmv3.HttpFilter{{Name: "envoy.filters.http.router"}}}}
	w.out.Terminal = "http_connection_manager"
	n := route.Normalize(b.hcm, uint32(r.call.Address.Port()), r.request())
	req := n.Request
	if req == nil {
		req = r.request()
	}
	r.routes(w, b, e, req, b.hcm.GetHttpFilters(), nil)
}

// dialled is host:port of an authority, with the scheme's port if it has none.
func dialled(authority string, tls bool) string {
	if authority == "" {
		return ""
	}
	if _, err := netip.ParseAddr(strings.Trim(authority, "[]")); err == nil || !strings.Contains(authority, ":") {
		port := 80
		if tls {
			port = 443
		}
		return hostPort(strings.Trim(authority, "[]"), strconv.Itoa(port))
	}
	return authority
}
