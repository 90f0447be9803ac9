package phones_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/livekit/protocol/livekit"

	"github.com/roomline/roomline/internal/hstest"
)

// TestAPhoneIsHeard: a phone is the first in a meeting, somebody comes by a client and hears it, sees its name and its hand, and sees it leave.
func TestAPhoneIsHeard(t *testing.T) {
	t.Parallel()
	s := start(t, options{})
	anna := s.member(t, "anna")
	anna.MustDo(t, http.MethodPut, hstest.Path("profile", anna.ID, "displayname"), map[string]any{"displayname": "Anna"})
	b := s.bridge(0)
	call, join := b.comesIn(t, s.pin(t, anna))
	ghost := join.Get("user_id").String()
	if !strings.HasPrefix(ghost, "@phone_") || join.Get("name").String() != "Anna (telefoon)" || join.Get("title").String() != "Our Room" ||
		join.Get("waiting").Bool() || join.Get("identity").String() != ghost+":PHONE" {
		t.Errorf("the way in: %s", join)
	}
	member := s.content(t, "m.room.member", ghost)
	if member.Get("membership").String() != "join" || member.Get("displayname").String() != "Anna (telefoon)" || member.Get(`org\.roomline\.guest.role`).String() != "phone" {
		t.Errorf("the ghost's member event: %s", member)
	}
	focus := s.content(t, memberType, memberKey(ghost))
	if focus.Get("device_id").String() != "PHONE" || focus.Get("foci_preferred.0.livekit_service_url").String() != "https://matrix.example.org/_roomline/rtc" ||
		focus.Get("foci_preferred.0.livekit_alias").String() != s.room || focus.Get("application").String() != "m.call" {
		t.Errorf("the membership of the call: %s", focus)
	}

	phone, _ := listens(t, join.Get("url").String(), join.Get("jwt").String())
	if err := speaks(t, phone, livekit.TrackSource_MICROPHONE); err != nil {
		t.Fatal(err)
	}
	if err := speaks(t, phone, livekit.TrackSource_CAMERA); err == nil {
		t.Error("a phone shows a picture")
	}
	token := s.host.MustDo(t, http.MethodPost, "/_matrix/client/v1/rtc/livekit/get_token", map[string]any{
		"room_id": s.room, "slot_id": "m.call#ROOM", "member": map[string]any{"id": "m1", "claimed_device_id": s.host.DeviceID}})
	s.Secret(token.Get("jwt").String(), "a token of the SFU")
	_, audio := listens(t, token.Get("url").String(), token.Get("jwt").String())
	select {
	case who := <-audio:
		if who != ghost+":PHONE" {
			t.Errorf("heard %s", who)
		}
	case <-time.After(time.Minute):
		t.Fatal("the phone is not heard")
	}

	hands := func() int {
		id := s.host.MustDo(t, http.MethodGet, hstest.Path("rooms", s.room, "state", memberType, memberKey(ghost))+"?format=event", nil).Get("event_id").String()
		list := s.host.MustDo(t, http.MethodGet, strings.Replace(hstest.Path("rooms", s.room, "relations", id, "m.annotation", "m.reaction"), "/v3/", "/v1/", 1), nil).Get("chunk")
		n := 0
		for _, e := range list.Array() {
			if e.Get("sender").String() == ghost && e.Get(`content.m\.relates_to.key`).String() == "🖐️" {
				n++
			}
		}
		return n
	}
	for range 2 { // the same again changes nothing
		b.must(t, call+"/event", map[string]any{"hand": true})
		if n := hands(); n != 1 {
			t.Errorf("%d hands are up", n)
		}
	}
	b.must(t, call+"/event", map[string]any{"hand": false})
	if n := hands(); n != 0 {
		t.Errorf("%d hands are up", n)
	}

	b.must(t, call+"/event", map[string]any{"state": "ended", "cause": "hangup"})
	s.gone(t, ghost)
	list := s.Operator(t).MustDo(t, http.MethodGet, "/_roomline/admin/v1/phones/calls", nil).Get("calls")
	if c := list.Get("0"); c.Get("state").String() != "ended" || c.Get("cause").String() != "hangup" || c.Get("number").String() != caller || c.Get("requested_by").String() != anna.ID {
		t.Errorf("the log of calls: %s", list)
	}
	if answer := b.must(t, call+"/token", nil); answer.Get("jwt").Exists() || answer.Get("problem").String() == "" {
		t.Errorf("a call that is over gets in again: %s", answer)
	}
}

