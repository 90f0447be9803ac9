package calendar

import (
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-ical"

	"github.com/roomline/roomline/internal/limits"
)

// change is a moment at which the clocks of a zone are set.
type change struct {
	local    time.Time // what they showed, as if it were UTC
	from, to int       // seconds from UTC before and after
	name     string
	daylight bool
}

// kind tells changes apart: a component of the calendar describes those of one kind.
type kind struct {
	from, to int
	name     string
	daylight bool
}

// Timezone describes a zone around a meeting, so that calendars need no data of their own: by rules where the changes of the years to come follow one,
// else by their dates.
//
// Spec: RFC 5545 §3.6.5
func Timezone(location *time.Location, meeting time.Time) *ical.Component {
	zone := ical.NewComponent(ical.CompTimezone)
	zone.Props.SetText(ical.PropTimezoneID, location.String())
	var order []kind
	changes := map[kind][]change{}
	for _, c := range changesOf(location, meeting) {
		k := kind{c.from, c.to, c.name, c.daylight}
		if changes[k] == nil {
			order = append(order, k)
		}
		changes[k] = append(changes[k], c)
	}
	for _, k := range order {
		zone.Children = append(zone.Children, observance(k, changes[k]))
	}
	return zone
}

// changesOf are those from the year before a meeting to limits.ZoneYears after it; the first is the one that made the clocks show what they did at the
// beginning.
func changesOf(location *time.Location, meeting time.Time) []change {
	t := meeting.AddDate(-1, 0, 0).In(location)
	start, end := t.ZoneBounds()
	if start.IsZero() || start.Year() < 1970 {
		// As good as always.
		name, offset := t.Zone()
		all := []change{{local: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), from: offset, to: offset, name: name}}
		return append(all, following(end, meeting)...)
	}
	return append([]change{changeAt(start)}, following(end, meeting)...)
}

// following are the changes from one on.
func following(at, meeting time.Time) []change {
	var all []change
	for last := meeting.AddDate(limits.ZoneYears, 0, 0); !at.IsZero() && at.Before(last); at = boundAfter(at) {
		// Where the data has no more dates and a rule goes on, there is a bound and no change.
		if c := changeAt(at); c.from != c.to || c.name != at.Add(-time.Nanosecond).Format("MST") {
			all = append(all, c)
		}
	}
	return all
}

// boundAfter is the next bound of a zone, zero if there is none.
//
// Interop: on the last day of leap years after the data's last date, ZoneBounds gives the moment that it is asked about.
func boundAfter(at time.Time) time.Time {
	_, end := at.ZoneBounds()
	if !end.IsZero() && !end.After(at) {
		return at.Add(24 * time.Hour)
	}
	return end
}

func changeAt(at time.Time) change {
	before := at.Add(-time.Nanosecond)
	_, from := before.Zone()
	name, to := at.Zone()
	// Where winter is the exception in the data, as in Dublin, it is still no summer.
	daylight := to > from && (at.IsDST() || before.IsDST())
	return change{at.UTC().Add(time.Duration(from) * time.Second), from, to, name, daylight}
}

// observance describes the changes of a kind.
func observance(k kind, changes []change) *ical.Component {
	name := ical.CompTimezoneStandard
	if k.daylight {
		name = ical.CompTimezoneDaylight
	}
	c := ical.NewComponent(name)
	Raw(c, ical.PropDateTimeStart, changes[0].local.Format(LocalTime))
	Raw(c, ical.PropTimezoneOffsetFrom, offset(k.from))
	Raw(c, ical.PropTimezoneOffsetTo, offset(k.to))
	c.Props.SetText(ical.PropTimezoneName, k.name)
	if rule := ruleOf(changes); rule != "" {
		Raw(c, ical.PropRecurrenceRule, rule)
	} else if len(changes) > 1 {
		var dates []string
		for _, c := range changes[1:] {
			dates = append(dates, c.local.Format(LocalTime))
		}
		Raw(c, ical.PropRecurrenceDates, strings.Join(dates, ","))
	}
	return c
}

// ruleOf is the rule that changes follow, if each year has had one up to the last: on the last, or on the n-th, of a day of the week in a month.
func ruleOf(changes []change) string {
	first := changes[0].local
	if len(changes) < limits.ZoneYears {
		return ""
	}
	last, nth := true, true
	for i, c := range changes {
		t := c.local
		if t.Year() != first.Year()+i || t.Month() != first.Month() || t.Weekday() != first.Weekday() || t.Format("150405") != first.Format("150405") {
			return ""
		}
		last = last && t.AddDate(0, 0, 7).Month() != t.Month()
		nth = nth && (t.Day()-1)/7 == (first.Day()-1)/7
	}
	day := strings.ToUpper(first.Weekday().String()[:2])
	switch {
	case last:
		return fmt.Sprintf("FREQ=YEARLY;BYMONTH=%d;BYDAY=-1%s", first.Month(), day)
	case nth:
		return fmt.Sprintf("FREQ=YEARLY;BYMONTH=%d;BYDAY=%d%s", first.Month(), (first.Day()-1)/7+1, day)
	}
	return ""
}

func offset(seconds int) string {
	sign := "+"
	if seconds < 0 {
		sign, seconds = "-", -seconds
	}
	text := fmt.Sprintf("%s%02d%02d", sign, seconds/3600, seconds/60%60)
	if seconds%60 != 0 {
		text += fmt.Sprintf("%02d", seconds%60)
	}
	return text
}
