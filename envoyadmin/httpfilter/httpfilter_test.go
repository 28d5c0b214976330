package httpfilter_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/matcher/action/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/hoptrail/hoptrail/envoyadmin/httpfilter"
	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

func filters(t *testing.T, js string) []*hcmv3.HttpFilter {
	t.Helper()
	h := &hcmv3.HttpConnectionManager{}
	if err := protojson.Unmarshal([]byte(`{"http_filters":`+js+`}`), h); err != nil {
		t.Fatal(err)
	}
	return h.GetHttpFilters()
}

// one is a single filter of a type under envoy.extensions.filters.http.
func one(typ, fields string) string {
	if fields != "" {
		fields = "," + fields
	}
	return `[{"name":"f","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.` + typ + `"` + fields + `}}]`
}

func request(method, path string, headers ...string) *matcher.Request {
	r := &matcher.Request{
		Method: method, Path: path, Scheme: "http", Authority: "a.test", Protocol: "HTTP/1.1",
		Conn: matcher.Conn{Destination: netip.MustParseAddrPort("10.0.0.1:80"), DirectRemote: netip.MustParseAddrPort("10.0.0.2:5000")},
		Env:  matcher.Env{RuntimeComplete: true, MetadataComplete: true, FilterStateComplete: true, KnownCluster: func(n string) bool { return n != "gone" }},
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Headers = append(r.Headers, matcher.Header{Name: headers[i], Value: headers[i+1]})
	}
	return r
}

func outcome(t *testing.T, routeJSON string) *route.Outcome {
	t.Helper()
	r := &routev3.Route{}
	if err := protojson.Unmarshal([]byte(routeJSON), r); err != nil {
		t.Fatal(err)
	}
	o := &route.Outcome{Kind: route.Forward, Route: r, Cluster: r.GetRoute().GetCluster(), Host: &routev3.VirtualHost{}}
	if len(r.GetTypedPerFilterConfig()) > 0 {
		o.PerFilter = []map[string]*anypb.Any{r.GetTypedPerFilterConfig()}
	}
	return o
}

const anyRules = `"rules":{"action":"DENY","policies":{"p":{"permissions":[{"url_path":{"path":{"prefix":"/admin"}}}],"principals":[{"any":true}]}}}`

