package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

func resize(w, h int) tea.WindowSizeMsg { return tea.WindowSizeMsg{Width: w, Height: h} }

// drawing is a layout as letters, one for each rectangle, four columns to a
// character so that it fits the page.
func drawing(l layout, w, h int) string {
	const scale = 4
	grid := make([][]byte, h)
	for y := range grid {
		grid[y] = []byte(strings.Repeat(".", (w+scale-1)/scale))
	}
	for _, x := range []struct {
		r rect
		c byte
	}{
		{l.header, 'H'},
		{l.banner, 'B'},
		{l.pathRule, '='},
		{l.path, 'P'},
		{l.detailHdr, '='},
		{l.tabs, 'T'},
		{l.detail, 'D'},
		{l.divider, '|'},
		{l.peekRule, '='},
		{l.peek, 'K'},
		{l.footRule, '-'},
		{l.footer, 'F'},
	} {
		for y := x.r.y; y < x.r.y+x.r.h; y++ {
			for i := x.r.x / scale; i <= (x.r.x+x.r.w-1)/scale && x.r.w > 0; i++ {
				grid[y][i] = x.c
			}
		}
	}
	var out []string
	for _, row := range grid {
		out = append(out, string(row))
	}
	return strings.Join(out, "\n")
}

func TestLayoutIsAsDrawn(t *testing.T) {
	for _, tt := range []struct {
		name string
		args layoutArgs
		want string
	}{
		{"wide: path and detail side by side", layoutArgs{w: 100, h: 20, hops: 4, banner: 4}, `
			HHHHHHHHHHHHHHHHHHHHHHHHH
			BBBBBBBBBBBBBBBBBBBBBBBBB
			BBBBBBBBBBBBBBBBBBBBBBBBB
			BBBBBBBBBBBBBBBBBBBBBBBBB
			BBBBBBBBBBBBBBBBBBBBBBBBB
			=========|===============
			PPPPPPPPP|TTTTTTTTTTTTTTT
			PPPPPPPPP|DDDDDDDDDDDDDDD
			PPPPPPPPP|DDDDDDDDDDDDDDD
			PPPPPPPPP|DDDDDDDDDDDDDDD
			PPPPPPPPP|DDDDDDDDDDDDDDD
			PPPPPPPPP|DDDDDDDDDDDDDDD
			PPPPPPPPP|DDDDDDDDDDDDDDD
			PPPPPPPPP|DDDDDDDDDDDDDDD
			PPPPPPPPP|DDDDDDDDDDDDDDD
			PPPPPPPPP|DDDDDDDDDDDDDDD
			PPPPPPPPP|DDDDDDDDDDDDDDD
			PPPPPPPPP|DDDDDDDDDDDDDDD
			-------------------------
			FFFFFFFFFFFFFFFFFFFFFFFFF`},
		{"narrow and tall: one above the other", layoutArgs{w: 60, h: 34, hops: 3, banner: 2}, `
			HHHHHHHHHHHHHHH
			BBBBBBBBBBBBBBB
			BBBBBBBBBBBBBBB
			===============
			PPPPPPPPPPPPPPP
			PPPPPPPPPPPPPPP
			PPPPPPPPPPPPPPP
			PPPPPPPPPPPPPPP
			PPPPPPPPPPPPPPP
			PPPPPPPPPPPPPPP
			PPPPPPPPPPPPPPP
			===============
			TTTTTTTTTTTTTTT
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			DDDDDDDDDDDDDDD
			---------------
			FFFFFFFFFFFFFFF`},
		{"narrow: the path with a peek at the hop", layoutArgs{w: 80, h: 24, hops: 8, banner: 3}, `
			HHHHHHHHHHHHHHHHHHHH
			BBBBBBBBBBBBBBBBBBBB
			BBBBBBBBBBBBBBBBBBBB
			BBBBBBBBBBBBBBBBBBBB
			====================
			PPPPPPPPPPPPPPPPPPPP
			PPPPPPPPPPPPPPPPPPPP
			PPPPPPPPPPPPPPPPPPPP
			PPPPPPPPPPPPPPPPPPPP
			PPPPPPPPPPPPPPPPPPPP
			PPPPPPPPPPPPPPPPPPPP
			PPPPPPPPPPPPPPPPPPPP
			PPPPPPPPPPPPPPPPPPPP
			====================
			KKKKKKKKKKKKKKKKKKKK
			KKKKKKKKKKKKKKKKKKKK
			KKKKKKKKKKKKKKKKKKKK
			KKKKKKKKKKKKKKKKKKKK
			KKKKKKKKKKKKKKKKKKKK
			KKKKKKKKKKKKKKKKKKKK
			KKKKKKKKKKKKKKKKKKKK
			KKKKKKKKKKKKKKKKKKKK
			--------------------
			FFFFFFFFFFFFFFFFFFFF`},
		{"narrow with the focus on the hop: the hop alone", layoutArgs{w: 48, h: 14, hops: 8, banner: 3, detail: true}, `
			HHHHHHHHHHHH
			BBBBBBBBBBBB
			============
			TTTTTTTTTTTT
			DDDDDDDDDDDD
			DDDDDDDDDDDD
			DDDDDDDDDDDD
			DDDDDDDDDDDD
			DDDDDDDDDDDD
			DDDDDDDDDDDD
			DDDDDDDDDDDD
			DDDDDDDDDDDD
			DDDDDDDDDDDD
			FFFFFFFFFFFF`},
		{"the smallest", layoutArgs{w: 40, h: 10, hops: 8, banner: 4}, `
			HHHHHHHHHH
			BBBBBBBBBB
			PPPPPPPPPP
			PPPPPPPPPP
			PPPPPPPPPP
			PPPPPPPPPP
			PPPPPPPPPP
			PPPPPPPPPP
			PPPPPPPPPP
			FFFFFFFFFF`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := strings.ReplaceAll(strings.TrimPrefix(tt.want, "\n"), "\t", "")
			if got := drawing(arrange(tt.args), tt.args.w, tt.args.h); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestNoLayoutLeavesTheScreenOrOverlaps(t *testing.T) {
	for w := 1; w < 210; w += 3 {
		for h := 1; h < 70; h++ {
			for mode := range modeCount {
				for _, hops := range []int{1, 3, 12, 500} {
					for _, detail := range []bool{false, true} {
						l := arrange(layoutArgs{w: w, h: h, mode: mode, detail: detail, hops: hops, banner: 1 + hops%5})
						if (w < minWidth || h < minHeight) != l.tooSmall {
							t.Fatalf("%dx%d: too small is %v", w, h, l.tooSmall)
						}
						if l.tooSmall {
							continue
						}
						used := make([]bool, w*h)
						for _, r := range []rect{l.header, l.banner, l.pathRule, l.path, l.detailHdr, l.tabs, l.detail, l.divider, l.peekRule, l.peek, l.footRule, l.footer} {
							if r.w < 0 || r.h < 0 || r.x < 0 || r.y < 0 || r.x+r.w > w || r.y+r.h > h {
								t.Fatalf("%dx%d mode %d: %+v is off the screen", w, h, mode, r)
							}
							for y := r.y; y < r.y+r.h; y++ {
								for x := r.x; x < r.x+r.w; x++ {
									if used[y*w+x] {
										t.Fatalf("%dx%d mode %d: two things at %d,%d", w, h, mode, x, y)
									}
									used[y*w+x] = true
								}
							}
						}
						if l.path.empty() && l.detail.empty() {
							t.Fatalf("%dx%d mode %d: neither path nor hop", w, h, mode)
						}
					}
				}
			}
		}
	}
}
