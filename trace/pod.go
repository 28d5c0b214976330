package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/iptables"
	"github.com/hoptrail/hoptrail/k8s"
)

// Ports Istio's capture uses (istio.io/docs/ops/deployment/application-requirements).
const (
	outboundPort = 15001
	inboundPort  = 15006
)

// atPod is a packet that arrives at a Pod, from the place last left.
func (w *walker) atPod(f flow, p *pod, via place) *node {
	if f.masqueraded() && w.policed(p) {
		f.between = otherNode
		if f.from.name == p.obj.Spec.NodeName {
			f.between = ownNode
		}
	}
	return w.once("pod|"+p.ref.String()+"|"+f.key(), f, func() *node {
		if n := w.acrossNodes(f, p, via); n != nil || w.err != nil {
			return n
		}
		return w.enterPod(f, p)
	})
}

// enterPod is a packet that has come to its Pod's own network.
func (w *walker) enterPod(f flow, p *pod) *node {
	inside := f
	inside.at, inside.mark = place{area: AreaPod, namespace: p.ref.namespace, name: p.ref.name}, 0
	return w.once("enter|"+p.ref.String()+"|"+inside.key(), f, func() *node {
		n := w.podHop(f, p)
		in := f
		in.at, in.mark = place{area: AreaPod, namespace: p.ref.namespace, name: p.ref.name}, 0
		w.checkPolicies(n, f, p)
		if w.err != nil {
			return nil
		}
		switch p.proxy.Role {
		case k8s.RoleGateway:
			n.hop.Summary = orElse(p.proxy.Kind, "Envoy") + " gateway Pod " + p.ref.String() + " on node " + p.obj.Spec.NodeName
			n = w.done(n)
			n.to("", 1, w.throughProxy(in, p, envoyadmin.Gateway))
		case k8s.RoleSidecar:
			n.hop.Summary = "Pod " + p.ref.String() + " with a sidecar on node " + p.obj.Spec.NodeName
			w.intoSidecar(n, in, p)
		default:
			n.hop.Summary = "Pod " + p.ref.String() + " without a proxy on node " + p.obj.Spec.NodeName
			ambient(n, p, "takes what comes to it, and lets it pass or refuses it by AuthorizationPolicies")
			n = w.done(n)
			n.to("", 1, w.toApp(in, p))
		}
		return n
	})
}

// ambient leaves the hop of a Pod in Istio's ambient mesh unknown: its traffic
// goes through the ztunnel of its node, which is no Envoy and is not evaluated
// (istio.io/docs/ambient/architecture/data-plane). The walk goes on as if it
// passed.
func ambient(n *node, p *pod, does string) {
	if !p.proxy.Ambient {
		return
	}
	n.hop.settle(Unknown, "the Pod is in Istio's ambient mesh (annotation ambient.istio.io/redirection): the ztunnel of node "+p.obj.Spec.NodeName+" "+does+"; that is not evaluated")
	ztunnel := "kubectl -n istio-system get pods -l app=ztunnel -o wide --field-selector spec.nodeName=" + Quote(p.obj.Spec.NodeName)
	n.facts.fix = []string{
		"what that ztunnel knows of the Pod, its policies and waypoint: istioctl ztunnel-config workloads --workload-namespace " + Quote(p.ref.namespace) + " --node " + Quote(p.obj.Spec.NodeName),
		"what it logged, one line a connection: find it with " + ztunnel + ", then kubectl -n istio-system logs ZTUNNEL",
	}
}

