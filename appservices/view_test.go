package appservices

import (
	"testing"

	"github.com/roomline/roomline/internal/matrix"
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
