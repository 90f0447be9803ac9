package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// Limits are what the operator allows to be sent.
type Limits struct {
	// NumberPause is how long a number is left alone after a short message of the same kind from the same organisation.
	NumberPause time.Duration
	// LeaseFor and SendingFor are limits.MessageLease and MessageSending if 0.
	LeaseFor, SendingFor time.Duration
	// Retried is the pause before a second attempt if the bridge says nothing of it, 2 s if 0; each further one is twice as long, up to ten
	// minutes.
	Retried time.Duration
	// Window is how long a short message is not sent a second time when it is not known whether the network took it.
	Window time.Duration
	// AddressPerDay and CodesPerDay bound messages of a kind, and codes, from an organisation to an address; EverywherePerDay those of a kind
	// from all organisations together.
	AddressPerDay, CodesPerDay, EverywherePerDay int
	// SenderPerHour, OrganisationPerHour and OrganisationPerDay bound what is sent by one medium, codes apart. OrganisationCodesPerHour bounds
	// those.
	SenderPerHour, OrganisationPerHour, OrganisationPerDay, OrganisationCodesPerHour int
	// DomainPerHour bounds mails of an organisation to a domain, codes apart.
	DomainPerHour int
	// BlockPerHour bounds the numbers that differ in their last three digits only to which an organisation has something sent.
	BlockPerHour int
	// Countries are those that organisations may allow; nil for all.
	Countries []string
	// DenyPrefixes are beginnings of numbers that nothing is sent to.
	DenyPrefixes []string
	// Budget is what an organisation may spend on a day of UTC, in millionths of Currency; BudgetMost what it may decide to spend.
	Budget, BudgetMost int64
	Currency           string
	// Price is what a short message costs, Prices what one costs to numbers that begin so: the longest beginning counts.
	Price  int64
	Prices map[string]int64
	// RedeemedPercent of the last RedeemedOf invitations by short message that are older than RedeemedAfter have to be redeemed; otherwise they
	// stop. RedeemedOf 0: they never do.
	RedeemedPercent, RedeemedOf int
	RedeemedAfter               time.Duration
}

// DefaultLimits are those of a configuration that says nothing.
func DefaultLimits() Limits {
	return Limits{
		NumberPause: time.Minute, Window: time.Minute, AddressPerDay: 3, CodesPerDay: 10, EverywherePerDay: 10,
		SenderPerHour: 20, OrganisationPerHour: 200, OrganisationPerDay: 1000, OrganisationCodesPerHour: 500, DomainPerHour: 100, BlockPerHour: 10,
		Budget: 20 * Unit, BudgetMost: 200 * Unit, Currency: "EUR", Price: Unit / 10,
		RedeemedPercent: 20, RedeemedOf: 50, RedeemedAfter: 30 * time.Minute,
	}
}

func (l *Limits) check() error {
	if l.NumberPause < 0 || l.Retried < 0 || l.Window <= 0 || l.Budget < 0 || l.Price < 0 {
		return errors.New("outbox: Config.Limits is not whole")
	}
	return nil
}

// Unit is one of the currency, in the millionths that money is counted in.
const Unit = 1_000_000

// ParseMoney reads an amount such as 20, 0.075 or 12.50.
func ParseMoney(text string) (int64, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	if len(fraction) > 6 || whole == "" || len(whole) > 9 || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, fmt.Errorf("must be an amount such as 20 or 0.075, not %q", text)
	}
	n, err := strconv.ParseInt(whole+(fraction + "000000")[:6], 10, 64)
	return n, err
}

// FormatMoney is the opposite of ParseMoney, with two decimals at least.
func FormatMoney(amount int64) string {
	text := strings.TrimRight(fmt.Sprintf("%d.%06d", amount/Unit, amount%Unit), "0")
	for strings.LastIndexByte(text, '.') > len(text)-3 {
		text += "0"
	}
	return text
}

