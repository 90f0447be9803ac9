package bot_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

func TestMain(m *testing.M) { hstest.Main(m) }

const (
	commandsPath = "/_roomline/telephony/v1/commands"
	// encryptionKey is that of every deployment of hstest: the bridge's tokens are made from it.
	encryptionKey = "hstest-signing-key-encryption-ke"
	botUser       = "@telephony:hs.test"
)

// world is a deployment with the bridge inside, and a short message centre.
type world struct {
	*hstest.Deployment
	t      *testing.T
	db     *sql.DB
	centre *hstest.SMSCServer
}

func start(t *testing.T, processes int) *world {
	t.Helper()
	centre := hstest.SMSC(t)
	centre.Behave(t, `{"receipts":"on request"}`)
	w := &world{t: t, centre: centre, Deployment: hstest.Start(t, hstest.Options{Processes: processes, Configure: func(_ int, c map[string]any) {
		c["public_base_url"] = "http://guests.test"
		c["telephony"] = map[string]any{
			"mode":   "in_process",
			"media":  []string{"email", "msisdn"},
			"limits": map[string]any{"number_pause": "0s", "per_address_per_day": 100, "per_member_per_hour": 1000, "per_block_per_hour": 1000},
			"email":  map[string]any{"smtp": map[string]any{"address": "127.0.0.1:1", "tls": "none", "from": "invitations@hs.test"}},
			"sms": map[string]any{"transport": "smpp", "sender": "Roomline", "smpp": map[string]any{
				"address": centre.Address, "system_id": centre.SystemID, "password": centre.Password,
			}},
		}
	}})}
	w.db = storetest.DB(t, w.DSN)
	w.exec(`UPDATE organisations SET default_region = 'BE'`)
	// A bridge is told of what happens from its first moment on.
	hstest.Eventually(w.t, "the bridge is told of events", func() bool { return w.count(`SELECT count(*) FROM appservice_delivery`) > 0 })
	return w
}

func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(statement, args...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	if err := w.db.QueryRow(query, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) invitations() int { return w.count(`SELECT count(*) FROM invitations`) }

// patience is how long the bot may take: what a dead process had begun is begun anew after half a minute, and a message after a whole one.
const patience = 3 * time.Minute

// asBridge asks with the bridge's own token.
func (w *world) asBridge(body map[string]any) hstest.Response {
	w.t.Helper()
	mac := hmac.New(sha256.New, []byte(encryptionKey))
	mac.Write([]byte("as_token of the telephony bridge"))
	r, err := w.Do(w.t.Context(), 0, base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), http.MethodPost, commandsPath, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// said are the bot's notices in a room as they stand now, newest first, with their edits applied.
func said(t *testing.T, u *hstest.User, room string) (list []string) {
	t.Helper()
	edits := map[string]string{}
	for _, e := range u.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "messages")+"?dir=b&limit=100", nil).Get("chunk").Array() {
		if e.Get("sender").String() != botUser || e.Get("type").String() != "m.room.message" {
			continue
		}
		content := e.Get("content")
		if content.Get("msgtype").String() != "m.notice" {
			t.Errorf("the bot says something that is no notice: %s", e.Raw)
		}
		if content.Get("m\\.relates_to.rel_type").String() == "m.replace" {
			of := content.Get("m\\.relates_to.event_id").String()
			if edits[of] == "" {
				edits[of] = content.Get("m\\.new_content.body").String()
			}
			continue
		}
		text := content.Get("body").String()
		if edit := edits[e.Get("event_id").String()]; edit != "" {
			text = edit
		}
		list = append(list, text)
	}
	return list
}

// awaitSaid waits until the bot's last word in a room is as wanted.
func (w *world) awaitSaid(u *hstest.User, room, pattern string) string {
	w.t.Helper()
	form, last := regexp.MustCompile(pattern), ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if list := said(w.t, u, room); len(list) > 0 {
			if last = list[0]; form.MatchString(last) {
				return last
			}
		}
	}
	w.t.Fatalf("the bot says %q, and not %s", last, pattern)
	return ""
}

