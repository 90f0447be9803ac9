package meetings

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
	"github.com/roomline/roomline/roomserver"
)

// Who is in a call is what the SFU says. A membership whose media is gone, or never came, is ended in the user's name. Webhooks say it first; what
// they did not say, the sweep finds out by asking. Both, and what else has its time, is the business of one process at a time: the one that
// follows the journal. It asks the database one question every pulseEvery while there are no calls.

const (
	pulseEvery = 500 * time.Millisecond
	sweepEvery = 3 * time.Second
	// dueAtOnce bounds the memberships that are ended between two pulses.
	dueAtOnce = 200
	// dueParallel are ended at the same time.
	dueParallel = 8
)

// watcher is the process that watches over calls.
type watcher struct {
	*Server
	wake chan struct{}

	// The rest is the sweep's alone. absent are stays that the SFU did not list last time. anew is since when rooms are others than before, because
	// the SFU began anew.
	absent map[store.RTCStay]bool
	anew   map[string]time.Time

	mu sync.Mutex
	// away says that the SFU did not answer the last time: who is there is not known.
	away bool
	// warned is when the minutes of calls are used up that were told so.
	warned map[string]matrix.Timestamp
}

// watch works until ctx ends, with the follower's lease.
func (s *Server) watch(ctx context.Context) {
	w := &watcher{Server: s, wake: make(chan struct{}, 1), warned: map[string]matrix.Timestamp{}}
	var parts sync.WaitGroup
	parts.Go(func() { w.sweeps(ctx) })
	for ctx.Err() == nil {
		if err := w.pulse(ctx); err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
			s.cfg.Log.Error("watch over calls", "error", err)
		}
		wake.Pause(ctx, pulseEvery)
	}
	parts.Wait()
}

// pulse does what it is time for.
func (w *watcher) pulse(ctx context.Context) error {
	p, err := w.cfg.Store.GetRTCPulse(ctx, w.now(), limits.CallGrace, limits.CallWarning, limits.CallAnnounced)
	if err != nil {
		return fmt.Errorf("ask what there is to do about calls: %w", err)
	}
	if p.Orders {
		w.hurry()
	}
	if p.On {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	if p.Due {
		err = errors.Join(err, w.endDue(ctx))
	}
	if p.Restarts {
		err = errors.Join(err, w.restartDelegated(ctx))
	}
	if p.Ending {
		err = errors.Join(err, w.endUsedUp(ctx))
	}
	return err
}

// endDue ends memberships whose media is gone.
func (w *watcher) endDue(ctx context.Context) error {
	due, err := w.cfg.Store.ListRTCDue(ctx, w.now(), limits.CallGrace, dueAtOnce)
	if err != nil {
		return fmt.Errorf("list memberships of calls that are over: %w", err)
	}
	var parts sync.WaitGroup
	slots := make(chan struct{}, dueParallel)
	for _, p := range due {
		slots <- struct{}{}
		parts.Go(func() {
			defer func() { <-slots }()
			if err := w.endMembership(ctx, p); err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
				w.cfg.Log.Error("end a call membership", "user", string(p.UserID), "error", err)
			}
		})
	}
	parts.Wait()
	return nil
}

// endMembership ends what a device says of being in a call, if it still says it. What users of other servers say is not ours to end: their media is
// put out, and their servers end their memberships.
func (s *Server) endMembership(ctx context.Context, p store.RTCParticipant) error {
	room, err := s.cfg.Store.GetRTCRoom(ctx, p.Alias)
	if err != nil {
		return err
	}
	if s.cfg.IsLocal(p.UserID.Domain()) {
		if p.DelayID != "" {
			s.sendDelegated(ctx, p)
		}
		if p.MemberID == "" {
			err = s.endState(ctx, room, p)
		} else {
			err = s.endSticky(ctx, room, p)
		}
		if e, refused := matrix.AsError(err); refused && e.Status < 500 {
			err = nil // who is not in the room any more is in no call of it
		}
		if err != nil {
			return err
		}
	}
	return s.cfg.Store.PutRTCEnded(ctx, p, s.now())
}

