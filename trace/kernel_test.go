package trace_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// TestPredictionsAgreeWithConnectionsReallyTried compares the walk with what
// happened when TCP connections were tried through the kernel state a world was
// saved from (NAME.kernel.json).
func TestPredictionsAgreeWithConnectionsReallyTried(t *testing.T) {
	files, err := filepath.Glob("../testdata/worlds/*/*.kernel.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no kernel.json: %v", err)
	}
	probes := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Probes []struct {
				From, To, Result string
				Entered          *string
			}
		}
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		archive := strings.TrimSuffix(file, ".kernel.json") + ".tar.gz"
		for _, p := range doc.Probes {
			probes++
			target, err := trace.ParseTarget(p.To)
			if err != nil {
				t.Fatal(err)
			}
			if p.From != "client" {
				target.From = p.From
			}
			r := traceWorld(t, archive, target)
			node := ""
			if p.Entered != nil {
				node = nodeWithAddress(t, archive, *p.Entered)
			}
			connects, fails := false, false
			for _, path := range r.Paths {
				if node != "" && !slices.ContainsFunc(r.Hops, func(h trace.Hop) bool {
					return h.Kind == trace.KindNode && h.Subject.Name == node && slices.Contains(path.Hops, h.ID)
				}) {
					continue
				}
				ok := connection(r, path)
				connects, fails = connects || ok, fails || !ok
			}
			if want := p.Result == "ok"; want && !connects || !want && !fails {
				t.Errorf("%s: %s to %s (entered %s) really was %s\n%s", filepath.Base(file), p.From, p.To, node, p.Result, outline(r))
			}
		}
	}
	if probes < 25 {
		t.Errorf("only %d probes", probes)
	}
}

// connection says whether the way ends in an accepted TCP connection. What was
// tried is the kernel's part: behind it stood sockets that took any port of a
// Pod, so reaching the Pod is all there is.
func connection(r *trace.Report, path trace.Path) bool {
	for _, id := range path.Hops {
		i := slices.IndexFunc(r.Hops, func(h trace.Hop) bool { return h.ID == id })
		switch h := r.Hops[i]; {
		case h.State == trace.Fail:
			return false
		case h.Kind == trace.KindPod:
			return true
		}
	}
	return true
}

// nodeWithAddress is the node of a world that has the address.
func nodeWithAddress(t testing.TB, archive, address string) string {
	t.Helper()
	addr, err := netip.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range unpack(t, archive) {
		if strings.HasPrefix(name, "nodes/") && strings.HasSuffix(name, "ip-addr.json") && strings.Contains(string(data), `"`+addr.String()+`"`) {
			return strings.Split(name, "/")[1]
		}
	}
	t.Fatalf("%s: no node has %s", archive, address)
	return ""
}
