package envoyadmin

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
)

const routerFilter = `{"name":"envoy.filters.http.router","typed_config":{"@type":"x/envoy.extensions.filters.http.router.v3.Router"}}`

// hcmWith is a connection manager with these HTTP filters instead of the router
// alone.
func hcmWith(filters, fields string) string {
	return strings.Replace(hcm(fields), routerFilter, filters, 1)
}

func httpFilter(kind, fields string) string {
	return `{"name":"` + kind + `","typed_config":{"@type":"x/envoy.extensions.filters.http.` + kind + `"` + fields + `}}`
}

func reasons(o *Outcome) string { return strings.Join(o.Reasons, "; ") }

func TestAConnectionManagerWithoutARouterForwardsNothing(t *testing.T) {
	cors := httpFilter("cors.v3.Cors", "")
	for _, tc := range []struct{ name, filters, reason string }{
		{"no filters", "", "no HTTP filters"},
		{"no router", cors, "the last HTTP filter, cors.v3.Cors, is not a terminal one"},
		{"a router that is not last", routerFilter + "," + cors, "must be the last one"},
		{"another filter that ends the chain", httpFilter("mcp_router.v3.McpRouter", ""), "mcp_router"},
		{"a filter nobody knows at the end", `{"name":"x","typed_config":{"@type":"x/acme.Filter"}}`, "acme.Filter"},
		{"Istio's statistics at the end", `{"name":"istio.stats","typed_config":{"@type":"x/stats.PluginConfig"}}`, "no HTTP filter that sends requests on"},
	} {
		o := read(t, httpDump(`"filter_chains":[{"filters":[`+hcmWith(tc.filters, "")+`]}]`, tableR)).Match(Call{Address: at80}).Outcomes[0]
		if o.Verdict != Undetermined || !strings.Contains(reasons(&o), tc.reason) {
			t.Errorf("%s: %s %q, want %q", tc.name, o.Verdict, o.Reasons, tc.reason)
		}
	}
}

func TestAHostThatIsNotThereIsWaitedForOnlyOnDemand(t *testing.T) {
	table := `{"name":"r","vhds":{"config_source":{"ads":{}}},"virtual_hosts":[{"name":"v","domains":["a.test"],"routes":[{"match":{"prefix":"/x"},"route":{"cluster":"a"}}]}]}`
	for _, tc := range []struct {
		name, filters, host, path string
		verdict                   Verdict
		code, reason              string
	}{
		{"a host that is there", httpFilter("on_demand.v3.OnDemand", "") + "," + routerFilter, "a.test", "/x", Forward, "", ""},
		{"a host that is not", httpFilter("on_demand.v3.OnDemand", "") + "," + routerFilter, "b.test", "/x", Undetermined, "", "r/b.test"},
		{"a host that is not, by the filter's old form", `{"name":"envoy.filters.http.on_demand"},` + routerFilter, "b.test", "/x", Undetermined, "", "r/b.test"},
		{"a host without a route", httpFilter("on_demand.v3.OnDemand", "") + "," + routerFilter, "a.test", "/y", Undetermined, "", "r/a.test"},
		{"no filter that waits", routerFilter, "b.test", "/x", Reject, NoVirtualHost, ""},
		{"a filter that waits and is off", strings.Replace(httpFilter("on_demand.v3.OnDemand", ""), `"name"`, `"disabled":true,"name"`, 1) + "," + routerFilter, "b.test", "/x", Reject, NoVirtualHost, ""},
	} {
		o := read(t, httpDump(`"filter_chains":[{"filters":[`+hcmWith(tc.filters, "")+`]}]`, table)).Match(Call{Address: at80, Authority: tc.host, Path: tc.path}).Outcomes[0]
		if o.Verdict != tc.verdict || o.Error != tc.code || !strings.Contains(reasons(&o), tc.reason) || tc.verdict == Undetermined && o.Response != nil {
			t.Errorf("%s: %s %s %q %+v", tc.name, o.Verdict, o.Error, o.Reasons, o.Response)
		}
	}
}

