package event

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/roomline/roomline/internal/matrix"
)

// room is a made-up room: its state, by which events are judged.
type room struct {
	t       testing.TB
	version Version
	id      matrix.RoomID
	create  *Built
	state   AuthState
}

func newRoom(t testing.TB, version, createContent string) *room {
	t.Helper()
	r := &room{t: t, version: mustVersion(t, version), state: AuthState{}}
	if !r.version.DomainlessRoomIDs {
		r.id = "!room:hs.example"
	}
	empty := ""
	r.create = r.build("@creator:hs.example", typeCreate, &empty, createContent)
	r.id = r.create.RoomID
	r.state[StateKey{typeCreate, ""}] = r.parse(r.create)
	return r
}

func (r *room) proto(sender, eventType string, stateKey *string, content string) *Proto {
	p := &Proto{Version: r.version, RoomID: r.id, Sender: matrix.UserID(sender), Type: eventType, StateKey: stateKey,
		Content: []byte(content), Depth: 1, OriginServerTS: 1}
	if r.create != nil {
		p.PrevEvents = []matrix.EventID{"$BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"}
	}
	return p
}

func (r *room) build(sender, eventType string, stateKey *string, content string) *Built {
	r.t.Helper()
	p := r.proto(sender, eventType, stateKey, content)
	built, err := Build(p, p.Sender.Domain(), testKeyID, testKey)
	if err != nil {
		r.t.Fatal(err)
	}
	return built
}

func (r *room) parse(b *Built) gomatrixserverlib.PDU {
	r.t.Helper()
	pdu, err := b.PDU()
	if err != nil {
		r.t.Fatal(err)
	}
	return pdu
}

// set puts an event into the state without judging it.
func (r *room) set(sender, eventType, stateKey, content string) {
	r.t.Helper()
	r.state[StateKey{eventType, stateKey}] = r.parse(r.build(sender, eventType, &stateKey, content))
}

func (r *room) check(sender, eventType string, stateKey *string, content string) error {
	r.t.Helper()
	return Check(r.parse(r.build(sender, eventType, stateKey, content)), r.state)
}

func text(s string) *string { return &s }

func randomLevels(r *rand.Rand, v Version) string {
	level := func() any { return []int{0, 1, 25, 50, 51, 100}[r.IntN(6)] }
	content := map[string]any{}
	for _, k := range []string{"ban", "events_default", "invite", "kick", "redact", "state_default", "users_default"} {
		if r.IntN(3) == 0 {
			content[k] = level()
			if !v.IntegerPowerLevels && r.IntN(3) == 0 {
				content[k] = fmt.Sprint(content[k])
			}
		}
	}
	users, events := map[string]any{}, map[string]any{}
	for _, u := range []string{"@alice:hs.example", "@bob:hs.example", "@other:elsewhere.example"} {
		if r.IntN(2) == 0 {
			users[u] = level()
		}
	}
	for _, e := range []string{"m.room.message", "m.room.name", typeRedaction, typeThirdPartyInvite, "m.room.encrypted"} {
		if r.IntN(3) == 0 {
			events[e] = level()
		}
	}
	content["users"], content["events"] = users, events
	raw, _ := json.Marshal(content)
	return string(raw)
}

// randomRoom has random power levels, memberships, federation and creators.
func randomRoom(t testing.TB, r *rand.Rand, v Version) *room {
	create := map[string]any{"room_version": v.ID, "creator": "@creator:hs.example"}
	if r.IntN(4) == 0 {
		create["m.federate"] = false
	}
	if r.IntN(3) == 0 {
		create["additional_creators"] = []string{"@bob:hs.example"}
	}
	room := newRoom(t, v.ID, string(canonical(t, create)))
	if r.IntN(5) > 0 {
		levels := randomLevels(r, v)
		room.set("@creator:hs.example", typePowerLevels, "", string(canonical(t, json.RawMessage(levels))))
	}
	for _, u := range testUsers {
		if membership := []string{"join", "join", "join", "leave", "ban", "invite", "knock", ""}[r.IntN(8)]; membership != "" {
			room.set(u, typeMember, u, `{"membership":"`+membership+`"}`)
		}
	}
	return room
}

var testUsers = []string{"@creator:hs.example", "@alice:hs.example", "@bob:hs.example", "@other:elsewhere.example"}

