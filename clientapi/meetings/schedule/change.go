package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/calendar"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// visible returns a meeting that somebody may see: joined or asked into its room.
func (s *Server) visible(ctx context.Context, who *httpapi.Requester, id string) (m store.Meeting, membership string, err error) {
	if m, err = s.cfg.Store.GetMeeting(ctx, id); errors.Is(err, store.ErrNotFound) {
		return m, "", noMeeting()
	}
	if err != nil {
		return m, "", fmt.Errorf("look up a meeting: %w", err)
	}
	present, err := s.cfg.Store.GetMembership(ctx, m.RoomNID, who.User)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return m, "", fmt.Errorf("load membership: %w", err)
	}
	if present.Membership != spec.Join && present.Membership != spec.Invite {
		return m, "", noMeeting()
	}
	return m, present.Membership, nil
}

// joinedRoom is a room that the user is in. Of every other the same is said, be there one or not.
func (s *Server) joinedRoom(ctx context.Context, user matrix.UserID, id matrix.RoomID) (roomserver.Info, error) {
	notThere := matrix.Forbidden("you are not in this room")
	room, err := s.cfg.Rooms.Room(ctx, id)
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		return room, notThere
	}
	if err != nil {
		return room, err
	}
	present, err := s.cfg.Store.GetMembership(ctx, room.NID, user)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return room, fmt.Errorf("load membership of %s: %w", id, err)
	}
	if present.Membership != spec.Join {
		return room, notThere
	}
	return room, nil
}

// levelOf is somebody's power level in a meeting's room.
func (s *Server) levelOf(ctx context.Context, user matrix.UserID, m *store.Meeting) (int64, error) {
	room, err := s.cfg.Rooms.Room(ctx, m.RoomID)
	if err != nil {
		return 0, err
	}
	rules, err := s.cfg.Rooms.Rules(ctx, room)
	if err != nil {
		return 0, err
	}
	return rules.UserLevel(user), nil
}

// manages reports whether somebody may change a meeting: its organiser, and who moderates its room.
func manages(user matrix.UserID, m *store.Meeting, membership string, level int64) bool {
	return membership == spec.Join && (user == m.Organiser || level >= meetings.Moderator)
}

// managed returns a meeting that somebody may change.
func (s *Server) managed(ctx context.Context, who *httpapi.Requester, id string) (m store.Meeting, level int64, err error) {
	m, membership, err := s.visible(ctx, who, id)
	if err != nil {
		return m, 0, err
	}
	if err := who.MayAct(); err != nil {
		return m, 0, err
	}
	if level, err = s.levelOf(ctx, who.User, &m); err != nil {
		return m, 0, err
	}
	if !manages(who.User, &m, membership, level) {
		return m, 0, matrix.Forbidden("only the organiser and moderators may change a meeting")
	}
	if m.CancelledTS != 0 {
		return m, 0, matrix.Forbidden("the meeting was cancelled")
	}
	return m, level, nil
}

// change stores a change of a meeting, and carries it out. f says whether calendars have to be told.
func (s *Server) change(ctx context.Context, actor string, m *store.Meeting, action string, f func(m *store.Meeting) (tell bool, err error)) ([]Problem, error) {
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		fresh, err := tx.LockMeeting(ctx, m.ID)
		if errors.Is(err, store.ErrNotFound) {
			return noMeeting()
		}
		if err != nil {
			return err
		}
		if fresh.CancelledTS != 0 {
			return matrix.Forbidden("the meeting was cancelled")
		}
		tell, err := f(&fresh)
		if err != nil {
			return err
		}
		if tell {
			fresh.Sequence++
		}
		fresh.DueTS = s.now().Add(limits.MeetingWork)
		*m = fresh
		if err := tx.PutMeeting(ctx, fresh); err != nil {
			return err
		}
		return s.audit(ctx, tx, actor, action, m, map[string]any{"start_ts": m.StartTS, "sequence": m.Sequence})
	})
	if err != nil {
		return nil, err
	}
	return s.finish(ctx, m), nil
}

