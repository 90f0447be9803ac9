package mediaapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

// deleteAll asks as often as the answers say.
func deleteAll(t testing.TB, admin *hstest.User, request map[string]any) (deleted int64, last gjson.Result) {
	t.Helper()
	for range 20 {
		last = admin.MustDo(t, http.MethodPost, roomline+"delete", request)
		deleted += last.Get("deleted").Int()
		if !last.Get("more").Bool() {
			return deleted, last
		}
	}
	t.Fatal("there is always more to delete")
	return 0, last
}

// contentOf is what is left of an event.
func contentOf(t testing.TB, u *hstest.User, room, event string) string {
	t.Helper()
	return u.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "event", event), nil).Get("content").Raw
}

func TestAdministratorsDeleteEverything(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, bucket := start(t, s, nil)
			admin, alice, bob := d.Admin(t, "root"), d.User(t, "alice"), d.User(t, "bob")
			room := alice.MustCreateRoom(t, map[string]any{"name": "the room"})
			other := bob.MustCreateRoom(t, nil)
			alice.MustInvite(t, room, bob)
			bob.MustJoin(t, room)
			send := func(u *hstest.User, room, text string) (uri, event string) {
				uri = u.MustUpload(t, "text/plain", "", []byte(text))
				return uri, u.MustSend(t, room, "m.room.message", message("m.file", uri))
			}
			uri, event := send(bob, room, "one event")
			_, ofRoom := send(alice, room, "alice's, in the room")
			_, ofBob := send(bob, room, "bob's, in the room")
			elsewhere, ofBobElsewhere := send(bob, other, "bob's, elsewhere")
			text := bob.MustSendText(t, room, "no member may delete this")
			bucket.mustHave(t, 4)

			// One event, for which the member alone has no power.
			one, _ := deleteAll(t, admin, map[string]any{"event_id": text})
			mustEqual(t, "one text", one, 1)
			mustEqual(t, "the text", contentOf(t, alice, room, text), "{}")
			one, _ = deleteAll(t, admin, map[string]any{"event_id": event, "reason": "a <complaint>"})
			mustEqual(t, "one event", one, 1)
			bucket.mustHave(t, 3)
			receipt := receiptOf(t, admin, uri)
			mustEqual(t, "receipt", []any{receipt.Get("deleted_by"), receipt.Get("rule"), receipt.Get("event_id")}, []any{admin.ID, "admin", event})
			mustEqual(t, "signature", receipt.Get(`signatures.hs\.test`).Exists(), true)
			again, _ := deleteAll(t, admin, map[string]any{"event_id": event})
			mustEqual(t, "again", again, 0)

			// A user, in a room.
			n, _ := deleteAll(t, admin, map[string]any{"room_id": room, "user_id": bob.ID})
			mustEqual(t, "of bob in the room", n, 1)
			mustEqual(t, "bob's", contentOf(t, alice, room, ofBob), "{}")
			bob.MustSee(t, elsewhere, []byte("bob's, elsewhere"))
			bucket.mustHave(t, 2)

			// A user, everywhere.
			n, _ = deleteAll(t, admin, map[string]any{"user_id": bob.ID})
			mustEqual(t, "of bob", n, 1)
			mustEqual(t, "bob's", contentOf(t, bob, other, ofBobElsewhere), "{}")
			bucket.mustHave(t, 1)

			// A room, but for what is too young.
			n, _ = deleteAll(t, admin, map[string]any{"room_id": room, "before_ts": 1000000000000})
			mustEqual(t, "of long ago", n, 0)
			n, _ = deleteAll(t, admin, map[string]any{"room_id": room})
			mustEqual(t, "of the room", n, 1)
			mustEqual(t, "alice's", contentOf(t, alice, room, ofRoom), "{}")
			bucket.mustHave(t, 0)
			name := alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "state", "m.room.name"), nil).Get("name")
			mustEqual(t, "the room's name", name, "the room")
		})
	}
}

func TestRedactionsForAdministratorsAreSentByWhomTheRoomAllows(t *testing.T) {
	t.Parallel()
	d, _ := start(t, folder, nil)
	admin, owner, member := d.Admin(t, "root"), d.User(t, "owner"), d.User(t, "member")
	room := owner.MustCreateRoom(t, nil)
	owner.MustInvite(t, room, member)
	member.MustJoin(t, room)
	sender := func(event string) string {
		e := owner.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "event", event), nil)
		return e.Get("unsigned.redacted_because.sender").String()
	}
	byMember, gone := member.MustSendText(t, room, "1"), member.MustSendText(t, room, "2")
	name := owner.MustSetState(t, room, "m.room.topic", "", map[string]any{"topic": "to be deleted"})
	deleteAll(t, admin, map[string]any{"event_id": byMember})
	mustEqual(t, "while joined", sender(byMember), member.ID)
	member.MustLeave(t, room)
	deleteAll(t, admin, map[string]any{"event_id": gone})
	mustEqual(t, "after leaving", sender(gone), owner.ID)

	deleteAll(t, admin, map[string]any{"event_id": name})
	mustEqual(t, "the topic", contentOf(t, owner, room, name), "{}")
	levels := owner.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "state"), nil)
	for _, e := range levels.Array() {
		if e.Get("type").String() == "m.room.power_levels" {
			admin.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodPost, roomline+"delete", map[string]any{"event_id": e.Get("event_id").String()})
		}
	}

	// A room in which nobody is left.
	last := owner.MustSendText(t, room, "3")
	owner.MustLeave(t, room)
	n, answer := deleteAll(t, admin, map[string]any{"room_id": room})
	mustEqual(t, "in an empty room", n, 0)
	mustEqual(t, "refused", []any{answer.Get("refused.0.room_id"), answer.Get("refused.0.events")}, []any{room, 1})
	mustEqual(t, "the last word", contentOf(t, owner, room, last) != "{}", true)
}

