package trace_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// eachPod changes the Pods of a world as decoded JSON.
func eachPod(f func(meta, spec, status map[string]any)) change {
	return func(t testing.TB, world files) {
		t.Helper()
		const file = "cluster/pods.json"
		var list struct {
			APIVersion string           `json:"apiVersion"`
			Kind       string           `json:"kind"`
			Items      []map[string]any `json:"items"`
		}
		if err := json.Unmarshal(world[file], &list); err != nil {
			t.Fatal(err)
		}
		for _, p := range list.Items {
			f(p["metadata"].(map[string]any), p["spec"].(map[string]any), p["status"].(map[string]any))
		}
		data, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		world[file] = data
	}
}

// nativeSidecars makes every sidecar an init container that goes on running
// (KEP-753), as Istio injects it where the cluster knows that.
func nativeSidecars(moved *int) change {
	move := func(o map[string]any, from, to string, mark map[string]any) {
		all, _ := o[from].([]any)
		for i, c := range all {
			c := c.(map[string]any)
			if c["name"] != "istio-proxy" || len(all) < 2 {
				continue
			}
			for k, v := range mark {
				c[k] = v
				*moved++
			}
			inits, _ := o[to].([]any)
			o[from], o[to] = slices.Delete(slices.Clone(all), i, i+1), append(inits, c)
			return
		}
	}
	return eachPod(func(_, spec, status map[string]any) {
		move(spec, "containers", "initContainers", map[string]any{"restartPolicy": "Always"})
		move(status, "containerStatuses", "initContainerStatuses", nil)
	})
}

// TestANativeSidecarIsWalkedAsAnyOther: where the proxy is an init container that
// goes on running, the walk, its mutual TLS and its verdict are the same.
func TestANativeSidecarIsWalkedAsAnyOther(t *testing.T) {
	const bookinfo = "../testdata/worlds/seed/bookinfo.tar.gz"
	for _, q := range []asked{product, {url: "http://productpage:9080/productpage", from: "pod:bookinfo/ratings-v1-9b8c7d6f5-kd8ws"}} {
		t.Run(q.url, func(t *testing.T) {
			native := unpack(t, bookinfo)
			moved := 0
			nativeSidecars(&moved)(t, native)
			if moved == 0 {
				t.Fatal("the world has no sidecar")
			}
			want, got := traceFiles(t, unpack(t, bookinfo), q.target(t)), traceFiles(t, native, q.target(t))
			if got.Verdict != want.Verdict || got.Summary != want.Summary || len(got.Hops) != len(want.Hops) {
				t.Fatalf("got\n%s\nwant\n%s", outline(got), outline(want))
			}
			for i, h := range got.Hops {
				w := want.Hops[i]
				if h.Kind != w.Kind || h.State != w.State || h.Summary != w.Summary || h.Why != w.Why {
					t.Errorf("hop %s is %s %s: %s %s; want %s %s: %s %s", h.ID, h.Kind, h.State, h.Summary, h.Why, w.Kind, w.State, w.Summary, w.Why)
				}
			}
		})
	}
}

// TestWhatAZtunnelTakesIsNotEvaluated: a Pod of an ambient mesh has no proxy of
// its own, and yet neither what it sends nor what it gets goes straight.
func TestWhatAZtunnelTakesIsNotEvaluated(t *testing.T) {
	const pod = "simple-fb6498fdb-rmdg2"
	ambient := eachPod(func(meta, _, _ map[string]any) {
		if meta["name"] == pod {
			meta["annotations"].(map[string]any)["ambient.istio.io/redirection"] = "enabled"
		}
	})
	for _, c := range []struct {
		name, says string
		q          asked
	}{
		{"from outside to it", "takes what comes to it", nodePort},
		{"from it to another", "takes what it sends", asked{url: "http://10.96.190.18/simple/httpserver", from: "pod:simple/" + pod}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plain := traceFiles(t, unpack(t, ingressHTTP), c.q.target(t))
			world := unpack(t, ingressHTTP)
			ambient(t, world)
			r := traceFiles(t, world, c.q.target(t))
			i := slices.IndexFunc(r.Hops, func(h trace.Hop) bool { return h.Kind == trace.KindPod && h.Detail.Pod == "simple/"+pod })
			if i < 0 || r.Hops[i].State != trace.Unknown || !strings.Contains(r.Hops[i].Why, "the ztunnel of node ") || !strings.Contains(r.Hops[i].Why, c.says) {
				t.Fatalf("no hop says so\n%s", outline(r))
			}
			if plain.Verdict == trace.Reachable && r.Verdict != trace.Undetermined || len(r.Hops) != len(plain.Hops) {
				t.Errorf("%s where without ztunnel it is %s\n%s", r.Verdict, plain.Verdict, outline(r))
			}
			if !slices.ContainsFunc(r.Findings, func(f trace.Finding) bool {
				return f.Code == "HT0002" && f.Hop == r.Hops[i].ID && len(f.Fix) == 2 && strings.Contains(f.Fix[0], "istioctl ztunnel-config workloads --workload-namespace simple")
			}) {
				t.Errorf("no finding says what to look at\n%s", outline(r))
			}
		})
	}
}
