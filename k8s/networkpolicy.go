package k8s

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Peer is one end of a connection as a NetworkPolicy sees it.
type Peer struct {
	Pod  *Pod
	Addr netip.Addr // that the packet carries; may be left out where Pod is given
	Node string     // the address is that node's own: traffic of the node, or masqueraded there
}

func (p Peer) String() string {
	switch {
	case p.Pod != nil:
		return p.Pod.Ref().String()
	case p.Node != "":
		return "node " + p.Node
	}
	return p.Addr.String()
}

func (p Peer) addrs() []netip.Addr {
	switch {
	case p.Addr.IsValid():
		return []netip.Addr{p.Addr.Unmap()}
	case p.Pod != nil:
		return p.Pod.Addrs()
	}
	return nil
}

// PolicyState is whether policies let a connection pass. The zero value is
// undetermined.
type PolicyState int

// The states.
const (
	PolicyUndetermined PolicyState = iota
	PolicyAllowed
	PolicyDenied
)

func (s PolicyState) String() string {
	return [...]string{"undetermined", "allowed", "denied"}[s]
}

// PolicyVerdict is what the policies of one Pod say of a connection.
type PolicyVerdict struct {
	State    PolicyState
	Egress   bool  // it is the source's verdict; else the destination's
	Pod      Ref   // whose policies
	Policies []Ref // allowed: the one that allows, none where none selects the Pod; denied: all that select it; undetermined: those that could change it
	Reason   string
}

// cniPolicies are the kinds that other than Kubernetes' own say who may connect.
// What they mean is their CNI plugin's affair.
var cniPolicies = []string{
	"ciliumnetworkpolicies.cilium.io",
	"ciliumclusterwidenetworkpolicies.cilium.io",
	"networkpolicies.crd.projectcalico.org",
	"globalnetworkpolicies.crd.projectcalico.org",
	"networkpolicies.crd.antrea.io",
	"clusternetworkpolicies.crd.antrea.io",
	"adminnetworkpolicies.policy.networking.k8s.io",
	"baselineadminnetworkpolicies.policy.networking.k8s.io",
	"clusternetworkpolicies.policy.networking.k8s.io",
}

// Optional says whether a resource is one that most clusters do not have, so that
// its absence is no gap in what was read: the policies of CNI plugins, and the
// Gateway API.
func Optional(resource string) bool {
	return slices.Contains(cniPolicies, resource) || strings.HasSuffix(resource, ".gateway.networking.k8s.io")
}

// PolicyAllows evaluates the egress policies of the source and then the ingress
// policies of the destination, as far as they are Pods: one verdict for each. port
// and proto (tcp, udp, sctp) are the destination's own, behind any Service.
//
// As in networking.k8s.io/v1: a Pod that no policy of a direction selects takes
// everything; policies add up; a peer that is missing or empty is everyone.
// A CNI plugin's own policies that may select the Pod make its verdict
// undetermined, as does what the API leaves to the plugins: Pods in their node's
// network. That the plugin enforces policies at all is taken for granted.
func (v *View) PolicyAllows(ctx context.Context, src, dst Peer, port uint16, proto string) ([]PolicyVerdict, error) {
	if src.Pod != nil && dst.Pod != nil && src.Pod.Ref() == dst.Pod.Ref() {
		return []PolicyVerdict{{State: PolicyAllowed, Pod: dst.Pod.Ref(), Reason: "a Pod always reaches itself"}}, nil
	}
	var out []PolicyVerdict
	for _, egress := range []bool{true, false} {
		self, other := dst, src
		if egress {
			self, other = src, dst
		}
		if self.Pod == nil {
			continue
		}
		verdict, err := v.policyVerdict(ctx, self.Pod, other, dst.Pod, egress, port, proto)
		if err != nil {
			return nil, err
		}
		out = append(out, verdict)
	}
	return out, nil
}

