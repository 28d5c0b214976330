package k8s

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

const (
	services       = "services"
	pods           = "pods"
	nodes          = "nodes"
	endpointSlices = "endpointslices.discovery.k8s.io"
)

// Service finds a Service by name.
func (v *View) Service(ctx context.Context, ns, name string) (*Service, error) {
	return get(ctx, v, services, ns, name, decodeService)
}

// Services are the Services of a namespace, of all where ns is empty.
func (v *View) Services(ctx context.Context, ns string) ([]*Service, error) {
	return all(ctx, v, services, ns, decodeService)
}

// ServiceByHost finds the Service that a name means for a client in namespace
// ns: name, name.ns, name.ns.svc or name.ns.svc.DOMAIN, with or without a dot at
// the end.
func (v *View) ServiceByHost(ctx context.Context, host, ns string) (*Service, error) {
	name, where, ok := SplitServiceHost(host, ns)
	if !ok {
		return nil, nil
	}
	return v.Service(ctx, where, name)
}

// SplitServiceHost reads a host as the name of a Service: name, name.ns,
// name.ns.svc, name.ns.svc.DOMAIN. The first two forms are only a guess; ok is
// false for what cannot be a Service's name.
func SplitServiceHost(host, ns string) (name, namespace string, ok bool) {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	for _, l := range labels {
		if l == "" || strings.ContainsAny(l, "*/:") {
			return "", "", false
		}
	}
	switch {
	case len(labels) == 1:
		return labels[0], ns, ns != ""
	case len(labels) == 2, labels[2] == "svc":
		return labels[0], labels[1], true
	}
	return "", "", false
}

// Selects says whether the selector of s means a Pod of that namespace with
// those labels. A Service without a selector selects nothing.
func (s *Service) Selects(ns string, labels map[string]string) bool {
	return ns == s.Namespace && len(s.Spec.Selector) > 0 && contains(labels, s.Spec.Selector)
}

// Host is the name of s as the mesh calls it: name.ns.svc.cluster.local.
func (s *Service) Host() string { return s.Name + "." + s.Namespace + ".svc.cluster.local" }

// PortFor finds the port of s by its number (spec.ports[].port) and protocol
// (tcp, udp, sctp; empty is tcp). nil: s has no such port.
func (s *Service) PortFor(port uint16, proto string) *corev1.ServicePort {
	for i := range s.Spec.Ports {
		if p := &s.Spec.Ports[i]; p.Port == int32(port) && sameProto(p.Protocol, proto) {
			return p
		}
	}
	return nil
}

// PortNamed finds the port of s by its name.
func (s *Service) PortNamed(name string) *corev1.ServicePort {
	for i := range s.Spec.Ports {
		if s.Spec.Ports[i].Name == name {
			return &s.Spec.Ports[i]
		}
	}
	return nil
}

// NodePortFor finds the port of s that nodes take on that number.
func (s *Service) NodePortFor(nodePort uint16, proto string) *corev1.ServicePort {
	for i := range s.Spec.Ports {
		if p := &s.Spec.Ports[i]; nodePort != 0 && p.NodePort == int32(nodePort) && sameProto(p.Protocol, proto) {
			return p
		}
	}
	return nil
}

func sameProto(p corev1.Protocol, proto string) bool {
	return strings.EqualFold(cmp.Or(string(p), "TCP"), cmp.Or(proto, "tcp"))
}

// contains says whether labels has every pair of want.
func contains(labels, want map[string]string) bool {
	for k, val := range want {
		if got, ok := labels[k]; !ok || got != val {
			return false
		}
	}
	return true
}

