package trace_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

func TestAVantageThatDoesNotExistIsRefusedByName(t *testing.T) {
	for _, c := range []struct{ from, want string }{
		{"pod:simple/simple", `pod "simple" not found in namespace "simple"; nearest: pod:simple/simple-fb6498fdb-rmdg2`},
		{"pod:nowhere/simple", `pod "simple" not found in namespace "nowhere"`},
		{"node:baihl-nod", `node "baihl-nod" not found; nearest: node:baihl-node, node:baihl-master`},
	} {
		_, err := (&trace.Tracer{Source: held(unpack(t, ingressHTTP))}).Trace(t.Context(), asked{url: nodePort.url, from: c.from}.target(t))
		var vantage *trace.VantageError
		if !errors.As(err, &vantage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.from, err)
		}
	}
}

func TestAVantageThatCannotBeLookedUpIsUnknown(t *testing.T) {
	world := unpack(t, ingressHTTP)
	delete(world, "cluster/pods.json")
	r := traceFiles(t, world, asked{url: nodePort.url, from: "pod:simple/simple"}.target(t))
	if r.Verdict != trace.Undetermined || r.Findings[0].Code != "HT0001" || !strings.Contains(r.Findings[0].Detail, "cluster/pods.json") {
		t.Error(outline(r))
	}
}

func TestAClusterIPFromOutsideSaysHowToAsk(t *testing.T) {
	r := traceFiles(t, unpack(t, ingressHTTP), asked{url: "http://10.96.34.201/"}.target(t))
	if r.Verdict != trace.Undetermined || !strings.Contains(r.Summary, "exists only inside the cluster: trace it --from node:NAME or pod:NAMESPACE/NAME") {
		t.Error(r.Summary)
	}
	fix := strings.Join(r.Findings[0].Fix, "\n")
	for _, want := range []string{"--from node:baihl-master", "simple/simple has no address"} {
		if !strings.Contains(fix, want) {
			t.Errorf("%q is not in %q", want, fix)
		}
	}
}
