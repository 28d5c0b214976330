package trace

import (
	"sync"

	"github.com/hoptrail/hoptrail/envoyadmin/accesslog"
)

// maxJoined bounds how many request ids, and how many addresses, of followed
// lines are remembered to join the lines of other proxies to.
const maxJoined = 4096

// LogReader reads access log lines that the proxies on a path write after the
// trace that walked it, as the trace read those from before: in the formats of
// each proxy's own configuration, marking those of requests like the traced one.
// [Tracer.Logs] fills it. It is safe for concurrent use.
type LogReader struct {
	mu      sync.Mutex
	proxies map[string]*followed // by namespace/name
	ids     map[string]string    // request id to the proxy that logged it
	locals  map[string]string    // upstream local address to the proxy that logged it
}

type followed struct {
	proxy  *proxy
	parser *accesslog.Parser
}

// keep takes what reading needs of a finished walk; the configurations are let
// go.
func (r *LogReader) keep(w *walker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.proxies, r.ids, r.locals = map[string]*followed{}, map[string]string{}, map[string]string{}
	for ref, p := range w.proxies {
		if p.dump == nil {
			continue
		}
		r.proxies[ref.String()] = &followed{proxy: p, parser: p.logParser()}
		p.dump, p.data, p.files, p.statuses = nil, nil, nil, nil
	}
}

// Read reads one line of the log of a proxy, a Pod as namespace/name. The hop is
// the id, in the report of the trace, of the listener the line belongs to; "" if
// that is not known: the proxy is not on the path, or the line is none of its
// access log, which then has no fields either.
func (r *LogReader) Read(pod, line string) (hop string, l LogLine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l = LogLine{Raw: line}
	f := r.proxies[pod]
	if f == nil {
		return "", l
	}
	e := f.parser.Parse(line)
	if !e.OK() {
		return "", l
	}
	l = logLine(e)
	heads := f.proxy.heads()
	if len(heads) > 0 {
		hop = heads[0].hop.ID
	}
	n, because := f.proxy.belongs(e)
	if n == nil {
		n, because = f.proxy.joined(e, r.ids, r.locals)
	}
	if n == nil {
		return hop, l
	}
	l.Traced, l.Because = true, because
	for _, head := range heads {
		if leadsTo(head, n) {
			hop = head.hop.ID
			break
		}
	}
	remember(r.ids, e.RequestID(), pod)
	remember(r.locals, e.UpstreamLocal(), pod)
	return hop, l
}

func remember(m map[string]string, key, pod string) {
	if key == "" || m[key] != "" {
		return
	}
	if len(m) >= maxJoined {
		clear(m)
	}
	m[key] = pod
}

func leadsTo(head, n *node) bool {
	found := false
	each(head, func(x *node) { found = found || x == n })
	return found
}
