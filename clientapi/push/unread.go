package push

import "github.com/roomline/roomline/internal/matrix"

// Unread is what a user has not read of a room.
type Unread struct {
	// Count is that of the main timeline.
	Count UnreadCount
	// Threads are the threads in which there is something to count.
	Threads map[matrix.EventID]UnreadCount
}

// UnreadCount is how many events notify, and how many of them are highlighted.
type UnreadCount struct {
	Notifications, Highlights int
}

// Total is the main timeline and all threads together.
func (u Unread) Total() UnreadCount {
	sum := u.Count
	for _, t := range u.Threads {
		sum.Notifications += t.Notifications
		sum.Highlights += t.Highlights
	}
	return sum
}

func (u *Unread) count(root matrix.EventID, o outcome, n int) {
	if !o.notify {
		return
	}
	c := &u.Count
	var of UnreadCount
	if root != "" {
		of = u.Threads[root]
		c = &of
	}
	c.Notifications += n
	if o.highlight {
		c.Highlights += n
	}
	if root != "" {
		if u.Threads == nil {
			u.Threads = make(map[matrix.EventID]UnreadCount)
		}
		u.Threads[root] = of
	}
}

func (u *Unread) clear(root matrix.EventID) {
	if root == "" {
		u.Count = UnreadCount{}
	} else {
		delete(u.Threads, root)
	}
}

// cloneThreads keeps what was handed out from changing.
func cloneThreads(threads map[matrix.EventID]UnreadCount) map[matrix.EventID]UnreadCount {
	if len(threads) == 0 {
		return nil
	}
	again := make(map[matrix.EventID]UnreadCount, len(threads))
	for root, n := range threads {
		again[root] = n
	}
	return again
}

// count returns the counts as far as they can be made from memory, the rooms whose standing is missing, and those whose groups are.
func (u *reader) count(rooms []int64, views map[int64]*roomView) (all map[int64]Unread, missing, stale []int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	all = make(map[int64]Unread, len(rooms))
	for _, nid := range rooms {
		st := u.rooms[nid]
		if st == nil {
			missing = append(missing, nid)
			continue
		}
		if st.joined == 0 {
			continue // not joined
		}
		if !u.update(st, views[nid]) {
			stale = append(stale, nid)
			continue
		}
		all[nid] = st.unread
	}
	return all, missing, stale
}

// update counts the room, and reports false when the database has to be asked first. It is called with mu held.
func (u *reader) update(st *standing, v *roomView) bool {
	rules := u.versions[len(u.versions)-1]
	if st.counted && st.rules == rules && st.made == v {
		return true
	}
	if st.counted && st.rules == rules && v.follows(st.made, st.upTo) {
		// Nothing but new events: they are added.
		st.unread.Threads = cloneThreads(st.unread.Threads)
		for i := v.first(st.upTo); i < len(v.facts); i++ {
			u.add(st, v, v.facts[i], rules)
		}
	} else {
		if !u.based(st, v) {
			return false
		}
		st.unread = Unread{}
		for _, g := range st.groups {
			o := outcome{notify: g.Notify, highlight: g.Highlight}
			if !g.Own {
				m := mask(g.Mask)
				if g.Mentioned {
					m |= predefined.bits[ruleUserMention]
				}
				o, _ = rules.decide(v.id, m, nil)
			}
			st.unread.count(g.Thread, o, g.Count)
		}
		for i := v.first(max(v.floor, st.joined)); i < len(v.facts); i++ {
			u.add(st, v, v.facts[i], rules)
		}
	}
	st.upTo, st.made, st.rules, st.counted = v.upTo, v, rules, true
	return true
}

// based reports whether the groups are all that is unread before the facts in memory.
func (u *reader) based(st *standing, v *roomView) bool {
	if max(st.joined, st.unthreaded) >= v.floor {
		st.groups, st.based, st.gone, st.dirty = nil, v.floor, v.gone, false
		return true
	}
	return st.based == v.floor && st.gone == v.gone && !st.dirty
}

// add counts a fact.
func (u *reader) add(st *standing, v *roomView, f *fact, present *program) {
	if f.Sender == u.id {
		if !f.State {
			// Spec: client-server v1.19 §marking-notifications-as-read: sending an event reads what is before it, in its thread.
			st.unread.clear(f.Thread)
		}
		return
	}
	if f.Redacted || f.Position <= st.after(f.Thread) || u.ignored[f.Sender] {
		return
	}
	rules := present
	m := f.maskFor(u.id)
	if at := u.program(f.Position); at.own {
		if o, own := at.decide(v.id, m, f.subject(st.name)); own {
			st.unread.count(f.Thread, o, 1)
			return
		}
	}
	o, _ := rules.decide(v.id, m, nil)
	st.unread.count(f.Thread, o, 1)
}