// podHop starts a Pod's hop with what its status tells.
func (w *walker) podHop(f flow, p *pod) *node {
	n := w.hop(KindPod, Subject{Kind: "Pod", Namespace: p.ref.namespace, Name: p.ref.name}, f)
	n.facts.pod = p
	h := n.hop
	h.Detail.Pod, h.Detail.Role, h.Detail.Address = p.ref.String(), string(p.proxy.Role), f.dst.String()
	if h.Detail.Role == "" {
		h.Detail.Role = string(k8s.RolePlain)
	}
	h.config("Pod", p.ref.String(), "pods", p.obj.Raw)
	h.settle(OK, "")
	h.check("node", OK, p.obj.Spec.NodeName)
	h.check("phase", stateOf(p.obj.Status.Phase == corev1.PodRunning, Warn), string(p.obj.Status.Phase))
	if ready, why := p.obj.Ready(); ready {
		h.check("ready", OK, "yes")
	} else {
		h.check("ready", Warn, why)
	}
	for _, c := range p.obj.Containers() {
		if c.Init && c.State == "terminated" {
			continue
		}
		value := strings.TrimSpace(c.State + " " + c.Reason)
		if c.Restarts > 0 {
			value += fmt.Sprintf(", %d restarts", c.Restarts)
		}
		h.check("container "+c.Name, stateOf(c.Ready || c.Init, Warn), value)
	}
	q := Query{Area: AreaCluster, File: "pods", Select: Selector{Namespace: p.ref.namespace, Name: p.ref.name}}
	w.cite(h, Config, q, pick(p.obj.Raw, "metadata.namespace", "metadata.name", "metadata.labels", "spec.nodeName", "status.phase", "status.podIP"), p.ip.String())
	if d := p.obj.DeletionTimestamp; d != nil {
		h.settle(Warn, "the Pod is being deleted since "+d.UTC().Format("2006-01-02T15:04:05Z"))
	}
	return n
}

// acrossNodes evaluates the rules of the Pod's node where the packet comes to it
// over the network: another node's DNAT, or a Pod elsewhere. It returns a hop
// only where those rules do not simply let the packet pass.
func (w *walker) acrossNodes(f flow, p *pod, via place) *node {
	name := p.obj.Spec.NodeName
	if via.area != AreaNode || via.name == name || name == "" {
		return nil
	}
	ns := w.nodeNet(name, f.dst.Addr().Is6())
	if w.err != nil {
		return nil
	}
	in := f
	in.at = place{area: AreaNode, name: name}
	in.mark = 0
	if ns.notRead != nil {
		n := w.hop(KindNode, Subject{Kind: "Node", Name: name}, in)
		n.facts.netns = ns
		n.hop.Summary = "the rules by which it takes the packet were not read"
		w.unread(n, ns.notRead)
		n = w.done(n)
		n.to("", 1, w.enterPod(f, p))
		return n
	}
	r := ns.evaluate(in, iptables.Prerouting, w.outerInterface(ns), nil, nil)
	if r.Verdict() == iptables.Accept && !slices.ContainsFunc(r.Outcomes, func(o iptables.Outcome) bool { return o.DNAT }) {
		return nil
	}
	n := w.hop(KindNode, Subject{Kind: "Node", Name: name}, in)
	n.facts.netns, n.facts.packets = ns, &r
	w.showRules(n, ns, r)
	n = w.done(n)
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		if o.Verdict != iptables.Accept {
			continue
		}
		next := f
		next.dst = o.Dst
		if !o.DNAT || o.Dst == f.dst {
			n.to("", o.Probability, w.enterPod(next, p))
		} else {
			n.to(o.Dst.String(), o.Probability, w.deliver(next, name, translated, nil))
		}
	}
	if len(n.next) == 0 && n.hop.State != OK {
		// what would come next
		n.to("", 1, w.enterPod(f, p))
	}
	return n
}

