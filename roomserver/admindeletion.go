package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"golang.org/x/sync/errgroup"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// An organisation's administrator may delete everything in its rooms, and everything that its users sent elsewhere. The administrator
// need not be in the room, so the redaction is sent by somebody whom the room's rules allow: the event's sender while joined, else a
// joined local member with the power; in rooms of another organisation, one of the administrator's own. What senders may delete of their own (deletion.go) does not bind the administrator.

// AdminDeletion is what an administrator deletes: Event; or else the messages of Room, of User, or of User in Room.
type AdminDeletion struct {
	OrganisationID int64
	By             matrix.UserID
	Room           matrix.RoomID
	User           matrix.UserID
	Event          matrix.EventID
	// Before leaves alone what was sent later, if it is not 0.
	Before matrix.Timestamp
	Reason string
}

// AdminDeleted is what became of it.
type AdminDeleted struct {
	Deleted int
	// More says that there is more to delete than a request takes.
	More bool
	// Refused is what can't be deleted.
	Refused []RefusedDeletion
}

// RefusedDeletion is events of a room that can't be deleted.
type RefusedDeletion struct {
	Room   matrix.RoomID
	Events int
	Reason string
}

// nobodyMay is why an event can't be deleted.
const nobodyMay = "neither the sender nor anybody else in the room may redact these events"

// deletableState is the state whose content an administrator may delete, asked for by its event id.
var deletableState = map[string]bool{spec.MRoomAvatar: true, spec.MRoomTopic: true, spec.MRoomName: true}

// adminDeletionPage is how many events are looked at at a time, adminDeletionBatch how many redacted.
const (
	adminDeletionPage  = 1000
	adminDeletionBatch = 100
	deletionParallel   = 8
)

// DeleteForAdmin redacts what an administrator wants deleted, a portion of it if that is a lot.
func (s *Server) DeleteForAdmin(ctx context.Context, d AdminDeletion) (AdminDeleted, error) {
	own := false
	if d.User != "" {
		var err error
		if own, err = s.belongs(ctx, d.User, d.OrganisationID); err != nil {
			return AdminDeleted{}, err
		}
	}
	if d.Event != "" {
		return s.deleteEvent(ctx, &d)
	}
	rooms, err := s.roomsToClear(ctx, &d, own)
	if err != nil {
		return AdminDeleted{}, err
	}
	run := &deletionRun{AdminDeletion: d, until: s.cfg.Clock.Now().Add(limits.AdminDeletionTime)}
	for _, room := range rooms {
		if run.done.More {
			break
		}
		if err := s.clear(ctx, room, run); err != nil {
			return AdminDeleted{}, err
		}
	}
	return run.done, nil
}

// belongs reports whether an account belongs to an organisation.
func (s *Server) belongs(ctx context.Context, user matrix.UserID, org int64) (bool, error) {
	account, err := s.cfg.Store.GetUser(ctx, user)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up %s: %w", user, err)
	}
	return account.OrganisationID == org, nil
}

// roomsToClear are the rooms that the deletion is about: those of the organisation, and for its own users all. What is another
// organisation's is as if it did not exist.
func (s *Server) roomsToClear(ctx context.Context, d *AdminDeletion, own bool) ([]Info, error) {
	if d.Room != "" {
		room, err := s.Room(ctx, d.Room)
		if err != nil {
			return nil, err
		}
		if room.OrganisationID != d.OrganisationID && !own {
			return nil, matrix.NotFound("room not found")
		}
		return []Info{room}, nil
	}
	org := d.OrganisationID
	if own {
		org = 0
	}
	rows, err := s.cfg.Store.ListRoomsOf(ctx, d.User, org)
	if err != nil {
		return nil, fmt.Errorf("list rooms of %s: %w", d.User, err)
	}
	if len(rows) == 0 && !own {
		return nil, matrix.NotFound("there is no such user")
	}
	rooms := make([]Info, len(rows))
	for i, row := range rows {
		if rooms[i], err = infoOf(row); err != nil {
			return nil, err
		}
	}
	return rooms, nil
}