// chat waits for the bot's invite to a chat, and joins.
func (w *world) chat(u *hstest.User) string {
	w.t.Helper()
	room := ""
	hstest.Eventually(w.t, "an invite to a chat with the bot", func() bool {
		u.MustSync(w.t, hstest.Sync{}).Get("rooms.invite").ForEach(func(id, invite gjson.Result) bool {
			for _, e := range invite.Get("invite_state.events").Array() {
				if e.Get("sender").String() == botUser && e.Get("content.is_direct").Bool() {
					room = id.String()
				}
			}
			return true
		})
		return room != ""
	})
	u.MustJoin(w.t, room)
	return room
}

// withBot makes a room that the bot is in.
func (w *world) withBot(u *hstest.User, request map[string]any) string {
	w.t.Helper()
	room := u.MustCreateRoom(w.t, request)
	u.MustDo(w.t, http.MethodPost, hstest.Path("rooms", room, "invite"), map[string]any{"user_id": botUser})
	hstest.Eventually(w.t, "the bot joins", func() bool { return w.membership(room) == "join" })
	return room
}

func (w *world) membership(room string) (membership string) {
	w.t.Helper()
	err := w.db.QueryRow(`SELECT m.membership FROM memberships m JOIN rooms r USING (room_nid) WHERE r.room_id = $1 AND m.user_id = $2`, room, botUser).Scan(&membership)
	if err != nil && err != sql.ErrNoRows {
		w.t.Fatal(err)
	}
	return membership
}

func TestAMemberInvitesANumberByACommand(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	alice := w.User(t, "alice")
	room := alice.MustCreateRoom(t, map[string]any{"name": "Sales"})
	alice.MustSendText(t, room, "!invite 0470/12.34.56 in French")
	chat := w.chat(alice)
	w.awaitSaid(alice, chat, `(?m)^Invitations to Sales:\n• \+32470123456 – (on its way|sent)$`)
	seen := w.centre.Await(t, "a message", func(s hstest.SMSCSeen) bool { return len(s.Texts) == 1 })
	if m := seen.Texts[0]; m.To != "32470123456" || !strings.HasPrefix(m.Text, "Invitation de alice") || !strings.Contains(m.Text, "\nhttp://guests.test/i#") || m.Parts != 1 {
		t.Errorf("%+v", m)
	}
	// What has become of it stands in the same message.
	w.awaitSaid(alice, chat, `\+32470123456 – sent$`)
	w.centre.Receipts(t, 0, "DELIVRD")
	w.awaitSaid(alice, chat, `\+32470123456 – delivered$`)
	if got := said(t, alice, chat); len(got) != 1 {
		t.Errorf("the bot said %d things: %q", len(got), got)
	}
	// In the room it was silent, for it is not there.
	if got := said(t, alice, room); len(got) != 0 || w.membership(room) != "" {
		t.Errorf("the bot is %q in the room, and said %q", w.membership(room), got)
	}
	// The next answer comes into the same chat.
	alice.MustSendText(t, room, "!invitations")
	w.awaitSaid(alice, chat, `(?m)^Open invitations to Sales:\n• \+32470123456 – delivered$`)
	alice.MustSendText(t, room, "!revoke +32 470 12 34 56")
	w.awaitSaid(alice, chat, `(?m)^Revoked:\n• \+32470123456 – revoked$`)
	alice.MustSendText(t, room, "!invitations")
	w.awaitSaid(alice, chat, `^There are no open invitations\.$`)
}

