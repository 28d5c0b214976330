package trace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/k8s"
)

// proxy is one Envoy on the path and what was read of it.
type proxy struct {
	pod     podRef
	dump    *envoyadmin.Dump
	data    []byte // the config_dump
	notRead *NotReadError
	files   map[string][]byte // the other answers of its admin API, by file name

	statuses map[string][]json.RawMessage // the hosts of /clusters by cluster; nil until asked for

	hops []*node // the hops it decided, in the order of the walk

	logNotRead *NotReadError
	logSpan    string         // the part of its log that was asked for, empty for all
	logCut     string         // what is missing of that
	lines      []observedLine // those that belong to the path
}

// podRef names a Pod.
type podRef struct{ namespace, name string }

func (p podRef) String() string { return p.namespace + "/" + p.name }

func (p podRef) query(area Area, file string) Query {
	return Query{Area: area, Namespace: p.namespace, Name: p.name, File: file}
}

const (
	configDump = "config_dump.json"
	clusters   = "clusters.json"
)

// proxyOf reads an Envoy once. What is missing beside the config_dump only takes
// certainty away from what rests on it.
func (w *walker) proxyOf(pod podRef) *proxy {
	if p, ok := w.proxies[pod]; ok {
		return p
	}
	p := &proxy{pod: pod, files: map[string][]byte{}}
	w.proxies[pod] = p
	q := pod.query(AreaProxy, configDump)
	obs, notRead := w.observe(q)
	if p.notRead = notRead; notRead != nil || w.err != nil {
		return p
	}
	p.data = obs.Data
	dump, err := envoyadmin.Read(q.Path(), obs.Data)
	if err != nil {
		w.broken(q, err)
		p.notRead = &NotReadError{Query: q, Why: err.Error(), Command: q.Command()}
		return p
	}
	p.dump = dump
	for _, file := range []string{clusters, "certs.json", "listeners.json", "server_info.json", "stats.txt", accessLog} {
		w.read.ahead(w.ctx, pod.query(AreaProxy, file))
	}
	for _, file := range []struct {
		name     string
		optional bool
		add      func(string, []byte) error
	}{
		{clusters, false, dump.AddClusters},
		{"certs.json", true, dump.AddCerts},
		{"listeners.json", true, dump.AddListeners},
		{"server_info.json", true, dump.AddServerInfo},
		{"stats.txt", true, dump.AddStats},
	} {
		q := pod.query(AreaProxy, file.name)
		obs, notRead := w.observeIf(q, file.optional)
		if notRead != nil || w.err != nil {
			continue
		}
		p.files[file.name] = obs.Data
		if err := file.add(q.Path(), obs.Data); err != nil {
			w.broken(q, err)
		}
	}
	return p
}

// throughProxy evaluates the flow against the Envoy of the Pod and returns the
// first of its hops. What the proxy forwards is walked on.
func (w *walker) throughProxy(f flow, pod *pod, dir envoyadmin.Direction) *node {
	p := w.proxyOf(pod.ref)
	if w.err != nil {
		return nil
	}
	if p.dump == nil {
		n := w.hop(KindListener, Subject{Kind: "Listener", Namespace: pod.ref.namespace, Name: pod.ref.name}, f)
		n.facts.proxy = p
		n.facts.pod = pod
		n.hop.Detail.Pod = pod.ref.String()
		n.hop.Summary = "the Envoy of " + pod.ref.String() + " was not read"
		w.unread(n, p.notRead)
		p.hops = append(p.hops, n)
		return w.done(n)
	}
	call := f.call(dir)
	result := p.dump.Match(call)
	tree := &stepTree{w: w, p: p, pod: pod, in: f, dir: dir, call: call}
	return tree.build(result.Outcomes)
}

