package envoyadmin

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// realDumps are config_dumps of other people's systems, which tests may read but
// the project does not hold.
const realDumps = "../../shared/corpus/real/config_dump"

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

// everyCall makes up a call for every listener and every virtual host of a dump.
func everyCall(t *testing.T, name string, d *Dump) (calls, undetermined int) {
	t.Helper()
	check := func(what string, c Call) {
		calls++
		res := d.Match(c)
		total := 0.0
		for _, o := range res.Outcomes {
			total += o.Probability
			if len(o.Steps) == 0 {
				t.Errorf("%s %s: no step", name, what)
			}
			switch o.Verdict {
			case Undetermined:
				undetermined++
				if len(o.Reasons) == 0 {
					t.Errorf("%s %s: undetermined without a reason: %+v", name, what, o)
				}
			case Forward:
				if o.Terminal == "" || o.Cluster == "" && !c.ConnectOnly || !c.ConnectOnly && len(o.Endpoints) == 0 && o.Terminal == "tcp_proxy" {
					t.Errorf("%s %s: forwarded to nothing: %+v", name, what, o)
				}
			case Redirect, DirectResponse, Reject:
			default:
				t.Errorf("%s %s: verdict %q", name, what, o.Verdict)
			}
		}
		if total < 0.9999 || total > 1.0001 {
			t.Errorf("%s %s: probabilities add up to %g", name, what, total)
		}
	}
	src := netip.MustParseAddrPort("10.77.7.7:45678")
	var ports []netip.AddrPort
	for _, l := range d.listeners {
		if len(l.addrs) == 0 || !l.addrs[0].IsValid() || l.state != active {
			continue
		}
		a := l.addrs[0].AddrPort
		if a.Addr().IsUnspecified() {
			a = netip.AddrPortFrom(netip.MustParseAddr("10.88.8.8"), a.Port())
		}
		ports = append(ports, a)
		for _, p := range []Protocol{HTTP, HTTP2, TCP} {
			for _, tls := range []TLSMode{NoTLS, TLS, MTLS} {
				check("listener "+l.name, Call{Address: a, Source: src, Protocol: p, TLS: tls, SNI: "made.up.example", ALPN: []string{"h2", "http/1.1"}})
			}
		}
		check("connection to "+l.name, Call{Address: a, Source: src, ConnectOnly: true})
	}
	for _, r := range d.Routes() {
		hosts, err := r.VirtualHosts()
		if err != nil {
			t.Errorf("%s: route table %s: %v", name, r.Name, err)
		}
		for i, h := range hosts {
			if i == 60 {
				break
			}
			for _, domain := range h.Domains[:min(2, len(h.Domains))] {
				host := strings.ReplaceAll(domain, "*", "made-up")
				for _, a := range ports {
					if strings.Contains(r.Name, fmt.Sprint(a.Port())) || len(ports) < 6 {
						check("host "+host, Call{Address: a, Source: src, Authority: host, Path: "/made/up?x=1"})
					}
				}
			}
		}
	}
	return calls, undetermined
}

func TestEveryHostAndListenerOfTheWorldsGetsAnAnswerOrAReason(t *testing.T) {
	calls, open := 0, 0
	for _, f := range worldDumps(t) {
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
		calls, open = calls+c, open+u
	}
	t.Logf("%d calls, %d ways undetermined", calls, open)
	if calls == 0 {
		t.Error("no calls")
	}
}

func TestEveryHostAndListenerOfRealDumpsGetsAnAnswerOrAReason(t *testing.T) {
	files, _ := filepath.Glob(realDumps + "/*")
	if len(files) == 0 {
		t.Skipf("%s is not here", realDumps)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Read(f, data)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		calls, open := everyCall(t, filepath.Base(f), d)
		t.Logf("%s: Envoy %s, %d listeners, %d clusters, %d route tables; %d calls, %d ways undetermined", filepath.Base(f), d.Version(), len(d.listeners), len(d.clusters), len(d.routes), calls, open)
	}
}
