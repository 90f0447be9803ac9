package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestCollectorGetsLessRoomAsTheHeapGrows(t *testing.T) {
	for live, want := range map[uint64]int{0: 500, 10 << 20: 500, 24 << 20: 300, 72 << 20: 100, 4 << 30: 100} {
		if got := percentFor(live); got != want {
			t.Errorf("GOGC for %d MiB in use: %d, want %d", live>>20, got, want)
		}
	}
}

func TestMemoryIsGivenBackOnceAfterABusyTime(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		name        string
		live        uint64
		allocations []uint64 // of each second
		want        []bool
	}{
		{"busy, then calm", 10 * mb, []uint64{50 * mb, 30 * mb, mb / 2, 0, mb / 2}, []bool{false, false, true, false, false}},
		{"little was allocated", 10 * mb, []uint64{10 * mb, 0, 0}, []bool{false, false, false}},
		{"it gathers", 10 * mb, []uint64{9 * mb, 0, 9 * mb, 0, 0}, []bool{false, false, false, true, false}},
		{"little beside what is in use", 1000 * mb, []uint64{300 * mb, 0, 300 * mb, 0}, []bool{false, false, false, true}},
	} {
		var p pace
		var total uint64
		for i, n := range c.allocations {
			total += n
			if got := p.giveBack(c.live, total); got != c.want[i] {
				t.Errorf("%s: after second %d memory is given back: %v, want %v", c.name, i+1, got, c.want[i])
			}
		}
	}
}

func TestTuneCollectorGivesBackWhatABusyTimeLeaves(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	// While so much is in use the collector by itself leaves the garbage below alone.
	ballast := make([]byte, 64<<20)
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); tuneCollector(ctx) }()
	defer func() { cancel(); <-ended }()
	for range 64 {
		garbage = make([]byte, 1<<20)
	}
	garbage = nil

	deadline := time.Now().Add(time.Minute)
	for now.HeapReleased < before.HeapReleased+32<<20 {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes were given back before, and %d after a minute", before.HeapReleased, now.HeapReleased)
		}
		time.Sleep(100 * time.Millisecond)
		runtime.ReadMemStats(&now)
	}
	if now.NumForcedGC == before.NumForcedGC {
		t.Error("the system got memory back, but nobody asked for it")
	}
	runtime.KeepAlive(ballast)
}

// garbage keeps the compiler from leaving allocations out.
var garbage []byte
