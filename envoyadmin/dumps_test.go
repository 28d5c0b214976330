package envoyadmin

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

// realDumps are config_dumps of other people's systems, which tests may read but
// the project does not hold.
const realDumps = "../../shared/corpus/real"

type dumpFile struct {
	name           string
	dump, clusters []byte
}

// worldDumps reads the proxies of every world.
func worldDumps(t *testing.T) []dumpFile {
	t.Helper()
	files, err := filepath.Glob(corpus + "/worlds/*/*.tar.gz")
	if err != nil || len(files) == 0 {
		t.Fatal("no worlds", err)
	}
	var out []dumpFile
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(f, err)
		}
		found := map[string]*dumpFile{}
		for tr := tar.NewReader(z); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(f, err)
			}
			dir, base := filepath.Split(h.Name)
			if base != "config_dump.json" && base != "clusters.json" {
				continue
			}
			data, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(f, err)
			}
			if found[dir] == nil {
				found[dir] = &dumpFile{name: filepath.Base(f) + ":" + dir}
			}
			if base == "clusters.json" {
				found[dir].clusters = data
			} else {
				found[dir].dump = data
			}
		}
		for _, d := range found {
			if d.dump != nil {
				out = append(out, *d)
			}
		}
	}
	return out
}

// asker makes up calls to a dump and holds every answer to the promise: a
// determined answer, or a reason.
type asker struct {
	t                   *testing.T
	name                string
	d                   *Dump
	calls, undetermined int
	reached             map[string]bool // table and virtual host
}

func (a *asker) ask(what string, c Call) {
	a.t.Helper()
	a.calls++
	res := a.d.Match(c)
	for i := range res.Outcomes {
		if why := unsaid(&res.Outcomes[i]); why != "" {
			a.t.Errorf("%s: %s: %+v", a.name, why, res.Outcomes[i])
		}
	}
	if len(res.Outcomes) == 0 {
		a.t.Errorf("%s %s: no answer", a.name, what)
	}
	total := 0.0
	for i := range res.Outcomes {
		o := &res.Outcomes[i]
		total += o.Probability
		a.judge(what, &c, o)
		if o.VirtualHost != "" {
			a.reached[o.RouteConfig+" "+o.VirtualHost] = true
		}
	}
	if total < 0.9999 || total > 1.0001 {
		a.t.Errorf("%s %s: probabilities add up to %g", a.name, what, total)
	}
}

func (a *asker) judge(what string, c *Call, o *Outcome) {
	a.t.Helper()
	if len(o.Steps) == 0 {
		a.t.Errorf("%s %s: no step", a.name, what)
	}
	switch o.Verdict {
	case Undetermined:
		a.undetermined++
		if len(o.Reasons) == 0 {
			a.t.Errorf("%s %s: undetermined without a reason: %+v", a.name, what, o)
		}
	case Forward:
		if o.Terminal == "" || o.Cluster == "" && !c.ConnectOnly || !c.ConnectOnly && len(o.Endpoints) == 0 && o.Terminal == "tcp_proxy" {
			a.t.Errorf("%s %s: forwarded to nothing: %+v", a.name, what, o)
		}
	case Redirect, DirectResponse:
	case Reject:
		if last := o.Steps[len(o.Steps)-1]; last.Why == "" {
			a.t.Errorf("%s %s: refused without a word: %+v", a.name, what, o)
		}
	default:
		a.t.Errorf("%s %s: verdict %q", a.name, what, o.Verdict)
	}
}

var madeUp = netip.MustParseAddrPort("10.77.7.7:45678")

// everyCall makes up calls for every listener, every chain of it and every
// virtual host of a dump. None is left out: what no call can be addressed to is
// an internal listener or one on a pipe, and a virtual host that no call comes to
// is asked in its table.
func everyCall(t *testing.T, name string, d *Dump) (calls, undetermined int) {
	t.Helper()
	a := &asker{t: t, name: name, d: d, reached: map[string]bool{}}
	for _, l := range d.listeners {
		asked := 0
		for _, addr := range l.addrs {
			if !addr.IsValid() || addr.udp {
				continue
			}
			asked++
			a.listener(l, addr.AddrPort)
		}
		if asked == 0 && l.internal == "" && !slices.ContainsFunc(l.addrs, func(a listenAddr) bool { return a.named != "" || a.udp }) {
			t.Errorf("%s: listener %s was not asked", name, l.name)
		}
		if l.state == active {
			a.chains(l)
		}
	}
	tables := slices.Clone(d.routes)
	for _, l := range d.listeners {
		for _, c := range everyChain(d, l) {
			if b := d.body(c); b.inline != nil {
				tables = append(tables, b.inline)
			}
		}
	}
	for _, r := range tables {
		a.table(r)
	}
	return a.calls, a.undetermined
}

