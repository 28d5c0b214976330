package trace

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const sockets = "ss.txt"

// listening is one listening socket of a Pod.
type listening struct {
	addr netip.Addr // invalid: every address
	port uint16
	udp  bool
	four bool // addr is invalid for 0.0.0.0: every address of IPv4, none of IPv6
	line string
}

// toApp ends a way at the sockets of a Pod.
func (w *walker) toApp(f flow, p *pod) *node {
	return w.once("app|"+p.ref.String()+"|"+f.key(), f, func() *node {
		n := w.hop(KindApp, Subject{Kind: "Pod", Namespace: p.ref.namespace, Name: p.ref.name}, f)
		n.facts.pod = p
		h := n.hop
		h.Detail.Pod, h.Detail.Address = p.ref.String(), f.dst.String()
		port := int(f.dst.Port())
		if p.obj.DeclaresPort(f.dst.Port(), f.proto) {
			h.check("port declared", OK, strconv.Itoa(port))
		} else {
			h.check("port declared", Warn, strconv.Itoa(port)+" is not among the container ports")
		}
		ready, why := p.obj.Ready()
		h.check("ready", stateOf(ready, Warn), orElse(why, "yes"))
		q := p.ref.query(AreaPod, sockets)
		obs, notRead := w.observe(q)
		if w.err != nil {
			return nil
		}
		if notRead != nil {
			// A Pod without a probe is ready whatever it listens on: what takes the
			// port stays open, unless a log shows that something did (observedApps).
			h.Summary = "what listens in " + p.ref.String() + " was not read"
			w.unread(n, notRead)
			return w.done(n)
		}
		all, ok := parseSockets(obs.Data)
		if !ok {
			err := errors.New("not what ss -tlnp or netstat -tlnp prints: neither a heading nor a socket")
			if w.broken(q, err); w.err != nil {
				return nil
			}
			h.Summary = "what listens in " + p.ref.String() + " was not read"
			w.unread(n, &NotReadError{Query: q, Why: err.Error(), Command: q.Command()})
			return w.done(n)
		}
		n.facts.sockets, n.facts.socketsRead = all, true
		var fits, same *listening
		for i := range all {
			s := &all[i]
			if s.port != f.dst.Port() || s.udp != (f.proto == "udp") {
				continue
			}
			same = s
			if s.takes(f.dst.Addr()) {
				fits = s
				break
			}
		}
		for _, s := range all {
			h.Detail.Sockets = append(h.Detail.Sockets, s.String())
		}
		switch {
		case fits != nil:
			h.Summary = "delivered: " + p.ref.String() + " listens on " + fits.String()
			h.settle(OK, "")
			w.cite(h, Observed, q, fits.line, fits.String())
		case same != nil:
			h.Summary = "refused: the application listens on " + same.String() + " only"
			h.settle(Fail, fmt.Sprintf("nothing listens on %s: the application's socket is bound to %s", f.dst, same))
			w.cite(h, Observed, q, same.line, same.String())
		default:
			h.Summary = "refused: nothing listens on port " + strconv.Itoa(port)
			h.settle(Fail, fmt.Sprintf("nothing in the Pod listens on port %d", port))
			w.cite(h, Observed, q, orElse(strings.TrimSpace(string(obs.Data)), "(empty: no listening socket)"), "")
		}
		if !ready {
			h.check("containers", Warn, why)
		}
		return w.done(n)
	})
}

// observedApps passes the applications whose sockets were not read and that a
// proxy before them is seen to have had an answer from: what was observed
// outranks what is not known.
func (w *walker) observedApps(root *node, seen []observedLine, of map[*node]Query) {
	each(root, func(n *node) {
		if n.hop.Kind != KindApp || n.facts.notRead == nil || n.facts.notRead.Query.File != sockets {
			return
		}
		for _, l := range seen {
			if l.entry.UpstreamHost() != n.facts.flow.dst.String() || l.entry.Status() == 0 || len(l.entry.Flags()) > 0 {
				continue
			}
			n.hop.State, n.hop.Why = OK, ""
			n.hop.Summary = n.hop.Detail.Pod + " answered " + strconv.Itoa(l.entry.Status()) + " at " + n.facts.flow.dst.String() + ", as a proxy before it logged"
			w.cite(n.hop, Observed, of[l.node], l.entry.Raw, n.facts.flow.dst.String())
			return
		}
	})
}

