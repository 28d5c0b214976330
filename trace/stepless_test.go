package trace_test

import (
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// What an Envoy refuses, or what leaves it open, is never a way on, whichever of
// its decisions it is that says so.
func TestNoEnvoyIsPassedThatRefusesOrMayRefuse(t *testing.T) {
	const gateway = "proxies/istio-system/istio-ingressgateway-576c469c96-spndl/config_dump.json"
	filters := func(add map[string]any, last bool) func(o map[string]any) {
		return func(o map[string]any) {
			if list, ok := o["http_filters"].([]any); ok {
				if last {
					o["http_filters"] = list[:len(list)-1]
				} else {
					o["http_filters"] = append([]any{add}, list...)
				}
			}
		}
	}
	for _, c := range []struct {
		name   string
		edit   func(o map[string]any)
		method string
		want   trace.Verdict
		kind   trace.HopKind
		why    string
	}{
		{name: "as it is", want: trace.Reachable},
		{name: "a CONNECT that is not allowed", method: "CONNECT", want: trace.Unreachable, kind: trace.KindRoute, why: "allows the upgrade to CONNECT"},
		{name: "a PROXY protocol header that may be missing", want: trace.Undetermined, kind: trace.KindListener, why: "wants a PROXY protocol header", edit: func(o map[string]any) {
			if _, ok := o["filter_chains"]; ok {
				o["listener_filters"] = []any{map[string]any{"name": "p", "typed_config": map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"}}}
			}
		}},
		{name: "a script that may choose the route again", want: trace.Undetermined, kind: trace.KindFilter, why: "let the route be chosen again", edit: filters(map[string]any{
			"name": "envoy.filters.http.lua", "typed_config": map[string]any{
				"@type":               "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
				"default_source_code": map[string]any{"inline_string": `function envoy_on_request(h) h:headers():add("a","b") end`},
			},
		}, false)},
		{name: "no router", want: trace.Undetermined, kind: trace.KindRoute, why: "HTTP filter", edit: filters(nil, true)},
	} {
		t.Run(c.name, func(t *testing.T) {
			world := unpack(t, ingressHTTP)
			for name := range world {
				if strings.HasSuffix(name, "access.log") {
					delete(world, name)
				}
			}
			if c.edit != nil {
				editDump(t, world, gateway, c.edit)
			}
			target := trace.Target{Scheme: "http", Host: "192.168.170.137", Port: 31373, Path: "/simple/httpserver", Method: c.method, Headers: []trace.Header{{Name: "Host", Value: "simple.baihl.io"}}}
			r := traceFiles(t, world, target)
			if r.Verdict != c.want {
				t.Errorf("%s: %s, want %s", r.Verdict, r.Summary, c.want)
			}
			said := c.why == ""
			for _, h := range r.Hops {
				said = said || h.Kind == c.kind && (h.State == trace.Fail || h.State == trace.Unknown) && strings.Contains(h.Why, c.why)
			}
			if !said {
				t.Errorf("no hop %s says %q", c.kind, c.why)
			}
		})
	}
}
