package privacy

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

func TestTextGivesEveryAddressAndHostAName(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"an address with a port", "DNAT to 10.10.1.4:8080", "DNAT to ip-1:8080"},
		{"the same address twice", "10.0.0.1 and 10.0.0.2 and 10.0.0.1", "ip-1 and ip-2 and ip-1"},
		{"a network", "-d 10.96.0.0/12 -j DROP", "-d ip-1/12 -j DROP"},
		{"IPv6 in brackets", "[2001:db8::7]:443", "[ip-1]:443"},
		{"IPv6 bare", "fe80::1", "ip-1"},
		{"a time is no address", "17:32:14", "17:32:14"},
		{"a MAC is no address", "aa:bb:cc:dd:ee:ff", "aa:bb:cc:dd:ee:ff"},
		{"the unspecified and loopback ones tell nothing", "0.0.0.0_8080 127.0.0.1 ::1", "0.0.0.0_8080 127.0.0.1 ::1"},
		{"a listener named by address", "10.0.0.1_443", "ip-1_443"},
		{"a version is no address", "envoy 1.30.2", "envoy 1.30.2"},
		{"a host and its URL", "http://shop.example.com:31373/api?q=1", "http://host-1:31373/api?q=1"},
		{"a wildcard", "*.example.com", "*.host-1"},
		{"a cluster name", "outbound|80|v2|cart.shop.svc.cluster.local", "outbound|80|v2|host-1"},
		{"an international name", "商店.example.com", "host-1"},
		{"case does not matter", "Shop.Example.COM shop.example.com", "host-1 host-1"},
		{"files stay", "proxies/shop/cart-7c9/config_dump.json", "proxies/shop/cart-7c9/config_dump.json"},
		{"the node of a file", "nodes/node-b/iptables-save.txt of node-b", "nodes/machine-1/iptables-save.txt of machine-1"},
		{"a vantage", "from node:n1, and n10 is another", "from node:machine-1, and n10 is another"},
		{"a right is no node", `cannot get resource "nodes/proxy" of istio-proxy`, `cannot get resource "nodes/proxy" of istio-proxy`},
		{"API groups stay", "virtualservices.networking.istio.io", "virtualservices.networking.istio.io"},
		{"Envoy's names stay", "envoy.filters.http.router", "envoy.filters.http.router"},
		{"a cloud node's name", "ip-10-0-3-7.eu-west-1.compute.internal", "host-1"},
		{"an address with dashes", "node-10-0-3-7", "node-ip-1"},
		{"a sentence's end", "asked 10.0.0.1.", "asked ip-1."},
		{"fields of resources stay", "set destination.host, spec.exportTo and trafficPolicy.tls.mode", "set destination.host, spec.exportTo and trafficPolicy.tls.mode"},
		{"a host of such words does not", "tls.example.com, spec.shop.dev and Hosts.COM", "host-1, host-2 and host-3"},
		{"key files stay", "--cert=server.crt --key=server.key", "--cert=server.crt --key=server.key"},
		{"words stay", "no healthy upstream, e.g. none", "no healthy upstream, e.g. none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m Masker
			if got := m.Text(tt.in); got != tt.want {
				t.Errorf("Text(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestSecretTextTakesCredentials(t *testing.T) {
	const jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
	for _, tt := range []struct{ name, in, want string }{
		{"a bearer token", "Authorization: Bearer abcdef123456", "Authorization: ***"},
		{"a bearer token in a command", "curl -H 'authorization: bearer abcdef123456' http://a", "curl -H 'authorization: ***' http://a"},
		{"a JSON member", `{"authorization":"Basic dXNlcjpwYXNz","a":1}`, `{"authorization":"***","a":1}`},
		{"a cookie", "cookie: session=1; b=2\nnext", "cookie: ***\nnext"},
		{"a token by itself", "token " + jwt + " end", "token *** end"},
		{"a private key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----"},
		{"two keys", "-----BEGIN PRIVATE KEY-----a-----END PRIVATE KEY----- -----BEGIN PRIVATE KEY-----b-----END PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY----- -----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----"},
		{"a key cut short", "-----BEGIN PRIVATE KEY-----MIIE", "-----BEGIN PRIVATE KEY-----***"},
		{"words about them stay", "the cookie is hashed; basic auth; no bearer token", "the cookie is hashed; basic auth; no bearer token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := SecretText(tt.in)
			if got != tt.want {
				t.Errorf("SecretText(%q) = %q, want %q", tt.in, got, tt.want)
			}
			if again := SecretText(got); again != got {
				t.Errorf("not idempotent: %q", again)
			}
		})
	}
}

// needles are put into every string of a report.
const needle = "x 10.9.8.7 secret.example.com Bearer abcdef123456 y"

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte(`{"k":["` + needle + `"],"n":1e2}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("REQ(X-A)").Convert(v.Type().Key()), reflect.ValueOf(needle))
	case reflect.String:
		v.SetString(needle)
	}
}

func TestEveryStringOfAReportIsMasked(t *testing.T) {
	var r trace.Report
	fill(reflect.ValueOf(&r).Elem())
	// The identifiers are hoptrail's own words.
	r.Schema, r.Verdict, r.Tool.Version = trace.Schema, trace.Reachable, "1"
	r.Paths = []trace.Path{{Probability: 1, Verdict: trace.Reachable, Hops: []string{"h1"}}}
	h := &r.Hops[0]
	h.ID, h.Kind, h.State = "h1", trace.KindDNS, trace.OK
	h.Checks[0].State, h.Evidence[0].ID, h.Evidence[0].Basis, h.Evidence[0].At = trace.OK, "e1", trace.Config, ""
	h.Logs[0].At, h.Branches[0].To, h.Branches[0].State = "", "h2", trace.OK
	h.Detail.Rules[0].Hook, h.Detail.Rules[0].Table = "PREROUTING", "nat"
	f := &r.Findings[0]
	f.Code, f.Severity, f.Hop, f.Evidence, f.CauseOf = "HT1", trace.SeverityError, "h1", []string{"e1"}, []string{"HT2"}
	r.Collected.Read[0].At = ""
	r.Target.Headers[0].Name = "X-A"
	h.In.Headers[0].Name, h.Out.Headers[0].Name = "X-A", "X-A"

	before, _ := json.Marshal(r)
	var m Masker
	for name, got := range map[string]*trace.Report{"masked": m.Report(&r), "secrets": Secrets(&r)} {
		js, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		words := []string{"abcdef123456"}
		if name == "masked" {
			words = append(words, "10.9.8.7", "secret.example.com")
		}
		for _, w := range words {
			if i := strings.Index(string(js), w); i >= 0 {
				t.Errorf("%s: %q is still in the report: ...%s...", name, w, js[max(0, i-80):min(len(js), i+40)])
			}
		}
		if !json.Valid(got.Hops[0].Config[0].Object) {
			t.Errorf("%s: configuration is not JSON any more: %s", name, got.Hops[0].Config[0].Object)
		}
	}
	if after, _ := json.Marshal(r); string(after) != string(before) {
		t.Error("masking changed the report it was given")
	}
}

func TestHeaderValuesGoFromRawLinesToo(t *testing.T) {
	l := trace.LogLine{
		Raw:    `[t] "GET /a HTTP/1.1" 200 - "10.0.0.1" "curl/8.1" "2b92-id" "shop"`,
		Fields: map[string]string{"REQ(USER-AGENT)": "curl/8.1", "REQ(X-REQUEST-ID)": "2b92-id", "REQ(:METHOD)": "GET", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)": "/a", "RESPONSE_CODE": "200"},
	}
	var m Masker
	got := m.Line(l)
	if want := `[t] "GET /a HTTP/1.1" 200 - "ip-1" "***" "***" "***"`; got.Raw != want {
		t.Errorf("raw is %q, want %q", got.Raw, want)
	}
	for k, want := range map[string]string{"REQ(USER-AGENT)": "***", "REQ(:METHOD)": "GET", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)": "/a", "RESPONSE_CODE": "200"} {
		if got.Fields[k] != want {
			t.Errorf("%s is %q, want %q", k, got.Fields[k], want)
		}
	}
	if l.Fields["REQ(USER-AGENT)"] != "curl/8.1" {
		t.Error("the line itself was changed")
	}
}

func TestHeaderValuesGoFromJSONLinesOfUnknownFormats(t *testing.T) {
	for _, tt := range []struct {
		name, raw string
		fields    map[string]string
		want      string
	}{
		{
			"a format nobody told of",
			`{"start_time":"2026-11-20T17:32:14.412Z","method":"GET","path":"/a","response_code":200,"upstream_host":"10.0.0.1:80","who":"alice","req":{"x-tenant":"blue","list":["t1x"]}}`, nil,
			`{"start_time":"2026-11-20T17:32:14.412Z","method":"GET","path":"/a","response_code":200,"upstream_host":"ip-1:80","who":"***","req":{"x-tenant":"***","list":["***"]}}`,
		},
		{
			"a format that was read",
			`{"m":"GET","u":"alice"}`,
			map[string]string{"REQ(:METHOD)": "GET", "u": "alice"},
			`{"m":"***","u":"***"}`,
		},
		{"a line cut short", `{"method":"GET","who":"alice","path":"/a`, nil, `{"method":"***","who":"***","path":"***`},
		{"nothing to hide", `{"method":"GET", "duration": 3}`, nil, `{"method":"GET", "duration": 3}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m Masker
			got := m.Line(trace.LogLine{Raw: tt.raw, Fields: tt.fields})
			if got.Raw != tt.want {
				t.Errorf("raw is\n%s, want\n%s", got.Raw, tt.want)
			}
			for k, v := range got.Fields {
				if v == "alice" {
					t.Errorf("%s is still %s", k, v)
				}
			}
		})
	}
}

