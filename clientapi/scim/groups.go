package scim

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// groupOf is a group as directories see it. members is nil where they are not asked for.
func (s *Server) groupOf(g *store.ScimGroup, members []store.ScimMember) (resource, error) {
	r := resource{"schemas": []string{schemaGroup, schemaRoom}, "id": g.GroupID, "displayName": g.DisplayName}
	if g.ExternalID != "" {
		r["externalId"] = g.ExternalID
	}
	room := map[string]any{"kind": g.Kind}
	if g.RoomID != "" {
		room["roomId"] = string(g.RoomID)
	}
	r[schemaRoom] = room
	var list []any
	for _, m := range members {
		member := map[string]any{"value": string(m.UserID), "$ref": s.location(userType, string(m.UserID)), "type": "User"}
		var name string
		if m.Name != nil && json.Unmarshal(m.Name, &name) == nil {
			member["display"] = name
		}
		list = append(list, member)
	}
	if list != nil {
		r["members"] = list
	}
	return s.withMeta(r, groupType, g.CreatedTS, g.ModifiedTS)
}

// group returns a group with its members.
func (s *Server) group(ctx context.Context, org int64, id string) (resource, error) {
	g, err := s.cfg.Store.GetScimGroup(ctx, org, id)
	if err != nil {
		return nil, fmt.Errorf("look up a group: %w", err)
	}
	members, err := s.cfg.Store.ListScimMembers(ctx, []string{id})
	if err != nil {
		return nil, fmt.Errorf("list the people of a group: %w", err)
	}
	return s.groupOf(&g, members)
}

// getGroup returns a group.
//
// Spec: RFC 7644 §3.4.1
func (s *Server) getGroup(ctx context.Context, c *httpapi.Call) (any, error) {
	r, err := s.group(ctx, c.Requester.Org, c.Path("id"))
	if err != nil {
		return nil, err
	}
	q, err := queryOf(c)
	return answer(c, http.StatusOK, r, q.projection), err
}

// listGroups answers a query.
//
// Spec: RFC 7644 §3.4.2
func (s *Server) listGroups(ctx context.Context, c *httpapi.Call) (any, error) {
	q, err := queryOf(c)
	if err != nil {
		return nil, err
	}
	return s.findGroups(ctx, c.Requester.Org, q)
}

// searchGroups answers a query in the body.
//
// Spec: RFC 7644 §3.4.3
func (s *Server) searchGroups(ctx context.Context, c *httpapi.Call) (any, error) {
	req, err := searchOf(c)
	if err != nil {
		return nil, err
	}
	return s.findGroups(ctx, c.Requester.Org, req.query())
}

func (s *Server) findGroups(ctx context.Context, org int64, q query) (any, error) {
	var f *store.ScimFilter
	if q.filter != "" {
		var err error
		if f, err = groupType.parseFilter(q.filter); err != nil {
			return nil, err
		}
	}
	list, total, err := s.cfg.Store.ListScimGroups(ctx, org, f, q.start-1, q.count)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	members := map[string][]store.ScimMember{}
	if !q.projection.leavesOut("members") {
		var ids []string
		for i := range list {
			ids = append(ids, list[i].GroupID)
		}
		all, err := s.cfg.Store.ListScimMembers(ctx, ids)
		if err != nil {
			return nil, fmt.Errorf("list the people of groups: %w", err)
		}
		for _, m := range all {
			members[m.GroupID] = append(members[m.GroupID], m)
		}
	}
	found := listResponse{Schemas: []string{messageList}, TotalResults: total, StartIndex: q.start, ItemsPerPage: len(list), Resources: []resource{}}
	for i := range list {
		r, err := s.groupOf(&list[i], members[list[i].GroupID])
		if err != nil {
			return nil, err
		}
		found.Resources = append(found.Resources, q.projection.apply(r))
	}
	return found, nil
}

// createGroup makes a group, and a room or space for it unless it has one.
//
// Spec: RFC 7644 §3.3
func (s *Server) createGroup(ctx context.Context, c *httpapi.Call) (any, error) {
	in, err := decode(c.Body)
	if err != nil {
		return nil, err
	}
	r, err := groupType.normal(in)
	if err != nil {
		return nil, err
	}
	g, users, err := groupFrom(r)
	if err != nil {
		return nil, err
	}
	g.OrganisationID = c.Requester.Org
	if g.Kind = textAt(r, schemaRoom, "kind"); g.Kind != "" && g.Kind != "room" && g.Kind != "space" && g.Kind != "none" {
		return nil, invalid("invalidValue", "kind must be room, space or none")
	}
	if id := textAt(r, schemaRoom, "roomId"); id != "" {
		if g.RoomID, err = matrix.ParseRoomID(id); err != nil {
			return nil, invalid("invalidValue", "roomId is not a room id")
		}
	}
	if g, err = s.cfg.Accounts.CreateGroup(ctx, by(c), g, users); err != nil {
		return nil, err
	}
	made, err := s.group(ctx, c.Requester.Org, g.GroupID)
	if err != nil {
		return nil, err
	}
	return answer(c, http.StatusCreated, made, projection{}), nil
}

