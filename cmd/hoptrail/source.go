package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/k8s/live"
	"github.com/hoptrail/hoptrail/testdata"
	"github.com/hoptrail/hoptrail/trace"
)

// source is an open source of observations: a snapshot, a world of the binary
// or a live cluster. Credentials do not pass it.
type source struct {
	trace.Source
	name  string // for titles: the snapshot's file, the world
	notes string // what a snapshot says of itself
	path  string // of --snapshot
	close func() error

	// namespace is kubectl's, of the cluster or of whoever took the snapshot.
	namespace string

	cluster *live.Source     // nil for files
	told    *teller          // what the cluster's source tells; nil for files
	logs    *trace.LogReader // of followed logs; nil where none are
	tails   tails
}

// live says whether the source is a running platform.
func (s *source) live() bool { return s.cluster != nil }

// login logs in to a cluster whose kubeconfig names a program for that.
func (s *source) login(ctx context.Context) {
	if s.live() {
		s.cluster.Login(ctx)
	}
}

// home puts a Pod named without its namespace into the kubeconfig's.
func (s *source) home(from string) string {
	if name, ok := strings.CutPrefix(from, "pod:"); ok && !strings.Contains(name, "/") && s.live() {
		return "pod:" + s.namespace + "/" + name
	}
	return from
}

// Close ends the source; for a live cluster it removes what was created there.
func (s *source) Close() error { return s.close() }

// again returns the source as it is now: the files of a snapshot may have changed
// since they were opened. The caller calls done when nothing is read any more.
func (s *source) again() (now *source, done func(), err error) {
	if s.path == "" {
		return s, func() {}, nil
	}
	snap, err := snapshot.Open(s.path)
	if err != nil {
		return nil, nil, err
	}
	now = ofSnapshot(s.path, snap)
	now.path = s.path
	return now, func() { _ = now.Close() }, nil
}

// recorder returns the source again as one that keeps what it gives, to be
// written to path: what a trace of the recording reads is what this one read.
func (s *source) recorder(path string) (*snapshot.Recorder, error) {
	if sameFile(s.path, path) {
		return nil, fmt.Errorf("--record %s: it is the snapshot that is traced, and a recording may hold less", path)
	}
	r, err := snapshot.NewRecorder(s, path)
	if err != nil {
		return nil, err
	}
	r.Describe(s.name, s.notes, s.namespace)
	return r, nil
}

// sameFile says whether two names are of one file or folder.
func sameFile(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	fa, errA := os.Stat(a)
	fb, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(fa, fb)
}

// teller passes lines on to standard error. While a screen is shown it keeps
// them: they would be written across it.
type teller struct {
	mu   sync.Mutex
	w    io.Writer
	tty  bool // a line of progress may stand there
	held bool
	kept []string
}

func (t *teller) say(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 100
	switch {
	case !t.held:
		if t.tty {
			fmt.Fprint(t.w, "\r\x1b[K")
		}
		fmt.Fprintln(t.w, "hoptrail: "+oneLine(line))
	case len(t.kept) < most:
		t.kept = append(t.kept, line)
	}
}

// hold keeps lines from now on; release says those that were kept.
func (t *teller) hold() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = true
}

func (t *teller) release() {
	t.mu.Lock()
	kept := t.kept
	t.held, t.kept = false, nil
	t.mu.Unlock()
	for _, line := range kept {
		t.say(line)
	}
}

// openSource opens what the flags name: --snapshot, else the live cluster. screen
// says that the terminal UI will be shown.
func openSource(s *streams, o *traceOptions, screen bool) (*source, error) {
	if o.snapshot != "" {
		snap, err := snapshot.Open(o.snapshot)
		if err != nil {
			return nil, err
		}
		src := ofSnapshot(o.snapshot, snap)
		src.path = o.snapshot
		src.namespace = cmp.Or(o.cluster.namespace, src.namespace)
		return src, nil
	}
	told := &teller{w: s.err, tty: s.errTTY}
	cluster, err := liveSource(o.cluster, o.timeout, screen, told.say)
	if err != nil {
		return nil, err
	}
	return &source{told: told, Source: snapshot.Redact(cluster), name: cluster.Context(), namespace: cluster.Namespace(), close: cluster.Close, cluster: cluster}, nil
}

// openDemo opens a world of the binary.
func openDemo(w demoWorld) (*source, error) {
	archive, err := testdata.Worlds.ReadFile(w.archive)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	snap, err := snapshot.Read(w.name, archive)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return ofSnapshot(w.name, snap), nil
}

func ofSnapshot(name string, snap *snapshot.Snapshot) *source {
	meta := snap.Meta()
	if meta.Cluster != "" {
		name = meta.Cluster
	}
	return &source{Source: snapshot.Redact(snap), name: name, notes: meta.Notes, namespace: meta.Namespace, close: snap.Close}
}

// closing closes a source at the end of a command. What goes wrong then is said
// unless the command has failed before.
func closing(s *source, err error) error {
	closeErr := s.Close()
	var exit *exitError
	if closeErr != nil && (err == nil || errors.As(err, &exit) && exit.err == nil) {
		return closeErr
	}
	return err
}