// call is the flow as Envoy's side sees it.
func (f flow) call(dir envoyadmin.Direction) envoyadmin.Call {
	c := envoyadmin.Call{
		Address: f.dst, OriginalDst: f.dst, Direction: dir, Protocol: envoyadmin.TCP, TLS: envoyadmin.TLSMode(f.tls),
		SNI: f.sni, ALPN: f.alpn, Scheme: f.scheme, Method: f.method, Authority: f.authority, NoAuthority: f.app != "tcp" && f.authority == "", Path: f.path,
		HTTPVersion: f.version, PastRefusals: true,
	}
	if f.src.IsValid() && !f.assumed {
		c.Source = f.src
	}
	switch {
	case f.app == "tcp":
		c.ConnectOnly = true
	case f.version == "2" || f.app == "grpc":
		c.Protocol = envoyadmin.HTTP2
	default:
		c.Protocol = envoyadmin.HTTP
	}
	if f.peer != "" {
		c.Peer.URISANs = []string{f.peer}
	}
	for _, h := range f.headers {
		c.Headers = append(c.Headers, envoyadmin.Header{Name: h.Name, Value: h.Value})
	}
	return c
}

// stepTree turns the outcomes of one call into hops: outcomes share the hops of
// the steps they have in common and part where they differ.
type stepTree struct {
	w    *walker
	p    *proxy
	pod  *pod
	in   flow
	dir  envoyadmin.Direction
	call envoyadmin.Call
}

func (t *stepTree) build(outcomes []envoyadmin.Outcome) *node {
	all := make([]*envoyadmin.Outcome, len(outcomes))
	for i := range outcomes {
		all[i] = &outcomes[i]
	}
	return t.level(all, 0)
}

// level makes the hop of step depth that all outcomes given share, and below it
// those of the steps that follow.
func (t *stepTree) level(outcomes []*envoyadmin.Outcome, depth int) *node {
	o := outcomes[0]
	steps := decisions(o)
	if depth >= len(steps) {
		if t.w.err != nil {
			return nil
		}
		return t.onward(o)
	}
	step := steps[depth]
	n := t.stepHop(step, o)
	t.p.hops = append(t.p.hops, n)
	n = t.w.done(n)
	total := 0.0
	for _, o := range outcomes {
		total += o.Probability
	}
	for _, group := range groupByStep(outcomes, depth+1) {
		share := 0.0
		for _, o := range group {
			share += o.Probability
		}
		if total > 0 {
			share /= total
		}
		t.link(n, group, depth+1, share)
	}
	return n
}

// link joins the hop with what follows for one group of outcomes.
func (t *stepTree) link(n *node, group []*envoyadmin.Outcome, depth int, share float64) {
	o := group[0]
	if steps := decisions(o); depth < len(steps) {
		label := ""
		if share < 1 {
			label = steps[depth].Name
		}
		n.to(label, share, t.level(group, depth))
		return
	}
	if o.Error == envoyadmin.NoCluster && n.hop.Kind == KindCluster {
		n.to("", 1, t.w.wanted(n.hop.Detail.Name, t.pod.ref.namespace, t.in))
		return
	}
	for _, e := range t.endpoints(n, o) {
		n.to(e.label, share*e.probability, e.to)
	}
}

// onward is reached when the very first step list is empty: the outcome says
// nothing about how it came to be.
func (t *stepTree) onward(o *envoyadmin.Outcome) *node {
	n := t.w.hop(KindListener, Subject{Kind: "Listener", Namespace: t.pod.ref.namespace, Name: t.in.dst.String()}, t.in)
	n.facts.proxy, n.facts.pod, n.facts.outcome = t.p, t.pod, o
	n.hop.settle(Unknown, strings.Join(o.Reasons, "; "))
	n.hop.Summary = "could not be evaluated"
	t.p.hops = append(t.p.hops, n)
	return t.w.done(n)
}

// decisions are the steps that become hops of their own. Endpoints are made from
// the outcome's list.
func decisions(o *envoyadmin.Outcome) []envoyadmin.Step {
	out := make([]envoyadmin.Step, 0, len(o.Steps))
	for _, s := range o.Steps {
		if s.Kind == envoyadmin.KindEndpoint {
			continue
		}
		if s.Kind == envoyadmin.KindFilter && s.State == envoyadmin.StateOK {
			continue // a filter that lets pass decides nothing; it is a check of the chain
		}
		out = append(out, s)
	}
	return out
}

