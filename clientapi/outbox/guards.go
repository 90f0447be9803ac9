package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/people"
	"github.com/roomline/roomline/internal/store"
)

// The guards. What an attacker wants is other people's money (short messages to numbers that pay whoever has them), other people's quiet
// (a mailbox full of invitations), or our good name with mail servers. Every guard has a bound that holds whatever the others let through;
// the last one is the budget.

// checkSender refuses a sender who may not have anything sent. Guests may not: whoever has a link would have the organisation's money.
func (s *Server) checkSender(ctx context.Context, tx *store.Tx, d *Draft) error {
	if d.Sender == "" {
		return nil
	}
	user, err := tx.GetUser(ctx, d.Sender)
	if errors.Is(err, store.ErrNotFound) {
		return matrix.Forbidden("only members of the organisation invite people from outside")
	}
	if err != nil {
		return fmt.Errorf("look up the sender of a message: %w", err)
	}
	if d.Kind == outbox.Code || d.Kind == outbox.Cancellation {
		// Who gets a code to an address of their own may be anybody; who invited may be locked by now.
		return nil
	}
	switch {
	case user.Guest:
		return matrix.NewError(403, matrix.ErrGuestAccessForbidden, "guests can't invite people from outside")
	case user.Suspended:
		return matrix.UserSuspended()
	case user.Locked, user.Deactivated(), user.OrganisationID != d.Organisation:
		return matrix.Forbidden("only members of the organisation invite people from outside")
	}
	return nil
}

// checkAddress refuses addresses that nothing is sent to.
func (s *Server) checkAddress(ctx context.Context, tx *store.Tx, d *Draft, r *rules) error {
	if d.Medium == outbox.Email && !r.email || d.Medium == outbox.Msisdn && !r.sms {
		return matrix.NewError(403, matrix.ErrThreepidDenied, "the organisation sends nothing by %s", mediumName(d.Medium))
	}
	if d.Medium == outbox.Msisdn {
		if err := r.checkNumber(d.Address); err != nil {
			return err
		}
	}
	if d.Kind == outbox.Code {
		return nil
	}
	refused, err := tx.IsRefused(ctx, s.refusalHash(d.Medium, d.Address))
	if err != nil {
		return fmt.Errorf("look up a refusal: %w", err)
	}
	if refused {
		return matrix.NewError(403, matrix.ErrThreepidDenied, "who has this address wants no invitations")
	}
	return nil
}

// checkNumber refuses numbers that are no mobile phone's, or are in a country that is not allowed.
func (r *rules) checkNumber(address string) error {
	denied := func(format string, a ...any) error {
		return matrix.NewError(403, matrix.ErrThreepidDenied, format, a...)
	}
	n, err := phonenumbers.Parse("+"+address, "")
	if err != nil || !phonenumbers.IsValidNumber(n) {
		return denied("this is not the number of a phone")
	}
	region := phonenumbers.GetRegionCodeForNumber(n)
	switch {
	case len(r.countries) == 0:
		return denied("the organisation has allowed no country: its default region or its policy %q names them", PolicyName)
	case !slices.Contains(r.countries, region):
		return denied("the organisation sends no short messages to this country")
	case slices.ContainsFunc(r.deny, func(prefix string) bool { return strings.HasPrefix(address, prefix) }):
		return denied("nothing is sent to numbers that begin like this")
	}
	if people.IsMobile(address) {
		return nil
	}
	return denied("this is not the number of a mobile phone")
}