// price is what a short message to a number costs.
func (l *Limits) price(address string) int64 { return Price(l.Prices, address, l.Price) }

func (l *Limits) leaseFor() time.Duration {
	if l.LeaseFor > 0 {
		return l.LeaseFor
	}
	return limits.MessageLease
}

func (l *Limits) retried() time.Duration {
	if l.Retried > 0 {
		return l.Retried
	}
	return 2 * time.Second
}

func (l *Limits) sendingFor() time.Duration {
	if l.SendingFor > 0 {
		return l.SendingFor
	}
	return limits.MessageSending
}

// reserve is what is counted for a message before it is known what it takes.
func (l *Limits) reserve(d *Draft) int64 {
	if d.Medium != outbox.Msisdn {
		return 0
	}
	return l.price(d.Address) * partsOf(d)
}

// PolicyName is what an organisation's decisions about messages are called in its policies.
const PolicyName = "messages"

// Policy is what an organisation may decide about the invitations and codes that are sent for it. A missing field leaves it as the configuration has
// it, and nothing goes beyond what the configuration allows.
type Policy struct {
	// Email and SMS are false to send nothing so.
	Email *bool `json:"email,omitempty"`
	SMS   *bool `json:"sms,omitempty"`
	// Countries (ISO 3166 alpha-2) are those whose numbers get short messages, in place of the organisation's default_region.
	Countries []string `json:"countries,omitempty"`
	// DenyPrefixes are beginnings of numbers, with the country code, that get nothing.
	DenyPrefixes []string `json:"deny_prefixes,omitempty"`
	// Budget is what short messages may cost on a day of UTC, an amount such as "20.00".
	Budget *string `json:"budget_per_day,omitempty"`
	// PerMemberPerHour, PerHour and PerDay bound the invitations of a member and of all members, by each medium.
	PerMemberPerHour *int64 `json:"per_member_per_hour,omitempty"`
	PerHour          *int64 `json:"per_hour,omitempty"`
	PerDay           *int64 `json:"per_day,omitempty"`
	// QuietHours are when invitations wait. Codes don't.
	QuietHours *QuietHours `json:"quiet_hours,omitempty"`
}

// QuietHours are a part of each day.
type QuietHours struct {
	// From and To are times such as 22:00, in the time zone, a name of the IANA database.
	From     string `json:"from"`
	To       string `json:"to"`
	Timezone string `json:"timezone"`
	// Email has mails wait, too.
	Email bool `json:"email"`
}

// ParsePolicy reads a policy strictly: M_BAD_JSON names the field that is wrong.
func ParsePolicy(body []byte) (Policy, error) {
	var p Policy
	if err := strictjson.Decode(body, &p); err != nil {
		return Policy{}, err
	}
	counts := map[string]*int64{"per_member_per_hour": p.PerMemberPerHour, "per_hour": p.PerHour, "per_day": p.PerDay}
	if err := CheckNumbers(counts, p.Countries, p.DenyPrefixes, p.Budget); err != nil {
		return Policy{}, err
	}
	if p.QuietHours != nil {
		if _, err := p.QuietHours.compile(); err != nil {
			return Policy{}, matrix.BadJSON("quiet_hours: %v", err)
		}
	}
	return p, nil
}

// DefaultPolicy is what holds where an organisation has decided nothing.
func (s *Server) DefaultPolicy() Policy {
	l, yes, budget := &s.cfg.Limits, true, FormatMoney(s.cfg.Limits.Budget)
	member, hour, day := int64(l.SenderPerHour), int64(l.OrganisationPerHour), int64(l.OrganisationPerDay)
	return Policy{Email: &yes, SMS: &yes, Budget: &budget, PerMemberPerHour: &member, PerHour: &hour, PerDay: &day}
}

// rules are what holds for an organisation.
type rules struct {
	organisation store.Organisation
	email, sms   bool
	countries    []string
	deny         []string
	budget       int64
	perSender    int
	perHour      int
	perDay       int
	quiet        *quiet
}

