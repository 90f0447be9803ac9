package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/people"
	"github.com/roomline/roomline/internal/store"
)

// Values of visibility in the room directory.
const (
	visibilityPublic  = "public"
	visibilityPrivate = "private"
)

// unknownRoom is said of a room that is not there or not the requester's business.
func unknownRoom() *matrix.Error { return matrix.NotFound("room not found") }

type roomVisibilityResponse struct {
	Visibility string `json:"visibility"`
}

// getRoomVisibility says whether a room is in the directory.
//
// Differs: an access token is required, because the directory belongs to an organisation. Of a room that is not in the directory only
// its members are told so; to others it is as one that does not exist.
//
// Spec: client-server v1.19 §published-room-directory, GET /_matrix/client/v3/directory/list/room/{roomId}
func (s *Server) getRoomVisibility(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	if c.Requester == nil {
		return nil, matrix.MissingToken()
	}
	room, err := s.rooms.Room(ctx, id)
	if err != nil {
		return nil, err
	}
	published, err := s.store.IsPublished(ctx, room.NID)
	if err != nil {
		return nil, fmt.Errorf("look %s up in the directory: %w", id, err)
	}
	if published && viewer(c.Requester).Inside(room) {
		return roomVisibilityResponse{visibilityPublic}, nil
	}
	_, err = s.store.GetMembership(ctx, room.NID, c.Requester.User)
	if errors.Is(err, store.ErrNotFound) {
		return nil, unknownRoom()
	}
	if err != nil {
		return nil, fmt.Errorf("load membership of %s: %w", id, err)
	}
	if published {
		return roomVisibilityResponse{visibilityPublic}, nil
	}
	return roomVisibilityResponse{visibilityPrivate}, nil
}

type roomVisibilityRequest struct {
	Visibility *string `json:"visibility"`
}

// setRoomVisibility publishes a room in the directory of its organisation, or takes it out. A member may who may change the room's
// canonical alias, and an administrator of the organisation.
//
// Spec: client-server v1.19 §published-room-directory, PUT /_matrix/client/v3/directory/list/room/{roomId}
func (s *Server) setRoomVisibility(ctx context.Context, c *httpapi.Call, req *roomVisibilityRequest) (any, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	visibility := visibilityPublic
	if req.Visibility != nil {
		visibility = *req.Visibility
	}
	if visibility != visibilityPublic && visibility != visibilityPrivate {
		return nil, matrix.InvalidParam("visibility must be public or private")
	}
	room, err := s.rooms.Room(ctx, id)
	if err != nil {
		return nil, err
	}
	if !c.Requester.Admin || c.Requester.Org != room.OrganisationID {
		if s.mustBeJoined(ctx, id, c.Requester.User) != nil {
			return nil, unknownRoom()
		}
		rules, err := s.rooms.Rules(ctx, room)
		if err != nil {
			return nil, err
		}
		if rules.UserLevel(c.Requester.User) < rules.EventLevel(typeCanonicalAlias, true) {
			return nil, matrix.Forbidden("who publishes a room needs the power to change its canonical alias")
		}
	}
	if visibility == visibilityPublic {
		return empty{}, s.publish(ctx, room)
	}
	if err := s.store.DeletePublishedRoom(ctx, room.NID); err != nil {
		return nil, fmt.Errorf("take %s out of the directory: %w", id, err)
	}
	return empty{}, nil
}

// publicRoomsRequest is the body of POST publicRooms; GET has some of it in the query.
type publicRoomsRequest struct {
	Limit  *int   `json:"limit"`
	Since  string `json:"since"`
	Filter *struct {
		GenericSearchTerm string    `json:"generic_search_term"`
		RoomTypes         []*string `json:"room_types"`
	} `json:"filter"`
	IncludeAllNetworks   bool   `json:"include_all_networks"`
	ThirdPartyInstanceID string `json:"third_party_instance_id"`
}

