package search

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/view"
)

// result is a match with its event, and what stands around it.
type result struct {
	store.SearchMatch
	event, edit   *store.Event
	before, after []*store.Event
}

// load reads the events that were found. What was redacted since it was indexed is left out, and so is what was found by the text of an
// edit that was.
func (a *answer) load(ctx context.Context) error {
	var positions []int64
	for _, m := range a.matches {
		positions = append(positions, m.Position)
		if m.Edit != 0 {
			positions = append(positions, m.Edit)
		}
	}
	if len(positions) == 0 {
		return nil
	}
	events, err := a.s.cfg.Store.ListEventsAt(ctx, positions)
	if err != nil {
		return fmt.Errorf("load what was found: %w", err)
	}
	byPosition := make(map[int64]*store.Event, len(events))
	for i := range events {
		byPosition[events[i].Position] = &events[i]
	}
	for _, m := range a.matches {
		r := &result{SearchMatch: m, event: byPosition[m.Position], edit: byPosition[m.Edit]}
		if r.event != nil && r.event.RedactedBy == "" && (r.edit == nil || r.edit.RedactedBy == "") {
			a.results = append(a.results, r)
		}
	}
	return nil
}

// loadContexts reads what stands around the results, as far as it may be seen, and what others say of all of it.
func (a *answer) loadContexts(ctx context.Context) error {
	if len(a.results) == 0 {
		return nil
	}
	shown := make([]*store.Event, 0, len(a.results))
	var rooms, positions []int64
	for _, r := range a.results {
		shown = append(shown, r.event)
		rooms, positions = append(rooms, r.event.RoomNID), append(positions, r.Position)
	}
	if a.req.Context != nil && a.before+a.after > 0 {
		around, err := a.s.cfg.Store.ListContexts(ctx, rooms, positions, a.before, a.after)
		if err != nil {
			return fmt.Errorf("load contexts: %w", err)
		}
		for i := range around {
			r, e := a.results[around[i].Index], &around[i].Event
			if !a.visible[e.RoomNID].CanSee(e.Position) || e.StateKey == nil && slices.Contains(a.ignored, e.Sender) {
				continue
			}
			shown = append(shown, e)
			if e.Position < r.Position {
				r.before = append(r.before, e)
			} else {
				r.after = append(r.after, e)
			}
		}
	}
	var err error
	if a.related, err = view.Load(ctx, a.s.cfg.Store, shown...); err != nil {
		return err
	}
	err = a.related.Aggregate(ctx, a.s.cfg.Store, view.Viewer{
		User:    a.who.User,
		Ignored: func(context.Context) ([]matrix.UserID, error) { return a.ignored, nil },
		Sight:   func(room int64) store.Sight { return a.visible[room].Sight() },
	}, shown...)
	if err != nil || a.req.Context == nil || !a.req.Context.IncludeProfile {
		return err
	}
	return a.loadProfiles(ctx)
}

// profileKey is a user as of an event; profile what the user's membership said then.
type profileKey struct {
	result int64 // position
	user   matrix.UserID
}

type profile struct {
	DisplayName string `json:"displayname,omitempty"`
	AvatarURL   string `json:"avatar_url,omitempty"`
}

// loadProfiles reads the member events of those who sent the results and what stands around them, as they were at each result.
func (a *answer) loadProfiles(ctx context.Context) error {
	var wanted []store.KeyAt
	for _, r := range a.results {
		seen := make(map[matrix.UserID]bool)
		for _, e := range slices.Concat(r.before, []*store.Event{r.event}, r.after) {
			if !seen[e.Sender] {
				seen[e.Sender] = true
				wanted = append(wanted, store.KeyAt{RoomNID: e.RoomNID, Type: "m.room.member", Key: string(e.Sender), At: r.Position})
			}
		}
	}
	found, err := a.s.cfg.Store.ListProfilesAt(ctx, wanted)
	if err != nil {
		return fmt.Errorf("load profiles: %w", err)
	}
	a.profiles = make(map[profileKey]profile, len(found))
	for _, p := range found {
		a.profiles[profileKey{p.At, p.User}] = profile{p.DisplayName, p.AvatarURL}
	}
	return nil
}

