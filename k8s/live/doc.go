// Package live reads observations from a running cluster: it is the
// [trace.Source] behind `hoptrail TARGET` without --snapshot.
//
//	Query area   how it is read                                    rights it needs
//	cluster      GET of a list or of one object, pages of 500      list (get where both name and namespace are known)
//	nodes        this machine if it is the node, else exec of the  create pods/exec
//	             tool in a host-network Pod of that node
//	pods         exec of the tool in the Pod                       create pods/exec
//	proxies      GET through a port-forward to Envoy's admin       create pods/portforward
//	             port, else exec of pilot-agent or curl            create pods/exec
//	access.log   GET of the container's log                        get pods/log
//	dns          the resolver of this machine or the one given;    none; from a Pod: create pods/portforward
//	             from a Pod the cluster's, through a port-forward;  + create pods/exec or get configmaps
//	             its search path from resolv.conf or the Corefile   for the search path
//
// It knows HTTP against the API server, how much to ask for and how long to
// wait, and which programs print what a snapshot's files hold. It must not know
// what the bytes mean to a request: that is the walk's business.
//
// Promises: nothing is written to the cluster unless [Options].NodeDebug says
// so. Every distinct read is made at most once in the life of a [Source] (until
// [Source.Reset]). Every read has a time limit and a size limit; a read that did
// not end well is a [trace.NotReadError], never half an answer. The data of
// Secrets is dropped as the answer arrives. What the programs of the cluster
// print is untrusted and is passed on as bytes.
package live
