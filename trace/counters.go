package trace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/iptables"
)

// What was counted. A counter tells of the past, and of other requests too: it
// confirms a fault that something else shows, and is told on a hop that passes.
// A counter that is zero or absent says nothing: Istio keeps most of Envoy's
// statistics off, and a proxy that was restarted has forgotten.

const statsFile = "stats.txt"

// counted is a counter of failures that is not zero, with the data it stands in.
type counted struct {
	name    string // as the program that counts it calls it
	value   uint64
	of      uint64 // of how many in all; 0 where that is not known
	means   string // what was counted
	usual   bool
	query   Query
	excerpt string
	match   string
}

func (c counted) String() string {
	total := ""
	if c.of > 0 {
		total = " of " + strconv.FormatUint(c.of, 10)
	}
	return c.means + ": " + strconv.FormatUint(c.value, 10) + total + " (" + c.name + ")"
}

// statistic is one of Envoy's statistics that counts failures.
type statistic struct {
	suffix, means string
	usual         bool // counts what a healthy proxy meets too: clients that go wrong
}

// Envoy's names: source/docs and envoy/upstream/upstream.h (cluster and host
// statistics), source/common/http/conn_manager_config.h and
// source/common/router/context_impl.h (http.PREFIX), source/common/network and
// source/common/listener_manager (listener.ADDRESS), source/common/tls/stats.h.
var (
	hostStatistics = []statistic{
		{"cx_connect_fail", "connections to it that failed", false},
		{"rq_timeout", "requests to it that timed out", true},
		{"rq_error", "requests to it that ended in an error", true},
	}
	hostTotals        = map[string]string{"cx_connect_fail": "cx_total", "rq_timeout": "rq_total", "rq_error": "rq_total"}
	clusterStatistics = []statistic{
		{"upstream_cx_connect_timeout", "connections that timed out", false},
		{"upstream_cx_connect_fail", "connections that failed", false},
		{"upstream_cx_none_healthy", "times no host was healthy", false},
		{"upstream_cx_overflow", "times the limit of connections was met", false},
		{"upstream_rq_pending_overflow", "requests that the circuit breaker refused", false},
		{"upstream_rq_retry_overflow", "retries that the circuit breaker refused", false},
		{"upstream_rq_timeout", "requests that timed out", true},
		{"upstream_cx_destroy_remote_with_active_rq", "connections that the host closed under a request", false},
		{"outlier_detection.ejections_active", "hosts that are ejected", false},
		{"ssl.connection_error", "TLS handshakes that failed", false},
		{"ssl.fail_verify_san", "certificates of the wrong name", false},
		{"ssl.fail_verify_error", "certificates that did not verify", false},
		{"ssl.fail_verify_no_cert", "peers without a certificate", true},
		{"ssl.fail_verify_cert_hash", "certificates of the wrong hash", false},
	}
	breakerGauges = []statistic{
		{"cx_open", "the limit of connections is met", false},
		{"rq_pending_open", "the limit of pending requests is met", false},
		{"rq_open", "the limit of requests is met", false},
	}
	listenerStatistics = []statistic{
		{"no_filter_chain_match", "connections that no filter chain took", true},
		{"downstream_pre_cx_timeout", "connections that said nothing while a listener filter waited", true},
		{"ssl.connection_error", "TLS handshakes that failed", true},
		{"ssl.fail_verify_no_cert", "clients without a certificate", true},
		{"ssl.fail_verify_san", "clients' certificates of the wrong name", false},
		{"ssl.fail_verify_error", "clients' certificates that did not verify", false},
		{"server_ssl_socket_factory.downstream_context_secrets_not_ready", "connections that came before the certificate", false},
	}
	httpStatistics = []statistic{
		{"no_route", "requests without a route", true},
		{"no_cluster", "requests whose cluster was not there", false},
		{"rq_direct_response", "requests that a route answered itself", true},
		{"rq_redirect", "requests that were redirected", true},
		{"downstream_cx_protocol_error", "connections that broke the protocol", true},
		{"rbac.denied", "requests that RBAC denied", true},
		{"jwt_authn.denied", "requests denied for their token", true},
		{"ext_authz.denied", "requests that the external authorizer denied", true},
		{"fault.aborts_injected", "faults that were injected", false},
	}
	proxyStatistics = []statistic{
		{"listener_manager.lds.update_rejected", "listener updates that were rejected", false},
		{"cluster_manager.cds.update_rejected", "cluster updates that were rejected", false},
		{"listener_manager.listener_create_failure", "listeners that could not be made", false},
	}
)

