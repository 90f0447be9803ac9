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

// Telephony is how invitations and codes get to mailboxes and phones.
type Telephony struct {
	// Mode is in_process: every process of the server sends what is to be sent; external: roomline-telephony does, a program of its own at the
	// telecom's side, whose registration has to be in appservices.registrations (roomline telephony registration prints one); or off: nothing
	// is sent.
	Mode TelephonyMode `yaml:"mode"`

	// Media are what is sent: email, msisdn (short messages). Empty: what is configured below; with mode external, both.
	Media []string `yaml:"media" example:"[email, msisdn]"`

	// Email is mails. Without smtp.address none are sent, except in dev mode, where they can be read in the development inbox.
	Email Email `yaml:"email"`

	// SMS is short messages. In dev mode, without a transport, they can be read in the development inbox.
	SMS SMS `yaml:"sms"`

	// Voice is phone calls into meetings and out of them.
	Voice Voice `yaml:"voice"`

	// Limits are what the operator allows to be sent. Organisations may decide on less in their policy "messages".
	Limits TelephonyLimits `yaml:"limits"`
}

// TelephonyMode says who sends.
type TelephonyMode string

// The modes.
const (
	TelephonyInProcess TelephonyMode = "in_process"
	TelephonyExternal  TelephonyMode = "external"
	TelephonyOff       TelephonyMode = "off"
)

// Email is mails.
type Email struct {
	// SMTP is the mail server that takes them.
	SMTP SMTP `yaml:"smtp"`

	// Product is what the service is called: mails come from "Acme via" it. Empty: they come from the organisation alone.
	Product string `yaml:"product" example:"Telco Chat"`

	// Timezone, a name of the IANA database, is that of times in mails which belong to no meeting. Empty: UTC.
	Timezone string `yaml:"timezone" example:"Europe/Brussels"`
}

// SMTP is a mail server.
type SMTP struct {
	// Address is its host:port; 587 is usual for starttls, 465 for implicit. Empty: no mails are sent.
	Address string `yaml:"address" example:"mail.example.org:587"`

	// TLS is starttls, implicit or none. none is for mail servers on this machine.
	TLS string `yaml:"tls"`

	// Username and password are for mail servers that want them.
	Username string `yaml:"username"`

	// Password belongs to username.
	Password Secret `yaml:"password"`

	// CAFile holds the certificate authorities (PEM) that the mail server's certificate is checked with, in place of the system's.
	CAFile string `yaml:"ca_file"`

	// From is the address that mails come from. Its domain should have SPF and DKIM records that allow the mail server. It is needed with address.
	From string `yaml:"from" example:"invitations@example.org"`

	// ReplyTo is where answers go to mails that come from nobody in particular, such as codes. Empty: from.
	ReplyTo string `yaml:"reply_to"`
}

// SMS is short messages.
type SMS struct {
	// Transport is smpp, for a short message centre; webhook, for a gateway that is asked by HTTP; or empty: no short messages are sent.
	Transport string `yaml:"transport"`

	// Sender is what phones show: a name of up to 11 letters and digits, a short code, or a number with a plus. It is needed with a transport.
	Sender string `yaml:"sender" example:"Example"`

	// Unicode leaves names in the letters that people write them in. Otherwise they are written in Latin letters of the GSM alphabet, so that a
	// message fits into one part.
	Unicode bool `yaml:"unicode"`

	// SMPP is for the transport smpp: a short message centre that speaks SMPP 3.4.
	SMPP SMPP `yaml:"smpp"`

	// Webhook is for the transport webhook: a gateway (docs/sms.md says what it has to do).
	Webhook SMSWebhook `yaml:"webhook"`

	// Window is for how long a short message is not sent a second time when it is not known whether the network took it, because
	// the connection broke or the bridge died.
	Window time.Duration `yaml:"window"`

	// Currency is that of all amounts, as ISO 4217 has it.
	Currency string `yaml:"currency"`

	// Price is what a short message costs, an amount such as 0.075. A long message is several.
	Price string `yaml:"price"`

	// Prices are what one costs to numbers that begin so, with the country code and without a plus; the longest beginning counts.
	Prices map[string]string `yaml:"prices" example:"{\"32\": \"0.05\", \"33\": \"0.06\"}"`
}

// SMPP is a short message centre.
type SMPP struct {
	// Address is its host:port; 2775 is usual, 3550 with tls.
	Address string `yaml:"address" example:"smsc.example.org:2775"`

	// TLS encrypts the connection. Without it, texts and numbers are readable on the way.
	TLS bool `yaml:"tls"`

	// CAFile holds the certificate authorities (PEM) that the centre's certificate is checked with, in place of the system's.
	CAFile string `yaml:"ca_file"`

	// SystemID is the name that the centre knows this server by.
	SystemID string `yaml:"system_id"`

	// Password belongs to system_id: at most 8 characters.
	Password Secret `yaml:"password"`

	// SystemType is for centres that ask for one.
	SystemType string `yaml:"system_type"`

	// TwoConnections binds a transmitter and a receiver, for centres that have no transceiver.
	TwoConnections bool `yaml:"two_connections"`

	// Timeout is how long the centre may take to answer.
	Timeout time.Duration `yaml:"timeout"`

	// EnquireLink is the time between two questions whether the centre is there.
	EnquireLink time.Duration `yaml:"enquire_link"`

	// Window is how many requests of a process may be unanswered.
	Window int `yaml:"window"`

	// Rate is how many short messages a process sends in a second. 0: as many as there are.
	Rate int `yaml:"rate"`

	// ReceiptIDs is how receipts write what answers call a message: auto; decimal, if answers write the same number in hexadecimal digits; or hex,
	// the other way round.
	ReceiptIDs string `yaml:"receipt_ids"`
}

