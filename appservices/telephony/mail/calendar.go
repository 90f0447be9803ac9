package mail

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"github.com/emersion/go-ical"

	"github.com/roomline/roomline/internal/calendar"
	"github.com/roomline/roomline/internal/outbox"
)

// Methods of a calendar in a mail.
//
// Spec: RFC 5546 §3.2
const (
	methodRequest = "REQUEST"
	methodCancel  = "CANCEL"
)

// calendar is what the addressee's calendar is told of a meeting. The meeting's UID and SEQUENCE tell it whether it knows the meeting already.
//
// Spec: RFC 5545 §3.6.1; RFC 5546 §3.2.2, §3.2.5; RFC 7986 §5.11
func (w *Writer) calendar(m *outbox.Message, l *letter, lang *words) (text []byte, method string, err error) {
	inv, meeting := m.Invitation, m.Invitation.Meeting
	if method = methodRequest; m.Kind == outbox.Cancellation {
		method = methodCancel
		// All of it is cancelled, whatever was moved.
		whole := *meeting
		whole.Exceptions, meeting = nil, &whole
	}
	events, zone, err := calendar.Events(meeting, w.cfg.Clock.Now())
	if err != nil {
		return nil, "", err
	}
	for _, event := range events {
		set := func(name, value string) { event.Props.SetText(name, value) }
		set(ical.PropSummary, cmp.Or(Name(meeting.Title), l.Heading))
		w.people(event, m)
		if method == methodCancel {
			set(ical.PropStatus, "CANCELLED")
			continue
		}
		set(ical.PropStatus, "CONFIRMED")
		set(ical.PropTransparency, "OPAQUE")
		set(ical.PropDescription, l.Lead+"\n\n"+l.Button+l.ColonEnd+"\n"+inv.Link+byPhone(lang, inv.Meeting.Phone))
		set(ical.PropLocation, inv.Link)
		calendar.Raw(event, ical.PropURL, inv.Link)
		conference := calendar.Raw(event, "CONFERENCE", inv.Link)
		conference.Params.Set(ical.ParamValue, "URI")
		conference.Params.Set("LABEL", lang.join)
		event.Children = append(event.Children, reminder(lang.reminder))
	}
	c := ical.NewCalendar()
	c.Props.SetText(ical.PropProductID, "-//Roomline//Invitations//EN")
	c.Props.SetText(ical.PropVersion, "2.0")
	c.Props.SetText(ical.PropMethod, method)
	c.Props.SetText(ical.PropCalendarScale, "GREGORIAN")
	c.Children = append([]*ical.Component{zone}, events...)
	var b bytes.Buffer
	if err := ical.NewEncoder(&b).Encode(c); err != nil {
		return nil, "", fmt.Errorf("write a calendar: %w", err)
	}
	return calendar.Fold(b.Bytes()), method, nil
}

// byPhone is what a calendar says of calling in.
func byPhone(lang *words, numbers []outbox.DialIn) string {
	if len(numbers) == 0 {
		return ""
	}
	text := "\n\n" + lang.phone + strings.TrimRight(lang.colon, " ")
	for _, n := range numbers {
		text += "\n" + dialled(n)
	}
	return text + "\n" + lang.pin + lang.colon + grouped(numbers[0].PIN)
}

// people are the organizer, for whom we send, and the attendee.
func (w *Writer) people(event *ical.Component, m *outbox.Message) {
	inv, answers := m.Invitation, "FALSE"
	organizer := calendar.Mailto(w.cfg.From)
	if plainAddress(inv.InviterEmail) {
		organizer, answers = calendar.Mailto(inv.InviterEmail), "TRUE"
	}
	o := calendar.Raw(event, ical.PropOrganizer, organizer)
	if name := calendar.Text(Name(inv.Inviter)); name != "" {
		o.Params.Set(ical.ParamCommonName, name)
	}
	if answers == "TRUE" {
		o.Params.Set(ical.ParamSentBy, calendar.Mailto(w.cfg.From))
	}
	a := calendar.Raw(event, ical.PropAttendee, calendar.Mailto(m.Address))
	a.Params.Set(ical.ParamCalendarUserType, "INDIVIDUAL")
	a.Params.Set(ical.ParamRole, "REQ-PARTICIPANT")
	if m.Kind == outbox.Invitation {
		a.Params.Set(ical.ParamParticipationStatus, "NEEDS-ACTION")
		a.Params.Set(ical.ParamRSVP, answers)
	}
}

// reminder rings ten minutes before a meeting.
func reminder(text string) *ical.Component {
	alarm := ical.NewComponent(ical.CompAlarm)
	alarm.Props.SetText(ical.PropAction, "DISPLAY")
	alarm.Props.SetText(ical.PropDescription, text)
	calendar.Raw(alarm, ical.PropTrigger, "-PT10M")
	return alarm
}
