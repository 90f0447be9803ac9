package main

import "testing"

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
