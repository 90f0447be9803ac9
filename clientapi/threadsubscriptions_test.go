package clientapi_test

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"reflect"
	"sync"
	"testing"

	"github.com/roomline/roomline/clientapi"
	clientsync "github.com/roomline/roomline/clientapi/sync"
	"github.com/roomline/roomline/internal/httpapi"
)

const unstableThreads = "/_matrix/client/unstable/io.element.msc4306"

func subscription(id, root string) string {
	return unstableThreads + room(id) + "/thread/" + esc(root) + "/subscription"
}

// subscribed says what GET tells of a subscription: manual, automatic or none.
func (c *client) subscribed(id, root string) string {
	c.p.t.Helper()
	status, answer := c.p.do("GET", subscription(id, root), c.token, nil)
	switch {
	case status == 404 && answer.text("errcode") == "M_NOT_FOUND":
		return "none"
	case status == 200 && answer["automatic"] == true:
		return "automatic"
	case status == 200 && answer["automatic"] == false:
		return "manual"
	}
	c.p.t.Fatalf("subscription: %d %v", status, answer)
	return ""
}

func TestThreadSubscriptions(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p, second := d.process(), d.process()
	alice, bob := p.client("alice"), p.client("bob")
	id := alice.create(object{"preset": "public_chat"})
	bob.join(id)
	root, other := alice.say(id, "root"), alice.say(id, "other")
	first := alice.relate(id, "m.thread", root)
	elsewhere := alice.relate(id, "m.thread", other)
	put := func(c *client, body object) {
		t.Helper()
		p.want(200, "", "PUT", subscription(id, root), c.token, body)
	}
	end := func(c *client) { t.Helper(); p.want(200, "", "DELETE", subscription(id, root), c.token, nil) }
	is := func(want string) {
		t.Helper()
		for _, c := range []*client{bob, bob.at(second)} {
			if got := c.subscribed(id, root); got != want {
				t.Fatalf("the subscription is %s, want %s", got, want)
			}
		}
	}
	const conflict, outside = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION", "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"
	is("none")
	end(bob)
	is("none")
	put(bob, object{"automatic": first})
	is("automatic")
	put(bob, object{})
	is("manual")
	put(bob, object{"automatic": first})
	is("manual")
	end(bob)
	is("none")
	p.want(409, conflict, "PUT", subscription(id, root), bob.token, object{"automatic": first})
	second.want(409, conflict, "PUT", subscription(id, root), bob.token, object{"automatic": first})
	is("none")
	later := alice.relate(id, "m.thread", root)
	put(bob, object{"automatic": later})
	is("automatic")
	end(bob)
	put(bob, object{})
	is("manual")
	if got := alice.subscribed(id, root); got != "none" {
		t.Errorf("another user's subscription is %s", got)
	}
	for _, wrong := range []string{elsewhere, root, other, "$nothing:one.test"} {
		p.want(400, outside, "PUT", subscription(id, root), bob.token, object{"automatic": wrong})
	}
	stranger := p.client("stranger")
	for _, test := range []struct {
		by         *client
		status     int
		code, root string
		body       any
	}{
		{bob, 400, "M_INVALID_PARAM", root, object{"automatic": "x"}}, {bob, 400, "M_BAD_JSON", root, object{"automatic": true}},
		{bob, 400, "M_NOT_JSON", root, "{"}, {bob, 404, "M_NOT_FOUND", first, object{}}, {bob, 404, "M_NOT_FOUND", "$nothing:one.test", object{}},
		{stranger, 404, "M_NOT_FOUND", root, object{}}, {bob, 400, "M_INVALID_PARAM", "x", object{}},
	} {
		p.want(test.status, test.code, "PUT", subscription(id, test.root), test.by.token, test.body)
	}
	p.want(404, "M_NOT_FOUND", "GET", subscription(id, root), stranger.token, nil)
	p.want(404, "M_NOT_FOUND", "DELETE", subscription(id, root), stranger.token, nil)
}

func TestSubscriptionsOfManyDevicesAtOnce(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p, second := d.process(), d.process()
	alice := p.client("alice")
	id := alice.create(object{})
	root := alice.say(id, "root")
	reply := alice.relate(id, "m.thread", root)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			body := object{"automatic": reply}
			if i == 5 {
				body = object{}
			}
			process := []*process{p, second}[i%2]
			if status, answer := process.do("PUT", subscription(id, root), alice.token, body); status != 200 {
				t.Errorf("subscribe: %d %v", status, answer)
			}
		})
	}
	wg.Wait()
	if got := alice.subscribed(id, root); got != "manual" {
		t.Errorf("one device subscribed by hand, and the subscription is %s", got)
	}
}

func TestThreadSubscriptionsAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	rooms, log := d.configure, slog.New(slog.DiscardHandler)
	var sync *clientsync.Server
	d.configure = func(cfg *clientapi.Config) {
		rooms(cfg)
		sync = clientsync.New(clientsync.Config{Store: cfg.Store, Journal: cfg.Journal, Rooms: cfg.Rooms, Clock: cfg.Clock, Log: log})
	}
	p := d.process()
	t.Cleanup(sync.Stop)
	web := httptest.NewServer(httpapi.New(httpapi.Config{Log: log, Clock: d.clock, Auth: p.sessions}, sync.Routes()))
	t.Cleanup(web.Close)
	lists := &process{t: t, url: web.URL}
	alice := p.client("alice")
	ids := []string{alice.create(object{}), alice.create(object{})}
	var roots []string
	for i := range 5 {
		roots = append(roots, alice.say(ids[i%2], "root"))
		p.want(200, "", "PUT", subscription(ids[i%2], roots[i]), alice.token, object{})
	}
	p.want(200, "", "DELETE", subscription(ids[0], roots[0]), alice.token, nil)
	list := func(query string) (object, []string) {
		t.Helper()
		answer := lists.want(200, "", "GET", "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions?"+query, alice.token, nil)
		found := []string{}
		for i, root := range roots {
			for _, kind := range []string{"subscribed", "unsubscribed"} {
				thread := answer.inner(kind).inner(ids[i%2]).inner(root)
				if thread == nil {
					continue
				}
				if stamp, _ := thread["bump_stamp"].(float64); stamp <= 0 || (thread["automatic"] == false) != (kind == "subscribed") {
					t.Errorf("%s thread: %v", kind, thread)
				}
				found = append(found, fmt.Sprint(kind[0] == 'u', i))
			}
		}
		return answer, found
	}
	if answer, got := list(""); !reflect.DeepEqual(got, []string{"true 0", "false 1", "false 2", "false 3", "false 4"}) || answer["end"] != nil {
		t.Errorf("all: %v, end %v", got, answer["end"])
	}
	page, got := list("limit=2&dir=b")
	if !reflect.DeepEqual(got, []string{"true 0", "false 4"}) {
		t.Errorf("first page: %v", got)
	}
	page, got = list("limit=2&from=" + page.text("end"))
	if !reflect.DeepEqual(got, []string{"false 2", "false 3"}) {
		t.Errorf("second page: %v", got)
	}
	if page, got = list("limit=2&from=" + page.text("end")); !reflect.DeepEqual(got, []string{"false 1"}) || page["end"] != nil {
		t.Errorf("third page: %v, end %v", got, page["end"])
	}
	for _, query := range []string{"dir=f", "from=x", "to=x", "limit=x"} {
		lists.want(400, "M_INVALID_PARAM", "GET", "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions?"+query, alice.token, nil)
	}
}
