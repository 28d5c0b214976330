package trace_test

import (
	"encoding/json"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/trace"
)

// TestAHopThatWasToldOfStaysAsItWas: a screen reads it on another goroutine
// while the walk goes on, renames evidence and adds branches and log lines.
func TestAHopThatWasToldOfStaysAsItWas(t *testing.T) {
	told := 0
	for archive, cases := range worlds(t, "seed") {
		source, err := snapshot.Open(archive)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			var (
				hops    []*trace.Hop
				before  []string
				reading sync.WaitGroup
			)
			tracer := &trace.Tracer{Source: source, Version: "test", Progress: func(e trace.Event) {
				if e.Hop == nil {
					return
				}
				hops, before = append(hops, e.Hop), append(before, asJSON(t, e.Hop))
				reading.Go(func() { asJSON(t, e.Hop) }) // for the race detector
			}}
			if _, err := tracer.Trace(t.Context(), c.target(t)); err != nil {
				t.Fatalf("%s %s: %v", filepath.Base(archive), c.Name, err)
			}
			reading.Wait()
			for i, h := range hops {
				told++
				if now := asJSON(t, h); now != before[i] {
					t.Errorf("%s %s: hop %d was told of as\n%s\nand is now\n%s", filepath.Base(archive), c.Name, i+1, before[i], now)
				}
			}
		}
		source.Close()
	}
	if told == 0 {
		t.Error("no hop was told of")
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	return string(out)
}
