package guests_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

func TestAGuestComesByALink(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	s.host.MustSendText(t, s.room, "welcome")
	secret, id := s.invite(t, invitation{medium: "email", address: "anna@example.com"})

	opened := s.ask(t, 0, "POST", openPath, map[string]any{"secret": secret})
	if j := opened.JSON(); opened.Status != 200 || j.Get("state").String() != "open" || j.Get("inviter.name").String() != "The Host" ||
		j.Get("room.name").String() != "Our Room" || j.Get("hint").String() != "a…@e…" || j.Get("proof").Bool() {
		t.Fatalf("open: %s", opened)
	}
	if strings.Contains(string(opened.Body), "anna@") {
		t.Errorf("open tells the address: %s", opened)
	}
	if s.number(t, `SELECT opened_ts FROM invitations WHERE invitation_id = $1`, id) == 0 {
		t.Error("nobody noted that the link was opened")
	}

	answer := s.ask(t, 0, "POST", redeemPath, map[string]any{"secret": secret, "name": "Anna", "attempt": newAttempt()})
	g := s.redeemed(t, answer)
	if !strings.HasPrefix(g.ID, "@guest-") || !strings.HasSuffix(g.ID, ":"+s.ServerName) {
		t.Errorf("a guest is called %s", g.ID)
	}
	if j := answer.JSON(); j.Get("room_id").String() != s.room || j.Get("display_name").String() != "Anna (guest)" || j.Get("role").String() != "participant" {
		t.Errorf("redeem: %s", answer)
	}
	if !g.MustDo(t, "GET", hstest.Path("account", "whoami"), nil).Get("is_guest").Bool() {
		t.Error("a guest is none")
	}
	event := g.MustSendText(t, s.room, "hello")
	s.host.MustSyncUntil(t, "", hstest.TimelineHas(s.room, event))

	content := s.member(t, g.ID).Get("content")
	mark := content.Get(`org\.roomline\.guest`)
	if content.Get("displayname").String() != "Anna (guest)" || mark.Get("address").String() != "anna@example.com" || mark.Get("medium").String() != "email" ||
		mark.Get("inviter").String() != s.host.ID || mark.Get("verified").Bool() || mark.Get("expires_ts").Int() == 0 {
		t.Errorf("the member event says %s", content)
	}
	if got := s.host.MustDo(t, "GET", hstest.Path("profile", g.ID), nil).Get(`org\.roomline\.guest.address`).String(); got != "anna@example.com" {
		t.Errorf("the profile's mark says %q", got)
	}
	if n := s.number(t, `SELECT count(*) FROM audit_log WHERE action = 'guest.create' AND target = $1`, g.ID); n != 1 {
		t.Errorf("%d entries of the audit log tell of the guest", n)
	}
	again := s.ask(t, 0, "POST", redeemPath, map[string]any{"secret": secret, "name": "Eve", "attempt": newAttempt()})
	if again.Status != 403 || again.ErrCode() != "M_THREEPID_AUTH_FAILED" || !again.JSON().Get(`org\.roomline\.code_needed`).Bool() {
		t.Errorf("a used invitation of an address asks for no code: %s", again)
	}
}

// TestOneOfAThousandWins: ENT-05.
func TestOneOfAThousandWins(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 3})
	secret, _ := s.invite(t, invitation{})
	var won, lost atomic.Int64
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			r, err := s.Do(context.Background(), i%3, "", "POST", redeemPath, map[string]any{"secret": secret, "name": "Anna", "attempt": newAttempt()})
			switch {
			case err != nil:
				t.Error(err)
			case r.Status == 200:
				s.Secret(r.JSON().Get("access_token").String(), "an access token")
				won.Add(1)
			case r.Status == 403 && r.JSON().Get(`org\.roomline\.state`).String() == "used":
				lost.Add(1)
			default:
				t.Errorf("redeem: %s", r)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 || lost.Load() != 999 {
		t.Errorf("%d have won, %d were told that it is used", won.Load(), lost.Load())
	}
	if n := s.number(t, `SELECT count(*) FROM guests`); n != 1 {
		t.Errorf("there are %d guests", n)
	}
	if n := s.number(t, `SELECT count(*) FROM users WHERE guest`); n != 1 {
		t.Errorf("there are %d accounts of guests", n)
	}
}

