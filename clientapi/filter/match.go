package filter

import (
	"slices"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// Match reports whether the filter lets a stored event through.
func (f *RoomEventFilter) Match(e *store.Event) bool {
	if !f.EventFilter.Match(e.Type, e.Sender) || !f.MatchRoom(e.RoomID) {
		return false
	}
	return f.ContainsURL == nil || *f.ContainsURL == gjson.GetBytes(event.Content(e.JSON), "url").Exists()
}

// MatchRoom reports whether the filter is interested in a room at all.
func (f *RoomEventFilter) MatchRoom(room matrix.RoomID) bool {
	return listed(f.Rooms, f.NotRooms, string(room))
}

// MatchAll reports whether the filter lets every event of every room through.
func (f *RoomEventFilter) MatchAll() bool {
	return f.EventFilter.MatchAll() && f.Rooms == nil && len(f.NotRooms) == 0 && f.ContainsURL == nil
}

// MatchRoom reports whether the filter is interested in a room at all.
func (f *RoomFilter) MatchRoom(room matrix.RoomID) bool {
	return listed(f.Rooms, f.NotRooms, string(room))
}

// Match reports whether the filter lets through what has this type and sender.
func (f *EventFilter) Match(eventType string, sender matrix.UserID) bool {
	if !listed(f.Senders, f.NotSenders, string(sender)) {
		return false
	}
	if slices.ContainsFunc(f.NotTypes, func(pattern string) bool { return matrix.Glob(pattern, eventType) }) {
		return false
	}
	return f.Types == nil || slices.ContainsFunc(f.Types, func(pattern string) bool { return matrix.Glob(pattern, eventType) })
}

// MatchAll reports whether the filter lets everything through.
func (f *EventFilter) MatchAll() bool {
	return f.Types == nil && f.Senders == nil && len(f.NotTypes) == 0 && len(f.NotSenders) == 0
}

func listed(only, not []string, s string) bool {
	return !slices.Contains(not, s) && (only == nil || slices.Contains(only, s))
}
