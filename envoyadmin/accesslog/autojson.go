package accesslog

import (
	"slices"
	"strings"
)

// jsonNames maps the keys people give to values in JSON logs, in lower case with
// every other character turned into "_", to operators. They are those of Istio,
// Envoy Gateway, Contour, Consul, OSM, Higress and of common custom formats.
var jsonNames = map[string]string{
	"start_time": "START_TIME", "timestamp": "START_TIME", "time": "START_TIME", "ts": "START_TIME", "starttime": "START_TIME",
	"start_time_local": "START_TIME_LOCAL",
	"method":           "REQ(:METHOD)", "request_method": "REQ(:METHOD)", "http_method": "REQ(:METHOD)", "request_command": "REQ(:METHOD)", "verb": "REQ(:METHOD)",
	"path": "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "x_envoy_original_path": "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "x_envoy_origin_path": "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)",
	"request_path": "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "uri": "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "url": "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "request_uri": "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)",
	"url_path": "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "http_path": "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)",
	"protocol": "PROTOCOL", "request_protocol": "PROTOCOL", "http_version": "PROTOCOL",
	"response_code": "RESPONSE_CODE", "status": "RESPONSE_CODE", "status_code": "RESPONSE_CODE", "response_status": "RESPONSE_CODE", "http_status": "RESPONSE_CODE", "code": "RESPONSE_CODE", "responsecode": "RESPONSE_CODE",
	"response_flags": "RESPONSE_FLAGS", "response_flag": "RESPONSE_FLAGS", "flags": "RESPONSE_FLAGS", "responseflags": "RESPONSE_FLAGS",
	"response_flags_long": "RESPONSE_FLAGS_LONG", "response_flag_long": "RESPONSE_FLAGS_LONG",
	"response_code_details": "RESPONSE_CODE_DETAILS", "response_details": "RESPONSE_CODE_DETAILS", "details": "RESPONSE_CODE_DETAILS",
	"connection_termination_details":      "CONNECTION_TERMINATION_DETAILS",
	"upstream_transport_failure_reason":   "UPSTREAM_TRANSPORT_FAILURE_REASON",
	"downstream_transport_failure_reason": "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
	"bytes_received":                      "BYTES_RECEIVED", "request_bytes": "BYTES_RECEIVED", "bytes_in": "BYTES_RECEIVED",
	"bytes_sent": "BYTES_SENT", "response_bytes": "BYTES_SENT", "bytes_out": "BYTES_SENT",
	"duration": "DURATION", "duration_ms": "DURATION", "response_time": "DURATION", "total_time": "DURATION",
	"request_duration": "REQUEST_DURATION", "response_duration": "RESPONSE_DURATION", "time_to_first_byte": "RESPONSE_DURATION",
	"response_tx_duration": "RESPONSE_TX_DURATION", "request_tx_duration": "REQUEST_TX_DURATION",
	"upstream_service_time": "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", "x_envoy_upstream_service_time": "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", "resp_upstream_service_time": "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)",
	"x_forwarded_for": "REQ(X-FORWARDED-FOR)", "forwarded_for": "REQ(X-FORWARDED-FOR)",
	"user_agent": "REQ(USER-AGENT)", "useragent": "REQ(USER-AGENT)", "http_user_agent": "REQ(USER-AGENT)",
	"request_id": "REQ(X-REQUEST-ID)", "x_request_id": "REQ(X-REQUEST-ID)", "requestid": "REQ(X-REQUEST-ID)",
	"trace_id": "TRACE_ID", "x_b3_traceid": "REQ(X-B3-TRACEID)",
	"authority": "REQ(:AUTHORITY)", "authority_for": "REQ(:AUTHORITY)", "host": "REQ(:AUTHORITY)", "request_host": "REQ(:AUTHORITY)", "http_host": "REQ(:AUTHORITY)",
	"upstream_host": "UPSTREAM_HOST", "upstream_remote_address": "UPSTREAM_REMOTE_ADDRESS",
	"upstream_cluster": "UPSTREAM_CLUSTER", "upstream_cluster_raw": "UPSTREAM_CLUSTER_RAW",
	"upstream_local_address": "UPSTREAM_LOCAL_ADDRESS", "upstream_protocol": "UPSTREAM_PROTOCOL",
	"upstream_request_attempt_count": "UPSTREAM_REQUEST_ATTEMPT_COUNT",
	"downstream_local_address":       "DOWNSTREAM_LOCAL_ADDRESS", "downstream_remote_address": "DOWNSTREAM_REMOTE_ADDRESS",
	"downstream_direct_remote_address": "DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "downstream_peer_uri_san": "DOWNSTREAM_PEER_URI_SAN",
	"remote_address": "DOWNSTREAM_REMOTE_ADDRESS", "client_address": "DOWNSTREAM_REMOTE_ADDRESS",
	"requested_server_name": "REQUESTED_SERVER_NAME", "server_name": "REQUESTED_SERVER_NAME", "sni": "REQUESTED_SERVER_NAME",
	"route_name": "ROUTE_NAME", "route": "ROUTE_NAME", "grpc_status": "GRPC_STATUS", "grpc_status_number": "GRPC_STATUS_NUMBER",
	"filter_chain_name": "FILTER_CHAIN_NAME", "hostname": "HOSTNAME", "connection_id": "CONNECTION_ID", "stream_id": "STREAM_ID",
	"istio_policy_status": "DYNAMIC_METADATA(istio.mixer:status)",
}

