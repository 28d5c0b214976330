package httpfilter

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	a2av3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/a2a/v3"
	aiv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ai_protocol_manager/v3"
	signv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_request_signing/v3"
	sizev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/body_size_limit/v3"
	cdnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cdn_loop/v3"
	injectv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	dfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/file_server/v3"
	fieldv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_field_extraction/v3"
	bridgev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_bridge/v3"
	reversev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_reverse_bridge/v3"
	killv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/kill_request/v3"
	mcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/mcp/v3"
	mcprestv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/mcp_json_rest_bridge/v3"
	mcproutev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/mcp_router/v3"
	scrubv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/proto_api_scrubber/v3"
	extractv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/proto_message_extraction/v3"
	sessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	transformv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/transform/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
	"github.com/hoptrail/hoptrail/envoyadmin/route"
)

// bodiless says that a request of the method has no body as a rule.
func bodiless(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "CONNECT":
		return true
	}
	return false
}

// isGRPC is Grpc::Common::isGrpcRequestHeaders.
func (r *runner) isGRPC() bool {
	ct, _ := r.req.Get("content-type")
	return ct == "application/grpc" || strings.HasPrefix(ct, "application/grpc+")
}

// isType says whether the request's content type is the given one, with or without parameters.
func (r *runner) isType(want string) bool {
	ct, _ := r.req.Get("content-type")
	rest, ok := strings.CutPrefix(ct, want)
	return ok && (rest == "" || rest[0] == ';' || rest[0] == ' ')
}

func (r *runner) setHeader(name, value string) {
	r.removeHeader(name)
	r.req.Headers = append(r.req.Headers, matcher.Header{Name: name, Value: value})
}

// reroutes makes Envoy choose the route again behind the filter.
func (r *runner) reroutes(f *filter) {
	if r.res.RouteCleared == "" {
		r.res.RouteCleared = f.name
	}
}