// admit refuses what would be too much. Nobody else in the organisation can store a message before the transaction ends.
func (s *Server) admit(ctx context.Context, tx *store.Tx, d *Draft, r *rules, c store.OutboxCounts, spent store.Spending, now matrix.Timestamp) error {
	if d.Kind == outbox.Cancellation && d.Medium == outbox.Email {
		// It comes once, after a message that was sent. A calendar is to lose the meeting, whatever was sent since.
		return nil
	}
	l := &s.cfg.Limits
	code := d.Kind == outbox.Code
	perAddress, perHour, perDay := l.AddressPerDay, r.perHour, r.perDay
	if code {
		perAddress, perHour, perDay = l.CodesPerDay, l.OrganisationCodesPerHour, 24*l.OrganisationCodesPerHour
	}
	if d.Medium == outbox.Msisdn {
		if left := time.Duration(c.LastTS-now)*time.Millisecond + l.NumberPause; c.LastTS > 0 && left > 0 {
			return tooMany(left, "a message was sent to this number a moment ago; wait %d seconds", int64((left+time.Second-1)/time.Second))
		}
	}
	switch {
	case c.Address >= perAddress, c.Everywhere >= max(l.EverywherePerDay, perAddress):
		return tooMany(time.Hour, "enough messages were sent to this address today")
	case !code && c.Sender >= r.perSender:
		return tooMany(time.Hour, "you have sent %d invitations in this hour, which is as many as you may", c.Sender)
	case c.Hour >= perHour, c.Day >= perDay:
		return tooMany(time.Hour, "the organisation has sent as many messages as it may for now")
	case !code && c.Domain >= l.DomainPerHour:
		return tooMany(time.Hour, "the organisation has sent as many mails to this domain as it may in an hour")
	case c.Block >= l.BlockPerHour:
		return tooMany(time.Hour, "the organisation has sent messages to many numbers that begin like this one")
	}
	if d.Medium != outbox.Msisdn {
		return nil
	}
	if spent.Cost >= r.budget {
		return tooMany(untilTomorrow(s.cfg.Clock.Now()), "the organisation's budget for short messages is spent for today")
	}
	if d.Kind != outbox.Invitation {
		return nil
	}
	return s.checkRedeemed(ctx, tx, d.Organisation, now)
}

func untilTomorrow(now time.Time) time.Duration {
	day := now.UTC().Truncate(24 * time.Hour)
	return day.Add(24 * time.Hour).Sub(now)
}

// checkRedeemed stops invitations by short message of which too few are used: people use them, machines that are paid for messages don't.
func (s *Server) checkRedeemed(ctx context.Context, tx *store.Tx, organisation int64, now matrix.Timestamp) error {
	l := &s.cfg.Limits
	if l.RedeemedOf == 0 {
		return nil
	}
	stopped := matrix.Forbidden("invitations by short message are paused: few of the last ones were used; an administrator of the organisation can let them go on")
	pause, err := tx.GetOutboxPause(ctx, organisation)
	if err != nil {
		return fmt.Errorf("look up a pause: %w", err)
	}
	if pause.PausedTS > 0 {
		return stopped
	}
	sent, redeemed, err := tx.CountRedeemed(ctx, organisation, pause.ResumedTS, now-matrix.Timestamp(l.RedeemedAfter.Milliseconds()), l.RedeemedOf)
	if err != nil {
		return fmt.Errorf("count invitations that were redeemed: %w", err)
	}
	if sent < l.RedeemedOf || redeemed*100 >= sent*l.RedeemedPercent {
		return nil
	}
	// The transaction is going to be taken back, so that Run stores the pause. Should it not come to that, the next message finds the same.
	select {
	case s.paused <- organisation:
	default:
	}
	return stopped
}

// alertAt are the parts of the budget, in percent, at which administrators are told.
var alertAt = []int64{50, 80, 100}

// alert notes in the audit log that a message has taken the organisation past a part of its budget.
func (s *Server) alert(ctx context.Context, tx *store.Tx, d *Draft, r *rules, before store.Spending, cost int64, now matrix.Timestamp) error {
	if cost == 0 || r.budget == 0 {
		return nil
	}
	after := before.Cost + cost
	var entries []store.AuditEntry
	for _, percent := range alertAt {
		if bound := r.budget * percent / 100; before.Cost < bound && after >= bound {
			detail, err := json.Marshal(map[string]any{
				"percent": percent, "spent": FormatMoney(after), "budget": FormatMoney(r.budget), "currency": s.cfg.Limits.Currency, "day": before.Day,
			})
			if err != nil {
				return err
			}
			entries = append(entries, store.AuditEntry{
				OrganisationID: d.Organisation, TS: now, Actor: "server", Action: "messages.budget", Target: d.Medium, Detail: detail,
			})
		}
	}
	return tx.AppendAudit(ctx, entries...)
}
