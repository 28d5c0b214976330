package live

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/hoptrail/hoptrail/trace"
)

// answer is one record set, as in a snapshot's dns.json.
type answer struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	TTL    uint32   `json:"ttl"`
	Values []string `json:"values"`
	Server string   `json:"server,omitempty"` // who said it
	Error  string   `json:"error,omitempty"`  // NXDOMAIN, where the answer is that there is none
	// Assumed says why the vantage may be answered otherwise.
	Assumed string `json:"assumed,omitempty"`
}

// asker asks one server one question.
type asker struct {
	server string // as shown
	ask    func(ctx context.Context, m *dns.Msg) (*dns.Msg, error)
}

// maxChain bounds the CNAMEs that are followed.
const maxChain = 10

// resolve answers for a name as the vantage would be answered.
func (s *Source) resolve(ctx context.Context, q trace.Query) ([]byte, error) {
	types := []uint16{dns.TypeA, dns.TypeAAAA}
	if q.File != "" {
		types = nil
		for _, t := range strings.FieldsFunc(q.File, func(r rune) bool { return r == ',' || r == ' ' }) {
			n, ok := dns.StringToType[strings.ToUpper(t)]
			if !ok {
				return nil, fmt.Errorf("no record type %q", t)
			}
			types = append(types, n)
		}
	}
	var names []string
	var askers []asker
	var assumed string
	var err error
	if ns, pod, ok := podVantage(q.From); ok {
		p, podErr := s.pod(ctx, ns, pod)
		if podErr != nil {
			return nil, podErr
		}
		if found := hostAliases(p, q.Name); len(found) > 0 {
			return marshalAnswers(found, "")
		}
		names, askers, assumed, err = s.podResolver(ctx, ns, pod, q.Name)
	} else {
		if node, ok := strings.CutPrefix(q.From, "node:"); ok && s.opts.Resolver == "" && !s.isThisMachine(ctx, node) {
			assumed = "asked of this machine's resolver; the one of node " + node + " may answer otherwise (--resolver asks it, --resolve gives the address)"
		}
		if found := hostsFile("/etc/hosts", q.Name); s.opts.Resolver == "" && len(found) > 0 {
			return marshalAnswers(found, assumed)
		}
		names, askers, err = s.systemResolver(q.Name)
		if err == nil && len(askers) == 0 {
			return s.goResolver(ctx, q.Name, assumed)
		}
	}
	if err != nil {
		return nil, err
	}
	answers, err := search(ctx, askers, q.Name, names, types)
	if err != nil {
		return nil, err
	}
	return marshalAnswers(answers, assumed)
}

