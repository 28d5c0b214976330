package tui

import (
	"fmt"
	"testing"
	"time"

	"github.com/hoptrail/hoptrail/trace"
)

// big is a path of hops hops with lines access log lines on it.
func big(hops, lines int) *trace.Report {
	r := &trace.Report{
		Schema: trace.Schema, Verdict: trace.Unreachable, Summary: "the last of many hops fails",
		Target: trace.Target{Raw: "http://shop.example.com/api/cart", Scheme: "http", Host: "shop.example.com", Port: 80, From: "external", Method: "GET"},
	}
	var ids []string
	for i := range hops {
		id := fmt.Sprintf("h%d", i+1)
		ids = append(ids, id)
		h := trace.Hop{
			ID: id, Kind: trace.KindCluster, State: trace.OK, TookMS: float64(i),
			Subject: trace.Subject{Kind: "Service", Namespace: "shop", Name: fmt.Sprintf("cart-%d", i)},
			Summary: fmt.Sprintf("outbound|80|v2|cart-%d.shop.svc.cluster.local (EDS), 3 endpoints", i),
			Detail:  trace.Detail{Cluster: fmt.Sprintf("outbound|80|v2|cart-%d.shop.svc.cluster.local", i)},
			In:      &trace.Flow{Proto: "tcp", Dst: "10.0.0.1:80", Method: "GET", Path: "/api/cart", Authority: "shop.example.com"},
			Out:     &trace.Flow{Proto: "tcp", Dst: "10.0.0.2:80", Method: "GET", Path: "/cart", Authority: "cart"},
		}
		for e := range 3 {
			h.Checks = append(h.Checks, trace.Check{Name: fmt.Sprintf("check %d", e), State: trace.OK, Value: "3 of 3"})
			h.Evidence = append(h.Evidence, trace.Evidence{
				ID: fmt.Sprintf("e%d-%d", i, e), Basis: trace.Config, Source: "proxies/shop/cart/config_dump.json",
				Command: "istioctl pc cluster", Excerpt: "\"name\": \"x\"\n\"type\": \"EDS\"", Match: "EDS",
			})
		}
		h.Branches = []trace.Branch{{Label: "v1", Probability: 0.9, State: trace.OK}, {Label: "v2", Probability: 0.1, State: trace.Fail}}
		r.Hops = append(r.Hops, h)
	}
	r.Hops[hops-1].State = trace.Fail
	r.Paths = []trace.Path{{Probability: 1, Verdict: trace.Unreachable, Hops: ids}}
	base := time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)
	for i := range lines {
		at := base.Add(time.Duration(i) * time.Millisecond).Format("2006-01-02T15:04:05.000Z")
		l := trace.LogLine{
			Raw: fmt.Sprintf(`[%s] "GET /api/cart/%d HTTP/1.1" 200 - via_upstream - "-" 0 312 4 3 "10.10.0.0" "curl/8" "id-%d" "shop.example.com" "10.0.0.2:80"`, at, i, i),
			At:  at, Traced: i%1000 == 0,
			Fields: map[string]string{
				"RESPONSE_CODE": "200", "RESPONSE_FLAGS": "-", "REQ(:METHOD)": "GET", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)": fmt.Sprintf("/api/cart/%d", i),
				"REQ(:AUTHORITY)": "shop.example.com", "UPSTREAM_HOST": "10.0.0.2:80", "DURATION": "4",
			},
		}
		h := &r.Hops[i%hops]
		h.Logs = append(h.Logs, l)
	}
	return r
}

// benchmarkKeys presses keys in turn and draws after each.
func benchmarkKeys(b *testing.B, setup []string, keys ...string) {
	d := newDriver(b, session(big(500, 100_000)), 200, 60, utf8Env)
	d.press(setup...)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		_, cmd := d.m.Update(key(keys[i%len(keys)]))
		_ = d.m.View().Content
		if cmd != nil {
			cmd()
		}
		i++
	}
}

func BenchmarkMoveThrough500Hops(b *testing.B) { benchmarkKeys(b, []string{"g"}, "j") }

func BenchmarkPageThrough100000Lines(b *testing.B) {
	benchmarkKeys(b, []string{"4", "a", "tab", "g"}, "pgdown", "j", "G", "pgup", "g")
}

func BenchmarkEvidenceOf500Hops(b *testing.B) {
	benchmarkKeys(b, []string{"g", "2"}, "j", "j", "j", "k")
}

func BenchmarkFilterScopeOf100000Lines(b *testing.B) {
	benchmarkKeys(b, []string{"4", "tab", "g"}, "a")
}

func BenchmarkFollowedLinesWith100000Loaded(b *testing.B) {
	d := newDriver(b, session(big(500, 100_000)), 200, 60, utf8Env)
	d.press("4", "a", "tab", "G")
	d.m.followGen++
	base := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		var lines []FollowLine
		for range 20 {
			at := base.Add(time.Duration(i) * time.Millisecond).Format("2006-01-02T15:04:05.000Z")
			lines = append(lines, FollowLine{Hop: "h3", Proxy: "shop/cart", Line: trace.LogLine{Raw: "line", At: at}})
			i++
		}
		d.m.Update(followMsg{gen: d.m.followGen, lines: lines, rows: lineRows(lines, nil)})
		_ = d.m.View().Content
	}
}

func BenchmarkPrepare100000Lines(b *testing.B) {
	r := big(500, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		prepare(r, nil)
	}
}

func BenchmarkNewModelAndFirstFrame(b *testing.B) {
	r := big(12, 10)
	b.ReportAllocs()
	for b.Loop() {
		m := newModel(b.Context(), session(r), utf8Env)
		m.Init()
		m.Update(resize(120, 40))
		_ = m.View().Content
	}
}
