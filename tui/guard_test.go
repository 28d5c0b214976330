package tui

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

// breaking panics in one of its methods, or in a command.
type breaking struct{ in string }

func (b *breaking) Init() tea.Cmd {
	switch b.in {
	case "Init":
		panic("broke in Init")
	case "command":
		return func() tea.Msg { panic("broke in command") }
	case "batch":
		return tea.Batch(func() tea.Msg { return nil }, tea.Batch(func() tea.Msg { return nil }, func() tea.Msg { panic("broke in batch") }))
	}
	return func() tea.Msg { return "go" }
}

func (b *breaking) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if msg == "go" && b.in == "Update" {
		panic("broke in Update")
	}
	return b, nil
}

func (b *breaking) View() tea.View {
	if b.in == "View" {
		panic("broke in View")
	}
	return tea.NewView("fine")
}

// Whatever panics, the program ends as if the user had quit, which waits for who
// reads the keys, and the panic is told.
func TestAPanicEndsTheProgramInGoodOrder(t *testing.T) {
	for _, in := range []string{"Init", "Update", "View", "command", "batch"} {
		t.Run(in, func(t *testing.T) {
			keys, typed := io.Pipe()
			defer typed.Close()
			g := &guard{Model: &breaking{in: in}}
			stop := func(context.Context) { t.Error("it was suspended") }
			if err := g.run(t.Context(), keys, []tea.ProgramOption{tea.WithOutput(io.Discard), tea.WithWindowSize(80, 24)}, stop); err != nil {
				t.Errorf("Bubble Tea saw the panic: %v", err)
			}
			if err := g.crashed(); err == nil || !strings.HasPrefix(err.Error(), "internal error: broke in "+in+"\n") || !strings.Contains(err.Error(), "guard_test.go") {
				t.Errorf("told: %v", err)
			}
		})
	}
}

// counting counts what its commands return; by then the program has been
// suspended under them.
type counting struct {
	commands int
	resume   chan bool // closed when the shell has given the terminal back
	got      []int
	inits    int
}

func (c *counting) Init() tea.Cmd {
	c.inits++
	all := tea.BatchMsg{}
	waiting := make(chan bool, c.commands)
	for n := range c.commands {
		all = append(all, func() tea.Msg {
			waiting <- true
			<-c.resume
			return n
		})
	}
	return tea.Batch(func() tea.Msg { return all }, func() tea.Msg {
		for range c.commands {
			<-waiting
		}
		return tea.Suspend()
	})
}

func (c *counting) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if n, ok := msg.(int); ok {
		if c.got = append(c.got, n); len(c.got) == c.commands {
			return c, tea.Quit
		}
	}
	return c, nil
}

func (c *counting) View() tea.View { return tea.NewView("counting") }

// Whatever a command returns reaches the model once: before the program is
// suspended, meanwhile, or while the next one starts.
func TestNothingIsLostWhileSuspended(t *testing.T) {
	for range 50 {
		keys, typed := io.Pipe()
		c := &counting{commands: 20, resume: make(chan bool)}
		g := &guard{Model: c}
		stops := 0
		stop := func(context.Context) {
			stops++
			if stops == 1 {
				close(c.resume)
			}
		}
		if err := g.run(t.Context(), keys, []tea.ProgramOption{tea.WithOutput(io.Discard), tea.WithWindowSize(80, 24)}, stop); err != nil {
			t.Fatal(err)
		}
		slices.Sort(c.got)
		if len(c.got) != c.commands || len(slices.Compact(c.got)) != c.commands || c.inits != 1 || stops != 1 {
			t.Fatalf("the model was started %d times, the program stopped %d times, and %v came", c.inits, stops, c.got)
		}
		typed.Close()
	}
}

// A signal while the program is suspended ends it.
func TestTheEndOfTheContextEndsASuspendedProgram(t *testing.T) {
	keys, typed := io.Pipe()
	defer typed.Close()
	ctx, cancel := context.WithCancel(t.Context())
	g := &guard{Model: &counting{resume: make(chan bool)}}
	stop := func(ctx context.Context) { cancel(); <-ctx.Done() }
	if err := g.run(ctx, keys, []tea.ProgramOption{tea.WithOutput(io.Discard), tea.WithWindowSize(80, 24)}, stop); err != nil {
		t.Error(err)
	}
}
