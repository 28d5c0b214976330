package trace

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/hoptrail/hoptrail/k8s"
)

// ht8001 names an application that does not listen where the request goes: on
// the loopback only, or on another port.
func ht8001(q *inquiry) {
	q.kind(func(n *node) {
		if n.hop.State != Fail || n.facts.pod == nil || !n.facts.socketsRead {
			return
		}
		dst := n.facts.flow.dst
		p := n.facts.pod
		fix := fmt.Sprintf("let the application listen on 0.0.0.0:%d", dst.Port())
		var ports []string
		for _, s := range n.facts.sockets {
			if s.port >= 15000 && s.port <= 15090 {
				continue
			}
			ports = append(ports, s.String())
		}
		detail := fmt.Sprintf("nothing in Pod %s listens on %s", p.ref, dst)
		if len(ports) > 0 {
			detail += "; its sockets are " + strings.Join(ports, ", ")
		}
		other := slices.ContainsFunc(n.facts.sockets, func(s listening) bool { return s.port != dst.Port() && (s.port < 15000 || s.port > 15090) && !s.udp })
		todo := fix
		headless := q.serviceBefore(n) == nil && q.headless(n) != nil
		switch {
		case other && headless:
			todo = fmt.Sprintf("ask for a port that the application has: %s is headless, so nothing turns its port into the targetPort; or %s", q.headless(n).Ref(), fix)
		case other:
			todo += ", or point the Service's targetPort at the port it has"
		}
		f := q.report(n, detail, todo, fmt.Sprintf("kubectl -n %s exec %s -- ss -tlnp", p.ref.namespace, p.ref.name))
		f.same = q.workload(n) + fix
		for _, proxy := range q.proxiesInOrder() {
			for _, l := range proxy.lines {
				if strings.Contains(strings.ToLower(strings.ReplaceAll(l.entry.TransportFailure()+l.entry.Details(), "_", " ")), "connection refused") {
					q.proof(f, Observed, proxy.pod.query(AreaProxy, accessLog), l.entry.Raw, "refused")
				}
			}
		}
	}, KindApp)
}

// headless is the Service without an address of its own whose name was asked for
// from within the cluster; nil where it is none.
func (q *inquiry) headless(n *node) *k8s.Service {
	at := q.root.facts.flow.at
	if at.area != AreaPod || n.facts.flow.proxied {
		return nil
	}
	svc, err := q.cluster.ServiceByHost(q.ctx, q.target.Host, at.namespace)
	if q.refused(err) != nil || svc == nil || svc.Spec.ClusterIP != corev1.ClusterIPNone {
		return nil
	}
	return svc
}