// TestTheSamePINIsTheSamePhone: whoever calls again takes over, as the same ghost, and stays out when somebody has put it out.
func TestTheSamePINIsTheSamePhone(t *testing.T) {
	t.Parallel()
	s := start(t, options{})
	anna := s.member(t, "anna")
	pin := s.pin(t, anna)
	if again := s.pin(t, anna); again != pin {
		t.Error("the PIN changes")
	}
	b := s.bridge(0)
	first, join := b.comesIn(t, pin)
	ghost := join.Get("user_id").String()
	second, join := b.comesIn(t, pin)
	if join.Get("user_id").String() != ghost {
		t.Errorf("two ghosts for a PIN")
	}
	if cause := b.order(t, first); cause != "removed" {
		t.Errorf("the first call ends with %q", cause)
	}
	b.must(t, first+"/event", map[string]any{"state": "ended", "cause": "hangup"})
	if m := s.content(t, "m.room.member", ghost).Get("membership").String(); m != "join" {
		t.Errorf("the end of the first call takes the second one's ghost out: %s", m)
	}
	if n := b.leases(t, 0, known(second)).Get("orders.#").Int(); n != 0 {
		t.Errorf("the second call has %d orders", n)
	}

	s.host.MustDo(t, http.MethodPost, hstest.Path("rooms", s.room, "kick"), map[string]any{"user_id": ghost})
	if cause := b.order(t, second); cause != "removed" {
		t.Errorf("the call of somebody who was kicked ends with %q", cause)
	}
	b.must(t, second+"/event", map[string]any{"state": "ended", "cause": "removed"})
	third := b.rings(t, caller)
	if answer := b.types(t, third, pin); answer.Get("problem").String() != "not_allowed" || answer.Get("jwt").Exists() {
		t.Errorf("somebody who was kicked calls again: %s", answer)
	}
}

// TestWrongPINsAreAllTheSame: a PIN that never was, one that is over, one of an organisation whose trunk it is not.
func TestWrongPINsAreAllTheSame(t *testing.T) {
	t.Parallel()
	s := start(t, options{})
	anna, bert, carl := s.member(t, "anna"), s.member(t, "bert"), s.member(t, "carl")
	expired, left, gone := s.pin(t, anna), s.pin(t, bert), s.pin(t, carl)
	s.exec(t, `UPDATE phone_pins SET expires_ts = 1 WHERE user_id = $1`, anna.ID)
	bert.MustLeave(t, s.room)
	s.exec(t, `UPDATE users SET locked = true WHERE user_id = $1`, carl.ID)
	b := s.bridge(0)
	const unknown = "9999999999"
	want := ""
	// Each from another number, so that none is one too many.
	for name, pin := range map[string]string{"unknown": unknown, "expired": expired, "left": left, "locked": gone, "short": "12"} {
		answer := b.types(t, b.rings(t, fmt.Sprintf("+3247000%04d", len(name))), pin)
		if want == "" {
			want = answer.Raw
		}
		if answer.Raw != want || answer.Get("problem").String() != "wrong_pin" || answer.Get("tries").Int() == 0 {
			t.Errorf("%s: %s", name, answer)
		}
	}
	good := s.pin(t, s.host)
	answer := b.must(t, "start", map[string]any{"trunk": "other", "called": otherNumber, "caller": caller})
	if answer := b.types(t, answer.Get("call_id").String(), good); answer.Raw != want {
		t.Errorf("the PIN of an organisation over another one's trunk: %s", answer)
	}
	for name, body := range map[string]map[string]any{
		"a trunk that is not there": {"trunk": "none", "called": ourNumber}, "a number of another trunk": {"trunk": "carrier", "called": otherNumber},
	} {
		if answer := b.must(t, "start", body); answer.Get("problem").String() != "no_service" || answer.Get("call_id").String() != "" {
			t.Errorf("%s: %s", name, answer)
		}
	}
	// In one call a PIN is typed three times.
	call := b.rings(t, caller)
	for range 3 {
		b.types(t, call, unknown)
	}
	if answer := b.types(t, call, good); answer.Get("problem").String() != "too_many" || answer.Get("tries").Int() != 0 {
		t.Errorf("the fourth PIN: %s", answer)
	}
	// What another bridge began is not this one's, and what was made up is nobody's.
	call = b.rings(t, caller)
	for _, stranger := range []struct {
		b    *bridge
		call string
	}{{s.bridge(0), call}, {b, call[:len(call)-4] + "AAAA"}, {b, "made-up"}} {
		if r, err := stranger.b.try(context.Background(), stranger.call+"/pin", map[string]any{"pin": good}); err != nil || r.Status != http.StatusNotFound {
			t.Errorf("somebody else's call: %s %v", r, err)
		}
	}
}