// confirming says which counters speak for a fault, by its code.
var confirming = map[string][]string{
	"HT1004": {ruleCounter}, "HT1007": {ruleCounter}, "HT1008": {ruleCounter}, "HT2001": {ruleCounter}, "HT2005": {ruleCounter}, "HT2007": {ruleCounter},
	"HT3003": {"no_filter_chain_match"},
	"HT3005": {"server_ssl_socket_factory.downstream_context_secrets_not_ready", "ssl.connection_error"},
	"HT3006": {"no_filter_chain_match", "ssl.connection_error", "downstream_cx_protocol_error"},
	"HT3007": {"downstream_cx_protocol_error"},
	"HT3008": {"listener_manager.lds.update_rejected", "cluster_manager.cds.update_rejected", "listener_manager.listener_create_failure"},
	"HT3002": {"listener_manager.lds.update_rejected", "listener_manager.listener_create_failure"},
	"HT3004": {"no_route"}, "HT4001": {"no_route"}, "HT4002": {"no_route"}, "HT4004": {"no_route"}, "HT4006": {"no_route"}, "HT4007": {"no_route"}, "HT4008": {"no_route"},
	"HT4005": {"rq_redirect"},
	"HT4009": {"rq_direct_response", "rq_redirect", "fault.aborts_injected"},
	"HT5001": {"no_cluster"}, "HT6005": {"no_cluster"},
	"HT5002": {"upstream_cx_none_healthy"}, "HT5003": {"outlier_detection.ejections_active", "upstream_cx_none_healthy", "rq_error"},
	"HT5004": {"cx_connect_fail", "upstream_cx_connect_fail", "upstream_cx_connect_timeout"},
	"HT5005": {"upstream_rq_pending_overflow", "upstream_cx_overflow", "cx_open", "rq_pending_open", "rq_open"},
	"HT5006": {"upstream_rq_timeout", "rq_timeout"},
	"HT5007": {"upstream_cx_destroy_remote_with_active_rq"},
	"HT6001": {"ssl.connection_error", "ssl.fail_verify_san", "ssl.fail_verify_error", "ssl.fail_verify_no_cert", "cx_connect_fail", "no_filter_chain_match"},
	"HT6002": {"rbac.denied"},
	"HT6003": {"cx_connect_fail", "upstream_cx_connect_timeout", "upstream_cx_connect_fail"},
	"HT6004": {"downstream_pre_cx_timeout"},
	"HT6006": {"jwt_authn.denied", "ext_authz.denied", "rbac.denied"},
	"HT7001": {"rq_direct_response", "upstream_cx_none_healthy"},
	"HT7005": {"ssl.connection_error", "ssl.fail_verify_error"},
	"HT8001": {"cx_connect_fail", "upstream_cx_connect_fail"},
	"HT8002": {"upstream_cx_none_healthy", "cx_connect_fail", "upstream_cx_connect_fail"},
}

// joinCounters puts on each hop what was counted at it.
func (w *walker) joinCounters(root *node) {
	each(root, func(n *node) {
		if w.err != nil {
			return
		}
		all := w.countedAt(n)
		n.facts.counted = all
		if len(all) == 0 {
			return
		}
		var words []string
		state := OK
		for _, c := range all {
			words = append(words, c.String())
			if !c.usual {
				state = Warn
			}
			w.cite(n.hop, Observed, c.query, c.excerpt, c.match)
		}
		n.hop.check("counted", state, strings.Join(words, "; "))
	})
}

// countedAt are the failures counted at the hop.
func (w *walker) countedAt(n *node) []counted {
	p, o := n.facts.proxy, n.facts.outcome
	switch {
	case n.hop.Kind == KindNode:
		return w.droppedBy(n)
	case p == nil || p.dump == nil || o == nil:
		return nil
	case n.hop.Kind == KindEndpoint && n.facts.endpoint != nil:
		return p.countedOfHost(n)
	case n.hop.Kind == KindCluster:
		return p.countedUnder(clusterPrefixes(n), clusterStatistics, breakerGauges)
	case n.hop.Kind == KindListener:
		return append(p.countedUnder(listenerPrefixes(o), listenerStatistics, nil), p.countedUnder([]string{""}, proxyStatistics, nil)...)
	case n.hop.Kind == KindRoute || n.hop.Kind == KindFilter:
		return p.countedUnder(httpPrefixesOf(n), httpStatistics, nil)
	}
	return nil
}

