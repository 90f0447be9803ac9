package invitations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/roomline/roomline/internal/commands"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// The bot of the telephony bridge passes on what people write to it. It is believed nothing: the message is looked up here, and its sender is who
// asks. So whoever has the bridge's token can have done what people have asked for in the last minutes, and nothing else.

// grantTelephony is the grant of the bridge (appservices).
const grantTelephony = "telephony"

const commandsPath = "/_roomline/telephony/v1/commands"

// commandRoutes are for the bridge's bot.
func (s *Server) commandRoutes() []httpapi.Route {
	return []httpapi.Route{{
		Method: post, Path: commandsPath, Auth: httpapi.AppserviceToken, MaxBody: limits.SmallBody, Handle: httpapi.JSON(s.command),
		Doc: &httpapi.Doc{
			Summary: "Carry out what a message to the bot asks for, once, in the name of its sender; or say where the bot has answered; or what has become of an invitation since.",
			Who:     "an application service with the grant telephony", Request: commandRequest{}, Response: commandAnswer{}},
	}}
}

// commandRequest names a message, or an invitation.
type commandRequest struct {
	EventID matrix.EventID `json:"event_id"`
	RoomID  matrix.RoomID  `json:"room_id"`
	// Action is what the bot takes the message for: invite, list, revoke, resend or help. It has to be what the message says. Empty: nothing.
	Action string `json:"action"`
	// Reply is the bot's message about it.
	Reply *commandReply `json:"reply"`
	// InvitationID asks for the command that it is from, with what has become of it.
	InvitationID string `json:"invitation_id"`
	// Chat asks for a chat with whoever wrote the message; it is made if there is none. Instead of a message the event may be an invite of the
	// bot, or what has made a room encrypted.
	Chat bool `json:"chat"`
}

// commandReply is where the bot answered.
type commandReply struct {
	RoomID  matrix.RoomID  `json:"room_id"`
	EventID matrix.EventID `json:"event_id"`
}

// commandAnswer is what the bot has to say, in words of its own.
type commandAnswer struct {
	// Action is what the message asks for; empty when it is no command.
	Action commands.Action `json:"action,omitempty"`
	Sender matrix.UserID   `json:"sender,omitempty"`
	// Language is what the sender is to be answered in.
	Language string `json:"language,omitempty"`
	// Direct says that the message is in a chat of the sender with the bot alone, Joined that the bot is in the room.
	Direct bool `json:"direct,omitempty"`
	Joined bool `json:"joined,omitempty"`
	// ChatRoomID is an unencrypted chat of the two, if there is one.
	ChatRoomID matrix.RoomID `json:"chat_room_id,omitempty"`
	// RoomID and RoomName are the room that it is about.
	RoomID   matrix.RoomID `json:"target_room_id,omitempty"`
	RoomName string        `json:"target_room_name,omitempty"`
	// Problem is a word for why nothing was done, and Detail what it is about.
	Problem string          `json:"problem,omitempty"`
	Detail  string          `json:"detail,omitempty"`
	Results []commandResult `json:"results,omitempty"`
	// Link is the sender's to pass on, and told in the chat only. It is there once.
	Link string `json:"link,omitempty"`
	// Meetings are those that it is about, Phones how one calls in to the one that is on, Number who is being called.
	Meetings []CommandMeeting `json:"meetings,omitempty"`
	Phones   []string         `json:"phones,omitempty"`
	Number   string           `json:"number,omitempty"`
	// More says that there are more invitations than the answer lists.
	More  bool          `json:"more,omitempty"`
	Reply *commandReply `json:"reply,omitempty"`
}

// commandResult is what was done about one address or invitation.
type commandResult struct {
	Address      string           `json:"address,omitempty"`
	Medium       string           `json:"medium,omitempty"`
	InvitationID string           `json:"invitation_id,omitempty"`
	UserID       matrix.UserID    `json:"user_id,omitempty"`
	State        string           `json:"state,omitempty"`
	ExpiresTS    matrix.Timestamp `json:"expires_ts,omitempty"`
	Problem      string           `json:"problem,omitempty"`
}

// Words for what is wrong.
const (
	problemWords     = "words"      // a word that makes no sense
	problemAddress   = "no_address" // nobody to invite
	problemWhichRoom = "which_room" // a chat with the bot is no room to invite to
	problemNoRoom    = "no_room"    // the asker is in no such room
	problemSeveral   = "several"    // the asker is in several of that name
	problemForbidden = "forbidden"  // the asker may not
	problemDenied    = "denied"     // the organisation does not want it
	problemLimit     = "limit"      // too many
	problemInvalid   = "invalid"    // no such address can be
	problemNoneOf    = "none"       // no such invitation
	problemFailed    = "failed"     // anything else
)

// problemOf is a word for a refusal; an error for what is no refusal.
func problemOf(err error) (string, error) {
	e, ok := matrix.AsError(err)
	if !ok || e.Status >= http.StatusInternalServerError {
		return "", err
	}
	switch e.Code {
	case matrix.ErrForbidden, matrix.ErrUserSuspended, matrix.ErrGuestAccessForbidden:
		return problemForbidden, nil
	case matrix.ErrThreepidDenied:
		return problemDenied, nil
	case matrix.ErrLimitExceeded:
		return problemLimit, nil
	case matrix.ErrInvalidParam, matrix.ErrMissingParam, matrix.ErrThreepidMediumNotSupported:
		return problemInvalid, nil
	case matrix.ErrNotFound:
		return problemNoneOf, nil
	}
	return problemFailed, nil
}

