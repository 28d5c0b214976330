package tui

import (
	"fmt"
	"runtime/debug"
	"sync"

	tea "charm.land/bubbletea/v2"
)

// guard is a model that ends in good order when the one within panics. Bubble
// Tea recovers from a panic, too, but then closes what reads the keys while it
// is being read from: a data race, and keys that the shell never gets.
type guard struct {
	tea.Model
	quit func() // asks the program to end; does not return before it is asked

	mu  sync.Mutex
	err error // of the first panic
}

// crashedMsg says that a command panicked.
type crashedMsg struct{}

// crash is deferred: it keeps the panic, if there is one, and calls then.
func (g *guard) crash(then func()) {
	p := recover()
	if p == nil {
		return
	}
	g.mu.Lock()
	if g.err == nil {
		g.err = fmt.Errorf("internal error: %v\n%s", p, debug.Stack())
	}
	g.mu.Unlock()
	then()
}

// crashed returns the panic that ended the program, or nil.
func (g *guard) crashed() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

func (g *guard) Init() (cmd tea.Cmd) {
	defer g.crash(func() { cmd = tea.Quit })
	return g.command(g.Model.Init())
}

func (g *guard) Update(msg tea.Msg) (next tea.Model, cmd tea.Cmd) {
	defer g.crash(func() { next, cmd = g, tea.Quit })
	if _, ok := msg.(crashedMsg); ok || g.crashed() != nil {
		return g, tea.Quit
	}
	_, cmd = g.Model.Update(msg) // which is a pointer, and returns itself
	return g, g.command(cmd)
}

func (g *guard) View() (v tea.View) {
	defer g.crash(func() {
		v = tea.NewView("")
		// The loop that takes what is asked is waiting for this very view.
		go g.quit()
	})
	if g.crashed() != nil {
		return tea.NewView("")
	}
	return g.Model.View()
}

// command is cmd with its panics kept, and those of the commands it returns.
func (g *guard) command(cmd tea.Cmd) tea.Cmd {
	if cmd == nil {
		return nil
	}
	return func() (msg tea.Msg) {
		defer g.crash(func() { msg = crashedMsg{} })
		msg = cmd()
		if batch, ok := msg.(tea.BatchMsg); ok {
			for i := range batch {
				batch[i] = g.command(batch[i])
			}
		}
		return msg
	}
}