func TestAllowEqualsTheLibrary(t *testing.T) {
	t.Parallel()
	for _, v := range All() {
		t.Run(v.ID, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(4, uint64(len(v.ID))))
			types := []string{"m.room.message", "m.room.encrypted", "m.room.name", "m.room.topic", typeThirdPartyInvite, typeJoinRules, typeRedaction, "org.example.x"}
			allowed, refused := 0, 0
			for range 40 {
				room := randomRoom(t, r, v)
				rules, err := NewRules(room.state[StateKey{typeCreate, ""}], room.state[StateKey{typePowerLevels, ""}])
				if err != nil {
					t.Fatal(err)
				}
				for range 25 {
					sender := testUsers[r.IntN(len(testUsers))]
					var key *string
					switch r.IntN(5) {
					case 0:
						key = text("")
					case 1:
						key = text(testUsers[r.IntN(len(testUsers))])
					}
					p := room.proto(sender, types[r.IntN(len(types))], key, `{}`)
					if r.IntN(20) == 0 {
						p.RoomID = matrix.RoomID("!" + randomID(r)[1:])
						if !v.DomainlessRoomIDs {
							p.RoomID += ":hs.example"
						}
					}
					membership, err := membershipOf(room.state, sender)
					if err != nil {
						t.Fatal(err)
					}
					decided, have := rules.Allow(p, membership)
					if v.EventFormat == EventReferences && p.Type == typeRedaction {
						if decided {
							t.Fatal("redactions of versions 1 and 2 have a rule of their own")
						}
						continue
					}
					built, err := Build(p, p.Sender.Domain(), testKeyID, testKey)
					if err != nil {
						t.Fatal(err)
					}
					want := gomatrixserverlib.Allowed(room.parse(built), room.state, userOfSender)
					if !decided || (have == nil) != (want == nil) {
						t.Fatalf("Allow says %v (decided %v), the library %v\nevent %s\nlevels %+v", have, decided, want, built.JSON, rules.Levels)
					}
					if checked := Check(room.parse(built), room.state); (checked == nil) != (want == nil) {
						t.Fatalf("Check says %v, the library %v", checked, want)
					}
					if have == nil {
						allowed++
					} else {
						refused++
						if e, ok := matrix.AsError(have); !ok || e.Code != matrix.ErrForbidden {
							t.Fatalf("refusal is %v", have)
						}
					}
				}
			}
			if allowed < 100 || refused < 100 {
				t.Errorf("%d allowed and %d refused: the generator is lopsided", allowed, refused)
			}
		})
	}
}

// In membership the library is the measure, but for the cases that check.go names.
func TestCheckOfMembershipEqualsTheLibrary(t *testing.T) {
	t.Parallel()
	for _, v := range All() {
		t.Run(v.ID, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(5, uint64(len(v.ID))))
			for range 40 {
				room := randomRoom(t, r, v)
				rule := []string{"public", "invite", "knock", "restricted", "private"}[r.IntN(5)]
				room.set("@creator:hs.example", typeJoinRules, "", `{"join_rule":"`+rule+`"}`)
				for range 40 {
					sender, target := testUsers[r.IntN(4)], testUsers[r.IntN(4)]
					if r.IntN(2) == 0 {
						target = sender
					}
					membership := []string{"join", "leave", "ban", "invite", "knock", "other"}[r.IntN(6)]
					content := `{"membership":"` + membership + `"}`
					if membership == "join" && r.IntN(2) == 0 {
						content = `{"join_authorised_via_users_server":"` + testUsers[r.IntN(4)] + `","membership":"join"}`
					}
					pdu := room.parse(room.build(sender, typeMember, &target, content))
					current, _ := membershipOf(room.state, target)
					have, want := Check(pdu, room.state), gomatrixserverlib.Allowed(pdu, room.state, userOfSender)
					unban := membership == "leave" && sender != target && current == "ban"
					knocker := membership == "join" && sender == target && current == "knock" && rule == "public"
					switch {
					case unban && want == nil, knocker && have == nil:
					case (have == nil) != (want == nil):
						t.Fatalf("Check says %v, the library %v\nevent %s\nmembership of target %s, join rule %s", have, want, pdu.JSON(), current, rule)
					}
				}
			}
		})
	}
}

