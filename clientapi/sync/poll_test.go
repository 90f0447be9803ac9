package sync

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
	"github.com/roomline/roomline/roomserver"
)

// waiting is a sync that waits.
type waiting struct {
	t      *testing.T
	answer chan gjson.Result
	cancel context.CancelFunc
}

// poll starts a sync with a long timeout, and returns when it waits.
func (p *process) poll(t *testing.T, user matrix.UserID, device, since string) *waiting {
	t.Helper()
	before := p.polls(user)
	ctx, cancel := context.WithCancel(context.Background())
	w := &waiting{t: t, answer: make(chan gjson.Result, 1), cancel: cancel}
	go func() {
		_, body := p.request(ctx, "GET", query("since", since, "timeout", "300000"), user, device, "")
		w.answer <- gjson.Parse(body)
	}()
	t.Cleanup(cancel)
	for p.polls(user) == before {
		select {
		case answer := <-w.answer:
			t.Fatalf("did not wait: %s", answer.Raw)
		case <-time.After(time.Millisecond):
		}
	}
	return w
}

// polls is how many requests of the user wait and have not been told to end.
func (p *process) polls(user matrix.UserID) int {
	p.sync.hub.mu.RLock()
	defer p.sync.hub.mu.RUnlock()
	n := 0
	if u := p.sync.hub.users[user]; u != nil {
		for _, poll := range u.polls {
			if !poll.ended.Load() {
				n++
			}
		}
	}
	return n
}

func (w *waiting) get() gjson.Result {
	w.t.Helper()
	select {
	case answer := <-w.answer:
		return answer
	case <-time.After(time.Minute):
		w.t.Fatal("no answer")
		return gjson.Result{}
	}
}

// asleep fails if the request has been answered.
func (w *waiting) asleep() {
	w.t.Helper()
	select {
	case answer := <-w.answer:
		w.t.Fatalf("answered: %s", answer.Raw)
	default:
	}
}

