package invitations_test

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestMain(m *testing.M) { hstest.Main(m) }

const (
	guestsURL = "http://guests.test"
	client    = "/_roomline/client/v1/"
	admin     = "/_roomline/admin/v1/"
	// encryptionKey is that of every deployment of hstest: the identity key is made from it.
	encryptionKey = "hstest-signing-key-encryption-ke"
)

// start starts a deployment that guests can reach.
func start(t *testing.T, processes int) *hstest.Deployment {
	t.Helper()
	return startWith(t, processes, nil)
}

func startWith(t *testing.T, processes int, configure func(config map[string]any)) *hstest.Deployment {
	t.Helper()
	return hstest.Start(t, hstest.Options{Processes: processes, Configure: func(_ int, c map[string]any) {
		c["public_base_url"] = guestsURL
		if configure != nil {
			configure(c)
		}
	}})
}

// newLink makes a link into a room. Its secret may not appear in any log.
func newLink(t *testing.T, d *hstest.Deployment, u *hstest.User, room string, body map[string]any) (id, secret string) {
	t.Helper()
	if body == nil {
		body = map[string]any{}
	}
	made := u.MustDo(t, http.MethodPost, client+"rooms/"+room+"/invitations", body)
	return made.Get("invitation_id").String(), secretOf(t, d, made.Get("link").String())
}

var linkForm = regexp.MustCompile(`^` + guestsURL + `/i#([A-Za-z0-9_-]{22})$`)

// secretOf takes the secret out of a link.
func secretOf(t *testing.T, d *hstest.Deployment, link string) string {
	t.Helper()
	m := linkForm.FindStringSubmatch(link)
	if m == nil {
		t.Fatalf("%q is not a link of 128 bits behind a #", link)
	}
	d.Secret(m[1], "the secret of an invitation")
	return m[1]
}

