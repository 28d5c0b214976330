package accesslog

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// istio renders a line of Istio's layout with the given parts.
func istioLine(request, code, details, xff, agent, id, authority, host, tail string) string {
	return fmt.Sprintf(`[2026-11-20T17:32:14.412Z] "%s" %s %s 0 312 4 3 "%s" "%s" "%s" "%s" "%s" %s`,
		request, code, details, xff, agent, id, authority, host, tail)
}

const (
	usualTail = `outbound|80||simple.simple.svc.cluster.local 10.10.1.4:40112 10.10.1.4:8080 10.10.0.0:44178 simple.baihl.io default`
	usualID   = "2b92f22d-3cba-98d6-b51f-4b0ea5311294"
)

func TestLinesAsTheyReallyAre(t *testing.T) {
	usual := istioLine("GET /x HTTP/1.1", "200 -", `via_upstream - "-"`, "10.10.0.0", "curl/7.79.1", usualID, "simple.baihl.io", "10.10.1.13:80", usualTail)
	for _, c := range []struct {
		name, line string
		format     string
		want       map[string]string
		prefix     string
		extra      string
	}{
		{"Istio's default", usual, "Istio text", map[string]string{
			"REQ(:METHOD)": "GET", "PROTOCOL": "HTTP/1.1", "RESPONSE_CODE": "200", "RESPONSE_FLAGS": "-", "RESPONSE_CODE_DETAILS": "via_upstream",
			"UPSTREAM_CLUSTER": "outbound|80||simple.simple.svc.cluster.local", "ROUTE_NAME": "default", "REQUEST_HEADER(x-request-id)": usualID,
		}, "", ""},
		{"kubectl --timestamps", "2025-01-30T12:10:13.682034460Z " + usual, "Istio text", nil, "2025-01-30T12:10:13.682034460Z ", ""},
		{"kubectl --prefix", "[pod/gw-1/istio-proxy] " + usual, "Istio text", nil, "[pod/gw-1/istio-proxy] ", ""},
		{"stern", "istio-ingressgateway-576c469c96-spndl istio-proxy " + usual, "Istio text", nil, "istio-ingressgateway-576c469c96-spndl istio-proxy ", ""},
		{"stern with colours", "\x1b[36mgw-1\x1b[0m \x1b[36mistio-proxy\x1b[0m " + usual, "Istio text", nil, "gw-1 istio-proxy ", ""},
		{"docker-compose", "grpc-server-proxy_1  | " + usual, "Istio text", nil, "grpc-server-proxy_1  | ", ""},
		{"docker-compose with times", "proxy-1  | 2025-01-30T12:10:13.682034460Z " + usual, "Istio text", nil, "proxy-1  | 2025-01-30T12:10:13.682034460Z ", ""},
		{"CRI", "2025-01-30T12:10:13.682034460Z stdout F " + usual, "Istio text", nil, "2025-01-30T12:10:13.682034460Z stdout F ", ""},
		{"Docker's JSON", `{"log":` + quote(usual+"\n") + `,"stream":"stdout","time":"2025-01-30T12:10:13.68Z"}`, "Istio text", nil, `{"log":"`, ""},
		{"a collector's JSON", `{"@timestamp":"x","kubernetes":{"pod":"a"},"_source":{"message":` + quote(usual) + `}}`, "Istio text", nil, `{"message":"`, ""},
		{"syslog", "Nov 20 15:17:00 node-1 envoy[12]: " + usual, "Istio text", nil, "Nov 20 15:17:00 node-1 envoy[12]: ", ""},
		{"indented by a tab", "\t" + usual, "Istio text", nil, "\t", ""},
		{"CRLF", usual + "\r", "Istio text", map[string]string{"ROUTE_NAME": "default"}, "", ""},
		{"the time is missing", strings.TrimPrefix(usual, "[2026-11-20T17:32:14.412Z] "), "Istio text", map[string]string{"RESPONSE_CODE": "200"}, "", ""},
		{"the time is missing behind a CRI prefix", "2025-01-30T12:10:13.682034460Z stdout F " + strings.TrimPrefix(usual, "[2026-11-20T17:32:14.412Z] "), "Istio text", nil, "2025-01-30T12:10:13.682034460Z stdout F ", ""},
		{"the protocol is missing", strings.Replace(usual, " HTTP/1.1", "", 1), "Istio text", map[string]string{"REQ(X-ENVOY-ORIGINAL-PATH?:PATH)": "/x", "UPSTREAM_HOST": "10.10.1.13:80"}, "", ""},
		{"fields appended", usual + " 12 abc", "Istio text", map[string]string{"ROUTE_NAME": "default"}, "", "12 abc"},
		{"addresses masked", strings.ReplaceAll(usual, "10.10.1.13:80", "<masked>"), "Istio text", map[string]string{"UPSTREAM_HOST": "<masked>"}, "", ""},
		{
			"quotes in the user agent",
			istioLine("GET /x HTTP/1.1", "200 -", `via_upstream - "-"`, "-", `He said "hi" and "bye`, usualID, "simple.baihl.io", "10.10.1.13:80", usualTail),
			"Istio text",
			map[string]string{"REQ(USER-AGENT)": `He said "hi" and "bye`, "REQ(X-REQUEST-ID)": usualID},
			"", "",
		},
		{
			"quotes and blanks in the user agent that look like more fields",
			istioLine("GET /x HTTP/1.1", "404 NR", `route_not_found - "-"`, "-", `x" "fake-id" "fake.host" "1.2.3.4:80" outbound|80||evil 1.1.1.1:1 2.2.2.2:2 3.3.3.3:3 sni route`, usualID, "simple.baihl.io", "10.10.1.13:80", usualTail),
			"Istio text",
			map[string]string{"REQ(X-REQUEST-ID)": usualID, "REQ(:AUTHORITY)": "simple.baihl.io", "UPSTREAM_HOST": "10.10.1.13:80", "RESPONSE_CODE": "404"},
			"", "",
		},
		{
			"the same with a blank that would let the rest pass for appended fields",
			istioLine("GET /x HTTP/1.1", "404 NR", `route_not_found - "-"`, "-", `x" "fake-id" "fake.host" "1.2.3.4:80" outbound|80||evil 1.1.1.1:1 2.2.2.2:2 3.3.3.3:3 sni route `, usualID, "simple.baihl.io", "10.10.1.13:80", usualTail),
			"Istio text",
			map[string]string{"REQ(X-REQUEST-ID)": usualID, "REQ(:AUTHORITY)": "simple.baihl.io", "UPSTREAM_HOST": "10.10.1.13:80"},
			"", "",
		},
		{
			"a quote in the path",
			istioLine(`GET /x"y HTTP/1.1`, "404 NR", `route_not_found - "-"`, "-", "curl", usualID, "a.b", "-", "- - 10.10.1.4:8080 10.10.0.0:44178 - -"),
			"Istio text",
			map[string]string{"REQ(X-ENVOY-ORIGINAL-PATH?:PATH)": `/x"y`, "RESPONSE_FLAGS": "NR"},
			"", "",
		},
		{
			"termination details with blanks",
			istioLine("- - -", "0 -", `- transport socket timeout was reached "-"`, "-", "-", "-", "-", "-", "- - 10.244.1.9:8443 10.244.1.1:41890 - -"),
			"Istio text",
			map[string]string{"CONNECTION_TERMINATION_DETAILS": "transport socket timeout was reached", "UPSTREAM_TRANSPORT_FAILURE_REASON": "-"},
			"", "",
		},
		{
			"details with blanks, as older Envoys print them",
			istioLine("GET / HTTP/1.1", "503 UF,URX", `upstream_reset_before_response_started{connection failure,delayed connect error: 111} - "delayed connect error: 111"`, "-", "curl", usualID, "a.b", "10.0.0.1:80", usualTail),
			"Istio text",
			map[string]string{"RESPONSE_CODE_DETAILS": "upstream_reset_before_response_started{connection failure,delayed connect error: 111}", "CONNECTION_TERMINATION_DETAILS": "-"},
			"", "",
		},
		{
			"a policy name with nested brackets",
			istioLine("GET / HTTP/1.1", "403 -", `rbac_access_denied_matched_policy[ns[foo]-policy[httpbin]-rule[0]] - "-"`, "-", "curl", usualID, "a.b", "-", usualTail),
			"Istio text",
			map[string]string{"RESPONSE_CODE_DETAILS": "rbac_access_denied_matched_policy[ns[foo]-policy[httpbin]-rule[0]]"},
			"", "",
		},
		{
			"TCP",
			`[2026-11-20T17:15:16.020Z] "- - -" 0 - - - "-" 322 1290 5204 - "-" "-" "-" "-" "10.244.2.30:3306" outbound|3306||mysql-service.default.svc.cluster.local 10.244.1.7:47338 10.244.1.7:3306 10.244.0.0:52011 - -`,
			"Istio text",
			map[string]string{"BYTES_SENT": "1290", "UPSTREAM_HOST": "10.244.2.30:3306"},
			"", "",
		},
		{
			"IPv6",
			istioLine("GET / HTTP/2", "200 -", `via_upstream - "-"`, "fd00::9", "curl", usualID, "[fd00::1]:8080", "[fd00:10:244::d]:80", "outbound|80||a.b.svc.cluster.local [fd00::4]:40112 [fd00::4]:8080 [fd00::9]:44178 - default"),
			"Istio text",
			map[string]string{"REQ(:AUTHORITY)": "[fd00::1]:8080", "UPSTREAM_HOST": "[fd00:10:244::d]:80"},
			"", "",
		},
		{
			"a codec error without method and path",
			istioLine("- - HTTP/1.1", "400 DPE", `http1.codec_error - "-"`, "-", "-", "-", "-", "-", "- - 10.244.1.9:8080 10.244.1.1:41933 - -"),
			"Istio text",
			map[string]string{"PROTOCOL": "HTTP/1.1", "RESPONSE_FLAGS": "DPE"},
			"", "",
		},
		{
			"Istio up to 1.8",
			`[2020-06-17T09:31:27.360Z] "GET /status/418 HTTP/1.1" 503 UF,URX "-" "TLS error: 268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER" 0 91 66 - "-" "curl/7.60.0" "d209e46f-9ed5-9b61-bbdd-43e22662702a" "httpbin:8000" "172.30.146.73:80" outbound|8000||httpbin.default.svc.cluster.local - 172.21.13.94:8000 172.30.146.82:60290 - default`,
			"Istio text (1.3 to 1.8)",
			map[string]string{"UPSTREAM_TRANSPORT_FAILURE_REASON": "TLS error: 268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER", "ROUTE_NAME": "default"},
			"", "",
		},
		{
			"Istio 1.2",
			`[2019-07-06T09:31:27.360Z] "GET /status/418 HTTP/1.1" 418 - "-" "-" 0 135 5 2 "-" "curl/7.60.0" "d209e46f-9ed5-9b61-bbdd-43e22662702a" "httpbin:8000" "127.0.0.1:80" inbound|8000|http|httpbin.default.svc.cluster.local - 172.30.146.73:80 172.30.146.82:38618 outbound_.8000_._.httpbin.default.svc.cluster.local`,
			"Istio text (1.2)",
			map[string]string{"REQUESTED_SERVER_NAME": "outbound_.8000_._.httpbin.default.svc.cluster.local"},
			"", "",
		},
		{
			"Istio 1.1",
			`[2019-03-06T09:31:27.360Z] "GET /status/418 HTTP/1.1" 418 - "-" 0 135 5 2 "-" "curl/7.60.0" "d209e46f-9ed5-9b61-bbdd-43e22662702a" "httpbin:8000" "127.0.0.1:80" inbound|8000|http|httpbin.default.svc.cluster.local - 172.30.146.73:80 172.30.146.82:38618 outbound_.8000_._.httpbin.default.svc.cluster.local`,
			"Istio text (1.1)",
			map[string]string{"DYNAMIC_METADATA(istio.mixer:status)": "-", "RESPONSE_CODE": "418"},
			"", "",
		},
		{
			"Envoy's default, with the address form of v1",
			`[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "tcp://10.0.2.1:80"`,
			"Envoy default",
			map[string]string{"UPSTREAM_HOST": "tcp://10.0.2.1:80", "DURATION": "226"},
			"", "",
		},
		{
			"Istio's JSON with nulls and numbers",
			`{"authority":"exam.com","bytes_received":0,"bytes_sent":19,"connection_termination_details":null,"downstream_local_address":"10.244.1.9:8080","downstream_remote_address":"10.244.1.1:33150","duration":0,"method":"GET","path":"/getList","protocol":"HTTP/1.1","request_id":"c712d8ba","requested_server_name":null,"response_code":503,"response_code_details":"no_healthy_upstream","response_flags":"UH","route_name":null,"start_time":"2026-11-20T15:30:20.660Z","upstream_cluster":"outbound|8080||b.default.svc.cluster.local","upstream_host":null,"upstream_local_address":null,"upstream_service_time":null,"upstream_transport_failure_reason":null,"user_agent":"curl \"8\"","x_forwarded_for":"10.244.1.1"}`,
			"JSON",
			map[string]string{"RESPONSE_CODE": "503", "UPSTREAM_HOST": "-", "REQ(USER-AGENT)": `curl "8"`, "UPSTREAM_CLUSTER_RAW": "outbound|8080||b.default.svc.cluster.local"},
			"", "",
		},
		{
			"JSON with names of its own, nested, behind stern",
			`gw-1 istio-proxy {"ts":"2026-11-20T15:30:20.660Z","http":{"request_command":"GET","status_code":"404"},"x":{"response_flags":"NR","Downstream-Remote-Address":"10.0.0.1:1"},"team":"a"}`,
			"JSON",
			map[string]string{"REQ(:METHOD)": "GET", "RESPONSE_CODE": "404", "RESPONSE_FLAGS": "NR", "team": "a"},
			"gw-1 istio-proxy ", "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			// A parser that has just read another layout reads it the same.
			after := NewParser()
			after.Parse(usual)
			if a, b := after.Parse(c.line), NewParser().Parse(c.line); !maps.Equal(a.Fields(), b.Fields()) {
				t.Errorf("after another line it reads as\n%v, else as\n%v", a.Fields(), b.Fields())
			}
			e := NewParser().Parse(c.line)
			if !e.OK() {
				t.Fatalf("not read: %s", e.Why)
			}
			if e.Format.Name() != c.format {
				t.Errorf("read as %s, want %s", e.Format.Name(), c.format)
			}
			if e.Prefix != c.prefix || e.Extra != c.extra {
				t.Errorf("prefix %q, extra %q; want %q, %q", e.Prefix, e.Extra, c.prefix, c.extra)
			}
			for op, want := range c.want {
				if got, ok := e.Value(op); !ok || got != want {
					t.Errorf("%s is %q, %v; want %q", op, got, ok, want)
				}
			}
		})
	}
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