// reader is what rulesFor reads with: a Store or a Tx.
type reader interface {
	GetPolicy(ctx context.Context, organisation int64, name string) ([]byte, error)
	GetOrganisation(ctx context.Context, id int64) (store.Organisation, error)
}

// rulesFor is what holds for an organisation: what it decided, within what the configuration allows.
func (s *Server) rulesFor(ctx context.Context, from reader, organisation int64) (rules, error) {
	value, err := from.GetPolicy(ctx, organisation, PolicyName)
	if err != nil {
		return rules{}, fmt.Errorf("load the policy of messages: %w", err)
	}
	var own Policy
	if value != nil {
		if err := json.Unmarshal(value, &own); err != nil {
			return rules{}, fmt.Errorf("stored policy of messages: %w", err)
		}
	}
	o, err := from.GetOrganisation(ctx, organisation)
	if err != nil {
		return rules{}, fmt.Errorf("load an organisation: %w", err)
	}
	l := &s.cfg.Limits
	r := rules{
		organisation: o, email: own.Email == nil || *own.Email, sms: own.SMS == nil || *own.SMS, countries: Countries(own.Countries, o.DefaultRegion, l.Countries),
		deny:      slices.Concat(l.DenyPrefixes, own.DenyPrefixes),
		perSender: Least(own.PerMemberPerHour, l.SenderPerHour), perHour: Least(own.PerHour, l.OrganisationPerHour), perDay: Least(own.PerDay, l.OrganisationPerDay),
	}
	if r.budget, err = Budget(own.Budget, l.Budget, l.BudgetMost); err != nil {
		return rules{}, err
	}
	if own.QuietHours != nil {
		if r.quiet, err = own.QuietHours.compile(); err != nil {
			return rules{}, fmt.Errorf("stored quiet hours: %w", err)
		}
	}
	return r, nil
}

// quiet are quiet hours in minutes of the day.
type quiet struct {
	from, to int
	zone     *time.Location
	email    bool
}

func (q *QuietHours) compile() (*quiet, error) {
	c := &quiet{email: q.Email}
	for _, one := range []struct {
		name, text string
		to         *int
	}{{"from", q.From, &c.from}, {"to", q.To, &c.to}} {
		t, err := time.Parse("15:04", one.text)
		if err != nil {
			return nil, fmt.Errorf("%s must be a time such as 22:00", one.name)
		}
		*one.to = t.Hour()*60 + t.Minute()
	}
	if c.from == c.to {
		return nil, errors.New("from and to must differ")
	}
	if q.Timezone == "" || q.Timezone == "Local" {
		return nil, errors.New("timezone is missing: a name such as Europe/Brussels")
	}
	var err error
	if c.zone, err = time.LoadLocation(q.Timezone); err != nil {
		return nil, errors.New("timezone must be a name such as Europe/Brussels")
	}
	return c, nil
}

// end returns when the quiet hours are over that a moment lies in.
func (q *quiet) end(now time.Time) (time.Time, bool) {
	local := now.In(q.zone)
	minute := local.Hour()*60 + local.Minute()
	day := 0
	switch {
	case q.from < q.to && minute >= q.from && minute < q.to, q.from > q.to && minute < q.to:
	case q.from > q.to && minute >= q.from:
		day = 1
	default:
		return time.Time{}, false
	}
	return time.Date(local.Year(), local.Month(), local.Day()+day, 0, q.to, 0, 0, q.zone), true
}

// quietUntil says until when a message has to wait.
func (r *rules) quietUntil(d *Draft, now time.Time) (time.Time, bool) {
	if r.quiet == nil || d.Kind == outbox.Code || d.Medium == outbox.Email && !r.quiet.email {
		return time.Time{}, false
	}
	return r.quiet.end(now)
}
