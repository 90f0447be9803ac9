package roomserver

import (
	"context"
	"fmt"
	"sync"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// relationOf is the relation that a draft's content names, or nil.
func relationOf(d *draft) *store.Relation {
	r, ok := event.RelationOf(d.Type, d.StateKey, d.Content)
	if !ok {
		return nil
	}
	return &store.Relation{Type: r.Type, RelatesTo: r.RelatesTo, Key: r.Key}
}

// checkRelation refuses the two relations that a client must not make: a thread that begins with an event which relates to another
// one, and the same annotation twice. Messages without them, and replies in a thread that this process knows, cost nothing.
//
// Spec: client-server v1.19 §validation-of-mthread-relationships, §avoiding-duplicate-annotations
func (s *Server) checkRelation(ctx context.Context, room Info, d *draft) error {
	r, ok := event.RelationOf(d.Type, d.StateKey, d.Content)
	switch {
	case !ok:
	case r.Type == event.RelThread:
		return s.checkThreadRoot(ctx, room, r.RelatesTo)
	case r.Type == event.RelAnnotation && r.Key != "":
		again, err := s.cfg.Store.HasAnnotated(ctx, room.NID, r.RelatesTo, d.Sender, d.Type, r.Key)
		if err != nil {
			return fmt.Errorf("look for the same annotation: %w", err)
		}
		if again {
			return matrix.NewError(400, matrix.ErrDuplicateAnnotation, "you have annotated this event with this key")
		}
	}
	return nil
}

func (s *Server) checkThreadRoot(ctx context.Context, room Info, root matrix.EventID) error {
	if s.roots.has(room.NID, root) {
		return nil
	}
	child, err := s.cfg.Store.IsChild(ctx, room.NID, root)
	if err != nil {
		return fmt.Errorf("look up the root of a thread: %w", err)
	}
	if child {
		return matrix.NewError(400, matrix.ErrUnknown, "a thread can't begin with an event that relates to another one")
	}
	s.roots.add(room.NID, root)
	return nil
}

// maxRoots bounds the roots of threads that are remembered; the memory is emptied when full.
const maxRoots = 50_000

// roots are events that threads may begin with. What an event relates to never changes, except that a redaction removes it.
type roots struct {
	mu    sync.Mutex
	known map[rootKey]struct{}
}

type rootKey struct {
	room int64
	id   matrix.EventID
}

func (r *roots) has(room int64, id matrix.EventID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.known[rootKey{room, id}]
	return ok
}

func (r *roots) add(room int64, id matrix.EventID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil || len(r.known) >= maxRoots {
		r.known = make(map[rootKey]struct{})
	}
	r.known[rootKey{room, id}] = struct{}{}
}
