package trace

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// ht2004 names a node whose connection table is full, or was: new connections
// cannot be entered and their packets are dropped.
func ht2004(q *inquiry) {
	q.kind(func(n *node) {
		ns := n.facts.netns
		if ns == nil || ns.area != AreaNode {
			return
		}
		stats := ns.query("conntrack-stats.txt")
		if obs, notRead := q.observeIf(stats, true); notRead == nil && q.err == nil {
			failed, dropped := 0, 0
			for _, field := range strings.Fields(string(obs.Data)) {
				name, value, _ := strings.Cut(field, "=")
				v, _ := strconv.Atoi(value) // what is no number counts nothing
				switch name {
				case "insert_failed":
					failed += v
				case "drop", "early_drop":
					dropped += v
				}
			}
			if dropped > 0 {
				f := q.report(n, fmt.Sprintf("the connection table of node %s dropped %d new connections (and failed to insert %d): it was full", n.hop.Subject.Name, dropped, failed),
					fmt.Sprintf("on node %s: sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max   # how full is it now?", n.hop.Subject.Name),
					"raise the limit: conntrack.maxPerCore and conntrack.min of kube-proxy's configuration, which sets it at its start; until then sysctl -w net.netfilter.nf_conntrack_max on the node",
					fmt.Sprintf("on node %s: conntrack -S   # watch drop and insert_failed", n.hop.Subject.Name))
				f.effect = Degraded
				q.quote(f, Observed, stats, "drop=")
			}
		}
		sysctl := ns.query("sysctl.txt")
		if obs, notRead := q.observeIf(sysctl, true); notRead == nil && q.err == nil {
			count, limit := sysctlValue(obs.Data, "net.netfilter.nf_conntrack_count"), sysctlValue(obs.Data, "net.netfilter.nf_conntrack_max")
			if limit > 0 && count >= limit*95/100 {
				f := q.report(n, fmt.Sprintf("the connection table of node %s holds %d of at most %d entries", n.hop.Subject.Name, count, limit),
					fmt.Sprintf("on node %s: sysctl -w net.netfilter.nf_conntrack_max=%d   # and conntrack.maxPerCore of kube-proxy's configuration, which sets it at its start", n.hop.Subject.Name, limit*2))
				f.effect = Degraded
				q.quote(f, Observed, sysctl, "nf_conntrack_")
			}
		}
	}, KindNode)
}

func sysctlValue(data []byte, name string) int {
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), "="); ok && strings.TrimSpace(key) == name {
			v, _ := strconv.Atoi(strings.TrimSpace(value)) // 0 where it is no number: nothing is claimed
			return v
		}
	}
	return 0
}