// Change is what is to be different about a meeting; what is missing stays.
type Change struct {
	Title *string `json:"title"`
	When
	Timezone string `json:"timezone"`
	// Recurrence is an RRULE without its name; empty: it takes place once. Times that were moved or cancelled are as the rule has them again.
	Recurrence *string `json:"recurrence"`
	// Time names one time of a series, by when it begins by the rule: that one alone is moved.
	Time  *matrix.Timestamp `json:"time"`
	Lobby string            `json:"lobby"`
	// Link gives the meeting a link to pass on, RenewLink another one.
	Link      bool `json:"link"`
	RenewLink bool `json:"renew_link"`
}

// patch changes a meeting.
func (s *Server) patch(ctx context.Context, c *httpapi.Call, r *Change) (any, error) {
	who := c.Requester
	m, _, err := s.managed(ctx, who, c.Path("meetingId"))
	if err != nil {
		return nil, err
	}
	policy, err := PolicyOf(ctx, s.cfg.Store, m.OrganisationID)
	if err != nil {
		return nil, err
	}
	if r.Lobby != "" && !slices.Contains(lobbies, r.Lobby) {
		return nil, matrix.InvalidParam("lobby must be nobody, guests or everybody")
	}
	problems, err := s.change(ctx, who.Actor(), &m, "meeting.change", func(m *store.Meeting) (bool, error) {
		tell, err := r.apply(m, &policy, s.now())
		if r.RenewLink || r.Link && m.LinkGeneration == 0 {
			m.LinkGeneration++
		}
		return tell, err
	})
	if err != nil {
		return nil, err
	}
	if r.Lobby != "" {
		if err := s.putLobby(ctx, who, &m, r.Lobby); err != nil {
			return nil, err
		}
	}
	return s.answer(ctx, who, &m, problems)
}

// apply changes the row of a meeting, and says whether calendars have to be told.
func (r *Change) apply(m *store.Meeting, p *Policy, now matrix.Timestamp) (tell bool, err error) {
	if r.Title != nil {
		if m.Kind == store.MeetingInstant {
			return false, matrix.InvalidParam("title: the room has a name already")
		}
		tell, m.Title = m.Title != strings.TrimSpace(*r.Title), strings.TrimSpace(*r.Title)
	}
	timed := r.given() || r.Timezone != "" || r.Recurrence != nil
	switch {
	case (timed || r.Time != nil) && m.Kind != store.MeetingScheduled:
		return false, matrix.InvalidParam("only meetings that were arranged have a time")
	case r.Time != nil:
		return true, r.move(m, p, now)
	case timed:
		return true, r.retime(m, p, now)
	case r.Title != nil:
		// The title is checked with all else.
		d, err := describe(m)
		if err == nil && m.Kind == store.MeetingScheduled {
			err = d.Check()
		}
		if err != nil || m.Title == "" || len(m.Title) > limits.MeetingText {
			return false, matrix.InvalidParam("title must have 1 to %d bytes and no control characters", limits.MeetingText)
		}
	}
	return tell, nil
}

// retime gives a meeting another time, all of it.
func (r *Change) retime(m *store.Meeting, p *Policy, now matrix.Timestamp) error {
	if r.Timezone != "" {
		m.Timezone = r.Timezone
	}
	location, err := (&outbox.Meeting{Timezone: m.Timezone}).Location()
	if err != nil {
		return matrix.InvalidParam("%s", err)
	}
	if r.given() {
		if m.StartTS, m.EndTS, err = r.in(location); err != nil {
			return err
		}
	}
	if r.Recurrence != nil {
		m.Recurrence = *r.Recurrence
	}
	m.Exceptions, m.RemindedTS = []byte("[]"), 0
	return checkTimes(m, p, now)
}

