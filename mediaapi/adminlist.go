package mediaapi

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// adminMedia is media of the administrator's organisation, or as if there were none.
func (s *Server) adminMedia(ctx context.Context, c *httpapi.Call, uri matrix.ContentURI) (store.Media, error) {
	m, err := s.cfg.Store.GetMedia(ctx, uri)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Media{}, fmt.Errorf("look up %s: %w", uri, err)
	}
	if err != nil || m.OrganisationID != c.Requester.Org {
		return store.Media{}, noSuchMedia()
	}
	return m, nil
}

// adminRoom is a room of the administrator's organisation.
func (s *Server) adminRoom(ctx context.Context, c *httpapi.Call) (roomserver.Info, error) {
	id, err := c.RoomID("roomId")
	if err != nil {
		return roomserver.Info{}, err
	}
	room, err := s.cfg.Rooms.Room(ctx, id)
	if err == nil && room.OrganisationID != c.Requester.Org {
		err = matrix.NotFound("room not found")
	}
	return room, err
}

// adminUser is a user of the administrator's organisation, who may have closed the account.
func (s *Server) adminUser(ctx context.Context, c *httpapi.Call) (matrix.UserID, error) {
	id, err := c.UserID("userId")
	if err != nil {
		return "", err
	}
	user, err := s.cfg.Store.GetUser(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("look up %s: %w", id, err)
	}
	if err != nil || user.OrganisationID != c.Requester.Org {
		return "", matrix.NotFound("there is no such account")
	}
	return id, nil
}

type roomMediaResponse struct {
	Local  []string `json:"local"`
	Remote []string `json:"remote"`
}

// listRoomMedia lists the media that hangs in a room, be it presumed.
func (s *Server) listRoomMedia(ctx context.Context, c *httpapi.Call) (any, error) {
	room, err := s.adminRoom(ctx, c)
	if err != nil {
		return nil, err
	}
	answer := roomMediaResponse{Local: []string{}, Remote: []string{}}
	for list, f := range map[*[]string]store.MediaFilter{
		&answer.Local:  {OrganisationID: c.Requester.Org, RoomNID: room.NID, Hosted: true},
		&answer.Remote: {OrganisationID: c.Requester.Org, RoomNID: room.NID, Remote: true},
	} {
		media, _, err := s.cfg.Store.ListMediaBy(ctx, f, store.MediaOrder{}, 0, limits.RoomMediaListed)
		if err != nil {
			return nil, fmt.Errorf("list media of %s: %w", room.ID, err)
		}
		for i := range media {
			*list = append(*list, media[i].URI.String())
		}
	}
	return answer, nil
}

type userMediaResponse struct {
	Media []mediaEntry `json:"media"`
	// NextToken is there if there is more: the value of from that continues.
	NextToken int   `json:"next_token,omitempty"`
	Total     int64 `json:"total"`
}

// mediaEntry is media as the lists of tools have it.
type mediaEntry struct {
	MediaID    string           `json:"media_id"`
	MediaType  string           `json:"media_type"`
	Length     int64            `json:"media_length"`
	UploadName *string          `json:"upload_name"`
	CreatedTS  matrix.Timestamp `json:"created_ts"`
	// LastAccessTS is always null: who fetches what is not noted.
	LastAccessTS  *int64         `json:"last_access_ts"`
	QuarantinedBy *matrix.UserID `json:"quarantined_by"`
	Protected     bool           `json:"safe_from_quarantine"`
}

func entryOf(m *store.Media) mediaEntry {
	e := mediaEntry{MediaID: m.URI.MediaID, MediaType: m.ContentType, Length: m.Size, CreatedTS: m.CreatedTS, Protected: m.Protected}
	if m.FileName != "" {
		e.UploadName = &m.FileName
	}
	if m.QuarantinedBy != "" {
		e.QuarantinedBy = &m.QuarantinedBy
	}
	return e
}

// pageOf reads which part of a list is asked for, and in which order.
func pageOf(c *httpapi.Call, known func(by string) bool) (from, limit int, order store.MediaOrder, err error) {
	if from, err = c.QueryInt("from", 0, 0, 1<<31-1); err != nil {
		return 0, 0, order, err
	}
	if limit, err = c.QueryInt("limit", 100, 1, 1000); err != nil {
		return 0, 0, order, err
	}
	order = store.MediaOrder{By: c.Query("order_by"), Descending: c.Query("dir") == "b"}
	if !known(order.By) {
		return 0, 0, order, matrix.InvalidParam("order_by: this can't be ordered by %q", order.By)
	}
	if dir := c.Query("dir"); dir != "" && dir != "f" && dir != "b" {
		return 0, 0, order, matrix.InvalidParam("dir must be f or b")
	}
	return from, limit, order, nil
}

