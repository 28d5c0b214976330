package report

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/hoptrail/hoptrail/internal/sanitize"
	"github.com/hoptrail/hoptrail/trace"
)

// fact is one named value of a hop.
type fact struct{ name, value string }

// word is a state as people read it.
func word(s trace.State) string {
	if s == "" {
		s = trace.Unknown
	}
	return strings.ToUpper(sanitize.Line(string(s)))
}

// verdictWord is a verdict as people read it.
func verdictWord(v trace.Verdict) string {
	if v == "" {
		v = trace.Undetermined
	}
	return strings.ToUpper(sanitize.Line(string(v)))
}

// summary is the report's sentence without what stands beside it: the target
// and the verdict.
func summary(r *trace.Report) string {
	s := r.Summary
	if rest, ok := strings.CutPrefix(s, r.Target.Raw+" is "+string(r.Verdict)); ok {
		if rest, ok = strings.CutPrefix(rest, ": "); ok {
			s = rest
		}
	}
	if f := answer(r); f != nil {
		if h := hopsByID(r)[f.Hop]; h != nil && h.Why != "" {
			s = strings.TrimSuffix(s, ": "+h.Why) // the finding's detail says it, on a line of its own
		}
	}
	return sanitize.Line(s)
}

// observations counts them.
func observations(n int) string {
	if n == 1 {
		return "1 observation"
	}
	return strconv.Itoa(n) + " observations"
}

// answer is the finding that says why a request does not simply get through; nil
// for one that does.
func answer(r *trace.Report) *trace.Finding {
	if r.Verdict == trace.Reachable || len(r.Findings) == 0 {
		return nil
	}
	return &r.Findings[0]
}

// subject names what a hop is about as namespace/name, with its kind where the
// hop's own does not say it.
func subject(h *trace.Hop) string {
	name := h.Subject.Name
	if h.Subject.Namespace != "" {
		name = h.Subject.Namespace + "/" + name
	}
	kind := strings.ToLower(h.Subject.Kind)
	switch kind {
	case strings.ReplaceAll(string(h.Kind), "_", ""), "name", "address":
		kind = ""
	}
	return sanitize.Line(strings.TrimSpace(kind + " " + name))
}

// none is what stands where there is nothing.
const none = "<none>"

// outcome is a hop's decision in the few words of a table's last column.
func outcome(h *trace.Hop) string {
	d := &h.Detail
	var s string
	switch h.State {
	case trace.Fail, trace.Unknown, "":
		if s = h.Why; s == "" {
			s = h.Summary
		}
		if d.Flags != "" && !strings.Contains(s, d.Flags) {
			s = d.Flags + ": " + s
		}
	case trace.Skipped:
		s = h.Why
	default:
		s = decided(h)
	}
	if s == "" {
		s = h.Summary
	}
	if s == "" {
		s = none
	}
	return sanitize.Line(s)
}

func decided(h *trace.Hop) string {
	d := &h.Detail
	switch h.Kind {
	case trace.KindDNS:
		answers := d.Answers
		if len(answers) > 1 && strings.TrimSuffix(answers[0], ".") == strings.TrimSuffix(h.Subject.Name, ".") {
			answers = answers[1:]
		}
		return strings.Join(answers, " -> ")
	case trace.KindService, trace.KindLoadBalancer:
		return d.Service
	case trace.KindNode:
		if len(d.DNAT) > 0 {
			s := "DNAT " + some(d.DNAT, 3, " | ")
			if d.Masquerade != nil && *d.Masquerade {
				s += ", masquerade"
			}
			return s
		}
	case trace.KindPod:
		switch {
		case d.Redirect != "":
			return "redirect to port " + d.Redirect
		case d.Role != "":
			return d.Role
		}
	case trace.KindListener:
		return unlessNamed(h, d.Name, d.Address)
	case trace.KindFilterChain, trace.KindFilter:
		return unlessNamed(h, d.Name, h.Summary)
	case trace.KindRoute:
		return routed(h)
	case trace.KindCluster:
		var a []string
		for _, e := range d.Endpoints {
			a = append(a, e.Address)
		}
		if len(a) == 0 && d.Type != "" && d.Type != "ORIGINAL_DST" {
			a = []string{"no endpoint"}
		}
		return unlessNamed(h, d.Name, some(a, 3, " | "))
	case trace.KindEndpoint:
		to := d.Health
		if d.Pod != "" {
			to = strings.TrimPrefix(to+", pod "+d.Pod, ", ")
		}
		return unlessNamed(h, d.Address, to)
	case trace.KindApp:
		return some(d.Sockets, 2, ", ")
	case trace.KindExternal:
		return d.Address
	}
	return ""
}

