package clientapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/roomline/roomline/clientapi"
	"github.com/roomline/roomline/internal/matrix"
)

// state is the content of a state event, nil when there is none.
func (c *client) state(id, eventType, key string) object {
	c.p.t.Helper()
	status, answer := c.do("GET", room(id)+"/state/"+eventType+"/"+esc(key), nil)
	if status != 200 {
		return nil
	}
	o, _ := answer.(map[string]any)
	return o
}

func TestCreateRoomDoesWhatTheRequestSays(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob := p.client("alice"), p.client("bob")
	for _, version := range []string{"1", "6", "10", "11", "12"} {
		name := "pub" + version
		id := alice.create(object{
			"room_version": version, "visibility": "public", "room_alias_name": name, "name": "The Pub", "topic": "Happy hour",
			"invite": []string{bob.user, bob.user, alice.user}, "is_direct": true, "invite_3pid": []string{},
			"creation_content": object{"m.federate": false, "type": "m.space", "room_version": "1"},
			"initial_state": []object{
				{"type": "m.room.guest_access", "content": object{"guest_access": "forbidden"}},
				{"type": "m.room.name", "content": object{"name": "overruled"}},
				{"type": "org.example", "state_key": "k", "content": object{"a": 1}}},
			"power_level_content_override": object{"events_default": 7},
		})
		if got := alice.ok("GET", "/directory/room/"+esc("#"+name+":one.test"), nil).text("room_id"); got != id {
			t.Errorf("the alias leads to %s", got)
		}
		for _, want := range []struct{ eventType, key, field, value string }{
			{"m.room.create", "", "room_version", version}, {"m.room.create", "", "type", "m.space"}, {"m.room.create", "", "m.federate", "false"},
			{"m.room.canonical_alias", "", "alias", "#" + name + ":one.test"}, {"m.room.name", "", "name", "The Pub"},
			{"m.room.topic", "", "topic", "Happy hour"}, {"m.room.join_rules", "", "join_rule", "public"},
			{"m.room.guest_access", "", "guest_access", "forbidden"}, {"m.room.history_visibility", "", "history_visibility", "shared"},
			{"m.room.member", bob.user, "membership", "invite"}, {"m.room.member", bob.user, "is_direct", "true"},
			{"m.room.member", alice.user, "membership", "join"}, {"m.room.power_levels", "", "events_default", "7"}, {"org.example", "k", "a", "1"},
		} {
			if got := fmt.Sprint(alice.state(id, want.eventType, want.key)[want.field]); got != want.value {
				t.Errorf("version %s: %s %s is %s; want %s", version, want.eventType, want.field, got, want.value)
			}
		}
	}
	alice.refused(400, "M_ROOM_IN_USE", "POST", "/createRoom", object{"room_alias_name": "pub12"})
	if got := len(alice.ok("GET", "/joined_rooms", nil)["joined_rooms"].([]any)); got != 5 {
		t.Errorf("%d joined rooms; want 5", got)
	}
}

func TestPresetsGiveTheirJoinRules(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob := p.client("alice"), p.client("bob")
	for preset, rule := range map[string]string{"private_chat": "invite", "trusted_private_chat": "invite", "public_chat": "public"} {
		id := alice.create(object{"preset": preset, "room_version": "11", "invite": []string{bob.user}})
		if got := alice.state(id, "m.room.join_rules", "").text("join_rule"); got != rule {
			t.Errorf("%s: %s", preset, got)
		}
		users := alice.state(id, "m.room.power_levels", "").inner("users")
		if trusted := users[bob.user] == 100.0; trusted != (preset == "trusted_private_chat") {
			t.Errorf("%s: users %v", preset, users)
		}
	}
	id := alice.create(object{"preset": "trusted_private_chat", "invite": []string{bob.user}})
	if got := alice.state(id, "m.room.create", "")["additional_creators"]; fmt.Sprint(got) != fmt.Sprint([]string{bob.user}) {
		t.Errorf("additional_creators: %v", got)
	}
}

