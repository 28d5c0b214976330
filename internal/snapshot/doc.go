// Package snapshot is described in ARCHITECTURE.md.
package snapshot
