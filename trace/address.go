package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/hoptrail/hoptrail/k8s"
)

// originate sends the flow from where it starts: the outside, a node's process,
// or a process in a Pod.
func (w *walker) originate(f flow) *node {
	if w.err != nil {
		return nil
	}
	switch f.at.area {
	case AreaNode:
		return w.fromNode(f)
	case AreaPod:
		return w.fromPod(f)
	}
	if !f.src.IsValid() {
		f.assumed = true
		f.src = netip.AddrPortFrom(assumedClient, 0)
		if f.dst.Addr().Is6() {
			f.src = netip.AddrPortFrom(assumedClient6, 0)
		}
	}
	return w.fromOutside(f)
}

// fromOutside finds whose the address is, as one outside of the cluster meets it.
func (w *walker) fromOutside(f flow) *node {
	owners, err := w.cluster.Owners(w.ctx, f.dst.Addr(), f.dst.Port(), f.proto)
	notRead := w.refused(err)
	if w.err != nil {
		return nil
	}
	if notRead != nil && len(owners) == 0 {
		if n := w.perhapsNode(f, notRead); n != nil || w.err != nil {
			return n
		}
	}
	if notRead != nil && !slices.ContainsFunc(owners, func(o k8s.Owner) bool { return o.Service != nil && o.Port != nil }) {
		n := w.hop(KindService, Subject{Kind: "Address", Name: f.dst.String()}, f)
		n.hop.Detail.Address = f.dst.String()
		n.hop.Summary = "whose address it is could not be found out"
		w.unread(n, notRead)
		return w.done(n)
	}
	for _, kind := range []k8s.OwnerKind{k8s.OwnerLoadBalancer, k8s.OwnerExternalIP, k8s.OwnerNode, k8s.OwnerPod, k8s.OwnerClusterIP} {
		for i := range owners {
			if owners[i].Kind != kind {
				continue
			}
			o := &owners[i]
			if o.Service != nil && o.Port == nil {
				if better := withPort(owners, kind); better != nil {
					o = better
				}
			}
			switch kind {
			case k8s.OwnerLoadBalancer, k8s.OwnerExternalIP:
				return w.loadBalancer(f, o)
			case k8s.OwnerNode:
				return w.nodeAddress(f, o)
			case k8s.OwnerPod:
				n := w.notRoutable(f, "a Pod's address", "Pod", o.Pod.Namespace, o.Pod.Name)
				n.hop.Detail.Pod = o.Pod.Namespace + "/" + o.Pod.Name
				n.to("", 1, w.atPod(f, w.wrapPod(o.Pod), place{}))
				return n
			case k8s.OwnerClusterIP:
				n := w.notRoutable(f, "a ClusterIP", "Service", o.Service.Namespace, o.Service.Name)
				s := w.behind(o.Service, o.Port)
				n.facts.fix = append(n.facts.fix, w.outsideAddresses(s))
				w.showService(n, s)
				return n
			}
		}
	}
	if named := w.named[f.dst.Addr()]; len(named) > 0 {
		o := &k8s.Owner{Kind: k8s.OwnerLoadBalancer, Service: named[0], Port: named[0].PortFor(f.dst.Port(), f.proto)}
		for _, svc := range named[1:] {
			if p := svc.PortFor(f.dst.Port(), f.proto); o.Port == nil && p != nil {
				o.Service, o.Port = svc, p
			}
		}
		return w.loadBalancer(f, o)
	}
	n := w.hop(KindExternal, Subject{Kind: "Address", Name: f.dst.Addr().String()}, f)
	n.hop.Detail.Address = f.dst.String()
	n.hop.Summary = f.dst.Addr().String() + " is not of this cluster"
	n.hop.settle(Fail, f.dst.Addr().String()+" is no load balancer, external, node, Service or Pod address of this cluster")
	return w.done(n)
}

