package main

import "testing"

func TestCollectorGetsLessRoomAsTheHeapGrows(t *testing.T) {
	for live, want := range map[uint64]int{0: 500, 10 << 20: 500, 24 << 20: 300, 72 << 20: 100, 4 << 30: 100} {
		if got := percentFor(live); got != want {
			t.Errorf("GOGC for %d MiB in use: %d, want %d", live>>20, got, want)
		}
	}
}
