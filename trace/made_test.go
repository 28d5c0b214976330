package trace_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/trace"
)

// files are the files of a snapshot.
type files map[string][]byte

// unpack reads a world of testdata into memory.
func unpack(t testing.TB, archive string) files {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	out := files{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if out[strings.TrimPrefix(h.Name, "./")], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// pack writes a world as an archive, the same bytes every time.
func pack(t testing.TB, world files) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, name := range sorted(world) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(world[name])), ModTime: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(world[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmp.Or(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// change is one thing done to a world. It fails the test where it changes
// nothing.
type change func(t testing.TB, world files)

// text replaces old by new in the files of that name, in each at least once.
func text(glob, old, new string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		hit := false
		for name, data := range world {
			if ok, _ := path.Match(glob, name); ok && bytes.Contains(data, []byte(old)) {
				world[name] = bytes.ReplaceAll(data, []byte(old), []byte(new))
				hit = true
			}
		}
		if !hit {
			t.Fatalf("no file %s holds %q", glob, old)
		}
	}
}

// add puts a file into the world, or lines at its end.
func add(name, content string) change {
	return func(_ testing.TB, world files) { world[name] = append(slices.Clone(world[name]), content...) }
}

// remove takes files out of the world.
func remove(glob string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		hit := false
		for name := range world {
			if ok, _ := path.Match(glob, name); ok {
				delete(world, name)
				hit = true
			}
		}
		if !hit {
			t.Fatalf("there is no file %s", glob)
		}
	}
}

// item changes one object of a list.
func item(resource, name string, edit func(object map[string]any)) change {
	return func(t testing.TB, world files) {
		t.Helper()
		file := "cluster/" + resource + ".json"
		var list map[string]any
		if err := json.Unmarshal(world[file], &list); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		hit := false
		for _, it := range list["items"].([]any) {
			o := it.(map[string]any)
			if o["metadata"].(map[string]any)["name"] == name {
				edit(o)
				hit = true
			}
		}
		if !hit {
			t.Fatalf("%s has no %s", file, name)
		}
		world[file] = encode(t, list)
	}
}

// another adds a copy of an object of a list, changed.
func another(resource, name string, edit func(object map[string]any)) change {
	return func(t testing.TB, world files) {
		t.Helper()
		file := "cluster/" + resource + ".json"
		var list map[string]any
		if err := json.Unmarshal(world[file], &list); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, it := range list["items"].([]any) {
			if it.(map[string]any)["metadata"].(map[string]any)["name"] == name {
				var o map[string]any
				if err := json.Unmarshal(encode(t, it), &o); err != nil {
					t.Fatal(err)
				}
				edit(o)
				list["items"] = append(list["items"].([]any), o)
				world[file] = encode(t, list)
				return
			}
		}
		t.Fatalf("%s has no %s", file, name)
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// in walks into nested objects.
func in(o map[string]any, keys ...string) map[string]any {
	for _, k := range keys {
		next, ok := o[k].(map[string]any)
		if !ok {
			next = map[string]any{}
			o[k] = next
		}
		o = next
	}
	return o
}

func all(changes ...change) change {
	return func(t testing.TB, world files) {
		t.Helper()
		for _, c := range changes {
			c(t, world)
		}
	}
}

// traceFiles traces a world held in memory.
func traceFiles(t testing.TB, world files, target trace.Target) *trace.Report {
	t.Helper()
	src, err := snapshot.Read("world.tar.gz", pack(t, world))
	if err != nil {
		t.Fatal(err)
	}
	r, err := (&trace.Tracer{Source: src, Version: "test"}).Trace(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const (
	ingressHTTP = "../testdata/worlds/seed/ingress-http.tar.gz"
	ingressLB   = "../testdata/worlds/seed/ingress-lb.tar.gz"
	bookinfo    = "../testdata/worlds/seed/bookinfo.tar.gz"
	egress      = "../testdata/worlds/seed/egress-gateway.tar.gz"
	egressOnly  = "../testdata/worlds/seed/egress-registry-only.tar.gz"

	lbGateway = "proxies/istio-system/istio-ingressgateway-7d4f9c6b8c-zq5rt/"
)

// noLocal makes a node of ingress-lb drop what comes from outside for the
// gateway, as kube-proxy writes it for externalTrafficPolicy Local.
func noLocal(node string) change {
	rules := "nodes/" + node + "/iptables-save.txt"
	return all(
		item("services", "istio-ingressgateway", func(o map[string]any) {
			in(o, "spec")["externalTrafficPolicy"] = "Local"
			in(o, "spec")["healthCheckNodePort"] = 30123
		}),
		text(rules, ":KUBE-EXTERNAL-SERVICES - [0:0]\n", ":KUBE-EXTERNAL-SERVICES - [0:0]\n"),
		text(rules, "[0:0] -A KUBE-FIREWALL ! -s 127.0.0.0/8",
			"[1:60] -A KUBE-EXTERNAL-SERVICES -d 203.0.113.10/32 -p tcp -m comment --comment \"istio-system/istio-ingressgateway:http2 has no local endpoints\" -m tcp --dport 80 -j DROP\n"+
				"[1:60] -A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment \"istio-system/istio-ingressgateway:http2 has no local endpoints\" -m addrtype --dst-type LOCAL -m tcp --dport 31080 -j DROP\n"+
				"[0:0] -A KUBE-FIREWALL ! -s 127.0.0.0/8"),
		cut(rules, "-A KUBE-EXT-G6D3V5KS3PXPUEDS"),
	)
}

// cut takes the lines that hold the text out of a file.
func cut(name, text string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		var kept []string
		n := 0
		for line := range strings.Lines(string(world[name])) {
			if strings.Contains(line, text) {
				n++
				continue
			}
			kept = append(kept, line)
		}
		if n == 0 {
			t.Fatalf("%s has no line with %q", name, text)
		}
		world[name] = []byte(strings.Join(kept, ""))
	}
}

// made are the worlds of the faults for which no real program wrote one: the
// nearest seed world with exactly what the fault changes.
var made = []struct {
	name   string
	notes  string
	seed   string
	change change
	expect string // expect.json
}{
	{
		"HT1004-source-ranges", "loadBalancerSourceRanges leave the client out", ingressLB,
		all(
			item("services", "istio-ingressgateway", func(o map[string]any) {
				in(o, "spec")["loadBalancerSourceRanges"] = []any{"198.51.100.0/24"}
			}),
			text("nodes/*/iptables-save.txt", ":KUBE-EXT-G6D3V5KS3PXPUEDS - [0:0]\n", ":KUBE-EXT-G6D3V5KS3PXPUEDS - [0:0]\n:KUBE-FW-G6D3V5KS3PXPUEDS - [0:0]\n"),
			text("nodes/*/iptables-save.txt", "istio-system/istio-ingressgateway:http2 loadbalancer IP\" -m tcp --dport 80 -j KUBE-EXT-G6D3V5KS3PXPUEDS", "istio-system/istio-ingressgateway:http2 loadbalancer IP\" -m tcp --dport 80 -j KUBE-FW-G6D3V5KS3PXPUEDS"),
			text("nodes/*/iptables-save.txt", "[1:60] -A KUBE-EXT-G6D3V5KS3PXPUEDS -j", "[1:60] -A KUBE-EXT-G6D3V5KS3PXPUEDS -j"),
			atEnd("nodes/*/iptables-save.txt", "nat",
				"[0:0] -A KUBE-FW-G6D3V5KS3PXPUEDS -s 198.51.100.0/24 -m comment --comment \"istio-system/istio-ingressgateway:http2 loadbalancer IP\" -j KUBE-EXT-G6D3V5KS3PXPUEDS\n"+
					"[1:60] -A KUBE-FW-G6D3V5KS3PXPUEDS -m comment --comment \"other traffic to istio-system/istio-ingressgateway:http2 will be dropped by KUBE-PROXY-FIREWALL\"\n"),
			atEnd("nodes/*/iptables-save.txt", "filter",
				"[1:60] -A KUBE-PROXY-FIREWALL -d 203.0.113.10/32 -p tcp -m comment --comment \"istio-system/istio-ingressgateway:http2 traffic not accepted by KUBE-FW-G6D3V5KS3PXPUEDS\" -m tcp --dport 80 -j DROP\n"),
		),
		`{"cases":[
 {"name":"outside-the-range","target":"http://exam.com/getList","source":"192.0.2.7","expect":{"verdict":"unreachable","code":"HT1004","guilty_hop_kind":"node","facts":{"loadbalancer_service":"istio-system/istio-ingressgateway:http2","evidence":[["nodes/*/iptables-save.txt","traffic not accepted by KUBE-FW-G6D3V5KS3PXPUEDS"],["cluster/services.json","loadBalancerSourceRanges"]]}}},
 {"name":"inside-the-range","target":"http://exam.com/getList","source":"198.51.100.9","expect":{"verdict":"reachable","code":"","facts":{"dnat":["10.244.1.9:8080"],"masquerade":true}}}]}`,
	},
	{
		"HT2001-no-local-endpoint", "externalTrafficPolicy Local, a node without an endpoint asked directly", ingressLB, noLocal("k8s-worker-2"),
		`{"cases":[
 {"name":"the-node-without","target":"http://10.0.1.22:31080/getList","headers":{"Host":"exam.com"},"expect":{"verdict":"unreachable","code":"HT2001","guilty_hop_kind":"node","facts":{"nodeport_service":"istio-system/istio-ingressgateway:http2","evidence":[["nodes/k8s-worker-2/iptables-save.txt","has no local endpoints"]]}}},
 {"name":"through-the-load-balancer","target":"http://exam.com/getList","expect":{"verdict":"reachable","code":"","facts":{"dnat":["10.244.1.9:8080"]}}}]}`,
	},
	{
		"HT2004-conntrack-full", "the connection table of a node was full", ingressLB,
		add("nodes/k8s-worker-1/conntrack-stats.txt", "cpu=0   \tfound=11 invalid=2 insert=0 insert_failed=7 drop=1482 early_drop=311 error=0 search_restart=0 clash_resolve=0 chaintoolong=0 \ncpu=1   \tfound=9 invalid=0 insert=0 insert_failed=3 drop=1371 early_drop=298 error=0 search_restart=0 clash_resolve=0 chaintoolong=0 \n"),
		`{"cases":[{"name":"by-name","target":"http://exam.com/getList","expect":{"verdict":"degraded","code":"HT2004","guilty_hop_kind":"node","facts":{"evidence":[["nodes/k8s-worker-1/conntrack-stats.txt","drop=1482"]]}}}]}`,
	},
	{
		"HT2005-own-lb-address", "a Pod asks for the load balancer's address under externalTrafficPolicy Local", ingressLB, noLocal("k8s-worker-2"),
		`{"cases":[
 {"name":"from-a-pod","target":"http://203.0.113.10/getList","headers":{"Host":"exam.com"},"from":"pod:default/my-backend-6c5d7f8b9d-t9p2m","expect":{"verdict":"unreachable","code":"HT2005","guilty_hop_kind":"node","facts":{"evidence":[["nodes/k8s-worker-2/iptables-save.txt","has no local endpoints"]]}}},
 {"name":"by-the-cluster-ip","target":"http://10.97.12.34/getList","headers":{"Host":"exam.com"},"from":"pod:default/my-backend-6c5d7f8b9d-t9p2m","expect":{"verdict":"reachable","code":"","facts":{"dnat":["10.244.1.9:8080"]}}}]}`,
	},
	{
		"HT3003-wrong-sni", "the client's SNI is none of the Gateway's", bookinfo, nothing,
		`{"cases":[{"name":"other-sni","target":"https://bookinfo.example.com/productpage","sni":"shop.example.com","expect":{"verdict":"unreachable","code":"HT3003","guilty_hop_kind":"filter_chain","facts":{"listener":"0.0.0.0_8443"}}}]}`,
	},
	{
		"HT3007-proxy-protocol", "the load balancer speaks the PROXY protocol, the gateway does not expect it", ingressLB,
		item("services", "istio-ingressgateway", func(o map[string]any) {
			in(o, "metadata", "annotations")["service.beta.kubernetes.io/aws-load-balancer-proxy-protocol"] = "*"
		}),
		`{"cases":[{"name":"by-name","target":"http://exam.com/getList","expect":{"verdict":"unreachable","code":"HT3007","guilty_hop_kind":"listener","facts":{"evidence":[["cluster/services.json","aws-load-balancer-proxy-protocol"]]}}}]}`,
	},
	{
		"HT4003-shadowed-route", "an older VirtualService's prefix takes what a younger one wants", ingressLB,
		all(
			another("virtualservices.networking.istio.io", "example-virtualservice", func(o map[string]any) {
				in(o, "metadata")["name"], in(o, "metadata")["creationTimestamp"] = "list-v2", "2026-11-20T19:00:00Z"
				match := in(o, "spec")["http"].([]any)[0].(map[string]any)["match"].([]any)[0].(map[string]any)
				in(match, "uri")["prefix"] = "/getList/v2"
			}),
			secondRoute,
		),
		`{"cases":[{"name":"v2","target":"http://exam.com/getList/v2","expect":{"verdict":"reachable","code":"HT4003","guilty_hop_kind":"route","facts":{"route":"prefix /getList"}}},
 {"name":"v1","target":"http://exam.com/getList","expect":{"verdict":"reachable","code":"","facts":{"route":"prefix /getList"}}}]}`,
	},
	{
		"HT4006-coalesced", "a connection opened for one host carries a request for another", bookinfo, nothing,
		`{"cases":[{"name":"other-host","target":"https://bookinfo.example.com/productpage","sni":"bookinfo.example.com","headers":{"Host":"shop.example.com"},"expect":{"verdict":"unreachable","code":"HT4006","guilty_hop_kind":"route","facts":{"listener":"0.0.0.0_8443"}}}]}`,
	},
	{
		"HT5006-timeout", "the application takes longer than the route allows", ingressLB,
		all(
			text(lbGateway+"config_dump.json", "\"cluster\": \"outbound|8080||my-backend-service.default.svc.cluster.local\",\n           \"timeout\": \"0s\"", "\"cluster\": \"outbound|8080||my-backend-service.default.svc.cluster.local\",\n           \"timeout\": \"1s\""),
			add(lbGateway+"access.log", "[2026-11-20T17:45:03.000Z] \"GET /getList HTTP/1.1\" 504 UT response_timeout - \"-\" 0 24 1000 - \"10.244.1.1\" \"curl/8.5.0\" \"0b6c7f0e-91b8-4b5e-8f0c-3c6d9f0a7a11\" \"exam.com\" \"10.244.2.32:8080\" outbound|8080||my-backend-service.default.svc.cluster.local 10.244.1.9:44390 10.244.1.9:8080 10.244.1.1:36999 - -\n"),
		),
		`{"cases":[{"name":"by-name","target":"http://exam.com/getList","expect":{"verdict":"degraded","code":"HT5006","guilty_hop_kind":"cluster","facts":{"log_line_contains":"504 UT response_timeout"}}}]}`,
	},
	{
		"HT7002-passthrough", "ALLOW_ANY lets an undeclared destination pass", egressOnly,
		text("proxies/default/*/config_dump.json", "\"cluster\": \"BlackHoleCluster\"", "\"cluster\": \"PassthroughCluster\""),
		`{"cases":[{"name":"direct","target":"192.168.0.78:1234","from":"pod:default/sleep-7c7db887d8-9dnd7","expect":{"verdict":"reachable","code":"HT7002","guilty_hop_kind":"cluster","facts":{"cluster":"PassthroughCluster","endpoints":["192.168.0.78:1234"]}}}]}`,
	},
	{
		"HT9001-other-cluster", "the log shows another cluster than the configuration predicts", ingressHTTP,
		text("proxies/istio-system/*/access.log", "\"10.10.1.13:80\" outbound|80||simple.simple.svc.cluster.local", "\"10.10.1.14:80\" outbound|80||nginx.simple.svc.cluster.local"),
		`{"cases":[{"name":"nodeport","target":"http://192.168.170.137:31373/simple/httpserver","headers":{"Host":"simple.baihl.io"},"expect":{"verdict":"reachable","code":"HT9001","guilty_hop_kind":"cluster","facts":{"cluster":"outbound|80||simple.simple.svc.cluster.local","log_line_contains":"outbound|80||nginx.simple.svc.cluster.local"}}}]}`,
	},
}

func nothing(testing.TB, files) {}

// atEnd adds lines at the end of a table of saved rules.
func atEnd(glob, table, lines string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		hit := false
		for name, data := range world {
			if ok, _ := path.Match(glob, name); !ok {
				continue
			}
			start := bytes.Index(data, []byte("*"+table+"\n"))
			if start < 0 {
				continue
			}
			end := start + bytes.Index(data[start:], []byte("COMMIT\n"))
			world[name] = slices.Concat(data[:end], []byte(lines), data[end:])
			hit = true
		}
		if !hit {
			t.Fatalf("no file %s has a table %s", glob, table)
		}
	}
}

// secondRoute adds to the gateway's table the route of the younger
// VirtualService, where Istio puts it: after the older one's.
func secondRoute(t testing.TB, world files) {
	t.Helper()
	name := lbGateway + "config_dump.json"
	const end = "         }\n        ],\n        \"include_request_attempt_count\": true"
	data := string(world[name])
	from := strings.Index(data, "         {\n          \"match\": {\n           \"prefix\": \"/getList\"")
	to := strings.Index(data, end)
	if from < 0 || to < from {
		t.Fatal("the gateway's table has no route for /getList")
	}
	route := strings.NewReplacer(`"prefix": "/getList"`, `"prefix": "/getList/v2"`, "virtual-service/example-virtualservice", "virtual-service/list-v2").Replace(data[from : to+len("         }")])
	world[name] = []byte(data[:to] + "         },\n" + route + data[to+len("         }"):])
}

// TestMadeWorldsAreInStep keeps the archives of the made worlds what their seeds
// and changes make; -update writes them.
func TestMadeWorldsAreInStep(t *testing.T) {
	for _, m := range made {
		t.Run(m.name, func(t *testing.T) {
			world := unpack(t, m.seed)
			m.change(t, world)
			var doc map[string]any
			if err := json.Unmarshal(world["snapshot.json"], &doc); err != nil {
				t.Fatal(err)
			}
			doc["notes"] = m.notes
			world["snapshot.json"] = encode(t, doc)
			base := filepath.Join("../testdata/worlds/faults", m.name)
			if *update {
				if err := errors.Join(os.WriteFile(base+".tar.gz", pack(t, world), 0o644), os.WriteFile(base+".expect.json", []byte(m.expect+"\n"), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			committed := unpack(t, base+".tar.gz")
			for _, name := range sorted(world) {
				if !bytes.Equal(committed[name], world[name]) {
					t.Errorf("%s in %s.tar.gz is not what the seed and the change make; run with -update", name, m.name)
				}
			}
			if expect, err := os.ReadFile(base + ".expect.json"); err != nil || string(expect) != m.expect+"\n" {
				t.Errorf("%s.expect.json is not in step (%v); run with -update", m.name, err)
			}
		})
	}
}