// perhapsNode is an address that nothing that could be read has, while the nodes
// could not be: with a port that a Service takes on every node it is taken for a
// node's, and the way on is the one that the EndpointSlices tell. The hop stays
// unknown. It is nil where no Service takes the port.
func (w *walker) perhapsNode(f flow, notRead *NotReadError) *node {
	nodePorts, err := w.cluster.NodePorts(w.ctx, f.dst.Port(), f.proto)
	if w.refused(err) != nil || w.err != nil || len(nodePorts) == 0 || nodePorts[0].Health {
		return nil
	}
	svc := nodePorts[0].Service
	n := w.hop(KindService, Subject{Kind: "Service", Namespace: svc.Namespace, Name: svc.Name}, f)
	h := n.hop
	s := w.behind(svc, nodePorts[0].Port)
	w.showService(n, s)
	h.Detail.Address = f.dst.String()
	h.Summary = fmt.Sprintf("NodePort %d is %s, if %s is a node (inferred)", f.dst.Port(), s, f.dst.Addr())
	w.cite(h, Inferred, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: svc.Namespace, Name: svc.Name}},
		fmt.Sprintf("%s has the nodePort %d on every node; that %s is one was not read", s, f.dst.Port(), f.dst.Addr()), "")
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		h.check("externalTrafficPolicy", Unknown, "Local: the node sends to endpoints of its own only, and which node it is was not read")
	}
	w.unread(n, notRead)
	n = w.done(n)
	w.pastNodes(n, f, s)
	return n
}

// showInferred says on what it rests that an address is a node's, where the nodes
// themselves could not be read.
func (w *walker) showInferred(h *Hop, o *k8s.Owner, addr netip.Addr) {
	if !o.Inferred {
		return
	}
	h.check("node", OK, "nodes were not read; a Pod in the network of "+o.Node.Name+" has the address (inferred)")
	w.cite(h, Inferred, Query{Area: AreaCluster, File: "pods", Select: Selector{Fields: "status.podIP=" + addr.String()}},
		addr.String()+" is the address of a Pod with hostNetwork on node "+o.Node.Name, "")
}

// nodeWith is the node that has the address itself, nil where none does.
func (w *walker) nodeWith(addr netip.Addr) *k8s.Node {
	owner, err := w.cluster.NodeByAddress(w.ctx, addr)
	if w.refused(err) != nil || w.err != nil {
		return nil
	}
	return owner
}

func withPort(owners []k8s.Owner, kind k8s.OwnerKind) *k8s.Owner {
	for i := range owners {
		if owners[i].Kind == kind && owners[i].Port != nil {
			return &owners[i]
		}
	}
	return nil
}

// notRoutable is an address that only nodes and Pods can reach, asked for from
// outside: it works where the network happens to route it, which nothing read
// here tells.
func (w *walker) notRoutable(f flow, what, kind, ns, name string) *node {
	n := w.hop(KindService, Subject{Kind: kind, Namespace: ns, Name: name}, f)
	n.hop.Summary = f.dst.String() + " is " + what
	n.hop.settle(Unknown, f.dst.Addr().String()+" is "+what+", which exists only inside the cluster: trace it --from node:NAME or pod:NAMESPACE/NAME; whether your network routes it from outside cannot be known from here")
	from := "node:NAME"
	nodes, err := w.cluster.Nodes(w.ctx)
	w.refused(err)
	if len(nodes) > 0 {
		from = "node:" + nodes[0].Name
	}
	n.facts.fix = []string{"ask from inside: --from " + from + ", or --from pod:NAMESPACE/NAME as one of its clients"}
	return w.done(n)
}

// outsideAddresses says where a Service is reached from outside of the cluster.
func (w *walker) outsideAddresses(s *servicePort) string {
	var at []string
	for _, in := range s.service.Status.LoadBalancer.Ingress {
		at = append(at, orElse(in.Hostname, in.IP))
	}
	at = append(at, s.service.Spec.ExternalIPs...)
	if s.port != nil {
		for i := range at {
			at[i] += ":" + strconv.Itoa(int(s.port.Port))
		}
		if s.port.NodePort != 0 {
			at = append(at, "any node, port "+strconv.Itoa(int(s.port.NodePort)))
		}
	}
	if len(at) == 0 {
		return "from outside " + s.service.Namespace + "/" + s.service.Name + " has no address: it has neither a load balancer nor a NodePort"
	}
	return "from outside it is reached at " + strings.Join(at, ", ")
}

