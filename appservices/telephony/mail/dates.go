package mail

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// calendarWords are a language's words for dates.
type calendarWords struct {
	days, short [7]string // from Sunday
	months      [12]string
	// day writes a day of the week, a day, a month and a year; clock writes a time.
	day   func(weekday string, day int, month string, year int) string
	clock string
	// every is for recurrence: of one and of several days, weeks, months, years.
	every map[string][2]string
}

// longDate is "Tuesday 1 December 2026".
func (w *calendarWords) longDate(t time.Time) string {
	return w.day(w.days[t.Weekday()], t.Day(), w.months[t.Month()-1], t.Year())
}

// time is a time of the day, or from when to when.
func (w *calendarWords) time(text string) string { return fmt.Sprintf(w.clock, text) }

func (w *calendarWords) both(t time.Time) string {
	return w.longDate(t) + ", " + w.time(t.Format("15:04"))
}

// moment is a date and a time with its zone.
func (w *calendarWords) moment(t time.Time) string { return w.both(t) + " (" + zoneOf(t) + ")" }

// span is from when to when: on one day, the day and then the times.
func (w *calendarWords) span(from, to time.Time) []string {
	if from.YearDay() == to.YearDay() && from.Year() == to.Year() {
		return []string{w.longDate(from), w.time(from.Format("15:04") + "–" + to.Format("15:04"))}
	}
	return []string{w.both(from) + " –", w.both(to)}
}

// brief is for subjects.
func (w *calendarWords) brief(t time.Time) string {
	return w.short[t.Weekday()] + " " + w.day("", t.Day(), w.months[t.Month()-1], t.Year()) + ", " + t.Format("15:04")
}

// zoneOf names a time's zone so that everybody understands it: the place, and what it is off from UTC.
func zoneOf(t time.Time) string {
	_, seconds := t.Zone()
	if t.Location() == time.UTC || t.Location().String() == "UTC" {
		return "UTC"
	}
	sign := "+"
	if seconds < 0 {
		sign, seconds = "−", -seconds
	}
	offset := "UTC" + sign + strconv.Itoa(seconds/3600)
	if minutes := seconds / 60 % 60; minutes != 0 {
		offset += fmt.Sprintf(":%02d", minutes)
	}
	return strings.ReplaceAll(t.Location().String(), "_", " ") + ", " + offset
}

// recurrence says how often a rule repeats, empty if there is none. Which days these are the calendar shows.
func (w *calendarWords) recurrence(rule string) string {
	parts := map[string]string{}
	for part := range strings.SplitSeq(rule, ";") {
		name, value, _ := strings.Cut(part, "=")
		parts[name] = value
	}
	forms, ok := w.every[parts["FREQ"]]
	if !ok {
		return ""
	}
	if n, err := strconv.Atoi(parts["INTERVAL"]); err == nil && n > 1 {
		return fmt.Sprintf(forms[1], n)
	}
	return forms[0]
}
