package schedule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

const (
	get    = http.MethodGet
	post   = http.MethodPost
	put    = http.MethodPut
	patch  = http.MethodPatch
	remove = http.MethodDelete

	all   = "/_roomline/client/v1/meetings"
	one   = all + "/{meetingId}"
	admin = "/_roomline/admin/v1/meetings"
)

// Routes is every endpoint.
func (s *Server) Routes() []httpapi.Route {
	page := []httpapi.Parameter{
		{Name: "when", Type: "string", Summary: "upcoming (with those that are on, and without: this), past, or all"},
		{Name: "from", Type: "string", Summary: "next_batch of an earlier answer"},
		{Name: "limit", Type: "integer", Summary: fmt.Sprintf("at most %d", limits.MeetingsPage)},
		{Name: "room_id", Type: "string", Summary: "only those of a room"},
	}
	table := []struct {
		method, path, limit string
		handle              httpapi.Handler
		doc                 httpapi.Doc
	}{
		{get, all, ratelimit.Read, s.list, httpapi.Doc{
			Summary: "The meetings in whose rooms the requester is, or is asked into: those to come in their order, others the newest first.", Who: "everybody", Response: ListResponse{},
			Query: append([]httpapi.Parameter{{Name: "mine", Type: "boolean", Summary: "true: only those that the requester has arranged"}}, page...)}},
		{post, all, ratelimit.Room, httpapi.JSON(s.post), httpapi.Doc{
			Summary: "Arrange a meeting: its room is made, and people are asked.", Who: "everybody but guests, as the policy meetings says", Request: Request{}, Response: Answer{}}},
		{get, one, ratelimit.Read, s.get, httpapi.Doc{Summary: "A meeting.", Who: "who is in its room, or asked into it", Response: Answer{}}},
		{patch, one, ratelimit.Room, httpapi.JSON(s.patch), httpapi.Doc{
			Summary: "Change a meeting, or one time of a series (time): calendars are told, and the links from before are dead.", Who: "its organiser, and moderators of its room", Request: Change{}, Response: Answer{}}},
		{remove, one, ratelimit.Room, s.cancel, httpapi.Doc{
			Summary: "Cancel a meeting: calendars are told, guests end, members keep the room.", Who: "its organiser, and moderators of its room",
			Query: []httpapi.Parameter{{Name: "time", Type: "integer", Summary: "cancel one time of a series only, which begins then by the rule"}}}},
		{post, one + "/invitees", ratelimit.Room, httpapi.JSON(s.addInvitees), httpapi.Doc{
			Summary: "Ask more people.", Who: "its organiser, and moderators of its organisation", Request: inviteesRequest{}, Response: Answer{}}},
		{remove, one + "/invitees/{inviteeId}", ratelimit.Room, s.removeInvitee, httpapi.Doc{
			Summary: "Take back that somebody was asked: they leave the room, and calendars are told.", Who: "its organiser, and moderators of its room"}},
		{put, one + "/answer", ratelimit.Send, httpapi.JSON(s.putAnswer), httpapi.Doc{
			Summary: "Say whether one comes.", Who: "who is in its room, or asked into it", Request: answerRequest{}}},
		{get, one + "/calendar.ics", ratelimit.Read, s.calendarFile, httpapi.Doc{
			Summary: "A meeting for a calendar.", Who: "who is in its room, or asked into it", ContentType: "text/calendar"}},
		{put, "/_roomline/client/v1/personal_meeting", ratelimit.Room, httpapi.OptionalJSON(s.personal), httpapi.Doc{
			Summary: "The requester's personal meeting room, which is made if there is none. Its link stays the same until it is renewed.", Who: "everybody but guests, as the policy meetings says",
			Request: PersonalRequest{}, Response: Answer{}}},
		{post, "/_roomline/client/v1/rooms/{roomId}/meeting", ratelimit.Room, httpapi.OptionalJSON(s.meetNow), httpapi.Doc{
			Summary: "Meet now: the meeting that is on in a room, or a new one. Members are told only if asked for.", Who: "who is in the room, as the policy meetings says", Request: NowRequest{}, Response: Answer{}}},

		{get, admin, ratelimit.Read, httpapi.ForManagers(s.adminList), httpapi.Doc{
			Summary: "The meetings of the organisation.", Who: "owner, people, auditor", Response: ListResponse{},
			Query: append([]httpapi.Parameter{{Name: "organiser", Type: "string", Summary: "the user who has arranged them"}}, page...)}},
		{get, admin + "/figures", ratelimit.Read, httpapi.ForManagers(s.figures), httpapi.Doc{
			Summary: "What the organisation's meetings come to.", Who: "owner, people, auditor", Response: Figures{}}},
		{get, admin + "/{meetingId}", ratelimit.Read, httpapi.ForManagers(s.adminGet), httpapi.Doc{
			Summary: "A meeting of the organisation.", Who: "owner, people, auditor", Response: AdminAnswer{}}},
		{post, admin + "/{meetingId}/end", ratelimit.Account, httpapi.ForManagers(s.adminEnd), httpapi.Doc{
			Summary: "Put everybody out of the calls in a meeting's room. They may come again.", Who: "owner, people"}},
		{remove, admin + "/{meetingId}", ratelimit.Account, httpapi.ForManagers(s.adminCancel), httpapi.Doc{
			Summary: "Cancel a meeting of the organisation.", Who: "owner, people"}},
	}
	var routes []httpapi.Route
	for _, r := range table {
		routes = append(routes, httpapi.Route{
			Method: r.method, Path: r.path, Auth: httpapi.AccessToken, Limit: r.limit, MaxBody: limits.SmallBody, Handle: r.handle, Doc: &r.doc,
		})
	}
	return routes
}

