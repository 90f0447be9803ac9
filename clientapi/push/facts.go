package push

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

const (
	typeMember    = "m.room.member"
	typeLevels    = "m.room.power_levels"
	typeCreate    = "m.room.create"
	typeRedaction = "m.room.redaction"

	memberJoin = "join"
)

// fact is what an event means for notifications. It does not change, but is replaced when the event is redacted.
type fact struct {
	store.PushFact
	event *store.Event
	// redacts is the event that this one redacts.
	redacts matrix.EventID
	// members and levels are those of the room after the event.
	members int
	levels  *levels
}

// subject is what conditions ask about the event, for a user who is called name in the room.
func (f *fact) subject(name string) *subject {
	return &subject{event: f.event, room: f.event.RoomID, members: f.members, levels: f.levels, name: name}
}

// maskFor adds the bits of the rules that depend on the user.
func (f *fact) maskFor(user matrix.UserID) mask {
	m := mask(f.Mask)
	if len(f.Mentions) > 0 && slices.Contains(f.Mentions, user) {
		m |= predefined.bits[ruleUserMention]
	}
	if f.State && f.event.Type == typeMember && *f.event.StateKey == string(user) && membershipOf(f.event) == "invite" {
		m |= predefined.bits[ruleInviteForMe]
	}
	return m
}

// levels is what decides who may notify a whole room.
type levels struct {
	users        map[matrix.UserID]int64
	usersDefault int64
	notify       map[string]int64
	creators     []matrix.UserID
}

// notifyDefault is the level that notifications need when the room does not say.
//
// Spec: client-server v1.19 §mroompower_levels
const notifyDefault = 50

func newLevels(create, power *store.Event) *levels {
	l := &levels{users: make(map[matrix.UserID]int64), notify: make(map[string]int64)}
	if create != nil {
		version, ok := event.Lookup(gjson.GetBytes(create.JSON, "content.room_version").String())
		if ok && version.PrivilegedCreators {
			l.creators = append(l.creators, create.Sender)
			for _, c := range gjson.GetBytes(create.JSON, "content.additional_creators").Array() {
				l.creators = append(l.creators, matrix.UserID(c.String()))
			}
		} else if power == nil {
			l.creators = append(l.creators, create.Sender)
		}
	}
	if power != nil {
		content := gjson.GetBytes(power.JSON, "content")
		l.usersDefault = content.Get("users_default").Int()
		content.Get("users").ForEach(func(user, level gjson.Result) bool {
			l.users[matrix.UserID(user.String())] = level.Int()
			return true
		})
		content.Get("notifications").ForEach(func(key, level gjson.Result) bool {
			l.notify[key.String()] = level.Int()
			return true
		})
	}
	return l
}

// mayNotify reports whether the user has the power to trigger a kind of notification.
func (l *levels) mayNotify(user matrix.UserID, key string) bool {
	level, ok := l.users[user]
	if !ok {
		level = l.usersDefault
	}
	if slices.Contains(l.creators, user) {
		level = math.MaxInt64
	}
	need, ok := l.notify[key]
	if !ok {
		need = notifyDefault
	}
	return level >= need
}

// roomState is the part of a room's state that rules ask about, at a position.
type roomState struct {
	members       int
	create, power *store.Event
	levels        *levels
	// joined are changes of members that were seen since the state was loaded.
	joined map[string]bool
}

// loadRoomState reads the state of a room at a position.
func loadRoomState(ctx context.Context, st *store.Store, room, position int64) (*roomState, error) {
	members, err := st.CountJoinedAt(ctx, room, position)
	if err != nil {
		return nil, fmt.Errorf("count members: %w", err)
	}
	events, err := st.ListStateEventsFor(ctx, room, position, []store.StateKey{{Type: typeCreate}, {Type: typeLevels}})
	if err != nil {
		return nil, fmt.Errorf("load power levels: %w", err)
	}
	rs := &roomState{members: members, joined: make(map[string]bool)}
	for i := range events {
		if events[i].Type == typeCreate {
			rs.create = &events[i]
		} else {
			rs.power = &events[i]
		}
	}
	rs.levels = newLevels(rs.create, rs.power)
	return rs, nil
}

// prepare learns of the users whose membership the events change whether they were joined before.
func (rs *roomState) prepare(ctx context.Context, st *store.Store, events []*store.Event) error {
	if len(rs.joined) > maxKnownMembers {
		clear(rs.joined)
	}
	var keys []store.KeyAt
	for _, e := range events {
		if e.Type != typeMember || e.StateKey == nil {
			continue
		}
		if _, known := rs.joined[*e.StateKey]; !known {
			rs.joined[*e.StateKey] = false
			keys = append(keys, store.KeyAt{RoomNID: e.RoomNID, Type: typeMember, Key: *e.StateKey, At: e.Position - 1})
		}
	}
	before, err := st.ListStateAt(ctx, keys)
	if err != nil {
		return fmt.Errorf("load members: %w", err)
	}
	for i := range before {
		rs.joined[*before[i].StateKey] = membershipOf(&before[i]) == memberJoin
	}
	return nil
}

