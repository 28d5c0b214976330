// Package route chooses virtual host, route and cluster for one request exactly as Envoy's router configuration does,
// says what becomes of the request, and why the other routes were not taken.
//
//	HCM refusals, path and host normalisation   Normalize
//	        │
//	virtual host by host name                   Index.Choose   over names and domains alone
//	        │
//	require_tls → first route that matches      Table.Route    in one decoded VirtualHost
//	        │
//	forward (clusters with probability) · redirect · direct response · 404
//
// A choice Envoy makes by chance is a list of outcomes whose probabilities add up to 1; with matcher.Env.Random set it
// is the one Envoy would take for that number. A condition that cannot be decided from what is known makes the outcome
// undetermined, with the condition quoted, unless every way on leads to the same.
//
// It knows Envoy's API types only. It must not know where they were read from, what a listener is, or what a cluster
// holds. A field of a newer API that the reader could not place must be left in the message's unknown fields; in a
// match it makes the condition undecided.
//
// The rules are those of source/common/router/config_impl.cc, source/common/http/path_utility.cc and
// source/common/http/conn_manager_utility.cc.
package route
