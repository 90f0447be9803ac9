package roomserver

import (
	"sync"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// maxParents bounds the ids that are kept in memory.
const maxParents = 100_000

// parents remembers which events others have related to lately. An event that came after the memory began and is not in it
// has no children: nobody can name an event before there is one. So most answers about new events need no query for them.
type parents struct {
	journal *journal.Journal

	mu sync.RWMutex
	// since is the position after which every relation is known.
	since int64
	known map[matrix.EventID]struct{}
}

func newParents(j *journal.Journal) *parents {
	return &parents{journal: j, since: j.Head(), known: make(map[matrix.EventID]struct{})}
}

// observe is the journal's observer.
func (p *parents) observe(entries []journal.Entry, lost bool) {
	if lost {
		p.begin(p.journal.Head())
	}
	for i := range entries {
		e := entries[i].Event
		if e == nil {
			continue
		}
		if r, ok := event.RelationOf(e.Type, e.StateKey, event.Content(e.JSON)); ok {
			p.add(r.RelatesTo, e.Position)
		}
	}
}

func (p *parents) add(id matrix.EventID, position int64) {
	p.mu.RLock()
	full := len(p.known) >= maxParents
	p.mu.RUnlock()
	if full {
		p.begin(position)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[id] = struct{}{}
}

// begin forgets what was before a position.
func (p *parents) begin(since int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since, p.known = max(p.since, since), make(map[matrix.EventID]struct{})
}

// Childless reports whether this process knows that no event it has seen relates to e. That is so for most events of the last
// minutes; it asks nobody.
func (s *Server) Childless(e *store.Event) bool {
	s.parents.mu.RLock()
	defer s.parents.mu.RUnlock()
	if e.Position <= s.parents.since {
		return false
	}
	_, known := s.parents.known[e.EventID]
	return !known
}