// countedOfHost are the failures that /clusters counts of the endpoint.
func (p *proxy) countedOfHost(n *node) []counted {
	e := n.facts.endpoint
	var out []counted
	for _, s := range hostStatistics {
		v := e.Counters[s.suffix]
		if v == 0 {
			continue
		}
		total := hostTotals[s.suffix]
		c := counted{name: s.suffix, value: v, of: e.Counters[total], means: strings.Replace(s.means, "to it", "to "+e.Address, 1), usual: s.usual, query: p.pod.query(AreaProxy, clusters), match: s.suffix}
		c.excerpt = p.hostCounters(n.facts.outcome.Cluster, e.Address, s.suffix, total)
		if c.excerpt != "" {
			out = append(out, c)
		}
	}
	return out
}

// hostCounters quotes counters of a host as /clusters prints them, as text or
// JSON.
func (p *proxy) hostCounters(cluster, address string, names ...string) string {
	data := p.files[clusters]
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		var texts []string
		for _, name := range names {
			texts = append(texts, cluster+"::"+address+"::"+name+"::")
		}
		return strings.Join(linesWith(data, len(names), texts...), "\n")
	}
	var host struct {
		Address json.RawMessage   `json:"address"`
		Stats   []json.RawMessage `json:"stats"`
	}
	if json.Unmarshal([]byte(p.hostStatus(cluster, address)), &host) != nil {
		return ""
	}
	lines := linesWith([]byte(indent(host.Address)), 2, `"address": "`, `"port_value"`)
	for _, s := range host.Stats {
		if slices.ContainsFunc(names, func(name string) bool { return bytes.Contains(s, []byte(`"`+name+`"`)) }) {
			lines = append(lines, linesWith([]byte(indent(s)), 2, `"name"`, `"value"`)...)
		}
	}
	return strings.Join(lines, "\n")
}

// countedUnder are the statistics that are not zero, under any of the prefixes,
// with the gauges of open circuit breakers.
func (p *proxy) countedUnder(prefixes []string, stats, gauges []statistic) []counted {
	if p.files[statsFile] == nil {
		return nil
	}
	var out []counted
	add := func(name string, s statistic) {
		v, ok := p.dump.Stat(name)
		if !ok || v == 0 || slices.ContainsFunc(out, func(c counted) bool { return c.name == s.suffix }) {
			return
		}
		out = append(out, counted{
			name: s.suffix, value: v, means: s.means, usual: s.usual, query: p.pod.query(AreaProxy, statsFile),
			excerpt: lineOf(p.files[statsFile], name), match: name,
		})
	}
	for _, prefix := range prefixes {
		for _, s := range stats {
			add(prefix+s.suffix, s)
		}
		for _, s := range gauges {
			for _, priority := range []string{"default", "high"} {
				add(prefix+"circuit_breakers."+priority+"."+s.suffix, s)
			}
		}
	}
	return out
}

// lineOf is the line of /stats about a statistic; of JSON on one line what lies
// about it.
func lineOf(data []byte, name string) string {
	for _, line := range linesWith(data, 8, name+": ", `"`+name+`"`) {
		if len(line) < 1024 {
			return line
		}
	}
	if i := bytes.Index(data, []byte(`"`+name+`"`)); i >= 0 {
		from, to := bytes.LastIndexByte(data[:i], '{'), bytes.IndexByte(data[i:], '}')
		if from >= 0 && to >= 0 {
			return string(data[from : i+to+1])
		}
	}
	return ""
}

// clusterPrefixes are the names a cluster may have in /stats: its alternative
// name, its own, with the colons replaced.
func clusterPrefixes(n *node) []string {
	var config struct {
		AltStatName string `json:"alt_stat_name"`
		AltStat     string `json:"altStatName"`
	}
	_ = json.Unmarshal(n.facts.outcome.Extra.Cluster, &config) // without it the cluster's own name serves
	var out []string
	for _, name := range []string{orElse(config.AltStatName, config.AltStat), n.hop.Detail.Name} {
		if name == "" {
			continue
		}
		for _, s := range []string{name, strings.TrimSuffix(name, ";"), strings.ReplaceAll(name, ":", "_")} {
			out = append(out, "cluster."+s+".")
		}
	}
	return out
}

// listenerPrefixes are the names of a listener in /stats: its stat_prefix, or its
// address with the colons replaced.
func listenerPrefixes(o *envoyadmin.Outcome) []string {
	var config struct {
		StatPrefix string `json:"stat_prefix"`
	}
	_ = json.Unmarshal(o.Extra.Listener, &config) // without it the address serves
	var out []string
	for _, name := range []string{config.StatPrefix, strings.ReplaceAll(o.Extra.ListenerAddress, ":", "_")} {
		if name != "" {
			out = append(out, "listener."+name+".")
		}
	}
	return out
}

