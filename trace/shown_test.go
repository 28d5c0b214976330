package trace_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// TestTheGuiltyHopShowsItsConfiguration: where no route, or no host, fits a request
// the hop shows what the proxy has instead and the resource to mend, as
// configuration and as evidence.
func TestTheGuiltyHopShowsItsConfiguration(t *testing.T) {
	for name, tt := range map[string]struct {
		objects []string // of the guilty hop's configuration
		proof   string   // in one of its excerpts
	}{
		"HT4001-host-unknown":   {[]string{"route http.8080"}, `"name": "http.8080"`},
		"HT4002-header-missing": {[]string{"route exam.com:80", "VirtualService default/example-virtualservice"}, `"exact": "blue"`},
		"HT4004-host-with-port": {[]string{"route http.8080"}, `"virtual_hosts"`},
		"HT5002-selector":       {[]string{"Service simple/simple"}, `"app": "simple-app"`},
	} {
		t.Run(name, func(t *testing.T) {
			seen := 0
			for _, c := range worlds(t, "faults")[faultWorld(name)] {
				r := traceWorld(t, faultWorld(name), c.target(t))
				if len(r.Findings) == 0 || r.Findings[0].Code != name[:6] {
					continue
				}
				seen++
				i := slices.IndexFunc(r.Hops, func(h trace.Hop) bool { return h.ID == r.Findings[0].Hop })
				var have []string
				for _, o := range r.Hops[i].Config {
					have = append(have, o.Kind+" "+o.Name)
				}
				for _, want := range tt.objects {
					if !slices.Contains(have, want) {
						t.Errorf("%s is not shown, only %q", want, have)
					}
				}
				if !slices.ContainsFunc(r.Hops[i].Evidence, func(e trace.Evidence) bool { return strings.Contains(e.Excerpt, tt.proof) }) {
					t.Errorf("no evidence holds %s", tt.proof)
				}
			}
			if seen == 0 {
				t.Error("no case of the world has the finding")
			}
		})
	}
}
