package meetings_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/caller"
	"github.com/roomline/roomline/internal/store/storetest"
)

// promised is what must happen within seconds; a busy machine gets more time, and the benchmark says how long it takes.
const promised = 90 * time.Second

func webhooksOf(dep *hstest.Deployment) string { return dep.BaseURL(0) + "/_roomline/livekit/webhook" }

// meeting is a deployment with a media server.
func meeting(t *testing.T, processes int) (*hstest.Deployment, *hstest.LiveKitServer) {
	t.Helper()
	lk := hstest.LiveKit(t)
	dep := hstest.Start(t, hstest.Options{Processes: processes, Configure: caller.Configure(lk)})
	lk.WebhookTo(t, webhooksOf(dep))
	return dep, lk
}

func eventually(t *testing.T, what string, patience time.Duration, f func() bool) {
	t.Helper()
	for begin := time.Now(); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("after %s: %s", patience, what)
		}
	}
}

// mustGo waits until a caller was put out.
func mustGo(t *testing.T, c *caller.Caller, want lksdk.DisconnectionReason) {
	t.Helper()
	begin := time.Now()
	select {
	case reason := <-c.Gone:
		if reason != want {
			t.Errorf("put out with the reason %q, not %q", reason, want)
		}
		t.Logf("out after %s", time.Since(begin).Round(time.Millisecond))
	case <-time.After(promised):
		t.Errorf("still in the call")
	}
}

