package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/hoptrail/hoptrail/internal/privacy"
	"github.com/hoptrail/hoptrail/internal/report"
	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/trace"
	"github.com/hoptrail/hoptrail/tui"
)

// masked takes out of a report what must not be shown: credentials always, what
// identifies the platform with --privacy.
func (o *outputOptions) masked(r *trace.Report) *trace.Report {
	if o.privacy {
		return (&privacy.Masker{}).Report(r)
	}
	return privacy.Secrets(r)
}

// askOnScreen shows the trace in the terminal UI until the user quits. The
// report is that of the last complete trace, nil if there was none; the recorder
// holds what it read.
func askOnScreen(ctx context.Context, s *streams, o *outputOptions, src *source, target trace.Target) (*trace.Report, *snapshot.Recorder, error) {
	var mu sync.Mutex
	var last *snapshot.Recorder
	var lastPath string
	session := tui.Session{
		Trace: func(ctx context.Context, t trace.Target, progress func(tui.Event)) (*trace.Report, error) {
			path := o.record
			if path == "" {
				path = freeName(t.Host, "tar.gz")
			}
			from, done, err := src.again()
			if err != nil {
				return nil, err
			}
			defer done()
			rec, err := from.recorder(path)
			if err != nil {
				return nil, err
			}
			r, err := walk(ctx, o, from, rec, t, func(e trace.Event) { progress(tui.Event(e)) })
			if err == nil {
				mu.Lock()
				last, lastPath = rec, path
				mu.Unlock()
			}
			return r, err
		},
		Target: target,
		Export: func(_ context.Context, kind string, r *trace.Report) (string, error) {
			if kind != "snapshot" {
				return export(kind, r)
			}
			mu.Lock()
			defer mu.Unlock()
			if last == nil {
				return "", errors.New("export: no trace is complete yet")
			}
			return lastPath, last.Close()
		},
		Render: func(r *trace.Report, format string) string {
			if format == "verdict" {
				return report.Verdict(r, report.Options{Color: s.color(o.color)})
			}
			return report.String(r, report.Format(format))
		},
		Live:    src.live() || src.path != "",
		Context: src.name,
		Options: tui.Options{
			ASCII: o.ascii, NoColor: !s.color(o.color), Privacy: o.privacy, Mouse: o.mouse, Every: o.every,
		},
	}
	if src.live() {
		src.told.hold()
		defer src.told.release()
		src.logs = new(trace.LogReader)
		session.Follow = src.follow
	} else {
		session.NoFollow = "a snapshot has no log that grows"
	}
	r, err := tui.Run(ctx, session, s.in, s.out, os.Environ())
	if errors.Is(err, tui.ErrInterrupted) {
		err = &exitError{code: exitInterrupted}
	}
	mu.Lock()
	defer mu.Unlock()
	return r, last, err
}

// export writes a report into a new file of the working directory and returns
// its name. kind is json or markdown.
func export(kind string, r *trace.Report) (string, error) {
	ext := map[string]string{"json": "json", "markdown": "md"}[kind]
	if ext == "" {
		return "", fmt.Errorf("export: %q is neither json, markdown nor snapshot", kind)
	}
	name := freeName(r.Target.Host, ext)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("export: %w", err)
	}
	if err := errors.Join(report.Write(f, r, report.Format(kind), report.Options{}), f.Close()); err != nil {
		return "", fmt.Errorf("export: %w", err)
	}
	return name, nil
}

// freeName returns a name in the working directory that nothing has yet.
func freeName(host, ext string) string {
	for n := 1; ; n++ {
		name := fmt.Sprintf("hoptrail-%s-%d.%s", fileName(host), n, ext)
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) || n == 9999 {
			return name
		}
	}
}

// fileName makes a host fit for a file's name.
func fileName(host string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, host)
	return strings.Trim(name[:min(len(name), 100)], ".-")
}
