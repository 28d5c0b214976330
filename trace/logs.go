package trace

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hoptrail/hoptrail/envoyadmin/accesslog"
	"github.com/hoptrail/hoptrail/envoyadmin/explain"
)

const (
	accessLog   = "access.log"
	maxLogLines = 20 // kept of one proxy, the latest
)

// observedLine is one access log line that belongs to the path.
type observedLine struct {
	entry   accesslog.Entry
	node    *node // the hop the line speaks of
	because string
	first   bool // found by what it says itself, not by a line of another proxy
}

// joinLogs reads the access log of each Envoy on the path, those that could not
// be read themselves too, and attaches the lines
// that belong to the traced request: those that name the same method, host, path
// and address, and those that an Envoy before or behind it joins to them - by
// request id, or because one's upstream local address is the other's downstream
// remote address.
func (w *walker) joinLogs(root *node) {
	var order []*proxy
	each(root, func(n *node) {
		if p := n.facts.proxy; p != nil && !slices.Contains(order, p) {
			order = append(order, p)
		}
	})
	entries := map[*proxy][]accesslog.Entry{}
	for _, p := range order {
		q := p.pod.query(AreaProxy, accessLog)
		obs, notRead := w.observe(q)
		if w.err != nil {
			return
		}
		if notRead != nil {
			p.logNotRead = notRead
			continue
		}
		p.logSpan, p.logCut = obs.Span, obs.Cut
		for e, err := range p.logParser().Read(bytes.NewReader(obs.Data)) {
			if err == nil && e.OK() {
				entries[p] = append(entries[p], e)
			}
		}
	}
	ids := map[string]string{}    // request id to the proxy that logged it
	locals := map[string]string{} // upstream local address to the proxy that logged it
	var seen []observedLine
	from := map[*node]Query{}
	defer func() {
		w.observedApps(root, seen, from)
		w.observedPods(root, from)
	}()
	for _, p := range order {
		for _, e := range entries[p] {
			n, because := p.belongs(e)
			first := n != nil
			if n == nil {
				n, because = p.joined(e, ids, locals)
			}
			if n == nil {
				continue
			}
			if id := e.RequestID(); id != "" && ids[id] == "" {
				ids[id] = p.pod.String()
			}
			if l := e.UpstreamLocal(); l != "" && locals[l] == "" {
				locals[l] = p.pod.String()
			}
			p.lines = append(p.lines, observedLine{entry: e, node: n, because: because, first: first})
			from[n] = p.pod.query(AreaProxy, accessLog)
		}
		seen = append(seen, p.lines...)
		w.attach(p)
	}
}

// belongs says whether the line is of a request like the traced one, and of
// which hop it speaks.
func (p *proxy) belongs(e accesslog.Entry) (*node, string) {
	for _, n := range p.heads() {
		f := n.facts.flow
		if l := e.DownstreamLocal(); l != "" && l != f.dst.String() {
			continue
		}
		if f.app == "tcp" {
			if e.Method() != "" && e.DownstreamLocal() == "" {
				continue
			}
			if e.DownstreamLocal() == "" {
				continue
			}
			return p.speaksOf(e, n), "the same destination " + e.DownstreamLocal()
		}
		if m := e.Method(); m != "" && m != f.method {
			continue
		}
		if a := e.Authority(); a != "" && !strings.EqualFold(a, f.authority) && !strings.EqualFold(a, hostOf(f)) {
			continue
		}
		path := e.Path()
		if path == "" && e.Method() == "" && e.DownstreamLocal() != "" {
			// a connection that never became a request: refused before HTTP
			return p.speaksOf(e, n), "the same destination " + e.DownstreamLocal()
		}
		if pathOnly(path) != pathOnly(f.path) && !p.rewritesTo(n, path) {
			continue
		}
		return p.speaksOf(e, n), "the same method, host and path"
	}
	return nil, ""
}

// joined says whether a line that an earlier Envoy of the path logged joins this
// one to the traced request.
func (p *proxy) joined(e accesslog.Entry, ids, locals map[string]string) (*node, string) {
	heads := p.heads()
	if len(heads) == 0 {
		return nil, ""
	}
	for _, n := range heads {
		if l := e.DownstreamLocal(); l != "" && l != n.facts.flow.dst.String() {
			continue
		}
		if by := locals[e.DownstreamRemote()]; by != "" && by != p.pod.String() {
			return p.speaksOf(e, n), "its downstream remote address is the upstream local address in the log of " + by
		}
		if by := ids[e.RequestID()]; e.RequestID() != "" && by != "" && by != p.pod.String() {
			return p.speaksOf(e, n), "its request id is in the log of " + by
		}
	}
	return nil, ""
}

