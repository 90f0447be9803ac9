package mail

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-ical"

	"github.com/roomline/roomline/internal/outbox"
)

// Methods of a calendar in a mail.
//
// Spec: RFC 5546 §3.2
const (
	methodRequest = "REQUEST"
	methodCancel  = "CANCEL"
)

const localTime = "20060102T150405"

// calendar is what the addressee's calendar is told of a meeting. The meeting's UID and SEQUENCE tell it whether it knows the meeting already.
//
// Spec: RFC 5545 §3.6.1; RFC 5546 §3.2.2, §3.2.5; RFC 7986 §5.11
func (w *Writer) calendar(m *outbox.Message, l *letter, lang *words) (text []byte, method string, err error) {
	inv, meeting := m.Invitation, m.Invitation.Meeting
	location, err := meeting.Location()
	if err != nil {
		return nil, "", err
	}
	method = methodRequest
	if m.Kind == outbox.Cancellation {
		method = methodCancel
	}
	start, end := meeting.StartTS.Time().In(location), meeting.EndTS.Time().In(location)
	event := ical.NewComponent(ical.CompEvent)
	set := func(name, value string) { event.Props.SetText(name, value) }
	set(ical.PropUID, meeting.UID)
	event.Props.SetDateTime(ical.PropDateTimeStamp, w.cfg.Clock.Now().UTC())
	raw(event, ical.PropSequence, fmt.Sprint(meeting.Sequence))
	raw(event, ical.PropDateTimeStart, start.Format(localTime)).Params.Set(ical.ParamTimezoneID, location.String())
	raw(event, ical.PropDateTimeEnd, end.Format(localTime)).Params.Set(ical.ParamTimezoneID, location.String())
	if meeting.Recurrence != "" {
		raw(event, ical.PropRecurrenceRule, meeting.Recurrence)
	}
	set(ical.PropSummary, cmp.Or(Name(meeting.Title), l.Heading))
	w.people(event, m)
	if method == methodCancel {
		set(ical.PropStatus, "CANCELLED")
	} else {
		set(ical.PropStatus, "CONFIRMED")
		set(ical.PropTransparency, "OPAQUE")
		set(ical.PropDescription, l.Lead+"\n\n"+l.Button+l.ColonEnd+"\n"+inv.Link)
		set(ical.PropLocation, inv.Link)
		raw(event, ical.PropURL, inv.Link)
		conference := raw(event, "CONFERENCE", inv.Link)
		conference.Params.Set(ical.ParamValue, "URI")
		conference.Params.Set("LABEL", lang.join)
		event.Children = append(event.Children, reminder(lang.reminder))
	}
	c := ical.NewCalendar()
	c.Props.SetText(ical.PropProductID, "-//Roomline//Invitations//EN")
	c.Props.SetText(ical.PropVersion, "2.0")
	c.Props.SetText(ical.PropMethod, method)
	c.Props.SetText(ical.PropCalendarScale, "GREGORIAN")
	c.Children = []*ical.Component{timezone(location, start), event}
	var b bytes.Buffer
	if err := ical.NewEncoder(&b).Encode(c); err != nil {
		return nil, "", fmt.Errorf("write a calendar: %w", err)
	}
	return fold(b.Bytes()), method, nil
}

// people are the organizer, for whom we send, and the attendee.
func (w *Writer) people(event *ical.Component, m *outbox.Message) {
	inv, answers := m.Invitation, "FALSE"
	organizer := mailto(w.cfg.From)
	if plainAddress(inv.InviterEmail) {
		organizer, answers = mailto(inv.InviterEmail), "TRUE"
	}
	o := raw(event, ical.PropOrganizer, organizer)
	if name := parameter(Name(inv.Inviter)); name != "" {
		o.Params.Set(ical.ParamCommonName, name)
	}
	if answers == "TRUE" {
		o.Params.Set(ical.ParamSentBy, mailto(w.cfg.From))
	}
	a := raw(event, ical.PropAttendee, mailto(m.Address))
	a.Params.Set(ical.ParamCalendarUserType, "INDIVIDUAL")
	a.Params.Set(ical.ParamRole, "REQ-PARTICIPANT")
	if m.Kind == outbox.Invitation {
		a.Params.Set(ical.ParamParticipationStatus, "NEEDS-ACTION")
		a.Params.Set(ical.ParamRSVP, answers)
	}
}

func mailto(address string) string {
	// A percent sign in an address is not to be taken for an escape.
	return "mailto:" + strings.ReplaceAll(address, "%", "%25")
}

// parameter is text as the value of a parameter, which knows no escapes; those of RFC 6868, and backslashes, are read by some and not by others.
var parameter = strings.NewReplacer(`"`, "'", `\`, "/", "^", "ˆ").Replace

// reminder rings ten minutes before a meeting.
func reminder(text string) *ical.Component {
	alarm := ical.NewComponent(ical.CompAlarm)
	alarm.Props.SetText(ical.PropAction, "DISPLAY")
	alarm.Props.SetText(ical.PropDescription, text)
	raw(alarm, ical.PropTrigger, "-PT10M")
	return alarm
}

// raw adds a property whose value is written as it is.
func raw(c *ical.Component, name, value string) *ical.Prop {
	p := ical.NewProp(name)
	p.Value = value
	c.Props[name] = append(c.Props[name], *p)
	return &c.Props[name][len(c.Props[name])-1]
}

// foldedLine is how many octets a line has at most, without its end.
const foldedLine = 75

// fold breaks long lines, never inside a character.
//
// Spec: RFC 5545 §3.1
func fold(text []byte) []byte {
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