// SMSWebhook is a gateway that is asked by HTTP.
type SMSWebhook struct {
	// URL is what messages are posted to.
	URL string `yaml:"url" example:"https://gateway.example.org/messages"`

	// Secret signs what is posted: at least 16 characters.
	Secret Secret `yaml:"secret"`

	// ReceiptSecret signs the receipts that the gateway posts to /_roomline/telephony/v1/receipts. Empty: secret.
	ReceiptSecret Secret `yaml:"receipt_secret"`

	// AllowedNetworks are networks (CIDR) that the gateway may be in although they are not public.
	AllowedNetworks []string `yaml:"allowed_networks" example:"[10.20.0.0/16]"`
}

// TelephonyLimits are what the operator allows to be sent.
type TelephonyLimits struct {
	// BudgetPerDay is what an organisation may spend on short messages on a day of UTC. 0: none are sent.
	BudgetPerDay string `yaml:"budget_per_day"`

	// BudgetMost is up to what an organisation may decide on a larger budget by itself.
	BudgetMost string `yaml:"budget_most"`

	// Countries (ISO 3166 alpha-2) are the only ones to whose numbers organisations may have short messages sent. Empty: all; an organisation
	// that has decided nothing sends to its default_region alone.
	Countries []string `yaml:"countries" example:"[BE, FR, NL, LU]"`

	// DenyPrefixes are beginnings of numbers, with the country code, that get nothing. Numbers that cost whoever calls them more, satellites and
	// voice over IP get nothing in any case.
	DenyPrefixes []string `yaml:"deny_prefixes" example:"[\"3290\"]"`

	// NumberPause is how long an organisation has to wait before it sends a number another message of the same kind.
	NumberPause time.Duration `yaml:"number_pause"`

	// PerAddressPerDay is how many invitations an organisation may send to an address.
	PerAddressPerDay int `yaml:"per_address_per_day"`

	// PerAddressEverywhere is how many all organisations together may send to it.
	PerAddressEverywhere int `yaml:"per_address_everywhere"`

	// CodesPerAddressPerDay is how many codes an address gets.
	CodesPerAddressPerDay int `yaml:"codes_per_address_per_day"`

	// CodesPerHour is how many codes an organisation's people get together, by each medium.
	CodesPerHour int `yaml:"codes_per_hour"`

	// PerMemberPerHour is how many invitations a member may send, by each medium.
	PerMemberPerHour int `yaml:"per_member_per_hour"`

	// PerHour and per_day are how many an organisation may send, by each medium.
	PerHour int `yaml:"per_hour"`

	// PerDay is how many an organisation may send in a day.
	PerDay int `yaml:"per_day"`

	// PerDomainPerHour is how many invitations an organisation may send to mailboxes of one domain.
	PerDomainPerHour int `yaml:"per_domain_per_hour"`

	// PerBlockPerHour is to how many numbers an organisation may send something that differ in their last three digits only. Who has the
	// numbers of a whole block and has them invited is paid for it.
	PerBlockPerHour int `yaml:"per_block_per_hour"`

	// RedeemedPercent of the last redeemed_of invitations by short message that are older than redeemed_after have to be used; otherwise the organisation's are
	// paused, until one of its owners lets them go on.
	RedeemedPercent int `yaml:"redeemed_percent"`

	// RedeemedOf is of how many. 0: they are never paused.
	RedeemedOf int `yaml:"redeemed_of"`

	// RedeemedAfter is how long people have to use one before it counts.
	RedeemedAfter time.Duration `yaml:"redeemed_after"`
}

// Bridge is the configuration of roomline-telephony, the telephony bridge as a program of its own.
type Bridge struct {
	// Homeserver is where the bridge reaches the server.
	Homeserver string `yaml:"homeserver" example:"https://matrix.example.org"`

	// ASToken and hs_token are those of the bridge's registration.
	ASToken Secret `yaml:"as_token"`

	// HSToken is what the server shows when it tells the bridge of events.
	HSToken Secret `yaml:"hs_token"`

	// CAFile holds the certificate authorities (PEM) that the server's certificate is checked with, in place of the system's.
	CAFile string `yaml:"ca_file"`

	// Listen is the address that the bridge listens on: the server tells it of events there, and a gateway of receipts. It is the url of
	// the registration. Empty: nothing is told.
	Listen string `yaml:"listen" example:"127.0.0.1:8009"`

	// Telephony is as in the configuration of the server; mode, media, prices and limits are the server's, and not read.
	Telephony Telephony `yaml:"telephony"`

	// Log is written to the standard error.
	Log Log `yaml:"log"`
}

func defaultTelephony() Telephony {
	return Telephony{
		Mode: TelephonyInProcess, Voice: defaultVoice(), Email: Email{SMTP: SMTP{TLS: "starttls"}}, SMS: SMS{
			Window: time.Minute, Currency: "EUR", Price: "0.10",
			SMPP: SMPP{Timeout: 10 * time.Second, EnquireLink: 30 * time.Second, Window: 10, ReceiptIDs: "auto"},
		},
		Limits: TelephonyLimits{
			BudgetPerDay: "20", BudgetMost: "200", NumberPause: time.Minute, PerAddressPerDay: 3, PerAddressEverywhere: 10, CodesPerAddressPerDay: 10,
			CodesPerHour: 500, PerMemberPerHour: 20, PerHour: 200, PerDay: 1000, PerDomainPerHour: 100, PerBlockPerHour: 10,
			RedeemedPercent: 20, RedeemedOf: 50, RedeemedAfter: 30 * time.Minute,
		},
	}
}

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
	t.Voice.check(l)
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
