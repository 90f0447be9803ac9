package event

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/matrix"
)

const (
	testServer = matrix.ServerName("hs.example")
	testKeyID  = "ed25519:a_1"
)

var testKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

func mustVersion(t testing.TB, id string) Version {
	t.Helper()
	v, ok := Lookup(id)
	if !ok {
		t.Fatalf("room version %s is not known", id)
	}
	return v
}

func canonical(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := gomatrixserverlib.CanonicalJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// randomText has what needs escaping in it, and what must not be escaped.
func randomText(r *rand.Rand) string {
	alphabet := []string{"a", "B", "7", " ", "\"", "\\", "/", "\n", "\t", "\b", "\f", "\r", "\x01", "\x1f", "\x7f", "<", ">", "&", "é", "漢", "😀", "\u2028", "{", "}", "[", "]", ",", ":"}
	var b strings.Builder
	for range r.IntN(24) {
		b.WriteString(alphabet[r.IntN(len(alphabet))])
	}
	return b.String()
}

func randomID(r *rand.Rand) matrix.EventID {
	var sum [32]byte
	for i := range sum {
		sum[i] = byte(r.Uint32())
	}
	return matrix.EventID("$" + base64.RawURLEncoding.EncodeToString(sum[:]))
}

func randomIDs(r *rand.Rand, max int) []matrix.EventID {
	ids := make([]matrix.EventID, r.IntN(max+1))
	for i := range ids {
		ids[i] = randomID(r)
	}
	return ids
}

func randomContent(r *rand.Rand, eventType string) map[string]any {
	content := map[string]any{"body": randomText(r), "n": r.Int64N(1 << 52), "list": []any{randomText(r), 1, nil, map[string]any{"z": 1, "a": true}}}
	keys := []string{"membership", "creator", "join_rule", "allow", "aliases", "history_visibility", "join_authorised_via_users_server",
		"ban", "events", "events_default", "invite", "kick", "redact", "state_default", "users", "users_default", "reason"}
	for _, k := range keys {
		if r.IntN(3) == 0 {
			content[k] = randomText(r)
		}
	}
	if eventType == typePowerLevels {
		content["users"] = map[string]any{"@a:hs.example": 100, "@b:hs.example": r.IntN(100)}
	}
	return content
}

func randomProto(t testing.TB, r *rand.Rand, v Version) *Proto {
	types := []string{"m.room.message", "m.room.encrypted", "org.example." + randomText(r), typeMember, typeCreate, typeJoinRules,
		typePowerLevels, typeAliases, "m.room.history_visibility", typeRedaction, "m.room.name"}
	p := &Proto{
		Version: v, RoomID: "!room:hs.example", Sender: "@us/er=1:hs.example", Type: types[r.IntN(len(types))],
		PrevEvents: randomIDs(r, 3), AuthEvents: randomIDs(r, 5), Depth: r.Int64N(1 << 50), OriginServerTS: matrix.Timestamp(r.Int64N(1 << 42)),
	}
	if v.DomainlessRoomIDs {
		p.RoomID = matrix.RoomID("!" + randomID(r)[1:])
	}
	if r.IntN(2) == 0 {
		key := randomText(r)
		if r.IntN(2) == 0 {
			key = ""
		}
		p.StateKey = &key
	}
	if v.DomainlessRoomIDs && p.isCreate() {
		p.RoomID = ""
	}
	content := randomContent(r, p.Type)
	if p.Type == typeRedaction {
		p.Redacts = randomID(r)
		if v.RedactsInContent && r.IntN(2) == 0 {
			content["redacts"] = string(p.Redacts)
		}
	}
	p.Content = canonical(t, content)
	return p
}

// reference makes the event from the same fields with nothing but the library's own JSON, redaction and signing.
func reference(t testing.TB, p *Proto) (matrix.EventID, []byte) {
	t.Helper()
	var content map[string]any
	decoder := json.NewDecoder(bytes.NewReader(p.Content))
	decoder.UseNumber()
	if err := decoder.Decode(&content); err != nil {
		t.Fatal(err)
	}
	fields := map[string]any{
		"auth_events": p.AuthEvents, "content": content, "depth": p.Depth, "origin_server_ts": p.OriginServerTS,
		"prev_events": p.PrevEvents, "sender": p.Sender, "type": p.Type,
	}
	if p.RoomID != "" {
		fields["room_id"] = p.RoomID
	}
	if p.StateKey != nil {
		fields["state_key"] = *p.StateKey
	}
	if p.Redacts != "" {
		if p.Version.RedactsInContent {
			content["redacts"] = p.Redacts
		} else {
			fields["redacts"] = p.Redacts
		}
	}
	sum := sha256.Sum256(canonical(t, fields))
	fields["hashes"] = map[string]any{"sha256": base64.RawStdEncoding.EncodeToString(sum[:])}
	redacted, err := p.Version.Library.RedactEventJSON(canonical(t, fields))
	if err != nil {
		t.Fatal(err)
	}
	redacted, err = gomatrixserverlib.CanonicalJSON(redacted)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := gomatrixserverlib.SignJSON(string(testServer), testKeyID, testKey, redacted)
	if err != nil {
		t.Fatal(err)
	}
	var signatures struct {
		Signatures json.RawMessage `json:"signatures"`
	}
	if err := json.Unmarshal(signed, &signatures); err != nil {
		t.Fatal(err)
	}
	fields["signatures"] = signatures.Signatures
	id := sha256.Sum256(redacted)
	encoding := base64.RawStdEncoding
	if p.Version.URLSafeEventIDs {
		encoding = base64.RawURLEncoding
	}
	return matrix.EventID("$" + encoding.EncodeToString(id[:])), canonical(t, fields)
}

type testKeyRing struct{}

func (testKeyRing) VerifyJSONs(_ context.Context, requests []gomatrixserverlib.VerifyJSONRequest) ([]gomatrixserverlib.VerifyJSONResult, error) {
	results := make([]gomatrixserverlib.VerifyJSONResult, len(requests))
	for i, request := range requests {
		results[i].Error = gomatrixserverlib.VerifyJSON(string(request.ServerName), testKeyID, testKey.Public().(ed25519.PublicKey), request.Message)
	}
	return results, nil
}

func TestBuiltBytesEqualTheLibrarys(t *testing.T) {
	t.Parallel()
	for _, v := range All()[2:] {
		t.Run(v.ID, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, uint64(len(v.ID)*100)+uint64(v.ID[len(v.ID)-1])))
			for range 400 {
				p := randomProto(t, r, v)
				built, err := Build(p, testServer, testKeyID, testKey)
				if err != nil {
					t.Fatalf("build %+v: %v", p, err)
				}
				id, want := reference(t, p)
				if !bytes.Equal(built.JSON, want) {
					t.Fatalf("bytes differ\n have %s\n want %s", built.JSON, want)
				}
				if built.EventID != id {
					t.Fatalf("event ID is %s, want %s", built.EventID, id)
				}
				if own, err := ReferenceID(v, built.JSON); err != nil || own != id {
					t.Fatalf("ReferenceID gives %s, %v, want %s", own, err, id)
				}
			}
		})
	}
}

