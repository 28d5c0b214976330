package trace

import (
	"context"
	"fmt"
	"time"
)

// Area is the part of the platform an observation comes from.
type Area string

// The areas, as the folders of a snapshot.
const (
	AreaDNS     Area = "dns"     // answers for one name
	AreaCluster Area = "cluster" // one list of the Kubernetes API
	AreaNode    Area = "nodes"   // one file of a node
	AreaPod     Area = "pods"    // one file of a Pod's own namespace
	AreaProxy   Area = "proxies" // one answer of an Envoy's admin API, or its log
)

// Query asks for one observation.
//
//	area     Namespace  Name       File
//	dns      -          host name  record types wanted, empty for A and AAAA
//	cluster  -          -          services, virtualservices.networking.istio.io ...
//	nodes    -          node       iptables-save.txt, conntrack.txt ...
//	pods     ns         Pod        iptables-save.txt, ss.txt
//	proxies  ns         Pod        config_dump.json, clusters.json, access.log ...
//
// Select is a hint for cluster queries: the caller will look only at the items
// it describes. A source may answer with more than was selected, never with less.
type Query struct {
	Area      Area
	Namespace string
	Name      string
	File      string
	Select    Selector
	From      string // dns: the vantage the name is asked from
}

// Selector narrows a cluster query as the API's own parameters do.
type Selector struct {
	Namespace string
	Name      string
	Labels    string // a label selector, as kubectl -l takes it
	Fields    string // a field selector
}

// Path is the file of a snapshot that holds the answer.
func (q Query) Path() string {
	switch q.Area {
	case AreaDNS:
		return "dns.json"
	case AreaCluster:
		return "cluster/" + q.File + ".json"
	case AreaNode:
		return "nodes/" + q.Name + "/" + q.File
	default:
		return string(q.Area) + "/" + q.Namespace + "/" + q.Name + "/" + q.File
	}
}

// Observation is the raw bytes of one source at one time. Data must not be
// changed by anyone.
type Observation struct {
	Data    []byte
	At      time.Time     // when it was read; zero where not known
	Took    time.Duration // how long reading took, as recorded
	Partial bool          // Data holds only what Select asked for
	// Span is the part of a log that was asked for, "the last 1h0m0s", and empty
	// where that was all of it. Cut is what a limit took from the end or the
	// beginning of that, in words for a person, empty where nothing.
	Span, Cut string
}

// Source returns observations. An error that is a [NotReadError] means that the
// observation could not be had; any other error ends the trace.
// Implementations are safe for concurrent use.
type Source interface {
	Observe(ctx context.Context, q Query) (Observation, error)
}

// NotReadError says why an observation could not be had. It makes one hop
// unknown (HT0001), not the trace fail.
type NotReadError struct {
	Query     Query
	Why       string // "not in the snapshot", "forbidden: ...", "deadline of 5s exceeded"
	Verb      string // the Kubernetes verb, resource and namespace refused, if it was a right
	Resource  string
	Namespace string
	Command   string // what would give it
}

func (e *NotReadError) Error() string {
	return fmt.Sprintf("%s: %s", e.Query.Path(), e.Why)
}

// InputError is bad input that a person can mend: a broken file of a snapshot.
// Line and Column count from 1; 0 where they do not apply. It ends the program
// with exit status 2.
type InputError struct {
	File   string
	Line   int
	Column int
	Offset int64
	Msg    string
}

func (e *InputError) Error() string {
	switch {
	case e.Line > 0 && e.Column > 0:
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
	case e.Line > 0:
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
	default:
		return fmt.Sprintf("%s: %s", e.File, e.Msg)
	}
}
