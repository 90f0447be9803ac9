package push

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
)

// outcome is what a rule does with an event that it matches.
type outcome struct {
	notify, highlight bool
	rule              *Rule
}

// program is the rules of a user, ready to be asked. It does not change.
//
// Most of it depends on the event and the room alone: predefined rules have their bit in the event's mask, and rules about a room as a
// whole are found by its id. Only the other rules that the user made (own) need the event itself.
type program struct {
	// since is the position from which on the rules hold.
	since int64
	steps []step
	// own: there are rules that need the event. needsName: one of them asks for the user's display name.
	own, needsName bool
}

// step is a rule, or all rules of the kind room. Exactly one of always, bit, rooms and own says when it matches.
type step struct {
	outcome
	always bool
	bit    mask
	rooms  map[matrix.RoomID]outcome
	own    []condition
}

// defaultProgram are the rules of users who never changed any; the same for all.
var defaultProgram = newProgram(defaults("@USER:example.org"), 0)

func newProgram(set *Ruleset, since int64) *program {
	p := &program{since: since}
	for _, kind := range kinds {
		list := *set.list(kind)
		if kind == kindRoom {
			rooms := make(map[matrix.RoomID]outcome)
			for i := range list {
				if list[i].Enabled {
					rooms[matrix.RoomID(list[i].RuleID)] = outcomeOf(&list[i])
				}
			}
			if len(rooms) > 0 {
				p.steps = append(p.steps, step{rooms: rooms})
			}
			continue
		}
		for i := range list {
			if list[i].Enabled {
				p.add(kind, &list[i])
			}
		}
	}
	return p
}

func (p *program) add(kind string, r *Rule) {
	st := step{outcome: outcomeOf(r)}
	room, isRoom := aboutRoom(r)
	switch {
	case r.RuleID == ruleMaster:
		st.always = true
	case r.Default:
		st.bit = predefined.bits[r.RuleID]
	case kind == kindOverride && isRoom:
		// Mutes stand one after another: one step for all of them.
		if n := len(p.steps); n > 0 && p.steps[n-1].rooms != nil {
			if _, earlier := p.steps[n-1].rooms[room]; !earlier {
				p.steps[n-1].rooms[room] = st.outcome
			}
			return
		}
		st.rooms = map[matrix.RoomID]outcome{room: st.outcome}
	case kind == kindContent:
		if r.Pattern == nil {
			return
		}
		g := newGlob(*r.Pattern)
		body := []string{"content", "body"}
		st.own = []condition{func(s *subject) bool {
			return s.property(body).Type == gjson.String && g.matchWords(s.text(body, "content.body"))
		}}
	case kind == kindSender:
		id := matrix.UserID(r.RuleID)
		st.own = []condition{func(s *subject) bool { return s.event.Sender == id }}
	default:
		st.own = compileConditions(r.Conditions)
		st.always = len(st.own) == 0
		for _, c := range r.Conditions {
			p.needsName = p.needsName || gjson.GetBytes(c, "kind").String() == "contains_display_name"
		}
	}
	p.own = p.own || len(st.own) > 0
	p.steps = append(p.steps, st)
}

// aboutRoom returns the room that a rule is about and nothing else: clients mute rooms by such override rules.
func aboutRoom(r *Rule) (matrix.RoomID, bool) {
	if len(r.Conditions) != 1 {
		return "", false
	}
	c := gjson.ParseBytes(r.Conditions[0])
	pattern := c.Get("pattern").String()
	if c.Get("kind").String() != "event_match" || c.Get("key").String() != "room_id" || strings.ContainsAny(pattern, "*?") {
		return "", false
	}
	return matrix.RoomID(pattern), true
}

// outcomeOf reads the actions of a rule.
//
// Spec: client-server v1.19 §actions
func outcomeOf(r *Rule) outcome {
	o := outcome{rule: r}
	for _, raw := range r.Actions {
		a := gjson.ParseBytes(raw)
		switch {
		case a.Type == gjson.String && a.String() == "notify":
			o.notify = true
		case a.Get("set_tweak").String() == "highlight":
			v := a.Get("value")
			o.highlight = !v.Exists() || v.Type == gjson.True
		}
	}
	o.highlight = o.highlight && o.notify
	return o
}

// tweaks are the tweaks that a rule sets, as a JSON object.
func tweaks(r *Rule) json.RawMessage {
	set := make(map[string]json.RawMessage)
	for _, raw := range r.Actions {
		name := gjson.GetBytes(raw, "set_tweak").String()
		if name == "" {
			continue
		}
		value := json.RawMessage(gjson.GetBytes(raw, "value").Raw)
		if len(value) == 0 {
			value = json.RawMessage("true")
		}
		set[name] = value
	}
	text, _ := json.Marshal(set)
	return text
}

// decide returns what the rules do with an event of the room. s is nil when the event is not at hand: own rules are passed over
// then. own reports that a rule of the user's own decided, one that nobody can ask again without the event.
func (p *program) decide(room matrix.RoomID, m mask, s *subject) (o outcome, own bool) {
	for i := range p.steps {
		st := &p.steps[i]
		switch {
		case st.bit != 0:
			if m&st.bit != 0 {
				return st.outcome, false
			}
		case st.rooms != nil:
			if o, ok := st.rooms[room]; ok {
				return o, false
			}
		case st.always:
			return st.outcome, false
		case s != nil && matches(st.own, s):
			return st.outcome, true
		}
	}
	return outcome{}, false
}
