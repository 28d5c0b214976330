package k8s

import (
	"net/netip"
	"strings"
	"testing"
)

// onePodOf reads a Pod written as YAML.
func podOf(t *testing.T, y string) *Pod {
	t.Helper()
	v := New(files{pods: []byte(y)})
	ps, err := v.Pods(t.Context(), "")
	if err != nil || len(ps) != 1 {
		t.Fatalf("%d Pods, %v", len(ps), err)
	}
	return ps[0]
}

func TestWhatAPodIsToTheMesh(t *testing.T) {
	const head = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  namespace: ns\n"
	for _, c := range []struct {
		name, yaml string
		want       Proxy
	}{
		{
			"an application alone", "spec: {containers: [{name: app, image: app}]}",
			Proxy{Role: RolePlain, Capture: CaptureNone},
		},
		{
			"an ambient application", "  annotations: {ambient.istio.io/redirection: enabled}\nspec: {containers: [{name: app}]}",
			Proxy{Role: RolePlain, Capture: CaptureNone, Ambient: true},
		},
		{
			"a sidecar captured by an init container of other ids and ports",
			"  annotations: {proxy.istio.io/config: 'proxyAdminPort: 15999'}\nspec: {initContainers: [{name: istio-init, args: [istio-iptables, -p, '15001', -u, '2102', -g, '2103', -m, TPROXY]}], containers: [{name: app}, {name: istio-proxy, args: [proxy, sidecar], securityContext: {runAsUser: 5}}]}",
			Proxy{Role: RoleSidecar, Kind: "istio", Container: "istio-proxy", AdminPort: 15999, UID: 2102, GID: 2103, Capture: CaptureInit, Mode: "TPROXY"},
		},
		{
			"a native sidecar captured by the CNI plugin",
			"spec: {initContainers: [{name: istio-validation}, {name: istio-proxy, restartPolicy: Always, args: [proxy, sidecar], securityContext: {runAsUser: 1337, runAsGroup: 1337}}], containers: [{name: app}]}",
			Proxy{Role: RoleSidecar, Kind: "istio", Container: "istio-proxy", Native: true, AdminPort: 15000, UID: 1337, GID: 1337, Capture: CaptureCNI, Mode: "REDIRECT"},
		},
		{
			"an init container of that name that ends is no proxy",
			"spec: {initContainers: [{name: istio-proxy}], containers: [{name: app}]}",
			Proxy{Role: RolePlain, Capture: CaptureNone},
		},
		{
			"a sidecar that captures nothing",
			"  annotations: {sidecar.istio.io/interceptionMode: NONE}\nspec: {containers: [{name: app}, {name: istio-proxy, args: [proxy, sidecar]}]}",
			Proxy{Role: RoleSidecar, Kind: "istio", Container: "istio-proxy", AdminPort: 15000, UID: 1337, GID: 1337, Capture: CaptureNone, Mode: "NONE"},
		},
		{
			"a gateway by its arguments", "spec: {containers: [{name: istio-proxy, args: [proxy, router, --domain, x]}]}",
			Proxy{Role: RoleGateway, Kind: "istio", Container: "istio-proxy", AdminPort: 15000, UID: 1337, GID: 1337, Capture: CaptureNone},
		},
		{
			"a gateway of another distribution", "spec: {containers: [{name: higress-gateway, args: [proxy, router]}]}",
			Proxy{Role: RoleGateway, Kind: "istio", Container: "higress-gateway", AdminPort: 15000, UID: 1337, GID: 1337, Capture: CaptureNone},
		},
		{
			"a gateway by its label", "  labels: {gateway.networking.k8s.io/gateway-name: g}\nspec: {containers: [{name: istio-proxy}]}",
			Proxy{Role: RoleGateway, Kind: "istio", Container: "istio-proxy", AdminPort: 15000, UID: 1337, GID: 1337, Capture: CaptureNone},
		},
		{
			"a waypoint", "spec: {containers: [{name: istio-proxy, args: [proxy, waypoint]}]}",
			Proxy{Role: RoleGateway, Kind: "istio", Container: "istio-proxy", AdminPort: 15000, UID: 1337, GID: 1337, Capture: CaptureNone, Waypoint: true},
		},
		{
			"Envoy Gateway", "  labels: {app.kubernetes.io/managed-by: envoy-gateway}\nspec: {containers: [{name: envoy}, {name: shutdown-manager}]}",
			Proxy{Role: RoleGateway, Kind: "envoy-gateway", Container: "envoy", AdminPort: 19000, Capture: CaptureNone},
		},
		{
			"Contour", "  labels: {app: envoy}\nspec: {containers: [{name: shutdown-manager}, {name: envoy}]}",
			Proxy{Role: RoleGateway, Kind: "contour", Container: "envoy", AdminPort: 9001, Capture: CaptureNone},
		},
		{
			"a sidecar of Consul", "spec: {containers: [{name: app}, {name: consul-dataplane, securityContext: {runAsUser: 5995}}]}",
			Proxy{Role: RoleSidecar, Kind: "consul", Container: "consul-dataplane", AdminPort: 19000, UID: 5995, Capture: CaptureNone},
		},
		{
			"a sidecar of Kuma", "spec: {containers: [{name: app}, {name: kuma-sidecar}]}",
			Proxy{Role: RoleSidecar, Kind: "kuma", Container: "kuma-sidecar", AdminPort: 9901, Capture: CaptureNone},
		},
		{
			"Envoy by its image", "spec: {containers: [{name: proxy, image: 'docker.io/envoyproxy/envoy:v1.34'}]}",
			Proxy{Role: RoleGateway, Kind: "envoy", Container: "proxy", AdminPort: 9901, Capture: CaptureNone},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := podOf(t, head+c.yaml).Proxy(); got != c.want {
				t.Errorf("%+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestWhyAPodIsNotReadyNamesItsContainers(t *testing.T) {
	p := podOf(t, `
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: ns}
spec:
  initContainers: [{name: init}, {name: native, restartPolicy: Always, ports: [{containerPort: 9}]}]
  containers:
  - {name: app, ports: [{name: http, containerPort: 80}, {name: dns, containerPort: 53, protocol: UDP, hostPort: 53, hostIP: 10.0.0.9}]}
  - {name: slow}
  - {name: unborn}
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]
  conditions: [{type: Ready, status: 'False', reason: ContainersNotReady}]
  initContainerStatuses:
  - {name: init, ready: false, restartCount: 0, state: {terminated: {exitCode: 0, reason: Completed}}}
  containerStatuses:
  - {name: app, ready: false, restartCount: 7, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 137, reason: OOMKilled}}}
  - {name: slow, ready: false, restartCount: 0, state: {running: {}}}
`)
	ok, why := p.Ready()
	if want := "condition Ready is False (ContainersNotReady); container app is waiting (CrashLoopBackOff), ended last with OOMKilled, exit code 137, 7 restarts; container slow is running but not ready; container unborn has no state"; ok || why != want {
		t.Errorf("%v %s", ok, why)
	}
	if n, ok := p.PortNamed("http", "tcp"); n != 80 || !ok {
		t.Error(n, ok)
	}
	if _, ok := p.PortNamed("dns", "tcp"); ok {
		t.Error("dns is UDP")
	}
	if !p.DeclaresPort(9, "tcp") || p.DeclaresPort(53, "tcp") || !p.DeclaresPort(53, "udp") {
		t.Error("declared ports")
	}
	if !p.takesHostPort(netip.MustParseAddr("10.0.0.9"), 53, "udp") || p.takesHostPort(netip.MustParseAddr("10.0.0.8"), 53, "udp") || p.takesHostPort(netip.MustParseAddr("10.0.0.9"), 80, "tcp") {
		t.Error("host ports")
	}
	if a := p.Addrs(); len(a) != 2 || a[1].String() != "fd00::1" {
		t.Error(a)
	}
	if c := p.Containers(); len(c) != 5 || !c[1].Native || c[2].LastReason != "OOMKilled" || c[4].State != "" {
		t.Errorf("%+v", c)
	}
}

func TestTheHostNetworksPodsAreToldApartByTheirPorts(t *testing.T) {
	const list = `
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: a, namespace: ns}, spec: {nodeName: n1, hostNetwork: true, containers: [{name: c, ports: [{containerPort: 80, hostPort: 80}]}]}, status: {phase: Running, podIP: 192.168.0.1, hostIP: 192.168.0.1}}
- {apiVersion: v1, kind: Pod, metadata: {name: b, namespace: ns}, spec: {nodeName: n1, hostNetwork: true, containers: [{name: c, ports: [{containerPort: 90, hostPort: 90}]}]}, status: {phase: Running, podIP: 192.168.0.1}}
- {apiVersion: v1, kind: Pod, metadata: {name: gone, namespace: ns}, spec: {nodeName: n1, containers: [{name: c}]}, status: {phase: Succeeded, podIP: 10.0.0.7}}
- {apiVersion: v1, kind: Pod, metadata: {name: new, namespace: ns}, spec: {nodeName: n1, containers: [{name: c, ports: [{containerPort: 8080, hostPort: 81}]}]}, status: {phase: Running, podIP: 10.0.0.7, podIPs: [{ip: 10.0.0.7}, {ip: 'fd00::7'}]}}
`
	const nodeList = `{"kind":"List","items":[{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},"spec":{"podCIDR":"10.0.0.0/24","podCIDRs":["10.0.0.0/24","fd00::/64"]},"status":{"addresses":[{"type":"InternalIP","address":"192.168.0.1"},{"type":"Hostname","address":"n1"}]}}]}`
	v := New(files{pods: []byte(list), nodes: []byte(nodeList), services: []byte(`{"kind":"List","items":[]}`)})
	for _, c := range []struct{ addr, want string }{
		{"192.168.0.1:90", "b"},
		{"192.168.0.1:80", "a"},
		{"192.168.0.1:70", ""},
		{"10.0.0.7:1", "new"},
		{"10.0.0.8:1", ""},
	} {
		ap := netip.MustParseAddrPort(c.addr)
		p, err := v.PodAt(t.Context(), ap.Addr(), ap.Port(), "tcp")
		got := ""
		if p != nil {
			got = p.Name
		}
		if err != nil || got != c.want {
			t.Errorf("%s is %q's, want %q (%v)", c.addr, got, c.want, err)
		}
	}
	os, err := v.Owners(t.Context(), netip.MustParseAddr("192.168.0.1"), 81, "tcp")
	if err != nil || len(os) != 1 || len(os[0].HostPorts) != 1 || os[0].HostPorts[0].Name != "new" || len(os[0].HostNetwork) != 2 {
		t.Errorf("%+v, %v", os, err)
	}
	os, err = v.Owners(t.Context(), netip.MustParseAddr("fd00::7"), 81, "tcp")
	if err != nil || len(os) != 1 || os[0].Pod == nil || os[0].Pod.Name != "new" {
		t.Errorf("second address: %+v, %v", os, err)
	}
	blind := New(files{pods: []byte(list), services: []byte(`{"kind":"List","items":[{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","namespace":"ns"},"spec":{"ports":[{"name":"http","port":80,"nodePort":30080}]}}]}`)})
	os, err = blind.Owners(t.Context(), netip.MustParseAddr("192.168.0.1"), 30080, "tcp")
	if err != nil || describe(os) != "node n1 nodePort of ns/s:http" || !os[0].Inferred {
		t.Errorf("without the list of nodes: %s, %v", describe(os), err)
	}
	if os, err = blind.Owners(t.Context(), netip.MustParseAddr("10.0.0.7"), 81, "tcp"); len(os) != 1 || os[0].Kind != OwnerPod || err == nil {
		t.Errorf("without the list of nodes: %s, %v", describe(os), err)
	}
	n, err := v.Node(t.Context(), "n1")
	if err != nil || len(n.Addrs()) != 1 || len(n.PodCIDRs()) != 2 || n.Ready() {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestWhatCannotBeReadIsSaidBesideWhatIsFound(t *testing.T) {
	v := New(files{services: []byte(`{"kind":"List","items":[{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","namespace":"n"},"spec":{"clusterIP":"10.96.0.1","externalIPs":["1.2.3.4"],"ports":[{"port":80}]},"status":{"loadBalancer":{"ingress":[{"ip":"5.6.7.8"},{"hostname":"lb.example.com"}]}}}]}`)})
	for addr, want := range map[string]OwnerKind{"10.96.0.1": OwnerClusterIP, "1.2.3.4": OwnerExternalIP, "5.6.7.8": OwnerLoadBalancer} {
		os, err := v.Owners(t.Context(), netip.MustParseAddr(addr), 80, "tcp")
		if len(os) != 1 || os[0].Kind != want || os[0].Port == nil || err == nil || !strings.Contains(err.Error(), "nodes") {
			t.Errorf("%s: %s, %v", addr, describe(os), err)
		}
	}
	os, err := v.Owners(t.Context(), netip.MustParseAddr("9.9.9.9"), 80, "tcp")
	if len(os) != 0 || err == nil {
		t.Errorf("%s, %v: what was not read must not be none", describe(os), err)
	}
	ss, err := v.ServicesOfLoadBalancer(t.Context(), "LB.example.com.")
	if err != nil || len(ss) != 1 {
		t.Error(ss, err)
	}
}