func TestInTheRoomAndInFourLanguages(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	alice, bob := w.User(t, "alice"), w.User(t, "bob")
	room := w.withBot(alice, map[string]any{"name": "Sales", "invite": []string{bob.ID}})
	bob.MustJoin(t, room)
	for command, want := range map[string]string{
		"!inviter anna1@example.com":                    `^Invitations dans Sales :\n• anna1@example.com – en cours d'envoi$`,
		"!uitnodigen anna2@example.com":                 `^Uitnodigingen voor Sales:\n• anna2@example.com – onderweg$`,
		"!einladen anna3@example.com anna4@example.com": `^Einladungen in Sales:\n• anna3@example.com – unterwegs\n• anna4@example.com – unterwegs$`,
		"!invite Anna":                                  `^I do not understand “Anna”\. Nothing was done`,
		"!invite":                                       `^Whom\? `,
		"!invite anna5@example.com to #nowhere":         `^You are in no room “#nowhere”\.$`,
		"!help":                                         `^I invite people who have no account:`,
		"!hilfe":                                        `^Ich lade Leute ein`,
		"!resend nobody@example.com":                    `^Sent again:\n• nobody@example.com – there is no such open invitation of yours$`,
		"!invite @bob:hs.test":                          `^I do not understand “@bob:hs.test”`,
	} {
		alice.MustSendText(t, room, command)
		w.awaitSaid(bob, room, want)
	}
	// What is no command has no answer, be the bot in the room or not.
	before := len(said(t, bob, room))
	bob.MustSendText(t, room, "invite anna@example.com to Sales")
	bob.MustSend(t, room, "m.room.message", map[string]any{"msgtype": "m.notice", "body": "!help"})
	bob.MustSendText(t, room, "!hulp")
	w.awaitSaid(bob, room, `^Ik nodig mensen uit`)
	if after := len(said(t, bob, room)); after != before+1 {
		t.Errorf("the bot answered %d times", after-before)
	}
}

// Bob has not made Alice's invitations: he sees them masked, and can't take them back.
func TestOthersInvitations(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	alice, bob := w.User(t, "alice"), w.User(t, "bob")
	room := w.withBot(alice, map[string]any{"name": "Sales", "invite": []string{bob.ID}, "power_level_content_override": map[string]any{"invite": 50}})
	bob.MustJoin(t, room)
	alice.MustSendText(t, room, "!invite anna@example.com")
	w.awaitSaid(alice, room, `anna@example\.com – on its way`)
	bob.MustSendText(t, room, "!invitations")
	w.awaitSaid(bob, room, `a…@e… – on its way`)
	bob.MustSendText(t, room, "!revoke anna@example.com")
	w.awaitSaid(bob, room, `there is no such open invitation of yours`)
	// He has no power to invite.
	bob.MustSendText(t, room, "!invite carl@example.com")
	w.awaitSaid(bob, room, `^Invitations to Sales:\n• carl@example\.com – you may not do this$`)
	if n := w.invitations(); n != 1 {
		t.Errorf("%d invitations", n)
	}
}

func TestGuestsSuspendedAndLockedPeopleAskInVain(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	alice, guest := w.User(t, "alice"), w.User(t, "guest")
	room := w.withBot(alice, map[string]any{"name": "Sales", "invite": []string{guest.ID}})
	guest.MustJoin(t, room)
	for column, want := range map[string]int{"guest": http.StatusOK, "suspended": http.StatusOK, "locked": http.StatusForbidden} {
		event := guest.MustSendText(t, room, "hello")
		// The bot itself must not see a command there.
		hstest.Eventually(t, "the bot has been told of the message", func() bool {
			return w.count(`SELECT count(*) FROM appservice_delivery WHERE position >= (SELECT position FROM events WHERE event_id = $1)`, event) > 0
		})
		w.exec(`UPDATE events SET json = replace(convert_from(json, 'UTF8'), 'hello', '!invite anna@example.com')::bytea WHERE event_id = $1`, event)
		w.exec(`UPDATE users SET `+column+` = true WHERE user_id = $1`, guest.ID)
		r := w.asBridge(map[string]any{"event_id": event, "room_id": room, "action": "invite"})
		if r.Status != want || r.Status == http.StatusOK && r.JSON().Get("problem").String() != "forbidden" {
			t.Errorf("%s: %s", column, r)
		}
		w.exec(`UPDATE users SET `+column+` = false WHERE user_id = $1`, guest.ID)
	}
	if n := w.invitations(); n != 0 {
		t.Errorf("%d invitations", n)
	}
}

