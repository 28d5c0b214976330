package k8s

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

func TestHostsMatchAsIstioMatchesThem(t *testing.T) {
	for _, c := range []struct {
		pattern, host string
		match, common bool
	}{
		{"a.b", "a.b", true, true},
		{"A.b.", "a.B", true, true},
		{"*", "a.b", true, true},
		{"*.b", "a.b", true, true},
		{"*.b", "b", false, false},
		{"*.b", "x.a.b", true, true},
		{"*.b", ".b", false, false},
		{"a.b", "*.b", false, true},
		{"*.b", "*.a.b", true, true},
		{"*.a.b", "*.b", false, true},
		{"*.a", "*.b", false, false},
		{"a.b", "a.c", false, false},
	} {
		if got := HostMatches(c.pattern, c.host); got != c.match {
			t.Errorf("%s takes %s: %v", c.pattern, c.host, got)
		}
		if got := HostsOverlap(c.pattern, c.host); got != c.common {
			t.Errorf("%s and %s overlap: %v", c.pattern, c.host, got)
		}
		if HostsOverlap(c.pattern, c.host) != HostsOverlap(c.host, c.pattern) {
			t.Errorf("%s and %s overlap one way only", c.pattern, c.host)
		}
	}
	for in, want := range map[[2]string]string{
		{"reviews", "bookinfo"}: "reviews.bookinfo.svc.cluster.local", {"reviews.prod", "x"}: "reviews.prod", {"*", "x"}: "*", {"10.0.0.1", "x"}: "10.0.0.1", {"::1", "x"}: "::1", {"a", ""}: "a",
	} {
		if got := ResolveHost(in[0], in[1]); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{"a": "a/ns", "a.b": "a/b", "a.b.svc": "a/b", "a.b.svc.cluster.local.": "a/b", "a.b.c": "", "*.b": "", "a..b": "", "": ""} {
		name, ns, ok := SplitServiceHost(in, "ns")
		if got := name + "/" + ns; ok != (want != "") || ok && got != want {
			t.Errorf("%s: %s %v, want %s", in, got, ok, want)
		}
	}
	for _, c := range []struct {
		to       []string
		ns, from string
		want     bool
	}{{nil, "a", "b", true}, {[]string{"*"}, "a", "b", true}, {[]string{"."}, "a", "b", false}, {[]string{"."}, "a", "a", true}, {[]string{"~"}, "a", "a", false}, {[]string{"x", "b"}, "a", "b", true}} {
		if got := Visible(c.to, c.ns, c.from); got != c.want {
			t.Errorf("%v of %s seen from %s: %v", c.to, c.ns, c.from, got)
		}
	}
}

func TestTheNearestNameIsWhatWasMeant(t *testing.T) {
	have := []string{"reviews.bookinfo.svc.cluster.local", "ratings.bookinfo.svc.cluster.local", "simple", "bookinfo-gateway", "a"}
	for want, near := range map[string]string{
		"reviws.bookinfo.svc.cluster.local":  "reviews.bookinfo.svc.cluster.local",
		"reviews.bookinfo.svc.cluster.loacl": "reviews.bookinfo.svc.cluster.local",
		"reviews.default.svc.cluster.local":  "reviews.bookinfo.svc.cluster.local",
		"smiple":                             "simple",
		"SIMPLE-":                            "simple",
		"bookinfo-gatway":                    "bookinfo-gateway",
		"simple":                             "", // itself is no suggestion
		"zzz":                                "",
		"":                                   "",
	} {
		if got := Nearest(want, have); got != near {
			t.Errorf("%s: %q, want %q", want, got, near)
		}
	}
}

const istioObjects = `
apiVersion: v1
kind: List
items:
- {apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: gw, namespace: web}, spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [./own.example.com, shop/*.shop.example.com, '*/any.example.com', free.example.com]}, {port: {number: 443, name: tls, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}}]}}
- {apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: k8s-gw, namespace: web}, spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}}
- {apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: web}, spec: {hostnames: [a.example.com], parentRefs: [{name: k8s-gw}], rules: [{backendRefs: [{name: s, port: 80, weight: 3}]}]}}
- {apiVersion: gateway.networking.k8s.io/v1alpha2, kind: TCPRoute, metadata: {name: t, namespace: web}, spec: {parentRefs: [{name: k8s-gw}], rules: [{backendRefs: [{name: db, port: 3306}]}]}}
- {apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: new, namespace: shop, creationTimestamp: '2026-02-01T00:00:00Z'}, spec: {hosts: [cart.shop.example.com], gateways: [web/gw, mesh]}}
- {apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: old, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}, spec: {hosts: ['*.shop.example.com'], gateways: [gw.web.svc.cluster.local], http: [{timeout: 3m, route: [{destination: {host: cart}}]}]}}
- {apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: meshed, namespace: shop}, spec: {hosts: [cart]}}
- {apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: service, namespace: shop}, spec: {host: cart, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 9}, connectionPool: {tcp: {maxConnections: 1}}}]}, subsets: [{name: v1, trafficPolicy: {tls: {mode: SIMPLE}}}, {name: v2, labels: {version: v2}}, {name: v3, trafficPolicy: {portLevelSettings: [{port: {number: 80}}]}}]}}
- {apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: client, namespace: front}, spec: {host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}}
- {apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: hidden, namespace: secret}, spec: {host: pay.secret.svc.cluster.local, exportTo: ['.']}}
- {apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: all, namespace: istio-system}, spec: {host: '*.local', trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}}
- {apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: wide, namespace: shop}, spec: {hosts: [db.example.com], addresses: [10.1.0.0/16], ports: [{number: 3306, name: tcp, protocol: TCP}]}}
- {apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: narrow, namespace: shop}, spec: {hosts: ['*.example.com'], addresses: [10.1.2.3], ports: [{number: 3306, name: tcp, protocol: TCP}]}}
- {apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: default, namespace: shop}, spec: {egress: [{hosts: [./*, istio-system/*, '~/*', '*/api.example.com']}]}}
- {apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: cart, namespace: shop}, spec: {workloadSelector: {labels: {app: cart}}, egress: [{hosts: [other/*]}]}}
- {apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: root, namespace: istio-system}, spec: {}}
- {apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: root, namespace: istio-system}, spec: {mtls: {mode: STRICT}}}
- {apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: shop, namespace: shop}, spec: {mtls: {mode: PERMISSIVE}}}
- {apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: cart, namespace: shop}, spec: {selector: {matchLabels: {app: cart}}, portLevelMtls: {8080: {mode: DISABLE}}}}
- {apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: elsewhere, namespace: istio-system}, spec: {selector: {matchLabels: {app: cart}}, mtls: {mode: DISABLE}}}
- {apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: all, namespace: istio-system}, spec: {}}
- {apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: cart, namespace: shop}, spec: {selector: {matchLabels: {app: cart}}, action: DENY}}
- {apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: gateways, namespace: shop}, spec: {targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: g}]}}
- {apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: other, namespace: other}, spec: {}}
`

// mixed is one file for every list, as `kubectl get a,b,c -o yaml` writes it.
type mixed string

func (m mixed) List(_ context.Context, resource string, _ Selector) ([]byte, error) {
	if resource == "configmaps" {
		return []byte(`{"kind":"List","items":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"istio-stable","namespace":"istio-system","labels":{"istio.io/rev":"stable"}},"data":{"mesh":"accessLogFile: /dev/stdout\naccessLogEncoding: 1\noutboundTrafficPolicy:\n  mode: 0\nextensionProviders:\n- name: file\n  envoyFileAccessLog: {path: /dev/stderr, logFormat: {labels: {a: '%REQ(A)%'}}}\n"}}]}`), nil
	}
	return []byte(m), nil
}

func TestIstiosObjectsAreFoundAsIstioFindsThem(t *testing.T) {
	ctx := t.Context()
	v := New(mixed(istioObjects))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mesh, err := v.MeshConfig(ctx)
	must(err)
	if !mesh.Found || mesh.From.Name != "istio-stable" || mesh.AccessLogEncoding != "JSON" || mesh.OutboundPolicy != "REGISTRY_ONLY" || mesh.AccessLogs["file"].Path != "/dev/stderr" || mesh.AccessLogs["file"].Labels["a"] == "" {
		t.Errorf("%+v", mesh)
	}

	gs, err := v.Gateways(ctx)
	must(err)
	if len(gs) != 1 || gs[0].Name != "gw" {
		t.Fatalf("%d Gateways", len(gs))
	}
	gw := gs[0]
	for _, c := range []struct {
		ns, host string
		want     bool
	}{{"web", "own.example.com", true}, {"shop", "own.example.com", false}, {"shop", "cart.shop.example.com", true}, {"web", "cart.shop.example.com", false}, {"x", "any.example.com", true}, {"x", "free.example.com", true}, {"x", "no.example.com", false}} {
		if got := gw.Admits(gw.Server(80)[0], c.ns, c.host); got != c.want {
			t.Errorf("%s of %s on port 80: %v", c.host, c.ns, got)
		}
	}
	if len(gw.Server(8080)) != 0 {
		t.Error("no server on 8080")
	}

	named := func(vs []*VirtualService, err error) string {
		must(err)
		var out []string
		for _, s := range vs {
			out = append(out, s.Name)
		}
		return strings.Join(out, " ")
	}
	if got := named(v.VirtualServicesForHost(ctx, "cart.shop.example.com", "")); got != "old new" {
		t.Error(got)
	}
	if got := named(v.VirtualServicesForHost(ctx, "cart.shop.example.com", "mesh")); got != "new" {
		t.Error(got)
	}
	if got := named(v.VirtualServicesOfGateway(ctx, "web", "gw")); got != "old new" {
		t.Error(got)
	}
	if got := named(v.VirtualServicesForHost(ctx, "cart.shop.svc.cluster.local", "mesh")); got != "meshed" {
		t.Error(got)
	}

	for _, c := range []struct{ client, service, host, want string }{
		{"shop", "shop", "cart.shop.svc.cluster.local", "service"},
		{"front", "shop", "cart.shop.svc.cluster.local", "client"},
		{"other", "shop", "cart.shop.svc.cluster.local", "service"},
		{"other", "x", "reviews.x.svc.cluster.local", "all"},
		{"other", "secret", "pay.secret.svc.cluster.local", "all"},
		{"secret", "secret", "pay.secret.svc.cluster.local", "hidden"},
		{"other", "x", "a.example.com", ""},
	} {
		d, err := v.DestinationRuleFor(ctx, c.client, c.service, c.host)
		must(err)
		got := ""
		if d != nil {
			got = d.Name
		}
		if got != c.want {
			t.Errorf("%s from %s: rule %q, want %q", c.host, c.client, got, c.want)
		}
	}
	d, err := v.DestinationRule(ctx, "shop", "service")
	must(err)
	for _, c := range []struct {
		subset string
		port   uint32
		want   string
	}{{"", 80, "ISTIO_MUTUAL"}, {"v1", 80, "SIMPLE"}, {"v2", 80, "ISTIO_MUTUAL"}, {"", 9, ""}, {"v3", 80, ""}, {"v3", 81, "ISTIO_MUTUAL"}, {"none", 80, "ISTIO_MUTUAL"}} {
		if got := d.TLSMode(c.subset, c.port); got != c.want {
			t.Errorf("subset %q port %d: %q, want %q", c.subset, c.port, got, c.want)
		}
	}

	ses, err := v.ServiceEntriesForAddr(ctx, netip.MustParseAddr("10.1.2.3"))
	must(err)
	if len(ses) != 2 || ses[0].Name != "narrow" {
		t.Errorf("%v", ses)
	}
	if ses, err = v.ServiceEntriesForHost(ctx, "db.example.com"); err != nil || len(ses) != 2 {
		t.Errorf("%v %v", ses, err)
	}

	cart := podOf(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {app: cart}}\nspec: {containers: [{name: c}]}")
	plain := podOf(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {gateway.networking.k8s.io/gateway-name: g}}\nspec: {containers: [{name: c}]}")
	away := podOf(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: away}\nspec: {containers: [{name: c}]}")
	for _, c := range []struct {
		pod     *Pod
		sidecar string
		mode    string
		port    uint16
		authz   string
	}{
		{cart, "cart", "DISABLE", 8080, "all cart"},
		{cart, "cart", "PERMISSIVE", 80, "all cart"},
		{plain, "default", "PERMISSIVE", 8080, "all gateways"},
		{away, "root", "STRICT", 80, "all"},
	} {
		s, err := v.SidecarFor(ctx, c.pod)
		must(err)
		if s == nil || s.Name != c.sidecar {
			t.Errorf("%v: Sidecar %v, want %s", c.pod.Labels, s, c.sidecar)
		}
		m, err := v.MTLSFor(ctx, c.pod, c.port)
		must(err)
		if m.Mode != c.mode || len(m.From) == 0 {
			t.Errorf("%v port %d: %+v, want %s", c.pod.Labels, c.port, m, c.mode)
		}
		as, err := v.AuthorizationPoliciesFor(ctx, c.pod)
		must(err)
		var got []string
		for _, a := range as {
			got = append(got, a.Name)
		}
		if strings.Join(got, " ") != c.authz {
			t.Errorf("%v: policies %v, want %s", c.pod.Labels, got, c.authz)
		}
	}

	def, err := v.SidecarFor(ctx, plain)
	must(err)
	for _, c := range []struct {
		ns, host string
		want     bool
	}{{"shop", "cart.shop.svc.cluster.local", true}, {"other", "x.other.svc.cluster.local", false}, {"istio-system", "istiod.istio-system.svc.cluster.local", true}, {"any", "api.example.com", true}} {
		if got := def.Sees("shop", c.ns, c.host); got != c.want {
			t.Errorf("sees %s of %s: %v", c.host, c.ns, got)
		}
	}

	ags, err := v.APIGateways(ctx)
	must(err)
	hrs, err := v.HTTPRoutes(ctx)
	must(err)
	trs, err := v.TCPRoutes(ctx)
	must(err)
	if len(ags) != 1 || ags[0].Spec.Listeners[0].Port != 80 || len(hrs) != 1 || *hrs[0].Spec.Rules[0].BackendRefs[0].Weight != 3 || len(trs) != 1 || *trs[0].Spec.Rules[0].BackendRefs[0].Port != 3306 {
		t.Errorf("%v %v %v", ags, hrs, trs)
	}
	o, err := v.Object(ctx, "gateways.gateway.networking.k8s.io", "web", "k8s-gw")
	must(err)
	if o == nil || o.Ref().String() != "Gateway web/k8s-gw" || !strings.Contains(string(o.Raw), "gatewayClassName") {
		t.Errorf("%+v", o)
	}
	if ResourceOf("networking.istio.io", "Gateway") != istioGateways || ResourceOf("x", "Gateway") != "" {
		t.Error("resource of a kind")
	}
}

// counting is a Lister that counts, and fails what it is told to fail.
type counting struct {
	files
	mu    sync.Mutex
	asked []string
	fail  map[string]error
}

func (c *counting) List(ctx context.Context, resource string, sel Selector) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	what := resource + " " + sel.Namespace + "/" + sel.Name + " " + sel.Labels + " " + sel.Fields
	c.asked = append(c.asked, what)
	if err := c.fail[what]; err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return c.files.List(ctx, resource, sel)
}

