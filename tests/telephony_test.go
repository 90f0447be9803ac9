package tests

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/hstest/freeport"
	"github.com/roomline/roomline/internal/store/storetest"
)

// telecom is a mail server, a short message centre, and what the configuration says of them.
type telecom struct {
	mails *hstest.MailServer
	smsc  *hstest.SMSCServer
	// window is sms.window.
	window time.Duration
}

func newTelecom(t *testing.T) *telecom {
	t.Helper()
	return &telecom{hstest.Mailpit(t, hstest.MailServerOptions{}), hstest.SMSC(t), 10 * time.Second}
}

// section is the section telephony of a configuration, without limits that a test would reach.
func (c *telecom) section(mode string) map[string]any {
	return map[string]any{
		"mode":  mode,
		"email": map[string]any{"smtp": map[string]any{"address": c.mails.SMTP, "tls": "none", "from": "invitations@hs.test"}},
		"sms": map[string]any{
			"transport": "smpp", "sender": "Roomline", "window": c.window.String(),
			"smpp": map[string]any{"address": c.smsc.Address, "system_id": c.smsc.SystemID, "password": c.smsc.Password},
		},
		"limits": map[string]any{
			"per_member_per_hour": 100000, "per_hour": 100000, "per_day": 100000, "per_domain_per_hour": 100000, "per_block_per_hour": 100000,
			"budget_per_day": "100000", "redeemed_of": 0,
		},
	}
}

func (c *telecom) start(t *testing.T, processes int, mode string) (*hstest.Deployment, *hstest.User, string) {
	t.Helper()
	dep := hstest.Start(t, hstest.Options{Processes: processes, Configure: func(_ int, cfg map[string]any) {
		cfg["telephony"], cfg["public_base_url"] = c.section(mode), "https://chat.hs.test"
	}})
	dep.Operator(t).MustDo(t, http.MethodPut, "/_roomline/admin/v1/policies/messages", map[string]any{"countries": []string{"BE"}})
	alice := dep.User(t, "alice")
	return dep, alice, alice.MustCreateRoom(t, map[string]any{"name": "Plans"})
}

// mobile is a Belgian number, each in a block of its own.
func mobile(n int) string { return fmt.Sprintf("32470%06d", n*1000%1_000_000+n/1000) }

func guestMail(n int) string { return fmt.Sprintf("anna%d@example.com", n) }

// inviteOutside asks somebody outside into a room and returns the invitation's id.
func inviteOutside(t *testing.T, u *hstest.User, room, medium, address string) string {
	t.Helper()
	return u.MustDo(t, http.MethodPost, "/_roomline/client/v1/rooms/"+room+"/invitations", map[string]any{
		"medium": medium, "address": address, "language": "fr",
	}).Get("invitation_id").String()
}

func TestInvitationsReachMailboxAndPhone(t *testing.T) {
	t.Parallel()
	c := newTelecom(t)
	c.smsc.Receipts(t, 1, "DELIVRD")
	dep, alice, room := c.start(t, 2, "in_process")
	mail := inviteOutside(t, alice, room, "email", guestMail(1))
	text := inviteOutside(t, alice.On(1), room, "msisdn", "+"+mobile(1))
	if got := c.mails.WaitForMail(t, guestMail(1)); !strings.Contains(got.Text, "https://chat.hs.test/i#") {
		t.Errorf("the mail is %q", got.Text)
	}
	seen := c.smsc.Await(t, "the short message", func(s hstest.SMSCSeen) bool { return len(s.Texts) == 1 })
	if !strings.Contains(seen.Texts[0].Text, "https://chat.hs.test/i#") || !strings.HasSuffix(seen.Texts[0].To, mobile(1)) {
		t.Errorf("the short message is %+v", seen.Texts[0])
	}
	for id, want := range map[string]string{mail: "sent", text: "delivered"} {
		hstest.Eventually(t, "the inviter is told that it is "+want, func() bool {
			return alice.MustDo(t, http.MethodGet, "/_roomline/client/v1/invitations/"+id, nil).Get("state").String() == want
		})
	}
	log := dep.Operator(t).MustDo(t, http.MethodGet, "/_roomline/admin/v1/messages", nil)
	if n := len(log.Get("messages").Array()); n != 2 || strings.Contains(log.Raw, "i#") {
		t.Errorf("the log of messages: %s", log)
	}
	if spent := dep.Operator(t).MustDo(t, http.MethodGet, "/_roomline/admin/v1/messages/spending", nil); spent.Get("spent_today").String() != "0.10" && spent.Get("spent_today").String() != "0.20" {
		t.Errorf("spending: %s", spent)
	}
	if code, out := dep.Command(t, 0, "appservice", "list"); code != 0 || !strings.Contains(out, "@telephony:hs.test") || !strings.Contains(out, "built in") {
		t.Errorf("appservice list: %d %s", code, out)
	}
}

