package iptables

import (
	"crypto/sha256"
	"encoding/base32"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// ServicePort is one port of a Service with the endpoints it should have.
type ServicePort struct {
	Namespace, Name string
	Port            string // the port's name; empty where it has none
	Proto           Proto
	Number          uint16
	NodePort        uint16           // 0 where it has none
	ClusterIPs      []netip.Addr     // none: headless
	ExternalIPs     []netip.Addr     // and the load balancer's
	Endpoints       []netip.AddrPort // ready ones
}

// String returns namespace/name:port, or namespace/name for an unnamed port, as
// kube-proxy names it.
func (p *ServicePort) String() string {
	if p.Port == "" {
		return p.Namespace + "/" + p.Name
	}
	return p.Namespace + "/" + p.Name + ":" + p.Port
}

// ChainHash is the part of kube-proxy's chain names that a Service port gets:
// base32 of the SHA-256 of "namespace/name:port" and the protocol, 16 letters.
// With an endpoint ("ip:port") it is that of the endpoint's KUBE-SEP chain.
func ChainHash(servicePort string, proto Proto, endpoint string) string {
	sum := sha256.Sum256([]byte(servicePort + proto.String() + endpoint))
	return base32.StdEncoding.EncodeToString(sum[:])[:16]
}

// Names names chains back to what they are for. A nil Names knows only what the
// chain names and comments themselves tell.
type Names struct {
	ports  []ServicePort
	byHash map[string]int32
	byAddr map[ServiceAddr]int32
	once   sync.Once
	seps   map[string]sepName
}

type sepName struct {
	port     int32
	endpoint netip.AddrPort
}

// NewNames computes the chain names kube-proxy gives to each port and endpoint.
func NewNames(ports []ServicePort) *Names {
	n := &Names{ports: ports, byHash: make(map[string]int32, len(ports)), byAddr: make(map[ServiceAddr]int32, len(ports))}
	for i := range ports {
		p := &ports[i]
		n.byHash[ChainHash(p.String(), p.Proto, "")] = int32(i)
		for _, list := range [][]netip.Addr{p.ClusterIPs, p.ExternalIPs} {
			for _, a := range list {
				n.byAddr[ServiceAddr{p.Proto, netip.AddrPortFrom(a, p.Number)}] = int32(i)
			}
		}
		if p.NodePort != 0 {
			n.byAddr[ServiceAddr{p.Proto, netip.AddrPortFrom(netip.Addr{}, p.NodePort)}] = int32(i)
		}
	}
	return n
}

func (n *Names) endpoints() map[string]sepName {
	n.once.Do(func() {
		n.seps = map[string]sepName{}
		for i := range n.ports {
			for _, e := range n.ports[i].Endpoints {
				n.seps[ChainHash(n.ports[i].String(), n.ports[i].Proto, e.String())] = sepName{int32(i), e}
			}
		}
	})
	return n.seps
}

// at is the Service port an address belongs to, or "".
func (n *Names) at(proto Proto, dst netip.AddrPort) string {
	if n == nil {
		return ""
	}
	if i, ok := n.byAddr[ServiceAddr{proto, dst}]; ok {
		return n.ports[i].String()
	}
	return ""
}

type kubeChain struct{ prefix, what string }

// kubeChains are the chains kube-proxy makes for each Service port, with what
// they are for.
var kubeChains = []kubeChain{
	{"KUBE-SVC-", "endpoints of Service "},
	{"KUBE-SVL-", "endpoints on this node of Service "},
	{"KUBE-EXT-", "traffic from outside to Service "},
	{"KUBE-FW-", "source ranges of Service "},
	{"KUBE-XLB-", "load balancer traffic, local endpoints of Service "},
	{"KUBE-NWPLCY-", ""}, // kube-router's, see owners
}

// jumpChains are those whose Service a jump's comment names.
var jumpChains = append(slices.Clone(kubeChains), kubeChain{"KUBE-SEP-", "an endpoint of Service "})

// fixedChains are chains of one meaning.
var fixedChains = map[string]string{
	"KUBE-SERVICES": "Service addresses", "KUBE-NODEPORTS": "NodePorts", "KUBE-EXTERNAL-SERVICES": "external addresses of Services without endpoints",
	"KUBE-POSTROUTING": "masquerade of marked Service traffic", "KUBE-MARK-MASQ": "marks for masquerade", "KUBE-MARK-DROP": "marks for dropping",
	"KUBE-FORWARD": "forwarded Service traffic", "KUBE-FIREWALL": "drops marked packets and packets from outside to 127.0.0.0/8",
	"KUBE-PROXY-FIREWALL": "loadBalancerSourceRanges", "KUBE-PROXY-CANARY": "kube-proxy's canary", "KUBE-KUBELET-CANARY": "kubelet's canary",
	"ISTIO_INBOUND": "inbound capture", "ISTIO_REDIRECT": "the sidecar's outbound port", "ISTIO_IN_REDIRECT": "the sidecar's inbound port",
	"ISTIO_OUTPUT": "outbound capture", "ISTIO_OUTPUT_DNS": "DNS capture", "ISTIO_TPROXY": "inbound capture by TPROXY", "ISTIO_DIVERT": "packets of captured flows",
	"ISTIO_PRERT": "ambient: inbound capture", "ISTIO_POSTRT": "ambient: probes of the node", "ISTIO_DROP": "drops what is not valid",
	"FLANNEL-POSTRTG": "masquerade of Pod traffic", "FLANNEL-FWD": "forwarding of Pod traffic", "IP-MASQ-AGENT": "masquerade except towards cluster networks", "IP-MASQ": "masquerade of Pod traffic",
	"DOCKER": "published container ports", "DOCKER-USER": "the user's own rules before Docker's", "DOCKER-FORWARD": "forwarding to containers",
	"DOCKER-ISOLATION": "isolation between networks", "DOCKER-ISOLATION-STAGE-1": "isolation between networks", "DOCKER-ISOLATION-STAGE-2": "isolation between networks",
	"CNI-HOSTPORT-DNAT": "hostPorts", "CNI-HOSTPORT-MASQ": "masquerade for hostPorts", "CNI-HOSTPORT-SETMARK": "marks for hostPort masquerade", "CNI-FORWARD": "forwarding of Pod traffic", "CNI-ADMIN": "the administrator's own rules",
	"cali-PREROUTING": "Calico, before routing", "cali-FORWARD": "Calico, forwarded traffic", "cali-INPUT": "Calico, traffic to the node", "cali-OUTPUT": "Calico, traffic of the node",
	"cali-POSTROUTING": "Calico, after routing", "cali-nat-outgoing": "Calico, NAT of Pod traffic that leaves the cluster", "cali-fip-dnat": "Calico, floating addresses",
	"cali-from-wl-dispatch": "Calico, from Pods", "cali-to-wl-dispatch": "Calico, to Pods", "cali-wl-to-host": "Calico, Pods to the node", "cali-cidr-block": "Calico, blocked networks",
	"cali-from-host-endpoint": "Calico, from host endpoints", "cali-to-host-endpoint": "Calico, to host endpoints", "cali-rpf-skip": "Calico, reverse path check exceptions",
}

// prefixChains are families of chains, longest prefix first where one holds another.
var prefixChains = []struct{ prefix, what string }{
	{"cali-tw-", "Calico, to Pod interface "},
	{"cali-fw-", "Calico, from Pod interface "},
	{"cali-pi-", "Calico, ingress policy "},
	{"cali-po-", "Calico, egress policy "},
	{"cali-pri-", "Calico, ingress profile "},
	{"cali-pro-", "Calico, egress profile "},
	{"cali-", "Calico, "},
	{"CILIUM_", "Cilium, "},
	{"OLD_CILIUM_", "Cilium, "},
	{"ztunnel-", "Istio ambient, "},
	{"ISTIO_", "Istio, "},
	{"CNI-DN-", "hostPorts of the sandbox "},
	{"CNI-", "masquerade of the sandbox "},
	{"AWS-SNAT-CHAIN-", "AWS, NAT outside of the VPC, step "},
	{"AWS-CONNMARK-CHAIN-", "AWS, marks of connections, step "},
	{"KUBE-NWPLCY-", "kube-router, network policy "},
	{"KUBE-POD-FW-", "kube-router, Pod firewall "},
	{"KUBE-ROUTER-", "kube-router, "},
	{"ANTREA-", "Antrea, "},
	{"WEAVE-", "Weave, "},
	{"AZURE-NPM", "Azure NPM"},
	{"ufw-", "ufw, "},
	{"ufw6-", "ufw, "},
	{"f2b-", "fail2ban, "},
	{"DOCKER-", "Docker, "},
	{"SERVICES-", "SuperEdge, "},
	{"nixos-", "NixOS, "},
	{"FWD_", "firewalld, "},
	{"FWDI_", "firewalld, "},
	{"FWDO_", "firewalld, "},
	{"IN_", "firewalld, "},
	{"PRE_", "firewalld, "},
	{"POST_", "firewalld, "},
}

// describe puts a chain in words, or returns "".
func (n *Names) describe(chain string) string {
	if s, ok := fixedChains[chain]; ok {
		return s
	}
	for _, k := range kubeChains {
		hash, ok := strings.CutPrefix(chain, k.prefix)
		if !ok || k.what == "" {
			continue
		}
		if n != nil {
			if i, ok := n.byHash[hash]; ok {
				return k.what + n.ports[i].String()
			}
		}
		return ""
	}
	if hash, ok := strings.CutPrefix(chain, "KUBE-SEP-"); ok {
		if n != nil {
			if s, ok := n.endpoints()[hash]; ok {
				return "endpoint " + s.endpoint.String() + " of Service " + n.ports[s.port].String()
			}
		}
		return ""
	}
	for _, p := range prefixChains {
		if rest, ok := strings.CutPrefix(chain, p.prefix); ok {
			return p.what + rest
		}
	}
	return ""
}

// note puts a rule's chain, or the chain it jumps to, in words.
func (n *Names) note(b *body, r *rule) string {
	if t, ok := r.target.(*chainTarget); ok {
		if s := n.describe(t.chain); s != "" {
			return s
		}
		for _, k := range jumpChains {
			if strings.HasPrefix(t.chain, k.prefix) && k.what != "" {
				if svc := serviceInComment(r); svc != "" {
					return k.what + svc
				}
			}
		}
	}
	return n.describe(b.name)
}

// serviceInComment reads "ns/name:port" from a rule's comment. Above 1000
// endpoints kube-proxy leaves most comments out.
func serviceInComment(r *rule) string {
	for _, m := range r.matches {
		c, ok := m.(*commentMatch)
		if !ok {
			continue
		}
		for word := range strings.FieldsSeq(c.text) {
			word = strings.TrimSuffix(word, ":")
			ns, name, ok := strings.Cut(word, "/")
			if ok && ns != "" && name != "" && !strings.ContainsAny(name, "/\"") && strings.Count(name, ":") <= 1 && isLabel(ns) {
				return word
			}
		}
	}
	return ""
}

func isLabel(s string) bool {
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return s != "" && (s[0] < '0' || s[0] > '9' || strings.Trim(s, "0123456789") != "")
}

// serviceOf is the Service port a packet met on its path, or "".
func (n *Names) serviceOf(path *pathNode, dst netip.AddrPort, proto Proto) string {
	comment := ""
	for k := path; k != nil; k = k.prev {
		name := k.body.name
		if !strings.HasPrefix(name, "KUBE-") {
			continue
		}
		r := k.body.rule(k.rule)
		if n != nil {
			for _, c := range kubeChains {
				if hash, ok := strings.CutPrefix(name, c.prefix); ok {
					if i, ok := n.byHash[hash]; ok {
						return n.ports[i].String()
					}
				}
			}
		}
		if name == "KUBE-SERVICES" || name == "KUBE-NODEPORTS" || name == "KUBE-EXTERNAL-SERVICES" || strings.HasPrefix(name, "KUBE-SEP-") || strings.HasPrefix(name, "KUBE-EXT-") || strings.HasPrefix(name, "KUBE-SVC-") {
			if s := serviceInComment(r); s != "" {
				comment = s
			}
		}
	}
	if comment != "" {
		return comment
	}
	return n.at(proto, dst)
}

// owner says who writes the rules of a chain, or "".
func owner(chain string) string {
	for _, o := range []struct{ prefix, who string }{
		{"KUBE-NWPLCY-", "kube-router"},
		{"KUBE-POD-FW-", "kube-router"},
		{"KUBE-ROUTER-", "kube-router"},
		{"KUBE-KUBELET", "kubelet"},
		{"KUBE-", "kube-proxy"},
		{"cali-", "Calico"},
		{"CILIUM_", "Cilium"},
		{"OLD_CILIUM_", "Cilium"},
		{"ISTIO_", "Istio"},
		{"ztunnel-", "Istio"},
		{"FLANNEL-", "Flannel"},
		{"DOCKER", "Docker"},
		{"ANTREA-", "Antrea"},
		{"WEAVE-", "Weave"},
		{"AZURE-NPM", "Azure NPM"},
		{"AWS-", "AWS VPC CNI"},
		{"CNI-", "CNI plugins"},
		{"IP-MASQ", "ip-masq-agent"},
		{"ufw", "ufw"},
		{"f2b-", "fail2ban"},
		{"FWD", "firewalld"},
		{"IN_", "firewalld"},
		{"nixos-", "NixOS"},
	} {
		if strings.HasPrefix(chain, o.prefix) {
			return o.who
		}
	}
	return ""
}

// cause says what a refusing rule expresses and who wrote it.
func (w *walk) cause(b *body, at int, v Verdict) (Cause, string) {
	who := owner(b.name)
	if who == "" {
		for _, m := range b.rule(at).matches {
			if c, ok := m.(*commentMatch); ok {
				switch {
				case strings.HasPrefix(c.text, "cali:"):
					who = "Calico"
				case strings.HasPrefix(c.text, "cilium"):
					who = "Cilium"
				case strings.HasPrefix(c.text, "NodeLocal DNS Cache"):
					who = "NodeLocal DNS Cache"
				}
			}
		}
	}
	if who != "kube-proxy" {
		return OtherOwner, who
	}
	switch b.name {
	case "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS":
		if v == Reject {
			return NoEndpoints, who
		}
		return NoLocalEndpoints, who
	case "KUBE-PROXY-FIREWALL":
		return SourceRanges, who
	}
	switch {
	case strings.HasPrefix(b.name, "KUBE-FW-"):
		return SourceRanges, who
	case strings.HasPrefix(b.name, "KUBE-XLB-"), strings.HasPrefix(b.name, "KUBE-SVL-"):
		return NoLocalEndpoints, who
	}
	return "", who
}

// Disagreement is one endpoint on which the rules and the endpoints given do not
// agree (HT2006).
type Disagreement struct {
	Service  string // ns/name:port
	Endpoint netip.AddrPort
	Stale    bool  // only the rules have it; otherwise only the endpoints given
	Rule     *Step // the rule that sends there, where Stale
}

// Disagreements compares the endpoints of ports with where the rules send. Ports
// without any chain in the rules are left out where the rules hold no Service at
// all. A Service whose rules name only endpoints on this node is checked only for
// stale ones.
func (h *Host) Disagreements(ports []ServicePort) []Disagreement {
	var out []Disagreement
	for i := range ports {
		p := &ports[i]
		for _, family := range []int{4, 6} {
			rs := h.V4
			if family == 6 {
				rs = h.V6
			}
			is4 := func(a netip.AddrPort) bool { return a.Addr().Is4() == (family == 4) }
			if !rs.HasChain("nat", "KUBE-SERVICES") {
				continue
			}
			served := p.NodePort != 0 || slices.ContainsFunc(p.ClusterIPs, func(a netip.Addr) bool { return a.Is4() == (family == 4) })
			if !served {
				continue
			}
			hash := ChainHash(p.String(), p.Proto, "")
			have := map[netip.AddrPort]*Step{}
			cluster := rs.HasChain("nat", "KUBE-SVC-"+hash)
			for _, prefix := range []string{"KUBE-SVC-", "KUBE-SVL-", "KUBE-XLB-"} {
				rs.endpointsOf(prefix+hash, have)
			}
			for e, s := range have {
				if !slices.Contains(p.Endpoints, e) {
					out = append(out, Disagreement{Service: p.String(), Endpoint: e, Stale: true, Rule: s})
				}
			}
			if !cluster && rs.HasChain("nat", "KUBE-SVL-"+hash) {
				continue
			}
			for _, e := range p.Endpoints {
				if have[e] == nil && is4(e) {
					out = append(out, Disagreement{Service: p.String(), Endpoint: e})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Disagreement) int {
		if c := strings.Compare(a.Service, b.Service); c != 0 {
			return c
		}
		if a.Stale != b.Stale {
			if a.Stale {
				return -1
			}
			return 1
		}
		return a.Endpoint.Compare(b.Endpoint)
	})
	return out
}

// endpointsOf gathers where the endpoint chains that a chain jumps to send.
func (rs *Ruleset) endpointsOf(chain string, have map[netip.AddrPort]*Step) {
	t := rs.table("nat")
	c := t.find(rs, chain)
	if c == nil {
		return
	}
	b := rs.body(t, c)
	for i := range b.rules {
		jump, ok := b.rule(i).target.(*chainTarget)
		if !ok || !strings.HasPrefix(jump.chain, "KUBE-SEP-") {
			continue
		}
		sep := t.find(rs, jump.chain)
		if sep == nil {
			continue
		}
		sb := rs.body(t, sep)
		for k := range sb.rules {
			r := sb.rule(k)
			if d, ok := r.target.(*natTarget); ok && d.kind == "DNAT" && d.lo.IsValid() && d.lo == d.hi && d.hasPort {
				have[netip.AddrPortFrom(d.lo, d.minP)] = &Step{Hook: "PREROUTING", Table: "nat", Chain: sb.name, Rule: k + 1, Text: r.text, Action: r.action, Line: r.line, Source: rs.name}
			}
		}
	}
}

// Explain says in words what a chain is for: the Service, port and endpoint of a
// chain of kube-proxy's, or the purpose of a well-known chain of Istio, Docker
// or a CNI. It returns "" for a chain it does not know. n may be nil.
func (n *Names) Explain(chain string) string { return n.describe(chain) }
