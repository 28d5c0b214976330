package trace_test

import (
	"bytes"
	"encoding/json"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// mend is how the fault of a world is undone: a change of its files, or, where
// the request was what was wrong, the request that is right.
type mend struct {
	change change
	ask    map[string]asked // by the name of the case
}

const (
	httpsWorld   = "HT3006-scheme-mismatch" // exam.com served with TLS, as it should be
	httpDump     = "proxies/istio-system/istio-ingressgateway-576c469c96-spndl/*"
	httpSockets  = "pods/istio-system/*/ss.txt"
	rulesOfNodes = "nodes/*/iptables-save.txt"
	proxyFiles   = "proxies/*/*/*"
	sliceFile    = "cluster/endpointslices.discovery.k8s.io.json"
	gatewayFile  = "cluster/gateways.networking.istio.io.json"
	virtualFile  = "cluster/virtualservices.networking.istio.io.json"
	serviceFile  = "cluster/services.json"
)

// took puts the files of another world in the place of those of that name:
// what a proxy, a node or the API server says once the fault is gone. Files that
// the other world does not have are taken out.
func took(archive string, globs ...string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		other := unpack(t, archive)
		for _, glob := range globs {
			changed := false
			for _, name := range sorted(world) {
				if ok, _ := path.Match(glob, name); ok && other[name] == nil {
					delete(world, name)
					changed = true
				}
			}
			for name, data := range other {
				if ok, _ := path.Match(glob, name); ok && !bytes.Equal(world[name], data) {
					world[name] = data
					changed = true
				}
			}
			if !changed {
				t.Fatalf("%s has nothing else under %s", archive, glob)
			}
		}
	}
}

// copied puts one file of the world in the place of another.
func copied(from, to string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		if world[from] == nil || bytes.Equal(world[from], world[to]) {
			t.Fatalf("%s changes nothing in %s", from, to)
		}
		world[to] = world[from]
	}
}

