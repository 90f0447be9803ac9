// Package auditor finds out whether a server has lost, doubled or reordered what it acknowledged.
//
// Writers note every write that was acknowledged: what it was, when it was asked for and when the answer came. Watchers note
// what they were told, in the order in which they were told. Check compares the two; it knows nothing of servers, so its own
// test hands it histories that are wrong and sees it complain.
//
// Each write carries a mark in its content, which no other write has. A write whose answer was lost is asked for again with
// the same mark and transaction id until it is acknowledged; two events with one mark are therefore one write done twice.
//
// What must hold, in each room:
//
//  1. Every view has every acknowledged event, once.
//  2. A mark stands in one event only.
//  3. A write that was acknowledged before another was asked for comes before it.
//  4. All views have the same events in the same order.
//
// auditor.go is the judge, audit.go the writers and watchers that talk to a server.
package auditor

import (
	"fmt"
	"sort"
	"sync"
	"time"
)

// Write is an acknowledged write.
type Write struct {
	Room, Mark, EventID string
	// Asked is when the first request for it was sent, Acknowledged when the answer came that has EventID.
	Asked, Acknowledged time.Time
}

// Event is an event as somebody was told of it.
type Event struct {
	ID, Mark string
}

// View is the events of one room in the order in which somebody was told of them, or read them.
type View struct {
	Name, Room string
	Events     []Event
}

// History collects acknowledged writes.
type History struct {
	mu     sync.Mutex
	writes []Write
}

// Add notes a write.
func (h *History) Add(w Write) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writes = append(h.writes, w)
}

// Writes is what was noted so far.
func (h *History) Writes() []Write {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Write(nil), h.writes...)
}

// Len is how many writes were noted so far.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.writes)
}

// maxProblems bounds what Check says: one fault often shows in thousands of places.
const maxProblems = 40

// Check returns what is wrong with the views of what was written, nothing if all is well.
func Check(writes []Write, views []View) []string {
	var c checker
	byRoom := map[string][]Write{}
	for _, w := range writes {
		byRoom[w.Room] = append(byRoom[w.Room], w)
	}
	viewsOf := map[string][]View{}
	for _, v := range views {
		viewsOf[v.Room] = append(viewsOf[v.Room], v)
	}
	rooms := make([]string, 0, len(byRoom))
	for room := range byRoom {
		rooms = append(rooms, room)
	}
	sort.Strings(rooms)
	for _, room := range rooms {
		if len(viewsOf[room]) == 0 {
			c.problem("room %s was written to and nobody looked at it", room)
		}
		c.acknowledgements(byRoom[room])
		for _, v := range viewsOf[room] {
			c.complete(byRoom[room], v)
			c.once(v)
			c.order(byRoom[room], v)
		}
		c.same(viewsOf[room])
	}
	if c.more > 0 {
		c.problems = append(c.problems, fmt.Sprintf("and %d more", c.more))
	}
	return c.problems
}

type checker struct {
	problems []string
	more     int
}

func (c *checker) problem(format string, args ...any) {
	if len(c.problems) >= maxProblems {
		c.more++
		return
	}
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// acknowledgements finds an event id that was given to two writes, and a write that was given two.
func (c *checker) acknowledgements(writes []Write) {
	byID, byMark := map[string]string{}, map[string]string{}
	for _, w := range writes {
		if mark, ok := byID[w.EventID]; ok && mark != w.Mark {
			c.problem("event %s was given to the writes %s and %s", w.EventID, mark, w.Mark)
		}
		byID[w.EventID] = w.Mark
		if id, ok := byMark[w.Mark]; ok && id != w.EventID {
			c.problem("write %s was given the events %s and %s", w.Mark, id, w.EventID)
		}
		byMark[w.Mark] = w.EventID
	}
}

// complete holds rule 1.
func (c *checker) complete(writes []Write, v View) {
	seen := make(map[string]int, len(v.Events))
	for _, e := range v.Events {
		seen[e.ID]++
	}
	for _, w := range writes {
		switch n := seen[w.EventID]; {
		case n == 0:
			c.problem("%s: acknowledged event %s (%s, acknowledged %s) is missing", v.Name, w.EventID, w.Mark, w.Acknowledged.Format("15:04:05.000"))
		case n > 1:
			c.problem("%s: event %s (%s) comes %d times", v.Name, w.EventID, w.Mark, n)
		}
	}
}

// once holds rule 2.
func (c *checker) once(v View) {
	byMark := make(map[string]string, len(v.Events))
	for _, e := range v.Events {
		if id, ok := byMark[e.Mark]; ok && id != e.ID {
			c.problem("%s: write %s was done twice, as %s and %s", v.Name, e.Mark, id, e.ID)
		}
		byMark[e.Mark] = e.ID
	}
}

// order holds rule 3. Going through the view, latest is when the newest of the writes so far was asked for: a write that was
// acknowledged before that stands too late.
func (c *checker) order(writes []Write, v View) {
	byID := make(map[string]Write, len(writes))
	for _, w := range writes {
		byID[w.EventID] = w
	}
	var latest Write
	for _, e := range v.Events {
		w, ok := byID[e.ID]
		if !ok {
			continue
		}
		if w.Acknowledged.Before(latest.Asked) {
			c.problem("%s: %s comes after %s, which was asked for later than %[2]s was acknowledged", v.Name, w.Mark, latest.Mark)
		}
		if w.Asked.After(latest.Asked) {
			latest = w
		}
	}
}

// same holds rule 4.
func (c *checker) same(views []View) {
	for i := 1; i < len(views); i++ {
		a, b := views[0], views[i]
		for k := range max(len(a.Events), len(b.Events)) {
			if k < len(a.Events) && k < len(b.Events) && a.Events[k].ID == b.Events[k].ID {
				continue
			}
			c.problem("%s and %s differ from event %d on: %s and %s", a.Name, b.Name, k, at(a, k), at(b, k))
			break
		}
	}
}

func at(v View, k int) string {
	if k >= len(v.Events) {
		return "nothing"
	}
	return v.Events[k].ID + " (" + v.Events[k].Mark + ")"
}
