package admin_test

import (
	"net/http"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

// TestWhoClosesTheOwnAccountHasItErased: with erase, what goes is what an administrator's deletion removes, as the organisation's policy says; under a
// legal hold the account is closed, and the rest goes when the hold is lifted.
func TestWhoClosesTheOwnAccountHasItErased(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Configure: func(_ int, c map[string]any) {
		c["accounts"] = object{"self_deactivate": true}
	}})
	root, alice, bob, carol := d.Operator(t), d.User(t, "alice"), d.User(t, "bob"), d.User(t, "carol")
	room := carol.MustCreateRoom(t, object{"preset": "public_chat"})
	said, files, named := map[string]string{}, map[string]string{}, map[string]string{}
	for _, u := range []*hstest.User{alice, bob} {
		u.MustJoin(t, room)
		u.MustDo(t, http.MethodPut, hstest.Path("profile", u.ID, "displayname"), object{"displayname": "The name of " + u.ID})
		named[u.ID] = u.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "state", "m.room.member", u.ID)+"?format=event", nil).Get("event_id").String()
		files[u.ID] = u.MustUpload(t, "application/octet-stream", "", []byte("the file of "+u.ID))
		said[u.ID] = u.MustSend(t, room, "m.room.message", object{"msgtype": "m.file", "body": "words", "url": files[u.ID]})
	}
	hold := root.MustDo(t, http.MethodPost, holds, object{"user_id": bob.ID, "reason": "file 2030/8"}).Get("hold_id").String()
	closeOwn := func(u *hstest.User) {
		t.Helper()
		u.MustDo(t, http.MethodPost, hstest.Path("account", "deactivate"), object{"erase": true, "auth": object{
			"type": "m.login.password", "password": u.Password, "identifier": object{"type": "m.id.user", "user": u.ID}}})
		u.MustFail(t, 401, "M_UNKNOWN_TOKEN", http.MethodGet, hstest.Path("account", "whoami"), nil)
	}
	done := func(u *hstest.User) bool {
		return root.MustDo(t, http.MethodGet, users+"/"+u.ID+"/erasure", nil).Get("done_ts").Int() > 0
	}
	body := func(u *hstest.User) string {
		return carol.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "event", said[u.ID]), nil).Get("content.body").String()
	}
	name := func(u *hstest.User) string {
		return carol.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "event", named[u.ID]), nil).Get("content.displayname").String()
	}
	if name(alice) == "" || name(bob) == "" {
		t.Fatal("the room does not know the names")
	}

	closeOwn(bob)
	closeOwn(alice)
	hstest.Eventually(t, "alice is erased", func() bool { return done(alice) })
	if name(alice) != "" {
		t.Errorf("the room knows alice as %q", name(alice))
	}
	if carol.Download(t, files[alice.ID]).Status != http.StatusNotFound {
		t.Error("the file of alice is left")
	}
	if body(alice) != "words" {
		t.Errorf("alice said %q; the policy keeps it", body(alice))
	}
	if done(bob) || name(bob) == "" {
		t.Error("who is held was erased")
	}

	root.MustDo(t, http.MethodDelete, holds+"/"+hold, nil)
	hstest.Eventually(t, "bob is erased", func() bool { return done(bob) && name(bob) == "" })
	dave := d.User(t, "dave")
	dave.MustJoin(t, room)
	said[dave.ID] = dave.MustSend(t, room, "m.room.message", object{"msgtype": "m.text", "body": "words"})
	root.MustDo(t, http.MethodPut, "/_roomline/admin/v1/policies/accounts", object{"self_deactivate": true, "erase_messages": true})
	closeOwn(dave)
	hstest.Eventually(t, "dave is erased", func() bool { return done(dave) })
	if body(dave) != "" {
		t.Errorf("dave said %q", body(dave))
	}
}
