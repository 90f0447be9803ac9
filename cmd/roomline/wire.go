package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomline/roomline/appservices"
	"github.com/roomline/roomline/appservices/telephony/voice"
	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/clientapi/accounts"
	"github.com/roomline/roomline/clientapi/admin"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/branding"
	"github.com/roomline/roomline/clientapi/contacts"
	"github.com/roomline/roomline/clientapi/guests"
	"github.com/roomline/roomline/clientapi/identity"
	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/clientapi/meetings/moderation"
	"github.com/roomline/roomline/clientapi/meetings/phones"
	"github.com/roomline/roomline/clientapi/meetings/recording"
	"github.com/roomline/roomline/clientapi/meetings/schedule"
	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/clientapi/presence"
	"github.com/roomline/roomline/clientapi/push"
	"github.com/roomline/roomline/clientapi/scim"
	clientsync "github.com/roomline/roomline/clientapi/sync"
	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/cmd/internal/transports"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/housekeeping"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbound"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/mediaapi"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/signing"
)

// app is a Roomline process: every part, put together. Nothing runs before run is called.
type app struct {
	cfg         *config.Config
	log         *slog.Logger
	clock       matrix.Clock
	store       *store.Store
	journal     *journal.Journal
	keys        *signing.Keys
	limiter     *ratelimit.Limiter
	accounts    *auth.Accounts
	sessions    *auth.Sessions
	rooms       *roomserver.Server
	presence    *presence.Server
	push        *push.Server
	sync        *clientsync.Server
	client      *clientapi.Server
	metrics     *prometheus.Registry
	media       *mediaapi.Server
	appservices *appservices.Server
	contacts    *contacts.Server
	invitations *invitations.Server
	admin       *admin.Server
	people      *accounts.Server
	verifier    *verify.Verifier
	identity    *identity.Server
	scim        *scim.Server
	guests      *guests.Server
	meetings    *meetings.Server
	sfu         *sfu.Client
	// voice carries phone calls; nil before it is started, and where there are none.
	voice       atomic.Pointer[voice.Bridge]
	moderation  *moderation.Server
	phones      *phones.Server
	schedule    *schedule.Server
	recording   *recording.Server
	branding    *branding.Server
	outbox      *outbox.Server
	mediaServer *mediaServer
	registry    *appservices.Registry
	// transports are what this process sends mails and short messages with.
	transports transports.Set
	// outbound asks push gateways, application services and OpenID providers.
	outbound *http.Client
	// sealKey is what every process makes its other keys of.
	sealKey [32]byte
	// listeners counts those that were made, to tell their metrics apart.
	listeners int
}

// newApp puts the parts together in the order in which they depend on each other.
func newApp(ctx context.Context, cfg *config.Config, st *store.Store, sealKey [32]byte, log *slog.Logger) (*app, error) {
	a := &app{cfg: cfg, log: log, clock: matrix.SystemClock{}, store: st, metrics: newMetrics(), sealKey: sealKey}
	domains := hostedDomains(cfg)
	if err := st.EnsureHostedDomains(ctx, domains, matrix.TimestampOf(a.clock.Now())); err != nil {
		return nil, err
	}
	allowed, err := networks("outbound.allowed_addresses", cfg.Outbound.AllowedAddresses)
	if err != nil {
		return nil, err
	}
	a.outbound = outbound.New(outbound.Config{Allowed: allowed})
	processID := newUUID()
	if err := a.newGround(ctx, domains, processID); err != nil {
		return nil, err
	}
	a.rooms = roomserver.New(roomserver.Config{
		Store: st, Journal: a.journal, Keys: a.keys, Clock: a.clock, Log: log, Profile: a.profile,
		Deletion: deletionPolicy(cfg),
	})
	a.presence = presence.New(presence.Config{
		Store: st, Journal: a.journal, Clock: a.clock, Log: log, Disabled: !cfg.Presence.Enabled,
	})
	if a.media, err = a.newMedia(ctx, cfg); err != nil {
		return nil, err
	}
	if err := a.newPeople(); err != nil {
		return nil, err
	}
	a.scim, err = scim.New(scim.Config{Store: st, Accounts: a.people, Log: log, BaseURL: cfg.PublicBaseURL})
	if err != nil {
		return nil, err
	}
	a.push = push.New(push.Config{
		Store: st, Journal: a.journal, Clock: a.clock, Log: log,
		Gateways: a.outbound, Inside: insideClient(allowed),
	})
	a.sync = clientsync.New(clientsync.Config{
		Store: st, Journal: a.journal, Rooms: a.rooms, Presence: a.presence, Push: a.push, Clock: a.clock, Log: log,
	})
	if err := a.newAppservices(ctx, allowed, processID); err != nil {
		return nil, err
	}
	if a.contacts, err = a.newContacts(cfg, sealKey); err != nil {
		return nil, err
	}
	a.branding = a.newBranding()
	if err := a.newOutside(); err != nil {
		return nil, err
	}
	if err := a.newMeetingParts(); err != nil {
		return nil, err
	}
	if err := a.newAdmin(); err != nil {
		return nil, err
	}
	if a.identity, err = a.newIdentity(sealKey); err != nil {
		return nil, err
	}
	return a, a.newClient()
}

