package invitations_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

// bridge takes messages as the telephony bridge does.
type bridge struct {
	d *hstest.Deployment
}

// startWithBridge starts a deployment whose messages the test takes itself.
func startWithBridge(t *testing.T, processes int) (*hstest.Deployment, *bridge) {
	t.Helper()
	d := startWith(t, processes, hstest.WithBridge(t))
	if _, err := storetest.DB(t, d.DSN).Exec(`UPDATE organisations SET default_region = 'BE'`); err != nil {
		t.Fatal(err)
	}
	return d, &bridge{d}
}

// messages are those that wait. None of them comes again because the test takes its time.
func (b *bridge) messages(t *testing.T) []gjson.Result {
	t.Helper()
	list := b.d.AskAsBridge(t, 0, "lease", map[string]any{"media": []string{"email", "msisdn"}, "max": 20, "wait_ms": 0}).Get("messages").Array()
	if _, err := storetest.DB(t, b.d.DSN).Exec(`UPDATE outbox SET lease_ts = 4000000000000 WHERE lease_ts IS NOT NULL`); err != nil {
		t.Fatal(err)
	}
	return list
}

// one is the only message that waits, with the secret of its link.
func (b *bridge) one(t *testing.T) (m gjson.Result, secret string) {
	t.Helper()
	list := b.messages(t)
	if len(list) != 1 {
		t.Fatalf("%d messages wait: %v", len(list), list)
	}
	return list[0], secretOf(t, b.d, list[0].Get("invitation.link").String())
}

func (b *bridge) report(t *testing.T, m gjson.Result, states ...string) {
	t.Helper()
	for _, state := range states {
		outcome := map[string]any{"state": state, "reference": "ref-" + m.Get("id").String()}
		if state != "delivered" { // a receipt of the network knows neither
			outcome["id"], outcome["lease"] = m.Get("id").Int(), m.Get("lease").String()
		}
		b.d.AskAsBridge(t, 0, "outcomes", map[string]any{"outcomes": []any{outcome}})
	}
}

