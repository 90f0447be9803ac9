package admin_test

import (
	"archive/zip"
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/internal/store/storetest"
)

type object = map[string]any

const users = "/_roomline/admin/v1/users"

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func must(t testing.TB, u *hstest.User, status int, method, path string, body any) gjson.Result {
	t.Helper()
	r, err := u.Do(context.Background(), method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != status {
		t.Fatalf("%s %s: %s, want %d", method, path, r, status)
	}
	return r.JSON()
}

func TestPeopleAreMadeAndChangedByTheOrganisation(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	root := d.Operator(t)
	org := d.Organisation(t, "Other", "other.test")
	d.Secret("a password for ann", "a password")
	made := must(t, root, 201, http.MethodPost, users, object{
		"localpart": "ann", "password": "a password for ann", "displayname": "Ann", "emails": []string{"Ann@Example.org"}, "phones": []string{"+49 171 5550123"},
	})
	id := made.Get("user_id").String()
	equal(t, "made", []any{made.Get("displayname"), made.Get("emails").Raw, made.Get("phones").Raw}, `[Ann ["ann@example.org"] ["491715550123"]]`)
	must(t, root, 400, http.MethodPost, users, object{"localpart": "ann"})
	ann := d.MustLogin(t, object{"type": "m.id.thirdparty", "medium": "email", "address": "ann@example.org"}, "a password for ann")
	equal(t, "found", root.MustDo(t, http.MethodGet, users+"?search=0123", nil).Get("users.#.user_id").Raw, `["`+id+`"]`)
	equal(t, "page", root.MustDo(t, http.MethodGet, users+"?limit=1", nil).Get("next_batch"), "1")
	equal(t, "devices", root.MustDo(t, http.MethodGet, users+"/"+id+"/devices", nil).Get("devices.0.device_id"), ann.DeviceID)

	// Numbers are those of the organisation's region, what an answer has may be said again, and what is no address is not passed over.
	root.MustDo(t, http.MethodPut, own+"/organisation", object{"default_region": "BE"})
	for _, c := range []struct {
		said []string
		want string
	}{
		{[]string{"0470 12 34 56"}, `["32470123456"]`}, {[]string{"32470123456"}, `["32470123456"]`}, {[]string{"+49 30 23125001"}, `["493023125001"]`},
		{[]string{"493023125001", "+49 171 5550123"}, `["493023125001","491715550123"]`},
	} {
		changed := root.MustDo(t, http.MethodPut, users+"/"+id, object{"phones": c.said}).Get("phones").Raw
		if changed != c.want {
			t.Errorf("phones %q: %s, want %s", c.said, changed, c.want)
		}
	}
	for _, wrong := range []object{{"phones": []string{"hello"}}, {"phones": []string{"123"}}, {"emails": []string{"nobody"}}, {"emails": []string{""}}} {
		root.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPut, users+"/"+id, wrong)
		root.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, users, object{"localpart": "ben", "phones": wrong["phones"], "emails": wrong["emails"]})
	}

	root.MustDo(t, http.MethodPut, users+"/"+id, object{"suspended": true, "displayname": "Ann A"})
	ann.MustFail(t, 403, "M_USER_SUSPENDED", http.MethodPost, hstest.Path("createRoom"), object{})
	root.MustDo(t, http.MethodPut, users+"/"+id, object{"suspended": false, "locked": true})
	ann.MustFail(t, 401, "M_USER_LOCKED", http.MethodGet, hstest.Path("account", "whoami"), nil)
	root.MustDo(t, http.MethodPut, users+"/"+id, object{"locked": false})
	root.MustDo(t, http.MethodPost, users+"/"+id+"/logout", object{})
	ann.MustFail(t, 401, "M_UNKNOWN_TOKEN", http.MethodGet, hstest.Path("account", "whoami"), nil)
	d.Secret("another password for ann", "a password")
	root.MustDo(t, http.MethodPut, users+"/"+id+"/password", object{"password": "another password for ann"})
	ann = d.MustLogin(t, object{"type": "m.id.user", "user": id}, "another password for ann")
	root.MustDo(t, http.MethodDelete, users+"/"+id+"/devices/"+ann.DeviceID, nil)
	ann.MustFail(t, 401, "M_UNKNOWN_TOKEN", http.MethodGet, hstest.Path("account", "whoami"), nil)

	// Another organisation's are as if they did not exist.
	for _, r := range []struct {
		method, path string
		body         any
	}{
		{http.MethodGet, "", nil}, {http.MethodPut, "", object{"locked": true}}, {http.MethodDelete, "", object{}}, {http.MethodGet, "/devices", nil},
		{http.MethodPut, "/password", object{"password": "a long enough password"}}, {http.MethodPost, "/logout", object{}}, {http.MethodPost, "/export", object{}},
		{http.MethodGet, "/erasure", nil}, {http.MethodDelete, "/devices/X", nil},
	} {
		there := org.Owner.MustFail(t, 404, "M_NOT_FOUND", r.method, users+"/"+id+r.path, r.body)
		equal(t, r.method+r.path, org.Owner.MustFail(t, 404, "M_NOT_FOUND", r.method, users+"/@nobody:hs.test"+r.path, r.body).Raw, there.Raw)
	}
	must(t, org.Owner, 400, http.MethodPost, users, object{"localpart": "spy", "domain": "hs.test"})
	equal(t, "own", org.Owner.MustDo(t, http.MethodGet, users, nil).Get("users.#.user_id").Raw, `["@owner:other.test"]`)
}