func TestAListIsReadOnceAndNotAtAllWhereTheWholeWasRead(t *testing.T) {
	ctx := t.Context()
	l := &counting{files: files{services: []byte(`{"kind":"List","items":[{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","namespace":"n"}}]}`)}, fail: map[string]error{}}
	v := New(l)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if s, err := v.Service(ctx, "n", "s"); err != nil || s == nil {
				t.Error(s, err)
			}
		})
	}
	wg.Wait()
	if len(l.asked) != 1 {
		t.Errorf("%q", l.asked)
	}
	if _, err := v.Services(ctx, ""); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"s", "other"} {
		if _, err := v.Service(ctx, "n", name); err != nil {
			t.Error(err)
		}
	}
	if len(l.asked) != 2 {
		t.Errorf("%q", l.asked)
	}
	s, err := v.Service(ctx, "n", "none")
	if s != nil || err != nil {
		t.Error(s, err)
	}
}

func TestAWholeThatIsForbiddenDoesNotForbidItsParts(t *testing.T) {
	ctx := t.Context()
	forbidden := errors.New("forbidden")
	l := &counting{
		files: files{services: []byte(`{"kind":"List","items":[{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","namespace":"n"}}]}`)},
		fail:  map[string]error{"services /  ": forbidden},
	}
	v := New(l)
	if _, err := v.Services(ctx, ""); !errors.Is(err, forbidden) {
		t.Error(err)
	}
	if _, err := v.Services(ctx, ""); !errors.Is(err, forbidden) || len(l.asked) != 1 {
		t.Error("asked again", err)
	}
	if s, err := v.Service(ctx, "n", "s"); err != nil || s == nil {
		t.Error(s, err)
	}
}