func groupByStep(outcomes []*envoyadmin.Outcome, depth int) [][]*envoyadmin.Outcome {
	var groups [][]*envoyadmin.Outcome
	index := map[string]int{}
	for i, o := range outcomes {
		key := "end" + strconv.Itoa(i)
		if steps := decisions(o); depth < len(steps) {
			s := steps[depth]
			key = s.Kind + "|" + s.Name + "|" + s.Source + "|" + string(s.State) + "|" + s.Why
		}
		at, ok := index[key]
		if !ok {
			at = len(groups)
			index[key] = at
			groups = append(groups, nil)
		}
		groups[at] = append(groups[at], o)
	}
	return groups
}

var stepStates = map[envoyadmin.State]State{
	envoyadmin.StateOK: OK, envoyadmin.StateWarn: Warn, envoyadmin.StateFail: Fail, envoyadmin.StateUnknown: Unknown,
}

func (t *stepTree) stepHop(s envoyadmin.Step, o *envoyadmin.Outcome) *node {
	kind := HopKind(s.Kind)
	subject := Subject{Kind: subjectKinds[kind], Namespace: t.pod.ref.namespace, Name: s.Name}
	if subject.Name == "" {
		subject.Name = "of " + o.Listener // chains and routes need no name
	}
	n := t.w.hop(kind, subject, t.in)
	n.facts.proxy, n.facts.pod, n.facts.outcome, n.facts.step = t.p, t.pod, o, &s
	n.facts.direction = t.dir
	h := n.hop
	h.State = stepStates[s.State]
	if h.State == "" {
		h.State = Unknown
	}
	h.Detail.Pod = t.pod.ref.String()
	h.Detail.Owner = s.Owner
	h.Summary = s.Why
	if h.State != OK {
		h.Why = s.Why
	}
	x := &o.Extra
	switch kind {
	case KindListener:
		h.Detail.Name, h.Detail.Address = s.Name, x.ListenerAddress
		if o.Terminal != "" {
			h.check("ends in", OK, o.Terminal)
		}
		for _, problem := range x.Problems {
			h.check("configuration state", Warn, problem)
		}
		h.Detail.RouteConfig = o.RouteConfig
		if t.in.app == "tcp" && len(o.Hosts) > 0 {
			h.Detail.Hosts = o.Hosts
		}
	case KindFilterChain:
		h.Detail.Name = s.Name
		h.check("terminates TLS", OK, yesNo(x.DownstreamTLS))
		if x.RequireClientCert {
			h.check("requires a client certificate", OK, "yes")
		}
		for _, c := range x.CertificateNames {
			h.check("certificate", OK, c)
		}
	case KindFilter:
		h.Detail.Name = s.Name
	case KindRoute:
		h.Detail.RouteConfig, h.Detail.VirtualHost, h.Detail.Route, h.Detail.Match = o.RouteConfig, o.VirtualHost, o.Route, x.RouteMatch
		if o.Request != nil {
			if o.Request.Path != t.in.path {
				h.Detail.Rewrite = o.Request.Path
			}
			h.Detail.Authority = o.Request.Authority
			out := t.in
			out.authority, out.path = o.Request.Authority, o.Request.Path
			h.Out = out.view()
		}
		for _, wc := range o.Weighted {
			h.Detail.Weighted = append(h.Detail.Weighted, WeightedCluster{Name: wc.Name, Weight: wc.Weight})
		}
		if x.TimeoutSet {
			timeout := "none"
			if x.Timeout > 0 {
				timeout = x.Timeout.String()
			}
			h.check("timeout", OK, timeout)
		}
		if x.Retries > 0 {
			h.check("retries", OK, fmt.Sprintf("%d on %s", x.Retries, x.RetryOn))
		}
		for _, m := range x.Mirrors {
			h.check("mirrored to", OK, m)
		}
	case KindCluster:
		if c, ok := parseIstioCluster(o.Cluster); ok && strings.Contains(c.host, ".svc") {
			_, ns, _ := k8s.SplitServiceHost(c.host, "")
			t.w.cluster.Near(ns)
		}
		h.Detail.Name, h.Detail.Cluster, h.Detail.Type, h.Detail.MTLS = s.Name, o.Cluster, x.ClusterType, x.UpstreamMTLS
		for _, e := range o.Endpoints {
			h.Detail.Endpoints = append(h.Detail.Endpoints, Endpoint{Address: e.Address, Health: e.Health, Weight: e.Weight})
		}
	}
	answers := o.Verdict == envoyadmin.Redirect || o.Verdict == envoyadmin.DirectResponse
	if o.Response != nil && (h.State == Fail || kind == KindRoute && answers) {
		h.Detail.Response = &Response{Status: o.Response.Status, Location: o.Response.Location, Body: o.Response.Body, GRPCStatus: o.Response.GRPCStatus}
	}
	if h.State == Fail || h.State == Unknown {
		h.Detail.Flags, h.Detail.Code = o.Flags, o.Details
	}
	for _, m := range o.NearMisses {
		if m.Kind == s.Kind || kind == KindRoute && (m.Kind == "virtual_host" || m.Kind == "route") {
			h.Detail.NearMisses = append(h.Detail.NearMisses, NearMiss{Kind: m.Kind, Name: m.Name, Why: m.Why})
		}
	}
	if len(s.Object) > 0 {
		q := t.p.pod.query(AreaProxy, configDump)
		source := q.Path()
		if s.Source != "" {
			source += "#" + s.Source
		}
		h.Config = append(h.Config, ConfigObject{Kind: s.Kind, Name: s.Name, Source: source, Object: s.Object})
		t.w.cite(h, Config, q, indent(s.Object), s.Name)
	}
	for _, owner := range s.Owner {
		kind, name, _ := strings.Cut(owner, " ")
		if ns, name, ok := strings.Cut(name, "/"); ok {
			name, _, _ = strings.Cut(name, " ") // an entry of it may follow
			t.w.showObject(n, k8s.Ref{Kind: kind, Namespace: ns, Name: name})
			t.w.showEntry(n, k8s.Ref{Kind: kind, Namespace: ns, Name: name})
		}
	}
	return n
}

