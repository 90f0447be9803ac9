package sync

import (
	"fmt"
	"slices"

	"github.com/roomline/roomline/clientapi/filter"
	"github.com/roomline/roomline/clientapi/push"
	"github.com/roomline/roomline/internal/store"
)

// loadAccountData finds the user's account data of the window; of fresh rooms all.
//
// Spec: client-server v1.19 §client-config, §room-tagging, §fully-read-markers
func (b *build) loadAccountData() error {
	rooms := make(map[int64]*room)
	var fresh []int64
	for _, rm := range b.rooms {
		if !b.r.filter.Room.AccountData.MatchRoom(rm.room) {
			continue
		}
		rooms[rm.nid] = rm
		if rm.fresh {
			fresh = append(fresh, rm.nid)
		}
	}
	var list []*store.Update
	for _, up := range b.updates {
		if rm := rooms[up.RoomNID]; up.Kind == store.KindAccountData && (rm == nil || !rm.fresh) {
			list = append(list, up)
		}
	}
	if !b.ring || len(fresh) > 0 {
		after := b.since
		if b.ring {
			after = b.now
		}
		read, err := b.s.cfg.Store.ListAccountData(b.ctx, b.e.id, after, b.now, fresh)
		if err != nil {
			return fmt.Errorf("load account data: %w", err)
		}
		list = append(list, pointers(read)...)
	}
	list, err := b.withPushRules(list)
	if err != nil {
		return err
	}
	for _, up := range list {
		rm := rooms[up.RoomNID]
		b.recount = b.recount || !b.first() && changesCounts(up)
		// What was deleted before the client knew it is nothing to tell.
		if len(up.Body) == 0 && (b.first() || rm != nil && rm.fresh) {
			continue
		}
		switch {
		case up.RoomNID == 0:
			if b.r.filter.AccountData.Match(up.Key, b.e.id) {
				b.accountData = append(b.accountData, up)
			}
		case rm != nil && b.r.filter.Room.AccountData.EventFilter.Match(up.Key, b.e.id):
			rm.accountData = append(rm.accountData, up)
		}
	}
	return nil
}

// withPushRules replaces the user's push rules by all that hold. Who never changed any has the predefined ones.
//
// Spec: client-server v1.19 §push-rules-events
func (b *build) withPushRules(list []*store.Update) ([]*store.Update, error) {
	i := slices.IndexFunc(list, func(up *store.Update) bool { return up.RoomNID == 0 && up.Key == push.TypeRules })
	rules := store.Update{Kind: store.KindAccountData, UserID: b.e.id, Key: push.TypeRules}
	switch {
	case i >= 0:
		rules = *list[i]
		list[i] = &rules
	case b.first():
		list = append(list, &rules)
	default:
		return list, nil
	}
	var err error
	if rules.Body, err = push.Content(b.e.id, rules.Body); err != nil {
		return nil, fmt.Errorf("push rules of %s: %w", b.e.id, err)
	}
	return list, nil
}

// matchesType reports whether a filter lets a type through, whoever the sender is.
func matchesType(f *filter.EventFilter, typ string) bool {
	types := filter.EventFilter{Types: f.Types, NotTypes: f.NotTypes}
	return types.Match(typ, "")
}

// appendAccountData appends an account data event. What was deleted is told as empty.
func appendAccountData(dst []byte, up *store.Update) []byte {
	dst = append(dst, `{"type":`...)
	dst = append(appendText(dst, up.Key), `,"content":`...)
	if len(up.Body) == 0 {
		return append(dst, `{}}`...)
	}
	return append(append(dst, up.Body...), '}')
}
