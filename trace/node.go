package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/hoptrail/hoptrail/iptables"
	"github.com/hoptrail/hoptrail/k8s"
)

// atNode is a packet that arrives at a node from outside of it. s is the Service
// it is meant for, where that is known.
func (w *walker) atNode(f flow, name string, s *servicePort) *node {
	return w.once("node|"+name+"|"+f.key(), f, func() *node {
		f := f
		f.at = place{area: AreaNode, name: name}
		ns := w.nodeNet(name, f.dst.Addr().Is6())
		if w.err != nil {
			return nil
		}
		return w.nodeHop(f, ns, iptables.Prerouting, w.outerInterface(ns), s)
	})
}

// fromNode is a packet that a process of the node sends.
func (w *walker) fromNode(f flow) *node {
	name := f.at.name
	return w.once("fromnode|"+f.key(), f, func() *node {
		f := f
		six := f.dst.Addr().Is6()
		node, err := w.cluster.Node(w.ctx, name)
		notRead := w.refused(err)
		if w.err != nil {
			return nil
		}
		ns := w.nodeNet(name, six)
		if w.err != nil {
			return nil
		}
		if !f.src.IsValid() {
			if a := ownAddr(node, ns, six); a.IsValid() {
				f.src = netip.AddrPortFrom(a, 0)
			} else if ns.notRead == nil && notRead != nil {
				blind := *ns // its rules are known, what it sends from is not
				blind.notRead = notRead
				ns = &blind
			} else if ns.notRead == nil {
				n := w.hop(KindNode, Subject{Kind: "Node", Name: name}, f)
				n.facts.netns = ns
				n.hop.Summary = "the node the request starts from"
				// A client that has both kinds of address to choose from takes the other.
				n.hop.settle(Unknown, "node "+name+" has no address of the family of "+f.dst.Addr().String()+"; whether the client tries it is not known")
				return w.done(n)
			}
		}
		s := w.serviceAt(f)
		if s == nil {
			return w.nodeHop(f, ns, iptables.Output, "", nil)
		}
		n := w.serviceHop(f, s)
		n = w.done(n)
		n.to("", 1, w.nodeHop(f, ns, iptables.Output, "", s))
		return n
	})
}

// ownAddr is the address a node sends from, as its object says, or else the
// addresses of its interfaces; none where neither is known.
func ownAddr(node *k8s.Node, ns *netns, six bool) netip.Addr {
	if node != nil {
		return nodeAddr(node, six)
	}
	for _, a := range ns.host.Addrs {
		if ip := a.Prefix.Addr(); ip.Is6() == six && ip.IsGlobalUnicast() {
			return ip
		}
	}
	return netip.Addr{}
}

// viaNode is a packet that leaves a Pod: it meets the rules of the Pod's node.
// prev is the hop it comes from. Where the rules only let it pass, that is a
// check of prev and no hop of its own.
func (w *walker) viaNode(f flow, p *pod, prev *node) *node {
	name := p.obj.Spec.NodeName
	s := w.serviceAt(f)
	if w.err != nil {
		return nil
	}
	ns := w.nodeNet(name, f.dst.Addr().Is6())
	if w.err != nil {
		return nil
	}
	out := f
	out.at = place{area: AreaNode, name: name}
	if s == nil {
		if ns.notRead != nil {
			return w.once("via|"+name+"|"+f.key(), f, func() *node { return w.podsPacket(out, ns, p, nil) })
		}
		if r := w.evaluateVia(ns, f, p); len(r.Outcomes) == 1 {
			if o := r.Outcomes[0]; o.Verdict == iptables.Accept && !o.DNAT {
				if prev != nil {
					prev.hop.check("rules of node "+name, OK, "let it pass, no translation")
				}
				return w.deliver(out, name, untouched, nil)
			}
		}
		return w.once("via|"+name+"|"+f.key(), f, func() *node {
			return w.podsPacket(out, ns, p, nil)
		})
	}
	return w.once("via|"+name+"|"+f.key(), f, func() *node {
		n := w.serviceHop(f, s)
		n = w.done(n)
		n.to("", 1, w.podsPacket(out, ns, p, s))
		return n
	})
}