// move moves one time of a series.
func (r *Change) move(m *store.Meeting, p *Policy, now matrix.Timestamp) error {
	if r.Timezone != "" || r.Recurrence != nil {
		return matrix.InvalidParam("time: one time of a meeting has no rule and no zone of its own")
	}
	location, err := (&outbox.Meeting{Timezone: m.Timezone}).Location()
	if err != nil {
		return err
	}
	start, end, err := r.in(location)
	if err != nil {
		return err
	}
	if err := checkDuration(start, end, p); err != nil {
		return err
	}
	if end <= now {
		return matrix.InvalidParam("start_ts: it is in the past")
	}
	return except(m, outbox.Exception{StartTS: *r.Time, NewStartTS: start, NewEndTS: end}, now)
}

// except makes one time of a series differ from the rule.
func except(m *store.Meeting, x outbox.Exception, now matrix.Timestamp) error {
	d, err := describe(m)
	if err != nil {
		return err
	}
	exceptions := d.Exceptions
	d.Exceptions = nil
	series, err := calendar.NewSeries(d)
	if err != nil || m.Recurrence == "" || !series.Has(x.StartTS) {
		return matrix.InvalidParam("time: the meeting has no such time")
	}
	d.Exceptions = append(slices.DeleteFunc(exceptions, func(o outbox.Exception) bool { return o.StartTS == x.StartTS }), x)
	slices.SortFunc(d.Exceptions, func(a, b outbox.Exception) int { return int(a.StartTS - b.StartTS) })
	if err := d.Check(); err != nil {
		return matrix.InvalidParam("%s", err)
	}
	if m.Exceptions, err = json.Marshal(d.Exceptions); err != nil {
		return err
	}
	if series, err = calendar.NewSeries(d); err != nil {
		return err
	}
	next, ok := series.Next(now)
	if !ok {
		return matrix.InvalidParam("time: it is the last one; cancel the meeting")
	}
	if m.NextStartTS != next.StartTS {
		m.RemindedTS = 0
	}
	m.NextStartTS, m.NextEndTS = next.StartTS, next.EndTS
	return nil
}

// cancel cancels a meeting, or one time of it.
func (s *Server) cancel(ctx context.Context, c *httpapi.Call) (any, error) {
	m, _, err := s.managed(ctx, c.Requester, c.Path("meetingId"))
	if err != nil {
		return nil, err
	}
	if !c.HasQuery("time") {
		return nil, s.Cancel(ctx, c.Requester.Actor(), &m)
	}
	at, err := c.QueryInt("time", 0, 1, limits.MaxInteger)
	if err != nil {
		return nil, err
	}
	problems, err := s.change(ctx, c.Requester.Actor(), &m, "meeting.change", func(m *store.Meeting) (bool, error) {
		if m.Kind != store.MeetingScheduled {
			return false, matrix.InvalidParam("time: the meeting has no such time")
		}
		return true, except(m, outbox.Exception{StartTS: matrix.Timestamp(at)}, s.now())
	})
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, c.Requester, &m, problems)
}

// Cancel cancels a meeting, whoever asks. Its room stays to those who are in it.
func (s *Server) Cancel(ctx context.Context, actor string, m *store.Meeting) error {
	_, err := s.change(ctx, actor, m, "meeting.cancel", func(m *store.Meeting) (bool, error) {
		m.CancelledTS = s.now()
		return true, nil
	})
	return err
}

// putLobby says in the room who waits.
func (s *Server) putLobby(ctx context.Context, who *httpapi.Requester, m *store.Meeting, lobby string) error {
	room, err := s.cfg.Rooms.Room(ctx, m.RoomID)
	if err != nil {
		return err
	}
	return s.cfg.SetLobby(ctx, room, who.User, who.Actor(), lobby)
}

// giveLink gives a meeting a link if it has none.
func (s *Server) giveLink(ctx context.Context, who *httpapi.Requester, m *store.Meeting) error {
	if m.LinkID == "" {
		if _, err := s.change(ctx, who.Actor(), m, "meeting.change", func(m *store.Meeting) (bool, error) {
			m.LinkGeneration = max(m.LinkGeneration, 1)
			return false, nil
		}); err != nil {
			return err
		}
	}
	if m.LinkID == "" {
		return matrix.Forbidden("the organisation, or the room, lets the organiser make no links")
	}
	return nil
}
