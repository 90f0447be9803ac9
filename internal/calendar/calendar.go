// Package calendar says when a meeting takes place, and writes it down for calendars.
//
// A meeting recurs by what the clock on the wall shows in its time zone: one that begins at 9 begins at 9 in summer and in winter.
//
// Spec: RFC 5545 §3.3.5, §3.3.10, §3.6.1
//
// Start reading at Series.
package calendar

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-ical"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
)

// LocalTime is a time as a calendar has it beside a TZID.
const LocalTime = "20060102T150405"

// Events are the VEVENTs of a meeting, with what is said of times and of nothing else: the meeting itself, and those of its times that were
// moved. zone is the VTIMEZONE that belongs to them.
func Events(m *outbox.Meeting, now time.Time) (events []*ical.Component, zone *ical.Component, err error) {
	location, err := m.Location()
	if err != nil {
		return nil, nil, err
	}
	local := func(event *ical.Component, name string, ts matrix.Timestamp) {
		Raw(event, name, ts.Time().In(location).Format(LocalTime)).Params.Set(ical.ParamTimezoneID, location.String())
	}
	event := func(start, end matrix.Timestamp) *ical.Component {
		e := ical.NewComponent(ical.CompEvent)
		e.Props.SetText(ical.PropUID, m.UID)
		e.Props.SetDateTime(ical.PropDateTimeStamp, now.UTC())
		Raw(e, ical.PropSequence, fmt.Sprint(m.Sequence))
		local(e, ical.PropDateTimeStart, start)
		local(e, ical.PropDateTimeEnd, end)
		return e
	}
	whole := event(m.StartTS, m.EndTS)
	if m.Recurrence != "" {
		Raw(whole, ical.PropRecurrenceRule, m.Recurrence)
	}
	events = append(events, whole)
	for _, x := range m.Exceptions {
		if x.Cancelled() {
			local(whole, ical.PropExceptionDates, x.StartTS)
			continue
		}
		moved := event(x.NewStartTS, x.NewEndTS)
		local(moved, ical.PropRecurrenceID, x.StartTS)
		events = append(events, moved)
	}
	return events, Timezone(location, m.StartTS.Time().In(location)), nil
}

// Raw adds a property whose value is written as it is.
func Raw(c *ical.Component, name, value string) *ical.Prop {
	p := ical.NewProp(name)
	p.Value = value
	c.Props[name] = append(c.Props[name], *p)
	return &c.Props[name][len(c.Props[name])-1]
}

// Text is text as the value of a parameter, which knows no escapes; those of RFC 6868, and backslashes, are read by some and not by others.
var Text = strings.NewReplacer(`"`, "'", `\`, "/", "^", "ˆ").Replace

// Mailto is the URI of an e-mail address.
func Mailto(address string) string {
	// A percent sign in an address is not to be taken for an escape.
	return "mailto:" + strings.ReplaceAll(address, "%", "%25")
}

// foldedLine is how many octets a line has at most, without its end.
const foldedLine = 75

// Fold breaks long lines, never inside a character.
//
// Spec: RFC 5545 §3.1
func Fold(text []byte) []byte {
	out := make([]byte, 0, len(text)+len(text)/32)
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte("\r\n"))
		for room := foldedLine; len(line) > room; room = foldedLine - 1 {
			end := room
			for end > room-utf8.UTFMax && !utf8.RuneStart(line[end]) {
				end--
			}
			out = append(append(out, line[:end]...), "\r\n "...)
			line = line[end:]
		}
		out = append(append(out, line...), "\r\n"...)
	}
	return out
}
