package envoyadmin

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// ListenerInfo is one listener of the dump in any of its states.
type ListenerInfo struct {
	Name        string
	Addresses   []string
	State       string // active, warming, draining; rejected: an update of a listener that never was active
	Static      bool
	Bound       bool   // false: reachable by hand-off only
	Direction   string // traffic_direction
	Error       string // details of its last rejected update
	LastAttempt string
	LastUpdated string
	Version     string
	Open        bool // /listeners lists it; false too where that was not read
	Source      string
}

// Listeners lists every listener, active and not, in the order of the dump.
func (d *Dump) Listeners() []ListenerInfo {
	var out []ListenerInfo
	for _, l := range d.listeners {
		i := ListenerInfo{Name: l.name, State: string(l.state), Static: l.static, Bound: l.bound, Direction: l.direction, Source: l.path()}
		for _, a := range l.addrs {
			i.Addresses = append(i.Addresses, a.String())
		}
		i.LastUpdated, i.Version = d.updated(l.outer)
		i.Error, i.LastAttempt = d.failure(l.errorState)
		_, i.Open = d.open[l.name]
		out = append(out, i)
	}
	for _, f := range d.errors {
		if f.kind != "listener" || slices.ContainsFunc(out, func(i ListenerInfo) bool { return i.Name == f.name }) {
			continue
		}
		i := ListenerInfo{Name: f.name, State: "rejected", Source: f.e.path()}
		i.Error, i.LastAttempt = d.failure(f.at)
		if at := jsonscan.Path(d.data, f.at, "failed_configuration"); at >= 0 {
			var l listenerEntry
			if a := jsonscan.Path(d.data, at, "address"); a >= 0 {
				l.address(d.data, a)
			}
			for _, a := range l.addrs {
				i.Addresses = append(i.Addresses, a.String())
			}
		}
		out = append(out, i)
	}
	return out
}

// Listens says whether an active listener is bound to the port.
func (d *Dump) Listens(port uint16) bool {
	return slices.ContainsFunc(d.listeners, func(l *listenerEntry) bool { return l.state == active && l.bound && l.hasPort(port) })
}

func (d *Dump) updated(at int) (last, version string) {
	if at < 0 {
		return "", ""
	}
	return jsonscan.Text(d.data, jsonscan.Path(d.data, at, "last_updated")), jsonscan.Text(d.data, jsonscan.Path(d.data, at, "version_info"))
}

func (d *Dump) failure(at int) (details, when string) {
	if at < 0 {
		return "", ""
	}
	return jsonscan.Text(d.data, jsonscan.Path(d.data, at, "details")), jsonscan.Text(d.data, jsonscan.Path(d.data, at, "last_update_attempt"))
}

// UpdateFailure is an update that the proxy rejected.
type UpdateFailure struct {
	Kind, Name, Details, When, Source string
}

// UpdateFailures lists the rejected updates of every kind.
func (d *Dump) UpdateFailures() []UpdateFailure {
	var out []UpdateFailure
	for _, f := range d.errors {
		u := UpdateFailure{Kind: f.kind, Name: f.name, Source: f.e.path()}
		u.Details, u.When = d.failure(f.at)
		out = append(out, u)
	}
	return out
}

// VirtualHost is the name and the domains of one virtual host.
type VirtualHost struct {
	Name    string
	Domains []string
}

// RouteTable is one route table and its virtual hosts.
type RouteTable struct {
	Name        string
	LastUpdated string
	Version     string
	Source      string

	d *Dump
	e *routeEntry
}

// VirtualHosts lists the table's virtual hosts without decoding them.
func (t RouteTable) VirtualHosts() ([]VirtualHost, error) {
	if err := t.d.load(t.e); err != nil {
		return nil, fmt.Errorf("route table %s: %w", t.Name, err)
	}
	out := make([]VirtualHost, len(t.e.hosts))
	for i, h := range t.e.hosts {
		out[i] = VirtualHost{Name: t.e.table.Hosts.Name(i), Domains: h.domains}
	}
	return out, nil
}

// Routes lists the route tables of the routes section.
func (d *Dump) Routes() []RouteTable {
	out := make([]RouteTable, 0, len(d.routes))
	for _, r := range d.routes {
		t := RouteTable{Name: r.name, Source: r.path(), d: d, e: r}
		t.LastUpdated, t.Version = d.updated(r.outer)
		out = append(out, t)
	}
	return out
}