func TestAScopeThatIsNotLoadedIsWaitedForOnlyOnDemand(t *testing.T) {
	scoped := `{"name":"h","typed_config":{"@type":"x/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","http_filters":[FILTERS],"scoped_routes":{"name":"s","scope_key_builder":{"fragments":[{"header_value_extractor":{"name":"x-where"}}]},"scoped_route_configurations_list":{"scoped_route_configurations":[{"name":"one","on_demand":true,"route_configuration_name":"gone","key":{"fragments":[{"string_key":"eu"}]}}]}}}}`
	for filters, want := range map[string]Verdict{httpFilter("on_demand.v3.OnDemand", "") + "," + routerFilter: Undetermined, routerFilter: Reject} {
		o := read(t, httpDump(`"filter_chains":[{"filters":[`+strings.Replace(scoped, "FILTERS", filters, 1)+`]}]`, tableR)).Match(Call{Address: at80, Headers: []Header{{"x-where", "eu"}}}).Outcomes[0]
		if o.Verdict != want || !slices.ContainsFunc(o.Steps, func(s Step) bool { return strings.Contains(s.Why, "loaded on demand") }) {
			t.Errorf("%s: %s %+v", filters, o.Verdict, o.Steps)
		}
	}
}

func TestALocalReplyIsWhatTheConnectionManagerMakesOfIt(t *testing.T) {
	table := `{"name":"r","virtual_hosts":[{"name":"v","domains":["a.test"],"routes":[
		{"match":{"prefix":"/gone"},"route":{"cluster":"gone"}},
		{"match":{"prefix":"/moved"},"redirect":{"path_redirect":"/there"}},
		{"match":{"prefix":"/said"},"direct_response":{"status":200,"body":{"inline_string":"hello"}}},
		{"match":{"prefix":"/ok"},"route":{"cluster":"a"}}]}]}`
	status := func(op, code string) string {
		return `{"status_code_filter":{"comparison":{"op":"` + op + `","value":{"default_value":` + code + `,"runtime_key":"k"}}}}`
	}
	flag := func(f string) string { return `{"response_flag_filter":{"flags":[` + f + `]}}` }
	header := `{"header_filter":{"header":{"name":"x-a","string_match":{"exact":"1"}}}}`
	both := func(kind string, list ...string) string {
		return `{"` + kind + `":{"filters":[` + strings.Join(list, ",") + `]}}`
	}
	as := func(filter, fields string) string { return `{"filter":` + filter + `,` + fields + `}` }
	for _, tc := range []struct {
		name, config, path string
		status             int
		body, why, reason  string
	}{
		{"no mapper", ``, "/none", 404, "", "", ""},
		{"a status", `"mappers":[` + as(status("EQ", "404"), `"status_code":418`) + `]`, "/none", 418, "", "mappers[0] makes the status 418 of 404", ""},
		{"the first of two", `"mappers":[` + as(status("GE", "500"), `"status_code":500`) + `,` + as(status("GE", "400"), `"status_code":400`) + `,` + as(status("NE", "1"), `"status_code":599`) + `]`, "/none", 400, "", "mappers[1]", ""},
		{"just as much is no less", `"mappers":[` + as(status("GE", "404"), `"status_code":599`) + `]`, "/none", 599, "", "", ""},
		{"just as much is no more", `"mappers":[` + as(status("LE", "404"), `"status_code":599`) + `]`, "/none", 599, "", "", ""},
		{"less is not as much", `"mappers":[` + as(status("GE", "405"), `"status_code":599`) + `]`, "/none", 404, "", "", ""},
		{"a flag", `"mappers":[` + as(flag(`"UH","NC"`), `"status_code":599`) + `]`, "/gone", 599, "", "mappers[0]", ""},
		{"another flag", `"mappers":[` + as(flag(`"UH"`), `"status_code":599`) + `]`, "/gone", 503, "", "", ""},
		{"any flag", `"mappers":[` + as(flag(``), `"status_code":599`) + `]`, "/gone", 599, "", "", ""},
		{"any flag, of a reply without", `"mappers":[` + as(flag(``), `"status_code":599`) + `]`, "/said", 200, "hello", "", ""},
		{"a header", `"mappers":[` + as(both("and_filter", header, status("LE", "404")), `"status_code":599`) + `]`, "/none", 599, "", "", ""},
		{"one of two", `"mappers":[` + as(both("or_filter", status("EQ", "1"), `{"not_health_check_filter":{}}`), `"status_code":599`) + `]`, "/none", 599, "", "", ""},
		{"a body", `"mappers":[` + as(status("EQ", "404"), `"body":{"inline_string":"nothing here"}`) + `]`, "/none", 404, "nothing here", "another body", ""},
		{"a redirect keeps where it leads", `"mappers":[` + as(status("EQ", "301"), `"status_code":302`) + `]`, "/moved", 302, "", "", ""},
		{"a format", `"body_format":{"json_format":{"code":"%RESPONSE_CODE%"}}`, "/said", 200, "", "formatted by local_reply_config", ""},
		{"chance", `"mappers":[` + as(`{"runtime_filter":{"runtime_key":"k","percent_sampled":{"numerator":5}}}`, `"status_code":599`) + `]`, "/none", 404, "", "", "mappers[0] may change the response: its filter takes a part"},
		{"a filter of another kind", `"mappers":[` + as(`{"duration_filter":{}}`, `"status_code":599`) + `]`, "/none", 404, "", "", "is not evaluated"},
		{"a filter nobody knows", `"mappers":[` + as(`{"moon_filter":{}}`, `"status_code":599`) + `]`, "/none", 404, "", "", "moon_filter"},
	} {
		d := read(t, httpDump(`"filter_chains":[{"filters":[`+hcm(`"local_reply_config":{`+tc.config+`}`)+`]}]`, table))
		o := d.Match(Call{Address: at80, Authority: "a.test", Path: tc.path, Headers: []Header{{"X-A", "1"}}}).Outcomes[0]
		last := o.Steps[len(o.Steps)-1]
		if o.Response == nil || o.Response.Status != tc.status || o.Response.Body != tc.body || !strings.Contains(last.Why, tc.why) || !strings.Contains(reasons(&o), tc.reason) || (tc.reason == "") != (len(o.Reasons) == 0) {
			t.Errorf("%s: %+v %q %q", tc.name, o.Response, last.Why, o.Reasons)
		}
		if tc.path == "/moved" && o.Response.Location != "http://a.test/there" {
			t.Errorf("%s: %+v", tc.name, o.Response)
		}
	}
	d := read(t, httpDump(`"filter_chains":[{"filters":[`+hcm(`"local_reply_config":{"mappers":[`+as(status("GE", "0"), `"status_code":599`)+`]}`)+`]}]`, table))
	if o := d.Match(Call{Address: at80, Authority: "a.test", Path: "/ok"}).Outcomes[0]; o.Verdict != Forward || o.Response != nil {
		t.Errorf("%+v", o)
	}
}

