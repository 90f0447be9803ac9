package schedule_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

// TestWhatADeadProcessHasLeftIsDone leaves rows as a process leaves them that is killed after its commit.
func TestWhatADeadProcessHasLeftIsDone(t *testing.T) {
	t.Parallel()
	d, b := start(t, 2)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	begun := arrange(t, alice, time.Hour, nil)
	changed := arrange(t, alice, 2*time.Hour, object{"title": "Plans", "invitees": []any{email("clara@example.com")}})
	over := arrange(t, alice, 3*time.Hour, object{"title": "Over", "invitees": []any{email("dora@example.com")}})
	b.messages(t)
	id := func(m gjson.Result) string { return m.Get("meeting_id").String() }
	exec(t, d, `INSERT INTO meeting_invitees (invitee_id, meeting_id, medium, address, role, created_ts) VALUES ('I1', $1, 'email', 'anna@example.com', 'attendee', 1)`, id(begun))
	exec(t, d, `INSERT INTO meeting_invitees (invitee_id, meeting_id, user_id, role, created_ts) VALUES ('I2', $1, $2, 'presenter', 1)`, id(begun), bob.ID)
	exec(t, d, `UPDATE meetings SET title = 'Other plans', sequence = 1, due_ts = 1 WHERE meeting_id = $1`, id(changed))
	exec(t, d, `UPDATE meetings SET cancelled_ts = created_ts, sequence = 1, due_ts = 1 WHERE meeting_id = $1`, id(over))
	exec(t, d, `UPDATE meetings SET due_ts = 1 WHERE meeting_id = $1`, id(begun))
	// Whoever has to do with meetings dies; the other takes over.
	d.Kill9(t, 0)
	d.Restart(t, 0)
	d.Kill9(t, 1)
	d.Restart(t, 1)
	told := map[string]gjson.Result{}
	hstest.Eventually(t, "everybody is told", func() bool {
		for _, m := range b.messages(t) {
			if address := m.Get("address").String(); told[address].Exists() {
				t.Errorf("%s is told twice", address)
			} else {
				told[address] = m
			}
		}
		return len(told) >= 3
	})
	if m := told["anna@example.com"]; m.Get("kind").String() != "invitation" || m.Get("invitation.meeting.sequence").Int() != 0 {
		t.Errorf("who had not been asked is told %s", m)
	}
	if m := told["clara@example.com"]; m.Get("invitation.meeting.title").String() != "Other plans" || m.Get("invitation.meeting.sequence").Int() != 1 {
		t.Errorf("who did not know of the change is told %s", m)
	}
	if m := told["dora@example.com"]; m.Get("kind").String() != "cancellation" {
		t.Errorf("who did not know of the end is told %s", m)
	}
	hstest.Eventually(t, "a user is asked", func() bool {
		return state(t, alice, begun.Get("room_id").String(), "m.room.member", bob.ID).Get("membership").String() == "invite"
	})
	hstest.Eventually(t, "the room has another name", func() bool {
		return state(t, alice, changed.Get("room_id").String(), "m.room.name", "").Get("name").String() == "Other plans"
	})
	var left int
	hstest.Eventually(t, "nothing is due any more", func() bool {
		err := storetest.DB(t, d.DSN).QueryRow(`SELECT count(*) FROM meetings WHERE due_ts < (SELECT min(next_start_ts) FROM meetings) - 700000`).Scan(&left)
		return err == nil && left == 0
	})
	time.Sleep(2 * time.Second)
	if list := b.messages(t); len(list) != 0 {
		t.Errorf("more is told: %v", list)
	}
}

// TestPeopleAreRemindedOnce kills the processes in turns while many meetings are about to begin.
func TestPeopleAreRemindedOnce(t *testing.T) {
	t.Parallel()
	d, _ := start(t, 2)
	alice := d.User(t, "alice")
	const n = 12
	var rooms []string
	for i := range n {
		rooms = append(rooms, arrange(t, alice, 11*time.Minute, object{"encrypted": i == 0}).Get("room_id").String())
	}
	// Ten minutes before is now.
	exec(t, d, `UPDATE meetings SET start_ts = start_ts - 120000, next_start_ts = next_start_ts - 120000, created_ts = created_ts - 120000, due_ts = next_start_ts - 720000`)
	for k := range 4 {
		d.Kill9(t, k%2)
		d.Restart(t, k%2)
		time.Sleep(300 * time.Millisecond)
	}
	count := func(i int) (reminders int64) {
		for _, e := range alice.MustDo(t, http.MethodGet, hstest.Path("rooms", rooms[i], "messages")+"?dir=b&limit=30", nil).Get("chunk").Array() {
			if e.Get("type").String() == "org.roomline.meeting.reminder" || e.Get(`content.org\.roomline\.meeting\.reminder.meeting_id`).Exists() {
				reminders++
			}
		}
		return reminders
	}
	// What a dead process has claimed is done half a minute later.
	for i := range n {
		hstest.Eventually(t, "a room is reminded", func() bool { return count(i) > 0 })
	}
	exec(t, d, `UPDATE meetings SET due_ts = 1, reminded_ts = NULL`)
	time.Sleep(3 * time.Second)
	for i := range n {
		if got := count(i); got != 1 {
			t.Errorf("room %d was reminded %d times", i, got)
		}
	}
	if e := alice.MustDo(t, http.MethodGet, hstest.Path("rooms", rooms[0], "messages")+"?dir=b&limit=30", nil).Get(`chunk.#(type=="m.room.message")`); e.Exists() {
		t.Errorf("in an encrypted room there is %s", e)
	}
}

