package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/housekeeping"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/wake"
)

const (
	leaseName = "meetings"
	// leaseRetry is how often a process tries to become the one that does it.
	leaseRetry = time.Second
	// lookEvery is how often it looks what is due, sweepEvery how often it looks for meetings whose organiser has gone.
	lookEvery  = 2 * time.Second
	sweepEvery = 15 * time.Second
	atOnce     = 100
)

// Run carries out, on one process of the deployment, what is due about meetings, until ctx ends: what another process did not finish, what people are reminded
// of, and the next time of those that recur.
func (s *Server) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		lease, ok, err := s.cfg.Store.TryLease(ctx, leaseName)
		if err == nil && ok {
			err = s.work(ctx, lease)
			lease.Release()
		}
		s.logged(ctx, "carry out meetings", err)
		wake.Pause(ctx, leaseRetry)
	}
	return nil
}

func (s *Server) logged(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil && !store.IsUnavailable(err) {
		s.cfg.Log.Warn(what, "error", err)
	}
}

// work does what is due as long as this process has the lease.
func (s *Server) work(ctx context.Context, lease *store.Lease) error {
	var swept time.Time
	for ctx.Err() == nil {
		if err := s.due(ctx); err != nil {
			return err
		}
		if time.Since(swept) >= sweepEvery {
			swept = time.Now()
			s.logged(ctx, "look for meetings whose organiser has gone", s.HandOver(ctx, ""))
		}
		wake.Pause(ctx, lookEvery)
		if err := lease.Check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// due carries out what is due. A meeting that something keeps from it is tried again later, and keeps nobody waiting.
func (s *Server) due(ctx context.Context) error {
	for range atOnce {
		now := s.now()
		m, err := s.cfg.Store.ClaimMeeting(ctx, now, now.Add(limits.MeetingWork))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look for meetings that are due: %w", err)
		}
		if _, err := s.settle(ctx, &m); err != nil {
			s.logged(ctx, "carry out a meeting", err)
		}
	}
	return nil
}

// HandOver gives meetings whose organiser has left the room, or has no account any more, to whoever moderates them. Where nobody does they are cancelled. It does so for
// one organiser, or for all if user is empty: then one that fails keeps no other waiting.
func (s *Server) HandOver(ctx context.Context, user matrix.UserID) error {
	for {
		list, err := s.cfg.Store.ListForsakenMeetings(ctx, user, atOnce)
		if err != nil {
			return err
		}
		for i := range list {
			err := s.handOver(ctx, &list[i])
			if err != nil && user != "" {
				return err
			}
			s.logged(ctx, "hand a meeting over", err)
		}
		if user == "" || len(list) < atOnce {
			return nil
		}
	}
}

func (s *Server) handOver(ctx context.Context, m *store.Meeting) error {
	heir, err := s.heirOf(ctx, m)
	if err != nil {
		return err
	}
	if heir == "" {
		return unlessRefused(s.Cancel(ctx, "server", m))
	}
	return unlessRefused(s.giveTo(ctx, m, heir))
}

// heirOf is the most powerful of those who moderate a meeting's room, of its organisation; of several the first by name. Nobody inherits a personal room.
func (s *Server) heirOf(ctx context.Context, m *store.Meeting) (heir matrix.UserID, err error) {
	if m.Kind == store.MeetingPersonal {
		return "", nil
	}
	room, err := s.cfg.Rooms.Room(ctx, m.RoomID)
	if err != nil {
		return "", err
	}
	rules, err := s.cfg.Rooms.Rules(ctx, room)
	if err != nil {
		return "", err
	}
	members, err := s.cfg.Store.ListRoomMembers(ctx, m.RoomNID, []string{spec.Join})
	if err != nil {
		return "", fmt.Errorf("list members: %w", err)
	}
	var best int64
	for _, one := range members {
		level := rules.UserLevel(one.UserID)
		if level < meetings.Moderator || level < best || level == best && heir != "" && heir < one.UserID {
			continue
		}
		who, err := s.requesterOf(ctx, one.UserID)
		if isRefusal(err) || err == nil && (who.Guest || who.Org != m.OrganisationID || who.Suspended) {
			continue
		}
		if err != nil {
			return "", err
		}
		heir, best = one.UserID, level
	}
	return heir, nil
}

// giveTo makes somebody the organiser of a meeting. The invitations were the former organiser's and end with them; addresses are asked anew.
func (s *Server) giveTo(ctx context.Context, m *store.Meeting, heir matrix.UserID) error {
	open, err := s.cfg.Store.ListMeetingInvitations(ctx, m.ID)
	if err != nil {
		return fmt.Errorf("list the invitations to a meeting: %w", err)
	}
	for _, i := range open {
		// What was used is that of guests who are there, and stay.
		if i.Uses > 0 {
			continue
		}
		if err := unlessRefused(s.cfg.Invitations.Revoke(ctx, i.ID, store.InvitationExpired)); err != nil {
			return err
		}
	}
	_, err = s.change(ctx, "server", m, "meeting.handover", func(m *store.Meeting) (bool, error) {
		m.Organiser = heir
		m.Sequence += sequenceStep
		if m.LinkGeneration > 0 {
			m.LinkGeneration++
		}
		return true, nil
	})
	return err
}

// Tasks are what has to be removed now and then.
func Tasks(s *store.Store) []housekeeping.Task {
	return []housekeeping.Task{{Name: "meetings that began in rooms", Run: func(ctx context.Context, now time.Time, limit int) (int64, error) {
		return s.DeletePastMeetings(ctx, matrix.TimestampOf(now.Add(-limits.InvitationsKept)), limit)
	}}}
}