func TestAsManyComeAsAreInvited(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 2})
	secret, _ := s.invite(t, invitation{uses: 5})
	var won atomic.Int64
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			r, err := s.Do(context.Background(), i%2, "", "POST", redeemPath, map[string]any{"secret": secret, "name": "Anna", "attempt": newAttempt()})
			if err == nil && r.Status == 200 {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 5 {
		t.Errorf("%d of 5 came", won.Load())
	}
	if n := s.number(t, `SELECT count(*) FROM memberships JOIN guests USING (user_id) WHERE membership = 'join'`); n != 5 {
		t.Errorf("%d are in the room", n)
	}
}

func TestOneAttemptManyTimesIsOneGuest(t *testing.T) {
	s := start(t, hstest.Options{Processes: 2})
	secret, id := s.invite(t, invitation{uses: 5})
	attempt := newAttempt()
	var all sync.WaitGroup
	var mu sync.Mutex
	guests := make(map[string]int)
	for i := range 20 {
		all.Go(func() {
			r, err := s.Do(context.Background(), i%2, "", "POST", redeemPath, map[string]any{"secret": secret, "name": "Anna", "attempt": attempt})
			if err != nil || r.Status != 200 {
				t.Errorf("redeem: %v %s", err, r)
				return
			}
			s.Secret(r.JSON().Get("access_token").String(), "an access token")
			mu.Lock()
			defer mu.Unlock()
			guests[r.JSON().Get("user_id").String()]++
		})
	}
	all.Wait()
	if len(guests) != 1 {
		t.Errorf("one attempt made %v", guests)
	}
	if n := s.number(t, `SELECT uses FROM invitations WHERE invitation_id = $1`, id); n != 1 {
		t.Errorf("%d uses are counted", n)
	}
	for _, action := range []string{"guest.create", "invitation.redeem"} {
		if n := s.number(t, `SELECT count(*) FROM audit_log WHERE action = $1`, action); n != 1 {
			t.Errorf("the audit log has %d × %s", n, action)
		}
	}
}

func TestALostAnswerIsGivenAgain(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 2})
	secret, _ := s.invite(t, invitation{uses: 10})
	body := map[string]any{"secret": secret, "name": "Anna", "attempt": newAttempt()}
	answers := make([]string, 20)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			r, err := s.Do(context.Background(), i%2, "", "POST", redeemPath, body)
			if err != nil || r.Status != 200 {
				t.Errorf("redeem: %v %s", err, r)
				return
			}
			s.Secret(r.JSON().Get("access_token").String(), "an access token")
			answers[i] = string(r.Body)
		})
	}
	all.Wait()
	for _, a := range answers {
		if a != answers[0] {
			t.Fatalf("the same attempt is answered\n%s\nand\n%s", answers[0], a)
		}
	}
	if n := s.number(t, `SELECT count(*) FROM guests`); n != 1 {
		t.Errorf("one attempt has made %d guests", n)
	}
	g := s.redeemed(t, s.ask(t, 1, "POST", redeemPath, body))
	g.On(1).MustSendText(t, s.room, "hello")

	// Who has signed out is not let in again by what the browser has kept.
	g.MustDo(t, "POST", hstest.Path("logout"), map[string]any{})
	if r := s.ask(t, 0, "POST", redeemPath, body); r.Status != 403 || r.JSON().Get(`org\.roomline\.state`).String() != "used" {
		t.Errorf("an attempt after signing out: %s", r)
	}
}

