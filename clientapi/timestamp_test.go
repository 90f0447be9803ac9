package clientapi_test

import (
	"fmt"
	"testing"
	"time"
)

func TestEventsAreFoundByTheirTime(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice, late, stranger := p.client("alice"), p.client("late"), p.client("stranger")
	id := alice.create(object{"preset": "public_chat", "initial_state": []object{
		{"type": "m.room.history_visibility", "content": object{"history_visibility": "joined"}}}})
	var sent []string
	var at []int64
	for i := range 5 {
		d.clock.advance(time.Hour)
		if i == 3 {
			late.join(id)
		}
		sent = append(sent, alice.say(id, "tick"))
		at = append(at, int64(alice.event(id, sent[i])["origin_server_ts"].(float64)))
	}
	find := func(c *client, ts int64, dir string) string {
		t.Helper()
		status, answer := p.do("GET", fmt.Sprintf("/_matrix/client/v1%s/timestamp_to_event?ts=%d&dir=%s", room(id), ts, dir), c.token, nil)
		if status == 404 && answer.text("errcode") == "M_NOT_FOUND" {
			return "none"
		}
		if status != 200 || answer["origin_server_ts"] == nil {
			t.Fatalf("ts %d, dir %s: %d %v", ts, dir, status, answer)
		}
		for i, e := range sent {
			if answer.text("event_id") == e {
				return fmt.Sprint(i)
			}
		}
		return "state"
	}
	for _, test := range []struct {
		by   *client
		ts   int64
		dir  string
		want string
	}{
		{alice, at[2], "f", "2"}, {alice, at[2], "b", "2"}, {alice, at[3] + 1, "f", "4"}, {alice, at[2] - 1, "b", "1"},
		{alice, at[4] + 1, "f", "none"}, {alice, 0, "b", "none"}, {alice, -5, "b", "none"}, {alice, 0, "f", "state"}, {alice, at[4] + 1e12, "b", "4"},
		// Who joined later is told of what came since, and of the state before the history was closed.
		{late, at[4] - 1, "b", "3"}, {late, at[3] + 1, "f", "4"}, {late, at[1], "b", "state"}, {late, at[1], "f", "state"},
	} {
		if got := find(test.by, test.ts, test.dir); got != test.want {
			t.Errorf("%s, ts %d, dir %s: got %s, want %s", test.by.user, test.ts-at[0], test.dir, got, test.want)
		}
	}
	late.leave(id)
	d.clock.advance(time.Hour)
	alice.say(id, "after")
	if got := find(late, at[4]+1, "f"); got != "state" {
		t.Errorf("who left finds %s after the last message, want the leaving", got)
	}
	path := "/_matrix/client/v1" + room(id) + "/timestamp_to_event"
	for query, code := range map[string]string{
		"": "M_MISSING_PARAM", "?ts=1": "M_MISSING_PARAM", "?dir=f": "M_MISSING_PARAM", "?ts=x&dir=f": "M_INVALID_PARAM",
		"?ts=1&dir=x": "M_INVALID_PARAM", "?ts=99999999999999999999&dir=f": "M_INVALID_PARAM", "?ts=1.5&dir=f": "M_INVALID_PARAM",
	} {
		p.want(400, code, "GET", path+query, alice.token, nil)
	}
	p.want(403, "M_FORBIDDEN", "GET", path+"?ts=1&dir=f", stranger.token, nil)
	p.want(403, "M_FORBIDDEN", "GET", "/_matrix/client/v1/rooms/!x:one.test/timestamp_to_event?ts=1&dir=f", alice.token, nil)
}