// podsPacket is what a Pod sends as its node meets it: forwarded, or, from a Pod
// in the node's own network, sent by the node itself.
func (w *walker) podsPacket(f flow, ns *netns, p *pod, s *servicePort) *node {
	if p.hostNetwork() {
		return w.nodeHop(f, ns, iptables.Output, "", s)
	}
	return w.nodeHop(f, ns, iptables.Prerouting, ns.interfaceOf(p.ip), s)
}

func (w *walker) evaluateVia(ns *netns, f flow, p *pod) iptables.Result {
	if p.hostNetwork() {
		return ns.evaluate(f, iptables.Output, "", nil, nil)
	}
	return ns.evaluate(f, iptables.Prerouting, ns.interfaceOf(p.ip), nil, nil)
}

// serviceAt is the Service whose address the flow is sent to, seen from inside.
func (w *walker) serviceAt(f flow) *servicePort {
	owners, err := w.cluster.Owners(w.ctx, f.dst.Addr(), f.dst.Port(), f.proto)
	notRead := w.refused(err) // whose the address is may be known all the same
	if w.err != nil {
		return nil
	}
	if svc := w.asked; notRead != nil && len(owners) == 0 && svc != nil && slices.Contains(svc.Spec.ClusterIPs, f.dst.Addr().String()) {
		owners = []k8s.Owner{{Kind: k8s.OwnerClusterIP, Service: svc, Port: svc.PortFor(f.dst.Port(), f.proto)}} // who may read it may not list all
	}
	var without *k8s.Owner
	for i := range owners {
		o := &owners[i]
		switch o.Kind {
		case k8s.OwnerClusterIP, k8s.OwnerLoadBalancer, k8s.OwnerExternalIP:
			if o.Port != nil {
				return w.behind(o.Service, o.Port)
			}
			without = o
		case k8s.OwnerNode:
			if len(o.NodePorts) > 0 && !o.NodePorts[0].Health {
				return w.behind(o.NodePorts[0].Service, o.NodePorts[0].Port)
			}
		}
	}
	// An address from outside may be shared with a Service that could not be read.
	if without != nil && (notRead == nil || without.Kind == k8s.OwnerClusterIP) {
		return &servicePort{service: without.Service}
	}
	return nil
}

// serviceHop is a Service's address met inside of the cluster.
func (w *walker) serviceHop(f flow, s *servicePort) *node {
	n := w.hop(KindService, Subject{Kind: "Service", Namespace: s.service.Namespace, Name: s.service.Name}, f)
	n.hop.Detail.Address = f.dst.String()
	w.showService(n, s)
	if s.port == nil {
		n.hop.Summary = fmt.Sprintf("no port %d on %s", f.dst.Port(), s)
		n.hop.settle(Fail, fmt.Sprintf("%s is %s, which has the ports %s and not %d/%s", f.dst.Addr(), s, portList(s.service), f.dst.Port(), f.proto))
		return n
	}
	n.hop.Summary = f.dst.String() + " is " + s.String()
	if s.service.Spec.ClusterIP == f.dst.Addr().String() {
		n.hop.Summary = "ClusterIP " + n.hop.Summary
	}
	n.hop.settle(OK, "")
	return n
}

// outerInterface is the interface that holds the node's own address: where what
// comes from outside comes in.
func (w *walker) outerInterface(ns *netns) string {
	for _, a := range ns.host.LocalAddresses {
		for _, i := range ns.host.Addrs {
			if i.Prefix.Addr() == a {
				return i.Interface
			}
		}
	}
	return ""
}