// Who manages people becomes no owner by way of an owner's account: an address of one's own would do, where people sign in through an identity
// provider.
func TestManagingPeopleIsNoWayToBecomeAnOwner(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	org := d.Organisation(t, "Other", "other.test")
	manager, member := org.User(t, "manager"), org.User(t, "member")
	org.Owner.MustDo(t, http.MethodPut, own+"/roles/"+manager.ID, object{"role": "people"})
	manager = manager.NewSession(t)
	for _, change := range []object{
		{"emails": []string{"manager@idp.example"}}, {"phones": []string{"+49 171 5550123"}}, {"locked": true}, {"suspended": true},
	} {
		manager.MustFail(t, 403, "M_FORBIDDEN", http.MethodPut, users+"/"+org.Owner.ID, change)
		manager.MustDo(t, http.MethodPut, users+"/"+member.ID, change)
	}
	manager.MustFail(t, 403, "M_FORBIDDEN", http.MethodPut, users+"/"+org.Owner.ID+"/password", object{"password": "a long enough password"})
	manager.MustFail(t, 403, "M_FORBIDDEN", http.MethodDelete, users+"/"+org.Owner.ID, object{})
	manager.MustDo(t, http.MethodPut, users+"/"+org.Owner.ID, object{"displayname": "The Owner"})
}

func TestTheAppCannotCloseAccounts(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Configure: func(_ int, c map[string]any) { delete(c, "accounts") }})
	alice := d.User(t, "alice")
	alice.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, hstest.Path("account", "deactivate"), object{"auth": object{
		"type": "m.login.password", "identifier": object{"type": "m.id.user", "user": alice.ID}, "password": alice.Password,
	}})
	alice.MustSync(t, hstest.Sync{})
}

// TestLeaversAreLockedOutEverywhereAtOnce lets devices wait for news on two processes while their account is locked, and closed.
func TestLeaversAreLockedOutEverywhereAtOnce(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{Processes: 2})
	root, alice := d.Operator(t), d.User(t, "alice")
	phone := alice.NewSession(t)
	poll := func(u *hstest.User) chan int {
		since := u.MustSync(t, hstest.Sync{}).Get("next_batch").String()
		ended := make(chan int, 1)
		go func() {
			for {
				// What waited is ended without news; asking again is refused.
				r, _ := u.Sync(context.Background(), hstest.Sync{Since: since, Timeout: 10 * time.Minute})
				if r.Status != 200 {
					ended <- r.Status
					return
				}
				since = r.JSON().Get("next_batch").String()
			}
		}()
		return ended
	}
	out := func(polls ...chan int) {
		t.Helper()
		for _, p := range polls {
			select {
			case status := <-p:
				equal(t, "a device that waited", status, 401)
			case <-time.After(time.Minute):
				t.Fatal("a device still waits")
			}
		}
	}
	a, b := poll(alice), poll(phone.On(1))
	time.Sleep(500 * time.Millisecond)
	root.MustDo(t, http.MethodPut, users+"/"+alice.ID, object{"locked": true})
	out(a, b)
	root.MustDo(t, http.MethodPut, users+"/"+alice.ID, object{"locked": false})
	a, b = poll(alice), poll(phone.On(1))
	time.Sleep(500 * time.Millisecond)
	root.MustDo(t, http.MethodDelete, users+"/"+alice.ID, object{})
	out(a, b)
}

