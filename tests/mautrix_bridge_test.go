//go:build goolm

package tests

import (
	"context"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/roomline/roomline/internal/hstest"
)

// mautrixBridge is an application service that mautrix makes, with a network of its own in which everything is an echo.
type mautrixBridge struct {
	*appservice.AppService
	machine *crypto.OlmMachine

	mu       sync.Mutex
	read     map[id.EventID]string
	typing   bool
	problems []error
}

// startMautrixBridge registers a bridge with the registration that mautrix writes, for the owner of an organisation.
func startMautrixBridge(t *testing.T, dep *hstest.Deployment, owner *hstest.User, domain string) *mautrixBridge {
	t.Helper()
	registration := appservice.CreateRegistration()
	registration.ID, registration.SenderLocalpart = "echo", "echobot"
	limited := false
	registration.RateLimited = &limited
	registration.EphemeralEvents, registration.SoruEphemeralEvents, registration.MSC3202, registration.MSC4190 = true, true, true, true
	registration.Namespaces.UserIDs = appservice.NamespaceList{
		{Regex: `^@echobot:` + domain + `$`, Exclusive: true}, {Regex: `^@echo_.*:` + domain + `$`, Exclusive: true},
	}
	bridge := &mautrixBridge{read: map[id.EventID]string{}}
	as, err := appservice.CreateFull(appservice.CreateOpts{Registration: registration, HomeserverDomain: domain, HomeserverURL: dep.BaseURL(1)})
	if err != nil {
		t.Fatal(err)
	}
	bridge.AppService = as
	web := httptest.NewServer(as.Router)
	t.Cleanup(func() { web.CloseClientConnections(); web.Close() })
	registration.URL = web.URL
	text, err := registration.YAML()
	if err != nil {
		t.Fatal(err)
	}
	dep.Secret(registration.AppToken, "an as_token")
	dep.Secret(registration.ServerToken, "an hs_token")
	owner.MustDo(t, "POST", ownServices, []byte(text))
	hstest.Eventually(t, "the registration on the other process", func() bool {
		_, err := as.BotClient().Whoami(t.Context())
		return err == nil
	})
	return bridge
}

// encrypt gives the bot a device, as bridges do that have no login.
func (b *mautrixBridge) encrypt(t *testing.T) {
	t.Helper()
	bot := b.BotClient()
	if err := bot.CreateDeviceMSC4190(t.Context(), "ECHO", "bridge"); err != nil {
		t.Fatalf("make the device: %v", err)
	}
	b.machine = crypto.NewOlmMachine(bot, nil, crypto.NewMemoryStore(nil), b.StateStore.(crypto.StateStore))
	if err := b.machine.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.machine.ShareKeys(t.Context(), -1); err != nil {
		t.Fatalf("publish keys: %v", err)
	}
}

// run handles what the bridge is told.
func (b *mautrixBridge) run(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	processor := appservice.NewEventProcessor(b.AppService)
	processor.ExecMode = appservice.Sync
	b.machine.AddAppserviceListener(processor)
	processor.On(event.StateMember, func(ctx context.Context, e *event.Event) {
		b.machine.HandleMemberEvent(ctx, e)
		if e.GetStateKey() == string(b.BotMXID()) && e.Content.AsMember().Membership == event.MembershipInvite {
			b.fail(b.BotIntent().EnsureJoined(ctx, e.RoomID))
			// What the room was before.
			_, err := b.BotIntent().State(ctx, e.RoomID)
			b.fail(err)
		}
	})
	processor.On(event.EventMessage, func(ctx context.Context, e *event.Event) {
		if e.Sender != b.BotMXID() && e.Sender != b.ghost().UserID {
			b.echo(ctx, e.RoomID, e.ID, e.Content.AsMessage().Body, false)
		}
	})
	processor.On(event.EventEncrypted, func(_ context.Context, e *event.Event) {
		if e.Sender == b.BotMXID() {
			return
		}
		// The room key may be on its way.
		go func() {
			if !b.machine.WaitForSession(ctx, e.RoomID, "", e.Content.AsEncrypted().SessionID, patience) {
				b.fail(fmt.Errorf("%s: the room key did not come", e.ID))
				return
			}
			decrypted, err := b.machine.DecryptMegolmEvent(ctx, e)
			if b.fail(err); err == nil {
				b.echo(ctx, e.RoomID, e.ID, decrypted.Content.AsMessage().Body, true)
			}
		}()
	})
	processor.On(event.EphemeralEventTyping, func(context.Context, *event.Event) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.typing = true
	})
	go processor.Start(ctx)
	t.Cleanup(func() {
		stop()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, err := range b.problems {
			t.Errorf("the bridge: %v", err)
		}
	})
}

