package view

import (
	"context"
	"fmt"
	"strconv"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// Viewer is for whom the children of events are aggregated.
type Viewer struct {
	User matrix.UserID
	// Ignored returns whom the viewer ignores. It is asked only when there is something to aggregate.
	Ignored func(ctx context.Context) ([]matrix.UserID, error)
	// Sight is what the viewer may see of a room; nil, or a nil Sight, is everything.
	Sight func(room int64) store.Sight
	// Childless reports whether it is known, without a query, that no event relates to e. May be nil.
	Childless func(e *store.Event) bool
}

// children is what is known of an event's children.
type children struct {
	store.Aggregation
	edit, latest, latestEdit *store.Event
}

// Aggregate adds to r what other events say of the given ones: the latest edit, the thread, references. State events get none, and
// redacted events no edits. It makes no query when it is known that the events have no children, one when they turn out to have
// none, and two otherwise.
//
// Spec: client-server v1.19 §aggregations-of-child-events
func (r *Related) Aggregate(ctx context.Context, st *store.Store, v Viewer, events ...*store.Event) error {
	var parents []store.Parent
	var of []*store.Event
	for _, e := range events {
		if e.StateKey == nil && e.Type != "m.room.redaction" && !e.Childless && (v.Childless == nil || !v.Childless(e)) {
			parents, of = append(parents, parent(e, &v)), append(of, e)
		}
	}
	if len(parents) == 0 {
		return nil
	}
	ignored, err := v.ignored(ctx)
	if err != nil {
		return err
	}
	list, err := st.ListAggregations(ctx, parents, v.User, ignored, limits.BundledReferences)
	if err != nil {
		return fmt.Errorf("aggregate relations: %w", err)
	}
	return r.loadChildren(ctx, st, list, of)
}

func (v *Viewer) ignored(ctx context.Context) ([]matrix.UserID, error) {
	if v.Ignored == nil {
		return nil, nil
	}
	return v.Ignored(ctx)
}

// parent says what may be aggregated for an event: an edit can't be edited, and who relates to another event begins no thread.
func parent(e *store.Event, v *Viewer) store.Parent {
	relation, related := event.RelationOf(e.Type, e.StateKey, event.Content(e.JSON))
	p := store.Parent{
		RoomNID: e.RoomNID, EventID: e.EventID, Sender: e.Sender, Type: e.Type,
		Edits: e.RedactedBy == "" && relation.Type != event.RelReplace, Thread: !related,
	}
	if v.Sight == nil {
		return p
	}
	// Children come after their parent: who sees all that came since is as good as somebody who sees everything.
	p.Sight = v.Sight(e.RoomNID)
	if n := len(p.Sight); n > 0 && p.Sight[n-1].First <= e.Position && p.Sight[n-1].Last == store.CurrentState {
		p.Sight = nil
	}
	return p
}

// loadChildren reads the events that the aggregations show.
func (r *Related) loadChildren(ctx context.Context, st *store.Store, list []store.Aggregation, of []*store.Event) error {
	var positions []int64
	for _, a := range list {
		for _, p := range [...]int64{a.Edit, a.Latest, a.LatestEdit} {
			if p != 0 {
				positions = append(positions, p)
			}
		}
	}
	byPosition := make(map[int64]*store.Event, len(positions))
	if len(positions) > 0 {
		events, err := st.ListEventsAt(ctx, positions)
		if err != nil {
			return fmt.Errorf("load related events: %w", err)
		}
		for i := range events {
			// One that was redacted a moment ago relates to nothing any more.
			if events[i].RedactedBy == "" {
				byPosition[events[i].Position] = &events[i]
			}
		}
	}
	if r.children == nil {
		r.children = make(map[matrix.EventID]*children, len(list))
	}
	for _, a := range list {
		r.children[of[a.Index].EventID] = &children{
			Aggregation: a, edit: byPosition[a.Edit], latest: byPosition[a.Latest], latestEdit: byPosition[a.LatestEdit],
		}
	}
	return nil
}

// appendRelations appends the aggregation of an event's children, or nothing when there are none that are aggregated.
// m.annotation is not.
func (c *children) appendRelations(dst []byte, opts Options) []byte {
	// What is told of the event is not told of its children.
	opts = Options{IncludeRoomID: opts.IncludeRoomID, Now: opts.Now, Viewer: opts.Viewer}
	start := len(dst)
	dst = appendDirect(dst, c.edit, c.References, opts)
	if c.latest != nil {
		latest := opts
		latest.Relations = closeObject(appendDirect(nil, c.latestEdit, c.LatestReferences, opts))
		dst = append(dst, `,"m.thread":{"count":`...)
		dst = strconv.AppendInt(dst, max(c.Replies, 1), 10)
		dst = append(dst, `,"current_user_participated":`...)
		dst = strconv.AppendBool(dst, c.Participated)
		dst = append(dst, `,"latest_event":`...)
		dst = append(Render(dst, c.latest, latest), '}')
	}
	return append(dst[:start], closeObject(dst[start:])...)
}

// appendDirect appends what has no children of its own: the latest edit and the references. Each begins with a comma.
func appendDirect(dst []byte, edit *store.Event, references []matrix.EventID, opts Options) []byte {
	if len(references) > 0 {
		dst = append(dst, `,"m.reference":{"chunk":[`...)
		for i, id := range references {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendText(append(dst, `{"event_id":`...), string(id)), '}')
		}
		dst = append(dst, `]}`...)
	}
	if edit != nil {
		dst = Render(append(dst, `,"m.replace":`...), edit, opts)
	}
	return dst
}

// closeObject makes an object of members that each begin with a comma, or nothing of nothing.
func closeObject(members []byte) []byte {
	if len(members) == 0 {
		return nil
	}
	members[0] = '{'
	return append(members, '}')
}
