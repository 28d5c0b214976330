package httpfilter_test

import (
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/a2a/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ai_protocol_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/alternate_protocols_cache/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_eventstream_parser/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_lambda/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_request_signing/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/bandwidth_limit/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/bandwidth_share/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/basic_auth/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/body_size_limit/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cache/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cache_v2/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cdn_loop/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/connect_grpc_bridge/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/csrf/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/custom_response/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/decompressor/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_modules/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/file_server/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/file_system_buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/filter_chain/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/gcp_authn/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/geoip/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_field_extraction/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_bridge/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_reverse_bridge/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_reverse_transcoder/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/gzip/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ip_tagging/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/json_to_metadata/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/kill_request/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/mcp/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/mcp_json_rest_bridge/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/mcp_router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/oauth2/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/original_src/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/proto_api_scrubber/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/proto_message_extraction/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rate_limit_quota/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_metadata/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/sse_to_metadata/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/tap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/thrift_to_metadata/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/transform/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/httpfilter"
)

// every lists the configuration type of each of Envoy's HTTP filters and what an empty one of it does to a GET.
var every = map[string]httpfilter.Effect{
	"a2a.v3.A2a": httpfilter.Silent,
	"adaptive_concurrency.v3.AdaptiveConcurrency":               httpfilter.MayRefuse,
	"admission_control.v3.AdmissionControl":                     httpfilter.MayRefuse,
	"ai_protocol_manager.v3.AiProtocolManager":                  httpfilter.Silent,
	"alternate_protocols_cache.v3.FilterConfig":                 httpfilter.Silent,
	"api_key_auth.v3.ApiKeyAuth":                                httpfilter.Refuse,
	"aws_eventstream_parser.v3.AwsEventstreamParser":            httpfilter.Silent,
	"aws_lambda.v3.Config":                                      httpfilter.Changes,
	"aws_request_signing.v3.AwsRequestSigning":                  httpfilter.Silent,
	"bandwidth_limit.v3.BandwidthLimit":                         httpfilter.Silent,
	"bandwidth_share.v3.BandwidthShare":                         httpfilter.Silent,
	"basic_auth.v3.BasicAuth":                                   httpfilter.Refuse,
	"body_size_limit.v3.BodySizeLimit":                          httpfilter.Silent,
	"buffer.v3.Buffer":                                          httpfilter.Silent,
	"cache.v3.CacheConfig":                                      httpfilter.MayRefuse,
	"cache_v2.v3.CacheV2Config":                                 httpfilter.MayRefuse,
	"cdn_loop.v3.CdnLoopConfig":                                 httpfilter.Silent,
	"composite.v3.Composite":                                    httpfilter.Silent,
	"compressor.v3.Compressor":                                  httpfilter.Silent,
	"connect_grpc_bridge.v3.FilterConfig":                       httpfilter.Silent,
	"cors.v3.Cors":                                              httpfilter.Silent,
	"credential_injector.v3.CredentialInjector":                 httpfilter.Continue,
	"csrf.v3.CsrfPolicy":                                        httpfilter.Silent,
	"custom_response.v3.CustomResponse":                         httpfilter.Continue,
	"decompressor.v3.Decompressor":                              httpfilter.Silent,
	"dynamic_forward_proxy.v3.FilterConfig":                     httpfilter.Silent,
	"dynamic_modules.v3.DynamicModuleFilter":                    httpfilter.MayRefuse,
	"ext_authz.v3.ExtAuthz":                                     httpfilter.MayRefuse,
	"ext_proc.v3.ExternalProcessor":                             httpfilter.MayRefuse,
	"fault.v3.HTTPFault":                                        httpfilter.Silent,
	"file_server.v3.FileServerConfig":                           httpfilter.Silent,
	"file_system_buffer.v3.FileSystemBufferFilterConfig":        httpfilter.Silent,
	"filter_chain.v3.FilterChainConfig":                         httpfilter.Silent,
	"gcp_authn.v3.GcpAuthnFilterConfig":                         httpfilter.Continue,
	"geoip.v3.Geoip":                                            httpfilter.Silent,
	"grpc_field_extraction.v3.GrpcFieldExtractionConfig":        httpfilter.Silent,
	"grpc_http1_bridge.v3.Config":                               httpfilter.Silent,
	"grpc_http1_reverse_bridge.v3.FilterConfig":                 httpfilter.Silent,
	"grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder": httpfilter.Silent,
	"grpc_json_transcoder.v3.GrpcJsonTranscoder":                httpfilter.Disabled,
	"grpc_stats.v3.FilterConfig":                                httpfilter.Silent,
	"grpc_web.v3.GrpcWeb":                                       httpfilter.Silent,
	"gzip.v3.Gzip":                                              httpfilter.Silent,
	"header_mutation.v3.HeaderMutation":                         httpfilter.Silent,
	"header_to_metadata.v3.Config":                              httpfilter.Silent,
	"health_check.v3.HealthCheck":                               httpfilter.Refuse,
	"ip_tagging.v3.IPTagging":                                   httpfilter.Continue,
	"json_to_metadata.v3.JsonToMetadata":                        httpfilter.Changes,
	"jwt_authn.v3.JwtAuthentication":                            httpfilter.Silent,
	"kill_request.v3.KillRequest":                               httpfilter.Silent,
	"local_ratelimit.v3.LocalRateLimit":                         httpfilter.Silent,
	"lua.v3.Lua":                                                httpfilter.Silent,
	"mcp.v3.Mcp":                                                httpfilter.Silent,
	"mcp_json_rest_bridge.v3.McpJsonRestBridge":                 httpfilter.MayRefuse,
	"mcp_router.v3.McpRouter":                                   httpfilter.Unknown, // a terminal one: it routes by the body
	"oauth2.v3.OAuth2":                                          httpfilter.Silent,
	"on_demand.v3.OnDemand":                                     httpfilter.Silent,
	"original_src.v3.OriginalSrc":                               httpfilter.Silent,
	"proto_api_scrubber.v3.ProtoApiScrubberConfig":              httpfilter.Silent,
	"proto_message_extraction.v3.ProtoMessageExtractionConfig":  httpfilter.Silent,
	"rate_limit_quota.v3.RateLimitQuotaFilterConfig":            httpfilter.MayRefuse,
	"ratelimit.v3.RateLimit":                                    httpfilter.Silent,
	"rbac.v3.RBAC":                                              httpfilter.Silent,
	"router.v3.Router":                                          httpfilter.Silent,
	"set_filter_state.v3.Config":                                httpfilter.Silent,
	"set_metadata.v3.Config":                                    httpfilter.Silent,
	"sse_to_metadata.v3.SseToMetadata":                          httpfilter.Silent,
	"stateful_session.v3.StatefulSession":                       httpfilter.Silent,
	"tap.v3.Tap":                                                httpfilter.Silent,
	"thrift_to_metadata.v3.ThriftToMetadata":                    httpfilter.Changes,
	"transform.v3.TransformConfig":                              httpfilter.Silent,
	"upstream_codec.v3.UpstreamCodec":                           httpfilter.Silent,
	"wasm.v3.Wasm":                                              httpfilter.MayRefuse,
}