func TestTheHeadersOfALocalReplyMayChangeWhereItLeads(t *testing.T) {
	table := `{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"path":"/moved"},"redirect":{"path_redirect":"/there"}}]}]}`
	for _, tc := range []struct{ name, header, path, location, why, reason string }{
		{"a header", `{"header":{"key":"X-Why","value":"%PROTOCOL%"}}`, "/none", "", "mappers[0] adds header x-why: HTTP/1.1", ""},
		{"one that is not told", `{"header":{"key":"set-cookie","value":"a=b"}}`, "/none", "", "adds header set-cookie: (not shown)", ""},
		{"another location", `{"header":{"key":"location","value":"/else"},"append_action":"OVERWRITE_IF_EXISTS_OR_ADD"}`, "/moved", "/else", "sets header location: /else", ""},
		{"another location, as older dumps have it", `{"header":{"key":"location","value":"/else"},"append":false}`, "/moved", "/else", "sets header location", ""},
		{"a second location", `{"header":{"key":"location","value":"/else"}}`, "/moved", "http://a.test/there", "adds header location", "which of them a client follows is not known"},
		{"a location where there is none", `{"header":{"key":"location","value":"/else"},"append_action":"ADD_IF_ABSENT"}`, "/none", "/else", "adds header location", ""},
		{"none where there is one", `{"header":{"key":"location","value":"/else"},"append_action":"ADD_IF_ABSENT"}`, "/moved", "http://a.test/there", "", ""},
		{"none where it would be replaced", `{"header":{"key":"location","value":"/else"},"append_action":"OVERWRITE_IF_EXISTS"}`, "/none", "", "", ""},
	} {
		mapper := `"local_reply_config":{"mappers":[{"filter":{"status_code_filter":{"comparison":{"op":"GE","value":{"default_value":300,"runtime_key":"k"}}}},"headers_to_add":[` + tc.header + `]}]}`
		o := read(t, httpDump(`"filter_chains":[{"filters":[`+hcm(mapper)+`]}]`, table)).Match(Call{Address: at80, Authority: "a.test", Path: tc.path}).Outcomes[0]
		last := o.Steps[len(o.Steps)-1]
		if o.Response == nil || o.Response.Location != tc.location || !strings.Contains(last.Why, tc.why) || (tc.why == "") == strings.Contains(last.Why, "mappers[0]") || !strings.Contains(reasons(&o), tc.reason) || (tc.reason == "") != (len(o.Reasons) == 0) {
			t.Errorf("%s: %+v %q %q", tc.name, o.Response, last.Why, o.Reasons)
		}
	}
}

func TestHeadersBeyondTheCodecsLimitsAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name, fields string
		call         Call
		details      string
		status       int
	}{
		{"within both", "", Call{Headers: slices.Repeat([]Header{{"a", "b"}}, 99)}, "", 0},
		{"one too many", "", Call{Headers: slices.Repeat([]Header{{"a", "b"}}, 100)}, "http1.too_many_headers", 431},
		{"as many as are allowed", `"common_http_protocol_options":{"max_headers_count":200}`, Call{Headers: slices.Repeat([]Header{{"a", "b"}}, 100)}, "", 0},
		{"one too many for HTTP/2", "", Call{Protocol: HTTP2, Headers: slices.Repeat([]Header{{"a", "b"}}, 97)}, "http2.too_many_headers", 0},
		{"too large", "", Call{Headers: []Header{{"a", strings.Repeat("x", 60<<10)}}}, "http1.headers_too_large", 431},
		{"as large as is allowed", `"max_request_headers_kb":96`, Call{Headers: []Header{{"a", strings.Repeat("x", 60<<10)}}}, "", 0},
		{"a path too large", `"max_request_headers_kb":1`, Call{Path: "/" + strings.Repeat("x", 1<<10)}, "http1.headers_too_large", 431},
	} {
		tc.call.Address = at80
		o := read(t, httpDump(`"filter_chains":[{"filters":[`+hcm(tc.fields)+`]}]`, tableR)).Match(tc.call).Outcomes[0]
		status := 0
		if o.Response != nil {
			status = o.Response.Status
		}
		if o.Details != tc.details || status != tc.status || (o.Verdict == Reject) != (tc.details != "") || tc.details != "" && o.Flags != "DPE" {
			t.Errorf("%s: %s %s %s %d", tc.name, o.Verdict, o.Flags, o.Details, status)
		}
	}
}

// TestAgRPCClientIsAnsweredWithAGRPCStatus holds what Envoy answers itself to
// what a gRPC client, and the access log, see of it.
func TestAgRPCClientIsAnsweredWithAGRPCStatus(t *testing.T) {
	const table = `{"name":"r","virtual_hosts":[{"name":"v","domains":["a.test"],"routes":[
		{"match":{"prefix":"/gone"},"route":{"cluster":"gone"}},
		{"match":{"prefix":"/moved"},"redirect":{"path_redirect":"/there"}},
		{"match":{"prefix":"/said"},"direct_response":{"status":403}},
		{"match":{"prefix":"/ok"},"route":{"cluster":"a"}}]}]}`
	const mapper = `"local_reply_config":{"mappers":[{"filter":{"status_code_filter":{"comparison":{"op":"EQ","value":{"default_value":404,"runtime_key":"k"}}}},"status_code":401}]}`
	fault := func(abort string) string {
		return httpFilter("fault.v3.HTTPFault", `,"abort":{`+abort+`,"percentage":{"numerator":100}}`) + "," + routerFilter
	}
	for _, tc := range []struct{ name, filters, fields, path, kind, want string }{
		{"no route", routerFilter, "", "/none", "application/grpc", "200 (grpc-status 12)"},
		{"no route, of a kind of gRPC", routerFilter, "", "/none", "application/grpc+proto", "200 (grpc-status 12)"},
		{"gRPC-Web is not gRPC", routerFilter, "", "/none", "application/grpc-web", "404"},
		{"nor is what says nothing", routerFilter, "", "/none", "", "404"},
		{"no cluster", routerFilter, "", "/gone", "application/grpc", "200 (grpc-status 14)"},
		{"a direct response", routerFilter, "", "/said", "application/grpc", "200 (grpc-status 7)"},
		{"a redirect keeps where it leads", routerFilter, "", "/moved", "application/grpc", "200 (grpc-status 2)"},
		{"after local_reply_config", routerFilter, mapper, "/none", "application/grpc", "200 (grpc-status 16)"},
		{"a fault may name another", fault(`"grpc_status":5`), "", "/ok", "application/grpc", "200"},
		{"a fault, of HTTP", fault(`"http_status":418`), "", "/ok", "", "418"},
		{"before the request is read", routerFilter, `"max_request_headers_kb":1`, "/" + strings.Repeat("x", 1<<10), "application/grpc", "431"},
	} {
		c := Call{Address: at80, Authority: "a.test", Path: tc.path}
		if tc.kind != "" {
			c.Headers = []Header{{"Content-Type", tc.kind}}
		}
		o := read(t, httpDump(`"filter_chains":[{"filters":[`+hcmWith(tc.filters, tc.fields)+`]}]`, table)).Match(c).Outcomes[0]
		if o.Response == nil || o.Response.String() != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, o.Response, tc.want)
		}
		if tc.path == "/moved" && (o.Verdict != Redirect || o.Response.Location != "http://a.test/there") {
			t.Errorf("%s: %s %+v", tc.name, o.Verdict, o.Response)
		}
	}
	o := read(t, httpDump(`"filter_chains":[{"filters":[`+hcm("")+`]}]`, table)).Match(Call{Address: at80, Authority: "a.test", Path: "/ok", Headers: []Header{{"content-type", "application/grpc"}}}).Outcomes[0]
	if o.Verdict != Forward || o.Response != nil {
		t.Errorf("forwarded: %s %v", o.Verdict, o.Response)
	}
}

