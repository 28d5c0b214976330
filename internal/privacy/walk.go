package privacy

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/trace"
)

// walker applies text to every free text of a report and makes a copy; what it
// is given is never changed.
type walker struct {
	text   func(string) string
	header func(trace.Header) string
	// field says whether the value of an access log field goes, and what stands
	// in its place.
	field func(name, value string) (string, bool)
	// logs masks, in raw lines of an access log, what may be the value of a header
	// although no format tells: what stands in quotes, what a JSON line has under
	// keys of its own.
	logs bool
}

func (w walker) report(r *trace.Report) *trace.Report {
	out := *r
	out.Target = walkTarget(r.Target, w.text, w.header)
	out.Summary = w.text(r.Summary)
	out.Hops = mapped(r.Hops, w.hop)
	out.Findings = mapped(r.Findings, func(f trace.Finding) trace.Finding {
		f.Title, f.Detail = w.text(f.Title), w.text(f.Detail)
		f.Fix = mapped(f.Fix, w.text)
		return f
	})
	out.Collected.Read = mapped(r.Collected.Read, func(x trace.Read) trace.Read {
		x.What = w.text(x.What)
		return x
	})
	out.Collected.NotRead = mapped(r.Collected.NotRead, func(x trace.NotRead) trace.NotRead {
		x.What, x.Why, x.Command = w.text(x.What), w.text(x.Why), w.text(x.Command)
		return x
	})
	return &out
}

func (w walker) hop(h trace.Hop) trace.Hop {
	h.Subject.Kind, h.Subject.Namespace, h.Subject.Name = w.text(h.Subject.Kind), w.text(h.Subject.Namespace), w.text(h.Subject.Name)
	h.Summary, h.Why = w.text(h.Summary), w.text(h.Why)
	h.In, h.Out = w.flow(h.In), w.flow(h.Out)
	h.Detail = w.detail(h.Detail)
	h.Checks = mapped(h.Checks, func(c trace.Check) trace.Check {
		c.Name, c.Value = w.text(c.Name), w.text(c.Value)
		return c
	})
	var lines map[string]trace.LogLine // of the log, by what they say
	h.Evidence = mapped(h.Evidence, func(e trace.Evidence) trace.Evidence {
		if w.logs && strings.HasSuffix(e.Source, "access.log") {
			if lines == nil {
				lines = make(map[string]trace.LogLine, len(h.Logs))
				for _, l := range h.Logs {
					lines[l.Raw] = l
				}
			}
			all := strings.Split(e.Excerpt, "\n")
			for i, raw := range all {
				l, ok := lines[raw]
				if !ok {
					l = trace.LogLine{Raw: raw}
				}
				all[i] = w.line(l).Raw
			}
			e.Excerpt = strings.Join(all, "\n")
			if e.Match = w.text(e.Match); !strings.Contains(e.Excerpt, e.Match) {
				e.Match = ""
			}
		} else {
			e.Excerpt, e.Match = w.text(e.Excerpt), w.text(e.Match)
		}
		e.Source, e.Command = w.text(e.Source), w.text(e.Command)
		return e
	})
	h.Config = mapped(h.Config, func(c trace.ConfigObject) trace.ConfigObject {
		c.Kind, c.Name, c.Source = w.text(c.Kind), w.text(c.Name), w.text(c.Source)
		c.Object = maskJSON(c.Object, w.text)
		return c
	})
	h.Logs = mapped(h.Logs, w.line)
	h.Branches = mapped(h.Branches, func(b trace.Branch) trace.Branch {
		b.Label = w.text(b.Label)
		return b
	})
	return h
}

func (w walker) detail(d trace.Detail) trace.Detail {
	d.Answers = mapped(d.Answers, w.text)
	d.Service = w.text(d.Service)
	d.DNAT = mapped(d.DNAT, w.text)
	d.SNAT = w.text(d.SNAT)
	d.Rules = mapped(d.Rules, func(s trace.RuleStep) trace.RuleStep {
		s.Chain, s.Text, s.Action, s.Note = w.text(s.Chain), w.text(s.Text), w.text(s.Action), w.text(s.Note)
		return s
	})
	d.Redirect, d.Pod, d.Role = w.text(d.Redirect), w.text(d.Pod), w.text(d.Role)
	d.Name, d.Address = w.text(d.Name), w.text(d.Address)
	d.RouteConfig, d.VirtualHost, d.Route = w.text(d.RouteConfig), w.text(d.VirtualHost), w.text(d.Route)
	d.Match, d.Rewrite, d.Authority = w.text(d.Match), w.text(d.Rewrite), w.text(d.Authority)
	d.Weighted = mapped(d.Weighted, func(x trace.WeightedCluster) trace.WeightedCluster {
		x.Name = w.text(x.Name)
		return x
	})
	d.Hosts = mapped(d.Hosts, w.text)
	if d.Response != nil {
		r := *d.Response
		r.Location, r.Body = w.text(r.Location), w.text(r.Body)
		d.Response = &r
	}
	d.Cluster = w.text(d.Cluster)
	d.Type = w.text(d.Type)
	d.Endpoints = mapped(d.Endpoints, func(e trace.Endpoint) trace.Endpoint {
		e.Address, e.Health, e.Pod = w.text(e.Address), w.text(e.Health), w.text(e.Pod)
		return e
	})
	d.Health = w.text(d.Health)
	d.Owner = mapped(d.Owner, w.text)
	d.Flags, d.Code = w.text(d.Flags), w.text(d.Code)
	d.NearMisses = mapped(d.NearMisses, func(n trace.NearMiss) trace.NearMiss {
		n.Kind, n.Name, n.Why = w.text(n.Kind), w.text(n.Name), w.text(n.Why)
		return n
	})
	d.Sockets = mapped(d.Sockets, w.text)
	return d
}

