package schedule

import (
	"slices"
	"strings"
	"time"

	"github.com/roomline/roomline/clientapi/invitations"
	"github.com/roomline/roomline/internal/calendar"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
)

// When is a time that somebody asks for: moments in start_ts and end_ts, or what the clock shows in the time zone in start and end, as 2026-12-01T15:00.
type When struct {
	StartTS *matrix.Timestamp `json:"start_ts"`
	EndTS   *matrix.Timestamp `json:"end_ts"`
	Start   string            `json:"start"`
	End     string            `json:"end"`
}

// given reports whether there is a time.
func (w *When) given() bool {
	return w.StartTS != nil || w.EndTS != nil || w.Start != "" || w.End != ""
}

// localForms are how a time of the clock may be written.
var localForms = []string{"2006-01-02T15:04", "2006-01-02T15:04:05"}

// in is the time in a zone. What the clock never shows, because it is put forward, is refused; of what it shows twice the first one is meant.
func (w *When) in(location *time.Location) (start, end matrix.Timestamp, err error) {
	for _, one := range []struct {
		name, local string
		ts          *matrix.Timestamp
		to          *matrix.Timestamp
	}{{"start", w.Start, w.StartTS, &start}, {"end", w.End, w.EndTS, &end}} {
		switch {
		case one.ts != nil && one.local != "":
			return 0, 0, matrix.InvalidParam("%s and %s_ts are both there", one.name, one.name)
		case one.ts != nil:
			*one.to = *one.ts
		case one.local == "":
			return 0, 0, matrix.MissingParam("%s or %s_ts is missing", one.name, one.name)
		default:
			if *one.to, err = readLocal(one.name, one.local, location); err != nil {
				return 0, 0, err
			}
		}
	}
	return start, end, nil
}

func readLocal(name, text string, location *time.Location) (matrix.Timestamp, error) {
	for _, form := range localForms {
		wall, err := time.Parse(form, text)
		if err != nil {
			continue
		}
		if !calendar.Exists(wall, location) {
			return 0, matrix.InvalidParam("%s: there is no %s in %s on that day, because the clocks are put forward", name, wall.Format("15:04"), location)
		}
		return matrix.TimestampOf(calendar.At(wall, location)), nil
	}
	return 0, matrix.InvalidParam("%s must be like 2026-12-01T15:00", name)
}

// Invitee is somebody who is to be asked: a user, or an address.
type Invitee struct {
	UserID  string `json:"user_id"`
	Medium  string `json:"medium"`
	Address string `json:"address"`
	// Name is what the organiser calls the addressee.
	Name string `json:"name"`
	// Role is attendee, presenter or moderator.
	Role string `json:"role"`
	// Language is what the message is written in: en, fr, nl or de.
	Language string `json:"language"`
}

// check refuses what can't be right whoever asks.
func (i *Invitee) check() error {
	switch {
	case (i.UserID == "") == (i.Address == ""):
		return matrix.InvalidParam("invitees: each has a user_id, or a medium and an address")
	case i.UserID != "" && i.Medium != "":
		return matrix.InvalidParam("invitees: a user has no medium")
	case i.Address != "" && i.Medium == "":
		return matrix.MissingParam("invitees: medium is missing")
	case i.Role != "" && i.Role != Attendee && i.Role != Presenter && i.Role != Moderator:
		return matrix.InvalidParam("invitees: role must be attendee, presenter or moderator")
	case i.Language != "" && !slices.Contains(invitations.Languages, i.Language):
		return matrix.InvalidParam("invitees: language must be one of %s", strings.Join(invitations.Languages, ", "))
	case len(i.Name) > limits.MeetingName:
		return matrix.TooLarge("invitees: name is longer than %d bytes", limits.MeetingName)
	}
	if i.Role == "" {
		i.Role = Attendee
	}
	if i.UserID != "" {
		if _, err := matrix.ParseUserID(i.UserID); err != nil {
			return matrix.InvalidParam("invitees: user_id is none")
		}
	}
	return nil
}

// Request is a meeting that somebody arranges.
type Request struct {
	Title string `json:"title"`
	When
	// Timezone is a name of the IANA database.
	Timezone string `json:"timezone"`
	// Recurrence is an RRULE without its name. The first time has to be one that it gives.
	Recurrence string    `json:"recurrence"`
	Invitees   []Invitee `json:"invitees"`
	// Lobby and Encrypted are as the organisation has them if they are missing.
	Lobby     string `json:"lobby"`
	Encrypted *bool  `json:"encrypted"`
	// Link asks for a link that anybody may pass on.
	Link bool `json:"link"`
	// once is the id of a meeting that is arranged once.
	once string
}

// meeting checks what was asked for.
func (r *Request) meeting(p *Policy, now matrix.Timestamp) (store.Meeting, error) {
	m := store.Meeting{Kind: store.MeetingScheduled, Title: strings.TrimSpace(r.Title), Timezone: r.Timezone, Recurrence: r.Recurrence, UID: "none", Exceptions: []byte("[]")}
	if r.Timezone == "" {
		return m, matrix.MissingParam("timezone is missing")
	}
	location, err := (&outbox.Meeting{Timezone: r.Timezone}).Location()
	if err != nil {
		return m, matrix.InvalidParam("%s", err)
	}
	if m.StartTS, m.EndTS, err = r.in(location); err != nil {
		return m, err
	}
	return m, checkTimes(&m, p, now)
}

// checkTimes refuses times that no meeting has here, and finds the next one.
func checkTimes(m *store.Meeting, p *Policy, now matrix.Timestamp) error {
	d, err := describe(m)
	if err != nil {
		return err
	}
	if err := d.Check(); err != nil {
		return matrix.InvalidParam("%s", err)
	}
	if err := checkDuration(m.StartTS, m.EndTS, p); err != nil {
		return err
	}
	if m.Recurrence == "" && m.EndTS <= now || m.Recurrence != "" && m.StartTS < now.Add(-limits.MeetingSeries) {
		return matrix.InvalidParam("start_ts: the meeting is in the past")
	}
	series, err := calendar.NewSeries(d)
	if err == calendar.ErrFirst {
		return matrix.InvalidParam("recurrence: the first time of the meeting is none that the rule gives")
	}
	if err != nil {
		return matrix.InvalidParam("recurrence cannot be understood")
	}
	next, ok := series.Next(now)
	if !ok {
		return matrix.InvalidParam("start_ts: the meeting is in the past")
	}
	m.NextStartTS, m.NextEndTS = next.StartTS, next.EndTS
	return nil
}

// checkDuration refuses meetings that take longer than they may here.
func checkDuration(start, end matrix.Timestamp, p *Policy) error {
	took := end.Time().Sub(start.Time())
	switch {
	case start%1000 != 0 || end%1000 != 0:
		return matrix.InvalidParam("start_ts and end_ts must be whole seconds")
	case took <= 0:
		return matrix.InvalidParam("end_ts must be after start_ts")
	case took > limits.MeetingHours:
		return matrix.InvalidParam("end_ts: a meeting takes at most %s", limits.MeetingHours)
	case *p.MaxMinutes > 0 && took > time.Duration(*p.MaxMinutes)*time.Minute:
		return matrix.InvalidParam("end_ts: the organisation allows at most %d minutes", *p.MaxMinutes)
	}
	return nil
}
