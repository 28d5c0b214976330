package k8s

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Role is what a Pod is to the mesh.
type Role string

// The roles of a Pod.
const (
	RolePlain   Role = "plain"   // no Envoy in it
	RoleSidecar Role = "sidecar" // Envoy beside an application
	RoleGateway Role = "gateway" // Envoy alone: ingress, egress, waypoint
)

// Proxy is what a Pod says of the Envoy in it.
type Proxy struct {
	Role      Role
	Kind      string // istio, envoy-gateway, contour, consul, kuma, gloo, osm, envoy; "" in a plain Pod
	Container string // the container that holds Envoy
	Native    bool   // it is an init container that goes on running
	AdminPort uint16 // of Envoy's admin API on the Pod's loopback; 0 where it has none
	UID, GID  uint32 // the proxy's own, whose packets the Pod's rules let pass
	Capture   Capture
	Mode      string // how traffic is captured: REDIRECT, TPROXY, NONE; "" without capture
	Waypoint  bool
	Ambient   bool // the Pod's traffic is taken by its node's ztunnel
}

// Capture says who writes the rules that lead a Pod's traffic to its Envoy.
type Capture string

// The writers of a Pod's rules.
const (
	CaptureNone Capture = "none"
	CaptureInit Capture = "istio-init" // an init container of the Pod
	CaptureCNI  Capture = "istio-cni"  // the node's CNI plugin
)

const istioProxy = "istio-proxy"

// Proxy says what p runs, from its specification and its labels. A sidecar that
// no init container captures for is taken to be captured by the CNI plugin.
func (p *Pod) Proxy() Proxy {
	out := Proxy{Role: RolePlain, Capture: CaptureNone}
	out.Ambient = p.Annotations["ambient.istio.io/redirection"] == "enabled"
	c, native := p.envoyContainer(&out)
	if c == nil {
		return out
	}
	out.Container, out.Native = c.Name, native
	out.UID, out.GID = p.runsAs(c, out.Kind)
	if out.Kind == "istio" {
		p.istioProxy(&out, c)
	}
	return out
}

// envoyContainer finds the container with Envoy and says in out of which kind and
// role it is. The admin ports are those of each project's own defaults.
func (p *Pod) envoyContainer(out *Proxy) (c *corev1.Container, native bool) {
	find := func(names ...string) bool {
		for _, name := range names {
			if c, native = p.container(name); c != nil {
				return true
			}
		}
		return false
	}
	l := p.Labels
	switch {
	case find(istioProxy) || p.findArgs(&c, &native, "proxy", "router") || p.findArgs(&c, &native, "proxy", "sidecar"):
		out.Kind, out.AdminPort, out.Role = "istio", 15000, RoleSidecar
		if hasArg(c, "router") || hasArg(c, "waypoint") || p.gatewayLabel() && !p.othersThan(c) {
			out.Role = RoleGateway
		}
		out.Waypoint = hasArg(c, "waypoint") || l["gateway.istio.io/managed"] == "istio.io-mesh-controller"
		return c, native
	case l["app.kubernetes.io/managed-by"] == "envoy-gateway" && find("envoy"):
		out.Kind, out.AdminPort, out.Role = "envoy-gateway", 19000, RoleGateway
		return c, native
	case (l["app.kubernetes.io/name"] == "contour" || l["app.kubernetes.io/component"] == "envoy" || l["app"] == "envoy" && p.hasContainer("shutdown-manager")) && find("envoy"):
		out.Kind, out.AdminPort, out.Role = "contour", 9001, RoleGateway
		return c, native
	case find("consul-dataplane", "envoy-sidecar") || p.hasPrefix(&c, &native, "consul-dataplane-"):
		out.Kind, out.AdminPort, out.Role = "consul", 19000, RoleSidecar
		if p.Annotations["consul.hashicorp.com/gateway-kind"] != "" || !p.othersThan(c) {
			out.Role = RoleGateway
		}
		return c, native
	case find("kuma-sidecar", "kuma-gateway"):
		out.Kind, out.AdminPort, out.Role = "kuma", 9901, RoleSidecar
		if p.Annotations["kuma.io/gateway"] != "" || c.Name == "kuma-gateway" {
			out.Role = RoleGateway
		}
		return c, native
	case l["osm-proxy-uuid"] != "" && find("envoy"):
		out.Kind, out.AdminPort, out.Role = "osm", 15000, RoleSidecar
		return c, native
	case l["gloo"] == "gateway-proxy" && find("gateway-proxy"), l["kgateway"] == "kube-gateway" && find("kgateway-proxy"), l["gloo"] == "kube-gateway" && find("gloo-gateway"):
		out.Kind, out.AdminPort, out.Role = "gloo", 19000, RoleGateway
		return c, native
	}
	for i := range p.Spec.Containers {
		if k := &p.Spec.Containers[i]; strings.Contains(k.Image, "envoyproxy/envoy") {
			out.Kind, out.AdminPort, out.Role = "envoy", 9901, RoleGateway
			if p.othersThan(k) {
				out.Role = RoleSidecar
			}
			return k, false
		}
	}
	return nil, false
}

