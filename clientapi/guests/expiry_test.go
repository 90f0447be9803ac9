package guests_test

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

// TestAGuestsTimeEnds: ENT-04.
func TestAGuestsTimeEnds(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 3})
	var event, since string
	g, expires := s.inTime(t, func(g *hstest.User) string {
		r, failed := tried(g.Do(context.Background(), "PUT", hstest.Path("rooms", s.room, "send", "m.room.message", "kept"), map[string]any{"msgtype": "m.text", "body": "kept"}))
		event = r.JSON().Get("event_id").String()
		for p := 0; p < 3 && failed == ""; p++ { // each process remembers the session
			_, failed = tried(g.On(p).Do(context.Background(), "GET", hstest.Path("account", "whoami"), nil))
		}
		if failed == "" {
			r, failed = tried(g.Sync(context.Background(), hstest.Sync{}))
			since = r.JSON().Get("next_batch").String()
		}
		return failed
	})
	waiting := make(chan hstest.Response, 3)
	for p := range 3 {
		go func() {
			var r hstest.Response
			var err error
			for since := since; err == nil && (r.Status == 0 || r.Status == 200 || r.Status == 503); { // news, or a process that is behind
				// The wait would be longer than the test, and is not cut short by presence.
				r, err = g.On(p).Sync(context.Background(), hstest.Sync{Since: since, Filter: `{"presence":{"not_types":["*"]}}`, Timeout: 5 * time.Minute})
				since = cmp.Or(r.JSON().Get("next_batch").String(), since)
			}
			if err != nil || r.Status != 401 || r.ErrCode() != "M_UNKNOWN_TOKEN" {
				t.Errorf("a guest who waits for news is told %v %s", err, r)
			}
			waiting <- r
		}()
	}
	// Each process refuses by what it knows: nobody has ended the guest yet.
	release := s.hold(t, g)
	time.Sleep(time.Until(expires))
	for p := range 3 {
		g.On(p).MustFail(t, 401, "M_UNKNOWN_TOKEN", "GET", hstest.Path("account", "whoami"), nil)
	}
	late, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for range 3 {
		select {
		case <-waiting:
		case <-late.Done():
			t.Fatal("a guest whose time is over is still waiting for news")
		}
	}
	release()
	s.gone(t, g)
	if reason := s.member(t, g.ID).Get("content.reason").String(); reason != "guest expired" {
		t.Errorf("the guest has left because of %q", reason)
	}
	if body := s.host.MustDo(t, "GET", hstest.Path("rooms", s.room, "event", event), nil).Get("content.body").String(); body != "kept" {
		t.Errorf("of the guest's message %q is left", body)
	}
	if n := s.number(t, `SELECT count(*) FROM users WHERE user_id = $1 AND deactivated_ts IS NOT NULL`, g.ID); n != 1 {
		t.Error("the account is open")
	}
}

func TestWhatGuestsHaveSentIsErasedIfTheOrganisationSaysSo(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	s.exec(t, `INSERT INTO organisation_policies (organisation_id, name, value) VALUES (1, 'invitations', '{"guest_data":"erase"}')`)
	g := s.guest(t, invitation{})
	event := g.MustSendText(t, s.room, "erased")
	s.host.MustDo(t, "DELETE", "/_roomline/client/v1/guests/"+g.ID, nil)
	g.MustFail(t, 401, "M_UNKNOWN_TOKEN", "GET", hstest.Path("account", "whoami"), nil)
	hstest.Eventually(t, "the message is gone", func() bool {
		return !s.host.MustDo(t, "GET", hstest.Path("rooms", s.room, "event", event), nil).Get("content.body").Exists()
	})
	hstest.Eventually(t, "the guest is erased", func() bool { return s.number(t, `SELECT count(*) FROM guests WHERE user_id = $1`, g.ID) == 0 })
}

// The processes that end guests die: another one does it.
func TestGuestsEndWhicheverProcessDies(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 3})
	var guests []*hstest.User
	for range 20 {
		guests = append(guests, s.guest(t, invitation{}))
	}
	// One after the other: some before the processes die, some after.
	for i, g := range guests {
		s.exec(t, `UPDATE guests SET expires_ts = $2 WHERE user_id = $1`, g.ID, time.Now().Add(time.Duration(i*100)*time.Millisecond).UnixMilli())
	}
	s.Kill9(t, 0)
	s.Kill9(t, 1)
	hstest.Eventually(t, "all guests have left", func() bool { return s.number(t, `SELECT count(*) FROM guests WHERE ended_ts IS NULL`) == 0 })
	if n := s.number(t, `SELECT count(*) FROM memberships m JOIN guests USING (user_id) WHERE m.membership = 'join'`); n != 0 {
		t.Errorf("%d guests are in the room still", n)
	}
	s.Restart(t, 0)
	s.Restart(t, 1)
	s.gone(t, guests[0])
}

func TestGuestsEndWithWhatTheyStandOn(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 2})
	org := s.Organisation(t, "Other", "other.test")
	member := org.User(t, "member")
	theirs := member.MustCreateRoom(t, map[string]any{"name": "Theirs"})
	for name, end := range map[string]func(g *hstest.User){
		"kicked": func(g *hstest.User) {
			s.host.MustDo(t, "POST", hstest.Path("rooms", s.room, "kick"), map[string]any{"user_id": g.ID})
		},
		"banned": func(g *hstest.User) {
			s.host.MustDo(t, "POST", hstest.Path("rooms", s.room, "ban"), map[string]any{"user_id": g.ID})
		},
		"leaving": func(g *hstest.User) { g.MustLeave(t, s.room) },
		"revoked": func(g *hstest.User) {
			s.exec(t, `UPDATE invitations i SET ended = 'revoked', ended_ts = 1 FROM guests g WHERE g.invitation_id = i.invitation_id AND g.user_id = $1`, g.ID)
		},
		"closed to guests": func(*hstest.User) {
			s.host.MustSetState(t, s.room, "m.room.guest_access", "", map[string]any{"guest_access": "forbidden"})
		},
	} {
		g := s.guest(t, invitation{})
		end(g)
		t.Log(name)
		s.gone(t, g)
	}
	// An invitation is let in whatever the room says of guests.
	s.guest(t, invitation{}).MustSendText(t, s.room, "hello")

	foreign := s.guest(t, invitation{by: member.ID, room: theirs})
	foreign.MustSendText(t, theirs, "hello")
	operator := s.Operator(t)
	release := s.hold(t, foreign) // who has ended is not locked, but unknown
	operator.MustDo(t, http.MethodPost, "/_roomline/operator/v1/organisations/"+strconv.FormatInt(org.ID, 10)+"/suspend", map[string]any{})
	refused(t, foreign.On(1), "M_USER_LOCKED")
	release()
	hstest.Eventually(t, "the guest of a suspended organisation ends", func() bool {
		return s.number(t, `SELECT count(*) FROM guests WHERE user_id = $1 AND ended_ts IS NOT NULL`, foreign.ID) == 1
	})
}
