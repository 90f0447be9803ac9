package push

import (
	"encoding/json"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const (
	alice matrix.UserID = "@alice:example.org"
	bob   matrix.UserID = "@bob:example.org"
)

// eventOf is an event as the database has it.
func eventOf(text string) *store.Event {
	v := gjson.Parse(text)
	e := &store.Event{
		RoomID: "!room:example.org", EventID: "$event", Type: v.Get("type").String(), Sender: matrix.UserID(v.Get("sender").String()),
		JSON: []byte(text), Position: 7,
	}
	if key := v.Get("state_key"); key.Exists() {
		e.StateKey = new(string)
		*e.StateKey = key.String()
	}
	return e
}

// testLevels let alice notify the room.
func testLevels() *levels {
	return newLevels(nil, eventOf(`{"type":"m.room.power_levels","sender":"@alice:example.org","content":{"users":{"@alice:example.org":50},"notifications":{"other":10}}}`))
}

func TestConditions(t *testing.T) {
	t.Parallel()
	const event = `{"type":"m.room.message","sender":"@alice:example.org","content":{"body":"Hello Bob's world, CAFÉ *now*","msgtype":"m.text",
		"number":17,"truth":true,"nothing":null,"list":["a",1,null],"dotted.name":{"back\\slash":"x"},"m.relates_to":{"rel_type":"m.thread"}}}`
	for condition, want := range map[string]bool{
		`{"kind":"event_match","key":"type","pattern":"m.room.message"}`:                          true,
		`{"kind":"event_match","key":"type","pattern":"M.ROOM.*"}`:                                true,
		`{"kind":"event_match","key":"type","pattern":"m.room"}`:                                  false,
		`{"kind":"event_match","key":"room_id","pattern":"!room:example.org"}`:                    true,
		`{"kind":"event_match","key":"content.msgtype","pattern":"m.tex?"}`:                       true,
		`{"kind":"event_match","key":"content.body","pattern":"bob"}`:                             true,
		`{"kind":"event_match","key":"content.body","pattern":"bo"}`:                              false,
		`{"kind":"event_match","key":"content.body","pattern":"wor*"}`:                            true,
		`{"kind":"event_match","key":"content.body","pattern":"w?rld"}`:                           true,
		`{"kind":"event_match","key":"content.body","pattern":"café"}`:                            true,
		`{"kind":"event_match","key":"content.number","pattern":"17"}`:                            false,
		`{"kind":"event_match","key":"content.missing","pattern":"*"}`:                            false,
		`{"kind":"event_match","key":"content.msgtype"}`:                                          false,
		`{"kind":"event_match","key":"content.dotted\\.name.back\\\\slash","pattern":"x"}`:        true,
		`{"kind":"event_property_is","key":"content.number","value":17}`:                          true,
		`{"kind":"event_property_is","key":"content.number","value":"17"}`:                        false,
		`{"kind":"event_property_is","key":"content.truth","value":true}`:                         true,
		`{"kind":"event_property_is","key":"content.truth","value":false}`:                        false,
		`{"kind":"event_property_is","key":"content.nothing","value":null}`:                       true,
		`{"kind":"event_property_is","key":"content.missing","value":null}`:                       false,
		`{"kind":"event_property_is","key":"content.m\\.relates_to.rel_type","value":"m.thread"}`: true,
		`{"kind":"event_property_is","key":"content.msgtype","value":"M.TEXT"}`:                   false,
		`{"kind":"event_property_contains","key":"content.list","value":"a"}`:                     true,
		`{"kind":"event_property_contains","key":"content.list","value":1}`:                       true,
		`{"kind":"event_property_contains","key":"content.list","value":null}`:                    true,
		`{"kind":"event_property_contains","key":"content.list","value":"b"}`:                     false,
		`{"kind":"event_property_contains","key":"content.msgtype","value":"m.text"}`:             false,
		`{"kind":"contains_display_name"}`:                                                        true,
		`{"kind":"room_member_count","is":"3"}`:                                                   true,
		`{"kind":"room_member_count","is":"==3"}`:                                                 true,
		`{"kind":"room_member_count","is":"<3"}`:                                                  false,
		`{"kind":"room_member_count","is":">=3"}`:                                                 true,
		`{"kind":"room_member_count","is":">2"}`:                                                  true,
		`{"kind":"room_member_count","is":"<=2"}`:                                                 false,
		`{"kind":"room_member_count","is":"=3"}`:                                                  false,
		`{"kind":"room_member_count","is":"x"}`:                                                   false,
		`{"kind":"room_member_count"}`:                                                            false,
		`{"kind":"sender_notification_permission","key":"room"}`:                                  true,
		`{"kind":"sender_notification_permission","key":"other"}`:                                 true,
		`{"kind":"org.example.unknown"}`:                                                          false,
		`{}`:                                                                                      false,
	} {
		s := &subject{event: eventOf(event), room: "!room:example.org", members: 3, levels: testLevels(), name: "bob's"}
		if got := matches(compileConditions([]json.RawMessage{json.RawMessage(condition)}), s); got != want {
			t.Errorf("%s is %v", condition, got)
		}
	}
	// A display name is no pattern, and who has none is not named.
	for name, want := range map[string]bool{"": false, "h*": false, "h?llo": false, "HELLO": true, "*now*": true, "ell": false} {
		s := &subject{event: eventOf(event), name: name}
		if got := matches(compileConditions([]json.RawMessage{json.RawMessage(`{"kind":"contains_display_name"}`)}), s); got != want {
			t.Errorf("the name %q is there: %v", name, got)
		}
	}
}

// TestPredefinedRules has events, and which rule decides about them for bob.
func TestPredefinedRules(t *testing.T) {
	t.Parallel()
	p := newProgram(defaults(bob), 0)
	for _, c := range []struct {
		members     int
		event, rule string
	}{
		{2, `{"type":"m.room.message","sender":"@alice:example.org","content":{"msgtype":"m.text","body":"x"}}`, ".m.rule.room_one_to_one"},
		{3, `{"type":"m.room.message","sender":"@alice:example.org","content":{"msgtype":"m.text","body":"x"}}`, ".m.rule.message"},
		{3, `{"type":"m.room.message","sender":"@alice:example.org","content":{"msgtype":"m.notice","body":"x"}}`, ".m.rule.suppress_notices"},
		{3, `{"type":"m.room.encrypted","sender":"@alice:example.org","content":{}}`, ".org.matrix.msc4028.encrypted_event"},
		{3, `{"type":"m.room.member","sender":"@alice:example.org","state_key":"@bob:example.org","content":{"membership":"invite"}}`, ".m.rule.invite_for_me"},
		{3, `{"type":"m.room.member","sender":"@alice:example.org","state_key":"@carol:example.org","content":{"membership":"invite"}}`, ".m.rule.member_event"},
		{3, `{"type":"m.room.message","sender":"@alice:example.org","content":{"m.mentions":{"user_ids":["@bob:example.org"]}}}`, ".m.rule.is_user_mention"},
		{3, `{"type":"m.room.message","sender":"@alice:example.org","content":{"m.mentions":{"user_ids":"@bob:example.org"}}}`, ".m.rule.message"},
		{3, `{"type":"m.room.message","sender":"@alice:example.org","content":{"m.mentions":{"room":true}}}`, ".m.rule.is_room_mention"},
		{3, `{"type":"m.room.message","sender":"@carol:example.org","content":{"m.mentions":{"room":true}}}`, ".m.rule.message"},
		{3, `{"type":"m.room.tombstone","sender":"@alice:example.org","state_key":"","content":{}}`, ".m.rule.tombstone"},
		{3, `{"type":"m.reaction","sender":"@alice:example.org","content":{}}`, ".m.rule.reaction"},
		{3, `{"type":"m.room.server_acl","sender":"@alice:example.org","state_key":"","content":{}}`, ".m.rule.room.server_acl"},
		{3, `{"type":"m.room.message","sender":"@alice:example.org","content":{"m.relates_to":{"rel_type":"m.replace","event_id":"$a"}}}`, ".m.rule.suppress_edits"},
		{3, `{"type":"m.call.invite","sender":"@alice:example.org","content":{}}`, ".m.rule.call"},
		{2, `{"type":"org.matrix.msc3381.poll.start","sender":"@alice:example.org","content":{}}`, ".org.matrix.msc3930.rule.poll_start_one_to_one"},
		{3, `{"type":"org.matrix.msc3381.poll.end","sender":"@alice:example.org","content":{}}`, ".org.matrix.msc3930.rule.poll_end"},
		{3, `{"type":"m.room.topic","sender":"@alice:example.org","state_key":"","content":{}}`, ""},
	} {
		e := eventOf(c.event)
		f := newFact(e, thread{}, &roomState{members: c.members, levels: testLevels()})
		o, own := p.decide(e.RoomID, f.maskFor(bob), f.subject("Bob"))
		got := ""
		if o.rule != nil {
			got = o.rule.RuleID
		}
		if got != c.rule || own {
			t.Errorf("%d members, %s: rule %q, want %q", c.members, c.event, got, c.rule)
		}
	}
}
