package main

import (
	"cmp"
	"context"
	"fmt"
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
// could not read. tell is told what
// is created in the cluster and may be nil. The caller closes the source, after
// an interrupt as well: that removes what was created.
func liveSource(o clusterOptions, limit time.Duration, tell func(string)) (*live.Source, error) {
	return live.New(live.Options{
		Kubeconfig: o.kubeconfig, Context: o.context, Namespace: o.namespace, As: o.as, AsGroups: o.asGroups,
		Resolver: o.live.resolver, Timeout: limit / 10 * 9, ReadTimeout: o.live.readTimeout,
		LogSince: o.live.logSince, LogTail: o.live.logTail,
		NodeDebug: o.live.nodeDebug, NodeDebugImage: o.live.nodeDebugImage, Tell: tell,
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
// every replica's at the same time, until ctx ends. The lines are parsed, and
// those of requests like the traced one marked, as the latest trace would have
// done; a line without a time has that of its arrival.
func (s *source) follow(ctx context.Context, r *trace.Report, sink func(tui.FollowLine)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[string]bool{}
	for _, h := range r.Hops {
		ns, name, ok := strings.Cut(h.Detail.Pod, "/")
		if h.Kind != trace.KindPod || h.Detail.Role == "plain" || h.Detail.Role == "" || !ok || seen[h.Detail.Pod] {
			continue
		}
		seen[h.Detail.Pod] = true
		wg.Go(func() {
			err := s.cluster.FollowLog(ctx, ns, name, time.Time{}, func(line []byte) {
				mu.Lock()
				defer mu.Unlock()
				if ctx.Err() == nil {
					sink(s.followed(ns+"/"+name, string(line)))
				}
			})
			if err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (s *source) followed(pod, line string) tui.FollowLine {
	hop, l := s.logs.Read(pod, line)
	if l.At == "" {
		l.At = time.Now().UTC().Format(time.RFC3339Nano)
	}
	return tui.FollowLine{Proxy: pod, Hop: hop, Line: l}
}