// EndpointSlices are the slices of a Service.
func (v *View) EndpointSlices(ctx context.Context, ns, service string) ([]*EndpointSlice, error) {
	l, err := v.list(ctx, endpointSlices, Selector{Namespace: ns, Labels: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		return nil, err
	}
	return every(l, decodeEndpointSlice, func(it *item) bool {
		return it.ns == ns && it.labelMap()[discoveryv1.LabelServiceName] == service
	})
}

// Endpoint is one address behind one port of a Service.
type Endpoint struct {
	Addr        netip.AddrPort
	Ready       bool // as kube-proxy takes it: unknown counts as ready
	Serving     bool
	Terminating bool
	Node        string // "" where not known
	Zone        string
	Pod         Ref // of kind Pod; zero where the slice names none
	From        Ref // the EndpointSlice, or Endpoints, that lists it
}

// Endpoints are the addresses behind a port of a Service, ready or not, sorted by
// address: from its EndpointSlices, or, where there is none, from its Endpoints.
// An endpoint that is listed twice is given once. A slice whose port has no
// number (a named targetPort that the Pod does not have) gives none.
func (v *View) Endpoints(ctx context.Context, svc *Service, port *corev1.ServicePort) ([]Endpoint, error) {
	slicesOf, err := v.EndpointSlices(ctx, svc.Namespace, svc.Name)
	var out []Endpoint
	for _, s := range slicesOf {
		out = append(out, s.Endpoints(port.Name, string(port.Protocol))...)
	}
	if len(slicesOf) == 0 {
		legacy, legacyErr := v.legacyEndpoints(ctx, svc, port)
		if err != nil && (legacyErr != nil || legacy == nil) {
			return nil, err // the slices are what was wanted
		}
		out = legacy
	}
	slices.SortFunc(out, func(a, b Endpoint) int {
		return cmp.Or(a.Addr.Compare(b.Addr), strings.Compare(a.From.Name, b.From.Name))
	})
	return slices.CompactFunc(out, func(a, b Endpoint) bool { return a.Addr == b.Addr }), nil
}

// Endpoints are the endpoints of the slice behind the port of that name and
// protocol.
func (s *EndpointSlice) Endpoints(portName, proto string) []Endpoint {
	var out []Endpoint
	for _, p := range s.Ports {
		if deref(p.Name) != portName || p.Port == nil || !sameProto(deref(p.Protocol), proto) {
			continue
		}
		number := port16(int64(*p.Port))
		if number == 0 {
			continue
		}
		for _, e := range s.EndpointSlice.Endpoints {
			ep := Endpoint{
				// The conditions' defaults are those of discovery/v1: ready unknown is
				// ready, serving follows ready, terminating unknown is not.
				Ready:       e.Conditions.Ready == nil || *e.Conditions.Ready,
				Terminating: e.Conditions.Terminating != nil && *e.Conditions.Terminating,
				Node:        deref(e.NodeName), Zone: deref(e.Zone), From: s.Ref(),
			}
			ep.Serving = ep.Ready
			if e.Conditions.Serving != nil {
				ep.Serving = *e.Conditions.Serving
			}
			if t := e.TargetRef; t != nil && t.Kind == "Pod" {
				ep.Pod = Ref{"Pod", cmp.Or(t.Namespace, s.Namespace), t.Name}
			}
			for _, text := range e.Addresses {
				if a, err := netip.ParseAddr(text); err == nil {
					ep.Addr = netip.AddrPortFrom(a.Unmap(), number)
					out = append(out, ep)
				}
			}
		}
	}
	return out
}

func deref[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}

func (v *View) legacyEndpoints(ctx context.Context, svc *Service, port *corev1.ServicePort) ([]Endpoint, error) {
	eps, err := get(ctx, v, "endpoints", svc.Namespace, svc.Name, decodeEndpoints)
	if err != nil || eps == nil {
		return nil, err
	}
	out := []Endpoint{}
	from := Ref{"Endpoints", svc.Namespace, svc.Name}
	for _, sub := range eps.Subsets {
		for _, p := range sub.Ports {
			number := port16(int64(p.Port))
			if p.Name != port.Name || number == 0 || !sameProto(p.Protocol, string(port.Protocol)) {
				continue
			}
			add := func(as []corev1.EndpointAddress, ready bool) { //nolint:staticcheck // old clusters
				for _, a := range as {
					ip, err := netip.ParseAddr(a.IP)
					if err != nil {
						continue
					}
					ep := Endpoint{Addr: netip.AddrPortFrom(ip.Unmap(), number), Ready: ready, Serving: ready, Node: deref(a.NodeName), From: from}
					if a.TargetRef != nil && a.TargetRef.Kind == "Pod" {
						ep.Pod = Ref{"Pod", cmp.Or(a.TargetRef.Namespace, svc.Namespace), a.TargetRef.Name}
					}
					out = append(out, ep)
				}
			}
			add(sub.Addresses, true)
			add(sub.NotReadyAddresses, false)
		}
	}
	return out, nil
}

// Pod finds a Pod by name.
func (v *View) Pod(ctx context.Context, ns, name string) (*Pod, error) {
	return get(ctx, v, pods, ns, name, decodePod)
}

// Pods are the Pods of a namespace, of all where ns is empty.
func (v *View) Pods(ctx context.Context, ns string) ([]*Pod, error) {
	return all(ctx, v, pods, ns, decodePod)
}

// PodsByIP are the Pods that have the address now: several where they share
// their node's network, none that has finished, since its address may be
// another's by now.
func (v *View) PodsByIP(ctx context.Context, addr netip.Addr) ([]*Pod, error) {
	addr = addr.Unmap().WithZone("")
	sel := Selector{Fields: "status.podIP=" + addr.String()}
	l, err := v.list(ctx, pods, sel)
	if err == nil {
		return livePods(l, l.at(addr))
	}
	var out []*Pod
	if unread(err) {
		v.nearLists(ctx, pods, sel, func(l *list) bool {
			var broken error
			if out, broken = livePods(l, l.at(addr)); broken != nil {
				out, err = nil, broken
			}
			return len(out) > 0 || broken != nil
		})
	}
	if len(out) > 0 {
		return out, nil
	}
	return nil, err
}

// livePods decodes those that have not finished.
func livePods(l *list, items []*item) ([]*Pod, error) {
	var out []*Pod
	for _, it := range items {
		if it.phase == "Succeeded" || it.phase == "Failed" {
			continue
		}
		p, err := decoded(l, it, decodePod)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// PodAt is the Pod that has the address; where several share it, the one whose
// container declares the port, nil where that does not tell them apart.
func (v *View) PodAt(ctx context.Context, addr netip.Addr, port uint16, proto string) (*Pod, error) {
	ps, err := v.PodsByIP(ctx, addr)
	if err != nil || len(ps) == 0 {
		return nil, err
	}
	return onePod(ps, port, proto), nil
}

func onePod(ps []*Pod, port uint16, proto string) *Pod {
	if len(ps) == 1 {
		return ps[0]
	}
	var found *Pod
	for _, p := range ps {
		if p.DeclaresPort(port, proto) {
			if found != nil {
				return nil
			}
			found = p
		}
	}
	return found
}

// PodsSelected are the Pods, finished ones left out, that have all the labels.
// ns is empty for all namespaces. An empty selector selects nothing here, as in a
// Service; [View.Pods] gives all.
func (v *View) PodsSelected(ctx context.Context, ns string, selector map[string]string) ([]*Pod, error) {
	if len(selector) == 0 {
		return nil, nil
	}
	l, err := v.list(ctx, pods, Selector{Namespace: ns, Labels: labelQuery(selector)})
	if err != nil {
		return nil, err
	}
	var found []*item
	for _, it := range l.items {
		if (ns == "" || it.ns == ns) && it.hasLabels(selector) {
			found = append(found, it)
		}
	}
	return livePods(l, found)
}

// hasLabels looks at the text before it decodes.
func (it *item) hasLabels(want map[string]string) bool {
	if bytes.IndexByte(it.labels, '\\') < 0 {
		for k, val := range want {
			if !bytes.Contains(it.labels, []byte(k)) || !bytes.Contains(it.labels, []byte(val)) {
				return false
			}
		}
	}
	return contains(it.labelMap(), want)
}

func labelQuery(m map[string]string) string {
	parts := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+"="+m[k])
	}
	return strings.Join(parts, ",")
}

// PodsOfNode are the Pods that run on a node, finished ones left out.
func (v *View) PodsOfNode(ctx context.Context, node string) ([]*Pod, error) {
	l, found, err := v.itemsOfNode(ctx, node)
	if err != nil {
		return nil, err
	}
	return livePods(l, found)
}

func (v *View) itemsOfNode(ctx context.Context, node string) (*list, []*item, error) {
	l, err := v.list(ctx, pods, Selector{Fields: "spec.nodeName=" + node})
	if err != nil {
		return nil, nil, err
	}
	var found []*item
	for _, it := range l.items {
		if it.node == node {
			found = append(found, it)
		}
	}
	return l, found, nil
}

// Node finds a node by name.
func (v *View) Node(ctx context.Context, name string) (*Node, error) {
	l, err := v.list(ctx, nodes, Selector{})
	if err != nil {
		return nil, err
	}
	it := l.byName["/"+name]
	if it == nil {
		return nil, nil
	}
	return decoded(l, it, decodeNode)
}

// Nodes are all nodes.
func (v *View) Nodes(ctx context.Context) ([]*Node, error) {
	return all(ctx, v, nodes, "", decodeNode)
}

// NodeByAddress is the node whose status has the address.
func (v *View) NodeByAddress(ctx context.Context, addr netip.Addr) (*Node, error) {
	l, err := v.list(ctx, nodes, Selector{})
	if err != nil {
		return nil, err
	}
	for _, it := range l.at(addr) {
		return decoded(l, it, decodeNode)
	}
	return nil, nil
}

// NodeByPodCIDR is the node whose Pods have addresses of that range, nil where
// none says so. A node's own gateway address in it (cni0, the first one) and
// that of its tunnel (the range's own) belong to the node, not to a Pod.
func (v *View) NodeByPodCIDR(ctx context.Context, addr netip.Addr) (*Node, error) {
	all, err := v.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		for _, c := range n.PodCIDRs() {
			if c.Contains(addr.Unmap()) {
				return n, nil
			}
		}
	}
	return nil, nil
}

