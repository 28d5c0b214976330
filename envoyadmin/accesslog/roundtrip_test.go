package accesslog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// reference is testdata/accesslog/reference.json.
type reference struct {
	Formats   map[string]json.RawMessage `json:"formats"`
	Operators map[string]struct {
		Syntax string `json:"syntax"`
	} `json:"operators"`
	Flags []struct {
		Short, Long string
	} `json:"response_flags"`
}

func readReference(t testing.TB) reference {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "accesslog", "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ref reference
	if err := json.Unmarshal(b, &ref); err != nil {
		t.Fatal(err)
	}
	return ref
}

// render prints a line as Envoy's formatter does: values as they are, without
// escaping; in JSON by encoding/json, with numbers and nulls.
func render(f *Format, value func(Operator) string) string {
	if f.JSON() {
		var v any
		if err := json.Unmarshal([]byte(f.text), &v); err != nil {
			panic(err)
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(renderJSON(v, value)); err != nil {
			panic(err)
		}
		return strings.TrimSuffix(b.String(), "\n")
	}
	var b strings.Builder
	for i, op := range f.ops {
		b.WriteString(f.lits[i])
		v := value(op)
		if op.Limit > 0 && len(v) > op.Limit {
			v = v[:op.Limit]
		}
		b.WriteString(v)
	}
	b.WriteString(f.lits[len(f.ops)])
	return b.String()
}

func renderJSON(v any, value func(Operator) string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, inner := range v {
			out[k] = renderJSON(inner, value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = renderJSON(v[i], value)
		}
		return out
	case string:
		f, err := CompileText(v)
		if err != nil {
			return v
		}
		s := render(f, value)
		if len(f.ops) == 1 && f.lits[0] == "" && f.lits[1] == "" {
			switch {
			case s == "-":
				return nil
			case f.shapes[0] == shapeNumber:
				return json.Number(s)
			}
		}
		return s
	default:
		return v
	}
}

// sample is a value an operator may print; unset ones are "-".
func sample(r *rand.Rand, op Operator) string {
	pick := func(values ...string) string { return values[r.IntN(len(values))] }
	if r.IntN(5) == 0 {
		return "-"
	}
	switch shapeOf(op) {
	case shapeNumber, shapeMillis:
		return fmt.Sprint(r.IntN(100000))
	case shapeFlags:
		if strings.HasSuffix(op.Name, "LONG") {
			return pick("UpstreamConnectionFailure,UpstreamRetryLimitExceeded", "NoRouteFound")
		}
		return pick("UF,URX", "URX,UF", "NR", "UAEX", "DC", "customflag_1")
	case shapeProtocol:
		return pick("HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3")
	case shapeTime:
		return fmt.Sprintf("2026-11-%02dT15:04:%02d.%03dZ", 1+r.IntN(28), r.IntN(60), r.IntN(1000))
	case shapeClock:
		return pick("1527590590.528", "2018/05/29T10:43:10+0000 1527590590")
	case shapeAddress:
		return pick("10.0.0.7:40000", "[fd00::7]:40000", "envoy://connect_originate/10.244.0.32:9080", "/run/envoy.sock", "@abstract", "192.168.0.78:1234")
	case shapePath:
		return pick("/", "/getList?x=1&y=%22", "/a;b=c/d", "*", "/%E2%82%AC", "/{id}[0]|x")
	case shapeDetails:
		return pick("via_upstream", "route_not_found", "rbac_access_denied_matched_policy[ns[foo]-policy[bar]-rule[0]]",
			"upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_111}",
			"upstream_reset_before_response_started{connection failure,TLS error: 268435581:SSL routines}",
			"http1.codec_error", "downstream_local_disconnect(on_idle_timeout)")
	case shapeReason:
		return pick("transport socket timeout was reached", "TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end",
			"delayed connect error: Connection refused", "rbac_access_denied_matched_policy[none]")
	case shapeToken:
		return pick("outbound|8080|v1|my-backend.default.svc.cluster.local", "inbound|80||", "PassthroughCluster", "exam.com:30080",
			"outbound_.80_.v2_.host", "daaf8bbc-650a-918a-8d14-ec518404ea6a", "default", "GET")
	default:
		return pick("curl/8.5.0", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko)",
			"116.211.195.11,116.211.195.11", `{a: 1, b: [2]}`, "x", `CN="x",O=y`, "spiffe://cluster.local/ns/a/sa/b")
	}
}

