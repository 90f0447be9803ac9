package outbox_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/internal/matrix"
	message "github.com/roomline/roomline/internal/outbox"
)

// policy has organisation 1 decide.
func (w *world) policy(t *testing.T, body string) {
	t.Helper()
	if _, err := outbox.ParsePolicy([]byte(body)); err != nil {
		t.Fatal(err)
	}
	w.exec(t, `INSERT INTO organisation_policies (organisation_id, name, value) VALUES (1, 'messages', $1)
		ON CONFLICT (organisation_id, name) DO UPDATE SET value = excluded.value`, []byte(body))
}

func TestTheOperatorsCountriesBoundThePolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *outbox.Config) { c.Limits.Countries, c.Limits.BudgetMost = []string{"BE", "FR"}, 30*aUnit })
	w.policy(t, `{"countries":["FR","GB"],"per_hour":100000,"budget_per_day":"5000"}`)
	d := w.sms("")
	d.Address = "447400123456"
	w.mustRefuse(t, "a country that the operator does not allow", d, denied, "country")
	if answer := w.spending(t); answer.Get("budget_per_day").String() != "30.00" {
		t.Errorf("the budget is %s", answer)
	}
}

func TestQuietHours(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.policy(t, `{"quiet_hours":{"from":"22:00","to":"07:30","timezone":"Europe/Brussels","email":false}}`)
	w.clock.forward(9*time.Hour + 5*time.Minute) // 21:05 UTC, 22:05 in Brussels
	held := w.mustSend(t, w.sms("23456"))
	w.mustSend(t, w.mail("anna@example.com"))
	w.mustSend(t, w.code(message.Msisdn, "32470999999"))
	list := w.lease(t, 0, 10)
	if len(list) != 2 || list[0].ID == held || list[1].ID == held || w.state(t, held) != "held sealed" {
		t.Fatalf("handed out %+v, and the message is %s", list, w.state(t, held))
	}
	var invitation message.Message
	w.clock.forward(9*time.Hour + 24*time.Minute) // 7:29
	if list := w.lease(t, 0, 10); len(list) != 0 && list[0].ID == held {
		t.Fatal("sent before the quiet hours were over")
	}
	w.clock.forward(time.Minute)
	if list := w.lease(t, 0, 10); len(list) != 1 || list[0].ID != held {
		t.Fatalf("after the quiet hours: %+v", list)
	} else {
		invitation = list[0]
	}
	// A second attempt does not come at night, either.
	w.report(t, 0, message.Outcome{ID: held, Lease: invitation.Lease, State: message.Queued, Retry: true, RetryAfter: (15 * time.Hour).Milliseconds()})
	if got := w.state(t, held); got != "held sealed" {
		t.Fatalf("state %s", got)
	}
	w.clock.forward(15*time.Hour + 5*time.Minute) // 22:35
	if list := w.lease(t, 0, 10); len(list) != 0 {
		t.Fatal("sent again at night")
	}
	w.clock.forward(9 * time.Hour)
	if list := w.lease(t, 0, 10); len(list) != 1 {
		t.Fatal("not sent again in the morning")
	}
}

func TestPoliciesAreReadStrictly(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		`{"countries":["Belgium"]}`, `{"deny_prefixes":["+32"]}`, `{"budget_per_day":"-1"}`, `{"budget_per_day":"1.2345678"}`, `{"per_hour":-1}`,
		`{"quiet_hours":{"from":"22","to":"07:00","timezone":"Europe/Brussels"}}`, `{"quiet_hours":{"from":"22:00","to":"07:00","timezone":"Mars"}}`,
		`{"quiet_hours":{"from":"22:00","to":"22:00","timezone":"Europe/Brussels"}}`, `{"quiet_hours":{"from":"22:00","to":"07:00"}}`,
	} {
		_, err := outbox.ParsePolicy([]byte(bad))
		if e, ok := matrix.AsError(err); !ok || e.Code != matrix.ErrBadJSON {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for text, want := range map[string]int64{"20": 20 * aUnit, "0.075": 75000, "12.50": 12_500_000} {
		got, err := outbox.ParseMoney(text)
		if err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	if text := outbox.FormatMoney(75000) + " " + outbox.FormatMoney(20*aUnit) + " " + outbox.FormatMoney(12_500_000); text != "0.075 20.00 12.50" {
		t.Error(text)
	}
	w := newWorld(t, nil)
	text, err := json.Marshal(w.servers[0].DefaultPolicy())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.ParsePolicy(text); err != nil {
		t.Errorf("the default is none that could be decided: %s: %v", text, err)
	}
}