// httpPrefixesOf is the name in /stats of the connection manager that serves the
// hop's request.
func httpPrefixesOf(n *node) []string {
	o := n.facts.outcome
	if o.Extra.StatPrefix == "" || o.Terminal != "http_connection_manager" {
		return nil
	}
	return []string{"http." + strings.ReplaceAll(o.Extra.StatPrefix, ":", "_") + "."}
}

// ruleCounter is the name of an iptables rule's own counter.
const ruleCounter = "iptables-save -c"

var savedCounter = regexp.MustCompile(`^\[(\d+):\d+\] -A `)

// droppedBy is what the rules that refuse the packet have counted.
func (w *walker) droppedBy(n *node) []counted {
	if n.facts.packets == nil || n.facts.netns == nil {
		return nil
	}
	var out []counted
	for _, o := range n.facts.packets.Outcomes {
		if o.Verdict != iptables.Drop && o.Verdict != iptables.Reject || o.Policy != nil || len(o.Path) == 0 {
			continue
		}
		last := o.Path[len(o.Path)-1]
		q := n.facts.netns.query(last.Source[strings.LastIndexByte(last.Source, '/')+1:])
		lines := bytes.Split(w.read.seen[q].obs.Data, []byte("\n"))
		if last.Line < 1 || last.Line > len(lines) {
			continue
		}
		line := strings.TrimRight(string(lines[last.Line-1]), "\r")
		m := savedCounter.FindStringSubmatch(line)
		if m == nil || !strings.HasSuffix(line, last.Text) {
			continue
		}
		if v, err := strconv.ParseUint(m[1], 10, 64); err == nil && v > 0 && !slices.ContainsFunc(out, func(c counted) bool { return c.excerpt == line }) {
			out = append(out, counted{name: ruleCounter, value: v, means: "packets that the rule refused", query: q, excerpt: line, match: m[0]})
		}
	}
	return out
}

// confirm adds to each finding the counters that speak for it: those of its own
// hop and of those near it.
func (q *inquiry) confirm(all []*finding) {
	for _, f := range all {
		names := confirming[f.rule.code]
		if f.node == nil || len(names) == 0 {
			continue
		}
		for _, n := range append([]*node{f.node}, q.near(f.node)...) {
			for _, c := range n.facts.counted {
				if !slices.Contains(names, c.name) || slices.Contains(f.counted, c.String()) {
					continue
				}
				f.counted = append(f.counted, c.String())
				for _, e := range n.hop.Evidence { // joinCounters put it there
					if e.Basis == Observed && e.Source == c.query.Path() && e.Excerpt == c.excerpt && !slices.Contains(f.evidence, e.ID) {
						f.evidence = append(f.evidence, e.ID)
					}
				}
			}
		}
	}
}

// near are the hops whose counters may speak of the same failure: those just
// behind, those before it of the same proxy, or of the one whose endpoint it is,
// and the endpoints that fare alike in the same cluster.
func (q *inquiry) near(n *node) []*node {
	var out []*node
	for _, e := range n.next {
		if e.to.facts.proxy == n.facts.proxy {
			out = append(out, e.to)
		}
	}
	if n.hop.Kind == KindEndpoint && n.facts.proxy != nil {
		for _, m := range n.facts.proxy.hops {
			if m != n && m.hop.Kind == KindEndpoint && m.facts.outcome.Cluster == n.facts.outcome.Cluster && m.hop.State == n.hop.State {
				out = append(out, m)
			}
		}
	}
	for _, m := range q.before(n) {
		p := m.facts.proxy
		switch {
		case p == nil:
			continue
		case p == n.facts.proxy:
			out = append(out, m)
		case m.hop.Kind == KindEndpoint && m.facts.endpoint != nil && m.facts.endpoint.Address == n.facts.flow.dst.String():
			out = append(out, m, q.clusterHop(m))
		}
	}
	return out
}

// failingHost says in words that no connection of the proxy to the endpoint ever
// came about; empty where one did, or only one was tried, as while the Pod began.
func failingHost(e *envoyadmin.Endpoint) string {
	failed, total := e.Counters["cx_connect_fail"], e.Counters["cx_total"]
	if total < 2 || failed < total || e.Counters["cx_active"] > 0 || e.Counters["rq_success"] > 0 {
		return ""
	}
	return fmt.Sprintf("all of the %d connections to %s that it has tried since it knows it failed (cx_connect_fail)", failed, e.Address)
}
