package mediaapi_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

func TestMain(m *testing.M) { hstest.Main(m) }

func message(msgtype, uri string) map[string]any {
	return map[string]any{"msgtype": msgtype, "body": "a file", "url": uri}
}

func redact(room, event, txn string) string {
	return hstest.Path("rooms", room, "redact", event, txn)
}

func TestFileGoesWithItsMessage(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, bucket := start(t, s, nil)
			alice, bob, carol := d.User(t, "alice"), d.User(t, "bob"), d.User(t, "carol")
			room := alice.MustCreateRoom(t, map[string]any{"preset": "private_chat"})
			alice.MustInvite(t, room, bob)
			bob.MustJoin(t, room)

			file := []byte("the figures of the third quarter")
			uri := bob.MustUpload(t, "text/plain", "filename=figures.txt", file)
			bob.MustSee(t, uri, file)
			alice.MustNotSee(t, uri)
			event := bob.MustSend(t, room, "m.room.message", message("m.file", uri))
			alice.MustSee(t, uri, file)
			carol.MustNotSee(t, uri)
			bucket.mustHave(t, 1)

			bob.MustDo(t, http.MethodPut, redact(room, event, "r1"), map[string]any{"reason": "wrong room"})
			bucket.mustHave(t, 0)
			alice.MustNotSee(t, uri)
			bob.MustNotSee(t, uri)
		})
	}
}

func TestWhoMayDeleteWhat(t *testing.T) {
	t.Parallel()
	d, _ := start(t, folder, nil)
	owner, member := d.User(t, "owner"), d.User(t, "member")
	room := owner.MustCreateRoom(t, map[string]any{"preset": "private_chat"})
	owner.MustInvite(t, room, member)
	member.MustJoin(t, room)
	voice := func(uri string) map[string]any {
		m := message("m.audio", uri)
		m["org.matrix.msc3245.voice"] = map[string]any{}
		return m
	}
	for i, tc := range []struct {
		what    string
		content map[string]any
		type_   string
		sender  bool // may the sender delete it
	}{
		{"file", message("m.file", member.MustUpload(t, "text/plain", "", []byte("1"))), "m.room.message", true},
		{"image", message("m.image", member.MustUpload(t, "image/png", "", []byte("2"))), "m.room.message", true},
		{"video", message("m.video", member.MustUpload(t, "video/mp4", "", []byte("3"))), "m.room.message", true},
		{"audio", message("m.audio", member.MustUpload(t, "audio/ogg", "", []byte("4"))), "m.room.message", true},
		{"voice", voice(member.MustUpload(t, "audio/ogg", "", []byte("5"))), "m.room.message", false},
		{"text", map[string]any{"msgtype": "m.text", "body": "hello"}, "m.room.message", false},
		{"sticker", message("m.sticker", member.MustUpload(t, "image/png", "", []byte("6"))), "m.sticker", true},
		{"encrypted", map[string]any{"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"}, "m.room.encrypted", false},
	} {
		event := member.MustSend(t, room, tc.type_, tc.content)
		path := redact(room, event, fmt.Sprint("m", i))
		if tc.sender {
			member.MustDo(t, http.MethodPut, path, map[string]any{})
		} else {
			member.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPut, path, map[string]any{})
		}
		again := member.MustSend(t, room, tc.type_, tc.content)
		owner.MustDo(t, http.MethodPut, redact(room, again, fmt.Sprint("o", i)), map[string]any{})
	}
}

// voiceMessage is what clients send of a recording.
func voiceMessage(uri string) map[string]any {
	m := message("m.audio", uri)
	m["org.matrix.msc3245.voice"] = map[string]any{}
	return m
}

func deletePath(uri string) string {
	return hstest.MediaPath("/_matrix/client/unstable/org.roomline.media", uri)
}

func thumbnailPath(uri, query string) string {
	return hstest.MediaPath("/_matrix/client/v1/media/thumbnail", uri) + "?" + query
}

