package tenancy

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/hstest"
	"github.com/roomline/roomline/internal/store/storetest"
)

// canaryWord is what is searched for; canary, which begins with it, stands in every field of the organisation that is not to be seen.
const (
	canaryWord = "kanarienvogel"
	canary     = canaryWord + "xq7f3a"

	theirs, ours = "kundea.test", "kundeb.test" // the domains of the two organisations
)

// deployment is a server with two customers' organisations beside the operator's.
type deployment struct {
	*hstest.Deployment
	db   *sql.DB
	orgs map[string]*hstest.Organisation
	made int
	// basics are app passwords, by the access token of whose they are.
	basics map[string]string
}

func start(t *testing.T) *deployment {
	t.Helper()
	meetings := hstest.WithLiveKit(hstest.LiveKit(t))
	dep := hstest.Start(t, hstest.Options{Configure: func(process int, config map[string]any) {
		config["public_base_url"] = "https://guests.test"
		meetings(process, config)
		config["telephony"] = map[string]any{"voice": map[string]any{"trunks": []any{map[string]any{
			"name": "carrier", "numbers": []any{map[string]any{"number": "+3225550100", "country": "BE"}},
		}}}}
	}})
	db := storetest.DB(t, dep.DSN)
	return &deployment{Deployment: dep, db: db, basics: map[string]string{}, orgs: map[string]*hstest.Organisation{
		theirs: dep.Organisation(t, "Organisation "+canary, theirs), ours: dep.Organisation(t, "Ours", ours)}}
}

// Kinds of accounts.
const (
	member  = "member"
	owner   = "owner"
	people  = "people"
	auditor = "auditor"
	guest   = "guest"
)

// account makes an account of an organisation and signs it in.
func (d *deployment) account(t *testing.T, domain, kind string) *hstest.User {
	t.Helper()
	d.made++
	u := d.orgs[domain].User(t, fmt.Sprintf("u%d", d.made))
	if kind == member {
		return u
	}
	role := kind
	if kind == guest {
		role = ""
	}
	if _, err := d.db.Exec(`UPDATE users SET role = $2, guest = $3 WHERE user_id = $1`, u.ID, role, kind == guest); err != nil {
		t.Fatal(err)
	}
	return u.NewSession(t)
}

// side is what there is of the organisation behind the wall.
type side struct {
	owner, member, guest *hstest.User
	// subjects are identifiers by the names that routes have for them: of several rooms, and of people and things.
	subjects []map[string]string
	// since is the member's place in sync after all was made.
	since string
}

// rooms are those of a side, by their kind.
var rooms = []map[string]any{
	{"preset": "private_chat"},
	{"preset": "public_chat", "visibility": "public"},
	{"preset": "public_chat", "visibility": "public", "creation_content": map[string]any{"type": "m.space"}},
	{"preset": "public_chat", "initial_state": []any{map[string]any{"type": "m.room.history_visibility", "content": map[string]any{"history_visibility": "world_readable"}},
		map[string]any{"type": "m.room.guest_access", "content": map[string]any{"guest_access": "can_join"}}}},
	{"preset": "private_chat", "initial_state": []any{map[string]any{"type": "m.room.join_rules", "content": map[string]any{"join_rule": "knock"}}}},
}

