package meetings_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/caller"
	"github.com/roomline/roomline/internal/store/storetest"
)

// lost is how long LiveKit itself takes to find that somebody is gone who did not say so, and more.
const lost = 2 * time.Minute

// total is how many are in calls, as the database knows.
func total(t *testing.T, dep *hstest.Deployment) (n int) {
	t.Helper()
	if err := storetest.DB(t, dep.DSN).QueryRow(`SELECT count(*) FROM rtc_participants WHERE joined_ts IS NOT NULL AND left_ts IS NULL`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Hanging up without saying so in the room ends the membership, and so does saying so without coming, later. Who says that media goes another way is
// believed.
func TestAMembershipWithoutMediaEnds(t *testing.T) {
	t.Parallel()
	dep, _ := meeting(t, 2)
	alice, bob, carol, dora := dep.User(t, "alice"), dep.User(t, "bob"), dep.User(t, "carol"), dep.User(t, "dora")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	for _, u := range []*hstest.User{bob, carol, dora} {
		u.MustJoin(t, room)
	}
	caller.Say(t, carol, room) // carol never asked for a token
	dora.MustSetState(t, room, caller.MemberType, caller.StateKey(dora), map[string]any{
		"application": "m.call", "call_id": "", "scope": "m.room", "device_id": dora.DeviceID,
		"foci_preferred": []any{map[string]any{"type": "livekit", "livekit_service_url": "https://elsewhere.test"}},
	})
	in := caller.Enter(t, dep, bob, room)
	// Who leaves before LiveKit has said that they are there is waited for, as carol is.
	eventually(t, "bob is not there", promised, func() bool { return present(t, dep, bob) == 1 })
	in.Leave()
	eventually(t, "bob is said to be in the call", promised, func() bool { return !caller.Said(t, alice, bob, room) })
	eventually(t, "carol is not waited for", promised, func() bool { return waitedFor(t, dep, carol) })
	set(t, dep, `UPDATE rtc_participants SET token_expires_ts = token_expires_ts - 62000 WHERE user_id = $1`, carol.ID) // a minute later
	eventually(t, "carol is said to be in the call", promised, func() bool { return !caller.Said(t, alice, carol, room) })
	if !caller.Said(t, alice, dora, room) {
		t.Error("a membership was ended whose media goes through another service")
	}
}

func waitedFor(t *testing.T, dep *hstest.Deployment, u *hstest.User) (waited bool) {
	t.Helper()
	if err := storetest.DB(t, dep.DSN).QueryRow(`SELECT EXISTS (SELECT FROM rtc_participants WHERE user_id = $1)`, u.ID).Scan(&waited); err != nil {
		t.Fatal(err)
	}
	return waited
}

// Who was kicked could not be seen to leave; who comes into the room again is not in the call.
func TestWhoComesBackIntoTheRoomIsInNoCall(t *testing.T) {
	t.Parallel()
	dep, _ := meeting(t, 1)
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	in := caller.Enter(t, dep, bob, room)
	alice.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "kick"), map[string]any{"user_id": bob.ID})
	mustGo(t, in, lksdk.ParticipantRemoved)
	eventually(t, "the call is not over for bob", promised, func() bool {
		var ended bool
		if err := storetest.DB(t, dep.DSN).QueryRow(`SELECT ended_ts IS NOT NULL FROM rtc_participants WHERE user_id = $1`, bob.ID).Scan(&ended); err != nil {
			t.Fatal(err)
		}
		return ended
	})
	bob.MustJoin(t, room)
	if !caller.Said(t, alice, bob, room) {
		t.Fatal("nothing is left of bob's membership, and nothing is tested")
	}
	eventually(t, "bob is not waited for", promised, func() bool {
		var waited bool
		if err := storetest.DB(t, dep.DSN).QueryRow(`SELECT ended_ts IS NULL FROM rtc_participants WHERE user_id = $1`, bob.ID).Scan(&waited); err != nil {
			t.Fatal(err)
		}
		return waited
	})
	set(t, dep, `UPDATE rtc_participants SET token_expires_ts = token_expires_ts - 62000 WHERE user_id = $1`, bob.ID)
	eventually(t, "bob is said to be in the call", promised, func() bool { return !caller.Said(t, alice, bob, room) })
}