// reverseBridge turns gRPC into plain HTTP/1.1. Source: source/extensions/filters/http/grpc_http1_reverse_bridge/filter.cc.
func (r *runner) reverseBridge(f *filter) Step {
	c := &reversev3.FilterConfig{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	if f.over != nil {
		o := &reversev3.FilterConfigPerRoute{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
		if o.GetDisabled() {
			return Step{Effect: Disabled, Why: "turned off", From: f.from}
		}
	}
	if !r.isGRPC() {
		return Step{Effect: Silent}
	}
	r.setHeader("content-type", c.GetContentType())
	r.setHeader("accept", c.GetContentType())
	r.reroutes(f)
	return Step{Effect: Changes, Why: "turns the gRPC call into plain HTTP of type " + c.GetContentType() + "; the route is chosen again"}
}

// http1Bridge lets HTTP/1.1 clients make gRPC calls.
func (r *runner) http1Bridge(f *filter) Step {
	c := &bridgev3.Config{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	if ct, _ := r.req.Get("content-type"); c.GetUpgradeProtobufToGrpc() && ct == "application/x-protobuf" {
		r.setHeader("content-type", "application/grpc")
		r.reroutes(f)
		return Step{Effect: Changes, Why: "turns the protobuf request into a gRPC call; the route is chosen again"}
	}
	return Step{Effect: Silent}
}

// connectBridge turns the Connect protocol into gRPC. Source: source/extensions/filters/http/connect_grpc_bridge/filter.cc.
func (r *runner) connectBridge() Step {
	ct, _ := r.req.Get("content-type")
	_, unary := r.req.Get("connect-protocol-version")
	kind, ok := strings.CutPrefix(ct, "application/connect+")
	if !ok {
		if kind, ok = strings.CutPrefix(ct, "application/"); !ok || !unary {
			return Step{Effect: Silent}
		}
	}
	r.setHeader("content-type", "application/grpc+"+kind)
	r.removeHeader("connect-protocol-version")
	return Step{Effect: Changes, Why: "turns the Connect request into a gRPC call"}
}

func (r *runner) reverseTranscoder(f *filter) Step {
	if !r.isGRPC() {
		return Step{Effect: Silent}
	}
	r.res.MayReroute = or(r.res.MayReroute, "filter "+f.name+" may turn the gRPC call into another request, for which the route may be chosen again")
	return Step{Effect: MayRefuse, Why: "turns the gRPC call into JSON over HTTP where its descriptors have the method, which is not evaluated: " + unknowable}
}

// protoPath makes package.Service.Method of a gRPC path; ok is false where it is none.
func protoPath(path string) (name string, ok bool) {
	if !strings.HasPrefix(path, "/") || strings.Count(path, "/") != 2 {
		return "", false
	}
	return strings.ReplaceAll(path[1:], "/", "."), true
}

// extraction reads the message of gRPC methods it is configured for. Source:
// source/extensions/filters/http/grpc_field_extraction/filter.cc.
func (r *runner) extraction(kind string, has func(method string) bool) Step {
	if !r.isGRPC() {
		return Step{Effect: Silent}
	}
	name, ok := protoPath(r.req.Path)
	if !ok {
		return Step{Effect: Refuse, Probability: 1, Why: "the path of a gRPC request is not /package.Service/Method", Response: &Response{Status: 400, Details: kind + "_INVALID_ARGUMENT{BAD_REQUEST}"}}
	}
	if !has(name) {
		return Step{Effect: Silent}
	}
	r.req.Env.MetadataComplete = false
	return Step{Effect: MayRefuse, Why: "refuses a message of method " + name + " that its descriptors do not fit: " + unknowable}
}

func (r *runner) fieldExtraction(f *filter) Step {
	c := &fieldv3.GrpcFieldExtractionConfig{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	return r.extraction("grpc_field_extraction", func(m string) bool { return c.GetExtractionsByMethod()[m] != nil })
}

func (r *runner) messageExtraction(f *filter) Step {
	c := &extractv3.ProtoMessageExtractionConfig{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	return r.extraction("proto_message_extraction", func(m string) bool { return c.GetExtractionByMethod()[m] != nil })
}

// scrubber removes fields from gRPC messages and refuses restricted methods. Source:
// source/extensions/filters/http/proto_api_scrubber/filter.cc.
func (r *runner) scrubber(f *filter) Step {
	c := &scrubv3.ProtoApiScrubberConfig{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	if !r.isGRPC() {
		return Step{Effect: Silent}
	}
	if _, ok := protoPath(r.req.Path); !ok {
		return Step{Effect: Refuse, Probability: 1, Why: "the path of a gRPC request is not /package.Service/Method", Response: &Response{Status: 400, Details: "proto_api_scrubber_INVALID_ARGUMENT{Error in `:path` header validation.}"}}
	}
	tree := c.GetRestrictions().GetMethodRestrictions()[r.req.Path].GetMethodRestriction().GetMatcher()
	if tree == nil {
		return Step{Effect: Continue, Why: "removes restricted fields from the message"}
	}
	switch found := matcher.Eval(tree, r.req, r.req.Env.Regex); found.Verdict {
	case matcher.Yes:
		return Step{Effect: Refuse, Probability: 1, Why: "method " + r.req.Path + " is restricted: " + strings.Join(found.Trail, ", "), Response: &Response{Status: 403, Body: "Method not allowed", Details: "proto_api_scrubber_Forbidden{METHOD_BLOCKED}"}}
	case matcher.No:
		return Step{Effect: Continue, Why: "method " + r.req.Path + " is not restricted for this request"}
	default:
		return Step{Effect: MayRefuse, Why: "whether method " + r.req.Path + " is restricted: " + found.Why}
	}
}

// mcp polices the Model Context Protocol. Source: source/extensions/filters/http/mcp/mcp_filter.cc.
func (r *runner) mcp(f *filter) Step {
	c := &mcpv3.Mcp{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	mode, clears := c.GetTrafficMode(), c.GetClearRouteCache()
	if f.over != nil {
		o := &mcpv3.McpOverride{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
		mode, clears = o.GetTrafficMode(), o.GetClearRouteCache()
	}
	if _, ok := r.req.Get("mcp-protocol-version"); ok && c.GetMaxSupportedProtocolVersion() != nil {
		return Step{Effect: MayRefuse, Why: "refuses a protocol newer than " + c.GetMaxSupportedProtocolVersion().GetValue() + ", which is not evaluated: " + unknowable}
	}
	_, session := r.req.Get("mcp-session-id")
	accept, _ := r.req.Get("accept")
	accepts := func(t string) bool { return strings.Contains(accept, t) || strings.Contains(accept, "*/*") }
	switch {
	case r.req.Method == "DELETE" && session, r.req.Method == "GET" && accepts("text/event-stream"):
		return Step{Effect: Continue, Why: "an MCP request, passed"}
	case r.req.Method == "POST" && r.isType("application/json") && accepts("text/event-stream") && accepts("application/json"):
		r.req.Env.MetadataComplete = false
		if clears {
			r.res.MayReroute = or(r.res.MayReroute, "filter "+f.name+" reads the MCP call and lets the route be chosen again")
		}
		return Step{Effect: MayRefuse, Why: "refuses with 400 a body that is no MCP call: " + unknowable}
	case mode == mcpv3.Mcp_REJECT_NO_MCP:
		return Step{Effect: Refuse, Probability: 1, Why: "the request is no MCP call (traffic_mode REJECT_NO_MCP)", Response: &Response{Status: 400, Body: "Only MCP traffic is allowed", Details: "mcp_filter_reject_no_mcp"}}
	case mode != mcpv3.Mcp_PASS_THROUGH:
		return Step{Why: "its traffic_mode is not known here"}
	}
	return Step{Effect: Silent}
}

// a2a polices the agent-to-agent protocol. Source: source/extensions/filters/http/a2a/a2a_filter.cc.
func (r *runner) a2a(f *filter) Step {
	c := &a2av3.A2A{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	switch {
	case r.req.Method == "GET":
		return Step{Effect: Silent}
	case r.req.Method == "POST" && (r.isType("application/json") || r.isType("application/a2a+json")):
		r.req.Env.MetadataComplete = false
		return Step{Effect: MayRefuse, Why: "refuses with 400 a body that is no A2A call: " + unknowable}
	case c.GetTrafficMode() == a2av3.A2A_REJECT:
		return Step{Effect: Refuse, Probability: 1, Why: "the request is no A2A call (traffic_mode REJECT)", Response: &Response{Status: 400, Body: "Only A2A traffic is allowed", Details: "a2a_filter_reject"}}
	case c.GetTrafficMode() != a2av3.A2A_PASS_THROUGH:
		return Step{Why: "its traffic_mode is not known here"}
	}
	return Step{Effect: Silent}
}

func (r *runner) mcpBridge(f *filter) Step {
	c := &mcprestv3.McpJsonRestBridge{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	if c.GetPerRouteOnly() && f.over == nil {
		return Step{Effect: Silent}
	}
	if !c.GetDisableClearRouteCache() {
		r.res.MayReroute = or(r.res.MayReroute, "filter "+f.name+" may turn an MCP call into another request, for which the route is chosen again")
	}
	return Step{Effect: MayRefuse, Why: "answers MCP calls or turns them into REST calls, by the body: " + unknowable}
}

// mcpRouter ends the chain in the router's place.
func (r *runner) mcpRouter(f *filter) Step {
	c := &mcproutev3.McpRouter{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	r.res.Terminal = f.name
	var calls []string
	for _, s := range c.GetServers() {
		calls = append(calls, "cluster "+s.GetMcpCluster().GetCluster())
	}
	return Step{Why: "sends MCP calls to its own servers by the body, which is not evaluated; the route's cluster is not used", Calls: calls}
}

func (r *runner) aiProtocol(f *filter) Step {
	c := &aiv3.AiProtocolManager{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	o := &aiv3.AiProtocolManagerPerRoute{}
	if f.over != nil {
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
	}
	if c.GetRequestHandling() == nil || o.GetRequest() == nil {
		return Step{Effect: Silent} // without a declared route the body is passed whatever it is
	}
	return Step{Effect: MayRefuse, Why: "refuses a body that is no call of the declared AI API: " + unknowable}
}

// fileServer answers from files of the proxy. Source: source/extensions/filters/http/file_server/filter.cc.
func (r *runner) fileServer(f *filter) Step {
	c := &filev3.FileServerConfig{}
	cfg := f.cfg
	if f.over != nil {
		cfg = f.over
	}
	if err := load(cfg, c); err != nil {
		return undecidable(err)
	}
	path, err := url.PathUnescape(r.req.Path)
	if err != nil {
		path = r.req.Path
	}
	var found *filev3.FileServerConfig_PathMapping
	for _, m := range c.GetPathMappings() {
		if p := m.GetRequestPathPrefix(); strings.HasPrefix(path, p) && (found == nil || len(p) > len(found.GetRequestPathPrefix())) {
			found = m
		}
	}
	if r.outcome.Route == nil || found == nil {
		return Step{Effect: Silent}
	}
	why := "paths under " + found.GetRequestPathPrefix() + " are answered from files of the proxy (" + found.GetFilePathPrefix() + ")"
	if r.req.Method != "GET" && r.req.Method != "HEAD" {
		return Step{Effect: Refuse, Probability: 1, Why: why + ", for GET and HEAD only", Response: &Response{Status: 405, Body: "Method Not Allowed", Details: "file_server_rejected_method"}}
	}
	return Step{Effect: MayRefuse, Why: why + ": whether the file is there cannot be known from here"}
}

// killRequest ends the whole proxy for a request that asks for it. Source:
// source/extensions/filters/http/kill_request/kill_request_filter.cc.
func (r *runner) killRequest(f *filter) Step {
	c := &killv3.KillRequest{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	header := or(c.GetKillRequestHeader(), "x-envoy-kill-request")
	if f.over != nil {
		o := &killv3.KillRequest{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
		c = o
	}
	values := r.req.Values(strings.ToLower(header))
	if len(values) == 0 || c.GetDirection() != killv3.KillRequest_REQUEST {
		return Step{Effect: Silent}
	}
	switch strings.ToLower(values[0]) { // absl::SimpleAtob
	case "true", "t", "yes", "y", "1":
	default:
		return Step{Effect: Silent}
	}
	p := share(c.GetProbability())
	switch {
	case p <= 0:
		return Step{Effect: Silent}
	case p < 1:
		return Step{Effect: MayRefuse, Probability: p, Why: "header " + header + " kills the proxy for " + percent(p) + " of such requests", Response: &Response{}}
	}
	return Step{Effect: Refuse, Probability: 1, Why: "header " + header + " kills the proxy"}
}

// cdnLoop counts how often the request came through this network. Source: source/extensions/filters/http/cdn_loop.
func (r *runner) cdnLoop(f *filter) Step {
	c := &cdnv3.CdnLoopConfig{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	was, ok := r.req.Get("cdn-loop")
	if !ok {
		r.setHeader("cdn-loop", c.GetCdnId())
		return Step{Effect: Silent}
	}
	if strings.ContainsAny(was, `"\`) {
		return Step{Effect: MayRefuse, Why: "header cdn-loop holds quoted text, which is not evaluated: " + unknowable}
	}
	n := uint32(0)
	for info := range strings.SplitSeq(was, ",") {
		if id, _, _ := strings.Cut(info, ";"); strings.TrimSpace(id) == c.GetCdnId() {
			n++
		}
	}
	if n > c.GetMaxAllowedOccurrences() {
		return Step{
			Effect: Refuse, Probability: 1, Why: fmt.Sprintf("the request came through %s %d times before, %d are allowed (header cdn-loop)", c.GetCdnId(), n, c.GetMaxAllowedOccurrences()),
			Response: &Response{Status: 502, Body: "The server has detected a loop between CDNs.", Details: "cdn_loop_detected"},
		}
	}
	r.setHeader("cdn-loop", was+","+c.GetCdnId())
	return Step{Effect: Continue, Why: fmt.Sprintf("the request came through %s %d times before", c.GetCdnId(), n)}
}

// bodySizeLimit refuses a body that is too long, without holding it. Source:
// source/extensions/filters/http/body_size_limit/body_size_limit_filter.cc.
func (r *runner) bodySizeLimit(f *filter) Step {
	c := &sizev3.BodySizeLimit{}
	cfg := f.cfg
	if f.over != nil {
		cfg = f.over
	}
	if err := load(cfg, c); err != nil {
		return undecidable(err)
	}
	if c.GetMaxRequestBytes().GetValue() == 0 {
		return Step{Effect: Silent}
	}
	return r.sized(c.GetMaxRequestBytes().GetValue(), "content length too large")
}

// signing signs for AWS; of the request it changes the host, where it is told to.
func (r *runner) signing(f *filter) Step {
	c := &signv3.AwsRequestSigning{}
	if f.over != nil {
		o := &signv3.AwsRequestSigningPerRoute{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
		c = o.GetAwsRequestSigning()
	} else if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	if c.GetHostRewrite() == "" {
		return Step{Effect: Silent}
	}
	r.req.Authority = c.GetHostRewrite()
	return Step{Effect: Changes, Why: "signs the request for host " + c.GetHostRewrite()}
}

// dynamicForward changes the host before it is resolved. The cluster behind it does the rest.
func (r *runner) dynamicForward(f *filter) Step {
	if f.over == nil || r.outcome.Kind != route.Forward {
		return Step{Effect: Silent}
	}
	o := &dfpv3.PerRouteConfig{}
	if err := matcher.Unpack(f.over, o); err != nil {
		return undecidable(err)
	}
	host := o.GetHostRewriteLiteral()
	if h := o.GetHostRewriteHeader(); h != "" {
		if vs := r.req.Values(strings.ToLower(h)); len(vs) > 0 {
			host = vs[0]
		}
	}
	if host == "" {
		return Step{Effect: Silent}
	}
	r.req.Authority = host
	return Step{Effect: Changes, Why: "the host is " + matcher.Show(host) + " from here on, where the cluster is a dynamic forward proxy"}
}

func (r *runner) credentials(f *filter) Step {
	c := &injectv3.CredentialInjector{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	why := "adds a credential to the request"
	if !c.GetAllowRequestWithoutCredential() {
		why += "; where it cannot get one it answers 401 (failed_to_inject_credential)"
	}
	return Step{Effect: Continue, Why: why}
}

// session looks whether the request carries a session that binds it to one endpoint.
func (r *runner) session(f *filter) Step {
	c := &sessionv3.StatefulSession{}
	if err := load(f.cfg, c); err != nil {
		return undecidable(err)
	}
	if f.over != nil {
		o := &sessionv3.StatefulSessionPerRoute{}
		if err := matcher.Unpack(f.over, o); err != nil {
			return undecidable(err)
		}
		if o.GetDisabled() {
			return Step{Effect: Disabled, Why: "turned off", From: f.from}
		}
		if o.GetStatefulSession() != nil {
			c = o.GetStatefulSession()
		}
	}
	state := c.GetSessionState().GetTypedConfig()
	if state == nil {
		return Step{Effect: Silent}
	}
	bound := &Session{}
	byCookie, byHeader := &cookiev3.CookieBasedSessionState{}, &headerv3.HeaderBasedSessionState{}
	switch {
	case state.MessageIs(byCookie):
		if err := matcher.Unpack(state, byCookie); err != nil {
			return undecidable(err)
		}
		name := byCookie.GetCookie().GetName()
		value, ok := cookie(r.req, name)
		if !ok || !below(byCookie.GetCookie().GetPath(), r.req.Path) {
			return Step{Effect: Silent}
		}
		bound.From = "cookie " + name
		bound.Host, bound.Unless = sessionCookie(value)
	case state.MessageIs(byHeader):
		if err := matcher.Unpack(state, byHeader); err != nil {
			return undecidable(err)
		}
		values := r.req.Values(strings.ToLower(byHeader.GetName()))
		if len(values) == 0 {
			return Step{Effect: Silent}
		}
		bound.From, bound.Host = "header "+byHeader.GetName(), decode64(values[0])
	default:
		return Step{Why: "how it keeps sessions (" + matcher.TypeName(state) + ") is not known here"}
	}
	if bound.Host == "" {
		return Step{Effect: Continue, Why: bound.From + " holds no session"}
	}
	if c.GetStrict() {
		bound.Strict = statusOr(int32(c.GetStatusOnStrictDestinationNotFound()), 503)
	}
	r.res.Session = bound
	return Step{Effect: Continue, Why: "the session in " + bound.From + " asks for host " + matcher.Show(bound.Host)}
}

// below says whether the path of a session's cookie holds for a path with its
// query. Source: source/extensions/http/stateful_session/cookie/cookie.cc.
func below(cookie, path string) bool {
	rest, ok := strings.CutPrefix(path, cookie)
	return cookie == "" || cookie == "/" || ok && (strings.HasSuffix(cookie, "/") || rest == "" || strings.ContainsRune("/?#", rune(rest[0])))
}

// decode64 decodes as Envoy does: what is not padded base64 is empty.
func decode64(s string) string {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return ""
	}
	return string(b)
}

// sessionCookie reads the address in a cookie: an envoy.Cookie message with the
// address and when it expires, or, before Envoy 1.25, the address alone. The
// clock of the expiry is the proxy's uptime, which is not known. Source:
// source/extensions/http/stateful_session/cookie/cookie.h and cookie.proto.
func sessionCookie(value string) (host, unless string) {
	decoded := decode64(value)
	b := []byte(decoded)
	expires := uint64(0)
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return decoded, ""
		}
		b = b[n:]
		switch {
		case num == 1 && typ == protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 || !utf8.Valid(v) {
				return decoded, ""
			}
			host, b = string(v), b[n:]
		case num == 2 && typ == protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return decoded, ""
			}
			expires, b = v, b[n:]
		default:
			n := protowire.ConsumeFieldValue(num, typ, b)
			if n < 0 {
				return decoded, ""
			}
			b = b[n:]
		}
	}
	if expires != 0 {
		unless = "the session may have expired: its cookie holds a time of the proxy's own clock"
	}
	return host, unless
}

func (r *runner) transform(f *filter) Step {
	c := &transformv3.TransformConfig{}
	cfg := f.cfg
	if f.over != nil {
		cfg = f.over
	}
	if err := load(cfg, c); err != nil {
		return undecidable(err)
	}
	if c.GetRequestTransformation() == nil {
		return Step{Effect: Silent}
	}
	if c.GetClearRouteCache() || c.GetClearClusterCache() {
		r.res.MayReroute = or(r.res.MayReroute, "filter "+f.name+" may change the request and let the route be chosen again")
	}
	return Step{Effect: Changes, Why: "changes headers and body by the body, which is not known"}
}