// checkRoundTrip renders lines of a format and reads them back.
func checkRoundTrip(t *testing.T, f *Format, seed uint64, lines int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	p := NewParser(f)
	for range lines {
		want := map[string]string{}
		line := render(f, func(op Operator) string {
			if _, ok := want[op.Key()]; !ok {
				v := sample(r, op)
				if op.Limit > 0 && len(v) > op.Limit {
					v = v[:op.Limit]
				}
				want[op.Key()] = v
			}
			return want[op.Key()]
		})
		e := p.Parse(line)
		if !e.OK() {
			t.Fatalf("format %s\nline   %s\nwhy    %s", f, line, e.Why)
		}
		if got := e.Fields(); !maps.Equal(got, want) {
			for k, v := range want {
				if got[k] != v {
					t.Errorf("%s: got %q, want %q", k, got[k], v)
				}
			}
			t.Fatalf("format %s\nline   %s\ngot %d fields, want %d", f, line, len(got), len(want))
		}
		if again := render(f, func(op Operator) string { v, _ := e.Value(op.Key()); return v }); again != line {
			t.Fatalf("line  %s\nagain %s", line, again)
		}
	}
}

func TestEveryFormatOfTheReferenceReadsBackWhatItPrints(t *testing.T) {
	ref := readReference(t)
	if len(ref.Formats) != 5 {
		t.Fatalf("the reference holds %d formats, want 5", len(ref.Formats))
	}
	for name, raw := range ref.Formats {
		t.Run(name, func(t *testing.T) {
			format := string(raw)
			if raw[0] == '"' {
				if err := json.Unmarshal(raw, &format); err != nil {
					t.Fatal(err)
				}
			}
			f, err := Compile(format)
			if err != nil {
				t.Fatal(err)
			}
			checkRoundTrip(t, f, 7, 300)
			if lacks := f.Lacks(); strings.HasPrefix(name, "istio_text") && len(lacks) > 0 {
				t.Errorf("Istio's text format is said to lack %v", lacks)
			}
		})
	}
}

func TestEveryOperatorReadsBackInTextAndJSON(t *testing.T) {
	ref := readReference(t)
	names := slices.Sorted(maps.Keys(ref.Operators))
	if len(names) != 136 {
		t.Fatalf("the reference holds %d operators, want 136", len(names))
	}
	for _, name := range append(names, "REQ", "RESP", "TRAILER", "AN_EXTENSIONS_OWN") {
		t.Run(name, func(t *testing.T) {
			syntax := ref.Operators[name].Syntax
			if name == "REQ" || name == "RESP" || name == "TRAILER" {
				syntax = "PARAMS_REQUIRED|LENGTH_ALLOWED"
			}
			spellings := []string{"%" + name + "%"}
			param := "x-thing"
			if strings.Contains(name, "TIME") || strings.Contains(name, "_CERT_V_") {
				param = "%Y/%m/%dT%H:%M:%S%z %s"
			}
			switch {
			case strings.HasPrefix(syntax, "PARAMS_REQUIRED"):
				if _, err := CompileText(spellings[0]); err == nil {
					t.Errorf("%s compiles without the parameter it needs", spellings[0])
				}
				spellings = []string{"%" + name + "(" + param + ")%"}
			case strings.HasPrefix(syntax, "PARAMS_OPTIONAL"):
				spellings = append(spellings, "%"+name+"("+param+")%")
			case syntax == "COMMAND_ONLY":
				if _, err := CompileText("%" + name + "(x)%"); err == nil {
					t.Errorf("%%%s(x)%% compiles with a parameter it does not take", name)
				}
			}
			limited := strings.TrimSuffix(spellings[len(spellings)-1], "%") + ":64%"
			if _, err := CompileText(limited); name != "AN_EXTENSIONS_OWN" && (err == nil) != strings.Contains(syntax, "LENGTH_ALLOWED") {
				t.Errorf("%s: %v; the syntax is %s", limited, err, syntax)
			} else if err == nil {
				spellings = append(spellings, limited)
			}
			for _, op := range spellings {
				for _, form := range []string{
					`[%START_TIME%] ` + op + ` "%REQ(:METHOD)%" %RESPONSE_CODE%`,
					`"` + op + `" %UPSTREAM_HOST%` + "\n",
					`{"a":{"b":"` + op + `"},"c":["%RESPONSE_CODE%",{"d":"%%%PROTOCOL%/` + op + `"}],"static":"x","n":7}`,
				} {
					f, err := Compile(form)
					if err != nil {
						t.Fatal(err)
					}
					checkRoundTrip(t, f, 3, 40)
				}
			}
		})
	}
}

func TestLongFlagsOfTheReferenceHaveTheirShortForm(t *testing.T) {
	ref := readReference(t)
	if len(ref.Flags) != len(shortFlags) {
		t.Errorf("%d long flags are known, the reference has %d", len(shortFlags), len(ref.Flags))
	}
	f := must(`%RESPONSE_FLAGS_LONG%`)
	for _, flag := range ref.Flags {
		if got := NewParser(f).Parse(flag.Long).Flags(); !slices.Equal(got, []string{flag.Short}) {
			t.Errorf("%s reads as %v, want %s", flag.Long, got, flag.Short)
		}
	}
}