// The bridge can have done what people have asked for, and nothing else.
func TestTheBridgeImpersonatesNobody(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	alice, bob := w.User(t, "alice"), w.User(t, "bob")
	room := alice.MustCreateRoom(t, map[string]any{"name": "Sales", "invite": []string{bob.ID}})
	other := alice.MustCreateRoom(t, map[string]any{"name": "Other"})
	bob.MustJoin(t, room)
	said := alice.MustSendText(t, room, "Shall we !invite anna@example.com?")
	listed := alice.MustSendText(t, room, "!invitations")
	notice := alice.MustSend(t, room, "m.room.message", map[string]any{"msgtype": "m.notice", "body": "!invite anna@example.com"})
	edit := alice.MustSend(t, room, "m.room.message", map[string]any{"msgtype": "m.text", "body": "!invite anna@example.com",
		"m.new_content": map[string]any{"msgtype": "m.text", "body": "!invite anna@example.com"}, "m.relates_to": map[string]any{"rel_type": "m.replace", "event_id": said}})
	state := alice.MustSetState(t, room, "m.room.topic", "", map[string]any{"topic": "!invite anna@example.com", "msgtype": "m.text", "body": "!invite anna@example.com"})
	redacted := alice.MustSendText(t, room, "!help")
	alice.MustDo(t, http.MethodPut, hstest.Path("rooms", room, "redact", redacted, alice.TxnID()), map[string]any{})
	old := alice.MustSendText(t, room, "hello")
	w.exec(`UPDATE events SET origin_server_ts = origin_server_ts - 700000, json = replace(convert_from(json, 'UTF8'), 'hello', '!invite anna@example.com')::bytea WHERE event_id = $1`, old)
	for name, body := range map[string]map[string]any{
		"a message that says no such thing": {"event_id": said, "room_id": room, "action": "invite"},
		"another command":                   {"event_id": listed, "room_id": room, "action": "invite"},
		"a notice":                          {"event_id": notice, "room_id": room, "action": "invite"},
		"an edit":                           {"event_id": edit, "room_id": room, "action": "invite"},
		"a state event":                     {"event_id": state, "room_id": room, "action": "invite"},
		"a deleted message":                 {"event_id": redacted, "room_id": room, "action": "help"},
		"an old message":                    {"event_id": old, "room_id": room, "action": "invite"},
		"a message of another room":         {"event_id": listed, "room_id": other, "action": "list"},
		"no message":                        {"event_id": "$nothing", "room_id": room, "action": "invite"},
	} {
		if r := w.asBridge(body); r.Status != http.StatusForbidden && r.Status != http.StatusNotFound {
			t.Errorf("%s: %s", name, r)
		}
	}
	// What the bridge adds to a command is not looked at.
	if r := w.asBridge(map[string]any{"event_id": listed, "room_id": room, "action": "list", "sender": bob.ID, "user": bob.ID}); r.JSON().Get("sender").String() != alice.ID {
		t.Errorf("%s", r)
	}
	// Without action the words decide: this is no command.
	if r := w.asBridge(map[string]any{"event_id": said, "room_id": room}); r.Status != http.StatusOK || r.JSON().Get("action").Exists() {
		t.Errorf("%s", r)
	}
	if n := w.invitations(); n != 0 {
		t.Errorf("%d invitations", n)
	}
	alice.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPost, commandsPath, map[string]any{"event_id": listed, "room_id": room})
}

