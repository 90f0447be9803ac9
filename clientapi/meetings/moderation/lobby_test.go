package moderation_test

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/limits"
)

type object = map[string]any

// knockOf finds the knock of a user in a sync answer of somebody in the room.
func knockOf(room, user string) func(gjson.Result) bool {
	return func(answer gjson.Result) bool {
		found := false
		answer.Get("rooms.join").ForEach(func(id, joined gjson.Result) bool {
			if id.String() == room {
				for _, e := range append(joined.Get("timeline.events").Array(), joined.Get("state.events").Array()...) {
					found = found || e.Get("state_key").String() == user && e.Get("content.membership").String() == "knock"
				}
			}
			return true
		})
		return found
	}
}

// TestAGuestWaits goes from the link to the room, past the lobby: what the guest is told before, and that one click lets in.
func TestAGuestWaits(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 2})
	secret := s.link(t, 5)
	since := s.host.MustSync(t, hstest.Sync{}).Get("next_batch").String()
	s.host.MustDo(t, http.MethodPost, s.act("lobby"), object{"who": "guests"})
	said := s.host.MustSendText(t, s.room, "not for those who wait")

	attempt := newAttempt()
	answer := s.redeem(t, 0, secret, attempt, "Anna")
	if answer.Status != 200 || !answer.JSON().Get("waiting").Bool() {
		t.Fatalf("redeem: %s", answer)
	}
	anna := s.session(answer.JSON())
	if again := s.redeem(t, 1, secret, attempt, "Anna"); string(again.Body) != string(answer.Body) {
		t.Errorf("the same attempt again: %s", again)
	}
	// Any client of the host sees a knock, wherever it is.
	s.host.On(1).MustSyncUntil(t, since, knockOf(s.room, anna.ID))

	// The guest knows the room as those who knock do, and no more.
	var knock gjson.Result
	anna.MustSyncUntil(t, "", func(a gjson.Result) bool {
		a.Get("rooms.knock").ForEach(func(id, room gjson.Result) bool {
			if id.String() == s.room {
				knock = room
			}
			return true
		})
		return knock.Exists()
	})
	if events := knock.Get("knock_state.events.#.type").String(); !knock.Get(`knock_state.events.#(type=="m.room.name")`).Exists() {
		t.Errorf("a guest who waits is told %s", events)
	}
	for _, path := range []string{
		hstest.Path("rooms", s.room, "messages") + "?dir=b", hstest.Path("rooms", s.room, "state"), hstest.Path("rooms", s.room, "members"),
		hstest.Path("rooms", s.room, "joined_members"), hstest.Path("rooms", s.room, "event", said), hstest.Path("rooms", s.room, "context", said),
		hstest.Path("rooms", s.room, "state", "m.room.topic", ""),
	} {
		if r, err := anna.Do(context.Background(), http.MethodGet, path, nil); err != nil || r.Status != 403 && r.Status != 404 {
			t.Errorf("a guest who waits asks for %s: %v %s", path, err, r)
		}
	}
	anna.MustFail(t, 403, "M_FORBIDDEN", http.MethodPut, hstest.Path("rooms", s.room, "send", "m.room.message", "1"), object{"msgtype": "m.text", "body": "in"})
	anna.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, hstest.Path("rooms", s.room, "join"), object{})

	s.host.On(1).MustDo(t, http.MethodPost, s.act("admit"), object{"user_id": anna.ID})
	s.host.MustDo(t, http.MethodPost, s.act("admit"), object{"user_id": anna.ID})
	anna.MustSendText(t, s.room, "in")
	anna.MustDo(t, http.MethodGet, hstest.Path("rooms", s.room, "event", said), nil)
	if again := s.redeem(t, 0, secret, attempt, "Anna"); again.Status != 200 || again.JSON().Get("waiting").Bool() {
		t.Errorf("redeem after having been let in: %s", again)
	}
	s.host.MustFail(t, 404, "M_NOT_FOUND", http.MethodPost, s.act("admit"), object{"user_id": "@nobody:" + "example"})
}

