package tui

import (
	"io"
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
			p := tea.NewProgram(g, tea.WithoutSignalHandler(), tea.WithInput(keys), tea.WithOutput(io.Discard), tea.WithWindowSize(80, 24))
			g.quit = p.Quit
			if _, err := p.Run(); err != nil {
				t.Errorf("Bubble Tea saw the panic: %v", err)
			}
			if err := g.crashed(); err == nil || !strings.HasPrefix(err.Error(), "internal error: broke in "+in+"\n") || !strings.Contains(err.Error(), "guard_test.go") {
				t.Errorf("told: %v", err)
			}
		})
	}
}