// invite is POST /invite as a client of the specification sends it.
func invite(u *hstest.User, t *testing.T, room, medium, address string) hstest.Response {
	t.Helper()
	r, err := u.Do(t.Context(), http.MethodPost, hstest.Path("rooms", room, "invite"), map[string]any{
		"id_server": "hs.test", "id_access_token": "abc123_OpaqueString", "medium": medium, "address": address,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustInvite(u *hstest.User, t *testing.T, room, medium, address string) {
	t.Helper()
	if r := invite(u, t, room, medium, address); r.Status != http.StatusOK || strings.TrimSpace(string(r.Body)) != "{}" {
		t.Fatalf("inviting by %s: %s", medium, r)
	}
}

// person gives an account addresses.
func person(t *testing.T, owner, u *hstest.User, emails, phones []string) {
	t.Helper()
	owner.MustDo(t, http.MethodPut, admin+"users/"+u.ID, map[string]any{"emails": emails, "phones": phones})
}

func TestAnAddressIsInvitedByMailAndByPhone(t *testing.T) {
	t.Parallel()
	d, b := startWithBridge(t, 2)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	alice.MustDo(t, http.MethodPut, hstest.Path("profile", alice.ID, "displayname"), map[string]any{"displayname": "Alice\nDupont"})
	room := alice.MustCreateRoom(t, map[string]any{"name": "Budget", "invite": []string{bob.ID}})
	bob.MustJoin(t, room)

	for _, c := range []struct{ medium, typed, address, shown string }{
		{"email", "Anna.Martin@Example.COM", "anna.martin@example.com", "a…@e…"},
		{"msisdn", "+32 470 12 34 56", "32470123456", "…56"},
		{"msisdn", "0471/22.33.44", "32471223344", "…44"},
		{"msisdn", "32472334455", "32472334455", "…55"},
	} {
		mustInvite(alice, t, room, c.medium, c.typed)
		m, secret := b.one(t)
		text := m.Get("invitation")
		if m.Get("kind").String() != "invitation" || m.Get("medium").String() != c.medium || m.Get("address").String() != c.address ||
			text.Get("inviter").String() != "Alice Dupont" || text.Get("room").String() != "Budget" || m.Get("language").String() != "en" {
			t.Errorf("%s: the bridge gets %s", c.typed, m)
		}
		id := text.Get("id").String()
		if third := stateOf(t, bob, room, "m.room.third_party_invite", id); third.Get("display_name").String() != c.shown || third.Get("public_key").String() == "" {
			t.Errorf("%s: the room has %s", c.typed, third)
		}
		told := func(want string) func() bool {
			return func() bool {
				e := stateOf(t, bob, room, "org.roomline.invitation", id)
				return e.Get("state").String() == want && e.Get("medium").String() == c.medium && e.Get("address").String() == c.shown
			}
		}
		if !told("queued")() {
			t.Errorf("%s: the room is told %s", c.typed, stateOf(t, bob, room, "org.roomline.invitation", id))
		}
		b.report(t, m, "sending", "sent")
		hstest.Eventually(t, c.typed+": the room is told that it was sent", told("sent"))
		b.report(t, m, "delivered")
		hstest.Eventually(t, c.typed+": the room is told that it was delivered", told("delivered"))
		mine := alice.MustDo(t, http.MethodGet, client+"invitations/"+id, nil)
		if mine.Get("state").String() != "delivered" || mine.Get("address").String() != c.address || mine.Get("link").Exists() {
			t.Errorf("%s: its inviter sees %s", c.typed, mine)
		}
		if theirs := bob.MustDo(t, http.MethodGet, client+"invitations/"+id, nil); theirs.Get("address").String() != c.shown {
			t.Errorf("%s: another member sees %s", c.typed, theirs)
		}
		if strings.Contains(mine.Raw, secret) {
			t.Errorf("%s: the inviter sees the secret of somebody else's link", c.typed)
		}
	}
	for _, e := range alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "state"), nil).Array() {
		if strings.Contains(e.Raw, "anna.martin") || strings.Contains(e.Raw, "470123456") {
			t.Errorf("the room has the whole address: %s", e)
		}
	}
}

func TestWhoIsKnownIsInvitedAsThemselves(t *testing.T) {
	t.Parallel()
	d, b := startWithBridge(t, 1)
	owner := d.Operator(t)
	linked, other := d.Organisation(t, "Linked", "linked.test"), d.Organisation(t, "Other", "other.test")
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	lena, otto := linked.User(t, "lena"), other.User(t, "otto")
	person(t, owner, bob, []string{"bob@hs.test"}, []string{"+32470111111"})
	person(t, linked.Owner, lena, []string{"lena@linked.test"}, nil)
	person(t, other.Owner, otto, []string{"otto@other.test"}, nil)
	gives := map[string]any{"gives": map[string]any{"name": true, "email": true, "invite": true}}
	link := linked.Owner.MustDo(t, http.MethodPost, admin+"links", map[string]any{"domain": "hs.test", "gives": gives["gives"]}).Get("link_id").String()
	owner.MustDo(t, http.MethodPost, admin+"links/"+link+"/accept", gives)

	members := func(room string) string {
		var list []string
		alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "members")+"?membership=invite", nil).Get("chunk").ForEach(func(_, e gjson.Result) bool {
			list = append(list, e.Get("state_key").String())
			return true
		})
		return strings.Join(list, " ")
	}
	room := alice.MustCreateRoom(t, nil)
	mustInvite(alice, t, room, "email", "BOB@hs.test")
	if got := members(room); got != bob.ID {
		t.Fatalf("invited is %q", got)
	}
	mustInvite(alice, t, room, "email", "lena@linked.test")
	if got := members(room); !strings.Contains(got, lena.ID) {
		t.Errorf("a person of a linked organisation: invited is %q", got)
	}
	if list := b.messages(t); len(list) != 0 {
		t.Errorf("people with accounts get %v", list)
	}

	// What the link does not give is as for nobody.
	linked.Owner.MustDo(t, http.MethodPut, admin+"links/"+link+"/gives", map[string]any{"gives": map[string]any{"name": true, "invite": true}})
	room = alice.MustCreateRoom(t, nil)
	var shapes []string
	for _, address := range []string{"lena@linked.test", "otto@other.test", "nobody@nowhere.test"} {
		mustInvite(alice, t, room, "email", address)
		m, _ := b.one(t)
		if m.Get("address").String() != address {
			t.Errorf("%s: the bridge gets %s", address, m)
		}
		made := alice.MustDo(t, http.MethodPost, client+"rooms/"+alice.MustCreateRoom(t, nil)+"/invitations", map[string]any{"medium": "email", "address": address})
		var names []string
		made.ForEach(func(key, _ gjson.Result) bool { names = append(names, key.String()); return true })
		shapes = append(shapes, fmt.Sprint(names, made.Get("state")))
		b.one(t)
	}
	if shapes[0] != shapes[1] || shapes[1] != shapes[2] {
		t.Errorf("the answers differ: %v", shapes)
	}
	if got := members(room); got != "" {
		t.Errorf("people who may not be known of were invited: %s", got)
	}
	// Whether a domain is a customer's here is told to nobody else, be it as the name of an identity server.
	for _, server := range []string{"hs.test", "HS.test", "https://guests.test/", "guests.test", ""} {
		r, err := lena.Do(t.Context(), http.MethodPost, hstest.Path("rooms", lena.MustCreateRoom(t, nil), "invite"), map[string]any{"id_server": server, "medium": "email", "address": "x" + fmt.Sprint(len(server)) + "@nowhere.test"})
		if err != nil || r.Status != http.StatusOK {
			t.Errorf("id_server %q: %s, %v", server, r, err)
		}
	}
	var refusals []string
	for _, server := range []string{"other.test", "nowhere.test"} {
		r, err := alice.Do(t.Context(), http.MethodPost, hstest.Path("rooms", room, "invite"), map[string]any{"id_server": server, "medium": "email", "address": "y@nowhere.test"})
		if err != nil || r.ErrCode() != "M_SERVER_NOT_TRUSTED" {
			t.Errorf("id_server %q: %s, %v", server, r, err)
		}
		refusals = append(refusals, r.String())
	}
	if refusals[0] != refusals[1] {
		t.Errorf("a customer's domain and nobody's are told apart: %v", refusals)
	}
	// Who has said that they want no invites is not written to instead.
	bob.MustDo(t, http.MethodPut, hstest.Path("user", bob.ID, "account_data", "m.invite_permission_config"), map[string]any{"default_action": "block"})
	if r := invite(alice, t, room, "email", "bob@hs.test"); r.ErrCode() != "M_INVITE_BLOCKED" {
		t.Errorf("inviting somebody who wants no invites: %s", r)
	}
}

