package schedule

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/emersion/go-ical"

	"github.com/roomline/roomline/internal/calendar"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
	"github.com/roomline/roomline/internal/store"
)

// calendarFile is a meeting for calendars, as the requester may know of it. It has no METHOD: it is to be kept, and asks for no answer.
//
// Spec: RFC 5545 §3.6.1
func (s *Server) calendarFile(ctx context.Context, c *httpapi.Call) (any, error) {
	m, _, err := s.visible(ctx, c.Requester, c.Path("meetingId"))
	if err != nil {
		return nil, err
	}
	if m.Kind != store.MeetingScheduled {
		return nil, matrix.NotFound("the meeting has no time")
	}
	a, err := s.answer(ctx, c.Requester, &m, nil)
	if err != nil {
		return nil, err
	}
	d, err := describe(&m)
	if err != nil {
		return nil, err
	}
	events, zone, err := calendar.Events(d, s.cfg.Clock.Now())
	if err != nil {
		return nil, err
	}
	names, emails, err := s.people(ctx, c.Requester, &m, a.Invitees)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		e.Props.SetText(ical.PropSummary, m.Title)
		status := "CONFIRMED"
		if m.CancelledTS != 0 {
			status = "CANCELLED"
		}
		e.Props.SetText(ical.PropStatus, status)
		place := a.Link
		if place == "" {
			place = "matrix:roomid/" + url.PathEscape(strings.TrimPrefix(string(m.RoomID), "!"))
		}
		calendar.Raw(e, ical.PropURL, place)
		person(e, ical.PropOrganizer, addressOf(m.Organiser, emails), names[m.Organiser])
		for i := range a.Invitees {
			attendee(e, &a.Invitees[i], names, emails)
		}
	}
	file := ical.NewCalendar()
	file.Props.SetText(ical.PropProductID, "-//Roomline//Meetings//EN")
	file.Props.SetText(ical.PropVersion, "2.0")
	file.Props.SetText(ical.PropCalendarScale, "GREGORIAN")
	file.Children = append([]*ical.Component{zone}, events...)
	var b bytes.Buffer
	if err := ical.NewEncoder(&b).Encode(file); err != nil {
		return nil, fmt.Errorf("write a calendar: %w", err)
	}
	return httpapi.Content{Type: "text/calendar; charset=utf-8", Bytes: calendar.Fold(b.Bytes())}, nil
}

// people are the names of those who stand in a calendar, and the e-mail addresses of those of the requester's own organisation.
func (s *Server) people(ctx context.Context, who *httpapi.Requester, m *store.Meeting, invitees []InviteeAnswer) (names, emails map[matrix.UserID]string, err error) {
	users := []matrix.UserID{m.Organiser}
	for _, i := range invitees {
		if i.UserID != "" {
			users = append(users, i.UserID)
		}
	}
	persons, err := s.cfg.Store.ListPersons(ctx, users)
	if err != nil {
		return nil, nil, fmt.Errorf("look up people: %w", err)
	}
	names, emails = map[matrix.UserID]string{}, map[matrix.UserID]string{}
	for i := range persons {
		p := &persons[i]
		names[p.UserID] = nameOf(p.Name, p.UserID)
		if p.OrganisationID == who.Org && !who.Guest && len(p.Emails) > 0 {
			emails[p.UserID] = p.Emails[0]
		}
	}
	return names, emails, nil
}

// addressOf is how a calendar names a user: by a mail address if the asker may know one.
func addressOf(user matrix.UserID, emails map[matrix.UserID]string) string {
	if email := emails[user]; email != "" {
		return calendar.Mailto(email)
	}
	return "matrix:u/" + url.PathEscape(strings.TrimPrefix(string(user), "@"))
}

// partStat are the answers as calendars have them.
var partStat = map[string]string{"": "NEEDS-ACTION", Accepted: "ACCEPTED", Tentative: "TENTATIVE", Declined: "DECLINED"}

// attendee adds somebody who was asked. An address that the asker is not to know is left out.
func attendee(e *ical.Component, i *InviteeAnswer, names, emails map[matrix.UserID]string) {
	address, name := addressOf(i.UserID, emails), names[i.UserID]
	if i.UserID == "" {
		address, name = calendar.Mailto(i.Address), i.Name
		if i.Medium == outbox.Msisdn {
			address = "tel:+" + i.Address
		}
		if strings.Contains(i.Address, "…") {
			return
		}
	}
	a := person(e, ical.PropAttendee, address, name)
	a.Params.Set(ical.ParamCalendarUserType, "INDIVIDUAL")
	a.Params.Set(ical.ParamRole, "REQ-PARTICIPANT")
	a.Params.Set(ical.ParamParticipationStatus, partStat[i.Answer])
}

func person(e *ical.Component, property, address, name string) *ical.Prop {
	p := calendar.Raw(e, property, address)
	if name = calendar.Text(short(name)); name != "" {
		p.Params.Set(ical.ParamCommonName, name)
	}
	return p
}
