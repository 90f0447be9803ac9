package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
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
	"github.com/roomline/roomline/clientapi/directory"
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
	"github.com/roomline/roomline/clientapi/sso"
	clientsync "github.com/roomline/roomline/clientapi/sync"
	"github.com/roomline/roomline/clientapi/verify"
	"github.com/roomline/roomline/cmd/internal/transports"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/housekeeping"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/journal"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbound"
	"github.com/roomline/roomline/internal/ratelimit"
	"github.com/roomline/roomline/internal/sfu"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/mediaapi"
	"github.com/roomline/roomline/roomserver"
	"github.com/roomline/roomline/roomserver/federation"
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
	a.journal, err = journal.New(ctx, journal.Config{
		Store: st, Log: log, Clock: a.clock, ServerName: cfg.ServerName, ProcessID: processID,
	})
	if err != nil {
		return nil, err
	}
	a.keys, err = signing.Open(ctx, signing.Config{
		Store: st, Domains: domains, SealKey: sealKey, Rand: rand.Reader, Clock: a.clock, Log: log, Journal: a.journal,
	})
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	registry, err := appservices.Load(cfg.Appservices.Registrations, matrix.ServerName(cfg.ServerName))
	if err != nil {
		return nil, err
	}
	if err := addTelephony(registry, cfg, sealKey); err != nil {
		return nil, err
	}
	a.registry = registry
	if cfg.RateLimits.Enabled {
		limiting := limiterConfig(cfg)
		if err := ratelimit.Check(limiting.Classes); err != nil {
			return nil, err
		}
		limiting.Store, limiting.Clock, limiting.Log = st, a.clock, log
		a.limiter = ratelimit.New(limiting)
	}
	a.accounts, err = auth.NewAccounts(auth.AccountConfig{
		Store: st, Journal: a.journal, Clock: a.clock, Limiter: a.limiter, Domains: domains, Reserved: reserved(registry),
		PseudonymKey: derivedKey(sealKey, "pseudonyms in the audit log"),
	})
	if err != nil {
		return nil, err
	}
	a.sessions = auth.NewSessions(auth.SessionConfig{Store: st, Journal: a.journal, Clock: a.clock, Log: log})
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
	a.people, err = accounts.New(accounts.Config{
		Store: st, Journal: a.journal, Accounts: a.accounts, Rooms: a.rooms, Clock: a.clock, Log: log, StorePicture: a.media.StorePicture, OpenMedia: a.media.Open,
		// What arranges meetings is made later.
		HandOver:       func(ctx context.Context, user matrix.UserID) error { return a.schedule.HandOver(ctx, user) },
		SelfDeactivate: cfg.Accounts.SelfDeactivate, EraseMessages: cfg.Accounts.EraseMessages, EraseMedia: cfg.Accounts.EraseMedia,
	})
	if err != nil {
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
	services := allowed
	if cfg.Dev { // application services are tried out on the same machine
		services = append(slices.Clone(allowed), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	}
	a.appservices, err = appservices.New(ctx, appservices.Config{
		Registry: registry, Store: st, Journal: a.journal, Client: outbound.New(outbound.Config{Allowed: services}),
		Deliveries: outbound.New(outbound.Config{Allowed: services, Timeout: limits.AppserviceTransaction}),
		Clock:      a.clock, Log: log, SealKey: sealKey, ProcessID: processID,
		PresenceContent: presence.EventContent, PresenceAs: presence.As, EndSessions: a.sessions.DeleteAllDevices, Directory: a.directory(),
	})
	if err != nil {
		return nil, err
	}
	if a.contacts, err = a.newContacts(cfg, sealKey); err != nil {
		return nil, err
	}
	a.branding = a.newBranding()
	if a.outbox, err = a.newOutbox(sealKey); err != nil {
		return nil, err
	}
	if a.transports, err = a.newTransports(); err != nil {
		return nil, err
	}
	if a.verifier, err = a.newVerifier(sealKey); err != nil {
		return nil, err
	}
	if a.invitations, err = a.newInvitations(cfg, sealKey); err != nil {
		return nil, err
	}
	if a.guests, err = a.newGuests(sealKey); err != nil {
		return nil, err
	}
	if a.meetings, err = a.newMeetings(sealKey); err != nil {
		return nil, err
	}
	if err = a.newModeration(); err != nil {
		return nil, err
	}
	if a.phones, err = a.newPhones(sealKey); err != nil {
		return nil, err
	}
	if a.schedule, err = a.newSchedule(sealKey); err != nil {
		return nil, err
	}
	a.admin, err = admin.New(admin.Config{
		Store: st, Journal: a.journal, Accounts: a.accounts, Keys: a.keys, Clock: a.clock, Log: log,
		EraseAccount: a.people.EraseAndWait, DeleteRoom: a.people.DeleteRoomAndWait, People: a.people, Version: "Roomline " + version(),
		MediaQuota: a.media.Quota, Policies: a.policies(), Documented: slices.Concat(a.media.Routes(), a.appservices.Routes(), a.outbox.Routes(), a.invitations.Routes(), a.guests.Routes(), a.phones.Routes(), a.schedule.Routes()),
	})
	if err != nil {
		return nil, err
	}
	if a.identity, err = a.newIdentity(sealKey); err != nil {
		return nil, err
	}
	a.client, err = clientapi.New(clientapi.Config{
		Store: st, Journal: a.journal, Accounts: a.accounts, Sessions: a.sessions, Interactive: auth.NewInteractive(a.accounts, a.verifier),
		Rooms: a.rooms, Presence: a.presence, Push: a.push, Clock: a.clock, Log: log,
		PropagateProfile: a.rooms.PropagateProfile, LeaveRooms: a.rooms.LeaveRooms,
		RegisterGuest: a.registerGuest, MayVisit: a.guests.MayVisit, MayKnock: a.moderation.MayKnock,
		Registration: clientapi.RegistrationConfig{
			Mode: clientapi.RegistrationMode(cfg.Registration.Mode), SharedSecret: cfg.Registration.SharedSecret.Reveal(),
		},
		Appservice: registry.Acting, MaySignIn: a.appservices.MayActAs, MayName: registry.MayName, Serves: registry.Serves,
		QueryUser: a.appservices.QueryUser, QueryAlias: a.appservices.QueryAlias,
		TURN: clientapi.TURNConfig{
			URIs: cfg.TURN.URIs, SharedSecret: cfg.TURN.SharedSecret.Reveal(),
			Username: cfg.TURN.Username, Password: cfg.TURN.Password.Reveal(), Lifetime: cfg.TURN.Lifetime,
		},
		SSO:        sso.Config{Providers: identityProviders(cfg), Allowed: ownRedirects(cfg), HTTP: a.outbound},
		MayPreview: a.media.MayPreview,
		Limiter:    a.limiter, MaxDelay: cfg.DelayedEvents.MaxDelay, MaxScheduled: cfg.DelayedEvents.MaxScheduled,
		WellKnown: a.wellKnown(), ServerNotices: clientapi.ServerNoticesConfig(cfg.ServerNotices), PublicProfiles: cfg.PublicProfiles,
		DirectoryOfRooms: cfg.UserDirectory == config.DirectoryRooms,
		PrivateContacts:  a.contacts.Find, MayDeactivate: a.people.MayDeactivate, Invitations: a.invitations,
		Verifier: a.verifier, MayChangeThreePIDs: a.people.MayChangeThreePIDs, DefaultRoomVersion: cfg.DefaultRoomVersion,
	})
	return a, err
}

// derivedKey is a key for a purpose, which tells nothing of the one that it is made from.
func derivedKey(key [32]byte, purpose string) []byte {
	mac := hmac.New(sha256.New, key[:])
	io.WriteString(mac, purpose)
	return mac.Sum(nil)
}

// policies are what organisations may decide for themselves, one for each package that heeds one.
func (a *app) policies() []admin.Policy {
	return []admin.Policy{
		admin.PolicyOf(mediaapi.PolicyName, "How large uploads are, how much there may be of them, how long they are kept, and whether links are previewed.",
			mediaapi.ParsePolicy, a.media.DefaultPolicy()),
		admin.PolicyOf(roomserver.DeletionPolicyName, "Who may delete what in rooms: the sender, or the room's owner only.",
			roomserver.ParseDeletionPolicy, deletionPolicy(a.cfg)),
		admin.PolicyOf(accounts.PolicyName, "Whether people may close their accounts themselves, and what goes with an account that is deleted.",
			accounts.ParsePolicy, a.people.DefaultPolicy()),
		admin.PolicyOf(outbox.PolicyName, "What mails and short messages are sent for the organisation: to which countries, how many, for how much money, and when.",
			outbox.ParsePolicy, a.outbox.DefaultPolicy()),
		admin.PolicyOf(directory.PolicyName, "Who in the organisation sees addresses, numbers and titles of its people, and finds them by these.",
			directory.ParsePolicy, directory.DefaultPolicy()),
		admin.PolicyOf(invitations.PolicyName, "Who may invite people from outside, how, for how long, and what becomes of guests.",
			invitations.ParsePolicy, invitations.DefaultPolicy()),
		a.brandingPolicy(),
		a.phonesPolicy(),
		a.meetingsPolicy(),
	}
}

func identityProviders(cfg *config.Config) []sso.Provider {
	var providers []sso.Provider
	for _, p := range cfg.OIDC.Providers {
		domain := p.Domain
		if domain == "" {
			domain = cfg.ServerName
		}
		providers = append(providers, sso.Provider{
			ID: p.ID, Name: p.Name, Icon: p.Icon, Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: p.ClientSecret.Reveal(),
			Scopes: p.Scopes, Domain: matrix.ServerName(domain), Create: p.User == config.OIDCCreate,
			LocalpartClaim: p.LocalpartClaim, EmailClaim: p.EmailClaim,
		})
	}
	return providers
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

func (a *app) wellKnown() clientapi.WellKnownConfig {
	cfg := a.cfg
	w := clientapi.WellKnownConfig{
		BaseURL: cfg.PublicBaseURL, FederationServer: cfg.Federation.WellKnownServer, SupportPage: cfg.Support.Page,
		PolicyKeys: cfg.PolicyServer.PublicKeys, IdentityServer: cfg.IdentityServer.Announce,
	}
	if a.meetings.On() {
		w.CallService = meetings.Service
	}
	for _, c := range cfg.Support.Contacts {
		w.SupportContacts = append(w.SupportContacts, clientapi.SupportContact{
			MatrixID: matrix.UserID(c.MatrixID), EmailAddress: c.Email, Role: c.Role,
		})
	}
	return w
}

// profile is what a user's membership events say of the user.
func (a *app) profile(ctx context.Context, user matrix.UserID) (roomserver.Profile, error) {
	fields, err := a.store.ListProfiles(ctx, []matrix.UserID{user}, []string{"displayname", "avatar_url", roomserver.GuestKey})
	if err != nil {
		return roomserver.Profile{}, err
	}
	var p roomserver.Profile
	for _, f := range fields {
		if f.Key == roomserver.GuestKey {
			p.Guest = f.Value
			continue
		}
		var value string
		if json.Unmarshal(f.Value, &value) != nil {
			// A field that is not a string was not made by the endpoint that checks it, and has no place in a member event.
			continue
		}
		if f.Key == "displayname" {
			p.DisplayName = value
		} else {
			p.AvatarURL = value
		}
	}
	return p, nil
}

// tables are the routes of what a listener is configured to serve.
func (a *app) tables(services []config.Service) [][]httpapi.Route {
	var tables [][]httpapi.Route
	for _, service := range services {
		switch service {
		case config.ServeClient:
			tables = append(tables, a.client.Routes(), a.sync.Routes(), a.media.Routes(), a.appservices.Routes(), a.admin.Routes(), a.contacts.Routes(), a.scim.Routes(),
				a.outbox.Routes(), a.invitations.Routes(), a.guests.Routes(), a.branding.Routes(), a.transports.Routes, a.identity.Routes(),
				a.meetings.Routes(),
				a.moderation.Routes(),
				a.phones.Routes(),
				a.schedule.Routes(),
				a.recording.Routes(),
			)
			if !slices.Contains(services, config.ServeFederation) {
				tables = append(tables, federation.OpenIDRoutes(a.store, a.clock))
			}
		case config.ServeFederation:
			tables = append(tables, federation.Routes(a.keys, a.store, a.clock), a.meetings.FederationRoutes())
		}
	}
	return tables
}

// handler serves what a listener is configured to serve.
func (a *app) handler(services []config.Service, admin http.Handler) http.Handler {
	mux := http.NewServeMux()
	if slices.Contains(services, config.ServeAdmin) {
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			mux.Handle(path, admin)
		}
	}
	if m := a.mediaServer; m != nil && m.child != nil && slices.Contains(services, config.ServeClient) {
		for _, path := range signallingPaths {
			mux.Handle("GET "+path, m.signalling(a.meetings.MayConnect))
		}
	}
	var limiter httpapi.Limiter
	if a.limiter != nil {
		limiter = a.limiter
	}
	api := httpapi.New(httpapi.Config{
		Log: a.log, Clock: a.clock, Auth: a.appservices.Authenticator(a.sessions), Limiter: limiter, Metrics: a.listenerMetrics(services),
		AppPasswords: a.contacts, IdentityTokens: a.identity, Guests: clientapi.GuestMay,
	}, a.tables(services)...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// ServeMux would answer odd paths of the API with redirects, so that it is asked for its own few only.
		if !strings.HasPrefix(r.URL.Path, "/_matrix/") {
			if h, pattern := mux.Handler(r); pattern != "" {
				h.ServeHTTP(w, r)
				return
			}
		}
		api.ServeHTTP(w, r)
	})
}

// listenerMetrics tells listeners apart that serve the same.
func (a *app) listenerMetrics(services []config.Service) prometheus.Registerer {
	names := make([]string, len(services))
	for i, s := range services {
		names[i] = string(s)
	}
	a.listeners++
	return prometheus.WrapRegistererWith(prometheus.Labels{
		"serve": strings.Join(names, "+"), "listener": fmt.Sprint(a.listeners),
	}, a.metrics)
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
