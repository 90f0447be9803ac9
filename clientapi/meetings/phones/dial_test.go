package phones_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

// meets makes the room's meeting be on, as the SFU would say; it stays on, although the real one knows nothing of it.
func (s *side) meets(t *testing.T) {
	t.Helper()
	s.exec(t, `CREATE FUNCTION stays() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.left_ts := NULL; RETURN NEW; END $$`)
	s.exec(t, `CREATE TRIGGER stays BEFORE UPDATE ON rtc_participants FOR EACH ROW WHEN (NEW.alias = 'alias') EXECUTE FUNCTION stays()`)
	s.exec(t, `INSERT INTO rtc_rooms (alias, room_nid, slot_id, created_ts) SELECT 'alias', room_nid, 'another slot', 1 FROM rooms WHERE room_id = $1`, s.room)
	s.exec(t, `INSERT INTO rtc_participants (alias, identity, user_id, device_id, member_id, rights, token_expires_ts, joined_ts)
		VALUES ('alias', 'x', $1, 'X', '', '{}', 1, 1)`, s.host.ID)
}

// invitee adds an invitee to a meeting of the room, and returns its id.
func (s *side) invitee(t *testing.T, medium, address, name string) string {
	t.Helper()
	id := rand.Text()
	s.exec(t, `INSERT INTO meetings (meeting_id, organisation_id, room_nid, organiser, kind, title, start_ts, end_ts, timezone, uid, created_ts)
		SELECT $1, u.organisation_id, r.room_nid, u.user_id, 'scheduled', 'Meeting', 1, 2, 'UTC', $1, 1 FROM users u, rooms r WHERE u.user_id = $2 AND r.room_id = $3`,
		id, s.host.ID, s.room)
	s.exec(t, `INSERT INTO meeting_invitees (invitee_id, meeting_id, medium, address, name, language, created_ts) VALUES ($1, $1, $2, $3, $4, 'de', 1)`, id, medium, address, name)
	return id
}

