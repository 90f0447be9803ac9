package main

import (
	"slices"
	"strings"

	"github.com/roomline/roomline/config"
)

// redirectURLs get the login token of who signs in through an identity provider without a question: those that are configured, and the
// server's own page.
func redirectURLs(cfg *config.Config) []string {
	urls := slices.Clone(cfg.OIDC.RedirectURLs)
	if cfg.PublicBaseURL != "" {
		urls = append(urls, strings.TrimSuffix(cfg.PublicBaseURL, "/")+"/i")
	}
	return urls
}
