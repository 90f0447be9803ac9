package event

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"
)

func TestRedactionEqualsTheLibrarys(t *testing.T) {
	t.Parallel()
	for _, v := range All() {
		t.Run(v.ID, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(3, uint64(len(v.ID))))
			for range 300 {
				built, err := Build(randomProto(t, r, v), testServer, testKeyID, testKey)
				if err != nil {
					t.Fatal(err)
				}
				extra, err := withMember(built.JSON, "unsigned", []byte(`{"age":5}`))
				if err != nil {
					t.Fatal(err)
				}
				if extra, err = withMember(extra, "membership", []byte(`"join"`)); err != nil {
					t.Fatal(err)
				}
				have, err := Redact(v, extra)
				if err != nil {
					t.Fatal(err)
				}
				want, err := v.Library.RedactEventJSON(extra)
				if err != nil {
					t.Fatal(err)
				}
				if want, err = gomatrixserverlib.CanonicalJSON(want); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(have, want) {
					t.Fatalf("redaction of %s\n have %s\n want %s", extra, have, want)
				}
				if again, err := Redact(v, have); err != nil || !bytes.Equal(again, have) {
					t.Fatalf("redacting twice changes the event: %s, %v", again, err)
				}
			}
		})
	}
}

func TestRedactionKeeps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ version, event, want string }{
		{"11", `{"content":{"displayname":"A","membership":"invite","third_party_invite":{"display_name":"b","signed":{"mxid":"@a:b"}}},"type":"m.room.member"}`,
			`{"content":{"membership":"invite","third_party_invite":{"signed":{"mxid":"@a:b"}}},"type":"m.room.member"}`},
		{"12", `{"content":{"third_party_invite":{"display_name":"b"}},"type":"m.room.member"}`,
			`{"content":{"third_party_invite":{}},"type":"m.room.member"}`},
		{"12", `{"content":{"third_party_invite":"x"},"type":"m.room.member"}`, `{"content":{},"type":"m.room.member"}`},
		{"10", `{"content":{"third_party_invite":{"signed":{}}},"type":"m.room.member"}`, `{"content":{},"type":"m.room.member"}`},
		{"10", `{"content":{"creator":"@a:b","x":1},"type":"m.room.create"}`, `{"content":{"creator":"@a:b"},"type":"m.room.create"}`},
		{"11", `{"content":{"creator":"@a:b","x":1},"type":"m.room.create"}`, `{"content":{"creator":"@a:b","x":1},"type":"m.room.create"}`},
		{"10", `{"content":{"redacts":"$a"},"redacts":"$a","type":"m.room.redaction"}`, `{"content":{},"type":"m.room.redaction"}`},
		{"11", `{"content":{"reason":"r","redacts":"$a"},"redacts":"$a","type":"m.room.redaction"}`, `{"content":{"redacts":"$a"},"type":"m.room.redaction"}`},
		{"5", `{"content":{"aliases":["#a:b"]},"type":"m.room.aliases"}`, `{"content":{"aliases":["#a:b"]},"type":"m.room.aliases"}`},
		{"6", `{"content":{"aliases":["#a:b"]},"type":"m.room.aliases"}`, `{"content":{},"type":"m.room.aliases"}`},
		{"7", `{"content":{"allow":[],"join_rule":"x"},"type":"m.room.join_rules"}`, `{"content":{"join_rule":"x"},"type":"m.room.join_rules"}`},
		{"8", `{"content":{"allow":[],"join_rule":"x"},"type":"m.room.join_rules"}`, `{"content":{"allow":[],"join_rule":"x"},"type":"m.room.join_rules"}`},
		{"8", `{"content":{"join_authorised_via_users_server":"x"},"type":"m.room.member"}`, `{"content":{},"type":"m.room.member"}`},
		{"9", `{"content":{"join_authorised_via_users_server":"x"},"type":"m.room.member"}`, `{"content":{"join_authorised_via_users_server":"x"},"type":"m.room.member"}`},
		{"10", `{"content":{"invite":5,"kick":5},"type":"m.room.power_levels"}`, `{"content":{"kick":5},"type":"m.room.power_levels"}`},
		{"11", `{"content":{"invite":5,"kick":5},"type":"m.room.power_levels"}`, `{"content":{"invite":5,"kick":5},"type":"m.room.power_levels"}`},
		{"10", `{"content":{},"origin":"x","prev_state":[],"type":"t"}`, `{"content":{},"origin":"x","prev_state":[],"type":"t"}`},
		{"11", `{"content":{},"origin":"x","prev_state":[],"type":"t"}`, `{"content":{},"type":"t"}`},
	} {
		have, err := Redact(mustVersion(t, c.version), []byte(c.event))
		if err != nil || string(have) != c.want {
			t.Errorf("version %s: %s\n have %s, %v\n want %s", c.version, c.event, have, err, c.want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add([]byte(`{"content":{"a":"b\"c"},"type":"m.room.member"}`), 11)
	f.Add([]byte(`{"content":{"third_party_invite":{"signed":{}}},"type":"m.room.member"}`), 11)
	f.Add([]byte(`{"content":{`), 0)
	f.Fuzz(func(t *testing.T, json []byte, n int) {
		v := versions[uint(n)%uint(len(versions))]
		have, err := Redact(v, json)
		if err != nil {
			return
		}
		if again, err := Redact(v, have); err != nil || !bytes.Equal(again, have) {
			t.Errorf("redacting twice: %s, %v, first %s", again, err, have)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"auth_events":[],"content":{"membership":"join"},"depth":1,"prev_events":[],"room_id":"!a:b","sender":"@a:b","state_key":"@a:b","type":"m.room.member"}`), 10)
	f.Add([]byte(`{"Content":{},"content":{"Users":1},"type":"x","room_id":"!a:b"}`), 5)
	f.Add([]byte(`{`), 0)
	f.Fuzz(func(t *testing.T, json []byte, n int) {
		pdu, err := Parse(versions[uint(n)%uint(len(versions))], "$id", json)
		if err == nil && !bytes.Equal(pdu.JSON(), json) {
			t.Errorf("JSON() is %s, parsed was %s", pdu.JSON(), json)
		}
		AppendClient(nil, ClientEvent{PDU: json, Type: typeRedaction}, nil)
		AppendStripped(nil, ClientEvent{PDU: json})
	})
}
