//go:build !linux

package tui

import "io"

// keyboard is not needed where Bubble Tea reads keys without an epoll.
type keyboard struct{}

func newKeyboard(in io.Reader) (*keyboard, io.Reader) { return nil, in }

func (*keyboard) stop() {}
