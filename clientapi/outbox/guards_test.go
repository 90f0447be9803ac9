package outbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	message "github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
)

const (
	limited  = matrix.ErrLimitExceeded
	denied   = matrix.ErrThreepidDenied
	aUnit    = outbox.Unit
	audited  = `SELECT count(*) FROM audit_log WHERE organisation_id = 1 AND action = $1`
	manyWays = 50
)

// policy has organisation 1 decide.
func (w *world) policy(t *testing.T, body string) {
	t.Helper()
	if _, err := outbox.ParsePolicy([]byte(body)); err != nil {
		t.Fatal(err)
	}
	w.exec(t, `INSERT INTO organisation_policies (organisation_id, name, value) VALUES (1, 'messages', $1)
		ON CONFLICT (organisation_id, name) DO UPDATE SET value = excluded.value`, []byte(body))
}

func TestSpendingStopsAtTheBudgetInAllProcessesTogether(t *testing.T) {
	t.Parallel()
	const budget, price = 10 * aUnit, aUnit / 4 // an invitation counts as three parts: 0.75
	w := newWorld(t, func(c *outbox.Config) {
		c.Limits.Budget, c.Limits.Price = budget, price
		c.Limits.SenderPerHour, c.Limits.OrganisationPerHour, c.Limits.BlockPerHour = 1000, 1000, 1000
	})
	for i := range manyWays {
		w.exec(t, `INSERT INTO users (user_id, organisation_id, created_ts) VALUES ('@m' || $1::text || ':a', 1, 0)`, fmt.Sprint(i))
	}
	var parallel sync.WaitGroup
	refused := make(chan error, manyWays*4)
	for i := range manyWays {
		parallel.Go(func() {
			for k := range 4 {
				d := w.sms(fmt.Sprintf("%05d", i*100+k))
				d.Sender = matrix.UserID(fmt.Sprintf("@m%d:a", i))
				if _, err := w.send(i%3, d); err != nil {
					refused <- err
				}
			}
		})
	}
	parallel.Wait()
	close(refused)
	for err := range refused {
		if e, ok := matrix.AsError(err); !ok || e.Code != limited || !strings.Contains(e.Message, "budget") {
			t.Fatalf("refused with %v", err)
		}
	}
	spent := w.number(t, `SELECT cost FROM outbox_spending WHERE organisation_id = 1 AND medium = 'msisdn'`)
	sent := w.number(t, `SELECT count(*) FROM outbox`)
	if one := int64(3 * price); spent < budget || spent >= budget+one || spent != sent*one {
		t.Fatalf("spent %d of %d with %d messages", spent, budget, sent)
	}
	if n := w.number(t, audited, "messages.budget"); n != 3 {
		t.Errorf("%d alerts, want those of 50, 80 and 100 percent", n)
	}

	// What was not sent is paid back; what took fewer parts as well.
	list := w.lease(t, 0, 2)
	w.report(t, 0, message.Outcome{ID: list[0].ID, Lease: list[0].Lease, State: message.Failed, Problem: "no such number"},
		message.Outcome{ID: list[1].ID, Lease: list[1].Lease, State: message.Sent, Parts: 1})
	if now := w.number(t, `SELECT cost FROM outbox_spending WHERE organisation_id = 1 AND medium = 'msisdn'`); now != spent-5*price {
		t.Errorf("%d are spent, after %d", now, spent)
	}
	w.mustSend(t, w.sms("99999"))

	// Another organisation has a budget of its own, and so has the next day.
	other := w.sms("00000")
	other.Organisation, other.Sender = 2, "@alice:b"
	w.mustSend(t, other)
	w.mustRefuse(t, "over the budget", w.sms("99997"), limited, "budget")
	w.clock.forward(13 * time.Hour)
	w.mustSend(t, w.sms("99997"))
}

func TestNumbersThatNothingIsSentTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *outbox.Config) { c.Limits.DenyPrefixes = []string{"32489"} })
	number := func(address string) outbox.Draft {
		d := w.sms("")
		d.Address = address
		return d
	}
	for address, word := range map[string]string{
		"33612345678":   "country",      // a French mobile
		"870776543210":  "country",      // a satellite's
		"32022345678":   "not the",      // not possible
		"3222345678":    "mobile phone", // a landline in Brussels
		"3290012345":    "mobile phone", // premium
		"327812345":     "not the",      // shared cost, too short
		"3278151234":    "mobile phone", // shared cost
		"3280012345":    "mobile phone", // free of charge
		"32489123456":   "begin",        // the operator's list
		"not a number":  "not the",
		"3247012345678": "not the",
	} {
		w.mustRefuse(t, address, number(address), denied, word)
	}
	w.mustSend(t, number("32470123456"))

	w.policy(t, `{"countries":["FR","GB"],"deny_prefixes":["33689"]}`)
	w.mustRefuse(t, "the own country, which the policy leaves out", number("32470123457"), denied, "country")
	w.mustSend(t, number("33612345678"))
	w.mustRefuse(t, "a prefix of the policy", number("33689123456"), denied, "begin")
	w.mustRefuse(t, "voice over IP", number("445612345678"), denied, "mobile phone")
	w.mustRefuse(t, "a pager", number("447640123456"), denied, "mobile phone")
	w.mustRefuse(t, "a personal number", number("447012345678"), denied, "mobile phone")
	w.policy(t, `{"sms":false}`)
	w.mustRefuse(t, "no short messages", number("32470123457"), denied, "short message")
	w.policy(t, `{"email":false}`)
	w.mustRefuse(t, "no mails", w.mail("a@b.example"), denied, "e-mail")
	w.policy(t, `{}`)
	w.exec(t, `UPDATE organisations SET default_region = ''`)
	w.mustRefuse(t, "no country", number("32470123457"), denied, "no country")
}

func TestTheOperatorsCountriesBoundThePolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *outbox.Config) { c.Limits.Countries, c.Limits.BudgetMost = []string{"BE", "FR"}, 30*aUnit })
	w.policy(t, `{"countries":["FR","GB"],"per_hour":100000,"budget_per_day":"5000"}`)
	d := w.sms("")
	d.Address = "447400123456"
	w.mustRefuse(t, "a country that the operator does not allow", d, denied, "country")
	if answer := w.spending(t); answer.Get("budget_per_day").String() != "30.00" {
		t.Errorf("the budget is %s", answer)
	}
}

// spending is what administrators of organisation 1 see.
func (w *world) spending(t *testing.T) gjson.Result {
	t.Helper()
	status, body := w.askAs(t, 0, &httpapi.Requester{User: "@root:a", Org: 1, Role: httpapi.RoleAuditor}, http.MethodGet, "/_roomline/admin/v1/messages/spending", nil)
	if status != http.StatusOK {
		t.Fatalf("spending: %d %s", status, body)
	}
	return gjson.ParseBytes(body)
}

func TestWhoMaySend(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.exec(t, `UPDATE users SET suspended = true WHERE user_id = '@bob:a'`)
	w.exec(t, `UPDATE users SET locked = true WHERE user_id = '@carol:a'`)
	w.exec(t, `UPDATE users SET deactivated_ts = 1 WHERE user_id = '@dave:a'`)
	for sender, code := range map[matrix.UserID]matrix.ErrCode{
		"@guest:a": matrix.ErrGuestAccessForbidden, "@bob:a": matrix.ErrUserSuspended, "@carol:a": matrix.ErrForbidden, "@dave:a": matrix.ErrForbidden,
		"@alice:b": matrix.ErrForbidden, "@nobody:a": matrix.ErrForbidden,
	} {
		for _, d := range []outbox.Draft{w.sms("23456"), w.mail("x@y.example")} {
			d.Sender = sender
			w.mustRefuse(t, string(sender), d, code, "")
		}
	}
	d := w.code(message.Email, "x@y.example")
	d.Sender = "@guest:a"
	if _, err := w.send(0, d); err != nil {
		t.Errorf("a guest's code: %v", err)
	}
	if n := w.number(t, `SELECT count(*) FROM outbox`); n != 1 {
		t.Errorf("%d messages are queued", n)
	}
}

func TestANumberIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.mustSend(t, w.sms("23456"))
	bobs := w.sms("23456")
	bobs.Sender = "@bob:a"
	w.mustRefuse(t, "the same number at once", bobs, limited, "a moment ago; wait 60 seconds")
	w.mustSend(t, w.code(message.Msisdn, w.sms("23456").Address)) // who opens the link at once gets a code
	w.clock.forward(59 * time.Second)
	w.mustRefuse(t, "before the minute is over", bobs, limited, "wait 1 seconds")
	w.clock.forward(time.Second)
	w.mustSend(t, bobs)
	w.clock.forward(time.Hour)
	w.mustSend(t, bobs)
	w.clock.forward(time.Hour)
	w.mustRefuse(t, "the fourth of a day", bobs, limited, "today")
	w.clock.forward(22 * time.Hour)
	w.mustSend(t, bobs)
}

func TestAMailboxIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *outbox.Config) { c.Limits.DomainPerHour = 6 })
	for range 3 {
		w.mustSend(t, w.mail("anna@example.com"))
	}
	w.mustRefuse(t, "the fourth of a day", w.mail("anna@example.com"), limited, "today")
	w.mustSend(t, w.code(message.Email, "anna@example.com"))
	for i := range 3 {
		w.mustSend(t, w.mail(fmt.Sprintf("a%d@example.com", i)))
	}
	w.mustRefuse(t, "a domain", w.mail("b@example.com"), limited, "domain")
	w.mustSend(t, w.mail("b@sub.example.com"))
	w.mustSend(t, w.code(message.Email, "b@example.com"))
	w.mustRefuse(t, "no address", w.mail("b@example.com\r\nBcc: all@example.com"), matrix.ErrInvalidParam, "e-mail")
}

func TestLimitsOfMembersAndOrganisations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *outbox.Config) {
		c.Limits.SenderPerHour, c.Limits.OrganisationPerHour, c.Limits.OrganisationPerDay, c.Limits.OrganisationCodesPerHour = 3, 5, 7, 2
	})
	n := 0
	next := func(sender matrix.UserID) outbox.Draft {
		n++
		d := w.mail(fmt.Sprintf("x%d@d%d.example", n, n))
		d.Sender = sender
		return d
	}
	for range 3 {
		w.mustSend(t, next("@alice:a"))
	}
	w.mustRefuse(t, "a member", next("@alice:a"), limited, "you have sent 3")
	w.mustSend(t, next("@bob:a"))
	w.mustSend(t, next("@bob:a"))
	w.mustRefuse(t, "the organisation's hour", next("@bob:a"), limited, "the organisation")
	for i := range 2 {
		w.mustSend(t, w.code(message.Email, fmt.Sprintf("c%d@d.example", i)))
	}
	w.mustRefuse(t, "the organisation's codes", w.code(message.Email, "c3@d.example"), limited, "the organisation")
	w.clock.forward(time.Hour + time.Second)
	w.mustSend(t, next("@carol:a"))
	w.mustSend(t, next("@carol:a"))
	w.mustRefuse(t, "the organisation's day", next("@dave:a"), limited, "the organisation")
	w.policy(t, `{"per_member_per_hour":1,"per_day":1000000}`)
	w.clock.forward(24 * time.Hour)
	w.mustSend(t, next("@alice:a"))
	w.mustRefuse(t, "the policy's limit", next("@alice:a"), limited, "you have sent 1")
	// A meeting is taken out of calendars again, however much was sent.
	cancellation := next("@alice:a")
	cancellation.Kind = message.Cancellation
	w.mustSend(t, cancellation)
	w.mustRefuse(t, "a cancellation is no invitation", next("@alice:a"), limited, "you have sent 1")
}

// Numbers that follow each other belong to somebody who is paid for what they get.
func TestSequentialNumbersStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *outbox.Config) { c.Limits.SenderPerHour, c.Limits.OrganisationPerHour = 10000, 10000 })
	sent := 0
	for i := range 200 {
		d := w.sms(fmt.Sprintf("23%03d", i))
		d.Sender = matrix.UserID("@" + []string{"alice", "bob", "carol", "dave"}[i%4] + ":a")
		if _, err := w.send(i%3, d); err == nil {
			sent++
		} else if e, ok := matrix.AsError(err); !ok || e.Code != limited || !strings.Contains(e.Message, "begin like this") {
			t.Fatal(err)
		}
	}
	if sent != 10 {
		t.Errorf("%d of 200 numbers of a block got something, want 10", sent)
	}
	w.mustSend(t, w.sms("24000"))
}

func TestInvitationsThatNobodyUsesStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *outbox.Config) {
		c.Limits.SenderPerHour, c.Limits.OrganisationPerHour, c.Limits.BlockPerHour, c.Limits.Budget = 10000, 10000, 10000, 1000*aUnit
	})
	w.run(t, 1)
	n := 0
	invite := func() (string, error) {
		n++
		id := fmt.Sprintf("inv%d", n)
		d := w.sms(fmt.Sprintf("%05d", n))
		w.invitation(t, id, "msisdn", d.Address)
		d.InvitationID = id
		_, err := w.send(1, d)
		for _, m := range w.lease(t, 0, 100) {
			w.report(t, 0, message.Outcome{ID: m.ID, Lease: m.Lease, State: message.Sent, Parts: 1})
		}
		return id, err
	}
	fifty := func(used int) {
		t.Helper()
		for i := range 50 {
			id, err := invite()
			if err != nil {
				t.Fatal(err)
			}
			if i < used {
				w.exec(t, `UPDATE invitations SET redeemed_ts = 1 WHERE invitation_id = $1`, id)
			}
		}
		w.clock.forward(31 * time.Minute)
	}
	fifty(11)
	if _, err := invite(); err != nil {
		t.Fatalf("a fifth was used: %v", err)
	}
	w.clock.forward(24 * time.Hour)
	fifty(9)
	_, err := invite()
	if e, ok := matrix.AsError(err); !ok || e.Code != matrix.ErrForbidden || !strings.Contains(e.Message, "paused") {
		t.Fatalf("less than a fifth was used: %v", err)
	}
	hstest.Eventually(t, "the pause is noted", func() bool { return w.spending(t).Get("paused_ts").Int() > 0 })
	// Used late: it stays paused until an administrator says otherwise.
	w.exec(t, `UPDATE invitations SET redeemed_ts = 1`)
	if _, err := invite(); err == nil {
		t.Fatal("goes on by itself")
	}
	w.mustSend(t, w.mail("anna@example.com"))
	w.mustSend(t, w.code(message.Msisdn, "32470999999"))
	resume := func(role httpapi.Role) int {
		status, _ := w.askAs(t, 2, &httpapi.Requester{User: "@root:a", Org: 1, Role: role, Admin: role == httpapi.RoleOwner}, http.MethodPost, "/_roomline/admin/v1/messages/resume", nil)
		return status
	}
	if resume(httpapi.RoleAuditor) != http.StatusForbidden || resume(httpapi.RoleOwner) != http.StatusOK {
		t.Fatal("who may resume")
	}
	w.exec(t, `UPDATE invitations SET redeemed_ts = NULL`)
	if _, err := invite(); err != nil {
		t.Fatalf("after it was resumed: %v", err)
	}
	if w.number(t, audited, "messages.pause") != 1 || w.number(t, audited, "messages.resume") != 1 {
		t.Error("the audit log does not have both")
	}
}

func TestQuietHours(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.policy(t, `{"quiet_hours":{"from":"22:00","to":"07:30","timezone":"Europe/Brussels","email":false}}`)
	w.clock.forward(9*time.Hour + 5*time.Minute) // 21:05 UTC, 22:05 in Brussels
	held := w.mustSend(t, w.sms("23456"))
	w.mustSend(t, w.mail("anna@example.com"))
	w.mustSend(t, w.code(message.Msisdn, "32470999999"))
	list := w.lease(t, 0, 10)
	if len(list) != 2 || list[0].ID == held || list[1].ID == held || w.state(t, held) != "held sealed" {
		t.Fatalf("handed out %+v, and the message is %s", list, w.state(t, held))
	}
	var invitation message.Message
	w.clock.forward(9*time.Hour + 24*time.Minute) // 7:29
	if list := w.lease(t, 0, 10); len(list) != 0 && list[0].ID == held {
		t.Fatal("sent before the quiet hours were over")
	}
	w.clock.forward(time.Minute)
	if list := w.lease(t, 0, 10); len(list) != 1 || list[0].ID != held {
		t.Fatalf("after the quiet hours: %+v", list)
	} else {
		invitation = list[0]
	}
	// A second attempt does not come at night, either.
	w.report(t, 0, message.Outcome{ID: held, Lease: invitation.Lease, State: message.Queued, Retry: true, RetryAfter: (15 * time.Hour).Milliseconds()})
	if got := w.state(t, held); got != "held sealed" {
		t.Fatalf("state %s", got)
	}
	w.clock.forward(15*time.Hour + 5*time.Minute) // 22:35
	if list := w.lease(t, 0, 10); len(list) != 0 {
		t.Fatal("sent again at night")
	}
	w.clock.forward(9 * time.Hour)
	if list := w.lease(t, 0, 10); len(list) != 1 {
		t.Fatal("not sent again in the morning")
	}
}

func TestWhoRefusedGetsCodesAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.mustSend(t, w.mail("anna@example.com"))
	link := w.lease(t, 0, 1)[0].RefuseURL
	path, ok := strings.CutPrefix(link, "https://chat.example.org")
	if !ok || strings.Contains(link, "anna") {
		t.Fatalf("the link is %s", link)
	}
	status, page := w.ask(t, 0, nil, http.MethodGet, path, nil)
	if status != http.StatusOK || !strings.Contains(string(page), `<form method="post">`) || !strings.Contains(string(page), `lang="fr"`) || strings.Contains(string(page), "anna@") {
		t.Fatalf("%d %s", status, page)
	}
	w.mustSend(t, w.mail("anna@example.com")) // a program that looked at the link refused nothing
	if status, page := w.ask(t, 1, nil, http.MethodPost, path, nil); status != http.StatusOK || !strings.Contains(string(page), "a…@e…") {
		t.Fatalf("%d %s", status, page)
	}
	w.mustRefuse(t, "who refused", w.mail("anna@example.com"), denied, "wants no invitations")
	other := w.mail("anna@example.com")
	other.Organisation, other.Sender = 2, "@alice:b"
	w.mustRefuse(t, "another organisation", other, denied, "wants no invitations")
	w.mustSend(t, w.code(message.Email, "anna@example.com"))
	w.mustSend(t, w.mail("bob@example.com"))
	if n := w.number(t, `SELECT count(*) FROM outbox_refusals WHERE position('anna' in encode(address_hash, 'escape')) = 0`); n != 1 {
		t.Error("a refusal is more than a hash")
	}
	for _, bad := range []string{path[:len(path)-3] + "AAA", "/_roomline/guest/v1/refuse/x", "/_roomline/guest/v1/refuse/" + strings.Repeat("A", 80)} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if status, _ := w.ask(t, 0, nil, method, bad, nil); status != http.StatusNotFound {
				t.Errorf("%s %s: %d", method, bad, status)
			}
		}
	}
	undo := func(org int64) int {
		status, _ := w.askAs(t, 0, &httpapi.Requester{User: "@root:a", Org: org, Role: httpapi.RoleOwner, Admin: true}, http.MethodDelete, "/_roomline/operator/v1/messages/refusals/email/anna@example.com", nil)
		return status
	}
	if undo(2) != http.StatusForbidden || undo(1) != http.StatusOK || undo(1) != http.StatusNotFound {
		t.Fatal("who may take a refusal back")
	}
	w.mustSend(t, w.mail("anna@example.com"))
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

func TestPoliciesAreReadStrictly(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		`{"countries":["Belgium"]}`, `{"deny_prefixes":["+32"]}`, `{"budget_per_day":"-1"}`, `{"budget_per_day":"1.2345678"}`, `{"per_hour":-1}`,
		`{"quiet_hours":{"from":"22","to":"07:00","timezone":"Europe/Brussels"}}`, `{"quiet_hours":{"from":"22:00","to":"07:00","timezone":"Mars"}}`,
		`{"quiet_hours":{"from":"22:00","to":"22:00","timezone":"Europe/Brussels"}}`, `{"quiet_hours":{"from":"22:00","to":"07:00"}}`,
	} {
		_, err := outbox.ParsePolicy([]byte(bad))
		if e, ok := matrix.AsError(err); !ok || e.Code != matrix.ErrBadJSON {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for text, want := range map[string]int64{"20": 20 * aUnit, "0.075": 75000, "12.50": 12_500_000} {
		got, err := outbox.ParseMoney(text)
		if err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	if text := outbox.FormatMoney(75000) + " " + outbox.FormatMoney(20*aUnit) + " " + outbox.FormatMoney(12_500_000); text != "0.075 20.00 12.50" {
		t.Error(text)
	}
	w := newWorld(t, nil)
	text, err := json.Marshal(w.servers[0].DefaultPolicy())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.ParsePolicy(text); err != nil {
		t.Errorf("the default is none that could be decided: %s: %v", text, err)
	}
}