// PodCIDRs are the ranges that the node's Pods have addresses of.
func (n *Node) PodCIDRs() []netip.Prefix {
	var out []netip.Prefix
	for _, text := range append([]string{n.Spec.PodCIDR}, n.Spec.PodCIDRs...) {
		if p, err := netip.ParsePrefix(text); err == nil && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// Addrs are the node's addresses, the internal ones first.
func (n *Node) Addrs() []netip.Addr {
	var internal, other []netip.Addr
	for _, a := range n.Status.Addresses {
		ip, err := netip.ParseAddr(a.Address)
		if err != nil {
			continue // Hostname, DNS names
		}
		if a.Type == corev1.NodeInternalIP {
			internal = append(internal, ip.Unmap())
		} else {
			other = append(other, ip.Unmap())
		}
	}
	return append(internal, other...)
}

// Ready is the node's condition.
func (n *Node) Ready() bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Namespace finds a namespace by name.
func (v *View) Namespace(ctx context.Context, name string) (*Namespace, error) {
	return get(ctx, v, "namespaces", "", name, decodeNamespace)
}

// Secret says that a Secret is there, and what may be known of it.
func (v *View) Secret(ctx context.Context, ns, name string) (*Secret, error) {
	return get(ctx, v, "secrets", ns, name, decodeSecret)
}

// SecretsNamed are the Secrets of that name in any namespace.
func (v *View) SecretsNamed(ctx context.Context, name string) ([]*Secret, error) {
	l, err := v.list(ctx, "secrets", Selector{Fields: "metadata.name=" + name})
	if err != nil {
		return nil, err
	}
	return every(l, decodeSecret, func(it *item) bool { return it.name == name })
}

// ConfigMap is the data of a ConfigMap, nil where there is none of that name.
func (v *View) ConfigMap(ctx context.Context, ns, name string) (map[string]string, error) {
	m, err := get(ctx, v, "configmaps", ns, name, decodeConfigMap)
	if m == nil || err != nil {
		return nil, err
	}
	if m.data == nil {
		return map[string]string{}, nil
	}
	return m.data, nil
}

// Object finds an object of a resource by name, for showing it. A Secret comes
// without its values.
func (v *View) Object(ctx context.Context, resource, ns, name string) (*Meta, error) {
	if resource == "secrets" {
		s, err := v.Secret(ctx, ns, name)
		if s == nil || err != nil {
			return nil, err
		}
		return &s.Meta, nil
	}
	l, err := v.list(ctx, resource, Selector{Namespace: ns, Name: name})
	if err != nil {
		return nil, err
	}
	it := l.byName[ns+"/"+name]
	if it == nil {
		return nil, nil
	}
	m := it.meta()
	if m.Kind == "" {
		m.Kind = l.resource.kind
	}
	return &m, nil
}

// OwnerKind says what an address belongs to.
type OwnerKind string

// The owners of an address.
const (
	OwnerLoadBalancer OwnerKind = "loadbalancer" // an ingress IP of a Service's load balancer
	OwnerExternalIP   OwnerKind = "externalip"   // spec.externalIPs of a Service
	OwnerClusterIP    OwnerKind = "clusterip"
	OwnerNode         OwnerKind = "node"
	OwnerPod          OwnerKind = "pod"
)

// Owner is one object that an address belongs to.
type Owner struct {
	Kind    OwnerKind
	Service *Service            // loadbalancer, externalip, clusterip
	Port    *corev1.ServicePort // the Service's port that was meant; nil where it has none such
	Pod     *Pod                // pod
	Node    *Node               // node
	// Inferred: nodes could not be read, but a Pod in the node's own network has
	// the address. Node holds its name and that address only.
	Inferred bool

	// Of a node:
	NodePorts   []NodePort // the Services that take the port on every node
	HostPorts   []*Pod     // Pods on it that take the port through hostPort
	HostNetwork []*Pod     // Pods on it in the node's own network, those that declare the port first
}

// NodePort is a port that a Service takes on every node.
type NodePort struct {
	Service *Service
	Port    *corev1.ServicePort // nil for the health check
	Health  bool                // it is the Service's healthCheckNodePort
}

// Owners says whose the address is and what the port means there; proto is tcp,
// udp or sctp. No owner: as far as the objects tell, the address is not of this
// cluster. Services come before the node, the node before Pods, as the node's
// rules take them.
//
// The Pods of a node are asked for only where no Service takes the port there.
// The error tells what could not be read; owners that were found all the same
// are given beside it.
func (v *View) Owners(ctx context.Context, addr netip.Addr, port uint16, proto string) ([]Owner, error) {
	addr = addr.Unmap().WithZone("")
	var out []Owner
	var errs []error

	svcs, err := v.list(ctx, services, Selector{})
	if err != nil {
		errs = append(errs, err)
	}
	if unread(err) {
		// A list with the port, too, before one that has the address only.
		v.nearLists(ctx, services, Selector{}, func(l *list) bool {
			its := l.at(addr)
			meant := false
			for _, it := range its {
				svc, err := decoded(l, it, decodeService)
				meant = meant || err == nil && svc.PortFor(port, proto) != nil
			}
			if len(its) > 0 && (svcs == nil || meant) {
				svcs = l
			}
			return meant
		})
	}
	if svcs != nil {
		for _, it := range svcs.at(addr) {
			svc, err := decoded(svcs, it, decodeService)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			o := Owner{Service: svc, Port: svc.PortFor(port, proto)}
			switch {
			case slices.Contains(it.lbIPs, addr):
				o.Kind = OwnerLoadBalancer
			case slices.Contains(it.externalIPs, addr):
				o.Kind = OwnerExternalIP
			default:
				o.Kind = OwnerClusterIP
			}
			out = append(out, o)
		}
		// A Service of which the port is meant before those that only share the
		// address.
		slices.SortStableFunc(out, func(a, b Owner) int { return boolOrder(a.Port != nil, b.Port != nil) })
	}

	node, err := v.NodeByAddress(ctx, addr)
	inferred := false
	if err != nil && len(out) == 0 {
		if node, inferred = v.nodeOfHostNetwork(ctx, addr); inferred {
			err = nil
		}
	}
	if err != nil {
		errs = append(errs, err)
	}
	if node != nil {
		o := Owner{Kind: OwnerNode, Node: node, Inferred: inferred}
		// Where the Services could not be read is said above.
		if o.NodePorts, err = v.NodePorts(ctx, port, proto); err != nil && svcs != nil {
			errs = append(errs, err)
		}
		if len(o.NodePorts) == 0 {
			if o.HostPorts, o.HostNetwork, err = v.onNode(ctx, node.Name, addr, port, proto); err != nil {
				errs = append(errs, err)
			}
		}
		return append(out, o), errors.Join(errs...)
	}
	if len(out) > 0 {
		return out, errors.Join(errs...)
	}

	ps, err := v.PodsByIP(ctx, addr)
	if err == nil && len(ps) == 0 {
		// status.podIP is the first address only: a Pod of two families has its
		// other one found through the node.
		if n, nodeErr := v.NodeByPodCIDR(ctx, addr); nodeErr == nil && n != nil && len(n.PodCIDRs()) > 1 {
			var l *list
			if l, _, err = v.itemsOfNode(ctx, n.Name); err == nil {
				ps, err = livePods(l, l.at(addr))
			}
		}
	}
	if err != nil {
		errs = append(errs, err)
	}
	if one := onePod(ps, port, proto); one != nil {
		// Those that share its address are behind it.
		slices.SortStableFunc(ps, func(a, b *Pod) int { return boolOrder(a == one, b == one) })
	}
	for _, p := range ps {
		out = append(out, Owner{Kind: OwnerPod, Pod: p})
	}
	return out, errors.Join(errs...)
}

// nodeOfHostNetwork finds the node through a Pod in its network, whose address is
// the node's.
func (v *View) nodeOfHostNetwork(ctx context.Context, addr netip.Addr) (*Node, bool) {
	ps, err := v.PodsByIP(ctx, addr)
	if err != nil {
		return nil, false
	}
	for _, p := range ps {
		if p.Spec.HostNetwork && p.Spec.NodeName != "" {
			n := &Node{Node: &corev1.Node{}}
			n.Name = p.Spec.NodeName
			n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addr.String()}}
			return n, true
		}
	}
	return nil, false
}

