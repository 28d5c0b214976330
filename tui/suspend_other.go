//go:build !unix

package tui

import "context"

// canSuspend says that the shell can have the terminal for a while.
const canSuspend = false

func suspend(context.Context) {}
