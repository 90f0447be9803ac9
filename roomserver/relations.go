package roomserver

import (
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// relationOf is the relation that a draft's content names, or nil.
func relationOf(d *draft) *store.Relation {
	r, ok := event.RelationOf(d.Type, d.StateKey, d.Content)
	if !ok {
		return nil
	}
	return &store.Relation{Type: r.Type, RelatesTo: r.RelatesTo, Key: r.Key}
}