// boolOrder sorts true before false.
func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// NodePorts are the Services that take the port on every node.
func (v *View) NodePorts(ctx context.Context, port uint16, proto string) ([]NodePort, error) {
	l, err := v.list(ctx, services, Selector{})
	if err == nil {
		return nodePorts(l, port, proto)
	}
	var out []NodePort
	if unread(err) {
		v.nearLists(ctx, services, Selector{}, func(l *list) bool {
			var broken error
			if out, broken = nodePorts(l, port, proto); broken != nil {
				out, err = nil, broken
			}
			return len(out) > 0 || broken != nil
		})
	}
	if len(out) > 0 {
		return out, nil
	}
	return nil, err
}

// ServicesOfLoadBalancer are the Services whose load balancer has that name for
// an address (status.loadBalancer.ingress[].hostname), as those of AWS do.
func (v *View) ServicesOfLoadBalancer(ctx context.Context, hostname string) ([]*Service, error) {
	hostname = strings.TrimSuffix(hostname, ".")
	l, err := v.list(ctx, services, Selector{})
	if err != nil {
		return nil, err
	}
	return every(l, decodeService, func(it *item) bool {
		return slices.ContainsFunc(it.lbNames, func(n string) bool {
			return strings.EqualFold(strings.TrimSuffix(n, "."), hostname)
		})
	})
}

