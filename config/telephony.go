package config

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // time zones are known wherever this runs
	"unicode"
)

var (
	amount  = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,6})?$`)
	prefix  = regexp.MustCompile(`^[0-9]{1,15}$`)
	country = regexp.MustCompile(`^[A-Z]{2}$`)
)

func (t *Telephony) check(l *complaints) {
	if !slices.Contains([]TelephonyMode{TelephonyInProcess, TelephonyExternal, TelephonyOff}, t.Mode) {
		l.add("telephony.mode", "must be in_process, external or off, not %q", t.Mode)
	}
	for _, m := range t.Media {
		if m != "email" && m != "msisdn" {
			l.add("telephony.media", "must be a list of email and msisdn, not %q", m)
		}
	}
	t.Email.check(l)
	if !slices.Contains([]string{"", "smpp", "webhook"}, t.SMS.Transport) {
		l.add("telephony.sms.transport", "must be smpp, webhook or empty, not %q", t.SMS.Transport)
	}
	if w := t.SMS.Window; w < 10*time.Second || w > 24*time.Hour {
		l.add("telephony.sms.window", "must be between 10 seconds and a day, not %s", w)
	}
	if !amount.MatchString(t.SMS.Price) {
		l.add("telephony.sms.price", "must be an amount such as 0.075, not %q", t.SMS.Price)
	}
	for begin, price := range t.SMS.Prices {
		if !prefix.MatchString(begin) || !amount.MatchString(price) {
			l.add("telephony.sms.prices."+begin, "must be the beginning of a number, such as 32, with an amount such as 0.075")
		}
	}
	t.SMS.checkTransport(l)
	t.Limits.check(l)
}

func (e *Email) check(l *complaints) {
	e.SMTP.check(l)
	if len(e.Product) > 60 || strings.ContainsFunc(e.Product, unicode.IsControl) {
		l.add("telephony.email.product", "must have at most 60 bytes and no control characters")
	}
	// A name of the database only: time.LoadLocation takes Local, too, and reads files by their name.
	if _, err := time.LoadLocation(e.Timezone); err != nil || e.Timezone == "Local" {
		l.add("telephony.email.timezone", "must be a name of the IANA database such as Europe/Brussels, not %q", e.Timezone)
	}
}

// checkTransport checks what the transport needs; sms.New says more.
func (s *SMS) checkTransport(l *complaints) {
	if s.Transport != "" && s.Sender == "" {
		l.add("telephony.sms.sender", "is missing")
	}
	switch s.Transport {
	case "smpp":
		if _, port, err := net.SplitHostPort(s.SMPP.Address); err != nil || !isPort(port) {
			l.add("telephony.sms.smpp.address", "must be host:port, not %q", s.SMPP.Address)
		}
		if s.SMPP.SystemID == "" {
			l.add("telephony.sms.smpp.system_id", "is missing")
		}
		if !slices.Contains([]string{"auto", "decimal", "hex"}, s.SMPP.ReceiptIDs) {
			l.add("telephony.sms.smpp.receipt_ids", "must be auto, decimal or hex, not %q", s.SMPP.ReceiptIDs)
		}
		// Three parts have to be answered before the server takes the message for lost.
		if t := s.SMPP.Timeout; t < time.Second || t > 12*time.Second {
			l.add("telephony.sms.smpp.timeout", "must be between 1 and 12 seconds, not %s", t)
		}
		if e := s.SMPP.EnquireLink; e < time.Second || e > time.Hour {
			l.add("telephony.sms.smpp.enquire_link", "must be between a second and an hour, not %s", e)
		}
		if s.SMPP.Window < 1 || s.SMPP.Window > 1000 || s.SMPP.Rate < 0 || s.SMPP.Rate > 10_000 {
			l.add("telephony.sms.smpp.window", "must be between 1 and 1000, and rate between 0 and 10000")
		}
	case "webhook":
		if !isBaseURL(s.Webhook.URL) {
			l.add("telephony.sms.webhook.url", "must be an http or https URL, not %q", s.Webhook.URL)
		}
		if len(s.Webhook.Secret) < 16 {
			l.add("telephony.sms.webhook.secret", "must have at least 16 characters")
		}
		for _, network := range s.Webhook.AllowedNetworks {
			if _, err := netip.ParsePrefix(network); err != nil {
				l.add("telephony.sms.webhook.allowed_networks", "must be networks such as 10.20.0.0/16, not %q", network)
			}
		}
	}
}

func (s *SMTP) check(l *complaints) {
	if !slices.Contains([]string{"starttls", "implicit", "none"}, s.TLS) {
		l.add("telephony.email.smtp.tls", "must be starttls, implicit or none, not %q", s.TLS)
	}
	if s.Address == "" {
		return
	}
	if _, port, err := net.SplitHostPort(s.Address); err != nil || !isPort(port) {
		l.add("telephony.email.smtp.address", "must be host:port, not %q", s.Address)
	}
	if !strings.Contains(s.From, "@") {
		l.add("telephony.email.smtp.from", "must be the address that mails come from, not %q", s.From)
	}
	if s.Password != "" && s.TLS == "none" && !isLoopback(s.Address) {
		l.add("telephony.email.smtp.tls", "must not be none with a password, except for a mail server on this machine")
	}
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

func (t *TelephonyLimits) check(l *complaints) {
	for field, value := range map[string]string{"budget_per_day": t.BudgetPerDay, "budget_most": t.BudgetMost} {
		if !amount.MatchString(value) {
			l.add("telephony.limits."+field, "must be an amount such as 20, not %q", value)
		}
	}
	for _, c := range t.Countries {
		if !country.MatchString(c) {
			l.add("telephony.limits.countries", "must be codes such as BE, not %q", c)
		}
	}
	for _, p := range t.DenyPrefixes {
		if !prefix.MatchString(p) {
			l.add("telephony.limits.deny_prefixes", "must be beginnings of numbers such as 3290, not %q", p)
		}
	}
	for field, n := range map[string]int{
		"per_address_per_day": t.PerAddressPerDay, "per_address_everywhere": t.PerAddressEverywhere, "codes_per_address_per_day": t.CodesPerAddressPerDay,
		"codes_per_hour": t.CodesPerHour, "per_member_per_hour": t.PerMemberPerHour, "per_hour": t.PerHour, "per_day": t.PerDay,
		"per_domain_per_hour": t.PerDomainPerHour, "per_block_per_hour": t.PerBlockPerHour, "redeemed_of": t.RedeemedOf,
	} {
		if n < 0 || n > 1_000_000 {
			l.add("telephony.limits."+field, "must be between 0 and 1000000, not %d", n)
		}
	}
	if t.RedeemedPercent < 0 || t.RedeemedPercent > 100 {
		l.add("telephony.limits.redeemed_percent", "must be between 0 and 100, not %d", t.RedeemedPercent)
	}
	if t.NumberPause < 0 || t.NumberPause > 24*time.Hour {
		l.add("telephony.limits.number_pause", "must be at most a day, not %s", t.NumberPause)
	}
	if t.RedeemedAfter < 0 || t.RedeemedAfter > 24*time.Hour {
		l.add("telephony.limits.redeemed_after", "must be at most a day, not %s", t.RedeemedAfter)
	}
}

func (b *Bridge) validate() complaints {
	var l complaints
	if !isBaseURL(b.Homeserver) {
		l.add("homeserver", "must be an http or https URL, not %q", b.Homeserver)
	}
	if b.ASToken == "" {
		l.add("as_token", "is missing")
	}
	if b.Listen != "" {
		if _, port, err := net.SplitHostPort(b.Listen); err != nil || !isPort(port) {
			l.add("listen", "must be host:port, not %q", b.Listen)
		}
		if b.HSToken == "" {
			l.add("hs_token", "is missing")
		}
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, b.Log.Level) {
		l.add("log.level", "must be debug, info, warn or error, not %q", b.Log.Level)
	}
	if b.Log.Format != "text" && b.Log.Format != "json" {
		l.add("log.format", "must be text or json, not %q", b.Log.Format)
	}
	b.Telephony.check(&l)
	return l
}
