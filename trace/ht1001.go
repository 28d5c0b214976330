package trace

import (
	"fmt"

	"github.com/hoptrail/hoptrail/k8s"
)

// ht1001 names a name without an address, or with one that is nobody's here.
func ht1001(q *inquiry) {
	q.kind(func(n *node) {
		r := n.facts.dns
		if r.given {
			return
		}
		if n.hop.State == Fail {
			detail := q.target.Host + " resolves to no address: the chain ends at " + last(r.chain, q.target.Host)
			if at := n.facts.flow.at; at.area == AreaPod {
				f := q.report(n, detail)
				if hint := q.meantService(q.target.Host, at.namespace); hint != "" {
					f.fix = append(f.fix, hint)
				}
				f.fix = append(f.fix, fmt.Sprintf("kubectl -n %s exec %s -- nslookup %s", at.namespace, at.name, Quote(q.target.Host)))
				return
			}
			q.report(n, detail,
				"give the last name of the chain an A or AAAA record, or point "+q.target.Host+" at the gateway's address", "dig +trace "+Quote(q.target.Host))
			return
		}
		for _, e := range n.next {
			if e.to.hop.Kind == KindExternal && e.to.hop.State == Fail {
				q.report(n, q.target.Host+" resolves to "+e.to.facts.flow.dst.Addr().String()+", which is no load balancer, external, node or Service address of this cluster",
					"point the record at the gateway Service's address: kubectl get svc -A -o wide", "or check that this is the right cluster (--context)")
			}
		}
	}, KindDNS)
	q.kind(func(n *node) {
		if n == q.root && n.hop.State == Fail {
			q.report(n, n.hop.Why, "check the address, and that this is the right cluster (--context)")
		}
	}, KindExternal)
	q.kind(func(n *node) { // asked for by its address, and no Pod has it
		if n.facts.pod != nil || n.hop.State != Fail || n.facts.flow.proxied {
			return
		}
		for m := range q.graph.above(n) {
			if len(m.hop.Detail.DNAT) > 0 {
				return // a rule chose it
			}
		}
		q.report(n, n.hop.Why, "ask for the Service in front of the Pods instead: the address of a Pod ends with it", "kubectl get pods -A -o wide | grep -F "+Quote(n.facts.flow.dst.Addr().String()))
	}, KindPod)
}

// meantService says which Service a Pod of the namespace probably meant by a name
// that none has; "" where the name is one, or none is near.
func (q *inquiry) meantService(host, namespace string) string {
	name, where, ok := k8s.SplitServiceHost(host, namespace)
	if !ok {
		return ""
	}
	svc, err := q.cluster.Service(q.ctx, where, name)
	if q.refused(err) != nil || svc != nil {
		return ""
	}
	var have []string
	all, err := q.cluster.Services(q.ctx, "")
	q.refused(err)
	for _, s := range all {
		have = append(have, s.Name+"."+s.Namespace)
	}
	near := k8s.Nearest(name+"."+where, have)
	if near == "" {
		return ""
	}
	return fmt.Sprintf("there is no Service %s in namespace %s; ask for %s, if that was meant", name, where, near)
}

func last(s []string, otherwise string) string {
	if len(s) == 0 {
		return otherwise
	}
	return s[len(s)-1]
}
