package trace_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/trace"
)

var (
	verbose = flag.Bool("hops", false, "print the hops of every world traced")
	update  = flag.Bool("update", false, "write the made worlds and goldens anew")
)

// worldCase is one case of an expect.json; worlds/README.md of the shared data
// says what its fields mean.
type worldCase struct {
	Name        string            `json:"name"`
	Target      string            `json:"target"`
	From        *string           `json:"from"`
	Headers     map[string]string `json:"headers"`
	SNI         string            `json:"sni"`
	Resolve     map[string]string `json:"resolve"`
	Source      string            `json:"source"`
	HTTPVersion string            `json:"http_version"`
	Expect      struct {
		Verdict string         `json:"verdict"`
		Code    string         `json:"code"`
		Guilty  string         `json:"guilty_hop_kind"`
		Facts   map[string]any `json:"facts"`
	} `json:"expect"`
}

func (c worldCase) target(t testing.TB) trace.Target {
	t.Helper()
	target, err := trace.ParseTarget(c.Target)
	if err != nil {
		t.Fatal(err)
	}
	if c.From != nil {
		target.From = *c.From
	}
	for _, k := range sorted(c.Headers) {
		target.Headers = append(target.Headers, trace.Header{Name: k, Value: c.Headers[k]})
	}
	target.SNI, target.Resolve, target.SourceIP, target.HTTPVersion = c.SNI, c.Resolve, c.Source, c.HTTPVersion
	return target
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// worlds lists the worlds of a folder of testdata, with their cases.
func worlds(t testing.TB, folder string) map[string][]worldCase {
	t.Helper()
	files, err := filepath.Glob("../testdata/worlds/" + folder + "/*.expect.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no worlds in testdata/worlds/%s: %v", folder, err)
	}
	out := map[string][]worldCase{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{ Cases []worldCase }
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out[strings.TrimSuffix(file, ".expect.json")+".tar.gz"] = doc.Cases
	}
	return out
}

func traceWorld(t testing.TB, archive string, target trace.Target) *trace.Report {
	t.Helper()
	src, err := snapshot.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	report, err := (&trace.Tracer{Source: src, Version: "test"}).Trace(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestSeedWorldsAreWalkedAsTheirArticlesSay(t *testing.T) { testWorlds(t, "seed") }

func TestFaultWorldsNameTheirFault(t *testing.T) { testWorlds(t, "faults") }

func testWorlds(t *testing.T, folder string) {
	all := worlds(t, folder)
	for _, archive := range sorted(all) {
		for _, c := range all[archive] {
			name := strings.TrimSuffix(filepath.Base(archive), ".tar.gz") + "/" + c.Name
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := traceWorld(t, archive, c.target(t))
				if *verbose || t.Failed() {
					t.Log("\n" + outline(r))
				}
				checkExpected(t, r, c)
				if t.Failed() {
					t.Log("\n" + outline(r))
				}
			})
		}
	}
}

// outline is a report in a few lines, for people who read a failed test.
func outline(r *trace.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", r.Verdict, r.Summary)
	for _, h := range r.Hops {
		fmt.Fprintf(&b, "  %-4s %-12s %-8s %-60s %s", h.ID, h.Kind, h.State, h.Subject, h.Summary)
		if h.Why != "" && h.Why != h.Summary {
			fmt.Fprintf(&b, "  [%s]", h.Why)
		}
		b.WriteByte('\n')
	}
	for _, p := range r.Paths {
		fmt.Fprintf(&b, "  path %.4f %s %v\n", p.Probability, p.Verdict, p.Hops)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "  %s %s at %s: %s (cause of %v)\n", f.Code, f.Severity, f.Hop, f.Detail, f.CauseOf)
	}
	for _, n := range r.Collected.NotRead {
		fmt.Fprintf(&b, "  not read %s: %s\n", n.What, n.Why)
	}
	return b.String()
}

// standsFor are the kinds of hop a name in expect.json's guilty_hop_kind means.
var standsFor = map[string][]trace.HopKind{
	"sidecar":     {trace.KindPod, trace.KindListener, trace.KindFilterChain, trace.KindFilter, trace.KindCluster},
	"policy":      {trace.KindFilter, trace.KindFilterChain, trace.KindPod, trace.KindNode},
	"service":     {trace.KindService, trace.KindLoadBalancer},
	"pod":         {trace.KindPod, trace.KindApp, trace.KindEndpoint},
	"certificate": {trace.KindFilterChain, trace.KindListener, trace.KindPod},
}

