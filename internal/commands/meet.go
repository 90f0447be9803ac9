package commands

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/roomline/roomline/internal/limits"
)

// Commands about meetings: !meet; !meet 2026-12-01 14:00 Budget anna@example.com; !meetings; !meet cancel ABCDEF; !call +32 470 12 34 56.

const (
	Meet     Action = "meet"
	Meetings Action = "meetings"
	CallOff  Action = "call_off"
	Call     Action = "call"
)

// Meeting is what a command says of one.
type Meeting struct {
	// Start is what the clock shows when it begins, as 2026-12-01T14:00; empty for now. Minutes is how long it takes, Timezone where the clock is, empty for the asker's.
	Start    string
	Minutes  int
	Timezone string
	Title    string
	// Users are those of the server who are asked.
	Users []string
}

// callOff are the words behind !meet that take a meeting back, and whose language they are.
var callOff = map[string]string{"cancel": "en", "annuler": "fr", "annuleren": "nl", "annuleer": "nl", "absagen": "de"}

// with are the words that may stand before those who are asked, at those before a day or a time.
var with, at = words("with avec met mit und and et en"), words("on at le à a om op am um")

var (
	isoDay    = regexp.MustCompile(`^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}$`)
	otherDay  = regexp.MustCompile(`^([0-9]{1,2})[./-]([0-9]{1,2})[./-]([0-9]{4})$`)
	clockTime = regexp.MustCompile(`^([0-9]{1,2})(?::|h|u|\.)([0-9]{2})?(?:h|u)?$`)
	lasting   = regexp.MustCompile(`^(?:([0-9]{1,2})h)?(?:([0-9]{1,3})(?:m|min|minutes|minuten)?)?$`)
	zone      = regexp.MustCompile(`^[A-Z][A-Za-z_+-]+/[A-Za-z_/+-]+$`)
)

// lasts is how long a meeting takes, if nobody says.
const lasts = 60

// meet reads what follows !meet.
func (r *reader) meet() {
	r.Minutes = lasts
	if len(r.tokens) == 0 {
		return
	}
	if language, ok := callOff[strings.ToLower(r.tokens[0])]; ok {
		r.Action, r.Words = CallOff, language
		r.tokens = r.tokens[1:]
		r.which()
		return
	}
	r.skip(at)
	day, ok := "", false
	if len(r.tokens) > 0 {
		day, ok = readDay(r.tokens[0])
	}
	if !ok {
		// A title or people without a day are no meeting that is now, nor one that is later.
		if len(r.tokens) > 0 {
			r.Unknown = r.tokens[0]
		}
		return
	}
	r.tokens = r.tokens[1:]
	r.skip(at)
	hour := ""
	if len(r.tokens) > 0 {
		hour, ok = readClock(r.tokens[0])
	}
	if !ok || hour == "" {
		r.Unknown = day
		return
	}
	r.tokens, r.Start = r.tokens[1:], day+"T"+hour
	r.about()
}

func (r *reader) skip(these map[string]bool) {
	for len(r.tokens) > 0 && these[strings.ToLower(r.tokens[0])] {
		r.tokens = r.tokens[1:]
	}
}

// about reads how long a meeting takes, where its clock is, what it is called, and who is asked.
func (r *reader) about() {
	var title []string
	for len(r.tokens) > 0 && r.Unknown == "" {
		token := r.tokens[0]
		if minutes, ok := readLasting(token); ok && len(title) == 0 {
			r.Minutes, r.tokens = minutes, r.tokens[1:]
			continue
		}
		if zone.MatchString(token) && len(title) == 0 {
			if _, err := time.LoadLocation(token); err == nil {
				r.Timezone, r.tokens = token, r.tokens[1:]
				continue
			}
		}
		if isUser(token) || isAddress(token) {
			break
		}
		title, r.tokens = append(title, token), r.tokens[1:]
	}
	for len(r.tokens) > 0 && len(title) > 0 && with[strings.ToLower(title[len(title)-1])] {
		title = title[:len(title)-1]
	}
	r.Title = strings.Join(title, " ")
	r.each(r.asked)
	if len(r.Users) > limits.CommandAddresses {
		r.Unknown = r.Users[limits.CommandAddresses]
	}
}

// asked reads one of those who are asked to a meeting.
func (r *reader) asked(token string) {
	switch {
	case isUser(token):
		r.Users = append(r.Users, token)
	case isEmail(token):
		r.add(Address{"email", token})
	case with[strings.ToLower(token)]:
	default:
		r.Unknown = token
	}
}

// which reads the beginning of a meeting's id. A place in a list would name another meeting when one of them is over.
func (r *reader) which() {
	if len(r.tokens) == 1 && isID(r.tokens[0]) {
		r.IDs = r.tokens
		return
	}
	r.Unknown = strings.Join(r.tokens, " ")
	if r.Unknown == "" {
		r.Unknown = "…"
	}
}

// call reads whom to call: one number.
func (r *reader) call() {
	r.each(func(token string) {
		if low := strings.ToLower(token); !filler[low] && !after[low] {
			r.Unknown = token
		}
	})
	if r.Unknown == "" && len(r.Addresses) > 1 {
		r.Unknown = r.Addresses[1].Text
	}
}

// readDay reads 2026-12-01, 1.12.2026 or 01/12/2026.
func readDay(token string) (string, bool) {
	if isoDay.MatchString(token) {
		d, err := time.Parse("2006-1-2", token)
		return d.Format(time.DateOnly), err == nil
	}
	if m := otherDay.FindStringSubmatch(token); m != nil {
		d, err := time.Parse("2006-1-2", m[3]+"-"+m[2]+"-"+m[1])
		return d.Format(time.DateOnly), err == nil
	}
	return "", false
}

// readClock reads 14:00, 14h, 14h30, 14u30 or 14.30.
func readClock(token string) (string, bool) {
	m := clockTime.FindStringSubmatch(token)
	if m == nil {
		return "", false
	}
	if m[2] == "" {
		m[2] = "00"
	}
	t, err := time.Parse("15:4", m[1]+":"+m[2])
	return t.Format("15:04"), err == nil
}

// readLasting reads 45min, 1h, 1h30.
func readLasting(token string) (int, bool) {
	m := lasting.FindStringSubmatch(strings.ToLower(token))
	if m == nil || m[1] == "" && (m[2] == "" || m[2] == token) {
		return 0, false
	}
	hours, _ := strconv.Atoi(m[1]) // digits, or nothing
	minutes, _ := strconv.Atoi(m[2])
	return 60*hours + minutes, 60*hours+minutes > 0
}

func isUser(token string) bool {
	return strings.HasPrefix(token, "@") && strings.Contains(token, ":")
}