// A command that is told twice, or at once, is carried out once.
func TestACommandIsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	w := start(t, 2)
	alice := w.User(t, "alice")
	room := w.withBot(alice, map[string]any{"name": "Sales"})
	event := alice.MustSendText(t, room, "!invite anna@example.com +32470123456 link")
	answers := make(chan hstest.Response)
	for range 20 {
		go func() { answers <- w.asBridge(map[string]any{"event_id": event, "room_id": room, "action": "invite"}) }()
	}
	links := 0
	for range 20 {
		r := <-answers
		if r.Status == http.StatusOK && len(r.JSON().Get("results").Array()) != 3 || r.Status != http.StatusOK && r.Status != http.StatusServiceUnavailable {
			t.Errorf("%s", r)
		}
		if r.JSON().Get("link").Exists() {
			links++
		}
	}
	w.awaitSaid(alice, room, `^Invitations to Sales:\n• anna@example\.com – .*\n• \+32470123456 – .*\n• link [A-Z0-9]{8} – sent\nI have sent you the link in our chat\.$|^Invitations to Sales:`)
	w.centre.Await(t, "the message", func(s hstest.SMSCSeen) bool { return len(s.Texts) == 1 })
	if n := w.invitations(); n != 3 || links > 1 {
		t.Errorf("%d invitations, the link was told %d times", n, links)
	}
	if n := len(w.centre.Seen(t).Texts); n != 1 {
		t.Errorf("%d short messages", n)
	}
}

func TestALinkIsForTheAskerAlone(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	alice, bob := w.User(t, "alice"), w.User(t, "bob")
	room := w.withBot(alice, map[string]any{"name": "Sales", "invite": []string{bob.ID}})
	bob.MustJoin(t, room)
	alice.MustSendText(t, room, "!invite link")
	text := w.awaitSaid(alice, w.chat(alice), `http://guests\.test/i#[A-Za-z0-9_-]{22}$`)
	w.Secret(text[len(text)-22:], "the secret of a link")
	w.awaitSaid(bob, room, `^Invitations to Sales:\n• link [A-Z0-9]{8} – sent\nI have sent you the link in our chat\.$`)
	if list := said(t, bob, room); strings.Contains(strings.Join(list, "\n"), "i#") {
		t.Errorf("the room has the link: %q", list)
	}
	if n := w.count(`SELECT count(*) FROM commands WHERE convert_from(answer, 'UTF8') LIKE '%i#%'`); n != 0 {
		t.Error("the link is stored")
	}
}

// In the chat with the bot one may write as one speaks, and names the room.
func TestInTheChatWithTheBot(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	alice, bob := w.User(t, "alice"), w.User(t, "bob")
	sales := alice.MustCreateRoom(t, map[string]any{"name": "Sales  team", "room_alias_name": "sales"})
	bob.MustCreateRoom(t, map[string]any{"name": "Secret plans", "room_alias_name": "secret"})
	alice.MustCreateRoom(t, map[string]any{"name": "Twins"})
	alice.MustCreateRoom(t, map[string]any{"name": "Twins"})
	chat := w.withBot(alice, map[string]any{"is_direct": true})
	for _, c := range []struct{ say, want string }{
		{"hello", `^I invite people`},
		{"invite anna@example.com", `^To which room\?`},
		{"Please invite anna1@example.com to the sales team", `^Invitations to Sales  ?team:\n• anna1@example\.com – on its way$`},
		{"inviter anna2@example.com dans #sales", `^Invitations dans Sales  ?team :\n• anna2@example\.com`},
		{"nodig anna3@example.com uit voor " + sales, `^Uitnodigingen voor Sales`},
		{"lade anna4@example.com in Sales team ein", `^Einladungen in Sales`},
		{"!invite anna5@example.com to Sales team", `^Invitations to Sales`},
		{"invite anna@example.com to Twins", `^You are in several rooms “Twins”`},
		{"invite anna@example.com to Secret plans", `^You are in no room “Secret plans”\.$`},
		{"invite anna@example.com to #secret", `^You are in no room “#secret”\.$`},
		{"invite link to Sales team", `http://guests\.test/i#`},
		{"invitations", `^Your open invitations:\n• link [A-Z0-9]{8} – sent\n• anna5@example\.com`},
		{"revoke anna5@example.com", `^Revoked:\n• anna5@example\.com – revoked$`},
	} {
		alice.MustSendText(t, chat, c.say)
		w.awaitSaid(alice, chat, c.want)
	}
	if n := w.invitations(); n != 6 {
		t.Errorf("%d invitations", n)
	}
}