func TestBuiltEventIsAcceptedByTheLibrary(t *testing.T) {
	t.Parallel()
	for _, v := range All() {
		t.Run(v.ID, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(2, uint64(len(v.ID))))
			for range 100 {
				p := randomProto(t, r, v)
				if p.Type == typeMember || v.DomainlessRoomIDs && p.Type == typeCreate && !p.isCreate() {
					continue // a member event has signature rules about its content, which is random here
				}
				built, err := Build(p, testServer, testKeyID, testKey)
				if err != nil {
					t.Fatal(err)
				}
				pdu, err := v.Library.NewEventFromUntrustedJSON(built.JSON)
				if err != nil {
					t.Fatalf("library refuses %s: %v", built.JSON, err)
				}
				if pdu.Redacted() || !bytes.Equal(pdu.JSON(), built.JSON) {
					t.Fatalf("library changed the event\n ours   %s\n theirs %s", built.JSON, pdu.JSON())
				}
				if pdu.EventID() != string(built.EventID) {
					t.Fatalf("library finds ID %s, ours is %s", pdu.EventID(), built.EventID)
				}
				if err := gomatrixserverlib.CheckFields(pdu); err != nil {
					t.Fatal(err)
				}
				if err := gomatrixserverlib.VerifyEventSignatures(t.Context(), pdu, testKeyRing{}, userOfSender); err != nil {
					t.Fatalf("signature of %s: %v", built.JSON, err)
				}
			}
		})
	}
}