// calls has somebody called, and returns the answer.
func (s *side) calls(t *testing.T, u *hstest.User, body map[string]any) hstest.Response {
	t.Helper()
	r, err := u.Do(context.Background(), http.MethodPost, s.path("/call"), body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *side) spending(t *testing.T) gjson.Result {
	t.Helper()
	return s.Operator(t).MustDo(t, http.MethodGet, "/_roomline/admin/v1/phones/spending", nil)
}

// TestSomebodyIsCalled: an invitee by the number of the invitation; it rings, is picked up, 1 is pressed, and the call is paid for.
func TestSomebodyIsCalled(t *testing.T) {
	t.Parallel()
	s := start(t, options{limits: map[string]any{"price": "0.10", "prices": map[string]any{"3247": "0.30"}}})
	invitee := s.invitee(t, "msisdn", callee[1:], "Berta")
	if r := s.calls(t, s.host, map[string]any{"invitee_id": invitee}); r.Status != 403 || r.ErrCode() != "M_FORBIDDEN" {
		t.Fatalf("somebody is called although nobody has decided so: %s", r)
	}
	s.policy(t, map[string]any{"dial_out": true, "countries": []string{"BE"}, "minutes_per_call": 10})
	if answer := s.host.MustDo(t, http.MethodGet, s.path(""), nil); !answer.Get("dial_out").Bool() {
		t.Errorf("the room is not told that people can be called: %s", answer)
	}
	r := s.calls(t, s.host, map[string]any{"invitee_id": invitee})
	call := r.JSON().Get("call_id").String()
	if r.Status != 200 || call == "" {
		t.Fatalf("an invitee is not called: %s", r)
	}
	if again := s.calls(t, s.host, map[string]any{"number": callee, "invitee_id": invitee}); again.Status == 200 {
		t.Errorf("the same number is called twice at once: %s", again)
	}
	if got := s.spending(t); got.Get("spent_today").String() != "3.00" || got.Get("minutes_today").Int() != 10 {
		t.Errorf("set aside: %s", got)
	}

	b, other := s.bridge(0), s.bridge(0)
	if n := b.must(t, "lease", map[string]any{"trunks": []string{"other"}, "max": 5, "wait_ms": 0, "calls": []any{}}).Get("calls.#").Int(); n != 0 {
		t.Error("a bridge gets calls of trunks that it does not have")
	}
	leased := b.leases(t, 5)
	c := leased.Get("calls.0")
	if leased.Get("calls.#").Int() != 1 || c.Get("call_id").String() != call || c.Get("number").String() != callee || c.Get("caller").String() != ourNumber ||
		c.Get("language").String() != "de" || c.Get("by").String() != "host" || c.Get("title").String() != "Our Room" ||
		c.Get("seconds_allowed").Int() < 500 || c.Get("seconds_allowed").Int() > 600 {
		t.Fatalf("a call to make: %s", leased)
	}
	if n := other.leases(t, 5).Get("calls.#").Int(); n != 0 {
		t.Error("two bridges make the same call")
	}
	if r, err := other.try(context.Background(), call+"/event", map[string]any{"state": "answered"}); err != nil || r.Status != 404 {
		t.Errorf("another bridge reports: %s %v", r, err)
	}
	if answer := b.must(t, call+"/token", nil); answer.Get("jwt").Exists() || answer.Get("problem").String() == "" {
		t.Errorf("somebody who has not picked up is in the meeting: %s", answer)
	}
	b.must(t, call+"/event", map[string]any{"state": "ringing"})
	if got := s.host.MustDo(t, http.MethodGet, s.path(""), nil).Get("calls.0"); got.Get("state").String() != "ringing" || got.Get("name").String() != "Berta (Telefon)" {
		t.Errorf("the room sees the call as %s", got)
	}
	b.must(t, call+"/event", map[string]any{"state": "answered"})
	join := b.must(t, call+"/token", nil)
	ghost := join.Get("user_id").String()
	if join.Get("jwt").String() == "" || join.Get("name").String() != "Berta (Telefon)" || join.Get("seconds_allowed").Int() < 590 {
		t.Fatalf("the way in: %s", join)
	}
	s.Secret(join.Get("jwt").String(), "a token of the SFU")
	if !s.content(t, memberType, memberKey(ghost)).Get("foci_preferred").Exists() {
		t.Error("the called one is not in the call")
	}
	s.exec(t, `UPDATE phone_calls SET answered_ts = answered_ts - 90000 WHERE call_id = $1`, call)
	b.must(t, call+"/event", map[string]any{"state": "ended", "cause": "hangup"})
	s.gone(t, ghost)
	if got := s.spending(t); got.Get("spent_today").String() != "0.60" || got.Get("minutes_today").Int() != 2 {
		t.Errorf("a call of a minute and a half at 0.30: %s", got)
	}
	if n := s.number(t, `SELECT count(*) FROM audit_log WHERE action = 'phones.call' AND detail NOT LIKE '%' || $1 || '%'`, callee[5:]); n != 1 {
		t.Errorf("%d entries of the audit log tell of the call", n)
	}
}

// TestWhoIsNotCalled is LIM-11, one guard after the other.
func TestWhoIsNotCalled(t *testing.T) {
	t.Parallel()
	s := start(t, options{limits: map[string]any{"deny_prefixes": []string{"324701"}, "per_member_per_hour": 4, "per_number_per_day": 2, "per_block_per_hour": 2}})
	s.policy(t, map[string]any{"dial_out": true, "countries": []string{"BE", "NL"}})
	if r := s.calls(t, s.host, map[string]any{"number": callee}); r.Status != 403 || r.JSON().Get(`org\.roomline\.reason`).String() != "no_meeting" {
		t.Errorf("somebody is called into no meeting: %s", r)
	}
	s.meets(t)
	for what, number := range map[string]string{
		"another country": "+33612345678", "premium rate": "+32 903 12 345", "international premium": "+979 123456789", "satellite": "+8816 1234 5678", "shared cost": "+32 78 15 12 34",
		"an emergency": "112", "a prefix that is denied": "+32 470 12 34 56", "the number to call in by": ourNumber, "nothing": "hello", "free": "+32 800 12 345",
		"international shared cost": "+808 1234 5678",
	} {
		if r := s.calls(t, s.host, map[string]any{"number": number}); r.Status != 403 || r.ErrCode() != "M_THREEPID_DENIED" {
			t.Errorf("%s: %s", what, r)
		}
	}
	stranger := s.User(t, "stranger")
	if r := s.calls(t, stranger, map[string]any{"number": callee}); r.Status != 403 {
		t.Errorf("somebody who is not in the room: %s", r)
	}
	guest := s.member(t, "guest")
	s.exec(t, `UPDATE users SET guest = true WHERE user_id = $1`, guest.ID)
	if r := s.calls(t, guest.NewSession(t), map[string]any{"number": callee}); r.Status != 403 {
		t.Errorf("a guest: %s", r)
	}
	suspended := s.member(t, "suspended")
	s.exec(t, `UPDATE users SET suspended = true WHERE user_id = $1`, suspended.ID)
	if r := s.calls(t, suspended.NewSession(t), map[string]any{"number": callee}); r.Status != 403 {
		t.Errorf("somebody suspended: %s", r)
	}
	if n := s.number(t, `SELECT count(*) FROM phone_calls`) + s.number(t, `SELECT coalesce(sum(cost), 0) FROM phone_spending`); n != 0 {
		t.Errorf("what was refused has left %d", n)
	}

	ends := func(r hstest.Response) {
		t.Helper()
		if r.Status != 200 {
			t.Fatalf("not called: %s", r)
		}
		s.host.MustDo(t, http.MethodDelete, s.path("/calls/"+r.JSON().Get("call_id").String()), nil)
	}
	limited := func(what string, r hstest.Response) {
		t.Helper()
		if r.Status != 429 || r.JSON().Get("retry_after_ms").Int() == 0 {
			t.Errorf("%s: %s", what, r)
		}
	}
	ends(s.calls(t, s.host, map[string]any{"number": callee}))
	ends(s.calls(t, s.host, map[string]any{"number": callee}))
	limited("a number for the third time", s.calls(t, s.host, map[string]any{"number": callee}))
	ends(s.calls(t, s.host, map[string]any{"number": "+32470654322"}))
	limited("numbers of one block", s.calls(t, s.host, map[string]any{"number": "+32470654323"}))
	ends(s.calls(t, s.host, map[string]any{"number": "+32475000001"}))
	limited("a member's fifth number", s.calls(t, s.host, map[string]any{"number": "+32476000001"}))
	if got := s.spending(t); got.Get("spent_today").String() != "0.00" || got.Get("minutes_today").Int() != 0 {
		t.Errorf("calls that were taken back cost %s", got)
	}
	s.policy(t, map[string]any{"dial_out": false})
	if r := s.calls(t, s.member(t, "late"), map[string]any{"number": "+32477000001"}); r.Status != 403 {
		t.Errorf("called although the organisation has decided against it: %s", r)
	}
}

// TestTheBudgetHolds: whatever is asked for at once on three processes, no more is set aside than may be spent, nor more calls are on than may be.
func TestTheBudgetHolds(t *testing.T) {
	t.Parallel()
	limits := map[string]any{
		"budget_per_day": "10", "price": "0.25", "minutes_per_call": 10, "concurrent": 1000, "per_member_per_hour": 1000, "per_block_per_hour": 1000, "minutes_per_day": 10000,
	}
	for _, one := range []struct {
		name  string
		with  map[string]any
		calls int64
	}{
		{"budget", nil, 4}, // ten minutes at 0.25 are 2.50
		{"minutes", map[string]any{"budget_per_day": "1000", "minutes_per_day": 35}, 4},
		{"at a time", map[string]any{"budget_per_day": "1000", "concurrent": 3}, 3},
	} {
		t.Run(one.name, func(t *testing.T) {
			with := map[string]any{}
			for k, v := range limits {
				with[k] = v
			}
			for k, v := range one.with {
				with[k] = v
			}
			s := start(t, options{processes: 3, limits: with})
			s.policy(t, map[string]any{"dial_out": true, "countries": []string{"BE"}})
			s.meets(t)
			var all sync.WaitGroup
			for i := range 30 {
				all.Go(func() {
					r, err := s.host.On(i%3).Do(context.Background(), http.MethodPost, s.path("/call"), map[string]any{"number": fmt.Sprintf("+3247%d000%03d", 2+i%8, i)})
					if err != nil || r.Status != 200 && r.Status != 429 {
						t.Errorf("%s %v", r, err)
					}
				})
			}
			all.Wait()
			if n := s.number(t, `SELECT count(*) FROM phone_calls`); n != one.calls {
				t.Errorf("%d calls are made, want %d", n, one.calls)
			}
			sum := s.number(t, `SELECT sum(cost) FROM phone_calls`)
			if spent := s.number(t, `SELECT cost FROM phone_spending`); spent != sum || one.with == nil && spent > 10_000_000 {
				t.Errorf("set aside %d, calls may cost %d", spent, sum)
			}
			if seconds := s.number(t, `SELECT seconds FROM phone_spending`); one.name == "minutes" && seconds != 35*60 {
				t.Errorf("%d seconds are set aside", seconds)
			}
		})
	}
}

// TestACallOutIsMadeOnce: whoever dies, nobody is called a second time, and what was set aside is given back.
func TestACallOutIsMadeOnce(t *testing.T) {
	t.Parallel()
	s := start(t, options{processes: 3, limits: map[string]any{"minutes_per_call": 5, "concurrent": 100}})
	s.policy(t, map[string]any{"dial_out": true, "countries": []string{"BE"}})
	s.meets(t)
	const calls = 9
	for i := range calls {
		if r := s.calls(t, s.host, map[string]any{"number": fmt.Sprintf("+3247%d00%04d", 1+i, i)}); r.Status != 200 {
			t.Fatalf("not called: %s", r)
		}
	}
	// Bridges on all processes at once; one process dies under them.
	var mu sync.Mutex
	made := map[string]int{}
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			b := s.bridge(i % 3)
			for range 4 {
				r, err := b.try(context.Background(), "lease", map[string]any{"trunks": []string{"carrier"}, "max": 1, "wait_ms": 0, "calls": []any{}})
				if err != nil || r.Status != 200 {
					continue
				}
				mu.Lock()
				for _, c := range r.JSON().Get("calls").Array() {
					made[c.Get("call_id").String()]++
				}
				mu.Unlock()
			}
		})
	}
	s.Kill9(t, 2)
	all.Wait()
	// All of these bridges die.
	s.exec(t, `UPDATE phone_calls SET lease_ts = 1 WHERE lease IS NOT NULL`)
	hstest.Eventually(t, "calls that nobody has end", func() bool {
		return s.number(t, `SELECT count(*) FROM phone_calls WHERE lease IS NOT NULL AND state <> 'failed'`) == 0
	})
	s.Restart(t, 2)
	b := s.bridge(1)
	for {
		leased := b.leases(t, 100)
		for _, c := range leased.Get("calls").Array() {
			made[c.Get("call_id").String()]++
		}
		if leased.Get("calls.#").Int() == 0 {
			break
		}
	}
	for id, n := range made {
		if n != 1 {
			t.Errorf("%s is made %d times", id, n)
		}
	}
	if n := s.number(t, `SELECT count(*) FROM phone_calls WHERE state NOT IN ('failed', 'dialling')`); n != 0 {
		t.Errorf("%d calls are neither made nor over", n)
	}
	s.exec(t, `UPDATE phone_calls SET lease_ts = 1 WHERE lease IS NOT NULL`)
	hstest.Eventually(t, "everything is given back", func() bool { return s.number(t, `SELECT cost + seconds FROM phone_spending`) == 0 })
	// One that no bridge takes in time is over, too.
	r := s.calls(t, s.host, map[string]any{"number": "+32471999999"})
	call := r.JSON().Get("call_id").String()
	s.exec(t, `UPDATE phone_calls SET created_ts = created_ts - 60000 WHERE call_id = $1`, call)
	if n := b.leases(t, 5).Get("calls.#").Int(); n != 0 {
		t.Error("somebody is called a minute later")
	}
	hstest.Eventually(t, "a call that nobody takes ends", func() bool { return s.text(t, `SELECT state FROM phone_calls WHERE call_id = $1`, call) == "failed" })
}

