package sfu

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/twitchtv/twirp"

	"github.com/roomline/roomline/internal/limits"
)

// asker marks the errors of a LiveKit that is not there.
type asker struct{ http *http.Client }

func (a asker) Do(r *http.Request) (*http.Response, error) {
	resp, err := a.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return resp, nil
}

// ask asks LiveKit one question, with a token that gives the right to ask it.
func ask[Q, A any](ctx context.Context, c *Client, right auth.VideoGrant, question func(context.Context, Q) (A, error), q Q) (A, error) {
	return askAs(ctx, c, c.cfg.Within, func(t *auth.AccessToken) { t.SetVideoGrant(&right) }, question, q)
}

// askAs is ask with any right, and a time of its own.
func askAs[Q, A any](ctx context.Context, c *Client, within time.Duration, right func(*auth.AccessToken), question func(context.Context, Q) (A, error), q Q) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var none A
	t := auth.NewAccessToken(c.cfg.Keys[0].Key, c.cfg.Keys[0].Secret).SetValidFor(limits.SFUToken)
	right(t)
	token, err := t.ToJWT()
	if err != nil {
		return none, err
	}
	ctx, err = twirp.WithHTTPRequestHeaders(ctx, http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		return none, err
	}
	answer, err := question(ctx, q)
	if err == nil {
		return answer, nil
	}
	code := twirpCode(err)
	away := code == twirp.Unavailable || code == twirp.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded)
	if away && !errors.Is(err, ErrUnavailable) {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return none, fmt.Errorf("sfu: %w", err)
}

func twirpCode(err error) twirp.ErrorCode {
	if e, ok := errors.AsType[twirp.Error](err); ok {
		return e.Code()
	}
	return twirp.NoError
}

// found takes a missing room or participant for an answer.
func found(err error) error {
	if twirpCode(err) == twirp.NotFound {
		return nil
	}
	return err
}

// RoomOptions bound a room.
type RoomOptions struct {
	// MaxParticipants is how many may be in it; 0: as many as like.
	MaxParticipants uint32
	// EmptyTimeout is how long it stays when nobody has come, DepartureTimeout when all have left.
	EmptyTimeout, DepartureTimeout time.Duration
}

// CreateRoom makes a room that people can join, unless it is there. sid is another one each time that it was made.
func (c *Client) CreateRoom(ctx context.Context, alias string, o RoomOptions) (sid string, err error) {
	room, err := ask(ctx, c, auth.VideoGrant{RoomCreate: true}, c.rooms.CreateRoom, &livekit.CreateRoomRequest{
		Name: alias, MaxParticipants: o.MaxParticipants, EmptyTimeout: seconds(o.EmptyTimeout), DepartureTimeout: seconds(o.DepartureTimeout),
	})
	return room.GetSid(), err
}

func seconds(d time.Duration) uint32 { return uint32(max(d, 0) / time.Second) }

// Room is a room that LiveKit has.
type Room struct {
	Alias, SID   string
	Participants int
	Created      time.Time
}

// Rooms are all that LiveKit has.
func (c *Client) Rooms(ctx context.Context) ([]Room, error) {
	answer, err := ask(ctx, c, auth.VideoGrant{RoomList: true}, c.rooms.ListRooms, &livekit.ListRoomsRequest{})
	var rooms []Room
	for _, r := range answer.GetRooms() {
		rooms = append(rooms, Room{Alias: r.Name, SID: r.Sid, Participants: int(r.NumParticipants), Created: time.UnixMilli(r.CreationTimeMs)})
	}
	return rooms, err
}

// Ping asks whether LiveKit answers and knows our key.
func (c *Client) Ping(ctx context.Context) error {
	_, err := ask(ctx, c, auth.VideoGrant{RoomList: true}, c.rooms.ListRooms, &livekit.ListRoomsRequest{Names: []string{"-"}})
	return err
}

// DeleteRoom ends a room for all who are in it.
func (c *Client) DeleteRoom(ctx context.Context, alias string) error {
	_, err := ask(ctx, c, auth.VideoGrant{RoomCreate: true}, c.rooms.DeleteRoom, &livekit.DeleteRoomRequest{Room: alias})
	return found(err)
}

// SID is what LiveKit calls the room now, "" if there is none.
func (c *Client) SID(ctx context.Context, alias string) (string, error) {
	answer, err := ask(ctx, c, auth.VideoGrant{RoomList: true}, c.rooms.ListRooms, &livekit.ListRoomsRequest{Names: []string{alias}})
	for _, r := range answer.GetRooms() {
		if r.Name == alias {
			return r.Sid, err
		}
	}
	return "", err
}

// DeleteRoomAs is DeleteRoom for the room that LiveKit calls sid: another one stays. LiveKit can't be told both at once; so that a process that
// stalls in between ends nothing later, both have the time of one question.
func (c *Client) DeleteRoomAs(ctx context.Context, alias, sid string) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Within)
	defer cancel()
	now, err := c.SID(ctx, alias)
	if err != nil || now != sid {
		return err
	}
	return c.DeleteRoom(ctx, alias)
}

