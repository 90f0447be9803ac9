package filter

import (
	"slices"
	"strings"

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
	if slices.ContainsFunc(f.NotTypes, func(pattern string) bool { return glob(pattern, eventType) }) {
		return false
	}
	return f.Types == nil || slices.ContainsFunc(f.Types, func(pattern string) bool { return glob(pattern, eventType) })
}

// MatchAll reports whether the filter lets everything through.
func (f *EventFilter) MatchAll() bool {
	return f.Types == nil && f.Senders == nil && len(f.NotTypes) == 0 && len(f.NotSenders) == 0
}

func listed(only, not []string, s string) bool {
	return !slices.Contains(not, s) && (only == nil || slices.Contains(only, s))
}

// glob matches a pattern in which * stands for any sequence of bytes. Each part between two stars is taken at its first
// place: that is always right, and needs no way back.
func glob(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	for {
		part, after, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], after
	}
}
