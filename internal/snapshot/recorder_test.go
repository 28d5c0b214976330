package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hoptrail/hoptrail/k8s"
	"github.com/hoptrail/hoptrail/testdata"
	"github.com/hoptrail/hoptrail/trace"
)

// narrow answers as a live cluster does: with what was selected only, each
// answer at a time of its own.
type narrow struct {
	src trace.Source
	n   atomic.Int64
}

func (s *narrow) Observe(ctx context.Context, q trace.Query) (trace.Observation, error) {
	n := int(s.n.Add(1))
	obs, err := s.src.Observe(ctx, q)
	if err != nil {
		return obs, err
	}
	obs.At = time.Date(2026, 11, 21, 10, 0, n/1000, n%1000*1000+17, time.FixedZone("x", 3600))
	obs.Took = time.Duration(n)*1500*time.Microsecond + 123
	if q.Area != trace.AreaCluster || q.Select == (trace.Selector{}) {
		return obs, nil
	}
	items, err := k8s.Items(obs.Data)
	if err != nil {
		return obs, err
	}
	var kept [][]byte
	for _, it := range items {
		var o struct {
			Metadata struct {
				Name, Namespace string
				Labels          map[string]string
			}
			Spec   struct{ NodeName string }
			Status struct{ PodIP string }
		}
		if err := json.Unmarshal(it.Raw, &o); err != nil {
			return obs, err
		}
		fields := map[string]string{"metadata.name": o.Metadata.Name, "spec.nodeName": o.Spec.NodeName, "status.podIP": o.Status.PodIP}
		ok := (q.Select.Namespace == "" || q.Select.Namespace == o.Metadata.Namespace) && (q.Select.Name == "" || q.Select.Name == o.Metadata.Name)
		for pair := range strings.SplitSeq(q.Select.Labels, ",") {
			k, v, eq := strings.Cut(pair, "=")
			ok = ok && (pair == "" || eq && o.Metadata.Labels[k] == v || !eq && hasKey(o.Metadata.Labels, k))
		}
		if k, v, is := strings.Cut(q.Select.Fields, "="); is {
			ok = ok && fields[k] == v
		}
		if ok {
			kept = append(kept, it.Raw)
		}
	}
	obs.Data, obs.Partial = joinList(kept), true
	return obs, nil
}

func hasKey(m map[string]string, k string) bool { _, ok := m[k]; return ok }

// targets are the targets of a world's expect.json.
func targets(t testing.TB, name string) []trace.Target {
	t.Helper()
	dir := "seed"
	if strings.HasPrefix(name, "HT") {
		dir = "faults"
	}
	data, err := testdata.Worlds.ReadFile("worlds/" + dir + "/" + name + ".expect.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []struct {
			Target, From, SNI, Source string
			HTTPVersion               string `json:"http_version"`
			Headers, Resolve          map[string]string
		}
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	var out []trace.Target
	for _, c := range doc.Cases {
		tg, err := trace.ParseTarget(c.Target)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c.From != "" {
			tg.From = c.From
		}
		tg.SNI, tg.SourceIP, tg.HTTPVersion, tg.Resolve = c.SNI, c.Source, c.HTTPVersion, c.Resolve
		for _, k := range slices.Sorted(maps.Keys(c.Headers)) {
			tg.Headers = append(tg.Headers, trace.Header{Name: k, Value: c.Headers[k]})
		}
		out = append(out, tg)
	}
	return out
}

