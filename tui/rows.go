package tui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hoptrail/hoptrail/internal/sanitize"
	"github.com/hoptrail/hoptrail/trace"
)

// tab is one view of the selected hop.
type tab int

const (
	tabSummary tab = iota
	tabEvidence
	tabConfig
	tabLogs
	tabAlternatives
	tabCount
)

var tabNames = [tabCount]string{"Summary", "Evidence", "Config", "Logs", "Alternatives"}

// row is one line of a document: what is drawn, and what it stands for.
type row struct {
	spans  []span
	indent int    // of continuation lines
	copy   string // what copying the line gives; empty: its text
	cmd    string // the command on the line
	branch string // the label of a branch that enter follows
	jump   string // the id of a hop that enter goes to
	proof  bool   // the matching part of evidence is on it
	nowrap bool
	src    int // place of the unwrapped row, after wrapping
}

func (r row) text() string {
	if len(r.spans) == 1 {
		return r.spans[0].s
	}
	var b strings.Builder
	for _, s := range r.spans {
		b.WriteString(s.s)
	}
	return b.String()
}

// doc builds the rows of a tab.
type doc struct {
	rows []row
	g    *glyphs
	th   *theme
}

func (d *doc) add(spans ...span) *row {
	d.rows = append(d.rows, row{spans: spans, indent: 2})
	return &d.rows[len(d.rows)-1]
}

func (d *doc) blank() {
	if n := len(d.rows); n > 0 && len(d.rows[n-1].spans) > 0 {
		d.rows = append(d.rows, row{})
	}
}

func (d *doc) head(title string) {
	d.blank()
	d.add(span{title, d.th.title})
}

// named adds a line of a name and its value; an empty value is not shown.
func (d *doc) named(name, value string) {
	if value == "" {
		return
	}
	value = clean(value)
	r := d.add(span{"  " + pad(name, 10, d.g.ellipsis) + " ", d.th.dim}, span{value, 0})
	r.indent, r.copy = 13, value
}

func (d *doc) command(cmd string) {
	cmd = clean(cmd)
	r := d.add(span{"  $ ", d.th.dim}, span{cmd, d.th.cmd})
	r.indent, r.copy, r.cmd = 6, cmd, cmd
}

func (d *doc) none(text string) {
	d.add(span{"  " + text, d.th.dim})
}

// docArgs is all that a tab's document depends on.
type docArgs struct {
	p      *prepared
	hop    int
	choice map[string]string
	path   []int
	place  int // of the hop in path
	change *change
	since  string // when the change is against: "14:02:31Z (#11)"
	json   bool   // configuration as JSON
	g      *glyphs
	th     *theme
}

func build(t tab, a docArgs) []row {
	d := &doc{g: a.g, th: a.th}
	h := &a.p.r.Hops[a.hop]
	switch t {
	case tabSummary:
		d.summary(a, h)
	case tabEvidence:
		d.evidence(a, h)
	case tabConfig:
		d.config(a, h)
	case tabAlternatives:
		d.alternatives(a, h)
	case tabLogs, tabCount:
	}
	return d.rows
}

