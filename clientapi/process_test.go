package clientapi_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

// movable is a clock that a test can move. It runs on in between, because limits and expiries do, unless a test holds it.
type movable struct {
	mu     sync.Mutex
	offset time.Duration
	held   time.Time // zero: it runs
}

func (m *movable) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.held
	if now.IsZero() {
		now = time.Now()
	}
	return now.Add(m.offset)
}

func (m *movable) advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offset += d
}

// hold stops the clock, so that nothing lapses and no limit refills however long the test takes. advance still moves it.
func (m *movable) hold() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = time.Now()
}

// deployment is a database with the processes that a test starts on it.
type deployment struct {
	t     *testing.T
	dsn   string
	clock *movable
	// configure changes the configuration of every process, limited switches rate limits on.
	configure  func(*clientapi.Config)
	limited    bool
	maxDevices int
	// freshFor is that of the journal.
	freshFor time.Duration
	domains  []matrix.ServerName
}

func newDeployment(t *testing.T) *deployment {
	return &deployment{t: t, dsn: storetest.DSN(t), clock: &movable{}, configure: func(*clientapi.Config) {},
		domains: []matrix.ServerName{"one.test", "two.test"}}
}

// process is one server process, as far as accounts go.
type process struct {
	t         *testing.T
	store     *store.Store
	journal   *journal.Journal
	server    *clientapi.Server
	accounts  *auth.Accounts
	sessions  *auth.Sessions
	url       string
	handler   http.Handler
	mu        sync.Mutex
	left      []matrix.UserID
	propagate []matrix.UserID
}

func (d *deployment) process() *process {
	t := d.t
	t.Helper()
	p := &process{t: t, store: storetest.Open(t, d.dsn)}
	log := slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	must(t, p.store.EnsureHostedDomains(t.Context(), d.domains, 1))
	j, err := journal.New(t.Context(), journal.Config{Store: p.store, Log: log, Clock: d.clock, ServerName: "one.test",
		ProcessID: uuid(), PollInterval: 100 * time.Millisecond, FreshFor: d.freshFor})
	must(t, err)
	var limiter *ratelimit.Limiter
	var routeLimiter httpapi.Limiter
	if d.limited {
		limiter = ratelimit.New(ratelimit.Config{Store: p.store, Clock: d.clock, Log: log})
		routeLimiter = limiter
	}
	p.accounts, err = auth.NewAccounts(auth.AccountConfig{Store: p.store, Journal: j, Clock: d.clock, Limiter: limiter, Domains: d.domains,
		Passwords: auth.PasswordConfig{Params: auth.Params{MemoryKiB: 64, Passes: 1, Lanes: 1}}})
	must(t, err)
	p.sessions = auth.NewSessions(auth.SessionConfig{Store: p.store, Journal: j, Clock: d.clock, Log: log, MaxDevices: d.maxDevices})
	cfg := clientapi.Config{
		MayDeactivate: func(context.Context, int64) (bool, error) { return true, nil },
		Store:         p.store, Journal: j, Accounts: p.accounts, Sessions: p.sessions, Interactive: auth.NewInteractive(p.accounts, nil),
		Clock: d.clock, Log: log, Limiter: limiter, MaxDelay: 24 * time.Hour, MaxScheduled: 100,
		PropagateProfile: func(_ context.Context, user matrix.UserID) error { return p.note(&p.propagate, user) },
		LeaveRooms:       func(_ context.Context, user matrix.UserID) error { return p.note(&p.left, user) },
	}
	cfg.Rooms = d.roomsOf(&cfg)
	d.configure(&cfg)
	server, err := clientapi.New(cfg)
	must(t, err)
	p.server, p.journal = server, j
	p.handler = httpapi.New(httpapi.Config{Log: log, Clock: d.clock, Auth: p.sessions, Limiter: routeLimiter}, server.Routes())
	p.run(j)
	web := httptest.NewServer(p.handler)
	t.Cleanup(web.Close)
	p.url = web.URL
	return p
}

// run runs the journal until the test ends.
func (p *process) run(j *journal.Journal) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := j.Run(ctx); err != nil {
			p.t.Errorf("journal: %v", err)
		}
	}()
	p.t.Cleanup(func() { stop(); <-done })
}

func (p *process) note(list *[]matrix.UserID, user matrix.UserID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	*list = append(*list, user)
	return nil
}

// object is a JSON object as it came.
type object map[string]any

func (o object) text(key string) string { s, _ := o[key].(string); return s }

// do makes a request. body is a string of JSON as it is, nil for none, or anything that can be marshalled.
func (p *process) do(method, path, token string, body any) (int, object) {
	p.t.Helper()
	status, answer, _ := p.doHeader(method, path, token, body)
	return status, answer
}

func (p *process) doHeader(method, path, token string, body any) (int, object, http.Header) {
	p.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		must(p.t, err)
		reader = strings.NewReader(string(raw))
	}
	req, err := http.NewRequest(method, p.url+path, reader)
	must(p.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	must(p.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(p.t, err)
	var answer object
	if err := json.Unmarshal(raw, &answer); err != nil {
		p.t.Errorf("%s %s: the answer is no JSON object: %q", method, path, raw)
	}
	return resp.StatusCode, answer, resp.Header
}

// want makes a request that has to give the status and, unless it is 200, the errcode.
func (p *process) want(status int, code string, method, path, token string, body any) object {
	p.t.Helper()
	got, answer := p.do(method, path, token, body)
	if got != status || answer.text("errcode") != code {
		p.t.Fatalf("%s %s = %d %v; want %d %s", method, path, got, answer, status, code)
	}
	return answer
}

const password = "a good password"

// user makes an account.
func (p *process) user(localpart string) matrix.UserID {
	p.t.Helper()
	user, err := p.accounts.Create(p.t.Context(), auth.NewAccount{Localpart: localpart, Password: password})
	must(p.t, err)
	return user
}

// login signs a user in and returns the answer. more is added to the request.
func (p *process) login(user string, more object) object {
	p.t.Helper()
	return p.want(200, "", "POST", "/_matrix/client/v3/login", "", loginBody(user, password, more))
}

func loginBody(user, password string, more object) object {
	body := object{"type": "m.login.password", "identifier": object{"type": "m.id.user", "user": user}, "password": password}
	for k, v := range more {
		body[k] = v
	}
	return body
}

// proof is an auth object with the user's password.
func proof(session, user, password string) object {
	return object{"type": "m.login.password", "session": session, "identifier": object{"type": "m.id.user", "user": user}, "password": password}
}

const whoami = "/_matrix/client/v3/account/whoami"

// hears waits until the process knows all that another one has done so far.
func (p *process) hears(of *process) {
	p.t.Helper()
	must(p.t, p.journal.WaitFor(p.t.Context(), of.journal.Head()))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// sql changes the database behind the server's back.
func (p *process) sql(statement string) {
	p.t.Helper()
	db := storetest.DB(p.t, p.store.DSN())
	_, err := db.Exec(statement)
	must(p.t, err)
}
