package invitations

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/commands"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// botMessage is a message, with what is to be answered.
type botMessage struct {
	commandAnswer
	id      matrix.EventID
	body    string
	who     *httpapi.Requester
	room    roomserver.Info
	command commands.Command
}

// messageToBot looks a message up that somebody has written lately, with whoever has.
func (s *Server) messageToBot(ctx context.Context, bot matrix.UserID, req *commandRequest) (*botMessage, error) {
	room, err := s.cfg.Rooms.Room(ctx, req.RoomID)
	if err != nil {
		return nil, err
	}
	e, err := s.cfg.Store.GetEvent(ctx, room.NID, req.EventID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("there is no such message")
	}
	if err != nil {
		return nil, fmt.Errorf("look up a message to the bot: %w", err)
	}
	age := s.now() - e.OriginServerTS
	if e.RedactedBy != "" || e.Sender == bot || age > matrix.Timestamp(limits.CommandAge.Milliseconds()) || age < -matrix.Timestamp(limits.CommandAge.Milliseconds()) {
		return nil, matrix.Forbidden("the message is deleted, old, or the bot's own")
	}
	m := &botMessage{id: e.EventID, room: room}
	content := gjson.GetBytes(e.JSON, "content")
	switch {
	case isText(&e, content):
		m.body = content.Get("body").String()
	case req.Chat && e.Type == "m.room.encryption" && e.StateKey != nil,
		req.Chat && e.Type == "m.room.member" && e.StateKey != nil && *e.StateKey == string(bot) && content.Get("membership").String() == "invite":
	default:
		return nil, matrix.Forbidden("this is no message to the bot")
	}
	if m.who, err = s.requesterOf(ctx, e.Sender); err != nil {
		return nil, err
	}
	m.Sender = e.Sender
	return m, s.placeOf(ctx, bot, m)
}

// isText reports whether an event is a text that somebody has written, and no edit of one.
func isText(e *store.Event, content gjson.Result) bool {
	return e.Type == "m.room.message" && e.StateKey == nil && content.Get("msgtype").String() == "m.text" &&
		content.Get("m\\.relates_to.rel_type").String() != "m.replace" && content.Get("body").String() != ""
}

// requesterOf is somebody who has written a message, as if they asked themselves.
func (s *Server) requesterOf(ctx context.Context, user matrix.UserID) (*httpapi.Requester, error) {
	u, err := s.cfg.Store.GetUser(ctx, user)
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.Forbidden("who wrote the message has no account here")
	}
	if err != nil {
		return nil, fmt.Errorf("look up who wrote a message: %w", err)
	}
	org, err := s.cfg.Store.GetOrganisation(ctx, u.OrganisationID)
	if err != nil {
		return nil, fmt.Errorf("look up the organisation: %w", err)
	}
	if u.Deactivated() || u.Locked || u.Machine || org.State != store.OrganisationActive {
		return nil, matrix.Forbidden("who wrote the message may not do anything")
	}
	return &httpapi.Requester{
		User: u.UserID, Org: u.OrganisationID, Role: httpapi.Role(u.Role), Admin: u.Role == string(httpapi.RoleOwner), Guest: u.Guest, Suspended: u.Suspended,
	}, nil
}

// placeOf finds out whether the bot is in the room of a message, whether it is alone with who wrote it, and where it can write to them.
func (s *Server) placeOf(ctx context.Context, bot matrix.UserID, m *botMessage) error {
	both, err := s.cfg.Store.ListJoinedOf(ctx, m.room.NID, []matrix.UserID{bot, m.Sender})
	if err != nil {
		return fmt.Errorf("look for the bot in a room: %w", err)
	}
	for _, u := range both {
		m.Joined = m.Joined || u == bot
	}
	if m.Joined && len(both) == 2 {
		entries, err := s.cfg.Store.CountRoomEntries(ctx, m.room.NID, true, 3)
		if err != nil {
			return fmt.Errorf("count members: %w", err)
		}
		// Two people's room with a name is a room that one of them invites others to.
		if entries == 2 {
			summaries, err := s.cfg.Rooms.Summaries(ctx, []roomserver.Info{m.room})
			if err != nil {
				return err
			}
			sum := summaries[m.room.NID]
			m.Direct = sum != nil && sum.Name == "" && sum.CanonicalAlias == ""
		}
	}
	if m.Direct {
		m.ChatRoomID = m.room.ID
		return nil
	}
	m.ChatRoomID, err = s.chatOf(ctx, bot, m.Sender)
	return err
}

// chatOf is an unencrypted room that the bot and somebody have for themselves, or empty.
func (s *Server) chatOf(ctx context.Context, bot, user matrix.UserID) (matrix.RoomID, error) {
	pairs, err := s.cfg.Store.ListChats(ctx, bot, user, limits.CommandChats)
	if err != nil {
		return "", fmt.Errorf("look for a chat with the bot: %w", err)
	}
	if len(pairs) == 0 {
		return "", nil
	}
	infos, err := s.cfg.Rooms.RoomsByNID(ctx, pairs)
	if err != nil {
		return "", err
	}
	summaries, err := s.cfg.Rooms.Summaries(ctx, infos)
	if err != nil {
		return "", err
	}
	for _, info := range infos {
		if sum := summaries[info.NID]; sum != nil && sum.Encryption == "" && sum.Name == "" && sum.CanonicalAlias == "" {
			return info.ID, nil
		}
	}
	return "", nil
}

// openChat says where the bot can write to somebody alone. It makes such a room: the bot belongs to the deployment, and may invite who has written
// to it, of whatever organisation.
func (s *Server) openChat(ctx context.Context, bot *httpapi.Requester, m *botMessage) (any, error) {
	if m.who.Guest {
		return nil, matrix.Forbidden("guests may not do this")
	}
	if err := s.languageOf(ctx, m); err != nil || m.ChatRoomID != "" {
		return m.commandAnswer, err
	}
	made, err := s.cfg.Rooms.CreateRoom(ctx, roomserver.CreateRoom{
		Creator: bot.User, OrganisationID: bot.Org, Preset: roomserver.PresetTrustedPrivate, Invite: []matrix.UserID{m.Sender}, IsDirect: true,
	})
	m.ChatRoomID = made
	return m.commandAnswer, err
}

// languageOf is that of the command's words, or the one that the organisation invites in.
func (s *Server) languageOf(ctx context.Context, m *botMessage) error {
	if m.Language = m.command.Words; m.Language != "" {
		return nil
	}
	policy, err := s.PolicyOf(ctx, m.who.Org)
	m.Language = policy.Language
	return err
}
