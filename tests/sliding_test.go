package tests

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
)

// slidingConnection is one of a client's connections of sliding sync.
type slidingConnection struct {
	name string
	// parts are those of the body.
	parts map[string]any
	pos   string
}

// ask makes a request on one of the processes and takes the answer.
func (c *slidingConnection) ask(t *testing.T, u *hstest.User, timeout string) gjson.Result {
	t.Helper()
	q := url.Values{"timeout": {timeout}}
	if c.pos != "" {
		q.Set("pos", c.pos)
	}
	body := map[string]any{"conn_id": c.name}
	for name, part := range c.parts {
		body[name] = part
	}
	answer := u.MustDo(t, http.MethodPost, "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?"+q.Encode(), body)
	c.pos = answer.Get("pos").String()
	return answer
}

// A client has two connections, as the ones in use do: one for its list of rooms, whose range grows, and one for encryption. Its
// requests go to two processes by turns, and both are started again in between.
func TestSlidingSyncGoesOnAcrossProcessesAndRestarts(t *testing.T) {
	t.Parallel()
	const rooms = 12
	dep := hstest.Start(t, hstest.Options{Processes: 2})
	alice, bob := dep.User(t, "alice"), dep.User(t, "bob")
	turn := 0
	next := func() *hstest.User { turn++; return bob.On(turn % 2) }
	var all []string
	for i := range rooms {
		room := alice.MustCreateRoom(t, map[string]any{"preset": "public_chat", "name": fmt.Sprint("Room ", i)})
		bob.MustJoin(t, room)
		all = append(all, room)
	}
	list := &slidingConnection{name: "room-list"}
	encryption := &slidingConnection{name: "encryption"}
	names, last := map[string]string{}, map[string]string{}
	take := func(answer gjson.Result) {
		answer.Get("rooms").ForEach(func(id, room gjson.Result) bool {
			if _, known := names[id.String()]; known && room.Get("initial").Bool() {
				t.Errorf("%s is told again from the beginning: %s", id, room.Raw)
			}
			if name := room.Get("name"); name.Exists() {
				names[id.String()] = name.String()
			}
			for _, e := range room.Get("timeline").Array() {
				last[id.String()] = e.Get("event_id").String()
			}
			return true
		})
	}
	var got []string
	secrets := func(timeout string) {
		t.Helper()
		answer := encryption.ask(t, next(), timeout).Get("extensions")
		for _, e := range answer.Get("to_device.events").Array() {
			got = append(got, e.Get("content.n").String())
		}
		encryption.parts = map[string]any{"extensions": map[string]any{
			"e2ee": map[string]any{"enabled": true}, "to_device": map[string]any{"enabled": true, "since": answer.Get("to_device.next_batch").String()},
		}}
	}
	encryption.parts = map[string]any{"extensions": map[string]any{"e2ee": map[string]any{"enabled": true}, "to_device": map[string]any{"enabled": true}}}
	secrets("0")

	whisper := func(n int) {
		alice.MustDo(t, http.MethodPut, hstest.Path("sendToDevice", "org.example.note", fmt.Sprint("n", n)), map[string]any{
			"messages": map[string]any{bob.ID: map[string]any{bob.DeviceID: map[string]any{"n": fmt.Sprint(n)}}},
		})
	}
	for step, end := range []int{1, 4, 7, 11, 11} {
		if step == 2 {
			for process := range 2 {
				dep.Stop(t, process)
				dep.Restart(t, process)
			}
		}
		list.parts = map[string]any{"lists": map[string]any{"all": map[string]any{
			"ranges": [][2]int{{0, end}}, "timeline_limit": 1, "required_state": [][2]string{{"m.room.name", ""}, {"m.room.member", "$LAZY"}},
		}}}
		answer := list.ask(t, next(), "0")
		take(answer)
		if n := answer.Get("lists.all.count").Int(); n != rooms {
			t.Errorf("step %d: the list has %d rooms, want %d", step, n, rooms)
		}
		whisper(step)
		if len(names) <= end {
			t.Errorf("step %d: the client knows %d rooms, want at least %d", step, len(names), end+1)
		}
		event := alice.MustSendText(t, all[step], "hello")
		hstest.Eventually(t, "the message", func() bool { take(list.ask(t, next(), "1000")); return last[all[step]] == event })
		hstest.Eventually(t, "the secret", func() bool { secrets("1000"); return len(got) > step })
	}
	for i, room := range all {
		if names[room] != fmt.Sprint("Room ", i) {
			t.Errorf("room %d is called %q", i, names[room])
		}
	}
	if fmt.Sprint(got) != "[0 1 2 3 4]" {
		t.Errorf("the messages to the device came as %v", got)
	}
}
