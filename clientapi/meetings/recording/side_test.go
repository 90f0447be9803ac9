package recording_test

import (
	"context"
	"database/sql"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/caller"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestMain(m *testing.M) { lksdk.SetLogger(logger.GetDiscardLogger()); hstest.Main(m) }

type object = map[string]any

const (
	microphone = livekit.TrackSource_MICROPHONE
	asToken    = "as-token-of-the-recorder"
)

// side is a deployment with a real media server, a room of the host's, and an application service that may record.
type side struct {
	*hstest.Deployment
	lk     *hstest.LiveKitServer
	db     *sql.DB
	host   *hstest.User
	people map[string]*hstest.User
	room   string
}

func start(t *testing.T, processes int, people ...string) *side {
	t.Helper()
	return startWith(t, processes, object{"bucket": "b", "endpoint": "http://127.0.0.1:1", "access_key": "a", "secret_key": "s"}, people...)
}

// startWith is start with a bucket for recordings of Egress.
func startWith(t *testing.T, processes int, bucket object, people ...string) *side {
	t.Helper()
	registration := func(id, token, grants string) string {
		file := filepath.Join(t.TempDir(), id+".yaml")
		text := "{id: " + id + ", url: null, as_token: " + token + ", hs_token: hs-" + token + ", sender_localpart: _" + id + ", namespaces: {}, roomline: {grants: [" + grants + "], view: {event_types: []}}}"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	files := []string{registration("scribe", asToken, "record"), registration("crm", "as-token-of-another", "record"), registration("plain", "as-token-without-grant", "")}
	l := hstest.LiveKit(t)
	with := hstest.WithLiveKit(l)
	d := hstest.Start(t, hstest.Options{Processes: processes, Configure: func(process int, c map[string]any) {
		with(process, c)
		c["public_base_url"] = "https://meet.example"
		c["appservices"] = object{"registrations": files}
		c["meetings"].(map[string]any)["recordings"] = bucket
	}})
	l.WebhookTo(t, d.BaseURL(0)+"/_roomline/livekit/webhook")
	db := storetest.DB(t, d.DSN)
	s := &side{Deployment: d, lk: l, db: db, host: d.User(t, "host"), people: map[string]*hstest.User{}}
	s.room = s.host.MustCreateRoom(t, object{"preset": "private_chat"})
	for _, name := range people {
		u := d.User(t, name)
		s.host.MustInvite(t, s.room, u)
		u.MustJoin(t, s.room)
		s.people[name] = u
	}
	return s
}

// policy is what the organisation says of recordings.
func (s *side) policy(t *testing.T, value string) {
	t.Helper()
	_, err := s.db.Exec(`INSERT INTO organisation_policies (organisation_id, name, value) SELECT organisation_id, 'meetings', $1 FROM users WHERE user_id = $2
		ON CONFLICT (organisation_id, name) DO UPDATE SET value = excluded.value`, []byte(value), s.host.ID)
	if err != nil {
		t.Fatal(err)
	}
}

// act is a path of the room's meeting; "" is the meeting itself.
func (s *side) act(action string) string {
	path := "/_roomline/client/v1" + strings.TrimPrefix(hstest.Path("rooms", s.room), "/_matrix/client/v3") + "/meeting"
	if action != "" {
		path += "/recording/" + action
	}
	return path
}

func (s *side) tokenPath() string {
	return "/_roomline/record/v1" + strings.TrimPrefix(hstest.Path("rooms", s.room), "/_matrix/client/v3") + "/token"
}

// recorder asks for a token as an application service.
func (s *side) recorder(t *testing.T, token string) hstest.Response {
	t.Helper()
	r, err := s.Do(context.Background(), 0, token, http.MethodPost, s.tokenPath(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// state is what the room says of the recording.
func (s *side) state(t *testing.T) string {
	t.Helper()
	r, err := s.host.Do(context.Background(), http.MethodGet, hstest.Path("rooms", s.room, "state", "org.roomline.recording", ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.JSON().Get("state").String()
}

func (s *side) status(t *testing.T, u *hstest.User) gjson.Result {
	t.Helper()
	return u.MustDo(t, http.MethodGet, s.act(""), nil)
}

func (s *side) audited(t *testing.T) map[string]int {
	t.Helper()
	rows, err := s.db.Query(`SELECT action, count(*) FROM audit_log WHERE action LIKE 'recording.%' GROUP BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := make(map[string]int)
	for rows.Next() {
		var action string
		var n int
		if err := rows.Scan(&action, &n); err != nil {
			t.Fatal(err)
		}
		all[action] = n
	}
	return all
}

// guest comes by a link.
func (s *side) guest(t *testing.T) *hstest.User {
	t.Helper()
	path := strings.TrimSuffix(s.act(""), "meeting") + "invitations"
	_, secret, _ := strings.Cut(s.host.MustDo(t, http.MethodPost, path, object{}).Get("link").String(), "#")
	r, err := s.Do(context.Background(), 0, "", http.MethodPost, "/_roomline/guest/v1/redeem", object{"secret": secret, "name": "Gast", "attempt": "AAAAAAAAAAAAAAAAAAAAAA"})
	if err != nil || r.Status != 200 {
		t.Fatalf("redeem: %v %s", err, r)
	}
	a := r.JSON()
	return s.Session(hstest.NewUser(a.Get("user_id").String(), a.Get("device_id").String(), a.Get("access_token").String()))
}

// token asks for a token as the user's client would.
func (s *side) token(t *testing.T, u *hstest.User) gjson.Result {
	t.Helper()
	r := caller.NativeToken(t, u, s.room)
	if r.Status != http.StatusOK {
		t.Fatalf("a token: %s", r)
	}
	return r.JSON()
}

// call joins the call of the room.
func (s *side) call(t *testing.T, u *hstest.User) *caller.Listener {
	t.Helper()
	return caller.Listen(t, u, s.room)
}

// sees reports whether somebody sends sound.
func sees(c, from *caller.Listener) bool {
	how := c.Sees(from, microphone)
	return how == "muted" || how == "on"
}

// may is what the media server says of the right to speak.
func may(c *caller.Listener) bool { return c.Call.LocalParticipant.Permissions().GetCanPublish() }
