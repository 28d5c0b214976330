// Package sanitize makes text of unknown origin safe to write to a terminal.
//
// It knows which characters a terminal, or a reader of the screen, would act on
// or be misled by: control characters, escape sequences, bidirectional overrides,
// invisible and unassigned characters, invalid UTF-8. They are not dropped but
// shown as escapes, so a hostile name looks hostile. It must not know what the
// text means, nor how wide a screen is.
//
// Every byte that came from a cluster passes here once, directly before it is
// shown. What is written for programs (JSON) does not: JSON escapes on its own.
package sanitize

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxMarks bounds the combining marks on one character. Real scripts need at
// most three or four; a pile of hundreds hides the lines around it.
const maxMarks = 4

// Line returns s as one line: line breaks become visible escapes, a tab one
// blank. The result holds no control character, is valid UTF-8 and contains
// nothing a terminal would interpret. A safe s is returned as it is.
func Line(s string) string { return clean(s, false) }

// Text is [Line] for text of several lines: "\n" and "\r\n" stay line breaks (as
// "\n"), a tab becomes four blanks.
func Text(s string) string { return clean(s, true) }

// Cut returns at most limit bytes of s, cut between characters, and says at its
// end how much was left out. It bounds the work that follows, whatever a source
// sends.
func Cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	n := max(limit, 0)
	for n > 0 && n > limit-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + fmt.Sprintf(" [%d bytes more]", len(s)-n)
}

// Safe says whether [Line] would leave s as it is.
func Safe(s string) bool { return firstUnsafe(s) == len(s) }

// firstUnsafe returns the offset of the first byte that is not printable ASCII
// or a character shown as itself.
func firstUnsafe(s string) int {
	marks := 0
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < 0x20 || c == 0x7f {
				return i
			}
			i, marks = i+1, 0
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || !shown(r) {
			return i
		}
		if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r) {
			if marks++; marks > maxMarks || i == 0 {
				return i
			}
		} else {
			marks = 0
		}
		i += n
	}
	return len(s)
}

func clean(s string, multi bool) string {
	at := firstUnsafe(s)
	if at == len(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	// Marks belong to the character before them: begin again at its start.
	for at > 0 && (at == len(s) || !utf8.RuneStart(s[at]) || s[at] >= utf8.RuneSelf) {
		at--
	}
	b.WriteString(s[:at])
	marks, first := 0, at == 0
	for i := at; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
			marks = 0
		case r == '\n' && multi:
			b.WriteByte('\n')
			marks = 0
		case r == '\r' && multi && strings.HasPrefix(s[i+1:], "\n"):
			marks = 0
		case r == '\t':
			if b.WriteByte(' '); multi {
				b.WriteString("   ")
			}
			marks = 0
		case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r):
			if marks++; marks > maxMarks || first || !shown(r) {
				escape(&b, r)
			} else {
				b.WriteRune(r)
			}
		case shown(r):
			b.WriteRune(r)
			marks = 0
		case r == 0x3000: // the blank of CJK text, two cells
			b.WriteString("  ")
			marks = 0
		case unicode.Is(unicode.Zs, r):
			b.WriteByte(' ')
			marks = 0
		default:
			escape(&b, r)
			marks = 0
		}
		i += n
		first = multi && r == '\n'
	}
	return b.String()
}

func escape(b *strings.Builder, r rune) {
	switch {
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\r':
		b.WriteString(`\r`)
	case r < 0x100:
		fmt.Fprintf(b, `\x%02x`, r)
	case r < 0x10000:
		fmt.Fprintf(b, `\u%04x`, r)
	default:
		fmt.Fprintf(b, `\U%08x`, r)
	}
}

// shown says whether r is shown as itself: it has a shape, one meaning and a
// direction of its own. [unicode.IsPrint] leaves out controls, format characters
// (all bidirectional ones), private use, unassigned and blanks but U+0020.
func shown(r rune) bool {
	switch {
	case r == ' ':
		return true
	case r >= 0xfe00 && r <= 0xfe0f, r >= 0xe0100 && r <= 0xe01ef, r >= 0x180b && r <= 0x180d:
		return false // variation selectors: terminals disagree about the width
	case r == 0x34f: // combining grapheme joiner
		return false
	case r == 0x115f, r == 0x1160, r == 0x3164, r == 0xffa0, r == 0x2800:
		return false // letters without a shape
	}
	return unicode.IsPrint(r)
}
