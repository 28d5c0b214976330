package trace_test

import (
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// TestWhatWasObservedOutranksWhatWasPredicted: a log that contradicts the
// configuration is said, and a failure nobody predicted keeps the verdict from
// being reachable.
func TestWhatWasObservedOutranksWhatWasPredicted(t *testing.T) {
	const log = "proxies/istio-system/istio-ingressgateway-576c469c96-spndl/access.log"
	line := func(status, host, cluster string) string {
		return "[2026-11-20T19:32:14.412Z] \"GET /simple/httpserver HTTP/1.1\" " + status + " - \"-\" 0 312 4 3 \"10.10.0.0\" \"curl/7.79.1\" \"2b92f22d-3cba-98d6-b51f-4b0ea5311299\" \"simple.baihl.io\" \"" + host + "\" " + cluster + " 10.10.1.4:40112 10.10.1.4:8080 10.10.0.0:44178 - -\n"
	}
	for _, c := range []struct {
		name    string
		change  change
		verdict trace.Verdict
		says    string
	}{
		{"a connection failure", add(log, line("503 UF upstream_reset_before_response_started{remote_connection_failure}", "10.10.1.13:80", "outbound|80||simple.simple.svc.cluster.local")), trace.Degraded, "failed at"},
		{"a missing route", add(log, line("404 NR route_not_found", "-", "-")), trace.Degraded, "failed at"},
		{"an answer where the table has no route", all(
			text("proxies/istio-system/*/config_dump.json", "\"path\": \"/simple/httpserver\"", "\"path\": \"/simple/other\""),
			add(log, line("200 - via_upstream", "10.10.1.13:80", "outbound|80||simple.simple.svc.cluster.local"))), trace.Unreachable, "was answered with 200"},
		{"another endpoint", add(log, line("200 - via_upstream", "10.10.1.99:80", "outbound|80||simple.simple.svc.cluster.local")), trace.Reachable, "endpoint 10.10.1.99:80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			world := unpack(t, ingressHTTP)
			c.change(t, world)
			r := traceFiles(t, world, nodePort.target(t))
			found := ""
			for _, f := range r.Findings {
				if f.Code == "HT9001" {
					found = f.Detail
				}
			}
			if r.Verdict != c.verdict || !strings.Contains(found, c.says) {
				t.Errorf("verdict %s, HT9001 %q\n%s", r.Verdict, found, outline(r))
			}
		})
	}
}