func TestWhatHeadersAreMatchedWithGoesToo(t *testing.T) {
	var m Masker
	got := m.Report(&trace.Report{Hops: []trace.Hop{{
		ID: "h1", Kind: trace.KindRoute, Why: "header x-tenant is exactly blue-7, and blue",
		Config: []trace.ConfigObject{{Kind: "VirtualService", Object: json.RawMessage(`{"http":[{"match":[{"headers":{"x-tenant":{"exact":"blue-7"}}}]}]}`)}},
	}}})
	if got.Hops[0].Why != "header x-tenant is exactly ***, and blue" || strings.Contains(string(got.Hops[0].Config[0].Object), "blue-7") {
		t.Errorf("got %q, %s", got.Hops[0].Why, got.Hops[0].Config[0].Object)
	}
}

func TestNodesAreMaskedWhereverTheyAreNamed(t *testing.T) {
	var m Masker
	r := &trace.Report{
		Target: trace.Target{Raw: "http://a.example/", Host: "a.example", From: "node:worker-9"},
		Hops: []trace.Hop{
			{ID: "h1", Kind: trace.KindNode, Subject: trace.Subject{Kind: "Node", Name: "n1"}, Summary: "rules of n1, not of n12"},
			{ID: "h2", Kind: trace.KindPod, Subject: trace.Subject{Kind: "Pod", Name: "p"}, Evidence: []trace.Evidence{{ID: "e1", Excerpt: "\"nodeName\": \"other-node\",", Command: "iptables-save -c   # on node other-node"}}},
		},
		Findings: []trace.Finding{{Code: "HT2006", Title: "node n1 and worker-9 disagree with machine-1"}},
	}
	js, err := json.Marshal(m.Report(r))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"n1 ", "worker-9", "other-node"} {
		if strings.Contains(string(js), name) {
			t.Errorf("%q is still in %s", name, js)
		}
	}
	if !strings.Contains(string(js), "not of n12") {
		t.Errorf("another word was taken for a node: %s", js)
	}
}

