package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // the ways of logging in that a kubeconfig may name

	netfilter "github.com/hoptrail/hoptrail/iptables/live"
	"github.com/hoptrail/hoptrail/k8s/live"
	"github.com/hoptrail/hoptrail/trace"
	"github.com/hoptrail/hoptrail/tui"
)

// liveFlags are the flags of a trace that only a live cluster needs.
type liveFlags struct {
	resolver       string
	readTimeout    time.Duration
	logSince       time.Duration
	logTail        int
	nodeDebug      bool
	nodeDebugImage string
}

func (o *liveFlags) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.resolver, "resolver", "", "name server to ask from outside, `IP[:PORT]` (default this machine's)")
	fs.DurationVar(&o.readTimeout, "request-timeout", 10*time.Second, "time limit of one request to the cluster")
	fs.DurationVar(&o.logSince, "log-since", time.Hour, "how far back access logs are read")
	fs.IntVar(&o.logTail, "log-tail", 2000, "how many `lines` of each access log are read at most")
	fs.BoolVar(&o.nodeDebug, "node-debug", false, "create a Pod on a node whose rules cannot be read otherwise, and remove it at the end")
	fs.StringVar(&o.nodeDebugImage, "node-debug-image", "", "`image` of that Pod (default one the node has that holds the tools)")
}

func (o *liveFlags) check() error {
	if o.logTail < 0 {
		return fmt.Errorf("--log-tail %d: want a number of lines", o.logTail)
	}
	return cmp.Or(notNegative("request-timeout", o.readTimeout), notNegative("log-since", o.logSince))
}

// liveSource returns the running cluster that kubectl's flags name. It makes no
// request. limit is the time limit of a whole trace, 0 for none; the reads get
// nine tenths of it, so that a trace that runs out of time still says what it
// could not read. screen says that
// the terminal UI will have the terminal. tell is told what is created in the
// cluster, and may be nil. The caller closes the source, after
// an interrupt as well: that removes what was created.
func liveSource(o clusterOptions, limit time.Duration, screen bool, tell func(string)) (*live.Source, error) {
	return live.New(live.Options{
		Kubeconfig: o.kubeconfig, Context: o.context, Namespace: o.namespace, As: o.as, AsGroups: o.asGroups,
		Resolver: o.live.resolver, Timeout: limit / 10 * 9, ReadTimeout: o.live.readTimeout,
		LogSince: o.live.logSince, LogTail: o.live.logTail,
		NodeDebug: o.live.nodeDebug, NodeDebugImage: o.live.nodeDebugImage, Tell: tell, Screen: screen,
		UserAgent: "hoptrail/" + version(), LocalNode: thisMachine,
	})
}

// thisMachine reads the netfilter of this machine, where it is a node.
func thisMachine(ctx context.Context) (map[string][]byte, map[string]error, error) {
	state, err := new(netfilter.Reader).Read(ctx)
	if err != nil {
		return nil, nil, err
	}
	return state.Files, state.NotRead, nil
}

// follow reads the logs of the proxies on the path of r as they are written,
// every replica's at the same time, until ctx ends or all of them have. A log
// that cannot be read, or ends, is told of and leaves the others alone; where none
// could be read the first error is returned. Those that an earlier call with ctx
// reads are left to it. The lines are parsed, and those of requests like the
// traced one marked, as the latest trace would have done; a line without a time
// has that of its arrival.
func (s *source) follow(ctx context.Context, r *trace.Report, sink func(tui.FollowLine)) error {
	return s.tails.follow(ctx, proxiesOf(r), sink, func(pod string, line func([]byte)) error {
		ns, name, _ := strings.Cut(pod, "/")
		return s.cluster.FollowLog(ctx, ns, name, time.Time{}, line)
	}, s.followed)
}

// proxiesOf are the Pods of r, namespace/name, whose proxies write access logs.
func proxiesOf(r *trace.Report) []string {
	var out []string
	for _, h := range r.Hops {
		ns, name, ok := strings.Cut(h.Detail.Pod, "/")
		if h.Kind == trace.KindPod && h.Detail.Role != "plain" && h.Detail.Role != "" && ok && ns != "" && name != "" && !slices.Contains(out, h.Detail.Pod) {
			out = append(out, h.Detail.Pod)
		}
	}
	return out
}

// tails are the logs being followed.
type tails struct {
	mu  sync.Mutex
	by  map[string]context.Context // the following that reads a Pod's log
	out sync.Mutex                 // one line at a time
}

// take says whether the log of pod is now ctx's to read.
func (t *tails) take(ctx context.Context, pod string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if had := t.by[pod]; had != nil && had.Err() == nil {
		return false
	}
	if t.by == nil {
		t.by = map[string]context.Context{}
	}
	t.by[pod] = ctx
	return true
}

func (t *tails) leave(ctx context.Context, pod string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by[pod] == ctx {
		delete(t.by, pod)
	}
}

// follow reads the logs of pods with read until ctx ends or each of them has.
func (t *tails) follow(ctx context.Context, pods []string, sink func(tui.FollowLine), read func(pod string, line func([]byte)) error, parse func(pod, line string) tui.FollowLine) error {
	tell := func(l tui.FollowLine) {
		t.out.Lock()
		defer t.out.Unlock()
		if ctx.Err() == nil {
			sink(l)
		}
	}
	var wg sync.WaitGroup
	ended := make(chan error, len(pods))
	for _, pod := range pods {
		if !t.take(ctx, pod) {
			continue
		}
		wg.Go(func() {
			err := read(pod, func(line []byte) { tell(parse(pod, string(line))) })
			t.leave(ctx, pod) // before it is told of: who hears of it may ask for the log again
			tell(tui.FollowLine{Proxy: pod, Line: trace.LogLine{At: arrival()}, Ended: true, Err: err})
			ended <- err
		})
	}
	wg.Wait()
	close(ended)
	if err := ctx.Err(); err != nil {
		return err
	}
	var first error
	for err := range ended {
		if err == nil {
			return nil
		}
		first = cmp.Or(first, err)
	}
	return first
}

// arrival is the time of a line that has none of its own.
func arrival() string { return time.Now().UTC().Format(time.RFC3339Nano) }

func (s *source) followed(pod, line string) tui.FollowLine {
	hop, l := s.logs.Read(pod, line)
	if l.At == "" {
		l.At = arrival()
	}
	return tui.FollowLine{Proxy: pod, Hop: hop, Line: l}
}
