package route

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	xffv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/xff/v3"
	"google.golang.org/protobuf/proto"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

const detailNormalization = "path_normalization_failed"

// normalize follows ConnectionManagerImpl::ActiveStream::decodeHeaders up to the choice of the route.
func normalize(hcm *hcmv3.HttpConnectionManager, listenerPort uint32, in *matcher.Request) Normalized {
	req := *in
	req.Headers = slices.Clone(in.Headers)
	n := Normalized{Request: &req}
	refuse := func(status int, details, why string) Normalized {
		n.Refusal = Refusal{Status: status, Details: details, Why: why}
		return n
	}
	h1 := hcm.GetHttpProtocolOptions()
	if !methodKnown(req.Method, req.Protocol, h1) {
		n.Refusal = Refusal{Status: 400, Details: "http1.codec_error", Flags: "DPE", Why: "the method is not one HTTP/1 knows (allow_custom_methods is off)"}
		return n
	}
	if name := underscored(req.Headers); name != "" {
		switch hcm.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() {
		case corev3.HttpProtocolOptions_REJECT_REQUEST:
			codec := "http1"
			if req.Protocol == "HTTP/2" || req.Protocol == "HTTP/3" {
				codec = "http" + req.Protocol[len("HTTP/"):]
			}
			n.Refusal = Refusal{Status: 400, Details: codec + ".unexpected_underscore", Flags: "DPE", Why: "header " + name + " holds an underscore (headers_with_underscores_action REJECT_REQUEST)"}
			return n
		case corev3.HttpProtocolOptions_DROP_HEADER:
			req.Headers = slices.DeleteFunc(req.Headers, func(h matcher.Header) bool { return strings.Contains(h.Name, "_") })
			n.Notes = append(n.Notes, "header "+name+" is dropped for its underscore (headers_with_underscores_action)")
		}
	}
	if req.Protocol == "HTTP/1.0" {
		if !h1.GetAcceptHttp_10() {
			return refuse(426, "low_version", "HTTP/1.0 is not accepted (accept_http_10 is off)")
		}
		if req.Authority == "" && h1.GetDefaultHostForHttp_10() != "" {
			req.Authority = h1.GetDefaultHostForHttp_10()
			n.Notes = append(n.Notes, "host set to "+req.Authority+" (default_host_for_http_10)")
		}
	}
	if why := absoluteForm(&req, h1); why != "" {
		n.Notes = append(n.Notes, why)
	}
	if req.Authority == "" {
		return refuse(400, "missing_host_header", "the request has no Host")
	}
	if i := strings.IndexFunc(req.Authority, func(r rune) bool { return !authorityRune(r) }); i >= 0 {
		return refuse(400, "http.invalid_authority", "Host holds a character that must not stand in one")
	}
	if req.Path == "" && req.Method != "CONNECT" {
		return refuse(404, "missing_path_rejected", "the request has no path")
	}
	if req.Path != "" && req.Path[0] != '/' {
		return refuse(404, "absolute_path_rejected", "the path does not begin with /")
	}
	if req.Path != "" {
		if r, stop := normalizePath(hcm, &req, &n); stop {
			n.Refusal = r
			return n
		}
	}
	if host := NormalizeHost(hcm, listenerPort, req.Authority); host != req.Authority {
		if i := portStart(req.Authority); i >= 0 && req.Method == "CONNECT" && portStart(host) < 0 {
			req.StrippedPort = req.Authority[i+1:]
		}
		n.Notes = append(n.Notes, "host "+matcher.Show(req.Authority)+" becomes "+matcher.Show(host))
		req.Authority = host
	}
	mutateRequest(hcm, &req, &n)
	n.Undecided = earlyMutations(hcm, &req, n.Undecided)
	return n
}

// methodKnown says whether the HTTP/1 codec takes a method; HTTP/2 takes any.
func methodKnown(method, protocol string, h1 *corev3.Http1ProtocolOptions) bool {
	if !strings.HasPrefix(protocol, "HTTP/1") || h1.GetAllowCustomMethods() {
		return true
	}
	switch method {
	case "ACL", "BIND", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL",
		"MOVE", "MSEARCH", "M-SEARCH", "NOTIFY", "OPTIONS", "PATCH", "POST", "PROPFIND", "PROPPATCH", "PURGE", "PUT", "REBIND", "REPORT", "SEARCH",
		"SOURCE", "SUBSCRIBE", "TRACE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE":
		return true
	}
	return false
}

func underscored(hs []matcher.Header) string {
	for _, h := range hs {
		if strings.Contains(h.Name, "_") {
			return h.Name
		}
	}
	return ""
}

func authorityRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r < 0x80 && strings.ContainsRune("-._~!$&'()*+,;=%@:[]", r)
}

