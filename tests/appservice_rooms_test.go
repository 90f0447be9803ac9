package tests

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

// bridged is a deployment with two application services, irc and xmpp. The first has exclusive names, the other shares its.
type bridged struct {
	*hstest.Deployment
	t *testing.T
}

const otherToken = "as-token-of-another"

func startBridged(t *testing.T) bridged {
	t.Helper()
	var pong atomic.Int64
	dir := t.TempDir()
	var files []string
	for name, text := range map[string]string{
		"irc": "{id: irc, url: '" + bridge(t, &pong) + "', as_token: " + asToken + ", hs_token: " + hsToken + `, sender_localpart: _irc_bot, protocols: [irc],
			namespaces: {users: [{exclusive: true, regex: '@_irc_.*'}], aliases: [{exclusive: true, regex: '#_irc_.*'}, {exclusive: true, regex: '#irc_.*'}]}}`,
		"xmpp": "{id: xmpp, url: null, as_token: " + otherToken + ", hs_token: another-" + hsToken + `, sender_localpart: _xmpp_bot,
			namespaces: {users: [{exclusive: true, regex: '@_xmpp_.*'}], aliases: [{exclusive: false, regex: '#xmpp_.*'}]}}`,
	} {
		file := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return bridged{t: t, Deployment: hstest.Start(t, hstest.Options{Processes: 2, Configure: func(_ int, config map[string]any) {
		config["appservices"] = map[string]any{"registrations": files}
	}})}
}

// as asks a process with a token, and wants an answer.
func (b bridged) as(process int, token, method, path string, body any, status int, code string) hstest.Response {
	b.t.Helper()
	r, err := b.Do(b.t.Context(), process, token, method, path, body)
	if err != nil || r.Status != status || r.ErrCode() != code {
		b.t.Fatalf("%s %s: %s %v, want %d %s", method, path, r, err, status, code)
	}
	return r
}

// chunkRooms are the rooms of a page, sorted.
func chunkRooms(page gjson.Result) []string {
	rooms := []string{}
	for _, r := range page.Get("chunk").Array() {
		rooms = append(rooms, r.Get("room_id").String())
	}
	slices.Sort(rooms)
	return rooms
}

func TestApplicationServicesListRoomsOfTheirNetworks(t *testing.T) {
	t.Parallel()
	dep := startBridged(t)
	alice := dep.User(t, "alice")
	named := func(name string) string {
		return alice.MustCreateRoom(t, map[string]any{"preset": "public_chat", "name": name})
	}
	inX, inBoth, own := named("In X"), named("In both"), named("Own")
	list := func(network, room string) string {
		return hstest.Path("directory", "list", "appservice", network, room)
	}
	ownList := hstest.Path("directory", "list", "room", own)
	public, private := map[string]any{"visibility": "public"}, map[string]any{"visibility": "private"}
	for _, room := range []string{inX, inBoth, inBoth} { // again changes nothing
		dep.as(0, asToken, "PUT", list("x", room), public, 200, "")
	}
	dep.as(1, asToken, "PUT", list("y", inBoth), public, 200, "")
	dep.as(1, otherToken, "PUT", list("x", inX), public, 200, "") // a network of another application service, by chance of the same name
	alice.MustDo(t, "PUT", ownList, public)

	instance := alice.MustDo(t, "GET", "/_matrix/client/v3/thirdparty/protocols", nil).Get("irc.instances.0.instance_id").String()
	network := func(id string) map[string]any { return map[string]any{"third_party_instance_id": id} }
	all := map[string]any{"include_all_networks": true}
	// listed wants the rooms in a list, and that both forms of the request say the same, and how many there are.
	listed := func(what string, of map[string]any, want ...string) {
		t.Helper()
		query := url.Values{}
		if id, ok := of["third_party_instance_id"].(string); ok {
			query.Set("third_party_instance_id", id)
		} else if len(of) > 0 {
			query.Set("include_all_networks", "true")
		}
		for process := range 2 {
			for _, answer := range []gjson.Result{
				alice.On(process).MustDo(t, "POST", hstest.Path("publicRooms"), of),
				alice.On(process).MustDo(t, "GET", hstest.Path("publicRooms")+"?"+query.Encode(), nil),
			} {
				got, total := chunkRooms(answer), answer.Get("total_room_count_estimate").Int()
				if slices.Sort(want); !slices.Equal(got, want) || total != int64(len(want)) {
					t.Errorf("%s: %v of %d; want %v", what, got, total, want)
				}
			}
		}
	}
	listed("network x", network(instance), inX, inBoth)
	listed("network y", network("irc|y"), inBoth)
	listed("the other's x", network("xmpp|x"), inX)
	listed("no network", network("irc|z"))
	listed("no application service", network("nonsense"))
	listed("the own list", map[string]any{}, own)
	listed("all", all, inX, inBoth, own)
	first := alice.MustDo(t, "POST", hstest.Path("publicRooms"), map[string]any{"third_party_instance_id": instance, "limit": 1})
	second := alice.MustDo(t, "POST", hstest.Path("publicRooms"), map[string]any{"third_party_instance_id": instance, "limit": 1, "since": first.Get("next_batch").String()})
	got := append(chunkRooms(first), chunkRooms(second)...)
	if len(got) != 2 || !slices.Contains(got, inX) || !slices.Contains(got, inBoth) || second.Get("next_batch").Exists() {
		t.Errorf("page by page: %v", got)
	}
	found := alice.MustDo(t, "POST", hstest.Path("publicRooms"), map[string]any{"third_party_instance_id": instance, "filter": map[string]any{"generic_search_term": "both"}})
	if got := chunkRooms(found); !slices.Equal(got, []string{inBoth}) {
		t.Errorf("searched in a network: %v", got)
	}
	if got := alice.MustDo(t, "GET", hstest.Path("directory", "list", "room", inX), nil).Get("visibility").String(); got != "private" {
		t.Errorf("a room in a network's list only is %s", got)
	}

	// Each list is its own.
	alice.MustDo(t, "PUT", hstest.Path("directory", "list", "room", inX), public)
	listed("two lists", map[string]any{}, own, inX)
	alice.MustDo(t, "PUT", hstest.Path("directory", "list", "room", inX), private)
	listed("out of the own list", map[string]any{}, own)
	listed("still in the network's", network(instance), inX, inBoth)
	dep.as(0, asToken, "PUT", list("x", inBoth), private, 200, "")
	dep.as(0, asToken, "PUT", list("x", inX), private, 200, "")
	listed("empty", network(instance))
	listed("in the other network", network("irc|y"), inBoth)
	listed("of the other application service", network("xmpp|x"), inX)
	dep.as(0, otherToken, "PUT", list("x", inX), private, 200, "")
	listed("out of all", all, inBoth, own)

	// A room that is replaced gives its place to the new one, and a room that everybody has left is not listed.
	newer := alice.MustDo(t, "POST", hstest.Path("rooms", inBoth, "upgrade"), map[string]any{"new_version": "11"}).Get("replacement_room").String()
	listed("replaced", network("irc|y"), newer)
	alice.MustLeave(t, newer)
	hstest.Eventually(t, "the room that nobody is in leaves the list", func() bool {
		return len(chunkRooms(alice.MustDo(t, "POST", hstest.Path("publicRooms"), network("irc|y")))) == 0
	})

	for _, bad := range []struct {
		network, room, code string
		status              int
		body                any
	}{
		{"x", inX, "M_MISSING_PARAM", 400, map[string]any{}},
		{"x", inX, "M_INVALID_PARAM", 400, map[string]any{"visibility": "hidden"}},
		{"x", inX, "M_BAD_JSON", 400, map[string]any{"visibility": 1}},
		{"x", inX, "M_NOT_JSON", 400, nil},
		{"x", "nonsense", "M_INVALID_PARAM", 400, public},
		{"x", "!nowhere:hs.test", "M_NOT_FOUND", 404, public},
		{strings.Repeat("x", 256), inX, "M_INVALID_PARAM", 400, public},
	} {
		dep.as(0, asToken, "PUT", list(bad.network, bad.room), bad.body, bad.status, bad.code)
	}
	alice.MustFail(t, 403, "M_FORBIDDEN", "PUT", list("x", own), public)
	dep.as(0, "", "PUT", list("x", own), public, 401, "M_MISSING_TOKEN")
	alice.MustFail(t, 400, "M_INVALID_PARAM", "POST", hstest.Path("publicRooms"), map[string]any{"include_all_networks": true, "third_party_instance_id": instance})
	alice.MustFail(t, 400, "M_INVALID_PARAM", "POST", hstest.Path("publicRooms"), network(strings.Repeat("x", 2000)))
	for i := range 50 {
		dep.as(0, asToken, "PUT", list("many"+string(rune('0'+i)), own), public, 200, "")
	}
	dep.as(0, asToken, "PUT", list("one more", own), public, 403, "M_FORBIDDEN")
	dep.as(0, asToken, "PUT", list("many0", own), public, 200, "") // it is there
}

func TestApplicationServicesKeepAliases(t *testing.T) {
	t.Parallel()
	dep := startBridged(t)
	alice := dep.User(t, "alice")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	path := func(alias string) string { return hstest.Path("directory", "room", "#"+alias+":hs.test") }
	target := map[string]any{"room_id": room}
	dep.as(0, asToken, "POST", hstest.Path("rooms", room, "join"), map[string]any{}, 200, "")
	dep.as(0, otherToken, "POST", hstest.Path("rooms", room, "join"), map[string]any{}, 200, "")

	for _, name := range []string{"_irc_a", "irc_a"} {
		alice.MustFail(t, 400, "M_EXCLUSIVE", "PUT", path(name), target)
		alice.MustFail(t, 400, "M_EXCLUSIVE", "POST", hstest.Path("createRoom"), map[string]any{"room_alias_name": name})
		dep.as(0, otherToken, "PUT", path(name), target, 400, "M_EXCLUSIVE")
		alice.MustFail(t, 404, "M_NOT_FOUND", "GET", path(name), nil)
	}
	dep.as(0, asToken, "PUT", path("_irc_a"), target, 200, "")
	dep.as(0, asToken, "PUT", path("_irc_a"), target, 409, "M_UNKNOWN")
	dep.as(0, asToken, "PUT", path("other"), target, 400, "M_EXCLUSIVE")
	dep.as(0, asToken, "PUT", path("xmpp_a"), target, 400, "M_EXCLUSIVE")
	dep.as(0, asToken, "POST", hstest.Path("createRoom"), map[string]any{"room_alias_name": "other"}, 400, "M_EXCLUSIVE")
	dep.as(1, asToken, "POST", hstest.Path("createRoom"), map[string]any{"room_alias_name": "_irc_b"}, 200, "")
	alice.MustDo(t, "PUT", path("other"), target)
	// Rooms of the organisation get aliases of the application service whether it is in them or not.
	private := map[string]any{"room_id": alice.MustCreateRoom(t, nil)}
	dep.User(t, "bob").MustFail(t, 403, "M_FORBIDDEN", "PUT", path("another"), private)
	dep.as(0, asToken, "PUT", path("_irc_private"), private, 200, "")
	if got := alice.MustDo(t, "GET", path("_irc_private"), nil).Get("room_id").String(); got != private["room_id"] {
		t.Errorf("the alias leads to %s", got)
	}
	dep.as(0, asToken, "PUT", path("_irc_none"), map[string]any{"room_id": "!none:hs.test"}, 404, "M_NOT_FOUND")
	// A namespace that is not exclusive is everybody's; but the application service may tidy up in it.
	alice.MustDo(t, "PUT", path("xmpp_a"), target)
	alice.MustDo(t, "PUT", path("xmpp_b"), target)
	dep.as(0, asToken, "DELETE", path("xmpp_a"), nil, 403, "M_FORBIDDEN")
	dep.as(0, otherToken, "DELETE", path("other"), nil, 403, "M_FORBIDDEN")
	dep.as(1, otherToken, "DELETE", path("xmpp_a"), nil, 200, "")
	alice.MustFail(t, 404, "M_NOT_FOUND", "GET", path("xmpp_a"), nil)
	alice.MustDo(t, "DELETE", path("xmpp_b"), nil)
}

func TestApplicationServicesSayWhenEventsWereSent(t *testing.T) {
	t.Parallel()
	dep := startBridged(t)
	alice := dep.User(t, "alice")
	room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	const then = 1234567890123
	const at = "?ts=1234567890123"
	send := func(kind string, more ...string) string {
		return hstest.Path(append([]string{"rooms", room, kind}, more...)...)
	}
	when := func(event string) int64 {
		t.Helper()
		return alice.MustDo(t, "GET", send("event", event), nil).Get("origin_server_ts").Int()
	}
	text, topic := map[string]any{"msgtype": "m.text", "body": "x"}, map[string]any{"topic": "x"}
	bot := send("state", "m.room.member", "@_irc_bot:hs.test")
	id := func(r hstest.Response) string { return r.JSON().Get("event_id").String() }
	joined := id(dep.as(0, asToken, "PUT", bot+at, map[string]any{"membership": "join"}, 200, ""))
	alice.MustDo(t, "PUT", send("state", "m.room.power_levels", ""), map[string]any{"state_default": 0, "redact": 0})
	message := id(dep.as(0, asToken, "PUT", send("send", "m.room.message", "t")+at, text, 200, ""))
	state := id(dep.as(1, asToken, "PUT", send("state", "m.room.topic", "")+at, topic, 200, ""))
	redaction := id(dep.as(1, asToken, "PUT", send("send", "m.room.redaction", "t")+at, map[string]any{"redacts": message}, 200, ""))
	for what, event := range map[string]string{"join": joined, "message": message, "state": state, "redaction": redaction} {
		if got := when(event); got != then {
			t.Errorf("%s: sent at %d; want %d", what, got, int64(then))
		}
	}
	if got := id(dep.as(1, asToken, "PUT", send("send", "m.room.message", "t")+"?ts=5", text, 200, "")); got != message {
		t.Error("the same transaction with another time made another event")
	}
	// Without ts, and to people, whatever they say, it is now.
	begun := time.Now().Add(-time.Hour).UnixMilli()
	plain := id(dep.as(0, asToken, "PUT", send("send", "m.room.message", "u"), text, 200, ""))
	ours := alice.MustDo(t, "PUT", send("send", "m.room.message", "v")+at, text).Get("event_id").String()
	for what, event := range map[string]string{"without ts": plain, "alice's": ours} {
		if got := when(event); got < begun {
			t.Errorf("%s: sent at %d", what, got)
		}
	}
	alice.MustDo(t, "PUT", send("send", "m.room.message", "w")+"?ts=nonsense", text)
	for _, bad := range []string{"", "x", "-1", "0", "1.5", "9007199254740992", "99999999999999999999"} {
		dep.as(0, asToken, "PUT", send("send", "m.room.message", "x")+"?ts="+bad, text, 400, "M_INVALID_PARAM")
		dep.as(0, asToken, "PUT", send("state", "m.room.topic", "")+"?ts="+bad, topic, 400, "M_INVALID_PARAM")
		dep.as(0, asToken, "PUT", send("send", "m.room.message", "x")+"?org.matrix.msc4140.delay=1000&ts="+bad, text, 400, "M_INVALID_PARAM")
	}
	// What is sent later is sent with the time that was given at first.
	since := alice.MustSync(t, hstest.Sync{}).Get("next_batch").String()
	dep.as(1, asToken, "PUT", send("send", "m.room.message", "later")+at+"&org.matrix.msc4140.delay=10", map[string]any{"msgtype": "m.text", "body": "later"}, 200, "")
	alice.MustSyncUntil(t, since, func(answer gjson.Result) bool {
		for _, e := range answer.Get("rooms.join." + gjson.Escape(room) + ".timeline.events").Array() {
			if e.Get("content.body").String() == "later" {
				if got := e.Get("origin_server_ts").Int(); got != then {
					t.Errorf("delayed: sent at %d", got)
				}
				return true
			}
		}
		return false
	})
}
