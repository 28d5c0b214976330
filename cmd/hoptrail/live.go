package main

import (
	"time"

	"github.com/spf13/pflag"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // the ways of logging in that a kubeconfig may name

	"github.com/hoptrail/hoptrail/k8s/live"
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

// liveSource returns the running cluster that kubectl's flags name. It makes no
// request. limit bounds all its reads together, 0 is no bound; tell is told what
// is created in the cluster and may be nil. The caller closes the source, after
// an interrupt as well: that removes what was created.
func liveSource(o clusterOptions, limit time.Duration, tell func(string)) (*live.Source, error) {
	return live.New(live.Options{
		Kubeconfig: o.kubeconfig, Context: o.context, Namespace: o.namespace, As: o.as, AsGroups: o.asGroups,
		Resolver: o.live.resolver, Timeout: limit, ReadTimeout: o.live.readTimeout,
		LogSince: o.live.logSince, LogTail: o.live.logTail,
		NodeDebug: o.live.nodeDebug, NodeDebugImage: o.live.nodeDebugImage, Tell: tell,
		UserAgent: "hoptrail/" + version(),
	})
}
