package schedule

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/roomline/roomline/clientapi/meetings"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/strictjson"
)

// PolicyName is what an organisation's decisions about meetings are called in its policies.
const PolicyName = "meetings"

// Who may arrange meetings.
const (
	Everyone = "everyone"
	// Managers are owners and those who manage people.
	Managers = "managers"
	Nobody   = "nobody"
)

// How meetings are recorded, and who may have it done.
const (
	RecordingOff        = "off"
	RecordingEgress     = "egress"
	RecordingAppservice = "appservice"

	RecordOrganiser  = "organiser"
	RecordModerators = "moderators"
)

// Policy is what an organisation may decide about meetings in its rooms. A missing field leaves it as in DefaultPolicy.
type Policy struct {
	// Enabled false: there are no calls and no meetings.
	Enabled *bool `json:"enabled,omitempty"`
	// Who may arrange meetings: everyone, managers (owners and those who manage people), or nobody.
	Who string `json:"who,omitempty"`
	// MaxParticipants bounds those who are in one meeting, MaxMinutes how long it may take, MaxConcurrent how many there are at a time; 0 is no bound.
	MaxParticipants *int `json:"max_participants,omitempty"`
	MaxMinutes      *int `json:"max_minutes,omitempty"`
	MaxConcurrent   *int `json:"max_concurrent,omitempty"`
	// Lobby is who waits until somebody lets them in, if the organiser does not say: nobody, guests or everybody.
	Lobby string `json:"lobby,omitempty"`
	// GuestsShareScreen: guests may share their screens.
	GuestsShareScreen *bool `json:"guests_share_screen,omitempty"`
	// Recording is off, egress (LiveKit writes a file) or appservice (an application service that the organisation has). WhoMayRecord is organiser or moderators.
	Recording    string `json:"recording,omitempty"`
	WhoMayRecord string `json:"who_may_record,omitempty"`
	// RecordingsKeptDays is for how many days it is known that there was a recording, who had it made and who agreed; a file goes with that at the latest. 0: for ever.
	RecordingsKeptDays *int `json:"recordings_kept_days,omitempty"`
	// Encrypted: rooms of meetings are end-to-end encrypted, if the organiser does not say. Phones hear nothing there.
	Encrypted *bool `json:"encrypted,omitempty"`
	// ReminderMinutes is how long before a meeting its room is told; 0 is not at all.
	ReminderMinutes *int `json:"reminder_minutes,omitempty"`
}

// DefaultPolicy is what holds where an organisation has decided nothing. Every field is set.
func DefaultPolicy() Policy {
	return Policy{
		Enabled: new(true), Who: Everyone, MaxParticipants: new(100), MaxMinutes: new(0), MaxConcurrent: new(0), Lobby: meetings.LobbyNobody,
		GuestsShareScreen: new(true), Recording: RecordingOff, WhoMayRecord: RecordOrganiser, RecordingsKeptDays: new(400), Encrypted: new(false), ReminderMinutes: new(10),
	}
}

// lobbies are who may have to wait.
var lobbies = []string{meetings.LobbyNobody, meetings.LobbyGuests, meetings.LobbyEverybody}

// ParsePolicy reads a policy strictly: M_BAD_JSON names the field that is wrong.
func ParsePolicy(body []byte) (Policy, error) {
	var p Policy
	if err := strictjson.Decode(body, &p); err != nil {
		return Policy{}, err
	}
	for _, f := range []struct {
		name, value string
		allowed     []string
	}{
		{"who", p.Who, []string{Everyone, Managers, Nobody}}, {"lobby", p.Lobby, lobbies},
		{"recording", p.Recording, []string{RecordingOff, RecordingEgress, RecordingAppservice}},
		{"who_may_record", p.WhoMayRecord, []string{RecordOrganiser, RecordModerators}},
	} {
		if f.value != "" && !slices.Contains(f.allowed, f.value) {
			return Policy{}, matrix.BadJSON("%s must be one of %s", f.name, strings.Join(f.allowed, ", "))
		}
	}
	for _, f := range []struct {
		name  string
		value *int
		most  int
	}{
		{"max_participants", p.MaxParticipants, limits.MeetingParticipants}, {"max_minutes", p.MaxMinutes, int(limits.MeetingHours.Minutes())},
		{"max_concurrent", p.MaxConcurrent, 100_000}, {"reminder_minutes", p.ReminderMinutes, 24 * 60},
		{"recordings_kept_days", p.RecordingsKeptDays, 100 * 366},
	} {
		if f.value != nil && (*f.value < 0 || *f.value > f.most) {
			return Policy{}, matrix.BadJSON("%s must be between 0 and %d", f.name, f.most)
		}
	}
	return p, nil
}

// PolicyOf is what holds for an organisation. Every field is set.
func PolicyOf(ctx context.Context, st *store.Store, org int64) (Policy, error) {
	p := DefaultPolicy()
	value, err := st.GetPolicy(ctx, org, PolicyName)
	if err != nil {
		return p, fmt.Errorf("load the policy of meetings: %w", err)
	}
	if value != nil {
		// What the organisation has not decided is not in the JSON, and stays.
		if err := json.Unmarshal(value, &p); err != nil {
			return p, fmt.Errorf("stored policy of meetings: %w", err)
		}
	}
	return p, nil
}

// LimitsOf is what an organisation allows its calls.
func LimitsOf(ctx context.Context, st *store.Store, org int64) (meetings.Limits, error) {
	p, err := PolicyOf(ctx, st, org)
	if err != nil {
		return meetings.Limits{}, err
	}
	return meetings.Limits{
		Enabled: *p.Enabled, MaxParticipants: *p.MaxParticipants, MaxMinutes: *p.MaxMinutes, MaxConcurrent: *p.MaxConcurrent, Lobby: p.Lobby,
		GuestsShareScreen: *p.GuestsShareScreen,
	}, nil
}

// admits refuses who may not arrange meetings.
func (p *Policy) admits(who *httpapi.Requester) error {
	switch {
	case !*p.Enabled:
		return matrix.Forbidden("the organisation has no meetings")
	case p.Who == Nobody:
		return matrix.Forbidden("the organisation lets nobody arrange meetings")
	case p.Who == Managers && !who.ManagesPeople():
		return matrix.Forbidden("only those who manage people may arrange meetings")
	}
	return nil
}
