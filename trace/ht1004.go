package trace

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/hoptrail/hoptrail/iptables"
)

// ht1004 names a client that loadBalancerSourceRanges leaves out.
func ht1004(q *inquiry) {
	q.kind(func(n *node) {
		s := n.facts.service
		if s == nil || s.service == nil || !refusedFor(n, iptables.SourceRanges) {
			return
		}
		client, clientRange := "the client", "CLIENT/32"
		if src := n.facts.flow.src; src.IsValid() && !n.facts.flow.assumed {
			client = src.Addr().String()
			clientRange = netip.PrefixFrom(src.Addr(), src.Addr().BitLen()).String()
		} else if n.facts.flow.assumed {
			client = "a client outside of the ranges (its address was not given: --source-ip)"
		}
		svc := s.service
		f := q.report(n, fmt.Sprintf("%s is not in loadBalancerSourceRanges of Service %s/%s (%s)", client, svc.Namespace, svc.Name, strings.Join(svc.Spec.LoadBalancerSourceRanges, ", ")),
			fmt.Sprintf("kubectl -n %s patch svc %s --type=json -p '[{\"op\":\"add\",\"path\":\"/spec/loadBalancerSourceRanges/-\",\"value\":\"%s\"}]'", svc.Namespace, svc.Name, clientRange),
			"what counts is the address that arrives at the node: a proxy or NAT before it changes it")
		q.proof(f, Config, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: svc.Namespace, Name: svc.Name}}, excerptOf(svc.Raw, "loadBalancerSourceRanges"), "loadBalancerSourceRanges")
	}, KindNode)
}
