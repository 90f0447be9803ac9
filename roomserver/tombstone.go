package roomserver

import (
	"encoding/json"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/roomline/roomline/internal/store"
	"github.com/roomline/roomline/roomserver/event"
)

// buildOld ends the old room: the tombstone, and if the sender may, no more aliases and power levels that let nobody talk.
func (w *upgrade) buildOld(row store.Room) (*store.Unit, error) {
	t := &tip{room: w.old}
	t.reset()
	t.fill(row)
	unit, err := w.s.buildLoading(w.ctx, t, nil, func(v *view) ([]draft, error) {
		l := &draftList{sender: w.Sender}
		l.add(typeTombstone, "", map[string]any{"body": "This room has been replaced", "replacement_room": string(w.room.ID)})
		rules, err := v.rules()
		if err != nil || rules == nil {
			return nil, err
		}
		level := rules.UserLevel(w.Sender)
		if names := w.content(spec.MRoomCanonicalAlias); len(names.Map()) > 0 && level >= rules.EventLevel(spec.MRoomCanonicalAlias, true) {
			l.add(spec.MRoomCanonicalAlias, "", map[string]any{})
		}
		if content := w.silent(rules, level); content != nil {
			l.add(spec.MRoomPowerLevels, "", content)
		}
		return l.drafts, l.err
	})
	if err != nil {
		return nil, err
	}
	return unit, nil
}

// silent is the content of power levels that keep people from sending and inviting, nil if the sender may not set them or they
// do so already.
func (w *upgrade) silent(rules *event.Rules, level int64) map[string]any {
	var content map[string]any
	if json.Unmarshal([]byte(w.content(spec.MRoomPowerLevels).Raw), &content) != nil {
		return nil
	}
	least := max(50, rules.Levels.UsersDefault+1)
	changed := false
	for key, have := range map[string]int64{"events_default": rules.Levels.EventsDefault, "invite": rules.Levels.Invite} {
		if have < least {
			content[key] = least
			changed = true
		}
	}
	if !changed || level < least || level < rules.EventLevel(spec.MRoomPowerLevels, true) {
		return nil
	}
	integers(content)
	return content
}