// Participant is somebody who is in a room.
type Participant struct {
	SID, Identity, Name string
	// Active is false until the media connection stands.
	Active bool
	Hidden bool
	// Phone is one that LiveKit SIP has brought.
	Phone      bool
	Joined     time.Time
	Attributes map[string]string
	Tracks     []Track
}

// Track is what a participant sends.
type Track struct {
	SID    string
	Source Source
	Muted  bool
}

// Participants are those who are in a room; none if there is no such room.
func (c *Client) Participants(ctx context.Context, alias string) ([]Participant, error) {
	answer, err := ask(ctx, c, admin(alias), c.rooms.ListParticipants, &livekit.ListParticipantsRequest{Room: alias})
	var all []Participant
	for _, p := range answer.GetParticipants() {
		if p.State != livekit.ParticipantInfo_DISCONNECTED {
			all = append(all, ParticipantOf(p))
		}
	}
	return all, found(err)
}

// ParticipantOf is what LiveKit's message says, as webhooks have it too.
func ParticipantOf(p *livekit.ParticipantInfo) Participant {
	one := Participant{
		SID: p.GetSid(), Identity: p.GetIdentity(), Name: p.GetName(), Active: p.GetState() == livekit.ParticipantInfo_ACTIVE,
		Hidden: p.GetPermission().GetHidden(), Phone: p.GetKind() == livekit.ParticipantInfo_SIP, Joined: time.UnixMilli(p.GetJoinedAtMs()), Attributes: p.GetAttributes(),
	}
	for _, t := range p.GetTracks() {
		one.Tracks = append(one.Tracks, Track{SID: t.Sid, Source: SourceOf(t.Source), Muted: t.Muted})
	}
	return one
}

// SourceOf is the name of LiveKit's source, "" for one that nobody was given a right to.
func SourceOf(s livekit.TrackSource) Source {
	for name, source := range sources {
		if source == s {
			return name
		}
	}
	return ""
}

// admin is the right to govern a room.
func admin(alias string) auth.VideoGrant { return auth.VideoGrant{RoomAdmin: true, Room: alias} }

// Remove takes somebody out. LiveKit lets whoever has a token in again: what was given out before must be expired, or be refused elsewhere.
func (c *Client) Remove(ctx context.Context, alias, identity string) error {
	_, err := ask(ctx, c, admin(alias), c.rooms.RemoveParticipant, &livekit.RoomParticipantIdentity{Room: alias, Identity: identity})
	return found(err)
}

// StaySID is what LiveKit calls somebody's stay in a room, "" if there is none.
func (c *Client) StaySID(ctx context.Context, alias, identity string) (string, error) {
	p, err := ask(ctx, c, admin(alias), c.rooms.GetParticipant, &livekit.RoomParticipantIdentity{Room: alias, Identity: identity})
	return p.GetSid(), found(err)
}

// RemoveAs is Remove for the stay that LiveKit calls sid: whoever has come back stays.
func (c *Client) RemoveAs(ctx context.Context, alias, identity, sid string) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Within)
	defer cancel()
	now, err := c.StaySID(ctx, alias, identity)
	if err != nil || now != sid {
		return err
	}
	return c.Remove(ctx, alias, identity)
}

// Update gives somebody who is in the room other rights. What may no longer be sent ends.
func (c *Client) Update(ctx context.Context, alias, identity string, rights Rights) error {
	_, err := ask(ctx, c, admin(alias), c.rooms.UpdateParticipant, &livekit.UpdateParticipantRequest{
		Room: alias, Identity: identity, Permission: permission(rights),
	})
	return found(err)
}

// Mute mutes what somebody sends of a source. Nobody but the person itself may unmute it.
func (c *Client) Mute(ctx context.Context, alias, identity string, source Source, muted bool) error {
	if !muted {
		return errors.New("sfu: a server does not unmute people")
	}
	p, err := ask(ctx, c, admin(alias), c.rooms.GetParticipant, &livekit.RoomParticipantIdentity{Room: alias, Identity: identity})
	if err != nil {
		return found(err)
	}
	for _, t := range p.GetTracks() {
		if t.Source != sources[source] || t.Muted {
			continue
		}
		_, err := ask(ctx, c, admin(alias), c.rooms.MutePublishedTrack, &livekit.MuteRoomTrackRequest{
			Room: alias, Identity: identity, TrackSid: t.Sid, Muted: true,
		})
		if err := found(err); err != nil {
			return err
		}
	}
	return nil
}

// SendData sends a message to those named, or to all in the room.
func (c *Client) SendData(ctx context.Context, alias, topic string, payload []byte, to ...string) error {
	_, err := ask(ctx, c, admin(alias), c.rooms.SendData, &livekit.SendDataRequest{
		Room: alias, Data: payload, Kind: livekit.DataPacket_RELIABLE, Topic: &topic, DestinationIdentities: slices.Clone(to),
	})
	return found(err)
}
