package trace

import (
	"fmt"

	"github.com/hoptrail/hoptrail/envoyadmin"
)

// ht4009 names an answer that the proxy gives in the application's place: a
// direct response, an injected fault, a rate limit, a redirect; or that it hangs
// up, for lack of a filter that would do anything else.
func ht4009(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o != nil && o.Error == envoyadmin.NoFilters && n.hop.State == Fail {
			q.report(n, fmt.Sprintf("%s of %s has no network filter: the proxy takes the connection and closes it", orElse(n.hop.Detail.Name, "the filter chain"), orElse(o.Listener, "the listener")),
				"look for the EnvoyFilter, or whatever else writes listeners, that took the filters away: kubectl get envoyfilters.networking.istio.io -A")
		}
		if o == nil || o.Response == nil {
			return
		}
		by := ""
		if len(n.hop.Detail.Owner) > 0 {
			by = " of " + n.hop.Detail.Owner[0]
		}
		switch {
		case n.hop.Kind == KindRoute && o.Verdict == envoyadmin.DirectResponse && o.VirtualHost != "block_all":
			n.hop.settle(Fail, fmt.Sprintf("the route answers %s itself", o.Response))
			f := q.report(n, fmt.Sprintf("route %s%s answers %s itself; the request goes no further", orElse(o.Route, n.hop.Detail.Match), by, o.Response),
				"take directResponse out of the route"+by+", if the application should answer"+edit(n.hop.Detail.Owner))
			if route, why, fix := q.unresolved(n.hop.Detail.Owner); route != nil {
				f.detail += ": " + why
				f.fix = []string{fix}
				q.written(f, &route.Meta, "rules", "backendRefs")
			}
		case n.hop.Kind == KindRoute && o.Verdict == envoyadmin.Redirect:
			n.hop.settle(Fail, fmt.Sprintf("the route answers with a redirect to %s", o.Response.Location))
			q.report(n, fmt.Sprintf("route %s%s answers %s and sends the client to %s", orElse(o.Route, orElse(n.hop.Detail.Match, o.VirtualHost)), by, o.Response, o.Response.Location),
				"trace where it leads: hoptrail "+Quote(o.Response.Location))
		case n.hop.Kind == KindFilter && n.hop.State == Fail && (o.Flags == "FI" || o.Flags == "RL" || o.Details == "fault_filter_abort" || o.Details == "request_rate_limited" || o.Details == "local_rate_limited"):
			from := "the configuration it comes from"
			owner := []string{routeOwner(n, "")}
			if o.Flags == "FI" && owner[0] != "" {
				from = owner[0] + edit(owner)
			}
			q.report(n, fmt.Sprintf("filter %s%s answers %s: %s", n.hop.Detail.Name, by, o.Response, n.hop.Why),
				"if it is not wanted now, take the fault or the limit out of "+from)
		}
	}, KindRoute, KindFilter, KindFilterChain)
}