// checkPolicies evaluates the NetworkPolicies of both ends: of the Pod that sends,
// and of the Pod that the packet arrives at.
func (w *walker) checkPolicies(n *node, f flow, p *pod) {
	to := k8s.Peer{Pod: p.obj, Addr: f.dst.Addr()}
	if f.sender != f.from {
		w.checkEgress(n, f, to)
	}
	if f.between == ownNode {
		w.judge(n, f, w.unmasqueraded(f), to, func(v *k8s.PolicyVerdict) bool {
			if v.State == k8s.PolicyDenied {
				// Kubernetes leaves the order of rewriting and of policies to the
				// plugins (concepts/services-networking/network-policies).
				v.State = k8s.PolicyUndetermined
				v.Reason += fmt.Sprintf("; node %s, which puts its own address in the client's place, always reaches its Pods: which of the two the CNI plugin sees, Kubernetes leaves open", f.from.name)
				if f.guessed {
					v.Reason += "; the client's own address was not given (--source-ip)"
				}
			}
			return !v.Egress
		})
		return
	}
	w.judge(n, f, w.peer(f.from, f), to, func(v *k8s.PolicyVerdict) bool { return f.sender == f.from || !v.Egress })
}

// The nodes that may have masqueraded a packet, as policies of its Pod tell them
// apart.
const (
	ownNode   = "the Pod's own node"
	otherNode = "another node"
)

// policed says whether there are NetworkPolicies in the Pod's namespace. Where
// they could not be read, what evaluates them says so.
func (w *walker) policed(p *pod) bool {
	if w.err != nil {
		return false
	}
	all, err := w.cluster.NetworkPolicies(w.ctx, p.ref.namespace)
	return w.refused(err) == nil && len(all) > 0
}

// unmasqueraded is the sender of a connection by the address it had before a node
// put its own in its place.
func (w *walker) unmasqueraded(f flow) k8s.Peer {
	was := f
	was.src = f.client
	return w.peer(f.sender, was)
}

// checkEgress evaluates the NetworkPolicies of the Pod that sends, towards what
// the hop stands for. A node between that masquerades comes behind them.
func (w *walker) checkEgress(n *node, f flow, to k8s.Peer) {
	if f.sender.area == AreaPod {
		w.judge(n, f, w.peer(f.sender, f), to, func(v *k8s.PolicyVerdict) bool { return v.Egress })
	}
}

// peer is one end of a connection as policies see it.
func (w *walker) peer(at place, f flow) k8s.Peer {
	src := k8s.Peer{Addr: f.src.Addr()}
	switch at.area {
	case AreaPod:
		if from, _ := w.podNamed(podRef{at.namespace, at.name}); from != nil {
			src.Pod = from.obj
		}
	case AreaNode:
		src.Node = at.name
	}
	return src
}

// judge puts the verdicts of the policies that are wanted on the hop, as wanted
// leaves them.
func (w *walker) judge(n *node, f flow, src, dst k8s.Peer, wanted func(*k8s.PolicyVerdict) bool) {
	if w.err != nil {
		return
	}
	verdicts, err := w.cluster.PolicyAllows(w.ctx, src, dst, f.dst.Port(), f.proto)
	if notRead := w.refused(err); notRead != nil {
		n.hop.check("NetworkPolicy", Unknown, notRead.Why)
		w.unread(n, notRead)
		return
	}
	for _, v := range verdicts {
		if !wanted(&v) {
			continue
		}
		name := "NetworkPolicy ingress"
		if v.Egress {
			name = "NetworkPolicy egress"
		}
		var refs []string
		for _, r := range v.Policies {
			refs = append(refs, r.String())
		}
		n.facts.policies = append(n.facts.policies, v)
		switch v.State {
		case k8s.PolicyAllowed:
			if len(refs) > 0 {
				n.hop.check(name, OK, v.Reason)
			}
		case k8s.PolicyDenied:
			n.hop.check(name, Fail, v.Reason)
			n.hop.settle(Fail, v.Reason)
			n.hop.Detail.Owner = append(n.hop.Detail.Owner, refs...)
			for _, r := range v.Policies {
				w.showObject(n, r)
			}
		default:
			n.hop.check(name, Unknown, v.Reason)
			n.hop.settle(Unknown, v.Reason)
		}
	}
}

// showObject adds the resource a person wrote to the hop.
func (w *walker) showObject(n *node, r k8s.Ref) {
	if meta := w.object(r); meta != nil {
		n.hop.config(r.Kind, r.Namespace+"/"+r.Name, resourceOf(meta.APIVersion, meta.Kind), meta.Raw)
	}
}

