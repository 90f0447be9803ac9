package invitations_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/roomline/roomline/internal/hstest"
)

func TestThePolicyOfTheOrganisationHolds(t *testing.T) {
	t.Parallel()
	d, b := startWithBridge(t, 2)
	owner, alice := d.Operator(t), d.User(t, "alice")
	room := alice.MustCreateRoom(t, map[string]any{"invite": []string{owner.ID}})
	owner.MustJoin(t, room)
	bob := d.User(t, "bob")
	person(t, owner, bob, []string{"bob@hs.test"}, nil)
	decide := func(value map[string]any) {
		t.Helper()
		owner.MustDo(t, http.MethodPut, admin+"policies/invitations", value)
	}
	post := func(u *hstest.User, body map[string]any) hstest.Response {
		t.Helper()
		r, err := u.On(1).Do(t.Context(), http.MethodPost, client+"rooms/"+room+"/invitations", body)
		if err != nil {
			t.Fatal(err)
		}
		if link := r.JSON().Get("link").String(); link != "" {
			secretOf(t, d, link)
		}
		return r
	}
	n := 0
	mail := func(domain string) map[string]any {
		n++
		return map[string]any{"medium": "email", "address": fmt.Sprintf("anna%d@%s", n, domain)}
	}
	with := func(key string, value any) map[string]any { return map[string]any{key: value} }
	hour := time.Hour.Milliseconds()
	for _, c := range []struct {
		name   string
		policy map[string]any
		who    *hstest.User
		body   map[string]any
		code   string
	}{
		{"by default everybody may", with("who", "everyone"), alice, mail("example.com"), ""},
		{"nobody may", with("who", "nobody"), owner, mail("example.com"), "M_FORBIDDEN"},
		{"nobody may make links", with("who", "nobody"), owner, nil, "M_FORBIDDEN"},
		{"managers only", with("who", "managers"), alice, mail("example.com"), "M_FORBIDDEN"},
		{"a manager", with("who", "managers"), owner, mail("example.com"), ""},
		{"no mails", with("email", false), alice, mail("example.com"), "M_THREEPID_DENIED"},
		{"no mails, but links", with("email", false), alice, nil, ""},
		{"no phones", with("phone", false), alice, map[string]any{"medium": "msisdn", "address": "+32470000001"}, "M_THREEPID_DENIED"},
		{"no links", with("links", false), alice, nil, "M_THREEPID_DENIED"},
		{"a denied domain", with("deny_domains", []string{"rival.example"}), alice, mail("rival.example"), "M_THREEPID_DENIED"},
		{"below a denied domain", with("deny_domains", []string{"rival.example"}), alice, mail("mail.rival.example"), "M_THREEPID_DENIED"},
		{"not a denied domain", with("deny_domains", []string{"rival.example"}), alice, mail("notrival.example"), ""},
		{"an allowed domain", with("allow_domains", []string{"partner.example"}), alice, mail("partner.example"), ""},
		{"no allowed domain", with("allow_domains", []string{"partner.example"}), alice, mail("example.com"), "M_THREEPID_DENIED"},
		{"too long", with("link_lifetime_max_ms", hour), alice, with("expires_in_ms", 2*hour), "M_INVALID_PARAM"},
		{"longer than any policy may", with("who", "everyone"), alice, with("expires_in_ms", 15*24*hour), "M_INVALID_PARAM"},
		{"too many uses", with("link_uses_max", 2), alice, with("uses", 3), "M_INVALID_PARAM"},
		{"as many uses as allowed", with("link_uses_max", 2), alice, with("uses", 2), ""},
		{"too long a stay", with("guest_lifetime_max_ms", hour), alice, with("guest_lifetime_ms", 2*hour), "M_INVALID_PARAM"},
	} {
		decide(c.policy)
		if c.body == nil {
			c.body = map[string]any{}
		}
		if r := post(c.who, c.body); r.ErrCode() != c.code {
			t.Errorf("%s: %s, want %q", c.name, r, c.code)
		}
	}
	decide(with("who", "nobody"))
	mustInvite(alice, t, room, "email", "bob@hs.test") // a person of the organisation is nobody from outside

	decide(map[string]any{"proof": true, "language": "nl", "link_lifetime_ms": hour, "guest_lifetime_ms": 2 * hour})
	b.messages(t)
	r := post(alice, mail("example.com")).JSON()
	if !r.Get("proof").Bool() || r.Get("language").String() != "nl" || r.Get("expires_ts").Int()-r.Get("created_ts").Int() != hour || r.Get("guest_lifetime_ms").Int() != 2*hour {
		t.Errorf("the invitation does not follow the policy: %s", r)
	}
	if m, _ := b.one(t); m.Get("language").String() != "nl" || m.Get("invitation.link_expires_ts").Int() != r.Get("expires_ts").Int() {
		t.Errorf("the message does not follow the policy: %s", m)
	}
	decide(map[string]any{})
	owner.MustDo(t, http.MethodPut, admin+"policies/branding", map[string]any{"languages": []string{"de", "fr"}})
	if r := post(alice, mail("example.com")).JSON(); r.Get("language").String() != "de" {
		t.Errorf("the organisation's first language is not the invitation's: %s", r)
	}
	for _, bad := range []map[string]any{
		{"who": "cats"}, {"language": "la"}, {"guest_data": "sell"}, {"link_lifetime_ms": 1}, {"link_lifetime_max_ms": 15 * 24 * hour}, {"link_uses_max": 0},
		{"allow_domains": []string{"A.example"}}, {"deny_domains": []string{"x@y"}}, {"email": "no"}, {"nonsense": 1}, {"guest_lifetime_max_ms": -1},
	} {
		owner.MustFail(t, http.StatusBadRequest, "M_BAD_JSON", http.MethodPut, admin+"policies/invitations", bad)
	}
}

