package trace

import (
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/k8s"
)

// ht4002 names a request that its host's virtual host has no route for.
func ht4002(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || o.Error != envoyadmin.NoRoute || n.hop.State != Fail {
			return
		}
		detail := "virtual host " + o.VirtualHost + " has no route for " + n.facts.flow.method + " " + n.facts.flow.path
		var fix []string
		for i, m := range n.hop.Detail.NearMisses {
			if i == 3 {
				break
			}
			detail += "; " + m.Name + ": " + m.Why
		}
		for _, owner := range n.hop.Detail.Owner {
			fix = append(fix, "add a match for this request to "+owner)
		}
		if len(fix) == 0 {
			fix = append(fix, "add a match for this request to "+q.virtualServicesNamed(n, o.VirtualHost))
		}
		if near := nearestPath(n.facts.flow.path, n.hop.Detail.NearMisses); near != "" {
			fix = append([]string{"ask for " + near + ", if that was meant: a path's capitals and the slash at its end count"}, fix...)
		}
		f := q.report(n, detail, fix...)
		for _, vs := range q.virtualServicesFor(hostOf(n.facts.flow)) {
			if n.facts.pod != nil && q.bindsTo(vs, n.facts.pod) {
				q.written(f, &vs.Meta, "http", "match")
			}
		}
	}, KindRoute)
}

// nearestPath is the path that was probably meant, of those whose routes failed by
// the path alone; "" where none is near.
func nearestPath(path string, misses []NearMiss) string {
	bare, query, _ := strings.Cut(path, "?")
	if query != "" {
		query = "?" + query
	}
	var exact []string
	for _, m := range misses {
		if m.Kind != "route" || !strings.HasPrefix(m.Why, "path ") {
			continue
		}
		if want, ok := strings.CutPrefix(m.Name, "path == "); ok {
			if strings.EqualFold(strings.TrimSuffix(bare, "/"), strings.TrimSuffix(want, "/")) {
				return want + query
			}
			exact = append(exact, want)
		}
		if want, ok := strings.CutPrefix(m.Name, "prefix "); ok {
			switch {
			case len(bare) >= len(want) && strings.EqualFold(bare[:len(want)], want):
				return want + bare[len(want):] + query
			case strings.EqualFold(bare+"/", want):
				return want + query
			}
		}
	}
	if near := k8s.Nearest(bare, exact); near != "" {
		return near + query
	}
	return ""
}
