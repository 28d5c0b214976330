package trace

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/hoptrail/hoptrail/k8s"
)

// ht6003 names a NetworkPolicy that does not let the packet pass: of the Pod it
// arrives at, or of the Pod that sends it.
func ht6003(q *inquiry) {
	q.kind(func(n *node) {
		f := n.facts.flow
		for _, v := range n.facts.policies {
			if v.State != k8s.PolicyDenied {
				continue
			}
			var names []string
			for _, r := range v.Policies {
				names = append(names, r.String())
			}
			to := f.dst.Addr().String()
			if n.facts.pod != nil {
				to = "Pod " + n.facts.pod.ref.String()
			}
			from, rule := f.from, "ingress: [{from: ["+q.policyPeer(f.from, f.src.Addr(), f.assumed)+"]"
			if v.Egress {
				dst := place{}
				if n.facts.pod != nil {
					dst = place{area: AreaPod, namespace: n.facts.pod.ref.namespace, name: n.facts.pod.ref.name}
				}
				from, rule = f.sender, "egress: [{to: ["+q.policyPeer(dst, f.dst.Addr(), false)+"]"
			}
			ports := fmt.Sprintf("ports: [{port: %d, protocol: %s}]}]", f.dst.Port(), strings.ToUpper(f.proto))
			if !v.Egress && f.masqueraded() {
				// whom to allow cannot be said by address: it is any node's
				rule, ports = "ingress: [{"+ports, "   # without from: what comes through a node bears the node's address, and the client's own only under externalTrafficPolicy: Local"
			} else {
				rule += ", "
			}
			found := q.report(n, fmt.Sprintf("%s cannot reach port %d of %s: %s", from, f.dst.Port(), to, v.Reason),
				fmt.Sprintf("in %s, or in a further NetworkPolicy of namespace %s that selects Pod %s, add to spec: %s%s", names[0], v.Pod.Namespace, v.Pod.Name, rule, ports),
				"whether it is enforced depends on the CNI: flannel alone enforces none")
			found.same = strings.Join(names, ", ")
			for _, r := range v.Policies {
				if meta := q.object(r); meta != nil {
					q.written(found, meta, "spec", r.Name)
				}
			}
			for _, p := range q.proxiesInOrder() {
				for _, l := range p.lines {
					if l.entry.UpstreamHost() == f.dst.String() && strings.Contains(l.entry.Details(), "connection_timeout") {
						q.proof(found, Observed, p.pod.query(AreaProxy, accessLog), l.entry.Raw, "connection_timeout")
					}
				}
			}
		}
	}, KindPod, KindExternal, KindApp)
}

// policyPeer writes one end of a connection as a NetworkPolicy's rule names it: a
// Pod by its namespace and labels, anything else by its address.
func (q *inquiry) policyPeer(at place, addr netip.Addr, assumed bool) string {
	if at.area == AreaPod {
		if p, _ := q.podNamed(podRef{at.namespace, at.name}); p != nil {
			if l := identifyingLabels(p.obj.Labels); l != "" {
				return fmt.Sprintf("{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}, podSelector: {matchLabels: {%s}}}", at.namespace, l)
			}
		}
	}
	if !addr.IsValid() || assumed {
		return "{ipBlock: {cidr: CLIENT/32}}"
	}
	return fmt.Sprintf("{ipBlock: {cidr: %s}}", netip.PrefixFrom(addr, addr.BitLen()))
}

// identifyingLabels are those by which people tell Pods apart, as YAML writes
// them: the application's name where there is one, else all that a controller
// did not add.
func identifyingLabels(labels map[string]string) string {
	for _, key := range []string{"app.kubernetes.io/name", "app", "k8s-app", "istio"} {
		if v := labels[key]; v != "" {
			return key + ": " + v
		}
	}
	var out []string
	for _, key := range sortedKeys(labels) {
		if !strings.HasSuffix(key, "-hash") && !strings.HasPrefix(key, "statefulset.kubernetes.io/") && !strings.HasPrefix(key, "apps.kubernetes.io/") {
			out = append(out, key+": "+labels[key])
		}
	}
	return strings.Join(out, ", ")
}
