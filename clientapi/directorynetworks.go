package clientapi

import (
	"context"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/roomserver"
)

// setNetworkVisibility publishes a room in the list that an application service has for one of its networks, or takes it out.
//
// An application service belongs to the organisation of its users' domain. It lists that organisation's rooms, and for it: a room of
// another organisation is as one that does not exist. Whether it, or a user of its, is in the room is not asked, as it is not of an
// administrator: the operator who registered it trusts it with the lists. Its networks are its own business too; what no protocol of its
// names is a list that nobody asks for by name.
//
// Spec: application-service v1.19 §published-room-directories, PUT /_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}
func (s *Server) setNetworkVisibility(ctx context.Context, c *httpapi.Call, req *roomVisibilityRequest) (any, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	network := c.Path("networkId")
	switch {
	case network == "" || len(network) > limits.NetworkID:
		return nil, matrix.InvalidParam("networkId must have 1 to %d bytes", limits.NetworkID)
	case req.Visibility == nil:
		return nil, matrix.MissingParam("visibility is missing")
	case *req.Visibility != visibilityPublic && *req.Visibility != visibilityPrivate:
		return nil, matrix.InvalidParam("visibility must be public or private")
	}
	room, err := s.rooms.Room(ctx, id)
	if err != nil {
		return nil, err
	}
	if room.OrganisationID != c.Requester.Org {
		return nil, unknownRoom()
	}
	instance := matrix.InstanceID(c.Requester.Appservice, network)
	if *req.Visibility == visibilityPrivate {
		if err := s.store.DeleteNetworkRoom(ctx, room.NID, instance); err != nil {
			return nil, fmt.Errorf("take %s out of the list of a network: %w", id, err)
		}
		return empty{}, nil
	}
	ok, err := s.store.InsertNetworkRoom(ctx, room.NID, room.OrganisationID, instance, limits.NetworksPerRoom)
	if err != nil {
		return nil, fmt.Errorf("publish %s for a network: %w", id, err)
	}
	if !ok {
		return nil, matrix.Forbidden("a room can be in the lists of at most %d networks", limits.NetworksPerRoom)
	}
	return empty{}, s.listRooms(ctx, []roomserver.Info{room})
}
