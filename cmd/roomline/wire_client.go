package main

import (
	"context"
	"encoding/json"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/clientapi/sso"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/roomserver"
)

func (a *app) newClient() (err error) {
	a.client, err = clientapi.New(clientapi.Config{
		Store: a.store, Journal: a.journal, Accounts: a.accounts, Sessions: a.sessions, Interactive: auth.NewInteractive(a.accounts, a.verifier),
		Rooms: a.rooms, Presence: a.presence, Push: a.push, Clock: a.clock, Log: a.log,
		PropagateProfile: a.rooms.PropagateProfile, LeaveRooms: a.rooms.LeaveRooms,
		RegisterGuest: a.registerGuest, MayVisit: a.guests.MayVisit, MayKnock: a.moderation.MayKnock,
		Registration: clientapi.RegistrationConfig{
			Mode: clientapi.RegistrationMode(a.cfg.Registration.Mode), SharedSecret: a.cfg.Registration.SharedSecret.Reveal(),
		},
		Appservice: a.registry.Acting, MaySignIn: a.appservices.MayActAs, MayName: a.registry.MayName, Serves: a.registry.Serves,
		QueryUser: a.appservices.QueryUser, QueryAlias: a.appservices.QueryAlias,
		TURN: clientapi.TURNConfig{
			URIs: a.cfg.TURN.URIs, SharedSecret: a.cfg.TURN.SharedSecret.Reveal(),
			Username: a.cfg.TURN.Username, Password: a.cfg.TURN.Password.Reveal(), Lifetime: a.cfg.TURN.Lifetime,
		},
		SSO:        sso.Config{Providers: identityProviders(a.cfg), Allowed: ownRedirects(a.cfg), HTTP: a.outbound},
		MayPreview: a.media.MayPreview,
		Limiter:    a.limiter, MaxDelay: a.cfg.DelayedEvents.MaxDelay, MaxScheduled: a.cfg.DelayedEvents.MaxScheduled,
		WellKnown: a.wellKnown(), ServerNotices: clientapi.ServerNoticesConfig(a.cfg.ServerNotices), PublicProfiles: a.cfg.PublicProfiles,
		DirectoryOfRooms: a.cfg.UserDirectory == config.DirectoryRooms,
		PrivateContacts:  a.contacts.Find, MayDeactivate: a.people.MayDeactivate, DeleteOwn: a.people.DeleteOwn, Invitations: a.invitations,
		Verifier: a.verifier, MayChangeThreePIDs: a.people.MayChangeThreePIDs, DefaultRoomVersion: a.cfg.DefaultRoomVersion,
	})
	return err
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