var subjectKinds = map[HopKind]string{
	KindListener: "Listener", KindFilterChain: "FilterChain", KindFilter: "Filter", KindRoute: "Route", KindCluster: "Cluster", KindEndpoint: "Endpoint",
}

// endpoints makes the hops of the outcome's hosts below n and walks on from
// them.
func (t *stepTree) endpoints(n *node, o *envoyadmin.Outcome) []edge {
	if t.in.app == "tcp" && o.Terminal == "http_connection_manager" {
		return nil // a bare connection ends where a request would begin
	}
	if o.Verdict == envoyadmin.Redirect || o.Verdict == envoyadmin.DirectResponse {
		if len(o.Endpoints) == 0 {
			return nil
		}
	}
	if len(o.Endpoints) == 0 {
		if o.Cluster == "" || n.hop.Kind != KindCluster || o.Error == envoyadmin.NoCluster {
			return nil
		}
		if n.hop.State == Fail && o.Error != envoyadmin.NoEndpoint {
			return nil
		}
		e := t.endpointHop(o, nil)
		return []edge{{"", 1, t.w.done(e)}}
	}
	served := false
	for _, e := range o.Endpoints {
		served = served || e.Probability > 0
	}
	t.w.aheadTo(len(o.Endpoints), func(i int) netip.AddrPort {
		addr, _ := netip.ParseAddrPort(o.Endpoints[i].Address)
		return addr
	})
	var out []edge
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		p := e.Probability
		if !served {
			p = 1 / float64(len(o.Endpoints)) // what would be if they were fit
		}
		label := ""
		if len(o.Endpoints) > 1 {
			label = e.Address
		}
		out = append(out, edge{label, p, t.endpointWay(o, e, served)})
		if t.w.err != nil {
			return nil
		}
	}
	return out
}

