package config

import (
	"fmt"
	"regexp"
	"slices"
)

// Voice is phone calls into meetings and out of them.
type Voice struct {
	// Trunks are the connections to telephone networks. Without any no phone gets into a meeting.
	Trunks []Trunk `yaml:"trunks"`

	// SIP is how calls are carried.
	SIP SIP `yaml:"sip"`

	// Limits are what the operator allows. Organisations may decide on less in their policy "phones", and call nobody before they have.
	Limits VoiceLimits `yaml:"limits"`
}

// Trunk is a connection to a telephone network.
type Trunk struct {
	// Name names it: letters, digits, - and _.
	Name string `yaml:"name" example:"carrier"`

	// Organisations are the only ones, by a domain of theirs, whose meetings can be reached by the trunk's numbers, and who call out over it. Empty: all.
	Organisations []string `yaml:"organisations" example:"[]"`

	// Numbers are those that people call to get into a meeting.
	Numbers []VoiceNumber `yaml:"numbers"`

	// Caller is the number that called people see. Empty: the first of numbers.
	Caller string `yaml:"caller" example:"\"+3225550100\""`

	// Out is true for a trunk that calls go out over.
	Out bool `yaml:"out"`

	// SIP is how the network is reached.
	SIP TrunkSIP `yaml:"sip"`

	// LiveKit is for a network that LiveKit SIP reaches, in place of sip.
	LiveKit TrunkLiveKit `yaml:"livekit"`
}

// TrunkLiveKit is a trunk of LiveKit SIP, a program that runs beside LiveKit. It needs mode in_process, meetings.livekit.url, and LiveKit's webhooks.
type TrunkLiveKit struct {
	// InboundTrunk is the id (ST_…) of LiveKit's trunk that brings calls to numbers, or create: one is made with numbers, and with sip.allowed_addresses.
	// Empty: no calls come in.
	InboundTrunk string `yaml:"inbound_trunk"`

	// OutboundTrunk is the id (ST_…) of LiveKit's trunk that calls go out over. Empty: none do.
	OutboundTrunk string `yaml:"outbound_trunk"`
}

// Enabled reports whether LiveKit SIP has the trunk.
func (t *TrunkLiveKit) Enabled() bool { return t.InboundTrunk != "" || t.OutboundTrunk != "" }

// VoiceNumber is a number that people call.
type VoiceNumber struct {
	// Number is in E.164, with a plus.
	Number string `yaml:"number" example:"\"+3225550100\""`

	// Country (ISO 3166 alpha-2) is where calling it costs least.
	Country string `yaml:"country" example:"BE"`

	// Language is what callers hear before it is known who they are: en, fr, nl or de. Empty: en.
	Language string `yaml:"language" example:"fr"`
}

// VoiceLimits are what the operator allows of calls that go out, and of PINs.
type VoiceLimits struct {
	// BudgetPerDay is what an organisation may spend on calls on a day of UTC, in the currency of short messages. 0: nobody is called.
	BudgetPerDay string `yaml:"budget_per_day"`

	// BudgetMost is up to what an organisation may decide on a larger budget by itself.
	BudgetMost string `yaml:"budget_most"`

	// Price is what a minute costs, an amount such as 0.05. A minute that has begun counts.
	Price string `yaml:"price"`

	// Prices are what a minute costs to numbers that begin so, with the country code and without a plus; the longest beginning counts.
	Prices map[string]string `yaml:"prices" example:"{\"32\": \"0.02\", \"324\": \"0.08\"}"`

	// Countries (ISO 3166 alpha-2) are the only ones that organisations may have called. Empty: all; an organisation that has decided nothing calls its
	// default_region alone.
	Countries []string `yaml:"countries" example:"[BE, FR, NL, LU]"`

	// DenyPrefixes are beginnings of numbers, with the country code, that are never called: those of fraud that the carrier knows, for example. Numbers
	// that cost whoever calls them more, shared-cost ones, satellites and emergency numbers are not called in any case.
	DenyPrefixes []string `yaml:"deny_prefixes" example:"[\"3290\"]"`

	// MinutesPerDay is how long an organisation's calls out may be together on a day of UTC, minutes_per_call how long one is at most: as much is set
	// aside for it until it has ended.
	MinutesPerDay int `yaml:"minutes_per_day"`

	// MinutesPerCall is how long a call out is at most.
	MinutesPerCall int `yaml:"minutes_per_call"`

	// Concurrent is how many calls out of an organisation may be at a time, concurrent_in how many calls in.
	Concurrent int `yaml:"concurrent"`

	// ConcurrentIn is how many calls of an organisation's meetings may come in at a time.
	ConcurrentIn int `yaml:"concurrent_in"`

	// PerMemberPerHour is how many numbers a member may have called.
	PerMemberPerHour int `yaml:"per_member_per_hour"`

	// PerNumberPerDay is how often a number is called, for all organisations together.
	PerNumberPerDay int `yaml:"per_number_per_day"`

	// PerBlockPerHour is how many numbers an organisation may have called that differ in their last three digits only.
	PerBlockPerHour int `yaml:"per_block_per_hour"`
}

