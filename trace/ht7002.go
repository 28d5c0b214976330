package trace

import "fmt"

// ht7002 names traffic to the outside that no ServiceEntry describes: it passes
// the mesh unseen by its policies.
func ht7002(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || n.hop.Detail.Name != "PassthroughCluster" || n.facts.pod == nil {
			return
		}
		if behindHop(n, KindExternal) == nil {
			return
		}
		f := n.facts.flow
		q.report(n, fmt.Sprintf("no ServiceEntry describes %s: the sidecar of %s passes the connection straight through, without routes, mTLS or policies", f.dst, n.facts.pod.ref),
			"if it should be governed: "+q.serviceEntryFor(f, n.facts.pod.ref.namespace), "or look at addresses and resolution of the one that was meant to")
	}, KindCluster)
}
