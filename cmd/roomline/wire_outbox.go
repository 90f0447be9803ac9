package main

import (
	"context"
	"fmt"

	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/config"
	message "github.com/roomline/roomline/internal/outbox"
)

// newOutbox makes what has mails and short messages sent.
func (a *app) newOutbox(sealKey [32]byte) (*outbox.Server, error) {
	limits, err := messageLimits(&a.cfg.Telephony)
	if err != nil {
		return nil, err
	}
	return outbox.New(outbox.Config{
		Store: a.store, Clock: a.clock, Log: a.log, SealKey: sealKey, BaseURL: a.cfg.PublicBaseURL, Limits: limits, Media: sentMedia(a.cfg),
		Brand: a.branding.Brand,
		// Invitations are made later.
		Changed: func(ctx context.Context, invitationID string, state message.State) error {
			return a.invitations.DeliveryChanged(ctx, invitationID, state)
		},
	})
}

// sentMedia are the media that something can be sent by.
func sentMedia(cfg *config.Config) []string {
	t := &cfg.Telephony
	switch {
	case t.Mode == config.TelephonyOff:
		return nil
	case len(t.Media) > 0:
		return t.Media
	case t.Mode == config.TelephonyExternal || cfg.Dev:
		return []string{message.Email, message.Msisdn}
	}
	var media []string
	if t.Email.SMTP.Address != "" {
		media = append(media, message.Email)
	}
	if t.SMS.Transport != "" {
		media = append(media, message.Msisdn)
	}
	return media
}

// messageLimits are what the configuration allows to be sent.
func messageLimits(t *config.Telephony) (outbox.Limits, error) {
	l := &t.Limits
	limits := outbox.Limits{
		NumberPause: l.NumberPause, Window: t.SMS.Window, AddressPerDay: l.PerAddressPerDay, CodesPerDay: l.CodesPerAddressPerDay,
		EverywherePerDay: l.PerAddressEverywhere, SenderPerHour: l.PerMemberPerHour, OrganisationPerHour: l.PerHour, OrganisationPerDay: l.PerDay,
		OrganisationCodesPerHour: l.CodesPerHour, DomainPerHour: l.PerDomainPerHour, BlockPerHour: l.PerBlockPerHour,
		DenyPrefixes: l.DenyPrefixes, Currency: t.SMS.Currency, Prices: map[string]int64{},
		RedeemedPercent: l.RedeemedPercent, RedeemedOf: l.RedeemedOf, RedeemedAfter: l.RedeemedAfter,
	}
	if len(l.Countries) > 0 {
		limits.Countries = l.Countries
	}
	for _, one := range []struct {
		field, text string
		to          *int64
	}{
		{"limits.budget_per_day", l.BudgetPerDay, &limits.Budget}, {"limits.budget_most", l.BudgetMost, &limits.BudgetMost},
		{"sms.price", t.SMS.Price, &limits.Price},
	} {
		var err error
		if *one.to, err = outbox.ParseMoney(one.text); err != nil {
			return limits, fmt.Errorf("telephony.%s: %w", one.field, err)
		}
	}
	for begin, text := range t.SMS.Prices {
		price, err := outbox.ParseMoney(text)
		if err != nil {
			return limits, fmt.Errorf("telephony.sms.prices.%s: %w", begin, err)
		}
		limits.Prices[begin] = price
	}
	return limits, nil
}