// deleteEvent redacts one event.
func (s *Server) deleteEvent(ctx context.Context, d *AdminDeletion) (AdminDeleted, error) {
	noSuchEvent := matrix.NotFound("there is no such event")
	e, err := s.cfg.Store.GetEventByID(ctx, d.Event)
	if errors.Is(err, store.ErrNotFound) {
		return AdminDeleted{}, noSuchEvent
	}
	if err != nil {
		return AdminDeleted{}, fmt.Errorf("load event to delete: %w", err)
	}
	room, err := s.Room(ctx, e.RoomID)
	if err != nil {
		return AdminDeleted{}, err
	}
	mine := room.OrganisationID == d.OrganisationID
	if !mine {
		if mine, err = s.belongs(ctx, e.Sender, d.OrganisationID); err != nil {
			return AdminDeleted{}, err
		}
	}
	if !mine || d.Room != "" && d.Room != e.RoomID || d.User != "" && d.User != e.Sender || d.Before > 0 && e.OriginServerTS >= d.Before {
		return AdminDeleted{}, noSuchEvent
	}
	if e.StateKey != nil && !deletableState[e.Type] {
		return AdminDeleted{}, matrix.InvalidParam("event_id: %s is state of the room that can't be deleted", e.Type)
	}
	if e.RedactedBy != "" {
		return AdminDeleted{}, nil
	}
	run := &deletionRun{AdminDeletion: *d}
	if err := s.redactAll(ctx, room, run, []store.DeletableEvent{{Position: e.Position, EventID: e.EventID, Sender: e.Sender}}); err != nil {
		return AdminDeleted{}, err
	}
	return run.done, nil
}

// deletionRun is a deletion on its way.
type deletionRun struct {
	AdminDeletion
	until time.Time

	mu   sync.Mutex
	done AdminDeleted
}

// full says that the request has done its portion. One that has done nothing yet goes on, so that asking again always helps.
func (r *deletionRun) full(now time.Time) bool {
	return r.done.Deleted >= limits.AdminDeletions || r.done.Deleted > 0 && now.After(r.until)
}

func (r *deletionRun) refuse(room matrix.RoomID, n int, reason string) {
	for i := range r.done.Refused {
		if f := &r.done.Refused[i]; f.Room == room && f.Reason == reason {
			f.Events += n
			return
		}
	}
	r.done.Refused = append(r.done.Refused, RefusedDeletion{room, n, reason})
}

// clear redacts the messages of a room, or of one user in it, until the portion is done.
func (s *Server) clear(ctx context.Context, room Info, run *deletionRun) error {
	for after := int64(0); ; {
		events, err := s.cfg.Store.ListDeletableEvents(ctx, room.NID, run.User, run.Before, after, adminDeletionPage)
		if err != nil {
			return fmt.Errorf("list messages of %s: %w", room.ID, err)
		}
		for batch := range slices.Chunk(events, adminDeletionBatch) {
			if run.full(s.cfg.Clock.Now()) {
				run.done.More = true
				return nil
			}
			if err := s.redactAll(ctx, room, run, batch); err != nil {
				return err
			}
		}
		if len(events) < adminDeletionPage {
			return nil
		}
		after = events[len(events)-1].Position
	}
}

// redactAll redacts events of one room.
func (s *Server) redactAll(ctx context.Context, room Info, run *deletionRun, events []store.DeletableEvent) error {
	who, err := s.redactors(ctx, room, run, events)
	if err != nil {
		return err
	}
	able := slices.DeleteFunc(slices.Clone(events), func(e store.DeletableEvent) bool { return len(who(e.Sender)) == 0 })
	if n := len(events) - len(able); n > 0 {
		run.refuse(room.ID, n, nobodyMay)
	}
	if len(able) == 0 {
		return nil
	}
	var ids []matrix.EventID
	var positions []int64
	for _, e := range able {
		ids, positions = append(ids, e.EventID), append(positions, e.Position)
	}
	// The note comes first, so that whoever finds the redaction finds who wanted it.
	if err := s.cfg.Store.PutEventDeletions(ctx, ids, run.By, s.now()); err != nil {
		return fmt.Errorf("note deletions: %w", err)
	}
	full, err := s.cfg.Store.ListEventsAt(ctx, positions)
	if err != nil {
		return fmt.Errorf("load messages of %s: %w", room.ID, err)
	}
	var refused []matrix.EventID
	var g errgroup.Group
	g.SetLimit(deletionParallel)
	for i := range full {
		g.Go(func() error {
			err := s.redactAs(ctx, room, who(full[i].Sender), &target{Event: &full[i]}, run.Reason)
			run.mu.Lock()
			defer run.mu.Unlock()
			if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrForbidden {
				refused = append(refused, full[i].EventID)
				run.refuse(room.ID, 1, nobodyMay)
				return nil
			}
			if err == nil {
				run.done.Deleted++
			}
			return err
		})
	}
	err = g.Wait()
	if len(refused) > 0 {
		err = errors.Join(err, s.cfg.Store.DeleteEventDeletions(ctx, refused))
	}
	return err
}