// telling are the operators that only an Envoy access line carries; a JSON
// object is one when it has two of them, or one and a status.
var telling = []string{
	"RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG", "RESPONSE_CODE_DETAILS", "UPSTREAM_HOST", "UPSTREAM_CLUSTER", "UPSTREAM_CLUSTER_RAW",
	"DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_LOCAL_ADDRESS", "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", "REQUESTED_SERVER_NAME",
	"UPSTREAM_TRANSPORT_FAILURE_REASON", "UPSTREAM_LOCAL_ADDRESS",
}

// jsonName is the operator a key of a JSON line stands for. Nested keys are
// told by their last part.
func jsonName(path string) (Operator, bool) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		path = path[i+1:]
	}
	b := make([]byte, 0, len(path))
	for i := range len(path) {
		switch c := path[i]; {
		case c >= 'A' && c <= 'Z':
			b = append(b, c|0x20)
		case letter(c) || digit(c):
			b = append(b, c)
		case len(b) > 0 && b[len(b)-1] != '_':
			b = append(b, '_')
		}
	}
	key, ok := jsonNames[strings.TrimSuffix(string(b), "_")]
	if !ok {
		return Operator{}, false
	}
	name, arg, _ := strings.Cut(strings.TrimSuffix(key, ")"), "(")
	return Operator{Name: name, Arg: arg}, true
}

// autoJSON recognises JSON access lines by their keys. The format it makes of
// the keys of one line serves all lines with the same keys.
type autoJSON struct {
	paths  []string
	format *Format // nil when such lines are no access lines
	values []string
}

// match reads a JSON line; why is set when it is no access line.
func (a *autoJSON) match(s string) (f *Format, values []string, why string) {
	a.values = a.values[:0]
	n, same := 0, true
	var paths []string
	err := scanJSON(s, nil, func(path []byte, kind jsonKind, v string) bool {
		if kind == jsonNull {
			v = "-"
		}
		if same && (n >= len(a.paths) || a.paths[n] != string(path)) {
			same, paths = false, slices.Clone(a.paths[:n])
		}
		if !same {
			paths = append(paths, string(path))
		}
		n++
		a.values = append(a.values, v)
		return n <= maxOps
	})
	switch {
	case err != nil:
		return nil, nil, err.Error()
	case n > maxOps:
		return nil, nil, "JSON with more than 512 values"
	}
	if !same || n != len(a.paths) {
		if same {
			paths = slices.Clone(a.paths[:n])
		}
		a.paths, a.format = paths, formatOfKeys(paths)
	}
	if a.format == nil {
		return nil, nil, "JSON without the keys of an access log"
	}
	// Values that merely bear the name of a number or of flags are another
	// program's.
	for _, field := range [...]field{fieldStatus, fieldFlags, fieldReceived, fieldSent} {
		i := a.format.slots[field]
		if i < 0 {
			continue
		}
		if ok, _ := a.format.shapes[i].fits(a.values[i], loose, ""); !ok && !isFloat(a.values[i]) {
			return nil, nil, "JSON whose " + a.format.ops[i].Name + " is not what Envoy prints"
		}
	}
	return a.format, slices.Clone(a.values), ""
}

func isFloat(s string) bool {
	ok, _ := whole(s, func(b byte) bool { return digit(b) || b == '.' })
	return ok && s != ""
}

// formatOfKeys makes the format of JSON lines with these keys, nil where they
// are not those of an access log.
func formatOfKeys(paths []string) *Format {
	f := &Format{name: "JSON", unset: "-", keyed: make([]string, len(paths))}
	used := map[string]bool{}
	signs := 0
	for i, path := range paths {
		op, ok := jsonName(path)
		if !ok || used[op.Key()] {
			op = Operator{}
			f.keyed[i] = path
		}
		if key := op.Key(); key != "" {
			used[key] = true
			if slices.Contains(telling, key) {
				signs++
			}
		}
		f.ops = append(f.ops, op)
		f.shapes = append(f.shapes, shapeOf(op))
	}
	if signs == 0 || signs == 1 && !used["RESPONSE_CODE"] {
		return nil
	}
	f.finish()
	return f
}