// nodeHop evaluates the packet against the node's rules and walks on with what
// comes out.
func (w *walker) nodeHop(f flow, ns *netns, hook iptables.Hook, in string, s *servicePort) *node {
	n := w.hop(KindNode, Subject{Kind: "Node", Name: ns.name}, f)
	h := n.hop
	n.facts.netns, n.facts.service = ns, s
	h.Detail.Service = s.String()
	if s != nil && s.port != nil {
		ns.host.Names = iptables.NewNames([]iptables.ServicePort{servicePortNames(s)})
	}
	if ns.notRead != nil {
		w.unread(n, ns.notRead)
		return w.inferred(n, f, s)
	}
	var uid *uint32
	if hook == iptables.Output {
		root := uint32(0)
		uid = &root
		h.check("sender", OK, "a process of root on the node (assumed)")
	}
	result := ns.evaluate(f, hook, in, uid, uid)
	if result.Elsewhere() && w.proxiedElsewhere(ns, f) {
		bare := *ns // kube-proxy's iptables mode is at work, and has no rules here
		bare.host.Node = false
		result = bare.evaluate(f, hook, in, uid, uid)
	}
	n.facts.packets = &result
	for _, a := range result.Assumptions {
		h.check("assumed", OK, a)
	}
	if f.assumed {
		h.check("assumed", OK, "the client is none of this cluster's addresses; --source-ip gives its own")
	}
	w.showRules(n, ns, result)
	if result.Elsewhere() {
		h.Summary = "not translated by these rules; inferred from the Service and its EndpointSlices"
		n.facts.fix = []string{
			"see what translates it on node " + ns.name + ": nft list table ip kube-proxy; ipvsadm -Ln; cilium-dbg service list",
			"or whether kube-proxy runs there: kubectl -n kube-system get pods -o wide --field-selector spec.nodeName=" + ns.name + " -l k8s-app=kube-proxy",
		}
	}
	n = w.done(n)
	w.aheadTo(len(result.Outcomes), func(i int) netip.AddrPort { return result.Outcomes[i].Dst })
	for i := range result.Outcomes {
		w.afterNode(n, f, ns, &result.Outcomes[i], result.Outcomes[i].Probability, len(result.Outcomes) > 1, s)
		if w.err != nil {
			return nil
		}
	}
	if len(n.next) == 0 && h.State == Fail {
		w.behindRefusal(n, f, result, s)
	}
	return n
}

// proxiedElsewhere says whether other nodes hold the rules of kube-proxy's
// iptables mode: a node without any then lacks them, and is not of another mode.
func (w *walker) proxiedElsewhere(ns *netns, f flow) bool {
	nodes, err := w.cluster.Nodes(w.ctx)
	w.refused(err)
	asked := 0
	for _, k := range nodes {
		if k.Name == ns.name || asked == maxOtherNodes || w.err != nil {
			continue
		}
		asked++
		other := w.nodeNet(k.Name, f.dst.Addr().Is6())
		for _, rules := range []*iptables.Ruleset{other.host.V4, other.host.V6, other.host.V4Legacy, other.host.V6Legacy} {
			if rules != nil && rules.HasChain("nat", "KUBE-SERVICES") {
				return true
			}
		}
	}
	return false
}

// behindRefusal goes on behind a node that refuses the packet, to what would come
// next without the refusal: where the rules had translated it to, else to the
// Service's endpoints.
func (w *walker) behindRefusal(n *node, f flow, r iptables.Result, s *servicePort) {
	if w.err != nil {
		return
	}
	f.assumed = true
	for _, o := range r.Outcomes {
		if o.DNAT {
			next := f
			next.dst = o.Dst
			n.to("", o.Probability, w.deliver(next, n.hop.Subject.Name, translated, s))
			return
		}
	}
	if s == nil || s.port == nil {
		return
	}
	eps := s.sentTo(f.dst.Addr())
	for _, e := range eps {
		next := f
		next.dst = e.Addr
		label := ""
		if len(eps) > 1 {
			label = e.Addr.String()
		}
		n.to(label, 1/float64(len(eps)), w.deliver(next, n.hop.Subject.Name, translated, s))
	}
}