// A device that has to upload its keys first comes in with the same attempt, if the invitation still holds then.
func TestAPreparedGuestEntersByTheSameAttempt(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 2})
	other := s.User(t, "other")
	s.host.MustInvite(t, s.room, other)
	other.MustJoin(t, s.room)
	prepare := func(t *testing.T, i invitation) (g *hstest.User, id string, enter func() hstest.Response) {
		secret, id := s.invite(t, i)
		body := map[string]any{"secret": secret, "name": "Anna", "attempt": newAttempt(), "prepare": true}
		for range 2 {
			r := s.ask(t, 0, "POST", redeemPath, body)
			if !r.JSON().Get("prepared").Bool() {
				t.Fatalf("prepare: %s", r)
			}
			g = s.redeemed(t, r)
		}
		if n := s.number(t, `SELECT count(*) FROM memberships WHERE user_id = $1`, g.ID); n != 0 {
			t.Errorf("a prepared guest has %d memberships", n)
		}
		return g, id, func() hstest.Response {
			delete(body, "prepare")
			return s.ask(t, 1, "POST", redeemPath, body)
		}
	}
	refuses := func(t *testing.T, g *hstest.User, r hstest.Response, state string) {
		if r.Status != 403 || r.JSON().Get(`org\.roomline\.state`).String() != state {
			t.Errorf("enter: %s", r)
		}
		if n := s.number(t, `SELECT count(*) FROM memberships WHERE user_id = $1 AND membership = 'join'`, g.ID); n != 0 {
			t.Error("the guest is in the room")
		}
		refused(t, g, "M_UNKNOWN_TOKEN")
	}
	t.Run("enters", func(t *testing.T) {
		g, _, enter := prepare(t, invitation{uses: 2})
		g.MustFail(t, 403, "M_FORBIDDEN", "GET", hstest.Path("rooms", s.room, "messages")+"?dir=b", nil)
		for range 2 {
			r := enter()
			if r.JSON().Get("prepared").Bool() || r.JSON().Get("access_token").String() != g.AccessToken {
				t.Errorf("enter: %s", r)
			}
		}
		g.MustSendText(t, s.room, "hello")
		if n := s.number(t, `SELECT count(*) FROM audit_log WHERE action = 'invitation.redeem' AND actor = $1`, g.ID); n != 1 {
			t.Errorf("the audit log has %d entries of one redemption", n)
		}
	})
	t.Run("withdrawn meanwhile", func(t *testing.T) {
		g, id, enter := prepare(t, invitation{})
		s.host.MustDo(t, "DELETE", "/_roomline/client/v1/invitations/"+id, nil)
		refuses(t, g, enter(), "revoked")
	})
	t.Run("the inviter left meanwhile", func(t *testing.T) {
		g, _, enter := prepare(t, invitation{by: other.ID})
		other.MustLeave(t, s.room)
		refuses(t, g, enter(), "revoked")
	})
	t.Run("after more than ten minutes", func(t *testing.T) {
		g, _, enter := prepare(t, invitation{})
		s.exec(t, `UPDATE guests SET created_ts = $2 WHERE user_id = $1`, g.ID, time.Now().Add(-11*time.Minute).UnixMilli())
		hstest.Eventually(t, "who does not enter is ended", func() bool {
			return s.number(t, `SELECT count(*) FROM guests WHERE user_id = $1 AND ended_ts IS NOT NULL`, g.ID) == 1
		})
		refuses(t, g, enter(), "expired")
	})
}

// Whatever moment a process dies in, the same attempt ends in one guest who is in the room.
func TestAKilledProcessLosesNoGuest(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 2})
	for i := range 12 {
		secret, id := s.invite(t, invitation{})
		body := map[string]any{"secret": secret, "name": "Anna", "attempt": newAttempt()}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			_, _ = s.Do(ctx, 0, "", "POST", redeemPath, body)
		}()
		time.Sleep(time.Duration(i) * time.Millisecond)
		s.Kill9(t, 0)
		<-asked
		cancel()
		g := s.redeemed(t, s.ask(t, 1, "POST", redeemPath, body))
		g.On(1).MustSendText(t, s.room, "hello")
		if n := s.number(t, `SELECT count(*) FROM guests WHERE invitation_id = $1`, id); n != 1 {
			t.Errorf("there are %d guests", n)
		}
		s.Restart(t, 0)
	}
}

// Who ends before the room's door has opened is not in the room for ever, whatever it is that ends the guest.
func TestAGuestWhoEndsOnTheWayIn(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	org := s.Organisation(t, "Other", "other.test")
	member := org.User(t, "member")
	theirs := member.MustCreateRoom(t, map[string]any{"name": "Theirs"})
	for name, c := range map[string]struct {
		invitation invitation
		end        func(t *testing.T, id, guest string)
		want       string
	}{
		"time": {invitation{lifetime: time.Millisecond}, func(*testing.T, string, string) {}, "expired"},
		"removed": {invitation{}, func(t *testing.T, _, guest string) {
			s.host.MustDo(t, "DELETE", guestsPath+guest, nil)
		}, "expired"},
		"withdrawn": {invitation{}, func(t *testing.T, id, _ string) {
			s.exec(t, `UPDATE invitations SET ended = 'revoked', ended_ts = 1 WHERE invitation_id = $1`, id)
		}, "revoked"},
		"account closed": {invitation{}, func(t *testing.T, _, guest string) {
			s.exec(t, `UPDATE users SET deactivated_ts = 1 WHERE user_id = $1`, guest)
		}, "expired"},
		"organisation suspended": {invitation{by: member.ID, room: theirs}, func(t *testing.T, _, _ string) {
			s.Operator(t).MustDo(t, "POST", "/_roomline/operator/v1/organisations/"+strconv.FormatInt(org.ID, 10)+"/suspend", map[string]any{})
		}, "expired"},
	} {
		t.Run(name, func(t *testing.T) { s.endsOnTheWayIn(t, c.invitation, c.end, c.want) })
	}
}