func TestACallerThatGivesUpLeavesNoAnswerBehind(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v := New(&counting{files: files{services: []byte(`{"kind":"List","items":[]}`)}})
	if _, err := v.Services(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := v.Services(t.Context(), ""); err != nil {
		t.Error(err)
	}
}

func TestABrokenObjectIsPlacedAndDoesNotBreakTheOthers(t *testing.T) {
	v := New(files{services: []byte("{\"kind\":\"List\",\"items\":[\n{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"bad\",\"namespace\":\"n\"},\n \"spec\":{\"ports\":\"x\"}},\n{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"good\",\"namespace\":\"n\"}}]}")})
	if s, err := v.Service(t.Context(), "n", "good"); err != nil || s == nil {
		t.Error(s, err)
	}
	_, err := v.Service(t.Context(), "n", "bad")
	var de *DecodeError
	if !errors.As(err, &de) || de.Resource != services || de.Object != "n/bad" || de.Line != 3 || !strings.Contains(de.Msg, "spec.ports is a JSON string") {
		t.Errorf("%v", err)
	}
}

func TestEndpointsComeFromSlicesElseFromEndpoints(t *testing.T) {
	const svc = `{"kind":"List","items":[{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","namespace":"n"},"spec":{"ports":[{"name":"http","port":80}]}}]}`
	const slice = `{"kind":"List","items":[
	{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"s-1","namespace":"n","labels":{"kubernetes.io/service-name":"s"}},"ports":[{"name":"http","port":8080,"protocol":"TCP"},{"name":"odd"}],"endpoints":[
	 {"addresses":["10.0.0.2"],"conditions":{"ready":false,"serving":true,"terminating":true},"nodeName":"n1","targetRef":{"kind":"Pod","name":"b"}},
	 {"addresses":["10.0.0.1"],"conditions":{}}]},
	{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"s-2","namespace":"n","labels":{"kubernetes.io/service-name":"s"}},"ports":[{"name":"http","port":8080}],"endpoints":[{"addresses":["10.0.0.1"]}]},
	{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"x","namespace":"n","labels":{"kubernetes.io/service-name":"x"}},"ports":[{"name":"http","port":8080}],"endpoints":[{"addresses":["10.0.0.9"]}]}]}`
	const legacy = `{"kind":"List","items":[{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"s","namespace":"n"},"subsets":[{"addresses":[{"ip":"10.0.0.5","nodeName":"n1","targetRef":{"kind":"Pod","name":"e","namespace":"n"}}],"notReadyAddresses":[{"ip":"10.0.0.6"}],"ports":[{"name":"http","port":8080}]}]}]}`
	get := func(f files) ([]Endpoint, error) {
		v := New(f)
		s, err := v.Service(t.Context(), "n", "s")
		if err != nil {
			t.Fatal(err)
		}
		return v.Endpoints(t.Context(), s, &s.Spec.Ports[0])
	}
	eps, err := get(files{services: []byte(svc), endpointSlices: []byte(slice)})
	if err != nil || len(eps) != 2 {
		t.Fatalf("%+v, %v", eps, err)
	}
	if e := eps[0]; e.Addr.String() != "10.0.0.1:8080" || !e.Ready || !e.Serving || e.Terminating || e.From.Name != "s-1" {
		t.Errorf("%+v", e)
	}
	if e := eps[1]; e.Ready || !e.Serving || !e.Terminating || e.Node != "n1" || e.Pod.String() != "Pod n/b" {
		t.Errorf("%+v", e)
	}
	for _, f := range []files{
		{services: []byte(svc), "endpoints": []byte(legacy)},
		{services: []byte(svc), "endpoints": []byte(legacy), endpointSlices: []byte(`{"kind":"List","items":[]}`)},
	} {
		eps, err = get(f)
		if err != nil || len(eps) != 2 || !eps[0].Ready || eps[1].Ready || eps[0].From.Kind != "Endpoints" || eps[0].Pod.Name != "e" {
			t.Errorf("%+v, %v", eps, err)
		}
	}
	if _, err := get(files{services: []byte(svc)}); !errors.Is(err, errAbsent) {
		t.Errorf("neither was read: %v", err)
	}
}
