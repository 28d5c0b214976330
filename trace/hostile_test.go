package trace_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hoptrail/hoptrail/trace"
)

// held is a source of files in memory: what a snapshot would refuse at once
// comes to the walk.
type held files

func (h held) Observe(_ context.Context, q trace.Query) (trace.Observation, error) {
	data, ok := h[q.Path()]
	if !ok {
		return trace.Observation{}, &trace.NotReadError{Query: q, Why: "not in the snapshot", Command: q.Command()}
	}
	return trace.Observation{Data: data, At: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}, nil
}

// mutate breaks one file of a world: cut off, bytes overwritten, a piece taken
// out or doubled, a word of JSON exchanged.
func mutate(world files, seed uint64) (changed files, what string) {
	r := rand.New(rand.NewPCG(seed, 99))
	names := sorted(world)
	out := files{}
	for name, data := range world {
		out[name] = data
	}
	for range 1 + r.IntN(3) {
		name := names[r.IntN(len(names))]
		data := slices.Clone(out[name])
		if len(data) < 2 {
			continue
		}
		what += name + " "
		at := r.IntN(len(data))
		switch r.IntN(6) {
		case 0:
			data = data[:at]
		case 1:
			for range 1 + r.IntN(8) {
				data[r.IntN(len(data))] = byte(r.IntN(256))
			}
		case 2:
			data = slices.Delete(data, at, min(len(data), at+r.IntN(400)))
		case 3:
			data = slices.Insert(data, at, data[at:min(len(data), at+r.IntN(400))]...)
		default:
			words := [][2]string{
				{`{`, `null`},
				{`"metadata"`, `"x"`},
				{`"spec"`, `"x"`},
				{`"status"`, `"x"`},
				{`"ports"`, `"x"`},
				{`"endpoints"`, `"x"`},
				{`"addresses"`, `"x"`},
				{`"podIP"`, `"x"`},
				{`"filter_chains"`, `"x"`},
				{`"filters"`, `"x"`},
				{`"routes"`, `"x"`},
				{`"match"`, `"x"`},
				{`"cluster"`, `"x"`},
				{`"lb_endpoints"`, `"x"`},
				{`"address"`, `"x"`},
				{`"nodeName"`, `"x"`},
				{`"selector"`, `"x"`},
				{`"hosts"`, `"x"`},
				{`"servers"`, `"x"`},
				{`"name"`, `"x"`},
				{`: "`, `: "x`},
				{`80`, `0`},
				{` -j `, ` -g `},
				{`-A `, `-I `},
				{`10.`, `0.`},
				{`"conditions"`, `"x"`},
				{`"containers"`, `"x"`},
				{`"typed_config"`, `"x"`},
				{`"targetRef"`, `"x"`},
				{`"clusterIP"`, `"x"`},
				{`"ingress"`, `"x"`},
				{`"port"`, `"x"`},
			}
			w := words[r.IntN(len(words))]
			n := -1
			if r.IntN(2) == 0 {
				n = 1
			}
			if i := bytes.Index(data[at:], []byte(w[0])); i >= 0 {
				data = append(slices.Clone(data[:at+i]), bytes.Replace(data[at+i:], []byte(w[0]), []byte(w[1]), n)...)
			}
		}
		out[name] = data
	}
	return out, what
}

// traceBroken traces a world that may be broken: a report with a reason for
// every hop that is not passed, or an input error; nothing else.
func traceBroken(t testing.TB, world files, target trace.Target, lenient bool, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // against hanging
	defer cancel()
	r, err := (&trace.Tracer{Source: held(world), Lenient: lenient}).Trace(ctx, target)
	if err != nil {
		var input *trace.InputError
		var vantage *trace.VantageError // who was to ask is what was broken
		if !errors.As(err, &vantage) && (lenient || !errors.As(err, &input)) {
			t.Errorf("%s (%s): %v", target.Raw, what, err)
		}
		return
	}
	for _, h := range r.Hops {
		if (h.State == trace.Fail || h.State == trace.Unknown) && h.Why == "" {
			t.Errorf("%s (%s): hop %s is %s without a reason\n%s", target.Raw, what, h.ID, h.State, outline(r))
		}
	}
	if r.Verdict != trace.Reachable && len(r.Findings) == 0 {
		t.Errorf("%s (%s) is %s and nothing says why\n%s", target.Raw, what, r.Verdict, outline(r))
	}
	for _, f := range r.Findings {
		if len(f.Fix) == 0 || f.Detail == "" {
			t.Errorf("%s (%s): %s without detail or fix: %q", target.Raw, what, f.Code, f.Detail)
		}
	}
}

