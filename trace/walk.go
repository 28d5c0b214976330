package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/iptables"
	"github.com/hoptrail/hoptrail/k8s"
)

const (
	defaultMaxHops  = 2048
	defaultMaxPaths = 64
)

// assumedClient stands for a client outside of the cluster whose address was not
// given: an address of TEST-NET-3 (RFC 5737) that no cluster uses, and its twin
// for IPv6 (RFC 3849).
var (
	assumedClient  = netip.MustParseAddr("192.0.2.254")
	assumedClient6 = netip.MustParseAddr("2001:db8:ffff:ffff::fffe")
)

// walker is one trace under way. It is used by one goroutine. The first error
// that ends the trace is kept in err; methods return nil from then on.
type walker struct {
	t       *Tracer
	ctx     context.Context
	target  Target
	read    *reader
	cluster *k8s.View
	err     error

	nodes    map[string]*netns
	podNets  map[podRef]*netns
	pods     map[string]*pod // by address
	proxies  map[podRef]*proxy
	visited  map[string]*node // first hop of what a flow does at a place
	walking  map[string]bool  // the same, still under way: meeting one again is a loop
	order    []*node          // every hop, in the order decided
	evidence int
	named    map[netip.Addr][]*k8s.Service // load balancers known by a name of the answer chain only
	asked    *k8s.Service                  // the Service that the target's name means to a Pod
	renamed  map[string]string             // evidence ids given while walking, to those of the report
}

// facts are what the rules that name faults look at, beyond the report. What
// does not belong to the hop's kind is nil.
type facts struct {
	flow        flow
	proxy       *proxy
	pod         *pod
	outcome     *envoyadmin.Outcome
	step        *envoyadmin.Step
	endpoint    *envoyadmin.Endpoint
	direction   envoyadmin.Direction
	netns       *netns
	packets     *iptables.Result
	service     *servicePort
	notRead     *NotReadError
	dns         *resolution
	sockets     []listening
	socketsRead bool // an empty list is an answer too
	policies    []k8s.PolicyVerdict
	wantedPort  int // the port a missing cluster asks of the Service
	counted     []counted
	fix         []string // what to do about a hop that is undetermined
}

func (t *Tracer) trace(ctx context.Context, target Target) (*Report, error) {
	from, err := parsePlace(target.From)
	if err != nil {
		return nil, err
	}
	w := &walker{
		t: t, ctx: ctx, target: target, read: newReader(t),
		nodes: map[string]*netns{}, podNets: map[podRef]*netns{}, pods: map[string]*pod{}, proxies: map[podRef]*proxy{},
		visited: map[string]*node{}, walking: map[string]bool{},
	}
	ctx, cancel := context.WithCancel(ctx)
	w.ctx = ctx
	defer w.read.under.Wait() // nothing is read any more when a trace is over
	defer cancel()
	w.cluster = k8s.New(lister{w})
	w.cluster.Near(from.namespace, t.Namespace)
	f, err := w.request(from)
	if err != nil {
		return nil, err
	}
	w.vantage(from)
	if w.err != nil {
		return nil, w.err
	}
	root := w.resolve(f)
	if w.err == nil {
		w.joinLogs(root)
	}
	if w.err == nil {
		w.joinCounters(root)
		w.joinConntrack(root)
	}
	if w.err != nil {
		return nil, w.err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := w.report(root)
	if w.err == nil && t.Logs != nil {
		t.Logs.keep(w)
	}
	return r, w.err
}

// request is the flow as the user asks for it, before its name is resolved.
func (w *walker) request(from place) (flow, error) {
	t := w.target
	f := flow{at: from, from: from, sender: from, proto: "tcp", app: "tcp", tls: "none"}
	if t.Scheme == "udp" {
		f.proto = "udp"
	}
	if t.TLS() {
		if f.tls = "tls"; t.ClientCert {
			f.tls = "mtls"
		}
		if f.sni = t.SNI; f.sni == "" {
			if _, err := netip.ParseAddr(t.Host); err != nil {
				f.sni = t.Host
			}
		}
	}
	if t.SourceIP != "" {
		src, err := parseAddrMaybePort(t.SourceIP)
		if err != nil {
			return f, fmt.Errorf("source address %q is neither an IP nor IP:port", t.SourceIP)
		}
		f.src = src
	}
	if !t.HTTP() {
		return f, nil
	}
	f.app, f.scheme, f.method, f.path = "http", t.Scheme, cmp.Or(t.Method, "GET"), cmp.Or(t.Path, "/")
	f.version = cmp.Or(t.HTTPVersion, "1.1")
	if t.Scheme == "grpc" {
		f.app, f.scheme, f.version = "grpc", "http", "2"
	}
	f.authority = t.Host
	if strings.Contains(t.Host, ":") {
		f.authority = "[" + t.Host + "]"
	}
	if t.Port != defaultPorts[t.Scheme] {
		f.authority += ":" + strconv.Itoa(t.Port)
	}
	for _, h := range t.Headers {
		if strings.EqualFold(h.Name, "host") || h.Name == ":authority" {
			f.authority = h.Value
			continue
		}
		f.headers = append(f.headers, h)
	}
	if t.Scheme == "grpc" {
		if _, ok := f.header("content-type"); !ok {
			f.headers = append(f.headers, Header{Name: "content-type", Value: "application/grpc"})
		}
	}
	if f.tls != "none" {
		switch {
		case f.version == "2":
			f.alpn = []string{"h2", "http/1.1"}
		case f.version == "1.0":
			f.alpn = []string{"http/1.0"}
		default:
			f.alpn = []string{"http/1.1"}
		}
	}
	return f, nil
}

func parseAddrMaybePort(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a.Unmap(), 0), nil
	}
	ap, err := netip.ParseAddrPort(s)
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), err
}

