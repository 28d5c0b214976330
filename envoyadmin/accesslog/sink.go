package accesslog

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// Sink is one access logger of a listener, connection manager or TCP proxy.
type Sink struct {
	// Name is the logger's name, envoy.access_loggers.file or the like.
	Name string
	// Where lines go: /dev/stdout, a file, or the kind of service.
	Where string
	// InLog says whether its lines are in the container's log.
	InLog bool
	// Why says why its lines are not there, or why Format is nil.
	Why string
	// Format reads its lines; nil when they are not in the container's log or
	// its configuration does not hold the format.
	Format *Format
	// Filter is the filter that keeps some requests out of the log, as
	// `response_flag_filter {"flags":["NR"]}`; "" for none.
	Filter string
}

// logger is what a configuration says about a logger, whatever form it is in.
type logger struct {
	typ       string // the last part of the type URL, or the logger's name
	path      string
	text      string
	json      []byte
	omitEmpty bool
	elsewhere string // the format is in a file or variable: which
}

// FromProto reads one element of an access_log list. What cannot be read is
// said in the Sink's Why.
func FromProto(log *accesslogv3.AccessLog) Sink {
	s := Sink{Name: log.GetName(), Filter: filterOf(log.GetFilter())}
	config := log.GetTypedConfig()
	if config == nil {
		return s.of(logger{typ: s.Name})
	}
	l := logger{typ: config.GetTypeUrl()[strings.LastIndexByte(config.GetTypeUrl(), '.')+1:]}
	var err error
	switch l.typ {
	case "FileAccessLog":
		var m filev3.FileAccessLog
		err = proto.Unmarshal(config.GetValue(), &m) // v2's message has the same fields under another name
		l.path = m.GetPath()
		switch {
		case m.GetLogFormat() != nil:
			l.substitution(m.GetLogFormat())
		case m.GetJsonFormat() != nil: //nolint:staticcheck // older Envoys use it
			l.json = structJSON(m.GetJsonFormat()) //nolint:staticcheck // as above
		case m.GetTypedJsonFormat() != nil: //nolint:staticcheck // as above
			l.json = structJSON(m.GetTypedJsonFormat()) //nolint:staticcheck // as above
		default:
			l.text = m.GetFormat() //nolint:staticcheck // as above
		}
	case "StdoutAccessLog":
		var m streamv3.StdoutAccessLog
		err = proto.Unmarshal(config.GetValue(), &m)
		l.substitution(m.GetLogFormat())
	case "StderrAccessLog":
		var m streamv3.StderrAccessLog
		err = proto.Unmarshal(config.GetValue(), &m)
		l.substitution(m.GetLogFormat())
	}
	if err != nil {
		s.Why = "its configuration cannot be decoded: " + err.Error()
		return s
	}
	return s.of(l)
}

// substitution takes the format out of a SubstitutionFormatString.
func (l *logger) substitution(f *corev3.SubstitutionFormatString) {
	l.omitEmpty = f.GetOmitEmptyValues()
	if f.GetJsonFormat() != nil {
		l.json = structJSON(f.GetJsonFormat())
		return
	}
	l.text = f.GetTextFormat() //nolint:staticcheck // older Envoys use it
	if source := f.GetTextFormatSource(); source != nil {
		l.text = source.GetInlineString() + string(source.GetInlineBytes())
		l.elsewhere = source.GetFilename()
		if v := source.GetEnvironmentVariable(); v != "" {
			l.elsewhere = "variable " + v
		}
	}
}

func structJSON(s *structpb.Struct) []byte {
	b, err := json.Marshal(s.AsMap())
	if err != nil {
		return []byte("{}")
	}
	return b
}

// filterOf renders a filter as its field name and its content.
func filterOf(f *accesslogv3.AccessLogFilter) string {
	if f == nil {
		return ""
	}
	m := f.ProtoReflect()
	field := m.WhichOneof(m.Descriptor().Oneofs().ByName("filter_specifier"))
	if field == nil {
		return ""
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m.Get(field).Message().Interface())
	if err != nil {
		return string(field.Name())
	}
	return filterText(string(field.Name()), b)
}

func filterText(name string, content []byte) string {
	var v any
	if json.Unmarshal(content, &v) != nil {
		return name
	}
	if b, err := json.Marshal(v); err == nil { // one spelling of blanks and order
		content = b
	}
	if len(content) > 512 {
		return name
	}
	return name + " " + string(content)
}