// getPublicRooms lists the published rooms of the requester's organisation. Which list is meant may be said in the query, as in the body of
// POST.
//
// Differs: an access token is required, because the directory belongs to an organisation.
//
// Spec: client-server v1.19 §published-room-directory, GET /_matrix/client/v3/publicRooms
func (s *Server) getPublicRooms(ctx context.Context, c *httpapi.Call) (any, error) {
	if c.Requester == nil {
		return nil, matrix.MissingToken()
	}
	req := publicRoomsRequest{
		Since: c.Query("since"), IncludeAllNetworks: c.QueryBool("include_all_networks"), ThirdPartyInstanceID: c.Query("third_party_instance_id"),
	}
	if c.Query("limit") != "" {
		n, err := c.QueryInt("limit", limits.DirectoryDefault, 0, limits.DirectoryMax)
		if err != nil {
			return nil, err
		}
		req.Limit = &n
	}
	return s.queryPublicRooms(ctx, c, &req)
}

// directoryPage is an answer of the room directory.
type directoryPage struct {
	Chunk     []json.RawMessage `json:"chunk"`
	NextBatch string            `json:"next_batch,omitempty"`
	PrevBatch string            `json:"prev_batch,omitempty"`
	Total     int               `json:"total_room_count_estimate"`
}

// queryPublicRooms lists those published rooms that a filter lets through, the largest first.
//
// Spec: client-server v1.19 §published-room-directory, POST /_matrix/client/v3/publicRooms
func (s *Server) queryPublicRooms(ctx context.Context, c *httpapi.Call, req *publicRoomsRequest) (any, error) {
	if c.Requester.Guest {
		return nil, guestsMayNot()
	}
	if err := s.checkDirectoryServer(ctx, c); err != nil {
		return nil, err
	}
	q, err := req.read(c.Requester.Org)
	if err != nil {
		return nil, err
	}
	page := directoryPage{Chunk: []json.RawMessage{}}
	if page.Total, err = s.directorySizes.count(ctx, s, q.DirectoryList); err != nil {
		return nil, err
	}
	if q.Limit == 0 {
		return page, nil
	}
	limit := q.Limit
	q.Limit++
	rooms, err := s.store.ListPublicRooms(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list public rooms: %w", err)
	}
	more := len(rooms) > limit
	rooms = rooms[:min(len(rooms), limit)]
	back := q.Place != nil && q.Place.Before
	if back {
		slices.Reverse(rooms)
	}
	for _, r := range rooms {
		page.Chunk = append(page.Chunk, r.Entry)
	}
	if n := len(rooms); n > 0 {
		if more || back {
			page.NextBatch = placeToken('n', rooms[n-1])
		}
		if more && back || q.Place != nil && !back {
			page.PrevBatch = placeToken('p', rooms[0])
		}
	}
	return page, nil
}

// checkDirectoryServer refuses the directories of other servers: of domains that are hosted here only the own organisation's is there.
func (s *Server) checkDirectoryServer(ctx context.Context, c *httpapi.Call) error {
	name := c.Query("server")
	if name == "" {
		return nil
	}
	server, err := matrix.ParseServerName(name)
	if err != nil {
		return matrix.InvalidParam("server is not a server name")
	}
	domain, err := s.store.GetHostedDomain(ctx, server)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("look up domain %s: %w", server, err)
	}
	if err != nil || domain.OrganisationID != c.Requester.Org {
		return matrix.NotFound("the room directory of %s is not available here", server)
	}
	return nil
}