// TestGuessingPINsIsHopeless is LIM-11: of a thousand guesses at once over three processes no more are looked at than one caller has.
func TestGuessingPINsIsHopeless(t *testing.T) {
	t.Parallel()
	s := start(t, options{processes: 3})
	good := s.pin(t, s.host)
	guess := func(from string, n int, pin func(i int) string) (wrong, tooMany, right int64) {
		var w, m, r atomic.Int64
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				b := s.bridge(i % 3)
				began, err := b.try(context.Background(), "start", map[string]any{"trunk": "carrier", "called": ourNumber, "caller": from})
				if err != nil || began.Status != 200 {
					t.Errorf("a call in: %s %v", began, err)
					return
				}
				answer, err := b.try(context.Background(), began.JSON().Get("call_id").String()+"/pin", map[string]any{"pin": pin(i)})
				switch problem := answer.JSON().Get("problem").String(); {
				case err != nil || answer.Status != 200:
					t.Errorf("a guess: %s %v", answer, err)
				case problem == "wrong_pin":
					w.Add(1)
				case problem == "too_many":
					m.Add(1)
				default:
					r.Add(1)
				}
			})
		}
		all.Wait()
		return w.Load(), m.Load(), r.Load()
	}
	wrong, tooMany, right := guess(caller, 1000, func(i int) string { return fmt.Sprint(1_000_000_000 + i) })
	t.Logf("%d wrong, %d too many", wrong, tooMany)
	const burst = 10
	if wrong > burst || right != 0 || wrong+tooMany != 1000 {
		t.Errorf("of 1000 guesses from one number %d were looked at, %d came in", wrong, right)
	}
	if _, _, right := guess(caller, 1, func(int) string { return good }); right != 0 {
		t.Error("a right PIN is taken where no more may be guessed")
	}
	// Somebody else is not kept out by it.
	if _, _, right := guess("+32470999999", 1, func(int) string { return good }); right != 1 {
		t.Error("one guesser keeps everybody out")
	}
	// Whoever has many numbers is stopped by what the trunk has.
	wrong = 0
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			w, _, _ := guess(fmt.Sprintf("+324701%05d", i), 10, func(k int) string { return fmt.Sprint(2_000_000_000 + 100*i + k) })
			mu.Lock()
			wrong += w
			mu.Unlock()
		})
	}
	all.Wait()
	t.Logf("%d of 300 over one trunk", wrong)
	if wrong > 62 {
		t.Errorf("%d guesses over one trunk were looked at", wrong)
	}
}

