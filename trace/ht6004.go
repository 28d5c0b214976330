package trace

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/k8s"
)

// notHTTP are ports of protocols that are not HTTP, by their usual number
// (IANA service names).
var notHTTP = map[uint16]string{
	21: "FTP", 22: "SSH", 25: "SMTP", 110: "POP3", 143: "IMAP", 389: "LDAP", 587: "SMTP", 993: "IMAP over TLS", 995: "POP3 over TLS",
	1433: "SQL Server", 1521: "Oracle", 2181: "ZooKeeper", 3306: "MySQL", 5432: "PostgreSQL", 5672: "AMQP", 6379: "Redis", 9042: "Cassandra",
	9092: "Kafka", 11211: "memcached", 27017: "MongoDB", 33060: "MySQL",
}

// speaksFirst are those of notHTTP whose server greets the client.
var speaksFirst = []string{"FTP", "SSH", "SMTP", "POP3", "IMAP", "MySQL"}

// httpPrefixes are the port names Istio takes for HTTP
// (istio.io/docs/ops/configuration/traffic-management/protocol-selection).
var httpPrefixes = []string{"http", "http2", "grpc", "grpc-web"}

// tcpPrefixes are the port names Istio takes for opaque TCP (the same page).
var tcpPrefixes = []string{"tcp", "mongo", "mysql", "redis"}

// ht6004 names a port whose name says HTTP while what listens there is not: the
// proxy waits for a request that never comes. And the reverse: HTTP on a port
// that is named for TCP, where a VirtualService has HTTP routes for it that no
// proxy can apply.
func ht6004(q *inquiry) {
	q.kind(q.pastRoutes, KindListener)
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
		says := "is named " + s.port.Name
		named := slices.Contains(httpPrefixes, prefix)
		if s.port.AppProtocol != nil {
			says = "has appProtocol " + *s.port.AppProtocol
			named = slices.Contains(httpPrefixes, strings.ToLower(*s.port.AppProtocol))
		}
		if what == "" || !named {
			return
		}
		// The number alone says what is spoken. That both sides wait is worth an
		// error; a client that speaks first may well speak HTTP on such a port.
		state, severity, then := Warn, SeverityWarning, "the proxy would take what such a client says for a broken request"
		if slices.Contains(speaksFirst, what) {
			state, severity, then = Fail, SeverityError, "its server speaks first: both sides wait"
		}
		n.hop.settle(state, "an HTTP connection manager stands before "+what)
		f := q.report(n, fmt.Sprintf("port %d of Service %s/%s %s, so the sidecar speaks HTTP there; %s is not HTTP, and %s", port, s.service.Namespace, s.service.Name, says, what, then),
			fmt.Sprintf("kubectl -n %s patch svc %s -p '{\"spec\":{\"ports\":[{\"port\":%d,\"appProtocol\":\"tcp\"}]}}'   # or name the port tcp-%s", s.service.Namespace, s.service.Name, s.port.Port, strings.TrimPrefix(s.port.Name, prefix+"-")))
		f.severity = severity
		q.proof(f, Config, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: s.service.Namespace, Name: s.service.Name}}, printed(s.service.Raw, member("name", s.port.Name), member("port", s.port.Port)), s.port.Name)
	}, KindListener)
}

// pastRoutes names HTTP that a sidecar passes on as opaque TCP past the HTTP routes
// that a VirtualService has for it.
func (q *inquiry) pastRoutes(n *node) {
	o, f := n.facts.outcome, n.facts.flow
	if o == nil || f.app == "tcp" || f.tls != "none" || n.facts.direction != envoyadmin.Outbound || n.facts.pod == nil || o.Terminal != "tcp_proxy" {
		return
	}
	s := q.serviceAt(f)
	if s == nil || s.port == nil {
		return
	}
	prefix, _, _ := strings.Cut(s.port.Name, "-")
	says := "is named " + s.port.Name
	opaque := slices.Contains(tcpPrefixes, prefix)
	if s.port.AppProtocol != nil {
		says = "has appProtocol " + *s.port.AppProtocol
		opaque = slices.Contains(tcpPrefixes, strings.ToLower(*s.port.AppProtocol))
	}
	if !opaque {
		return
	}
	all, err := q.cluster.VirtualServicesForHost(q.ctx, s.service.Host(), "mesh")
	q.refused(err)
	for _, vs := range all {
		if len(vs.Spec.GetHttp()) == 0 || !k8s.Visible(vs.Spec.GetExportTo(), vs.Namespace, n.facts.pod.ref.namespace) {
			continue
		}
		found := q.report(n, fmt.Sprintf("port %d of Service %s/%s %s, so the sidecar passes it on as opaque TCP; the HTTP routes, timeouts and retries of %s do not apply to it", s.port.Port, s.service.Namespace, s.service.Name, says, vs.Ref()),
			fmt.Sprintf("kubectl -n %s patch svc %s -p '{\"spec\":{\"ports\":[{\"port\":%d,\"appProtocol\":\"http\"}]}}'", s.service.Namespace, s.service.Name, s.port.Port))
		found.severity = SeverityWarning // it gets through, by other ways than were written
		q.proof(found, Config, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: s.service.Namespace, Name: s.service.Name}}, printed(s.service.Raw, member("name", s.port.Name), member("port", s.port.Port)), s.port.Name)
		q.written(found, &vs.Meta, "http", "http")
		return
	}
}
