package main

import (
	"errors"
	"io"
	"os"

	"github.com/charmbracelet/x/term"
)

var errInterrupted = errors.New("interrupted")

// streams is what a command may read from and write to, and what is known about
// the terminal behind it. Commands never touch os.Stdout, os.Stdin or os.Stderr.
type streams struct {
	in  io.Reader
	out io.Writer // reports
	err io.Writer // progress, hints, the one error line

	inTTY, outTTY, errTTY bool

	done   <-chan struct{}     // closed by an interrupt; nil: never
	width  int                 // columns of out; 0 where it is not a terminal
	getenv func(string) string // the environment; nil means empty
}

// osStreams returns the streams of the process.
func osStreams() *streams {
	s := &streams{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		inTTY:  term.IsTerminal(os.Stdin.Fd()),
		outTTY: term.IsTerminal(os.Stdout.Fd()),
		errTTY: term.IsTerminal(os.Stderr.Fd()),
		getenv: os.Getenv,
	}
	if s.outTTY {
		if w, _, err := term.GetSize(os.Stdout.Fd()); err == nil {
			s.width = w
		}
	}
	return s
}

// stdin is in for a command that reads it through: it ends at an interrupt, and
// does not wait for whoever writes.
func (s *streams) stdin() io.Reader {
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, s.in)
		w.CloseWithError(err)
	}()
	if s.done != nil {
		go func() {
			<-s.done
			w.CloseWithError(errInterrupted)
		}()
	}
	return r
}

// env returns an environment variable, "" where there is none.
func (s *streams) env(name string) string {
	if s.getenv == nil {
		return ""
	}
	return s.getenv(name)
}

// canTUI says whether a terminal UI can be shown: somebody types, somebody
// looks, and the terminal can move its cursor.
func (s *streams) canTUI() bool {
	return s.inTTY && s.outTTY && s.env("TERM") != "dumb" && s.env("TERM") != ""
}

// color says whether to colour what goes to out, for --color auto, always or
// never. Any non-empty NO_COLOR turns auto off (no-color.org).
func (s *streams) color(when string) bool {
	switch when {
	case "always":
		return true
	case "never":
		return false
	default:
		return s.outTTY && s.env("NO_COLOR") == "" && s.env("TERM") != "dumb"
	}
}