func TestCreateEventOfVersion12GivesTheRoomID(t *testing.T) {
	t.Parallel()
	empty := ""
	p := &Proto{Version: mustVersion(t, "12"), Sender: "@a:hs.example", Type: typeCreate, StateKey: &empty,
		Content: []byte(`{"room_version":"12"}`), Depth: 1, OriginServerTS: 1}
	built, err := Build(p, testServer, testKeyID, testKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := memberOf(built.JSON, "room_id"); ok {
		t.Errorf("the create event has a room_id: %s", built.JSON)
	}
	if want := matrix.RoomID("!" + string(built.EventID)[1:]); built.RoomID != want {
		t.Errorf("room ID is %s, want %s", built.RoomID, want)
	}
	pdu, err := built.PDU()
	if err != nil {
		t.Fatal(err)
	}
	if room := pdu.RoomID(); room.String() != string(built.RoomID) {
		t.Errorf("library finds room %s, ours is %s", room.String(), built.RoomID)
	}
	if err := Check(pdu, AuthState{}); err != nil {
		t.Errorf("create event is refused: %v", err)
	}
	p.RoomID = "!x:hs.example"
	if _, err := Build(p, testServer, testKeyID, testKey); err == nil {
		t.Error("a create event of version 12 with a room ID was built")
	}
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 128) // 256 bytes, 128 characters
	nul, broken := "a\x00b", "a\xffb"
	base := func() *Proto {
		return &Proto{Version: mustVersion(t, "11"), RoomID: "!r:hs.example", Sender: "@a:hs.example", Type: "m.room.message",
			Content: []byte(`{}`), OriginServerTS: 1, Depth: 1}
	}
	for name, c := range map[string]struct {
		change func(p *Proto)
		status int // 0: not the client's fault
	}{
		"a long type":                 {func(p *Proto) { p.Type = long }, http.StatusRequestEntityTooLarge},
		"a long state key":            {func(p *Proto) { p.StateKey = &long }, http.StatusRequestEntityTooLarge},
		"a long sender":               {func(p *Proto) { p.Sender = matrix.UserID("@" + long + ":hs.example") }, http.StatusRequestEntityTooLarge},
		"a long room ID":              {func(p *Proto) { p.RoomID = matrix.RoomID("!" + long + ":hs.example") }, http.StatusRequestEntityTooLarge},
		"a long redacts":              {func(p *Proto) { p.Redacts = matrix.EventID("$" + long) }, http.StatusRequestEntityTooLarge},
		"a NUL in the state key":      {func(p *Proto) { p.StateKey = &nul }, http.StatusBadRequest},
		"a type that is not UTF-8":    {func(p *Proto) { p.Type = broken }, http.StatusBadRequest},
		"content that is a list":      {func(p *Proto) { p.Content = []byte(`[]`) }, http.StatusBadRequest},
		"content with more behind":    {func(p *Proto) { p.Content = []byte(`{},"sender":"@b:hs.example","unsigned":{}`) }, http.StatusBadRequest},
		"an escaped key in version 1": {func(p *Proto) { p.Version, p.Content = versions[0], []byte(`{"a\\n":1}`) }, http.StatusBadRequest},
		"another redacts":             {func(p *Proto) { p.Redacts, p.Content = "$b", []byte(`{"redacts":"$a"}`) }, http.StatusBadRequest},
		"a foreign sender":            {func(p *Proto) { p.Sender = "@a:elsewhere.example" }, 0},
		"a sender without domain":     {func(p *Proto) { p.Sender = "@a" }, 0},
		"no room":                     {func(p *Proto) { p.RoomID = "" }, 0},
		"a negative depth":            {func(p *Proto) { p.Depth = -1 }, 0},
		"too many prev_events":        {func(p *Proto) { p.PrevEvents = make([]matrix.EventID, 21) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := base()
			c.change(p)
			_, err := Build(p, testServer, testKeyID, testKey)
			if err == nil {
				t.Fatal("was built")
			}
			answer, ok := matrix.AsError(err)
			if ok != (c.status != 0) || ok && answer.Status != c.status {
				t.Errorf("error is %v, want status %d", err, c.status)
			}
		})
	}
}

func TestSizeLimitIsExact(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"2", "5", "12"} {
		v := mustVersion(t, id)
		build := func(n int) (*Built, error) {
			p := &Proto{Version: v, RoomID: "!r:hs.example", Sender: "@a:hs.example", Type: "m.room.message", Depth: 1, OriginServerTS: 1,
				Content: []byte(`{"body":"` + strings.Repeat("x", n) + `"}`)}
			if v.DomainlessRoomIDs {
				p.RoomID = "!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
			}
			return Build(p, testServer, testKeyID, testKey)
		}
		small, err := build(0)
		if err != nil {
			t.Fatal(err)
		}
		room := maxEventBytes - len(small.JSON)
		if full, err := build(room); err != nil || len(full.JSON) != maxEventBytes {
			t.Errorf("version %s: an event of exactly %d bytes: %v", id, maxEventBytes, err)
		}
		_, err = build(room + 1)
		answer, ok := matrix.AsError(err)
		if !ok || answer.Code != matrix.ErrTooLarge || answer.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("version %s: an event that is one byte too long gives %v", id, err)
		}
	}
}

