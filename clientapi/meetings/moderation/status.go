package moderation

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/clientapi/meetings/phones"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// Roles in a meeting are power levels.
const (
	Attendee  = "attendee"
	Presenter = "presenter"
	Moderator = "moderator"
	Organiser = "organiser"
	// Waiting has knocked.
	Waiting = "waiting"
)

var levelOf = map[string]int64{
	Attendee: meetings.Attendee, Presenter: meetings.Presenter, Moderator: meetings.Moderator, Organiser: meetings.Organiser,
}

// RoleOf is what somebody with a power level is in a meeting.
func RoleOf(level int64) string {
	switch {
	case level >= meetings.Organiser:
		return Organiser
	case level >= meetings.Moderator:
		return Moderator
	case level >= meetings.Presenter:
		return Presenter
	}
	return Attendee
}

// Kinds of participants.
const (
	Member = "member"
	Guest  = "guest"
	Phone  = "phone"
)

type participant struct {
	UserID   matrix.UserID    `json:"user_id"`
	DeviceID matrix.DeviceID  `json:"device_id"`
	Identity string           `json:"identity"`
	Name     string           `json:"name"`
	Kind     string           `json:"kind"`
	Role     string           `json:"role"`
	SinceTS  matrix.Timestamp `json:"since_ts"`
}

// waiting is somebody who waits.
type waiting struct {
	UserID  matrix.UserID    `json:"user_id"`
	Name    string           `json:"name"`
	SinceTS matrix.Timestamp `json:"since_ts"`
}

// you is what the asker is.
type you struct {
	Role string `json:"role"`
	// May are the actions that the asker may take, Publish what the asker may send in the call. Reason says why the asker may not be in the call.
	May     []string     `json:"may"`
	Publish []sfu.Source `json:"publish"`
	Reason  string       `json:"reason,omitempty"`
}

// Status is what is to be known of a room's meeting.
type Status struct {
	Meeting      any             `json:"meeting,omitempty"`
	State        *meetings.State `json:"state,omitempty"`
	Encrypted    bool            `json:"encrypted"`
	You          you             `json:"you"`
	Participants []participant   `json:"participants"`
	// Waiting is told to those who may let in.
	Waiting   []waiting `json:"waiting,omitempty"`
	Recording any       `json:"recording,omitempty"`
}