func TestTheBotReadsNothingEncryptedAndSaysSo(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	alice := w.User(t, "alice")
	encryption := map[string]any{"type": "m.room.encryption", "state_key": "", "content": map[string]any{"algorithm": "m.megolm.v1.aes-sha2"}}
	secret := alice.MustCreateRoom(t, map[string]any{"name": "Secret", "initial_state": []any{encryption}})
	alice.MustDo(t, http.MethodPost, hstest.Path("rooms", secret, "invite"), map[string]any{"user_id": botUser})
	chat := w.chat(alice)
	w.awaitSaid(alice, chat, `^I can't read in encrypted rooms`)
	hstest.Eventually(w.t, "the bot leaves", func() bool { return w.membership(secret) == "leave" })
	// A room that becomes encrypted, too.
	later := w.withBot(alice, map[string]any{"name": "Later"})
	alice.MustSetState(t, later, "m.room.encryption", "", map[string]any{"algorithm": "m.megolm.v1.aes-sha2"})
	hstest.Eventually(w.t, "the bot leaves", func() bool { return w.membership(later) == "leave" })
	if list := said(t, alice, chat); len(list) != 2 {
		t.Errorf("%q", list)
	}
	if list := said(t, alice, later); len(list) != 0 {
		t.Errorf("the bot wrote into an encrypted room: %q", list)
	}
	alice.MustSendText(t, chat, "invite anna@example.com to Secret")
	w.awaitSaid(alice, chat, `^Invitations to Secret:\n• anna@example\.com`)
}

func TestTheBotLeavesWhenItIsAlone(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	alice := w.User(t, "alice")
	room := w.withBot(alice, map[string]any{"name": "Sales"})
	alice.MustLeave(t, room)
	hstest.Eventually(w.t, "the bot leaves", func() bool { return w.membership(room) == "leave" })
}

// People of every organisation may use the bot, and each asks for their own rooms only.
func TestAnotherOrganisation(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	other := w.Organisation(t, "Other", "other.test")
	w.exec(`UPDATE organisations SET default_region = 'FR' WHERE organisation_id = $1`, other.ID)
	carol, alice := other.User(t, "carol"), w.User(t, "alice")
	alice.MustCreateRoom(t, map[string]any{"name": "Sales", "room_alias_name": "sales"})
	room := carol.MustCreateRoom(t, map[string]any{"name": "Ventes"})
	carol.MustSendText(t, room, "!inviter 06 12 34 56 78")
	chat := w.chat(carol)
	w.awaitSaid(carol, chat, `^Invitations dans Ventes :\n• \+33612345678 – `)
	carol.MustSendText(t, chat, "invite anna@example.com to #sales:hs.test")
	w.awaitSaid(carol, chat, `^You are in no room`)
	// It comes into her rooms, too, and has a name.
	carol.MustDo(t, http.MethodPost, hstest.Path("rooms", room, "invite"), map[string]any{"user_id": botUser})
	hstest.Eventually(w.t, "the bot joins", func() bool { return w.membership(room) == "join" })
	carol.MustSendText(t, room, "!invitations")
	w.awaitSaid(carol, room, `^Open invitations to Ventes:\n• \+33612345678`)
	if name := carol.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "state", "m.room.member", botUser), nil).Get("displayname").String(); name != "Invitations" {
		t.Errorf("the bot is called %q", name)
	}
	if n := w.count(`SELECT count(*) FROM invitations WHERE organisation_id = $1`, other.ID); n != 1 {
		t.Errorf("%d invitations", n)
	}
}

