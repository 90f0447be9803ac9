package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// memberships are the rooms that the user of the path has to do with.
func (s *Server) memberships(ctx context.Context, c *httpapi.Call) ([]store.Membership, error) {
	a, _, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListMemberships(ctx, a.UserID)
	if err != nil {
		return nil, fmt.Errorf("list rooms of %s: %w", a.UserID, err)
	}
	return list, nil
}

func (s *Server) synapseJoinedRooms(ctx context.Context, c *httpapi.Call) (any, error) {
	list, err := s.memberships(ctx, c)
	rooms := []matrix.RoomID{}
	for _, m := range list {
		if m.Membership == "join" {
			rooms = append(rooms, m.RoomID)
		}
	}
	slices.Sort(rooms)
	return map[string]any{"joined_rooms": rooms, "total": len(rooms)}, err
}

func (s *Server) synapseMemberships(ctx context.Context, c *httpapi.Call) (any, error) {
	list, err := s.memberships(ctx, c)
	all := map[matrix.RoomID]string{}
	for _, m := range list {
		all[m.RoomID] = m.Membership
	}
	return map[string]any{"memberships": all}, err
}

// synapseAccountData shows what a client has stored for itself. That it was looked at is in the audit log.
func (s *Server) synapseAccountData(ctx context.Context, c *httpapi.Call) (any, error) {
	a, by, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.cfg.People.Note(ctx, by, "account.read_data", string(a.UserID)); err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListAccountDataNamed(ctx, a.UserID)
	if err != nil {
		return nil, fmt.Errorf("list account data of %s: %w", a.UserID, err)
	}
	global, rooms := map[string]json.RawMessage{}, map[matrix.RoomID]map[string]json.RawMessage{}
	for _, d := range list {
		if d.RoomID == "" {
			global[d.Type] = d.Content
			continue
		}
		if rooms[d.RoomID] == nil {
			rooms[d.RoomID] = map[string]json.RawMessage{}
		}
		rooms[d.RoomID][d.Type] = d.Content
	}
	return map[string]any{"account_data": map[string]any{"global": global, "rooms": rooms}}, nil
}

func (s *Server) synapsePushers(ctx context.Context, c *httpapi.Call) (any, error) {
	a, _, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	list, err := s.cfg.Store.ListPushers(ctx, a.UserID)
	if err != nil {
		return nil, fmt.Errorf("list pushers of %s: %w", a.UserID, err)
	}
	pushers := []map[string]any{}
	for _, p := range list {
		pushers = append(pushers, map[string]any{
			"app_display_name": p.AppDisplayName, "app_id": p.AppID, "data": json.RawMessage(p.Data), "device_display_name": p.DeviceDisplayName,
			"kind": "http", "lang": p.Lang, "profile_tag": p.ProfileTag, "pushkey": p.PushKey,
		})
	}
	return map[string]any{"pushers": pushers, "total": len(pushers)}, nil
}
