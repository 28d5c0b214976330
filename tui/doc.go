// Package tui shows a trace in the terminal while it grows, and lets a person
// ask the question again without leaving: another endpoint, another header,
// another vantage, every few seconds.
//
// It knows the report of package trace and how a terminal behaves: widths in
// cells, sixteen colours, clipboards behind tmux and ssh. It must not know a
// cluster, a snapshot or the command line: everything it can do to the world is
// a function of its [Session], and every one of them runs off the goroutine
// that draws.
//
//	Session.Trace ──events──▶ Update ──▶ model ──layout──▶ canvas ──▶ View
//	                            ▲                            ▲
//	                 one key table (keys.go)        one sanitiser, one masker
//
// What a cell may hold is decided in one place, the canvas: text is cut and
// padded by cells there, so a line can never be wider than the screen, and bytes
// of a cluster reach it only through internal/sanitize.
package tui