// A newer client's membership is a sticky event.
func TestAStickyMembershipEnds(t *testing.T) {
	t.Parallel()
	dep, lk := meeting(t, 1)
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	member := map[string]any{"id": "bobs", "claimed_device_id": bob.DeviceID}
	answer := bob.MustDo(t, http.MethodPost, "/_matrix/client/unstable/io.element.msc4195/rtc/livekit/get_token",
		map[string]any{"room_id": room, "slot_id": "m.call#ROOM", "member": member})
	member["membership"] = "join"
	const typ = "org.matrix.msc4143.rtc.member"
	bob.MustDo(t, http.MethodPut, hstest.Path("rooms", room, "send", typ, bob.TxnID())+"?org.matrix.msc4354.sticky_duration_ms=3600000", map[string]any{
		"slot_id": "m.call#ROOM", "member": member, "application": map[string]any{"type": "m.call"}, "msc4354_sticky_key": "bobs",
		"transports": map[string]any{"published": []any{map[string]any{"type": "livekit"}}},
	})
	in, err := caller.Connect(lk.PublicURL, answer.Get("jwt").String())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "bob is not there", promised, func() bool { return present(t, dep, bob) == 1 })
	in.Leave()
	eventually(t, "bob did not leave", promised, func() bool {
		events := alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "messages")+"?dir=b&limit=1", nil)
		last := events.Get("chunk.0")
		return last.Get("sender").String() == bob.ID && last.Get("type").String() == typ &&
			last.Get("content.member.membership").String() == "leave" && last.Get("content.msc4354_sticky_key").String() == "bobs"
	})
}

// TestTheMediaServerBeginsAnew kills LiveKit in the middle of a call.
func TestTheMediaServerBeginsAnew(t *testing.T) {
	t.Parallel()
	dep, lk := meeting(t, 2)
	alice, bob, carol := dep.User(t, "alice"), dep.User(t, "bob"), dep.User(t, "carol")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	carol.MustJoin(t, room)
	a, b := caller.Enter(t, dep, alice, room), caller.Enter(t, dep, bob, room)
	c := caller.Start(t, dep, carol, room)
	eventually(t, "not all are there", promised, func() bool { return total(t, dep) == 3 })
	lk.Kill9(t)
	c.Kill()
	bob.On(1).MustSendText(t, room, "we can write") // chat goes on
	// A process takes for granted for some seconds that a room is there which it has made.
	eventually(t, "tokens are given while LiveKit is away", promised, func() bool {
		begin := time.Now()
		r := caller.Ask(t, dep, bob, room, nil)
		t.Logf("%d after %s", r.Status, time.Since(begin).Round(time.Millisecond))
		return r.Status == http.StatusServiceUnavailable && r.ErrCode() == "ORG.ROOMLINE.MEETINGS_UNAVAILABLE"
	})
	alice.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "kick"), map[string]any{"user_id": bob.ID})
	lk.Restart(t)
	eventually(t, "alice is not back", lost, func() bool { return a.Room.ConnectionState() == lksdk.ConnectionStateConnected && inSFU(t, lk, alice) })
	mustStayOut(t, lk, b, bob)
	eventually(t, "carol is said to be in the call", lost, func() bool { return !caller.Said(t, alice, carol, room) })
	eventually(t, "others than alice are there", promised, func() bool { return total(t, dep) == 1 })
	if !caller.Said(t, alice, alice, room) || present(t, dep, alice) != 1 {
		t.Error("alice is not said to be in the call")
	}
}

// inSFU reports whether a device of a user is in a call, as LiveKit knows.
func inSFU(t *testing.T, lk *hstest.LiveKitServer, u *hstest.User) bool {
	t.Helper()
	client := lksdk.NewRoomServiceClient(lk.URL, lk.Key, lk.Secret)
	rooms, err := client.ListRooms(t.Context(), &livekit.ListRoomsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rooms.Rooms {
		all, err := client.ListParticipants(t.Context(), &livekit.ListParticipantsRequest{Room: r.Name})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all.Participants {
			if strings.HasPrefix(p.Identity, u.ID) && p.State == livekit.ParticipantInfo_ACTIVE {
				return true
			}
		}
	}
	return false
}

// mustStayOut waits until somebody is out who tries to come back.
func mustStayOut(t *testing.T, lk *hstest.LiveKitServer, c *caller.Caller, u *hstest.User) {
	t.Helper()
	select {
	case <-c.Gone:
	case <-time.After(lost):
		t.Errorf("%s is still in the call", u.ID)
	}
	if inSFU(t, lk, u) {
		t.Errorf("%s is in the call", u.ID)
	}
}

// An order waits for LiveKit, not for the process that made it.
func TestOrdersWaitForTheMediaServer(t *testing.T) {
	t.Parallel()
	lk := hstest.LiveKit(t)
	dep := hstest.Start(t, hstest.Options{Processes: 2, Configure: func(process int, config map[string]any) {
		caller.Configure(lk)(process, config)
		config["meetings"].(map[string]any)["livekit"].(map[string]any)["timeout"] = "1500ms" // it will not answer
	}})
	lk.WebhookTo(t, dep.BaseURL(1)+"/_roomline/livekit/webhook")
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	in := caller.Enter(t, dep, bob, room)
	lk.Pause(t)
	alice.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "kick"), map[string]any{"user_id": bob.ID})
	eventually(t, "there is no order", promised, func() bool {
		var n int
		if err := storetest.DB(t, dep.DSN).QueryRow(`SELECT count(*) FROM rtc_orders WHERE attempts > 1`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n > 0
	})
	dep.Kill9(t, 0)
	lk.Resume(t)
	mustGo(t, in, lksdk.ParticipantRemoved)
	dep.Restart(t, 0)
}

