package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/internal/calendar"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// Problem is somebody who could not be asked.
type Problem struct {
	UserID  matrix.UserID  `json:"user_id,omitempty"`
	Address string         `json:"address,omitempty"`
	Code    matrix.ErrCode `json:"errcode"`
	Error   string         `json:"error"`
}

// tellAgain is when somebody is told who got too many messages.
const tellAgain = time.Minute

// settle makes a meeting what its row says it is, and notes when to look at it again. What is so already stays; it may be begun anew at any time. problems are
// those whom the organiser may not ask: they are not asked again.
func (s *Server) settle(ctx context.Context, m *store.Meeting) (problems []Problem, err error) {
	if m.CancelledTS != 0 {
		if err := s.wind(ctx, m); err != nil {
			return nil, err
		}
		return nil, s.rest(ctx, m, 0)
	}
	series, err := seriesOf(m)
	if err != nil {
		return nil, err
	}
	if err := s.advance(ctx, m, series); err != nil {
		return nil, err
	}
	if err := s.tellRoom(ctx, m); err != nil {
		return nil, err
	}
	who, err := s.requesterOf(ctx, m.Organiser)
	if err == nil {
		_, err = s.joinedRoom(ctx, m.Organiser, m.RoomID)
	}
	if isRefusal(err) {
		// Somebody else takes over, or it is cancelled (run.go).
		return nil, s.rest(ctx, m, 0)
	}
	if err != nil {
		return nil, err
	}
	if problems, err = s.settleInvitees(ctx, who, m, series); err != nil {
		return problems, err
	}
	if err := s.settleLink(ctx, who, m, series); err != nil && !isRefusal(err) {
		return problems, err
	}
	due, err := s.remind(ctx, m, series)
	if err != nil {
		return problems, err
	}
	if slices.ContainsFunc(problems, func(p Problem) bool { return p.Code == matrix.ErrLimitExceeded }) {
		// Whoever gets no more messages now is told later.
		due = min(due, s.now().Add(tellAgain))
	}
	return problems, s.rest(ctx, m, due)
}

// rest notes when to look at a meeting again, unless somebody has changed it meanwhile, who looks at it themselves.
func (s *Server) rest(ctx context.Context, m *store.Meeting, due matrix.Timestamp) error {
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		now, err := tx.LockMeeting(ctx, m.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil || now.Sequence != m.Sequence || now.LinkGeneration != m.LinkGeneration || now.CancelledTS != m.CancelledTS || now.Organiser != m.Organiser || now.DueTS != m.DueTS {
			return err
		}
		now.DueTS, now.RemindedTS = due, m.RemindedTS
		*m = now
		return tx.PutMeeting(ctx, now)
	})
}

// turn is when the next time of a meeting takes the place of the one that is on, or was: meetings end late, and the links of the next one open early.
func turn(m *store.Meeting, series calendar.Series) matrix.Timestamp {
	at := m.NextEndTS.Add(limits.MeetingLate)
	if next, ok := series.Following(calendar.Time{StartTS: m.NextStartTS}); ok {
		at = max(m.NextEndTS, min(at, next.StartTS.Add(-limits.MeetingEarly)))
	}
	return at
}

// advance goes on to the next time of a meeting when the one before is over, and lets the links open for it.
func (s *Server) advance(ctx context.Context, m *store.Meeting, series calendar.Series) error {
	now := s.now()
	if m.NextEndTS == 0 || now < turn(m, series) {
		return nil
	}
	next, _ := series.Next(now)
	if next.StartTS <= m.NextStartTS {
		next, _ = series.Following(calendar.Time{StartTS: m.NextStartTS})
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		fresh, err := tx.LockMeeting(ctx, m.ID)
		if err != nil || fresh.NextStartTS != m.NextStartTS || fresh.Sequence != m.Sequence {
			return err
		}
		fresh.NextStartTS, fresh.NextEndTS = next.StartTS, next.EndTS
		*m = fresh
		if err := tx.PutMeeting(ctx, fresh); err != nil || next.EndTS == 0 {
			return err
		}
		at := s.scheduled(m, series)
		return tx.PutMeetingOpens(ctx, m.ID, at.OpensTS, at.ExpiresTS)
	})
}

