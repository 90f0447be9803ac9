package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// The kinds of receipts. m.fully_read is one only in the path: it is kept as account data.
const (
	receiptRead        = "m.read"
	receiptReadPrivate = "m.read.private"
)

// threadMain is the thread id of what is in no thread.
const threadMain = "main"

// receiptRequest is the body of a receipt. thread_id is looked at by hand, because the spec has an error of its own for it.
type receiptRequest struct {
	ThreadID json.RawMessage `json:"thread_id"`
}

// postReceipt moves one of the requester's receipts to an event.
//
// Spec: client-server v1.19 §receipts, POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
func (s *Server) postReceipt(ctx context.Context, c *httpapi.Call, req *receiptRequest) (any, error) {
	room, err := c.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	event, err := c.EventID("eventId")
	if err != nil {
		return nil, err
	}
	thread, err := req.thread()
	if err != nil {
		return nil, err
	}
	m := marker{user: c.Requester.User, room: room, event: event}
	switch receipt := c.Path("receiptType"); receipt {
	case receiptRead, receiptReadPrivate:
		m.kind, m.key, m.thread = store.KindReceipt, receipt+"|"+thread, thread
	case typeFullyRead:
		if thread != "" {
			return nil, matrix.InvalidParam("thread_id does not go with m.fully_read")
		}
		m.kind, m.key = store.KindAccountData, typeFullyRead
	default:
		return nil, matrix.InvalidParam("receiptType must be m.read, m.read.private or m.fully_read")
	}
	s.presence.Active(m.user, c.Requester.Device)
	return nil, s.move(ctx, m)
}

// thread returns the thread id, empty for an unthreaded receipt.
func (r *receiptRequest) thread() (string, error) {
	if len(r.ThreadID) == 0 {
		return "", nil
	}
	var thread *string
	if json.Unmarshal(r.ThreadID, &thread) != nil || thread == nil || *thread == "" {
		return "", matrix.InvalidParam("thread_id must be a string that is not empty")
	}
	if *thread == threadMain {
		return threadMain, nil
	}
	if _, err := matrix.ParseEventID(*thread); err != nil {
		return "", matrix.InvalidParam("thread_id must be main or the event id of a thread's root")
	}
	return *thread, nil
}

// marker is a place up to which a user has read, on its way to an event.
type marker struct {
	user  matrix.UserID
	room  matrix.RoomID
	event matrix.EventID
	// kind and key are where the marker is kept: as a receipt or as account data.
	kind   store.Kind
	key    string
	thread string
}

// moveAttempts bounds how often a marker is tried because another process moved it at the same time. Each time it has come
// further, so that few are needed.
const moveAttempts = 20

// move brings a marker to its event. Markers move forward only: when the present place is as far or further, nothing is
// done. Of two processes that move it at once, the one that saw an older place looks again.
func (s *Server) move(ctx context.Context, m marker) error {
	for range moveAttempts {
		target, err := s.store.GetMarkerTarget(ctx, m.room, m.user, m.kind, m.key, m.event)
		if errors.Is(err, store.ErrNotFound) || err == nil && target.Membership != "join" {
			return matrix.Forbidden("you are not in this room")
		}
		if err != nil {
			return fmt.Errorf("read marker: %w", err)
		}
		if target.EventPosition == 0 {
			return matrix.NotFound("eventId: the room has no such event")
		}
		if m.thread != "" {
			if err := s.checkThread(ctx, m, target); err != nil {
				return err
			}
		}
		if target.MarkedPosition >= target.EventPosition {
			return nil
		}
		update := m.update(target, s.now())
		stored, err := s.journal.Replace(ctx, update)
		if err != nil {
			return fmt.Errorf("store marker: %w", err)
		}
		if stored[0] {
			return nil
		}
	}
	return matrix.LimitExceeded(0)
}

func (m marker) update(target store.MarkerTarget, now matrix.Timestamp) store.Update {
	var body []byte
	if m.kind == store.KindReceipt {
		body, _ = json.Marshal(struct {
			EventID  matrix.EventID   `json:"event_id"`
			TS       matrix.Timestamp `json:"ts"`
			Position int64            `json:"position"`
		}{m.event, now, target.EventPosition})
	} else {
		body, _ = json.Marshal(struct {
			EventID matrix.EventID `json:"event_id"`
		}{m.event})
	}
	replaces := target.MarkerPosition
	if replaces == 0 {
		replaces = store.ReplacesNone
	}
	return store.Update{Kind: m.kind, RoomNID: target.RoomNID, UserID: m.user, Key: m.key, Body: body, Replaces: replaces}
}

// checkThread refuses a receipt for an event that is not in the thread. A thread's root is in the main timeline; clients
// that show a thread on its own send receipts for the root in the thread, too, which does no harm.
//
// Spec: client-server v1.19 §threaded-read-receipts
func (s *Server) checkThread(ctx context.Context, m marker, target store.MarkerTarget) error {
	if string(m.event) == m.thread {
		return nil
	}
	thread, err := s.threadOf(ctx, target.RoomNID, target.EventJSON)
	if err != nil {
		return err
	}
	if thread != m.thread {
		return matrix.InvalidParam("thread_id: the event is not in this thread")
	}
	return nil
}

// threadHops bounds how far relations are followed, as the spec recommends.
const threadHops = 3

// threadOf returns the root of the thread that an event is in, or threadMain.
func (s *Server) threadOf(ctx context.Context, room int64, event []byte) (string, error) {
	for range threadHops {
		relation := gjson.GetBytes(event, "content.m\\.relates_to")
		parent := relation.Get("event_id").String()
		if parent == "" {
			return threadMain, nil
		}
		if relation.Get("rel_type").String() == "m.thread" {
			return parent, nil
		}
		e, err := s.store.GetEvent(ctx, room, matrix.EventID(parent))
		if errors.Is(err, store.ErrNotFound) {
			return threadMain, nil
		}
		if err != nil {
			return "", fmt.Errorf("read related event: %w", err)
		}
		event = e.JSON
	}
	return threadMain, nil
}
