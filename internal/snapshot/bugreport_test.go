package snapshot

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/hoptrail/hoptrail/k8s"
	"github.com/hoptrail/hoptrail/trace"
)

// bugReportOf makes a bug report of a world: what istioctl would have found in
// that cluster, in its layout.
func bugReportOf(t testing.TB, name, root string, escaped bool) []entry {
	t.Helper()
	s, err := Read(name, worldBytes(t, name))
	if err != nil {
		t.Fatal(err)
	}
	list := func(resources ...string) string {
		var raws [][]byte
		for _, r := range resources {
			data, _, err := s.st.read("cluster/" + r + ".json")
			if err != nil {
				continue
			}
			items, err := k8s.Items(data)
			if err != nil {
				t.Fatal(err)
			}
			for _, it := range items {
				raws = append(raws, it.Raw)
			}
		}
		y, err := yaml.JSONToYAML(joinList(raws))
		if err != nil {
			t.Fatal(err)
		}
		return string(y)
	}
	var crs []string
	for p := range s.st.files {
		if r, ok := strings.CutSuffix(strings.TrimPrefix(p, "cluster/"), ".istio.io.json"); ok {
			crs = append(crs, r+".istio.io")
		}
	}
	slices.Sort(crs)
	out := []entry{
		{name: root + "cluster/k8s-resources", body: list("pods", "services", "namespaces", "configmaps", "deployments.apps")},
		{name: root + "cluster/crs", body: list(crs...)},
		{name: root + "cluster/secrets", body: "NAMESPACE  NAME  TYPE  DATA  AGE\n"},
		{name: root + "versions", body: "CLI version: 1.30\n"},
	}
	for p := range s.st.files {
		rest, ok := strings.CutPrefix(p, "proxies/")
		if !ok {
			continue
		}
		body, _, err := s.st.read(p)
		if err != nil {
			t.Fatal(err)
		}
		dir, file := rest[:strings.LastIndexByte(rest, '/')+1], rest[strings.LastIndexByte(rest, '/')+1:]
		as := map[string]string{"config_dump.json": "config_dump?include_eds", "clusters.json": "clusters", "server_info.json": "server_info", "access.log": "istio-proxy.log"}[file]
		if escaped {
			as = strings.ReplaceAll(as, "?", "_")
		}
		out = append(out, entry{name: root + "proxies/" + dir + as, body: string(body)})
		if file == "config_dump.json" {
			out = append(out,
				entry{name: root + "proxies/" + dir + "netstat", body: netstat},
				entry{name: root + "proxies/" + dir + "stats/prometheus", body: "# TYPE x counter\n"})
		}
	}
	return out
}

const netstat = `Active Internet connections (servers and established)
Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
tcp        0      0 0.0.0.0:8080            0.0.0.0:*               LISTEN      19/envoy
tcp        0      0 127.0.0.1:15000         0.0.0.0:*               LISTEN      19/envoy
tcp        0      0 10.10.1.4:8080          10.10.0.0:16340         ESTABLISHED 19/envoy
tcp6       0      0 :::15020                :::*                    LISTEN      1/pilot-agent
tcp        0      0 0.0.0.0:80              0.0.0.0:*               LISTEN      -
`

