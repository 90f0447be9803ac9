package sync

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	stdsync "sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/signing"
)

const domain matrix.ServerName = "example.org"

const (
	alice = matrix.UserID("@alice:example.org")
	bob   = matrix.UserID("@bob:example.org")
	carol = matrix.UserID("@carol:example.org")
	dave  = matrix.UserID("@dave:example.org")
)

// testClock stands still unless it is told to go on.
type testClock struct {
	mu  stdsync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// process is a server's part for rooms and sync, as one process has it.
type process struct {
	t       testing.TB
	store   *store.Store
	journal *journal.Journal
	rooms   *roomserver.Server
	sync    *Server
	handler http.Handler
}

// tokens are "user device".
type tokens struct{}

func (tokens) Authenticate(_ context.Context, token string) (*httpapi.Requester, error) {
	user, device, _ := strings.Cut(token, " ")
	return &httpapi.Requester{User: matrix.UserID(user), Device: matrix.DeviceID(device)}, nil
}

type options struct {
	clock  matrix.Clock
	ring   int
	noRing bool
	number int
	// silent: it tells no other process anything, and does not look by itself for what others store.
	silent bool
	// watch observes the journal before everybody else.
	watch journal.Observer
}

func start(t testing.TB, st *store.Store, o options) *process {
	t.Helper()
	ctx := context.Background()
	if o.clock == nil {
		o.clock = matrix.SystemClock{}
	}
	log := slog.New(slog.DiscardHandler)
	cfg := journal.Config{
		Store: st, Log: log, Clock: o.clock, ServerName: string(domain), RingEntries: o.ring,
		ProcessID: fmt.Sprintf("00000000-0000-4000-8000-00000000000%d", o.number),
	}
	if o.silent {
		cfg.NoNotify, cfg.PollInterval = true, time.Hour
	}
	j, err := journal.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if o.watch != nil {
		j.Observe(o.watch)
	}
	keys, err := signing.Open(ctx, signing.Config{Store: st, Domains: []matrix.ServerName{domain}, Clock: o.clock, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	rooms := roomserver.New(roomserver.Config{
		Store: st, Journal: j, Keys: keys, Clock: o.clock, Log: log,
		Profile: func(_ context.Context, user matrix.UserID) (roomserver.Profile, error) {
			return roomserver.Profile{DisplayName: user.Localpart()}, nil
		},
	})
	s := New(Config{Store: st, Journal: j, Rooms: rooms, Clock: o.clock, Log: log})
	s.noRing = o.noRing
	p := &process{t: t, store: st, journal: j, rooms: rooms, sync: s}
	p.handler = httpapi.New(httpapi.Config{Log: log, Clock: o.clock, Auth: tokens{}}, s.Routes())
	runCtx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); j.Run(runCtx) }()
	t.Cleanup(func() { s.Stop(); stop(); <-done })
	return p
}

func startOne(t testing.TB) *process {
	t.Helper()
	return start(t, storetest.New(t), options{})
}

// request calls the API and returns status and body.
func (p *process) request(ctx context.Context, method, path string, user matrix.UserID, device, body string) (int, string) {
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+string(user)+" "+device)
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// query is the parameters of a sync, as name, value, name, value…
func query(parameters ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(parameters); i += 2 {
		q.Set(parameters[i], parameters[i+1])
	}
	return "/_matrix/client/v3/sync?" + q.Encode()
}

// get syncs on the user's device D and returns the answer.
func (p *process) get(user matrix.UserID, parameters ...string) gjson.Result {
	p.t.Helper()
	status, body := p.request(context.Background(), "GET", query(parameters...), user, "D", "")
	if status != http.StatusOK {
		p.t.Fatalf("sync of %s: %d %s", user, status, body)
	}
	if !json.Valid([]byte(body)) {
		p.t.Fatalf("sync of %s: not JSON: %s", user, body)
	}
	return gjson.Parse(body)
}

// since syncs from an earlier answer on.
func (p *process) since(before gjson.Result, user matrix.UserID, parameters ...string) gjson.Result {
	p.t.Helper()
	return p.get(user, append([]string{"since", before.Get("next_batch").String()}, parameters...)...)
}

func (p *process) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) create(creator matrix.UserID, preset string, invite ...matrix.UserID) matrix.RoomID {
	p.t.Helper()
	id, err := p.rooms.CreateRoom(context.Background(), roomserver.CreateRoom{
		Creator: creator, OrganisationID: 1, Preset: preset, Invite: invite,
	})
	p.must(err)
	return id
}