// loadBalancer is an address that a Service has outside of the nodes: the load
// balancer sends to nodes, an external IP is routed to one of them.
func (w *walker) loadBalancer(f flow, o *k8s.Owner) *node {
	return w.once("lb|"+f.key(), f, func() *node {
		svc := o.Service
		n := w.hop(KindLoadBalancer, Subject{Kind: "Service", Namespace: svc.Namespace, Name: svc.Name}, f)
		h := n.hop
		s := w.behind(svc, o.Port)
		w.showService(n, s)
		h.Detail.Address = f.dst.String()
		h.check("type", OK, string(svc.Spec.Type))
		h.check("externalTrafficPolicy", OK, orElse(string(svc.Spec.ExternalTrafficPolicy), "Cluster"))
		if o.Port == nil {
			h.Summary = "no port " + strconv.Itoa(int(f.dst.Port())) + " on " + svc.Namespace + "/" + svc.Name
			h.settle(Fail, fmt.Sprintf("%s is %s/%s, which has the ports %s and not %d/%s", f.dst.Addr(), svc.Namespace, svc.Name, portList(svc), f.dst.Port(), f.proto))
			return w.done(n)
		}
		h.Summary = f.dst.String() + " is " + s.String()
		h.settle(OK, "")
		ways := w.balanced(n, s, o)
		if own := w.nodeWith(f.dst.Addr()); own != nil {
			// The address is a node's own, as with externalIPs or a load balancer
			// that lives on the nodes: the network brings it to that node only.
			h.check("address", OK, "node "+own.Name+"'s own: it arrives there")
			ways = []*k8s.Node{own}
		}
		n = w.done(n)
		if len(ways) == 0 {
			if h.State == OK {
				h.settle(Fail, "no node takes part in the load balancer")
				return n
			}
			w.pastNodes(n, w.terminated(n, f, svc, o.Port), s)
			return n
		}
		onward := w.terminated(n, f, svc, o.Port)
		onward.fanned = len(ways) > 1
		_, byName := w.named[f.dst.Addr()]
		if byName && toPods(svc) {
			h.check("targets", OK, "the Pods themselves, not the nodes (annotation of the Service)")
			w.pastNodes(n, onward, s)
			return n
		}
		if len(ways) > 1 {
			save := saveV4
			if f.dst.Addr().Is6() {
				save = saveV6
			}
			for _, way := range ways[:min(len(ways), 2*atOnce)] {
				w.read.ahead(w.ctx, Query{Area: AreaNode, Name: way.Name, File: save})
			}
		}
		for _, way := range ways {
			next := onward
			if mode := ingressMode(svc, f.dst.Addr()); (mode == "Proxy" || byName) && o.Port.NodePort != 0 {
				if a := nodeAddr(way, f.dst.Addr().Is6()); a.IsValid() {
					next.dst = netip.AddrPortFrom(a, uint16(o.Port.NodePort))
				}
			}
			label := ""
			if len(ways) > 1 {
				label = "node " + way.Name
			}
			n.to(label, 1/float64(len(ways)), w.atNode(next, way.Name, s))
			if w.err != nil {
				return nil
			}
		}
		return n
	})
}

// pastNodes goes on from a load balancer whose nodes could not be read: to the
// Service's endpoints, which any of them would choose from. The hop stays unknown.
func (w *walker) pastNodes(n *node, f flow, s *servicePort) {
	eps := s.sentTo(f.dst.Addr())
	w.aheadTo(len(eps), func(i int) netip.AddrPort { return eps[i].Addr })
	for _, e := range eps {
		p := w.podByIP(e.Addr.Addr(), e.Addr.Port())
		if w.err != nil || p == nil {
			return
		}
		next := f
		next.dst, next.assumed = e.Addr, true
		label := ""
		if len(eps) > 1 {
			label = e.Addr.String()
		}
		n.to(label, 1/float64(len(eps)), w.atPod(next, p, place{}))
	}
}

