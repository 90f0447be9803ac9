package mail_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	ics "github.com/arran4/golang-ical"
	"github.com/teambition/rrule-go"

	"github.com/roomline/roomline/internal/outbox"
)

// calendarOf is the calendar of a mail, as it is written and as another library reads it.
func calendarOf(t testing.TB, m *outbox.Message) (string, *ics.Calendar) {
	t.Helper()
	written, err := writer(t).Write(m)
	if err != nil {
		t.Fatal(err)
	}
	read, err := ics.ParseCalendar(strings.NewReader(written.Calendar))
	if err != nil {
		t.Fatalf("%v\n%s", err, written.Calendar)
	}
	return written.Calendar, read
}

func value(e *ics.VEvent, name string) string {
	if p := e.GetProperty(ics.ComponentProperty(name)); p != nil {
		return p.Value
	}
	return ""
}

func TestCalendar(t *testing.T) {
	text, c := calendarOf(t, message("meeting", "fr", "guest@example.org"))
	e := c.Events()[0]
	for name, want := range map[string]string{
		"UID": "m7f3@chat.example.com", "SEQUENCE": "0", "SUMMARY": "Budget 2027", "STATUS": "CONFIRMED", "DTSTAMP": "20261128T120000Z",
		"DTSTART": "20261201T140000", "DTEND": "20261201T153000", "RRULE": "FREQ=WEEKLY;INTERVAL=2;COUNT=6", "CONFERENCE": secret, "URL": secret,
		"ATTENDEE": "mailto:guest@example.org", "ORGANIZER": "mailto:anna.peeters@peeters.example",
	} {
		if got := value(e, name); got != want {
			t.Errorf("%s is %q, want %q\n%s", name, got, want, text)
		}
	}
	if p := e.GetProperty("CONFERENCE"); p.ICalParameters["VALUE"][0] != "URI" {
		t.Errorf("CONFERENCE has %v", p.ICalParameters)
	}
	if p := e.GetProperty("ORGANIZER"); p.ICalParameters["CN"][0] != "Anna Peeters" || p.ICalParameters["SENT-BY"][0] != "mailto:invitations@telco.example" {
		t.Errorf("ORGANIZER has %v", p.ICalParameters)
	}
	if !strings.Contains(text, "BYMONTH=10;BYDAY=-1SU\r\n") || strings.Contains(text, "RDATE") {
		t.Errorf("the time zone is described by dates, and a rule holds:\n%s", text)
	}
	if !strings.Contains(text, "METHOD:REQUEST\r\n") || !strings.Contains(value(e, "DESCRIPTION"), secret) {
		t.Errorf("%s", text)
	}
	text, c = calendarOf(t, message("cancellation", "fr", "guest@example.org"))
	e = c.Events()[0]
	if value(e, "UID") != "m7f3@chat.example.com" || value(e, "SEQUENCE") != "2" || value(e, "STATUS") != "CANCELLED" || !strings.Contains(text, "METHOD:CANCEL\r\n") {
		t.Errorf("%s", text)
	}
	if strings.Contains(text, secret) {
		t.Errorf("a cancelled meeting has a link\n%s", text)
	}
}

// TestTimezonesAreDescribedRight asks the description of a zone, by another library's rules, what the clocks show for years, and compares.
func TestTimezonesAreDescribedRight(t *testing.T) {
	zones := []string{
		"Europe/Brussels", "Europe/London", "Europe/Dublin", "America/New_York", "America/Sao_Paulo", "America/Santiago", "Africa/Casablanca", "Asia/Kolkata",
		"Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Chatham", "Asia/Jerusalem", "Asia/Gaza", "Africa/Cairo", "UTC", "America/St_Johns", "Antarctica/Troll", "Etc/GMT+3",
	}
	for _, name := range zones {
		t.Run(name, func(t *testing.T) {
			location, err := time.LoadLocation(name)
			if err != nil {
				t.Fatal(err)
			}
			m := message("meeting", "en", "guest@example.org")
			m.Invitation.Meeting.Timezone = name
			text, c := calendarOf(t, m)
			for day := noon.AddDate(0, 0, -100); day.Before(noon.AddDate(10, 0, 0)); day = day.Add(61 * time.Hour) {
				local := day.In(location)
				_, want := local.Zone()
				// Within hours of a change some times are twice.
				if _, soon := local.Add(3 * time.Hour).Zone(); soon != want {
					continue
				}
				if _, before := local.Add(-3 * time.Hour).Zone(); before != want {
					continue
				}
				if got := offsetOf(t, c, local); got != want {
					t.Fatalf("%s: %d, want %d\n%.2000s", local, got, want, text)
				}
			}
		})
	}
}

