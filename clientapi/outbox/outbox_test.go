package outbox_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	message "github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is three processes' outboxes on one database, with two organisations, 1 and 2, whose region is Belgium.
type world struct {
	dsn     string
	db      *sql.DB
	clock   *clock
	servers []*outbox.Server
	stores  []*store.Store
	told    sync.Map // invitation → states, as a string
}

// leaseFor is how long a lease holds in a test that says nothing else.
const leaseFor = time.Hour

// noon is a Saturday.
var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func newWorld(t *testing.T, change func(*outbox.Config)) *world {
	t.Helper()
	w := &world{dsn: storetest.DSN(t), clock: &clock{now: noon}}
	w.db = storetest.DB(t, w.dsn)
	w.exec(t, `UPDATE organisations SET default_region = 'BE' WHERE organisation_id = 1`)
	w.exec(t, `INSERT INTO organisations (organisation_id, name, default_region, created_ts) VALUES (2, 'Other', 'BE', 0)`)
	for _, u := range []string{"alice", "bob", "carol", "dave"} {
		w.exec(t, `INSERT INTO users (user_id, organisation_id, created_ts) VALUES ('@' || $1 || ':a', 1, 0), ('@' || $1 || ':b', 2, 0)`, u)
	}
	w.exec(t, `INSERT INTO users (user_id, organisation_id, guest, created_ts) VALUES ('@guest:a', 1, true, 0)`)
	w.exec(t, `INSERT INTO rooms (room_nid, room_id, room_version, organisation_id, head_event_id, extremities, depth) VALUES (5, '!r:a', '11', 1, '$1', '{}', 1)`)
	// Leases are by the database's clock, which nobody sets: none lapses by itself.
	limits := outbox.DefaultLimits()
	limits.LeaseFor, limits.SendingFor = leaseFor, leaseFor
	for range 3 {
		st := storetest.Open(t, w.dsn)
		cfg := outbox.Config{
			Store: st, Clock: w.clock, Log: slog.New(slog.DiscardHandler), SealKey: [32]byte{1}, BaseURL: "https://chat.example.org",
			Media: []string{message.Email, message.Msisdn}, Limits: limits,
			Changed: func(_ context.Context, id string, state message.State) error {
				before, _ := w.told.LoadOrStore(id, "")
				w.told.Store(id, before.(string)+" "+string(state))
				return nil
			},
		}
		if change != nil {
			change(&cfg)
		}
		s, err := outbox.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.servers, w.stores = append(w.servers, s), append(w.stores, st)
	}
	return w
}

func (w *world) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := w.db.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// number asks for one number.
func (w *world) number(t *testing.T, query string, args ...any) (n int64) {
	t.Helper()
	if err := w.db.QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// invitation makes the row of an invitation.
func (w *world) invitation(t *testing.T, id, medium, address string) {
	t.Helper()
	w.exec(t, `INSERT INTO invitations (invitation_id, organisation_id, room_nid, inviter, medium, address, secret_hash, language, uses_allowed, created_ts, expires_ts, guest_lifetime)
		VALUES ($1, 1, 5, '@alice:a', $2, $3, convert_to($1, 'UTF8'), 'en', 1, 0, 0, 0)`, id, medium, address)
}

// run runs the background work of a process until the test ends.
func (w *world) run(t *testing.T, process int) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.servers[process].Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// sms is a draft of an invitation from alice to a Belgian mobile number that ends so.
func (w *world) sms(end string) outbox.Draft {
	return outbox.Draft{
		Organisation: 1, Kind: message.Invitation, Medium: message.Msisdn, Address: "324701" + end, Sender: "@alice:a", Language: "fr",
		ExpiresTS:  matrix.TimestampOf(w.clock.Now().Add(72 * time.Hour)),
		Invitation: &message.InvitationText{ID: "i", Inviter: "Alice", Room: "Plans", Link: "https://chat.example.org/i#secretsecretsecretsec"},
	}
}

func (w *world) mail(address string) outbox.Draft {
	d := w.sms("")
	d.Medium, d.Address = message.Email, address
	return d
}

func (w *world) code(medium, address string) outbox.Draft {
	d := w.sms("")
	d.Medium, d.Address, d.Kind, d.Invitation = medium, address, message.Code, nil
	d.Code = &message.CodeText{Code: "123456", Purpose: "login"}
	return d
}

// send has a draft sent by a process.
func (w *world) send(process int, d outbox.Draft) (id int64, err error) {
	err = w.stores[process].Write(context.Background(), func(tx *store.Tx) (err error) {
		id, err = w.servers[process].Enqueue(context.Background(), tx, d)
		return err
	})
	return id, err
}

func (w *world) mustSend(t *testing.T, d outbox.Draft) int64 {
	t.Helper()
	id, err := w.send(0, d)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// mustRefuse wants an error with a code and a word of its sentence.
func (w *world) mustRefuse(t *testing.T, what string, d outbox.Draft, code matrix.ErrCode, word string) {
	t.Helper()
	_, err := w.send(1, d)
	e, ok := matrix.AsError(err)
	if !ok || e.Code != code || !strings.Contains(e.Message, word) {
		t.Errorf("%s: %v, want %s with %q", what, err, code, word)
	}
	if ok && code == matrix.ErrLimitExceeded && e.RetryAfter <= 0 {
		t.Errorf("%s: does not say when to come again", what)
	}
}

// bridge lets whoever has an application service's token ask a process.
func (w *world) ask(t *testing.T, process int, grants []string, method, path string, body any) (int, []byte) {
	t.Helper()
	return w.askAs(t, process, &httpapi.Requester{User: "@telephony:a", Org: 1, Appservice: "telephony", Grants: grants}, method, path, body)
}

type authenticator struct{ who *httpapi.Requester }

func (a authenticator) Authenticate(context.Context, string) (*httpapi.Requester, error) {
	return a.who, nil
}

func (w *world) askAs(t *testing.T, process int, who *httpapi.Requester, method, path string, body any) (int, []byte) {
	t.Helper()
	api := httpapi.New(httpapi.Config{Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})), Clock: matrix.SystemClock{}, Auth: authenticator{who}}, w.servers[process].Routes())
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	r := httptest.NewRequest(method, path, bytes.NewReader(text))
	r.Header.Set("Authorization", "Bearer x")
	answer := httptest.NewRecorder()
	api.ServeHTTP(answer, r)
	return answer.Code, answer.Body.Bytes()
}

