package store

import (
	"fmt"
	"strings"
	"testing"
)

// TestStretchNamesCoverWhatIsAskedFor looks whether each position of a stretch has one of the lexemes, and no position outside.
func TestStretchNamesCoverWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, length := range []int64{1, 1 << 13, 1<<14 + 1, 1 << 16, 1 << 17, 1<<19 + 5, 1 << 21, 1 << 25} {
		for _, before := range []int64{length, 1<<26 + 1, 1 << 26, 1<<26 - 1, 1<<26 + 123_456} {
			names, lowest := stretchNames(before-length, before)
			list := strings.Split(names, " | ")
			has := func(position int64) bool {
				for _, s := range stretches {
					for _, name := range list {
						if name == fmt.Sprintf("'%s/%d'", s.letter, position>>s.bits) {
							return true
						}
					}
				}
				return false
			}
			if lowest > before-length || !has(lowest) || !has(before-1) || !has(before-length/2-1) || lowest > 0 && has(lowest-1) {
				t.Errorf("%d before %d: %s from %d", length, before, names, lowest)
			}
			if len(list) > fewStretches && !strings.HasPrefix(names, "'"+stretches[len(stretches)-1].letter) {
				t.Errorf("%d before %d: %d names: %s", length, before, len(list), names)
			}
		}
	}
}