func nodePorts(l *list, port uint16, proto string) ([]NodePort, error) {
	var out []NodePort
	if port == 0 {
		return nil, nil
	}
	for _, it := range l.items {
		if it.healthPort != port && !slices.Contains(it.nodePorts, port) {
			continue
		}
		svc, err := decoded(l, it, decodeService)
		if err != nil {
			return nil, err
		}
		if p := svc.NodePortFor(port, proto); p != nil {
			out = append(out, NodePort{Service: svc, Port: p})
		}
		if it.healthPort == port && sameProto("TCP", proto) {
			out = append(out, NodePort{Service: svc, Health: true})
		}
	}
	return out, nil
}

// onNode finds the Pods of a node that take the port through hostPort, and those
// in the node's own network.
func (v *View) onNode(ctx context.Context, node string, addr netip.Addr, port uint16, proto string) (hostPorts, hostNetwork []*Pod, err error) {
	l, items, err := v.itemsOfNode(ctx, node)
	if err != nil {
		return nil, nil, err
	}
	for _, it := range items {
		if it.phase == "Succeeded" || it.phase == "Failed" || !it.hostNetwork && !bytes.Contains(it.raw, []byte(`"hostPort"`)) {
			continue
		}
		p, err := decoded(l, it, decodePod)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case it.hostNetwork:
			hostNetwork = append(hostNetwork, p)
		case p.takesHostPort(addr, port, proto):
			hostPorts = append(hostPorts, p)
		}
	}
	slices.SortStableFunc(hostNetwork, func(a, b *Pod) int {
		return boolOrder(a.DeclaresPort(port, proto), b.DeclaresPort(port, proto))
	})
	return hostPorts, hostNetwork, nil
}