func checkExpected(t *testing.T, r *trace.Report, c worldCase) {
	t.Helper()
	e := c.Expect
	if e.Verdict != "" && string(r.Verdict) != e.Verdict {
		t.Errorf("verdict is %s, not %s", r.Verdict, e.Verdict)
	}
	code, hop := "", ""
	if len(r.Findings) > 0 {
		code, hop = r.Findings[0].Code, r.Findings[0].Hop
	}
	if code != e.Code {
		t.Errorf("top finding is %q, not %q", code, e.Code)
	}
	if e.Guilty != "" && code == e.Code {
		kinds := standsFor[e.Guilty]
		if kinds == nil {
			kinds = []trace.HopKind{trace.HopKind(e.Guilty)}
		}
		i := slices.IndexFunc(r.Hops, func(h trace.Hop) bool { return h.ID == hop })
		if i < 0 || !slices.Contains(kinds, r.Hops[i].Kind) {
			t.Errorf("guilty hop %s is not of kind %s", hop, e.Guilty)
		}
	}
	for _, fact := range sorted(e.Facts) {
		checkFact(t, r, fact, e.Facts[fact])
	}
}

func anyHop(r *trace.Report, is func(trace.Hop) bool, kinds ...trace.HopKind) bool {
	return slices.ContainsFunc(r.Hops, func(h trace.Hop) bool { return slices.Contains(kinds, h.Kind) && is(h) })
}

func collect(r *trace.Report, of func(trace.Hop) string, kinds ...trace.HopKind) []string {
	var out []string
	for _, h := range r.Hops {
		if s := of(h); s != "" && slices.Contains(kinds, h.Kind) {
			out = append(out, s)
		}
	}
	return out
}

func stringsOf(v any) []string {
	var out []string
	for _, x := range v.([]any) {
		out = append(out, x.(string))
	}
	return out
}

func missing(want, have []string) []string {
	return slices.DeleteFunc(slices.Clone(want), func(s string) bool { return slices.Contains(have, s) })
}

// prose is everything a report says in words.
func prose(r *trace.Report) string {
	var b strings.Builder
	for _, h := range r.Hops {
		fmt.Fprintln(&b, h.Summary, h.Why, h.Checks, h.Detail.NearMisses)
	}
	for _, f := range r.Findings {
		fmt.Fprintln(&b, f.Detail, f.Fix)
	}
	return b.String()
}

