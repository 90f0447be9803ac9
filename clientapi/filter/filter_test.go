package filter_test

import (
	"strings"
	"testing"

	"github.com/roomline/roomline/clientapi/filter"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

func TestMatchFollowsTheLists(t *testing.T) {
	t.Parallel()
	e := &store.Event{RoomID: "!r:x", Type: "m.room.message", Sender: "@a:x", JSON: []byte(`{"content":{"body":"b","url":"mxc://x/y"}}`)}
	for raw, want := range map[string]bool{
		``:                                            true,
		`{}`:                                          true,
		`{"types":null}`:                              true,
		`{"types":[]}`:                                false,
		`{"types":["m.room.message"]}`:                true,
		`{"types":["m.room.messages"]}`:               false,
		`{"types":["m.room"]}`:                        false,
		`{"types":["m.room.*"]}`:                      true,
		`{"types":["*"]}`:                             true,
		`{"types":["*.message"]}`:                     true,
		`{"types":["m.*.message"]}`:                   true,
		`{"types":["m*ro*m*ge"]}`:                     true,
		`{"types":["m*message*message"]}`:             false,
		`{"types":["**"]}`:                            true,
		`{"types":["*"],"not_types":["m.*"]}`:         false,
		`{"not_types":["m.room.member"]}`:             true,
		`{"not_types":[]}`:                            true,
		`{"senders":["@a:x"]}`:                        true,
		`{"senders":["@b:x"]}`:                        false,
		`{"senders":["@a:x"],"not_senders":["@a:x"]}`: false,
		`{"rooms":["!r:x"]}`:                          true,
		`{"rooms":["!s:x"]}`:                          false,
		`{"rooms":[]}`:                                false,
		`{"not_rooms":["!r:x"]}`:                      false,
		`{"contains_url":true}`:                       true,
		`{"contains_url":false}`:                      false,
		`{"org.example.more":[1]}`:                    true,
	} {
		f, err := filter.ParseRoomEvents(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got := f.Match(e); got != want {
			t.Errorf("%s: %v; want %v", raw, got, want)
		}
		if f.MatchAll() && !want {
			t.Errorf("%s: claims to let everything through", raw)
		}
	}
}

func TestBadFiltersAreRefused(t *testing.T) {
	t.Parallel()
	for raw, field := range map[string]string{
		`[]`: "", `7`: "", `null`: "", `{"room":[]}`: "room", `{"presence":"x"}`: "presence", `{"room":{"timeline":{"limit":"5"}}}`: "limit",
		`{"room":{"timeline":{"limit":-1}}}`: "room.timeline.limit", `{"room":{"timeline":{"limit":1.5}}}`: "limit",
		`{"room":{"state":{"types":"x"}}}`: "types", `{"room":{"rooms":["x"]}}`: "room.rooms", `{"room":{"state":{"not_rooms":["x"]}}}`: "room.state.rooms",
		`{"room":{"ephemeral":{"senders":["x"]}}}`: "room.ephemeral.senders", `{"account_data":{"not_senders":["x"]}}`: "account_data.senders",
		`{"event_format":"xml"}`: "event_format", `{"event_fields":"x"}`: "event_fields", `{"event_fields":[1]}`: "event_fields",
		`{"room":{"Timeline":{}}}`: "Timeline", `{"room":{"timeline":{"lazy_load_members":1}}}`: "lazy_load_members",
		`{"presence":{"types":[` + strings.Repeat(`"x",`, 600) + `"x"]}}`: "presence.types", `{"x":"` + strings.Repeat("x", 20_000) + `"}`: "filter",
	} {
		_, err := filter.Parse([]byte(raw))
		e, ok := matrix.AsError(err)
		if !ok || e.Status != 400 || !strings.Contains(e.Message, field) {
			t.Errorf("%.80s: %v; want a 400 that names %q", raw, err, field)
		}
	}
}

func TestParseReadsEveryField(t *testing.T) {
	t.Parallel()
	f, err := filter.Parse([]byte(`{"event_fields":["type"],"event_format":"federation","presence":{"limit":0},"account_data":{"types":["a"]},
		"room":{"rooms":["!a:x"],"not_rooms":["!b:x"],"include_leave":true,"ephemeral":{"types":[]},"state":{"lazy_load_members":true},
		"timeline":{"limit":3,"include_redundant_members":true,"unread_thread_notifications":true},"account_data":{"not_types":["b"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	ok := len(f.EventFields) == 1 && f.EventFormat == filter.FormatFederation && *f.Presence.Limit == 0 && f.Presence.Types == nil &&
		f.AccountData.Match("a", "@a:x") && !f.AccountData.Match("b", "@a:x") && f.Room.MatchRoom("!a:x") && !f.Room.MatchRoom("!c:x") &&
		f.Room.IncludeLeave && f.Room.Ephemeral.Types != nil && f.Room.State.LazyLoadMembers && *f.Room.Timeline.Limit == 3 &&
		f.Room.Timeline.IncludeRedundantMembers && f.Room.Timeline.UnreadThreadNotifications && !f.Room.AccountData.EventFilter.Match("b", "@a:x")
	if !ok {
		t.Errorf("parsed as %+v", f)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"room":{"timeline":{"limit":3,"types":["m.*"]},"rooms":["!a:x"]},"event_fields":["content.body"]}`)
	f.Add(`{"types":["*a*"],"contains_url":true}`)
	e := &store.Event{RoomID: "!r:x", Type: "m.room.message", Sender: "@a:x", JSON: []byte(`{"content":{}}`)}
	f.Fuzz(func(t *testing.T, raw string) {
		if parsed, err := filter.Parse([]byte(raw)); err == nil {
			parsed.Room.Timeline.Match(e)
			parsed.Presence.Match("m.presence", "@a:x")
		} else if _, ok := matrix.AsError(err); !ok {
			t.Errorf("not the client's error: %v", err)
		}
	})
}
