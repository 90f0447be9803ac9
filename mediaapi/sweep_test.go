package mediaapi_test

import (
	"net/http"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

func TestUnusedMediaExpires(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		u := d.User(t, "alice")
		room := u.MustCreateRoom(t, nil)
		unused, used := u.MustUpload(t, "text/plain", "", []byte("never sent")), u.MustUpload(t, "text/plain", "", []byte("sent"))
		u.MustSend(t, room, "m.room.message", message("m.file", used))
		tidy(t, d)
		b.mustHave(t, 2)
		change(t, d, "UPDATE media SET expires_ts = 1 WHERE expires_ts IS NOT NULL")
		tidy(t, d)
		b.mustHave(t, 1)
		u.MustNotSee(t, unused)
		u.MustSee(t, used, []byte("sent"))
	})
}

func TestMediaOfAccountDataIsKept(t *testing.T) {
	t.Parallel()
	d, bucket := start(t, folder, nil)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	file := []byte("a sticker of my own")
	kept, unused := alice.MustUpload(t, "image/png", "", file), alice.MustUpload(t, "image/png", "", []byte("nothing"))
	bob.MustDo(t, http.MethodPut, hstest.Path("user", bob.ID, "account_data", "test.stickers"), map[string]any{"url": unused})
	alice.MustDo(t, http.MethodPut, hstest.Path("user", alice.ID, "account_data", "test.stickers"), map[string]any{"url": kept})
	change(t, d, "UPDATE media SET expires_ts = 1 WHERE expires_ts < 250000000000000")
	tidy(t, d)
	bucket.mustHave(t, 1)
	alice.MustSee(t, kept, file)
	bob.MustNotSee(t, kept)
	alice.MustNotSee(t, unused)
}