// absoluteForm splits "GET http://host/path", as a client sends to a proxy, into host and path.
func absoluteForm(req *matcher.Request, h1 *corev3.Http1ProtocolOptions) string {
	if strings.HasPrefix(req.Path, "/") || !strings.Contains(req.Path, "://") || strings.HasPrefix(req.Protocol, "HTTP/2") {
		return ""
	}
	if a := h1.GetAllowAbsoluteUrl(); a != nil && !a.GetValue() {
		return ""
	}
	u, err := url.Parse(req.Path)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	_, rest, _ := strings.Cut(req.Path, "://")
	path := "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		if path = rest[i:]; path[0] == '?' {
			path = "/" + path
		}
	}
	req.Authority, req.Path, req.Scheme = u.Host, path, u.Scheme
	return "absolute-form path: host " + matcher.Show(req.Authority) + ", path " + matcher.Show(path)
}

// normalizePath: fragment, escaped slashes, normalize_path, merge_slashes.
func normalizePath(hcm *hcmv3.HttpConnectionManager, req *matcher.Request, n *Normalized) (Refusal, bool) {
	fail := func(why string) (Refusal, bool) {
		return Refusal{Status: 400, Details: detailNormalization, Why: why}, true
	}
	if strings.Contains(req.Path, "#") {
		return fail("the path holds a fragment (#)")
	}
	before := req.Path
	redirect := false
	switch action := hcm.GetPathWithEscapedSlashesAction(); action {
	case hcmv3.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT, hcmv3.HttpConnectionManager_KEEP_UNCHANGED:
	default:
		p, found := unescapeSlashes(req.Path)
		if found && action == hcmv3.HttpConnectionManager_REJECT_REQUEST {
			return fail("the path holds an escaped slash (path_with_escaped_slashes_action REJECT_REQUEST)")
		}
		redirect = found && action == hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT
		req.Path = p
	}
	if hcm.GetNormalizePath().GetValue() {
		p, ok := canonicalPath(req.Path)
		if !ok {
			return fail("the path holds %00")
		}
		req.Path = p
	}
	if hcm.GetMergeSlashes() {
		req.Path = mergeSlashes(req.Path)
	}
	if redirect {
		if isGRPC(req) {
			return fail("the path of a gRPC request holds an escaped slash")
		}
		return Refusal{
			Status: 307, Details: detailNormalization, Location: req.Path,
			Why: "the path holds an escaped slash (path_with_escaped_slashes_action UNESCAPE_AND_REDIRECT)",
		}, true
	}
	if req.Path != before {
		n.Notes = append(n.Notes, "path "+matcher.Show(before)+" normalised to "+matcher.Show(req.Path))
	}
	return Refusal{}, false
}

// NormalizeHost cuts a trailing dot and the port off a host where the connection manager is told to: any numeric port,
// or the port of the listener only.
func NormalizeHost(hcm *hcmv3.HttpConnectionManager, listenerPort uint32, host string) string {
	if hcm.GetStripTrailingHostDot() {
		switch i := strings.LastIndexByte(host, '.'); {
		case i < 0:
		case i == len(host)-1:
			host = host[:i]
		case host[i+1] == ':':
			host = host[:i] + host[i+1:]
		}
	}
	if !hcm.GetStripAnyHostPort() && !hcm.GetStripMatchingHostPort() {
		return host
	}
	i := portStart(host)
	if i < 0 {
		return host
	}
	port, err := strconv.ParseUint(host[i+1:], 10, 32)
	if err != nil || !hcm.GetStripAnyHostPort() && uint32(port) != listenerPort {
		return host
	}
	return host[:i]
}

