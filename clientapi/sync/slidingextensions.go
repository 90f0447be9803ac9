package sync

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/store"
)

// Extensions that tell something once and then what changed. For a connection as a whole the bits are in the token, for a room in
// what is remembered of it.
const (
	toldAccountData = 1 << iota
	toldReceipts
	toldTyping
	toldDevices
	toldThreads
	toldSticky
)

// slidingExtensions is which extensions a request turns on.
type slidingExtensions struct {
	AccountData *roomExtension `json:"account_data"`
	Receipts    *roomExtension `json:"receipts"`
	Typing      *roomExtension `json:"typing"`
	Sticky      *roomExtension `json:"org.matrix.msc4354.sticky_events"`

	ToDevice *toDeviceExtension `json:"to_device"`
	E2EE     *switchedExtension `json:"e2ee"`
	Threads  *switchedExtension `json:"io.element.msc4308.thread_subscriptions"`
}

// roomExtension is an extension that concerns rooms: those of the lists and subscriptions that it names, nil for all.
type roomExtension struct {
	Enabled bool     `json:"enabled"`
	Lists   []string `json:"lists"`
	Rooms   []string `json:"rooms"`
}

func (x *slidingExtensions) parse(raw json.RawMessage) error {
	if err := decodePart(raw, x); err != nil {
		return err
	}
	for _, of := range []*roomExtension{x.AccountData, x.Receipts, x.Typing, x.Sticky} {
		if of != nil && (len(of.Lists) > limits.SlidingLists || len(of.Rooms) > limits.SlidingSubscriptions) {
			return matrix.InvalidParam("extensions: too many lists or rooms")
		}
	}
	return x.ToDevice.parse()
}

// on reports whether the extension is turned on; no extension is not.
func (x *roomExtension) on() bool { return x != nil && x.Enabled }

// covers reports whether the extension tells of a room.
func (x *roomExtension) covers(rm *slidingRoom) bool {
	if !x.on() {
		return false
	}
	named := func(names []string, name string) bool {
		return names == nil || slices.Contains(names, "*") || slices.Contains(names, name)
	}
	return rm.subscribed && named(x.Rooms, string(rm.room)) ||
		slices.ContainsFunc(rm.lists, func(list string) bool { return named(x.Lists, list) })
}

// extensionAnswers is what the extensions have to tell.
type extensionAnswers struct {
	// tell: there is something.
	tell bool
	// told is which of them have told the connection.
	told byte
	// lost: something happened that an extension has not told, because it does not cover the room any more.
	lost bool

	global      []*store.Update
	accountData map[int64][]*store.Update
	receipts    map[int64][]*store.Update
	typing      map[int64][]string
	sticky      map[int64][]*store.Event

	// covered are, for each room, the bits of the extensions that cover it; news those that have news of the room.
	covered, news map[int64]byte

	deviceAnswers
}

// perRoom are the extensions whose news of rooms are told by a bit.
func (x *slidingExtensions) perRoom() map[byte]*roomExtension {
	return map[byte]*roomExtension{toldAccountData: x.AccountData, toldReceipts: x.Receipts, toldTyping: x.Typing, toldSticky: x.Sticky}
}

// loadExtensions finds what the extensions have to tell.
func (b *slide) loadExtensions() error {
	x := &b.extensions
	x.told = b.r.pos.told
	x.covered, x.news = make(map[int64]byte), make(map[int64]byte)
	x.accountData, x.receipts, x.typing = make(map[int64][]*store.Update), make(map[int64][]*store.Update), make(map[int64][]string)
	for bit, ext := range b.r.extensions.perRoom() {
		for _, rm := range b.rooms {
			if ext.covers(rm) && (bit == toldAccountData || rm.value == memberJoin) {
				x.covered[rm.nid] |= bit
			}
		}
	}
	for _, up := range b.updates {
		x.news[up.RoomNID] |= map[store.Kind]byte{
			store.KindAccountData: toldAccountData, store.KindReceipt: toldReceipts, store.KindTyping: toldTyping,
		}[up.Kind]
	}
	if err := inOrder(b.loadSlidingAccountData, b.loadSlidingReceipts, b.loadSlidingTyping, b.loadSlidingSticky); err != nil {
		return err
	}
	x.tell = len(x.global) > 0 || len(x.accountData) > 0 || len(x.receipts) > 0 || len(x.typing) > 0 || len(x.sticky) > 0
	return b.loadDevice()
}

// toldAt is the position up to which an extension has told of a room, 0 if it has told nothing. Of a room that the user came
// back to everything is told: while the user was away, receipts and typing were none of the user's business.
func (rm *slidingRoom) toldAt(bit byte) int64 {
	if rm.fresh || rm.sent == nil || rm.sent.told&bit == 0 {
		return 0
	}
	return rm.told
}

// toldOf are the extensions that have told of a room after the answer. One that does not cover the room has told all as long
// as there was no news; whether there was is only known from the ring.
func (b *slide) toldOf(rm *slidingRoom) byte {
	x := &b.extensions
	told := x.covered[rm.nid]
	if rm.sent != nil && !rm.fresh {
		rest := rm.sent.told &^ told
		lost := rest
		if b.ring && rm.told == b.since {
			lost &= x.news[rm.nid]
		}
		told |= rest &^ lost
		x.lost = x.lost || lost != 0
	}
	return told
}

// missed reports whether something may have happened outside the windows that an extension would have to tell of.
func (x *extensionAnswers) missed(b *slide, m *listedRoom) bool {
	if !b.ring {
		return m.sent.told != 0
	}
	return m.sent.told&x.news[m.nid] != 0
}