// command answers the bot.
func (s *Server) command(ctx context.Context, c *httpapi.Call, req *commandRequest) (any, error) {
	if !c.Requester.May(grantTelephony) {
		return nil, matrix.Forbidden("this needs the grant %s", grantTelephony)
	}
	if req.InvitationID != "" {
		return s.commandOf(ctx, req.InvitationID)
	}
	m, err := s.messageToBot(ctx, c.Requester.User, req)
	if err != nil {
		return nil, err
	}
	if req.Chat {
		return s.openChat(ctx, c.Requester, m)
	}
	if m.body == "" {
		return nil, matrix.Forbidden("this is no message to the bot")
	}
	if req.Reply != nil {
		return nil, s.cfg.Store.PutCommandReply(ctx, req.EventID, req.Reply.RoomID, req.Reply.EventID)
	}
	parsed, ok := commands.Parse(m.body, m.Direct)
	if !ok && req.Action != "" || ok && req.Action != "" && req.Action != string(parsed.Action) {
		return nil, matrix.Forbidden("the message does not say this")
	}
	m.command = parsed
	m.Action = parsed.Action
	if err := s.languageOf(ctx, m); err != nil || !ok {
		return m.commandAnswer, err
	}
	return s.once(ctx, m)
}

// once carries a command out, if nobody has. What changes nothing is done again.
func (s *Server) once(ctx context.Context, m *botMessage) (any, error) {
	if done, err := s.understand(ctx, m); err != nil || done {
		return m.commandAnswer, err
	}
	if m.Action == commands.List {
		err := s.listFor(ctx, m)
		return m.commandAnswer, err
	}
	if m.Action == commands.Meetings {
		err := s.meetingsFor(ctx, m)
		return m.commandAnswer, err
	}
	now := s.now()
	claim, mine, err := s.cfg.Store.ClaimCommand(ctx, m.id, m.Sender, now, now.Add(-limits.CommandClaim))
	if err != nil {
		return nil, fmt.Errorf("take a command: %w", err)
	}
	if !mine {
		return s.before(m, claim)
	}
	// Nobody is busy with it for longer than others leave it alone.
	working, cancel := context.WithTimeout(ctx, limits.CommandWork)
	defer cancel()
	switch m.Action {
	case commands.Invite:
		err = s.inviteFor(working, m, claim.CreatedTS)
	case commands.Meet, commands.CallOff, commands.Call:
		err = s.meetFor(working, m)
	default:
		err = s.changeFor(working, m)
	}
	if err != nil {
		// What was done is found when it is tried again.
		return nil, errors.Join(err, s.cfg.Store.ReleaseCommand(context.WithoutCancel(ctx), m.id))
	}
	return m.commandAnswer, s.remember(ctx, m)
}

// before answers a command that was told before.
func (s *Server) before(m *botMessage, claim store.Command) (any, error) {
	if claim.Answer == nil {
		// It is being carried out now.
		return nil, matrix.Unavailable(limits.CommandClaim)
	}
	answer := m.commandAnswer
	if err := json.Unmarshal(claim.Answer, &answer); err != nil {
		return nil, fmt.Errorf("read the answer to a command: %w", err)
	}
	if claim.Reply != "" {
		answer.Reply = &commandReply{claim.ReplyRoom, claim.Reply}
	}
	return answer, nil
}

// remember stores what a command has come to. A link is not stored, and not told twice.
func (s *Server) remember(ctx context.Context, m *botMessage) error {
	stored := m.commandAnswer
	stored.Link = ""
	text, err := json.Marshal(stored)
	if err != nil {
		return err
	}
	ids := []string{}
	for _, r := range stored.Results {
		if r.InvitationID != "" && m.Action != commands.Revoke {
			ids = append(ids, r.InvitationID)
		}
	}
	// Whoever asked has gone, perhaps; what was done was done.
	if err := s.cfg.Store.PutCommandAnswer(context.WithoutCancel(ctx), m.id, text, ids); err != nil {
		return fmt.Errorf("note what a command has come to: %w", err)
	}
	return nil
}

// commandOf is the command that an invitation is from, with what has become of its invitations.
func (s *Server) commandOf(ctx context.Context, invitation string) (any, error) {
	c, err := s.cfg.Store.GetCommandOf(ctx, invitation)
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("no command has made this invitation")
	}
	if err != nil {
		return nil, fmt.Errorf("look up the command of an invitation: %w", err)
	}
	var answer commandAnswer
	if err := json.Unmarshal(c.Answer, &answer); err != nil {
		return nil, fmt.Errorf("read the answer to a command: %w", err)
	}
	answer.Reply = &commandReply{c.ReplyRoom, c.Reply}
	for n := range answer.Results {
		r := &answer.Results[n]
		if r.InvitationID == "" || r.Problem != "" {
			continue
		}
		i, err := s.cfg.Store.GetInvitation(ctx, r.InvitationID)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look up an invitation: %w", err)
		}
		r.State, r.ExpiresTS = Progress(&i, s.now()), i.ExpiresTS
	}
	return answer, nil
}
