package trace_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// TestEvidenceIsRawData: what is quoted from a file stands in that file, line by
// line; only what is marked as inferred may be in words of its own.
func TestEvidenceIsRawData(t *testing.T) {
	bare := func(s string) string {
		s = strings.TrimSpace(s)
		if _, rule, ok := strings.Cut(s, "] -A "); ok && s[0] == '[' {
			s = "-A " + rule // without the counters
		}
		return strings.TrimRight(s, ", ")
	}
	n := 0
	for _, folder := range []string{"seed", "faults"} {
		for archive, cases := range worlds(t, folder) {
			lines := map[string]map[string]bool{}
			for file, data := range unpack(t, archive) {
				lines[file] = map[string]bool{}
				for line := range strings.Lines(string(data)) {
					lines[file][bare(line)] = true
				}
			}
			for _, c := range cases {
				r := traceWorld(t, archive, c.target(t))
				for _, h := range r.Hops {
					for _, e := range h.Evidence {
						if e.Command == "" {
							t.Errorf("%s %s: no command prints %s", filepath.Base(archive), c.Name, e.Source)
						}
						if e.Basis == trace.Inferred || e.Source == "dns.json" {
							continue
						}
						file := lines[e.Source]
						excerpt, cut := strings.CutSuffix(e.Excerpt, " ...")
						if cut {
							excerpt = excerpt[:strings.LastIndexByte(excerpt, '\n')+1]
						}
						for line := range strings.Lines(excerpt) {
							n++
							if s := bare(line); s != "" && s != "{" && s != "}" && !strings.Contains(s, "[redacted]") && file != nil && !file[s] {
								t.Errorf("%s %s %s: %s does not hold the line %s", filepath.Base(archive), c.Name, h.Kind, e.Source, s)
							}
						}
					}
				}
			}
		}
	}
	if n < 10000 {
		t.Errorf("only %d lines", n)
	}
}