// showRules puts what the rules decided on the hop.
func (w *walker) showRules(n *node, ns *netns, r iptables.Result) {
	h := n.hop
	masquerade := false
	var steps []iptables.Step
	var verdicts []string
	for _, o := range r.Outcomes {
		masquerade = masquerade || o.Masquerade
		if o.DNAT && !slices.Contains(h.Detail.DNAT, o.Dst.String()) {
			h.Detail.DNAT = append(h.Detail.DNAT, o.Dst.String())
		}
		if o.SNAT != nil {
			h.Detail.SNAT = addrString(*o.SNAT)
		}
		for _, s := range append(slices.Clone(o.Path), o.Unknown...) {
			if !slices.ContainsFunc(steps, func(t iptables.Step) bool {
				return t.Table == s.Table && t.Chain == s.Chain && t.Rule == s.Rule && t.Hook == s.Hook && t.Text == s.Text
			}) {
				steps = append(steps, s)
			}
		}
		switch o.Verdict {
		case iptables.Accept:
			h.settle(OK, "")
		case iptables.Drop, iptables.Reject:
			if o.Probability >= 1-1e-9 {
				h.settle(Fail, o.Reason)
			} else {
				h.settle(Warn, percent(o.Probability)+" of packets: "+o.Reason)
			}
		default:
			h.settle(Unknown, o.Reason)
		}
		if !slices.Contains(verdicts, o.Verdict.String()) {
			verdicts = append(verdicts, o.Verdict.String())
		}
	}
	h.Detail.Masquerade = &masquerade
	h.Detail.Rules = ruleSteps(steps)
	switch {
	case len(h.Detail.DNAT) > 0:
		h.Summary = "DNAT to " + strings.Join(h.Detail.DNAT, " or ")
		if masquerade {
			h.Summary += ", masqueraded"
		}
	default:
		h.Summary = "no translation, " + strings.Join(verdicts, " or ")
	}
	bySource := map[string][]string{}
	for _, s := range steps {
		if s.Text == "" {
			continue
		}
		source := orElse(s.Source, ns.query(saveV4).Path())
		bySource[source] = append(bySource[source], s.Text)
	}
	for _, source := range sortedKeys(bySource) {
		file := source[strings.LastIndexByte(source, '/')+1:]
		w.cite(h, Config, ns.query(file), strings.Join(bySource[source], "\n"), "")
	}
}

// afterNode walks on with one outcome of the node's rules.
func (w *walker) afterNode(n *node, f flow, ns *netns, o *iptables.Outcome, share float64, many bool, s *servicePort) {
	switch o.Verdict {
	case iptables.Drop, iptables.Reject:
		if many {
			end := w.hop(KindNode, n.hop.Subject, f)
			end.facts = n.facts
			end.hop.settle(Fail, o.Reason)
			end.hop.Summary = o.Verdict.String()
			end.hop.Detail = Detail{Service: n.hop.Detail.Service, Rules: ruleSteps(o.Path)}
			n.to(o.Verdict.String(), share, w.done(end))
		}
		return
	case iptables.Accept:
		next := f
		next.dst, next.mark = o.Dst, uint32(o.Mark)
		if o.Masquerade || o.SNAT != nil {
			next = w.masqueraded(next, ns, o)
		}
		label := ""
		if many {
			label = o.Dst.String()
		}
		if n.hop.Out == nil {
			n.hop.Out = next.view()
		}
		if o.Local && !o.DNAT {
			n.to(label, share, w.deliver(next, ns.name, untouched, s))
			return
		}
		how := untouched
		if o.DNAT {
			how = translated
		}
		n.to(label, share, w.deliver(next, ns.name, how, s))
		return
	}
	if many {
		end := w.hop(KindNode, n.hop.Subject, f)
		end.facts = n.facts
		end.hop.settle(Unknown, o.Reason)
		end.hop.Summary = "undetermined"
		end.hop.Detail = Detail{Service: n.hop.Detail.Service, Rules: ruleSteps(o.Path)}
		n.to("undetermined", share, w.done(end))
		n = end
		share = 1
	}
	if o.Elsewhere && s != nil && s.port != nil {
		w.toEndpoints(n, f, s)
		return
	}
	// what would be if the rules that could not be evaluated let it pass
	for i := range o.Otherwise {
		if alt := &o.Otherwise[i]; alt.Verdict == iptables.Accept {
			w.afterNode(n, f, ns, alt, share, false, s)
			return
		}
	}
	if slices.ContainsFunc(o.Otherwise, func(alt iptables.Outcome) bool { return alt.Verdict == iptables.Accept }) || o.Dst.Addr() == (netip.Addr{}) {
		return
	}
	// the outcome itself is the way of a packet that the rules not known let pass
	passed := *o
	passed.Verdict = iptables.Accept
	w.afterNode(n, f, ns, &passed, share, false, s)
}

