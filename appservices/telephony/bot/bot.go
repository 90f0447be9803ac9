// Package bot is the telephony bridge's bot: people write to it whom they want to invite, where their client has no screen for that.
//
// It is told of commands in any unencrypted room, and of everything in rooms that it is in. Every message is handed to the server, which looks it
// up and carries it out in its sender's name (clientapi/invitations/commands.go): the bot decides nothing. It says what has come of it in the
// sender's language (words.go), in the room if it is there, and otherwise in a chat with the sender, and brings what it said up to date.
//
// It keeps nothing: a transaction that comes twice is answered once, because the server does a command once, and messages are sent with the id of
// what they answer.
//
// Start reading at Transaction.
package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/internal/commands"
)

// Config of a Bot.
type Config struct {
	// Homeserver is the server's address, Token the as_token of the bridge's registration.
	Homeserver, Token string
	HTTP              *http.Client
	Log               *slog.Logger
	// Name is what people see; "Invitations" if empty.
	Name string
}

// Bot is the bot. It is safe for concurrent use.
type Bot struct {
	cfg    Config
	server telephony.Client
	client *mautrix.Client

	mu   sync.Mutex
	user id.UserID
	// groups are rooms that are no chat of one with the bot, as far as was known a moment ago.
	groups map[id.RoomID]time.Time
}

// groupKnown is for how long a room is taken for no chat, and groupsKept how many are remembered.
const (
	groupKnown = time.Minute
	groupsKept = 10_000
)

// Types of events.
const (
	typeMessage    = "m.room.message"
	typeMember     = "m.room.member"
	typeEncryption = "m.room.encryption"
	typeInvitation = "org.roomline.invitation"
)

// What the registration's view has to allow: EventTypes are what the bot is told of in rooms that it is in, OutsideTypes elsewhere, besides
// commands, and Act is what it does.
var (
	EventTypes   = []string{typeMessage, typeMember, typeEncryption, typeInvitation}
	OutsideTypes = []string{typeInvitation}
	Act          = []string{"read", "send", "rooms", "profile"}
)

// New returns a Bot.
func New(cfg Config) (*Bot, error) {
	if cfg.Homeserver == "" || cfg.Token == "" || cfg.HTTP == nil || cfg.Log == nil {
		return nil, errors.New("bot: Config is not complete")
	}
	if cfg.Name == "" {
		cfg.Name = "Invitations"
	}
	client, err := mautrix.NewClient(cfg.Homeserver, "", cfg.Token)
	if err != nil {
		return nil, fmt.Errorf("bot: %w", err)
	}
	client.Client, client.DefaultHTTPRetries = cfg.HTTP, 0
	return &Bot{cfg: cfg, server: telephony.Client{URL: cfg.Homeserver, Token: cfg.Token, HTTP: cfg.HTTP}, client: client, groups: make(map[id.RoomID]time.Time)}, nil
}

// told is an event of a transaction, as far as the bot has use for it.
type told struct {
	Type     string     `json:"type"`
	ID       id.EventID `json:"event_id"`
	RoomID   id.RoomID  `json:"room_id"`
	Sender   id.UserID  `json:"sender"`
	StateKey *string    `json:"state_key"`
	Content  struct {
		Membership string `json:"membership"`
		MsgType    string `json:"msgtype"`
		Body       string `json:"body"`
		State      string `json:"state"`
		RelatesTo  struct {
			Type string `json:"rel_type"`
		} `json:"m.relates_to"`
	} `json:"content"`
}

