package sync

import (
	"context"
	"fmt"
	"net/http"
	stdsync "sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver"
)

// wait starts a request with a long timeout, and returns when it waits.
func (c *slider) wait(t *testing.T) *waiting {
	t.Helper()
	before := c.p.polls(c.user)
	ctx, cancel := context.WithCancel(context.Background())
	w := &waiting{t: t, answer: make(chan gjson.Result, 1), cancel: cancel}
	path, request := c.request(300_000)
	go func() {
		_, body := c.p.request(ctx, "POST", path, c.user, c.device, request)
		w.answer <- gjson.Parse(body)
	}()
	t.Cleanup(cancel)
	for c.p.polls(c.user) == before {
		select {
		case answer := <-w.answer:
			t.Fatalf("did not wait: %s", answer.Raw)
		case <-time.After(time.Millisecond):
		}
	}
	return w
}

func TestSlidingLongPollIsWoken(t *testing.T) {
	t.Parallel()
	for _, stable := range []bool{false, true} {
		p := startOne(t)
		room, other := p.create(alice, roomserver.PresetPublic), p.create(alice, roomserver.PresetPublic)
		p.join(bob, room)
		c := p.slider(bob, listOf20)
		if c.stable = stable; stable {
			c.lists = stable20
		}
		c.ask()
		c.quiet("the first is told")
		w := c.wait(t)
		p.say(alice, other, "not for bob")
		p.put(store.Update{Kind: store.KindTyping, RoomNID: p.nid(room), UserID: alice, Body: []byte(`{"until":1}`)})
		w.asleep()
		p.say(alice, room, "for bob")
		answer := w.get()
		want(t, "timeline", texts(of(answer, room)), "for bob")
		c.pos = answer.Get("pos").String()
		w = c.wait(t)
		p.on(p.rooms.Invite, alice, other, bob)
		answer = w.get()
		want(t, "invited", of(answer, other).Get("initial"), true)
		c.pos = answer.Get("pos").String()
		w = c.wait(t)
		p.sync.Stop()
		want(t, "at the end", w.get().Get("rooms").Raw, "{}")
	}
}

func TestSlidingNothingNewNeedsNoDatabase(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	p.device(bob)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	c := p.slider(bob, listOf20)
	c.extensions = `{"account_data":{"enabled":true},"receipts":{"enabled":true},"typing":{"enabled":true},"to_device":{"enabled":true},"e2ee":{"enabled":true}}`
	first := c.ask()
	c.extensions = fmt.Sprintf(`{"account_data":{"enabled":true},"receipts":{"enabled":true},"typing":{"enabled":true},"e2ee":{"enabled":true},
		"to_device":{"enabled":true,"since":%q}}`, first.Get("extensions.to_device.next_batch"))
	c.ask()
	p.say(alice, room, "one")
	want(t, "told", texts(of(c.ask(), room)), "one")
	p.say(alice, room, "two")
	p.must(p.store.Close())
	want(t, "a message near the head", texts(of(c.ask(), room)), "two")
	for range 3 {
		want(t, "nothing new", c.ask().Get("rooms").Raw, "{}")
	}
	c.pos = ""
	if status, _ := c.try(0); status < 500 {
		t.Errorf("a first request without a database: %d; the test does not notice queries", status)
	}
}

func TestSlidingSamePosInTwoRequestsAtOnce(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	var rooms []matrix.RoomID
	for range 3 {
		rooms = append(rooms, p.create(alice, roomserver.PresetPublic))
	}
	p.join(bob, rooms...)
	c := p.slider(bob, `{"all":{"ranges":[[0,0]],"timeline_limit":1,"required_state":[]}}`)
	c.ask()
	for round := range 5 {
		// A room comes into the window, so that each answer has to be remembered.
		room := rooms[round%2]
		text := fmt.Sprint("m", round)
		p.say(alice, room, text)
		// As many as are kept of one position.
		answers := make([]gjson.Result, limits.SlidingSiblings)
		var all stdsync.WaitGroup
		for i := range answers {
			all.Go(func() {
				status, body := c.try(0)
				if answers[i] = gjson.Parse(body); status != http.StatusOK {
					t.Errorf("request %d: %d %s", i, status, body)
				}
			})
		}
		all.Wait()
		for _, answer := range answers {
			want(t, "told", texts(of(answer, room)), text)
			branch := *c
			branch.pos = answer.Get("pos").String()
			if status, body := branch.try(0); status != http.StatusOK || gjson.Get(body, "rooms").Raw != "{}" {
				t.Errorf("after one of the answers: %d %s", status, body)
			}
		}
		c.pos = answers[round%len(answers)].Get("pos").String()
	}
}

func TestSlidingConnectionThatIsTidiedAway(t *testing.T) {
	t.Parallel()
	clock := &testClock{now: time.Now()}
	p := start(t, newDSN(t)(), options{clock: clock})
	p.create(bob, roomserver.PresetPublic)
	c := p.slider(bob, listOf20)
	c.ask()
	used := p.slider(bob, listOf20)
	used.conn = "used"
	used.ask()
	clock.add(2 * usedEvery)
	used.quiet("it is used")
	removed, err := p.store.DeleteSlidingStatesBefore(context.Background(), matrix.TimestampOf(clock.Now().Add(-usedEvery)), 100)
	p.must(err)
	want(t, "removed", removed, 1)
	p.sync.connections.clear()
	used.quiet("it was used")
	if status, body := c.try(0); status != http.StatusBadRequest || gjson.Get(body, "errcode").String() != "M_UNKNOWN_POS" {
		t.Errorf("a connection that was tidied away: %d %s", status, body)
	}
	c.pos = ""
	want(t, "begun again", len(c.ask().Get("rooms").Map()), 1)
}

