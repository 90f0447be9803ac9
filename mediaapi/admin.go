package mediaapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// admin is where administrators of an organisation find what is ours; what tools for other servers know is below /_synapse/admin.
const admin = "/_roomline/admin/v1"

// synapse is where tools for other servers look.
const synapse = "/_synapse/admin/v1"

// adminRoutes are the endpoints of administrators: they see and delete all media of their organisation, and nobody else's.
func (s *Server) adminRoutes() []httpapi.Route {
	table := []struct {
		method, path string
		action       string // what the audit log calls it; empty for reading
		handle       httpapi.Handler
	}{
		{get, admin + "/media/deletions", "", s.listDeletions},
		{post, admin + "/delete", "content.delete", httpapi.JSON(s.adminDelete)},

		{get, synapse + "/room/{roomId}/media", "", s.listRoomMedia},
		{get, synapse + "/users/{userId}/media", "", s.listUserMedia},
		{get, synapse + "/media/{serverName}/{mediaId}", "", s.getMediaInfo},
		{get, synapse + "/statistics/users/media", "", s.listMediaUsage},
		{post, synapse + "/media/quarantine/{serverName}/{mediaId}", "media.quarantine", s.quarantine},
		{post, synapse + "/media/unquarantine/{serverName}/{mediaId}", "media.unquarantine", s.unquarantine},
		{post, synapse + "/room/{roomId}/media/quarantine", "media.quarantine", s.quarantineRoom},
		{post, synapse + "/user/{userId}/media/quarantine", "media.quarantine", s.quarantineUser},
		{post, synapse + "/media/protect/{mediaId}", "media.protect", s.protect},
		{post, synapse + "/media/unprotect/{mediaId}", "media.unprotect", s.unprotect},
		{remove, synapse + "/media/{serverName}/{mediaId}", "media.delete", s.adminDeleteMedia},
		{remove, synapse + "/users/{userId}/media", "media.delete", s.deleteUserMedia},
		{post, synapse + "/media/delete", "media.delete", s.deleteOldMedia},
		{post, synapse + "/media/{serverName}/delete", "media.delete", s.deleteOldMediaOf},
		{post, synapse + "/purge_media_cache", "media.purge", s.purgeRemoteMedia},
	}
	var routes []httpapi.Route
	for _, r := range table {
		routes = append(routes, httpapi.Route{
			Method: r.method, Path: r.path, Auth: token, Limit: ratelimit.Read, Handle: administrator(s.noted(r.action, r.handle)),
		})
	}
	return routes
}

// administrator refuses everybody else, before anything is looked up.
func administrator(handle httpapi.Handler) httpapi.Handler {
	return func(ctx context.Context, c *httpapi.Call) (any, error) {
		if !c.Requester.Admin {
			return nil, matrix.Forbidden("only administrators may do this")
		}
		return handle(ctx, c)
	}
}

// noted is a handler whose doing is in the organisation's audit log, also when it failed half-way.
func (s *Server) noted(action string, handle httpapi.Handler) httpapi.Handler {
	if action == "" {
		return handle
	}
	return func(ctx context.Context, c *httpapi.Call) (any, error) {
		answer, err := handle(ctx, c)
		entry := store.AuditEntry{
			OrganisationID: c.Requester.Org, TS: s.now(), Actor: c.Requester.Actor(), IP: c.ClientAddr(), Action: action, Target: targetOf(c),
		}
		if _, refused := matrix.AsError(err); refused {
			return nil, err
		}
		if err != nil {
			entry.Outcome = store.OutcomeFailed
		}
		if before := c.Query("before_ts"); before != "" {
			var encodeErr error
			if entry.Detail, encodeErr = json.Marshal(map[string]string{"before_ts": before}); encodeErr != nil {
				return nil, encodeErr
			}
		}
		return answer, errors.Join(err, s.cfg.Store.AppendAudit(context.WithoutCancel(ctx), entry))
	}
}

// targetOf is what a request of an administrator is about.
func targetOf(c *httpapi.Call) string {
	if server, id := c.Path("serverName"), c.Path("mediaId"); server != "" && id != "" {
		return "mxc://" + server + "/" + id
	}
	for _, name := range []string{"userId", "roomId", "mediaId", "serverName"} {
		if value := c.Path(name); value != "" {
			return value
		}
	}
	var targets []string
	for _, name := range []string{"event_id", "room_id", "user_id"} {
		if value := gjson.GetBytes(c.Body, name).String(); value != "" {
			targets = append(targets, value)
		}
	}
	return strings.Join(targets, " ")
}

type deletionsResponse struct {
	Deletions []json.RawMessage `json:"deletions"`
	// NextBatch is there if there are older ones: the value of from that continues.
	NextBatch string `json:"next_batch,omitempty"`
}

// pendingDeletion is told of a deletion whose objects are not all removed yet, so that there is no receipt.
type pendingDeletion struct {
	ID         int64            `json:"deletion_id"`
	ContentURI string           `json:"content_uri"`
	UserID     matrix.UserID    `json:"user_id"`
	Rule       string           `json:"rule"`
	DeletedTS  matrix.Timestamp `json:"deleted_ts"`
	Pending    bool             `json:"pending"`
}

// listDeletions returns the receipts of what was deleted in the organisation, the newest first.
func (s *Server) listDeletions(ctx context.Context, c *httpapi.Call) (any, error) {
	limit, err := c.QueryInt("limit", 100, 1, 1000)
	if err != nil {
		return nil, err
	}
	var before int64
	if from := c.Query("from"); from != "" {
		if before, err = strconv.ParseInt(from, 10, 64); err != nil || before < 1 {
			return nil, matrix.InvalidParam("from must be a next_batch of an earlier answer")
		}
	}
	list, err := s.cfg.Store.ListDeletions(ctx, c.Requester.Org, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list deletions: %w", err)
	}
	answer := deletionsResponse{Deletions: []json.RawMessage{}}
	for i := range list {
		d := &list[i]
		text := d.Receipt
		if text == nil {
			if text, err = json.Marshal(pendingDeletion{d.ID, d.URI.String(), d.UserID, d.Rule, d.DeletedTS, true}); err != nil {
				return nil, err
			}
		}
		answer.Deletions = append(answer.Deletions, text)
	}
	if len(list) == limit {
		answer.NextBatch = strconv.FormatInt(list[limit-1].ID, 10)
	}
	return answer, nil
}
