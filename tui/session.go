package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/hoptrail/hoptrail/trace"
)

// ErrInterrupted is returned by [Run] when the user left with ctrl-c instead of
// asking to quit, or a signal ended the program: the exit status is that of an
// interrupt (130).
var ErrInterrupted = errors.New("interrupted")

// Event is what a running trace tells about its progress.
type Event = trace.Event

// FollowLine is one access log line as it is written, or the end of a log.
type FollowLine struct {
	Proxy string // namespace/name of the proxy that wrote it
	Hop   string // id of the hop it belongs to; empty when not known
	Line  trace.LogLine

	// Ended says that the log of Proxy ended: by itself, where Err is nil, as when
	// a container restarts or a Pod goes. Of Line only the time is then used.
	Ended bool
	Err   error
}

// Session is everything the terminal UI may do. All functions run off the UI's
// goroutine, may block, and must return soon after their context ends.
type Session struct {
	// Trace answers the question t. It calls progress, if at all, from one
	// goroutine at a time and never after it returned.
	Trace func(ctx context.Context, t trace.Target, progress func(Event)) (*trace.Report, error)
	// Target is the first question.
	Target trace.Target
	// Follow reads the access logs of the proxies on the path of r until ctx
	// ends or all of them have, calling sink for every line and for the end of each
	// log. While it runs it is called again, with the same ctx, when a later report
	// has other Pods: it then reads the logs of those that it does not read
	// already. nil when there is nothing to follow (a snapshot); NoFollow then says
	// why.
	Follow   func(ctx context.Context, r *trace.Report, sink func(FollowLine)) error
	NoFollow string
	// Export writes r and returns where. kind is "json", "markdown" or
	// "snapshot". nil disables exporting.
	Export func(ctx context.Context, kind string, r *trace.Report) (path string, err error)
	// Render returns r in a text format: "text", "markdown", or "verdict", the few
	// lines that quitting leaves on the screen.
	Render func(r *trace.Report, format string) string
	// Copy puts text on a clipboard and says how. nil is the default: the
	// clipboard program of the desktop or of tmux, else OSC 52, else a file.
	Copy func(ctx context.Context, text string) (how string, err error)
	// Live says that the source may change: a running platform, or files that are
	// read anew for each trace.
	Live bool
	// Context names the cluster or the snapshot, for the title line.
	Context string
	// Now is the clock; nil is time.Now.
	Now     func() time.Time
	Options Options
}

// Options are the user's wishes. The zero value is the default.
type Options struct {
	ASCII   bool          // no character outside ASCII; automatic where the terminal needs it
	NoColor bool          // no colour; automatic for any non-empty NO_COLOR
	Privacy bool          // start with addresses, hosts and header values masked
	Mouse   bool          // clicks and wheel; takes the terminal's own text selection away
	Every   time.Duration // trace again this long after the last trace ended; 0 is on demand
}

// Run shows the session on out, reading keys from in, until the user quits. The
// terminal is as it was when Run returns, also after a panic. env is the
// environment as os.Environ returns it.
//
// It returns the last complete report, masked if privacy was on, or nil if there
// was none. With [ErrInterrupted] the user left by ctrl-c, or a signal ended the
// program; any other error means
// that the UI itself failed.
func Run(ctx context.Context, s Session, in io.Reader, out io.Writer, env []string) (*trace.Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A signal, or the end of the caller's context, asks Bubble Tea to quit. Its
	// own handling of signals waits for its loop to take them, for ever if a
	// context ends the loop first; and a hangup it leaves to end the program at once.
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, ends...)
	defer stop()
	m := newModel(ctx, s, newEnvironment(env))
	opts := []tea.ProgramOption{tea.WithOutput(out), tea.WithEnvironment(env)}
	if m.noColor {
		opts = append(opts, tea.WithColorProfile(colorprofile.ASCII))
	}
	guarded := &guard{Model: m}
	err := guarded.run(ctx, in, opts, suspend)
	ended := ctx.Err() != nil
	cancel()
	r := m.report()
	if broken := guarded.crashed(); broken != nil {
		return r, fmt.Errorf("terminal UI: %w", broken)
	}
	switch {
	case errors.Is(err, tea.ErrInterrupted), err != nil && ended:
		return r, ErrInterrupted
	case err != nil:
		return r, fmt.Errorf("terminal UI: %w", err)
	case m.interrupt, !m.quitting: // the latter: a signal to end
		return r, ErrInterrupted
	}
	if r != nil && s.Render != nil {
		format := "verdict"
		if m.fullReport {
			format = "text"
		}
		if _, err := io.WriteString(out, s.Render(r, format)); err != nil {
			return r, fmt.Errorf("terminal UI: report: %w", err)
		}
	}
	return r, nil
}
