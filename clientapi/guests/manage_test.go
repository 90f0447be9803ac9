package guests_test

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

const (
	guestsPath = "/_roomline/client/v1/guests/"
	adminPath  = "/_roomline/admin/v1/guests"
)

func TestGuestsStayLongerIfTheirInviterSaysSo(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 2})
	var longer int64
	g, before := s.inTime(t, func(g *hstest.User) string {
		// The other process remembers the session.
		if _, failed := tried(g.On(1).Do(context.Background(), "GET", hstest.Path("account", "whoami"), nil)); failed != "" {
			return failed
		}
		longer = time.Now().Add(time.Hour).UnixMilli()
		r, failed := tried(s.host.Do(context.Background(), "PUT", guestsPath+g.ID, map[string]any{"expires_ts": longer}))
		if extended := r.JSON(); failed == "" && (extended.Get("expires_ts").Int() != longer || !extended.Get("active").Bool()) {
			t.Errorf("an extended guest is %s", extended)
		}
		return failed
	})
	now := time.Now().UnixMilli()
	for _, wrong := range []int64{0, now - 1, now + 400*24*time.Hour.Milliseconds()} {
		s.host.MustFail(t, 400, "M_INVALID_PARAM", "PUT", guestsPath+g.ID, map[string]any{"expires_ts": wrong})
	}
	time.Sleep(time.Until(before.Add(500 * time.Millisecond)))
	for p := range 2 {
		g.On(p).MustSendText(t, s.room, "still here")
	}
	if got := s.member(t, g.ID).Get(`content.org\.roomline\.guest.expires_ts`).Int(); got != longer {
		t.Errorf("the mark says %d, want %d", got, longer)
	}
	// And shorter: at that time every process refuses.
	var shorter time.Time
	for soon := 3 * time.Second; ; soon *= 2 {
		shorter = time.Now().Add(soon)
		_, failed := tried(s.host.Do(context.Background(), "PUT", guestsPath+g.ID, map[string]any{"expires_ts": shorter.UnixMilli()}))
		if failed == "" {
			break
		}
		// On a machine that is busy that is in the past when it arrives.
		if time.Now().Before(shorter) {
			t.Fatalf("a shorter time: %s", failed)
		}
	}
	release := s.hold(t, g) // each by what it knows, and not because somebody has ended the guest
	time.Sleep(time.Until(shorter))
	for p := range 2 {
		refused(t, g.On(p), "M_UNKNOWN_TOKEN")
	}
	release()
	s.gone(t, g)
	s.host.MustFail(t, 403, "M_BAD_STATE", "PUT", guestsPath+g.ID, map[string]any{"expires_ts": longer})
}

