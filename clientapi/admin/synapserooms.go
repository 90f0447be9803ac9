package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// synapseRoomEndpoints are those about rooms. Owners see the rooms of the organisation, the operator all.
func (s *Server) synapseRoomEndpoints() []endpoint {
	const one, two = synapse1 + "/rooms/{roomId}", synapse2 + "/rooms/{roomId}"
	table := []struct {
		method, path string
		handle       httpapi.Handler
		summary      string
	}{
		{get, synapse1 + "/rooms", s.synapseListRooms, "List rooms."},
		{get, one, s.synapseRoom, "A room."},
		{get, one + "/members", s.synapseMembers, "Who is in a room."},
		{get, one + "/state", s.synapseState, "The state of a room; that it was looked at is in the audit log."},
		{get, one + "/block", s.synapseGetBlock, "Whether a room is blocked."},
		{put, one + "/block", httpapi.JSON(s.synapsePutBlock), "Keep people from coming into a room."},
		{remove, one, httpapi.JSON(s.synapseDeleteRoomNow), "Remove a room, and answer when that is done."},
		{remove, two, httpapi.JSON(s.synapseDeleteRoom), "Remove a room in the background."},
		{get, two + "/delete_status", s.synapseRoomDeletions, "How far the removals of a room have come."},
		{get, synapse2 + "/rooms/delete_status/{deleteId}", s.synapseRoomDeletion, "How far the removal of a room has come."},
		{post, one + "/make_room_admin", httpapi.OptionalJSON(s.synapseMakeRoomAdmin), "Give somebody the most power in a room."},
	}
	var all []endpoint
	for _, r := range table {
		limit := ratelimit.Read
		if r.method != get {
			limit = ratelimit.Account
		}
		all = append(all, endpoint{method: r.method, path: r.path, may: owners, limit: limit, handle: r.handle, doc: httpapi.Doc{Summary: r.summary}})
	}
	return all
}

type synapseRoom struct {
	RoomID         matrix.RoomID `json:"room_id"`
	Name           *string       `json:"name"`
	CanonicalAlias *string       `json:"canonical_alias"`
	Joined         int64         `json:"joined_members"`
	JoinedLocal    int64         `json:"joined_local_members"`
	Version        string        `json:"version"`
	Creator        string        `json:"creator"`
	Encryption     *string       `json:"encryption"`
	Federatable    bool          `json:"federatable"`
	Public         bool          `json:"public"`
	JoinRules      *string       `json:"join_rules"`
	GuestAccess    *string       `json:"guest_access"`
	Visibility     *string       `json:"history_visibility"`
	StateEvents    int64         `json:"state_events"`
	RoomType       *string       `json:"room_type"`
}

func synapseRoomOf(r *store.AdminRoom) synapseRoom {
	return synapseRoom{
		r.ID, orNull(r.Name), orNull(r.CanonicalAlias), r.Joined, r.JoinedLocal, r.Version, r.Creator, orNull(r.Encryption), r.Federatable, r.Public,
		orNull(r.JoinRules), orNull(r.GuestAccess), orNull(r.Visibility), r.StateEvents, orNull(r.Type),
	}
}

func (s *Server) synapseListRooms(ctx context.Context, c *httpapi.Call) (any, error) {
	q := store.AdminRoomQuery{OrganisationID: scope(c), Search: c.Query("search_term"), OrderBy: c.Query("order_by"), Reversed: c.Query("dir") == "b"}
	if _, ok := store.AdminRoomOrders[q.OrderBy]; !ok {
		return nil, matrix.InvalidParam("order_by is not a field that lists are ordered by")
	}
	if dir := c.Query("dir"); dir != "" && dir != "f" && dir != "b" {
		return nil, matrix.InvalidParam("dir must be f or b")
	}
	if c.HasQuery("search_term") && q.Search == "" {
		return nil, matrix.InvalidParam("search_term must not be empty")
	}
	var err error
	if q.Public, err = flag(c, "public_rooms"); err != nil {
		return nil, err
	}
	if q.Empty, err = flag(c, "empty_rooms"); err != nil {
		return nil, err
	}
	from, limit, err := pageOf(c)
	if err != nil {
		return nil, err
	}
	list, total, err := s.cfg.Store.ListAdminRooms(ctx, q, from, limit)
	if err != nil {
		return nil, fmt.Errorf("list rooms: %w", err)
	}
	rooms := []synapseRoom{}
	for i := range list {
		rooms = append(rooms, synapseRoomOf(&list[i]))
	}
	answer := map[string]any{"rooms": rooms, "offset": from, "total_rooms": total}
	if int64(from+len(list)) < total {
		answer["next_batch"] = from + limit
	}
	if from > 0 {
		answer["prev_batch"] = max(from-limit, 0)
	}
	return answer, nil
}

