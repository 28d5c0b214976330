// Package report is described in ARCHITECTURE.md.
package report