// ClusterNames lists the active clusters in the order of the dump.
func (d *Dump) ClusterNames() []string {
	out := make([]string, 0, len(d.clusters))
	for _, c := range d.clusters {
		if c.state == active {
			out = append(out, c.name)
		}
	}
	return out
}

// EndpointsOf lists the hosts of a cluster with their health. known is false
// where nothing read says which hosts it has; why tells where they come from.
func (d *Dump) EndpointsOf(name string) (hosts []Endpoint, known bool, why string) {
	c := d.cluster(name)
	if c == nil || c.err != nil {
		return nil, false, "there is no cluster " + name
	}
	set := d.hosts(c)
	for i := range set.hosts {
		h := &set.hosts[i]
		sock, _ := c.socketFor(h)
		hosts = append(hosts, Endpoint{Address: h.address, Health: h.health, Weight: h.weight, Priority: h.priority, Locality: h.locality, Hostname: h.hostname, TransportSocket: sock, Why: h.why})
	}
	return hosts, set.known, set.why
}

// SecretInfo is one secret of the dump, without its content.
type SecretInfo struct {
	Name        string
	State       string // active, warming
	LastUpdated string
	Version     string
	Error       string
	Source      string

	chain []byte
}

// Secrets lists the secrets in the order of the dump.
func (d *Dump) Secrets() []SecretInfo { return slices.Clone(d.secrets) }

// Certificates lists the certificates of /certs, or, where that was not read,
// those of the secrets that show them.
func (d *Dump) Certificates() []Certificate {
	if len(d.certs) > 0 {
		return slices.Clone(d.certs)
	}
	var out []Certificate
	for _, s := range d.secrets {
		out = append(out, readChain(s.Name, s.chain, s.Source)...)
	}
	return out
}

// ServerInfo returns what /server_info said; ok is false where it was not read.
func (d *Dump) ServerInfo() (info ServerInfo, ok bool) {
	if d.server == nil {
		return ServerInfo{}, false
	}
	return *d.server, true
}