func TestWhatIsNotRightIsRefusedAndNothingIsSent(t *testing.T) {
	t.Parallel()
	d, b := startWithBridge(t, 1)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	room := alice.MustCreateRoom(t, nil)
	long := strings.Repeat("x", 300)
	meeting := func(change map[string]any) map[string]any {
		m := map[string]any{"uid": "u", "title": "t", "start_ts": time.Now().Add(time.Hour).UnixMilli(), "end_ts": time.Now().Add(2 * time.Hour).UnixMilli(), "timezone": "Europe/Brussels", "sequence": 0}
		for k, v := range change {
			m[k] = v
		}
		return map[string]any{"meeting": m}
	}
	for _, body := range []any{
		nil, []any{}, "x", map[string]any{"medium": 1}, map[string]any{"medium": "email"}, map[string]any{"address": "a@b.example"},
		map[string]any{"medium": "fax", "address": "1"}, map[string]any{"medium": "email", "address": "x"}, map[string]any{"medium": "email", "address": "a@b@c"},
		map[string]any{"medium": "email", "address": "a@b.example\r\nBcc: c@d.example"}, map[string]any{"medium": "email", "address": "<a@b.example>"},
		map[string]any{"medium": "email", "address": long + "@b.example"}, map[string]any{"medium": "email", "address": "\u0000@b.example"},
		map[string]any{"medium": "msisdn", "address": "call me"}, map[string]any{"medium": "msisdn", "address": "+"}, map[string]any{"medium": "msisdn", "address": "+32" + long},
		map[string]any{"medium": "msisdn", "address": "112"}, map[string]any{"medium": "msisdn", "address": "+99999999999999999"},
		map[string]any{"uses": 0}, map[string]any{"uses": -1}, map[string]any{"uses": 1.5}, map[string]any{"uses": 1 << 40},
		map[string]any{"medium": "email", "address": "a@b.example", "uses": 2}, map[string]any{"expires_in_ms": 0}, map[string]any{"expires_in_ms": -5},
		map[string]any{"expires_in_ms": 1 << 52}, map[string]any{"guest_lifetime_ms": 1}, map[string]any{"guest_lifetime_ms": 1 << 52},
		map[string]any{"role": "owner"}, map[string]any{"language": "xx"}, map[string]any{"proof": true}, map[string]any{"proof": "yes"}, map[string]any{"reason": strings.Repeat("x", 9000)},
		map[string]any{"meeting": "x"}, meeting(map[string]any{"uid": ""}), meeting(map[string]any{"title": ""}), meeting(map[string]any{"title": strings.Repeat("x", 600)}),
		meeting(map[string]any{"timezone": "Mars/Olympus"}), meeting(map[string]any{"timezone": ""}), meeting(map[string]any{"timezone": "../etc/passwd"}),
		meeting(map[string]any{"end_ts": 5}), meeting(map[string]any{"start_ts": -1}), meeting(map[string]any{"sequence": -1}), meeting(map[string]any{"title": "a\nb"}),
		meeting(map[string]any{"recurrence": "FREQ=DAILY\r\nATTENDEE:x"}),
		meeting(map[string]any{"start_ts": time.Now().Add(40 * 24 * time.Hour).UnixMilli(), "end_ts": time.Now().Add(41 * 24 * time.Hour).UnixMilli()}),
	} {
		r, err := alice.Do(t.Context(), http.MethodPost, client+"rooms/"+room+"/invitations", body)
		if err != nil || r.Status < 400 || r.Status > 499 {
			t.Errorf("%v: %s, %v", body, r, err)
		}
	}
	for _, path := range []string{"rooms/nonsense/invitations", "rooms/!nowhere:hs.test/invitations"} {
		if r, err := alice.Do(t.Context(), http.MethodPost, client+path, map[string]any{}); err != nil || r.Status < 400 || r.Status > 499 {
			t.Errorf("%s: %s, %v", path, r, err)
		}
	}
	for _, query := range []string{"?from=x", "?from=MSAx!", "?limit=-1", "?from=" + strings.Repeat("A", 900)} {
		alice.MustFail(t, http.StatusBadRequest, "M_INVALID_PARAM", http.MethodGet, client+"invitations"+query, nil)
	}
	alice.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, client+"invitations/"+long, nil)
	if r := invite(bob, t, room, "email", "anna@example.com"); r.Status != http.StatusForbidden {
		t.Errorf("by somebody outside of the room: %s", r)
	}
	if r := invite(bob, t, "!nowhere:hs.test", "email", "anna@example.com"); r.Status != http.StatusForbidden || r.ErrCode() != "M_FORBIDDEN" {
		t.Errorf("into a room that is not there: %s", r)
	}
	for _, body := range []map[string]any{
		{"medium": "email", "address": "anna@example.com", "id_server": "vector.im"}, {"medium": "email"}, {"address": "a@b.example"}, {"id_server": "hs.test"},
		{"medium": "email", "address": []string{"a@b.example"}}, {"medium": "email", "address": "anna@example.com", "id_server": 7},
	} {
		if r, err := alice.Do(t.Context(), http.MethodPost, hstest.Path("rooms", room, "invite"), body); err != nil || r.Status < 400 || r.Status > 499 {
			t.Errorf("POST /invite %v: %s, %v", body, r, err)
		}
	}
	if list := b.messages(t); len(list) != 0 {
		t.Errorf("refused requests have sent %v", list)
	}
	if n := alice.MustDo(t, http.MethodGet, client+"invitations", nil).Get("invitations.#").Int(); n != 0 {
		t.Errorf("refused requests have left %d invitations", n)
	}
}