// TestAPhoneGoesWithWhatItStandsOn: calls end with the invitation, the membership, the organisation, encryption, and the bridge.
func TestAPhoneGoesWithWhatItStandsOn(t *testing.T) {
	t.Parallel()
	s := start(t, options{processes: 2})
	b := s.bridge(0)
	invited, _ := s.invitation(t, "anna@example.com")
	pin := s.pin(t, s.host)
	s.exec(t, `UPDATE phone_pins SET invitation_id = $1, user_id = NULL WHERE user_id = $2`, invited, s.host.ID)

	call, join := b.comesIn(t, pin)
	if join.Get("name").String() != "a…@e… (téléphone)" || join.Get("language").String() != "fr" {
		t.Errorf("whom nobody named is called %s", join)
	}
	s.exec(t, `UPDATE invitations SET ended = 'revoked', ended_ts = 1 WHERE invitation_id = $1`, invited)
	if cause := b.order(t, call); cause != "revoked" {
		t.Errorf("an invitation that was revoked: %q", cause)
	}
	b.must(t, call+"/event", map[string]any{"state": "ended", "cause": "revoked"})
	s.gone(t, join.Get("user_id").String())
	if answer := b.types(t, b.rings(t, caller), pin); answer.Get("problem").String() != "wrong_pin" {
		t.Errorf("the PIN of an invitation that was revoked: %s", answer)
	}

	anna := s.member(t, "anna")
	call, _ = b.comesIn(t, s.pin(t, anna))
	s.host.MustDo(t, http.MethodPost, hstest.Path("rooms", s.room, "kick"), map[string]any{"user_id": anna.ID})
	if cause := b.order(t, call); cause != "removed" {
		t.Errorf("the phone of a member who was kicked: %q", cause)
	}

	// A bridge that asks no more has no calls any more. A process died as well.
	bert := s.member(t, "bert")
	call, join = b.comesIn(t, s.pin(t, bert))
	s.Kill9(t, 1)
	s.exec(t, `UPDATE phone_calls SET lease_ts = 1 WHERE user_id = $1`, join.Get("user_id").String())
	s.gone(t, join.Get("user_id").String())
	if got := s.text(t, `SELECT state || ' ' || cause FROM phone_calls WHERE user_id = $1 ORDER BY created_ts DESC LIMIT 1`, join.Get("user_id").String()); got != "ended lost" {
		t.Errorf("a call that nobody has: %s", got)
	}
	if cause := b.order(t, call); cause != "lost" {
		t.Errorf("a bridge that comes back is told %q", cause)
	}
	s.Restart(t, 1)

	call, join = b.comesIn(t, s.pin(t, bert))
	s.exec(t, `UPDATE users SET suspended = true WHERE user_id = $1`, bert.ID)
	if cause := b.order(t, call); cause != "suspended" {
		t.Errorf("somebody suspended: %q", cause)
	}
	s.exec(t, `UPDATE users SET suspended = false WHERE user_id = $1`, bert.ID)
	b.must(t, call+"/event", map[string]any{"state": "ended", "cause": "suspended"})
	s.gone(t, join.Get("user_id").String())

	call, _ = b.comesIn(t, s.pin(t, bert))
	good := s.pin(t, bert)
	s.host.MustSetState(t, s.room, "m.room.encryption", "", map[string]any{"algorithm": "m.megolm.v1.aes-sha2"})
	if cause := b.order(t, call); cause != "encrypted" {
		t.Errorf("a room that becomes encrypted: %q", cause)
	}
	if answer := b.types(t, b.rings(t, caller), good); answer.Get("problem").String() != "encrypted" {
		t.Errorf("an encrypted meeting: %s", answer)
	}
	if answer := s.host.MustDo(t, http.MethodGet, s.path(""), nil); !answer.Get("encrypted").Bool() || answer.Get("pin").Exists() || answer.Get("numbers.#").Int() != 0 {
		t.Errorf("numbers of an encrypted meeting: %s", answer)
	}
}

