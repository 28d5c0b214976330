package tui

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestTmuxPictures compares the pictures of docs/screens with what the program
// shows in a terminal today; -update takes them anew.
func TestTmuxPictures(t *testing.T) {
	for _, p := range []struct {
		name, line string
		w, h       int
		sign       string
		key, then  string // what is pressed, and what comes of it
	}{
		{"fault", "$HOPTRAIL demo HT5002-selector", 120, 34, "UNREACHABLE", "", ""},
		{"branches", "$HOPTRAIL demo bookinfo/ingress-http", 120, 34, "REACHABLE", "B", "All ways"},
	} {
		t.Run(p.name, func(t *testing.T) {
			x := newTerm(t, p.w, p.h)
			x.sh(p.line)
			x.wait(p.sign, "q quit")
			if p.key != "" {
				x.press(p.key)
				x.wait(p.then)
			}
			styled := clockOnScreen.ReplaceAllString(x.settle("-e"), "12:00:00Z")
			x.press("ctrl+g", "q")
			x.prompt()
			got := svg(styled, p.w, p.h)
			path := filepath.Join("..", "docs", "screens", p.name+".svg")
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(want) != got {
				t.Errorf("%s is not what the program shows; make screens takes it anew", path)
			}
		})
	}
}

var clockOnScreen = regexp.MustCompile(`\d\d:\d\d:\d\dZ`)

// The sixteen colours on a dark ground.
var palette = map[int]string{
	30: "#3b4252", 31: "#ff6b6b", 32: "#8fd18b", 33: "#e8c268", 34: "#7aa2f7", 35: "#d7a1f5", 36: "#76d3d6", 37: "#d8dee9",
	90: "#7b8494", 91: "#ff8a8a", 92: "#a9e3a5", 93: "#f5d78e", 94: "#9dbbff", 95: "#e7c3fb", 96: "#9ae7e9", 97: "#ffffff",
}

const (
	ground = "#1d2129"
	ink    = "#d8dee9"
)

// svg draws a captured screen as a picture of w x h cells.
func svg(styled string, w, h int) string {
	const cw, ch, size = 8.4, 18, 14
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" font-family="ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="%d" xml:space="preserve">`+"\n",
		float64(w)*cw+16, h*ch+16, size)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="6" fill="%s"/>`+"\n", ground)
	fg, strong, dim, under, swap := 0, false, false, false, false // tmux carries them from line to line
	for y, line := range strings.Split(strings.TrimRight(styled, "\n"), "\n") {
		x := 0
		for line != "" {
			if rest, ok := strings.CutPrefix(line, "\x1b["); ok {
				codes, tail, _ := strings.Cut(rest, "m")
				line = tail
				for code := range strings.SplitSeq(codes, ";") {
					switch n, _ := strconv.Atoi(code); {
					case n == 0:
						fg, strong, dim, under, swap = 0, false, false, false, false
					case n == 1:
						strong = true
					case n == 2:
						dim = true
					case n == 4:
						under = true
					case n == 7:
						swap = true
					case n == 39:
						fg = 0
					case palette[n] != "":
						fg = n
					}
				}
				continue
			}
			text := line
			if i := strings.Index(line, "\x1b"); i >= 0 {
				text = line[:i]
			}
			line = line[len(text):]
			n := width(text)
			colour, back := ink, ""
			if fg != 0 {
				colour = palette[fg]
			}
			if swap {
				colour, back = ground, colour
			}
			px, py := 8+float64(x)*cw, 8+y*ch
			if back != "" {
				fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`, px, py, float64(n)*cw, ch, back)
			}
			if trimmed := strings.TrimLeft(text, " "); strings.TrimSpace(text) != "" {
				px += float64(n-width(trimmed)) * cw
				trimmed = strings.TrimRight(trimmed, " ")
				attr := ""
				if strong {
					attr += ` font-weight="bold"`
				}
				if dim {
					attr += ` opacity="0.65"`
				}
				if under {
					attr += ` text-decoration="underline"`
				}
				fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="%s" textLength="%.1f"%s>%s</text>`,
					px, py+size, colour, float64(width(trimmed))*cw, attr, html.EscapeString(trimmed))
			}
			x += n
		}
		b.WriteByte('\n')
	}
	b.WriteString("</svg>\n")
	return b.String()
}
