package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/aymanbagabas/go-udiff"
	"github.com/charmbracelet/x/ansi"
	"go.yaml.in/yaml/v3"

	"github.com/hoptrail/hoptrail/internal/sanitize"
	"github.com/hoptrail/hoptrail/trace"
)

var update = flag.Bool("update", false, "write goldens and the schema anew")

func load(t testing.TB, path string) *trace.Report {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	r := &trace.Report{}
	if err := dec.Decode(r); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return r
}

func samples(t testing.TB) map[string]*trace.Report {
	t.Helper()
	paths, err := filepath.Glob("testdata/samples/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatal("no samples")
	}
	m := map[string]*trace.Report{}
	for _, p := range paths {
		m[strings.TrimSuffix(filepath.Base(p), ".json")] = load(t, p)
	}
	return m
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with -update)", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs:\n%s", path, udiff.Unified("want", "got", string(want), string(got)))
	}
}

// The text a person reads is fixed for every sample; the long forms for the two
// that use most of them.
func TestPeopleReadTheSameTextAsBefore(t *testing.T) {
	for name, r := range samples(t) {
		formats := []Format{Text}
		switch name {
		case "fault":
			formats = append(formats, Wide, Name)
		case "hostile", "branches":
			formats = append(formats, Markdown)
		}
		for _, f := range formats {
			t.Run(name+"/"+string(f), func(t *testing.T) {
				golden(t, filepath.Join("testdata", "golden", name+"."+string(f)), []byte(String(r, f)))
			})
		}
	}
}

func TestJSONKeepsEveryByteOfTheReport(t *testing.T) {
	for name, r := range samples(t) {
		t.Run(name, func(t *testing.T) {
			var got trace.Report
			if err := json.Unmarshal([]byte(String(r, JSON)), &got); err != nil {
				t.Fatal(err)
			}
			if again := String(&got, JSON); again != String(r, JSON) {
				t.Errorf("read and written again it differs:\n%s", udiff.Unified("first", "second", String(r, JSON), again))
			}
			if got.Summary != r.Summary || !reflect.DeepEqual(got.Target, r.Target) {
				t.Errorf("summary or target changed: %q, was %q", got.Summary, r.Summary)
			}
		})
	}
}

func TestYAMLSaysWhatJSONSays(t *testing.T) {
	for name, r := range samples(t) {
		t.Run(name, func(t *testing.T) {
			var fromYAML, fromJSON any
			if err := yaml.Unmarshal([]byte(String(r, YAML)), &fromYAML); err != nil {
				t.Fatal(err)
			}
			asJSON, err := json.Marshal(fromYAML)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(asJSON, &fromYAML); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(String(r, JSON)), &fromJSON); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(fromYAML, fromJSON) {
				a, _ := json.MarshalIndent(fromJSON, "", " ")
				b, _ := json.MarshalIndent(fromYAML, "", " ")
				t.Errorf("they differ:\n%s", udiff.Unified("json", "yaml", string(a), string(b)))
			}
		})
	}
}

