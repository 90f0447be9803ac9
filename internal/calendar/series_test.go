package calendar_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/calendar"
	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
)

// local is a moment, by what a clock in a place shows.
func local(t *testing.T, zone, text string) matrix.Timestamp {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation("2006-01-02 15:04", text, location)
	if err != nil {
		t.Fatal(err)
	}
	return matrix.TimestampOf(at)
}

func meeting(t *testing.T, zone, start, rule string) *outbox.Meeting {
	t.Helper()
	m := &outbox.Meeting{UID: "u", Title: "t", Timezone: zone, Recurrence: rule, StartTS: local(t, zone, start)}
	m.EndTS = m.StartTS.Add(time.Hour)
	if err := m.Check(); err != nil {
		t.Fatalf("%s %s: %v", start, rule, err)
	}
	return m
}

func TestSeriesKeepTheTimeOfTheClock(t *testing.T) {
	for _, c := range []struct{ zone, start, rule, want string }{
		{"Europe/Brussels", "2026-12-01 15:00", "", "2026-12-01T15:00+01:00"},
		{"Europe/Brussels", "2027-03-21 09:00", "FREQ=WEEKLY;COUNT=3", "2027-03-21T09:00+01:00 2027-03-28T09:00+02:00 2027-04-04T09:00+02:00"},
		{"Europe/Brussels", "2026-10-24 09:00", "FREQ=DAILY;COUNT=3", "2026-10-24T09:00+02:00 2026-10-25T09:00+01:00 2026-10-26T09:00+01:00"},
		// The clocks are put forward at 2: there is no half past two on that day.
		{"Europe/Brussels", "2027-03-27 02:30", "FREQ=DAILY;COUNT=3", "2027-03-27T02:30+01:00 2027-03-28T03:30+02:00 2027-03-29T02:30+02:00"},
		// They are put back at 3: half past two is there twice, and the first one is meant.
		{"Europe/Brussels", "2026-10-24 02:30", "FREQ=DAILY;COUNT=3", "2026-10-24T02:30+02:00 2026-10-25T02:30+02:00 2026-10-26T02:30+01:00"},
		{"America/New_York", "2027-03-13 02:30", "FREQ=DAILY;COUNT=2", "2027-03-13T02:30-05:00 2027-03-14T03:30-04:00"},
		{"Australia/Lord_Howe", "2026-10-03 02:15", "FREQ=DAILY;COUNT=2", "2026-10-03T02:15+10:30 2026-10-04T02:45+11:00"},
		{"Asia/Kolkata", "2026-12-01 09:30", "FREQ=DAILY;COUNT=2", "2026-12-01T09:30+05:30 2026-12-02T09:30+05:30"},
		{"Europe/Brussels", "2026-12-02 10:00", "FREQ=WEEKLY;BYDAY=MO,WE;COUNT=3", "2026-12-02T10:00+01:00 2026-12-07T10:00+01:00 2026-12-09T10:00+01:00"},
		{"Europe/Brussels", "2026-12-25 10:00", "FREQ=MONTHLY;BYDAY=-1FR;COUNT=3", "2026-12-25T10:00+01:00 2027-01-29T10:00+01:00 2027-02-26T10:00+01:00"},
		{"Europe/Brussels", "2027-01-31 10:00", "FREQ=MONTHLY;COUNT=3", "2027-01-31T10:00+01:00 2027-03-31T10:00+02:00 2027-05-31T10:00+02:00"},
		{"Europe/Brussels", "2028-02-29 10:00", "FREQ=YEARLY;COUNT=2", "2028-02-29T10:00+01:00 2032-02-29T10:00+01:00"},
		// UNTIL is in UTC, and counts what begins at that moment.
		{"Europe/Brussels", "2027-03-26 09:00", "FREQ=DAILY;UNTIL=20270328T070000Z", "2027-03-26T09:00+01:00 2027-03-27T09:00+01:00 2027-03-28T09:00+02:00"},
		{"Europe/Brussels", "2027-03-26 09:00", "FREQ=DAILY;UNTIL=20270328T065959Z", "2027-03-26T09:00+01:00 2027-03-27T09:00+01:00"},
	} {
		m := meeting(t, c.zone, c.start, c.rule)
		s, err := calendar.NewSeries(m)
		if err != nil {
			t.Errorf("%s %s: %v", c.start, c.rule, err)
			continue
		}
		location, _ := m.Location()
		var got []string
		for _, one := range s {
			got = append(got, one.StartTS.Time().In(location).Format("2006-01-02T15:04-07:00"))
			if one.EndTS != one.StartTS.Add(time.Hour) {
				t.Errorf("%s %s: a time of %d ms", c.start, c.rule, one.EndTS-one.StartTS)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s %s %s:\n got %s\nwant %s", c.zone, c.start, c.rule, strings.Join(got, " "), c.want)
		}
	}
}

func TestAFirstTimeThatIsNotOfTheRuleIsRefused(t *testing.T) {
	for _, c := range []struct{ start, rule string }{
		{"2026-12-01 15:00", "FREQ=WEEKLY;BYDAY=MO"}, {"2026-12-01 15:00", "FREQ=MONTHLY;BYMONTHDAY=2"}, {"2026-12-01 15:00", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"},
	} {
		if s, err := calendar.NewSeries(meeting(t, "Europe/Brussels", c.start, c.rule)); err != calendar.ErrFirst {
			t.Errorf("%s: %v %v", c.rule, s, err)
		}
	}
}

func TestSeriesAreBounded(t *testing.T) {
	for rule, most := range map[string]int{
		"FREQ=DAILY": limits.MeetingTimes, "FREQ=DAILY;INTERVAL=999": 2, "FREQ=YEARLY;INTERVAL=999": 1, "FREQ=WEEKLY;COUNT=999": 5*53 + 1,
		"FREQ=DAILY;UNTIL=89991231T000000Z": limits.MeetingTimes, "FREQ=YEARLY;BYDAY=TU;BYMONTH=12;BYSETPOS=1": 6,
	} {
		s, err := calendar.NewSeries(meeting(t, "Europe/Brussels", "2026-12-01 15:00", rule))
		if err != nil || len(s) == 0 || len(s) > most {
			t.Errorf("%s: %d times, %v", rule, len(s), err)
		}
		if last := s.Last(); last > s[0].StartTS.Add(limits.MeetingSeries+2*time.Hour) {
			t.Errorf("%s: ends %s", rule, last.Time())
		}
	}
}

func TestExceptionsMoveAndCancelSingleTimes(t *testing.T) {
	const zone = "Europe/Brussels"
	m := meeting(t, zone, "2026-12-01 15:00", "FREQ=WEEKLY;COUNT=4")
	m.Exceptions = []outbox.Exception{
		{StartTS: local(t, zone, "2026-12-08 15:00")},
		{StartTS: local(t, zone, "2026-12-15 15:00"), NewStartTS: local(t, zone, "2026-12-23 09:00"), NewEndTS: local(t, zone, "2026-12-23 11:00")},
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	s, err := calendar.NewSeries(m)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, one := range s {
		got = append(got, fmt.Sprint(one.StartTS.Time().Format("02/15:04"), "-", one.EndTS.Time().Format("15:04")))
	}
	if want := "01/14:00-15:00 22/14:00-15:00 23/08:00-10:00"; strings.Join(got, " ") != want {
		t.Errorf("got %s, want %s", strings.Join(got, " "), want)
	}
	if next, ok := s.Next(m.EndTS); !ok || next.StartTS != local(t, zone, "2026-12-22 15:00") {
		t.Errorf("after the first time comes %v", next)
	}
	events, _, err := calendar.Events(m, time.Unix(0, 0))
	if err != nil || len(events) != 2 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	if ex := events[0].Props["EXDATE"]; len(ex) != 1 || ex[0].Value != "20261208T150000" || ex[0].Params.Get("TZID") != zone {
		t.Errorf("EXDATE is %v", ex)
	}
	if id := events[1].Props["RECURRENCE-ID"]; len(id) != 1 || id[0].Value != "20261215T150000" || events[1].Props["RRULE"] != nil || events[1].Props["DTSTART"][0].Value != "20261223T090000" {
		t.Errorf("the time that was moved is %v", events[1].Props)
	}
}

func TestTimesThatTheClockNeverShows(t *testing.T) {
	location, err := time.LoadLocation("Europe/Brussels")
	if err != nil {
		t.Fatal(err)
	}
	for text, exists := range map[string]bool{"2027-03-28 02:30": false, "2027-03-28 01:59": true, "2027-03-28 03:00": true, "2026-10-25 02:30": true} {
		wall, err := time.Parse("2006-01-02 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		if calendar.Exists(wall, location) != exists {
			t.Errorf("%s exists: %v", text, !exists)
		}
	}
}

// TestZonesOfMeetingsFarAway ends: far away the data of zones has rules and no dates.
func TestZonesOfMeetingsFarAway(t *testing.T) {
	for _, zone := range []string{"Europe/Brussels", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "America/Santiago", "Asia/Kolkata", "UTC"} {
		location, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for year := 2026; year < 2060; year++ {
			c := calendar.Timezone(location, time.Date(year, 3, 25, 9, 0, 0, 0, location))
			if len(c.Children) == 0 || len(c.Children) > 8 {
				t.Fatalf("%s in %d has %d observances", zone, year, len(c.Children))
			}
		}
	}
}