func checkFact(t *testing.T, r *trace.Report, fact string, v any) {
	t.Helper()
	s, _ := v.(string)
	address := func(h trace.Hop) string { return h.Detail.Address }
	name := func(h trace.Hop) string { return h.Detail.Name }
	ok := true
	switch fact {
	case "nodeport_service", "clusterip_service":
		ok = anyHop(r, func(h trace.Hop) bool { return h.Detail.Service == s }, trace.KindService, trace.KindNode)
	case "loadbalancer_service":
		ok = anyHop(r, func(h trace.Hop) bool { return h.Detail.Service == s }, trace.KindLoadBalancer)
	case "dns_chain":
		ok = anyHop(r, func(h trace.Hop) bool { return len(missing(stringsOf(v), h.Detail.Answers)) == 0 }, trace.KindDNS)
	case "log_line_contains", "egress_log_line_contains":
		ok = slices.ContainsFunc(r.Hops, func(h trace.Hop) bool {
			return slices.ContainsFunc(h.Evidence, func(e trace.Evidence) bool {
				return e.Basis == trace.Observed && strings.HasSuffix(e.Source, "access.log") && strings.Contains(e.Excerpt, s)
			})
		})
	case "dnat":
		ok = anyHop(r, func(h trace.Hop) bool { return len(missing(stringsOf(v), h.Detail.DNAT)) == 0 }, trace.KindNode)
	case "masquerade":
		ok = anyHop(r, func(h trace.Hop) bool { return h.Detail.Masquerade != nil && *h.Detail.Masquerade == v.(bool) }, trace.KindNode)
	case "gateway_pod":
		ok = anyHop(r, func(h trace.Hop) bool { return h.Detail.Pod == s && h.Detail.Role == "gateway" }, trace.KindPod)
	case "listener", "inbound_listener", "egress_listener":
		ok = anyHop(r, func(h trace.Hop) bool { return h.Detail.Name == s }, trace.KindListener)
	case "route_config":
		ok = anyHop(r, func(h trace.Hop) bool { return h.Detail.RouteConfig == s }, trace.KindRoute, trace.KindListener)
	case "virtual_host":
		ok = anyHop(r, func(h trace.Hop) bool { return h.Detail.VirtualHost == s }, trace.KindRoute)
	case "route":
		for part := range strings.SplitSeq(s, ": ") {
			ok = ok && anyHop(r, func(h trace.Hop) bool { return strings.Contains(h.Detail.Route+"\n"+h.Detail.Match, part) }, trace.KindRoute)
		}
	case "rewrite":
		ok = anyHop(r, func(h trace.Hop) bool { return h.Detail.Rewrite == s }, trace.KindRoute)
	case "cluster", "inbound_cluster", "egress_cluster":
		ok = anyHop(r, func(h trace.Hop) bool { return h.Detail.Name == s }, trace.KindCluster)
	case "cluster_missing":
		ok = anyHop(r, func(h trace.Hop) bool { return h.Detail.Name == s && h.State == trace.Fail }, trace.KindCluster)
	case "weighted":
		for cluster, weight := range v.(map[string]any) {
			ok = ok && anyHop(r, func(h trace.Hop) bool {
				return slices.Contains(h.Detail.Weighted, trace.WeightedCluster{Name: cluster, Weight: uint32(weight.(float64))})
			}, trace.KindRoute) && slices.Contains(collect(r, name, trace.KindCluster), cluster)
		}
	case "endpoints", "egress_endpoints", "envoy_endpoints":
		have := collect(r, address, trace.KindEndpoint)
		if want := stringsOf(v); len(want) == 0 {
			ok = len(have) == 0
		} else {
			ok = len(missing(want, have)) == 0
		}
	case "ejected":
		ok = len(missing(stringsOf(v), collect(r, func(h trace.Hop) string {
			if h.Detail.Health == "unhealthy" {
				return h.Detail.Address
			}
			return ""
		}, trace.KindEndpoint))) == 0
	case "endpoint_health":
		ok = anyHop(r, func(h trace.Hop) bool { return strings.EqualFold(h.Detail.Health, s) }, trace.KindEndpoint)
	case "pods":
		ok = len(missing(stringsOf(v), collect(r, func(h trace.Hop) string { return h.Detail.Pod }, trace.KindPod))) == 0
	case "mtls":
		ok = anyHop(r, func(h trace.Hop) bool { return h.Detail.MTLS != nil && *h.Detail.MTLS == v.(bool) }, trace.KindCluster, trace.KindEndpoint)
	case "pod_redirect":
		ok = anyHop(r, func(h trace.Hop) bool { return h.Detail.Redirect == s }, trace.KindPod)
	case "egress":
		gateway := anyHop(r, func(h trace.Hop) bool { return h.Detail.Role == "gateway" }, trace.KindPod)
		ok = gateway == (s == "gateway") && anyHop(r, func(trace.Hop) bool { return true }, trace.KindExternal)
	case "slice_endpoints":
		for _, want := range stringsOf(v) {
			ok = ok && strings.Contains(prose(r), want)
		}
	case "wanted_cluster", "nearest", "near_miss":
		ok = strings.Contains(prose(r), s)
	case "certificate":
		for _, part := range v.(map[string]any) {
			ok = ok && strings.Contains(prose(r), part.(string))
		}
	case "evidence":
		for _, pair := range v.([]any) {
			checkEvidence(t, r, stringsOf(pair))
		}
	case "no_evidence":
		// what must not be in the files: a property of the world, not of a report
	default:
		t.Errorf("the fact %s is not known to this test", fact)
	}
	if !ok {
		t.Errorf("the fact %s %v is not shown", fact, v)
	}
}

// checkEvidence wants the text quoted in evidence from a file of that name.
func checkEvidence(t *testing.T, r *trace.Report, want []string) {
	t.Helper()
	for _, h := range r.Hops {
		for _, e := range h.Evidence {
			if match, err := path.Match(want[0], e.Source); err == nil && match && strings.Contains(e.Excerpt, want[1]) {
				return
			}
		}
	}
	t.Errorf("nothing from %s quotes %q", want[0], want[1])
}
