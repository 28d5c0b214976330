package k8s

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/testdata"
)

// files is a Lister over cluster/*.json of a world.
type files map[string][]byte

var errAbsent = errors.New("not in the snapshot")

func (f files) List(_ context.Context, resource string, _ Selector) ([]byte, error) {
	if b, ok := f[resource]; ok {
		return b, nil
	}
	return nil, errAbsent
}

// world reads the lists of a world in testdata.
func world(t testing.TB, name string) files {
	t.Helper()
	dir := "seed"
	if strings.HasPrefix(name, "HT") {
		dir = "faults"
	}
	data, err := testdata.Worlds.ReadFile("worlds/" + dir + "/" + name + ".tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out := files{}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if p := strings.TrimPrefix(h.Name, "./"); path.Dir(p) == "cluster" {
			b, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			out[strings.TrimSuffix(path.Base(p), ".json")] = b
		}
	}
}

func worldNames(t testing.TB) []string {
	var out []string
	err := fs.WalkDir(testdata.Worlds, "worlds", func(p string, _ fs.DirEntry, err error) error {
		if n, ok := strings.CutSuffix(path.Base(p), ".tar.gz"); ok {
			out = append(out, n)
		}
		return err
	})
	if err != nil || len(out) < 59 {
		t.Fatalf("%d worlds, %v", len(out), err)
	}
	return out
}

func TestEveryObjectOfEveryWorldDecodes(t *testing.T) {
	ctx := t.Context()
	for _, name := range worldNames(t) {
		t.Run(name, func(t *testing.T) {
			lists := world(t, name)
			v := New(lists)
			try := func(what string, n int, err error) {
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
				if items, _ := Items(lists[what]); len(items) != n {
					t.Errorf("%s: %d of %d objects", what, n, len(items))
				}
			}
			svcs, err := v.Services(ctx, "")
			try(services, len(svcs), err)
			ps, err := v.Pods(ctx, "")
			try(pods, len(ps), err)
			ns, err := v.Nodes(ctx)
			try(nodes, len(ns), err)
			gs, err := v.Gateways(ctx)
			try(istioGateways, len(gs), err)
			vs, err := v.VirtualServices(ctx)
			try(virtualServices, len(vs), err)
			ds, err := v.DestinationRules(ctx)
			try(destinationRules, len(ds), err)
			ses, err := v.ServiceEntries(ctx)
			try(serviceEntries, len(ses), err)
			scs, err := v.Sidecars(ctx)
			try(sidecars, len(scs), err)
			pas, err := v.PeerAuthentications(ctx)
			try(peerAuths, len(pas), err)
			nps, err := v.NetworkPolicies(ctx, "")
			try("networkpolicies.networking.k8s.io", len(nps), err)
			mesh, err := v.MeshConfig(ctx)
			if err != nil || !mesh.Found || mesh.RootNamespace != "istio-system" {
				t.Errorf("mesh config %+v, %v", mesh, err)
			}
			for _, p := range ps {
				if _, err := v.AuthorizationPoliciesFor(ctx, p); err != nil {
					t.Error(err)
				}
				if _, err := v.RequestAuthenticationsFor(ctx, p); err != nil {
					t.Error(err)
				}
				if _, err := v.TelemetriesFor(ctx, p); err != nil {
					t.Error(err)
				}
				if _, err := v.EnvoyFiltersFor(ctx, p); err != nil {
					t.Error(err)
				}
				if _, err := v.MTLSFor(ctx, p, 80); err != nil {
					t.Error(err)
				}
				for _, a := range p.Addrs() {
					if p.Spec.HostNetwork || p.Finished() {
						continue
					}
					got, err := v.PodAt(ctx, a, 1, "tcp")
					if err != nil || got != p {
						t.Errorf("%s has %s, but it is said to be %v's (%v)", p.Ref(), a, got, err)
					}
				}
			}
			for _, s := range svcs {
				for i := range s.Spec.Ports {
					eps, err := v.Endpoints(ctx, s, &s.Spec.Ports[i])
					if err != nil {
						t.Errorf("endpoints of %s: %v", s.Ref(), err)
					}
					for _, e := range eps {
						if e.Pod.IsZero() {
							continue
						}
						p, err := v.Pod(ctx, e.Pod.Namespace, e.Pod.Name)
						if err != nil || p == nil && !strings.Contains(name, "stale") {
							t.Errorf("%s: endpoint %s is of %s: %v", s.Ref(), e.Addr, e.Pod, err)
						}
					}
				}
			}
			if ss, err := v.SecretsNamed(ctx, "exam-credential"); err != nil {
				t.Error(err)
			} else {
				for _, s := range ss {
					if bytes.Contains(s.Raw, []byte("BEGIN")) || len(s.Keys) != 2 {
						t.Errorf("secret %s: %s", s.Ref(), s.Raw)
					}
				}
			}
		})
	}
}

