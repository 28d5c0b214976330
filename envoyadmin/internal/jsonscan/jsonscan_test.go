package jsonscan

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestAValueEndsWhereItsBracketsClose(t *testing.T) {
	long := strings.Repeat(`{"a":[1,2,{"b":"}\\\"{["}],"c":"x"},`, 40)
	for _, v := range []string{
		`{}`, `[]`, `""`, `"\""`, `"\\"`, `1`, `-1.5e+10`, `true`, `null`, `{"a":1}`,
		`{"a":"}"}`, `{"a":"\\"}`, `{"a":"\\\"}"}`, `[` + long + `1]`, `{"k":[` + long + `{}]}`,
		`"` + strings.Repeat(`\\`, 63) + `"`, `["` + strings.Repeat(`\\`, 63) + `]"]`, `["` + strings.Repeat(`a`, 61) + `\"]"]`,
		`["` + strings.Repeat(`a`, 60) + `\\"]`, `["` + strings.Repeat(`a`, 61) + `\\"]`, strings.Repeat("[", 200) + strings.Repeat("]", 200),
	} {
		for _, behind := range []string{"", ",", "}", strings.Repeat(" ]}", 50), `"`} {
			end, err := Value([]byte(v+behind), 0)
			if err != nil || end != len(v) {
				t.Errorf("Value(%.60q + %.10q) = %d, %v; want %d", v, behind, end, err, len(v))
			}
		}
	}
}

func TestWhatIsNoValueIsAnErrorWithItsOffset(t *testing.T) {
	for _, tc := range []struct {
		in     string
		offset int
	}{
		{``, 0}, {`{`, 1}, {`{"a":"`, 6}, {`"abc`, 4}, {`nul`, 0}, {`01`, 0}, {`-`, 0}, {`1.`, 0}, {`:`, 0}, {"\"a\nb\"", 2}, {`[[]`, 3}, {strings.Repeat("[", 300), 300},
	} {
		_, err := Value([]byte(tc.in), 0)
		if e, ok := err.(*Error); !ok || e.Offset != tc.offset {
			t.Errorf("Value(%.20q): %v; want offset %d", tc.in, err, tc.offset)
		}
	}
}

func TestUnquoteIsWhatEncodingJSONReads(t *testing.T) {
	for _, s := range []string{`""`, `"abc"`, `"a\n\t\r\b\f\/\\\""`, `"\u00e4\ud83d\ude00"`, `"\ud83d"`, `"ä€"`, "\"\xff\"", `"\ud83dx"`} {
		var want string
		if err := json.Unmarshal([]byte(s), &want); err != nil {
			t.Fatal(err)
		}
		if got, err := Unquote([]byte(s), 0); err != nil || got != want {
			t.Errorf("Unquote(%s) = %q, %v; want %q", s, got, err, want)
		}
	}
}

// FuzzValue compares with encoding/json: what is valid there ends at the same
// place here, with and without the vector code.
func FuzzValue(f *testing.F) {
	f.Add([]byte(`{"a":[1,"\\\"",{}],"b":null}`))
	f.Add([]byte(`["` + strings.Repeat(`\\`, 40) + `",[{"x":"]"}]] ,`))
	f.Add([]byte(strings.Repeat(`[{"a":"`, 30)))
	f.Fuzz(func(t *testing.T, b []byte) {
		i := Space(b, 0)
		end, err := Value(b, i)
		var s1, s2 skipper
		s1.depth, s2.depth = 3, 3
		if n1, n2 := s1.blocks(b), s2.blocksGo(b); n1 != n2 || s1.depth != s2.depth || n1 < len(b)/64 && s1 != s2 {
			t.Fatalf("blocks: %d %+v, in Go %d %+v", n1, s1, n2, s2)
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		var raw json.RawMessage
		checked, checkErr := Check(b, i)
		if json.Valid(b) != (checkErr == nil && Space(b, checked) == len(b)) {
			t.Fatalf("Check(%q) = %d, %v; encoding/json says %v", b, checked, checkErr, json.Valid(b))
		}
		if dec.Decode(&raw) == nil && json.Valid(raw) {
			if at := int(dec.InputOffset()); at < len(b) && scalar(b[at]) {
				return // it takes 00 for two values
			}
			if err != nil || end != int(dec.InputOffset()) {
				t.Fatalf("Value(%q) = %d, %v; encoding/json ends at %d", b, end, err, dec.InputOffset())
			}
		}
		if err == nil && b[i] == '{' {
			_, _ = Object(b, i, func(key []byte, at int) (int, error) { return 0, nil })
		}
	})
}

func BenchmarkSkipPrettyJSON(b *testing.B) {
	var one bytes.Buffer
	one.WriteString("[\n")
	for one.Len() < 8<<20 {
		one.WriteString("    {\n     \"version_info\": \"2026-08-22T19:00:53Z/1\",\n     \"cluster\": {\n      \"@type\": \"type.googleapis.com/envoy.config.cluster.v3.Cluster\",\n      \"name\": \"outbound|80||svc-00000.ns-000.svc.cluster.local\"\n     }\n    },\n")
	}
	one.WriteString("    {}]")
	for name, skip := range map[string]func(s *skipper, b []byte) int{"vector": (*skipper).blocks, "go": (*skipper).blocksGo} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(one.Len()))
			for range b.N {
				s := skipper{depth: 1}
				skip(&s, one.Bytes()[1:])
			}
		})
	}
}
