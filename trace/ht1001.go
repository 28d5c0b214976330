package trace

// ht1001 names a name without an address, or with one that is nobody's here.
func ht1001(q *inquiry) {
	q.kind(func(n *node) {
		r := n.facts.dns
		if r.given {
			return
		}
		if n.hop.State == Fail {
			q.report(n, q.target.Host+" resolves to no address: the chain ends at "+last(r.chain, q.target.Host),
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

func last(s []string, otherwise string) string {
	if len(s) == 0 {
		return otherwise
	}
	return s[len(s)-1]
}