func describe(os []Owner) string {
	var out []string
	for _, o := range os {
		s := string(o.Kind)
		if o.Service != nil {
			s += " " + o.Service.Namespace + "/" + o.Service.Name
			if o.Port != nil {
				s += ":" + o.Port.Name
			} else {
				s += " no such port"
			}
		}
		if o.Pod != nil {
			s += " " + o.Pod.Namespace + "/" + o.Pod.Name
		}
		if o.Node != nil {
			s += " " + o.Node.Name
			for _, n := range o.NodePorts {
				s += fmt.Sprintf(" nodePort of %s/%s", n.Service.Namespace, n.Service.Name)
				if n.Health {
					s += " health"
				} else {
					s += ":" + n.Port.Name
				}
			}
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func TestAnAddressOfAWorldBelongsTo(t *testing.T) {
	for _, c := range []struct {
		world, addr, want string
	}{
		{"ingress-http", "192.168.170.137:31373", "node baihl-master nodePort of istio-system/istio-ingressgateway:http2"},
		{"ingress-http", "192.168.170.137:31374", "node baihl-master"},
		{"ingress-http", "10.96.0.1:443", "clusterip default/kubernetes:https"},
		{"ingress-http", "10.96.0.1:80", "clusterip default/kubernetes no such port"},
		{"ingress-http", "10.10.1.4:8080", "pod istio-system/istio-ingressgateway-576c469c96-spndl"},
		{"ingress-http", "8.8.8.8:53", ""},
		{"ingress-http", "[2001:db8::1]:80", ""},
	} {
		t.Run(c.world+" "+c.addr, func(t *testing.T) {
			ap := netip.MustParseAddrPort(c.addr)
			os, err := New(world(t, c.world)).Owners(t.Context(), ap.Addr(), ap.Port(), "tcp")
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(os); got != c.want {
				t.Errorf("%s is %q, want %q", c.addr, got, c.want)
			}
		})
	}
}

func TestRolesOfThePodsOfAWorld(t *testing.T) {
	ctx := t.Context()
	v := New(world(t, "egress-gateway"))
	want := map[string]Proxy{
		"sleep-7c7db887d8-9dnd7":               {Role: RoleSidecar, Kind: "istio", Container: "istio-proxy", AdminPort: 15000, UID: 1337, GID: 1337, Capture: CaptureInit, Mode: "REDIRECT"},
		"istio-egressgateway-6b9d7f5c8b-kx7tn": {Role: RoleGateway, Kind: "istio", Container: "istio-proxy", AdminPort: 15000, UID: 1337, GID: 1337, Capture: CaptureNone},
		"istiod-7d9f8c6b5d-x2kqp":              {Role: RolePlain, Capture: CaptureNone},
		"coredns-7c65d6cfc9-4lq8n":             {Role: RolePlain, Capture: CaptureNone},
	}
	ps, err := v.Pods(ctx, "")
	if err != nil || len(ps) != len(want) {
		t.Fatalf("%d pods, %v", len(ps), err)
	}
	for _, p := range ps {
		if got := p.Proxy(); got != want[p.Name] {
			t.Errorf("%s: %+v, want %+v", p.Name, got, want[p.Name])
		}
	}
	mesh, err := v.MeshConfig(ctx)
	if err != nil || mesh.OutboundPolicy != "REGISTRY_ONLY" || mesh.AccessLogFile != "/dev/stdout" || !mesh.AutoMTLS {
		t.Errorf("mesh: %+v, %v", mesh, err)
	}
}

func TestDefaultDenyOfAWorldDeniesTheGatewayOnly(t *testing.T) {
	ctx := t.Context()
	v := New(world(t, "HT6003-default-deny"))
	gw, err := v.PodAt(ctx, netip.MustParseAddr("10.10.1.4"), 8080, "tcp")
	if err != nil || gw == nil {
		t.Fatal(gw, err)
	}
	app, err := v.PodAt(ctx, netip.MustParseAddr("10.10.1.13"), 80, "tcp")
	if err != nil || app == nil {
		t.Fatal(app, err)
	}
	got, err := v.PolicyAllows(ctx, Peer{Pod: gw}, Peer{Pod: app}, 80, "tcp")
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	if got[0].State != PolicyAllowed || !got[0].Egress {
		t.Errorf("egress of the gateway: %+v", got[0])
	}
	if got[1].State != PolicyDenied || got[1].Policies[0].String() != "NetworkPolicy simple/default-deny" {
		t.Errorf("ingress of the application: %+v", got[1])
	}
	got, err = v.PolicyAllows(ctx, Peer{Addr: netip.MustParseAddr("10.10.1.1"), Node: app.Spec.NodeName}, Peer{Pod: app}, 80, "tcp")
	if err != nil || got[0].State != PolicyAllowed {
		t.Errorf("from its own node: %+v, %v", got, err)
	}
}