func TestAModeratorTakesOver(t *testing.T) {
	t.Parallel()
	d, b := start(t, 1)
	owner := d.Operator(t)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	made := arrange(t, alice, time.Hour, object{"link": true, "invitees": []any{object{"user_id": bob.ID, "role": "moderator"}, email("anna@example.com")}})
	alone := arrange(t, alice, 2*time.Hour, object{"title": "Alone", "invitees": []any{email("clara@example.com")}})
	first := map[string]gjson.Result{}
	for _, m := range b.messages(t) {
		first[m.Get("address").String()] = m
	}
	one, room := all+"/"+made.Get("meeting_id").String(), made.Get("room_id").String()
	bob.MustJoin(t, room)
	alice.MustLeave(t, room)
	alice.MustLeave(t, alone.Get("room_id").String())
	hstest.Eventually(t, "a moderator is the organiser", func() bool {
		return bob.MustDo(t, http.MethodGet, one, nil).Get("organiser").String() == bob.ID
	})
	told := map[string]gjson.Result{}
	hstest.Eventually(t, "addresses are asked anew", func() bool {
		for _, m := range b.messages(t) {
			told[m.Get("address").String()] = m
		}
		return len(told) == 2
	})
	if m := told["anna@example.com"]; m.Get("kind").String() != "invitation" || m.Get("invitation.inviter").String() != "bob" ||
		m.Get("invitation.meeting.sequence").Int() <= first["anna@example.com"].Get("invitation.meeting.sequence").Int() || opened(t, d, m.Get("invitation.link").String()).Get("state").String() != "early" {
		t.Errorf("who was asked is told %s", m)
	}
	if m := told["clara@example.com"]; m.Get("kind").String() != "cancellation" {
		t.Errorf("of a meeting without a moderator people are told %s", m)
	}
	hstest.Eventually(t, "the meeting has another link", func() bool {
		link := bob.MustDo(t, http.MethodGet, one, nil).Get("link").String()
		return link != made.Get("link").String() && opened(t, d, link).Get("state").String() == "early"
	})
	alice.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, one, nil)
	if got := owner.MustDo(t, http.MethodGet, admin+"audit?action=meeting.handover", nil); got.Get("entries.#").Int() != 1 || got.Get("entries.0.actor").String() != "server" {
		t.Errorf("the audit log has %s", got)
	}
}

func TestAnErasedOrganiserLeavesTheMeetingToOthers(t *testing.T) {
	t.Parallel()
	d, b := start(t, 1)
	owner := d.Operator(t)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	made := arrange(t, alice, time.Hour, object{"invitees": []any{object{"user_id": bob.ID, "role": "moderator"}, email("anna@example.com")}})
	alone := arrange(t, alice, 2*time.Hour, object{"title": "Alone", "invitees": []any{email("clara@example.com")}})
	b.messages(t)
	bob.MustJoin(t, made.Get("room_id").String())
	owner.MustDo(t, http.MethodDelete, admin+"users/"+alice.ID, nil)
	told := map[string]string{}
	hstest.Eventually(t, "everybody is told", func() bool {
		for _, m := range b.messages(t) {
			told[m.Get("address").String()] = m.Get("kind").String()
		}
		return len(told) == 2
	})
	if told["anna@example.com"] != "invitation" || told["clara@example.com"] != "cancellation" {
		t.Errorf("people are told %v", told)
	}
	if got := bob.MustDo(t, http.MethodGet, all+"/"+made.Get("meeting_id").String(), nil); got.Get("organiser").String() != bob.ID || got.Get("invitees.#").Int() != 2 {
		t.Errorf("the meeting is %s", got)
	}
	hstest.Eventually(t, "the other one is gone", func() bool {
		var n int
		err := storetest.DB(t, d.DSN).QueryRow(`SELECT count(*) FROM meetings WHERE meeting_id = $1 OR organiser = $2`, alone.Get("meeting_id").String(), alice.ID).Scan(&n)
		return err == nil && n == 0
	})
}
