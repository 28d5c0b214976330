package httpfilter

import (
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
)

const (
	extensions = "envoy.extensions.filters.http."

	typeRouter = extensions + "router.v3.Router"
)

// evaluate knows the filters by the type of their configuration.
func (r *runner) evaluate(f *filter) Step {
	switch t := f.typ; t {
	case typeRouter:
		r.res.Terminal = f.name
		return Step{Effect: Silent}
	case "envoy.extensions.common.matching.v3.ExtensionWithMatcher":
		return r.delegate(f)
	case compositeType:
		return Step{Effect: Silent} // does nothing without a matcher around it

	case extensions + "rbac.v3.RBAC":
		return r.rbac(f)
	case extensions + "jwt_authn.v3.JwtAuthentication":
		return r.jwt(f)
	case extensions + "ext_authz.v3.ExtAuthz":
		return r.extAuthz(f)
	case extensions + "ext_proc.v3.ExternalProcessor":
		return r.extProc(f)
	case extensions + "fault.v3.HTTPFault":
		return r.fault(f)
	case extensions + "local_ratelimit.v3.LocalRateLimit":
		return r.localRateLimit(f)
	case extensions + "ratelimit.v3.RateLimit":
		return r.rateLimit(f)
	case extensions + "rate_limit_quota.v3.RateLimitQuotaFilterConfig":
		return r.rateLimitQuota(f)
	case extensions + "buffer.v3.Buffer":
		return r.buffer(f)
	case extensions + "cors.v3.Cors":
		return r.cors(f)
	case extensions + "csrf.v3.CsrfPolicy":
		return r.csrf(f)
	case extensions + "health_check.v3.HealthCheck":
		return r.healthCheck(f)
	case extensions + "header_to_metadata.v3.Config":
		return r.headerToMetadata(f)
	case extensions + "set_metadata.v3.Config":
		return r.setMetadataFilter(f)
	case extensions + "set_filter_state.v3.Config":
		return r.setFilterState(f)
	case extensions + "header_mutation.v3.HeaderMutation":
		return r.headerMutation(f)
	case extensions + "lua.v3.Lua":
		return r.lua(f)
	case extensions + "wasm.v3.Wasm":
		return r.wasm(f)
	case extensions + "oauth2.v3.OAuth2":
		return r.oauth2(f)
	case extensions + "basic_auth.v3.BasicAuth":
		return r.basicAuth(f)
	case extensions + "api_key_auth.v3.ApiKeyAuth":
		return r.apiKeyAuth(f)
	case extensions + "on_demand.v3.OnDemand":
		return r.onDemand(f)
	case extensions + "grpc_json_transcoder.v3.GrpcJsonTranscoder":
		return r.transcoder()
	case extensions + "cdn_loop.v3.CdnLoopConfig":
		if _, ok := r.req.Get("cdn-loop"); !ok {
			return Step{Effect: Silent}
		}
		return Step{Effect: MayRefuse, Why: "refuses with 502 a request that came through this network before (header cdn-loop)"}
	case extensions + "cache.v3.CacheConfig", extensions + "cache_v2.v3.CacheV2Config":
		if r.req.Method != "GET" && r.req.Method != "HEAD" {
			return Step{Effect: Silent}
		}
		return Step{Effect: MayRefuse, Why: "may answer from its cache", Limit: "what the cache holds"}
	case extensions + "admission_control.v3.AdmissionControl":
		return Step{Effect: MayRefuse, Why: "refuses with 503 while too many requests fail upstream", Limit: "the success rate upstream", Response: &Response{Status: 503, Details: "denied_by_admission_control"}}
	case extensions + "adaptive_concurrency.v3.AdaptiveConcurrency":
		return Step{Effect: MayRefuse, Why: "refuses with 503 what goes beyond the concurrency it measures", Limit: "concurrency", Response: &Response{Status: 503, Details: "reached_concurrency_limit"}}
	case extensions + "json_to_metadata.v3.JsonToMetadata", extensions + "thrift_to_metadata.v3.ThriftToMetadata":
		r.req.Env.MetadataComplete = false
		return Step{Effect: Changes, Why: "sets dynamic metadata from the body, which is not known"}
	case extensions + "dynamic_forward_proxy.v3.FilterConfig":
		return Step{Effect: Silent} // the cluster it fills resolves the name
	case extensions + "credential_injector.v3.CredentialInjector":
		return Step{Effect: Continue, Why: "adds a credential to the request"}
	case extensions + "ip_tagging.v3.IPTagging":
		return Step{Effect: Continue, Why: "adds x-envoy-ip-tags by the client's address"}
	case extensions + "stateful_session.v3.StatefulSession":
		return Step{Effect: Continue, Why: "a session may bind the request to an endpoint"}
	case extensions + "grpc_web.v3.GrpcWeb", extensions + "grpc_stats.v3.FilterConfig", extensions + "grpc_http1_bridge.v3.Config",
		extensions + "compressor.v3.Compressor", extensions + "decompressor.v3.Decompressor", extensions + "gzip.v3.Gzip",
		extensions + "tap.v3.Tap", extensions + "alternate_protocols_cache.v3.FilterConfig", extensions + "original_src.v3.OriginalSrc",
		extensions + "bandwidth_limit.v3.BandwidthLimit", extensions + "aws_request_signing.v3.AwsRequestSigning",
		extensions + "aws_lambda.v3.Config", extensions + "geoip.v3.Geoip", extensions + "custom_response.v3.CustomResponse",
		extensions + "upstream_codec.v3.UpstreamCodec", extensions + "connect_grpc_bridge.v3.FilterConfig",
		extensions + "gcp_authn.v3.GcpAuthnFilterConfig", extensions + "kill_request.v3.KillRequest",
		extensions + "grpc_http1_reverse_bridge.v3.FilterConfig", extensions + "file_system_buffer.v3.FileSystemBufferFilterConfig",
		extensions + "sse_to_metadata.v3.SseToMetadata":
		return Step{Effect: Silent}

	case "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig":
		return r.istioALPN(f)
	case "stats.PluginConfig", "io.istio.http.peer_metadata.Config", "envoy.tcp.metadataexchange.config.MetadataExchange":
		return Step{Effect: Silent}
	case "istio.envoy.config.filter.http.authn.v2alpha1.FilterConfig":
		return r.istioAuthn(f)
	}
	// Old configurations name a filter and hold nothing.
	switch f.name {
	case "envoy.router", "envoy.filters.http.router", "http_router":
		if f.typ == "" {
			r.res.Terminal = f.name
			return Step{Effect: Silent}
		}
	case "envoy.cors", "envoy.filters.http.cors":
		if f.typ == "" {
			return r.cors(f)
		}
	case "envoy.fault", "envoy.filters.http.fault":
		if f.typ == "" {
			return r.fault(f)
		}
	case "envoy.filters.http.rbac":
		if f.typ == "" {
			return r.rbac(f)
		}
	case "envoy.filters.http.grpc_stats", "envoy.grpc_web", "envoy.filters.http.grpc_web", "envoy.filters.http.on_demand",
		"istio.metadata_exchange", "istio.stats", "envoy.filters.http.grpc_http1_bridge":
		if f.typ == "" {
			return Step{Effect: Silent}
		}
	}
	what := f.typ
	if what == "" {
		what = "no configuration"
	}
	return Step{Why: "this filter is not known here (" + what + "); it may refuse or change the request"}
}