// loadState reads the present state of the results' rooms, of a room that the user has left that of then.
//
// Differs: of the members those are told who sent something of what is told, because a room can have a hundred thousand. Clients that
// need the others ask for them.
func (a *answer) loadState(ctx context.Context) error {
	if !a.req.IncludeState || len(a.results) == 0 {
		return nil
	}
	senders := make(map[int64]map[matrix.UserID]bool)
	for _, r := range a.results {
		for _, e := range slices.Concat(r.before, []*store.Event{r.event}, r.after) {
			if senders[e.RoomNID] == nil {
				senders[e.RoomNID] = make(map[matrix.UserID]bool)
			}
			senders[e.RoomNID][e.Sender] = true
		}
	}
	var windows []store.StateWindow
	var members []store.KeyAt
	for _, nid := range slices.Sorted(maps.Keys(senders)) {
		upTo := store.CurrentState
		if stays := a.visible[nid].Stays(); len(stays) > 0 {
			upTo = min(upTo, stays[len(stays)-1].Until)
		}
		windows = append(windows, store.StateWindow{RoomNID: nid, Start: upTo, UpTo: upTo})
		for user := range senders[nid] {
			members = append(members, store.KeyAt{RoomNID: nid, Type: "m.room.member", Key: string(user), At: upTo})
		}
	}
	list, err := a.s.cfg.Store.ListStateWindows(ctx, windows, true, true)
	if err != nil {
		return fmt.Errorf("load state: %w", err)
	}
	of, err := a.s.cfg.Store.ListStateAt(ctx, members)
	if err != nil {
		return fmt.Errorf("load members: %w", err)
	}
	for i := range list {
		of = append(of, list[i].Event)
	}
	a.state = make(map[int64][]*store.Event)
	all := make([]*store.Event, len(of))
	for i := range of {
		all[i] = &of[i]
		a.state[of[i].RoomNID] = append(a.state[of[i].RoomNID], &of[i])
	}
	a.redactions, err = view.LoadRedactions(ctx, a.s.cfg.Store, all...)
	return err
}

// groups lists the results of each value of a group's key, in their order, with the place of the next page.
func (a *answer) groups(key string) (values []string, members map[string][]*result, next map[string]string) {
	members, next = make(map[string][]*result), make(map[string]string)
	for _, r := range a.results {
		value := string(r.event.Sender)
		if key == byRoom {
			value = string(r.event.RoomID)
		}
		if members[value] == nil {
			values = append(values, value)
		}
		members[value] = append(members[value], r)
	}
	if !a.more {
		return values, members, next
	}
	for _, value := range values {
		p := a.next(a.matches[len(a.matches)-1], a.s.cfg.Journal.Head())
		p.Seen, p.Count = 0, 0
		if key == byRoom {
			p.Room = matrix.RoomID(value)
		} else {
			p.Sender = matrix.UserID(value)
		}
		next[value] = p.token()
	}
	return values, members, next
}

// highlights are the words of the results that were searched for, as they are written there.
func (a *answer) highlights() []string {
	list := []string{}
	seen := make(map[string]bool)
	for _, r := range a.results {
		for _, w := range words(a.textOf(r), limits.SearchWords) {
			if len(list) < limits.SearchHighlights && !seen[w.written] && a.query.matches(w) {
				seen[w.written] = true
				list = append(list, w.written)
			}
		}
	}
	return list
}

// token is where /messages goes on from the edge of a context.
func token(list []*store.Event, otherwise int64, backwards bool) string {
	switch {
	case len(list) == 0:
		return journal.Token(otherwise)
	case backwards:
		return journal.Token(list[0].Position - 1)
	}
	return journal.Token(list[len(list)-1].Position)
}
