package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/roomline/roomline/appservices"
	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/clientapi/admin"
	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/clientapi/meetings/phones"
	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/ratelimit"
)

// newPhones makes the part that lets phones into meetings. It comes after meetings.
func (a *app) newPhones(sealKey [32]byte) (*phones.Server, error) {
	limits, err := phoneLimits(&a.cfg.Telephony)
	if err != nil {
		return nil, err
	}
	limiter := a.limiter
	if limiter == nil { // PINs are guarded in any case
		limiter = ratelimit.New(ratelimit.Config{Store: a.store, Clock: a.clock, Log: a.log})
	}
	cfg := phones.Config{
		Store: a.store, Journal: a.journal, Rooms: a.rooms, Clock: a.clock, Log: a.log, SealKey: sealKey, Limiter: limiter,
		Wait: a.moderation.Wait, WaitInside: a.moderation.WaitInside, Consent: a.recording.Consent,
		Trunks: phoneTrunks(a.cfg), Limits: limits, Focus: strings.TrimSuffix(a.cfg.PublicBaseURL, "/") + "/_roomline/rtc", CloseGhost: a.closeGhost, OnPhone: a.presence.OnPhone,
	}
	if a.cfg.Telephony.Voice.ByLiveKit() {
		cfg.SIP = a.sfu
	}
	if a.meetings.On() {
		a.meetings.Restrict(phones.Restrict)
		cfg.Mint = func(ctx context.Context, room matrix.RoomID, ghost matrix.UserID, device matrix.DeviceID, name string) (phones.Token, error) {
			t, err := a.meetings.Mint(ctx, meetings.MintRequest{
				Room: room, Slot: meetings.CallDefaultSlot, User: ghost, Device: string(device), Legacy: true, Name: name,
			})
			return phones.Token{URL: t.URL, JWT: t.JWT, Identity: t.Identity}, err
		}
	}
	return phones.New(cfg)
}

// phoneTrunks are the trunks of the configuration; none if telephony is off.
func phoneTrunks(cfg *config.Config) []phones.Trunk {
	if cfg.Telephony.Mode == config.TelephonyOff {
		return nil
	}
	var list []phones.Trunk
	for _, t := range cfg.Telephony.Voice.Trunks {
		one := phones.Trunk{
			Name: t.Name, Caller: t.Caller, Out: t.Out, LiveKit: t.LiveKit.Enabled(), InboundTrunk: t.LiveKit.InboundTrunk, OutboundTrunk: t.LiveKit.OutboundTrunk,
			Allowed: t.SIP.AllowedAddresses,
		}
		for _, d := range t.Organisations {
			one.Domains = append(one.Domains, matrix.ServerName(d))
		}
		for _, n := range t.Numbers {
			one.Numbers = append(one.Numbers, phones.Number{Number: n.Number, Country: n.Country, Language: n.Language})
		}
		list = append(list, one)
	}
	return list
}

// phoneLimits are what the configuration allows of calls.
func phoneLimits(t *config.Telephony) (phones.Limits, error) {
	l := &t.Voice.Limits
	limits := phones.Limits{
		Currency: t.SMS.Currency, Prices: map[string]int64{}, DenyPrefixes: l.DenyPrefixes, MinutesPerDay: l.MinutesPerDay, MinutesPerCall: l.MinutesPerCall,
		Concurrent: l.Concurrent, ConcurrentIn: l.ConcurrentIn, PerMemberPerHour: l.PerMemberPerHour, PerNumberPerDay: l.PerNumberPerDay,
		PerBlockPerHour: l.PerBlockPerHour,
	}
	if len(l.Countries) > 0 {
		limits.Countries = l.Countries
	}
	for _, one := range []struct {
		field, text string
		to          *int64
	}{{"budget_per_day", l.BudgetPerDay, &limits.Budget}, {"budget_most", l.BudgetMost, &limits.BudgetMost}, {"price", l.Price, &limits.Price}} {
		var err error
		if *one.to, err = outbox.ParseMoney(one.text); err != nil {
			return limits, fmt.Errorf("telephony.voice.limits.%s: %w", one.field, err)
		}
	}
	for begin, text := range l.Prices {
		price, err := outbox.ParseMoney(text)
		if err != nil {
			return limits, fmt.Errorf("telephony.voice.limits.prices.%s: %w", begin, err)
		}
		limits.Prices[begin] = price
	}
	return limits, nil
}

// phonesPolicy is what organisations may decide about phones.
func (a *app) phonesPolicy() admin.Policy {
	return admin.PolicyOf(phones.PolicyName, "Whether phones come into the organisation's meetings, whom its members may have called, for how long and for how much money.",
		phones.ParsePolicy, a.phones.DefaultPolicy())
}

// closeGhost closes the account of a phone that calls no more.
func (a *app) closeGhost(ctx context.Context, ghost matrix.UserID) error {
	u, err := a.store.GetUser(ctx, ghost)
	if err != nil {
		return err
	}
	erase := true
	return a.people.DeleteAs(ctx, accounts.Actor{Org: u.OrganisationID, Name: "server"}, ghost, accounts.Deletion{Messages: &erase, Media: &erase})
}

// reserved are the user ids that nobody gets who asks for one.
func reserved(registry *appservices.Registry) func(matrix.UserID) bool {
	return func(user matrix.UserID) bool { return phones.IsGhost(user) || registry.Exclusive(user) }
}