// FromJSON reads one element of an access_log list as a config_dump prints it,
// in any of its spellings: typed_config, the older config, camel case. The error
// is not nil only when raw is not a JSON object.
func FromJSON(raw []byte) (Sink, error) {
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		return Sink{}, fmt.Errorf("access logger: %w", err)
	}
	s := Sink{Name: text(m, "name")}
	if filter := object(m, "filter"); len(filter) == 1 {
		for name, content := range filter {
			b, _ := json.Marshal(content)
			s.Filter = filterText(snake(name), b)
		}
	}
	config := object(m, "typed_config")
	if config == nil {
		config = object(m, "config")
	}
	l := logger{typ: s.Name}
	if url := text(config, "@type"); url != "" {
		l.typ = url[strings.LastIndexByte(url, '.')+1:]
	}
	if value := object(config, "value"); value != nil && l.typ == "TypedStruct" {
		url := text(config, "type_url")
		config, l.typ = value, url[strings.LastIndexByte(url, '.')+1:]
	}
	l.path = text(config, "path")
	l.text = text(config, "format")
	for _, key := range []string{"json_format", "typed_json_format"} {
		if o := object(config, key); o != nil {
			l.json, _ = json.Marshal(o)
		}
	}
	if f := object(config, "log_format"); f != nil {
		l.omitEmpty, _ = value(f, "omit_empty_values").(bool)
		l.text = text(f, "text_format")
		if o := object(f, "json_format"); o != nil {
			l.json, _ = json.Marshal(o)
		}
		if source := object(f, "text_format_source"); source != nil {
			l.text = text(source, "inline_string")
			l.elsewhere = text(source, "filename")
			if v := text(source, "environment_variable"); v != "" {
				l.elsewhere = "variable " + v
			}
			if l.text == "" && value(source, "inline_bytes") != nil {
				l.elsewhere = "inline bytes"
			}
		}
	}
	return s.of(l), nil
}

// value returns a field by its proto name, in snake or camel case.
func value(m map[string]any, name string) any {
	if v, ok := m[name]; ok {
		return v
	}
	return m[camel(name)]
}

func text(m map[string]any, name string) string {
	s, _ := value(m, name).(string)
	return s
}

func object(m map[string]any, name string) map[string]any {
	o, _ := value(m, name).(map[string]any)
	return o
}

func camel(s string) string {
	parts := strings.Split(s, "_")
	for i := 1; i < len(parts); i++ {
		if parts[i] != "" {
			parts[i] = strings.ToUpper(parts[i][:1]) + parts[i][1:]
		}
	}
	return strings.Join(parts, "")
}

func snake(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			b.WriteByte('_')
			b.WriteByte(c | 0x20)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// of decides where a logger's lines are and compiles its format.
func (s Sink) of(l logger) Sink {
	switch l.typ {
	case "FileAccessLog", "envoy.access_loggers.file", "envoy.file_access_log":
		s.Where = l.path
		switch l.path {
		case "/dev/stdout", "/dev/stderr", "/proc/self/fd/1", "/proc/self/fd/2", "/proc/1/fd/1", "/proc/1/fd/2", "/dev/fd/1", "/dev/fd/2":
			s.InLog = true
		case "/dev/null":
			s.Why = "written to /dev/null: this log is off"
		case "":
			s.Why = "its configuration names no path"
		default:
			s.Why = "written to the file " + strconv.Quote(l.path) + " in the container, not to its log"
		}
	case "StdoutAccessLog", "envoy.access_loggers.stdout":
		s.Where, s.InLog = "/dev/stdout", true
	case "StderrAccessLog", "envoy.access_loggers.stderr":
		s.Where, s.InLog = "/dev/stderr", true
	case "HttpGrpcAccessLogConfig", "TcpGrpcAccessLogConfig", "envoy.access_loggers.http_grpc", "envoy.access_loggers.tcp_grpc", "envoy.http_grpc_access_log", "envoy.tcp_grpc_access_log":
		s.Where, s.Why = "gRPC access log service", "sent to a gRPC access log service, not to the container's log"
	case "OpenTelemetryAccessLogConfig", "envoy.access_loggers.open_telemetry":
		s.Where, s.Why = "OpenTelemetry collector", "sent to an OpenTelemetry collector, not to the container's log"
	case "FluentdAccessLogConfig", "envoy.access_loggers.fluentd":
		s.Where, s.Why = "fluentd", "sent to fluentd, not to the container's log"
	case "WasmAccessLog", "envoy.access_loggers.wasm":
		s.Where, s.Why = "Wasm", "handed to a Wasm extension; what that writes cannot be known from here"
	default:
		s.Where, s.Why = l.typ, "a logger of type "+strconv.Quote(l.typ)+" that this version does not know"
	}
	if !s.InLog {
		return s
	}
	var err error
	switch {
	case l.json != nil:
		s.Format, err = CompileJSON(l.json)
	case l.text != "":
		s.Format, err = CompileText(l.text)
	case l.elsewhere != "":
		s.Why = "its format is not in the configuration: " + l.elsewhere
		return s
	default:
		s.Format = EnvoyDefault()
	}
	if err != nil {
		s.Format, s.Why = nil, err.Error()
		return s
	}
	for _, known := range knownLayouts() {
		// Istio up to 1.23 differs from later ones by this operator alone.
		if strings.TrimSuffix(strings.Replace(s.Format.text, "%UPSTREAM_CLUSTER%", "%UPSTREAM_CLUSTER_RAW%", 1), "\n") ==
			strings.Replace(known.text, "%UPSTREAM_CLUSTER%", "%UPSTREAM_CLUSTER_RAW%", 1) {
			s.Format = s.Format.named(known.name)
		}
	}
	if l.omitEmpty {
		s.Format = s.Format.omitsEmpty()
	}
	return s
}