// endsOnTheWayIn ends a guest who is held up before the room.
func (s *side) endsOnTheWayIn(t *testing.T, i invitation, end func(t *testing.T, id, guest string), want string) {
	door, err := s.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = door.Rollback() })
	if _, err := door.Exec(`LOCK TABLE blocked_rooms IN ACCESS EXCLUSIVE MODE`); err != nil { // whoever comes in is held up there
		t.Fatal(err)
	}
	secret, id := s.invite(t, i)
	answer := make(chan hstest.Response, 1)
	go func() {
		r, err := s.Do(context.Background(), 0, "", "POST", redeemPath, map[string]any{"secret": secret, "name": "Anna", "attempt": newAttempt()})
		if err != nil {
			t.Error(err)
		}
		answer <- r
	}()
	var guest string
	hstest.Eventually(t, "there is a guest", func() bool {
		return s.db.QueryRow(`SELECT user_id FROM guests WHERE invitation_id = $1`, id).Scan(&guest) == nil
	})
	end(t, id, guest)
	hstest.Eventually(t, "the guest ends", func() bool {
		return s.number(t, `SELECT count(*) FROM guests WHERE user_id = $1 AND ended_ts IS NOT NULL`, guest) == 1
	})
	if err := door.Rollback(); err != nil {
		t.Fatal(err)
	}
	if r := <-answer; r.Status != 403 || r.JSON().Get(`org\.roomline\.state`).String() != want {
		t.Errorf("redeem: %s", r)
	}
	var membership string
	if err := s.db.QueryRow(`SELECT membership FROM memberships WHERE user_id = $1`, guest).Scan(&membership); err != nil || membership != "leave" {
		t.Errorf("a guest who has ended: %v %q", err, membership)
	}
}

// The process that would have looked again is dead: another one finds whoever has ended and is in a room.
func TestAGuestWhoEndedOnTheWayInIsTakenOut(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	g := s.guest(t, invitation{})
	s.exec(t, `UPDATE guests SET expires_ts = $2, ended_ts = $2 WHERE user_id = $1`, g.ID, time.Now().UnixMilli())
	hstest.Eventually(t, "the guest has left", func() bool { return s.member(t, g.ID).Get("content.membership").String() == "leave" })
}

