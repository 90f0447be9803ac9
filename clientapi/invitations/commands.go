package invitations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
	"golang.org/x/text/unicode/norm"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/commands"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
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

// languageOf is that of the command's words, or the one that the organisation invites in.
func (s *Server) languageOf(ctx context.Context, m *botMessage) error {
	if m.Language = m.command.Words; m.Language != "" {
		return nil
	}
	policy, err := s.PolicyOf(ctx, m.who.Org)
	m.Language = policy.Language
	return err
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

// understand finds the room of a command, and says what is wrong with it. done: there is nothing else to do.
func (s *Server) understand(ctx context.Context, m *botMessage) (done bool, err error) {
	c := &m.command
	switch {
	case c.Action == commands.Help:
		return true, nil
	case m.who.Guest || m.who.Suspended:
		m.Problem = problemForbidden
	case c.Unknown != "":
		m.Problem, m.Detail = problemWords, c.Unknown
	case isAboutMeetings(c.Action):
		return s.understandMeeting(ctx, m)
	case c.Action == commands.Invite && len(c.Addresses) == 0 && !c.Link,
		(c.Action == commands.Revoke || c.Action == commands.Resend) && len(c.Addresses) == 0 && len(c.IDs) == 0:
		m.Problem = problemAddress
	case c.Room != "":
		err = s.findRoom(ctx, m)
	case !m.Direct:
		m.RoomID = m.room.ID
	case c.Action == commands.Invite:
		m.Problem = problemWhichRoom
	}
	if err != nil || m.Problem != "" {
		return true, err
	}
	if m.RoomID != "" {
		if m.room, err = s.joinedRoom(ctx, m.Sender, m.RoomID); err != nil {
			// Of a room that the asker is not in nothing is said, not even that there is one.
			if m.Problem, err = problemOf(err); m.Problem != "" {
				m.Problem, m.Detail, m.RoomID = problemNoRoom, c.Room, ""
			}
			return true, err
		}
		m.RoomName, err = s.nameOf(ctx, m.room)
	}
	return false, err
}

// findRoom finds a room that the asker has named: one that they are in.
func (s *Server) findRoom(ctx context.Context, m *botMessage) error {
	name := m.command.Room
	m.Problem, m.Detail = problemNoRoom, name
	switch name[0] {
	case '!':
		if id, err := matrix.ParseRoomID(name); err == nil {
			m.RoomID, m.Problem, m.Detail = id, "", ""
		}
		return nil
	case '#':
		if !strings.Contains(name, ":") {
			name += ":" + string(m.Sender.Domain())
		}
		alias, err := matrix.ParseRoomAlias(name)
		if err != nil {
			return nil
		}
		found, err := s.cfg.Store.GetAlias(ctx, alias, m.Sender)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil {
			m.RoomID, m.Problem, m.Detail = found.RoomID, "", ""
		}
		return err
	}
	return s.findByName(ctx, m, name)
}

// findByName looks among the rooms that the asker is in.
func (s *Server) findByName(ctx context.Context, m *botMessage, name string) error {
	nids, err := s.cfg.Store.ListJoinedRooms(ctx, m.Sender)
	if err != nil {
		return fmt.Errorf("list rooms: %w", err)
	}
	infos, err := s.cfg.Rooms.RoomsByNID(ctx, nids[:min(len(nids), limits.CommandRooms)])
	if err != nil {
		return err
	}
	summaries, err := s.cfg.Rooms.Summaries(ctx, infos)
	if err != nil {
		return err
	}
	name = norm.NFC.String(name)
	for _, info := range infos {
		sum := summaries[info.NID]
		if sum == nil || !strings.EqualFold(norm.NFC.String(strings.Join(strings.Fields(sum.Name), " ")), name) {
			continue
		}
		if m.RoomID != "" {
			m.RoomID, m.Problem, m.Detail = "", problemSeveral, name
			return nil
		}
		m.RoomID, m.Problem, m.Detail = info.ID, "", ""
	}
	if m.RoomID == "" {
		m.Problem = problemNoRoom
	}
	return nil
}

func (s *Server) nameOf(ctx context.Context, room roomserver.Info) (string, error) {
	summaries, err := s.cfg.Rooms.Summaries(ctx, []roomserver.Info{room})
	if err != nil {
		return "", err
	}
	if sum := summaries[room.NID]; sum != nil {
		return shown(sum.Name), nil
	}
	return "", nil
}

// inviteFor invites every address, and makes a link. since is when the command was taken first: what another process had done before it died is
// not done again.
func (s *Server) inviteFor(ctx context.Context, m *botMessage, since matrix.Timestamp) error {
	org, err := s.cfg.Store.GetOrganisation(ctx, m.who.Org)
	if err != nil {
		return fmt.Errorf("look up the organisation: %w", err)
	}
	for _, a := range m.command.Addresses {
		r := commandResult{Address: a.Text, Medium: a.Medium}
		if canonical, ok := auth.CanonicalAddress(a.Medium, a.Text, org.DefaultRegion); ok {
			r.Address = canonical
			done, err := s.cfg.Store.GetPendingInvitation(ctx, m.room.NID, m.Sender, a.Medium, canonical, s.now())
			if err == nil && done.CreatedTS >= since {
				m.Results = append(m.Results, s.resultOf(&done))
				continue
			}
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("look for an invitation of the address: %w", err)
			}
		}
		made, err := s.Invite(ctx, m.who, m.RoomID, Request{Medium: a.Medium, Address: a.Text, Language: m.command.Language})
		if r.Problem, err = problemOf(err); err != nil {
			return err
		}
		switch {
		case made.User != "":
			r.UserID, r.State = made.User, string(Member)
		case r.Problem == "":
			r = s.resultOf(&made.Invitation)
		}
		m.Results = append(m.Results, r)
	}
	if !m.command.Link {
		return nil
	}
	made, err := s.Invite(ctx, m.who, m.RoomID, Request{Language: m.command.Language})
	r := commandResult{}
	if r.Problem, err = problemOf(err); err != nil {
		return err
	}
	if r.Problem == "" {
		r, m.Link = s.resultOf(&made.Invitation), made.Link
	}
	m.Results = append(m.Results, r)
	return nil
}

