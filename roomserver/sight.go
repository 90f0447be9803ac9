package roomserver

import (
	"math"
	"slices"

	"github.com/roomline/roomline/internal/store"
)

// Range is positions from First to Last, both included.
type Range struct {
	First, Last int64
}

// Ranges returns the positions whose events may be seen, in ascending order: a position is in one of them exactly if CanSee says
// so. Last of the last one is store.CurrentState when what comes next may be seen too.
func (v *Visibility) Ranges() []Range {
	// What may be seen changes only where one of the two state keys does.
	changes := []int64{0}
	for _, s := range slices.Concat(v.history, v.members) {
		changes = append(changes, s.since)
		if s.until != math.MaxInt64 {
			changes = append(changes, s.until)
		}
	}
	slices.Sort(changes)
	changes = append(slices.Compact(changes), store.CurrentState)
	var ranges []Range
	for i, from := range changes[:len(changes)-1] {
		if !v.allowed(from) {
			continue
		}
		// The event that ends the stretch is seen as well: before it the state allowed it.
		to := changes[i+1]
		if n := len(ranges); n > 0 && ranges[n-1].Last >= from {
			ranges[n-1].Last = to
		} else {
			ranges = append(ranges, Range{from, to})
		}
	}
	return ranges
}

// CanSeeState reports whether the user may know the room's state as it was after position.
func (v *Visibility) CanSeeState(position int64) bool { return v.allowed(position) }

// Sight is Ranges as the store takes them. It is never nil: who sees nothing has an empty one.
func (v *Visibility) Sight() store.Sight {
	ranges := v.Ranges()
	sight := make(store.Sight, len(ranges))
	for i, r := range ranges {
		sight[i] = store.Span{First: r.First, Last: r.Last}
	}
	return sight
}
