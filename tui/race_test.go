//go:build race

package tui

// raceEnabled says that the tests look for data races.
const raceEnabled = true