// Whoever has carried an order out may stall before it can say so, and the order is carried out again. The next call is another one, and so is
// somebody's next stay in it.
func TestAnOrderMeansTheCallThatWasOn(t *testing.T) {
	t.Parallel()
	dep, lk := meeting(t, 2)
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	set(t, dep, `CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`)
	set(t, dep, `CREATE TRIGGER stall BEFORE DELETE ON rtc_orders FOR EACH ROW EXECUTE FUNCTION stall()`)
	db := storetest.DB(t, dep.DSN)
	again := func(action string) {
		t.Helper()
		attempts := func() (n int) {
			if err := db.QueryRow(`SELECT coalesce(sum(attempts), 0) FROM rtc_orders WHERE action = $1`, action).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := attempts()
		if before == 0 {
			t.Fatalf("there is no order to %s", action)
		}
		// The one that has begun may have been before.
		eventually(t, "the order is not carried out again", promised, func() bool { return attempts() >= before+3 })
	}
	mustBeIn := func(c *caller.Caller, u *hstest.User) {
		t.Helper()
		select {
		case reason := <-c.Gone:
			t.Fatalf("%s is put out of another call: %s", u.ID, reason)
		default:
		}
		if !inSFU(t, lk, u) {
			t.Fatalf("%s is not in the call", u.ID)
		}
	}

	a, b := caller.Enter(t, dep, alice, room), caller.Enter(t, dep, bob, room)
	alice.MustDo(t, http.MethodPost, "/_roomline/client/v1/rooms/"+url.PathEscape(room)+"/meeting/end", nil)
	mustGo(t, a, lksdk.OtherReason)
	mustGo(t, b, lksdk.OtherReason)
	a, b = caller.Enter(t, dep, alice, room), caller.Enter(t, dep, bob, room)
	again("end")
	mustBeIn(a, alice)
	mustBeIn(b, bob)

	set(t, dep, `INSERT INTO rtc_orders (alias, identity, action, next_ts, created_ts) SELECT alias, identity, 'remove', 0, 0 FROM rtc_participants WHERE user_id = $1`, bob.ID)
	mustGo(t, b, lksdk.ParticipantRemoved)
	b = caller.Enter(t, dep, bob, room)
	again("remove")
	mustBeIn(a, alice)
	mustBeIn(b, bob)

	set(t, dep, `DROP TRIGGER stall ON rtc_orders`)
	eventually(t, "the orders do not end", promised, func() bool {
		var n int
		if err := db.QueryRow(`SELECT count(*) FROM rtc_orders`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	})
}

// TestAnEndHoldsAcrossAMediaServer kills LiveKit between its telling which call is on and the end of that call. Those who were there have tokens that
// still hold, and come back by themselves where there is a room; it would be the next call.
func TestAnEndHoldsAcrossAMediaServer(t *testing.T) {
	t.Parallel()
	dep, lk := meeting(t, 2)
	alice, bob, carol := dep.User(t, "alice"), dep.User(t, "bob"), dep.User(t, "carol")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	carol.MustJoin(t, room)
	a, b := caller.Enter(t, dep, alice, room), caller.Enter(t, dep, bob, room)
	old := refreshed(t, lk, tokenOf(t, dep, bob, room))
	eventually(t, "not all are there", promised, func() bool { return total(t, dep) == 2 })

	const gate = 4711
	set(t, dep, `CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END $$`)
	set(t, dep, `CREATE TRIGGER gate BEFORE UPDATE OF sid ON rtc_orders FOR EACH ROW EXECUTE FUNCTION wait_at_gate()`)
	db := storetest.DB(t, dep.DSN)
	keeper, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer keeper.Close()
	if _, err := keeper.ExecContext(t.Context(), `SELECT pg_advisory_lock($1)`, gate); err != nil {
		t.Fatal(err)
	}
	count := func(query string) (n int) {
		if err := db.QueryRow(query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	alice.MustDo(t, http.MethodPost, "/_roomline/client/v1/rooms/"+url.PathEscape(room)+"/meeting/end", nil)
	eventually(t, "LiveKit was not asked which call is on", promised, func() bool {
		return count(`SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`) > 0
	})
	lk.Kill9(t)
	if _, err := keeper.ExecContext(t.Context(), `SELECT pg_advisory_unlock($1)`, gate); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the order does not say which call it means", promised, func() bool {
		return count(`SELECT count(*) FROM rtc_orders WHERE action = 'end' AND sid <> ''`) > 0
	})
	lk.Restart(t)
	eventually(t, "the order is not carried out", promised, func() bool { return count(`SELECT count(*) FROM rtc_orders`) == 0 })

	c := caller.Enter(t, dep, carol, room)
	mustStayOut(t, lk, a, alice)
	mustStayOut(t, lk, b, bob)
	mustNotStay(t, lk, old)
	eventually(t, "others than carol are there", promised, func() bool { return total(t, dep) == 1 && present(t, dep, carol) == 1 })
	select {
	case reason := <-c.Gone:
		t.Fatalf("carol is put out of another call: %s", reason)
	default:
	}
	caller.Enter(t, dep, bob, room)
	eventually(t, "bob does not get into the next call", promised, func() bool { return total(t, dep) == 2 && inSFU(t, lk, bob) })
}

// listener is between LiveKit and the server.
type listener struct {
	*httptest.Server
	mu    sync.Mutex
	heard []heard
	deaf  bool
}

type heard struct {
	authorization string
	body          []byte
}

func listen(t *testing.T, to string) *listener {
	t.Helper()
	l := &listener{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		l.mu.Lock()
		h := heard{r.Header.Get("Authorization"), body}
		l.heard = append(l.heard, h)
		deaf := l.deaf
		l.mu.Unlock()
		if !deaf {
			w.WriteHeader(tell(t, to, h))
		}
	}))
	t.Cleanup(l.Close)
	return l
}

