package trace

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// reader asks the source each question at most once and keeps account of what
// was read, what was not, and how long it took.
type reader struct {
	source   Source
	progress func(Event)
	seen     map[Query]reading
	took     time.Duration // since the last hop was decided
	lenient  bool          // broken input is one more thing that could not be read

	coming map[Query]*answer // what was asked for ahead
	room   chan struct{}     // for those that are under way
	under  sync.WaitGroup
}

// answer is what a source says to a question asked ahead.
type answer struct {
	done chan struct{}
	obs  Observation
	err  error
}

// atOnce bounds the questions that are asked ahead at the same time.
const atOnce = 8

type reading struct {
	obs      Observation
	notRead  *NotReadError
	forgiven bool // its absence is no loss
}

func newReader(t *Tracer) *reader {
	return &reader{source: t.Source, progress: t.Progress, seen: map[Query]reading{}, lenient: t.Lenient, coming: map[Query]*answer{}, room: make(chan struct{}, atOnce)}
}

// ahead asks questions that the walk is about to ask, side by side. Each is still
// read where the walk comes to it: nothing but the waiting changes.
func (r *reader) ahead(ctx context.Context, questions ...Query) {
	for _, q := range questions {
		_, known := r.seen[q]
		if known || r.coming[q] != nil {
			continue
		}
		a := &answer{done: make(chan struct{})}
		r.coming[q] = a
		r.under.Go(func() {
			defer close(a.done)
			select {
			case r.room <- struct{}{}:
				defer func() { <-r.room }()
				a.obs, a.err = r.source.Observe(ctx, q)
			case <-ctx.Done():
				a.err = ctx.Err()
			}
		})
	}
}

// ask gives the source's answer, the one that was asked for ahead if there is one.
func (r *reader) ask(ctx context.Context, q Query) (Observation, error) {
	a := r.coming[q]
	if a == nil {
		return r.source.Observe(ctx, q)
	}
	delete(r.coming, q)
	select {
	case <-a.done:
		return a.obs, a.err
	case <-ctx.Done():
		return Observation{}, ctx.Err()
	}
}

// read returns the observation, or why there is none. The error ends the trace.
func (r *reader) read(ctx context.Context, q Query) (Observation, *NotReadError, error) {
	if known, ok := r.seen[q]; ok {
		return known.obs, known.notRead, nil
	}
	if r.progress != nil {
		r.progress(Event{Reading: q.Path()})
	}
	obs, err := r.ask(ctx, q)
	if err != nil {
		notRead, ok := errors.AsType[*NotReadError](err)
		if !ok {
			return Observation{}, nil, err
		}
		r.seen[q] = reading{notRead: notRead}
		return Observation{}, notRead, nil
	}
	r.took += obs.Took
	r.seen[q] = reading{obs: obs}
	return obs, nil, nil
}

// forgive takes an absent observation out of the account: nothing is lost.
func (r *reader) forgive(q Query) {
	if got, ok := r.seen[q]; ok && got.notRead != nil {
		got.forgiven = true
		r.seen[q] = got
	}
}

// fail turns an observation that was had but cannot be used into one that was
// not read.
func (r *reader) fail(q Query, why string) {
	r.seen[q] = reading{notRead: &NotReadError{Query: q, Why: why, Command: q.Command()}}
}

// lap returns the time spent reading since the last lap, in milliseconds.
func (r *reader) lap() float64 {
	ms := float64(r.took.Microseconds()) / 1000
	r.took = 0
	return ms
}

// collected is the account of everything read and not read, in the order of a
// snapshot's file names.
func (r *reader) collected() Collected {
	out := Collected{Read: []Read{}, NotRead: []NotRead{}}
	for q, got := range r.seen {
		if got.forgiven {
			continue
		}
		if got.notRead != nil {
			out.NotRead = append(out.NotRead, NotRead{What: q.Path(), Why: got.notRead.Why, Command: got.notRead.Command})
			continue
		}
		out.Read = append(out.Read, Read{What: q.Path(), At: timestamp(got.obs.At)})
		if got.obs.Cut != "" {
			out.NotRead = append(out.NotRead, NotRead{What: q.Path(), Why: "read in part: " + got.obs.Cut, Command: q.Command()})
		}
	}
	slices.SortFunc(out.Read, func(a, b Read) int { return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.At, b.At)) })
	slices.SortFunc(out.NotRead, func(a, b NotRead) int { return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Why, b.Why)) })
	out.Read = slices.CompactFunc(out.Read, func(a, b Read) bool { return a.What == b.What })
	out.NotRead = slices.Compact(out.NotRead)
	return out
}
