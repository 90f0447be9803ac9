package event_test

import (
	"strings"
	"testing"

	"github.com/roomline/roomline/roomserver/event"
)

func TestRelationOfTakesWhatFollowsTheSchema(t *testing.T) {
	t.Parallel()
	state, long := "", strings.Repeat("x", 256)
	for _, c := range []struct {
		typ      string
		stateKey *string
		content  string
		want     event.Relation
	}{
		{"m.room.message", nil, `{"body":"m.relates_to"}`, event.Relation{}},
		{"m.room.message", nil, `{"a":{"m.relates_to":{"event_id":"$e","rel_type":"m.thread"}}}`, event.Relation{}},
		{"m.room.message", nil, `{"m.relates_to":{"event_id":"$e","rel_type":"m.thread"}}`, event.Relation{Type: "m.thread", RelatesTo: "$e"}},
		{"m.room.message", nil, `{"m.relates_to":{"event_id":"$e","key":"k","rel_type":"x"}}`, event.Relation{Type: "x", RelatesTo: "$e"}},
		{"m.reaction", nil, `{"m.relates_to":{"event_id":"$e","key":"\"","rel_type":"m.annotation"}}`, event.Relation{Type: "m.annotation", RelatesTo: "$e", Key: `"`}},
		{"m.reaction", nil, `{"m.relates_to":{"event_id":"$e","key":"` + long + `","rel_type":"m.annotation"}}`, event.Relation{Type: "m.annotation", RelatesTo: "$e"}},
		{"m.room.message", nil, `{"m.relates_to":{"m.in_reply_to":{"event_id":"$e"}}}`, event.Relation{}},
		{"m.room.message", nil, `{"m.relates_to":{"event_id":"e","rel_type":"m.thread"}}`, event.Relation{}},
		{"m.room.message", nil, `{"m.relates_to":{"event_id":"$` + long + `","rel_type":"m.thread"}}`, event.Relation{}},
		{"m.room.message", nil, `{"m.relates_to":{"event_id":"$\u0000","rel_type":"m.thread"}}`, event.Relation{}},
		{"m.room.message", nil, `{"m.relates_to":{"event_id":"$e","rel_type":"a\u0000"}}`, event.Relation{}},
		{"m.room.message", nil, `{"m.relates_to":{"event_id":"$e","rel_type":["m.thread"]}}`, event.Relation{}},
		{"m.room.message", nil, `{"m.relates_to":[]}`, event.Relation{}},
		{"m.room.message", nil, `{"m.relates_to":"$e"}`, event.Relation{}},
		{"m.room.message", nil, `{"m.new_content":{},"m.relates_to":{"event_id":"$e","rel_type":"m.replace"}}`, event.Relation{Type: "m.replace", RelatesTo: "$e"}},
		{"m.room.message", nil, `{"m.new_content":1,"m.relates_to":{"event_id":"$e","rel_type":"m.replace"}}`, event.Relation{}},
		{"m.room.message", nil, `{"m.relates_to":{"event_id":"$e","rel_type":"m.replace"}}`, event.Relation{}},
		{"m.room.encrypted", nil, `{"m.relates_to":{"event_id":"$e","rel_type":"m.replace"}}`, event.Relation{Type: "m.replace", RelatesTo: "$e"}},
		{"m.room.topic", &state, `{"m.new_content":{},"m.relates_to":{"event_id":"$e","rel_type":"m.replace"}}`, event.Relation{}},
		{"m.poll", &state, `{"m.relates_to":{"event_id":"$e","rel_type":"m.reference"}}`, event.Relation{Type: "m.reference", RelatesTo: "$e"}},
	} {
		got, ok := event.RelationOf(c.typ, c.stateKey, []byte(c.content))
		if got != c.want || ok != (c.want != event.Relation{}) {
			t.Errorf("%s %s: got %+v, %v", c.typ, c.content, got, ok)
		}
	}
}