func TestWhoMayRemoveGuests(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	operator := s.Operator(t)
	member, stranger := s.User(t, "member"), s.User(t, "stranger")
	s.host.MustInvite(t, s.room, member)
	member.MustJoin(t, s.room)
	org := s.Organisation(t, "Other", "other.test")

	first := s.guest(t, invitation{by: member.ID})
	listed := member.MustDo(t, "GET", "/_roomline/client/v1/rooms/"+s.room+"/guests", nil).Get("guests.0")
	if listed.Get("user_id").String() != first.ID || !listed.Get("may_remove").Bool() || listed.Get("inviter").String() != member.ID ||
		listed.Get("displayname").String() != "Anna (guest)" {
		t.Errorf("the room's guests are %s", listed)
	}
	stranger.MustFail(t, 403, "M_FORBIDDEN", "GET", "/_roomline/client/v1/rooms/"+s.room+"/guests", nil)
	first.MustFail(t, 403, "M_GUEST_ACCESS_FORBIDDEN", "GET", "/_roomline/client/v1/rooms/"+s.room+"/guests", nil)

	for _, act := range []struct {
		method string
		body   any
	}{{"DELETE", nil}, {"PUT", map[string]any{"expires_ts": time.Now().Add(time.Hour).UnixMilli()}}} {
		stranger.MustFail(t, 404, "M_NOT_FOUND", act.method, guestsPath+first.ID, act.body)
		stranger.MustFail(t, 404, "M_NOT_FOUND", act.method, guestsPath+member.ID, act.body)
		org.Owner.MustFail(t, 404, "M_NOT_FOUND", act.method, guestsPath+first.ID, act.body)
		first.MustFail(t, 403, "M_GUEST_ACCESS_FORBIDDEN", act.method, guestsPath+first.ID, act.body)
	}
	second := s.guest(t, invitation{})
	member.MustFail(t, 403, "M_FORBIDDEN", "DELETE", guestsPath+second.ID, nil)

	// The inviter, who may kick, administrators.
	s.host.MustDo(t, "DELETE", guestsPath+first.ID, nil)
	s.gone(t, first)
	s.host.MustDo(t, "DELETE", guestsPath+second.ID, nil)
	s.gone(t, second)
	if reason := s.member(t, second.ID).Get("content.reason").String(); reason != "guest removed" {
		t.Errorf("a removed guest has left because of %q", reason)
	}
	third := s.guest(t, invitation{by: member.ID})
	for _, u := range []*hstest.User{member, stranger} {
		u.MustFail(t, 403, "M_FORBIDDEN", "GET", adminPath, nil)
		u.MustFail(t, 403, "M_FORBIDDEN", "DELETE", adminPath+"/"+third.ID, nil)
	}
	org.Owner.MustFail(t, 404, "M_NOT_FOUND", "DELETE", adminPath+"/"+third.ID, nil)
	if n := len(org.Owner.MustDo(t, "GET", adminPath, nil).Get("guests").Array()); n != 0 {
		t.Errorf("another organisation sees %d guests", n)
	}
	operator.MustDo(t, "DELETE", adminPath+"/"+third.ID, nil)
	s.gone(t, third)

	var seen []string
	for from, more := "", true; more; {
		page := operator.MustDo(t, "GET", adminPath+"?limit=2&from="+queryEscape(from), nil)
		for _, g := range page.Get("guests").Array() {
			seen = append(seen, g.Get("user_id").String())
			if g.Get("active").Bool() || g.Get("ended_ts").Int() == 0 {
				t.Errorf("a guest who has ended is %s", g)
			}
		}
		from = page.Get("next_batch").String()
		more = from != ""
	}
	if len(seen) != 3 || seen[0] != third.ID || seen[1] != second.ID || seen[2] != first.ID {
		t.Errorf("administrators are told of %v", seen)
	}
	if n := s.number(t, `SELECT count(*) FROM audit_log WHERE action = 'guest.remove' AND actor IN ($1, $2)`, s.host.ID, operator.ID); n != 3 {
		t.Errorf("%d entries of the audit log tell who has removed guests", n)
	}
}

// TestGuestsOfLinkedOrganisations: a guest in a room of another organisation ends with the link.
func TestGuestsOfLinkedOrganisations(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{Processes: 2})
	a, b := s.Organisation(t, "Bakery", "bakery.test"), s.Organisation(t, "Mill", "mill.test")
	anna, bert := a.User(t, "anna"), b.User(t, "bert")
	const links = "/_roomline/admin/v1/links"
	id := a.Owner.MustDo(t, "POST", links, map[string]any{"domain": "mill.test", "gives": map[string]any{"name": true, "invite": true}}).Get("link_id").Int()
	b.Owner.MustDo(t, "POST", links+"/"+strconv.FormatInt(id, 10)+"/accept", map[string]any{"gives": map[string]any{"name": true, "invite": true}})
	room := bert.MustCreateRoom(t, map[string]any{"invite": []string{anna.ID}})
	anna.MustJoin(t, room)
	g := s.guest(t, invitation{by: anna.ID, room: room})
	g.MustSendText(t, room, "hello")
	own := s.guest(t, invitation{by: bert.ID, room: room})

	b.Owner.MustDo(t, "POST", links+"/"+strconv.FormatInt(id, 10)+"/revoke", nil)
	hstest.Eventually(t, "the guest of the other organisation ends", func() bool {
		return s.number(t, `SELECT count(*) FROM guests WHERE user_id = $1 AND ended_ts IS NOT NULL`, g.ID) == 1
	})
	for p := range 2 {
		refused(t, g.On(p), "M_UNKNOWN_TOKEN")
		own.On(p).MustSendText(t, room, "still here")
	}
}

