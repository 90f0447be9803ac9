package tests

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/roomline/roomline/internal/hstest"
)

// mautrixUser is a signed-in mautrix client that syncs and keeps what it is told.
type mautrixUser struct {
	*mautrix.Client

	mu       sync.Mutex
	timeline []*event.Event // of all rooms together; the tests use one
	invited  map[id.RoomID]bool
	receipts map[id.EventID]map[id.UserID]bool
	typing   map[id.UserID]bool
}

// newMautrixUser registers an account, signs in with its password as clients do, and starts to sync.
func newMautrixUser(t *testing.T, dep *hstest.Deployment, process int, localpart string) *mautrixUser {
	t.Helper()
	ctx := t.Context()
	account := dep.User(t, localpart)
	client, err := mautrix.NewClient(dep.BaseURL(process), "", "")
	if err != nil {
		t.Fatal(err)
	}
	client.DefaultHTTPRetries = 0
	_, err = client.Login(ctx, &mautrix.ReqLogin{
		Type:             mautrix.AuthTypePassword,
		Identifier:       mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: localpart},
		Password:         account.Password,
		StoreCredentials: true,
	})
	if err != nil {
		t.Fatalf("log in: %v", err)
	}
	dep.Secret(client.AccessToken, "an access token")
	u := &mautrixUser{
		Client: client, invited: map[id.RoomID]bool{}, receipts: map[id.EventID]map[id.UserID]bool{}, typing: map[id.UserID]bool{},
	}
	syncer := client.Syncer.(*mautrix.DefaultSyncer)
	syncer.OnSync(u.fillGaps)
	syncer.OnEvent(u.take)
	syncing, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := client.SyncWithContext(syncing); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("sync of %s: %v", localpart, err)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-stopped
	})
	return u
}

// fillGaps reads what a limited timeline has left out and puts it in front.
func (u *mautrixUser) fillGaps(ctx context.Context, resp *mautrix.RespSync, since string) bool {
	for room, joined := range resp.Rooms.Join {
		if !joined.Timeline.Limited || since == "" {
			continue
		}
		page, err := u.Messages(ctx, room, joined.Timeline.PrevBatch, since, mautrix.DirectionBackward, nil, 1000)
		if err != nil {
			return false
		}
		slices.Reverse(page.Chunk)
		joined.Timeline.Events = append(page.Chunk, joined.Timeline.Events...)
	}
	return true
}

func (u *mautrixUser) take(_ context.Context, e *event.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case e.Mautrix.EventSource&event.SourceTimeline != 0:
		u.timeline = append(u.timeline, e)
	case e.Mautrix.EventSource&event.SourceInvite != 0:
		u.invited[e.RoomID] = true
	case e.Type == event.EphemeralEventTyping:
		clear(u.typing)
		for _, who := range e.Content.AsTyping().UserIDs {
			u.typing[who] = true
		}
	case e.Type == event.EphemeralEventReceipt:
		for eventID, receipts := range *e.Content.AsReceipt() {
			for who := range receipts[event.ReceiptTypeRead] {
				if u.receipts[eventID] == nil {
					u.receipts[eventID] = map[id.UserID]bool{}
				}
				u.receipts[eventID][who] = true
			}
		}
	}
}

// find returns the first event of the timeline that a condition holds for, or nil.
func (u *mautrixUser) find(condition func(e *event.Event) bool) *event.Event {
	u.mu.Lock()
	defer u.mu.Unlock()
	if i := slices.IndexFunc(u.timeline, condition); i >= 0 {
		return u.timeline[i]
	}
	return nil
}

// waitFor waits for an event of the timeline.
func (u *mautrixUser) waitFor(t *testing.T, eventID id.EventID) *event.Event {
	t.Helper()
	var found *event.Event
	hstest.Eventually(t, fmt.Sprintf("%s getting %s", u.UserID, eventID), func() bool {
		found = u.find(func(e *event.Event) bool { return e.ID == eventID })
		return found != nil
	})
	return found
}