// next is the value of from that continues after n entries, 0 after the last one.
func next(from, n int, total int64) int {
	if int64(from+n) < total && n > 0 {
		return from + n
	}
	return 0
}

// listUserMedia lists what a user has uploaded, unless told otherwise the newest first.
func (s *Server) listUserMedia(ctx context.Context, c *httpapi.Call) (any, error) {
	user, err := s.adminUser(ctx, c)
	if err != nil {
		return nil, err
	}
	from, limit, order, err := pageOf(c, store.IsMediaOrder)
	if err != nil {
		return nil, err
	}
	if order.By == "" && c.HasQuery("dir") {
		order.By = "created_ts"
	}
	media, total, err := s.cfg.Store.ListMediaBy(ctx, store.MediaFilter{OrganisationID: c.Requester.Org, UserID: user}, order, from, limit)
	if err != nil {
		return nil, fmt.Errorf("list media of %s: %w", user, err)
	}
	answer := userMediaResponse{Media: []mediaEntry{}, NextToken: next(from, len(media), total), Total: total}
	for i := range media {
		answer.Media = append(answer.Media, entryOf(&media[i]))
	}
	return answer, nil
}

type mediaInfoResponse struct {
	Info mediaInfo `json:"media_info"`
}

type mediaInfo struct {
	mediaEntry
	Origin matrix.ServerName `json:"media_origin"`
	UserID *matrix.UserID    `json:"user_id"`
	// Authenticated says that it can't be fetched without an access token.
	Authenticated bool    `json:"authenticated"`
	SHA256        *string `json:"sha256"`
	// Kind is what the first event that named it says it is.
	Kind string `json:"org.roomline.kind,omitempty"`
}

// getMediaInfo says what is known of media.
func (s *Server) getMediaInfo(ctx context.Context, c *httpapi.Call) (any, error) {
	uri, err := contentURI(c)
	if err != nil {
		return nil, err
	}
	m, err := s.adminMedia(ctx, c, uri)
	if err != nil {
		return nil, err
	}
	info := mediaInfo{mediaEntry: entryOf(&m), Origin: uri.Server, Kind: m.Kind, Authenticated: m.Restricted || m.CreatedTS >= s.cfg.UnauthenticatedUntil}
	if m.UserID != "" {
		info.UserID = &m.UserID
	}
	if m.SHA256 != nil {
		sum := hex.EncodeToString(m.SHA256)
		info.SHA256 = &sum
	}
	return mediaInfoResponse{info}, nil
}

type mediaUsageResponse struct {
	Users     []mediaUsage `json:"users"`
	NextToken int          `json:"next_token,omitempty"`
	Total     int64        `json:"total"`
}

type mediaUsage struct {
	UserID      matrix.UserID `json:"user_id"`
	DisplayName *string       `json:"displayname"`
	Count       int64         `json:"media_count"`
	Length      int64         `json:"media_length"`
}

// listMediaUsage says how much media the users of the organisation have.
func (s *Server) listMediaUsage(ctx context.Context, c *httpapi.Call) (any, error) {
	from, limit, order, err := pageOf(c, store.IsUsageOrder)
	if err != nil {
		return nil, err
	}
	f := store.UsageFilter{OrganisationID: c.Requester.Org, Search: c.Query("search_term")}
	for name, ts := range map[string]*matrix.Timestamp{"from_ts": &f.From, "until_ts": &f.Until} {
		n, err := c.QueryInt(name, 0, 0, maxTimestamp)
		if err != nil {
			return nil, err
		}
		*ts = matrix.Timestamp(n)
	}
	users, total, err := s.cfg.Store.ListMediaUsage(ctx, f, order, from, limit)
	if err != nil {
		return nil, fmt.Errorf("list usage: %w", err)
	}
	answer := mediaUsageResponse{Users: []mediaUsage{}, NextToken: next(from, len(users), total), Total: total}
	for _, u := range users {
		entry := mediaUsage{UserID: u.UserID, Count: u.Files, Length: u.Bytes}
		if u.DisplayName != "" {
			entry.DisplayName = &u.DisplayName
		}
		answer.Users = append(answer.Users, entry)
	}
	return answer, nil
}

// maxTimestamp is the last moment of the year 9999.
const maxTimestamp = 253402300799999