func TestALotIsDeletedInPortions(t *testing.T) {
	t.Parallel()
	d, bucket := start(t, folder, nil)
	admin, alice := d.Admin(t, "root"), d.User(t, "alice")
	room := alice.MustCreateRoom(t, nil)
	uri := alice.MustUpload(t, "text/plain", "", []byte("shared by many"))
	const messages = 1100
	for range messages {
		alice.MustSend(t, room, "m.room.message", message("m.file", uri))
	}
	first := admin.MustDo(t, http.MethodPost, roomline+"delete", map[string]any{"room_id": room})
	mustEqual(t, "the first portion", fmt.Sprint(first.Get("deleted").Int() < messages, first.Get("more")), "true true")
	alice.MustSee(t, uri, []byte("shared by many"))
	n, _ := deleteAll(t, admin, map[string]any{"room_id": room})
	mustEqual(t, "all", first.Get("deleted").Int()+n, messages)
	bucket.mustHave(t, 0)
}

func TestDeletionRequestsAreChecked(t *testing.T) {
	t.Parallel()
	d, _ := start(t, folder, nil)
	admin := d.Admin(t, "root")
	for body, want := range map[string]string{
		``: "400 M_NOT_JSON", `{}`: "400 M_MISSING_PARAM", `{"room_id":"x"}`: "400 M_INVALID_PARAM", `{"user_id":"x"}`: "400 M_INVALID_PARAM",
		`{"event_id":"x"}`: "400 M_INVALID_PARAM", `{"event_id":1}`: "400 M_BAD_JSON", `{"room_id":"!a:hs.test"}`: "404 M_NOT_FOUND",
		`{"user_id":"@a:hs.test"}`: "404 M_NOT_FOUND", `{"event_id":"$a:hs.test"}`: "404 M_NOT_FOUND",
		`{"user_id":"` + admin.ID + `","before_ts":1700000000}`: "400 M_INVALID_PARAM",
	} {
		answer, err := admin.Do(t.Context(), http.MethodPost, roomline+"delete", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(answer.Status, " ", answer.ErrCode()); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func TestNobodyActsInTheNameOfAnotherOrganisation(t *testing.T) {
	t.Parallel()
	d, _ := start(t, folder, nil)
	admin, owner, member := d.Admin(t, "root"), d.User(t, "owner"), d.User(t, "member")
	room := owner.MustCreateRoom(t, nil)
	owner.MustInvite(t, room, member)
	member.MustJoin(t, room)
	var events []string
	for range 2 {
		events = append(events, member.MustSendText(t, room, "hello"))
	}
	owners := owner.MustSendText(t, room, "the owner's")
	d.Stop(t, 0)
	move(t, d, `UPDATE rooms SET organisation_id = 77`, `UPDATE users SET organisation_id = 77 WHERE user_id = '`+owner.ID+`'`)
	d.Restart(t, 0)

	request := map[string]any{"event_id": events[0]}
	n, _ := deleteAll(t, admin, request)
	mustEqual(t, "while joined", n, 1)
	admin.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodPost, roomline+"delete", map[string]any{"event_id": owners})
	admin.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodPost, roomline+"delete", map[string]any{"room_id": room})
	member.MustLeave(t, room)
	n, answer := deleteAll(t, admin, map[string]any{"user_id": member.ID})
	mustEqual(t, "after leaving", n, 0)
	mustEqual(t, "refused", answer.Get("refused.0.events"), 1)
}

// Media with one content, deleted together: its object goes, and one of the receipts names it.
func TestMediaOfOneContentIsDeletedTogether(t *testing.T) {
	t.Parallel()
	d, b := start(t, folder, nil)
	admin, alice := d.Admin(t, "root"), d.User(t, "alice")
	for range 3 {
		alice.MustUpload(t, "text/plain", "", []byte("the same"))
	}
	b.mustHave(t, 1)
	answer := admin.MustDo(t, http.MethodDelete, "/_synapse/admin/v1/users/"+url.PathEscape(alice.ID)+"/media", nil)
	if answer.Get("total").Int() != 3 {
		t.Errorf("deleted: %s", answer)
	}
	b.mustHave(t, 0)
	named := 0
	for _, r := range deletions(t, admin, 3) {
		named += len(r.Get("objects").Array())
	}
	if named != 1 {
		t.Errorf("the receipts name %d objects, want the one", named)
	}
}
