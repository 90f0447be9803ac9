package mediaapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

// mustBePresumed waits until an encrypted event is presumed to name the media.
func mustBePresumed(t testing.TB, d *hstest.Deployment, uri string) {
	t.Helper()
	id := uri[strings.LastIndex(uri, "/")+1:]
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if number(t, d, "SELECT count(*) FROM media_links WHERE presumed AND media_id = $1", id) > 0 {
			return
		}
	}
	t.Fatalf("no event is presumed to name %s", uri)
}

func TestEncryptedMediaIsPresumed(t *testing.T) {
	t.Parallel()
	secret := map[string]any{"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "s"}
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		owner, member, room := together(t, d)
		file := []byte("ciphertext")
		tablet := member.NewSession(t)
		uri := member.MustUpload(t, "application/octet-stream", "", file)
		apart := tablet.MustUpload(t, "application/octet-stream", "", []byte("of another device"))
		plain := member.MustUpload(t, "text/plain", "", []byte("no encrypted file"))
		event := member.MustSend(t, room, "m.room.encrypted", secret)
		mustBePresumed(t, d, uri)
		owner.MustSee(t, uri, file)
		// What was not sent goes, and it alone.
		change(t, d, "UPDATE media SET expires_ts = 1 WHERE expires_ts IS NOT NULL")
		tidy(t, d)
		b.mustHave(t, 1)
		member.MustNotSee(t, apart)
		member.MustNotSee(t, plain)
		owner.MustSee(t, uri, file)

		text := tablet.MustSend(t, room, "m.room.encrypted", secret)
		refused(t, tablet, http.MethodPut, redact(room, text, "r1"))
		member.MustDo(t, http.MethodPut, redact(room, event, "r2"), map[string]any{})
		b.mustHave(t, 0)
		owner.MustNotSee(t, uri)
	})
}

const (
	restrictedUpload = "/_matrix/client/v1/media/upload"
	copyEndpoint     = "/_matrix/client/v1/media/copy"
)

func attach(path string, uris ...string) string {
	return path + "?" + url.Values{"attach_media": uris}.Encode()
}

func TestRestrictedMediaIsAttached(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		owner, member, room := together(t, d)
		file := []byte("for one event")
		uri := member.MustUploadAt(t, restrictedUpload, "application/octet-stream", file)
		member.MustSee(t, uri, file)
		owner.MustNotSee(t, uri)
		open := member.MustUpload(t, "text/plain", "", []byte("not to be attached"))
		send := func(txn string) string { return hstest.Path("rooms", room, "send", "m.room.encrypted", txn) }
		content := map[string]any{"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"}
		for i, wrong := range []string{"nonsense", "mxc://hs.test/unknown", "mxc://elsewhere.test/abc", open} {
			member.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodPut, attach(send(fmt.Sprint("w", i)), wrong), content)
		}
		owner.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodPut, attach(send("w"), uri), content)

		event := member.MustDo(t, http.MethodPut, attach(send("t1"), uri), content).Get("event_id").String()
		owner.MustSee(t, uri, file)
		if again := member.MustDo(t, http.MethodPut, attach(send("t1"), uri), content).Get("event_id").String(); again != event {
			t.Errorf("the same transaction made %s and %s", event, again)
		}
		member.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodPut, attach(send("t2"), uri), content)

		copied := owner.MustDo(t, http.MethodPost, hstest.MediaPath(copyEndpoint, uri), nil).Get("content_uri").String()
		owner.MustSee(t, copied, file)
		member.MustNotSee(t, copied)
		avatar := hstest.Path("rooms", room, "state", "m.room.avatar", "")
		owner.MustDo(t, http.MethodPut, attach(avatar, copied), map[string]any{"url": copied})
		member.MustSee(t, copied, file)
		b.mustHave(t, 2)

		member.MustDo(t, http.MethodPut, redact(room, event, "r1"), map[string]any{})
		owner.MustNotSee(t, uri)
		owner.MustSee(t, copied, file)
		b.mustHave(t, 2)
	})
}
