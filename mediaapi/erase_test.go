package mediaapi_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

func TestErasedUsersLeaveNoMedia(t *testing.T) {
	t.Parallel()
	for _, erase := range []bool{true, false} {
		t.Run(fmt.Sprint("erase ", erase), func(t *testing.T) {
			t.Parallel()
			d, bucket := start(t, folder, nil)
			admin, alice, bob := d.Admin(t, "root"), d.User(t, "alice"), d.User(t, "bob")
			room := alice.MustCreateRoom(t, nil)
			alice.MustInvite(t, room, bob)
			bob.MustJoin(t, room)
			shared := alice.MustUpload(t, "text/plain", "", []byte("shared"))
			alice.MustSend(t, room, "m.room.message", message("m.file", shared))
			// What others have shared again goes too.
			bob.MustSend(t, room, "m.room.message", message("m.file", shared))
			avatar := alice.MustUpload(t, "image/png", "", []byte("avatar"))
			bobs := bob.MustUpload(t, "text/plain", "", []byte("bob's"))
			bob.MustSend(t, room, "m.room.message", message("m.file", bobs))
			alice.MustLeave(t, room)
			alice.MustDo(t, http.MethodPut, hstest.Path("profile", alice.ID, "avatar_url"), map[string]any{"avatar_url": avatar})
			bucket.mustHave(t, 3)

			alice.MustDo(t, http.MethodPost, hstest.Path("account", "deactivate"), map[string]any{"erase": erase, "auth": map[string]any{
				"type": "m.login.password", "identifier": map[string]any{"type": "m.id.user", "user": alice.ID}, "password": alice.Password,
			}})
			rule, left := "replaced", 2
			if erase {
				rule, left = "erased", 1
				receipt := receiptOf(t, admin, shared)
				mustEqual(t, "receipt", []any{receipt.Get("deleted_by"), receipt.Get("rule")}, []any{alice.ID, "erased"})
			} else {
				bob.MustSee(t, shared, []byte("shared"))
			}
			bucket.mustHave(t, left)
			mustEqual(t, "the avatar's", receiptOf(t, admin, avatar).Get("rule"), rule)
			bob.MustSee(t, bobs, []byte("bob's"))
		})
	}
}
