package tui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hoptrail/hoptrail/internal/privacy"
	"github.com/hoptrail/hoptrail/internal/sanitize"
	"github.com/hoptrail/hoptrail/trace"
)

// maxRuns bounds the ring of runs that can be stepped through.
const maxRuns = 32

// run is one question and what came of it.
type run struct {
	n         int // from 1
	at        time.Time
	took      time.Duration
	target    trace.Target
	raw       *trace.Report // as the session returned it; nil when there is none
	err       error
	cancelled bool
	view      *prepared // raw as it may be shown; nil until prepared
}

// prepared is a report made ready for drawing: masked, indexed, its access log
// lines merged. It is made off the UI's goroutine and never changes.
type prepared struct {
	masked   bool
	r        *trace.Report
	index    map[string]int   // hop id to place in r.Hops
	keys     []string         // by hop: what it is called in every run
	byKey    map[string]int   //
	byProxy  map[string]int   // namespace/name of a Pod to its first hop
	findings map[string][]int // hop id to places in r.Findings
	cited    map[string]place // evidence id to where it stands
	logs     []logRow         // of all hops, by time
	best     int              // the path shown first, or -1
	number   []int            // by hop: which one it is on the first path that has it; 0 for none
}

// place is where a piece of evidence stands.
type place struct{ hop, n int }

// prepare indexes r for drawing, masked or at least without credentials.
func prepare(r *trace.Report, mask *privacy.Masker) *prepared {
	p := &prepared{masked: mask != nil, best: -1}
	if mask != nil {
		p.r = mask.Report(r)
	} else {
		p.r = privacy.Secrets(r)
	}
	p.index = make(map[string]int, len(p.r.Hops))
	p.byKey = make(map[string]int, len(p.r.Hops))
	p.byProxy = map[string]int{}
	p.findings = map[string][]int{}
	p.keys = make([]string, len(p.r.Hops))
	for i := range p.r.Hops {
		p.add(i)
	}
	for i, f := range p.r.Findings {
		p.findings[f.Hop] = append(p.findings[f.Hop], i)
	}
	p.cited = map[string]place{}
	for i := range p.r.Hops {
		h := &p.r.Hops[i]
		for n, e := range h.Evidence {
			p.cited[e.ID] = place{i, n}
		}
		proxy := h.Detail.Pod
		if proxy == "" {
			proxy = h.Subject.String()
		}
		for j := range h.Logs {
			p.logs = append(p.logs, newLogRow(&h.Logs[j], i, proxy))
		}
	}
	slices.SortStableFunc(p.logs, func(a, b logRow) int { return compareTime(a.at, b.at) })
	p.number = make([]int, len(p.r.Hops))
	for i, path := range p.r.Paths {
		if len(path.Hops) == 0 {
			continue
		}
		for k, id := range path.Hops {
			if at, ok := p.index[id]; ok && p.number[at] == 0 {
				p.number[at] = k + 1
			}
		}
		if p.best < 0 || worse(path, p.r.Paths[p.best]) {
			p.best = i
		}
	}
	return p
}

// add indexes hop i of r.
func (p *prepared) add(i int) {
	h := &p.r.Hops[i]
	p.index[h.ID] = i
	key := string(h.Kind) + " " + h.Subject.String() + " " + h.Detail.Name + h.Detail.Cluster + h.Detail.Address
	for n := 2; ; n++ {
		if _, taken := p.byKey[key]; !taken {
			break
		}
		key = fmt.Sprintf("%s %s #%d", h.Kind, h.Subject, n)
	}
	p.byKey[key] = i
	p.keys[i] = key
	if name := h.Subject.Namespace + "/" + h.Subject.Name; strings.EqualFold(h.Subject.Kind, "pod") {
		if _, ok := p.byProxy[name]; !ok {
			p.byProxy[name] = i
		}
	}
}

// elsewhere is the evidence of other hops that the findings at hop i rest on.
func (p *prepared) elsewhere(i int) []place {
	var out []place
	for _, f := range p.findings[p.r.Hops[i].ID] {
		for _, id := range p.r.Findings[f].Evidence {
			if at, ok := p.cited[id]; ok && at.hop != i && !slices.Contains(out, at) {
				out = append(out, at)
			}
		}
	}
	return out
}

// unread is what could not be read for a hop: what its words name.
func (p *prepared) unread(h *trace.Hop) []trace.NotRead {
	says := h.Summary + "\n" + h.Why
	for _, c := range h.Checks {
		says += "\n" + c.Name + "\n" + c.Value
	}
	var out []trace.NotRead
	for _, n := range p.r.Collected.NotRead {
		if n.What != "" && strings.Contains(says, n.What) {
			out = append(out, n)
		}
	}
	return out
}

