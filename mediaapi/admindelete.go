package mediaapi

import (
	"context"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

type deletedMediaResponse struct {
	Deleted []string `json:"deleted_media"`
	Total   int      `json:"total"`
}

// deleteFor deletes the media that a filter chooses, for an administrator.
func (s *Server) deleteFor(ctx context.Context, c *httpapi.Call, f store.MediaFilter) (any, error) {
	f.OrganisationID = c.Requester.Org
	deleted, err := s.deleteBy(ctx, f, store.Deleting{By: c.Requester.User, Rule: ruleAdmin, At: s.now()})
	if err != nil {
		return nil, err
	}
	return deletedOf(deleted), nil
}

func deletedOf(deleted []matrix.ContentURI) deletedMediaResponse {
	answer := deletedMediaResponse{Deleted: []string{}, Total: len(deleted)}
	for _, uri := range deleted {
		answer.Deleted = append(answer.Deleted, uri.MediaID)
	}
	return answer
}

// adminDeleteMedia deletes media, whatever it hangs on; the events stay.
func (s *Server) adminDeleteMedia(ctx context.Context, c *httpapi.Call) (any, error) {
	uri, err := contentURI(c)
	if err != nil {
		return nil, err
	}
	if _, err := s.adminMedia(ctx, c, uri); err != nil {
		return nil, err
	}
	deleted, err := s.cfg.Store.DeleteMedia(ctx, c.Requester.Org, []matrix.ContentURI{uri}, store.Deleting{
		By: c.Requester.User, Rule: ruleAdmin, At: s.now(),
	})
	if err != nil {
		return nil, fmt.Errorf("delete %s: %w", uri, err)
	}
	s.wakeSweeper()
	return deletedOf(deleted), nil
}

// deleteUserMedia deletes all that a user has uploaded.
//
// Differs: existing tools say how large a portion is (limit, from), and repeat until nothing is left; the portion is ours.
func (s *Server) deleteUserMedia(ctx context.Context, c *httpapi.Call) (any, error) {
	user, err := s.adminUser(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.deleteFor(ctx, c, store.MediaFilter{UserID: user})
}

// deleteOldMedia deletes what was uploaded here before a time, but for what is protected.
func (s *Server) deleteOldMedia(ctx context.Context, c *httpapi.Call) (any, error) {
	return s.deleteOld(ctx, c, store.MediaFilter{Hosted: true})
}

// deleteOldMediaOf is deleteOldMedia in its older form, which names one of the domains.
func (s *Server) deleteOldMediaOf(ctx context.Context, c *httpapi.Call) (any, error) {
	name, err := matrix.ParseServerName(c.Path("serverName"))
	if err != nil {
		return nil, err
	}
	return s.deleteOld(ctx, c, store.MediaFilter{Hosted: true, Server: name})
}

func (s *Server) deleteOld(ctx context.Context, c *httpapi.Call, f store.MediaFilter) (any, error) {
	var err error
	if f.Before, err = before(c); err != nil {
		return nil, err
	}
	larger, err := c.QueryInt("size_gt", 0, 0, 1<<62)
	if err != nil {
		return nil, err
	}
	f.LargerThan, f.KeepProtected, f.KeepProfiles = int64(larger), true, c.Query("keep_profiles") != "false"
	return s.deleteFor(ctx, c, f)
}

// before reads the time before which media is old.
func before(c *httpapi.Call) (matrix.Timestamp, error) {
	if c.Query("before_ts") == "" {
		return 0, matrix.MissingParam("before_ts is missing")
	}
	n, err := c.QueryInt("before_ts", 0, 0, maxTimestamp)
	if err == nil && n < earliest {
		err = matrix.InvalidParam("before_ts is in milliseconds, and this is in the year 1970; is it in seconds?")
	}
	return matrix.Timestamp(n), err
}

// earliest is the beginning of the year 1971: what is before it is likely a time in seconds.
const earliest = 365 * 24 * 3600 * 1000

type purgeResponse struct {
	Deleted int `json:"deleted"`
}

// purgeRemoteMedia deletes media of other servers that is kept here.
func (s *Server) purgeRemoteMedia(ctx context.Context, c *httpapi.Call) (any, error) {
	until, err := before(c)
	if err != nil {
		return nil, err
	}
	f := store.MediaFilter{OrganisationID: c.Requester.Org, Remote: true, Before: until, KeepProtected: true}
	deleted, err := s.deleteBy(ctx, f, store.Deleting{By: c.Requester.User, Rule: ruleAdmin, At: s.now()})
	if err != nil {
		return nil, err
	}
	return purgeResponse{len(deleted)}, nil
}

// deletedPortions bounds what one request deletes, in portions of sweepBatch. Whoever wants more gone asks again until nothing is left.
const deletedPortions = 10

// deleteBy deletes the media that a filter chooses, at most deletedPortions of it, and returns what that was.
func (s *Server) deleteBy(ctx context.Context, f store.MediaFilter, d store.Deleting) (deleted []matrix.ContentURI, err error) {
	for range deletedPortions {
		media, _, err := s.cfg.Store.ListMediaBy(ctx, f, store.MediaOrder{}, 0, sweepBatch)
		if err != nil {
			return deleted, fmt.Errorf("list media to delete: %w", err)
		}
		if len(media) == 0 {
			return deleted, nil
		}
		uris := make([]matrix.ContentURI, len(media))
		for i := range media {
			uris[i] = media[i].URI
		}
		done, err := s.cfg.Store.DeleteMedia(ctx, f.OrganisationID, uris, d)
		deleted = append(deleted, done...)
		if err != nil {
			return deleted, fmt.Errorf("delete media: %w", err)
		}
		s.wakeSweeper()
	}
	return deleted, nil
}

type adminDeleteRequest struct {
	RoomID   *matrix.RoomID    `json:"room_id"`
	UserID   *matrix.UserID    `json:"user_id"`
	EventID  *matrix.EventID   `json:"event_id"`
	BeforeTS *matrix.Timestamp `json:"before_ts"`
	Reason   string            `json:"reason"`
}

type adminDeleteResponse struct {
	Deleted int `json:"deleted"`
	// More says that the same request has to be sent again.
	More bool `json:"more"`
	// Refused is what nobody in the room may redact.
	Refused []refusedDeletion `json:"refused,omitempty"`
}

type refusedDeletion struct {
	RoomID matrix.RoomID `json:"room_id"`
	Events int           `json:"events"`
	Reason string        `json:"reason"`
}

// adminDelete redacts an event, or a portion of the messages of a room, of a user, or of a user in a room. What hangs on them goes too.
func (s *Server) adminDelete(ctx context.Context, c *httpapi.Call, req *adminDeleteRequest) (any, error) {
	d, err := req.deletion()
	if err != nil {
		return nil, err
	}
	d.OrganisationID, d.By = c.Requester.Org, c.Requester.User
	done, err := s.cfg.Rooms.DeleteForAdmin(ctx, d)
	if err != nil {
		return nil, err
	}
	s.wakeSweeper()
	answer := adminDeleteResponse{Deleted: done.Deleted, More: done.More}
	for _, r := range done.Refused {
		answer.Refused = append(answer.Refused, refusedDeletion{r.Room, r.Events, r.Reason})
	}
	return answer, nil
}

// deletion checks what is asked for.
func (r *adminDeleteRequest) deletion() (d roomserver.AdminDeletion, err error) {
	if r.RoomID == nil && r.UserID == nil && r.EventID == nil {
		return d, matrix.MissingParam("one of room_id, user_id and event_id has to say what is to be deleted")
	}
	if r.RoomID != nil {
		if d.Room, err = matrix.ParseRoomID(string(*r.RoomID)); err != nil {
			return d, matrix.InvalidParam("room_id is not a room id")
		}
	}
	if r.UserID != nil {
		if d.User, err = matrix.ParseUserID(string(*r.UserID)); err != nil {
			return d, matrix.InvalidParam("user_id is not a user id")
		}
	}
	if r.EventID != nil {
		if d.Event, err = matrix.ParseEventID(string(*r.EventID)); err != nil {
			return d, matrix.InvalidParam("event_id is not an event id")
		}
	}
	if r.BeforeTS != nil {
		if d.Before = *r.BeforeTS; d.Before < earliest {
			return d, matrix.InvalidParam("before_ts is in milliseconds, and this is in the year 1970; is it in seconds?")
		}
	}
	if d.Reason = r.Reason; len(d.Reason) > limits.Reason {
		return d, matrix.InvalidParam("reason is longer than %d bytes", limits.Reason)
	}
	return d, nil
}
