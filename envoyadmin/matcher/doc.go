// Package matcher decides Envoy's conditions for one request or connection: string, header, query, metadata, filter
// state and address matchers, and the xDS matcher trees built of them.
//
// Every decision is one of three:
//
//	Yes        the condition holds
//	No         it does not
//	Undecided  what it needs was not given (a runtime value, metadata, a certificate), or Envoy's extension or a field of
//	           a newer API is not known here; the reason comes with it
//
// They combine as Kleene's logic: No and anything is No, Yes or anything is Yes, otherwise Undecided wins. Undecided is
// the zero value.
//
// The package knows Envoy's API types and what a filter sees of a request ([Request]). It must not know where the
// configuration came from, what a route or a listener is, or how to fetch anything. It keeps no state: compiled
// regular expressions live in a [Regexps] the caller owns.
//
// The rules are those of Envoy's source/common/common/matchers.cc, source/common/http/header_utility.h,
// source/common/matcher/ and source/extensions/matching/.
package matcher
