package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
)

// holdEndpoints are those about legal holds: of whom, or of which room, nothing is erased.
func (s *Server) holdEndpoints() []endpoint {
	const all = own + "/holds"
	return []endpoint{
		{method: get, path: all, may: administrators, handle: s.listHolds, doc: httpapi.Doc{
			Summary: "The people and rooms of which nothing is erased, the newest first.", Response: holdsResponse{}}},
		{method: post, path: all, may: owners, limit: ratelimit.Account, handle: httpapi.JSON(s.setHold), doc: httpapi.Doc{
			Summary: "Let nothing of a person, or of a room, be erased or removed by age, until that is lifted.", Request: NewHold{}, Response: Hold{}}},
		{method: remove, path: all + "/{holdId}", may: owners, limit: ratelimit.Account, handle: s.liftHold, doc: httpapi.Doc{
			Summary: "Lift a hold. What was to be erased meanwhile is erased."}},
	}
}

// NewHold names whom, or what, it is about: one of the two.
type NewHold struct {
	UserID string `json:"user_id"`
	RoomID string `json:"room_id"`
	// Reason is for the audit log: a file number, for example.
	Reason string `json:"reason"`
}

// Hold is one.
type Hold struct {
	ID     string           `json:"hold_id"`
	UserID matrix.UserID    `json:"user_id,omitempty"`
	RoomID matrix.RoomID    `json:"room_id,omitempty"`
	Reason string           `json:"reason"`
	SetBy  string           `json:"set_by"`
	SetTS  matrix.Timestamp `json:"set_ts"`
}

type holdsResponse struct {
	Holds []Hold `json:"holds"`
}

func holdOf(h store.Hold) Hold { return Hold{h.ID, h.UserID, h.RoomID, h.Reason, h.SetBy, h.SetTS} }

func (s *Server) listHolds(ctx context.Context, c *httpapi.Call) (any, error) {
	list, err := s.cfg.Store.ListHolds(ctx, c.Requester.Org, limits.Holds)
	if err != nil {
		return nil, fmt.Errorf("list holds: %w", err)
	}
	answer := holdsResponse{Holds: []Hold{}}
	for _, h := range list {
		answer.Holds = append(answer.Holds, holdOf(h))
	}
	return answer, nil
}

func (s *Server) setHold(ctx context.Context, c *httpapi.Call, req *NewHold) (any, error) {
	h := store.Hold{ID: rand.Text(), OrganisationID: c.Requester.Org, UserID: matrix.UserID(req.UserID), Reason: strings.TrimSpace(req.Reason), SetBy: c.Requester.Actor(), SetTS: s.now()}
	switch {
	case (req.UserID == "") == (req.RoomID == ""):
		return nil, matrix.InvalidParam("a hold is about a user_id, or about a room_id")
	case h.Reason == "":
		return nil, matrix.MissingParam("reason is missing")
	case len(h.Reason) > limits.HoldReason:
		return nil, matrix.TooLarge("reason is longer than %d bytes", limits.HoldReason)
	}
	if req.RoomID != "" {
		room, err := s.cfg.Store.GetAdminRoom(ctx, c.Requester.Org, req.RoomID)
		if errors.Is(err, store.ErrNotFound) {
			return nil, matrix.NotFound("there is no such room")
		}
		if err != nil {
			return nil, fmt.Errorf("look up a room: %w", err)
		}
		h.RoomNID, h.RoomID = room.NID, room.ID
	}
	err := s.change(ctx, whoOf(c), func(tx *store.Tx) (act, []store.Update, error) {
		if h.UserID != "" {
			u, err := tx.LockUser(ctx, h.UserID)
			if errors.Is(err, store.ErrNotFound) || err == nil && u.OrganisationID != h.OrganisationID {
				return act{}, nil, noSuchPerson()
			}
			if err != nil {
				return act{}, nil, err
			}
		}
		n, err := tx.CountHolds(ctx, h.OrganisationID)
		if err != nil {
			return act{}, nil, err
		}
		if n >= limits.Holds {
			return act{}, nil, matrix.Forbidden("an organisation has no more than %d holds", limits.Holds)
		}
		made, err := tx.InsertHold(ctx, h)
		if err != nil {
			return act{}, nil, err
		}
		if !made {
			return act{}, nil, matrix.BadState("it is held already")
		}
		return act{organisation: h.OrganisationID, action: "hold.set", target: req.UserID + req.RoomID, detail: map[string]any{"hold_id": h.ID, "reason": h.Reason}}, nil, nil
	})
	if err != nil {
		return nil, err
	}
	return holdOf(h), nil
}

func (s *Server) liftHold(ctx context.Context, c *httpapi.Call) (any, error) {
	return nil, s.change(ctx, whoOf(c), func(tx *store.Tx) (act, []store.Update, error) {
		h, err := tx.DeleteHold(ctx, c.Requester.Org, c.Path("holdId"))
		if errors.Is(err, store.ErrNotFound) {
			return act{}, nil, matrix.NotFound("there is no such hold")
		}
		if err != nil {
			return act{}, nil, err
		}
		return act{organisation: h.OrganisationID, action: "hold.lift", target: string(h.UserID) + string(h.RoomID), detail: map[string]any{"hold_id": h.ID, "reason": h.Reason}}, nil, nil
	})
}