// object reads the resource that a reference names; nil where it is not there,
// or could not be read.
func (w *walker) object(r k8s.Ref) *k8s.Meta {
	resource := resources[r.Kind]
	if resource == "" {
		return nil
	}
	meta, err := w.cluster.Object(w.ctx, resource, r.Namespace, r.Name)
	if w.refused(err) != nil || w.err != nil {
		return nil
	}
	return meta
}

// resources are the lists that hold the kinds people write.
var resources = map[string]string{
	"Service": "services", "Pod": "pods",
	"NetworkPolicy":         "networkpolicies.networking.k8s.io",
	"Gateway":               "gateways.networking.istio.io",
	"VirtualService":        "virtualservices.networking.istio.io",
	"DestinationRule":       "destinationrules.networking.istio.io",
	"ServiceEntry":          "serviceentries.networking.istio.io",
	"Sidecar":               "sidecars.networking.istio.io",
	"EnvoyFilter":           "envoyfilters.networking.istio.io",
	"AuthorizationPolicy":   "authorizationpolicies.security.istio.io",
	"PeerAuthentication":    "peerauthentications.security.istio.io",
	"RequestAuthentication": "requestauthentications.security.istio.io",
	"HTTPRoute":             "httproutes.gateway.networking.k8s.io",
	"GRPCRoute":             "grpcroutes.gateway.networking.k8s.io",
}

// resourceOf is the plural and group of a kind, as snapshots name the list.
func resourceOf(apiVersion, kind string) string {
	plural := strings.ToLower(kind)
	switch {
	case strings.HasSuffix(plural, "y") && !strings.HasSuffix(plural, "ay"):
		plural = strings.TrimSuffix(plural, "y") + "ies"
	case strings.HasSuffix(plural, "s"):
		plural += "es"
	default:
		plural += "s"
	}
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return plural
	}
	return plural + "." + group
}

// intoSidecar takes the packet through the Pod's own rules, which hand it to the
// sidecar or let it pass to the application.
func (w *walker) intoSidecar(n *node, f flow, p *pod) {
	ns := w.podNet(p, f.dst.Addr().Is6(), false)
	if w.err != nil {
		return
	}
	n.facts.netns = ns
	if ns.notRead != nil {
		captured := capturesInbound(p, f.dst.Port())
		w.unread(n, ns.notRead)
		n.hop.check("the Pod's own rules", Unknown, "not read; "+captured.why)
		w.cite(n.hop, Inferred, p.ref.query(AreaPod, saveV4), "not read; "+captured.why, "")
		n = w.done(n)
		if captured.yes {
			n.hop.Detail.Redirect = strconv.Itoa(inboundPort)
			n.to("", 1, w.throughProxy(f, p, envoyadmin.Inbound))
		} else {
			n.to("", 1, w.toApp(f, p))
		}
		return
	}
	r := ns.evaluate(f, iptables.Prerouting, "eth0", nil, nil)
	n.facts.packets = &r
	w.showPodRules(n, ns, r)
	n = w.done(n)
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		switch {
		case o.Verdict == iptables.Accept && (o.Redirect != 0 || o.TProxy != nil):
			n.to("", o.Probability, w.throughProxy(f, p, envoyadmin.Inbound))
		case o.Verdict == iptables.Accept:
			next := f
			next.dst = o.Dst
			n.to("", o.Probability, w.toApp(next, p))
		}
		if w.err != nil {
			return
		}
	}
}

// showPodRules puts what the Pod's own rules decided on the hop.
func (w *walker) showPodRules(n *node, ns *netns, r iptables.Result) {
	summary := n.hop.Summary
	w.showRules(n, ns, r)
	n.hop.Detail.Masquerade = nil
	n.hop.Detail.DNAT = nil
	n.hop.Summary = summary
	for _, a := range r.Assumptions {
		n.hop.check("assumed", OK, a)
	}
	for _, o := range r.Outcomes {
		port := o.Redirect
		if o.TProxy != nil {
			port = o.TProxy.Port()
		}
		if port != 0 {
			n.hop.Detail.Redirect = strconv.Itoa(int(port))
			n.hop.Summary = summary + "; its rules redirect to " + strconv.Itoa(int(port))
		} else if o.Verdict == iptables.Accept && n.hop.Detail.Redirect == "" {
			n.hop.check("capture", OK, "not captured by the sidecar")
		}
	}
}