// endpointWay is the hop of one host and what lies behind it.
func (t *stepTree) endpointWay(o *envoyadmin.Outcome, e *envoyadmin.Endpoint, served bool) *node {
	n := t.endpointHop(o, e)
	n = t.w.done(n)
	addr, err := netip.ParseAddrPort(e.Address)
	if err != nil {
		n.hop.settle(Unknown, "its address "+e.Address+" is not an IP and a port; the way ends here")
		return n
	}
	f := t.upstream(o, e, addr)
	n.hop.Out = f.view()
	n.to("", 1, t.w.fromProxy(f, t.pod, n))
	return n
}

func (t *stepTree) endpointHop(o *envoyadmin.Outcome, e *envoyadmin.Endpoint) *node {
	name := o.Cluster
	if e != nil {
		name = e.Address
	}
	n := t.w.hop(KindEndpoint, Subject{Kind: "Endpoint", Namespace: t.pod.ref.namespace, Name: name}, t.in)
	n.facts.proxy, n.facts.pod, n.facts.outcome, n.facts.endpoint, n.facts.direction = t.p, t.pod, o, e, t.dir
	t.p.hops = append(t.p.hops, n)
	h := n.hop
	h.Detail.Pod = ""
	h.Detail.Cluster = o.Cluster
	var why string
	for _, s := range o.Steps {
		if s.Kind == envoyadmin.KindEndpoint {
			why = s.Why
		}
	}
	if e == nil {
		h.settle(Fail, orElse(why, "the cluster "+o.Cluster+" has no endpoint"))
		h.Summary = "no endpoint"
		h.Detail.Flags, h.Detail.Code = o.Flags, o.Details
		t.citeEndpoints(h, o.Cluster)
		return n
	}
	h.Detail.Address, h.Detail.Health, h.Detail.MTLS = e.Address, e.Health, e.MTLS
	if owner := t.w.podAt(e.Address); owner != nil {
		h.Detail.Pod = owner.ref.String()
	}
	h.Summary = e.Address + " is " + e.Health
	if e.Health == "unknown" {
		h.Summary = e.Address + ", its health is not known"
	}
	switch {
	case e.Health == "healthy" || e.Health == "degraded":
		h.settle(OK, "")
	case e.Probability > 0 && e.Health == "unhealthy":
		h.settle(Warn, "unhealthy, yet chosen: "+orElse(e.Why, why))
	case e.Health == "unhealthy":
		h.settle(Fail, orElse(e.Why, why))
		h.Detail.Flags, h.Detail.Code = o.Flags, o.Details
	default:
		h.settle(OK, "")
		h.check("health", Unknown, orElse(e.Why, "not known: /clusters was not read"))
	}
	if e.Why != "" {
		h.check("health", stateOf(h.State == OK, Warn), e.Why)
	}
	if e.TransportSocket != "" {
		h.check("transport socket", OK, e.TransportSocket)
	}
	if e.Locality != "" {
		h.check("locality", OK, e.Locality)
	}
	t.citeEndpoints(h, e.Address)
	return n
}

// citeEndpoints quotes what /clusters says of a host, else what the config_dump
// says.
func (t *stepTree) citeEndpoints(h *Hop, text string) {
	q := t.p.pod.query(AreaProxy, clusters)
	if data := t.p.files[clusters]; data != nil {
		if excerpt := t.p.hostStatus(h.Detail.Cluster, text); excerpt != "" {
			t.w.cite(h, Config, q, excerpt, text)
			return
		}
		if i := bytes.Index(data, []byte(`"`+h.Detail.Cluster+`"`)); i >= 0 {
			t.w.cite(h, Config, q, around(data, i, 400), h.Detail.Cluster)
			return
		}
	}
	q = t.p.pod.query(AreaProxy, configDump)
	if i := bytes.Index(t.p.data, []byte(`"`+h.Detail.Cluster+`"`)); i >= 0 {
		t.w.cite(h, Config, q, around(t.p.data, i, 400), h.Detail.Cluster)
	}
}

