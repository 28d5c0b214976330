package trace_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/trace"
)

func TestTheSameSnapshotGivesTheSameBytes(t *testing.T) {
	for _, archive := range []string{bookinfo, ingressLB, faultWorld("HT2003-both-backends")} {
		target := outside(t, "http://bookinfo.example.com/productpage")
		if archive != bookinfo {
			target = outside(t, "http://exam.com/getList")
		}
		var first []byte
		for range 3 {
			data, err := json.Marshal(traceWorld(t, archive, target))
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = data
			} else if !bytes.Equal(first, data) {
				t.Fatalf("%s: two traces differ", archive)
			}
		}
	}
}

// TestReportsHangTogether: ids refer to what is there, probabilities add up, the
// hops of a path follow each other.
func TestReportsHangTogether(t *testing.T) {
	for _, folder := range []string{"seed", "faults"} {
		for archive, cases := range worlds(t, folder) {
			for _, c := range cases {
				r := traceWorld(t, archive, c.target(t))
				hops := map[string]trace.Hop{}
				evidence := map[string]bool{}
				for _, h := range r.Hops {
					if _, twice := hops[h.ID]; twice {
						t.Errorf("%s %s: hop %s twice", archive, c.Name, h.ID)
					}
					hops[h.ID] = h
					for _, e := range h.Evidence {
						if evidence[e.ID] {
							t.Errorf("%s %s: evidence %s twice", archive, c.Name, e.ID)
						}
						evidence[e.ID] = true
						if e.Excerpt == "" || e.Source == "" {
							t.Errorf("%s %s: evidence %s of %s is empty", archive, c.Name, e.ID, h.ID)
						}
					}
				}
				total := 0.0
				for _, p := range r.Paths {
					total += p.Probability
					for i := 1; i < len(p.Hops); i++ {
						from := hops[p.Hops[i-1]]
						if !slices.ContainsFunc(from.Branches, func(b trace.Branch) bool { return b.To == p.Hops[i] }) {
							t.Errorf("%s %s: no branch from %s to %s", archive, c.Name, p.Hops[i-1], p.Hops[i])
						}
					}
				}
				if math.Abs(total-1) > 1e-6 {
					t.Errorf("%s %s: paths add up to %v", archive, c.Name, total)
				}
				for _, f := range r.Findings {
					if _, ok := hops[f.Hop]; !ok {
						t.Errorf("%s %s: %s at hop %q", archive, c.Name, f.Code, f.Hop)
					}
					if f.Detail == "" || len(f.Fix) == 0 {
						t.Errorf("%s %s: %s says nothing, or not what to do", archive, c.Name, f.Code)
					}
					for _, id := range f.Evidence {
						if !evidence[id] {
							t.Errorf("%s %s: %s rests on %s, which no hop has", archive, c.Name, f.Code, id)
						}
					}
				}
			}
		}
	}
}

func TestCredentialsNeverEnterAReport(t *testing.T) {
	target := outside(t, "http://exam.com/getList")
	target.Headers = []trace.Header{{Name: "Authorization", Value: "Bearer s3cr3t-token"}, {Name: "Cookie", Value: "session=s3cr3t-cookie"}}
	for _, archive := range []string{ingressLB, faultWorld("HT6006-jwt")} {
		data, err := json.Marshal(traceWorld(t, archive, target))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("s3cr3t")) {
			t.Errorf("%s: a credential is in the report", archive)
		}
	}
}

// TestAnyOneFileMayBeAbsent: a world without one of its files still traces, and
// names what the walk missed.
func TestAnyOneFileMayBeAbsent(t *testing.T) {
	world := unpack(t, ingressHTTP)
	for _, name := range sorted(world) {
		if name == "snapshot.json" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			less := files{}
			for n, data := range world {
				if n != name {
					less[n] = data
				}
			}
			r := traceFiles(t, less, nodePort.target(t))
			for _, f := range r.Findings {
				if f.Severity == trace.SeverityError {
					t.Errorf("without %s: %s %s", name, f.Code, f.Detail)
				}
			}
			if r.Verdict == trace.Unreachable {
				t.Errorf("without %s the verdict is unreachable\n%s", name, outline(r))
			}
			if r.Verdict == trace.Undetermined && !slices.ContainsFunc(r.Findings, func(f trace.Finding) bool {
				return f.Code == "HT0001" && strings.Contains(f.Detail, name)
			}) {
				t.Errorf("without %s nothing says so\n%s", name, outline(r))
			}
		})
	}
}

func TestBrokenFilesEndTheTraceWithTheirName(t *testing.T) {
	for _, c := range []struct{ name, old, new string }{
		{"cluster/services.json", "\"items\": [", "\"items\": [,"},
		{"nodes/baihl-master/iptables-save.txt", "COMMIT\n", ""},
		{"proxies/istio-system/istio-ingressgateway-576c469c96-spndl/config_dump.json", "\"configs\": [", "\"configs\": [,"},
	} {
		world := unpack(t, ingressHTTP)
		text(c.name, c.old, c.new)(t, world)
		src, err := snapshot.Read("world.tar.gz", pack(t, world))
		if err != nil {
			t.Fatal(err)
		}
		_, err = (&trace.Tracer{Source: src}).Trace(t.Context(), nodePort.target(t))
		var in *trace.InputError
		if !errors.As(err, &in) || !strings.Contains(in.File, c.name) {
			t.Errorf("%s: %v", c.name, err)
		}
		r, err := (&trace.Tracer{Source: src, Lenient: true}).Trace(t.Context(), nodePort.target(t))
		if err != nil {
			t.Errorf("%s, lenient: %v", c.name, err)
		} else if r.Verdict == trace.Reachable && c.name != "cluster/services.json" {
			t.Errorf("%s, lenient: %s", c.name, r.Verdict)
		}
	}
}

func TestACancelledTraceEndsAtOnce(t *testing.T) {
	src, err := snapshot.Open(ingressHTTP)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&trace.Tracer{Source: src}).Trace(ctx, nodePort.target(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTheBoundOnHopsLeavesTheRestUndetermined(t *testing.T) {
	src, err := snapshot.Open(bookinfo)
	if err != nil {
		t.Fatal(err)
	}
	r, err := (&trace.Tracer{Source: src, MaxHops: 12}).Trace(t.Context(), product.target(t))
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != trace.Undetermined {
		t.Errorf("verdict is %s\n%s", r.Verdict, outline(r))
	}
}

// BenchmarkTrace is one whole trace of a world in memory: DNS, load balancer,
// two nodes, two gateways, two sidecars, their logs and all rules.
func BenchmarkTrace(b *testing.B) {
	for _, c := range []struct {
		name, archive string
		ask           asked
	}{{"ingress-http", ingressHTTP, nodePort}, {"bookinfo", bookinfo, product}, {"egress-gateway", egress, sleeping}} {
		b.Run(c.name, func(b *testing.B) {
			src, err := snapshot.Open(c.archive)
			if err != nil {
				b.Fatal(err)
			}
			target := c.ask.target(b)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := (&trace.Tracer{Source: src}).Trace(b.Context(), target); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