func tell(t *testing.T, to string, h heard) int {
	r, err := http.NewRequest(http.MethodPost, to, bytes.NewReader(h.body))
	if err != nil {
		t.Error(err)
		return 0
	}
	r.Header.Set("Authorization", h.authorization)
	r.Header.Set("Content-Type", "application/webhook+json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 502
	}
	resp.Body.Close()
	return resp.StatusCode
}

// find waits for a webhook about a user.
func (l *listener) find(t *testing.T, event string, u *hstest.User) (h heard) {
	t.Helper()
	eventually(t, "LiveKit says nothing of "+event, promised, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, h = range l.heard {
			if bytes.Contains(h.body, []byte(`"`+event+`"`)) && bytes.Contains(h.body, []byte(u.ID)) {
				return true
			}
		}
		return false
	})
	return h
}

func signed(t *testing.T, key, secret string, e *livekit.WebhookEvent) heard {
	t.Helper()
	body, err := protojson.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	token, err := auth.NewAccessToken(key, secret).SetValidFor(time.Minute).SetSha256(base64.StdEncoding.EncodeToString(sum[:])).ToJWT()
	if err != nil {
		t.Fatal(err)
	}
	return heard{token, body}
}

func TestWebhooksAreBelievedOnce(t *testing.T) {
	t.Parallel()
	lk := hstest.LiveKit(t)
	dep := hstest.Start(t, hstest.Options{Processes: 2, Configure: caller.Configure(lk)})
	to := [2]string{webhooksOf(dep), dep.BaseURL(1) + "/_roomline/livekit/webhook"}
	l := listen(t, to[0])
	lk.WebhookTo(t, l.URL)
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	caller.Enter(t, dep, alice, room)
	in := caller.Enter(t, dep, bob, room)
	joined := l.find(t, "participant_joined", bob)
	eventually(t, "bob is not there", promised, func() bool { return present(t, dep, bob) == 1 })
	event := &livekit.WebhookEvent{}
	if err := protojson.Unmarshal(joined.body, event); err != nil {
		t.Fatal(err)
	}
	left := &livekit.WebhookEvent{Event: "participant_left", Id: "EV_forged", CreatedAt: time.Now().Unix(), Room: event.Room, Participant: event.Participant}
	forged := signed(t, lk.Key, "another secret, as long as it has to be", left)
	right := signed(t, lk.Key, lk.Secret, left)
	old := &livekit.WebhookEvent{Event: "participant_left", Id: "EV_old", CreatedAt: time.Now().Add(-time.Hour).Unix(), Room: event.Room, Participant: event.Participant}
	for name, h := range map[string]heard{
		"replayed": joined, "no signature": {"", right.body}, "forged": forged, "another key": signed(t, "someone", lk.Secret, left),
		"an altered body": {right.authorization, bytes.Replace(right.body, []byte("EV_forged"), []byte("EV_forgee"), 1)},
		"an old one":      signed(t, lk.Key, lk.Secret, old), "a token for a call": {tokenOf(t, dep, bob, room), right.body},
	} {
		for i := range to {
			if status := tell(t, to[i], h); status != http.StatusUnauthorized {
				t.Errorf("%s, at process %d: %d", name, i, status)
			}
		}
	}
	elsewhere := &livekit.WebhookEvent{Event: "participant_left", Id: "EV_elsewhere", CreatedAt: time.Now().Unix(), Room: &livekit.Room{Name: "elsewhere", Sid: "RM_x"}, Participant: event.Participant}
	if status := tell(t, to[1], signed(t, lk.Key, lk.Secret, elsewhere)); status != http.StatusOK {
		t.Errorf("a room of somebody else: %d", status)
	}
	older := &livekit.WebhookEvent{Event: "participant_left", Id: "EV_older", CreatedAt: time.Now().Unix(), Room: event.Room, Participant: &livekit.ParticipantInfo{
		Sid: "PA_older", Identity: event.Participant.Identity, JoinedAtMs: event.Participant.JoinedAtMs - 5000,
	}}
	if status := tell(t, to[1], signed(t, lk.Key, lk.Secret, older)); status != http.StatusOK {
		t.Errorf("about an earlier stay: %d", status)
	}
	if present(t, dep, bob) != 1 || !caller.Said(t, alice, bob, room) {
		t.Error("what was forged, replayed or late was believed")
	}
	// What LiveKit really says is believed; and the contrary, said before by accident, is set right by what LiveKit has.
	if status := tell(t, to[1], right); status != http.StatusOK {
		t.Errorf("with the right signature: %d", status)
	}
	eventually(t, "bob is not there, although LiveKit has him", promised, func() bool { return present(t, dep, bob) == 1 })
	in.Leave()
	eventually(t, "bob is there", promised, func() bool { return present(t, dep, bob) == 0 })
}

