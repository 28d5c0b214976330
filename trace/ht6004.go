package trace

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
)

// notHTTP are ports of protocols that are not HTTP, by their usual number
// (IANA service names).
var notHTTP = map[uint16]string{
	21: "FTP", 22: "SSH", 25: "SMTP", 110: "POP3", 143: "IMAP", 389: "LDAP", 587: "SMTP", 993: "IMAP", 995: "POP3",
	1433: "SQL Server", 1521: "Oracle", 2181: "ZooKeeper", 3306: "MySQL", 5432: "PostgreSQL", 5672: "AMQP", 6379: "Redis", 9042: "Cassandra",
	9092: "Kafka", 11211: "memcached", 27017: "MongoDB", 33060: "MySQL",
}

// httpPrefixes are the port names Istio takes for HTTP
// (istio.io/docs/ops/configuration/traffic-management/protocol-selection).
var httpPrefixes = []string{"http", "http2", "grpc", "grpc-web"}

// ht6004 names a port whose name says HTTP while what listens there is not: the
// proxy waits for a request that never comes.
func ht6004(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || n.facts.flow.app != "tcp" || n.facts.direction == envoyadmin.Gateway {
			return
		}
		// The inspector waits for what the client says; before a server that
		// speaks first neither side does.
		waits := bytes.Contains(o.Extra.Listener, []byte("envoy.filters.listener.http_inspector"))
		if o.Terminal != "http_connection_manager" && !waits {
			return
		}
		port := n.facts.flow.dst.Port()
		s := q.serviceAt(n.facts.flow)
		if s == nil || s.port == nil {
			return
		}
		what := notHTTP[port]
		if what == "" {
			what = notHTTP[uint16(s.port.TargetPort.IntValue())]
		}
		prefix, _, _ := strings.Cut(s.port.Name, "-")
		named := slices.Contains(httpPrefixes, prefix)
		if s.port.AppProtocol != nil {
			named = slices.Contains(httpPrefixes, strings.ToLower(*s.port.AppProtocol))
		}
		if what == "" || !named {
			return
		}
		n.hop.settle(Fail, "an HTTP connection manager stands before "+what)
		f := q.report(n, fmt.Sprintf("port %d of Service %s/%s is named %s, so the sidecar speaks HTTP there; %s is not HTTP, and its server speaks first: both sides wait", port, s.service.Namespace, s.service.Name, s.port.Name, what),
			fmt.Sprintf("in Service %s/%s name the port tcp-%s, or set appProtocol: tcp", s.service.Namespace, s.service.Name, strings.TrimPrefix(s.port.Name, prefix+"-")))
		q.proof(f, Config, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: s.service.Namespace, Name: s.service.Name}}, printed(s.service.Raw, member("name", s.port.Name), member("port", s.port.Port)), s.port.Name)
	}, KindListener)
}
