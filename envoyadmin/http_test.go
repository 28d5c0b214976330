package envoyadmin

import (
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
