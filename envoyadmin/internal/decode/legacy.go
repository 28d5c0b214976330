package decode

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
)

// legacy is a field today's protos do not have: its name, the key it stood
// under and the place of its value.
type legacy struct {
	name, key string
	at        int
}

// V3 returns the v3 name of a v2 message, and any other name as it is. Source:
// the udpa.annotations.versioning.previous_message_type options of the v3 API.
func V3(name string) string {
	if v, ok := v3Names[name]; ok {
		return v
	}
	for _, p := range [...][2]string{
		{"envoy.api.v2.auth.", "envoy.extensions.transport_sockets.tls.v3."},
		{"envoy.api.v2.core.", "envoy.config.core.v3."},
		{"envoy.api.v2.route.", "envoy.config.route.v3."},
		{"envoy.config.rbac.v2.", "envoy.config.rbac.v3."},
		{"envoy.config.filter.accesslog.v2.", "envoy.config.accesslog.v3."},
	} {
		if rest, ok := strings.CutPrefix(name, p[0]); ok {
			return p[1] + rest
		}
	}
	// envoy.config.filter.http.fault.v2.HTTPFault
	rest, ok := strings.CutPrefix(name, "envoy.config.filter.")
	if !ok {
		return name
	}
	parts := strings.Split(rest, ".")
	if len(parts) != 4 || !strings.HasPrefix(parts[2], "v2") {
		return name
	}
	switch parts[0] {
	case "http", "network", "listener":
	default:
		return name
	}
	switch parts[1] {
	case "rate_limit":
		parts[1] = "ratelimit"
	case "local_rate_limit":
		parts[1] = "local_ratelimit"
	case "transcoder":
		parts[1] = "grpc_json_transcoder"
	}
	return "envoy.extensions.filters." + parts[0] + "." + parts[1] + ".v3." + parts[3]
}

var v3Names = map[string]string{
	"envoy.api.v2.Listener":                                               "envoy.config.listener.v3.Listener",
	"envoy.api.v2.Cluster":                                                "envoy.config.cluster.v3.Cluster",
	"envoy.api.v2.RouteConfiguration":                                     "envoy.config.route.v3.RouteConfiguration",
	"envoy.api.v2.ScopedRouteConfiguration":                               "envoy.config.route.v3.ScopedRouteConfiguration",
	"envoy.api.v2.ClusterLoadAssignment":                                  "envoy.config.endpoint.v3.ClusterLoadAssignment",
	"envoy.config.accesslog.v2.FileAccessLog":                             "envoy.extensions.access_loggers.file.v3.FileAccessLog",
	"envoy.config.accesslog.v2.HttpGrpcAccessLogConfig":                   "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
	"envoy.config.accesslog.v2.TcpGrpcAccessLogConfig":                    "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig",
	"envoy.config.cluster.aggregate.v2alpha.ClusterConfig":                "envoy.extensions.clusters.aggregate.v3.ClusterConfig",
	"envoy.config.cluster.dynamic_forward_proxy.v2alpha.ClusterConfig":    "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
	"envoy.config.cluster.redis.RedisClusterConfig":                       "envoy.extensions.clusters.redis.v3.RedisClusterConfig",
	"envoy.config.transport_socket.raw_buffer.v2.RawBuffer":               "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
	"envoy.config.transport_socket.tap.v2alpha.Tap":                       "envoy.extensions.transport_sockets.tap.v3.Tap",
	"envoy.config.filter.network.dubbo_proxy.v2alpha1.DubboProxy":         "envoy.extensions.filters.network.dubbo_proxy.v3.DubboProxy",
	"envoy.config.filter.network.thrift_proxy.v2alpha1.ThriftProxy":       "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy",
	"envoy.config.filter.http.ext_authz.v2alpha.ExtAuthz":                 "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
	"envoy.config.filter.network.mysql_proxy.v1alpha1.MySQLProxy":         "envoy.extensions.filters.network.mysql_proxy.v3.MySQLProxy",
	"envoy.config.filter.network.zookeeper_proxy.v1alpha1.ZooKeeperProxy": "envoy.extensions.filters.network.zookeeper_proxy.v3.ZooKeeperProxy",
}

