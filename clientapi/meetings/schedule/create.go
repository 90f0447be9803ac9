package schedule

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// mayArrange returns the policy, and refuses who may arrange no meetings.
func (s *Server) mayArrange(ctx context.Context, who *httpapi.Requester) (Policy, error) {
	if err := who.MayAct(); err != nil {
		return Policy{}, err
	}
	p, err := PolicyOf(ctx, s.cfg.Store, who.Org)
	if err != nil {
		return p, err
	}
	return p, p.admits(who)
}

// Create arranges a meeting in the name of the requester. It is what every way to arrange one calls.
func (s *Server) Create(ctx context.Context, who *httpapi.Requester, r Request) (m store.Meeting, problems []Problem, err error) {
	policy, err := s.mayArrange(ctx, who)
	if err != nil {
		return m, nil, err
	}
	if m, err = r.meeting(&policy, s.now()); err != nil {
		return m, nil, err
	}
	if r.Lobby == "" {
		r.Lobby = policy.Lobby
	}
	if !slices.Contains(lobbies, r.Lobby) {
		return m, nil, matrix.InvalidParam("lobby must be nobody, guests or everybody")
	}
	if r.Encrypted == nil {
		r.Encrypted = policy.Encrypted
	}
	invitees, err := s.resolve(ctx, who, r.Invitees, nil)
	if err != nil {
		return m, nil, err
	}
	if err := s.rehearse(ctx, who, &m, invitees); err != nil {
		return m, nil, err
	}
	m.ID, m.OrganisationID, m.Organiser, m.CreatedTS = cmp.Or(r.once, rand.Text()), who.Org, who.User, s.now()
	m.UID = m.ID + "@" + string(s.cfg.ServerName)
	if err := s.newRoom(ctx, who, &m, r.Lobby, *r.Encrypted, invitees); err != nil {
		return m, nil, err
	}
	if r.Link {
		// It is made when the meeting is there.
		m.LinkGeneration = 1
	}
	if err := s.insert(ctx, who, &m, invitees); err != nil {
		return m, nil, err
	}
	return m, s.finish(ctx, &m), nil
}

// insert stores a meeting with its invitees.
func (s *Server) insert(ctx context.Context, who *httpapi.Requester, m *store.Meeting, invitees []store.MeetingInvitee) error {
	m.DueTS = s.now().Add(limits.MeetingWork)
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.CountMeetingsAhead(ctx, m.Organiser)
		if err != nil {
			return err
		}
		if n >= limits.MeetingsAhead {
			return matrix.Forbidden("you may have no more than %d meetings that are to come", limits.MeetingsAhead)
		}
		made, err := tx.InsertMeeting(ctx, *m)
		if err != nil {
			return err
		}
		if !made {
			return errThere
		}
		for _, i := range invitees {
			i.MeetingID = m.ID
			if err := tx.InsertMeetingInvitee(ctx, i); err != nil {
				return err
			}
		}
		return s.audit(ctx, tx, who.Actor(), "meeting.create", m, map[string]any{"start_ts": m.StartTS, "invitees": len(invitees)})
	})
}

// errThere: somebody has a personal meeting room already.
var errThere = errors.New("there is one already")

// finish makes a meeting what its row says it is, as far as that goes now: the worker does what is left. It returns what was refused.
func (s *Server) finish(ctx context.Context, m *store.Meeting) []Problem {
	// What was stored is to be done, be the client there or not.
	problems, err := s.settle(context.WithoutCancel(ctx), m)
	if err != nil {
		s.cfg.Log.Warn("carry out a meeting", "room", string(m.RoomID), "error", err)
	}
	return problems
}