func TestWhatIsNoAccessLineIsNamed(t *testing.T) {
	for _, c := range []struct{ name, line, why string }{
		{"nothing", "", "empty line"},
		{"blanks", "  \t", "empty line"},
		{"ztunnel", "2024-04-12T10:17:44.080629Z\tinfo\taccess\tconnection complete\tsrc.addr=10.244.0.16:52008 dst.addr=10.244.0.14:15008 direction=\"outbound\"", "ztunnel"},
		{"Envoy's own log", "[2024-01-02 03:04:05.678][15][warning][config] [source/common/config/grpc_stream.h:191] gRPC config stream closed", "a log message of Envoy (warning, config)"},
		{"Envoy's own log under Istio", "2024-04-12T10:17:44.080629Z\twarning\tenvoy config external/envoy/source/common/config/grpc_stream.h:191\tstream closed", "(warning)"},
		{"the agent", "2024-04-12T10:17:44.080629Z\tinfo\tEnvoy proxy is ready", "(info)"},
		{"the agent in JSON", `{"level":"info","time":"2024-04-12T10:17:44.080629Z","msg":"Envoy proxy is ready"}`, "(info)"},
		{"the agent behind a CRI prefix", "2025-01-30T12:10:13.682034460Z stdout F 2024-04-12T10:17:44.080629Z\tinfo\tEnvoy proxy is ready", "(info)"},
		{"Docker's JSON around the agent's log", `{"log":"2024-04-12T10:17:44.080629Z\tinfo\tEnvoy proxy is ready\n","stream":"stdout"}`, "(info)"},
		{"klog", "I0412 10:17:44.080629       1 main.go:12] started", "klog"},
		{"a web server", `10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326 "-" "curl"`, "common log format"},
		{"gorouter", `dora.example.com - [2020-07-06T17:45:55.828757970Z] "GET /health HTTP/1.1" 503 0 24 "-" "curl/7.54.0" "35.191.2.88:63168" "10.0.1.11:61002" vcap_request_id:"0cd7"`, "gorouter"},
		{"gorouter without its name", `dora.example.com - [2020-07-06T17:45:55.828757970Z] "GET /health HTTP/1.1" 503 0 24 "-" "curl/7.54.0" "35.191.2.88:63168" "10.0.1.11:61002"`, "%RESPONSE_FLAGS% would be at byte"},
		{"another program's JSON", `{"status":"ok","duration":12}`, "JSON without the keys"},
		{"broken JSON", `{"response_code":503,"response_flags":"UH",}`, "broken JSON at byte"},
		{"JSON whose status is none", `{"response_code":"fine","response_flags":"UH","upstream_cluster":"x"}`, "RESPONSE_CODE is not what Envoy prints"},
		{"a line cut off", `[2026-11-20T17:32:14.412Z] "GET /x HTTP/1.1" 200 - via_upstream - "-" 0 312 4 3 "10.10.0.0" "curl/7`, "it ends within %REQ(USER-AGENT)%"},
		{"prose", "hello world", "no known layout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := NewParser().Parse(c.line)
			if e.OK() {
				t.Fatalf("read as %s: %v", e.Format.Name(), e.Fields())
			}
			if !strings.Contains(e.Why, c.why) {
				t.Errorf("why is %q, want it to say %q", e.Why, c.why)
			}
			if e.Fields() != nil || e.Status() != 0 || !e.Start().IsZero() || e.Flags() != nil {
				t.Error("a line that was not read has fields")
			}
		})
	}
}

