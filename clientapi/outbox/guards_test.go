package outbox_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	message "github.com/roomline/roomline/internal/outbox"
)

const (
	limited  = matrix.ErrLimitExceeded
	denied   = matrix.ErrThreepidDenied
	aUnit    = outbox.Unit
	audited  = `SELECT count(*) FROM audit_log WHERE organisation_id = 1 AND action = $1`
	manyWays = 50
)

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
