package httpfilter

import (
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
)

const (
	extensions = "envoy.extensions.filters.http."

	typeRouter   = extensions + "router.v3.Router"
	typeOnDemand = extensions + "on_demand.v3.OnDemand"
	onDemandName = "envoy.filters.http.on_demand"
)

// evaluate knows the filters by the type of their configuration.
func (r *runner) evaluate(f *filter) Step {
	switch t := f.typ; t {
	case typeRouter:
		r.res.Terminal = f.name
		return Step{Effect: Silent}
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
	case typeOnDemand:
		return r.onDemand(f)
	case extensions + "grpc_json_transcoder.v3.GrpcJsonTranscoder":
		return r.transcoder(f)
	case extensions + "cdn_loop.v3.CdnLoopConfig":
		return r.cdnLoop(f)
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
		return r.dynamicForward(f)
	case extensions + "credential_injector.v3.CredentialInjector":
		return r.credentials(f)
	case extensions + "ip_tagging.v3.IPTagging":
		return Step{Effect: Continue, Why: "adds x-envoy-ip-tags by the client's address"}
	case extensions + "stateful_session.v3.StatefulSession":
		return r.session(f)
	case extensions + "gcp_authn.v3.GcpAuthnFilterConfig":
		return Step{Effect: Continue, Why: "adds an identity token where the cluster names an audience; without one the request passes"}
	case extensions + "custom_response.v3.CustomResponse":
		return Step{Effect: Continue, Why: "may put another response in place of the one the request gets"}
	case extensions + "aws_lambda.v3.Config":
		return Step{Effect: Changes, Why: "makes a call of an AWS Lambda function of it, where the cluster is marked for that (egress_gateway)"}
	case extensions + "aws_request_signing.v3.AwsRequestSigning":
		return r.signing(f)
	case extensions + "body_size_limit.v3.BodySizeLimit":
		return r.bodySizeLimit(f)
	case extensions + "file_system_buffer.v3.FileSystemBufferFilterConfig":
		if bodiless(r.req.Method) {
			return Step{Effect: Silent}
		}
		return Step{Effect: MayRefuse, Why: "refuses a body beyond what it may keep in memory and in files", Limit: "the size of its buffers"}
	case extensions + "file_server.v3.FileServerConfig":
		return r.fileServer(f)
	case extensions + "kill_request.v3.KillRequest":
		return r.killRequest(f)
	case extensions + "transform.v3.TransformConfig":
		return r.transform(f)
	case extensions + "dynamic_modules.v3.DynamicModuleFilter":
		r.req.Env.MetadataComplete = false
		r.res.MayReroute = or(r.res.MayReroute, "filter "+f.name+" may change the request and let the route be chosen again")
		return Step{Effect: MayRefuse, Why: "a dynamic module may change or answer the request: " + unknowable}

	case extensions + "grpc_http1_bridge.v3.Config":
		return r.http1Bridge(f)
	case extensions + "grpc_http1_reverse_bridge.v3.FilterConfig":
		return r.reverseBridge(f)
	case extensions + "connect_grpc_bridge.v3.FilterConfig":
		return r.connectBridge()
	case extensions + "grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder":
		return r.reverseTranscoder(f)
	case extensions + "grpc_field_extraction.v3.GrpcFieldExtractionConfig":
		return r.fieldExtraction(f)
	case extensions + "proto_message_extraction.v3.ProtoMessageExtractionConfig":
		return r.messageExtraction(f)
	case extensions + "proto_api_scrubber.v3.ProtoApiScrubberConfig":
		return r.scrubber(f)
	case extensions + "mcp.v3.Mcp":
		return r.mcp(f)
	case extensions + "mcp_json_rest_bridge.v3.McpJsonRestBridge":
		return r.mcpBridge(f)
	case extensions + "mcp_router.v3.McpRouter":
		return r.mcpRouter(f)
	case extensions + "a2a.v3.A2a":
		return r.a2a(f)
	case extensions + "ai_protocol_manager.v3.AiProtocolManager":
		return r.aiProtocol(f)

	// These look at the request, limit how fast it goes, or work on the response only.
	case extensions + "grpc_web.v3.GrpcWeb", extensions + "grpc_stats.v3.FilterConfig",
		extensions + "compressor.v3.Compressor", extensions + "decompressor.v3.Decompressor", extensions + "gzip.v3.Gzip",
		extensions + "tap.v3.Tap", extensions + "alternate_protocols_cache.v3.FilterConfig", extensions + "original_src.v3.OriginalSrc",
		extensions + "bandwidth_limit.v3.BandwidthLimit", extensions + "bandwidth_share.v3.BandwidthShare",
		extensions + "geoip.v3.Geoip", extensions + "upstream_codec.v3.UpstreamCodec",
		extensions + "sse_to_metadata.v3.SseToMetadata", extensions + "aws_eventstream_parser.v3.AwsEventstreamParser":
		return Step{Effect: Silent}

	// Of Envoy's contrib image, whose types are not linked.
	case extensions + "dynamo.v3.Dynamo", extensions + "squash.v3.Squash", extensions + "sxg.v3alpha.SXG",
		extensions + "checksum.v3alpha.ChecksumConfig", extensions + "peak_ewma.v3alpha.PeakEwmaConfig":
		return Step{Effect: Silent}
	case extensions + "golang.v3alpha.Config":
		r.req.Env.MetadataComplete = false
		r.res.MayReroute = or(r.res.MayReroute, "filter "+f.name+" may change the request and let the route be chosen again")
		return Step{Effect: MayRefuse, Why: "a Go plugin may change or answer the request: " + unknowable}

	case "envoy.api.v2.filter.http.FilterTransformations":
		return r.glooTransformation(f)
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
	case onDemandName:
		if f.typ == "" {
			return r.onDemand(f)
		}
	case "envoy.filters.http.grpc_stats", "envoy.grpc_web", "envoy.filters.http.grpc_web",
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

// glooTransformation is in every chain of Gloo's and does what its own rules or those of the route say, in a language that
// is not evaluated here. Source: source/extensions/filters/http/transformation of solo-io/envoy-gloo.
func (r *runner) glooTransformation(f *filter) Step {
	if f.over == nil && len(typedStruct(f.cfg).GetFields()["transformations"].GetListValue().GetValues()) == 0 {
		return Step{Effect: Silent}
	}
	r.res.MayReroute = or(r.res.MayReroute, "filter "+f.name+" may change the request and let the route be chosen again")
	return Step{Effect: Changes, Why: "Gloo's transformation may change the request, which is not evaluated"}
}

// istioPlugin says whether a Wasm or Lua plugin is one of those Istio ships, which only observe.
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