func TestAHostOfOneLabelIsMaskedEverywhereOnceLearned(t *testing.T) {
	var m Masker
	r := &trace.Report{Target: trace.Target{Raw: "http://cart/x", Host: "cart"}, Summary: "cart answers"}
	if got := m.Report(r); got.Summary != "host-1 answers" || got.Target.Raw != "http://host-1/x" {
		t.Errorf("got %q, %q", got.Summary, got.Target.Raw)
	}
}

func TestMaskJSONKeepsShapeAndOrder(t *testing.T) {
	var m Masker
	in := `{"b":[1,2.50,{"a":null,"t":true}],"host":"10.0.0.1","":{},"e":[]}`
	want := `{"b":[1,2.50,{"a":null,"t":true}],"host":"ip-1","":{},"e":[]}`
	if got := string(maskJSON(json.RawMessage(in), m.text)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(maskJSON(json.RawMessage(`{"cookie":"a","password":"b","n":1}`), SecretText)); got != `{"cookie":"***","password":"***","n":1}` {
		t.Errorf("credentials by name: %s", got)
	}
}

func FuzzMask(f *testing.F) {
	for _, s := range []string{"10.0.0.1:80", "[::1]:2", "a.b.c", "Bearer xxxxxxxxx", "eyJ.a.b", "cookie: x", `{"a":"10.0.0.1"}`, "-----BEGIN PRIVATE KEY-----", "..-:_", "\xff.com"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var m Masker
		once := m.Text(s)
		if again := SecretText(SecretText(s)); again != SecretText(s) {
			t.Fatalf("SecretText is not idempotent on %q", s)
		}
		_ = once
		if out := maskJSON(json.RawMessage(s), m.text); json.Valid([]byte(s)) && !json.Valid(out) {
			t.Fatalf("JSON %q became %q", s, out)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	l := trace.LogLine{Raw: `[2026-11-20T17:32:14.412Z] "GET /simple/httpserver HTTP/1.1" 200 - via_upstream - "-" 0 312 4 3 "10.10.0.0" "curl/7.79.1" "2b92f22d-3cba-98d6-b51f-4b0ea5311294" "simple.baihl.io" "10.10.1.13:80" outbound|80||simple.simple.svc.cluster.local`}
	var m Masker
	b.ReportAllocs()
	for b.Loop() {
		m.Line(l)
	}
}

// TestAnAddressInAHeaderIsNoTextToReplace: 10.244.1.1 is in 10.244.1.10, and both
// must stay apart.
func TestAnAddressInAHeaderIsNoTextToReplace(t *testing.T) {
	var m Masker
	r := m.Report(&trace.Report{
		Target: trace.Target{Headers: []trace.Header{{Name: "X-Forwarded-For", Value: "10.244.1.1"}, {Name: "X-Real", Value: "10.244.1.1, 10.244.1.2:80"}}},
		Hops:   []trace.Hop{{Summary: "DNAT to 10.244.1.10:8080 or 10.244.1.11:8080, from 10.244.1.1"}},
	})
	if got := r.Hops[0].Summary; got != "DNAT to ip-1:8080 or ip-2:8080, from ip-3" {
		t.Errorf("got %q", got)
	}
	for _, h := range r.Target.Headers {
		if h.Value != Masked {
			t.Errorf("%s: %s", h.Name, h.Value)
		}
	}
}