// readChain reads a PEM chain; only the first certificate, the leaf, counts.
func readChain(name string, chain []byte, source string) []Certificate {
	block, _ := pem.Decode(bytes.TrimSpace(chain))
	if block == nil {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	out := Certificate{
		Name: name, Subject: c.Subject.String(), Serial: c.SerialNumber.Text(16), NotBefore: c.NotBefore.UTC().Format(time.RFC3339),
		NotAfter: c.NotAfter.UTC().Format(time.RFC3339), CA: c.IsCA, Source: source, SANs: slices.Clone(c.DNSNames),
	}
	for _, u := range c.URIs {
		out.SANs = append(out.SANs, u.String())
	}
	for _, ip := range c.IPAddresses {
		out.SANs = append(out.SANs, ip.String())
	}
	return []Certificate{out}
}

// chainCertificates finds the certificates of a transport socket, and the names
// of those that SDS has not supplied.
func (d *Dump) chainCertificates(c *chain, s *socket) (certs []Certificate, missing []string) {
	for i, chain := range s.chains {
		certs = append(certs, readChain(fmt.Sprintf("%s certificate %d", c.title(), i), chain, "filter chain")...)
	}
	for _, name := range s.secrets {
		bare, state := strings.TrimPrefix(name, "kubernetes://"), ""
		for _, sec := range d.secrets {
			if sec.Name != name {
				continue
			}
			if state = sec.State; state == string(active) {
				certs = append(certs, readChain(name, sec.chain, sec.Source)...)
				break
			}
		}
		if d.has.secrets && state == string(warming) {
			missing = append(missing, name)
		}
		for _, c := range d.certs {
			// /certs names a file, or the secret with more around it.
			if c.Name == name || bare != "" && strings.Contains("/"+c.Name+"/", "/"+bare+"/") {
				certs = append(certs, c)
			}
		}
	}
	return certs, missing
}

// NodeID is the proxy's own id: sidecar~10.0.0.1~pod.ns~ns.svc.cluster.local.
func (d *Dump) NodeID() string {
	if d.bootstrap < 0 {
		return ""
	}
	return jsonscan.Text(d.data, jsonscan.Path(d.data, d.bootstrap, "node", "id"))
}

// Version is Envoy's version, as the bootstrap or /server_info tells it; empty
// where neither does.
func (d *Dump) Version() string {
	if d.server != nil && d.server.Version != "" {
		return d.server.Version
	}
	if d.bootstrap < 0 {
		return ""
	}
	for _, f := range []string{"build_version", "hidden_envoy_deprecated_build_version"} {
		if s := jsonscan.Text(d.data, jsonscan.Path(d.data, d.bootstrap, "node", f)); s != "" {
			return s
		}
	}
	at := jsonscan.Path(d.data, d.bootstrap, "node", "user_agent_build_version", "version")
	if at < 0 {
		return ""
	}
	end, err := jsonscan.Value(d.data, at)
	if err != nil {
		return ""
	}
	var v struct {
		Major int `json:"major_number"`
		Minor int `json:"minor_number"`
		Patch int `json:"patch"`
	}
	if json.Unmarshal(d.data[at:end], &v) != nil {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
}

// ownIPs are the proxy's own addresses: those in the node id and in Istio's
// INSTANCE_IPS.
func (d *Dump) ownIPs() []netip.Addr {
	var out []netip.Addr
	add := func(s string) {
		if ip, err := netip.ParseAddr(strings.TrimSpace(s)); err == nil {
			out = append(out, ip.Unmap())
		}
	}
	if parts := strings.Split(d.NodeID(), "~"); len(parts) == 4 {
		add(parts[1])
	}
	if d.bootstrap >= 0 {
		for ip := range strings.SplitSeq(jsonscan.Text(d.data, jsonscan.Path(d.data, d.bootstrap, "node", "metadata", "INSTANCE_IPS")), ",") {
			add(ip)
		}
	}
	return out
}

func (d *Dump) regexps() *matcher.Regexps { return &d.rx }

// problems tells what is odd about a listener's state.
func (d *Dump) problems(l *listenerEntry) []string {
	var out []string
	if details, when := d.failure(l.errorState); details != "" {
		out = append(out, strings.TrimSpace(fmt.Sprintf("last update rejected %s: %s", when, details)))
	}
	return append(out, d.beside(l)...)
}

// beside tells the warming and draining versions of a listener.
func (d *Dump) beside(l *listenerEntry) []string {
	var out []string
	for _, o := range d.listeners {
		if o != l && o.name == l.name && o.state != active {
			out = append(out, fmt.Sprintf("a %s version stands beside the active one", o.state))
		}
	}
	return out
}

// rejected says that the last update of a route table or cluster was rejected,
// empty where it was not.
func (d *Dump) rejected(e *entry) string {
	for _, f := range d.errors {
		if join(f.e.path(), e.field) != e.path() {
			continue
		}
		words := "its last update was rejected"
		if details, _ := d.failure(f.at); details != "" {
			words += ": " + details
		}
		return words + "; the version before serves"
	}
	return ""
}

// updating finds a listener for dst that is not active.
func (d *Dump) updating(dst netip.AddrPort) *listenerEntry {
	for _, l := range d.listeners {
		if l.state != active && l.bound && l.covers(dst) > 0 {
			return l
		}
	}
	return nil
}

// listenerObject is a listener without its filter chains, which may be many.
func (d *Dump) listenerObject(l *listenerEntry) json.RawMessage {
	out := []byte{'{'}
	_, err := jsonscan.Object(d.data, l.from, func(k []byte, at int) (int, error) {
		switch string(k) {
		case "filter_chains", "filterChains", "default_filter_chain", "defaultFilterChain":
			return 0, nil
		}
		end, err := jsonscan.Value(d.data, at)
		if err != nil {
			return end, err
		}
		key, _ := json.Marshal(string(k))
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, key...), ':'), d.data[at:end]...)
		return end, nil
	})
	if err != nil {
		return nil
	}
	return redact(append(out, '}'))
}