func (d *doc) summary(a docArgs, h *trace.Hop) {
	subject := h.Subject.Kind
	if h.Subject.Namespace != "" {
		subject += " " + h.Subject.Namespace + "/" + h.Subject.Name
	} else if h.Subject.Name != "" {
		subject += " " + h.Subject.Name
	}
	subject = clean(subject)
	r := d.add(span{d.g.state[h.State] + " " + word(h.State), d.th.state(h.State)}, span{"  " + subject, d.th.accent})
	r.copy = subject
	if h.Summary != "" {
		d.add(span{clean(h.Summary), d.th.title}).indent = 0
	}
	if h.Why != "" && h.Why != h.Summary {
		d.add(span{"Why  ", d.th.dim}, span{clean(h.Why), 0}).indent = 5
	}
	if c := a.change; c != nil {
		if c.fresh {
			d.add(span{d.g.changed + " new since " + a.since, d.th.warn})
		} else {
			d.add(span{d.g.changed + " was " + word(c.state) + " at " + a.since, d.th.warn})
			if c.summary != h.Summary {
				d.add(span{"  " + clean(c.summary), d.th.dim})
			}
		}
	}
	if basis := basisText(h); basis != "" {
		d.add(span{"Basis  ", d.th.dim}, span{basis, 0}).indent = 7
	}

	for _, i := range a.p.findings[h.ID] {
		d.finding(a, &a.p.r.Findings[i])
	}

	if len(h.Checks) > 0 {
		d.head("Checks")
		w := 0
		for _, c := range h.Checks {
			w = max(w, min(width(clean(c.Name)), 44))
		}
		for _, c := range h.Checks {
			value := clean(c.Value)
			r := d.add(span{"  " + d.g.state[c.State] + " ", d.th.state(c.State)}, span{pad(clean(c.Name), w, d.g.ellipsis), 0},
				span{"  " + value, d.th.dim})
			r.indent, r.copy = w+6, value
		}
	}

	if h.In != nil || h.Out != nil {
		switch {
		case h.Out == nil:
			d.head("Flow in")
		case h.In == nil:
			d.head("Flow out")
		default:
			d.head("Flow")
		}
		d.flows(h.In, h.Out)
	}
	d.detail(h)
	if len(h.Branches) > 1 {
		d.head(fmt.Sprintf("Ways on  (%d; b to choose)", len(h.Branches)))
		d.branches(a, h, 5)
	}
	var cmds []string
	for _, e := range h.Evidence {
		if e.Command != "" && !slices.Contains(cmds, e.Command) {
			cmds = append(cmds, e.Command)
		}
	}
	if len(cmds) > 0 {
		d.head("See for yourself")
		for _, c := range cmds {
			d.command(c)
		}
	}
}

func basisText(h *trace.Hop) string {
	var bases []string
	newest := ""
	for _, e := range h.Evidence {
		if b := clean(string(e.Basis)); b != "" && !slices.Contains(bases, b) {
			bases = append(bases, b)
		}
		newest = max(newest, e.At)
	}
	if len(bases) == 0 {
		return ""
	}
	out := strings.Join(bases, ", ")
	if newest != "" {
		out += " (" + shortTime(clean(newest)) + ")"
	}
	return out
}

// shortTime shortens an RFC 3339 time to seconds.
func shortTime(at string) string {
	if len(at) > 20 && at[10] == 'T' && at[19] == '.' {
		return at[:19] + "Z"
	}
	return at
}

func severityState(s trace.Severity) trace.State {
	switch s {
	case trace.SeverityError:
		return trace.Fail
	case trace.SeverityWarning:
		return trace.Warn
	case trace.SeverityInfo:
		return trace.Skipped
	}
	return trace.Unknown
}

func (d *doc) finding(a docArgs, f *trace.Finding) {
	d.blank()
	st := severityState(f.Severity)
	d.add(span{d.g.state[st] + " " + clean(f.Code), d.th.state(st)}, span{"  " + clean(f.Title), d.th.title},
		span{"  " + clean(string(f.Severity)), d.th.dim})
	if f.Detail != "" {
		for _, line := range lines(f.Detail, 40) {
			d.add(span{"  " + line, 0})
		}
	}
	if len(f.CauseOf) > 0 {
		d.add(span{"  cause of ", d.th.dim}, span{clean(strings.Join(f.CauseOf, ", ")), 0})
	}
	for _, fix := range f.Fix {
		d.fix(fix)
	}
}

// commands begin with one of the tools a fix is written for; other fixes are
// sentences.
var commands = []string{"kubectl", "istioctl", "iptables", "ip", "ipset", "conntrack", "curl", "dig", "helm", "systemctl", "sysctl", "crictl", "nft", "openssl", "echo", "ss"}

func isCommand(s string) bool {
	first, _, _ := strings.Cut(s, " ")
	return slices.Contains(commands, first)
}

func (d *doc) fix(fix string) {
	if isCommand(fix) {
		d.command(fix)
		return
	}
	r := d.add(span{"  " + d.g.arrow + " ", d.th.dim}, span{clean(fix), 0})
	r.indent, r.copy = 5, clean(fix)
}