// picture is a PNG with all colours.
func picture(t testing.TB, width, height int) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			m.Set(x, y, color.RGBA{uint8(x), uint8(y), uint8(x * y), 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// together makes a room with its owner and a member.
func together(t testing.TB, d *hstest.Deployment) (owner, member *hstest.User, room string) {
	t.Helper()
	owner, member = d.User(t, "owner"), d.User(t, "member")
	room = owner.MustCreateRoom(t, map[string]any{"preset": "private_chat"})
	owner.MustInvite(t, room, member)
	member.MustJoin(t, room)
	return owner, member, room
}

// refused makes sure that a deletion is refused, with a reason for people.
func refused(t testing.TB, u *hstest.User, method, path string) {
	t.Helper()
	answer := u.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", method, path, nil)
	if text := answer.Get("error").String(); !strings.Contains(text, "room's owner") {
		t.Errorf("%s %s is refused without the reason: %s", method, path, text)
	}
}

func TestSenderDeletesAFileAtAnyTime(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		owner, member, room := together(t, d)
		var events, uris []string
		for i, msgtype := range []string{"m.file", "m.image", "m.video", "m.audio"} {
			uris = append(uris, member.MustUpload(t, "text/plain", "", fmt.Append(nil, "file ", i)))
			events = append(events, member.MustSend(t, room, "m.room.message", message(msgtype, uris[i])))
		}
		uris = append(uris, member.MustUpload(t, "image/png", "", []byte("a sticker")))
		events = append(events, member.MustSend(t, room, "m.sticker", message("", uris[4])))
		b.mustHave(t, len(uris))
		for i := range 60 {
			owner.MustSendText(t, room, fmt.Sprint("meanwhile ", i))
		}
		// Days later: nothing of it is in any memory.
		change(t, d, "UPDATE media SET created_ts = created_ts - 864000000")
		d.Stop(t, 0)
		d.Restart(t, 0)
		for i, event := range events {
			member.MustDo(t, http.MethodPut, redact(room, event, fmt.Sprint("r", i)), map[string]any{})
			b.mustHave(t, len(uris)-1-i)
			owner.MustNotSee(t, uris[i])
		}
	})
}

func TestSenderDeletesAFileAfterLeaving(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		_, member, room := together(t, d)
		file := member.MustUpload(t, "text/plain", "", []byte("mine"))
		voice := member.MustUpload(t, "audio/ogg", "", []byte("said"))
		member.MustSend(t, room, "m.room.message", message("m.file", file))
		member.MustSend(t, room, "m.room.message", voiceMessage(voice))
		member.MustLeave(t, room)
		refused(t, member, http.MethodDelete, deletePath(voice))
		member.MustDo(t, http.MethodDelete, deletePath(file), nil)
		b.mustHave(t, 1)
	})
}

func TestTextAndVoiceAreTheOwners(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		owner, member, room := together(t, d)
		text := member.MustSendText(t, room, "I said it")
		recording := []byte("I spoke it")
		uri := member.MustUpload(t, "audio/ogg", "", recording)
		voice := member.MustSend(t, room, "m.room.message", voiceMessage(uri))
		refused(t, member, http.MethodPut, redact(room, text, "r1"))
		refused(t, member, http.MethodPut, redact(room, voice, "r2"))
		refused(t, member, http.MethodDelete, deletePath(uri))
		// Nor by a detour: sent once more as a file, in a room of the member's own.
		own := member.MustCreateRoom(t, nil)
		again := member.MustSend(t, own, "m.room.message", message("m.file", uri))
		refused(t, member, http.MethodDelete, deletePath(uri))
		member.MustDo(t, http.MethodPut, redact(own, again, "r3"), map[string]any{})
		owner.MustSee(t, uri, recording)
		b.mustHave(t, 1)

		owner.MustDo(t, http.MethodPut, redact(room, text, "o1"), map[string]any{})
		owner.MustDo(t, http.MethodPut, redact(room, voice, "o2"), map[string]any{})
		b.mustHave(t, 0)

		// The owner's own go, too.
		uri = owner.MustUpload(t, "audio/ogg", "", recording)
		owner.MustSend(t, room, "m.room.message", voiceMessage(uri))
		owner.MustDo(t, http.MethodDelete, deletePath(uri), nil)
		b.mustHave(t, 0)
	})
}

