package recording

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
)

type consentRequest struct {
	Answer string `json:"answer"`
}

// postConsent is what somebody in the room says to the recording that is on.
func (s *Server) postConsent(ctx context.Context, c *httpapi.Call, req *consentRequest) (any, error) {
	if req.Answer != "yes" && req.Answer != "no" {
		return nil, matrix.InvalidParam("answer must be yes or no")
	}
	room, a, err := s.enter(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.Consent(ctx, room.ID, a.user, req.Answer, "click")
}

// Consent notes what somebody says to the recording of a room that is on, yes or no, and by which means; who says no may not send any more.
func (s *Server) Consent(ctx context.Context, id matrix.RoomID, user matrix.UserID, answer, means string) error {
	room, err := s.cfg.Rooms.Room(ctx, id)
	if err != nil {
		return err
	}
	r, err := s.cfg.Store.GetRecordingOn(ctx, room.NID)
	if errors.Is(err, store.ErrNotFound) {
		return matrix.NotFound("nothing is being recorded")
	}
	if err != nil {
		return fmt.Errorf("look up a recording: %w", err)
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return tx.PutRecordingConsent(ctx, r.ID, user, answer, means, s.now()) })
	if err != nil {
		return fmt.Errorf("note a consent: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	if answer == "no" {
		// At once: what is sent from here on would be recorded.
		if err := s.silence(ctx, &r); err != nil {
			s.cfg.Log.Warn("silence somebody who has not agreed to a recording", "room", r.RoomID, "error", err)
		}
	}
	if err := s.cfg.CheckUser(ctx, user); err != nil {
		return err
	}
	return s.advance(ctx, &r)
}

// inCall are those who are in the call at this moment by the SFU's word.
func (s *Server) inCall(ctx context.Context, r *store.Recording) ([]store.RTCParticipant, error) {
	list, err := s.cfg.SFU.Participants(ctx, r.Alias)
	if errors.Is(err, sfu.ErrUnavailable) {
		return nil, meetings.Unavailable()
	}
	if err != nil {
		return nil, err
	}
	in := make(map[string]bool, len(list))
	for _, p := range list {
		in[p.Identity] = true
	}
	places, err := s.cfg.Store.ListRTCPlaces(ctx, r.RoomNID)
	if err != nil {
		return nil, fmt.Errorf("list who may be in a call: %w", err)
	}
	var there []store.RTCParticipant
	for _, p := range places {
		if p.Alias == r.Alias && in[p.Identity] {
			there = append(there, p)
		}
	}
	return there, nil
}

// unanswered are those in the call who have said nothing yet. People of other servers are not waited for, since they are not asked: they are
// silent while it is recorded.
func (s *Server) unanswered(ctx context.Context, r *store.Recording) ([]matrix.UserID, error) {
	there, err := s.inCall(ctx, r)
	if err != nil {
		return nil, err
	}
	said, err := s.cfg.Store.ListRecordingConsents(ctx, r.ID)
	if err != nil {
		return nil, fmt.Errorf("list consents: %w", err)
	}
	var list []matrix.UserID
	for _, p := range there {
		if said[p.UserID] == "" && s.cfg.IsLocal(p.UserID.Domain()) {
			list = append(list, p.UserID)
		}
	}
	return list, nil
}

// silence takes the right to send from those in the call who have not agreed.
func (s *Server) silence(ctx context.Context, r *store.Recording) error {
	there, err := s.inCall(ctx, r)
	if err != nil {
		return err
	}
	said, err := s.cfg.Store.ListRecordingConsents(ctx, r.ID)
	if err != nil {
		return fmt.Errorf("list consents: %w", err)
	}
	for _, p := range there {
		if !withheld(r.State, said[p.UserID]) {
			continue
		}
		rights := sfu.Rights{Subscribe: true}
		if err := s.cfg.SFU.Update(ctx, r.Alias, p.Identity, rights); err != nil {
			return err
		}
		raw, err := json.Marshal(rights)
		if err == nil {
			err = s.cfg.Store.PutRTCRights(ctx, p, raw)
		}
		if err != nil {
			return fmt.Errorf("note the rights of somebody in a call: %w", err)
		}
	}
	return nil
}