// refreshed is a token as LiveKit gives to those whom it has let in, which holds for ten minutes.
func refreshed(t *testing.T, lk *hstest.LiveKitServer, jwt string) string {
	t.Helper()
	v, err := auth.ParseAPIToken(jwt)
	if err != nil {
		t.Fatal(err)
	}
	_, grants, err := v.Verify(lk.Secret)
	if err != nil {
		t.Fatal(err)
	}
	token, err := auth.NewAccessToken(lk.Key, lk.Secret).SetIdentity(grants.Identity).SetValidFor(10 * time.Minute).SetVideoGrant(grants.Video).ToJWT()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// mustNotStay connects with a token, which may be refused, or end soon.
func mustNotStay(t *testing.T, lk *hstest.LiveKitServer, jwt string) {
	t.Helper()
	c, err := caller.Connect(lk.PublicURL, jwt)
	if err != nil {
		return
	}
	defer c.Leave()
	mustGo(t, c, lksdk.ParticipantRemoved)
}

type cause struct {
	name string
	// act is done at a process, by alice who owns the room or by an administrator, or by who it is about.
	act func(t *testing.T, alice, admin, who *hstest.User, room string)
}

func causes() []cause {
	do := func(u *hstest.User, method, path string, body any) func(*testing.T) {
		return func(t *testing.T) { u.MustDo(t, method, path, body) }
	}
	room := func(action string) func(t *testing.T, alice, admin, who *hstest.User, room string) {
		return func(t *testing.T, alice, _, who *hstest.User, room string) {
			do(alice, http.MethodPost, hstest.Path("rooms", room, action), map[string]any{"user_id": who.ID})(t)
		}
	}
	account := func(change map[string]any) func(t *testing.T, alice, admin, who *hstest.User, room string) {
		return func(t *testing.T, _, admin, who *hstest.User, _ string) {
			admin.MustDo(t, http.MethodPut, "/_synapse/admin/v2/users/"+url.PathEscape(who.ID), change)
		}
	}
	return []cause{
		{"kick", room("kick")},
		{"ban", room("ban")},
		{"leave", func(t *testing.T, _, _, who *hstest.User, room string) { who.MustLeave(t, room) }},
		{"logout", func(t *testing.T, _, _, who *hstest.User, _ string) {
			who.MustDo(t, http.MethodPost, hstest.Path("logout"), nil)
		}},
		{"deleted device", func(t *testing.T, _, admin, who *hstest.User, _ string) {
			admin.MustDo(t, http.MethodDelete, "/_synapse/admin/v2/users/"+url.PathEscape(who.ID)+"/devices/"+who.DeviceID, nil)
		}},
		{"password", func(t *testing.T, _, admin, who *hstest.User, _ string) {
			admin.MustDo(t, http.MethodPost, "/_synapse/admin/v1/reset_password/"+url.PathEscape(who.ID), map[string]any{"new_password": "another one", "logout_devices": true})
		}},
		{"lock", account(map[string]any{"locked": true})},
		{"suspension", func(t *testing.T, _, admin, who *hstest.User, _ string) {
			admin.MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/suspend/"+url.PathEscape(who.ID), map[string]any{"suspended": true})
		}},
		{"deactivation", account(map[string]any{"deactivated": true})},
	}
}

func TestWhoMayNotBeInTheCallIsPutOut(t *testing.T) {
	t.Parallel()
	dep, lk := meeting(t, 3)
	alice, admin := dep.User(t, "alice"), dep.Admin(t, "admin")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	stays := caller.Enter(t, dep, alice, room)
	var outside []string
	for i, c := range causes() {
		who := dep.User(t, "user"+strings.ReplaceAll(c.name, " ", ""))
		who.MustJoin(t, room)
		url, jwt := caller.Token(t, dep, who, room)
		caller.Say(t, who, room)
		in, err := caller.Connect(url, jwt)
		if err != nil {
			t.Fatal(err)
		}
		outside = append(outside, refreshed(t, lk, jwt), jwt)
		t.Run(c.name, func(t *testing.T) {
			c.act(t, alice.On(i%3), admin.On(i%3), who.On(i%3), room)
			mustGo(t, in, lksdk.ParticipantRemoved)
		})
		in.Leave()
	}
	t.Run("old tokens", func(t *testing.T) {
		for _, jwt := range outside {
			mustNotStay(t, lk, jwt)
		}
	})
	select {
	case reason := <-stays.Gone:
		t.Errorf("alice was put out, too: %s", reason)
	default:
	}
}

func TestOrganisationsEndCalls(t *testing.T) {
	t.Parallel()
	dep, lk := meeting(t, 2)
	org := dep.Organisation(t, "A customer", "customer.test")
	dana := org.User(t, "dana")
	room := dana.MustCreateRoom(t, map[string]any{})
	t.Run("policy", func(t *testing.T) {
		in := caller.Enter(t, dep, dana, room)
		org.Owner.MustDo(t, http.MethodPut, "/_roomline/admin/v1/policies/meetings", map[string]any{"enabled": false})
		mustGo(t, in, lksdk.ParticipantRemoved)
		org.Owner.On(1).MustDo(t, http.MethodDelete, "/_roomline/admin/v1/policies/meetings", nil)
	})
	t.Run("suspension", func(t *testing.T) {
		url, jwt := caller.Token(t, dep, dana, room)
		in, err := caller.Connect(url, jwt)
		if err != nil {
			t.Fatal(err)
		}
		dep.Operator(t).On(1).MustDo(t, http.MethodPost, fmt.Sprintf("/_roomline/operator/v1/organisations/%d/suspend", org.ID), map[string]any{})
		mustGo(t, in, lksdk.ParticipantRemoved)
		mustNotStay(t, lk, refreshed(t, lk, jwt))
	})
}

// A guest's time ends the guest in the room and in the call.
func TestAGuestWhoseTimeIsOverIsInNoCall(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 2})
	s.lk.WebhookTo(t, webhooksOf(s.Deployment))
	g := s.guest(t, "participant")
	url, jwt := caller.Token(t, s.Deployment, g, s.room)
	in, err := caller.Connect(url, jwt)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the guest is not there", promised, func() bool { return present(t, s.Deployment, g) == 1 })
	s.exec(t, `UPDATE guests SET expires_ts = (extract(epoch FROM now()) * 1000)::bigint WHERE user_id = $1`, g.ID)
	mustGo(t, in, lksdk.ParticipantRemoved)
	mustNotStay(t, s.lk, refreshed(t, s.lk, jwt))
}

// The process that took the request, which may be the one that follows the journal, is gone the moment after it answered.
func TestWhoWasKickedGoesAlthoughTheProcessDies(t *testing.T) {
	t.Parallel()
	lk := hstest.LiveKit(t)
	dep := hstest.Start(t, hstest.Options{Processes: 3, Configure: caller.Configure(lk)})
	lk.WebhookTo(t, dep.BaseURL(2)+"/_roomline/livekit/webhook")
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	in := caller.Enter(t, dep, bob, room)
	alice.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "kick"), map[string]any{"user_id": bob.ID})
	dep.Kill9(t, 0)
	mustGo(t, in, lksdk.ParticipantRemoved)
	dep.Restart(t, 0)
}

