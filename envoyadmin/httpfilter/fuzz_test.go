package httpfilter_test

import (
	"testing"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/httpfilter"
	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
)

// FuzzWalk feeds any filters and any token: it must end and not panic, and each filter must have a step, or several.
func FuzzWalk(f *testing.F) {
	for _, s := range []string{
		one("rbac.v3.RBAC", anyRules),
		one("fault.v3.HTTPFault", `"abort":{"http_status":500,"percentage":{"numerator":10}}`),
		one("jwt_authn.v3.JwtAuthentication", `"providers":{"p":{"issuer":"i","local_jwks":{"inline_string":"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}"}}},"rules":[{"match":{"prefix":"/"},"requires":{"provider_name":"p"}}]`),
		one("header_to_metadata.v3.Config", `"request_rules":[{"header":"x","on_header_present":{"key":"k","type":"NUMBER"}}]`),
		one("cors.v3.Cors", ""), one("lua.v3.Lua", `"inline_code":"function envoy_on_request(h) end"`),
		one("ratelimit.v3.RateLimit", `"domain":"d"`), one("oauth2.v3.OAuth2", `"config":{}`),
		`[{"name":"f","config_discovery":{}}]`,
		one("filter_chain.v3.FilterChainConfig", `"default_filter_chain":{"filters":[{"name":"a","typed_config":{"@type":"x/envoy.extensions.filters.http.cors.v3.Cors"}},{"name":"b","typed_config":{"@type":"x/envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig"}}]}`),
		one("composite.v3.Composite", `"named_filter_chains":{"n":{"typed_config":[{"name":"a","typed_config":{"@type":"x/envoy.extensions.filters.http.fault.v3.HTTPFault"}}]}},"matcher":{"on_no_match":{"action":{"name":"x","typed_config":{"@type":"x/envoy.extensions.filters.http.composite.v3.ExecuteFilterAction","filter_chain_name":"n"}}}}`),
		one("cdn_loop.v3.CdnLoopConfig", `"cdn_id":"x"`), one("mcp.v3.Mcp", `"traffic_mode":"REJECT_NO_MCP"`), one("kill_request.v3.KillRequest", `"kill_request_header":"x","probability":{"numerator":1}`),
		one("file_server.v3.FileServerConfig", `"path_mappings":[{"request_path_prefix":"/"}]`), one("body_size_limit.v3.BodySizeLimit", `"max_request_bytes":1`),
	} {
		f.Add([]byte(`{"http_filters":`+s+`}`), "/x", "Bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJpIn0.AAAA")
	}
	f.Fuzz(func(t *testing.T, js []byte, path, auth string) {
		h := &hcmv3.HttpConnectionManager{}
		if decode.JSON(js, h) != nil {
			return
		}
		req := request("OPTIONS", path, "authorization", auth, "origin", "http://x", "access-control-request-method", "GET", "x", "1")
		res := httpfilter.Walk(h.GetHttpFilters(), nil, req, nil)
		if n := len(h.GetHttpFilters()); n <= 512 && len(res.Steps)+len(res.Rest) < n {
			t.Fatalf("%d steps for %d filters", len(res.Steps), n)
		}
		_ = httpfilter.Misplaced(h.GetHttpFilters(), nil)
		_ = httpfilter.FetchesOnDemand(h.GetHttpFilters(), nil)
		for _, s := range res.Steps {
			if (s.Effect == httpfilter.Unknown || s.Effect == httpfilter.MayRefuse) && s.Why == "" {
				t.Fatalf("%s says nothing of its doubt", s.Type)
			}
		}
	})
}