// room is the room of the path, by its id or an alias, and who acts on it in its organisation.
func (s *Server) room(ctx context.Context, c *httpapi.Call) (store.AdminRoom, accounts.Actor, error) {
	by := accounts.ActorOf(c)
	notFound := matrix.NotFound("Room not found")
	id := c.Path("roomId")
	r, err := s.cfg.Store.GetAdminRoom(ctx, scope(c), id)
	if errors.Is(err, store.ErrNotFound) {
		return r, by, notFound
	}
	if err != nil {
		return r, by, fmt.Errorf("look up room %s: %w", id, err)
	}
	by.Org = r.OrganisationID
	return r, by, nil
}

func (s *Server) synapseRoom(ctx context.Context, c *httpapi.Call) (any, error) {
	r, _, err := s.room(ctx, c)
	if err != nil {
		return nil, err
	}
	devices, err := s.cfg.Store.CountJoinedDevices(ctx, r.NID)
	if err != nil {
		return nil, fmt.Errorf("count devices: %w", err)
	}
	return struct {
		synapseRoom
		Topic     *string `json:"topic"`
		Avatar    *string `json:"avatar"`
		Devices   int64   `json:"joined_local_devices"`
		Forgotten bool    `json:"forgotten"`
	}{synapseRoomOf(&r), orNull(r.Topic), orNull(r.Avatar), devices, r.JoinedLocal == 0}, nil
}

func (s *Server) synapseMembers(ctx context.Context, c *httpapi.Call) (any, error) {
	r, _, err := s.room(ctx, c)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListRoomMembers(ctx, r.NID, []string{"join"})
	if err != nil {
		return nil, fmt.Errorf("list members of %s: %w", r.ID, err)
	}
	members := []matrix.UserID{}
	for _, m := range list {
		members = append(members, m.UserID)
	}
	return map[string]any{"members": members, "total": len(members)}, nil
}

func (s *Server) synapseState(ctx context.Context, c *httpapi.Call) (any, error) {
	r, by, err := s.room(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.cfg.People.Note(ctx, by, "room.read_state", string(r.ID)); err != nil {
		return nil, err
	}
	var types []string
	if t := c.Query("type"); t != "" {
		types = []string{t}
	}
	const now = 1<<63 - 2
	events, err := s.cfg.Store.ListStateEvents(ctx, r.NID, now, types, false)
	if err != nil {
		return nil, fmt.Errorf("load the state of %s: %w", r.ID, err)
	}
	state := []map[string]any{}
	for i := range events {
		e := &events[i]
		var pdu struct {
			Content json.RawMessage `json:"content"`
		}
		if err := json.Unmarshal(e.JSON, &pdu); err != nil {
			return nil, fmt.Errorf("stored event %s: %w", e.EventID, err)
		}
		state = append(state, map[string]any{
			"type": e.Type, "state_key": e.StateKey, "sender": e.Sender, "event_id": e.EventID, "room_id": r.ID, "origin_server_ts": e.OriginServerTS,
			"content": pdu.Content,
		})
	}
	return map[string]any{"state": state}, nil
}

// blockable is a room that may be blocked: one of the organisation, or one that is not there.
func (s *Server) blockable(ctx context.Context, c *httpapi.Call) (matrix.RoomID, accounts.Actor, error) {
	by := accounts.ActorOf(c)
	id, err := c.RoomID("roomId")
	if err != nil {
		return "", by, err
	}
	return id, by, nil
}

func (s *Server) synapseGetBlock(ctx context.Context, c *httpapi.Call) (any, error) {
	id, by, err := s.blockable(ctx, c)
	if err != nil {
		return nil, err
	}
	who, err := s.cfg.Store.GetRoomBlock(ctx, id, by.Org)
	if errors.Is(err, store.ErrNotFound) {
		return map[string]any{"block": false}, nil
	}
	return map[string]any{"block": true, "user_id": who}, err
}

type blockRequest struct {
	Block *bool `json:"block"`
}

func (s *Server) synapsePutBlock(ctx context.Context, c *httpapi.Call, req *blockRequest) (any, error) {
	if req.Block == nil {
		return nil, matrix.MissingParam("block is missing")
	}
	id, by, err := s.blockable(ctx, c)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"block": *req.Block}, s.cfg.People.BlockRoom(ctx, by, id, *req.Block)
}

type synapseDeletionRequest struct {
	NewRoomUser *matrix.UserID `json:"new_room_user_id"`
	RoomName    string         `json:"room_name"`
	Message     string         `json:"message"`
	Block       bool           `json:"block"`
	Purge       *bool          `json:"purge"`
}

// deleteRoom begins the removal of the room of the path.
func (s *Server) deleteRoom(ctx context.Context, c *httpapi.Call, req *synapseDeletionRequest) (id string, org int64, err error) {
	r, by, err := s.room(ctx, c)
	if err != nil {
		return "", 0, err
	}
	d := accounts.RoomDeletion{RoomName: req.RoomName, Message: req.Message, Block: req.Block, Purge: req.Purge == nil || *req.Purge}
	if len(d.RoomName) > limits.DisplayName || len(d.Message) > limits.Reason {
		return "", 0, matrix.InvalidParam("room_name or message is too long")
	}
	if req.NewRoomUser != nil {
		if _, err := s.account(ctx, by.Org, *req.NewRoomUser); err != nil {
			return "", 0, matrix.InvalidParam("new_room_user_id: there is no such account in the organisation")
		}
		d.NewRoomUser = *req.NewRoomUser
	}
	id, err = s.cfg.People.DeleteRoom(ctx, by, r.ID, d)
	return id, by.Org, err
}

