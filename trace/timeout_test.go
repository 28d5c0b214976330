package trace_test

import (
	"testing"

	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/trace"
)

// Istio writes "timeout": "0s" for a route without one, which to Envoy is no
// timeout at all.
func TestARouteWhoseTimeoutIsSwitchedOffSaysSo(t *testing.T) {
	none := 0
	for archive, cases := range worlds(t, "seed") {
		source, err := snapshot.Open(archive)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			r, err := (&trace.Tracer{Source: source, Version: "test"}).Trace(t.Context(), c.target(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range r.Hops {
				for _, check := range h.Checks {
					if check.Name != "timeout" {
						continue
					}
					if check.Value != "none" {
						t.Errorf("%s: %s of %s: timeout %q", archive, c.Name, h.Subject, check.Value)
					}
					none++
				}
			}
		}
		source.Close()
	}
	if none == 0 {
		t.Error("no route of the worlds has a timeout")
	}
}
