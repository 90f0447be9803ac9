package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"path/filepath"

	"github.com/roomline/roomline/appservices"
	"github.com/roomline/roomline/appservices/telephony"
	"github.com/roomline/roomline/appservices/telephony/bot"
	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/cmd/internal/transports"
	"github.com/roomline/roomline/config"
	words "github.com/roomline/roomline/internal/commands"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
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

// telephonyID is what the telephony bridge inside the server is called.
const telephonyID = "roomline-telephony"

// telephonyEvents are what the bridge's bot is told of in rooms that it is in, telephonyActs what it may do there. Elsewhere it is told of
// commands, and of what becomes of invitations: telephonyOutside.
var (
	telephonyEvents  = bot.EventTypes
	telephonyOutside = bot.OutsideTypes
	telephonyActs    = bot.Act
)

// inProcess is what this process is called where it asks itself.
const inProcess = "http://in-process.invalid"

// telephonyTokens are those of the bridge inside the server, the same in every process.
func telephonyTokens(sealKey [32]byte) (as, hs string) {
	token := func(purpose string) string { return base64.RawURLEncoding.EncodeToString(derivedKey(sealKey, purpose)) }
	return token("as_token of the telephony bridge"), token("hs_token of the telephony bridge")
}

// addTelephony registers the telephony bridge that is inside the server, if there is one.
func addTelephony(registry *appservices.Registry, cfg *config.Config, sealKey [32]byte) error {
	if cfg.Telephony.Mode != config.TelephonyInProcess || len(sentMedia(cfg)) == 0 && len(cfg.Telephony.Voice.Trunks) == 0 {
		return nil
	}
	as, hs := telephonyTokens(sealKey)
	return registry.AddBuiltIn(appservices.BuiltIn{
		ID: telephonyID, Localpart: "telephony", ASToken: as, HSToken: hs, Grants: []string{appservices.GrantTelephony},
		EventTypes: telephonyEvents, Act: telephonyActs, BodyPrefixes: words.Prefixes(), OutsideTypes: telephonyOutside,
	}, matrix.ServerName(cfg.ServerName))
}

// newTransports makes what this process sends with.
func (a *app) newTransports() (transports.Set, error) {
	if a.cfg.Telephony.Mode != config.TelephonyInProcess {
		return transports.Set{}, nil
	}
	var development *transports.Development
	if a.cfg.Dev {
		development = &transports.Development{
			Dir: filepath.Join(a.cfg.DataDir, "inbox"), From: "invitations@" + hostOf(a.cfg.ServerName), BaseURL: a.cfg.PublicBaseURL,
		}
	}
	return transports.New(&a.cfg.Telephony, development, a.log)
}

// hostOf is a server name without its port.
func hostOf(serverName string) string {
	if host, _, err := net.SplitHostPort(serverName); err == nil {
		return host
	}
	return serverName
}

// startTelephony runs the telephony bridge inside this process. stop lets it finish what it has begun.
//
// It asks this process's own handler, with the same requests as one elsewhere: there is one way for messages to leave.
func (a *app) startTelephony() (stop func(), err error) {
	calls := a.cfg.Telephony.Mode == config.TelephonyInProcess && a.cfg.Telephony.Voice.Carries()
	if len(a.transports.ByMedium) == 0 && !calls {
		return func() {}, nil
	}
	as, hs := telephonyTokens(a.sealKey)
	inside := &http.Client{Transport: httpapi.InProcess(a.handler([]config.Service{config.ServeClient}, nil))}
	asks, err := bot.New(bot.Config{Homeserver: inProcess, Token: as, HTTP: inside, Log: a.log})
	if err != nil {
		return nil, err
	}
	bridge, err := telephony.New(telephony.Config{
		Homeserver: inProcess, Token: as, HSToken: hs, HTTP: inside, Transports: a.transports.ByMedium, Events: asks.Transaction, Log: a.log,
	})
	if err != nil {
		return nil, err
	}
	if err := a.registry.Serve(telephonyID, bridge.Handler()); err != nil {
		return nil, err
	}
	stopVoice, err := a.startVoice(inside)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := bridge.Run(ctx); err != nil {
			a.log.Error("a part stopped", "part", "telephony", "error", err)
		}
	}()
	return func() { stopVoice(); cancel(); <-done }, nil
}