// growing is what is shown of a trace under way: the hops told of so far.
func growing(t trace.Target) *prepared {
	return &prepared{
		r: &trace.Report{Target: t}, best: -1,
		index: map[string]int{}, byKey: map[string]int{}, byProxy: map[string]int{}, findings: map[string][]int{},
	}
}

// grow adds a hop, or replaces the one of the same id.
func (p *prepared) grow(h trace.Hop) {
	if i, ok := p.index[h.ID]; ok {
		p.r.Hops[i] = h
		return
	}
	p.r.Hops = append(p.r.Hops, h)
	p.keys, p.number = append(p.keys, ""), append(p.number, 0)
	p.add(len(p.r.Hops) - 1)
}

// worse says whether a is to be looked at before b: what fails before what is
// not known before what works, then the likelier one.
func worse(a, b trace.Path) bool {
	rank := func(v trace.Verdict) int {
		switch v {
		case trace.Unreachable:
			return 0
		case trace.Degraded:
			return 1
		case trace.Undetermined:
			return 2
		case trace.Reachable:
			return 3
		}
		return 2
	}
	if ra, rb := rank(a.Verdict), rank(b.Verdict); ra != rb {
		return ra < rb
	}
	return a.Probability > b.Probability
}

// follow returns the path through p as places in r.Hops, taking at every hop the
// branch chosen for it (by hop key, the label of the branch), else the way of the
// path to be looked at first.
func (p *prepared) follow(choice map[string]string) []int {
	if p.best < 0 {
		all := make([]int, len(p.r.Hops))
		for i := range all {
			all[i] = i
		}
		return all
	}
	var out []int
	seen := map[int]bool{}
	cands := make([]int, 0, len(p.r.Paths))
	for i, path := range p.r.Paths {
		if len(path.Hops) > 0 {
			cands = append(cands, i)
		}
	}
	for pos := 0; ; pos++ {
		id, ok := "", false
		if pos > 0 {
			prev := out[pos-1]
			if b, chosen := p.chosen(prev, choice); chosen {
				if id = b.To; id == "" {
					return out // the way ends here
				}
				ok = true
			}
		}
		if !ok {
			rep := -1
			for _, c := range cands {
				if len(p.r.Paths[c].Hops) > pos && (rep < 0 || c == p.best || rep != p.best && worse(p.r.Paths[c], p.r.Paths[rep])) {
					rep = c
				}
			}
			if rep < 0 {
				// No listed path goes on; the branches still may.
				if len(cands) > 0 || pos == 0 {
					return out
				}
				if id = p.likeliest(out[pos-1]); id == "" {
					return out
				}
			} else {
				id = p.r.Paths[rep].Hops[pos]
			}
		}
		i, known := p.index[id]
		if !known || seen[i] {
			return out
		}
		seen[i] = true
		out = append(out, i)
		cands = slices.DeleteFunc(cands, func(c int) bool {
			hops := p.r.Paths[c].Hops
			return len(hops) <= pos || hops[pos] != id
		})
	}
}

// chosen is the branch chosen at hop i.
func (p *prepared) chosen(i int, choice map[string]string) (trace.Branch, bool) {
	label, ok := choice[p.keys[i]]
	if !ok {
		return trace.Branch{}, false
	}
	for _, b := range p.r.Hops[i].Branches {
		if b.Label == label {
			return b, true
		}
	}
	return trace.Branch{}, false
}

func (p *prepared) likeliest(i int) string {
	id, prob := "", -1.0
	for _, b := range p.r.Hops[i].Branches {
		if b.Probability > prob {
			id, prob = b.To, b.Probability
		}
	}
	return id
}

// taken is the branch of hop path[k] that the path takes: the chosen one, else
// the first that leads to the next hop. -1 where none does.
func (p *prepared) taken(path []int, k int, choice map[string]string) int {
	h := &p.r.Hops[path[k]]
	if b, ok := p.chosen(path[k], choice); ok {
		return slices.IndexFunc(h.Branches, func(x trace.Branch) bool { return x.Label == b.Label })
	}
	if k+1 >= len(path) {
		return -1
	}
	to := p.r.Hops[path[k+1]].ID
	return slices.IndexFunc(h.Branches, func(x trace.Branch) bool { return x.To == to })
}

// problem says whether a hop is one to stop at.
func problem(h *trace.Hop) bool {
	switch h.State {
	case trace.Fail, trace.Warn, trace.Unknown:
		return true
	case trace.OK, trace.Skipped:
		return false
	}
	return true
}

// first is the place in path of the hop to look at first: the first that fails,
// else the first not known, else the first warned of, else the last.
func (p *prepared) first(path []int) int {
	for _, s := range []trace.State{trace.Fail, trace.Unknown, trace.Warn} {
		for k, i := range path {
			if st := p.r.Hops[i].State; st == s || s == trace.Unknown && st == "" {
				return k
			}
		}
	}
	return 0
}