// TestResponseHeaderChangesComeAfterARedirect is of Location, which they may
// replace: finalizeResponseHeaders is called last in Envoy's router.
func TestResponseHeaderChangesComeAfterARedirect(t *testing.T) {
	add := func(action string) string {
		return `"response_headers_to_add":[{"header":{"key":"Location","value":"http://b.test/"},"append_action":"` + action + `"}]`
	}
	for _, tc := range []struct{ name, changes, want, why, reason string }{
		{"none", `"name":"x"`, "http://a.test/there", "", ""},
		{"another header", `"response_headers_to_add":[{"header":{"key":"x-a","value":"1"}}]`, "http://a.test/there", "", ""},
		{"overwritten", add("OVERWRITE_IF_EXISTS_OR_ADD"), "http://b.test/", "which was http://a.test/there", ""},
		{"only if absent", add("ADD_IF_ABSENT"), "http://a.test/there", "", ""},
		{"added", add("APPEND_IF_EXISTS_OR_ADD"), "http://a.test/there", "", "another location: http://b.test/"},
		{"removed", `"response_headers_to_remove":["location"]`, "", "remove location", ""},
	} {
		table := `{"name":"r","virtual_hosts":[{"name":"v","domains":["a.test"],"routes":[{"match":{"prefix":"/"},"redirect":{"path_redirect":"/there"},` + tc.changes + `}]}]}`
		o := read(t, httpDump(`"filter_chains":[{"filters":[`+hcm("")+`]}]`, table)).Match(Call{Address: at80, Authority: "a.test"}).Outcomes[0]
		last := o.Steps[len(o.Steps)-1]
		if o.Verdict != Redirect || o.Response == nil || o.Response.Location != tc.want || !strings.Contains(last.Why, tc.why) || !strings.Contains(reasons(&o), tc.reason) || (tc.reason == "") != (len(o.Reasons) == 0) {
			t.Errorf("%s: %s %+v %q %q", tc.name, o.Verdict, o.Response, last.Why, o.Reasons)
		}
	}
}

func TestAnUndeterminedOutcomeHasNoResponse(t *testing.T) {
	asks := httpFilter("ext_authz.v3.ExtAuthz", `,"grpc_service":{"envoy_grpc":{"cluster_name":"b"}}`) + "," + routerFilter
	table := `{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[
		{"match":{"path":"/to"},"redirect":{"https_redirect":true}},{"match":{"path":"/said"},"direct_response":{"status":418}}]}]}`
	for path, likely := range map[string]string{
		"/to":   "Envoy answers with 301 and location https://a.test/to",
		"/said": "Envoy answers with 418",
		"/none": "Envoy answers with 404",
	} {
		for filters, want := range map[string]bool{asks: false, routerFilter: true} {
			o := read(t, httpDump(`"filter_chains":[{"filters":[`+hcmWith(filters, "")+`]}]`, table)).Match(Call{Address: at80, Authority: "a.test", Path: path}).Outcomes[0]
			if (o.Verdict != Undetermined) != want || (o.Response != nil) != want || strings.HasSuffix(reasons(&o), likely) == want {
				t.Errorf("%s: %s %+v %q", path, o.Verdict, o.Response, o.Reasons)
			}
		}
	}
}

