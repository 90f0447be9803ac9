package sync

import (
	"context"
	"strconv"

	"github.com/roomline/roomline/clientapi/push"
	"github.com/roomline/roomline/internal/matrix"
)

// Unread is what a user has not read of a room: Count in the main timeline, Threads in the threads.
type (
	Unread      = push.Unread
	UnreadCount = push.UnreadCount
)

// unread returns what the user has not read of those of the rooms that the user is joined to, at position now or later. Rooms in
// memory cost no query.
//
// Spec: client-server v1.19 §receiving-notifications
func (s *Server) unread(ctx context.Context, e *user, rooms []roomMembership, now int64) (map[int64]Unread, error) {
	nids := make([]int64, 0, len(rooms))
	for i := range rooms {
		if rooms[i].value == memberJoin {
			nids = append(nids, rooms[i].nid)
		}
	}
	if len(nids) == 0 {
		return nil, nil
	}
	if err := s.cfg.Journal.WaitFor(ctx, now); err != nil {
		return nil, err
	}
	return s.cfg.Push.Unread(ctx, e.id, nids)
}

// loadUnread counts what is unread in the joined rooms of the answer.
func (b *build) loadUnread() error {
	rooms := make([]roomMembership, 0, len(b.rooms))
	for _, rm := range b.rooms {
		if !rm.left {
			rooms = append(rooms, rm.roomMembership)
		}
	}
	var err error
	b.unread, err = b.s.unread(b.ctx, b.e, rooms, b.now)
	return err
}

// unread writes a room's counts: with those of threads apart if the filter says so.
//
// Spec: client-server v1.19 §syncing, §threading
func (w *writer) unread(rm *room) {
	u := w.b.unread[rm.nid]
	if !w.b.r.filter.Room.Timeline.UnreadThreadNotifications {
		w.text(`,"unread_notifications":`)
		w.dst = appendUnreadCount(w.dst, u.Total())
		return
	}
	w.text(`,"unread_notifications":`)
	w.dst = appendUnreadCount(w.dst, u.Count)
	w.text(`,"unread_thread_notifications":`)
	w.dst = appendUnreadThreads(w.dst, u.Threads)
}

func appendUnreadThreads(dst []byte, threads map[matrix.EventID]UnreadCount) []byte {
	dst = append(dst, '{')
	first := true
	for root, n := range threads {
		if n.Notifications > 0 {
			dst = append(appendText(appendComma(dst, first), string(root)), ':')
			dst = appendUnreadCount(dst, n)
			first = false
		}
	}
	return append(dst, '}')
}

func appendUnreadCount(dst []byte, n UnreadCount) []byte {
	dst = strconv.AppendInt(append(dst, `{"highlight_count":`...), int64(n.Highlights), 10)
	dst = strconv.AppendInt(append(dst, `,"notification_count":`...), int64(n.Notifications), 10)
	return append(dst, '}')
}
