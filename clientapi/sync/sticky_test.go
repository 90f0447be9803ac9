package sync

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store/storetest"
	"github.com/roomline/roomline/roomserver"
)

// stick sends a sticky message and returns its id.
func (p *process) stick(room matrix.RoomID, user matrix.UserID, body string, lasts time.Duration) string {
	p.t.Helper()
	id, err := p.rooms.Send(context.Background(), roomserver.NewEvent{
		Room: room, Sender: user, Type: "org.example.call", Content: fmt.Appendf(nil, `{"body":%q}`, body), Sticky: lasts,
	})
	p.must(err)
	return string(id)
}

// stuck are the sticky events that an answer tells of a room, by their bodies.
func stuck(answer gjson.Result, room matrix.RoomID) string {
	list := ""
	answer.Get("rooms.join").ForEach(func(id, content gjson.Result) bool {
		if id.String() == string(room) {
			for _, e := range content.Get("msc4354_sticky.events").Array() {
				list += e.Get("content.body").String() + " "
			}
		}
		return true
	})
	return list
}

func TestStickyEventsAreToldWhereverTheyStand(t *testing.T) {
	t.Parallel()
	clock := &testClock{now: time.Now()}
	dsn := storetest.DSN(t)
	for n, p := range []*process{
		start(t, storetest.Open(t, dsn), options{clock: clock, number: 1}),
		start(t, storetest.Open(t, dsn), options{clock: clock, number: 2, noRing: true}),
	} {
		room := p.create(alice, roomserver.PresetPublic)
		p.state(alice, room, "m.room.history_visibility", "", `{"history_visibility":"joined"}`)
		before := p.get(alice, stickyQuery, "true").Get("next_batch").String()
		p.stick(room, alice, "old", time.Minute)
		p.stick(room, alice, "long", time.Hour)
		redacted := p.stick(room, alice, "redacted", time.Hour)
		for i := range 3 {
			p.say(alice, room, fmt.Sprint(i))
		}
		_, err := p.rooms.Send(context.Background(), roomserver.NewEvent{
			Room: room, Sender: alice, Type: "m.room.redaction", Redacts: matrix.EventID(redacted), Content: []byte("{}"),
		})
		p.must(err)
		p.stick(room, alice, "new", time.Hour)
		const short = `{"room":{"timeline":{"limit":1}}}`

		if got := stuck(p.get(alice, stickyQuery, "true", "since", before, "filter", short), room); got != "old long " {
			t.Errorf("%d: beside a timeline of one: %q", n, got)
		}
		// A filter that keeps an event out of the timeline does not keep it from being told.
		none := p.get(alice, stickyQuery, "true", "since", before, "filter", `{"room":{"timeline":{"types":["m.room.message"]}}}`)
		if got := stuck(none, room); got != "old long new " {
			t.Errorf("%d: beside a filtered timeline: %q", n, got)
		}
		all := p.get(alice, stickyQuery, "true", "since", before)
		if got := stuck(all, room); got != "" {
			t.Errorf("%d: told twice: %q", n, got)
		}
		if got := stuck(p.get(alice, "since", before, "filter", short), room); got != "" {
			t.Errorf("%d: told without having been asked for: %q", n, got)
		}
		if got := stuck(p.get(alice, stickyQuery, "true", "since", all.Get("next_batch").String(), "full_state", "true"), room); got != "" {
			t.Errorf("%d: told again: %q", n, got)
		}

		// A newcomer is told of what is sticky still, whatever the room's history is to them.
		clock.add(2 * time.Minute)
		since := p.get(bob, stickyQuery, "true").Get("next_batch").String()
		p.must(p.rooms.Join(context.Background(), roomserver.Membership{Room: room, Sender: bob, Target: bob}))
		answer := p.get(bob, stickyQuery, "true", "since", since)
		if got := stuck(answer, room); got != "long new " {
			t.Errorf("%d: told a newcomer: %q", n, got)
		}
		answer.Get("rooms.join").ForEach(func(_, content gjson.Result) bool {
			for _, e := range content.Get("msc4354_sticky.events").Array() {
				if left := e.Get("unsigned.msc4354_sticky_duration_ttl_ms").Int(); left <= 0 || left > 58*60_000 ||
					e.Get("msc4354_sticky.duration_ms").Int() != 3600_000 {
					t.Errorf("%d: %s", n, e.Raw)
				}
			}
			return true
		})
		if got := stuck(p.get(bob, stickyQuery, "true", "filter", short), room); got != "long new " {
			t.Errorf("%d: at the first request: %q", n, got)
		}
		clock.add(time.Hour)
		if got := stuck(p.get(bob, stickyQuery, "true", "filter", short), room); got != "" {
			t.Errorf("%d: told when it is over: %q", n, got)
		}
	}
}