// redactors returns who may redact events of a sender, in the order in which they are to be tried.
func (s *Server) redactors(
	ctx context.Context, room Info, run *deletionRun, events []store.DeletableEvent,
) (func(sender matrix.UserID) []matrix.UserID, error) {
	rules, err := s.Rules(ctx, room)
	if err != nil {
		return nil, err
	}
	owners, err := s.joinedLocals(ctx, room, rules, max(rules.Levels.Redact, rules.EventLevel(spec.MRoomRedaction, false)))
	if err != nil {
		return nil, err
	}
	if owners, err = s.entrusted(ctx, room, run, owners); err != nil {
		return nil, err
	}
	var senders []matrix.UserID
	for _, e := range events {
		if !slices.Contains(senders, e.Sender) && s.cfg.Keys.IsLocal(e.Sender.Domain()) {
			senders = append(senders, e.Sender)
		}
	}
	joined, err := s.cfg.Store.ListJoinedOf(ctx, room.NID, senders)
	if err != nil {
		return nil, fmt.Errorf("list members: %w", err)
	}
	return func(sender matrix.UserID) (who []matrix.UserID) {
		if slices.Contains(joined, sender) {
			who = append(who, sender)
		}
		if len(owners) > 0 {
			who = append(who, owners[0])
		}
		return who
	}, nil
}

// entrusted are those of a room's owners in whose name the administrator may act: the administrator if that is one, and in rooms of another
// organisation nobody but members of the administrator's own.
func (s *Server) entrusted(ctx context.Context, room Info, run *deletionRun, owners []matrix.UserID) ([]matrix.UserID, error) {
	if slices.Contains(owners, run.By) {
		return []matrix.UserID{run.By}, nil
	}
	if room.OrganisationID == run.OrganisationID || len(owners) == 0 {
		return owners, nil
	}
	accounts, err := s.cfg.Store.ListExistingUsers(ctx, owners)
	if err != nil {
		return nil, fmt.Errorf("look up members: %w", err)
	}
	var own []matrix.UserID
	for _, a := range accounts {
		if a.OrganisationID == run.OrganisationID {
			own = append(own, a.UserID)
		}
	}
	return own, nil
}

// redactAs redacts an event in the name of the first of the users whom the room's rules let do it.
func (s *Server) redactAs(ctx context.Context, room Info, users []matrix.UserID, t *target, reason string) error {
	content := []byte("{}")
	if reason != "" {
		text, err := json.Marshal(map[string]string{"reason": reason})
		if err != nil {
			return err
		}
		if content, err = strictjson.Canonical(text); err != nil {
			return err
		}
	}
	var err error
	for _, user := range users {
		d := draft{Type: spec.MRoomRedaction, Sender: user, Content: content, Redacts: t}
		_, err = s.append(ctx, room, nil, func(v *view) ([]draft, error) {
			rules, err := v.rules()
			if err != nil || rules == nil {
				return nil, err
			}
			if t.Sender != user && rules.UserLevel(user) < rules.Levels.Redact {
				return nil, matrix.Forbidden("redacting others' events needs power level %d", rules.Levels.Redact)
			}
			return []draft{d}, nil
		})
		if e, ok := matrix.AsError(err); !ok || e.Code != matrix.ErrForbidden {
			return err
		}
	}
	return err
}
