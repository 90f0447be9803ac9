package appservices

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// renderEphemeral renders typing, receipts and presence, nil if there is none.
//
// Spec: application-service v1.19 §pushing-ephemeral-data
func (b *builder) renderEphemeral(upTo int64) ([]byte, error) {
	var list []any
	typing, err := b.typingEvents()
	if err != nil {
		return nil, err
	}
	list = append(list, typing...)
	for _, nid := range sortedKeys(b.receipts) {
		list = append(list, map[string]any{
			"type": typeReceipt, "room_id": b.w.interest.rooms[nid].id, "content": receiptContent(b.receipts[nid]),
		})
	}
	sights, err := b.presenceOfOthers()
	if err != nil {
		return nil, err
	}
	for user, up := range b.presence {
		stored := up.Body
		if sight, other := sights[user]; other {
			if !sight.Presence && !sight.Phone {
				continue
			}
			stored = b.w.s.cfg.PresenceAs(up.Body, sight)
		}
		known, err := b.w.interest.knows(b.ctx, user, upTo)
		if err != nil {
			return nil, err
		}
		if known {
			list = append(list, map[string]any{
				"type": typePresence, "sender": user, "content": json.RawMessage(b.w.s.cfg.PresenceContent(stored, b.w.s.now())),
			})
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	return json.Marshal(list)
}

// presenceOfOthers says of those who are of another organisation than the service what of their presence it may know: what their organisation gives to that of the
// service.
func (b *builder) presenceOfOthers() (map[matrix.UserID]store.PresenceSight, error) {
	if b.w.as.Everywhere {
		return nil, nil
	}
	sights := map[matrix.UserID]store.PresenceSight{}
	var others []matrix.UserID
	for user := range b.presence {
		of, err := b.w.interest.organisation(b.ctx, user.Domain())
		if err != nil {
			return nil, err
		}
		if of != b.w.as.organisation {
			sights[user] = store.PresenceSight{UserID: user}
			others = append(others, user)
		}
	}
	if len(others) == 0 || b.w.s.cfg.PresenceAs == nil {
		return sights, nil
	}
	given, err := b.w.s.cfg.Store.ListPresenceSights(b.ctx, b.w.as.organisation, false, others)
	if err != nil {
		return nil, fmt.Errorf("look up whose presence may be told: %w", err)
	}
	for user, sight := range given {
		sights[user] = sight
	}
	return sights, nil
}

// typingEvents says who types now in the rooms where somebody began or ceased to.
func (b *builder) typingEvents() (list []any, err error) {
	if len(b.typing) == 0 {
		return nil, nil
	}
	nids := sortedKeys(b.typing)
	updates, err := b.w.s.cfg.Store.ListRoomUpdates(b.ctx, nids, store.KindTyping, 0, store.CurrentState)
	if err != nil {
		return nil, fmt.Errorf("load typing: %w", err)
	}
	typists := make(map[int64][]matrix.UserID)
	for _, up := range updates {
		if gjson.GetBytes(up.Body, "until").Int() > int64(b.w.s.now()) {
			typists[up.RoomNID] = append(typists[up.RoomNID], up.UserID)
		}
	}
	for _, nid := range nids {
		users := typists[nid]
		if users == nil {
			users = []matrix.UserID{}
		}
		list = append(list, map[string]any{"type": typeTyping, "room_id": b.w.interest.rooms[nid].id, "content": map[string]any{"user_ids": users}})
	}
	return list, nil
}

// receiptContent is the content of m.receipt.
func receiptContent(list []*store.Update) map[string]map[string]map[matrix.UserID]any {
	all := make(map[string]map[string]map[matrix.UserID]any)
	for _, up := range list {
		kind, thread, _ := strings.Cut(up.Key, "|")
		var body struct {
			EventID string           `json:"event_id"`
			TS      matrix.Timestamp `json:"ts"`
		}
		if json.Unmarshal(up.Body, &body) != nil {
			continue
		}
		receipt := map[string]any{"ts": body.TS}
		if thread != "" {
			receipt["thread_id"] = thread
		}
		if all[body.EventID] == nil {
			all[body.EventID] = make(map[string]map[matrix.UserID]any)
		}
		if all[body.EventID][kind] == nil {
			all[body.EventID][kind] = make(map[matrix.UserID]any)
		}
		all[body.EventID][kind][up.UserID] = receipt
	}
	return all
}