// observedPods passes the Pods whose own rules, and the nodes before them whose
// rules, were not read, where the Pod's proxy is seen to have taken a connection
// like the traced one: its log names the very address.
func (w *walker) observedPods(root *node, from map[*node]Query) {
	each(root, func(n *node) {
		if n.hop.State != Unknown || n.facts.notRead == nil || n.facts.netns == nil || n.hop.Kind != KindPod && n.hop.Kind != KindNode {
			return
		}
		if n.hop.Kind == KindNode && n.facts.service != nil {
			return // it chose among endpoints; a log behind one of them says nothing of the others
		}
		for _, e := range n.next {
			taken := e.to
			if taken.hop.Kind == KindPod && len(taken.next) == 1 {
				taken = taken.next[0].to
			}
			p := taken.facts.proxy
			if p == nil || taken.hop.Kind != KindListener {
				continue
			}
			for _, l := range p.lines {
				if l.entry.DownstreamLocal() != taken.facts.flow.dst.String() {
					continue
				}
				n.hop.State, n.hop.Why = OK, ""
				n.hop.check("passed", OK, "observed: the proxy of "+p.pod.String()+" logged a connection to "+l.entry.DownstreamLocal())
				w.cite(n.hop, Observed, from[l.node], l.entry.Raw, l.entry.DownstreamLocal())
				return
			}
		}
	})
}

// takes says whether a connection to the address comes to the socket.
func (l *listening) takes(a netip.Addr) bool {
	if l.addr.IsValid() {
		return l.addr == a
	}
	return !l.four || a.Is4()
}

// String is address:port, with * for every address.
func (l *listening) String() string {
	host := "*"
	switch {
	case l.four:
		host = "0.0.0.0"
	case l.addr.IsValid():
		host = l.addr.String()
		if l.addr.Is6() {
			host = "[" + host + "]"
		}
	}
	return host + ":" + strconv.Itoa(int(l.port))
}

// parseSockets reads the listening sockets of `ss -tlnp` or `ss -tulnp`, and of
// `netstat -tlnp`. Lines of another form are passed over; where there is no other,
// not even a heading, the text is something else.
func parseSockets(data []byte) (out []listening, ok bool) {
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if strings.Contains(line, "Local Address") {
			ok = true
			continue
		}
		local, udp := -1, false
		for i, f := range fields {
			switch {
			case f == "udp" || f == "udp6":
				udp = true
			case f == "LISTEN" && i+3 < len(fields) && i < 2: // ss: State Recv-Q Send-Q Local
				local = i + 3
			case f == "UNCONN" && i+3 < len(fields) && i < 2:
				local, udp = i+3, true
			case f == "LISTEN" && i >= 5: // netstat: Proto Recv-Q Send-Q Local Foreign State
				local = 3
			}
		}
		if local < 0 || local >= len(fields) {
			continue
		}
		host, port, ok := cutLast(fields[local], ":")
		n, err := strconv.ParseUint(port, 10, 16)
		if !ok || err != nil || n == 0 {
			continue
		}
		host, _, _ = strings.Cut(strings.Trim(host, "[]"), "%")
		l := listening{port: uint16(n), udp: udp, line: strings.TrimRight(line, "\r\n")}
		if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() {
			l.addr = a.Unmap()
		} else if err == nil {
			l.four = a.Is4()
		} else if host != "*" && host != "" {
			continue
		}
		out = append(out, l)
	}
	return out, ok || len(out) > 0
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
