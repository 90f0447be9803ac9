package sync

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// device makes accounts with one device, D.
func (p *process) device(users ...matrix.UserID) {
	p.t.Helper()
	for _, id := range users {
		p.must(p.store.Write(context.Background(), func(tx *store.Tx) error {
			if _, err := tx.InsertUser(context.Background(), store.User{UserID: id, OrganisationID: 1}); err != nil {
				return err
			}
			return tx.PutDevice(context.Background(), store.Device{UserID: id, DeviceID: "D"})
		}))
	}
}

// caughtUp waits until the processes have seen what any of them has stored.
func caughtUp(all ...*process) {
	for _, p := range all {
		for _, other := range all {
			p.must(p.journal.WaitFor(context.Background(), other.journal.Head()))
		}
	}
}

var sends atomic.Int64

// message sends a message of each text to the user's device D.
func (p *process) message(to matrix.UserID, texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		p.send(to, fmt.Sprint("t", sends.Add(1)), text)
	}
}

func (p *process) send(to matrix.UserID, txn, text string) {
	p.t.Helper()
	_, err := p.journal.Append(context.Background(), store.ToDeviceUnit(&store.ToDeviceSend{
		Sender: alice, SenderDevice: "A", Type: "org.example.note", TxnID: txn,
		Messages: []store.ToDeviceRecipient{{UserID: to, DeviceID: "D", Content: fmt.Appendf(nil, `{"n":%q}`, text)}},
	}))
	p.must(err)
}

// messages are the texts of the messages to the device in an answer.
func messages(answer gjson.Result) string {
	var list []string
	for _, e := range answer.Get("to_device.events").Array() {
		list = append(list, e.Get("content.n").String())
	}
	return strings.Join(list, " ")
}

// waiting counts the messages that the database keeps for the user's device D.
func (p *process) waiting(user matrix.UserID) int {
	p.t.Helper()
	list, _, err := p.store.ListToDevice(context.Background(), user, "D", -1, 1<<60, 1<<20, 1<<30)
	p.must(err)
	return len(list)
}

func TestMessagesToADeviceComeUntilTheyAreAcknowledged(t *testing.T) {
	t.Parallel()
	st := storetest.New(t)
	one, two := start(t, st, options{number: 1}), start(t, st, options{number: 2})
	one.device(bob)
	one.message(bob, "before")
	first := one.get(bob)
	caughtUp(one, two)
	want(t, "the first sync has", messages(first), "before")
	want(t, "again", messages(two.get(bob)), "before")
	one.message(bob, "a", "b")
	caughtUp(one, two)
	two.message(bob, "c")
	caughtUp(one, two)
	for range 2 {
		// Nothing is gone before the token comes back that it was sent with, whichever process is asked.
		for _, p := range []*process{one, two} {
			answer := p.since(first, bob)
			want(t, "after the first", messages(answer), "a b c")
			want(t, "sender", answer.Get("to_device.events.0.sender").String(), alice)
			want(t, "type", answer.Get("to_device.events.0.type").String(), "org.example.note")
			want(t, "kept", one.waiting(bob), 3)
		}
	}
	second := two.since(first, bob)
	third := one.since(second, bob)
	want(t, "after the second", messages(third), "")
	want(t, "kept", one.waiting(bob), 0)
	one.message(bob, "d")
	caughtUp(one, two)
	want(t, "from an older token", messages(two.since(third, bob)), "d")
	if status, body := two.request(context.Background(), "GET", query("since", next(third)), bob, "OTHER", ""); status != 200 || strings.Contains(body, "org.example.note") {
		t.Errorf("another device: %d %s", status, body)
	}
}

// A message that is sent while the device waits wakes it, and no other device of the user's.
func TestMessageWakesItsDevice(t *testing.T) {
	t.Parallel()
	st := storetest.New(t)
	one, two := start(t, st, options{number: 1}), start(t, st, options{number: 2})
	one.device(bob)
	w, other := one.poll(t, bob, "D", next(one.get(bob))), one.poll(t, bob, "OTHER", next(one.get(bob)))
	two.message(bob, "wake up")
	want(t, "woken with", messages(w.get()), "wake up")
	select {
	case <-other.answer:
		t.Error("another device was woken")
	case <-time.After(100 * time.Millisecond):
	}
}