// isIstio says whether a Wasm or Lua plugin is one of those Istio ships, which only observe.
func istioPlugin(code string) bool {
	switch strings.TrimSpace(code) {
	case "envoy.wasm.stats", "envoy.wasm.metadata_exchange", "envoy.wasm.null.stats", "envoy.wasm.null.metadata_exchange",
		"envoy.wasm.attributegen", "envoy.wasm.null.stackdriver", "envoy.wasm.null.attributegen", "envoy.wasm.access_log_policy":
		return true
	}
	return false
}

// istioAuthn is Istio's own authentication filter of releases before 1.20: it sets principals as metadata, and refuses
// with 401 where its policy demands a certificate or a token. Source: src/envoy/http/authn of istio/proxy.
func (r *runner) istioAuthn(f *filter) Step {
	r.req.Env.MetadataComplete = false
	field := func(s *structpb.Struct, snake, camel string) *structpb.Value {
		if v := s.GetFields()[snake]; v != nil {
			return v
		}
		return s.GetFields()[camel]
	}
	policy := typedStruct(f.cfg).GetFields()["policy"].GetStructValue()
	if !field(policy, "peer_is_optional", "peerIsOptional").GetBoolValue() {
		for _, p := range policy.GetFields()["peers"].GetListValue().GetValues() {
			mode := p.GetStructValue().GetFields()["mtls"].GetStructValue().GetFields()["mode"].GetStringValue()
			if mode != "PERMISSIVE" && (r.req.Conn.TLS == nil || r.req.Conn.TLS.Peer == nil) {
				return Step{Effect: MayRefuse, Why: "its policy wants a client certificate and none is presented: it may refuse with 401"}
			}
		}
	}
	if len(policy.GetFields()["origins"].GetListValue().GetValues()) > 0 && !field(policy, "origin_is_optional", "originIsOptional").GetBoolValue() {
		return Step{Effect: MayRefuse, Why: "its policy wants a token: it may refuse with 401"}
	}
	return Step{Effect: Continue, Why: "sets the peer's and the token's principal as metadata, which is not known"}
}