// getMeeting tells who is in a room of its meeting. Who waits is told that.
func (s *Server) getMeeting(ctx context.Context, c *httpapi.Call) (any, error) {
	h, err := s.enter(ctx, c)
	if e, refused := matrix.AsError(err); refused && e.Code == matrix.ErrForbidden {
		return s.statusOfWaiting(ctx, c, err)
	}
	if err != nil {
		return nil, err
	}
	state, err := s.cfg.Calls.StateOf(ctx, h.NID)
	if err != nil {
		return nil, err
	}
	answer := Status{State: &state}
	if answer.You, err = s.you(ctx, c, h); err != nil {
		return nil, err
	}
	if answer.Encrypted, err = s.encrypted(ctx, h.Info); err != nil {
		return nil, err
	}
	if answer.Participants, err = s.participants(ctx, h); err != nil {
		return nil, err
	}
	if h.level >= ModeratorLevel && !c.Requester.Guest {
		if answer.Waiting, err = s.listWaiting(ctx, h.Info); err != nil {
			return nil, err
		}
	}
	for _, more := range []struct {
		ask func(context.Context, *httpapi.Call, roomserver.Info) (any, error)
		to  *any
	}{{s.cfg.Meeting, &answer.Meeting}, {s.cfg.Recording, &answer.Recording}} {
		if more.ask == nil {
			continue
		}
		if *more.to, err = more.ask(ctx, c, h.Info); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// statusOfWaiting is what somebody is told who has knocked; others are refused as before.
func (s *Server) statusOfWaiting(ctx context.Context, c *httpapi.Call, refusal error) (any, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	room, err := s.cfg.Rooms.Room(ctx, id)
	if err != nil {
		return nil, refusal
	}
	m, err := s.membership(ctx, room, c.Requester.User)
	if err != nil {
		return nil, err
	}
	if m.Membership != spec.Knock {
		return nil, refusal
	}
	return Status{You: you{Role: Waiting, May: []string{}, Publish: []sfu.Source{}, Reason: meetings.ReasonWaiting}, Participants: []participant{}}, nil
}

// you says what the asker is and may do.
func (s *Server) you(ctx context.Context, c *httpapi.Call, h *hall) (you, error) {
	y := you{Role: RoleOf(h.level), May: []string{}, Publish: []sfu.Source{}}
	if h.level >= ModeratorLevel && !c.Requester.Guest {
		y.May = actions
	} else if s.administers(c, h.Info) {
		y.May = []string{"end"}
	}
	if !s.cfg.Calls.On() {
		return y, nil
	}
	rights, err := s.cfg.Calls.Entitled(ctx, h.ID, h.user, string(c.Requester.Device))
	if e, refused := matrix.AsError(err); refused {
		y.Reason, _ = e.Fields["org.roomline.reason"].(string)
		return y, nil
	}
	if rights.Publish != nil {
		y.Publish = rights.Publish
	}
	return y, err
}

func (s *Server) encrypted(ctx context.Context, room roomserver.Info) (bool, error) {
	_, err := s.cfg.Store.GetStateEvent(ctx, room.NID, store.CurrentState, spec.MRoomEncryption, "")
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up the encryption of %s: %w", room.ID, err)
	}
	return true, nil
}

// participants are those who are in the call by the SFU's word.
func (s *Server) participants(ctx context.Context, h *hall) ([]participant, error) {
	present, err := s.cfg.Calls.Present(ctx, h.NID)
	if err != nil {
		return nil, fmt.Errorf("list who is in a call: %w", err)
	}
	var keys []store.StateKey
	for _, p := range present {
		keys = append(keys, store.StateKey{Type: spec.MRoomMember, Key: string(p.UserID)})
	}
	members, err := s.cfg.Store.ListStateEventsFor(ctx, h.NID, store.CurrentState, keys)
	if err != nil {
		return nil, fmt.Errorf("load the names of those in a call: %w", err)
	}
	byUser := make(map[matrix.UserID]*store.Event, len(members))
	for i := range members {
		byUser[matrix.UserID(*members[i].StateKey)] = &members[i]
	}
	all := []participant{}
	for _, p := range present {
		one := participant{
			UserID: p.UserID, DeviceID: p.DeviceID, Identity: p.Identity, Name: p.UserID.Localpart(), Kind: Member,
			Role: RoleOf(h.rules.UserLevel(p.UserID)), SinceTS: p.JoinedTS,
		}
		if m := byUser[p.UserID]; m != nil {
			one.Name = nameOf(m)
			if strings.HasPrefix(p.UserID.Localpart(), phones.Prefix) && s.cfg.IsLocal(p.UserID.Domain()) {
				one.Kind = Phone
			} else if gjson.GetBytes(m.JSON, "content."+strings.ReplaceAll(roomserver.GuestKey, ".", `\.`)).Exists() {
				one.Kind = Guest
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// listWaiting lists who waits, the first first.
func (s *Server) listWaiting(ctx context.Context, room roomserver.Info) ([]waiting, error) {
	list, err := s.cfg.Store.ListWaiting(ctx, room.NID, limits.Waiting)
	if err != nil {
		return nil, fmt.Errorf("list who waits: %w", err)
	}
	all := []waiting{}
	for i := range list {
		all = append(all, waiting{UserID: matrix.UserID(*list[i].StateKey), Name: nameOf(&list[i]), SinceTS: list[i].OriginServerTS})
	}
	return all, nil
}

// nameOf is what a member event calls the member.
func nameOf(e *store.Event) string {
	if name := gjson.GetBytes(e.JSON, "content.displayname").String(); name != "" {
		return name
	}
	return matrix.UserID(*e.StateKey).Localpart()
}