func TestDeleteOfOthersMediaIsRefused(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		owner, member, room := together(t, d)
		uri := member.MustUpload(t, "text/plain", "", []byte("the member's"))
		owner.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodDelete, deletePath(uri), nil)
		member.MustSend(t, room, "m.room.message", message("m.file", uri))
		owner.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodDelete, deletePath(uri), nil)
		member.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodDelete, deletePath("mxc://hs.test/nothing"), nil)
		b.mustHave(t, 1)
		member.MustDo(t, http.MethodDelete, deletePath(uri), nil)
		b.mustHave(t, 0)
		member.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodDelete, deletePath(uri), nil)
	})
}

func TestRoomsOwnerDecidesOtherwise(t *testing.T) {
	t.Parallel()
	const policy = "org.roomline.deletion_policy"
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		owner, member, _ := together(t, d)
		// Everybody may change state here, but this is for who may redact.
		room := owner.MustCreateRoom(t, map[string]any{
			"preset": "private_chat", "invite": []string{member.ID}, "power_level_content_override": map[string]any{"state_default": 0},
		})
		member.MustJoin(t, room)
		decision := map[string]any{"text": "sender", "voice": "sender", "file": "owner"}
		member.MustSetState(t, room, "m.room.topic", "", map[string]any{"topic": "everybody may"})
		member.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPut, hstest.Path("rooms", room, "state", policy, ""), decision)
		owner.MustFail(t, http.StatusBadRequest, "M_BAD_JSON", http.MethodPut, hstest.Path("rooms", room, "state", policy, ""),
			map[string]any{"text": "everybody"})
		owner.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodPut, hstest.Path("rooms", room, "state", policy, "x"), decision)

		text := member.MustSendText(t, room, "I said it")
		spoken := member.MustUpload(t, "audio/ogg", "", []byte("spoken"))
		voice := member.MustSend(t, room, "m.room.message", voiceMessage(spoken))
		written := member.MustUpload(t, "text/plain", "", []byte("written"))
		file := member.MustSend(t, room, "m.room.message", message("m.file", written))
		refused(t, member, http.MethodPut, redact(room, text, "r1"))
		refused(t, member, http.MethodPut, redact(room, voice, "r2"))
		b.mustHave(t, 2)

		owner.MustSetState(t, room, policy, "", decision)
		member.MustDo(t, http.MethodPut, redact(room, text, "r1"), map[string]any{})
		member.MustDo(t, http.MethodPut, redact(room, voice, "r2"), map[string]any{})
		b.mustHave(t, 1)
		refused(t, member, http.MethodPut, redact(room, file, "r3"))
		refused(t, member, http.MethodDelete, deletePath(written))
		owner.MustSetState(t, room, policy, "", map[string]any{})
		member.MustDo(t, http.MethodPut, redact(room, file, "r3"), map[string]any{})
		b.mustHave(t, 0)
	})
}

func TestSecondEventKeepsMedia(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		owner, member, room := together(t, d)
		other := owner.MustCreateRoom(t, nil)
		file := []byte("shared twice")
		uri := member.MustUpload(t, "text/plain", "", file)
		first := member.MustSend(t, room, "m.room.message", message("m.file", uri))
		second := owner.MustSend(t, other, "m.room.message", message("m.file", uri))
		member.MustDo(t, http.MethodPut, redact(room, first, "r1"), map[string]any{})
		owner.MustSee(t, uri, file)
		// Long enough for the sweeper to have done what it should not.
		time.Sleep(3 * time.Second)
		owner.MustSee(t, uri, file)
		b.mustHave(t, 1)
		owner.MustDo(t, http.MethodPut, redact(other, second, "r2"), map[string]any{})
		b.mustHave(t, 0)
	})
}

