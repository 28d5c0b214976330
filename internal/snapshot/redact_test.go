package snapshot

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// fixed is a source of files in memory.
type fixed map[string]string

func (f fixed) Observe(_ context.Context, q trace.Query) (trace.Observation, error) {
	if s, ok := f[q.Path()]; ok {
		return trace.Observation{Data: []byte(s)}, nil
	}
	return trace.Observation{}, &trace.NotReadError{Query: q, Why: "GET failed: Authorization: Bearer abcdefgh12345678"}
}

const (
	jwtText = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"
	pemText = `-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nhunter2\n-----END RSA PRIVATE KEY-----\n`
)

func TestSecretsAreTakenOut(t *testing.T) {
	pem := base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(pemText, `\n`, "\n")))
	cert := base64.StdEncoding.EncodeToString([]byte("-----BEGIN CERTIFICATE-----\nMIIhunter2\n-----END CERTIFICATE-----\n"))
	for _, c := range []struct{ name, path, in, want string }{
		{
			"the values of a Secret, not its keys", "cluster/secrets.json",
			`{"items":[{"kind":"Secret","type":"kubernetes.io/tls","metadata":{"name":"a","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":\"hunter2\"}"}},"data":{"tls.key":"hunter2","tls.crt":"hunter2"},"stringData":{"p":"hunter2"}}]}`,
			`{"items":[{"kind":"Secret","type":"kubernetes.io/tls","metadata":{"name":"a","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"REDACTED"}},"data":{"tls.key":"REDACTED","tls.crt":"REDACTED"},"stringData":{"p":"REDACTED"}}]}`,
		},
		{
			"the values of ConfigMaps but the mesh's", "cluster/configmaps.json",
			`{"items":[{"metadata":{"name":"istio"},"data":{"mesh":"accessLogFile: /dev/stdout","app.ini":"hunter2"}}]}`,
			`{"items":[{"metadata":{"name":"istio"},"data":{"mesh":"accessLogFile: /dev/stdout","app.ini":"REDACTED"}}]}`,
		},
		{
			"a Secret among other kinds", "cluster/pods.json",
			`{"kind":"List","items":[{"apiVersion":"v1","kind":"Secret","data":{"a":"hunter2"},"metadata":{"name":"s"}},{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}]}`,
			"{\"apiVersion\":\"v1\",\"kind\":\"List\",\"metadata\":{\"resourceVersion\":\"\"},\"items\":[\n" + `{"apiVersion":"v1","kind":"Secret","data":{"a":"REDACTED"},"metadata":{"name":"s"}},` + "\n" + `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}` + "\n]}\n",
		},
		{
			"environment variables by their name", "cluster/pods.json",
			`{"items":[{"kind":"Pod","spec":{"containers":[{"env":[{"name":"DB_PASSWORD","value":"hunter2"},{"name":"TRUST_DOMAIN","value":"cluster.local"},{"name":"AWS_SECRET_ACCESS_KEY","value":"hunter2"},{"name":"CA_TOKEN_PATH","value":"/var/run/x"}],"args":["--db-password=hunter2","--port=80"]}]}}]}`,
			`{"items":[{"kind":"Pod","spec":{"containers":[{"env":[{"name":"DB_PASSWORD","value":"REDACTED"},{"name":"TRUST_DOMAIN","value":"cluster.local"},{"name":"AWS_SECRET_ACCESS_KEY","value":"REDACTED"},{"name":"CA_TOKEN_PATH","value":"/var/run/x"}],"args":["--db-password=REDACTED","--port=80"]}]}}]}`,
		},
		{
			"headers that a VirtualService sets", "cluster/virtualservices.networking.istio.io.json",
			`{"items":[{"spec":{"http":[{"headers":{"request":{"set":{"Authorization":"Basic aHVudGVyMjpodW50ZXIy","x-env":"prod"}}}}]}}]}`,
			`{"items":[{"spec":{"http":[{"headers":{"request":{"set":{"Authorization":"REDACTED","x-env":"prod"}}}}]}}]}`,
		},
		{
			"private keys of Envoy's configuration, not certificates", "proxies/n/p/config_dump.json",
			`{"tls_certificate":{"certificate_chain":{"inline_bytes":"` + cert + `"},"private_key":{"inline_bytes":"` + pem + `"}},"other":{"inline_string":"` + pemText + `x"},"any":"` + pem + `"}`,
			`{"tls_certificate":{"certificate_chain":{"inline_bytes":"` + cert + `"},"private_key":{"inline_bytes":"REDACTED"}},"other":{"inline_string":"REDACTED\nx"},"any":"REDACTED"}`,
		},
		{
			"what Envoy redacts itself stays as it is", "proxies/n/p/config_dump.json",
			`{"private_key":{"inline_bytes":"W3JlZGFjdGVkXQ=="},"generic_secret":{"secret":{"inline_string":"[redacted]"}}}`,
			`{"private_key":{"inline_bytes":"W3JlZGFjdGVkXQ=="},"generic_secret":{"secret":{"inline_string":"[redacted]"}}}`,
		},
		{
			"formats of logs, names and matchers stay", "proxies/n/p/config_dump.json",
			`{"json_format":{"authorization":"%REQ(AUTHORIZATION)%"},"name":"envoy.filters.http.credential_injector","typed_config":{"value":"x"},"headers":[{"name":"x-token","string_match":{"exact":"a"}}],"privateKey":"/etc/certs/key.pem"}`,
			`{"json_format":{"authorization":"%REQ(AUTHORIZATION)%"},"name":"envoy.filters.http.credential_injector","typed_config":{"value":"x"},"headers":[{"name":"x-token","string_match":{"exact":"a"}}],"privateKey":"/etc/certs/key.pem"}`,
		},
		{
			"headers that a route adds", "proxies/n/p/config_dump.json",
			`{"request_headers_to_add":[{"header":{"key":"x-api-key","value":"hunter2"}},{"header":{"key":"x-a","value":"b"}}]}`,
			`{"request_headers_to_add":[{"header":{"key":"x-api-key","value":"REDACTED"}},{"header":{"key":"x-a","value":"b"}}]}`,
		},
		{
			"tokens in a JSON line of a log", "proxies/n/p/access.log",
			`{"path":"/a?access_token=hunter2&b=1","authorization":"Bearer ` + jwtText + `","cookie":"sid=hunter2","route":"r"}` + "\nplain\n",
			`{"path":"/a?access_token=REDACTED&b=1","authorization":"REDACTED","cookie":"REDACTED","route":"r"}` + "\nplain\n",
		},
		{
			"tokens in a text line of a log", "proxies/n/p/access.log",
			`[2026-11-20T18:14:15.123Z] "GET /x?token=hunter2&q=1 HTTP/1.1" 200 - "Bearer ` + jwtText + `" "Basic aHVudGVyMjpodW50ZXIy" outbound|80||a.b.svc` + "\n" + `cookie: sid=hunter2; other=hunter2` + "\n" + `authorization="hunter2" next` + "\n",
			`[2026-11-20T18:14:15.123Z] "GET /x?token=REDACTED&q=1 HTTP/1.1" 200 - "Bearer REDACTED" "Basic REDACTED" outbound|80||a.b.svc` + "\n" + `cookie: REDACTED` + "\n" + `authorization="REDACTED" next` + "\n",
		},
		{
			"a password in a URL", "cluster/serviceentries.networking.istio.io.json",
			`{"items":[{"a":"postgres://app:hunter2@db:5432/x"}]}`,
			`{"items":[{"a":"postgres://app:REDACTED@db:5432/x"}]}`,
		},
		{
			"words that only look like it stay", "proxies/n/p/access.log",
			"Basic authentication is off, bearer of news, key=1 monkey eyJ\n",
			"Basic authentication is off, bearer of news, key=1 monkey eyJ\n",
		},
		{
			"rules stay", "nodes/n/iptables-save.txt",
			"-A KUBE-SVC-G6D3V5KS3PXPUEDS -m comment --comment \"istio-system/token:http2\" -j KUBE-SEP-LAV34IONK7IOT5SV\n",
			"-A KUBE-SVC-G6D3V5KS3PXPUEDS -m comment --comment \"istio-system/token:http2\" -j KUBE-SEP-LAV34IONK7IOT5SV\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := observed(t, Redact(fixed{c.path: c.in}), c.path)
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if strings.Contains(got, "hunter2") || strings.Contains(got, jwtText) {
				t.Error("a secret is left")
			}
			if again := observed(t, Redact(fixed{c.path: got}), c.path); again != got {
				t.Errorf("redacting twice gives %s", again)
			}
		})
	}
}