// loadSlidingAccountData finds the account data that is new to the client.
func (b *slide) loadSlidingAccountData() error {
	ext := b.r.extensions.AccountData
	x := &b.extensions
	if !ext.on() {
		x.told &^= toldAccountData
		return nil
	}
	global := max(b.since, 0)
	if x.told&toldAccountData == 0 {
		global = 0
	}
	x.told |= toldAccountData
	after := global
	var all []int64
	rooms := make(map[int64]*slidingRoom)
	for _, rm := range b.rooms {
		if x.covered[rm.nid]&toldAccountData == 0 {
			continue
		}
		rooms[rm.nid] = rm
		if at := rm.toldAt(toldAccountData); at < b.since || b.since < 0 {
			all = append(all, rm.nid)
		}
	}
	list := b.updates
	if !b.ring || len(all) > 0 || after < b.since {
		read, err := b.s.cfg.Store.ListAccountData(b.ctx, b.e.id, after, b.now, all)
		if err != nil {
			return fmt.Errorf("load account data: %w", err)
		}
		list = pointers(read)
	}
	for _, up := range list {
		rm := rooms[up.RoomNID]
		switch {
		case up.Kind != store.KindAccountData:
		case up.RoomNID == 0:
			// What was deleted before the client knew it is nothing to tell.
			if up.Position > global && (len(up.Body) > 0 || global > 0) {
				x.global = append(x.global, up)
			}
		case rm != nil && up.Position > rm.toldAt(toldAccountData) && (len(up.Body) > 0 || rm.toldAt(toldAccountData) > 0):
			x.accountData[rm.nid] = append(x.accountData[rm.nid], up)
		}
	}
	return nil
}

// loadSlidingReceipts finds the receipts that are new to the client; of rooms that it has not seen before some.
func (b *slide) loadSlidingReceipts() error {
	x := &b.extensions
	var news, whole []store.Window
	for _, rm := range b.rooms {
		if x.covered[rm.nid]&toldReceipts == 0 {
			continue
		}
		at := rm.toldAt(toldReceipts)
		w := store.Window{RoomNID: rm.nid, After: at, UpTo: b.now}
		switch {
		case at == 0:
			whole = append(whole, w)
		case !b.ring || at != b.since:
			news = append(news, w)
		}
	}
	for _, up := range b.updates {
		if rm := b.found[up.RoomNID]; rm != nil && up.Kind == store.KindReceipt && x.covered[rm.nid]&toldReceipts != 0 && rm.toldAt(toldReceipts) == b.since {
			x.receipts[rm.nid] = append(x.receipts[rm.nid], up)
		}
	}
	for i, windows := range [][]store.Window{news, whole} {
		if len(windows) == 0 {
			continue
		}
		list, err := b.s.cfg.Store.ListReceipts(b.ctx, windows, b.e.id, []int{limits.SyncReceipts, limits.SlidingReceipts}[i])
		if err != nil {
			return fmt.Errorf("load receipts: %w", err)
		}
		for k := range list {
			x.receipts[list[k].RoomNID] = append(x.receipts[list[k].RoomNID], &list[k])
		}
	}
	return nil
}

// loadSlidingTyping finds who types in rooms where that changed.
func (b *slide) loadSlidingTyping() error {
	x := &b.extensions
	changed := make(map[int64]bool)
	var nids, read []int64
	first := b.since
	for _, rm := range b.rooms {
		if x.covered[rm.nid]&toldTyping == 0 {
			continue
		}
		at := rm.toldAt(toldTyping)
		switch {
		case at == 0:
			nids = append(nids, rm.nid)
		case !b.ring || at != b.since:
			read, first = append(read, rm.nid), min(first, at)
		case x.news[rm.nid]&toldTyping != 0:
			changed[rm.nid] = true
		}
	}
	if len(read) > 0 {
		list, err := b.s.cfg.Store.ListRoomUpdates(b.ctx, read, store.KindTyping, first, b.now)
		if err != nil {
			return fmt.Errorf("load typing: %w", err)
		}
		for _, up := range list {
			if up.Position > b.found[up.RoomNID].toldAt(toldTyping) {
				changed[up.RoomNID] = true
			}
		}
	}
	for nid := range changed {
		nids = append(nids, nid)
	}
	if len(nids) == 0 {
		return nil
	}
	slices.Sort(nids)
	typing, err := b.s.typing(b.ctx, nids)
	if err != nil {
		return err
	}
	for _, nid := range nids {
		// In a room that the client does not know nobody types as far as it knows.
		if changed[nid] || len(typing[nid]) > 0 {
			x.typing[nid] = typing[nid]
		}
	}
	return nil
}

// receiptOf is a receipt on its way into the one event that a room's receipts are told in.
type receiptOf struct {
	thread string
	up     *store.Update
}

// byEvent orders receipts for one m.receipt event: by event, type and user. Of a user's receipts of one type for the same event
// in several threads the event has room for one: the one without a thread, which counts for all of them.
func byEvent(list []*store.Update) map[string]map[string]map[string]receiptOf {
	events := make(map[string]map[string]map[string]receiptOf)
	for _, up := range list {
		typ, thread := cutReceipt(up.Key)
		id := gjson.GetBytes(up.Body, "event_id").String()
		if id == "" {
			continue
		}
		if events[id] == nil {
			events[id] = make(map[string]map[string]receiptOf)
		}
		if events[id][typ] == nil {
			events[id][typ] = make(map[string]receiptOf)
		}
		if have, ok := events[id][typ][string(up.UserID)]; !ok || have.thread != "" && (thread == "" || thread < have.thread) {
			events[id][typ][string(up.UserID)] = receiptOf{thread, up}
		}
	}
	return events
}