// upstream is the flow as the proxy sends it to the endpoint.
func (t *stepTree) upstream(o *envoyadmin.Outcome, e *envoyadmin.Endpoint, addr netip.AddrPort) flow {
	f := t.in
	x := &o.Extra
	f.at = place{area: AreaPod, namespace: t.pod.ref.namespace, name: t.pod.ref.name}
	f.from, f.sender, f.between, f.proxied, f.mark, f.assumed = f.at, f.at, "", true, 0, false
	f.dst = addr
	if t.dir != envoyadmin.Inbound || !addr.Addr().IsLoopback() {
		f.src = netip.AddrPortFrom(t.pod.ip, 0)
	}
	if o.Terminal == "http_connection_manager" {
		f.innerTLS, f.innerSNI, f.innerALPN = "", "", nil
		if o.Request != nil {
			f.authority, f.path = o.Request.Authority, o.Request.Path
		}
		if x.RequestHeaders != nil {
			f.headers = nil
			for _, h := range x.RequestHeaders {
				f.headers = append(f.headers, Header{Name: h.Name, Value: h.Value})
			}
		}
		if f.version = "1.1"; x.UpstreamHTTP2 {
			f.version = "2"
		}
		f.tls, f.sni, f.alpn, f.peer = "none", "", nil, ""
	} else if x.DownstreamTLS {
		// the outer TLS ended here; what it carried goes on
		f.tls, f.sni, f.alpn, f.peer = orElse(f.innerTLS, "none"), f.innerSNI, f.innerALPN, ""
		f.innerTLS, f.innerSNI, f.innerALPN = "", "", nil
	}
	mtls := e.MTLS != nil && *e.MTLS
	if e.TLS || mtls {
		if f.tls != "none" && f.tls != "" {
			f.innerTLS, f.innerSNI, f.innerALPN = f.tls, f.sni, f.alpn
		}
		f.tls, f.sni, f.alpn = "tls", orElse(e.SNI, x.UpstreamSNI), x.UpstreamALPN
		if mtls {
			f.tls, f.peer = "mtls", t.pod.identity()
		}
	}
	return f
}

// hostStatus returns the host's entry of /clusters as it was printed.
func (p *proxy) hostStatus(cluster, address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return ""
	}
	host, port := at.Addr().String(), strconv.Itoa(int(at.Port()))
	if p.statuses == nil {
		p.statuses = hostStatuses(p.files[clusters])
	}
	for _, raw := range p.statuses[cluster] {
		if bytes.Contains(raw, []byte(`"`+host+`"`)) && bytes.Contains(raw, []byte(port)) {
			return indent(raw)
		}
	}
	return ""
}

// hostStatuses sorts the hosts of /clusters by their cluster; without any where
// it was not printed as JSON.
func hostStatuses(data []byte) map[string][]json.RawMessage {
	out := map[string][]json.RawMessage{}
	var doc struct {
		ClusterStatuses []struct {
			Name         string            `json:"name"`
			HostStatuses []json.RawMessage `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if json.Unmarshal(data, &doc) != nil {
		return out
	}
	for _, c := range doc.ClusterStatuses {
		out[c.Name] = append(out[c.Name], c.HostStatuses...)
	}
	return out
}

// indent renders JSON as the admin API prints it.
func indent(raw []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", " ") != nil {
		return string(raw)
	}
	return b.String()
}

// around returns the bytes of data about offset i, whole lines where it can.
func around(data []byte, i, n int) string {
	from, to := max(0, i-n/4), min(len(data), i+n)
	if nl := bytes.LastIndexByte(data[from:i], '\n'); nl >= 0 {
		from += nl + 1
	}
	if nl := bytes.LastIndexByte(data[i:to], '\n'); nl > 0 {
		to = i + nl
	}
	return strings.ToValidUTF8(string(data[from:to]), "")
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func stateOf(ok bool, otherwise State) State {
	if ok {
		return OK
	}
	return otherwise
}

// sameOutcome says whether two replicas answer alike.
func sameOutcome(a, b *envoyadmin.Outcome) bool {
	return a.Verdict == b.Verdict && a.Cluster == b.Cluster && a.Route == b.Route && a.VirtualHost == b.VirtualHost && a.Error == b.Error &&
		slices.EqualFunc(a.Endpoints, b.Endpoints, func(x, y envoyadmin.Endpoint) bool { return x.Address == y.Address })
}