// side makes people and rooms of the first organisation.
func (d *deployment) side(t *testing.T) *side {
	t.Helper()
	s := &side{owner: d.account(t, theirs, owner), member: d.account(t, theirs, member), guest: d.account(t, theirs, guest)}
	people := s.people(t)
	maps.Copy(people, s.administered(t, d.Operator(t)))
	maps.Copy(people, d.contacts(t, s.member))
	people["domain"] = theirs
	people["holdId"] = s.owner.MustDo(t, http.MethodPost, "/_roomline/admin/v1/holds", map[string]any{"user_id": s.owner.ID, "reason": canary}).Get("hold_id").String()
	people["organisationId"] = strconv.FormatInt(d.orgs[theirs].ID, 10)
	for i, request := range rooms {
		subject := s.room(t, d.made*10+i, request)
		for name, value := range people {
			subject[name] = value
		}
		subject["callId"] = d.phoned(t, s, subject["roomId"])
		s.subjects = append(s.subjects, subject)
		if alias := subject["roomAlias"]; alias != "" {
			byAlias := map[string]string{}
			for name, value := range subject {
				byAlias[name] = value
			}
			byAlias["roomIdOrAlias"] = alias
			s.subjects = append(s.subjects, byAlias)
		}
	}
	d.invited(t, s)
	s.since = s.member.MustSync(t, hstest.Sync{}).Get("next_batch").String()
	return s
}

