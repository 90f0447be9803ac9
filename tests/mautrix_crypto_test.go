//go:build goolm

// Without this tag, which make test sets, mautrix would want the C library of Olm.

package tests

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/roomline/roomline/internal/hstest"
)

// cryptoUser is a device of mautrix that encrypts.
type cryptoUser struct {
	*mautrix.Client
	machine *crypto.OlmMachine

	mu       sync.Mutex
	invited  map[id.RoomID]bool
	texts    map[id.EventID]string
	failures []error
}

// newCryptoUser signs a user in on a new device, publishes its keys and starts to sync.
func newCryptoUser(t *testing.T, dep *hstest.Deployment, process int, account *hstest.User) *cryptoUser {
	t.Helper()
	session := account.NewSession(t)
	client, err := mautrix.NewClient(dep.BaseURL(process), id.UserID(session.ID), session.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	who, err := client.Whoami(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client.DeviceID = who.DeviceID
	states := mautrix.NewMemoryStateStore()
	client.StateStore = states
	u := &cryptoUser{Client: client, invited: map[id.RoomID]bool{}, texts: map[id.EventID]string{}}
	u.machine = crypto.NewOlmMachine(client, nil, crypto.NewMemoryStore(nil), states.(crypto.StateStore))
	if err := u.machine.Load(t.Context()); err != nil {
		t.Fatalf("make an Olm account: %v", err)
	}
	if err := u.machine.ShareKeys(t.Context(), -1); err != nil {
		t.Fatalf("publish keys: %v", err)
	}
	syncer := client.Syncer.(*mautrix.DefaultSyncer)
	syncer.OnSync(u.machine.ProcessSyncResponse)
	syncer.OnEvent(client.StateStoreSyncHandler)
	syncer.OnEventType(event.StateMember, u.machine.HandleMemberEvent)
	syncer.OnEventType(event.StateMember, u.takeInvite)
	syncing, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	syncer.OnEventType(event.EventEncrypted, func(_ context.Context, e *event.Event) {
		// A room key may come after the message; sync must not wait for it here.
		running.Go(func() { u.decrypt(syncing, e) })
	})
	running.Go(func() {
		if err := client.SyncWithContext(syncing); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("sync of %s: %v", session.ID, err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
		u.machine.Destroy()
	})
	return u
}

func (u *cryptoUser) takeInvite(_ context.Context, e *event.Event) {
	if e.GetStateKey() == string(u.UserID) && e.Content.AsMember().Membership == event.MembershipInvite {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.invited[e.RoomID] = true
	}
}

func (u *cryptoUser) decrypt(ctx context.Context, e *event.Event) {
	content := e.Content.AsEncrypted()
	decrypted, err := u.machine.DecryptMegolmEvent(ctx, e)
	if errors.Is(err, crypto.ErrNoSessionFound) && u.machine.WaitForSession(ctx, e.RoomID, content.SenderKey, content.SessionID, patience) {
		decrypted, err = u.machine.DecryptMegolmEvent(ctx, e)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		u.failures = append(u.failures, fmt.Errorf("%s: %w", e.ID, err))
		return
	}
	u.texts[e.ID] = decrypted.Content.AsMessage().Body
}

// sendEncrypted sends a message, with the room key before it if one of the others lacks it.
func (u *cryptoUser) sendEncrypted(ctx context.Context, room id.RoomID, text string, members ...id.UserID) (id.EventID, error) {
	content := &event.MessageEventContent{MsgType: event.MsgText, Body: text}
	encrypted, err := u.machine.EncryptMegolmEvent(ctx, room, event.EventMessage, content)
	if crypto.IsShareError(err) {
		if err := u.machine.ShareGroupSession(ctx, room, members); err != nil {
			return "", fmt.Errorf("share the room key: %w", err)
		}
		encrypted, err = u.machine.EncryptMegolmEvent(ctx, room, event.EventMessage, content)
	}
	if err != nil {
		return "", fmt.Errorf("encrypt: %w", err)
	}
	sent, err := u.SendMessageEvent(ctx, room, event.EventEncrypted, encrypted)
	if err != nil {
		return "", err
	}
	return sent.EventID, nil
}

// TestMautrixClientsEncrypt lets two users with three devices write 200 encrypted messages through two processes, with a new
// room key every 20.
func TestMautrixClientsEncrypt(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	aliceAccount, bobAccount := dep.User(t, "alice"), dep.User(t, "bob")
	alice, phone := newCryptoUser(t, dep, 0, aliceAccount), newCryptoUser(t, dep, 1, aliceAccount)
	bob := newCryptoUser(t, dep, 1, bobAccount)
	key := ""
	created, err := alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{
		Preset: "private_chat", Invite: []id.UserID{bob.UserID},
		InitialState: []*event.Event{{Type: event.StateEncryption, StateKey: &key, Content: event.Content{
			Parsed: &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1},
		}}},
	})
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	room := created.RoomID
	hstest.Eventually(t, "bob's invite", func() bool {
		bob.mu.Lock()
		defer bob.mu.Unlock()
		return bob.invited[room]
	})
	if _, err := bob.JoinRoomByID(ctx, room); err != nil {
		t.Fatalf("join: %v", err)
	}
	for _, u := range []*cryptoUser{alice, phone, bob} {
		hstest.Eventually(t, fmt.Sprintf("%s of %s seeing who is in the encrypted room", u.DeviceID, u.UserID), func() bool {
			encrypted, err := u.StateStore.IsEncrypted(ctx, room)
			return err == nil && encrypted && u.StateStore.IsInRoom(ctx, room, bob.UserID) && u.StateStore.IsInRoom(ctx, room, alice.UserID)
		})
	}
	const each = 100
	sent := make(map[id.EventID]string)
	var mu sync.Mutex
	var writers sync.WaitGroup
	for _, u := range []*cryptoUser{alice, bob} {
		writers.Go(func() {
			for n := range each {
				text := fmt.Sprintf("%s says %d", u.UserID, n)
				if n%20 == 0 {
					if err := u.machine.CryptoStore.RemoveOutboundGroupSession(ctx, room); err != nil {
						t.Errorf("drop the room key: %v", err)
					}
				}
				eventID, err := u.sendEncrypted(ctx, room, text, alice.UserID, bob.UserID)
				if err != nil {
					t.Errorf("send: %v", err)
					return
				}
				mu.Lock()
				sent[eventID] = text
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	for _, u := range []*cryptoUser{alice, phone, bob} {
		// A timeline may have a gap; what is in it is read as a person who scrolls would.
		u.readAll(t, room)
		var have int
		deadline := time.Now().Add(patience)
		for have < len(sent) && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
			u.mu.Lock()
			have = len(u.texts)
			u.mu.Unlock()
		}
		u.mu.Lock()
		for eventID, text := range sent {
			if u.texts[eventID] != text {
				t.Errorf("%s of %s reads %q of %s, which is %q", u.DeviceID, u.UserID, u.texts[eventID], eventID, text)
			}
		}
		for _, err := range u.failures {
			t.Errorf("%s of %s can't read %v", u.DeviceID, u.UserID, err)
		}
		u.mu.Unlock()
	}
	if len(sent) != 2*each {
		t.Errorf("%d messages were sent", len(sent))
	}
}

// readAll decrypts those messages of the room that sync has left out.
func (u *cryptoUser) readAll(t *testing.T, room id.RoomID) {
	t.Helper()
	for from := ""; ; {
		page, err := u.Messages(t.Context(), room, from, "", mautrix.DirectionBackward, nil, 100)
		if err != nil {
			t.Fatalf("messages: %v", err)
		}
		for _, e := range page.Chunk {
			u.mu.Lock()
			_, known := u.texts[e.ID]
			u.mu.Unlock()
			if e.Type.Type == event.EventEncrypted.Type && !known {
				if err := e.Content.ParseRaw(event.EventEncrypted); err != nil && !errors.Is(err, event.ErrContentAlreadyParsed) {
					t.Fatalf("read %s: %v", e.ID, err)
				}
				e.Type.Class = event.MessageEventType
				u.decrypt(t.Context(), e)
			}
		}
		if page.End == "" {
			return
		}
		from = page.End
	}
}
