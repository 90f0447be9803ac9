package schedule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type inviteesRequest struct {
	Invitees []Invitee `json:"invitees"`
}

// addInvitees asks more people to a meeting.
func (s *Server) addInvitees(ctx context.Context, c *httpapi.Call, r *inviteesRequest) (any, error) {
	who := c.Requester
	m, level, err := s.managed(ctx, who, c.Path("meetingId"))
	if err != nil {
		return nil, err
	}
	if who.Org != m.OrganisationID {
		return nil, matrix.Forbidden("only people of the organisation that has the meeting may ask others to it")
	}
	if len(r.Invitees) == 0 {
		return nil, matrix.MissingParam("invitees is missing")
	}
	already, err := s.cfg.Store.ListMeetingInvitees(ctx, m.ID)
	if err != nil {
		return nil, fmt.Errorf("list the invitees of a meeting: %w", err)
	}
	rows, err := s.resolve(ctx, who, r.Invitees, already)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if levels[row.Role] > level {
			return nil, matrix.Forbidden("you may give nobody a role that is above your own")
		}
	}
	if m.Ended() {
		return nil, matrix.Forbidden("the meeting is over")
	}
	if err := s.rehearse(ctx, who, &m, rows); err != nil {
		return nil, err
	}
	problems, err := s.changeInvitees(ctx, who, &m, func(tx *store.Tx) error {
		n, err := tx.CountMeetingInvitees(ctx, m.ID)
		if err != nil {
			return err
		}
		if n+len(rows) > limits.MeetingInvitees {
			return matrix.InvalidParam("invitees: a meeting has at most %d", limits.MeetingInvitees)
		}
		for _, row := range rows {
			row.MeetingID = m.ID
			if err := tx.InsertMeetingInvitee(ctx, row); err != nil {
				return err
			}
		}
		return s.audit(ctx, tx, who.Actor(), "meeting.invite", &m, map[string]any{"invitees": len(rows)})
	})
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, who, &m, problems)
}

// removeInvitee takes back that somebody was asked.
func (s *Server) removeInvitee(ctx context.Context, c *httpapi.Call) (any, error) {
	who := c.Requester
	m, _, err := s.managed(ctx, who, c.Path("meetingId"))
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListMeetingInvitees(ctx, m.ID)
	if err != nil {
		return nil, fmt.Errorf("list the invitees of a meeting: %w", err)
	}
	for _, i := range list {
		if i.ID != c.Path("inviteeId") || i.RemovedTS != 0 {
			continue
		}
		_, err := s.changeInvitees(ctx, who, &m, func(tx *store.Tx) error {
			if _, err := tx.RemoveMeetingInvitee(ctx, i.ID, s.now()); err != nil {
				return err
			}
			return s.audit(ctx, tx, who.Actor(), "meeting.uninvite", &m, map[string]any{"invitee": i.ID})
		})
		return nil, err
	}
	return nil, matrix.NotFound("there is no such invitee")
}

// changeInvitees stores a change of who is asked, and carries it out. The meeting's SEQUENCE stays, so that nobody else is told.
func (s *Server) changeInvitees(ctx context.Context, who *httpapi.Requester, m *store.Meeting, f func(tx *store.Tx) error) ([]Problem, error) {
	err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		fresh, err := tx.LockMeeting(ctx, m.ID)
		if errors.Is(err, store.ErrNotFound) {
			return noMeeting()
		}
		if err != nil {
			return err
		}
		fresh.DueTS = s.now().Add(limits.MeetingWork)
		*m = fresh
		if err := tx.PutMeeting(ctx, fresh); err != nil {
			return err
		}
		return f(tx)
	})
	if err != nil {
		return nil, err
	}
	return s.finish(ctx, m), nil
}

type answerRequest struct {
	// Answer is accepted, tentative or declined.
	Answer string `json:"answer"`
}