// read checks the request.
func (r *publicRoomsRequest) read(organisation int64) (store.DirectoryQuery, error) {
	q := store.DirectoryQuery{
		DirectoryList: store.DirectoryList{Organisation: organisation, Network: r.ThirdPartyInstanceID, All: r.IncludeAllNetworks},
		Limit:         limits.DirectoryDefault,
	}
	if q.All && q.Network != "" {
		return q, matrix.InvalidParam("third_party_instance_id is one network; include_all_networks can't be true with it")
	}
	if len(q.Network) > limits.InstanceID {
		return q, matrix.InvalidParam("third_party_instance_id is longer than %d bytes", limits.InstanceID)
	}
	if r.Limit != nil {
		if *r.Limit < 0 {
			return q, matrix.InvalidParam("limit must not be negative")
		}
		q.Limit = min(*r.Limit, limits.DirectoryMax)
	}
	if r.Since != "" {
		place, ok := parsePlace(r.Since)
		if !ok {
			return q, matrix.InvalidParam("since is not a token of this server")
		}
		q.Place = place
	}
	f := r.Filter
	if f == nil {
		return q, nil
	}
	if len(f.GenericSearchTerm) > limits.SearchTerm {
		return q, matrix.InvalidParam("generic_search_term is longer than %d bytes", limits.SearchTerm)
	}
	q.Terms = people.Words(f.GenericSearchTerm)
	if len(f.RoomTypes) > limits.FilterList {
		return q, matrix.InvalidParam("room_types has more than %d entries", limits.FilterList)
	}
	if f.RoomTypes != nil {
		q.Types = []string{}
	}
	for _, t := range f.RoomTypes {
		switch {
		case t == nil:
			q.Types = append(q.Types, "")
		case *t != "":
			q.Types = append(q.Types, *t)
		}
	}
	return q, nil
}

// placeToken names the place behind ('n') or before ('p') a room. It means the same on every process, and does not age: the room
// itself need not be there any more.
func placeToken(side byte, r store.PublishedRoom) string {
	return fmt.Sprintf("%c%d.%d", side, r.Joined, r.RoomNID)
}

func parsePlace(token string) (*store.DirectoryPlace, bool) {
	side := token[0]
	joined, room, found := strings.Cut(token[1:], ".")
	n, err := strconv.ParseInt(joined, 10, 32)
	nid, nidErr := strconv.ParseInt(room, 10, 64)
	if side != 'n' && side != 'p' || !found || err != nil || nidErr != nil || n < 0 || nid < 0 {
		return nil, false
	}
	return &store.DirectoryPlace{Joined: int(n), RoomNID: nid, Before: side == 'p'}, true
}

const (
	// exactSize is up to which the size of a directory is counted for every answer. Larger ones are counted once in countKept.
	exactSize = 1000
	countKept = time.Minute
)

// directorySizes remembers how many rooms large directories have.
type directorySizes struct {
	mu    sync.Mutex
	known map[store.DirectoryList]directorySize
}

type directorySize struct {
	rooms int
	at    time.Time
}

// count is the estimate of how many rooms a list has.
func (d *directorySizes) count(ctx context.Context, s *Server, list store.DirectoryList) (int, error) {
	now := s.clock.Now()
	d.mu.Lock()
	size, ok := d.known[list]
	d.mu.Unlock()
	if ok && now.Sub(size.at) < countKept {
		return size.rooms, nil
	}
	n, err := s.store.CountPublicRooms(ctx, list, exactSize)
	if err != nil || n < exactSize {
		return n, wrapCount(err)
	}
	if n, err = s.store.CountPublicRooms(ctx, list, 1<<30); err != nil {
		return 0, wrapCount(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || len(d.known) > exactSize {
		d.known = make(map[store.DirectoryList]directorySize)
	}
	d.known[list] = directorySize{n, now}
	return n, nil
}

func wrapCount(err error) error {
	if err != nil {
		return fmt.Errorf("count public rooms: %w", err)
	}
	return nil
}

// guestsMayNot answers guests where accounts are needed.
//
// Spec: client-server v1.19 §guest-access
func guestsMayNot() *matrix.Error {
	return matrix.NewError(403, matrix.ErrGuestAccessForbidden, "guests may not do this")
}
