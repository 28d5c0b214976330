package main

import (
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hoptrail/hoptrail/internal/report"
	"github.com/hoptrail/hoptrail/trace"
)

// What a world's report must say is tested in package trace. Here: whatever it
// says keeps to the contract and can be read in every format.
func TestEveryWorldsReportKeepsToTheContract(t *testing.T) {
	schema := strict(t, "../../docs/report.v1.schema.json")
	worlds, err := demoWorlds()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range worlds {
		for _, c := range w.cases {
			t.Run(w.name+"/"+c.Name, func(t *testing.T) {
				t.Parallel()
				r := traceDemo(t, w, c)
				text := report.String(r, report.JSON)
				doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				if err := schema.Validate(doc); err != nil {
					t.Errorf("%#v", err)
				}
				checkDetails(t, doc)
				if again := report.String(traceDemo(t, w, c), report.JSON); again != text {
					t.Error("traced again, the report differs")
				}
				checkReferences(t, r)
				for _, f := range []report.Format{report.Text, report.Wide, report.Markdown} {
					text := report.String(r, f)
					for _, finding := range r.Findings {
						if !strings.Contains(text, finding.Code) {
							t.Errorf("%s does not name %s", f, finding.Code)
						}
					}
					for line := range strings.Lines(text) {
						if strings.TrimRight(line, " \n") != strings.TrimSuffix(line, "\n") {
							t.Errorf("%s: blanks at the end of %q", f, line)
						}
					}
				}
			})
		}
	}
}

// What a hop of each kind says at least, as the contract promises scripts; what
// is true or false is absent where it is not known.
var atLeast = map[string][]string{
	"dns": {"answers"}, "service": {"service"}, "loadbalancer": {"service"}, "node": {"service", "dnat", "path"}, "pod": {"pod", "role"},
	"listener": {"name", "address"}, "filter_chain": {"name"}, "route": {"route_config", "virtual_host", "route", "rewrite", "owner"},
	"cluster": {"name", "type", "owner"}, "endpoint": {"address", "health", "pod"}, "external": {"address"},
}

func checkDetails(t *testing.T, report any) {
	t.Helper()
	for _, h := range report.(map[string]any)["hops"].([]any) {
		h := h.(map[string]any)
		for _, field := range atLeast[h["kind"].(string)] {
			if v, ok := h["detail"].(map[string]any)[field]; !ok || v == nil {
				t.Errorf("hop %v (%v) says nothing of %s", h["id"], h["kind"], field)
			}
		}
	}
}

func traceDemo(t *testing.T, w demoWorld, c demoCase) *trace.Report {
	t.Helper()
	target, err := c.target()
	if err != nil {
		t.Fatal(err)
	}
	src, err := openDemo(w)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}()
	r, err := walk(t.Context(), &outputOptions{}, src, nil, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkReferences checks that ids lead somewhere and that probabilities add up.
func checkReferences(t *testing.T, r *trace.Report) {
	t.Helper()
	hops, evidence := map[string]bool{}, map[string]bool{}
	for _, h := range r.Hops {
		if hops[h.ID] {
			t.Errorf("two hops are %s", h.ID)
		}
		hops[h.ID] = true
		for _, e := range h.Evidence {
			evidence[e.ID] = true
		}
	}
	for _, h := range r.Hops {
		sum := 0.0
		for _, b := range h.Branches {
			sum += b.Probability
			if b.To != "" && !hops[b.To] {
				t.Errorf("a branch of %s leads to %s, which is not there", h.ID, b.To)
			}
		}
		if len(h.Branches) > 0 && (sum < 0.999 || sum > 1.001) {
			t.Errorf("the branches of %s add up to %v", h.ID, sum)
		}
	}
	sum := 0.0
	for _, p := range r.Paths {
		sum += p.Probability
		for _, id := range p.Hops {
			if !hops[id] {
				t.Errorf("a path names %s, which is not there", id)
			}
		}
	}
	if sum < 0.999 || sum > 1.001 {
		t.Errorf("the paths add up to %v", sum)
	}
	for _, f := range r.Findings {
		if f.Hop != "" && !hops[f.Hop] {
			t.Errorf("%s names hop %s, which is not there", f.Code, f.Hop)
		}
		for _, e := range f.Evidence {
			if !evidence[e] {
				t.Errorf("%s names evidence %s, which is not there", f.Code, e)
			}
		}
	}
}

// One whole trace, from the archive in the binary to the text.
func BenchmarkTraceToText(b *testing.B) {
	worlds, err := demoWorlds()
	if err != nil {
		b.Fatal(err)
	}
	w, c, err := findDemo(worlds, firstDemo)
	if err != nil {
		b.Fatal(err)
	}
	target, err := c.target()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		src, err := openDemo(w)
		if err != nil {
			b.Fatal(err)
		}
		r, err := walk(b.Context(), &outputOptions{}, src, nil, target, nil)
		if err != nil {
			b.Fatal(err)
		}
		if report.String(r, report.Text) == "" || src.Close() != nil {
			b.Fatal("nothing rendered")
		}
	}
}
