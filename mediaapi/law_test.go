package mediaapi_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"strings"
	"testing"
	"time"

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
	owner, member, room := together(t, d)
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
		{"voice", voiceMessage(member.MustUpload(t, "audio/ogg", "", []byte("5"))), "m.room.message", false},
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
