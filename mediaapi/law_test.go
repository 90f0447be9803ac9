package mediaapi_test

import (
	"fmt"
	"net/http"
	"testing"

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
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
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