func (v *View) policyVerdict(ctx context.Context, self *Pod, other Peer, dst *Pod, egress bool, port uint16, proto string) (PolicyVerdict, error) {
	out := PolicyVerdict{Egress: egress, Pod: self.Ref()}
	direction, word := networkingv1.PolicyTypeIngress, "ingress"
	if egress {
		direction, word = networkingv1.PolicyTypeEgress, "egress"
	}
	all, err := v.NetworkPolicies(ctx, self.Namespace)
	if err != nil {
		return out, err
	}
	var selecting []*NetworkPolicy
	for _, p := range all {
		ok, err := labelsMatch(&p.Spec.PodSelector, self.Labels)
		if err != nil {
			out.Policies, out.Reason = []Ref{p.Ref()}, fmt.Sprintf("podSelector of %s: %v", p.Ref(), err)
			return out, nil
		}
		if ok && p.speaksOf(direction) {
			selecting = append(selecting, p)
		}
	}
	foreign := v.foreignPolicies(ctx, self)
	refs := func() (rs []Ref) {
		for _, p := range selecting {
			rs = append(rs, p.Ref())
		}
		return rs
	}
	switch {
	case len(foreign) > 0:
		out.Policies = append(foreign, refs()...)
		out.Reason = fmt.Sprintf("%s may select %s; what policies of CNI plugins mean is not evaluated", list3(foreign), self.Ref())
		return out, nil
	case len(selecting) == 0:
		out.State = PolicyAllowed
		out.Reason = fmt.Sprintf("no NetworkPolicy for %s selects %s", word, self.Ref())
		return out, nil
	case self.Spec.HostNetwork:
		out.Policies = refs()
		out.Reason = fmt.Sprintf("%s selects %s, which is in its node's network: Kubernetes leaves open whether that has an effect", list3(out.Policies), self.Ref())
		return out, nil
	case !egress && other.Pod == nil && other.Node != "" && other.Node == self.Spec.NodeName:
		out.State = PolicyAllowed
		out.Reason = fmt.Sprintf("the node a Pod runs on always reaches it, whatever %s says", list3(refs()))
		return out, nil
	}

	var open []string // why it cannot be told
	for _, p := range selecting {
		for i, rule := range p.rules(egress) {
			where := fmt.Sprintf("%s, %s[%d]", p.Ref(), word, i)
			portOK, portWhy := portsMatch(rule.ports, dst, port, proto)
			if !portOK && portWhy == "" {
				continue
			}
			peerOK, peerHow, peerWhy, err := v.peersMatch(ctx, rule.peers, p.Namespace, other)
			if err != nil {
				return out, err
			}
			switch {
			case !peerOK && peerWhy == "":
			case portOK && peerOK:
				out.State, out.Policies = PolicyAllowed, []Ref{p.Ref()}
				out.Reason = where + ": " + peerHow
				return out, nil
			default:
				open = append(open, where+": "+strings.Trim(portWhy+"; "+peerWhy, "; "))
			}
		}
	}
	out.Policies = refs()
	if len(open) > 0 {
		out.Reason = strings.Join(open, "; ")
		return out, nil
	}
	out.State = PolicyDenied
	toFrom := "from"
	if egress {
		toFrom = "to"
	}
	out.Reason = fmt.Sprintf("%s selects %s for %s and no rule allows %s/%d %s %s", list3(out.Policies), self.Ref(), word, strings.ToLower(proto), port, toFrom, other)
	return out, nil
}

// list3 names a few.
func list3(rs []Ref) string {
	names := make([]string, 0, len(rs))
	for _, r := range rs {
		names = append(names, r.String())
	}
	if len(names) > 3 {
		names = append(names[:3], fmt.Sprintf("%d more", len(rs)-3))
	}
	return strings.Join(names, ", ")
}

// NetworkPolicies are the NetworkPolicies of a namespace, of all where ns is
// empty.
func (v *View) NetworkPolicies(ctx context.Context, ns string) ([]*NetworkPolicy, error) {
	return all(ctx, v, "networkpolicies.networking.k8s.io", ns, decodeNetworkPolicy)
}