// TestASentAwayGuestNeedsAnInvite: the session ends, and the same link does not help its guest again.
func TestASentAwayGuestNeedsAnInvite(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	s.host.MustDo(t, http.MethodPost, s.act("lobby"), object{"who": "guests"})
	secret, attempt := s.link(t, 1), newAttempt()
	eve := s.session(s.redeem(t, 0, secret, attempt, "Eve").JSON())
	s.host.MustDo(t, http.MethodPost, s.act("deny"), object{"user_id": eve.ID, "reason": "not today"})
	s.host.MustDo(t, http.MethodPost, s.act("deny"), object{"user_id": eve.ID})
	s.host.MustFail(t, 404, "M_NOT_FOUND", http.MethodPost, s.act("admit"), object{"user_id": eve.ID})
	hstest.Eventually(t, "the guest's session ends", func() bool {
		r, err := eve.Do(context.Background(), http.MethodGet, hstest.Path("account", "whoami"), nil)
		return err == nil && r.Status == 401
	})
	for _, a := range []string{attempt, newAttempt()} {
		if r := s.redeem(t, 0, secret, a, "Eve"); r.Status != 403 {
			t.Errorf("redeem after having been sent away: %s", r)
		}
	}
	if r := s.redeem(t, 0, secret, attempt, "Eve"); r.JSON().Get(`org\.roomline\.state`).String() != "removed" {
		t.Errorf("redeem again after having been sent away: %s", r)
	}
}

// TestAnyClientAnswersAKnock: whoever invites somebody who waits, as the clients of the specification do, lets them in.
func TestAnyClientAnswersAKnock(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 2})
	s.host.MustDo(t, http.MethodPost, s.act("lobby"), object{"who": "guests"})
	anna := s.guest(t, s.link(t, 1), "Anna", true)
	s.host.On(1).MustDo(t, http.MethodPost, hstest.Path("rooms", s.room, "invite"), object{"user_id": anna.ID})
	hstest.Eventually(t, "the guest comes in", func() bool { return s.membership(t, anna.ID) == "join" })
	// An invite that is no answer to a knock is for the invited to accept.
	bob := s.User(t, "bob")
	s.host.MustInvite(t, s.room, bob)
	s.host.MustFail(t, 404, "M_NOT_FOUND", http.MethodPost, s.act("admit"), object{"user_id": bob.ID})
	if m := s.membership(t, bob.ID); m != "invite" {
		t.Errorf("bob is %s", m)
	}
}

func TestALobbyThatIsSwitchedOffLetsAllIn(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	s.host.MustDo(t, http.MethodPost, s.act("lobby"), object{"who": "guests"})
	if rule := s.stateOf(t, "m.room.join_rules").Get("join_rule").String(); rule != "knock" {
		t.Fatalf("the join rule of a room with a lobby is %s", rule)
	}
	secret := s.link(t, 20)
	var all []*hstest.User
	for range 3 {
		all = append(all, s.guest(t, secret, "Guest", true))
	}
	s.host.MustDo(t, http.MethodPost, s.act("admit"), object{"all": true})
	for range 3 {
		all = append(all, s.guest(t, secret, "Guest", true))
	}
	s.host.MustDo(t, http.MethodPost, s.act("lobby"), object{"who": "nobody"})
	all = append(all, s.guest(t, secret, "Guest", false))
	for _, u := range all {
		u.MustSendText(t, s.room, "in")
	}
	if rule := s.stateOf(t, "m.room.join_rules").Get("join_rule").String(); rule != "invite" {
		t.Errorf("the join rule is %s when the lobby is gone", rule)
	}
	// A client may switch it off by the state alone: whoever asks again is let in.
	s.host.MustDo(t, http.MethodPost, s.act("lobby"), object{"who": "everybody"})
	attempt := newAttempt()
	late := s.redeem(t, 0, secret, attempt, "Late")
	s.host.MustSetState(t, s.room, "org.roomline.meeting", "", object{"lobby": "nobody"})
	if r := s.redeem(t, 0, secret, attempt, "Late"); r.Status != 200 || r.JSON().Get("waiting").Bool() {
		t.Errorf("redeem again without a lobby: %s", r)
	}
	s.session(late.JSON()).MustSendText(t, s.room, "in")
}

