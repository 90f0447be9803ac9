package admin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/roomline/roomline/internal/hstest"
)

const synapse1, synapse2 = "/_synapse/admin/v1", "/_synapse/admin/v2"

// TestToolsForSynapseManageUsers makes the requests of synadm's user commands and of the web consoles, in their shapes.
func TestToolsForSynapseManageUsers(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	org := d.Organisation(t, "Other", "other.test")
	root, theirs := d.Admin(t, "root"), org.Owner
	const ann = "@ann:hs.test"
	d.Secret("a password for ann", "a password")
	made := must(t, root, 201, http.MethodPut, synapse2+"/users/"+ann, object{
		"password": "a password for ann", "displayname": "Ann", "admin": false, "avatar_url": "",
		"threepids":    []object{{"medium": "email", "address": "ann@example.org"}, {"medium": "msisdn", "address": "491715550123"}},
		"external_ids": []object{{"auth_provider": "corp", "external_id": "7"}},
	})
	equal(t, "made", []any{made.Get("name"), made.Get("threepids.#.address").Raw, made.Get("external_ids.0.external_id"), made.Get("user_type").Raw, made.Get("deactivated").Raw},
		`[@ann:hs.test ["ann@example.org","491715550123"] 7 null false]`)
	must(t, root, 200, http.MethodPut, synapse2+"/users/"+ann, object{"displayname": "Ann A"})
	// Identity providers serve all organisations: no owner of one takes a place there.
	theirs.MustFail(t, http.StatusForbidden, "M_FORBIDDEN", http.MethodPut, synapse2+"/users/@new:other.test", object{
		"external_ids": []object{{"auth_provider": "corp", "external_id": "8"}}})
	login := d.MustLogin(t, object{"type": "m.id.user", "user": ann}, "a password for ann")
	room := login.MustCreateRoom(t, object{"name": "Hers"})
	equal(t, "list", root.MustDo(t, http.MethodGet, synapse2+"/users?name=ann%20a&guests=false&limit=1", nil).Get("users.0.displayname"), "Ann A")
	page := root.MustDo(t, http.MethodGet, "/_synapse/admin/v3/users?from=0&limit=1&order_by=creation_ts&dir=b&deactivated=false", nil)
	equal(t, "next", page.Get("next_token"), "1")
	equal(t, "devices", root.MustDo(t, http.MethodGet, synapse2+"/users/"+ann+"/devices", nil).Get("devices.0.device_id"), login.DeviceID)
	root.MustDo(t, http.MethodPut, synapse2+"/users/"+ann+"/devices/"+login.DeviceID, object{"display_name": "Phone"})
	equal(t, "device", root.MustDo(t, http.MethodGet, synapse2+"/users/"+ann+"/devices/"+login.DeviceID, nil).Get("display_name"), "Phone")
	equal(t, "whois", root.MustDo(t, http.MethodGet, synapse1+"/whois/"+ann, nil).Get("user_id"), ann)
	equal(t, "rooms", root.MustDo(t, http.MethodGet, synapse1+"/users/"+ann+"/joined_rooms", nil).Get("joined_rooms").Raw, `["`+room+`"]`)
	equal(t, "found", root.MustDo(t, http.MethodGet, synapse1+"/threepid/email/users/ann@example.org", nil).Get("user_id"), ann)
	equal(t, "found", root.MustDo(t, http.MethodGet, synapse1+"/auth_providers/corp/users/7", nil).Get("user_id"), ann)
	root.MustDo(t, http.MethodGet, synapse1+"/users/"+ann+"/accountdata", nil)
	root.MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, synapse1+"/users/"+ann+"/login", object{})
	root.MustFail(t, 400, "M_USER_IN_USE", http.MethodGet, synapse1+"/username_available?username=ann", nil)
	equal(t, "free", root.MustDo(t, http.MethodGet, synapse1+"/username_available?username=free", nil).Get("available").Raw, "true")
	if !strings.HasPrefix(root.MustDo(t, http.MethodGet, synapse1+"/server_version", nil).Get("server_version").String(), "Roomline") {
		t.Error("server_version")
	}
	equal(t, "admin", root.MustDo(t, http.MethodGet, synapse1+"/users/"+ann+"/admin", nil).Get("admin").Raw, "false")
	root.MustDo(t, http.MethodPut, synapse1+"/users/"+ann+"/admin", object{"admin": true})
	equal(t, "admin", root.MustDo(t, http.MethodGet, synapse1+"/users/"+ann+"/admin", nil).Get("admin").Raw, "true")
	root.MustDo(t, http.MethodPut, synapse1+"/users/"+ann+"/admin", object{"admin": false})

	// What is another organisation's does not exist; the operator has all.
	for _, path := range []string{synapse2 + "/users/" + ann, synapse1 + "/whois/" + ann, synapse1 + "/rooms/" + url.PathEscape(room), synapse2 + "/users/" + ann + "/devices"} {
		theirs.MustFail(t, 404, "M_NOT_FOUND", http.MethodGet, path, nil)
		login.MustFail(t, 403, "M_FORBIDDEN", http.MethodGet, path, nil)
	}
	equal(t, "theirs", theirs.MustDo(t, http.MethodGet, synapse2+"/users", nil).Get("users.#.name").Raw, `["`+theirs.ID+`"]`)
	must(t, theirs, 400, http.MethodPut, synapse2+"/users/@spy:hs.test", object{})
	equal(t, "operator", root.MustDo(t, http.MethodGet, synapse2+"/users/"+theirs.ID, nil).Get("name"), theirs.ID)

	d.Secret("another password for ann", "a password")
	root.MustDo(t, http.MethodPost, synapse1+"/reset_password/"+ann, object{"new_password": "another password for ann", "logout_devices": true})
	login.MustFail(t, 401, "M_UNKNOWN_TOKEN", http.MethodGet, hstest.Path("account", "whoami"), nil)
	root.MustDo(t, http.MethodPut, synapse1+"/suspend/"+ann, object{"suspend": true})
	equal(t, "suspended", root.MustDo(t, http.MethodGet, synapse2+"/users/"+ann, nil).Get("suspended").Raw, "true")
	root.MustDo(t, http.MethodPost, synapse1+"/deactivate/"+ann, object{"erase": true})
	hstest.Eventually(t, "ann is erased", func() bool {
		return root.MustDo(t, http.MethodGet, users+"/"+ann+"/erasure", nil).Get("done_ts").Int() > 0
	})
	got := root.MustDo(t, http.MethodGet, synapse2+"/users/"+ann, nil)
	equal(t, "closed", []any{got.Get("deactivated"), got.Get("erased"), got.Get("displayname").Raw}, "[true true null]")
	must(t, root, 400, http.MethodPut, synapse2+"/users/"+ann, object{"deactivated": false, "password": "a password for ann"})
}