// scheduled is from when to when the links of a meeting hold: of a series until its end. Nothing makes them hold for longer before the next time is over, however
// far off it is.
func (s *Server) scheduled(m *store.Meeting, series calendar.Series) invitations.Scheduled {
	most := max(s.now(), m.NextStartTS).Add(limits.MeetingLink)
	switch m.Kind {
	case store.MeetingPersonal:
		return invitations.Scheduled{ExpiresTS: most}
	case store.MeetingInstant:
		return invitations.Scheduled{ExpiresTS: m.EndTS.Add(limits.MeetingLate)}
	}
	at := invitations.Scheduled{OpensTS: m.NextStartTS.Add(-limits.MeetingEarly), ExpiresTS: min(series.Last().Add(limits.MeetingLate), most)}
	if m.Recurrence != "" {
		at.GuestLifetime = limits.GuestStay.Milliseconds()
	}
	return at
}

// told is a meeting as the addressees of invitations are told of it; nil if it has no time.
func told(m *store.Meeting) (*outbox.Meeting, error) {
	if m.Kind != store.MeetingScheduled {
		return nil, nil
	}
	return describe(m)
}

// settleInvitees asks those who have not been asked, tells those who do not know the present time, and takes back the invitations of those who were removed.
func (s *Server) settleInvitees(ctx context.Context, who *httpapi.Requester, m *store.Meeting, series calendar.Series) (problems []Problem, err error) {
	list, err := s.cfg.Store.ListMeetingInvitees(ctx, m.ID)
	if err != nil {
		return nil, fmt.Errorf("list the invitees of a meeting: %w", err)
	}
	for n := range list {
		i := &list[n]
		switch {
		case i.RemovedTS != 0:
			err = s.takeOut(ctx, m, i, list)
		case m.Ended():
			continue
		case i.UserID != "":
			err = s.askUser(ctx, m, i)
		default:
			err = s.askAddress(ctx, who, m, i, list, series)
		}
		e, refused := matrix.AsError(err)
		switch {
		case isRefusal(err) && i.RemovedTS != 0:
		case isRefusal(err) && refused:
			problems = append(problems, Problem{i.UserID, i.Address, e.Code, e.Message})
			if i.InvitationID != "" {
				// It is told of the present time when it is looked at again.
				continue
			}
			if err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
				_, err := tx.RemoveMeetingInvitee(ctx, i.ID, s.now())
				return err
			}); err != nil {
				return problems, err
			}
		case err != nil:
			return problems, err
		}
	}
	return problems, nil
}

// askUser invites a user, unless they are in the room, are asked already, or have left since.
func (s *Server) askUser(ctx context.Context, m *store.Meeting, i *store.MeetingInvitee) error {
	present, err := s.cfg.Store.GetMembership(ctx, m.RoomNID, i.UserID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("load membership: %w", err)
	}
	switch present.Membership {
	case spec.Join, spec.Invite, spec.Ban:
		return nil
	case spec.Leave:
		e, err := s.cfg.Store.GetStateEvent(ctx, m.RoomNID, store.CurrentState, spec.MRoomMember, string(i.UserID))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("load membership: %w", err)
		}
		if err == nil && e.OriginServerTS >= i.CreatedTS {
			return nil
		}
	}
	if level := levels[i.Role]; level > 0 && m.Kind != store.MeetingInstant {
		if err := s.cfg.Rooms.SetLevel(ctx, m.RoomID, m.Organiser, i.UserID, level); err != nil {
			return err
		}
	}
	return s.cfg.Rooms.Invite(ctx, roomserver.Membership{Room: m.RoomID, Sender: m.Organiser, Target: i.UserID})
}

