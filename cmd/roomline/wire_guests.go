package main

import (
	"context"
	"io/fs"
	"slices"
	"strings"

	"github.com/roomline/roomline/clientapi/guests"
	guestpage "github.com/roomline/roomline/clientapi/guests/web"
	"github.com/roomline/roomline/config"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/mediaapi"
)

// newGuests makes the part that lets people from outside in. It comes after accounts and invitations.
func (a *app) newGuests(sealKey [32]byte) (*guests.Server, error) {
	page, err := fs.Sub(guestpage.Dist, "dist")
	if err != nil {
		return nil, err
	}
	return guests.New(guests.Config{
		Store: a.store, Journal: a.journal, Accounts: a.accounts, Sessions: a.sessions, People: a.people, Rooms: a.rooms, Invitations: a.invitations,
		Clock: a.clock, Log: a.log, Key: derivedKey(sealKey, "sessions of guests"), BaseURL: a.cfg.PublicBaseURL, Page: page,
		// Meetings are made later.
		Answer: func(ctx context.Context, invitation, answer string) error {
			return a.schedule.AnswerFor(ctx, invitation, answer)
		},
		Answered: func(ctx context.Context, invitation string) (string, error) {
			return a.schedule.AnsweredBy(ctx, invitation)
		},
		Codes: a.verifier, SFU: publicSFU(a.cfg),
	})
}

// publicSFU is where clients reach the media server of meetings; empty where there is none.
func publicSFU(cfg *config.Config) string {
	c := &cfg.Meetings.LiveKit
	switch {
	case c.Embedded:
		return cfg.PublicBaseURL
	case c.PublicURL != "":
		return c.PublicURL
	}
	return c.URL
}

// registerGuest makes a visitor.
func (a *app) registerGuest(ctx context.Context, c *httpapi.Call, deviceName string) (any, error) {
	return a.guests.Register(ctx, c, hostedDomains(a.cfg)[0], deviceName)
}

// guestLimits are what a guest may upload.
func (a *app) guestLimits(ctx context.Context, org int64) (mediaapi.GuestLimits, error) {
	p, err := a.invitations.PolicyOf(ctx, org)
	if err != nil {
		return mediaapi.GuestLimits{}, err
	}
	return mediaapi.GuestLimits{Upload: *p.GuestUploadSize, Bytes: *p.GuestQuota, Files: *p.GuestFiles}, nil
}

// ownRedirects are where browsers are sent after a sign-in without a question: what the configuration lists, and our own page.
func ownRedirects(cfg *config.Config) []string {
	if cfg.PublicBaseURL == "" {
		return cfg.OIDC.RedirectURLs
	}
	return append(slices.Clone(cfg.OIDC.RedirectURLs), strings.TrimSuffix(cfg.PublicBaseURL, "/")+guests.PagePath)
}
