// Command replay shows saved reports in the terminal UI as if they were being
// traced: each run takes the next report, hop by hop. The end-to-end tests drive
// with it what a snapshot cannot do: a platform that changes, logs that grow, a
// trace that hangs, fails or panics.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hoptrail/hoptrail/internal/report"
	"github.com/hoptrail/hoptrail/trace"
	"github.com/hoptrail/hoptrail/tui"
)

func main() {
	r, err := run()
	if r != nil {
		fmt.Println("VERDICT", r.Verdict)
	}
	switch {
	case errors.Is(err, tui.ErrInterrupted):
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(2)
	}
}

func run() (*trace.Report, error) {
	delay := flag.Duration("delay", 0, "time each hop takes")
	every := flag.Duration("every", 0, "trace again after this time")
	follow := flag.Duration("follow", 0, "a new access log line this often")
	fail := flag.String("fail", "", "end every second run with this error")
	hang := flag.Bool("hang", false, "never finish a run, only when cancelled")
	crash := flag.String("crash", "", "panic in: trace, follow, draw")
	dir := flag.String("dir", ".", "where exports go")
	flag.Parse()

	var reports []*trace.Report
	for _, name := range flag.Args() {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		r := &trace.Report{}
		if err := json.Unmarshal(data, r); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		reports = append(reports, r)
	}
	if len(reports) == 0 {
		return nil, errors.New("no report given")
	}

	var runs atomic.Int64
	var drawn atomic.Bool
	s := tui.Session{
		Target: reports[0].Target, Live: true, Context: "replay",
		Options: tui.Options{Every: *every},
		Trace: func(ctx context.Context, t trace.Target, progress func(tui.Event)) (*trace.Report, error) {
			n := runs.Add(1) - 1
			r := *reports[int(n)%len(reports)]
			r.Target = t
			for i := range r.Hops {
				if err := sleep(ctx, *delay); err != nil {
					return nil, err
				}
				progress(tui.Event{Reading: "hop " + r.Hops[i].ID})
				progress(tui.Event{Hop: &r.Hops[i]})
			}
			drawn.Store(true)
			if *crash == "trace" {
				panic("the trace broke")
			}
			if *hang {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			if *fail != "" && n%2 == 1 {
				return nil, errors.New(*fail)
			}
			return &r, nil
		},
		Export: func(_ context.Context, kind string, r *trace.Report) (string, error) {
			path := filepath.Join(*dir, "export."+kind)
			data := report.String(r, report.Markdown)
			if kind == "json" {
				data = report.String(r, report.JSON)
			}
			return path, os.WriteFile(path, []byte(data), 0o600)
		},
		Render: func(r *trace.Report, format string) string { return report.String(r, report.Format(format)) },
		Now: func() time.Time {
			if *crash == "draw" && drawn.Load() {
				panic("drawing broke")
			}
			return time.Now()
		},
	}
	if *follow > 0 {
		var reading atomic.Value // the context of who follows
		s.Follow = func(ctx context.Context, r *trace.Report, sink func(tui.FollowLine)) error {
			if reading.Swap(ctx) == ctx {
				return nil // a later report: its Pods write into the same log
			}
			for n := 0; ; n++ {
				if err := sleep(ctx, *follow); err != nil {
					return err
				}
				if *crash == "follow" {
					panic("following broke")
				}
				at := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
				sink(tui.FollowLine{
					Proxy: "istio-system/gateway", Hop: r.Hops[n%len(r.Hops)].ID,
					Line: trace.LogLine{
						Raw: fmt.Sprintf(`[%s] "GET /line/%d HTTP/1.1" 503 UH`, at, n), At: at, Traced: n%3 == 0, Because: "every third is",
						Flags: []string{"UH: no healthy upstream"},
						Fields: map[string]string{
							"RESPONSE_CODE": "503", "RESPONSE_FLAGS": "UH", "REQ(:METHOD)": "GET",
							"REQ(X-ENVOY-ORIGINAL-PATH?:PATH)": fmt.Sprintf("/line/%d", n),
						},
					},
				})
			}
		}
	}
	return tui.Run(context.Background(), s, os.Stdin, os.Stdout, os.Environ())
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