// askAddress invites an address, or tells it of the present time.
func (s *Server) askAddress(ctx context.Context, who *httpapi.Requester, m *store.Meeting, i *store.MeetingInvitee, all []store.MeetingInvitee, series calendar.Series) error {
	d, err := told(m)
	if err != nil {
		return err
	}
	if d != nil {
		d.Sequence += again(i, all)
	}
	if i.InvitationID != "" {
		inv, err := s.cfg.Store.GetInvitation(ctx, i.InvitationID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("look up an invitation: %w", err)
		}
		if err == nil {
			knows, err := knows(&inv, d)
			if err != nil || knows {
				return err
			}
			held, err := s.cfg.Invitations.Reschedule(ctx, who, inv, *d, s.scheduled(m, series))
			if err != nil || held || inv.Ended == store.InvitationRevoked || inv.Ended == store.InvitationMember {
				return err
			}
		}
	}
	at := s.scheduled(m, series)
	n := invitations.Request{Medium: i.Medium, Address: i.Address, Language: i.Language, Meeting: d, Scheduled: &at}
	made, err := s.cfg.Invitations.Arrange(ctx, who, m.RoomID, n)
	if err != nil {
		return err
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		return tx.PutInviteeInvitation(ctx, i.ID, made.Invitation.ID, made.User)
	})
}

// again is what is added to the SEQUENCE for an address that was removed before: its calendar has been told that there is no such meeting, with a number that has
// to be exceeded. Each message that was sent again has counted one.
func again(i *store.MeetingInvitee, all []store.MeetingInvitee) (n int) {
	for _, o := range all {
		if o.RemovedTS != 0 && o.InvitationID != "" && o.Medium == i.Medium && o.Address == i.Address {
			n += sequenceStep
		}
	}
	return n
}

const sequenceStep = 100

// knows reports whether an invitation says of a meeting what is so now.
func knows(inv *store.Invitation, d *outbox.Meeting) (bool, error) {
	if d == nil || inv.Meeting == nil {
		return true, nil
	}
	var known outbox.Meeting
	if err := json.Unmarshal(inv.Meeting, &known); err != nil {
		return false, fmt.Errorf("stored meeting of invitation %s: %w", inv.ID, err)
	}
	return known.Sequence >= d.Sequence, nil
}

// takeOut takes back the invitation of somebody who was removed, and takes them out of the room.
func (s *Server) takeOut(ctx context.Context, m *store.Meeting, i *store.MeetingInvitee, all []store.MeetingInvitee) error {
	if i.InvitationID != "" {
		return s.revoke(ctx, i.InvitationID)
	}
	again := func(o store.MeetingInvitee) bool { return o.RemovedTS == 0 && o.UserID == i.UserID }
	if i.UserID == "" || i.UserID == m.Organiser || slices.ContainsFunc(all, again) {
		return nil
	}
	present, err := s.cfg.Store.GetMembership(ctx, m.RoomNID, i.UserID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("load membership: %w", err)
	}
	// Whoever has come in again since, by another way, stays.
	if present.Membership != spec.Join && present.Membership != spec.Invite {
		return nil
	}
	e, err := s.cfg.Store.GetStateEvent(ctx, m.RoomNID, store.CurrentState, spec.MRoomMember, string(i.UserID))
	if err != nil || e.OriginServerTS > i.RemovedTS {
		return err
	}
	return s.cfg.Rooms.Kick(ctx, roomserver.Membership{Room: m.RoomID, Sender: m.Organiser, Target: i.UserID})
}

// revoke ends an invitation with its guests, and takes the meeting out of the addressee's calendar.
func (s *Server) revoke(ctx context.Context, id string) error {
	return unlessRefused(s.cfg.Invitations.Revoke(ctx, id, store.InvitationRevoked))
}