// mutateRequest sets x-forwarded-proto, :scheme, the remote address and x-envoy-internal as
// ConnectionManagerUtility::mutateRequestHeaders does, and removes what an outside client must not set.
func mutateRequest(hcm *hcmv3.HttpConnectionManager, req *matcher.Request, n *Normalized) {
	if UpgradeType(req) == "" {
		req.Headers = drop(req.Headers, "connection", "upgrade")
	}
	req.Headers = drop(req.Headers, "x-envoy-internal", "keep-alive", "proxy-connection", "transfer-encoding")

	proto := "http"
	if req.Conn.TLS != nil {
		proto = "https"
	}
	if f := hcm.GetForwardProtoConfig(); f != nil && req.Conn.Destination.IsValid() {
		port := uint32(req.Conn.Destination.Port())
		if slices.Contains(f.GetHttpsDestinationPorts(), port) {
			proto = "https"
		} else if slices.Contains(f.GetHttpDestinationPorts(), port) {
			proto = "http"
		}
	}
	xfp, hasXFP := req.Get("x-forwarded-proto")
	_, hasXFF := req.Get("x-forwarded-for")
	hops := hcm.GetXffNumTrustedHops()
	var remote netip.Addr
	trusted := false
	if hcm.GetUseRemoteAddress().GetValue() {
		trusted = !hasXFF
		if hops > 0 {
			remote, _ = lastXFF(req, hops-1)
		}
		peer := req.ConnRemoteAddr()
		if !remote.IsValid() {
			remote = peer
		}
		if !hcm.GetSkipXffAppend() && peer.IsValid() {
			if old, ok := req.Get("x-forwarded-for"); ok {
				req.Headers = setHeader(req.Headers, "x-forwarded-for", old+","+peer.String())
			} else {
				req.Headers = setHeader(req.Headers, "x-forwarded-for", peer.String())
			}
		}
		if hops == 0 || !hasXFP {
			if hasXFP && xfp != proto {
				n.Notes = append(n.Notes, "x-forwarded-proto "+matcher.Show(xfp)+" of the client is replaced by "+proto)
			}
			xfp, hasXFP = proto, true
		}
	} else {
		var doubt string
		if remote, trusted, doubt = detectIP(hcm, req, hops); doubt != "" {
			n.Notes = append(n.Notes, doubt)
		}
	}
	if !hasXFP || xfp == "" {
		xfp = proto
	}
	if t := hcm.GetSchemeHeaderTransformation().GetSchemeToOverwrite(); t != "" {
		req.Scheme, xfp = t, t
	}
	req.Headers = setHeader(req.Headers, "x-forwarded-proto", xfp)
	if req.Scheme == "" {
		if req.Scheme = xfp; xfp != "http" && xfp != "https" {
			req.Scheme = proto
		}
	}
	internal := trusted && remote.IsValid() && isInternal(hcm.GetInternalAddressConfig(), remote)
	if remote.IsValid() {
		var port uint16
		if remote == req.ConnRemoteAddr() {
			port = req.Conn.DirectRemote.Port()
		}
		req.Conn.Remote = netip.AddrPortFrom(remote, port)
	}
	if internal {
		req.Headers = setHeader(req.Headers, "x-envoy-internal", "true")
		return
	}
	req.Headers = drop(req.Headers, "x-envoy-retriable-status-codes", "x-envoy-retriable-header-names", "x-envoy-retry-on",
		"x-envoy-retry-grpc-on", "x-envoy-max-retries", "x-envoy-upstream-alt-stat-name", "x-envoy-upstream-rq-timeout-ms",
		"x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-alt-response", "x-envoy-expected-rq-timeout-ms",
		"x-envoy-force-trace", "x-envoy-ip-tags", "x-envoy-original-url", "x-envoy-hedge-on-per-try-timeout")
	if hcm.GetUseRemoteAddress().GetValue() {
		req.Headers = drop(req.Headers, "x-envoy-decorator-operation", "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node")
	}
}

// DropInternalOnly removes the route configuration's internal_only_headers from a request that did not come from an
// internal client. The connection manager does it once the route configuration is known.
func DropInternalOnly(rc *routev3.RouteConfiguration, req *matcher.Request) *matcher.Request {
	names := rc.GetInternalOnlyHeaders()
	if v, _ := req.Get("x-envoy-internal"); v == "true" || len(names) == 0 {
		return req
	}
	out := *req
	out.Headers = drop(slices.Clone(req.Headers), names...)
	return &out
}

func drop(h []matcher.Header, names ...string) []matcher.Header {
	return slices.DeleteFunc(h, func(x matcher.Header) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, x.Name) })
	})
}

// lastXFF is the address in x-forwarded-for that many places from its end.
func lastXFF(req *matcher.Request, skip uint32) (addr netip.Addr, single bool) {
	v, ok := req.Get("x-forwarded-for")
	if !ok {
		return netip.Addr{}, false
	}
	parts := strings.Split(v, ",")
	if uint64(skip) >= uint64(len(parts)) {
		return netip.Addr{}, false
	}
	s := strings.TrimSpace(parts[len(parts)-1-int(skip)])
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}, false
	}
	return a.Unmap(), len(parts) == 1
}

// detectIP finds the client's address where the connection's own is not used: in x-forwarded-for, or by an extension.
func detectIP(hcm *hcmv3.HttpConnectionManager, req *matcher.Request, hops uint32) (addr netip.Addr, trusted bool, doubt string) {
	exts := hcm.GetOriginalIpDetectionExtensions()
	if len(exts) == 0 {
		addr, trusted = lastXFF(req, hops)
		return addr, trusted, ""
	}
	for _, e := range exts {
		if typeName(e.GetTypedConfig()) != "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig" {
			return netip.Addr{}, false, "the client address is found by the extension " + e.GetName() + ", which cannot be evaluated; that of the connection is used here"
		}
		x := &xffv3.XffConfig{}
		if err := proto.Unmarshal(e.GetTypedConfig().GetValue(), x); err != nil || x.GetXffTrustedCidrs() != nil {
			return netip.Addr{}, false, "the client address is found by trusted networks in x-forwarded-for, which is not evaluated; that of the connection is used here"
		}
		if addr, trusted = lastXFF(req, x.GetXffNumTrustedHops()); addr.IsValid() {
			return addr, trusted, ""
		}
	}
	return netip.Addr{}, false, ""
}