// phoned is a call out of a room that the member had made.
func (d *deployment) phoned(t *testing.T, s *side, room string) string {
	t.Helper()
	var id string
	if err := d.db.QueryRow(`
		INSERT INTO phone_calls (call_id, organisation_id, room_nid, direction, trunk, number, name, requested_by, state, created_ts, ended_ts)
		SELECT 'call' || md5(room_id), $1, room_nid, 'out', 'carrier', '+32470123456', $2, $3, 'ended', 4000000000000, 4000000000000 FROM rooms WHERE room_id = $4
		RETURNING call_id`, d.orgs[theirs].ID, canary, s.member.ID, room).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// invited makes the guest one who came by an invitation to the first room.
func (d *deployment) invited(t *testing.T, s *side) {
	t.Helper()
	room := s.subjects[0]["roomId"]
	s.member.MustInvite(t, room, s.guest)
	s.guest.MustJoin(t, room)
	for _, statement := range []string{
		`INSERT INTO invitations (invitation_id, organisation_id, room_nid, inviter, medium, address, secret_hash, language, uses_allowed, uses, created_ts,
			expires_ts, guest_lifetime)
		SELECT 'of ' || $1, $2, room_nid, $3, 'email', $4, sha256(convert_to($1, 'UTF8')), 'en', 1, 1, 4000000000000, 4000000000000, 1
		FROM rooms WHERE room_id = $5`,
		`INSERT INTO guests (user_id, organisation_id, invitation_id, inviter, medium, address, role, created_ts, expires_ts)
		SELECT $1, $2, 'of ' || $1, $3, 'email', $4, 'participant', 4000000000000, 4000000000000 FROM rooms WHERE room_id = $5`,
	} {
		if _, err := d.db.Exec(statement, s.guest.ID, d.orgs[theirs].ID, s.member.ID, canary+"@mail.test", room); err != nil {
			t.Fatal(err)
		}
	}
}

// people fills what accounts have.
func (s *side) people(t *testing.T) map[string]string {
	t.Helper()
	u := s.member
	me := hstest.Path("user", u.ID)
	put := func(path string, body any) { u.MustDo(t, http.MethodPut, path, body) }
	avatar := u.MustUpload(t, "text/plain", "filename="+canary+".txt", []byte(canary))
	put(hstest.Path("profile", u.ID, "displayname"), map[string]any{"displayname": "Name " + canary})
	put(hstest.Path("profile", u.ID, "avatar_url"), map[string]any{"avatar_url": avatar})
	put(hstest.Path("profile", u.ID, "org.example.field"), map[string]any{"org.example.field": canary})
	put(hstest.Path("presence", u.ID, "status"), map[string]any{"presence": "online", "status_msg": canary})
	put(me+"/account_data/org.example.data", map[string]any{"text": canary})
	put(hstest.Path("devices", u.DeviceID), map[string]any{"display_name": canary})
	keys := map[string]any{}
	for i := range 20 {
		keys[fmt.Sprintf("curve25519:AAAA%02d", i)] = "kgPDOJzGZCg0/cAHI+a7aGyJTsCYQLyOnLxJNDnEcEo"
	}
	u.MustDo(t, http.MethodPost, hstest.Path("keys", "upload"), map[string]any{"one_time_keys": keys})
	filter := u.MustDo(t, http.MethodPost, me+"/filter", map[string]any{"room": map[string]any{"rooms": []string{"!" + canary + ":x"}}})
	backup := u.MustDo(t, http.MethodPost, hstest.Path("room_keys", "version"), map[string]any{
		"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": map[string]any{"public_key": canary, "signatures": map[string]any{}}})
	u.MustDo(t, http.MethodPost, hstest.Path("pushers", "set"), map[string]any{"kind": "http", "app_id": "org.example.a", "pushkey": canary,
		"app_display_name": canary, "device_display_name": canary, "lang": "en", "data": map[string]any{"url": "https://push.kundea.test/_matrix/push/v1/notify"}})
	put(hstest.Path("pushrules", "global", "content", canaryWord), map[string]any{"pattern": canary, "actions": []any{"notify"}})
	service := "crm-" + strings.TrimPrefix(strings.Split(u.ID, ":")[0], "@")
	s.owner.MustDo(t, http.MethodPost, "/_roomline/admin/v1/appservices", map[string]any{
		"id": service, "url": nil, "sender_localpart": service, "namespaces": map[string]any{}})
	link := s.owner.MustDo(t, http.MethodPost, "/_roomline/admin/v1/links", map[string]any{
		"domain": strings.TrimPrefix(strings.Split(u.ID, ":")[0], "@") + ".elsewhere.test", "message": canary, "gives": map[string]any{"name": true}})
	_, avatarID, _ := strings.Cut(strings.TrimPrefix(avatar, "mxc://"), "/")
	return map[string]string{
		"appserviceId": service, "linkId": link.Get("link_id").String(), "avatarId": avatarID, "userId": u.ID, "deviceId": u.DeviceID, "filterId": filter.Get("filter_id").String(), "version": backup.Get("version").String(),
		"type": "org.example.data", "keyName": "displayname", "ruleId": canaryWord, "kind": "content", "tag": "u.work",
		"sessionId": "session", "guestId": s.guest.ID, "ownerId": s.owner.ID,
	}
}

// administered fills what administrators and directories have.
func (s *side) administered(t *testing.T, operator *hstest.User) map[string]string {
	t.Helper()
	local := s.member.ID[1:strings.Index(s.member.ID, ":")]
	do := func(by *hstest.User, method, path string, body any) gjson.Result {
		answer, err := by.Do(t.Context(), method, path, body)
		if err != nil || answer.Status >= 300 {
			t.Fatalf("%s %s: %s %v", method, path, answer, err)
		}
		return answer.JSON()
	}
	address, external := "mail-"+local+"@mail.test", "external-"+local
	person := do(s.owner, "POST", "/_roomline/scim/v2/Users", map[string]any{
		"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:User"}, "userName": "sam-" + local + "@mail.test", "externalId": external,
		"displayName": "Sam " + canary, "title": "Title " + canary, "name": map[string]any{"givenName": canary, "familyName": canary},
		"emails": []any{map[string]any{"value": address}},
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": map[string]any{"department": canary, "manager": map[string]any{"value": s.owner.ID}},
	})
	group := do(s.owner, "POST", "/_roomline/scim/v2/Groups", map[string]any{
		"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Group"}, "displayName": "Group " + canary, "externalId": external,
		"members": []any{map[string]any{"value": s.member.ID}}, "urn:roomline:params:scim:schemas:extension:1.0:Group": map[string]any{"kind": "none"},
	})
	do(operator, "PUT", "/_synapse/admin/v2/users/"+s.member.ID, map[string]any{
		"external_ids": []any{map[string]any{"auth_provider": "idp", "external_id": external}}})
	token := do(s.owner, "POST", "/_synapse/admin/v1/registration_tokens/new", map[string]any{"token": "registration-" + local}).Get("token").String()
	blocked := "!blocked-" + local + ":" + theirs
	do(s.owner, "PUT", "/_synapse/admin/v1/rooms/"+blocked+"/block", map[string]any{"block": true})
	deleted := s.owner.MustCreateRoom(t, map[string]any{"name": canary})
	deletion := do(s.owner, "DELETE", "/_synapse/admin/v2/rooms/"+deleted, map[string]any{"message": canary})
	do(s.owner, "POST", "/_roomline/admin/v1/users/"+s.member.ID+"/export", nil)
	do(s.owner, "PUT", "/_roomline/admin/v1/policies/media", map[string]any{})
	return map[string]string{
		"scimId": person.Get("id").String(), "scimName": "sam-" + local + "@mail.test", "groupId": group.Get("id").String(), "address": address,
		"externalId": external, "registrationToken": token, "blockedRoomId": blocked, "deletedRoomId": deleted, "deleteId": deletion.Get("delete_id").String(),
	}
}

