package appservices

import (
	"net/http"
	"testing"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

func viewOf(t *testing.T, d viewDocument) *View {
	t.Helper()
	v, errs := d.compile()
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return v
}

func TestViewNarrowsEventsWhereverTheyStand(t *testing.T) {
	t.Parallel()
	v := viewOf(t, viewDocument{
		EventTypes:    []string{"a", "b.*"},
		ContentFields: map[string][]string{"a": {"x", `y.z`, `d\.t`}, "b.*": {}, "b.all": {"k"}},
		Rooms:         []matrix.RoomID{"!in:x"},
	})
	for in, want := range map[string]string{
		`{"type":"a","content":{"x":1,"w":2,"y":{"z":3,"v":4},"d.t":5}}`:                  `{"content":{"d.t":5,"x":1,"y":{"z":3}},"type":"a"}`,
		`{"type":"a","content":{"y":"text"}}`:                                             `{"content":{},"type":"a"}`,
		`{"type":"b.c","content":{"k":1}}`:                                                `{"content":{},"type":"b.c"}`,
		`{"type":"b.all","content":{"k":1,"l":2}}`:                                        `{"content":{"k":1},"type":"b.all"}`,
		`{"type":"c","content":{}}`:                                                       ``,
		`{"type":"a","room_id":"!out:x","content":{}}`:                                    ``,
		`{"type":"a","room_id":"!in:x","content":{"x":12345678901234567890}}`:             `{"content":{"x":12345678901234567890},"room_id":"!in:x","type":"a"}`,
		`{"chunk":[{"type":"c","content":{}},{"type":"a","content":{"w":1}}],"end":"s1"}`: `{"chunk":[{"content":{},"type":"a"}],"end":"s1"}`,
		`{"rooms":{"!in:x":{"n":1},"!out:x":{"n":2}},"joined_rooms":["!in:x","!out:x"]}`:  `{"joined_rooms":["!in:x"],"rooms":{"!in:x":{"n":1}}}`,
		`{"type":"a","content":{},"unsigned":{"age":1,"prev_content":{"w":1},"redacted_because":{"type":"c","content":{}},"m.relations":{"m.thread":{"latest_event":{"type":"a","content":{"w":1}}}}}}`: `{"content":{},"type":"a","unsigned":{"age":1,"m.relations":{"m.thread":{"latest_event":{"content":{},"type":"a"}}},"prev_content":{}}}`,
		`{"type":"m.typing","content":{"user_ids":[]}}`: ``,
		`{"a":"<b>"}`: `{"a":"<b>"}`,
	} {
		got, ok := v.answer([]byte(in))
		if ok != (want != "") || string(got) != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
	if got, ok := v.state("a", []byte(`{"x":1,"w":2}`)); !ok || string(got) != `{"x":1}` {
		t.Errorf("state: %s", got)
	}
	if _, ok := v.state("c", []byte(`{}`)); ok {
		t.Error("state of another type")
	}
}

func TestNamespacesKnowWhereToLook(t *testing.T) {
	t.Parallel()
	yes := true
	for expression, want := range map[string][2]string{
		`@_irc_.*:one\.test`: {"@_irc_", "@_irc`"}, `^@bot:one\.test$`: {"@bot:one.test", "@bot:one.tesu"}, `.*`: {"", ""}, `@(a|b).*`: {"@", "A"}, `(?i)@irc.*`: {"", ""},
	} {
		n, err := (namespaceDocument{Exclusive: &yes, Regex: expression}).compile()
		if err != nil || n.from != want[0] && n.from != "@" || n.from == want[0] && n.to != want[1] {
			t.Errorf("%s: from %q to %q, %v; want %q", expression, n.from, n.to, err, want)
		}
	}
}

func TestViewShowsCommandsAloneOfRoomsOfOthers(t *testing.T) {
	t.Parallel()
	v := viewOf(t, viewDocument{EventTypes: []string{"*"}, Outside: &outsideDocument{BodyPrefixes: []string{"!Invite"}, EventTypes: []string{"x.state"}}})
	key := ""
	for text, want := range map[string]bool{
		`{"body":"!invite anna@example.com"}`: true, `{"body":"!INVITE x"}`: true, `{"body":"* !invite x"}`: false, `{"body":"hello !invite"}`: false,
		`{"body":1}`: false, `{}`: false, `{"body":"hello","formatted_body":"!invite"}`: false,
	} {
		e := store.Event{Type: "m.room.message", JSON: []byte(`{"content":` + text + `}`)}
		if got := v.showsOutside(&e); got != want {
			t.Errorf("%s: %v", text, got)
		}
		e.StateKey = &key
		if v.showsOutside(&e) {
			t.Errorf("a state event: %s", text)
		}
	}
	for typ, want := range map[string]bool{"x.state": true, "m.room.member": false, "m.room.encrypted": false} {
		if got := v.showsOutside(&store.Event{Type: typ, StateKey: &key, JSON: []byte(`{"content":{"body":"!invite"}}`)}); got != want {
			t.Errorf("%s: %v", typ, got)
		}
	}
	if all := viewOf(t, viewDocument{EventTypes: []string{"*"}}); !all.showsOutside(&store.Event{Type: "a"}) {
		t.Error("without outside not everything is told")
	}
}

func TestTheBuiltInServiceIsNotToldBeforeItIsThere(t *testing.T) {
	t.Parallel()
	r, err := Load(nil, "x.test")
	if err != nil {
		t.Fatal(err)
	}
	b := BuiltIn{ID: "bridge", Localpart: "telephony", ASToken: "secret-as-token", HSToken: "secret-hs-token", Grants: []string{GrantTelephony}, BodyPrefixes: []string{"!invite"}}
	if err := r.AddBuiltIn(b, "x.test"); err != nil {
		t.Fatal(err)
	}
	as := r.ofToken("secret-as-token")
	if as == nil || as.Sender != "@telephony:x.test" || !as.Everywhere || as.reachable() {
		t.Fatalf("registered as %+v", as)
	}
	if err := r.Serve("bridge", http.NotFoundHandler()); err != nil || !as.reachable() {
		t.Fatalf("served: %v", err)
	}
	if r.Serve("other", http.NotFoundHandler()) == nil {
		t.Error("something that is not there is served")
	}
	if err := r.AddBuiltIn(b, "x.test"); err == nil {
		t.Error("twice the same")
	}
	if _, err := parse([]byte(`{"id":"x","url":null,"as_token":"12345678","hs_token":"87654321","sender_localpart":"x","namespaces":{},"roomline":{"organisation":"1","grants":["telephony"]}}`), "x.test"); err == nil {
		t.Error("a bridge of one organisation gets the messages of all")
	}
}
