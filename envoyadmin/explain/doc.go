// Package explain is the dictionary of what access logs and rule sets print:
// response flags, response code details, transport failure reasons, operators of
// log formats and the terms of Envoy, Istio and kube-proxy, each with its
// meaning, usual causes and what to look at.
//
// It knows words; it must not know a line's layout (accesslog) nor a path (trace).
package explain