// TestAGhostIsNotTakenOutOfItsNextCall: who calls again while the ghost of the call before is being taken out.
func TestAGhostIsNotTakenOutOfItsNextCall(t *testing.T) {
	t.Parallel()
	s := start(t, options{})
	b := s.bridge(0)
	first, join := b.comesIn(t, s.pin(t, s.host))
	pin := s.pin(t, s.host)
	// Whoever is about to leave is held up.
	slow, err := s.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slow.Rollback() })
	if _, err := slow.Exec(`SELECT FROM rooms WHERE room_id = $1 FOR NO KEY UPDATE`, s.room); err != nil {
		t.Fatal(err)
	}
	ended, came := make(chan error, 1), make(chan hstest.Response, 1)
	go func() {
		_, err := b.try(context.Background(), first+"/event", map[string]any{"state": "ended", "cause": "hung_up"})
		ended <- err
	}()
	waiting := `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	hstest.Eventually(t, "the ghost is about to leave", func() bool { return s.number(t, waiting) >= 1 })
	second := b.rings(t, caller)
	go func() {
		r, err := b.try(context.Background(), second+"/pin", map[string]any{"pin": pin})
		if err != nil {
			t.Error(err)
		}
		came <- r
	}()
	hstest.Eventually(t, "the second call is under way", func() bool {
		return s.number(t, waiting) >= 2 || s.number(t, `SELECT count(*) FROM phone_calls WHERE state = 'answered'`) == 1
	})
	if err := slow.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if r := <-came; r.JSON().Get("problem").Exists() || !r.JSON().Get("jwt").Exists() {
		t.Errorf("the second call: %s", r)
	}
	if m := s.content(t, "m.room.member", join.Get("user_id").String()).Get("membership").String(); m != "join" {
		t.Errorf("the ghost of the second call has the membership %q", m)
	}
}

// TestPhonesWaitInTheLobby: those from outside and called ones, until somebody lets them in or sends them away.
func TestPhonesWaitInTheLobby(t *testing.T) {
	t.Parallel()
	s := start(t, options{})
	meeting := strings.TrimSuffix(s.path(""), "phone")
	s.host.MustDo(t, http.MethodPost, meeting+"lobby", map[string]any{"who": "guests"})
	b := s.bridge(0)
	_, join := b.comesIn(t, s.pin(t, s.host))
	if join.Get("waiting").Bool() || !join.Get("jwt").Exists() {
		t.Errorf("a member's phone waits where guests do: %s", join)
	}
	for _, let := range []bool{true, false} {
		invited, _ := s.invitation(t, fmt.Sprint(let, "@example.com"))
		anna := s.member(t, fmt.Sprint("anna", let))
		pin := s.pin(t, anna)
		s.exec(t, `UPDATE phone_pins SET invitation_id = $1, user_id = NULL WHERE user_id = $2`, invited, anna.ID)
		call, join := b.comesIn(t, pin)
		ghost := join.Get("user_id").String()
		if !join.Get("waiting").Bool() || join.Get("jwt").Exists() {
			t.Fatalf("a guest's phone does not wait: %s", join)
		}
		if answer := b.must(t, call+"/token", nil); !answer.Get("waiting").Bool() || answer.Get("jwt").Exists() {
			t.Fatalf("a phone that waits gets in: %s", answer)
		}
		waiting := map[string]any{"call_id": call, "waiting": true}
		if !let {
			s.host.MustDo(t, http.MethodPost, meeting+"deny", map[string]any{"user_id": ghost})
			cause := ""
			hstest.Eventually(t, "the phone is sent away", func() bool {
				cause = b.leases(t, 0, waiting).Get("orders.0.hangup").String()
				return cause != ""
			})
			if cause != "denied" {
				t.Errorf("sent away: %q", cause)
			}
			continue
		}
		s.host.MustDo(t, http.MethodPost, meeting+"admit", map[string]any{"user_id": ghost})
		hstest.Eventually(t, "the phone is let in", func() bool {
			order := b.leases(t, 0, waiting).Get("orders.0")
			return order.Exists() && !order.Get("waiting").Bool() && !order.Get("hangup").Exists()
		})
		if answer := b.must(t, call+"/token", nil); answer.Get("jwt").String() == "" {
			t.Errorf("a phone that was let in: %s", answer)
		}
	}
}

// TestWithoutAMediaServerNobodyCallsIn.
func TestWithoutAMediaServerNobodyCallsIn(t *testing.T) {
	t.Parallel()
	s := start(t, options{deaf: true})
	if answer := s.host.MustDo(t, http.MethodGet, s.path(""), nil); answer.Get("numbers.#").Int() != 0 || answer.Get("pin").Exists() {
		t.Errorf("numbers: %s", answer)
	}
	if answer := s.bridge(0).must(t, "start", map[string]any{"trunk": "carrier", "called": ourNumber}); answer.Get("problem").String() != "unavailable" {
		t.Errorf("a call: %s", answer)
	}
}

// TestOnThePhoneIsSeen: by a client in a call, and by one's own phone; and not any more when it is over.
func TestOnThePhoneIsSeen(t *testing.T) {
	t.Parallel()
	s := start(t, options{processes: 2})
	anna := s.member(t, "anna")
	presence := func() string {
		return s.host.On(1).MustDo(t, http.MethodGet, hstest.Path("presence", anna.ID, "status"), nil).Get("presence").String()
	}
	const busy = "org.matrix.msc3026.busy"
	if p := presence(); p == busy {
		t.Fatal("somebody is on the phone from the beginning")
	}
	s.bridge(0).comesIn(t, s.pin(t, anna))
	hstest.Eventually(t, "she is on the phone", func() bool { return presence() == busy })
	s.exec(t, `UPDATE phone_calls SET lease_ts = 1`)
	hstest.Eventually(t, "she has hung up", func() bool { return presence() != busy })

	s.exec(t, `INSERT INTO rtc_rooms (alias, room_nid, slot_id, created_ts) SELECT 'alias', room_nid, 'another slot', 1 FROM rooms WHERE room_id = $1`, s.room)
	s.exec(t, `INSERT INTO rtc_participants (alias, identity, user_id, device_id, member_id, rights, token_expires_ts) VALUES ('alias', 'x', $1, $2, '', '{}', $3)`,
		anna.ID, anna.DeviceID, time.Now().Add(time.Hour).UnixMilli())
	key := "_" + anna.ID + "_" + anna.DeviceID + "_m.call"
	anna.MustSetState(t, s.room, memberType, key, map[string]any{"application": "m.call"})
	hstest.Eventually(t, "she is in a call", func() bool { return presence() == busy })
	anna.MustSetState(t, s.room, memberType, key, map[string]any{})
	s.exec(t, `UPDATE rtc_participants SET left_ts = 1 WHERE user_id = $1`, anna.ID) // the SFU says it a little later
	hstest.Eventually(t, "she is in no call", func() bool { return presence() != busy })
}