func TestWhoMayNotInviteToTheRoomMayNotInviteOutsiders(t *testing.T) {
	t.Parallel()
	d, b := startWithBridge(t, 1)
	owner, alice, bob := d.Operator(t), d.User(t, "alice"), d.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"room_version": "11", "preset": "public_chat", "invite": []string{bob.ID}})
	bob.MustJoin(t, room)
	if r := invite(bob, t, room, "email", "anna@example.com"); r.ErrCode() != "M_FORBIDDEN" {
		t.Errorf("by a member without the power: %s", r)
	}
	bob.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, client+"rooms/"+room+"/invitations", map[string]any{})
	mustInvite(alice, t, room, "email", "anna@example.com")
	m, _ := b.one(t)
	id := m.Get("invitation.id").String()

	// What the inviter loses the invitation loses as well.
	alice.MustDo(t, http.MethodPut, hstest.Path("rooms", room, "state", "m.room.power_levels", ""), map[string]any{"users": map[string]any{}, "invite": 100, "events": map[string]any{}})
	alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, client+"invitations/"+id+"/resend", map[string]any{})

	own := bob.MustCreateRoom(t, nil)
	owner.MustDo(t, http.MethodPut, admin+"users/"+bob.ID, map[string]any{"suspended": true})
	if r := invite(bob, t, own, "email", "carl@example.com"); r.ErrCode() != "M_USER_SUSPENDED" {
		t.Errorf("by somebody who is suspended: %s", r)
	}
	bob.MustFail(t, http.StatusForbidden, "M_USER_SUSPENDED", http.MethodPost, client+"rooms/"+own+"/invitations", map[string]any{})
	if list := b.messages(t); len(list) != 0 {
		t.Errorf("refused requests have sent %v", list)
	}
}