func TestCheckCorrectsTheLibrary(t *testing.T) {
	t.Parallel()
	const creator, alice, bob = "@creator:hs.example", "@alice:hs.example", "@bob:hs.example"
	setUp := func(t *testing.T, version string) *room {
		content := `{"creator":"@creator:hs.example","room_version":"` + version + `"}`
		r := newRoom(t, version, content)
		for _, u := range []string{creator, alice} {
			r.set(u, typeMember, u, `{"membership":"join"}`)
		}
		users := `"@alice:hs.example":50,"@bob:hs.example":50,"@creator:hs.example":100`
		if r.version.PrivilegedCreators {
			users = `"@alice:hs.example":50,"@bob:hs.example":50`
		}
		r.set(creator, typePowerLevels, "", `{"ban":50,"invite":0,"kick":60,"notifications":{"room":50},"users":{`+users+`}}`)
		return r
	}
	for _, version := range []string{"6", "10", "12"} {
		t.Run("aliases from outside the room in "+version, func(t *testing.T) {
			t.Parallel()
			r := setUp(t, version)
			if err := r.check(bob, typeAliases, text("hs.example"), `{"aliases":[]}`); err == nil {
				t.Error("allowed")
			}
		})
		t.Run("unban needs the level to kick in "+version, func(t *testing.T) {
			t.Parallel()
			r := setUp(t, version)
			r.set(creator, typeMember, "@x:hs.example", `{"membership":"ban"}`)
			if err := r.check(alice, typeMember, text("@x:hs.example"), `{"membership":"leave"}`); err == nil {
				t.Error("allowed with 50 of 60")
			}
			if err := r.check(creator, typeMember, text("@x:hs.example"), `{"membership":"leave"}`); err != nil {
				t.Errorf("the creator is refused: %v", err)
			}
		})
		t.Run("notification levels in "+version, func(t *testing.T) {
			t.Parallel()
			r := setUp(t, version)
			change := func(sender, level string) error {
				content := strings.Replace(string(r.state[StateKey{typePowerLevels, ""}].Content()), `{"room":50}`, level, 1)
				return r.check(sender, typePowerLevels, text(""), content)
			}
			for _, c := range []struct {
				sender, level string
				ok            bool
			}{
				{creator, `{"room":20}`, true}, {creator, `{"room":100}`, true}, {creator, `{}`, true}, {alice, `{"room":20}`, true},
				{alice, `{"room":51}`, false}, {alice, `{"other":51,"room":50}`, false}, {bob, `{"room":20}`, false},
			} {
				if err := change(c.sender, c.level); (err == nil) != c.ok {
					t.Errorf("%s sets %s: %v", c.sender, c.level, err)
				}
			}
			r.set(creator, typePowerLevels, "", strings.Replace(string(r.state[StateKey{typePowerLevels, ""}].Content()), `"room":50`, `"room":90`, 1))
			content := strings.Replace(string(r.state[StateKey{typePowerLevels, ""}].Content()), `"room":90`, `"room":10`, 1)
			if err := r.check(alice, typePowerLevels, text(""), content); err == nil {
				t.Error("a level above the sender's was lowered")
			}
		})
	}
	t.Run("aliases that are not state", func(t *testing.T) {
		t.Parallel()
		if err := setUp(t, "5").check(alice, typeAliases, nil, `{}`); err == nil {
			t.Error("allowed")
		}
	})
	t.Run("redaction after the create event was redacted", func(t *testing.T) {
		t.Parallel()
		r := setUp(t, "10")
		redacted, err := Redact(r.version, r.create.JSON)
		if err != nil {
			t.Fatal(err)
		}
		if r.state[StateKey{typeCreate, ""}], err = Parse(r.version, r.create.EventID, redacted); err != nil {
			t.Fatal(err)
		}
		if err := r.check(alice, typeRedaction, nil, `{}`); err != nil {
			t.Error(err)
		}
	})
	t.Run("a knocker joins a public room", func(t *testing.T) {
		t.Parallel()
		r := setUp(t, "12")
		r.set(bob, typeMember, bob, `{"membership":"knock"}`)
		for rule, ok := range map[string]bool{"public": true, "invite": false, "knock": false} {
			r.set(creator, typeJoinRules, "", `{"join_rule":"`+rule+`"}`)
			if err := r.check(bob, typeMember, text(bob), `{"membership":"join"}`); (err == nil) != ok {
				t.Errorf("join rule %s: %v", rule, err)
			}
		}
	})
	t.Run("a membership in other letters", func(t *testing.T) {
		t.Parallel()
		r := setUp(t, "12")
		r.set(creator, typeJoinRules, "", `{"join_rule":"public"}`)
		if err := r.check(bob, typeMember, text(bob), `{"Membership":"join"}`); err == nil {
			t.Error("allowed")
		}
		content := `{"Users":{"@alice:hs.example":100},"ban":50,"invite":0,"kick":60,"notifications":{"room":50},"users":{"@alice:hs.example":50,"@bob:hs.example":50}}`
		r.set(creator, typePowerLevels, "", content)
		rules, err := NewRules(r.state[StateKey{typeCreate, ""}], r.state[StateKey{typePowerLevels, ""}])
		if err != nil {
			t.Fatal(err)
		}
		if level := rules.UserLevel(alice); level != 50 {
			t.Errorf("alice has level %d through a key in other letters", level)
		}
	})
}