func TestEachFilterSaysWhatItCanKnow(t *testing.T) {
	plain := `{"match":{"prefix":"/"},"route":{"cluster":"c"}}`
	per := func(typ, fields string) string {
		return `{"match":{"prefix":"/"},"route":{"cluster":"c"},"typed_per_filter_config":{"f":{"@type":"type.googleapis.com/` + typ + `"` + fields + `}}}`
	}
	grpcCall := request("POST", "/p.S/M", "content-type", "application/grpc+proto")
	abortAll := `{"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault","abort":{"http_status":503,"percentage":{"numerator":100}}}`
	cookieSession := `"session_state":{"name":"s","typed_config":{"@type":"type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState","cookie":{"name":"sid"}}}`
	behindMatcher := func(match string) string {
		return `[{"name":"f","typed_config":{"@type":"type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher","xds_matcher":{` + match + `},"extension_config":{"name":"abort","typed_config":` + abortAll + `}}}]`
	}
	for _, c := range []struct {
		name, filters, route string
		req                  *matcher.Request
		effect               httpfilter.Effect
		why                  string
		status               int
		details              string
		calls                string
	}{
		{name: "RBAC that denies answers 403", filters: one("rbac.v3.RBAC", anyRules), route: plain, req: request("GET", "/admin"), effect: httpfilter.Refuse, why: "DENY policy p", status: 403, details: "rbac_access_denied_matched_policy[p]"},
		{name: "RBAC that allows", filters: one("rbac.v3.RBAC", anyRules), route: plain, req: request("GET", "/"), effect: httpfilter.Continue, why: "no DENY policy matches"},
		{name: "RBAC without rules is silent", filters: one("rbac.v3.RBAC", ""), route: plain, req: request("GET", "/"), effect: httpfilter.Silent},
		{name: "RBAC turned off by the route", filters: one("rbac.v3.RBAC", anyRules), route: per("envoy.extensions.filters.http.rbac.v3.RBACPerRoute", ""), req: request("GET", "/admin"), effect: httpfilter.Disabled},
		{name: "RBAC turned off by FilterConfig", filters: one("rbac.v3.RBAC", anyRules), route: per("envoy.config.route.v3.FilterConfig", `,"disabled":true`), req: request("GET", "/admin"), effect: httpfilter.Disabled},
		{name: "a filter that is off by default", filters: strings.Replace(one("rbac.v3.RBAC", anyRules), `"name"`, `"disabled":true,"name"`, 1), route: plain, req: request("GET", "/admin"), effect: httpfilter.Disabled},
		{name: "a filter that is off by default, turned on by the route", filters: strings.Replace(one("rbac.v3.RBAC", anyRules), `"name"`, `"disabled":true,"name"`, 1), route: per("envoy.config.route.v3.FilterConfig", `,"config":{}`), req: request("GET", "/admin"), effect: httpfilter.Refuse},
		{name: "a fault of 100 % aborts", filters: one("fault.v3.HTTPFault", ""), route: per("envoy.extensions.filters.http.fault.v3.HTTPFault", `,"abort":{"http_status":503,"percentage":{"numerator":100}}`), req: request("GET", "/"), effect: httpfilter.Refuse, status: 503, details: "fault_filter_abort"},
		{name: "a fault for another header value", filters: one("fault.v3.HTTPFault", ""), route: per("envoy.extensions.filters.http.fault.v3.HTTPFault", `,"headers":[{"name":"x","string_match":{"exact":"1"}}],"abort":{"http_status":503,"percentage":{"numerator":100}}`), req: request("GET", "/"), effect: httpfilter.Continue, why: "header x is absent"},
		{name: "a fault of 10 % may abort", filters: one("fault.v3.HTTPFault", `"abort":{"http_status":500,"percentage":{"numerator":10}}`), route: plain, req: request("GET", "/"), effect: httpfilter.MayRefuse, why: "10% of requests", status: 500},
		{name: "ext_authz may refuse and says whom it asks", filters: one("ext_authz.v3.ExtAuthz", `"grpc_service":{"envoy_grpc":{"cluster_name":"authz"}}`), route: plain, req: request("GET", "/"), effect: httpfilter.MayRefuse, calls: "cluster authz"},
		{name: "ext_authz whose cluster is absent refuses all", filters: one("ext_authz.v3.ExtAuthz", `"grpc_service":{"envoy_grpc":{"cluster_name":"gone"}}`), route: plain, req: request("GET", "/"), effect: httpfilter.Refuse, status: 403, details: "ext_authz_error", calls: "cluster gone"},
		{name: "ext_authz whose cluster is absent with failure_mode_allow", filters: one("ext_authz.v3.ExtAuthz", `"failure_mode_allow":true,"grpc_service":{"envoy_grpc":{"cluster_name":"gone"}}`), route: plain, req: request("GET", "/"), effect: httpfilter.Continue, calls: "cluster gone"},
		{name: "ext_authz turned off by the route", filters: one("ext_authz.v3.ExtAuthz", `"grpc_service":{"envoy_grpc":{"cluster_name":"gone"}}`), route: per("envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", `,"disabled":true`), req: request("GET", "/"), effect: httpfilter.Disabled},
		{name: "a local rate limit that is not enabled", filters: one("local_ratelimit.v3.LocalRateLimit", `"stat_prefix":"x","token_bucket":{"max_tokens":1,"fill_interval":"1s"}`), route: plain, req: request("GET", "/"), effect: httpfilter.Silent},
		{name: "a local rate limit", filters: one("local_ratelimit.v3.LocalRateLimit", `"stat_prefix":"x","token_bucket":{"max_tokens":5,"fill_interval":"1s"},"filter_enabled":{"default_value":{"numerator":100}},"filter_enforced":{"default_value":{"numerator":100}}`), route: plain, req: request("GET", "/"), effect: httpfilter.MayRefuse, why: "5 requests at once", status: 429, details: "local_rate_limited"},
		{name: "a rate limit filter without limits on the route", filters: one("ratelimit.v3.RateLimit", `"domain":"d","rate_limit_service":{"grpc_service":{"envoy_grpc":{"cluster_name":"rls"}}}`), route: plain, req: request("GET", "/"), effect: httpfilter.Silent},
		{name: "a rate limit filter with limits on the route", filters: one("ratelimit.v3.RateLimit", `"domain":"d","rate_limit_service":{"grpc_service":{"envoy_grpc":{"cluster_name":"rls"}}}`), route: `{"match":{"prefix":"/"},"route":{"cluster":"c","rate_limits":[{"actions":[{"generic_key":{"descriptor_value":"x"}}]}]}}`, req: request("GET", "/"), effect: httpfilter.MayRefuse, calls: "cluster rls", status: 429},
		{name: "a rate limit whose header is absent", filters: one("ratelimit.v3.RateLimit", `"domain":"d","rate_limit_service":{"grpc_service":{"envoy_grpc":{"cluster_name":"rls"}}}`), route: `{"match":{"prefix":"/"},"route":{"cluster":"c","rate_limits":[{"actions":[{"request_headers":{"header_name":"x-u","descriptor_key":"u"}}]}]}}`, req: request("GET", "/"), effect: httpfilter.Silent},
		{name: "a body over the buffer's limit", filters: one("buffer.v3.Buffer", `"max_request_bytes":10`), route: plain, req: request("POST", "/", "content-length", "11"), effect: httpfilter.Refuse, status: 413},
		{name: "a body within the buffer's limit", filters: one("buffer.v3.Buffer", `"max_request_bytes":10`), route: plain, req: request("POST", "/", "content-length", "10"), effect: httpfilter.Continue},
		{name: "a CORS preflight of an allowed origin", filters: one("cors.v3.Cors", ""), route: per("envoy.extensions.filters.http.cors.v3.CorsPolicy", `,"allow_origin_string_match":[{"exact":"http://x.test"}],"allow_methods":"GET"`), req: request("OPTIONS", "/", "origin", "http://x.test", "access-control-request-method", "GET"), effect: httpfilter.Refuse, status: 200, details: "cors_response"},
		{name: "a CORS preflight of another origin goes on", filters: one("cors.v3.Cors", ""), route: per("envoy.extensions.filters.http.cors.v3.CorsPolicy", `,"allow_origin_string_match":[{"exact":"http://x.test"}]`), req: request("OPTIONS", "/", "origin", "http://y.test", "access-control-request-method", "GET"), effect: httpfilter.Continue},
		{name: "CORS in the old fields of the route", filters: one("cors.v3.Cors", ""), route: `{"match":{"prefix":"/"},"route":{"cluster":"c","cors":{"allow_origin_string_match":[{"prefix":"http://x"}]}}}`, req: request("OPTIONS", "/", "origin", "http://x.test", "access-control-request-method", "GET"), effect: httpfilter.Refuse, status: 200},
		{name: "CSRF of a foreign origin", filters: one("csrf.v3.CsrfPolicy", `"filter_enabled":{"default_value":{"numerator":100}}`), route: plain, req: request("POST", "/", "origin", "http://evil.test"), effect: httpfilter.Refuse, status: 403, details: "csrf_origin_mismatch"},
		{name: "CSRF of the host's own origin", filters: one("csrf.v3.CsrfPolicy", `"filter_enabled":{"default_value":{"numerator":100}}`), route: plain, req: request("POST", "/", "origin", "http://a.test"), effect: httpfilter.Continue},
		{name: "a health check is answered by the proxy", filters: one("health_check.v3.HealthCheck", `"pass_through_mode":false,"headers":[{"name":":path","string_match":{"exact":"/healthz"}}]`), route: plain, req: request("GET", "/healthz"), effect: httpfilter.Refuse, status: 200},
		{name: "what is no health check", filters: one("health_check.v3.HealthCheck", `"pass_through_mode":false,"headers":[{"name":":path","string_match":{"exact":"/healthz"}}]`), route: plain, req: request("GET", "/"), effect: httpfilter.Silent},
		{name: "a Lua script that answers", filters: one("lua.v3.Lua", `"default_source_code":{"inline_string":"function envoy_on_request(h) h:respond({[\":status\"]=\"403\"}, \"no\") end"}`), route: plain, req: request("GET", "/"), effect: httpfilter.MayRefuse},
		{name: "a Lua script for responses only", filters: one("lua.v3.Lua", `"default_source_code":{"inline_string":"function envoy_on_response(h) end"}`), route: plain, req: request("GET", "/"), effect: httpfilter.Silent},
		{name: "a Wasm plugin may refuse", filters: one("wasm.v3.Wasm", `"config":{"name":"waf","vm_config":{"code":{"local":{"filename":"/x.wasm"}}}}`), route: plain, req: request("GET", "/"), effect: httpfilter.MayRefuse, why: "waf", calls: "/x.wasm"},
		{name: "Istio's own Wasm plugins are silent", filters: one("wasm.v3.Wasm", `"config":{"vm_config":{"runtime":"envoy.wasm.runtime.null","code":{"local":{"inline_string":"envoy.wasm.stats"}}}}`), route: plain, req: request("GET", "/"), effect: httpfilter.Silent},
		{name: "OAuth without a session redirects", filters: one("oauth2.v3.OAuth2", `"config":{"token_endpoint":{"uri":"https://idp/token","cluster":"idp","timeout":"1s"},"authorization_endpoint":"https://idp/auth","credentials":{"client_id":"x"}}`), route: plain, req: request("GET", "/"), effect: httpfilter.Refuse, status: 302, calls: "cluster idp (https://idp/token)"},
		{name: "basic auth without a credential", filters: one("basic_auth.v3.BasicAuth", ""), route: plain, req: request("GET", "/"), effect: httpfilter.Refuse, status: 401},
		{name: "an API key that is absent", filters: one("api_key_auth.v3.ApiKeyAuth", `"key_sources":[{"header":"x-key"}]`), route: plain, req: request("GET", "/"), effect: httpfilter.Refuse, status: 401},
		{name: "ECDS that was not read", filters: `[{"name":"f","config_discovery":{"type_urls":["x"],"config_source":{"ads":{}}}}]`, route: plain, req: request("GET", "/"), effect: httpfilter.Unknown, why: "ECDS"},
		{name: "a filter nobody knows", filters: `[{"name":"f","typed_config":{"@type":"type.googleapis.com/xds.type.v3.TypedStruct","type_url":"type.googleapis.com/acme.Filter","value":{}}}]`, route: plain, req: request("GET", "/"), effect: httpfilter.Unknown, why: "acme.Filter"},
		{name: "a gRPC call for a reverse bridge is sent on as plain HTTP", filters: one("grpc_http1_reverse_bridge.v3.FilterConfig", `"content_type":"application/x-protobuf"`), route: plain, req: grpcCall, effect: httpfilter.Changes, why: "application/x-protobuf"},
		{name: "a reverse bridge is turned off by the route", filters: one("grpc_http1_reverse_bridge.v3.FilterConfig", `"content_type":"application/x-protobuf"`), route: per("envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfigPerRoute", `,"disabled":true`), req: grpcCall, effect: httpfilter.Disabled},
		{name: "protobuf is made gRPC by the HTTP/1 bridge", filters: one("grpc_http1_bridge.v3.Config", `"upgrade_protobuf_to_grpc":true`), route: plain, req: request("POST", "/p.S/M", "content-type", "application/x-protobuf"), effect: httpfilter.Changes},
		{name: "a unary Connect call is made gRPC", filters: one("connect_grpc_bridge.v3.FilterConfig", ""), route: plain, req: request("POST", "/p.S/M", "content-type", "application/json", "connect-protocol-version", "1"), effect: httpfilter.Changes},
		{name: "a gRPC call for a reverse transcoder", filters: one("grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder", ""), route: plain, req: grpcCall, effect: httpfilter.MayRefuse},
		{name: "a gRPC call whose fields are extracted", filters: one("grpc_field_extraction.v3.GrpcFieldExtractionConfig", `"extractions_by_method":{"p.S.M":{}}`), route: plain, req: grpcCall, effect: httpfilter.MayRefuse, why: "p.S.M"},
		{name: "a gRPC call whose fields are not extracted", filters: one("grpc_field_extraction.v3.GrpcFieldExtractionConfig", `"extractions_by_method":{"p.S.N":{}}`), route: plain, req: grpcCall, effect: httpfilter.Silent},
		{name: "a gRPC call without a method", filters: one("proto_message_extraction.v3.ProtoMessageExtractionConfig", ""), route: plain, req: request("POST", "/p", "content-type", "application/grpc"), effect: httpfilter.Refuse, status: 400},
		{name: "a restricted gRPC method", filters: one("proto_api_scrubber.v3.ProtoApiScrubberConfig", `"restrictions":{"method_restrictions":{"/p.S/M":{"method_restriction":{"matcher":{"on_no_match":{"action":{"name":"block","typed_config":{"@type":"type.googleapis.com/google.protobuf.StringValue","value":""}}}}}}}}`), route: plain, req: grpcCall, effect: httpfilter.Refuse, status: 403, details: "proto_api_scrubber_Forbidden{METHOD_BLOCKED}"},
		{name: "an unrestricted gRPC method", filters: one("proto_api_scrubber.v3.ProtoApiScrubberConfig", ""), route: plain, req: grpcCall, effect: httpfilter.Continue},
		{name: "what is no MCP call is refused where only MCP may pass", filters: one("mcp.v3.Mcp", `"traffic_mode":"REJECT_NO_MCP"`), route: plain, req: request("GET", "/"), effect: httpfilter.Refuse, status: 400, details: "mcp_filter_reject_no_mcp"},
		{name: "what is no MCP call passes where the route says so", filters: one("mcp.v3.Mcp", `"traffic_mode":"REJECT_NO_MCP"`), route: per("envoy.extensions.filters.http.mcp.v3.McpOverride", ""), req: request("GET", "/"), effect: httpfilter.Silent},
		{name: "an MCP stream", filters: one("mcp.v3.Mcp", `"traffic_mode":"REJECT_NO_MCP"`), route: plain, req: request("GET", "/", "accept", "text/event-stream"), effect: httpfilter.Continue},
		{name: "an MCP call is judged by its body", filters: one("mcp.v3.Mcp", ""), route: plain, req: request("POST", "/", "accept", "*/*", "content-type", "application/json; charset=utf-8"), effect: httpfilter.MayRefuse},
		{name: "what is no A2A call is refused where only A2A may pass", filters: one("a2a.v3.A2a", `"traffic_mode":"REJECT"`), route: plain, req: request("PUT", "/"), effect: httpfilter.Refuse, status: 400, details: "a2a_filter_reject"},
		{name: "an A2A call is judged by its body", filters: one("a2a.v3.A2a", ""), route: plain, req: request("POST", "/", "content-type", "application/a2a+json"), effect: httpfilter.MayRefuse},
		{name: "an MCP bridge that acts where a route says so only", filters: one("mcp_json_rest_bridge.v3.McpJsonRestBridge", `"per_route_only":true`), route: plain, req: request("POST", "/"), effect: httpfilter.Silent},
		{name: "an MCP router names its servers", filters: one("mcp_router.v3.McpRouter", `"servers":[{"name":"a","mcp_cluster":{"cluster":"tools"}}]`), route: plain, req: request("POST", "/"), effect: httpfilter.Unknown, calls: "cluster tools"},
		{name: "a declared AI API judges the body", filters: one("ai_protocol_manager.v3.AiProtocolManager", `"request_handling":{}`), route: per("envoy.extensions.filters.http.ai_protocol_manager.v3.AiProtocolManagerPerRoute", `,"request":{}`), req: request("POST", "/"), effect: httpfilter.MayRefuse},
		{name: "a file server answers its paths", filters: one("file_server.v3.FileServerConfig", `"path_mappings":[{"request_path_prefix":"/static","file_path_prefix":"/www"}]`), route: plain, req: request("GET", "/static/a%20b"), effect: httpfilter.MayRefuse, why: "/www"},
		{name: "a file server answers GET and HEAD only", filters: one("file_server.v3.FileServerConfig", `"path_mappings":[{"request_path_prefix":"/static","file_path_prefix":"/www"}]`), route: plain, req: request("POST", "/static/a"), effect: httpfilter.Refuse, status: 405},
		{name: "a file server lets other paths pass", filters: one("file_server.v3.FileServerConfig", `"path_mappings":[{"request_path_prefix":"/static","file_path_prefix":"/www"}]`), route: plain, req: request("GET", "/api"), effect: httpfilter.Silent},
		{name: "a kill request kills", filters: one("kill_request.v3.KillRequest", `"probability":{"numerator":100}`), route: plain, req: request("GET", "/", "x-envoy-kill-request", "true"), effect: httpfilter.Refuse, why: "kills the proxy"},
		{name: "a kill request by chance", filters: one("kill_request.v3.KillRequest", `"probability":{"numerator":1}`), route: plain, req: request("GET", "/", "x-envoy-kill-request", "1"), effect: httpfilter.MayRefuse, why: "1% of such requests"},
		{name: "a kill request for responses", filters: one("kill_request.v3.KillRequest", `"probability":{"numerator":100},"direction":"RESPONSE"`), route: plain, req: request("GET", "/", "x-envoy-kill-request", "true"), effect: httpfilter.Silent},
		{name: "a loop between CDNs", filters: one("cdn_loop.v3.CdnLoopConfig", `"cdn_id":"me.test"`), route: plain, req: request("GET", "/", "cdn-loop", "other.test; x=1, me.test"), effect: httpfilter.Refuse, status: 502, details: "cdn_loop_detected"},
		{name: "a detour between CDNs", filters: one("cdn_loop.v3.CdnLoopConfig", `"cdn_id":"me.test"`), route: plain, req: request("GET", "/", "cdn-loop", "other.test"), effect: httpfilter.Continue},
		{name: "a body over the size limit", filters: one("body_size_limit.v3.BodySizeLimit", `"max_request_bytes":10`), route: plain, req: request("PUT", "/", "content-length", "11"), effect: httpfilter.Refuse, status: 413, details: "request_payload_too_large"},
		{name: "a session that the request carries", filters: one("stateful_session.v3.StatefulSession", cookieSession), route: plain, req: request("GET", "/", "cookie", `a=b; sid="MS4yLjMuNDo4MA=="`), effect: httpfilter.Continue, why: "cookie sid asks for host 1.2.3.4:80"},
		{name: "a session that is none", filters: one("stateful_session.v3.StatefulSession", cookieSession), route: plain, req: request("GET", "/", "cookie", "a=b; sid=x"), effect: httpfilter.Continue, why: "cookie sid holds no session"},
		{name: "a session of another path", filters: one("stateful_session.v3.StatefulSession", strings.Replace(cookieSession, `"sid"`, `"sid","path":"/a"`, 1)), route: plain, req: request("GET", "/ab", "cookie", "sid=MS4yLjMuNDo4MA=="), effect: httpfilter.Silent},
		{name: "a session of a path below", filters: one("stateful_session.v3.StatefulSession", strings.Replace(cookieSession, `"sid"`, `"sid","path":"/a"`, 1)), route: plain, req: request("GET", "/a?b", "cookie", "sid=MS4yLjMuNDo4MA=="), effect: httpfilter.Continue, why: "asks for host"},
		{name: "a session that the request does not carry", filters: one("stateful_session.v3.StatefulSession", cookieSession), route: plain, req: request("GET", "/", "cookie", "a=b"), effect: httpfilter.Silent},
		{name: "a dynamic forward proxy whose route names the host", filters: one("dynamic_forward_proxy.v3.FilterConfig", ""), route: per("envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig", `,"host_rewrite_literal":"real.test"`), req: request("GET", "/"), effect: httpfilter.Changes, why: "real.test"},
		{name: "AWS signing for another host", filters: one("aws_request_signing.v3.AwsRequestSigning", `"host_rewrite":"s3.test"`), route: plain, req: request("GET", "/"), effect: httpfilter.Changes, why: "s3.test"},
		{name: "an ext_proc that sees the request", filters: one("ext_proc.v3.ExternalProcessor", `"grpc_service":{"envoy_grpc":{"cluster_name":"proc"}}`), route: plain, req: request("GET", "/"), effect: httpfilter.MayRefuse, calls: "cluster proc"},
		{name: "an ext_proc that sees the response only", filters: one("ext_proc.v3.ExternalProcessor", `"grpc_service":{"envoy_grpc":{"cluster_name":"proc"}},"processing_mode":{"request_header_mode":"SKIP"}`), route: plain, req: request("GET", "/"), effect: httpfilter.Continue, calls: "cluster proc"},
		{name: "an ext_proc whose cluster is absent fails all", filters: one("ext_proc.v3.ExternalProcessor", `"grpc_service":{"envoy_grpc":{"cluster_name":"gone"}}`), route: plain, req: request("GET", "/"), effect: httpfilter.Refuse, status: 500, calls: "cluster gone"},
		{name: "JSON for a gRPC transcoder", filters: one("grpc_json_transcoder.v3.GrpcJsonTranscoder", `"proto_descriptor_bin":"","services":["p.S"]`), route: plain, req: request("GET", "/"), effect: httpfilter.Changes, why: "p.S"},
		{name: "JSON for a gRPC transcoder that refuses what it does not know", filters: one("grpc_json_transcoder.v3.GrpcJsonTranscoder", `"services":["p.S"],"request_validation_options":{"reject_unknown_method":true}`), route: plain, req: request("GET", "/"), effect: httpfilter.MayRefuse},
		{name: "a gRPC transcoder that the route turns off", filters: one("grpc_json_transcoder.v3.GrpcJsonTranscoder", `"services":["p.S"]`), route: per("envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder", ""), req: request("GET", "/"), effect: httpfilter.Disabled},
		{name: "a gRPC call for a gRPC transcoder", filters: one("grpc_json_transcoder.v3.GrpcJsonTranscoder", `"services":["p.S"]`), route: plain, req: grpcCall, effect: httpfilter.Silent},
		{name: "a composite filter runs what its matcher names", filters: one("composite.v3.Composite", `"matcher":{"on_no_match":{"action":{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.composite.v3.ExecuteFilterAction","typed_config":{"name":"abort","typed_config":`+abortAll+`}}}}}`), route: plain, req: request("GET", "/"), effect: httpfilter.Refuse, status: 503, why: "runs abort: aborts every request"},
		{name: "a composite filter whose matcher names nothing", filters: one("composite.v3.Composite", `"matcher":{}`), route: plain, req: request("GET", "/"), effect: httpfilter.Silent},
		{name: "a composite filter that runs another by chance", filters: one("composite.v3.Composite", `"matcher":{"on_no_match":{"action":{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.composite.v3.ExecuteFilterAction","sample_percent":{"default_value":{"numerator":5}},"typed_config":{"name":"abort","typed_config":`+abortAll+`}}}}}`), route: plain, req: request("GET", "/"), effect: httpfilter.Unknown, why: "5% of requests"},
		{name: "a filter behind a matcher runs where it is not skipped", filters: behindMatcher(``), route: plain, req: request("GET", "/"), effect: httpfilter.Refuse, status: 503},
		{name: "a filter behind a matcher that skips it", filters: behindMatcher(`"on_no_match":{"action":{"name":"skip","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter"}}}`), route: plain, req: request("GET", "/"), effect: httpfilter.Disabled},
		{name: "a list of filters", filters: one("filter_chain.v3.FilterChainConfig", `"default_filter_chain":{"filters":[{"name":"abort","typed_config":`+abortAll+`}]}`), route: plain, req: request("GET", "/"), effect: httpfilter.Refuse, status: 503},
		{name: "a list of filters that the route replaces", filters: one("filter_chain.v3.FilterChainConfig", `"default_filter_chain":{"filters":[{"name":"abort","typed_config":`+abortAll+`}]}`), route: per("envoy.extensions.filters.http.filter_chain.v3.FilterChainConfigPerRoute", `,"filter_chain":{"filters":[{"name":"tap","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap"}}]}`), req: request("GET", "/"), effect: httpfilter.Silent},
		{name: "the router says nothing", filters: one("router.v3.Router", ""), route: plain, req: request("GET", "/"), effect: httpfilter.Silent},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := httpfilter.Walk(filters(t, c.filters), outcome(t, c.route), c.req, nil)
			s := res.Steps[0]
			if s.Effect != c.effect || !strings.Contains(s.Why, c.why) {
				t.Fatalf("effect %q (%s), want %q with %q", s.Effect, s.Why, c.effect, c.why)
			}
			if c.status != 0 && (s.Response == nil || s.Response.Status != c.status) {
				t.Errorf("response %+v, want status %d", s.Response, c.status)
			}
			if c.details != "" && s.Response.Details != c.details {
				t.Errorf("details %q, want %q", s.Response.Details, c.details)
			}
			if got := strings.Join(s.Calls, ","); got != c.calls {
				t.Errorf("calls %q, want %q", got, c.calls)
			}
		})
	}
}