func TestToolsForSynapseManageRooms(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	root, alice, bob := d.Admin(t, "root"), d.User(t, "alice"), d.User(t, "bob")
	room := alice.MustCreateRoom(t, object{"name": "Badroom", "topic": "t", "room_alias_name": "bad", "preset": "public_chat"})
	bob.MustJoin(t, room)
	alice.MustSendText(t, room, "a word of the bad room")
	one := "/rooms/" + url.PathEscape(room)
	list := root.MustDo(t, http.MethodGet, synapse1+"/rooms?search_term=badroom&order_by=joined_members", nil)
	equal(t, "list", []any{list.Get("total_rooms"), list.Get("rooms.0.room_id"), list.Get("rooms.0.joined_members"), list.Get("rooms.0.creator")}, "[1 "+room+" 2 "+alice.ID+"]")
	details := root.MustDo(t, http.MethodGet, synapse1+one, nil)
	equal(t, "details", []any{details.Get("topic"), details.Get("join_rules"), details.Get("federatable"), details.Get("joined_local_devices")}, "[t public true 2]")
	equal(t, "members", root.MustDo(t, http.MethodGet, synapse1+one+"/members", nil).Get("total"), 2)
	equal(t, "state", root.MustDo(t, http.MethodGet, synapse1+one+"/state?type=m.room.name", nil).Get("state.0.content.name"), "Badroom")
	root.MustDo(t, http.MethodPost, synapse1+"/rooms/"+url.PathEscape("#bad:hs.test")+"/make_room_admin", object{"user_id": bob.ID})
	equal(t, "power", bob.MustDo(t, http.MethodGet, hstest.Path("rooms", room, "state", "m.room.power_levels", ""), nil).Get(`users.@bob:hs\.test`), 100)

	root.MustDo(t, http.MethodPut, synapse1+one+"/block", object{"block": true})
	d.User(t, "carol").MustFail(t, 403, "M_FORBIDDEN", http.MethodPost, hstest.Path("rooms", room, "join"), object{})
	equal(t, "block", root.MustDo(t, http.MethodGet, synapse1+one+"/block", nil).Get("user_id"), root.ID)
	root.MustDo(t, http.MethodPut, synapse1+one+"/block", object{"block": false})

	id := root.MustDo(t, http.MethodDelete, synapse2+one, object{"new_room_user_id": root.ID, "room_name": "Closed", "message": "why", "block": true, "purge": true}).Get("delete_id").String()
	hstest.Eventually(t, "the room is gone", func() bool {
		return root.MustDo(t, http.MethodGet, synapse2+"/rooms/delete_status/"+id, nil).Get("status").String() == "complete"
	})
	status := root.MustDo(t, http.MethodGet, synapse2+one+"/delete_status", nil).Get("results.0.shutdown_room")
	equal(t, "kicked", status.Get("kicked_users.#"), 2)
	equal(t, "aliases", status.Get("local_aliases").Raw, `["#bad:hs.test"]`)
	if rooms := bob.MustDo(t, http.MethodGet, hstest.Path("joined_rooms"), nil).Get("joined_rooms").Raw; rooms != `["`+status.Get("new_room_id").String()+`"]` {
		t.Errorf("bob is in %s", rooms)
	}
	root.MustFail(t, 404, "M_NOT_FOUND", http.MethodGet, synapse1+one, nil)
	second := alice.MustCreateRoom(t, nil)
	answer := root.MustDo(t, http.MethodDelete, synapse1+"/rooms/"+url.PathEscape(second), object{})
	equal(t, "older form", answer.Get("kicked_users").Raw, `["`+alice.ID+`"]`)
}