// outsideBridge registers a telephony bridge of its own and starts it. It asks process.
func (c *telecom) outsideBridge(t *testing.T, dep *hstest.Deployment, process int) *hstest.TelephonyBridge {
	t.Helper()
	text, err := exec.Command(hstest.Binary(t), "telephony", "registration").Output()
	if err != nil {
		t.Fatalf("telephony registration: %v", err)
	}
	var registration map[string]any
	if err := yaml.Unmarshal(text, &registration); err != nil {
		t.Fatal(err)
	}
	dep.Operator(t).MustDo(t, http.MethodPost, "/_roomline/operator/v1/appservices", registration)
	for _, token := range []string{"as_token", "hs_token"} {
		dep.Secret(registration[token].(string), "a token of the bridge")
	}
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return hstest.Telephony(t, map[string]any{
		"homeserver": dep.BaseURL(process), "as_token": registration["as_token"], "hs_token": registration["hs_token"], "listen": address,
		"telephony": c.section("in_process"),
	})
}

func TestTheOutboxSurvivesKillsInProcess(t *testing.T) {
	t.Parallel()
	outboxSurvivesKills(t, "in_process")
}

func TestTheOutboxSurvivesKillsExternal(t *testing.T) {
	t.Parallel()
	outboxSurvivesKills(t, "external")
}

// outboxSurvivesKills kills the bridge and the server with SIGKILL while invitations are sent: none is lost, and no short message comes
// twice within the window, which does not end before the test says so.
func outboxSurvivesKills(t *testing.T, mode string) {
	t.Helper()
	c := newTelecom(t)
	c.window = 24 * time.Hour
	dep, alice, room := c.start(t, 2, mode)
	var bridge *hstest.TelephonyBridge
	if mode == "external" {
		bridge = c.outsideBridge(t, dep, 0)
	}
	c.smsc.Behave(t, `{"delay":300}`) // so that some are under way when something is killed
	cycles, n := times(4, 100), 0
	for cycle := range cycles {
		for range 3 {
			n++
			inviteOutside(t, alice.On(n%2), room, "email", guestMail(n))
			inviteOutside(t, alice.On(n%2), room, "msisdn", "+"+mobile(n))
		}
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		if bridge != nil && cycle%2 == 0 {
			bridge.Kill9(t)
			bridge.Restart(t)
			continue
		}
		dep.Kill9(t, cycle/2%2)
		dep.Restart(t, cycle/2%2)
	}
	again := c.endWindow(t, dep)
	settled(t, dep)
	c.allArrived(t, n)
	t.Logf("%d kills, %d mails, %d short messages, %d of them again after the window", cycles, n, n, again)
}

// allArrived waits until every mail and every short message has come.
func (c *telecom) allArrived(t *testing.T, n int) {
	t.Helper()
	hstest.Eventually(t, "every short message has come", func() bool {
		come := map[string]bool{}
		for _, text := range c.smsc.Seen(t).Texts {
			come[strings.TrimPrefix(text.To, "+")] = true
		}
		return len(come) == n
	})
	hstest.Eventually(t, "every mail has come", func() bool {
		for i := 1; i <= n; i++ {
			if c.count(t, guestMail(i)) == 0 {
				return false
			}
		}
		return true
	})
}

// settled waits until nothing is to be sent any more: a lease of a bridge that was killed lapses.
func settled(t *testing.T, dep *hstest.Deployment) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for _, state := range []string{"queued", "sending"} {
		for {
			left := dep.Operator(t).MustDo(t, http.MethodGet, "/_roomline/admin/v1/messages?state="+state, nil).Get("messages").Array()
			if len(left) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d messages are still %s: %s", len(left), state, left[0])
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// count is how many mails have come to an address.
func (c *telecom) count(t *testing.T, to string) int {
	t.Helper()
	resp, err := http.Get("http://" + c.mails.API + "/api/v1/search?limit=5&query=" + "to:" + to)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var found struct {
		Messages []json.RawMessage `json:"messages"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		t.Fatal(err)
	}
	return len(found.Messages)
}

// endWindow waits until nothing can be sent any more within the window, when no short message may have come twice, and ends the window. It says
// how many messages are sent again after it: whether the network has got them is not known.
func (c *telecom) endWindow(t *testing.T, dep *hstest.Deployment) (again int64) {
	t.Helper()
	db := storetest.DB(t, dep.DSN)
	hstest.Eventually(t, "what is sent within the window", func() bool {
		var left int
		err := db.QueryRow(`
			SELECT count(*) FROM outbox WHERE state IN ('held', 'queued')
			   OR state = 'sending' AND (medium = 'email' OR lease_ts >= extract(epoch FROM clock_timestamp()) * 1000)`).Scan(&left)
		if err != nil {
			t.Fatal(err)
		}
		return left == 0
	})
	come := map[string]int{}
	for _, text := range c.smsc.Seen(t).Texts {
		if come[text.To]++; come[text.To] > 1 {
			t.Errorf("%s got the short message twice within the window", text.To)
		}
	}
	done, err := db.Exec(`UPDATE outbox SET sending_ts = sending_ts - $1 WHERE state = 'sending' AND medium = 'msisdn'`, c.window.Milliseconds())
	if err != nil {
		t.Fatal(err)
	}
	again, err = done.RowsAffected()
	if err != nil {
		t.Fatal(err)
	}
	return again
}
