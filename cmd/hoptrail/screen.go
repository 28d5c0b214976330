package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/hoptrail/hoptrail/internal/privacy"
	"github.com/hoptrail/hoptrail/internal/report"
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
// report is that of the last complete trace, nil if there was none.
func askOnScreen(ctx context.Context, s *streams, o *outputOptions, src *source, target trace.Target) (*trace.Report, error) {
	session := tui.Session{
		Trace: func(ctx context.Context, t trace.Target, progress func(tui.Event)) (*trace.Report, error) {
			return walk(ctx, o, src, t, func(e trace.Event) { progress(tui.Event(e)) })
		},
		Target: target,
		Export: func(_ context.Context, kind string, r *trace.Report) (string, error) {
			return export(src, kind, r)
		},
		Render:  func(r *trace.Report, format string) string { return report.String(r, report.Format(format)) },
		Live:    src.live(),
		Context: src.name,
		Options: tui.Options{
			ASCII: o.ascii, NoColor: !s.color(o.color), Privacy: o.privacy, Mouse: o.mouse, Every: o.every,
		},
	}
	if !src.live() {
		session.NoFollow = "a snapshot has no log that grows"
	}
	r, err := tui.Run(ctx, session, s.in, s.out, os.Environ())
	if errors.Is(err, tui.ErrInterrupted) {
		return nil, &exitError{code: exitInterrupted}
	}
	return r, err
}

// export writes what the terminal UI asks for into a new file of the working
// directory and returns its name.
func export(src *source, kind string, r *trace.Report) (string, error) {
	ext := map[string]string{"json": "json", "markdown": "md", "snapshot": "tar.gz"}[kind]
	if ext == "" {
		return "", fmt.Errorf("export: %q is neither json, markdown nor snapshot", kind)
	}
	stem := "hoptrail-" + fileName(r.Target.Host)
	for n := 1; n < 1000; n++ {
		name := fmt.Sprintf("%s-%d.%s", stem, n, ext)
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("export: %w", err)
		}
		if kind == "snapshot" {
			// The recorder writes by name; the empty file only reserved it.
			err = errors.Join(f.Close(), os.Remove(name), src.record(name))
		} else {
			err = errors.Join(report.Write(f, r, report.Format(kind), report.Options{}), f.Close())
		}
		if err != nil {
			return "", fmt.Errorf("export: %w", err)
		}
		return name, nil
	}
	return "", fmt.Errorf("export: %s-1.%s to %s-999.%s are taken", stem, ext, stem, ext)
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