// contacts fills the private address book, and finds somebody in the organisation's.
func (d *deployment) contacts(t *testing.T, u *hstest.User) map[string]string {
	t.Helper()
	id := "contact-" + u.ID[1:strings.Index(u.ID, ":")] + ".vcf"
	u.MustDo(t, http.MethodPut, "/_roomline/client/v1/contacts/"+id, map[string]any{"name": "Contact " + canary, "note": canary})
	password := u.MustDo(t, http.MethodPost, "/_roomline/client/v1/app_passwords", map[string]any{"name": canary})
	a := &asker{user: u, basic: d.basic(t, u)}
	var person string
	if answer := a.send(t, sent{"PROPFIND", "/_roomline/dav/addressbooks/" + u.ID[1:] + "/organisation", "", appPassword}); answer.Status != http.StatusMultiStatus {
		t.Fatalf("the organisation's address book: %s", answer)
	}
	if err := d.db.QueryRow(`SELECT object_name FROM directory_entries WHERE user_id = $1`, u.ID).Scan(&person); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"personObject": person + ".vcf", "contactId": id, "object": id, "book": "personal", "user": u.ID[1:], "appPasswordId": password.Get("id").String()}
}

// room makes a room with something of everything in it.
func (s *side) room(t *testing.T, number int, request map[string]any) map[string]string {
	t.Helper()
	u := s.member
	body := map[string]any{"name": "Room " + canary, "topic": "Topic " + canary, "room_alias_name": fmt.Sprintf("room%d", number), "invite": []string{s.owner.ID}}
	for key, value := range request {
		body[key] = value
	}
	id := u.MustCreateRoom(t, body)
	s.owner.MustJoin(t, id)
	file := u.MustUpload(t, "text/plain", "filename="+canary+".txt", []byte("File "+canary))
	server, media, _ := strings.Cut(strings.TrimPrefix(file, "mxc://"), "/")
	event := u.MustSend(t, id, "m.room.message", map[string]any{"msgtype": "m.file", "body": "Message " + canary, "url": file})
	u.MustSend(t, id, "m.room.message", map[string]any{"msgtype": "m.text", "body": "Reply " + canary,
		"m.relates_to": map[string]any{"rel_type": "m.thread", "event_id": event}})
	u.MustSetState(t, id, "org.example.state", "", map[string]any{"text": canary})
	me := hstest.Path("user", u.ID, "rooms", id)
	u.MustDo(t, http.MethodPut, me+"/account_data/org.example.data", map[string]any{"text": canary})
	u.MustDo(t, http.MethodPut, me+"/tags/u.work", map[string]any{"order": 0.5})
	u.MustDo(t, http.MethodPost, hstest.Path("rooms", id, "receipt", "m.read", event), map[string]any{})
	u.MustDo(t, http.MethodPut, hstest.Path("room_keys", "keys", id, "session")+"?version="+s.backup(t), map[string]any{
		"first_message_index": 1, "forwarded_count": 0, "is_verified": true, "session_data": map[string]any{"ciphertext": canary}})
	delay := u.MustDo(t, http.MethodPut, "/_matrix/client/unstable/org.matrix.msc4140"+strings.TrimPrefix(hstest.Path("rooms", id, "delayed_event", "m.room.message", u.TxnID()), "/_matrix/client/v3"),
		map[string]any{"delay_ms": 3_600_000, "content": map[string]any{"msgtype": "m.text", "body": canary}})
	u.MustDo(t, http.MethodPut, "/_matrix/client/unstable/io.element.msc4306"+strings.TrimPrefix(hstest.Path("rooms", id, "thread", event, "subscription"), "/_matrix/client/v3"), map[string]any{})
	invitation := u.MustDo(t, http.MethodPost, "/_roomline/client/v1/rooms/"+id+"/invitations", map[string]any{"meeting": map[string]any{
		"uid": canary, "title": "Meeting " + canary, "timezone": "Europe/Brussels", "start_ts": time.Now().UnixMilli(), "end_ts": time.Now().Add(time.Hour).UnixMilli()}})
	meeting := u.MustDo(t, http.MethodPost, "/_roomline/client/v1/rooms/"+id+"/meeting", map[string]any{}).Get("meeting_id").String()
	asked := u.MustDo(t, http.MethodPost, "/_roomline/client/v1/meetings/"+meeting+"/invitees", map[string]any{"invitees": []any{map[string]any{"user_id": s.owner.ID, "name": canary}}})
	return map[string]string{
		"meetingId": meeting, "inviteeId": asked.Get("invitees.0.invitee_id").String(),
		"invitationId": invitation.Get("invitation_id").String(),
		"roomId":       id, "roomIdOrAlias": id, "roomAlias": fmt.Sprintf("#room%d:%s", number, theirs), "eventId": event,
		"serverName": server, "mediaId": media, "delayId": delay.Get("delay_id").String(),
	}
}