func TestThirdPartyInviteCannotLiftABan(t *testing.T) {
	t.Parallel()
	const alice, bob, carol = "@alice:hs.example", "@bob:hs.example", "@carol:hs.example"
	r := newRoom(t, "12", `{"room_version":"12"}`)
	for _, u := range []string{alice, carol} {
		r.set(u, typeMember, u, `{"membership":"join"}`)
	}
	public := b64(testKey[32:])
	r.set(alice, typeThirdPartyInvite, "token", `{"display_name":"b","key_validity_url":"x","public_key":"`+public+`","public_keys":[{"public_key":"`+public+`"}]}`)
	signed, err := gomatrixserverlib.SignJSON("id.example", "ed25519:0", testKey, []byte(`{"mxid":"@bob:hs.example","token":"token"}`))
	if err != nil {
		t.Fatal(err)
	}
	content := string(canonical(t, map[string]any{"membership": "invite", "third_party_invite": map[string]any{"display_name": "b", "signed": json.RawMessage(signed)}}))
	if err := r.check(alice, typeMember, text(bob), content); err != nil {
		t.Fatalf("a proper invite is refused: %v", err)
	}
	if err := r.check(carol, typeMember, text(bob), content); err == nil {
		t.Error("another user used the invite")
	}
	if err := r.check(alice, typeMember, text(bob), `{"membership":"invite","third_party_invite":{"display_name":"b"}}`); err == nil {
		t.Error("an invite without signed is allowed")
	}
	r.set(alice, typeMember, bob, `{"membership":"ban"}`)
	if err := r.check(alice, typeMember, text(bob), content); err == nil {
		t.Error("a banned user was invited")
	}
}