func (s *Server) synapseDeleteRoom(ctx context.Context, c *httpapi.Call, req *synapseDeletionRequest) (any, error) {
	id, _, err := s.deleteRoom(ctx, c, req)
	if err != nil {
		return nil, err
	}
	return map[string]string{"delete_id": id}, nil
}

// deletionPatience is how long the older form waits for a room to be gone before it answers what has been done so far.
const deletionPatience = 5 * time.Minute

// synapseDeleteRoomNow waits until the room is gone.
func (s *Server) synapseDeleteRoomNow(ctx context.Context, c *httpapi.Call, req *synapseDeletionRequest) (any, error) {
	id, org, err := s.deleteRoom(ctx, c, req)
	if err != nil {
		return nil, err
	}
	for deadline := s.cfg.Clock.Now().Add(deletionPatience); ; {
		list, err := s.cfg.Store.ListRoomDeletions(ctx, org, id, "")
		if err != nil || len(list) == 0 {
			return nil, fmt.Errorf("look up the deletion %s: %w", id, err)
		}
		if list[0].DoneTS != 0 || s.cfg.Clock.Now().After(deadline) {
			return shutdownOf(&list[0])
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func shutdownOf(d *store.RoomDeletion) (accounts.ShutdownStatus, error) {
	status := accounts.ShutdownStatus{KickedUsers: []matrix.UserID{}, FailedUsers: []matrix.UserID{}, LocalAliases: []matrix.RoomAlias{}}
	if err := json.Unmarshal(d.Status, &status); err != nil {
		return status, fmt.Errorf("stored status of the deletion %s: %w", d.ID, err)
	}
	if status.KickedUsers == nil {
		status.KickedUsers = []matrix.UserID{}
	}
	if status.FailedUsers == nil {
		status.FailedUsers = []matrix.UserID{}
	}
	if status.LocalAliases == nil {
		status.LocalAliases = []matrix.RoomAlias{}
	}
	return status, nil
}

type synapseDeletion struct {
	DeleteID string                  `json:"delete_id"`
	RoomID   matrix.RoomID           `json:"room_id"`
	Status   string                  `json:"status"`
	Error    string                  `json:"error,omitempty"`
	Shutdown accounts.ShutdownStatus `json:"shutdown_room"`
}

func synapseDeletionOf(d *store.RoomDeletion) (synapseDeletion, error) {
	status := "active"
	if d.DoneTS != 0 {
		status = "complete"
	}
	shutdown, err := shutdownOf(d)
	return synapseDeletion{d.ID, d.RoomID, status, d.Error, shutdown}, err
}

func (s *Server) synapseRoomDeletions(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListRoomDeletions(ctx, scope(c), "", id)
	if err != nil {
		return nil, fmt.Errorf("list deletions: %w", err)
	}
	if len(list) == 0 {
		return nil, matrix.NotFound("No delete task for room_id found")
	}
	results := make([]synapseDeletion, len(list))
	for i := range list {
		if results[i], err = synapseDeletionOf(&list[i]); err != nil {
			return nil, err
		}
	}
	return map[string]any{"results": results}, nil
}

func (s *Server) synapseRoomDeletion(ctx context.Context, c *httpapi.Call) (any, error) {
	list, err := s.cfg.Store.ListRoomDeletions(ctx, scope(c), c.Path("deleteId"), "")
	if err != nil {
		return nil, fmt.Errorf("look up a deletion: %w", err)
	}
	if len(list) == 0 {
		return nil, matrix.NotFound("delete id not found")
	}
	return synapseDeletionOf(&list[0])
}

type roomAdminRequest struct {
	UserID *matrix.UserID `json:"user_id"`
}

// synapseMakeRoomAdmin gives somebody of the room's organisation the most power that somebody there can give.
func (s *Server) synapseMakeRoomAdmin(ctx context.Context, c *httpapi.Call, req *roomAdminRequest) (any, error) {
	r, by, err := s.room(ctx, c)
	if err != nil {
		return nil, err
	}
	user := c.Requester.User
	if req.UserID != nil {
		user = *req.UserID
	}
	a, err := s.account(ctx, by.Org, user)
	if err != nil || a.Deactivated() {
		return nil, matrix.NewError(http.StatusBadRequest, matrix.ErrUnknown, "User is not a local user")
	}
	if err := s.cfg.People.Note(ctx, by, "room.make_admin", string(r.ID)+" "+string(user)); err != nil {
		return nil, err
	}
	return nil, s.cfg.People.MakeRoomAdmin(ctx, r.ID, user)
}