func (p *Pod) gatewayLabel() bool {
	return p.Labels["gateway.networking.k8s.io/gateway-name"] != "" || p.Labels["istio.io/gateway-name"] != "" || p.Labels["gateway.istio.io/managed"] != ""
}

func (p *Pod) hasContainer(name string) bool {
	c, _ := p.container(name)
	return c != nil
}

// container finds a container by name, an init container only where it goes on
// running.
func (p *Pod) container(name string) (c *corev1.Container, native bool) {
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Name == name {
			return &p.Spec.Containers[i], false
		}
	}
	for i := range p.Spec.InitContainers {
		if k := &p.Spec.InitContainers[i]; k.Name == name && runsOn(k) {
			return k, true
		}
	}
	return nil, false
}

func runsOn(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func (p *Pod) hasPrefix(c **corev1.Container, native *bool, prefix string) bool {
	for i := range p.Spec.Containers {
		if strings.HasPrefix(p.Spec.Containers[i].Name, prefix) {
			*c, *native = &p.Spec.Containers[i], false
			return true
		}
	}
	return false
}

// findArgs finds a container by the first words of its arguments.
func (p *Pod) findArgs(c **corev1.Container, native *bool, args ...string) bool {
	for i := range p.Spec.Containers {
		if k := &p.Spec.Containers[i]; len(k.Args) >= len(args) && slices.Equal(k.Args[:len(args)], args) {
			*c, *native = k, false
			return true
		}
	}
	return false
}

func hasArg(c *corev1.Container, arg string) bool {
	return slices.Contains(c.Args, arg) || slices.Contains(c.Command, arg)
}

func (p *Pod) othersThan(c *corev1.Container) bool {
	for i := range p.Spec.Containers {
		if n := p.Spec.Containers[i].Name; n != c.Name && n != "shutdown-manager" {
			return true
		}
	}
	return false
}

func (p *Pod) runsAs(c *corev1.Container, kind string) (uid, gid uint32) {
	if kind == "istio" {
		uid, gid = 1337, 1337
	}
	if s := p.Spec.SecurityContext; s != nil {
		setID(&uid, s.RunAsUser)
		setID(&gid, s.RunAsGroup)
	}
	if s := c.SecurityContext; s != nil {
		setID(&uid, s.RunAsUser)
		setID(&gid, s.RunAsGroup)
	}
	return uid, gid
}

func setID(to *uint32, from *int64) {
	if from != nil && *from >= 0 && *from <= 1<<32-1 {
		*to = uint32(*from)
	}
}

// istioProxy fills in what Istio's injector wrote.
func (p *Pod) istioProxy(out *Proxy, c *corev1.Container) {
	if n, err := strconv.ParseUint(cmp.Or(flagOf(c.Args, "--proxyAdminPort"), p.proxyConfig(c, "proxyAdminPort")), 10, 16); err == nil && n != 0 {
		out.AdminPort = uint16(n)
	}
	if out.Role != RoleSidecar {
		return
	}
	out.Capture, out.Mode = CaptureCNI, "REDIRECT"
	for _, k := range p.Spec.InitContainers {
		if !hasArg(&k, "istio-iptables") && k.Name != "istio-init" {
			continue
		}
		out.Capture = CaptureInit
		// These are what the rules were written for, whatever the proxy runs as.
		if n, err := strconv.ParseUint(cmp.Or(flagOf(k.Args, "-u"), flagOf(k.Args, "--proxy-uid")), 10, 32); err == nil {
			out.UID = uint32(n)
		}
		if n, err := strconv.ParseUint(cmp.Or(flagOf(k.Args, "-g"), flagOf(k.Args, "--proxy-gid")), 10, 32); err == nil {
			out.GID = uint32(n)
		}
		out.Mode = cmp.Or(flagOf(k.Args, "-m"), flagOf(k.Args, "--istio-inbound-interception-mode"), out.Mode)
	}
	if out.Capture == CaptureCNI {
		out.Mode = cmp.Or(p.Annotations["sidecar.istio.io/interceptionMode"], envOf(c, "ISTIO_META_INTERCEPTION_MODE"), p.proxyConfig(c, "interceptionMode"), out.Mode)
	}
	if out.Mode == "NONE" {
		out.Capture = CaptureNone
	}
}

// flagOf is the value of a flag among arguments: "--flag value" or "--flag=value".
func flagOf(args []string, flag string) string {
	for i, a := range args {
		if a == flag && i+1 < len(args) {
			return args[i+1]
		}
		if v, ok := strings.CutPrefix(a, flag+"="); ok {
			return v
		}
	}
	return ""
}

func envOf(c *corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// proxyConfig is a field of the proxy's configuration, from the Pod's annotation
// or what the injector made of it.
func (p *Pod) proxyConfig(c *corev1.Container, field string) string {
	for _, text := range []string{p.Annotations["proxy.istio.io/config"], envOf(c, "PROXY_CONFIG")} {
		if !strings.Contains(text, field) || len(text) > 1<<20 {
			continue
		}
		var m map[string]json.RawMessage
		if yaml.Unmarshal([]byte(text), &m) == nil && len(m[field]) > 0 {
			return strings.Trim(string(m[field]), `"`)
		}
	}
	return ""
}

// ContainerState is how one container of a Pod does.
type ContainerState struct {
	Name       string
	Init       bool   // an init container
	Native     bool   // an init container that goes on running
	Ready      bool   //
	State      string // running, waiting, terminated; "" where the Pod does not say
	Reason     string // of that state: CrashLoopBackOff, ImagePullBackOff, Completed, Error ...
	Message    string
	ExitCode   int32  // of the last end that is known
	LastReason string // why it ended last: OOMKilled, Error ...
	Restarts   int32
}

// Containers are all containers of p, init containers first, as they stand in
// its specification.
func (p *Pod) Containers() []ContainerState {
	var out []ContainerState
	add := func(cs []corev1.Container, states []corev1.ContainerStatus, init bool) {
		for i := range cs {
			s := ContainerState{Name: cs[i].Name, Init: init, Native: init && runsOn(&cs[i])}
			for j := range states {
				if states[j].Name == s.Name {
					s.fill(&states[j])
				}
			}
			out = append(out, s)
		}
	}
	add(p.Spec.InitContainers, p.Status.InitContainerStatuses, true)
	add(p.Spec.Containers, p.Status.ContainerStatuses, false)
	return out
}

func (s *ContainerState) fill(st *corev1.ContainerStatus) {
	s.Ready, s.Restarts = st.Ready, st.RestartCount
	if t := st.LastTerminationState.Terminated; t != nil {
		s.LastReason, s.ExitCode, s.Message = t.Reason, t.ExitCode, t.Message
	}
	switch {
	case st.State.Running != nil:
		s.State = "running"
	case st.State.Waiting != nil:
		s.State, s.Reason = "waiting", st.State.Waiting.Reason
		s.Message = cmp.Or(st.State.Waiting.Message, s.Message)
	case st.State.Terminated != nil:
		t := st.State.Terminated
		s.State, s.Reason, s.LastReason, s.ExitCode = "terminated", t.Reason, t.Reason, t.ExitCode
		s.Message = cmp.Or(t.Message, s.Message)
	}
}

// Ready says whether the Pod's condition is ready; why names what is amiss where
// it is not, container by container.
func (p *Pod) Ready() (ok bool, why string) {
	cond := "no condition Ready"
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			if c.Status == corev1.ConditionTrue {
				return true, ""
			}
			cond = "condition Ready is " + string(c.Status)
			if c.Reason != "" {
				cond += " (" + c.Reason + ")"
			}
		}
	}
	whys := []string{cond}
	if p.Status.Phase != "" && p.Status.Phase != corev1.PodRunning {
		whys = append([]string{"phase " + string(p.Status.Phase)}, whys...)
	}
	for _, c := range p.Containers() {
		if c.Ready || c.Init && c.Reason == "Completed" {
			continue
		}
		text := "container " + c.Name + " "
		switch {
		case c.State == "" && c.Init:
			continue
		case c.State == "":
			text += "has no state"
		case c.State == "running":
			text += "is running but not ready"
		default:
			text += "is " + c.State
			if c.Reason != "" {
				text += " (" + c.Reason + ")"
			}
		}
		if c.LastReason != "" && c.LastReason != c.Reason {
			text += ", ended last with " + c.LastReason
		}
		if c.ExitCode != 0 {
			text += ", exit code " + strconv.Itoa(int(c.ExitCode))
		}
		if c.Restarts > 0 {
			text += ", " + strconv.Itoa(int(c.Restarts)) + " restarts"
		}
		whys = append(whys, text)
	}
	return false, strings.Join(whys, "; ")
}

