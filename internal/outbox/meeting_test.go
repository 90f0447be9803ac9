package outbox_test

import (
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/outbox"
)

func meeting(change func(*outbox.Meeting)) *outbox.Meeting {
	start := time.Date(2026, 12, 1, 13, 0, 0, 0, time.UTC)
	m := &outbox.Meeting{
		UID: "k3j4@example.com", Title: "Besprechung", Timezone: "Europe/Brussels",
		StartTS: matrix.TimestampOf(start), EndTS: matrix.TimestampOf(start.Add(time.Hour)),
	}
	change(m)
	return m
}

func TestMeetingsAreChecked(t *testing.T) {
	if err := meeting(func(*outbox.Meeting) {}).Check(); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*outbox.Meeting){
		"uid":      func(m *outbox.Meeting) { m.UID = "a\r\nb" },
		"sequence": func(m *outbox.Meeting) { m.Sequence = -1 },
		"title":    func(m *outbox.Meeting) { m.Title = "a\r\nATTENDEE:mailto:x@example.com" },
		"start_ts": func(m *outbox.Meeting) { m.StartTS = -1 },
		"end_ts":   func(m *outbox.Meeting) { m.EndTS = m.StartTS },
		"timezone": func(m *outbox.Meeting) { m.Timezone = "../../../etc/passwd" },
	} {
		if err := meeting(change).Check(); err == nil || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, zone := range []string{"", "Local", "Europe/Bruxelles", "Europe//Brussels", "/etc/localtime", strings.Repeat("A", 300)} {
		if err := meeting(func(m *outbox.Meeting) { m.Timezone = zone }).Check(); err == nil {
			t.Errorf("the time zone %.40q was taken", zone)
		}
	}
}

func TestRecurrenceIsCheckedStrictly(t *testing.T) {
	for rule, ok := range map[string]bool{
		"FREQ=DAILY":                              true,
		"FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE":      true,
		"FREQ=WEEKLY;UNTIL=20270630T120000Z":      true,
		"FREQ=MONTHLY;BYDAY=-1FR;COUNT=12":        true,
		"FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=-1":    true,
		"FREQ=MONTHLY;BYMONTHDAY=15,-1":           true,
		"FREQ=YEARLY;BYMONTH=3;BYDAY=2SU;WKST=SU": true,

		"freq=daily":                                             false,
		"INTERVAL=2;FREQ=DAILY":                                  false,
		"FREQ=HOURLY":                                            false,
		"FREQ=DAILY;BYHOUR=1":                                    false,
		"FREQ=DAILY;COUNT=0":                                     false,
		"FREQ=DAILY;COUNT=1000000":                               false,
		"FREQ=DAILY;COUNT=+1":                                    false,
		"FREQ=DAILY;COUNT=3;COUNT=4":                             false,
		"FREQ=DAILY;FREQ=DAILY":                                  false,
		"FREQ=DAILY;COUNT=3;UNTIL=20270101T000000Z":              false,
		"FREQ=DAILY;UNTIL=20200101T000000Z":                      false,
		"FREQ=DAILY;UNTIL=20270101":                              false,
		"FREQ=WEEKLY;BYDAY=2MO":                                  false,
		"FREQ=MONTHLY;BYDAY=6MO":                                 false,
		"FREQ=MONTHLY;BYMONTHDAY=0":                              false,
		"FREQ=MONTHLY;BYMONTHDAY=32":                             false,
		"FREQ=WEEKLY;BYMONTHDAY=3":                               false,
		"FREQ=DAILY;BYSETPOS=1":                                  false,
		"FREQ=DAILY;":                                            false,
		"FREQ=DAILY;X":                                           false,
		"FREQ=DAILY\r\nATTENDEE:mailto:x@y":                      false,
		"FREQ=DAILY;INTERVAL=1\n":                                false,
		"FREQ=WEEKLY;BYDAY=" + strings.Repeat("MO,", 200) + "MO": false,
	} {
		if err := meeting(func(m *outbox.Meeting) { m.Recurrence = rule }).Check(); (err == nil) != ok {
			t.Errorf("%.60q: %v", rule, err)
		}
	}
}
