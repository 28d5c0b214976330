package tui

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestTheClipboardIsTheNearestThatWorks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		env   environment
		works string // the program that works
		text  string
		how   string
		tried string
	}{
		{"tmux takes it and hands it on", environment{"TMUX": "x", "TERM": "tmux-256color"}, "tmux", "a", "tmux buffer", "tmux"},
		{"an old tmux: through it to the terminal", environment{"TMUX": "x", "TERM": "screen"}, "", "a", "OSC 52", "tmux"},
		{"Wayland", environment{"WAYLAND_DISPLAY": "w", "DISPLAY": ":0", "TERM": "foot"}, "wl-copy", "a", "wl-copy", "wl-copy"},
		{"X11 with only xsel", environment{"DISPLAY": ":0", "TERM": "xterm"}, "xsel", "a", "xsel", "xclip xsel"},
		{"over ssh the display is someone else's", environment{"DISPLAY": ":0", "SSH_TTY": "/dev/pts/1", "TERM": "xterm"}, "xclip", "a", "OSC 52", ""},
		{"no program: the terminal", environment{"TERM": "xterm"}, "", "a", "OSC 52", ""},
		{"too long for a terminal: a file", environment{"TERM": "xterm"}, "", strings.Repeat("a", maxOSC52+1), "file ", ""},
		{"too long for a screen that may be a tmux: a file", environment{"TERM": "screen", "SSH_TTY": "x"}, "", strings.Repeat("a", 600), "file ", ""},
		{"the Linux console has no clipboard", environment{"TERM": "linux"}, "", "a", "file ", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var tried []string
			c := clipboard{env: tt.env, dir: t.TempDir(), run: func(_ context.Context, text, name string, _ ...string) error {
				tried = append(tried, name)
				if name == tt.works && text == tt.text {
					return nil
				}
				return errors.New("not here")
			}}
			got := c.copy(t.Context(), tt.text)
			if got.err != nil || !strings.Contains(got.how, tt.how) {
				t.Errorf("copied to %q, %v; want %q", got.how, got.err, tt.how)
			}
			if strings.Join(tried, " ") != tt.tried {
				t.Errorf("tried %v, want %s", tried, tt.tried)
			}
			if (got.osc != "") != strings.Contains(tt.how, "OSC 52") {
				t.Errorf("the sequence is %q", got.osc)
			}
			if path, ok := strings.CutPrefix(got.how, "file "); ok {
				data, err := os.ReadFile(path)
				info, _ := os.Stat(path)
				if err != nil || string(data) != tt.text || info.Mode().Perm() != 0o600 {
					t.Errorf("the file: %v, %d bytes, %v", err, len(data), info.Mode())
				}
			}
		})
	}
	c := clipboard{env: environment{"TERM": "linux"}, dir: "/nonexistent"}
	if got := c.copy(t.Context(), "a"); got.err == nil {
		t.Error("a file in a folder that is not there")
	}
}

func TestOSC52PassesThroughTmuxAndScreen(t *testing.T) {
	text := strings.Repeat("héllo ", 300)
	b64 := base64.StdEncoding.EncodeToString([]byte(text))
	if got := osc52(text, environment{"TERM": "xterm"}); got != "\x1b]52;c;"+b64+"\x07" {
		t.Errorf("plain: %q", got)
	}
	if got := osc52(text, environment{"TMUX": "x"}); got != "\x1bPtmux;\x1b\x1b]52;c;"+b64+"\x07\x1b\\" {
		t.Errorf("tmux: %q", got)
	}
	got := osc52(text, environment{"TERM": "screen.xterm", "STY": "1.pts"})
	if other := osc52(text, environment{"TERM": "xterm-256color", "STY": "1.pts"}); other != got {
		t.Errorf("in screen whatever it calls itself: %q", other)
	}
	if other := osc52(text, environment{"TERM": "screen.xterm-256color"}); other != got {
		t.Errorf("screen by its name: %q", other)
	}
	// Over ssh TERM alone is left: screen, or a tmux of before. What is too long for
	// either is not printed all over the screen.
	if either := osc52("a", environment{"TERM": "screen-256color"}); either != "\x1bP\x1b]52;c;YQ==\x07\x1b\\\x1b]52;c;YQ==\x07" {
		t.Errorf("screen or tmux: %q", either)
	}
	if either := osc52(text, environment{"TERM": "screen-256color"}); either != "" {
		t.Errorf("screen or tmux, and long: %q", either)
	}
	var whole strings.Builder
	for part := range strings.SplitSeq(got, "\x1b\\") {
		if part == "" {
			continue
		}
		body, ok := strings.CutPrefix(part, "\x1bP")
		if !ok || len(body) > 768 {
			t.Fatalf("screen: a part of %d bytes, %v", len(body), ok)
		}
		whole.WriteString(body)
	}
	if whole.String() != "\x1b]52;c;"+b64+"\x07" {
		t.Error("screen: the parts are not the whole")
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{"abc": "abc", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "http://a/b?c=d&e": "'http://a/b?c=d&e'"} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q is quoted %s, want %s", in, got, want)
		}
	}
}