// newGround makes what the others stand on: the journal, keys, the registry of application services, limits, accounts and sessions.
func (a *app) newGround(ctx context.Context, domains []matrix.ServerName, processID string) (err error) {
	a.journal, err = journal.New(ctx, journal.Config{
		Store: a.store, Log: a.log, Clock: a.clock, ServerName: a.cfg.ServerName, ProcessID: processID,
	})
	if err != nil {
		return err
	}
	a.keys, err = signing.Open(ctx, signing.Config{
		Store: a.store, Domains: domains, SealKey: a.sealKey, Rand: rand.Reader, Clock: a.clock, Log: a.log, Journal: a.journal,
	})
	if err != nil {
		return fmt.Errorf("signing keys: %w", err)
	}
	registry, err := appservices.Load(a.cfg.Appservices.Registrations, matrix.ServerName(a.cfg.ServerName))
	if err != nil {
		return err
	}
	if err := addTelephony(registry, a.cfg, a.sealKey); err != nil {
		return err
	}
	a.registry = registry
	if a.cfg.RateLimits.Enabled {
		limiting := limiterConfig(a.cfg)
		if err := ratelimit.Check(limiting.Classes); err != nil {
			return err
		}
		limiting.Store, limiting.Clock, limiting.Log = a.store, a.clock, a.log
		a.limiter = ratelimit.New(limiting)
	}
	a.accounts, err = auth.NewAccounts(auth.AccountConfig{
		Store: a.store, Journal: a.journal, Clock: a.clock, Limiter: a.limiter, Domains: domains, Reserved: reserved(registry),
		PseudonymKey: derivedKey(a.sealKey, "pseudonyms in the audit log"),
	})
	if err != nil {
		return err
	}
	a.sessions = auth.NewSessions(auth.SessionConfig{Store: a.store, Journal: a.journal, Clock: a.clock, Log: a.log})
	return nil
}

// newPeople makes what becomes of accounts.
func (a *app) newPeople() (err error) {
	a.people, err = accounts.New(accounts.Config{
		Store: a.store, Journal: a.journal, Accounts: a.accounts, Rooms: a.rooms, Clock: a.clock, Log: a.log, StorePicture: a.media.StorePicture, OpenMedia: a.media.Open,
		// What arranges meetings is made later.
		HandOver:       func(ctx context.Context, user matrix.UserID) error { return a.schedule.HandOver(ctx, user) },
		SelfDeactivate: a.cfg.Accounts.SelfDeactivate, EraseMessages: a.cfg.Accounts.EraseMessages, EraseMedia: a.cfg.Accounts.EraseMedia,
	})
	return err
}

