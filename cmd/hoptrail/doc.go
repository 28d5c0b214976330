// Command hoptrail answers one question for the person on call: I asked for
// this URL; where did the request go, and where did it stop?
//
// The package knows flags, streams and exit codes, and it alone wires a source
// of observations (a snapshot, an embedded world, a live cluster) into the walk
// of package trace and the walk's report into a renderer. It must not know how
// anything on the path decides: that is trace, iptables, envoyadmin and k8s.
//
// Every subcommand is made by a constructor newXCmd(*streams) that holds its own
// options; there are no package-level flags. A subcommand that wants an exit
// status other than 0 or 2 returns an *exitError.
package main
