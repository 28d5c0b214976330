package tui

import (
	"errors"
	"io"
	"testing"

	xterm "github.com/charmbracelet/x/term"
)

// A keyboard that is stopped ends the read under way, and what is typed next is
// for who reads next.
func TestAStoppedKeyboardTakesNoKey(t *testing.T) {
	master, slave := openPTY(t, 80, 24)
	if _, err := xterm.MakeRaw(slave.Fd()); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		k, in := newKeyboard(slave)
		if k == nil {
			t.Fatal("a terminal is no keyboard")
		}
		read := make(chan string)
		go func() {
			buf := make([]byte, 16)
			n, err := in.Read(buf)
			read <- string(buf[:n])
			if err != nil {
				t.Error(err)
			}
			n, err = in.Read(buf)
			if !errors.Is(err, io.EOF) {
				t.Errorf("read %q, %v", buf[:n], err)
			}
			read <- "end"
		}()
		if _, err := master.WriteString("a"); err != nil {
			t.Fatal(err)
		}
		if got := <-read; got != "a" {
			t.Fatalf("read %q", got)
		}
		k.stop()
		k.stop()
		if _, err := master.WriteString("b"); err != nil {
			t.Fatal(err)
		}
		if got := <-read; got != "end" {
			t.Fatalf("read %q", got)
		}
		buf := make([]byte, 16)
		if n, err := slave.Read(buf); err != nil || string(buf[:n]) != "b" {
			t.Fatalf("the next one reads %q, %v", buf[:n], err)
		}
	}
}

func TestAKeyboardWithoutItsTerminalFails(t *testing.T) {
	master, slave := openPTY(t, 80, 24)
	if _, err := xterm.MakeRaw(slave.Fd()); err != nil {
		t.Fatal(err)
	}
	k, in := newKeyboard(slave)
	defer k.stop()
	if err := master.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Read(make([]byte, 16)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("reading ended with %v", err)
	}
}

func TestWhatIsNoTerminalIsReadAsItIs(t *testing.T) {
	in, typed := io.Pipe()
	defer typed.Close()
	if k, got := newKeyboard(in); k != nil || got != io.Reader(in) {
		t.Errorf("%v, %v", k, got)
	}
}
