package trace

import (
	"fmt"
	"strings"
	"time"

	"github.com/hoptrail/hoptrail/envoyadmin/accesslog"
)

// raceWindow is how fast a reset must come after the request was sent to be the
// race between a request and an idle connection's end.
const raceWindow = 50 * time.Millisecond

// ht5007 names sporadic resets of connections that were idle: the application
// ends them while the proxy sends the next request.
func ht5007(q *inquiry) {
	q.flagged(func(p *proxy, n *node, lines []accesslog.Entry, all int) {
		var races []accesslog.Entry
		for _, e := range lines {
			if strings.Contains(e.Details(), "upstream_reset_before_response_started{connection_termination") && e.Duration() <= raceWindow {
				races = append(races, e)
			}
		}
		if len(races) == 0 || len(races) == all {
			return
		}
		at := n
		if e := behindHop(n, KindEndpoint); e != nil {
			at = e
		}
		f := q.report(at, fmt.Sprintf("%d of %d requests of this path ended at %s with UC within %s on a reused connection: the application closes idle connections before the proxy does", len(races), all, p.pod, raceWindow),
			"make the application's keep-alive timeout longer than the proxy's idle timeout (1 h by default), or",
			"set trafficPolicy.connectionPool.http.idleTimeout in "+q.ruleFor(n)+" below the application's timeout, and retry on reset (retries.retryOn: reset,connect-failure)")
		f.effect = Degraded
		q.proofLines(f, p, races, "connection_termination")
	}, "UC")
}
