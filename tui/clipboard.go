package tui

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// maxOSC52 bounds what is sent to a terminal as a clipboard sequence: beyond it
// terminals drop the sequence, some without ending it.
const maxOSC52 = 74_000

// copied is where a text went.
type copied struct {
	how string // for the user
	osc string // a sequence the terminal must still be given
	err error
}

// clipboard copies text by the first way that works: the buffer of tmux (which
// hands it to the terminal outside), a program of the desktop, the terminal
// itself by OSC 52, a file.
type clipboard struct {
	env environment
	// run starts a program with text on its input; nil starts it for real.
	run func(ctx context.Context, text, name string, args ...string) error
	dir string // for the file of the last resort; empty is the system's
}

func (c clipboard) copy(ctx context.Context, text string) copied {
	run := c.run
	if run == nil {
		run = runProgram
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if c.env["TMUX"] != "" {
		// -w also sends it on to the clipboard of the outer terminal (from 3.2 on).
		if run(ctx, text, "tmux", "load-buffer", "-w", "-") == nil {
			return copied{how: "tmux buffer and the terminal's clipboard"}
		}
	}
	if !c.env.remote() {
		for _, p := range c.programs() {
			if run(ctx, text, p[0], p[1:]...) == nil {
				return copied{how: "clipboard (" + p[0] + ")"}
			}
		}
	}
	if t := c.env["TERM"]; len(text) <= maxOSC52 && t != "linux" && t != "dumb" && t != "" {
		return copied{how: "the terminal's clipboard (OSC 52)", osc: osc52(text, c.env)}
	}
	path, err := c.file(text)
	return copied{how: "file " + path, err: err}
}

// programs are the clipboard programs that have a display to talk to.
func (c clipboard) programs() [][]string {
	var out [][]string
	if runtime.GOOS == "darwin" {
		out = append(out, []string{"pbcopy"})
	}
	if c.env["WAYLAND_DISPLAY"] != "" {
		out = append(out, []string{"wl-copy"})
	}
	if c.env["DISPLAY"] != "" {
		out = append(out, []string{"xclip", "-selection", "clipboard"}, []string{"xsel", "--clipboard", "--input"})
	}
	if c.env["WSL_DISTRO_NAME"] != "" || runtime.GOOS == "windows" {
		out = append(out, []string{"clip.exe"})
	}
	return out
}

// osc52 is the sequence that sets a terminal's clipboard, wrapped so that it
// passes through tmux or screen to the terminal outside.
func osc52(text string, env environment) string {
	seq := "\x1b]52;c;" + base64.StdEncoding.EncodeToString([]byte(text)) + "\x07"
	switch {
	case env["TMUX"] != "":
		return "\x1bPtmux;" + strings.ReplaceAll(seq, "\x1b", "\x1b\x1b") + "\x1b\\"
	case strings.HasPrefix(env["TERM"], "screen"):
		// screen takes at most 768 bytes in one device control string.
		var b strings.Builder
		for len(seq) > 0 {
			n := min(len(seq), 700)
			b.WriteString("\x1bP" + seq[:n] + "\x1b\\")
			seq = seq[n:]
		}
		return b.String()
	}
	return seq
}

func (c clipboard) file(text string) (string, error) {
	f, err := os.CreateTemp(c.dir, "hoptrail-copy-*.txt") // mode 0600
	if err != nil {
		return "", fmt.Errorf("copy: %w", err)
	}
	_, err = f.WriteString(text)
	return f.Name(), errors.Join(err, f.Close())
}

// runProgram gives text to a program. Clipboard owners stay in the background:
// their output is not waited for.
func runProgram(ctx context.Context, text, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(text)
	cmd.WaitDelay = time.Second
	return cmd.Run()
}

// shellQuote quotes a word for a POSIX shell where it needs it.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+=,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
