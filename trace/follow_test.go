package trace_test

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/trace"
)

// TestAFollowedLineIsReadAsTheTraceReadsIt: every line of a report's logs, read
// once more as if it were being written, is the same line of the same hop; and
// one of another request is not marked.
func TestAFollowedLineIsReadAsTheTraceReadsIt(t *testing.T) {
	marked, others := 0, 0
	for archive, cases := range worlds(t, "seed") {
		source, err := snapshot.Open(archive)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			name := filepath.Base(archive) + " " + c.Name
			logs := &trace.LogReader{}
			tracer := &trace.Tracer{Source: source, Version: "test", Logs: logs}
			r, err := tracer.Trace(t.Context(), c.target(t))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			heads := map[string]int{} // listeners of a proxy
			for _, h := range r.Hops {
				if h.Kind == trace.KindListener {
					heads[h.Detail.Pod]++
				}
			}
			for _, h := range r.Hops {
				for _, want := range h.Logs {
					hop, got := logs.Read(h.Detail.Pod, want.Raw)
					if !reflect.DeepEqual(got.Fields, want.Fields) || !reflect.DeepEqual(got.Flags, want.Flags) || got.At != want.At || got.Raw != want.Raw {
						t.Errorf("%s: read as %+v, in the report is %+v", name, got, want)
					}
					if !got.Traced || got.Because == "" {
						t.Errorf("%s: not marked, in the report because of %q: %s", name, want.Because, want.Raw)
					}
					if heads[h.Detail.Pod] == 1 && hop != h.ID {
						t.Errorf("%s: of hop %q, in the report of %s", name, hop, h.ID)
					}
					marked++

					if path := want.Fields["REQ(X-ENVOY-ORIGINAL-PATH?:PATH)"]; strings.HasPrefix(path, "/") && strings.HasPrefix(r.Target.Scheme, "http") {
						id := want.Fields["REQ(X-REQUEST-ID)"]
						other := strings.Replace(strings.Replace(want.Raw, path+" ", "/of-nobody ", 1), id, "another-id", 1)
						if local := want.Fields["DOWNSTREAM_REMOTE_ADDRESS"]; local != "" {
							other = strings.ReplaceAll(other, local, "192.0.2.9:1")
						}
						if _, l := logs.Read(h.Detail.Pod, other); l.Traced || len(l.Fields) == 0 {
							t.Errorf("%s: marked because of %q, or not read: %s", name, l.Because, other)
						}
						others++
					}
				}
				for _, line := range []string{"", "not an access line", "\x1b[2J\xff"} {
					if hop, l := logs.Read(h.Detail.Pod, line); hop != "" || l.Traced || l.Fields != nil || l.Raw != line {
						t.Errorf("%s: %q is read as %s %+v", name, line, hop, l)
					}
				}
			}
			if hop, l := logs.Read("nobody/knows-it", "x"); hop != "" || l.Raw != "x" || l.Traced {
				t.Errorf("%s: a line of a proxy that is not on the path: %s %+v", name, hop, l)
			}
		}
		source.Close()
	}
	if marked == 0 || others == 0 {
		t.Errorf("%d lines of the traced request, %d of others", marked, others)
	}
}

func TestALogReaderThatNoTraceFilledReadsNothing(t *testing.T) {
	var logs trace.LogReader
	if hop, l := logs.Read("a/b", "GET"); hop != "" || fmt.Sprint(l) != fmt.Sprint(trace.LogLine{Raw: "GET"}) {
		t.Errorf("got %q, %+v", hop, l)
	}
}
