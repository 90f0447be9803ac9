package main

import (
	"github.com/roomline/roomline/clientapi/admin"
	"github.com/roomline/roomline/clientapi/branding"
)

// newBranding makes what knows how organisations present themselves.
func (a *app) newBranding() *branding.Server {
	return branding.New(branding.Config{Store: a.store, Clock: a.clock, BaseURL: a.cfg.PublicBaseURL, Logo: a.media.Logo})
}

// brandingPolicy is what an organisation may decide about it.
func (a *app) brandingPolicy() admin.Policy {
	p := admin.PolicyOf(branding.PolicyName, "How the organisation presents itself in invitations: its name, its logo, its colour, and its languages.",
		branding.ParsePolicy, branding.DefaultPolicy())
	p.Decided = a.branding.Decided
	return p
}