// lines splits a text of the cluster into safe lines, at most limit of them.
func lines(s string, limit int) []string {
	all := strings.Split(sanitize.Text(sanitize.Cut(s, 64<<10)), "\n")
	for len(all) > 1 && all[len(all)-1] == "" {
		all = all[:len(all)-1]
	}
	if len(all) > limit {
		n := len(all) - limit
		all = append(all[:limit:limit], fmt.Sprintf("(%d lines more)", n))
	}
	for i, l := range all {
		if len(l) > 8<<10 {
			all[i] = sanitize.Cut(l, 8<<10)
		}
	}
	return all
}

type flowField struct{ name, in, out string }

func flowFields(in, out *trace.Flow) []flowField {
	get := func(f *trace.Flow, g func(*trace.Flow) string) string {
		if f == nil {
			return ""
		}
		return g(f)
	}
	var list []flowField
	add := func(name string, g func(*trace.Flow) string) {
		if a, b := get(in, g), get(out, g); a != "" || b != "" {
			list = append(list, flowField{name, clean(a), clean(b)})
		}
	}
	add("at", func(f *trace.Flow) string { return f.At })
	add("from", func(f *trace.Flow) string { return f.Src })
	add("to", func(f *trace.Flow) string { return f.Dst })
	add("proto", func(f *trace.Flow) string { return strings.Join(nonEmpty(f.Proto, f.App, f.HTTPVersion), " ") })
	add("mark", func(f *trace.Flow) string { return f.Mark })
	add("tls", func(f *trace.Flow) string { return f.TLS })
	add("sni", func(f *trace.Flow) string { return f.SNI })
	add("alpn", func(f *trace.Flow) string { return strings.Join(f.ALPN, ",") })
	add("request", func(f *trace.Flow) string { return strings.Join(nonEmpty(f.Method, f.Path), " ") })
	add("authority", func(f *trace.Flow) string { return f.Authority })
	add("headers", func(f *trace.Flow) string {
		var hs []string
		for _, h := range f.Headers {
			hs = append(hs, h.Name+": "+h.Value)
		}
		return strings.Join(hs, "; ")
	})
	return list
}

func nonEmpty(ss ...string) []string {
	return slices.DeleteFunc(ss, func(s string) bool { return s == "" })
}

func (d *doc) flows(in, out *trace.Flow) {
	for _, f := range flowFields(in, out) {
		name := span{"  " + pad(f.name, 10, d.g.ellipsis) + " ", d.th.dim}
		var r *row
		switch {
		case out == nil:
			r = d.add(name, span{f.in, 0})
			r.copy = f.in
		case in == nil:
			r = d.add(name, span{f.out, 0})
			r.copy = f.out
		case f.in == f.out:
			r = d.add(name, span{f.in, 0})
			r.copy = f.in
		default:
			r = d.add(name, span{orUnset(f.in), 0}, span{" " + d.g.arrow + " ", d.th.title}, span{orUnset(f.out), d.th.title}, span{"  changed", d.th.dim})
			r.copy = f.out
		}
		r.indent = 13
	}
}

