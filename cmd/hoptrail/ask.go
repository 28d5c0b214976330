package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
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
		p := newProgress(s)
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
	if r == nil { // the screen was left before a trace had an answer
		return &exitError{code: exitUndetermined}
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
		if err := src.cluster.Reset(ctx); errors.Is(err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("trace: not begun within %s (--timeout): what the one before read has not ended; perhaps a login plugin waits", o.timeout)
		} else if err != nil {
			return nil, err
		}
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

// progress tells on a terminal what is being read, and for how long already, in
// one line that goes away. It is safe for concurrent use.
type progress struct {
	w     io.Writer
	on    bool
	since time.Time

	mu      sync.Mutex
	stop    chan struct{} // ends the redrawing; nil where there is none
	reading string
	at      time.Time // when that began
	hops    int
	line    string // as shown; empty where nothing is
}

// quick traces end before anything is shown of them.
const quick = 300 * time.Millisecond

// newProgress begins to tell on the streams; [progress.clear] ends it.
func newProgress(s *streams) *progress {
	p := &progress{w: s.err, on: s.errTTY, since: time.Now()}
	if !p.on {
		return p
	}
	p.stop = make(chan struct{})
	go func(stop chan struct{}) {
		// A read that hangs brings no event, and is what a person wonders about.
		ticker := time.NewTicker(quick)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case now := <-ticker.C:
				p.draw(now)
			}
		}
	}(p.stop)
	return p
}

func (p *progress) event(e trace.Event) {
	now := time.Now()
	p.mu.Lock()
	if e.Hop != nil {
		p.hops++
	}
	if e.Reading != "" {
		p.reading, p.at = e.Reading, now
	}
	p.mu.Unlock()
	p.draw(now)
}

// draw shows the line of this moment, where it is another than the one shown.
func (p *progress) draw(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.on || now.Sub(p.since) < quick || p.reading == "" {
		return
	}
	line := fmt.Sprintf("%d hops, reading %s", p.hops, sanitize.Line(p.reading))
	if p.hops == 1 {
		line = strings.Replace(line, "hops", "hop", 1)
	}
	waited := ""
	if d := now.Sub(p.at).Truncate(time.Second); d > 0 {
		waited = fmt.Sprintf(" (%s)", d)
	}
	line = ansi.Truncate(line, 78-len(waited), "...") + waited
	if line != p.line {
		p.line = line
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	}
}

// clear takes the line away and ends the telling.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.on = false
	if p.stop != nil {
		close(p.stop)
		p.stop = nil
	}
	if p.line != "" {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.line = ""
	}
}
