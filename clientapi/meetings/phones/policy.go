package phones

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// Limits are what the operator allows.
type Limits struct {
	// Budget is what an organisation may spend on a day of UTC, in millionths of Currency; BudgetMost what it may decide to spend.
	Budget, BudgetMost int64
	Currency           string
	// Price is what a minute costs, Prices what one costs to numbers that begin so: the longest beginning counts.
	Price  int64
	Prices map[string]int64
	// Countries are those that organisations may allow; nil for all.
	Countries    []string
	DenyPrefixes []string
	// MinutesPerDay bounds an organisation's calls out together, MinutesPerCall each.
	MinutesPerDay, MinutesPerCall int
	// Concurrent bounds an organisation's calls out at a time, ConcurrentIn those in.
	Concurrent, ConcurrentIn int
	// PerMemberPerHour bounds what a member has called, PerNumberPerDay how often a number is called by anybody, PerBlockPerHour the numbers that differ in
	// their last three digits only.
	PerMemberPerHour, PerNumberPerDay, PerBlockPerHour int
}

// price is what a minute to a number costs.
func (l *Limits) price(digits string) int64 { return outbox.Price(l.Prices, digits, l.Price) }

// PolicyName is what an organisation's decisions about phones are called in its policies.
const PolicyName = "phones"

// Policy is what an organisation may decide about phones in its meetings. A missing field leaves it as the configuration has it, and nothing goes beyond what the
// configuration allows.
type Policy struct {
	// DialIn is false to let no phone in, DialOut true to let members have numbers called.
	DialIn  *bool `json:"dial_in,omitempty"`
	DialOut *bool `json:"dial_out,omitempty"`
	// Countries (ISO 3166 alpha-2) are those that are called, in place of the organisation's default_region.
	Countries []string `json:"countries,omitempty"`
	// DenyPrefixes are beginnings of numbers, with the country code, that are not called.
	DenyPrefixes []string `json:"deny_prefixes,omitempty"`
	// Budget is what calls may cost on a day of UTC, an amount such as "20.00".
	Budget *string `json:"budget_per_day,omitempty"`
	// MinutesPerDay bounds all calls out together, MinutesPerCall each.
	MinutesPerDay  *int64 `json:"minutes_per_day,omitempty"`
	MinutesPerCall *int64 `json:"minutes_per_call,omitempty"`
	// Concurrent is how many calls out may be at a time, PerMemberPerHour how many numbers a member may have called.
	Concurrent       *int64 `json:"concurrent,omitempty"`
	PerMemberPerHour *int64 `json:"per_member_per_hour,omitempty"`
}

// ParsePolicy reads a policy strictly: M_BAD_JSON names the field that is wrong.
func ParsePolicy(body []byte) (Policy, error) {
	var p Policy
	if err := strictjson.Decode(body, &p); err != nil {
		return Policy{}, err
	}
	counts := map[string]*int64{
		"minutes_per_day": p.MinutesPerDay, "minutes_per_call": p.MinutesPerCall, "concurrent": p.Concurrent, "per_member_per_hour": p.PerMemberPerHour,
	}
	if err := outbox.CheckNumbers(counts, p.Countries, p.DenyPrefixes, p.Budget); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// DefaultPolicy is what holds where an organisation has decided nothing: phones come in, and nobody is called.
func (s *Server) DefaultPolicy() Policy {
	l, yes, no, budget := &s.cfg.Limits, true, false, outbox.FormatMoney(s.cfg.Limits.Budget)
	day, call, concurrent, member := int64(l.MinutesPerDay), int64(l.MinutesPerCall), int64(l.Concurrent), int64(l.PerMemberPerHour)
	return Policy{DialIn: &yes, DialOut: &no, Budget: &budget, MinutesPerDay: &day, MinutesPerCall: &call, Concurrent: &concurrent, PerMemberPerHour: &member}
}

// rules are what holds for an organisation.
type rules struct {
	organisation                            store.Organisation
	dialIn, dialOut                         bool
	countries, deny                         []string
	budget                                  int64
	secondsPerDay, secondsPerCall, on, each int
}

// reader is what is read with: a Store or a Tx.
type reader interface {
	GetPolicy(ctx context.Context, organisation int64, name string) ([]byte, error)
	GetOrganisation(ctx context.Context, id int64) (store.Organisation, error)
	ListOrganisationDomains(ctx context.Context, org int64) ([]store.HostedDomain, error)
}

// rulesFor is what holds for an organisation: what it decided, within what the configuration allows.
func (s *Server) rulesFor(ctx context.Context, from reader, org int64) (rules, error) {
	value, err := from.GetPolicy(ctx, org, PolicyName)
	if err != nil {
		return rules{}, fmt.Errorf("load the policy of phones: %w", err)
	}
	var own Policy
	if value != nil {
		if err := json.Unmarshal(value, &own); err != nil {
			return rules{}, fmt.Errorf("stored policy of phones: %w", err)
		}
	}
	o, err := from.GetOrganisation(ctx, org)
	if err != nil {
		return rules{}, fmt.Errorf("load an organisation: %w", err)
	}
	l := &s.cfg.Limits
	r := rules{
		organisation: o, dialIn: own.DialIn == nil || *own.DialIn, dialOut: own.DialOut != nil && *own.DialOut, countries: outbox.Countries(own.Countries, o.DefaultRegion, l.Countries),
		deny: slices.Concat(l.DenyPrefixes, own.DenyPrefixes), secondsPerDay: 60 * outbox.Least(own.MinutesPerDay, l.MinutesPerDay),
		secondsPerCall: 60 * outbox.Least(own.MinutesPerCall, l.MinutesPerCall), on: outbox.Least(own.Concurrent, l.Concurrent), each: outbox.Least(own.PerMemberPerHour, l.PerMemberPerHour),
	}
	if r.budget, err = outbox.Budget(own.Budget, l.Budget, l.BudgetMost); err != nil {
		return rules{}, err
	}
	return r, nil
}