// texts is the ids of the plain messages of the timeline, in its order.
func (u *mautrixUser) texts() []id.EventID {
	u.mu.Lock()
	defer u.mu.Unlock()
	var ids []id.EventID
	for _, e := range u.timeline {
		if e.Type == event.EventMessage && e.Content.AsMessage().RelatesTo == nil {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func TestMautrixClientsChatThroughTwoProcesses(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	alice, bob := newMautrixUser(t, dep, 0, "alice"), newMautrixUser(t, dep, 1, "bob")
	ctx := t.Context()

	created, err := alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "private_chat", Name: "Breakfast", Topic: "Eggs"})
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	room := created.RoomID
	if _, err := bob.JoinRoomByID(ctx, room); !errors.Is(err, mautrix.MForbidden) {
		t.Fatalf("joining without an invite: got %v, want M_FORBIDDEN", err)
	}
	if _, err := alice.InviteUser(ctx, room, &mautrix.ReqInviteUser{UserID: bob.UserID, Reason: "Hungry?"}); err != nil {
		t.Fatalf("invite: %v", err)
	}
	hstest.Eventually(t, "bob's invite", func() bool {
		bob.mu.Lock()
		defer bob.mu.Unlock()
		return bob.invited[room]
	})
	if _, err := bob.JoinRoomByID(ctx, room); err != nil {
		t.Fatalf("join: %v", err)
	}
	hstest.Eventually(t, "alice seeing bob join", func() bool {
		return alice.find(func(e *event.Event) bool {
			return e.Type == event.StateMember && e.GetStateKey() == string(bob.UserID) && e.Content.AsMember().Membership == event.MembershipJoin
		}) != nil
	})

	sent := exchange(t, room, alice, bob)
	var order []id.EventID
	for _, u := range []*mautrixUser{alice, bob} {
		hstest.Eventually(t, fmt.Sprintf("%s getting all messages", u.UserID), func() bool { return len(u.texts()) >= len(sent) })
		texts := u.texts()
		requireEachOnce(t, fmt.Sprintf("%s's timeline", u.UserID), texts, sent)
		if order != nil && !slices.Equal(order, texts) {
			t.Error("alice and bob have the messages in different orders")
		}
		order = texts
	}
	t.Run("history", func(t *testing.T) { mautrixHistory(t, room, alice, order) })
	t.Run("edit, reaction, redaction", func(t *testing.T) { mautrixRelations(t, room, alice, bob, order) })
	t.Run("receipts and typing", func(t *testing.T) { mautrixEphemeral(t, room, alice, bob, order[len(order)-1]) })
	t.Run("the session on the other process", func(t *testing.T) {
		other, err := mautrix.NewClient(dep.BaseURL(1), alice.UserID, alice.AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		if who, err := other.Whoami(ctx); err != nil || who.DeviceID != alice.DeviceID {
			t.Errorf("who am I: got %+v, %v", who, err)
		}
	})
}

// exchange lets both send 100 messages at the same time, and returns the ids of all.
func exchange(t *testing.T, room id.RoomID, users ...*mautrixUser) []id.EventID {
	t.Helper()
	const each = 100
	sent := make([][]id.EventID, len(users))
	var wg sync.WaitGroup
	for i, u := range users {
		wg.Go(func() {
			for n := range each {
				resp, err := u.SendText(t.Context(), room, fmt.Sprintf("%s says %d", u.UserID, n))
				if err != nil {
					t.Errorf("send: %v", err)
					return
				}
				sent[i] = append(sent[i], resp.EventID)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return slices.Concat(sent...)
}

// requireEachOnce fails the test unless got has each of want once and nothing else, and the messages of each sender, which
// follow each other in want, in their order.
func requireEachOnce(t *testing.T, what string, got, want []id.EventID) {
	t.Helper()
	place := map[id.EventID]int{}
	for i, e := range got {
		if _, twice := place[e]; twice {
			t.Errorf("%s has %s twice", what, e)
		}
		place[e] = i
	}
	if len(got) != len(want) {
		t.Errorf("%s has %d messages, want %d", what, len(got), len(want))
	}
	half := len(want) / 2
	for i, e := range want {
		at, ok := place[e]
		if !ok {
			t.Errorf("%s lacks message %d, %s", what, i, e)
			continue
		}
		if i%half != 0 && at < place[want[i-1]] {
			t.Errorf("%s has message %d before the one that was sent before it", what, i)
		}
	}
}

// mautrixHistory pages back through the room and expects the order that sync gave.
func mautrixHistory(t *testing.T, room id.RoomID, u *mautrixUser, want []id.EventID) {
	var got []id.EventID
	from := ""
	for {
		page, err := u.Messages(t.Context(), room, from, "", mautrix.DirectionBackward, nil, 17)
		if err != nil {
			t.Fatalf("messages: %v", err)
		}
		for _, e := range page.Chunk {
			if e.Type == event.EventMessage {
				got = append(got, e.ID)
			}
		}
		if page.End == "" {
			break
		}
		from = page.End
	}
	slices.Reverse(got)
	if !slices.Equal(got, want) {
		t.Errorf("paging back gives %d messages in another order than the %d of sync", len(got), len(want))
	}
}

func mautrixRelations(t *testing.T, room id.RoomID, alice, bob *mautrixUser, order []id.EventID) {
	ctx := t.Context()
	mine := alice.find(func(e *event.Event) bool { return e.Type == event.EventMessage && e.Sender == alice.UserID })

	content := &event.MessageEventContent{MsgType: event.MsgText, Body: "corrected"}
	content.SetEdit(mine.ID)
	edit, err := alice.SendMessageEvent(ctx, room, event.EventMessage, content)
	if err != nil {
		t.Fatalf("edit: %v", err)
	}
	got := bob.waitFor(t, edit.EventID).Content.AsMessage()
	if got.RelatesTo == nil || got.RelatesTo.GetReplaceID() != mine.ID || got.NewContent == nil || got.NewContent.Body != "corrected" {
		t.Errorf("the edit came as %+v", got)
	}

	reaction, err := bob.SendReaction(ctx, room, mine.ID, "👍")
	if err != nil {
		t.Fatalf("react: %v", err)
	}
	relates := alice.waitFor(t, reaction.EventID).Content.AsReaction().RelatesTo
	if relates.EventID != mine.ID || relates.Key != "👍" {
		t.Errorf("the reaction came as %+v", relates)
	}

	target := order[len(order)/2]
	redaction, err := alice.RedactEvent(ctx, room, target, mautrix.ReqRedact{Reason: "crumbs"})
	if err != nil {
		t.Fatalf("redact: %v", err)
	}
	came := bob.waitFor(t, redaction.EventID)
	if came.Type != event.EventRedaction || came.Redacts != target && came.Content.AsRedaction().Redacts != target {
		t.Errorf("the redaction came as %s of %q", came.Type.Type, came.Redacts)
	}
	for _, u := range []*mautrixUser{alice, bob} {
		e, err := u.GetEvent(ctx, room, target)
		if err != nil {
			t.Fatalf("get the redacted event: %v", err)
		}
		if len(e.Content.Raw) != 0 || e.Unsigned.RedactedBecause == nil || e.Unsigned.RedactedBecause.ID != redaction.EventID {
			t.Errorf("%s still gets %v of the redacted event, redacted because of %+v", u.UserID, e.Content.Raw, e.Unsigned.RedactedBecause)
		}
	}
}

func mautrixEphemeral(t *testing.T, room id.RoomID, alice, bob *mautrixUser, last id.EventID) {
	ctx := t.Context()
	if err := bob.MarkRead(ctx, room, last); err != nil {
		t.Fatalf("mark read: %v", err)
	}
	hstest.Eventually(t, "alice seeing bob's receipt", func() bool {
		alice.mu.Lock()
		defer alice.mu.Unlock()
		return alice.receipts[last][bob.UserID]
	})
	typing := func() bool {
		alice.mu.Lock()
		defer alice.mu.Unlock()
		return alice.typing[bob.UserID]
	}
	if _, err := bob.UserTyping(ctx, room, true, 2*time.Minute); err != nil {
		t.Fatalf("type: %v", err)
	}
	hstest.Eventually(t, "alice seeing bob type", typing)
	if _, err := bob.UserTyping(ctx, room, false, 0); err != nil {
		t.Fatalf("stop typing: %v", err)
	}
	hstest.Eventually(t, "alice seeing bob stop", func() bool { return !typing() })
}

func TestMautrixLogoutEndsTheSessionOnBothProcesses(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	account := dep.User(t, "carol").NewSession(t)
	account.MustDo(t, http.MethodGet, hstest.Path("account", "whoami"), nil)
	account.On(1).MustDo(t, http.MethodGet, hstest.Path("account", "whoami"), nil)
	client, err := mautrix.NewClient(dep.BaseURL(0), id.UserID(account.ID), account.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Logout(t.Context()); err != nil {
		t.Fatalf("log out: %v", err)
	}
	whoami := hstest.Path("account", "whoami")
	account.MustFail(t, http.StatusUnauthorized, "M_UNKNOWN_TOKEN", http.MethodGet, whoami, nil)
	// The other process remembers the token until it has heard of the logout.
	hstest.Eventually(t, "the logout on the other process", func() bool {
		r, err := account.On(1).Do(t.Context(), http.MethodGet, whoami, nil)
		return err == nil && r.Status == http.StatusUnauthorized && r.ErrCode() == "M_UNKNOWN_TOKEN"
	})
}
