package event

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/roomline/roomline/internal/matrix"
)

func TestClientFormat(t *testing.T) {
	t.Parallel()
	key := "k\"ey"
	for name, c := range map[string]struct {
		event    ClientEvent
		unsigned string
		want     string
	}{
		"a message": {
			ClientEvent{EventID: "$e", RoomID: "!r:x", Type: "m.room.message", Sender: "@a:x", OriginServerTS: 5,
				PDU: []byte(`{"auth_events":["$x"],"content":{"body":"a } \" { b"},"depth":1}`)}, ``,
			`{"content":{"body":"a } \" { b"},"event_id":"$e","origin_server_ts":5,"room_id":"!r:x","sender":"@a:x","type":"m.room.message"}`,
		},
		"state without room, with unsigned": {
			ClientEvent{EventID: "$e", Type: "t", Sender: "@a:x", StateKey: &key, OriginServerTS: 5, PDU: []byte(`{"content":{}}`)}, `{"age":1}`,
			`{"content":{},"event_id":"$e","origin_server_ts":5,"sender":"@a:x","state_key":"k\"ey","type":"t","unsigned":{"age":1}}`,
		},
		"an old redaction": {
			ClientEvent{EventID: "$e", Type: typeRedaction, Sender: "@a:x", PDU: []byte(`{"content":{"reason":"no","z":1},"redacts":"$o"}`)}, ``,
			`{"content":{"reason":"no","redacts":"$o","z":1},"event_id":"$e","origin_server_ts":0,"redacts":"$o","sender":"@a:x","type":"m.room.redaction"}`,
		},
		"an old redaction without content": {
			ClientEvent{EventID: "$e", Type: typeRedaction, Sender: "@a:x", PDU: []byte(`{"content":{},"redacts":"$o"}`)}, ``,
			`{"content":{"redacts":"$o"},"event_id":"$e","origin_server_ts":0,"redacts":"$o","sender":"@a:x","type":"m.room.redaction"}`,
		},
		"a new redaction": {
			ClientEvent{EventID: "$e", Type: typeRedaction, Sender: "@a:x", PDU: []byte(`{"content":{"redacts":"$o"}}`)}, ``,
			`{"content":{"redacts":"$o"},"event_id":"$e","origin_server_ts":0,"redacts":"$o","sender":"@a:x","type":"m.room.redaction"}`,
		},
		"a redacted redaction": {
			ClientEvent{EventID: "$e", Type: typeRedaction, Sender: "@a:x", PDU: []byte(`{"content":{}}`)}, ``,
			`{"content":{},"event_id":"$e","origin_server_ts":0,"sender":"@a:x","type":"m.room.redaction"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if have := string(AppendClient(nil, c.event, []byte(c.unsigned))); have != c.want {
				t.Errorf("have %s\nwant %s", have, c.want)
			}
		})
	}
}

func TestStrippedStateHasFourFields(t *testing.T) {
	t.Parallel()
	empty := ""
	have := StrippedState([]ClientEvent{
		{EventID: "$1", RoomID: "!r:x", Type: "m.room.name", Sender: "@a:x", StateKey: &empty, PDU: []byte(`{"content":{"name":"N"},"depth":1}`)},
		{EventID: "$2", Type: typeCreate, Sender: "@a:x", StateKey: &empty, PDU: []byte(`{"content":{}}`)},
	})
	want := `[{"content":{"name":"N"},"sender":"@a:x","state_key":"","type":"m.room.name"},{"content":{},"sender":"@a:x","state_key":"","type":"m.room.create"}]`
	if string(have) != want {
		t.Errorf("have %s\nwant %s", have, want)
	}
}

func TestRedactsReadsThePlaceOfTheVersion(t *testing.T) {
	t.Parallel()
	pdu := []byte(`{"content":{"redacts":"$in"},"redacts":"$top"}`)
	if got := Redacts(mustVersion(t, "10"), pdu); got != "$top" {
		t.Errorf("version 10: %s", got)
	}
	if got := Redacts(mustVersion(t, "11"), pdu); got != "$in" {
		t.Errorf("version 11: %s", got)
	}
}

func TestScannerFindsMembers(t *testing.T) {
	t.Parallel()
	object := map[string]any{
		"a": strings.Repeat(`x\"{[`, 40), "b": []any{map[string]any{"c": "}"}, 1.5, nil, true}, "d": -3, "e": map[string]any{}, "f": "",
		"g": strings.Repeat("y", 100) + `\`,
	}
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range object {
		value, ok := memberOf(raw, key)
		wanted, _ := json.Marshal(want)
		if !ok || string(value) != string(wanted) {
			t.Errorf("%s is %s, want %s", key, value, wanted)
		}
	}
	for _, bad := range []string{``, `[]`, `{`, `{"a"`, `{"a":`, `{"a":1 "b":2}`, `{"a":1,}`, `{,"a":1}`, `{"a":"`, `{"a":"\`, `{"a":{"b":"`, `{"a":}`} {
		m := membersOf([]byte(bad))
		for m.next() {
			if len(m.value) == 0 {
				t.Errorf("%q gave an empty value", bad)
			}
		}
		if m.err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestKeysThatDifferInCaseAreNotRead(t *testing.T) {
	t.Parallel()
	v := mustVersion(t, "10")
	for _, lookalike := range []string{"Membership", "MEMBERSHIP", "memberſhip"} {
		raw := []byte(`{"auth_events":[],"content":{"` + lookalike + `":"join"},"depth":1,"hashes":{},"origin_server_ts":1,"prev_events":[],"room_id":"!r:x","sender":"@a:x","signatures":{},"state_key":"@a:x","type":"m.room.member"}`)
		pdu, err := Parse(v, "$e", raw)
		if err != nil {
			t.Fatal(err)
		}
		if membership, _ := pdu.Membership(); membership != "" {
			t.Errorf("%s is taken for membership", lookalike)
		}
		if string(pdu.JSON()) != string(raw) || pdu.EventID() != "$e" {
			t.Errorf("the stored bytes changed: %s", pdu.JSON())
		}
	}
	plain := []byte(`{"auth_events":[],"content":{"Body":1,"membership":"join"},"depth":1,"prev_events":[],"room_id":"!r:x","sender":"@a:x","state_key":"@a:x","type":"m.room.member"}`)
	pdu, err := Parse(v, "$e", plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, wrapped := pdu.(*exactPDU); wrapped {
		t.Error("an event without such keys was copied")
	}
	var _ gomatrixserverlib.PDU = &exactPDU{}
}

func TestAuthKeys(t *testing.T) {
	t.Parallel()
	const alice, bob, carol = "@alice:x", "@bob:x", "@carol:x"
	create, levels, rules := StateKey{typeCreate, ""}, StateKey{typePowerLevels, ""}, StateKey{typeJoinRules, ""}
	member := func(user string) StateKey { return StateKey{typeMember, user} }
	empty, state := "", func(s string) *string { return &s }
	for _, c := range []struct {
		name, version, eventType string
		stateKey                 *string
		content                  string
		want                     []StateKey
	}{
		{"create", "11", typeCreate, &empty, `{}`, nil},
		{"create", "12", typeCreate, &empty, `{}`, nil},
		{"message", "11", "m.room.message", nil, `{}`, []StateKey{create, levels, member(alice)}},
		{"message without create", "12", "m.room.message", nil, `{}`, []StateKey{levels, member(alice)}},
		{"aliases are ordinary", "6", typeAliases, state("x"), `{}`, []StateKey{create, levels, member(alice)}},
		{"own join", "7", typeMember, state(alice), `{"membership":"join"}`, []StateKey{create, levels, member(alice), rules}},
		{"own leave", "7", typeMember, state(alice), `{"membership":"leave"}`, []StateKey{create, levels, member(alice)}},
		{"knock", "7", typeMember, state(alice), `{"membership":"knock"}`, []StateKey{create, levels, member(alice), rules}},
		{"kick", "7", typeMember, state(bob), `{"membership":"leave"}`, []StateKey{create, levels, member(alice), member(bob)}},
		{"ban", "12", typeMember, state(bob), `{"membership":"ban"}`, []StateKey{levels, member(alice), member(bob)}},
		{"invite", "12", typeMember, state(bob), `{"membership":"invite"}`, []StateKey{levels, member(alice), member(bob), rules}},
		{"third-party invite", "10", typeMember, state(bob), `{"membership":"invite","third_party_invite":{"signed":{"token":"t\"k"}}}`,
			[]StateKey{create, levels, member(alice), member(bob), rules, {typeThirdPartyInvite, `t"k`}}},
		{"third-party invite only counts for invites", "10", typeMember, state(bob), `{"membership":"ban","third_party_invite":{"signed":{"token":"t"}}}`,
			[]StateKey{create, levels, member(alice), member(bob)}},
		{"restricted join", "8", typeMember, state(alice), `{"join_authorised_via_users_server":"@carol:x","membership":"join"}`,
			[]StateKey{create, levels, member(alice), rules, member(carol)}},
		{"restricted join before version 8", "7", typeMember, state(alice), `{"join_authorised_via_users_server":"@carol:x","membership":"join"}`,
			[]StateKey{create, levels, member(alice), rules}},
		{"restricted join by oneself is not named twice", "8", typeMember, state(alice), `{"join_authorised_via_users_server":"@alice:x","membership":"join"}`,
			[]StateKey{create, levels, member(alice), rules}},
	} {
		t.Run(c.name+" in "+c.version, func(t *testing.T) {
			t.Parallel()
			have := AuthKeys(&Proto{Version: mustVersion(t, c.version), Sender: matrix.UserID(alice), Type: c.eventType, StateKey: c.stateKey, Content: []byte(c.content)})
			if len(have) != len(c.want) {
				t.Fatalf("have %v, want %v", have, c.want)
			}
			for i := range have {
				if have[i] != c.want[i] {
					t.Errorf("have %v, want %v", have, c.want)
				}
			}
		})
	}
}
