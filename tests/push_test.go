package tests

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/freeport"
	"github.com/roomline/roomline/internal/store/storetest"
)

func read(t *testing.T, u *hstest.User, room, kind, event string, body map[string]any) {
	t.Helper()
	u.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "receipt", kind, event), body)
}

// twoOf is a room of two.
func twoOf(t *testing.T, a, b *hstest.User) string {
	t.Helper()
	room := a.MustCreateRoom(t, map[string]any{"name": "Mission Control", "preset": "private_chat", "invite": []string{b.ID}})
	b.MustJoin(t, room)
	return room
}

func TestPushersAreCheckedAndKept(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	const url = "https://push.example.org/_matrix/push/v1/notify"
	set := hstest.Path("pushers", "set")
	for name, bad := range map[string]struct {
		code string
		body map[string]any
	}{
		"no app_id":         {"M_MISSING_PARAM", pusher("k", url, map[string]any{"app_id": ""})},
		"no pushkey":        {"M_MISSING_PARAM", pusher("", url, nil)},
		"no lang":           {"M_MISSING_PARAM", pusher("k", url, map[string]any{"lang": nil})},
		"no data":           {"M_MISSING_PARAM", pusher("k", url, map[string]any{"data": map[string]any{}})},
		"data no object":    {"M_INVALID_PARAM", pusher("k", url, map[string]any{"data": []string{}})},
		"long app_id":       {"M_INVALID_PARAM", pusher("k", url, map[string]any{"app_id": strings.Repeat("a", 65)})},
		"long pushkey":      {"M_INVALID_PARAM", pusher(strings.Repeat("k", 513), url, nil)},
		"no kind":           {"M_MISSING_PARAM", map[string]any{"app_id": "a", "pushkey": "k"}},
		"kind":              {"M_INVALID_PARAM", pusher("k", url, map[string]any{"kind": "email"})},
		"path":              {"M_INVALID_PARAM", pusher("k", "https://push.example.org/notify", nil)},
		"no URL":            {"M_INVALID_PARAM", pusher("k", "push", nil)},
		"scheme":            {"M_INVALID_PARAM", pusher("k", "ftp://push.example.org/_matrix/push/v1/notify", nil)},
		"password in URL":   {"M_INVALID_PARAM", pusher("k", "https://a:b@push.example.org/_matrix/push/v1/notify", nil)},
		"format":            {"M_INVALID_PARAM", pusher("k", url, map[string]any{"data": map[string]any{"url": url, "format": 1}})},
		"app_id no string":  {"M_BAD_JSON", pusher("k", url, map[string]any{"app_id": 7})},
		"append no boolean": {"M_BAD_JSON", pusher("k", url, map[string]any{"append": "yes"})},
	} {
		r, err := alice.Do(t.Context(), http.MethodPost, set, bad.body)
		if err != nil || r.Status != http.StatusBadRequest || r.ErrCode() != bad.code {
			t.Errorf("%s: %v %v, want %s", name, r, err, bad.code)
		}
	}
	setPusher(t, alice, pusher("k1", url, map[string]any{"profile_tag": "tag", "data": map[string]any{"url": url, "default_payload": map[string]any{"a": 1}}}))
	setPusher(t, alice, pusher("k1", url, map[string]any{"lang": "de", "profile_tag": "tag"}))
	list := alice.MustDo(t, http.MethodGet, hstest.Path("pushers"), nil).Get("pushers").Array()
	if len(list) != 1 || list[0].Get("lang").String() != "de" || list[0].Get("kind").String() != "http" ||
		list[0].Get("data.url").String() != url || list[0].Get("profile_tag").String() != "tag" ||
		list[0].Get(`org\.matrix\.msc3881\.device_id`).String() != alice.DeviceID || !list[0].Get(`org\.matrix\.msc3881\.enabled`).Bool() {
		t.Errorf("pushers: %v", list)
	}

	// The same key of another user: beside it, or in its place.
	setPusher(t, bob, pusher("k1", url, map[string]any{"append": true}))
	if got := pushKeys(t, alice); got != "k1" {
		t.Errorf("with append alice has %q", got)
	}
	setPusher(t, bob, pusher("k1", url, nil))
	if got := pushKeys(t, alice) + "/" + pushKeys(t, bob); got != "/k1" {
		t.Errorf("without append: %q", got)
	}
	setPusher(t, bob, map[string]any{"kind": nil, "app_id": "org.example.app", "pushkey": "k1"})
	if got := pushKeys(t, bob); got != "" {
		t.Errorf("a removed pusher is there: %q", got)
	}

	// A pusher ends with its device.
	other := alice.NewSession(t)
	setPusher(t, other, pusher("other", url, nil))
	setPusher(t, alice, pusher("own", url, nil))
	other.MustDo(t, http.MethodPost, hstest.Path("logout"), map[string]any{})
	if got := pushKeys(t, alice); got != "own" {
		t.Errorf("after the other device's logout: %q", got)
	}
}

