package view

import (
	"context"
	"fmt"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// Related is what a page of events says of other events: the state that was replaced, why something was redacted, and, after
// Aggregate, what later events said of them.
type Related struct {
	previous   map[int64]*store.PreviousState
	redactions map[matrix.EventID]*store.Event
	children   map[matrix.EventID]*children
}

// Load reads what the events refer to, whichever rooms they belong to: one query when there are state events among them, one
// when there are redacted ones.
func Load(ctx context.Context, st *store.Store, events ...*store.Event) (Related, error) {
	r, err := LoadRedactions(ctx, st, events...)
	if err != nil {
		return r, err
	}
	var rooms, positions []int64
	for _, e := range events {
		if e.StateKey != nil && e.Type != "m.room.create" {
			rooms, positions = append(rooms, e.RoomNID), append(positions, e.Position)
		}
	}
	if len(positions) == 0 {
		return r, nil
	}
	list, err := st.ListPreviousStates(ctx, rooms, positions)
	if err != nil {
		return r, fmt.Errorf("load replaced state: %w", err)
	}
	r.previous = make(map[int64]*store.PreviousState, len(list))
	for i := range list {
		r.previous[list[i].ReplacedAt] = &list[i]
	}
	return r, nil
}

// LoadRedactions is Load without the state that was replaced.
func LoadRedactions(ctx context.Context, st *store.Store, events ...*store.Event) (Related, error) {
	var r Related
	var ids []matrix.EventID
	for _, e := range events {
		if e.RedactedBy != "" {
			ids = append(ids, e.RedactedBy)
		}
	}
	if len(ids) == 0 {
		return r, nil
	}
	list, err := st.ListRedactions(ctx, ids)
	if err != nil {
		return r, fmt.Errorf("load redactions: %w", err)
	}
	r.redactions = make(map[matrix.EventID]*store.Event, len(list))
	for i := range list {
		r.redactions[list[i].EventID] = &list[i]
	}
	return r, nil
}

// Add puts what e refers to into the options that it is rendered with. canSee says whether the viewer may see the event at a
// position; nil means all of them.
//
// The content of replaced state is left out when the viewer may not see it, its id is not. Of a redaction that the viewer may
// not see, the fact and what it removed are told, its reason is not: without the fact a client would show an empty message.
func (r Related) Add(opts *Options, e *store.Event, canSee func(position int64) bool) {
	opts.PrevContent, opts.ReplacesState, opts.RedactedBecause, opts.Relations = nil, "", nil, nil
	if c := r.children[e.EventID]; c != nil && !opts.Federation {
		opts.Relations = c.appendRelations(nil, *opts)
	}
	if p := r.previous[e.Position]; p != nil {
		opts.ReplacesState = p.EventID
		if canSee == nil || canSee(p.EventPosition) {
			opts.PrevContent = event.Content(p.JSON)
		}
	}
	redaction := r.redactions[e.RedactedBy]
	if e.RedactedBy == "" || redaction == nil {
		return
	}
	shown := *redaction
	if canSee != nil && !canSee(redaction.Position) {
		shown.JSON = append(append([]byte(`{"redacts":`), appendText(nil, string(e.EventID))...), '}')
		shown.TxnID = ""
	}
	opts.RedactedBecause = Render(nil, &shown, Options{
		IncludeRoomID: opts.IncludeRoomID, Now: opts.Now, Viewer: opts.Viewer, Device: opts.Device,
	})
}
