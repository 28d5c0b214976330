package tui

import (
	"context"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"
	"sync"

	tea "charm.land/bubbletea/v2"
)

// guard is a model that ends in good order. Bubble Tea has three ways of its own
// to let go of the terminal, and each is a race of its goroutines:
//
//   - after a panic it closes what reads the keys while it is being read from, and
//     so it does half a second after quitting if the reader has not run by then;
//   - suspended, it lets another reader start where the old one may still wait for
//     the next key, and what draws may stop the clock that the next one starts;
//   - resumed, it writes the size of the screen from two goroutines.
//
// So a program always ends by quitting, and its reader (a [keyboard]) has ended
// before that. A panic quits, and is kept. Suspending quits, too, and another
// program goes on with the same model; what commands return is kept until a
// program has taken it.
type guard struct {
	tea.Model

	mu        sync.Mutex
	err       error // of the first panic
	program   *tea.Program
	keys      *keyboard // that the program reads from, nil for none
	begun     bool      // the model's own Init was called
	suspended bool      // the program ended to give the terminal back for a while
	kept      map[keptMsg]tea.Msg
	last      keptMsg
}

// keptMsg stands for what a command returned.
type keptMsg int

// crashedMsg says that a command panicked.
type crashedMsg struct{}

// run shows the model until the user quits, ctx ends or the program fails. While
// it is suspended, stop is called, which returns when it is to go on.
func (g *guard) run(ctx context.Context, in io.Reader, opts []tea.ProgramOption, stop func(context.Context)) error {
	for {
		keys, in := newKeyboard(in)
		program := tea.NewProgram(g, append(opts[:len(opts):len(opts)],
			tea.WithoutSignalHandler(), tea.WithInput(in), tea.WithFilter(g.filter))...)
		g.mu.Lock()
		g.program, g.keys, g.suspended = program, keys, false
		g.mu.Unlock()
		asked := context.AfterFunc(ctx, program.Quit)
		_, err := program.Run()
		asked()
		keys.stop() // if it did not end by quitting
		g.mu.Lock()
		suspended := g.suspended && g.err == nil
		g.mu.Unlock()
		if err != nil || !suspended || ctx.Err() != nil {
			return err
		}
		if stop(ctx); ctx.Err() != nil {
			return nil
		}
	}
}

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

// filter is called with every message before Bubble Tea heeds it.
func (g *guard) filter(_ tea.Model, msg tea.Msg) tea.Msg {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n, ok := msg.(keptMsg); ok {
		msg = g.kept[n] // nil if it was sent before and once more
		delete(g.kept, n)
	}
	switch m := msg.(type) {
	case tea.BatchMsg:
		batch := make(tea.BatchMsg, len(m))
		for i := range m {
			batch[i] = g.command(m[i])
		}
		return batch
	case crashedMsg:
		msg = tea.QuitMsg{}
	case tea.SuspendMsg:
		if !canSuspend {
			return nil
		}
		g.suspended = true
		msg = tea.QuitMsg{}
	}
	if _, ok := msg.(tea.QuitMsg); ok {
		g.keys.stop()
	}
	return msg
}

// Init starts the model, or goes on with what came while no program ran.
func (g *guard) Init() (cmd tea.Cmd) {
	defer g.crash(func() { cmd = tea.Quit })
	g.mu.Lock()
	begun, program, kept := g.begun, g.program, slices.Sorted(maps.Keys(g.kept))
	g.begun = true
	g.mu.Unlock()
	if !begun {
		return g.command(g.Model.Init())
	}
	return func() tea.Msg {
		for _, n := range kept {
			program.Send(n)
		}
		return nil
	}
}

func (g *guard) Update(msg tea.Msg) (next tea.Model, cmd tea.Cmd) {
	defer g.crash(func() { next, cmd = g, tea.Quit })
	if g.crashed() != nil {
		return g, tea.Quit
	}
	_, cmd = g.Model.Update(msg) // which is a pointer, and returns itself
	return g, g.command(cmd)
}

func (g *guard) View() (v tea.View) {
	defer g.crash(func() {
		v = tea.NewView("")
		// The loop that takes it is waiting for this very view.
		go g.give(crashedMsg{})
	})
	if g.crashed() != nil {
		return tea.NewView("")
	}
	return g.Model.View()
}

// command is cmd with what it returns, or that it panicked, given to the program
// that runs by then.
func (g *guard) command(cmd tea.Cmd) tea.Cmd {
	if cmd == nil {
		return nil
	}
	return func() tea.Msg {
		defer g.crash(func() { g.give(crashedMsg{}) })
		g.give(cmd())
		return nil
	}
}

// give sends msg to the program. If that ends before it takes it, the next one
// does.
func (g *guard) give(msg tea.Msg) {
	if msg == nil {
		return
	}
	g.mu.Lock()
	g.last++
	n := g.last
	if g.kept == nil {
		g.kept = map[keptMsg]tea.Msg{}
	}
	g.kept[n] = msg
	program := g.program
	g.mu.Unlock()
	program.Send(n)
}
