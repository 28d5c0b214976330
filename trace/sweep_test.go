package trace_test

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/trace"
)

// TestEveryAddressOfEveryWorldGetsAnAnswerWithAReason asks each world for every
// address and port its Services have, from outside, from every node and from a
// few Pods: whatever comes out, it is said why.
func TestEveryAddressOfEveryWorldGetsAnAnswerWithAReason(t *testing.T) {
	asked := 0
	for _, folder := range []string{"seed", "faults"} {
		for archive := range worlds(t, folder) {
			// Of the fault worlds, which are like the seeds, one question in twelve:
			// another one for each world.
			every := 1
			if folder == "faults" {
				every = 12
			}
			src, err := snapshot.Open(archive)
			if err != nil {
				t.Fatal(err)
			}
			for i, target := range targetsOf(t, unpack(t, archive)) {
				if (i+len(archive))%every != 0 {
					continue
				}
				asked++
				r, err := (&trace.Tracer{Source: src}).Trace(t.Context(), target)
				if err != nil {
					t.Fatal(err)
				}
				name := filepath.Base(archive) + " " + target.Raw + " from " + target.From
				if r.Verdict != trace.Reachable && len(r.Findings) == 0 {
					t.Errorf("%s is %s and nothing says why\n%s", name, r.Verdict, outline(r))
				}
				if r.Verdict == trace.Unreachable && len(errorCodes(r)) == 0 {
					t.Errorf("%s is unreachable without a fault of severity error\n%s", name, outline(r))
				}
				for _, h := range r.Hops {
					if (h.State == trace.Fail || h.State == trace.Unknown) && h.Why == "" {
						t.Errorf("%s: hop %s is %s without a reason\n%s", name, h.ID, h.State, outline(r))
					}
				}
			}
		}
	}
	if asked < 200 {
		t.Errorf("only %d targets", asked)
	}
}

type listed struct {
	Items []struct {
		Metadata struct{ Name, Namespace string }
		Spec     struct {
			ClusterIP string
			Ports     []struct {
				Port, NodePort int
				Protocol       string
			}
		}
		Status struct {
			PodIP        string
			Addresses    []struct{ Type, Address string }
			LoadBalancer struct{ Ingress []struct{ IP string } }
		}
	}
}

func targetsOf(t testing.TB, world files) []trace.Target {
	t.Helper()
	list := func(resource string) listed {
		var l listed
		if err := json.Unmarshal(world["cluster/"+resource+".json"], &l); err != nil {
			t.Fatal(err)
		}
		return l
	}
	froms := []string{"external"}
	var nodes []string
	for _, n := range list("nodes").Items {
		froms = append(froms, "node:"+n.Metadata.Name)
		for _, a := range n.Status.Addresses {
			if a.Type == "InternalIP" {
				nodes = append(nodes, a.Address)
			}
		}
	}
	pods := 0
	for _, p := range list("pods").Items {
		if p.Metadata.Namespace != "kube-system" && pods < 3 {
			pods++
			froms = append(froms, "pod:"+p.Metadata.Namespace+"/"+p.Metadata.Name)
		}
	}
	var out []trace.Target
	add := func(from, scheme, host string, port int) {
		url := net.JoinHostPort(host, fmt.Sprint(port))
		if scheme != "" {
			url = scheme + "://" + url
		}
		target, err := trace.ParseTarget(url)
		if err != nil {
			t.Fatal(err)
		}
		target.From = from
		out = append(out, target)
	}
	for _, s := range list("services").Items {
		if s.Metadata.Namespace == "kube-system" {
			continue
		}
		for i, p := range s.Spec.Ports {
			scheme := []string{"", "http"}[i%2]
			if strings.EqualFold(p.Protocol, "udp") {
				scheme = "udp"
			}
			for _, from := range froms {
				if s.Spec.ClusterIP != "None" && s.Spec.ClusterIP != "" {
					add(from, scheme, s.Spec.ClusterIP, p.Port)
				}
			}
			if p.NodePort != 0 {
				add("external", scheme, nodes[i%len(nodes)], p.NodePort)
			}
			for _, in := range s.Status.LoadBalancer.Ingress {
				add("external", scheme, in.IP, p.Port)
			}
		}
	}
	return slices.Clip(out)
}