// endState ends the membership that is state of the room.
func (s *Server) endState(ctx context.Context, room store.RTCRoom, p store.RTCParticipant) error {
	events, err := s.cfg.Store.ListRTCMemberships(ctx, []int64{room.RoomNID}, []matrix.UserID{p.UserID}, stateMembers)
	if err != nil {
		return err
	}
	for _, e := range events {
		if m, ok := s.read(&e); !ok || m.device != string(p.DeviceID) {
			continue
		}
		// Why Replaces: the device may be saying in this moment that it is back.
		_, err := s.cfg.Rooms.Send(ctx, roomserver.NewEvent{
			Room: e.RoomID, Sender: p.UserID, Type: e.Type, StateKey: e.StateKey, Content: []byte(`{}`), Replaces: e.EventID,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// endSticky ends the membership that is a sticky event. In an encrypted room it can't be read, nor what ends it be encrypted: an event that is
// not encrypted says there that somebody has left, whatever stands in it.
//
// Spec: MSC4143, leaving-a-slot
func (s *Server) endSticky(ctx context.Context, room store.RTCRoom, p store.RTCParticipant) error {
	events, err := s.cfg.Store.ListStickyOf(ctx, room.RoomNID, p.UserID, append([]string{"m.room.encrypted"}, stickyMembers...), s.now())
	if err != nil {
		return err
	}
	typ, ends := "", false
	var id matrix.RoomID
	for _, e := range events {
		id = e.RoomID
		if e.Type == "m.room.encrypted" {
			typ, ends = rtcMemberUnnamed, true // it may be this membership
			continue
		}
		if stickyKey(&e) == p.MemberID {
			_, joins := s.read(&e)
			typ, ends = e.Type, joins
		}
	}
	if !ends {
		return nil
	}
	content, err := json.Marshal(map[string]any{
		"slot_id": room.SlotID, "sticky_key": p.MemberID, "msc4354_sticky_key": p.MemberID,
		"member":       map[string]any{"id": p.MemberID, "membership": spec.Leave},
		"leave_reason": map[string]any{"code": "delayed_leave"},
	})
	if err != nil {
		return err
	}
	_, err = s.cfg.Rooms.Send(ctx, roomserver.NewEvent{Room: id, Sender: p.UserID, Type: typ, Content: content, Sticky: limits.StickyFor})
	return err
}

func stickyKey(e *store.Event) string {
	content := gjson.GetBytes(e.JSON, "content")
	if key := content.Get("sticky_key").Str; key != "" {
		return key
	}
	return content.Get("msc4354_sticky_key").Str
}

// Minutes.

// endUsedUp ends calls that have used up their minutes, and tells those that soon will have. What a call is told is a message through the SFU with
// the topic org.roomline.meeting: {"type": "ending", "ends_ts"}.
func (w *watcher) endUsedUp(ctx context.Context) error {
	now := w.now()
	calls, err := w.cfg.Store.ListRTCEnding(ctx, now+matrix.Timestamp(limits.CallWarning.Milliseconds()))
	if err != nil {
		return fmt.Errorf("list calls that have used up their minutes: %w", err)
	}
	warned := make(map[string]matrix.Timestamp)
	for _, c := range calls {
		if c.EndsTS <= now {
			if err := w.OrderEnd(ctx, c.Alias); err != nil {
				return err
			}
			continue
		}
		if w.warned[c.Alias] != c.EndsTS {
			payload, err := json.Marshal(map[string]any{"type": "ending", "ends_ts": c.EndsTS})
			if err == nil {
				err = w.cfg.SFU.SendData(ctx, c.Alias, StateType, payload)
			}
			if err != nil {
				w.cfg.Log.Warn("a call was not told that it will end", "error", err)
			}
		}
		warned[c.Alias] = c.EndsTS
	}
	w.warned = warned
	return nil
}

// The sweep.

// sweeps compares what is known with what the SFU has, every sweepEvery while somebody is in a call or may come.
func (w *watcher) sweeps(ctx context.Context) {
	w.absent, w.anew = map[store.RTCStay]bool{}, map[string]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		err := w.sweep(ctx)
		away := errors.Is(err, sfu.ErrUnavailable)
		w.mu.Lock()
		if away && !w.away {
			w.cfg.Log.Warn("the SFU does not answer: who is in calls is not known", "error", err)
		}
		w.away = away
		w.mu.Unlock()
		if err != nil && !away && ctx.Err() == nil && !store.IsUnavailable(err) {
			w.cfg.Log.Error("compare calls with what the SFU has", "error", err)
		}
		wake.Pause(ctx, sweepEvery)
	}
}

func (w *watcher) sweep(ctx context.Context) error {
	rooms, err := w.cfg.SFU.Rooms(ctx)
	if err != nil {
		return err
	}
	known, err := w.cfg.Store.ListRTCOn(ctx, w.now())
	if err != nil {
		return fmt.Errorf("list calls that are on: %w", err)
	}
	there := make(map[string]sfu.Room, len(rooms))
	for _, r := range rooms {
		there[r.Alias] = r
	}
	absent, anew := make(map[store.RTCStay]bool), make(map[string]time.Time)
	for _, c := range known {
		r, found := there[c.Alias]
		delete(there, c.Alias)
		if c.StartedTS != 0 && (!found || c.SID != "" && r.SID != c.SID) {
			// The SFU began anew. Those who were there have tokens that still hold, and come back by themselves if there is a room.
			anew[c.Alias] = time.Now()
			if !found {
				if err := w.ensureRoom(ctx, c.Alias); err != nil {
					return err
				}
			}
		}
		if since, ok := w.anew[c.Alias]; ok && time.Since(since) < limits.CallReturn {
			anew[c.Alias] = since
		}
		if err := w.compare(ctx, c.Alias, r.SID, anew, absent); err != nil {
			return err
		}
	}
	// Calls of which no webhook has said anything. Rooms that are not ours are unknown to compare, too.
	for alias, r := range there {
		if r.Participants == 0 {
			continue
		}
		if _, err := w.cfg.Store.GetRTCRoom(ctx, alias); errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err := w.compare(ctx, alias, r.SID, anew, absent); err != nil {
			return err
		}
	}
	w.absent, w.anew = absent, anew
	return nil
}

// compare compares one room. Who is not there twice in a row is gone: the first time the answer may have been older than what is known. After the SFU
// began anew there is more time to come back.
func (w *watcher) compare(ctx context.Context, alias, sid string, anew map[string]time.Time, absent map[store.RTCStay]bool) error {
	list, err := w.cfg.SFU.Participants(ctx, alias)
	if err != nil {
		return err
	}
	rows, err := w.cfg.Store.ListRTCParticipants(ctx, alias)
	if err != nil {
		return fmt.Errorf("list who is in a call: %w", err)
	}
	byIdentity := make(map[string]store.RTCParticipant, len(rows))
	for _, p := range rows {
		byIdentity[p.Identity] = p
	}
	listed := make(map[string]bool, len(list))
	for _, one := range list {
		listed[one.Identity] = true
		p, known := byIdentity[one.Identity]
		// Who is not known and hidden records the call.
		if !one.Active || !known && one.Hidden || p.Present() && p.SID == one.SID {
			continue
		}
		stay := store.RTCStay{Alias: alias, Identity: one.Identity, SID: one.SID, JoinedTS: matrix.TimestampOf(one.Joined)}
		if err := w.came(ctx, stay, sid, true, once{}); err != nil {
			return err
		}
	}
	for _, p := range rows {
		if !p.Present() || listed[p.Identity] {
			continue
		}
		stay := store.RTCStay{Alias: alias, Identity: p.Identity, SID: p.SID, JoinedTS: p.JoinedTS}
		if _, wait := anew[alias]; wait || !w.absent[stay] {
			absent[stay] = true
			continue
		}
		if err := w.went(ctx, stay, once{}); err != nil {
			return err
		}
	}
	return nil
}
