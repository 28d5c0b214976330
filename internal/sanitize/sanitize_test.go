package sanitize

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLineShowsWhatATerminalWouldActOn(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"plain text stays", "outbound|80||cart.shop", "outbound|80||cart.shop"},
		{"letters of any script stay", "商店 Ünïcode é", "商店 Ünïcode é"},
		{"an escape sequence is spelled out", "\x1b[2Jgone", `\x1b[2Jgone`},
		{"a title sequence is spelled out", "a\x1b]0;owned\x07b", `a\x1b]0;owned\x07b`},
		{"C1 controls as characters", "a\u009b31mb", `a\x9b31mb`},
		{"C1 controls as raw bytes", "a\x9b31mb", `a\x9b31mb`},
		{"a carriage return cannot overwrite the line", "FAIL\rOK  ", `FAIL\rOK  `},
		{"a line feed does not start a line", "a\nb", `a\nb`},
		{"a tab is one blank", "a\tb", "a b"},
		{"backspace and delete", "a\bb\x7f", `a\x08b\x7f`},
		{"a right-to-left override", "user\u202etxt.exe", `user\u202etxt.exe`},
		{"isolates and marks of direction", "\u2066a\u2069\u200f", `\u2066a\u2069\u200f`},
		{"invisible characters", "a\u200bb\ufeff\u00ad", `a\u200bb\ufeff\xad`},
		{"line separators", "a\u2028b\u2029", `a\u2028b\u2029`},
		{"tag characters", "a\U000e0041", `a\U000e0041`},
		{"variation selectors", "⚠\ufe0f", `⚠\ufe0f`},
		{"invalid UTF-8", "a\xff\xc3(", `a\xff\xc3(`},
		{"a replacement character is a character", "a\ufffdb", "a\ufffdb"},
		{"NUL", "a\x00b", `a\x00b`},
		{"blanks of other widths", "a\u00a0b\u3000c", "a b  c"},
		{"a mark without a letter", "\u0301a", `\u0301a`},
		{"a pile of marks", "a" + strings.Repeat("\u0301", 6), "a" + strings.Repeat("\u0301", 4) + `\u0301\u0301`},
		{"private use", "\ue0a0", `\ue0a0`},
		{"filler letters", "a\u3164b", `a\u3164b`},
		{"empty", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Line(tt.in); got != tt.want {
				t.Errorf("Line(%q) = %q, want %q", tt.in, got, tt.want)
			}
			if safe := Safe(tt.in); safe != (tt.in == tt.want) {
				t.Errorf("Safe(%q) = %v", tt.in, safe)
			}
		})
	}
}

func TestTextKeepsLines(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"a\nb\n", "a\nb\n"},
		{"a\r\nb", "a\nb"},
		{"a\rb", `a\rb`},
		{"a\tb", "a    b"},
		{"a\n\u0301b", "a\n\\u0301b"},
		{"\x1b[1m\n\x1b[0m", "\\x1b[1m\n\\x1b[0m"},
	} {
		if got := Text(tt.in); got != tt.want {
			t.Errorf("Text(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestCutNeverSplitsACharacter(t *testing.T) {
	for _, tt := range []struct {
		in    string
		limit int
		want  string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "abc [1 bytes more]"},
		{"商店", 4, "商 [3 bytes more]"},
		{"商店", 0, " [6 bytes more]"},
		{"abc", -1, " [3 bytes more]"},
	} {
		if got := Cut(tt.in, tt.limit); got != tt.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", tt.in, tt.limit, got, tt.want)
		}
	}
}

func FuzzSanitise(f *testing.F) {
	for _, s := range []string{"", "a", "\x1b[31m", "\x9b", "\u202e", "商店\t\r\n", "a\u0301\u0301\u0301\u0301\u0301\u0301", "\xff\xfe", "⚠\ufe0f", "\u0301", "é\x1b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line, text := Line(s), Text(s)
		check(t, line, false)
		check(t, text, true)
		if again := Line(line); again != line {
			t.Fatalf("Line is not idempotent: %q then %q", line, again)
		}
		if again := Text(text); again != text {
			t.Fatalf("Text is not idempotent: %q then %q", text, again)
		}
		if Safe(s) != (line == s) {
			t.Fatalf("Safe(%q) = %v, Line gives %q", s, Safe(s), line)
		}
	})
}

func check(t *testing.T, s string, multi bool) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Fatalf("%q is not valid UTF-8", s)
	}
	for _, r := range s {
		if multi && r == '\n' {
			continue
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			t.Fatalf("%q still holds %U", s, r)
		}
	}
}

func BenchmarkLine(b *testing.B) {
	s := strings.Repeat("outbound|80||cart.shop.svc.cluster.local ", 5)
	b.ReportAllocs()
	for b.Loop() {
		Line(s)
	}
}