func TestThumbnailsGoWithTheirPicture(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		owner, member, room := together(t, d)
		uri := member.MustUpload(t, "image/png", "", picture(t, 700, 500))
		event := member.MustSend(t, room, "m.room.message", message("m.image", uri))
		for _, size := range []string{"width=32&height=32&method=crop", "width=320&height=240"} {
			if resp, err := owner.Do(t.Context(), http.MethodGet, thumbnailPath(uri, size), nil); err != nil || resp.Status != http.StatusOK {
				t.Fatalf("thumbnail: %v %d", err, resp.Status)
			}
		}
		b.mustHave(t, 3)
		member.MustDo(t, http.MethodPut, redact(room, event, "r1"), map[string]any{})
		owner.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, thumbnailPath(uri, "width=32&height=32&method=crop&timeout_ms=0"), nil)
		b.mustHave(t, 0)
		hstest.Eventually(t, "the database has forgotten the objects, too", func() bool { return number(t, d, "SELECT count(*) FROM media_objects") == 0 })
	})
}

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

// deletions are the receipts that an administrator reads, as soon as there are n of them.
func deletions(t testing.TB, admin *hstest.User, n int) []gjson.Result {
	t.Helper()
	var list []gjson.Result
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		list = admin.MustDo(t, http.MethodGet, "/_roomline/admin/v1/media/deletions", nil).Get("deletions").Array()
		pending := slices.ContainsFunc(list, func(r gjson.Result) bool { return r.Get("pending").Bool() })
		if len(list) >= n && !pending {
			break
		}
	}
	if len(list) != n {
		t.Fatalf("%d receipts, want %d: %v", len(list), n, list)
	}
	return list
}

// verify checks a receipt's signature against the keys that the server publishes.
func verify(t testing.TB, d *hstest.Deployment, receipt gjson.Result) {
	t.Helper()
	resp, err := d.Do(t.Context(), 0, "", http.MethodGet, "/_matrix/key/v2/server", nil)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	resp.JSON().Get("verify_keys").ForEach(func(id, key gjson.Result) bool {
		public, err := base64.RawStdEncoding.DecodeString(key.Get("key").String())
		if err == nil {
			err = gomatrixserverlib.VerifyJSON(d.ServerName, gomatrixserverlib.KeyID(id.String()), ed25519.PublicKey(public), []byte(receipt.Raw))
		}
		if err != nil {
			t.Errorf("receipt %s: %v", receipt, err)
		}
		checked++
		return true
	})
	if checked == 0 {
		t.Fatal("the server publishes no key")
	}
}

func TestEachDeletionLeavesAReceipt(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		owner, member, room := together(t, d)
		root := administrator(t, d, "root")
		before := time.Now().UnixMilli()
		var uris, events []string
		for i := range 3 {
			uris = append(uris, member.MustUpload(t, "text/plain", "", fmt.Append(nil, "file ", i)))
			events = append(events, member.MustSend(t, room, "m.room.message", message("m.file", uris[i])))
		}
		keys := b.keys(t)
		member.MustDo(t, http.MethodPut, redact(room, events[0], "r1"), map[string]any{})
		owner.MustDo(t, http.MethodPut, redact(room, events[1], "r2"), map[string]any{})
		member.MustDo(t, http.MethodDelete, deletePath(uris[2]), nil)
		list := deletions(t, root, 3)
		b.mustHave(t, 0)
		for i, want := range []struct {
			rule, by, event string
		}{{"redaction.sender", member.ID, events[0]}, {"redaction.owner", owner.ID, events[1]}, {"uploader", member.ID, ""}} {
			at := slices.IndexFunc(list, func(r gjson.Result) bool { return r.Get("content_uri").String() == uris[i] })
			if at < 0 {
				t.Fatalf("no receipt of %s: %v", uris[i], list)
			}
			r := list[at]
			verify(t, d, r)
			if r.Get("rule").String() != want.rule || r.Get("deleted_by").String() != want.by || r.Get("event_id").String() != want.event ||
				r.Get("user_id").String() != member.ID || r.Get("size").Int() != 6 {
				t.Errorf("receipt %s, want %v", r, want)
			}
			deleted, removed := r.Get("deleted_ts").Int(), r.Get("removed_ts").Int()
			if deleted < before || removed < deleted || removed > time.Now().UnixMilli() {
				t.Errorf("receipt %s: its times are not those of the deletion", r)
			}
			objects := r.Get("objects").Array()
			if len(objects) != 1 {
				t.Fatalf("receipt %s: want one object", r)
			}
			name := objects[0].String()[strings.LastIndex(objects[0].String(), "/")+1:]
			if !slices.ContainsFunc(keys, func(k string) bool { return strings.HasSuffix(k, name) }) {
				t.Errorf("receipt %s names an object that was not in the store: %v", r, keys)
			}
		}
		owner.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodGet, "/_roomline/admin/v1/media/deletions", nil)
	})
}