func queryOf(path string) trace.Query {
	p := strings.Split(path, "/")
	switch p[0] {
	case "cluster":
		return trace.Query{Area: trace.AreaCluster, File: strings.TrimSuffix(p[1], ".json")}
	case "nodes":
		return trace.Query{Area: trace.AreaNode, Name: p[1], File: p[2]}
	case "dns.json":
		return trace.Query{Area: trace.AreaDNS}
	}
	return trace.Query{Area: trace.Area(p[0]), Namespace: p[1], Name: p[2], File: strings.Join(p[3:], "/")}
}

func observed(t testing.TB, src trace.Source, path string) string {
	t.Helper()
	obs, err := src.Observe(t.Context(), queryOf(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(obs.Data)
}

func TestAReasonIsRedactedToo(t *testing.T) {
	_, err := Redact(fixed{}).Observe(t.Context(), trace.Query{Area: trace.AreaCluster, File: "pods"})
	var nr *trace.NotReadError
	if !errors.As(err, &nr) || strings.Contains(nr.Why, "abcdefgh") {
		t.Error(err)
	}
}

func TestAListInYAMLBecomesJSON(t *testing.T) {
	src := Redact(fixed{"cluster/pods.json": "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n  spec:\n    containers:\n    - env:\n      - name: X_TOKEN\n        value: hunter2\n"})
	got := observed(t, src, "cluster/pods.json")
	if !json.Valid([]byte(got)) || !strings.Contains(got, `"name":"a"`) || strings.Contains(got, "hunter2") {
		t.Error(got)
	}
	_, err := Redact(fixed{"cluster/pods.json": "a: b\n  c: [\n"}).Observe(t.Context(), queryOf("cluster/pods.json"))
	var in *trace.InputError
	if !errors.As(err, &in) || in.Line == 0 || in.File != "cluster/pods.json" {
		t.Error(err)
	}
}

func TestNothingOfAWorldChangesThatHoldsNoSecret(t *testing.T) {
	for _, name := range worlds(t) {
		s, err := Read(name, worldBytes(t, name))
		if err != nil {
			t.Fatal(err)
		}
		r := Redact(s)
		for p := range s.st.files {
			if p == metaFile || !strings.Contains(p, "/") {
				continue
			}
			q := queryOf(p)
			before, err := s.Observe(t.Context(), q)
			if err != nil {
				continue // iptables-legacy-save.txt and the like have their own names
			}
			after, err := r.Observe(t.Context(), q)
			if err != nil {
				t.Errorf("%s %s: %v", name, p, err)
				continue
			}
			if !bytes.Equal(before.Data, after.Data) {
				b, a := difference(before.Data, after.Data)
				t.Errorf("%s %s changes:\n%s\n%s", name, p, b, a)
			}
		}
	}
}

func difference(a, b []byte) (string, string) {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	from := max(0, i-100)
	return string(a[from:min(len(a), i+60)]), string(b[from:min(len(b), i+60)])
}

func TestBrokenJSONKeepsItsFaults(t *testing.T) {
	in := "{\"items\":[\n{\"kind\":\"Pod\" \"metadata\":{}}]}"
	if got := observed(t, Redact(fixed{"cluster/pods.json": in}), "cluster/pods.json"); got != in {
		t.Error(got)
	}
}

func FuzzRedact(f *testing.F) {
	f.Add([]byte(`{"items":[{"data":{"a":"b"},"env":[{"name":"X_TOKEN","value":"y"}]}]}`))
	f.Add([]byte(`"` + pemText + jwtText))
	f.Add([]byte("cookie: a=b\nBearer abcdefgh12345678\n{\"a\":"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, clean := range [][]byte{redactJSON(data, "data"), redactText(data)} {
			if json.Valid(data) && !json.Valid(redactJSON(data, "data")) {
				t.Errorf("%q is no JSON any more: %q", data, clean)
			}
			if bytes.Count(data, []byte("\n")) < bytes.Count(clean, []byte("\n")) {
				t.Errorf("%q has more lines than %q", clean, data)
			}
		}
		once := redactJSON(data, "data")
		if twice := redactJSON(once, "data"); !bytes.Equal(once, twice) {
			t.Errorf("%q: %q, then %q", data, once, twice)
		}
	})
}