func (d *doc) detail(h *trace.Hop) {
	x := &h.Detail
	start := len(d.rows)
	d.head("Found")
	body := len(d.rows)
	d.named("answers", strings.Join(x.Answers, " "+d.g.arrow+" "))
	d.named("service", x.Service)
	d.named("dnat", strings.Join(x.DNAT, ", "))
	d.named("snat", x.SNAT)
	if x.Masquerade != nil {
		d.named("masquerade", strconv.FormatBool(*x.Masquerade))
	}
	d.named("redirect", x.Redirect)
	d.named("pod", x.Pod)
	d.named("role", x.Role)
	d.named("name", x.Name)
	d.named("address", x.Address)
	d.named("routes", x.RouteConfig)
	d.named("vhost", x.VirtualHost)
	d.named("route", x.Route)
	d.named("match", x.Match)
	d.named("rewrite", x.Rewrite)
	d.named("authority", x.Authority)
	for _, w := range x.Weighted {
		d.named("weight", strconv.FormatUint(uint64(w.Weight), 10)+"  "+w.Name)
	}
	if x.Response != nil {
		d.named("response", strings.Join(nonEmpty(strconv.Itoa(x.Response.Status), x.Response.Location, x.Response.Body), " "))
	}
	d.named("cluster", x.Cluster)
	d.named("type", x.Type)
	if x.MTLS != nil {
		d.named("mtls", strconv.FormatBool(*x.MTLS))
	}
	d.named("health", x.Health)
	d.named("owner", strings.Join(x.Owner, ", "))
	d.named("flags", x.Flags)
	d.named("details", x.Code)
	for _, s := range x.Sockets {
		d.named("listens", s)
	}
	for i, s := range x.Hosts {
		if i == 12 {
			d.named("serves", fmt.Sprintf("(%d more)", len(x.Hosts)-i))
			break
		}
		d.named("serves", s)
	}
	if len(d.rows) == body {
		d.rows = d.rows[:start]
	}
	if len(x.Endpoints) > 0 {
		d.head(fmt.Sprintf("Endpoints  (%d)", len(x.Endpoints)))
		for i, e := range x.Endpoints {
			if i == 50 {
				d.none(fmt.Sprintf("%d more: e exports all", len(x.Endpoints)-i))
				break
			}
			d.endpoint(e)
		}
	}
	if len(x.Rules) > 0 {
		d.head(fmt.Sprintf("Rules the packet matched  (%d)", len(x.Rules)))
		last := ""
		for i, s := range x.Rules {
			if i == 200 {
				d.none(fmt.Sprintf("%d more: e exports all", len(x.Rules)-i))
				break
			}
			if at := strings.Join(nonEmpty(s.Hook, s.Table), " "); at != last {
				last = at
				d.add(span{"  " + clean(at), d.th.dim})
			}
			at := clean(s.Chain) + " " + strconv.Itoa(s.Rule)
			if s.Rule == 0 {
				at = clean(s.Chain) + " policy"
			}
			r := d.add(span{"    " + at + " ", d.th.accent}, span{d.g.arrow + " " + clean(s.Action), 0})
			r.copy, r.indent = clean(s.Text), 6
			if s.Note != "" {
				r.spans = append(r.spans, span{"  " + clean(s.Note), d.th.dim})
			}
			r = d.add(span{"      " + clean(s.Text), d.th.dim})
			r.copy, r.indent = clean(s.Text), 8
		}
	}
}

// healthState turns the word Envoy or the trace uses into a state.
func healthState(h string) trace.State {
	switch strings.ToLower(h) {
	case "healthy", "ready", "ok":
		return trace.OK
	case "degraded", "draining":
		return trace.Warn
	case "unhealthy", "timeout", "not ready", "failed", "notready":
		return trace.Fail
	}
	return trace.Unknown
}

func (d *doc) endpoint(e trace.Endpoint) {
	st := healthState(e.Health)
	r := d.add(span{"  " + d.g.state[st] + " ", d.th.state(st)}, span{clean(e.Address), 0},
		span{"  " + strings.Join(nonEmpty(clean(e.Health), weightText(e.Weight), clean(e.Pod)), d.g.sep), d.th.dim})
	r.copy = clean(e.Address)
}

func weightText(w uint32) string {
	if w <= 1 {
		return ""
	}
	return fmt.Sprintf("weight %d", w)
}

func (d *doc) evidence(a docArgs, h *trace.Hop) {
	for i, e := range h.Evidence {
		if i > 0 {
			d.blank()
		}
		d.proof(e, "", "")
	}
	others := a.p.elsewhere(a.hop)
	if len(others) > 0 {
		d.head("The finding also rests on what another hop shows")
	}
	for i, at := range others {
		if i > 0 {
			d.blank()
		}
		from := &a.p.r.Hops[at.hop]
		d.proof(from.Evidence[at.n], a.called(at.hop), from.ID)
	}
	if len(d.rows) > 0 {
		return
	}
	if !d.unread(a, h) {
		d.none("no evidence of its own: this hop follows from the hops before it")
	}
}

// proof adds one piece of evidence; of is the hop it stands at, where that is
// another one.
func (d *doc) proof(e trace.Evidence, of, jump string) {
	at := "time not known"
	if e.At != "" {
		at = shortTime(clean(e.At))
	}
	r := d.add(span{clean(e.ID) + " ", d.th.dim}, span{clean(string(e.Basis)), d.th.title}, span{d.g.sep + clean(e.Source), d.th.accent}, span{d.g.sep + at, d.th.dim})
	if of != "" {
		r.spans = append(r.spans, span{d.g.sep + of, d.th.dim})
	}
	r.copy, r.jump = clean(e.Source), jump
	if e.Command != "" {
		d.command(e.Command)
	}
	d.excerpt(e)
}

