// Package lab is a real cluster on one machine, without containers: etcd,
// kube-apiserver and kube-proxy as Kubernetes builds them, kwok in the kubelet's
// place, and the kernel's own netfilter in network namespaces.
//
//	this process (the lab) ── starts, serves, cleans up
//	  │
//	  ├ etcd, kube-apiserver, kwok      127.0.0.1, ports the kernel chose
//	  ├ admin API, DNS of the world     127.0.0.1 and within the Pods
//	  │
//	┌─ namespace lan ── bridge br0 ─────────────────────────────┐
//	│         │                │                     │          │
//	│  namespace client   namespace node 1     namespace node 2 │
//	│  (the outside)      kube-proxy, cni0     kube-proxy, cni0 │
//	│                        │      │             │      │      │
//	│                      pod ns  pod ns       pod ns  pod ns  │
//	└───────────────────────────────────────────────────────────┘
//
// It is given a world, a snapshot in the form hoptrail.snapshot/v1, and loads
// its objects as they are: there is no controller-manager, so a world's
// EndpointSlices are its own. Nodes and Pods have the world's addresses. The
// rules of a node are what kube-proxy made of the objects; those of a Pod's
// namespace are the world's, put into the kernel. What a proxy's admin API
// answers and what it logged are the world's files, served behind the Pod. The
// only containers that are really run are those of the Pods that hoptrail makes
// with --node-debug: their programs, in the network of their node.
//
// Nothing is visible outside: everything listens on 127.0.0.1 or in namespaces
// the lab made, on ports the kernel chose, so that two labs can run side by
// side. The processes die with the lab; [Lab.Close], or `lab down` after a
// crash, leaves neither processes nor namespaces nor links.
//
// The package needs root. It does not import hoptrail, and hoptrail's module does
// not know it.
package lab