// extension is what an answer has of an extension.
func extension(answer gjson.Result, name string) gjson.Result {
	return answer.Get("extensions." + gjson.Escape(name))
}

func TestSlidingToDevice(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	p.device(bob)
	c := p.slider(bob, "")
	since := func(answer gjson.Result, limit int) {
		c.extensions = fmt.Sprintf(`{"to_device":{"enabled":true,"limit":%d,"since":%q}}`, limit, extension(answer, "to_device").Get("next_batch"))
	}
	c.extensions = `{"to_device":{"enabled":true,"limit":2}}`
	p.message(bob, "a", "b", "c")
	first := c.ask()
	want(t, "first", messages(first.Get("extensions")), "a b")
	// Nothing is gone before the client says that it has it, even on another connection.
	other := *c
	other.conn, other.pos = "other", ""
	want(t, "another connection", messages(other.ask().Get("extensions")), "a b")
	want(t, "kept", p.waiting(bob), 3)
	since(first, 2)
	second := c.ask()
	want(t, "second", messages(second.Get("extensions")), "c")
	want(t, "kept", p.waiting(bob), 1)
	// A client whose connection was lost has its token still.
	c.pos = ""
	want(t, "a new connection", messages(c.ask().Get("extensions")), "c")
	since(second, 100)
	want(t, "nothing", messages(c.ask().Get("extensions")), "")
	want(t, "kept", p.waiting(bob), 0)
	w := c.wait(t)
	p.message(bob, "d")
	answer := w.get()
	want(t, "woken", messages(answer.Get("extensions")), "d")
	c.pos = answer.Get("pos").String()
	c.extensions = ""
	want(t, "turned off", c.ask().Get("extensions").Raw, "{}")
	c.extensions = `{"to_device":{"enabled":true,"since":"nonsense"}}`
	if status, body := c.try(0); status != http.StatusBadRequest || gjson.Get(body, "errcode").String() != "M_INVALID_PARAM" {
		t.Errorf("a bad since: %d %s", status, body)
	}
}

func TestSlidingEncryption(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	p.device(alice, bob)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	p.offer(bob, "D", "1", "2")
	c := p.slider(bob, "")
	c.extensions = `{"e2ee":{"enabled":true}}`
	of := func(answer gjson.Result) gjson.Result { return extension(answer, "e2ee") }
	first := of(c.ask())
	want(t, "counts", counts(first), `{"signed_curve25519":2}[]`)
	want(t, "lists", listed(first), "|")
	nothing := of(c.ask())
	want(t, "counts of nothing new", counts(nothing), `{"signed_curve25519":2}[]`)
	w := c.wait(t)
	p.put(deviceChange(alice))
	answer := w.get()
	want(t, "changed", listed(of(answer)), "alice|")
	c.pos = answer.Get("pos").String()
	want(t, "told", listed(of(c.ask())), "|")
	w = c.wait(t)
	p.claim(bob, "D")
	answer = w.get()
	want(t, "claimed", counts(of(answer)), `{"signed_curve25519":1}[]`)
	c.pos = answer.Get("pos").String()
	p.leave(alice, room)
	want(t, "left", listed(of(c.ask())), "|alice")
	p.put(deviceChange(alice))
	want(t, "of no concern", listed(of(c.ask())), "|")
	c.extensions = ""
	want(t, "turned off", c.ask().Get("extensions").Raw, "{}")
}

func TestSlidingThreadSubscriptions(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	subscribe := func(user matrix.UserID, root, body string) {
		p.put(store.Update{Kind: store.KindThreadSubscription, RoomNID: p.nid(room), UserID: user, Key: root, Body: []byte(body)})
	}
	subscribe(bob, "$1", `{"automatic":false}`)
	subscribe(bob, "$2", `{"automatic":true}`)
	subscribe(alice, "$3", `{"automatic":true}`)
	c := p.slider(bob, "")
	c.extensions = `{"io.element.msc4308.thread_subscriptions":{"enabled":true,"limit":1}}`
	of := func(answer gjson.Result) gjson.Result { return extension(answer, threadsExtension) }
	path := "." + gjson.Escape(string(room)) + "."
	first := of(c.ask())
	want(t, "newest", first.Get("subscribed"+path+"$2.automatic").Raw, "true")
	want(t, "limit", first.Get("subscribed"+path+"$1").Exists(), false)
	_, rest := p.request(context.Background(), "GET", threadSubscriptionsPath+"?from="+first.Get("prev_batch").String(), bob, "D", "")
	want(t, "the rest", gjson.Get(rest, "subscribed"+path+"$1.automatic").Raw, "false")
	c.quiet("told")
	w := c.wait(t)
	subscribe(alice, "$1", `{"automatic":true}`)
	w.asleep()
	subscribe(bob, "$2", `{"unsubscribed":true}`)
	answer := w.get()
	want(t, "unsubscribed", of(answer).Get("unsubscribed"+path+"$2.bump_stamp").Exists(), true)
	c.pos = answer.Get("pos").String()
	c.quiet("told")
	p.sync.noRing = true
	subscribe(bob, "$4", `{"automatic":false}`)
	want(t, "from the database", of(c.ask()).Get("subscribed"+path+"$4").Exists(), true)
}