func TestWordsThatOldYAMLTakesForBooleansAreQuoted(t *testing.T) {
	r := &trace.Report{Hops: []trace.Hop{{Summary: "yes", Checks: []trace.Check{{Name: "on", Value: "No"}, {Name: "yesterday"}}}}}
	text := String(r, YAML)
	for _, want := range []string{`summary: "yes"`, `name: "on"`, `value: "No"`, "name: yesterday"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
}

func TestTextThatLooksLikeADetailStaysText(t *testing.T) {
	for _, h := range []trace.Hop{
		{Kind: trace.KindNode, Summary: `"detail":{} {,`, Subject: trace.Subject{Name: `","detail":{},"x":"`}, Detail: trace.Detail{Rules: []trace.RuleStep{{Text: `{,"detail":{}<&>`}}}},
		{Kind: trace.KindFilterChain},
		{Kind: trace.KindApp},
		{},
	} {
		text := String(&trace.Report{Hops: []trace.Hop{h}}, JSON)
		var got trace.Report
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if g := got.Hops[0]; g.Summary != h.Summary || g.Subject != h.Subject || len(g.Detail.Rules) != len(h.Detail.Rules) || len(h.Detail.Rules) > 0 && g.Detail.Rules[0] != h.Detail.Rules[0] {
			t.Errorf("%+v", g)
		}
		if strings.Contains(text, "u003c") {
			t.Errorf("escaped for HTML:\n%s", text)
		}
	}
}

func TestAnEmptyReportHasArraysAndNoNull(t *testing.T) {
	got := String(&trace.Report{Hops: []trace.Hop{{}}, Paths: []trace.Path{{}}, Findings: []trace.Finding{{}}}, JSON)
	if strings.Contains(got, "null") {
		t.Errorf("null in\n%s", got)
	}
	for _, want := range []string{`"schema": "hoptrail.report/v1"`, `"verdict": "undetermined"`, `"state": "unknown"`, `"checks": []`, `"evidence": []`, `"branches": []`, `"cause_of": []`, `"fix": []`, `"read": []`, `"not_read": []`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	if got := String(&trace.Report{}, JSON); strings.Contains(got, "null") || !strings.Contains(got, `"hops": []`) {
		t.Errorf("null in\n%s", got)
	}
}

func TestWritingDoesNotChangeTheReport(t *testing.T) {
	r := &trace.Report{Hops: []trace.Hop{{}}, Findings: []trace.Finding{{}}}
	for _, f := range Formats() {
		String(r, f)
	}
	if r.Hops[0].Checks != nil || r.Hops[0].State != "" || r.Findings[0].Fix != nil || r.Paths != nil {
		t.Errorf("changed to %+v", r)
	}
}

func TestAnUnknownFormatIsAnError(t *testing.T) {
	if err := Write(&bytes.Buffer{}, &trace.Report{}, "html", Options{}); err == nil {
		t.Error("no error")
	}
}

func TestColourOnlyRepeatsWords(t *testing.T) {
	for name, r := range samples(t) {
		for _, f := range []Format{Text, Wide} {
			var b bytes.Buffer
			if err := Write(&b, r, f, Options{Color: true}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(b.String(), "\x1b[") {
				t.Errorf("%s/%s has no colour", name, f)
			}
			if got := ansi.Strip(b.String()); got != String(r, f) {
				t.Errorf("%s/%s without its colour differs from what has none:\n%s", name, f, udiff.Unified("none", "stripped", String(r, f), got))
			}
		}
	}
}

func TestTheColumnsOfTheTableLineUpInCells(t *testing.T) {
	for name, r := range samples(t) {
		lines := strings.Split(String(r, Text), "\n")
		at := -1
		for i, l := range lines {
			if strings.HasPrefix(l, "HOP  ") {
				at = i
				break
			}
		}
		if at < 0 {
			t.Fatalf("%s: no table", name)
		}
		column := ansi.StringWidth(lines[at][:strings.Index(lines[at], "OUT")])
		for i, h := range r.Hops {
			l := lines[at+1+i]
			out := outcome(&h)
			if got := ansi.StringWidth(strings.TrimSuffix(l, out)); !strings.HasSuffix(l, out) || got != column {
				t.Errorf("%s: OUT of hop %s begins in column %d, want %d:\n%s", name, h.ID, got, column, l)
			}
		}
	}
}

func TestMarkdownCannotBeEscapedFrom(t *testing.T) {
	const evil = "```\n</details>\n~~~~~\n````` | <script>alert(1)</script> [x](javascript:1) **b** `c`"
	r := &trace.Report{
		Target: trace.Target{Raw: evil}, Summary: evil,
		Hops: []trace.Hop{{
			ID: "h1", Kind: "route", State: trace.Fail, Subject: trace.Subject{Kind: evil, Name: evil}, Summary: evil, Why: evil,
			Evidence: []trace.Evidence{{ID: "e1", Source: evil, Command: evil, Excerpt: evil, Match: evil}},
		}},
		Findings:  []trace.Finding{{Code: "HT0001", Title: evil, Detail: evil, Hop: "h1", Evidence: []string{"e1"}, Fix: []string{evil}}},
		Collected: trace.Collected{NotRead: []trace.NotRead{{What: evil, Why: evil, Command: evil}}},
		Tool:      trace.Tool{Version: evil},
	}
	got := String(r, Markdown)
	fence := ""
	for l := range strings.Lines(got) {
		l = strings.TrimSuffix(l, "\n")
		ticks := l[:len(l)-len(strings.TrimLeft(l, "`"))]
		switch {
		case fence != "" && l == fence:
			fence = ""
		case fence != "":
			if len(ticks) >= len(fence) {
				t.Errorf("a line ends its fence: %q", l)
			}
		case len(ticks) >= 3 && l == ticks+"text":
			fence = ticks
		default:
			bare := withoutCode(l)
			for _, bad := range []string{"<script", "[x]("} {
				if strings.Contains(bare, bad) {
					t.Errorf("%q stands in the open: %s", bad, l)
				}
			}
			if l == "</details>" || strings.HasPrefix(l, "<details><summary>") {
				continue
			}
			if strings.Contains(bare, "</details>") {
				t.Errorf("details are closed by their content: %s", l)
			}
		}
	}
	if fence != "" {
		t.Error("a fence stays open")
	}
	if n, m := strings.Count(got, "\n</details>\n"), strings.Count(got, "<details><summary>"); m == 0 {
		t.Errorf("%d details end, %d begin", n, m)
	}
}

// withoutCode removes the code spans of a line of Markdown.
func withoutCode(l string) string {
	var out strings.Builder
	for l != "" {
		i := strings.IndexByte(l, '`')
		if i < 0 || i > 0 && l[i-1] == '\\' {
			if i < 0 {
				out.WriteString(l)
				break
			}
			out.WriteString(l[:i+1])
			l = l[i+1:]
			continue
		}
		out.WriteString(l[:i])
		l = l[i:]
		ticks := l[:len(l)-len(strings.TrimLeft(l, "`"))]
		l = l[len(ticks):]
		end := -1
		for j := 0; j < len(l); {
			k := strings.Index(l[j:], ticks)
			if k < 0 {
				break
			}
			k += j
			run := len(l[k:]) - len(strings.TrimLeft(l[k:], "`"))
			if run == len(ticks) {
				end = k
				break
			}
			j = k + run
		}
		if end < 0 {
			out.WriteString(ticks)
			continue
		}
		l = l[end+len(ticks):]
	}
	return out.String()
}

func TestSymptomsHangBelowTheirCause(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []trace.Finding
		want string
	}{
		{"a symptom before its cause moves below it", []trace.Finding{{Code: "B"}, {Code: "A", CauseOf: []string{"B"}}}, "A .B"},
		{"a chain goes deeper", []trace.Finding{{Code: "A", CauseOf: []string{"B"}}, {Code: "B", CauseOf: []string{"C"}}, {Code: "C"}}, "A .B ..C"},
		{"a ring is shown once around", []trace.Finding{{Code: "A", CauseOf: []string{"B"}}, {Code: "B", CauseOf: []string{"A"}}}, "A .B"},
		{"a finding that causes itself is shown", []trace.Finding{{Code: "A", CauseOf: []string{"A"}}}, "A"},
		{"two of one code both hang", []trace.Finding{{Code: "A", CauseOf: []string{"B"}}, {Code: "B"}, {Code: "B"}}, "A .B .B"},
		{"a symptom that was not found is left out", []trace.Finding{{Code: "A", CauseOf: []string{"Z"}}}, "A"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, f := range nest(tt.in) {
				got = append(got, strings.Repeat(".", f.depth)+f.Code)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %s, want %s", s, tt.want)
			}
		})
	}
}

func TestProbabilitiesReadAsPercent(t *testing.T) {
	for p, want := range map[float64]string{1: "100%", 0.5: "50%", 1.0 / 3: "33.3%", 0.0005: "0.05%", 0.00001: "<0.01%", 0: "0%", -1: "?"} {
		if got := percent(p); got != want {
			t.Errorf("percent(%v) = %s, want %s", p, got, want)
		}
	}
}

func TestTheTreeEndsForHopsThatPointInACircle(t *testing.T) {
	r := &trace.Report{
		Paths: []trace.Path{{Hops: []string{"h1", "h2"}}, {Hops: []string{"h1", "h2"}}},
		Hops: []trace.Hop{
			{ID: "h1", Branches: []trace.Branch{{To: "h2", Probability: .5}, {To: "nowhere", Probability: .25}, {Probability: .25, State: trace.Fail}}},
			{ID: "h2", Branches: []trace.Branch{{To: "h1", Probability: 1}}},
		},
	}
	if got := String(r, Text); !strings.Contains(got, "then as from hop 1") {
		t.Errorf("the circle is not closed:\n%s", got)
	}
}

// FuzzRender puts hostile text into every string of a report: no escape
// sequence, no bidirectional override gets out in any format.
func FuzzRender(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[2J", "\u009b2J\u202e", "a\r\nb\tc", "```\n</details>", "\xff\xc3", "商店⚠️", "|", "\u2028", strings.Repeat("`", 9)} {
		f.Add(s, uint8(3))
	}
	sample, err := os.ReadFile("testdata/samples/branches.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string, every uint8) {
		r := &trace.Report{}
		if err := json.Unmarshal(sample, r); err != nil {
			t.Fatal(err)
		}
		poison(reflect.ValueOf(r), s, int(every%8)+1, new(int))
		for _, format := range Formats() {
			out := String(r, format)
			for _, c := range out {
				if c != '\n' && c != '\ufffd' && (c != '\t' || format != YAML) && (c < 0x20 || c >= 0x7f && !sanitize.Safe(string(c)) && unsafe(c)) {
					t.Fatalf("%s lets %U out of %q", format, c, s)
				}
			}
		}
	})
}

