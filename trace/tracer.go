package trace

import "context"

// Tracer walks targets over one source of observations. The zero value with a
// Source is ready to use; a Tracer may be used by several goroutines.
type Tracer struct {
	// Source answers every question of the walk.
	Source Source
	// Version is what the report names as the tool's version.
	Version string
	// Progress, when set, is told of every observation asked for and every hop
	// as it is decided. It is called from the walking goroutine, in order, and
	// must not block for long.
	Progress func(Event)
	// Lenient makes broken input, such as half a config_dump from a live proxy,
	// one more thing that could not be read. Otherwise it ends the trace with an
	// [InputError], as suits a file that a person can mend.
	Lenient bool
	// Logs, when set, is made to read what the proxies on the path log after the
	// trace.
	Logs *LogReader
	// Namespace is asked for the Services and Pods of an address where those of
	// all namespaces could not be read, as are the namespaces of what the walk
	// comes by: kubectl's own, for someone bound to it. Empty is none.
	Namespace string
	// MaxHops bounds the number of hops; 0 means 2048.
	MaxHops int
	// MaxPaths bounds the number of paths listed; 0 means 64.
	MaxPaths int
}

// Event is one step of a trace under way: an observation being read, or a hop
// decided.
type Event struct {
	// Reading names the observation that is being read, as a snapshot does;
	// empty when Hop is set.
	Reading string
	// Hop is a hop just decided. It is a copy; later events may repeat its ID
	// with more in it (state of branches, logs, findings).
	Hop *Hop
}

// Trace walks the target. The error is not nil only when the trace could not be
// made at all: the context ended, or the input is broken ([InputError]). Whatever
// merely could not be read is in the report.
func (t *Tracer) Trace(ctx context.Context, target Target) (*Report, error) {
	return t.trace(ctx, target)
}
