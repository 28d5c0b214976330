package trace

import (
	"fmt"
	"net"

	"github.com/hoptrail/hoptrail/envoyadmin"
)

// ht4004 names a Host header whose port keeps the request from its virtual host.
func ht4004(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || o.Error != envoyadmin.NoVirtualHost || n.hop.State != Fail {
			return
		}
		f := n.facts.flow
		host, port, err := net.SplitHostPort(f.authority)
		if err != nil {
			return
		}
		bare := f
		bare.authority = host
		again := n.facts.proxy.dump.Match(bare.call(n.facts.direction))
		if len(again.Outcomes) == 0 || again.Outcomes[0].VirtualHost == "" || again.Outcomes[0].Error == envoyadmin.NoVirtualHost {
			return
		}
		q.report(n, fmt.Sprintf("the Host header is %s; route table %s knows %s without the port %s and does not ignore ports, so no virtual host takes it", f.authority, o.RouteConfig, host, port),
			"let the client send Host: "+host+" (curl -H 'Host: "+host+"')",
			"or add "+f.authority+" to the VirtualService's hosts; newer Istio sets ignore_port_in_host_matching by itself")
	}, KindRoute)
}
