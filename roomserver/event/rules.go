package event

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/roomline/roomline/internal/matrix"
)

// Rules is what the create event and the power levels of a room say, parsed once and asked for every event. It does not change.
type Rules struct {
	// Levels are the power levels, with their defaults where the room says nothing. They leave the creators of room
	// version 12 out; ask UserLevel.
	Levels gomatrixserverlib.PowerLevelContent

	version   Version
	roomID    matrix.RoomID
	creator   matrix.UserID
	creators  []string // privileged ones
	federate  bool
	hasLevels bool
}

// NewRules reads the two events. powerLevels is nil in a room that has none yet.
func NewRules(create, powerLevels gomatrixserverlib.PDU) (*Rules, error) {
	if create == nil {
		return nil, matrix.Forbidden("the room has no create event")
	}
	version, ok := Lookup(string(create.Version()))
	if !ok {
		return nil, fmt.Errorf("event: rules of unknown room version %q", create.Version())
	}
	room, creator := create.RoomID(), matrix.UserID(create.SenderID())
	r := &Rules{version: version, roomID: matrix.RoomID(room.String()), creator: creator}

	federate, _ := memberOf(create.Content(), "m.federate")
	r.federate = string(federate) != "false"
	if version.PrivilegedCreators {
		var content struct {
			AdditionalCreators []string `json:"additional_creators"`
		}
		if err := json.Unmarshal(create.Content(), &content); err != nil {
			return nil, fmt.Errorf("event: content of %s: %w", create.EventID(), err)
		}
		r.creators = append([]string{string(creator)}, content.AdditionalCreators...)
	}
	if powerLevels == nil {
		r.Levels.Defaults()
		return r, nil
	}
	levels, err := gomatrixserverlib.NewPowerLevelContentFromEvent(powerLevels)
	if err != nil {
		return nil, fmt.Errorf("event: content of %s: %w", powerLevels.EventID(), err)
	}
	r.Levels, r.hasLevels = levels, true
	return r, nil
}

// UserLevel is the power level of a user. A creator of room version 12 has more than any number can say.
//
// Spec: client-server v1.19 §mroompower_levels; room v12 §authorisation-rules
func (r *Rules) UserLevel(user matrix.UserID) int64 {
	if slices.Contains(r.creators, string(user)) {
		return math.MaxInt64
	}
	if r.hasLevels {
		if level, ok := r.Levels.Users[string(user)]; ok {
			return level
		}
		return r.Levels.UsersDefault
	}
	if user == r.creator {
		// Why: the largest level that JSON can say, not 100, so that the power levels a room is created with may go above it.
		return maxCanonicalInt
	}
	return 0
}

// Powerful lists the users who may have more power than the others: the creator, and those whom the power levels name, at most limit of
// them, the most powerful first.
func (r *Rules) Powerful(limit int) []matrix.UserID {
	named := make([]string, 0, len(r.Levels.Users))
	for user := range r.Levels.Users {
		named = append(named, user)
	}
	slices.SortFunc(named, func(a, b string) int {
		return cmp.Or(cmp.Compare(r.Levels.Users[b], r.Levels.Users[a]), cmp.Compare(a, b))
	})
	list := []matrix.UserID{r.creator}
	for _, user := range slices.Concat(r.creators, named) {
		if len(list) < limit {
			list = append(list, matrix.UserID(user))
		}
	}
	return list
}

// EventLevel is the power level that sending such an event needs.
func (r *Rules) EventLevel(eventType string, isState bool) int64 {
	return r.Levels.EventLevel(eventType, isState)
}

// IsCreator says whether the user is one of the creators that stand above power levels. Before room version 12 nobody is.
func (r *Rules) IsCreator(user matrix.UserID) bool { return slices.Contains(r.creators, string(user)) }

// Allow judges an event that has no rule of its own: every message, and state such as the name of a room. membership is
// the current membership of the sender. decided is false for the events that [Check] must judge.
//
// Why: this is nearly every event, and it needs four comparisons; the library parses three events for it.
//
// Spec: room v12 §authorisation-rules, rules 4 and 6–9 (in room version 11: 3 and 5–8)
func (r *Rules) Allow(p *Proto, membership string) (decided bool, err error) {
	if r.hasOwnRule(p.Type) {
		return false, nil
	}
	return true, r.common(p.RoomID, p.Sender, membership, p.Type, p.StateKey)
}

// MaySend reports whether a user with this membership may set state of a type that has no rule of its own.
func (r *Rules) MaySend(user matrix.UserID, membership, eventType string) bool {
	key := ""
	return r.common(r.roomID, user, membership, eventType, &key) == nil
}

func (r *Rules) hasOwnRule(eventType string) bool {
	switch eventType {
	case typeCreate, typeMember, typePowerLevels:
		return true
	case typeAliases:
		return r.version.AliasesRule
	case typeRedaction:
		return r.version.EventFormat == EventReferences
	}
	return false
}

func (r *Rules) common(room matrix.RoomID, sender matrix.UserID, membership, eventType string, stateKey *string) error {
	if room != r.roomID {
		return matrix.Forbidden("the event is for room %s, the create event made %s", room, r.roomID)
	}
	if err := r.checkFederate(sender); err != nil {
		return err
	}
	if membership != "join" {
		return matrix.Forbidden("%s is not in the room", sender)
	}
	have, need := r.UserLevel(sender), r.EventLevel(eventType, stateKey != nil)
	if have < need {
		return matrix.Forbidden("%s has power level %d, sending %s needs %d", sender, have, eventType, need)
	}
	if stateKey != nil && len(*stateKey) > 0 && (*stateKey)[0] == '@' && *stateKey != string(sender) {
		return matrix.Forbidden("%s may not set state that belongs to %s", sender, *stateKey)
	}
	return nil
}

func (r *Rules) checkFederate(sender matrix.UserID) error {
	if !r.federate && sender.Domain() != r.creator.Domain() {
		return matrix.Forbidden("users of other servers may not send in this room")
	}
	return nil
}
