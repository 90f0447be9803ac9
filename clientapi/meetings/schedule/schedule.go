// Package schedule arranges meetings: when they are, who is asked to them, and what becomes of them. A meeting is a row of the table meetings and an ordinary
// room, in which people meet (clientapi/meetings).
//
// Invariants:
//   - The row says what is to be. Whoever changes it sets due_ts in the same transaction, and then makes it so (settle.go): the room is told, people are
//     invited, messages are written. If the process dies in between, a worker (run.go) does what is left when due_ts has come. All of it may be done twice.
//   - A meeting is seen by those who are in its room, or asked into it, and by nobody else: of every other the same is said, be there one or not.
//   - Rooms, invites and invitations are the organiser's, whoever of the moderators has asked for them. What the organiser may not do is not done.
//   - Times are of the clock on the wall in the meeting's zone (internal/calendar).
//
// Start reading at create.go, then settle.go.
package schedule

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/calendar"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// Config of a Server. Everything up to SetLobby is required.
type Config struct {
	Store       *store.Store
	Rooms       *roomserver.Server
	Invitations *invitations.Server
	Meetings    *meetings.Server
	Clock       matrix.Clock
	Log         *slog.Logger
	// ServerName is in the identifiers that calendars know meetings by.
	ServerName matrix.ServerName
	// Key makes the secrets of links that can be shown again.
	Key []byte
	// MayInvite refuses users whom the requester can't invite: M_NOT_FOUND for whom the requester may not know of.
	MayInvite func(ctx context.Context, who *httpapi.Requester, users []matrix.UserID) error

	// SetLobby says in a room who waits, in the name of somebody who leads meetings there.
	SetLobby func(ctx context.Context, room roomserver.Info, user matrix.UserID, actor, who string) error

	// RoomVersion is that of new rooms; the default one if empty.
	RoomVersion string
	// BaseURL is where the server is reached from outside, or empty.
	BaseURL string
	// End puts everybody out of the calls of a room; nil where there are no calls.
	End func(ctx context.Context, roomNID int64) error
}

// Server arranges meetings. It is safe for concurrent use.
type Server struct{ cfg Config }

// New returns a Server.
func New(cfg Config) (*Server, error) {
	for name, missing := range map[string]bool{
		"Store": cfg.Store == nil, "Rooms": cfg.Rooms == nil, "Invitations": cfg.Invitations == nil, "Meetings": cfg.Meetings == nil, "Clock": cfg.Clock == nil,
		"Log": cfg.Log == nil, "ServerName": cfg.ServerName == "", "Key": len(cfg.Key) == 0, "MayInvite": cfg.MayInvite == nil, "SetLobby": cfg.SetLobby == nil,
	} {
		if missing {
			return nil, errors.New("schedule: Config." + name + " is missing")
		}
	}
	return &Server{cfg}, nil
}

func (s *Server) now() matrix.Timestamp { return matrix.TimestampOf(s.cfg.Clock.Now()) }

// What an invitee is in a meeting. The organiser is none of them.
const (
	Attendee  = "attendee"
	Presenter = "presenter"
	Moderator = "moderator"
	organiser = "organiser"
)

// levels are the power levels of roles.
var levels = map[string]int64{Attendee: meetings.Attendee, Presenter: meetings.Presenter, Moderator: meetings.Moderator}

// roleOf is what somebody with a power level is.
func roleOf(level int64) string {
	switch {
	case level >= meetings.Organiser:
		return organiser
	case level >= meetings.Moderator:
		return Moderator
	case level >= meetings.Presenter:
		return Presenter
	}
	return Attendee
}

// What an invitee answers.
const (
	Accepted  = "accepted"
	Tentative = "tentative"
	Declined  = "declined"
)

// noMeeting is said of a meeting that is none of the requester's business, be there one or not.
func noMeeting() *matrix.Error { return matrix.NotFound("there is no such meeting") }

// MeetingOf returns the meeting that a room is for, or that is on in it; false if there is none.
func (s *Server) MeetingOf(ctx context.Context, roomNID int64) (store.Meeting, bool, error) {
	m, err := s.cfg.Store.GetMeetingOfRoom(ctx, roomNID)
	if errors.Is(err, store.ErrNotFound) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("look for the meeting of a room: %w", err)
	}
	return m, true, nil
}

// describe is a meeting as calendars are told of it.
func describe(m *store.Meeting) (*outbox.Meeting, error) {
	d := &outbox.Meeting{
		UID: m.UID, Sequence: m.Sequence, Title: m.Title, StartTS: m.StartTS, EndTS: m.EndTS, Timezone: m.Timezone, Recurrence: m.Recurrence,
	}
	if len(m.Exceptions) > 0 {
		if err := json.Unmarshal(m.Exceptions, &d.Exceptions); err != nil {
			return nil, fmt.Errorf("stored exceptions of meeting %s: %w", m.ID, err)
		}
	}
	return d, nil
}

// seriesOf is all times of a meeting; a personal room has none.
func seriesOf(m *store.Meeting) (calendar.Series, error) {
	if m.Kind == store.MeetingPersonal {
		return nil, nil
	}
	d, err := describe(m)
	if err != nil {
		return nil, err
	}
	return calendar.NewSeries(d)
}

// secretOf is the secret of a meeting's link. Whoever has the key can make it again, so that the link can be shown to its owner again.
func (s *Server) secretOf(m *store.Meeting) (secret [16]byte) {
	mac := hmac.New(sha256.New, s.cfg.Key)
	fmt.Fprintf(mac, "%s %d", m.ID, m.LinkGeneration)
	copy(secret[:], mac.Sum(nil))
	return secret
}

// requesterOf is somebody, as if they asked themselves; M_FORBIDDEN if they may do nothing.
func (s *Server) requesterOf(ctx context.Context, user matrix.UserID) (*httpapi.Requester, error) {
	u, err := s.cfg.Store.GetUser(ctx, user)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("look up the organiser: %w", err)
	}
	if err != nil || u.Deactivated() || u.Locked {
		return nil, matrix.Forbidden("the organiser has no account any more")
	}
	return &httpapi.Requester{
		User: u.UserID, Org: u.OrganisationID, Role: httpapi.Role(u.Role), Admin: u.Role == string(httpapi.RoleOwner), Guest: u.Guest, Suspended: u.Suspended,
	}, nil
}

// audit notes what was done to a meeting.
func (s *Server) audit(ctx context.Context, tx *store.Tx, actor, action string, m *store.Meeting, detail map[string]any) error {
	if detail == nil {
		detail = map[string]any{}
	}
	detail["room_id"], detail["organiser"], detail["kind"] = m.RoomID, m.Organiser, m.Kind
	raw, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	e := store.AuditEntry{OrganisationID: m.OrganisationID, TS: s.now(), Actor: actor, Action: action, Target: m.ID, Detail: raw}
	if c, ok := httpapi.CallOf(ctx); ok {
		e.IP = c.ClientAddr()
	}
	return tx.AppendAudit(ctx, e)
}

// isRefusal reports an error that the same request would get again.
func isRefusal(err error) bool {
	e, ok := matrix.AsError(err)
	return ok && e.Status < http.StatusInternalServerError
}