func (w walker) flow(f *trace.Flow) *trace.Flow {
	if f == nil {
		return nil
	}
	out := *f
	out.Src, out.Dst, out.At = w.text(f.Src), w.text(f.Dst), w.text(f.At)
	out.Proto, out.Mark, out.App, out.TLS = w.text(f.Proto), w.text(f.Mark), w.text(f.App), w.text(f.TLS)
	out.HTTPVersion, out.Method, out.Scheme = w.text(f.HTTPVersion), w.text(f.Method), w.text(f.Scheme)
	out.ALPN = mapped(f.ALPN, w.text)
	out.SNI, out.Authority, out.Path = w.text(f.SNI), w.text(f.Authority), w.text(f.Path)
	out.Headers = walkHeaders(f.Headers, w.header)
	return &out
}

func (w walker) line(l trace.LogLine) trace.LogLine {
	var gone []string // values that go, longest first: one may hold another
	for name, value := range l.Fields {
		if _, yes := w.field(name, value); yes && len(value) >= 2 {
			gone = append(gone, value)
		}
	}
	if w.logs {
		gone = append(gone, quotedValues(l, w.field)...)
	}
	slices.SortFunc(gone, longestFirst)
	raw := l.Raw
	if w.logs && strings.HasPrefix(strings.TrimSpace(raw), "{") {
		raw = w.jsonLine(raw)
	}
	for _, value := range gone {
		switch {
		case len(value) >= 6 || strings.Trim(value, "0123456789.,:") != "" && len(value) >= 4:
			raw = strings.ReplaceAll(raw, value, Masked)
		case strings.Trim(value, "0123456789.,:") != "" && !ordinary[strings.ToLower(value)]:
			raw = standing(raw, map[byte][]string{value[0]: {value}}, map[string]string{value: Masked})
		}
	}
	l.Raw = w.text(raw) // before the fields: stand-ins are numbered as one reads them
	var fields map[string]string
	for _, name := range slices.Sorted(maps.Keys(l.Fields)) {
		value := l.Fields[name]
		stand, yes := w.field(name, value)
		if !yes {
			stand = w.text(value)
		}
		if stand == value {
			continue
		}
		if fields == nil {
			fields = maps.Clone(l.Fields)
		}
		fields[name] = stand
	}
	if fields != nil {
		l.Fields = fields
	}
	l.Flags = mapped(l.Flags, w.text)
	l.Because = w.text(l.Because)
	return l
}

// jsonLine masks the members of a JSON line whose values may be a header's. A
// line that looks like JSON and is none loses all that it has in quotes.
func (w walker) jsonLine(raw string) string {
	if json.Valid([]byte(raw)) {
		out, changed := maskMembers(json.RawMessage(raw), func(s string) string { return s }, w.field)
		if !changed {
			return raw
		}
		return string(out)
	}
	parts := strings.Split(raw, `"`)
	for i := 1; i < len(parts); i += 2 {
		if rest := parts[min(i+1, len(parts)-1)]; !strings.HasPrefix(strings.TrimSpace(rest), ":") {
			parts[i] = Masked
		}
	}
	return strings.Join(parts, `"`)
}

// quotedValues returns what stands in quotes in a line of text, but for the
// request line and what a field that is no header's has.
func quotedValues(l trace.LogLine, header func(name, value string) (string, bool)) []string {
	if strings.HasPrefix(strings.TrimSpace(l.Raw), "{") {
		return nil // JSON: every string is in quotes
	}
	var out []string
	for i, part := range strings.Split(l.Raw, `"`) {
		if i%2 == 0 || len(part) < 4 || strings.Contains(part, " HTTP/") {
			continue
		}
		_, err1 := netip.ParseAddrPort(part)
		_, err2 := netip.ParseAddr(part)
		keep := err1 == nil || err2 == nil || hostShaped(part) // these get names of their own
		for name, value := range l.Fields {
			if _, gone := header(name, value); value == part && !gone {
				keep = true
			}
		}
		if !keep {
			out = append(out, part)
		}
	}
	return out
}

func walkTarget(t trace.Target, text func(string) string, header func(trace.Header) string) trace.Target {
	t.Raw, t.Host, t.Path = text(t.Raw), text(t.Host), text(t.Path)
	t.Scheme, t.From, t.Method, t.HTTPVersion = text(t.Scheme), text(t.From), text(t.Method), text(t.HTTPVersion)
	t.SNI, t.SourceIP = text(t.SNI), text(t.SourceIP)
	t.Headers = walkHeaders(t.Headers, header)
	if len(t.Resolve) > 0 {
		out := make(map[string]string, len(t.Resolve))
		for k, v := range t.Resolve {
			out[text(k)] = text(v)
		}
		t.Resolve = out
	}
	return t
}

// walkHeaders masks values only: the host among them has a stand-in of its own
// in the authority.
func walkHeaders(hs []trace.Header, header func(trace.Header) string) []trace.Header {
	return mapped(hs, func(h trace.Header) trace.Header {
		h.Value = header(h)
		return h
	})
}

func mapped[T any](in []T, f func(T) T) []T {
	out := slices.Clone(in)
	for i := range out {
		out[i] = f(out[i])
	}
	return out
}