// unlessNamed is "name -> value", without the name where the subject says it.
func unlessNamed(h *trace.Hop, name, value string) string {
	switch {
	case name == h.Subject.Name || name == "":
		return value
	case value == "" || value == name:
		return name
	}
	return name + " -> " + value
}

// routed says where a route leads and what it makes of the request.
func routed(h *trace.Hop) string {
	d := &h.Detail
	var parts []string
	route := d.Route
	if route == "" {
		route = d.Match
	}
	to := d.Cluster
	if len(d.Weighted) > 1 {
		to = fmt.Sprintf("%d clusters by weight", len(d.Weighted))
	} else if len(d.Weighted) == 1 && to == "" {
		to = d.Weighted[0].Name
	}
	if r := d.Response; r != nil && (r.Status < 400 || h.State != trace.OK) {
		to = response(r) // and not what something further on answers
	}
	if s := unlessNamed(h, route, to); s != "" {
		parts = append(parts, s)
	}
	if d.VirtualHost != "" && d.VirtualHost != h.Subject.Name {
		parts = append(parts, "virtual host "+d.VirtualHost)
	}
	if d.Rewrite != "" {
		parts = append(parts, "path becomes "+d.Rewrite)
	}
	return strings.Join(parts, ", ")
}

// some joins at most n of the items and says how many more there are.
func some(items []string, n int, sep string) string {
	if len(items) <= n+1 { // "and 1 more" is longer than the one
		return strings.Join(items, sep)
	}
	return strings.Join(items[:n], sep) + fmt.Sprintf(" and %d more", len(items)-n)
}

func response(r *trace.Response) string {
	s := fmt.Sprintf("answers %d", r.Status)
	if r.GRPCStatus != nil {
		s += fmt.Sprintf(" (grpc-status %d)", *r.GRPCStatus)
	}
	if r.Location != "" {
		s += " to " + r.Location
	}
	return s
}

// facts lists what a hop found, in the order of a request's way through it.
func facts(h *trace.Hop) []fact {
	d := &h.Detail
	var fs []fact
	add := func(name, value string) {
		if value != "" {
			fs = append(fs, fact{name, sanitize.Line(value)})
		}
	}
	list := func(name string, values []string) {
		for _, v := range values {
			add(name, v)
			name = ""
		}
	}
	add("answers", strings.Join(d.Answers, " -> "))
	add("service", d.Service)
	list("dnat", d.DNAT)
	add("snat", d.SNAT)
	if d.Masquerade != nil && h.Kind == trace.KindNode {
		add("masquerade", yesNo(*d.Masquerade))
	}
	add("redirect", d.Redirect)
	if h.Kind == trace.KindPod && d.Pod != "" && d.Role != "" {
		add("pod", d.Pod+" ("+d.Role+")")
	} else {
		add("pod", d.Pod)
		add("role", d.Role)
	}
	if name := string(h.Kind); d.Name != "" {
		add(sanitize.Line(strings.ReplaceAll(name, "_", " ")), d.Name)
	}
	add("address", d.Address)
	add("route config", d.RouteConfig)
	add("virtual host", d.VirtualHost)
	add("route", d.Route)
	if d.Match != d.Route {
		add("match", d.Match)
	}
	add("path becomes", d.Rewrite)
	if h.Out != nil || d.Rewrite != "" {
		add("authority", d.Authority)
	}
	for i, w := range d.Weighted {
		name := "weighted"
		if i > 0 {
			name = ""
		}
		add(name, fmt.Sprintf("%d %s", w.Weight, w.Name))
	}
	if d.Cluster != d.Name {
		add("cluster", d.Cluster)
	}
	if d.Response != nil {
		add("response", response(d.Response))
		add("body", d.Response.Body)
	}
	add("type", d.Type)
	if d.MTLS != nil {
		add("mtls", yesNo(*d.MTLS))
	}
	for i, e := range d.Endpoints {
		name := "endpoints"
		if i > 0 {
			name = ""
		}
		v := e.Address + " " + e.Health
		if e.Weight > 1 {
			v += fmt.Sprintf(" weight %d", e.Weight)
		}
		if e.Pod != "" {
			v += " pod " + e.Pod
		}
		add(name, v)
	}
	add("health", d.Health)
	list("serves", d.Hosts)
	list("sockets", d.Sockets)
	list("owner", d.Owner)
	if flags := strings.TrimSpace(d.Flags + " " + d.Code); flags != "" {
		add("flags", flags)
	}
	return fs
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// samePlace says whether two flows differ in nothing but where they are.
func samePlace(a, b *trace.Flow) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.At, y.At = "", ""
	return flowLine(&x) == flowLine(&y)
}

