package accesslog

import (
	"encoding/json"
	"strings"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

func TestSinksOfEveryKindOfLogger(t *testing.T) {
	const file = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
	const std = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3."
	istio, _ := json.Marshal(IstioText().String() + "\n")
	for _, c := range []struct {
		name, config string
		jsonOnly     bool // not a form go-control-plane's types can hold
		inLog        bool
		format       string // its name; "" for none
		line         string // a line it reads
		why, filter  string
	}{
		{
			"Istio's on stdout", `{"name":"envoy.access_loggers.file","typed_config":{"@type":"` + file + `","path":"/dev/stdout","log_format":{"text_format_source":{"inline_string":` + string(istio) + `}}}}`,
			false, true, "Istio text", "", "", "",
		},
		{
			"only what met no route", `{"name":"envoy.access_loggers.file","filter":{"response_flag_filter":{"flags":["NR"]}},"typed_config":{"@type":"` + file + `","path":"/dev/stdout"}}`,
			false, true, "Envoy default", "", "", `response_flag_filter {"flags":["NR"]}`,
		},
		{"stdout without a format", `{"name":"envoy.access_loggers.stream","typed_config":{"@type":"` + std + `StdoutAccessLog"}}`, false, true, "Envoy default", "", "", ""},
		{"stderr with JSON", `{"name":"x","typed_config":{"@type":"` + std + `StderrAccessLog","log_format":{"json_format":{"a":"%RESPONSE_CODE%","b":{"c":"%REQ(:PATH)%"}}}}}`, false, true, "custom JSON", `{"a":404,"b":{"c":"/x"}}`, "", ""},
		{"the older text field", `{"name":"x","typed_config":{"@type":"` + file + `","path":"/dev/stdout","format":"%RESPONSE_CODE% %REQ(:PATH)%\n"}}`, false, true, "custom", "404 /x", "", ""},
		{"the older JSON field", `{"name":"x","typed_config":{"@type":"` + file + `","path":"/dev/stdout","json_format":{"a":"%RESPONSE_CODE%","b":"%REQ(:PATH)%"}}}`, false, true, "custom JSON", `{"a":"404","b":"/x"}`, "", ""},
		{"the older typed JSON field", `{"name":"x","typed_config":{"@type":"` + file + `","path":"/dev/stdout","typed_json_format":{"a":"%RESPONSE_CODE%","b":"%REQ(:PATH)%"}}}`, false, true, "custom JSON", `{"a":404,"b":"/x"}`, "", ""},
		{"a JSON-shaped text", `{"name":"x","typed_config":{"@type":"` + file + `","path":"/dev/stdout","log_format":{"text_format_source":{"inline_string":"{\"code\":\"%RESPONSE_CODE%\",\"ua\":\"%REQ(USER-AGENT)%\",\"p\":\"%REQ(:PATH)%\"}\n"}}}}`, false, true, "custom", `{"code":"404","ua":"a "quoted", agent","p":"/x"}`, "", ""},
		{"off", `{"name":"x","typed_config":{"@type":"` + file + `","path":"/dev/null"}}`, false, false, "", "", "this log is off", ""},
		{"a file", `{"name":"x","typed_config":{"@type":"` + file + `","path":"/var/log/a.log"}}`, false, false, "", "", `"/var/log/a.log" in the container`, ""},
		{"a format in a file", `{"name":"x","typed_config":{"@type":"` + file + `","path":"/dev/stdout","log_format":{"text_format_source":{"filename":"/etc/format"}}}}`, false, true, "", "", "/etc/format", ""},
		{"a format that does not compile", `{"name":"x","typed_config":{"@type":"` + file + `","path":"/dev/stdout","format":"%REQ%"}}`, false, true, "", "", "needs a parameter", ""},
		{"gRPC", `{"name":"envoy.http_grpc_access_log","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"}}`, false, false, "", "", "gRPC access log service", ""},
		{"OpenTelemetry", `{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"}}`, true, false, "", "", "OpenTelemetry", ""},
		{"one that is not known", `{"name":"example.logger","typed_config":{"@type":"type.googleapis.com/example.Logger"}}`, true, false, "", "", `"Logger" that this version does not know`, ""},
		{"Envoy 1.12's config field", `{"name":"envoy.file_access_log","config":{"path":"/dev/stdout"}}`, true, true, "Envoy default", "", "", ""},
		{"v2's type", `{"name":"envoy.file_access_log","typed_config":{"@type":"type.googleapis.com/envoy.config.accesslog.v2.FileAccessLog","path":"/dev/stdout","format":"%RESPONSE_CODE% %REQ(:PATH)%"}}`, true, true, "custom", "404 /x", "", ""},
		{"camel case", `{"name":"x","filter":{"statusCodeFilter":{"comparison":{"op":"GE"}}},"typedConfig":{"@type":"` + file + `","path":"/dev/stdout","logFormat":{"textFormatSource":{"inlineString":"%RESPONSE_CODE% %REQ(:PATH)%"}}}}`, true, true, "custom", "404 /x", "", `status_code_filter {"comparison":{"op":"GE"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			sinks := map[string]Sink{}
			s, err := FromJSON([]byte(c.config))
			if err != nil {
				t.Fatal(err)
			}
			sinks["JSON"] = s
			if !c.jsonOnly {
				var log accesslogv3.AccessLog
				if err := protojson.Unmarshal([]byte(c.config), &log); err != nil {
					t.Fatal(err)
				}
				sinks["proto"] = FromProto(&log)
			}
			for from, s := range sinks {
				if s.InLog != c.inLog || (s.Format == nil) != (c.format == "") || s.Format != nil && s.Format.Name() != c.format {
					t.Errorf("%s: in log %v, format %v (%s); want %v, %q", from, s.InLog, s.Format, s.Why, c.inLog, c.format)
				}
				if !strings.Contains(s.Why, c.why) || c.why == "" && s.Why != "" {
					t.Errorf("%s: why is %q, want it to say %q", from, s.Why, c.why)
				}
				if s.Filter != c.filter {
					t.Errorf("%s: filter is %q, want %q", from, s.Filter, c.filter)
				}
				if c.line != "" && s.Format != nil {
					if e := NewParser(s.Format).Parse(c.line); e.Status() != 404 || e.Path() != "/x" {
						t.Errorf("%s: %s reads as %v %s", from, c.line, e.Fields(), e.Why)
					}
				}
			}
		})
	}
	otel := &accesslogv3.AccessLog{ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: &anypb.Any{
		TypeUrl: "type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
	}}}
	if s := FromProto(otel); s.InLog || s.Where != "OpenTelemetry collector" {
		t.Errorf("OpenTelemetry is %+v", s)
	}
	if _, err := FromJSON([]byte("nonsense")); err == nil {
		t.Error("what is no JSON is no error")
	}
}