// newOutside makes what reaches people outside: mails and short messages, and the invitations of guests by them.
func (a *app) newOutside() (err error) {
	if a.outbox, err = a.newOutbox(a.sealKey); err != nil {
		return err
	}
	if a.transports, err = a.newTransports(); err != nil {
		return err
	}
	if a.verifier, err = a.newVerifier(a.sealKey); err != nil {
		return err
	}
	if a.invitations, err = a.newInvitations(a.cfg, a.sealKey); err != nil {
		return err
	}
	a.guests, err = a.newGuests(a.sealKey)
	return err
}

// newMeetingParts makes meetings, and what moderates, brings phones into and arranges them.
func (a *app) newMeetingParts() (err error) {
	if a.meetings, err = a.newMeetings(a.sealKey); err != nil {
		return err
	}
	if err = a.newModeration(); err != nil {
		return err
	}
	if a.phones, err = a.newPhones(a.sealKey); err != nil {
		return err
	}
	a.schedule, err = a.newSchedule(a.sealKey)
	return err
}

// derivedKey is a key for a purpose, which tells nothing of the one that it is made from.
func derivedKey(key [32]byte, purpose string) []byte {
	mac := hmac.New(sha256.New, key[:])
	io.WriteString(mac, purpose)
	return mac.Sum(nil)
}

// insideClient reaches what the operator allowed and nothing else; nil if that is nothing.
func insideClient(allowed []netip.Prefix) *http.Client {
	if len(allowed) == 0 {
		return nil
	}
	return outbound.New(outbound.Config{Allowed: allowed, OnlyAllowed: true})
}

// networks are those that a field of the configuration lists.
func networks(field string, texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range texts {
		network, err := config.Network(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		list = append(list, network)
	}
	return list, nil
}

// limiterConfig is what the configuration says of rate limits.
func limiterConfig(cfg *config.Config) ratelimit.Config {
	classes := make(map[string]ratelimit.Class, len(cfg.RateLimits.Classes))
	for name, c := range cfg.RateLimits.Classes {
		classes[name] = ratelimit.Class{Burst: c.Burst, Every: c.Every}
	}
	return ratelimit.Config{
		Classes: classes, ExemptUsers: cfg.RateLimits.ExemptUsers, ExemptAppservices: cfg.RateLimits.ExemptAppservices,
	}
}

func hostedDomains(cfg *config.Config) []matrix.ServerName {
	var domains []matrix.ServerName
	for _, d := range cfg.Domains() {
		domains = append(domains, matrix.ServerName(d))
	}
	return domains
}

// run works until ctx ends: first those stop who write to the journal, then the journal.
func (a *app) run(ctx context.Context) error {
	journalCtx, stopJournal := context.WithCancel(context.WithoutCancel(ctx))
	var journalDone, parts sync.WaitGroup
	journalDone.Go(func() {
		if err := a.journal.Run(journalCtx); err != nil {
			a.log.Error("journal stopped", "error", err)
		}
	})
	for name, part := range map[string]func(context.Context) error{
		"sessions": a.sessions.Run, "presence": a.presence.Run, "push": a.push.Run, "client API": a.client.Run,
		"administration": a.admin.Run, "accounts": a.people.Run, "media": a.media.Run, "application services": a.appservices.Run,
		"signing keys": a.keys.Run, "outbox": a.outbox.Run, "invitations": a.invitations.Run, "guests": a.guests.Run,
		"meetings":    a.meetings.Run,
		"lobbies":     a.moderation.Run,
		"phones":      a.phones.Run,
		"schedule":    a.schedule.Run,
		"recordings":  a.recording.Run,
		"rate limits": a.limiter.Run,
	} {
		parts.Go(func() {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				a.log.Error("a part stopped", "part", name, "error", err)
			}
		})
	}
	parts.Go(func() { tuneCollector(ctx) })
	parts.Go(func() {
		housekeeping.Run(ctx, a.store, a.clock, a.log, slices.Concat(housekeeping.Tasks(a.store), contacts.Tasks(a.store), outbox.Tasks(a.store), invitations.Tasks(a.store), a.phones.Tasks(), schedule.Tasks(a.store)))
	})
	parts.Wait()
	stopJournal()
	journalDone.Wait()
	return nil
}
