package guests_test

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

func queryEscape(text string) string { return url.QueryEscape(text) }

func upload(t *testing.T, u *hstest.User, file []byte) hstest.Response {
	t.Helper()
	r, err := u.Request(context.Background(), http.MethodPost, "/_matrix/media/v3/upload", http.Header{"Content-Type": {"text/plain"}}, bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestObserversDoNotSend(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	welcome := s.host.MustSendText(t, s.room, "welcome")
	g := s.guest(t, invitation{role: "observer"})
	g.MustSyncUntil(t, "", hstest.TimelineHas(s.room, welcome))
	const refused = "M_GUEST_ACCESS_FORBIDDEN"
	g.MustFail(t, 403, refused, "PUT", hstest.Path("rooms", s.room, "send", "m.room.message", "1"), map[string]any{"msgtype": "m.text", "body": "x"})
	g.MustFail(t, 403, refused, "PUT", hstest.Path("rooms", s.room, "send", "m.reaction", "2"), map[string]any{})
	g.MustFail(t, 403, refused, "PUT", hstest.Path("rooms", s.room, "redact", welcome, "3"), map[string]any{})
	g.MustFail(t, 403, refused, "PUT", hstest.Path("rooms", s.room, "typing", g.ID), map[string]any{"typing": true})
	g.MustFail(t, 403, refused, "PUT", hstest.Path("rooms", s.room, "state", "org.matrix.msc3401.call.member", g.ID), map[string]any{})
	g.MustFail(t, 403, refused, "PUT", hstest.Path("rooms", s.room, "send", "m.room.message", "4")+"?org.matrix.msc4140.delay=1000", map[string]any{})
	g.MustFail(t, 403, refused, "PUT", "/_matrix/client/unstable/org.matrix.msc4140/rooms/"+s.room+"/delayed_event/m.room.message/5",
		map[string]any{"delay_ms": 1000, "content": map[string]any{}})
	if r := upload(t, g, []byte("x")); r.Status != 403 || r.ErrCode() != refused {
		t.Errorf("an observer uploads: %s", r)
	}
	// What they read by, and their name.
	g.MustDo(t, "POST", hstest.Path("rooms", s.room, "receipt", "m.read", welcome), map[string]any{})
	g.MustDo(t, "PUT", hstest.Path("profile", g.ID, "displayname"), map[string]any{"displayname": "Observer"})
	g.MustDo(t, "POST", hstest.Path("keys", "query"), map[string]any{"device_keys": map[string]any{s.host.ID: []any{}}})
	g.MustLeave(t, s.room)
}

func TestGuestsUploadLittle(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	s.exec(t, `INSERT INTO organisation_policies (organisation_id, name, value) VALUES (1, 'invitations', '{"guest_upload_size":1000,"guest_quota":1500,"guest_files":10}')`)
	g := s.guest(t, invitation{})
	if size := g.MustDo(t, "GET", "/_matrix/client/v1/media/config", nil).Get(`m\.upload\.size`).Int(); size != 1000 {
		t.Errorf("a guest is told that %d bytes may be uploaded", size)
	}
	if r := upload(t, g, make([]byte, 1001)); r.Status != 413 {
		t.Errorf("a file that is too large: %s", r)
	}
	if r := upload(t, g, make([]byte, 1000)); r.Status != 200 {
		t.Errorf("a file: %s", r)
	}
	if r := upload(t, g, make([]byte, 600)); r.Status < 400 {
		t.Errorf("more than the quota: %s", r)
	}
	if r := upload(t, s.host, make([]byte, 5000)); r.Status != 200 {
		t.Errorf("a member's file: %s", r)
	}
	big := map[string]any{"x": strings.Repeat("x", 200<<10)}
	g.MustDo(t, "PUT", hstest.Path("user", g.ID, "account_data", "org.example.0"), big)
	refused := false
	for i := range 6 {
		r, err := g.Do(context.Background(), "PUT", hstest.Path("user", g.ID, "account_data", "org.example."+string(rune('a'+i))), big)
		refused = refused || err == nil && r.Status == 413
	}
	if !refused {
		t.Error("a guest keeps more account data than may be")
	}
}

func TestTheMarkOfAGuestIsTheServersAlone(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	g := s.guest(t, invitation{})
	set := func(name string) {
		g.MustDo(t, "PUT", hstest.Path("profile", g.ID, "displayname"), map[string]any{"displayname": name})
	}
	is := func(want string) {
		t.Helper()
		content := s.member(t, g.ID).Get("content")
		if got := content.Get("displayname").String(); got != want {
			t.Errorf("the guest is called %q, want %q", got, want)
		}
		if !content.Get(`org\.roomline\.guest`).Exists() {
			t.Errorf("the mark is gone: %s", content)
		}
	}
	set("Berta")
	is("Berta (guest)")
	set("Berta (guest)")
	is("Berta (guest)")
	for _, name := range []string{"", "evil.com", "Anna\u202e", "@host:hs.test", strings.Repeat("a", 101)} {
		g.MustFail(t, 400, "M_INVALID_PARAM", "PUT", hstest.Path("profile", g.ID, "displayname"), map[string]any{"displayname": name})
	}
	g.MustFail(t, 403, "M_GUEST_ACCESS_FORBIDDEN", "DELETE", hstest.Path("profile", g.ID, "displayname"), nil)
	g.MustFail(t, 403, "M_GUEST_ACCESS_FORBIDDEN", "PUT", hstest.Path("profile", g.ID, "org.roomline.guest"), map[string]any{"org.roomline.guest": map[string]any{}})
	g.MustFail(t, 403, "M_GUEST_ACCESS_FORBIDDEN", "PUT", hstest.Path("profile", g.ID, "avatar_url"), map[string]any{"avatar_url": ""})
	g.MustFail(t, 403, "M_GUEST_ACCESS_FORBIDDEN", "PUT", hstest.Path("rooms", s.room, "state", "m.room.member", g.ID),
		map[string]any{"membership": "join", "displayname": "The Host"})
	is("Berta (guest)")

	// Nobody else is one by saying so.
	forged := map[string]any{"address": "boss@example.com", "verified": true}
	s.host.MustFail(t, 403, "M_FORBIDDEN", "PUT", hstest.Path("profile", s.host.ID, "org.roomline.guest"), map[string]any{"org.roomline.guest": forged})
	unmarked := func(room string, u *hstest.User) {
		t.Helper()
		content := s.host.MustDo(t, "GET", hstest.Path("rooms", room, "state", "m.room.member", u.ID), nil)
		if content.Get(`org\.roomline\.guest`).Exists() {
			t.Errorf("somebody who is no guest is marked: %s", content)
		}
	}
	other := s.User(t, "other")
	s.host.MustSetState(t, s.room, "m.room.member", s.host.ID, map[string]any{"membership": "join", "displayname": "x", "org.roomline.guest": forged})
	unmarked(s.room, s.host)
	s.host.MustSetState(t, s.room, "m.room.member", other.ID, map[string]any{"membership": "invite", "org.roomline.guest": forged})
	unmarked(s.room, other)
	other.MustDo(t, "POST", hstest.Path("join", s.room), map[string]any{"org.roomline.guest": forged})
	unmarked(s.room, other)
	made := s.host.MustCreateRoom(t, map[string]any{"initial_state": []any{
		map[string]any{"type": "m.room.member", "state_key": other.ID, "content": map[string]any{"membership": "invite", "org.roomline.guest": forged}}}})
	unmarked(made, other)
}

// TestGuestsSeeNobodyElse: ENT-03.
func TestGuestsSeeNobodyElse(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	stranger := s.User(t, "stranger")
	g := s.guest(t, invitation{})
	for _, u := range []*hstest.User{stranger, s.host} {
		g.MustFail(t, 403, "M_GUEST_ACCESS_FORBIDDEN", "GET", hstest.Path("profile", u.ID), nil)
		g.MustFail(t, 403, "M_GUEST_ACCESS_FORBIDDEN", "GET", hstest.Path("presence", u.ID, "status"), nil)
	}
	g.MustFail(t, 403, "M_GUEST_ACCESS_FORBIDDEN", "POST", hstest.Path("user_directory", "search"), map[string]any{"search_term": "stranger"})

	keys := g.MustDo(t, "POST", hstest.Path("keys", "query"), map[string]any{"device_keys": map[string]any{stranger.ID: []any{}, s.host.ID: []any{}, "@none:" + s.ServerName: []any{}}})
	if got := keys.Get("device_keys"); strings.Contains(got.Raw, "stranger") {
		t.Errorf("a guest is told of the devices of somebody outside of the room: %s", got)
	}
	// What is sent to a stranger arrives nowhere; to a member it does.
	for _, u := range []*hstest.User{stranger, s.host} {
		g.MustDo(t, "PUT", hstest.Path("sendToDevice", "org.example.test", g.TxnID()), map[string]any{"messages": map[string]any{u.ID: map[string]any{"*": map[string]any{"x": "y"}}}})
	}
	if n := len(s.host.MustSync(t, hstest.Sync{}).Get("to_device.events").Array()); n != 1 {
		t.Errorf("a member got %d messages of the guest", n)
	}
	if n := len(stranger.MustSync(t, hstest.Sync{}).Get("to_device.events").Array()); n != 0 {
		t.Errorf("somebody outside of the room got %d messages of a guest", n)
	}
	// Nobody is found who is a guest.
	found := stranger.MustDo(t, "POST", hstest.Path("user_directory", "search"), map[string]any{"search_term": "Anna"})
	if strings.Contains(found.Raw, g.ID) {
		t.Errorf("the directory has a guest: %s", found)
	}
	for _, act := range []struct {
		method, path string
		body         any
	}{
		{"POST", hstest.Path("rooms", s.room, "invite"), map[string]any{"user_id": stranger.ID}},
		{"POST", hstest.Path("rooms", s.room, "invite"), map[string]any{"medium": "email", "address": "x@example.com"}},
		{"POST", "/_roomline/client/v1/rooms/" + s.room + "/invitations", map[string]any{}},
		{"POST", hstest.Path("createRoom"), map[string]any{}},
		{"GET", hstest.Path("directory", "room", "#x:"+s.ServerName), nil},
		{"POST", hstest.Path("rooms", s.room, "upgrade"), map[string]any{"new_version": "11"}},
		{"GET", hstest.Path("publicRooms"), nil},
		{"GET", "/_matrix/client/v3/devices", nil},
		{"POST", hstest.Path("account", "password"), map[string]any{"new_password": "correct horse battery"}},
		{"POST", "/_matrix/client/v1/login/get_token", map[string]any{}},
	} {
		g.MustFail(t, 403, "M_GUEST_ACCESS_FORBIDDEN", act.method, act.path, act.body)
	}
	// By state no one is invited either.
	if r, err := g.Do(context.Background(), "PUT", hstest.Path("rooms", s.room, "state", "m.room.member", stranger.ID), map[string]any{"membership": "invite"}); err != nil || r.Status != 404 {
		t.Errorf("a guest invites by state: %v %s", err, r)
	}
	// And signs in nowhere else.
	r := s.ask(t, 0, "POST", hstest.Path("login"), map[string]any{"type": "m.login.password", "password": "", "identifier": map[string]any{"type": "m.id.user", "user": g.ID}})
	if r.Status != 403 {
		t.Errorf("a guest signs in with no password: %s", r)
	}
}