// mends undoes the fault of every world of testdata/worlds/faults.
var mends = map[string]mend{
	"HT0001-no-gateway-dump": {change: took(ingressLB, proxyFiles)},
	"HT0002-unknown-match":   {change: cut("nodes/baihl-master/iptables-save.txt", "--name portscan")},
	"HT1001-no-address":      {change: took(ingressLB, "dns.json")},
	"HT1002-port-not-exposed": {ask: map[string]asked{
		"lb-port-8080":     {url: "http://exam.com/getList"},
		"no-such-nodeport": {url: "http://10.0.1.21:31080/getList", headers: []string{"Host: exam.com"}},
	}},
	"HT1003-egress-port-missing": {change: took(egress, serviceFile, sliceFile, rulesOfNodes, proxyFiles)},
	"HT1003-nodeport-typed-in":   {change: took(ingressHTTP, gatewayFile, httpSockets, httpDump)},
	"HT1004-source-ranges":       {change: took(ingressLB, serviceFile, rulesOfNodes)},
	"HT1005-health-check-port":   {change: annotate("service.beta.kubernetes.io/aws-load-balancer-healthcheck-port", "31080")},
	"HT1006-lb-pending":          {change: took(ingressLB, serviceFile, "dns.json", rulesOfNodes)},
	"HT1007-gateway-not-ready":   {change: took(ingressHTTP, "cluster/pods.json", sliceFile, rulesOfNodes, httpDump)},
	"HT1008-named-targetport":    {change: took(ingressLB, serviceFile, sliceFile, rulesOfNodes, httpSockets, proxyFiles)},
	"HT2001-no-local-endpoint":   {change: took(ingressLB, serviceFile, rulesOfNodes)},
	"HT2002-stale-conntrack":     {change: cut("nodes/baihl-master/conntrack.txt", "10.10.1.99")},
	"HT2003-both-backends":       {change: all(remove("nodes/*/iptables-legacy-save.txt"), cut("nodes/baihl-master/conntrack.txt", "10.10.1.99"))},
	"HT2004-conntrack-full": {change: all(
		text("nodes/k8s-worker-1/conntrack-stats.txt", "drop=1482 early_drop=311", "drop=0 early_drop=0"),
		text("nodes/k8s-worker-1/conntrack-stats.txt", "drop=1371 early_drop=298", "drop=0 early_drop=0"),
	)},
	"HT2005-own-lb-address":         {change: took(ingressLB, serviceFile, rulesOfNodes)},
	"HT2006-stale-kube-proxy":       {change: copied("nodes/k8s-worker-1/iptables-save.txt", "nodes/k8s-worker-2/iptables-save.txt")},
	"HT2007-host-firewall":          {change: all(cut("nodes/k8s-worker-1/iptables-save.txt", "-A FORWARD -j CORP-BASELINE"), cut("nodes/k8s-worker-2/iptables-save.txt", "-A FORWARD -j CORP-BASELINE"))},
	"HT3001-gateway-selector":       {change: took(ingressHTTP, gatewayFile, httpSockets, httpDump)},
	"HT3002-privileged-port":        {change: took(ingressLB, serviceFile, sliceFile, rulesOfNodes, httpSockets, proxyFiles)},
	"HT3003-wrong-sni":              {ask: map[string]asked{"other-sni": {url: "https://bookinfo.example.com/productpage", sni: "bookinfo.example.com"}}},
	"HT3004-duplicate-host":         {change: took(faultWorld(httpsWorld), gatewayFile, proxyFiles)},
	"HT3005-certificate-expired":    {change: took(faultWorld(httpsWorld), proxyFiles)},
	"HT3005-secret-wrong-namespace": {change: took(faultWorld(httpsWorld), "cluster/secrets.json", proxyFiles)},
	"HT3006-scheme-mismatch": {ask: map[string]asked{
		"plaintext-to-443": {url: "https://exam.com/getList", sni: "exam.com"},
		"tls-to-80":        {url: "http://exam.com/getList"},
	}},
	"HT3007-proxy-protocol":    {change: took(ingressLB, serviceFile)},
	"HT3008-listener-rejected": {change: took(faultWorld(httpsWorld), proxyFiles)},
	"HT3009-udp":               {ask: map[string]asked{"udp": {url: "http://exam.com/getList"}}},
	"HT4001-host-unknown":      {change: took(ingressHTTP, gatewayFile, virtualFile, httpDump)},
	"HT4002-header-missing":    {change: took(ingressLB, virtualFile, proxyFiles)},
	"HT4003-shadowed-route":    {change: took(ingressLB, virtualFile, proxyFiles)},
	"HT4004-host-with-port":    {change: took(ingressHTTP, httpDump)},
	"HT4005-redirect-loop": {change: all(
		item("gateways.networking.istio.io", "my-gateway", func(o map[string]any) {
			for _, s := range in(o, "spec")["servers"].([]any) {
				delete(s.(map[string]any), "tls")
			}
		}),
		text(lbGateway+"config_dump.json", `"require_tls": "ALL"`, `"require_tls": "NONE"`),
		took(ingressLB, lbGateway+"access.log"),
	)},
	"HT4006-coalesced":              {ask: map[string]asked{"other-host": {url: "https://bookinfo.example.com/productpage"}}},
	"HT4007-article-typo":           {change: took(ingressLB, gatewayFile, proxyFiles)},
	"HT4008-wrong-name":             {change: took(ingressLB, virtualFile, proxyFiles)},
	"HT4009-direct-response":        {change: took(ingressHTTP, virtualFile, httpDump)},
	"HT5001-host-typo":              {change: took(ingressHTTP, virtualFile, httpDump)},
	"HT5001-wrong-port":             {change: took(ingressLB, virtualFile, proxyFiles)},
	"HT5002-selector":               {change: took(ingressHTTP, serviceFile, sliceFile, rulesOfNodes, httpDump)},
	"HT5003-all-ejected":            {change: took(ingressLB, lbGateway+"clusters.json", lbGateway+"access.log")},
	"HT5004-stale-endpoints":        {change: all(took(ingressLB, lbGateway+"access.log"), text(lbGateway+"*", "10.244.1.31", "10.244.1.58"), text(lbGateway+"*", "10.244.2.32", "10.244.2.61"))},
	"HT5005-overflow":               {change: took(ingressLB, "cluster/destinationrules.networking.istio.io.json", proxyFiles)},
	"HT5006-timeout":                {change: took(ingressLB, proxyFiles)},
	"HT5007-idle-keepalive":         {change: cut(lbGateway+"access.log", "connection_termination")},
	"HT6001-mutual-without-sidecar": {change: took(ingressHTTP, "cluster/destinationrules.networking.istio.io.json", httpDump)},
	"HT6002-allow-nothing": {change: all(
		took(faultWorld("HT6002-wrong-principal"), "cluster/authorizationpolicies.security.istio.io.json", proxyFiles),
		rightPrincipal,
	)},
	"HT6002-wrong-principal":  {change: rightPrincipal},
	"HT6003-default-deny":     {change: took(ingressHTTP, "cluster/networkpolicies.networking.k8s.io.json", httpDump)},
	"HT6004-http-named-mysql": {change: namedTCP},
	"HT6005-export-to":        {change: took(ingressHTTP, serviceFile, httpDump)},
	"HT6006-jwt":              {change: took(ingressLB, "cluster/authorizationpolicies.security.istio.io.json", "cluster/requestauthentications.security.istio.io.json", proxyFiles)},
	"HT7001-http-block-all": {change: all(
		took(faultWorld("HT7005-not-originated"), "cluster/serviceentries.networking.istio.io.json", "proxies/default/*/*"),
		originateTLS,
	)},
	"HT7002-passthrough":         {change: took("../testdata/worlds/seed/egress-direct.tar.gz", "cluster/serviceentries.networking.istio.io.json", proxyFiles)},
	"HT7003-export-to":           {change: took(egress, virtualFile, proxyFiles)},
	"HT7003-wrong-subnet":        {change: took(egress, virtualFile, proxyFiles)},
	"HT7004-http-with-addresses": {change: took("../testdata/worlds/seed/egress-direct.tar.gz", "cluster/serviceentries.networking.istio.io.json", "proxies/default/*/*")},
	"HT7005-not-originated":      {change: originateTLS},
	"HT8001-app-on-localhost":    {change: all(text("pods/simple/*/ss.txt", "127.0.0.1:80 ", "0.0.0.0:80 "), took(ingressHTTP, "proxies/istio-system/*/access.log"))},
	"HT8002-crashloop":           {change: took(ingressHTTP, "cluster/pods.json", sliceFile, rulesOfNodes, "pods/simple/*/ss.txt", httpDump)},
	"HT8003-http10":              {ask: map[string]asked{"http10": {url: "http://exam.com/getList", version: "1.1"}}},
	"HT9001-other-cluster":       {change: took(ingressHTTP, "proxies/istio-system/*/access.log")},
	"HT9002-format-hides-fields": {change: took(ingressHTTP, httpDump)},
}