func TestSameContentIsKeptOnce(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		owner, member, room := together(t, d)
		root, stranger := administrator(t, d, "root"), foreigner(t, d, "stranger")
		file := []byte("everybody has this file")
		first, second := owner.MustUpload(t, "text/plain", "", file), member.MustUpload(t, "text/html", "", file)
		b.mustHave(t, 1)
		stranger.MustUpload(t, "text/plain", "", file)
		b.mustHave(t, 2)
		one := owner.MustSend(t, room, "m.room.message", message("m.file", first))
		two := member.MustSend(t, room, "m.room.message", message("m.file", second))
		owner.MustDo(t, http.MethodPut, redact(room, one, "r1"), map[string]any{})
		if objects := deletions(t, root, 1)[0].Get("objects"); !objects.IsArray() || len(objects.Array()) != 0 {
			t.Errorf("receipt of content that stays names objects: %s", objects)
		}
		b.mustHave(t, 2)
		owner.MustNotSee(t, first)
		owner.MustSee(t, second, file)
		member.MustDo(t, http.MethodPut, redact(room, two, "r2"), map[string]any{})
		if objects := deletions(t, root, 2)[0].Get("objects").Array(); len(objects) != 1 {
			t.Errorf("receipt of the last one: objects %v", objects)
		}
		b.mustHave(t, 1)
	})
}

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

func TestDeletedMediaIsGoneOnEveryProcess(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, b := startProcesses(t, 2, s, nil)
			_, member, room := together(t, d)
			file := []byte("on two processes")
			for i := range 20 {
				uri := member.MustUpload(t, "text/plain", "", file)
				event := member.MustSend(t, room, "m.room.message", message("m.file", uri))
				member.On(1).MustSee(t, uri, file)
				if i%2 == 0 {
					member.MustDo(t, http.MethodPut, redact(room, event, fmt.Sprint("r", i)), map[string]any{})
				} else {
					member.MustDo(t, http.MethodDelete, deletePath(uri), nil)
				}
				member.On(1).MustNotSee(t, uri)
				member.MustNotSee(t, uri)
			}
			b.mustHave(t, 0)
		})
	}
}

// TestNobodyBringsDeletedMediaBack races those who know a URI against the sweeper.
func TestNobodyBringsDeletedMediaBack(t *testing.T) {
	t.Parallel()
	secret := map[string]any{"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "s"}
	onStores(t, func(t *testing.T, d *hstest.Deployment, b bucket) {
		owner, member, room := together(t, d)
		other := d.User(t, "other")
		elsewhere := other.MustCreateRoom(t, nil)
		for i := range 10 {
			uri := member.MustUpload(t, "text/plain", "", fmt.Append(nil, "file ", i))
			event := member.MustSend(t, room, "m.room.message", message("m.file", uri))
			owner.MustDo(t, http.MethodPut, redact(room, event, fmt.Sprint("r", i)), map[string]any{})
			other.MustSend(t, elsewhere, "m.room.message", message("m.file", uri))
			member.MustSend(t, room, "m.room.message", message("m.file", uri))
			setAvatar(t, other, uri)
			other.MustNotSee(t, uri)
			member.MustNotSee(t, uri)
		}
		b.mustHave(t, 0)
		for i := range 4 {
			phone := member.NewSession(t)
			uri := phone.MustUpload(t, "application/octet-stream", "", fmt.Append(nil, "ciphertext ", i))
			event := phone.MustSend(t, room, "m.room.encrypted", secret)
			mustBePresumed(t, d, uri)
			phone.MustDo(t, http.MethodPut, redact(room, event, fmt.Sprint("e", i)), map[string]any{})
			phone.MustSend(t, room, "m.room.encrypted", secret)
			phone.MustNotSee(t, uri)
		}
		b.mustHave(t, 0)
	})
}