func TestWhatGatewaysAreTold(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	g := newGateway(t)
	alice.MustDo(t, http.MethodPut, hstest.Path("profile", alice.ID, "displayname"), map[string]any{"displayname": "Major Tom"})
	room := twoOf(t, alice, bob)
	setPusher(t, bob, pusher("full", g.url, map[string]any{"data": map[string]any{"url": g.url, "default_payload": map[string]any{"aps": 1}}}))
	setPusher(t, bob, pusher("ids", g.url, map[string]any{"data": map[string]any{"url": g.url, "format": "event_id_only"}}))
	setPusher(t, bob, pusher("quiet", g.url, map[string]any{"org.matrix.msc4076.disable_badge_count": true}))
	setPusher(t, bob, pusher("off", g.url, map[string]any{"org.matrix.msc3881.enabled": false}))

	event := alice.MustSendText(t, room, "ground control")
	n := g.waitFor("full", event)
	for path, want := range map[string]string{
		"room_id": room, "type": "m.room.message", "sender": alice.ID, "sender_display_name": "Major Tom", "room_name": "Mission Control",
		"prio": "high", "content.body": "ground control", "counts.unread": "1", "devices.#": "1", "devices.0.app_id": "org.example.app",
		"devices.0.data": `{"default_payload":{"aps":1}}`, "devices.0.tweaks.sound": "default",
	} {
		if got := n.Get(path).String(); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if age := time.Now().Unix() - n.Get("devices.0.pushkey_ts").Int(); age < 0 || age > 600 {
		t.Errorf("pushkey_ts is not in seconds: %d s ago", age)
	}
	n = g.waitFor("ids", event)
	if n.Get("content").Exists() || n.Get("sender").Exists() || n.Get("room_name").Exists() || n.Get("room_id").String() != room ||
		n.Get("counts.unread").Int() != 1 || n.Get("devices.0.data").Raw != `{"format":"event_id_only"}` {
		t.Errorf("event_id_only: %s", n)
	}
	if n = g.waitFor("quiet", event); n.Get("counts").Exists() {
		t.Errorf("a count for a pusher that wants none: %s", n)
	}

	// Reading makes the badge go; who wants no badge hears nothing.
	read(t, bob, room, "m.read", event, map[string]any{})
	hstest.Eventually(t, "the badge", func() bool { return !g.last("full").Get("event_id").Exists() })
	if n = g.last("full"); n.Get("counts.unread").Raw != "0" || n.Get("prio").String() != "low" || n.Get("room_id").Exists() {
		t.Errorf("the badge: %s", n)
	}

	// An invite says whom it is for; a message of one's own and a muted room push nothing.
	second := alice.MustCreateRoom(t, map[string]any{"invite": []string{bob.ID}})
	hstest.Eventually(t, "the invite", func() bool { return g.last("full").Get("room_id").String() == second })
	if n = g.last("full"); !n.Get("user_is_target").Bool() || n.Get("content.membership").String() != "invite" || n.Get("prio").String() != "high" {
		t.Errorf("the invite: %s", n)
	}
	bob.MustSendText(t, room, "of my own")
	bob.MustDo(t, http.MethodPut, hstest.Path("pushrules", "global", "override", "mute"), map[string]any{
		"actions": []string{}, "conditions": []any{map[string]any{"kind": "event_match", "key": "room_id", "pattern": room}}})
	alice.MustSendText(t, room, "muted")
	bob.MustJoin(t, second)
	end := alice.MustSendText(t, second, "the end")
	g.waitFor("full", end)
	if got := g.events("full"); len(got) != 3 {
		t.Errorf("pushed: %v", got)
	}
	if got := g.events("off"); len(got) != 0 {
		t.Errorf("pushed for a pusher that is off: %v", got)
	}

	// A rejected key is not used again, the others are.
	g.mu.Lock()
	g.reject["full"] = true
	g.mu.Unlock()
	rejected := alice.MustSendText(t, second, "rejected")
	g.waitFor("full", rejected)
	hstest.Eventually(t, "the removal", func() bool { return pushKeys(t, bob) == "ids quiet off" })
	g.waitFor("ids", rejected)
}

// What looks at the journal for pushes is held up, so that pushers are set while older events have not been looked at.
func TestPushersAreToldOfNothingFromBefore(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := twoOf(t, alice, bob)
	g := newGateway(t)
	off := map[string]any{"org.matrix.msc3881.enabled": false}
	setPusher(t, bob, pusher("old", g.url, nil))
	setPusher(t, bob, pusher("off", g.url, off))
	sent := []string{alice.MustSendText(t, room, "first")}
	g.waitFor("old", sent[0])

	db := storetest.DB(t, dep.DSN)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`SELECT FROM push_progress FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	sent = append(sent, alice.MustSendText(t, room, "second"))
	hstest.Eventually(t, "the end of the looking at the journal", func() bool {
		var held bool
		err := db.QueryRow(`SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()
			AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database()))`).Scan(&held)
		return err == nil && held
	})
	sent = append(sent, alice.MustSendText(t, room, "third"))
	for _, key := range []string{"old", "off", "new"} { // set again, enabled, new
		setPusher(t, bob, pusher(key, g.url, nil))
	}
	sent = append(sent, alice.MustSendText(t, room, "fourth"))
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][]string{"old": sent, "off": sent[3:], "new": sent[3:]} {
		g.waitFor(key, sent[3])
		if got := g.events(key); !slices.Equal(got, want) {
			t.Errorf("%s was told of\n%v, want\n%v", key, got, want)
		}
	}
}

// Locked people and those of suspended organisations are told of nothing while they are; what was queued before waits.
func TestWhoMayNotReadIsNotPushed(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	op, alice, bob, carol := dep.Operator(t), dep.User(t, "alice"), dep.User(t, "bob"), dep.User(t, "carol")
	acme := dep.Organisation(t, "Acme", "acme.example")
	dana := acme.User(t, "dana")
	inside := acme.Owner.MustCreateRoom(t, map[string]any{"invite": []string{dana.ID}})
	dana.MustJoin(t, inside)
	room := twoOf(t, alice, bob)
	alice.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "invite"), map[string]any{"user_id": carol.ID})
	carol.MustJoin(t, room)
	g := newGateway(t)
	for key, u := range map[string]*hstest.User{"bob": bob, "carol": carol, "dana": dana} {
		setPusher(t, u, pusher(key, g.url, nil))
	}
	op.MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/lock/"+bob.ID, map[string]any{"locked": true})
	while := alice.MustSendText(t, room, "while bob is locked")
	g.waitFor("carol", while)
	op.MustDo(t, http.MethodPut, "/_matrix/client/v1/admin/lock/"+bob.ID, map[string]any{"locked": false})
	after := alice.MustSendText(t, room, "bob again")
	g.waitFor("bob", after)
	if got := g.events("bob"); !slices.Equal(got, []string{after}) {
		t.Errorf("bob was told of %v, want %v alone", got, after)
	}

	g.waitFor("carol", after) // which would be taken for the attempt below

	// What waits at a gateway that is away does not arrive once the organisation is suspended. The gateway is held up until then: no attempt
	// that was begun before comes through after.
	release := g.hold("dana")
	defer release()
	before := g.tried()
	waiting := acme.Owner.MustSendText(t, inside, "waits")
	hstest.Eventually(t, "an attempt", func() bool { return g.tried() > before })
	op.MustDo(t, http.MethodPost, fmt.Sprintf("/_roomline/operator/v1/organisations/%d/suspend", acme.ID), nil)
	release()
	retryNow(t, dep, "dana", func() bool { return false })
	for range 2 {
		g.waitFor("carol", alice.MustSendText(t, room, "others go on"))
	}
	if got := g.events("dana"); slices.Contains(got, waiting) {
		t.Errorf("dana, whose organisation is suspended, was told of %v", got)
	}
	op.MustDo(t, http.MethodPost, fmt.Sprintf("/_roomline/operator/v1/organisations/%d/resume", acme.ID), nil)
	g.waitFor("dana", waiting)
}

// A gateway that takes requests and never answers holds up none but its own.
func TestHangingGatewayHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{})
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(release) })
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	for _, u := range dep.Users(t, "hung", 40) {
		u.MustJoin(t, room)
		setPusher(t, u, pusher(u.ID, hanging.URL+"/_matrix/push/v1/notify", nil))
	}
	bob.MustJoin(t, room)
	g := newGateway(t)
	setPusher(t, bob, pusher("bob", g.url, nil))
	for range 3 {
		g.waitFor("bob", alice.MustSendText(t, room, "hello"))
	}
}

// What is not TLS stays inside, whatever the name of the gateway leads to.
func TestPlainGatewaysAreInsideOnly(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Configure: func(_ int, config map[string]any) { delete(config, "outbound") }})
	alice := dep.User(t, "alice")
	alice.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, hstest.Path("pushers", "set"),
		pusher("k", "http://127.0.0.1/_matrix/push/v1/notify", nil))
}

// TestPushesAreTriedAgain has a gateway that fails beside one that works, and processes that end in between. Nothing is lost, and what was
// told is told again only if a process is killed before it could note it.
func TestPushesAreTriedAgain(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(dep *hstest.Deployment, t testing.TB, process int){
		"stopped": (*hstest.Deployment).Stop, "killed": (*hstest.Deployment).Kill9,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dep := hstest.Start(t, hstest.Options{Processes: 2})
			alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
			room := twoOf(t, alice, bob)
			bad, good := newGateway(t), newGateway(t)
			bad.answer(http.StatusBadGateway)
			setPusher(t, bob.On(1), pusher("bad", bad.url, nil))
			setPusher(t, bob, pusher("good", good.url, nil))
			dead, err := freeport.Address()
			if err != nil {
				t.Fatal(err)
			}
			setPusher(t, bob, pusher("dead", "http://"+dead+"/_matrix/push/v1/notify", nil))

			var sent []string
			for i := range 6 {
				sent = append(sent, alice.On(i%2).MustSendText(t, room, "message"))
			}
			good.waitFor("good", sent[5])
			hstest.Eventually(t, "an attempt", func() bool { return bad.tried() > 0 })
			// Whichever process sends: both end, one after the other, and what waits is still there.
			for process := range 2 {
				end(dep, t, process)
				dep.Restart(t, process)
			}
			sent = append(sent, alice.MustSendText(t, room, "after the restart"))
			good.waitFor("good", sent[6])
			bad.answer(http.StatusOK)
			// The longer it has failed the longer is the pause.
			retryNow(t, dep, "bad", func() bool { return slices.Contains(bad.events("bad"), sent[6]) })
			bad.waitFor("bad", sent[6])
			for key, got := range map[string][]string{"bad": bad.events("bad"), "good": good.events("good")} {
				if name == "killed" {
					got = slices.Compact(got)
				}
				if !slices.Equal(got, sent) {
					t.Errorf("%s was told\n%v, want\n%v", key, got, sent)
				}
			}
		})
	}
}

func TestNotificationsAreListed(t *testing.T) {
	t.Parallel()
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	room := twoOf(t, alice, bob)
	first := alice.MustSendText(t, room, "one")
	bob.MustSendText(t, room, "of my own")
	alice.MustSend(t, room, "m.room.message", map[string]any{"msgtype": "m.notice", "body": "no notification"})
	second := alice.MustSend(t, room, "m.room.message", map[string]any{
		"msgtype": "m.text", "body": "two", "m.mentions": map[string]any{"user_ids": []string{bob.ID}}})
	third := alice.MustSendText(t, room, "three")
	read(t, bob, room, "m.read", second, map[string]any{})

	path := hstest.Path("notifications")
	// The list waits for push to look at what was said, but not as long as a busy machine may take.
	hstest.Eventually(t, "the newest being listed", func() bool {
		return bob.MustDo(t, http.MethodGet, path+"?limit=1", nil).Get("notifications.0.event.event_id").String() == third
	})
	var got []string
	from := ""
	for range 10 {
		answer := bob.MustDo(t, http.MethodGet, path+"?limit=1"+from, nil)
		for _, n := range answer.Get("notifications").Array() {
			got = append(got, n.Get("event.event_id").String()+" "+n.Get("read").Raw)
			if n.Get("room_id").String() != room || n.Get("ts").Int() == 0 || n.Get("actions.0").String() != "notify" {
				t.Errorf("notification: %s", n)
			}
		}
		if from = "&from=" + answer.Get("next_token").String(); from == "&from=" {
			break
		}
	}
	if want := third + " false," + second + " true," + first + " true"; strings.Join(got, ",") != want {
		t.Errorf("notifications: %v\nwant %s", got, want)
	}
	highlights := bob.On(1).MustDo(t, http.MethodGet, path+"?only=highlight", nil).Get("notifications").Array()
	if len(highlights) != 1 || highlights[0].Get("event.event_id").String() != second {
		t.Errorf("highlights: %v", highlights)
	}
	bob.MustFail(t, 400, "M_INVALID_PARAM", http.MethodGet, path+"?from=x", nil)
	bob.MustFail(t, 400, "M_INVALID_PARAM", http.MethodGet, path+"?limit=x", nil)
}
