package meetings

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver"
)

// StateType is the type of the state event that says how meetings in a room are. Its state key is empty.
const StateType = roomserver.MeetingType

// Who waits in the lobby.
const (
	LobbyNobody    = "nobody"
	LobbyGuests    = "guests"
	LobbyEverybody = "everybody"
)

// Roles are power levels.
const (
	Attendee  int64 = 0
	Presenter int64 = 25
	Moderator int64 = 50
	Organiser int64 = 100
)

// State is the content of StateType.
type State struct {
	Lobby  string `json:"lobby,omitempty"`
	Locked bool   `json:"locked,omitempty"`
	// Publish is the power level that each source needs.
	Publish   Publish `json:"publish"`
	Title     string  `json:"title,omitempty"`
	MeetingID string  `json:"meeting_id,omitempty"`
}

// Publish is the power level that each source needs.
type Publish struct {
	Microphone  int64 `json:"microphone"`
	Camera      int64 `json:"camera"`
	ScreenShare int64 `json:"screen_share"`
}

// readState reads the content of an event that anybody may have sent who has the power. What has the wrong form counts as not there.
func readState(content []byte) State {
	field := func(path string, typ gjson.Type) gjson.Result {
		if v := gjson.GetBytes(content, path); v.Type == typ {
			return v
		}
		return gjson.Result{}
	}
	st := State{
		Lobby: field("lobby", gjson.String).Str, Locked: gjson.GetBytes(content, "locked").Type == gjson.True,
		Title: field("title", gjson.String).Str, MeetingID: field("meeting_id", gjson.String).Str,
		Publish: Publish{
			Microphone: field("publish.microphone", gjson.Number).Int(), Camera: field("publish.camera", gjson.Number).Int(),
			ScreenShare: field("publish.screen_share", gjson.Number).Int(),
		},
	}
	if st.Lobby != LobbyGuests && st.Lobby != LobbyEverybody {
		st.Lobby = LobbyNobody
	}
	return st
}

// StateOf is how meetings in a room are at present.
func (s *Server) StateOf(ctx context.Context, roomNID int64) (State, error) {
	e, err := s.cfg.Store.GetStateEvent(ctx, roomNID, store.CurrentState, StateType, "")
	if errors.Is(err, store.ErrNotFound) {
		return readState(nil), nil
	}
	if err != nil {
		return State{}, fmt.Errorf("load the state of meetings: %w", err)
	}
	return readState([]byte(gjson.GetBytes(e.JSON, "content").Raw)), nil
}

// PutState changes how meetings in a room are. The room's rules decide whether the sender may.
func (s *Server) PutState(ctx context.Context, room matrix.RoomID, sender matrix.UserID, st State) error {
	raw, err := json.Marshal(st)
	if err != nil {
		return err
	}
	content, err := strictjson.Canonical(raw)
	if err != nil {
		return err
	}
	key := ""
	_, err = s.cfg.Rooms.Send(ctx, roomserver.NewEvent{Room: room, Sender: sender, Type: StateType, StateKey: &key, Content: content})
	return err
}