func TestABugReportIsReadAsASnapshot(t *testing.T) {
	for _, c := range []struct {
		name, root string
		escaped    bool
		open       func(*testing.T, []entry) *Snapshot
	}{
		{"as istioctl packs it", "bug-report/", false, packed},
		{"with a dot before the names", "./bug-report/", false, packed},
		{"without the folder on top", "", false, packed},
		{"unpacked where names take no question mark", "bug-report/", true, unpacked},
		{"unpacked, from within", "", true, unpacked},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := c.open(t, bugReportOf(t, "bookinfo", c.root, c.escaped))
			defer s.Close()
			src := Redact(s)
			world, err := Read("bookinfo", worldBytes(t, "bookinfo"))
			if err != nil {
				t.Fatal(err)
			}
			// Every list that it has is the world's, object by object.
			for _, r := range []string{"pods", "services", "configmaps", "gateways.networking.istio.io", "virtualservices.networking.istio.io", "peerauthentications.security.istio.io", "envoyfilters.networking.istio.io"} {
				q := trace.Query{Area: trace.AreaCluster, File: r}
				a, errA := world.Observe(t.Context(), q)
				b, errB := src.Observe(t.Context(), q)
				if errA != nil || errB != nil {
					t.Fatalf("%s: %v, %v", r, errA, errB)
				}
				ia, _ := k8s.Items(a.Data)
				ib, err := k8s.Items(b.Data)
				if err != nil || len(ia) != len(ib) {
					t.Errorf("%s: %d objects, want %d (%v)", r, len(ib), len(ia), err)
					continue
				}
				for i := range ia {
					if ia[i].Name != ib[i].Name || ia[i].UID != ib[i].UID || ib[i].Kind == "" {
						t.Errorf("%s: %s/%s, want %s/%s", r, ib[i].Kind, ib[i].Name, ia[i].Kind, ia[i].Name)
					}
				}
			}
			v := k8s.New(lister{t, src})
			pods, err := v.Pods(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			proxies := 0
			for _, p := range pods {
				if p.Proxy().Role == k8s.RolePlain {
					continue
				}
				proxies++
				for _, f := range []string{"config_dump.json", "clusters.json", "access.log", "server_info.json"} {
					q := trace.Query{Area: trace.AreaProxy, Namespace: p.Namespace, Name: p.Name, File: f}
					a, errA := world.Observe(t.Context(), q)
					b, errB := src.Observe(t.Context(), q)
					if (errA == nil) != (errB == nil) || !bytes.Equal(a.Data, b.Data) {
						t.Errorf("%s: %v, %v", q.Path(), errA, errB)
					}
				}
				obs, err := src.Observe(t.Context(), trace.Query{Area: trace.AreaPod, Namespace: p.Namespace, Name: p.Name, File: "ss.txt"})
				if err != nil || !bytes.Contains(obs.Data, []byte(`LISTEN 0 0 0.0.0.0:8080 0.0.0.0:* users:(("envoy",pid=19))`)) || bytes.Contains(obs.Data, []byte("16340")) ||
					!bytes.Contains(obs.Data, []byte(`LISTEN 0 0 [::]:15020 [::]:* users:(("pilot-agent",pid=1))`)) {
					t.Errorf("sockets: %s, %v", obs.Data, err)
				}
			}
			if proxies == 0 {
				t.Error("no proxy")
			}
			for _, q := range []trace.Query{
				{Area: trace.AreaNode, Name: "n", File: "iptables-save.txt"},
				{Area: trace.AreaCluster, File: "nodes"},
				{Area: trace.AreaCluster, File: "secrets"},
				{Area: trace.AreaCluster, File: "networkpolicies.networking.k8s.io"},
				{Area: trace.AreaCluster, File: "endpointslices.discovery.k8s.io"},
				{Area: trace.AreaCluster, File: "unknowns.example.com"},
				{Area: trace.AreaDNS, Name: "a.b"},
				{Area: trace.AreaPod, Namespace: "a", Name: "b", File: "iptables-save.txt"},
				{Area: trace.AreaProxy, Namespace: "a", Name: "b", File: "config_dump.json"},
				{Area: trace.AreaProxy, Namespace: pods[0].Namespace, Name: pods[0].Name, File: "stats.txt"},
			} {
				_, err := src.Observe(t.Context(), q)
				var nr *trace.NotReadError
				if !errors.As(err, &nr) || nr.Query != q || !strings.Contains(nr.Why, "bug report") {
					t.Errorf("%s: %v", q.Path(), err)
				}
				if nr != nil && nr.Command == "" && q.File != "unknowns.example.com" {
					t.Errorf("%s: no command", q.Path())
				}
			}
		})
	}
}

type lister struct {
	t   testing.TB
	src trace.Source
}

func (l lister) List(_ context.Context, resource string, sel k8s.Selector) ([]byte, error) {
	obs, err := l.src.Observe(l.t.Context(), trace.Query{Area: trace.AreaCluster, File: resource, Select: trace.Selector(sel)})
	return obs.Data, err
}