func TestRightsInTheCallFollowThoseInTheRoom(t *testing.T) {
	t.Parallel()
	dep, _ := meeting(t, 2)
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	caller.Enter(t, dep, alice, room)
	in := caller.Enter(t, dep, bob, room)
	for _, source := range []livekit.TrackSource{livekit.TrackSource_CAMERA, livekit.TrackSource_MICROPHONE} {
		if _, err := in.Publish(source); err != nil {
			t.Fatal(err)
		}
	}
	sends := func() []string {
		var names []string
		for _, p := range in.Room.LocalParticipant.TrackPublications() {
			names = append(names, p.Source().String())
		}
		slices.Sort(names)
		return names
	}
	if got := sends(); len(got) != 2 {
		t.Fatalf("bob sends %v", got)
	}
	alice.On(1).MustSetState(t, room, "org.roomline.meeting", "", map[string]any{"publish": map[string]any{"microphone": 0, "camera": 25, "screen_share": 25}})
	eventually(t, "bob's camera is on", promised, func() bool { return slices.Equal(sends(), []string{"MICROPHONE"}) })
	levels := alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "state", "m.room.power_levels"), nil).Value().(map[string]any)
	levels["users"].(map[string]any)[bob.ID] = 25
	alice.MustSetState(t, room, "m.room.power_levels", "", levels)
	eventually(t, "a presenter may not show a picture", promised, func() bool {
		return slices.Contains(in.Room.LocalParticipant.Permissions().CanPublishSources, livekit.TrackSource_CAMERA)
	})
	if _, err := in.Publish(livekit.TrackSource_CAMERA); err != nil {
		t.Errorf("a presenter's picture: %v", err)
	}
}

func TestAnOldTokenGivesTheRightsOfNow(t *testing.T) {
	t.Parallel()
	dep, _ := meeting(t, 1)
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	url, jwt := caller.Token(t, dep, bob, room)
	alice.MustSetState(t, room, "org.roomline.meeting", "", map[string]any{"publish": map[string]any{"microphone": 50, "camera": 50, "screen_share": 50}})
	in, err := caller.Connect(url, jwt)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Leave()
	eventually(t, "bob may speak", promised, func() bool { return !in.Room.LocalParticipant.Permissions().CanPublish })
}

// Locking keeps those in who are there, and those out who left before it.
func TestALockedMeetingIsLockedForThoseWithOldTokens(t *testing.T) {
	t.Parallel()
	dep, lk := meeting(t, 1)
	alice, bob, carol := dep.User(t, "alice"), dep.User(t, "bob"), dep.User(t, "carol")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	bob.MustJoin(t, room)
	carol.MustJoin(t, room)
	stays := caller.Enter(t, dep, bob, room)
	url, jwt := caller.Token(t, dep, carol, room)
	left, err := caller.Connect(url, jwt)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "bob and carol are not there", promised, func() bool { return present(t, dep, bob) == 1 && present(t, dep, carol) == 1 })
	left.Leave()
	eventually(t, "carol is still there", promised, func() bool { return present(t, dep, carol) == 0 })
	alice.MustSetState(t, room, "org.roomline.meeting", "", map[string]any{"locked": true})
	set(t, dep, `UPDATE rtc_participants SET left_ts = left_ts - 60000 WHERE user_id = $1`, carol.ID) // a minute later
	mustNotStay(t, lk, refreshed(t, lk, jwt))
	select {
	case reason := <-stays.Gone:
		t.Errorf("bob was put out: %s", reason)
	default:
	}
}

// present is how many devices of a user are in calls, as the database knows.
func present(t *testing.T, dep *hstest.Deployment, u *hstest.User) (n int) {
	t.Helper()
	err := storetest.DB(t, dep.DSN).QueryRow(`
		SELECT count(*) FROM rtc_participants WHERE user_id = $1 AND joined_ts IS NOT NULL AND left_ts IS NULL`, u.ID).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func set(t *testing.T, dep *hstest.Deployment, query string, args ...any) {
	t.Helper()
	if _, err := storetest.DB(t, dep.DSN).Exec(query, args...); err != nil {
		t.Fatal(err)
	}
}