// adminList lists the organisation's meetings.
func (s *Server) adminList(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.page(ctx, c, store.MeetingFilter{OrganisationID: c.Requester.Org, Organiser: matrix.UserID(c.Query("organiser"))})
}

// ofOrganisation is a meeting of the administrator's organisation.
func (s *Server) ofOrganisation(ctx context.Context, c *httpapi.Call) (store.Meeting, error) {
	m, err := s.cfg.Store.GetMeeting(ctx, c.Path("meetingId"))
	if errors.Is(err, store.ErrNotFound) || err == nil && m.OrganisationID != c.Requester.Org {
		return m, noMeeting()
	}
	if err != nil {
		return m, fmt.Errorf("look up a meeting: %w", err)
	}
	return m, nil
}

// AdminAnswer is a meeting as administrators see it.
type AdminAnswer struct {
	Answer
	// Participants are those who are in its calls now.
	Participants []ParticipantAnswer `json:"participants"`
}

// ParticipantAnswer is a device that is in a call.
type ParticipantAnswer struct {
	UserID   matrix.UserID    `json:"user_id"`
	DeviceID matrix.DeviceID  `json:"device_id,omitempty"`
	SinceTS  matrix.Timestamp `json:"since_ts"`
}

func (s *Server) adminGet(ctx context.Context, c *httpapi.Call) (any, error) {
	m, err := s.ofOrganisation(ctx, c)
	if err != nil {
		return nil, err
	}
	brief, err := s.brief(&m, c.Requester.User)
	if err != nil {
		return nil, err
	}
	if brief.Invitees, err = s.invitees(ctx, c.Requester, &m, true); err != nil {
		return nil, err
	}
	answer := AdminAnswer{Answer: brief, Participants: []ParticipantAnswer{}}
	present, err := s.cfg.Meetings.Present(ctx, m.RoomNID)
	if err != nil {
		return nil, err
	}
	for _, p := range present {
		answer.Participants = append(answer.Participants, ParticipantAnswer{p.UserID, p.DeviceID, p.JoinedTS})
	}
	return answer, nil
}

// adminEnd puts everybody out of the calls of a meeting.
func (s *Server) adminEnd(ctx context.Context, c *httpapi.Call) (any, error) {
	m, err := s.ofOrganisation(ctx, c)
	if err != nil {
		return nil, err
	}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error { return s.audit(ctx, tx, c.Requester.Actor(), "meeting.end", &m, nil) })
	if err != nil || s.cfg.End == nil {
		return nil, err
	}
	return nil, s.cfg.End(ctx, m.RoomNID)
}

// adminCancel cancels a meeting of the organisation.
func (s *Server) adminCancel(ctx context.Context, c *httpapi.Call) (any, error) {
	m, err := s.ofOrganisation(ctx, c)
	if err != nil {
		return nil, err
	}
	if m.CancelledTS != 0 {
		return nil, nil
	}
	return nil, s.Cancel(ctx, c.Requester.Actor(), &m)
}

// Figures are what an organisation's meetings come to.
type Figures struct {
	// MeetingsOn counts the rooms in which somebody is in a call now, Participants those who are.
	MeetingsOn   int `json:"meetings_on"`
	Participants int `json:"participants"`
	// MinutesThisMonth is how long people were in calls this month (UTC), together. What goes on counts when it is over.
	MinutesThisMonth int64 `json:"minutes_this_month"`
	// Upcoming counts the meetings that are to come.
	Upcoming int `json:"upcoming"`
}

func (s *Server) figures(ctx context.Context, c *httpapi.Call) (any, error) {
	now := s.cfg.Clock.Now().UTC()
	f, err := s.cfg.Store.GetMeetingFigures(ctx, c.Requester.Org, time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		return nil, fmt.Errorf("count meetings: %w", err)
	}
	return Figures{MeetingsOn: f.On, Participants: f.Participants, MinutesThisMonth: f.SecondsThisMonth / 60, Upcoming: f.Upcoming}, nil
}
