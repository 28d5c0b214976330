package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/internal/contract"
	"github.com/hoptrail/hoptrail/iptables"
)

// answers are the two commands whose JSON docs/evaluate.md describes.
func answers() map[string]*contract.Schema {
	text := contract.Object{{Key: "type", Value: "string"}}
	enum := func(values ...string) contract.Object { return contract.Object{{Key: "enum", Value: values}} }
	kinds := []string{
		envoyadmin.KindListener, envoyadmin.KindFilterChain, envoyadmin.KindFilter, envoyadmin.KindRoute, envoyadmin.KindCluster, envoyadmin.KindEndpoint,
	}
	return map[string]*contract.Schema{
		"envoy-match": {
			Root: reflect.TypeFor[envoyadmin.Result](), Sources: []string{"../../envoyadmin/outcome.go"}, Hidden: true, Described: true,
			Title: "The answer of hoptrail envoy match -o json",
			Fields: map[string]contract.Object{
				"Outcome.error": enum(
					"", envoyadmin.NoListener, envoyadmin.NoFilterChain, envoyadmin.NoRouteConfig, envoyadmin.NoVirtualHost, envoyadmin.NoRoute,
					envoyadmin.NoCluster, envoyadmin.NoEndpoint, envoyadmin.TLSRequired, envoyadmin.Denied,
				),
				"Endpoint.health": enum("healthy", "degraded", "unhealthy", "unknown"),
				"Step.kind":       enum(kinds...),
				"NearMiss.kind":   enum(append(kinds, "virtual_host", "route_config")...),
			},
		},
		"iptables-eval": {
			Root: reflect.TypeFor[iptables.Result](), Sources: []string{"../../iptables/iptables.go"}, Described: true,
			Title: "The answer of hoptrail iptables eval -o json",
			Types: map[reflect.Type]contract.Object{
				reflect.TypeFor[netip.AddrPort]():   text,
				reflect.TypeFor[iptables.Mark]():    append(slices.Clone(text), contract.Entry{Key: "pattern", Value: "^0x[0-9a-f]+$"}),
				reflect.TypeFor[iptables.Verdict](): append(slices.Clone(text), enum("accept", "drop", "reject", "undetermined")...),
			},
		},
	}
}

func schemaPath(name string) string { return "../../docs/" + name + ".schema.json" }

// The committed schemas are generated from the structs and their comments, and
// nothing that was promised goes away.
func TestTheAnswersSchemasAreThoseOfTheStructs(t *testing.T) {
	for name, s := range answers() {
		s.ID = "https://github.com/hoptrail/hoptrail/raw/main/docs/" + name + ".schema.json"
		s.Description = "Fields may be added; none is removed, renamed or given another type."
		got, err := s.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if committed, err := os.ReadFile(schemaPath(name)); err == nil {
			broken, err := contract.Breaking(committed, got)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range broken {
				t.Errorf("%s: the contract only grows: %s", name, b)
			}
		}
		if !t.Failed() {
			compare(t, schemaPath(name), got)
		}
	}
}

// strict is a committed schema, refusing what it does not name.
func strict(t *testing.T, file string) *jsonschema.Schema {
	t.Helper()
	s, err := contract.Strict(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate holds a value as it is printed against a schema, and notes in met
// every property of it.
func validate(t *testing.T, what string, s *jsonschema.Schema, v any, met map[string]bool) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(doc); err != nil {
		t.Errorf("%s: %v\n%s", what, err, text)
	}
	var note func(v any)
	note = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, v := range v {
				met[k] = true
				note(v)
			}
		case []any:
			for _, v := range v {
				note(v)
			}
		}
	}
	note(doc)
}

