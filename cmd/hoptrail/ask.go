package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/hoptrail/hoptrail/internal/report"
	"github.com/hoptrail/hoptrail/internal/sanitize"
	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/trace"
)

// ask traces the target and shows the report as the options say. The exit
// status is the verdict's.
func ask(ctx context.Context, s *streams, o *outputOptions, src *source, target trace.Target) error {
	format, err := o.format(s)
	if err != nil {
		return err
	}
	var r *trace.Report
	var rec *snapshot.Recorder
	if format == "" {
		r, rec, err = askOnScreen(ctx, s, o, src, target)
	} else {
		if o.record != "" {
			if rec, err = src.recorder(o.record); err != nil {
				return err
			}
		}
		p := &progress{w: s.err, on: s.errTTY, since: time.Now()}
		r, err = walk(ctx, o, src, rec, target, p.event)
		p.clear()
		if err == nil {
			r = o.masked(r)
			err = report.Write(s.out, r, format, report.Options{Color: s.color(o.color)})
		}
	}
	if err != nil {
		return err
	}
	if o.record != "" && rec != nil {
		if err := rec.Close(); err != nil {
			return err
		}
	}
	return verdictStatus(r)
}

// walk makes one trace within the time limit, through rec unless that is nil.
func walk(ctx context.Context, o *outputOptions, src *source, rec *snapshot.Recorder, target trace.Target, progress func(trace.Event)) (*trace.Report, error) {
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	if src.live() {
		src.cluster.Reset()
	}
	tracer := &trace.Tracer{Source: src, Version: version(), Progress: progress, Logs: src.logs, Lenient: src.live(), Namespace: src.namespace}
	if rec != nil {
		tracer.Source = rec
	}
	r, err := tracer.Trace(ctx, target)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("trace: not finished within %s (--timeout)", o.timeout)
	}
	if err != nil || !src.live() {
		return r, err
	}
	r.Collected.Requests, r.Collected.Bytes = src.cluster.Usage()
	return r, src.cluster.Refused()
}

// verdictStatus is the exit status of a report; nil for one that is reachable.
func verdictStatus(r *trace.Report) error {
	if r == nil {
		return nil
	}
	switch r.Verdict {
	case trace.Reachable:
		return nil
	case trace.Unreachable, trace.Degraded:
		return &exitError{code: exitUnreachable}
	case trace.Undetermined:
		return &exitError{code: exitUndetermined}
	default:
		return &exitError{code: exitUndetermined}
	}
}

// progress tells on a terminal what is being read, in one line that goes away.
type progress struct {
	w     io.Writer
	on    bool
	since time.Time
	shown bool
	hops  int
}

// quick traces end before anything is shown of them.
const quick = 300 * time.Millisecond

func (p *progress) event(e trace.Event) {
	if e.Hop != nil {
		p.hops++
	}
	if !p.on || time.Since(p.since) < quick || e.Reading == "" {
		return
	}
	p.shown = true
	line := fmt.Sprintf("%d hops, reading %s", p.hops, sanitize.Line(e.Reading))
	fmt.Fprintf(p.w, "\r\x1b[K%s", ansi.Truncate(line, 78, "..."))
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
