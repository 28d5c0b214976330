package trace

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin/accesslog"
)

// joinOperators are what a log format needs for its lines to be told apart and
// joined from proxy to proxy.
var joinOperators = []string{"UPSTREAM_HOST", "UPSTREAM_CLUSTER", "REQ(X-REQUEST-ID)", "DOWNSTREAM_LOCAL_ADDRESS"}

// ht9002 names an access log that is off, or whose format leaves out what would
// tie a line to the path.
func ht9002(q *inquiry) {
	for _, p := range q.proxiesInOrder() {
		heads := p.heads()
		if p.dump == nil || len(heads) == 0 {
			continue
		}
		n := heads[0]
		var sinks []accesslog.Sink
		for _, m := range p.hops {
			if o := m.facts.outcome; o != nil {
				for _, al := range o.Extra.AccessLogs {
					sinks = append(sinks, accesslog.FromProto(al))
				}
			}
		}
		reached := false
		for _, m := range p.hops {
			o := m.facts.outcome
			reached = reached || o != nil && (o.Terminal != "")
		}
		if !reached {
			continue
		}
		where := "meshConfig accessLogFormat"
		var readable *accesslog.Sink
		for i := range sinks {
			if sinks[i].InLog && sinks[i].Format != nil {
				readable = &sinks[i]
			}
		}
		switch {
		case len(sinks) == 0:
			q.report(n, fmt.Sprintf("the Envoy of %s writes no access log for this listener: what it really did cannot be seen", p.pod),
				"turn it on: meshConfig accessLogFile: /dev/stdout, or a Telemetry resource with accessLogging")
		case readable == nil:
			q.report(n, fmt.Sprintf("the access log of %s goes to %s, not to the container's log", p.pod, sinks[0].Where), "look for the lines there")
		default:
			var lacks []string
			for _, op := range joinOperators {
				if !readable.Format.Has(op) && !(op == "UPSTREAM_CLUSTER" && readable.Format.Has("UPSTREAM_CLUSTER_RAW")) {
					lacks = append(lacks, "%"+op+"%")
				}
			}
			if len(lacks) < 2 {
				continue
			}
			f := q.report(n, fmt.Sprintf("the access log format of %s lacks %s: a line can be told to be this request's by method and path only", p.pod, strings.Join(lacks, ", ")),
				"take "+where+" out to get Istio's default format, or add the operators to it")
			q.quoteFormat(f, p)
		}
	}
}

// quoteFormat quotes the log format in the proxy's configuration.
func (q *inquiry) quoteFormat(f *finding, p *proxy) {
	if i := bytes.Index(p.data, []byte("%REQ(")); i >= 0 {
		q.proof(f, Config, p.pod.query(AreaProxy, configDump), around(p.data, i, 300), "%REQ(")
	}
}