func TestALineThatCanBeReadInTooManyWaysIsNotGuessed(t *testing.T) {
	line := `[2026-11-20T17:32:14.412Z] "GET /x HTTP/1.1" 200 - via_upstream - "-" 0 312 4 3 ` + strings.Repeat(`" "`, 200_000)
	e := NewParser().Parse(line)
	if e.OK() || !strings.Contains(e.Why, "too many readings") {
		t.Fatalf("why is %q", e.Why)
	}
}

func TestGettersTellWhatALineSays(t *testing.T) {
	e := NewParser().Parse(`[2026-11-20T15:15:10.031Z] "GET /simple/httpserver HTTP/1.1" 503 URX,UF upstream_reset_before_response_started{remote_connection_failure} term "TLS_error" 11 234 66 65 "10.10.0.0" "curl/8.5.0" "851d0796" "simple.baihl.io" "10.10.1.13:80" outbound|80||simple 10.10.1.4:40112 10.10.1.4:8080 10.10.0.0:51514 sni.host route-1`)
	if !e.OK() {
		t.Fatal(e.Why)
	}
	if want := time.Date(2026, 11, 20, 15, 15, 10, 31e6, time.UTC); !e.Start().Equal(want) {
		t.Errorf("start %v, want %v", e.Start(), want)
	}
	for _, c := range []struct{ got, want any }{
		{e.Method(), "GET"},
		{e.Path(), "/simple/httpserver"},
		{e.Protocol(), "HTTP/1.1"},
		{e.Status(), 503},
		{fmt.Sprint(e.Flags()), "[URX UF]"},
		{e.Details(), "upstream_reset_before_response_started{remote_connection_failure}"},
		{e.TerminationDetails(), "term"},
		{e.TransportFailure(), "TLS_error"},
		{e.BytesReceived(), int64(11)},
		{e.BytesSent(), int64(234)},
		{e.Duration(), 66 * time.Millisecond},
		{e.ServiceTime(), 65 * time.Millisecond},
		{e.ForwardedFor(), "10.10.0.0"},
		{e.UserAgent(), "curl/8.5.0"},
		{e.RequestID(), "851d0796"},
		{e.Authority(), "simple.baihl.io"},
		{e.UpstreamHost(), "10.10.1.13:80"},
		{e.UpstreamCluster(), "outbound|80||simple"},
		{e.UpstreamLocal(), "10.10.1.4:40112"},
		{e.DownstreamLocal(), "10.10.1.4:8080"},
		{e.DownstreamRemote(), "10.10.0.0:51514"},
		{e.ServerName(), "sni.host"},
		{e.Route(), "route-1"},
	} {
		if c.got != c.want {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
}

func TestStartIsReadInEveryFormItIsPrintedIn(t *testing.T) {
	want := time.Date(2018, 5, 29, 10, 43, 10, 528e6, time.UTC)
	sec := want.Truncate(time.Second)
	for _, c := range []struct {
		op, printed string
		want        time.Time
	}{
		{"%START_TIME%", "2018-05-29T10:43:10.528Z", want},
		{"%START_TIME%", "2018-05-29T10:43:10.528", want},
		{"%START_TIME%", "2018-05-29T12:43:10.528+02:00", want},
		{"%START_TIME(%s.%3f)%", "1527590590.528", want},
		{"%START_TIME(%s)%", "1527590590", sec},
		{"%START_TIME(%Y/%m/%dT%H:%M:%S%z %s)%", "2018/05/29T10:43:10+0000 1527590590", sec},
		{"%START_TIME(%Y-%m-%dT%H:%M:%S.%6f%z)%", "2018-05-29T12:43:10.528000+0200", want},
		{"%START_TIME(%d/%b/%Y:%H:%M:%S %z)%", "29/May/2018:10:43:10 +0000", sec},
		{"%START_TIME(%a, %e %B %y %I:%M:%S %p)%", "Tue, 29 May 18 10:43:10 AM", sec},
		{"%START_TIME(%F %T)%", "2018-05-29 10:43:10", sec},
		{"%START_TIME(%c)%", "Tue May 29 10:43:10 2018", time.Time{}}, // depends on the locale
		{"%START_TIME_LOCAL%", "2018-05-29T10:43:10.528", time.Time{}},
		{"%START_TIME_LOCAL(%FT%T%z)%", "2018-05-29T12:43:10+0200", sec},
		{"%START_TIME%", "2018-15-29T10:43:10.528Z", time.Time{}},
	} {
		f, err := Compile(c.op + ` "%REQ(A)%"`)
		if err != nil {
			t.Fatal(err)
		}
		e := NewParser(f).Parse(c.printed + ` "x"`)
		if !e.OK() || !e.Start().Equal(c.want) {
			t.Errorf("%s %q: %v %s, want %v", c.op, c.printed, e.Start(), e.Why, c.want)
		}
	}
}

func TestMalformedFormatsAreRefusedWithTheirPlace(t *testing.T) {
	for _, c := range []struct{ format, want string }{
		{"%START_TIME", "byte 0"},
		{"abc %REQ(:METHOD% x", "byte 4"},
		{"%req(x)%", "byte 0"},
		{"100% of %PROTOCOL%", "byte 3"},
		{"%PROTOCOL(x)%", "takes no parameter"},
		{"%REQ%", "needs a parameter"},
		{"%PROTOCOL:3%", "takes no length"},
		{"%REQ(a):99999999999999999999%", "byte 0"},
		{"no operator", "no operator"},
		{`{"a":"%REQ%"}`, "a: "},
		{`{"a":1}`, "no operator"},
		{strings.Repeat("%PROTOCOL% ", 513), "more than 512"},
		{strings.Repeat("x", 70000) + "%PROTOCOL%", "64 KiB"},
		{strings.Repeat(`{"a":`, 40) + `"%PROTOCOL%"` + strings.Repeat("}", 40), "32 levels"},
	} {
		_, err := Compile(c.format)
		var fe *FormatError
		if !errors.As(err, &fe) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want it to say %q", c.format, err, c.want)
		}
	}
}

func TestOperatorsThatOnlyAnExtensionMayKnowAreNamed(t *testing.T) {
	for format, want := range map[string]string{
		"%START_TIME% %REQ(A)% %METADATA(ROUTE:a)% %CEL(a)% %REQ_WITHOUT_QUERY(:PATH)%": "[]",
		"%RESPONSE_FLAG% %PROTOCOL% %NOSUCH(x):3% %RESPONSE_FLAG%":                      "[%RESPONSE_FLAG% %NOSUCH(x):3%]",
		`{"a":"%PROTOCOL%","b":"%WHAT%"}`:                                               "[%WHAT%]",
	} {
		f, err := Compile(format)
		if err != nil || fmt.Sprint(f.Unknown()) != want {
			t.Errorf("%s: %v, %v", format, f.Unknown(), err)
		}
	}
}

func TestAFormatWithoutWhatATraceNeedsSaysSo(t *testing.T) {
	f, err := Compile("[%START_TIME%] %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %DURATION%\n")
	if err != nil {
		t.Fatal(err)
	}
	lacks := f.Lacks()
	for _, want := range []string{"RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS", "REQ(X-REQUEST-ID)", "UPSTREAM_HOST"} {
		if !slices.Contains(lacks, want) {
			t.Errorf("%s is not named among %v", want, lacks)
		}
	}
	if slices.Contains(lacks, "RESPONSE_CODE") || !f.Has("RESPONSE_CODE") || f.Has("RESPONSE_FLAGS") {
		t.Errorf("lacks %v", lacks)
	}
	e := NewParser(f).Parse("[2026-11-20T17:30:55.412Z] GET /hello 200 4")
	if e.Status() != 200 || e.Path() != "/hello" || e.Duration() != 4*time.Millisecond {
		t.Errorf("%v %s", e.Fields(), e.Why)
	}
}

func TestAParserWithFormatsReadsOthersOnlyWhenAsked(t *testing.T) {
	f := must(`%RESPONSE_CODE% %REQ(:PATH)%`)
	line := `[2016-04-15T20:17:00.310Z] "POST / HTTP/2" 204 - 154 0 226 100 "-" "a" "b" "c" "10.0.2.1:80"`
	if e := NewParser(f).Parse(line); e.OK() {
		t.Errorf("read as %s", e.Format.Name())
	}
	if e := NewParser(f).Detecting().Parse(line); !e.OK() || e.Format.Name() != "Envoy default" {
		t.Errorf("not read: %s", e.Why)
	}
	if e := NewParser(f).Detecting().Parse("404 /x"); !e.OK() || e.Format != f {
		t.Errorf("not read: %s", e.Why)
	}
}

func TestValuesThatAreLeftEmptyAreUnset(t *testing.T) {
	s, err := FromJSON([]byte(`{"name":"envoy.access_loggers.stdout","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog","log_format":{"omit_empty_values":true,"text_format_source":{"inline_string":"\"%REQ(A)%\" %RESPONSE_FLAGS% %UPSTREAM_HOST%\n"}}}}`))
	if err != nil || s.Format == nil {
		t.Fatal(err, s.Why)
	}
	e := NewParser(s.Format).Parse(`""  `)
	if !e.OK() || e.UpstreamHost() != "" || e.Flags() != nil {
		t.Errorf("%q %s", e.Fields(), e.Why)
	}
	if e := NewParser(s.Format).Parse(`"x" NR 10.0.0.1:80`); e.UpstreamHost() != "10.0.0.1:80" {
		t.Errorf("%q %s", e.Fields(), e.Why)
	}
}

// outcomes reads a log and returns "ok" or the Why of each entry with its line.
func outcomes(t *testing.T, log string, formats ...*Format) []string {
	t.Helper()
	var got []string
	for e, err := range NewParser(formats...).Read(strings.NewReader(log)) {
		if err != nil {
			t.Fatal(err)
		}
		if e.OK() {
			got = append(got, fmt.Sprintf("%d ok %s", e.Line, e.Path()))
		} else {
			got = append(got, fmt.Sprintf("%d %.20s", e.Line, e.Why))
		}
	}
	return got
}

func TestReadPutsRecordsOfSeveralLinesTogether(t *testing.T) {
	one := istioLine("GET /1 HTTP/1.1", "200 -", `via_upstream - "-"`, "-", "curl and more", usualID, "a.b", "10.10.1.13:80", usualTail)
	two := strings.Replace(one, "/1", "/2", 1)
	cut := strings.Index(one, "curl and")
	pretty := "{\n  \"method\": \"GET\",\n  \"path\": \"/p\",\n  \"response_code\": \"200\",\n  \"user_agent\": \"a } b {\",\n  \"response_flags\": \"-\",\n  \"nested\": {\n    \"upstream_cluster\": \"x\"\n  }\n}"
	compact := `{"method":"GET","path":"/c","response_code":200,"response_flags":"-"}`
	multi := must("%REQ(:PATH)%\n%RESPONSE_CODE%\n--\n")
	shaped := must("{\n \"path\": \"%REQ(:PATH)%\",\n \"ua\": \"%REQ(USER-AGENT)%\"\n}\n")
	for _, c := range []struct {
		name, log string
		formats   []*Format
		want      []string
	}{
		{"wrapped at a blank", one[:cut+4] + "\n" + one[cut+5:] + "\n" + two, nil, []string{"1 ok /1", "3 ok /2"}},
		{"wrapped within a word", one[:cut+2] + "\n" + one[cut+2:] + "\n", nil, []string{"1 ok /1"}},
		{"wrapped three times, indented", one[:40] + "\n    " + one[40:cut] + "\n    " + one[cut:] + "\n" + two + "\n", nil, []string{"1 ok /1", "4 ok /2"}},
		{"cut off before the next", one[:cut] + "\n" + two + "\n", nil, []string{"1 no known layout of a", "2 ok /2"}},
		{"cut off before something else", one[:cut] + "\nhello\n" + compact + "\n", nil, []string{"1 no known layout of a", "2 no known layout of a", "3 ok /c"}},
		{"indented JSON", pretty + "\n" + compact + "\n" + pretty, nil, []string{"1 ok /p", "11 ok /c", "12 ok /p"}},
		{"indented JSON with timestamps", strings.ReplaceAll("2025-01-30T12:10:13.682034460Z "+pretty, "\n", "\n2025-01-30T12:10:14.682034460Z "), nil, []string{"1 ok /p"}},
		{"JSON broken at its source", strings.TrimSuffix(pretty, "}") + "\n" + compact, nil, []string{
			"1 broken JSON at byte ", "11 ok /c",
		}},
		{"CRI's partial lines", "2025-01-30T12:10:13.6Z stdout P " + one[:60] + "\n2025-01-30T12:10:13.6Z stdout P " + one[60:200] + "\n2025-01-30T12:10:13.6Z stdout F " + one[200:] + "\n2025-01-30T12:10:13.6Z stdout F " + two + "\n", nil, []string{"1 ok /1", "4 ok /2"}},
		{"a CRI line whose rest is missing", "2025-01-30T12:10:13.6Z stdout P " + one[:60] + "\n", nil, []string{"1 no known layout of a"}},
		{"a format of several lines", "/a\n200\n--\n/b\n404\n--\n", []*Format{multi}, []string{"1 ok /a", "4 ok /b"}},
		{"a text of several lines in the shape of JSON", "{\n \"path\": \"/a\",\n \"ua\": \"a \"quoted\" {one\"\n}\n{\n \"path\": \"/b\",\n \"ua\": \"x\"\n}\n", []*Format{shaped}, []string{"1 ok /a", "5 ok /b"}},
		{"no newline at the end", one, nil, []string{"1 ok /1"}},
		{"nothing", "", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := outcomes(t, c.log, c.formats...); !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

func TestReadKeepsTheRawLinesAndBoundsThem(t *testing.T) {
	one := istioLine("GET /1 HTTP/1.1", "200 -", `via_upstream - "-"`, "-", "curl", usualID, "a.b", "10.10.1.13:80", usualTail)
	long := strings.Repeat("x", MaxLine+1)
	log := one[:50] + "\n" + one[50:] + "\n" + long + "\n" + one + "\n"
	var raws []string
	for e, err := range NewParser().Read(iotest.OneByteReader(strings.NewReader(log))) {
		if err != nil {
			t.Fatal(err)
		}
		raws = append(raws, e.Raw)
		if len(e.Raw) == 4096 && !strings.Contains(e.Why, "bytes long") {
			t.Errorf("why is %q", e.Why)
		}
	}
	if want := []string{one[:50] + "\n" + one[50:], long[:4096], one}; !slices.Equal(raws, want) {
		t.Errorf("got %d entries: %.80q", len(raws), raws)
	}
}

func TestReadEndsWithTheErrorOfItsReader(t *testing.T) {
	broken := errors.New("broken pipe")
	r := io.MultiReader(strings.NewReader("hello\n"), iotest.ErrReader(broken))
	n, last := 0, error(nil)
	for _, err := range NewParser().Read(r) {
		n++
		last = err
	}
	if n != 2 || !errors.Is(last, broken) {
		t.Errorf("%d items, the last with %v", n, last)
	}
	for range NewParser().Read(strings.NewReader("a\nb\nc\n")) {
		break // must not panic
	}
}

// Every access line of the worlds is read, and nothing else is in their logs but
// the two lines of the world whose format hides fields.
func TestAccessLogsOfTheWorlds(t *testing.T) {
	ar, err := txtar.ParseFile(filepath.Join("..", "..", "testdata", "accesslog", "worlds.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	hides := must("[%START_TIME%] %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %DURATION%\n")
	read := 0
	for _, file := range ar.Files {
		lines := strings.Count(string(file.Data), "\n")
		p := NewParser()
		if strings.Contains(file.Name, "HT9002-format-hides-fields") {
			p = NewParser(hides)
		}
		n := 0
		for e, err := range p.Read(strings.NewReader(string(file.Data))) {
			if err != nil {
				t.Fatal(err)
			}
			if !e.OK() {
				t.Errorf("%s:%d: %s\n%s", file.Name, e.Line, e.Why, e.Raw)
				continue
			}
			n++
			if e.Start().IsZero() {
				t.Errorf("%s:%d: no start time", file.Name, e.Line)
			}
			if e.Format != hides {
				if again := render(e.Format, func(op Operator) string { v, _ := e.Value(op.Key()); return v }); again != e.Raw {
					t.Errorf("%s:%d: reads as\n%s\nbut is\n%s", file.Name, e.Line, again, e.Raw)
				}
			}
		}
		if n != lines {
			t.Errorf("%s: %d of %d lines read", file.Name, n, lines)
		}
		read += n
	}
	if read != 80 {
		t.Errorf("%d lines read in all, want 80", read)
	}
}

func TestAccessLogsOfRealSystems(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "shared", "corpus", "real", "access_log")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the corpus of real systems is not beside the repository:", err)
	}
	for _, c := range []struct {
		file, format string
		read, named  int
		why          string
	}{
		{"contour-2021-foo.log", "Envoy default", 1, 0, ""},
		{"envoy-2019-grpc-bridge.compose.log", "Envoy default", 4, 0, ""},
		{"gorouter-not-envoy-2020.log", "", 0, 1, "gorouter"},
		{"istio-1.17-solo-egress.log", "Istio text", 1, 0, ""},
		{"istio-1.1x-shardul-nginx.log", "Istio text", 1, 0, ""},
		{"istio-1.24-waypoint-bookinfo.log", "Istio text", 16, 0, ""},
		{"istio-1.24-ztunnel.log", "", 0, 28, "ztunnel"},
		{"istio-2023-zhaohuabing-UC.log", "Istio text", 1, 0, ""},
	} {
		t.Run(c.file, func(t *testing.T) {
			f, err := os.Open(filepath.Join(dir, c.file))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			read, named := 0, 0
			for e, err := range NewParser().Read(f) {
				switch {
				case err != nil:
					t.Fatal(err)
				case !e.OK():
					named++
					if !strings.Contains(e.Why, c.why) {
						t.Errorf("line %d: %s", e.Line, e.Why)
					}
				default:
					read++
					if e.Format.Name() != c.format || e.Status() == 0 || e.UpstreamHost() == "" {
						t.Errorf("line %d: %s %v", e.Line, e.Format.Name(), e.Fields())
					}
				}
			}
			if read != c.read || named != c.named {
				t.Errorf("%d lines read and %d named, want %d and %d", read, named, c.read, c.named)
			}
		})
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 8 {
		t.Errorf("%d files, %v; the table holds 8", len(entries), err)
	}
}