func defaultVoice() Voice {
	return Voice{SIP: defaultSIP(), Limits: VoiceLimits{
		BudgetPerDay: "20", BudgetMost: "200", Price: "0.10", MinutesPerDay: 600, MinutesPerCall: 60, Concurrent: 10, ConcurrentIn: 100,
		PerMemberPerHour: 20, PerNumberPerDay: 10, PerBlockPerHour: 10,
	}}
}

var (
	e164      = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	trunkName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

func (v *Voice) check(l *complaints) {
	names, numbers := map[string]bool{}, map[string]bool{}
	for i := range v.Trunks {
		t := &v.Trunks[i]
		if !trunkName.MatchString(t.Name) || names[t.Name] {
			l.add("telephony.voice.trunks.name", "must be letters, digits, - and _, and no other trunk's, not %q", t.Name)
		}
		names[t.Name] = true
		if t.Caller != "" && !e164.MatchString(t.Caller) || t.Out && t.Caller == "" && len(t.Numbers) == 0 {
			l.add("telephony.voice.trunks.caller", "must be a number such as +3225550100, not %q", t.Caller)
		}
		for _, n := range t.Numbers {
			if !e164.MatchString(n.Number) || numbers[n.Number] {
				l.add("telephony.voice.trunks.numbers", "must be numbers such as +3225550100, each on one trunk, not %q", n.Number)
			}
			numbers[n.Number] = true
			if !country.MatchString(n.Country) || !slices.Contains([]string{"", "en", "fr", "nl", "de"}, n.Language) {
				l.add("telephony.voice.trunks.numbers", "must have a country such as BE, and a language that is en, fr, nl or de: %q", n.Number)
			}
		}
	}
	for i := range v.Trunks {
		t := &v.Trunks[i]
		field := fmt.Sprintf("telephony.voice.trunks[%d].livekit", i)
		switch {
		case !t.LiveKit.Enabled():
			continue
		case t.SIP.Server != "":
			l.add(field, "can't be used with sip.server: the network is reached either by LiveKit SIP or by this process")
		case t.Out && t.LiveKit.OutboundTrunk == "":
			l.add(field+".outbound_trunk", "is needed by a trunk that calls go out over")
		}
		for _, text := range t.SIP.AllowedAddresses {
			if _, err := Network(text); err != nil {
				l.add(field, "needs sip.allowed_addresses that are addresses or networks such as 198.51.100.0/28, not %q", text)
			}
		}
	}
	v.SIP.check(l, v.Trunks)
	v.Limits.check(l)
}

func (v *VoiceLimits) check(l *complaints) {
	const path = "telephony.voice.limits."
	for field, value := range map[string]string{"budget_per_day": v.BudgetPerDay, "budget_most": v.BudgetMost, "price": v.Price} {
		if !amount.MatchString(value) {
			l.add(path+field, "must be an amount such as 20, not %q", value)
		}
	}
	for begin, price := range v.Prices {
		if !prefix.MatchString(begin) || !amount.MatchString(price) {
			l.add(path+"prices."+begin, "must be the beginning of a number, such as 32, with an amount such as 0.075")
		}
	}
	for _, c := range v.Countries {
		if !country.MatchString(c) {
			l.add(path+"countries", "must be codes such as BE, not %q", c)
		}
	}
	for _, p := range v.DenyPrefixes {
		if !prefix.MatchString(p) {
			l.add(path+"deny_prefixes", "must be beginnings of numbers such as 3290, not %q", p)
		}
	}
	for field, n := range map[string]int{
		"minutes_per_day": v.MinutesPerDay, "minutes_per_call": v.MinutesPerCall, "concurrent": v.Concurrent, "concurrent_in": v.ConcurrentIn,
		"per_member_per_hour": v.PerMemberPerHour, "per_number_per_day": v.PerNumberPerDay, "per_block_per_hour": v.PerBlockPerHour,
	} {
		if n < 0 || n > 100_000 {
			l.add(path+field, "must be between 0 and 100000, not %d", n)
		}
	}
}
