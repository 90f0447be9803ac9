package schedule

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
)

// Answer is a meeting as the API tells of it.
type Answer struct {
	ID     string        `json:"meeting_id"`
	Kind   string        `json:"kind"`
	RoomID matrix.RoomID `json:"room_id"`
	Title  string        `json:"title"`
	// State is upcoming, on, past or cancelled; that of a personal room is open.
	State     string        `json:"state"`
	Organiser matrix.UserID `json:"organiser"`
	// StartTS and EndTS are the first time, NextStartTS and NextEndTS the next one, or the one that is on.
	StartTS     matrix.Timestamp   `json:"start_ts,omitempty"`
	EndTS       matrix.Timestamp   `json:"end_ts,omitempty"`
	NextStartTS matrix.Timestamp   `json:"next_start_ts,omitempty"`
	NextEndTS   matrix.Timestamp   `json:"next_end_ts,omitempty"`
	Timezone    string             `json:"timezone,omitempty"`
	Recurrence  string             `json:"recurrence,omitempty"`
	Exceptions  []outbox.Exception `json:"exceptions,omitempty"`
	CreatedTS   matrix.Timestamp   `json:"created_ts"`
	CancelledTS matrix.Timestamp   `json:"cancelled_ts,omitempty"`
	// Mine: the requester is the organiser. Answer is what the requester has said: accepted, tentative, declined, or nothing.
	Mine   bool   `json:"mine"`
	Answer string `json:"answer,omitempty"`

	// What follows is told of one meeting, and not in lists.

	// Role is organiser, moderator, presenter or attendee; MayManage: the requester may change the meeting.
	Role      string `json:"role,omitempty"`
	MayManage *bool  `json:"may_manage,omitempty"`
	Encrypted *bool  `json:"encrypted,omitempty"`
	Lobby     string `json:"lobby,omitempty"`
	// Link is told to those who may change the meeting.
	Link     string          `json:"link,omitempty"`
	Invitees []InviteeAnswer `json:"invitees,omitempty"`
	// Problems are those who could not be asked.
	Problems []Problem `json:"problems,omitempty"`
}

// InviteeAnswer is somebody who was asked.
type InviteeAnswer struct {
	ID      string        `json:"invitee_id"`
	UserID  matrix.UserID `json:"user_id,omitempty"`
	Medium  string        `json:"medium,omitempty"`
	Address string        `json:"address,omitempty"`
	Name    string        `json:"name,omitempty"`
	Role    string        `json:"role"`
	// Answer is accepted, tentative, declined, or empty.
	Answer   string           `json:"answer"`
	AnswerTS matrix.Timestamp `json:"answer_ts,omitempty"`
	// InvitationID and State are of an address: how far its invitation has come.
	InvitationID string `json:"invitation_id,omitempty"`
	State        string `json:"state,omitempty"`
}

// brief is what is told of a meeting in lists.
func (s *Server) brief(m *store.Meeting, user matrix.UserID) (Answer, error) {
	d, err := describe(m)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{
		ID: m.ID, Kind: m.Kind, RoomID: m.RoomID, Title: m.Title, Organiser: m.Organiser, StartTS: m.StartTS, EndTS: m.EndTS, NextStartTS: m.NextStartTS,
		NextEndTS: m.NextEndTS, Recurrence: m.Recurrence, Exceptions: d.Exceptions, CreatedTS: m.CreatedTS, CancelledTS: m.CancelledTS, Mine: m.Organiser == user,
	}
	if m.Kind == store.MeetingScheduled {
		a.Timezone = m.Timezone
	}
	switch {
	case m.CancelledTS != 0:
		a.State = "cancelled"
	case m.Kind == store.MeetingPersonal:
		a.State = "open"
	case m.NextEndTS == 0 || m.NextEndTS.Add(limits.MeetingLate) < s.now():
		a.State = "past"
	case m.NextStartTS <= s.now():
		a.State = "on"
	default:
		a.State = "upcoming"
	}
	return a, nil
}

// answer is a meeting as somebody sees it who may see it.
func (s *Server) answer(ctx context.Context, who *httpapi.Requester, m *store.Meeting, problems []Problem) (Answer, error) {
	a, err := s.brief(m, who.User)
	if err != nil {
		return a, err
	}
	room, err := s.cfg.Rooms.Room(ctx, m.RoomID)
	if err != nil {
		return a, err
	}
	present, err := s.cfg.Store.GetMembership(ctx, m.RoomNID, who.User)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return a, fmt.Errorf("load membership: %w", err)
	}
	level, err := s.levelOf(ctx, who.User, m)
	if err != nil {
		return a, err
	}
	may := manages(who.User, m, present.Membership, level) && !who.Guest
	a.Role, a.MayManage, a.Problems = roleOf(level), &may, problems
	encrypted, err := s.encrypted(ctx, room)
	if err != nil {
		return a, err
	}
	st, err := s.cfg.Meetings.StateOf(ctx, m.RoomNID)
	if err != nil {
		return a, err
	}
	a.Encrypted, a.Lobby = &encrypted, st.Lobby
	if may {
		a.Link = s.Link(m)
	}
	mine, err := s.cfg.Store.GetInviteeOf(ctx, m.ID, who.User)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return a, fmt.Errorf("look up an invitee: %w", err)
	}
	a.Answer = mine.Answer
	a.Invitees, err = s.invitees(ctx, who, m, may)
	return a, err
}

// Link is a meeting's link to pass on, or empty.
func (s *Server) Link(m *store.Meeting) string {
	if m.LinkID == "" || m.CancelledTS != 0 {
		return ""
	}
	return s.cfg.Invitations.LinkOf(s.secretOf(m))
}