// change is how a hop differs from the run before.
type change struct {
	fresh   bool // was not there
	state   trace.State
	summary string
}

// changes compares two runs by hop key. removed are the hops no longer there.
func changes(before, after *prepared) (out map[string]change, removed []string) {
	if before == nil || after == nil || before == after {
		return nil, nil
	}
	out = map[string]change{}
	for i, key := range after.keys {
		h := &after.r.Hops[i]
		j, ok := before.byKey[key]
		if !ok {
			out[key] = change{fresh: true}
			continue
		}
		if old := &before.r.Hops[j]; old.State != h.State || old.Summary != h.Summary {
			out[key] = change{state: old.State, summary: old.Summary}
		}
	}
	for i, key := range before.keys {
		if _, ok := after.byKey[key]; !ok {
			h := &before.r.Hops[i]
			removed = append(removed, kindName(h.Kind)+" "+hopName(h))
		}
	}
	return out, removed
}

// sameQuestion says whether two runs can be compared.
func sameQuestion(a, b trace.Target) bool {
	return a.Raw == b.Raw && a.From == b.From && a.Method == b.Method && a.SNI == b.SNI &&
		a.SourceIP == b.SourceIP && a.HTTPVersion == b.HTTPVersion && a.ClientCert == b.ClientCert && slices.Equal(a.Headers, b.Headers)
}

// clean makes a text of the cluster one safe line of bounded length.
func clean(s string) string { return sanitize.Line(sanitize.Cut(s, 8<<10)) }

// kindName is the short word for a kind of hop.
func kindName(k trace.HopKind) string {
	switch k {
	case trace.KindLoadBalancer:
		return "lb"
	case trace.KindFilterChain:
		return "chain"
	case trace.KindDNS, trace.KindService, trace.KindNode, trace.KindPod, trace.KindListener, trace.KindFilter,
		trace.KindRoute, trace.KindCluster, trace.KindEndpoint, trace.KindApp, trace.KindExternal:
		return string(k)
	}
	return clean(string(k))
}

// hopName is the one name a person would use for the hop.
func hopName(h *trace.Hop) string {
	d := &h.Detail
	name := ""
	switch h.Kind {
	case trace.KindListener, trace.KindFilterChain, trace.KindFilter:
		name = d.Name
	case trace.KindRoute:
		name = d.VirtualHost
		if d.Route != "" {
			name += " " + d.Route
		}
		if name == "" {
			name = d.RouteConfig
		}
	case trace.KindCluster:
		if name = d.Cluster; name == "" {
			name = d.Name
		}
	case trace.KindEndpoint, trace.KindExternal:
		if name = d.Address; name == "" {
			name = d.Cluster
		}
	case trace.KindPod:
		name = d.Pod
	case trace.KindService, trace.KindLoadBalancer:
		name = d.Service
	case trace.KindDNS, trace.KindNode, trace.KindApp:
	}
	if name == "" {
		name = h.Subject.Name
		switch h.Kind {
		case trace.KindListener, trace.KindFilterChain, trace.KindFilter, trace.KindRoute, trace.KindCluster, trace.KindEndpoint:
			// Parts of an Envoy: the namespace is that of its Pod.
		default:
			if h.Subject.Namespace != "" {
				name = h.Subject.Namespace + "/" + name
			}
		}
	}
	if name == "" {
		name = h.Subject.Kind
	}
	return clean(strings.TrimSpace(name))
}

// fitName is a hop's name for w cells: the namespace goes before the name is cut.
func fitName(name string, w int) string {
	if width(name) <= w {
		return name
	}
	if ns, rest, ok := strings.Cut(name, "/"); ok && ns != "" && rest != "" && !strings.ContainsAny(ns, " |:") && !strings.Contains(rest, "/") {
		return rest
	}
	return name
}

// counted is n of a thing, in the plural but for one.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func tookText(ms float64) string {
	switch {
	case ms <= 0:
		return ""
	case ms < 1:
		return "<1ms"
	case ms < 1000:
		return fmt.Sprintf("%.0fms", ms)
	case ms < 60000:
		return fmt.Sprintf("%.1fs", ms/1000)
	default:
		return fmt.Sprintf("%.0fs", ms/1000)
	}
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "--:--:--"
	}
	return t.UTC().Format("15:04:05Z")
}

func percent(p float64) string {
	switch v := p * 100; {
	case v <= 0:
		return "0%"
	case v < 0.1:
		return "<0.1%"
	case v > 99.9 && v < 100:
		return ">99.9%"
	default:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + "%"
	}
}
