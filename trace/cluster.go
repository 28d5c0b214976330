package trace

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/hoptrail/hoptrail/k8s"
)

// lister gives the typed view its bytes.
type lister struct{ w *walker }

// List implements [k8s.Lister].
func (l lister) List(_ context.Context, resource string, sel k8s.Selector) ([]byte, error) {
	obs, notRead := l.w.observe(Query{Area: AreaCluster, File: resource, Select: Selector(sel)})
	if l.w.err != nil {
		return nil, l.w.err
	}
	if notRead != nil {
		if cniPolicies(resource) {
			l.w.read.forgive(Query{Area: AreaCluster, File: resource, Select: Selector(sel)})
		}
		return nil, notRead
	}
	return obs.Data, nil
}

// cniPolicies says whether the list is one of a CNI's own policy kinds, which
// most clusters do not have.
func cniPolicies(resource string) bool {
	for _, group := range []string{".cilium.io", ".crd.projectcalico.org", ".crd.antrea.io", ".policy.networking.k8s.io"} {
		if strings.HasSuffix(resource, group) {
			return true
		}
	}
	return false
}

// refused sorts out an error of the typed view: what could not be read is
// returned, broken input ends the trace of a snapshot.
func (w *walker) refused(err error) *NotReadError {
	if err == nil || w.err != nil {
		return nil
	}
	// Of several, what is broken goes before what is absent: a person mends it.
	if e, ok := errors.AsType[*k8s.DecodeError](err); ok {
		q := Query{Area: AreaCluster, File: e.Resource}
		msg := e.Msg
		if e.Object != "" {
			msg = e.Object + ": " + msg
		}
		w.broken(q, &InputError{File: q.Path(), Line: e.Line, Column: e.Column, Offset: e.Offset, Msg: msg})
		return &NotReadError{Query: q, Why: e.Error(), Command: q.Command()}
	}
	if e, ok := errors.AsType[*NotReadError](err); ok {
		return e
	}
	w.err = err
	return nil
}

// servicePort is one port of a Service and what stands behind it.
type servicePort struct {
	service   *k8s.Service
	port      *corev1.ServicePort
	endpoints []k8s.Endpoint
	notRead   *NotReadError // of the endpoints
}

// String is ns/name:port, the port by its name where it has one.
func (s *servicePort) String() string {
	if s == nil || s.service == nil {
		return ""
	}
	name := s.service.Namespace + "/" + s.service.Name
	if s.port == nil {
		return name
	}
	return name + ":" + orElse(s.port.Name, strconv.Itoa(int(s.port.Port)))
}

// behind reads the endpoints of a Service's port.
func (w *walker) behind(svc *k8s.Service, port *corev1.ServicePort) *servicePort {
	s := &servicePort{service: svc, port: port}
	if svc == nil || port == nil {
		return s
	}
	w.cluster.Near(svc.Namespace)
	eps, err := w.cluster.Endpoints(w.ctx, svc, port)
	if s.notRead = w.refused(err); s.notRead == nil {
		s.endpoints = eps
	}
	return s
}

// lists says whether the address is one of the Service's endpoints and no Pod's:
// what EndpointSlices written by hand, or for the API server, hold.
func (s *servicePort) lists(addr netip.AddrPort) bool {
	if s == nil {
		return false
	}
	for _, e := range s.endpoints {
		if e.Addr == addr {
			return e.Pod.Name == ""
		}
	}
	return false
}

// sentTo are the ready endpoints of the family of the address that a packet was
// sent to: what kube-proxy chooses from.
func (s *servicePort) sentTo(dst netip.Addr) []k8s.Endpoint {
	return slices.DeleteFunc(s.ready(), func(e k8s.Endpoint) bool { return e.Addr.Addr().Is6() != dst.Is6() })
}