func TestToolsForSynapseManageRegistrationTokens(t *testing.T) {
	t.Parallel()
	d := hstest.Start(t, hstest.Options{})
	root := d.Operator(t)
	org := d.Organisation(t, "Other", "other.test")
	const tokens = synapse1 + "/registration_tokens"
	equal(t, "made", root.MustDo(t, http.MethodPost, tokens+"/new", object{"token": "abc", "uses_allowed": 2}).Raw,
		`{"token":"abc","uses_allowed":2,"pending":0,"completed":0,"expiry_time":null}`)
	equal(t, "length", len(root.MustDo(t, http.MethodPost, tokens+"/new", object{"length": 20}).Get("token").String()), 20)
	root.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, tokens+"/new", object{"token": "abc"})
	root.MustFail(t, 400, "M_INVALID_PARAM", http.MethodPost, tokens+"/new", object{"token": "a b"})
	root.MustDo(t, http.MethodPut, tokens+"/abc", object{"uses_allowed": nil, "expiry_time": 4000000000000})
	equal(t, "changed", root.MustDo(t, http.MethodGet, tokens+"/abc", nil).Get("uses_allowed").Raw, "null")
	equal(t, "list", root.MustDo(t, http.MethodGet, tokens+"?valid=true", nil).Get("registration_tokens.#"), 2)
	org.Owner.MustFail(t, 404, "M_NOT_FOUND", http.MethodGet, tokens+"/abc", nil)
	root.MustDo(t, http.MethodDelete, tokens+"/abc", nil)
	root.MustFail(t, 404, "M_NOT_FOUND", http.MethodGet, tokens+"/abc", nil)
}