// poison overwrites every n-th string below v.
func poison(v reflect.Value, s string, n int, count *int) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			poison(v.Elem(), s, n, count)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			poison(v.Field(i), s, n, count)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		for i := range v.Len() {
			poison(v.Index(i), s, n, count)
		}
	case reflect.String:
		if *count++; *count%n == 0 {
			v.SetString(s)
		}
	}
}

func BenchmarkText(b *testing.B) {
	r := load(b, "testdata/samples/ingress.json")
	b.ReportAllocs()
	for b.Loop() {
		String(r, Text)
	}
}

func TestGoldensHaveNoStrays(t *testing.T) {
	err := filepath.WalkDir("testdata/golden", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _, _ := strings.Cut(d.Name(), ".")
		if _, ok := samples(t)[name]; !ok {
			t.Errorf("%s belongs to no sample", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheVerdictIsTheHeadOfTheText(t *testing.T) {
	for name, r := range samples(t) {
		head := Verdict(r, Options{})
		if !strings.HasPrefix(String(r, Text), head) || !strings.Contains(head, "VERDICT  ") || strings.Contains(head, "HOP") {
			t.Errorf("%s: %s", name, head)
		}
	}
}

func TestWideSaysWhatAClusterWasAskedFor(t *testing.T) {
	r := &trace.Report{Collected: trace.Collected{Read: []trace.Read{{What: "dns.json"}}, Requests: 23, Bytes: 9813816}}
	const said = "1 observation read in 23 requests and 9813816 bytes"
	if got := String(r, Wide); !strings.Contains(got, said) {
		t.Errorf("wide: %s", got)
	}
	if got := String(r, Text); strings.Contains(got, "requests") {
		t.Errorf("text: %s", got)
	}
	r.Collected.Requests = 0 // a snapshot
	if got := String(r, Wide); strings.Contains(got, "requests") {
		t.Errorf("of a snapshot: %s", got)
	}
}