// A long queue comes in parts. Every part is the same however often it is asked for, by whichever process, and nothing is left
// out or changes places.
func TestLongQueueComesInParts(t *testing.T) {
	t.Parallel()
	st := storetest.New(t)
	one, two := start(t, st, options{number: 1}), start(t, st, options{number: 2})
	one.device(bob)
	room := one.create(bob, "public_chat")
	answer := one.get(bob)
	var sent []string
	for i := range 2*limits.SyncToDevice + 50 {
		sent = append(sent, fmt.Sprint("m", i))
	}
	one.message(bob, sent...)
	var got []string
	for part := range 4 {
		one.say(bob, room, fmt.Sprint("meanwhile ", part))
		if part == 2 {
			two.message(bob, "late")
			sent = append(sent, "late")
		}
		caughtUp(one, two)
		next := two.since(answer, bob, "timeout", "60000")
		want(t, "the same part again", messages(one.since(answer, bob)), messages(next))
		list := strings.Fields(messages(next))
		if len(list) > limits.SyncToDevice {
			t.Errorf("%d messages in one answer", len(list))
		}
		got = append(got, list...)
		answer = next
	}
	want(t, "all parts", got, sent)
	one.since(answer, bob)
	want(t, "kept", one.waiting(bob), 0)
}

func TestLongMessagesComeInParts(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	p.device(bob)
	answer := p.get(bob)
	long := strings.Repeat("x", 60<<10)
	p.message(bob, "1"+long, "2"+long, "3"+long, "4"+long, "5"+long, "6"+long, "7"+long, "8"+long, "9"+long, "10"+long)
	first := p.since(answer, bob)
	want(t, "in the first part", len(first.Get("to_device.events").Array()), limits.SyncToDeviceBytes/(60<<10)+1)
	want(t, "in the second", messages(p.since(first, bob)), "10"+long)
}

// A repeated transaction sends nothing, even after its messages have been fetched.
func TestTransactionSendsOnce(t *testing.T) {
	t.Parallel()
	st := storetest.New(t)
	one, two := start(t, st, options{number: 1}), start(t, st, options{number: 2})
	one.device(bob)
	answer := one.get(bob)
	done := make(chan struct{})
	for i := range 20 {
		go func() {
			defer func() { done <- struct{}{} }()
			[]*process{one, two}[i%2].send(bob, "same", "once")
		}()
	}
	for range 20 {
		<-done
	}
	caughtUp(one, two)
	answer = one.since(answer, bob)
	want(t, "sent", messages(answer), "once")
	answer = one.since(answer, bob)
	two.send(bob, "same", "once")
	caughtUp(one, two)
	want(t, "sent again", messages(one.since(answer, bob)), "")
	two.send(bob, "another", "twice")
	caughtUp(one, two)
	want(t, "of another transaction", messages(one.since(answer, bob)), "twice")
}

// A process may hear of a later message to a device before it hears of an earlier one: of the two notes the journal keeps the
// later. Neither message is lost to a device that was answered in between.
func TestMessageWhoseNoteWasReplacedIsDelivered(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	p.device(bob)
	room := p.create(bob, "public_chat")
	answer := p.get(bob)
	p.message(bob, "earlier")
	// What the journal would have without the note: the message lies before the position, and nobody was told.
	e, err := p.sync.hub.user(context.Background(), bob)
	p.must(err)
	p.sync.hub.mu.Lock()
	e.toDevice.last = nil
	p.sync.hub.mu.Unlock()
	p.say(bob, room, "something else")
	answer = p.since(answer, bob)
	want(t, "before the later note", messages(answer), "")
	p.message(bob, "later")
	want(t, "after it", messages(p.since(answer, bob)), "earlier later")
}

// Who has deleted messages once does not ask the database again until there are others.
func TestAcknowledgingNothingNeedsNoDatabase(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	p.device(bob)
	p.message(bob, "one")
	answer := p.get(bob)
	answer = p.since(answer, bob)
	want(t, "kept", p.waiting(bob), 0)
	p.must(p.store.Close())
	p.since(answer, bob)
}

func TestTokensWithTwoPositionsAreChecked(t *testing.T) {
	t.Parallel()
	p := startOne(t)
	p.device(bob)
	p.message(bob, "a", "b")
	now := p.sync.hub.now()
	for _, bad := range []string{"s5_", "s_5", "s5_x", "s5_-1", "s5_+1", "s5_6", "s5_5_5", "s5_ 5", "5_5", "s99999999999999999999_1", "s5_99999999999999999999"} {
		if status, body := p.request(context.Background(), "GET", query("since", bad), bob, "D", ""); status != 400 || gjson.Get(body, "errcode").String() != "M_INVALID_PARAM" {
			t.Errorf("since=%s: %d %s", bad, status, body)
		}
	}
	want(t, "from the first on", messages(p.get(bob, "since", fmt.Sprintf("s%d_%d", now, now-1))), "b")
	// A token from a database that was restored since: what there is, is told.
	want(t, "from the future", messages(p.get(bob, "since", fmt.Sprintf("s%d_%d", now+100, now-1))), "b")
}