func TestEveryFilterOfEnvoyIsKnown(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/envoyproxy/go-control-plane/envoy").Output()
	if err != nil {
		t.Fatal("go list: ", err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "extensions", "filters", "http")
	dirs, err := filepath.Glob(filepath.Join(root, "*", "v3"))
	if err != nil || len(dirs) == 0 {
		t.Fatal(root, err)
	}
	listed := map[string]bool{}
	for _, dir := range dirs {
		listed[filepath.Base(filepath.Dir(dir))+".v3"] = true
	}
	have := map[string]bool{}
	for name := range every {
		have[name[:strings.LastIndexByte(name, '.')]] = true
	}
	for _, pkg := range slices.Sorted(maps.Keys(listed)) {
		if !have[pkg] {
			t.Errorf("%s is a filter of go-control-plane that this list does not have", pkg)
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(have)) {
		if !listed[pkg] {
			t.Errorf("%s is no filter of go-control-plane", pkg)
		}
	}
	o := outcome(t, `{"match":{"prefix":"/"},"route":{"cluster":"c"}}`)
	for _, name := range slices.Sorted(maps.Keys(every)) {
		full := "envoy.extensions.filters.http." + name
		mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(full))
		if err != nil {
			t.Error(err)
			continue
		}
		a, err := anypb.New(mt.New().Interface())
		if err != nil {
			t.Fatal(err)
		}
		res := httpfilter.Walk([]*hcmv3.HttpFilter{{Name: "f", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: a}}}, o, request("GET", "/x"), nil)
		if len(res.Steps) != 1 {
			t.Errorf("%s: %+v", name, res.Steps)
			continue
		}
		s := res.Steps[0]
		if s.Effect != every[name] || strings.Contains(s.Why, "not known here") || s.Effect != httpfilter.Silent && s.Why == "" {
			t.Errorf("%s: %q (%s), want %q", name, s.Effect, s.Why, every[name])
		}
	}
}
