package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/event"
)

const (
	// reminderType says in an encrypted room what a message says in others: the server has no keys, and what is not encrypted there alarms people.
	reminderType  = "org.roomline.meeting.reminder"
	cancelledType = "org.roomline.meeting.cancelled"
	megolm        = "m.megolm.v1.aes-sha2"
	// device is that of the transactions by which something is said once. No client can call its device so.
	device matrix.DeviceID = "\x01meeting"
)

// newRoom makes the room of a meeting in the organiser's name. Whoever is let in sees what is said from then on, and nothing of before.
func (s *Server) newRoom(ctx context.Context, who *httpapi.Requester, m *store.Meeting, lobby string, encrypted bool, invitees []store.MeetingInvitee) error {
	version := s.cfg.RoomVersion
	if version == "" {
		version = event.Default
	}
	v, ok := event.Lookup(version)
	if !ok {
		return fmt.Errorf("meetings cannot be in rooms of version %q", version)
	}
	users, invited := map[string]int64{}, []matrix.UserID{}
	if !v.PrivilegedCreators {
		users[string(who.User)] = meetings.Organiser
	}
	for _, i := range invitees {
		if i.UserID == "" {
			continue
		}
		invited = append(invited, i.UserID)
		if level := levels[i.Role]; level > 0 {
			users[string(i.UserID)] = level
		}
	}
	power, err := content(map[string]any{"users": users, "invite": meetings.Moderator})
	if err != nil {
		return err
	}
	state, err := firstState(m, lobby, encrypted)
	if err != nil {
		return err
	}
	m.RoomID, err = s.cfg.Rooms.CreateRoom(ctx, roomserver.CreateRoom{
		Creator: who.User, OrganisationID: who.Org, Version: version, Preset: roomserver.PresetPrivate, Name: m.Title, Topic: topicOf(m),
		Invite: invited, InitialState: state, PowerLevelOverride: power,
	})
	if err != nil {
		return err
	}
	room, err := s.cfg.Rooms.Room(ctx, m.RoomID)
	m.RoomNID = room.NID
	return err
}

// firstState is the state of a meeting's room that is not as every room's.
func firstState(m *store.Meeting, lobby string, encrypted bool) ([]roomserver.StateInput, error) {
	list := []struct {
		typ     string
		content any
	}{
		{spec.MRoomHistoryVisibility, map[string]any{"history_visibility": "joined"}},
		{meetings.StateType, meetings.State{Lobby: lobby, Title: m.Title, MeetingID: m.ID}},
		{spec.MRoomJoinRules, nil}, {spec.MRoomEncryption, nil},
	}
	if lobby != meetings.LobbyNobody {
		// Whoever waits in the lobby knocks. Without a lobby the rule is what it would have been (clientapi/meetings/moderation).
		list[2].content = map[string]any{"join_rule": spec.Knock, "org.roomline.before_lobby": spec.Invite}
	}
	if encrypted {
		list[3].content = map[string]any{"algorithm": megolm}
	}
	var state []roomserver.StateInput
	for _, one := range list {
		if one.content == nil {
			continue
		}
		raw, err := content(one.content)
		if err != nil {
			return nil, err
		}
		state = append(state, roomserver.StateInput{Type: one.typ, Content: raw})
	}
	return state, nil
}

// content makes an event's content.
func content(of any) ([]byte, error) {
	raw, err := json.Marshal(of)
	if err != nil {
		return nil, err
	}
	return strictjson.Canonical(raw)
}

// topicOf says when the meeting is, or was to be, in a way that is read in every language.
func topicOf(m *store.Meeting) string {
	start, end := m.NextStartTS, m.NextEndTS
	if end == 0 {
		start, end = m.StartTS, m.EndTS
	}
	if m.Kind == store.MeetingPersonal || end == 0 {
		return ""
	}
	location, err := time.LoadLocation(m.Timezone)
	if err != nil {
		location = time.UTC
	}
	from, to := start.Time().In(location), end.Time().In(location)
	until := to.Format("15:04")
	if from.YearDay() != to.YearDay() {
		until = to.Format("2006-01-02 15:04")
	}
	text := from.Format("2006-01-02 15:04") + "–" + until + " " + location.String()
	if m.CancelledTS != 0 {
		text = "✗ " + text
	}
	return text
}

// tellRoom makes the room's name, topic and state what the meeting is. What they are already is not sent again. Of a room in which the meeting only takes place
// nothing is changed.
func (s *Server) tellRoom(ctx context.Context, m *store.Meeting) error {
	if m.Kind == store.MeetingInstant {
		return nil
	}
	for _, one := range []struct {
		typ     string
		content map[string]any
	}{
		{spec.MRoomName, map[string]any{"name": m.Title}},
		{spec.MRoomTopic, map[string]any{"topic": topicOf(m), "m.topic": map[string]any{"m.text": []any{map[string]any{"body": topicOf(m)}}}}},
	} {
		if one.typ == spec.MRoomTopic && topicOf(m) == "" {
			continue
		}
		if err := s.send(ctx, m, one.typ, new(""), one.content, ""); err != nil {
			return err
		}
	}
	return unlessRefused(s.cfg.Rooms.ChangeState(ctx, roomserver.StateChange{Room: m.RoomID, Sender: m.Organiser, Type: meetings.StateType, Change: func(content map[string]any) error {
		content["title"], content["meeting_id"] = m.Title, m.ID
		return nil
	}}))
}

// send sends an event in the organiser's name. What the room does not let the organiser send is not sent. once names what is sent once only.
func (s *Server) send(ctx context.Context, m *store.Meeting, typ string, key *string, body map[string]any, once string) error {
	raw, err := content(body)
	if err != nil {
		return err
	}
	e := roomserver.NewEvent{Room: m.RoomID, Sender: m.Organiser, Type: typ, StateKey: key, Content: raw}
	if once != "" {
		e.Txn = &roomserver.Txn{Device: device, Scope: "meeting " + m.ID, ID: once}
	}
	_, err = s.cfg.Rooms.Send(ctx, e)
	return unlessRefused(err)
}

// unlessRefused is the error unless the room refuses for good.
func unlessRefused(err error) error {
	if isRefusal(err) {
		return nil
	}
	return err
}

// notice tells people in the room something that is shown: by a message, where messages are not encrypted.
func (s *Server) notice(ctx context.Context, m *store.Meeting, typ, text, once string, extra map[string]any) error {
	info, err := s.cfg.Rooms.Room(ctx, m.RoomID)
	if err != nil {
		return err
	}
	encrypted, err := s.encrypted(ctx, info)
	if err != nil {
		return err
	}
	body := map[string]any{"m.mentions": map[string]any{"room": true}, typ: extra}
	if encrypted {
		return s.send(ctx, m, typ, nil, body, once)
	}
	body["msgtype"], body["body"] = "m.text", text
	return s.send(ctx, m, "m.room.message", nil, body, once)
}

func (s *Server) encrypted(ctx context.Context, room roomserver.Info) (bool, error) {
	_, err := s.cfg.Store.GetStateEvent(ctx, room.NID, store.CurrentState, spec.MRoomEncryption, "")
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look whether a room is encrypted: %w", err)
	}
	return true, nil
}