// A guest who becomes an employee is linked.
func TestAGuestBecomesAnEmployee(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	s.exec(t, `INSERT INTO organisation_policies (organisation_id, name, value) VALUES (1, 'invitations', '{"guest_data":"erase"}')`)
	g := s.guest(t, invitation{medium: "email", address: "anna@example.com"})
	event := g.MustSendText(t, s.room, "as a guest")
	other := s.guest(t, invitation{medium: "email", address: "other@example.com"})

	anna := s.User(t, "anna")
	s.Operator(t).MustDo(t, "PUT", "/_roomline/admin/v1/users/"+anna.ID, map[string]any{"emails": []string{"anna@example.com"}})
	hstest.Eventually(t, "the account is in the guest's room", func() bool {
		r, err := anna.Do(context.Background(), "GET", hstest.Path("joined_rooms"), nil)
		return err == nil && r.JSON().Get("joined_rooms.0").String() == s.room
	})
	s.gone(t, g)
	if body := anna.MustDo(t, "GET", hstest.Path("rooms", s.room, "event", event), nil).Get("content.body").String(); body != "as a guest" {
		t.Errorf("of what the guest has sent %q is left", body)
	}
	if m := s.member(t, anna.ID).Get("content"); m.Get(`org\.roomline\.guest`).Exists() {
		t.Errorf("an employee is marked as a guest: %s", m)
	}
	linked := false
	for _, x := range s.Operator(t).MustDo(t, "GET", adminPath, nil).Get("guests").Array() {
		linked = linked || x.Get("user_id").String() == g.ID && x.Get("linked_to").String() == anna.ID
	}
	if !linked {
		t.Error("administrators are not told which account the guest has become")
	}
	other.MustSendText(t, s.room, "still a guest")
	anna.MustSendText(t, s.room, "as an employee")
}

func TestVisitors(t *testing.T) {
	t.Parallel()
	s := start(t, hstest.Options{})
	register := func() hstest.Response {
		return s.ask(t, 0, http.MethodPost, hstest.Path("register")+"?kind=guest", map[string]any{"initial_device_display_name": "Browser"})
	}
	if r := register(); r.Status != 403 || r.ErrCode() != "M_GUEST_ACCESS_FORBIDDEN" {
		t.Fatalf("visitors are off, and one is answered %s", r)
	}
	s.exec(t, `INSERT INTO organisation_policies (organisation_id, name, value) VALUES (1, 'invitations', '{"guest_access":true}')`)
	g := s.redeemed(t, register())
	if !g.MustDo(t, "GET", hstest.Path("account", "whoami"), nil).Get("is_guest").Bool() {
		t.Error("a visitor is no guest")
	}
	guestAccess := func(value string) map[string]any {
		return map[string]any{"type": "m.room.guest_access", "content": map[string]any{"guest_access": value}}
	}
	public := s.host.MustCreateRoom(t, map[string]any{"preset": "public_chat", "initial_state": []any{guestAccess("can_join")}})
	closed := s.host.MustCreateRoom(t, map[string]any{"preset": "public_chat"})
	private := s.host.MustCreateRoom(t, map[string]any{"preset": "private_chat"})
	foreign := s.Organisation(t, "Other", "other.test").User(t, "member").MustCreateRoom(t, map[string]any{"preset": "public_chat", "initial_state": []any{guestAccess("can_join")}})
	for _, room := range []string{closed, private, foreign, "!none:" + s.ServerName} {
		g.MustFail(t, 404, "M_NOT_FOUND", "POST", hstest.Path("join", room), map[string]any{})
		g.MustFail(t, 404, "M_NOT_FOUND", "POST", hstest.Path("rooms", room, "join"), map[string]any{})
	}
	// Guests of an invitation come by invitations only.
	s.guest(t, invitation{}).MustFail(t, 404, "M_NOT_FOUND", "POST", hstest.Path("rooms", public, "join"), map[string]any{})

	g.MustJoin(t, public)
	g.MustSendText(t, public, "hello")
	g.MustLeave(t, public)
	g.MustJoin(t, public)
	content := s.host.MustDo(t, "GET", hstest.Path("rooms", public, "state", "m.room.member", g.ID), nil)
	if content.Get("displayname").String() != "Guest (guest)" || content.Get(`org\.roomline\.guest.role`).String() != "visitor" {
		t.Errorf("a visitor is %s", content)
	}
	g.MustFail(t, 403, "M_GUEST_ACCESS_FORBIDDEN", "POST", hstest.Path("createRoom"), map[string]any{})

	s.host.MustSetState(t, public, "m.room.guest_access", "", map[string]any{"guest_access": "forbidden"})
	hstest.Eventually(t, "the visitor is out", func() bool {
		return s.host.MustDo(t, "GET", hstest.Path("rooms", public, "state", "m.room.member", g.ID), nil).Get("membership").String() == "leave"
	})
	g.MustDo(t, "GET", hstest.Path("account", "whoami"), nil)
	g.MustFail(t, 403, "M_FORBIDDEN", "POST", hstest.Path("rooms", public, "join"), map[string]any{})
}