// ready are the endpoints that traffic is sent to: the ready ones, else those
// that still serve while they end (KEP-1669).
func (s *servicePort) ready() []k8s.Endpoint {
	var ready, serving []k8s.Endpoint
	for _, e := range s.endpoints {
		switch {
		case e.Ready && !e.Terminating:
			ready = append(ready, e)
		case e.Serving && e.Terminating:
			serving = append(serving, e)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return serving
}

// pod is a Pod on the path.
type pod struct {
	ref   podRef
	ip    netip.Addr
	obj   *k8s.Pod
	proxy k8s.Proxy
}

func (w *walker) wrapPod(p *k8s.Pod) *pod {
	if p == nil {
		return nil
	}
	out := &pod{ref: podRef{p.Namespace, p.Name}, obj: p, proxy: p.Proxy()}
	if addrs := p.Addrs(); len(addrs) > 0 {
		out.ip = addrs[0]
	}
	return out
}

// identity is the name the Pod's workload certificate carries.
func (p *pod) identity() string {
	sa := p.obj.Spec.ServiceAccountName
	if sa == "" {
		sa = "default"
	}
	return "spiffe://" + orElse(p.trustDomain(), "cluster.local") + "/ns/" + p.ref.namespace + "/sa/" + sa
}

// trustDomain is what the proxy was told, where its environment says so.
func (p *pod) trustDomain() string {
	// A sidecar may be an init container that goes on running.
	for _, c := range slices.Concat(p.obj.Spec.Containers, p.obj.Spec.InitContainers) {
		for _, e := range c.Env {
			if e.Name == "TRUST_DOMAIN" {
				return e.Value
			}
		}
	}
	return ""
}

func (p *pod) hostNetwork() bool { return p.obj.Spec.HostNetwork }

// podByIP finds the Pod that owns an address; with several in the host's network
// the one that takes the port.
func (w *walker) podByIP(addr netip.Addr, port uint16) *pod {
	if w.err != nil {
		return nil
	}
	key := netip.AddrPortFrom(addr, port).String()
	if p, ok := w.pods[key]; ok {
		return p
	}
	found, err := w.cluster.PodAt(w.ctx, addr, port, "tcp")
	w.refused(err)
	p := w.wrapPod(found)
	if p != nil {
		p.ip = addr
	}
	w.pods[key] = p
	return p
}

// aheadTo asks ahead, where the way parts to n addresses, for the Pods that have
// them and for what the walk reads first in each: replicas are waited for
// together, not one after the other.
func (w *walker) aheadTo(n int, addr func(i int) netip.AddrPort) {
	if n < 2 || w.err != nil {
		return
	}
	n = min(n, 2*atOnce)
	for i := range n {
		a := addr(i)
		if _, known := w.pods[a.String()]; a.IsValid() && !known {
			w.read.ahead(w.ctx, Query{Area: AreaCluster, File: "pods", Select: Selector{Fields: "status.podIP=" + a.Addr().String()}})
		}
	}
	for i := range n {
		a := addr(i)
		if !a.IsValid() {
			continue
		}
		p := w.podByIP(a.Addr(), a.Port())
		if p == nil || p.hostNetwork() {
			continue
		}
		switch p.proxy.Role {
		case k8s.RoleGateway:
			w.read.ahead(w.ctx, p.ref.query(AreaProxy, configDump), p.ref.query(AreaProxy, accessLog))
		case k8s.RoleSidecar:
			save := saveV4
			if a.Addr().Is6() {
				save = saveV6
			}
			w.read.ahead(w.ctx, p.ref.query(AreaPod, save), p.ref.query(AreaProxy, configDump), p.ref.query(AreaProxy, accessLog))
		}
	}
}

// podNamed finds a Pod by its name.
func (w *walker) podNamed(ref podRef) (*pod, *NotReadError) {
	found, err := w.cluster.Pod(w.ctx, ref.namespace, ref.name)
	return w.wrapPod(found), w.refused(err)
}

// config adds the resource a person wrote to the hop.
func (h *Hop) config(kind, name string, resource string, raw []byte) {
	if len(raw) == 0 {
		return
	}
	for _, c := range h.Config {
		if c.Kind == kind && c.Name == name {
			return
		}
	}
	h.Config = append(h.Config, ConfigObject{Kind: kind, Name: name, Source: "cluster/" + resource + ".json", Object: raw})
}

// showService adds a Service's object and its line of evidence.
func (w *walker) showService(n *node, s *servicePort) {
	n.facts.service = s
	n.hop.Detail.Service = s.String()
	svc := s.service
	n.hop.config("Service", svc.Namespace+"/"+svc.Name, "services", svc.Raw)
	q := Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: svc.Namespace, Name: svc.Name}}
	excerpt := pick(svc.Raw, "metadata.namespace", "metadata.name", "spec.type", "spec.clusterIP", "spec.externalTrafficPolicy", "spec.ports", "status.loadBalancer")
	w.cite(n.hop, Config, q, excerpt, svc.Name)
}
