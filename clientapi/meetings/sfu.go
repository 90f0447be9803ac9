package meetings

import (
	"slices"

	"github.com/roomline/roomline/internal/sfu"
)

// Rights are what a participant may do.
type Rights = sfu.Rights

// keep takes the right to publish anything but these away.
func keep(r *Rights, sources ...sfu.Source) {
	r.Publish = slices.DeleteFunc(r.Publish, func(s sfu.Source) bool { return !slices.Contains(sources, s) })
}