// unread adds what could not be read for the hop, and says whether there is any.
func (d *doc) unread(a docArgs, h *trace.Hop) bool {
	list := a.p.unread(h)
	for _, n := range list {
		d.add(span{"  " + d.g.state[trace.Unknown] + " ", d.th.unk}, span{"not read: " + clean(n.What), 0}).copy = clean(n.What)
		d.add(span{"    " + clean(n.Why), d.th.dim}).indent = 4
		if n.Command != "" {
			d.command(n.Command)
		}
	}
	return len(list) > 0
}

// called is hop i by its number on the path, and its name.
func (a docArgs) called(i int) string {
	h := &a.p.r.Hops[i]
	name := kindName(h.Kind) + " " + hopName(h)
	if k := slices.Index(a.path, i); k >= 0 {
		return fmt.Sprintf("hop %d %s", k+1, name)
	}
	return name
}

// excerpt adds the raw lines, the matching part marked in the gutter and in the
// text.
func (d *doc) excerpt(e trace.Evidence) {
	var match []string
	if e.Match != "" {
		for _, m := range lines(e.Match, 500) {
			if m != "" {
				match = append(match, m)
			}
		}
	}
	if e.Excerpt == "" {
		d.none("(empty)")
		return
	}
	for _, line := range lines(e.Excerpt, 2000) {
		at, n := -1, 0
		for _, m := range match {
			if i := strings.Index(line, m); i >= 0 && len(m) > n {
				at, n = i, len(m)
			}
		}
		var r *row
		if at >= 0 {
			r = d.add(span{d.g.match + " ", d.th.warn}, span{line[:at], 0}, span{line[at : at+n], d.th.proof}, span{line[at+n:], 0})
			r.proof = true
		} else {
			r = d.add(span{"  ", 0}, span{line, 0})
		}
		r.copy, r.indent = line, 4
	}
}

func (d *doc) config(a docArgs, h *trace.Hop) {
	if len(h.Config) == 0 {
		if d.unread(a, h) {
			return
		}
		d.none("no configuration object is this hop's own")
		d.nearestConfig(a)
		return
	}
	limit := maxConfigLines / len(h.Config)
	for i, c := range h.Config {
		if i > 0 {
			d.blank()
		}
		r := d.add(span{clean(c.Kind) + " ", d.th.title}, span{clean(c.Name), d.th.accent})
		r.copy = clean(c.Name)
		if c.Source != "" {
			d.add(span{"# " + clean(c.Source), d.th.dim})
		}
		var text []string
		if a.json {
			text = jsonLines(c.Object, limit)
		} else {
			text = yamlLines(c.Object, limit)
		}
		for _, line := range text {
			line = clean(line)
			ind := len(line) - len(strings.TrimLeft(line, " -"))
			r := d.add(keyed(line, d.th)...)
			r.indent, r.copy = ind+2, strings.TrimSpace(line)
		}
	}
}

// nearestConfig names the hop to go to for configuration: the nearest before,
// else the nearest behind, that has some.
func (d *doc) nearestConfig(a docArgs) {
	at := -1
	for k, i := range a.path {
		if len(a.p.r.Hops[i].Config) > 0 && (k < a.place || at < 0) {
			at = i
		}
	}
	if at < 0 {
		return
	}
	near := &a.p.r.Hops[at]
	d.blank()
	d.add(span{"  nearest: ", d.th.dim}, span{a.called(at), d.th.title}, span{"  Enter goes there", d.th.dim}).jump = near.ID
	for _, c := range near.Config {
		r := d.add(span{"    " + d.g.arrow + " " + clean(c.Kind) + " ", d.th.dim}, span{clean(c.Name), d.th.accent})
		r.jump, r.indent = near.ID, 6
	}
}

// keyed gives the key of a line its own style.
func keyed(line string, th *theme) []span {
	i := strings.Index(line, ": ")
	if i < 0 && strings.HasSuffix(line, ":") {
		i = len(line) - 1
	}
	if i < 0 || strings.ContainsAny(line[:i], "#{[,") {
		return []span{{line, 0}}
	}
	return []span{{line[:i+1], th.accent}, {line[i+1:], 0}}
}