// inWorlds returns the files of a name in the healthy worlds, by their paths.
func inWorlds(t *testing.T, name string) map[string][]byte {
	t.Helper()
	archives, err := filepath.Glob("../../testdata/worlds/seed/*.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, a := range archives {
		f, err := os.Open(a)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if path.Base(h.Name) != name {
				continue
			}
			if out[a+":"+h.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(out) == 0 {
		t.Fatalf("no world holds a %s", name)
	}
	return out
}

func TestEveryEnvoyMatchKeepsToItsSchema(t *testing.T) {
	schema, met := strict(t, schemaPath("envoy-match")), map[string]bool{}
	files := inWorlds(t, "config_dump.json")
	dumps, err := filepath.Glob("../../testdata/config_dump/*.json")
	if err != nil || len(dumps) == 0 {
		t.Fatal(dumps, err)
	}
	for _, file := range dumps {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		files[file] = data
	}
	files["made up"] = []byte(`{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":{"name":"l","address":{"socket_address":{"address":"0.0.0.0","port_value":80}},
	"filter_chains":[{"filters":[{"name":"hcm","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
	"http_filters":[{"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
	"route_config":{"name":"r","virtual_hosts":[{"name":"v","domains":["bookinfo.example.com"],"routes":[
	{"match":{"prefix":"/"},"route":{"weighted_clusters":{"clusters":[{"name":"a","weight":1},{"name":"gone","weight":3}]},"idle_timeout":"1s","max_stream_duration":{"max_stream_duration":"9s"},
	"retry_policy":{"retry_on":"5xx","per_try_timeout":"2s"},"priority":"HIGH","request_mirror_policies":[{"cluster":"a"}],"internal_redirect_policy":{}},
	"request_headers_to_add":[{"header":{"key":"x","value":"y"}}],"response_headers_to_remove":["server"]}]},
	{"name":"w","domains":["*"],"routes":[{"match":{"prefix":"/"},"redirect":{"https_redirect":true}}]}]}}}]}]}}]},
	{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","static_clusters":[{"cluster":{"name":"a","type":"STATIC","load_assignment":{"endpoints":[{"priority":1,"locality":{"region":"x"},"lb_endpoints":[
	{"endpoint":{"hostname":"h","address":{"socket_address":{"address":"192.0.2.1","port_value":80}}}}]}]}}}]}]}`)
	clusters := inWorlds(t, "clusters.json")
	for file, data := range files {
		d, err := envoyadmin.Read(file, data)
		if err != nil {
			t.Fatal(err)
		}
		if status, ok := clusters[strings.TrimSuffix(file, "config_dump.json")+"clusters.json"]; ok {
			if err := d.AddClusters(file, status); err != nil {
				t.Fatal(err)
			}
		}
		addresses := []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:1")}
		for _, l := range d.Listeners() {
			for _, a := range l.Addresses {
				if ap, err := netip.ParseAddrPort(a); err == nil {
					addresses = append(addresses, ap)
				}
			}
		}
		for _, a := range addresses {
			for _, c := range []envoyadmin.Call{
				{},
				{Authority: "bookinfo.example.com", Path: "/productpage", Headers: []envoyadmin.Header{{Name: "content-type", Value: "application/grpc"}}},
				{Authority: "bookinfo.example.com", Path: "/productpage", TLS: envoyadmin.TLS, SNI: "bookinfo.example.com"},
				{Protocol: envoyadmin.TCP},
				{ConnectOnly: true},
				{Direction: envoyadmin.Inbound, TLS: envoyadmin.MTLS, PastRefusals: true},
			} {
				c.Address = a
				r := d.Match(c)
				validate(t, file, schema, r, met)
				for _, o := range r.Outcomes {
					if (o.Verdict == envoyadmin.Undetermined) && (o.Response != nil || len(o.Reasons) == 0) {
						t.Errorf("%s: undetermined with a response or without a reason: %+v", file, o)
					}
				}
			}
		}
	}
	for _, key := range []string{
		"routing", "response", "endpoints", "near_misses", "weighted", "hosts", "reasons", "terminal", "owner",
		"retry_on", "per_try_timeout", "mirrors", "internal_redirects", "priority", "idle_timeout", "max_stream_duration", "request_headers", "response_headers", "location", "grpc_status", "mtls", "sni",
		"transport_socket", "locality", "hostname",
	} {
		if !met[key] {
			t.Errorf("no answer had %s: the schema of it was not tested", key)
		}
	}
}

func TestEveryIptablesEvalKeepsToItsSchema(t *testing.T) {
	schema, met := strict(t, schemaPath("iptables-eval")), map[string]bool{}
	hosts := map[string]*iptables.Host{}
	for file, data := range inWorlds(t, "iptables-save.txt") {
		rs, err := iptables.Parse(file, data)
		if err != nil {
			t.Fatal(err)
		}
		hosts[file] = &iptables.Host{V4: rs}
	}
	other, err := iptables.Parse("made up", []byte(`*mangle
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 1 -j TPROXY --on-port 15006 --on-ip 127.0.0.1 --tproxy-mark 0x1/0x1
-A PREROUTING -p tcp -m tcp --dport 2 -j CONNMARK --set-xmark 0x1/0xff
COMMIT
*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 3 -j NOTRACK
-A PREROUTING -p tcp -m tcp --dport 4 -m u32 --u32 "0x0=0x1" -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 5 -j REDIRECT --to-ports 15001
-A POSTROUTING -p tcp -m tcp --dport 6 -j SNAT --to-source 192.0.2.9
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -p tcp -m tcp --dport 6 -j ACCEPT
-A FORWARD -p tcp -m tcp --dport 7 -j REJECT --reject-with tcp-reset
COMMIT
`))
	if err != nil {
		t.Fatal(err)
	}
	hosts["made up"] = &iptables.Host{V4: other}
	for name, h := range hosts {
		for port := range uint16(10) {
			for _, hook := range []iptables.Hook{iptables.Prerouting, iptables.Output} {
				p := iptables.Packet{Hook: hook, Src: netip.MustParseAddrPort("192.0.2.1:40000"), Dst: netip.AddrPortFrom(netip.MustParseAddr("10.96.0.1"), port+1)}
				validate(t, name, schema, h.Evaluate(p), met)
				p.Dst = netip.AddrPortFrom(netip.MustParseAddr("192.168.170.137"), 31373+port)
				validate(t, name, schema, h.Evaluate(p), met)
			}
		}
	}
	for _, key := range []string{"snat", "tproxy", "redirect", "reject_with", "ctmark", "untracked", "policy", "unknown", "otherwise", "assumptions"} {
		if !met[key] {
			t.Errorf("no answer had %s: the schema of it was not tested", key)
		}
	}
}

// The tables of docs/evaluate.md are the fields that a line may have, and what it
// says of the answers is in them.
func TestTheLinesOfManyCallsAreDescribed(t *testing.T) {
	text, err := os.ReadFile("../../docs/evaluate.md")
	if err != nil {
		t.Fatal(err)
	}
	for heading, typ := range map[string]reflect.Type{"## A line of `--calls`": reflect.TypeFor[callFlags](), "## A line of `--packets`": reflect.TypeFor[packetLine]()} {
		_, part, ok := strings.Cut(string(text), heading)
		part, _, _ = strings.Cut(part, "\n## ")
		if !ok {
			t.Fatalf("no %s", heading)
		}
		var have, want []string
		for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(part, -1) {
			have = append(have, m[1])
		}
		for i := range typ.NumField() {
			if f := typ.Field(i); f.IsExported() {
				want = append(want, f.Tag.Get("json"))
			}
		}
		slices.Sort(have)
		slices.Sort(want)
		if !slices.Equal(have, want) {
			t.Errorf("%s\nhas  %v\nwant %v", heading, have, want)
		}
	}
	_, errorCodes, _ := strings.Cut(string(text), "`error` is one of ")
	for _, code := range answers()["envoy-match"].Fields["Outcome.error"][0].Value.([]string)[1:] {
		if !strings.Contains(errorCodes, "`"+code+"`") {
			t.Errorf("error %s is not named", code)
		}
	}
	_, routing, _ := strings.Cut(string(text), "`routing` is what")
	routing, _, _ = strings.Cut(routing, "\n\n")
	for i, typ := 0, reflect.TypeFor[envoyadmin.Routing](); i < typ.NumField(); i++ {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if name != "" && !strings.Contains(routing, "`"+name+"`") {
			t.Errorf("routing.%s is not described", name)
		}
	}
}