type captured struct {
	yes bool
	why string
}

// capturesInbound tells from the Pod's annotations whether its rules hand a
// port to the sidecar, as istio-iptables writes them.
func capturesInbound(p *pod, port uint16) captured {
	if p.proxy.Mode == "NONE" {
		return captured{false, "interception mode NONE"}
	}
	a := p.obj.Annotations
	s := strconv.Itoa(int(port))
	in := func(list string) bool {
		return slices.Contains(strings.Split(strings.ReplaceAll(list, " ", ""), ","), s)
	}
	if port == 15020 || port == 15021 || port == 15090 || port == 15008 {
		return captured{false, "port " + s + " is the sidecar's own and never captured"}
	}
	if in(a["traffic.sidecar.istio.io/excludeInboundPorts"]) {
		return captured{false, "annotation excludeInboundPorts names port " + s}
	}
	if include, ok := a["traffic.sidecar.istio.io/includeInboundPorts"]; ok && include != "*" {
		return captured{in(include), "annotation includeInboundPorts is " + include}
	}
	return captured{true, "inferred from the Pod: Istio captures every inbound port by default"}
}

// fromPod is a connection that a process in a Pod opens: the application's, as
// the user asks for it.
func (w *walker) fromPod(f flow) *node {
	ref := podRef{f.at.namespace, f.at.name}
	return w.once("frompod|"+f.key(), f, func() *node {
		f := f
		p, notRead := w.podNamed(ref)
		if w.err != nil {
			return nil
		}
		if p == nil {
			n := w.hop(KindPod, Subject{Kind: "Pod", Namespace: ref.namespace, Name: ref.name}, f)
			n.hop.Detail.Pod = ref.String()
			n.hop.Summary = "the Pod the request starts from"
			if notRead != nil { // else the vantage would have been refused
				w.unread(n, notRead)
			}
			return w.done(n)
		}
		if !f.src.IsValid() {
			f.src = netip.AddrPortFrom(addrLike(p, f.dst.Addr()), 0)
		}
		n := w.podHop(f, p)
		n.hop.Detail.Address = ""
		n.hop.Summary = "starts in Pod " + p.ref.String()
		if !f.src.Addr().IsValid() || f.src.Addr().Is6() != f.dst.Addr().Is6() {
			reason := "Pod " + p.ref.String() + " has no address of the family of " + f.dst.Addr().String()
			if ready, why := p.obj.Ready(); !ready && !p.ip.IsValid() {
				n.hop.settle(Fail, reason+", so it cannot send: "+why)
			} else {
				// A client that has both kinds of address to choose from takes the other.
				n.hop.settle(Unknown, reason+"; whether the client tries it is not known")
			}
			return w.done(n)
		}
		if p.proxy.Role != k8s.RoleSidecar {
			ambient(n, p, "takes what it sends, and passes it on, tunnels it to the other end's ztunnel or sends it through a waypoint")
			n = w.done(n)
			n.to("", 1, w.viaNode(f, p, n))
			return n
		}
		ns := w.podNet(p, f.dst.Addr().Is6(), false)
		if w.err != nil {
			return nil
		}
		n.facts.netns = ns
		if ns.notRead != nil {
			w.unread(n, ns.notRead)
			n.hop.check("the Pod's own rules", Unknown, "not read; inferred from the Pod: Istio captures what the application sends")
			w.cite(n.hop, Inferred, p.ref.query(AreaPod, saveV4), "not read; Istio captures outbound TCP by default", "")
			n.hop.Detail.Redirect = strconv.Itoa(outboundPort)
			n = w.done(n)
			n.to("", 1, w.throughProxy(f, p, envoyadmin.Outbound))
			return n
		}
		uid, gid, why := appUser(p)
		n.hop.check("sender", OK, why)
		r := ns.evaluate(f, iptables.Output, "", uid, gid)
		n.facts.packets = &r
		w.showPodRules(n, ns, r)
		n = w.done(n)
		for i := range r.Outcomes {
			o := &r.Outcomes[i]
			switch {
			case o.Verdict == iptables.Accept && o.Redirect == inboundPort:
				n.to("", o.Probability, w.throughProxy(f, p, envoyadmin.Inbound))
			case o.Verdict == iptables.Accept && (o.Redirect != 0 || o.TProxy != nil):
				n.to("", o.Probability, w.throughProxy(f, p, envoyadmin.Outbound))
			case o.Verdict == iptables.Accept:
				next := f
				next.dst = o.Dst
				n.to("", o.Probability, w.viaNode(next, p, n))
			}
			if w.err != nil {
				return nil
			}
		}
		return n
	})
}

