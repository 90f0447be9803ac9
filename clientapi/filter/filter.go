// Package filter is the filters with which clients say what they want to be sent: stored ones and those in a query.
//
// Spec: client-server v1.19 §filtering, §lazy-loading-room-members
//
// A list that is absent lets everything through; a list that is there and empty lets nothing through. Of a thing that is in
// a list and in its not_ list, the not_ list decides. A filter that was parsed has been checked and is not changed any
// more, so that it may be shared.
//
// Start reading at Filter; match.go decides about single events.
package filter

import (
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/strictjson"
)

// Filter is what POST /user/{userId}/filter stores and what /sync takes.
type Filter struct {
	// EventFields are dotted paths into an event; nil means all of it.
	EventFields []string `json:"event_fields"`
	// EventFormat is "client", "federation" or empty, which is client.
	EventFormat string      `json:"event_format"`
	Presence    EventFilter `json:"presence"`
	AccountData EventFilter `json:"account_data"`
	Room        RoomFilter  `json:"room"`
}

// RoomFilter is the part of a Filter that is about rooms.
type RoomFilter struct {
	Rooms        []string        `json:"rooms"`
	NotRooms     []string        `json:"not_rooms"`
	IncludeLeave bool            `json:"include_leave"`
	Ephemeral    RoomEventFilter `json:"ephemeral"`
	State        RoomEventFilter `json:"state"`
	Timeline     RoomEventFilter `json:"timeline"`
	AccountData  RoomEventFilter `json:"account_data"`
}

// EventFilter chooses events by type and sender.
type EventFilter struct {
	// Limit is nil when the filter has none.
	//
	// Interop: the spec wants more than 0, but clients that want no timeline at all send 0.
	Limit      *int     `json:"limit"`
	Types      []string `json:"types"`
	NotTypes   []string `json:"not_types"`
	Senders    []string `json:"senders"`
	NotSenders []string `json:"not_senders"`
}

// RoomEventFilter chooses events of rooms.
type RoomEventFilter struct {
	EventFilter
	LazyLoadMembers           bool     `json:"lazy_load_members"`
	IncludeRedundantMembers   bool     `json:"include_redundant_members"`
	UnreadThreadNotifications bool     `json:"unread_thread_notifications"`
	Rooms                     []string `json:"rooms"`
	NotRooms                  []string `json:"not_rooms"`
	ContainsURL               *bool    `json:"contains_url"`
}

// Event formats.
const (
	FormatClient     = "client"
	FormatFederation = "federation"
)

// Parse reads and checks a whole filter. The error is M_NOT_JSON, M_BAD_JSON or M_INVALID_PARAM and names the field.
func Parse(raw []byte) (*Filter, error) {
	f := new(Filter)
	if err := decode(raw, f); err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

// ParseRoomEvents reads and checks the filter query parameter of /messages and /context. An empty one lets everything through.
func ParseRoomEvents(raw string) (*RoomEventFilter, error) {
	f := new(RoomEventFilter)
	if raw == "" {
		return f, nil
	}
	if err := decode([]byte(raw), f); err != nil {
		return nil, err
	}
	if err := f.check("filter"); err != nil {
		return nil, err
	}
	return f, nil
}

func decode(raw []byte, f any) error {
	if len(raw) > limits.Filter {
		return matrix.InvalidParam("filter is longer than %d bytes", limits.Filter)
	}
	if string(raw) == "null" {
		return matrix.BadJSON("filter must be an object")
	}
	return strictjson.Decode(raw, f)
}

func (f *Filter) check() error {
	if f.EventFormat != "" && f.EventFormat != FormatClient && f.EventFormat != FormatFederation {
		return matrix.InvalidParam("event_format must be client or federation")
	}
	if err := checkLength("event_fields", f.EventFields); err != nil {
		return err
	}
	if err := f.Presence.check("presence"); err != nil {
		return err
	}
	if err := f.AccountData.check("account_data"); err != nil {
		return err
	}
	return f.Room.check()
}

func (f *RoomFilter) check() error {
	if err := checkRooms("room", f.Rooms, f.NotRooms); err != nil {
		return err
	}
	for _, part := range []struct {
		name   string
		filter *RoomEventFilter
	}{
		{"room.ephemeral", &f.Ephemeral}, {"room.state", &f.State}, {"room.timeline", &f.Timeline}, {"room.account_data", &f.AccountData},
	} {
		if err := part.filter.check(part.name); err != nil {
			return err
		}
	}
	return nil
}

func (f *RoomEventFilter) check(where string) error {
	if err := checkRooms(where, f.Rooms, f.NotRooms); err != nil {
		return err
	}
	return f.EventFilter.check(where)
}

func (f *EventFilter) check(where string) error {
	if f.Limit != nil && *f.Limit < 0 {
		return matrix.InvalidParam("%s.limit must not be negative", where)
	}
	for _, list := range []struct {
		name  string
		items []string
	}{{"types", f.Types}, {"not_types", f.NotTypes}, {"senders", f.Senders}, {"not_senders", f.NotSenders}} {
		if err := checkLength(where+"."+list.name, list.items); err != nil {
			return err
		}
	}
	for _, senders := range [][]string{f.Senders, f.NotSenders} {
		for _, s := range senders {
			if _, err := matrix.ParseUserID(s); err != nil {
				return matrix.InvalidParam("%s.senders and not_senders must be user ids", where)
			}
		}
	}
	return nil
}

func checkRooms(where string, rooms, notRooms []string) error {
	if err := checkLength(where+".rooms", rooms); err != nil {
		return err
	}
	if err := checkLength(where+".not_rooms", notRooms); err != nil {
		return err
	}
	for _, list := range [][]string{rooms, notRooms} {
		for _, r := range list {
			if _, err := matrix.ParseRoomID(r); err != nil {
				return matrix.InvalidParam("%s.rooms and not_rooms must be room ids", where)
			}
		}
	}
	return nil
}

func checkLength(name string, list []string) error {
	if len(list) > limits.FilterList {
		return matrix.InvalidParam("%s has more than %d entries", name, limits.FilterList)
	}
	return nil
}
