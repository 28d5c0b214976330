package trace

import (
	"fmt"
	"slices"
	"strings"
)

// VantageError says that the Pod or the node a request is to be sent from does
// not exist: nothing can be traced from there. It ends the program with exit
// status 2.
type VantageError struct {
	From string   // as --from takes it
	Near []string // what there is instead, most like it first; a few
}

func (e *VantageError) Error() string {
	kind, name, _ := strings.Cut(e.From, ":")
	msg := fmt.Sprintf("vantage %s: %s %q not found", e.From, kind, name)
	if ns, pod, ok := strings.Cut(name, "/"); ok {
		msg = fmt.Sprintf("vantage %s: %s %q not found in namespace %q", e.From, kind, pod, ns)
	}
	if len(e.Near) > 0 {
		msg += "; nearest: " + strings.Join(e.Near, ", ")
	}
	return msg
}

// maxNear bounds how many names an error offers.
const maxNear = 3

// vantage refuses a vantage that the lists of the cluster do not hold. Where they
// were not read nothing is known, and the walk says so.
func (w *walker) vantage(from place) {
	var others []string
	switch from.area {
	case AreaPod:
		if p, notRead := w.podNamed(podRef{from.namespace, from.name}); p != nil || notRead != nil || w.err != nil {
			return
		}
		pods, err := w.cluster.Pods(w.ctx, from.namespace)
		w.refused(err)
		for _, p := range pods {
			others = append(others, "pod:"+p.Namespace+"/"+p.Name)
		}
	case AreaNode:
		if n, err := w.cluster.Node(w.ctx, from.name); w.refused(err) != nil || n != nil || w.err != nil {
			return
		}
		nodes, err := w.cluster.Nodes(w.ctx)
		w.refused(err)
		for _, n := range nodes {
			others = append(others, "node:"+n.Name)
		}
	default:
		return
	}
	if w.err == nil {
		w.err = &VantageError{From: from.String(), Near: nearest(from.String(), others, maxNear)}
	}
}

// nearest are the n names that share the longest beginning with name, in order.
func nearest(name string, others []string, n int) []string {
	common := func(s string) int {
		i := 0
		for i < len(s) && i < len(name) && s[i] == name[i] {
			i++
		}
		return i
	}
	slices.SortFunc(others, func(a, b string) int {
		if d := common(b) - common(a); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return others[:min(n, len(others))]
}