// flowLine renders a flow in one line.
func flowLine(f *trace.Flow) string {
	var p []string
	add := func(format string, v string) {
		if v != "" {
			p = append(p, fmt.Sprintf(format, v))
		}
	}
	add("%s", f.Proto)
	switch {
	case f.Src != "" && f.Dst != "":
		p = append(p, f.Src+" -> "+f.Dst)
	case f.Dst != "":
		p = append(p, "-> "+f.Dst)
	case f.Src != "":
		p = append(p, "from "+f.Src)
	}
	if f.Mark != "0x0" {
		add("mark %s", f.Mark)
	}
	if f.TLS != "none" {
		add("%s", f.TLS)
	}
	add("sni %s", f.SNI)
	if len(f.ALPN) > 0 {
		add("alpn %s", strings.Join(f.ALPN, ","))
	}
	if f.Method != "" || f.Path != "" {
		add("%s", strings.TrimSpace(f.Method+" "+f.Path))
	}
	add("host %s", f.Authority)
	add("at %s", f.At)
	return sanitize.Line(strings.Join(p, "  "))
}

// commands lists what prints again what a hop rests on, each once: first what a
// person would type, then what prints the raw observations.
func commands(h *trace.Hop) []string {
	var cs []string
	add := func(c string) {
		if c = sanitize.Line(c); c != "" && !slices.Contains(cs, c) {
			cs = append(cs, c)
		}
	}
	for _, c := range istioctl(h) {
		add(c)
	}
	for _, o := range h.Detail.Owner {
		if kind, name, ok := strings.Cut(o, " "); ok {
			if ns, name, ok := strings.Cut(name, "/"); ok && !strings.ContainsAny(name, " /") {
				add("kubectl -n " + trace.Quote(ns) + " get " + trace.Quote(strings.ToLower(kind)) + " " + trace.Quote(name) + " -o yaml")
			}
		}
	}
	for _, e := range h.Evidence {
		add(e.Command)
	}
	return cs
}

// istioctl lists how istioctl shows what an Envoy hop used, where that Envoy is
// one of Istio's.
func istioctl(h *trace.Hop) []string {
	ns, pod, ok := strings.Cut(h.Detail.Pod, "/")
	if !ok || !slices.ContainsFunc(h.Evidence, func(e trace.Evidence) bool { return strings.Contains(e.Command, "pilot-agent") }) {
		return nil
	}
	d := &h.Detail
	pc := func(what string, args ...string) string {
		c := "istioctl pc " + what + " " + trace.Quote(pod+"."+ns)
		for i := 0; i+1 < len(args); i += 2 {
			if args[i+1] != "" {
				c += " " + args[i] + " " + trace.Quote(args[i+1])
			}
		}
		return c
	}
	switch h.Kind {
	case trace.KindListener, trace.KindFilterChain:
		if _, port, err := net.SplitHostPort(d.Address); err == nil {
			return []string{pc("listener", "--port", port) + " -o json"}
		}
	case trace.KindRoute:
		if d.RouteConfig != "" {
			return []string{pc("route", "--name", d.RouteConfig) + " -o json"}
		}
	case trace.KindCluster:
		if d.Name == "" {
			return nil
		}
		c := pc("cluster", "--fqdn", d.Name)
		if p := strings.SplitN(d.Name, "|", 4); len(p) == 4 {
			c = pc("cluster", "--direction", p[0], "--port", p[1], "--subset", p[2], "--fqdn", p[3])
		}
		return []string{c + " -o json", pc("endpoint", "--cluster", d.Name)}
	case trace.KindDNS, trace.KindLoadBalancer, trace.KindService, trace.KindNode, trace.KindPod, trace.KindFilter, trace.KindEndpoint, trace.KindApp, trace.KindExternal:
	}
	return nil
}

// asked lists what the target asks for besides its URL.
func asked(t *trace.Target) []fact {
	var fs []fact
	add := func(name, value string) {
		if value != "" {
			fs = append(fs, fact{name, sanitize.Line(value)})
		}
	}
	from := t.From
	if from == "" {
		from = "external"
	}
	add("FROM", from)
	var with []string
	if t.Method != "" && t.Method != "GET" {
		with = append(with, "-X "+t.Method)
	}
	for _, h := range t.Headers {
		with = append(with, fmt.Sprintf("-H '%s: %s'", h.Name, h.Value))
	}
	for _, kv := range [][2]string{{"--sni", t.SNI}, {"--source-ip", t.SourceIP}, {"--http-version", t.HTTPVersion}} {
		if kv[1] != "" {
			with = append(with, kv[0]+" "+kv[1])
		}
	}
	if t.ClientCert {
		with = append(with, "--client-cert")
	}
	var names []string
	for name := range t.Resolve {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		with = append(with, "--resolve "+name+":"+t.Resolve[name])
	}
	add("WITH", strings.Join(with, " "))
	return fs
}