// masqueraded gives the flow the source it leaves the node with: the address of
// the interface it leaves by, where that is known (MASQUERADE in
// iptables-extensions(8)).
func (w *walker) masqueraded(f flow, ns *netns, o *iptables.Outcome) flow {
	if !f.masqueraded() {
		f.client, f.guessed = f.src, f.assumed
	}
	f.assumed = f.fanned // whichever node it was, the way on is the same
	f.from = place{area: AreaNode, name: ns.name}
	f.src = netip.AddrPort{}
	if o.SNAT != nil && o.SNAT.IsValid() {
		f.src = *o.SNAT
		return f
	}
	out := orElse(o.Out, ns.interfaceOf(f.dst.Addr()))
	for _, a := range ns.host.Addrs {
		if a.Interface == out && out != "" && a.Prefix.Addr().Is6() == f.dst.Addr().Is6() {
			f.src = netip.AddrPortFrom(a.Prefix.Addr(), 0)
			return f
		}
	}
	// The interface is not known. Any of the node's addresses serves to walk on,
	// as an assumption that no statement rests on.
	f.assumed = true
	own := slices.Clone(ns.host.LocalAddresses)
	for _, a := range ns.host.Addrs { // where the node's object was not read
		own = append(own, a.Prefix.Addr())
	}
	for _, a := range own {
		if !a.IsLoopback() && a.Is6() == f.dst.Addr().Is6() {
			f.src = netip.AddrPortFrom(a, 0)
			break
		}
	}
	return f
}

// inferred goes on from a node whose rules were not read: the way that the
// Service and its endpoints tell. The hop stays unknown.
func (w *walker) inferred(n *node, f flow, s *servicePort) *node {
	n = w.done(n)
	if s == nil || s.port == nil {
		if s == nil {
			n.to("", 1, w.pastUnread(f, n.hop.Subject.Name))
		}
		return n
	}
	n.hop.Summary = "the rules were not read; inferred from the Service and its EndpointSlices"
	w.toEndpoints(n, f, s)
	return n
}

// pastUnread goes on to an address that no Service is known to have, past a node
// whose rules were not read: it is unknown whose it is where the Services were not
// read either.
func (w *walker) pastUnread(f flow, from string) *node {
	owners, err := w.cluster.Owners(w.ctx, f.dst.Addr(), f.dst.Port(), f.proto)
	notRead := w.refused(err)
	if notRead == nil || len(owners) > 0 || w.err != nil {
		return w.deliver(f, from, untouched, nil)
	}
	n := w.hop(KindExternal, Subject{Kind: "Address", Name: f.dst.Addr().String()}, f)
	n.hop.Detail.Address = f.dst.String()
	n.hop.Summary = "whose address it is could not be found out"
	w.unread(n, notRead)
	return w.done(n)
}