// isInternal: since Envoy 1.33 only what is configured counts as internal.
func isInternal(c *hcmv3.HttpConnectionManager_InternalAddressConfig, a netip.Addr) bool {
	for _, r := range c.GetCidrRanges() {
		if v, _ := matcher.CIDR(r, a); v == matcher.Yes {
			return true
		}
	}
	return false
}

// earlyMutations makes the header changes that come before routing; the text says why the request cannot be known.
func earlyMutations(hcm *hcmv3.HttpConnectionManager, req *matcher.Request, undecided string) string {
	for _, e := range hcm.GetEarlyHeaderMutationExtensions() {
		name := typeName(e.GetTypedConfig())
		m := &earlyv3.HeaderMutation{}
		if name != "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation" || proto.Unmarshal(e.GetTypedConfig().GetValue(), m) != nil || matcher.HasUnknown(m) {
			return fmt.Sprintf("the early header mutation %s (%s) cannot be evaluated", e.GetName(), name)
		}
		if why := Mutate(req, m.GetMutations()); why != "" {
			return "early header mutation: " + why
		}
	}
	return undecided
}

// Mutate makes a list of header mutations to a request in order; the text names the first that cannot be made here.
func Mutate(req *matcher.Request, ms []*mutationv3.HeaderMutation) string {
	for _, m := range ms {
		switch a := m.GetAction().(type) {
		case *mutationv3.HeaderMutation_Remove:
			req.Headers = drop(req.Headers, a.Remove)
		case *mutationv3.HeaderMutation_Append:
			cur := *req
			var unknown []string
			one := mutation{from: "mutation", add: []*corev3.HeaderValueOption{a.Append}}
			req.Headers, _, unknown = one.apply(slices.Clone(req.Headers), func(s string) (string, bool) { return format(s, &cur, nil) })
			if len(unknown) > 0 {
				return "the value of header " + unknown[0] + " cannot be known"
			}
		default:
			return fmt.Sprintf("%T is not known", a)
		}
	}
	return ""
}

// UpgradeType is the protocol a request asks to upgrade to: "websocket", "CONNECT"; empty where it asks for none. h2c is
// ignored, as Envoy's codec does.
func UpgradeType(req *matcher.Request) string {
	if req.Method == "CONNECT" {
		return "CONNECT"
	}
	conn, _ := req.Get("connection")
	up, ok := req.Get("upgrade")
	if !ok || strings.EqualFold(up, "h2c") || req.Protocol == "HTTP/2" || req.Protocol == "HTTP/3" {
		return ""
	}
	for token := range strings.SplitSeq(conn, ",") {
		if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
			return strings.ToLower(up)
		}
	}
	return ""
}

// UpgradeAnswer says whether an upgrade is granted.
type UpgradeAnswer struct {
	Type    string // what was asked for; empty: nothing
	Refusal Refusal
	// Filters are the HTTP filters of the upgrade where it has its own; nil: those of the connection manager.
	Filters []*hcmv3.HttpFilter
}

// Upgrade decides a request for an upgrade: the route's upgrade_configs go before the connection manager's. r is the
// chosen route, nil where there is none. What is refused gets a 403.
func Upgrade(hcm *hcmv3.HttpConnectionManager, r *routev3.Route, req *matcher.Request) UpgradeAnswer {
	a := UpgradeAnswer{Type: UpgradeType(req)}
	if a.Type == "" {
		return a
	}
	granted := false
	refused := "neither the connection manager nor the route allows the upgrade to " + a.Type
	for _, u := range r.GetRoute().GetUpgradeConfigs() {
		if !strings.EqualFold(u.GetUpgradeType(), a.Type) {
			continue
		}
		granted = u.GetEnabled() == nil || u.GetEnabled().GetValue()
		if !granted {
			a.Refusal = Refusal{Status: 403, Details: "upgrade_failed", Why: "the route turns the upgrade to " + a.Type + " off"}
			return a
		}
	}
	for _, u := range hcm.GetUpgradeConfigs() {
		if !strings.EqualFold(u.GetUpgradeType(), a.Type) {
			continue
		}
		if u.GetEnabled() == nil || u.GetEnabled().GetValue() {
			granted = true
		} else {
			refused = "the connection manager turns the upgrade to " + a.Type + " off and the route does not turn it on"
		}
		if len(u.GetFilters()) > 0 {
			a.Filters = u.GetFilters()
		}
	}
	if !granted {
		a.Refusal = Refusal{Status: 403, Details: "upgrade_failed", Why: refused}
	}
	return a
}