func TestAddedSignatureStandsBesideTheFirst(t *testing.T) {
	t.Parallel()
	user := "@a:hs.example"
	p := &Proto{Version: mustVersion(t, "10"), RoomID: "!r:hs.example", Sender: matrix.UserID(user), Type: typeMember, StateKey: &user,
		Content: []byte(`{"Reason\\":1,"join_authorised_via_users_server":"@b:aa.example","membership":"join"}`), OriginServerTS: 1, Depth: 1}
	built, err := Build(p, testServer, testKeyID, testKey)
	if err != nil {
		t.Fatal(err)
	}
	again, err := built.AddSignature("aa.example", testKeyID, testKey)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := ReferenceID(p.Version, again.JSON); err != nil || id != built.EventID || again.EventID != id {
		t.Errorf("event ID is %s, %v, was %s", id, err, built.EventID)
	}
	if !bytes.Equal(without(again.JSON, "signatures"), without(built.JSON, "signatures")) {
		t.Errorf("the event changed: %s", again.JSON)
	}
	pdu, err := again.PDU()
	if err != nil {
		t.Fatal(err)
	}
	if err := gomatrixserverlib.VerifyEventSignatures(t.Context(), pdu, testKeyRing{}, userOfSender); err != nil {
		t.Error(err)
	}
	if _, err := again.AddSignature("aa.example", "ed25519:b", testKey); err != nil {
		t.Error(err)
	}
	if _, err := built.AddSignature("aa.example", testKeyID, nil); err == nil {
		t.Error("signed without a key")
	}
}

// Spec: appendices v1.19 §event-signing. The vectors have keys that our events do not have, so the pieces are tested, not Build.
func TestSpecVectors(t *testing.T) {
	t.Parallel()
	seed, err := base64.RawStdEncoding.DecodeString("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
	if err != nil {
		t.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(seed)
	for _, c := range []struct{ event, hash, signature string }{
		{
			`{"auth_events":[],"content":{},"depth":3,%s"origin":"domain","origin_server_ts":1000000,"prev_events":[],"room_id":"!x:domain","sender":"@a:domain","type":"X"}`,
			"5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
			"KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
		},
		{
			`{"content":{"body":"Here is the message content"},"event_id":"$0:domain",%s"origin":"domain","origin_server_ts":1000000,"room_id":"!r:domain","sender":"@u:domain","type":"m.room.message"}`,
			"onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
			"Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
		},
	} {
		sum := sha256.Sum256([]byte(fmt.Sprintf(c.event, "")))
		if got := base64.RawStdEncoding.EncodeToString(sum[:]); got != c.hash {
			t.Errorf("content hash is %s, want %s", got, c.hash)
		}
		redacted, err := Redact(mustVersion(t, "1"), []byte(fmt.Sprintf(c.event, `"hashes":{"sha256":"`+c.hash+`"},`)))
		if err != nil {
			t.Fatal(err)
		}
		if got := base64.RawStdEncoding.EncodeToString(sign(key, redacted)); got != c.signature {
			t.Errorf("signature over %s is %s, want %s", redacted, got, c.signature)
		}
	}
}

func benchProto(tb testing.TB) *Proto {
	return &Proto{
		Version: mustVersion(tb, "12"), RoomID: "!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Sender: "@alice:hs.example",
		Type: "m.room.message", Content: []byte(`{"body":"Here is a message of quite ordinary length, as people write them.","m.mentions":{},"msgtype":"m.text"}`),
		PrevEvents: []matrix.EventID{"$BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"},
		AuthEvents: []matrix.EventID{"$CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC", "$DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD"},
		Depth:      1234, OriginServerTS: 1_700_000_000_000,
	}
}

func BenchmarkBuild(b *testing.B) {
	p := benchProto(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Build(p, testServer, testKeyID, testKey); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLibraryBuild(b *testing.B) {
	p := benchProto(b)
	b.ReportAllocs()
	for b.Loop() {
		builder := p.Version.Library.NewEventBuilder()
		builder.SenderID, builder.RoomID, builder.Type = string(p.Sender), string(p.RoomID), p.Type
		builder.PrevEvents, builder.AuthEvents = libraryIDs(p.PrevEvents), libraryIDs(p.AuthEvents)
		builder.Depth, builder.Content = p.Depth, spec.RawJSON(p.Content)
		pdu, err := builder.Build(time.UnixMilli(int64(p.OriginServerTS)), spec.ServerName(testServer), testKeyID, testKey)
		if err != nil {
			b.Fatal(err)
		}
		_ = pdu.EventID()
	}
}

func b64(raw []byte) string { return base64.RawStdEncoding.EncodeToString(raw) }
