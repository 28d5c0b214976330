package main

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hoptrail/hoptrail/k8s/live"
	"github.com/hoptrail/hoptrail/trace"
)

// completionLimit is how long a press of the tab key may take.
const completionLimit = 3 * time.Second

// completed are the lists that completion asks for.
var completed = []string{"namespaces", "nodes", "pods", "virtualservices.networking.istio.io"}

// complete offers what the cluster knows: contexts, namespaces, vantages and, as
// targets, the hosts of its VirtualServices. Where it cannot be asked, nothing is
// offered and nothing is said.
func (o *traceOptions) complete(cmd *cobra.Command) {
	_ = cmd.RegisterFlagCompletionFunc("context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		names, _ := live.Contexts(o.cluster.kubeconfig)
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	_ = cmd.RegisterFlagCompletionFunc("namespace", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, it := range o.listed(cmd.Context(), completed[0]) {
			names = append(names, it.Metadata.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	_ = cmd.RegisterFlagCompletionFunc("from", func(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		offered := []string{"external"}
		switch {
		case strings.HasPrefix(toComplete, "node:"):
			for _, it := range o.listed(cmd.Context(), completed[1]) {
				offered = append(offered, "node:"+it.Metadata.Name)
			}
		case strings.HasPrefix(toComplete, "pod:"):
			for _, it := range o.listed(cmd.Context(), completed[2]) {
				offered = append(offered, "pod:"+it.Metadata.Namespace+"/"+it.Metadata.Name)
			}
		default:
			return append(offered, "node:", "pod:"), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		return offered, cobra.ShellCompDirectiveNoFileComp
	})
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var targets []string
		for _, it := range o.listed(cmd.Context(), completed[3]) {
			for _, host := range it.Spec.Hosts {
				// A short name or a wildcard is no name to ask a resolver for.
				if strings.Contains(host, ".") && !strings.ContainsAny(host, "*/") {
					targets = append(targets, "http://"+host+"/", "https://"+host+"/")
				}
			}
		}
		slices.Sort(targets)
		return slices.Compact(targets), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

type listedItem struct {
	Metadata struct{ Namespace, Name string }
	Spec     struct{ Hosts []string }
}

// listed is a list of the cluster, or of the snapshot that is named, as far as
// completion needs it.
func (o *traceOptions) listed(ctx context.Context, file string) []listedItem {
	ctx, cancel := context.WithTimeout(ctx, completionLimit)
	defer cancel()
	src, err := openSource(&streams{err: io.Discard}, o, true) // the shell has the terminal
	if err != nil {
		return nil
	}
	defer src.Close()
	obs, err := src.Observe(ctx, trace.Query{Area: trace.AreaCluster, File: file})
	if err != nil {
		return nil
	}
	var list struct{ Items []listedItem }
	if json.Unmarshal(obs.Data, &list) != nil {
		return nil
	}
	return list.Items
}
