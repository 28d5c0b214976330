package trace

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
)

// ht4005 names a redirect back to the very URL that was asked for: the proxy
// takes the request for plain HTTP because TLS ended before it.
func ht4005(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || o.Verdict != envoyadmin.Redirect || o.Response == nil {
			return
		}
		to, err := url.Parse(o.Response.Location)
		if err != nil || !q.target.HTTP() {
			return
		}
		path := to.EscapedPath()
		if to.RawQuery != "" {
			path += "?" + to.RawQuery
		}
		host := n.facts.flow.authority
		if to.Scheme != q.target.Scheme || !strings.EqualFold(to.Host, host) && to.Host != "" || path != q.target.Path {
			return
		}
		n.hop.settle(Fail, "a redirect to the URL that was asked for: a loop")
		f := q.report(n, fmt.Sprintf("%d to %s, which is the URL asked for: the client comes back the same way for ever. TLS ends before this proxy, which sees plain HTTP and redirects it to https", o.Response.Status, o.Response.Location),
			"drop tls.httpsRedirect from "+q.redirecting(n)+", and redirect at the load balancer, or",
			"let the proxy trust x-forwarded-proto of the load balancer (meshConfig gatewayTopology.numTrustedProxies), or pass TLS through to the gateway")
		if n.facts.pod != nil {
			for _, g := range q.gatewaysOf(n.facts.pod) {
				for _, server := range g.Spec.GetServers() {
					if server.GetTls().GetHttpsRedirect() {
						q.written(f, &g.Meta, "servers", "httpsRedirect")
					}
				}
			}
		}
		if s := q.serviceBefore(n); s != nil {
			for _, key := range sortedKeys(s.service.Annotations) {
				if strings.Contains(key, "ssl-") || strings.Contains(key, "backend-protocol") {
					q.proof(f, Config, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: s.service.Namespace, Name: s.service.Name}}, fmt.Sprintf("%q: %q", key, s.service.Annotations[key]), key)
				}
			}
		}
		if excerpt := virtualHostField(n, "require_tls"); excerpt != "" {
			q.proof(f, Config, n.facts.proxy.pod.query(AreaProxy, configDump), excerpt, "require_tls")
		}
	}, KindRoute)
}

// virtualHostField is the line of the proxy's configuration that sets the field
// in the virtual host of the hop.
func virtualHostField(n *node, field string) string {
	p := n.facts.proxy
	for _, line := range linesWith(p.data, 64, `"`+field+`"`) {
		return strings.TrimSpace(line)
	}
	return ""
}
