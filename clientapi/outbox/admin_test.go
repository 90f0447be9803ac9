package outbox_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	message "github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
)

func TestTheLogIsForAdministrators(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for i := range 3 {
		w.mustSend(t, w.mail(fmt.Sprintf("a%d@example.com", i)))
	}
	other := w.mail("theirs@example.com")
	other.Organisation, other.Sender = 2, "@alice:b"
	w.mustSend(t, other)
	get := func(role httpapi.Role, query string) (int, gjson.Result) {
		status, body := w.askAs(t, 0, &httpapi.Requester{User: "@root:a", Org: 1, Role: role}, http.MethodGet, "/_roomline/admin/v1/messages"+query, nil)
		return status, gjson.ParseBytes(body)
	}
	for _, role := range []httpapi.Role{httpapi.RoleNone, httpapi.RolePeople} {
		if status, _ := get(role, ""); status != http.StatusForbidden {
			t.Errorf("role %q gets %d", role, status)
		}
	}
	_, page := get(httpapi.RoleAuditor, "?limit=2")
	if len(page.Get("messages").Array()) != 2 || page.Get("messages.0.address").String() != "a2@example.com" || strings.Contains(page.Raw, "secret") {
		t.Fatalf("first page: %s", page)
	}
	_, page = get(httpapi.RoleAuditor, "?limit=2&from="+page.Get("next_from").String())
	if len(page.Get("messages").Array()) != 1 || page.Get("messages.0.address").String() != "a0@example.com" || page.Get("next_from").Exists() {
		t.Fatalf("second page: %s", page)
	}
	// Of what was given to the network by a process that died it is said when it is sent again.
	id := w.mustSend(t, w.sms("23456"))
	list := w.lease(t, 0, 10)
	m := list[slices.IndexFunc(list, func(m message.Message) bool { return m.ID == id })]
	w.report(t, 0, message.Outcome{ID: id, Lease: m.Lease, State: message.Sending})
	lapses := w.number(t, `SELECT lease_ts FROM outbox WHERE message_id = $1`, id)
	if _, page = get(httpapi.RoleAuditor, "?state=sending"); page.Get("messages.#").Int() != 1 || page.Get("messages.0.next_ts").Int() != lapses {
		t.Fatalf("what the network may have is sent again at %d: %s", lapses, page)
	}
	if _, page = get(httpapi.RoleAuditor, "?state=sent"); len(page.Get("messages").Array()) != 0 {
		t.Fatalf("those that were sent: %s", page)
	}
	for _, grants := range [][]string{nil, {"people"}} {
		for _, path := range []string{"lease", "outcomes"} {
			if status, _ := w.ask(t, 0, grants, http.MethodPost, "/_roomline/telephony/v1/"+path, map[string]any{"media": []string{"email"}, "max": 1}); status != http.StatusForbidden {
				t.Errorf("%s with the grants %v: %d", path, grants, status)
			}
		}
	}
}

func TestCancelAndAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.invitation(t, "inv", "msisdn", "32470123456")
	invite := func(again bool) int64 {
		t.Helper()
		d := w.sms("23456")
		d.InvitationID, d.Again = "inv", again
		return w.mustSend(t, d)
	}
	cost := func() int64 { return w.number(t, `SELECT cost FROM outbox_spending WHERE organisation_id = 1`) }
	cancel := func() {
		t.Helper()
		if err := w.stores[0].Write(t.Context(), func(tx *store.Tx) error { return w.servers[0].Cancel(context.Background(), tx, "inv") }); err != nil {
			t.Fatal(err)
		}
	}
	first := invite(false)
	one := cost()
	taken := w.lease(t, 0, 1)[0]
	second := invite(true) // replaces the first, which the bridge has and has not sent yet: it does not count
	if w.state(t, first) != "cancelled" || cost() != one {
		t.Fatalf("the first is %s, and %d are spent", w.state(t, first), cost())
	}
	if got := w.report(t, 0, message.Outcome{ID: first, Lease: taken.Lease, State: message.Sending}); fmt.Sprint(got.Lost) != fmt.Sprint([]int64{first}) {
		t.Fatalf("the bridge may send what was taken back: %+v", got)
	}
	cancel()
	if w.state(t, second) != "cancelled" || cost() != 0 || len(w.lease(t, 0, 10)) != 0 {
		t.Fatalf("the second is %s, and %d are spent", w.state(t, second), cost())
	}
	third := invite(false)
	m := w.lease(t, 0, 1)[0]
	w.report(t, 0, message.Outcome{ID: third, Lease: m.Lease, State: message.Sending})
	cancel()
	if w.state(t, third) != "sending" {
		t.Fatalf("what the network may have is %s", w.state(t, third))
	}
	// Whoever had it is dead. What it said holds no more: nobody sends it again, and the price is paid.
	w.later(t, 2*leaseFor)
	if list := w.lease(t, 1, 10); len(list) != 0 {
		t.Fatalf("what was taken back is sent again: %+v", list)
	}
	if _, err := w.stores[0].ExpireOutbox(t.Context(), matrix.TimestampOf(w.clock.Now()), 10); err != nil {
		t.Fatal(err)
	}
	known := w.number(t, `SELECT count(*) FROM outbox WHERE message_id = $1 AND state = 'failed' AND problem = 'not known' AND told = state`, third)
	if known != 1 || cost() != one {
		t.Fatalf("what was taken back is %s, and %d are spent", w.state(t, third), cost())
	}
	// The network did not take it: it is as if it had never been sent.
	w.clock.forward(2 * time.Minute)
	fourth := invite(false)
	m = w.lease(t, 0, 1)[0]
	w.report(t, 0, message.Outcome{ID: fourth, Lease: m.Lease, State: message.Sending})
	cancel()
	w.report(t, 0, message.Outcome{ID: fourth, Lease: m.Lease, State: message.Queued, Retry: true})
	if _, err := w.stores[0].ExpireOutbox(t.Context(), matrix.TimestampOf(w.clock.Now()), 10); err != nil {
		t.Fatal(err)
	}
	if got := w.state(t, fourth); got != "cancelled" || cost() != one {
		t.Fatalf("what the network did not take is %s, and %d are spent", got, cost())
	}
}