func TestAnInvitationIsSentAgainWithAnotherLink(t *testing.T) {
	t.Parallel()
	d, b := startWithBridge(t, 2)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"invite": []string{bob.ID}})
	bob.MustJoin(t, room)
	mustInvite(alice, t, room, "email", "anna@example.com")
	first, oldSecret := b.one(t)
	b.report(t, first, "sending", "sent")
	id := first.Get("invitation.id").String()
	bob.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, client+"invitations/"+id+"/resend", map[string]any{})
	alice.On(1).MustDo(t, http.MethodPost, client+"invitations/"+id+"/resend", map[string]any{})
	second, newSecret := b.one(t)
	if second.Get("invitation.id").String() != id || newSecret == oldSecret || opens(t, d, oldSecret) != "" || opens(t, d, newSecret) != id {
		t.Errorf("sent again: %s; the old link opens %q, the new one %q", second, opens(t, d, oldSecret), opens(t, d, newSecret))
	}
	if got := open(t, d, 0, oldSecret) + " " + open(t, d, 0, newSecret); got != "M_NOT_FOUND open" {
		t.Errorf("the pages of the old and the new link say %s", got)
	}
	// The same address once more is the same invitation.
	b.report(t, second, "sending", "sent")
	mustInvite(alice, t, room, "email", "anna@example.com")
	third, _ := b.one(t)
	if third.Get("invitation.id").String() != id {
		t.Errorf("the same address once more: %s", third)
	}
	var hashes int
	if err := storetest.DB(t, d.DSN).QueryRow(`SELECT count(*) FROM invitations`).Scan(&hashes); err != nil || hashes != 1 {
		t.Errorf("%d invitations are stored, %v", hashes, err)
	}
	// A message that has not been sent is not sent any more when its invitation is revoked.
	alice.MustDo(t, http.MethodDelete, client+"invitations/"+id, nil)
	lost := b.d.AskAsBridge(t, 0, "outcomes", map[string]any{"outcomes": []any{map[string]any{"id": third.Get("id").Int(), "lease": third.Get("lease").String(), "state": "sending"}}})
	if lost.Get("lost.0").Int() != third.Get("id").Int() {
		t.Errorf("the bridge may still send it: %s", lost)
	}

	link := alice.MustDo(t, http.MethodPost, client+"rooms/"+room+"/invitations", map[string]any{})
	again := alice.MustDo(t, http.MethodPost, client+"invitations/"+link.Get("invitation_id").String()+"/resend", map[string]any{})
	if opens(t, d, secretOf(t, d, link.Get("link").String())) != "" || opens(t, d, secretOf(t, d, again.Get("link").String())) == "" || again.Get("invitation_id").String() != link.Get("invitation_id").String() {
		t.Errorf("a link, again: %s", again)
	}
}