func TestThirdPartyInviteNeedsASignatureByOneOfItsKeys(t *testing.T) {
	t.Parallel()
	const alice, bob, carol = "@alice:hs.example", "@bob:hs.example", "@carol:hs.example"
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	public, otherPublic := b64(testKey[32:]), b64(other[32:])
	urlSafe := strings.NewReplacer("+", "-", "/", "_").Replace(public)
	sign := func(key ed25519.PrivateKey, keyID, object string) json.RawMessage {
		signed, err := gomatrixserverlib.SignJSON("id.example", gomatrixserverlib.KeyID(keyID), key, []byte(object))
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	const plain = `{"mxid":"@bob:hs.example","token":"token"}`
	right := sign(testKey, "ed25519:0", plain)
	for _, c := range []struct {
		name, invite string
		signed       json.RawMessage
		allowed      bool
	}{
		{"both kinds of keys", `{"public_key":"` + public + `","public_keys":[{"public_key":"` + public + `"}]}`, right, true},
		{"public_key alone", `{"public_key":"` + public + `"}`, right, true},
		{"one of public_keys", `{"public_key":"` + otherPublic + `","public_keys":[{"public_key":"` + otherPublic + `"},{"public_key":"` + public + `"}]}`, right, true},
		{"the URL-safe alphabet", `{"public_key":"` + urlSafe + `"}`, right, true},
		{"what else was signed counts", `{"public_key":"` + public + `"}`, sign(testKey, "ed25519:0", `{"mxid":"@bob:hs.example","sender":"@alice:hs.example","token":"token"}`), true},
		{"another key", `{"public_key":"` + otherPublic + `"}`, right, false},
		{"no key", `{}`, right, false},
		{"keys that are none", `{"public_key":7,"public_keys":"x"}`, right, false},
		{"a short key", `{"public_key":"AAAA"}`, right, false},
		{"no signature", `{"public_key":"` + public + `"}`, json.RawMessage(plain), false},
		{"a signature of another kind", `{"public_key":"` + public + `"}`, json.RawMessage(strings.Replace(string(right), "ed25519:0", "rsa:0", 1)), false},
		{"for somebody else", `{"public_key":"` + public + `"}`, sign(testKey, "ed25519:0", `{"mxid":"@carol:hs.example","token":"token"}`), false},
		{"another token", `{"public_key":"` + public + `"}`, sign(testKey, "ed25519:0", `{"mxid":"@bob:hs.example","token":"other"}`), false},
		{"changed afterwards", `{"public_key":"` + public + `"}`, json.RawMessage(strings.Replace(string(right), `"token":`, `"x":"y","token":`, 1)), false},
	} {
		r := newRoom(t, "12", `{"room_version":"12"}`)
		for _, u := range []string{alice, carol} {
			r.set(u, typeMember, u, `{"membership":"join"}`)
		}
		r.set(alice, typeThirdPartyInvite, "token", c.invite)
		content := string(canonical(t, map[string]any{"membership": "invite", "third_party_invite": map[string]any{"display_name": "b", "signed": c.signed}}))
		if err := r.check(alice, typeMember, text(bob), content); (err == nil) != c.allowed {
			t.Errorf("%s: allowed is %v, want %v (%v)", c.name, err == nil, c.allowed, err)
		}
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	r := newRoom(t, "12", `{"additional_creators":["@bob:hs.example"],"room_version":"12"}`)
	rules, err := NewRules(r.state[StateKey{typeCreate, ""}], nil)
	if err != nil {
		t.Fatal(err)
	}
	if !rules.IsCreator("@bob:hs.example") || rules.IsCreator("@alice:hs.example") || rules.UserLevel("@bob:hs.example") <= maxCanonicalInt {
		t.Error("creators of version 12 stand above all levels")
	}
	old := newRoom(t, "10", `{"creator":"@creator:hs.example","room_version":"10"}`)
	if rules, err = NewRules(old.state[StateKey{typeCreate, ""}], nil); err != nil {
		t.Fatal(err)
	}
	if rules.IsCreator("@creator:hs.example") || rules.UserLevel("@creator:hs.example") < 100 || rules.EventLevel("m.room.name", true) != 50 || rules.EventLevel("m.room.message", false) != 0 {
		t.Error("defaults of a room without power levels")
	}
	if _, err := NewRules(nil, nil); err == nil {
		t.Error("rules without a create event")
	}
}

func benchRoom(b *testing.B) (*room, *Proto) {
	r := newRoom(b, "12", `{"room_version":"12"}`)
	r.set("@creator:hs.example", typePowerLevels, "", `{"ban":50,"events":{"m.room.name":50,"m.room.power_levels":100},"events_default":0,"users":{"@alice:hs.example":50},"users_default":0}`)
	r.set("@alice:hs.example", typeMember, "@alice:hs.example", `{"displayname":"Alice","membership":"join"}`)
	return r, r.proto("@alice:hs.example", "m.room.message", nil, `{"body":"hello","msgtype":"m.text"}`)
}

func BenchmarkAllow(b *testing.B) {
	r, p := benchRoom(b)
	rules, err := NewRules(r.state[StateKey{typeCreate, ""}], r.state[StateKey{typePowerLevels, ""}])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := rules.Allow(p, "join"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLibraryAllowed(b *testing.B) {
	r, p := benchRoom(b)
	pdu := r.parse(r.build(string(p.Sender), p.Type, nil, string(p.Content)))
	b.ReportAllocs()
	for b.Loop() {
		if err := gomatrixserverlib.Allowed(pdu, r.state, userOfSender); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendClient(b *testing.B) {
	r, p := benchRoom(b)
	built := r.build(string(p.Sender), p.Type, nil, string(p.Content))
	e := ClientEvent{EventID: built.EventID, RoomID: built.RoomID, Type: p.Type, Sender: p.Sender, OriginServerTS: 1, PDU: built.JSON}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendClient(buf[:0], e, nil)
	}
}
