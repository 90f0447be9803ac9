package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// RateLimits hold back clients that ask too often.
type RateLimits struct {
	// Enabled is false only in tests and benchmarks.
	Enabled bool `yaml:"enabled"`

	// Classes replace limits by their names: burst requests at once, and one more every so often. They hold for all
	// processes together. By user: send (messages, state, typing, receipts), read, room (creating, joining, inviting),
	// delayed (delayed events), account (profile, password), media, upload, url_preview. By address: login, register, refresh, probe (is a user name free), guests (links of invitations). Over all of them:
	// by_device, by_address (an IPv6 address counts as its /64), by_organisation. Wrong passwords: login_failure (by account),
	// login_failure_known (from where the account has a device), login_failure_row (since the last right one),
	// login_failure_address, login_failure_all. Element Call needs at least
	// {burst: 30, every: 2s} of send and {burst: 20, every: 1s} of delayed.
	Classes map[string]RateLimit `yaml:"classes" example:"{send: {burst: 500, every: 20ms}}"`

	// ExemptUsers are never limited, such as a bot that greets everybody.
	ExemptUsers []string `yaml:"exempt_users"`

	// ExemptAppservices are the ids of application services that are never limited. The others count as one user each.
	ExemptAppservices []string `yaml:"exempt_appservices"`
}

// RateLimit is one limit.
type RateLimit struct {
	// Burst is how many requests may come at once.
	Burst int `yaml:"burst"`

	// Every is how long it takes until there may be one more, such as 20ms or 5s.
	Every time.Duration `yaml:"every"`
}

func (c *Config) checkRateLimits(l *complaints) {
	for _, name := range slices.Sorted(maps.Keys(c.RateLimits.Classes)) {
		limit := c.RateLimits.Classes[name]
		field := "rate_limits.classes." + name
		if limit.Burst < 1 || limit.Burst > 1_000_000 {
			l.add(field+".burst", "must be between 1 and 1000000, not %d", limit.Burst)
		}
		if limit.Every < time.Microsecond || limit.Every > 10*365*24*time.Hour/time.Duration(max(limit.Burst, 1)) {
			l.add(field+".every", "must be at least 1us, and for the whole burst at most ten years, not %s", limit.Every)
		}
	}
	for i, user := range c.RateLimits.ExemptUsers {
		if !strings.HasPrefix(user, "@") || !strings.Contains(user, ":") {
			l.add(fmt.Sprintf("rate_limits.exempt_users[%d]", i), "must look like @user:example.org, not %q", user)
		}
	}
	for i, id := range c.RateLimits.ExemptAppservices {
		if id == "" {
			l.add(fmt.Sprintf("rate_limits.exempt_appservices[%d]", i), "must be the id of an application service")
		}
	}
}