// TestBadRequestsAreRefusedByName sends what is wrong in one way each.
func TestBadRequestsAreRefusedByName(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).process()
	alice, bob := p.client("alice"), p.client("bob")
	id := alice.create(object{"preset": "public_chat"})
	old := alice.create(object{"room_version": "1"})
	r, event := room(id), esc(alice.say(id, "x"))
	many := strings.Repeat(`"@u:one.test",`, 300)
	deep := strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)
	for _, c := range []struct {
		status             int
		code               matrix.ErrCode
		method, path, body string
		names              string // is part of the message
	}{
		{400, "M_NOT_JSON", "POST", "/createRoom", ``, ""},
		{400, "M_NOT_JSON", "POST", "/createRoom", `{`, ""},
		{400, "M_BAD_JSON", "POST", "/createRoom", `[]`, ""},
		{400, "M_BAD_JSON", "POST", "/createRoom", `null`, ""},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"name":1}`, "name"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"name":"a","name":"b"}`, "name"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"Name":"a"}`, "name"},
		{400, "M_INVALID_PARAM", "POST", "/createRoom", `{"preset":"secret_chat"}`, "preset"},
		{400, "M_INVALID_PARAM", "POST", "/createRoom", `{"visibility":"hidden"}`, "visibility"},
		{400, "M_UNSUPPORTED_ROOM_VERSION", "POST", "/createRoom", `{"room_version":"99"}`, "room_version"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"room_version":12}`, "room_version"},
		{400, "M_INVALID_PARAM", "POST", "/createRoom", `{"room_alias_name":"#a:one.test"}`, "room_alias_name"},
		{400, "M_INVALID_PARAM", "POST", "/createRoom", `{"room_alias_name":"` + strings.Repeat("a", 255) + `"}`, "room_alias_name"},
		{400, "M_INVALID_PARAM", "POST", "/createRoom", `{"invite":["bob"]}`, "invite"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"invite":"@bob:one.test"}`, "invite"},
		{400, "M_INVALID_PARAM", "POST", "/createRoom", `{"invite":[` + strings.TrimSuffix(many, ",") + `]}`, "invite"},
		{404, "M_NOT_FOUND", "POST", "/createRoom", `{"invite":["@nobody:one.test"]}`, "@nobody:one.test"},
		{404, "M_NOT_FOUND", "POST", "/createRoom", `{"invite":["@bob:elsewhere.test"]}`, "@bob:elsewhere.test"},
		{403, "M_THREEPID_DENIED", "POST", "/createRoom", `{"invite_3pid":[{"medium":"email","address":"a@b.c"}]}`, ""},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"creation_content":[]}`, "creation_content"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"creation_content":{"m.federate":"no"}}`, "m.federate"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"creation_content":{"predecessor":"x"}}`, "predecessor"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"creation_content":{"predecessor":{"room_id":1}}}`, "predecessor"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"creation_content":{"type":7}}`, "type"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"creation_content":{"x":1.5}}`, "creation_content"},
		{400, "M_INVALID_PARAM", "POST", "/createRoom", `{"creation_content":{"additional_creators":"x"}}`, "additional_creators"},
		{400, "M_INVALID_PARAM", "POST", "/createRoom", `{"creation_content":{"additional_creators":["x"]}}`, "additional_creators"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"power_level_content_override":7}`, "power_level_content_override"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"power_level_content_override":{"users":7}}`, "users"},
		{400, "M_INVALID_ROOM_STATE", "POST", "/createRoom", `{"power_level_content_override":{"users_default":"x"}}`, ""},
		{400, "M_INVALID_ROOM_STATE", "POST", "/createRoom", `{"room_version":"10","power_level_content_override":{"users":{}},"name":"x"}`, ""},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"initial_state":{}}`, "initial_state"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"initial_state":[7]}`, "initial_state"},
		{400, "M_MISSING_PARAM", "POST", "/createRoom", `{"initial_state":[{}]}`, "type"},
		{400, "M_MISSING_PARAM", "POST", "/createRoom", `{"initial_state":[{"type":"a"}]}`, "content"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"initial_state":[{"type":"a","content":7}]}`, "content"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"initial_state":[{"type":"a","content":{},"state_key":7}]}`, "state_key"},
		{400, "M_INVALID_ROOM_STATE", "POST", "/createRoom", `{"initial_state":[{"type":"m.room.create","content":{}}]}`, "initial_state"},
		{400, "M_BAD_JSON", "POST", "/createRoom", `{"initial_state":[{"type":"m.room.member","state_key":"@bob:one.test","content":{}}]}`, "membership"},
		{400, "M_INVALID_ROOM_STATE", "POST", "/createRoom", `{"initial_state":[{"type":"m.room.member","state_key":"@bob:one.test","content":{"membership":"join"}}]}`, ""},
		{404, "M_NOT_FOUND", "POST", "/createRoom", `{"initial_state":[{"type":"m.room.member","state_key":"@nobody:one.test","content":{"membership":"invite"}}]}`, ""},
		{400, "M_BAD_ALIAS", "POST", "/createRoom", `{"initial_state":[{"type":"m.room.canonical_alias","content":{"alias":"#a:one.test"}}]}`, "#a:one.test"},
		{400, "M_INVALID_ROOM_STATE", "POST", "/createRoom", `{"initial_state":[{"type":"m.room.power_levels","content":{"ban":"a"}}]}`, ""},
		{400, "M_BAD_JSON", "POST", "/createRoom", deep, ""},

		{400, "M_INVALID_PARAM", "POST", "/rooms/nonsense/join", `{}`, "roomId"},
		{400, "M_INVALID_PARAM", "POST", "/join/nonsense", `{}`, "roomIdOrAlias"},
		{400, "M_INVALID_PARAM", "POST", "/join/%23nonsense", `{}`, "roomIdOrAlias"},
		{404, "M_NOT_FOUND", "POST", "/join/%23unknown:one.test", `{}`, ""},
		{404, "M_NOT_FOUND", "POST", "/join/%23unknown:elsewhere.test?server_name=elsewhere.test&via=a.test", ``, ""},
		{404, "M_NOT_FOUND", "POST", "/join/!unknown:one.test", `{}`, ""},
		{404, "M_NOT_FOUND", "POST", "/knock/!unknown:one.test", `{}`, ""},
		{403, "M_FORBIDDEN", "POST", r + "/join", `{"third_party_signed":{}}`, "third_party_signed"},
		{400, "M_BAD_JSON", "POST", r + "/join", `{"reason":7}`, "reason"},
		{400, "M_INVALID_PARAM", "POST", r + "/leave", `{"reason":"` + strings.Repeat("x", 9000) + `"}`, "reason"},
		{403, "M_FORBIDDEN", "POST", "/rooms/!unknown:one.test/leave", `{}`, ""},
		{403, "M_FORBIDDEN", "POST", "/rooms/!unknown:one.test/forget", ``, ""},
		{403, "M_FORBIDDEN", "POST", "/rooms/!unknown:one.test/invite", `{"user_id":"@bob:one.test"}`, ""},
		{400, "M_UNKNOWN", "POST", r + "/forget", ``, "leave"},
		{400, "M_MISSING_PARAM", "POST", r + "/invite", `{}`, "user_id"},
		{400, "M_INVALID_PARAM", "POST", r + "/invite", `{"user_id":"bob"}`, "user_id"},
		{404, "M_NOT_FOUND", "POST", r + "/invite", `{"user_id":"@nobody:one.test"}`, "@nobody:one.test"},
		{403, "M_THREEPID_DENIED", "POST", r + "/invite", `{"medium":"email","address":"a@b.c","id_server":"x","id_access_token":"y"}`, ""},
		{400, "M_MISSING_PARAM", "POST", r + "/kick", `{"reason":"x"}`, "user_id"},
		{400, "M_NOT_JSON", "POST", r + "/ban", ``, ""},
		{403, "M_BAD_STATE", "POST", r + "/unban", `{"user_id":"@bob:one.test"}`, "banned"},
		{403, "M_FORBIDDEN", "POST", r + "/kick", `{"user_id":"@bob:one.test"}`, ""},

		{400, "M_NOT_JSON", "PUT", r + "/send/m.room.message/a", ``, ""},
		{400, "M_BAD_JSON", "PUT", r + "/send/m.room.message/a", `[]`, ""},
		{400, "M_BAD_JSON", "PUT", r + "/send/m.room.message/a", `{"a":1,"a":2}`, "a"},
		{400, "M_BAD_JSON", "PUT", r + "/send/m.room.message/a", `{"a":9007199254740992}`, ""},
		{400, "M_BAD_JSON", "PUT", r + "/send/m.room.message/a", `{"a":"\u0000"}`, ""},
		{400, "M_BAD_JSON", "PUT", r + "/send/m.room.message/a", `{"a":"\ud800"}`, ""},
		{400, "M_NOT_JSON", "PUT", r + "/send/m.room.message/a", "{\"a\":\"\xff\"}", ""},
		{400, "M_BAD_JSON", "PUT", r + "/send/m.room.message/a", deep, ""},
		{400, "M_INVALID_PARAM", "PUT", r + "/send/m.room.message/" + strings.Repeat("x", 256), `{}`, "txnId"},
		{400, "M_INVALID_PARAM", "PUT", r + "/send/m.room.redaction/a", `{}`, "redacts"},
		{400, "M_INVALID_PARAM", "PUT", r + "/send/m.room.redaction/a", `{"redacts":7}`, "redacts"},
		{400, "M_INVALID_PARAM", "PUT", r + "/send/m.room.create/a", `{}`, "m.room.create"},
		{403, "M_FORBIDDEN", "PUT", r + "/send/m.room.member/a", `{"membership":"join"}`, ""},
		{403, "M_FORBIDDEN", "PUT", "/rooms/!unknown:one.test/send/m.room.message/a", `{}`, ""},
		{404, "M_UNRECOGNIZED", "PUT", r + "/send/m.room.message/a/b", `{}`, ""},
		{404, "M_UNRECOGNIZED", "PUT", r + "/send/m.room.message/", `{}`, ""},
		{405, "M_UNRECOGNIZED", "POST", r + "/send/m.room.message/a", `{}`, ""},
		{400, "M_INVALID_PARAM", "PUT", r + "/redact/nonsense/a", `{}`, "eventId"},
		{400, "M_BAD_JSON", "PUT", r + "/redact/" + event + "/a", `{"reason":7}`, "reason"},

		{400, "M_BAD_JSON", "PUT", r + "/state/m.room.member/@bob:one.test", `{}`, "membership"},
		{400, "M_BAD_JSON", "PUT", r + "/state/m.room.member/@bob:one.test", `{"membership":"owner"}`, "membership"},
		{400, "M_BAD_JSON", "PUT", r + "/state/m.room.member/@alice:one.test", `{"membership":"join","displayname":7}`, "displayname"},
		{400, "M_INVALID_PARAM", "PUT", r + "/state/m.room.member/bob", `{"membership":"invite"}`, "stateKey"},
		{404, "M_NOT_FOUND", "PUT", r + "/state/m.room.member/@nobody:one.test", `{"membership":"invite"}`, ""},
		{403, "M_FORBIDDEN", "PUT", r + "/state/m.room.member/@bob:one.test", `{"membership":"join"}`, ""},
		{403, "M_FORBIDDEN", "PUT", r + "/state/m.room.member/@bob:one.test", `{"membership":"join","join_authorised_via_users_server":"@x:elsewhere.test"}`, ""},
		{400, "M_INVALID_PARAM", "PUT", r + "/state/m.room.create", `{}`, "m.room.create"},
		{400, "M_INVALID_PARAM", "PUT", r + "/state/m.room.redaction", `{}`, "eventType"},
		{403, "M_FORBIDDEN", "PUT", r + "/state/m.room.power_levels", `{"users":[]}`, ""},
		{403, "M_FORBIDDEN", "PUT", r + "/state/m.room.power_levels", `{"ban":"a"}`, ""},
		{403, "M_FORBIDDEN", "PUT", room(old) + "/state/m.room.power_levels", `{"ban":{}}`, ""},
		{400, "M_BAD_JSON", "PUT", r + "/state/m.room.canonical_alias", `{"alias":7}`, "alias"},
		{400, "M_BAD_JSON", "PUT", r + "/state/m.room.canonical_alias", `{"alt_aliases":[7]}`, "alt_aliases"},
		{400, "M_INVALID_PARAM", "PUT", r + "/state/m.room.canonical_alias", `{"alias":"x"}`, "x"},
		{400, "M_BAD_ALIAS", "PUT", r + "/state/m.room.canonical_alias", `{"alt_aliases":["#unknown:one.test"]}`, "#unknown:one.test"},
		{400, "M_BAD_ALIAS", "PUT", r + "/state/m.room.canonical_alias", `{"alias":"#unknown:elsewhere.test"}`, ""},

		{400, "M_INVALID_PARAM", "GET", r + "/event/nonsense", ``, "eventId"},
		{404, "M_NOT_FOUND", "GET", r + "/event/$unknown:one.test", ``, ""},
		{404, "M_NOT_FOUND", "GET", room(old) + "/event/" + event, ``, ""},
		{404, "M_NOT_FOUND", "GET", "/rooms/!unknown:one.test/event/" + event, ``, ""},
		{404, "M_NOT_FOUND", "GET", room(old) + "/context/" + event, ``, ""},
		{400, "M_INVALID_PARAM", "GET", r + "/context/" + event + "?limit=-1", ``, "limit"},
		{400, "M_NOT_JSON", "GET", r + "/context/" + event + "?filter=x", ``, ""},
		{400, "M_MISSING_PARAM", "GET", r + "/messages", ``, "dir"},
		{400, "M_INVALID_PARAM", "GET", r + "/messages?dir=x", ``, "dir"},
		{400, "M_INVALID_PARAM", "GET", r + "/messages?dir=b&from=x", ``, "from"},
		{400, "M_INVALID_PARAM", "GET", r + "/messages?dir=b&from=s-1", ``, "from"},
		{400, "M_INVALID_PARAM", "GET", r + "/messages?dir=b&to=s99999999999999999999", ``, "to"},
		{400, "M_INVALID_PARAM", "GET", r + "/messages?dir=b&limit=x", ``, "limit"},
		{400, "M_BAD_JSON", "GET", r + "/messages?dir=b&filter=%7B%22types%22:7%7D", ``, "types"},
		{400, "M_BAD_JSON", "GET", r + "/messages?dir=b&filter=7", ``, ""},
		{400, "M_INVALID_PARAM", "GET", r + "/messages?dir=b&filter=%7B%22senders%22:[%22x%22]%7D", ``, "senders"},
		{400, "M_INVALID_PARAM", "GET", r + "/messages?dir=b%00", ``, ""},

		{400, "M_INVALID_PARAM", "GET", "/directory/room/nonsense", ``, "roomAlias"},
		{404, "M_NOT_FOUND", "GET", "/directory/room/%23unknown:one.test", ``, "#unknown:one.test"},
		{404, "M_NOT_FOUND", "DELETE", "/directory/room/%23unknown:one.test", ``, "#unknown:one.test"},
		{400, "M_MISSING_PARAM", "PUT", "/directory/room/%23a:one.test", `{}`, "room_id"},
		{400, "M_INVALID_PARAM", "PUT", "/directory/room/%23a:one.test", `{"room_id":"x"}`, "room_id"},
		{403, "M_FORBIDDEN", "PUT", "/directory/room/%23a:one.test", `{"room_id":"!unknown:one.test"}`, ""},
	} {
		status, answer := alice.do(c.method, c.path, c.body)
		o, _ := answer.(map[string]any)
		if status != c.status || object(o).text("errcode") != string(c.code) || !strings.Contains(object(o).text("error"), c.names) {
			t.Errorf("%s %.120s %.120s\n\t= %d %v; want %d %s with %q", c.method, c.path, c.body, status, answer, c.status, c.code, c.names)
		}
	}
	if joined := bob.ok("GET", "/joined_rooms", nil)["joined_rooms"].([]any); len(joined) != 0 {
		t.Errorf("bob is in %v", joined)
	}
	if n := len(alice.all(id, "f", 1000, "")); n != 7 {
		t.Errorf("the room has %d events; none of the requests should have made one", n)
	}
}

// TestOtherOrganisationsAreUnknown invites across the wall, and to nobody: the answers are the same.
func TestOtherOrganisationsAreUnknown(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.process()
	alice := p.client("alice")
	id := alice.create(object{})
	theirs := d.otherOrganisation(p, "carol").user
	closed := p.client("eve")
	closed.ok("POST", "/account/deactivate", object{"auth": proof("", closed.user, password)})
	var said []string
	for _, user := range []string{theirs, closed.user, "@carin:one.test"} {
		for path, body := range map[string]object{
			room(id) + "/invite": {"user_id": user}, "/createRoom": {"invite": []string{user}},
		} {
			o := object(alice.refused(404, "M_NOT_FOUND", "POST", path, body))
			said = append(said, strings.ReplaceAll(o.text("error"), user, "USER"))
		}
		o := object(alice.refused(404, "M_NOT_FOUND", "PUT", room(id)+"/state/m.room.member/"+user, object{"membership": "invite"}))
		said = append(said, strings.ReplaceAll(o.text("error"), user, "USER"))
	}
	if slices.Sort(said); said[0] != said[len(said)-1] {
		t.Errorf("the answers differ: %q", said)
	}
}

func TestDefaultRoomVersionIsTheConfigured(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	rooms := d.configure
	d.configure = func(cfg *clientapi.Config) { rooms(cfg); cfg.DefaultRoomVersion = "10" }
	alice := d.process().client("alice")
	id := alice.create(object{})
	if got := alice.state(id, "m.room.create", "").text("room_version"); got != "10" {
		t.Errorf("the room has version %q", got)
	}
	capabilities := alice.ok("GET", "/capabilities", nil)["capabilities"].(map[string]any)
	if got := capabilities["m.room_versions"].(map[string]any)["default"]; got != "10" {
		t.Errorf("the default is said to be %v", got)
	}
}
