package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/hoptrail/hoptrail/k8s"
)

// resolution is what became of a name.
type resolution struct {
	chain   []string // the CNAME chain and then the addresses, as answered
	addrs   []netip.Addr
	service *servicePort // in-cluster names: the Service the name is of
	given   bool         // by --resolve
	empty   bool         // asked, and there is no address
}

// dnsAnswers is the form of dns.json.
type dnsAnswers struct {
	Answers []dnsAnswer `json:"answers"`
}

type dnsAnswer struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	TTL    int      `json:"ttl"`
	Values []string `json:"values"`
	Server string   `json:"server,omitempty"`
	Error  string   `json:"error,omitempty"` // NXDOMAIN, SERVFAIL ...
	// Assumed says why the vantage may be answered otherwise, where it may.
	Assumed string `json:"assumed,omitempty"`
}

// maxChain bounds a CNAME chain, as resolvers do.
const maxChain = 16

// resolve turns the target's host into addresses and walks on to each.
func (w *walker) resolve(f flow) *node {
	port := uint16(w.target.Port)
	if addr, err := netip.ParseAddr(w.target.Host); err == nil {
		if to, ok := w.override(); ok {
			return w.resolvedByHand(f, to)
		}
		f.dst = netip.AddrPortFrom(addr.Unmap(), port)
		return w.originate(f)
	}
	if to, ok := w.override(); ok {
		return w.resolvedByHand(f, to)
	}
	n := w.hop(KindDNS, Subject{Kind: "Name", Name: w.target.Host}, f)
	h := n.hop
	r := &resolution{}
	n.facts.dns = r
	if f.at.area == AreaPod {
		w.clusterName(n, r, f.at.namespace)
	}
	if len(r.addrs) == 0 && !r.empty && w.err == nil {
		w.ask(n, r, f)
	}
	h.Detail.Answers = r.chain
	if w.err != nil {
		return nil
	}
	switch {
	case len(r.addrs) > 0:
		h.settle(OK, "")
		h.Summary = w.target.Host + " is " + joinAddrs(r.addrs)
	case h.State == "":
		h.settle(Fail, w.target.Host+" has no address")
		h.Summary = "no address"
	}
	if len(r.addrs) == 0 && !r.empty {
		n.facts.fix = w.whereTo() // not known: not to have been asked is no fault of a load balancer
		return w.done(n)
	}
	n = w.done(n)
	if len(r.addrs) == 0 {
		n.to("", 1, w.pending(f))
		return n
	}
	if f.at.area == "" {
		w.nameLoadBalancers(n, r)
	}
	for _, a := range r.addrs {
		next := f
		next.dst = netip.AddrPortFrom(a, port)
		label := ""
		if len(r.addrs) > 1 {
			label = a.String()
		}
		n.to(label, 1/float64(len(r.addrs)), w.originate(next))
	}
	return n
}

// whereTo says how to go on with a name that could not be resolved: by the
// addresses of the Services that are meant for it, a few.
func (w *walker) whereTo() []string {
	host, port := w.target.Host, w.target.Port
	resolve := fmt.Sprintf("say what it resolves to, as curl does: --resolve %s:%d:", host, port)
	fix := []string{resolve + "ADDRESS"}
	services, err := w.cluster.Services(w.ctx, "")
	if w.refused(err) != nil || w.err != nil {
		return fix
	}
	for _, svc := range services {
		var addr string
		for _, in := range svc.Status.LoadBalancer.Ingress {
			addr = orElse(addr, in.IP)
		}
		for _, ip := range svc.Spec.ExternalIPs {
			addr = orElse(addr, ip)
		}
		what := "address"
		if p := svc.NodePortFor(uint16(port), "tcp"); p != nil {
			nodes, err := w.cluster.Nodes(w.ctx)
			w.refused(err)
			for _, node := range nodes {
				if a := nodeAddr(node, false); a.IsValid() {
					addr, what = a.String(), "NodePort"
					break
				}
			}
		} else if svc.PortFor(uint16(port), "tcp") == nil {
			continue
		}
		if addr != "" && len(fix) < 4 && w.serves(svc, host) {
			fix = append(fix, fmt.Sprintf("%s%s   # %s of Service %s/%s, whose Gateway has the host", resolve, addr, what, svc.Namespace, svc.Name))
		}
	}
	if len(fix) > 1 {
		return fix[1:]
	}
	return fix
}

