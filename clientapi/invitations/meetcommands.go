package invitations

import (
	"context"
	"strings"

	"github.com/roomline/roomline/internal/commands"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

// MeetingCommands does what commands ask for about meetings, as the API would for the same person.
type MeetingCommands interface {
	// Now begins a meeting in a room, or finds the one that is on; Phones are the numbers to call in by.
	Now(ctx context.Context, who *httpapi.Requester, room matrix.RoomID) (m CommandMeeting, phones []string, err error)
	// Arrange arranges one, once for each id. Not is whom could not be asked.
	Arrange(ctx context.Context, who *httpapi.Requester, id string, c *commands.Command) (m CommandMeeting, not []NotAsked, err error)
	// List are those to come of which the asker is told, in their order.
	List(ctx context.Context, who *httpapi.Requester, limit int) ([]CommandMeeting, error)
	Cancel(ctx context.Context, who *httpapi.Requester, id string) error
	// Call has a number called into the room's meeting, and returns it as it is called.
	Call(ctx context.Context, who *httpapi.Requester, room matrix.RoomID, number string) (string, error)
}

// CommandMeeting is a meeting as the bot tells of it.
type CommandMeeting struct {
	ID    string `json:"meeting_id"`
	Title string `json:"title,omitempty"`
	// When is what the clock shows, with its zone; empty for one that is now.
	When   string        `json:"when,omitempty"`
	RoomID matrix.RoomID `json:"room_id,omitempty"`
	Room   string        `json:"room,omitempty"`
	// Link is for the asker alone.
	Link string `json:"-"`
}

// NotAsked is somebody who could not be asked to a meeting.
type NotAsked struct {
	Address string
	Why     error
}

// More words for what is wrong.
const (
	problemWhen          = "when"            // a time that is none, or is over
	problemNoMeeting     = "no_meeting"      // none is on
	problemNoSuchMeeting = "no_such_meeting" // the list has none whose id begins so, or several
	problemEncrypted     = "encrypted"       // a phone can't be in the room
	problemAway          = "away"            // the part that it needs is not there now
)

func isAboutMeetings(a commands.Action) bool {
	return a == commands.Meet || a == commands.Meetings || a == commands.CallOff || a == commands.Call
}

// understandMeeting finds the room of a command about a meeting: the one that it stands in.
func (s *Server) understandMeeting(ctx context.Context, m *botMessage) (done bool, err error) {
	c := &m.command
	switch {
	case s.cfg.Meetings == nil:
		m.Problem = problemDenied
	case c.Action == commands.Call && len(c.Addresses) == 0:
		m.Problem = problemAddress
	case m.Direct && (c.Action == commands.Call || c.Action == commands.Meet && c.Start == ""):
		m.Problem = problemWhichRoom
	case c.Action == commands.Meet || c.Action == commands.Call:
		if _, err := s.joinedRoom(ctx, m.Sender, m.room.ID); err != nil {
			m.Problem, err = problemOf(err)
			return true, err
		}
		m.RoomID = m.room.ID
		m.RoomName, err = s.nameOf(ctx, m.room)
	}
	return m.Problem != "", err
}

// meetFor does what a command asks for about a meeting.
func (s *Server) meetFor(ctx context.Context, m *botMessage) error {
	var made CommandMeeting
	var not []NotAsked
	var err error
	switch {
	case m.Action == commands.Call:
		m.Number, err = s.cfg.Meetings.Call(ctx, m.who, m.RoomID, m.command.Addresses[0].Text)
	case m.Action == commands.CallOff:
		made, err = s.callOff(ctx, m)
	case m.command.Start == "":
		made, m.Phones, err = s.cfg.Meetings.Now(ctx, m.who, m.RoomID)
	default:
		made, not, err = s.cfg.Meetings.Arrange(ctx, m.who, string(m.id), &m.command)
	}
	if m.Problem != "" {
		return err
	}
	if m.Problem, err = meetingProblem(err); err != nil || m.Problem != "" {
		return err
	}
	if made.ID != "" {
		m.Meetings = []CommandMeeting{made}
	}
	m.Link = made.Link
	for _, n := range not {
		r := commandResult{Address: n.Address}
		if r.Problem, err = problemOf(n.Why); err != nil {
			r.Problem = problemFailed
		}
		m.Results = append(m.Results, r)
	}
	return nil
}

// callOff cancels the one meeting to come whose id begins as was said.
func (s *Server) callOff(ctx context.Context, m *botMessage) (one CommandMeeting, err error) {
	list, err := s.cfg.Meetings.List(ctx, m.who, limits.CommandList)
	if err != nil {
		return one, err
	}
	id, found := m.command.IDs[0], 0
	for _, meeting := range list {
		if len(meeting.ID) >= len(id) && strings.EqualFold(meeting.ID[:len(id)], id) {
			one = meeting
			found++
		}
	}
	if found != 1 {
		m.Problem = problemNoSuchMeeting
		return CommandMeeting{}, nil
	}
	return one, s.cfg.Meetings.Cancel(ctx, m.who, one.ID)
}

// meetingsFor lists the asker's meetings.
func (s *Server) meetingsFor(ctx context.Context, m *botMessage) error {
	list, err := s.cfg.Meetings.List(ctx, m.who, limits.CommandList+1)
	m.More = len(list) > limits.CommandList
	m.Meetings = list[:min(len(list), limits.CommandList)]
	return err
}

// meetingProblem is a word for a refusal of something about meetings.
func meetingProblem(err error) (string, error) {
	e, ok := matrix.AsError(err)
	if !ok {
		return "", err
	}
	reason, _ := e.Fields["org.roomline.reason"].(string)
	switch {
	case reason == "no_meeting", reason == "encrypted":
		return map[string]string{"no_meeting": problemNoMeeting, "encrypted": problemEncrypted}[reason], nil
	case e.Code == "ORG.ROOMLINE.MEETINGS_UNAVAILABLE", e.Code == matrix.ErrUnrecognized:
		return problemAway, nil
	case e.Code == matrix.ErrInvalidParam:
		return problemWhen, nil
	}
	return problemOf(err)
}