// Transaction takes the events of a transaction. An error asks for all of them again.
func (b *Bot) Transaction(ctx context.Context, body []byte) error {
	// An event with a field of another type than it should have is as good as none.
	var transaction struct {
		Events []json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(body, &transaction); err != nil || len(transaction.Events) == 0 {
		return nil
	}
	if err := b.ready(ctx); err != nil {
		return err
	}
	var failed error
	for _, text := range transaction.Events {
		var e told
		if json.Unmarshal(text, &e) != nil || e.Sender == b.user {
			continue
		}
		if err := b.event(ctx, &e); err != nil {
			if !passing(err) {
				b.cfg.Log.Info("bot: an event can't be dealt with", "room", e.RoomID, "event", e.ID, "error", err)
				continue
			}
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// passing reports whether the same may be done later.
func passing(err error) bool {
	var answer *telephony.Refused
	if errors.As(err, &answer) {
		return answer.Status >= http.StatusInternalServerError || answer.Status == http.StatusTooManyRequests
	}
	var http mautrix.HTTPError
	if errors.As(err, &http) && http.Response != nil {
		return http.Response.StatusCode >= 500 || http.Response.StatusCode == 429
	}
	return true
}

// ready learns who the bot is, and gives it its name.
func (b *Bot) ready(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.user != "" {
		return nil
	}
	who, err := b.client.Whoami(ctx)
	if err != nil {
		return fmt.Errorf("who is the bot: %w", err)
	}
	b.client.UserID = who.UserID
	if profile, err := b.client.GetDisplayName(ctx, who.UserID); err != nil || profile.DisplayName != b.cfg.Name {
		if err := b.client.SetDisplayName(ctx, b.cfg.Name); err != nil {
			b.cfg.Log.Info("bot: it has no name", "error", err)
		}
	}
	b.user = who.UserID
	return nil
}

func (b *Bot) event(ctx context.Context, e *told) error {
	switch {
	case e.Type == typeMessage && e.StateKey == nil:
		return b.message(ctx, e)
	case e.Type == typeMember && e.StateKey != nil && *e.StateKey == string(b.user):
		if e.Content.Membership == "invite" {
			return b.invited(ctx, e)
		}
	case e.Type == typeMember && (e.Content.Membership == "leave" || e.Content.Membership == "ban"):
		return b.leaveIfAlone(ctx, e.RoomID)
	case e.Type == typeEncryption && e.StateKey != nil:
		return b.tooSecret(ctx, e)
	case e.Type == typeInvitation && e.StateKey != nil:
		return b.progressed(ctx, e)
	}
	return nil
}

// invited joins where people of the deployment want it, and leaves again where it can't read.
func (b *Bot) invited(ctx context.Context, e *told) error {
	if _, err := b.client.JoinRoomByID(ctx, e.RoomID); err != nil {
		return err
	}
	var encryption struct{}
	err := b.client.StateEvent(ctx, e.RoomID, event.StateEncryption, "", &encryption)
	if err == nil {
		return b.tooSecret(ctx, e)
	}
	if errors.Is(err, mautrix.MNotFound) {
		return nil
	}
	return err
}

// tooSecret tells whoever wants the bot in an encrypted room, in a chat without encryption, that it can't read there, and leaves.
func (b *Bot) tooSecret(ctx context.Context, e *told) error {
	a, err := b.chat(ctx, e)
	if err == nil {
		_, err = b.say(ctx, a.ChatRoomID, wordsOf(a.Language).encrypted, "encrypted-"+string(e.ID))
	}
	if err != nil && passing(err) {
		return err
	}
	_, err = b.client.LeaveRoom(ctx, e.RoomID)
	return err
}

// leaveIfAlone leaves a room that nobody else is in, or is invited to.
func (b *Bot) leaveIfAlone(ctx context.Context, room id.RoomID) error {
	members, err := b.client.Members(ctx, room)
	if err != nil {
		return err
	}
	for _, m := range members.Chunk {
		membership, _ := m.Content.Raw["membership"].(string)
		if m.GetStateKey() != string(b.user) && (membership == "join" || membership == "invite") {
			return nil
		}
	}
	_, err = b.client.LeaveRoom(ctx, room)
	return err
}

// message has the server do what a message says, and answers.
func (b *Bot) message(ctx context.Context, e *told) error {
	if e.Content.MsgType != "m.text" || e.Content.RelatesTo.Type == "m.replace" {
		return nil
	}
	action := ""
	if c, ok := commands.Parse(e.Content.Body, false); ok {
		action = string(c.Action)
	} else if b.isGroup(e.RoomID) {
		return nil
	}
	var a answer
	if err := b.post(ctx, map[string]any{"event_id": e.ID, "room_id": e.RoomID, "action": action}, &a); err != nil {
		return err
	}
	b.setGroup(e.RoomID, !a.Direct)
	if a.Reply != nil || a.Action == "" && !a.Direct {
		return nil
	}
	return b.reply(ctx, e, &a)
}

// reply says what has come of a command, where it was given if the bot is there. What is for the asker alone is told in the chat.
func (b *Bot) reply(ctx context.Context, e *told, a *answer) error {
	w, room := wordsOf(a.Language), e.RoomID
	text := w.answer(a, a.Direct || !a.Joined)
	if !a.Joined || a.isForAsker() && !a.Direct {
		with, err := b.chat(ctx, e)
		if err != nil {
			return err
		}
		chat := with.ChatRoomID
		if a.Joined {
			if _, err := b.say(ctx, chat, w.answer(a, true), "chat-"+string(e.ID)); err != nil {
				return err
			}
		} else {
			room = chat
		}
	}
	said, err := b.say(ctx, room, text, "answer-"+string(e.ID))
	if err != nil {
		return err
	}
	if len(a.Results) == 0 || a.Action == commands.List || a.Action == commands.Meet {
		return nil
	}
	return b.post(ctx, map[string]any{
		"event_id": e.ID, "room_id": e.RoomID, "reply": map[string]any{"room_id": room, "event_id": said},
	}, nil)
}

// progressed brings an answer up to date when an invitation of it has come further.
func (b *Bot) progressed(ctx context.Context, e *told) error {
	var a answer
	err := b.post(ctx, map[string]any{"invitation_id": *e.StateKey}, &a)
	if r := (*telephony.Refused)(nil); errors.As(err, &r) && r.Status == http.StatusNotFound {
		return nil // a client made it
	}
	if err != nil || a.Reply == nil {
		return err
	}
	private := a.Direct || !a.Joined
	if private && a.hasLink() {
		return nil // what it says can't be said again
	}
	text := wordsOf(a.Language).answer(&a, private)
	content := &event.MessageEventContent{
		MsgType: event.MsgNotice, Body: "* " + text, Mentions: &event.Mentions{},
		NewContent: &event.MessageEventContent{MsgType: event.MsgNotice, Body: text, Mentions: &event.Mentions{}},
		RelatesTo:  &event.RelatesTo{Type: event.RelReplace, EventID: a.Reply.EventID},
	}
	_, err = b.client.SendMessageEvent(ctx, a.Reply.RoomID, event.EventMessage, content, mautrix.ReqSendEvent{TransactionID: "progress-" + string(e.ID)})
	return err
}

// say writes a notice, once for each id.
func (b *Bot) say(ctx context.Context, room id.RoomID, text, txn string) (id.EventID, error) {
	content := &event.MessageEventContent{MsgType: event.MsgNotice, Body: text, Mentions: &event.Mentions{}}
	sent, err := b.client.SendMessageEvent(ctx, room, event.EventMessage, content, mautrix.ReqSendEvent{TransactionID: txn})
	if err != nil {
		return "", err
	}
	return sent.EventID, nil
}

// chat is the room where the bot writes to the sender of an event alone; the server makes it if there is none.
func (b *Bot) chat(ctx context.Context, e *told) (a answer, err error) {
	err = b.post(ctx, map[string]any{"event_id": e.ID, "room_id": e.RoomID, "chat": true}, &a)
	return a, err
}

func (b *Bot) isGroup(room id.RoomID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Since(b.groups[room]) < groupKnown
}

func (b *Bot) setGroup(room id.RoomID, group bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.groups) > groupsKept {
		clear(b.groups)
	}
	if delete(b.groups, room); group {
		b.groups[room] = time.Now()
	}
}

// answer is what the server says about a message (clientapi/invitations).
type answer struct {
	Action     commands.Action `json:"action"`
	Sender     id.UserID       `json:"sender"`
	Language   string          `json:"language"`
	Direct     bool            `json:"direct"`
	Joined     bool            `json:"joined"`
	ChatRoomID id.RoomID       `json:"chat_room_id"`
	RoomName   string          `json:"target_room_name"`
	Problem    string          `json:"problem"`
	Detail     string          `json:"detail"`
	Results    []result        `json:"results"`
	Link       string          `json:"link"`
	Meetings   []meeting       `json:"meetings"`
	Phones     []string        `json:"phones"`
	Number     string          `json:"number"`
	More       bool            `json:"more"`
	Reply      *struct {
		RoomID  id.RoomID  `json:"room_id"`
		EventID id.EventID `json:"event_id"`
	} `json:"reply"`
}

// hasLink reports whether a link is among the results.
func (a *answer) hasLink() bool {
	return slices.ContainsFunc(a.Results, func(r result) bool { return r.Medium == "" && r.InvitationID != "" && a.Action != commands.List })
}

// isForAsker reports whether an answer has what the others in a room may not read: a link, or meetings that they are not in.
func (a *answer) isForAsker() bool {
	return a.Link != "" || a.Action == commands.Meetings && len(a.Meetings) > 0
}

type meeting struct {
	ID    string `json:"meeting_id"`
	Title string `json:"title"`
	When  string `json:"when"`
}

type result struct {
	Address      string    `json:"address"`
	Medium       string    `json:"medium"`
	InvitationID string    `json:"invitation_id"`
	UserID       id.UserID `json:"user_id"`
	State        string    `json:"state"`
	Problem      string    `json:"problem"`
}

// commandPatience bounds a command.
const commandPatience = 30 * time.Second

// post asks the server about a message.
func (b *Bot) post(ctx context.Context, request, response any) error {
	ctx, cancel := context.WithTimeout(ctx, commandPatience)
	defer cancel()
	return b.server.Post(ctx, "commands", request, response)
}