// speaksOf says whether p is about a direction: policyTypes, or where that is
// empty ingress always and egress if it has rules for it.
func (p *NetworkPolicy) speaksOf(d networkingv1.PolicyType) bool {
	if len(p.Spec.PolicyTypes) == 0 {
		return d == networkingv1.PolicyTypeIngress || len(p.Spec.Egress) > 0
	}
	return slices.Contains(p.Spec.PolicyTypes, d)
}

type policyRule struct {
	ports []networkingv1.NetworkPolicyPort
	peers []networkingv1.NetworkPolicyPeer
}

func (p *NetworkPolicy) rules(egress bool) []policyRule {
	var out []policyRule
	if egress {
		for _, r := range p.Spec.Egress {
			out = append(out, policyRule{r.Ports, r.To})
		}
		return out
	}
	for _, r := range p.Spec.Ingress {
		out = append(out, policyRule{r.Ports, r.From})
	}
	return out
}

// portsMatch says whether one of the ports takes the connection; why is not empty
// where that cannot be told: a named port, and no Pod whose containers name it.
func portsMatch(ports []networkingv1.NetworkPolicyPort, dst *Pod, port uint16, proto string) (ok bool, why string) {
	if len(ports) == 0 {
		return true, ""
	}
	for _, p := range ports {
		if !sameProto(deref(p.Protocol), proto) {
			continue
		}
		switch {
		case p.Port == nil:
			return true, ""
		case p.Port.Type == intstr.String && dst == nil:
			why = "what port " + p.Port.StrVal + " is outside of Pods is not known"
		case p.Port.Type == intstr.String:
			if n, found := dst.PortNamed(p.Port.StrVal, proto); found && n == port {
				return true, ""
			}
		case p.EndPort != nil:
			if int32(port) >= p.Port.IntVal && int32(port) <= *p.EndPort {
				return true, ""
			}
		case p.Port.IntVal == int32(port):
			return true, ""
		}
	}
	return false, why
}

// peersMatch says whether one of the peers is the other end, and by what; why is
// not empty where that cannot be told.
func (v *View) peersMatch(ctx context.Context, peers []networkingv1.NetworkPolicyPeer, ns string, other Peer) (ok bool, how, why string, err error) {
	if len(peers) == 0 {
		return true, "allows everyone on the port", "", nil
	}
	for _, p := range peers {
		if p.IPBlock != nil {
			in, text, bad := inBlock(p.IPBlock, other.addrs())
			switch {
			case bad != "":
				why = bad
			case in:
				return true, "ipBlock " + text, "", nil
			}
			continue
		}
		if other.Pod == nil {
			continue // selectors mean Pods
		}
		matches, text, bad, err := v.podMatches(ctx, p, ns, other.Pod)
		if err != nil {
			return false, "", "", err
		}
		switch {
		case bad != "":
			why = bad
		case matches && other.Pod.Spec.HostNetwork:
			why = fmt.Sprintf("%s means %s, which is in its node's network: Kubernetes leaves open whether it is seen as that Pod", text, other.Pod.Ref())
		case matches:
			return true, text, "", nil
		}
	}
	return false, "", why, nil
}

// podMatches holds a Pod against the selectors of a peer.
func (v *View) podMatches(ctx context.Context, p networkingv1.NetworkPolicyPeer, ns string, pod *Pod) (ok bool, how, bad string, err error) {
	var parts []string
	if p.NamespaceSelector == nil {
		if pod.Namespace != ns {
			return false, "", "", nil
		}
	} else {
		labels := map[string]string{}
		if len(p.NamespaceSelector.MatchLabels)+len(p.NamespaceSelector.MatchExpressions) > 0 {
			n, err := v.Namespace(ctx, pod.Namespace)
			if err != nil {
				return false, "", "", err
			}
			if n != nil {
				labels = n.Labels
			}
		}
		ok, err := labelsMatch(p.NamespaceSelector, labels)
		if err != nil {
			return false, "", fmt.Sprintf("namespaceSelector: %v", err), nil
		}
		if !ok {
			return false, "", "", nil
		}
		parts = append(parts, "namespaceSelector "+selectorText(p.NamespaceSelector))
	}
	if p.PodSelector != nil {
		ok, err := labelsMatch(p.PodSelector, pod.Labels)
		if err != nil {
			return false, "", fmt.Sprintf("podSelector: %v", err), nil
		}
		if !ok {
			return false, "", "", nil
		}
		parts = append(parts, "podSelector "+selectorText(p.PodSelector))
	}
	if len(parts) == 0 {
		return false, "", "a peer without any selector", nil
	}
	return true, strings.Join(parts, " and "), "", nil
}