// nameLoadBalancers remembers the Services whose load balancer goes by a name of
// the chain (status.loadBalancer.ingress[].hostname, as in AWS): its addresses
// stand in no object.
func (w *walker) nameLoadBalancers(n *node, r *resolution) {
	names := []string{w.target.Host}
	for _, name := range r.chain {
		if _, err := netip.ParseAddr(name); err != nil {
			names = append(names, strings.TrimSuffix(name, "."))
		}
	}
	var found []*k8s.Service
	for _, name := range names {
		services, err := w.cluster.ServicesOfLoadBalancer(w.ctx, name)
		if w.refused(err) != nil || w.err != nil {
			return
		}
		for _, svc := range services {
			if !slices.Contains(found, svc) {
				found = append(found, svc)
				n.hop.check("load balancer", OK, name+" is the load balancer of Service "+svc.Namespace+"/"+svc.Name)
			}
		}
	}
	if len(found) == 0 {
		return
	}
	w.named = map[netip.Addr][]*k8s.Service{}
	for _, a := range r.addrs {
		w.named[a] = found
	}
}

// override returns what --resolve says for the target's host and port.
func (w *walker) override() (string, bool) {
	for _, host := range []string{w.target.Host, strings.ToLower(w.target.Host), "*"} {
		if to, ok := w.target.Resolve[host+":"+strconv.Itoa(w.target.Port)]; ok {
			return to, true
		}
	}
	return "", false
}

// resolvedByHand goes to the address, and port where one is given, of --resolve.
func (w *walker) resolvedByHand(f flow, to string) *node {
	n := w.hop(KindDNS, Subject{Kind: "Name", Name: w.target.Host}, f)
	n.facts.dns = &resolution{given: true}
	ap, err := parseAddrMaybePort(to)
	if err != nil {
		w.err = fmt.Errorf("--resolve %s:%d:%s: not an address", w.target.Host, w.target.Port, to)
		return nil
	}
	if ap.Port() == 0 {
		ap = netip.AddrPortFrom(ap.Addr(), uint16(w.target.Port))
	}
	n.facts.dns.addrs = []netip.Addr{ap.Addr()}
	n.hop.Detail.Answers = []string{ap.Addr().String()}
	n.hop.Summary = w.target.Host + " is " + ap.String() + ", as --resolve says"
	n.hop.settle(OK, "")
	n.hop.check("resolver", OK, "not asked: --resolve")
	f.dst = ap
	n = w.done(n)
	n.to("", 1, w.originate(f))
	return n
}

// ask reads the resolver's answers and follows the CNAME chain in them.
func (w *walker) ask(n *node, r *resolution, f flow) {
	h := n.hop
	q := Query{Area: AreaDNS, Name: strings.ToLower(strings.TrimSuffix(w.target.Host, ".")), From: f.at.String()}
	obs, notRead := w.observe(q)
	if w.err != nil {
		return
	}
	if notRead != nil {
		w.unread(n, notRead)
		h.Summary = w.target.Host + " could not be resolved from here"
		return
	}
	var doc dnsAnswers
	err := json.Unmarshal(obs.Data, &doc)
	if err == nil && !bytes.Contains(obs.Data, []byte(`"answers"`)) {
		err = errors.New(`no "answers", as in {"answers":[{"name":"a.example.","type":"A","ttl":60,"values":["192.0.2.1"]}]}`)
	}
	if err != nil {
		w.broken(q, jsonError(q, obs.Data, err))
		w.unread(n, &NotReadError{Query: q, Why: err.Error(), Command: q.Command()})
		h.Summary = w.target.Host + " could not be resolved from here"
		return
	}
	name := q.Name + "."
	asked, assumed := false, ""
	for range maxChain {
		next := ""
		for _, a := range doc.Answers {
			if !strings.EqualFold(strings.TrimSuffix(a.Name, ".")+".", name) {
				continue
			}
			asked = true
			switch {
			case a.Error != "" && len(r.addrs) > 0: // of the other type
				h.check("answer", Warn, a.Type+" records: "+a.Error)
			case a.Error != "":
				h.check("answer", Fail, a.Error)
			}
			for _, v := range a.Values {
				switch strings.ToUpper(a.Type) {
				case "CNAME":
					next = strings.ToLower(strings.TrimSuffix(v, ".")) + "."
				case "A", "AAAA":
					if addr, err := netip.ParseAddr(v); err == nil && !slices.Contains(r.addrs, addr.Unmap()) {
						r.addrs = append(r.addrs, addr.Unmap())
						r.chain = append(r.chain, addr.Unmap().String())
					}
				}
			}
			ttl := fmt.Sprintf("%s %s %d %s", a.Name, a.Type, a.TTL, strings.Join(a.Values, " "))
			if a.Server != "" {
				ttl += " from " + a.Server
			}
			basis := Observed
			if a.Assumed != "" {
				basis = Inferred
				if a.Assumed != assumed {
					h.check("assumed", OK, a.Assumed)
				}
				assumed = a.Assumed
			}
			w.cite(h, basis, q, ttl, strings.Join(a.Values, " "))
		}
		if len(r.addrs) > 0 || next == "" {
			break
		}
		if len(r.chain) == 0 {
			r.chain = append(r.chain, name)
		}
		r.chain = append(r.chain, next)
		if slices.Contains(r.chain[:len(r.chain)-1], next) {
			break // a circle
		}
		name = next
	}
	r.empty = len(r.addrs) == 0 && (asked || len(doc.Answers) == 0)
	if !asked && !r.empty {
		w.unread(n, &NotReadError{Query: q, Why: "no answer for " + q.Name + " was recorded", Command: q.Command()})
		h.Summary = w.target.Host + " was not asked of a resolver"
	}
}

