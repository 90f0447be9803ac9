package calendar

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/teambition/rrule-go"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
)

// Time is one time at which a meeting takes place.
type Time struct {
	StartTS, EndTS matrix.Timestamp
	// OriginalTS is when it would begin by the rule: what names it. It differs from StartTS where the time was moved.
	OriginalTS matrix.Timestamp
}

// Series is all times of a meeting, in their order. It has one at least unless all were cancelled.
type Series []Time

// ErrFirst: the first time is none of the rule's. Calendars do not agree on what that means.
var ErrFirst = errors.New("the first time is none that the rule gives")

// NewSeries lists the times of a meeting that has been checked: as many as limits.MeetingTimes, within limits.MeetingSeries of the first.
func NewSeries(m *outbox.Meeting) (Series, error) {
	originals, err := originals(m)
	if err != nil {
		return nil, err
	}
	duration := m.EndTS - m.StartTS
	exceptions := make(map[matrix.Timestamp]outbox.Exception, len(m.Exceptions))
	for _, x := range m.Exceptions {
		exceptions[x.StartTS] = x
	}
	var s Series
	for _, at := range originals {
		t := Time{StartTS: at, EndTS: at + duration, OriginalTS: at}
		if x, ok := exceptions[at]; ok {
			if x.Cancelled() {
				continue
			}
			t.StartTS, t.EndTS = x.NewStartTS, x.NewEndTS
		}
		s = append(s, t)
	}
	slices.SortStableFunc(s, func(a, b Time) int { return cmp.Compare(a.StartTS, b.StartTS) })
	return s, nil
}

// originals are when the times begin by the rule.
func originals(m *outbox.Meeting) ([]matrix.Timestamp, error) {
	if m.Recurrence == "" {
		return []matrix.Timestamp{m.StartTS}, nil
	}
	location, err := m.Location()
	if err != nil {
		return nil, err
	}
	rule, err := ruleOn(m, location)
	if err != nil {
		return nil, err
	}
	var all []matrix.Timestamp
	for next := rule.Iterator(); len(all) < limits.MeetingTimes; {
		wall, ok := next()
		if !ok {
			break
		}
		// Two times that a change of the clocks makes one are one.
		if at := matrix.TimestampOf(At(wall, location)); len(all) == 0 || at > all[len(all)-1] {
			all = append(all, at)
		}
	}
	if len(all) == 0 || all[0] != m.StartTS {
		return nil, ErrFirst
	}
	return all, nil
}

// ruleOn is the rule for a clock on the wall, which is written as if it were one of UTC: no day has 23 hours there.
func ruleOn(m *outbox.Meeting, location *time.Location) (*rrule.RRule, error) {
	option, err := rrule.StrToROption(m.Recurrence)
	if err != nil {
		return nil, fmt.Errorf("recurrence: %w", err)
	}
	option.Dtstart = wallOf(m.StartTS.Time(), location)
	last := option.Dtstart.Add(limits.MeetingSeries)
	if strings.Contains(m.Recurrence, "UNTIL=") {
		if until := wallOf(option.Until, location); until.Before(last) {
			last = until
		}
	}
	option.Until = last
	return rrule.NewRRule(*option)
}

// wallOf is what a clock in a place shows, as if it were one of UTC.
func wallOf(t time.Time, location *time.Location) time.Time {
	t = t.In(location)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// At is the moment at which a clock in a place shows a time. Of two such moments it is the first one. A time that is skipped when the clocks are put
// forward is taken as if they had not been: half past two becomes half past three.
//
// Spec: RFC 5545 §3.3.5
func At(wall time.Time, location *time.Location) time.Time {
	guess := wallOf(wall, wall.Location())
	// No zone changes its clocks twice within two days.
	_, before := guess.Add(-24 * time.Hour).In(location).Zone()
	_, after := guess.Add(24 * time.Hour).In(location).Zone()
	first := guess.Add(-time.Duration(max(before, after)) * time.Second)
	for _, t := range []time.Time{first, guess.Add(-time.Duration(min(before, after)) * time.Second)} {
		if wallOf(t, location).Equal(guess) {
			return t.In(location)
		}
	}
	return guess.Add(-time.Duration(before) * time.Second).In(location)
}

// Exists reports whether a clock in a place ever shows a time.
func Exists(wall time.Time, location *time.Location) bool {
	return wallOf(At(wall, location), location).Equal(wallOf(wall, wall.Location()))
}

// Next is the first time that ends after a moment.
func (s Series) Next(after matrix.Timestamp) (Time, bool) {
	for _, t := range s {
		if t.EndTS > after {
			return t, true
		}
	}
	return Time{}, false
}

// Following is the first time that begins after another one.
func (s Series) Following(t Time) (Time, bool) {
	for _, u := range s {
		if u.StartTS > t.StartTS {
			return u, true
		}
	}
	return Time{}, false
}

// Last is the end of it all; 0 if there is nothing.
func (s Series) Last() (end matrix.Timestamp) {
	for _, t := range s {
		end = max(end, t.EndTS)
	}
	return end
}

// Has reports whether one of the times begins at a moment by the rule.
func (s Series) Has(original matrix.Timestamp) bool {
	return slices.ContainsFunc(s, func(t Time) bool { return t.OriginalTS == original })
}