// groupFrom is what a resource says of a group.
func groupFrom(r resource) (store.ScimGroup, []matrix.UserID, error) {
	g := store.ScimGroup{DisplayName: textAt(r, "displayName"), ExternalID: textAt(r, "externalId")}
	if g.DisplayName == "" {
		return g, nil, invalid("invalidValue", "displayName is missing")
	}
	ids := valuesOf(r, "members")
	if len(ids) > limits.ScimMembers {
		return g, nil, invalid("invalidValue", "a group has at most %d members", limits.ScimMembers)
	}
	users := []matrix.UserID{}
	for _, id := range ids {
		user, err := matrix.ParseUserID(id)
		if err != nil {
			return g, nil, invalid("invalidValue", "members: %q is not the id of a person", head(id))
		}
		users = append(users, user)
	}
	slices.Sort(users)
	return g, slices.Compact(users), nil
}

// replaceGroup makes a group what the body says.
//
// Spec: RFC 7644 §3.5.1
func (s *Server) replaceGroup(ctx context.Context, c *httpapi.Call) (any, error) {
	in, err := decode(c.Body)
	if err != nil {
		return nil, err
	}
	r, err := groupType.normal(in)
	if err != nil {
		return nil, err
	}
	return s.changeGroup(ctx, c, func(now resource) (resource, error) {
		for _, name := range []string{"kind", "roomId"} {
			if v := textAt(r, schemaRoom, name); v != "" && v != textAt(now, schemaRoom, name) {
				return nil, invalid("mutability", "%s can't be changed", name)
			}
		}
		return r, nil
	})
}

// patchGroup changes parts of a group.
//
// Spec: RFC 7644 §3.5.2
func (s *Server) patchGroup(ctx context.Context, c *httpapi.Call) (any, error) {
	p, err := parsePatch(c.Body)
	if err != nil {
		return nil, err
	}
	return s.changeGroup(ctx, c, func(now resource) (resource, error) {
		kind, room := textAt(now, schemaRoom, "kind"), textAt(now, schemaRoom, "roomId")
		if err := groupType.patch(now, p); err != nil {
			return nil, err
		}
		if textAt(now, schemaRoom, "kind") != kind || textAt(now, schemaRoom, "roomId") != room {
			return nil, invalid("mutability", "kind and roomId can't be changed")
		}
		return now, nil
	})
}

func (s *Server) changeGroup(ctx context.Context, c *httpapi.Call, to func(now resource) (resource, error)) (any, error) {
	org, id := c.Requester.Org, c.Path("id")
	err := s.cfg.Accounts.UpdateGroup(ctx, by(c), id, func(g store.ScimGroup, present []store.ScimMember) (store.ScimGroup, []matrix.UserID, error) {
		now, err := s.groupOf(&g, present)
		if err != nil {
			return g, nil, err
		}
		if err := mustMatch(c, now["meta"].(map[string]any)["version"].(string)); err != nil {
			return g, nil, err
		}
		r, err := to(now)
		if err != nil {
			return g, nil, err
		}
		changed, users, err := groupFrom(r)
		g.DisplayName, g.ExternalID = changed.DisplayName, changed.ExternalID
		return g, users, err
	})
	if err != nil {
		return nil, err
	}
	r, err := s.group(ctx, org, id)
	if err != nil {
		return nil, err
	}
	return answer(c, http.StatusOK, r, projection{}), nil
}

// deleteGroup removes a group: its people leave the room, which stays.
//
// Spec: RFC 7644 §3.6
func (s *Server) deleteGroup(ctx context.Context, c *httpapi.Call) (any, error) {
	r, err := s.group(ctx, c.Requester.Org, c.Path("id"))
	if err != nil {
		return nil, err
	}
	if err := mustMatch(c, r["meta"].(map[string]any)["version"].(string)); err != nil {
		return nil, err
	}
	if err := s.cfg.Accounts.DeleteGroup(ctx, by(c), c.Path("id")); err != nil {
		return nil, err
	}
	return httpapi.Status{Code: http.StatusNoContent}, nil
}