func packed(t *testing.T, entries []entry) *Snapshot {
	s, err := Read("bug-report.tar.gz", archive(t, true, entries...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func unpacked(t *testing.T, entries []entry) *Snapshot {
	dir := t.TempDir()
	for _, e := range entries {
		p := filepath.Join(dir, filepath.FromSlash(e.name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(e.body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestABugReportOfProxiesAloneIsReadToo(t *testing.T) {
	s, err := Read("x", archive(t, true, entry{name: "bug-report/proxies/n/p/config_dump", body: "{}"}))
	if err != nil {
		t.Fatal(err)
	}
	if got := observed(t, s, "proxies/n/p/config_dump.json"); got != "{}" {
		t.Error(got)
	}
	if m := s.Meta(); m.Format != "istioctl bug-report" {
		t.Error(m)
	}
}

func TestABrokenListOfABugReportNamesFileAndLine(t *testing.T) {
	s, err := Read("x.tgz", archive(t, true, entry{name: "bug-report/cluster/k8s-resources", body: "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: [\nkind: List\n"}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Observe(t.Context(), trace.Query{Area: trace.AreaCluster, File: "pods"})
	var in *trace.InputError
	if !errors.As(err, &in) || in.File != "x.tgz/bug-report/cluster/k8s-resources" || in.Line == 0 {
		t.Errorf("%v", err)
	}
}

func TestATraceOfABugReportIsUndeterminedWhereItLacksTheNode(t *testing.T) {
	s := packed(t, bugReportOf(t, "bookinfo", "bug-report/", false))
	for _, tg := range targets(t, "bookinfo") {
		r, err := (&trace.Tracer{Source: Redact(s)}).Trace(t.Context(), tg)
		if err != nil {
			t.Fatalf("%s: %v", tg.Raw, err)
		}
		if len(r.Hops) == 0 || len(r.Collected.Read) == 0 {
			t.Errorf("%s: %+v", tg.Raw, r.Collected)
		}
		if tg.From == "external" && r.Verdict == trace.Reachable {
			if _, err := netip.ParseAddr(tg.Host); err != nil && len(r.Collected.NotRead) == 0 {
				t.Errorf("%s is reachable, though neither names nor nodes can be read", tg.Raw)
			}
		}
	}
}

// TestOfALargeBugReportOnlyWhatAWalkAsksForIsRead: among 200 proxies that are not
// on the path none is unpacked; an archive of any size is gone through once.
func TestOfALargeBugReportOnlyWhatAWalkAsksForIsRead(t *testing.T) {
	entries := bugReportOf(t, "bookinfo", "bug-report/", false)
	random := rand.NewChaCha8([32]byte{1})
	const others, size = 200, 16 << 10
	for i := range others {
		data := make([]byte, size)
		random.Read(data)
		for _, file := range []string{"config_dump?include_eds", "istio-proxy.log"} {
			entries = append(entries, entry{name: fmt.Sprintf("bug-report/proxies/shop/other-%d/%s", i, file), body: string(data)})
		}
	}
	lim := defaultLimits
	lim.memory = 1 << 20 // as with 100 MB: what is unpacked goes to a file
	packed := archive(t, true, entries...)
	s, err := read("bug-report.tar.gz", packed, lim)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var total, taken int64
	var mu sync.Mutex
	read := map[string]bool{}
	for name, m := range s.st.files {
		total += m.size
		unpack := m.read
		m.read = func() ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			taken += m.size
			read[name] = true
			return unpack()
		}
	}
	all := targets(t, "bookinfo")
	// From a Pod: a bug report has neither DNS nor nodes.
	target := all[slices.IndexFunc(all, func(tg trace.Target) bool { return strings.HasPrefix(tg.From, "pod:") })]
	r, err := (&trace.Tracer{Source: Redact(s)}).Trace(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	proxies := 0
	for name := range read {
		if strings.Contains(name, "/other-") {
			t.Errorf("%s was read, and is not on the path", name)
		}
		if strings.HasSuffix(name, "config_dump?include_eds") {
			proxies++
		}
	}
	if proxies == 0 || len(r.Collected.Read) == 0 {
		t.Errorf("nothing was read: %v\n%+v", read, r.Collected)
	}
	if taken > total-others*2*size {
		t.Errorf("%d of %d bytes were read, and the others are %d", taken, total, others*2*size)
	}
	t.Logf("an archive of %d bytes holds %d, of which %d were read", len(packed), total, taken)
}

// BenchmarkBugReport opens a bug report of 200 proxies and reads what a walk
// asks of one of them.
func BenchmarkBugReport(b *testing.B) {
	dump := bytes.Repeat([]byte(`{"name":"outbound|80||service-0001.namespace.svc.cluster.local","type":"EDS","connect_timeout":"10s"},`), 20_000)
	var pods strings.Builder
	var buf bytes.Buffer
	zw, _ := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	tw := tar.NewWriter(zw)
	add := func(name string, data []byte) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(data)), ModTime: time.Unix(1, 0)}); err != nil {
			b.Fatal(err)
		}
		if _, err := tw.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	pods.WriteString("apiVersion: v1\nitems:\n")
	for i := range 200 {
		add(fmt.Sprintf("bug-report/proxies/ns/pod-%d/config_dump?include_eds", i), fmt.Appendf(nil, `{"configs":[%s{"i":%d}]}`, dump, i))
		fmt.Fprintf(&pods, "- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: pod-%d\n    namespace: ns\n  spec:\n    containers:\n%s", i, strings.Repeat("    - name: c\n      image: image:1\n      env:\n      - name: A\n        value: b\n", 40))
		fmt.Fprintf(&pods, "- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: m-%d\n  data:\n    a: |\n%s", i, strings.Repeat("      line of text\n", 200))
	}
	pods.WriteString("kind: List\nmetadata: {}\n")
	add("bug-report/cluster/k8s-resources", []byte(pods.String()))
	if err := tw.Close(); err != nil {
		b.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(dump)) * 200)
	b.ReportMetric(float64(buf.Len())/(1<<20), "MiB-packed")
	for b.Loop() {
		s, err := read("x", buf.Bytes(), limits{entries: 1000, file: 1 << 30, total: 1 << 33, ratio: 1 << 30, free: 1 << 40, memory: 64 << 20})
		if err != nil {
			b.Fatal(err)
		}
		for _, p := range []string{"cluster/pods.json", "proxies/ns/pod-7/config_dump.json"} {
			if _, err := Redact(s).Observe(b.Context(), queryOf(p)); err != nil {
				b.Fatal(err)
			}
		}
		s.Close()
	}
}

// FuzzRead opens anything as an archive and asks it for what a walk asks.
func FuzzRead(f *testing.F) {
	f.Add(archive(f, false, entry{name: "snapshot.json", body: meta}, entry{name: "cluster/pods.json", body: `{"kind":"List","items":[]}`}))
	f.Add(archive(f, true, entry{name: "snapshot.json", body: `{"format":"hoptrail.snapshot/v1","observations":[{"path":"cluster/pods.json","select":{"name":"x"}}]}`}))
	f.Add(archive(f, false, entry{name: "bug-report/cluster/k8s-resources", body: "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\nkind: List\n"}))
	f.Add(archive(f, false, entry{name: "a", typ: tar.TypeSymlink, link: "b"}))
	small := limits{entries: 50, file: 1 << 16, total: 1 << 18, ratio: 100, free: 1 << 14, memory: 1 << 12}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := read("x", data, small)
		if err != nil {
			var in *trace.InputError
			if !errors.As(err, &in) {
				t.Fatalf("%v", err)
			}
			return
		}
		defer s.Close()
		for p := range s.st.files {
			if strings.HasPrefix(p, "/") || slices.Contains(strings.Split(p, "/"), "..") || !filepath.IsLocal(p) {
				t.Fatalf("a file is called %q", p)
			}
		}
		src := Redact(s)
		for _, p := range []string{"cluster/pods.json", "cluster/secrets.json", "dns.json", "nodes/n/iptables-save.txt", "proxies/n/p/config_dump.json", "pods/n/p/ss.txt"} {
			_, err := src.Observe(t.Context(), queryOf(p))
			var in *trace.InputError
			var nr *trace.NotReadError
			if err != nil && !errors.As(err, &in) && !errors.As(err, &nr) {
				t.Fatalf("%s: %v", p, err)
			}
		}
	})
}
