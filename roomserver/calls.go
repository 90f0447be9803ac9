package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// State events that say how meetings in a room are, and whether one is recorded.
const (
	MeetingType   = "org.roomline.meeting"
	RecordingType = "org.roomline.recording"
)

// callLevels are the power levels of events with which members take part in calls, and with which moderators govern them. Without them state
// needs what a moderator has, and nobody else could be in a call.
//
// Spec: MSC4143, power levels; the names with org.matrix are those of clients today
var callLevels = map[string]int64{
	"org.matrix.msc3401.call.member": 0,
	"m.rtc.member":                   0,
	"org.matrix.msc4143.rtc.member":  0,
	"m.rtc.slot":                     50,
	"org.matrix.msc4143.rtc.slot":    50,
	MeetingType:                      50,
	RecordingType:                    50,
}

// addCallLevels adds those that the content of m.room.power_levels does not have, and reports whether there were any.
func addCallLevels(content map[string]any) (added bool) {
	events, ok := content["events"].(map[string]any)
	if !ok {
		if content["events"] != nil {
			return false // somebody's own, which is refused elsewhere
		}
		events = map[string]any{}
		content["events"] = events
	}
	for typ, level := range callLevels {
		if _, ok := events[typ]; !ok {
			events[typ] = level
			added = true
		}
	}
	return added
}

// AllowCalls lets the members of a room take part in calls, where its power levels say nothing of them yet. The room's rules decide whether the
// sender may.
func (s *Server) AllowCalls(ctx context.Context, id matrix.RoomID, sender matrix.UserID) error {
	room, err := s.Room(ctx, id)
	if err != nil {
		return err
	}
	content := map[string]any{}
	e, err := s.cfg.Store.GetStateEvent(ctx, room.NID, presentState, spec.MRoomPowerLevels, "")
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("load power levels: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal([]byte(gjson.GetBytes(e.JSON, "content").Raw), &content); err != nil {
			return fmt.Errorf("stored power levels: %w", err)
		}
	}
	if !addCallLevels(content) {
		return nil
	}
	integers(content)
	raw, err := canonical(content)
	if err != nil {
		return err
	}
	key := ""
	_, err = s.Send(ctx, NewEvent{Room: room.ID, Sender: sender, Type: spec.MRoomPowerLevels, StateKey: &key, Content: raw})
	return err
}