// resolve turns those who are to be asked into rows, each once. Of those who were asked already, and of the requester, there is none.
func (s *Server) resolve(ctx context.Context, who *httpapi.Requester, list []Invitee, already []store.MeetingInvitee) ([]store.MeetingInvitee, error) {
	if len(list) > limits.FirstInvites {
		return nil, matrix.InvalidParam("invitees: at most %d at a time", limits.FirstInvites)
	}
	var rows []store.MeetingInvitee
	var users []matrix.UserID
	known := func(i *store.MeetingInvitee) bool {
		same := func(o store.MeetingInvitee) bool {
			return o.RemovedTS == 0 && o.UserID == i.UserID && o.Medium == i.Medium && o.Address == i.Address
		}
		return i.UserID == who.User || slices.ContainsFunc(already, same) || slices.ContainsFunc(rows, same)
	}
	addresses := 0
	for n := range list {
		i := &list[n]
		if err := i.check(); err != nil {
			return nil, err
		}
		row := store.MeetingInvitee{
			ID: rand.Text(), UserID: matrix.UserID(i.UserID), Medium: i.Medium, Name: i.Name, Language: i.Language, Role: i.Role, CreatedTS: s.now(),
		}
		if i.Address != "" {
			if addresses++; addresses > limits.FirstThirdPartyInvites {
				return nil, matrix.InvalidParam("invitees: at most %d addresses at a time", limits.FirstThirdPartyInvites)
			}
			ask := invitations.Request{Medium: i.Medium, Address: i.Address}
			user, err := s.cfg.Invitations.Known(ctx, who, &ask)
			if err != nil {
				return nil, err
			}
			if row.Address = ask.Address; user != "" {
				row.UserID, row.Medium, row.Address = user, "", ""
			}
		} else {
			users = append(users, row.UserID)
		}
		if !known(&row) {
			rows = append(rows, row)
		}
	}
	return rows, s.cfg.MayInvite(ctx, who, users)
}

// rehearse refuses invitations that would be refused, before there is anything.
func (s *Server) rehearse(ctx context.Context, who *httpapi.Requester, m *store.Meeting, invitees []store.MeetingInvitee) error {
	series, err := seriesOf(m)
	if err != nil {
		return err
	}
	d, err := told(m)
	if err != nil {
		return err
	}
	var outside []invitations.Request
	for _, i := range invitees {
		if i.UserID == "" {
			at := s.scheduled(m, series)
			outside = append(outside, invitations.Request{Medium: i.Medium, Address: i.Address, Language: i.Language, Meeting: d, Scheduled: &at})
		}
	}
	if len(outside) == 0 {
		return nil
	}
	return s.cfg.Invitations.Rehearse(ctx, who, outside)
}

// NowRequest begins a meeting at once.
type NowRequest struct {
	Title string `json:"title"`
	// Notify is ring, notification, or empty: then nobody is told.
	Notify string `json:"notify"`
	// Link asks for a link that anybody may pass on.
	Link bool `json:"link"`
}

// meetNow answers with the meeting that is on in a room, and with a new one if there is none.
func (s *Server) meetNow(ctx context.Context, c *httpapi.Call, r *NowRequest) (any, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	m, err := s.meetIn(ctx, c.Requester, id, r)
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, c.Requester, &m, nil)
}

// meetIn is the meeting that is on in a room, or a new one.
func (s *Server) meetIn(ctx context.Context, who *httpapi.Requester, id matrix.RoomID, r *NowRequest) (m store.Meeting, err error) {
	policy, err := s.mayArrange(ctx, who)
	if err != nil {
		return m, err
	}
	if r.Notify != "" && r.Notify != meetings.RingPeople && r.Notify != meetings.TellPeople {
		return m, matrix.InvalidParam("notify must be ring or notification")
	}
	room, err := s.joinedRoom(ctx, who.User, id)
	if err != nil {
		return m, err
	}
	// In a room of before calls were for moderators. Whoever may not change that meets all the same.
	if err := s.cfg.Rooms.AllowCalls(ctx, id, who.User); err != nil {
		if _, refused := matrix.AsError(err); !refused {
			return m, err
		}
	}
	m, there, err := s.MeetingOf(ctx, room.NID)
	if err != nil {
		return m, err
	}
	if !there {
		if m, err = s.begin(ctx, who, room, &policy, r.Title); err != nil {
			return m, err
		}
	}
	if r.Link {
		if err := s.giveLink(ctx, who, &m); err != nil {
			return m, err
		}
	}
	if r.Notify != "" {
		err = unlessRefused(s.cfg.Meetings.Ring(ctx, m.RoomID, who.User, r.Notify))
	}
	return m, err
}

// instant is how long a meeting counts that has no end.
func (p *Policy) instant() time.Duration {
	if d := time.Duration(*p.MaxMinutes) * time.Minute; d > 0 && d < limits.MeetingInstant {
		return d
	}
	return limits.MeetingInstant
}

