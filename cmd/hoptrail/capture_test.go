package main

import (
	"slices"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

func TestWhatACaptureDidNotReadIsSaidOnceForEachReason(t *testing.T) {
	miss := func(name, file, why string) *trace.NotReadError {
		return &trace.NotReadError{Query: trace.Query{Area: trace.AreaNode, Name: name, File: file}, Why: why}
	}
	got := notReadLines([]*trace.NotReadError{
		miss("n2", "ipset-save.txt", "no such Pod"), miss("n1", "iptables-save.txt", "forbidden: pods/exec"), miss("n1", "conntrack.txt", "forbidden: pods/exec"),
		miss("n1", "conntrack.txt", "forbidden: pods/exec"),
	})
	want := []string{"nodes/n1/conntrack.txt, nodes/n1/iptables-save.txt: forbidden: pods/exec", "nodes/n2/ipset-save.txt: no such Pod"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := notReadLines(nil); len(got) != 0 {
		t.Errorf("nothing is missing, and %q is said", got)
	}
}
