// Package tui shows a trace in the terminal while it grows.
package tui
