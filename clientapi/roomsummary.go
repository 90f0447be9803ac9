package clientapi

import (
	"context"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/roomserver"
)

// roomSummary is a roomChunk with what is told of a single room besides.
type roomSummary struct {
	roomChunk
	AllowedRoomIDs []matrix.RoomID `json:"allowed_room_ids,omitempty"`
	Encryption     string          `json:"encryption,omitempty"`
	RoomVersion    string          `json:"room_version"`
	Membership     string          `json:"membership,omitempty"`
}

func roomSummaryOf(m *roomserver.Summary) roomSummary {
	return roomSummary{roomChunk: chunkOf(m), AllowedRoomIDs: m.AllowedRooms, Encryption: m.Encryption, RoomVersion: m.Room.Version.ID}
}

// getRoomSummary tells of a room to those who may join, knock or read it.
// The query parameter via says through which servers a room could be reached that is not here; a room that is here needs none.
//
// The spec's table asks for the signature of a server here. That is a slip of its table: the text speaks of users, and of those without
// a token.
//
// Differs: an access token is required, because a room is its organisation's business.
//
// Spec: client-server v1.19 §joining-rooms, GET /_matrix/client/v1/room_summary/{roomIdOrAlias}
func (s *Server) getRoomSummary(ctx context.Context, c *httpapi.Call) (any, error) {
	if c.Requester == nil {
		return nil, matrix.MissingToken()
	}
	id, err := s.roomIDOrAlias(ctx, c)
	if err != nil {
		return nil, err
	}
	room, err := s.rooms.Room(ctx, id)
	if e, ok := matrix.AsError(err); ok && e.Code == matrix.ErrNotFound {
		return nil, unknownRoom()
	}
	if err != nil {
		return nil, err
	}
	summaries, err := s.rooms.Summaries(ctx, []roomserver.Info{room})
	if err != nil {
		return nil, err
	}
	sights, err := s.rooms.Sights(ctx, viewerOf(c), summaries)
	if err != nil {
		return nil, err
	}
	if !sights[room.NID].Accessible {
		if strings.HasPrefix(c.Path("roomIdOrAlias"), "#") {
			return nil, unknownAlias(matrix.RoomAlias(c.Path("roomIdOrAlias")))
		}
		return nil, unknownRoom()
	}
	answer := roomSummaryOf(summaries[room.NID])
	answer.Membership = sights[room.NID].Membership
	return answer, nil
}

func viewer(who *httpapi.Requester) roomserver.Viewer {
	return roomserver.Viewer{User: who.User, OrganisationID: who.Org, Guest: who.Guest}
}

func viewerOf(c *httpapi.Call) roomserver.Viewer {
	if c.Requester == nil {
		return roomserver.Viewer{}
	}
	return viewer(c.Requester)
}