func (b *mautrixBridge) ghost() *appservice.IntentAPI {
	return b.Intent(id.NewUserID("echo_alice", b.HomeserverDomain))
}

func (b *mautrixBridge) fail(err error) {
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.problems = append(b.problems, err)
	}
}

// echo answers a message: the bot does in an encrypted room, a ghost elsewhere.
func (b *mautrixBridge) echo(ctx context.Context, room id.RoomID, to id.EventID, text string, encrypted bool) {
	b.mu.Lock()
	b.read[to] = text
	b.mu.Unlock()
	content := &event.MessageEventContent{MsgType: event.MsgText, Body: "echo: " + text}
	if !encrypted {
		_, err := b.ghost().SendMessageEvent(ctx, room, event.EventMessage, content)
		b.fail(err)
		return
	}
	members, err := b.BotClient().JoinedMembers(ctx, room)
	if b.fail(err); err != nil {
		return
	}
	var ids []id.UserID
	for user := range members.Joined {
		ids = append(ids, user)
	}
	if err := b.machine.ShareGroupSession(ctx, room, ids); err != nil {
		b.fail(fmt.Errorf("share the room key: %w", err))
	}
	sealed, err := b.machine.EncryptMegolmEvent(ctx, room, event.EventMessage, content)
	if b.fail(err); err == nil {
		_, err = b.BotClient().SendMessageEvent(ctx, room, event.EventEncrypted, sealed)
		b.fail(err)
	}
}

// TestMautrixBridgeEchoes has a bridge of mautrix in a room, with a ghost, and in an encrypted one, with the bot's device.
func TestMautrixBridgeEchoes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	acme := dep.Organisation(t, "Acme", "acme.test")
	bridge := startMautrixBridge(t, dep, acme.Owner, "acme.test")
	if got, err := bridge.BotClient().AppservicePing(ctx, "echo", "t"); err != nil || got.DurationMS < 0 {
		t.Fatalf("ping: %v", err)
	}
	bridge.encrypt(t)
	bridge.run(t)
	account := acme.User(t, "alice")
	alice := newCryptoUser(t, dep, 0, account)

	plain := account.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	if err := bridge.ghost().EnsureJoined(ctx, id.RoomID(plain)); err != nil {
		t.Fatalf("the ghost joins: %v", err)
	}
	if err := bridge.ghost().SetDisplayName(ctx, "Alice elsewhere"); err != nil {
		t.Fatalf("the ghost's name: %v", err)
	}
	account.MustDo(t, "PUT", hstest.Path("rooms", plain, "typing", account.ID), map[string]any{"typing": true, "timeout": 120000})
	account.MustSendText(t, plain, "hello")
	hstest.Eventually(t, "an echo of the ghost", func() bool {
		for _, e := range account.MustDo(t, "GET", hstest.Path("rooms", plain, "messages")+"?dir=b", nil).Get("chunk").Array() {
			if e.Get("sender").String() == "@echo_alice:acme.test" && e.Get("content.body").String() == "echo: hello" {
				return true
			}
		}
		return false
	})
	hstest.Eventually(t, "typing", func() bool {
		bridge.mu.Lock()
		defer bridge.mu.Unlock()
		return bridge.typing
	})

	key := ""
	created, err := alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{
		Preset: "private_chat", Invite: []id.UserID{bridge.BotMXID()},
		InitialState: []*event.Event{{Type: event.StateEncryption, StateKey: &key, Content: event.Content{
			Parsed: &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1},
		}}},
	})
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	room := created.RoomID
	hstest.Eventually(t, "the bot joining the encrypted room", func() bool {
		encrypted, err := alice.StateStore.IsEncrypted(ctx, room)
		there, err2 := bridge.StateStore.IsEncrypted(ctx, room)
		return err == nil && err2 == nil && encrypted && there && alice.StateStore.IsInRoom(ctx, room, bridge.BotMXID()) &&
			bridge.StateStore.IsInRoom(ctx, room, alice.UserID)
	})
	for i := range 3 {
		text := fmt.Sprintf("secret %d", i)
		sent, err := alice.sendEncrypted(ctx, room, text, alice.UserID, bridge.BotMXID())
		if err != nil {
			t.Fatalf("send: %v", err)
		}
		hstest.Eventually(t, "the bridge reading it", func() bool {
			bridge.mu.Lock()
			defer bridge.mu.Unlock()
			return bridge.read[sent] == text
		})
		hstest.Eventually(t, "an encrypted echo", func() bool {
			alice.mu.Lock()
			defer alice.mu.Unlock()
			for _, got := range alice.texts {
				if got == "echo: "+text {
					return true
				}
			}
			return false
		})
	}
}