// rightPrincipal gives the policy of the HT6002 worlds the gateway's own
// identity; the second node's rules, which the world does not have, are the
// first's, as kube-proxy writes the same on each.
func rightPrincipal(t testing.TB, world files) {
	t.Helper()
	const was, is = `/sa/istio-ingressgateway"`, `/sa/istio-ingressgateway-service-account"`
	all(
		text("cluster/authorizationpolicies.security.istio.io.json", was, is),
		text("proxies/bookinfo/*/config_dump.json", was, is),
		remove("proxies/*/*/access.log"),
		copied("nodes/n1/iptables-save.txt", "nodes/n2/iptables-save.txt"),
		copied("nodes/n1/ip-addr.json", "nodes/n2/ip-addr.json"),
	)(t, world)
}

// originateTLS is a DestinationRule with tls.mode SIMPLE for api.partner.example
// and what Istio makes of it.
func originateTLS(t testing.TB, world files) {
	t.Helper()
	world["cluster/destinationrules.networking.istio.io.json"] = encode(t, map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": map[string]any{"name": "partner", "namespace": "default"},
		"spec": map[string]any{"host": "api.partner.example", "trafficPolicy": map[string]any{"tls": map[string]any{"mode": "SIMPLE"}}},
	}}})
	text("proxies/default/*/config_dump.json", `"name": "outbound|80||api.partner.example",`, `"name": "outbound|80||api.partner.example",
     "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "api.partner.example"}},`)(t, world)
}