const (
	herName  = "Zaphira Quux"
	herMail  = "zaphira@mail.example"
	herPhone = "491715550123"
	herIP    = "203.0.113.77"
	herWords = "words of hers alone"
	herFile  = "a file of hers alone"
)

// fill gives every table something of hers.
func fill(t testing.TB, db *sql.DB, root, her, bob *hstest.User) (room string) {
	t.Helper()
	root.MustDo(t, http.MethodPut, "/_roomline/scim/v2/Users/"+her.ID, object{
		"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:User"}, "userName": herMail, "displayName": herName,
		"emails": []object{{"value": herMail}}, "phoneNumbers": []object{{"value": "+" + herPhone}}, "name": object{"formatted": herName, "givenName": herName},
	})
	root.MustDo(t, http.MethodPut, "/_roomline/scim/v2/Users/"+bob.ID, object{
		"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:User"}, "userName": "bob",
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": object{"manager": object{"value": her.ID}},
	})
	must(t, root, 201, http.MethodPost, "/_roomline/scim/v2/Groups", object{
		"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Group"}, "displayName": "g", "members": []object{{"value": her.ID}},
	})
	room = her.MustCreateRoom(t, object{"room_alias_name": "hers", "invite": []string{bob.ID}})
	bob.MustJoin(t, room)
	her.MustSendText(t, room, herWords)
	file := her.MustUpload(t, "text/plain", "filename="+url.QueryEscape(herName), []byte(herFile))
	her.MustSend(t, room, "m.room.message", object{"msgtype": "m.file", "body": herName, "url": file})
	her.MustDo(t, http.MethodPut, hstest.Path("profile", her.ID, "avatar_url"), object{"avatar_url": file})
	her.MustSetState(t, room, "m.call", "_"+her.ID+"_X", object{"who": herName})
	for _, r := range []struct {
		method, path string
		body         any
	}{
		{http.MethodPut, hstest.Path("user", her.ID, "account_data", "x.y"), object{"name": herName}},
		{http.MethodPut, hstest.Path("presence", her.ID, "status"), object{"presence": "online", "status_msg": herName}},
		{http.MethodPost, hstest.Path("user", her.ID, "filter"), object{"room": object{"rooms": []string{room}}}},
		{http.MethodPost, hstest.Path("user", her.ID, "openid", "request_token"), object{}},
		{http.MethodPost, hstest.Path("rooms", room, "report"), object{"reason": herName}},
		{http.MethodPost, hstest.Path("pushers", "set"), object{
			"kind": "http", "app_id": "a", "pushkey": "k", "app_display_name": herName, "device_display_name": herName, "lang": "en",
			"data": object{"url": "https://push.example/_matrix/push/v1/notify"}}},
	} {
		her.MustDo(t, r.method, r.path, r.body)
	}
	root.MustDo(t, http.MethodPost, "/_synapse/admin/v1/send_server_notice", object{"user_id": her.ID, "content": object{"msgtype": "m.text", "body": "hello"}})
	_, _ = her.Do(context.Background(), http.MethodPost, hstest.Path("delete_devices"), object{"devices": []string{"x"}})
	root.MustDo(t, http.MethodPost, users+"/"+her.ID+"/export", object{})
	for _, q := range []string{
		`UPDATE devices SET last_seen_ip = '` + herIP + `', display_name = '` + herName + `' WHERE user_id = $1`,
		`INSERT INTO device_keys SELECT user_id, device_id, '{}' FROM devices WHERE user_id = $1`,
		`INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, json) SELECT user_id, device_id, 'a', 'k', '{}' FROM devices WHERE user_id = $1`,
		`INSERT INTO fallback_keys (user_id, device_id, algorithm, key_id, json) SELECT user_id, device_id, 'a', 'k', '{}' FROM devices WHERE user_id = $1`,
		`INSERT INTO dehydrated_devices SELECT user_id, device_id, '{}' FROM devices WHERE user_id = $1`,
		`INSERT INTO cross_signing_keys VALUES ($1, 'master', 'k', '{}')`,
		`INSERT INTO key_signatures VALUES ($1, $1, 'k', '{}')`,
		`INSERT INTO key_backups VALUES ($1, 1, 'a', '{}', 1, 1, 1)`,
		`INSERT INTO key_backup_sessions VALUES ($1, 1, 'r', 's', 0, 0, false, '{}')`,
		`INSERT INTO to_device VALUES ($1, 'D', 1, 1, 1, $1, 't', '{}')`,
		`INSERT INTO login_tokens VALUES ('\x01', $1, NULL, 4000000000000)`,
		`INSERT INTO delayed_events (delay_id, user_id, device_id, scope, room_id, type, content, origin_server_ts, sticky_ms, delay_ms, scheduled_ts)
			VALUES ('d', $1, 'D', 's', 'r', 't', '{}', 0, 0, 1000000, 4000000000000)`,
		`INSERT INTO sso_subjects VALUES ('p', 's', $1, 0)`,
		`INSERT INTO space_walks VALUES ('t', $1, 1, '{}', 4000000000000)`,
		`INSERT INTO sliding_states VALUES ($1, 'D', 'c', 1, 0, 4000000000000, '{}')`,
		`INSERT INTO push_own VALUES ($1, 1, true, true, '[]')`,
		`INSERT INTO presence_seen (user_id, device_id, state, active_ts) VALUES ($1, 'D', 'online', 0) ON CONFLICT DO NOTHING`,
		`INSERT INTO event_deletions VALUES ('$x', $1, 0)`,
		`INSERT INTO sticky_events VALUES (1, 1, '$x', $1, 4000000000000)`,
		`INSERT INTO device_list_history VALUES (1, $1, '', 0)`,
		`INSERT INTO updates (kind, room_nid, user_id, key, position, body) VALUES (3, 1, $1, '', -1, '{"until":0}'), (9, 1, $1, '', -2, '{}')`,
		`UPDATE media_objects SET user_id = $1`,
		`INSERT INTO app_passwords (user_id, name, secret_hash, created_ts, last_used_ip) VALUES ($1, '` + herName + `', '\x01', 0, '` + herIP + `')`,
		`INSERT INTO phone_profile_links VALUES ('\x01', $1, '` + herName + `', 4000000000000)`,
		`INSERT INTO address_books (user_id, created_ts) VALUES ($1, 0) ON CONFLICT DO NOTHING`,
		`INSERT INTO contacts VALUES ($1, '\x01', '\x01', '\x01', '\x01', 1, 0)`,
		`INSERT INTO person_keys_due VALUES ($1)`,
		`INSERT INTO directory_changes (user_id) VALUES ($1)`,
		`INSERT INTO directory_entries VALUES ($1, 1, 'x', -1) ON CONFLICT DO NOTHING`,
		`INSERT INTO appservice_users VALUES ($1, 'x')`,
		`INSERT INTO invitations (invitation_id, organisation_id, room_nid, inviter, medium, address, secret_hash, language, uses_allowed, created_ts, expires_ts, guest_lifetime, ended, ended_ts)
			SELECT 'i', organisation_id, (SELECT min(room_nid) FROM rooms), user_id, 'email', '` + herMail + `', '\x01', 'en', 1, 4000000000000, 4000000000000, 1, 'revoked', 4000000000000 FROM users WHERE user_id = $1`,
		`INSERT INTO guests (user_id, organisation_id, invitation_id, inviter, medium, address, role, created_ts, expires_ts, ended_ts)
			SELECT user_id, organisation_id, 'i', user_id, 'email', '` + herMail + `', 'participant', 0, 4000000000000, 4000000000000 FROM users WHERE user_id = $1`,
		`INSERT INTO new_threepids (organisation_id, medium, address, user_id) SELECT organisation_id, 'email', '` + herMail + `', user_id FROM users WHERE user_id = $1`,
		`INSERT INTO validations (sid, organisation_id, purpose, medium, address, user_id, client_secret_hash, send_attempt, code_hash, created_ts, expires_ts)
			SELECT 's', organisation_id, 'add', 'email', '` + herMail + `', user_id, '\x01', 1, '\x01', 0, 4000000000000 FROM users WHERE user_id = $1`,
		`INSERT INTO identity_tokens VALUES ('\x01', $1, 0, 4000000000000)`,
		`INSERT INTO outbox (organisation_id, kind, medium, address, sender, state, next_ts, expires_ts, created_ts)
			SELECT organisation_id, 'code', 'email', 'somebody@example.net', user_id, 'failed', 0, 0, 0 FROM users WHERE user_id = $1`,
		`INSERT INTO commands (event_id, sender, created_ts, claimed_ts) VALUES ('$x', $1, 4000000000000, 4000000000000)`,
		`INSERT INTO rtc_rooms (alias, room_nid, slot_id, created_ts) SELECT 'a', min(room_nid), 's', 0 FROM rooms WHERE $1 <> ''`,
		`INSERT INTO rtc_participants (alias, identity, user_id, device_id, member_id, rights, token_expires_ts) VALUES ('a', $1 || ':D', $1, 'D', '', '{}', 4000000000000)`,
		`INSERT INTO rtc_orders (alias, identity, action, next_ts, created_ts) VALUES ('other', $1 || ':D', 'remove', 4000000000000, 0)`,
		`INSERT INTO meetings (meeting_id, organisation_id, room_nid, organiser, kind, title, start_ts, end_ts, timezone, uid, created_ts)
			SELECT 'm', organisation_id, (SELECT min(room_nid) FROM rooms), user_id, 'scheduled', '` + herName + `', 0, 1, 'UTC', 'u', 0 FROM users WHERE user_id = $1`,
		`INSERT INTO meeting_invitees (invitee_id, meeting_id, user_id, created_ts) VALUES ('e', 'm', $1, 0)`,
		`INSERT INTO recordings (recording_id, organisation_id, room_nid, alias, started_by, recorder, state, created_ts)
			SELECT 'r', organisation_id, (SELECT min(room_nid) FROM rooms), 'a', user_id, 'egress', 'stopped', 0 FROM users WHERE user_id = $1`,
		`INSERT INTO legal_holds (hold_id, organisation_id, room_nid, reason, set_by, set_ts)
			SELECT 'h', organisation_id, (SELECT min(room_nid) FROM rooms), 'file 1', user_id, 0 FROM users WHERE user_id = $1`,
		`INSERT INTO recording_consents VALUES ('r', $1, 'yes', 'page', 0)`,
		`INSERT INTO phone_pins (pin_hash, organisation_id, room_nid, sealed, user_id, created_ts, expires_ts)
			SELECT '\x01', organisation_id, (SELECT min(room_nid) FROM rooms), '\x01', user_id, 0, 4000000000000 FROM users WHERE user_id = $1`,
		`INSERT INTO phone_calls (call_id, organisation_id, room_nid, direction, trunk, number, user_id, requested_by, state, created_ts)
			SELECT v.id, organisation_id, (SELECT min(room_nid) FROM rooms), 'out', 't', '+32470000000', v.ghost, users.user_id, 'ended', 0
			FROM users, (VALUES ('c1', $1::text), ('c2', '@phone:x')) v (id, ghost) WHERE user_id = $1`,
		`INSERT INTO phone_spending SELECT organisation_id, current_date, 1, 0 FROM users WHERE user_id = $1`,
		`INSERT INTO rtc_spending SELECT organisation_id, current_date, 1 FROM users WHERE user_id = $1`,
		`INSERT INTO outbox_spending SELECT organisation_id, current_date, 'email', 1, 0 FROM users WHERE user_id = $1`,
		`INSERT INTO outbox_pauses SELECT organisation_id, 1, 0 FROM users WHERE user_id = $1`,
		`INSERT INTO outbox_refusals SELECT '\x01', 0 WHERE $1 <> ''`,
		`INSERT INTO appservices VALUES ('x', 1, '\x01', '\x01', '{}', false, $1, 0)`,
		`INSERT INTO appservice_delivery (appservice_id, position, body) VALUES ('y', 0, convert_to($1, 'UTF8'))`,
	} {
		if _, err := db.Exec(q, her.ID); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	return room
}

