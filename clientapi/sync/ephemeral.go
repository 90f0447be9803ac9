package sync

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

const (
	typeReceipt = "m.receipt"
	typeTyping  = "m.typing"
)

// isPrivate reports whether a receipt is its owner's only. The key of a receipt is its type, "|" and its thread.
func isPrivate(up *store.Update) bool { return strings.HasPrefix(up.Key, "m.read.private|") }

// loadEphemeral finds receipts and who is typing in the joined rooms.
//
// Spec: client-server v1.19 §receipts, §typing-notifications
func (b *build) loadEphemeral() error {
	f := &b.r.filter.Room.Ephemeral
	rooms := make(map[int64]*room)
	var read []*room
	for _, rm := range b.rooms {
		if rm.left || !f.MatchRoom(rm.room) {
			continue
		}
		rooms[rm.nid] = rm
		if !b.inRing(rm) {
			read = append(read, rm)
		}
	}
	if err := b.loadReceipts(rooms, read); err != nil {
		return err
	}
	if matchesType(&f.EventFilter, typeTyping) {
		return b.loadTyping(rooms, read)
	}
	return nil
}

// loadReceipts finds the receipts of the window; of fresh rooms all.
func (b *build) loadReceipts(rooms map[int64]*room, read []*room) error {
	for _, up := range b.updates {
		if rm := rooms[up.RoomNID]; up.Kind == store.KindReceipt && rm != nil && b.inRing(rm) {
			rm.receipts = append(rm.receipts, up)
		}
	}
	for _, rm := range rooms {
		rm.receipts = b.newestReceipts(rm.receipts)
	}
	if len(read) > 0 {
		windows := make([]store.Window, len(read))
		for i, rm := range read {
			windows[i] = store.Window{RoomNID: rm.nid, After: b.since, UpTo: b.now}
			if rm.fresh {
				windows[i].After = 0
			}
		}
		list, err := b.s.cfg.Store.ListReceipts(b.ctx, windows, b.e.id, limits.SyncReceipts)
		if err != nil {
			return fmt.Errorf("load receipts: %w", err)
		}
		for i := range list {
			rm := rooms[list[i].RoomNID]
			rm.receipts = append(rm.receipts, &list[i])
		}
	}
	f := &b.r.filter.Room.Ephemeral
	for _, rm := range rooms {
		rm.read = !rm.fresh && slices.ContainsFunc(rm.receipts, func(up *store.Update) bool { return up.UserID == b.e.id })
		rm.receipts = slices.DeleteFunc(rm.receipts, func(up *store.Update) bool { return !f.EventFilter.Match(typeReceipt, up.UserID) })
	}
	return nil
}

// newestReceipts keeps what ListReceipts would return.
func (b *build) newestReceipts(list []*store.Update) []*store.Update {
	if len(list) <= limits.SyncReceipts {
		return list
	}
	slices.SortFunc(list, func(x, y *store.Update) int {
		if own := x.UserID == b.e.id; own != (y.UserID == b.e.id) {
			if own {
				return -1
			}
			return 1
		}
		return cmp.Compare(y.Position, x.Position)
	})
	list = list[:limits.SyncReceipts]
	slices.SortFunc(list, func(x, y *store.Update) int { return cmp.Compare(x.Position, y.Position) })
	return list
}

// loadTyping finds the rooms in which somebody began or ceased to type, and who types in them now.
func (b *build) loadTyping(rooms map[int64]*room, read []*room) error {
	for _, up := range b.updates {
		if rm := rooms[up.RoomNID]; up.Kind == store.KindTyping && rm != nil && b.inRing(rm) {
			rm.typing = true
		}
	}
	if len(read) > 0 {
		nids := make([]int64, len(read))
		for i, rm := range read {
			nids[i] = rm.nid
		}
		list, err := b.s.cfg.Store.ListRoomUpdates(b.ctx, nids, store.KindTyping, max(b.freshest(read), 0), b.now)
		if err != nil {
			return fmt.Errorf("load typing: %w", err)
		}
		for i := range list {
			rm := rooms[list[i].RoomNID]
			rm.typing = rm.typing || rm.fresh || list[i].Position > b.since
		}
	}
	var nids []int64
	for _, rm := range rooms {
		if rm.typing {
			nids = append(nids, rm.nid)
		}
	}
	if len(nids) == 0 {
		return nil
	}
	slices.Sort(nids)
	typing, err := b.s.typing(b.ctx, nids)
	if err != nil {
		return err
	}
	f := &b.r.filter.Room.Ephemeral
	for _, nid := range nids {
		rm := rooms[nid]
		for _, id := range typing[nid] {
			if f.EventFilter.Match(typeTyping, matrix.UserID(id)) {
				rm.typists = append(rm.typists, id)
			}
		}
		// A room that the client does not know has nobody typing in it as far as it knows.
		rm.typing = !rm.fresh || len(rm.typists) > 0
	}
	return nil
}

// freshest is the position from which on updates matter: the beginning if one of the rooms is fresh.
func (b *build) freshest(rooms []*room) int64 {
	for _, rm := range rooms {
		if rm.fresh {
			return 0
		}
	}
	return b.since
}

// appendReceipts appends the m.receipt events: one for each thread.
//
// Spec: client-server v1.19 §receipts: "receipts SHOULD be batched into one event per room and thread".
func appendReceipts(dst []byte, list []*store.Update, first bool) []byte {
	type receipt struct {
		thread, typ, event string
		up                 *store.Update
	}
	receipts := make([]receipt, 0, len(list))
	for _, up := range list {
		typ, thread, _ := strings.Cut(up.Key, "|")
		if event := gjson.GetBytes(up.Body, "event_id").String(); event != "" {
			receipts = append(receipts, receipt{thread, typ, event, up})
		}
	}
	slices.SortFunc(receipts, func(x, y receipt) int {
		return cmp.Or(cmp.Compare(x.thread, y.thread), cmp.Compare(x.event, y.event), cmp.Compare(x.typ, y.typ),
			cmp.Compare(x.up.UserID, y.up.UserID))
	})
	for i, r := range receipts {
		newThread := i == 0 || r.thread != receipts[i-1].thread
		newEvent := newThread || r.event != receipts[i-1].event
		newType := newEvent || r.typ != receipts[i-1].typ
		switch {
		case newThread:
			if i > 0 {
				dst = append(dst, `}}}}`...)
			}
			dst = appendComma(dst, first && i == 0)
			dst = append(dst, `{"type":"m.receipt","content":{`...)
		case newEvent:
			dst = append(dst, `}},`...)
		case newType:
			dst = append(dst, `},`...)
		default:
			dst = append(dst, ',')
		}
		if newEvent {
			dst = append(appendText(dst, r.event), `:{`...)
		}
		if newType {
			dst = append(appendText(dst, r.typ), `:{`...)
		}
		dst = append(appendText(dst, string(r.up.UserID)), `:{"ts":`...)
		dst = strconv.AppendInt(dst, gjson.GetBytes(r.up.Body, "ts").Int(), 10)
		if r.thread != "" {
			dst = appendText(append(dst, `,"thread_id":`...), r.thread)
		}
		dst = append(dst, '}')
	}
	if len(receipts) > 0 {
		dst = append(dst, `}}}}`...)
	}
	return dst
}

// appendTyping appends the m.typing event.
func appendTyping(dst []byte, users []string) []byte {
	dst = append(dst, `{"type":"m.typing","content":{"user_ids":[`...)
	for i, id := range users {
		dst = appendText(appendComma(dst, i == 0), id)
	}
	return append(dst, `]}}`...)
}
