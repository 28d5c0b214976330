package main

import (
	"encoding/json"
	"io"
	"os"
	"testing"
)

// TestDemoNotes compares what the list of demo worlds says of each with what the
// world's own snapshot.json does; -update writes it anew.
func TestDemoNotes(t *testing.T) {
	const name = "../../testdata/worlds/notes.json"
	worlds, err := demoWorlds()
	if err != nil {
		t.Fatal(err)
	}
	notes := map[string]string{}
	for _, w := range worlds {
		src, err := openDemo(w)
		if err != nil {
			t.Fatal(err)
		}
		if src.notes == "" {
			t.Errorf("%s says nothing of itself", w.name)
		}
		notes[w.name] = src.notes
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
	data, err := json.MarshalIndent(notes, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := string(data) + "\n"
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != want {
		t.Errorf("%s is not up to date (%v): make golden", name, err)
	}
}

func BenchmarkListOfDemoWorlds(b *testing.B) {
	for b.Loop() {
		worlds, err := demoWorlds()
		if err != nil {
			b.Fatal(err)
		}
		if err := listDemos(io.Discard, worlds); err != nil {
			b.Fatal(err)
		}
	}
}