// columns are all columns of all tables.
func columns(t testing.TB, db *sql.DB) map[string][]string {
	t.Helper()
	rows, err := db.Query(`SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
		WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND table_name <> 'goose_db_version'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := map[string][]string{}
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			t.Fatal(err)
		}
		all[table] = append(all[table], column)
	}
	return all
}

// where says in which columns a text stands.
func where(t testing.TB, db *sql.DB, text string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for table, list := range columns(t, db) {
		for _, column := range list {
			var n int
			// Bytes are shown with what is not ASCII escaped.
			q := fmt.Sprintf(`SELECT count(*) FROM %s WHERE position(convert_to($1, 'UTF8') IN
				CASE pg_typeof(%s)::text WHEN 'bytea' THEN %s::text::bytea ELSE convert_to(%s::text, 'UTF8') END) > 0`, table, column, column, column)
			if err := db.QueryRow(q, text).Scan(&n); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			if n > 0 {
				found[table] = append(found[table], column)
			}
		}
	}
	return found
}

func inventory(table string) store.Personal {
	i := slices.IndexFunc(store.Inventory, func(p store.Personal) bool { return p.Table == table })
	return store.Inventory[i]
}

// TestErasureIsComplete fills every table, erases somebody, kills the processes meanwhile, and looks for what is left in every table and file.
func TestErasureIsComplete(t *testing.T) {
	t.Parallel()
	var folders []string
	// Housekeeping would remove some of what the test makes, before the erasure or instead of it.
	dsn := storetest.DSN(t)
	if _, ok, err := storetest.Open(t, dsn).TryLease(t.Context(), "housekeeping"); err != nil || !ok {
		t.Fatalf("the lease of housekeeping: %v, %v", ok, err)
	}
	d := hstest.Start(t, hstest.Options{Processes: 2, DSN: dsn, Configure: func(_ int, c map[string]any) {
		shared := filepath.Join(filepath.Dir(filepath.Dir(c["data_dir"].(string))), "media")
		c["media"] = object{"folder": shared}
		folders = append(folders, shared)
	}})
	root, her, bob := d.Operator(t), d.User(t, "z4711"), d.User(t, "bob")
	db := storetest.DB(t, d.DSN)
	room := fill(t, db, root, her, bob)

	before := where(t, db, her.ID)
	for _, p := range store.Inventory {
		if (p.Erase != "" || len(p.Residue) > 0) && before[p.Table] == nil && !slices.Contains([]string{
			// What is made only meanwhile, or by others; sessions and keys have the device's.
			"erasures", "media_unlinked", "media_deletions", "blocked_rooms", "room_deletions", "push_facts", "relations", "search_documents",
			// Queues that are emptied at once.
			"directory_changes", "new_threepids",
		}, p.Table) {
			t.Errorf("the table %s was not filled", p.Table)
		}
	}
	archive := fetchExport(t, root, users+"/"+her.ID+"/export")
	checkArchive(t, archive)

	must(t, root, 200, http.MethodDelete, users+"/"+her.ID, object{"erase_messages": true, "erase_media": true})
	d.Kill9(t, 0)
	d.Kill9(t, 1)
	her.On(0)
	d.Restart(t, 0)
	d.Restart(t, 1)
	hstest.Eventually(t, "the erasure is done", func() bool {
		return root.MustDo(t, http.MethodGet, users+"/"+her.ID+"/erasure", nil).Get("done_ts").Int() > 0
	})
	her.MustFail(t, 401, "M_UNKNOWN_TOKEN", http.MethodGet, hstest.Path("account", "whoami"), nil)

	for _, text := range []string{herName, herMail, herPhone, herIP, herWords} {
		for table, list := range where(t, db, text) {
			t.Errorf("%q is left in %s %v", text, table, list)
		}
	}
	for table, list := range where(t, db, her.ID) {
		for _, column := range list {
			if !slices.Contains(inventory(table).Residue, column) {
				t.Errorf("the user id is left in %s.%s", table, column)
			}
		}
	}
	for _, folder := range folders {
		_ = filepath.WalkDir(folder, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return nil
			}
			if raw, _ := os.ReadFile(path); bytes.Contains(raw, []byte(herFile)) {
				t.Errorf("the file is left in %s", path)
			}
			return nil
		})
	}
	// Others' rooms go on.
	bob.MustSendText(t, room, "still here")
	equal(t, "members", bob.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "joined_members"), nil).Get("joined").Raw != "", true)
	must(t, root, 404, http.MethodDelete, users+"/"+her.ID, object{})
}

func fetchExport(t testing.TB, root *hstest.User, path string) *zip.Reader {
	t.Helper()
	link := root.BaseURL() + root.MustDo(t, http.MethodPost, path, object{}).Get("path").String()
	resp, err := http.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d %s %v", resp.StatusCode, raw, err)
	}
	if resp, err = http.Get(link); err != nil || resp.StatusCode != 404 {
		t.Fatalf("the link was good twice: %v %v", resp, err)
	}
	resp.Body.Close()
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func content(t testing.TB, z *zip.Reader, name string) string {
	t.Helper()
	f, err := z.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// checkArchive looks for all that is hers in the archive, by the inventory.
func checkArchive(t testing.TB, z *zip.Reader) {
	t.Helper()
	manifest := gjson.Parse(content(t, z, "manifest.json"))
	for _, p := range store.Inventory {
		switch {
		case p.Export == "":
			equal(t, p.Table, manifest.Get("not_exported."+p.Table), p.NotExported)
		case manifest.Get("files."+p.Table+`\.jsonl`).Int() == 0 && p.Table != "media_deletions" && p.Table != "audit_log":
			t.Errorf("the archive has nothing of %s", p.Table)
		}
	}
	for name, want := range map[string]string{
		"events.jsonl": herWords, "user_threepids.jsonl": herMail, "profiles.jsonl": herName, "devices.jsonl": herIP, "updates.jsonl": `"account_data"`,
		"media.jsonl": herName,
	} {
		if !strings.Contains(content(t, z, name), want) {
			t.Errorf("%s has no %q", name, want)
		}
	}
	var files int
	for _, f := range z.File {
		if strings.HasPrefix(f.Name, "media/") && content(t, z, f.Name) == herFile {
			files++
		}
	}
	equal(t, "files", files, 1)
	for _, secret := range []string{"access_token_hash", "password_hash"} {
		for _, f := range z.File {
			if strings.Contains(content(t, z, f.Name), secret) {
				t.Errorf("%s has %s", f.Name, secret)
			}
		}
	}
}

func TestExportOfARoom(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	root, alice := d.Operator(t), d.User(t, "alice")
	org := d.Organisation(t, "Other", "other.test")
	room := alice.MustCreateRoom(t, object{"name": "A room"})
	alice.MustSendText(t, room, herWords)
	file := alice.MustUpload(t, "text/plain", "", []byte(herFile))
	alice.MustSend(t, room, "m.room.message", object{"msgtype": "m.file", "body": "f", "url": file})
	path := "/_roomline/admin/v1/rooms/" + url.PathEscape(room) + "/export"
	org.Owner.MustFail(t, 404, "M_NOT_FOUND", http.MethodPost, path, object{})
	alice.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, path, object{})
	z := fetchExport(t, root, path)
	if !strings.Contains(content(t, z, "events.jsonl"), herWords) || !strings.Contains(content(t, z, "state.jsonl"), "m.room.name") {
		t.Error("the archive has no message or no state")
	}
	equal(t, "file", content(t, z, "media/"+strings.TrimPrefix(file, "mxc://")), herFile)
	if r, err := http.Get(root.BaseURL() + "/_roomline/exports/nonsense"); err != nil || r.StatusCode != 404 {
		t.Errorf("%v %v", r, err)
	}
}