// toEndpoints goes on from a node that translates in a way that is not known, to
// the endpoints the Service has.
func (w *walker) toEndpoints(n *node, f flow, s *servicePort) {
	eps := s.sentTo(f.dst.Addr())
	var lines []string
	for _, e := range eps {
		n.hop.Detail.DNAT = append(n.hop.Detail.DNAT, e.Addr.String())
		lines = append(lines, e.From.String()+": "+e.Addr.String()+" ready")
	}
	if len(eps) == 0 {
		return
	}
	q := Query{Area: AreaCluster, File: "endpointslices.discovery.k8s.io"}
	w.cite(n.hop, Inferred, q, strings.Join(lines, "\n"), "")
	w.aheadTo(len(eps), func(i int) netip.AddrPort { return eps[i].Addr })
	for _, e := range eps {
		next := f
		next.dst = e.Addr
		next.assumed = true
		next.from = place{area: AreaNode, name: n.hop.Subject.Name}
		label := ""
		if len(eps) > 1 {
			label = e.Addr.String()
		}
		n.to(label, 1/float64(len(eps)), w.deliver(next, n.hop.Subject.Name, translated, s))
	}
}

func servicePortNames(s *servicePort) iptables.ServicePort {
	out := iptables.ServicePort{Namespace: s.service.Namespace, Name: s.service.Name, Port: s.port.Name, Proto: iptables.TCP, Number: uint16(s.port.Port), NodePort: uint16(s.port.NodePort)}
	switch s.port.Protocol {
	case corev1.ProtocolUDP:
		out.Proto = iptables.UDP
	case corev1.ProtocolSCTP:
		out.Proto = iptables.SCTP
	}
	for _, ip := range s.service.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(ip); err == nil {
			out.ClusterIPs = append(out.ClusterIPs, a)
		}
	}
	for _, ip := range s.service.Spec.ExternalIPs {
		if a, err := netip.ParseAddr(ip); err == nil {
			out.ExternalIPs = append(out.ExternalIPs, a)
		}
	}
	for _, in := range s.service.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil {
			out.ExternalIPs = append(out.ExternalIPs, a)
		}
	}
	for _, e := range s.endpoints {
		out.Endpoints = append(out.Endpoints, e.Addr)
	}
	return out
}

// delivery is how a packet came by the address it is delivered to.
type delivery int

const (
	untouched  delivery = iota // as it was sent
	translated                 // a rule chose it, for a Service or otherwise
)

// deliver goes to whoever has the address the rules left the packet with. s is
// the Service it was sent to, where it was sent to one.
func (w *walker) deliver(f flow, from string, how delivery, s *servicePort) *node {
	if w.err != nil {
		return nil
	}
	addr := f.dst.Addr()
	if p := w.podByIP(addr, f.dst.Port()); p != nil && (!p.hostNetwork() || p.obj.DeclaresPort(f.dst.Port(), f.proto)) {
		return w.atPod(f, p, place{area: AreaNode, name: from})
	}
	if w.err != nil {
		return nil
	}
	if p := w.podListed(f.dst, s); p != nil {
		return w.atPod(f, p, place{area: AreaNode, name: from})
	}
	owner, err := w.cluster.NodeByAddress(w.ctx, addr)
	w.refused(err)
	switch {
	case w.err != nil:
		return nil
	case how == translated && s.lists(f.dst):
		return w.toExternal(f) // an endpoint that is no Pod: a process of a host, or an address outside
	case owner != nil && how == untouched && owner.Name != from:
		f.mark = 0
		return w.atNode(f, owner.Name, s) // over the network: the rules of that node come next
	case owner != nil:
		return w.nodeSocket(f, owner, how == untouched && s != nil)
	case how == translated || w.podRange(addr):
		return w.nobody(f)
	}
	if s := w.serviceAt(f); s != nil {
		return w.untranslated(f, s)
	}
	return w.toExternal(f)
}

