package schedule

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/internal/commands"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Commands is what the bot asks for (clientapi/invitations). Whoever has written to it may do what they could do by the API, and nothing else.
type Commands struct {
	*Server
	// Timezone is where the clock is of those who do not say.
	Timezone string
	// CallOut has a number called into a room's meeting; Numbers are those by which people call in.
	CallOut func(ctx context.Context, who *httpapi.Requester, room matrix.RoomID, number string) (string, error)
	Numbers func(ctx context.Context, org int64, room matrix.RoomID) ([]string, error)
}

// Now begins a meeting, or finds the one that is on.
func (c *Commands) Now(ctx context.Context, who *httpapi.Requester, room matrix.RoomID) (made invitations.CommandMeeting, phones []string, err error) {
	m, err := c.meetIn(ctx, who, room, &NowRequest{})
	if err != nil {
		return made, nil, err
	}
	if made, err = c.tell(ctx, who, &m); err == nil && c.Numbers != nil {
		phones, err = c.Numbers(ctx, who.Org, room)
	}
	made.When = ""
	return made, phones, err
}

// Arrange arranges a meeting, once for each id.
func (c *Commands) Arrange(ctx context.Context, who *httpapi.Requester, id string, asked *commands.Command) (made invitations.CommandMeeting, not []invitations.NotAsked, err error) {
	hash := sha256.Sum256([]byte("meeting of a command " + id))
	once := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(hash[:16])
	m, err := c.cfg.Store.GetMeeting(ctx, once)
	if err == nil && m.Organiser == who.User {
		made, err = c.tell(ctx, who, &m)
		return made, nil, err
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return made, nil, fmt.Errorf("look up a meeting: %w", err)
	}
	r := Request{Title: asked.Title, Timezone: asked.Timezone, Link: true, once: once}
	if r.Title == "" {
		person, err := c.cfg.Store.GetPerson(ctx, who.User)
		if err != nil {
			return made, nil, fmt.Errorf("look up the organiser: %w", err)
		}
		r.Title = short(nameOf(person.Name, who.User))
	}
	if r.Timezone == "" {
		if r.Timezone, err = c.timezoneOf(ctx, who.User); err != nil {
			return made, nil, err
		}
	}
	start, err := time.Parse(localForms[0], asked.Start)
	if err != nil {
		return made, nil, matrix.InvalidParam("start is none")
	}
	r.Start, r.End = asked.Start, start.Add(time.Duration(asked.Minutes)*time.Minute).Format(localForms[0])
	for _, a := range asked.Addresses {
		r.Invitees = append(r.Invitees, Invitee{Medium: a.Medium, Address: a.Text})
	}
	for _, u := range asked.Users {
		r.Invitees = append(r.Invitees, Invitee{UserID: u})
	}
	m, problems, err := c.Create(ctx, who, r)
	if err != nil {
		return made, nil, err
	}
	for _, p := range problems {
		not = append(not, invitations.NotAsked{Address: cmp.Or(p.Address, string(p.UserID)), Why: matrix.NewError(403, matrix.ErrCode(p.Code), "%s", p.Error)})
	}
	made, err = c.tell(ctx, who, &m)
	return made, not, err
}

// timezoneOf is where somebody's clock is.
func (c *Commands) timezoneOf(ctx context.Context, user matrix.UserID) (string, error) {
	fields, err := c.cfg.Store.ListProfiles(ctx, []matrix.UserID{user}, []string{"m.tz"})
	if err != nil {
		return "", fmt.Errorf("look up a time zone: %w", err)
	}
	var name string
	if len(fields) > 0 && json.Unmarshal(fields[0].Value, &name) == nil && name != "" {
		if _, err := time.LoadLocation(name); err == nil {
			return name, nil
		}
	}
	if c.Timezone != "" {
		return c.Timezone, nil
	}
	return "UTC", nil
}

// List are the scheduled meetings to come that somebody sees, in their order.
func (c *Commands) List(ctx context.Context, who *httpapi.Requester, limit int) ([]invitations.CommandMeeting, error) {
	found, err := c.cfg.Store.ListMeetings(ctx, store.MeetingFilter{Visible: who.User, Upcoming: true}, limit)
	if err != nil {
		return nil, fmt.Errorf("list meetings: %w", err)
	}
	list := make([]invitations.CommandMeeting, 0, len(found))
	for i := range found {
		one, err := c.tell(ctx, who, &found[i])
		if err != nil {
			return nil, err
		}
		one.Link = ""
		list = append(list, one)
	}
	return list, nil
}

// Cancel cancels a meeting, as its organiser or a moderator may.
func (c *Commands) Cancel(ctx context.Context, who *httpapi.Requester, id string) error {
	m, _, err := c.managed(ctx, who, id)
	if err != nil {
		return err
	}
	return c.Server.Cancel(ctx, who.Actor(), &m)
}

// Call has a number called.
func (c *Commands) Call(ctx context.Context, who *httpapi.Requester, room matrix.RoomID, number string) (string, error) {
	if c.CallOut == nil {
		return "", matrix.Unrecognized()
	}
	return c.CallOut(ctx, who, room, number)
}

// tell is what the bot tells of a meeting.
func (c *Commands) tell(ctx context.Context, who *httpapi.Requester, m *store.Meeting) (invitations.CommandMeeting, error) {
	one := invitations.CommandMeeting{ID: m.ID, Title: m.Title, When: topicOf(m), RoomID: m.RoomID, Room: m.Title}
	level, err := c.levelOf(ctx, who.User, m)
	if err == nil && manages(who.User, m, "join", level) {
		one.Link = c.Link(m)
	}
	return one, err
}
