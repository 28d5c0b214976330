package tui

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/hoptrail/hoptrail/internal/sanitize"
)

// fillStrings puts s into every string of v, with one element in every list.
func fillStrings(v any, s string) { fillValue(reflect.ValueOf(v).Elem(), s) }

func fillValue(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillValue(v.Elem(), s)
	case reflect.Struct:
		for i := range v.NumField() {
			fillValue(v.Field(i), s)
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			raw, _ := json.Marshal(map[string]string{"k": s})
			v.SetBytes(raw)
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fillValue(v.Index(0), s)
		fillValue(v.Index(1), s+"2")
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(s).Convert(v.Type().Key()), reflect.ValueOf(s))
	case reflect.String:
		v.SetString(s)
	}
}

func TestTextIsCutByCells(t *testing.T) {
	for _, tt := range []struct {
		in   string
		w    int
		want string
	}{
		{"abc", 5, "abc"},
		{"abcdef", 5, "abcd…"},
		{"商店商店", 5, "商店…"},
		{"商店商店", 4, "商…"},
		{"商店", 4, "商店"},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
		{"a\x1bb\tc", 9, "a?b?c"},
		{"👩‍👩‍👧", 4, "👩"},
		{"⚠\ufe0f!", 4, "⚠!"},
		{"abc", 0, ""},
	} {
		c := newCanvas(10, 1, "…")
		c.text(0, 0, tt.w, tt.in, 0)
		if got := strings.TrimRight(c.String(), " "); got != tt.want {
			t.Errorf("%q in %d cells is %q, want %q", tt.in, tt.w, got, tt.want)
		}
	}
}

func TestAWideCharacterCutInHalfBecomesABlank(t *testing.T) {
	c := newCanvas(6, 1, "…")
	c.put(0, 0, 6, "商店商", 0)
	c.put(1, 0, 1, "x", 0)
	if got := c.String(); got != " x店商" {
		t.Errorf("got %q", got)
	}
	c.put(3, 0, 2, "界", 0)
	if got := c.String(); got != " x 界" {
		t.Errorf("got %q", got)
	}
}

func TestStylesAreSGROfSixteenColours(t *testing.T) {
	c := newCanvas(4, 2, "…")
	c.put(0, 0, 4, "ab", red|bold)
	c.put(2, 0, 4, "c", 0)
	c.put(0, 1, 4, "d", 9|reverse|faint|underline)
	want := "\x1b[0;1;31mab\x1b[0mc\n\x1b[0;2;4;7;90md\x1b[0m"
	if got := c.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWrapKeepsEveryWordAndFits(t *testing.T) {
	in := []span{{"Why  ", bold}, {"Service simple/simple selects app=simple-app and no Pod carries that label 商店の在庫 averyveryverylongwordthatfitsnowhere end", 0}}
	for w := 4; w < 80; w++ {
		var got strings.Builder
		for _, line := range wrap(in, w, 5) {
			text := joined(line)
			if n := width(text); n > w {
				t.Errorf("%d cells in %d: %q", n, w, text)
			}
			got.WriteString(strings.TrimSpace(text))
		}
		strip := func(s string) string { return strings.ReplaceAll(s, " ", "") }
		if strip(got.String()) != strip(joined(in)) {
			t.Fatalf("width %d: lost text: %q", w, got.String())
		}
	}
}

func FuzzCanvas(f *testing.F) {
	for _, s := range []string{"abc", "商店", "e\u0301", "\x1b[31m", "👩‍👩‍👧", "\xff", "🇩🇪", "a\u200bb", "\ufe0f", "क्षि", "각"} {
		f.Add(s, 7)
	}
	f.Fuzz(func(t *testing.T, s string, w int) {
		if w < 0 || w > 60 {
			return
		}
		c := newCanvas(40, 1, "…")
		if n := c.text(2, 0, w, s, 0); n > w || n > 38 {
			t.Fatalf("%q takes %d cells of %d", s, n, w)
		}
		line := c.String()
		if !utf8.ValidString(line) && utf8.ValidString(s) {
			t.Fatalf("%q is drawn as invalid UTF-8 %q", s, line)
		}
		for _, method := range []ansi.Method{ansi.WcWidth, ansi.GraphemeWidth} {
			if n := method.StringWidth(line); n > 40 {
				t.Fatalf("%q is drawn %d cells wide", s, n)
			}
		}
		for _, b := range []byte(line) {
			if b < 0x20 || b == 0x7f {
				t.Fatalf("%q is drawn with a control character: %q", s, line)
			}
		}
		s = sanitize.Line(s) // as everything that is cut and wrapped
		head, tail := cut(s, w)
		if head+tail != s || width(head) > w {
			t.Fatalf("cut(%q, %d) = %q, %q", s, w, head, tail)
		}
		for _, l := range wrap([]span{{s, 0}}, max(w, 4), 3) {
			if n := width(joined(l)); n > max(w, 4) {
				t.Fatalf("wrap(%q, %d) gives a line of %d", s, w, n)
			}
		}
	})
}

func TestYAMLOfConfiguration(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{"a":1,"b":"x","c":{"d":[1,"two",{"e":true,"f":null}],"g":[],"h":{}}}`, "a: 1\nb: x\nc:\n  d:\n    - 1\n    - two\n    - e: true\n      f: null\n  g: []\n  h: {}"},
		{`[[1,2],[3]]`, "- - 1\n  - 2\n- - 3"},
		{`{"p":"80","t":"true","e":"","c":"a: b","s":"*.x","v":"v1","d":"2026-11-20","z":" x"}`, "p: \"80\"\nt: \"true\"\ne: \"\"\nc: \"a: b\"\ns: \"*.x\"\nv: v1\nd: \"2026-11-20\"\nz: \" x\""},
		{`{"k":"one\ntwo\n"}`, "k: |\n  one\n  two"},
		{`{"k":1e2,"big":12345678901234567890}`, "k: 1e2\nbig: 12345678901234567890"},
		{`"text"`, "text"},
		{`not json`, "not json"},
		{`{"a":1`, "a: 1\n# not JSON from here on"},
	} {
		if got := strings.Join(yamlLines(json.RawMessage(tt.in), 100), "\n"); got != tt.want {
			t.Errorf("%s\ngot\n%s\nwant\n%s", tt.in, got, tt.want)
		}
	}
	long := yamlLines(json.RawMessage("["+strings.Repeat("1,", 5000)+"1]"), 100)
	if len(long) != 101 || !strings.Contains(long[100], "cut after 100 lines") {
		t.Errorf("%d lines, the last %q", len(long), long[len(long)-1])
	}
	deep := yamlLines(json.RawMessage(strings.Repeat("[", 100_000)), 100)
	if len(deep) > 101 {
		t.Errorf("%d lines of nothing but brackets", len(deep))
	}
}

func FuzzYAML(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":"c\nd"}]}`, `[`, `"x"`, `{"a":`, `{"":{"":{}}}`, `[[[]]]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n := len(yamlLines(json.RawMessage(s), 50)); n > 52 {
			t.Fatalf("%d lines", n)
		}
		jsonLines(json.RawMessage(s), 50)
	})
}
