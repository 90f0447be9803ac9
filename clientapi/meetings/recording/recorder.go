package recording

import (
	"context"
	"errors"
	"fmt"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// GrantRecord lets an application service record meetings of its organisation, when somebody has it do so.
const GrantRecord = "record"

type tokenResponse struct {
	URL      string        `json:"url"`
	JWT      string        `json:"jwt"`
	Identity string        `json:"identity"`
	ID       string        `json:"recording_id"`
	RoomID   matrix.RoomID `json:"room_id"`
}

// postToken lets the application service that records into the call: it hears and sees, sends nothing, and is seen by everybody.
func (s *Server) postToken(ctx context.Context, c *httpapi.Call) (any, error) {
	nothing := matrix.Forbidden("you do not record this room")
	if !c.Requester.May(GrantRecord) {
		return nil, nothing
	}
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	room, err := s.cfg.Rooms.Room(ctx, id)
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		return nil, nothing
	}
	if err != nil {
		return nil, err
	}
	r, err := s.cfg.Store.GetRecordingOn(ctx, room.NID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nothing
	}
	if err != nil {
		return nil, fmt.Errorf("look up a recording: %w", err)
	}
	rec, ok := s.recorder(room.OrganisationID, r.Recorder)
	if !ok || rec.ID != c.Requester.Appservice || r.State != store.RecordingOn {
		return nil, nothing
	}
	token, err := s.cfg.Calls.Mint(ctx, meetings.MintRequest{Room: room.ID, Slot: meetings.CallDefaultSlot, User: rec.Sender, MemberID: r.ID, Name: rec.Name + " (recorder)"})
	if err != nil {
		return nil, err
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		return s.audit(ctx, tx, &r, c.Requester.Actor(), c.ClientAddr(), "recording.token", map[string]any{"recorder": rec.ID})
	})
	if err != nil {
		return nil, fmt.Errorf("note that a recorder comes: %w", err)
	}
	return tokenResponse{URL: token.URL, JWT: token.JWT, Identity: token.Identity, ID: r.ID, RoomID: room.ID}, nil
}