func execSQL(t *testing.T, st *store.Store, statement string) {
	t.Helper()
	db := storetest.DB(t, st.DSN())
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

func next(answer gjson.Result) string { return answer.Get("next_batch").String() }

func TestLongPollIsWokenByWhatConcernsItsUser(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room, other := p.create(alice, roomserver.PresetPublic), p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	w := p.poll(t, bob, "D", next(p.get(bob)))
	p.say(alice, other, "not for bob")
	w.asleep()
	p.say(alice, room, "for bob")
	answer := w.get()
	want(t, "timeline", bodies(in(answer, "join", room)), "for bob")
	w = p.poll(t, bob, "D", next(answer))
	p.on(p.rooms.Invite, alice, other, bob)
	want(t, "invite", in(w.get(), "invite", other).Exists(), true)
}

func TestPollIsNotAnsweredWithWhatItsFilterLeavesOut(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	filter := `{"room":{"timeline":{"types":["m.room.message"]},"ephemeral":{"types":[]}}}`
	first := p.get(alice, "filter", filter)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answered := make(chan string, 1)
	go func() {
		_, body := p.request(ctx, "GET", query("since", next(first), "filter", filter, "timeout", "300000"), alice, "D", "")
		answered <- body
	}()
	for p.polls(alice) == 0 {
		time.Sleep(time.Millisecond)
	}
	p.event(roomserver.NewEvent{Room: room, Sender: alice, Type: "org.example.other", Content: []byte(`{}`)})
	p.say(alice, room, "hello")
	body := <-answered
	want(t, "timeline", keys(in(gjson.Parse(body), "join", room).Get("timeline.events")), "[m.room.message]")
}

func TestNothingNewNeedsNoDatabase(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	p.create(alice, roomserver.PresetPublic)
	first := p.get(alice, "filter", lazyFilter)
	p.must(p.store.Close())
	second := p.since(first, alice, "filter", lazyFilter)
	want(t, "next_batch", next(second), next(first))
	if second.Get("rooms").Exists() {
		t.Errorf("there is something new: %s", second.Raw)
	}
	if status, _ := p.request(context.Background(), "GET", query(), alice, "D", ""); status < 500 {
		t.Errorf("a first sync without a database: %d; the test does not notice queries", status)
	}
}

// A message reaches those who are in the room without a query for each of them.
func TestMessageNearTheHeadNeedsNoDatabase(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	first := p.since(p.get(bob, "filter", lazyFilter), bob, "filter", lazyFilter)
	p.say(alice, room, "one")
	first = p.since(first, bob, "filter", lazyFilter)
	p.say(alice, room, "two")
	p.must(p.store.Close())
	want(t, "timeline", bodies(in(p.since(first, bob, "filter", lazyFilter), "join", room)), "two")
}

func TestStopAnswersWaitingRequests(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	first := p.get(alice)
	w := p.poll(t, alice, "D", next(first))
	p.sync.Stop()
	want(t, "next_batch", next(w.get()), next(first))
	want(t, "after the stop", next(p.since(first, alice, "timeout", "300000")), next(first))
}

func TestNewestPollEndsTheOldest(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	since := next(p.get(alice))
	var all []*waiting
	for range limits.PollsPerDevice {
		all = append(all, p.poll(t, alice, "D", since))
	}
	other := p.poll(t, alice, "OTHER", since)
	go p.request(context.Background(), "GET", query("since", since, "timeout", "300000"), alice, "D", "")
	want(t, "oldest", next(all[0].get()), since)
	all[1].asleep()
	other.asleep()
}

func TestNewestPollOfAUserEndsTheOldest(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	since := next(p.get(alice))
	var all []*waiting
	for i := range limits.PollsPerUser {
		all = append(all, p.poll(t, alice, "D"+strconv.Itoa(i/10), since))
	}
	go p.request(context.Background(), "GET", query("since", since, "timeout", "300000"), alice, "ONE MORE", "")
	want(t, "oldest", next(all[0].get()), since)
	all[1].asleep()
	all[len(all)-1].asleep()
}

func TestLogoutEndsPollsOfTheDevice(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	since := next(p.get(alice))
	gone, stays := p.poll(t, alice, "GONE", since), p.poll(t, alice, "STAYS", since)
	p.put(store.Update{Kind: store.KindSession, UserID: alice, Key: "GONE"})
	if answer := gone.get(); answer.Get("rooms").Exists() {
		t.Errorf("told something after the logout: %s", answer.Raw)
	}
	p.say(alice, room, "hello")
	want(t, "the other device", bodies(in(stays.get(), "join", room)), "hello")
}

func TestLostEntriesAreFoundInTheDatabase(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	w := p.poll(t, alice, "D", next(p.get(alice)))
	p.sync.hub.observe(nil, true)
	p.say(alice, room, "after the loss")
	want(t, "timeline", bodies(in(w.get(), "join", room)), "after the loss")
}

// A process that was too far behind begins again. Who asks while it does so is told everything, whatever is remembered of them.
func TestNothingIsMissedWhileAProcessBeginsAgain(t *testing.T) {
	t.Parallel()
	st := storetest.New(t)
	behind, goOn := make(chan struct{}), make(chan struct{})
	one := start(t, st, options{number: 1, silent: true, watch: func(_ []journal.Entry, lost bool) {
		if lost {
			close(behind)
			<-goOn
		}
	}})
	two := start(t, st, options{number: 2, silent: true})
	room := one.create(alice, roomserver.PresetPublic)
	one.join(bob, room)
	c := one.slider(bob, listOf20)
	c.ask()
	first := one.since(one.get(bob), bob)
	execSQL(t, st, `UPDATE clock SET position = position + 1000000`)
	two.must(two.journal.CatchUp(context.Background()))
	two.say(alice, room, "missed")
	caught := make(chan error, 1)
	go func() { caught <- one.journal.CatchUp(context.Background()) }()
	<-behind
	during, slid := one.since(first, bob), c.ask()
	close(goOn)
	one.must(<-caught)
	want(t, "timeline", bodies(in(during, "join", room))+bodies(in(one.since(during, bob), "join", room)), "missed")
	want(t, "sliding", texts(of(slid, room))+texts(of(c.ask(), room)), "missed")
}

// A token of another process is not taken for one that does not exist because this process is slow to hear of it.
func TestTokenThatASlowProcessDoesNotKnow(t *testing.T) {
	t.Parallel()
	st := storetest.New(t)
	var slow atomic.Bool
	goOn := make(chan struct{})
	one := start(t, st, options{number: 1})
	two := start(t, st, options{number: 2, watch: func([]journal.Entry, bool) {
		if slow.Load() {
			<-goOn
		}
	}})
	one.device(bob)
	one.offer(bob, "D", "1", "2")
	room := one.create(alice, roomserver.PresetPublic)
	one.join(bob, room)
	caughtUp(one, two)
	slow.Store(true)
	one.say(alice, room, "hello")
	answer := make(chan gjson.Result, 1)
	go func() { answer <- two.since(one.get(bob), bob) }()
	time.Sleep(aheadPatience + 200*time.Millisecond)
	close(goOn)
	told := <-answer
	want(t, "told again", told.Get("rooms").Exists(), false)
	want(t, "keys", counts(told), `{"signed_curve25519":2}[]`)
}

func TestUsersWhoDoNotAskAreForgotten(t *testing.T) {
	t.Parallel()
	clock := &testClock{now: time.Now()}
	p := start(t, storetest.New(t), options{clock: clock})
	room := p.create(alice, roomserver.PresetPublic)
	p.join(bob, room)
	p.get(bob)
	w := p.poll(t, alice, "D", next(p.get(alice)))
	clock.add(entryIdle + 2*sweepEvery)
	p.get(carol)
	p.sync.hub.mu.RLock()
	_, here := p.sync.hub.users[alice]
	_, gone := p.sync.hub.users[bob]
	p.sync.hub.mu.RUnlock()
	want(t, "who waits is remembered", here, true)
	want(t, "who does not ask is remembered", gone, false)
	p.say(bob, room, "hello")
	want(t, "timeline", bodies(in(w.get(), "join", room)), "hello")
	want(t, "bob again", bodies(in(p.get(bob), "join", room)), "hello")
}

func TestTokensOfOtherProcesses(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	a := start(t, storetest.Open(t, dsn), options{number: 1})
	b := start(t, storetest.Open(t, dsn), options{number: 2})
	room := a.create(alice, roomserver.PresetPublic)
	a.join(bob, room)
	first := b.get(bob)
	b.must(b.journal.WaitFor(context.Background(), a.journal.Head()))
	a.say(alice, room, "one")
	ahead := a.get(bob)
	want(t, "nothing twice", b.since(ahead, bob).Get("rooms").Exists(), false)
	want(t, "other process", bodies(in(b.since(first, bob), "join", room)), "one")
	w := b.poll(t, bob, "D", next(ahead))
	a.say(alice, room, "two")
	want(t, "woken across processes", bodies(in(w.get(), "join", room)), "two")
	// A stranger to process a: its presence finds those who share a room all the same.
	b.join(carol, room)
	a.must(a.journal.WaitFor(context.Background(), b.journal.Head()))
	w = a.poll(t, bob, "D", next(a.get(bob)))
	b.put(store.Update{Kind: store.KindPresence, UserID: carol, Body: []byte(`{"presence":"online"}`)})
	want(t, "presence across processes", w.get().Get("presence.events.0.sender"), carol)
}

func TestTokenFromTheFutureIsReplaced(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	room := p.create(alice, roomserver.PresetPublic)
	status, body := p.request(context.Background(), "GET", query("since", "s999999999"), alice, "D", "")
	want(t, "status", status, http.StatusOK)
	p.say(alice, room, "hello")
	want(t, "goes on", bodies(in(p.since(gjson.Parse(body), alice), "join", room)), "hello")
}
