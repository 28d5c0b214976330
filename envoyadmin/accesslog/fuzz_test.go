package accesslog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// checkEntry checks what must hold for any input: a line that is read in a
// text layout is made of exactly the values found in it.
func checkEntry(t *testing.T, body string, e Entry) {
	t.Helper()
	if (e.Format == nil) == e.OK() {
		t.Fatalf("format %v with why %q", e.Format, e.Why)
	}
	for _, f := range []func(){
		func() { e.Start() }, func() { e.Flags() }, func() { e.Fields() }, func() { e.Duration() }, func() { e.Status() },
	} {
		f()
	}
	if !e.OK() || e.Format.JSON() || strings.Contains(body, "\x1b") {
		return
	}
	again := e.Prefix + render(e.Format, func(op Operator) string { return "" }) // literals alone
	if len(again) > len(body)+len(e.Prefix)+1 {
		t.Fatalf("%d bytes of literals in a line of %d", len(again), len(body))
	}
	rest := body
	for i, v := range e.values {
		for _, piece := range []string{e.Format.lits[i], v} {
			k := strings.Index(rest, piece)
			if k < 0 {
				t.Fatalf("%q is not in the rest of %q", piece, body)
			}
			rest = rest[k+len(piece):]
		}
	}
}

func FuzzParse(f *testing.F) {
	ar, err := txtar.ParseFile(filepath.Join("..", "..", "testdata", "accesslog", "worlds.txtar"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range ar.Files[:8] {
		f.Add(strings.SplitN(string(file.Data), "\n", 2)[0])
	}
	f.Add(`2025-01-30T12:10:13.682034460Z stdout F [2016-04-15T20:17:00.310Z] "POST /a HTTP/2" 204 - 154 0 226 100 "-" "a "b" c" "c" "l" "tcp://10.0.2.1:80"`)
	f.Add(`{"method":"GET","path":"/c","response_code":200,"response_flags":"-","n":{"a":[1,{"b":null}]}}`)
	f.Add(`{"log":"[2016-04-15T20:17:00.310Z] \"- - -\" 0\n","stream":"stdout"}`)
	custom := must(`%START_TIME(%s.%3f)% %REQ(A):8%%PROTOCOL% "%REQ(B)%" %REQ(:PATH)%|%RESPONSE_FLAGS%`)
	f.Fuzz(func(t *testing.T, line string) {
		for _, p := range []*Parser{NewParser(), NewParser(custom), NewParser(IstioText()).Detecting()} {
			e := p.Parse(line)
			body := unwrap(strings.TrimRight(line, "\r\n")).body
			checkEntry(t, body, e)
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add("{\n\"a\":1\n}\n[2016-04-15T20:17:00.310Z] \"x\ny\n2025-01-30T12:10:13.6Z stdout P a\n2025-01-30T12:10:13.6Z stdout F b\n")
	f.Add("{\n\"response_code\":1,\n\"response_flags\":\"-\"}\n\r\n\xef\xbb\xbf")
	f.Fuzz(func(t *testing.T, log string) {
		lines := 0
		for e, err := range NewParser().Read(strings.NewReader(log)) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Line != lines+1 {
				t.Fatalf("line %d follows line %d", e.Line, lines)
			}
			lines += 1 + strings.Count(e.Raw, "\n")
		}
		if want := strings.Count(log, "\n"); lines != want && lines != want+1 {
			t.Fatalf("%d lines read of %d", lines, want)
		}
	})
}

func FuzzCompile(f *testing.F) {
	f.Add(IstioText().String(), "a")
	f.Add(`{"a":"%REQ(:PATH)%","b":[{"c":"x%PROTOCOL%y%RESPONSE_CODE%"}]}`, `{"a":"1","b":[{"c":"xHTTP/1y2"}]}`)
	f.Add(`%CEL(f(")") )%%REQ(a):3%%%`, "x%")
	f.Fuzz(func(t *testing.T, format, line string) {
		c, err := Compile(format)
		if err != nil {
			return
		}
		for _, op := range c.Operators() {
			if c.position(op.Key()) < 0 {
				t.Fatalf("%s is not found as %s", op, op.Key())
			}
		}
		checkEntry(t, unwrap(strings.TrimRight(line, "\r\n")).body, NewParser(c).Parse(line))
	})
}

// logOf is a log of n access lines, with one of the agent among each hundred.
func logOf(b *testing.B, n int) string {
	b.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "accesslog", "worlds.txtar"))
	if err != nil {
		b.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, `[`) && strings.Contains(line, `"`) {
			lines = append(lines, line)
		}
	}
	var log strings.Builder
	for i := range n {
		if i%100 == 99 {
			log.WriteString("2024-04-12T10:17:44.080629Z\tinfo\tEnvoy proxy is ready\n")
			continue
		}
		log.WriteString(lines[i%len(lines)])
	}
	return log.String()
}

func BenchmarkRead(b *testing.B) {
	const n = 100_000
	text := logOf(b, n)
	var asJSON strings.Builder
	jsonFormat, err := Compile(`{"start_time":"%START_TIME%","method":"%REQ(:METHOD)%","path":"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%","response_code":"%RESPONSE_CODE%","response_flags":"%RESPONSE_FLAGS%","details":"%RESPONSE_CODE_DETAILS%","bytes_sent":"%BYTES_SENT%","duration":"%DURATION%","user_agent":"%REQ(USER-AGENT)%","request_id":"%REQ(X-REQUEST-ID)%","authority":"%REQ(:AUTHORITY)%","upstream_host":"%UPSTREAM_HOST%","upstream_cluster":"%UPSTREAM_CLUSTER_RAW%","downstream_remote_address":"%DOWNSTREAM_REMOTE_ADDRESS%","route_name":"%ROUTE_NAME%"}`)
	if err != nil {
		b.Fatal(err)
	}
	rendered := 0
	for e := range NewParser().Read(strings.NewReader(text[:len(text)/50])) {
		if e.OK() {
			asJSON.WriteString(render(jsonFormat, func(op Operator) string { v, _ := e.Value(op.Key()); return v }) + "\n")
			rendered++
		}
	}
	jsonText := strings.Repeat(asJSON.String(), n/rendered)
	for _, c := range []struct {
		name    string
		log     string
		formats []*Format
	}{
		{"IstioText/Detected", text, nil},
		{"IstioText/Known", text, []*Format{IstioText()}},
		{"JSON/Detected", jsonText, nil},
		{"JSON/Known", jsonText, []*Format{jsonFormat}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.log)))
			lines := 0
			for b.Loop() {
				lines = 0
				for e, err := range NewParser(c.formats...).Read(strings.NewReader(c.log)) {
					if err != nil {
						b.Fatal(err)
					}
					if e.OK() && e.Status() >= 0 && e.RequestID() != "never" {
						lines++
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(lines), "ns/line")
			if lines < n*9/10 {
				b.Fatalf("%d lines read of %d", lines, n)
			}
		})
	}
}