// terminated is the flow as the load balancer passes it on: where an annotation
// makes it end TLS, what it sends to the nodes is plain
// (kubernetes.io cloud-provider-aws, service annotations).
func (w *walker) terminated(n *node, f flow, svc *k8s.Service, port *corev1.ServicePort) flow {
	const prefix = "service.beta.kubernetes.io/aws-load-balancer-"
	cert, ok := svc.Annotations[prefix+"ssl-cert"]
	if !ok || cert == "" || f.tls == "none" {
		return f
	}
	ports := svc.Annotations[prefix+"ssl-ports"]
	if ports != "" && ports != "*" {
		named := slices.ContainsFunc(strings.Split(ports, ","), func(p string) bool {
			p = strings.TrimSpace(p)
			return p == port.Name || p == strconv.Itoa(int(port.Port))
		})
		if !named {
			return f
		}
	}
	switch backend := svc.Annotations[prefix+"backend-protocol"]; backend {
	case "https", "ssl":
		n.hop.check("TLS", OK, "ended and begun again by the load balancer (annotation ssl-cert, backend-protocol "+backend+")")
	default:
		n.hop.check("TLS", OK, "ended by the load balancer (annotation ssl-cert, backend-protocol "+orElse(backend, "tcp")+"): the nodes get plain "+orElse(backend, "tcp"))
		f.tls, f.sni, f.alpn = "none", "", nil
		if f.scheme == "https" {
			f.scheme = "http"
			if backend == "http" {
				f.headers = append(slices.Clone(f.headers), Header{Name: "x-forwarded-proto", Value: "https"})
			}
		}
	}
	return f
}

// balanced are the nodes a load balancer sends to: the ready ones that do not
// opt out, and with externalTrafficPolicy Local those with an endpoint, as its
// health check finds them (KEP-1669, KEP-1860). A node that is not ready stays
// among the targets (KEP-3458) and is passed over while its health check fails;
// where no other is left, it is what the load balancer has.
func (w *walker) balanced(n *node, s *servicePort, o *k8s.Owner) []*k8s.Node {
	nodes, err := w.cluster.Nodes(w.ctx)
	if notRead := w.refused(err); notRead != nil {
		w.unread(n, notRead)
		return nil
	}
	local := s.service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	var out, notReady []*k8s.Node
	for _, node := range nodes {
		if _, opt := node.Labels[noBalancer]; opt {
			n.hop.check("node "+node.Name, Skipped, "labelled exclude-from-external-load-balancers")
			continue
		}
		if !nodeReady(node) {
			n.hop.check("node "+node.Name, Warn, "not ready: the load balancer's health check passes it over")
			notReady = append(notReady, node)
			continue
		}
		if local && o.Kind == k8s.OwnerLoadBalancer && s.notRead == nil {
			if !slices.ContainsFunc(s.ready(), func(e k8s.Endpoint) bool { return e.Node == node.Name }) {
				n.hop.check("node "+node.Name, Skipped, "no ready endpoint there: its health check fails (externalTrafficPolicy Local)")
				continue
			}
		}
		out = append(out, node)
	}
	if len(out) == 0 && !local {
		return notReady
	}
	return out
}

// noBalancer is the label of a node that is no load balancer's target (KEP-1143).
const noBalancer = "node.kubernetes.io/exclude-from-external-load-balancers"

func nodeReady(n *k8s.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return true
}

// ingressMode is how the load balancer hands packets to the nodes: VIP keeps
// their destination, Proxy sends to the node (KEP-1860).
func ingressMode(svc *k8s.Service, addr netip.Addr) string {
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil && a == addr && in.IPMode != nil {
			return string(*in.IPMode)
		}
	}
	return "VIP"
}

// toPods says whether the load balancer sends to the Pods' own addresses
// (aws-load-balancer-controller, service annotations).
func toPods(svc *k8s.Service) bool {
	const prefix = "service.beta.kubernetes.io/aws-load-balancer-"
	return svc.Annotations[prefix+"nlb-target-type"] == "ip" || svc.Annotations[prefix+"type"] == "nlb-ip"
}

func nodeAddr(n *k8s.Node, six bool) netip.Addr {
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP} {
		for _, a := range n.Status.Addresses {
			if a.Type != kind {
				continue
			}
			if ip, err := netip.ParseAddr(a.Address); err == nil && ip.Is6() == six {
				return ip
			}
		}
	}
	return netip.Addr{}
}

