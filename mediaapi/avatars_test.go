package mediaapi_test

import (
	"net/http"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

func setAvatar(t testing.TB, u *hstest.User, uri string) {
	t.Helper()
	u.MustDo(t, http.MethodPut, hstest.Path("profile", u.ID, "avatar_url"), map[string]any{"avatar_url": uri})
}

func TestAvatarIsTheOrganisationsUntilItIsReplaced(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		alice, bob, stranger := d.User(t, "alice"), d.User(t, "bob"), foreigner(t, d, "stranger")
		first, second := []byte("first face"), []byte("second face")
		one := alice.MustUpload(t, "image/png", "", first)
		bob.MustNotSee(t, one)
		setAvatar(t, alice, one)
		bob.MustSee(t, one, first)
		stranger.MustNotSee(t, one)

		two := alice.MustUpload(t, "image/png", "", second)
		setAvatar(t, alice, two)
		b.mustHave(t, 1)
		bob.MustNotSee(t, one)
		bob.MustSee(t, two, second)

		// A room's event names it as long as the event is there, to those in the room.
		room := alice.MustCreateRoom(t, nil)
		setAvatar(t, alice, alice.MustUpload(t, "image/png", "", []byte("third face")))
		b.mustHave(t, 2)
		alice.MustSee(t, two, second)
		bob.MustNotSee(t, two)
		for _, event := range alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "messages")+"?dir=b&limit=50", nil).Get("chunk").Array() {
			if event.Get("type").String() == "m.room.member" && event.Get("content.avatar_url").String() == two {
				alice.MustDo(t, http.MethodPut, redact(room, event.Get("event_id").String(), "r1"), map[string]any{})
			}
		}
		b.mustHave(t, 1)
	})
}

func TestRoomAvatarIsForTheInvited(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		owner, invited, other := d.User(t, "owner"), d.User(t, "invited"), d.User(t, "other")
		file := []byte("the picture of the room")
		uri := owner.MustUpload(t, "image/png", "", file)
		room := owner.MustCreateRoom(t, map[string]any{"preset": "private_chat"})
		owner.MustSetState(t, room, "m.room.avatar", "", map[string]any{"url": uri})
		invited.MustNotSee(t, uri)
		owner.MustInvite(t, room, invited)
		invited.MustSee(t, uri, file)
		other.MustNotSee(t, uri)
		b.mustHave(t, 1)
	})
}
