package guests_test

import (
	"context"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

// startWithBridge starts a deployment whose codes the test takes itself.
func startWithBridge(t *testing.T, processes int) *side {
	t.Helper()
	with := hstest.WithBridge(t)
	return start(t, hstest.Options{Processes: processes, Configure: func(_ int, c map[string]any) {
		with(c)
		c["public_base_url"] = "https://guests.example"
	}})
}

// asked asks for a code for an invitation, and returns what redeeming needs of it.
func (s *side) asked(t *testing.T, process int, secret, clientSecret string) (sid, code string) {
	t.Helper()
	r := s.ask(t, process, "POST", codePath, map[string]any{"secret": secret, "client_secret": clientSecret, "send_attempt": 1, "language": "fr"})
	if r.Status != 200 || r.JSON().Get("sid").String() == "" {
		t.Fatalf("code: %s", r)
	}
	leased := s.AskAsBridge(t, process, "lease", map[string]any{"media": []string{"email", "msisdn"}, "max": 20, "wait_ms": 0})
	if len(leased.Get("messages").Array()) != 1 {
		t.Fatalf("the bridge's lease: %s", leased)
	}
	m := leased.Get("messages.0")
	// It has gone out, and is not given to the next who asks.
	s.AskAsBridge(t, process, "outcomes", map[string]any{"outcomes": []any{map[string]any{"id": m.Get("id").Int(), "lease": m.Get("lease").String(), "state": "delivered"}}})
	code = m.Get("code.code").String()
	if len(code) != 6 || m.Get("code.host").String() != "guests.example" || m.Get("language").String() != "fr" {
		t.Fatalf("the code's message is %s", m)
	}
	s.Secret(code+"x", "a code")
	return r.JSON().Get("sid").String(), code
}

func TestAnInvitationMayAskForACode(t *testing.T) {
	t.Parallel()
	s := startWithBridge(t, 1)
	secret, _ := s.invite(t, invitation{medium: "email", address: "anna@example.com", proof: true})
	if opened := s.ask(t, 0, "POST", openPath, map[string]any{"secret": secret}); !opened.JSON().Get("proof").Bool() {
		t.Fatalf("open: %s", opened)
	}
	body := map[string]any{"secret": secret, "name": "Anna", "attempt": newAttempt()}
	if r := s.ask(t, 0, "POST", redeemPath, body); r.Status != 403 || r.ErrCode() != "M_THREEPID_AUTH_FAILED" || !r.JSON().Get(`org\.roomline\.code_needed`).Bool() {
		t.Fatalf("redeem without a code: %s", r)
	}
	sid, code := s.asked(t, 0, secret, "secret")
	with := func(sid, clientSecret, code string) map[string]any {
		return map[string]any{"secret": secret, "name": "Anna", "attempt": body["attempt"], "sid": sid, "client_secret": clientSecret, "code": code}
	}
	wrong := "000000"
	if code == wrong {
		wrong = "000001"
	}
	var first string
	for _, b := range []map[string]any{with(sid, "secret", wrong), with("unknown", "secret", code), with(sid, "another", code), with(sid, "secret", "")} {
		r := s.ask(t, 0, "POST", redeemPath, b)
		if first == "" {
			first = r.String()
		}
		if r.Status != 403 || r.ErrCode() != "M_THREEPID_AUTH_FAILED" || r.String() != first {
			t.Errorf("redeem with a wrong code: %s, not %s", r, first)
		}
	}
	answer := s.ask(t, 0, "POST", redeemPath, with(sid, "secret", code))
	g := s.redeemed(t, answer)
	if mark := s.member(t, g.ID).Get(`content.org\.roomline\.guest`); !mark.Get("verified").Bool() {
		t.Errorf("a guest who gave a code is marked %s", mark)
	}
	// The same attempt is answered again, although the code is used up.
	if again := s.ask(t, 0, "POST", redeemPath, with(sid, "secret", code)); string(again.Body) != string(answer.Body) {
		t.Errorf("again: %s", again)
	}
	// For another attempt it is.
	if r := s.ask(t, 0, "POST", redeemPath, map[string]any{"secret": secret, "name": "Eve", "attempt": newAttempt(), "sid": sid, "client_secret": "secret", "code": code}); r.Status != 403 {
		t.Errorf("a code is good twice: %s", r)
	}
}

// TestAGuestHasTwoSessions: LIM-14. The guest of a used invitation comes back with a code, on another device; a third device is one instead of the first.
func TestAGuestHasTwoSessions(t *testing.T) {
	t.Parallel()
	s := startWithBridge(t, 2)
	secret, id := s.invite(t, invitation{medium: "email", address: "anna@example.com"})
	g := s.redeemed(t, s.ask(t, 0, "POST", redeemPath, map[string]any{"secret": secret, "name": "Anna", "attempt": newAttempt()}))
	opened := s.ask(t, 1, "POST", openPath, map[string]any{"secret": secret})
	if opened.JSON().Get("state").String() != "used" || !opened.JSON().Get("proof").Bool() {
		t.Fatalf("open of a used invitation: %s", opened)
	}
	back := func(process int, clientSecret string) *hstest.User {
		t.Helper()
		sid, code := s.asked(t, process, secret, clientSecret)
		body := map[string]any{"secret": secret, "attempt": newAttempt(), "sid": sid, "client_secret": clientSecret, "code": code}
		r := s.ask(t, process, "POST", redeemPath, body)
		u := s.redeemed(t, r)
		if u.ID != g.ID || r.JSON().Get("display_name").String() != "Anna (guest)" {
			t.Errorf("the guest comes back as %s", r)
		}
		return u
	}
	second := back(1, "second")
	g.On(1).MustSendText(t, s.room, "from the first")
	second.MustSendText(t, s.room, "from the second")
	if !s.member(t, g.ID).Get(`content.org\.roomline\.guest.verified`).Bool() {
		t.Error("a guest who came back with a code is not verified")
	}
	third := back(0, "third")
	third.MustSendText(t, s.room, "from the third")
	// The other process hears of it a moment later.
	hstest.Eventually(t, "one session goes", func() bool {
		alive := 0
		for _, u := range []*hstest.User{g, second, third} {
			if r, err := u.On(1).Do(context.Background(), "GET", hstest.Path("account", "whoami"), nil); err == nil && r.Status == 200 {
				alive++
			}
		}
		return alive == 2
	})
	third.On(1).MustSendText(t, s.room, "still here")
	if n := s.number(t, `SELECT uses FROM invitations WHERE invitation_id = $1`, id); n != 1 {
		t.Errorf("coming back has used the invitation %d times", n)
	}
	// When the guest has ended, a code helps nobody.
	s.host.MustDo(t, "DELETE", guestsPath+g.ID, nil)
	if r := s.ask(t, 0, "POST", codePath, map[string]any{"secret": secret, "client_secret": "x", "send_attempt": 1}); r.Status != 403 || r.JSON().Get(`org\.roomline\.state`).String() != "used" {
		t.Errorf("a code for the invitation of a guest who has ended: %s", r)
	}
}