// branches lists the ways on from the hop of a; limit bounds them, 0 is all.
func (d *doc) branches(a docArgs, h *trace.Hop, limit int) {
	taken := a.p.taken(a.path, a.place, a.choice)
	w := 0
	for _, b := range h.Branches {
		w = max(w, min(60, width(clean(b.Label))))
	}
	for i, b := range h.Branches {
		if limit > 0 && i == limit {
			d.none(fmt.Sprintf("%d more", len(h.Branches)-i))
			break
		}
		mark := "  "
		if i == taken {
			mark = d.g.cursor + " "
		}
		r := d.add(span{"  " + mark, d.th.title}, span{fmt.Sprintf("%5s  ", percent(b.Probability)), 0},
			span{d.g.state[b.State] + " " + pad(word(b.State), 7, d.g.ellipsis) + "  ", d.th.state(b.State)},
			span{clean(b.Label), d.th.accent})
		if b.To == "" {
			r.spans = append(r.spans, span{"  ends here", d.th.dim})
		} else if j, ok := a.p.index[b.To]; ok {
			to := &a.p.r.Hops[j]
			if name := hopName(to); name != clean(b.Label) {
				r.spans = append(r.spans, span{"  " + d.g.arrow + " " + kindName(to.Kind) + " " + name, d.th.dim})
			}
		}
		if i == taken {
			r.spans = append(r.spans, span{"  shown", d.th.dim})
		}
		r.branch, r.copy, r.indent = b.Label, clean(b.Label), 20
	}
}

func (d *doc) alternatives(a docArgs, h *trace.Hop) {
	if len(h.Branches) > 0 {
		d.head(fmt.Sprintf("Ways on  (%d)", len(h.Branches)))
		d.branches(a, h, 0)
	}
	if len(h.Detail.Weighted) > 0 {
		d.head("Weights")
		var sum uint64
		for _, w := range h.Detail.Weighted {
			sum += uint64(w.Weight)
		}
		for _, w := range h.Detail.Weighted {
			share := "-"
			if sum > 0 {
				share = percent(float64(w.Weight) / float64(sum))
			}
			r := d.add(span{fmt.Sprintf("  %5s  ", share), 0}, span{clean(w.Name), d.th.accent})
			r.copy, r.indent = clean(w.Name), 9
		}
	}
	if len(h.Detail.Endpoints) > 0 {
		d.head(fmt.Sprintf("Endpoints  (%d)", len(h.Detail.Endpoints)))
		for i, e := range h.Detail.Endpoints {
			if i == 2000 {
				d.none(fmt.Sprintf("%d more: e exports all", len(h.Detail.Endpoints)-i))
				break
			}
			d.endpoint(e)
		}
	}
	if len(h.Detail.NearMisses) > 0 {
		d.head(fmt.Sprintf("Near misses  (%d)", len(h.Detail.NearMisses)))
		for _, n := range h.Detail.NearMisses {
			name := clean(n.Name)
			r := d.add(span{"  " + d.g.state[trace.Skipped] + " ", d.th.dim}, span{clean(n.Kind) + " ", d.th.dim}, span{name, d.th.accent})
			r.copy = name
			r = d.add(span{"      " + clean(n.Why), 0})
			r.indent, r.copy = 6, clean(n.Why)
		}
	}
	if len(d.rows) == 0 {
		d.none("no other way: one branch, no near miss")
	}
}

// wrapRows breaks rows to a width; without wrapping they only learn their place.
func wrapRows(rows []row, w int, on bool) []row {
	out := make([]row, 0, len(rows))
	for i, r := range rows {
		r.src = i
		if !on || r.nowrap {
			out = append(out, r)
			continue
		}
		for k, ss := range wrap(r.spans, w, r.indent) {
			x := r
			x.spans = ss
			if k > 0 && x.proof {
				// The gutter goes down the whole of a wrapped line.
				x.spans = append([]span{r.spans[0]}, trimIndent(ss, width(r.spans[0].s))...)
			}
			out = append(out, x)
		}
	}
	return out
}

func trimIndent(ss []span, n int) []span {
	if len(ss) == 0 || len(ss[0].s) < n {
		return ss
	}
	out := slices.Clone(ss)
	out[0].s = out[0].s[n:]
	return out
}
