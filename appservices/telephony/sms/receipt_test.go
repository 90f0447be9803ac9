package sms

import (
	"testing"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/outbox"
)

// Receipts write ids in their own way, come in other parameters, and before the answer.
func TestReceiptsOfAllKinds(t *testing.T) {
	t.Parallel()
	for name, behaviour := range map[string]string{
		"tlv": `"receiptStyle":"tlv"`, "payload": `"receiptStyle":"payload"`, "padded": `"receiptIds":"padded"`,
		"hex": `"receiptIds":"hex"`, "decimal": `"answerIds":"hex"`, "first": `"receipts":"first"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			centre := hstest.SMSC(t)
			centre.Behave(t, "{"+behaviour+"}")
			first := name == "first"
			c := connect(t, centre, func(cfg *Config) { cfg.SMPP.TwoConnections, cfg.Unicode = first, first })
			for i, number := range []string{"32470123456", "32470123457", "32470123458"} {
				m := numbered(int64(i), number)
				if first {
					centre.Await(t, "two binds", func(s hstest.SMSCSeen) bool { return len(s.Binds) == 2 })
					m = long(int64(i), number)
				}
				handed := c.mustGive(m)
				if o := c.await(handed.Reference); o.State != outbox.Delivered || handed.Reference == "" {
					t.Errorf("%+v", o)
				}
			}
		})
	}
}

func TestReceiptThatIsNoEndIsNoNews(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	c := connect(t, centre, nil)
	for _, style := range []string{"tlv", "text"} {
		centre.Behave(t, `{"receipts":"on request","receiptStyle":"`+style+`"}`)
		for i, state := range []string{"ENROUTE", "ACCEPTD", "UNKNOWN"} {
			c.mustGive(numbered(int64(i), "32470123456"))
			centre.Receipts(t, 0, state)
		}
	}
	centre.Await(t, "six answers", func(s hstest.SMSCSeen) bool { return len(s.ReceiptAnswers) == 6 })
	handed := c.mustGive(numbered(4, "32470123456"))
	centre.Receipts(t, 0, "EXPIRED")
	if o := c.await(handed.Reference); o.State != outbox.Failed || o.Problem != "expired" || c.count() != 1 {
		t.Errorf("%+v, %d receipts", o, c.count())
	}
}

// A process that did not send a message reports its receipt all the same: the server knows it.
func TestReceiptOfAnotherProcess(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	centre.Behave(t, `{"receipts":"on request"}`)
	first := connect(t, centre, nil)
	handed := first.mustGive(numbered(1, "32470123456"))
	first.stop()
	second := connect(t, centre, nil)
	centre.Await(t, "the second", func(s hstest.SMSCSeen) bool { return s.Bound == 1 && len(s.Binds) == 2 })
	centre.Receipts(t, 0, "DELIVRD")
	if o := second.await(handed.Reference); o.State != outbox.Delivered {
		t.Errorf("%+v", o)
	}
}

// The centre is told to send a receipt again that the server has not heard.
func TestReceiptIsTakenOnlyWhenTheServerHasIt(t *testing.T) {
	t.Parallel()
	centre := hstest.SMSC(t)
	centre.Behave(t, `{"receipts":"on request"}`)
	c := connect(t, centre, func(cfg *Config) { cfg.Unicode = true })
	handed := c.mustGive(long(1, "32470123456"))
	centre.Receipts(t, 2, "DELIVRD")
	centre.Await(t, "two answers", func(s hstest.SMSCSeen) bool { return len(s.ReceiptAnswers) == 2 })
	c.hear(false)
	centre.Receipts(t, 1, "DELIVRD")
	seen := centre.Await(t, "an answer", func(s hstest.SMSCSeen) bool { return len(s.ReceiptAnswers) == 3 })
	if seen.ReceiptAnswers[2] != 0x64 {
		t.Errorf("answered %#x although the server has not heard the receipt", seen.ReceiptAnswers[2])
	}
	c.hear(true)
	centre.Do(t, "again")
	if o := c.await(handed.Reference); o.State != outbox.Delivered {
		t.Errorf("%+v", o)
	}
	// And once more: it is known.
	centre.Await(t, "an answer to the receipt that came again", func(s hstest.SMSCSeen) bool { return len(s.ReceiptAnswers) == 4 })
	centre.Do(t, "again")
	seen = centre.Await(t, "answers", func(s hstest.SMSCSeen) bool { return len(s.ReceiptAnswers) == 5 })
	if got := c.got(handed.Reference); len(got) != 1 || seen.ReceiptAnswers[4] != 0 {
		t.Errorf("reported %d times, answered %v", len(got), seen.ReceiptAnswers)
	}
}
