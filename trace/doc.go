// Package trace walks the path of one request through a Kubernetes and
// Istio/Envoy platform and reports every place on it that decided something.
//
// A [Target] enters as a [Flow] at an address; the owner of that address is
// found and evaluated; flows come out and arrive somewhere. Ingress, egress,
// sidecar to sidecar and gateway chains are all this one loop:
//
//	        ┌──────────────────────────────────────────────┐
//	        ▼                                              │
//	flow → arrives at an address → whose is it? → evaluate ┴→ delivered, refused, unknown
//	                                  │              │
//	                                  k8s     iptables · envoyadmin
//
// The package knows the vocabulary (hop, branch, evidence, finding), how the
// answers of iptables, envoyadmin and k8s become hops, and the rules that name
// faults. It is pure: bytes come from a [Source], time from the bytes. It must
// not know how bytes are fetched (k8s/live, internal/snapshot) nor how a report
// is shown (tui, internal/report).
package trace
