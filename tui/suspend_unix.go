//go:build unix

package tui

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// canSuspend says that the shell can have the terminal for a while.
const canSuspend = true

// suspend stops the process, and all of its group, as ctrl-z does outside of raw
// mode, and returns when it is continued, or when ctx ends where nobody stops it.
func suspend(ctx context.Context) {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	if syscall.Kill(0, syscall.SIGTSTP) != nil {
		return
	}
	select {
	case <-continued:
	case <-ctx.Done():
	case <-time.After(time.Second):
		// Nothing could continue it, and so the kernel does not stop it: the only
		// program of a window, the first of a container.
	}
}