var bridges = []string{outbox.GrantTelephony}

// lease takes messages from a process.
func (w *world) lease(t *testing.T, process int, max int) []message.Message {
	t.Helper()
	status, body := w.ask(t, process, bridges, http.MethodPost, "/_roomline/telephony/v1/lease", map[string]any{"media": []string{"email", "msisdn"}, "max": max})
	var answer struct{ Messages []message.Message }
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
		t.Fatalf("lease: %d %s", status, body)
	}
	return answer.Messages
}

type reported struct {
	Lost    []int64
	Unknown []string
}

// report reports outcomes to a process.
func (w *world) report(t *testing.T, process int, outcomes ...message.Outcome) reported {
	t.Helper()
	status, body := w.ask(t, process, bridges, http.MethodPost, "/_roomline/telephony/v1/outcomes", map[string]any{"outcomes": outcomes})
	var answer reported
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
		t.Fatalf("outcomes: %d %s", status, body)
	}
	return answer
}

func (w *world) state(t *testing.T, id int64) (state string) {
	t.Helper()
	if err := w.db.QueryRow(`SELECT state || CASE WHEN payload IS NULL THEN '' ELSE ' sealed' END FROM outbox WHERE message_id = $1`, id).Scan(&state); err != nil {
		t.Fatal(err)
	}
	return state
}

func TestAMessageIsSealedHandedOutAndWiped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.invitation(t, "inv", "email", "anna@example.com")
	d := w.mail("anna@example.com")
	d.InvitationID = "inv"
	id := w.mustSend(t, d)

	var dump string
	if err := w.db.QueryRow(`SELECT string_agg(o::text || encode(payload, 'escape'), '') FROM outbox o`).Scan(&dump); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(dump, "secretsecret") || strings.Contains(dump, "Plans") {
		t.Fatalf("what the message says can be read in the database: %s", dump)
	}
	list := w.lease(t, 1, 10)
	if len(list) != 1 || list[0].ID != id || list[0].Invitation.Link != d.Invitation.Link || list[0].Language != "fr" || list[0].Brand.Name == "" {
		t.Fatalf("handed out: %+v", list)
	}
	if more := w.lease(t, 2, 10); len(more) != 0 {
		t.Fatalf("handed out twice: %+v", more)
	}
	m := list[0]
	if lost := w.report(t, 2, message.Outcome{ID: id, Lease: m.Lease, State: message.Sending}); len(lost.Lost) != 0 {
		t.Fatal("the lease is not known on another process")
	}
	if got := w.state(t, id); got != "sending sealed" {
		t.Fatalf("state %s", got)
	}
	sent := message.Outcome{ID: id, Lease: m.Lease, State: message.Sent, Reference: "<x@y>"}
	for range 2 { // the answer may have been lost
		if lost := w.report(t, 0, sent); len(lost.Lost) != 0 {
			t.Fatal("the same outcome again is refused")
		}
	}
	if got := w.state(t, id); got != "sent" {
		t.Fatalf("state %s, want sent, and wiped", got)
	}
	w.run(t, 0)
	hstest.Eventually(t, "the invitation is told", func() bool { states, _ := w.told.Load("inv"); return states == " sent" })
	if got := w.report(t, 0, message.Outcome{Reference: "<x@y>", State: message.Delivered}, message.Outcome{Reference: "nobody's", State: message.Failed}); fmt.Sprint(got.Unknown) != "[nobody's]" {
		t.Fatalf("%+v", got)
	}
	hstest.Eventually(t, "the invitation is told", func() bool { states, _ := w.told.Load("inv"); return states == " sent delivered" })
	if got := w.report(t, 0, message.Outcome{Reference: "<x@y>", State: message.Failed}); len(got.Unknown) != 0 || w.state(t, id) != "delivered" {
		t.Fatalf("what was delivered became %s", w.state(t, id))
	}
}
