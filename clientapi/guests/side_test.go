package guests_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestMain(m *testing.M) { hstest.Main(m) }

const (
	openPath   = "/_roomline/guest/v1/open"
	codePath   = "/_roomline/guest/v1/code"
	redeemPath = "/_roomline/guest/v1/redeem"
)

// side is a deployment with a host who has a room.
type side struct {
	*hstest.Deployment
	db   *sql.DB
	host *hstest.User
	room string
}

func start(t *testing.T, opts hstest.Options) *side {
	t.Helper()
	d := hstest.Start(t, opts)
	db := storetest.DB(t, d.DSN)
	s := &side{Deployment: d, db: db, host: d.User(t, "host")}
	s.host.MustDo(t, http.MethodPut, hstest.Path("profile", s.host.ID, "displayname"), map[string]any{"displayname": "The Host"})
	s.room = s.host.MustCreateRoom(t, map[string]any{"name": "Our Room", "preset": "private_chat"})
	return s
}

func (s *side) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := s.db.Exec(query, args...); err != nil {
		t.Fatal(err)
	}
}

func (s *side) number(t *testing.T, query string, args ...any) (n int64) {
	t.Helper()
	if err := s.db.QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// invitation is what a test wants of one.
type invitation struct {
	by, room        string
	medium, address string
	role            string
	uses            int
	proof           bool
	lifetime        time.Duration
	expires, opens  time.Duration // from now
	meeting         string
}

// invite makes an invitation, and returns its secret and its id.
func (s *side) invite(t *testing.T, i invitation) (secret, id string) {
	t.Helper()
	var b [16]byte
	rand.Read(b[:])
	secret = base64.RawURLEncoding.EncodeToString(b[:])
	s.Secret(secret, "an invitation's secret")
	hash := sha256.Sum256(b[:])
	id = rand.Text()
	if i.by == "" {
		i.by = s.host.ID
	}
	if i.room == "" {
		i.room = s.room
	}
	if i.role == "" {
		i.role = "participant"
	}
	if i.uses == 0 {
		i.uses = 1
	}
	if i.lifetime == 0 {
		i.lifetime = time.Hour
	}
	if i.expires == 0 {
		i.expires = time.Hour
	}
	var opens int64
	if i.opens != 0 {
		opens = time.Now().Add(i.opens).UnixMilli()
	}
	var meeting any
	if i.meeting != "" {
		meeting = []byte(i.meeting)
	}
	s.exec(t, `
		INSERT INTO invitations (invitation_id, organisation_id, room_nid, inviter, medium, address, secret_hash, language, role, proof, uses_allowed,
			created_ts, expires_ts, guest_lifetime, opens_ts, meeting)
		SELECT $1, u.organisation_id, r.room_nid, u.user_id, $4, $5, $6, 'en', $7, $8, $9, $10, $11, $12, $13, $14
		FROM users u, rooms r WHERE u.user_id = $2 AND r.room_id = $3`,
		id, i.by, i.room, i.medium, i.address, hash[:], i.role, i.proof, i.uses, time.Now().UnixMilli(), time.Now().Add(i.expires).UnixMilli(),
		i.lifetime.Milliseconds(), opens, meeting)
	return secret, id
}

func newAttempt() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ask sends a request without a token.
func (s *side) ask(t *testing.T, process int, method, path string, body any) hstest.Response {
	t.Helper()
	r, err := s.Do(context.Background(), process, "", method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// guest redeems an invitation.
func (s *side) guest(t *testing.T, i invitation) *hstest.User {
	t.Helper()
	secret, _ := s.invite(t, i)
	return s.redeemed(t, s.ask(t, 0, "POST", redeemPath, map[string]any{"secret": secret, "name": "Anna", "attempt": newAttempt()}))
}

// redeemed is the guest whom an answer makes.
func (s *side) redeemed(t *testing.T, r hstest.Response) *hstest.User {
	t.Helper()
	if r.Status != 200 {
		t.Fatalf("redeem: %s", r)
	}
	s.Secret(r.JSON().Get("access_token").String(), "an access token")
	return s.Session(hstest.NewUser(r.JSON().Get("user_id").String(), r.JSON().Get("device_id").String(), r.JSON().Get("access_token").String()))
}

// member is somebody's member event in the room, as the host sees it.
func (s *side) member(t *testing.T, user string) gjson.Result {
	t.Helper()
	return s.host.MustDo(t, http.MethodGet, hstest.Path("rooms", s.room, "state", "m.room.member", user)+"?format=event", nil)
}

// inTime has guests of a short life do something, until one of them has done it before the time was over: the machine may be busy for as long as the
// first ones live. expires is when the guest's time is over that the invitation gave.
func (s *side) inTime(t *testing.T, do func(g *hstest.User) (failed string)) (g *hstest.User, expires time.Time) {
	t.Helper()
	for lifetime := 6 * time.Second; ; lifetime *= 2 {
		secret, id := s.invite(t, invitation{lifetime: lifetime})
		r := s.ask(t, 0, "POST", redeemPath, map[string]any{"secret": secret, "name": "Anna", "attempt": newAttempt()})
		made := s.number(t, `SELECT coalesce(max(expires_ts), 0) FROM guests WHERE invitation_id = $1`, id)
		if expires = time.UnixMilli(made); made == 0 {
			t.Fatalf("redeem: %s", r)
		}
		failed := r.String()
		if r.Status == http.StatusOK {
			g = s.redeemed(t, r)
			if failed = do(g); failed == "" && time.Now().Before(expires) {
				return g, expires
			}
		}
		if time.Now().Before(expires) || lifetime > time.Minute {
			t.Fatalf("a guest of %s: %s", lifetime, failed)
		}
	}
}

// tried is what is wrong with an answer that is not 200, for inTime.
func tried(r hstest.Response, err error) (hstest.Response, string) {
	if err != nil {
		return r, err.Error()
	}
	if r.Status != http.StatusOK {
		return r, r.String()
	}
	return r, ""
}

// hold keeps everybody from ending a guest, or changing when that is, until the test releases it.
func (s *side) hold(t *testing.T, g *hstest.User) (release func()) {
	t.Helper()
	tx, err := s.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	if _, err := tx.Exec(`SELECT FROM guests WHERE user_id = $1 FOR UPDATE`, g.ID); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
}

// refused waits until a process refuses somebody: it hears a moment later of what was done by another one.
func refused(t *testing.T, u *hstest.User, errcode string) {
	t.Helper()
	hstest.Eventually(t, "a process refuses with "+errcode, func() bool {
		r, err := u.Do(context.Background(), "GET", hstest.Path("account", "whoami"), nil)
		if err != nil || r.Status != 200 && (r.Status != 401 || r.ErrCode() != errcode) {
			t.Fatalf("whoami: %v %s, want 401 %s", err, r, errcode)
		}
		return r.Status == 401
	})
}

// gone waits until a guest has left the room and ended.
func (s *side) gone(t *testing.T, g *hstest.User) {
	t.Helper()
	hstest.Eventually(t, "the guest ends", func() bool {
		return s.number(t, `SELECT count(*) FROM guests WHERE user_id = $1 AND ended_ts IS NOT NULL`, g.ID) == 1
	})
	if m := s.member(t, g.ID).Get("content.membership").String(); m != "leave" && m != "ban" {
		t.Errorf("a guest who has ended is %q", m)
	}
	for p := range s.Processes() {
		refused(t, g.On(p), "M_UNKNOWN_TOKEN")
	}
	if n := s.number(t, `SELECT count(*) FROM devices WHERE user_id = $1`, g.ID); n != 0 {
		t.Errorf("a guest who has ended has %d devices", n)
	}
}