// heads are the first hops of the ways into the proxy.
func (p *proxy) heads() []*node {
	var out []*node
	for _, n := range p.hops {
		if n.hop.Kind == KindListener {
			out = append(out, n)
		}
	}
	return out
}

// speaksOf finds the hop behind head that the line is about: the one of the
// cluster it names, else the last one that decided.
func (p *proxy) speaksOf(e accesslog.Entry, head *node) *node {
	best := head
	each(head, func(n *node) {
		if n.facts.proxy != p {
			return
		}
		switch n.hop.Kind {
		case KindCluster:
			if c := e.UpstreamCluster(); c != "" && c == n.hop.Detail.Name {
				best = n
			}
		case KindRoute, KindFilterChain, KindFilter:
			if best == head || best.hop.Kind != KindCluster {
				if e.UpstreamCluster() == "" || best == head {
					best = n
				}
			}
		}
	})
	return best
}

func (p *proxy) rewritesTo(head *node, path string) bool {
	found := false
	each(head, func(n *node) {
		if n.facts.proxy == p && n.hop.Detail.Rewrite != "" && pathOnly(n.hop.Detail.Rewrite) == pathOnly(path) {
			found = true
		}
	})
	return found
}

func pathOnly(p string) string {
	p, _, _ = strings.Cut(p, "?")
	return p
}

// attach puts the lines found on the hops they speak of, as observed evidence,
// and on the listener's hop as the log of the whole proxy.
func (w *walker) attach(p *proxy) {
	lines := p.lines
	if len(lines) > maxLogLines {
		lines = lines[len(lines)-maxLogLines:]
	}
	q := p.pod.query(AreaProxy, accessLog)
	for _, l := range lines {
		w.cite(l.node.hop, Observed, q, l.entry.Raw, matchedPart(l.entry))
	}
	for _, head := range p.heads() {
		for _, l := range lines {
			line := logLine(l.entry)
			line.Traced, line.Because = true, l.because
			head.hop.Logs = append(head.hop.Logs, line)
		}
		state, missing := OK, ""
		if p.logCut != "" {
			missing = "; the log was read in part: " + p.logCut
		}
		switch {
		case len(lines) > 0:
			head.hop.check("access log", OK, fmt.Sprintf("%d of this request's lines, the latest at %s", len(lines), lines[len(lines)-1].entry.Start().UTC().Format(time.RFC3339))+missing)
		case p.logNotRead != nil:
			head.hop.check("access log", Unknown, p.logNotRead.Why)
		default:
			said := "no line of this request"
			if p.logSpan != "" {
				said += " in " + p.logSpan
			}
			if missing != "" {
				state = Unknown // it may be among those that are missing
			}
			head.hop.check("access log", state, said+missing)
		}
	}
}

// logLine is a line as the report has it.
func logLine(e accesslog.Entry) LogLine {
	line := LogLine{Raw: e.Raw, Fields: e.Fields(), At: timestamp(e.Start())}
	for _, flag := range e.Flags() {
		line.Flags = append(line.Flags, explainFlag(flag))
	}
	return line
}

func matchedPart(e accesslog.Entry) string {
	if id := e.RequestID(); id != "" {
		return id
	}
	return orElse(e.UpstreamHost(), e.DownstreamLocal())
}

// logParser reads lines in the formats the proxy's own configuration gives to
// its access logs; without one, in the layouts in common use.
func (p *proxy) logParser() *accesslog.Parser {
	var formats []*accesslog.Format
	for _, n := range p.hops {
		o := n.facts.outcome
		if o == nil {
			continue
		}
		for _, al := range slices.Concat(o.Extra.AccessLogs, o.Extra.ListenerAccessLogs) {
			if sink := accesslog.FromProto(al); sink.InLog && sink.Format != nil {
				formats = append(formats, sink.Format)
			}
		}
	}
	return accesslog.NewParser(formats...).Detecting()
}

// explainFlag puts a response flag's meaning beside it.
func explainFlag(flag string) string {
	if item, ok := explain.Lookup(flag); ok {
		return flag + ": " + item.Meaning
	}
	return flag
}
