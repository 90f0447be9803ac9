package roomserver

import (
	"bytes"
	"context"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/roomserver/event"
)

// NewEvent is an event that a local user sends.
type NewEvent struct {
	Room   matrix.RoomID
	Sender matrix.UserID
	Type   string
	// StateKey is nil for a message event.
	StateKey *string
	// Content is canonical JSON.
	Content []byte
	// Redacts names the event that a redaction removes; when it is empty it is taken from the content.
	Redacts matrix.EventID
	Txn     *Txn
	// Timestamp is zero for now.
	Timestamp matrix.Timestamp
	// Sticky is for how long the event is sticky (MSC4354), 0 for not at all.
	Sticky time.Duration
	// Attached is media that hangs on the event whatever its content says; see CheckAttached.
	Attached []matrix.ContentURI
	// Replaces, if given, is the state event that this one is to follow: when the room's state is another one by then, nothing is sent.
	Replaces matrix.EventID
}

// Send appends an event of a local user to a room and returns its id. The same transaction gives the same id. State that says
// what the room's state says already is not sent again: the id of the present event is returned. When nothing is sent (Replaces) the id is
// empty.
func (s *Server) Send(ctx context.Context, e NewEvent) (matrix.EventID, error) {
	if e.Type == spec.MRoomCreate {
		return "", matrix.InvalidParam("a room has one m.room.create event, its first")
	}
	room, err := s.Room(ctx, e.Room)
	if err != nil {
		return "", err
	}
	d := draft{Type: e.Type, StateKey: e.StateKey, Sender: e.Sender, Content: e.Content, Timestamp: e.Timestamp, Sticky: e.Sticky, Attached: e.Attached}
	if e.Type == spec.MRoomRedaction && e.StateKey == nil {
		if d.Redacts, err = s.redactionTarget(ctx, room, e); err != nil {
			return "", err
		}
	}
	if err := s.checkRelation(ctx, room, &d); err != nil {
		return "", err
	}
	if err := checkDeletionPolicy(&d); err != nil {
		return "", err
	}
	if grows(&d) {
		if err := s.mayGrow(ctx, room, d.Type, *d.StateKey); err != nil {
			return "", err
		}
	}
	var same matrix.EventID
	id, err := s.append(ctx, room, e.Txn, func(v *view) ([]draft, error) {
		same = ""
		if d.Redacts != nil {
			if err := v.mayRedact(e.Sender, d.Redacts); err != nil {
				return nil, err
			}
		}
		if d.Type == DeletionPolicyType {
			if err := v.maySetDeletionPolicy(e.Sender); err != nil {
				return nil, err
			}
		}
		if e.Replaces != "" {
			if now := v.get(e.Type, *e.StateKey); now == nil || now.id != e.Replaces {
				return nil, nil
			}
		}
		// What is sticky is sent again, so that it is sticky for longer.
		if e.StateKey != nil && e.Sticky == 0 {
			if same = v.same(&d); same != "" {
				return nil, nil
			}
		}
		return []draft{d}, nil
	})
	if same != "" {
		return same, err
	}
	return id, err
}

// grows reports whether the event may add to the room's state.
func grows(d *draft) bool {
	return d.StateKey != nil && (d.Type != spec.MRoomMember || gjson.GetBytes(d.Content, "membership").String() != spec.Leave)
}

// same returns the event that is the room's state already and says exactly what d would, or "".
func (v *view) same(d *draft) matrix.EventID {
	e := v.get(d.Type, *d.StateKey)
	if e == nil || v.membership(d.Sender) != spec.Join {
		return ""
	}
	if gjson.GetBytes(e.json, "sender").String() != string(d.Sender) || !bytes.Equal(contentOf(e.json), d.Content) {
		return ""
	}
	return e.id
}

// rules returns the room's power levels, or nil while they are not in memory. They are parsed once for each pair of events.
func (v *view) rules() (*event.Rules, error) {
	createEvent, levelsEvent := v.get(spec.MRoomCreate, ""), v.get(spec.MRoomPowerLevels, "")
	if len(v.missing) > 0 {
		return nil, nil
	}
	if t := v.tip; t.rules != nil && t.rulesOf == [2]*stateEvent{createEvent, levelsEvent} {
		return t.rules, nil
	}
	create, err := v.Create()
	if err != nil {
		return nil, err
	}
	levels, err := v.PowerLevels()
	if err != nil {
		return nil, err
	}
	rules, err := event.NewRules(create, levels)
	if err != nil {
		return nil, err
	}
	v.tip.rules, v.tip.rulesOf = rules, [2]*stateEvent{createEvent, levelsEvent}
	return rules, nil
}
