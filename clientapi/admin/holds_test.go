package admin_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

const holds = "/_roomline/admin/v1/holds"

// TestWhatIsHeldIsNotErased: neither a person nor a room nor a file goes while a legal hold is on it, whoever wants it and whenever that was decided; what was
// decided before is done when it is lifted. All of it is in the audit log.
func TestWhatIsHeldIsNotErased(t *testing.T) {
	d := hstest.Start(t, hstest.Options{})
	db := storetest.DB(t, d.DSN)
	root, alice, bob := d.Operator(t), d.User(t, "alice"), d.User(t, "bob")
	root.MustDo(t, http.MethodPut, "/_roomline/admin/v1/policies/media", object{"retention_days": object{"file": 1}})
	room := alice.MustCreateRoom(t, object{"preset": "private_chat", "invite": []string{bob.ID}})
	bob.MustJoin(t, room)
	file := alice.MustUpload(t, "application/octet-stream", "", []byte("evidence"))
	alice.MustSend(t, room, "m.room.message", object{"msgtype": "m.file", "body": "evidence", "url": file})

	alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, holds, object{"user_id": bob.ID, "reason": "x"})
	for name, body := range map[string]object{
		"nothing": {"reason": "x"}, "both": {"user_id": bob.ID, "room_id": room, "reason": "x"}, "no reason": {"user_id": bob.ID},
		"nobody": {"user_id": "@nobody:hs.test", "reason": "x"}, "no room": {"room_id": "!none:hs.test", "reason": "x"},
	} {
		if r, err := root.Do(context.Background(), http.MethodPost, holds, body); err != nil || r.Status < 400 || r.Status >= 500 {
			t.Errorf("%s: %s %v", name, r, err)
		}
	}
	ofAlice := root.MustDo(t, http.MethodPost, holds, object{"user_id": alice.ID, "reason": "file 2030/7"}).Get("hold_id").String()
	ofRoom := root.MustDo(t, http.MethodPost, holds, object{"room_id": room, "reason": "file 2030/7"}).Get("hold_id").String()
	root.MustFail(t, http.StatusForbidden, "M_BAD_STATE", http.MethodPost, holds, object{"user_id": alice.ID, "reason": "again"})
	if list := root.MustDo(t, http.MethodGet, holds, nil).Get("holds"); list.Get("#").Int() != 2 || list.Get(`#(user_id=="`+alice.ID+`").reason`).String() != "file 2030/7" {
		t.Errorf("the holds: %s", list)
	}

	root.MustFail(t, http.StatusForbidden, "ORG.ROOMLINE.LEGAL_HOLD", http.MethodDelete, users+"/"+alice.ID, object{})
	root.MustFail(t, http.StatusForbidden, "ORG.ROOMLINE.LEGAL_HOLD", http.MethodDelete, "/_synapse/admin/v2/rooms/"+url.PathEscape(room), object{"purge": true})
	if alice.MustDo(t, http.MethodGet, "/_matrix/client/v3/account/whoami", nil).Get("user_id").String() != alice.ID {
		t.Error("who may not be erased is closed")
	}
	// What was decided before the hold waits: an erasure, a room's deletion, and files that are too old.
	if _, err := db.Exec(`INSERT INTO erasures (user_id, organisation_id, requested_by, requested_ts, messages, media) SELECT user_id, organisation_id, 'x', 0, true, true FROM users WHERE user_id = $1`, alice.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`INSERT INTO room_deletions (delete_id, organisation_id, room_id, requested_by, requested_ts, request) SELECT 'd', organisation_id, room_id, 'x', 0, '{"purge": true}' FROM rooms WHERE room_id = $1`, room); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`UPDATE media SET created_ts = 1`); err != nil {
		t.Fatal(err)
	}
	other := bob.MustUpload(t, "application/octet-stream", "", []byte("nothing"))
	elsewhere := bob.MustCreateRoom(t, object{"preset": "private_chat"})
	bob.MustSend(t, elsewhere, "m.room.message", object{"msgtype": "m.file", "body": "nothing", "url": other})
	if _, err := db.Exec(`UPDATE media SET created_ts = 1`); err != nil {
		t.Fatal(err)
	}
	d.Kill9(t, 0) // it begins to look at once
	d.Restart(t, 0)
	hstest.Eventually(t, "what is not held goes", func() bool { return bob.Download(t, other).Status == http.StatusNotFound })
	time.Sleep(2 * time.Second) // the other queues are looked at meanwhile
	bob.MustSee(t, file, []byte("evidence"))
	left := func() (n int) {
		if err := db.QueryRow(`SELECT (SELECT count(*) FROM erasures WHERE done_ts IS NULL) + (SELECT count(*) FROM room_deletions WHERE done_ts IS NULL)`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := left(); n != 2 {
		t.Errorf("%d of two are waiting", n)
	}
	// The database itself keeps a held room.
	if _, err := db.Exec(`DELETE FROM rooms WHERE room_id = $1`, room); err == nil || !strings.Contains(err.Error(), "legal_holds") && !strings.Contains(err.Error(), "foreign key") {
		t.Errorf("a held room can be deleted: %v", err)
	}

	must(t, root, http.StatusOK, http.MethodDelete, holds+"/"+ofAlice, nil)
	must(t, root, http.StatusNotFound, http.MethodDelete, holds+"/"+ofAlice, nil)
	must(t, root, http.StatusOK, http.MethodDelete, holds+"/"+ofRoom, nil)
	hstest.Eventually(t, "what waited is done", func() bool { return left() == 0 })
	var actions string
	if err := db.QueryRow(`SELECT string_agg(action, ' ' ORDER BY seq) FROM audit_log WHERE action LIKE 'hold.%'`).Scan(&actions); err != nil {
		t.Fatal(err)
	}
	equal(t, "the audit log", actions, "hold.set hold.set hold.lift hold.lift")
}

// TestHoldsOfAnOrganisationAreBounded: all of them are in one answer, so that each can be lifted.
func TestHoldsOfAnOrganisationAreBounded(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	root, alice := d.Operator(t), d.User(t, "alice")
	if _, err := storetest.DB(t, d.DSN).Exec(`ALTER TABLE legal_holds DROP CONSTRAINT legal_holds_user_id_fkey;
		INSERT INTO legal_holds SELECT n, 1, '@' || n || ':hs.test', NULL, 'x', 'x', n FROM generate_series(1, 1000) n`); err != nil {
		t.Fatal(err)
	}
	root.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, holds, object{"user_id": alice.ID, "reason": "x"})
	if n := root.MustDo(t, http.MethodGet, holds, nil).Get("holds.#").Int(); n != 1000 {
		t.Errorf("%d of 1000 are listed", n)
	}
	must(t, root, http.StatusOK, http.MethodDelete, holds+"/7", nil)
	root.MustDo(t, http.MethodPost, holds, object{"user_id": alice.ID, "reason": "x"})
}
