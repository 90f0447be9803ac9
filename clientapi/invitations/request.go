package invitations

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/roomline/roomline/clientapi/auth"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
)

// Roles of guests.
const (
	Participant = "participant"
	// Observer may not send.
	Observer = "observer"
)

// Request is an invitation that somebody asks for. It is the body of the client API, too. What is missing is as the organisation's policy has it.
type Request struct {
	// Medium is email or msisdn; without one the invitation is a link that the inviter passes on.
	Medium  string `json:"medium"`
	Address string `json:"address"`
	// Language is en, fr, nl or de.
	Language string `json:"language"`
	// Uses is how many guests may come by a link; an address is one.
	Uses *int `json:"uses"`
	// ExpiresIn is for how long the link holds, GuestLifetime how long the guest may stay, in ms.
	ExpiresIn     *int64 `json:"expires_in_ms"`
	GuestLifetime *int64 `json:"guest_lifetime_ms"`
	// Role is participant or observer.
	Role string `json:"role"`
	// Proof asks for a code that is sent to the address.
	Proof *bool `json:"proof"`
	// Meeting is what it is to, if the room is that of a meeting.
	Meeting *outbox.Meeting `json:"meeting"`
	// Reason and IsDirect are for those who turn out to have an account.
	Reason   string `json:"reason"`
	IsDirect bool   `json:"-"`
	// Scheduled is set for a meeting that was arranged here.
	Scheduled *Scheduled `json:"-"`
}

// check refuses what can't be right whoever asks, and brings the address into canonical form.
func (n *Request) check(region string) error {
	if n.Medium == "" {
		if n.Address != "" {
			return matrix.MissingParam("medium is missing")
		}
	} else if err := n.canonical(region); err != nil {
		return err
	}
	if n.Language != "" && !slices.Contains(Languages, n.Language) {
		return matrix.InvalidParam("language must be one of %s", strings.Join(Languages, ", "))
	}
	if n.Role != "" && n.Role != Participant && n.Role != Observer {
		return matrix.InvalidParam("role must be participant or observer")
	}
	if n.Uses != nil && (*n.Uses < 1 || n.Medium != "" && *n.Uses > 1) {
		return matrix.InvalidParam("uses must be at least 1, and is 1 for an address")
	}
	if n.Medium == "" && n.Proof != nil && *n.Proof {
		return matrix.InvalidParam("proof: there is no address that a code could be sent to")
	}
	for name, ms := range map[string]*int64{"expires_in_ms": n.ExpiresIn, "guest_lifetime_ms": n.GuestLifetime} {
		if ms != nil && *ms < limits.InvitationShortest.Milliseconds() {
			return matrix.InvalidParam("%s must be at least %d", name, limits.InvitationShortest.Milliseconds())
		}
	}
	if len(n.Reason) > limits.Reason {
		return matrix.TooLarge("reason is longer than %d bytes", limits.Reason)
	}
	if n.Meeting != nil {
		return checkMeeting(n.Meeting)
	}
	return nil
}

// canonical brings the address into canonical form. A number is one of the organisation's region, or the digits of E.164 without a plus, as
// the specification has it.
func (n *Request) canonical(region string) error {
	if n.Medium != outbox.Email && n.Medium != outbox.Msisdn {
		return matrix.NewError(400, matrix.ErrThreepidMediumNotSupported, "medium must be email or msisdn")
	}
	if n.Address == "" {
		return matrix.MissingParam("address is missing")
	}
	address, ok := auth.CanonicalAddress(n.Medium, n.Address, region)
	if !ok && n.Medium == outbox.Msisdn {
		address, ok = auth.CanonicalAddress(n.Medium, n.Address, "")
	}
	if !ok {
		return matrix.InvalidParam("address is not an address of its medium")
	}
	n.Address = address
	return nil
}

func checkMeeting(m *outbox.Meeting) error {
	if err := m.Check(); err != nil {
		return matrix.InvalidParam("meeting: %s", err)
	}
	return nil
}

// row is the invitation that an organisation's policy makes of what was asked for, without who, where and the secret.
func (n *Request) row(p *Policy, now matrix.Timestamp) (store.Invitation, error) {
	i := store.Invitation{
		Medium: n.Medium, Address: n.Address, Language: n.Language, Role: n.Role, Proof: n.Proof != nil && *n.Proof, UsesAllowed: 1, CreatedTS: now,
	}
	if i.Language == "" {
		i.Language = p.Language
	}
	if i.Role == "" {
		i.Role = Participant
	}
	if n.Medium != "" && *p.Proof {
		i.Proof = true
	}
	if n.Uses != nil {
		i.UsesAllowed = *n.Uses
	}
	if i.UsesAllowed > *p.LinkUsesMax {
		return i, matrix.InvalidParam("uses: the organisation allows at most %d", *p.LinkUsesMax)
	}
	holds, err := within("expires_in_ms", n.ExpiresIn, *p.LinkLifetime, *p.LinkLifetimeMax)
	if err != nil {
		return i, err
	}
	i.ExpiresTS = now + matrix.Timestamp(holds)
	if i.GuestLifetime, err = within("guest_lifetime_ms", n.GuestLifetime, *p.GuestLifetime, *p.GuestLifetimeMax); err != nil {
		return i, err
	}
	switch {
	case n.Scheduled != nil:
		n.Scheduled.into(&i, p)
		if n.Meeting != nil {
			i.Meeting, err = json.Marshal(n.Meeting)
		}
		return i, err
	case n.Meeting != nil:
		return i, n.addMeeting(&i, now+matrix.Timestamp(*p.LinkLifetimeMax))
	}
	return i, nil
}

// addMeeting makes the link open a little before the meeting, and hold until it is over, unless the inviter said for how long. last is how long
// it may hold.
func (n *Request) addMeeting(i *store.Invitation, last matrix.Timestamp) (err error) {
	i.OpensTS = n.Meeting.StartTS.Add(-limits.MeetingEarly)
	if n.ExpiresIn == nil {
		i.ExpiresTS = min(max(i.ExpiresTS, n.Meeting.EndTS.Add(limits.MeetingLate)), last)
	}
	if i.OpensTS >= i.ExpiresTS {
		return matrix.InvalidParam("meeting: it begins after the link has ended")
	}
	i.Meeting, err = json.Marshal(n.Meeting)
	return err
}

// within is what was asked for, or the default.
func within(name string, asked *int64, standard, most int64) (int64, error) {
	if asked == nil {
		return standard, nil
	}
	if *asked > most {
		return 0, matrix.InvalidParam("%s: the organisation allows at most %d", name, most)
	}
	return *asked, nil
}

// Mask is an address as others than its inviter see it: a…@e… or …12.
func Mask(medium, address string) string {
	switch medium {
	case outbox.Email:
		local, domain, _ := strings.Cut(address, "@")
		return firstRune(local) + "…@" + firstRune(domain) + "…"
	case outbox.Msisdn:
		return "…" + address[max(0, len(address)-2):]
	}
	return ""
}

func firstRune(text string) string {
	_, size := utf8.DecodeRuneInString(text)
	return text[:size]
}

// shown is a name that people chose as it goes into a message: one line, and not too long.
func shown(name string) string {
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, name))
	if runes := []rune(name); len(runes) > limits.InvitationName {
		return string(runes[:limits.InvitationName-1]) + "…"
	}
	return name
}