func report(t testing.TB, src trace.Source, tg trace.Target) []byte {
	t.Helper()
	r, err := (&trace.Tracer{Source: src}).Trace(t.Context(), tg)
	if err != nil {
		t.Fatal(err)
	}
	js, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestATraceOfItsOwnRecordingIsTheSame(t *testing.T) {
	for i, name := range worlds(t) {
		if testing.Short() && i%4 != 0 {
			continue // the race detector needs minutes for all of them
		}
		t.Run(name, func(t *testing.T) {
			s, err := Read(name, worldBytes(t, name))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for j, tg := range targets(t, name) {
				for _, live := range []bool{false, true} {
					var src trace.Source = s
					if live {
						src = &narrow{src: s}
					}
					path := filepath.Join(dir, fmt.Sprint(j, live)) + []string{"", ".tar.gz", ".tar"}[(i+j)%3]
					rec, err := NewRecorder(Redact(src), path)
					if err != nil {
						t.Fatal(err)
					}
					want := report(t, rec, tg)
					if err := rec.Close(); err != nil {
						t.Fatal(err)
					}
					again, err := Open(path)
					if err != nil {
						t.Fatal(err)
					}
					if got := report(t, Redact(again), tg); !bytes.Equal(got, want) {
						w, g := difference(want, got)
						t.Errorf("%s (live: %v): the replay differs:\n%s\n%s", tg.Raw, live, w, g)
					}
					if !live || strings.HasPrefix(name, "HT") {
						again.Close()
						continue
					}
					// And a recording of the replay is the recording.
					second := filepath.Join(dir, fmt.Sprint(j, live)+"-again.tar.gz")
					rec, err = NewRecorder(Redact(again), second)
					if err != nil {
						t.Fatal(err)
					}
					report(t, rec, tg)
					if err := rec.Close(); err != nil {
						t.Fatal(err)
					}
					twice, err := Open(second)
					if err != nil {
						t.Fatal(err)
					}
					for p := range twice.st.files {
						a, _, _ := again.st.read(p)
						b, _, _ := twice.st.read(p)
						if !bytes.Equal(a, b) {
							x, y := difference(a, b)
							t.Errorf("%s: %s differs when recorded again:\n%s\n%s", tg.Raw, p, x, y)
						}
					}
					again.Close()
					twice.Close()
				}
			}
		})
	}
}

func TestRecordingTheSameGivesTheSameBytes(t *testing.T) {
	s, err := Read("x", worldBytes(t, "bookinfo"))
	if err != nil {
		t.Fatal(err)
	}
	var before []byte
	for range 2 {
		path := filepath.Join(t.TempDir(), "x.tar.gz")
		rec, err := NewRecorder(Redact(s), path)
		if err != nil {
			t.Fatal(err)
		}
		rec.Describe("mesh", "a note", "")
		report(t, rec, targets(t, "bookinfo")[0])
		if err := rec.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if before != nil && !bytes.Equal(before, b) {
			t.Error("two recordings differ")
		}
		before = b
		got, err := Open(path)
		if err != nil || got.Meta().Cluster != "mesh" || got.Meta().Notes != "a note" || got.Meta().CollectedAt.IsZero() {
			t.Errorf("%+v, %v", got.Meta(), err)
		}
	}
}

const podList = `{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"%s","namespace":"n","uid":"u-%s"},"status":{"podIP":"10.0.0.1"}}]}`

// bySelection answers each selection in its own way.
type bySelection map[trace.Selector]string

func (b bySelection) Observe(_ context.Context, q trace.Query) (trace.Observation, error) {
	s, ok := b[q.Select]
	if !ok {
		return trace.Observation{}, &trace.NotReadError{Query: q, Why: "forbidden", Verb: "list", Resource: "pods", Command: "kubectl auth can-i list pods"}
	}
	return trace.Observation{Data: []byte(s), Partial: q.Select != (trace.Selector{})}, nil
}

func TestAReplayAnswersWhatWasAskedAndOwnsUpToTheRest(t *testing.T) {
	pods := func(sel trace.Selector) trace.Query {
		return trace.Query{Area: trace.AreaCluster, File: "pods", Select: sel}
	}
	byIP, inNS := trace.Selector{Fields: "status.podIP=10.0.0.1"}, trace.Selector{Namespace: "n"}
	path := filepath.Join(t.TempDir(), "x")
	rec, err := NewRecorder(bySelection{byIP: fmt.Sprintf(podList, "b", "b"), inNS: fmt.Sprintf(podList, "a", "a")}, path)
	if err != nil {
		t.Fatal(err)
	}
	for _, sel := range []trace.Selector{byIP, inNS, {}} {
		_, _ = rec.Observe(t.Context(), pods(sel))
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct {
		name string
		sel  trace.Selector
		why  string // empty: it is there
	}{
		{"the same by address", byIP, ""},
		{"the same by namespace", inNS, ""},
		{"a narrower one", trace.Selector{Namespace: "n", Name: "a"}, ""},
		{"another address", trace.Selector{Fields: "status.podIP=10.0.0.2"}, "not in the snapshot, which holds only a part of this list"},
		{"another namespace", trace.Selector{Namespace: "m"}, "not in the snapshot, which holds only a part of this list"},
		{"all, which was refused", trace.Selector{}, "forbidden"},
	} {
		obs, err := s.Observe(t.Context(), pods(c.sel))
		var nr *trace.NotReadError
		switch {
		case c.why == "":
			items, itemsErr := k8s.Items(obs.Data)
			if err != nil || itemsErr != nil || len(items) != 2 || items[0].Name != "a" || items[0].Kind != "Pod" || !obs.Partial {
				t.Errorf("%s: %v, %v", c.name, items, err)
			}
		case !errors.As(err, &nr) || nr.Why != c.why:
			t.Errorf("%s: %v", c.name, err)
		case c.why == "forbidden" && (nr.Verb != "list" || nr.Resource != "pods" || nr.Command != "kubectl auth can-i list pods"):
			t.Errorf("%s: %+v", c.name, nr)
		}
	}
}

func TestObjectsThatShareAUIDAreNotMergedIntoOne(t *testing.T) {
	a := trace.Selector{Namespace: "n", Name: "a"}
	b := trace.Selector{Namespace: "n", Name: "b"}
	list := func(name string) string {
		return `{"kind":"List","items":[{"kind":"Pod","apiVersion":"v1","metadata":{"name":"` + name + `","namespace":"n","uid":"same"}}]}`
	}
	path := filepath.Join(t.TempDir(), "x")
	rec, err := NewRecorder(bySelection{a: list("a"), b: list("b")}, path)
	if err != nil {
		t.Fatal(err)
	}
	for _, sel := range []trace.Selector{b, a} {
		if _, err := rec.Observe(t.Context(), trace.Query{Area: trace.AreaCluster, File: "pods", Select: sel}); err != nil {
			t.Fatal(err)
		}
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(path, "cluster", "pods.json"))
	if err != nil {
		t.Fatal(err)
	}
	items, err := k8s.Items(data)
	if err != nil || len(items) != 2 || items[0].Name != "a" {
		t.Errorf("%v, %v", items, err)
	}
}

func TestAnswersToSeveralVantagesAreKeptApart(t *testing.T) {
	answer := func(ip string) string {
		return `{"answers":[{"name":"a.","type":"A","ttl":1,"values":["` + ip + `"]}]}`
	}
	path := filepath.Join(t.TempDir(), "x.tgz")
	outside, pod := trace.Query{Area: trace.AreaDNS, Name: "a", From: "external"}, trace.Query{Area: trace.AreaDNS, Name: "a", From: "pod:n/p"}
	rec, err := NewRecorder(vantages{"external": answer("1.1.1.1"), "pod:n/p": answer("2.2.2.2")}, path)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []trace.Query{outside, pod} {
		if _, err := rec.Observe(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for q, want := range map[trace.Query]string{outside: "1.1.1.1", pod: "2.2.2.2"} {
		obs, err := s.Observe(t.Context(), q)
		if err != nil || !bytes.Contains(obs.Data, []byte(want)) || bytes.Count(obs.Data, []byte("values")) != 1 {
			t.Errorf("from %s: %s, %v", q.From, obs.Data, err)
		}
	}
	if _, err := s.Observe(t.Context(), trace.Query{Area: trace.AreaDNS, Name: "b", From: "external"}); err == nil || !strings.Contains(err.Error(), "b was not asked for") {
		t.Error(err)
	}
}

type vantages map[string]string

func (v vantages) Observe(_ context.Context, q trace.Query) (trace.Observation, error) {
	return trace.Observation{Data: []byte(v[q.From])}, nil
}

func TestNothingOfAUsersIsWrittenOver(t *testing.T) {
	dir := t.TempDir()
	file := func(name, body string) string {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	file("home/letter.txt", "dear")
	file("old/snapshot.json", meta)
	file("old/nodes/n/gone.txt", "x")
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, want string }{
		{filepath.Join(dir, "home"), "neither empty nor a snapshot"},
		{file("letter.tar.gz", "dear"), "no snapshot"},
		{file("letter", "dear"), "the name of an archive ends in"},
		{filepath.Join(dir, "no", "such"), "its folder is not there"},
		{filepath.Join(dir, "old"), ""},
		{filepath.Join(dir, "empty"), ""},
		{filepath.Join(dir, "new"), ""},
		{file("empty.tar.gz", ""), ""},
		{file("snap.tar.gz", string(archive(t, true, entry{name: "snapshot.json", body: meta}))), ""},
	} {
		rec, err := NewRecorder(fixed{"nodes/n/iptables-save.txt": "*nat"}, c.path)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.path, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		q := trace.Query{Area: trace.AreaNode, Name: "n", File: "iptables-save.txt"}
		if _, err := rec.Observe(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if err := rec.Close(); err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		s, err := Open(c.path)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		if len(s.st.files) != 2 || observed(t, s, q.Path()) != "*nat" {
			t.Errorf("%s holds %v", c.path, s.st.files)
		}
		s.Close()
	}
	left, err := filepath.Glob(filepath.Join(dir, ".hoptrail*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