// invitees are those whom the requester may know of: who may change the meeting knows all, with their addresses; members know of each other, and of
// addresses as much as the room says; a guest knows who was asked with them only when they come.
func (s *Server) invitees(ctx context.Context, who *httpapi.Requester, m *store.Meeting, whole bool) ([]InviteeAnswer, error) {
	list, err := s.cfg.Store.ListMeetingInvitees(ctx, m.ID)
	if err != nil {
		return nil, fmt.Errorf("list the invitees of a meeting: %w", err)
	}
	progress, err := s.progress(ctx, m)
	if err != nil {
		return nil, err
	}
	var all []InviteeAnswer
	for _, i := range list {
		if i.RemovedTS != 0 || who.Guest {
			continue
		}
		a := InviteeAnswer{
			ID: i.ID, UserID: i.UserID, Medium: i.Medium, Address: i.Address, Name: i.Name, Role: i.Role, Answer: i.Answer, AnswerTS: i.AnswerTS,
			InvitationID: i.InvitationID, State: progress[i.InvitationID],
		}
		if !whole {
			a.Address, a.Name = invitations.Mask(i.Medium, i.Address), ""
		}
		all = append(all, a)
	}
	return all, nil
}

// progress is how far the invitations to a meeting have come.
func (s *Server) progress(ctx context.Context, m *store.Meeting) (map[string]string, error) {
	list, err := s.cfg.Store.ListAllMeetingInvitations(ctx, m.ID)
	if err != nil {
		return nil, fmt.Errorf("list the invitations to a meeting: %w", err)
	}
	states := make(map[string]string, len(list))
	for i := range list {
		states[list[i].ID] = invitations.Progress(&list[i], s.now())
	}
	return states, nil
}

// ListResponse is a page of meetings.
type ListResponse struct {
	Meetings []Answer `json:"meetings"`
	// NextBatch is there if there are more: the value of from that continues.
	NextBatch string `json:"next_batch,omitempty"`
}

// list gives a page of the meetings that the requester sees.
func (s *Server) list(ctx context.Context, c *httpapi.Call) (any, error) {
	f := store.MeetingFilter{Visible: c.Requester.User}
	if c.QueryBool("mine") {
		f.Organiser = c.Requester.User
	}
	return s.page(ctx, c, f)
}

// page gives a page of those that the filter chooses, and that are in the room if the request names one.
func (s *Server) page(ctx context.Context, c *httpapi.Call, f store.MeetingFilter) (any, error) {
	if id := c.Query("room_id"); id != "" {
		room, err := s.cfg.Rooms.Room(ctx, matrix.RoomID(id))
		if isRefusal(err) {
			return ListResponse{Meetings: []Answer{}}, nil
		}
		if err != nil {
			return nil, err
		}
		f.RoomNID = room.NID
	}
	limit, err := c.QueryInt("limit", 50, 1, limits.MeetingsPage)
	if err != nil {
		return nil, err
	}
	switch c.Query("when") {
	case "", "upcoming":
		f.Upcoming = true
	case "past":
		f.Past = true
	case "all":
	default:
		return nil, matrix.InvalidParam("when must be upcoming, past or all")
	}
	if f.AfterTS, f.AfterID, err = c.QueryFrom(); err != nil {
		return nil, err
	}
	found, err := s.cfg.Store.ListMeetings(ctx, f, limit+1)
	if err != nil {
		return nil, fmt.Errorf("list meetings: %w", err)
	}
	response := ListResponse{Meetings: []Answer{}}
	var ids []string
	for n := range found[:min(limit, len(found))] {
		a, err := s.brief(&found[n], c.Requester.User)
		if err != nil {
			return nil, err
		}
		response.Meetings, ids = append(response.Meetings, a), append(ids, a.ID)
	}
	answers, err := s.cfg.Store.ListMeetingAnswers(ctx, ids, c.Requester.User)
	if err != nil {
		return nil, fmt.Errorf("list answers: %w", err)
	}
	for n := range response.Meetings {
		response.Meetings[n].Answer = answers[response.Meetings[n].ID]
	}
	if len(found) > limit {
		last := &found[limit-1]
		ts := last.CreatedTS
		if f.Upcoming {
			ts = last.NextStartTS
		}
		response.NextBatch = httpapi.NextBatch(ts, last.ID)
	}
	return response, nil
}

// get gives one meeting.
func (s *Server) get(ctx context.Context, c *httpapi.Call) (any, error) {
	m, _, err := s.visible(ctx, c.Requester, c.Path("meetingId"))
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, c.Requester, &m, nil)
}

// post arranges a meeting.
func (s *Server) post(ctx context.Context, c *httpapi.Call, r *Request) (any, error) {
	m, problems, err := s.Create(ctx, c.Requester, *r)
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, c.Requester, &m, problems)
}

// hashOf is what is stored of a link's secret.
func hashOf(secret [16]byte) []byte {
	h := sha256.Sum256(secret[:])
	return h[:]
}

// nameOf is the name of a profile, as JSON, or what stands for it.
func nameOf(raw []byte, user matrix.UserID) string {
	var name string
	if json.Unmarshal(raw, &name) != nil || name == "" {
		return user.Localpart()
	}
	return name
}

// short is a name that people chose as a title: one line, and not too long.
func short(name string) string {
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(name, "")))
	if len(name) > limits.MeetingText {
		name = name[:limits.MeetingText]
		for !utf8.ValidString(name) {
			name = name[:len(name)-1]
		}
	}
	return name
}
