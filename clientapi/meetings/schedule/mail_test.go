package schedule_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	ics "github.com/arran4/golang-ical"

	"github.com/roomline/roomline/internal/hstest"
)

// calendarsTo are the calendars in the mails to an address, the oldest first.
func calendarsTo(t *testing.T, mails *hstest.MailServer, to string, n int) (list []*ics.Calendar) {
	t.Helper()
	hstest.Eventually(t, "the mails arrive", func() bool { return len(mails.Mails(t, to)) >= n })
	for _, m := range mails.Mails(t, to) {
		for _, a := range m.Attachments {
			if !strings.HasSuffix(a.FileName, ".ics") {
				continue
			}
			c, err := ics.ParseCalendar(strings.NewReader(mails.Part(t, m.ID, a.PartID)))
			if err != nil {
				t.Fatal(err)
			}
			list = append([]*ics.Calendar{c}, list...)
		}
	}
	if len(list) != n {
		t.Fatalf("%d calendars, want %d", len(list), n)
	}
	return list
}

func value(e *ics.VEvent, name string) string {
	if p := e.GetProperty(ics.ComponentProperty(name)); p != nil {
		return p.Value
	}
	return ""
}

// TestCalendarsFollowAMeeting arranges, moves and cancels a series, and reads the mails as a mail program does.
func TestCalendarsFollowAMeeting(t *testing.T) {
	t.Parallel()
	mails := hstest.Mailpit(t, hstest.MailServerOptions{})
	d := hstest.Start(t, hstest.Options{Processes: 2, Configure: func(_ int, c map[string]any) {
		c["public_base_url"] = guestsURL
		c["telephony"] = object{"mode": "in_process", "email": object{"smtp": object{"address": mails.SMTP, "tls": "none", "from": "invitations@hs.test"}}}
	}})
	owner := d.Operator(t)
	alice := d.User(t, "alice")
	owner.MustDo(t, http.MethodPut, admin+"users/"+alice.ID, object{"emails": []string{"alice@hs.test"}})
	made := alice.MustDo(t, http.MethodPost, all, object{
		"title": "Planung, früh; \"Süd\"", "start": "2030-03-25T09:00", "end": "2030-03-25T10:00", "timezone": "Europe/Brussels", "recurrence": "FREQ=WEEKLY;COUNT=4",
		"invitees": []any{email("anna@example.com")},
	})
	one := all + "/" + made.Get("meeting_id").String()
	uid := made.Get("meeting_id").String() + "@hs.test"
	c := calendarsTo(t, mails, "anna@example.com", 1)[0]
	e := c.Events()[0]
	for name, want := range map[string]string{
		"UID": uid, "SEQUENCE": "0", "DTSTART": "20300325T090000", "DTEND": "20300325T100000", "RRULE": "FREQ=WEEKLY;COUNT=4", "STATUS": "CONFIRMED",
		"SUMMARY": `Planung, früh; "Süd"`, "ORGANIZER": "mailto:alice@hs.test", "ATTENDEE": "mailto:anna@example.com",
	} {
		if got := value(e, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	// The second time is after the clocks were put forward.
	second := time.Date(2030, 4, 1, 7, 0, 0, 0, time.UTC).UnixMilli()
	alice.MustDo(t, http.MethodPatch, one, object{"time": second, "start": "2030-04-02T11:00", "end": "2030-04-02T12:00"})
	calendarsTo(t, mails, "anna@example.com", 2) // what has not been sent yet is told with what comes after it
	alice.MustDo(t, http.MethodDelete, fmt.Sprintf("%s?time=%d", one, second+7*24*3_600_000), nil)
	list := calendarsTo(t, mails, "anna@example.com", 3)
	moved, cancelled := list[1].Events(), list[2].Events()
	if len(moved) != 2 || value(moved[1], "RECURRENCE-ID") != "20300401T090000" || value(moved[1], "DTSTART") != "20300402T110000" || value(moved[1], "UID") != uid || value(moved[0], "SEQUENCE") != "1" {
		t.Errorf("of the time that was moved the mail says %v", moved)
	}
	if len(cancelled) != 2 || value(cancelled[0], "EXDATE") != "20300408T090000" || value(cancelled[0], "SEQUENCE") != "2" {
		t.Errorf("of the time that was cancelled the mail says %v", cancelled)
	}
	told := mails.Mails(t, "anna@example.com") // the newest first
	if !strings.Contains(told[1].Text, "2 April 2030") || !strings.Contains(told[1].Subject, "2 April 2030") || !strings.Contains(told[1].Text, "instead of Monday 1 April 2030") {
		t.Errorf("the mail about the time that was moved says %q: %s", told[1].Subject, told[1].Text)
	}
	if !strings.Contains(told[0].Text, "Does not take place") || !strings.Contains(told[0].Subject, "8 April 2030") {
		t.Errorf("the mail about the time that was cancelled says %q: %s", told[0].Subject, told[0].Text)
	}
	alice.MustDo(t, http.MethodDelete, one, nil)
	last := calendarsTo(t, mails, "anna@example.com", 4)[3]
	if e := last.Events(); len(e) != 1 || value(e[0], "STATUS") != "CANCELLED" || value(e[0], "UID") != uid || value(e[0], "SEQUENCE") != "3" {
		t.Errorf("of the end the mail says %v", e)
	}
	if p := last.CalendarProperties; !strings.Contains(last.Serialize(), "METHOD:CANCEL") {
		t.Errorf("the calendar has %v", p)
	}
}

// Who may have got the invitation, although nobody can tell yet, is told that the meeting does not take place.
func TestAnInvitationOnItsWayIsTakenOutOfCalendars(t *testing.T) {
	t.Parallel()
	d, b := start(t, 1)
	alice := d.User(t, "alice")
	made := arrange(t, alice, time.Hour, object{"invitees": []any{email("anna@example.com")}})
	list := b.d.AskAsBridge(t, 0, "lease", object{"media": []string{"email"}, "max": 50, "wait_ms": 0}).Get("messages").Array()
	if len(list) != 1 {
		t.Fatalf("%d messages wait: %v", len(list), list)
	}
	if _, secret, ok := strings.Cut(list[0].Get("invitation.link").String(), "#"); ok {
		d.Secret(secret, "the secret of an invitation")
	}
	b.d.AskAsBridge(t, 0, "outcomes", object{"outcomes": []any{object{"id": list[0].Get("id").Int(), "lease": list[0].Get("lease").String(), "state": "sending"}}})
	alice.MustDo(t, http.MethodDelete, all+"/"+made.Get("meeting_id").String(), nil)
	if m := b.one(t); m.Get("kind").String() != "cancellation" || m.Get("address").String() != "anna@example.com" {
		t.Errorf("who may have been asked is told %s", m)
	}
}

// TestTheCalendarFileSaysWhatTheAskerMayKnow downloads a meeting as its organiser, an invitee, and a guest.
func TestTheCalendarFileSaysWhatTheAskerMayKnow(t *testing.T) {
	t.Parallel()
	d, b := start(t, 1)
	owner := d.Operator(t)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	owner.MustDo(t, http.MethodPut, admin+"users/"+alice.ID, object{"emails": []string{"alice@hs.test"}})
	made := arrange(t, alice, 5*time.Minute, object{"title": strings.Repeat("Größe ", 30), "recurrence": "FREQ=WEEKLY", "invitees": []any{object{"user_id": bob.ID}, email("anna@example.com")}, "link": true})
	one := all + "/" + made.Get("meeting_id").String()
	var link string
	for _, m := range b.messages(t) {
		link = m.Get("invitation.link").String()
	}
	guest := redeem(t, d, link, "Anna")
	bob.MustDo(t, http.MethodPut, one+"/answer", object{"answer": "accepted"})
	unfold := strings.NewReplacer("\r\n ", "").Replace
	for who, u := range map[string]*hstest.User{"organiser": alice, "invitee": bob, "guest": guest} {
		text := calendarOf(t, u, one)
		c, err := ics.ParseCalendar(strings.NewReader(text))
		if err != nil || len(c.Events()) != 1 || len(c.Timezones()) != 1 || value(c.Events()[0], "RRULE") != "FREQ=WEEKLY" {
			t.Fatalf("%s: %v\n%s", who, err, text)
		}
		text = unfold(text)
		for what, told := range map[string]bool{
			"mailto:anna@example.com": who == "organiser", "mailto:alice@hs.test": who != "guest", "matrix:u/bob:hs.test": who != "guest", "PARTSTAT=ACCEPTED": who != "guest",
			guestsURL + "/i#": who == "organiser", "matrix:u/alice:hs.test": who == "guest",
		} {
			if strings.Contains(text, what) != told {
				t.Errorf("to the %s the file says %s: %v\n%s", who, what, !told, text)
			}
		}
	}
}
