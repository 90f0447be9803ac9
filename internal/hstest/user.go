package hstest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// Response is an answer of the server. JSON is its body, for gjson's paths.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON is the body.
func (r Response) JSON() gjson.Result { return gjson.ParseBytes(r.Body) }

// ErrCode is the errcode of an error, or "".
func (r Response) ErrCode() string { return gjson.GetBytes(r.Body, "errcode").String() }

func (r Response) String() string { return fmt.Sprintf("%d %s", r.Status, r.Body) }

// Path joins segments below /_matrix/client/v3, each escaped: Path("rooms", id, "join").
func Path(segments ...string) string {
	var b strings.Builder
	b.WriteString("/_matrix/client/v3")
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// Do sends one request to a process and reads the answer. body is []byte, or what json.Marshal makes one of, or nil for none.
func (d *Deployment) Do(ctx context.Context, process int, token, method, path string, body any) (Response, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		reader = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return Response{}, err
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, d.BaseURL(process)+path, reader)
	if err != nil {
		return Response{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return Response{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return Response{Status: resp.StatusCode, Header: resp.Header, Body: text}, nil
}

// User is an account with one session. Its methods talk to one process: On makes a copy that talks to another.
type User struct {
	ID, DeviceID, AccessToken, Password string

	dep     *Deployment
	process int
	txn     *atomic.Int64
}

// User makes an account through process 0 and signs it in.
func (d *Deployment) User(t testing.TB, localpart string) *User {
	t.Helper()
	u := &User{Password: "correct horse " + localpart, dep: d, txn: new(atomic.Int64)}
	d.Secret(u.Password, "a password")
	u.signIn(u.MustDo(t, http.MethodPost, Path("register"), map[string]any{
		"username": localpart, "password": u.Password, "auth": map[string]any{"type": "m.login.dummy"},
	}))
	return u
}

// Admin makes the account of an administrator, an owner of the operator's organisation, through process 0 and signs it in.
func (d *Deployment) Admin(t testing.TB, localpart string) *User {
	t.Helper()
	return d.register(t, localpart, localpart, true)
}

// register makes an account with the shared secret. username is a localpart, or a user id of another domain than the first.
func (d *Deployment) register(t testing.TB, username, localpart string, admin bool) *User {
	t.Helper()
	u := &User{Password: "correct horse " + localpart, dep: d, txn: new(atomic.Int64)}
	d.Secret(u.Password, "a password")
	const path = "/_synapse/admin/v1/register"
	nonce := u.MustDo(t, http.MethodGet, path, nil).Get("nonce").String()
	role := "notadmin"
	if admin {
		role = "admin"
	}
	mac := hmac.New(sha1.New, []byte(SharedSecret))
	io.WriteString(mac, strings.Join([]string{nonce, username, u.Password, role}, "\x00"))
	u.signIn(u.MustDo(t, http.MethodPost, path, map[string]any{
		"nonce": nonce, "username": username, "password": u.Password, "admin": admin, "mac": hex.EncodeToString(mac.Sum(nil)),
	}))
	return u
}

// Users makes several accounts, named prefix1, prefix2 and so on.
func (d *Deployment) Users(t testing.TB, prefix string, n int) []*User {
	t.Helper()
	users := make([]*User, n)
	for i := range users {
		users[i] = d.User(t, prefix+strconv.Itoa(i+1))
	}
	return users
}

// NewSession signs the account in once more, on the same process, as another device.
func (u *User) NewSession(t testing.TB) *User {
	t.Helper()
	s := &User{Password: u.Password, dep: u.dep, process: u.process, txn: new(atomic.Int64)}
	s.signIn(s.MustDo(t, http.MethodPost, Path("login"), map[string]any{
		"type": "m.login.password", "password": u.Password, "identifier": map[string]any{"type": "m.id.user", "user": u.ID},
	}))
	return s
}

// MustLogin signs somebody in through process 0 who has an identifier and a password.
func (d *Deployment) MustLogin(t testing.TB, identifier map[string]any, password string) *User {
	t.Helper()
	u := &User{Password: password, dep: d, txn: new(atomic.Int64)}
	d.Secret(password, "a password")
	u.signIn(u.MustDo(t, http.MethodPost, Path("login"), map[string]any{"type": "m.login.password", "password": password, "identifier": identifier}))
	return u
}

func (u *User) signIn(answer gjson.Result) {
	u.ID, u.DeviceID = answer.Get("user_id").String(), answer.Get("device_id").String()
	u.AccessToken = answer.Get("access_token").String()
	u.dep.Secret(u.AccessToken, "an access token")
}

// On is the same session on another process.
func (u *User) On(process int) *User {
	other := *u
	other.process = process
	return &other
}

// Session is a session of another deployment on this one, whose database is a copy of the other's.
func (d *Deployment) Session(u *User) *User {
	copied := *u
	copied.dep, copied.process = d, 0
	return &copied
}

// BaseURL is that of the user's process.
func (u *User) BaseURL() string { return u.dep.BaseURL(u.process) }

// Do sends a request with the user's token. The error is one of the connection: an answer with an error is a Response.
func (u *User) Do(ctx context.Context, method, path string, body any) (Response, error) {
	return u.dep.Do(ctx, u.process, u.AccessToken, method, path, body)
}

// MustDo sends a request and fails the test unless it is answered 200.
func (u *User) MustDo(t testing.TB, method, path string, body any) gjson.Result {
	t.Helper()
	r, err := u.Do(context.Background(), method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if r.Status != http.StatusOK {
		t.Fatalf("%s %s: got %s, want 200", method, path, r)
	}
	return r.JSON()
}

// MustFail sends a request and fails the test unless it is answered with this error.
func (u *User) MustFail(t testing.TB, status int, errcode, method, path string, body any) gjson.Result {
	t.Helper()
	r, err := u.Do(context.Background(), method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if r.Status != status || r.ErrCode() != errcode {
		t.Fatalf("%s %s: got %s, want %d %s", method, path, r, status, errcode)
	}
	return r.JSON()
}

// MustCreateRoom makes a room and returns its id.
func (u *User) MustCreateRoom(t testing.TB, request map[string]any) string {
	t.Helper()
	if request == nil {
		request = map[string]any{}
	}
	return u.MustDo(t, http.MethodPost, Path("createRoom"), request).Get("room_id").String()
}

// MustInvite invites somebody.
func (u *User) MustInvite(t testing.TB, room string, who *User) {
	t.Helper()
	u.MustDo(t, http.MethodPost, Path("rooms", room, "invite"), map[string]any{"user_id": who.ID})
}

// MustJoin joins a room by its id.
func (u *User) MustJoin(t testing.TB, room string) {
	t.Helper()
	u.MustDo(t, http.MethodPost, Path("rooms", room, "join"), map[string]any{})
}

// MustLeave leaves a room.
func (u *User) MustLeave(t testing.TB, room string) {
	t.Helper()
	u.MustDo(t, http.MethodPost, Path("rooms", room, "leave"), map[string]any{})
}

// TxnID is a transaction id that this session has not used.
func (u *User) TxnID() string { return "t" + strconv.FormatInt(u.txn.Add(1), 10) }

// MustSend sends an event and returns its id.
func (u *User) MustSend(t testing.TB, room, eventType string, content any) string {
	t.Helper()
	return u.MustDo(t, http.MethodPut, Path("rooms", room, "send", eventType, u.TxnID()), content).Get("event_id").String()
}

// MustSendText sends a text message and returns its id.
func (u *User) MustSendText(t testing.TB, room, text string) string {
	t.Helper()
	return u.MustSend(t, room, "m.room.message", map[string]any{"msgtype": "m.text", "body": text})
}

// MustSetState sends a state event and returns its id.
func (u *User) MustSetState(t testing.TB, room, eventType, stateKey string, content any) string {
	t.Helper()
	return u.MustDo(t, http.MethodPut, Path("rooms", room, "state", eventType, stateKey), content).Get("event_id").String()
}

// Sync is a request for /sync.
type Sync struct {
	Since     string
	Filter    string // an id or a filter as JSON
	Timeout   time.Duration
	FullState bool
	Presence  string
}

func (s Sync) path() string {
	q := url.Values{"timeout": {strconv.FormatInt(s.Timeout.Milliseconds(), 10)}}
	if s.Since != "" {
		q.Set("since", s.Since)
	}
	if s.Filter != "" {
		q.Set("filter", s.Filter)
	}
	if s.FullState {
		q.Set("full_state", "true")
	}
	if s.Presence != "" {
		q.Set("set_presence", s.Presence)
	}
	return Path("sync") + "?" + q.Encode()
}

// Sync sends one request for /sync.
func (u *User) Sync(ctx context.Context, s Sync) (Response, error) {
	return u.Do(ctx, http.MethodGet, s.path(), nil)
}

// MustSync syncs once and returns the answer.
func (u *User) MustSync(t testing.TB, s Sync) gjson.Result {
	t.Helper()
	return u.MustDo(t, http.MethodGet, s.path(), nil)
}

// syncPatience is how long MustSyncUntil waits: long enough for a machine that is busy with something else.
const syncPatience = time.Minute

// MustSyncUntil syncs, beginning at since, until every check has been satisfied by some answer, and returns the token
// after that answer.
func (u *User) MustSyncUntil(t testing.TB, since string, checks ...func(answer gjson.Result) bool) string {
	t.Helper()
	deadline := time.Now().Add(syncPatience)
	for {
		answer := u.MustSync(t, Sync{Since: since, Timeout: time.Second})
		since = answer.Get("next_batch").String()
		left := checks[:0:0]
		for _, c := range checks {
			if !c(answer) {
				left = append(left, c)
			}
		}
		if checks = left; len(checks) == 0 {
			return since
		}
		if time.Now().After(deadline) {
			t.Fatalf("sync of %s: %d of the things waited for did not come within %s", u.ID, len(checks), syncPatience)
		}
	}
}

// TimelineHas is a check for MustSyncUntil: the event is in the room's timeline.
func TimelineHas(room, event string) func(gjson.Result) bool {
	return func(answer gjson.Result) bool {
		for _, e := range joined(answer, room).Get("timeline.events").Array() {
			if e.Get("event_id").String() == event {
				return true
			}
		}
		return false
	}
}

// InvitedTo is a check for MustSyncUntil: the user is invited to the room.
func InvitedTo(room string) func(gjson.Result) bool {
	return func(answer gjson.Result) bool {
		return answer.Get("rooms.invite").Get(gjson.Escape(room)).Exists()
	}
}

// joined is a room's part of an answer to /sync.
func joined(answer gjson.Result, room string) gjson.Result {
	return answer.Get("rooms.join").Get(gjson.Escape(room))
}

// NewUser is a session that a test has made in another way; Deployment.Session says where.
func NewUser(id, device, token string) *User {
	return &User{ID: id, DeviceID: device, AccessToken: token, txn: new(atomic.Int64)}
}
