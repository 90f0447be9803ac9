package moderation_test

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/caller"
)

// audited is what the organisation's audit log has of meetings.
func (s *side) audited(t *testing.T) map[string]int {
	t.Helper()
	rows, err := s.db.Query(`SELECT action FROM audit_log WHERE action LIKE 'meeting.%' OR action LIKE 'recording.%'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := make(map[string]int)
	for rows.Next() {
		var action string
		if err := rows.Scan(&action); err != nil {
			t.Fatal(err)
		}
		all[action]++
	}
	return all
}

func (s *side) status(t *testing.T, u *hstest.User) gjson.Result {
	t.Helper()
	return u.MustDo(t, http.MethodGet, s.meeting(), nil)
}

// TestTheStateOfAMeeting: what there is to see of a meeting, for its host, for those in it, and for those at its door.
func TestTheStateOfAMeeting(t *testing.T) {
	t.Parallel()
	s, _, people := meet(t, 1, "anna")
	secret := s.link(t, 3)
	inside := s.guest(t, secret, "Inside", false)
	s.host.MustDo(t, http.MethodPost, s.act("lobby"), object{"who": "guests"})
	waits := s.guest(t, secret, "Waits", true)
	anna := s.call(t, people["anna"])
	s.call(t, inside)
	hstest.Eventually(t, "both are in the meeting", func() bool { return len(s.status(t, s.host).Get("participants").Array()) == 2 })

	is := s.status(t, s.host)
	if is.Get("you.role").String() != "organiser" || is.Get("state.lobby").String() != "guests" || is.Get("encrypted").Bool() ||
		len(is.Get("you.may").Array()) < 10 || len(is.Get("you.publish").Array()) != 4 {
		t.Errorf("the host sees %s", is)
	}
	if w := is.Get("waiting").Array(); len(w) != 1 || w[0].Get("user_id").String() != waits.ID || w[0].Get("name").String() != "Waits (guest)" || w[0].Get("since_ts").Int() == 0 {
		t.Errorf("who waits is %s", is.Get("waiting"))
	}
	for _, p := range is.Get("participants").Array() {
		kind, name := "member", "anna"
		if p.Get("user_id").String() == inside.ID {
			kind, name = "guest", "Inside (guest)"
		}
		if p.Get("kind").String() != kind || p.Get("name").String() != name || p.Get("role").String() != "attendee" || p.Get("identity").String() == "" || p.Get("since_ts").Int() == 0 {
			t.Errorf("a participant is %s", p)
		}
	}
	for _, u := range []*hstest.User{anna.User, inside} {
		if is := s.status(t, u); is.Get("waiting").Exists() || is.Get("you.role").String() != "attendee" || len(is.Get("you.may").Array()) != 0 || len(is.Get("participants").Array()) != 2 {
			t.Errorf("an attendee sees %s", is)
		}
	}
	if is := s.status(t, waits); is.Get("you.role").String() != "waiting" || is.Get("state").Exists() || len(is.Get("participants").Array()) != 0 || is.Get("waiting").Exists() {
		t.Errorf("who waits sees %s", is)
	}
	s.User(t, "absent").MustFail(t, 403, "M_FORBIDDEN", http.MethodGet, s.meeting(), nil)
}

// TestAMeetingIsLed: lock, roles, who may publish, hands, and what becomes of them at the media server.
func TestAMeetingIsLed(t *testing.T) {
	t.Parallel()
	s, _, people := meet(t, 2, "anna", "bob", "late")
	do := func(action string, body object) {
		t.Helper()
		s.host.On(1).MustDo(t, http.MethodPost, s.act(action), body)
	}
	anna, bob := s.call(t, people["anna"]), s.call(t, people["bob"])
	anna.MustPublish(t, microphone)
	anna.MustPublish(t, camera)
	bob.Hears(t, anna, camera)

	do("lock", object{})
	if r := caller.NativeToken(t, people["late"], s.room); r.Status != 403 || r.JSON().Get(`org\.roomline\.reason`).String() != "meeting_locked" {
		t.Errorf("a token for a locked meeting: %s", r)
	}
	do("unlock", object{})
	s.call(t, people["late"])

	// Rights that are taken away end what is sent, and it can't be sent again.
	do("publish", object{"source": "camera", "role": "presenter"})
	bob.Awaits(t, anna, camera, "")
	bob.Hears(t, anna, microphone)
	hstest.Eventually(t, "an attendee may not film", func() bool { return !anna.May(camera) })
	do("role", object{"user_id": anna.ID, "role": "presenter"})
	hstest.Eventually(t, "a presenter may film", func() bool { return anna.May(camera) })
	anna.MustPublish(t, camera)
	bob.Awaits(t, anna, camera, "on")
	if role := s.status(t, anna.User).Get("you.role").String(); role != "presenter" {
		t.Errorf("anna is %s", role)
	}

	// Changes at the same time are all made.
	var all sync.WaitGroup
	for name, role := range map[string]string{"bob": "presenter", "late": "moderator", "anna": "attendee"} {
		all.Go(func() {
			r, err := s.host.Do(context.Background(), http.MethodPost, s.act("role"), object{"user_id": people[name].ID, "role": role})
			if err != nil || r.Status != 200 {
				t.Errorf("role of %s: %v %s", name, err, r)
			}
		})
	}
	all.Wait()
	levels := s.stateOf(t, "m.room.power_levels").Get("users").Map()
	if levels[people["bob"].ID].Int() != 25 || levels[people["late"].ID].Int() != 50 || levels[anna.ID].Int() != 0 {
		t.Errorf("the power levels are %v", levels)
	}

	// A hand is raised as Element Call does it.
	member := bob.MustSetState(t, s.room, "org.matrix.msc3401.call.member", "_"+bob.ID+"_"+bob.DeviceID+"_m.call", object{"application": "m.call", "device_id": bob.DeviceID})
	raised := bob.MustSend(t, s.room, "m.reaction", object{"m.relates_to": object{"rel_type": "m.annotation", "event_id": member, "key": "🖐️"}})
	other := bob.MustSend(t, s.room, "m.reaction", object{"m.relates_to": object{"rel_type": "m.annotation", "event_id": member, "key": "👍"}})
	do("lower_hand", object{"user_id": bob.ID})
	do("lower_hand", object{"user_id": bob.ID})
	for id, gone := range map[string]bool{raised: true, other: false} {
		e := bob.MustDo(t, http.MethodGet, hstest.Path("rooms", s.room, "event", id), nil)
		if e.Get("content.m\\.relates_to").Exists() == gone {
			t.Errorf("after lowering the hand: %s", e)
		}
	}
	if by := bob.MustDo(t, http.MethodGet, hstest.Path("rooms", s.room, "event", raised), nil).Get("unsigned.redacted_because.sender").String(); by != s.host.ID {
		t.Errorf("the hand was lowered by %s", by)
	}
	if log := s.audited(t); log["meeting.role"] != 4 {
		t.Errorf("the audit log has %v", log)
	}
}

// TestWhoIsRemovedIsGone: out of the room, out of the call, and not in again.
func TestWhoIsRemovedIsGone(t *testing.T) {
	t.Parallel()
	s, l, people := meet(t, 2, "anna", "bob", "carl")
	secret := s.link(t, 1)
	guest := s.guest(t, secret, "Gast", false)
	anna, bob, gast := s.call(t, people["anna"]), s.call(t, people["bob"]), s.call(t, guest)
	s.host.MustDo(t, http.MethodPost, s.act("remove"), object{"user_id": anna.ID, "reason": "noise"})
	s.host.MustDo(t, http.MethodPost, s.act("remove"), object{"user_id": anna.ID})
	s.host.On(1).MustDo(t, http.MethodPost, s.act("remove"), object{"user_id": gast.ID})
	hstest.Eventually(t, "both are out", func() bool { return anna.IsGone() && gast.IsGone() })
	if r := caller.NativeToken(t, people["anna"], s.room); r.Status == 200 {
		t.Errorf("a token for who was removed: %s", r)
	}
	if bob.IsGone() {
		t.Error("bob is out")
	}
	// Without the media server it holds, too, and is done when it is back.
	carl := s.call(t, people["carl"])
	l.Kill9(t)
	s.host.MustDo(t, http.MethodPost, s.act("remove"), object{"user_id": carl.ID, "ban": true})
	if m := s.membership(t, carl.ID); m != "ban" {
		t.Errorf("carl is %s", m)
	}
	l.Restart(t)
	if r := caller.NativeToken(t, people["carl"], s.room); r.Status == 200 {
		t.Errorf("a token for who was banned: %s", r)
	}
	s.host.MustFail(t, 404, "M_NOT_FOUND", http.MethodPost, s.act("remove"), object{"user_id": s.User(t, "nobody").ID})
	if log := s.audited(t); log["meeting.remove"] != 3 {
		t.Errorf("the audit log has %v", log)
	}
}

// TestAMeetingEndsForAll: by its moderator, or by who manages the organisation's people.
func TestAMeetingEndsForAll(t *testing.T) {
	t.Parallel()
	s, _, people := meet(t, 1, "anna")
	guest := s.guest(t, s.link(t, 1), "Gast", false)
	anna, gast := s.call(t, people["anna"]), s.call(t, guest)
	s.host.MustDo(t, http.MethodPost, s.act("end"), object{})
	hstest.Eventually(t, "all are out", func() bool { return anna.IsGone() && gast.IsGone() })
	// They stay in the room, where the next meeting may be.
	guest.MustSendText(t, s.room, "still here")
	s.call(t, guest)
	again := s.call(t, people["anna"])
	admin := s.Admin(t, "admin")
	admin.MustDo(t, http.MethodPost, s.act("end"), object{})
	hstest.Eventually(t, "all are out again", again.IsGone)
	admin.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, s.act("lock"), object{})
	if log := s.audited(t); log["meeting.end"] != 2 {
		t.Errorf("the audit log has %v", log)
	}
	foreign := s.Organisation(t, "Other", "other.example").Admin(t, "boss")
	foreign.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, s.act("end"), object{})
}