// apply moves the state over an event that it was prepared for.
func (rs *roomState) apply(e *store.Event) {
	if e.StateKey == nil {
		return
	}
	switch {
	case e.Type == typeMember:
		joined := rs.joined[*e.StateKey]
		joins := membershipOf(e) == memberJoin
		if joins && !joined {
			rs.members++
		} else if !joins && joined {
			rs.members--
		}
		rs.joined[*e.StateKey] = joins
	case e.Type == typeLevels && *e.StateKey == "":
		rs.power = e
		rs.levels = newLevels(rs.create, rs.power)
	case e.Type == typeCreate && *e.StateKey == "":
		rs.create = e
		rs.levels = newLevels(rs.create, rs.power)
	}
}

// maxKnownMembers bounds the members that a room's state remembers.
const maxKnownMembers = 1000

func membershipOf(e *store.Event) string {
	return gjson.GetBytes(e.JSON, "content.membership").String()
}

// maxHops is how many relations away from its root an event may be and still be in the thread.
//
// Spec: client-server v1.19 §receiving-notifications
const maxHops = 3

// relatesTo is in the JSON of every event that relates to another one, as canonical JSON has it.
var relatesTo = []byte(`"m.relates_to":`)

// relation returns the event that e relates to, and whether e is in a thread by itself.
func relation(e *store.Event) (parent matrix.EventID, thread bool) {
	if !bytes.Contains(e.JSON, relatesTo) {
		return "", false
	}
	rel := gjson.GetBytes(e.JSON, `content.m\.relates_to`)
	return matrix.EventID(rel.Get("event_id").String()), rel.Get("rel_type").String() == "m.thread"
}

// thread is where an event stands: the root of its thread, or empty.
type thread struct {
	root matrix.EventID
	hops int
}

// below is the thread of an event that relates to one in t.
func (t thread) below() thread {
	if t.root == "" || t.hops >= maxHops {
		return thread{}
	}
	return thread{t.root, t.hops + 1}
}

// newFact looks at an event. rs is the room's state after it, in the thread it is in.
func newFact(e *store.Event, in thread, rs *roomState) *fact {
	f := &fact{event: e, members: rs.members, levels: rs.levels}
	f.PushFact = store.PushFact{
		RoomNID: e.RoomNID, Position: e.Position, Sender: e.Sender, Thread: in.root, Hops: in.hops,
		State: e.StateKey != nil, Redacted: e.RedactedBy != "",
	}
	if e.Type == typeRedaction && e.StateKey == nil {
		f.redacts = redactsOf(e)
	}
	s := f.subject("")
	for _, rule := range predefined.shared {
		if matches(rule.conditions, s) {
			f.Mask |= uint32(rule.bit)
		}
	}
	users := s.property(mentioned)
	if users.IsArray() {
		users.ForEach(func(_, user gjson.Result) bool {
			if user.Type == gjson.String && len(user.String()) <= limits.Identifier {
				f.Mentions = append(f.Mentions, matrix.UserID(user.String()))
			}
			return len(f.Mentions) < limits.PushMentions
		})
	}
	return f
}

// mentioned is where an event names whom it mentions.
var mentioned = []string{"content", "m.mentions", "user_ids"}

func redactsOf(e *store.Event) matrix.EventID {
	if id := gjson.GetBytes(e.JSON, "redacts").String(); id != "" {
		return matrix.EventID(id)
	}
	return matrix.EventID(gjson.GetBytes(e.JSON, "content.redacts").String())
}

// threadsOf finds the threads of events, oldest first. Parents are among the events, known, or in the database, and so are the threads of events
// that have been redacted, which say nothing of them any more.
func threadsOf(ctx context.Context, st *store.Store, events []*store.Event, known func(room int64, id matrix.EventID) (thread, bool)) ([]thread, error) {
	type key struct {
		room int64
		id   matrix.EventID
	}
	threads := make([]thread, len(events))
	if !slices.ContainsFunc(events, func(e *store.Event) bool { return e.RedactedBy != "" || bytes.Contains(e.JSON, relatesTo) }) {
		return threads, nil
	}
	among := make(map[key]bool, len(events))
	var missing []matrix.EventID
	for _, e := range events {
		parent, direct := relation(e)
		if e.RedactedBy != "" {
			missing = append(missing, e.EventID)
		}
		if parent != "" && !direct && !among[key{e.RoomNID, parent}] {
			if _, ok := known(e.RoomNID, parent); !ok {
				missing = append(missing, parent)
			}
		}
		among[key{e.RoomNID, e.EventID}] = true
	}
	found := make(map[key]thread)
	if len(missing) > 0 {
		list, err := st.ListPushThreads(ctx, missing)
		if err != nil {
			return nil, fmt.Errorf("load threads: %w", err)
		}
		for _, t := range list {
			found[key{t.RoomNID, t.EventID}] = thread{t.Thread, t.Hops}
		}
	}
	for i, e := range events {
		parent, direct := relation(e)
		switch {
		case parent == "":
			threads[i] = found[key{e.RoomNID, e.EventID}] // where it was before it was redacted
		case direct:
			threads[i] = thread{parent, 1}
		default:
			t, ok := found[key{e.RoomNID, parent}]
			if !ok {
				t, _ = known(e.RoomNID, parent)
			}
			threads[i] = t.below()
		}
		found[key{e.RoomNID, e.EventID}] = threads[i]
	}
	return threads, nil
}
