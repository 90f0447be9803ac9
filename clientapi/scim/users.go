package scim

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// representation is a person as directories see it.
func (s *Server) representation(u *store.ScimUser) (resource, error) {
	var r resource
	if err := json.Unmarshal(u.Resource, &r); err != nil {
		return nil, fmt.Errorf("stored resource of %s: %w", u.UserID, err)
	}
	schemas := []string{schemaUser}
	if r[schemaEnterprise] != nil {
		schemas = append(schemas, schemaEnterprise)
		if manager := textAt(r, schemaEnterprise, "manager", "value"); manager != "" {
			r[schemaEnterprise].(map[string]any)["manager"].(map[string]any)["$ref"] = s.location(userType, manager)
		}
	}
	r[schemaRoomline] = map[string]any{
		"matrixUserId": string(u.UserID), "localpart": u.UserID.Localpart(), "domain": string(u.UserID.Domain()),
	}
	r["schemas"], r["id"], r["active"] = append(schemas, schemaRoomline), string(u.UserID), !u.Locked
	if len(u.Groups) > 0 {
		var groups []any
		for i, id := range u.Groups {
			groups = append(groups, map[string]any{"value": id, "$ref": s.location(groupType, id), "display": u.GroupNames[i], "type": "direct"})
		}
		r["groups"] = groups
	}
	return s.withMeta(r, userType, u.CreatedTS, u.ModifiedTS)
}

// withMeta adds what is said about a resource.
func (s *Server) withMeta(r resource, kind *resourceType, created, modified matrix.Timestamp) (resource, error) {
	version, err := tag(r)
	if err != nil {
		return nil, err
	}
	r["meta"] = map[string]any{
		"resourceType": kind.Name, "created": created.Time().Format(time.RFC3339Nano), "lastModified": modified.Time().Format(time.RFC3339Nano),
		"location": s.location(kind, r["id"].(string)), "version": version,
	}
	return r, nil
}

func userID(c *httpapi.Call) (matrix.UserID, error) {
	id, err := matrix.ParseUserID(c.Path("id"))
	if err != nil {
		return "", matrix.NotFound("there is no such user")
	}
	return id, nil
}

// getUser returns a person.
//
// Spec: RFC 7644 §3.4.1
func (s *Server) getUser(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := userID(c)
	if err != nil {
		return nil, err
	}
	r, err := s.user(ctx, c.Requester.Org, id)
	if err != nil {
		return nil, err
	}
	q, err := queryOf(c)
	return answer(c, http.StatusOK, r, q.projection), err
}

func (s *Server) user(ctx context.Context, org int64, id matrix.UserID) (resource, error) {
	u, err := s.cfg.Store.GetScimUser(ctx, org, id)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", id, err)
	}
	return s.representation(&u)
}

// listUsers answers a query.
//
// Spec: RFC 7644 §3.4.2
func (s *Server) listUsers(ctx context.Context, c *httpapi.Call) (any, error) {
	q, err := queryOf(c)
	if err != nil {
		return nil, err
	}
	return s.findUsers(ctx, c.Requester.Org, q)
}

// searchUsers answers a query in the body.
//
// Spec: RFC 7644 §3.4.3
func (s *Server) searchUsers(ctx context.Context, c *httpapi.Call) (any, error) {
	req, err := searchOf(c)
	if err != nil {
		return nil, err
	}
	return s.findUsers(ctx, c.Requester.Org, req.query())
}

func searchOf(c *httpapi.Call) (req searchRequest, err error) {
	if len(c.Body) == 0 {
		return req, invalid("invalidSyntax", "the body is empty; a %s is expected", messageSearch)
	}
	if err := strictjson.Decode(c.Body, &req); err != nil {
		return req, invalid("invalidSyntax", "the body is not a search request: %s", err)
	}
	return req, nil
}

func (s *Server) findUsers(ctx context.Context, org int64, q query) (any, error) {
	var f *store.ScimFilter
	if q.filter != "" {
		var err error
		if f, err = userType.parseFilter(q.filter); err != nil {
			return nil, err
		}
		canonicalFilter(f)
	}
	list, total, err := s.cfg.Store.ListScimUsers(ctx, org, f, q.start-1, q.count)
	if err != nil {
		return nil, fmt.Errorf("list people: %w", err)
	}
	found := listResponse{Schemas: []string{messageList}, TotalResults: total, StartIndex: q.start, ItemsPerPage: len(list), Resources: []resource{}}
	for i := range list {
		r, err := s.representation(&list[i])
		if err != nil {
			return nil, err
		}
		found.Resources = append(found.Resources, q.projection.apply(r))
	}
	return found, nil
}

// deleteUser removes a person's account as the organisation's policy says.
//
// Spec: RFC 7644 §3.6
func (s *Server) deleteUser(ctx context.Context, c *httpapi.Call) (any, error) {
	id, err := userID(c)
	if err != nil {
		return nil, err
	}
	r, err := s.user(ctx, c.Requester.Org, id)
	if err != nil {
		return nil, err
	}
	if err := mustMatch(c, r["meta"].(map[string]any)["version"].(string)); err != nil {
		return nil, err
	}
	if err := s.cfg.Accounts.Delete(ctx, by(c), id); err != nil {
		return nil, err
	}
	return httpapi.Status{Code: http.StatusNoContent}, nil
}