func (p *process) member(user matrix.UserID, room matrix.RoomID) roomserver.Membership {
	return roomserver.Membership{Room: room, Sender: user, Target: user}
}

func (p *process) join(user matrix.UserID, rooms ...matrix.RoomID) {
	p.t.Helper()
	for _, room := range rooms {
		p.must(p.rooms.Join(context.Background(), p.member(user, room)))
	}
}

func (p *process) leave(user matrix.UserID, room matrix.RoomID) {
	p.t.Helper()
	p.must(p.rooms.Leave(context.Background(), p.member(user, room)))
}

func (p *process) on(do func(context.Context, roomserver.Membership) error, sender matrix.UserID, room matrix.RoomID, target matrix.UserID) {
	p.t.Helper()
	p.must(do(context.Background(), roomserver.Membership{Room: room, Sender: sender, Target: target}))
}

func (p *process) say(sender matrix.UserID, room matrix.RoomID, text string) matrix.EventID {
	p.t.Helper()
	return p.event(roomserver.NewEvent{
		Room: room, Sender: sender, Type: "m.room.message", Content: fmt.Appendf(nil, `{"body":%q,"msgtype":"m.text"}`, text),
	})
}

func (p *process) event(e roomserver.NewEvent) matrix.EventID {
	p.t.Helper()
	id, err := p.rooms.Send(context.Background(), e)
	p.must(err)
	return id
}

func (p *process) state(sender matrix.UserID, room matrix.RoomID, typ, key, content string) matrix.EventID {
	p.t.Helper()
	return p.event(roomserver.NewEvent{Room: room, Sender: sender, Type: typ, StateKey: &key, Content: []byte(content)})
}

func (p *process) put(updates ...store.Update) {
	p.t.Helper()
	_, err := p.journal.Put(context.Background(), updates...)
	p.must(err)
}

func (p *process) nid(room matrix.RoomID) int64 {
	p.t.Helper()
	info, err := p.rooms.Room(context.Background(), room)
	p.must(err)
	return info.NID
}

// in is what an answer says of a room in a section.
func in(answer gjson.Result, section string, room matrix.RoomID) gjson.Result {
	return answer.Get("rooms." + section + "." + gjson.Escape(string(room)))
}

// bodies are the texts of a timeline.
func bodies(room gjson.Result) string {
	var texts []string
	for _, e := range room.Get("timeline.events").Array() {
		if body := e.Get("content.body"); body.Exists() {
			texts = append(texts, body.String())
		}
	}
	return strings.Join(texts, " ")
}

// keys are "type|state key" of a list of events.
func keys(events gjson.Result) []string {
	var list []string
	for _, e := range events.Array() {
		key := e.Get("type").String()
		if k := e.Get("state_key"); k.Exists() {
			key += "|" + k.String()
		}
		list = append(list, key)
	}
	return list
}

// membersIn are the users whose member events are in a list.
func membersIn(events gjson.Result) string {
	var list []string
	for _, e := range events.Array() {
		if e.Get("type").String() == typeMember {
			list = append(list, matrix.UserID(e.Get("state_key").String()).Localpart())
		}
	}
	return strings.Join(list, " ")
}

func want(t testing.TB, what string, have, want any) {
	t.Helper()
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("%s: have %v, want %v", what, have, want)
	}
}

func jsonOf(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}