// appUser is the user of the Pod's application as far as its security context
// tells; else root, the default of a container, which is not the proxy's.
func appUser(p *pod) (uid, gid *uint32, why string) {
	u, g := uint32(0), uint32(0)
	why = "the application, as root (assumed)"
	if sc := p.obj.Spec.SecurityContext; sc != nil && sc.RunAsUser != nil {
		u, why = uint32(*sc.RunAsUser), fmt.Sprintf("the application, user %d", *sc.RunAsUser)
	}
	for _, c := range p.obj.Spec.Containers {
		if c.Name == p.proxy.Container {
			continue
		}
		if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
			u, why = uint32(*c.SecurityContext.RunAsUser), fmt.Sprintf("container %s, user %d", c.Name, *c.SecurityContext.RunAsUser)
		}
		if c.SecurityContext != nil && c.SecurityContext.RunAsGroup != nil {
			g = uint32(*c.SecurityContext.RunAsGroup)
		}
		break
	}
	return &u, &g, why
}

func addrLike(p *pod, a netip.Addr) netip.Addr {
	for _, own := range p.obj.Addrs() {
		if own.Is6() == a.Is6() {
			return own
		}
	}
	return p.ip
}

// fromProxy is a connection that the Envoy in a Pod opens to an endpoint. prev
// is the endpoint's hop.
func (w *walker) fromProxy(f flow, p *pod, prev *node) *node {
	if w.err != nil {
		return nil
	}
	own := f.dst.Addr().IsLoopback() || slices.Contains(p.obj.Addrs(), f.dst.Addr())
	if own && prev.facts.direction == envoyadmin.Inbound {
		return w.toApp(f, p)
	}
	if p.proxy.Role == k8s.RoleSidecar {
		ns := w.podNet(p, f.dst.Addr().Is6(), true)
		if w.err != nil {
			return nil
		}
		if ns.notRead == nil {
			uid, gid := p.proxy.UID, p.proxy.GID
			r := ns.evaluate(f, iptables.Output, "", &uid, &gid)
			if len(r.Outcomes) == 1 && r.Outcomes[0].Verdict == iptables.Accept {
				o := r.Outcomes[0]
				if o.Redirect == inboundPort {
					prev.hop.check("the Pod's own rules", OK, "the proxy calls its own Pod: redirected to "+strconv.Itoa(inboundPort))
					return w.throughProxy(f, p, envoyadmin.Inbound)
				}
				prev.hop.check("the Pod's own rules", OK, "the proxy's traffic passes")
			} else if len(r.Outcomes) > 0 {
				prev.hop.settle(Unknown, "the Pod's own rules: "+r.Outcomes[0].Reason)
			}
		}
	}
	if own {
		return w.toApp(f, p)
	}
	f.at = place{area: AreaPod, namespace: p.ref.namespace, name: p.ref.name}
	return w.viaNode(f, p, prev)
}
