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
		if seq := osc52(text, c.env); seq != "" {
			return copied{how: "the terminal's clipboard (OSC 52)", osc: seq}
		}
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

// screenString is the longest sequence that GNU screen takes as one; of a longer
// one it prints the rest (it has 768 bytes, less what begins and ends a string).
const screenString = 700

// osc52 is the sequence that sets a terminal's clipboard, wrapped so that it
// passes through tmux or screen to the terminal outside. It is empty where no
// sequence is sure to do that.
func osc52(text string, env environment) string {
	seq := "\x1b]52;c;" + base64.StdEncoding.EncodeToString([]byte(text)) + "\x07"
	switch {
	case env["TMUX"] != "":
		return "\x1bPtmux;" + strings.ReplaceAll(seq, "\x1b", "\x1b\x1b") + "\x1b\\"
	case env["STY"] != "" || strings.HasPrefix(env["TERM"], "screen."):
		return inScreen(seq)
	case strings.HasPrefix(env["TERM"], "screen"):
		// Over ssh it may be either: screen passes on the first and drops the second,
		// tmux the other way round.
		if len(seq) > screenString {
			return ""
		}
		return inScreen(seq) + seq
	}
	return seq
}

// inScreen wraps a sequence for the terminal outside of GNU screen, in as many
// device control strings as it needs.
func inScreen(seq string) string {
	var b strings.Builder
	for len(seq) > 0 {
		n := min(len(seq), screenString)
		b.WriteString("\x1bP" + seq[:n] + "\x1b\\")
		seq = seq[n:]
	}
	return b.String()
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