// putAnswer notes whether somebody comes. It changes nothing about the room: who declines may come all the same.
func (s *Server) putAnswer(ctx context.Context, c *httpapi.Call, r *answerRequest) (any, error) {
	who := c.Requester
	m, _, err := s.visible(ctx, who, c.Path("meetingId"))
	if err != nil {
		return nil, err
	}
	switch {
	case r.Answer != Accepted && r.Answer != Tentative && r.Answer != Declined:
		return nil, matrix.InvalidParam("answer must be accepted, tentative or declined")
	case who.User == m.Organiser:
		return nil, matrix.InvalidParam("answer: you have arranged the meeting")
	case m.CancelledTS != 0:
		return nil, matrix.Forbidden("the meeting was cancelled")
	case m.Kind != store.MeetingScheduled:
		return nil, matrix.InvalidParam("answer: the meeting has no time")
	}
	i, err := s.cfg.Store.GetInviteeOf(ctx, m.ID, who.User)
	unknown := errors.Is(err, store.ErrNotFound)
	if err != nil && !unknown {
		return nil, fmt.Errorf("look up an invitee: %w", err)
	}
	if unknown && who.Guest {
		return nil, matrix.Forbidden("you came by a link that names nobody")
	}
	return nil, s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if unknown {
			// Whoever was asked into the room by others.
			n, err := tx.CountMeetingInvitees(ctx, m.ID)
			if err != nil {
				return err
			}
			if n >= 2*limits.MeetingInvitees {
				return matrix.Forbidden("the meeting has too many invitees")
			}
			i = store.MeetingInvitee{ID: rand.Text(), MeetingID: m.ID, UserID: who.User, Role: Attendee, CreatedTS: s.now()}
			if err := tx.InsertMeetingInvitee(ctx, i); err != nil {
				return err
			}
		}
		return tx.PutMeetingAnswer(ctx, i.ID, r.Answer, s.now())
	})
}

// AnswerFor notes what the addressee of an invitation says, who has no account here.
func (s *Server) AnswerFor(ctx context.Context, invitation, answer string) error {
	if answer != Accepted && answer != Tentative && answer != Declined {
		return matrix.InvalidParam("answer must be accepted, tentative or declined")
	}
	i, err := s.cfg.Store.GetInviteeByInvitation(ctx, invitation)
	if errors.Is(err, store.ErrNotFound) || err == nil && i.RemovedTS != 0 {
		return matrix.Forbidden("nobody is asked to a meeting by this")
	}
	if err != nil {
		return fmt.Errorf("look up an invitee: %w", err)
	}
	m, err := s.cfg.Store.GetMeeting(ctx, i.MeetingID)
	if err != nil {
		return fmt.Errorf("look up a meeting: %w", err)
	}
	switch {
	case m.CancelledTS != 0:
		return matrix.Forbidden("the meeting was cancelled")
	case m.Kind != store.MeetingScheduled:
		return matrix.Forbidden("the meeting has no time")
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return tx.PutMeetingAnswer(ctx, i.ID, answer, s.now()) })
}

// AnsweredBy is what the addressee of an invitation has said, or empty.
func (s *Server) AnsweredBy(ctx context.Context, invitation string) (string, error) {
	i, err := s.cfg.Store.GetInviteeByInvitation(ctx, invitation)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return i.Answer, err
}

// Redeemed gives who has come by an invitation the role that the organiser meant for the addressee.
func (s *Server) Redeemed(ctx context.Context, inv store.Invitation, user matrix.UserID) {
	err := s.giveRole(ctx, inv, user)
	if err != nil && !isRefusal(err) {
		s.cfg.Log.Warn("give somebody a role in a meeting", "room", string(inv.RoomID), "error", err)
	}
}

func (s *Server) giveRole(ctx context.Context, inv store.Invitation, user matrix.UserID) error {
	i, err := s.cfg.Store.GetInviteeByInvitation(ctx, inv.ID)
	if errors.Is(err, store.ErrNotFound) || err == nil && levels[i.Role] == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	m, err := s.cfg.Store.GetMeeting(ctx, i.MeetingID)
	if err != nil || m.Kind == store.MeetingInstant {
		return err
	}
	return s.cfg.Rooms.SetLevel(ctx, m.RoomID, m.Organiser, user, levels[i.Role])
}
