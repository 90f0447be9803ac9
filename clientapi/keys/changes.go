package keys

import (
	"context"
	"fmt"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

type changesResponse struct {
	Changed []matrix.UserID `json:"changed"`
	Left    []matrix.UserID `json:"left"`
}

// GetKeysChanges tells whose devices changed between two answers to /sync, and who came or went, as the syncs would have.
//
// Of who has changed very often since, the changes may be forgotten, and then the user is in the list: a client that hears of it once too
// often asks once too often, and one that did not hear of it would encrypt for the wrong devices.
//
// Spec: client-server v1.19 §tracking-the-device-list-for-a-user, GET /_matrix/client/v3/keys/changes
func (s *Server) GetKeysChanges(ctx context.Context, c *httpapi.Call) (any, error) {
	head := s.cfg.Journal.Head()
	from, err := position(c, "from", 0)
	if err != nil {
		return nil, err
	}
	if c.Query("from") == "" {
		return nil, matrix.MissingParam("from is missing")
	}
	to, err := position(c, "to", max(head, from))
	if err != nil {
		return nil, err
	}
	if to < from {
		return nil, matrix.InvalidParam("to must not lie before from")
	}
	list, err := s.cfg.Store.ListDeviceListChanges(ctx, c.Requester.User, from, to)
	if err != nil {
		return nil, fmt.Errorf("list changes of device lists: %w", err)
	}
	answer := changesResponse{Changed: []matrix.UserID{}, Left: []matrix.UserID{}}
	changed, left := store.DeviceLists(c.Requester.User, list)
	answer.Changed, answer.Left = append(answer.Changed, changed...), append(answer.Left, left...)
	return answer, nil
}

// position reads a token, absent if it is missing.
func position(c *httpapi.Call, name string, absent int64) (int64, error) {
	text := c.Query(name)
	if text == "" {
		return absent, nil
	}
	at, err := journal.ParseToken(text)
	if err != nil {
		return 0, matrix.InvalidParam("%s is not a token of this server", name)
	}
	return at, nil
}