// hostileAsks are one question of each kind, for the world they are asked of.
var hostileAsks = map[string][]asked{
	ingressHTTP: {nodePort, {url: "192.168.170.137:31373"}, {url: "http://simple.baihl.io:31373/simple/httpserver"}},
	ingressLB:   {getList, {url: "203.0.113.10:80"}},
	bookinfo:    {product, {url: "https://bookinfo.example.com/productpage"}, {url: "http://reviews:9080/reviews/0", from: "pod:bookinfo/productpage-v1-6c8d9f7b54-p2wqd"}},
	egress:      {sleeping},
}

func FuzzTraceOfABrokenWorld(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed)
	}
	loaded := map[string]files{}
	names := sorted(hostileAsks)
	for _, name := range names {
		loaded[name] = unpack(f, name)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		name := names[seed%uint64(len(names))]
		asks := hostileAsks[name]
		world, what := mutate(loaded[name], seed)
		target := asks[(seed/uint64(len(names)))%uint64(len(asks))].target(t)
		traceBroken(t, world, target, true, what)
		traceBroken(t, world, target, false, what)
	})
}

// TestAWorldWithoutOneFileStillTraces takes every file that a trace read out of
// its world: the trace goes on, and says what it lost and which command gives it.
func TestAWorldWithoutOneFileStillTraces(t *testing.T) {
	// Files whose absence is no loss: there is nothing in them that the walk needs,
	// or a world need not have them.
	spare := []string{"conntrack.txt", "ip-addr.json", "server_info.json"}
	for name, asks := range hostileAsks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			world := unpack(t, name)
			target := asks[len(asks)-1].target(t)
			whole, err := (&trace.Tracer{Source: held(world)}).Trace(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			kinds := map[string]int{}
			for _, read := range whole.Collected.Read {
				kind := read.What[strings.LastIndexByte(read.What, '/')+1:]
				if kinds[kind]++; slices.Contains(spare, kind) || strings.HasPrefix(read.What, "p") && kinds[kind] > 2 {
					continue
				}
				less := files{}
				for file, data := range world {
					if file != read.What {
						less[file] = data
					}
				}
				r, err := (&trace.Tracer{Source: held(less)}).Trace(t.Context(), target)
				if err != nil {
					t.Errorf("%s without %s: %v", target.Raw, read.What, err)
					continue
				}
				if !slices.ContainsFunc(r.Collected.NotRead, func(n trace.NotRead) bool { return n.What == read.What && n.Command != "" }) {
					t.Errorf("%s: %s is not listed as not read", target.Raw, read.What)
				}
				// Sockets may be known from the answers in a log, and that a Pod's
				// rules hand over to its proxy from the lines of the proxy.
				seen := kind == "ss.txt" || strings.HasPrefix(read.What, "pods/") && slices.ContainsFunc(r.Hops, func(h trace.Hop) bool {
					return slices.ContainsFunc(h.Checks, func(c trace.Check) bool { return c.Name == "passed" })
				})
				if r.Verdict == trace.Reachable && !mayMiss[kind] && !seen {
					t.Errorf("%s is reachable without %s", target.Raw, read.What)
				}
				if !mayMiss[kind] && !slices.ContainsFunc(r.Findings, func(f trace.Finding) bool {
					return f.Code == "HT0001" && strings.Contains(f.Detail, read.What) && strings.Contains(strings.Join(f.Fix, " "), "this gives it")
				}) {
					t.Errorf("%s: no HT0001 names %s", target.Raw, read.What)
				}
			}
		})
	}
}

// mayMiss are files that only add to what other files tell: where one is absent
// the verdict stands, and the report lists it as not read.
var mayMiss = map[string]bool{
	"access.log": true, "clusters.json": true, "endpointslices.discovery.k8s.io.json": true, "virtualservices.networking.istio.io.json": true,
	"gateways.networking.istio.io.json": true, "destinationrules.networking.istio.io.json": true, "serviceentries.networking.istio.io.json": true,
	"nodes.json": true, "services.json": true, "namespaces.json": true,
	"authorizationpolicies.security.istio.io.json": true, "peerauthentications.security.istio.io.json": true, "sidecars.networking.istio.io.json": true,
}