// Of two processes one dies again and again; every command is carried out and answered once.
func TestProcessesDieOverCommands(t *testing.T) {
	t.Parallel()
	w := start(t, 2)
	alice := w.User(t, "alice").On(1)
	room := w.withBot(alice, map[string]any{"name": "Sales"})
	const commands = 30
	for i := range commands {
		process := i % 2
		alice.On(1-process).MustSendText(t, room, fmt.Sprintf("!invite anna%d@example.com +3247012%04d", i, i))
		if i%3 == 2 {
			w.Kill9(t, process)
			w.Restart(t, process)
		}
	}
	answers := func() int {
		return w.count(`SELECT count(*) FROM events WHERE sender = $1 AND type = 'm.room.message' AND convert_from(json, 'UTF8') NOT LIKE '%"m.replace"%'`, botUser)
	}
	hstest.Eventually(w.t, "all are carried out and answered", func() bool {
		return w.count(`SELECT count(DISTINCT address) FROM invitations`) == 2*commands && answers() >= commands
	})
	seen := w.centre.Await(t, "all messages", func(s hstest.SMSCSeen) bool { return len(s.Texts) >= commands })
	if n := w.invitations(); n != 2*commands {
		t.Errorf("%d invitations", n)
	}
	to := map[string]int{}
	for _, m := range seen.Texts {
		to[m.To]++
	}
	for number, n := range to {
		if n > 1 {
			t.Errorf("%d short messages to %s", n, number)
		}
	}
	if n := answers(); n != commands {
		t.Errorf("%d answers to %d commands", n, commands)
	}
}

