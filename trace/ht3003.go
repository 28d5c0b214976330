package trace

import (
	"fmt"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
)

// ht3003 names a TLS connection whose SNI, or the lack of one, no filter chain
// wants.
func ht3003(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || o.Error != envoyadmin.NoFilterChain || n.hop.State != Fail || n.facts.flow.tls == "none" || n.facts.direction == envoyadmin.Inbound {
			return
		}
		f := n.facts.flow
		detail := "the client sends no SNI"
		fix := []string{"let the client send the host name as SNI: openssl s_client -servername HOST; a client that connects to an IP sends none"}
		if f.sni != "" {
			detail = "the client sends the SNI " + f.sni
			fix = []string{"add " + f.sni + " to the hosts of the Gateway's TLS server, or let the client ask for a host it has"}
		}
		var near []string
		for _, m := range o.NearMisses {
			if m.Kind == "filter_chain" {
				near = append(near, m.Name+" "+m.Why)
			}
		}
		if len(near) > 5 {
			near = append(near[:5], "...")
		}
		fix = append(fix, "a load balancer that ends TLS and begins it again often drops the SNI: pass TLS through")
		q.report(n, fmt.Sprintf("%s, and no filter chain of %s takes it%s", detail, o.Listener, prefixed(": ", strings.Join(near, "; "))), fix...)
	}, KindListener, KindFilterChain)
}
