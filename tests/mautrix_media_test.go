//go:build goolm

package tests

import (
	"bytes"
	"errors"
	"image"
	_ "image/jpeg"
	"image/png"
	"net/http"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto/attachment"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/roomline/roomline/internal/hstest"
)

// meet makes a room of alice's with bob in it.
func meet(t *testing.T, alice, bob *cryptoUser, encrypted bool) id.RoomID {
	t.Helper()
	req := &mautrix.ReqCreateRoom{Preset: "private_chat", Invite: []id.UserID{bob.UserID}}
	if key := ""; encrypted {
		req.InitialState = []*event.Event{{Type: event.StateEncryption, StateKey: &key, Content: event.Content{
			Parsed: &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1},
		}}}
	}
	created, err := alice.CreateRoom(t.Context(), req)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if _, err := bob.JoinRoomByID(t.Context(), created.RoomID); err != nil {
		t.Fatalf("join: %v", err)
	}
	return created.RoomID
}

// gone makes sure that media is there for nobody.
func gone(t *testing.T, uri id.ContentURI, users ...*cryptoUser) {
	t.Helper()
	for _, u := range users {
		if _, err := u.DownloadBytes(t.Context(), uri); !errors.Is(err, mautrix.MNotFound) {
			t.Errorf("%s downloads what was deleted: %v", u.UserID, err)
		}
	}
}

// TestMautrixClientsShareFiles lets two users on two processes share files, in the open and encrypted, and delete them.
func TestMautrixClientsShareFiles(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2, Configure: sharedMedia(t)})
	alice, bob := newCryptoUser(t, dep, 0, dep.User(t, "alice")), newCryptoUser(t, dep, 1, dep.User(t, "bob"))
	t.Run("in the open", func(t *testing.T) { mautrixPicture(t, alice, bob) })
	t.Run("encrypted", func(t *testing.T) { mautrixEncryptedFile(t, alice, bob) })
}

func mautrixPicture(t *testing.T, alice, bob *cryptoUser) {
	ctx, room := t.Context(), meet(t, alice, bob, false)
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, 200, 100))); err != nil {
		t.Fatal(err)
	}
	uploaded, err := bob.UploadBytesWithName(ctx, file.Bytes(), "image/png", "grey.png")
	if err != nil {
		t.Fatalf("upload: %v", err)
	}
	gone(t, uploaded.ContentURI, alice) // it is not hers yet
	sent, err := bob.SendMessageEvent(ctx, room, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgImage, Body: "grey.png", URL: uploaded.ContentURI.CUString(),
	})
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	got, err := alice.DownloadBytes(ctx, uploaded.ContentURI)
	if err != nil || !bytes.Equal(got, file.Bytes()) {
		t.Errorf("download: %v, %d bytes", err, len(got))
	}
	small, err := alice.DownloadThumbnail(ctx, uploaded.ContentURI, 32, 32)
	if err != nil {
		t.Fatalf("thumbnail: %v", err)
	}
	defer small.Body.Close()
	if c, _, err := image.DecodeConfig(small.Body); err != nil || small.StatusCode != http.StatusOK || c.Width == 0 {
		t.Errorf("thumbnail: %d, %v", small.StatusCode, err)
	}
	if _, err := bob.RedactEvent(ctx, room, sent.EventID); err != nil {
		t.Fatalf("redact: %v", err)
	}
	gone(t, uploaded.ContentURI, alice, bob)
}

func mautrixEncryptedFile(t *testing.T, alice, bob *cryptoUser) {
	ctx, room := t.Context(), meet(t, alice, bob, true)
	clear := bytes.Repeat([]byte("nobody else's business\n"), 10_000)
	file := attachment.NewEncryptedFile()
	sealed := bytes.Clone(clear)
	file.EncryptInPlace(sealed)
	uri, err := bob.UploadAsync(ctx, mautrix.ReqUploadMedia{ContentBytes: sealed, ContentType: "application/octet-stream"})
	if err != nil {
		t.Fatalf("upload: %v", err)
	}
	// The upload goes on by itself; downloads wait for it.
	content := &event.MessageEventContent{
		MsgType: event.MsgFile, Body: "secret.txt", File: &event.EncryptedFileInfo{EncryptedFile: *file, URL: uri.ContentURI.CUString()},
	}
	if _, err := bob.DownloadBytes(ctx, uri.ContentURI); err != nil {
		t.Fatalf("download: %v", err)
	}
	if err := bob.machine.ShareGroupSession(ctx, room, []id.UserID{alice.UserID, bob.UserID}); err != nil {
		t.Fatalf("share the room key: %v", err)
	}
	encrypted, err := bob.machine.EncryptMegolmEvent(ctx, room, event.EventMessage, content)
	if err != nil {
		t.Fatalf("encrypt: %v", err)
	}
	sent, err := bob.SendMessageEvent(ctx, room, event.EventEncrypted, encrypted)
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	var got *event.Event
	hstest.Eventually(t, "alice reading the message", func() bool {
		e, err := alice.GetEvent(ctx, room, sent.EventID)
		if err != nil {
			return false
		}
		if err := e.Content.ParseRaw(e.Type); err != nil {
			return false
		}
		got, err = alice.machine.DecryptMegolmEvent(ctx, e)
		return err == nil
	})
	info := got.Content.AsMessage().File
	secret, err := alice.DownloadBytes(ctx, info.URL.ParseOrIgnore())
	if err == nil {
		err = info.DecryptInPlace(secret)
	}
	if err != nil || !bytes.Equal(secret, clear) {
		t.Errorf("the file: %v, %d bytes", err, len(secret))
	}
	// The server sees by its time that the event names the file, and lets its sender delete it.
	hstest.Eventually(t, "bob deleting it", func() bool {
		_, err := bob.RedactEvent(ctx, room, sent.EventID)
		return err == nil
	})
	hstest.Eventually(t, "the file being gone", func() bool {
		_, err := alice.DownloadBytes(ctx, uri.ContentURI)
		return errors.Is(err, mautrix.MNotFound)
	})
	gone(t, uri.ContentURI, alice, bob)
}
