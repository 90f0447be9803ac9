package sync

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store/storetest"
	"github.com/roomline/roomline/roomserver"
)

// stuckBeside are the sticky events that an answer of sliding sync tells of a room, by their bodies.
func stuckBeside(answer gjson.Result, room matrix.RoomID) string {
	list := ""
	answer.Get(`extensions.org\.matrix\.msc4354\.sticky_events.rooms`).ForEach(func(id, content gjson.Result) bool {
		if id.String() == string(room) {
			for _, e := range content.Get("events").Array() {
				list += e.Get("content.body").String() + " "
			}
		}
		return true
	})
	return list
}

func TestSlidingStickyEventsAreToldWhereverTheyStand(t *testing.T) {
	t.Parallel()
	clock := &testClock{now: time.Now()}
	dsn := storetest.DSN(t)
	for n, p := range []*process{
		start(t, storetest.Open(t, dsn), options{clock: clock, number: 1}),
		start(t, storetest.Open(t, dsn), options{clock: clock, number: 2, noRing: true}),
	} {
		p.device(bob)
		room, other := p.create(alice, roomserver.PresetPublic), p.create(alice, roomserver.PresetPublic)
		p.stick(room, alice, "over", time.Minute)
		p.stick(room, alice, "old", time.Hour)
		clock.add(2 * time.Minute)
		p.join(bob, room, other)
		p.say(alice, room, "last")
		c := p.slider(bob, `{"all":{"ranges":[[0,0]],"timeline_limit":1,"required_state":[]}}`)
		const on = `{"org.matrix.msc4354.sticky_events":{"enabled":true,"limit":100}}`
		tell := func(what string, of matrix.RoomID, want string) {
			t.Helper()
			if got := stuckBeside(c.ask(), of); got != want {
				t.Errorf("%d: %s: %q; want %q", n, what, got, want)
			}
		}
		tell("not asked for", room, "")
		c.extensions = on
		tell("asked for", room, "old ")
		tell("nothing new", room, "")
		p.stick(room, alice, "in the timeline", time.Hour)
		tell("in the timeline", room, "")
		p.stick(room, alice, "beside", time.Hour)
		for i := range 3 {
			p.say(alice, room, fmt.Sprint(i))
		}
		tell("before the timeline's beginning", room, "beside ")
		// A room that is outside the window is told of when it comes into it.
		p.stick(other, alice, "elsewhere", time.Hour)
		p.say(alice, other, "and more")
		p.say(alice, room, "up")
		tell("outside the window", other, "")
		p.say(alice, other, "up")
		tell("come into the window", other, "elsewhere ")
		p.stick(room, alice, "away", time.Hour)
		p.say(alice, room, "and more")
		p.say(alice, other, "up")
		tell("gone from the window", room, "")
		p.say(alice, room, "up")
		tell("come back into the window", room, "away ")
		// What happens while the extension is off is told when it is on again.
		c.extensions = `{}`
		p.stick(room, alice, "off", time.Hour)
		p.say(alice, room, "and more")
		tell("off", room, "")
		c.extensions = on
		p.say(alice, room, "more")
		if got := stuckBeside(c.ask(), room); got != "off " && got != "old in the timeline beside away off " {
			t.Errorf("%d: on again: %q", n, got)
		}
	}
}