// byName gives the type a filter's configuration has when only the filter's
// name tells, as up to Envoy 1.13.
var byName = map[string]string{
	"http_connection_manager":               "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
	"tcp_proxy":                             "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
	"mongo_proxy":                           "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
	"redis_proxy":                           "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
	"thrift_proxy":                          "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy",
	"dubbo_proxy":                           "envoy.extensions.filters.network.dubbo_proxy.v3.DubboProxy",
	"zookeeper_proxy":                       "envoy.extensions.filters.network.zookeeper_proxy.v3.ZooKeeperProxy",
	"echo":                                  "envoy.extensions.filters.network.echo.v3.Echo",
	"sni_cluster":                           "envoy.extensions.filters.network.sni_cluster.v3.SniCluster",
	"mysql_proxy":                           "envoy.extensions.filters.network.mysql_proxy.v3.MySQLProxy",
	"router":                                "envoy.extensions.filters.http.router.v3.Router",
	"fault":                                 "envoy.extensions.filters.http.fault.v3.HTTPFault",
	"lua":                                   "envoy.extensions.filters.http.lua.v3.Lua",
	"cors":                                  "envoy.extensions.filters.http.cors.v3.Cors",
	"buffer":                                "envoy.extensions.filters.http.buffer.v3.Buffer",
	"gzip":                                  "envoy.extensions.filters.http.gzip.v3.Gzip",
	"jwt_authn":                             "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
	"grpc_web":                              "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
	"grpc_http1_bridge":                     "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config",
	"grpc_json_transcoder":                  "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
	"health_check":                          "envoy.extensions.filters.http.health_check.v3.HealthCheck",
	"header_to_metadata":                    "envoy.extensions.filters.http.header_to_metadata.v3.Config",
	"original_dst":                          "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
	"tls_inspector":                         "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
	"http_inspector":                        "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
	"proxy_protocol":                        "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
	"file_access_log":                       "envoy.extensions.access_loggers.file.v3.FileAccessLog",
	"http_grpc_access_log":                  "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
	"tcp_grpc_access_log":                   "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig",
	"raw_buffer":                            "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
	"aggregate":                             "envoy.extensions.clusters.aggregate.v3.ClusterConfig",
	"envoy.filters.http.rbac":               "envoy.extensions.filters.http.rbac.v3.RBAC",
	"envoy.filters.network.rbac":            "envoy.extensions.filters.network.rbac.v3.RBAC",
	"envoy.filters.network.ext_authz":       "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
	"envoy.filters.network.direct_response": "envoy.extensions.filters.network.direct_response.v3.Config",
	"envoy.filters.network.local_ratelimit": "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
	"envoy.filters.network.ratelimit":       "envoy.extensions.filters.network.ratelimit.v3.RateLimit",
	"envoy.ext_authz":                       "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
	"envoy.filters.http.ext_authz":          "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
	"envoy.rate_limit":                      "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
	"envoy.ratelimit":                       "envoy.extensions.filters.network.ratelimit.v3.RateLimit",
}

// TypeByName returns the full name of the configuration type of an extension
// that is known by its name alone; empty if it is not.
func TypeByName(name string) string {
	if t, ok := byName[name]; ok {
		return t
	}
	return byName[name[strings.LastIndexByte(name, '.')+1:]]
}

