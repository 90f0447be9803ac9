package roomserver

import (
	"context"
	"fmt"
	"slices"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Summary is what a room shows of itself to those who may find it. Empty strings are what the room does not have.
type Summary struct {
	Room           Info
	Name           string
	Topic          string
	CanonicalAlias string
	AvatarURL      string
	JoinRule       string
	// Type is that of m.room.create, for example m.space.
	Type string
	// Encryption is the algorithm.
	Encryption    string
	WorldReadable bool
	GuestCanJoin  bool
	Joined        int
	// AllowedRooms are those whose members may join, where the join rule is restricted.
	AllowedRooms []matrix.RoomID
}

// summaryTypes are the parts of a room's state that a Summary is made of.
var summaryTypes = []string{
	spec.MRoomCreate, spec.MRoomName, spec.MRoomTopic, spec.MRoomCanonicalAlias, spec.MRoomAvatar, spec.MRoomJoinRules,
	spec.MRoomHistoryVisibility, spec.MRoomGuestAccess, spec.MRoomEncryption,
}

// ChangesSummary reports whether an event of this type with an empty state key, or a membership, may change a room's Summary.
func ChangesSummary(eventType string) bool {
	return eventType == spec.MRoomMember || slices.Contains(summaryTypes, eventType)
}

// Summaries returns the present summaries of rooms.
func (s *Server) Summaries(ctx context.Context, rooms []Info) (map[int64]*Summary, error) {
	all := make(map[int64]*Summary, len(rooms))
	var nids []int64
	var keys []store.KeyAt
	for _, r := range rooms {
		if all[r.NID] != nil {
			continue
		}
		all[r.NID] = &Summary{Room: r, JoinRule: spec.Invite}
		nids = append(nids, r.NID)
		for _, typ := range summaryTypes {
			keys = append(keys, store.KeyAt{RoomNID: r.NID, Type: typ, At: store.CurrentState})
		}
	}
	state, err := s.cfg.Store.ListStateAt(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("load the state of rooms: %w", err)
	}
	for i := range state {
		all[state[i].RoomNID].add(&state[i])
	}
	counts, err := s.cfg.Store.CountMembers(ctx, nids)
	if err != nil {
		return nil, fmt.Errorf("count the members of rooms: %w", err)
	}
	for _, c := range counts {
		all[c.RoomNID].Joined = c.Joined
	}
	return all, nil
}

// add takes over what a state event says. Values of a wrong kind count as absent.
func (m *Summary) add(e *store.Event) {
	text := func(path string) string {
		if v := gjson.GetBytes(e.JSON, "content."+path); v.Type == gjson.String {
			return v.String()
		}
		return ""
	}
	switch e.Type {
	case spec.MRoomCreate:
		m.Type = text("type")
	case spec.MRoomName:
		m.Name = text("name")
	case spec.MRoomTopic:
		m.Topic = plainTopic(e.JSON)
	case spec.MRoomCanonicalAlias:
		m.CanonicalAlias = text("alias")
	case spec.MRoomAvatar:
		m.AvatarURL = text("url")
	case spec.MRoomEncryption:
		m.Encryption = text("algorithm")
	case spec.MRoomHistoryVisibility:
		m.WorldReadable = text("history_visibility") == worldReadable
	case spec.MRoomGuestAccess:
		m.GuestCanJoin = text("guest_access") == "can_join"
	case spec.MRoomJoinRules:
		if rule := text("join_rule"); rule != "" {
			m.JoinRule = rule
		}
		if m.restricted() {
			m.AllowedRooms = allowedRooms(e.JSON)
		}
	}
}

// plainTopic is the topic as plain text, empty if it has another form only.
//
// Spec: client-server v1.19 §mroomtopic
func plainTopic(event []byte) string {
	texts := gjson.GetBytes(event, `content.m\.topic.m\.text`)
	for _, t := range texts.Array() {
		mime := t.Get("mimetype")
		if body := t.Get("body"); body.Type == gjson.String && (!mime.Exists() || mime.String() == "text/plain") {
			return body.String()
		}
	}
	if topic := gjson.GetBytes(event, "content.topic"); topic.Type == gjson.String && len(texts.Array()) == 0 {
		return topic.String()
	}
	return ""
}

// allowedRooms lists the rooms of a join rule whose members may join.
func allowedRooms(joinRules []byte) []matrix.RoomID {
	var rooms []matrix.RoomID
	for i, allow := range gjson.GetBytes(joinRules, "content.allow").Array() {
		if i == limits.AllowedRooms {
			break
		}
		if allow.Get("type").String() != spec.MRoomMembership {
			continue
		}
		if id, err := matrix.ParseRoomID(allow.Get("room_id").String()); err == nil {
			rooms = append(rooms, id)
		}
	}
	return rooms
}

func (m *Summary) restricted() bool {
	return m.JoinRule == spec.Restricted && m.Room.Version.RestrictedAllowed ||
		m.JoinRule == spec.KnockRestricted && m.Room.Version.KnockRestrictedAllowed
}

// Open reports whether everybody may find out about the room: because everybody may join, knock or read.
func (m *Summary) Open() bool {
	switch m.JoinRule {
	case spec.Public, spec.Knock, spec.KnockRestricted:
		return true
	}
	return m.WorldReadable
}

// Sight is what a user has to do with a room.
type Sight struct {
	// Membership is the user's, "leave" for who never had one.
	Membership string
	// Accessible: the user may know what the room's Summary says.
	Accessible bool
}

// Viewer is who looks at rooms and media. The zero value is somebody without an account.
type Viewer struct {
	User           matrix.UserID
	OrganisationID int64
	Guest          bool
}

// Inside reports whether a room is on the viewer's side of the wall: a room of the viewer's organisation, who is no guest. Whoever is not
// inside knows of the room what its members let them know, by an invitation, and nothing before it.
func (w Viewer) Inside(room Info) bool { return w.OrganisationID == room.OrganisationID && !w.Guest }

// Sights says which of the rooms the user may know of: members and the invited, and of those inside, who may join, knock or read. Who was
// banned may not.
//
// Spec: client-server v1.19 §spaces, GET /_matrix/client/v1/rooms/{roomId}/hierarchy
func (s *Server) Sights(ctx context.Context, who Viewer, rooms map[int64]*Summary) (map[int64]Sight, error) {
	sights := make(map[int64]Sight, len(rooms))
	memberships := map[matrix.RoomID]string{}
	if who.User != "" {
		var ids []matrix.RoomID
		for _, r := range rooms {
			ids = append(append(ids, r.Room.ID), r.AllowedRooms...)
		}
		list, err := s.cfg.Store.ListMembershipsOf(ctx, who.User, ids)
		if err != nil {
			return nil, fmt.Errorf("load memberships of %s: %w", who.User, err)
		}
		for _, m := range list {
			memberships[m.RoomID] = m.Membership
		}
	}
	for nid, r := range rooms {
		sight := Sight{Membership: spec.Leave}
		if m := memberships[r.Room.ID]; m != "" {
			sight.Membership = m
		}
		switch sight.Membership {
		case spec.Join, spec.Invite:
			sight.Accessible = true
		case spec.Ban:
		default:
			isAllowed := func(id matrix.RoomID) bool { return memberships[id] == spec.Join }
			sight.Accessible = who.Inside(r.Room) &&
				(r.Open() || r.restricted() && slices.ContainsFunc(r.AllowedRooms, isAllowed))
		}
		sights[nid] = sight
	}
	return sights, nil
}

// RoomsByNID returns rooms by their numbers; unknown ones are left out.
func (s *Server) RoomsByNID(ctx context.Context, nids []int64) ([]Info, error) {
	rows, err := s.cfg.Store.ListRoomsByNID(ctx, nids)
	if err != nil {
		return nil, fmt.Errorf("load rooms: %w", err)
	}
	return s.infosOf(rows)
}

// RoomsByID returns rooms by their ids; unknown ones are left out.
func (s *Server) RoomsByID(ctx context.Context, ids []matrix.RoomID) ([]Info, error) {
	rows, err := s.cfg.Store.ListRoomsByID(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("load rooms: %w", err)
	}
	return s.infosOf(rows)
}

func (s *Server) infosOf(rows []store.Room) ([]Info, error) {
	infos := make([]Info, len(rows))
	for i, row := range rows {
		info, err := infoOf(row)
		if err != nil {
			return nil, err
		}
		infos[i] = info
	}
	return infos, nil
}
