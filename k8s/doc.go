// Package k8s is a typed, lazy view of Kubernetes API lists: who owns an
// address, which Pods a selector means, what a Pod runs, which Istio and Gateway
// API objects speak about a host or a Pod, and what NetworkPolicies allow.
//
// It is given bytes by a [Lister] and must not know where they come from, nor
// anything of traces, of Envoy's admin API or of netfilter. Bytes are a list as
// kubectl prints one (JSON or YAML, `kind: List` with mixed kinds as well). A
// list is scanned once for what identifies its items; an item is decoded when it
// is touched:
//
//	Lister ─ bytes ─► scan ─► index (kind, ns/name, labels, addresses) ─► decode one
//
// Objects are shared by all callers and must not be changed.
package k8s