func TestASessionBindsARequestToItsHost(t *testing.T) {
	filter := func(state, more string) string {
		return httpFilter("stateful_session.v3.StatefulSession", `,"session_state":{"name":"s","typed_config":{"@type":"x/envoy.extensions.http.stateful_session.`+state+`}}`+more)
	}
	byCookie, byHeader := `cookie.v3.CookieBasedSessionState","cookie":{"name":"sid"}`, `header.v3.HeaderBasedSessionState","name":"X-Host"`
	const strict, gone = `,"strict":true`, `,"strict":true,"status_on_strict_destination_not_found":410`
	encoded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	message := func(host string) string { return "\x0a" + string(rune(len(host))) + host } // envoy.Cookie
	static := `"type":"STATIC"`
	for _, tc := range []struct {
		name, filter, cluster, value string
		verdict                      Verdict
		endpoints, said              string
		status                       int
	}{
		{"a cookie", filter(byCookie, ""), static, message("2.2.2.2:80"), Forward, "1.1.1.1 0, 2.2.2.2 1, 3.3.3.3 0", "cookie sid binds the request to 2.2.2.2:80", 0},
		{"a cookie as older Envoys write it", filter(byCookie, ""), static, "2.2.2.2:80", Forward, "1.1.1.1 0, 2.2.2.2 1, 3.3.3.3 0", "binds the request", 0},
		{"a cookie that expires", filter(byCookie, ""), static, message("2.2.2.2:80") + "\x10\x05", Undetermined, "1.1.1.1 0, 2.2.2.2 0, 3.3.3.3 0", "may have expired", 0},
		{"a header", filter(byHeader, strict), static, "2.2.2.2:80", Forward, "1.1.1.1 0, 2.2.2.2 1, 3.3.3.3 0", "header X-Host binds", 0},
		{"a host that is gone", filter(byCookie, ""), static, message("9.9.9.9:80"), Forward, "1.1.1.1 0.5, 2.2.2.2 0.5, 3.3.3.3 0", "names 9.9.9.9:80, which is no host of the cluster: another is chosen", 0},
		{"a host that is gone, and no other may serve", filter(byCookie, strict), static, message("9.9.9.9:80"), Reject, "1.1.1.1 0, 2.2.2.2 0, 3.3.3.3 0", "only that one may serve (strict)", 503},
		{"a host that is gone, with a status of its own", filter(byCookie, gone), static, message("9.9.9.9:80"), Reject, "1.1.1.1 0, 2.2.2.2 0, 3.3.3.3 0", "", 410},
		{"a host that is down", filter(byHeader, ""), static, "3.3.3.3:80", Forward, "1.1.1.1 0.5, 2.2.2.2 0.5, 3.3.3.3 0", "which is unhealthy: another is chosen", 0},
		{"a host that is down where that does not matter", filter(byHeader, ""), static + `,"common_lb_config":{"override_host_status":{"statuses":["UNHEALTHY","TIMEOUT","DRAINING"]}}`, "3.3.3.3:80", Forward, "1.1.1.1 0, 2.2.2.2 0, 3.3.3.3 1", "binds the request", 0},
		{"a host that no status allows", filter(byHeader, ""), static + `,"common_lb_config":{"override_host_status":{}}`, "2.2.2.2:80", Forward, "1.1.1.1 0.5, 2.2.2.2 0.5, 3.3.3.3 0", "another is chosen", 0},
		{"a host that is checked while serving", filter(byHeader, ""), static + `,"health_checks":[{}]`, "2.2.2.2:80", Undetermined, "1.1.1.1 0, 2.2.2.2 0, 3.3.3.3 0", "which is unknown", 0},
		{"a host of names", filter(byHeader, ""), `"type":"STRICT_DNS"`, "2.2.2.9:80", Undetermined, "1.1.1.1 0, 2.2.2.2 0, 3.3.3.3 0", "what the cluster's names resolve to is not known", 0},
		{"a cluster of another kind", filter(byHeader, ""), `"type":"ORIGINAL_DST"`, "2.2.2.2:80", Undetermined, "", "of type ORIGINAL_DST, is not evaluated here", 0},
		{"no session", filter(byHeader, strict), static, "", Forward, "1.1.1.1 0.5, 2.2.2.2 0.5, 3.3.3.3 0", "", 0},
	} {
		dump := httpDump(`"filter_chains":[{"filters":[`+hcmWith(tc.filter+","+routerFilter, "")+`]}]`, tableR)
		a := `{"cluster":{"name":"a",` + tc.cluster + `,"common_lb_config":{"healthy_panic_threshold":{}},"load_assignment":{"endpoints":[{"lb_endpoints":[` + lbHost("1.1.1.1", "HEALTHY", 1, "") + "," + lbHost("2.2.2.2", "HEALTHY", 1, "") + "," + lbHost("3.3.3.3", "UNHEALTHY", 1, "") + `]}]}}},`
		if strings.Contains(tc.cluster, "common_lb_config") {
			a = strings.Replace(a, `,"common_lb_config":{"healthy_panic_threshold":{}}`, "", 1)
		}
		dump = strings.Replace(dump, `"static_clusters":[`, `"static_clusters":[`+a, 1)
		dump = strings.Replace(dump, `{"cluster":{"name":"a","type":"STATIC","load_assignment":{"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"1.1.1.1","port_value":80}}}}]}]}}},`, "", 1)
		call := Call{Address: at80, Headers: []Header{{Name: "cookie", Value: "sid=" + encoded(tc.value)}, {Name: "x-host", Value: encoded(tc.value)}}}
		outcomes := read(t, dump).Match(call).Outcomes
		o := outcomes[0]
		said := reasons(&o)
		for _, s := range o.Steps {
			said += s.Why
		}
		if o.Verdict != tc.verdict || len(outcomes) != 1 || shares(o) != tc.endpoints || !strings.Contains(said, tc.said) ||
			tc.status != 0 && (o.Response == nil || o.Response.Status != tc.status || o.Flags != "UH") {
			t.Errorf("%s: %s %s %+v, want %s %s %s\n%s", tc.name, o.Verdict, shares(o), o.Response, tc.verdict, tc.endpoints, tc.said, said)
		}
	}
}