// TestColleaguesKnock: in a lobby for everybody people of the organisation wait, too, by the specification's knock.
func TestColleaguesKnock(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	bob := s.User(t, "bob")
	knock := hstest.Path("knock", s.room)
	bob.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, knock, object{})
	s.host.MustDo(t, http.MethodPost, s.act("lobby"), object{"who": "everybody"})
	bob.MustDo(t, http.MethodPost, knock, object{"reason": "let me in"})
	bob.MustDo(t, http.MethodPost, knock, object{})
	s.host.MustDo(t, http.MethodPost, s.act("deny"), object{"user_id": bob.ID})
	bob.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, knock, object{})
	bob.MustFail(t, 403, "M_FORBIDDEN", http.MethodPut, hstest.Path("rooms", s.room, "state", "m.room.member", bob.ID), object{"membership": "knock"})
	s.host.MustInvite(t, s.room, bob)
	bob.MustJoin(t, s.room)
	// Who has left may ask again, and is let in by one click.
	bob.MustLeave(t, s.room)
	bob.MustDo(t, http.MethodPost, knock, object{})
	s.host.MustDo(t, http.MethodPost, s.act("admit"), object{"user_id": bob.ID})
	bob.MustSendText(t, s.room, "in")
}

func TestALobbyHasBounds(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	s.host.MustDo(t, http.MethodPost, s.act("lobby"), object{"who": "everybody"})
	secret, bob, attempt := s.link(t, 5), s.User(t, "bob"), newAttempt()
	_, err := s.db.Exec(`
		INSERT INTO memberships (user_id, room_nid, membership, sender, position)
		SELECT '@w' || n || ':elsewhere', room_nid, 'knock', '', 1 FROM rooms, generate_series(1, $2) n WHERE room_id = $1`, s.room, limits.Waiting)
	if err != nil {
		t.Fatal(err)
	}
	bob.MustFail(t, 429, "M_LIMIT_EXCEEDED", http.MethodPost, hstest.Path("knock", s.room), object{})
	if r := s.redeem(t, 0, secret, attempt, "Anna"); r.Status != 429 || r.JSON().Get(`org\.roomline\.reason`).String() != "lobby_full" {
		t.Errorf("redeem into a full lobby: %s", r)
	}
	if _, err := s.db.Exec(`DELETE FROM memberships WHERE user_id LIKE '@w%:elsewhere'`); err != nil {
		t.Fatal(err)
	}
	if r := s.redeem(t, 0, secret, attempt, "Anna"); r.Status != 200 || !r.JSON().Get("waiting").Bool() {
		t.Errorf("redeem again when there is place: %s", r)
	}
}

// TestOnlyModeratorsKeepTheDoor asks as everybody who may not.
func TestOnlyModeratorsKeepTheDoor(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	secret := s.link(t, 5)
	inside := s.guest(t, secret, "Inside", false)
	s.host.MustDo(t, http.MethodPost, s.act("lobby"), object{"who": "guests"})
	waits := s.guest(t, secret, "Waits", true)
	attendee, colleague := s.User(t, "attendee"), s.User(t, "colleague")
	s.host.MustInvite(t, s.room, attendee)
	attendee.MustJoin(t, s.room)
	other := s.Organisation(t, "Other", "other.example").User(t, "eve")
	for _, who := range []*hstest.User{inside, waits, attendee, colleague, other} {
		for action, body := range map[string]object{"lobby": {"who": "nobody"}, "admit": {"user_id": waits.ID}, "deny": {"user_id": waits.ID}} {
			if r, err := who.Do(context.Background(), http.MethodPost, s.act(action), body); err != nil || r.Status != 403 {
				t.Errorf("%s: %s: %v %s", who.ID, action, err, r)
			}
		}
	}
	colleague.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, meetingPath("!none:"+"example", "lobby"), object{"who": "nobody"})
	if m := s.membership(t, waits.ID); m != "knock" {
		t.Errorf("who waits is %s", m)
	}
	s.host.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, s.act("lobby"), object{"who": "some"})
	s.host.MustFail(t, 400, "M_MISSING_PARAM", http.MethodPost, s.act("admit"), object{})
	s.host.MustFail(t, 404, "M_NOT_FOUND", http.MethodPost, s.act("deny"), object{"user_id": attendee.ID})

	// A room that everybody may join has no door.
	public := s.host.MustCreateRoom(t, object{"preset": "public_chat"})
	r, err := s.host.Do(context.Background(), http.MethodPost, meetingPath(public, "lobby"), object{"who": "guests"})
	if err != nil || !slices.Contains([]int{400, 403}, r.Status) {
		t.Errorf("a lobby of a public room: %v %s", err, r)
	}
}