// stateOf is the content of a state event, {} if there is none.
func stateOf(t *testing.T, u *hstest.User, room, eventType, key string) gjson.Result {
	t.Helper()
	r, err := u.Do(t.Context(), http.MethodGet, hstest.Path("rooms", room, "state", eventType, key), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status == http.StatusNotFound {
		return gjson.Parse("{}")
	}
	return r.JSON()
}

// state is how far an invitation has come, as the API says.
func state(t *testing.T, u *hstest.User, id string) string {
	t.Helper()
	return u.MustDo(t, http.MethodGet, client+"invitations/"+id, nil).Get("state").String()
}

// opens is the invitation that a secret opens, "" for none.
func opens(t *testing.T, d *hstest.Deployment, secret string) (id string) {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(raw)
	if err := storetest.DB(t, d.DSN).QueryRow(`SELECT coalesce(max(invitation_id), '') FROM invitations WHERE secret_hash = $1`, hash[:]).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// open is what the page is told of a secret on a process: the state of its invitation, or the error.
func open(t *testing.T, d *hstest.Deployment, process int, secret string) string {
	t.Helper()
	r, err := d.Do(t.Context(), process, "", http.MethodPost, "/_roomline/guest/v1/open", map[string]any{"secret": secret})
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != http.StatusOK {
		return r.ErrCode()
	}
	return r.JSON().Get("state").String()
}

// redeem makes a guest on a process, and returns the room or the error.
func redeem(t *testing.T, d *hstest.Deployment, process int, secret, name string) string {
	t.Helper()
	r, err := d.Do(t.Context(), process, "", http.MethodPost, "/_roomline/guest/v1/redeem", map[string]any{"secret": secret, "name": name, "language": "en", "attempt": name[:1] + strings.Repeat("A", 21)})
	if err != nil {
		t.Fatal(err)
	}
	d.Secret(r.JSON().Get("access_token").String(), "a guest's access token")
	if r.Status != http.StatusOK {
		return fmt.Sprint(r.Status, " ", r.ErrCode())
	}
	return r.JSON().Get("room_id").String()
}

func identityKey() ed25519.PrivateKey {
	mac := hmac.New(sha256.New, []byte(encryptionKey))
	io.WriteString(mac, "identity service")
	return ed25519.NewKeyFromSeed(mac.Sum(nil))
}

// signed is third_party_signed for somebody, by a key.
func signed(t *testing.T, key ed25519.PrivateKey, sender, mxid, token string) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(map[string]any{"mxid": mxid, "sender": sender, "token": token})
	if err != nil {
		t.Fatal(err)
	}
	text, err = gomatrixserverlib.SignJSON("hs.test", "ed25519:0", key, text)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestALinkIsMadeOnceAndItsSecretIsNowhere(t *testing.T) {
	t.Parallel()
	d := start(t, 1)
	owner := d.Operator(t)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"invite": []string{bob.ID}})
	bob.MustJoin(t, room)
	id, secret := newLink(t, d, alice, room, map[string]any{"uses": 3, "role": "observer", "language": "fr"})

	third := stateOf(t, bob, room, "m.room.third_party_invite", id)
	public := base64.RawStdEncoding.EncodeToString(identityKey().Public().(ed25519.PublicKey))
	if third.Get("public_key").String() != public || third.Get("public_keys.0.public_key").String() != public ||
		third.Get("key_validity_url").String() != guestsURL+"/_matrix/identity/v2/pubkey/isvalid" {
		t.Errorf("the third-party invite is %s", third)
	}
	told := stateOf(t, bob, room, "org.roomline.invitation", id)
	if told.Get("state").String() != "sent" || told.Get("inviter").String() != alice.ID {
		t.Errorf("the room is told %s", told)
	}
	for _, one := range []gjson.Result{
		alice.MustDo(t, http.MethodGet, client+"invitations/"+id, nil),
		bob.MustDo(t, http.MethodGet, client+"rooms/"+room+"/invitations", nil).Get("invitations.0"),
		alice.MustDo(t, http.MethodGet, client+"invitations?open=true", nil).Get("invitations.0"),
		owner.MustDo(t, http.MethodGet, admin+"invitations?inviter="+alice.ID+"&room_id="+room, nil).Get("invitations.0"),
	} {
		if one.Get("invitation_id").String() != id || one.Get("uses_allowed").Int() != 3 || one.Get("role").String() != "observer" ||
			one.Get("language").String() != "fr" || one.Get("link").Exists() {
			t.Errorf("the invitation is shown as %s", one)
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(raw)
	db := storetest.DB(t, d.DSN)
	var stored string
	if err := db.QueryRow(`SELECT i::text FROM invitations i WHERE secret_hash = $1`, hash[:]).Scan(&stored); err != nil {
		t.Fatalf("the hash of the secret is not stored: %v", err)
	}
	var elsewhere int
	if err := db.QueryRow(`SELECT (SELECT count(*) FROM audit_log a WHERE strpos(a::text, $1) > 0)
		+ (SELECT count(*) FROM events e WHERE strpos(convert_from(json, 'UTF8'), $1) > 0)`, secret).Scan(&elsewhere); err != nil || elsewhere > 0 || strings.Contains(stored, secret) {
		t.Errorf("the secret is in the database (%v)", err)
	}
	if log := owner.MustDo(t, http.MethodGet, admin+"audit?action=invitation.send", nil).Get("entries.0"); log.Get("target").String() != id ||
		log.Get("actor").String() != alice.ID || log.Get("detail.room_id").String() != room {
		t.Errorf("the audit log has %s", log)
	}
}

func TestWhoHasASignatureJoinsAndNobodyElse(t *testing.T) {
	t.Parallel()
	d := start(t, 2)
	alice, bob, carol := d.User(t, "alice"), d.User(t, "bob"), d.User(t, "carol")
	room := alice.MustCreateRoom(t, nil)
	id, _ := newLink(t, d, alice, room, nil)
	join := func(u *hstest.User, third json.RawMessage) hstest.Response {
		t.Helper()
		r, err := u.On(1).Do(context.Background(), http.MethodPost, hstest.Path("rooms", room, "join"), map[string]any{"third_party_signed": third})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	_, stranger, _ := ed25519.GenerateKey(nil)
	right := signed(t, identityKey(), alice.ID, bob.ID, id)
	for name, third := range map[string]json.RawMessage{
		"another key":        signed(t, stranger, alice.ID, bob.ID, id),
		"for somebody else":  signed(t, identityKey(), alice.ID, carol.ID, id),
		"another token":      signed(t, identityKey(), alice.ID, bob.ID, "nothing"),
		"another inviter":    signed(t, identityKey(), carol.ID, bob.ID, id),
		"no such inviter":    signed(t, identityKey(), "@nobody:hs.test", bob.ID, id),
		"changed afterwards": json.RawMessage(strings.Replace(string(right), `"sender":"`+alice.ID, `"x":1,"sender":"`+alice.ID, 1)),
	} {
		if r := join(bob, third); r.Status != http.StatusForbidden && r.Status != http.StatusBadRequest {
			t.Errorf("%s: got %s", name, r)
		}
	}
	if uses := alice.MustDo(t, http.MethodGet, client+"invitations/"+id, nil).Get("uses").Int(); uses != 0 {
		t.Fatalf("refused joins were counted as %d uses", uses)
	}
	if r := join(bob, right); r.Status != http.StatusOK {
		t.Fatalf("with the right signature: %s", r)
	}
	if r := join(bob, right); r.Status != http.StatusOK {
		t.Errorf("once more: %s", r)
	}
	invite := alice.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "messages")+"?dir=b&limit=20", nil).Get(`chunk.#(content.membership=="invite")`)
	if invite.Get("content.third_party_invite.signed.token").String() != id || invite.Get("sender").String() != alice.ID || invite.Get("state_key").String() != bob.ID {
		t.Errorf("the invite is %s", invite)
	}
	if r := join(carol, signed(t, identityKey(), alice.ID, carol.ID, id)); r.Status != http.StatusForbidden {
		t.Errorf("a second guest of a single invitation: %s", r)
	}
	if got := state(t, alice, id); got != "redeemed" {
		t.Errorf("its state is %q", got)
	}
}

func TestARevokedInvitationIsDeadAtOnceOnEveryProcess(t *testing.T) {
	t.Parallel()
	d := start(t, 2)
	owner := d.Operator(t)
	alice, bob, carol, dave := d.User(t, "alice"), d.User(t, "bob"), d.User(t, "carol"), d.User(t, "dave")
	room := alice.MustCreateRoom(t, map[string]any{"invite": []string{carol.ID}})
	carol.MustJoin(t, room)
	dead := func(what, id, secret string) {
		t.Helper()
		if got := open(t, d, 1, secret); got != "revoked" {
			t.Errorf("%s: its page says %q", what, got)
		}
		if got := redeem(t, d, 1, secret, "Anna"); !strings.HasPrefix(got, "403 ") {
			t.Errorf("%s: redeeming it gives %s", what, got)
		}
		r, err := bob.On(1).Do(t.Context(), http.MethodPost, hstest.Path("rooms", room, "join"), map[string]any{"third_party_signed": signed(t, identityKey(), alice.ID, bob.ID, id)})
		if err != nil || r.Status != http.StatusForbidden {
			t.Errorf("%s: joining by it: %s, %v", what, r, err)
		}
		hstest.Eventually(t, what+": the invitation is shown as revoked", func() bool {
			return state(t, alice, id) == "revoked" && stateOf(t, alice, room, "org.roomline.invitation", id).Get("state").String() == "revoked"
		})
		if third := stateOf(t, alice, room, "m.room.third_party_invite", id); third.Get("public_key").Exists() {
			t.Errorf("%s: the third-party invite is still %s", what, third)
		}
	}
	id, secret := newLink(t, d, alice, room, nil)
	carol.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodDelete, client+"invitations/"+id, nil)
	dave.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodDelete, client+"invitations/"+id, nil)
	dave.MustFail(t, http.StatusNotFound, "M_NOT_FOUND", http.MethodGet, client+"invitations/"+id, nil)
	alice.MustDo(t, http.MethodDelete, client+"invitations/"+id, nil)
	dead("revoked by its inviter", id, secret)
	alice.MustDo(t, http.MethodDelete, client+"invitations/"+id, nil)
	if n := owner.MustDo(t, http.MethodGet, admin+"audit?action=invitation.revoke", nil).Get("entries.#").Int(); n != 1 {
		t.Errorf("the audit log has %d entries of it", n)
	}

	id, secret = newLink(t, d, alice, room, nil)
	dave.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodDelete, admin+"invitations/"+id, nil)
	owner.MustDo(t, http.MethodDelete, admin+"invitations/"+id, nil)
	dead("revoked by an administrator", id, secret)

	id, secret = newLink(t, d, alice, room, nil)
	carol.MustSetState(t, room, "m.room.third_party_invite", id, map[string]any{})
	dead("emptied in the room by another member", id, secret)

	id, secret = newLink(t, d, alice, room, nil)
	public := base64.RawStdEncoding.EncodeToString(identityKey().Public().(ed25519.PublicKey))
	carol.MustSetState(t, room, "m.room.third_party_invite", id, map[string]any{"public_key": public, "public_keys": []any{map[string]any{"public_key": public}}, "display_name": "x", "key_validity_url": "x"})
	if got := open(t, d, 1, secret); got != "revoked" {
		t.Errorf("the page of an invitation that another member has taken over says %q", got)
	}
	hstest.Eventually(t, "an invitation that another member has taken over is revoked", func() bool { return state(t, alice, id) == "revoked" })

	id, secret = newLink(t, d, alice, room, nil)
	elsewhere := carol.MustCreateRoom(t, nil)
	carol.MustSetState(t, elsewhere, "m.room.third_party_invite", id, map[string]any{})
	carol.MustSendText(t, elsewhere, "and so on")
	time.Sleep(500 * time.Millisecond)
	if got := state(t, alice, id); got != "sent" {
		t.Errorf("a member of another room has made it %q", got)
	}
	if got := open(t, d, 1, secret); got != "open" {
		t.Errorf("its page says %q", got)
	}
	alice.MustLeave(t, room)
	if got := open(t, d, 1, secret); got != "revoked" {
		t.Errorf("the page of an invitation of somebody who has left says %q", got)
	}
	r, err := bob.Do(t.Context(), http.MethodPost, hstest.Path("rooms", room, "join"), map[string]any{"third_party_signed": signed(t, identityKey(), alice.ID, bob.ID, id)})
	if err != nil || r.Status != http.StatusForbidden {
		t.Errorf("joining by the invitation of somebody who has left: %s, %v", r, err)
	}
}

