package envoyadmin

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
)

// TestADumpWithAnyValueReplacedIsReadOrRefused puts values of the wrong kind
// into real configuration, one place at a time: nothing panics, and what is not
// understood never makes probabilities that do not add up.
func TestADumpWithAnyValueReplacedIsReadOrRefused(t *testing.T) {
	rounds := 150
	if n, err := strconv.Atoi(os.Getenv("HOPTRAIL_MUTATIONS")); err == nil {
		rounds = n
	}
	files := worldDumps(t)
	slices.SortFunc(files, func(a, b dumpFile) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	rng := rand.New(rand.NewPCG(1, 2))
	odd := []string{`null`, `{}`, `[]`, `""`, `"x"`, `-1`, `1e99`, `true`, `[null]`, `[[]]`, `[{}]`, `{"":null}`, `[1,"a",{}]`, `"\ud800"`, `99999999999999999999`}
	for i := range rounds {
		f := files[rng.IntN(len(files))]
		data := f.dump
		for range 1 + rng.IntN(3) {
			at := rng.IntN(len(data))
			n := bytes.IndexByte(data[at:], ':')
			if n < 0 {
				continue
			}
			at = jsonscan.Space(data, at+n+1)
			end, err := jsonscan.Value(data, at)
			if err != nil {
				continue
			}
			data = slices.Concat(data[:at], []byte(odd[rng.IntN(len(odd))]), data[end:])
		}
		d, err := Read(f.name, data)
		if err != nil {
			continue
		}
		if f.clusters != nil && rng.IntN(2) == 0 {
			_ = d.AddClusters(f.name, f.clusters)
		}
		d.Listeners()
		d.Certificates()
		var ports []uint16
		for _, l := range d.listeners {
			for _, a := range l.addrs {
				ports = append(ports, a.Port())
			}
		}
		for _, r := range d.Routes() {
			_, _ = r.VirtualHosts()
		}
		for _, p := range ports[:min(len(ports), 12)] {
			for _, c := range []Call{
				{Authority: "exam.com", Path: "/getList"},
				{Authority: "simple.baihl.io", Path: "/simple/httpserver", TLS: MTLS, SNI: "exam.com", ALPN: []string{"istio"}, PastRefusals: true},
				{Protocol: TCP, TLS: TLS, SNI: "exam.com", ConnectOnly: rng.IntN(2) == 0},
			} {
				c.Address = netip.AddrPortFrom(netip.MustParseAddr("10.244.1.9"), p)
				total := 0.0
				res := d.Match(c)
				for _, o := range res.Outcomes {
					total += o.Probability
					if why := unsaid(&o); why != "" {
						t.Fatalf("round %d, %s: %s: %+v", i, f.name, why, o)
					}
				}
				if total < 0.999 || total > 1.001 {
					t.Fatalf("round %d, %s: %d outcomes, probabilities add up to %g", i, f.name, len(res.Outcomes), total)
				}
				if a, b := outcomeText(t, res), outcomeText(t, d.Match(c)); a != b {
					t.Fatalf("round %d, %s: two answers\n%s\n%s", i, f.name, a, b)
				}
			}
		}
	}
}

func outcomeText(t *testing.T, r Result) string {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// unsaid says where the steps of an outcome do not show what its verdict says:
// the walk through a cluster goes by the steps alone.
func unsaid(o *Outcome) string {
	has := func(states ...State) bool {
		return slices.ContainsFunc(o.Steps, func(s Step) bool { return slices.Contains(states, s.State) })
	}
	switch {
	case o.Verdict == Undetermined && len(o.Reasons) == 0:
		return "undetermined without a reason"
	case o.Verdict == Undetermined && o.Response != nil:
		return "undetermined with a response"
	case o.Verdict == Undetermined && !has(StateUnknown, StateFail):
		return "undetermined, and no step says so"
	case o.Verdict == Reject && !has(StateFail):
		return "refused, and no step says so"
	case o.Verdict == Forward && has(StateFail):
		return "forwarded, and a step failed"
	}
	return ""
}