func (s *side) backup(t *testing.T) string {
	return s.member.MustDo(t, http.MethodGet, hstest.Path("room_keys", "version"), nil).Get("version").String()
}

// missing is a subject of the same form of which there is nothing.
func missing(subject map[string]string) map[string]string {
	none := map[string]string{}
	for name, value := range subject {
		switch name {
		case "roomId", "eventId", "mediaId", "avatarId", "delayId", "deviceId", "filterId", "deletedRoomId", "blockedRoomId", "groupId", "deleteId", "invitationId", "meetingId", "inviteeId",
			"callId", "holdId":
			none[name] = another(value)
		case "userId", "guestId", "ownerId", "scimId":
			none[name] = "@z" + value[2:]
		case "roomAlias":
			none[name] = "#z" + value[2:]
		case "roomIdOrAlias":
			if none[name] = another(value); value[0] == '#' {
				none[name] = "#z" + value[2:]
			}
		case "appserviceId":
			none[name] = "crm-z" + value[5:]
		case "domain":
			none[name] = "kundez.test"
		case "user", "scimName", "address", "externalId", "registrationToken", "contactId", "object", "personObject":
			none[name] = "z" + value[1:]
		case "organisationId", "linkId", "appPasswordId":
			none[name] = "987654"
		default:
			none[name] = value
		}
	}
	return none
}

// another identifier of the same length, with the same domain.
func another(id string) string {
	local, domain, has := strings.Cut(id, ":")
	sigil := ""
	if local != "" && strings.ContainsAny(local[:1], "!$") {
		sigil, local = local[:1], local[1:]
	}
	changed := []byte(local)
	for i := range min(8, len(changed)) {
		changed[i] = 'z'
	}
	if has {
		return sigil + string(changed) + ":" + domain
	}
	return sigil + string(changed)
}

// text is JSON.
func text(v any) string {
	raw, _ := json.Marshal(v)
	return string(raw)
}