func TestAnExpiredInvitationEndsInTheRoomToo(t *testing.T) {
	t.Parallel()
	d := start(t, 2)
	alice, bob := d.User(t, "alice"), d.User(t, "bob")
	room := alice.MustCreateRoom(t, nil)
	id, secret := newLink(t, d, alice, room, map[string]any{"expires_in_ms": 60_000})
	if _, err := storetest.DB(t, d.DSN).Exec(`UPDATE invitations SET expires_ts = $1`, time.Now().UnixMilli()); err != nil {
		t.Fatal(err)
	}
	r, err := bob.Do(t.Context(), http.MethodPost, hstest.Path("rooms", room, "join"), map[string]any{"third_party_signed": signed(t, identityKey(), alice.ID, bob.ID, id)})
	if err != nil || r.Status != http.StatusForbidden {
		t.Errorf("joining by it: %s, %v", r, err)
	}
	if got := open(t, d, 1, secret) + " " + redeem(t, d, 1, secret, "Anna"); !strings.HasPrefix(got, "expired 403 ") {
		t.Errorf("its page: %s", got)
	}
	hstest.Eventually(t, "the room is told", func() bool {
		return stateOf(t, alice, room, "org.roomline.invitation", id).Get("state").String() == "expired" &&
			!stateOf(t, alice, room, "m.room.third_party_invite", id).Get("public_key").Exists()
	})
	if got := state(t, alice, id); got != "expired" {
		t.Errorf("its state is %q", got)
	}
	alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, client+"invitations/"+id+"/resend", map[string]any{})
}