// TestACallOutIsHungUp: by who asked for it, a moderator, an administrator, and the clock; not by others.
func TestACallOutIsHungUp(t *testing.T) {
	t.Parallel()
	s := start(t, options{})
	s.policy(t, map[string]any{"dial_out": true, "countries": []string{"BE"}})
	s.meets(t)
	anna, bert := s.member(t, "anna"), s.member(t, "bert")
	b := s.bridge(0)
	begin := func() string {
		t.Helper()
		r := s.calls(t, anna, map[string]any{"number": callee, "name": "Carl"})
		if r.Status != 200 {
			t.Fatalf("not called: %s", r)
		}
		if n := b.leases(t, 1).Get("calls.#").Int(); n != 1 {
			t.Fatal("there is nothing to call")
		}
		return r.JSON().Get("call_id").String()
	}
	ended := func(call, want string) {
		t.Helper()
		if cause := b.order(t, call); cause != want {
			t.Errorf("hung up with %q, want %q", cause, want)
		}
		b.must(t, call+"/event", map[string]any{"state": "ended", "cause": want})
	}
	call := begin()
	bert.MustFail(t, 403, "M_FORBIDDEN", http.MethodDelete, s.path("/calls/"+call), nil)
	s.User(t, "stranger").MustFail(t, 403, "M_FORBIDDEN", http.MethodDelete, s.path("/calls/"+call), nil)
	anna.MustDo(t, http.MethodDelete, s.path("/calls/"+call), nil)
	ended(call, "cancelled")
	call = begin()
	s.host.MustDo(t, http.MethodDelete, s.path("/calls/"+call), nil)
	ended(call, "cancelled")
	call = begin()
	s.Operator(t).MustDo(t, http.MethodDelete, "/_roomline/admin/v1/phones/calls/"+call, nil)
	ended(call, "cancelled")
	call = begin()
	b.must(t, call+"/event", map[string]any{"state": "answered"})
	b.must(t, call+"/token", nil)
	s.exec(t, `UPDATE phone_calls SET answered_ts = answered_ts - seconds_allowed * 1000 WHERE call_id = $1`, call)
	ended(call, "time")
	call = begin()
	b.must(t, call+"/event", map[string]any{"state": "answered"})
	join := b.must(t, call+"/token", nil)
	ghost := join.Get("user_id").String()
	if ghost == "" {
		t.Fatalf("the way in: %s", join)
	}
	s.host.MustDo(t, http.MethodPost, hstest.Path("rooms", s.room, "ban"), map[string]any{"user_id": ghost})
	ended(call, "removed")
	call = begin()
	b.must(t, call+"/event", map[string]any{"state": "answered"})
	if answer := b.must(t, call+"/token", nil); answer.Get("problem").String() != "not_allowed" {
		t.Errorf("somebody who was banned is called into the meeting: %s", answer)
	}
	if log := s.Operator(t).MustDo(t, http.MethodGet, "/_roomline/admin/v1/phones/calls?direction=out&limit=2", nil); log.Get("calls.#").Int() != 2 || log.Get("next_from").Int() == 0 {
		t.Errorf("the log of calls: %s", log)
	}
	if strings.Contains(s.Log(0), callee[3:]) {
		t.Error("a number is in the log")
	}
}