func TestTheChainEndsWithATerminalFilterAndNoOther(t *testing.T) {
	router := strings.Trim(one("router.v3.Router", ""), "[]")
	cors := strings.Trim(one("cors.v3.Cors", ""), "[]")
	module := strings.Trim(one("dynamic_modules.v3.DynamicModuleFilter", `"terminal_filter":true`), "[]")
	discovered := `{"name":"d","config_discovery":{"type_urls":["x"],"config_source":{"ads":{}}}}`
	unknown := `{"name":"f","typed_config":{"@type":"type.googleapis.com/xds.type.v3.TypedStruct","type_url":"type.googleapis.com/acme.Filter","value":{}}}`
	for _, c := range []struct{ name, filters, want string }{
		{"the router last", cors + "," + router, ""},
		{"the router by its old name", cors + `,{"name":"envoy.router"}`, ""},
		{"a module that answers itself", module, ""},
		{"a filter discovered elsewhere, which may be one", discovered, ""},
		{"a filter of an unknown type, which may be one", unknown, ""},
		{"none at all", "", "no HTTP filters"},
		{"another filter last", router + "," + cors, "must be the last one"},
		{"no router", cors, "is not a terminal one"},
		{"a router that is disabled", strings.Replace(router, `"name"`, `"disabled":true,"name"`, 1), "is disabled"},
	} {
		if got := httpfilter.Misplaced(filters(t, "["+c.filters+"]"), nil); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestATranscoderChoosesTheRouteAgainUnlessToldOtherwise(t *testing.T) {
	for fields, want := range map[string]bool{`"services":["p.S"]`: true, `"services":["p.S"],"match_incoming_request_route":true`: false} {
		res := httpfilter.Walk(filters(t, one("grpc_json_transcoder.v3.GrpcJsonTranscoder", fields)), outcome(t, `{"match":{"prefix":"/"},"route":{"cluster":"c"}}`), request("GET", "/"), nil)
		if (res.MayReroute != "") != want {
			t.Errorf("%s: %q", fields, res.MayReroute)
		}
	}
}

func TestABridgeChoosesTheRouteAgain(t *testing.T) {
	chain := filters(t, `[{"name":"bridge","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig","content_type":"application/x-protobuf"}},{"name":"router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]`)
	res := httpfilter.Walk(chain, outcome(t, `{"match":{"prefix":"/"},"route":{"cluster":"c"}}`), request("POST", "/p.S/M", "content-type", "application/grpc"), nil)
	if ct, _ := res.Request.Get("content-type"); res.RouteCleared != "bridge" || len(res.Rest) != 1 || ct != "application/x-protobuf" {
		t.Errorf("%q %q %v", res.RouteCleared, ct, res.Rest)
	}
}

func TestTheMostSpecificLevelWins(t *testing.T) {
	deny := func(status int) *anypb.Any {
		h := filters(t, one("fault.v3.HTTPFault", fmt.Sprintf(`"abort":{"http_status":%d,"percentage":{"numerator":100}}`, status)))
		return h[0].GetTypedConfig()
	}
	o := outcome(t, `{"match":{"prefix":"/"},"route":{"cluster":"c"}}`)
	o.Route.TypedPerFilterConfig = map[string]*anypb.Any{"f": deny(501)}
	o.Host.TypedPerFilterConfig = map[string]*anypb.Any{"f": deny(502)}
	o.PerFilter = []map[string]*anypb.Any{o.Route.TypedPerFilterConfig, o.Host.TypedPerFilterConfig}
	fs := filters(t, one("fault.v3.HTTPFault", ""))
	s := httpfilter.Walk(fs, o, request("GET", "/"), nil).Steps[0]
	if s.Response == nil || s.Response.Status != 501 || s.From != "route" {
		t.Errorf("response %+v from %q, want 501 from the route", s.Response, s.From)
	}
	o.PerFilter = o.PerFilter[1:]
	s = httpfilter.Walk(fs, o, request("GET", "/"), nil).Steps[0]
	if s.Response == nil || s.Response.Status != 502 || s.From != "virtual host" {
		t.Errorf("response %+v from %q, want 502 from the virtual host", s.Response, s.From)
	}
}

func TestWhatOneFilterSetsTheNextOneSees(t *testing.T) {
	fs := filters(t, `[
	 {"name":"h2m","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config","request_rules":[{"header":"x-tier","on_header_present":{"metadata_namespace":"ns","key":"tier"}}]}},
	 {"name":"rbac","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC","rules":{"action":"ALLOW","policies":{"gold":{"permissions":[{"any":true}],"principals":[{"metadata":{"filter":"ns","path":[{"key":"tier"}],"value":{"string_match":{"exact":"gold"}}}}]}}}}},
	 {"name":"router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]`)
	o := outcome(t, `{"match":{"prefix":"/"},"route":{"cluster":"c"}}`)
	gold := httpfilter.Walk(fs, o, request("GET", "/", "x-tier", "gold"), nil)
	if gold.Refused() != nil || gold.Terminal != "router" {
		t.Errorf("refused by %+v, terminal %q", gold.Refused(), gold.Terminal)
	}
	iron := httpfilter.Walk(fs, o, request("GET", "/", "x-tier", "iron"), nil)
	if iron.Refused() == nil || iron.Refused().Name != "rbac" {
		t.Errorf("not refused: %+v", iron.Steps)
	}
}

func TestIstiosExternalAuthorizationIsAskedWhereShadowRulesNameAPolicy(t *testing.T) {
	fs := filters(t, `[
	 {"name":"rbac","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC","shadow_rules_stat_prefix":"istio_ext_authz_",
	  "shadow_rules":{"action":"DENY","policies":{"istio-ext-authz-ns[a]-policy[p]-rule[0]":{"permissions":[{"url_path":{"path":{"prefix":"/admin"}}}],"principals":[{"any":true}]}}}}},
	 {"name":"authz","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz","grpc_service":{"envoy_grpc":{"cluster_name":"authz"}},
	  "filter_enabled_metadata":{"filter":"envoy.filters.http.rbac","path":[{"key":"istio_ext_authz_shadow_effective_policy_id"}],"value":{"string_match":{"prefix":"istio-ext-authz"}}}}}]`)
	o := outcome(t, `{"match":{"prefix":"/"},"route":{"cluster":"c"}}`)
	if s := httpfilter.Walk(fs, o, request("GET", "/admin"), nil).Steps[1]; s.Effect != httpfilter.MayRefuse {
		t.Errorf("/admin: %q %s", s.Effect, s.Why)
	}
	if s := httpfilter.Walk(fs, o, request("GET", "/"), nil).Steps[1]; s.Effect != httpfilter.Continue || !strings.Contains(s.Why, "not asked") {
		t.Errorf("/: %q %s", s.Effect, s.Why)
	}
}

func TestTheWalkStopsWhereTheRouteIsChosenAgain(t *testing.T) {
	fs := filters(t, `[
	 {"name":"state","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config","clear_route_cache":true,"on_request_headers":[{"object_key":"k","format_string":{"text_format_source":{"inline_string":"%REQ(x)%"}}}]}},
	 {"name":"router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]`)
	res := httpfilter.Walk(fs, nil, request("GET", "/", "x", "1"), nil)
	if res.RouteCleared != "state" || len(res.Rest) != 1 || len(res.Steps) != 1 || res.Request.Env.FilterState["k"] != "1" {
		t.Errorf("%+v", res)
	}
}

// mint signs a token, and returns it with the key set that verifies it.
func mint(t *testing.T, claims map[string]any) (tok, jwks string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed := enc.EncodeToString([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + enc.EncodeToString(payload)
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	e := big.NewInt(int64(key.E)).Bytes()
	return signed + "." + enc.EncodeToString(sig), fmt.Sprintf(`{"keys":[{"kty":"RSA","kid":"k","alg":"RS256","n":%q,"e":%q}]}`, enc.EncodeToString(key.N.Bytes()), enc.EncodeToString(e))
}

func TestATokenIsCheckedAsFarAsItCanBe(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	good, keys := mint(t, map[string]any{"iss": "i", "aud": "a", "exp": now.Add(time.Hour).Unix()})
	_, otherKeys := mint(t, map[string]any{})
	old, oldKeys := mint(t, map[string]any{"iss": "i", "aud": "a", "exp": now.Add(-time.Hour).Unix()})
	local := func(k string) string {
		b, _ := json.Marshal(k)
		return `"local_jwks":{"inline_string":` + string(b) + `}`
	}
	remote := `"remote_jwks":{"http_uri":{"uri":"https://idp/keys","cluster":"idp","timeout":"1s"}}`
	must := `{"match":{"prefix":"/"},"requires":{"provider_name":"p"}}`
	may := `{"match":{"prefix":"/"},"requires":{"requires_any":{"requirements":[{"provider_name":"p"},{"allow_missing":{}}]}}}`
	for _, c := range []struct {
		name, provider, rule, token string
		noClock                     bool
		effect                      httpfilter.Effect
		status                      int
		details, calls              string
	}{
		{name: "no token where one must be", provider: local(keys), rule: must, effect: httpfilter.Refuse, status: 401, details: "jwt_authn_access_denied{Jwt_is_missing}"},
		{name: "no token where one may be", provider: local(keys), rule: may, effect: httpfilter.Continue},
		{name: "no token on a path without a rule", provider: local(keys), rule: `{"match":{"prefix":"/other"},"requires":{"provider_name":"p"}}`, effect: httpfilter.Silent},
		{name: "a token of another issuer", provider: `"issuer":"z",` + local(keys), rule: must, token: good, effect: httpfilter.Refuse, status: 401, details: "jwt_authn_access_denied{Jwt_issuer_is_not_configured}"},
		{name: "a token for another audience", provider: `"audiences":["b"],` + local(keys), rule: must, token: good, effect: httpfilter.Refuse, status: 403},
		{name: "a token that has expired", provider: local(oldKeys), rule: must, token: old, effect: httpfilter.Refuse, status: 401, details: "jwt_authn_access_denied{Jwt_is_expired}"},
		{name: "a good token", provider: `"issuer":"i","audiences":["a"],` + local(keys), rule: must, token: good, effect: httpfilter.Changes},
		{name: "a token signed by another key", provider: local(otherKeys), rule: must, token: good, effect: httpfilter.Refuse, status: 401, details: "jwt_authn_access_denied{Jwt_verification_fails}"},
		{name: "a bad token where one may be missing", provider: local(otherKeys), rule: may, token: good, effect: httpfilter.Refuse, status: 401},
		{name: "a token whose keys are fetched", provider: remote, rule: must, token: good, effect: httpfilter.MayRefuse, calls: "cluster idp (https://idp/keys)"},
		{name: "a token when the time is not known", provider: local(keys), rule: must, token: good, noClock: true, effect: httpfilter.MayRefuse},
		{name: "what is no token", provider: local(keys), rule: must, token: "abc", effect: httpfilter.Refuse, status: 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := filters(t, one("jwt_authn.v3.JwtAuthentication", `"providers":{"p":{`+c.provider+`}},"rules":[`+c.rule+`]`))
			req := request("GET", "/x")
			if !c.noClock {
				req.Env.Now = now
			}
			if c.token != "" {
				req.Headers = append(req.Headers, matcher.Header{Name: "Authorization", Value: "Bearer " + c.token})
			}
			s := httpfilter.Walk(fs, outcome(t, `{"match":{"prefix":"/"},"route":{"cluster":"c"}}`), req, nil).Steps[0]
			if s.Effect != c.effect {
				t.Fatalf("effect %q (%s), want %q", s.Effect, s.Why, c.effect)
			}
			if c.status != 0 && s.Response.Status != c.status || c.details != "" && s.Response.Details != c.details {
				t.Errorf("response %+v, want %d %s", s.Response, c.status, c.details)
			}
			if got := strings.Join(s.Calls, ","); got != c.calls {
				t.Errorf("calls %q, want %q", got, c.calls)
			}
			if strings.Contains(s.Why, c.token) && len(c.token) > 10 {
				t.Errorf("the token is shown: %s", s.Why)
			}
		})
	}
}

func TestIstiosALPNIsToldByProtocol(t *testing.T) {
	fs := filters(t, `[{"name":"istio.alpn","typed_config":{"@type":"type.googleapis.com/xds.type.v3.TypedStruct","type_url":"type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig","value":{"alpn_override":[{"alpn_override":["istio-http/1.0","istio"]},{"upstream_protocol":"HTTP11","alpn_override":["istio-http/1.1","istio"]},{"upstream_protocol":"HTTP2","alpn_override":["istio-h2"]}]}}}]`)
	res := httpfilter.Walk(fs, nil, request("GET", "/"), nil)
	if got := strings.Join(res.UpstreamALPN, ","); got != "istio-http/1.1,istio" {
		t.Errorf("ALPN %s", got)
	}
	if got := strings.Join(res.ALPNByProtocol["h2"], ","); got != "istio-h2" {
		t.Errorf("ALPN of h2 %s", got)
	}
	if res.Steps[0].Effect != httpfilter.Silent {
		t.Errorf("effect %q", res.Steps[0].Effect)
	}
}

func TestIstiosOldAuthenticationRefusesOnlyWhereItsPolicyDemands(t *testing.T) {
	for _, tc := range []struct {
		name, policy string
		peer         bool
		want         httpfilter.Effect
	}{
		{"permissive", `{"peers":[{"mtls":{"mode":"PERMISSIVE"}}]}`, false, httpfilter.Continue},
		{"strict, plaintext", `{"peers":[{"mtls":{}}]}`, false, httpfilter.MayRefuse},
		{"strict, with a certificate", `{"peers":[{"mtls":{}}]}`, true, httpfilter.Continue},
		{"strict, but the peer is optional", `{"peers":[{"mtls":{}}],"peer_is_optional":true}`, false, httpfilter.Continue},
		{"a token", `{"origins":[{"jwt":{"issuer":"i"}}]}`, false, httpfilter.MayRefuse},
		{"an optional token", `{"origins":[{"jwt":{"issuer":"i"}}],"originIsOptional":true}`, false, httpfilter.Continue},
		{"no policy", `{}`, false, httpfilter.Continue},
	} {
		req := request("GET", "/")
		if tc.peer {
			req.Conn.TLS = &matcher.TLS{Peer: &matcher.Peer{}}
		}
		fs := filters(t, `[{"name":"istio_authn","typed_config":{"@type":"type.googleapis.com/xds.type.v3.TypedStruct","type_url":"type.googleapis.com/istio.envoy.config.filter.http.authn.v2alpha1.FilterConfig","value":{"policy":`+tc.policy+`}}}]`)
		res := httpfilter.Walk(fs, outcome(t, `{"match":{"prefix":"/"},"route":{"cluster":"c"}}`), req, nil)
		if got := res.Steps[0]; got.Effect != tc.want || got.Why == "" {
			t.Errorf("%s: %v %q, want %v", tc.name, got.Effect, got.Why, tc.want)
		}
	}
}
