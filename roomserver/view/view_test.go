package view_test

import (
	"encoding/json"
	"testing"

	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/view"
)

var (
	key     = "k"
	message = store.Event{
		Position: 7, RoomID: "!r:x", EventID: "$e", Type: "m.room.message", Sender: "@a:x", OriginServerTS: 1000,
		TxnDevice: "DEV", TxnID: "t\"1\n",
		JSON: []byte(`{"auth_events":[],"content":{"a.b":{"c":1},"body":"<hi>","url":"mxc://x"},"hashes":{},"type":"m.room.message"}`),
	}
	state = store.Event{EventID: "$s", Type: "t", StateKey: &key, Sender: "@a:x", OriginServerTS: 5, JSON: []byte(`{"content":{}}`)}
)

func TestRenderTellsEachViewerWhatIsTheirs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		event *store.Event
		opts  view.Options
		want  string
	}{
		"bare": {&message, view.Options{}, `{"content":{"a.b":{"c":1},"body":"<hi>","url":"mxc://x"},"event_id":"$e","origin_server_ts":1000,"sender":"@a:x","type":"m.room.message"}`},
		"own device": {&message, view.Options{Viewer: "@a:x", Device: "DEV", Now: 3000, Membership: "join", IncludeRoomID: true},
			`{"content":{"a.b":{"c":1},"body":"<hi>","url":"mxc://x"},"event_id":"$e","origin_server_ts":1000,"room_id":"!r:x","sender":"@a:x","type":"m.room.message","unsigned":{"age":2000,"membership":"join","transaction_id":"t\"1\n"}}`},
		"own other device": {&message, view.Options{Viewer: "@a:x", Device: "OTHER"},
			`{"content":{"a.b":{"c":1},"body":"<hi>","url":"mxc://x"},"event_id":"$e","origin_server_ts":1000,"sender":"@a:x","type":"m.room.message"}`},
		"same device id of another": {&message, view.Options{Viewer: "@b:x", Device: "DEV"},
			`{"content":{"a.b":{"c":1},"body":"<hi>","url":"mxc://x"},"event_id":"$e","origin_server_ts":1000,"sender":"@a:x","type":"m.room.message"}`},
		"replaced state": {&state, view.Options{PrevContent: []byte(`{"x":1}`), ReplacesState: "$p", RedactedBecause: []byte(`{"r":1}`)},
			`{"content":{},"event_id":"$s","origin_server_ts":5,"sender":"@a:x","state_key":"k","type":"t","unsigned":{"prev_content":{"x":1},"redacted_because":{"r":1},"replaces_state":"$p"}}`},
		"federation": {&message, view.Options{Federation: true, Now: 9, Membership: "join"}, string(message.JSON)},
		"fields": {&message, view.Options{Fields: []string{`content.a\.b.c`, "content.body", "type", "nothing", "type.deeper", "content.body.deeper"}},
			`{"content":{"a.b":{"c":1},"body":"<hi>"},"type":"m.room.message"}`},
		"no fields": {&message, view.Options{Fields: []string{}}, `{}`},
	} {
		got := string(view.Render([]byte("x"), c.event, c.opts))
		if got != "x"+c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got[1:], c.want)
		}
		if !json.Valid([]byte(got[1:])) {
			t.Errorf("%s: not JSON", name)
		}
	}
}

func TestStrippedEventsHaveFourKeys(t *testing.T) {
	t.Parallel()
	if got, want := string(view.RenderStripped(nil, &state)), `{"content":{},"sender":"@a:x","state_key":"k","type":"t"}`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func BenchmarkRender(b *testing.B) {
	dst := make([]byte, 0, 4096)
	opts := view.Options{Viewer: "@b:x", Device: "DEV", Now: 3000, Membership: "join", IncludeRoomID: true}
	b.ReportAllocs()
	for b.Loop() {
		dst = view.Render(dst[:0], &message, opts)
	}
}