// settleLink makes the meeting's link, if it is to have one and has none that opens.
func (s *Server) settleLink(ctx context.Context, who *httpapi.Requester, m *store.Meeting, series calendar.Series) error {
	if m.LinkGeneration == 0 || m.Ended() {
		return nil
	}
	secret, at := s.secretOf(m), s.scheduled(m, series)
	at.Secret = &secret
	hash := hashOf(secret)
	inv, err := s.cfg.Store.GetInvitationBySecret(ctx, hash)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("look up a meeting's link: %w", err)
	}
	before := m.LinkID
	d, wrong := told(m)
	if wrong != nil {
		return wrong
	}
	switch {
	case err != nil:
		made, err := s.cfg.Invitations.NewLink(ctx, who, m.RoomID, d, at)
		if err != nil {
			return err
		}
		inv = made.Invitation
	case inv.Ended == "":
		if knows, err := knows(&inv, d); err != nil {
			return err
		} else if !knows {
			if _, err := s.cfg.Invitations.Reschedule(ctx, who, inv, *d, at); err != nil {
				return err
			}
		}
	}
	if inv.ID == before {
		return nil
	}
	if before != "" {
		// The one from before is dead; who has come by it stays.
		if err := unlessRefused(s.cfg.Invitations.Revoke(ctx, before, store.InvitationExpired)); err != nil {
			return err
		}
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		now, err := tx.LockMeeting(ctx, m.ID)
		if err != nil || now.LinkGeneration != m.LinkGeneration {
			return err
		}
		now.LinkID = inv.ID
		m.LinkID = inv.ID
		return tx.PutMeeting(ctx, now)
	})
}

// personalEvery is how often the link of a personal room is made to hold for longer.
const personalEvery = 30 * 24 * time.Hour

// remind tells the room that its meeting begins soon, and says when to look again.
func (s *Server) remind(ctx context.Context, m *store.Meeting, series calendar.Series) (due matrix.Timestamp, err error) {
	if m.Kind == store.MeetingPersonal {
		at := s.scheduled(m, series)
		err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return tx.PutMeetingOpens(ctx, m.ID, 0, at.ExpiresTS) })
		return s.now().Add(personalEvery), err
	}
	if m.NextEndTS == 0 {
		return 0, nil
	}
	due = turn(m, series)
	p, err := PolicyOf(ctx, s.cfg.Store, m.OrganisationID)
	if err != nil || m.Kind != store.MeetingScheduled || *p.ReminderMinutes == 0 {
		return due, err
	}
	now, at := s.now(), m.NextStartTS.Add(-time.Duration(*p.ReminderMinutes)*time.Minute)
	switch {
	case now < at:
		return at, nil
	case now >= m.NextStartTS || m.CreatedTS > at || m.RemindedTS >= at:
		return due, nil
	}
	start := m.NextStartTS.Time()
	if location, err := time.LoadLocation(m.Timezone); err == nil {
		start = start.In(location)
	}
	text := fmt.Sprintf("🔔 %s · %s %s", m.Title, start.Format("15:04"), start.Location())
	err = s.notice(ctx, m, reminderType, text, fmt.Sprint("remind ", int64(m.NextStartTS)), map[string]any{
		"meeting_id": m.ID, "title": m.Title, "start_ts": m.NextStartTS, "end_ts": m.NextEndTS,
	})
	m.RemindedTS = now
	return due, err
}

// wind ends what there is of a meeting that was cancelled: calls, invitations with their guests, and invites that nobody has answered. Who is in the room is told,
// and stays.
func (s *Server) wind(ctx context.Context, m *store.Meeting) error {
	if s.cfg.End != nil {
		if err := s.cfg.End(ctx, m.RoomNID); err != nil {
			return err
		}
	}
	open, err := s.cfg.Store.ListMeetingInvitations(ctx, m.ID)
	if err != nil {
		return fmt.Errorf("list the invitations to a meeting: %w", err)
	}
	for _, i := range open {
		if err := s.revoke(ctx, i.ID); err != nil {
			return err
		}
	}
	if m.Kind == store.MeetingInstant {
		return nil
	}
	waiting, err := s.cfg.Store.ListRoomMembers(ctx, m.RoomNID, []string{spec.Invite})
	if err != nil {
		return fmt.Errorf("list who is asked: %w", err)
	}
	for _, w := range waiting {
		err := s.cfg.Rooms.Kick(ctx, roomserver.Membership{Room: m.RoomID, Sender: m.Organiser, Target: w.UserID, Reason: "the meeting was cancelled"})
		if err := unlessRefused(err); err != nil {
			return err
		}
	}
	if err := s.tellRoom(ctx, m); err != nil {
		return err
	}
	return s.notice(ctx, m, cancelledType, "✗ "+m.Title, "cancelled", map[string]any{"meeting_id": m.ID, "title": m.Title, "start_ts": m.NextStartTS})
}
