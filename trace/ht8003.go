package trace

// ht8003 names an HTTP/1.0 client that the proxy refuses.
func ht8003(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || o.Details != "low_version" || n.hop.State != Fail {
			return
		}
		q.report(q.listenerHop(n), "the client speaks HTTP/1.0, which Envoy answers with 426 Upgrade Required unless it is told to accept it",
			"let the client, or the proxy before it, speak HTTP/1.1 (nginx: proxy_http_version 1.1;)",
			"or accept HTTP/1.0: the environment variable PILOT_HTTP10=1 of istiod, accept_http_10 in an EnvoyFilter")
	}, KindListener, KindFilterChain, KindFilter, KindRoute)
}
