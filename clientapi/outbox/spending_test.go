package outbox_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/clientapi/outbox"
	"github.com/roomline/roomline/internal/httpapi"
	"github.com/roomline/roomline/internal/matrix"
	message "github.com/roomline/roomline/internal/outbox"
)

func TestSpendingStopsAtTheBudgetInAllProcessesTogether(t *testing.T) {
	t.Parallel()
	const budget, price = 10 * aUnit, aUnit / 4 // an invitation counts as three parts: 0.75
	w := newWorld(t, func(c *outbox.Config) {
		c.Limits.Budget, c.Limits.Price = budget, price
		c.Limits.SenderPerHour, c.Limits.OrganisationPerHour, c.Limits.BlockPerHour = 1000, 1000, 1000
	})
	for i := range manyWays {
		w.exec(t, `INSERT INTO users (user_id, organisation_id, created_ts) VALUES ('@m' || $1::text || ':a', 1, 0)`, fmt.Sprint(i))
	}
	var parallel sync.WaitGroup
	refused := make(chan error, manyWays*4)
	for i := range manyWays {
		parallel.Go(func() {
			for k := range 4 {
				d := w.sms(fmt.Sprintf("%05d", i*100+k))
				d.Sender = matrix.UserID(fmt.Sprintf("@m%d:a", i))
				if _, err := w.send(i%3, d); err != nil {
					refused <- err
				}
			}
		})
	}
	parallel.Wait()
	close(refused)
	for err := range refused {
		if e, ok := matrix.AsError(err); !ok || e.Code != limited || !strings.Contains(e.Message, "budget") {
			t.Fatalf("refused with %v", err)
		}
	}
	spent := w.number(t, `SELECT cost FROM outbox_spending WHERE organisation_id = 1 AND medium = 'msisdn'`)
	sent := w.number(t, `SELECT count(*) FROM outbox`)
	if one := int64(3 * price); spent < budget || spent >= budget+one || spent != sent*one {
		t.Fatalf("spent %d of %d with %d messages", spent, budget, sent)
	}
	if n := w.number(t, audited, "messages.budget"); n != 3 {
		t.Errorf("%d alerts, want those of 50, 80 and 100 percent", n)
	}

	// What was not sent is paid back; what took fewer parts as well.
	list := w.lease(t, 0, 2)
	w.report(t, 0, message.Outcome{ID: list[0].ID, Lease: list[0].Lease, State: message.Failed, Problem: "no such number"},
		message.Outcome{ID: list[1].ID, Lease: list[1].Lease, State: message.Sent, Parts: 1})
	if now := w.number(t, `SELECT cost FROM outbox_spending WHERE organisation_id = 1 AND medium = 'msisdn'`); now != spent-5*price {
		t.Errorf("%d are spent, after %d", now, spent)
	}
	w.mustSend(t, w.sms("99999"))

	// Another organisation has a budget of its own, and so has the next day.
	other := w.sms("00000")
	other.Organisation, other.Sender = 2, "@alice:b"
	w.mustSend(t, other)
	w.mustRefuse(t, "over the budget", w.sms("99997"), limited, "budget")
	w.clock.forward(13 * time.Hour)
	w.mustSend(t, w.sms("99997"))
}

// spending is what administrators of organisation 1 see.
func (w *world) spending(t *testing.T) gjson.Result {
	t.Helper()
	status, body := w.askAs(t, 0, &httpapi.Requester{User: "@root:a", Org: 1, Role: httpapi.RoleAuditor}, http.MethodGet, "/_roomline/admin/v1/messages/spending", nil)
	if status != http.StatusOK {
		t.Fatalf("spending: %d %s", status, body)
	}
	return gjson.ParseBytes(body)
}