// legacy reads a field of an old shape into today's. ok is false if it is none.
func (d *decoder) legacy(m protoreflect.Message, l legacy, depth int) (ok bool, err error) {
	md := m.Descriptor()
	fields := md.Fields()
	if l.name != l.key && fields.ByName(protoreflect.Name(l.name)) != nil {
		_, err = d.field(m, fields.ByName(protoreflect.Name(l.name)), l.key, l.at, depth)
		return true, err
	}
	switch l.name {
	case "config":
		f := fields.ByName("typed_config")
		if f == nil || f.Message() == nil || f.Message().FullName() != "google.protobuf.Any" || m.Has(f) {
			return false, nil
		}
		name := ""
		if nf := fields.ByName("name"); nf != nil {
			name = m.Get(nf).String()
		}
		typ := TypeByName(name)
		if md.Name() == "TransportSocket" && (name == "tls" || name == "envoy.transport_sockets.tls") {
			typ = d.tlsType()
		}
		a := &anypb.Any{}
		if err := d.typed(a, typ, name, l.at, depth, nil); err != nil {
			return true, err
		}
		m.Set(f, protoreflect.ValueOfMessage(a.ProtoReflect()))
		return true, nil
	case "tls_context", "tlsContext":
		f := fields.ByName("transport_socket")
		if f == nil || m.Has(f) {
			return false, nil
		}
		a := &anypb.Any{}
		if err := d.typed(a, d.tlsType(), "", l.at, depth, nil); err != nil {
			return true, err
		}
		ts := m.Mutable(f).Message()
		ts.Set(ts.Descriptor().Fields().ByName("name"), protoreflect.ValueOfString("envoy.transport_sockets.tls"))
		ts.Set(ts.Descriptor().Fields().ByName("typed_config"), protoreflect.ValueOfMessage(a.ProtoReflect()))
		return true, nil
	case "per_filter_config", "perFilterConfig":
		f := fields.ByName("typed_per_filter_config")
		if f == nil || !f.IsMap() {
			return false, nil
		}
		mp := m.Mutable(f).Map()
		_, err := jsonscan.Object(d.b, l.at, func(k []byte, at int) (int, error) {
			key := protoreflect.ValueOfString(string(k)).MapKey()
			if !mp.Has(key) {
				a := &anypb.Any{}
				if err := d.typed(a, "", string(k), at, depth, nil); err != nil {
					return 0, err
				}
				mp.Set(key, protoreflect.ValueOfMessage(a.ProtoReflect()))
			}
			return 0, nil
		})
		return true, err
	}
	switch md.FullName() {
	case "envoy.config.cluster.v3.Cluster":
		if l.name == "hosts" {
			return d.hosts(m, l, depth)
		}
	case "envoy.config.listener.v3.FilterChainMatch":
		if l.name == "sni_domains" || l.name == "sniDomains" {
			_, err := d.field(m, fields.ByName("server_names"), l.key, l.at, depth)
			return true, err
		}
	case "envoy.config.route.v3.RouteMatch":
		if l.name == "regex" {
			return d.regex(m.Mutable(fields.ByName("safe_regex")).Message(), l)
		}
	case "envoy.config.route.v3.HeaderMatcher":
		switch l.name {
		case "regex_match", "regexMatch":
			return d.regex(m.Mutable(fields.ByName("safe_regex_match")).Message(), l)
		}
	case "envoy.config.route.v3.QueryParameterMatcher":
		if l.name == "value" {
			sm := m.Mutable(fields.ByName("string_match")).Message()
			f := sm.Descriptor().Fields().ByName("exact")
			if b := m.GetUnknown(); len(b) == 0 {
				_, err := d.field(sm, f, l.key, l.at, depth)
				return true, err
			}
		}
	case "envoy.type.matcher.v3.StringMatcher":
		if l.name == "regex" {
			return d.regex(m.Mutable(fields.ByName("safe_regex")).Message(), l)
		}
	}
	return false, nil
}

func (d *decoder) tlsType() string {
	if d.upstream {
		return "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
	}
	return "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
}

func (d *decoder) regex(m protoreflect.Message, l legacy) (bool, error) {
	_, err := d.field(m, m.Descriptor().Fields().ByName("regex"), l.key, l.at, 0)
	return true, err
}

// hosts reads a v2 cluster's list of addresses as a load assignment.
func (d *decoder) hosts(m protoreflect.Message, l legacy, depth int) (bool, error) {
	f := m.Descriptor().Fields().ByName("load_assignment")
	if m.Has(f) || l.at >= len(d.b) || d.b[l.at] != '[' {
		return false, nil
	}
	la := m.Mutable(f).Message()
	if n := m.Descriptor().Fields().ByName("name"); m.Has(n) {
		la.Set(la.Descriptor().Fields().ByName("cluster_name"), m.Get(n))
	}
	group := la.Mutable(la.Descriptor().Fields().ByName("endpoints")).List().AppendMutable().Message()
	lbs := group.Mutable(group.Descriptor().Fields().ByName("lb_endpoints")).List()
	_, err := jsonscan.Array(d.b, l.at, func(_, at int) (int, error) {
		lb := lbs.AppendMutable().Message()
		ep := lb.Mutable(lb.Descriptor().Fields().ByName("endpoint")).Message()
		return d.field(ep, ep.Descriptor().Fields().ByName("address"), l.key, at, depth+1)
	})
	return true, err
}
