package recording

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver"
)

// announce says in the room how far a recording is.
func (s *Server) announce(ctx context.Context, r *store.Recording) error {
	content := map[string]any{"state": r.State, "recording_id": r.ID, "recorder": s.nameOf(r.OrganisationID, r.Recorder), "by": r.StartedBy}
	if r.StartedTS != 0 {
		content["started_ts"] = r.StartedTS
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return err
	}
	if raw, err = strictjson.Canonical(raw); err != nil {
		return fmt.Errorf("announce a recording: %w", err)
	}
	return s.cfg.Rooms.SendAsAble(ctx, roomserver.NewEvent{Room: r.RoomID, Sender: r.StartedBy, Type: roomserver.RecordingType, StateKey: new(string), Content: raw})
}

// announced reports whether the room's state says of a recording what there is to say.
func (s *Server) announced(ctx context.Context, r *store.Recording) (bool, error) {
	e, err := s.cfg.Store.GetStateEvent(ctx, r.RoomNID, store.CurrentState, roomserver.RecordingType, "")
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("load what a room says of its recording: %w", err)
	}
	content := gjson.GetBytes(e.JSON, "content")
	if content.Get("recording_id").String() != r.ID {
		// Of an ended recording another one may have followed.
		return r.EndedTS != 0, nil
	}
	return content.Get("state").String() == r.State, nil
}
