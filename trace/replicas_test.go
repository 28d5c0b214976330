package trace_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/trace"
)

const bookinfoWorld = "../testdata/worlds/seed/bookinfo.tar.gz"

// TestReplicasOfAGatewayAreCompared: configuration versions that differ are seen,
// and weigh what they change for the request.
func TestReplicasOfAGatewayAreCompared(t *testing.T) {
	const second = "proxies/istio-system/istio-ingressgateway-6d8b7c9f5-j6lzq/config_dump.json"
	older := text(second, "2026-11-20T17:11:54Z/7", "2026-11-20T17:11:54Z/4")
	for _, c := range []struct {
		name     string
		change   change
		verdict  trace.Verdict
		severity trace.Severity
		says     string
		checked  string
	}{
		{"the same version", func(testing.TB, files) {}, trace.Reachable, "", "", ""},
		{"an older version with the same route", older, trace.Reachable, "", "", "version of route table http.8080: 2026-11-20T17:11:54Z/4; istio-system/istio-ingressgateway-6d8b7c9f5-8c4vn has 2026-11-20T17:11:54Z/7"},
		{
			"an older version with another route that decides alike", all(older, text(second, `"operation": "productpage.bookinfo.svc.cluster.local:9080/productpage"`, `"operation": "old"`)), trace.Reachable, trace.SeverityInfo,
			"replicas of the gateway hold different versions of route table http.8080: istio-system/istio-ingressgateway-6d8b7c9f5-8c4vn has 2026-11-20T17:11:54Z/7, istio-system/istio-ingressgateway-6d8b7c9f5-j6lzq has 2026-11-20T17:11:54Z/4; they decide this request alike", "version of route table http.8080",
		},
		{"an older version without the route", all(older, text(second, `"path": "/productpage"`, `"path": "/old"`)), trace.Degraded, trace.SeverityError, "replicas of the gateway do not agree", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			world := unpack(t, bookinfoWorld)
			c.change(t, world)
			target, err := trace.ParseTarget("http://bookinfo.example.com/productpage")
			if err != nil {
				t.Fatal(err)
			}
			r := traceFiles(t, world, target)
			var found []trace.Finding
			for _, f := range r.Findings {
				if f.Code == "HT3008" {
					found = append(found, f)
				}
			}
			if r.Verdict != c.verdict || (c.severity == "") != (len(found) == 0) {
				t.Fatalf("verdict %s, %+v\n%s", r.Verdict, found, outline(r))
			}
			if len(found) > 0 && (len(found) != 1 || found[0].Severity != c.severity || !strings.Contains(found[0].Detail, c.says) || len(found[0].Evidence) == 0) {
				t.Errorf("%+v", found)
			}
			checked := ""
			for _, h := range r.Hops {
				for _, check := range h.Checks {
					if strings.HasPrefix(check.Name, "version of route table") {
						checked += check.Name + ": " + check.Value
					}
				}
			}
			if (checked == "") != (c.checked == "") || !strings.Contains(checked, c.checked) {
				t.Errorf("checked %q", checked)
			}
		})
	}
}

// patient answers questions of some kinds only when a second one of the kind is
// under way, or has been; when none comes at all it answers all the same.
type patient struct {
	trace.Source
	second map[string]chan struct{} // by area and file: closed when two are under way

	mu    sync.Mutex
	under map[string]int
	asked map[trace.Query]int
}

func (s *patient) Observe(ctx context.Context, q trace.Query) (trace.Observation, error) {
	key := string(q.Area) + "/" + q.File
	s.mu.Lock()
	s.asked[q]++
	s.under[key]++
	second := s.second[key]
	if second != nil && s.under[key] == 2 && !closed(second) {
		close(second)
	}
	s.mu.Unlock()
	if second != nil {
		select {
		case <-second:
		case <-time.After(time.Minute): // to fail, not to hang
		}
	}
	s.mu.Lock()
	s.under[key]--
	s.mu.Unlock()
	return s.Source.Observe(ctx, q)
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestWhatReplicasHoldIsReadAtTheSameTime: the Pods of a gateway and of the
// Service behind it are read side by side, each question asked once, and the
// report is that of a walk that reads one after the other.
func TestWhatReplicasHoldIsReadAtTheSameTime(t *testing.T) {
	world := pack(t, unpack(t, bookinfoWorld))
	target, err := trace.ParseTarget("http://bookinfo.example.com/productpage")
	if err != nil {
		t.Fatal(err)
	}
	src, err := snapshot.Read("world.tar.gz", world)
	if err != nil {
		t.Fatal(err)
	}
	s := &patient{Source: src, second: map[string]chan struct{}{}, under: map[string]int{}, asked: map[trace.Query]int{}}
	for _, key := range []string{"proxies/config_dump.json", "proxies/access.log", "pods/iptables-save.txt", "nodes/iptables-save.txt"} {
		s.second[key] = make(chan struct{})
	}
	var events []string
	r, err := (&trace.Tracer{Source: s, Progress: func(e trace.Event) { events = append(events, e.Reading) }}).Trace(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	for key, second := range s.second {
		if !closed(second) {
			t.Errorf("%s: one after the other", key)
		}
	}
	for q, n := range s.asked {
		if n != 1 {
			t.Errorf("%s %+v was asked for %d times", q.Path(), q.Select, n)
		}
		if !slices.Contains(events, q.Path()) {
			t.Errorf("%s was read and not used", q.Path())
		}
	}
	if r.Verdict != trace.Reachable {
		t.Errorf("verdict %s", r.Verdict)
	}
}
