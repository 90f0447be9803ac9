package moderation_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestMain(m *testing.M) { lksdk.SetLogger(logger.GetDiscardLogger()); hstest.Main(m) }

const redeemPath = "/_roomline/guest/v1/redeem"

// side is a deployment with a host who has a room.
type side struct {
	*hstest.Deployment
	db   *sql.DB
	host *hstest.User
	room string
}

func start(t *testing.T, opts hstest.Options) *side {
	t.Helper()
	if opts.Configure == nil {
		opts.Configure = func(_ int, c map[string]any) { c["public_base_url"] = "https://meet.example" }
	}
	d := hstest.Start(t, opts)
	db := storetest.DB(t, d.DSN)
	s := &side{Deployment: d, db: db, host: d.User(t, "host")}
	s.room = s.host.MustCreateRoom(t, map[string]any{"name": "Our Room", "topic": "Our Topic", "preset": "private_chat"})
	return s
}

// meeting is the path of the room's meeting.
func (s *side) meeting() string { return strings.TrimSuffix(s.act(""), "/") }

// act is a path of the room's meeting.
func (s *side) act(action string) string { return meetingPath(s.room, action) }

func meetingPath(room, action string) string {
	return "/_roomline/client/v1" + strings.TrimPrefix(hstest.Path("rooms", room), "/_matrix/client/v3") + "/meeting/" + action
}

func newAttempt() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// link makes an invitation without an address, and returns its secret.
func (s *side) link(t *testing.T, uses int) string {
	t.Helper()
	path := strings.TrimSuffix(s.act(""), "meeting/") + "invitations"
	answer := s.host.MustDo(t, http.MethodPost, path, map[string]any{"uses": uses})
	_, secret, ok := strings.Cut(answer.Get("link").String(), "#")
	if !ok {
		t.Fatalf("an invitation: %s", answer)
	}
	s.Secret(secret, "an invitation's secret")
	return secret
}

// redeem redeems a link in an attempt.
func (s *side) redeem(t *testing.T, process int, secret, attempt, name string) hstest.Response {
	t.Helper()
	r, err := s.Do(context.Background(), process, "", http.MethodPost, redeemPath, map[string]any{"secret": secret, "name": name, "attempt": attempt})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// guest comes by a link.
func (s *side) guest(t *testing.T, secret, name string, waiting bool) *hstest.User {
	t.Helper()
	r := s.redeem(t, 0, secret, newAttempt(), name)
	if r.Status != 200 || r.JSON().Get("waiting").Bool() != waiting {
		t.Fatalf("redeem: %s", r)
	}
	return s.session(r.JSON())
}

func (s *side) session(answer gjson.Result) *hstest.User {
	return s.Session(hstest.NewUser(answer.Get("user_id").String(), answer.Get("device_id").String(), answer.Get("access_token").String()))
}

// membership is what the database says of somebody.
func (s *side) membership(t *testing.T, user string) (membership string) {
	t.Helper()
	err := s.db.QueryRow(`SELECT membership FROM memberships JOIN rooms USING (room_nid) WHERE room_id = $1 AND user_id = $2`, s.room, user).Scan(&membership)
	if err != nil && err != sql.ErrNoRows {
		t.Fatal(err)
	}
	return membership
}

// stateOf is a state event's content.
func (s *side) stateOf(t *testing.T, typ string) gjson.Result {
	t.Helper()
	return s.host.MustDo(t, http.MethodGet, hstest.Path("rooms", s.room, "state", typ, ""), nil)
}