func joinAddrs(addrs []netip.Addr) string {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.String()
	}
	return strings.Join(all, ", ")
}

// jsonError places a decoding error of JSON at its line and column.
func jsonError(q Query, data []byte, err error) error {
	var offset int64 = -1
	switch e := err.(type) {
	case *json.SyntaxError:
		offset = e.Offset
	case *json.UnmarshalTypeError:
		offset = e.Offset
	}
	in := &InputError{File: q.Path(), Msg: err.Error(), Offset: offset}
	if offset >= 0 && offset <= int64(len(data)) {
		before := string(data[:offset])
		in.Line = strings.Count(before, "\n") + 1
		in.Column = len(before) - strings.LastIndexByte(before, '\n') - 1
	}
	return in
}

// clusterName resolves a name as a Pod does: its search path against the
// cluster's DNS, which answers for Services (kubernetes/dns specification). What
// no Service answers for is asked of the resolver behind it.
func (w *walker) clusterName(n *node, r *resolution, namespace string) {
	svc, err := w.cluster.ServiceByHost(w.ctx, w.target.Host, namespace)
	if notRead := w.refused(err); notRead != nil || w.err != nil || svc == nil {
		return
	}
	n.hop.check("resolver", OK, "the cluster's DNS, from the Service (inferred: it was not asked)")
	w.asked = svc
	r.service = &servicePort{service: svc}
	r.chain = append(r.chain, svc.Host()+".")
	for _, ip := range svc.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(ip); err == nil {
			r.addrs = append(r.addrs, a)
			break
		}
	}
	if len(r.addrs) == 0 && svc.Spec.Type == corev1.ServiceTypeExternalName {
		r.chain = append(r.chain, svc.Spec.ExternalName+".")
		return
	}
	if len(r.addrs) == 0 { // headless: the addresses of its ready endpoints
		for i := range svc.Spec.Ports {
			for _, e := range w.behind(svc, &svc.Spec.Ports[i]).ready() {
				if !slices.Contains(r.addrs, e.Addr.Addr()) {
					r.addrs = append(r.addrs, e.Addr.Addr())
				}
			}
		}
	}
	for _, a := range r.addrs {
		r.chain = append(r.chain, a.String())
	}
	w.cite(n.hop, Inferred, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: svc.Namespace, Name: svc.Name}},
		svc.Host()+" is Service "+svc.Namespace+"/"+svc.Name+" "+joinAddrs(r.addrs), svc.Name)
	n.hop.config("Service", svc.Namespace+"/"+svc.Name, "services", svc.Raw)
	if len(r.addrs) == 0 {
		r.empty = true
		n.hop.settle(Fail, "Service "+svc.Namespace+"/"+svc.Name+" is headless and has no ready endpoint")
	}
}