// namedTCP names the MySQL port tcp-mysql and gives the sidecar the listener that
// Istio makes of it: the Service's own address, a TCP proxy and no inspector.
func namedTCP(t testing.TB, world files) {
	t.Helper()
	item("services", "mysql-service", func(o map[string]any) {
		in(o, "spec")["ports"].([]any)[0].(map[string]any)["name"] = "tcp-mysql"
	})(t, world)
	hit := false
	editDump(t, world, "proxies/default/sleep-7c7db887d8-9dnd7/config_dump.json", func(o map[string]any) {
		if o["name"] != "0.0.0.0_3306" || o["default_filter_chain"] == nil {
			return
		}
		hit = true
		chain := o["default_filter_chain"].(map[string]any)
		delete(chain, "name")
		for _, f := range chain["filters"].([]any) {
			if f := f.(map[string]any); f["name"] == "envoy.filters.network.tcp_proxy" {
				in(f, "typed_config")["cluster"] = "outbound|3306||mysql-service.default.svc.cluster.local"
			}
		}
		in(o, "address", "socket_address")["address"] = "10.96.77.9"
		o["filter_chains"] = []any{chain}
		delete(o, "default_filter_chain")
		delete(o, "listener_filters")
	})
	if !hit {
		t.Fatal("the sidecar has no listener for 3306")
	}
	text("cluster/endpointslices.discovery.k8s.io.json", `"http-mysql"`, `"tcp-mysql"`)(t, world)
	text("nodes/*/iptables-save.txt", "mysql-service:http-mysql", "mysql-service:tcp-mysql")(t, world)
}

// editDump calls edit for every object of a JSON file.
func editDump(t testing.TB, world files, name string, edit func(map[string]any)) {
	t.Helper()
	var doc any
	if err := json.Unmarshal(world[name], &doc); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			edit(v)
			for _, k := range sorted(v) {
				walk(v[k])
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(doc)
	world[name] = encode(t, doc)
}

// TestWithItsFaultUndoneAWorldHasNoFault: what is said of a world goes away with
// its fault, and nothing else is said instead.
func TestWithItsFaultUndoneAWorldHasNoFault(t *testing.T) {
	all := worlds(t, "faults")
	for _, archive := range sorted(all) {
		world := strings.TrimSuffix(filepath.Base(archive), ".tar.gz")
		m, ok := mends[world]
		if !ok {
			t.Errorf("nothing undoes the fault of %s", world)
			continue
		}
		for _, c := range all[archive] {
			if c.Expect.Code == "" {
				continue // nothing is wrong there; TestHealthyCasesHaveNoFaultOfSeverityError
			}
			t.Run(world+"/"+c.Name, func(t *testing.T) {
				t.Parallel()
				target, files := c.target(t), unpack(t, archive)
				if before := traceFiles(t, files, target); len(before.Findings) == 0 || before.Findings[0].Code != c.Expect.Code {
					t.Fatalf("the fault is not there to be undone\n%s", outline(before))
				}
				switch ask, other := m.ask[c.Name]; {
				case m.ask == nil:
					m.change(t, files)
				case !other:
					t.Fatal("no request is the right one")
				default:
					target = ask.target(t)
				}
				r := traceFiles(t, files, target)
				if r.Verdict != trace.Reachable {
					t.Errorf("undone, the verdict is %s\n%s", r.Verdict, outline(r))
				}
				for _, f := range r.Findings {
					t.Errorf("undone, %s %s is said: %s", f.Severity, f.Code, f.Detail)
				}
			})
		}
	}
	for world := range mends {
		if _, ok := all["../testdata/worlds/faults/"+world+".tar.gz"]; !ok {
			t.Errorf("%s is no world", world)
		}
	}
	if len(all) < 63 {
		t.Errorf("only %d worlds", len(all))
	}
}