// nearListeners tells which listeners nearly fitted: the same port at another
// address, or the same address at another port.
func (d *Dump) nearListeners(w *way, dst netip.AddrPort) {
	for _, f := range d.errors {
		if f.kind == "listener" {
			why := "its update was rejected and it is not active"
			if slices.ContainsFunc(d.listeners, func(l *listenerEntry) bool { return l.errorState == f.at && l.state == active }) {
				why = "its last update was rejected and the version before serves"
			}
			if details, _ := d.failure(f.at); details != "" {
				why += ": " + details
			}
			w.miss(KindListener, f.name, why)
		}
	}
	for _, l := range d.listeners {
		name := l.name
		if name == "" {
			name = l.addr()
		}
		for _, a := range l.addrs {
			switch {
			case !a.IsValid():
			case l.state != active && l.covers(dst) > 0:
				w.miss(KindListener, name, "is "+string(l.state)+", not active")
			case !l.bound && l.covers(dst) > 0:
				w.miss(KindListener, name, "is not bound to its port: only captured connections reach it")
			case a.udp && a.Port() == dst.Port():
				w.miss(KindListener, name, "is UDP")
			case a.Port() == dst.Port() && l.covers(dst) == 0:
				w.miss(KindListener, name, "has port "+fmt.Sprint(a.Port())+" at address "+a.Addr().String())
			case a.Addr().Unmap() == dst.Addr().Unmap() && !a.Addr().IsUnspecified():
				w.miss(KindListener, name, fmt.Sprintf("has the address, at port %d", a.Port()))
			default:
				continue
			}
			break
		}
	}
	if len(w.out.NearMisses) > 0 {
		return
	}
	var ports []string
	for _, l := range d.listeners {
		for _, a := range l.addrs {
			if l.state == active && l.bound && a.IsValid() {
				ports = append(ports, a.String())
			}
		}
	}
	if len(ports) > 0 {
		slices.Sort(ports)
		w.miss(KindListener, "", "listeners are bound to "+strings.Join(slices.Compact(ports)[:min(12, len(slices.Compact(ports)))], ", "))
	}
}

// nearChains tells why the other filter chains do not serve.
func (r *run) nearChains(w *way, found *chain) {
	type scored struct {
		c   *chain
		why string
	}
	var list []scored
	for _, c := range r.listen.chains {
		if c == found {
			continue
		}
		why := c.explain(r.conn)
		if r.listen.config.GetFilterChainMatcher() != nil {
			why = "filter_chain_matcher does not name it for this connection"
		}
		if why == "" {
			why = "matches, but a more specific match of another chain comes first"
			if found == nil || found.index < 0 {
				why = "matches by itself, but a more specific match at an earlier level leads away from it and Envoy does not come back"
			}
		}
		list = append(list, scored{c, why})
	}
	// What failed late is nearest.
	slices.SortStableFunc(list, func(a, b scored) int { return rank(b.why) - rank(a.why) })
	for i, s := range list {
		if i == 8 {
			break
		}
		w.miss(KindFilterChain, s.c.title(), s.why)
	}
}

func rank(why string) int {
	for i, p := range []string{"destination port", "destination address", "server name", "transport protocol", "application protocol", "directly", "source"} {
		if strings.HasPrefix(why, p) {
			if p == "server name" || p == "transport protocol" || p == "application protocol" {
				return i + 10
			}
			return i
		}
	}
	return 20
}

// nearClusters names clusters that are nearly called name.
func (d *Dump) nearClusters(w *way, name string) {
	parts := strings.Split(name, "|")
	n := 0
	for _, c := range d.ClusterNames() {
		if n == 8 {
			return
		}
		have := strings.Split(c, "|")
		switch {
		case len(parts) == 4 && len(have) == 4 && have[3] == parts[3] && have[0] == parts[0]:
			n++
			switch {
			case have[1] != parts[1] && have[2] != parts[2]:
				w.miss(KindCluster, c, fmt.Sprintf("has port %s and subset %s", have[1], orNone(have[2])))
			case have[1] != parts[1]:
				w.miss(KindCluster, c, "has port "+have[1]+", not "+parts[1])
			default:
				w.miss(KindCluster, c, fmt.Sprintf("has subset %s, not %s", orNone(have[2]), orNone(parts[2])))
			}
		case len(parts) == 4 && len(have) == 4 && have[1] == parts[1] && near(have[3], parts[3]), len(parts) != 4 && near(c, name):
			n++
			w.miss(KindCluster, c, "has another host name")
		}
	}
}

// near says whether two names differ by a typing error: a small part of the
// letters, or only the part behind the first dot.
func near(a, b string) bool {
	if a == b {
		return false
	}
	first := func(s string) string { f, _, _ := strings.Cut(s, "."); return f }
	if strings.Contains(a, ".") && strings.Contains(b, ".") && first(a) == first(b) {
		return true
	}
	return distance(a, b) <= max(1, min(len(a), len(b))/8)
}

// distance counts the edits between two names, Levenshtein's.
func distance(a, b string) int {
	if len(a) > 256 || len(b) > 256 || max(len(a), len(b))-min(len(a), len(b)) > 32 {
		return 1 << 10
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		prev := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := prev
			if a[i-1] != b[j-1] {
				cost++
			}
			prev = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