// podListed is the Pod that the Service's EndpointSlices name for the address:
// one in the host's network, which shares its address with the node and need not
// declare its ports.
func (w *walker) podListed(dst netip.AddrPort, s *servicePort) *pod {
	if s == nil || w.err != nil {
		return nil
	}
	for _, e := range s.endpoints {
		if e.Addr != dst || e.Pod.Name == "" {
			continue
		}
		p, _ := w.podNamed(podRef{e.Pod.Namespace, e.Pod.Name})
		if p == nil || !p.hostNetwork() || !slices.Contains(p.obj.Addrs(), dst.Addr()) {
			return nil
		}
		p.ip = dst.Addr()
		return p
	}
	return nil
}

// podRange says whether the address is one that nodes give to Pods.
func (w *walker) podRange(addr netip.Addr) bool {
	nodes, err := w.cluster.Nodes(w.ctx)
	w.refused(err)
	for _, n := range nodes {
		for _, cidr := range append(slices.Clone(n.Spec.PodCIDRs), n.Spec.PodCIDR) {
			if p, err := netip.ParsePrefix(cidr); err == nil && p.Contains(addr) {
				return true
			}
		}
	}
	return false
}

// nobody is a Pod's address that no Pod has.
func (w *walker) nobody(f flow) *node {
	return w.once("nobody|"+f.key(), f, func() *node {
		n := w.hop(KindPod, Subject{Kind: "Pod", Name: f.dst.Addr().String()}, f)
		n.hop.Detail.Address = f.dst.String()
		n.hop.Summary = "no Pod has " + f.dst.Addr().String()
		pods := Query{Area: AreaCluster, File: "pods", Select: Selector{Fields: "status.podIP=" + f.dst.Addr().String()}}
		if _, notRead := w.podsRead(pods); notRead != nil {
			w.unread(n, notRead)
			return w.done(n)
		}
		n.hop.settle(Fail, "no Pod of this cluster has the address "+f.dst.Addr().String()+": the Pod is gone or never was")
		return w.done(n)
	})
}

// podsRead says whether the Pods could be asked for at all.
func (w *walker) podsRead(q Query) (bool, *NotReadError) {
	addr, err := netip.ParseAddr(strings.TrimPrefix(q.Select.Fields, "status.podIP="))
	if err != nil {
		return false, nil
	}
	_, err = w.cluster.PodsByIP(w.ctx, addr)
	notRead := w.refused(err)
	return notRead == nil, notRead
}

// nodeSocket is a packet delivered to a process of a node itself.
func (w *walker) nodeSocket(f flow, owner *k8s.Node, meant bool) *node {
	return w.once("nodesocket|"+f.key(), f, func() *node {
		n := w.hop(KindApp, Subject{Kind: "Node", Name: owner.Name}, f)
		n.hop.Detail.Address = f.dst.String()
		n.hop.Summary = "goes to the sockets of node " + owner.Name + " itself"
		why := "no rule translates " + f.dst.String() + ", so it goes to the node's own processes; "
		if meant {
			n.hop.settle(Fail, why+"the Service's port has no rule there")
		} else {
			n.hop.settle(Unknown, why+"what listens on the node was not read")
		}
		n.hop.check("sockets of the node", Unknown, "not read")
		w.checkEgress(n, f, k8s.Peer{Addr: f.dst.Addr(), Node: owner.Name})
		return w.done(n)
	})
}

// untranslated is a Service's address that no rule turned into an endpoint's.
func (w *walker) untranslated(f flow, s *servicePort) *node {
	n := w.hop(KindService, Subject{Kind: "Service", Namespace: s.service.Namespace, Name: s.service.Name}, f)
	w.showService(n, s)
	n.hop.Summary = "no rule turns " + f.dst.String() + " into an endpoint"
	n.hop.settle(Fail, "no rule of "+f.at.String()+" translates "+f.dst.String()+" ("+s.String()+"); nothing answers at a Service's address itself")
	n.hop.check("port", OK, strconv.Itoa(int(f.dst.Port())))
	return w.done(n)
}