func tokenOf(t *testing.T, dep *hstest.Deployment, u *hstest.User, room string) string {
	_, jwt := caller.Token(t, dep, u, room)
	return jwt
}

// Nobody hears what LiveKit says; asking it is enough.
func TestLostWebhooks(t *testing.T) {
	t.Parallel()
	lk := hstest.LiveKit(t)
	dep := hstest.Start(t, hstest.Options{Processes: 2, Configure: caller.Configure(lk)})
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	url, jwt := caller.Token(t, dep, bob, room)
	in := caller.Enter(t, dep, bob, room)
	eventually(t, "bob is not there", promised, func() bool { return present(t, dep, bob) == 1 })
	dep.Kill9(t, 0) // whoever watches over calls
	in.Leave()
	watcher := alice.On(1)
	eventually(t, "bob is said to be in the call", 2*promised, func() bool { return !caller.Said(t, watcher, bob, room) })
	watcher.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "kick"), map[string]any{"user_id": bob.ID})
	again, err := caller.Connect(url, jwt)
	if err == nil {
		mustGo(t, again, lksdk.ParticipantRemoved)
	}
	dep.Restart(t, 0)
}

// The delayed event that was handed over is restarted while the media is there, by whichever process is left, and sent when it is gone.
func TestADelayedLeaveIsTakenOver(t *testing.T) {
	t.Parallel()
	lk := hstest.LiveKit(t)
	dep := hstest.Start(t, hstest.Options{Processes: 2, Configure: caller.Configure(lk)})
	lk.WebhookTo(t, dep.BaseURL(1)+"/_roomline/livekit/webhook")
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	delay := func(key string, ms int) string {
		return bob.MustDo(t, http.MethodPut, fmt.Sprintf("%s?org.matrix.msc4140.delay=%d", hstest.Path("rooms", room, "state", caller.MemberType, key), ms),
			map[string]any{}).Get("delay_id").String()
	}
	const hour = 3600_000
	first, second := delay(caller.StateKey(bob), hour), delay(caller.StateKey(bob), hour)
	event := func(id string) (since int64, sent bool) {
		r := bob.MustDo(t, http.MethodGet, "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/"+id, nil)
		return r.Get("running_since").Int(), r.Get("event_id").Exists()
	}
	firstBegun, _ := event(first)
	begun, _ := event(second)
	short, theirs := delay(caller.StateKey(bob)+"2", 5_000), alice.MustDo(t, http.MethodPut, hstest.Path("rooms", room, "state", caller.MemberType, caller.StateKey(alice))+"?org.matrix.msc4140.delay=60000", map[string]any{}).Get("delay_id").String()
	for id, want := range map[string]int{first: 200, theirs: 404, "nothing": 404, short: 400} {
		if r := caller.Ask(t, dep, bob, room, map[string]any{"delay_id": id, "delay_timeout": 3600_000, "delay_cs_api_url": "https://calls.test"}); r.Status != want {
			t.Errorf("handing over: %s", r)
		}
	}
	r := caller.Ask(t, dep, bob, room, map[string]any{"delay_id": second, "delay_timeout": hour, "delay_cs_api_url": "https://calls.test"})
	caller.Say(t, bob, room)
	in, err := caller.Connect(r.JSON().Get("url").String(), r.JSON().Get("jwt").String())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Leave()
	dep.Kill9(t, 0)
	bob = bob.On(1)
	restarted := func(before int64) (since int64) {
		t.Helper()
		eventually(t, "it is not restarted", lost, func() bool {
			var sent bool
			if since, sent = event(second); sent {
				t.Fatal("sent with the media there")
			}
			return since > before
		})
		return since
	}
	since := restarted(begun)
	// Again and again, when four fifths of the delay have passed.
	var next int64
	eventually(t, "it is not to be restarted again", promised, func() bool {
		err := storetest.DB(t, dep.DSN).QueryRow(`SELECT coalesce(restart_ts, 0) FROM rtc_participants WHERE delay_id = $1`, second).Scan(&next)
		return err == nil && next > since
	})
	if after := next - since; after < hour*3/4 || after >= hour { // the clock is read once more when it is noted
		t.Errorf("it is restarted %d ms later", after)
	}
	set(t, dep, `UPDATE rtc_participants SET restart_ts = restart_ts - $2 WHERE delay_id = $1`, second, hour)
	restarted(since)
	if since, sent := event(first); sent || since != firstBegun {
		t.Error("an event that was replaced by another one is still restarted")
	}
	in.Leave()
	eventually(t, "it is not sent", promised, func() bool { _, sent := event(second); return sent })
	if caller.Said(t, alice.On(1), bob, room) {
		t.Error("bob is said to be in the call")
	}
	dep.Restart(t, 0)
}

func TestMinutesAreUsedUp(t *testing.T) {
	t.Parallel()
	dep, _ := meeting(t, 1)
	alice := dep.User(t, "alice")
	room := alice.MustCreateRoom(t, map[string]any{})
	in := caller.Enter(t, dep, alice, room)
	eventually(t, "alice is not there", promised, func() bool { return present(t, dep, alice) == 1 })
	ends := 240000
	eventually(t, "nothing is said before the end", promised, func() bool { // as long as a channel is not open, what is said there is lost
		ends++
		set(t, dep, `UPDATE rtc_rooms SET ends_ts = started_ts + $1`, ends)
		select {
		case said := <-in.Data:
			if !bytes.Contains(said, []byte(`"type":"ending"`)) || !bytes.Contains(said, []byte(`"ends_ts":`)) {
				t.Errorf("what is said before the end: %s", said)
			}
			return true
		case <-time.After(5 * time.Second):
			return false
		}
	})
	set(t, dep, `UPDATE rtc_rooms SET ends_ts = started_ts + 1`)
	mustGo(t, in, lksdk.OtherReason) // the room is deleted, for which the library has no word
	eventually(t, "alice is said to be in the call", promised, func() bool { return !caller.Said(t, alice, alice, room) })
}
