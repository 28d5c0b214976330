package main

import (
	"strings"
	"testing"
)

// TestWhatIsToldWhileAScreenIsShownIsSaidAfterwards: a line on standard error
// would be written across it.
func TestWhatIsToldWhileAScreenIsShownIsSaidAfterwards(t *testing.T) {
	var stderr strings.Builder
	told := &teller{w: &stderr}
	told.say("before")
	told.hold()
	told.say("created Pod a/b\x1b[2J")
	if got := stderr.String(); got != "hoptrail: before\n" {
		t.Errorf("while it is shown: %q", got)
	}
	told.release()
	told.say("after")
	got := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	if len(got) != 3 || !strings.HasPrefix(got[1], "hoptrail: created Pod a/b") || strings.Contains(got[1], "\x1b") || got[2] != "hoptrail: after" {
		t.Errorf("said was %q", got)
	}
}
