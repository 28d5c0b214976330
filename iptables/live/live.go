// Package live reads this machine's netfilter rules, read only, in any network
// namespace. It knows how to enter a namespace and which program prints what;
// it must not know what the rules mean.
package live
