package journal

import (
	"sort"
	"sync"

	"github.com/roomline/roomline/internal/matrix"
)

// ring is the most recent part of the journal: every entry with floor < position <= head.
type ring struct {
	mu      sync.RWMutex
	floor   int64
	head    int64
	list    []Entry // in the order of positions; the part before start was given up
	start   int
	bytes   int
	max     int
	maxSize int
	changed chan struct{} // closed when head moves
}

func newRing(position int64, maxEntries, maxBytes int) *ring {
	return &ring{floor: position, head: position, max: maxEntries, maxSize: maxBytes, changed: make(chan struct{})}
}

func (r *ring) headPosition() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.head
}

func (r *ring) watch() (int64, <-chan struct{}) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.head, r.changed
}

func (r *ring) entries(from, to int64) ([]Entry, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if from < r.floor || to > r.head {
		return nil, false
	}
	live := r.list[r.start:]
	lo := sort.Search(len(live), func(i int) bool { return live[i].Position > from })
	hi := lo + sort.Search(len(live)-lo, func(i int) bool { return live[lo+i].Position > to })
	if lo == hi {
		return nil, true
	}
	return append([]Entry(nil), live[lo:hi]...), true
}

// push adds entries, which follow head without a hole, and moves head to position.
func (r *ring) push(entries []Entry, position int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		r.bytes += e.size()
	}
	r.list = append(r.list, entries...)
	r.head = position
	for len(r.list)-r.start > r.max || r.bytes > r.maxSize && r.start < len(r.list) {
		e := &r.list[r.start]
		r.bytes -= e.size()
		r.floor = e.Position
		*e = Entry{}
		r.start++
	}
	if r.start > len(r.list)/2 {
		r.list = append(make([]Entry, 0, len(r.list)-r.start+64), r.list[r.start:]...)
		r.start = 0
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// reset forgets everything and begins again at position.
func (r *ring) reset(position int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list, r.start, r.bytes = nil, 0, 0
	r.floor, r.head = position, position
	close(r.changed)
	r.changed = make(chan struct{})
}

// redact replaces an event that was redacted by what is left of it, so that the removed content is not served from memory.
// Entries that were handed out before keep the event as it was when they were read.
func (r *ring) redact(id matrix.EventID, by matrix.EventID, json []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := r.start; i < len(r.list); i++ {
		if e := r.list[i].Event; e != nil && e.EventID == id && e.RedactedBy == "" {
			redacted := *e
			redacted.JSON, redacted.RedactedBy = json, by
			r.list[i].Event = &redacted
			return
		}
	}
}

// size is about what an entry takes in memory.
func (e *Entry) size() int {
	if e.Event != nil {
		return 400 + len(e.Event.JSON)
	}
	if e.Update != nil {
		return 200 + len(e.Update.Body)
	}
	return 0
}