// Addrs are the Pod's addresses, the first one being status.podIP.
func (p *Pod) Addrs() []netip.Addr {
	var out []netip.Addr
	add := func(text string) {
		if a, err := netip.ParseAddr(text); err == nil && !slices.Contains(out, a.Unmap()) {
			out = append(out, a.Unmap())
		}
	}
	add(p.Status.PodIP)
	for _, ip := range p.Status.PodIPs {
		add(ip.IP)
	}
	return out
}

// Finished says whether the Pod has ended and its address may be another's.
func (p *Pod) Finished() bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// ports yields the container ports of everything that goes on running.
func (p *Pod) ports(yield func(*corev1.Container, *corev1.ContainerPort) bool) {
	of := func(c *corev1.Container) bool {
		for i := range c.Ports {
			if !yield(c, &c.Ports[i]) {
				return false
			}
		}
		return true
	}
	for i := range p.Spec.Containers {
		if !of(&p.Spec.Containers[i]) {
			return
		}
	}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; runsOn(c) && !of(c) {
			return
		}
	}
}

// PortNamed is the number of the container port of that name and protocol, as a
// named targetPort or a NetworkPolicy's named port finds it.
func (p *Pod) PortNamed(name, proto string) (port uint16, ok bool) {
	for _, cp := range p.ports {
		if cp.Name == name && sameProto(cp.Protocol, proto) {
			n := port16(int64(cp.ContainerPort))
			return n, n != 0
		}
	}
	return 0, false
}

// DeclaresPort says whether a container of p declares the port. Declaring is for
// information only: a port may be open that is not declared.
func (p *Pod) DeclaresPort(port uint16, proto string) bool {
	for _, cp := range p.ports {
		if cp.ContainerPort == int32(port) && sameProto(cp.Protocol, proto) {
			return true
		}
	}
	return false
}

// takesHostPort says whether a container takes the port of the node's address.
func (p *Pod) takesHostPort(addr netip.Addr, port uint16, proto string) bool {
	for _, cp := range p.ports {
		if port == 0 || cp.HostPort != int32(port) || !sameProto(cp.Protocol, proto) {
			continue
		}
		ip, err := netip.ParseAddr(cp.HostIP)
		if err != nil || ip.IsUnspecified() || ip.Unmap() == addr {
			return true
		}
	}
	return false
}
