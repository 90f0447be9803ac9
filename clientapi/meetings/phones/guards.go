package phones

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// The guards of calls out. Whoever gets into an account wants to call numbers that pay whoever has them, at the organisation's cost. Every guard has a bound that
// holds whatever the others let through; the last one is the budget.

func denied(format string, a ...any) *matrix.Error {
	return matrix.NewError(403, matrix.ErrThreepidDenied, format, a...)
}

// checkNumber refuses numbers that are nobody's phone at an ordinary price, or in a country that is not allowed.
func (s *Server) checkNumber(r *rules, digits string) error {
	n, err := phonenumbers.Parse("+"+digits, "")
	if err != nil || !phonenumbers.IsValidNumber(n) {
		return denied("this is not the number of a phone")
	}
	region := phonenumbers.GetRegionCodeForNumber(n)
	switch {
	case len(r.countries) == 0:
		return denied("the organisation has allowed no country: its default region or its policy %q names them", PolicyName)
	case !slices.Contains(r.countries, region):
		return denied("the organisation calls nobody in this country")
	case slices.ContainsFunc(r.deny, func(prefix string) bool { return strings.HasPrefix(digits, prefix) }):
		return denied("numbers that begin like this are not called")
	case phonenumbers.IsPossibleShortNumber(n) || phonenumbers.IsEmergencyNumber(digits, region):
		return denied("this is not the number of a phone")
	}
	switch phonenumbers.GetNumberType(n) {
	case phonenumbers.FIXED_LINE, phonenumbers.MOBILE, phonenumbers.FIXED_LINE_OR_MOBILE:
	default:
		// Premium rate, shared cost, satellites, voice over IP, and what nobody knows.
		return denied("numbers of this kind are not called")
	}
	for _, t := range s.cfg.Trunks {
		if slices.ContainsFunc(t.Numbers, func(n Number) bool { return n.Number == "+"+digits }) {
			return denied("this is the number by which one calls in")
		}
	}
	return nil
}

// allow refuses what would be too much, and says for how long a call may last: as much is set aside for it. Nobody else in the organisation can store a call out before the
// transaction ends.
func (s *Server) allow(r *rules, c *store.PhoneCall, n store.PhoneCounts, spent store.PhoneSpending) error {
	l := &s.cfg.Limits
	switch {
	case n.Same:
		return matrix.BadState("this number is being called into the meeting already")
	case n.On >= r.on:
		return tooMany(time.Minute, "the organisation has as many calls at a time as it may")
	case n.Member >= r.each:
		return tooMany(time.Hour, "you have had as many numbers called in this hour as you may")
	case n.Number >= l.PerNumberPerDay:
		return tooMany(time.Hour, "this number was called often enough today")
	case n.Block >= l.PerBlockPerHour:
		return tooMany(time.Hour, "the organisation has called many numbers that begin like this one")
	}
	seconds := min(int64(r.secondsPerCall), int64(r.secondsPerDay)-spent.Seconds)
	if price := l.price(c.Number[1:]); price > 0 {
		seconds = min(seconds, 60*((r.budget-spent.Cost)/price))
	} else if r.budget == 0 {
		seconds = 0
	}
	// Less than a minute is no call.
	if seconds < 60 {
		return tooMany(untilTomorrow(s.cfg.Clock.Now()), "the organisation's calls for today are spent")
	}
	c.SecondsAllowed = int(seconds)
	c.Cost = minutes(seconds) * l.price(c.Number[1:])
	return nil
}

func untilTomorrow(now time.Time) time.Duration {
	day := now.UTC().Truncate(24 * time.Hour)
	return day.Add(24 * time.Hour).Sub(now)
}

// alertAt are the parts of the budget, in percent, at which administrators are told.
var alertAt = []int64{50, 80, 100}

// alert notes in the audit log that what is set aside for a call takes the organisation past a part of its budget.
func (s *Server) alert(ctx context.Context, tx *store.Tx, r *rules, c *store.PhoneCall, before store.PhoneSpending) error {
	if c.Cost == 0 || r.budget == 0 {
		return nil
	}
	after := before.Cost + c.Cost
	var entries []store.AuditEntry
	for _, percent := range alertAt {
		if bound := r.budget * percent / 100; before.Cost < bound && after >= bound {
			detail, err := json.Marshal(map[string]any{
				"percent": percent, "spent": outbox.FormatMoney(after), "budget": outbox.FormatMoney(r.budget), "currency": s.cfg.Limits.Currency, "day": before.Day,
			})
			if err != nil {
				return err
			}
			entries = append(entries, store.AuditEntry{
				OrganisationID: c.OrganisationID, TS: c.CreatedTS, Actor: "server", Action: "phones.budget", Target: "calls", Detail: detail,
			})
		}
	}
	return tx.AppendAudit(ctx, entries...)
}
