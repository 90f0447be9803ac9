package sync

import (
	"context"
	"maps"
	"slices"

	"github.com/roomline/roomline/clientapi/filter"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/view"
)

// aggregate adds to related what later events say of those in the timelines. It does so where the client may have missed them: in
// timelines with a gap before them, or without anything before them. Elsewhere the client has seen the events come.
//
// Spec: client-server v1.19 §aggregations-of-child-events
func (b *build) aggregate(related *view.Related) error {
	if b.r.filter.EventFormat == filter.FormatFederation {
		return nil
	}
	var events []*store.Event
	sights := make(map[int64]store.Sight)
	for _, rm := range b.rooms {
		if !rm.limited && !rm.fresh {
			continue
		}
		events = append(events, rm.events...)
		if rm.visible != nil {
			sights[rm.nid] = rm.visible.Sight()
		}
	}
	return related.Aggregate(b.ctx, b.s.cfg.Store, view.Viewer{
		User:      b.e.id,
		Ignored:   func(context.Context) ([]matrix.UserID, error) { return slices.Collect(maps.Keys(b.ignored)), nil },
		Sight:     func(room int64) store.Sight { return sights[room] },
		Childless: b.s.cfg.Rooms.Childless,
	}, events...)
}
