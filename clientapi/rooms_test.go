package clientapi_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store/storetest"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/signing"
)

// roomsOf is the rooms of a process of the deployment.
func (d *deployment) roomsOf(cfg *clientapi.Config) *roomserver.Server {
	keys, err := signing.Open(d.t.Context(), signing.Config{Store: cfg.Store, Domains: d.domains, Clock: cfg.Clock, Rand: rand.Reader})
	must(d.t, err)
	return roomserver.New(roomserver.Config{
		Store: cfg.Store, Journal: cfg.Journal, Keys: keys, Clock: cfg.Clock, Log: cfg.Log,
		Profile: func(_ context.Context, user matrix.UserID) (roomserver.Profile, error) {
			return roomserver.Profile{DisplayName: "Name of " + user.Localpart()}, nil
		},
	})
}

// client is a signed-in user.
type client struct {
	p     *process
	user  string
	token string
	txns  int
}

func (p *process) client(localpart string) *client {
	p.t.Helper()
	user := string(p.user(localpart))
	return &client{p: p, user: user, token: p.login(user, nil).text("access_token")}
}

// at is the same session on another process.
func (c *client) at(p *process) *client { return &client{p: p, user: c.user, token: c.token} }

// do makes a request and returns whatever JSON came.
func (c *client) do(method, path string, body any) (int, any) {
	c.p.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		must(c.p.t, err)
		reader = strings.NewReader(string(raw))
	}
	req, err := http.NewRequest(method, c.p.url+"/_matrix/client/v3"+path, reader)
	must(c.p.t, err)
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := http.DefaultClient.Do(req)
	must(c.p.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(c.p.t, err)
	var answer any
	if err := json.Unmarshal(raw, &answer); err != nil {
		c.p.t.Fatalf("%s %s: the answer is no JSON: %q", method, path, raw)
	}
	return resp.StatusCode, answer
}

// ok makes a request that has to succeed.
func (c *client) ok(method, path string, body any) object {
	c.p.t.Helper()
	status, answer := c.do(method, path, body)
	if status != 200 {
		c.p.t.Fatalf("%s %s by %s = %d %v; want 200", method, path, c.user, status, answer)
	}
	o, _ := answer.(map[string]any)
	return o
}

// refused makes a request that has to fail in the given way.
func (c *client) refused(status int, code, method, path string, body any) object {
	c.p.t.Helper()
	got, answer := c.do(method, path, body)
	o, _ := answer.(map[string]any)
	if got != status || object(o).text("errcode") != code {
		c.p.t.Fatalf("%s %s by %s = %d %v; want %d %s", method, path, c.user, got, answer, status, code)
	}
	return o
}

func esc(s string) string { return url.PathEscape(s) }

// room is the path of a room.
func room(id string) string { return "/rooms/" + esc(id) }

func (c *client) create(body object) string {
	c.p.t.Helper()
	return c.ok("POST", "/createRoom", body).text("room_id")
}

func (c *client) join(id string)  { c.p.t.Helper(); c.ok("POST", room(id)+"/join", object{}) }
func (c *client) leave(id string) { c.p.t.Helper(); c.ok("POST", room(id)+"/leave", object{}) }

func (c *client) invite(id string, other *client) {
	c.p.t.Helper()
	c.ok("POST", room(id)+"/invite", object{"user_id": other.user})
}

// say sends a message and returns its id.
func (c *client) say(id, text string) string {
	c.p.t.Helper()
	c.txns++
	return c.ok("PUT", room(id)+"/send/m.room.message/t"+strconv.Itoa(c.txns), object{"msgtype": "m.text", "body": text}).text("event_id")
}

// set sends a state event and returns its id.
func (c *client) set(id, eventType, key string, content object) string {
	c.p.t.Helper()
	return c.ok("PUT", room(id)+"/state/"+eventType+"/"+esc(key), content).text("event_id")
}

func (c *client) redact(id, event string) string {
	c.p.t.Helper()
	c.txns++
	return c.ok("PUT", room(id)+"/redact/"+esc(event)+"/t"+strconv.Itoa(c.txns), object{"reason": "gone"}).text("event_id")
}

func (c *client) event(id, event string) object {
	c.p.t.Helper()
	return c.ok("GET", room(id)+"/event/"+esc(event), nil)
}

// messages asks for one page.
func (c *client) messages(id, query string) object {
	c.p.t.Helper()
	return c.ok("GET", room(id)+"/messages?"+query, nil)
}

// list reads a list of events out of an answer.
func (o object) list(key string) []object {
	items, _ := o[key].([]any)
	var list []object
	for _, i := range items {
		list = append(list, i.(map[string]any))
	}
	return list
}

func (o object) inner(key string) object { m, _ := o[key].(map[string]any); return m }

// ids are the event ids of a list.
func ids(events []object) []string {
	list := []string{}
	for _, e := range events {
		list = append(list, e.text("event_id"))
	}
	return list
}

// letIn makes somebody of another organisation a member of a public room, as if a link between the two had let the invite through.
func (d *deployment) letIn(id string, c *client) {
	d.t.Helper()
	db := storetest.DB(d.t, d.dsn)
	for _, query := range []string{
		`INSERT INTO room_state (room_nid, type, state_key, since, event_position, event_id, membership)
		SELECT room_nid, 'm.room.member', $1, 0, -1, '', 'invite' FROM rooms WHERE room_id = $2`,
		`INSERT INTO memberships (user_id, room_nid, membership, sender, position) SELECT $1, room_nid, 'invite', $1, 0 FROM rooms WHERE room_id = $2`,
	} {
		_, err := db.Exec(query, c.user, id)
		must(d.t, err)
	}
	c.join(id)
}

// otherOrganisation makes an account of another customer of the same deployment.
func (d *deployment) otherOrganisation(p *process, localpart string) *client {
	d.t.Helper()
	c := p.client(localpart)
	db := storetest.DB(d.t, d.dsn)
	_, err := db.Exec(`INSERT INTO organisations (organisation_id, name, created_ts) VALUES (77, 'other', 0) ON CONFLICT DO NOTHING`)
	must(d.t, err)
	_, err = db.Exec(`UPDATE users SET organisation_id = 77 WHERE user_id = $1`, c.user)
	must(d.t, err)
	return &client{p: p, user: c.user, token: p.login(c.user, nil).text("access_token")}
}
