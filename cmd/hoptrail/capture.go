package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/hoptrail/hoptrail/trace"
)

func newCaptureCmd(s *streams) *cobra.Command {
	opts := &traceOptions{}
	var out string
	cmd := &cobra.Command{
		Use:   "capture TARGET -f OUT",
		Short: "Collect what a trace would read, and the neighbourhood, into a snapshot",
		Long: `capture traces TARGET, and saves everything the trace read and what lies beside
it: the lists of the cluster as a whole, all the files of the nodes, Pods and
proxies on the path. Whoever gets the snapshot can trace TARGET again, and ask
other questions near it: another path, another host, another Pod.

Values of Secrets, private keys, tokens and cookies are not saved. What could not
be read is listed on stderr and in the snapshot; that is not an error.`,
		Example: `  # for the ticket
  hoptrail capture https://shop.example.com/cart -f ticket.tar.gz

  # later, elsewhere
  hoptrail https://shop.example.com/cart --snapshot ticket.tar.gz`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			switch {
			case len(args) != 1:
				return oneTarget(cmd, args)
			case out == "":
				return errors.New("-f OUT is missing: the folder or .tar.gz to write")
			case opts.privacy:
				return errors.New("--privacy masks a report; what a snapshot holds is what was read (secrets are left out always)")
			}
			if err := cmp.Or(notNegative("timeout", opts.timeout), opts.cluster.live.check()); err != nil {
				return err
			}
			target, err := opts.target(args[0])
			if err != nil {
				return err
			}
			src, err := openSource(s, opts, false)
			if err != nil {
				return err
			}
			defer func() { err = closing(src, err) }()
			src.login(cmd.Context())
			return capture(cmd.Context(), s, opts, src, target, out)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVarP(&out, "file", "f", "", "`folder or .tar.gz` to write")
	opts.addFlags(cmd)
	for _, name := range []string{"record", "output", "color", "privacy", "ascii", "mouse", "every"} {
		if f := fs.Lookup(name); f != nil {
			f.Hidden = true
		}
	}
	return cmd
}

// neighbourhood are the lists that are saved as a whole, whatever the trace
// selected from them.
var neighbourhood = []string{
	"services", "endpointslices.discovery.k8s.io", "pods", "nodes", "namespaces", "deployments.apps", "networkpolicies.networking.k8s.io",
	"gateways.networking.istio.io", "virtualservices.networking.istio.io", "destinationrules.networking.istio.io",
	"serviceentries.networking.istio.io", "sidecars.networking.istio.io", "workloadentries.networking.istio.io", "envoyfilters.networking.istio.io",
	"authorizationpolicies.security.istio.io", "peerauthentications.security.istio.io", "requestauthentications.security.istio.io",
	"telemetries.telemetry.istio.io",
	"gateways.gateway.networking.k8s.io", "httproutes.gateway.networking.k8s.io", "referencegrants.gateway.networking.k8s.io",
}

var (
	nodeFiles  = []string{"iptables-save.txt", "iptables-legacy-save.txt", "ip6tables-save.txt", "ipset-save.txt", "conntrack.txt", "ip-addr.json", "ip-route.json"}
	podFiles   = []string{"iptables-save.txt", "ss.txt"}
	proxyFiles = []string{"config_dump.json", "clusters.json", "listeners.json", "certs.json", "server_info.json", "stats.txt", "access.log"}
)

// capture traces the target through a recorder and then asks it for the
// neighbourhood of what the trace came by.
func capture(ctx context.Context, s *streams, opts *traceOptions, src *source, target trace.Target, out string) error {
	target.From = src.home(target.From)
	rec, err := src.recorder(out)
	if err != nil {
		return err
	}
	p := newProgress(s)
	defer p.clear()
	r, err := walk(ctx, &opts.outputOptions, src, rec, target, p.event)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var missed []*trace.NotReadError
	var broken error
	var wg sync.WaitGroup
	room := make(chan struct{}, 8) // reads at a time
	for _, q := range aroundPath(r) {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			p.event(trace.Event{Reading: q.Path()})
			_, err := rec.Observe(ctx, q)
			mu.Lock()
			defer mu.Unlock()
			var notRead *trace.NotReadError
			if errors.As(err, &notRead) {
				missed = append(missed, notRead)
			} else if err != nil && broken == nil {
				broken = err
			}
		})
	}
	wg.Wait()
	p.clear()
	if broken != nil {
		return fmt.Errorf("capture: %w", broken)
	}
	if err := rec.Close(); err != nil {
		return err
	}
	for _, line := range notReadLines(missed) {
		fmt.Fprintln(s.err, "hoptrail: not read: "+oneLine(line))
	}
	fmt.Fprintf(s.out, "%s: %s\n", out, oneLine(r.Summary))
	return nil
}

// notReadLines says what could not be read, all that is for the same reason in one
// line.
func notReadLines(missed []*trace.NotReadError) []string {
	slices.SortFunc(missed, func(a, b *trace.NotReadError) int { return strings.Compare(a.Query.Path(), b.Query.Path()) })
	var whys []string
	files := map[string][]string{}
	for _, m := range missed {
		if files[m.Why] == nil {
			whys = append(whys, m.Why)
		}
		if path := m.Query.Path(); !slices.Contains(files[m.Why], path) {
			files[m.Why] = append(files[m.Why], path)
		}
	}
	for i, why := range whys {
		whys[i] = strings.Join(files[why], ", ") + ": " + why
	}
	return whys
}

// aroundPath is what lies beside the path of a report: every list of the
// cluster, and every file of the nodes, Pods and proxies the path came by.
func aroundPath(r *trace.Report) []trace.Query {
	var out []trace.Query
	add := func(q trace.Query) {
		if !slices.Contains(out, q) {
			out = append(out, q)
		}
	}
	for _, file := range neighbourhood {
		add(trace.Query{Area: trace.AreaCluster, File: file})
	}
	for _, h := range r.Hops {
		if h.Kind == trace.KindNode && h.Subject.Name != "" {
			for _, file := range nodeFiles {
				add(trace.Query{Area: trace.AreaNode, Name: h.Subject.Name, File: file})
			}
		}
		ns, name, ok := strings.Cut(h.Detail.Pod, "/")
		if h.Kind != trace.KindPod || !ok {
			continue
		}
		for _, file := range podFiles {
			add(trace.Query{Area: trace.AreaPod, Namespace: ns, Name: name, File: file})
		}
		if h.Detail.Role == "gateway" || h.Detail.Role == "sidecar" {
			for _, file := range proxyFiles {
				add(trace.Query{Area: trace.AreaProxy, Namespace: ns, Name: name, File: file})
			}
		}
	}
	return out
}