func (a *asker) listener(l *listenerEntry, to netip.AddrPort) {
	if to.Addr().IsUnspecified() {
		ip := "10.88.8.8"
		if to.Addr().Is6() && !to.Addr().Is4In6() {
			ip = "fd00::88"
		}
		to = netip.AddrPortFrom(netip.MustParseAddr(ip), to.Port())
	}
	for _, p := range []Protocol{HTTP, HTTP2, TCP} {
		for _, tls := range []TLSMode{NoTLS, TLS, MTLS} {
			a.ask("listener "+l.name, Call{Address: to, Source: madeUp, Protocol: p, TLS: tls, SNI: "made.up.example", ALPN: []string{"h2", "http/1.1"}})
		}
	}
	for _, dir := range []Direction{Auto, Gateway, Inbound, Outbound} {
		a.ask("listener "+l.name, Call{Address: to, Source: madeUp, Direction: dir})
		a.ask("connection to "+l.name, Call{Address: to, Source: madeUp, Direction: dir, ConnectOnly: true})
	}
	if l.state == active {
		return
	}
	for _, o := range a.d.Match(Call{Address: to, Direction: Gateway}).Outcomes {
		if o.Listener == l.name && a.d.byAddress(to, func(*listenerEntry) bool { return true }) == nil {
			a.t.Errorf("%s: listener %s, which is %s, serves", a.name, l.name, l.state)
		}
	}
}

func everyChain(d *Dump, l *listenerEntry) []*chain {
	p := d.parse(l)
	out := slices.Clone(p.chains)
	if p.fallback != nil {
		out = append(out, p.fallback)
	}
	return out
}

// chains makes up, for each chain, a call that asks for just what it matches, to
// every virtual host of its table.
func (a *asker) chains(l *listenerEntry) {
	if p := a.d.parse(l); p.err != nil {
		a.t.Errorf("%s: listener %s: %v", a.name, l.name, p.err)
	}
	for _, c := range everyChain(a.d, l) {
		b := a.d.body(c)
		if b.err != nil {
			a.t.Errorf("%s: listener %s, %s: %v", a.name, l.name, c.title(), b.err)
			continue
		}
		call := Call{Source: madeUp, PastRefusals: true, Protocol: TCP}
		switch l.direction {
		case "OUTBOUND":
			call.Direction = Outbound
		case "INBOUND":
			call.Direction = Inbound
		}
		m := c.match
		if b.socket.tls || m.GetTransportProtocol() == "tls" {
			call.TLS, call.ALPN = MTLS, m.GetApplicationProtocols()
			if len(m.GetServerNames()) > 0 {
				call.SNI = strings.ReplaceAll(m.GetServerNames()[0], "*", "made-up")
			}
		}
		port := uint16(m.GetDestinationPort().GetValue())
		var to netip.AddrPort
		for _, addr := range l.addrs {
			if addr.IsValid() {
				to = addr.AddrPort
				break
			}
		}
		if port == 0 {
			port = to.Port()
		}
		ip := to.Addr()
		if len(m.GetPrefixRanges()) > 0 {
			ip, _ = netip.ParseAddr(m.GetPrefixRanges()[0].GetAddressPrefix())
		} else if !ip.IsValid() || ip.IsUnspecified() {
			ip = netip.MustParseAddr("10.88.8.8")
		}
		call.Address = netip.AddrPortFrom(ip, port)
		if b.hcm == nil {
			a.ask("chain "+c.title()+" of "+l.name, call)
			continue
		}
		call.Protocol = HTTP
		table := b.inline
		if table == nil {
			table = a.d.byRoute[b.hcm.GetRds().GetRouteConfigName()]
		}
		if table == nil || a.d.load(table) != nil {
			a.ask("chain "+c.title()+" of "+l.name, call)
			continue
		}
		for _, h := range table.hosts {
			for _, domain := range h.domains {
				call.Authority, call.Path = strings.ReplaceAll(domain, "*", "made-up"), "/made/up?x=1"
				a.ask("host "+call.Authority+" of "+l.name, call)
			}
		}
	}
}