func TestARoomBeginsWithInvitationsOrNotAtAll(t *testing.T) {
	t.Parallel()
	d, b := startWithBridge(t, 1)
	alice := d.User(t, "alice")
	of := func(list ...map[string]any) map[string]any { return map[string]any{"invite_3pid": list} }
	mail := map[string]any{"id_server": "hs.test", "id_access_token": "x", "medium": "email", "address": "anna@example.com"}
	phone := map[string]any{"medium": "msisdn", "address": "+32470123456"}
	room := alice.MustCreateRoom(t, of(mail, phone))
	if list := b.messages(t); len(list) != 2 {
		t.Errorf("%d messages wait", len(list))
	}
	if n := alice.MustDo(t, http.MethodGet, client+"rooms/"+room+"/invitations", nil).Get("invitations.#").Int(); n != 2 {
		t.Errorf("the room has %d invitations", n)
	}
	// The number was written to a moment ago, however long the rest takes.
	if _, err := storetest.DB(t, d.DSN).Exec(`UPDATE outbox SET created_ts = created_ts + 3600000 WHERE medium = 'msisdn'`); err != nil {
		t.Fatal(err)
	}
	before := len(alice.MustDo(t, http.MethodGet, hstest.Path("joined_rooms"), nil).Get("joined_rooms").Array())
	for code, body := range map[string]map[string]any{
		"M_INVALID_PARAM":                 of(mail, map[string]any{"medium": "email", "address": "nobody"}),
		"M_MISSING_PARAM":                 of(map[string]any{"medium": "email"}),
		"M_THREEPID_MEDIUM_NOT_SUPPORTED": of(map[string]any{"medium": "fax", "address": "1"}),
		"M_SERVER_NOT_TRUSTED":            of(map[string]any{"id_server": "vector.im", "medium": "email", "address": "a@b.example"}),
		"M_THREEPID_DENIED":               of(map[string]any{"medium": "email", "address": "new@example.com"}, map[string]any{"medium": "msisdn", "address": "+1 900 555 0100"}),
		"M_LIMIT_EXCEEDED":                of(phone),
		"M_BAD_JSON":                      {"invite_3pid": []any{"a@b.example"}},
	} {
		r, err := alice.Do(t.Context(), http.MethodPost, hstest.Path("createRoom"), body)
		if err != nil || r.ErrCode() != code {
			t.Errorf("want %s: %s, %v", code, r, err)
		}
	}
	if after := len(alice.MustDo(t, http.MethodGet, hstest.Path("joined_rooms"), nil).Get("joined_rooms").Array()); after != before {
		t.Errorf("refused requests have made %d rooms", after-before)
	}
	if list := b.messages(t); len(list) != 0 {
		t.Errorf("refused requests have sent %v", list)
	}
}