// observe reads one observation that the walk needs.
func (w *walker) observe(q Query) (Observation, *NotReadError) {
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err != nil {
		return Observation{}, &NotReadError{Query: q, Why: w.err.Error()}
	}
	obs, notRead, err := w.read.read(w.ctx, q)
	if err != nil {
		w.err = err
		return Observation{}, &NotReadError{Query: q, Why: err.Error()}
	}
	return obs, notRead
}

// observeIf reads one observation; when it is optional its absence is no loss
// and is not accounted for.
func (w *walker) observeIf(q Query, optional bool) (Observation, *NotReadError) {
	obs, notRead := w.observe(q)
	if optional && notRead != nil {
		w.read.forgive(q)
	}
	return obs, notRead
}

// broken takes note of input that was read and is not what it should be. In a
// snapshot a person can mend it: it ends the trace. Live it is one more thing
// that could not be read.
func (w *walker) broken(q Query, err error) {
	if w.read.lenient {
		w.read.fail(q, err.Error())
		return
	}
	if w.err == nil {
		w.err = inputError(q, err)
	}
}

func inputError(q Query, err error) error {
	in := &InputError{File: q.Path(), Msg: err.Error()}
	if e, ok := errors.AsType[*envoyadmin.SyntaxError](err); ok {
		in.Line, in.Column, in.Offset, in.Msg = e.Line, e.Column, e.Offset, e.Msg
	}
	if e, ok := errors.AsType[*iptables.ParseError](err); ok {
		in.Line, in.Column, in.Msg = e.Line, e.Column, e.Msg
	}
	if e, ok := errors.AsType[*InputError](err); ok {
		return e
	}
	return in
}

// hop starts a hop for the flow. It is complete when done is called with it.
func (w *walker) hop(kind HopKind, subject Subject, f flow) *node {
	return &node{hop: &Hop{Kind: kind, Subject: subject, In: f.view()}, facts: facts{flow: f}}
}

// done files the hop: it gets its id and the time that reading for it took, and
// whoever watches is told.
func (w *walker) done(n *node) *node {
	if n == nil || n.hop.ID != "" {
		return n
	}
	h := n.hop
	h.ID = "h" + strconv.Itoa(len(w.order)+1)
	if h.State == "" {
		h.State = OK
	}
	h.TookMS = w.read.lap()
	w.order = append(w.order, n)
	if w.t.Progress != nil {
		c := h.clone()
		w.t.Progress(Event{Hop: &c})
	}
	return n
}

// clone returns a copy that shares nothing the walk still writes to: whoever
// watches reads it while the walk goes on.
func (h *Hop) clone() Hop {
	c := *h
	if h.In != nil {
		in := *h.In
		c.In = &in
	}
	if h.Out != nil {
		out := *h.Out
		c.Out = &out
	}
	d := &c.Detail
	d.Answers, d.DNAT, d.Rules = slices.Clone(d.Answers), slices.Clone(d.DNAT), slices.Clone(d.Rules)
	d.Weighted, d.Hosts, d.Endpoints = slices.Clone(d.Weighted), slices.Clone(d.Hosts), slices.Clone(d.Endpoints)
	d.Owner, d.NearMisses, d.Sockets = slices.Clone(d.Owner), slices.Clone(d.NearMisses), slices.Clone(d.Sockets)
	c.Checks, c.Evidence, c.Config = slices.Clone(h.Checks), slices.Clone(h.Evidence), slices.Clone(h.Config)
	c.Logs, c.Branches = slices.Clone(h.Logs), slices.Clone(h.Branches)
	return c
}

// unread makes the hop unknown because an observation could not be had.
func (w *walker) unread(n *node, e *NotReadError) {
	n.facts.notRead = e
	n.hop.settle(Unknown, e.Query.Path()+": "+e.Why)
	n.hop.check("read "+e.Query.Path(), Unknown, e.Why)
}

