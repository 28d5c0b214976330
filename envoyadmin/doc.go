// Package envoyadmin reads what an Envoy's admin API prints and says what that
// Envoy does with a connection or a request.
//
// [Read] indexes a config_dump in one pass; only the objects a [Call] touches
// are decoded. [Dump.Match] then walks as Envoy does:
//
//	listener ─ hand-off ─ listener filters ─ filter chain ─ TLS ─ network filters
//	   ┌───────────────────────────────────────────────────────────┘
//	   ├ tcp_proxy ───────────────────────────────────┐
//	   └ connection manager ─ route ─ HTTP filters ─ cluster ─ endpoint
//
// and answers with every way the call may take, with its probability, the
// decisions on it, what was passed over and why, and who wrote the objects.
// What the dump cannot tell makes an outcome undetermined, with the reason.
//
// The package knows Envoy's configuration, its semantics and the forms its admin
// API prints. Routes, HTTP filters, RBAC, matcher trees and access logs are in
// the packages below it. It must not know Kubernetes, iptables, how bytes are
// fetched or how an answer is shown.
package envoyadmin