// offsetOf is what a VTIMEZONE says of a local time: the observance that began last holds.
func offsetOf(t *testing.T, c *ics.Calendar, local time.Time) int {
	t.Helper()
	wall := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), local.Second(), 0, time.UTC)
	var latest time.Time
	var holds string
	for _, component := range c.Timezones()[0].SubComponents() {
		properties := map[string]string{}
		for _, p := range component.UnknownPropertiesIANAProperties() {
			properties[p.IANAToken] = p.Value
		}
		set := rrule.Set{}
		start, err := time.Parse("20060102T150405", properties["DTSTART"])
		if err != nil {
			t.Fatal(err)
		}
		set.RDate(start)
		if dates := properties["RDATE"]; dates != "" {
			for text := range strings.SplitSeq(dates, ",") {
				date, err := time.Parse("20060102T150405", text)
				if err != nil {
					t.Fatal(err)
				}
				set.RDate(date)
			}
		}
		if rule := properties["RRULE"]; rule != "" {
			option, err := rrule.StrToROption(rule)
			if err != nil {
				t.Fatal(err)
			}
			option.Dtstart = start
			r, err := rrule.NewRRule(*option)
			if err != nil {
				t.Fatal(err)
			}
			set.RRule(r)
		}
		if began := set.Before(wall, true); !began.IsZero() && began.After(latest) {
			latest, holds = began, properties["TZOFFSETTO"]
		}
	}
	var sign byte
	var hours, minutes int
	if _, err := fmt.Sscanf(holds, "%c%02d%02d", &sign, &hours, &minutes); err != nil {
		t.Fatalf("%q: %v", holds, err)
	}
	seconds := hours*3600 + minutes*60
	if sign == '-' {
		return -seconds
	}
	return seconds
}

// TestFoldingAndEscaping writes names of all kinds of characters, and reads them back.
func TestFoldingAndEscaping(t *testing.T) {
	alphabet := []rune("aZ09 ,;:\\\"'=^äéß漢字😀👩‍🚀\u0301.-/()")
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var b strings.Builder
		b.WriteString("x")
		for range random.IntN(90) {
			b.WriteRune(alphabet[random.IntN(len(alphabet))])
		}
		m := message("meeting", "de", "guest+%41@example.org")
		m.Invitation.Meeting.Title, m.Invitation.Inviter = b.String(), b.String()
		text, c := calendarOf(t, m)
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
			if len(line) > 75 || !utf8.ValidString(line) || strings.ContainsAny(line, "\r\n") {
				t.Fatalf("line of %d bytes: %q", len(line), line)
			}
		}
		e := c.Events()[0]
		name := cleaned(b.String())
		if name == "" {
			continue // it began as an address does
		}
		if got := value(e, "SUMMARY"); got != name {
			t.Fatalf("%q was read as %q\n%s", name, got, text)
		}
		if got := e.GetProperty("ORGANIZER").ICalParameters["CN"][0]; got != strings.NewReplacer(`"`, "'", `\`, "/", "^", "ˆ").Replace(name) {
			t.Fatalf("%q was read as %q\n%s", name, got, text)
		}
		if got := value(e, "ATTENDEE"); got != "mailto:guest+%2541@example.org" {
			t.Fatalf("the attendee is %q", got)
		}
	}
}

// TestMeetingsThatAreNoneAreNotSent: what inviters wrote is checked here, too.
func TestMeetingsThatAreNoneAreNotSent(t *testing.T) {
	for name, change := range map[string]func(*outbox.Meeting){
		"rule": func(m *outbox.Meeting) { m.Recurrence = "FREQ=DAILY\r\nATTACH:https://evil.example" },
		"uid":  func(m *outbox.Meeting) { m.UID = "x\r\nATTACH:https://evil.example" },
		"zone": func(m *outbox.Meeting) { m.Timezone = "Europe/Brussels\r\nX:Y" },
		"end":  func(m *outbox.Meeting) { m.EndTS = 0 },
	} {
		m := message("meeting", "en", "guest@example.org")
		change(m.Invitation.Meeting)
		if written, err := writer(t).Write(m); err == nil {
			t.Errorf("%s: %s", name, written.Calendar)
		}
	}
}