func TestAnInvitationSaysWhyItDoesNotWork(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	expired, _ := s.invite(t, invitation{expires: -time.Minute})
	early, _ := s.invite(t, invitation{opens: time.Hour})
	revoked, id := s.invite(t, invitation{})
	s.exec(t, `UPDATE invitations SET ended = 'revoked', ended_ts = 1 WHERE invitation_id = $1`, id)
	member, id := s.invite(t, invitation{})
	s.exec(t, `UPDATE invitations SET ended = 'member', ended_ts = 1 WHERE invitation_id = $1`, id)
	over, _ := s.invite(t, invitation{meeting: `{"title":"T","start_ts":1,"end_ts":2,"timezone":"Europe/Brussels"}`})
	used, _ := s.invite(t, invitation{})
	s.redeemed(t, s.ask(t, 0, "POST", redeemPath, map[string]any{"secret": used, "name": "Anna", "attempt": newAttempt()}))

	for want, secret := range map[string]string{"expired": expired, "early": early, "revoked": revoked, "member": member, "used": used, "expired ": over} {
		want = strings.TrimSpace(want)
		opened := s.ask(t, 0, "POST", openPath, map[string]any{"secret": secret})
		if opened.Status != 200 || opened.JSON().Get("state").String() != want || opened.JSON().Get("organisation.name").String() == "" {
			t.Errorf("open of one that is %s: %s", want, opened)
		}
		if told := opened.JSON().Get("room.name").Exists(); told != (want == "early" || want == "used") {
			t.Errorf("open of one that is %s tells the room: %s", want, opened)
		}
		r := s.ask(t, 0, "POST", redeemPath, map[string]any{"secret": secret, "name": "Eve", "attempt": newAttempt()})
		if r.Status != 403 || r.ErrCode() != "M_FORBIDDEN" || r.JSON().Get(`org\.roomline\.state`).String() != want {
			t.Errorf("redeem of one that is %s: %s", want, r)
		}
	}
	// Unknown secrets, and what is none, are all the same.
	var first string
	for _, secret := range []string{newAttempt(), "", "x", strings.Repeat("A", 22), strings.Repeat("=", 22), "Zażółć gęślą jaźń", strings.Repeat("a", 5000)} {
		for _, p := range []string{openPath, codePath, redeemPath} {
			r := s.ask(t, 0, "POST", p, map[string]any{"secret": secret, "name": "Eve", "attempt": newAttempt(), "client_secret": "c", "send_attempt": 1})
			if first == "" {
				first = r.String()
			}
			if r.Status != 404 || r.ErrCode() != "M_NOT_FOUND" || r.String() != first {
				t.Errorf("%s with an unknown secret: %s, not %s", p, r, first)
			}
		}
	}
	if n := s.number(t, `SELECT count(*) FROM guests`); n != 1 {
		t.Errorf("there are %d guests", n)
	}
}

// Programs that look at links in mails use nothing up.
func TestLookingUsesNothingUp(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	secret, id := s.invite(t, invitation{})
	for range 30 {
		for _, p := range []string{openPath, redeemPath, codePath} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				if r := s.ask(t, 0, method, p+"?secret="+secret, nil); r.Status < 400 {
					t.Fatalf("%s %s: %s", method, p, r)
				}
			}
		}
		s.ask(t, 0, "GET", "/i", nil)
		s.ask(t, 0, "POST", openPath, map[string]any{"secret": secret})
	}
	for _, body := range []map[string]any{
		{"secret": secret, "name": "Anna"}, {"secret": secret, "name": "Anna", "attempt": "short"}, {"secret": secret, "attempt": newAttempt()},
		{"secret": secret, "name": "http://evil.example", "attempt": newAttempt()},
	} {
		if r := s.ask(t, 0, "POST", redeemPath, body); r.Status != 400 {
			t.Errorf("redeem with %v: %s", body, r)
		}
	}
	if n := s.number(t, `SELECT uses FROM invitations WHERE invitation_id = $1`, id); n != 0 {
		t.Errorf("looking has used the invitation %d times", n)
	}
	s.redeemed(t, s.ask(t, 0, "POST", redeemPath, map[string]any{"secret": secret, "name": "Anna", "attempt": newAttempt()}))
}

// Who cannot be let in, because the inviter may not invite any more, is no guest.
func TestAnInviterWhoHasLeftLetsNobodyIn(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	other := s.User(t, "other")
	s.host.MustInvite(t, s.room, other)
	other.MustJoin(t, s.room)
	secret, _ := s.invite(t, invitation{by: other.ID})
	other.MustLeave(t, s.room)
	body := map[string]any{"secret": secret, "name": "Anna", "attempt": newAttempt()}
	for range 2 {
		if r := s.ask(t, 0, "POST", redeemPath, body); r.Status != 403 || r.JSON().Get(`org\.roomline\.state`).String() == "" {
			t.Fatalf("redeem: %s", r)
		}
	}
	if n := s.number(t, `SELECT count(*) FROM sessions JOIN users USING (user_id) WHERE guest`); n != 0 {
		t.Errorf("a guest who is in no room has %d sessions", n)
	}
}

func TestRequestsOfThePageAreCountedByAddress(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Configure: func(_ int, c map[string]any) {
		c["rate_limits"] = map[string]any{"enabled": true, "classes": map[string]any{"guests": map[string]any{"burst": 5, "every": "1h"}}}
	}})
	refused := 0
	for range 8 {
		if r := s.ask(t, 0, "POST", openPath, map[string]any{"secret": newAttempt()}); r.Status == 429 {
			refused++
		}
	}
	if refused != 3 {
		t.Errorf("%d of 8 were refused, 5 are allowed", refused)
	}
}