func inBlock(b *networkingv1.IPBlock, addrs []netip.Addr) (ok bool, text, bad string) {
	block, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return false, "", fmt.Sprintf("ipBlock %q is no range of addresses", b.CIDR)
	}
	if len(addrs) == 0 {
		return false, "", "the address that the packet carries is not known"
	}
	for _, a := range addrs {
		if !block.Contains(a) {
			continue
		}
		except := ""
		for _, e := range b.Except {
			p, err := netip.ParsePrefix(e)
			if err != nil {
				return false, "", fmt.Sprintf("ipBlock except %q is no range of addresses", e)
			}
			if p.Contains(a) {
				except = e
			}
		}
		if except == "" {
			return true, b.CIDR, ""
		}
	}
	return false, "", ""
}

// labelsMatch evaluates a label selector: nil selects nothing, an empty one all.
func labelsMatch(s *metav1.LabelSelector, labels map[string]string) (bool, error) {
	if s == nil {
		return false, nil
	}
	if !contains(labels, s.MatchLabels) {
		return false, nil
	}
	for _, e := range s.MatchExpressions {
		val, has := labels[e.Key]
		var ok bool
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			ok = has && slices.Contains(e.Values, val)
		case metav1.LabelSelectorOpNotIn:
			ok = !has || !slices.Contains(e.Values, val)
		case metav1.LabelSelectorOpExists:
			ok = has
		case metav1.LabelSelectorOpDoesNotExist:
			ok = !has
		default:
			return false, fmt.Errorf("operator %q is not known", e.Operator)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

func selectorText(s *metav1.LabelSelector) string {
	text := labelQuery(s.MatchLabels)
	for _, e := range s.MatchExpressions {
		if text != "" {
			text += ","
		}
		text += e.Key + " " + string(e.Operator)
		if len(e.Values) > 0 {
			text += " (" + strings.Join(e.Values, ", ") + ")"
		}
	}
	if text == "" {
		return "{}"
	}
	return text
}

// foreignPolicies are the CNI plugins' own policies that may select the Pod. One
// that is plainly about other Pods is left out; a kind that the cluster does not
// have, or that could not be read, gives none.
func (v *View) foreignPolicies(ctx context.Context, p *Pod) []Ref {
	var out []Ref
	for _, resource := range cniPolicies {
		l, err := v.list(ctx, resource, Selector{})
		if err != nil {
			continue
		}
		for _, it := range l.items {
			if (it.ns == "" || it.ns == p.Namespace) && !it.plainlyOthers(p) {
				kind := it.kind
				if g := it.group(); kind == "NetworkPolicy" || kind == "ClusterNetworkPolicy" {
					kind += "." + g
				}
				out = append(out, Ref{kind, it.ns, it.name})
			}
		}
	}
	return out
}

// plainlyOthers says whether the policy has a selector of exact labels that the
// Pod does not have. It is false for whatever it cannot read.
func (it *item) plainlyOthers(p *Pod) bool {
	if it.group() != "cilium.io" {
		return false
	}
	spec, err := member(it.raw, "spec")
	if err != nil || len(spec) == 0 {
		return false
	}
	selector, err := member(spec, "endpointSelector")
	if err != nil {
		return false
	}
	var s metav1.LabelSelector
	if json.Unmarshal(selector, &s) != nil {
		return false
	}
	for k, val := range s.MatchLabels {
		k, ok := strings.CutPrefix(k, "k8s:")
		if !ok {
			k = strings.TrimPrefix(k, "any:")
		}
		if strings.HasPrefix(k, "io.") || strings.Contains(k, ":") {
			continue // labels that Cilium makes itself
		}
		if p.Labels[k] != val {
			return true
		}
	}
	return false
}
