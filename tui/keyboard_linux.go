package tui

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	xterm "github.com/charmbracelet/x/term"
	"golang.org/x/sys/unix"
)

// keyboard is the terminal that one program reads its keys from. It has no Name,
// unlike an [os.File]: what has one, Bubble Tea reads through an epoll that it
// closes by the clock, whether or not its reader is done with it.
type keyboard struct {
	xterm.File
	wait, end int // a pipe that is closed at its end to end a read

	stopping sync.Once
	reading  sync.Mutex
	done     bool // no more is read; while not reading
}

// errHangup is what reading from a terminal that is gone ends with: a program
// that nobody can end by a key, and that perhaps ignores the hangup, must not go
// on.
var errHangup = errors.New("the terminal hung up")

// newKeyboard is a reader of in for one program. Without a terminal there is no
// keyboard, and in itself is to be read from.
func newKeyboard(in io.Reader) (*keyboard, io.Reader) {
	f, ok := in.(*os.File)
	if !ok || !xterm.IsTerminal(f.Fd()) {
		return nil, in
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, in
	}
	k := &keyboard{File: f, wait: pipe[0], end: pipe[1]}
	return k, k
}

// Read waits for keys. After stop there are none.
func (k *keyboard) Read(p []byte) (int, error) {
	k.reading.Lock()
	defer k.reading.Unlock()
	if k.done {
		return 0, io.EOF
	}
	fds := []unix.PollFd{{Fd: int32(k.wait), Events: unix.POLLIN}, {Fd: int32(k.File.Fd()), Events: unix.POLLIN}}
	for {
		switch _, err := unix.Poll(fds, -1); {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("poll: %w", err)
		case fds[0].Revents != 0:
			return 0, io.EOF
		}
		n, err := k.File.Read(p)
		if errors.Is(err, io.EOF) {
			err = errHangup
		}
		return n, err
	}
}

// stop ends the read under way and lets none begin: the keys that are typed from
// now on are whose the terminal is next.
func (k *keyboard) stop() {
	if k == nil {
		return
	}
	k.stopping.Do(func() {
		_ = unix.Close(k.end)
		ended := make(chan struct{})
		go func() {
			k.reading.Lock()
			defer k.reading.Unlock()
			k.done = true
			_ = unix.Close(k.wait)
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(time.Second): // somebody else took the key that it was told of
		}
	})
}
