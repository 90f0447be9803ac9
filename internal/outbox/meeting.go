package outbox

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // time zones are known wherever this runs
	"unicode"
	"unicode/utf8"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

var (
	zoneName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+_-]*(/[A-Za-z0-9+_-]+){0,2}$`)
	weekday  = regexp.MustCompile(`^(?:([+-]?)([1-9][0-9]?))?(MO|TU|WE|TH|FR|SA|SU)$`)
	signed   = regexp.MustCompile(`^-?[1-9][0-9]{0,2}$`)
)

// Location is the meeting's time zone.
func (m *Meeting) Location() (*time.Location, error) {
	// time.LoadLocation reads files by their name, and knows "Local".
	if len(m.Timezone) > limits.MeetingText || m.Timezone == "Local" || !zoneName.MatchString(m.Timezone) {
		return nil, errors.New("timezone is not a name of the IANA database")
	}
	location, err := time.LoadLocation(m.Timezone)
	if err != nil {
		return nil, errors.New("timezone is not a name of the IANA database")
	}
	return location, nil
}

// Check says what is wrong with a meeting that somebody sent, naming the field.
func (m *Meeting) Check() error {
	start, end := m.StartTS.Time(), m.EndTS.Time()
	switch {
	case m.UID == "" || len(m.UID) > limits.MeetingText || strings.ContainsFunc(m.UID, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("uid must have 1 to %d printable characters of ASCII", limits.MeetingText)
	case m.Sequence < 0 || m.Sequence > 1<<31-1:
		return errors.New("sequence must be between 0 and 2147483647")
	case m.Title == "" || len(m.Title) > limits.MeetingText || !utf8.ValidString(m.Title) || strings.ContainsFunc(m.Title, unicode.IsControl):
		return fmt.Errorf("title must have 1 to %d bytes and no control characters", limits.MeetingText)
	case start.Year() < 1970 || start.Year() > 9000:
		return errors.New("start_ts is no time that a calendar has")
	case !end.After(start) || end.Sub(start) > limits.MeetingDuration:
		return fmt.Errorf("end_ts must be after start_ts, and not more than %s", limits.MeetingDuration)
	}
	if _, err := m.Location(); err != nil {
		return err
	}
	if err := m.checkExceptions(); err != nil {
		return err
	}
	if m.Recurrence == "" {
		return nil
	}
	if err := checkRecurrence(m.Recurrence, start); err != nil {
		return fmt.Errorf("recurrence %w", err)
	}
	return nil
}

func (m *Meeting) checkExceptions() error {
	if len(m.Exceptions) > 0 && m.Recurrence == "" || len(m.Exceptions) > limits.MeetingExceptions {
		return fmt.Errorf("exceptions may be %d, and of a meeting that recurs", limits.MeetingExceptions)
	}
	seen := map[matrix.Timestamp]bool{}
	for _, x := range m.Exceptions {
		if seen[x.StartTS] || x.StartTS < m.StartTS {
			return errors.New("exceptions: a time is there twice, or before the first one")
		}
		seen[x.StartTS] = true
		if start, end := x.NewStartTS.Time(), x.NewEndTS.Time(); !x.Cancelled() && (start.Year() < 1970 || start.Year() > 9000 || !end.After(start) || end.Sub(start) > limits.MeetingDuration) {
			return fmt.Errorf("exceptions: new_end_ts must be after new_start_ts, and not more than %s", limits.MeetingDuration)
		}
	}
	return nil
}

// checkRecurrence takes what calendars agree on of the grammar, in its canonical form: FREQ first, upper case, each part once. Rules that repeat more than
// once a day are none that a meeting has.
//
// Spec: RFC 5545 §3.3.10
func checkRecurrence(rule string, start time.Time) error {
	if len(rule) > limits.MeetingText {
		return fmt.Errorf("must not have more than %d bytes", limits.MeetingText)
	}
	parts := map[string]string{}
	for i, part := range strings.Split(rule, ";") {
		name, value, ok := strings.Cut(part, "=")
		_, twice := parts[name]
		switch {
		case !ok || value == "":
			return errors.New("must be made of NAME=VALUE, apart by semicolons")
		case (i == 0) != (name == "FREQ"):
			return errors.New("must begin with FREQ")
		case twice:
			return fmt.Errorf("has %s twice", name)
		}
		parts[name] = value
	}
	for name, value := range parts {
		check, ok := recurrenceParts[name]
		if !ok || !check(value, parts["FREQ"]) {
			return fmt.Errorf("has a part that is not understood: %.20q", name)
		}
	}
	if parts["COUNT"] != "" && parts["UNTIL"] != "" {
		return errors.New("has both COUNT and UNTIL")
	}
	if until := parts["UNTIL"]; until != "" {
		if t, err := time.Parse(untilFormat, until); err != nil || t.Before(start) {
			return errors.New("ends before it begins")
		}
	}
	if parts["BYSETPOS"] != "" && parts["BYDAY"] == "" && parts["BYMONTHDAY"] == "" && parts["BYMONTH"] == "" {
		return errors.New("has BYSETPOS and nothing that it chooses from")
	}
	return nil
}

const untilFormat = "20060102T150405Z"

// recurrenceParts checks the value of each part, by its name; the second argument is FREQ.
var recurrenceParts = map[string]func(value, freq string) bool{
	"FREQ":     func(v, _ string) bool { return slices.Contains([]string{"DAILY", "WEEKLY", "MONTHLY", "YEARLY"}, v) },
	"INTERVAL": func(v, _ string) bool { return number(v, 1, 999) },
	"COUNT":    func(v, _ string) bool { return number(v, 1, 999) },
	"UNTIL": func(v, _ string) bool {
		t, err := time.Parse(untilFormat, v)
		return err == nil && t.Year() <= 9000
	},
	"WKST":  func(v, _ string) bool { return len(v) == 2 && weekday.MatchString(v) },
	"BYDAY": func(v, freq string) bool { return all(v, func(day string) bool { return isWeekday(day, freq) }) },
	"BYMONTHDAY": func(v, freq string) bool {
		return freq != "WEEKLY" && all(v, func(day string) bool { return ordinal(day, 31) })
	},
	"BYMONTH":  func(v, _ string) bool { return all(v, func(month string) bool { return number(month, 1, 12) }) },
	"BYSETPOS": func(v, _ string) bool { return all(v, func(n string) bool { return ordinal(n, 366) }) },
}

func all(list string, ok func(string) bool) bool {
	for item := range strings.SplitSeq(list, ",") {
		if !ok(item) {
			return false
		}
	}
	return true
}

func number(text string, least, most int) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= least && n <= most && strconv.Itoa(n) == text
}

func ordinal(text string, most int) bool {
	return signed.MatchString(text) && number(strings.TrimPrefix(text, "-"), 1, most)
}

// isWeekday takes the second or the last Friday in rules that repeat by months or years only.
func isWeekday(day, freq string) bool {
	m := weekday.FindStringSubmatch(day)
	switch {
	case m == nil:
		return false
	case m[2] == "":
		return true
	case freq == "MONTHLY":
		return number(m[2], 1, 5)
	}
	return freq == "YEARLY" && number(m[2], 1, 53)
}