func TestTooManyInvitationsAreHeldBackOnAllProcessesTogether(t *testing.T) {
	t.Parallel()
	d := startWith(t, 2, func(config map[string]any) {
		config["rate_limits"] = map[string]any{"enabled": true, "classes": map[string]any{"invitation": map[string]any{"burst": 6, "every": "1h"}}}
	})
	alice := d.User(t, "alice")
	room := alice.MustCreateRoom(t, nil)
	made, held := 0, 0
	for i := range 12 {
		r, err := alice.On(i%2).Do(t.Context(), http.MethodPost, client+"rooms/"+room+"/invitations", map[string]any{})
		switch {
		case err == nil && r.Status == http.StatusOK:
			secretOf(t, d, r.JSON().Get("link").String())
			made++
		case err == nil && r.Status == http.StatusTooManyRequests && r.JSON().Get("retry_after_ms").Int() > 0:
			held++
		default:
			t.Errorf("%s, %v", r, err)
		}
	}
	if made != 6 || held != 6 {
		t.Errorf("%d were made and %d held back", made, held)
	}
}

func TestTheCommandLineInvites(t *testing.T) {
	t.Parallel()
	d, b := startWithBridge(t, 1)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"room_alias_name": "budget"})
	person(t, d.Operator(t), bob, []string{"bob@hs.test"}, nil)
	code, out := d.Command(t, 0, "invite", "--room", "#budget:hs.test", "--as", alice.ID, "--link", "--uses", "5", "--for", "2h")
	if code != 0 {
		t.Fatalf("%d %s", code, out)
	}
	secretOf(t, d, strings.TrimSpace(out))
	made := alice.MustDo(t, http.MethodGet, client+"invitations", nil).Get("invitations.0")
	if made.Get("uses_allowed").Int() != 5 || made.Get("expires_ts").Int()-made.Get("created_ts").Int() != (2*time.Hour).Milliseconds() {
		t.Errorf("it has made %s", made)
	}
	if code, out := d.Command(t, 0, "invite", "--room", room, "--as", alice.ID, "--language", "fr", "anna@example.com"); code != 0 || strings.Contains(out, "/i#") {
		t.Errorf("%d %s", code, out)
	}
	if m, _ := b.one(t); m.Get("address").String() != "anna@example.com" || m.Get("language").String() != "fr" {
		t.Errorf("the bridge gets %s", m)
	}
	if code, out := d.Command(t, 0, "invite", "--room", room, "--as", alice.ID, "bob@hs.test"); code != 0 || !strings.Contains(out, bob.ID) {
		t.Errorf("%d %s", code, out)
	}
	for _, args := range [][]string{
		{"--room", room, "--as", bob.ID, "carl@example.com"}, {"--room", room, "--as", "@nobody:hs.test", "carl@example.com"}, {"--room", "#x:hs.test", "--as", alice.ID, "carl@example.com"},
		{"--room", room, "--as", alice.ID, "nonsense"}, {"--room", room, "--as", alice.ID}, {"--as", alice.ID, "carl@example.com"},
	} {
		if code, out := d.Command(t, 0, append([]string{"invite"}, args...)...); code == 0 {
			t.Errorf("%v: %s", args, out)
		}
	}
}