// resultOf is what there is to say about an invitation, to its inviter.
func (s *Server) resultOf(i *store.Invitation) commandResult {
	return commandResult{Address: i.Address, Medium: i.Medium, InvitationID: i.ID, State: Progress(i, s.now()), ExpiresTS: i.ExpiresTS}
}

// listFor lists the invitations of the room, or in the chat with the bot the asker's own. Addresses of others' are masked.
func (s *Server) listFor(ctx context.Context, m *botMessage) error {
	list, err := s.candidates(ctx, m, limits.CommandList+1)
	if err != nil {
		return err
	}
	m.More = len(list) > limits.CommandList
	for i := range list[:min(len(list), limits.CommandList)] {
		r := s.resultOf(&list[i])
		if list[i].Inviter != m.Sender {
			r.Address = Mask(r.Medium, r.Address)
		}
		m.Results = append(m.Results, r)
	}
	return nil
}

// candidates are the invitations that a command may be about.
func (s *Server) candidates(ctx context.Context, m *botMessage, limit int) ([]store.Invitation, error) {
	f := store.InvitationFilter{Holding: true, Now: s.now()}
	if m.RoomID != "" {
		f.RoomNID = m.room.NID
	} else {
		f.Inviter = m.Sender
	}
	list, err := s.cfg.Store.ListInvitations(ctx, f, limit)
	if err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	return list, nil
}

// changeFor revokes invitations, or sends them again.
func (s *Server) changeFor(ctx context.Context, m *botMessage) error {
	list, err := s.candidates(ctx, m, limits.CommandCandidates)
	if err != nil {
		return err
	}
	org, err := s.cfg.Store.GetOrganisation(ctx, m.who.Org)
	if err != nil {
		return fmt.Errorf("look up the organisation: %w", err)
	}
	var asked []func(i *store.Invitation) bool
	var names []string
	for _, a := range m.command.Addresses {
		canonical, _ := auth.CanonicalAddress(a.Medium, a.Text, org.DefaultRegion)
		asked = append(asked, func(i *store.Invitation) bool { return i.Medium == a.Medium && i.Address == canonical })
		names = append(names, a.Text)
	}
	for _, id := range m.command.IDs {
		asked = append(asked, func(i *store.Invitation) bool {
			return len(i.ID) >= len(id) && strings.EqualFold(i.ID[:len(id)], id)
		})
		names = append(names, id)
	}
	for n, is := range asked {
		found := 0
		for i := range list {
			// An address is its inviter's to know: others learn nothing by naming it.
			if !is(&list[i]) || list[i].Inviter != m.Sender && n < len(m.command.Addresses) {
				continue
			}
			found++
			r, err := s.changeOne(ctx, m, &list[i])
			if err != nil {
				return err
			}
			m.Results = append(m.Results, r)
		}
		if found == 0 {
			m.Results = append(m.Results, commandResult{Address: names[n], Problem: problemNoneOf})
		}
	}
	return nil
}

func (s *Server) changeOne(ctx context.Context, m *botMessage, i *store.Invitation) (r commandResult, err error) {
	r = s.resultOf(i)
	if i.Inviter != m.Sender {
		r.Address = Mask(i.Medium, i.Address)
	}
	if m.Action == commands.Revoke {
		err = s.Withdraw(ctx, m.who, i.ID)
		r.State = string(Revoked)
	} else {
		var made Invited
		if made, err = s.Resend(ctx, m.who, i.ID); err == nil {
			r = s.resultOf(&made.Invitation)
			if made.Link != "" {
				m.Link = made.Link
			}
		}
	}
	r.Problem, err = problemOf(err)
	return r, err
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