// TestMeetingsByCommands: a meeting now, one that is arranged with people of both kinds, once, in the clock of who asks; the list, and taking it back.
func TestMeetingsByCommands(t *testing.T) {
	t.Parallel()
	w := start(t, 1)
	alice, bob := w.User(t, "alice"), w.User(t, "bob")
	alice.MustDo(t, http.MethodPut, hstest.Path("profile", alice.ID, "m.tz"), map[string]any{"m.tz": "Europe/Brussels"})
	room := w.withBot(alice, map[string]any{"name": "Sales", "invite": []string{bob.ID}})
	bob.MustJoin(t, room)
	alice.MustSendText(t, room, "!meetings")
	w.awaitSaid(bob, room, `^There are no meetings to come\.$`)
	bob.MustSendText(t, room, "!vergader")
	w.awaitSaid(alice, room, `^De vergadering in Sales is bezig\. `)
	if n := w.count(`SELECT count(*) FROM meetings WHERE kind = 'instant' AND organiser = $1`, bob.ID); n != 1 {
		t.Errorf("%d meetings are on", n)
	}
	alice.MustSendText(t, room, "!meet 2030-07-01 14:00 1h30 Budget 2031 with @bob:hs.test, anna@example.com +32 470 12 34 56")
	w.awaitSaid(bob, room, `^Arranged: “Budget 2031”, 2030-07-01 14:00–15:30 Europe/Brussels\.(.|\n)*I have sent you the link in our chat\.$`)
	if list := said(t, bob, room); strings.Contains(strings.Join(list, "\n"), "http") {
		t.Errorf("the link is told to everybody: %v", list)
	}
	const noon = 1909137600000 // 2030-07-01T12:00Z, which is 14:00 in Brussels
	if n := w.count(`SELECT count(*) FROM meetings WHERE title = 'Budget 2031' AND start_ts = $1 AND end_ts = $2 AND organiser = $3`, int64(noon), int64(noon+90*60_000), alice.ID); n != 1 {
		t.Error("the meeting is none, or at another time")
	}
	if n := w.count(`SELECT count(*) FROM meeting_invitees WHERE user_id = $1 OR address IN ('anna@example.com', '32470123456')`, bob.ID); n != 3 {
		t.Errorf("%d of three are asked", n)
	}
	if invited := bob.MustSync(t, hstest.Sync{}).Get("rooms.invite"); len(invited.Map()) != 1 {
		t.Errorf("bob is asked into %s", invited)
	}
	// The same message is carried out once, whoever passes it on.
	id := w.text(`SELECT event_id FROM commands ORDER BY created_ts DESC LIMIT 1`)
	if r := w.asBridge(map[string]any{"event_id": id, "room_id": room, "action": "meet"}); r.Status != http.StatusOK || r.JSON().Get("meetings.#").Int() != 1 || r.JSON().Get("link").Exists() {
		t.Errorf("the same again: %s", r)
	}
	w.exec(`UPDATE commands SET answer = NULL, claimed_ts = 0 WHERE event_id = $1`, id)
	if r := w.asBridge(map[string]any{"event_id": id, "room_id": room, "action": "meet"}); r.Status != http.StatusOK {
		t.Errorf("after a crash: %s", r)
	}
	if n := w.count(`SELECT count(*) FROM meetings WHERE kind = 'scheduled'`); n != 1 {
		t.Errorf("%d meetings of one command", n)
	}
	// The others in the room do not read what else one has to do.
	alice.MustSendText(t, room, "!meetings")
	w.awaitSaid(bob, room, `^I have sent you the list in our chat\.$`)
	w.awaitSaid(alice, w.chat(alice), `^Your meetings:\n• .* – Sales \(.*\)\n• 2030-07-01 14:00–15:30 Europe/Brussels – Budget 2031 \(\w{8}\)$`)
	if list := said(t, bob, room); strings.Contains(strings.Join(list, "\n"), "Your meetings") {
		t.Errorf("the list is told to everybody: %v", list)
	}
	budget := w.text(`SELECT left(meeting_id, 8) FROM meetings WHERE title = 'Budget 2031'`)
	bob.MustSendText(t, room, "!meet cancel "+budget)
	w.awaitSaid(alice, room, `^You may not do this$`)
	alice.MustSendText(t, room, "!meet cancel ZZZZZZZZ")
	w.awaitSaid(bob, room, `^There is no such meeting`)
	alice.MustSendText(t, room, "!meet cancel "+strings.ToLower(budget))
	w.awaitSaid(bob, room, `^Cancelled: “Budget 2031”`)
	if n := w.count(`SELECT count(*) FROM meetings WHERE kind = 'scheduled' AND cancelled_ts IS NULL`); n != 0 {
		t.Error("the meeting is not cancelled")
	}
	for command, want := range map[string]string{
		"!meet 2020-01-01 14:00 Over":    `^I do not understand when, or it is over`,
		"!meet Budget":                   `^I do not understand “Budget”`,
		"!meet 2030-07-01 14:00 x bob":   `^Arranged: “x bob”`,
		"!call +32 470 12 34 56":         `^Not possible just now`,
		"!besprechen 1.7.2030 9.00 Tag":  `^Vereinbart: „Tag“, 2030-07-01 09:00–10:00 Europe/Brussels`,
		"!réunir le 1/7/2030 à 9h Revue": `^Convenu : « Revue », 2030-07-01 09:00–10:00`,
	} {
		alice.MustSendText(t, room, command)
		w.awaitSaid(bob, room, want)
	}
	// An organisation that has no meetings has none by commands.
	w.exec(`INSERT INTO organisation_policies (organisation_id, name, value) SELECT organisation_id, 'meetings', '{"who": "nobody"}' FROM users WHERE user_id = $1`, alice.ID)
	alice.MustSendText(t, room, "!meet")
	w.awaitSaid(bob, room, `^You may not do this$`)
}

func (w *world) text(query string, args ...any) (text string) {
	w.t.Helper()
	if err := w.db.QueryRow(query, args...).Scan(&text); err != nil {
		w.t.Fatal(err)
	}
	return text
}
