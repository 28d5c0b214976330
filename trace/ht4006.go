package trace

import (
	"fmt"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
)

// ht4006 names a connection that was opened for one host and carries a request
// for another (connection coalescing, RFC 9113 section 9.1.1): the filter chain
// is the first one's, and its route table does not know the second.
func ht4006(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || o.Error != envoyadmin.NoVirtualHost && o.Error != envoyadmin.NoRoute || n.hop.State != Fail {
			return
		}
		f := n.facts.flow
		host, _, _ := strings.Cut(f.authority, ":")
		if f.sni != "" && !strings.EqualFold(f.sni, host) {
			q.report(n, fmt.Sprintf("the connection was opened for %s (SNI) and the request is for %s: the chain of %s has the routes of %s only", f.sni, host, f.sni, o.RouteConfig),
				"put both hosts into one server of one Gateway, or give them certificates that do not name each other, so that browsers do not join their connections",
				"or let the proxy answer 421 Misdirected Request, which makes the client open a new connection")
			return
		}
		if f.tls == "none" {
			return
		}
		for _, l := range n.facts.proxy.lines {
			sni := l.entry.ServerName()
			if sni == "" || strings.EqualFold(sni, host) || l.entry.Status() != 404 && l.entry.Status() != 421 {
				continue
			}
			found := q.report(n, fmt.Sprintf("the log shows requests for %s on connections opened for %s (SNI): the client joined the connections of two hosts that share a certificate", host, sni),
				"put both hosts into one server of one Gateway, or give each its own certificate")
			q.proof(found, Observed, n.facts.proxy.pod.query(AreaProxy, accessLog), l.entry.Raw, sni)
			return
		}
	}, KindRoute)
}
