// Package testdata embeds the worlds that `hoptrail demo` traces and the tests
// of the whole walk read: snapshots in the form hoptrail.snapshot/v1, each with
// what is expected of a trace in NAME.expect.json.
package testdata

import "embed"

// Worlds holds worlds/seed and worlds/faults: NAME.tar.gz and NAME.expect.json.
//
//go:embed worlds
var Worlds embed.FS