func TestWhoGetsTheAddressBecomesAMember(t *testing.T) {
	t.Parallel()
	d, b := startWithBridge(t, 2)
	owner := d.Operator(t)
	other := d.Organisation(t, "Other", "other.test")
	alice, bob, carol := d.User(t, "alice"), d.User(t, "bob"), d.User(t, "carol")
	otto := other.User(t, "otto")
	room := alice.MustCreateRoom(t, nil)
	for _, address := range []string{"bob@example.com", "otto@example.com", "carol@example.com"} {
		mustInvite(alice, t, room, "email", address)
	}
	list := b.messages(t)
	ids := map[string]string{}
	for _, m := range list {
		ids[m.Get("address").String()] = m.Get("invitation.id").String()
		secretOf(t, d, m.Get("invitation.link").String())
	}
	carol.MustDo(t, http.MethodPut, hstest.Path("user", carol.ID, "account_data", "m.invite_permission_config"), map[string]any{"default_action": "block"})
	person(t, owner, bob, []string{"bob@example.com"}, nil)
	person(t, other.Owner, otto, []string{"otto@example.com"}, nil)
	person(t, owner, carol, []string{"carol@example.com"}, nil)

	bob.MustSyncUntil(t, "", hstest.InvitedTo(room))
	bob.MustJoin(t, room)
	hstest.Eventually(t, "the invitation has become an invite", func() bool {
		return state(t, alice, ids["bob@example.com"]) == "member" && stateOf(t, alice, room, "org.roomline.invitation", ids["bob@example.com"]).Get("state").String() == "member"
	})
	invited := alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "messages")+"?dir=b&limit=50", nil).Get(`chunk.#(content.membership=="invite")`)
	if invited.Get("state_key").String() != bob.ID || invited.Get("content.third_party_invite.signed.token").String() != ids["bob@example.com"] {
		t.Errorf("the invite is %s", invited)
	}
	if stateOf(t, alice, room, "m.room.third_party_invite", ids["bob@example.com"]).Get("public_key").Exists() {
		t.Error("the third-party invite is still there")
	}
	// Who wants no invites gets none, and the link of the address is dead all the same.
	hstest.Eventually(t, "the invitation of somebody who wants no invites has ended", func() bool { return state(t, alice, ids["carol@example.com"]) == "member" })
	if stateOf(t, alice, room, "m.room.member", carol.ID).Get("membership").Exists() {
		t.Error("somebody who wants no invites was invited")
	}
	// Somebody of another organisation is not told apart from anybody.
	if got := state(t, alice, ids["otto@example.com"]); got != "queued" {
		t.Errorf("an address that an account of another organisation got has made the invitation %q", got)
	}
	if stateOf(t, alice, room, "m.room.member", otto.ID).Get("membership").Exists() {
		t.Error("an account of another organisation was invited")
	}
}

func TestAGuestComesInAndTheRoomIsTold(t *testing.T) {
	t.Parallel()
	d, b := startWithBridge(t, 2)
	owner, alice := d.Operator(t), d.User(t, "alice")
	room := alice.MustCreateRoom(t, nil)
	mustInvite(alice, t, room, "email", "anna@example.com")
	m, secret := b.one(t)
	id := m.Get("invitation.id").String()
	for range 3 { // what scanners of mails do
		if got := open(t, d, 1, secret); got != "open" {
			t.Fatalf("the page says %s", got)
		}
	}
	hstest.Eventually(t, "the room is told that it was opened", func() bool {
		return stateOf(t, alice, room, "org.roomline.invitation", id).Get("state").String() == "opened"
	})
	if got := redeem(t, d, 1, secret, "Anna"); got != room {
		t.Fatalf("redeeming it gives %s", got)
	}
	hstest.Eventually(t, "the room is told that it was redeemed", func() bool {
		return stateOf(t, alice, room, "org.roomline.invitation", id).Get("state").String() == "redeemed"
	})
	if got := redeem(t, d, 0, secret, "Bella"); !strings.HasPrefix(got, "403 ") {
		t.Errorf("a second guest of a single invitation: %s", got)
	}
	guest := alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "members")+"?membership=join", nil).Get(`chunk.#(content.displayname=="Anna (guest)").state_key`).String()
	if guest == "" {
		t.Fatal("the guest is not in the room")
	}
	if log := owner.MustDo(t, http.MethodGet, admin+"audit?action=invitation.redeem", nil).Get("entries"); log.Get("#").Int() != 1 || log.Get("0.actor").String() != guest || log.Get("0.target").String() != id {
		t.Errorf("the audit log has %s", log)
	}
	// Whoever was removed needs another invitation.
	alice.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "kick"), map[string]any{"user_id": guest})
	if got := redeem(t, d, 0, secret, "Anna"); !strings.HasPrefix(got, "403 ") {
		t.Errorf("a guest who was removed comes back: %s", got)
	}
}