// begin makes a meeting that is on from now.
func (s *Server) begin(ctx context.Context, who *httpapi.Requester, room roomserver.Info, p *Policy, title string) (store.Meeting, error) {
	if title == "" {
		summaries, err := s.cfg.Rooms.Summaries(ctx, []roomserver.Info{room})
		if err != nil {
			return store.Meeting{}, err
		}
		title = summaries[room.NID].Name
	}
	now := s.now() / 1000 * 1000
	m := store.Meeting{
		ID: rand.Text(), OrganisationID: who.Org, RoomNID: room.NID, RoomID: room.ID, Organiser: who.User, Kind: store.MeetingInstant, Title: short(title),
		StartTS: now, EndTS: now.Add(p.instant()), Timezone: "UTC", CreatedTS: s.now(), Exceptions: []byte("[]"),
	}
	m.UID, m.NextStartTS, m.NextEndTS = m.ID+"@"+string(s.cfg.ServerName), m.StartTS, m.EndTS
	if err := s.insert(ctx, who, &m, nil); err != nil {
		return m, err
	}
	s.finish(ctx, &m)
	return m, nil
}

// PersonalRequest makes somebody's personal meeting room, or changes it.
type PersonalRequest struct {
	Title string `json:"title"`
	// Renew gives it another link: the one from before is dead.
	Renew bool `json:"renew"`
	// Lobby is who waits; everybody if it is missing when the room is made.
	Lobby     string `json:"lobby"`
	Encrypted *bool  `json:"encrypted"`
}

// personal gives the requester a meeting room of their own, if they have none.
func (s *Server) personal(ctx context.Context, c *httpapi.Call, r *PersonalRequest) (any, error) {
	who := c.Requester
	policy, err := s.mayArrange(ctx, who)
	if err != nil {
		return nil, err
	}
	if r.Lobby != "" && !slices.Contains(lobbies, r.Lobby) {
		return nil, matrix.InvalidParam("lobby must be nobody, guests or everybody")
	}
	if len(r.Title) > limits.MeetingText {
		return nil, matrix.TooLarge("title is longer than %d bytes", limits.MeetingText)
	}
	m, err := s.cfg.Store.GetPersonalMeeting(ctx, who.User)
	if errors.Is(err, store.ErrNotFound) {
		m, err = s.newPersonal(ctx, who, &policy, r)
	} else if err == nil {
		err = s.changePersonal(ctx, who, &m, r)
	}
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, who, &m, nil)
}

func (s *Server) newPersonal(ctx context.Context, who *httpapi.Requester, p *Policy, r *PersonalRequest) (store.Meeting, error) {
	m := store.Meeting{
		ID: rand.Text(), OrganisationID: who.Org, Organiser: who.User, Kind: store.MeetingPersonal, Title: short(r.Title), Timezone: "UTC", CreatedTS: s.now(),
		LinkGeneration: 1, Exceptions: []byte("[]"),
	}
	m.UID = m.ID + "@" + string(s.cfg.ServerName)
	if m.Title == "" {
		person, err := s.cfg.Store.GetPerson(ctx, who.User)
		if err != nil {
			return m, fmt.Errorf("look up the organiser: %w", err)
		}
		m.Title = short(nameOf(person.Name, who.User))
	}
	lobby, encrypted := r.Lobby, p.Encrypted
	if lobby == "" {
		lobby = lobbies[len(lobbies)-1]
	}
	if r.Encrypted != nil {
		encrypted = r.Encrypted
	}
	if err := s.newRoom(ctx, who, &m, lobby, *encrypted, nil); err != nil {
		return m, err
	}
	err := s.insert(ctx, who, &m, nil)
	if errors.Is(err, errThere) {
		// Somebody was faster, on another device: that one holds. Nobody knows of the second room but its owner, who leaves it.
		if err := s.cfg.Rooms.Leave(ctx, roomserver.Membership{Room: m.RoomID, Sender: who.User}); err != nil {
			return m, err
		}
		m, err = s.cfg.Store.GetPersonalMeeting(ctx, who.User)
		return m, err
	}
	if err != nil {
		return m, err
	}
	s.finish(ctx, &m)
	return m, nil
}

func (s *Server) changePersonal(ctx context.Context, who *httpapi.Requester, m *store.Meeting, r *PersonalRequest) error {
	_, err := s.change(ctx, who.Actor(), m, "meeting.change", func(m *store.Meeting) (bool, error) {
		if r.Title != "" {
			m.Title = short(r.Title)
		}
		if r.Renew {
			m.LinkGeneration++
		}
		return false, nil
	})
	if err != nil || r.Lobby == "" {
		return err
	}
	return s.putLobby(ctx, who, m, r.Lobby)
}
