package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
	"github.com/hoptrail/hoptrail/tui"
)

func lineOf(pod, line string) tui.FollowLine {
	return tui.FollowLine{Proxy: pod, Line: trace.LogLine{Raw: line}}
}

func TestALogThatCannotBeReadLeavesTheOthersAlone(t *testing.T) {
	failed := make(chan struct{})
	var got []string
	err := new(tails).follow(t.Context(), []string{"ns/a", "ns/b"}, func(l tui.FollowLine) {
		switch {
		case !l.Ended:
			got = append(got, l.Proxy+" "+l.Line.Raw)
		case l.Err != nil:
			got = append(got, l.Proxy+" failed: "+l.Err.Error())
			close(failed)
		default:
			got = append(got, l.Proxy+" ended")
		}
		if l.Ended && l.Line.At == "" {
			t.Error("the end of a log has no time")
		}
	}, func(pod string, line func([]byte)) error {
		if pod == "ns/a" {
			return errors.New("forbidden")
		}
		<-failed
		line([]byte("later"))
		return nil
	}, lineOf)
	if err != nil {
		t.Errorf("one log of two failed, and following with %v", err)
	}
	if s := strings.Join(got, ", "); s != "ns/a failed: forbidden, ns/b later, ns/b ended" {
		t.Errorf("told: %s", s)
	}
}

func TestFollowingFailsWhereNoLogCanBeRead(t *testing.T) {
	err := new(tails).follow(t.Context(), []string{"ns/a", "ns/b"}, func(tui.FollowLine) {}, func(string, func([]byte)) error { return errors.New("forbidden") }, lineOf)
	if err == nil || err.Error() != "forbidden" {
		t.Errorf("got %v", err)
	}
}

func TestALaterReportAddsPodsAndReadsNoneTwice(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var all tails
	var mu sync.Mutex
	var opened []string
	open := make(chan string, 8)
	read := func(pod string, _ func([]byte)) error {
		mu.Lock()
		opened = append(opened, pod)
		mu.Unlock()
		open <- pod
		<-ctx.Done()
		return ctx.Err()
	}
	sink := func(l tui.FollowLine) { t.Errorf("told %v", l) }
	var wg sync.WaitGroup
	wg.Go(func() { _ = all.follow(ctx, []string{"ns/a"}, sink, read, lineOf) })
	<-open
	wg.Go(func() { _ = all.follow(ctx, []string{"ns/a", "ns/b"}, sink, read, lineOf) })
	<-open
	if err := all.follow(ctx, []string{"ns/a", "ns/b"}, sink, read, lineOf); err != nil {
		t.Errorf("all were read already, and following says %v", err)
	}
	// Another following takes over what the ended one may still hold.
	stop()
	again, end := context.WithCancel(t.Context())
	wg.Go(func() {
		_ = all.follow(again, []string{"ns/a"}, sink, func(pod string, _ func([]byte)) error {
			open <- pod
			<-again.Done()
			return again.Err()
		}, lineOf)
	})
	<-open
	end()
	wg.Wait()
	slices.Sort(opened)
	if s := strings.Join(opened, " "); s != "ns/a ns/b" {
		t.Errorf("opened: %s", s)
	}
	if len(all.by) != 0 {
		t.Errorf("left behind: %v", all.by)
	}
}

func TestOnlyPodsWithAProxyAreFollowed(t *testing.T) {
	r := &trace.Report{Hops: []trace.Hop{
		{Kind: trace.KindPod, Detail: trace.Detail{Pod: "ns/gw", Role: "gateway"}},
		{Kind: trace.KindListener, Detail: trace.Detail{Pod: "ns/gw"}},
		{Kind: trace.KindPod, Detail: trace.Detail{Pod: "ns/app", Role: "plain"}},
		{Kind: trace.KindPod, Detail: trace.Detail{Pod: "ns/side", Role: "sidecar"}},
		{Kind: trace.KindPod, Detail: trace.Detail{Pod: "ns/side", Role: "sidecar"}},
	}}
	if got := strings.Join(proxiesOf(r), " "); got != "ns/gw ns/side" {
		t.Errorf("got %s", got)
	}
}