func TestWhatIsRefusedOrInDoubtShowsInTheSteps(t *testing.T) {
	lua := httpFilter("lua.v3.Lua", `,"default_source_code":{"inline_string":"function envoy_on_request(h) h:headers():add(\"a\",\"b\") end"}`) + "," + routerFilter
	plain := `"filter_chains":[{"filters":[` + hcm("") + `]}]`
	proxied := `"listener_filters":[{"name":"p","typed_config":{"@type":"x/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"}}],` + plain
	for _, tc := range []struct {
		name, listener string
		call           Call
		verdict        Verdict
		kind           string
		state          State
		why            string
	}{
		{"a CONNECT that is not allowed", plain, Call{Method: "CONNECT", Path: "/"}, Reject, KindRoute, StateFail, "allows the upgrade to CONNECT"},
		{"an upgrade that is not allowed", plain, Call{Headers: []Header{{"upgrade", "websocket"}, {"connection", "upgrade"}}}, Reject, KindRoute, StateFail, "allows the upgrade to websocket"},
		{"a PROXY protocol header that may be missing", proxied, Call{}, Undetermined, KindListener, StateUnknown, "wants a PROXY protocol header"},
		{"a script that may choose the route again", `"filter_chains":[{"filters":[` + hcmWith(lua, "") + `]}]`, Call{}, Undetermined, KindFilter, StateUnknown, "let the route be chosen again"},
		{"no router", `"filter_chains":[{"filters":[` + hcmWith("", "") + `]}]`, Call{}, Undetermined, KindRoute, StateUnknown, "no HTTP filters"},
		{"a terminal filter that is not the last", `"filter_chains":[{"filters":[` + hcm("") + "," + hcm("") + `]}]`, Call{}, Undetermined, KindFilterChain, StateUnknown, "must be the last one"},
	} {
		tc.call.Address = at80
		o := read(t, httpDump(tc.listener, tableR)).Match(tc.call).Outcomes[0]
		i := slices.IndexFunc(o.Steps, func(s Step) bool { return s.State == tc.state })
		if o.Verdict != tc.verdict || i < 0 || o.Steps[i].Kind != tc.kind || !strings.Contains(o.Steps[i].Why, tc.why) || strings.Count(o.Steps[i].Why, tc.why) > 1 {
			t.Errorf("%s: %s %q %+v", tc.name, o.Verdict, o.Reasons, o.Steps)
		}
	}
}