// once walks the sub-path named by key a single time and joins later ways into
// it. Meeting it again while it is under way is a loop, which is an answer too.
func (w *walker) once(key string, f flow, walk func() *node) *node {
	if w.err != nil {
		return nil
	}
	if n, ok := w.visited[key]; ok {
		return n
	}
	limit := cmp.Or(w.t.MaxHops, defaultMaxHops)
	switch {
	case w.walking[key]:
		n := w.hop(KindExternal, Subject{Kind: "Loop", Name: addrString(f.dst)}, f)
		n.hop.Detail.Address = addrString(f.dst)
		n.hop.settle(Fail, "the request comes back to where it has been: "+f.at.String()+" to "+addrString(f.dst))
		n.hop.Summary = "a loop"
		return w.done(n)
	case len(w.order) >= limit:
		n := w.hop(KindExternal, Subject{Kind: "Bound", Name: addrString(f.dst)}, f)
		n.hop.Detail.Address = addrString(f.dst)
		n.hop.settle(Unknown, fmt.Sprintf("not walked: the bound of %d hops is reached", limit))
		n.hop.Summary = "not walked"
		return w.done(n)
	}
	w.walking[key] = true
	n := walk()
	delete(w.walking, key)
	w.visited[key] = n
	return n
}

// report assembles what was walked.
func (w *walker) report(root *node) *Report {
	findings := w.findings(root)
	all, rest := paths(root, cmp.Or(w.t.MaxPaths, defaultMaxPaths))
	r := &Report{
		Schema: Schema, Target: w.target, Verdict: overall(root), Paths: []Path{}, Hops: []Hop{}, Findings: []Finding{},
		Tool: Tool{Version: w.t.Version},
	}
	r.Target.Headers = redactHeaders(r.Target.Headers)
	memo := map[*node]State{}
	w.renumber(root)
	reached := reachedBy(root)
	for _, n := range w.order {
		h := n.hop
		shares := make([]float64, len(n.next))
		for i, e := range n.next {
			shares[i] = e.probability
		}
		shares = round(shares)
		for i, e := range n.next {
			if e.label == "" && len(n.next) == 1 {
				e.label = string(e.to.hop.Kind)
			}
			h.Branches = append(h.Branches, Branch{Label: orElse(e.label, e.to.hop.Subject.Name), Probability: shares[i], To: e.to.hop.ID, State: e.to.worst(memo)})
		}
		if !reached[n] && h.State == OK {
			h.State = Skipped
			h.Why = orElse(h.Why, "not reached: what comes before it stops the request or sends nothing here")
		}
		r.Hops = append(r.Hops, *h)
	}
	shares := make([]float64, 0, len(all)+1)
	for _, p := range all {
		shares = append(shares, p.probability)
	}
	shares = round(append(shares, rest))
	for i, p := range all {
		out := Path{Probability: shares[i], Verdict: p.verdict(), Hops: []string{}}
		for _, n := range p.nodes {
			out.Hops = append(out.Hops, n.hop.ID)
		}
		r.Paths = append(r.Paths, out)
	}
	if rest > 0 {
		r.Paths = append(r.Paths, Path{Probability: shares[len(all)], Verdict: Undetermined, Hops: []string{}})
	}
	r.Findings = w.listed(findings)
	r.Verdict = effect(r.Verdict, findings)
	r.Summary = summarise(w.target, r, all)
	r.Collected = w.read.collected()
	return r
}

// renumber gives the hops their ids in the order a reader meets them: along the
// most probable way first.
func (w *walker) renumber(root *node) {
	w.order = w.order[:0]
	each(root, func(n *node) { w.order = append(w.order, n) })
	for i, n := range w.order {
		n.hop.ID = "h" + strconv.Itoa(i+1)
	}
	w.evidence = 0
	renamed := map[string]string{}
	for _, n := range w.order {
		for i := range n.hop.Evidence {
			w.evidence++
			id := "e" + strconv.Itoa(w.evidence)
			renamed[n.hop.Evidence[i].ID] = id
			n.hop.Evidence[i].ID = id
		}
	}
	w.renamed = renamed
}

// reachedBy says which hops the request gets to: those before, and at, the first
// obstacle of some way.
func reachedBy(root *node) map[*node]bool {
	out := map[*node]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		if n == nil || out[n] {
			return
		}
		out[n] = true
		if n.hop.State == Fail {
			return
		}
		for _, e := range n.next {
			if e.probability > 0 {
				visit(e.to)
			}
		}
	}
	visit(root)
	return out
}

// podAt returns the Pod that owns the address, or nil.
func (w *walker) podAt(address string) *pod {
	ap, err := parseAddrMaybePort(address)
	if err != nil {
		return nil
	}
	return w.podByIP(ap.Addr(), ap.Port())
}

// sortedKeys returns the keys of m in order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