// table asks the table itself for each virtual host no call came to.
func (a *asker) table(r *routeEntry) {
	if err := a.d.load(r); err != nil {
		a.t.Errorf("%s: route table %s: %v", a.name, r.name, err)
		return
	}
	for i, h := range r.hosts {
		vh, err := a.d.virtualHost(r, i)
		if err != nil {
			a.t.Errorf("%s: route table %s, virtual host %d: %v", a.name, r.name, i, err)
			continue
		}
		if a.reached[r.name+" "+vh.GetName()] || a.reached[" "+vh.GetName()] {
			continue
		}
		if len(h.domains) == 0 {
			a.t.Errorf("%s: virtual host %s without domains", a.name, vh.GetName())
			continue
		}
		req := &matcher.Request{Method: "GET", Scheme: "http", Protocol: "HTTP/1.1", Authority: strings.ReplaceAll(h.domains[0], "*", "made-up"), Path: "/made/up", Env: matcher.Env{Regex: a.d.regexps()}, Headers: []matcher.Header{{Name: "x-forwarded-proto", Value: "http"}}}
		choice := r.table.Choose(req)
		if choice.Index < 0 {
			a.t.Errorf("%s: table %s has no virtual host for %s, of %s", a.name, r.name, req.Authority, vh.GetName())
			continue
		}
		a.calls++
		for _, o := range r.table.Decide(req, choice, vh).Outcomes {
			if o.Why == "" && o.Kind == route.Undetermined {
				a.t.Errorf("%s: table %s, %s: undetermined without a reason", a.name, r.name, vh.GetName())
			}
		}
	}
}

func TestEveryHostAndListenerOfTheWorldsGetsAnAnswerOrAReason(t *testing.T) {
	calls, open := 0, 0
	files := worldDumps(t)
	for _, f := range files {
		d, err := Read(f.name, f.dump)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		if f.clusters != nil {
			if err := d.AddClusters(f.name, f.clusters); err != nil {
				t.Error(err)
			}
		}
		c, u := everyCall(t, f.name, d)
		if c == 0 && len(d.listeners) > 0 {
			t.Errorf("%s: no calls", f.name)
		}
		calls, open = calls+c, open+u
	}
	t.Logf("%d proxies, %d calls, %d ways undetermined", len(files), calls, open)
}

func TestEveryHostAndListenerOfTheFormsGetsAnAnswerOrAReason(t *testing.T) {
	files, err := filepath.Glob(corpus + "/config_dump/*")
	if err != nil || len(files) == 0 {
		t.Fatal("no dumps", err)
	}
	for _, f := range files {
		askFile(t, f)
	}
}

func TestEveryHostAndListenerOfRealDumpsGetsAnAnswerOrAReason(t *testing.T) {
	if _, err := os.Stat(realDumps); err != nil {
		t.Skipf("%s is not here", realDumps)
	}
	found := 0
	err := filepath.WalkDir(realDumps, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if data, err = inflate(path, data); err != nil {
			return err
		}
		if filepath.Base(filepath.Dir(path)) != "config_dump" {
			if bytes.Contains(data, []byte(".ListenersConfigDump")) {
				t.Errorf("%s is a config_dump that is not asked", path)
			}
			return nil
		}
		found++
		askFile(t, path)
		return nil
	})
	if err != nil || found == 0 {
		t.Errorf("%d dumps: %v", found, err)
	}
}

// askFile asks a dump as it is and says that, zipped, it reads the same.
func askFile(t *testing.T, f string) {
	t.Helper()
	data, err := os.ReadFile(f)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Read(f, data)
	if err != nil {
		t.Errorf("%s: %v", f, err)
		return
	}
	calls, open := everyCall(t, filepath.Base(f), d)
	if calls == 0 && len(d.listeners)+len(d.routes) > 0 {
		t.Errorf("%s: no calls", f)
	}
	t.Logf("%s: Envoy %s, %d listeners, %d clusters, %d route tables; %d calls, %d ways undetermined", filepath.Base(f), d.Version(), len(d.listeners), len(d.clusters), len(d.routes), calls, open)
	plain, err := inflate(f, data)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(plain)
	_ = z.Close()
	zipped, err := Read(f, b.Bytes())
	if err != nil || !slices.Equal(zipped.ClusterNames(), d.ClusterNames()) || len(zipped.Listeners()) != len(d.Listeners()) {
		t.Errorf("%s, zipped: %v", f, err)
	}
}