// search asks for the names that host may mean, in order, until one has records
// (resolv.conf(5)). A name server that fails for one of them may know the next;
// where none is found it is what is told, because the name may exist.
func search(ctx context.Context, askers []asker, host string, names []string, types []uint16) ([]answer, error) {
	asked := dns.Fqdn(host)
	none := []answer{{Name: asked, Type: "A", Values: []string{}}}
	var failed error
	for _, name := range names {
		answers, exists, err := lookup(ctx, askers, name, types)
		var rcode *rcodeError
		if errors.As(err, &rcode) && len(answers) == 0 {
			failed = cmp.Or(failed, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		if !strings.EqualFold(name, asked) {
			// How the search path made the one name of the other.
			answers = slices.Insert(answers, 0, answer{Name: asked, Type: "CNAME", Values: []string{name}, Server: "the resolver's search path"})
		}
		if exists {
			return answers, nil
		}
		// Of several that do not exist the one that was asked for is shown.
		if strings.EqualFold(name, asked) || len(names) == 1 {
			none = answers
		} else if last := answers[len(answers)-1]; none[0].Error == "" {
			none[0].Error, none[0].Server = last.Error, last.Server
		}
	}
	if failed != nil {
		return nil, failed
	}
	return none, nil
}

// rcodeError is a name server's answer that it cannot answer.
type rcodeError struct {
	server, name string
	rcode        int
}

func (e *rcodeError) Error() string {
	return fmt.Sprintf("%s answered %s for %s", e.server, dns.RcodeToString[e.rcode], e.name)
}

func podVantage(from string) (ns, pod string, ok bool) {
	rest, ok := strings.CutPrefix(from, "pod:")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}

// marshalAnswers writes answers as dns.json has them. assumed, if not empty, is
// true of all of them.
func marshalAnswers(answers []answer, assumed string) ([]byte, error) {
	for i := range answers {
		answers[i].Assumed = assumed
	}
	return json.Marshal(map[string]any{"answers": answers})
}

// lookup asks for every type and follows CNAMEs. exists is false where no record
// of the types was found, so that the next name of the search path is due; the
// last answer then says at the end of which chain, and why. Where one type has
// records and the name server fails for another, that one's answer says so; where
// none has, its failure is the error.
func lookup(ctx context.Context, askers []asker, name string, types []uint16) (answers []answer, exists bool, err error) {
	var no *answer
	var failed error
	var failures []answer
	for _, t := range types {
		next := dns.Fqdn(name)
		been := map[string]bool{}
		for range maxChain {
			been[strings.ToLower(next)] = true
			var m dns.Msg
			m.SetQuestion(next, t)
			m.RecursionDesired = true
			reply, server, err := askAny(ctx, askers, &m)
			if err != nil {
				if ctx.Err() != nil {
					return nil, false, ctx.Err()
				}
				failed = cmp.Or(failed, err)
				why := "not answered"
				var rcode *rcodeError
				if errors.As(err, &rcode) {
					why, server = dns.RcodeToString[rcode.rcode], rcode.server
				}
				failures = append(failures, answer{Name: next, Type: dns.TypeToString[t], Values: []string{}, Server: server, Error: why})
				break
			}
			last, found, loop := collect(reply, t, server, next, &answers)
			switch {
			case loop || last != next && been[strings.ToLower(last)]:
				no = &answer{Name: last, Server: server, Error: "the CNAMEs go in a circle"}
			case reply.Rcode == dns.RcodeNameError:
				no = &answer{Name: last, Server: server, Error: "NXDOMAIN"}
			default:
				no = &answer{Name: last, Server: server, Error: "no such record"}
			}
			exists = exists || found
			if found || last == next || been[strings.ToLower(last)] {
				break
			}
			next = last
		}
	}
	switch {
	case exists:
		return append(answers, failures...), true, nil
	case failed != nil:
		return nil, false, failed
	}
	no.Type, no.Values = "A", []string{}
	return append(answers, *no), false, nil
}

// collect adds the record sets of a reply that belong to name's chain. It
// returns the end of the chain, whether records of the type are there, and
// whether the chain has no end.
func collect(reply *dns.Msg, t uint16, server, name string, answers *[]answer) (last string, found, loop bool) {
	last = name
	been := map[string]bool{strings.ToLower(name): true}
	add := func(owner, kind string, ttl uint32, value string) {
		for i := range *answers {
			a := &(*answers)[i]
			if strings.EqualFold(a.Name, owner) && a.Type == kind {
				if !slices.Contains(a.Values, value) {
					a.Values = append(a.Values, value)
				}
				return
			}
		}
		*answers = append(*answers, answer{Name: owner, Type: kind, TTL: ttl, Values: []string{value}, Server: server})
	}
	for range maxChain {
		moved := false
		for _, rr := range reply.Answer {
			h := rr.Header()
			if !strings.EqualFold(h.Name, last) {
				continue
			}
			switch r := rr.(type) {
			case *dns.A:
				if t == dns.TypeA {
					add(h.Name, "A", h.Ttl, r.A.String())
					found = true
				}
			case *dns.AAAA:
				if t == dns.TypeAAAA {
					add(h.Name, "AAAA", h.Ttl, r.AAAA.String())
					found = true
				}
			case *dns.CNAME:
				if !moved && t != dns.TypeCNAME {
					add(h.Name, "CNAME", h.Ttl, r.Target)
					last, moved = r.Target, true
				} else if t == dns.TypeCNAME {
					add(h.Name, "CNAME", h.Ttl, r.Target)
					found = true
				}
			default:
				if h.Rrtype == t {
					add(h.Name, dns.TypeToString[t], h.Ttl, strings.TrimPrefix(rr.String(), h.String()))
					found = true
				}
			}
			if moved {
				break
			}
		}
		if !moved {
			break
		}
		if been[strings.ToLower(last)] {
			return last, false, true
		}
		been[strings.ToLower(last)] = true
	}
	return last, found, false
}

// askAny asks one server after the other until one answers; one that says that it
// cannot (SERVFAIL, REFUSED) has not. Those whose time ran out are asked once more
// (resolv.conf(5): attempts), because a packet may be lost. The one that answered
// is asked first from then on, so that a dead one is waited for once.
func askAny(ctx context.Context, askers []asker, m *dns.Msg) (*dns.Msg, string, error) {
	var errs []error
	for first, round := true, askers; len(round) > 0; first = false {
		var again []asker
		for _, a := range round {
			reply, err := a.ask(ctx, m.Copy()) // an asker may add to it
			switch {
			case err == nil && (reply == nil || reply.Id != m.Id):
				err = errors.New("the answer belongs to another question")
			case err == nil && reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
				errs = append(errs, &rcodeError{a.server, m.Question[0].Name, reply.Rcode})
				continue
			case err == nil:
				i := slices.IndexFunc(askers, func(b asker) bool { return b.server == a.server })
				copy(askers[1:i+1], slices.Clone(askers[:i]))
				askers[0] = a
				return reply, a.server, nil
			}
			if ctx.Err() != nil {
				return nil, "", ctx.Err()
			}
			var late net.Error
			if first && errors.As(err, &late) && late.Timeout() {
				again = append(again, a)
				continue
			}
			errs = append(errs, fmt.Errorf("name server %s: %w", a.server, err))
		}
		round = again
	}
	return nil, "", errors.Join(errs...)
}

// systemResolver is the resolver of this machine, or the one of the options. No
// asker at all means that only Go's own way is left.
func (s *Source) systemResolver(name string) ([]string, []asker, error) {
	if r := s.opts.Resolver; r != "" {
		server := r
		if _, err := netip.ParseAddrPort(r); err != nil {
			a, err := netip.ParseAddr(strings.Trim(r, "[]"))
			if err != nil {
				return nil, nil, fmt.Errorf("--resolver %q is neither IP nor IP:port", r)
			}
			server = netip.AddrPortFrom(a, 53).String()
		}
		return []string{dns.Fqdn(name)}, []asker{udpAsker(server)}, nil
	}
	config, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil || len(config.Servers) == 0 {
		return nil, nil, nil //nolint:nilerr // not a machine with resolv.conf: Go's resolver is asked
	}
	var askers []asker
	for _, server := range config.Servers {
		askers = append(askers, udpAsker(net.JoinHostPort(server, config.Port)))
	}
	return searchPath(name, config.Search, config.Ndots), askers, nil
}

// udpAsker asks over UDP, and over TCP where the answer did not fit.
func udpAsker(server string) asker {
	return asker{server, func(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
		m.SetEdns0(1232, false)
		c := &dns.Client{Timeout: 3 * time.Second}
		reply, _, err := c.ExchangeContext(ctx, m, server)
		if err == nil && reply.Rcode == dns.RcodeFormatError {
			m.Extra = nil // a server from before EDNS (RFC 6891, 7)
			reply, _, err = c.ExchangeContext(ctx, m, server)
		}
		if err == nil && reply.Truncated {
			c.Net = "tcp"
			reply, _, err = c.ExchangeContext(ctx, m, server)
		}
		return reply, err
	}}
}

// goResolver asks as the operating system does, where nothing tells which
// server that is: addresses without TTL.
func (s *Source) goResolver(ctx context.Context, name, assumed string) ([]byte, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	var none *net.DNSError
	if errors.As(err, &none) && none.IsNotFound {
		return marshalAnswers([]answer{{Name: dns.Fqdn(name), Type: "A", Values: []string{}, Server: "system resolver", Error: "NXDOMAIN"}}, assumed)
	}
	if err != nil {
		return nil, err
	}
	return marshalAnswers(addressAnswers(dns.Fqdn(name), addrs, "system resolver"), assumed)
}

func addressAnswers(name string, addrs []netip.Addr, server string) []answer {
	var out []answer
	for _, kind := range []string{"A", "AAAA"} {
		a := answer{Name: name, Type: kind, Server: server}
		for _, addr := range addrs {
			if addr = addr.Unmap(); addr.Is4() == (kind == "A") {
				a.Values = append(a.Values, addr.String())
			}
		}
		if len(a.Values) > 0 {
			out = append(out, a)
		}
	}
	return out
}

// hostsFile is what a hosts file says of a name (hosts(5)): it goes before DNS.
func hostsFile(path, name string) []answer {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	name = strings.TrimSuffix(name, ".")
	var addrs []netip.Addr
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line, _, _ := strings.Cut(sc.Text(), "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(f[0])
		if err == nil && slices.ContainsFunc(f[1:], func(n string) bool { return strings.EqualFold(n, name) }) {
			addrs = append(addrs, addr)
		}
	}
	return addressAnswers(dns.Fqdn(name), addrs, path)
}

// hostAliases is what the kubelet writes into a Pod's hosts file of a name.
func hostAliases(pod *podInfo, name string) []answer {
	var addrs []netip.Addr
	for _, a := range pod.Spec.HostAliases {
		addr, err := netip.ParseAddr(a.IP)
		if err == nil && slices.ContainsFunc(a.Hostnames, func(n string) bool { return strings.EqualFold(n, strings.TrimSuffix(name, ".")) }) {
			addrs = append(addrs, addr)
		}
	}
	return addressAnswers(dns.Fqdn(name), addrs, "hostAliases of Pod "+pod.Metadata.Namespace+"/"+pod.Metadata.Name)
}

// searchPath is the names that are tried for name, in order (resolv.conf(5)).
func searchPath(name string, search []string, ndots int) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	absolute := name + "."
	var out []string
	if strings.Count(name, ".") >= ndots {
		out = append(out, absolute)
	}
	for _, d := range search {
		if d = strings.Trim(d, "."); d != "" {
			out = append(out, name+"."+d+".")
		}
	}
	if len(out) == 0 || out[0] != absolute {
		out = append(out, absolute)
	}
	return out
}

// podResolver is the resolver of a Pod: its search path and ndots, and the
// cluster's name servers through a port-forward, over TCP. assumed says what of
// the search path is not known.
func (s *Source) podResolver(ctx context.Context, ns, name, host string) (names []string, askers []asker, assumed string, err error) {
	pod, err := s.pod(ctx, ns, name)
	if err != nil {
		return nil, nil, "", err
	}
	if !asksCluster(pod) {
		// The Pod asks what its node asks, or servers of its own: from here they
		// may answer otherwise, so it is not ours to say.
		return nil, nil, "", fmt.Errorf("the Pod %s/%s does not use the cluster's DNS (dnsPolicy %s); resolve the name in it, or give --resolve", ns, name, pod.Spec.DNSPolicy)
	}
	search, ndots, assumed := s.podSearch(ctx, pod)
	names = searchPath(host, search, ndots)
	q := trace.Query{Area: trace.AreaCluster, File: "pods", Select: trace.Selector{Namespace: "kube-system", Labels: "k8s-app=kube-dns"}}
	obs, err := s.Observe(ctx, q)
	if err != nil {
		return nil, nil, "", fmt.Errorf("the Pods of the cluster's DNS: %w", err)
	}
	items, _, err := splitList(obs.Data, false)
	if err != nil {
		return nil, nil, "", err
	}
	for _, it := range items {
		p, err := parsePod(it.data)
		if err != nil || p.Status.Phase != "Running" || p.Metadata.Labels["k8s-app"] != "kube-dns" {
			continue
		}
		dnsNS, dnsPod := p.Metadata.Namespace, p.Metadata.Name
		askers = append(askers, asker{dnsNS + "/" + dnsPod, func(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
			f, err := s.forward(ctx, dnsNS, dnsPod)
			if err != nil {
				return nil, err
			}
			conn, err := f.dial(s, 53)
			if err != nil {
				return nil, err
			}
			defer conn.Close()
			defer conn.(*forwardConn).closeWhen(ctx)()
			c := &dns.Conn{Conn: conn}
			wire, err := m.Pack()
			if err != nil {
				return nil, err
			}
			// Length and message in one write, as RFC 7766 8 wants it.
			framed := append([]byte{byte(len(wire) >> 8), byte(len(wire))}, wire...)
			if _, err := conn.Write(framed); err != nil {
				return nil, err
			}
			return c.ReadMsg()
		}})
	}
	if len(askers) == 0 {
		return nil, nil, "", errors.New("no running Pod with label k8s-app=kube-dns in kube-system to ask")
	}
	return names, askers, assumed, nil
}

// asksCluster says whether a Pod asks the cluster's DNS (Kubernetes: DNS for
// Services and Pods).
func asksCluster(pod *podInfo) bool {
	policy := pod.Spec.DNSPolicy
	return policy == "ClusterFirstWithHostNet" || (policy == "" || policy == "ClusterFirst") && !pod.Spec.HostNetwork
}

// podSearch is the search path and ndots of a Pod that asks the cluster's DNS:
// what its resolv.conf says where that can be read; else what the kubelet writes
// there for the cluster's domain (pkg/kubelet/network/dns), and assumed says
// where the domain comes from. What a node adds to the search path is known from
// resolv.conf only.
func (s *Source) podSearch(ctx context.Context, pod *podInfo) (search []string, ndots int, assumed string) {
	ns, name := pod.Metadata.Namespace, pod.Metadata.Name
	if obs, err := s.Observe(ctx, trace.Query{Area: trace.AreaPod, Namespace: ns, Name: name, File: "resolv.conf"}); err == nil {
		if c, err := dns.ClientConfigFromReader(bytes.NewReader(obs.Data)); err == nil && len(c.Servers) > 0 {
			return c.Search, c.Ndots, ""
		}
	}
	domain := s.corefileDomain(ctx)
	assumed = "resolv.conf of the Pod was not read: the search path is that of the cluster domain " + domain + ", from the Corefile in ConfigMap kube-system/coredns, without what the node adds"
	if domain == "" {
		domain = "cluster.local"
		assumed = "neither resolv.conf of the Pod nor the Corefile was read: the search path is that of the cluster domain cluster.local, which is assumed"
	}
	search = []string{ns + ".svc." + domain, "svc." + domain, domain}
	ndots = 5
	for _, d := range pod.Spec.DNSConfig.Searches {
		if !slices.Contains(search, d) {
			search = append(search, d)
		}
	}
	for _, o := range pod.Spec.DNSConfig.Options {
		if n, err := strconv.Atoi(o.Value); o.Name == "ndots" && err == nil && n >= 0 && n <= 15 {
			ndots = n
		}
	}
	return search, ndots, assumed
}

// corefileDomain is the cluster's domain as CoreDNS is told it, "" where that
// cannot be read.
func (s *Source) corefileDomain(ctx context.Context) string {
	obs, err := s.Observe(ctx, trace.Query{Area: trace.AreaCluster, File: "configmaps", Select: trace.Selector{Namespace: "kube-system", Name: "coredns"}})
	if err != nil {
		return ""
	}
	items, _, err := splitList(obs.Data, false)
	if err != nil {
		return ""
	}
	for _, it := range items {
		var cm struct {
			Metadata struct{ Namespace, Name string }
			Data     struct{ Corefile string }
		}
		if json.Unmarshal(it.data, &cm) == nil && cm.Metadata.Namespace == "kube-system" && cm.Metadata.Name == "coredns" {
			return clusterDomain(cm.Data.Corefile)
		}
	}
	return ""
}

// clusterDomain is the first zone of the kubernetes plugin that is not for the
// way back from addresses to names (coredns.io/plugins/kubernetes), "" where the
// Corefile names none.
func clusterDomain(corefile string) string {
	for line := range strings.Lines(corefile) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "kubernetes" {
			continue
		}
		for _, zone := range f[1:] {
			zone = strings.ToLower(strings.TrimSuffix(zone, "."))
			if _, ok := dns.IsDomainName(zone); zone == "{" || strings.HasPrefix(zone, "#") {
				break
			} else if ok && zone != "" && !strings.HasSuffix(zone, ".arpa") {
				return zone
			}
		}
	}
	return ""
}