// nodeAddress is an address of a node, asked for from outside.
func (w *walker) nodeAddress(f flow, o *k8s.Owner) *node {
	return w.once("nodeaddr|"+f.key(), f, func() *node {
		n := w.hop(KindService, Subject{Kind: "Node", Name: o.Node.Name}, f)
		h := n.hop
		h.Detail.Address = f.dst.String()
		w.showInferred(h, o, f.dst.Addr())
		var s *servicePort
		switch {
		case len(o.NodePorts) > 0 && !o.NodePorts[0].Health:
			np := o.NodePorts[0]
			s = w.behind(np.Service, np.Port)
			h.Subject = Subject{Kind: "Service", Namespace: np.Service.Namespace, Name: np.Service.Name}
			w.showService(n, s)
			h.Summary = fmt.Sprintf("NodePort %d is %s", f.dst.Port(), s)
			h.settle(OK, "")
		case len(o.NodePorts) > 0:
			svc := o.NodePorts[0].Service
			h.Subject = Subject{Kind: "Service", Namespace: svc.Namespace, Name: svc.Name}
			h.Summary = fmt.Sprintf("port %d is the health check port of %s/%s", f.dst.Port(), svc.Namespace, svc.Name)
			h.settle(OK, "")
		case len(o.HostPorts) > 0 || len(o.HostNetwork) > 0 && o.HostNetwork[0].DeclaresPort(f.dst.Port(), f.proto):
			p := w.wrapPod(append(slices.Clone(o.HostPorts), o.HostNetwork...)[0])
			h.Subject = Subject{Kind: "Pod", Namespace: p.ref.namespace, Name: p.ref.name}
			h.Detail.Pod = p.ref.String()
			h.Summary = fmt.Sprintf("port %d of node %s is taken by Pod %s", f.dst.Port(), o.Node.Name, p.ref)
			h.settle(OK, "")
		case ownPort(f):
			h.Summary = fmt.Sprintf("port %d of node %s is for the node's own processes", f.dst.Port(), o.Node.Name)
			h.settle(OK, "")
		default:
			h.Summary = fmt.Sprintf("nobody takes port %d on node %s", f.dst.Port(), o.Node.Name)
			h.settle(Fail, fmt.Sprintf("%s is node %s; no Service has the NodePort %d/%s and no Pod declares it as a port of the host", f.dst.Addr(), o.Node.Name, f.dst.Port(), f.proto))
		}
		n = w.done(n)
		n.to("", 1, w.atNode(f, o.Node.Name, s))
		if h.State == Fail && len(n.next) == 1 && len(n.next[0].to.hop.Detail.DNAT) > 0 {
			// What the kernel holds outranks what the objects say.
			h.State, h.Why = Warn, h.Why+"; the node's rules translate it all the same"
		}
		return n
	})
}

// ownPort says whether the port is one that processes of a node itself commonly
// take (kubernetes.io/docs/reference/networking/ports-and-protocols): no object of
// the API tells whether they do.
func ownPort(f flow) bool {
	switch p := f.dst.Port(); p {
	case 22, 53, 111, 179, 2379, 2380, 6443, 9100:
		return true
	default:
		return p >= 10248 && p <= 10259
	}
}

func portList(svc *k8s.Service) string {
	var out []string
	for _, p := range svc.Spec.Ports {
		s := strconv.Itoa(int(p.Port))
		if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
			s += "/" + strings.ToLower(string(p.Protocol))
		}
		if p.Name != "" {
			s += " (" + p.Name + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

// toExternal ends a way at an address that is not of this cluster.
func (w *walker) toExternal(f flow) *node {
	return w.once("external|"+f.key(), f, func() *node {
		n := w.hop(KindExternal, Subject{Kind: "Address", Name: f.dst.Addr().String()}, f)
		n.hop.Detail.Address = f.dst.String()
		n.hop.Summary = "leaves the cluster for " + f.dst.String()
		if owner, err := w.cluster.NodeByAddress(w.ctx, f.dst.Addr()); w.refused(err) == nil && owner != nil {
			n.hop.Subject = Subject{Kind: "Node", Name: owner.Name}
			n.hop.Summary = "a process of node " + owner.Name + " at " + f.dst.String()
		}
		n.hop.settle(OK, "")
		n.hop.check("what is there", Unknown, "outside of what can be read")
		w.checkEgress(n, f, k8s.Peer{Addr: f.dst.Addr()})
		if n.hop.State == Fail {
			n.hop.Summary = "does not leave for " + f.dst.String()
		}
		return w.done(n)
	})
}
